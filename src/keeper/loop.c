/* The keeper's loop: waits for commands, runs them in batches, and does between those what is due of its own accord. */
#include "keeper/errand.h"
#include "keeper/loop.h"

#include "base/clock.h"
#include "base/frame.h"
#include "base/log.h"

#include <poll.h>

enum { IDLE_TIDY_MS = 3000, VIEW_EVERY_MS = 900 * 1000 };

static void tell_workers(struct loop *l)
{
    if (!l->k->view_changed)
        return;
    l->k->view_changed = false;
    l->k->view_version++;
    for (size_t i = 0; i < l->n_conns; i++)
        if (l->conns[i]->party == WORKER)
            bm_frame_end(&l->conns[i]->out, bm_frame_begin(&l->conns[i]->out, 0, BM_CMD_CHANGED));
}

/* There is something to do for it. */
static void wake_courier(struct loop *l)
{
    int64_t now;

    if (bm_keeper_now(l->k, &now, NULL) != BM_OK || !bm_errands_wake(l->k, now))
        return;
    for (size_t i = 0; i < l->n_conns; i++)
        if (l->conns[i]->party == COURIER)
            bm_frame_end(&l->conns[i]->out, bm_frame_begin(&l->conns[i]->out, 0, BM_CMD_CHANGED));
}

static void sign_head(struct loop *l)
{
    struct bm_error e;
    int64_t now;

    if (l->head_size == l->k->audit.tree.size || bm_keeper_now(l->k, &now, &e) != BM_OK)
        return;
    if (bm_keeper_sign_head(l->k, now, &e) == BM_OK)
        l->head_size = l->k->audit.tree.size;
    else
        bm_log(BM_LOG_WARN, "log.head", "%s", e.what);
}

static void look_at_others(struct loop *l)
{
    struct bm_error e;

    if (bm_host_poll(l->k, &e) != BM_OK)
        bm_log(BM_LOG_WARN, "hosts", "%s", e.what);
}

static void housekeeping(struct loop *l)
{
    int64_t now = bm_clock_steady_ms();

    if (now - l->head_at_ms >= BM_HEAD_EVERY_MS) {
        l->head_at_ms = now;
        look_at_others(l);
        sign_head(l);
    }
    if (now - l->view_at_ms >= VIEW_EVERY_MS) {
        l->view_at_ms = now;
        l->k->view_changed = true; /* for the handshakes' nonce, and so that the TLS certificate is looked at */
    }
    if (now - l->busy_at_ms < IDLE_TIDY_MS) {
        l->tidy = false;
    } else if (!l->tidy) {
        l->tidy = true;
        bm_store_tidy(l->k->store);
    }
    bm_observe(l->k, now);
    tell_workers(l);
    wake_courier(l);
}

/* One piece of what the keeper does of its own accord. While devices wait it comes between two of their batches, now and then. */
static void chores(struct loop *l, bool busy)
{
    int64_t at = bm_clock_steady_ms(), now;
    struct bm_error e;

    if (at - l->chores_at_ms < (busy || !l->more_chores ? BM_CHORE_EVERY_MS : 0) || bm_keeper_now(l->k, &now, &e) != BM_OK)
        return;
    l->more_chores = bm_chores_step(l->k, now);
    l->chores_at_ms = bm_clock_steady_ms();
}

static void wait_for_something(struct loop *l)
{
    struct pollfd p[LOOP_CONNS_MAX + 2];
    size_t n = 0;

    p[n++] = (struct pollfd){ .fd = l->control_fd, .events = POLLIN };
    p[n++] = (struct pollfd){ .fd = l->admin_fd, .events = POLLIN };
    for (size_t i = 0; i < l->n_conns; i++) {
        struct conn *c = l->conns[i];
        bool room = c->in.n + READ_STEP <= c->in.max;

        p[n++] = (struct pollfd){ .fd = c->fd, .events = (short)((room ? POLLIN : 0) | (c->out.n != 0 ? POLLOUT : 0)) };
    }
    if (poll(p, n, l->more_chores ? 0 : BM_HEAD_EVERY_MS) <= 0)
        return;
    for (size_t i = 0; i < l->n_conns; i++)
        if ((p[i + 2].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
            (void)bm_loop_conn_read(l->conns[i]);
    if (p[0].revents != 0)
        bm_loop_take_worker(l);
    if (p[1].revents != 0)
        bm_loop_take_admin(l);
}

void bm_loop_run(struct loop *l)
{
    while (!l->stop) {
        wait_for_something(l);
        while (bm_loop_run_batch(l)) {
            for (size_t i = 0; i < l->n_conns; i++)
                bm_loop_conn_write(l->conns[i]);
            chores(l, true);
        }
        chores(l, false);
        housekeeping(l);
        for (size_t i = 0; i < l->n_conns; i++)
            bm_loop_conn_write(l->conns[i]);
        bm_loop_sweep(l);
    }
}
