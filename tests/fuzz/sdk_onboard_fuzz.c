/* targets: bmd_challenge_read bmd_enrolled_read bmd_status_read bmd_problem_read bmd_cbor_skip */
#include "core/cbor.h"
#include "core/onboard.h"

#include <stdlib.h>

static void inside(struct bmd_rd part, struct bmd_rd whole)
{
    if (part.n != 0 && (part.p < whole.p || part.n > whole.n || (size_t)(part.p - whole.p) > whole.n - part.n))
        abort();
}

static void enrolled(struct bmd_rd in)
{
    static struct bmd_enrolled e;

    if (bmd_enrolled_read(in, &e) != BMD_OK)
        return;
    inside(e.correlation, in);
    for (size_t i = 0; i < e.n_anchors; i++)
        inside(e.anchors[i], in);
    for (size_t i = 0; i < e.n_credentials; i++) {
        inside(e.credentials[i].certificate, in);
        for (size_t k = 0; k < e.credentials[i].n_chain; k++)
            inside(e.credentials[i].chain[k], in);
        for (size_t k = 0; k < e.credentials[i].n_endpoints; k++)
            inside(e.credentials[i].endpoints[k], in);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static struct bmd_status s;
    struct bmd_rd in = bmd_rd_of(p, n), rest = in;
    struct bmd_challenge c;
    struct bmd_problem problem;

    enrolled(in);
    if (bmd_status_read(in, &s) == BMD_OK)
        inside(s.status, in);
    if (bmd_challenge_read(in, &c) == BMD_OK)
        inside(c.challenge, in);
    if (bmd_problem_read(in, &problem) == BMD_OK)
        inside(problem.code, in);
    if (bmd_cbor_skip(&rest) == BMD_OK && rest.n >= n && n != 0)
        abort(); /* an item has at least one byte */
    return 0;
}
