#include "key_signs.h"

#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t random_secret[32] = { 0, 1, 2, 0, 4, [31] = 5 }; /* NULs are part of it */

static int ring_setup(void **state)
{
    static struct bm_keyring ring;

    snprintf(ring.dir, sizeof ring.dir, "/tmp/bm-key-test-XXXXXX");
    assert_non_null(mkdtemp(ring.dir));
    ring.secret = bm_rd_of(random_secret, sizeof random_secret);
    *state = &ring;
    return 0;
}

static int ring_teardown(void **state)
{
    static const char *const names[] = { "a", "p", "k0", "k1", "k2", "k3", "k4", "junk", "bad-alg" };
    struct bm_keyring *ring = *state;
    char path[600];

    for (size_t i = 0; i < BM_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s.key.pem", ring->dir, names[i]);
        unlink(path);
    }
    return rmdir(ring->dir);
}

static void each_kind_signs(void **state)
{
    static const struct {
        const char *uri, *alg, *want, *digest;
    } rows[] = {
        { "file:k0", "EC:P-256", "P-256", "SHA256" }, { "file:k1", "EC:P-384", "P-384", "SHA384" },
        { "file:k2", "EC:P-521", "P-521", "SHA512" }, { "file:k3", "ED25519", "Ed25519", NULL },
        { "file:k4", "RSA:2048", "RSA", "SHA256" },
    };
    const struct bm_keyring *ring = *state;

    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_key_freep) struct bm_key *k = NULL;

        assert_ok(bm_key_generate(ring, rows[i].uri, rows[i].alg, &err));
        assert_ok(bm_key_open(ring, rows[i].uri, &k, &err));
        assert_string_equal(bm_key_alg(k), rows[i].want);
        check_signatures(k, rows[i].digest);
        assert_int_equal(bm_key_generate(ring, rows[i].uri, rows[i].alg, &err), BM_CONFLICT);
    }
}

/* r with leading zeros, in both directions: many signatures meet it. */
static void raw_signatures_are_padded(void **state)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *k = key_new("EC", "P-256");
    BM_EVP_FREE EVP_PKEY *pub = NULL;

    (void)state;
    public_half(k, &pub);
    for (int i = 0; i < 600; i++) {
        uint8_t sig[64];
        size_t n = sizeof sig;

        assert_ok(bm_key_sign_raw(k, message, sig, &n, &err));
        assert_int_equal(n, 64);
        if (i % 16 == 0 || sig[0] == 0 || sig[32] == 0)
            assert_ok(bm_verify_raw(pub, message, bm_rd_of(sig, n), &err));
    }
}

static void file_is_private_and_sealed(void **state)
{
    const struct bm_keyring *ring = *state;
    struct bm_keyring other = *ring;
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 65536 };
    struct bm_key *k = NULL;
    struct stat st;
    char path[600];

    assert_ok(bm_key_generate(ring, "file:a", "EC:P-256", &err));
    snprintf(path, sizeof path, "%s/a.key.pem", ring->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_ok(bm_file_read(path, &text, &err));
    assert_memory_equal(text.p, "-----BEGIN ENCRYPTED PRIVATE KEY-----", 37);
    other.secret = bm_rd_str("not the secret");
    assert_int_equal(bm_key_open(&other, "file:a", &k, &err), BM_DENIED);
    assert_string_equal(err.code, "wrong-secret");
    other.secret = bm_rd_of(random_secret, 31);
    assert_int_equal(bm_key_open(&other, "file:a", &k, &err), BM_DENIED);
    assert_null(k);
}

/* Sealed by us, opened by the library's own reader; and with a passphrase. */
static void passphrase(void **state)
{
    struct bm_keyring ring = *(struct bm_keyring *)*state;
    BM_CLEANUP(bm_key_freep) struct bm_key *k = NULL;
    char path[600];
    EVP_PKEY *p;
    FILE *f;

    ring.secret = bm_rd_str("correct horse");
    assert_ok(bm_key_generate(&ring, "file:p", "ED25519", &err));
    assert_ok(bm_key_open(&ring, "file:p", &k, &err));
    snprintf(path, sizeof path, "%s/p.key.pem", ring.dir);
    f = fopen(path, "r");
    assert_non_null(f);
    p = PEM_read_PrivateKey(f, NULL, NULL, (void *)"correct horse");
    fclose(f);
    assert_non_null(p);
    EVP_PKEY_free(p);
}

