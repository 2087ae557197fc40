#include "server/conn_impl.h"

#include "base/metrics.h"

#include <stdlib.h>
#include <unistd.h>

void bm_conns_add(struct bm_conns *cs, int fd, const struct sockaddr *from, enum bm_door door)
{
    struct bm_peer *peer = bm_peers_enter(cs->peers, from, cs->world->per_address);
    struct conn *c = peer != NULL ? bm_conn_new(cs, fd, from, door, peer) : NULL;

    if (c == NULL) {
        bm_metric_add(BM_M_CONNECTIONS_REFUSED, peer == NULL ? BM_REFUSED_ADDRESS : BM_REFUSED_MEMORY, 0, 1);
        bm_peers_leave(cs->peers, peer);
        close(fd);
        return;
    }
    bm_conn_run(c); /* the ClientHello is here already: TCP_DEFER_ACCEPT */
}

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
    cs->payload.max = BM_API_COMMAND_MAX;
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
            bm_conn_free(c);
    }
    bm_peers_free(cs->peers);
    bm_buf_done(&cs->payload);
    bm_buf_done(&cs->plain);
    free(cs);
}

unsigned bm_conns_from(const struct bm_conns *cs, const struct sockaddr *from)
{
    return bm_peers_count(cs->peers, from);
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
        bm_conn_begin(c);
        (void)bm_refuse(&e, BM_LIMIT, "request-timeout", "the request did not arrive within %d seconds",
                        BM_REQUEST_DEADLINE_MS / 1000);
        next = bm_conn_refuse(c, &e, 0);
    } else if (c->wait == WAIT_KEEPER) {
        bm_link_forget(c->all->world->link, c->ticket);
        c->ticket = 0;
        (void)bm_refuse(&e, BM_AGAIN, "try-again", "the registry did not answer in time");
        next = bm_conn_refuse(c, &e, BM_CONN_RETRY_S);
    } else if (c->wait == WAIT_IDLE) {
        next = bm_conn_leave(c);
    } else if (c->wait == WAIT_HANDSHAKE) {
        bm_metric_add(BM_M_HANDSHAKES_FAILED, BM_HANDSHAKE_TIMEOUT, 0, 1);
    }
    if (next == CLOSE)
        bm_conn_free(c);
    else
        bm_conn_run(c);
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
        if (c->requests != 0 && bm_conn_leave(c) == GO)
            bm_conn_run(c);
    }
}
