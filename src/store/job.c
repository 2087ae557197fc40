/* Acts on many devices: where each stands, and what it goes through. */
#include "store/db.h"

#define FIXED "act, reason, listed, created_at, actor, request"
#define MOVING "state, ended_at, last_id, cursor_id, total, looked_at, done, already, refused, revoked"
static const struct bm_sql add = { "INSERT INTO job (" FIXED ", " MOVING ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                                   " ON CONFLICT DO NOTHING" };
static const struct bm_sql set = { "UPDATE job SET state = ?, ended_at = ?, last_id = ?, cursor_id = ?, total = ?, looked_at = ?,"
                                   " done = ?, already = ?, refused = ?, revoked = ? WHERE id = ?" };
static const struct bm_sql get = { "SELECT id, " FIXED ", " MOVING " FROM job WHERE id = ?" };
static const struct bm_sql running = { "SELECT id, " FIXED ", " MOVING " FROM job WHERE state = 'running' ORDER BY id LIMIT 1" };
static const struct bm_sql add_item = { "INSERT INTO job_item (job_id, udid) VALUES (?, ?) ON CONFLICT DO NOTHING" };
static const struct bm_sql drop_item = { "DELETE FROM job_item WHERE id = ?" };
static const struct bm_sql add_refusal = { "INSERT INTO job_refusal (job_id, udid, code, what) VALUES (?, ?, ?, ?)"
                                           " ON CONFLICT DO NOTHING" };

#define MOVING_ARGS(j)                                                                                                             \
    bm_arg_text((j)->state), bm_arg_int((j)->ended_at), bm_arg_int((j)->last_id), bm_arg_int((j)->cursor_id),                      \
        bm_arg_int((j)->total), bm_arg_int((j)->looked_at), bm_arg_int((j)->done), bm_arg_int((j)->already),                       \
        bm_arg_int((j)->refused), bm_arg_int((j)->revoked)

enum bm_rc bm_job_put(struct bm_store *s, struct bm_job *j, struct bm_error *e)
{
    if (j->id != 0)
        return bm_db_update(s, &set, BM_ARGS(MOVING_ARGS(j), bm_arg_int(j->id)), "job", e);
    return bm_db_insert(s, &add,
                        BM_ARGS(bm_arg_text(j->act), bm_arg_int(j->reason), bm_arg_int(j->listed), bm_arg_int(j->created_at),
                                bm_arg_text(j->actor), bm_arg_text(j->request), MOVING_ARGS(j)),
                        "job", &j->id, e);
}

static enum bm_rc read_job(const struct bm_query *q, struct bm_job *ret, struct bm_error *e)
{
    struct bm_cols c = bm_query_cols(q);
    struct bm_job j = { .id = bm_col_int(&c) };
    enum bm_rc rc;

    BM_COL_TEXT(&c, j.act);
    j.reason = (int)bm_col_int(&c);
    j.listed = bm_col_int(&c) != 0;
    j.created_at = bm_col_int(&c);
    BM_COL_TEXT(&c, j.actor);
    BM_COL_TEXT(&c, j.request);
    BM_COL_TEXT(&c, j.state);
    j.ended_at = bm_col_int(&c);
    j.last_id = bm_col_int(&c);
    j.cursor_id = bm_col_int(&c);
    j.total = bm_col_int(&c);
    j.looked_at = bm_col_int(&c);
    j.done = bm_col_int(&c);
    j.already = bm_col_int(&c);
    j.refused = bm_col_int(&c);
    j.revoked = bm_col_int(&c);
    rc = bm_cols_check(&c, "job", e);
    if (rc == BM_OK)
        *ret = j;
    return rc;
}

static enum bm_rc job_one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_job *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_one(s, sql, args, "job", &q, e);

    return rc == BM_OK ? read_job(&q, ret, e) : rc;
}

enum bm_rc bm_job_get(struct bm_store *s, int64_t id, struct bm_job *ret, struct bm_error *e)
{
    return job_one(s, &get, BM_ARGS(bm_arg_int(id)), ret, e);
}

enum bm_rc bm_job_running(struct bm_store *s, struct bm_job *ret, struct bm_error *e)
{
    return job_one(s, &running, BM_NO_ARGS, ret, e);
}

enum bm_rc bm_job_item_add(struct bm_store *s, int64_t job_id, const uint8_t udid[BM_UDID_LEN], struct bm_error *e)
{
    return bm_db_insert(s, &add_item, BM_ARGS(bm_arg_int(job_id), bm_arg_blob(udid, BM_UDID_LEN)), "item of a job", NULL, e);
}

