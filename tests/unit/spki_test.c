#include "pki_help.h"

#define P256_HEAD "3059 3013 0607 2a8648ce3d0201 0608 2a8648ce3d030107 0342 00"
#define P256_POINT                                                                                                                 \
    "04 6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296 "                                                         \
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
#define ED_KEY "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a" /* RFC 8032 section 7.1 */

static void rows_parse(void **state)
{
    static const struct {
        const char *name, *hex;
        enum bm_rc want;
        const char *alg;
    } rows[] = {
        { "P-256", P256_HEAD P256_POINT, BM_OK, "P-256" },
        { "Ed25519", "302a 3005 0603 2b6570 0321 00" ED_KEY, BM_OK, "Ed25519" },
        { "an unknown algorithm", "300c 3005 0603 2b6571 0303 00 0102", BM_OK, "1.3.101.113" },
        { "secp256k1 by its curve", "3016 3010 0607 2a8648ce3d0201 0605 2b8104000a 0302 00 04", BM_OK, "1.3.132.0.10" },
        { "nothing", "", BM_MALFORMED, NULL },
        { "one byte left over", P256_HEAD P256_POINT "00", BM_MALFORMED, NULL },
        { "compressed point",
          "3039 3013 0607 2a8648ce3d0201 0608 2a8648ce3d030107 0322 00 03"
          "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
          BM_MALFORMED, NULL },
        { "infinity", "3018 3013 0607 2a8648ce3d0201 0608 2a8648ce3d030107 0301 00", BM_MALFORMED, NULL },
        { "point of P-256 under P-384", "3056 3010 0607 2a8648ce3d0201 0605 2b81040022 0342 00" P256_POINT, BM_MALFORMED, NULL },
        { "no curve", "300f 3009 0607 2a8648ce3d0201 0302 00 04", BM_MALFORMED, NULL },
        { "explicit curve", "3011 300b 0607 2a8648ce3d0201 3000 0302 00 04", BM_MALFORMED, NULL },
        { "Ed25519 with NULL", "302c 3007 0603 2b6570 0500 0321 00" ED_KEY, BM_MALFORMED, NULL },
        { "Ed25519 of 31 bytes", "3029 3005 0603 2b6570 0320 00 5a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
          BM_MALFORMED, NULL },
        { "unused bits", "300b 3005 0603 2b6571 0302 01 02", BM_MALFORMED, NULL },
        { "two parameters", "300d 3009 0603 2b6571 0500 0500 0300", BM_MALFORMED, NULL },
        { "RSA without NULL", "3012 300b 0609 2a864886f70d010101 0303 00 3000", BM_MALFORMED, NULL },
        { "RSA without numbers", "3014 300d 0609 2a864886f70d010101 0500 0303 00 3000", BM_MALFORMED, NULL },
        { "RSA of 8 bits", "301a 300d 0609 2a864886f70d010101 0500 0309 00 3006 0201 7f 0201 03", BM_MALFORMED, NULL },
        { "RSA modulus zero", "301a 300d 0609 2a864886f70d010101 0500 0309 00 3006 0201 00 0201 03", BM_MALFORMED, NULL },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t room[512];
        struct bm_rd r = hex(rows[i].hex, room, sizeof room);
        uint8_t *p = exact(r);
        struct bm_spki k;

        if (bm_spki_parse(bm_rd_of(p, r.n), &k, &err) != rows[i].want)
            fail_msg("%s: %s", rows[i].name, err.what);
        if (rows[i].want == BM_OK)
            assert_string_equal(k.alg, rows[i].alg);
        free(p);
    }
}

