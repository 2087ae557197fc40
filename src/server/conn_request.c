#include "server/conn_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "server/shown.h"

#include <openssl/rand.h>

/* Names are random so that no two are the same, and no secrets. Many are drawn at once: 8 bytes cost OpenSSL as much as 512. */
static void draw_name(struct bm_conns *cs, char ret[17])
{
    static const uint8_t none[sizeof cs->names[0]];

    if (cs->n_names == 0 && RAND_bytes((uint8_t *)cs->names, sizeof cs->names) == 1)
        cs->n_names = BM_COUNT(cs->names);
    bm_hex(cs->n_names != 0 ? cs->names[--cs->n_names] : none, sizeof none, ret);
}

/* Names the exchange before anything can go wrong with it. */
void bm_conn_begin(struct conn *c)
{
    const struct bm_view *view = c->all->world->router.view;

    if (c->routed)
        return;
    c->routed = true;
    c->asked_us = 0;
    c->x.plain = c->ssl == NULL;
    c->x.api = (c->door == BM_DOOR_ALL || c->door == BM_DOOR_API) && view != NULL && view->api;
    c->x.api_only = c->door == BM_DOOR_API;
    draw_name(c->all, c->x.q.correlation);
    bm_peer_text((const struct sockaddr *)&c->from, c->x.q.peer);
}

static enum bm_rc fill_certs(struct conn *c, struct bm_error *e)
{
    struct bm_request *q = &c->x.q;
    enum bm_rc rc = c->certs_known || c->ssl == NULL ? BM_OK : bm_tls_peer_certs(c->ssl, &c->certs, e);

    if (rc != BM_OK)
        return rc;
    c->certs_known = true;
    bm_shown_fill(&c->certs, q);
    return BM_OK;
}

/* Once for a connection, and only for what can make use of it. */
static enum bm_rc fill_binding(struct conn *c, struct bm_error *e)
{
    enum bm_rc rc = c->certs.binding_len == 0 ? bm_tls_binding(c->ssl, &c->certs, e) : BM_OK;

    c->x.q.binding = bm_rd_of(c->certs.binding, rc == BM_OK ? c->certs.binding_len : 0);
    return rc;
}

static void on_answer(void *arg, uint8_t type, struct bm_rd payload)
{
    struct conn *c = arg;

    c->ticket = 0;
    if (type == 0)
        return; /* the link has ended, and with it this worker */
    bm_route_answer(&c->all->world->router, &c->x, type, payload);
    if (bm_conn_reply(c) == CLOSE)
        bm_conn_free(c);
    else
        bm_conn_run(c);
}

/* The scratch of commands; a manifest block's size is not kept, and no token. */
static void forget(struct bm_buf *payload)
{
    if (payload->cap > BM_COMMAND_MAX)
        bm_buf_done(payload);
    bm_wipe(payload->p, payload->n);
    payload->n = 0;
    payload->bad = false;
}

/* The request is whole: answer it here or hand it to the keeper. */
/* The first line of a request's trace. */
static void log_asked(const struct conn *c)
{
    if (c->x.op != NULL)
        bm_log(BM_LOG_DEBUG, "asked", "correlation=%s operation=%s tls=%s connected_ms=%lld request=%u peer=%s", c->x.q.correlation,
               c->x.op->name, c->ssl != NULL ? SSL_get_version(c->ssl) : "none", (long long)(bm_clock_steady_ms() - c->since_ms),
               c->requests + 1, c->x.q.peer);
}

static enum next dispatch(struct conn *c)
{
    struct bm_conns *cs = c->all;
    struct bm_error e = { 0 };
    enum bm_rc rc = bm_route_wants_cert(&c->x) ? fill_certs(c, &e) : BM_OK;

    if (rc == BM_OK && c->ssl != NULL && bm_route_wants_binding(&c->x))
        rc = fill_binding(c, &e);
    c->asked_us = bm_clock_steady_us();
    log_asked(c);
    if (rc != BM_OK)
        return bm_conn_refuse(c, &e, 0);
    if (c->x.code[0] != '\0') /* by its header fields already */
        return bm_conn_reply(c);
    if (bm_route_request(&cs->world->router, &c->x, &c->http, &cs->payload) == BM_ROUTE_COMMAND) {
        rc = bm_link_send(cs->world->link, c->x.op->command, bm_buf_rd(&cs->payload), on_answer, c, &c->ticket, &e);
        if (rc != BM_OK)
            bm_route_refuse(&c->x, &e, BM_CONN_RETRY_S);
        c->state = rc == BM_OK ? KEEPER : c->state;
    }
    forget(&cs->payload);
    if (c->state != KEEPER)
        return bm_conn_reply(c);
    bm_conn_wait(c, WAIT_KEEPER);
    return WAIT;
}

