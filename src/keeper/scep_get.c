/* GetCert and GetCRL: RFC 8894 sections 3.3.4 and 3.3.5. */
#include "keeper/revocation.h"
#include "keeper/scep.h"

static enum bm_rc not_found(struct bm_error *e)
{
    return bm_refuse(e, BM_DENIED, "scep-not-found", "no certificate of this device has that issuer and serial number");
}

static enum bm_rc take_id(const struct bm_scep_case *c, struct bm_rd *ret_issuer, struct bm_rd *ret_serial, struct bm_error *e)
{
    if (!bm_scep_issuer_and_serial(bm_buf_rd(&c->plain), ret_issuer, ret_serial))
        return bm_refuse(e, BM_DENIED, "scep-integrity", "the envelope does not hold an IssuerAndSerialNumber");
    return BM_OK;
}

/* A device gets its own certificates only: what others hold is none of its business. */
enum bm_rc bm_scep_get_cert(struct bm_scep_case *c, struct bm_error *e)
{
    BM_CLEANUP(bm_proven_done) struct bm_proven who = { 0 };
    BM_CLEANUP(bm_credential_done) struct bm_credential cr = { 0 };
    struct bm_rd issuer, serial, der;
    struct bm_cert cert;
    enum bm_rc rc = take_id(c, &issuer, &serial, e);

    bm_scep_show_key(c);
    if (rc == BM_OK)
        rc = bm_evidence_judge(c->k, BM_CMD_STATUS, &c->enrol, c->now, &who, e);
    if (rc != BM_OK)
        return rc;
    rc = serial.n == BM_SERIAL_LEN ? bm_credential_get(c->k->store, serial.p, &cr, e) : BM_NOTFOUND;
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&cr.cert), &cert, e);
    if (rc == BM_NOTFOUND || (rc == BM_OK && (cr.device_id != who.device.id || !bm_rd_eq(cert.issuer, issuer))))
        return not_found(e);
    der = bm_buf_rd(&cr.cert);
    c->reply.max = BM_SCEP_REPLY_MAX;
    return rc == BM_OK ? bm_cms_certs(&der, 1, &c->reply, e) : rc;
}

/* The CA of this name among that of the RA and those above it. Some clients give the name of the RA, which has no CRL of its own. */
static enum bm_rc find_ca(struct bm_scep_case *c, struct bm_rd subject, struct bm_ca *ret, struct bm_error *e)
{
    int64_t id = c->ca_id;
    struct bm_ra *ra;
    enum bm_rc rc = bm_ra_get(c->k, id, c->now, &ra, e);

    if (rc != BM_OK)
        return rc;
    if (bm_rd_eq(ra->cert.subject, subject))
        return bm_ca_by_id(c->k->store, id, ret, e);
    for (int depth = 0; id != 0 && depth < BM_CHAIN_MAX; depth++) {
        struct bm_cert cert = { 0 };

        bm_ca_done(ret);
        rc = bm_ca_by_id(c->k->store, id, ret, e);
        if (rc == BM_OK)
            rc = bm_cert_parse(bm_buf_rd(&ret->cert), &cert, e);
        if (rc != BM_OK || bm_rd_eq(cert.subject, subject))
            return rc;
        id = ret->parent_id;
    }
    return bm_refuse(e, BM_DENIED, "scep-not-found", "no CA that this RA stands for has that name");
}

enum bm_rc bm_scep_get_crl(struct bm_scep_case *c, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    struct bm_rd issuer, serial;
    struct bm_authority *a;
    struct bm_crl_list *l;
    enum bm_rc rc = take_id(c, &issuer, &serial, e);

    if (rc == BM_OK)
        rc = find_ca(c, issuer, &ca, e);
    if (rc == BM_OK)
        rc = bm_crl_fresh(c->k, bm_rd_str(ca.name), c->now, &a, &l, e);
    if (rc != BM_OK)
        return rc;
    if (l->full.der.n > BM_SCEP_CRL_MAX)
        return bm_refuse(e, BM_DENIED, "scep-request", "the CRL is too large for SCEP; fetch it from /crl/%s.crl", ca.name);
    c->reply.max = BM_SCEP_REPLY_MAX;
    return bm_cms_crl(bm_buf_rd(&l->full.der), &c->reply, e);
}
