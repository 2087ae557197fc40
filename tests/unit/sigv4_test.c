/* AWS Signature Version 4 by the example that AWS has published with its test suite ("post-vanilla"). That whole calls are signed as
 * botocore signs them, tests/e2e/test_upstream_clouds.py shows. */
#include "pki_help.h"

#include "pki/sigv4.h"

static struct bm_sigv4 example(void)
{
    return (struct bm_sigv4){
        .access = bm_rd_str("AKIDEXAMPLE"),
        .secret = bm_rd_str("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        .region = bm_rd_str("us-east-1"),
        .service = bm_rd_str("service"),
        .at = 1440938160,
        .n = 2,
        .fields = { { "host", bm_rd_str("example.amazonaws.com") }, { "x-amz-date", bm_rd_str("20150830T123600Z") } },
    };
}

static void date(void **state)
{
    char text[BM_SIGV4_DATE_LEN];

    (void)state;
    assert_string_equal(bm_sigv4_date(1440938160, text), "20150830T123600Z");
}

static void published(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 4096 };
    struct bm_sigv4 s = example();

    (void)state;
    assert_ok(bm_sigv4_sign(&s, &out, &err));
    assert_true(
        bm_rd_eq(bm_buf_rd(&out), bm_rd_str("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
                                            "SignedHeaders=host;x-amz-date, "
                                            "Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b")));
}

/* Whatever is signed changes the signature: nothing of a request may be exchanged on its way. */
static void all_of_it_counts(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 4096 };
        struct bm_sigv4 s = example();

        s.body = i == 0 ? bm_rd_str("x") : s.body;
        s.region = i == 1 ? bm_rd_str("us-east-2") : s.region;
        s.service = i == 2 ? bm_rd_str("servicf") : s.service;
        s.secret = i == 3 ? bm_rd_str("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEZ") : s.secret;
        s.at += i == 4 ? 1 : 0;
        s.fields[0].value = i == 5 ? bm_rd_str("example.amazonaws.co") : s.fields[0].value;
        assert_ok(bm_sigv4_sign(&s, &out, &err));
        assert_null(memmem(out.p, out.n, "5da7c1a2acd57cee", 16));
    }
}

static void refused(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 4096 }, small = { .max = 100 };
    static const uint8_t huge[20000];
    struct bm_sigv4 none = example(), order = example(), twice = example(), long_field = example(), long_key = example(),
                    no_room = example();

    (void)state;
    none.n = 0;
    order.fields[0].name = "z";
    twice.fields[1].name = "host";
    long_field.fields[0].value = bm_rd_of(huge, sizeof huge);
    long_key.secret = bm_rd_of(huge, 300);
    assert_int_equal(bm_sigv4_sign(&none, &out, &err), BM_USAGE);
    assert_int_equal(bm_sigv4_sign(&order, &out, &err), BM_USAGE);
    assert_int_equal(bm_sigv4_sign(&twice, &out, &err), BM_USAGE);
    assert_int_equal(bm_sigv4_sign(&long_field, &out, &err), BM_NOMEM);
    assert_int_equal(bm_sigv4_sign(&long_key, &out, &err), BM_NOMEM);
    assert_int_equal(out.n, 0);
    assert_int_equal(bm_sigv4_sign(&no_room, &small, &err), BM_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(date),
        cmocka_unit_test(published),
        cmocka_unit_test(all_of_it_counts),
        cmocka_unit_test(refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
