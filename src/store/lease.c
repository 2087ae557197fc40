/* Quota in blocks. batch.used counts what has been handed out; what of it a host has not used yet stands in its row here, and goes down in the
 * transaction that adds the device. So a unit is always in exactly one place, in the database: nothing is lost with a host, and when a batch
 * has no more to hand out, anybody takes from whoever has some left, running or not. */
#include "store/db.h"

enum { BLOCK_MAX = 64, SHARE = 4 }; /* a block is at most a fourth of each host's part of what is left */

static const struct bm_sql take = { "UPDATE lease SET n = n - 1 WHERE host_id = ? AND batch_id = ? AND n > 0" };
static const struct bm_sql add = { "INSERT INTO lease (host_id, batch_id, n) VALUES (?, ?, ?) ON CONFLICT (host_id, batch_id) DO "
                                   "UPDATE SET n = lease.n + excluded.n" };
static const struct bm_sql richest = { "SELECT host_id FROM lease WHERE batch_id = ? AND n > 0 ORDER BY n DESC, host_id LIMIT 1" };
static const struct bm_sql left_of = { "SELECT quota - used FROM batch WHERE id = ?" };
static const struct bm_sql hand_out = { "UPDATE batch SET used = used + ? WHERE id = ? AND used <= quota - ?" };
static const struct bm_sql take_back = { "UPDATE batch SET used = used - CAST(coalesce((SELECT sum(n) FROM lease WHERE "
                                         "lease.batch_id = batch.id), 0) AS BIGINT) WHERE id = ?" };
static const struct bm_sql clear = { "UPDATE lease SET n = 0 WHERE batch_id = ? AND n > 0" };

static enum bm_rc number(struct bm_store *s, const struct bm_sql *sql, int64_t id, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, BM_ARGS(bm_arg_int(id)), "batch", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret = bm_col_int(&c);
    return BM_OK;
}

/* BM_LIMIT: this host has none. */
static enum bm_rc take_from(struct bm_store *s, int64_t host_id, int64_t batch_id, struct bm_error *e)
{
    enum bm_rc rc = bm_db_run(s, &take, BM_ARGS(bm_arg_int(host_id), bm_arg_int(batch_id)), e);

    return rc == BM_OK && bm_db_changes(s) == 0 ? BM_LIMIT : rc;
}

static int64_t block_of(int64_t left, int64_t n_hosts)
{
    int64_t n = left / (SHARE * n_hosts);

    return n < 1 ? 1 : n > BLOCK_MAX ? BLOCK_MAX : n;
}

/* A new block, one of which is used at once. BM_LIMIT: the batch has no more to hand out. */
static enum bm_rc take_block(struct bm_store *s, int64_t host_id, int64_t n_hosts, int64_t batch_id, struct bm_error *e)
{
    int64_t left, n;
    enum bm_rc rc = number(s, &left_of, batch_id, &left, e);

    if (rc != BM_OK || left <= 0)
        return rc == BM_OK ? BM_LIMIT : rc;
    n = block_of(left, n_hosts);
    rc = bm_db_run(s, &hand_out, BM_ARGS(bm_arg_int(n), bm_arg_int(batch_id), bm_arg_int(n)), e);
    if (rc == BM_OK && bm_db_changes(s) == 0)
        return BM_LIMIT;
    if (rc != BM_OK || n == 1)
        return rc;
    return bm_db_run(s, &add, BM_ARGS(bm_arg_int(host_id), bm_arg_int(batch_id), bm_arg_int(n - 1)), e);
}

static enum bm_rc take_anywhere(struct bm_store *s, int64_t batch_id, struct bm_error *e)
{
    int64_t host_id;
    enum bm_rc rc = number(s, &richest, batch_id, &host_id, e);

    if (rc == BM_OK)
        rc = take_from(s, host_id, batch_id, e);
    return rc == BM_NOTFOUND ? BM_LIMIT : rc;
}

enum bm_rc bm_lease_use(struct bm_store *s, int64_t host_id, int64_t n_hosts, int64_t batch_id, struct bm_error *e)
{
    enum bm_rc rc = take_from(s, host_id, batch_id, e);

    if (rc == BM_LIMIT)
        rc = take_block(s, host_id, n_hosts, batch_id, e);
    if (rc == BM_LIMIT)
        rc = take_anywhere(s, batch_id, e);
    return rc == BM_LIMIT ? bm_refuse(e, BM_LIMIT, "quota-exhausted", "all of the batch's quota is used") : rc;
}

enum bm_rc bm_lease_fold(struct bm_store *s, int64_t batch_id, struct bm_error *e)
{
    enum bm_rc rc = bm_db_run(s, &take_back, BM_ARGS(bm_arg_int(batch_id)), e);

    return rc == BM_OK ? bm_db_run(s, &clear, BM_ARGS(bm_arg_int(batch_id)), e) : rc;
}
