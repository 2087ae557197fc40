/* What the files of the keeper's loop share with each other and nobody else: its connections (loop_conn.c), the batches in which commands
 * run (loop_batch.c), and the loop around both (loop.c), which run.c starts. One thread. */
#ifndef BM_KEEPER_LOOP_H
#define BM_KEEPER_LOOP_H

#include "keeper/internal.h"

enum { LOOP_CONNS_MAX = BM_WORKERS_MAX + BM_ADMINS_MAX, READ_STEP = 256 * 1024 };

enum party { WORKER, COURIER, ADMINISTRATOR };
extern const char *const bm_loop_party_word[];

struct conn {
    int fd;
    enum party party;
    bool gone;
    char actor[32];
    struct bm_buf in, out;
    size_t mark;  /* length of out before this batch */
    bool secret;  /* what was taken is not for keeping */
    size_t taken; /* of `in`, by this batch, which may have to give it back */
};

struct waiting {
    struct conn *conn;
    uint64_t id;
    char correlation[17]; /* of a device's request, when the log is to tell of its commit; or "" */
};

struct loop {
    struct bm_keeper *k;
    int control_fd, admin_fd;
    bool stop;
    struct conn *conns[LOOP_CONNS_MAX];
    size_t n_conns;
    struct waiting batch[BM_BATCH_COMMANDS];
    size_t n_batch;
    bool in_transaction, lost;
    bool alone; /* a command that stands alone has run: what it did is committed, so no later failure may be told as its own */
    struct bm_error why_lost;
    int64_t collides_since_ms;               /* batches have been lost to other hosts' since then; 0: the last one was not */
    unsigned halved;                         /* a batch is smaller by that power of two, until one gets through */
    int64_t batch_began_ms, device_since_ms; /* 0: no device waits */
    int64_t head_at_ms, busy_at_ms, view_at_ms;
    int64_t head_size;
    int64_t chores_at_ms;
    bool tidy, more_chores;
};

/* Connections: come (from the supervisor over the control socket, from administrators by the admin socket), read, write, go. One that fails
 * is only marked `gone`, so that a batch may go on naming it; the sweep between two rounds frees it. */
void bm_loop_take_worker(struct loop *l);
void bm_loop_take_admin(struct loop *l);
bool bm_loop_conn_read(struct conn *c); /* true: something came */
bool bm_loop_read_more(struct loop *l); /* of all connections */
void bm_loop_conn_write(struct conn *c);
void bm_loop_sweep(struct loop *l);
void bm_loop_conn_free(struct conn *c);

/* One batch: what has come runs in one transaction, and its answers are queued once that is committed. False when nothing was there to do. */
bool bm_loop_run_batch(struct loop *l);

/* Until the control socket ends. */
void bm_loop_run(struct loop *l);

#endif
