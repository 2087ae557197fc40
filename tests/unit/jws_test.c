#include "pki_help.h"

#include <jansson.h>

static const struct bm_rd payload = BM_LIT("{\"a\":1}");

static void public_half(const struct bm_key *k, EVP_PKEY **ret)
{
    struct bm_spki s;

    assert_ok(bm_spki_parse(bm_key_spki(k), &s, &err));
    assert_ok(bm_spki_open(&s, ret, &err));
}

static void there_and_back(void **state)
{
    static const struct {
        const char *type, *option, *alg;
    } rows[] = { { "EC", "P-256", "ES256" },
                 { "EC", "P-384", "ES384" },
                 { "EC", "P-521", "ES512" },
                 { "ED25519", NULL, "EdDSA" },
                 { "RSA", "2048", "RS256" } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_key_freep) struct bm_key *k = key_new(rows[i].type, rows[i].option);
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 65536 }, back = { .max = 64 };
        BM_CLEANUP(bm_jws_header_done) struct bm_jws_header h = { .x5c.max = 0 };
        BM_EVP_FREE EVP_PKEY *pub = NULL, *wrong = EVP_EC_gen("P-256");
        struct made cert;
        uint8_t digest[32];
        struct bm_jws j;

        issue(&cert, "root-ca", k, NULL, k);
        public_half(k, &pub);
        assert_ok(bm_jws_sign(k, "test+jws", cert.cert.whole, i % 2 == 0, payload, &out, &err));
        assert_ok(bm_jws_split(bm_buf_rd(&out), &j, &err));
        assert_ok(bm_unbase64url(j.payload_b64, &back, &err));
        assert_true(bm_rd_eq(bm_buf_rd(&back), payload));
        assert_ok(bm_jws_verify(&j, pub, &err));
        assert_int_equal(bm_jws_verify(&j, wrong, &err), BM_DENIED);
        assert_ok(bm_jws_header_parse(j.protected_b64, &h, &err));
        bm_udid_of(cert.cert.whole, digest);
        assert_string_equal(h.alg, rows[i].alg);
        assert_string_equal(h.typ, "test+jws");
        assert_true(h.has_x5t);
        assert_memory_equal(h.x5t_s256, digest, 32);
        assert_true(bm_rd_eq(bm_buf_rd(&h.x5c), i % 2 == 0 ? cert.cert.whole : bm_rd_of(NULL, 0)));
        out.p[out.n - 20] ^= 1; /* a letter of the signature becomes another or none */
        if (bm_jws_split(bm_buf_rd(&out), &j, NULL) == BM_OK)
            assert_int_not_equal(bm_jws_verify(&j, pub, &err), BM_OK);
        made_done(&cert);
    }
}

static void split_rows(void **state)
{
    static const struct {
        const char *text;
        enum bm_rc want;
    } rows[] = {
        { "e30.YQ.YQ", BM_OK },          { "e30..YQ", BM_OK },           { "", BM_MALFORMED },
        { "e30", BM_MALFORMED },         { "e30.YQ", BM_MALFORMED },     { ".YQ.YQ", BM_MALFORMED },
        { "e30.YQ.", BM_MALFORMED },     { "..", BM_MALFORMED },         { "e30.YQ.YQ.YQ", BM_MALFORMED },
        { "e30.YQ.YQ.", BM_MALFORMED },  { "e30.Y Q.YQ", BM_MALFORMED }, { "e30.YQ==.YQ", BM_MALFORMED },
        { "e30.YQ.YQ\n", BM_MALFORMED }, { "e30.Y+.YQ", BM_MALFORMED },  { " e30.YQ.YQ", BM_MALFORMED },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t *p = exact(bm_rd_str(rows[i].text));
        struct bm_jws j;

        if (bm_jws_split(bm_rd_of(p, strlen(rows[i].text)), &j, &err) != rows[i].want)
            fail_msg("'%s'", rows[i].text);
        if (rows[i].want == BM_OK)
            assert_int_equal(j.signed_part.n + 1 + j.signature_b64.n, strlen(rows[i].text));
        free(p);
    }
}

#define T64 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" /* 32 bytes */

