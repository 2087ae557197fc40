/* What the files of the CoAP process share with each other and nobody else. */
#ifndef BM_SERVER_COAP_IMPL_H
#define BM_SERVER_COAP_IMPL_H

#include "protocol/est_coap.h"
#include "server/coap_line.h"
#include "server/dtls.h"
#include "server/keeper_link.h"
#include "server/listen.h"
#include "server/peers.h"
#include "server/worker.h"

#include <netinet/in.h>
#include <sys/queue.h>
#include <sys/socket.h>

/* One datagram's two ends. Ours counts too: the answer has to come from where the client has sent to. */
struct bm_coap_ends {
    size_t listener;
    struct sockaddr_storage peer;
    socklen_t peer_len;
    int family; /* of `own`: AF_INET, AF_INET6, or AF_UNSPEC when it is not known */
    union {
        struct in_addr four;
        struct in6_addr six;
    } own;
};
/* The same as bytes: what sessions are found by, and cookies stand for. */
#define BM_COAP_ENDS_MAX 48
struct bm_coap_key {
    size_t n;
    uint8_t bytes[BM_COAP_ENDS_MAX];
};

struct coap_session {
    LIST_ENTRY(coap_session) bucket;
    TAILQ_ENTRY(coap_session) link;
    struct coap *all;
    struct bm_coap_ends ends;
    struct bm_coap_key key;
    struct bm_peer *peer;
    SSL *ssl;
    struct bm_dtls_io io;
    struct bm_tls_peer shown;
    uint8_t random[32]; /* of its ClientHello: another one is another client */
    bool open;          /* the handshake is over */
    bool closing;       /* after what is under way */
    int64_t since_ms, heard_ms;
    struct bm_coap_line line;
    /* the request that is with the keeper */
    const struct bm_coap_operation *op;
    struct bm_request q; /* of what it borrows only client_cert and what goes with it stays */
    uint16_t format;
    uint64_t ticket;
    int64_t asked_us;
};

#define BM_COAP_BUCKETS 4096
struct coap {
    const struct bm_worker_setup *setup;
    struct event_base *base;
    struct bm_link *link;
    const struct bm_view *view; /* NULL: not yet */
    SSL_CTX *tls;
    struct bm_dtls_cookies cookies;
    struct bm_dtls_io door_io; /* for those who have shown no cookie yet */
    struct bm_coap_ends door_ends;
    struct bm_coap_key door_key;
    SSL *door; /* as new; NULL: to be made */
    struct bm_peers *peers;
    unsigned per_address;
    size_t sessions_max, handshakes_max;
    int64_t idle_ms;
    uint64_t seed; /* so that nobody can choose addresses that share a bucket */
    LIST_HEAD(coap_bucket, coap_session) buckets[BM_COAP_BUCKETS];
    TAILQ_HEAD(coap_sessions, coap_session) sessions;
    size_t n, n_open;
    struct bm_coap_budget budget;
    bool draining;
    struct bm_buf payload, out;          /* scratch: a command, a message before DTLS */
    uint8_t room[BM_COAP_DATAGRAM_MAX];  /* scratch: a datagram */
    uint8_t plain[BM_COAP_DATAGRAM_MAX]; /* scratch: a message */
};

/* --- coap_udp.c: datagrams --- */
/* One datagram into c->room; *ret borrows. False: there is none now. */
bool bm_coap_receive(struct coap *c, size_t listener, struct bm_coap_ends *ret_ends, struct bm_rd *ret);
void bm_coap_send(const struct coap *c, const struct bm_coap_ends *ends, struct bm_rd datagram);
struct bm_coap_key bm_coap_key_of(const struct bm_coap_ends *ends);

/* --- coap_session.c: sessions --- */
void bm_coap_datagram(struct coap *c, const struct bm_coap_ends *ends, struct bm_rd datagram);
void bm_coap_sweep(struct coap *c, int64_t now_ms);
void bm_coap_session_free(struct coap_session *s);
/* Sends what is in c->out, as one message, and empties it. */
void bm_coap_session_say(struct coap_session *s);
/* Ends those that have nothing under way. */
void bm_coap_drain(struct coap *c);

/* --- coap_request.c: what is asked in one --- */
void bm_coap_request(struct coap_session *s, struct bm_rd message);
/* The keeper has not answered in time. */
void bm_coap_request_expire(struct coap_session *s);

#endif
