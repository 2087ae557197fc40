#include "server/coap.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "server/coap_impl.h"
#include "server/tls_raw_key.h"
#include "server/view_holder.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SWEEP_MS 250
#define DATAGRAMS_PER_TURN 64

struct process {
    struct coap c;
    struct bm_worker_settings settings;
    struct event *control, *sweep, *term, *readable[BM_LISTEN_MAX];
    struct source {
        struct process *p;
        size_t listener;
    } sources[BM_LISTEN_MAX];
    struct bm_view_holder view;
    bool has_served; /* said so to the supervisor once */
    int64_t drain_until_ms;
    int status;
};

static void stop(struct process *p, int status)
{
    p->status = status;
    event_base_loopbreak(p->c.base);
}

/* --- datagrams ------------------------------------------------------------------------------------------------------------------------- */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    const struct source *from = arg;
    struct coap *c = &from->p->c;
    struct bm_coap_ends ends;
    struct bm_rd datagram;

    (void)fd, (void)what;
    for (int i = 0; i < DATAGRAMS_PER_TURN && bm_coap_receive(c, from->listener, &ends, &datagram); i++)
        bm_coap_datagram(c, &ends, datagram);
}

static void drain(struct process *p)
{
    if (p->c.draining)
        return;
    p->drain_until_ms = bm_clock_steady_ms() + (int64_t)p->settings.drain_s * 1000;
    bm_coap_drain(&p->c);
    if (p->c.n == 0)
        stop(p, 0);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct process *p = arg;
    int64_t now = bm_clock_steady_ms();

    (void)fd, (void)what;
    bm_metrics_alive();
    bm_coap_sweep(&p->c, now);
    if (p->c.draining && (p->c.n == 0 || now >= p->drain_until_ms))
        stop(p, 0);
}

/* --- the view -------------------------------------------------------------------------------------------------------------------------- */
/* Sessions that began with the context before hold their own reference. */
static enum bm_rc use_view(void *arg, const struct bm_view *view, struct bm_error *e)
{
    struct coap *c = &((struct process *)arg)->c;
    SSL_CTX *tls = NULL;
    enum bm_rc rc = bm_dtls_context(view, &c->cookies, &tls, e);

    if (rc != BM_OK)
        return rc;
    SSL_free(c->door);
    c->door = NULL;
    SSL_CTX_free(c->tls);
    c->tls = tls;
    c->view = view;
    return BM_OK;
}

