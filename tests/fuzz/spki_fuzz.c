/* targets: bm_spki_parse bm_spki_open bm_verify_x509 bm_verify_raw bm_udid_of */
#include "pki/key.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

static const uint8_t algorithm[] = { 0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2 }; /* ecdsa-with-SHA256 */

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_rd in = bm_rd_of(p, n);
    struct bm_error e;
    struct bm_spki k;
    uint8_t udid[32];

    bm_udid_of(in, udid);
    if (bm_spki_parse(in, &k, &e) != BM_OK) {
        must(e.rc == BM_MALFORMED || e.rc == BM_LIMIT);
        return 0;
    }
    must(bm_rd_eq(k.whole, in) && k.raw.n < n && strlen(k.alg) < sizeof k.alg);
    if (bm_spki_open(&k, &key, &e) != BM_OK)
        return 0;
    must(bm_verify_x509(key, bm_rd_of(algorithm, sizeof algorithm), in, k.raw, &e) != BM_OK); /* nobody signed this */
    must(bm_verify_raw(key, in, k.raw, &e) != BM_OK);
    return 0;
}
