#include "store/db.h"

/* --- leaves ------------------------------------------------------------------------------------------------------------------- */
static const struct bm_sql leaf_add = { "INSERT INTO audit_leaf (idx, at_ms, data) VALUES (?, ?, ?) ON CONFLICT DO NOTHING" };
static const struct bm_sql leaf_each = { "SELECT idx, at_ms, data FROM audit_leaf WHERE idx >= ? AND idx < ? ORDER BY idx" };
static const struct bm_sql leaf_last = { "SELECT idx FROM audit_leaf WHERE idx >= ? AND idx < ? ORDER BY idx DESC LIMIT 1" };
static const struct bm_sql leaf_last_of_all = { "SELECT idx FROM audit_leaf ORDER BY idx DESC LIMIT 1" };

/* The rows of the log in use. The first one's reach below 0, so that none hides there. */
static int64_t lowest(const struct bm_store *s)
{
    int64_t base = bm_db_log_base(s);

    return base == 0 ? INT64_MIN : base;
}

static int64_t row_of(const struct bm_store *s, int64_t index)
{
    int64_t base = bm_db_log_base(s), end = bm_db_log_end(s);

    return index < 0 ? lowest(s) : index >= end - base ? end : base + index;
}

enum bm_rc bm_audit_leaf_add(struct bm_store *s, int64_t index, int64_t at_ms, struct bm_rd data, struct bm_error *e)
{
    return bm_db_insert(s, &leaf_add, BM_ARGS(bm_arg_int(row_of(s, index)), bm_arg_int(at_ms), bm_arg_blob(data.p, data.n)),
                        "audit leaf", NULL, e);
}

enum bm_rc bm_audit_leaf_each(struct bm_store *s, int64_t from, int64_t to, bm_audit_leaf_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &leaf_each, BM_ARGS(bm_arg_int(row_of(s, from)), bm_arg_int(row_of(s, to))), &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols c = bm_query_cols(&q);
        int64_t index = bm_col_int(&c) - bm_db_log_base(s), at_ms = bm_col_int(&c);

        rc = fn(arg, index, at_ms, bm_col_bytes(&c), e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

enum bm_rc bm_audit_leaf_count(struct bm_store *s, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &leaf_last, BM_ARGS(bm_arg_int(lowest(s)), bm_arg_int(bm_db_log_end(s))), "audit leaf", &q, e);

    if (rc == BM_OK) {
        c = bm_query_cols(&q);
        *ret = bm_col_int(&c) - bm_db_log_base(s) + 1;
    } else if (rc == BM_NOTFOUND) {
        *ret = 0;
        rc = BM_OK;
    }
    return rc;
}

enum bm_rc bm_audit_last_log(struct bm_store *s, int64_t *ret_host_id, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &leaf_last_of_all, BM_NO_ARGS, "audit leaf", &q, e);

    if (rc == BM_OK) {
        c = bm_query_cols(&q);
        *ret_host_id = bm_db_log_of(bm_col_int(&c));
    } else if (rc == BM_NOTFOUND) {
        *ret_host_id = 0;
        rc = BM_OK;
    }
    return rc;
}

/* --- full subtrees ------------------------------------------------------------------------------------------------------------ */
static const struct bm_sql tile_add = { "INSERT INTO audit_tile (level, idx, hash) VALUES (?, ?, ?) ON CONFLICT DO NOTHING" };
static const struct bm_sql tile_get = { "SELECT hash FROM audit_tile WHERE level = ? AND idx = ?" };
static const struct bm_sql tile_count = { "SELECT count(*) FROM audit_tile WHERE idx >= ? AND idx < ?" };

enum bm_rc bm_audit_tile_add(struct bm_store *s, int level, int64_t index, const uint8_t hash[32], struct bm_error *e)
{
    return bm_db_insert(s, &tile_add, BM_ARGS(bm_arg_int(level), bm_arg_int(row_of(s, index)), bm_arg_blob(hash, 32)), "audit tile",
                        NULL, e);
}

enum bm_rc bm_audit_tile_get(struct bm_store *s, int level, int64_t index, uint8_t ret[32], struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &tile_get, BM_ARGS(bm_arg_int(level), bm_arg_int(row_of(s, index))), "audit tile", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    bm_col_fixed(&c, ret, 32);
    return bm_cols_check(&c, "audit tile", e);
}

enum bm_rc bm_audit_tile_count(struct bm_store *s, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &tile_count, BM_ARGS(bm_arg_int(lowest(s)), bm_arg_int(bm_db_log_end(s))), "audit tile", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret = bm_col_int(&c);
    return BM_OK;
}

/* --- signed heads ------------------------------------------------------------------------------------------------------------- */
static const struct bm_sql head_add = {
    "INSERT INTO tree_head (size, at_ms, root, signature) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
};
static const struct bm_sql head_last = { "SELECT size, at_ms, root, signature FROM tree_head WHERE size >= ? AND size < ?"
                                         " ORDER BY size DESC LIMIT 1" };
static const struct bm_sql head_each = {
    "SELECT size, at_ms, root, signature FROM tree_head WHERE size >= ? AND size < ? ORDER BY size"
};

void bm_tree_head_done(struct bm_tree_head *h)
{
    bm_buf_done(&h->signature);
    *h = (struct bm_tree_head){ 0 };
}

enum bm_rc bm_tree_head_add(struct bm_store *s, const struct bm_tree_head *h, struct bm_error *e)
{
    return bm_db_insert(s, &head_add,
                        BM_ARGS(bm_arg_int(bm_db_log_base(s) + h->size), bm_arg_int(h->at_ms), bm_arg_blob(h->root, sizeof h->root),
                                bm_arg_blob(h->signature.p, h->signature.n)),
                        "tree head", NULL, e);
}

static enum bm_rc head_read(const struct bm_query *q, struct bm_tree_head *h, struct bm_error *e)
{
    struct bm_cols c = bm_query_cols(q);

    h->size = bm_col_int(&c) - bm_db_log_base(q->store);
    h->at_ms = bm_col_int(&c);
    BM_COL_FIXED(&c, h->root);
    bm_col_buf(&c, &h->signature);
    return bm_cols_check(&c, "tree head", e);
}

enum bm_rc bm_tree_head_last(struct bm_store *s, struct bm_tree_head *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    BM_CLEANUP(bm_tree_head_done) struct bm_tree_head h = { 0 };
    enum bm_rc rc = bm_query_one(s, &head_last, BM_ARGS(bm_arg_int(lowest(s)), bm_arg_int(bm_db_log_end(s))), "tree head", &q, e);

    if (rc == BM_OK)
        rc = head_read(&q, &h, e);
    if (rc != BM_OK)
        return rc;
    *ret = h;
    h = (struct bm_tree_head){ 0 };
    return BM_OK;
}

enum bm_rc bm_tree_head_each(struct bm_store *s, bm_tree_head_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &head_each, BM_ARGS(bm_arg_int(lowest(s)), bm_arg_int(bm_db_log_end(s))), &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        BM_CLEANUP(bm_tree_head_done) struct bm_tree_head h = { 0 };

        rc = head_read(&q, &h, e);
        if (rc == BM_OK)
            rc = fn(arg, &h, e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}
