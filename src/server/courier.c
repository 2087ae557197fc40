#include "server/courier_impl.h"

#include "base/metrics.h"
#include "base/text.h"
#include "keeper/wire.h"
#include "server/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SWEEP_MS 500
#define AGAIN_MS 1000 /* when the keeper could not take what we said */

const char *const bm_courier_files[] = { "/etc/ssl/certs",       "/etc/ssl/openssl.cnf", "/usr/share/ca-certificates",
                                         "/usr/lib/ssl",         "/etc/pki/tls",         "/etc/resolv.conf",
                                         "/run/systemd/resolve", "/etc/hosts",           "/etc/nsswitch.conf",
                                         "/etc/host.conf",       "/etc/localtime",       NULL };

static void ask(struct bm_courier *c);

/* --- jobs ------------------------------------------------------------------------------------------------------------------------ */
static void trip_free(struct bm_trip *j)
{
    bm_resolver_forget(j->of->resolver, j);
    bm_trip_http_free(j);
    bm_trip_tls_free(j);
    if (j->deadline != NULL)
        event_free(j->deadline);
    bm_buf_done(&j->bytes);
    bm_buf_done(&j->answer);
    free(j);
}

/* What carried it out is let go; the task with its keys is wiped. */
static void finish(struct bm_trip *j)
{
    struct bm_courier *c = j->of;

    bm_resolver_forget(c->resolver, j);
    bm_trip_http_free(j);
    bm_trip_tls_free(j);
    event_del(j->deadline);
    bm_buf_done(&j->bytes);
    j->task = (struct bm_task){ 0 };
    TAILQ_REMOVE(&c->running, j, link);
    TAILQ_INSERT_TAIL(&c->finished, j, link);
    c->n_running--;
    c->n_finished++;
    ask(c);
}

void bm_trip_answer(struct bm_trip *j, const struct bm_task_answer *a)
{
    if (j->ended)
        return;
    j->ended = true;
    j->answer.max = BM_TASK_LARGE_MAX + BM_COMMAND_MAX;
    bm_task_answer_write(&j->answer, a);
    finish(j);
}

void bm_trip_fail(struct bm_trip *j, bool retry, const char *code, const char *fmt, ...)
{
    struct bm_task_answer a = { .failed = true, .retry = retry };
    char text[sizeof a.what];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(a.code, sizeof a.code, "%s", code);
    bm_text_escape(bm_rd_str(text), a.what, sizeof a.what); /* there may be words of a peer in it */
    bm_trip_answer(j, &a);
}

bool bm_trip_may(const struct bm_trip *j, const struct sockaddr *a)
{
    return !j->task.foreign || bm_address_reachable(a, &j->of->networks);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct bm_trip *j = arg;

    (void)fd;
    (void)what;
    bm_trip_fail(j, true, "outbound-timeout", "no whole answer within %u seconds", j->task.timeout_ms / 1000);
}

static void carry_out(struct bm_trip *j)
{
    static void (*const how[])(struct bm_trip *) = {
        [BM_TASK_HTTP] = bm_trip_fetch, [BM_TASK_DNS_TXT] = bm_trip_lookup_txt, [BM_TASK_TLS] = bm_trip_handshake
    };
    const struct timeval limit = { .tv_sec = j->task.timeout_ms / 1000, .tv_usec = j->task.timeout_ms % 1000 * 1000 };

    if (event_add(j->deadline, &limit) != 0)
        bm_trip_fail(j, true, "outbound-memory", "the courier is out of memory");
    else
        how[j->task.kind](j);
}

static void take_work(struct bm_courier *c, const struct bm_errand_work *w)
{
    struct bm_trip *j = calloc(1, sizeof *j);
    struct bm_error e;

    if (j == NULL)
        return; /* its lease ends, and it comes again */
    *j = (struct bm_trip){ .of = c, .id = w->id, .token = w->token, .bytes = { .max = BM_TASK_MAX } };
    bm_buf_put(&j->bytes, w->task.p, w->task.n);
    j->deadline = event_new(c->base, -1, 0, on_deadline, j);
    if (j->deadline == NULL || j->bytes.bad) {
        trip_free(j);
        return;
    }
    TAILQ_INSERT_TAIL(&c->running, j, link);
    c->n_running++;
    if (bm_task_parse(bm_buf_rd(&j->bytes), &j->task, &e) == BM_OK)
        carry_out(j);
    else
        bm_trip_fail(j, false, "outbound-task", "%s", e.what);
}

