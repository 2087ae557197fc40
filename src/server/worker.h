/* A worker process: its own event loop and TLS context, no private key but that of TLS, no file, no database. It learns all it needs from
 * the keeper (struct bm_view) and from the supervisor's orders. */
#ifndef BM_SERVER_WORKER_H
#define BM_SERVER_WORKER_H

#include "base/confine.h"
#include "base/error.h"
#include "base/log.h"
#include "server/listen.h"

#include <stdint.h>

struct bm_worker_settings {
    enum bm_log_level log_level;
    unsigned connections, per_address, idle_s, drain_s;
    unsigned coap_sessions, coap_handshakes, coap_idle_s, coap_bodies_mb; /* the CoAP process only */
};

/* Supervisor to worker, one datagram each, between two copies of the same program image; the end of the socket means: stop at once.
 * Worker to supervisor: one byte BM_WORKER_READY when it takes connections. */
struct bm_worker_order {
    enum bm_worker_act { BM_WORKER_SETTINGS, BM_WORKER_DRAIN } act;
    struct bm_worker_settings settings; /* with BM_WORKER_SETTINGS; these also ask the keeper for a new view */
};
#define BM_WORKER_READY 'R'

/* control.c: for all of them ... */
BM_MUST_USE enum bm_rc bm_control_ready(int fd, struct bm_error *e);
enum bm_control { BM_CONTROL_NONE, BM_CONTROL_SETTINGS, BM_CONTROL_DRAIN, BM_CONTROL_GONE };
enum bm_control bm_control_take(int fd, struct bm_worker_settings *ret); /* one order, if there is one */
/* ... and for one that has nothing to drain: takes an order; true when the process is to end, with this status. */
bool bm_control_ended(int fd, const char *name, int *ret_status);

struct bm_worker_setup {
    const char *name;               /* "worker-1" */
    struct bm_listeners *listeners; /* closed when it drains */
    int keeper_fd;                  /* stream socket */
    int control_fd;                 /* SOCK_SEQPACKET */
    struct bm_worker_settings settings;
    enum bm_confine_mode confine;
};
/* Runs until it is drained, told to stop, or its keeper has gone. Returns the exit status. Owns both descriptors. */
int bm_worker_run(const struct bm_worker_setup *setup);

#endif
