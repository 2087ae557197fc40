/* What the keeper does of its own accord: a list, one piece at a time. */
#include "base/clock.h"
#include "base/log.h"
#include "keeper/errand.h"
#include "keeper/job.h"

static const struct bm_chore *const chores[] = { &bm_chore_rental, &bm_chore_cmp, &bm_chore_acme, &bm_chore_upstream,
                                                 &bm_chore_maker_crl };

static enum bm_rc do_due(struct bm_keeper *k, const struct bm_chore *c, int64_t now, bool *ret_more, struct bm_error *e)
{
    int64_t began = bm_clock_steady_ms();
    enum bm_rc rc;

    do /* one at least, however slow the machine */
        rc = c->next(k, now, e);
    while (rc == BM_OK && bm_clock_steady_ms() - began < BM_CHORE_MS);
    *ret_more = rc == BM_OK;
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

/* A look costs no transaction. */
bool bm_chore_step(struct bm_keeper *k, const struct bm_chore *c, int64_t now)
{
    struct bm_error e;
    bool more = false;
    enum bm_rc rc = c->look(k, now, &e);

    if (rc == BM_NOTFOUND)
        return false;
    if (rc == BM_OK)
        rc = bm_keeper_begin(k, &e);
    if (rc == BM_OK)
        rc = bm_keeper_settle(k, do_due(k, c, now, &more, &e), &e);
    if (rc != BM_OK && !bm_store_collided(k->store)) /* another host is at it too */
        bm_log(BM_LOG_ERROR, c->name, "cannot %s: %s", c->what, e.what);
    return rc == BM_OK && more;
}

bool bm_chores_step(struct bm_keeper *k, int64_t now)
{
    bool more = bm_jobs_step(k, now);

    more = bm_errands_step(k, now) || more;
    for (size_t i = 0; i < BM_COUNT(chores); i++)
        more = bm_chore_step(k, chores[i], now) || more;
    bm_kek_work(k);
    return more || bm_kek_pending(k);
}