static void header_rows(void **state)
{
    static const struct {
        const char *json;
        enum bm_rc want;
    } rows[] = {
        { "{\"alg\":\"ES256\"}", BM_OK },
        { "{\"alg\":\"EdDSA\",\"kid\":\"k\",\"typ\":\"t\",\"unknown\":[1]}", BM_OK },
        { "{\"alg\":\"RS512\",\"x5t#S256\":\"" T64 "\",\"x5c\":[\"MAA=\",\"anything\"]}", BM_OK },
        { "{}", BM_MALFORMED },
        { "", BM_MALFORMED },
        { "[]", BM_MALFORMED },
        { "{\"alg\":\"ES256\"", BM_MALFORMED },
        { "{\"alg\":\"ES256\"}{}", BM_MALFORMED },
        { "{\"alg\":\"none\"}", BM_MALFORMED },
        { "{\"alg\":\"NONE\"}", BM_MALFORMED },
        { "{\"alg\":\"\"}", BM_MALFORMED },
        { "{\"alg\":\"HS256\"}", BM_MALFORMED },
        { "{\"alg\":\"PS256\"}", BM_MALFORMED },
        { "{\"alg\":\"es256\"}", BM_MALFORMED },
        { "{\"alg\":\"ES256 \"}", BM_MALFORMED },
        { "{\"alg\":\"ES256ES256\"}", BM_MALFORMED },
        { "{\"alg\":\"ES256\\u0000\"}", BM_MALFORMED },
        { "{\"alg\":1}", BM_MALFORMED },
        { "{\"alg\":[\"ES256\"]}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"alg\":\"ES256\"}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"crit\":[\"exp\"]}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"crit\":[]}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"b64\":false}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"b64\":true}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"kid\":1}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"typ\":null}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"x5t#S256\":\"AAAA\"}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"x5t#S256\":\"" T64 "=\"}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"x5t#S256\":1}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"x5c\":\"MAA=\"}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"x5c\":[]}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"x5c\":[1]}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"x5c\":[\"MAE=\"]}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"x5c\":[\"!\"]}", BM_MALFORMED },
        { "{\"alg\":\"ES256\",\"x5c\":[\"\"]}", BM_MALFORMED },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf b64 = { .max = 65536 };
        struct bm_jws_header h;

        bm_base64url(&b64, bm_rd_str(rows[i].json));
        if (bm_jws_header_parse(bm_buf_rd(&b64), &h, &err) != rows[i].want)
            fail_msg("%s: %s", rows[i].json, err.what);
        if (rows[i].want != BM_OK)
            continue;
        bm_jws_header_done(&h);
        for (size_t n = 0; n < b64.n; n++) {
            uint8_t *cut = exact(bm_rd_of(b64.p, n));

            assert_int_equal(bm_jws_header_parse(bm_rd_of(cut, n), &h, NULL), BM_MALFORMED);
            free(cut);
        }
    }
}

/* A valid signature under a header that names another algorithm: RS256 keys only RS*, P-256 keys only ES256. */
static void algorithm_goes_with_key(void **state)
{
    static const char *const algs[] = { "ES384", "ES512", "RS256", "EdDSA" };
    BM_EVP_FREE EVP_PKEY *p256 = EVP_EC_gen("P-256"), *k1 = EVP_EC_gen("secp256k1"), *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    (void)state;
    for (size_t i = 0; i < BM_COUNT(algs); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 1024 };
        char header[64];
        struct bm_jws j;

        snprintf(header, sizeof header, "{\"alg\":\"%s\"}", algs[i]);
        bm_base64url(&text, bm_rd_str(header));
        bm_buf_str(&text, ".YQ.YQ");
        assert_ok(bm_jws_split(bm_buf_rd(&text), &j, &err));
        assert_int_equal(bm_jws_verify(&j, p256, &err), BM_DENIED);
        assert_string_equal(err.code, "key-algorithm");
        assert_int_equal(bm_jws_verify(&j, k1, &err), BM_DENIED);
        assert_int_equal(bm_jws_verify(&j, ed, &err), BM_DENIED);
        assert_string_equal(err.code, strcmp(algs[i], "EdDSA") == 0 ? "bad-signature" : "key-algorithm");
    }
}

/* RFC 7515 appendix A.3 and RFC 8037 appendix A.4. */
static void published(void **state)
{
    static const char es256[] = "eyJhbGciOiJFUzI1NiJ9."
                                "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
                                "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    static const char eddsa[] = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
                                "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    static const struct {
        const char *jws, *spki;
    } rows[] = {
        { es256, "3059 3013 0607 2a8648ce3d0201 0608 2a8648ce3d030107 0342 00 04"
                 "7fcdce2770f6c45d4183cbee6fdb4b7b580733357be9ef13bacf6e3c7bd15445 "
                 "c7f144cd1bbd9b7e872cdfedb9eeb9f4b3695d6ea90b24ad8a4623288588e5ad" },
        { eddsa, "302a 3005 0603 2b6570 0321 00 d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_EVP_FREE EVP_PKEY *key = NULL;
        uint8_t room[128];
        struct bm_spki s;
        struct bm_jws j;

        assert_ok(bm_spki_parse(hex(rows[i].spki, room, sizeof room), &s, &err));
        assert_ok(bm_spki_open(&s, &key, &err));
        assert_ok(bm_jws_split(bm_rd_str(rows[i].jws), &j, &err));
        assert_ok(bm_jws_verify(&j, key, &err));
    }
}

