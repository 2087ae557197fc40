/* Product policies from JSON. */
#include "keeper/policy.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static enum bm_rc parse(const char *json, size_t n, struct bm_policy *ret)
{
    char *p = malloc(n != 0 ? n : 1);
    struct bm_error e = { 0 };
    enum bm_rc rc;

    assert_non_null(p);
    memcpy(p, json, n);
    rc = bm_policy_parse(bm_rd_of(p, n), ret, &e);
    assert_true(rc == BM_OK || (rc == e.rc && e.what[0] != '\0'));
    free(p);
    return rc;
}

#define NAME64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define FULL                                                                                                                       \
    "{\"rot\":[\"atecc608\",\"software\"],\"protocols\":[\"est\",\"onboard\"],\"profile\":\"ldevid-2\",\"services\":[\"mqtt\","    \
    "\"aws\"],"                                                                                                                    \
    "\"ca\":\"issuing-2\",\"approval\":\"always\",\"renew_after_percent\":80,\"renew_expired\":true,\"birth_certificate\":true,"   \
    "\"server_keygen\":true,"                                                                                                      \
    "\"server_keygen_encrypted\":true,\"revoke_unconfirmed\":true,\"self_registration\":"                                          \
    "true}"

static void defaults(void **state)
{
    static const char *const same[] = { "", "{}", " { } ",
                                        "{\"rot\":[],\"services\":[],\"protocols\":[],\"birth_certificate\":false}" };
    struct bm_policy p;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(same); i++) {
        assert_int_equal(parse(same[i], strlen(same[i]), &p), BM_OK);
        assert_true(p.n_rot == 0 && p.n_protocols == 0 && p.n_services == 0 && p.ca[0] == '\0' && p.renew_after_percent == 66);
        assert_true(!p.renew_expired && !p.birth_certificate && !p.self_registration && !p.server_keygen &&
                    !p.server_keygen_encrypted && !p.revoke_unconfirmed);
        assert_string_equal(p.profile, "ldevid");
    }
}

static void all_members(void **state)
{
    struct bm_policy p;

    (void)state;
    assert_int_equal(parse(FULL, strlen(FULL), &p), BM_OK);
    assert_int_equal(p.n_rot, 2);
    assert_string_equal(p.rot[0], "atecc608");
    assert_string_equal(p.rot[1], "software");
    assert_int_equal(p.n_protocols, 2);
    assert_string_equal(p.protocols[1], "onboard");
    assert_int_equal(p.n_services, 2);
    assert_string_equal(p.services[0], "mqtt");
    assert_string_equal(p.profile, "ldevid-2");
    assert_string_equal(p.ca, "issuing-2");
    assert_int_equal(p.approval, BM_APPROVAL_ALWAYS);
    assert_int_equal(p.renew_after_percent, 80);
    assert_true(p.renew_expired && p.birth_certificate);
    assert_int_equal(parse("{\"renew_after_percent\":10}", 26, &p), BM_OK);
    assert_int_equal(parse("{\"renew_after_percent\":95}", 26, &p), BM_OK);
    assert_int_equal(parse("{\"ca\":\"" NAME64 "\"}", 73, &p), BM_OK);
    assert_int_equal(strlen(p.ca), 64);
    assert_int_equal(parse("{\"approval\":\"first\"}", 20, &p), BM_OK);
    assert_int_equal(p.approval, BM_APPROVAL_FIRST);
    assert_int_equal(parse("{\"approval\":false}", 18, &p), BM_OK);
    assert_int_equal(p.approval, BM_APPROVAL_NEVER);
}

static void refused(void **state)
{
    static const char *const bad[] = {
        "null",
        "[]",
        "7",
        "\"x\"",
        "{",
        "{}x",
        "{} {}",
        "\0{}",
        "{\"rots\":[]}",
        "{\"\":1}",
        "{\"Rot\":[]}",
        "{\"rot\":[],\"rot\":[]}",
        "{\"ca\":\"a\",\"ca\":\"b\"}",
        "{\"rot\":\"atecc608\"}",
        "{\"rot\":{}}",
        "{\"rot\":null}",
        "{\"rot\":[7]}",
        "{\"rot\":[null]}",
        "{\"rot\":[\"\"]}",
        "{\"rot\":[\"A\"]}",
        "{\"rot\":[\"a b\"]}",
        "{\"rot\":[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]}", /* 32 and the NUL do not fit */
        "{\"rot\":[\"a\\u0000b\"]}",
        "{\"rot\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\"]}",
        "{\"protocols\":[\"aaaaaaaaaaaaaaaa\"]}",
        "{\"protocols\":\"est\"}",
        "{\"services\":[\"" NAME64 "a\"]}",
        "{\"services\":[[\"a\"]]}",
        "{\"services\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"j\",\"k\",\"l\",\"m\",\"n\",\"o\",\"p\",\"q\"]}",
        "{\"services\":[\"a\",\"b\",\"a\"]}",
        "{\"profile\":\"\"}",
        "{\"profile\":7}",
        "{\"profile\":\"../x\"}",
        "{\"profile\":null}",
        "{\"profile\":\"" NAME64 "a\"}",
        "{\"ca\":\"\"}",
        "{\"ca\":[]}",
        "{\"ca\":true}",
        "{\"renew_after_percent\":9}",
        "{\"renew_after_percent\":96}",
        "{\"renew_after_percent\":-1}",
        "{\"renew_after_percent\":66.0}",
        "{\"renew_after_percent\":\"66\"}",
        "{\"renew_after_percent\":4294967362}",
        "{\"renew_after_percent\":99999999999999999999}",
        "{\"renew_expired\":1}",
        "{\"renew_expired\":\"true\"}",
        "{\"renew_expired\":null}",
        "{\"birth_certificate\":0}",
        "{\"approval\":true}",
        "{\"approval\":null}",
        "{\"approval\":1}",
        "{\"approval\":\"\"}",
        "{\"approval\":\"First\"}",
        "{\"approval\":[\"first\"]}",
    };
    struct bm_policy p = { .n_rot = 77 };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(bad); i++) {
        size_t n = bad[i][0] == '\0' ? 3 : strlen(bad[i]);

        if (parse(bad[i], n, &p) != BM_USAGE)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(p.n_rot, 77);
    }
}

static void prefixes(void **state)
{
    struct bm_policy p;

    (void)state;
    for (size_t n = 1; n < strlen(FULL); n++)
        assert_int_equal(parse(FULL, n, &p), BM_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(defaults), cmocka_unit_test(all_members), cmocka_unit_test(refused),
                                        cmocka_unit_test(prefixes) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