enum bm_rc bm_job_item_drop(struct bm_store *s, int64_t id, struct bm_error *e)
{
    return bm_db_run(s, &drop_item, BM_ARGS(bm_arg_int(id)), e);
}

enum bm_rc bm_job_refusal_add(struct bm_store *s, int64_t job_id, const uint8_t udid[BM_UDID_LEN], const char *code,
                              const char *what, struct bm_error *e)
{
    return bm_db_insert(s, &add_refusal,
                        BM_ARGS(bm_arg_int(job_id), bm_arg_blob(udid, BM_UDID_LEN), bm_arg_text(code), bm_arg_text(what)),
                        "refusal of a job", NULL, e);
}

/* --- what it goes through ------------------------------------------------------------------------------------------------------ */
static const struct bm_sql each_device = {
    "SELECT d.id, d.id, d.batch_id, b.product_id, COALESCE(d.owner_id, p.org_id), d.udid, d.state FROM device d"
    " LEFT JOIN batch b ON b.id = d.batch_id LEFT JOIN product p ON p.id = b.product_id WHERE d.id > ? ORDER BY d.id LIMIT ?"
};
static const struct bm_sql each_item = {
    "SELECT id, CAST(NULL AS BIGINT), CAST(NULL AS BIGINT), CAST(NULL AS BIGINT), CAST(NULL AS BIGINT), udid, CAST('' AS TEXT)"
    " FROM job_item WHERE job_id = ? AND id > ? ORDER BY id LIMIT ?"
};
static const struct bm_sql last_device = { "SELECT COALESCE(max(id), 0) FROM device" };
static const struct bm_sql last_credential = { "SELECT COALESCE(max(id), 0) FROM credential" };
static const struct bm_sql each_brief = { "SELECT id, ca_id, state FROM credential WHERE id > ? ORDER BY id LIMIT ?" };

static enum bm_rc each(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, bm_job_item_fn *fn, void *arg,
                       struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, sql, args, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols c = bm_query_cols(&q);
        struct bm_job_item i = { .id = bm_col_int(&c) };

        i.device_id = bm_col_int(&c);
        i.batch_id = bm_col_int(&c);
        i.product_id = bm_col_int(&c);
        i.owner_id = bm_col_int(&c);
        BM_COL_FIXED(&c, i.udid);
        BM_COL_TEXT(&c, i.state);
        rc = bm_cols_check(&c, "device", e);
        if (rc == BM_OK)
            rc = fn(arg, &i, e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

enum bm_rc bm_job_each_device(struct bm_store *s, int64_t after, int64_t limit, bm_job_item_fn *fn, void *arg, struct bm_error *e)
{
    return each(s, &each_device, BM_ARGS(bm_arg_int(after), bm_arg_int(limit)), fn, arg, e);
}

enum bm_rc bm_job_each_item(struct bm_store *s, int64_t job_id, int64_t after, int64_t limit, bm_job_item_fn *fn, void *arg,
                            struct bm_error *e)
{
    return each(s, &each_item, BM_ARGS(bm_arg_int(job_id), bm_arg_int(after), bm_arg_int(limit)), fn, arg, e);
}

static enum bm_rc last_id(struct bm_store *s, const struct bm_sql *sql, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, BM_NO_ARGS, "row", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret = bm_col_int(&c);
    return BM_OK;
}

enum bm_rc bm_device_last_id(struct bm_store *s, int64_t *ret, struct bm_error *e)
{
    return last_id(s, &last_device, ret, e);
}

enum bm_rc bm_credential_last_id(struct bm_store *s, int64_t *ret, struct bm_error *e)
{
    return last_id(s, &last_credential, ret, e);
}

enum bm_rc bm_credential_each_brief(struct bm_store *s, int64_t after, int64_t limit, bm_credential_brief_fn *fn, void *arg,
                                    struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &each_brief, BM_ARGS(bm_arg_int(after), bm_arg_int(limit)), &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols c = bm_query_cols(&q);
        struct bm_credential_brief b = { .id = bm_col_int(&c) };

        b.ca_id = bm_col_int(&c);
        BM_COL_TEXT(&c, b.state);
        rc = bm_cols_check(&c, "credential", e);
        if (rc == BM_OK)
            rc = fn(arg, &b, e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}
