/* CBOR (RFC 8949) over libcbor's low level, which uses no heap: definite lengths only. */
#ifndef BMD_CBOR_H
#define BMD_CBOR_H

#include "bmd.h"

enum bmd_cbor_type {
    BMD_CBOR_UINT,
    BMD_CBOR_NEGINT,
    BMD_CBOR_BYTES,
    BMD_CBOR_TEXT,
    BMD_CBOR_ARRAY,
    BMD_CBOR_MAP,
    BMD_CBOR_TAG,
    BMD_CBOR_SIMPLE
};

/* One data item's head; for strings the content too. value: number, count of items or of pairs. */
struct bmd_cbor_item {
    enum bmd_cbor_type type;
    uint64_t value;
    struct bmd_rd bytes;
};

/* Takes one head (with a string's content). Indefinite lengths, reserved codes and cut items: BMD_MALFORMED; nothing moves then. */
BMD_MUST_USE enum bmd_rc bmd_cbor_next(struct bmd_rd *r, struct bmd_cbor_item *ret);
/* Takes one head of the given type, or BMD_MALFORMED. */
BMD_MUST_USE enum bmd_rc bmd_cbor_take(struct bmd_rd *r, enum bmd_cbor_type type, struct bmd_cbor_item *ret);
/* Steps over one whole item, at most BMD_CBOR_DEPTH_MAX deep. */
BMD_MUST_USE enum bmd_rc bmd_cbor_skip(struct bmd_rd *r);

void bmd_cbor_put_uint(struct bmd_wr *w, uint64_t v);
void bmd_cbor_put_bytes(struct bmd_wr *w, struct bmd_rd v);
void bmd_cbor_put_text(struct bmd_wr *w, struct bmd_rd v);
void bmd_cbor_put_map(struct bmd_wr *w, size_t pairs);
void bmd_cbor_put_array(struct bmd_wr *w, size_t items);

#endif
