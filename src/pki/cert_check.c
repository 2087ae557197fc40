#include "pki/impl.h"

static enum bm_rc issuer_check(const struct bm_cert *cert, const struct bm_cert *issuer, struct bm_error *e)
{
    if (!issuer->ca)
        return bm_refuse(e, BM_DENIED, "bad-issuer", "the issuer's certificate is not a CA's");
    if (issuer->has_key_usage && (issuer->key_usage & BM_KU_CERT_SIGN) == 0)
        return bm_refuse(e, BM_DENIED, "bad-issuer", "the issuer's key usage does not let it sign certificates");
    if (issuer->unknown_critical) /* RFC 5280 section 4.2 */
        return bm_refuse(e, BM_DENIED, "bad-issuer",
                         "the issuer's certificate has a critical extension, or constraints, that are not processed here");
    if (cert->ca && issuer->path_len == 0 && !bm_rd_eq(cert->subject, cert->issuer))
        return bm_refuse(e, BM_DENIED, "bad-issuer", "the issuer may not have CAs below it (path length 0)");
    return BM_OK;
}

static enum bm_rc names_check(const struct bm_cert *cert, const struct bm_cert *issuer, struct bm_error *e)
{
    if (!bm_rd_eq(cert->issuer, issuer->subject))
        return bm_refuse(e, BM_DENIED, "bad-issuer", "the certificate names another issuer");
    if (cert->akid.n != 0 && issuer->skid.n != 0 && !bm_rd_eq(cert->akid, issuer->skid))
        return bm_refuse(e, BM_DENIED, "bad-issuer", "the certificate names another key of its issuer");
    return BM_OK;
}

static enum bm_rc dates_check(const struct bm_cert *c, const char *whose, int64_t at, struct bm_error *e)
{
    if (at < c->not_before)
        return bm_refuse(e, BM_DENIED, "not-yet-valid", "%s is not valid yet", whose);
    if (at > c->not_after)
        return bm_refuse(e, BM_DENIED, "expired", "%s has expired", whose);
    return BM_OK;
}

/* --- signatures that were good ------------------------------------------------------------------------------------------------------- */
/* Whether a key has made a signature over some bytes is so for good. Those found good last are remembered by a digest over all three, so that a
 * chain that is shown again (at each step of a protocol; an intermediate CA's with every device) costs a hash; names, dates and constraints
 * are looked at each time. Only what has verified gets in. */
enum { LINKS_KEPT = 1024 }; /* direct-mapped */

static bool link_digest(const struct bm_cert *cert, struct bm_rd spki, uint8_t ret[32])
{
    const struct bm_rd parts[] = { spki, cert->sig_alg, cert->sig, cert->tbs };
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestInit_ex2(ctx, bm_digest_md(BM_SHA256), NULL) == 1;

    for (size_t i = 0; ok && i < BM_COUNT(parts); i++)
        ok = EVP_DigestUpdate(ctx, &parts[i].n, sizeof parts[i].n) == 1 && EVP_DigestUpdate(ctx, parts[i].p, parts[i].n) == 1;
    ok = ok && EVP_DigestFinal_ex(ctx, ret, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

static uint8_t *link_slot(const uint8_t digest[32])
{
    static _Thread_local uint8_t table[LINKS_KEPT][32];
    size_t i;

    memcpy(&i, digest, sizeof i);
    return table[i % LINKS_KEPT];
}

static enum bm_rc link_verify(const struct bm_cert *cert, const struct bm_cert *issuer, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_spki spki;
    enum bm_rc rc = bm_spki_parse(issuer->spki, &spki, e);

    if (rc == BM_OK)
        rc = bm_spki_open_kept(&spki, &key, e);
    return rc == BM_OK ? bm_verify_x509(key, cert->sig_alg, cert->tbs, cert->sig, e) : rc;
}

static enum bm_rc signature_check(const struct bm_cert *cert, const struct bm_cert *issuer, struct bm_error *e)
{
    uint8_t digest[32];
    bool known = link_digest(cert, issuer->spki, digest);
    uint8_t *slot = known ? link_slot(digest) : NULL;
    enum bm_rc rc;

    if (known && memcmp(slot, digest, sizeof digest) == 0)
        return BM_OK;
    rc = link_verify(cert, issuer, e);
    if (rc == BM_OK && known)
        memcpy(slot, digest, sizeof digest);
    return rc;
}

enum bm_rc bm_cert_check_link(const struct bm_cert *cert, const struct bm_cert *issuer, int64_t at, struct bm_error *e)
{
    enum bm_rc rc = issuer_check(cert, issuer, e);

    if (rc == BM_OK)
        rc = names_check(cert, issuer, e);
    if (rc == BM_OK)
        rc = dates_check(cert, "the certificate", at, e);
    if (rc == BM_OK)
        rc = dates_check(issuer, "the issuer's certificate", at, e);
    return rc == BM_OK ? signature_check(cert, issuer, e) : rc;
}

enum bm_rc bm_cert_check_above(const struct bm_cert *path, size_t n, const struct bm_cert *issuer, int64_t at, struct bm_error *e)
{
    size_t between = 0;

    for (size_t i = 1; i < n; i++)
        between += !bm_rd_eq(path[i].subject, path[i].issuer);
    if (issuer->path_len >= 0 && between > (size_t)issuer->path_len)
        return bm_refuse(e, BM_DENIED, "bad-issuer", "the issuer may have %d CAs below it, and there are %zu", issuer->path_len,
                         between);
    return bm_cert_check_link(&path[n - 1], issuer, at, e);
}
