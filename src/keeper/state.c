#include "keeper/state.h"

#include <string.h>

static const char *const names[BM_STATES] = {
    [BM_REGISTERED] = "registered", [BM_ALLOCATED] = "allocated", [BM_ACTIVE] = "active",
    [BM_SUSPENDED] = "suspended",   [BM_RETIRED] = "retired",     [BM_COMPROMISED] = "compromised",
};

#define TO(s) (1u << (s))
static const unsigned legal[BM_STATES] = {
    [BM_REGISTERED] = TO(BM_ALLOCATED) | TO(BM_COMPROMISED),
    [BM_ALLOCATED] = TO(BM_ACTIVE) | TO(BM_RETIRED) | TO(BM_COMPROMISED),
    [BM_ACTIVE] = TO(BM_ALLOCATED) | TO(BM_SUSPENDED) | TO(BM_RETIRED) | TO(BM_COMPROMISED),
    [BM_SUSPENDED] = TO(BM_ACTIVE) | TO(BM_RETIRED) | TO(BM_COMPROMISED),
    [BM_RETIRED] = TO(BM_COMPROMISED),
    [BM_COMPROMISED] = TO(BM_RETIRED),
};

const char *bm_state_name(enum bm_state s)
{
    return (size_t)s < BM_STATES ? names[s] : "?";
}

bool bm_state_parse(const char *word, enum bm_state *ret)
{
    for (size_t i = 0; i < BM_STATES; i++) {
        if (strcmp(word, names[i]) == 0) {
            *ret = (enum bm_state)i;
            return true;
        }
    }
    return false;
}

enum bm_rc bm_state_move(enum bm_state from, enum bm_state to, struct bm_error *e)
{
    if ((size_t)from < BM_STATES && (size_t)to < BM_STATES && (legal[from] & TO(to)) != 0)
        return BM_OK;
    return bm_refuse(e, BM_CONFLICT, "illegal-transition", "a device that is %s cannot become %s", bm_state_name(from),
                     bm_state_name(to));
}
