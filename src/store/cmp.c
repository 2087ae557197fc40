#include "store/cmp.h"

#include "store/db.h"

#define COLUMNS "expires_at, state, for_good, req_id, digest, who, nonce, serial"
static const struct bm_sql put = { "INSERT INTO cmp_transaction (tid_key, " COLUMNS
                                   ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING" };
static const struct bm_sql find = { "SELECT id, " COLUMNS " FROM cmp_transaction WHERE tid_key = ? AND digest = ?" };
static const struct bm_sql set = { "UPDATE cmp_transaction SET state = ?, expires_at = ? WHERE id = ?" };
static const struct bm_sql drop = { "DELETE FROM cmp_transaction WHERE id = ?" };
static const struct bm_sql due = { "SELECT id, " COLUMNS
                                   " FROM cmp_transaction WHERE expires_at <= ? ORDER BY expires_at LIMIT 1" };

enum bm_rc bm_cmp_row_put(struct bm_store *s, struct bm_cmp_row *r, struct bm_error *e)
{
    return bm_db_insert(s, &put,
                        BM_ARGS(bm_arg_int(bm_short_key(r->digest)), bm_arg_int(r->expires_at), bm_arg_int(r->state),
                                bm_arg_int(r->for_good), bm_arg_int(r->req_id), bm_arg_blob(r->digest, sizeof r->digest),
                                bm_arg_blob(r->who, sizeof r->who), bm_arg_blob(r->nonce, sizeof r->nonce),
                                bm_arg_blob(r->serial, sizeof r->serial)),
                        "CMP transaction", &r->id, e);
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_cmp_row *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cmp_row r = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, args, "CMP transaction", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    r.id = bm_col_int(&c);
    r.expires_at = bm_col_int(&c);
    r.state = (enum bm_cmp_state)bm_col_int(&c);
    r.for_good = bm_col_int(&c) != 0;
    r.req_id = bm_col_int(&c);
    BM_COL_FIXED(&c, r.digest);
    BM_COL_FIXED(&c, r.who);
    BM_COL_FIXED(&c, r.nonce);
    BM_COL_FIXED(&c, r.serial);
    rc = bm_cols_check(&c, "CMP transaction", e);
    if (rc == BM_OK)
        *ret = r;
    return rc;
}

enum bm_rc bm_cmp_row_find(struct bm_store *s, const uint8_t digest[32], struct bm_cmp_row *ret, struct bm_error *e)
{
    return one(s, &find, BM_ARGS(bm_arg_int(bm_short_key(digest)), bm_arg_blob(digest, 32)), ret, e);
}

enum bm_rc bm_cmp_row_due(struct bm_store *s, int64_t now, struct bm_cmp_row *ret, struct bm_error *e)
{
    return one(s, &due, BM_ARGS(bm_arg_int(now)), ret, e);
}

enum bm_rc bm_cmp_row_set(struct bm_store *s, int64_t id, enum bm_cmp_state state, int64_t expires_at, struct bm_error *e)
{
    return bm_db_update(s, &set, BM_ARGS(bm_arg_int(state), bm_arg_int(expires_at), bm_arg_int(id)), "CMP transaction", e);
}

enum bm_rc bm_cmp_row_drop(struct bm_store *s, int64_t id, struct bm_error *e)
{
    return bm_db_update(s, &drop, BM_ARGS(bm_arg_int(id)), "CMP transaction", e);
}

/* --- requests that wait ----------------------------------------------------------------------------------------------------------------- */
static const struct bm_sql answer = {
    "UPDATE cmp_transaction SET state = ?, expires_at = ?, for_good = ?, nonce = ?, serial = ? WHERE id = ?"
};
static const struct bm_sql keep = { "INSERT INTO cmp_waiting (id, message) VALUES (?, ?) ON CONFLICT DO NOTHING" };
static const struct bm_sql kept = { "SELECT message FROM cmp_waiting WHERE id = ?" };
static const struct bm_sql keep_no_more = { "DELETE FROM cmp_waiting WHERE id = ?" };
static const struct bm_sql waiting = { "SELECT count(*), coalesce(min(id), 0) FROM cmp_transaction WHERE who = ? AND state = 4" };

enum bm_rc bm_cmp_row_answer(struct bm_store *s, const struct bm_cmp_row *r, struct bm_error *e)
{
    return bm_db_update(s, &answer,
                        BM_ARGS(bm_arg_int(r->state), bm_arg_int(r->expires_at), bm_arg_int(r->for_good),
                                bm_arg_blob(r->nonce, sizeof r->nonce), bm_arg_blob(r->serial, sizeof r->serial),
                                bm_arg_int(r->id)),
                        "CMP transaction", e);
}

enum bm_rc bm_cmp_kept_put(struct bm_store *s, int64_t id, struct bm_rd message, struct bm_error *e)
{
    return bm_db_insert(s, &keep, BM_ARGS(bm_arg_int(id), bm_arg_blob(message.p, message.n)), "CMP request", NULL, e);
}

enum bm_rc bm_cmp_kept_get(struct bm_store *s, int64_t id, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &kept, BM_ARGS(bm_arg_int(id)), "CMP request", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    bm_col_buf(&c, ret);
    return bm_cols_check(&c, "CMP request", e);
}

enum bm_rc bm_cmp_kept_drop(struct bm_store *s, int64_t id, struct bm_error *e)
{
    return bm_db_run(s, &keep_no_more, BM_ARGS(bm_arg_int(id)), e);
}

enum bm_rc bm_cmp_kept_of(struct bm_store *s, const uint8_t who[32], int64_t *ret_n, int64_t *ret_first, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &waiting, BM_ARGS(bm_arg_blob(who, 32)), "CMP transaction", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret_n = bm_col_int(&c);
    *ret_first = bm_col_int(&c);
    return bm_cols_check(&c, "CMP transactions", e);
}

/* --- codes whose text is kept ------------------------------------------------------------------------------------------------------------- */
static const struct bm_sql code_put = { "INSERT INTO cmp_code (id, forget_at) VALUES (?, ?) ON CONFLICT DO NOTHING" };
static const struct bm_sql code_until = { "UPDATE cmp_code SET forget_at = ? WHERE id = ?" };
static const struct bm_sql code_drop = { "DELETE FROM cmp_code WHERE id = ?" };
static const struct bm_sql code_due = { "SELECT id FROM cmp_code WHERE forget_at <= ? ORDER BY forget_at LIMIT 1" };

enum bm_rc bm_cmp_code_put(struct bm_store *s, int64_t number, int64_t forget_at, struct bm_error *e)
{
    return bm_db_insert(s, &code_put, BM_ARGS(bm_arg_int(number), bm_arg_int(forget_at)), "code", NULL, e);
}

enum bm_rc bm_cmp_code_until(struct bm_store *s, int64_t number, int64_t forget_at, struct bm_error *e)
{
    return bm_db_run(s, &code_until, BM_ARGS(bm_arg_int(forget_at), bm_arg_int(number)), e);
}

enum bm_rc bm_cmp_code_drop(struct bm_store *s, int64_t number, struct bm_error *e)
{
    return bm_db_run(s, &code_drop, BM_ARGS(bm_arg_int(number)), e);
}

enum bm_rc bm_cmp_code_due(struct bm_store *s, int64_t now, int64_t *ret_number, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &code_due, BM_ARGS(bm_arg_int(now)), "code", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret_number = bm_col_int(&c);
    return bm_cols_check(&c, "code", e);
}
