/* targets: bm_attest_parse bm_attest_verify bm_tpm_certified bm_apple_read bm_cbor_load */
#include "pki/attest.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_attest a = { 0 };
    struct bm_attested got = { 0 };
    struct bm_error e;

    if (bm_attest_parse(bm_rd_of(p, n), &a, &e) != BM_OK) {
        must((e.rc == BM_MALFORMED || e.rc == BM_LIMIT) && e.code[0] != '\0');
        return 0;
    }
    must(a.fmt[0] != '\0' && a.n_x5c <= BM_ATTEST_CERTS_MAX);
    if (bm_attest_verify(&a, bm_rd_str("token.thumbprint"), &got, &e) == BM_OK)
        must(got.signer.n != 0);
    else
        must(e.rc == BM_DENIED);
    bm_attested_done(&got);
    bm_attest_done(&a);
    return 0;
}
