#include "store/acme.h"

#include "store/db.h"

#define COLUMNS "SELECT id, account_id, credential_id, created_at, expires_at, drop_at, status, document FROM acme_order WHERE "
static const struct bm_sql add = {
    "INSERT INTO acme_order (account_id, credential_id, created_at, expires_at, drop_at, status, document)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
};
static const struct bm_sql set = {
    "UPDATE acme_order SET credential_id = ?, expires_at = ?, drop_at = ?, status = ?, document = ? WHERE id = ?"
};
static const struct bm_sql by_id = { COLUMNS "id = ?" };
static const struct bm_sql of_credential = { COLUMNS "credential_id = ? ORDER BY id LIMIT 1" };
static const struct bm_sql count_open = { "SELECT count(*) FROM (SELECT id FROM acme_order WHERE account_id = ? AND status IN "
                                          "('pending', 'ready', 'processing') LIMIT ?) AS o" };
static const struct bm_sql list = {
    "SELECT id FROM acme_order WHERE account_id = ? AND id > ? AND status <> 'invalid' ORDER BY id LIMIT ?"
};
static const struct bm_sql due = { "SELECT id FROM acme_order WHERE drop_at <= ? ORDER BY drop_at LIMIT 1" };
static const struct bm_sql drop = { "DELETE FROM acme_order WHERE id = ?" };

void bm_acme_order_done(struct bm_acme_order *o)
{
    bm_buf_done(&o->document);
    *o = (struct bm_acme_order){ 0 };
}

enum bm_rc bm_acme_order_put(struct bm_store *s, struct bm_acme_order *o, struct bm_error *e)
{
    if (o->id != 0)
        return bm_db_update(s, &set,
                            BM_ARGS(bm_arg_ref(o->credential_id), bm_arg_int(o->expires_at), bm_arg_int(o->drop_at),
                                    bm_arg_text(o->status), bm_arg_buf(&o->document), bm_arg_int(o->id)),
                            "ACME order", e);
    return bm_db_insert(s, &add,
                        BM_ARGS(bm_arg_int(o->account_id), bm_arg_ref(o->credential_id), bm_arg_int(o->created_at),
                                bm_arg_int(o->expires_at), bm_arg_int(o->drop_at), bm_arg_text(o->status),
                                bm_arg_buf(&o->document)),
                        "ACME order", &o->id, e);
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, int64_t key, struct bm_acme_order *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    BM_CLEANUP(bm_acme_order_done) struct bm_acme_order o = { 0 };
    int64_t *const numbers[] = { &o.id, &o.account_id, &o.credential_id, &o.created_at, &o.expires_at, &o.drop_at };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, BM_ARGS(bm_arg_int(key)), "ACME order", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    for (size_t i = 0; i < BM_COUNT(numbers); i++)
        *numbers[i] = bm_col_int(&c);
    BM_COL_TEXT(&c, o.status);
    bm_col_buf(&c, &o.document);
    rc = bm_cols_check(&c, "ACME order", e);
    if (rc != BM_OK)
        return rc;
    *ret = o;
    o = (struct bm_acme_order){ 0 };
    return BM_OK;
}

enum bm_rc bm_acme_order_by_id(struct bm_store *s, int64_t id, struct bm_acme_order *ret, struct bm_error *e)
{
    return one(s, &by_id, id, ret, e);
}

enum bm_rc bm_acme_order_of(struct bm_store *s, int64_t credential_id, struct bm_acme_order *ret, struct bm_error *e)
{
    return one(s, &of_credential, credential_id, ret, e);
}

enum bm_rc bm_acme_order_open(struct bm_store *s, int64_t account_id, int64_t most, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &count_open, BM_ARGS(bm_arg_int(account_id), bm_arg_int(most)), "ACME order", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret = bm_col_int(&c);
    return BM_OK;
}

enum bm_rc bm_acme_order_list(struct bm_store *s, int64_t account_id, int64_t after, int64_t *ret, size_t max, size_t *ret_n,
                              struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &list, BM_ARGS(bm_arg_int(account_id), bm_arg_int(after), bm_arg_int((int64_t)max)), &q, e);

    *ret_n = 0;
    while (rc == BM_OK && *ret_n < max && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols c = bm_query_cols(&q);

        ret[(*ret_n)++] = bm_col_int(&c);
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

enum bm_rc bm_acme_order_due(struct bm_store *s, int64_t now, int64_t *ret_id, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &due, BM_ARGS(bm_arg_int(now)), "ACME order", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret_id = bm_col_int(&c);
    return BM_OK;
}

enum bm_rc bm_acme_order_sweep(struct bm_store *s, int64_t now, int64_t most, int64_t *ret, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;
    int64_t id;

    for (*ret = 0; *ret < most; ++*ret) {
        rc = bm_acme_order_due(s, now, &id, e);
        if (rc == BM_OK)
            rc = bm_db_run(s, &drop, BM_ARGS(bm_arg_int(id)), e);
        if (rc != BM_OK)
            break;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}
