#include "store/db.h"

#include <stdlib.h>

/* --- organisations ------------------------------------------------------------------------------------------------------------ */
static const struct bm_sql org_put = {
    "INSERT INTO org (name, title, role, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
};
#define ORG_COLUMNS "id, name, title, role, created_at"
static const struct bm_sql org_get = { "SELECT " ORG_COLUMNS " FROM org WHERE name = ?" };
static const struct bm_sql org_by_id = { "SELECT " ORG_COLUMNS " FROM org WHERE id = ?" };

enum bm_rc bm_org_put(struct bm_store *s, struct bm_org *o, struct bm_error *e)
{
    return bm_db_insert(s, &org_put,
                        BM_ARGS(bm_arg_text(o->name), bm_arg_text(o->title), bm_arg_text(o->role), bm_arg_int(o->created_at)),
                        "organisation", &o->id, e);
}

static enum bm_rc org_one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_org *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_org o = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, args, "organisation", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    o.id = bm_col_int(&c);
    BM_COL_TEXT(&c, o.name);
    BM_COL_TEXT(&c, o.title);
    BM_COL_TEXT(&c, o.role);
    o.created_at = bm_col_int(&c);
    rc = bm_cols_check(&c, "organisation", e);
    if (rc == BM_OK)
        *ret = o;
    return rc;
}

enum bm_rc bm_org_get(struct bm_store *s, const char *name, struct bm_org *ret, struct bm_error *e)
{
    return org_one(s, &org_get, BM_ARGS(bm_arg_text(name)), ret, e);
}

enum bm_rc bm_org_by_id(struct bm_store *s, int64_t id, struct bm_org *ret, struct bm_error *e)
{
    return org_one(s, &org_by_id, BM_ARGS(bm_arg_int(id)), ret, e);
}

/* --- what they are trusted for ------------------------------------------------------------------------------------------------ */
static const struct bm_sql trust_put = {
    "INSERT INTO trust (org_id, purpose, sha256, created_at, der) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
};
#define TRUST "SELECT id, org_id, purpose, sha256, created_at, der FROM trust"
static const struct bm_sql trust_each = { TRUST " WHERE purpose = ? ORDER BY id" };
static const struct bm_sql trust_by_id = { TRUST " WHERE id = ?" };

void bm_trust_done(struct bm_trust *t)
{
    bm_buf_done(&t->der);
    *t = (struct bm_trust){ 0 };
}

enum bm_rc bm_trust_put(struct bm_store *s, struct bm_trust *t, struct bm_error *e)
{
    return bm_db_insert(s, &trust_put,
                        BM_ARGS(bm_arg_int(t->org_id), bm_arg_text(t->purpose), bm_arg_blob(t->sha256, sizeof t->sha256),
                                bm_arg_int(t->created_at), bm_arg_blob(t->der.p, t->der.n)),
                        "trust anchor", &t->id, e);
}

static enum bm_rc trust_read(const struct bm_query *q, struct bm_trust *t, struct bm_error *e)
{
    struct bm_cols c = bm_query_cols(q);

    t->id = bm_col_int(&c);
    t->org_id = bm_col_int(&c);
    BM_COL_TEXT(&c, t->purpose);
    BM_COL_FIXED(&c, t->sha256);
    t->created_at = bm_col_int(&c);
    bm_col_buf(&c, &t->der);
    return bm_cols_check(&c, "trust anchor", e);
}

enum bm_rc bm_trust_by_id(struct bm_store *s, int64_t id, struct bm_trust *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    BM_CLEANUP(bm_trust_done) struct bm_trust t = { 0 };
    enum bm_rc rc = bm_query_one(s, &trust_by_id, BM_ARGS(bm_arg_int(id)), "trust anchor", &q, e);

    if (rc == BM_OK)
        rc = trust_read(&q, &t, e);
    if (rc != BM_OK)
        return rc;
    *ret = t;
    t = (struct bm_trust){ 0 };
    return BM_OK;
}

enum bm_rc bm_trust_each(struct bm_store *s, const char *purpose, bm_trust_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &trust_each, BM_ARGS(bm_arg_text(purpose)), &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        BM_CLEANUP(bm_trust_done) struct bm_trust t = { 0 };

        rc = trust_read(&q, &t, e);
        if (rc == BM_OK)
            rc = fn(arg, &t, e);
        if (rc != BM_OK)
            return rc; /* a callback's BM_NOTFOUND is not the end of the rows */
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}
