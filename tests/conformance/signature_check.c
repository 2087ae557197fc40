/* signature_check FILE: asks our signature checks about a file of Wycheproof's vectors. One line for each test: its number, what is wanted, and
 * "taken" or "refused". Exit status 3: no group in the file is of a kind that we verify. */
#include "base/text.h"
#include "pki/impl.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_MAX = 1 << 20 };

struct vector {
    struct bm_buf spki, message, signature;
    enum bm_digest digest;
};

static enum bm_digest digest_of(const json_t *group)
{
    static const char *const names[] = { [BM_SHA256] = "SHA-256", [BM_SHA384] = "SHA-384", [BM_SHA512] = "SHA-512" };
    const char *sha = json_string_value(json_object_get(group, "sha"));

    for (size_t i = 0; sha != NULL && i < BM_COUNT(names); i++)
        if (names[i] != NULL && strcmp(names[i], sha) == 0)
            return (enum bm_digest)i;
    return BM_DIGEST_NONE;
}

/* --- as in certificates ------------------------------------------------------------------------------------------------------------- */
static const struct {
    const char *type;
    enum bm_digest digest;
    struct bm_rd alg; /* AlgorithmIdentifier */
} algs[] = {
    { "EcdsaVerify", BM_SHA256, BM_LIT("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02") },
    { "EcdsaVerify", BM_SHA384, BM_LIT("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03") },
    { "EcdsaVerify", BM_SHA512, BM_LIT("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04") },
    { "RsassaPkcs1Verify", BM_SHA256, BM_LIT("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00") },
    { "RsassaPkcs1Verify", BM_SHA384, BM_LIT("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c\x05\x00") },
    { "RsassaPkcs1Verify", BM_SHA512, BM_LIT("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d\x05\x00") },
    { "EddsaVerify", BM_DIGEST_NONE, BM_LIT("\x30\x05\x06\x03\x2b\x65\x70") },
};

static struct bm_rd alg_of(const char *type, enum bm_digest d)
{
    for (size_t i = 0; i < BM_COUNT(algs); i++)
        if (strcmp(algs[i].type, type) == 0 && algs[i].digest == d)
            return algs[i].alg;
    return bm_rd_of(NULL, 0);
}

/* Ours are of fixed length there: r and s one after the other, as in JOSE and COSE. */
static bool is_raw(const char *type)
{
    return strcmp(type, "EcdsaP1363Verify") == 0;
}

static bool verify(const char *type, const struct vector *v)
{
    EVP_PKEY *key = NULL;
    struct bm_spki spki;
    struct bm_error e = { 0 };
    enum bm_rc rc = bm_spki_parse(bm_buf_rd(&v->spki), &spki, &e);

    if (rc == BM_OK)
        rc = bm_spki_open(&spki, &key, &e);
    if (rc == BM_OK)
        rc = is_raw(type) ? bm_verify_raw_with(key, v->digest, bm_buf_rd(&v->message), bm_buf_rd(&v->signature), &e)
                          : bm_verify_x509(key, alg_of(type, v->digest), bm_buf_rd(&v->message), bm_buf_rd(&v->signature), &e);
    EVP_PKEY_free(key);
    return rc == BM_OK;
}

/* --- files ---------------------------------------------------------------------------------------------------------------------------- */
static bool unhex(const json_t *from, const char *member, struct bm_buf *to)
{
    const json_t *text = json_object_get(from, member);
    size_t n = json_string_length(text) / 2;
    uint8_t *room;

    to->n = 0;
    to->max = MESSAGE_MAX;
    room = bm_buf_room(to, n + 1);
    to->n = n;
    return room != NULL && json_is_string(text) && bm_unhex(bm_rd_str(json_string_value(text)), room, n);
}

static bool run_group(const json_t *group)
{
    const char *type = json_string_value(json_object_get(group, "type"));
    struct vector v = { .digest = digest_of(group) };
    const json_t *test;
    size_t i;
    bool known = type != NULL && (is_raw(type) ? v.digest != BM_DIGEST_NONE : alg_of(type, v.digest).n != 0) &&
                 unhex(group, "publicKeyDer", &v.spki);

    json_array_foreach (json_object_get(group, "tests"), i, test) {
        if (!known || !unhex(test, "msg", &v.message) || !unhex(test, "sig", &v.signature))
            continue;
        printf("%lld %s %s\n", json_integer_value(json_object_get(test, "tcId")),
               json_string_value(json_object_get(test, "result")), verify(type, &v) ? "taken" : "refused");
    }
    bm_buf_done(&v.spki);
    bm_buf_done(&v.message);
    bm_buf_done(&v.signature);
    return known;
}

int main(int argc, char **argv)
{
    json_t *file = argc == 2 ? json_load_file(argv[1], 0, NULL) : NULL;
    const json_t *group;
    bool known = false;
    size_t i;

    if (file == NULL) {
        fprintf(stderr, "usage: signature_check FILE\n");
        return 2;
    }
    json_array_foreach (json_object_get(file, "testGroups"), i, group)
        known = run_group(group) || known;
    json_decref(file);
    return known ? 0 : 3;
}
