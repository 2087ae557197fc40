#include "fleet.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { DEADLINE_S = 30 };

static int bad_url(const char *url)
{
    fprintf(stderr, "birthmark-fleet: the server is given as https://HOST:PORT, not '%s'\n", url);
    return -1;
}

/* HOST, HOST:PORT or [V6]:PORT; a path is not. */
static bool split(const char *s, struct fleet_server *ret)
{
    bool v6 = s[0] == '[';
    size_t n = v6 ? strcspn(s + 1, "]") : strcspn(s, ":/");
    const char *rest = v6 ? s + 1 + n + (s[1 + n] == ']') : s + n;

    if (n == 0 || n >= sizeof ret->host || strcspn(rest, "/ ") >= sizeof ret->port ||
        (rest[0] != '\0' && rest[0] != ':' && rest[0] != '/'))
        return false;
    memcpy(ret->host, s + v6, n);
    ret->host[n] = '\0';
    n = rest[0] == ':' ? strspn(rest + 1, "0123456789") : 0;
    if (rest[0] == ':' && (n == 0 || (rest[1 + n] != '\0' && rest[1 + n] != '/')))
        return false;
    snprintf(ret->port, sizeof ret->port, "%.*s", n != 0 ? (int)n : 3, n != 0 ? rest + 1 : "443");
    snprintf(ret->authority, sizeof ret->authority, v6 ? "[%.250s]:%s" : "%.250s:%s", ret->host, ret->port);
    return true;
}

int fleet_server_find(const char *url, struct fleet_server *ret)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    int rc;

    *ret = (struct fleet_server){ 0 };
    if (strncmp(url, "https://", 8) != 0 || !split(url + 8, ret))
        return bad_url(url);
    rc = getaddrinfo(ret->host, ret->port, &hints, &ret->addresses);
    if (rc == 0)
        return 0;
    fprintf(stderr, "birthmark-fleet: cannot find '%s': %s\n", ret->host, gai_strerror(rc));
    return -1;
}

SSL_CTX *fleet_tls_new(const char *anchors)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());

    if (tls == NULL || SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1)
        return tls;
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    if (anchors == NULL)
        return tls;
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_load_verify_file(tls, anchors) == 1)
        return tls;
    fprintf(stderr, "birthmark-fleet: no trust anchors in '%s'\n", anchors);
    SSL_CTX_free(tls);
    return NULL;
}

static int dial(const struct fleet_server *server)
{
    const struct timeval limit = { .tv_sec = DEADLINE_S };
    const int on = 1;

    for (const struct addrinfo *a = server->addresses; a != NULL; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);

        if (fd < 0)
            continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
            return fd;
        close(fd);
    }
    return -1;
}

static bool name_server(SSL *ssl, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
        return true; /* RFC 6066: no address in server_name */
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static void explain(char *why)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

    snprintf(why, 96, "tls: %s", reason != NULL ? reason : "connection lost");
    ERR_clear_error();
}

int fleet_link_open(struct fleet_link *l, SSL_CTX *tls, const struct fleet_server *server, X509 *cert, EVP_PKEY *key, char *why)
{
    *l = (struct fleet_link){ .fd = dial(server) };
    if (l->fd < 0) {
        snprintf(why, 96, "connect: %s", strerror(errno));
        return -1;
    }
    l->ssl = SSL_new(tls);
    if (l->ssl == NULL || SSL_set_fd(l->ssl, l->fd) != 1 || !name_server(l->ssl, server->host) ||
        (cert != NULL && (SSL_use_certificate(l->ssl, cert) != 1 || SSL_use_PrivateKey(l->ssl, key) != 1)) ||
        SSL_connect(l->ssl) != 1) {
        explain(why);
        fleet_link_close(l);
        return -1;
    }
    return 0;
}

void fleet_link_close(struct fleet_link *l)
{
    if (l->ssl == NULL && l->fd <= 0)
        return;
    if (l->ssl != NULL) {
        if (SSL_is_init_finished(l->ssl) == 1)
            (void)SSL_shutdown(l->ssl); /* close_notify only */
        SSL_free(l->ssl);
    }
    ERR_clear_error();
    if (l->fd > 0)
        close(l->fd);
    *l = (struct fleet_link){ 0 };
}

void fleet_link_drive(struct fleet_link *l, struct bmd_client *c)
{
    uint8_t in[16 * 1024];

    while (c->step == BMD_STEP_SEND || c->step == BMD_STEP_RECV) {
        struct bmd_rd out = bmd_client_output(c);
        size_t n = 0;

        if (c->step == BMD_STEP_SEND) {
            if (SSL_write_ex(l->ssl, out.p, out.n, &n) != 1) {
                c->step = BMD_STEP_FAILED;
                c->rc = BMD_COMM;
                return;
            }
            bmd_client_sent(c);
            continue;
        }
        if (SSL_read_ex(l->ssl, in, sizeof in, &n) != 1)
            n = 0;
        (void)bmd_client_input(c, in, n);
    }
}
