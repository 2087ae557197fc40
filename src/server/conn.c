/* One connection's life:
 *
 *   HANDSHAKE --> READING --> KEEPER --> SENDING --> READING ...
 *                    |  \________________^  |
 *                    |   answered here      v
 *                    +-----------------> LINGER (we said all; what the peer still sends is thrown away) --> gone
 *
 * A state's step does what it can without waiting and says what comes next. */
#include "server/conn.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "server/tls.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_ROOM (16 * 1024)                 /* one TLS record */
#define OUT_MAX (BM_RESPONSE_MAX + 64 * 1024) /* a response and what TLS puts around it */
#define LINGER_MS 2000
#define LINGER_BYTES_MAX (256 * 1024)
#define TURNS_MAX 8 /* steps of one connection before the others get their turn */
#define BUSY_RETRY_S 5
#define LARGE (256 * 1024) /* an answer from here on is a large one, and only so many are in memory at a time: peers may be slow */
#define LARGE_MAX 64
#define SLIM_ABOVE 512 /* with more connections than this, those that wait give their TLS buffers back */

enum state { HANDSHAKE, READING, KEEPER, SENDING, LINGER };

/* Each wait has one length, so a queue per kind is sorted by itself. */
enum wait { WAIT_HANDSHAKE, WAIT_IDLE, WAIT_REQUEST, WAIT_KEEPER, WAIT_REPLY, WAIT_LINGER, WAITS };
static const int wait_ms[WAITS] = {
    [WAIT_HANDSHAKE] = BM_HANDSHAKE_DEADLINE_MS, [WAIT_IDLE] = BM_IDLE_DEADLINE_MS,   [WAIT_REQUEST] = BM_REQUEST_DEADLINE_MS,
    [WAIT_KEEPER] = BM_REQUEST_DEADLINE_MS,      [WAIT_REPLY] = BM_REPLY_DEADLINE_MS, [WAIT_LINGER] = LINGER_MS,
};

struct conn {
    struct bm_conns *all;
    struct event ev, writable;
    struct bm_tls_io io;
    SSL *ssl; /* NULL: a connection without TLS, where only what is public is served */
    enum state state;
    bool reading; /* ev is in the loop */
    bool closing; /* after this answer */
    bool lingers; /* the peer may still be sending */
    bool routed;  /* x is in use */
    bool large;   /* counted in n_large */
    enum wait wait;
    int64_t deadline_ms;
    TAILQ_ENTRY(conn) queue;
    struct bm_peer *peer;
    struct sockaddr_storage from;
    struct bm_http http;
    struct bm_exchange x;
    struct bm_tls_peer certs;
    bool certs_known;
    struct bm_buf pending; /* plain bytes read beyond the request under way */
    uint64_t ticket;       /* with the keeper */
    unsigned requests;
    size_t lingered;
};

TAILQ_HEAD(conn_queue, conn);

struct bm_conns {
    const struct bm_conn_world *world;
    struct conn_queue queues[WAITS];
    size_t n, n_large;
    bool draining;
    struct bm_peers *peers;
    struct bm_conn_counts counts;
    struct bm_buf payload, plain; /* scratch: a command, a response before TLS */
    uint8_t room[READ_ROOM];      /* scratch: bytes just read */
};

enum next { GO, WAIT, CLOSE };

static void on_ready(evutil_socket_t fd, short what, void *arg);
static void on_answer(void *arg, uint8_t type, struct bm_rd payload);

/* --- waiting ------------------------------------------------------------------------------------------------------------------- */

static void set_wait(struct conn *c, enum wait w)
{
    TAILQ_REMOVE(&c->all->queues[c->wait], c, queue);
    c->wait = w;
    c->deadline_ms = bm_clock_steady_ms() + wait_ms[w];
    TAILQ_INSERT_TAIL(&c->all->queues[w], c, queue);
}

static void read_on(struct conn *c, bool on)
{
    if (c->reading != on && (on ? event_add(&c->ev, NULL) : event_del(&c->ev)) == 0)
        c->reading = on;
}

/* 33 kB each. Allocating them again for every flight costs 26 us per handshake, so that is done only when there are many. */
static void slim(struct conn *c)
{
    if (c->all->n > SLIM_ABOVE && c->ssl != NULL)
        (void)SSL_free_buffers(c->ssl); /* only what is empty */
}

/* --- with TLS or without --------------------------------------------------------------------------------------------------------- */

