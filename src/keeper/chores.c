/* What the keeper does of its own accord: a list, one piece at a time. */
#include "keeper/errand.h"
#include "keeper/job.h"
#include "keeper/ownership.h"

bool bm_chores_step(struct bm_keeper *k, int64_t now)
{
    bool more = bm_rentals_step(k, now);

    more = bm_jobs_step(k, now) || more;
    more = bm_errands_step(k, now) || more;
    more = bm_cmp_step(k, now) || more;
    more = bm_acme_step(k, now) || more;
    bm_kek_work(k);
    return more || bm_kek_pending(k);
}
