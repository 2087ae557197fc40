/* Hashes of parts of a stored log; shared by log.c and proof.c. */
#ifndef BM_AUDIT_PROOF_H
#define BM_AUDIT_PROOF_H

#include "audit/log.h"

enum { BM_TILE_LEVELS = 8 }; /* levels between stored tiles: 2^8 leaves, 2^16 ... */

/* The hash of the full subtree of 2^level leaves, `index`-th of its size. At most 2^7 rows are read. The log must reach that
 * far. */
BM_MUST_USE enum bm_rc bm_audit_subtree(struct bm_store *s, int level, int64_t index, uint8_t ret[32], struct bm_error *e);
/* The frontier of the log's first `size` leaves. */
BM_MUST_USE enum bm_rc bm_audit_frontier(struct bm_store *s, int64_t size, struct bm_merkle *ret, struct bm_error *e);

#endif
