#include "store/ca_rotate.h"

#include "store/db.h"

static const struct bm_sql put = { "INSERT INTO ca_successor (ca_id, successor_id, at, created_at) VALUES (?, ?, ?, ?)" };
static const struct bm_sql get = { "SELECT ca_id, successor_id, at, created_at FROM ca_successor WHERE ca_id = ?" };
/* what we gave ourselves (the server's certificate, OCSP responders) is made anew when it is needed */
static const struct bm_sql left = { "SELECT COUNT(*), COALESCE(MAX(not_after), 0) FROM credential"
                                    " WHERE ca_id = ? AND not_after > ? AND device_id IS NOT NULL" };
static const struct bm_sql set_retired = { "UPDATE ca SET state = 'retired' WHERE id = ?" };

enum bm_rc bm_ca_successor_put(struct bm_store *s, const struct bm_ca_successor *c, struct bm_error *e)
{
    return bm_db_insert(s, &put,
                        BM_ARGS(bm_arg_int(c->ca_id), bm_arg_int(c->successor_id), bm_arg_int(c->at), bm_arg_int(c->created_at)),
                        "successor of a CA", NULL, e);
}

enum bm_rc bm_ca_successor_get(struct bm_store *s, int64_t ca_id, struct bm_ca_successor *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_ca_successor r;
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &get, BM_ARGS(bm_arg_int(ca_id)), "successor of a CA", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    r.ca_id = bm_col_int(&c);
    r.successor_id = bm_col_int(&c);
    r.at = bm_col_int(&c);
    r.created_at = bm_col_int(&c);
    rc = bm_cols_check(&c, "successor of a CA", e);
    if (rc == BM_OK)
        *ret = r;
    return rc;
}

enum bm_rc bm_ca_left(struct bm_store *s, int64_t ca_id, int64_t now, struct bm_ca_left *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_ca_left r;
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &left, BM_ARGS(bm_arg_int(ca_id), bm_arg_int(now)), "certificates of a CA", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    r.n = bm_col_int(&c);
    r.last = bm_col_int(&c);
    rc = bm_cols_check(&c, "certificates of a CA", e);
    if (rc == BM_OK)
        *ret = r;
    return rc;
}

enum bm_rc bm_ca_set_retired(struct bm_store *s, int64_t id, struct bm_error *e)
{
    return bm_db_update(s, &set_retired, BM_ARGS(bm_arg_int(id)), "certification authority", e);
}
