/* The Authorization field, and what EST makes of it. */
#include "protocol/basic.h"

#include "keeper/wire.h"
#include "protocol/est.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

static struct bm_error err;

static enum bm_rc parse_exact(struct bm_rd in, struct bm_buf *arena, struct bm_rd *user, struct bm_rd *password)
{
    uint8_t *p = malloc(in.n != 0 ? in.n : 1);
    enum bm_rc rc;

    assert_non_null(p);
    if (in.n != 0)
        memcpy(p, in.p, in.n);
    err = (struct bm_error){ 0 };
    rc = bm_basic_parse(bm_rd_of(p, in.n), arena, user, password, &err);
    free(p);
    return rc;
}

static const struct {
    const char *name, *value, *user, *password, *code;
} rows[] = {
    { "plain", "Basic cmVlbC0xOmFiYw==", "reel-1", "abc", NULL },
    { "any case of the scheme", "bAsIc cmVlbC0xOmFiYw==", "reel-1", "abc", NULL },
    { "more blanks", "Basic   cmVlbC0xOmFiYw==", "reel-1", "abc", NULL },
    { "a colon in the password", "Basic YTpiOmM=", "a", "b:c", NULL },
    { "nothing on either side", "Basic Og==", "", "", NULL },
    { "another scheme", "Bearer abcdef", NULL, NULL, "authorization-scheme" },
    { "Digest", "Digest username=\"x\"", NULL, NULL, "authorization-scheme" },
    { "a scheme that begins so", "Basics Og==", NULL, NULL, "authorization-scheme" },
    { "nothing", "", NULL, NULL, "authorization-scheme" },
    { "the scheme alone", "Basic", NULL, NULL, "authorization-malformed" },
    { "the scheme and a blank", "Basic ", NULL, NULL, "authorization-malformed" },
    { "no colon", "Basic cmVlbC0x", NULL, NULL, "authorization-malformed" },
    { "no base64", "Basic !!!!", NULL, NULL, "authorization-malformed" },
    { "padding missing", "Basic cmVlbC0xOmFiYw", NULL, NULL, "authorization-malformed" },
    { "two tokens", "Basic cmVlbC0x OmFiYw==", NULL, NULL, "authorization-malformed" },
    { "a tab", "Basic\tOg==", NULL, NULL, "authorization-scheme" },
};

static void values(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf arena = { .max = BM_BASIC_MAX };
        struct bm_rd user = { 0 }, password = { 0 };
        enum bm_rc rc = parse_exact(bm_rd_str(rows[i].value), &arena, &user, &password);

        if ((rc == BM_OK) != (rows[i].code == NULL) || (rc != BM_OK && strcmp(err.code, rows[i].code) != 0))
            fail_msg("%s: %s %s", rows[i].name, bm_rc_name(rc), err.code);
        if (rc == BM_OK && (!bm_rd_eq(user, bm_rd_str(rows[i].user)) || !bm_rd_eq(password, bm_rd_str(rows[i].password))))
            fail_msg("%s: other words", rows[i].name);
    }
}

/* Whatever is cut off, nothing is read beyond it, and what is left is never taken for the whole. */
static void cut_short(void **state)
{
    struct bm_rd whole = bm_rd_str(rows[0].value);

    (void)state;
    for (size_t n = 0; n < whole.n; n++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf arena = { .max = BM_BASIC_MAX };
        struct bm_rd user = { 0 }, password = { 0 };

        if (parse_exact(bm_rd_of(whole.p, n), &arena, &user, &password) == BM_OK)
            assert_true(user.n + password.n + 1 < strlen("reel-1:abc"));
    }
}

static void over_the_limit(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf arena = { .max = BM_BASIC_MAX };
    struct bm_rd user, password;
    char text[6 + 4 * BM_BASIC_MAX];

    (void)state;
    memset(text, 'A', sizeof text);
    memcpy(text, "Basic ", 6);
    assert_int_equal(parse_exact(bm_rd_of(text, sizeof text), &arena, &user, &password), BM_MALFORMED);
}

