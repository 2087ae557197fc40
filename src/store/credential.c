#include "store/db.h"

#define VALUES                                                                                                                     \
    "INSERT INTO credential (serial_key, tie, device_id, prev_id, service_id, ca_id, state, reason, revoked_at, issued_at, "       \
    "not_before,"                                                                                                                  \
    " not_after, serial, protocol, correlation, cert, crl_part) VALUES (?, "
#define VALUES_END ", ?, (SELECT last_credential FROM device WHERE id = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
static const struct bm_sql put = { VALUES "0" VALUES_END " ON CONFLICT DO NOTHING" };
static const struct bm_sql put_tied = { VALUES "(SELECT max(tie) + 1 FROM credential WHERE serial_key = ?)" VALUES_END };
#define COLUMNS                                                                                                                    \
    "id, device_id, service_id, ca_id, state, reason, revoked_at, issued_at, not_before, not_after, serial, protocol, "            \
    "correlation, cert, crl_part"
static const struct bm_sql get = { "SELECT " COLUMNS " FROM credential WHERE serial_key = ? AND serial = ?" };
static const struct bm_sql by_id = { "SELECT " COLUMNS " FROM credential WHERE id = ?" };
static const struct bm_sql link = { "UPDATE device SET last_credential = ? WHERE id = ?" };
static const struct bm_sql each_of = { "SELECT " COLUMNS
                                       " FROM credential WHERE id IN (" BM_CREDENTIALS_OF("id = ?") ") ORDER BY id" };
static const struct bm_sql each_own = { "SELECT " COLUMNS " FROM credential WHERE device_id IS NULL ORDER BY id" };
static const struct bm_sql set_revoked = { "UPDATE credential SET state = 'revoked', reason = ?, revoked_at = ? WHERE id = ?" };

void bm_credential_done(struct bm_credential *c)
{
    bm_buf_done(&c->cert);
    *c = (struct bm_credential){ 0 };
}

/* The last four bytes: the first ones are not all random (pki/cert.h, struct bm_issue). */
static struct bm_arg serial_key(const uint8_t serial[BM_SERIAL_LEN])
{
    return bm_arg_int(bm_short_key(serial + BM_SERIAL_LEN - 4));
}

static enum bm_rc read_row(const struct bm_query *q, struct bm_credential *r, struct bm_error *e)
{
    struct bm_cols c = bm_query_cols(q);

    r->id = bm_col_int(&c);
    r->device_id = bm_col_int(&c);
    r->service_id = bm_col_int(&c);
    r->ca_id = bm_col_int(&c);
    BM_COL_TEXT(&c, r->state);
    r->reason = (int)bm_col_int(&c);
    r->revoked_at = bm_col_int(&c);
    r->issued_at = bm_col_int(&c);
    r->not_before = bm_col_int(&c);
    r->not_after = bm_col_int(&c);
    BM_COL_FIXED(&c, r->serial);
    BM_COL_TEXT(&c, r->protocol);
    BM_COL_TEXT(&c, r->correlation);
    bm_col_buf(&c, &r->cert);
    r->crl_part = bm_col_int(&c);
    return bm_cols_check(&c, "credential", e);
}

enum bm_rc bm_credential_get(struct bm_store *s, const uint8_t serial[BM_SERIAL_LEN], struct bm_credential *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    BM_CLEANUP(bm_credential_done) struct bm_credential r = { 0 };
    enum bm_rc rc = bm_query_one(s, &get, BM_ARGS(serial_key(serial), bm_arg_blob(serial, BM_SERIAL_LEN)), "credential", &q, e);

    if (rc == BM_OK)
        rc = read_row(&q, &r, e);
    if (rc != BM_OK)
        return rc;
    *ret = r;
    r = (struct bm_credential){ 0 };
    return BM_OK;
}

enum bm_rc bm_credential_by_id(struct bm_store *s, int64_t id, struct bm_credential *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    BM_CLEANUP(bm_credential_done) struct bm_credential r = { 0 };
    enum bm_rc rc = bm_query_one(s, &by_id, BM_ARGS(bm_arg_int(id)), "credential", &q, e);

    if (rc == BM_OK)
        rc = read_row(&q, &r, e);
    if (rc != BM_OK)
        return rc;
    *ret = r;
    r = (struct bm_credential){ 0 };
    return BM_OK;
}

/* Another credential has the last four bytes of this serial number. */
static enum bm_rc put_beside(struct bm_store *s, struct bm_args args, const uint8_t serial[BM_SERIAL_LEN], int64_t *ret_id,
                             struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential other = { 0 };
    struct bm_arg tied[18];
    enum bm_rc rc = bm_credential_get(s, serial, &other, e);

    if (rc == BM_OK)
        return bm_fail(e, BM_CONFLICT, "the credential is already there");
    if (rc != BM_NOTFOUND)
        return rc;
    tied[0] = args.p[0];
    tied[1] = args.p[0];
    memcpy(tied + 2, args.p + 1, (args.n - 1) * sizeof *tied);
    return bm_db_insert(s, &put_tied, (struct bm_args){ tied, args.n + 1 }, "credential", ret_id, e);
}

