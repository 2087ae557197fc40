#include "store/db.h"

static const struct bm_sql get = { "SELECT value FROM meta WHERE key = ?" };
static const struct bm_sql set = {
    "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
};

enum bm_rc bm_meta_get(struct bm_store *s, const char *key, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &get, BM_ARGS(bm_arg_text(key)), "value", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    bm_col_append(&c, ret);
    return bm_cols_check(&c, "meta", e);
}

enum bm_rc bm_meta_set(struct bm_store *s, const char *key, struct bm_rd value, struct bm_error *e)
{
    return bm_db_run(s, &set, BM_ARGS(bm_arg_text(key), bm_arg_blob(value.p, value.n)), e);
}
