/* Revocation lists that others have signed, as they came. As store.h. */
#ifndef BM_STORE_HELD_CRL_H
#define BM_STORE_HELD_CRL_H

#include "store/store.h"

enum { BM_HELD_NUMBER_LEN = 20, BM_HELD_PROBLEM_LEN = 224 };

struct bm_held_crl {
    int64_t id;
    int64_t ca_id, trust_id; /* whose: one of the two, the other is 0 */
    char url[BM_TEXT_MAX];   /* "": nobody fetches it */
    bool hard;
    uint8_t number[BM_HELD_NUMBER_LEN]; /* big-endian */
    int64_t this_update, next_update;   /* 0: none has come yet */
    int64_t entries, asked_at;
    char problem[BM_HELD_PROBLEM_LEN]; /* of the last attempt to fetch it, or "" */
    struct bm_buf der;                 /* of _get only */
};
void bm_held_crl_done(struct bm_held_crl *h);
/* id 0: a new row; otherwise all of it but whose it is, list included. BM_CONFLICT: there is one already. */
BM_MUST_USE enum bm_rc bm_held_crl_put(struct bm_store *s, struct bm_held_crl *h, struct bm_error *e);
/* The same without the list, its number and its dates. */
BM_MUST_USE enum bm_rc bm_held_crl_set(struct bm_store *s, const struct bm_held_crl *h, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_held_crl_of_ca(struct bm_store *s, int64_t ca_id, struct bm_held_crl *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_held_crl_of_trust(struct bm_store *s, int64_t trust_id, struct bm_held_crl *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_held_crl_get(struct bm_store *s, int64_t id, struct bm_held_crl *ret, struct bm_error *e);
/* All of them, without their lists. */
typedef enum bm_rc bm_held_crl_fn(void *arg, const struct bm_held_crl *h, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_held_crl_each(struct bm_store *s, bm_held_crl_fn *fn, void *arg, struct bm_error *e);

#endif
