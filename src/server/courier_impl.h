/* What the files of the courier share with each other and nobody else. */
#ifndef BM_SERVER_COURIER_IMPL_H
#define BM_SERVER_COURIER_IMPL_H

#define CARES_NO_DEPRECATED /* the old calls are the ones that Debian 12 has, and later ones still do */
#include "base/address.h"
#include "keeper/task.h"
#include "server/courier.h"
#include "server/keeper_link.h"

#include <ares.h>
#include <curl/curl.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <sys/queue.h>

enum { BM_TRIP_ADDRESSES_MAX = 8 };

struct bm_resolver; /* courier_dns.c */
struct bm_fetcher;  /* courier_http.c */
struct bm_trip;

struct bm_courier {
    const struct bm_courier_setup *setup;
    struct event_base *base;
    struct event *control, *sweep, *again;
    struct bm_link *link;
    struct bm_networks networks;
    struct bm_resolver *resolver;
    struct bm_fetcher *fetcher;
    SSL_CTX *tls; /* of BM_TASK_TLS: made on first use */
    TAILQ_HEAD(bm_trips, bm_trip) running, finished;
    size_t n_running, n_finished, n_reported; /* reported: the first of the finished, until the keeper has answered */
    bool asking, once_more, greeted;
    int status;
};

struct bm_trip_address {
    struct sockaddr_storage at;
    socklen_t n;
};

/* One errand. It ends with bm_trip_answer() or bm_trip_fail(), exactly once. */
struct bm_trip {
    TAILQ_ENTRY(bm_trip) link;
    struct bm_courier *of;
    int64_t id;
    uint32_t token;
    struct bm_buf bytes; /* task borrows from it */
    struct bm_task task;
    struct event *deadline;
    struct bm_buf answer; /* as it goes to the keeper */
    bool ended;
    /* where it goes: as resolved, less what is not allowed */
    char host[256];
    uint16_t port;
    struct bm_trip_address addresses[BM_TRIP_ADDRESSES_MAX];
    size_t n_addresses, next_address;
    bool looking;                     /* a lookup is under way */
    void (*found)(struct bm_trip *j); /* what follows it */
    struct bm_trip_http *http;        /* courier_http.c */
    struct bm_trip_tls *tls;          /* courier_tls.c */
};

/* --- courier.c --- */
void bm_trip_answer(struct bm_trip *j, const struct bm_task_answer *a);
BM_PRINTF(4) void bm_trip_fail(struct bm_trip *j, bool retry, const char *code, const char *fmt, ...);
/* May this job connect there? */
bool bm_trip_may(const struct bm_trip *j, const struct sockaddr *a);

/* --- courier_dns.c --- */
BM_MUST_USE enum bm_rc bm_resolver_new(struct bm_courier *c, struct bm_resolver **ret, struct bm_error *e);
void bm_resolver_free(struct bm_resolver *r);
/* Fills j->addresses with those of j->host that it may go to, then calls found; or fails the job. */
void bm_trip_resolve(struct bm_trip *j, void (*found)(struct bm_trip *j));
void bm_trip_lookup_txt(struct bm_trip *j);
/* Lookups of a job that has ended go on, for nobody. */
void bm_resolver_forget(struct bm_resolver *r, const struct bm_trip *j);

/* --- courier_http.c --- */
BM_MUST_USE enum bm_rc bm_fetcher_new(struct bm_courier *c, struct bm_fetcher **ret, struct bm_error *e);
void bm_fetcher_free(struct bm_fetcher *f);
void bm_trip_fetch(struct bm_trip *j);
void bm_trip_http_free(struct bm_trip *j);

/* --- courier_tls.c --- */
void bm_trip_handshake(struct bm_trip *j);
void bm_trip_tls_free(struct bm_trip *j);

#endif
