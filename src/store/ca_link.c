#include "store/db.h"

static const struct bm_sql put = {
    "INSERT INTO ca_link (ca_id, by_id, created_at, cert) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
};
static const struct bm_sql each = { "SELECT id, ca_id, by_id, created_at, cert FROM ca_link ORDER BY id" };

void bm_ca_link_done(struct bm_ca_link *l)
{
    bm_buf_done(&l->cert);
}

enum bm_rc bm_ca_link_put(struct bm_store *s, struct bm_ca_link *l, struct bm_error *e)
{
    return bm_db_insert(
        s, &put, BM_ARGS(bm_arg_int(l->ca_id), bm_arg_int(l->by_id), bm_arg_int(l->created_at), bm_arg_blob(l->cert.p, l->cert.n)),
        "link", &l->id, e);
}

static enum bm_rc tell(const struct bm_query *q, bm_ca_link_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_link_done) struct bm_ca_link l = { 0 };
    struct bm_cols c = bm_query_cols(q);
    enum bm_rc rc;

    l.id = bm_col_int(&c);
    l.ca_id = bm_col_int(&c);
    l.by_id = bm_col_int(&c);
    l.created_at = bm_col_int(&c);
    bm_col_buf(&c, &l.cert);
    rc = bm_cols_check(&c, "link", e);
    return rc == BM_OK ? fn(arg, &l, e) : rc;
}

enum bm_rc bm_ca_link_each(struct bm_store *s, bm_ca_link_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &each, BM_NO_ARGS, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        rc = tell(&q, fn, arg, e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}
