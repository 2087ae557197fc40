#include "store/db.h"

static const struct bm_sql put = {
    "INSERT INTO crl (ca_id, part, number, this_update, next_update) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
};
#define COLUMNS "SELECT ca_id, part, number, this_update, next_update FROM crl WHERE ca_id = ? AND part = ?"
static const struct bm_sql last = { COLUMNS " ORDER BY number DESC LIMIT 1" };
static const struct bm_sql oldest = { COLUMNS " AND next_update > ? ORDER BY number LIMIT 1" };
static const struct bm_sql number = { "SELECT CAST(coalesce(max(number), 0) AS BIGINT) FROM crl WHERE ca_id = ?" };
static const struct bm_sql forget = { "DELETE FROM crl WHERE ca_id = ? AND part = ? AND next_update <= ? AND number < ?" };

enum bm_rc bm_crl_put(struct bm_store *s, const struct bm_crl_row *c, struct bm_error *e)
{
    return bm_db_insert(s, &put,
                        BM_ARGS(bm_arg_int(c->ca_id), bm_arg_int(c->part), bm_arg_int(c->number), bm_arg_int(c->this_update),
                                bm_arg_int(c->next_update)),
                        "CRL number", NULL, e);
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_crl_row *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_crl_row r;
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, args, "CRL", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    r.ca_id = bm_col_int(&c);
    r.part = bm_col_int(&c);
    r.number = bm_col_int(&c);
    r.this_update = bm_col_int(&c);
    r.next_update = bm_col_int(&c);
    rc = bm_cols_check(&c, "CRL", e);
    if (rc == BM_OK)
        *ret = r;
    return rc;
}

enum bm_rc bm_crl_last(struct bm_store *s, int64_t ca_id, int64_t part, struct bm_crl_row *ret, struct bm_error *e)
{
    return one(s, &last, BM_ARGS(bm_arg_int(ca_id), bm_arg_int(part)), ret, e);
}

enum bm_rc bm_crl_number(struct bm_store *s, int64_t ca_id, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    int64_t n;
    enum bm_rc rc = bm_query_one(s, &number, BM_ARGS(bm_arg_int(ca_id)), "CRL", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    n = bm_col_int(&c);
    rc = bm_cols_check(&c, "CRL", e);
    if (rc == BM_OK)
        *ret = n;
    return rc;
}

enum bm_rc bm_crl_oldest(struct bm_store *s, int64_t ca_id, int64_t part, int64_t now, struct bm_crl_row *ret, struct bm_error *e)
{
    return one(s, &oldest, BM_ARGS(bm_arg_int(ca_id), bm_arg_int(part), bm_arg_int(now)), ret, e);
}

enum bm_rc bm_crl_forget(struct bm_store *s, int64_t ca_id, int64_t part, int64_t before, int64_t below, struct bm_error *e)
{
    return bm_db_run(s, &forget, BM_ARGS(bm_arg_int(ca_id), bm_arg_int(part), bm_arg_int(before), bm_arg_int(below)), e);
}
