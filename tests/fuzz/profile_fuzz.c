/* targets: bm_profile_parse bm_profile_csrattrs bm_cert_issue
 * Input: the profile's JSON, and after a NUL the text that stands for the words. What comes out must parse and verify. */
#include "pki/cert.h"

#include <openssl/ec.h>
#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

static const struct bm_key *signer(void)
{
    static struct bm_key *key;

    if (key == NULL)
        must(bm_key_of_evp(EVP_EC_gen("P-256"), &key, NULL) == BM_OK);
    return key;
}

static void issue(const struct bm_profile *p, const char *word)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX };
    struct bm_subject_words words = { .udid = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
                                      .serial = word,
                                      .product = word,
                                      .batch = word,
                                      .org = word,
                                      .service = word,
                                      .host = word,
                                      .attributes = bm_rd_str(word) };
    struct bm_issue i = { .profile = p,
                          .issuer_key = signer(),
                          .spki = bm_key_spki(signer()),
                          .words = &words,
                          .now = 1790000000,
                          .not_after_max = INT64_MAX };
    int64_t before, after;
    struct bm_error e;
    struct bm_cert c;

    if (bm_cert_issue(&i, &der, &before, &after, &e) != BM_OK) {
        must(e.rc == BM_DENIED || e.rc == BM_LIMIT);
        return;
    }
    must(bm_cert_parse(bm_buf_rd(&der), &c, NULL) == BM_OK);
    must(c.ca == bm_profile_is_ca(p) && c.not_before == before && c.not_after == after && !c.unknown_critical);
    must(!c.ca || bm_cert_check_link(&c, &c, i.now, NULL) == BM_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    const uint8_t *nul = n != 0 ? memchr(p, 0, n) : NULL;
    size_t json_len = nul != NULL ? (size_t)(nul - p) : n, rest = nul != NULL ? n - json_len - 1 : 0;
    BM_CLEANUP(bm_buf_done) struct bm_buf attrs = { .max = 256 };
    BM_CLEANUP(bm_profile_freep) struct bm_profile *profile = NULL;
    struct bm_error e;
    char *word;

    if (bm_profile_parse("fuzz", bm_rd_of(p, json_len), &profile, &e) != BM_OK) {
        must(e.rc == BM_USAGE || e.rc == BM_LIMIT);
        return 0;
    }
    must(bm_profile_csrattrs(profile, true, &attrs, NULL) == BM_OK);
    word = malloc(rest + 1);
    must(word != NULL);
    if (rest != 0)
        memcpy(word, nul + 1, rest);
    word[rest] = '\0';
    issue(profile, word);
    free(word);
    return 0;
}
