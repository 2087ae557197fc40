/* targets: bm_jwe_parse bm_jwe_open */
#include "pki/jwe.h"

#include <openssl/ec.h>
#include <stdlib.h>
#include <string.h>

/* What is accepted is well formed in every member, and a stranger's bytes open nothing: a key of this process has sealed none of them. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static struct bm_key *key;
    struct bm_buf plain = { .max = BM_JWE_PLAIN_MAX };
    struct bm_jwe j;

    if (key == NULL && bm_key_of_evp(EVP_EC_gen("P-256"), &key, NULL) != BM_OK)
        abort();
    if (bm_jwe_parse(bm_rd_of(p, n), &j, NULL) != BM_OK)
        return 0;
    if (n > BM_JWE_MAX || j.sealed_len == 0 || j.sealed_len > sizeof j.sealed || strlen(j.sub) == 0 || j.epk[0] != 4)
        abort();
    if (bm_jwe_open(&j, key, bm_rd_str(j.sub), &plain, NULL) == BM_OK)
        abort();
    bm_buf_done(&plain);
    return 0;
}
