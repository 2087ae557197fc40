/* All kinds of errands: one row each, in its own file. */
#include "keeper/brski.h"
#include "keeper/errand.h"

const struct bm_errand_kind *const bm_errand_kinds[] = {
    &bm_errand_masa,
    NULL,
};
