#include "pki/ber.h"

#include "pki/der.h"

enum { CONSTRUCTED = 0x20, OCTETS_IN_PIECES = BM_DER_OCTET_STRING | CONSTRUCTED, LENGTH_BYTES_MAX = 4, HEADER_MAX = 6 };
static const size_t indefinite = SIZE_MAX;

/* X.690 section 8.1.3: any number of length octets that fits; 0x80 alone says that an end mark comes. */
static bool length_of(struct bm_rd *r, size_t *ret)
{
    uint8_t first;
    uint64_t n = 0;

    if (!bm_rd_u8(r, &first))
        return false;
    if (first == 0x80) {
        *ret = indefinite;
        return true;
    }
    if (first > 0x80 && ((first & 0x7f) > LENGTH_BYTES_MAX || !bm_rd_uint(r, first & 0x7f, &n)))
        return false;
    *ret = first < 0x80 ? first : (size_t)n;
    return true;
}

static bool end_mark(struct bm_rd *r)
{
    if (r->n < 2 || r->p[0] != 0 || r->p[1] != 0)
        return false;
    *r = bm_rd_of(r->p + 2, r->n - 2);
    return true;
}

/* The header of all that was appended since `mark` goes in front of it. */
static void put_header(struct bm_buf *out, size_t mark, uint8_t tag)
{
    uint8_t header[HEADER_MAX];
    struct bm_derw w = bm_derw_of(header, sizeof header);
    struct bm_rd h;
    size_t n = out->n - mark;

    bm_derw_header(&w, n, tag);
    h = bm_derw_rd(&w);
    bm_buf_put(out, h.p, h.n); /* room for it */
    if (out->bad || w.bad) {
        out->bad = true;
        return;
    }
    memmove(out->p + mark + h.n, out->p + mark, n);
    memcpy(out->p + mark, h.p, h.n);
}

static const char *element(struct bm_rd *r, struct bm_buf *out, bool piece, int depth);

/* What is inside a constructed element, up to its end or end mark. pieces: of an OCTET STRING, whose contents alone are wanted. */
static const char *inside(struct bm_rd *r, size_t n, struct bm_buf *out, bool pieces, int depth)
{
    struct bm_rd in = *r;
    const char *wrong;

    if (n != indefinite && !bm_rd_take(r, n, &in))
        return "cut short";
    for (;;) {
        if (n != indefinite && in.n == 0)
            return NULL;
        if (n == indefinite && end_mark(&in)) {
            *r = in;
            return NULL;
        }
        wrong = element(&in, out, pieces, depth);
        if (wrong != NULL)
            return wrong;
    }
}

static const char *primitive(struct bm_rd *r, size_t n, struct bm_buf *out, uint8_t tag, bool piece)
{
    size_t mark = out->n;
    struct bm_rd value;

    if (n == indefinite || !bm_rd_take(r, n, &value))
        return "cut short";
    bm_buf_put(out, value.p, value.n);
    if (!piece)
        put_header(out, mark, tag);
    return NULL;
}

static const char *element(struct bm_rd *r, struct bm_buf *out, bool piece, int depth)
{
    size_t mark = out->n, n;
    uint8_t tag;
    const char *wrong;

    if (depth > BM_BER_DEPTH_MAX)
        return "nested too deep";
    if (!bm_rd_u8(r, &tag) || tag == 0 || (tag & 0x1f) == 0x1f || !length_of(r, &n))
        return "no element where one should be";
    if (piece && (tag | CONSTRUCTED) != OCTETS_IN_PIECES)
        return "a piece of an OCTET STRING that is none";
    if ((tag & CONSTRUCTED) == 0)
        return primitive(r, n, out, tag, piece);
    wrong = inside(r, n, out, tag == OCTETS_IN_PIECES, depth + 1);
    if (wrong == NULL && !piece)
        put_header(out, mark, tag == OCTETS_IN_PIECES ? BM_DER_OCTET_STRING : tag);
    return wrong;
}

enum bm_rc bm_ber_to_der(struct bm_rd ber, struct bm_buf *ret_der, struct bm_error *e)
{
    const char *wrong = element(&ber, ret_der, false, 0);

    if (wrong == NULL && ber.n != 0)
        wrong = "bytes left over";
    if (wrong != NULL)
        return bm_fail(e, BM_MALFORMED, "not BER: %s", wrong);
    return bm_buf_check(ret_der, e);
}
