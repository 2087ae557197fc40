#include "server/conn_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/text.h"

#include <stdio.h>

#define LARGE (256 * 1024) /* an answer from here on is a large one, and only so many are in memory at a time: peers may be slow */
#define LARGE_MAX 64

static void count_answer(const struct conn *c)
{
    unsigned operation = bm_route_operation(&c->x);
    char status[8];

    snprintf(status, sizeof status, "%d", c->x.r.status);
    bm_metric_add(BM_M_REQUESTS, operation, bm_metric_label_find(&bm_label_status, status), 1);
    if (c->asked_us != 0)
        bm_metric_observe(BM_M_REQUEST_SECONDS, operation, (uint64_t)(bm_clock_steady_us() - c->asked_us));
    if (c->x.code[0] != '\0')
        bm_metric_refusal(c->x.code);
}

static void log_answer(const struct conn *c)
{
    const struct bm_exchange *x = &c->x;
    char path[128];

    if (x->code[0] == '\0') {
        bm_log(BM_LOG_DEBUG, "answered", "correlation=%s operation=%s status=%d peer=%s", x->q.correlation, x->op->name,
               x->r.status, x->q.peer);
        return;
    }
    c->all->counts.refusals++;
    if (x->op != NULL)
        bm_log(BM_LOG_INFO, "refused", "correlation=%s operation=%s code=%s status=%d peer=%s", x->q.correlation, x->op->name,
               x->code, x->r.status, x->q.peer);
    else
        bm_log(BM_LOG_DEBUG, "refused", "correlation=%s path=%s code=%s status=%d peer=%s", x->q.correlation,
               bm_text_escape(x->q.path, path, sizeof path), x->code, x->r.status, x->q.peer);
}

/* After the answer has left: the next request, or the end. */
static enum next answered(struct conn *c)
{
    c->all->n_large -= c->large;
    c->large = false;
    if (c->closing)
        return bm_conn_finish(c);
    c->state = READING;
    bm_conn_wait(c, WAIT_IDLE);
    if (c->pending.n == 0)
        bm_buf_done(&c->pending);
    if (c->pending.n != 0 || bm_conn_has_more(c))
        return GO;
    bm_conn_slim(c);
    return WAIT;
}

enum next bm_conn_step_sending(struct conn *c)
{
    enum bm_rc rc = bm_conn_send(c);

    if (rc == BM_AGAIN)
        return event_add(&c->writable, NULL) == 0 ? WAIT : CLOSE;
    return rc == BM_OK ? answered(c) : CLOSE;
}

static void make_room(struct conn *c)
{
    struct bm_conns *cs = c->all;
    struct bm_error e;

    if (c->x.r.body.n < LARGE)
        return;
    c->large = cs->n_large < LARGE_MAX;
    cs->n_large += c->large;
    if (c->large)
        return;
    (void)bm_refuse(&e, BM_AGAIN, "try-again", "too many large answers are on their way");
    bm_route_refuse(&c->x, &e, BM_CONN_RETRY_S);
}

/* c->x.r is ready: header, body, and the close_notify of a last answer go out as one. */
enum next bm_conn_reply(struct conn *c)
{
    struct bm_conns *cs = c->all;
    struct bm_buf *plain = &cs->plain;
    bool put;

    make_room(c);
    c->closing = c->closing || cs->draining || !c->x.keep_alive || c->x.r.close || c->requests + 1 >= BM_REQUESTS_PER_CONNECTION ||
                 bm_clock_steady_ms() - c->since_ms >= BM_CONNECTION_AGE_MS;
    c->x.keep_alive = !c->closing;
    bm_route_write(&c->x, plain);
    log_answer(c);
    count_answer(c);
    put = !plain->bad && bm_conn_say(c, plain->p, plain->n);
    plain->n = 0;
    plain->bad = false;
    bm_exchange_done(&c->x);
    bm_http_next(&c->http);
    cs->n_heavy -= c->heavy;
    c->heavy = false;
    c->routed = false;
    c->requests++;
    cs->counts.requests++;
    if (!put)
        return CLOSE;
    if (c->closing)
        bm_conn_say_goodbye(c);
    c->state = SENDING;
    bm_conn_wait(c, WAIT_REPLY);
    return GO;
}

enum next bm_conn_refuse(struct conn *c, const struct bm_error *e, uint32_t retry_after_s)
{
    if (c->http.head_done) /* it may have moved since: trailers follow a body in chunks */
        c->x.q.content_type = bm_http_field_get0(&c->http, BM_FIELD_CONTENT_TYPE);
    bm_route_refuse(&c->x, e, retry_after_s);
    c->closing = true;
    c->lingers = true;
    return bm_conn_reply(c);
}
