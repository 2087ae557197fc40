#include "store/db.h"

static const struct bm_sql add = {
    "INSERT INTO manifest (org_id, batch_id, digest, prev, format, next_seq, entries, bad, complete, created_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
};
static const struct bm_sql set = {
    "UPDATE manifest SET org_id = ?, batch_id = ?, digest = ?, prev = ?, format = ?, next_seq = ?, entries = ?,"
    " bad = ?, complete = ?, created_at = ? WHERE id = ?"
};
#define COLUMNS "id, org_id, batch_id, digest, prev, format, next_seq, entries, bad, complete, created_at"
static const struct bm_sql by_digest = { "SELECT " COLUMNS " FROM manifest WHERE digest = ?" };
static const struct bm_sql by_id = { "SELECT " COLUMNS " FROM manifest WHERE id = ?" };

enum bm_rc bm_manifest_put(struct bm_store *s, struct bm_manifest_row *m, struct bm_error *e)
{
    struct bm_args args =
        BM_ARGS(bm_arg_ref(m->org_id), bm_arg_ref(m->batch_id), bm_arg_blob(m->digest, sizeof m->digest),
                bm_arg_blob(m->prev, sizeof m->prev), bm_arg_text(m->format), bm_arg_int(m->next_seq), bm_arg_int(m->entries),
                bm_arg_int(m->bad), bm_arg_int(m->complete), bm_arg_int(m->created_at), bm_arg_int(m->id));

    if (m->id != 0)
        return bm_db_update(s, &set, args, "manifest", e);
    args.n--; /* all but the id */
    return bm_db_insert(s, &add, args, "manifest", &m->id, e);
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_manifest_row *ret,
                      struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_manifest_row m = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, args, "manifest", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    m.id = bm_col_int(&c);
    m.org_id = bm_col_int(&c);
    m.batch_id = bm_col_int(&c);
    BM_COL_FIXED(&c, m.digest);
    BM_COL_FIXED(&c, m.prev);
    BM_COL_TEXT(&c, m.format);
    m.next_seq = bm_col_int(&c);
    m.entries = bm_col_int(&c);
    m.bad = bm_col_int(&c);
    m.complete = bm_col_int(&c) != 0;
    m.created_at = bm_col_int(&c);
    rc = bm_cols_check(&c, "manifest", e);
    if (rc == BM_OK)
        *ret = m;
    return rc;
}

enum bm_rc bm_manifest_by_digest(struct bm_store *s, const uint8_t digest[32], struct bm_manifest_row *ret, struct bm_error *e)
{
    return one(s, &by_digest, BM_ARGS(bm_arg_blob(digest, 32)), ret, e);
}

enum bm_rc bm_manifest_by_id(struct bm_store *s, int64_t id, struct bm_manifest_row *ret, struct bm_error *e)
{
    return one(s, &by_id, BM_ARGS(bm_arg_int(id)), ret, e);
}
