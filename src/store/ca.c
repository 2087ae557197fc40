#include "store/db.h"

static const struct bm_sql put = { "INSERT INTO ca (parent_id, name, key_uri, state, created_at, revoked_at, reason, cert)"
                                   " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING" };
#define COLUMNS "id, parent_id, name, key_uri, state, created_at, revoked_at, reason, cert"
static const struct bm_sql get = { "SELECT " COLUMNS " FROM ca WHERE name = ?" };
static const struct bm_sql by_id = { "SELECT " COLUMNS " FROM ca WHERE id = ?" };
static const struct bm_sql each = { "SELECT " COLUMNS " FROM ca ORDER BY id" };
static const struct bm_sql active_child = { "SELECT " COLUMNS
                                            " FROM ca WHERE parent_id = ? AND state = 'active' ORDER BY id LIMIT 1" };
static const struct bm_sql set_revoked = { "UPDATE ca SET state = 'revoked', reason = ?, revoked_at = ? WHERE id = ?" };

void bm_ca_done(struct bm_ca *c)
{
    bm_buf_done(&c->cert);
    *c = (struct bm_ca){ 0 };
}

enum bm_rc bm_ca_put(struct bm_store *s, struct bm_ca *c, struct bm_error *e)
{
    return bm_db_insert(s, &put,
                        BM_ARGS(bm_arg_ref(c->parent_id), bm_arg_text(c->name), bm_arg_text(c->key_uri), bm_arg_text(c->state),
                                bm_arg_int(c->created_at), bm_arg_int(c->revoked_at), bm_arg_int(c->reason),
                                bm_arg_blob(c->cert.p, c->cert.n)),
                        "certification authority", &c->id, e);
}

static enum bm_rc read_row(const struct bm_query *q, struct bm_ca *a, struct bm_error *e)
{
    struct bm_cols c = bm_query_cols(q);

    a->id = bm_col_int(&c);
    a->parent_id = bm_col_int(&c);
    BM_COL_TEXT(&c, a->name);
    BM_COL_TEXT(&c, a->key_uri);
    BM_COL_TEXT(&c, a->state);
    a->created_at = bm_col_int(&c);
    a->revoked_at = bm_col_int(&c);
    a->reason = (int)bm_col_int(&c);
    bm_col_buf(&c, &a->cert);
    return bm_cols_check(&c, "certification authority", e);
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_ca *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    BM_CLEANUP(bm_ca_done) struct bm_ca a = { 0 };
    enum bm_rc rc = bm_query_one(s, sql, args, "certification authority", &q, e);

    if (rc == BM_OK)
        rc = read_row(&q, &a, e);
    if (rc != BM_OK)
        return rc;
    *ret = a;
    a = (struct bm_ca){ 0 };
    return BM_OK;
}

enum bm_rc bm_ca_active_child(struct bm_store *s, int64_t id, char ret[BM_NAME_LEN], struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca child = { 0 };
    enum bm_rc rc = one(s, &active_child, BM_ARGS(bm_arg_int(id)), &child, e);

    memcpy(ret, child.name, BM_NAME_LEN);
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

enum bm_rc bm_ca_get(struct bm_store *s, const char *name, struct bm_ca *ret, struct bm_error *e)
{
    return one(s, &get, BM_ARGS(bm_arg_text(name)), ret, e);
}

enum bm_rc bm_ca_by_id(struct bm_store *s, int64_t id, struct bm_ca *ret, struct bm_error *e)
{
    return one(s, &by_id, BM_ARGS(bm_arg_int(id)), ret, e);
}

enum bm_rc bm_ca_set_revoked(struct bm_store *s, int64_t id, int reason, int64_t at, struct bm_error *e)
{
    return bm_db_update(s, &set_revoked, BM_ARGS(bm_arg_int(reason), bm_arg_int(at), bm_arg_int(id)), "certification authority", e);
}

enum bm_rc bm_ca_each(struct bm_store *s, bm_ca_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &each, BM_NO_ARGS, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        BM_CLEANUP(bm_ca_done) struct bm_ca a = { 0 };

        rc = read_row(&q, &a, e);
        if (rc == BM_OK)
            rc = fn(arg, &a, e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}
