#include "store/upstream.h"

#include "store/db.h"

#define COLUMNS "SELECT ca_id, kek_id, driver, url, options, names, trust, client_cert, secret FROM upstream WHERE "
static const struct bm_sql put = {
    "INSERT INTO upstream (ca_id, kek_id, driver, url, options, names, trust, client_cert, secret) VALUES (?, ?, ?, ?, ?, ?, ?, ?, "
    "?)"
    " ON CONFLICT (ca_id) DO UPDATE SET kek_id = excluded.kek_id, driver = excluded.driver, url = excluded.url, options = "
    "excluded.options,"
    " names = excluded.names, trust = excluded.trust, client_cert = excluded.client_cert, secret = excluded.secret"
};
static const struct bm_sql get = { COLUMNS "ca_id = ?" };
static const struct bm_sql of_kek = { COLUMNS "kek_id = ? ORDER BY ca_id LIMIT 1" };

void bm_upstream_done(struct bm_upstream *u)
{
    bm_buf_done(&u->trust);
    bm_buf_done(&u->client_cert);
    bm_buf_done(&u->secret);
    *u = (struct bm_upstream){ 0 };
}

enum bm_rc bm_upstream_put(struct bm_store *s, const struct bm_upstream *u, struct bm_error *e)
{
    return bm_db_run(s, &put,
                     BM_ARGS(bm_arg_int(u->ca_id), bm_arg_int(u->kek_id), bm_arg_text(u->driver), bm_arg_text(u->url),
                             bm_arg_text(u->options), bm_arg_text(u->names), bm_arg_buf(&u->trust), bm_arg_buf(&u->client_cert),
                             bm_arg_buf(&u->secret)),
                     e);
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, int64_t id, struct bm_upstream *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    BM_CLEANUP(bm_upstream_done) struct bm_upstream u = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, BM_ARGS(bm_arg_int(id)), "upstream CA", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    u.ca_id = bm_col_int(&c);
    u.kek_id = bm_col_int(&c);
    BM_COL_TEXT(&c, u.driver);
    BM_COL_TEXT(&c, u.url);
    BM_COL_TEXT(&c, u.options);
    BM_COL_TEXT(&c, u.names);
    bm_col_buf(&c, &u.trust);
    bm_col_buf(&c, &u.client_cert);
    bm_col_buf(&c, &u.secret);
    rc = bm_cols_check(&c, "upstream CA", e);
    if (rc != BM_OK)
        return rc;
    *ret = u;
    u = (struct bm_upstream){ 0 };
    return BM_OK;
}

enum bm_rc bm_upstream_get(struct bm_store *s, int64_t ca_id, struct bm_upstream *ret, struct bm_error *e)
{
    return one(s, &get, ca_id, ret, e);
}

enum bm_rc bm_upstream_of_kek(struct bm_store *s, int64_t kek_id, struct bm_upstream *ret, struct bm_error *e)
{
    return one(s, &of_kek, kek_id, ret, e);
}
