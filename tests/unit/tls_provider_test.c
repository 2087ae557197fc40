#include "base/error.h"
#include "server/tls_provider.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdbool.h>

static const struct {
    const char *type, *curve;
    bool served;
} kinds[] = {
    { "EC", "P-256", true },
    { "EC", "P-384", true },
    { "RSA", NULL, true },
    { "ED25519", NULL, true },
};

static EVP_PKEY *make_key(const char *type, const char *curve)
{
    size_t bits = 2048;

    if (curve != NULL)
        return EVP_PKEY_Q_keygen(NULL, NULL, type, curve);
    if (type[0] == 'R') /* RSA */
        return EVP_PKEY_Q_keygen(NULL, NULL, type, bits);
    return EVP_PKEY_Q_keygen(NULL, NULL, type);
}

/* What a certificate on the wire is read with: the kinds we serve, and no others. */
static void reads_the_served_kinds_only(void **state)
{
    OSSL_LIB_CTX *lib = bm_tls_library();

    (void)state;
    assert_non_null(lib);
    assert_ptr_equal(lib, bm_tls_library());
    for (size_t i = 0; i < BM_COUNT(kinds); i++) {
        EVP_PKEY *key = make_key(kinds[i].type, kinds[i].curve), *read;
        unsigned char *der = NULL;
        const unsigned char *p;
        int n;

        assert_non_null(key);
        n = i2d_PUBKEY(key, &der);
        assert_true(n > 0);
        p = der;
        read = d2i_PUBKEY_ex(NULL, &p, n, lib, NULL);
        if ((read != NULL) != kinds[i].served || (read != NULL && EVP_PKEY_eq(read, key) != 1))
            fail_msg("%s", kinds[i].type);
        EVP_PKEY_free(read);
        EVP_PKEY_free(key);
        OPENSSL_free(der);
        ERR_clear_error();
    }
}

/* A server side can be made of it: with random numbers, ciphers and groups, whatever OpenSSL is underneath. If this fails, no worker comes up. */
static void serves_tls(void **state)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(bm_tls_library(), NULL, TLS_server_method());
    unsigned char random[16];

    (void)state;
    assert_non_null(ctx);
    assert_int_equal(RAND_priv_bytes_ex(bm_tls_library(), random, sizeof random, 0), 1);
    SSL_CTX_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_served_kinds_only),
        cmocka_unit_test(serves_tls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
