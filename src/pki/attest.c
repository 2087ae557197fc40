#include "pki/attest.h"

#include "base/text.h"
#include "pki/cert.h"
#include "pki/impl.h"

void bm_attested_done(struct bm_attested *a)
{
    bm_buf_done(&a->attested);
}

/* --- signatures with COSE's numbers (RFC 9053 section 2, RFC 8812 section 2) --------------------------------------------------------- */
static const struct {
    int64_t alg;
    const char *key; /* as in bm_spki.alg */
    struct bm_rd id; /* AlgorithmIdentifier, DER */
} cose[] = {
    { -7, "P-256", BM_LIT("\x30\x0a\x06\x08" OID_ECDSA_SHA256) },
    { -35, "P-384", BM_LIT("\x30\x0a\x06\x08" OID_ECDSA_SHA384) },
    { -36, "P-521", BM_LIT("\x30\x0a\x06\x08" OID_ECDSA_SHA512) },
    { -8, "Ed25519", BM_LIT("\x30\x05\x06\x03" OID_ED25519) },
    { -257, "RSA", BM_LIT("\x30\x0d\x06\x09" OID_RSA_SHA256 "\x05\x00") },
};

static enum bm_rc open_for(int64_t alg, struct bm_rd spki, EVP_PKEY **ret, struct bm_rd *ret_id, struct bm_error *e)
{
    struct bm_spki k;
    struct bm_error why = { 0 };

    if (bm_spki_parse(spki, &k, &why) != BM_OK || bm_spki_open(&k, ret, &why) != BM_OK)
        return bm_attest_bad(e, "%s", why.what);
    for (size_t i = 0; i < BM_COUNT(cose); i++) {
        if (cose[i].alg == alg && strcmp(cose[i].key, k.alg) == 0) {
            *ret_id = cose[i].id;
            return BM_OK;
        }
    }
    return bm_attest_bad(e, "algorithm %lld does not go with a key of kind %s; ES256, ES384, ES512, EdDSA and RS256 are taken",
                         (long long)alg, k.alg);
}

enum bm_rc bm_cose_verify(int64_t alg, struct bm_rd spki, struct bm_rd msg, struct bm_rd sig, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_rd id;
    enum bm_rc rc = open_for(alg, spki, &key, &id, e);

    if (rc == BM_OK && bm_verify_x509(key, id, msg, sig, NULL) != BM_OK)
        rc = bm_attest_bad(e, "the signature is not of this key over this challenge and account");
    return rc;
}

/* --- formats ----------------------------------------------------------------------------------------------------------------------- */
typedef enum bm_rc format_fn(const struct bm_attest *a, struct bm_rd key_authorization, struct bm_attested *ret,
                             struct bm_error *e);

static enum bm_rc signer_of_cert(const struct bm_attest *a, struct bm_rd *ret, struct bm_cert *ret_cert, struct bm_error *e)
{
    struct bm_error why = { 0 };

    if (a->n_x5c == 0)
        return bm_attest_bad(e, "\"x5c\" is missing; without a certificate nobody says whose key it is");
    if (bm_cert_parse(a->x5c[0], ret_cert, &why) != BM_OK)
        return bm_attest_bad(e, "\"x5c\": %s", why.what);
    *ret = ret_cert->spki;
    return BM_OK;
}

/* WebAuthn section 8.2, with the key authorization in place of authenticatorData and clientDataHash. Self-attestation (no x5c) would need
 * authData, which ACME leaves out. */
static enum bm_rc packed(const struct bm_attest *a, struct bm_rd key_authorization, struct bm_attested *ret, struct bm_error *e)
{
    struct bm_cert cert = { 0 };
    enum bm_rc rc = signer_of_cert(a, &ret->signer, &cert, e);

    if (rc == BM_OK && cert.ca) /* section 8.2.1 */
        return bm_attest_bad(e, "the attestation certificate is a CA's");
    if (rc == BM_OK && !a->has_alg)
        return bm_attest_bad(e, "\"alg\" is missing");
    return rc == BM_OK ? bm_cose_verify(a->alg, ret->signer, key_authorization, a->sig, e) : rc;
}

