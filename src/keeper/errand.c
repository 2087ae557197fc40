#include "keeper/errand.h"

#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>
#include <openssl/rand.h>
#include <stdio.h>

enum { LOOK_MS = 5000, COUNT_MS = 1000, FORGET_AT_ONCE = 64 };

static const struct bm_errand_kind *kind_of(const struct bm_keeper *k, const char *name)
{
    const struct bm_errand_kind *const *p = k->errands.kinds != NULL ? k->errands.kinds : bm_errand_kinds;

    for (; *p != NULL; p++)
        if (strcmp((*p)->name, name) == 0)
            return *p;
    return NULL;
}

int64_t bm_errand_backoff(const struct bm_errand_kind *kind, uint32_t tries, uint32_t chance)
{
    int64_t wait = kind->first_s;

    for (uint32_t i = 1; i < tries && wait < kind->most_s; i++)
        wait *= 2;
    wait = wait > kind->most_s ? kind->most_s : wait;
    return wait - wait / 4 + chance % (wait / 2 + 1); /* three quarters to five quarters of it */
}

/* --- adding and finding ---------------------------------------------------------------------------------------------------------- */
/* Counted once a second; what is added between is added here, and may be taken back, which costs a refusal at worst. */
static enum bm_rc check_room(struct bm_keeper *k, struct bm_error *e)
{
    int64_t now_ms = bm_clock_steady_ms();
    enum bm_rc rc = BM_OK;

    if (k->errands.counted_ms == 0 || now_ms - k->errands.counted_ms >= COUNT_MS) {
        rc = bm_errand_open(k->store, &k->errands.open, e);
        k->errands.counted_ms = now_ms;
    }
    if (rc == BM_OK && k->errands.open >= BM_ERRANDS_MAX)
        return bm_refuse(e, BM_AGAIN, "errands-full", "%d questions to others are still unanswered; no more can wait",
                         BM_ERRANDS_MAX);
    k->errands.open++;
    return rc;
}

enum bm_rc bm_errand_add(struct bm_keeper *k, struct bm_errand *o, int64_t now, struct bm_error *e)
{
    const struct bm_errand_kind *kind = kind_of(k, o->kind);
    enum bm_rc rc;

    if (kind == NULL)
        return bm_fail(e, BM_BUG, "there is no errand '%s'", o->kind);
    rc = check_room(k, e);
    if (rc != BM_OK)
        return rc;
    snprintf(o->state, sizeof o->state, BM_ERRAND_QUEUED);
    if (RAND_bytes((unsigned char *)&o->token, sizeof o->token) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    o->created_at = o->due_at = now;
    o->deadline = now + kind->life_s;
    rc = bm_errand_put(k->store, o, e);
    if (rc == BM_OK && now < k->errands.next_at)
        k->errands.next_at = now;
    return rc;
}

enum bm_rc bm_errand_find(struct bm_keeper *k, const char *kind, const char *subject, struct bm_errand *ret, struct bm_error *e)
{
    return bm_errand_newest(k->store, kind, subject, ret, e);
}

/* --- ends and waits -------------------------------------------------------------------------------------------------------------- */
static void tell(const struct bm_errand *x)
{
    bm_log(strcmp(x->state, BM_ERRAND_DONE) == 0 ? BM_LOG_DEBUG : BM_LOG_INFO, "errand",
           "id=%" PRId64 " kind=%s state=%s tries=%u code=%s what=\"%s\"", x->id, x->kind, x->state, x->tries, x->code, x->what);
}

static void set_why(struct bm_errand *x, const struct bm_error *why)
{
    snprintf(x->code, sizeof x->code, "%s", why != NULL ? bm_error_code(why) : "");
    snprintf(x->what, sizeof x->what, "%s", why != NULL ? why->what : "");
}

/* why NULL: it is done. What it was about is no longer needed; what came of it is. */
static enum bm_rc end(struct bm_keeper *k, struct bm_errand *x, const char *state, const struct bm_error *why, int64_t now,
                      struct bm_error *e)
{
    const struct bm_errand_kind *kind = kind_of(k, x->kind);
    enum bm_rc rc;

