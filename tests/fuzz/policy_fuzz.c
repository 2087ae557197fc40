/* targets: bm_policy_parse */
#include "base/text.h"
#include "keeper/policy.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_policy v;
    struct bm_error e;

    if (bm_policy_parse(bm_rd_of(p, n), &v, &e) != BM_OK) {
        must(e.rc == BM_USAGE && e.what[0] != '\0');
        return 0;
    }
    must(v.n_rot <= BM_COUNT(v.rot) && v.n_protocols <= BM_COUNT(v.protocols) && v.n_services <= BM_COUNT(v.services));
    must(bm_name_ok(v.profile) && (v.ca[0] == '\0' || bm_name_ok(v.ca)));
    must(v.renew_after_percent >= 10 && v.renew_after_percent <= 95);
    for (size_t i = 0; i < v.n_services; i++)
        must(bm_name_ok(v.services[i]));
    for (size_t i = 0; i < v.n_rot; i++)
        must(bm_name_ok(v.rot[i]));
    return 0;
}
