/* Whose a device has been. */
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
