/* Whose a device has been, and what is agreed about whose it will be. */
#include "store/db.h"

#define COLUMNS "device_id, from_id, to_id, at, until, revoked, how, actor"
static const struct bm_sql add = { "INSERT INTO ownership (" COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING" };
static const struct bm_sql last = { "SELECT id, " COLUMNS " FROM ownership WHERE device_id = ? ORDER BY id DESC LIMIT 1" };

enum bm_rc bm_ownership_add(struct bm_store *s, struct bm_ownership *o, struct bm_error *e)
{
    return bm_db_insert(s, &add,
                        BM_ARGS(bm_arg_int(o->device_id), bm_arg_ref(o->from_id), bm_arg_ref(o->to_id), bm_arg_int(o->at),
                                bm_arg_int(o->until), bm_arg_int(o->revoked), bm_arg_text(o->how), bm_arg_text(o->actor)),
                        "change of owner", &o->id, e);
}

enum bm_rc bm_ownership_last(struct bm_store *s, int64_t device_id, struct bm_ownership *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_ownership o = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &last, BM_ARGS(bm_arg_int(device_id)), "change of owner", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    o.id = bm_col_int(&c);
    o.device_id = bm_col_int(&c);
    o.from_id = bm_col_int(&c);
    o.to_id = bm_col_int(&c);
    o.at = bm_col_int(&c);
    o.until = bm_col_int(&c);
    o.revoked = bm_col_int(&c);
    BM_COL_TEXT(&c, o.how);
    BM_COL_TEXT(&c, o.actor);
    rc = bm_cols_check(&c, "change of owner", e);
    if (rc == BM_OK)
        *ret = o;
    return rc;
}

/* --- offers ------------------------------------------------------------------------------------------------------------------- */
#define OFFER "device_id, from_id, to_id, created_at, until, actor"
static const struct bm_sql offer_put = { "INSERT INTO offer (" OFFER ") VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING" };
static const struct bm_sql offer_of = { "SELECT id, " OFFER " FROM offer WHERE device_id = ?" };
static const struct bm_sql offer_drop = { "DELETE FROM offer WHERE device_id = ?" };

enum bm_rc bm_offer_put(struct bm_store *s, struct bm_offer *o, struct bm_error *e)
{
    return bm_db_insert(s, &offer_put,
                        BM_ARGS(bm_arg_int(o->device_id), bm_arg_int(o->from_id), bm_arg_int(o->to_id), bm_arg_int(o->created_at),
                                bm_arg_int(o->until), bm_arg_text(o->actor)),
                        "offer", &o->id, e);
}

enum bm_rc bm_offer_of(struct bm_store *s, int64_t device_id, struct bm_offer *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_offer o = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &offer_of, BM_ARGS(bm_arg_int(device_id)), "offer", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    o.id = bm_col_int(&c);
    o.device_id = bm_col_int(&c);
    o.from_id = bm_col_int(&c);
    o.to_id = bm_col_int(&c);
    o.created_at = bm_col_int(&c);
    o.until = bm_col_int(&c);
    BM_COL_TEXT(&c, o.actor);
    rc = bm_cols_check(&c, "offer", e);
    if (rc == BM_OK)
        *ret = o;
    return rc;
}

enum bm_rc bm_offer_drop(struct bm_store *s, int64_t device_id, struct bm_error *e)
{
    return bm_db_run(s, &offer_drop, BM_ARGS(bm_arg_int(device_id)), e);
}

/* --- rentals ------------------------------------------------------------------------------------------------------------------ */
#define RENTAL "device_id, owner_id, tenant_id, created_at, ends_at"
static const struct bm_sql rental_put = { "INSERT INTO rental (" RENTAL ") VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING" };
static const struct bm_sql rental_of = { "SELECT id, " RENTAL " FROM rental WHERE device_id = ?" };
static const struct bm_sql rental_due = { "SELECT id, " RENTAL " FROM rental WHERE ends_at <= ? ORDER BY ends_at, id LIMIT 1" };
static const struct bm_sql rental_set_end = { "UPDATE rental SET ends_at = ? WHERE device_id = ?" };
static const struct bm_sql rental_drop = { "DELETE FROM rental WHERE device_id = ?" };

enum bm_rc bm_rental_put(struct bm_store *s, struct bm_rental *r, struct bm_error *e)
{
    return bm_db_insert(s, &rental_put,
                        BM_ARGS(bm_arg_int(r->device_id), bm_arg_int(r->owner_id), bm_arg_int(r->tenant_id),
                                bm_arg_int(r->created_at), bm_arg_int(r->ends_at)),
                        "rental", &r->id, e);
}

static enum bm_rc rental_one(struct bm_store *s, const struct bm_sql *sql, int64_t arg, struct bm_rental *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_rental r = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, BM_ARGS(bm_arg_int(arg)), "rental", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    r.id = bm_col_int(&c);
    r.device_id = bm_col_int(&c);
    r.owner_id = bm_col_int(&c);
    r.tenant_id = bm_col_int(&c);
    r.created_at = bm_col_int(&c);
    r.ends_at = bm_col_int(&c);
    rc = bm_cols_check(&c, "rental", e);
    if (rc == BM_OK)
        *ret = r;
    return rc;
}

enum bm_rc bm_rental_of(struct bm_store *s, int64_t device_id, struct bm_rental *ret, struct bm_error *e)
{
    return rental_one(s, &rental_of, device_id, ret, e);
}

enum bm_rc bm_rental_due(struct bm_store *s, int64_t now, struct bm_rental *ret, struct bm_error *e)
{
    return rental_one(s, &rental_due, now, ret, e);
}

enum bm_rc bm_rental_set_end(struct bm_store *s, int64_t device_id, int64_t ends_at, struct bm_error *e)
{
    return bm_db_update(s, &rental_set_end, BM_ARGS(bm_arg_int(ends_at), bm_arg_int(device_id)), "rental", e);
}

enum bm_rc bm_rental_drop(struct bm_store *s, int64_t device_id, struct bm_error *e)
{
    return bm_db_update(s, &rental_drop, BM_ARGS(bm_arg_int(device_id)), "rental", e);
}
