/* The limits of the keeper that the configuration may change (base/limits.h has the others). */
#include "keeper/internal.h"

#include "base/config.h"

struct bm_keeper_limits bm_keeper_limits_of(const struct bm_config *c)
{
    return (struct bm_keeper_limits){
        .scep_strangers_second = c->scep_strangers_per_second,
        .scep_strangers_address = c->scep_strangers_per_minute,
        .scep_known_key = c->scep_known_per_minute,
        .voucher_request_age_s = c->voucher_request_seconds,
        .voucher_events = c->voucher_log_entries,
    };
}

static void or_default(unsigned *limit, unsigned otherwise)
{
    if (*limit == 0)
        *limit = otherwise;
}

void bm_keeper_limits_fill(struct bm_keeper_limits *l)
{
    or_default(&l->scep_strangers_second, BM_SCEP_STRANGERS_SECOND);
    or_default(&l->scep_strangers_address, BM_SCEP_STRANGERS_ADDRESS);
    or_default(&l->scep_known_key, BM_SCEP_KNOWN_KEY);
    or_default(&l->voucher_request_age_s, BM_VOUCHER_REQUEST_AGE_S);
    or_default(&l->voucher_events, BM_VOUCHER_EVENTS_MAX);
}