    snprintf(x->state, sizeof x->state, "%s", state);
    set_why(x, why);
    x->host_id = 0;
    x->due_at = now + (kind != NULL ? kind->kept_s : 0);
    rc = why != NULL && kind != NULL && kind->failed != NULL ? kind->failed(k, x, why, now, e) : BM_OK;
    if (rc == BM_IO)
        return rc;
    bm_buf_done(&x->payload);
    rc = bm_errand_set(k->store, x, e);
    if (rc == BM_OK)
        tell(x);
    return rc;
}

static enum bm_rc fail(struct bm_keeper *k, struct bm_errand *x, const struct bm_error *why, int64_t now, struct bm_error *e)
{
    return end(k, x, BM_ERRAND_FAILED, why, now, e);
}

static enum bm_rc expire(struct bm_keeper *k, struct bm_errand *x, int64_t now, struct bm_error *e)
{
    struct bm_error why;

    (void)bm_refuse(&why, BM_AGAIN, "errand-expired", "no answer came in time; the last attempt: %s",
                    x->what[0] != '\0' ? x->what : "none was made");
    return end(k, x, BM_ERRAND_EXPIRED, &why, now, e);
}

static enum bm_rc queue(struct bm_keeper *k, struct bm_errand *x, int64_t due_at, struct bm_error *e)
{
    snprintf(x->state, sizeof x->state, BM_ERRAND_QUEUED);
    x->host_id = 0;
    x->due_at = due_at;
    if (due_at < k->errands.next_at)
        k->errands.next_at = due_at;
    return bm_errand_set(k->store, x, e);
}

/* wait: as the other side has asked, or 0 */
static enum bm_rc later(struct bm_keeper *k, struct bm_errand *x, const struct bm_errand_kind *kind, const struct bm_error *why,
                        int64_t wait, int64_t now, struct bm_error *e)
{
    uint32_t chance = 0;
    enum bm_rc rc;

    if (x->tries >= kind->tries)
        return fail(k, x, why, now, e);
    (void)RAND_bytes((unsigned char *)&chance, sizeof chance); /* without chance the wait is a little shorter */
    set_why(x, why);
    rc = queue(k, x, now + (wait != 0 ? wait : bm_errand_backoff(kind, x->tries, chance)), e);
    if (rc == BM_OK)
        tell(x);
    return rc;
}

/* The next step of several. */
static enum bm_rc go_on(struct bm_keeper *k, struct bm_errand *x, struct bm_buf *payload, int64_t due_at, struct bm_error *e)
{
    bm_buf_done(&x->payload);
    x->payload = *payload;
    *payload = (struct bm_buf){ 0 };
    x->tries = 0;
    return queue(k, x, due_at, e);
}

/* --- answers --------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc no_answer(struct bm_keeper *k, struct bm_errand *x, const struct bm_errand_kind *kind,
                            const struct bm_task_answer *a, int64_t now, struct bm_error *e)
{
    struct bm_error why;

    (void)bm_refuse(&why, BM_AGAIN, a->code, "%s", a->what);
    return a->retry || kind->tries == BM_ERRAND_INSISTS ? later(k, x, kind, &why, 0, now, e) : fail(k, x, &why, now, e);
}

static void outcome_done(struct bm_errand_outcome *o)
{
    bm_buf_done(&o->result);
    bm_buf_done(&o->payload);
}

/* What the other side asks for, within reason. */
static int64_t wait_of(const struct bm_errand_outcome *o)
{
    return o->wait_s < BM_ERRAND_WAIT_MAX_S ? o->wait_s : BM_ERRAND_WAIT_MAX_S;
}

static enum bm_rc judge(struct bm_keeper *k, struct bm_errand *x, const struct bm_errand_kind *kind, const struct bm_task_answer *a,
                        int64_t now, struct bm_error *e)
{
    BM_CLEANUP(outcome_done)
    struct bm_errand_outcome o = { .result = { .max = BM_COMMAND_MAX }, .payload = { .max = BM_COMMAND_MAX } };
    struct bm_error why = { 0 };
    enum bm_rc rc = kind->done(k, x, a, now, &o, &why);

    if (rc == BM_IO) {
        *e = why;
        return rc;
    }
    if (rc == BM_AGAIN && o.payload.n != 0)
        return go_on(k, x, &o.payload, now + wait_of(&o), e);
    if (rc == BM_AGAIN)
        return later(k, x, kind, &why, wait_of(&o), now, e);
    if (rc != BM_OK)
        return fail(k, x, &why, now, e);
    bm_buf_done(&x->result);
    x->result = o.result;
    o.result = (struct bm_buf){ 0 };
    return end(k, x, BM_ERRAND_DONE, NULL, now, e);
}

/* Only the answer to the attempt that this host has in hand counts: so it is taken in once, whoever says it how often. */
static enum bm_rc take_report(struct bm_keeper *k, const struct bm_errand_report *r, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };
    const struct bm_errand_kind *kind;
    struct bm_task_answer a;
    struct bm_error why;
    enum bm_rc rc = bm_errand_by_id(k->store, r->id, &x, e);

