/* Which device a registrar asks about, and what it is called: the part of a MASA that a device could lie to. */
#include "keeper/brski.h"

#include "base/text.h"

/* Does the certificate come from a chip maker whom we trust to say what its device is called? */
static enum bm_rc is_birth_certificate(struct bm_keeper *k, const struct bm_voucher_opened *pledge, int64_t now, bool *ret,
                                       struct bm_error *e)
{
    struct bm_cms_chain chain;
    struct bm_evidence v = { 0 };
    struct bm_error why = { 0 };
    int64_t org_id;
    enum bm_rc rc;

    _Static_assert(BM_CMS_CHAIN_MAX <= 1 + BM_TLS_CLIENT_CERTS_MAX, "room for all above the pledge's");
    *ret = false;
    if (bm_cms_signed_chain(&pledge->cms, &pledge->signer, now, &chain, NULL) != BM_OK)
        return BM_OK;
    if (chain.n == 1 && bm_rd_eq(pledge->signer.issuer, pledge->signer.subject)) /* signed by itself */
        return BM_OK;
    while (v.n_chain + 1 < chain.n) {
        v.chain[v.n_chain] = chain.at[v.n_chain + 1].whole;
        v.n_chain++;
    }
    rc = bm_evidence_chain(k, BM_TRUST_BIRTH, &v, &chain.at[0], now, &org_id, &why);
    *ret = rc == BM_OK;
    if (rc == BM_OK || (rc == BM_DENIED && !bm_maker_refusal(&why)))
        return BM_OK;
    *e = why;
    return rc;
}

/* What the registry itself knows a device by: its birth certificate, its manifest; false when neither tells. */
static bool serial_on_record(const struct bm_device *d, char ret[BM_VOUCHER_SERIAL_MAX + 1], struct bm_rd *ret_issuer)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *attributes = NULL;
    const char *serial;
    struct bm_cert birth;

    if (d->birth_cert.n != 0 && bm_cert_parse(bm_buf_rd(&d->birth_cert), &birth, NULL) == BM_OK && bm_idevid_serial(&birth, ret)) {
        *ret_issuer = birth.akid;
        return true;
    }
    attributes = d->attributes.n != 0 ? json_loadb((const char *)d->attributes.p, d->attributes.n, 0, NULL) : NULL;
    serial = json_string_value(json_object_get(attributes, "serial_number"));
    if (serial == NULL || serial[0] == '\0' || strlen(serial) > BM_VOUCHER_SERIAL_MAX)
        return false;
    memcpy(ret, serial, strlen(serial) + 1);
    return true;
}

bool bm_masa_serial(const struct bm_device *d, char ret[BM_VOUCHER_SERIAL_MAX + 1], struct bm_rd *ret_issuer)
{
    *ret_issuer = bm_rd_of(NULL, 0);
    if (serial_on_record(d, ret, ret_issuer))
        return true;
    bm_hex(d->udid, BM_UDID_LEN, ret); /* 64 characters: as many as there may be */
    return false;
}

/* A device can put any name into a certificate that it signs itself. A voucher for that name would be good for the device whose it
 * is, so the name has to be on record, or vouched for by a chip maker, or be the UDID. */
enum bm_rc bm_masa_check_serial(struct bm_keeper *k, const struct bm_masa_request *r, const struct bm_device *d, int64_t now,
                                struct bm_rd *ret_issuer, struct bm_error *e)
{
    char known[BM_VOUCHER_SERIAL_MAX + 1];
    bool birth = false, recorded = bm_masa_serial(d, known, ret_issuer);
    enum bm_rc rc = BM_OK;

    if (!recorded && r->pledge.cms.content.n != 0)
        rc = is_birth_certificate(k, &r->pledge, now, &birth, e);
    if (rc != BM_OK)
        return rc;
    if (birth)
        *ret_issuer = r->pledge.signer.akid;
    if (!birth && strcmp(known, r->registrar.voucher.serial_number) != 0)
        return bm_refuse(e, BM_DENIED, "voucher-serial", "the registry knows the device by another serial number");
    return BM_OK;
}

/* By the key that has signed the request inside; without one by its name: a UDID, or the serial number of an earlier voucher. */
enum bm_rc bm_masa_device(struct bm_keeper *k, const struct bm_masa_request *r, struct bm_device *ret, struct bm_error *e)
{
    const char *serial = r->registrar.voucher.serial_number;
    struct bm_voucher_row row;
    uint8_t udid[BM_UDID_LEN];
    enum bm_rc rc;

    if (r->pledge.cms.content.n != 0) {
        bm_udid_of(r->pledge.signer.spki, udid);
        rc = bm_device_get(k->store, udid, ret, e);
    } else if (bm_unhex(bm_rd_str(serial), udid, sizeof udid)) {
        rc = bm_device_get(k->store, udid, ret, e);
    } else {
        rc = bm_voucher_row_by_serial(k->store, serial, &row, e);
        rc = rc == BM_OK ? bm_device_by_id(k->store, row.device_id, ret, e) : rc;
    }
    return rc == BM_NOTFOUND ? bm_refuse(e, BM_NOTFOUND, "masa-unknown-device", "this MASA does not know the device") : rc;
}
