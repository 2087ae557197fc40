#include "pki/impl.h"

#include <openssl/err.h>

enum params_rule { PARAMS_ABSENT, PARAMS_NULL }; /* NULL: RFC 4055 section 5 wants it, and absent has to be accepted */
struct sig_alg {
    struct bm_rd oid;
    int key; /* OpenSSL's base id, or 0: by name */
    const char *key_name;
    enum bm_digest digest;
    enum params_rule params;
};
/* What we take. SHA-1 and MD5 are not here, and so refused. */
static const struct sig_alg sig_algs[] = {
    { BM_LIT(OID_ECDSA_SHA256), EVP_PKEY_EC, "EC", BM_SHA256, PARAMS_ABSENT },
    { BM_LIT(OID_ECDSA_SHA384), EVP_PKEY_EC, "EC", BM_SHA384, PARAMS_ABSENT },
    { BM_LIT(OID_ECDSA_SHA512), EVP_PKEY_EC, "EC", BM_SHA512, PARAMS_ABSENT },
    { BM_LIT(OID_RSA_SHA256), EVP_PKEY_RSA, "RSA", BM_SHA256, PARAMS_NULL },
    { BM_LIT(OID_RSA_SHA384), EVP_PKEY_RSA, "RSA", BM_SHA384, PARAMS_NULL },
    { BM_LIT(OID_RSA_SHA512), EVP_PKEY_RSA, "RSA", BM_SHA512, PARAMS_NULL },
    { BM_LIT(OID_ED25519), EVP_PKEY_ED25519, "ED25519", BM_DIGEST_NONE, PARAMS_ABSENT },
    { BM_LIT(OID_ML_DSA_44), 0, "ML-DSA-44", BM_DIGEST_NONE, PARAMS_ABSENT },
    { BM_LIT(OID_ML_DSA_65), 0, "ML-DSA-65", BM_DIGEST_NONE, PARAMS_ABSENT },
    { BM_LIT(OID_ML_DSA_87), 0, "ML-DSA-87", BM_DIGEST_NONE, PARAMS_ABSENT },
};

static const struct sig_alg *sig_alg_find(struct bm_rd der)
{
    struct bm_rd seq, oid;

    if (!bm_der_only(der, BM_DER_SEQUENCE, &seq) || !bm_der_take(&seq, BM_DER_OID, &oid))
        return NULL;
    for (size_t i = 0; i < BM_COUNT(sig_algs); i++) {
        const struct sig_alg *a = &sig_algs[i];
        bool null = seq.n == 2 && seq.p[0] == BM_DER_NULL && seq.p[1] == 0;

        if (bm_rd_eq(oid, a->oid))
            return seq.n == 0 || (null && a->params == PARAMS_NULL) ? a : NULL;
    }
    return NULL;
}

bool bm_sig_alg_taken(struct bm_rd sig_alg)
{
    return sig_alg_find(sig_alg) != NULL;
}

static bool key_fits(EVP_PKEY *key, const struct sig_alg *a)
{
    return a->key != 0 ? EVP_PKEY_get_base_id(key) == a->key : EVP_PKEY_is_a(key, a->key_name) == 1;
}

static enum bm_rc bad_signature(struct bm_error *e)
{
    ERR_clear_error();
    return bm_refuse(e, BM_DENIED, "bad-signature", "the signature does not verify with the key");
}

static enum bm_rc evp_verify(EVP_PKEY *key, enum bm_digest d, struct bm_rd msg, struct bm_rd sig, struct bm_error *e)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestVerifyInit_ex(ctx, NULL, bm_digest_name(d), NULL, NULL, key, NULL) == 1 &&
              EVP_DigestVerify(ctx, sig.p, sig.n, msg.p, msg.n) == 1;

    EVP_MD_CTX_free(ctx);
    return ok ? BM_OK : bad_signature(e);
}

static enum bm_rc ec_verify(EVP_PKEY *key, enum bm_digest d, struct bm_rd msg, struct bm_rd sig_der, struct bm_error *e)
{
    uint8_t digest[BM_DIGEST_MAX];
    size_t n = bm_digest_of(d, msg, digest);

    if (n == 0)
        return bm_fail(e, BM_NOMEM, "the digest could not be computed");
    return bm_ec_verify(key, bm_rd_of(digest, n), sig_der) ? BM_OK : bad_signature(e);
}

static enum bm_rc rsa_verify(EVP_PKEY *key, enum bm_digest d, struct bm_rd msg, struct bm_rd sig, struct bm_error *e)
{
    return bm_rsa_verify(key, d, msg, sig) ? BM_OK : bad_signature(e);
}

enum bm_rc bm_verify_x509(EVP_PKEY *key, struct bm_rd sig_alg, struct bm_rd tbs, struct bm_rd sig, struct bm_error *e)
{
    const struct sig_alg *a = sig_alg_find(sig_alg);

    if (a == NULL)
        return bm_fail(e, BM_MALFORMED,
                       "signature algorithm is not one we take (ECDSA or RSA with SHA-256 and up, Ed25519, ML-DSA)");
    if (!key_fits(key, a))
        return bm_fail(e, BM_MALFORMED, "signature algorithm is for %s keys and the key is another", a->key_name);
    if (a->key == EVP_PKEY_EC)
        return ec_verify(key, a->digest, tbs, sig, e);
    if (a->key == EVP_PKEY_RSA)
        return rsa_verify(key, a->digest, tbs, sig, e);
    return evp_verify(key, a->digest, tbs, sig, e);
}

enum bm_rc bm_verify_raw_with(EVP_PKEY *key, enum bm_digest d, struct bm_rd msg, struct bm_rd sig, struct bm_error *e)
{
    uint8_t der[2 * 66 + 16];
    struct bm_derw w = bm_derw_of(der, sizeof der);
    enum bm_curve c = bm_ec_curve(key);

    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && d != BM_DIGEST_NONE)
        return rsa_verify(key, d, msg, sig, e);
    if (c == BM_CURVE_NONE)
        return evp_verify(key, d, msg, sig, e);
    if (!bm_ec_raw_to_der(sig, bm_ec_size(c), &w))
        return bm_refuse(e, BM_DENIED, "bad-signature", "signature of %zu bytes; this key's have %zu", sig.n, 2 * bm_ec_size(c));
    return ec_verify(key, d, msg, bm_derw_rd(&w), e);
}

enum bm_rc bm_verify_raw(EVP_PKEY *key, struct bm_rd msg, struct bm_rd sig, struct bm_error *e)
{
    int id = EVP_PKEY_get_base_id(key);
    enum bm_curve c = bm_ec_curve(key);

    if (id == EVP_PKEY_EC && c == BM_CURVE_NONE)
        return bm_fail(e, BM_MALFORMED, "signatures of this curve are not taken here");
    if (id == EVP_PKEY_EC)
        return bm_verify_raw_with(key, bm_ec_digest(c), msg, sig, e);
    return bm_verify_raw_with(key, id == EVP_PKEY_RSA ? BM_SHA256 : BM_DIGEST_NONE, msg, sig, e);
}
