#include "pki/acme_alpn.h"

#include "pki/impl.h"

#include <arpa/inet.h>

enum { GN_DNS = 2, GN_IP = 7 };

static const struct bm_rd oid_acme = BM_LIT("\x2b\x06\x01\x05\x05\x07\x01\x1f"); /* id-pe-acmeIdentifier */

static enum bm_rc bad(struct bm_error *e, const char *what)
{
    return bm_refuse(e, BM_DENIED, "acme-incorrect", "tls-alpn-01: %s", what);
}

/* Extensions of a TBSCertificate that bm_cert_parse() has seen. */
static bool find_extension(struct bm_rd tbs, struct bm_rd oid, struct bm_ext *ret)
{
    struct bm_rd in, value, list;
    uint8_t tag;

    if (!bm_der_only(tbs, BM_DER_SEQUENCE, &in))
        return false;
    while (bm_der_any(&in, &tag, &value, NULL))
        if (tag == BM_DER_CTX_CONS(3) && bm_der_only(value, BM_DER_SEQUENCE, &list))
            while (list.n != 0 && bm_ext_next(&list, ret))
                if (bm_rd_eq(ret->oid, oid))
                    return true;
    return false;
}

/* One name, and nothing else: RFC 8738 section 6 for addresses. */
static bool is_for(struct bm_rd san, const char *name)
{
    struct bm_rd names, value;
    uint8_t tag, raw[16];
    size_t n = inet_pton(AF_INET, name, raw) == 1 ? 4 : inet_pton(AF_INET6, name, raw) == 1 ? 16 : 0;

    if (!bm_der_only(san, BM_DER_SEQUENCE, &names) || !bm_der_any(&names, &tag, &value, NULL) || names.n != 0)
        return false;
    return n != 0 ? tag == BM_DER_CTX(GN_IP) && bm_rd_eq(value, bm_rd_of(raw, n))
                  : tag == BM_DER_CTX(GN_DNS) && bm_rd_eq(value, bm_rd_str(name));
}

enum bm_rc bm_acme_alpn_check(struct bm_rd der, const char *name, struct bm_rd key_authorization, struct bm_error *e)
{
    uint8_t want[32];
    struct bm_cert cert;
    struct bm_rd digest;
    struct bm_ext ext;

    if (bm_cert_parse(der, &cert, NULL) != BM_OK)
        return bad(e, "what came is no certificate");
    if (!bm_rd_eq(cert.issuer, cert.subject) || !is_for(cert.san, name))
        return bad(e, "the certificate is not self-signed for this one name");
    if (!find_extension(cert.tbs, oid_acme, &ext) || !ext.critical || !bm_der_only(ext.value, BM_DER_OCTET_STRING, &digest))
        return bad(e, "the certificate has no critical acmeIdentifier");
    bm_udid_of(key_authorization, want); /* SHA-256 all the same */
    return bm_rd_eq(digest, bm_rd_of(want, sizeof want)) ? BM_OK : bad(e, "it answers another challenge, or another account");
}
