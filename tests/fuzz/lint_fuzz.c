/* targets: bm_cert_lint bm_cert_describe */
#include "pki/describe.h"
#include "pki/lint.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static enum bm_rc note(void *arg, const struct bm_lint_rule *r, struct bm_error *e)
{
    (void)e;
    if (r->name == NULL || r->what == NULL)
        abort();
    (*(size_t *)arg)++;
    return BM_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    size_t broken = 0;
    struct bm_cert c;

    if (bm_cert_lint(bm_rd_of(p, n), note, &broken, NULL) != BM_OK && broken != 0)
        abort(); /* what has no shape breaks no rule */
    if (bm_cert_parse(bm_rd_of(p, n), &c, NULL) == BM_OK)
        json_decref(bm_cert_describe(&c));
    return 0;
}
