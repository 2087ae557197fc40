/* Certificates: fetched (RFC 8555 section 7.4.2), revoked (section 7.6), and when to renew them (RFC 9773). */
#include "keeper/acme.h"

#include "base/text.h"
#include "keeper/revocation.h"

#include <stdio.h>

/* --- fetching ------------------------------------------------------------------------------------------------------------------------- */
/* The root stays at home: clients have it, or do not trust it. */
static enum bm_rc put_chain(struct bm_acme *a, const struct bm_credential *c, struct bm_error *e)
{
    struct bm_issuer *by;
    enum bm_rc rc = bm_issuer_get(a->k, c->ca_id, &by, e);

    if (rc != BM_OK)
        return rc;
    bm_pem_write(&a->chain, "CERTIFICATE", bm_buf_rd(&c->cert));
    for (size_t i = 0; i < by->n_chain && (i + 1 < by->n_chain || by->n_chain == 1); i++)
        bm_pem_write(&a->chain, "CERTIFICATE", bm_buf_rd(&by->chain[i]));
    return bm_buf_check(&a->chain, e);
}

enum bm_rc bm_acme_certificate(struct bm_acme *a, struct bm_error *e)
{
    BM_CLEANUP(bm_acme_work_done) struct bm_acme_work w = { 0 };
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { 0 };
    int64_t id;
    enum bm_rc rc = bm_acme_numbers(a->ask->label, &id, 1, e);

    if (rc == BM_OK)
        rc = bm_acme_no_payload(a, e);
    if (rc == BM_OK)
        rc = bm_acme_work_load(a, id, &w, e);
    if (rc == BM_OK && w.row.credential_id == 0)
        rc = bm_acme_not_found(e);
    if (rc == BM_OK)
        rc = bm_credential_by_id(a->k->store, w.row.credential_id, &c, e);
    return rc == BM_OK ? put_chain(a, &c, e) : rc;
}

/* --- revoking --------------------------------------------------------------------------------------------------------------------------- */
/* Byte for byte one of ours. */
static enum bm_rc find_ours(struct bm_acme *a, struct bm_rd der, struct bm_credential *ret, struct bm_cert *ret_cert,
                            struct bm_error *e)
{
    enum bm_rc rc = bm_cert_parse(der, ret_cert, NULL);

    if (rc != BM_OK)
        return bm_refuse(e, BM_MALFORMED, "acme-payload", "\"certificate\" is no certificate in DER as base64url");
    rc = ret_cert->serial.n == BM_SERIAL_LEN ? bm_credential_get(a->k->store, ret_cert->serial.p, ret, e) : BM_NOTFOUND;
    if (rc == BM_NOTFOUND || (rc == BM_OK && (!bm_rd_eq(bm_buf_rd(&ret->cert), der) || strcmp(ret->protocol, "internal") == 0)))
        return bm_refuse(e, BM_NOTFOUND, "acme-not-found", "this certificate was not issued here");
    return rc;
}

/* The account that ordered it, or whoever holds its key. */
static enum bm_rc check_right(struct bm_acme *a, const struct bm_credential *c, const struct bm_cert *cert, struct bm_error *e)
{
    BM_CLEANUP(bm_acme_order_done) struct bm_acme_order o = { 0 };
    enum bm_rc rc = BM_NOTFOUND;

    if (a->account.id == 0 && bm_rd_eq(bm_buf_rd(&a->jws.spki), cert->spki))
        return BM_OK;
    if (a->account.id != 0)
        rc = bm_acme_order_of(a->k->store, c->id, &o, e);
    if (rc == BM_OK && o.account_id == a->account.id)
        return BM_OK;
    if (rc != BM_OK && rc != BM_NOTFOUND)
        return rc;
    return bm_refuse(e, BM_DENIED, "acme-not-yours", "only the account that ordered a certificate, or its own key, may revoke it");
}

/* RFC 5280 section 5.3.1, those that the end of a certificate can have for its subject: not cACompromise, certificateHold, removeFromCRL,
 * aACompromise. */
static enum bm_rc take_reason(const struct bm_acme *a, int *ret, struct bm_error *e)
{
    static const uint8_t good[] = { 0, 1, 3, 4, 5, 9 };
    const json_t *v = json_object_get(a->jws.body, "reason");

    *ret = 0;
    if (v == NULL)
        return BM_OK;
    for (size_t i = 0; i < sizeof good; i++) {
        if (json_is_integer(v) && json_integer_value(v) == good[i]) {
            *ret = good[i];
            return BM_OK;
        }
    }
    return bm_refuse(e, BM_MALFORMED, "acme-reason", "\"reason\" must be 0, 1, 3, 4, 5 or 9 (RFC 5280 section 5.3.1)");
}

static enum bm_rc revoke(struct bm_acme *a, const struct bm_credential *c, int reason, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char serial[2 * BM_SERIAL_LEN + 1];
    enum bm_rc rc = bm_revoke_credential(a->k, c->id, reason, a->now, e);

    bm_hex(c->serial, BM_SERIAL_LEN, serial);
    fields = json_pack("{s:s, s:s, s:s, s:I, s:s}", "actor", "acme", "serial", serial, "reason", bm_reason_name(reason), "account",
                       (json_int_t)a->account.id, "correlation", a->ask->correlation);
    if (rc == BM_OK)
        rc = bm_record(a->k, a->now, "credential.revoked", fields, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "revoking");
}

enum bm_rc bm_acme_revoke(struct bm_acme *a, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX };
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { 0 };
    const json_t *v = json_object_get(a->jws.body, "certificate");
    struct bm_cert cert;
    int reason = 0;
    enum bm_rc rc = bm_acme_some_payload(a, e);

    if (rc == BM_OK &&
        (!json_is_string(v) || bm_unbase64url(bm_rd_of(json_string_value(v), json_string_length(v)), &der, NULL) != BM_OK))
        rc = bm_refuse(e, BM_MALFORMED, "acme-payload", "\"certificate\" is no certificate in DER as base64url");
    if (rc == BM_OK)
        rc = find_ours(a, bm_buf_rd(&der), &c, &cert, e);
    if (rc == BM_OK)
        rc = check_right(a, &c, &cert, e);
    if (rc == BM_OK)
        rc = take_reason(a, &reason, e);
    if (rc == BM_OK && strcmp(c.state, "active") != 0)
        rc = bm_refuse(e, BM_DENIED, "acme-revoked", "this certificate has been revoked before");
    return rc == BM_OK ? revoke(a, &c, reason, e) : rc;
}

/* --- when to renew: RFC 9773 -------------------------------------------------------------------------------------------------------------- */
/* base64url of the authority key identifier, a period, base64url of the serial number (section 4.1) */
static enum bm_rc find_named(struct bm_acme *a, struct bm_rd name, struct bm_credential *ret, struct bm_cert *ret_cert,
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
    enum bm_rc rc = find_named(a, a->ask->label, &c, &cert, e);

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
