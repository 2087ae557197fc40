/* The SDK's HTTP: request text, and answers whole, in single bytes, cut, too large and lying. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sdk_help.h"

static void request_text(void **state)
{
    static const char want[] = "POST /onboard/v1/enrol HTTP/1.1\r\nHost: a.example:8443\r\nAccept: application/cbor\r\n"
                               "Content-Type: application/cbor\r\nConnection: close\r\nContent-Length: 123\r\n\r\n";
    struct bmd_http_request q = {
        .method = "POST",
        .path = "/onboard/v1/enrol",
        .host = "a.example:8443",
        .content_type = "application/cbor",
        .accept = "application/cbor",
        .close = true,
        .body_len = 123,
    };
    char room[512];
    struct bmd_wr w = bmd_wr_of(room, sizeof room);

    (void)state;
    bmd_http_write(&w, &q);
    assert_false(w.bad);
    assert_int_equal(w.n, sizeof want - 1);
    assert_memory_equal(room, want, w.n);
    q.path = "/x\r\nEvil: yes";
    w = bmd_wr_of(room, sizeof room);
    bmd_http_write(&w, &q);
    assert_true(w.bad);
    q.path = "/";
    q.host = "a b";
    w = bmd_wr_of(room, sizeof room);
    bmd_http_write(&w, &q);
    assert_true(w.bad);
}

#define OK_HEAD "HTTP/1.1 200 OK\r\n"

static const struct row {
    const char *name, *in;
    enum bmd_rc want;
    unsigned status;
    const char *body;
    uint32_t retry;
    const char *code;
    bool kept;
} rows[] = {
    { "smallest", OK_HEAD "Content-Length: 0\r\n\r\n", BMD_OK, 200, "", 0, "", true },
    { "body", OK_HEAD "Content-Length: 5\r\n\r\nhello", BMD_OK, 200, "hello", 0, "", true },
    { "chunked", OK_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", BMD_OK, 200, "hello", 0, "", true },
    { "close", OK_HEAD "Connection: close\r\nContent-Length: 1\r\n\r\nx", BMD_OK, 200, "x", 0, "", false },
    { "refusal", "HTTP/1.1 403 No\r\nbirthmark-code: unknown-device\r\nContent-Length: 0\r\n\r\n", BMD_OK, 403, "", 0,
      "unknown-device", true },
    { "busy", "HTTP/1.1 503 Busy\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n", BMD_OK, 503, "", 17, "", true },
    { "retry at a date", "HTTP/1.1 503 Busy\r\nRetry-After: Fri, 01 Jan 2027 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n", BMD_OK,
      503, "", 0, "", true },
    { "code with a quote", "HTTP/1.1 403 No\r\nBirthmark-Code: a\"b\r\nContent-Length: 0\r\n\r\n", BMD_OK, 403, "", 0, "", true },
    { "code too long",
      "HTTP/1.1 403 No\r\nBirthmark-Code: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nContent-Length: 0\r\n\r\n", BMD_OK,
      403, "", 0, "", true },
    { "after an interim answer", "HTTP/1.1 100 Continue\r\n\r\n" OK_HEAD "Content-Length: 1\r\n\r\nx", BMD_OK, 200, "x", 0, "",
      true },
    { "no content", "HTTP/1.1 204 No Content\r\n\r\n", BMD_OK, 204, "", 0, "", true },
    { "another answer behind it", OK_HEAD "Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n", BMD_MALFORMED, 0, NULL, 0, NULL, false },
    { "a byte behind it", OK_HEAD "Content-Length: 1\r\n\r\nxy", BMD_MALFORMED, 0, NULL, 0, NULL, false },
    { "body too large", OK_HEAD "Content-Length: 65\r\n\r\n", BMD_NO_SPACE, 0, NULL, 0, NULL, false },
    { "chunk too large",
      OK_HEAD "Transfer-Encoding: chunked\r\n\r\n41\r\n0123456789012345678901234567890123456789012345678901234567890123x",
      BMD_NO_SPACE, 0, NULL, 0, NULL, false },
    { "two lengths", OK_HEAD "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", BMD_MALFORMED, 0, NULL, 0, NULL, false },
    { "length and chunks", OK_HEAD "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx", BMD_MALFORMED, 0, NULL, 0, NULL,
      false },
    { "negative length", OK_HEAD "Content-Length: -1\r\n\r\n", BMD_MALFORMED, 0, NULL, 0, NULL, false },
    { "huge length", OK_HEAD "Content-Length: 99999999999999999999\r\n\r\n", BMD_MALFORMED, 0, NULL, 0, NULL, false },
    { "no status", "HTTP/1.1 OK\r\n\r\n", BMD_MALFORMED, 0, NULL, 0, NULL, false },
    { "not HTTP", "220 mail.example ESMTP\r\n", BMD_MALFORMED, 0, NULL, 0, NULL, false },
    { "a request", "GET / HTTP/1.1\r\n\r\n", BMD_MALFORMED, 0, NULL, 0, NULL, false },
    { "switching", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", BMD_MALFORMED, 0, NULL, 0, NULL, false },
    { "interim without end",
      "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\n",
      BMD_MALFORMED, 0, NULL, 0, NULL, false },
};

static void check(const struct row *r, const struct bmd_http *h, enum bmd_rc rc)
{
    if (rc != r->want)
        fail_msg("%s: %s", r->name, bmd_rc_name(rc));
    if (rc != BMD_OK)
        return;
    if (!h->done || h->status != r->status || h->retry_after_s != r->retry || strcmp(h->code, r->code) != 0 ||
        h->keep_alive != r->kept || h->body_len != strlen(r->body) || memcmp(h->body, r->body, h->body_len) != 0)
        fail_msg("%s: status %u, retry %u, code '%s', body of %zu", r->name, h->status, (unsigned)h->retry_after_s, h->code,
                 h->body_len);
}

static void answers(void **state)
{
    uint8_t body[64];
    struct bmd_http h;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n = strlen(rows[i].in);
        uint8_t *in = malloc(n);

        memcpy(in, rows[i].in, n);
        bmd_http_init(&h, body, sizeof body);
        check(&rows[i], &h, bmd_http_feed(&h, in, n));
        free(in);
    }
}

static void answers_byte_by_byte(void **state)
{
    uint8_t body[64];
    struct bmd_http h;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum bmd_rc rc = BMD_BUSY;

        bmd_http_init(&h, body, sizeof body);
        for (const char *p = rows[i].in; *p != '\0' && (rc == BMD_BUSY || rc == BMD_OK); p++)
            rc = bmd_http_feed(&h, (const uint8_t *)p, 1);
        if (rc != BMD_BUSY) /* "huge length" and the like may still be waiting: then the end decides */
            check(&rows[i], &h, rc);
        else
            assert_int_not_equal(rows[i].want, BMD_OK);
    }
}

