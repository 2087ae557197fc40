/* The generic checks in front of every root-of-trust driver. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sdk_help.h"

/* A driver that notes each call and answers as told. */
struct fake {
    unsigned calls;
    size_t claims; /* output length it claims */
    uint8_t first; /* first byte of public keys */
};
static struct fake fake;

static enum bmd_rc fake_open(void *ctx, const char *config)
{
    (void)ctx;
    return strcmp(config, "bad") == 0 ? BMD_BAD_ARGUMENT : BMD_OK;
}
static void fake_close(void *ctx)
{
    (void)ctx;
    fake.calls += 100;
}

static enum bmd_rc fake_info(void *ctx, struct bmd_rot_info *ret)
{
    (void)ctx;
    *ret = (struct bmd_rot_info){ .algs = 1u << BMD_P256, .slots = 4, .id_len = 8, .kind = "fake" };
    return BMD_OK;
}

static enum bmd_rc claim(uint8_t *ret, size_t *ret_len)
{
    fake.calls++;
    if (*ret_len != 0)
        ret[0] = fake.first;
    *ret_len = fake.claims;
    return BMD_OK;
}

static enum bmd_rc fake_id(void *ctx, uint8_t *ret, size_t *n)
{
    (void)ctx;
    return claim(ret, n);
}
static enum bmd_rc fake_public(void *ctx, bmd_key k, uint8_t *ret, size_t *n)
{
    (void)ctx;
    (void)k;
    return claim(ret, n);
}

static enum bmd_rc fake_sign(void *ctx, bmd_key k, enum bmd_hash h, struct bmd_rd d, uint8_t *ret, size_t *n)
{
    (void)ctx;
    (void)k;
    (void)h;
    (void)d;
    return claim(ret, n);
}

static enum bmd_rc fake_generate(void *ctx, const struct bmd_selector *s, enum bmd_alg a, uint8_t u, uint8_t f, bmd_key *ret)
{
    (void)ctx;
    (void)s;
    (void)a;
    (void)u;
    (void)f;
    fake.calls++;
    *ret = 1;
    return BMD_OK;
}

static enum bmd_rc fake_seal(void *ctx, struct bmd_rd l, struct bmd_rd p, uint8_t *ret, size_t *n)
{
    (void)ctx;
    (void)l;
    (void)p;
    return claim(ret, n);
}

static const struct bmd_rot_driver driver = {
    .name = "fake",
    .ctx_size = 1,
    .open = fake_open,
    .close = fake_close,
    .info = fake_info,
    .id = fake_id,
    .key_public = fake_public,
    .sign = fake_sign,
    .key_generate = fake_generate,
    .seal = fake_seal,
};

static struct bmd_rot rot;
static uint8_t ctx[1];

static int set_up(void **state)
{
    (void)state;
    fake = (struct fake){ 0 };
    return bmd_rot_open(&rot, &driver, ctx, sizeof ctx, NULL) == BMD_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    bmd_rot_close(&rot);
    return 0;
}

static void opening(void **state)
{
    struct bmd_rot_driver d = driver;
    struct bmd_rot r;

    (void)state;
    assert_int_equal(bmd_rot_open(&r, NULL, ctx, 1, ""), BMD_BAD_ARGUMENT);
    assert_int_equal(bmd_rot_open(&r, &driver, ctx, 0, ""), BMD_BUFFER_TOO_SMALL);
    assert_int_equal(bmd_rot_open(&r, &driver, NULL, 0, ""), BMD_BAD_ARGUMENT);
    assert_int_equal(bmd_rot_open(&r, &driver, ctx, 1, "bad"), BMD_BAD_ARGUMENT);
    assert_false(r.open);
    d.sign = NULL; /* neither sign nor challenge */
    assert_int_equal(bmd_rot_open(&r, &d, ctx, 1, ""), BMD_BAD_ARGUMENT);
    d = driver;
    d.id = NULL;
    assert_int_equal(bmd_rot_open(&r, &d, ctx, 1, ""), BMD_BAD_ARGUMENT);
    bmd_rot_close(&r); /* idempotent */
    bmd_rot_close(&r);
    assert_int_equal(bmd_rot_lock(&r), BMD_BAD_ARGUMENT); /* closed */
}

