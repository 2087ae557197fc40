#include "store/errand.h"

#include "store/db.h"

#define COLUMNS                                                                                                                    \
    "SELECT id, host_id, device_id, batch_id, kind, subject, state, tries, token, created_at, due_at, deadline, code, what,"       \
    " payload, result FROM errand WHERE "
static const struct bm_sql put = {
    "INSERT INTO errand (host_id, device_id, batch_id, kind, subject, state, tries, token, created_at, due_at, deadline, code, "
    "what,"
    " payload, result) VALUES (0, ?, ?, ?, ?, 'queued', 0, ?, ?, ?, ?, '', '', ?, NULL) ON CONFLICT DO NOTHING"
};
static const struct bm_sql set = { "UPDATE errand SET host_id = ?, state = ?, tries = ?, token = ?, due_at = ?, code = ?, what = ?,"
                                   " payload = ?, result = ? WHERE id = ?" };
static const struct bm_sql by_id = { COLUMNS "id = ?" };
static const struct bm_sql newest = { COLUMNS "subject = ? AND kind = ? ORDER BY id DESC LIMIT 1" };
static const struct bm_sql due = { COLUMNS "state = ? AND due_at <= ? ORDER BY due_at, id LIMIT 1" };
static const struct bm_sql overdue = { COLUMNS "state IN ('queued', 'running') AND deadline <= ? ORDER BY id LIMIT 1" };
static const struct bm_sql next_due = { "SELECT due_at FROM errand WHERE state = ? ORDER BY due_at LIMIT 1" };
static const struct bm_sql release = {
    "UPDATE errand SET state = 'queued', host_id = 0, due_at = ? WHERE state = 'running' AND host_id = ?"
};
static const struct bm_sql forget = { "DELETE FROM errand WHERE id IN (SELECT id FROM errand WHERE state IN ('done', 'failed',"
                                      " 'expired') AND due_at <= ? ORDER BY id LIMIT ?)" };
static const struct bm_sql open = { "SELECT count(*) FROM errand WHERE state IN ('queued', 'running')" };
static const struct bm_sql open_of = {
    "SELECT count(*) FROM errand WHERE device_id = ? AND kind = ? AND state IN ('queued', 'running')"
};
static const struct bm_sql open_in = {
    "SELECT count(*) FROM errand WHERE batch_id = ? AND kind = ? AND state IN ('queued', 'running')"
};
static const struct bm_sql in_batch = { "SELECT count(DISTINCT device_id) FROM errand WHERE batch_id = ? AND kind = ? AND "
                                        "device_id <> ? AND state IN ('queued', 'running', 'done')" };
static const struct bm_sql in_batch_unknown = {
    "SELECT count(*) FROM errand WHERE batch_id = ? AND kind = ? AND device_id IS NULL AND state IN ('queued', 'running', 'done')"
};
static const struct bm_sql drop = { "DELETE FROM errand WHERE id = ?" };

void bm_errand_row_done(struct bm_errand *x)
{
    bm_buf_done(&x->payload);
    bm_buf_done(&x->result);
    *x = (struct bm_errand){ 0 };
}

enum bm_rc bm_errand_put(struct bm_store *s, struct bm_errand *x, struct bm_error *e)
{
    return bm_db_insert(s, &put,
                        BM_ARGS(bm_arg_ref(x->device_id), bm_arg_ref(x->batch_id), bm_arg_text(x->kind), bm_arg_text(x->subject),
                                bm_arg_int(x->token), bm_arg_int(x->created_at), bm_arg_int(x->due_at), bm_arg_int(x->deadline),
                                bm_arg_buf(&x->payload)),
                        "errand", &x->id, e);
}

enum bm_rc bm_errand_set(struct bm_store *s, const struct bm_errand *x, struct bm_error *e)
{
    return bm_db_update(s, &set,
                        BM_ARGS(bm_arg_int(x->host_id), bm_arg_text(x->state), bm_arg_int(x->tries), bm_arg_int(x->token),
                                bm_arg_int(x->due_at), bm_arg_text(x->code), bm_arg_text(x->what), bm_arg_buf(&x->payload),
                                bm_arg_buf(&x->result), bm_arg_int(x->id)),
                        "errand", e);
}

static enum bm_rc read_row(const struct bm_query *q, struct bm_errand *x, struct bm_error *e)
{
    struct bm_cols c = bm_query_cols(q);

