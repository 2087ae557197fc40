#include "store/db.h"

#define COLUMNS                                                                                                                    \
    "SELECT id, device_id, batch_id, from_id, org_id, last_id, cursor_id, moved, passed, created_at, expires_at, taken_at,"        \
    " done_at, revoked_at, note, digest FROM claim WHERE "
static const struct bm_sql put = {
    "INSERT INTO claim (digest_key, device_id, batch_id, from_id, last_id, cursor_id, moved, passed, created_at, expires_at,"
    " taken_at, done_at, revoked_at, note, digest) VALUES (?, ?, ?, ?, 0, 0, 0, 0, ?, ?, 0, 0, 0, ?, ?) ON CONFLICT DO NOTHING"
};
static const struct bm_sql find = { COLUMNS "digest_key = ? ORDER BY id" };
static const struct bm_sql by_id = { COLUMNS "id = ?" };
static const struct bm_sql take = {
    "UPDATE claim SET org_id = ?, last_id = ?, taken_at = ? WHERE id = ? AND org_id IS NULL AND revoked_at = 0"
};
static const struct bm_sql step = { "UPDATE claim SET cursor_id = ?, moved = ?, passed = ?, done_at = ? WHERE id = ?" };
static const struct bm_sql revoke = { "UPDATE claim SET revoked_at = ? WHERE id = ?" };
static const struct bm_sql item_add = { "INSERT INTO claim_item (claim_id, device_id) VALUES (?, ?) ON CONFLICT DO NOTHING" };
static const struct bm_sql last_item = { "SELECT COALESCE(max(id), 0) FROM claim_item WHERE claim_id = ?" };
static const struct bm_sql last_device = { "SELECT COALESCE(max(id), 0) FROM device" };
static const struct bm_sql items = {
    "SELECT id, device_id FROM claim_item WHERE claim_id = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?"
};
static const struct bm_sql devices = { "SELECT id, id FROM device WHERE batch_id = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?" };

enum bm_rc bm_claim_put(struct bm_store *s, struct bm_claim *c, struct bm_error *e)
{
    return bm_db_insert(s, &put,
                        BM_ARGS(bm_arg_int(bm_short_key(c->digest)), bm_arg_ref(c->device_id), bm_arg_ref(c->batch_id),
                                bm_arg_int(c->from_id), bm_arg_int(c->created_at), bm_arg_int(c->expires_at), bm_arg_text(c->note),
                                bm_arg_blob(c->digest, sizeof c->digest)),
                        "claim", &c->id, e);
}

static enum bm_rc read_row(const struct bm_query *q, struct bm_claim *ret, struct bm_error *e)
{
    struct bm_cols c = bm_query_cols(q);
    struct bm_claim r = { 0 };
    int64_t *const numbers[] = { &r.id,    &r.device_id, &r.batch_id,   &r.from_id,    &r.org_id,   &r.last_id, &r.cursor_id,
                                 &r.moved, &r.passed,    &r.created_at, &r.expires_at, &r.taken_at, &r.done_at, &r.revoked_at };
    enum bm_rc rc;

    for (size_t i = 0; i < BM_COUNT(numbers); i++)
        *numbers[i] = bm_col_int(&c);
    BM_COL_TEXT(&c, r.note);
    BM_COL_FIXED(&c, r.digest);
    rc = bm_cols_check(&c, "claim", e);
    if (rc == BM_OK)
        *ret = r;
    return rc;
}

/* As bm_code_row_find(). */
enum bm_rc bm_claim_find(struct bm_store *s, const uint8_t digest[32], struct bm_claim *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &find, BM_ARGS(bm_arg_int(bm_short_key(digest))), &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_claim r;

        rc = read_row(&q, &r, e);
        if (rc != BM_OK || !bm_secret_eq(r.digest, digest, sizeof r.digest))
            continue;
        *ret = r;
        return BM_OK;
    }
    return rc;
}

enum bm_rc bm_claim_by_id(struct bm_store *s, int64_t id, struct bm_claim *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_one(s, &by_id, BM_ARGS(bm_arg_int(id)), "claim", &q, e);

    return rc == BM_OK ? read_row(&q, ret, e) : rc;
}

enum bm_rc bm_claim_add_item(struct bm_store *s, int64_t claim_id, int64_t device_id, struct bm_error *e)
{
    return bm_db_insert(s, &item_add, BM_ARGS(bm_arg_int(claim_id), bm_arg_int(device_id)), "device of the claim", NULL, e);
}

static enum bm_rc number(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, args, "claim", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret = bm_col_int(&c);
    return bm_cols_check(&c, "claim", e);
}

enum bm_rc bm_claim_take(struct bm_store *s, struct bm_claim *c, int64_t org_id, int64_t at, struct bm_error *e)
{
    int64_t last = c->device_id;
    enum bm_rc rc = BM_OK;

    if (c->batch_id != 0)
        rc = number(s, &last_device, BM_NO_ARGS, &last, e);
    else if (c->device_id == 0)
        rc = number(s, &last_item, BM_ARGS(bm_arg_int(c->id)), &last, e);
    if (rc == BM_OK)
        rc = bm_db_run(s, &take, BM_ARGS(bm_arg_int(org_id), bm_arg_int(last), bm_arg_int(at), bm_arg_int(c->id)), e);
    if (rc == BM_OK && bm_db_changes(s) == 0)
        return bm_refuse(e, BM_CONFLICT, "claim-taken", "somebody else has taken this claim");
    c->org_id = org_id;
    c->last_id = last;
    c->taken_at = at;
    return rc;
}

/* A batch has no index of its own; so many ids at a time are looked at, whosoever they are. */
enum { SCAN = 20000 };

enum bm_rc bm_claim_next(struct bm_store *s, struct bm_claim *c, int64_t *ret_devices, size_t max, size_t *ret_n,
                         struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    int64_t to = c->batch_id != 0 && c->last_id - c->cursor_id > SCAN ? c->cursor_id + SCAN : c->last_id;
    enum bm_rc rc;

    *ret_n = 0;
    if (c->device_id != 0) {
        *ret_n = c->cursor_id < c->last_id;
        ret_devices[0] = c->device_id;
        c->cursor_id = c->last_id;
        return BM_OK;
    }
    rc = bm_query_start(s, c->batch_id != 0 ? &devices : &items,
                        BM_ARGS(bm_arg_int(c->batch_id != 0 ? c->batch_id : c->id), bm_arg_int(c->cursor_id), bm_arg_int(to),
                                bm_arg_int((int64_t)max)),
                        &q, e);
    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols cols = bm_query_cols(&q);

        c->cursor_id = bm_col_int(&cols);
        ret_devices[(*ret_n)++] = bm_col_int(&cols);
        rc = bm_cols_check(&cols, "claim", e);
    }
    if (rc == BM_NOTFOUND && *ret_n < max)
        c->cursor_id = to;
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

enum bm_rc bm_claim_step(struct bm_store *s, const struct bm_claim *c, struct bm_error *e)
{
    return bm_db_update(
        s, &step,
        BM_ARGS(bm_arg_int(c->cursor_id), bm_arg_int(c->moved), bm_arg_int(c->passed), bm_arg_int(c->done_at), bm_arg_int(c->id)),
        "claim", e);
}

enum bm_rc bm_claim_revoke(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e)
{
    return bm_db_update(s, &revoke, BM_ARGS(bm_arg_int(at), bm_arg_int(id)), "claim", e);
}
