/* Errands: what has to be asked of somebody outside. They are rows of the registry, so that they outlive any process; the courier carries them out.
 *
 *   queued --handed out--> running --answer--> done | failed
 *      ^                      |
 *      +-- no answer: later --+      over its deadline, from either: expired
 *
 * An errand may be carried out more than once (the courier may die before it reports), its result is taken in once: in the transaction that
 * ends the row. With several hosts, whoever hands it out has it until BM_ERRAND_LEASE_S are over. */
#ifndef BM_KEEPER_ERRAND_H
#define BM_KEEPER_ERRAND_H

#include "keeper/internal.h"
#include "keeper/task.h"
#include "store/errand.h"

/* What an answer has led to. */
enum { BM_ERRAND_WAIT_MAX_S = 86400 };
struct bm_errand_outcome {
    struct bm_buf result;  /* BM_OK: for whoever finds the row */
    struct bm_buf payload; /* BM_AGAIN: in place of the one it had: the next step of several, and the tries begin anew */
    uint32_t
        wait_s; /* BM_AGAIN: until the next step or attempt, if the other side has said; 0: the next step at once, an attempt by the back-off */
};

/* Nothing but an answer or its life ends such a one: not what a later attempt is unlikely to mend either, an answer that is too long for one. */
#define BM_ERRAND_INSISTS (UINT32_MAX - 1)

/* One row of bm_errand_kinds[] (errand_kinds.c). All three run inside a transaction. */
struct bm_errand_kind {
    const char *name;
    unsigned tries;           /* hand-outs, at most; or BM_ERRAND_INSISTS */
    unsigned first_s, most_s; /* wait after the first attempt without an answer, doubled each time, with jitter */
    unsigned life_s;          /* then it expires */
    unsigned kept_s;          /* how long an ended one can still be found */
    /* The task, made anew each time it is handed out: what is secret, or depends on the time of day, is put in here and is never at rest.
     * A refusal ends the errand as failed. */
    enum bm_rc (*task)(struct bm_keeper *k, const struct bm_errand *x, int64_t now, struct bm_buf *ret_task, struct bm_error *e);
    /* The answer. BM_OK ends the errand as done; BM_AGAIN goes on, or tries again later; BM_IO: the transaction is lost; anything else ends it as
     * failed. An answer never comes here when it is `failed` itself. */
    enum bm_rc (*done)(struct bm_keeper *k, const struct bm_errand *x, const struct bm_task_answer *a, int64_t now,
                       struct bm_errand_outcome *ret, struct bm_error *e);
    /* It has failed or expired, for good; why->code and ->what stay in the row. NULL: nothing more is to be done. Only BM_IO counts. */
    enum bm_rc (*failed)(struct bm_keeper *k, const struct bm_errand *x, const struct bm_error *why, int64_t now,
                         struct bm_error *e);
};
extern const struct bm_errand_kind *const bm_errand_kinds[]; /* NULL ends it */

/* Queues one: o->kind, subject, payload, and device_id, batch_id if there are such; sets o->id. Whoever asks for a thing that may be under way
 * looks with bm_errand_find() first. BM_AGAIN "errands-full". */
BM_MUST_USE enum bm_rc bm_errand_add(struct bm_keeper *k, struct bm_errand *o, int64_t now, struct bm_error *e);
/* The newest of this kind about this subject, in whatever state; bm_errand_row_done() it. BM_NOTFOUND. */
BM_MUST_USE enum bm_rc bm_errand_find(struct bm_keeper *k, const char *kind, const char *subject, struct bm_errand *ret,
                                      struct bm_error *e);

/* --- for the keeper's loop ------------------------------------------------------------------------------------------------------- */
BM_MUST_USE enum bm_rc bm_run_errand(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out,
                                     struct bm_error *e);
/* One piece of the rest: expired ones, leases that are over, rows that have been kept long enough; true when there is more. */
bool bm_errands_step(struct bm_keeper *k, int64_t now);
/* The courier is to be woken; asking forgets it. */
bool bm_errands_wake(struct bm_keeper *k, int64_t now);

/* Seconds to wait after attempt number `tries` (from 1); chance: any number. */
int64_t bm_errand_backoff(const struct bm_errand_kind *kind, uint32_t tries, uint32_t chance);

#endif
