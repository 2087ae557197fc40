#include "tls_key.h"

bool bmd_tls_key_possible(void)
{
    return false;
}

int bmd_tls_key_setup(mbedtls_pk_context *pk, const struct bmd_signer *s)
{
    (void)pk;
    (void)s;
    return MBEDTLS_ERR_PK_FEATURE_UNAVAILABLE;
}

static const int suites[] = {
    MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
    MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
    MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    0,
};

void bmd_tls_floor(mbedtls_ssl_config *c, enum bmd_alg alg)
{
    (void)alg;
    mbedtls_ssl_conf_min_tls_version(c, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_ciphersuites(c, suites);
}

bool bmd_tls_again(int code)
{
    return code == MBEDTLS_ERR_SSL_WANT_READ || code == MBEDTLS_ERR_SSL_WANT_WRITE ||
           code == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET;
}
