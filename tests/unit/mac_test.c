/* MACs and derivations against the vectors of their standards, through the interface the keeper uses. Breaks when a length is taken that must
 * not be, a wrong MAC passes, or a UDID changes: then every device registered before is lost. */
#include "base/text.h"
#include "pki/jwe.h"
#include "pki/mac.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static struct bm_error err;

static size_t bytes(const char *hex, uint8_t *ret)
{
    size_t n = strlen(hex) / 2;

    assert_true(n <= 256 && bm_unhex(bm_rd_str(hex), ret, n));
    return n;
}

static const struct bm_mac_alg *alg(const char *name)
{
    const struct bm_mac_alg *a = bm_mac_find(bm_rd_str(name));

    assert_non_null(a);
    return a;
}

/* RFC 4231 section 4 (cases 2 to 4 with keys that are long enough here, 5 has a truncated MAC, 6 and 7 keys over 64 bytes), RFC 4493 section 4. */
static const struct {
    const char *name, *alg, *key, *msg, *mac;
} vectors[] = {
    { "RFC 4231 case 1", "hmac-sha256", "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7" },
    { "RFC 4231 case 3", "hmac-sha256", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
      "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe" },
    { "RFC 4231 case 4", "hmac-sha256", "0102030405060708090a0b0c0d0e0f10111213141516171819",
      "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
      "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b" },
    { "RFC 4493 example 1", "aes-cmac", "2b7e151628aed2a6abf7158809cf4f3c", "", "bb1d6929e95937287fa37d129b756746" },
    { "RFC 4493 example 2", "aes-cmac", "2b7e151628aed2a6abf7158809cf4f3c", "6bc1bee22e409f96e93d7e117393172a",
      "070a16b46b4d4144f79bdd9dd04a287c" },
    { "RFC 4493 example 3", "aes-cmac", "2b7e151628aed2a6abf7158809cf4f3c",
      "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411", "dfa66747de9ae63030ca32611497c827" },
    { "RFC 4493 example 4", "aes-cmac", "2b7e151628aed2a6abf7158809cf4f3c",
      "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c"
      "3710",
      "51f0bebf7e3b9d92fc49741779363cfe" },
};

static void vectors_hold(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(vectors); i++) {
        const struct bm_mac_alg *a = alg(vectors[i].alg);
        uint8_t key[256], msg[256], mac[256], got[BM_MAC_MAX];
        struct bm_rd k = bm_rd_of(key, bytes(vectors[i].key, key)), m = bm_rd_of(msg, bytes(vectors[i].msg, msg));
        struct bm_rd want = bm_rd_of(mac, bytes(vectors[i].mac, mac));

        print_message("  %s\n", vectors[i].name);
        assert_int_equal(want.n, a->mac_len);
        assert_int_equal(bm_mac_make(a, k, m, got, &err), BM_OK);
        assert_memory_equal(got, mac, want.n);
        assert_int_equal(bm_mac_check(a, k, m, want, &err), BM_OK);
    }
}

