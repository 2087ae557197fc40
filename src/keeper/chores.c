/* What the keeper does of its own accord: a list, one piece at a time. */
#include "keeper/ownership.h"

bool bm_chores_step(struct bm_keeper *k, int64_t now)
{
    return bm_rentals_step(k, now);
}
