/* What a hook is asked and what it says (docs/scep.md, "Device management"). A word that is not exactly yes must not open the door; what is signed must be
 * what is sent. The way through the keeper is in tests/e2e/test_scep_hook.py. */
#include "pki_help.h"

#include "keeper/scep_hook.h"

static const struct {
    const char *name, *body;
    enum bm_rc want;
    bool allow;
    const char *reason;
} answers[] = {
    { "yes", "{\"allow\":true}", BM_OK, true, "" },
    { "no", "{\"allow\":false}", BM_OK, false, "" },
    { "no, with a reason", "{\"reason\":\"gone\",\"allow\":false}", BM_OK, false, "gone" },
    { "no reason is no reason", "{\"allow\":false,\"reason\":null}", BM_OK, false, "" },
    { "more than we know", " {\"allow\": true, \"data\": {\"allow\": false}} \n", BM_OK, true, "" },
    { "a reason that is not for terminals", "{\"allow\":false,\"reason\":\"a\\u001b[31m\\n\"}", BM_OK, false, "a\\x1b[31m\\x0a" },
    { "nothing", "", BM_MALFORMED, false, NULL },
    { "no JSON", "true", BM_MALFORMED, false, NULL },
    { "cut short", "{\"allow\":true", BM_MALFORMED, false, NULL },
    { "leftovers", "{\"allow\":true}}", BM_MALFORMED, false, NULL },
    { "a list", "[true]", BM_MALFORMED, false, NULL },
    { "without the word", "{\"allowed\":true}", BM_MALFORMED, false, NULL },
    { "a text", "{\"allow\":\"true\"}", BM_MALFORMED, false, NULL },
    { "a number", "{\"allow\":1}", BM_MALFORMED, false, NULL },
    { "null", "{\"allow\":null}", BM_MALFORMED, false, NULL },
    { "said twice", "{\"allow\":false,\"allow\":true}", BM_MALFORMED, false, NULL },
    { "a reason that is a number", "{\"allow\":true,\"reason\":1}", BM_MALFORMED, false, NULL },
    { "no UTF-8", "{\"allow\":true,\"reason\":\"\xff\"}", BM_MALFORMED, false, NULL },
};

static void answer_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(answers); i++) {
        char reason[BM_HOOK_REASON_LEN] = "";
        struct bm_rd in = bm_rd_str(answers[i].body);
        uint8_t *copy = exact(in);
        bool allow = false;
        enum bm_rc rc = bm_hook_answer(bm_rd_of(copy, in.n), &allow, reason, &err);

        free(copy);
        if (rc != answers[i].want || allow != answers[i].allow ||
            (answers[i].reason != NULL && strcmp(reason, answers[i].reason) != 0))
            fail_msg("%s: %s, %d, '%s'", answers[i].name, bm_rc_name(rc), allow, reason);
    }
}

static void answer_prefixes(void **state)
{
    static const char whole[] = "{\"allow\":true,\"reason\":\"because\"}";

    (void)state;
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        char reason[BM_HOOK_REASON_LEN];
        uint8_t *copy = exact(bm_rd_of(whole, n));
        bool allow = false;

        assert_int_equal(bm_hook_answer(bm_rd_of(copy, n), &allow, reason, &err), BM_MALFORMED);
        assert_false(allow);
        free(copy);
    }
}

static void long_reason(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf body = { .max = 8192 };
    char reason[BM_HOOK_REASON_LEN];
    bool allow;

    (void)state;
    bm_buf_str(&body, "{\"allow\":false,\"reason\":\"");
    for (int i = 0; i < 1000; i++)
        bm_buf_str(&body, "word ");
    bm_buf_str(&body, "\"}");
    assert_ok(bm_hook_answer(bm_buf_rd(&body), &allow, reason, &err));
    assert_true(!allow && strlen(reason) < BM_HOOK_REASON_LEN);
}

/* RFC 4231 section 4.3 has a key of 4 bytes, which is too short here; this is its test case 3, with the key of 20 bytes. */
static void signature(void **state)
{
    uint8_t key[20], body[50];
    char got[BM_HOOK_SIGNATURE_LEN];

    (void)state;
    memset(key, 0xaa, sizeof key);
    memset(body, 0xdd, sizeof body);
    assert_ok(bm_hook_sign(bm_rd_of(key, sizeof key), bm_rd_of(body, sizeof body), got, &err));
    assert_string_equal(got, "sha256=773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
}

static void body(void **state)
{
    static const struct {
        const char *name, *challenge;
        enum bm_rc want;
    } rows[] = {
        { "plain", "secret", BM_OK },
        { "quotes and control characters", "a\"b\\c\n\x01", BM_OK },
        { "UTF-8", "\xc3\xa4", BM_OK },
        { "no UTF-8", "\xff\xfe", BM_DENIED },
        { "half a character", "\xc3", BM_DENIED },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 4096 };
        struct bm_hook_facts f = { .id = "1",
                                   .time = 7,
                                   .batch = "b",
                                   .product = "p",
                                   .peer = "192.0.2.1",
                                   .transaction_id = bm_rd_str("t"),
                                   .challenge = bm_rd_str(rows[i].challenge) };
        json_t *all;

        if (bm_hook_body(&f, &out, &err) != rows[i].want)
            fail_msg("%s", rows[i].name);
        if (rows[i].want != BM_OK)
            continue;
        all = json_loadb((const char *)out.p, out.n, JSON_REJECT_DUPLICATES, NULL);
        assert_string_equal(json_string_value(json_object_get(all, "challenge")), rows[i].challenge);
        assert_int_equal(json_object_size(all), 11);
        json_decref(all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_rows), cmocka_unit_test(answer_prefixes),
        cmocka_unit_test(long_reason), cmocka_unit_test(signature),
        cmocka_unit_test(body),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
