#include "messages.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 4096, ANSWER_MAX = 65536 };

static const char *http_host(const char *url)
{
    const char *slashes = strstr(url, "://");

    return slashes != NULL ? slashes + 3 : url;
}

/* The server's certificate is not checked: that would cost the client, which is not measured. No session is kept. */
static SSL *handshake(int fd)
{
    static _Thread_local SSL_CTX *ctx;
    SSL *s;

    if (ctx == NULL) {
        ctx = need(SSL_CTX_new(TLS_client_method()));
        must(SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION));
    }
    s = need(SSL_new(ctx));
    must(SSL_set_fd(s, fd));
    if (SSL_connect(s) == 1)
        return s;
    SSL_free(s);
    return NULL;
}

void http_close(struct link *l)
{
    if (l->tls != NULL)
        (void)SSL_shutdown(l->tls);
    SSL_free(l->tls);
    if (l->fd >= 0)
        close(l->fd);
    *l = (struct link){ -1, NULL };
}

bool http_connect(const char *url, struct link *ret)
{
    struct sockaddr_in to = { .sin_family = AF_INET };
    bool tls = strncmp(url, "https://", 8) == 0;
    const char *host_port = http_host(url), *colon = strchr(host_port, ':');
    int on = 1;

    *ret = (struct link){ socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), NULL };
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    to.sin_port = htons((uint16_t)atoi(colon != NULL ? colon + 1 : "80"));
    if (ret->fd < 0 || connect(ret->fd, (struct sockaddr *)&to, sizeof to) != 0) {
        http_close(ret);
        return false;
    }
    (void)setsockopt(ret->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ret->tls = tls ? handshake(ret->fd) : NULL;
    return !tls || ret->tls != NULL;
}

static ssize_t put(const struct link *l, const void *p, size_t n)
{
    return l->tls != NULL ? SSL_write(l->tls, p, (int)n) : send(l->fd, p, n, MSG_NOSIGNAL);
}

static ssize_t get(const struct link *l, void *p, size_t n)
{
    return l->tls != NULL ? SSL_read(l->tls, p, (int)n) : recv(l->fd, p, n, 0);
}

static bool send_all(const struct link *l, const void *p, size_t n)
{
    while (n != 0) {
        ssize_t w = put(l, p, n);

        if (w <= 0)
            return false;
        p = (const char *)p + w;
        n -= (size_t)w;
    }
    return true;
}

/* Status line and headers, with what was read of the body behind them. */
static char *read_head(const struct link *l, char room[HEAD_MAX], size_t *ret_n)
{
    char *end = NULL;

    for (*ret_n = 0; end == NULL && *ret_n < HEAD_MAX - 1; end = strstr(room, "\r\n\r\n")) {
        ssize_t r = get(l, room + *ret_n, HEAD_MAX - 1 - *ret_n);

        if (r <= 0)
            return NULL;
        *ret_n += (size_t)r;
        room[*ret_n] = '\0';
    }
    return end;
}

static bool read_rest(const struct link *l, size_t n, struct bm_buf *ret)
{
    while (ret->n < n) {
        uint8_t *to = bm_buf_room(ret, n - ret->n);
        ssize_t r = to != NULL ? get(l, to, n - ret->n) : -1;

        if (r <= 0)
            return false;
        ret->n += (size_t)r;
    }
    return true;
}

static bool read_more(const struct link *l, struct bm_buf *ret)
{
    uint8_t room[HEAD_MAX];
    ssize_t r = get(l, room, sizeof room);

    if (r > 0)
        bm_buf_put(ret, room, (size_t)r);
    return r > 0 && bm_buf_check(ret, NULL) == BM_OK;
}