/* Each bit of the MAC, each shorter one, and a longer one. */
static void a_wrong_mac_is_refused(void **state)
{
    (void)state;
    for (const struct bm_mac_alg *a = bm_mac_algs; a->name != NULL; a++) {
        uint8_t key[32] = { 7 }, mac[BM_MAC_MAX + 1] = { 0 };
        struct bm_rd k = bm_rd_of(key, sizeof key), msg = bm_rd_str("message");

        assert_int_equal(bm_mac_make(a, k, msg, mac, &err), BM_OK);
        assert_int_equal(bm_mac_check(a, k, msg, bm_rd_of(mac, a->mac_len), &err), BM_OK);
        for (size_t bit = 0; bit < 8 * a->mac_len; bit++) {
            mac[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_equal(bm_mac_check(a, k, msg, bm_rd_of(mac, a->mac_len), &err), BM_DENIED);
            mac[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        for (size_t n = 0; n < a->mac_len; n++) {
            uint8_t *cut = malloc(n + (n == 0));

            memcpy(cut, mac, n);
            assert_int_equal(bm_mac_check(a, k, msg, bm_rd_of(cut, n), &err), BM_DENIED);
            free(cut);
        }
        assert_int_equal(bm_mac_check(a, k, msg, bm_rd_of(mac, a->mac_len + 1), &err), BM_DENIED);
        assert_int_equal(bm_mac_check(a, k, bm_rd_str("massage"), bm_rd_of(mac, a->mac_len), &err), BM_DENIED);
    }
}

/* For chips that take a message of 32 bytes: the digest's MAC is the plain algorithm's over SHA-256 of the message. */
static void digest_first_is_the_mac_of_the_digest(void **state)
{
    static const char *const pairs[][2] = { { "hmac-sha256-digest", "hmac-sha256" }, { "aes-cmac-digest", "aes-cmac" } };
    uint8_t key[16] = { 1 }, digest[32], a[BM_MAC_MAX], b[BM_MAC_MAX];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(pairs); i++) {
        assert_int_equal(bm_mac_make(alg(pairs[i][0]), bm_rd_of(key, 16), bm_rd_str("abc"), a, &err), BM_OK);
        assert_int_equal(EVP_Digest("abc", 3, digest, NULL, EVP_sha256(), NULL), 1);
        assert_int_equal(bm_mac_make(alg(pairs[i][1]), bm_rd_of(key, 16), bm_rd_of(digest, 32), b, &err), BM_OK);
        assert_memory_equal(a, b, alg(pairs[i][0])->mac_len);
    }
}

static const struct {
    const char *alg;
    size_t n;
    bool fits;
} lengths[] = {
    { "hmac-sha256", 0, false }, { "hmac-sha256", 15, false }, { "hmac-sha256", 16, true }, { "hmac-sha256", 17, true },
    { "hmac-sha256", 64, true }, { "hmac-sha256", 65, false }, { "aes-cmac", 0, false },    { "aes-cmac", 15, false },
    { "aes-cmac", 16, true },    { "aes-cmac", 17, false },    { "aes-cmac", 24, false },   { "aes-cmac", 32, true },
    { "aes-cmac", 33, false },
};

static void keys_of_a_wrong_length_are_refused(void **state)
{
    uint8_t key[80] = { 0 }, mac[BM_MAC_MAX];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(lengths); i++) {
        enum bm_rc rc = bm_mac_make(alg(lengths[i].alg), bm_rd_of(key, lengths[i].n), bm_rd_str("m"), mac, &err);

        assert_int_equal(rc, lengths[i].fits ? BM_OK : BM_USAGE);
        assert_int_equal(bm_mac_key_fits(alg(lengths[i].alg), lengths[i].n), lengths[i].fits);
    }
    assert_null(bm_mac_find(bm_rd_str("hmac-md5")));
    assert_null(bm_mac_find(bm_rd_str("")));
    assert_null(bm_kdf_find(bm_rd_str("none")));
}

/* Computed with python's hmac and cryptography's CMAC from the descriptions in docs/symmetric.md (tests/e2e/test_symmetric.py does it again). */
static void derivation_is_the_documented_one(void **state)
{
    uint8_t root[32], ident[3] = { 1, 2, 3 }, key[32], want[32], info[64];
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof root; i++)
        root[i] = (uint8_t)i;
    /* SP 800-108: HMAC(root, [1]_32 || label || 0x00 || context || [L]_32) */
    assert_int_equal(
        bm_kdf_derive(bm_kdf_find(bm_rd_str("sp800-108-hmac-sha256")), bm_rd_of(root, 32), bm_rd_of(ident, 3), key, 32, &err),
        BM_OK);
    n = 0;
    memcpy(info, "\0\0\0\1birthmark-device-key-v1\0\1\2\3\0\0\1\0", 4 + 23 + 1 + 3 + 4);
    n = 4 + 23 + 1 + 3 + 4;
    assert_int_equal(bm_mac_make(alg("hmac-sha256"), bm_rd_of(root, 32), bm_rd_of(info, n), want, &err), BM_OK);
    assert_memory_equal(key, want, 32);
    /* the same with CMAC, one block of output */
    assert_int_equal(
        bm_kdf_derive(bm_kdf_find(bm_rd_str("sp800-108-aes-cmac")), bm_rd_of(root, 16), bm_rd_of(ident, 3), key, 16, &err), BM_OK);
    info[n - 2] = 0, info[n - 1] = 128;
    assert_int_equal(bm_mac_make(alg("aes-cmac"), bm_rd_of(root, 16), bm_rd_of(info, n), want, &err), BM_OK);
    assert_memory_equal(key, want, 16);
}

