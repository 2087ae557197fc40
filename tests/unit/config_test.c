#include "base/config.h"

#include "base/limits.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Parses from an allocation of the exact size. */
static enum bm_rc parse(const char *text, size_t n, struct bm_config *c, struct bm_error *e)
{
    char *in = malloc(n != 0 ? n : 1);
    enum bm_rc rc;

    assert_non_null(in);
    memcpy(in, text, n);
    assert_int_equal(bm_config_init(c, "/data", e), BM_OK);
    rc = bm_config_parse(c, bm_rd_of(in, n), "file", e);
    free(in);
    return rc;
}

static const char all_keys[] = "# a comment\n"
                               "listen = [::]:443, 127.0.0.1:8443   # both\n"
                               "workers=4\r\n"
                               "\tlog_level\t=\tdebug\n"
                               "\n"
                               "tls_hosts = a.example, 10.0.0.1\n"
                               "tls_cert_file = /c.pem\n"
                               "tls_key_file = /k.pem\n"
                               "secret_file = /s\n"
                               "connections = 1\n"
                               "connections_per_address = 1000000\n"
                               "coap_sessions = 16\n"
                               "coap_handshakes = 16\n"
                               "coap_bodies_mb = 4096\n"
                               "scep_strangers_per_second = 1\n"
                               "voucher_request_seconds = 604800\n"
                               "drain_seconds = 0";

static void takes_every_key(void **state)
{
    struct bm_config c;
    struct bm_error e = { 0 };

    (void)state;
    assert_int_equal(parse(all_keys, sizeof all_keys - 1, &c, &e), BM_OK);
    assert_string_equal(c.data_dir, "/data");
    assert_string_equal(c.listen, "[::]:443, 127.0.0.1:8443");
    assert_int_equal(c.workers, 4);
    assert_int_equal(c.log_level, BM_LOG_DEBUG);
    assert_string_equal(c.tls_hosts, "a.example, 10.0.0.1");
    assert_string_equal(c.tls_cert_file, "/c.pem");
    assert_string_equal(c.tls_key_file, "/k.pem");
    assert_string_equal(c.secret_file, "/s");
    assert_int_equal(c.connections, 1);
    assert_int_equal(c.connections_per_address, 1000000);
    assert_int_equal(c.coap_sessions, 16);
    assert_int_equal(c.coap_bodies_mb, 4096);
    assert_int_equal(c.scep_strangers_per_second, 1);
    assert_int_equal(c.voucher_request_seconds, 604800);
    assert_int_equal(c.drain_seconds, 0);
}

static void takes_or_refuses_every_prefix(void **state)
{
    struct bm_config c;
    struct bm_error e;

    (void)state;
    for (size_t n = 0; n < sizeof all_keys - 1; n++) {
        enum bm_rc rc = parse(all_keys, n, &c, &e);

        assert_true(rc == BM_OK || rc == BM_USAGE);
    }
}

static void has_defaults(void **state)
{
    struct bm_config c;
    struct bm_error e;

    (void)state;
    assert_int_equal(parse("", 0, &c, &e), BM_OK);
    assert_string_equal(c.listen, "127.0.0.1:8443");
    assert_int_equal(c.workers, 0);
    assert_int_equal(c.log_level, BM_LOG_INFO);
    assert_string_equal(c.secret_file, "");
    assert_int_equal(c.connections, 10240);
    assert_int_equal(c.drain_seconds, 20);
    assert_int_equal(c.coap_sessions, BM_COAP_SESSIONS_MAX);
    assert_int_equal(c.coap_handshakes, BM_COAP_HANDSHAKES_MAX);
    assert_int_equal(c.coap_idle_seconds * 1000, BM_COAP_IDLE_MS);
    assert_int_equal(c.coap_bodies_mb << 20, BM_COAP_BODIES_MAX);
    assert_int_equal(c.scep_strangers_per_second, BM_SCEP_STRANGERS_SECOND);
    assert_int_equal(c.scep_strangers_per_minute, BM_SCEP_STRANGERS_ADDRESS);
    assert_int_equal(c.scep_known_per_minute, BM_SCEP_KNOWN_KEY);
    assert_int_equal(c.voucher_request_seconds, BM_VOUCHER_REQUEST_AGE_S);
    assert_int_equal(c.voucher_log_entries, BM_VOUCHER_EVENTS_MAX);
}

