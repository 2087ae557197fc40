#include "posix.h"

#include "tls_key.h"

#include <arpa/inet.h>
#include <errno.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>
#include <poll.h>
#include <psa/crypto.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct bmd_tls {
    struct bmd_net net;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context rng;
    mbedtls_ssl_config conf;
    mbedtls_ssl_context ssl;
    mbedtls_x509_crt anchors, own;
    mbedtls_pk_context key;
};

static void explain(char *why, const char *what, int code)
{
    char text[80] = "";

    mbedtls_strerror(code, text, sizeof text);
    snprintf(why, 128, "%s: %s", what, text);
}

bool bmd_tls_client_certs(void)
{
    return bmd_tls_key_possible();
}

/* --- bytes ------------------------------------------------------------------------------------------------------------------------- */

static int on_send(void *arg, const unsigned char *p, size_t n)
{
    struct bmd_net *net = arg;
    ssize_t sent;

    do {
        if (!bmd_net_wait(net, POLLOUT))
            return MBEDTLS_ERR_NET_SEND_FAILED;
        sent = send(net->fd, p, n, MSG_NOSIGNAL);
    } while (sent < 0 && (errno == EAGAIN || errno == EINTR));
    return sent < 0 ? MBEDTLS_ERR_NET_SEND_FAILED : (int)sent;
}

static int on_receive(void *arg, unsigned char *p, size_t n)
{
    struct bmd_net *net = arg;
    ssize_t got;

    do {
        if (!bmd_net_wait(net, POLLIN))
            return MBEDTLS_ERR_SSL_TIMEOUT;
        got = recv(net->fd, p, n, 0);
    } while (got < 0 && (errno == EAGAIN || errno == EINTR));
    return got < 0 ? MBEDTLS_ERR_NET_RECV_FAILED : (int)got;
}

/* --- who the server is --------------------------------------------------------------------------------------------------------------- */

static bool is_pinned(const mbedtls_x509_crt *c, const uint8_t *pin)
{
    struct bmd_cert cert;
    uint8_t hash[32];
    size_t n;

    if (bmd_cert_read(bmd_rd_of(c->raw.p, c->raw.len), &cert) != BMD_OK)
        return false;
    return psa_hash_compute(PSA_ALG_SHA_256, cert.spki.p, cert.spki.n, hash, sizeof hash, &n) == PSA_SUCCESS &&
           memcmp(hash, pin, sizeof hash) == 0;
}

/* Mbed TLS before 3.5 compares names only: an address in the URL is looked up in the certificate here (RFC 9110 4.3.5). */
static bool named_by_address(const mbedtls_x509_crt *c, const char *host)
{
    uint8_t ip[16];
    size_t n = inet_pton(AF_INET, host, ip) == 1 ? 4 : inet_pton(AF_INET6, host, ip) == 1 ? 16 : 0;

    for (const mbedtls_x509_sequence *s = c != NULL ? &c->subject_alt_names : NULL; n != 0 && s != NULL; s = s->next)
        if ((s->buf.tag & 0x1f) == 7 && s->buf.len == n && memcmp(s->buf.p, ip, n) == 0)
            return true;
    return false;
}

/* As the verification ended: the chain holds, and for this host. */
static bool verified(uint32_t flags, const mbedtls_x509_crt *c, const char *host)
{
    return flags == 0 || (flags == MBEDTLS_X509_BADCERT_CN_MISMATCH && named_by_address(c, host));
}

