/* All kinds of errands: one row each, in its own file. */
#include "keeper/brski.h"
#include "keeper/scep_hook.h"
#include "keeper/upstream_revoke.h"

extern const struct bm_errand_kind bm_errand_acme_http, bm_errand_acme_dns, bm_errand_acme_tls, bm_errand_maker_crl;

const struct bm_errand_kind *const bm_errand_kinds[] = {
    &bm_errand_masa,      &bm_errand_acme_http, &bm_errand_acme_dns,
    &bm_errand_acme_tls,  &bm_errand_upstream,  &bm_errand_upstream_revoke,
    &bm_errand_scep_hook, &bm_errand_maker_crl, NULL,
};