static bool say(struct conn *c, const void *p, size_t n)
{
    ERR_clear_error();
    if (c->ssl != NULL)
        return SSL_write(c->ssl, p, (int)n) > 0;
    bm_buf_put(&c->io.out, p, n);
    return !c->io.out.bad;
}

static void say_goodbye(struct conn *c)
{
    if (c->ssl != NULL)
        (void)SSL_shutdown(c->ssl);
}

static bool has_more(const struct conn *c)
{
    return c->ssl != NULL && SSL_has_pending(c->ssl);
}

/* Bytes read; 0: none now; -1: the end. */
static int hear(struct conn *c, void *p, size_t n)
{
    ssize_t got;
    int done;

    ERR_clear_error();
    if (c->ssl != NULL) {
        done = SSL_read(c->ssl, p, (int)n);
        return done > 0 ? done : SSL_get_error(c->ssl, done) == SSL_ERROR_WANT_READ ? 0 : -1;
    }
    got = recv(c->io.fd, p, n, 0);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return 0;
    return got > 0 ? (int)got : -1;
}

/* --- bytes out ----------------------------------------------------------------------------------------------------------------- */

/* Sends what TLS has put out. BM_AGAIN: the rest waits for the socket; BM_IO: the peer has gone. */
static enum bm_rc send_out(struct conn *c)
{
    struct bm_buf *out = &c->io.out;

    if (out->bad)
        return BM_LIMIT;
    while (out->n != 0) {
        ssize_t n = send(c->io.fd, out->p, out->n, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return BM_AGAIN;
        if (n <= 0)
            return BM_IO;
        bm_buf_drop(out, (size_t)n);
    }
    bm_buf_done(out);
    return BM_OK;
}

/* A word of TLS itself is due: a handshake flight, an alert, a key update. */
static enum next send_and_wait(struct conn *c)
{
    enum bm_rc rc = c->io.out.n != 0 ? send_out(c) : BM_OK;

    slim(c);
    if (rc == BM_AGAIN)
        return event_add(&c->writable, NULL) == 0 ? WAIT : CLOSE;
    return rc == BM_OK ? WAIT : CLOSE;
}

/* --- the end ------------------------------------------------------------------------------------------------------------------- */

static void conn_free(struct conn *c)
{
    struct bm_conns *cs = c->all;

    TAILQ_REMOVE(&cs->queues[c->wait], c, queue);
    event_del(&c->ev);
    event_del(&c->writable);
    if (c->ticket != 0)
        bm_link_forget(cs->world->link, c->ticket);
    SSL_free(c->ssl);
    close(c->io.fd);
    bm_buf_done(&c->io.out);
    bm_exchange_done(&c->x);
    bm_http_done(&c->http);
    bm_buf_done(&c->certs.der);
    bm_buf_done(&c->pending);
    bm_peers_leave(cs->peers, c->peer);
    cs->n_large -= c->large;
    free(c);
    cs->n--;
    cs->world->closed(cs->world->arg);
}

/* close() with bytes unread makes the kernel send a reset, which can overtake the answer we just sent. */
static enum next linger(struct conn *c)
{
    shutdown(c->io.fd, SHUT_WR);
    c->state = LINGER;
    set_wait(c, WAIT_LINGER);
    return GO;
}

static enum next step_linger(struct conn *c)
{
    ssize_t n = recv(c->io.fd, c->all->room, sizeof c->all->room, 0);

    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return WAIT;
    c->lingered += n > 0 ? (size_t)n : 0;
    return n <= 0 || c->lingered > LINGER_BYTES_MAX ? CLOSE : GO;
}

/* The last answer has left. */
static enum next finish(struct conn *c)
{
    if (c->lingers || recv(c->io.fd, c->all->room, sizeof c->all->room, 0) > 0)
        return linger(c);
    return CLOSE;
}

/* What was sent after an answered request is no request: nobody waits for an answer to it. */
static enum next leave_quietly(struct conn *c)
{
    say_goodbye(c);
    (void)send_out(c);
    return linger(c);
}

/* --- answers ------------------------------------------------------------------------------------------------------------------- */

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
        return finish(c);
    c->state = READING;
    set_wait(c, WAIT_IDLE);
    if (c->pending.n == 0)
        bm_buf_done(&c->pending);
    if (c->pending.n != 0 || has_more(c))
        return GO;
    slim(c);
    return WAIT;
}

