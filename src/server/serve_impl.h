/* What the files of the supervisor share with each other and nobody else. */
#ifndef BM_SERVER_SERVE_IMPL_H
#define BM_SERVER_SERVE_IMPL_H

#include "server/listen.h"
#include "server/serve.h"
#include "server/worker.h"

#include <signal.h>
#include <sys/types.h>

#define BM_SERVE_HURRY_MS 2000 /* how long the workers get when the keeper has gone */

enum phase { RUNNING, DRAINING, CLOSING };

struct slot {
    char name[24];
    enum child_role {
        WORKER,
        COURIER,
        EXPORTER,
        COAP
    } role;      /* exporter: it answers on listen_metrics; courier: it goes out; coap: on coap_listen */
    pid_t pid;   /* 0: not running */
    int control; /* -1 with it */
    bool ready, served;
    unsigned quick_deaths;
    int64_t started_ms, restart_ms;
};

struct server {
    struct bm_config config;
    struct bm_listeners listeners, metrics, coap;
    pid_t keeper;
    int keeper_control, signals;
    struct slot *slots;
    size_t n_slots,
        n_workers; /* the workers come first, then the courier, then the exporter and the CoAP process, where there are such */
    sigset_t old_mask;
    enum phase phase;
    int64_t deadline_ms; /* of the phase */
    bool announced;
    int status;
    struct bm_user keeper_user, worker_user;
};

/* --- serve_child.c: starting processes --- */
BM_MUST_USE enum bm_rc bm_serve_start_keeper(struct server *s, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_serve_start_worker(struct server *s, struct slot *w, struct bm_error *e);
struct bm_worker_settings bm_serve_settings(const struct bm_config *c);
void bm_serve_closep(int *fd); /* and forgets it */

/* --- serve_death.c: those that end, and what comes after --- */
void bm_serve_reap(struct server *s);
void bm_serve_restart_due(struct server *s);

/* --- serve_phase.c: the way to the end --- */
size_t bm_serve_alive(const struct server *s); /* workers */
void bm_serve_order(struct server *s, const struct bm_worker_order *o);
/* Begins to stop, or hurries a stop under way. A status other than 0 is what we will exit with. */
void bm_serve_stop(struct server *s, int status, int64_t within_ms);
void bm_serve_next_phase(struct server *s);

/* --- serve_reload.c --- */
void bm_serve_reload(struct server *s);

/* --- serve_announce.c: where we serve --- */
void bm_serve_announce(struct server *s);                              /* once all workers are ready */
bool bm_serve_path(const struct server *s, char *ret, size_t ret_len); /* DATA/serving */

#endif
