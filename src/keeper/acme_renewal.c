/* When certificates should be renewed: RFC 9773. */
#include "keeper/acme.h"

#include "base/text.h"

/* base64url of the authority key identifier, a period, base64url of the serial number (section 4.1) */
enum bm_rc bm_acme_find_named(struct bm_acme *a, struct bm_rd name, struct bm_credential *ret, struct bm_cert *ret_cert,
                              struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf akid = { .max = 64 }, serial = { .max = 32 };
    const uint8_t *dot = name.n != 0 ? memchr(name.p, '.', name.n) : NULL;
    size_t n = dot != NULL ? (size_t)(dot - name.p) : 0;
    enum bm_rc rc;

    if (dot == NULL || bm_unbase64url(bm_rd_of(name.p, n), &akid, NULL) != BM_OK ||
        bm_unbase64url(bm_rd_of(dot + 1, name.n - n - 1), &serial, NULL) != BM_OK || akid.n == 0)
        return bm_refuse(e, BM_MALFORMED, "acme-payload",
                         "a certificate's name is <key identifier>.<serial number>, each as base64url");
    rc = serial.n == BM_SERIAL_LEN ? bm_credential_get(a->k->store, serial.p, ret, e) : BM_NOTFOUND;
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&ret->cert), ret_cert, e);
    if (rc == BM_OK && !bm_rd_eq(ret_cert->akid, bm_buf_rd(&akid)))
        rc = BM_NOTFOUND;
    return rc == BM_NOTFOUND ? bm_acme_not_found(e) : rc;
}

static enum bm_rc policy_of(struct bm_acme *a, const struct bm_credential *c, struct bm_policy *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    struct bm_line *l;
    enum bm_rc rc = bm_policy_parse(bm_rd_of(NULL, 0), ret, e);

    if (rc == BM_OK && c->device_id != 0)
        rc = bm_device_by_id(a->k->store, c->device_id, &d, e);
    if (rc == BM_OK && d.batch_id != 0 && (rc = bm_line_get(a->k, d.batch_id, &l, e)) == BM_OK)
        *ret = l->policy;
    return rc;
}

/* From the moment that every other door would tell, for a twentieth of the life; of a revoked one, the past. */
enum bm_rc bm_acme_renewal_info(struct bm_acme *a, struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { 0 };
    struct bm_policy policy;
    struct bm_cert cert;
    int64_t start, end;
    enum bm_rc rc = bm_acme_find_named(a, a->ask->label, &c, &cert, e);

    if (rc == BM_OK)
        rc = policy_of(a, &c, &policy, e);
    if (rc != BM_OK)
        return rc;
    start = bm_renew_after(&policy, c.issued_at, c.not_after);
    end = start < INT64_MAX ? start + (c.not_after - c.not_before) / 20 : start;
    if (strcmp(c.state, "active") != 0) {
        start = c.not_before;
        end = c.not_before + 1;
    }
    a->retry_after_s = BM_ACME_RENEWAL_S;
    a->reply = json_pack("{s:{s:o, s:o}}", "suggestedWindow", "start", bm_acme_time(start), "end", bm_acme_time(end));
    return a->reply != NULL ? BM_OK : bm_fail(e, BM_NOMEM, "no memory for an answer");
}
