/* The one file that calls OpenSSL's low-level RSA functions, for public keys alone: opening one through the decoders of a 3.x library costs more
 * than ten signatures checked with it. They are deprecated but present in every 3.x; where not, everything falls back to EVP (as in ec.c). */
#include "pki/impl.h"

#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#ifndef OPENSSL_NO_DEPRECATED_3_0

/* RSAPublicKey, RFC 8017 appendix A.1.1; bm_spki_parse() has seen that it is one, and of a size that is taken. */
EVP_PKEY *bm_rsa_open(struct bm_rd raw)
{
    const uint8_t *p = raw.p;
    RSA *r = d2i_RSAPublicKey(NULL, &p, (long)raw.n);
    EVP_PKEY *k = r != NULL && p == raw.p + raw.n ? EVP_PKEY_new() : NULL;

    if (k != NULL && EVP_PKEY_assign_RSA(k, r) == 1)
        return k;
    EVP_PKEY_free(k);
    RSA_free(r);
    return NULL;
}

bool bm_rsa_verify(EVP_PKEY *key, enum bm_digest d, struct bm_rd msg, struct bm_rd sig)
{
    static const int nids[] = { [BM_SHA256] = NID_sha256, [BM_SHA384] = NID_sha384, [BM_SHA512] = NID_sha512 };
    const RSA *r = EVP_PKEY_get0_RSA(key);
    uint8_t digest[BM_DIGEST_MAX];
    size_t n = d < BM_COUNT(nids) && nids[d] != 0 ? bm_digest_of(d, msg, digest) : 0;

    if (r == NULL || n == 0 || sig.n > BM_SIGNATURE_MAX)
        return false;
    return RSA_verify(nids[d], digest, (unsigned)n, sig.p, (unsigned)sig.n, (RSA *)r) == 1; /* the call does not write to the key */
}

bool bm_rsa_wrap(EVP_PKEY *to, struct bm_rd secret, uint8_t *ret, size_t *ret_len)
{
    const RSA *r = EVP_PKEY_get0_RSA(to);
    int n = r != NULL && (size_t)RSA_size(r) <= *ret_len
                ? RSA_public_encrypt((int)secret.n, secret.p, ret, (RSA *)r, RSA_PKCS1_PADDING) /* nor does this one */
                : -1;

    ERR_clear_error();
    *ret_len = n > 0 ? (size_t)n : 0;
    return n > 0;
}

#else /* a library without the deprecated calls */

EVP_PKEY *bm_rsa_open(struct bm_rd raw)
{
    const uint8_t *p = raw.p;

    return d2i_PublicKey(EVP_PKEY_RSA, NULL, &p, (long)raw.n);
}

bool bm_rsa_verify(EVP_PKEY *key, enum bm_digest d, struct bm_rd msg, struct bm_rd sig)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestVerifyInit_ex(ctx, NULL, bm_digest_name(d), NULL, NULL, key, NULL) == 1 &&
              EVP_DigestVerify(ctx, sig.p, sig.n, msg.p, msg.n) == 1;

    EVP_MD_CTX_free(ctx);
    return ok;
}

bool bm_rsa_wrap(EVP_PKEY *to, struct bm_rd secret, uint8_t *ret, size_t *ret_len)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, to, NULL);
    bool ok = ctx != NULL && EVP_PKEY_encrypt_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
              EVP_PKEY_encrypt(ctx, ret, ret_len, secret.p, secret.n) == 1;

    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

#endif