/* --- the keeper ------------------------------------------------------------------------------------------------------------------ */
static void drop_reported(struct bm_courier *c)
{
    while (c->n_reported != 0) {
        struct bm_trip *j = TAILQ_FIRST(&c->finished);

        TAILQ_REMOVE(&c->finished, j, link);
        trip_free(j);
        c->n_finished--;
        c->n_reported--;
    }
}

static void wait_and_ask(struct bm_courier *c)
{
    const struct timeval wait = { .tv_usec = AGAIN_MS % 1000 * 1000, .tv_sec = AGAIN_MS / 1000 };

    (void)event_add(c->again, &wait);
}

static void on_given(void *arg, uint8_t type, struct bm_rd payload)
{
    struct bm_courier *c = arg;
    struct bm_errand_given g = { 0 };
    struct bm_error e = { 0 };

    c->asking = false;
    if (type == 0)
        return; /* the link's end is told apart */
    if (type != (BM_CMD_ERRAND | BM_ANSWER) || bm_errand_given_parse(payload, &g, &e) != BM_OK) {
        c->n_reported = 0; /* it is all told again */
        wait_and_ask(c);
        return;
    }
    c->greeted = true;
    drop_reported(c);
    for (size_t i = 0; i < g.n; i++)
        take_work(c, &g.work[i]);
    if (c->once_more || c->n_finished != 0)
        ask(c);
}

static size_t gather(struct bm_courier *c, struct bm_errand_report *ret)
{
    size_t n = 0, bytes = 0;

    for (struct bm_trip *j = TAILQ_FIRST(&c->finished); j != NULL; j = TAILQ_NEXT(j, link)) {
        if (n == BM_ERRANDS_AT_ONCE || (n != 0 && bytes + j->answer.n > BM_COMMAND_MAX / 2))
            break;
        bytes += j->answer.n;
        ret[n++] = (struct bm_errand_report){ .id = j->id, .token = j->token, .answer = bm_buf_rd(&j->answer) };
    }
    return n;
}

/* One question at a time: what happens meanwhile goes into the next. */
static void ask(struct bm_courier *c)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = BM_ERRAND_COMMAND_MAX };
    struct bm_errand_ask a = { .fresh = !c->greeted };
    struct bm_error e;
    size_t busy = c->n_running + c->n_finished;

    c->once_more = c->asking;
    if (c->asking)
        return;
    a.n = c->n_reported = gather(c, a.reports);
    busy -= a.n;
    a.room = busy < BM_ERRANDS_AT_ONCE ? (uint16_t)(BM_ERRANDS_AT_ONCE - busy) : 0;
    bm_errand_ask_write(&out, &a);
    c->asking = true;
    if (bm_link_send(c->link, BM_CMD_ERRAND, bm_buf_rd(&out), on_given, c, NULL, &e) == BM_OK)
        return;
    c->asking = false;
    c->n_reported = 0;
    wait_and_ask(c);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    ask(arg);
}

static void on_changed(void *arg)
{
    ask(arg);
}

static void on_keeper_gone(void *arg)
{
    struct bm_courier *c = arg;

    c->status = 1;
    event_base_loopbreak(c->base);
}

/* --- the supervisor -------------------------------------------------------------------------------------------------------------- */
/* A drain and the end of the socket are the same to us: what is under way is carried out again by the next courier. */
static void on_control(evutil_socket_t fd, short what, void *arg)
{
    struct bm_courier *c = arg;

    (void)what;
    if (bm_control_ended(fd, c->setup->name, &c->status))
        event_base_loopbreak(c->base);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    bm_metrics_alive();
}

