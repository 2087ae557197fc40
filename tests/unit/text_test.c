#include "base/text.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

enum { ROOM = 512 };

typedef enum bm_rc decode_fn(struct bm_rd in, struct bm_buf *out, struct bm_error *e);

/* Decodes from an allocation of the exact size. On failure the buffer must hold what it held. */
static enum bm_rc decode(decode_fn *fn, const char *text, size_t n, struct bm_buf *out)
{
    char *in = malloc(n != 0 ? n : 1);
    struct bm_error e = { 0 };
    size_t before = out->n;
    enum bm_rc rc;

    assert_non_null(in);
    memcpy(in, text, n);
    rc = fn(bm_rd_of(in, n), out, &e);
    free(in);
    if (rc != BM_OK) {
        assert_int_equal(out->n, before);
        assert_int_equal(e.rc, rc);
        assert_true(e.what[0] != '\0');
    }
    return rc;
}

struct row {
    const char *name, *text;
    enum bm_rc want;
    const char *bytes;
};

static void check_rows(decode_fn *fn, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = ROOM };
        enum bm_rc rc = decode(fn, rows[i].text, strlen(rows[i].text), &out);

        if (rc != rows[i].want)
            fail_msg("%s: %s", rows[i].name, bm_rc_name(rc));
        if (rc == BM_OK && !bm_rd_eq(bm_buf_rd(&out), bm_rd_str(rows[i].bytes)))
            fail_msg("%s: other bytes", rows[i].name);
    }
}

/* The vectors of RFC 4648 section 10 and what is wrong in ways the section 3 warns of. */
static const struct row plain_rows[] = {
    { "nothing", "", BM_OK, "" },
    { "f", "Zg==", BM_OK, "f" },
    { "fo", "Zm8=", BM_OK, "fo" },
    { "foo", "Zm9v", BM_OK, "foo" },
    { "foob", "Zm9vYg==", BM_OK, "foob" },
    { "fooba", "Zm9vYmE=", BM_OK, "fooba" },
    { "foobar", "Zm9vYmFy", BM_OK, "foobar" },
    { "the last two digits", "+/+/", BM_OK, "\xfb\xff\xbf" },
    { "wrapped, CR LF", "Zm9v\r\nYmFy\r\n", BM_OK, "foobar" },
    { "wrapped inside a group", "Zm\n9vY\tm Fy", BM_OK, "foobar" },
    { "blanks only", " \r\n\t", BM_OK, "" },
    { "padding split by a line end", "Zg=\n=", BM_OK, "f" },
    { "no padding", "Zg", BM_MALFORMED, NULL },
    { "no padding after three", "Zm8", BM_MALFORMED, NULL },
    { "half the padding", "Zg=", BM_MALFORMED, NULL },
    { "too much padding", "Zm8==", BM_MALFORMED, NULL },
    { "three pads", "Zg===", BM_MALFORMED, NULL },
    { "padding after a full group", "Zm9v=", BM_MALFORMED, NULL },
    { "a whole group of padding", "Zm9v====", BM_MALFORMED, NULL },
    { "padding alone", "==", BM_MALFORMED, NULL },
    { "data after padding", "Zg==Zg==", BM_MALFORMED, NULL },
    { "data between padding", "Zg=Z=", BM_MALFORMED, NULL },
    { "one digit", "Z", BM_MALFORMED, NULL },
    { "five digits", "Zm9vY", BM_MALFORMED, NULL },
    { "one digit, padded", "Z===", BM_MALFORMED, NULL },
    { "stray bits, one byte", "Zh==", BM_MALFORMED, NULL },
    { "stray bits, two bytes", "Zm9=", BM_MALFORMED, NULL },
    { "a url digit", "-_-_", BM_MALFORMED, NULL },
    { "a form feed", "Zm9v\f", BM_MALFORMED, NULL },
    { "a high byte", "Zm9\xc3", BM_MALFORMED, NULL },
    { "PEM armour", "-----BEGIN CERTIFICATE-----", BM_MALFORMED, NULL },
};

