#include "store/db.h"

static const struct bm_sql find = { "SELECT id, created_at, digest, serial, message FROM scep_transaction WHERE digest_key = ?"
                                    " ORDER BY id" };
static const struct bm_sql put = {
    "INSERT INTO scep_transaction (digest_key, created_at, digest, serial, message) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
};
static const struct bm_sql drop = { "DELETE FROM scep_transaction WHERE id = ?" };
static const struct bm_sql forget_old = { "DELETE FROM scep_transaction WHERE created_at < ?" };

void bm_scep_row_done(struct bm_scep_row *r)
{
    bm_buf_done(&r->message);
    *r = (struct bm_scep_row){ 0 };
}

static enum bm_rc read_row(const struct bm_query *q, struct bm_scep_row *r, struct bm_error *e)
{
    struct bm_cols c = bm_query_cols(q);
    BM_CLEANUP(bm_buf_done) struct bm_buf serial = { 0 };

    r->id = bm_col_int(&c);
    r->created_at = bm_col_int(&c);
    BM_COL_FIXED(&c, r->digest);
    bm_col_buf(&c, &serial);
    bm_col_buf(&c, &r->message);
    r->waits = serial.n != sizeof r->serial;
    if (!r->waits)
        memcpy(r->serial, serial.p, sizeof r->serial);
    return bm_cols_check(&c, "SCEP transaction", e);
}

enum bm_rc bm_scep_row_find(struct bm_store *s, const uint8_t digest[32], struct bm_scep_row *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &find, BM_ARGS(bm_arg_int(bm_short_key(digest))), &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        BM_CLEANUP(bm_scep_row_done) struct bm_scep_row r = { 0 };

        rc = read_row(&q, &r, e);
        if (rc != BM_OK || memcmp(r.digest, digest, sizeof r.digest) != 0)
            continue;
        *ret = r;
        r = (struct bm_scep_row){ 0 };
        return BM_OK;
    }
    return rc;
}

enum bm_rc bm_scep_row_set(struct bm_store *s, struct bm_scep_row *r, int64_t forget, struct bm_error *e)
{
    BM_CLEANUP(bm_scep_row_done) struct bm_scep_row was = { 0 };
    enum bm_rc rc = bm_scep_row_find(s, r->digest, &was, e);

    if (rc == BM_OK)
        rc = bm_db_run(s, &drop, BM_ARGS(bm_arg_int(was.id)), e);
    if (rc == BM_OK || rc == BM_NOTFOUND)
        rc = bm_db_run(s, &forget_old, BM_ARGS(bm_arg_int(forget)), e);
    if (rc != BM_OK)
        return rc;
    return bm_db_insert(s, &put,
                        BM_ARGS(bm_arg_int(bm_short_key(r->digest)), bm_arg_int(r->created_at),
                                bm_arg_blob(r->digest, sizeof r->digest), bm_arg_blob(r->serial, r->waits ? 0 : sizeof r->serial),
                                bm_arg_blob(r->message.p, r->waits ? r->message.n : 0)),
                        "SCEP transaction", &r->id, e);
}
