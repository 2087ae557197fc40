#include "server/http.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

enum { BODY_MAX = 64 };

struct outcome {
    enum bm_rc rc;
    char code[32];
    bool head, done;
    size_t left; /* bytes not taken */
};

/* Feeds in pieces of `step` bytes, each in an allocation of its own size, until the request is whole or refused. */
static struct outcome feed(struct bm_http *h, const char *text, size_t n, size_t step)
{
    struct outcome o = { 0 };
    struct bm_error e = { 0 };
    enum bm_http_event event;

    for (size_t at = 0; at < n && o.rc == BM_OK && !o.done; at += step) {
        size_t piece = n - at < step ? n - at : step;
        uint8_t *p = malloc(piece);
        struct bm_rd in = bm_rd_of(p, piece);

        assert_non_null(p);
        memcpy(p, text + at, piece);
        do {
            o.rc = bm_http_feed(h, &in, &event, &e);
            if (o.rc == BM_OK && event == BM_HTTP_HEAD) {
                assert_false(o.head);
                o.head = true;
                h->body.max = BODY_MAX;
            }
            o.done = o.rc == BM_OK && event == BM_HTTP_DONE;
        } while (o.rc == BM_OK && event == BM_HTTP_HEAD);
        o.left = n - at - piece + in.n;
        assert_true(o.rc != BM_OK || o.done || in.n == 0);
        free(p);
    }
    memcpy(o.code, e.code, sizeof o.code);
    return o;
}

#define HOST "Host: a\r\n"
#define X16 "xxxxxxxxxxxxxxxx"
#define X64 X16 X16 X16 X16
#define X512 X64 X64 X64 X64 X64 X64 X64 X64

static const struct {
    const char *name, *text, *path, *type, *body;
    size_t left;
} good[] = {
    { "get", "GET /a HTTP/1.1\r\n" HOST "\r\n", "/a", "", "", 0 },
    { "query is no path", "GET /a?b=/c HTTP/1.1\r\n" HOST "\r\n", "/a", "", "", 0 },
    { "absolute target", "GET https://h:8/a?b HTTP/1.1\r\n" HOST "\r\n", "/a", "", "", 0 },
    { "blank lines in front", "\r\n\r\nGET /a HTTP/1.1\r\n" HOST "\r\n", "/a", "", "", 0 },
    { "post", "POST /a HTTP/1.1\r\n" HOST "Content-Type: t/x\r\nContent-Length: 5\r\n\r\nhello", "/a", "t/x", "hello", 0 },
    { "field names in any case", "POST /a HTTP/1.1\r\n" HOST "CONTENT-TYPE: t/x\r\ncontent-length: 1\r\n\r\nh", "/a", "t/x", "h",
      0 },
    { "empty field", "POST /a HTTP/1.1\r\n" HOST "Content-Type:\r\nContent-Length: 1\r\n\r\nh", "/a", "", "h", 0 },
    { "empty body", "POST /a HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", "/a", "", "", 0 },
    { "largest body", "POST /a HTTP/1.1\r\n" HOST "Content-Length: 64\r\n\r\n" X64, "/a", "", X64, 0 },
    { "bytes after the body", "POST /a HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nhello", "/a", "", "h", 4 },
    { "the next request", "GET /a HTTP/1.1\r\n" HOST "\r\nGET /b", "/a", "", "", 6 },
    { "chunks", "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", "/a", "",
      "hello", 0 },
    { "trailer fields are no header fields",
      "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n0\r\nContent-Type: evil\r\nHost: b\r\n\r\n", "/a",
      "", "h", 0 },
    { "accept over two lines", "GET /a HTTP/1.1\r\n" HOST "Accept: a/b\r\nAccept: c/d\r\n\r\n", "/a", "", "", 0 },
    { "upgrade is passed over", "POST /a HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nh",
      "/a", "", "h", 0 },
    { "long fields nobody needs", "GET /a HTTP/1.1\r\n" HOST "Cookie: " X512 X512 X512 "\r\n\r\n", "/a", "", "", 0 },
    { "long field name", "GET /a HTTP/1.1\r\n" HOST X512 ": a\r\n\r\n", "/a", "", "", 0 },
    { "http/1.0", "GET /a HTTP/1.0\r\n\r\n", "/a", "", "", 0 },
};