static const struct {
    const char *name, *text, *says;
} refusals[] = {
    { "unknown key", "listne = x:1\n", "file:1: there is no key 'listne'" },
    { "unknown key, escaped", "li\x1b[31m = x:1\n", "file:1: there is no key 'li\\x1b[31m'" },
    { "no equals sign", "\n\nworkers 4\n", "file:3: write key = value" },
    { "no key", "= 4\n", "file:1: there is no key ''" },
    { "twice", "workers = 1\n#\nworkers = 1\n", "file:3: workers is set twice" },
    { "not a number", "workers = four\n", "file:1: workers: write a whole number from 0 to 1024" },
    { "negative", "workers = -1\n", "file:1: workers: write a whole number" },
    { "fraction", "workers = 1.5\n", "file:1: workers: write a whole number" },
    { "number and more", "workers = 1 2\n", "file:1: workers: write a whole number" },
    { "empty number", "workers =\n", "file:1: workers: write a whole number" },
    { "too large", "workers = 1025\n", "file:1: workers: 1025 is outside 0 to 1024" },
    { "no session", "coap_sessions = 0\n", "file:1: coap_sessions: 0 is outside 16 to 65536" },
    { "no handshake", "coap_handshakes = 7\n", "file:1: coap_handshakes: 7 is outside 8 to 65536" },
    { "too many bodies", "coap_bodies_mb = 4097\n", "file:1: coap_bodies_mb: 4097 is outside 1 to 4096" },
    { "nobody may ask", "scep_known_per_minute = 0\n", "file:1: scep_known_per_minute: 0 is outside 1 to 1000000" },
    { "a stale request", "voucher_request_seconds = 604801\n", "file:1: voucher_request_seconds: 604801 is outside 60 to 604800" },
    { "an endless log", "voucher_log_entries = 5001\n", "file:1: voucher_log_entries: 5001 is outside 100 to 5000" },
    { "too small", "connections = 0\n", "file:1: connections: 0 is outside 1 to 1000000" },
    { "would wrap", "workers = 4294967297\n", "file:1: workers: write a whole number" },
    { "no level", "log_level = loud\n", "file:1: log_level: write error, warn, info or debug" },
    { "level in capitals", "log_level = INFO\n", "file:1: log_level: write error" },
    { "empty listen", "listen = # nowhere\n", "file:1: listen: a value is missing" },
    { "control character", "secret_file = /a\tb\n", "file:1: secret_file: control character at position 3" },
};

static void refuses(void **state)
{
    struct bm_config c;
    struct bm_error e;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(refusals); i++) {
        e = (struct bm_error){ 0 };
        if (parse(refusals[i].text, strlen(refusals[i].text), &c, &e) != BM_USAGE || strstr(e.what, refusals[i].says) != e.what)
            fail_msg("%s: %s", refusals[i].name, e.what);
    }
    assert_int_equal(parse("secret_file = a\0b\n", 18, &c, &e), BM_USAGE);
}

static void refuses_long_values(void **state)
{
    char text[1200];
    struct bm_config c;
    struct bm_error e;

    (void)state;
    for (size_t n = 510; n < 514; n++) {
        int len = snprintf(text, sizeof text, "secret_file = /%0*d\n", (int)n - 1, 0);

        assert_int_equal(parse(text, (size_t)len, &c, &e), n < BM_CONFIG_PATH_MAX ? BM_OK : BM_USAGE);
    }
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_int_equal(bm_config_init(&c, text, &e), BM_LIMIT);
    assert_int_equal(bm_config_init(&c, "/data", &e), BM_OK);
    assert_int_equal(bm_config_set(&c, "listen", text, &e), BM_USAGE);
}

static void needs_certificate_and_key(void **state)
{
    struct bm_config c;
    struct bm_error e;

    (void)state;
    assert_int_equal(bm_config_init(&c, "/data", &e), BM_OK);
    assert_int_equal(bm_config_check(&c, &e), BM_OK);
    assert_int_equal(bm_config_set(&c, "tls_key_file", "/k", &e), BM_OK);
    assert_int_equal(bm_config_check(&c, &e), BM_USAGE);
    assert_int_equal(bm_config_set(&c, "tls_cert_file", "/c", &e), BM_OK);
    assert_int_equal(bm_config_check(&c, &e), BM_OK);
    assert_int_equal(bm_config_set(&c, "no-such-key", "/c", &e), BM_USAGE);
}

static void more_handshakes_than_sessions(void **state)
{
    struct bm_config c;
    struct bm_error e;

    (void)state;
    assert_int_equal(bm_config_init(&c, "/data", &e), BM_OK);
    assert_int_equal(bm_config_set(&c, "coap_sessions", "511", &e), BM_OK);
    assert_int_equal(bm_config_check(&c, &e), BM_USAGE);
    assert_string_equal(e.what, "coap_handshakes: 512 are more than the 511 of coap_sessions");
    assert_int_equal(bm_config_set(&c, "coap_handshakes", "511", &e), BM_OK);
    assert_int_equal(bm_config_check(&c, &e), BM_OK);
}