static void refused(void **state)
{
    static const struct {
        const char *uri, *alg;
        enum bm_rc generate, open;
    } rows[] = {
        { "file:bad-alg", "EC:P-999", BM_USAGE, BM_NOTFOUND }, { "file:bad-alg", "EC", BM_USAGE, BM_NOTFOUND },
        { "file:bad-alg", "RSA:1024", BM_USAGE, BM_NOTFOUND }, { "file:bad-alg", "RSA:12", BM_USAGE, BM_NOTFOUND },
        { "file:bad-alg", "RSA:0999", BM_USAGE, BM_NOTFOUND }, { "file:bad-alg", "ED25519:x", BM_USAGE, BM_NOTFOUND },
        { "file:bad-alg", "no-such", BM_USAGE, BM_NOTFOUND },  { "file:bad-alg", "", BM_USAGE, BM_NOTFOUND },
        { "file:bad-alg", "X25519", BM_USAGE, BM_NOTFOUND },   { "file:", "ED25519", BM_USAGE, BM_USAGE },
        { "file:../x", "ED25519", BM_USAGE, BM_USAGE },        { "file:.x", "ED25519", BM_USAGE, BM_USAGE },
        { "file:A", "ED25519", BM_USAGE, BM_USAGE },           { "pkcs11:x", "ED25519", BM_USAGE, BM_USAGE },
        { "nothing", "ED25519", BM_USAGE, BM_USAGE },
    };
    const struct bm_keyring *ring = *state;

    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_key *k = NULL;

        if (bm_key_generate(ring, rows[i].uri, rows[i].alg, &err) != rows[i].generate)
            fail_msg("%s %s: %s", rows[i].uri, rows[i].alg, err.what);
        assert_int_equal(bm_key_open(ring, rows[i].uri, &k, &err), rows[i].open);
        assert_null(k);
    }
}

static void file_of_junk(void **state)
{
    const struct bm_keyring *ring = *state;
    struct bm_keyring none = *ring;
    struct bm_key *k = NULL;
    char path[600];

    snprintf(path, sizeof path, "%s/junk.key.pem", ring->dir);
    assert_ok(bm_file_write(path, bm_rd_str("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n"), 0600, &err));
    assert_int_equal(bm_key_open(ring, "file:junk", &k, &err), BM_MALFORMED);
    none.secret.n = 0;
    assert_int_equal(bm_key_open(&none, "file:junk", &k, &err), BM_USAGE);
    assert_int_equal(bm_key_of_evp(NULL, &k, &err), BM_USAGE);
    assert_null(k);
}

static void export(void **state)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *k = key_new("EC", "P-256");
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = 4096 }, small = { .max = 16 };
    const uint8_t *p;
    EVP_PKEY *back;

    (void)state;
    assert_ok(bm_key_export(k, &der, &err));
    p = der.p;
    back = d2i_AutoPrivateKey(NULL, &p, (long)der.n);
    assert_non_null(back);
    EVP_PKEY_free(back);
    assert_int_equal(bm_key_export(k, &small, &err), BM_LIMIT);
}

static void algorithms_refused(void **state)
{
    static const struct {
        const char *name, *hex;
        enum bm_rc want;
        bool taken; /* with a key of its own kind */
    } rows[] = {
        { "ecdsa-with-SHA256", "300a 0608 2a8648ce3d040302", BM_DENIED, true }, /* taken; the signature is not */
        { "ecdsa-with-SHA384 on P-256", "300a 0608 2a8648ce3d040303", BM_DENIED, true },
        { "ecdsa-with-SHA256 and NULL", "300c 0608 2a8648ce3d040302 0500", BM_MALFORMED, false },
        { "ecdsa-with-SHA1", "3009 0607 2a8648ce3d0401", BM_MALFORMED, false },
        { "sha1WithRSA", "300d 0609 2a864886f70d010105 0500", BM_MALFORMED, false },
        { "md5WithRSA", "300d 0609 2a864886f70d010104 0500", BM_MALFORMED, false },
        { "sha256WithRSA with an EC key", "300d 0609 2a864886f70d01010b 0500", BM_MALFORMED, true },
        { "Ed25519 with an EC key", "3005 0603 2b6570", BM_MALFORMED, true },
        { "ML-DSA-65 with an EC key", "300b 0609 608648016503040312", BM_MALFORMED, true },
        { "empty", "", BM_MALFORMED, false },
        { "no OID", "3000", BM_MALFORMED, false },
        { "left over", "300a 0608 2a8648ce3d040302 00", BM_MALFORMED, false },
    };
    BM_CLEANUP(bm_key_freep) struct bm_key *k = key_new("EC", "P-256");
    BM_EVP_FREE EVP_PKEY *pub = NULL;

    (void)state;
    public_half(k, &pub);
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t room[64];
        struct bm_rd alg = hex(rows[i].hex, room, sizeof room);

        if (bm_verify_x509(pub, alg, message, bm_rd_of("\x30\x06\x02\x01\x01\x02\x01\x01", 8), &err) != rows[i].want)
            fail_msg("%s: %s", rows[i].name, err.what);
        if (bm_sig_alg_taken(alg) != rows[i].taken)
            fail_msg("%s: taken or not", rows[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_signs),
        cmocka_unit_test(raw_signatures_are_padded),
        cmocka_unit_test(file_is_private_and_sealed),
        cmocka_unit_test(passphrase),
        cmocka_unit_test(refused),
        cmocka_unit_test(file_of_junk),
        cmocka_unit_test(export),
        cmocka_unit_test(algorithms_refused),
    };

    return cmocka_run_group_tests(tests, ring_setup, ring_teardown);
}