    if (rc == BM_NOTFOUND)
        return BM_OK;
    if (rc != BM_OK || strcmp(x.state, BM_ERRAND_RUNNING) != 0 || x.token != r->token || x.host_id != k->host.id)
        return rc;
    kind = kind_of(k, x.kind);
    if (kind == NULL) {
        (void)bm_refuse(&why, BM_BUG, "errand-unknown", "this program knows no errand '%s'", x.kind);
        return fail(k, &x, &why, now, e);
    }
    if (bm_task_answer_parse(r->answer, &a, &why) != BM_OK)
        return later(k, &x, kind, &why, 0, now, e);
    return a.failed ? no_answer(k, &x, kind, &a, now, e) : judge(k, &x, kind, &a, now, e);
}

/* --- handing out ----------------------------------------------------------------------------------------------------------------- */
struct hand_out {
    struct bm_errand_given given;
    struct bm_buf tasks[BM_ERRANDS_AT_ONCE];
};

static void hand_out_done(struct hand_out *h)
{
    for (size_t i = 0; i < BM_ERRANDS_AT_ONCE; i++)
        bm_buf_done(&h->tasks[i]);
}

static enum bm_rc give(struct bm_keeper *k, struct bm_errand *x, struct hand_out *h, int64_t now, struct bm_error *e)
{
    const struct bm_errand_kind *kind = kind_of(k, x->kind);
    struct bm_errand_work *w = &h->given.work[h->given.n];
    struct bm_buf *task = &h->tasks[h->given.n];
    struct bm_error why = { 0 };
    enum bm_rc rc = kind != NULL ? BM_OK : bm_refuse(&why, BM_BUG, "errand-unknown", "this program knows no errand '%s'", x->kind);

    task->max = BM_TASK_MAX;
    if (rc == BM_OK)
        rc = kind->task(k, x, now, task, &why);
    if (rc == BM_OK)
        rc = bm_buf_check(task, &why);
    if (rc != BM_OK) {
        bm_buf_done(task);
        *e = why;
        return rc == BM_IO ? rc : fail(k, x, &why, now, e);
    }
    x->tries++;
    x->token++;
    x->host_id = k->host.id;
    x->due_at = now + BM_ERRAND_LEASE_S;
    snprintf(x->state, sizeof x->state, BM_ERRAND_RUNNING);
    *w = (struct bm_errand_work){ .id = x->id, .token = x->token, .task = bm_buf_rd(task) };
    h->given.n++;
    return bm_errand_set(k->store, x, e);
}

/* Until there is no room, or nothing is due. */
static enum bm_rc hand_out(struct bm_keeper *k, size_t room, int64_t now, struct hand_out *h, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    k->errands.next_at = INT64_MAX; /* without room it is the courier's to ask again */
    while (rc == BM_OK && h->given.n < room) {
        BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };

        rc = bm_errand_due(k->store, BM_ERRAND_QUEUED, now, &x, e);
        if (rc == BM_OK)
            rc = x.deadline <= now ? expire(k, &x, now, e) : give(k, &x, h, now, e);
    }
    return rc == BM_NOTFOUND ? bm_errand_next_due(k->store, BM_ERRAND_QUEUED, &k->errands.next_at, e) : rc;
}