/* RFC 5869: PRK = HMAC(zeros, root), T(1) = HMAC(PRK, info || 0x01). */
static void hkdf_is_the_documented_one(void **state)
{
    uint8_t root[32] = { 9 }, zeros[32] = { 0 }, prk[32], key[32], want[32], info[] = "birthmark-device-key-v1\0AB\1";

    (void)state;
    assert_int_equal(bm_kdf_derive(bm_kdf_find(bm_rd_str("hkdf-sha256")), bm_rd_of(root, 32), bm_rd_str("AB"), key, 32, &err),
                     BM_OK);
    assert_int_equal(bm_mac_make(alg("hmac-sha256"), bm_rd_of(zeros, 32), bm_rd_of(root, 32), prk, &err), BM_OK);
    assert_int_equal(bm_mac_make(alg("hmac-sha256"), bm_rd_of(prk, 32), bm_rd_of(info, sizeof info - 1), want, &err), BM_OK);
    assert_memory_equal(key, want, 32);
}

static void derivation_refuses_what_does_not_fit(void **state)
{
    static const struct {
        const char *kdf;
        size_t root, ident;
    } rows[] = { { "hkdf-sha256", 15, 4 },       { "hkdf-sha256", 65, 4 }, { "sp800-108-aes-cmac", 24, 4 },
                 { "sp800-108-aes-cmac", 0, 4 }, { "hkdf-sha256", 32, 0 }, { "hkdf-sha256", 32, 65 } };
    uint8_t root[80] = { 0 }, key[32];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        assert_int_equal(bm_kdf_derive(bm_kdf_find(bm_rd_str(rows[i].kdf)), bm_rd_of(root, rows[i].root),
                                       bm_rd_of(root, rows[i].ident), key, sizeof key, &err),
                         BM_USAGE);
}

/* SHA-256 over "birthmark-symmetric-udid-v1" 0x00 00000005 "chips" 0000000e "symmetric-chip" 00000003 010203 (sha256sum). */
static void udid_is_the_documented_one(void **state)
{
    uint8_t ident[] = { 1, 2, 3 }, udid[32], want[32];
    static const char text[] = "birthmark-symmetric-udid-v1\0\0\0\0\5chips\0\0\0\x0esymmetric-chip\0\0\0\3\1\2\3";

    (void)state;
    bm_udid_symmetric(bm_rd_str("chips"), bm_rd_str("symmetric-chip"), bm_rd_of(ident, 3), udid);
    assert_int_equal(EVP_Digest(text, sizeof text - 1, want, NULL, EVP_sha256(), NULL), 1);
    assert_memory_equal(udid, want, 32);
    bm_udid_symmetric(bm_rd_str("chip"), bm_rd_str("symmetric-chip"), bm_rd_of(ident, 3), want);
    assert_memory_not_equal(udid, want, 32); /* another maker's chip of the same number is another device */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_hold),
        cmocka_unit_test(a_wrong_mac_is_refused),
        cmocka_unit_test(digest_first_is_the_mac_of_the_digest),
        cmocka_unit_test(keys_of_a_wrong_length_are_refused),
        cmocka_unit_test(derivation_is_the_documented_one),
        cmocka_unit_test(hkdf_is_the_documented_one),
        cmocka_unit_test(derivation_refuses_what_does_not_fit),
        cmocka_unit_test(udid_is_the_documented_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
