/* The floors: what the cryptography alone costs, with nothing of ours around it. One TLS handshake between two memory buffers, of which only the
 * server's side is counted; verifying a certificate request; one signature. Prints one JSON object, microseconds of CPU time each.
 *
 *   handshake_stock   server's side, mutual TLS 1.3, P-256, X25519, library defaults: chain building, session tickets
 *   handshake_lean    the same without chain building and tickets: the least this library can do
 *   handshake_server  the same where the client shows no certificate: TLS 1.3, library defaults
 *   handshake_dtls    mutual DTLS 1.2 with the suite that RFC 9148 section 3 demands, P-256, without chain building
 *   csr_verify        ECDSA P-256 over a request, key already loaded
 *   sign              ECDSA P-256 over a ready TBSCertificate, digest included
 *   rsa_verify, rsa_sign, rsa_decrypt    RSA-2048: PKCS #1 v1.5 with SHA-256, and a wrapped key opened */
#include "pki/cert.h"

#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { HANDSHAKES = 1500, ROUNDS = 5, OPERATIONS = 4000, RSA_OPERATIONS = 500, DATAGRAM = 1400 };
enum kind { STOCK, LEAN, SERVER_ONLY, DTLS };

static int64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *need(void *p)
{
    if (p == NULL) {
        fprintf(stderr, "floor_bench: the library failed\n");
        exit(1);
    }
    return p;
}

static void must(int ok)
{
    need(ok == 1 ? &ok : NULL);
}

/* --- certificates ------------------------------------------------------------------------------------------------------------ */
static X509 *certificate(EVP_PKEY *key, const char *name)
{
    X509 *x = need(X509_new());

    must(X509_set_version(x, 2));
    must(ASN1_INTEGER_set(X509_get_serialNumber(x), 1));
    need(X509_gmtime_adj(X509_getm_notBefore(x), -60));
    need(X509_gmtime_adj(X509_getm_notAfter(x), 86400));
    must(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0));
    must(X509_set_issuer_name(x, X509_get_subject_name(x)));
    must(X509_set_pubkey(x, key));
    must(X509_sign(x, key, EVP_sha256()) > 0);
    return x;
}

static int accept_any(X509_STORE_CTX *ctx, void *arg)
{
    (void)ctx, (void)arg;
    return 1;
}

static SSL_CTX *context(const SSL_METHOD *m, X509 *cert, EVP_PKEY *key)
{
    SSL_CTX *c = need(SSL_CTX_new(m));

    must(SSL_CTX_use_certificate(c, cert));
    must(SSL_CTX_use_PrivateKey(c, key));
    must(SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION));
    must(SSL_CTX_set1_groups_list(c, "X25519:P-256"));
    return c;
}

/* Security level 0 is for the suite's tag of 8 bytes. */
static SSL_CTX *dtls_context(const SSL_METHOD *m, X509 *cert, EVP_PKEY *key)
{
    SSL_CTX *c = need(SSL_CTX_new(m));

    must(SSL_CTX_use_certificate(c, cert));
    must(SSL_CTX_use_PrivateKey(c, key));
    must(SSL_CTX_set_min_proto_version(c, DTLS1_2_VERSION));
    must(SSL_CTX_set_cipher_list(c, "ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0"));
    must(SSL_CTX_set1_groups_list(c, "P-256"));
    SSL_CTX_set_options(c, SSL_OP_NO_QUERY_MTU);
    return c;
}

/* --- one handshake ------------------------------------------------------------------------------------------------------------ */
static int64_t handshake(SSL_CTX *server, SSL_CTX *client)
{
    int64_t spent = 0, from = cpu_ns();
    SSL *s = need(SSL_new(server)), *c;
    BIO *sb, *cb;
    int sr = 0, cr = 0;

    SSL_set_accept_state(s);
    spent += cpu_ns() - from;
    c = need(SSL_new(client));
    must(BIO_new_bio_pair(&sb, 65536, &cb, 65536));
    SSL_set_bio(s, sb, sb);
    SSL_set_bio(c, cb, cb);
    if (SSL_is_dtls(s)) {
        must(SSL_set_mtu(s, DATAGRAM) == DATAGRAM);
        must(SSL_set_mtu(c, DATAGRAM) == DATAGRAM);
    }
    SSL_set_connect_state(c);
    for (int i = 0; (sr != 1 || cr != 1) && i < 10; i++) {
        cr = SSL_do_handshake(c);
        from = cpu_ns();
        sr = SSL_do_handshake(s);
        spent += cpu_ns() - from;
    }
    must(sr);
    must(cr);
    from = cpu_ns();
    SSL_free(s);
    spent += cpu_ns() - from;
    SSL_free(c);
    return spent;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *v)
{
    qsort(v, ROUNDS, sizeof *v, by_value);
    return v[ROUNDS / 2];
}

