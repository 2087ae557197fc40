/* The little DER (X.690) a device needs: a writer that works from the end, so that lengths are known when they are written, and a reader
 * that takes definite, minimal lengths only. */
#ifndef BMD_DER_H
#define BMD_DER_H

#include "bmd.h"

enum {
    BMD_DER_INTEGER = 0x02,
    BMD_DER_BIT_STRING = 0x03,
    BMD_DER_OCTET_STRING = 0x04,
    BMD_DER_OID = 0x06,
    BMD_DER_UTF8 = 0x0c,
    BMD_DER_UTC_TIME = 0x17,
    BMD_DER_GENERALIZED_TIME = 0x18,
    BMD_DER_SEQUENCE = 0x30,
    BMD_DER_SET = 0x31,
    BMD_DER_CTX0 = 0xa0 /* [0], constructed */
};

/* What is written stands at p + at, up to p + cap. Sticky like bmd_wr. */
struct bmd_der {
    uint8_t *p;
    size_t cap, at;
    bool bad;
};

struct bmd_der bmd_der_of(void *p, size_t cap);
/* Bytes written since `end`, an earlier value of d->at; the whole with end = d->cap. */
struct bmd_rd bmd_der_rd(const struct bmd_der *d, size_t end);
void bmd_der_put(struct bmd_der *d, const void *b, size_t n);
/* Puts tag and length in front of what was written since d->at was `end`. */
void bmd_der_wrap(struct bmd_der *d, uint8_t tag, size_t end);
/* One whole element. */
void bmd_der_tlv(struct bmd_der *d, uint8_t tag, struct bmd_rd content);
/* Unsigned big-endian number as INTEGER: leading zeros dropped, one put back when the top bit is set. */
void bmd_der_uint(struct bmd_der *d, struct bmd_rd number);
/* BIT STRING without unused bits around what was written since `end`. */
void bmd_der_bits(struct bmd_der *d, size_t end);

/* Next element of r with this tag: its content, or with ret_whole also the whole element. A failure moves nothing. */
BMD_MUST_USE bool bmd_der_take(struct bmd_rd *r, uint8_t tag, struct bmd_rd *ret, struct bmd_rd *ret_whole);
/* Next element, whatever it is. */
BMD_MUST_USE bool bmd_der_any(struct bmd_rd *r, uint8_t *ret_tag, struct bmd_rd *ret, struct bmd_rd *ret_whole);

#endif
