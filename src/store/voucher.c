#include "store/db.h"

#define COLUMNS                                                                                                                    \
    "SELECT id, device_id, org_id, created_at, expires_at, told_at, enrolled_at, serial_number, assertion, nonce, correlation,"    \
    " told, enrolled, reason, digest, domain_id FROM voucher WHERE "
static const struct bm_sql put = {
    "INSERT INTO voucher (device_id, org_id, created_at, expires_at, told_at, enrolled_at, serial_number, assertion, nonce,"
    " correlation, told, enrolled, reason, digest, domain_id) VALUES (?, ?, ?, ?, 0, 0, ?, ?, ?, ?, '', '', '', ?, ?)"
    " ON CONFLICT DO NOTHING"
};
static const struct bm_sql last = { COLUMNS "device_id = ? ORDER BY id DESC LIMIT 1" };
static const struct bm_sql by_serial = { COLUMNS "serial_number = ? ORDER BY id DESC LIMIT 1" };
static const struct bm_sql each = { COLUMNS "device_id = ? ORDER BY id DESC LIMIT ?" };
static const struct bm_sql count = { "SELECT count(*) FROM voucher WHERE device_id = ?" };
static const struct bm_sql tell = {
    "UPDATE voucher SET told = ?, told_at = ?, enrolled = ?, enrolled_at = ?, reason = ? WHERE id = ?"
};

enum bm_rc bm_voucher_row_put(struct bm_store *s, struct bm_voucher_row *v, struct bm_error *e)
{
    return bm_db_insert(s, &put,
                        BM_ARGS(bm_arg_int(v->device_id), bm_arg_ref(v->org_id), bm_arg_int(v->created_at),
                                bm_arg_int(v->expires_at), bm_arg_text(v->serial_number), bm_arg_text(v->assertion),
                                bm_arg_text(v->nonce), bm_arg_text(v->correlation), bm_arg_blob(v->digest, sizeof v->digest),
                                bm_arg_blob(v->domain_id, v->domain_id_len)),
                        "voucher", &v->id, e);
}

static enum bm_rc read_row(const struct bm_query *q, struct bm_voucher_row *ret, struct bm_error *e)
{
    struct bm_cols c = bm_query_cols(q);
    struct bm_voucher_row r = { 0 };
    int64_t *const numbers[] = { &r.id, &r.device_id, &r.org_id, &r.created_at, &r.expires_at, &r.told_at, &r.enrolled_at };
    struct bm_rd domain;
    enum bm_rc rc;

    for (size_t i = 0; i < BM_COUNT(numbers); i++)
        *numbers[i] = bm_col_int(&c);
    BM_COL_TEXT(&c, r.serial_number);
    BM_COL_TEXT(&c, r.assertion);
    BM_COL_TEXT(&c, r.nonce);
    BM_COL_TEXT(&c, r.correlation);
    BM_COL_TEXT(&c, r.told);
    BM_COL_TEXT(&c, r.enrolled);
    BM_COL_TEXT(&c, r.reason);
    BM_COL_FIXED(&c, r.digest);
    domain = bm_col_bytes(&c);
    rc = bm_cols_check(&c, "voucher", e);
    if (rc == BM_OK && domain.n > sizeof r.domain_id)
        rc = bm_fail(e, BM_IO, "store: a voucher's domain has %zu bytes", domain.n);
    if (rc != BM_OK)
        return rc;
    memcpy(r.domain_id, domain.n != 0 ? (const void *)domain.p : "", domain.n);
    r.domain_id_len = domain.n;
    *ret = r;
    return BM_OK;
}

enum bm_rc bm_voucher_row_last(struct bm_store *s, int64_t device_id, struct bm_voucher_row *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_one(s, &last, BM_ARGS(bm_arg_int(device_id)), "voucher", &q, e);

    return rc == BM_OK ? read_row(&q, ret, e) : rc;
}

enum bm_rc bm_voucher_row_by_serial(struct bm_store *s, const char *serial_number, struct bm_voucher_row *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_one(s, &by_serial, BM_ARGS(bm_arg_text(serial_number)), "voucher", &q, e);

    return rc == BM_OK ? read_row(&q, ret, e) : rc;
}

enum bm_rc bm_voucher_row_tell(struct bm_store *s, const struct bm_voucher_row *v, struct bm_error *e)
{
    return bm_db_update(s, &tell,
                        BM_ARGS(bm_arg_text(v->told), bm_arg_int(v->told_at), bm_arg_text(v->enrolled), bm_arg_int(v->enrolled_at),
                                bm_arg_text(v->reason), bm_arg_int(v->id)),
                        "voucher", e);
}

enum bm_rc bm_voucher_row_each(struct bm_store *s, int64_t device_id, int64_t limit, bm_voucher_row_fn *fn, void *arg,
                               struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &each, BM_ARGS(bm_arg_int(device_id), bm_arg_int(limit)), &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_voucher_row r;

        rc = read_row(&q, &r, e);
        if (rc == BM_OK)
            rc = fn(arg, &r, e);
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

enum bm_rc bm_voucher_row_count(struct bm_store *s, int64_t device_id, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_one(s, &count, BM_ARGS(bm_arg_int(device_id)), "voucher", &q, e);
    struct bm_cols c;

    if (rc != BM_OK)
        return rc;
    c = bm_query_cols(&q);
    *ret = bm_col_int(&c);
    return bm_cols_check(&c, "voucher", e);
}
