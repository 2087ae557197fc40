/* The connections of one worker. Each is a TLS session (or, for what is public, a bare connection) that carries HTTP requests one after another; while one is with the keeper, nothing
 * more is read. Single-threaded, driven by libevent. */
#ifndef BM_SERVER_CONN_H
#define BM_SERVER_CONN_H

#include "server/door.h"
#include "server/keeper_link.h"
#include "server/peers.h"
#include "server/router.h"

#include <event2/event.h>
#include <openssl/ssl.h>

struct bm_conns;

/* Priorities in the event loop: whoever has had a first answer is served before those who have just come, so that a crowd at the door does not hold up
 * those inside. What sets none has the middle one. */
enum { BM_CONN_INSIDE = 1, BM_CONN_NEWCOMER = 2, BM_CONN_PRIORITIES = 3 };

/* What all connections of a worker share; the worker owns it and may change all of it between two calls. */
struct bm_conn_world {
    struct event_base *base;
    struct bm_link *link;
    SSL_CTX *tls;
    struct bm_router router;
    unsigned per_address;      /* connections from one address */
    int idle_ms;               /* how long a kept connection may be silent */
    void (*closed)(void *arg); /* one has gone: there is room again */
    void *arg;
};

struct bm_conn_counts {
    uint64_t connections, requests, refusals;
};

BM_MUST_USE enum bm_rc bm_conns_new(const struct bm_conn_world *world, struct bm_conns **ret, struct bm_error *e);
void bm_conns_free(struct bm_conns *cs); /* closes them all; NULL is fine */
/* Takes fd, non-blocking, just accepted. Closes it at once when its address has too many. */
void bm_conns_add(struct bm_conns *cs, int fd, const struct sockaddr *from, enum bm_door door);
unsigned bm_conns_from(const struct bm_conns *cs, const struct sockaddr *from); /* how many that address has open */
size_t bm_conns_n(const struct bm_conns *cs);
/* Ends those past their deadline; to be called about twice a second. now_ms: bm_clock_steady_ms(). */
void bm_conns_sweep(struct bm_conns *cs, int64_t now_ms);
/* No further request is taken on any connection once the one under way is answered; quiet ones are closed now. */
void bm_conns_drain(struct bm_conns *cs);
struct bm_conn_counts bm_conns_counts(const struct bm_conns *cs);

#endif
