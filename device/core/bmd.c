#include "bmd.h"

const char *bmd_rc_name(enum bmd_rc rc)
{
    static const char *const names[BMD_RCS] = {
        "ok",   "not-supported", "bad-argument", "buffer-too-small", "not-found", "exists",    "no-space", "denied", "busy",
        "comm", "integrity",     "noisy",        "exhausted",        "internal",  "malformed", "refused",
    };

    return (unsigned)rc < BMD_RCS ? names[rc] : "internal";
}

void bmd_wr_dec(struct bmd_wr *w, uint64_t v)
{
    char digits[20];
    size_t n = sizeof digits;

    do {
        digits[--n] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    bmd_wr_put(w, digits + n, sizeof digits - n);
}

void bmd_hex(const uint8_t *p, size_t n, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    size_t i;

    for (i = 0; i < n; i++) {
        ret[2 * i] = digits[p[i] >> 4];
        ret[2 * i + 1] = digits[p[i] & 15];
    }
    ret[2 * n] = '\0';
}

void bmd_wipe(void *p, size_t n)
{
    volatile uint8_t *v = (volatile uint8_t *)p;

    while (n-- != 0)
        *v++ = 0;
}