/* --- in EST ------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc enrol_with(const char *authorization, const char *cert, struct bm_enrol *ret, struct bm_buf *payload)
{
    struct bm_request q = { .method = BM_POST,
                            .body = bm_rd_str("MIIB"),
                            .peer = "192.0.2.1",
                            .correlation = "0123456789abcdef",
                            .authorization = bm_rd_str(authorization),
                            .client_cert = bm_rd_str(cert) };
    enum bm_rc rc;

    err = (struct bm_error){ 0 };
    rc = bm_est_enroll(&q, payload, &err);
    return rc == BM_OK ? bm_enrol_parse(bm_buf_rd(payload), ret, &err) : rc;
}

static void est_takes_it(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX };
    struct bm_enrol c;

    (void)state;
    assert_int_equal(enrol_with("Basic cmVlbC0xOmFiYw==", "", &c, &payload), BM_OK);
    assert_int_equal(c.evidence.kind, BM_EVIDENCE_CODE);
    assert_true(bm_rd_eq(c.claimed_batch, bm_rd_str("reel-1")) && c.claimed_udid.n == 0);
    assert_true(bm_rd_eq(c.evidence.code, bm_rd_str("abc")) && c.evidence.cert.n == 0);
    payload.n = 0;
    assert_int_equal(enrol_with("Basic cmVlbC0xOmFiYw==", "certificate", &c, &payload), BM_OK);
    assert_true(c.evidence.kind == BM_EVIDENCE_CODE && c.evidence.cert.n != 0);
    payload.n = 0;
    assert_int_equal(enrol_with("", "certificate", &c, &payload), BM_OK);
    assert_true(c.evidence.kind == BM_EVIDENCE_TLS && c.evidence.code.n == 0);
    payload.n = 0; /* a UDID, 64 hex digits, as the user */
    assert_int_equal(enrol_with("Basic "
                                "MDAxMTIyMzM0NDU1NjY3Nzg4OTlhYWJiY2NkZGVlZmYwMDExMjIzMzQ0NTU2Njc3ODg5OWFhYmJjY2RkZWVmZjp4",
                                "", &c, &payload),
                     BM_OK);
    assert_true(c.claimed_udid.n == BM_UDID_LEN && c.claimed_udid.p[1] == 0x11 && c.claimed_batch.n == 0);
}

static void est_refuses(void **state)
{
    static const struct {
        const char *authorization, *code;
    } wrong[] = {
        { "Bearer x", "authorization-scheme" },
        { "Basic !", "authorization-malformed" },
        { "Basic OmFiYw==", "code-wrong" }, /* no user */
        { "Basic YTpiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJi", "code-wrong" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(wrong); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX };
        struct bm_enrol c;

        assert_int_not_equal(enrol_with(wrong[i].authorization, "", &c, &payload), BM_OK);
        assert_string_equal(err.code, wrong[i].code);
    }
}

/* A code never renews: what a password could do once it could else do for good. */
static void renewal_needs_the_certificate(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX };
    struct bm_request q = { .method = BM_POST,
                            .body = bm_rd_str("MIIB"),
                            .peer = "192.0.2.1",
                            .correlation = "0123456789abcdef",
                            .authorization = bm_rd_str("Basic cmVlbC0xOmFiYw==") };
    struct bm_enrol c;

    (void)state;
    assert_int_equal(bm_est_reenroll(&q, &payload, &err), BM_DENIED);
    assert_string_equal(err.code, "no-evidence");
    q.client_cert = bm_rd_str("certificate");
    assert_int_equal(bm_est_reenroll(&q, &payload, &err), BM_OK);
    assert_int_equal(bm_enrol_parse(bm_buf_rd(&payload), &c, &err), BM_OK);
    assert_true(c.evidence.kind == BM_EVIDENCE_TLS && c.evidence.code.n == 0);
}

static void unauthorised_says_how(void **state)
{
    struct bm_request q = { .correlation = "0123456789abcdef" };
    struct bm_error e = { 0 };
    struct bm_response r = { .body.max = 1000 };

    (void)state;
    (void)bm_refuse(&e, BM_DENIED, "no-evidence", "show who you are");
    bm_est_refuse(&q, &e, 0, &r);
    assert_int_equal(r.status, 401);
    assert_string_equal(r.authenticate, "Basic realm=\"birthmark\", charset=\"UTF-8\"");
    bm_buf_done(&r.body);
    r = (struct bm_response){ .body.max = 1000 };
    (void)bm_refuse(&e, BM_DENIED, "unknown-device", "nobody knows you");
    bm_est_refuse(&q, &e, 0, &r);
    assert_int_equal(r.status, 403);
    assert_null(r.authenticate);
    bm_buf_done(&r.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(cut_short),
        cmocka_unit_test(over_the_limit),
        cmocka_unit_test(est_takes_it),
        cmocka_unit_test(est_refuses),
        cmocka_unit_test(renewal_needs_the_certificate),
        cmocka_unit_test(unauthorised_says_how),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
