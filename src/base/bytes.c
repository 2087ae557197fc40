#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void bm_wipe(void *p, size_t n)
{
    if (p != NULL && n != 0)
        explicit_bzero(p, n);
}

bool bm_secret_eq(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *x = a, *y = b;
    uint8_t d = 0;

    for (size_t i = 0; i < n; i++)
        d |= (uint8_t)(x[i] ^ y[i]);
    return d == 0;
}

struct bm_rd bm_rd_cut(struct bm_rd *in, char stop)
{
    const uint8_t *at = in->n != 0 ? memchr(in->p, stop, in->n) : NULL;
    size_t n = at == NULL ? in->n : (size_t)(at - in->p);
    struct bm_rd front = bm_rd_of(in->p, n);

    n += at != NULL;
    *in = n != 0 ? bm_rd_of(in->p + n, in->n - n) : *in;
    return front;
}

struct bm_rd bm_rd_line(struct bm_rd *in)
{
    struct bm_rd line = bm_rd_cut(in, '\n');

    line.n -= line.n != 0 && line.p[line.n - 1] == '\r';
    return line;
}

void bm_buf_done(struct bm_buf *b)
{
    bm_wipe(b->p, b->cap); /* all of it: dropped and half-written bytes lie behind n */
    free(b->p);
    *b = (struct bm_buf){ .max = b->max };
}

/* Moves to a larger block by hand: realloc would leave a copy of secrets behind. One byte over cap, for a printf's terminator. */
static bool grow(struct bm_buf *b, size_t want)
{
    size_t cap = b->cap < 128 ? 128 : b->cap;
    uint8_t *p;

    while (cap < want)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    cap = cap > b->max ? b->max : cap;
    if (cap == SIZE_MAX)
        return false;
    p = malloc(cap + 1);
    if (p == NULL)
        return false;
    if (b->p != NULL)
        memcpy(p, b->p, b->n);
    bm_wipe(b->p, b->cap);
    free(b->p);
    b->p = p;
    b->cap = cap;
    return true;
}

uint8_t *bm_buf_room(struct bm_buf *b, size_t n)
{
    if (b->bad || n > b->max - b->n || ((b->p == NULL || n > b->cap - b->n) && !grow(b, b->n + n))) {
        b->bad = true;
        return NULL;
    }
    return b->p + b->n;
}

void bm_buf_put(struct bm_buf *b, const void *p, size_t n)
{
    uint8_t *to;

    if (n == 0)
        return;
    to = bm_buf_room(b, n);
    if (to == NULL)
        return;
    memcpy(to, p, n);
    b->n += n;
}

void bm_buf_str(struct bm_buf *b, const char *s)
{
    bm_buf_put(b, s, strlen(s));
}

void bm_buf_printf(struct bm_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    uint8_t *to;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    b->bad = b->bad || n < 0;
    to = n >= 0 ? bm_buf_room(b, (size_t)n) : NULL;
    if (to != NULL) {
        vsnprintf((char *)to, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

void bm_buf_uint(struct bm_buf *b, size_t n, uint64_t v)
{
    uint8_t raw[8];
    struct bm_wr w = bm_wr_of(raw, sizeof raw);

    bm_wr_uint(&w, n, v);
    bm_buf_put(b, raw, w.n);
}

void bm_buf_vec(struct bm_buf *b, struct bm_rd v)
{
    b->bad = b->bad || v.n > UINT32_MAX;
    bm_buf_uint(b, 4, v.n);
    bm_buf_put(b, v.p, v.n);
}

void bm_buf_drop(struct bm_buf *b, size_t n)
{
    n = n > b->n ? b->n : n;
    if (n == 0)
        return;
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
    bm_wipe(b->p + b->n, n); /* what moved leaves no copy of a secret behind */
}

enum bm_rc bm_buf_check(const struct bm_buf *b, struct bm_error *e)
{
    if (!b->bad)
        return BM_OK;
    return bm_fail(e, BM_LIMIT, "does not fit into %zu bytes", b->max);
}
