/* The certificates of a degenerate CMS SignedData, as somebody else wrote it: RFC 5652 section 5.1 and 10.2.3, RFC 7030 section 4.2.3. */
#include "pki/cms_read.h"

#include "pki/impl.h"

static bool is_oid(struct bm_rd *r, struct bm_rd want)
{
    struct bm_rd oid;

    return bm_der_take(r, BM_DER_OID, &oid) && bm_rd_eq(oid, want);
}

/* ContentInfo { id-signedData, [0] SignedData }, and what is in the SignedData up to its certificates. */
static bool find_certs(struct bm_rd der, struct bm_rd *ret)
{
    static const struct bm_rd oid_signed = BM_LIT(OID_CMS_SIGNED_DATA), oid_data = BM_LIT(OID_CMS_DATA);
    struct bm_rd info, wrapped, signed_data, encap;
    uint64_t version;

    if (!bm_der_only(der, BM_DER_SEQUENCE, &info) || !is_oid(&info, oid_signed) ||
        !bm_der_take(&info, BM_DER_CTX_CONS(0), &wrapped) || info.n != 0 || !bm_der_only(wrapped, BM_DER_SEQUENCE, &signed_data))
        return false;
    if (!bm_der_uint(&signed_data, &version) || !bm_der_take(&signed_data, BM_DER_SET, NULL) ||
        !bm_der_take(&signed_data, BM_DER_SEQUENCE, &encap) || !is_oid(&encap, oid_data) || encap.n != 0)
        return false;
    if (!bm_der_take(&signed_data, BM_DER_CTX_CONS(0), ret))
        return false;
    if (bm_der_next_is(signed_data, BM_DER_CTX_CONS(1)) && !bm_der_take(&signed_data, BM_DER_CTX_CONS(1), NULL)) /* CRLs */
        return false;
    return bm_der_take(&signed_data, BM_DER_SET, NULL) && signed_data.n == 0;
}

enum bm_rc bm_cms_certs_parse(struct bm_rd der, struct bm_rd *ret, size_t max, size_t *ret_n, struct bm_error *e)
{
    struct bm_rd certs;
    size_t n = 0;

    if (!find_certs(der, &certs))
        return bm_fail(e, BM_MALFORMED, "no CMS SignedData with certificates");
    for (; certs.n != 0; n++) {
        if (n == max)
            return bm_fail(e, BM_LIMIT, "more than %zu certificates", max);
        if (!bm_der_whole(&certs, BM_DER_SEQUENCE, &ret[n]) || ret[n].n > BM_CERT_MAX)
            return bm_fail(e, BM_MALFORMED, "certificate %zu is none, or too long", n + 1);
    }
    *ret_n = n;
    return BM_OK;
}