/* --- Microchip's manifest example: signature, and the chain of the device in its payload up to the published root ---------------------- */
static void cert_key(const struct bm_cert *c, EVP_PKEY **ret)
{
    struct bm_spki s;

    assert_ok(bm_spki_parse(c->spki, &s, &err));
    assert_ok(bm_spki_open(&s, ret, &err));
}

static void manifest_signature(const json_t *entry, struct bm_buf *ret_payload)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf compact = { .max = 65536 }, der = { .max = BM_CERT_MAX };
    BM_CLEANUP(bm_jws_header_done) struct bm_jws_header h = { .x5c.max = 0 };
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_cert signer;
    uint8_t digest[32];
    struct bm_jws j;

    pem_file("tests/vectors/microchip/manifest-log-signer-001.pem", &der);
    assert_ok(bm_cert_parse(bm_buf_rd(&der), &signer, &err));
    cert_key(&signer, &key);
    bm_buf_printf(&compact, "%s.%s.%s", json_string_value(json_object_get(entry, "protected")),
                  json_string_value(json_object_get(entry, "payload")), json_string_value(json_object_get(entry, "signature")));
    assert_ok(bm_jws_split(bm_buf_rd(&compact), &j, &err));
    assert_ok(bm_jws_verify(&j, key, &err));
    assert_ok(bm_jws_header_parse(j.protected_b64, &h, &err));
    bm_udid_of(bm_buf_rd(&der), digest);
    assert_true(h.has_x5t);
    assert_memory_equal(h.x5t_s256, digest, 32);
    assert_string_equal(h.kid, "7cCILlAOwYo1-PChGuoyUISMK3g");
    assert_ok(bm_unbase64url(j.payload_b64, ret_payload, &err));
}

static void manifest_chain(const json_t *x5c, int64_t at)
{
    struct bm_buf raw[3] = { { .max = BM_CERT_MAX + 64 }, { .max = BM_CERT_MAX + 64 }, { .max = BM_CERT_MAX } };
    struct bm_cert chain[3];

    assert_int_equal(json_array_size(x5c), 2);
    for (size_t i = 0; i < 2; i++)
        assert_ok(bm_unbase64(bm_rd_str(json_string_value(json_array_get(x5c, i))), &raw[i], &err));
    pem_file("tests/vectors/microchip/crypto-authentication-root-ca-002.pem", &raw[2]);
    for (size_t i = 0; i < 3; i++)
        assert_ok(bm_cert_parse(bm_buf_rd(&raw[i]), &chain[i], &err));
    for (size_t i = 0; i < 3; i++)
        assert_ok(bm_cert_check_link(&chain[i], &chain[i < 2 ? i + 1 : 2], at, &err));
    assert_int_equal(bm_cert_check_link(&chain[0], &chain[2], at, &err), BM_DENIED);
    for (size_t i = 0; i < 3; i++)
        bm_buf_done(&raw[i]);
}

static void microchip(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 65536 }, body = { .max = 65536 };
    json_t *root, *inside, *key;
    int64_t at;

    (void)state;
    assert_ok(bm_file_read("tests/vectors/microchip/manifest-example.json", &text, &err));
    root = json_loadb((const char *)text.p, text.n, 0, NULL);
    assert_non_null(root);
    manifest_signature(json_array_get(root, 0), &body);
    inside = json_loadb((const char *)body.p, body.n, 0, NULL);
    assert_non_null(inside);
    assert_true(bm_time_parse(json_string_value(json_object_get(inside, "provisioningTimestamp")), &at));
    key = json_array_get(json_object_get(json_object_get(inside, "publicKeySet"), "keys"), 0);
    manifest_chain(json_object_get(key, "x5c"), at);
    json_decref(inside);
    json_decref(root);
}

static void sign_refused(void **state)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *k = key_new("EC", "P-256"), *odd = key_new("EC", "secp256k1");
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 65536 }, small = { .max = 40 };
    static uint8_t big[BM_CERT_MAX + 1];

    (void)state;
    assert_int_equal(bm_jws_sign(odd, NULL, bm_rd_of(NULL, 0), false, payload, &out, &err), BM_USAGE);
    assert_int_equal(bm_jws_sign(k, NULL, bm_rd_of(big, sizeof big), false, payload, &out, &err), BM_LIMIT);
    assert_int_equal(bm_jws_sign(k, NULL, bm_rd_of(NULL, 0), false, payload, &small, &err), BM_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back), cmocka_unit_test(split_rows),
        cmocka_unit_test(header_rows),    cmocka_unit_test(algorithm_goes_with_key),
        cmocka_unit_test(published),      cmocka_unit_test(microchip),
        cmocka_unit_test(sign_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