static void cut_short(void **state)
{
    uint8_t body[64];
    struct bmd_http h;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(rows[i].in);

        for (size_t k = 0; k < n; k++) {
            bmd_http_init(&h, body, sizeof body);
            if (k != 0)
                assert_int_equal(bmd_http_feed(&h, (const uint8_t *)rows[i].in, k), BMD_BUSY);
            assert_int_not_equal(bmd_http_feed(&h, NULL, 0), BMD_OK);
            assert_false(h.done);
        }
    }
}

static void until_the_end(void **state)
{
    static const char in[] = OK_HEAD "Content-Type: application/cbor\r\n\r\nhello";
    uint8_t body[64];
    struct bmd_http h;

    (void)state;
    bmd_http_init(&h, body, sizeof body);
    assert_int_equal(bmd_http_feed(&h, (const uint8_t *)in, sizeof in - 1), BMD_BUSY);
    assert_int_equal(bmd_http_feed(&h, NULL, 0), BMD_OK);
    assert_true(h.done && !h.keep_alive && h.body_len == 5 && h.media == BMD_MEDIA_CBOR);
}

static void header_flood(void **state)
{
    static const char line[] = "X-Filler: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n";
    uint8_t body[64];
    struct bmd_http h;
    enum bmd_rc rc;

    (void)state;
    bmd_http_init(&h, body, sizeof body);
    rc = bmd_http_feed(&h, (const uint8_t *)OK_HEAD, sizeof OK_HEAD - 1);
    for (size_t i = 0; i < 1000 && rc == BMD_BUSY; i++)
        rc = bmd_http_feed(&h, (const uint8_t *)line, sizeof line - 1);
    assert_int_equal(rc, BMD_NO_SPACE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_text), cmocka_unit_test(answers),       cmocka_unit_test(answers_byte_by_byte),
        cmocka_unit_test(cut_short),    cmocka_unit_test(until_the_end), cmocka_unit_test(header_flood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
