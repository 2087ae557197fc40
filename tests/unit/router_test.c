#include "server/router.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#define HOST "Host: a\r\n"
#define JSON "Content-Type: application/json\r\n"
#define CHALLENGE "/onboard/v1/challenge"

struct trip {
    struct bm_http h;
    struct bm_exchange x;
    struct bm_buf payload, wire;
    struct bm_view view;
    struct bm_router router;
    bool command; /* the keeper was asked */
};

static void trip_done(struct trip *t)
{
    bm_exchange_done(&t->x);
    bm_http_done(&t->h);
    bm_buf_done(&t->payload);
    bm_buf_done(&t->wire);
}

/* One request through parser and router, as conn.c does it; answer: what the keeper would say, type 0: nothing. */
static void go(struct trip *t, const char *text, uint8_t type, struct bm_rd answer)
{
    struct bm_rd in = bm_rd_str(text);
    enum bm_http_event event = BM_HTTP_MORE;
    struct bm_error e = { 0 };
    bool refused = false;

    bm_http_init(&t->h);
    t->payload.max = BM_COMMAND_MAX;
    t->wire.max = BM_RESPONSE_MAX;
    t->view.n_labels = 1; /* the default one, "" */
    t->router.view = &t->view;
    t->router.keeper_alive = true;
    snprintf(t->x.q.correlation, sizeof t->x.q.correlation, "0123456789abcdef");
    snprintf(t->x.q.peer, sizeof t->x.q.peer, "192.0.2.1");
    while (in.n != 0 && event != BM_HTTP_DONE && !refused) {
        if (bm_http_feed(&t->h, &in, &event, &e) != BM_OK) {
            bm_route_refuse(&t->x, &e, 0);
            refused = true;
        } else if (event == BM_HTTP_HEAD) {
            refused = bm_route_head(&t->x, &t->h) != BM_OK;
        }
    }
    assert_true(refused || event == BM_HTTP_DONE);
    t->command = !refused && bm_route_request(&t->router, &t->x, &t->h, &t->payload) == BM_ROUTE_COMMAND;
    if (t->command && type != 0)
        bm_route_answer(&t->router, &t->x, type, answer);
    bm_route_write(&t->x, &t->wire);
    assert_false(t->wire.bad);
}

static bool says(const struct trip *t, const char *part)
{
    return memmem(t->wire.p, t->wire.n, part, strlen(part)) != NULL;
}