/* Ours: the IDevID key signs the key authorization, in the raw form that chips and JOSE use. A certificate or a bare key. */
static enum bm_rc birthmark(const struct bm_attest *a, struct bm_rd key_authorization, struct bm_attested *ret, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_cert cert = { 0 };
    struct bm_rd id;
    enum bm_rc rc = BM_OK;

    if ((a->n_x5c != 0) == (a->spki.n != 0))
        return bm_attest_bad(e, "either \"x5c\" or \"spki\" has to say whose key signed");
    ret->signer = a->spki;
    if (a->n_x5c != 0)
        rc = signer_of_cert(a, &ret->signer, &cert, e);
    if (rc == BM_OK && !a->has_alg)
        return bm_attest_bad(e, "\"alg\" is missing");
    if (rc == BM_OK)
        rc = open_for(a->alg, ret->signer, &key, &id, e);
    if (rc == BM_OK && bm_verify_raw(key, key_authorization, a->sig, NULL) != BM_OK)
        rc = bm_attest_bad(e, "the signature is not of this key over this challenge and account");
    return rc;
}

static bool has_usage(struct bm_rd eku, struct bm_rd want)
{
    struct bm_rd list, oid;

    if (!bm_der_only(eku, BM_DER_SEQUENCE, &list))
        return false;
    while (bm_der_take(&list, BM_DER_OID, &oid))
        if (bm_rd_eq(oid, want))
            return true;
    return false;
}

/* WebAuthn section 8.3: the AK's certificate and TPM2_Certify over the key that the request will be for. */
static enum bm_rc tpm(const struct bm_attest *a, struct bm_rd key_authorization, struct bm_attested *ret, struct bm_error *e)
{
    static const struct bm_rd aik = BM_LIT("\x67\x81\x05\x08\x03"); /* 2.23.133.8.3, tcg-kp-AIKCertificate */
    struct bm_cert cert = { 0 };
    enum bm_rc rc;

    if (!bm_rd_eq(a->ver, bm_rd_str("2.0")))
        return bm_attest_bad(e, "\"ver\" must be \"2.0\"");
    rc = signer_of_cert(a, &ret->signer, &cert, e);
    if (rc == BM_OK && (cert.ca || !has_usage(cert.eku, aik)))
        return bm_attest_bad(e, "the certificate is none of an attestation key: WebAuthn section 8.3.1");
    ret->attested.max = BM_SPKI_MAX;
    return rc == BM_OK ? bm_tpm_certified(a, ret->signer, key_authorization, &ret->attested, e) : rc;
}

static bool is_digest_of(struct bm_rd freshness, struct bm_rd text)
{
    uint8_t digest[32];

    bm_udid_of(text, digest); /* SHA-256 all the same */
    return bm_rd_eq(freshness, bm_rd_of(digest, sizeof digest));
}

/* Managed Device Attestation: the certificate is over the key that the request will be for, and fresh by SHA-256 of the challenge's token; of the
 * whole key authorization is as good. The key signs nothing here, which the request makes up for. */
static enum bm_rc apple(const struct bm_attest *a, struct bm_rd key_authorization, struct bm_attested *ret, struct bm_error *e)
{
    const uint8_t *dot = memchr(key_authorization.p, '.', key_authorization.n);
    struct bm_rd token = bm_rd_of(key_authorization.p, dot != NULL ? (size_t)(dot - key_authorization.p) : key_authorization.n);
    struct bm_cert cert = { 0 };
    struct bm_apple says = { 0 };
    enum bm_rc rc = signer_of_cert(a, &ret->signer, &cert, e);

    if (rc == BM_OK && cert.ca)
        return bm_attest_bad(e, "the attestation certificate is a CA's");
    if (rc == BM_OK)
        rc = bm_apple_read(&cert, &says, e);
    if (rc != BM_OK)
        return rc;
    if (!is_digest_of(says.freshness, token) && !is_digest_of(says.freshness, key_authorization))
        return bm_attest_bad(e, "the certificate's freshness code is missing, or is not of this challenge");
    ret->by_maker = true;
    ret->attested.max = BM_SPKI_MAX;
    bm_buf_put(&ret->attested, cert.spki.p, cert.spki.n);
    return bm_buf_check(&ret->attested, e);
}

static const struct {
    const char *fmt;
    format_fn *verify;
} formats[] = { { "birthmark", birthmark }, { "packed", packed }, { "tpm", tpm }, { "apple", apple } };

enum bm_rc bm_attest_verify(const struct bm_attest *a, struct bm_rd key_authorization, struct bm_attested *ret, struct bm_error *e)
{
    char safe[4 * BM_ATTEST_FMT_LEN];

    for (size_t i = 0; i < BM_COUNT(formats); i++)
        if (strcmp(formats[i].fmt, a->fmt) == 0)
            return formats[i].verify(a, key_authorization, ret, e);
    return bm_attest_bad(e, "format '%.60s' is not taken; apple, birthmark, packed and tpm are",
                         bm_text_escape(bm_rd_str(a->fmt), safe, sizeof safe));
}
