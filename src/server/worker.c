#include "server/worker.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "server/admission.h"
#include "server/conn.h"
#include "server/staple.h"
#include "server/tls.h"
#include "server/view_holder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 8 /* so that a burst spreads over the workers */
#define TAKEN_PER_TURN 64  /* of these, the others are sent away */
#define SENT_AWAY_PER_SWEEP 1024
#define SWEEP_MS 500
#define DISPATCH_MAX 8 /* callbacks between two looks at the sockets */
#define VIEW_RETRY_S 1

struct worker {
    const struct bm_worker_setup *setup;
    struct bm_worker_settings settings;
    struct bm_conn_world world;
    struct bm_conns *conns;
    struct event *control, *sweep, *term;
    struct acceptor {
        struct worker *worker;
        const struct bm_listener *listener;
        struct event *ev;
        struct bm_admission queue;
        bool waited_before; /* somebody was in the queue at the last sweep, while we were full */
    } accepts[BM_LISTEN_MAX];
    struct bm_view_holder view;
    struct bm_staple *staple;
    bool has_served; /* said so to the supervisor once */
    bool accepting, draining;
    int64_t drain_until_ms;
    int status;
};

static void stop(struct worker *w, int status)
{
    w->status = status;
    event_base_loopbreak(w->world.base);
}

/* --- accepting ----------------------------------------------------------------------------------------------------------------- */

static void accept_on(struct worker *w, bool on)
{
    if (w->accepting == on)
        return;
    w->accepting = on;
    for (size_t i = 0; i < w->setup->listeners->n; i++) {
        if ((on ? event_add(w->accepts[i].ev, NULL) : event_del(w->accepts[i].ev)) != 0)
            stop(w, 1);
    }
}

static bool has_room(const struct worker *w)
{
    return w->view.view != NULL && !w->draining && bm_conns_n(w->conns) < w->settings.connections;
}

static bool lets_in(struct worker *w, const struct acceptor *a, int fd, const struct sockaddr *from, int64_t now)
{
    if (!bm_admission_standing(&a->queue, now))
        return true;
    return bm_admission_lets_in(bm_admission_waited(fd), bm_conns_from(w->conns, from));
}

static void send_away(const struct acceptor *a, int fd)
{
    bm_metric_add(BM_M_CONNECTIONS_REFUSED, BM_REFUSED_BUSY, 0, 1);
    bm_admission_refuse(fd, a->listener->door == BM_DOOR_PLAIN);
}

enum taken { LET_IN, SENT_AWAY, NONE };

static enum taken accept_failed(struct worker *w, struct acceptor *a)
{
    if (errno == ECONNABORTED || errno == EINTR)
        return SENT_AWAY;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        bm_log(BM_LOG_WARN, "accept", "error=\"%s\" connections=%zu", strerror(errno), bm_conns_n(w->conns));
        accept_on(w, false); /* the sweep takes it up again */
    } else {
        bm_admission_empty(&a->queue);
    }
    return NONE;
}

