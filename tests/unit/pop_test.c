/* RFC 7030 section 3.5 as the keeper checks it: breaks when a request made for another connection passes, when one that should name its
 * connection may do without, or when a password that is meant for something else is taken for a binding. */
#include "keeper/internal.h"

#include "base/text.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define UNIQUE "AAECAwQFBgcICQoL"                               /* 00 01 .. 0b */
#define EXPORTER "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" /* 00 01 .. 1f */
#define OTHER "AQECAwQFBgcICQoL"

static const struct {
    const char *name, *password, *linking;
    size_t binding; /* bytes of it that the worker tells: 00 01 02 ... */
    bool required;
    const char *code; /* NULL: it passes */
} rows[] = {
    { "nothing, and nothing wanted", "", "", 12, false, NULL },
    { "nothing, but wanted", "", "", 12, true, "pop-unlinked" },
    { "tls-unique", UNIQUE, "", 12, true, NULL },
    { "tls-unique, not asked for", UNIQUE, "", 12, false, NULL },
    { "tls-exporter", EXPORTER, "", 32, true, NULL },
    { "RFC 7894", "", UNIQUE, 12, true, NULL },
    { "RFC 7894 beside a password", "secret", EXPORTER, 32, true, NULL },
    { "RFC 7894 counts, not the password", UNIQUE, OTHER, 12, true, "pop-mismatch" },
    { "another connection's", OTHER, "", 12, true, "pop-mismatch" },
    { "another connection's, not asked for", OTHER, "", 12, false, "pop-mismatch" },
    { "of TLS 1.2 over 1.3", UNIQUE, "", 32, false, "pop-mismatch" },
    { "of TLS 1.3 over 1.2", EXPORTER, "", 12, false, "pop-mismatch" },
    { "no connection is known", UNIQUE, "", 0, false, "pop-mismatch" },
    { "no connection is known, another form", "", UNIQUE, 0, false, "pop-mismatch" },
    { "a password", "open sesame", "", 12, false, NULL },
    { "a password where a binding is wanted", "open sesame", "", 12, true, "pop-unlinked" },
    { "base64 of another length", "AAECAwQFBgcICQo=", "", 12, false, NULL },
    { "cut", "AAECAwQFBgcICQ", "", 12, true, "pop-unlinked" },
    { "RFC 7894 with rubbish", "", "x", 12, false, "pop-mismatch" },
    { "blanks around it", " " UNIQUE, "", 12, true, "pop-mismatch" },
};

static enum bm_rc check(size_t row, const char *protocol, bool keygen, bool dry, struct bm_error *e)
{
    static const uint8_t binding[] = { 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                       16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31 };
    struct bm_enrol c = { .keygen = keygen, .evidence.binding = bm_rd_of(binding, rows[row].binding) };
    struct bm_policy p = { .pop_linked = rows[row].required };
    struct bm_csr csr = { .challenge_password = bm_rd_str(rows[row].password), .identity_linking = bm_rd_str(rows[row].linking) };

    snprintf(c.protocol, sizeof c.protocol, "%s", protocol);
    return bm_pop_check(&c, &p, &csr, dry, e);
}

static void as_the_table_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_error e = { 0 };
        enum bm_rc rc = check(i, "est", false, false, &e);

        if ((rc == BM_OK) != (rows[i].code == NULL) || (rc != BM_OK && strcmp(e.code, rows[i].code) != 0))
            fail_msg("%s: %s %s", rows[i].name, e.code, e.what);
    }
}

/* Where the message as a whole is signed, or the request's key is not used, nothing is asked. */
static void only_where_it_means_something(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_error e = { 0 };

        assert_int_equal(check(i, "cmp", false, false, &e), BM_OK);
        assert_int_equal(check(i, "onboard", false, false, &e), BM_OK);
        assert_int_equal(check(i, "est", true, false, &e), BM_OK);
    }
}

/* A dry run has no connection: only what is missing is told. */
static void dry(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_error e = { 0 };
        enum bm_rc rc = check(i, "est", false, true, &e);

        assert_true(rc == BM_OK || strcmp(e.code, "pop-unlinked") == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_table_says),
        cmocka_unit_test(only_where_it_means_something),
        cmocka_unit_test(dry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
