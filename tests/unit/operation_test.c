/* Which operation takes a request, and what an outcome is in HTTP. */
#include "protocol/operation.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define EST "/.well-known/est/"

static const struct {
    enum bm_method method;
    const char *path, *name, *label; /* name NULL: nobody; label: NULL: not looked at */
    bool known;
} rows[] = {
    { BM_GET, EST "cacerts", "est-cacerts", "", true },
    { BM_GET, EST "mqtt/cacerts", "est-cacerts", "mqtt", true },
    { BM_GET, EST "csrattrs", "est-csrattrs", "", true },
    { BM_GET, EST "mqtt/csrattrs", "est-csrattrs", "mqtt", true },
    { BM_POST, EST "simpleenroll", "est-simpleenroll", "", true },
    { BM_POST, EST "m/simpleenroll", "est-simpleenroll", "m", true },
    { BM_POST, EST "simplereenroll", "est-simplereenroll", "", true },
    { BM_POST, EST "m/simplereenroll", "est-simplereenroll", "m", true },
    { BM_POST, "/onboard/v1/challenge", "onboard-challenge", "", true },
    { BM_POST, "/onboard/v1/enrol", "onboard-enrol", "", true },
    { BM_POST, "/onboard/v1/status", "onboard-status", "", true },
    /* labels that look like something else */
    { BM_GET, EST "cacerts/cacerts", "est-cacerts", "cacerts", true },
    { BM_GET, EST "*/cacerts", "est-cacerts", "*", true },
    { BM_GET, EST "../cacerts", "est-cacerts", "..", true }, /* only a name that no service has */
    { BM_GET, EST "%6d/cacerts", "est-cacerts", "%6d", true },
    { BM_POST, EST "simpleenroll/simplereenroll", "est-simplereenroll", "simpleenroll", true },
    { BM_POST, EST "serverkeygen", "est-serverkeygen", "", true },
    { BM_POST, EST "m/serverkeygen", "est-serverkeygen", "m", true },
    /* the wrong method */
    { BM_GET, EST "serverkeygen", NULL, NULL, true },
    { BM_POST, EST "cacerts", NULL, NULL, true },
    { BM_GET, EST "simpleenroll", NULL, NULL, true },
    { BM_GET, EST "m/simpleenroll", NULL, NULL, true },
    { BM_GET, "/onboard/v1/enrol", NULL, NULL, true },
    /* nothing */
    { BM_GET, "", NULL, NULL, false },
    { BM_GET, "/", NULL, NULL, false },
    { BM_GET, EST, NULL, NULL, false },
    { BM_GET, EST "cacert", NULL, NULL, false },
    { BM_GET, EST "cacertss", NULL, NULL, false },
    { BM_GET, EST "cacerts/", NULL, NULL, false },
    { BM_GET, EST "/cacerts", NULL, NULL, false }, /* an empty label */
    { BM_GET, EST "a/b/cacerts", NULL, NULL, false },
    { BM_GET, EST "a//cacerts", NULL, NULL, false },
    { BM_GET, EST "CACERTS", NULL, NULL, false },
    { BM_GET, "x" EST "cacerts", NULL, NULL, false },
    { BM_GET, "/.well-known/esT/cacerts", NULL, NULL, false },
    { BM_GET, EST "cacerts?x", NULL, NULL, false },
    { BM_POST, "/onboard/v1/enrol/", NULL, NULL, false },
    { BM_POST, "/onboard/v2/enrol", NULL, NULL, false },
    { BM_POST, "/onboard/v1/*", NULL, NULL, false },
    { BM_POST, EST "fullcmc", "est-fullcmc", "", true },
    { BM_POST, EST "mqtt/fullcmc", "est-fullcmc", "mqtt", true },
    { BM_GET, EST "fullcmc", NULL, NULL, true },
};

static const struct bm_operation *find(enum bm_method method, struct bm_rd path, struct bm_request *q, bool *ret_known)
{
    *q = (struct bm_request){ .method = method, .path = path };
    return bm_operation_find(q, ret_known);
}

