/* targets: bm_ocsp_request_parse bm_ocsp_id_is bm_ocsp_path_decode */
#include "pki/ocsp.h"
#include "protocol/revocation.h"

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

static void as_path(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_OCSP_REQUEST_MAX };
    struct bm_error e;

    must(bm_ocsp_path_decode(in, &der, &e) == BM_OK || e.rc == BM_MALFORMED || e.rc == BM_LIMIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const struct bm_ocsp_issuer nobody;
    struct bm_rd in = bm_rd_of(p, n);
    struct bm_ocsp_request q;
    struct bm_error e;

    as_path(in);
    if (bm_ocsp_request_parse(in, &q, &e) != BM_OK) {
        must(e.rc == BM_MALFORMED || e.rc == BM_LIMIT);
        return 0;
    }
    must(q.n >= 1 && q.n <= BM_OCSP_IDS_MAX && q.nonce.n <= BM_OCSP_NONCE_MAX && inside(q.nonce, in));
    for (size_t i = 0; i < q.n; i++) {
        const struct bm_ocsp_id *id = &q.ids[i];

        must(inside(id->whole, in) && inside(id->name_hash, id->whole) && inside(id->key_hash, id->whole) &&
             inside(id->serial, id->whole));
        (void)bm_ocsp_id_is(id, &nobody);
    }
    return 0;
}
