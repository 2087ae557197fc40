/* CBOR (RFC 8949) as strangers send it: one item, definite lengths, no tags, no floats, bounded in depth and number before anything is reserved
 * for it. The items are libcbor's. */
#ifndef BM_PKI_CBOR_H
#define BM_PKI_CBOR_H

#include "base/bytes.h"

#include <cbor.h>

/* BM_MALFORMED; leftovers refused. The tree is the caller's: cbor_decref(). */
BM_MUST_USE enum bm_rc bm_cbor_load(struct bm_rd in, cbor_item_t **ret, struct bm_error *e);
void bm_cbor_freep(cbor_item_t **item);

#endif
