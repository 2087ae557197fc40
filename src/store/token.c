#include "store/db.h"

#define COLUMNS "id, name, role, org_id, sha256, created_at, expires_at, revoked_at, last_used_at"
static const struct bm_sql put = {
    "INSERT INTO token (name, role, org_id, sha256, created_at, expires_at, revoked_at, last_used_at)"
    " VALUES (?, ?, ?, ?, ?, ?, 0, 0) ON CONFLICT DO NOTHING"
};
static const struct bm_sql get = { "SELECT " COLUMNS " FROM token WHERE name = ?" };
static const struct bm_sql by_hash = { "SELECT " COLUMNS " FROM token WHERE sha256 = ?" };
static const struct bm_sql revoke = { "UPDATE token SET revoked_at = ? WHERE id = ?" };
static const struct bm_sql touch = { "UPDATE token SET last_used_at = ? WHERE id = ?" };
static const struct bm_sql count_good = {
    "SELECT count(*) FROM token WHERE revoked_at = 0 AND (expires_at = 0 OR expires_at > ?)"
};

enum bm_rc bm_token_put(struct bm_store *s, struct bm_token *t, struct bm_error *e)
{
    return bm_db_insert(s, &put,
                        BM_ARGS(bm_arg_text(t->name), bm_arg_text(t->role), bm_arg_ref(t->org_id),
                                bm_arg_blob(t->sha256, sizeof t->sha256), bm_arg_int(t->created_at), bm_arg_int(t->expires_at)),
                        "token", &t->id, e);
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_token *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_token t = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, args, "token", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    t.id = bm_col_int(&c);
    BM_COL_TEXT(&c, t.name);
    BM_COL_TEXT(&c, t.role);
    t.org_id = bm_col_int(&c);
    BM_COL_FIXED(&c, t.sha256);
    t.created_at = bm_col_int(&c);
    t.expires_at = bm_col_int(&c);
    t.revoked_at = bm_col_int(&c);
    t.last_used_at = bm_col_int(&c);
    rc = bm_cols_check(&c, "token", e);
    if (rc == BM_OK)
        *ret = t;
    return rc;
}

enum bm_rc bm_token_get(struct bm_store *s, const char *name, struct bm_token *ret, struct bm_error *e)
{
    return one(s, &get, BM_ARGS(bm_arg_text(name)), ret, e);
}

enum bm_rc bm_token_by_hash(struct bm_store *s, const uint8_t sha256[32], struct bm_token *ret, struct bm_error *e)
{
    return one(s, &by_hash, BM_ARGS(bm_arg_blob(sha256, 32)), ret, e);
}

enum bm_rc bm_token_set_revoked(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e)
{
    return bm_db_update(s, &revoke, BM_ARGS(bm_arg_int(at), bm_arg_int(id)), "token", e);
}

enum bm_rc bm_token_set_used(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e)
{
    return bm_db_update(s, &touch, BM_ARGS(bm_arg_int(at), bm_arg_int(id)), "token", e);
}

enum bm_rc bm_token_count_good(struct bm_store *s, int64_t now, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &count_good, BM_ARGS(bm_arg_int(now)), "count", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret = bm_col_int(&c);
    return BM_OK;
}
