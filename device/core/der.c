#include "der.h"

struct bmd_der bmd_der_of(void *p, size_t cap)
{
    struct bmd_der d;

    d.p = (uint8_t *)p;
    d.cap = cap;
    d.at = cap;
    d.bad = false;
    return d;
}

struct bmd_rd bmd_der_rd(const struct bmd_der *d, size_t end)
{
    return bmd_rd_of(d->p + d->at, end - d->at);
}

void bmd_der_put(struct bmd_der *d, const void *b, size_t n)
{
    d->bad = d->bad || n > d->at;
    if (d->bad || n == 0)
        return;
    d->at -= n;
    memcpy(d->p + d->at, b, n);
}

void bmd_der_wrap(struct bmd_der *d, uint8_t tag, size_t end)
{
    size_t n = end - d->at;
    uint8_t head[4];

    if (n > 0xffff) {
        d->bad = true;
        return;
    }
    head[0] = tag;
    if (n < 0x80) {
        head[1] = (uint8_t)n;
        bmd_der_put(d, head, 2);
        return;
    }
    head[1] = n < 0x100 ? 0x81 : 0x82;
    head[2] = (uint8_t)(n < 0x100 ? n : n >> 8);
    head[3] = (uint8_t)n;
    bmd_der_put(d, head, n < 0x100 ? 3 : 4);
}

void bmd_der_tlv(struct bmd_der *d, uint8_t tag, struct bmd_rd content)
{
    size_t end = d->at;

    bmd_der_put(d, content.p, content.n);
    bmd_der_wrap(d, tag, end);
}

void bmd_der_uint(struct bmd_der *d, struct bmd_rd number)
{
    static const uint8_t zero = 0;
    size_t end = d->at;

    while (number.n > 1 && number.p[0] == 0) {
        number.p++;
        number.n--;
    }
    bmd_der_put(d, number.p, number.n);
    if (number.n == 0 || number.p[0] >= 0x80)
        bmd_der_put(d, &zero, 1);
    bmd_der_wrap(d, BMD_DER_INTEGER, end);
}

void bmd_der_bits(struct bmd_der *d, size_t end)
{
    static const uint8_t unused = 0;

    bmd_der_put(d, &unused, 1);
    bmd_der_wrap(d, BMD_DER_BIT_STRING, end);
}

/* X.690 10.1: definite form, fewest octets. Three length octets hold more than any answer we take. */
static bool take_length(struct bmd_rd *r, size_t *ret)
{
    struct bmd_rd b;
    size_t n = 0, i;

    if (!bmd_rd_take(r, 1, &b))
        return false;
    if (b.p[0] < 0x80) {
        *ret = b.p[0];
        return true;
    }
    if (b.p[0] < 0x81 || b.p[0] > 0x83 || !bmd_rd_take(r, b.p[0] & 0x7f, &b) || b.p[0] == 0)
        return false;
    for (i = 0; i < b.n; i++)
        n = n << 8 | b.p[i];
    *ret = n;
    return n >= 0x80;
}

bool bmd_der_any(struct bmd_rd *r, uint8_t *ret_tag, struct bmd_rd *ret, struct bmd_rd *ret_whole)
{
    struct bmd_rd t = *r, tag, content;
    size_t n;

    if (!bmd_rd_take(&t, 1, &tag) || (tag.p[0] & 0x1f) == 0x1f || !take_length(&t, &n) || !bmd_rd_take(&t, n, &content))
        return false;
    if (ret_whole != NULL)
        *ret_whole = bmd_rd_of(r->p, r->n - t.n);
    *ret_tag = tag.p[0];
    *ret = content;
    *r = t;
    return true;
}

bool bmd_der_take(struct bmd_rd *r, uint8_t tag, struct bmd_rd *ret, struct bmd_rd *ret_whole)
{
    struct bmd_rd t = *r;
    uint8_t found;

    if (t.n == 0 || t.p[0] != tag || !bmd_der_any(&t, &found, ret, ret_whole))
        return false;
    *r = t;
    return true;
}