static const struct {
    const char *name, *text;
    int status;
    const char *code, *also; /* code NULL: not refused */
} rows[] = {
    { "health", "GET /healthz HTTP/1.1\r\n" HOST "\r\n", 200, NULL, "Content-Length: 3\r\n" },
    { "health, query", "GET /healthz?deep=1 HTTP/1.1\r\n" HOST "\r\n", 200, NULL, "\r\n\r\nok\n" },
    { "health, head", "HEAD /healthz HTTP/1.1\r\n" HOST "\r\n", 200, NULL, "Content-Length: 3\r\n" },
    { "health takes no post", "POST /healthz HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 405, "method-not-allowed",
      "Allow: GET, HEAD\r\n" },
    { "http/1.0", "GET /healthz HTTP/1.0\r\n\r\n", 200, NULL, "Connection: close\r\n" },
    { "http/1.0 kept", "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, NULL, "Connection: keep-alive\r\n" },
    { "close", "GET /healthz HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", 200, NULL, "Connection: close\r\n" },
    { "cacerts", "GET /.well-known/est/cacerts HTTP/1.1\r\n" HOST "\r\n", 200, NULL, "Content-Transfer-Encoding: base64\r\n" },
    { "ocsp, nothing in it", "POST /ocsp HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n0\x01", 200, "malformed",
      "Content-Type: application/ocsp-response\r\n" },
    { "ocsp, bad path", "GET /ocsp/a/b%zz HTTP/1.1\r\n" HOST "\r\n", 200, "malformed", "Cache-Control: no-store\r\n" },
    { "ocsp takes a path or a body", "GET /ocsp HTTP/1.1\r\n" HOST "\r\n", 405, "method-not-allowed", "Allow: POST\r\n" },
    { "crl of no name", "GET /crl/.crl HTTP/1.1\r\n" HOST "\r\n", 404, "no-such-path", "" },
    { "crl is not posted", "POST /crl/root.crl HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 405, "method-not-allowed",
      "Allow: GET, HEAD\r\n" },
    { "no such path", "GET /nope HTTP/1.1\r\n" HOST "\r\n", 404, "no-such-path", "nothing is served at /nope" },
    { "path is escaped", "GET /\x7f%00\"< HTTP/1.1\r\n" HOST "\r\n", 400, "bad-request", "" },
    { "below a path", "GET /healthz/ HTTP/1.1\r\n" HOST "\r\n", 404, "no-such-path", "" },
    { "path percent-encoded", "GET /%68ealthz HTTP/1.1\r\n" HOST "\r\n", 404, "no-such-path", "" },
    { "get of a post", "GET " CHALLENGE " HTTP/1.1\r\n" HOST "\r\n", 405, "method-not-allowed", "Allow: POST\r\n" },
    { "put", "PUT " CHALLENGE " HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 405, "method-not-allowed", "Allow: POST\r\n" },
    { "options", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 404, "no-such-path", "" },
    { "connect", "CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n", 400, "bad-request", "Connection: close\r\n" },
    { "no host", "GET /healthz HTTP/1.1\r\n\r\n", 400, "bad-request", "Host" },
    { "http/2.0", "GET /healthz HTTP/2.0\r\n" HOST "\r\n", 505, "http-version", "" },
    { "http/0.9", "GET /healthz\r\n\r\n", 505, "http-version", "" },
    { "post without length", "POST " CHALLENGE " HTTP/1.1\r\n" HOST JSON "\r\n", 411, "length-required", "" },
    { "body over the operation's limit", "POST " CHALLENGE " HTTP/1.1\r\n" HOST JSON "Content-Length: 1025\r\n\r\n", 413,
      "body-too-large", "" },
    { "get with a body", "GET /healthz HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx", 413, "body-too-large", "" },
    { "compressed", "POST " CHALLENGE " HTTP/1.1\r\n" HOST JSON "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415,
      "content-encoding", "" },
    { "strange expectation", "POST " CHALLENGE " HTTP/1.1\r\n" HOST JSON "Expect: more\r\nContent-Length: 2\r\n\r\n{}", 417,
      "expectation", "" },
    { "not http", "HELLO\r\n\r\n", 400, "bad-request", "Connection: close\r\n" },
    { "no client certificate", "POST /.well-known/est/simpleenroll HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nMIIB", 401,
      "no-evidence", "" },
};

static void answers_by_itself(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct trip t = { 0 };
        char line[32], code[64];

        go(&t, rows[i].text, 0, bm_rd_of(NULL, 0));
        snprintf(line, sizeof line, "HTTP/1.1 %d ", rows[i].status);
        snprintf(code, sizeof code, "\r\nBirthmark-Code: %s\r\n", rows[i].code != NULL ? rows[i].code : "");
        if (!says(&t, line) || says(&t, "Birthmark-Code") != (rows[i].code != NULL) || (rows[i].code != NULL && !says(&t, code)) ||
            !says(&t, rows[i].also) || !says(&t, "\r\nBirthmark-Correlation: 0123456789abcdef\r\n") || t.command)
            fail_msg("%s: %.*s", rows[i].name, (int)t.wire.n, (const char *)t.wire.p);
        trip_done(&t);
    }
}

static void head_has_no_body(void **state)
{
    struct trip t = { 0 };

    (void)state;
    go(&t, "HEAD /healthz HTTP/1.1\r\n" HOST "\r\n", 0, bm_rd_of(NULL, 0));
    assert_memory_equal(t.wire.p + t.wire.n - 4, "\r\n\r\n", 4);
    assert_false(says(&t, "ok\n"));
    trip_done(&t);
}

static const char ask[] = "POST " CHALLENGE " HTTP/1.1\r\n" HOST JSON "Content-Length: 2\r\n\r\n{}";

static void passes_commands_and_answers(void **state)
{
    uint8_t challenge[BM_CHALLENGE_LEN] = { 1 };
    struct trip t = { 0 };

    (void)state;
    go(&t, ask, BM_CMD_CHALLENGE | BM_ANSWER, bm_rd_of(challenge, sizeof challenge));
    assert_true(t.command && t.x.op->command == BM_CMD_CHALLENGE);
    assert_true(says(&t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n") && says(&t, "\"challenge\"") &&
                !says(&t, "Connection:"));
    trip_done(&t);
}

static void passes_refusals_in_the_protocols_form(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf refusal = { .max = 1024 };
    struct bm_error e;
    struct trip t = { 0 };

    (void)state;
    (void)bm_refuse(&e, BM_AGAIN, "try-again", "too many challenges");
    bm_refused_write(&refusal, &e, 7);
    go(&t, ask, BM_REFUSAL, bm_buf_rd(&refusal));
    assert_true(says(&t, "HTTP/1.1 503 ") && says(&t, "\r\nBirthmark-Code: try-again\r\n") && says(&t, "\r\nRetry-After: 7\r\n"));
    assert_true(says(&t, "application/problem+json") && says(&t, "too many challenges"));
    trip_done(&t);
}

/* The keeper is ours, but a worker survives nonsense from it. */
static void survives_nonsense_from_the_keeper(void **state)
{
    static const struct {
        uint8_t type;
        size_t n;
    } nonsense[] = {
        { BM_CMD_ENROL | BM_ANSWER, 48 }, { BM_CMD_CHALLENGE, 48 }, { BM_REFUSAL, 0 }, { BM_REFUSAL, 3 }, { 0x7f, 48 }
    };
    static const uint8_t zeros[64];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(nonsense); i++) {
        struct trip t = { 0 };

        go(&t, ask, nonsense[i].type, bm_rd_of(zeros, nonsense[i].n));
        if (!t.command || !says(&t, "HTTP/1.1 500 "))
            fail_msg("row %zu: %.*s", i, (int)t.wire.n, (const char *)t.wire.p);
        trip_done(&t);
    }
}