/* The server's own key is pinned; or a CA's that it sent is, and then its certificate must hold under that CA for its name. */
static bool pin_holds(const mbedtls_x509_crt *chain, const uint8_t *pin, const char *host)
{
    const mbedtls_x509_crt *c;
    mbedtls_x509_crt ca;
    uint32_t flags = UINT32_MAX; /* what cannot even be judged does not hold */
    bool ok;

    if (chain != NULL && is_pinned(chain, pin))
        return true;
    for (c = chain; c != NULL && !is_pinned(c, pin); c = c->next)
        ;
    if (c == NULL)
        return false;
    mbedtls_x509_crt_init(&ca);
    ok = mbedtls_x509_crt_parse_der(&ca, c->raw.p, c->raw.len) == 0;
    if (ok) {
        (void)mbedtls_x509_crt_verify((mbedtls_x509_crt *)(uintptr_t)chain, &ca, NULL, host, &flags, NULL, NULL);
        ok = verified(flags, chain, host);
    }
    mbedtls_x509_crt_free(&ca);
    return ok;
}

static bool server_ok(struct bmd_tls *t, const struct bmd_tls_config *cfg, char *why)
{
    uint32_t flags = mbedtls_ssl_get_verify_result(&t->ssl);
    char text[96] = "";

    if (verified(flags, mbedtls_ssl_get_peer_cert(&t->ssl), cfg->host))
        return true;
    if (cfg->pin != NULL && pin_holds(mbedtls_ssl_get_peer_cert(&t->ssl), cfg->pin, cfg->host))
        return true;
    if ((flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0 && flags != UINT32_MAX)
        flags = MBEDTLS_X509_BADCERT_NOT_TRUSTED; /* of several complaints the one that matters */
    (void)mbedtls_x509_crt_verify_info(text, sizeof text, "", flags);
    text[strcspn(text, "\n")] = '\0';
    snprintf(why, 128, "the server is not trusted: %s", text);
    return false;
}

/* --- opening ------------------------------------------------------------------------------------------------------------------------- */

static int load_anchors(struct bmd_tls *t, const struct bmd_tls_config *cfg, char *why)
{
    for (size_t i = 0; i < sizeof cfg->anchors / sizeof cfg->anchors[0]; i++) {
        int rc = cfg->anchors[i] != NULL ? mbedtls_x509_crt_parse_file(&t->anchors, cfg->anchors[i]) : 0;

        if (rc != 0) {
            explain(why, cfg->anchors[i], rc);
            return -1;
        }
    }
    return 0;
}

static int configure(struct bmd_tls *t, const struct bmd_tls_config *cfg)
{
    int rc = mbedtls_ctr_drbg_seed(&t->rng, mbedtls_entropy_func, &t->entropy, (const unsigned char *)"bmd_tls", 7);

    if (rc == 0)
        rc = mbedtls_ssl_config_defaults(&t->conf, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (rc != 0)
        return rc;
    mbedtls_ssl_conf_rng(&t->conf, mbedtls_ctr_drbg_random, &t->rng);
    mbedtls_ssl_conf_authmode(&t->conf, MBEDTLS_SSL_VERIFY_OPTIONAL); /* judged in server_ok(), before anything is sent */
    mbedtls_ssl_conf_ca_chain(&t->conf, &t->anchors, NULL);
    bmd_tls_floor(&t->conf, cfg->signer != NULL ? cfg->signer->alg : BMD_ALG_NONE);
    if (cfg->signer == NULL)
        return 0;
    rc = mbedtls_x509_crt_parse_der(&t->own, cfg->cert.p, cfg->cert.n);
    if (rc == 0)
        rc = bmd_tls_key_setup(&t->key, cfg->signer);
    return rc == 0 ? mbedtls_ssl_conf_own_cert(&t->conf, &t->own, &t->key) : rc;
}

static int shake(struct bmd_tls *t, const struct bmd_tls_config *cfg)
{
    int rc = mbedtls_ssl_setup(&t->ssl, &t->conf);

    if (rc == 0)
        rc = mbedtls_ssl_set_hostname(&t->ssl, cfg->host);
    if (rc != 0)
        return rc;
    mbedtls_ssl_set_bio(&t->ssl, &t->net, on_send, on_receive, NULL);
    do
        rc = mbedtls_ssl_handshake(&t->ssl);
    while (bmd_tls_again(rc));
    return rc;
}

static struct bmd_tls *fresh(void)
{
    struct bmd_tls *t = calloc(1, sizeof *t);

    if (t == NULL)
        return NULL;
    t->net.fd = -1;
    mbedtls_entropy_init(&t->entropy);
    mbedtls_ctr_drbg_init(&t->rng);
    mbedtls_ssl_config_init(&t->conf);
    mbedtls_ssl_init(&t->ssl);
    mbedtls_x509_crt_init(&t->anchors);
    mbedtls_x509_crt_init(&t->own);
    mbedtls_pk_init(&t->key);
    return t;
}

void bmd_tls_close(struct bmd_tls *t)
{
    if (t == NULL)
        return;
    if (t->net.fd >= 0)
        (void)mbedtls_ssl_close_notify(&t->ssl);
    bmd_net_close(&t->net);
    mbedtls_ssl_free(&t->ssl);
    mbedtls_ssl_config_free(&t->conf);
    mbedtls_x509_crt_free(&t->anchors);
    mbedtls_x509_crt_free(&t->own);
    mbedtls_pk_free(&t->key);
    mbedtls_ctr_drbg_free(&t->rng);
    mbedtls_entropy_free(&t->entropy);
    free(t);
}

static enum bmd_rc open_into(struct bmd_tls *t, const struct bmd_tls_config *cfg, char *why)
{
    enum bmd_rc net;
    int rc;

    if (load_anchors(t, cfg, why) != 0)
        return BMD_BAD_ARGUMENT;
    rc = configure(t, cfg);
    if (rc != 0) {
        explain(why, "TLS set-up", rc);
        return BMD_INTERNAL;
    }
    net = bmd_net_open(&t->net, cfg->host, cfg->port, cfg->timeout_ms, why);
    if (net != BMD_OK)
        return net;
    rc = shake(t, cfg);
    if (rc != 0) {
        explain(why, "TLS", rc);
        return BMD_COMM;
    }
    return server_ok(t, cfg, why) ? BMD_OK : BMD_DENIED;
}

enum bmd_rc bmd_tls_open(const struct bmd_tls_config *cfg, struct bmd_tls **ret, char *why)
{
    struct bmd_tls *t = fresh();
    enum bmd_rc rc;

    if (t == NULL)
        return BMD_NO_SPACE;
    rc = open_into(t, cfg, why);
    if (rc == BMD_OK)
        *ret = t;
    else
        bmd_tls_close(t);
    return rc;
}

/* --- the exchange ---------------------------------------------------------------------------------------------------------------------- */

static bool send_all(struct bmd_tls *t, struct bmd_rd out)
{
    while (out.n != 0) {
        int n = mbedtls_ssl_write(&t->ssl, out.p, out.n);

        if (bmd_tls_again(n))
            continue;
        if (n <= 0)
            return false;
        out = bmd_rd_of(out.p + n, out.n - (size_t)n);
    }
    return true;
}

/* 0: the end, whether told or not; a cut answer is the reader's to notice. */
static size_t receive(struct bmd_tls *t, uint8_t *p, size_t cap)
{
    for (;;) {
        int n = mbedtls_ssl_read(&t->ssl, p, cap);

        if (bmd_tls_again(n))
            continue;
        return n > 0 ? (size_t)n : 0;
    }
}

void bmd_tls_drive(struct bmd_tls *t, struct bmd_client *c)
{
    uint8_t in[4096];

    while (c->step == BMD_STEP_SEND || c->step == BMD_STEP_RECV) {
        if (c->step == BMD_STEP_SEND) {
            if (!send_all(t, bmd_client_output(c))) {
                c->step = BMD_STEP_FAILED;
                c->rc = BMD_COMM;
                return;
            }
            bmd_client_sent(c);
            continue;
        }
        (void)bmd_client_input(c, in, receive(t, in, sizeof in));
    }
}
