#include "pki_help.h"

#include "pki/pkcs11_uri.h"

struct good {
    const char *text, *token, *serial, *object;
    size_t id_len;
};
static const struct good good[] = {
    { "token=ca;object=issuing", "ca", "", "issuing", 0 },
    { "object=issuing;token=ca", "ca", "", "issuing", 0 },
    { "token=The%20Software%20PKCS%2311%20Softtok;object=a", "The Software PKCS#11 Softtok", "", "a", 0 },
    { "serial=DECC0401648;id=%00%01", "", "DECC0401648", "", 2 },
    { "token=ca;manufacturer=x;model=y;serial=z;id=%69%95;object=k;type=private", "ca", "z", "k", 2 },
    { "token=a&b=c;object=(x)", "a&b=c", "", "(x)", 0 },
};

static void taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(good); i++) {
        struct bm_pkcs11_uri u;

        assert_ok(bm_pkcs11_uri_parse(bm_rd_str(good[i].text), &u, &err));
        assert_string_equal(u.token, good[i].token);
        assert_string_equal(u.serial, good[i].serial);
        assert_string_equal(u.object, good[i].object);
        assert_int_equal(u.id_len, good[i].id_len);
    }
}

/* What breaks if one of these is taken: a PIN in the registry, a login to the wrong token, or a key that another program reads differently. */
static void refused(void **state)
{
    static const char *const rows[] = {
        "",
        "token=ca",                               /* which key? */
        "object=k",                               /* which token? */
        "manufacturer=x;model=y;object=k",        /* any token of that make */
        "token=ca;object=k?pin-value=1234",       /* a secret in the registry */
        "token=ca;object=k?pin-source=file:/pin", /* one place for the PIN */
        "token=ca;object=k;",
        ";token=ca;object=k",
        "token=ca;;object=k",
        "token=ca;token=ca;object=k",
        "token=ca;id=%01;id=%01",
        "token=ca;object=k;type=public",
        "token=ca;object=k;type=private;type=private",
        "token=ca;object=k;slot-id=1",
        "token=ca;object=k;x-vendor=1",
        "token=;object=k",
        "token=ca;object=",
        "token=ca;id=",
        "token;object=k",
        "token=ca;object=a b",
        "token=ca;object=a/b",
        "token=ca;object=a%",
        "token=ca;object=a%2",
        "token=ca;object=a%2g",
        "token=ca;object=a%00b",
        "token=ca;object=a#b",
        "Token=ca;object=k",
        "token=123456789012345678901234567890123;object=k",                                  /* 33 of 32 */
        "token=ca;serial=12345678901234567;object=k",                                        /* 17 of 16 */
        "token=ca;object=12345678901234567890123456789012345678901234567890123456789012345", /* 65 of 64 */
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_pkcs11_uri u = { .id_len = 77 };

        if (bm_pkcs11_uri_parse(bm_rd_str(rows[i]), &u, &err) != BM_USAGE)
            fail_msg("'%s' was taken", rows[i]);
        assert_int_equal(u.id_len, 77);
    }
}

static void prefixes(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(good); i++)
        for (size_t n = 0; n < strlen(good[i].text); n++) {
            uint8_t *cut = exact(bm_rd_of(good[i].text, n));
            struct bm_pkcs11_uri u;

            (void)!bm_pkcs11_uri_parse(bm_rd_of(cut, n), &u, NULL); /* one byte too far is ASan's to see */
            free(cut);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(taken), cmocka_unit_test(refused), cmocka_unit_test(prefixes) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
