#include "store/acme.h"

#include "store/db.h"

#define COLUMNS "SELECT id, eab_id, created_at, status, thumbprint, spki, contact FROM acme_account WHERE "
static const struct bm_sql add = { "INSERT INTO acme_account (eab_id, created_at, status, thumbprint, spki, contact) VALUES (?, ?, "
                                   "?, ?, ?, ?) ON CONFLICT DO NOTHING" };
static const struct bm_sql set = { "UPDATE acme_account SET status = ?, thumbprint = ?, spki = ?, contact = ? WHERE id = ?" };
static const struct bm_sql by_id = { COLUMNS "id = ?" };
static const struct bm_sql by_key = { COLUMNS "thumbprint = ?" };

void bm_acme_account_done(struct bm_acme_account *a)
{
    bm_buf_done(&a->spki);
    bm_buf_done(&a->contact);
    *a = (struct bm_acme_account){ 0 };
}

static struct bm_arg text_of(const struct bm_buf *b)
{
    return (struct bm_arg){ .kind = BM_ARG_TEXT, .b = bm_buf_rd(b) };
}

enum bm_rc bm_acme_account_put(struct bm_store *s, struct bm_acme_account *a, struct bm_error *e)
{
    if (a->id != 0)
        return bm_db_update(s, &set,
                            BM_ARGS(bm_arg_text(a->status), bm_arg_blob(a->thumbprint, sizeof a->thumbprint), bm_arg_buf(&a->spki),
                                    text_of(&a->contact), bm_arg_int(a->id)),
                            "ACME account", e);
    return bm_db_insert(s, &add,
                        BM_ARGS(bm_arg_int(a->eab_id), bm_arg_int(a->created_at), bm_arg_text(a->status),
                                bm_arg_blob(a->thumbprint, sizeof a->thumbprint), bm_arg_buf(&a->spki), text_of(&a->contact)),
                        "ACME account", &a->id, e);
}

static enum bm_rc one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_acme_account *ret,
                      struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    BM_CLEANUP(bm_acme_account_done) struct bm_acme_account a = { 0 };
    struct bm_cols c;
    enum bm_rc rc = bm_query_one(s, sql, args, "ACME account", &q, e);

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    a.id = bm_col_int(&c);
    a.eab_id = bm_col_int(&c);
    a.created_at = bm_col_int(&c);
    BM_COL_TEXT(&c, a.status);
    BM_COL_FIXED(&c, a.thumbprint);
    bm_col_buf(&c, &a.spki);
    bm_col_buf(&c, &a.contact);
    rc = bm_cols_check(&c, "ACME account", e);
    if (rc != BM_OK)
        return rc;
    *ret = a;
    a = (struct bm_acme_account){ 0 };
    return BM_OK;
}

enum bm_rc bm_acme_account_by_id(struct bm_store *s, int64_t id, struct bm_acme_account *ret, struct bm_error *e)
{
    return one(s, &by_id, BM_ARGS(bm_arg_int(id)), ret, e);
}

enum bm_rc bm_acme_account_by_key(struct bm_store *s, const uint8_t thumbprint[32], struct bm_acme_account *ret, struct bm_error *e)
{
    return one(s, &by_key, BM_ARGS(bm_arg_blob(thumbprint, 32)), ret, e);
}
