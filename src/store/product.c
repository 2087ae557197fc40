/* What the operator sets up: certificate profiles, services, products, batches. */
#include "store/db.h"

/* --- profiles ----------------------------------------------------------------------------------------------------------------- */
static const struct bm_sql profile_set = { "UPDATE profile SET json = ? WHERE name = ?" };
static const struct bm_sql profile_add = { "INSERT INTO profile (name, json) VALUES (?, ?)" };
static const struct bm_sql profile_get = { "SELECT json FROM profile WHERE name = ?" };
static const struct bm_sql profile_each = { "SELECT name, json FROM profile ORDER BY id" };

enum bm_rc bm_profile_put(struct bm_store *s, const char *name, struct bm_rd json, struct bm_error *e)
{
    enum bm_rc rc = bm_db_run(s, &profile_set, BM_ARGS(bm_arg_blob(json.p, json.n), bm_arg_text(name)), e);

    if (rc != BM_OK || bm_db_changes(s) != 0)
        return rc;
    return bm_db_run(s, &profile_add, BM_ARGS(bm_arg_text(name), bm_arg_blob(json.p, json.n)), e);
}

enum bm_rc bm_profile_get(struct bm_store *s, const char *name, struct bm_buf *ret_json, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, &profile_get, BM_ARGS(bm_arg_text(name)), "profile", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    bm_col_append(&c, ret_json);
    return bm_cols_check(&c, "profile", e);
}

enum bm_rc bm_profile_each(struct bm_store *s, bm_profile_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &profile_each, BM_NO_ARGS, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols c = bm_query_cols(&q);
        char name[BM_NAME_LEN];

        BM_COL_TEXT(&c, name);
        rc = bm_cols_check(&c, "profile", e);
        if (rc == BM_OK)
            rc = fn(arg, name, bm_col_bytes(&c), e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

/* --- services ----------------------------------------------------------------------------------------------------------------- */
static const struct bm_sql service_add = {
    "INSERT INTO service (name, title, kind, profile, endpoints, created_at, org_id, ca_id) VALUES "
    "(?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
};
static const struct bm_sql service_set = { "UPDATE service SET name = ?, title = ?, kind = ?, profile = ?, endpoints = ?, "
                                           "created_at = ?, org_id = ?, ca_id = ? WHERE id = ?" };
#define SERVICE_COLUMNS "id, name, title, kind, profile, endpoints, created_at, org_id, ca_id"
static const struct bm_sql service_get = { "SELECT " SERVICE_COLUMNS " FROM service WHERE name = ?" };
static const struct bm_sql service_by_id = { "SELECT " SERVICE_COLUMNS " FROM service WHERE id = ?" };

/* The statement to change a row takes the values of the one that adds it, and the id after them. */
static enum bm_rc add_or_set(struct bm_store *s, const struct bm_sql *add, const struct bm_sql *set, struct bm_args args,
                             const char *what, int64_t *id, struct bm_error *e)
{
    if (*id != 0)
        return bm_db_update(s, set, args, what, e);
    args.n--;
    return bm_db_insert(s, add, args, what, id, e);
}

enum bm_rc bm_service_put(struct bm_store *s, struct bm_service *v, struct bm_error *e)
{
    return add_or_set(s, &service_add, &service_set,
                      BM_ARGS(bm_arg_text(v->name), bm_arg_text(v->title), bm_arg_text(v->kind), bm_arg_text(v->profile),
                              bm_arg_text(v->endpoints), bm_arg_int(v->created_at), bm_arg_ref(v->org_id), bm_arg_ref(v->ca_id),
                              bm_arg_int(v->id)),
                      "service", &v->id, e);
}

static enum bm_rc service_one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_service *ret,
                              struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_service v = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, args, "service", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    v.id = bm_col_int(&c);
    BM_COL_TEXT(&c, v.name);
    BM_COL_TEXT(&c, v.title);
    BM_COL_TEXT(&c, v.kind);
    BM_COL_TEXT(&c, v.profile);
    BM_COL_TEXT(&c, v.endpoints);
    v.created_at = bm_col_int(&c);
    v.org_id = bm_col_int(&c);
    v.ca_id = bm_col_int(&c);
    rc = bm_cols_check(&c, "service", e);
    if (rc == BM_OK)
        *ret = v;
    return rc;
}

enum bm_rc bm_service_get(struct bm_store *s, const char *name, struct bm_service *ret, struct bm_error *e)
{
    return service_one(s, &service_get, BM_ARGS(bm_arg_text(name)), ret, e);
}

enum bm_rc bm_service_by_id(struct bm_store *s, int64_t id, struct bm_service *ret, struct bm_error *e)
{
    return service_one(s, &service_by_id, BM_ARGS(bm_arg_int(id)), ret, e);
}

/* --- products ----------------------------------------------------------------------------------------------------------------- */
static const struct bm_sql product_add = {
    "INSERT INTO product (org_id, name, title, policy, created_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
};
static const struct bm_sql product_set = {
    "UPDATE product SET org_id = ?, name = ?, title = ?, policy = ?, created_at = ? WHERE id = ?"
};
#define PRODUCT_COLUMNS "id, org_id, name, title, policy, created_at"
static const struct bm_sql product_get = { "SELECT " PRODUCT_COLUMNS " FROM product WHERE name = ?" };
static const struct bm_sql product_by_id = { "SELECT " PRODUCT_COLUMNS " FROM product WHERE id = ?" };

enum bm_rc bm_product_put(struct bm_store *s, struct bm_product *p, struct bm_error *e)
{
    return add_or_set(s, &product_add, &product_set,
                      BM_ARGS(bm_arg_ref(p->org_id), bm_arg_text(p->name), bm_arg_text(p->title), bm_arg_text(p->policy),
                              bm_arg_int(p->created_at), bm_arg_int(p->id)),
                      "product", &p->id, e);
}

static enum bm_rc product_one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_product *ret,
                              struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_product p = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, args, "product", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    p.id = bm_col_int(&c);
    p.org_id = bm_col_int(&c);
    BM_COL_TEXT(&c, p.name);
    BM_COL_TEXT(&c, p.title);
    BM_COL_TEXT(&c, p.policy);
    p.created_at = bm_col_int(&c);
    rc = bm_cols_check(&c, "product", e);
    if (rc == BM_OK)
        *ret = p;
    return rc;
}