static enum taken take_one(struct worker *w, struct acceptor *a, int64_t now)
{
    struct sockaddr_storage from;
    socklen_t n = sizeof from;
    int fd = accept4(a->listener->fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return accept_failed(w, a);
    if (lets_in(w, a, fd, (const struct sockaddr *)&from, now)) {
        bm_conns_add(w->conns, fd, (const struct sockaddr *)&from, a->listener->door);
        return LET_IN;
    }
    send_away(a, fd);
    return SENT_AWAY;
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct acceptor *a = arg;
    struct worker *w = a->worker;
    int64_t now = bm_clock_steady_ms();
    int let_in = 0;

    (void)fd;
    (void)what;
    bm_admission_waiting(&a->queue, now);
    for (int i = 0; i < TAKEN_PER_TURN && let_in < ACCEPTS_PER_TURN && has_room(w); i++) {
        enum taken t = take_one(w, a, now);

        if (t == NONE)
            break;
        let_in += t == LET_IN;
    }
    if (!has_room(w))
        accept_on(w, false);
}

/* We are full, and so are the other workers, or they would have emptied the queue since the last sweep. Nobody is left to wait in vain. */
static void send_waiting_away(struct worker *w, struct acceptor *a)
{
    bool waiting = bm_admission_queue(a->listener->fd) != 0, before = a->waited_before;
    int fd = 0;

    a->waited_before = waiting;
    for (int i = 0; waiting && before && i < SENT_AWAY_PER_SWEEP && fd >= 0; i++) {
        fd = accept4(a->listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            (void)accept_failed(w, a);
        else
            send_away(a, fd);
    }
}

static void on_closed(void *arg)
{
    struct worker *w = arg;

    if (w->draining && bm_conns_n(w->conns) == 0)
        stop(w, 0);
    else if (!w->accepting && has_room(w))
        accept_on(w, true);
}

static void drop_event(struct event *ev)
{
    if (ev != NULL)
        event_free(ev);
}

static void close_listeners(struct worker *w)
{
    for (size_t i = 0; i < w->setup->listeners->n; i++) {
        drop_event(w->accepts[i].ev);
        w->accepts[i].ev = NULL;
    }
    bm_listeners_close(w->setup->listeners);
    w->accepting = false;
}

static void drain(struct worker *w)
{
    if (w->draining)
        return;
    w->draining = true;
    w->drain_until_ms = bm_clock_steady_ms() + (int64_t)w->settings.drain_s * 1000;
    close_listeners(w); /* so that newcomers are refused, and go elsewhere, in place of waiting */
    bm_conns_drain(w->conns);
    if (bm_conns_n(w->conns) == 0)
        stop(w, 0);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    int64_t now = bm_clock_steady_ms();

    (void)fd;
    (void)what;
    bm_metrics_alive();
    bm_conns_sweep(w->conns, now);
    if (w->draining && now >= w->drain_until_ms)
        stop(w, 0);
    else if (!w->accepting && has_room(w))
        accept_on(w, true);
    for (size_t i = 0; w->view.view != NULL && !has_room(w) && i < w->setup->listeners->n; i++)
        send_waiting_away(w, &w->accepts[i]);
}

/* --- the view ------------------------------------------------------------------------------------------------------------------ */

static enum bm_rc use_view(void *arg, const struct bm_view *view, struct bm_error *e)
{
    struct worker *w = arg;
    SSL_CTX *tls = NULL;
    enum bm_rc rc = bm_tls_context(view, &tls, e);

    if (rc != BM_OK)
        return rc;
    SSL_CTX_free(w->world.tls); /* open connections hold their own reference */
    w->world.tls = tls;
    w->world.router.view = view;
    return BM_OK;
}

static void serving(struct worker *w)
{
    struct bm_error e;

    w->has_served = true;
    bm_log(BM_LOG_DEBUG, "view", "version=%llu", (unsigned long long)w->view.view->version);
    if (!w->accepting && has_room(w))
        accept_on(w, true);
    if (bm_control_ready(w->setup->control_fd, &e) != BM_OK)
        bm_log(BM_LOG_DEBUG, "control", "%s", e.what);
}

/* The very first handshake may be one that has to have a staple (RFC 7633); later ones have the one before until the next is there. */
static void on_staple(void *arg)
{
    struct worker *w = arg;

    if (!w->has_served)
        serving(w);
}

static void on_view(void *arg)
{
    struct worker *w = arg;

    bm_staple_use(w->staple, w->world.tls);
    if (w->has_served)
        serving(w);
}

static void on_no_view(void *arg)
{
    stop(arg, 1);
}

static void on_changed(void *arg)
{
    bm_view_ask(&((struct worker *)arg)->view);
}

static void on_keeper_gone(void *arg)
{
    struct worker *w = arg;

    w->world.router.keeper_alive = false;
    if (!w->draining)
        bm_log(BM_LOG_INFO, "keeper-gone", "stopping");
    stop(w, 1);
}

/* --- orders -------------------------------------------------------------------------------------------------------------------- */

static void apply(struct worker *w, const struct bm_worker_settings *s)
{
    w->settings = *s;
    w->world.per_address = s->per_address;
    w->world.idle_ms = (int)s->idle_s * 1000;
    bm_log_init(w->setup->name, s->log_level);
    if (w->view.link != NULL)
        bm_view_ask(&w->view);
}

static void on_control(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    struct bm_worker_settings settings;
    enum bm_control order = bm_control_take(fd, &settings);

    (void)what;
    if (order == BM_CONTROL_SETTINGS)
        apply(w, &settings);
    else if (order == BM_CONTROL_DRAIN)
        drain(w);
    else if (order == BM_CONTROL_GONE)
        stop(w, 1);
}

static void on_term(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    drain(arg);
}

/* --- start and end ------------------------------------------------------------------------------------------------------------- */

static struct event_base *make_base(void)
{
    const struct timeval dispatch = { .tv_usec = 20000 };
    struct event_config *c = event_config_new();
    struct event_base *base = NULL;

    /* Connections that put themselves back in the queue (conn.c, TURNS_MAX) must not keep the sockets waiting. */
    if (c != NULL && event_config_set_flag(c, EVENT_BASE_FLAG_NOLOCK) == 0 &&
        event_config_set_max_dispatch_interval(c, &dispatch, DISPATCH_MAX, 0) == 0)
        base = event_base_new_with_config(c);
    if (base != NULL && event_base_priority_init(base, BM_CONN_PRIORITIES) != 0) {
        event_base_free(base);
        base = NULL;
    }
    if (c != NULL)
        event_config_free(c);
    return base;
}

static enum bm_rc make_events(struct worker *w, struct bm_error *e)
{
    const struct timeval sweep = { .tv_usec = SWEEP_MS * 1000 };
    struct event_base *b = w->world.base;
    bool ok;

    w->control = event_new(b, w->setup->control_fd, EV_READ | EV_PERSIST, on_control, w);
    w->sweep = event_new(b, -1, EV_PERSIST, on_sweep, w);
    w->term = evsignal_new(b, SIGTERM, on_term, w);
    ok = w->control != NULL && w->sweep != NULL && w->term != NULL && event_add(w->control, NULL) == 0 &&
         event_add(w->sweep, &sweep) == 0 && event_add(w->term, NULL) == 0;
    for (size_t i = 0; ok && i < w->setup->listeners->n; i++) {
        struct acceptor *a = &w->accepts[i];

        *a = (struct acceptor){ .worker = w, .listener = &w->setup->listeners->at[i] };
        a->ev = event_new(b, a->listener->fd, EV_READ | EV_PERSIST, on_accept, a);
        ok = a->ev != NULL && event_priority_set(a->ev, BM_CONN_NEWCOMER) == 0;
    }
    return ok ? BM_OK : bm_fail(e, BM_NOMEM, "event loop: out of memory");
}

static enum bm_rc start(struct worker *w, struct bm_error *e)
{
    const struct bm_link_events events = { on_changed, on_keeper_gone, w };
    enum bm_rc rc;

    w->world.base = make_base();
    if (w->world.base == NULL)
        return bm_fail(e, BM_NOMEM, "event loop: out of memory");
    w->world.closed = on_closed;
    w->world.arg = w;
    rc = bm_conns_new(&w->world, &w->conns, e);
    if (rc == BM_OK)
        rc = make_events(w, e);
    if (rc == BM_OK)
        rc = fcntl(w->setup->keeper_fd, F_SETFL, O_NONBLOCK) == 0 ? BM_OK : bm_fail(e, BM_IO, "keeper socket: %s", strerror(errno));
    if (rc == BM_OK)
        rc = bm_link_new(w->world.base, w->setup->keeper_fd, events, &w->world.link, e);
    if (rc == BM_OK)
        rc = bm_staple_new(w->world.base, w->world.link, on_staple, w, &w->staple, e);
    if (rc != BM_OK)
        return rc;
    w->world.router.keeper_alive = true;
    w->view = (struct bm_view_holder){ .link = w->world.link, .use = use_view, .used = on_view, .none = on_no_view, .arg = w };
    apply(w, &w->setup->settings);
    return bm_confine(w->setup->confine, BM_ROLE_WORKER, NULL, 0, e); /* nothing has been read from anybody yet */
}

static void finish(struct worker *w)
{
    w->draining = true; /* connections that close now make no room */
    bm_conns_free(w->conns);
    if (w->world.link != NULL)
        bm_link_free(w->world.link);
    else
        close(w->setup->keeper_fd);
    drop_event(w->control);
    drop_event(w->sweep);
    drop_event(w->term);
    close_listeners(w);
    bm_view_drop(&w->view);
    SSL_CTX_free(w->world.tls);
    bm_staple_free(w->staple);
    if (w->world.base != NULL)
        event_base_free(w->world.base);
    close(w->setup->control_fd);
}

int bm_worker_run(const struct bm_worker_setup *setup)
{
    struct worker w = { .setup = setup, .settings = setup->settings };
    struct bm_error e = { 0 };

    bm_log_init(setup->name, setup->settings.log_level);
    if (start(&w, &e) != BM_OK) {
        bm_log(BM_LOG_ERROR, "start", "reason=\"%s\"", e.what);
        w.status = 1;
    } else {
        struct bm_conn_counts n;

        if (event_base_dispatch(w.world.base) < 0)
            w.status = 1;
        n = bm_conns_counts(w.conns);
        bm_log(BM_LOG_INFO, "stopped", "connections=%llu requests=%llu refusals=%llu cpu_us=%lld",
               (unsigned long long)n.connections, (unsigned long long)n.requests, (unsigned long long)n.refusals,
               (long long)bm_clock_cpu_us());
    }
    finish(&w);
    return w.status;
}
