/* How a CA is reached whose key is somebody else's; see keeper/upstream.h. The rules of store.h hold. */
#ifndef BM_STORE_UPSTREAM_H
#define BM_STORE_UPSTREAM_H

#include "store/store.h"

struct bm_upstream {
    int64_t ca_id;
    int64_t kek_id;  /* what seals secret; 0: there is none */
    char driver[16]; /* keeper/upstream.h */
    char url[512];
    char options[1024];  /* "name=value,name=value": what else the driver wants to know */
    char names[16];      /* "registry": only names the registry gives the device; "upstream": whatever the upstream CA writes */
    struct bm_buf trust; /* PEM: what its server's certificate must lead to */
    struct bm_buf client_cert; /* PEM, or empty */
    struct bm_buf secret;      /* sealed: the client's key and a login, or empty */
};
void bm_upstream_done(struct bm_upstream *u);
BM_MUST_USE enum bm_rc bm_upstream_put(struct bm_store *s, const struct bm_upstream *u, struct bm_error *e); /* or replace */
BM_MUST_USE enum bm_rc bm_upstream_get(struct bm_store *s, int64_t ca_id, struct bm_upstream *ret, struct bm_error *e);
/* One that is sealed under this key. BM_NOTFOUND. */
BM_MUST_USE enum bm_rc bm_upstream_of_kek(struct bm_store *s, int64_t kek_id, struct bm_upstream *ret, struct bm_error *e);

/* --- revocations that an upstream CA is to hear of: one for each certificate of its that was revoked here ------------------------- */
#define BM_UPSTREAM_WAITING "waiting"
#define BM_UPSTREAM_ASKED "asked" /* an errand is on it */
#define BM_UPSTREAM_DONE "done"
#define BM_UPSTREAM_FAILED "failed"
#define BM_UPSTREAM_UNABLE "unable" /* it has no word for it, or is not to be told */
struct bm_upstream_revocation {
    int64_t credential_id, ca_id, at;
    char state[16], code[32], what[224]; /* code, what: of FAILED and UNABLE */
};
/* Waiting, if the credential is of an upstream CA and not over at `now`; *ret_added: it is. */
BM_MUST_USE enum bm_rc bm_upstream_revocation_add(struct bm_store *s, int64_t credential_id, int64_t now, bool *ret_added,
                                                  struct bm_error *e);
BM_MUST_USE enum bm_rc bm_upstream_revocation_get(struct bm_store *s, int64_t credential_id, struct bm_upstream_revocation *ret,
                                                  struct bm_error *e);
BM_MUST_USE enum bm_rc bm_upstream_revocation_set(struct bm_store *s, const struct bm_upstream_revocation *r, struct bm_error *e);
/* The oldest that waits for a CA of which fewer than at_once are asked. BM_NOTFOUND. */
BM_MUST_USE enum bm_rc bm_upstream_revocation_due(struct bm_store *s, int64_t at_once, struct bm_upstream_revocation *ret,
                                                  struct bm_error *e);
BM_MUST_USE enum bm_rc bm_upstream_revocation_count(struct bm_store *s, const char *state, int64_t *ret, struct bm_error *e);

#endif
