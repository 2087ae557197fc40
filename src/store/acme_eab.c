#include "store/acme.h"

#include "store/db.h"

#define COLUMNS                                                                                                                    \
    "SELECT id, secret_id, org_id, product_id, batch_id, uses, used, created_at, expires_at, revoked_at, kid, names, note FROM"    \
    " acme_eab WHERE "
static const struct bm_sql put = { "INSERT INTO acme_eab (kid, secret_id, org_id, product_id, batch_id, uses, used, created_at, "
                                   "expires_at, revoked_at, names, note)"
                                   " VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, 0, ?, ?) ON CONFLICT DO NOTHING" };
static const struct bm_sql by_kid = { COLUMNS "kid = ?" };
static const struct bm_sql by_id = { COLUMNS "id = ?" };
static const struct bm_sql use = { "UPDATE acme_eab SET used = used + 1 WHERE id = ? AND used < uses" };
static const struct bm_sql revoke = { "UPDATE acme_eab SET revoked_at = ? WHERE id = ?" };

enum bm_rc bm_acme_eab_put(struct bm_store *s, struct bm_acme_eab *b, struct bm_error *e)
{
    return bm_db_insert(s, &put,
                        BM_ARGS(bm_arg_text(b->kid), bm_arg_int(b->secret_id), bm_arg_ref(b->org_id), bm_arg_ref(b->product_id),
                                bm_arg_ref(b->batch_id), bm_arg_int(b->uses), bm_arg_int(b->created_at), bm_arg_int(b->expires_at),
                                bm_arg_text(b->names), bm_arg_text(b->note)),
                        "ACME binding", &b->id, e);
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_acme_eab *ret,
                      struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_acme_eab b = { 0 };
    int64_t *const numbers[] = { &b.id,   &b.secret_id, &b.org_id,     &b.product_id, &b.batch_id,
                                 &b.uses, &b.used,      &b.created_at, &b.expires_at, &b.revoked_at };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, args, "ACME binding", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    for (size_t i = 0; i < BM_COUNT(numbers); i++)
        *numbers[i] = bm_col_int(&c);
    BM_COL_TEXT(&c, b.kid);
    BM_COL_TEXT(&c, b.names);
    BM_COL_TEXT(&c, b.note);
    rc = bm_cols_check(&c, "ACME binding", e);
    if (rc == BM_OK)
        *ret = b;
    return rc;
}

enum bm_rc bm_acme_eab_get(struct bm_store *s, const char *kid, struct bm_acme_eab *ret, struct bm_error *e)
{
    return one(s, &by_kid, BM_ARGS(bm_arg_text(kid)), ret, e);
}

enum bm_rc bm_acme_eab_by_id(struct bm_store *s, int64_t id, struct bm_acme_eab *ret, struct bm_error *e)
{
    return one(s, &by_id, BM_ARGS(bm_arg_int(id)), ret, e);
}

enum bm_rc bm_acme_eab_use(struct bm_store *s, int64_t id, struct bm_error *e)
{
    enum bm_rc rc = bm_db_run(s, &use, BM_ARGS(bm_arg_int(id)), e);

    if (rc == BM_OK && bm_db_changes(s) == 0)
        return bm_refuse(e, BM_DENIED, "acme-eab-used-up", "this binding has had all the accounts it was made for");
    return rc;
}

enum bm_rc bm_acme_eab_revoke(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e)
{
    return bm_db_update(s, &revoke, BM_ARGS(bm_arg_int(at), bm_arg_int(id)), "ACME binding", e);
}
