/* What a key has to be able to do, wherever it lives. */
#ifndef BM_TESTS_KEY_SIGNS_H
#define BM_TESTS_KEY_SIGNS_H

#include "pki_help.h"

static const struct bm_rd message = BM_LIT("to be signed");

static void public_half(const struct bm_key *k, EVP_PKEY **ret)
{
    struct bm_spki s;

    assert_ok(bm_spki_parse(bm_key_spki(k), &s, &err));
    assert_ok(bm_spki_open(&s, ret, &err));
}

/* What the key signs, the library verifies: X.509 form by EVP, and both forms by us. */
static void check_signatures(const struct bm_key *k, const char *digest)
{
    BM_EVP_FREE EVP_PKEY *pub = NULL;
    uint8_t sig[BM_SIGNATURE_MAX];
    size_t n = sizeof sig;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    public_half(k, &pub);
    assert_ok(bm_key_sign(k, message, sig, &n, &err));
    assert_int_equal(EVP_DigestVerifyInit_ex(ctx, NULL, digest, NULL, NULL, pub, NULL), 1);
    assert_int_equal(EVP_DigestVerify(ctx, sig, n, message.p, message.n), 1);
    EVP_MD_CTX_free(ctx);
    assert_ok(bm_verify_x509(pub, bm_key_sig_alg(k), message, bm_rd_of(sig, n), &err));
    assert_int_equal(bm_verify_x509(pub, bm_key_sig_alg(k), bm_rd_str("another"), bm_rd_of(sig, n), &err), BM_DENIED);
    assert_string_equal(err.code, "bad-signature");
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(bm_verify_x509(pub, bm_key_sig_alg(k), message, bm_rd_of(sig, cut), NULL), BM_DENIED);
    n = sizeof sig;
    assert_ok(bm_key_sign_raw(k, message, sig, &n, &err));
    assert_ok(bm_verify_raw(pub, message, bm_rd_of(sig, n), &err));
    sig[n - 1] ^= 1;
    assert_int_equal(bm_verify_raw(pub, message, bm_rd_of(sig, n), &err), BM_DENIED);
    assert_int_equal(bm_verify_raw(pub, message, bm_rd_of(sig, n - 1), &err), BM_DENIED);
    assert_int_equal(bm_verify_raw(pub, message, bm_rd_of(sig, 0), &err), BM_DENIED);
}

#endif
