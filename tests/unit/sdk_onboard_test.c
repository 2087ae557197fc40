/* Onboard in the SDK: the request's bytes, and answers that are good, hostile or cut short. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/cbor.h"
#include "sdk_help.h"

/* --- CBOR ---------------------------------------------------------------------------------------------------------------------------- */

static void cbor_items(void **state)
{
    static const struct {
        const char *name, *hex;
        enum bmd_rc want;
        enum bmd_cbor_type type;
        uint64_t value;
    } cases[] = {
        { "zero", "00", BMD_OK, BMD_CBOR_UINT, 0 },
        { "u64", "1b ffffffffffffffff", BMD_OK, BMD_CBOR_UINT, UINT64_MAX },
        { "minus one", "20", BMD_OK, BMD_CBOR_NEGINT, 0 },
        { "empty bytes", "40", BMD_OK, BMD_CBOR_BYTES, 0 },
        { "text", "61 78", BMD_OK, BMD_CBOR_TEXT, 1 },
        { "array head", "82", BMD_OK, BMD_CBOR_ARRAY, 2 },
        { "map head", "a1", BMD_OK, BMD_CBOR_MAP, 1 },
        { "true", "f5", BMD_OK, BMD_CBOR_SIMPLE, 1 },
        { "half float", "f9 3c00", BMD_OK, BMD_CBOR_SIMPLE, 0 },
        { "nothing", "", BMD_MALFORMED, 0, 0 },
        { "bytes past the end", "42 00", BMD_MALFORMED, 0, 0 },
        { "bytes of 2^64 - 1", "5b ffffffffffffffff 00", BMD_MALFORMED, 0, 0 },
        { "indefinite bytes", "5f 41 00 ff", BMD_MALFORMED, 0, 0 },
        { "indefinite text", "7f ff", BMD_MALFORMED, 0, 0 },
        { "indefinite array", "9f ff", BMD_MALFORMED, 0, 0 },
        { "indefinite map", "bf ff", BMD_MALFORMED, 0, 0 },
        { "lone break", "ff", BMD_MALFORMED, 0, 0 },
        { "reserved length", "1c", BMD_MALFORMED, 0, 0 },
        { "cut length", "19 01", BMD_MALFORMED, 0, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t in[32];
        struct bmd_rd r = bmd_rd_of(in, sdk_unhex(cases[i].hex, in, sizeof in)), was = r;
        struct bmd_cbor_item item;

        if (bmd_cbor_next(&r, &item) != cases[i].want)
            fail_msg("%s", cases[i].name);
        if (cases[i].want == BMD_OK)
            assert_true(item.type == cases[i].type && item.value == cases[i].value);
        else
            assert_true(r.p == was.p && r.n == was.n);
    }
}

static void cbor_skips(void **state)
{
    static const struct {
        const char *name, *hex;
        enum bmd_rc want;
    } cases[] = {
        { "number", "05", BMD_OK },
        { "nested", "a1 61 61 82 01 a1 02 43 010203", BMD_OK },
        { "tagged", "c1 1a 00000000", BMD_OK },
        { "eight deep", "81 81 81 81 81 81 81 81 00", BMD_OK },
        { "nine deep", "81 81 81 81 81 81 81 81 81 00", BMD_MALFORMED },
        { "a billion items", "9a 3b9aca00 00", BMD_MALFORMED },
        { "map of 2^63", "bb 8000000000000000 00", BMD_MALFORMED },
        { "too few items", "82 00", BMD_MALFORMED },
        { "half a pair", "a1 00", BMD_MALFORMED },
        { "tag of nothing", "c1", BMD_MALFORMED },
        { "indefinite inside", "81 9f ff", BMD_MALFORMED },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t in[32];
        struct bmd_rd r = bmd_rd_of(in, sdk_unhex(cases[i].hex, in, sizeof in));

        if (bmd_cbor_skip(&r) != cases[i].want || (cases[i].want == BMD_OK && r.n != 0))
            fail_msg("%s", cases[i].name);
    }
}

/* --- requests -------------------------------------------------------------------------------------------------------------------------- */

static void signed_bytes(void **state)
{
    static const char want[] = "birthmark-onboard-v1\0\x02"
                               "\0\0\0\x02"
                               "ch"
                               "\0\0\0\x02"
                               "ud"
                               "\0\0\0\x01"
                               "b"
                               "\0\0\0\x02"
                               "\0\0\0\0"
                               "\0\0\0\x03"
                               "csr"
                               "\0\0\0\x03"
                               "web"
                               "\0\0\0\x01"
                               "x";
    const struct bmd_onboard_request requests[] = { { { NULL, 0 }, bmd_rd_str("csr") }, { bmd_rd_str("web"), bmd_rd_str("x") } };
    struct bmd_onboard m = {
        .udid = bmd_rd_str("ud"), .challenge = bmd_rd_str("ch"), .batch = bmd_rd_str("b"), .requests = requests
    };
    uint8_t room[256];
    struct bmd_wr w = bmd_wr_of(room, sizeof room);

    (void)state;
    m.n_requests = 2;
    bmd_onboard_tbs(&w, BMD_ONBOARD_ENROL, &m);
    assert_int_equal(w.n, sizeof want - 1);
    assert_memory_equal(room, want, w.n);
}

static void request_bytes(void **state)
{
    static const char want[] = "\xa2\x64udid\x42ud\x68requests\x81\xa2\x67service\x63web\x63"
                               "csr\x41x";
    const struct bmd_onboard_request request = { bmd_rd_str("web"), bmd_rd_str("x") };
    const struct bmd_onboard m = { .udid = bmd_rd_str("ud"), .requests = &request, .n_requests = 1 };
    uint8_t room[256];
    struct bmd_wr w = bmd_wr_of(room, sizeof room);

    (void)state;
    bmd_onboard_write(&w, BMD_ONBOARD_ENROL, &m);
    assert_int_equal(w.n, sizeof want - 1);
    assert_memory_equal(room, want, w.n);
    for (size_t cap = 0; cap < sizeof want - 1; cap++) { /* no room: bad, and nothing past the end */
        uint8_t *p = malloc(cap != 0 ? cap : 1);

        w = bmd_wr_of(p, cap);
        bmd_onboard_write(&w, BMD_ONBOARD_ENROL, &m);
        assert_true(w.bad);
        free(p);
    }
}

/* --- answers --------------------------------------------------------------------------------------------------------------------------- */

static void put(struct bmd_wr *w, const char *key)
{
    bmd_cbor_put_text(w, bmd_rd_str(key));
}

static void put_credential(struct bmd_wr *w, size_t endpoints)
{
    bmd_cbor_put_map(w, 7);
    put(w, "service");
    put(w, "telemetry");
    put(w, "certificate");
    bmd_cbor_put_bytes(w, bmd_rd_str("cert"));
    put(w, "chain");
    bmd_cbor_put_array(w, 1);
    bmd_cbor_put_bytes(w, bmd_rd_str("issuer"));
    put(w, "not_after");
    bmd_cbor_put_uint(w, 2000000000);
    put(w, "renew_after");
    bmd_cbor_put_uint(w, 1900000000);
    put(w, "endpoints");
    bmd_cbor_put_array(w, endpoints);
    for (size_t i = 0; i < endpoints; i++)
        put(w, "mqtts://broker");
    put(w, "some later member");
    bmd_cbor_put_array(w, 1);
    bmd_cbor_put_map(w, 0);
}

struct shape {
    size_t credentials, anchors, endpoints;
};

static struct bmd_rd enrolled(struct shape s, uint8_t *room, size_t cap)
{
    static const uint8_t udid[BMD_UDID_LEN] = { 7 };
    struct bmd_wr w = bmd_wr_of(room, cap);

    bmd_cbor_put_map(&w, 4);
    put(&w, "udid");
    bmd_cbor_put_bytes(&w, bmd_rd_of(udid, sizeof udid));
    put(&w, "credentials");
    bmd_cbor_put_array(&w, s.credentials);
    for (size_t i = 0; i < s.credentials; i++)
        put_credential(&w, s.endpoints);
    put(&w, "anchors");
    bmd_cbor_put_array(&w, s.anchors);
    for (size_t i = 0; i < s.anchors; i++)
        bmd_cbor_put_bytes(&w, bmd_rd_str("root"));
    put(&w, "correlation");
    put(&w, "0123456789abcdef");
    assert_false(w.bad);
    return bmd_wr_rd(&w);
}

static bool accepts_enrolled(struct bmd_rd in)
{
    static struct bmd_enrolled e;

    return bmd_enrolled_read(in, &e) == BMD_OK;
}

static void enrolled_good(void **state)
{
    static uint8_t room[32 * 1024];
    static struct bmd_enrolled e;
    struct bmd_rd in = enrolled((struct shape){ 2, 1, 1 }, room, sizeof room);

    (void)state;
    assert_int_equal(bmd_enrolled_read(in, &e), BMD_OK);
    assert_int_equal(e.udid[0], 7);
    assert_int_equal(e.n_credentials, 2);
    assert_true(bmd_rd_is(e.credentials[1].service, "telemetry") && bmd_rd_is(e.credentials[1].certificate, "cert"));
    assert_int_equal(e.credentials[1].n_chain, 1);
    assert_int_equal(e.credentials[1].renew_after, 1900000000);
    assert_true(bmd_rd_is(e.credentials[0].endpoints[0], "mqtts://broker"));
    assert_int_equal(e.n_anchors, 1);
    assert_true(bmd_rd_is(e.correlation, "0123456789abcdef"));
    sdk_prefixes(in, accepts_enrolled);
    room[in.n] = 0; /* one byte left over */
    assert_int_equal(bmd_enrolled_read(bmd_rd_of(room, in.n + 1), &e), BMD_MALFORMED);
}

static void enrolled_limits(void **state)
{
    static const struct {
        struct shape shape;
        enum bmd_rc want;
    } cases[] = {
        { { BMD_SERVICES_MAX, BMD_ANCHORS_MAX, BMD_ENDPOINTS_MAX }, BMD_OK },
        { { 1, 0, 0 }, BMD_OK },
        { { 1, 1, BMD_ENDPOINTS_MAX + 5 }, BMD_OK }, /* more endpoints are dropped */
        { { 0, 1, 1 }, BMD_MALFORMED },
        { { BMD_SERVICES_MAX + 1, 1, 1 }, BMD_NO_SPACE },
        { { 1, BMD_ANCHORS_MAX + 1, 1 }, BMD_NO_SPACE },
    };
    static uint8_t room[32 * 1024];
    static struct bmd_enrolled e;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (bmd_enrolled_read(enrolled(cases[i].shape, room, sizeof room), &e) != cases[i].want)
            fail_msg("row %zu", i);
}

static void challenge_rows(void **state)
{
    static const struct {
        const char *name, *head, *tail; /* 48 bytes of challenge between them */
        size_t len;
        enum bmd_rc want;
    } cases[] = {
        { "good", "a2 69 6368616c6c656e6765 58 30", "6a 657870697265735f696e 18 78", 48, BMD_OK },
        { "unknown member skipped", "a3 61 78 f6 69 6368616c6c656e6765 58 30", "6a 657870697265735f696e 18 78", 48, BMD_OK },
        { "too short a challenge", "a2 69 6368616c6c656e6765 58 2f", "6a 657870697265735f696e 18 78", 47, BMD_MALFORMED },
        { "text for bytes", "a2 69 6368616c6c656e6765 78 30", "6a 657870697265735f696e 18 78", 48, BMD_MALFORMED },
        { "negative time", "a2 69 6368616c6c656e6765 58 30", "6a 657870697265735f696e 20", 48, BMD_MALFORMED },
        { "no expiry", "a1 69 6368616c6c656e6765 58 30", "", 48, BMD_MALFORMED },
        { "twice", "a3 6a 657870697265735f696e 01 69 6368616c6c656e6765 58 30", "6a 657870697265735f696e 01", 48, BMD_MALFORMED },
        { "an array", "82 69 6368616c6c656e6765 58 30", "", 48, BMD_MALFORMED },
        { "number as key", "a2 01 02 69 6368616c6c656e6765 58 30", "", 48, BMD_MALFORMED },
        { "indefinite map", "bf 69 6368616c6c656e6765 58 30", "6a 657870697265735f696e 18 78 ff", 48, BMD_MALFORMED },
        { "map of 2^64 - 1", "bb ffffffffffffffff 69 6368616c6c656e6765 58 30", "6a 657870697265735f696e 18 78", 48,
          BMD_MALFORMED },
        { "left over", "a2 69 6368616c6c656e6765 58 30", "6a 657870697265735f696e 18 78 00", 48, BMD_MALFORMED },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t in[160];
        size_t n = sdk_unhex(cases[i].head, in, sizeof in);
        struct bmd_challenge c;

        memset(in + n, 0x61, cases[i].len);
        n += cases[i].len;
        n += sdk_unhex(cases[i].tail, in + n, sizeof in - n);
        if (bmd_challenge_read(bmd_rd_of(in, n), &c) != cases[i].want)
            fail_msg("%s", cases[i].name);
    }
}

static bool accepts_status(struct bmd_rd in)
{
    static struct bmd_status s;

    return bmd_status_read(in, &s) == BMD_OK;
}

static void status_good(void **state)
{
    static uint8_t room[4096];
    static struct bmd_status s;
    static const uint8_t udid[BMD_UDID_LEN] = { 9 };
    struct bmd_wr w = bmd_wr_of(room, sizeof room);
    const size_t many = BMD_SERVICES_MAX + 3;

    (void)state;
    bmd_cbor_put_map(&w, 5);
    put(&w, "udid");
    bmd_cbor_put_bytes(&w, bmd_rd_of(udid, sizeof udid));
    put(&w, "status");
    put(&w, "expired");
    put(&w, "state");
    put(&w, "active");
    put(&w, "credentials");
    bmd_cbor_put_array(&w, many);
    for (size_t i = 0; i < many; i++) {
        bmd_cbor_put_map(&w, 5);
        put(&w, "service");
        put(&w, "web");
        put(&w, "serial");
        bmd_cbor_put_bytes(&w, bmd_rd_str("\x01"));
        put(&w, "status");
        put(&w, "active");
        put(&w, "not_after");
        bmd_cbor_put_uint(&w, 1);
        put(&w, "renew_after");
        bmd_cbor_put_uint(&w, 1);
    }
    put(&w, "correlation");
    put(&w, "c");
    assert_int_equal(bmd_status_read(bmd_wr_rd(&w), &s), BMD_OK);
    assert_true(bmd_rd_is(s.status, "expired"));
    assert_int_equal(s.n_credentials, BMD_SERVICES_MAX); /* the rest is ignored, and checked all the same */
    sdk_prefixes(bmd_wr_rd(&w), accepts_status);
}

static void problem_good(void **state)
{
    uint8_t in[128];
    size_t n = sdk_unhex("a3 64 636f6465 64 62757379 6b 72657472795f6166746572 05 64 74797065 61 78", in, sizeof in);
    struct bmd_problem p;

    (void)state;
    assert_int_equal(bmd_problem_read(bmd_rd_of(in, n), &p), BMD_OK);
    assert_true(bmd_rd_is(p.code, "busy") && p.retry_after == 5);
    assert_int_equal(bmd_problem_read(bmd_rd_of(in, n - 1), &p), BMD_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cbor_items),     cmocka_unit_test(cbor_skips),    cmocka_unit_test(signed_bytes),
        cmocka_unit_test(request_bytes),  cmocka_unit_test(enrolled_good), cmocka_unit_test(enrolled_limits),
        cmocka_unit_test(challenge_rows), cmocka_unit_test(status_good),   cmocka_unit_test(problem_good),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