static void takes_good_requests_in_any_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(good); i++) {
        size_t n = strlen(good[i].text);

        for (size_t step = 1; step <= n; step += step < 40 ? 1 : n) {
            struct bm_http h;
            struct bm_rd path;
            struct outcome o;

            bm_http_init(&h);
            o = feed(&h, good[i].text, n, step);
            if (o.rc != BM_OK || !o.head || !o.done || o.left != good[i].left || !bm_http_path_get0(&h, &path))
                fail_msg("%s in steps of %zu: rc %d code %s left %zu", good[i].name, step, (int)o.rc, o.code, o.left);
            assert_true(bm_rd_eq(path, bm_rd_str(good[i].path)));
            assert_true(bm_rd_eq(bm_http_field_get0(&h, BM_FIELD_CONTENT_TYPE), bm_rd_str(good[i].type)));
            assert_true(bm_rd_eq(bm_buf_rd(&h.body), bm_rd_str(good[i].body)));
            bm_http_done(&h);
        }
    }
}

static void every_prefix_waits_for_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(good); i++) {
        for (size_t n = 0; n + good[i].left < strlen(good[i].text); n++) {
            struct bm_http h;
            struct outcome o;

            bm_http_init(&h);
            o = feed(&h, good[i].text, n, n + 1);
            if (o.rc != BM_OK || o.done)
                fail_msg("%s, %zu bytes: rc %d done %d", good[i].name, n, (int)o.rc, (int)o.done);
            bm_http_done(&h);
        }
    }
}

static const struct {
    const char *name, *text;
    enum bm_rc want;
    const char *code;
} bad[] = {
    { "noise", "HELLO\r\n\r\n", BM_MALFORMED, "bad-request" },
    { "zero bytes", "\x16\x03\x01", BM_MALFORMED, "bad-request" },
    { "blank in the target", "GET /a b HTTP/1.1\r\n\r\n", BM_MALFORMED, "bad-request" },
    { "version nobody knows", "GET /a HTTP/x\r\n\r\n", BM_MALFORMED, "bad-request" },
    { "blank before the colon", "POST /a HTTP/1.1\r\nContent-Length : 5\r\n\r\nhello", BM_MALFORMED, "bad-request" },
    { "blank in a field name", "GET /a HTTP/1.1\r\nX Y: 5\r\n\r\n", BM_MALFORMED, "bad-request" },
    { "field name of nothing", "GET /a HTTP/1.1\r\n: 5\r\n\r\n", BM_MALFORMED, "bad-request" },
    { "control character in a value", "GET /a HTTP/1.1\r\nX: a\x01\r\n\r\n", BM_MALFORMED, "bad-request" },
    { "two lengths", "POST /a HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", BM_MALFORMED, "bad-request" },
    { "length and chunks", "POST /a HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BM_MALFORMED,
      "bad-request" },
    { "chunks and length", "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", BM_MALFORMED,
      "bad-request" },
    { "length is no number", "POST /a HTTP/1.1\r\nContent-Length: 5x\r\n\r\nhello", BM_MALFORMED, "bad-request" },
    { "length below zero", "POST /a HTTP/1.1\r\nContent-Length: -5\r\n\r\nhello", BM_MALFORMED, "bad-request" },
    { "length that wraps", "POST /a HTTP/1.1\r\nContent-Length: 18446744073709551621\r\n\r\nhello", BM_MALFORMED, "bad-request" },
    { "unknown coding", "POST /a HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nhello", BM_MALFORMED, "bad-request" },
    { "unknown coding after chunks", "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\nhello", BM_MALFORMED,
      "bad-request" },
    { "chunk size is no number", "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", BM_MALFORMED, "bad-request" },
    { "chunk size that wraps", "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\n", BM_MALFORMED,
      "bad-request" },
    { "two content types", "POST /a HTTP/1.1\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\n", BM_MALFORMED, "bad-request" },
    { "two hosts", "GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", BM_MALFORMED, "bad-request" },
    { "target too long", "GET /" X512 " HTTP/1.1\r\n\r\n", BM_LIMIT, "target-too-long" },
    { "header too large",
      "GET /a HTTP/1.1\r\nX: " X512 X512 X512 X512 X512 X512 X512 X512 X512 X512 X512 X512 X512 X512 X512 X512 "\r\n\r\n", BM_LIMIT,
      "header-too-large" },
    { "body too large", "POST /a HTTP/1.1\r\nContent-Length: 65\r\n\r\n" X64 "x", BM_LIMIT, "body-too-large" },
    { "chunks too large", "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" X64 "\r\n1\r\nx\r\n0\r\n\r\n", BM_LIMIT,
      "body-too-large" },
};