static enum next step_sending(struct conn *c)
{
    enum bm_rc rc = send_out(c);

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
    bm_route_refuse(&c->x, &e, BUSY_RETRY_S);
}

/* c->x.r is ready: header, body, and the close_notify of a last answer go out as one. */
static enum next reply(struct conn *c)
{
    struct bm_conns *cs = c->all;
    struct bm_buf *plain = &cs->plain;
    bool put;

    make_room(c);
    c->closing = c->closing || cs->draining || !c->x.keep_alive || c->requests + 1 >= BM_REQUESTS_PER_CONNECTION;
    c->x.keep_alive = !c->closing;
    bm_route_write(&c->x, plain);
    log_answer(c);
    if (c->x.r.retry_after_s != 0 && c->ssl != NULL)
        bm_tls_ticket(c->ssl);
    put = !plain->bad && say(c, plain->p, plain->n);
    plain->n = 0;
    plain->bad = false;
    bm_exchange_done(&c->x);
    bm_http_next(&c->http);
    c->routed = false;
    c->requests++;
    cs->counts.requests++;
    if (!put)
        return CLOSE;
    if (c->closing)
        say_goodbye(c);
    c->state = SENDING;
    set_wait(c, WAIT_REPLY);
    return GO;
}

static enum next refuse_and_close(struct conn *c, const struct bm_error *e, uint32_t retry_after_s)
{
    if (c->http.head_done) /* it may have moved since: trailers follow a body in chunks */
        c->x.q.content_type = bm_http_field_get0(&c->http, BM_FIELD_CONTENT_TYPE);
    bm_route_refuse(&c->x, e, retry_after_s);
    c->closing = true;
    c->lingers = true;
    return reply(c);
}

/* --- requests ------------------------------------------------------------------------------------------------------------------ */

/* Names the exchange before anything can go wrong with it. */
static void begin(struct conn *c)
{
    uint8_t id[8] = { 0 };

    if (c->routed)
        return;
    c->routed = true;
    (void)RAND_bytes(id, sizeof id);
    c->x.plain = c->ssl == NULL;
    bm_hex(id, sizeof id, c->x.q.correlation);
    bm_peer_text((const struct sockaddr *)&c->from, c->x.q.peer);
}

static enum bm_rc fill_certs(struct conn *c, struct bm_error *e)
{
    struct bm_request *q = &c->x.q;
    enum bm_rc rc = c->certs_known || c->ssl == NULL ? BM_OK : bm_tls_peer_certs(c->ssl, &c->certs, e);
    size_t at = 0;

    if (rc != BM_OK)
        return rc;
    c->certs_known = true;
    for (size_t i = 0; i < c->certs.n; i++) {
        struct bm_rd cert = bm_rd_of(c->certs.der.p + at, c->certs.end[i] - at);

        at = c->certs.end[i];
        if (i == 0)
            q->client_cert = cert;
        else
            q->client_chain[q->n_client_chain++] = cert;
    }
    return BM_OK;
}

/* The request is whole: answer it here or hand it to the keeper. */
static enum next dispatch(struct conn *c)
{
    struct bm_conns *cs = c->all;
    struct bm_error e = { 0 };
    enum bm_rc rc = bm_route_wants_cert(&c->x) ? fill_certs(c, &e) : BM_OK;

    if (rc != BM_OK)
        return refuse_and_close(c, &e, 0);
    if (c->x.code[0] != '\0') /* by its header fields already */
        return reply(c);
    if (bm_route_request(&cs->world->router, &c->x, &c->http, &cs->payload) == BM_ROUTE_COMMAND) {
        rc = bm_link_send(cs->world->link, c->x.op->command, bm_buf_rd(&cs->payload), on_answer, c, &c->ticket, &e);
        if (rc != BM_OK)
            bm_route_refuse(&c->x, &e, BUSY_RETRY_S);
        c->state = rc == BM_OK ? KEEPER : c->state;
    }
    cs->payload.n = 0;
    cs->payload.bad = false;
    if (c->state != KEEPER)
        return reply(c);
    set_wait(c, WAIT_KEEPER);
    return WAIT;
}

static enum next step_keeper(struct conn *c)
{
    read_on(c, false); /* the peer has more to say; it waits until this one is answered */
    return WAIT;
}

static void conn_run(struct conn *c);

