/* Group commit: runs what has come from all connections in one transaction, commits, and only then lets the answers go. If the commit
 * fails, every answer of the batch becomes a refusal. */
#include "keeper/loop.h"

#include "base/clock.h"
#include "base/frame.h"
#include "base/log.h"
#include "base/metrics.h"

#include <string.h>

static void put_refusal(struct conn *c, uint64_t id, const struct bm_error *why)
{
    size_t at = bm_frame_begin(&c->out, id, BM_REFUSAL);

    bm_refused_write(&c->out, why, bm_retry_after(why));
    bm_frame_end(&c->out, at);
}

/* Another host has changed what this batch changes: its commands go back into the queue and run again, on what there is now. They come in
 * smaller and smaller batches, down to one command, where nobody can deadlock. */
static bool give_back(struct loop *l)
{
    int64_t now = bm_clock_steady_ms();

    if (!bm_store_collided(l->k->store))
        return false;
    if (l->collides_since_ms != 0 && now - l->collides_since_ms > BM_COLLISIONS_MS) {
        bm_log(BM_LOG_WARN, "hosts", "other hosts' changes have undone what was asked here for %d ms", BM_COLLISIONS_MS);
        return false;
    }
    l->collides_since_ms = l->collides_since_ms != 0 ? l->collides_since_ms : now;
    l->halved += BM_BATCH_COMMANDS >> l->halved > 1;
    for (size_t i = 0; i < l->n_conns; i++) {
        l->conns[i]->taken = 0;
        l->conns[i]->out.n = l->conns[i]->mark;
    }
    return true;
}

/* Nobody will ask for these commands again. */
static void drop_taken(struct conn *c)
{
    if (c->secret)
        bm_wipe(c->in.p, c->taken);
    c->secret = false;
    bm_buf_drop(&c->in, c->taken);
    c->taken = 0;
    if (c->in.n == 0 && c->party != ADMINISTRATOR && c->in.cap > BM_COMMAND_MAX + READ_STEP)
        bm_buf_done(&c->in); /* manifests come seldom */
}

static void take_for_good(struct loop *l)
{
    for (size_t i = 0; i < l->n_conns; i++)
        drop_taken(l->conns[i]);
}

/* The operator reads the cause in the log; the device learns only that nothing was stored. */
static void lose(struct loop *l, const struct bm_error *why)
{
    if (!l->lost && !bm_store_collided(l->k->store))
        bm_log(BM_LOG_ERROR, "storage", "%s", why->what);
    l->lost = true;
    if (strcmp(bm_error_code(why), "journal-unavailable") == 0)
        bm_refuse(&l->why_lost, BM_IO, "journal-unavailable",
                  "the server cannot write to its journal right now, so nothing was issued or changed; try again later");
    else
        bm_refuse(&l->why_lost, BM_IO, "storage-unavailable",
                  "the server cannot write to its registry right now, so nothing was issued or changed; try again later");
}

static void begin_batch(struct loop *l)
{
    for (size_t i = 0; i < l->n_conns; i++)
        l->conns[i]->mark = l->conns[i]->out.n;
    l->n_batch = 0;
    l->in_transaction = l->lost = l->alone = false;
    l->device_since_ms = 0;
    l->batch_began_ms = bm_clock_steady_ms();
}

/* Together with the worker's lines and "judged", the trace of a request. */
static void log_committed(const struct loop *l)
{
    for (size_t i = 0; i < l->n_batch; i++)
        if (l->batch[i].correlation[0] != '\0')
            bm_log(BM_LOG_DEBUG, "committed", "correlation=%s commands=%zu", l->batch[i].correlation, l->n_batch);
}

static void refuse_all(struct loop *l, const struct bm_error *why)
{
    if (!l->lost)
        lose(l, why);
    for (size_t i = 0; i < l->n_conns; i++)
        l->conns[i]->out.n = l->conns[i]->mark < l->conns[i]->out.n ? l->conns[i]->mark : l->conns[i]->out.n;
    for (size_t i = 0; i < l->n_batch; i++)
        put_refusal(l->batch[i].conn, l->batch[i].id, &l->why_lost);
}

static void end_batch(struct loop *l)
{
    struct bm_error e;
    enum bm_rc rc = l->in_transaction ? bm_observe_settle(l->k, l->n_batch, l->lost ? BM_IO : BM_OK, &e) : BM_OK;

    if (rc != BM_OK && give_back(l))
        return;
    take_for_good(l);
    if (l->in_transaction) {
        l->collides_since_ms = 0;
        l->halved = 0;
    }
    if (rc != BM_OK)
        refuse_all(l, &e);
    else if (l->in_transaction)
        log_committed(l);
}

