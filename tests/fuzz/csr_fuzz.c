/* targets: bm_csr_parse bm_csr_verify */
#include "pki/cert.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

static bool inside(struct bm_rd part, struct bm_rd whole)
{
    return part.n == 0 || (part.p >= whole.p && part.n <= whole.n && (size_t)(part.p - whole.p) <= whole.n - part.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_rd in = bm_rd_of(p, n);
    struct bm_error e;
    struct bm_csr c;

    if (bm_csr_parse(in, &c, &e) != BM_OK) {
        must(e.rc == BM_MALFORMED || e.rc == BM_LIMIT);
        return 0;
    }
    must(inside(c.info, in) && inside(c.sig_alg, in) && inside(c.sig, in) && inside(c.subject, c.info));
    must(inside(c.spki, c.info) && inside(c.san, c.info) && inside(c.challenge_password, c.info));
    must(bm_csr_verify(&c, &e) == BM_OK || e.rc == BM_DENIED || e.rc == BM_MALFORMED || e.rc == BM_LIMIT);
    return 0;
}