static void missing_slots(void **state)
{
    struct bmd_selector s = bmd_selector_slot(0);
    struct bmd_key_attributes attr;
    enum bmd_attest_format format;
    struct bmd_agree with = { { ctx, 65 }, { NULL, 0 }, { NULL, 0 } };
    uint8_t out[64];
    size_t n = sizeof out;
    uint64_t v;
    bmd_key k;

    (void)state;
    assert_int_equal(bmd_rot_random(&rot, out, 1), BMD_NOT_SUPPORTED);
    assert_int_equal(bmd_rot_key_open(&rot, &s, &k, &attr), BMD_NOT_SUPPORTED);
    assert_int_equal(bmd_rot_agree(&rot, 1, &with, out, &n), BMD_NOT_SUPPORTED);
    assert_int_equal(bmd_rot_challenge(&rot, 1, BMD_CHALLENGE_CMAC, bmd_rd_str("x"), out, &n), BMD_NOT_SUPPORTED);
    assert_int_equal(bmd_rot_unseal(&rot, bmd_rd_str("l"), bmd_rd_str("x"), out, &n), BMD_NOT_SUPPORTED);
    assert_int_equal(bmd_rot_store_read(&rot, 0, 0, out, &n), BMD_NOT_SUPPORTED);
    assert_int_equal(bmd_rot_store_write(&rot, 0, 0, bmd_rd_str("x")), BMD_NOT_SUPPORTED);
    assert_int_equal(bmd_rot_counter(&rot, 0, true, &v), BMD_NOT_SUPPORTED);
    assert_int_equal(bmd_rot_attest(&rot, BMD_ATTEST_EAT, bmd_rd_str("n"), 1, &format, out, &n), BMD_NOT_SUPPORTED);
    assert_int_equal(bmd_rot_credential_open(&rot, 1, bmd_rd_str("x"), out, &n), BMD_NOT_SUPPORTED);
    assert_int_equal(bmd_rot_key_import(&rot, &s, 0, bmd_rd_str("x"), &k), BMD_NOT_SUPPORTED);
    assert_int_equal(bmd_rot_key_erase(&rot, &s), BMD_NOT_SUPPORTED);
    assert_int_equal(bmd_rot_lock(&rot), BMD_NOT_SUPPORTED);
    assert_int_equal(bmd_rot_last_detail(&rot), 0);
    assert_int_equal(fake.calls, 0);
}

static void sign_arguments(void **state)
{
    static const struct {
        enum bmd_hash h;
        bmd_key k;
        size_t n;
        enum bmd_rc want;
    } cases[] = {
        { BMD_SHA256, 1, 32, BMD_OK },
        { BMD_SHA384, 1, 48, BMD_OK },
        { BMD_SHA256, 0, 32, BMD_BAD_ARGUMENT },
        { BMD_SHA256, 1, 31, BMD_BAD_ARGUMENT },
        { BMD_SHA256, 1, 48, BMD_BAD_ARGUMENT },
        { BMD_SHA384, 1, 32, BMD_BAD_ARGUMENT },
        { BMD_SHA256, 1, 0, BMD_BAD_ARGUMENT },
        { BMD_HASH_NONE, 1, 32, BMD_BAD_ARGUMENT }, /* no whole messages here */
        { (enum bmd_hash)9, 1, 32, BMD_BAD_ARGUMENT },
    };
    uint8_t digest[48] = { 0 }, out[96];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = sizeof out;
        unsigned before = fake.calls;

        fake.claims = 64;
        if (bmd_rot_sign(&rot, cases[i].k, cases[i].h, bmd_rd_of(digest, cases[i].n), out, &n) != cases[i].want)
            fail_msg("row %zu", i);
        assert_int_equal(fake.calls - before, cases[i].want == BMD_OK); /* the driver never sees bad arguments */
    }
}