static const struct row url_rows[] = {
    { "nothing", "", BM_OK, "" },
    { "f", "Zg", BM_OK, "f" },
    { "fo", "Zm8", BM_OK, "fo" },
    { "foobar", "Zm9vYmFy", BM_OK, "foobar" },
    { "the last two digits", "-_-_", BM_OK, "\xfb\xff\xbf" },
    { "padded", "Zg==", BM_MALFORMED, NULL },
    { "a line end", "Zm9v\n", BM_MALFORMED, NULL },
    { "a blank", "Zm9v YmFy", BM_MALFORMED, NULL },
    { "plain digits", "+/+/", BM_MALFORMED, NULL },
    { "one digit", "Z", BM_MALFORMED, NULL },
    { "five digits", "Zm9vY", BM_MALFORMED, NULL },
    { "stray bits, one byte", "Zh", BM_MALFORMED, NULL },
    { "stray bits, two bytes", "Zm9", BM_MALFORMED, NULL },
};

static void base64_rows(void **state)
{
    (void)state;
    check_rows(bm_unbase64, plain_rows, BM_COUNT(plain_rows));
}

static void base64url_rows(void **state)
{
    (void)state;
    check_rows(bm_unbase64url, url_rows, BM_COUNT(url_rows));
}

/* A NUL is no end here. */
static void base64_refuses_nul(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = ROOM };

    (void)state;
    assert_int_equal(decode(bm_unbase64, "Zm9v\0Zm9v", 9, &out), BM_MALFORMED);
    assert_int_equal(decode(bm_unbase64url, "Zm9v\0Zm9v", 9, &out), BM_MALFORMED);
}

/* Every proper prefix decodes to a prefix of the bytes or is refused. */
static void prefixes(decode_fn *fn, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; rows[i].want == BM_OK && k < strlen(rows[i].text); k++) {
            BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = ROOM };

            if (decode(fn, rows[i].text, k, &out) == BM_OK && out.n != 0)
                assert_memory_equal(out.p, rows[i].bytes, out.n);
        }
    }
}

static void base64_prefixes(void **state)
{
    (void)state;
    prefixes(bm_unbase64, plain_rows, BM_COUNT(plain_rows));
    prefixes(bm_unbase64url, url_rows, BM_COUNT(url_rows));
}

static void base64_appends_and_meets_limits_exactly(void **state)
{
    (void)state;
    for (size_t n = 0; n < 64; n++) {
        BM_CLEANUP(bm_buf_done)
        struct bm_buf text = { .max = ROOM }, url = { .max = (4 * n + 2) / 3 }, fits = { .max = n + 1 }, tight = { .max = n };
        uint8_t bytes[64];

        memset(bytes, (int)n, sizeof bytes);
        bm_base64(&text, bm_rd_of(bytes, n), 0);
        assert_int_equal(text.n, (n + 2) / 3 * 4);
        bm_base64url(&url, bm_rd_of(bytes, n));
        assert_false(url.bad);
        bm_buf_str(&fits, "!");
        assert_int_equal(bm_unbase64(bm_buf_rd(&text), &fits, NULL), BM_OK);
        assert_true(fits.n == n + 1 && fits.p[0] == '!' && (n == 0 || memcmp(fits.p + 1, bytes, n) == 0));
        assert_int_equal(bm_unbase64url(bm_buf_rd(&url), &tight, NULL), BM_OK);
        tight.n = 0;
        tight.max = n != 0 ? n - 1 : 0;
        if (n != 0) {
            bm_buf_done(&tight);
            assert_int_equal(bm_unbase64(bm_buf_rd(&text), &tight, NULL), BM_LIMIT);
        }
    }
}

