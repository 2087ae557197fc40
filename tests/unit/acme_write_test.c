/* What our client of ACME says, read by our server's reader and held against RFC 7638's own example. Servers of others: tests/e2e/test_upstream_acme.py. */
#include "pki/acme.h"
#include "pki_help.h"

static void thumbprint_of_the_standard(void **state)
{
    /* RFC 7638 section 3.1 */
    static const char jwk[] = "{\"e\":\"AQAB\",\"kty\":\"RSA\",\"n\":"
                              "\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_"
                              "BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"
                              "FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zg"
                              "dAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
                              "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
                              "\"}";
    BM_CLEANUP(bm_buf_done) struct bm_buf spki = { .max = 1024 }, out = { .max = 2048 };
    json_t *read = json_loads(jwk, 0, NULL);

    (void)state;
    assert_ok(bm_jwk_read(read, &spki, &err));
    assert_ok(bm_jwk_write(bm_buf_rd(&spki), &out, &err));
    assert_true(bm_rd_eq(bm_buf_rd(&out), bm_rd_str(jwk)));
    json_decref(read);
}

static const struct {
    const char *type, *option;
} keys[] = { { "EC", "P-256" }, { "EC", "P-384" }, { "EC", "P-521" }, { "ED25519", NULL }, { "RSA", "2048" } };

static void requests(void **state)
{
    (void)state;
    for (size_t n = 0; n < 2 * BM_COUNT(keys); n++) {
        BM_CLEANUP(bm_acme_jws_done) struct bm_acme_jws j = { 0 };
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 65536 };
        struct bm_key *key = key_new(keys[n / 2].type, keys[n / 2].option);
        bool as_get = n % 2 == 0;
        struct bm_acme_say say = {
            .key = key, .url = "https://ca/\"x", .nonce = "AAAA", .kid = as_get ? "https://ca/acct/1" : NULL
        };

        say.payload = as_get ? bm_rd_of(NULL, 0) : bm_rd_str("{\"a\":1}");
        assert_ok(bm_acme_jws_write(&say, &out, &err));
        assert_ok(bm_acme_jws_read(bm_buf_rd(&out), BM_ACME_OUTER, &j, &err));
        assert_string_equal(j.url, say.url);
        assert_string_equal(j.nonce, "AAAA");
        assert_string_equal(j.kid, as_get ? say.kid : "");
        assert_true(as_get ? j.body == NULL : json_integer_value(json_object_get(j.body, "a")) == 1);
        assert_true(as_get || bm_rd_eq(bm_buf_rd(&j.spki), bm_key_spki(key)));
        assert_ok(bm_acme_jws_verify(&j, bm_key_spki(key), &err));
        bm_key_free(key);
    }
}

/* Section 7.3.4: over the account's key, by the secret as it was given out, with its padding or without. */
static void bindings(void **state)
{
    static const char *const secrets[] = { "c2VjcmV0LXNlY3JldA", "c2VjcmV0LXNlY3JldA==" };
    struct bm_key *key = key_new("EC", "P-256");

    (void)state;
    for (size_t n = 0; n < BM_COUNT(secrets); n++) {
        BM_CLEANUP(bm_acme_jws_done) struct bm_acme_jws j = { 0 };
        BM_CLEANUP(bm_buf_done) struct bm_buf jwk = { .max = 2048 };
        json_t *b = bm_acme_binding(key, "https://ca/new", "kid-1", bm_rd_str(secrets[n]), &err);

        assert_non_null(b);
        assert_ok(bm_acme_jws_of(b, BM_ACME_BINDING, &j, &err));
        assert_string_equal(j.kid, "kid-1");
        assert_ok(bm_acme_jws_verify_mac(&j, bm_rd_str("secret-secret"), &err));
        assert_int_equal(bm_acme_jws_verify_mac(&j, bm_rd_str("secret-secres"), &err), BM_DENIED);
        assert_ok(bm_jwk_write(bm_key_spki(key), &jwk, &err));
        assert_true(bm_rd_eq(bm_buf_rd(&j.payload), bm_buf_rd(&jwk)));
        json_decref(b);
    }
    assert_null(bm_acme_binding(key, "u", "k", bm_rd_str("no base64url!"), &err));
    assert_null(bm_acme_binding(key, "u", "k", bm_rd_str("=="), &err));
    bm_key_free(key);
}

static void refused(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 65536 }, small = { .max = 40 };
    struct bm_key *strange = key_new("EC", "secp256k1"), *key = key_new("EC", "P-256");
    struct bm_acme_say say = { .key = strange, .url = "u", .nonce = "AAAA" };

    (void)state;
    assert_int_equal(bm_acme_jws_write(&say, &out, &err), BM_USAGE);
    say.key = key;
    say.url = "\xff"; /* no UTF-8: no JSON */
    assert_int_equal(bm_acme_jws_write(&say, &out, &err), BM_USAGE);
    assert_int_equal(out.n, 0);
    say.url = "u";
    assert_int_equal(bm_acme_jws_write(&say, &small, &err), BM_LIMIT);
    bm_key_free(strange);
    bm_key_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thumbprint_of_the_standard),
        cmocka_unit_test(requests),
        cmocka_unit_test(bindings),
        cmocka_unit_test(refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
