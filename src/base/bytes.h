/* Bytes in, bytes out. All wire data moves through these types; memcpy stays inside them.
 * A failed read moves nothing; writers are sticky: write freely, ask once at the end. Integers are big-endian. */
#ifndef BM_BASE_BYTES_H
#define BM_BASE_BYTES_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes; copying it is free, it owns nothing. */
struct bm_rd {
    const uint8_t *p;
    size_t n;
};

static inline struct bm_rd bm_rd_of(const void *p, size_t n)
{
    return (struct bm_rd){ p, n };
}

static inline struct bm_rd bm_rd_str(const char *s)
{
    return bm_rd_of(s, strlen(s));
}

static inline bool bm_rd_eq(struct bm_rd a, struct bm_rd b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool bm_rd_take(struct bm_rd *r, size_t n, struct bm_rd *ret)
{
    if (n > r->n) /* against what is left: never pos + n, which can wrap */
        return false;
    *ret = bm_rd_of(r->p, n);
    r->p = n != 0 ? r->p + n : r->p;
    r->n -= n;
    return true;
}

static inline bool bm_rd_uint(struct bm_rd *r, size_t n, uint64_t *ret)
{
    struct bm_rd b;
    uint64_t v = 0;

    if (!bm_rd_take(r, n, &b))
        return false;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | b.p[i];
    *ret = v;
    return true;
}

static inline bool bm_rd_u8(struct bm_rd *r, uint8_t *ret)
{
    uint64_t v;

    if (!bm_rd_uint(r, 1, &v))
        return false;
    *ret = (uint8_t)v;
    return true;
}

static inline bool bm_rd_u16(struct bm_rd *r, uint16_t *ret)
{
    uint64_t v;

    if (!bm_rd_uint(r, 2, &v))
        return false;
    *ret = (uint16_t)v;
    return true;
}

static inline bool bm_rd_u32(struct bm_rd *r, uint32_t *ret)
{
    uint64_t v;

    if (!bm_rd_uint(r, 4, &v))
        return false;
    *ret = (uint32_t)v;
    return true;
}

static inline bool bm_rd_u64(struct bm_rd *r, uint64_t *ret)
{
    return bm_rd_uint(r, 8, ret);
}

static inline bool bm_rd_i64(struct bm_rd *r, int64_t *ret)
{
    uint64_t v;

    if (!bm_rd_u64(r, &v))
        return false;
    *ret = (int64_t)v;
    return true;
}

/* Exactly n bytes into caller memory. */
static inline bool bm_rd_copy(struct bm_rd *r, void *ret, size_t n)
{
    struct bm_rd b;

    if (!bm_rd_take(r, n, &b))
        return false;
    if (n != 0)
        memcpy(ret, b.p, n);
    return true;
}

/* Text: what stands before the first `stop`, which goes with it; all of it when there is none. */
struct bm_rd bm_rd_cut(struct bm_rd *in, char stop);
/* The same for a line, without its end, LF or CR LF. */
struct bm_rd bm_rd_line(struct bm_rd *in);

/* A u32 length followed by that many bytes, at most max. */
static inline bool bm_rd_vec(struct bm_rd *r, size_t max, struct bm_rd *ret)
{
    struct bm_rd t = *r; /* work on a copy, commit at the end */
    uint32_t n;

    if (!bm_rd_u32(&t, &n) || n > max || !bm_rd_take(&t, n, ret))
        return false;
    *r = t;
    return true;
}

/* Writer over caller memory of fixed size. */
struct bm_wr {
    uint8_t *p;
    size_t cap, n;
    bool bad;
};

static inline struct bm_wr bm_wr_of(void *p, size_t cap)
{
    return (struct bm_wr){ p, cap, 0, false };
}

static inline struct bm_rd bm_wr_rd(const struct bm_wr *w)
{
    return bm_rd_of(w->p, w->n);
}

static inline void bm_wr_put(struct bm_wr *w, const void *b, size_t n)
{
    w->bad = w->bad || n > w->cap - w->n;
    if (!w->bad && n != 0)
        memcpy(w->p + w->n, b, n);
    w->n += w->bad ? 0 : n;
}

static inline void bm_wr_str(struct bm_wr *w, const char *s)
{
    bm_wr_put(w, s, strlen(s));
}

static inline void bm_wr_uint(struct bm_wr *w, size_t n, uint64_t v)
{
    uint8_t b[8];

    for (size_t i = 0; i < n; i++)
        b[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
    bm_wr_put(w, b, n);
}

static inline void bm_wr_vec(struct bm_wr *w, struct bm_rd b)
{
    w->bad = w->bad || b.n > UINT32_MAX;
    bm_wr_uint(w, 4, b.n);
    bm_wr_put(w, b.p, b.n);
}

/* Growing buffer with a mandatory ceiling. Zero-initialise with the ceiling in max; release with bm_buf_done().
 * Sticky like bm_wr: `bad` after running over max or out of memory. Contents are wiped on release and on growth. */
struct bm_buf {
    uint8_t *p;
    size_t n, cap, max;
    bool bad;
};

void bm_buf_done(struct bm_buf *b); /* safe on zero state; usable as BM_CLEANUP(bm_buf_done) */
void bm_buf_put(struct bm_buf *b, const void *p, size_t n);
void bm_buf_str(struct bm_buf *b, const char *s);
BM_PRINTF(2) void bm_buf_printf(struct bm_buf *b, const char *fmt, ...);
void bm_buf_uint(struct bm_buf *b, size_t n, uint64_t v);
void bm_buf_vec(struct bm_buf *b, struct bm_rd v);
/* Room for n more bytes, to be filled by the caller who then adds to b->n; NULL when bad. */
uint8_t *bm_buf_room(struct bm_buf *b, size_t n);
/* Drops the first n bytes. */
void bm_buf_drop(struct bm_buf *b, size_t n);
static inline struct bm_rd bm_buf_rd(const struct bm_buf *b)
{
    return bm_rd_of(b->p, b->n);
}
/* BM_OK, or BM_LIMIT when bad. */
BM_MUST_USE enum bm_rc bm_buf_check(const struct bm_buf *b, struct bm_error *e);

/* Overwrites secrets in a way the compiler keeps. */
void bm_wipe(void *p, size_t n);
/* Compares in time that depends only on n. */
BM_MUST_USE bool bm_secret_eq(const void *a, const void *b, size_t n);

#endif
