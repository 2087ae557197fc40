/* The columns of a row, one after the other. */
#include "store/db_impl.h"

struct bm_cols bm_query_cols(const struct bm_query *q)
{
    return (struct bm_cols){ .store = q->store, .st = q->st };
}

int64_t bm_col_int(struct bm_cols *c)
{
    return c->store->driver->col_int(c->st, c->i++);
}

struct bm_arg bm_col_any(struct bm_cols *c)
{
    struct bm_arg a = { .kind = c->store->driver->col_kind(c->st, c->i) };

    if (a.kind == BM_ARG_INT)
        a.i = c->store->driver->col_int(c->st, c->i);
    else if (a.kind != BM_ARG_NULL)
        a.b = c->store->driver->col_bytes(c->st, c->i);
    c->i++;
    return a;
}

struct bm_rd bm_col_bytes(struct bm_cols *c)
{
    return c->store->driver->col_bytes(c->st, c->i++);
}

void bm_col_text(struct bm_cols *c, char *ret, size_t room)
{
    struct bm_rd b = bm_col_bytes(c);

    c->bad = c->bad || b.n >= room;
    if (c->bad)
        return;
    if (b.n != 0)
        memcpy(ret, b.p, b.n);
    ret[b.n] = '\0';
}

void bm_col_fixed(struct bm_cols *c, void *ret, size_t n)
{
    struct bm_rd b = bm_col_bytes(c);

    c->bad = c->bad || b.n != n;
    if (!c->bad)
        memcpy(ret, b.p, n);
}

void bm_col_buf(struct bm_cols *c, struct bm_buf *ret)
{
    struct bm_rd b = bm_col_bytes(c);

    *ret = (struct bm_buf){ .max = b.n };
    bm_buf_put(ret, b.p, b.n);
    c->bad = c->bad || ret->bad;
}

void bm_col_append(struct bm_cols *c, struct bm_buf *ret)
{
    struct bm_rd b = bm_col_bytes(c);

    if (ret->max == 0)
        ret->max = b.n;
    bm_buf_put(ret, b.p, b.n);
    c->bad = c->bad || ret->bad;
}

enum bm_rc bm_cols_check(const struct bm_cols *c, const char *what, struct bm_error *e)
{
    if (c->bad)
        return bm_fail(e, BM_IO, "store: a %s row does not have the form of this program's schema", what);
    return BM_OK;
}
