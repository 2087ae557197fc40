#include "agent.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

enum { JITTER_S = 300, BACKOFF_FIRST_S = 15, BACKOFF_MAX_S = 3600, RETRY_MAX_S = 86400, NAP_MAX_S = 600 };

static uint32_t random_below(struct agent *a, uint32_t limit)
{
    uint32_t v = 0;

    if (bmd_rot_random(&a->rot, (uint8_t *)&v, sizeof v) != BMD_OK)
        return 0;
    return limit != 0 ? v % limit : 0;
}

/* When the first of the services wants to be renewed, give or take, so that a fleet made on one day does not come back in one minute. */
static int64_t next_renewal(struct agent *a)
{
    struct agent_enrolment e;
    int64_t first = INT64_MAX, room;

    if (agent_enrolment_read(&a->cfg, &e) != 0)
        return bmd_now();
    for (size_t i = 0; i < e.n_services; i++)
        first = e.services[i].renew_after < first ? e.services[i].renew_after : first;
    room = first - e.at; /* very short certificates get little jitter */
    room = room / 10 < JITTER_S ? room / 10 : JITTER_S;
    return room <= 0 ? first : first - room + (int64_t)random_below(a, (uint32_t)(2 * room + 1));
}

static int64_t back_off(struct agent *a, unsigned *failures, uint32_t retry_s)
{
    uint32_t wait = BACKOFF_FIRST_S << (*failures < 8 ? *failures : 8);

    ++*failures;
    wait = wait > BACKOFF_MAX_S ? BACKOFF_MAX_S : wait;
    wait = wait / 2 + random_below(a, wait / 2 + 1);
    if (retry_s != 0) /* the server knows better, and asked for at least that much */
        wait = (retry_s > RETRY_MAX_S ? RETRY_MAX_S : retry_s) + random_below(a, retry_s / 10 + 2);
    return bmd_now() + wait;
}

/* Sleeps towards `until` in naps, because the clock may be set meanwhile. The signal that ended it, or 0. */
static int sleep_until(int64_t until, const sigset_t *signals)
{
    for (;;) {
        int64_t left = until - bmd_now();
        struct timespec nap = { .tv_sec = left > NAP_MAX_S ? NAP_MAX_S : left };
        int got;

        if (left <= 0)
            return 0;
        got = sigtimedwait(signals, NULL, &nap);
        if (got > 0)
            return got;
    }
}

static int64_t first_expiry(const struct agent *a)
{
    struct agent_enrolment e;
    int64_t first = INT64_MAX;

    if (agent_enrolment_read(&a->cfg, &e) != 0)
        return 0;
    for (size_t i = 0; i < e.n_services; i++)
        first = e.services[i].not_after < first ? e.services[i].not_after : first;
    return first;
}

/* Fresh and yet due again: the clock is wrong, or the certificate lives short beside how far it is backdated. Never without a pause, but
 * not into its expiry either. */
static int64_t after_success(struct agent *a, unsigned *failures)
{
    int64_t at = next_renewal(a), now = bmd_now(), late, half;

    if (at > now) {
        *failures = 0;
        return at;
    }
    agent_say("what just came is to be renewed already; is the clock right?");
    late = back_off(a, failures, 0);
    half = now + (first_expiry(a) - now) / 2 + 1;
    return half > now && half < late ? half : late;
}

static int64_t one_round(struct agent *a, unsigned *failures)
{
    uint32_t retry_s;

    switch (agent_enrol(a, &retry_s)) {
    case AGENT_OK:
        agent_hook(&a->cfg);
        return after_success(a, failures);
    case AGENT_LATER:
        return back_off(a, failures, retry_s);
    case AGENT_REFUSED: /* nothing we can do but ask again, seldom: an operator may change the answer */
        *failures = *failures < 6 ? 6 : *failures;
        return back_off(a, failures, retry_s);
    }
    return back_off(a, failures, 0);
}

int agent_loop(struct agent *a)
{
    struct agent_enrolment e;
    sigset_t signals;
    unsigned failures = 0;
    int64_t at;
    int got;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    if (agent_enrolment_read(&a->cfg, &e) == 0 && !e.hooked)
        agent_hook(&a->cfg); /* killed between the new files and the hook */
    at = next_renewal(a);
    for (;;) {
        got = sleep_until(at, &signals);
        if (got == SIGTERM || got == SIGINT)
            return 0;
        at = one_round(a, &failures);
    }
}
