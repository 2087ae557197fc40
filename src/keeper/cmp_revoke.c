/* rr: a device revokes a certificate of its own, RFC 9483 section 4.2; a registration authority, one of a device that it speaks for, section 5.3.2. */
#include "keeper/cmp.h"

enum bm_rc bm_cmp_take_back(struct bm_keeper *k, const struct bm_credential *cr, int reason, const char *why, int64_t now,
                            struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char serial[2 * BM_SERIAL_LEN + 1];
    enum bm_rc rc = bm_revoke_credential(k, cr->id, reason, now, e);

    if (rc != BM_OK)
        return rc;
    bm_hex(cr->serial, BM_SERIAL_LEN, serial);
    fields = json_pack("{s:s, s:s, s:s}", "serial", serial, "reason", bm_reason_name(reason), "why", why);
    return bm_record(k, now, "credential.revoked", fields, e);
}

/* What can be said of a device's certificate. Holds are not made here, so none can be lifted; a CA's key is another thing. */
static enum bm_rc check_reason(int reason, struct bm_error *e)
{
    static const bool good[] = { [0] = true, [1] = true, [3] = true, [4] = true, [5] = true, [9] = true };

    if (reason < 0 || (size_t)reason >= BM_COUNT(good) || !good[reason])
        return bm_refuse(e, BM_DENIED, "cmp-request",
                         "a device's certificate is revoked for good: keyCompromise, affiliationChanged, superseded, "
                         "cessationOfOperation, privilegeWithdrawn, or without a reason");
    return BM_OK;
}

static enum bm_rc check_request(const struct bm_cmp_job *j, const struct bm_cmp_revocation *r, struct bm_error *e)
{
    if (j->by_mac)
        return bm_refuse(e, BM_DENIED, "cmp-integrity", "a revocation is signed, not protected by a secret");
    if (r->n != 1)
        return bm_refuse(e, BM_DENIED, "cmp-request", "one message revokes one certificate");
    if (r->t.issuer.n == 0 || r->t.serial.n == 0)
        return bm_refuse(e, BM_DENIED, "cmp-details", "issuer and serial number say which certificate is to be revoked");
    if (r->t.has_version && r->t.version != 2)
        return bm_refuse(e, BM_DENIED, "cmp-request", "certificates are in version 3, so the template's version is 2");
    return check_reason(r->reason, e);
}

/* Everything that the request says about it has to be so. */
static bool is_meant(const struct bm_cmp_revocation *r, const struct bm_cert *cert)
{
    const struct bm_crmf_template *t = &r->t;

    return bm_rd_eq(t->serial, cert->serial) && bm_name_alike(t->issuer, cert->issuer) &&
           (t->subject.n == 0 || bm_rd_eq(t->subject, cert->subject)) &&
           (t->public_key.n == 0 || (t->public_key.n == cert->spki.n && memcmp(t->public_key.p + 1, cert->spki.p + 1,
                                                                               cert->spki.n - 1) == 0)); /* its tag is implicit */
}

static enum bm_rc find_certificate(struct bm_cmp_job *j, const struct bm_cmp_revocation *r, struct bm_credential *ret,
                                   struct bm_error *e)
{
    uint8_t key[BM_SERIAL_LEN]; /* an upstream CA's may be of another length */
    struct bm_cert cert;
    enum bm_rc rc;

    bm_cert_serial_key(r->t.serial, key);
    rc = bm_credential_get(j->k->store, key, ret, e);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&ret->cert), &cert, e);
    if (rc == BM_NOTFOUND || (rc == BM_OK && (ret->device_id == 0 || !is_meant(r, &cert))))
        return bm_refuse(e, BM_DENIED, "cmp-certificate", "no device has such a certificate from here");
    return rc;
}

/* The device that signs, by a certificate that is good itself. */
static enum bm_rc find_signer(struct bm_cmp_job *j, int64_t *ret_device_id, struct bm_error *e)
{
    BM_CLEANUP(bm_proven_done) struct bm_proven who = { 0 };
    enum bm_rc rc = bm_evidence_judge(j->k, BM_CMD_STATUS, &j->c, j->now, &who, e);

    if (rc == BM_OK && who.credential.id != 0 && strcmp(who.credential.state, "active") != 0) /* certRevoked is about the other */
        rc = bm_refuse(e, BM_DENIED, "cmp-signer", "the certificate presented has been revoked");
    *ret_device_id = who.device.id;
    return rc;
}

static enum bm_rc check_whose(struct bm_cmp_job *j, const struct bm_credential *cr, int64_t device_id, struct bm_error *e)
{
    if (j->ra_org != 0)
        return bm_cmp_speaks_for(j, cr->device_id, e);
    if (cr->device_id != device_id)
        return bm_refuse(e, BM_DENIED, "cmp-certificate", "the device has no such certificate from here");
    return BM_OK;
}

static enum bm_rc revoke(struct bm_cmp_job *j, const struct bm_credential *cr, int reason, struct bm_error *e)
{
    const char *why = j->ra_org != 0 ? "a registration authority asked for it" : "the device asked for it";
    char serial[2 * BM_SERIAL_LEN + 1];
    enum bm_rc rc = bm_cmp_take_back(j->k, cr, reason, why, j->now, e);

    bm_hex(cr->serial, BM_SERIAL_LEN, serial);
    return rc == BM_OK && j->ra_org != 0 ? bm_cmp_record_vouched(j, serial, e) : rc;
}

enum bm_rc bm_cmp_rr(struct bm_cmp_job *j, struct bm_derw *w, struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential cr = { 0 };
    struct bm_cmp_revocation r;
    int64_t device_id = 0;
    enum bm_rc rc = bm_cmp_revocation_parse(j->m.content, &r, e);

    if (rc == BM_OK)
        rc = check_request(j, &r, e);
    if (rc == BM_OK && j->ra_org == 0)
        rc = find_signer(j, &device_id, e);
    if (rc == BM_OK)
        rc = find_certificate(j, &r, &cr, e);
    if (rc == BM_OK)
        rc = check_whose(j, &cr, device_id, e);
    if (rc == BM_OK && strcmp(cr.state, "active") != 0)
        rc = bm_refuse(e, BM_DENIED, "credential-revoked", "this certificate has been revoked before");
    if (rc != BM_OK)
        return rc;
    j->lost = true;
    j->issuer = j->m.h.recipient_name;
    bm_cmp_put_revoked(w);
    return revoke(j, &cr, r.reason, e);
}
