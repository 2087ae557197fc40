/* targets: bm_jws_split bm_jws_header_parse bm_jws_verify */
#include "pki/jws.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* The key of RFC 8037 appendix A.2. */
static EVP_PKEY *verifier(void)
{
    static const uint8_t raw[32] = {
        0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
        0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a
    };
    static EVP_PKEY *key;

    if (key == NULL)
        key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw, sizeof raw);
    return key;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_rd in = bm_rd_of(p, n);
    struct bm_jws_header h;
    struct bm_error e;
    struct bm_jws j;

    if (bm_jws_header_parse(in, &h, NULL) == BM_OK)
        bm_jws_header_done(&h);
    if (bm_jws_split(in, &j, &e) != BM_OK) {
        must(e.rc == BM_MALFORMED || e.rc == BM_LIMIT);
        return 0;
    }
    must(j.protected_b64.n + j.payload_b64.n + j.signature_b64.n + 2 == n);
    if (bm_jws_header_parse(j.protected_b64, &h, &e) == BM_OK) {
        must(h.alg[0] != '\0' && h.x5c.n <= BM_CERT_MAX);
        bm_jws_header_done(&h);
    } else {
        must(e.rc == BM_MALFORMED || e.rc == BM_LIMIT);
    }
    must(bm_jws_verify(&j, verifier(), &e) == BM_OK || e.rc == BM_DENIED || e.rc == BM_MALFORMED || e.rc == BM_LIMIT);
    return 0;
}