enum next bm_conn_step_keeper(struct conn *c)
{
    bm_conn_read_on(c, false); /* the peer has more to say; it waits until this one is answered */
    return WAIT;
}

/* A large body needs room of its own, of which there is little: who has a token may be trusted with it, but it has not been looked at yet. */
static enum bm_rc admit_body(struct conn *c)
{
    struct bm_error e;

    if (c->http.body.max <= BM_HTTP_BODY_MAX || !bm_http_has_body(&c->http) ||
        (!c->http.chunked && bm_http_length(&c->http) <= BM_HTTP_BODY_MAX))
        return BM_OK;
    if (c->all->n_heavy < BM_API_LARGE_BODIES) {
        c->heavy = true;
        c->all->n_heavy++;
        return BM_OK;
    }
    (void)bm_refuse(&e, BM_AGAIN, "try-again", "too many large requests are on their way");
    bm_route_refuse(&c->x, &e, BM_CONN_RETRY_S);
    return BM_AGAIN;
}

/* The header fields say what is to be done with the request; WAIT: read the rest of it.
 * rest: how much came with them. 1 is their own last byte (http.c), more means the body is on its way unasked. */
static enum next head_complete(struct conn *c, size_t rest)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

    bm_conn_begin(c);
    if (bm_route_head(&c->x, &c->http) != BM_OK || admit_body(c) != BM_OK) {
        if (!bm_http_has_body(&c->http))
            return WAIT; /* nothing that would have to be read first: the connection can go on */
        c->closing = true;
        c->lingers = true;
        return bm_conn_reply(c);
    }
    if (rest <= 1 && bm_http_waits(&c->http) && bm_http_has_body(&c->http)) {
        if (!bm_conn_say(c, go_on, sizeof go_on - 1) || bm_conn_send_and_wait(c) == CLOSE)
            return CLOSE;
    }
    return WAIT;
}

/* Feeds the parser until it wants more, the request is whole, or it is refused. READING with WAIT: more is needed. */
static enum next take_bytes(struct conn *c, struct bm_rd *in)
{
    enum bm_http_event event = BM_HTTP_MORE;
    struct bm_error e = { 0 };
    enum next next = WAIT;

    do {
        if (bm_http_feed(&c->http, in, &event, &e) != BM_OK) {
            if (c->requests != 0 && bm_http_blank(&c->http))
                return bm_conn_leave(c);
            bm_conn_begin(c);
            return bm_conn_refuse(c, &e, 0);
        }
        if (event == BM_HTTP_HEAD)
            next = head_complete(c, in->n);
    } while (event == BM_HTTP_HEAD && next == WAIT);
    if (event == BM_HTTP_DONE)
        return dispatch(c);
    if (next == WAIT && c->wait == WAIT_IDLE)
        bm_conn_wait(c, WAIT_REQUEST);
    return next;
}

static enum next take_pending(struct conn *c)
{
    struct bm_rd in = bm_buf_rd(&c->pending);
    enum next next = take_bytes(c, &in);

    bm_buf_drop(&c->pending, c->pending.n - in.n);
    return next == WAIT && c->state == READING ? GO : next;
}

/* Nothing to read, and why. */
static enum next read_failed(struct conn *c, int got)
{
    if (got == 0)
        return bm_conn_send_and_wait(c);
    (void)bm_conn_send(c); /* an alert, if TLS put one out */
    return CLOSE;
}

enum next bm_conn_step_reading(struct conn *c)
{
    struct bm_conns *cs = c->all;
    struct bm_rd in;
    enum next next;
    int got;

    if (c->pending.n != 0)
        return take_pending(c);
    got = bm_conn_hear(c, cs->room, sizeof cs->room);
    if (got <= 0)
        return read_failed(c, got);
    in = bm_rd_of(cs->room, (size_t)got);
    next = take_bytes(c, &in);
    if (next == CLOSE || c->closing)
        return next;
    bm_buf_put(&c->pending, in.p, in.n);
    if (c->pending.bad)
        return CLOSE;
    /* A small request fits into one read; asking again only to hear "not yet" would cost a call each time. */
    return next == WAIT && c->state == READING && bm_conn_has_more(c) ? GO : next;
}
