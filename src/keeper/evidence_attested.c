/* A device that has no key which stays: its maker's certificate vouches for a new one each time, and names the device (docs/acme.md, format "apple").
 * The organisation whose anchor that is has listed the name in a manifest; both are part of the UDID, so that an anchor of one organisation speaks
 * for no device of another. */
#include "keeper/internal.h"

#include "factory/manifest.h"
#include "pki/attest.h"

static enum bm_rc find(struct bm_keeper *k, int64_t org_id, struct bm_rd serial, struct bm_proven *ret, struct bm_error *e)
{
    struct bm_org org;
    uint8_t udid[BM_UDID_LEN];
    enum bm_rc rc = bm_org_by_id(k->store, org_id, &org, e);

    if (rc != BM_OK)
        return bm_wrap(e, BM_IO, "registry: a trust anchor of nobody");
    bm_udid_symmetric(bm_rd_str(org.name), bm_rd_str(BM_ROT_APPLE), serial, udid);
    rc = bm_device_get(k->store, udid, &ret->device, e);
    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_DENIED, "unknown-device",
                         "no manifest of organisation '%s' lists a device with this serial number as '" BM_ROT_APPLE "'", org.name);
    return rc;
}

enum bm_rc bm_evidence_attested(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_proven *ret,
                                struct bm_error *e)
{
    struct bm_cert leaf;
    struct bm_apple says;
    int64_t org_id = 0;
    enum bm_rc rc;

    if (!c->evidence.proven) /* the keeper itself has held it against a challenge */
        return bm_refuse(e, BM_DENIED, "no-evidence", "show who you are: a TLS client certificate or a signed challenge");
    rc = bm_cert_parse(c->evidence.cert, &leaf, e);
    if (rc == BM_OK)
        rc = bm_apple_read(&leaf, &says, e);
    if (rc == BM_OK && says.serial.n == 0)
        rc = bm_attest_bad(e, "the certificate has no serial number of the device; those that their users enrol show none");
    if (rc == BM_OK)
        rc = bm_evidence_chain(k, BM_TRUST_ATTESTATION, &c->evidence, &leaf, now, &org_id, e);
    if (rc == BM_OK)
        rc = find(k, org_id, says.serial, ret, e);
    ret->subject = rc == BM_OK ? leaf.subject : bm_rd_of(NULL, 0);
    return rc;
}
