/* The acts on a device that change its state, one row each: where it goes, and what that does to every credential it holds, of whichever
 * service. Single commands, batches and jobs over many devices use the same rows. docs/lifecycle.md shows them. */
#ifndef BM_KEEPER_ACT_H
#define BM_KEEPER_ACT_H

#include "keeper/internal.h"

struct bm_act {
    const char *name, *event;
    enum bm_state only, to; /* only: the one state it starts from, or BM_STATES: keeper/state.h says which */
    bool revokes;           /* all that the device holds */
    int reason;             /* RFC 5280 section 5.3.1, when the operator gives none */
};
extern const struct bm_act bm_acts[]; /* NULL name ends it */

const struct bm_act *bm_act_find(const char *name); /* NULL: no such act */
/* BM_OK, or BM_CONFLICT "illegal-transition". */
BM_MUST_USE enum bm_rc bm_act_check(const struct bm_act *a, const struct bm_device *d, struct bm_error *e);
/* Checks, moves, revokes, and records. reason: as in the row, -1: the row's. d->state follows. Inside a transaction. */
BM_MUST_USE enum bm_rc bm_act_do(struct bm_keeper *k, const struct bm_act *a, struct bm_device *d, int reason, int64_t now,
                                 int64_t *ret_revoked, struct bm_error *e);

#endif