static void paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        size_t n = strlen(rows[i].path);
        char *path = malloc(n + 1); /* not terminated within the request */
        const struct bm_operation *op;
        struct bm_request q;
        bool known;

        assert_non_null(path);
        memcpy(path + 1, rows[i].path, n);
        op = find(rows[i].method, bm_rd_of(path + 1, n), &q, &known);
        if (rows[i].name == NULL ? op != NULL : op == NULL || strcmp(op->name, rows[i].name) != 0)
            fail_msg("%s: %s", rows[i].path, op != NULL ? op->name : "nobody");
        if (known != rows[i].known)
            fail_msg("%s: known %d", rows[i].path, known);
        if (rows[i].label != NULL)
            assert_true(bm_rd_eq(q.label, bm_rd_str(rows[i].label)));
        free(path);
    }
}

static void every_row_is_found(void **state)
{
    (void)state;
    for (const struct bm_operation *op = bm_operations; op->name != NULL; op++) {
        struct bm_request q;
        bool known;

        if (strchr(op->path, '*') == NULL)
            assert_ptr_equal(find(op->method, bm_rd_str(op->path), &q, &known), op);
        assert_true(op->render != NULL && op->refuse != NULL && (op->command == 0) == (op->prepare == NULL));
        assert_true(op->method == BM_POST || op->body_max == 0);
        assert_true(op->body_max <= BM_HTTP_BODY_MAX);
    }
}

static void nul_in_path(void **state)
{
    static const char path[] = EST "a\0b/cacerts";
    struct bm_request q;
    bool known;

    (void)state;
    assert_non_null(find(BM_GET, bm_rd_of(path, sizeof path - 1), &q, &known));
    assert_int_equal(q.label.n, 3);
    assert_null(find(BM_GET, bm_rd_of(EST "cacerts\0", sizeof EST "cacerts\0" - 1), &q, &known));
}

static void statuses(void **state)
{
    static const struct {
        enum bm_rc rc;
        const char *code;
        int status;
    } kinds[] = {
        { BM_AGAIN, "", 503 },
        { BM_MALFORMED, "", 400 },
        { BM_LIMIT, "", 413 },
        { BM_DENIED, "", 403 },
        { BM_NOTFOUND, "", 404 },
        { BM_CONFLICT, "", 409 },
        { BM_USAGE, "", 400 },
        { BM_NOMEM, "", 503 },
        { BM_IO, "", 503 },
        { BM_BUG, "", 500 },
        { (enum bm_rc)99, "", 500 },
        { (enum bm_rc) - 1, "", 500 },
        { BM_DENIED, "no-evidence", 401 },
        { BM_LIMIT, "quota-exceeded", 403 },
        { BM_MALFORMED, "unsupported-media-type", 415 },
        { BM_DENIED, "device-suspended", 403 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(kinds); i++) {
        struct bm_error e = { .rc = kinds[i].rc };

        snprintf(e.code, sizeof e.code, "%s", kinds[i].code);
        if (bm_http_status(&e) != kinds[i].status)
            fail_msg("%d '%s': %d", (int)kinds[i].rc, kinds[i].code, bm_http_status(&e));
    }
}

static void plain_text(void **state)
{
    struct bm_request q = { .correlation = "0123456789abcdef" };
    struct bm_response r = { .body.max = 1000 };
    struct bm_error e = { .rc = BM_DENIED, .code = "unknown-device", .what = "who are you?" };

    (void)state;
    bm_refuse_text(&q, &e, 30, &r);
    assert_int_equal(r.status, 403);
    assert_int_equal(r.retry_after_s, 30);
    assert_string_equal(r.content_type, "text/plain");
    assert_true(bm_rd_eq(bm_buf_rd(&r.body), bm_rd_str("unknown-device: who are you? (correlation 0123456789abcdef)\n")));
    bm_buf_done(&r.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(paths), cmocka_unit_test(every_row_is_found),
                                        cmocka_unit_test(nul_in_path), cmocka_unit_test(statuses), cmocka_unit_test(plain_text) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