static void refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(bad); i++) {
        size_t n = strlen(bad[i].text);

        for (size_t step = 1; step <= n; step += step == 1 ? n - 1 : 1) {
            struct bm_http h;
            struct outcome o;

            bm_http_init(&h);
            o = feed(&h, bad[i].text, n, step);
            if (o.rc != bad[i].want || strcmp(o.code, bad[i].code) != 0)
                fail_msg("%s in steps of %zu: rc %d code '%s' done %d", bad[i].name, step, (int)o.rc, o.code, (int)o.done);
            bm_http_done(&h);
        }
    }
}

/* Framing without content has an end too. */
static void refuses_endless_chunk_framing(void **state)
{
    static const char head[] = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;";
    struct bm_http h;
    struct outcome o;

    (void)state;
    bm_http_init(&h);
    o = feed(&h, head, sizeof head - 1, sizeof head);
    assert_true(o.rc == BM_OK && o.head && !o.done);
    for (int i = 0; i < 64 && o.rc == BM_OK; i++) {
        struct bm_rd in = bm_rd_str(X512);
        struct bm_error e;
        enum bm_http_event event;

        o.rc = bm_http_feed(&h, &in, &event, &e);
    }
    assert_int_equal(o.rc, o.rc == BM_MALFORMED ? BM_MALFORMED : BM_LIMIT);
    bm_http_done(&h);
}

static void one_request_after_another(void **state)
{
    static const char two[] = "POST /a HTTP/1.1\r\nContent-Type: t/x\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\n\r\n";
    struct bm_http h;
    struct bm_rd path;
    struct outcome o;
    size_t n = sizeof two - 1;

    (void)state;
    bm_http_init(&h);
    o = feed(&h, two, n, n);
    assert_true(o.done && bm_http_has_body(&h) && bm_http_has_length(&h));
    bm_http_next(&h);
    assert_true(bm_http_blank(&h));
    o = feed(&h, two + n - o.left, o.left, 1);
    assert_true(o.done && o.left == 0 && !bm_http_has_body(&h) && !bm_http_has_length(&h) && !bm_http_blank(&h));
    assert_true(bm_http_path_get0(&h, &path) && bm_rd_eq(path, bm_rd_str("/b")));
    assert_int_equal(bm_http_field_get0(&h, BM_FIELD_CONTENT_TYPE).n, 0);
    assert_int_equal(h.body.n, 0);
    bm_http_done(&h);
}

static const struct {
    const char *text;
    bool keeps, waits;
} manners[] = {
    { "GET /a HTTP/1.1\r\n\r\n", true, false },
    { "GET /a HTTP/1.1\r\nConnection: close\r\n\r\n", false, false },
    { "GET /a HTTP/1.0\r\n\r\n", false, false },
    { "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, false },
    { "POST /a HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 0\r\n\r\n", true, true },
    { "POST /a HTTP/1.1\r\nExpect: something\r\nContent-Length: 0\r\n\r\n", true, false },
    { "POST /a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", false, false },
};

static void knows_manners(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(manners); i++) {
        struct bm_http h;
        struct outcome o;

        bm_http_init(&h);
        o = feed(&h, manners[i].text, strlen(manners[i].text), 7);
        assert_true(o.done);
        assert_true(h.keep_alive == manners[i].keeps);
        assert_true(bm_http_waits(&h) == manners[i].waits);
        bm_http_done(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_good_requests_in_any_pieces),
        cmocka_unit_test(every_prefix_waits_for_more),
        cmocka_unit_test(refuses),
        cmocka_unit_test(refuses_endless_chunk_framing),
        cmocka_unit_test(one_request_after_another),
        cmocka_unit_test(knows_manners),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
