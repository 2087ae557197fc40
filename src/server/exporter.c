#include "server/exporter.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "server/http.h"
#include "server/metrics_text.h"
#include "server/readiness.h"
#include "server/response.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 32
#define CLIENT_MS 10000 /* from its connection to its answer taken */
#define SWEEP_MS 500
#define ANSWER_MAX (1024 * 1024)
#define READ_ROOM 4096

struct exporter {
    const struct bm_worker_setup *setup;
    struct event_base *base;
    struct event *control, *sweep, *accepts[BM_LISTEN_MAX];
    LIST_HEAD(clients, client) clients;
    size_t n;
    int status;
};

/* One connection carries one request. */
struct client {
    LIST_ENTRY(client) link;
    struct exporter *of;
    struct event *readable, *writable;
    int fd;
    int64_t deadline_ms;
    struct bm_http http;
    struct bm_buf out;
};

static void drop_event(struct event *ev)
{
    if (ev != NULL)
        event_free(ev);
}

static void client_free(struct client *c)
{
    LIST_REMOVE(c, link);
    c->of->n--;
    drop_event(c->readable);
    drop_event(c->writable);
    close(c->fd);
    bm_http_done(&c->http);
    bm_buf_done(&c->out);
    free(c);
}

/* --- what is served ------------------------------------------------------------------------------------------------------------ */

static void metrics(const struct bm_http *h, struct bm_response *r)
{
    struct bm_rd accept = bm_http_field_get0(h, BM_FIELD_ACCEPT);
    bool open_metrics = accept.n != 0 && memmem(accept.p, accept.n, "application/openmetrics-text", 28) != NULL;

    r->content_type =
        open_metrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8" : "text/plain; version=0.0.4; charset=utf-8";
    bm_metrics_text(&r->body, open_metrics, bm_ready(bm_clock_steady_ms(), bm_clock_s(), NULL), bm_clock_steady_ms());
}

static void readyz(const struct bm_http *h, struct bm_response *r)
{
    (void)h;
    r->content_type = "application/json";
    r->status = bm_ready(bm_clock_steady_ms(), bm_clock_s(), &r->body) ? 200 : 503;
}

static void healthz(const struct bm_http *h, struct bm_response *r)
{
    (void)h;
    r->content_type = "text/plain";
    bm_buf_str(&r->body, "ok\n");
}

static const struct {
    const char *path;
    void (*answer)(const struct bm_http *h, struct bm_response *r);
} pages[] = { { "/metrics", metrics }, { "/readyz", readyz }, { "/healthz", healthz } };

static void find_page(const struct bm_http *h, struct bm_response *r)
{
    struct bm_rd path;

    for (size_t i = 0; bm_http_path_get0(h, &path) && i < BM_COUNT(pages); i++)
        if (bm_rd_eq(path, bm_rd_str(pages[i].path))) {
            pages[i].answer(h, r);
            return;
        }
    r->status = 404;
    r->content_type = "text/plain";
    bm_buf_str(&r->body, "here are /metrics, /readyz and /healthz\n");
}

static void answer(struct client *c)
{
    struct bm_response_head head = { .head_only = c->http.parser.method == HTTP_HEAD, .allow = NULL };
    struct bm_response r = { .status = 200, .no_store = true, .body = { .max = ANSWER_MAX } };

    if (c->http.parser.method == HTTP_GET || c->http.parser.method == HTTP_HEAD) {
        find_page(&c->http, &r);
    } else {
        r.status = 405;
        head.allow = "GET, HEAD";
    }
    if (r.body.bad) {
        bm_buf_done(&r.body);
        r.status = 500;
    }
    bm_response_write(&c->out, &r, &head);
    bm_buf_done(&r.body);
}

/* --- connections --------------------------------------------------------------------------------------------------------------- */

static void send_out(struct client *c)
{
    while (c->out.n != 0) {
        ssize_t n = send(c->fd, c->out.p, c->out.n, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && event_add(c->writable, NULL) == 0)
            return;
        if (n <= 0)
            break;
        bm_buf_drop(&c->out, (size_t)n);
    }
    client_free(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    send_out(arg);
}

/* True when there is something to say. */
static bool take(struct client *c, struct bm_rd in)
{
    static const struct bm_response bad = { .status = 400 };
    static const struct bm_response_head head = { 0 };
    enum bm_http_event event = BM_HTTP_MORE;
    struct bm_error e;

    do {
        if (bm_http_feed(&c->http, &in, &event, &e) != BM_OK || (event == BM_HTTP_HEAD && bm_http_has_body(&c->http))) {
            bm_response_write(&c->out, &bad, &head);
            return true;
        }
    } while (event == BM_HTTP_HEAD);
    if (event == BM_HTTP_DONE)
        answer(c);
    return event == BM_HTTP_DONE;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct client *c = arg;
    uint8_t room[READ_ROOM];
    ssize_t n = recv(fd, room, sizeof room, 0);

    (void)what;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n <= 0) {
        client_free(c);
    } else if (take(c, bm_rd_of(room, (size_t)n))) {
        event_del(c->readable);
        send_out(c);
    }
}

