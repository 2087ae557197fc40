#include "factory/impl.h"

#include "base/text.h"
#include "pki/cert.h"

void bm_signer_done(struct bm_signer *s)
{
    EVP_PKEY_free(s->key);
    *s = (struct bm_signer){ 0 };
}

/* The hook's refusal in our words: a code it did not set becomes manifest-signer. */
static enum bm_rc untrusted(enum bm_rc rc, const struct bm_error *why, struct bm_error *e)
{
    if (bm_rc_is_ours(rc))
        return bm_refuse(e, rc, why->code, "%s", why->what);
    if (why->what[0] == '\0')
        return bm_refuse(e, rc, "manifest-signer", "the signer's certificate is not pinned for manifests");
    return bm_refuse(e, rc, why->code[0] != '\0' ? why->code : "manifest-signer", "%s", why->what);
}

/* Before the hook sees it and after: what is judged, what x5t#S256 names and what is used must be one certificate. */
static enum bm_rc named(struct bm_rd cert, const uint8_t sha256[32], struct bm_error *e)
{
    uint8_t digest[32];

    bm_udid_of(cert, digest); /* plain SHA-256 */
    if (memcmp(digest, sha256, 32) == 0)
        return BM_OK;
    return bm_refuse(e, BM_DENIED, "manifest-signer", "the certificate that came along is not the one that x5t#S256 names");
}

static enum bm_rc open_cert(struct bm_signer *s, const uint8_t sha256[32], struct bm_rd der, struct bm_error *e)
{
    struct bm_error why = { 0 };
    struct bm_spki spki;
    struct bm_cert c;
    enum bm_rc rc;

    rc = bm_cert_parse(der, &c, &why);
    if (rc == BM_OK)
        rc = bm_spki_parse(c.spki, &spki, &why);
    if (rc == BM_OK)
        rc = bm_spki_open(&spki, &s->key, &why);
    if (rc != BM_OK)
        return bm_refuse(e, rc, "manifest-signer", "signer's certificate: %s", why.what);
    s->not_before = c.not_before;
    s->not_after = c.not_after;
    s->skid_len = c.skid.n <= sizeof s->skid ? c.skid.n : 0;
    if (s->skid_len != 0)
        memcpy(s->skid, c.skid.p, s->skid_len);
    memcpy(s->sha256, sha256, 32);
    s->known = true;
    return BM_OK;
}

enum bm_rc bm_signer_ready(struct bm_signer *s, const uint8_t sha256[32], struct bm_rd offered, int64_t at,
                           const struct bm_manifest_hooks *h, struct bm_error *e)
{
    bool same = s->known && memcmp(s->sha256, sha256, 32) == 0;
    struct bm_error why = { 0 };
    struct bm_rd cert = { 0 };
    enum bm_rc rc;

    if (same && s->allowed)
        return BM_OK;
    s->allowed = false;
    rc = offered.n != 0 ? named(offered, sha256, e) : BM_OK;
    if (rc != BM_OK)
        return rc;
    rc = h->signer(h->arg, sha256, offered, at, &cert, &why);
    if (rc != BM_OK)
        return untrusted(rc, &why, e);
    rc = named(cert, sha256, e);
    if (rc == BM_OK && !same) {
        bm_signer_done(s);
        rc = open_cert(s, sha256, cert, e);
    }
    s->allowed = rc == BM_OK;
    return rc;
}

enum bm_rc bm_signer_valid(const struct bm_signer *s, int64_t at, const char *what, struct bm_error *e)
{
    char from[32], to[32];

    if (at >= s->not_before && at <= s->not_after)
        return BM_OK;
    return bm_refuse(e, BM_DENIED, "manifest-signer", "the signer's certificate is good from %s to %s, and was not %s",
                     bm_time_text(s->not_before, from), bm_time_text(s->not_after, to), what);
}
