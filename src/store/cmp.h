/* What is remembered of a CMP transaction. As store/store.h says for all rows. */
#ifndef BM_STORE_CMP_H
#define BM_STORE_CMP_H

#include "store/store.h"

enum bm_cmp_state {
    BM_CMP_ISSUED = 1,    /* the certificate is out, its confirmation is not in */
    BM_CMP_CONFIRMED = 2, /* by the device, or nobody was asked to confirm */
    BM_CMP_REFUSED = 3,   /* the device did not want it, or nobody confirmed it and policy took it back */
    BM_CMP_WAITS = 4,     /* the request is good and has to wait; it is kept as it came */
};
struct bm_cmp_row {
    int64_t id;
    enum bm_cmp_state state;
    int64_t expires_at; /* Unix seconds; INT64_MAX: never */
    bool for_good;      /* its request bore no time, so nothing but this row keeps it from being played again */
    int64_t req_id;     /* certReqId of the answer */
    uint8_t digest[32]; /* SHA-256 of the transactionID */
    uint8_t who[32];    /* whose it is: SHA-256 of the key that signed the request */
    uint8_t nonce[16];  /* ours, of the answer */
    uint8_t serial[BM_SERIAL_LEN];
};
BM_MUST_USE enum bm_rc bm_cmp_row_put(struct bm_store *s, struct bm_cmp_row *r, struct bm_error *e); /* new only; sets r->id */
BM_MUST_USE enum bm_rc bm_cmp_row_find(struct bm_store *s, const uint8_t digest[32], struct bm_cmp_row *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_cmp_row_set(struct bm_store *s, int64_t id, enum bm_cmp_state state, int64_t expires_at,
                                      struct bm_error *e);
BM_MUST_USE enum bm_rc bm_cmp_row_drop(struct bm_store *s, int64_t id, struct bm_error *e);
/* A new answer: state, expires_at, for_good, nonce and serial of the row with that id. */
BM_MUST_USE enum bm_rc bm_cmp_row_answer(struct bm_store *s, const struct bm_cmp_row *r, struct bm_error *e);
/* The one whose time was over first. BM_NOTFOUND: none is due. */
BM_MUST_USE enum bm_rc bm_cmp_row_due(struct bm_store *s, int64_t now, struct bm_cmp_row *ret, struct bm_error *e);

/* The request of a transaction that waits. It goes when the transaction goes, or when it waits no longer. */
BM_MUST_USE enum bm_rc bm_cmp_kept_put(struct bm_store *s, int64_t id, struct bm_rd message, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_cmp_kept_get(struct bm_store *s, int64_t id, struct bm_buf *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_cmp_kept_drop(struct bm_store *s, int64_t id, struct bm_error *e);
/* How many of this one's transactions wait, and the first of them. */
BM_MUST_USE enum bm_rc bm_cmp_kept_of(struct bm_store *s, const uint8_t who[32], int64_t *ret_n, int64_t *ret_first,
                                      struct bm_error *e);

/* Codes whose text is kept: until when. */
BM_MUST_USE enum bm_rc bm_cmp_code_put(struct bm_store *s, int64_t number, int64_t forget_at, struct bm_error *e);
/* At another time. Does nothing when the code is not among them. */
BM_MUST_USE enum bm_rc bm_cmp_code_until(struct bm_store *s, int64_t number, int64_t forget_at, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_cmp_code_drop(struct bm_store *s, int64_t number, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_cmp_code_due(struct bm_store *s, int64_t now, int64_t *ret_number, struct bm_error *e);

#endif
