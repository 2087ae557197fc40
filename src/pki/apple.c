/* Certificates by which Apple's servers vouch for a key in a device's Secure Enclave. Their extensions hold bare octets, no DER. */
#include "pki/attest.h"
#include "pki/impl.h"

enum { NAME_MAX_LEN = 64, FRESHNESS_LEN = 32 };

static bool is_name(struct bm_rd v)
{
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] <= 0x20 || v.p[i] >= 0x7f)
            return false;
    return v.n != 0 && v.n <= NAME_MAX_LEN;
}

static bool is_digest(struct bm_rd v)
{
    return v.n == FRESHNESS_LEN;
}

enum bm_rc bm_apple_read(const struct bm_cert *cert, struct bm_apple *ret, struct bm_error *e)
{
    struct bm_apple a = { 0 };
    const struct {
        struct bm_rd oid;
        struct bm_rd *to;
        bool (*ok)(struct bm_rd v);
        const char *what;
    } rows[] = {
        { BM_LIT(OID_APPLE_SERIAL), &a.serial, is_name, "serial number" },
        { BM_LIT(OID_APPLE_UDID), &a.udid, is_name, "UDID" },
        { BM_LIT(OID_APPLE_FRESHNESS), &a.freshness, is_digest, "freshness code" },
    };

    for (size_t i = 0; i < BM_COUNT(rows); i++)
        if (bm_cert_extension(cert, rows[i].oid, rows[i].to) && !rows[i].ok(*rows[i].to))
            return bm_attest_bad(e, "the %s in Apple's certificate is not what it should be", rows[i].what);
    *ret = a;
    return BM_OK;
}