/* Of each key, what it is set to; and which of those that differ wait for a restart. */
static void tells_values_and_what_waits(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf none = { .max = 200 }, two = { .max = 200 };
    struct bm_config was, is;
    struct bm_config_value v;
    struct bm_error e;
    size_t n = 0;

    (void)state;
    assert_int_equal(bm_config_init(&was, "/data", &e), BM_OK);
    assert_int_equal(parse("log_level = debug\ncoap_sessions = 4000\nidle_seconds = 7\n", 56, &is, &e), BM_OK);
    bm_config_waiting(&was, &is, &none);
    assert_int_equal(none.n, 0);
    assert_int_equal(bm_config_set(&is, "journal", "/j", &e), BM_OK);
    assert_int_equal(bm_config_set(&is, "scep_known_per_minute", "7", &e), BM_OK);
    bm_config_waiting(&was, &is, &two);
    bm_buf_put(&two, "", 1);
    assert_string_equal((const char *)two.p, "scep_known_per_minute, journal");
    for (; bm_config_value(&is, n, &v); n++) {
        if (strcmp(v.key, "log_level") == 0)
            assert_string_equal(v.text, "debug");
        if (strcmp(v.key, "journal") == 0)
            assert_string_equal(v.text, "/j");
        if (strcmp(v.key, "coap_sessions") == 0)
            assert_true(v.text == NULL && v.number == 4000);
    }
    assert_true(n > 30);
}

/* It is put into a header field as it is. */
static void help_is_an_address(void **state)
{
    static const struct {
        const char *url;
        enum bm_rc want;
    } rows[] = {
        { "", BM_OK },
        { "https://docs.example.org/acme?x=1&y=%20", BM_OK },
        { "https://[2001:db8::1]:8443/", BM_OK },
        { "https://", BM_USAGE },
        { "http://docs.example.org/", BM_USAGE },
        { "docs.example.org", BM_USAGE },
        { "javascript:alert(1)", BM_USAGE },
        { "https://a/>;rel=\"index\"", BM_USAGE },
        { "https://a/<b", BM_USAGE },
        { "https://a/ b", BM_USAGE },
        { "https://a/\xc3\xa9", BM_USAGE },
        { "https://a/\\", BM_USAGE },
    };
    struct bm_config c;
    struct bm_error e;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(bm_config_init(&c, "/data", &e), BM_OK);
        assert_int_equal(bm_config_set(&c, "acme_help_url", rows[i].url, &e), BM_OK);
        if (bm_config_check(&c, &e) != rows[i].want)
            fail_msg("'%s'", rows[i].url);
    }
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* The command line wins over the file, also when that is read again; a file that has become wrong changes nothing. */
static void reads_again(void **state)
{
    char dir[] = "/tmp/bm-config-XXXXXX", path[64];
    struct bm_config c;
    struct bm_error e;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/birthmark.conf", dir);
    assert_int_equal(bm_config_load(&c, dir, NULL, &e), BM_OK);    /* none is fine */
    assert_int_equal(bm_config_load(&c, dir, path, &e), BM_USAGE); /* unless it was named */
    write_file(path, "workers = 3\nlog_level = warn\nlisten = 127.0.0.1:1\n");
    assert_int_equal(bm_config_load(&c, dir, NULL, &e), BM_OK);
    assert_int_equal(bm_config_set(&c, "listen", "127.0.0.1:0", &e), BM_OK);
    assert_int_equal(c.workers, 3);

    write_file(path, "log_level = debug\nlisten = 127.0.0.1:2\n");
    assert_int_equal(bm_config_reload(&c, &e), BM_OK);
    assert_int_equal(c.workers, 0);
    assert_int_equal(c.log_level, BM_LOG_DEBUG);
    assert_string_equal(c.listen, "127.0.0.1:0");

    write_file(path, "log_level = info\nworkers = many\n");
    assert_int_equal(bm_config_reload(&c, &e), BM_USAGE);
    assert_int_equal(c.log_level, BM_LOG_DEBUG);
    write_file(path, "listen =\n"); /* overruled, and wrong all the same */
    assert_int_equal(bm_config_reload(&c, &e), BM_USAGE);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(bm_config_reload(&c, &e), BM_OK);
    assert_int_equal(rmdir(dir), 0);
}

/* What help prints is a configuration file that says nothing new. */
static void help_is_a_file(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 16384 };
    struct bm_config c;
    struct bm_error e;

    (void)state;
    bm_config_help(&text);
    assert_false(text.bad);
    assert_int_equal(parse((const char *)text.p, text.n, &c, &e), BM_OK);
    for (size_t i = 0; i + 1 < text.n; i++) {
        if (text.p[i] == '\n' && text.p[i + 1] == '#' && i + 2 < text.n && text.p[i + 2] != ' ')
            text.p[i + 1] = ' '; /* the same with every key said */
    }
    assert_int_equal(parse((const char *)text.p, text.n, &c, &e), BM_OK);
    assert_string_equal(c.listen, "127.0.0.1:8443");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_every_key),
        cmocka_unit_test(takes_or_refuses_every_prefix),
        cmocka_unit_test(has_defaults),
        cmocka_unit_test(refuses),
        cmocka_unit_test(refuses_long_values),
        cmocka_unit_test(needs_certificate_and_key),
        cmocka_unit_test(help_is_an_address),
        cmocka_unit_test(reads_again),
        cmocka_unit_test(help_is_a_file),
        cmocka_unit_test(more_handshakes_than_sessions),
        cmocka_unit_test(tells_values_and_what_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