static bool batch_full(const struct loop *l)
{
    int64_t now = bm_clock_steady_ms();

    return l->n_batch == (size_t)BM_BATCH_COMMANDS >> l->halved || l->lost || l->alone ||
           (l->device_since_ms != 0 && now - l->device_since_ms >= BM_BATCH_MS) || now - l->batch_began_ms >= BM_IMPORT_BATCH_MS;
}

static bool open_transaction(struct loop *l)
{
    struct bm_error e;

    if (l->in_transaction)
        return true;
    l->in_transaction = true; /* also when it fails: end_batch() then rolls back what may be half begun */
    if (bm_keeper_begin(l->k, &e) == BM_OK)
        return true;
    lose(l, &e);
    return false;
}

static struct waiting waiting_for(struct conn *c, const struct bm_frame *f)
{
    struct waiting w = { .conn = c, .id = f->id };

    if (bm_log_on(BM_LOG_DEBUG) && (f->type == BM_CMD_ENROL || f->type == BM_CMD_STATUS))
        bm_enrol_correlation(f->payload, w.correlation);
    return w;
}

static void run_frame(struct loop *l, struct conn *c, const struct bm_frame *f)
{
    struct bm_command_in cmd = { .type = f->type,
                                 .admin = c->party == ADMINISTRATOR,
                                 .courier = c->party == COURIER,
                                 .actor = c->actor,
                                 .payload = f->payload };
    size_t at = c->out.n;
    struct bm_error e = { 0 };
    enum bm_rc rc;

    l->batch[l->n_batch++] = waiting_for(c, f);
    if (c->party != ADMINISTRATOR && l->device_since_ms == 0)
        l->device_since_ms = bm_clock_steady_ms();
    if (bm_command_needs_transaction(l->k, &cmd) && !open_transaction(l))
        return;
    at = bm_frame_begin(&c->out, f->id, (uint8_t)(f->type | BM_ANSWER));
    rc = bm_command_run(l->k, &cmd, &c->out, &e);
    bm_metric_add(BM_M_COMMANDS, f->type, rc == BM_OK ? BM_OUTCOME_OK : BM_OUTCOME_REFUSED, 1);
    if (rc == BM_OK) {
        bm_frame_end(&c->out, at);
        return;
    }
    c->out.n = at;
    if (rc == BM_IO && l->in_transaction)
        lose(l, &e);
    else
        put_refusal(c, f->id, &e);
}

/* How large the frame may be that begins here. Only an API call may bring a manifest block; what else is so long is not waited for. */
static size_t frame_max(const struct conn *c, struct bm_rd in)
{
    if (c->party == ADMINISTRATOR)
        return BM_FRAME_MAX;
    if (c->party == COURIER)
        return BM_ERRAND_COMMAND_MAX;
    return in.n < BM_FRAME_HEAD || in.p[BM_FRAME_HEAD - 1] == BM_CMD_API ? BM_API_COMMAND_MAX : BM_COMMAND_MAX;
}

static struct bm_rd untaken(const struct conn *c)
{
    return c->taken != 0 ? bm_rd_of(c->in.p + c->taken, c->in.n - c->taken) : bm_buf_rd(&c->in);
}

/* Runs frames of one connection until it has none, the batch is full, or a command comes up that wants the store for itself. */
static bool run_conn(struct loop *l, struct conn *c)
{
    struct bm_rd in = untaken(c);
    struct bm_error e;
    struct bm_frame f;
    enum bm_rc rc = BM_OK;
    bool any = false;

    while (!c->gone && !batch_full(l) && c->out.n < c->out.max / 2) {
        struct bm_rd before = in;
        bool alone;

        rc = bm_frame_read(&in, frame_max(c, in), &f, &e);
        if (rc != BM_OK)
            break;
        alone = bm_command_stands_alone(l->k, &(struct bm_command_in){ .type = f.type, .payload = f.payload });
        if (alone && l->n_batch != 0) {
            in = before;
            any = true; /* so that another batch follows */
            break;
        }
        run_frame(l, c, &f);
        c->secret = c->secret || f.type == BM_CMD_API; /* there is a token in it */
        l->alone = alone;
        any = true;
    }
    if (rc == BM_LIMIT) {
        bm_log(BM_LOG_ERROR, "frame", "%s from a %s; hanging up", e.what, bm_loop_party_word[c->party]);
        c->gone = true;
    }
    c->taken = c->in.n - in.n;
    if (l->k->host.n <= 1) /* nobody to collide with: room for more right away */
        drop_taken(c);
    return any;
}

/* One batch; false when nothing was there to do. */
bool bm_loop_run_batch(struct loop *l)
{
    bool any = false;

    begin_batch(l);
    do {
        for (size_t i = 0; i < l->n_conns; i++)
            any |= run_conn(l, l->conns[i]);
    } while (l->in_transaction && !batch_full(l) && l->device_since_ms == 0 && bm_loop_read_more(l));
    end_batch(l);
    if (any)
        l->busy_at_ms = bm_clock_steady_ms();
    return any;
}
