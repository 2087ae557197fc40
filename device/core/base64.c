/* RFC 4648. EST bodies (RFC 8951) and manifest lines. */
#include "bmd.h"

static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void encode(struct bmd_wr *w, struct bmd_rd in, const char *alphabet, bool pad)
{
    while (in.n != 0) {
        struct bmd_rd group = bmd_rd_of(in.p, in.n < 3 ? in.n : 3);
        uint32_t v;
        char text[4];
        size_t chars;

        in = bmd_rd_of(in.p + group.n, in.n - group.n);
        v = (uint32_t)group.p[0] << 16 | (group.n > 1 ? (uint32_t)group.p[1] << 8 : 0) | (group.n > 2 ? group.p[2] : 0u);
        text[0] = alphabet[v >> 18];
        text[1] = alphabet[v >> 12 & 63];
        text[2] = group.n > 1 ? alphabet[v >> 6 & 63] : '=';
        text[3] = group.n > 2 ? alphabet[v & 63] : '=';
        chars = pad ? 4 : group.n + 1;
        bmd_wr_put(w, text, chars);
    }
}

void bmd_base64(struct bmd_wr *w, struct bmd_rd in)
{
    encode(w, in, plain, true);
}

void bmd_base64url(struct bmd_wr *w, struct bmd_rd in)
{
    encode(w, in, url, false);
}

static int value_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool blank(uint8_t c)
{
    return c == '\n' || c == '\r' || c == ' ' || c == '\t';
}

enum bmd_rc bmd_unbase64(struct bmd_rd in, uint8_t *out, size_t cap, size_t *ret_len)
{
    uint32_t acc = 0;
    unsigned bits = 0, pads = 0;
    size_t chars = 0, n = 0, i;

    for (i = 0; i < in.n; i++) {
        uint8_t c = in.p[i];
        int v = value_of(c);

        if (blank(c))
            continue;
        chars++;
        if (c == '=') {
            pads++;
            continue;
        }
        if (v < 0 || pads != 0)
            return BMD_MALFORMED;
        acc = (acc << 6 | (uint32_t)v) & 0xfff;
        bits += 6;
        if (bits < 8)
            continue;
        bits -= 8;
        if (n == cap)
            return BMD_BUFFER_TOO_SMALL;
        out[n++] = (uint8_t)(acc >> bits); /* never ahead of the reading end, so in place is fine */
    }
    if (chars % 4 != 0 || pads > 2 || pads * 2 != bits || (acc & ((1u << bits) - 1)) != 0)
        return BMD_MALFORMED;
    *ret_len = n;
    return BMD_OK;
}