static void base64_wraps(void **state)
{
    static const struct {
        const char *in;
        size_t line_len;
        const char *want;
    } rows[] = {
        { "", 4, "" },
        { "foo", 4, "Zm9v\n" },
        { "foob", 4, "Zm9v\nYg==\n" },
        { "foobar", 4, "Zm9v\nYmFy\n" },
        { "foobar", 5, "Zm9vY\nmFy\n" },
        { "foobar", 64, "Zm9vYmFy\n" },
        { "foobar", 0, "Zm9vYmFy" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = strlen(rows[i].want) };

        bm_base64(&out, bm_rd_str(rows[i].in), rows[i].line_len);
        assert_false(out.bad);
        assert_true(bm_rd_eq(bm_buf_rd(&out), bm_rd_str(rows[i].want)));
    }
}

static void hex_rows(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        bool ok;
    } rows[] = {
        { "", 0, true },          { "00ff", 2, true },      { "00FF", 2, true },  { "abCD", 2, true }, { "abc", 1, false },
        { "abc", 2, false },      { "abcd", 1, false },     { "abcd", 3, false }, { "0g", 1, false },  { "g0", 1, false },
        { "0x", 1, false },       { " 1", 1, false },       { "-1", 1, false },   { "@A", 1, false },  { "`a", 1, false },
        { "\x11\x12", 1, false }, { "\xc1\xc1", 1, false }, { "1:", 1, false },   { "/0", 1, false },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t *out = malloc(rows[i].n + 1);
        char again[9];

        assert_non_null(out);
        memset(out, 0x5a, rows[i].n + 1);
        if (bm_unhex(bm_rd_str(rows[i].text), out, rows[i].n) != rows[i].ok)
            fail_msg("'%s'", rows[i].text);
        assert_int_equal(out[rows[i].ok ? rows[i].n : 0], 0x5a);
        bm_hex(out, rows[i].ok ? rows[i].n : 0, again);
        for (size_t k = 0; rows[i].ok && k < 2 * rows[i].n; k++)
            assert_int_equal(again[k], rows[i].text[k] >= 'A' && rows[i].text[k] <= 'F' ? rows[i].text[k] + 32 : rows[i].text[k]);
        free(out);
    }
}

