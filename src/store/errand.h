/* Errands as rows; see keeper/errand.h. The rules of store.h hold. */
#ifndef BM_STORE_ERRAND_H
#define BM_STORE_ERRAND_H

#include "store/store.h"

#define BM_ERRAND_SUBJECT_LEN 161
#define BM_ERRAND_QUEUED "queued"
#define BM_ERRAND_RUNNING "running"
#define BM_ERRAND_DONE "done"
#define BM_ERRAND_FAILED "failed"
#define BM_ERRAND_EXPIRED "expired"

struct bm_errand {
    int64_t id;
    int64_t host_id;             /* who has it in hand; 0: nobody */
    int64_t device_id, batch_id; /* 0: none */
    char kind[24];
    char subject[BM_ERRAND_SUBJECT_LEN]; /* what it is about, in words that its kind chooses; printable ASCII */
    char state[16];
    uint32_t tries; /* hand-outs of this step */
    uint32_t token; /* begins anywhere, one more with each hand-out: a row's id may be another's later */
    int64_t created_at;
    int64_t due_at;   /* queued: not before; running: the lease ends; else: it may be forgotten */
    int64_t deadline; /* an unfinished one expires */
    char code[32], what[224];
    struct bm_buf payload, result;
};
void bm_errand_row_done(struct bm_errand *x);
BM_MUST_USE enum bm_rc bm_errand_put(struct bm_store *s, struct bm_errand *x, struct bm_error *e); /* new, queued; sets x->id */
/* Writes everything that may change: state, host, tries, token, due_at, code, what, payload, result. */
BM_MUST_USE enum bm_rc bm_errand_set(struct bm_store *s, const struct bm_errand *x, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_errand_by_id(struct bm_store *s, int64_t id, struct bm_errand *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_errand_newest(struct bm_store *s, const char *kind, const char *subject, struct bm_errand *ret,
                                        struct bm_error *e);
/* The one in this state that has been due longest, if that is at `now`. BM_NOTFOUND. */
BM_MUST_USE enum bm_rc bm_errand_due(struct bm_store *s, const char *state, int64_t now, struct bm_errand *ret, struct bm_error *e);
/* The unfinished one whose deadline has passed. BM_NOTFOUND. */
BM_MUST_USE enum bm_rc bm_errand_overdue(struct bm_store *s, int64_t now, struct bm_errand *ret, struct bm_error *e);
/* When the next one in `state` is due; INT64_MAX: there is none. */
BM_MUST_USE enum bm_rc bm_errand_next_due(struct bm_store *s, const char *state, int64_t *ret, struct bm_error *e);
/* All that this host has in hand are queued again, due at `now`. */
BM_MUST_USE enum bm_rc bm_errand_release(struct bm_store *s, int64_t host_id, int64_t now, struct bm_error *e);
/* Ended ones that are due for it, at most n. */
BM_MUST_USE enum bm_rc bm_errand_forget(struct bm_store *s, int64_t now, int64_t n, int64_t *ret_n, struct bm_error *e);
/* Unfinished ones of all kinds. */
BM_MUST_USE enum bm_rc bm_errand_open(struct bm_store *s, int64_t *ret, struct bm_error *e);
/* Unfinished ones about this device, and of this kind. */
BM_MUST_USE enum bm_rc bm_errand_open_of(struct bm_store *s, const char *kind, int64_t device_id, int64_t *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_errand_open_in(struct bm_store *s, const char *kind, int64_t batch_id, int64_t *ret, struct bm_error *e);
/* How many devices of this batch have one of this kind that has not failed, the one named left out; and how many more there are about none that is
 * known yet. */
BM_MUST_USE enum bm_rc bm_errand_in_batch(struct bm_store *s, const char *kind, int64_t batch_id, int64_t but_device_id,
                                          int64_t *ret_devices, int64_t *ret_unknown, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_errand_drop(struct bm_store *s, int64_t id, struct bm_error *e);

#endif