static void each_kind_opens(void **state)
{
    static const struct {
        const char *type, *option, *alg;
        int bits;
    } rows[] = {
        { "EC", "P-256", "P-256", 0 },     { "EC", "P-384", "P-384", 0 },
        { "EC", "P-521", "P-521", 0 },     { "EC", "secp256k1", "1.3.132.0.10", 0 },
        { "ED25519", NULL, "Ed25519", 0 }, { "RSA", "2048", "RSA", 2048 },
        { "RSA", "3072", "RSA", 3072 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_key *k = key_new(rows[i].type, rows[i].option);
        struct bm_rd der = bm_key_spki(k);
        const uint8_t *p = der.p;
        EVP_PKEY *theirs = d2i_PUBKEY(NULL, &p, (long)der.n), *ours = NULL;
        struct bm_spki s;

        assert_ok(bm_spki_parse(der, &s, &err));
        assert_string_equal(s.alg, rows[i].alg);
        assert_int_equal(s.bits, rows[i].bits);
        assert_ok(bm_spki_open(&s, &ours, &err));
        assert_int_equal(EVP_PKEY_eq(ours, theirs), 1);
        for (size_t n = 0; n < der.n; n++) { /* every proper prefix */
            uint8_t *cut = exact(bm_rd_of(der.p, n));

            assert_int_equal(bm_spki_parse(bm_rd_of(cut, n), &s, NULL), BM_MALFORMED);
            free(cut);
        }
        EVP_PKEY_free(ours);
        EVP_PKEY_free(theirs);
        bm_key_free(k);
    }
}

static void points_off_the_curve(void **state)
{
    static const char *const rows[] = {
        P256_HEAD "04 6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                  "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f4",
        P256_HEAD "04 0000000000000000000000000000000000000000000000000000000000000000"
                  "0000000000000000000000000000000000000000000000000000000000000000",
        P256_HEAD "04 ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"
                  "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
        "3016 3010 0607 2a8648ce3d0201 0605 2b8104000a 0302 00 04",
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t room[256];
        EVP_PKEY *key = NULL;
        struct bm_spki s;

        assert_ok(bm_spki_parse(hex(rows[i], room, sizeof room), &s, &err));
        assert_int_equal(bm_spki_open(&s, &key, &err), BM_MALFORMED);
        assert_null(key);
    }
}

/* Breaks when signatures by a key that can be broken count, or when a good curve that we have no row for does not. */
static void weak_curves(void **state)
{
    static const struct {
        const char *name;
        enum bm_rc want;
    } rows[] = {
        { "secp112r1", BM_MALFORMED },  { "secp160r1", BM_MALFORMED },
        { "prime192v1", BM_MALFORMED }, { "brainpoolP192r1", BM_MALFORMED },
        { "sect163k1", BM_MALFORMED },  { "secp224r1", BM_OK },
        { "secp256k1", BM_OK },         { "brainpoolP256r1", BM_OK },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_EVP_FREE EVP_PKEY *made = EVP_EC_gen(rows[i].name), *key = NULL;
        uint8_t *der = NULL;
        struct bm_spki s;
        int n;

        assert_non_null(made);
        n = i2d_PUBKEY(made, &der);
        assert_true(n > 0);
        assert_ok(bm_spki_parse(bm_rd_of(der, (size_t)n), &s, &err));
        assert_int_equal(bm_spki_open(&s, &key, &err), rows[i].want);
        OPENSSL_free(der);
    }
}

/* RSA keys at the edges, written with our writer. */
static void rsa_limits(void **state)
{
    static const struct {
        size_t bytes;
        uint8_t top, low;
        uint64_t exponent;
        enum bm_rc want;
    } rows[] = {
        { 256, 0x80, 1, 65537, BM_OK },        { 512, 0xff, 1, 65537, BM_OK },        { 256, 0x80, 1, 65539, BM_OK },
        { 256, 0x7f, 1, 65537, BM_MALFORMED }, { 513, 0x01, 1, 65537, BM_MALFORMED }, { 128, 0x80, 1, 65537, BM_MALFORMED },
        { 256, 0x80, 1, 65535, BM_MALFORMED }, { 256, 0x80, 1, 65538, BM_MALFORMED }, { 256, 0x80, 1, 3, BM_MALFORMED },
        { 256, 0x80, 2, 65537, BM_MALFORMED },
    };
    static const struct bm_rd alg = BM_LIT("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00");

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t room[1024], n[513] = { 0 };
        struct bm_derw w = bm_derw_of(room, sizeof room);
        size_t mark = bm_derw_mark(&w);
        struct bm_spki s;

        n[0] = rows[i].top;
        n[rows[i].bytes - 1] |= rows[i].low;
        bm_derw_uint(&w, rows[i].exponent);
        bm_derw_unsigned(&w, bm_rd_of(n, rows[i].bytes));
        bm_derw_end(&w, mark, BM_DER_SEQUENCE);
        bm_derw_end_bits(&w, mark);
        bm_derw_put(&w, alg);
        bm_derw_end(&w, mark, BM_DER_SEQUENCE);
        assert_int_equal(bm_spki_parse(bm_derw_rd(&w), &s, &err), rows[i].want);
        if (rows[i].want == BM_OK)
            assert_int_equal(s.bits, rows[i].bytes * 8);
    }
}

static void too_long(void **state)
{
    static uint8_t big[BM_SPKI_MAX + 1];
    struct bm_spki s;

    (void)state;
    assert_int_equal(bm_spki_parse(bm_rd_of(big, sizeof big), &s, &err), BM_LIMIT);
}

static void udid(void **state)
{
    uint8_t room[128], got[32];
    char text[65];

    (void)state;
    bm_udid_of(hex(P256_HEAD P256_POINT, room, sizeof room), got);
    bm_hex(got, sizeof got, text);
    assert_int_equal(strlen(text), 64);
    bm_udid_of(bm_rd_str("abc"), got); /* FIPS 180-4 example */
    bm_hex(got, sizeof got, text);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_parse),  cmocka_unit_test(each_kind_opens), cmocka_unit_test(points_off_the_curve),
        cmocka_unit_test(weak_curves), cmocka_unit_test(rsa_limits),      cmocka_unit_test(too_long),
        cmocka_unit_test(udid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