enum bm_rc bm_credential_put(struct bm_store *s, struct bm_credential *c, struct bm_error *e)
{
    struct bm_args args = BM_ARGS(serial_key(c->serial), bm_arg_ref(c->device_id), bm_arg_ref(c->device_id),
                                  bm_arg_ref(c->service_id), bm_arg_ref(c->ca_id), bm_arg_text(c->state), bm_arg_int(c->reason),
                                  bm_arg_int(c->revoked_at), bm_arg_int(c->issued_at), bm_arg_int(c->not_before),
                                  bm_arg_int(c->not_after), bm_arg_blob(c->serial, sizeof c->serial), bm_arg_text(c->protocol),
                                  bm_arg_text(c->correlation), bm_arg_blob(c->cert.p, c->cert.n), bm_arg_int(c->crl_part));
    enum bm_rc rc = bm_db_insert(s, &put, args, "credential", &c->id, e);

    if (rc == BM_CONFLICT)
        rc = put_beside(s, args, c->serial, &c->id, e);
    if (rc == BM_OK)
        rc = bm_db_tally(s, "credential", 1, e);
    if (rc != BM_OK || c->device_id == 0)
        return rc;
    return bm_db_update(s, &link, BM_ARGS(bm_arg_int(c->id), bm_arg_int(c->device_id)), "device", e);
}

enum bm_rc bm_credential_set_revoked(struct bm_store *s, int64_t id, int reason, int64_t at, struct bm_error *e)
{
    return bm_db_update(s, &set_revoked, BM_ARGS(bm_arg_int(reason), bm_arg_int(at), bm_arg_int(id)), "credential", e);
}

static const struct bm_sql peek = {
    "SELECT ca_id, not_after, revoked_at, serial, state, reason FROM credential WHERE serial_key = ?"
    " AND serial = ?"
};
static const struct bm_sql each_revoked = { "SELECT ca_id, not_after, revoked_at, serial, state, reason FROM credential"
                                            " WHERE state = 'revoked' AND ca_id = ? AND not_after >= ?" };
static const struct bm_sql each_revoked_part = { "SELECT ca_id, not_after, revoked_at, serial, state, reason FROM credential"
                                                 " WHERE state = 'revoked' AND ca_id = ? AND not_after >= ? AND crl_part = ?" };

static enum bm_rc read_revoked(const struct bm_query *q, struct bm_revoked *ret, struct bm_error *e)
{
    struct bm_cols c = bm_query_cols(q);

    ret->ca_id = bm_col_int(&c);
    ret->not_after = bm_col_int(&c);
    ret->revoked_at = bm_col_int(&c);
    BM_COL_FIXED(&c, ret->serial);
    BM_COL_TEXT(&c, ret->state);
    ret->reason = (int)bm_col_int(&c);
    return bm_cols_check(&c, "credential", e);
}

enum bm_rc bm_credential_peek(struct bm_store *s, const uint8_t serial[BM_SERIAL_LEN], struct bm_revoked *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_revoked r;
    enum bm_rc rc = bm_query_one(s, &peek, BM_ARGS(serial_key(serial), bm_arg_blob(serial, BM_SERIAL_LEN)), "credential", &q, e);

    if (rc == BM_OK)
        rc = read_revoked(&q, &r, e);
    if (rc == BM_OK)
        *ret = r;
    return rc;
}

enum bm_rc bm_credential_each_revoked(struct bm_store *s, int64_t ca_id, int64_t part, int64_t not_after_min, bm_revoked_fn *fn,
                                      void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    struct bm_revoked r;
    struct bm_args args = BM_ARGS(bm_arg_int(ca_id), bm_arg_int(not_after_min), bm_arg_int(part));
    enum bm_rc rc;

    args.n -= part == 0;
    rc = bm_query_start(s, part == 0 ? &each_revoked : &each_revoked_part, args, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        rc = read_revoked(&q, &r, e);
        if (rc == BM_OK)
            rc = fn(arg, &r, e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

enum bm_rc bm_credential_each_of(struct bm_store *s, int64_t device_id, bm_credential_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = device_id != 0 ? bm_query_start(s, &each_of, BM_ARGS(bm_arg_int(device_id)), &q, e)
                                   : bm_query_start(s, &each_own, BM_NO_ARGS, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        BM_CLEANUP(bm_credential_done) struct bm_credential c = { 0 };

        rc = read_row(&q, &c, e);
        if (rc == BM_OK)
            rc = fn(arg, &c, e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}