static void on_answer(void *arg, uint8_t type, struct bm_rd payload)
{
    struct conn *c = arg;

    c->ticket = 0;
    if (type == 0)
        return; /* the link has ended, and with it this worker */
    bm_route_answer(&c->all->world->router, &c->x, type, payload);
    if (reply(c) == CLOSE)
        conn_free(c);
    else
        conn_run(c);
}

/* The header fields say what is to be done with the request; WAIT: read the rest of it.
 * rest: how much came with them. 1 is their own last byte (http.c), more means the body is on its way unasked. */
static enum next head_complete(struct conn *c, size_t rest)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

    begin(c);
    if (bm_route_head(&c->x, &c->http) != BM_OK) {
        if (!bm_http_has_body(&c->http))
            return WAIT; /* nothing that would have to be read first: the connection can go on */
        c->closing = true;
        c->lingers = true;
        return reply(c);
    }
    if (rest <= 1 && bm_http_waits(&c->http) && bm_http_has_body(&c->http)) {
        if (!say(c, go_on, sizeof go_on - 1) || send_and_wait(c) == CLOSE)
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
                return leave_quietly(c);
            begin(c);
            return refuse_and_close(c, &e, 0);
        }
        if (event == BM_HTTP_HEAD)
            next = head_complete(c, in->n);
    } while (event == BM_HTTP_HEAD && next == WAIT);
    if (event == BM_HTTP_DONE)
        return dispatch(c);
    if (next == WAIT && c->wait == WAIT_IDLE)
        set_wait(c, WAIT_REQUEST);
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
        return send_and_wait(c);
    (void)send_out(c); /* an alert, if TLS put one out */
    return CLOSE;
}

static enum next step_reading(struct conn *c)
{
    struct bm_conns *cs = c->all;
    struct bm_rd in;
    enum next next;
    int got;

    if (c->pending.n != 0)
        return take_pending(c);
    got = hear(c, cs->room, sizeof cs->room);
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
    return next == WAIT && c->state == READING && has_more(c) ? GO : next;
}

/* --- the handshake ------------------------------------------------------------------------------------------------------------- */

static void log_handshake_failure(const struct conn *c)
{
    const char *why = ERR_reason_error_string(ERR_peek_error());
    char peer[64];

    bm_peer_text((const struct sockaddr *)&c->from, peer);
    bm_log(BM_LOG_DEBUG, "handshake-failed", "peer=%s reason=\"%s\"", peer, why != NULL ? why : "the peer left");
}

static enum next step_handshake(struct conn *c)
{
    int done;

    ERR_clear_error();
    done = SSL_accept(c->ssl);
    if (done == 1) {
        c->state = READING;
        set_wait(c, WAIT_IDLE);
        /* TLS 1.2: the client waits for our Finished. With 1.3 there is nothing to send. */
        return c->io.out.n != 0 && send_and_wait(c) == CLOSE ? CLOSE : GO;
    }
    if (SSL_get_error(c->ssl, done) == SSL_ERROR_WANT_READ)
        return send_and_wait(c);
    log_handshake_failure(c);
    (void)send_out(c); /* the alert that says why */
    return CLOSE;
}

/* --- the loop ------------------------------------------------------------------------------------------------------------------ */

static void conn_run(struct conn *c)
{
    static enum next (*const steps[])(struct conn *) = {
        [HANDSHAKE] = step_handshake, [READING] = step_reading, [KEEPER] = step_keeper,
        [SENDING] = step_sending,     [LINGER] = step_linger,
    };
    enum next next = GO;

    for (int turn = 0; next == GO && turn < TURNS_MAX; turn++)
        next = steps[c->state](c);
    if (next == CLOSE) {
        conn_free(c);
        return;
    }
    if (c->state != KEEPER && c->state != SENDING)
        read_on(c, true);
    if (next == GO)
        event_active(&c->ev, EV_TIMEOUT, 0);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd;
    if (c->state == SENDING && what == EV_READ)
        read_on(c, false); /* like in KEEPER: one thing after another */
    else
        conn_run(c);
}