/* --- start and end --------------------------------------------------------------------------------------------------------------- */
static enum bm_rc confine(const struct bm_courier *c, struct bm_error *e)
{
    struct bm_confine_path paths[16] = { 0 };
    size_t n = 0;

    _Static_assert(BM_COUNT(bm_courier_files) <= BM_COUNT(paths), "room for all of them");
    for (; bm_courier_files[n] != NULL; n++)
        paths[n].path = bm_courier_files[n];
    return bm_confine(c->setup->confine, BM_ROLE_COURIER, paths, n, e);
}

static enum bm_rc make_events(struct bm_courier *c, struct bm_error *e)
{
    const struct timeval sweep = { .tv_usec = SWEEP_MS * 1000 };

    c->base = event_base_new();
    if (c->base == NULL)
        return bm_fail(e, BM_NOMEM, "event loop: out of memory");
    c->control = event_new(c->base, c->setup->control_fd, EV_READ | EV_PERSIST, on_control, c);
    c->sweep = event_new(c->base, -1, EV_PERSIST, on_sweep, c);
    c->again = event_new(c->base, -1, 0, on_again, c);
    if (c->control == NULL || c->sweep == NULL || c->again == NULL || event_add(c->control, NULL) != 0 ||
        (bm_metrics_on() && event_add(c->sweep, &sweep) != 0))
        return bm_fail(e, BM_NOMEM, "event loop: out of memory");
    return BM_OK;
}

static enum bm_rc start(struct bm_courier *c, struct bm_error *e)
{
    const struct bm_link_events events = { on_changed, on_keeper_gone, c };
    enum bm_rc rc = bm_networks_parse(c->setup->validation_networks, &c->networks, e);

    if (rc == BM_OK)
        rc = make_events(c, e);
    if (rc == BM_OK)
        rc = bm_resolver_new(c, &c->resolver, e);
    if (rc == BM_OK)
        rc = bm_fetcher_new(c, &c->fetcher, e);
    if (rc == BM_OK && fcntl(c->setup->keeper_fd, F_SETFL, O_NONBLOCK) != 0)
        rc = bm_fail(e, BM_IO, "keeper socket: %s", strerror(errno));
    if (rc == BM_OK)
        rc = bm_link_new(c->base, c->setup->keeper_fd, events, &c->link, e);
    if (rc == BM_OK)
        rc = confine(c, e); /* nothing has been read from anybody yet */
    if (rc != BM_OK)
        return rc;
    ask(c);
    return bm_control_ready(c->setup->control_fd, e);
}

static void drop_event(struct event *ev)
{
    if (ev != NULL)
        event_free(ev);
}

static void drop_trips(struct bm_trips *jobs)
{
    struct bm_trip *j;

    while ((j = TAILQ_FIRST(jobs)) != NULL) {
        TAILQ_REMOVE(jobs, j, link);
        j->ended = true;
        trip_free(j);
    }
}

static void end(struct bm_courier *c)
{
    drop_trips(&c->running);
    drop_trips(&c->finished);
    bm_fetcher_free(c->fetcher);
    bm_resolver_free(c->resolver);
    bm_link_free(c->link);
    SSL_CTX_free(c->tls);
    drop_event(c->control);
    drop_event(c->sweep);
    drop_event(c->again);
    if (c->base != NULL)
        event_base_free(c->base);
    close(c->setup->control_fd);
}

int bm_courier_run(const struct bm_courier_setup *setup)
{
    struct bm_courier c = { .setup = setup };
    struct bm_error e = { 0 };

    (void)prctl(PR_SET_NAME, "bm-courier"); /* who looks at what goes out of this machine sees whose it is */
    TAILQ_INIT(&c.running);
    TAILQ_INIT(&c.finished);
    if (start(&c, &e) != BM_OK) {
        bm_log(BM_LOG_ERROR, "start", "reason=\"%s\"", e.what);
        c.status = 1;
    } else if (event_base_dispatch(c.base) < 0) {
        c.status = 1;
    }
    end(&c);
    return c.status;
}
