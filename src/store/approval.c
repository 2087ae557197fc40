#include "store/db.h"

#define COLUMNS                                                                                                                    \
    "SELECT id, batch_id, service_id, code_id, udid, key_sha256, state, protocol, correlation, peer, decided_by, created_at,"      \
    " expires_at, decided_at, used_at FROM approval WHERE "
static const struct bm_sql put = {
    "INSERT INTO approval (udid_key, batch_id, service_id, code_id, state, protocol, correlation, peer, created_at, expires_at,"
    " decided_at, decided_by, used_at, udid, key_sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '', 0, ?, ?)"
    " ON CONFLICT DO NOTHING"
};
static const struct bm_sql find = {
    COLUMNS "udid_key = ? AND udid = ? AND COALESCE(service_id, 0) = ? AND key_sha256 = ? AND expires_at > ?"
            " AND state <> 'used' ORDER BY decided_at DESC, id DESC LIMIT 1"
};
static const struct bm_sql by_id = { COLUMNS "id = ?" };
static const struct bm_sql decide = {
    "UPDATE approval SET state = ?, decided_at = ?, decided_by = ?, expires_at = ? WHERE id = ? AND state <> 'used'"
};
static const struct bm_sql use = { "UPDATE approval SET state = 'used', used_at = ? WHERE id = ? AND state = 'approved'" };
static const struct bm_sql forget = { "DELETE FROM approval WHERE expires_at <= ?" };
static const struct bm_sql waiting_of = { "SELECT count(*) FROM approval WHERE udid_key = ? AND udid = ? AND state = 'waiting'" };
static const struct bm_sql waiting_with = { "SELECT count(*) FROM approval WHERE code_id = ? AND state = 'waiting'" };
static const struct bm_sql waiting = { "SELECT count(*) FROM approval WHERE state = 'waiting'" };

/* A key to be made is the empty digest. */
static struct bm_arg key_of(const struct bm_approval *a)
{
    return bm_arg_blob(a->key, a->keygen ? 0 : sizeof a->key);
}

enum bm_rc bm_approval_put(struct bm_store *s, struct bm_approval *a, struct bm_error *e)
{
    return bm_db_insert(s, &put,
                        BM_ARGS(bm_arg_int(bm_short_key(a->udid)), bm_arg_int(a->batch_id), bm_arg_ref(a->service_id),
                                bm_arg_ref(a->code_id), bm_arg_text(a->state), bm_arg_text(a->protocol),
                                bm_arg_text(a->correlation), bm_arg_text(a->peer), bm_arg_int(a->created_at),
                                bm_arg_int(a->expires_at), bm_arg_blob(a->udid, sizeof a->udid), key_of(a)),
                        "approval", &a->id, e);
}

static void read_key(struct bm_cols *c, struct bm_approval *r)
{
    struct bm_rd key = bm_col_bytes(c);

    r->keygen = key.n == 0;
    if (key.n == sizeof r->key)
        memcpy(r->key, key.p, sizeof r->key);
    else
        c->bad = c->bad || key.n != 0;
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_approval *ret,
                      struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_approval r = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, args, "approval", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    r.id = bm_col_int(&c);
    r.batch_id = bm_col_int(&c);
    r.service_id = bm_col_int(&c);
    r.code_id = bm_col_int(&c);
    BM_COL_FIXED(&c, r.udid);
    read_key(&c, &r);
    BM_COL_TEXT(&c, r.state);
    BM_COL_TEXT(&c, r.protocol);
    BM_COL_TEXT(&c, r.correlation);
    BM_COL_TEXT(&c, r.peer);
    BM_COL_TEXT(&c, r.decided_by);
    r.created_at = bm_col_int(&c);
    r.expires_at = bm_col_int(&c);
    r.decided_at = bm_col_int(&c);
    r.used_at = bm_col_int(&c);
    rc = bm_cols_check(&c, "approval", e);
    if (rc == BM_OK)
        *ret = r;
    return rc;
}

enum bm_rc bm_approval_find(struct bm_store *s, const struct bm_approval *a, int64_t now, struct bm_approval *ret,
                            struct bm_error *e)
{
    return one(s, &find,
               BM_ARGS(bm_arg_int(bm_short_key(a->udid)), bm_arg_blob(a->udid, sizeof a->udid), bm_arg_int(a->service_id),
                       key_of(a), bm_arg_int(now)),
               ret, e);
}

enum bm_rc bm_approval_by_id(struct bm_store *s, int64_t id, struct bm_approval *ret, struct bm_error *e)
{
    return one(s, &by_id, BM_ARGS(bm_arg_int(id)), ret, e);
}

/* An UPDATE that looks at the state itself, whatever the caller has read before. */
static enum bm_rc moved(struct bm_store *s, enum bm_rc rc, struct bm_error *e)
{
    if (rc == BM_OK && bm_db_changes(s) == 0)
        return bm_fail(e, BM_CONFLICT, "the approval is in another state by now");
    return rc;
}

enum bm_rc bm_approval_decide(struct bm_store *s, const struct bm_approval *a, struct bm_error *e)
{
    return moved(s,
                 bm_db_run(s, &decide,
                           BM_ARGS(bm_arg_text(a->state), bm_arg_int(a->decided_at), bm_arg_text(a->decided_by),
                                   bm_arg_int(a->expires_at), bm_arg_int(a->id)),
                           e),
                 e);
}

enum bm_rc bm_approval_use(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e)
{
    return moved(s, bm_db_run(s, &use, BM_ARGS(bm_arg_int(at), bm_arg_int(id)), e), e);
}

enum bm_rc bm_approval_forget(struct bm_store *s, int64_t before, struct bm_error *e)
{
    return bm_db_run(s, &forget, BM_ARGS(bm_arg_int(before)), e);
}

static enum bm_rc count(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_one(s, sql, args, "count", &q, e);
    struct bm_cols c;

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret = bm_col_int(&c);
    return bm_cols_check(&c, "approval", e);
}

enum bm_rc bm_approval_waiting_of(struct bm_store *s, const uint8_t udid[BM_UDID_LEN], int64_t *ret, struct bm_error *e)
{
    return count(s, &waiting_of, BM_ARGS(bm_arg_int(bm_short_key(udid)), bm_arg_blob(udid, BM_UDID_LEN)), ret, e);
}

enum bm_rc bm_approval_waiting_with(struct bm_store *s, int64_t code_id, int64_t *ret, struct bm_error *e)
{
    return count(s, &waiting_with, BM_ARGS(bm_arg_int(code_id)), ret, e);
}

enum bm_rc bm_approval_waiting(struct bm_store *s, int64_t *ret, struct bm_error *e)
{
    return count(s, &waiting, BM_NO_ARGS, ret, e);
}
