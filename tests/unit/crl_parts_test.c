/* Lists in parts: which name is a part of which CA's, what a certificate's serial number leads to, and the numbers that all lists of a CA share. */
#include "keeper_fixture.h"

#include "keeper/revocation.h"

static struct world w;

static int open_world(void **state)
{
    (void)state;
    world_open(&w);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    if (w.k != NULL)
        history_holds(&w);
    world_close(&w);
    return 0;
}

/* Breaks when one list is served under two names, or a CA's own name is taken for a part. */
static void names(void **state)
{
    static const struct {
        const char *name, *ca; /* NULL: no part */
        int64_t part;
    } rows[] = {
        { "issuing.p1", "issuing", 1 },
        { "a.p256", "a", 256 },
        { "a.p1.p2", "a.p1", 2 },
        { "issuing.p999", "issuing", 999 },
        { "issuing", NULL, 0 },
        { "issuing.p", NULL, 0 },
        { "issuing.p0", NULL, 0 },
        { "issuing.p01", NULL, 0 },
        { "issuing.p1000", NULL, 0 },
        { "issuingp1", NULL, 0 },
        { "issuing.1", NULL, 0 },
        { "issuing.P1", NULL, 0 },
        { ".p1", NULL, 0 },
        { "p1", NULL, 0 },
        { "1", NULL, 0 },
        { "", NULL, 0 },
        { "issuing.p1x", NULL, 0 },
        { "issuing.p-1", NULL, 0 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t *text = exact(bm_rd_str(rows[i].name));
        struct bm_rd ca = { 0 };
        int64_t part = 0;

        if (bm_crl_part_name(bm_rd_of(text, strlen(rows[i].name)), &ca, &part) != (rows[i].ca != NULL))
            fail_msg("'%s'", rows[i].name);
        if (rows[i].ca != NULL)
            assert_true(bm_rd_eq(ca, bm_rd_str(rows[i].ca)) && part == rows[i].part);
        free(text);
    }
}

/* Breaks when a certificate names a part that its CA does not keep, or the parts are of very different length. */
static void every_part_gets_its_share(void **state)
{
    struct bm_issuer by = { .crl = { .n = 7, .url = "http://pki.example/crl" } };
    char url[BM_CRL_URL_LEN], want[BM_CRL_URL_LEN];
    int count[8] = { 0 };

    (void)state;
    snprintf(by.row.name, sizeof by.row.name, "issuing");
    for (int i = 0; i < 7000; i++) {
        uint8_t serial[BM_SERIAL_LEN];
        int64_t part;

        assert_int_equal(RAND_bytes(serial, sizeof serial), 1);
        part = bm_crl_part_of(&by, serial, url);
        assert_true(part >= 1 && part <= 7);
        snprintf(want, sizeof want, "http://pki.example/crl/issuing.p%d.crl", (int)part);
        assert_string_equal(url, want);
        count[part]++;
    }
    for (int i = 1; i <= 7; i++)
        assert_true(count[i] > 700 && count[i] < 1300); /* ten times its spread from the mean */
    by.crl.n = 0;
    assert_int_equal(bm_crl_part_of(&by, (const uint8_t[BM_SERIAL_LEN]){ 1 }, url), 0);
    assert_string_equal(url, "");
}

static json_int_t number_of(const char *name)
{
    BM_CLEANUP(json_unref) json_t *shown = admin(&w, "{\"op\":\"crl.show\",\"name\":\"%s\"}", name);

    return member_int(shown, "number");
}

/* One sequence for all, also over a restart; the parts are made when somebody asks, and each once. */
static void numbers_are_shared(void **state)
{
    json_int_t last;

    (void)state;
    admin_ok(&w, "{\"op\":\"ca.set\",\"name\":\"issuing\",\"crl_partitions\":2,\"crl_url\":\"http://pki.example/crl\"}");
    last = number_of("issuing");
    assert_int_equal(number_of("issuing.p1"), last + 1);
    assert_int_equal(number_of("issuing.p2"), last + 2);
    assert_int_equal(number_of("issuing.p1"), last + 1);
    assert_int_equal(number_of("issuing"), last);
    world_reopen(&w);
    assert_int_equal(number_of("issuing.p2"), last + 3);
    admin_ok(&w, "{\"op\":\"ca.set\",\"name\":\"issuing\",\"crl_partitions\":4}");
    assert_int_equal(number_of("issuing.p4"), last + 4);
    assert_rc(admin_do(&w, "{\"op\":\"crl.show\",\"name\":\"issuing.p5\"}", NO_BLOB, NULL), BM_NOTFOUND);
    assert_rc(admin_do(&w, "{\"op\":\"ca.set\",\"name\":\"root\",\"crl_partitions\":1}", NO_BLOB, NULL), BM_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(every_part_gets_its_share),
        cmocka_unit_test(numbers_are_shared),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
