#include "server/serve_impl.h"

#include "base/clock.h"
#include "server/notify.h"

#include <sys/socket.h>

#define KEEPER_STOP_MS 30000

size_t bm_serve_alive(const struct server *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_slots; i++)
        n += s->slots[i].pid != 0;
    return n;
}

static void kill_workers(struct server *s)
{
    for (size_t i = 0; i < s->n_slots; i++) {
        if (s->slots[i].pid != 0)
            kill(s->slots[i].pid, SIGKILL);
    }
}

void bm_serve_order(struct server *s, const struct bm_worker_order *o)
{
    for (size_t i = 0; i < s->n_slots; i++) {
        if (s->slots[i].control >= 0)
            (void)send(s->slots[i].control, o, sizeof *o, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

void bm_serve_stop(struct server *s, int status, int64_t within_ms)
{
    const struct bm_worker_order drain = { .act = BM_WORKER_DRAIN };
    int64_t deadline = bm_clock_steady_ms() + within_ms;

    s->status = status != 0 ? status : s->status;
    if (s->phase == RUNNING) {
        s->phase = DRAINING;
        s->deadline_ms = deadline;
        bm_notify("STOPPING=1");
        bm_listeners_close(&s->metrics);
        bm_listeners_close(&s->coap);
        bm_listeners_close(&s->listeners); /* the workers close theirs; from then on connections are refused, not queued */
        bm_serve_order(s, &drain);
    }
    s->deadline_ms = deadline < s->deadline_ms ? deadline : s->deadline_ms;
}

void bm_serve_next_phase(struct server *s)
{
    int64_t now = bm_clock_steady_ms();

    if (s->phase == DRAINING && bm_serve_alive(s) == 0) {
        s->phase = CLOSING;
        s->deadline_ms = now + KEEPER_STOP_MS;
        bm_serve_closep(&s->keeper_control);
    }
    if (s->phase == RUNNING || now < s->deadline_ms)
        return;
    if (s->phase == DRAINING)
        kill_workers(s);
    else if (s->keeper != 0)
        kill(s->keeper, SIGKILL); /* nothing is lost: what it answered is on disk */
    s->deadline_ms = now + BM_SERVE_HURRY_MS;
}