static struct conn *conn_new(struct bm_conns *cs, int fd, const struct sockaddr *from, bool plain, struct bm_peer *peer)
{
    struct conn *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    c->all = cs;
    c->io.fd = fd;
    c->io.out.max = OUT_MAX;
    c->certs.der.max = 2 * BM_TLS_CLIENT_CHAIN_MAX;
    c->pending.max = READ_ROOM;
    c->ssl = plain ? NULL : bm_tls_new(cs->world->tls, &c->io);
    if ((c->ssl == NULL && !plain) || event_assign(&c->ev, cs->world->base, fd, EV_READ | EV_PERSIST, on_ready, c) != 0 ||
        event_assign(&c->writable, cs->world->base, fd, EV_WRITE, on_ready, c) != 0) {
        SSL_free(c->ssl);
        free(c);
        return NULL;
    }
    bm_http_init(&c->http);
    memcpy(&c->from, from, from->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    c->peer = peer;
    c->state = plain ? READING : HANDSHAKE;
    c->wait = plain ? WAIT_REQUEST : WAIT_HANDSHAKE;
    c->deadline_ms = bm_clock_steady_ms() + wait_ms[c->wait];
    TAILQ_INSERT_TAIL(&cs->queues[c->wait], c, queue);
    cs->n++;
    cs->counts.connections++;
    return c;
}

void bm_conns_add(struct bm_conns *cs, int fd, const struct sockaddr *from, bool plain)
{
    struct bm_peer *peer = bm_peers_enter(cs->peers, from, cs->world->per_address);
    struct conn *c = peer != NULL ? conn_new(cs, fd, from, plain, peer) : NULL;

    if (c == NULL) {
        bm_peers_leave(cs->peers, peer);
        close(fd);
        return;
    }
    conn_run(c); /* the ClientHello is here already: TCP_DEFER_ACCEPT */
}

/* --- all of them --------------------------------------------------------------------------------------------------------------- */

enum bm_rc bm_conns_new(const struct bm_conn_world *world, struct bm_conns **ret, struct bm_error *e)
{
    struct bm_conns *cs = calloc(1, sizeof *cs);

    if (cs == NULL || bm_peers_new(&cs->peers, e) != BM_OK) {
        free(cs);
        return bm_fail(e, BM_NOMEM, "connections: out of memory");
    }
    cs->world = world;
    for (int i = 0; i < WAITS; i++)
        TAILQ_INIT(&cs->queues[i]);
    cs->payload.max = BM_COMMAND_MAX;
    cs->plain.max = BM_RESPONSE_MAX;
    *ret = cs;
    return BM_OK;
}

void bm_conns_free(struct bm_conns *cs)
{
    struct conn *c;

    if (cs == NULL)
        return;
    for (int i = 0; i < WAITS; i++) {
        while ((c = TAILQ_FIRST(&cs->queues[i])) != NULL)
            conn_free(c);
    }
    bm_peers_free(cs->peers);
    bm_buf_done(&cs->payload);
    bm_buf_done(&cs->plain);
    free(cs);
}

size_t bm_conns_n(const struct bm_conns *cs)
{
    return cs->n;
}

struct bm_conn_counts bm_conns_counts(const struct bm_conns *cs)
{
    return cs->counts;
}

/* A deadline has passed: an answer if somebody waits for one, or the end. */
static void expire(struct conn *c)
{
    struct bm_error e;
    enum next next = CLOSE;

    if (c->wait == WAIT_REQUEST) {
        begin(c);
        (void)bm_refuse(&e, BM_LIMIT, "request-timeout", "the request did not arrive within %d seconds",
                        BM_REQUEST_DEADLINE_MS / 1000);
        next = refuse_and_close(c, &e, 0);
    } else if (c->wait == WAIT_KEEPER) {
        bm_link_forget(c->all->world->link, c->ticket);
        c->ticket = 0;
        (void)bm_refuse(&e, BM_AGAIN, "try-again", "the registry did not answer in time");
        next = refuse_and_close(c, &e, BUSY_RETRY_S);
    } else if (c->wait == WAIT_IDLE) {
        next = leave_quietly(c);
    }
    if (next == CLOSE)
        conn_free(c);
    else
        conn_run(c);
}

void bm_conns_sweep(struct bm_conns *cs, int64_t now_ms)
{
    struct conn *c;

    for (int i = 0; i < WAITS; i++) {
        while ((c = TAILQ_FIRST(&cs->queues[i])) != NULL && c->deadline_ms <= now_ms)
            expire(c);
    }
}

void bm_conns_drain(struct bm_conns *cs)
{
    struct conn *c, *after;

    cs->draining = true;
    for (c = TAILQ_FIRST(&cs->queues[WAIT_IDLE]); c != NULL; c = after) {
        after = TAILQ_NEXT(c, queue);
        if (c->requests != 0 && leave_quietly(c) == GO)
            conn_run(c);
    }
}
