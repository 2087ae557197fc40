/* ACME (docs/acme.md): bindings to accounts elsewhere, accounts, orders. As store/store.h says for all rows. */
#ifndef BM_STORE_ACME_H
#define BM_STORE_ACME_H

#include "store/store.h"

#define BM_ACME_KID_LEN 32
/* A binding (RFC 8555 section 7.3.4): who has its key may make accounts, which may order for what it names. */
struct bm_acme_eab {
    int64_t id, secret_id;                      /* secret_id: its key, a row of store/mac_key.h */
    int64_t org_id, product_id, batch_id;       /* one of the three; the others are 0 */
    int64_t uses, used;                         /* accounts */
    int64_t created_at, expires_at, revoked_at; /* 0: never */
    char kid[BM_ACME_KID_LEN];
    char names[1024]; /* patterns of DNS names and addresses, a blank between them; "": devices only */
    char note[BM_TEXT_MAX];
};
BM_MUST_USE enum bm_rc bm_acme_eab_put(struct bm_store *s, struct bm_acme_eab *b, struct bm_error *e); /* new only */
BM_MUST_USE enum bm_rc bm_acme_eab_get(struct bm_store *s, const char *kid, struct bm_acme_eab *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_acme_eab_by_id(struct bm_store *s, int64_t id, struct bm_acme_eab *ret, struct bm_error *e);
/* One account more; BM_DENIED "acme-eab-used-up" when it has had all: decided by the database. */
BM_MUST_USE enum bm_rc bm_acme_eab_use(struct bm_store *s, int64_t id, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_acme_eab_revoke(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e);

struct bm_acme_account {
    int64_t id, eab_id, created_at;
    char status[16];             /* valid, deactivated, revoked */
    uint8_t thumbprint[32];      /* of the key, RFC 7638 */
    struct bm_buf spki, contact; /* DER; JSON array of URLs */
};
void bm_acme_account_done(struct bm_acme_account *a);
BM_MUST_USE enum bm_rc bm_acme_account_put(struct bm_store *s, struct bm_acme_account *a, struct bm_error *e); /* id != 0: update */
BM_MUST_USE enum bm_rc bm_acme_account_by_id(struct bm_store *s, int64_t id, struct bm_acme_account *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_acme_account_by_key(struct bm_store *s, const uint8_t thumbprint[32], struct bm_acme_account *ret,
                                              struct bm_error *e);

struct bm_acme_order {
    int64_t id, account_id, credential_id; /* credential_id 0: none yet */
    int64_t created_at, expires_at, drop_at;
    char status[16];        /* pending, ready, processing, valid, invalid */
    struct bm_buf document; /* JSON */
};
void bm_acme_order_done(struct bm_acme_order *o);
BM_MUST_USE enum bm_rc bm_acme_order_put(struct bm_store *s, struct bm_acme_order *o, struct bm_error *e); /* id != 0: update */
BM_MUST_USE enum bm_rc bm_acme_order_by_id(struct bm_store *s, int64_t id, struct bm_acme_order *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_acme_order_of(struct bm_store *s, int64_t credential_id, struct bm_acme_order *ret, struct bm_error *e);
/* How many of an account are neither valid nor invalid, counted up to `most`. */
BM_MUST_USE enum bm_rc bm_acme_order_open(struct bm_store *s, int64_t account_id, int64_t most, int64_t *ret, struct bm_error *e);
/* Numbers of an account's orders that are not invalid, after `after`, in order; *ret_n at most max. */
BM_MUST_USE enum bm_rc bm_acme_order_list(struct bm_store *s, int64_t account_id, int64_t after, int64_t *ret, size_t max,
                                          size_t *ret_n, struct bm_error *e);
/* Drops up to `most` whose time is over, and tells how many. */
BM_MUST_USE enum bm_rc bm_acme_order_sweep(struct bm_store *s, int64_t now, int64_t most, int64_t *ret, struct bm_error *e);
/* Is there one to be dropped? BM_NOTFOUND. */
BM_MUST_USE enum bm_rc bm_acme_order_due(struct bm_store *s, int64_t now, int64_t *ret_id, struct bm_error *e);

#endif
