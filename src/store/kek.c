#include "store/db.h"
#include "store/mac_key.h"

static const struct bm_sql add = {
    "INSERT INTO kek (key_uri, state, created_at, ended_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
};
static const struct bm_sql set = { "UPDATE kek SET key_uri = ?, state = ?, created_at = ?, ended_at = ? WHERE id = ?" };
#define COLUMNS "SELECT id, key_uri, state, created_at, ended_at FROM kek "
static const struct bm_sql by_id = { COLUMNS "WHERE id = ?" };
static const struct bm_sql newest = { COLUMNS "WHERE state = ? ORDER BY id DESC LIMIT 1" };
static const struct bm_sql oldest = { COLUMNS "WHERE state = ? ORDER BY id LIMIT 1" };
static const struct bm_sql all = { COLUMNS "ORDER BY id" };

enum bm_rc bm_kek_put(struct bm_store *s, struct bm_kek_row *r, struct bm_error *e)
{
    struct bm_args args = BM_ARGS(bm_arg_text(r->key_uri), bm_arg_text(r->state), bm_arg_int(r->created_at),
                                  bm_arg_int(r->ended_at), bm_arg_int(r->id));

    if (r->id != 0)
        return bm_db_update(s, &set, args, "key-encryption key", e);
    args.n--; /* all but the id */
    return bm_db_insert(s, &add, args, "key-encryption key", &r->id, e);
}

static enum bm_rc read_row(const struct bm_query *q, struct bm_kek_row *ret, struct bm_error *e)
{
    struct bm_cols c = bm_query_cols(q);
    struct bm_kek_row r;
    enum bm_rc rc;

    r.id = bm_col_int(&c);
    BM_COL_TEXT(&c, r.key_uri);
    BM_COL_TEXT(&c, r.state);
    r.created_at = bm_col_int(&c);
    r.ended_at = bm_col_int(&c);
    rc = bm_cols_check(&c, "key-encryption key", e);
    if (rc == BM_OK)
        *ret = r;
    return rc;
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_kek_row *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_one(s, sql, args, "key-encryption key", &q, e);

    return rc == BM_OK ? read_row(&q, ret, e) : rc;
}

enum bm_rc bm_kek_by_id(struct bm_store *s, int64_t id, struct bm_kek_row *ret, struct bm_error *e)
{
    return one(s, &by_id, BM_ARGS(bm_arg_int(id)), ret, e);
}

enum bm_rc bm_kek_in(struct bm_store *s, const char *state, struct bm_kek_row *ret, struct bm_error *e)
{
    return one(s, strcmp(state, BM_KEK_ACTIVE) == 0 ? &newest : &oldest, BM_ARGS(bm_arg_text(state)), ret, e);
}

enum bm_rc bm_kek_each(struct bm_store *s, bm_kek_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_kek_row r;
    enum bm_rc rc = bm_query_start(s, &all, BM_NO_ARGS, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        rc = read_row(&q, &r, e);
        if (rc == BM_OK)
            rc = fn(arg, &r, e);
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}
