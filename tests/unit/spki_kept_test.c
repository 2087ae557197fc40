/* Keys that are kept open: breaks when one key ever stands in for another, which would let whoever holds that one sign for this one. */
#include "pki_help.h"

#include <openssl/evp.h>

enum { KEYS = 200 }; /* three times as many as are kept, so that slots are shared and taken over */

static void open_kept(const struct bm_key *k, EVP_PKEY **ret)
{
    uint8_t *copy = exact(bm_key_spki(k)); /* no pointer into it may be kept */
    struct bm_spki s;

    assert_ok(bm_spki_parse(bm_rd_of(copy, bm_key_spki(k).n), &s, &err));
    assert_ok(bm_spki_open_kept(&s, ret, &err));
    free(copy);
}

static void each_is_itself(void **state)
{
    static const char *const options[] = { "P-256", "P-384", "P-521" };
    static struct bm_key *keys[KEYS];
    uint8_t sig[BM_SIGNATURE_MAX];

    (void)state;
    for (size_t i = 0; i < KEYS; i++)
        keys[i] = i % 8 == 7 ? key_new("ED25519", "") : key_new("EC", options[i % 8 < 6 ? 0 : 1 + i % 2]);
    for (size_t turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < KEYS; i++) {
            BM_EVP_FREE EVP_PKEY *key = NULL, *again = NULL;
            struct bm_rd msg = bm_rd_of(&i, sizeof i);
            size_t n = sizeof sig;

            open_kept(keys[i], &key);
            open_kept(keys[i], &again);
            assert_int_equal(EVP_PKEY_eq(key, again), 1);
            assert_ok(bm_key_sign_raw(keys[i], msg, sig, &n, &err));
            assert_ok(bm_verify_raw(key, msg, bm_rd_of(sig, n), &err));
            sig[n / 2] ^= 1;
            assert_int_equal(bm_verify_raw(again, msg, bm_rd_of(sig, n), &err), BM_DENIED);
        }
    }
    for (size_t i = 0; i < KEYS; i++)
        bm_key_free(keys[i]);
}

/* One bit off a key that is kept is another key, or none: never the one that is kept. */
static void nearly_the_same(void **state)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *k = key_new("EC", "P-256");
    BM_EVP_FREE EVP_PKEY *kept = NULL;
    struct bm_rd whole = bm_key_spki(k);

    (void)state;
    open_kept(k, &kept);
    for (size_t i = 0; i < 8 * whole.n; i++) {
        BM_EVP_FREE EVP_PKEY *key = NULL;
        uint8_t *flipped = exact(whole);
        struct bm_spki s;

        flipped[i / 8] ^= (uint8_t)(1U << i % 8);
        if (bm_spki_parse(bm_rd_of(flipped, whole.n), &s, NULL) == BM_OK && bm_spki_open_kept(&s, &key, NULL) == BM_OK)
            assert_int_not_equal(EVP_PKEY_eq(key, kept), 1);
        free(flipped);
    }
}

static void refused_each_time(void **state)
{
    static const char off[] = "3059 3013 0607 2a8648ce3d0201 0608 2a8648ce3d030107 0342 00 04"
                              "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296 "
                              "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f6";
    EVP_PKEY *key = NULL;
    uint8_t room[128];
    struct bm_spki s;

    (void)state;
    assert_ok(bm_spki_parse(hex(off, room, sizeof room), &s, &err));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bm_spki_open_kept(&s, &key, &err), BM_MALFORMED);
        assert_null(key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(each_is_itself), cmocka_unit_test(nearly_the_same),
                                        cmocka_unit_test(refused_each_time) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
