/* A handshake for its certificate's sake: tls-alpn-01, RFC 8737. Nothing is sent over it, and the certificate is judged by the keeper, not here. */
#include "server/courier_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct bm_trip_tls {
    struct bm_trip *job;
    int fd;
    bool connected;
    SSL *ssl;
    struct event *ev;
};

static void drop(struct bm_trip_tls *t)
{
    if (t->ev != NULL)
        event_free(t->ev);
    SSL_free(t->ssl);
    if (t->fd >= 0)
        close(t->fd);
    *t = (struct bm_trip_tls){ .job = t->job, .fd = -1 };
}

void bm_trip_tls_free(struct bm_trip *j)
{
    if (j->tls == NULL)
        return;
    drop(j->tls);
    free(BM_MOVE(j->tls));
}

static SSL_CTX *context(struct bm_courier *c)
{
    if (c->tls == NULL)
        c->tls = SSL_CTX_new(TLS_client_method());
    if (c->tls != NULL) {
        SSL_CTX_set_verify(c->tls, SSL_VERIFY_NONE, NULL);
        (void)SSL_CTX_set_min_proto_version(c->tls, TLS1_2_VERSION); /* RFC 8737 section 4 */
    }
    return c->tls;
}

/* RFC 7301 section 3.1: each name with its length before it. */
static bool set_names(struct bm_trip_tls *t)
{
    const struct bm_task *task = &t->job->task;
    struct bm_rd name = task->sni.n != 0 ? task->sni : task->host;
    uint8_t protocols[256];
    char sni[257];

    protocols[0] = (uint8_t)task->alpn.n;
    if (task->alpn.n != 0)
        memcpy(protocols + 1, task->alpn.p, task->alpn.n);
    snprintf(sni, sizeof sni, "%.*s", (int)name.n, (const char *)name.p);
    return SSL_set_fd(t->ssl, t->fd) == 1 && SSL_set_tlsext_host_name(t->ssl, sni) == 1 &&
           (task->alpn.n == 0 || SSL_set_alpn_protos(t->ssl, protocols, (unsigned)task->alpn.n + 1) == 0);
}

static void shake_hands(struct bm_trip_tls *t);
static void next_address(struct bm_trip *j);

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct bm_trip_tls *t = arg;
    int err = 0;
    socklen_t n = sizeof err;

    (void)what;
    if (!t->connected && (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n) != 0 || err != 0)) {
        next_address(t->job);
        return;
    }
    t->connected = true;
    shake_hands(t);
}

static void wait_for(struct bm_trip_tls *t, short what)
{
    if (t->ev != NULL)
        event_free(t->ev);
    t->ev = event_new(t->job->of->base, t->fd, what, on_event, t);
    if (t->ev == NULL || event_add(t->ev, NULL) != 0)
        bm_trip_fail(t->job, true, "outbound-memory", "the courier is out of memory");
}

static void tell(struct bm_trip_tls *t)
{
    struct bm_task_answer a = { 0 };
    X509 *cert = SSL_get1_peer_certificate(t->ssl);
    unsigned char *der = NULL;
    const unsigned char *alpn = NULL;
    unsigned alpn_len = 0;
    int n = cert != NULL ? i2d_X509(cert, &der) : -1;

    X509_free(cert);
    SSL_get0_alpn_selected(t->ssl, &alpn, &alpn_len);
    a.alpn = bm_rd_of(alpn, alpn_len);
    if (n > 0 && n <= BM_CERT_MAX) {
        a.cert = bm_rd_of(der, (size_t)n);
        bm_trip_answer(t->job, &a);
    } else {
        bm_trip_fail(t->job, false, "outbound-tls", "the server shows no certificate, or one of more than %d bytes", BM_CERT_MAX);
    }
    OPENSSL_free(der);
}

static void shake_hands(struct bm_trip_tls *t)
{
    unsigned long why;
    char text[160] = "the connection ended";
    int rc, what;

    ERR_clear_error();
    rc = SSL_connect(t->ssl);
    if (rc == 1) {
        tell(t);
        return;
    }
    what = SSL_get_error(t->ssl, rc);
    if (what == SSL_ERROR_WANT_READ || what == SSL_ERROR_WANT_WRITE) {
        wait_for(t, what == SSL_ERROR_WANT_READ ? EV_READ : EV_WRITE);
        return;
    }
    why = ERR_get_error();
    if (why != 0)
        ERR_error_string_n(why, text, sizeof text);
    bm_trip_fail(t->job, true, "outbound-tls", "%.80s: %.100s", t->job->host, text);
}

static bool open_socket(struct bm_trip_tls *t, const struct bm_trip_address *a)
{
    t->fd = socket(a->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (t->fd < 0)
        return false;
    return connect(t->fd, (const struct sockaddr *)&a->at, a->n) == 0 || errno == EINPROGRESS;
}

static void next_address(struct bm_trip *j)
{
    struct bm_trip_tls *t = j->tls;
    SSL_CTX *ctx = context(j->of);
    bool open = false;

    drop(t);
    while (!open && j->next_address < j->n_addresses) {
        drop(t);
        open = open_socket(t, &j->addresses[j->next_address++]);
    }
    if (!open) {
        bm_trip_fail(j, true, "outbound-unreachable", "%.100s, port %u, takes no connection", j->host, j->port);
        return;
    }
    t->ssl = ctx != NULL ? SSL_new(ctx) : NULL;
    if (t->ssl == NULL || !set_names(t))
        bm_trip_fail(j, true, "outbound-memory", "the courier cannot make the handshake");
    else
        wait_for(t, EV_WRITE);
}

void bm_trip_handshake(struct bm_trip *j)
{
    struct bm_trip_tls *t = j->tls = calloc(1, sizeof *t);

    if (t == NULL) {
        bm_trip_fail(j, true, "outbound-memory", "the courier is out of memory");
        return;
    }
    t->job = j;
    t->fd = -1;
    snprintf(j->host, sizeof j->host, "%.*s", (int)j->task.host.n, (const char *)j->task.host.p);
    j->port = j->task.port;
    bm_trip_resolve(j, next_address);
}
