/* The life of a device as one table.
 *
 *   registered -> allocated -> active <-> suspended -> retired
 *                     ^--------- (reset)
 *                     any of them -> compromised -> retired */
#ifndef BM_KEEPER_STATE_H
#define BM_KEEPER_STATE_H

#include "base/error.h"

#include <stdbool.h>

enum bm_state { BM_REGISTERED, BM_ALLOCATED, BM_ACTIVE, BM_SUSPENDED, BM_RETIRED, BM_COMPROMISED, BM_STATES };

const char *bm_state_name(enum bm_state s);
BM_MUST_USE bool bm_state_parse(const char *word, enum bm_state *ret);
/* BM_OK, or BM_CONFLICT "illegal-transition" with a sentence. */
BM_MUST_USE enum bm_rc bm_state_move(enum bm_state from, enum bm_state to, struct bm_error *e);

#endif