static double measure_handshake(X509 *server_cert, EVP_PKEY *server_key, X509 *device_cert, EVP_PKEY *device_key, enum kind kind)
{
    SSL_CTX *s = kind == DTLS ? dtls_context(DTLS_server_method(), server_cert, server_key)
                              : context(TLS_server_method(), server_cert, server_key);
    SSL_CTX *c = kind == DTLS ? dtls_context(DTLS_client_method(), device_cert, device_key)
                              : context(TLS_client_method(), device_cert, device_key);
    double us[ROUNDS];

    SSL_CTX_set_verify(c, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_verify(s, kind == SERVER_ONLY ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    must(X509_STORE_add_cert(SSL_CTX_get_cert_store(s), device_cert)); /* so that the stock check has an anchor to find */
    if (kind == LEAN || kind == DTLS) {
        SSL_CTX_set_cert_verify_callback(s, accept_any, NULL);
        must(SSL_CTX_set_num_tickets(s, 0));
        SSL_CTX_set_session_cache_mode(s, SSL_SESS_CACHE_OFF);
    }
    for (int r = 0; r < ROUNDS; r++) {
        int64_t ns = 0;

        for (int i = 0; i < HANDSHAKES / ROUNDS; i++)
            ns += handshake(s, c);
        us[r] = (double)ns / (HANDSHAKES / ROUNDS) / 1000;
    }
    SSL_CTX_free(s);
    SSL_CTX_free(c);
    return median(us);
}

/* --- signatures --------------------------------------------------------------------------------------------------------------- */
static double measure_sign(EVP_PKEY *key, bool verify, int operations)
{
    unsigned char tbs[400] = { 1 }, sig[512];
    size_t n = sizeof sig;
    EVP_MD_CTX *ctx = need(EVP_MD_CTX_new()), *one = need(EVP_MD_CTX_new());
    double us[ROUNDS];

    must(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key));
    must(EVP_DigestSign(ctx, sig, &n, tbs, sizeof tbs));
    must(EVP_MD_CTX_reset(ctx));
    must(verify ? EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key)
                : EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key));
    for (int r = 0; r < ROUNDS; r++) {
        int64_t from = cpu_ns();

        for (int i = 0; i < operations / ROUNDS; i++) {
            size_t m = sizeof sig;

            must(EVP_MD_CTX_copy_ex(one, ctx));
            must(verify ? EVP_DigestVerify(one, sig, n, tbs, sizeof tbs)
                        : EVP_DigestSign(one, (unsigned char[512]){ 0 }, &m, tbs, sizeof tbs));
        }
        us[r] = (double)(cpu_ns() - from) / (operations / ROUNDS) / 1000;
    }
    EVP_MD_CTX_free(ctx);
    EVP_MD_CTX_free(one);
    return median(us);
}

static double measure_decrypt(EVP_PKEY *key)
{
    EVP_PKEY_CTX *to = need(EVP_PKEY_CTX_new(key, NULL)), *from = need(EVP_PKEY_CTX_new(key, NULL));
    unsigned char plain[256] = { 1 }, sealed[512];
    size_t n = sizeof sealed;
    double us[ROUNDS];

    must(EVP_PKEY_encrypt_init(to));
    must(EVP_PKEY_CTX_set_rsa_padding(to, RSA_PKCS1_PADDING));
    must(EVP_PKEY_encrypt(to, sealed, &n, plain, 32));
    must(EVP_PKEY_decrypt_init(from));
    must(EVP_PKEY_CTX_set_rsa_padding(from, RSA_PKCS1_PADDING));
    for (int r = 0; r < ROUNDS; r++) {
        int64_t began = cpu_ns();

        for (int i = 0; i < RSA_OPERATIONS / ROUNDS; i++) {
            size_t m = sizeof plain;

            must(EVP_PKEY_decrypt(from, plain, &m, sealed, n));
        }
        us[r] = (double)(cpu_ns() - began) / (RSA_OPERATIONS / ROUNDS) / 1000;
    }
    EVP_PKEY_CTX_free(to);
    EVP_PKEY_CTX_free(from);
    return median(us);
}

static void print_handshakes(EVP_PKEY *server_key, EVP_PKEY *device_key)
{
    static const char *const names[] = {
        [STOCK] = "handshake_stock", [LEAN] = "handshake_lean", [SERVER_ONLY] = "handshake_server", [DTLS] = "handshake_dtls"
    };
    X509 *server_cert = certificate(server_key, "server"), *device_cert = certificate(device_key, "device");

    for (int k = STOCK; k <= DTLS; k++)
        printf("\"%s\": %.1f, ", names[k], measure_handshake(server_cert, server_key, device_cert, device_key, (enum kind)k));
    X509_free(server_cert);
    X509_free(device_cert);
}

int main(void)
{
    EVP_PKEY *server_key = need(EVP_EC_gen("P-256")), *device_key = need(EVP_EC_gen("P-256")), *rsa = need(EVP_RSA_gen(2048));

    printf("{");
    print_handshakes(server_key, device_key);
    printf("\"csr_verify\": %.1f, \"sign\": %.1f, \"rsa_verify\": %.1f, \"rsa_sign\": %.1f, \"rsa_decrypt\": %.1f}\n",
           measure_sign(device_key, true, OPERATIONS), measure_sign(server_key, false, OPERATIONS),
           measure_sign(rsa, true, OPERATIONS), measure_sign(rsa, false, RSA_OPERATIONS), measure_decrypt(rsa));
    EVP_PKEY_free(server_key);
    EVP_PKEY_free(device_key);
    EVP_PKEY_free(rsa);
    return 0;
}
