#include "store/held_crl.h"

#include "store/db.h"

#define BRIEF                                                                                                                      \
    "id, coalesce(ca_id, 0), coalesce(trust_id, 0), url, hard, number, this_update, next_update, entries, asked_at, problem"
static const struct bm_sql add = {
    "INSERT INTO held_crl (ca_id, trust_id, url, hard, number, this_update, next_update, entries, asked_at, problem, der)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
};
static const struct bm_sql replace = { "UPDATE held_crl SET url = ?, hard = ?, number = ?, this_update = ?, next_update = ?,"
                                       " entries = ?, asked_at = ?, problem = ?, der = ? WHERE id = ?" };
static const struct bm_sql set = { "UPDATE held_crl SET url = ?, hard = ?, asked_at = ?, problem = ? WHERE id = ?" };
static const struct bm_sql of_ca = { "SELECT " BRIEF ", der FROM held_crl WHERE ca_id = ?" };
static const struct bm_sql of_trust = { "SELECT " BRIEF ", der FROM held_crl WHERE trust_id = ?" };
static const struct bm_sql get = { "SELECT " BRIEF ", der FROM held_crl WHERE id = ?" };
static const struct bm_sql each = { "SELECT " BRIEF " FROM held_crl ORDER BY id" };

void bm_held_crl_done(struct bm_held_crl *h)
{
    bm_buf_done(&h->der);
    *h = (struct bm_held_crl){ 0 };
}

/* No list yet: no number either. */
static struct bm_arg number_arg(const struct bm_held_crl *h)
{
    return bm_arg_blob(h->number, h->this_update != 0 ? sizeof h->number : 0);
}

/* Never NULL, as an empty pointer would be. */
static struct bm_arg der_arg(const struct bm_held_crl *h)
{
    return h->der.n != 0 ? bm_arg_blob(h->der.p, h->der.n) : bm_arg_blob("", 0);
}

static enum bm_rc insert(struct bm_store *s, struct bm_held_crl *h, struct bm_error *e)
{
    return bm_db_insert(s, &add,
                        BM_ARGS(bm_arg_ref(h->ca_id), bm_arg_ref(h->trust_id), bm_arg_text(h->url), bm_arg_int(h->hard),
                                number_arg(h), bm_arg_int(h->this_update), bm_arg_int(h->next_update), bm_arg_int(h->entries),
                                bm_arg_int(h->asked_at), bm_arg_text(h->problem), der_arg(h)),
                        "revocation list", &h->id, e);
}

enum bm_rc bm_held_crl_put(struct bm_store *s, struct bm_held_crl *h, struct bm_error *e)
{
    if (h->id == 0)
        return insert(s, h, e);
    return bm_db_update(s, &replace,
                        BM_ARGS(bm_arg_text(h->url), bm_arg_int(h->hard), number_arg(h), bm_arg_int(h->this_update),
                                bm_arg_int(h->next_update), bm_arg_int(h->entries), bm_arg_int(h->asked_at),
                                bm_arg_text(h->problem), der_arg(h), bm_arg_int(h->id)),
                        "revocation list", e);
}

enum bm_rc bm_held_crl_set(struct bm_store *s, const struct bm_held_crl *h, struct bm_error *e)
{
    return bm_db_update(
        s, &set,
        BM_ARGS(bm_arg_text(h->url), bm_arg_int(h->hard), bm_arg_int(h->asked_at), bm_arg_text(h->problem), bm_arg_int(h->id)),
        "revocation list", e);
}

static void read_number(struct bm_cols *c, struct bm_held_crl *h)
{
    struct bm_rd number = bm_col_bytes(c);

    if (number.n == sizeof h->number)
        memcpy(h->number, number.p, number.n);
}

static enum bm_rc read_row(const struct bm_query *q, bool whole, struct bm_held_crl *h, struct bm_error *e)
{
    struct bm_cols c = bm_query_cols(q);

    h->id = bm_col_int(&c);
    h->ca_id = bm_col_int(&c);
    h->trust_id = bm_col_int(&c);
    BM_COL_TEXT(&c, h->url);
    h->hard = bm_col_int(&c) != 0;
    read_number(&c, h);
    h->this_update = bm_col_int(&c);
    h->next_update = bm_col_int(&c);
    h->entries = bm_col_int(&c);
    h->asked_at = bm_col_int(&c);
    BM_COL_TEXT(&c, h->problem);
    if (whole)
        bm_col_buf(&c, &h->der);
    return bm_cols_check(&c, "revocation list", e);
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, int64_t id, struct bm_held_crl *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    BM_CLEANUP(bm_held_crl_done) struct bm_held_crl h = { 0 };
    enum bm_rc rc = bm_query_one(s, sql, BM_ARGS(bm_arg_int(id)), "revocation list", &q, e);

    if (rc == BM_OK)
        rc = read_row(&q, true, &h, e);
    if (rc != BM_OK)
        return rc;
    *ret = h;
    h = (struct bm_held_crl){ 0 };
    return BM_OK;
}

enum bm_rc bm_held_crl_of_ca(struct bm_store *s, int64_t ca_id, struct bm_held_crl *ret, struct bm_error *e)
{
    return one(s, &of_ca, ca_id, ret, e);
}

enum bm_rc bm_held_crl_of_trust(struct bm_store *s, int64_t trust_id, struct bm_held_crl *ret, struct bm_error *e)
{
    return one(s, &of_trust, trust_id, ret, e);
}

enum bm_rc bm_held_crl_get(struct bm_store *s, int64_t id, struct bm_held_crl *ret, struct bm_error *e)
{
    return one(s, &get, id, ret, e);
}

enum bm_rc bm_held_crl_each(struct bm_store *s, bm_held_crl_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &each, BM_NO_ARGS, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_held_crl h = { 0 };

        rc = read_row(&q, false, &h, e);
        if (rc == BM_OK)
            rc = fn(arg, &h, e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}