static void escapes_what_peers_say(void **state)
{
    static const struct {
        const char *in;
        size_t room;
        const char *want;
    } rows[] = {
        { "plain text", 32, "plain text" },
        { "a\nb", 32, "a\\x0ab" },
        { "\x1b[2J", 32, "\\x1b[2J" },
        { "back\\slash", 32, "back\\x5cslash" },
        { "\xc3\xa9", 32, "\\xc3\\xa9" },
        { "", 1, "" },
        { "abc", 4, "abc" },
        { "abc", 3, "ab" },
        { "abc", 1, "" },
        { "a\n", 5, "a" },
        { "a\n", 6, "a\\x0a" },
        { "\x7f", 5, "\\x7f" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        char *out = malloc(rows[i].room);

        assert_non_null(out);
        assert_string_equal(bm_text_escape(bm_rd_str(rows[i].in), out, rows[i].room), rows[i].want);
        free(out);
    }
}

static void names(void **state)
{
    static const char *const good[] = { "a",         "0",    "acme-co",
                                        "eu.west_1", "a-._", "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz01" };
    static const char *const bad[] = {
        "",    "-a",  ".a",       "_a",   "..",   "A",  "a b",
        "a/b", "a\n", "\xc3\xa9", "a'--", "a%00", " a", "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz012"
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(good); i++)
        assert_true(bm_name_ok(good[i]));
    for (size_t i = 0; i < BM_COUNT(bad); i++)
        assert_false(bm_name_ok(bad[i]));
}

static void times(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t at;
    } rows[] = {
        { "1970-01-01T00:00:00Z", true, 0 },
        { "2026-01-31T23:59:59Z", true, 1769903999 },
        { "2024-02-29T12:00:00Z", true, 1709208000 },
        { "1969-12-31T23:59:59Z", true, -1 },
        { "9999-12-31T23:59:59Z", true, 253402300799 },
        { "2026-01-31T23:59:59.1Z", true, 1769903999 },
        { "2026-01-31T23:59:59.999999999Z", true, 1769903999 },
        { "", false, 0 },
        { "2026", false, 0 },
        { "2026-01-31", false, 0 },
        { "2026-01-31T23:59:59", false, 0 },
        { "2026-01-31T23:59:59.Z", false, 0 },
        { "2026-01-31T23:59:59.1", false, 0 },
        { "2026-01-31T23:59:59z", false, 0 },
        { "2026-01-31t23:59:59Z", false, 0 },
        { "2026-01-31 23:59:59Z", false, 0 },
        { "2026-01-31T23:59:59+00:00", false, 0 },
        { "2026-01-31T23:59:59Zx", false, 0 },
        { "2026-01-31T23:59:59ZZ", false, 0 },
        { " 2026-01-31T23:59:59Z", false, 0 },
        { "2026-02-31T23:59:59Z", false, 0 },
        { "2025-02-29T12:00:00Z", false, 0 },
        { "2026-13-01T00:00:00Z", false, 0 },
        { "2026-00-01T00:00:00Z", false, 0 },
        { "2026-01-00T00:00:00Z", false, 0 },
        { "2026-01-01T24:00:00Z", false, 0 },
        { "2026-01-01T00:60:00Z", false, 0 },
        { "2026-01-01T00:00:60Z", false, 0 },
        { "2026-1-1T0:0:0Z", false, 0 },
        { "2026- 1- 1T 0: 0: 0Z", false, 0 },
        { "-026-01-01T00:00:00Z", false, 0 },
        { "12026-01-01T00:00:00Z", false, 0 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        int64_t at = 42;
        char again[21];

        if (bm_time_parse(rows[i].text, &at) != rows[i].ok || at != (rows[i].ok ? rows[i].at : 42))
            fail_msg("'%s' gives %lld", rows[i].text, (long long)at);
        if (rows[i].ok)
            assert_memory_equal(bm_time_text(at, again), rows[i].text, 19);
    }
}

static void times_beyond_text(void **state)
{
    static const int64_t rows[] = { 253402300800, INT64_MAX, INT64_MIN };
    char text[21];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        assert_string_equal(bm_time_text(rows[i], text), "?");
}

static void durations(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t want;
    } rows[] = {
        { "0s", true, 0 },
        { "45s", true, 45 },
        { "90m", true, 5400 },
        { "12h", true, 43200 },
        { "30d", true, 2592000 },
        { "2w", true, 1209600 },
        { "10y", true, 315360000 },
        { "100000000y", true, 3153600000000000 },
        { "", false, 0 },
        { "s", false, 0 },
        { "5", false, 0 },
        { "5x", false, 0 },
        { "5S", false, 0 },
        { "5 s", false, 0 },
        { " 5s", false, 0 },
        { "5s ", false, 0 },
        { "5dd", false, 0 },
        { "1d12h", false, 0 },
        { "-5s", false, 0 },
        { "+5s", false, 0 },
        { "1.5h", false, 0 },
        { "0x5s", false, 0 },
        { "1e3s", false, 0 },
        { "100000001s", false, 0 },
        { "9223372036854775807y", false, 0 },
        { "99999999999999999999999s", false, 0 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        int64_t got = 42;

        if (bm_duration_parse(rows[i].text, &got) != rows[i].ok || got != (rows[i].ok ? rows[i].want : 42))
            fail_msg("'%s' gives %lld", rows[i].text, (long long)got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_rows),
        cmocka_unit_test(base64url_rows),
        cmocka_unit_test(base64_refuses_nul),
        cmocka_unit_test(base64_prefixes),
        cmocka_unit_test(base64_appends_and_meets_limits_exactly),
        cmocka_unit_test(base64_wraps),
        cmocka_unit_test(hex_rows),
        cmocka_unit_test(escapes_what_peers_say),
        cmocka_unit_test(names),
        cmocka_unit_test(times),
        cmocka_unit_test(times_beyond_text),
        cmocka_unit_test(durations),
    };

    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