    x->id = bm_col_int(&c);
    x->host_id = bm_col_int(&c);
    x->device_id = bm_col_int(&c);
    x->batch_id = bm_col_int(&c);
    BM_COL_TEXT(&c, x->kind);
    BM_COL_TEXT(&c, x->subject);
    BM_COL_TEXT(&c, x->state);
    x->tries = (uint32_t)bm_col_int(&c);
    x->token = (uint32_t)bm_col_int(&c);
    x->created_at = bm_col_int(&c);
    x->due_at = bm_col_int(&c);
    x->deadline = bm_col_int(&c);
    BM_COL_TEXT(&c, x->code);
    BM_COL_TEXT(&c, x->what);
    bm_col_buf(&c, &x->payload);
    bm_col_buf(&c, &x->result);
    return bm_cols_check(&c, "errand", e);
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_errand *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };
    enum bm_rc rc = bm_query_one(s, sql, args, "errand", &q, e);

    if (rc == BM_OK)
        rc = read_row(&q, &x, e);
    if (rc != BM_OK)
        return rc;
    *ret = x;
    x = (struct bm_errand){ 0 };
    return BM_OK;
}

static enum bm_rc number(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, args, "errand", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret = bm_col_int(&c);
    return bm_cols_check(&c, "errand", e);
}

enum bm_rc bm_errand_by_id(struct bm_store *s, int64_t id, struct bm_errand *ret, struct bm_error *e)
{
    return one(s, &by_id, BM_ARGS(bm_arg_int(id)), ret, e);
}

enum bm_rc bm_errand_newest(struct bm_store *s, const char *kind, const char *subject, struct bm_errand *ret, struct bm_error *e)
{
    return one(s, &newest, BM_ARGS(bm_arg_text(subject), bm_arg_text(kind)), ret, e);
}

enum bm_rc bm_errand_due(struct bm_store *s, const char *state, int64_t now, struct bm_errand *ret, struct bm_error *e)
{
    return one(s, &due, BM_ARGS(bm_arg_text(state), bm_arg_int(now)), ret, e);
}

enum bm_rc bm_errand_overdue(struct bm_store *s, int64_t now, struct bm_errand *ret, struct bm_error *e)
{
    return one(s, &overdue, BM_ARGS(bm_arg_int(now)), ret, e);
}

enum bm_rc bm_errand_next_due(struct bm_store *s, const char *state, int64_t *ret, struct bm_error *e)
{
    enum bm_rc rc = number(s, &next_due, BM_ARGS(bm_arg_text(state)), ret, e);

    if (rc == BM_NOTFOUND)
        *ret = INT64_MAX;
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

enum bm_rc bm_errand_release(struct bm_store *s, int64_t host_id, int64_t now, struct bm_error *e)
{
    return bm_db_run(s, &release, BM_ARGS(bm_arg_int(now), bm_arg_int(host_id)), e);
}

enum bm_rc bm_errand_forget(struct bm_store *s, int64_t now, int64_t n, int64_t *ret_n, struct bm_error *e)
{
    enum bm_rc rc = bm_db_run(s, &forget, BM_ARGS(bm_arg_int(now), bm_arg_int(n)), e);

    if (rc == BM_OK)
        *ret_n = bm_db_changes(s);
    return rc;
}

enum bm_rc bm_errand_open(struct bm_store *s, int64_t *ret, struct bm_error *e)
{
    return number(s, &open, BM_NO_ARGS, ret, e);
}

enum bm_rc bm_errand_open_of(struct bm_store *s, const char *kind, int64_t device_id, int64_t *ret, struct bm_error *e)
{
    return number(s, &open_of, BM_ARGS(bm_arg_int(device_id), bm_arg_text(kind)), ret, e);
}

enum bm_rc bm_errand_open_in(struct bm_store *s, const char *kind, int64_t batch_id, int64_t *ret, struct bm_error *e)
{
    return number(s, &open_in, BM_ARGS(bm_arg_int(batch_id), bm_arg_text(kind)), ret, e);
}

enum bm_rc bm_errand_in_batch(struct bm_store *s, const char *kind, int64_t batch_id, int64_t but_device_id, int64_t *ret_devices,
                              int64_t *ret_unknown, struct bm_error *e)
{
    enum bm_rc rc =
        number(s, &in_batch, BM_ARGS(bm_arg_int(batch_id), bm_arg_text(kind), bm_arg_int(but_device_id)), ret_devices, e);

    return rc == BM_OK ? number(s, &in_batch_unknown, BM_ARGS(bm_arg_int(batch_id), bm_arg_text(kind)), ret_unknown, e) : rc;
}

enum bm_rc bm_errand_drop(struct bm_store *s, int64_t id, struct bm_error *e)
{
    return bm_db_run(s, &drop, BM_ARGS(bm_arg_int(id)), e);
}