static void on_view(void *arg)
{
    static const char ready = BM_WORKER_READY;
    struct process *p = arg;

    bm_log(BM_LOG_DEBUG, "view", "version=%llu", (unsigned long long)p->c.view->version);
    for (size_t i = 0; !p->has_served && i < p->c.setup->listeners->n; i++) {
        if (event_add(p->readable[i], NULL) != 0)
            stop(p, 1);
    }
    p->has_served = true;
    if (send(p->c.setup->control_fd, &ready, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
        bm_log(BM_LOG_DEBUG, "control", "the supervisor does not listen");
}

static void on_no_view(void *arg)
{
    stop(arg, 1);
}

static void on_changed(void *arg)
{
    bm_view_ask(&((struct process *)arg)->view);
}

static void on_keeper_gone(void *arg)
{
    struct process *p = arg;

    if (!p->c.draining)
        bm_log(BM_LOG_INFO, "keeper-gone", "stopping");
    stop(p, 1);
}

/* --- orders ---------------------------------------------------------------------------------------------------------------------------- */
static void apply(struct process *p, const struct bm_worker_settings *s)
{
    p->settings = *s;
    p->c.per_address = s->per_address;
    p->c.sessions_max = s->coap_sessions;
    p->c.handshakes_max = s->coap_handshakes;
    p->c.idle_ms = (int64_t)s->coap_idle_s * 1000;
    p->c.budget.max = (size_t)s->coap_bodies_mb << 20;
    bm_log_init(p->c.setup->name, s->log_level);
    if (p->view.link != NULL)
        bm_view_ask(&p->view);
}

static void on_control(evutil_socket_t fd, short what, void *arg)
{
    struct process *p = arg;
    struct bm_worker_settings settings;
    enum bm_control order = bm_control_take(fd, &settings);

    (void)what;
    if (order == BM_CONTROL_SETTINGS)
        apply(p, &settings);
    else if (order == BM_CONTROL_DRAIN)
        drain(p);
    else if (order == BM_CONTROL_GONE)
        stop(p, 1);
}

static void on_term(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    drain(arg);
}

/* --- start and end --------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc make_events(struct process *p, struct bm_error *e)
{
    const struct timeval sweep = { .tv_usec = SWEEP_MS * 1000 };
    const struct bm_worker_setup *setup = p->c.setup;
    bool ok;

    p->control = event_new(p->c.base, setup->control_fd, EV_READ | EV_PERSIST, on_control, p);
    p->sweep = event_new(p->c.base, -1, EV_PERSIST, on_sweep, p);
    p->term = evsignal_new(p->c.base, SIGTERM, on_term, p);
    ok = p->control != NULL && p->sweep != NULL && p->term != NULL && event_add(p->control, NULL) == 0 &&
         event_add(p->sweep, &sweep) == 0 && event_add(p->term, NULL) == 0;
    for (size_t i = 0; ok && i < setup->listeners->n; i++) {
        p->sources[i] = (struct source){ p, i };
        p->readable[i] = event_new(p->c.base, setup->listeners->at[i].fd, EV_READ | EV_PERSIST, on_readable, &p->sources[i]);
        ok = p->readable[i] != NULL;
    }
    return ok ? BM_OK : bm_fail(e, BM_NOMEM, "event loop: out of memory");
}

static enum bm_rc init(struct process *p, struct bm_error *e)
{
    struct coap *c = &p->c;

    TAILQ_INIT(&c->sessions);
    c->payload.max = BM_COMMAND_MAX;
    c->out.max = 2 * BM_COAP_MTU;
    c->base = event_base_new();
    if (c->base == NULL || RAND_bytes((unsigned char *)&c->seed, sizeof c->seed) != 1)
        return bm_fail(e, BM_NOMEM, "event loop: out of memory");
    if (fcntl(c->setup->keeper_fd, F_SETFL, O_NONBLOCK) != 0)
        return bm_fail(e, BM_IO, "keeper socket: %s", strerror(errno));
    return bm_dtls_cookies_init(&c->cookies, e);
}

static enum bm_rc start(struct process *p, struct bm_error *e)
{
    const struct bm_link_events events = { on_changed, on_keeper_gone, p };
    enum bm_rc rc = init(p, e);

    if (rc == BM_OK)
        rc = bm_peers_new(&p->c.peers, e);
    if (rc == BM_OK)
        rc = make_events(p, e);
    if (rc == BM_OK)
        rc = bm_link_new(p->c.base, p->c.setup->keeper_fd, events, &p->c.link, e);
    if (rc != BM_OK)
        return rc;
    p->view = (struct bm_view_holder){ .link = p->c.link, .use = use_view, .used = on_view, .none = on_no_view, .arg = p };
    apply(p, &p->c.setup->settings);
    bm_log(BM_LOG_INFO, "dtls", "library=\"%s\" raw_public_keys=%s", OpenSSL_version(OPENSSL_VERSION),
           bm_tls_has_raw_keys() ? "yes" : "no");
    return bm_confine(p->c.setup->confine, BM_ROLE_WORKER, NULL, 0, e); /* nothing has been read from anybody yet */
}

static void drop_event(struct event *ev)
{
    if (ev != NULL)
        event_free(ev);
}

static void finish(struct process *p)
{
    struct coap *c = &p->c;

    while (!TAILQ_EMPTY(&c->sessions))
        bm_coap_session_free(TAILQ_FIRST(&c->sessions));
    if (c->link != NULL)
        bm_link_free(c->link);
    else
        close(c->setup->keeper_fd);
    drop_event(p->control);
    drop_event(p->sweep);
    drop_event(p->term);
    for (size_t i = 0; i < BM_LISTEN_MAX; i++)
        drop_event(p->readable[i]);
    bm_listeners_close(c->setup->listeners);
    SSL_free(c->door);
    SSL_CTX_free(c->tls);
    bm_view_drop(&p->view);
    bm_peers_free(c->peers);
    bm_buf_done(&c->payload);
    bm_buf_done(&c->out);
    if (c->base != NULL)
        event_base_free(c->base);
    close(c->setup->control_fd);
}

int bm_coap_run(const struct bm_worker_setup *setup)
{
    struct process *p = calloc(1, sizeof *p);
    struct bm_error e = { 0 };
    int status;

    (void)prctl(PR_SET_NAME, "bm-coap");
    bm_log_init(setup->name, setup->settings.log_level);
    if (p == NULL)
        return 1;
    p->c.setup = setup;
    if (start(p, &e) != BM_OK) {
        bm_log(BM_LOG_ERROR, "start", "reason=\"%s\"", e.what);
        p->status = 1;
    } else if (event_base_dispatch(p->c.base) < 0) {
        p->status = 1;
    }
    finish(p);
    status = p->status;
    free(p);
    return status;
}