static void lying_drivers(void **state)
{
    uint8_t digest[32] = { 0 }, out[97];
    size_t n = 64;

    (void)state;
    fake.claims = 65; /* more than there was room for */
    assert_int_equal(bmd_rot_sign(&rot, 1, BMD_SHA256, bmd_rd_of(digest, 32), out, &n), BMD_INTERNAL);
    n = sizeof out;
    fake.claims = 70; /* DER, perhaps: not raw */
    assert_int_equal(bmd_rot_sign(&rot, 1, BMD_SHA256, bmd_rd_of(digest, 32), out, &n), BMD_INTERNAL);
    n = sizeof out;
    fake.claims = 65;
    fake.first = 0x02; /* compressed */
    assert_int_equal(bmd_rot_key_public(&rot, 1, out, &n), BMD_INTERNAL);
    fake.first = 0x04;
    n = sizeof out;
    assert_int_equal(bmd_rot_key_public(&rot, 1, out, &n), BMD_OK);
    n = 4; /* room for less than the id */
    assert_int_equal(bmd_rot_id(&rot, out, &n), BMD_BUFFER_TOO_SMALL);
    assert_int_equal(n, 8);
}

static void generate_arguments(void **state)
{
    static char long_label[] = "123456789012345678901234567890123"; /* 33 */
    const struct {
        struct bmd_selector s;
        enum bmd_alg alg;
        uint8_t usage, flags;
        enum bmd_rc want;
    } cases[] = {
        { bmd_selector_slot(3), BMD_P256, BMD_USE_SIGN, 0, BMD_OK },
        { bmd_selector_label("ldevid"), BMD_P256, BMD_USE_SIGN, BMD_GEN_REPLACE, BMD_OK },
        { bmd_selector_slot(4), BMD_P256, BMD_USE_SIGN, 0, BMD_BAD_ARGUMENT },
        { bmd_selector_label(long_label), BMD_P256, BMD_USE_SIGN, 0, BMD_BAD_ARGUMENT },
        { bmd_selector_slot(0), BMD_P384, BMD_USE_SIGN, 0, BMD_NOT_SUPPORTED },
        { bmd_selector_slot(0), (enum bmd_alg)77, BMD_USE_SIGN, 0, BMD_NOT_SUPPORTED },
        { bmd_selector_slot(0), BMD_P256, BMD_USE_SIGN, BMD_GEN_DERIVE, BMD_NOT_SUPPORTED },
        { bmd_selector_slot(0), BMD_P256, 0, 0, BMD_BAD_ARGUMENT },
    };
    bmd_key k;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (bmd_rot_key_generate(&rot, &cases[i].s, cases[i].alg, cases[i].usage, cases[i].flags, &k) != cases[i].want)
            fail_msg("row %zu", i);
    assert_int_equal(bmd_rot_key_generate(&rot, NULL, BMD_P256, BMD_USE_SIGN, 0, &k), BMD_BAD_ARGUMENT);
}

static void seal_limits(void **state)
{
    static uint8_t plain[BMD_ROT_SEAL_PLAIN_MAX + 1];
    uint8_t out[8];
    size_t n = sizeof out;

    (void)state;
    assert_int_equal(bmd_rot_seal(&rot, bmd_rd_str("l"), bmd_rd_of(plain, BMD_ROT_SEAL_PLAIN_MAX), out, &n), BMD_OK);
    assert_int_equal(bmd_rot_seal(&rot, bmd_rd_str("l"), bmd_rd_of(plain, sizeof plain), out, &n), BMD_BAD_ARGUMENT);
    assert_int_equal(bmd_rot_seal(&rot, bmd_rd_str("l"), bmd_rd_of(NULL, 1), out, &n), BMD_BAD_ARGUMENT);
    assert_int_equal(bmd_rot_seal(&rot, bmd_rd_of(plain, 33), bmd_rd_of(plain, 1), out, &n), BMD_BAD_ARGUMENT);
    assert_int_equal(bmd_rot_seal(&rot, bmd_rd_str("l"), bmd_rd_of(plain, 1), NULL, &n), BMD_BAD_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opening, set_up, tear_down),
        cmocka_unit_test_setup_teardown(missing_slots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sign_arguments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lying_drivers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(generate_arguments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(seal_limits, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
