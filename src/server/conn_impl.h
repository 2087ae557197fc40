/* What the files of a connection share with each other and nobody else.
 *
 *   HANDSHAKE --> READING --> KEEPER --> SENDING --> READING ...
 *                    |  \________________^  |
 *                    |   answered here      v
 *                    +-----------------> LINGER (we said all; what the peer still sends is thrown away) --> gone
 *
 * A state's step does what it can without waiting and says what comes next. */
#ifndef BM_SERVER_CONN_IMPL_H
#define BM_SERVER_CONN_IMPL_H

#include "server/conn.h"
#include "server/tls.h"

#include <event2/event_struct.h>
#include <sys/queue.h>

#define BM_CONN_READ_ROOM (16 * 1024) /* one TLS record */
#define BM_CONN_RETRY_S 5             /* Retry-After while we are busy */

enum state { HANDSHAKE, READING, KEEPER, SENDING, LINGER };

/* Each wait has one length, so a queue per kind is sorted by itself. */
enum wait { WAIT_HANDSHAKE, WAIT_IDLE, WAIT_REQUEST, WAIT_KEEPER, WAIT_REPLY, WAIT_LINGER, WAITS };

struct conn {
    struct bm_conns *all;
    struct event ev, writable;
    struct bm_tls_io io;
    enum bm_door door;
    SSL *ssl; /* NULL: a connection without TLS, where only what is public is served */
    enum state state;
    bool reading; /* ev is in the loop */
    bool closing; /* after this answer */
    bool lingers; /* the peer may still be sending */
    bool routed;  /* x is in use */
    bool large;   /* counted in n_large */
    bool heavy;   /* counted in n_heavy */
    enum wait wait;
    int64_t since_ms, deadline_ms;
    TAILQ_ENTRY(conn) queue;
    struct bm_peer *peer;
    struct sockaddr_storage from;
    struct bm_http http;
    struct bm_exchange x;
    struct bm_tls_peer certs;
    bool certs_known;
    struct bm_buf pending; /* plain bytes read beyond the request under way */
    int64_t asked_us;      /* when the request under way was whole, or 0 */
    uint64_t ticket;       /* with the keeper */
    unsigned requests;
    size_t lingered;
};

TAILQ_HEAD(conn_queue, conn);

struct bm_conns {
    const struct bm_conn_world *world;
    struct conn_queue queues[WAITS];
    size_t n, n_large, n_heavy; /* connections; large answers, and large requests, on their way */
    bool draining;
    struct bm_peers *peers;
    struct bm_conn_counts counts;
    struct bm_buf payload, plain;    /* scratch: a command, a response before TLS */
    uint8_t room[BM_CONN_READ_ROOM]; /* scratch: bytes just read */
    uint8_t names[64][8];            /* random, of which the first n_names are yet to be given to exchanges */
    size_t n_names;
};

/* What a step says: go on, wait for a callback, or the connection is over. */
enum next { GO, WAIT, CLOSE };

/* --- conn.c: its life --- */
struct conn *bm_conn_new(struct bm_conns *cs, int fd, const struct sockaddr *from, enum bm_door door, struct bm_peer *peer);
void bm_conn_free(struct conn *c);
/* Steps until it has to wait; it may be gone afterwards. */
void bm_conn_run(struct conn *c);
/* From now on it waits for `w`, with the deadline of that. */
void bm_conn_wait(struct conn *c, enum wait w);
/* Whether the loop tells us when there is something to read. */
void bm_conn_read_on(struct conn *c, bool on);

/* --- conn_io.c: bytes in and out, with TLS or without --- */
bool bm_conn_say(struct conn *c, const void *p, size_t n); /* gathers; bm_conn_send() sends */
void bm_conn_say_goodbye(struct conn *c);
bool bm_conn_has_more(const struct conn *c);         /* bytes read, not yet heard */
int bm_conn_hear(struct conn *c, void *p, size_t n); /* bytes read; 0: none now; -1: the end */
enum bm_rc bm_conn_send(struct conn *c);             /* BM_AGAIN: the rest waits for the socket; BM_IO: the peer has gone */
/* A word of TLS itself is due: a handshake flight, an alert, a key update. */
enum next bm_conn_send_and_wait(struct conn *c);
void bm_conn_slim(struct conn *c); /* gives back what a waiting connection does not need, when there are many */

/* --- conn_handshake.c --- */
enum next bm_conn_step_handshake(struct conn *c);

/* --- conn_request.c: from bytes to a request, and on to the keeper --- */
enum next bm_conn_step_reading(struct conn *c);
enum next bm_conn_step_keeper(struct conn *c);
void bm_conn_begin(struct conn *c); /* names the exchange before anything can go wrong with it */

/* --- conn_reply.c: the answer --- */
enum next bm_conn_reply(struct conn *c);                                                    /* c->x.r is ready */
enum next bm_conn_refuse(struct conn *c, const struct bm_error *e, uint32_t retry_after_s); /* and close */
enum next bm_conn_step_sending(struct conn *c);

/* --- conn_end.c: leaving without losing what was said last --- */
enum next bm_conn_finish(struct conn *c); /* the last answer has left */
/* What was sent after an answered request is no request: nobody waits for an answer to it. */
enum next bm_conn_leave(struct conn *c);
enum next bm_conn_step_linger(struct conn *c);

#endif
