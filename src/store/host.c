/* The hosts that share a registry, and the sealed keys they pass on to each other. */
#include "store/db.h"

static const struct bm_sql put = {
    "INSERT INTO host (id, name, added_at, joined_at, removed_at, log_spki)"
    " SELECT coalesce(max(id), 0) + 1, CAST(? AS TEXT), CAST(? AS BIGINT), 0, 0, NULL FROM host WHERE 1 = 1 ON CONFLICT DO NOTHING"
};
#define COLUMNS "SELECT id, name, added_at, joined_at, removed_at, log_spki FROM host"
static const struct bm_sql get = { COLUMNS " WHERE name = ?" };
static const struct bm_sql by_id = { COLUMNS " WHERE id = ?" };
static const struct bm_sql each = { COLUMNS " ORDER BY id" };
static const struct bm_sql count = { "SELECT count(*) FROM host WHERE removed_at = 0" };
static const struct bm_sql set_joined = { "UPDATE host SET joined_at = ?, log_spki = ? WHERE id = ? AND joined_at = 0" };
static const struct bm_sql set_removed = { "UPDATE host SET removed_at = ? WHERE id = ?" };

void bm_host_done(struct bm_host *h)
{
    bm_buf_done(&h->log_spki);
    *h = (struct bm_host){ 0 };
}

enum bm_rc bm_host_put(struct bm_store *s, const char *name, int64_t at, struct bm_error *e)
{
    return bm_db_insert(s, &put, BM_ARGS(bm_arg_text(name), bm_arg_int(at)), "host", NULL, e);
}

static enum bm_rc read_row(const struct bm_query *q, struct bm_host *r, struct bm_error *e)
{
    struct bm_cols c = bm_query_cols(q);

    r->id = bm_col_int(&c);
    BM_COL_TEXT(&c, r->name);
    r->added_at = bm_col_int(&c);
    r->joined_at = bm_col_int(&c);
    r->removed_at = bm_col_int(&c);
    bm_col_buf(&c, &r->log_spki);
    return bm_cols_check(&c, "host", e);
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_host *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    BM_CLEANUP(bm_host_done) struct bm_host r = { 0 };
    enum bm_rc rc = bm_query_one(s, sql, args, "host", &q, e);

    if (rc == BM_OK)
        rc = read_row(&q, &r, e);
    if (rc != BM_OK)
        return rc;
    *ret = r;
    r = (struct bm_host){ 0 };
    return BM_OK;
}

enum bm_rc bm_host_get(struct bm_store *s, const char *name, struct bm_host *ret, struct bm_error *e)
{
    return one(s, &get, BM_ARGS(bm_arg_text(name)), ret, e);
}

enum bm_rc bm_host_by_id(struct bm_store *s, int64_t id, struct bm_host *ret, struct bm_error *e)
{
    return one(s, &by_id, BM_ARGS(bm_arg_int(id)), ret, e);
}

enum bm_rc bm_host_each(struct bm_store *s, bm_host_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &each, BM_NO_ARGS, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        BM_CLEANUP(bm_host_done) struct bm_host h = { 0 };

        rc = read_row(&q, &h, e);
        if (rc == BM_OK)
            rc = fn(arg, &h, e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

enum bm_rc bm_host_count(struct bm_store *s, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &count, BM_NO_ARGS, "host", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret = bm_col_int(&c);
    return BM_OK;
}

enum bm_rc bm_host_set_joined(struct bm_store *s, int64_t id, int64_t at, struct bm_rd log_spki, struct bm_error *e)
{
    return bm_db_update(s, &set_joined, BM_ARGS(bm_arg_int(at), bm_arg_blob(log_spki.p, log_spki.n), bm_arg_int(id)),
                        "host that may join", e);
}

enum bm_rc bm_host_set_removed(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e)
{
    return bm_db_update(s, &set_removed, BM_ARGS(bm_arg_int(at), bm_arg_int(id)), "host", e);
}

/* --- sealed keys -------------------------------------------------------------------------------------------------------------- */
static const struct bm_sql key_put = {
    "INSERT INTO sealed_key (name, pem) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET pem = excluded.pem"
};
static const struct bm_sql key_get = { "SELECT pem FROM sealed_key WHERE name = ?" };
static const struct bm_sql key_each = { "SELECT name, pem FROM sealed_key ORDER BY name" };
static const struct bm_sql key_drop = { "DELETE FROM sealed_key" };

enum bm_rc bm_sealed_key_put(struct bm_store *s, const char *name, struct bm_rd pem, struct bm_error *e)
{
    return bm_db_run(s, &key_put, BM_ARGS(bm_arg_text(name), bm_arg_blob(pem.p, pem.n)), e);
}

enum bm_rc bm_sealed_key_get(struct bm_store *s, const char *name, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &key_get, BM_ARGS(bm_arg_text(name)), "sealed key", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    bm_col_append(&c, ret);
    return bm_cols_check(&c, "sealed key", e);
}

enum bm_rc bm_sealed_key_each(struct bm_store *s, bm_sealed_key_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &key_each, BM_NO_ARGS, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols c = bm_query_cols(&q);
        char name[BM_NAME_LEN];

        BM_COL_TEXT(&c, name);
        rc = bm_cols_check(&c, "sealed key", e);
        if (rc == BM_OK)
            rc = fn(arg, name, bm_col_bytes(&c), e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

enum bm_rc bm_sealed_key_drop_all(struct bm_store *s, struct bm_error *e)
{
    return bm_db_run(s, &key_drop, BM_NO_ARGS, e);
}
