#include "store/mac_key.h"

#include "store/db.h"

void bm_mac_key_done(struct bm_mac_key *m)
{
    bm_buf_done(&m->ident);
    bm_buf_done(&m->sealed);
    *m = (struct bm_mac_key){ 0 };
}

static const struct bm_sql add = { "INSERT INTO mac_key (device_id, org_id, root_id, kek_id, name, alg, ident, sealed)"
                                   " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING" };
#define COLUMNS "SELECT id, device_id, org_id, root_id, kek_id, name, alg, ident, sealed FROM mac_key WHERE "
static const struct bm_sql of_device = { COLUMNS "device_id = ?" };
static const struct bm_sql by_id = { COLUMNS "id = ?" };
static const struct bm_sql root = { COLUMNS "name = ? AND device_id IS NULL" };
static const struct bm_sql drop_root = { "DELETE FROM mac_key WHERE name = ? AND device_id IS NULL" };
static const struct bm_sql roots = { COLUMNS "device_id IS NULL AND org_id IS NOT NULL ORDER BY name" };
static const struct bm_sql of_kek = { COLUMNS "kek_id = ? ORDER BY id LIMIT 1" };
static const struct bm_sql reseal = { "UPDATE mac_key SET kek_id = ?, sealed = ? WHERE id = ?" };
static const struct bm_sql drop = { "DELETE FROM mac_key WHERE id = ?" };
static const struct bm_sql count = { "SELECT count(*) FROM mac_key WHERE kek_id = ?" };

enum bm_rc bm_mac_key_put(struct bm_store *s, struct bm_mac_key *m, struct bm_error *e)
{
    return bm_db_insert(s, &add,
                        BM_ARGS(bm_arg_ref(m->device_id), bm_arg_ref(m->org_id), bm_arg_ref(m->root_id), bm_arg_ref(m->kek_id),
                                bm_arg_text(m->name), bm_arg_text(m->alg), bm_arg_buf(&m->ident), bm_arg_buf(&m->sealed)),
                        "secret key", &m->id, e);
}

static enum bm_rc read_row(const struct bm_query *q, struct bm_mac_key *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key m = { 0 };
    struct bm_cols c = bm_query_cols(q);
    enum bm_rc rc;

    m.id = bm_col_int(&c);
    m.device_id = bm_col_int(&c);
    m.org_id = bm_col_int(&c);
    m.root_id = bm_col_int(&c);
    m.kek_id = bm_col_int(&c);
    BM_COL_TEXT(&c, m.name);
    BM_COL_TEXT(&c, m.alg);
    bm_col_buf(&c, &m.ident);
    bm_col_buf(&c, &m.sealed);
    rc = bm_cols_check(&c, "secret key", e);
    if (rc != BM_OK)
        return rc;
    *ret = m;
    m = (struct bm_mac_key){ 0 };
    return BM_OK;
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_mac_key *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_one(s, sql, args, "secret key", &q, e);

    return rc == BM_OK ? read_row(&q, ret, e) : rc;
}

enum bm_rc bm_mac_key_of(struct bm_store *s, int64_t device_id, struct bm_mac_key *ret, struct bm_error *e)
{
    return one(s, &of_device, BM_ARGS(bm_arg_int(device_id)), ret, e);
}

enum bm_rc bm_mac_key_by_id(struct bm_store *s, int64_t id, struct bm_mac_key *ret, struct bm_error *e)
{
    return one(s, &by_id, BM_ARGS(bm_arg_int(id)), ret, e);
}

enum bm_rc bm_mac_root(struct bm_store *s, const char *name, struct bm_mac_key *ret, struct bm_error *e)
{
    return one(s, &root, BM_ARGS(bm_arg_text(name)), ret, e);
}

enum bm_rc bm_mac_root_drop(struct bm_store *s, const char *name, struct bm_error *e)
{
    return bm_db_run(s, &drop_root, BM_ARGS(bm_arg_text(name)), e);
}

enum bm_rc bm_mac_key_next(struct bm_store *s, int64_t kek_id, struct bm_mac_key *ret, struct bm_error *e)
{
    return one(s, &of_kek, BM_ARGS(bm_arg_int(kek_id)), ret, e);
}

enum bm_rc bm_mac_key_reseal(struct bm_store *s, int64_t id, int64_t kek_id, const struct bm_buf *sealed, struct bm_error *e)
{
    return bm_db_update(s, &reseal, BM_ARGS(bm_arg_int(kek_id), bm_arg_buf(sealed), bm_arg_int(id)), "secret key", e);
}

enum bm_rc bm_mac_key_drop(struct bm_store *s, int64_t id, struct bm_error *e)
{
    return bm_db_run(s, &drop, BM_ARGS(bm_arg_int(id)), e);
}

enum bm_rc bm_mac_key_count(struct bm_store *s, int64_t kek_id, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &count, BM_ARGS(bm_arg_int(kek_id)), "secret key", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret = bm_col_int(&c);
    return BM_OK;
}

enum bm_rc bm_mac_root_each(struct bm_store *s, bm_mac_key_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &roots, BM_NO_ARGS, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        BM_CLEANUP(bm_mac_key_done) struct bm_mac_key m = { 0 };

        rc = read_row(&q, &m, e);
        if (rc == BM_OK)
            rc = fn(arg, &m, e);
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}