/* Breaks when a header field can be smuggled in through a value. */
static void further_header_fields(void **state)
{
    static const struct {
        const char *value;
        size_t n;
        const char *want;
    } fields[] = {
        { "https://host/a", 14, "A: b\r\nLocation: https://host/a\r\n" },
        { "", 0, "A: b\r\nLocation: \r\n" },
        { "x\r\nSet-Cookie: y", 16, "A: b\r\n" },
        { "x\ny", 3, "A: b\r\n" },
        { "x\0y", 3, "A: b\r\n" },
        { "\x7f", 1, "A: b\r\n" },
    };
    static uint8_t large[BM_HTTP_HEADER_MAX];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(fields); i++) {
        struct bm_response r = { 0 };

        bm_response_field(&r, "A", bm_rd_str("b"));
        bm_response_field(&r, "Location", bm_rd_of(fields[i].value, fields[i].n));
        memset(large, 'x', sizeof large);
        bm_response_field(&r, "Large", bm_rd_of(large, sizeof large));
        assert_true(bm_rd_eq(bm_buf_rd(&r.fields), bm_rd_str(fields[i].want)));
        assert_false(r.fields.bad);
        bm_buf_done(&r.fields);
    }
}

static void waits_for_the_keeper_and_its_view(void **state)
{
    (void)state;
    for (int missing = 0; missing < 2; missing++) {
        struct trip t = { 0 };

        go(&t, "GET /healthz HTTP/1.1\r\n" HOST "\r\n", 0, bm_rd_of(NULL, 0)); /* fills in what bm_route_request() needs */
        t.router.keeper_alive = missing != 0;
        t.router.view = missing != 1 ? &t.view : NULL;
        assert_int_equal(bm_route_request(&t.router, &t.x, &t.h, &t.payload), BM_ROUTE_ANSWERED);
        assert_int_equal(t.x.r.status, 503);
        assert_true(t.x.r.retry_after_s > 0);
        assert_string_equal(t.x.code, "try-again");
        trip_done(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_by_itself),
        cmocka_unit_test(head_has_no_body),
        cmocka_unit_test(passes_commands_and_answers),
        cmocka_unit_test(passes_refusals_in_the_protocols_form),
        cmocka_unit_test(survives_nonsense_from_the_keeper),
        cmocka_unit_test(further_header_fields),
        cmocka_unit_test(waits_for_the_keeper_and_its_view),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
