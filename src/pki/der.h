/* A small strict DER reader over bm_rd and a writer that fills a caller's buffer from its end towards its start, so that every
 * length is known when its header is written. X.690 (DER): definite minimal lengths, low tag numbers only. Pure, any thread. */
#ifndef BM_PKI_DER_H
#define BM_PKI_DER_H

#include "base/bytes.h"

enum bm_der_tag {
    BM_DER_BOOLEAN = 0x01,
    BM_DER_INTEGER = 0x02,
    BM_DER_BIT_STRING = 0x03,
    BM_DER_OCTET_STRING = 0x04,
    BM_DER_NULL = 0x05,
    BM_DER_OID = 0x06,
    BM_DER_ENUMERATED = 0x0a,
    BM_DER_UTF8 = 0x0c,
    BM_DER_PRINTABLE = 0x13,
    BM_DER_IA5 = 0x16,
    BM_DER_UTC_TIME = 0x17,
    BM_DER_GENERALIZED_TIME = 0x18,
    BM_DER_SEQUENCE = 0x30,
    BM_DER_SET = 0x31,
};
#define BM_DER_CTX(n) ((uint8_t)(0x80 | (n)))      /* [n] IMPLICIT, primitive */
#define BM_DER_CTX_CONS(n) ((uint8_t)(0xa0 | (n))) /* [n], constructed */

/* Bytes of a string literal, for tables of OIDs. */
/* clang-format off */
#define BM_LIT(s) { (const uint8_t *)(s), sizeof(s) - 1 }
/* clang-format on */

/* --- reading: false leaves the reader and the outputs alone; every output may be NULL ----------------------------------------- */
/* The next element, whatever it is. whole: header and contents. */
BM_MUST_USE bool bm_der_any(struct bm_rd *r, uint8_t *ret_tag, struct bm_rd *ret_value, struct bm_rd *ret_whole);
/* The next element, which must have this tag: its contents / all of it. */
BM_MUST_USE bool bm_der_take(struct bm_rd *r, uint8_t tag, struct bm_rd *ret_value);
BM_MUST_USE bool bm_der_whole(struct bm_rd *r, uint8_t tag, struct bm_rd *ret_whole);
/* `in` is one element of this tag and nothing else. */
BM_MUST_USE bool bm_der_only(struct bm_rd in, uint8_t tag, struct bm_rd *ret_value);
/* True when the next element starts with this tag. Moves nothing. */
bool bm_der_next_is(struct bm_rd r, uint8_t tag);

/* Contents of an INTEGER in minimal form, X.690 8.3.2. */
bool bm_der_int_ok(struct bm_rd value);
/* A non-negative INTEGER that fits. */
BM_MUST_USE bool bm_der_uint(struct bm_rd *r, uint64_t *ret);
/* An INTEGER of either sign, of at most four bytes. */
BM_MUST_USE bool bm_der_int(struct bm_rd *r, int64_t *ret);
/* A BIT STRING of whole bytes. */
BM_MUST_USE bool bm_der_bits(struct bm_rd *r, struct bm_rd *ret);
/* Contents of an OBJECT IDENTIFIER: at least one arc, each minimal and complete. */
bool bm_der_oid_ok(struct bm_rd value);
/* UTCTime or GeneralizedTime in the only forms RFC 5280 section 4.1.2.5 allows; 99991231235959Z is INT64_MAX. */
BM_MUST_USE bool bm_der_time(struct bm_rd *r, int64_t *ret);

/* --- dotted text of OIDs ---------------------------------------------------------------------------------------------------- */
/* ret has room for ret_len characters; false when it does not fit. */
BM_MUST_USE bool bm_der_oid_text(struct bm_rd value, char *ret, size_t ret_len);
/* Contents of the OID written as "1.2.840..."; at most 32 bytes. */
BM_MUST_USE bool bm_der_oid_of_text(const char *text, uint8_t ret[32], size_t *ret_len);

/* --- writing, back to front --------------------------------------------------------------------------------------------------- */
/* What is written lies at p + at .. p + cap. Sticky: `bad` once something did not fit. */
struct bm_derw {
    uint8_t *p;
    size_t cap, at;
    bool bad;
};
static inline struct bm_derw bm_derw_of(void *p, size_t cap)
{
    return (struct bm_derw){ p, cap, cap, false };
}
static inline struct bm_rd bm_derw_rd(const struct bm_derw *w)
{
    return bm_rd_of(w->p + w->at, w->cap - w->at);
}
/* Where we are now; everything written after this can be wrapped into an element with bm_derw_end(). */
static inline size_t bm_derw_mark(const struct bm_derw *w)
{
    return w->at;
}
void bm_derw_put(struct bm_derw *w, struct bm_rd b);
void bm_derw_byte(struct bm_derw *w, uint8_t b);
/* Header of an element of n bytes of contents. */
void bm_derw_header(struct bm_derw *w, size_t n, uint8_t tag);
/* Header of an element whose contents are all that was written since mark. */
void bm_derw_end(struct bm_derw *w, size_t mark, uint8_t tag);
/* A whole primitive element. */
void bm_derw_tlv(struct bm_derw *w, uint8_t tag, struct bm_rd value);
void bm_derw_uint(struct bm_derw *w, uint64_t v);
/* INTEGER of an unsigned big-endian number of any length: leading zeros dropped, sign byte added as needed. */
void bm_derw_unsigned(struct bm_derw *w, struct bm_rd number);
/* BIT STRING over all that was written since mark, no unused bits. */
void bm_derw_end_bits(struct bm_derw *w, size_t mark);
/* RFC 5280 section 4.1.2.5: UTCTime through 2049, GeneralizedTime after; INT64_MAX is 99991231235959Z. */
void bm_derw_time(struct bm_derw *w, int64_t at);
/* The same as GeneralizedTime whatever the year: OCSP, RFC 6960 section 4.2.2.1. */
void bm_derw_generalized(struct bm_derw *w, int64_t at);

#endif