enum bm_rc bm_run_errand(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(hand_out_done) struct hand_out h = { 0 };
    struct bm_errand_ask a;
    enum bm_rc rc = bm_errand_ask_parse(payload, &a, e);

    if (rc != BM_OK)
        return rc;
    if (a.fresh)
        rc = bm_errand_release(k->store, k->host.id, now, e);
    for (size_t i = 0; rc == BM_OK && i < a.n; i++)
        rc = take_report(k, &a.reports[i], now, e);
    if (rc == BM_OK)
        rc = hand_out(k, a.room, now, &h, e);
    if (rc != BM_OK)
        return bm_wrap(e, BM_IO, "errands"); /* whatever it is: rows may have been written, so the transaction must go */
    bm_errand_given_write(out, &h.given);
    return BM_OK;
}

/* --- without being asked --------------------------------------------------------------------------------------------------------- */
bool bm_errands_wake(struct bm_keeper *k, int64_t now)
{
    if (k->errands.next_at > now)
        return false;
    k->errands.next_at = INT64_MAX;
    return true;
}

/* The courier of the host that had it has not been heard of in time. */
static enum bm_rc lease_over(struct bm_keeper *k, struct bm_errand *x, int64_t now, struct bm_error *e)
{
    const struct bm_errand_kind *kind = kind_of(k, x->kind);
    struct bm_error why;

    (void)bm_refuse(&why, BM_AGAIN, "errand-lost", "whoever had it in hand was not heard of again");
    return kind != NULL ? later(k, x, kind, &why, 0, now, e) : fail(k, x, &why, now, e);
}

static enum bm_rc step(struct bm_keeper *k, int64_t now, int64_t *ret_n, struct bm_error *e)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };
    enum bm_rc rc = bm_errand_overdue(k->store, now, &x, e);

    *ret_n = 1;
    if (rc == BM_OK)
        return expire(k, &x, now, e);
    if (rc == BM_NOTFOUND)
        rc = bm_errand_due(k->store, BM_ERRAND_RUNNING, now, &x, e);
    if (rc == BM_OK)
        return lease_over(k, &x, now, e);
    return rc == BM_NOTFOUND ? bm_errand_forget(k->store, now, FORGET_AT_ONCE, ret_n, e) : rc;
}

/* Reads only: most of the time there is nothing. */
static bool anything(struct bm_keeper *k, int64_t now)
{
    static const char *const ended[] = { BM_ERRAND_RUNNING, BM_ERRAND_DONE, BM_ERRAND_FAILED, BM_ERRAND_EXPIRED };
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };
    int64_t at;

    for (size_t i = 0; i < BM_COUNT(ended); i++)
        if (bm_errand_next_due(k->store, ended[i], &at, NULL) == BM_OK && at <= now)
            return true;
    return bm_errand_overdue(k->store, now, &x, NULL) == BM_OK;
}

bool bm_errands_step(struct bm_keeper *k, int64_t now)
{
    int64_t now_ms = bm_clock_steady_ms(), n = 0;
    struct bm_error e;
    enum bm_rc rc;

    if (now_ms < k->errands.look_ms)
        return false;
    k->errands.look_ms = now_ms + LOOK_MS;
    if (k->host.n > 1 && bm_errand_next_due(k->store, BM_ERRAND_QUEUED, &k->errands.next_at, &e) != BM_OK) /* others add, too */
        return false;
    if (!anything(k, now))
        return false;
    rc = bm_keeper_begin(k, &e);
    if (rc == BM_OK)
        rc = step(k, now, &n, &e);
    rc = bm_keeper_settle(k, rc, &e);
    if (rc != BM_OK) {
        bm_log(BM_LOG_WARN, "errand", "%s", e.what);
        return false;
    }
    k->errands.look_ms = n != 0 ? 0 : k->errands.look_ms;
    return n != 0;
}
