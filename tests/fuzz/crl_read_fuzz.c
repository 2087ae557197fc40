/* targets: bm_crl_parse bm_crl_next bm_crl_index_make bm_crl_index_find bm_crl_in_file */
#include "pki/crl_read.h"

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

/* Each entry there is, is found by its serial number; what is not there, is not. */
static void look_up(const struct bm_crl *crl)
{
    BM_CLEANUP(bm_crl_index_done) struct bm_crl_index x = { 0 };
    struct bm_rd rest = crl->entries;
    struct bm_crl_entry entry, found;
    struct bm_error e;
    size_t n = 0;

    must(bm_crl_index_make(crl, &x, &e) == BM_OK && x.n == crl->n);
    for (; bm_crl_next(&rest, &entry); n++) {
        must(inside(entry.serial, crl->entries) && entry.reason >= 0 && entry.reason <= 10);
        must(bm_crl_index_find(&x, crl, entry.serial, &found) && bm_rd_eq(found.serial, entry.serial));
    }
    must(n == crl->n && rest.n == 0);
    must(!bm_crl_index_find(&x, crl, bm_rd_of(NULL, 0), &found));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = 1 << 20 };
    struct bm_rd in = bm_rd_of(p, n);
    struct bm_error e;
    struct bm_crl crl;

    if (bm_crl_in_file(in, &der, &e) == BM_OK)
        in = bm_buf_rd(&der);
    if (bm_crl_parse(in, &crl, &e) != BM_OK) {
        must(e.rc == BM_MALFORMED || e.rc == BM_LIMIT);
        return 0;
    }
    must(inside(crl.tbs, in) && inside(crl.issuer, crl.tbs) && inside(crl.akid, crl.tbs) && inside(crl.entries, crl.tbs) &&
         inside(crl.sig, in) && inside(crl.sig_alg, in));
    look_up(&crl);
    return 0;
}
