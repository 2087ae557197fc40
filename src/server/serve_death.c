#include "server/serve_impl.h"

#include "base/clock.h"
#include "base/metrics.h"

#include <stdio.h>
#include <sys/wait.h>

#define QUICK_DEATH_MS 5000 /* a worker that lived shorter than this did not do well */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 10000
#define HOPELESS_DEATHS 5 /* in a row, of a worker that has never served: the server cannot start */

static void how_it_ended(int how, char *ret, size_t ret_len)
{
    if (WIFSIGNALED(how))
        snprintf(ret, ret_len, "killed by signal %d (%s)", WTERMSIG(how), strsignal(WTERMSIG(how)));
    else
        snprintf(ret, ret_len, "exit status %d", WEXITSTATUS(how));
}

static void keeper_ended(struct server *s, int how)
{
    bool expected = s->phase == CLOSING;
    char text[64];

    s->keeper = 0;
    how_it_ended(how, text, sizeof text);
    if (expected && how == 0)
        return;
    bm_log(BM_LOG_ERROR, "keeper", "the keeper ended: %s; %s", text,
           s->announced ? "stopping, because nothing can be issued without it"
                        : "the server cannot start; its own message is above");
    bm_serve_stop(s, 1, BM_SERVE_HURRY_MS);
    s->status = 1;
}

static void worker_ended(struct server *s, struct slot *w, int how)
{
    int64_t now = bm_clock_steady_ms();
    char text[64];

    w->pid = 0;
    w->ready = false;
    bm_serve_closep(&w->control);
    if (s->phase != RUNNING || s->keeper == 0)
        return;
    w->quick_deaths = now - w->started_ms < QUICK_DEATH_MS ? w->quick_deaths + 1 : 0;
    w->restart_ms = now;
    if (w->quick_deaths > 1) {
        int64_t wait = (int64_t)BACKOFF_FIRST_MS << (w->quick_deaths < 10 ? w->quick_deaths : 10);

        w->restart_ms += wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS;
    }
    how_it_ended(how, text, sizeof text);
    bm_log(BM_LOG_WARN, "worker", "%s ended: %s; restarting in %lld ms", w->name, text, (long long)(w->restart_ms - now));
    if (!w->served && w->quick_deaths >= HOPELESS_DEATHS) {
        bm_log(BM_LOG_ERROR, "worker", "%s has never come up; the server cannot start, the reason is above", w->name);
        bm_serve_stop(s, 1, BM_SERVE_HURRY_MS);
    }
}

void bm_serve_reap(struct server *s)
{
    pid_t pid;
    int how;

    while ((pid = waitpid(-1, &how, WNOHANG)) > 0) {
        if (pid == s->keeper)
            keeper_ended(s, how);
        for (size_t i = 0; i < s->n_slots; i++) {
            if (s->slots[i].pid == pid)
                worker_ended(s, &s->slots[i], how);
        }
    }
}

void bm_serve_restart_due(struct server *s)
{
    static const enum bm_metric_process kinds[] = {
        [WORKER] = BM_PROCESS_WORKER, [COURIER] = BM_PROCESS_COURIER, [EXPORTER] = BM_PROCESS_EXPORTER, [COAP] = BM_PROCESS_COAP
    };
    int64_t now = bm_clock_steady_ms();
    struct bm_error e;

    for (size_t i = 0; i < s->n_slots; i++) {
        struct slot *w = &s->slots[i];

        if (s->phase != RUNNING || w->pid != 0 || now < w->restart_ms)
            continue;
        if (bm_serve_start_worker(s, w, &e) == BM_OK) {
            bm_metric_add(BM_M_RESTARTS, kinds[w->role], 0, 1);
            continue;
        }
        bm_log(BM_LOG_ERROR, "worker", "cannot start %s: %s", w->name, e.what);
        w->restart_ms = now + BACKOFF_MAX_MS;
    }
}
