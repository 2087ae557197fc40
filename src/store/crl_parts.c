#include "store/db.h"

static const struct bm_sql set = {
    "INSERT INTO crl_parts (ca_id, n, highest, url) VALUES (?, ?, ?, ?) ON CONFLICT (ca_id) DO UPDATE SET "
    "n = excluded.n, highest = excluded.highest, url = excluded.url"
};
static const struct bm_sql get = { "SELECT ca_id, n, highest, url FROM crl_parts WHERE ca_id = ?" };

enum bm_rc bm_crl_parts_set(struct bm_store *s, const struct bm_crl_parts *p, struct bm_error *e)
{
    return bm_db_run(s, &set, BM_ARGS(bm_arg_int(p->ca_id), bm_arg_int(p->n), bm_arg_int(p->highest), bm_arg_text(p->url)), e);
}

enum bm_rc bm_crl_parts_get(struct bm_store *s, int64_t ca_id, struct bm_crl_parts *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_crl_parts p = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &get, BM_ARGS(bm_arg_int(ca_id)), "CRL parts", &q, e);

    if (rc == BM_NOTFOUND) {
        *ret = (struct bm_crl_parts){ .ca_id = ca_id };
        return BM_OK;
    }
    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    p.ca_id = bm_col_int(&c);
    p.n = bm_col_int(&c);
    p.highest = bm_col_int(&c);
    BM_COL_TEXT(&c, p.url);
    rc = bm_cols_check(&c, "CRL parts", e);
    if (rc == BM_OK)
        *ret = p;
    return rc;
}