enum bm_rc bm_product_get(struct bm_store *s, const char *name, struct bm_product *ret, struct bm_error *e)
{
    return product_one(s, &product_get, BM_ARGS(bm_arg_text(name)), ret, e);
}

enum bm_rc bm_product_by_id(struct bm_store *s, int64_t id, struct bm_product *ret, struct bm_error *e)
{
    return product_one(s, &product_by_id, BM_ARGS(bm_arg_int(id)), ret, e);
}

/* --- batches ------------------------------------------------------------------------------------------------------------------ */
static const struct bm_sql batch_add = { "INSERT INTO batch (product_id, ca_id, name, state, quota, created_at, maker_id, used)"
                                         " VALUES (?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT DO NOTHING" };
static const struct bm_sql batch_set = {
    "UPDATE batch SET product_id = ?, ca_id = ?, name = ?, state = ?, quota = ?, created_at = ?, maker_id = ? WHERE id = ?"
};
#define BATCH_COLUMNS "id, product_id, ca_id, name, state, quota, " BM_BATCH_USED("batch") ", created_at, maker_id"
static const struct bm_sql batch_get = { "SELECT " BATCH_COLUMNS " FROM batch WHERE name = ?" };
static const struct bm_sql batch_by_id = { "SELECT " BATCH_COLUMNS " FROM batch WHERE id = ?" };
static const struct bm_sql batch_cas = {
    "SELECT DISTINCT ca_id FROM batch WHERE product_id = ? AND ca_id IS NOT NULL ORDER BY ca_id"
};
/* quota - ? and not used + ?: never over the end of the integers. */
static const struct bm_sql batch_use = { "UPDATE batch SET used = used + ? WHERE id = ? AND used <= quota - ?" };

enum bm_rc bm_batch_put(struct bm_store *s, struct bm_batch *b, struct bm_error *e)
{
    enum bm_rc rc = b->id != 0 ? bm_lease_fold(s, b->id, e) : BM_OK; /* a new quota is measured against what is used */

    if (rc != BM_OK)
        return rc;
    return add_or_set(s, &batch_add, &batch_set,
                      BM_ARGS(bm_arg_int(b->product_id), bm_arg_ref(b->ca_id), bm_arg_text(b->name), bm_arg_text(b->state),
                              bm_arg_int(b->quota), bm_arg_int(b->created_at), bm_arg_ref(b->maker_id), bm_arg_int(b->id)),
                      "batch", &b->id, e);
}

static enum bm_rc batch_one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_batch *ret,
                            struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_batch b = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, args, "batch", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    b.id = bm_col_int(&c);
    b.product_id = bm_col_int(&c);
    b.ca_id = bm_col_int(&c);
    BM_COL_TEXT(&c, b.name);
    BM_COL_TEXT(&c, b.state);
    b.quota = bm_col_int(&c);
    b.used = bm_col_int(&c);
    b.created_at = bm_col_int(&c);
    b.maker_id = bm_col_int(&c);
    rc = bm_cols_check(&c, "batch", e);
    if (rc == BM_OK)
        *ret = b;
    return rc;
}

enum bm_rc bm_batch_get(struct bm_store *s, const char *name, struct bm_batch *ret, struct bm_error *e)
{
    return batch_one(s, &batch_get, BM_ARGS(bm_arg_text(name)), ret, e);
}

enum bm_rc bm_batch_by_id(struct bm_store *s, int64_t id, struct bm_batch *ret, struct bm_error *e)
{
    return batch_one(s, &batch_by_id, BM_ARGS(bm_arg_int(id)), ret, e);
}

enum bm_rc bm_batch_cas(struct bm_store *s, int64_t product_id, bm_id_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &batch_cas, BM_ARGS(bm_arg_int(product_id)), &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols c = bm_query_cols(&q);
        int64_t id = bm_col_int(&c);

        rc = bm_cols_check(&c, "CA of a batch", e);
        if (rc == BM_OK)
            rc = fn(arg, id, e);
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

static enum bm_rc use(struct bm_store *s, int64_t id, int64_t n, struct bm_error *e)
{
    enum bm_rc rc = bm_db_run(s, &batch_use, BM_ARGS(bm_arg_int(n), bm_arg_int(id), bm_arg_int(n)), e);

    return rc == BM_OK && bm_db_changes(s) == 0 ? BM_LIMIT : rc;
}

enum bm_rc bm_batch_use(struct bm_store *s, int64_t id, int64_t n, struct bm_error *e)
{
    struct bm_batch b;
    enum bm_rc rc;

    if (n < 0)
        return bm_fail(e, BM_BUG, "a batch is never given back");
    rc = use(s, id, n, e);
    if (rc == BM_LIMIT) { /* what hosts leased that are there no more */
        rc = bm_lease_fold(s, id, e);
        rc = rc == BM_OK ? use(s, id, n, e) : rc;
    }
    if (rc != BM_LIMIT)
        return rc;
    rc = bm_batch_by_id(s, id, &b, e);
    if (rc != BM_OK)
        return rc;
    return bm_refuse(e, BM_LIMIT, "quota-exhausted", "batch %s: all %lld of its quota are used", b.name, (long long)b.quota);
}
