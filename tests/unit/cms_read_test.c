/* pki/cms_read.h: the certificates in somebody else's answer. */
#include "pki_help.h"

#include "pki/cms_read.h"

static struct bm_buf good;
static struct bm_rd certs[2];

static enum bm_rc parse(struct bm_rd in, size_t max, size_t *ret_n)
{
    struct bm_rd out[4];
    uint8_t *copy = malloc(in.n != 0 ? in.n : 1);
    enum bm_rc rc;

    assert_non_null(copy);
    if (in.n != 0)
        memcpy(copy, in.p, in.n);
    rc = bm_cms_certs_parse(bm_rd_of(copy, in.n), out, max, ret_n, NULL);
    free(copy);
    return rc;
}

static void what_we_write_we_read(void **state)
{
    struct bm_rd got[4];
    size_t n = 0;

    (void)state;
    assert_int_equal(bm_cms_certs_parse(bm_buf_rd(&good), got, 4, &n, NULL), BM_OK);
    assert_int_equal(n, 2);
    /* a SET OF in DER is sorted */
    for (size_t i = 0; i < n; i++)
        assert_true(bm_rd_eq(got[i], certs[0]) || bm_rd_eq(got[i], certs[1]));
    assert_false(bm_rd_eq(got[0], got[1]));
}

static void whole_or_nothing(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf more = { .max = 4096 };
    size_t count;

    (void)state;
    for (size_t n = 0; n < good.n; n++)
        assert_int_equal(parse(bm_rd_of(good.p, n), 4, &count), BM_MALFORMED);
    bm_buf_put(&more, good.p, good.n);
    bm_buf_uint(&more, 1, 0);
    assert_int_equal(parse(bm_buf_rd(&more), 4, &count), BM_MALFORMED);
    assert_int_equal(parse(bm_buf_rd(&good), 1, &count), BM_LIMIT);
}

/* Another type, another content, something that is no certificate, signers with something in them are passed over: only its shape is looked at. */
static const struct {
    const char *name, *hex;
    enum bm_rc want;
} rows[] = {
    { "signed data without certificates", "3023 06092a864886f70d010702 a016 3014 020101 3100 300b 06092a864886f70d010701 3100",
      BM_MALFORMED },
    { "no certificate in it", "3025 06092a864886f70d010702 a018 3016 020101 3100 300b 06092a864886f70d010701 a000 3100", BM_OK },
    { "a number for a certificate",
      "3028 06092a864886f70d010702 a01b 3019 020101 3100 300b 06092a864886f70d010701 a003 020101 3100", BM_MALFORMED },
    { "revocation lists beside them",
      "3027 06092a864886f70d010702 a01a 3018 020101 3100 300b 06092a864886f70d010701 a000 a100 3100", BM_OK },
    { "content of another type", "3025 06092a864886f70d010702 a018 3016 020101 3100 300b 06092a864886f70d010702 a000 3100",
      BM_MALFORMED },
    { "content in it", "3028 06092a864886f70d010702 a01b 3019 020101 3100 300e 06092a864886f70d010701 a001 00 a000 3100",
      BM_MALFORMED },
    { "enveloped data", "3025 06092a864886f70d010703 a018 3016 020101 3100 300b 06092a864886f70d010701 a000 3100", BM_MALFORMED },
    { "an endless length", "3080 06092a864886f70d010702 a080 3080 020101 3100 300b 06092a864886f70d010701 a000 3100 0000 0000 0000",
      BM_MALFORMED },
    { "nothing", "", BM_MALFORMED },
    { "another thing", "0203010001", BM_MALFORMED },
};

static void each_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t raw[128];
        char text[256];
        size_t n = 0, count = 0;

        for (const char *p = rows[i].hex; *p != '\0'; p++)
            if (*p != ' ')
                text[n++] = *p;
        assert_true(bm_unhex(bm_rd_of(text, n), raw, n / 2));
        if (parse(bm_rd_of(raw, n / 2), 4, &count) != rows[i].want)
            fail_msg("%s", rows[i].name);
        if (rows[i].want == BM_OK)
            assert_int_equal(count, 0);
    }
}

static int begin(void **state)
{
    static const uint8_t one[] = { 0x30, 0x03, 0x02, 0x01, 0x05 }, two[] = { 0x30, 0x00 };

    (void)state;
    certs[0] = bm_rd_of(one, sizeof one);
    certs[1] = bm_rd_of(two, sizeof two);
    good.max = 4096;
    return bm_cms_certs(certs, 2, &good, NULL) == BM_OK ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    bm_buf_done(&good);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_we_write_we_read),
        cmocka_unit_test(whole_or_nothing),
        cmocka_unit_test(each_row),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