static void client_new(struct exporter *x, int fd)
{
    struct client *c = x->n < CLIENTS_MAX ? calloc(1, sizeof *c) : NULL;

    if (c == NULL) {
        close(fd);
        return;
    }
    c->of = x;
    c->fd = fd;
    c->deadline_ms = bm_clock_steady_ms() + CLIENT_MS;
    c->out.max = ANSWER_MAX + 4096;
    bm_http_init(&c->http);
    LIST_INSERT_HEAD(&x->clients, c, link);
    x->n++;
    c->readable = event_new(x->base, fd, EV_READ | EV_PERSIST, on_readable, c);
    c->writable = event_new(x->base, fd, EV_WRITE, on_writable, c);
    if (c->readable == NULL || c->writable == NULL || event_add(c->readable, NULL) != 0)
        client_free(c);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    int got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)what;
    if (got >= 0)
        client_new(arg, got);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct exporter *x = arg;
    struct client *c, *after;
    int64_t now = bm_clock_steady_ms();

    (void)fd;
    (void)what;
    bm_metrics_alive();
    for (c = LIST_FIRST(&x->clients); c != NULL; c = after) {
        after = LIST_NEXT(c, link);
        if (c->deadline_ms <= now)
            client_free(c);
    }
}

/* A drain and the end of the socket are the same to us: nobody waits for an answer that another scrape would not bring. */
static void on_control(evutil_socket_t fd, short what, void *arg)
{
    struct exporter *x = arg;

    (void)what;
    if (bm_control_ended(fd, x->setup->name, &x->status))
        event_base_loopbreak(x->base);
}

/* --- start and end ------------------------------------------------------------------------------------------------------------- */

static enum bm_rc start(struct exporter *x, struct bm_error *e)
{
    const struct timeval sweep = { .tv_usec = SWEEP_MS * 1000 };
    bool ok;

    x->base = event_base_new();
    if (x->base == NULL)
        return bm_fail(e, BM_NOMEM, "event loop: out of memory");
    x->control = event_new(x->base, x->setup->control_fd, EV_READ | EV_PERSIST, on_control, x);
    x->sweep = event_new(x->base, -1, EV_PERSIST, on_sweep, x);
    ok = x->control != NULL && x->sweep != NULL && event_add(x->control, NULL) == 0 && event_add(x->sweep, &sweep) == 0;
    for (size_t i = 0; ok && i < x->setup->listeners->n; i++) {
        x->accepts[i] = event_new(x->base, x->setup->listeners->at[i].fd, EV_READ | EV_PERSIST, on_accept, x);
        ok = x->accepts[i] != NULL && event_add(x->accepts[i], NULL) == 0;
    }
    if (!ok)
        return bm_fail(e, BM_NOMEM, "event loop: out of memory");
    if (bm_confine(x->setup->confine, BM_ROLE_WORKER, NULL, 0, e) != BM_OK) /* nothing has been read from anybody yet */
        return e->rc;
    return bm_control_ready(x->setup->control_fd, e);
}

static void finish(struct exporter *x)
{
    while (!LIST_EMPTY(&x->clients))
        client_free(LIST_FIRST(&x->clients));
    for (size_t i = 0; i < BM_LISTEN_MAX; i++)
        drop_event(x->accepts[i]);
    bm_listeners_close(x->setup->listeners);
    drop_event(x->control);
    drop_event(x->sweep);
    if (x->base != NULL)
        event_base_free(x->base);
    close(x->setup->control_fd);
}

int bm_exporter_run(const struct bm_worker_setup *setup)
{
    struct exporter x = { .setup = setup };
    struct bm_error e = { 0 };

    LIST_INIT(&x.clients);
    if (start(&x, &e) != BM_OK) {
        bm_log(BM_LOG_ERROR, "start", "reason=\"%s\"", e.what);
        x.status = 1;
    } else if (event_base_dispatch(x.base) < 0) {
        x.status = 1;
    }
    finish(&x);
    return x.status;
}
