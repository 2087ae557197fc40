#include "store/db.h"
#include "store/upstream.h"

#define COLUMNS "SELECT credential_id, ca_id, at, state, code, what FROM upstream_revocation WHERE "
static const struct bm_sql add = {
    "INSERT INTO upstream_revocation (credential_id, ca_id, state, at, code, what)"
    " SELECT c.id, c.ca_id, 'waiting', CAST(? AS BIGINT), '', '' FROM credential c JOIN upstream u ON u.ca_id = c.ca_id"
    " WHERE c.id = ? AND c.not_after > ? ON CONFLICT (credential_id) DO NOTHING"
};
static const struct bm_sql get = { COLUMNS "credential_id = ?" };
static const struct bm_sql set = { "UPDATE upstream_revocation SET state = ?, at = ?, code = ?, what = ? WHERE credential_id = ?" };
/* Of the few upstream CAs, not of the many revocations. */
static const struct bm_sql due_ca = {
    "SELECT u.ca_id FROM upstream u"
    " WHERE EXISTS (SELECT 1 FROM upstream_revocation w WHERE w.state = 'waiting' AND w.ca_id = u.ca_id)"
    " AND (SELECT count(*) FROM upstream_revocation a WHERE a.state = 'asked' AND a.ca_id = u.ca_id) < ? ORDER BY u.ca_id LIMIT 1"
};
static const struct bm_sql due = { COLUMNS "state = 'waiting' AND ca_id = ? ORDER BY credential_id LIMIT 1" };
static const struct bm_sql count = { "SELECT count(*) FROM upstream_revocation WHERE state = ?" };

enum bm_rc bm_upstream_revocation_add(struct bm_store *s, int64_t credential_id, int64_t now, bool *ret_added, struct bm_error *e)
{
    enum bm_rc rc = bm_db_run(s, &add, BM_ARGS(bm_arg_int(now), bm_arg_int(credential_id), bm_arg_int(now)), e);

    *ret_added = rc == BM_OK && bm_db_changes(s) != 0;
    return rc;
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, int64_t id, struct bm_upstream_revocation *ret,
                      struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_upstream_revocation r;
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, BM_ARGS(bm_arg_int(id)), "revocation at an upstream CA", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    r.credential_id = bm_col_int(&c);
    r.ca_id = bm_col_int(&c);
    r.at = bm_col_int(&c);
    BM_COL_TEXT(&c, r.state);
    BM_COL_TEXT(&c, r.code);
    BM_COL_TEXT(&c, r.what);
    rc = bm_cols_check(&c, "revocation at an upstream CA", e);
    if (rc == BM_OK)
        *ret = r;
    return rc;
}

enum bm_rc bm_upstream_revocation_get(struct bm_store *s, int64_t credential_id, struct bm_upstream_revocation *ret,
                                      struct bm_error *e)
{
    return one(s, &get, credential_id, ret, e);
}

enum bm_rc bm_upstream_revocation_set(struct bm_store *s, const struct bm_upstream_revocation *r, struct bm_error *e)
{
    return bm_db_update(
        s, &set,
        BM_ARGS(bm_arg_text(r->state), bm_arg_int(r->at), bm_arg_text(r->code), bm_arg_text(r->what), bm_arg_int(r->credential_id)),
        "revocation at an upstream CA", e);
}

static enum bm_rc number(struct bm_store *s, const struct bm_sql *sql, struct bm_arg arg, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, BM_ARGS(arg), "revocation at an upstream CA", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret = bm_col_int(&c);
    return bm_cols_check(&c, "revocation at an upstream CA", e);
}

enum bm_rc bm_upstream_revocation_due(struct bm_store *s, int64_t at_once, struct bm_upstream_revocation *ret, struct bm_error *e)
{
    int64_t ca_id = 0;
    enum bm_rc rc = number(s, &due_ca, bm_arg_int(at_once), &ca_id, e);

    return rc == BM_OK ? one(s, &due, ca_id, ret, e) : rc;
}

enum bm_rc bm_upstream_revocation_count(struct bm_store *s, const char *state, int64_t *ret, struct bm_error *e)
{
    return number(s, &count, bm_arg_text(state), ret, e);
}
