#include "pki/impl.h"

static const char *const digest_names[] = { [BM_SHA256] = "SHA256", [BM_SHA384] = "SHA384", [BM_SHA512] = "SHA512" };

const char *bm_digest_name(enum bm_digest d)
{
    return d < BM_COUNT(digest_names) ? digest_names[d] : NULL;
}

const EVP_MD *bm_digest_md(enum bm_digest d)
{
    static _Thread_local EVP_MD *fetched[BM_COUNT(digest_names)];

    if (d >= BM_COUNT(fetched))
        return NULL;
    if (fetched[d] == NULL)
        fetched[d] = EVP_MD_fetch(NULL, digest_names[d], NULL);
    return fetched[d];
}

/* One context per thread, kept: making one costs as much as hashing a small message. */
size_t bm_digest_of(enum bm_digest d, struct bm_rd in, uint8_t ret[BM_DIGEST_MAX])
{
    static _Thread_local EVP_MD_CTX *ctx;
    const EVP_MD *md = bm_digest_md(d);
    unsigned n = 0;

    if (ctx == NULL)
        ctx = EVP_MD_CTX_new();
    if (ctx == NULL || md == NULL || EVP_DigestInit_ex2(ctx, md, NULL) != 1 || EVP_DigestUpdate(ctx, in.p, in.n) != 1)
        return 0;
    return EVP_DigestFinal_ex(ctx, ret, &n) == 1 ? n : 0;
}
