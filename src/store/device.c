#include "store/db.h"

#include <stdio.h>

#define VALUES                                                                                                                     \
    "INSERT INTO device (udid_key, tie, batch_id, owner_id, manifest_id, state, created_at, activated_at, udid, rot, spki, "       \
    "attributes,"                                                                                                                  \
    " birth_cert) VALUES (?, "
#define VALUES_END ", ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
static const struct bm_sql put = { VALUES "0" VALUES_END " ON CONFLICT DO NOTHING" };
static const struct bm_sql put_tied = { VALUES "(SELECT max(tie) + 1 FROM device WHERE udid_key = ?)" VALUES_END };
#define COLUMNS "id, batch_id, owner_id, manifest_id, state, created_at, activated_at, udid, rot, spki, attributes, birth_cert"
static const struct bm_sql get = { "SELECT " COLUMNS " FROM device WHERE udid_key = ? AND udid = ?" };
static const struct bm_sql by_id = { "SELECT " COLUMNS " FROM device WHERE id = ?" };
static const struct bm_sql peek = { "SELECT id, batch_id FROM device WHERE udid_key = ? AND udid = ?" };
static const struct bm_sql get_state = { "SELECT state FROM device WHERE id = ?" };
static const struct bm_sql set_state = { "UPDATE device SET state = ? WHERE id = ?" };
static const struct bm_sql set_active = { "UPDATE device SET state = ?, activated_at = ? WHERE id = ?" };
static const struct bm_sql set_owner = { "UPDATE device SET owner_id = ? WHERE id = ?" };
static const struct bm_sql set_batch = { "UPDATE device SET batch_id = ?, state = ? WHERE id = ?" };

void bm_device_done(struct bm_device *d)
{
    bm_buf_done(&d->spki);
    bm_buf_done(&d->birth_cert);
    bm_buf_done(&d->attributes);
    *d = (struct bm_device){ 0 };
}

static enum bm_rc tally(struct bm_store *s, const char *state, int64_t n, struct bm_error *e)
{
    char name[32];

    snprintf(name, sizeof name, "device:%s", state);
    return bm_db_tally(s, name, n, e);
}

static struct bm_arg udid_key(const uint8_t udid[BM_UDID_LEN])
{
    return bm_arg_int(bm_short_key(udid));
}

/* Another device has the first four bytes of this UDID: about one in 4,000 at a million devices. */
static enum bm_rc put_beside(struct bm_store *s, struct bm_args args, const uint8_t udid[BM_UDID_LEN], int64_t *ret_id,
                             struct bm_error *e)
{
    struct bm_arg tied[16];
    int64_t id, batch_id;
    enum bm_rc rc = bm_device_peek(s, udid, &id, &batch_id, e);

    if (rc == BM_OK)
        return bm_fail(e, BM_CONFLICT, "the device is already there");
    if (rc != BM_NOTFOUND)
        return rc;
    tied[0] = args.p[0];
    tied[1] = args.p[0];
    memcpy(tied + 2, args.p + 1, (args.n - 1) * sizeof *tied);
    return bm_db_insert(s, &put_tied, (struct bm_args){ tied, args.n + 1 }, "device", ret_id, e);
}

enum bm_rc bm_device_put(struct bm_store *s, struct bm_device *d, struct bm_error *e)
{
    struct bm_args args =
        BM_ARGS(udid_key(d->udid), bm_arg_ref(d->batch_id), bm_arg_ref(d->owner_id), bm_arg_ref(d->manifest_id),
                bm_arg_text(d->state), bm_arg_int(d->created_at), bm_arg_int(d->activated_at), bm_arg_blob(d->udid, sizeof d->udid),
                bm_arg_text(d->rot), bm_arg_buf(&d->spki), bm_arg_buf(&d->attributes), bm_arg_buf(&d->birth_cert));
    enum bm_rc rc = bm_db_insert(s, &put, args, "device", &d->id, e);

    if (rc == BM_CONFLICT)
        rc = put_beside(s, args, d->udid, &d->id, e);
    return rc == BM_OK ? tally(s, d->state, 1, e) : rc;
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_device *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, args, "device", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    d.id = bm_col_int(&c);
    d.batch_id = bm_col_int(&c);
    d.owner_id = bm_col_int(&c);
    d.manifest_id = bm_col_int(&c);
    BM_COL_TEXT(&c, d.state);
    d.created_at = bm_col_int(&c);
    d.activated_at = bm_col_int(&c);
    BM_COL_FIXED(&c, d.udid);
    BM_COL_TEXT(&c, d.rot);
    bm_col_buf(&c, &d.spki);
    bm_col_buf(&c, &d.attributes);
    bm_col_buf(&c, &d.birth_cert);
    rc = bm_cols_check(&c, "device", e);
    if (rc != BM_OK)
        return rc;
    *ret = d;
    d = (struct bm_device){ 0 };
    return BM_OK;
}

enum bm_rc bm_device_get(struct bm_store *s, const uint8_t udid[BM_UDID_LEN], struct bm_device *ret, struct bm_error *e)
{
    return one(s, &get, BM_ARGS(udid_key(udid), bm_arg_blob(udid, BM_UDID_LEN)), ret, e);
}

enum bm_rc bm_device_by_id(struct bm_store *s, int64_t id, struct bm_device *ret, struct bm_error *e)
{
    return one(s, &by_id, BM_ARGS(bm_arg_int(id)), ret, e);
}

enum bm_rc bm_device_peek(struct bm_store *s, const uint8_t udid[BM_UDID_LEN], int64_t *ret_id, int64_t *ret_batch_id,
                          struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &peek, BM_ARGS(udid_key(udid), bm_arg_blob(udid, BM_UDID_LEN)), "device", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret_id = bm_col_int(&c);
    *ret_batch_id = bm_col_int(&c);
    return BM_OK;
}

/* Every change of state passes here, for the tally. */
static enum bm_rc change(struct bm_store *s, int64_t id, const char *state, const struct bm_sql *sql, struct bm_args args,
                         struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    char old[16];
    enum bm_rc rc = bm_db_may_change(s, e);

    if (rc == BM_OK)
        rc = bm_query_one(s, &get_state, BM_ARGS(bm_arg_int(id)), "device", &q, e);
    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    BM_COL_TEXT(&c, old);
    rc = bm_cols_check(&c, "device", e);
    bm_query_done(&q); /* no row in hand while it is changed */
    if (rc == BM_OK)
        rc = bm_db_update(s, sql, args, "device", e);
    if (rc == BM_OK)
        rc = tally(s, old, -1, e);
    return rc == BM_OK ? tally(s, state, 1, e) : rc;
}

enum bm_rc bm_device_set_state(struct bm_store *s, int64_t id, const char *state, int64_t activated_at, struct bm_error *e)
{
    if (activated_at == 0)
        return change(s, id, state, &set_state, BM_ARGS(bm_arg_text(state), bm_arg_int(id)), e);
    return change(s, id, state, &set_active, BM_ARGS(bm_arg_text(state), bm_arg_int(activated_at), bm_arg_int(id)), e);
}

enum bm_rc bm_device_set_batch(struct bm_store *s, int64_t id, int64_t batch_id, const char *state, struct bm_error *e)
{
    return change(s, id, state, &set_batch, BM_ARGS(bm_arg_ref(batch_id), bm_arg_text(state), bm_arg_int(id)), e);
}

enum bm_rc bm_device_set_owner(struct bm_store *s, int64_t id, int64_t org_id, struct bm_error *e)
{
    return bm_db_update(s, &set_owner, BM_ARGS(bm_arg_ref(org_id), bm_arg_int(id)), "device", e);
}
