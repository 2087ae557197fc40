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

#endif
