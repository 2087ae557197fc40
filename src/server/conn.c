#include "server/conn_impl.h"

#include "base/clock.h"
#include "base/metrics.h"

#include <stdlib.h>
#include <unistd.h>

#define OUT_MAX (BM_RESPONSE_MAX + 64 * 1024) /* a response and what TLS puts around it */
#define LINGER_MS 2000
#define TURNS_MAX 8 /* steps of one connection before the others get their turn */

static const int wait_ms[WAITS] = {
    [WAIT_HANDSHAKE] = BM_HANDSHAKE_DEADLINE_MS, [WAIT_IDLE] = 0 /* as configured */, [WAIT_REQUEST] = BM_REQUEST_DEADLINE_MS,
    [WAIT_KEEPER] = BM_REQUEST_DEADLINE_MS,      [WAIT_REPLY] = BM_REPLY_DEADLINE_MS, [WAIT_LINGER] = LINGER_MS,
};

void bm_conn_wait(struct conn *c, enum wait w)
{
    TAILQ_REMOVE(&c->all->queues[c->wait], c, queue);
    c->wait = w;
    c->deadline_ms = bm_clock_steady_ms() + (w == WAIT_IDLE ? c->all->world->idle_ms : wait_ms[w]);
    TAILQ_INSERT_TAIL(&c->all->queues[w], c, queue);
}

void bm_conn_read_on(struct conn *c, bool on)
{
    if (c->reading != on && (on ? event_add(&c->ev, NULL) : event_del(&c->ev)) == 0)
        c->reading = on;
}

void bm_conn_free(struct conn *c)
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
    bm_tls_peer_done(&c->certs);
    bm_buf_done(&c->pending);
    bm_peers_leave(cs->peers, c->peer);
    cs->n_large -= c->large;
    cs->n_heavy -= c->heavy;
    free(c);
    cs->n--;
    bm_metric_set(BM_M_CONNECTIONS_OPEN, 0, 0, cs->n);
    cs->world->closed(cs->world->arg);
}

void bm_conn_run(struct conn *c)
{
    static enum next (*const steps[])(struct conn *) = {
        [HANDSHAKE] = bm_conn_step_handshake, [READING] = bm_conn_step_reading, [KEEPER] = bm_conn_step_keeper,
        [SENDING] = bm_conn_step_sending,     [LINGER] = bm_conn_step_linger,
    };
    enum next next = GO;

    for (int turn = 0; next == GO && turn < TURNS_MAX; turn++)
        next = steps[c->state](c);
    if (next == CLOSE) {
        bm_conn_free(c);
        return;
    }
    if (c->state != KEEPER && c->state != SENDING)
        bm_conn_read_on(c, true);
    if (next == GO)
        event_active(&c->ev, EV_TIMEOUT, 0);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd;
    if (c->state == SENDING && what == EV_READ)
        bm_conn_read_on(c, false); /* like in KEEPER: one thing after another */
    else
        bm_conn_run(c);
}

struct conn *bm_conn_new(struct bm_conns *cs, int fd, const struct sockaddr *from, enum bm_door door, struct bm_peer *peer)
{
    bool plain = door == BM_DOOR_PLAIN;
    struct conn *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    c->all = cs;
    c->io.fd = fd;
    c->io.out.max = OUT_MAX;
    c->certs.der.max = 2 * BM_TLS_CLIENT_CHAIN_MAX;
    c->certs.transcript.max = BM_HANDSHAKE_MAX;
    c->certs.verify.max = BM_HANDSHAKE_VERIFY_MAX;
    c->since_ms = bm_clock_steady_ms();
    c->pending.max = BM_CONN_READ_ROOM;
    c->ssl = plain ? NULL : bm_tls_new(cs->world->tls, &c->io, &c->certs);
    if ((c->ssl == NULL && !plain) || event_assign(&c->ev, cs->world->base, fd, EV_READ | EV_PERSIST, on_ready, c) != 0 ||
        event_assign(&c->writable, cs->world->base, fd, EV_WRITE, on_ready, c) != 0) {
        SSL_free(c->ssl);
        free(c);
        return NULL;
    }
    (void)event_priority_set(&c->ev, plain ? BM_CONN_INSIDE : BM_CONN_NEWCOMER); /* a loop without priorities serves them alike */
    bm_http_init(&c->http);
    memcpy(&c->from, from, from->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    c->peer = peer;
    c->door = door;
    c->state = plain ? READING : HANDSHAKE;
    c->wait = plain ? WAIT_REQUEST : WAIT_HANDSHAKE;
    c->deadline_ms = bm_clock_steady_ms() + wait_ms[c->wait];
    TAILQ_INSERT_TAIL(&cs->queues[c->wait], c, queue);
    cs->n++;
    cs->counts.connections++;
    bm_metric_set(BM_M_CONNECTIONS_OPEN, 0, 0, cs->n);
    bm_metric_add(BM_M_CONNECTIONS_ACCEPTED, plain ? BM_LISTENER_HTTP : BM_LISTENER_TLS, 0, 1);
    return c;
}