/* A line with a size in hex, so many bytes, an empty line; the last is of size 0 (RFC 9112 section 7.1). Trailers are not expected. */
static bool read_chunks(const struct link *l, struct bm_buf *raw, struct bm_buf *ret)
{
    for (size_t at = 0;;) {
        const uint8_t *eol = raw->n > at ? memmem(raw->p + at, raw->n - at, "\r\n", 2) : NULL;
        size_t n = eol != NULL ? strtoul((const char *)raw->p + at, NULL, 16) : 0,
               from = eol != NULL ? (size_t)(eol - raw->p) + 2 : 0;

        if (eol == NULL || raw->n < from + n + 2) {
            if (!read_more(l, raw))
                return false;
            continue;
        }
        bm_buf_put(ret, raw->p + from, n);
        at = from + n + 2;
        if (n == 0)
            return true;
    }
}

static bool read_body(const struct link *l, const char *head, const char *end, size_t n, struct bm_buf *ret)
{
    const char *length = strcasestr(head, "\r\ncontent-length:"), *chunked = strcasestr(head, "\r\ntransfer-encoding: chunked");
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = ANSWER_MAX };
    struct bm_buf *to = chunked != NULL && chunked < end ? &raw : ret;

    bm_buf_put(to, end + 4, n - (size_t)(end + 4 - head));
    if (to == &raw)
        return read_chunks(l, &raw, ret);
    return length != NULL && length < end && read_rest(l, strtoul(length + 17, NULL, 10), ret);
}

/* Header and body leave together, as other clients send what is small. */
static bool send_request(const struct link *l, const char *url, const char *path, const char *content_type, struct bm_rd body)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = HEAD_MAX + ANSWER_MAX };

    if (body.n != 0)
        bm_buf_printf(&out, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", path, http_host(url),
                      content_type, body.n);
    else
        bm_buf_printf(&out, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, http_host(url));
    bm_buf_put(&out, body.p, body.n);
    return !out.bad && send_all(l, out.p, out.n);
}

bool http_ask(const struct link *l, const char *url, const char *path, const char *content_type, struct bm_rd body,
              struct bm_buf *ret)
{
    char head[HEAD_MAX], *end;
    size_t n;

    if (!send_request(l, url, path, content_type, body))
        return false;
    end = read_head(l, head, &n);
    ret->max = ANSWER_MAX;
    return end != NULL && strncmp(head + 8, " 200", 4) == 0 && read_body(l, head, end, n, ret);
}

/* --- many at once ------------------------------------------------------------------------------------------------------------------ */
static struct {
    const struct protocol *protocol;
    const char *url, *path;
    const struct bm_buf *requests;
    size_t n;
    atomic_size_t next, refused;
} run;

static bool once(const struct link *l, const struct bm_buf *request)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf answer = { .max = ANSWER_MAX };

    return http_ask(l, run.url, run.path, run.protocol->content_type, bm_rd_of(request->p, request->n), &answer) &&
           run.protocol->granted(bm_buf_rd(&answer));
}

/* A connection in the clear is kept as long as the server keeps it, one over TLS is for one request. */
static void *client(void *unused)
{
    struct link l = { -1, NULL };

    for (size_t i = atomic_fetch_add(&run.next, 1); i < run.n; i = atomic_fetch_add(&run.next, 1)) {
        bool ok = (l.fd >= 0 || http_connect(run.url, &l)) && once(&l, &run.requests[i]);

        atomic_fetch_add(&run.refused, !ok);
        if (!ok || l.tls != NULL)
            http_close(&l);
    }
    http_close(&l);
    return unused;
}

int replay(const struct protocol *p, const char *url, const char *path, const struct bm_buf *requests, size_t n, size_t jobs)
{
    pthread_t *threads = need(calloc(jobs, sizeof *threads));

    run.protocol = p;
    run.url = url;
    run.path = path;
    run.requests = requests;
    run.n = n;
    for (size_t i = 0; i < jobs; i++)
        must(pthread_create(&threads[i], NULL, client, NULL) == 0);
    for (size_t i = 0; i < jobs; i++)
        must(pthread_join(threads[i], NULL) == 0);
    free(threads);
    printf("{\"operations\": %zu, \"refused\": %zu}\n", n, atomic_load(&run.refused));
    return atomic_load(&run.refused) == 0 ? 0 : 1;
}
