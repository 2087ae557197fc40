#include "server/tls_raw_key.h"

#include "base/bytes.h"

#if OPENSSL_VERSION_NUMBER >= 0x30200000L

/* What OpenSSL picks is the first of our own list that the client names too. So the list is the client's (RFC 7250 section 4.1: its order says what
 * it would rather show), without what we do not know. */
static int choose_type(SSL *ssl, int *alert, void *arg)
{
    unsigned char ours[2];
    const unsigned char *said;
    size_t n, n_ours = 0;
    struct bm_rd list;
    uint8_t type;

    (void)arg;
    *alert = SSL_AD_INTERNAL_ERROR;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_client_cert_type, &said, &n) != 1 || n < 2)
        return SSL_CLIENT_HELLO_SUCCESS; /* what is malformed OpenSSL itself refuses */
    list = bm_rd_of(said + 1, n - 1);
    while (n_ours < sizeof ours && bm_rd_u8(&list, &type))
        if ((type == TLSEXT_cert_type_x509 || type == TLSEXT_cert_type_rpk) && (n_ours == 0 || ours[0] != type))
            ours[n_ours++] = type;
    return n_ours == 0 || SSL_set1_client_cert_type(ssl, ours, n_ours) == 1 ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
}

bool bm_tls_has_raw_keys(void)
{
    return true;
}

bool bm_tls_take_raw_keys(SSL_CTX *ctx)
{
    static const unsigned char both[] = { TLSEXT_cert_type_x509, TLSEXT_cert_type_rpk };

    SSL_CTX_set_client_hello_cb(ctx, choose_type, NULL);
    return SSL_CTX_set1_client_cert_type(ctx, both, sizeof both) == 1;
}

bool bm_tls_showed_raw_key(const SSL *ssl)
{
    return SSL_get0_peer_rpk(ssl) != NULL;
}

#else

bool bm_tls_has_raw_keys(void)
{
    return false;
}

bool bm_tls_take_raw_keys(SSL_CTX *ctx)
{
    (void)ctx;
    return true;
}

bool bm_tls_showed_raw_key(const SSL *ssl)
{
    (void)ssl;
    return false;
}

#endif
