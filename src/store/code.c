#include "store/db.h"

#define COLUMNS                                                                                                                    \
    "SELECT id, device_id, batch_id, uses, used, created_at, expires_at, used_at, revoked_at, note, digest FROM code WHERE "
static const struct bm_sql put = { "INSERT INTO code (digest_key, device_id, batch_id, uses, used, created_at, expires_at, used_at,"
                                   " revoked_at, note, digest) VALUES (?, ?, ?, ?, 0, ?, ?, 0, 0, ?, ?) ON CONFLICT DO NOTHING" };
static const struct bm_sql find = { COLUMNS "digest_key = ? ORDER BY id" };
static const struct bm_sql by_id = { COLUMNS "id = ?" };
static const struct bm_sql use = { "UPDATE code SET used = used + 1, used_at = ? WHERE id = ? AND used < uses AND revoked_at = 0" };
static const struct bm_sql revoke = { "UPDATE code SET revoked_at = ? WHERE id = ?" };

enum bm_rc bm_code_row_put(struct bm_store *s, struct bm_code_row *c, struct bm_error *e)
{
    return bm_db_insert(s, &put,
                        BM_ARGS(bm_arg_int(bm_short_key(c->digest)), bm_arg_ref(c->device_id), bm_arg_ref(c->batch_id),
                                bm_arg_int(c->uses), bm_arg_int(c->created_at), bm_arg_int(c->expires_at), bm_arg_text(c->note),
                                bm_arg_blob(c->digest, sizeof c->digest)),
                        "code", &c->id, e);
}

static enum bm_rc read_row(const struct bm_query *q, struct bm_code_row *ret, struct bm_error *e)
{
    struct bm_cols c = bm_query_cols(q);
    struct bm_code_row r = { 0 };
    enum bm_rc rc;

    r.id = bm_col_int(&c);
    r.device_id = bm_col_int(&c);
    r.batch_id = bm_col_int(&c);
    r.uses = bm_col_int(&c);
    r.used = bm_col_int(&c);
    r.created_at = bm_col_int(&c);
    r.expires_at = bm_col_int(&c);
    r.used_at = bm_col_int(&c);
    r.revoked_at = bm_col_int(&c);
    BM_COL_TEXT(&c, r.note);
    BM_COL_FIXED(&c, r.digest);
    rc = bm_cols_check(&c, "code", e);
    if (rc == BM_OK)
        *ret = r;
    return rc;
}

/* The index leads to the rows that share four bytes of the digest; which of them it is takes the same time whatever the rest says. */
enum bm_rc bm_code_row_find(struct bm_store *s, const uint8_t digest[32], struct bm_code_row *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &find, BM_ARGS(bm_arg_int(bm_short_key(digest))), &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_code_row r;

        rc = read_row(&q, &r, e);
        if (rc != BM_OK || !bm_secret_eq(r.digest, digest, sizeof r.digest))
            continue;
        *ret = r;
        return BM_OK;
    }
    return rc;
}

enum bm_rc bm_code_row_by_id(struct bm_store *s, int64_t id, struct bm_code_row *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_one(s, &by_id, BM_ARGS(bm_arg_int(id)), "code", &q, e);

    return rc == BM_OK ? read_row(&q, ret, e) : rc;
}

enum bm_rc bm_code_row_use(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e)
{
    enum bm_rc rc = bm_db_run(s, &use, BM_ARGS(bm_arg_int(at), bm_arg_int(id)), e);

    if (rc == BM_OK && bm_db_changes(s) == 0)
        return bm_refuse(e, BM_DENIED, "code-used-up", "this code has been used as often as it may be");
    return rc;
}

enum bm_rc bm_code_row_revoke(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e)
{
    return bm_db_update(s, &revoke, BM_ARGS(bm_arg_int(at), bm_arg_int(id)), "code", e);
}
