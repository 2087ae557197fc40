/* What all parts of the SDK share: outcomes, bytes in, bytes out. C99, no heap, no globals, no operating system. */
#ifndef BMD_H
#define BMD_H

#include "bmd_limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define BMD_MUST_USE __attribute__((warn_unused_result))
#else
#define BMD_MUST_USE
#endif

/* One enum for drivers and protocols; a vendor's own code goes to the driver's last_detail. */
enum bmd_rc {
    BMD_OK = 0,
    BMD_NOT_SUPPORTED,
    BMD_BAD_ARGUMENT,
    BMD_BUFFER_TOO_SMALL, /* the size needed is returned where the size goes */
    BMD_NOT_FOUND,
    BMD_EXISTS,
    BMD_NO_SPACE,
    BMD_DENIED,    /* policy, PIN, locked; a signature or certificate that does not hold */
    BMD_BUSY,      /* try again */
    BMD_COMM,      /* bus, daemon or network lost */
    BMD_INTEGRITY, /* stored data or tag */
    BMD_NOISY,     /* a PUF could not reconstruct; the same for forged helper data */
    BMD_EXHAUSTED, /* a counter at its end */
    BMD_INTERNAL,
    BMD_MALFORMED, /* bytes of a peer that do not follow their format */
    BMD_REFUSED,   /* the server understood and said no */
    BMD_RCS
};
/* "ok", "not-supported" ...; never NULL. */
const char *bmd_rc_name(enum bmd_rc rc);

/* Borrowed bytes; copying it is free, it owns nothing. */
struct bmd_rd {
    const uint8_t *p;
    size_t n;
};

static inline struct bmd_rd bmd_rd_of(const void *p, size_t n)
{
    struct bmd_rd r;

    r.p = (const uint8_t *)p;
    r.n = n;
    return r;
}

static inline struct bmd_rd bmd_rd_str(const char *s)
{
    return bmd_rd_of(s, s != NULL ? strlen(s) : 0);
}

static inline bool bmd_rd_eq(struct bmd_rd a, struct bmd_rd b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool bmd_rd_is(struct bmd_rd a, const char *s)
{
    return bmd_rd_eq(a, bmd_rd_str(s));
}

/* The first n bytes; a failed read moves nothing. */
static inline bool bmd_rd_take(struct bmd_rd *r, size_t n, struct bmd_rd *ret)
{
    if (n > r->n)
        return false;
    *ret = bmd_rd_of(r->p, n);
    r->p = n != 0 ? r->p + n : r->p;
    r->n -= n;
    return true;
}

/* Writer over caller memory of fixed size. Sticky: write freely, ask `bad` once at the end. */
struct bmd_wr {
    uint8_t *p;
    size_t cap, n;
    bool bad;
};

static inline struct bmd_wr bmd_wr_of(void *p, size_t cap)
{
    struct bmd_wr w;

    w.p = (uint8_t *)p;
    w.cap = cap;
    w.n = 0;
    w.bad = false;
    return w;
}

static inline struct bmd_rd bmd_wr_rd(const struct bmd_wr *w)
{
    return bmd_rd_of(w->p, w->n);
}

static inline void bmd_wr_put(struct bmd_wr *w, const void *b, size_t n)
{
    w->bad = w->bad || n > w->cap - w->n;
    if (!w->bad && n != 0) {
        memcpy(w->p + w->n, b, n);
        w->n += n;
    }
}

static inline void bmd_wr_str(struct bmd_wr *w, const char *s)
{
    bmd_wr_put(w, s, strlen(s));
}

static inline void bmd_wr_u8(struct bmd_wr *w, uint8_t v)
{
    bmd_wr_put(w, &v, 1);
}

static inline void bmd_wr_u32(struct bmd_wr *w, uint32_t v)
{
    uint8_t b[4];

    b[0] = (uint8_t)(v >> 24);
    b[1] = (uint8_t)(v >> 16);
    b[2] = (uint8_t)(v >> 8);
    b[3] = (uint8_t)v;
    bmd_wr_put(w, b, sizeof b);
}

static inline void bmd_wr_vec(struct bmd_wr *w, struct bmd_rd b)
{
    bmd_wr_u32(w, (uint32_t)b.n);
    bmd_wr_put(w, b.p, b.n);
}

/* Decimal digits. */
void bmd_wr_dec(struct bmd_wr *w, uint64_t v);
/* Lower-case hex of n bytes into 2 n + 1 characters, terminated. */
void bmd_hex(const uint8_t *p, size_t n, char *ret);
/* Base64 on one line (RFC 4648 section 4). */
void bmd_base64(struct bmd_wr *w, struct bmd_rd in);
/* Base64url without padding (RFC 4648 section 5). */
void bmd_base64url(struct bmd_wr *w, struct bmd_rd in);
/* Base64 in either wrapping, blanks and line ends skipped, into the same memory it stands in or elsewhere. BMD_MALFORMED on anything
 * else, missing or wrong padding, or stray bits; BMD_BUFFER_TOO_SMALL. */
BMD_MUST_USE enum bmd_rc bmd_unbase64(struct bmd_rd in, uint8_t *out, size_t cap, size_t *ret_len);
/* Overwrites secrets in a way the compiler keeps. */
void bmd_wipe(void *p, size_t n);

#endif
