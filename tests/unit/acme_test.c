/* Requests of ACME as bytes: what is read, what is refused, and with which word. The rest of ACME is in tests/e2e. */
#include "pki/acme.h"
#include "pki_help.h"

#define HEADER "{\"alg\":\"ES256\",\"nonce\":\"AAAA\",\"url\":\"https://a/acme/x\",\"kid\":\"https://a/acme/acct/1\"}"

static void put_b64u(struct bm_buf *out, const char *text)
{
    bm_base64url(out, bm_rd_str(text));
}

/* The three parts as flattened JSON; the signature is four letters. */
static void flatten(struct bm_buf *out, const char *header, const char *payload)
{
    out->n = 0;
    bm_buf_str(out, "{\"protected\":\"");
    put_b64u(out, header);
    bm_buf_str(out, "\",\"payload\":\"");
    put_b64u(out, payload);
    bm_buf_str(out, "\",\"signature\":\"AAAA\"}");
    assert_false(out->bad);
}

static enum bm_rc read_exact(struct bm_rd text, enum bm_acme_jws_kind kind, struct bm_acme_jws *ret)
{
    uint8_t *p = exact(text);
    enum bm_rc rc;

    err = (struct bm_error){ 0 };
    rc = bm_acme_jws_read(bm_rd_of(p, text.n), kind, ret, &err);
    free(p);
    return rc;
}

#define JWK_ED                                                                                                                     \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}" /* RFC 8037 appendix A.2 */

static void headers(void **state)
{
    static const struct {
        const char *name, *header;
        enum bm_acme_jws_kind kind;
        const char *code; /* NULL: fine */
    } rows[] = {
        { "a request", HEADER, BM_ACME_OUTER, NULL },
        { "a request by a new key", "{\"alg\":\"EdDSA\",\"nonce\":\"AAAA\",\"url\":\"u\",\"jwk\":" JWK_ED "}", BM_ACME_OUTER,
          NULL },
        { "a binding", "{\"alg\":\"HS256\",\"url\":\"u\",\"kid\":\"k\"}", BM_ACME_BINDING, NULL },
        { "a rollover", "{\"alg\":\"EdDSA\",\"url\":\"u\",\"jwk\":" JWK_ED "}", BM_ACME_ROLLOVER, NULL },
        { "unknown members", "{\"alg\":\"ES256\",\"nonce\":\"AAAA\",\"url\":\"u\",\"kid\":\"k\",\"x\":[1,{}]}", BM_ACME_OUTER,
          NULL },
        { "HMAC outside", "{\"alg\":\"HS256\",\"nonce\":\"AAAA\",\"url\":\"u\",\"kid\":\"k\"}", BM_ACME_OUTER, "acme-algorithm" },
        { "a signature as binding", "{\"alg\":\"ES256\",\"url\":\"u\",\"kid\":\"k\"}", BM_ACME_BINDING, "acme-algorithm" },
        { "HMAC as rollover", "{\"alg\":\"HS256\",\"url\":\"u\",\"jwk\":" JWK_ED "}", BM_ACME_ROLLOVER, "acme-algorithm" },
        { "alg is no text", "{\"alg\":1,\"nonce\":\"AAAA\",\"url\":\"u\",\"kid\":\"k\"}", BM_ACME_OUTER, "acme-jws" },
        { "no nonce", "{\"alg\":\"ES256\",\"url\":\"u\",\"kid\":\"k\"}", BM_ACME_OUTER, "acme-nonce" },
        { "nonce is no base64url", "{\"alg\":\"ES256\",\"nonce\":\"A=\",\"url\":\"u\",\"kid\":\"k\"}", BM_ACME_OUTER, "acme-jws" },
        { "an inner nonce", "{\"alg\":\"HS256\",\"nonce\":\"AAAA\",\"url\":\"u\",\"kid\":\"k\"}", BM_ACME_BINDING, "acme-jws" },
        { "no url", "{\"alg\":\"ES256\",\"nonce\":\"AAAA\",\"kid\":\"k\"}", BM_ACME_OUTER, "acme-jws" },
        { "an empty url", "{\"alg\":\"ES256\",\"nonce\":\"AAAA\",\"url\":\"\",\"kid\":\"k\"}", BM_ACME_OUTER, "acme-jws" },
        { "no key", "{\"alg\":\"ES256\",\"nonce\":\"AAAA\",\"url\":\"u\"}", BM_ACME_OUTER, "acme-jws" },
        { "two keys", "{\"alg\":\"EdDSA\",\"nonce\":\"AAAA\",\"url\":\"u\",\"kid\":\"k\",\"jwk\":" JWK_ED "}", BM_ACME_OUTER,
          "acme-jws" },
        { "a binding by jwk", "{\"alg\":\"HS256\",\"url\":\"u\",\"jwk\":" JWK_ED "}", BM_ACME_BINDING, "acme-jws" },
        { "a rollover by kid", "{\"alg\":\"ES256\",\"url\":\"u\",\"kid\":\"k\"}", BM_ACME_ROLLOVER, "acme-jws" },
        { "crit", "{\"alg\":\"ES256\",\"nonce\":\"AAAA\",\"url\":\"u\",\"kid\":\"k\",\"crit\":[]}", BM_ACME_OUTER, "acme-jws" },
        { "b64", "{\"alg\":\"ES256\",\"nonce\":\"AAAA\",\"url\":\"u\",\"kid\":\"k\",\"b64\":true}", BM_ACME_OUTER, "acme-jws" },
        { "a member twice", "{\"alg\":\"ES256\",\"alg\":\"ES256\",\"nonce\":\"AAAA\",\"url\":\"u\",\"kid\":\"k\"}", BM_ACME_OUTER,
          "acme-jws" },
        { "a NUL in it", "{\"alg\":\"ES256\",\"nonce\":\"AAAA\",\"url\":\"u\\u0000\",\"kid\":\"k\"}", BM_ACME_OUTER, "acme-jws" },
        { "no object", "[]", BM_ACME_OUTER, "acme-jws" },
        { "nothing", "", BM_ACME_OUTER, "acme-jws" },
    };
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 65536 };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_acme_jws_done) struct bm_acme_jws j = { 0 };
        enum bm_rc rc;

        flatten(&text, rows[i].header, "{}");
        rc = read_exact(bm_buf_rd(&text), rows[i].kind, &j);
        if ((rc == BM_OK) != (rows[i].code == NULL) || (rows[i].code != NULL && strcmp(err.code, rows[i].code) != 0))
            fail_msg("%s: %s %s: %s", rows[i].name, bm_rc_name(rc), err.code, err.what);
    }
}

static void forms(void **state)
{
    static const struct {
        const char *name, *text;
    } rows[] = {
        { "nothing", "" },
        { "no JSON", "{" },
        { "no object", "[]" },
        { "text", "\"a.b.c\"" },
        { "a member short", "{\"protected\":\"AAAA\",\"payload\":\"\"}" },
        { "a member more", "{\"protected\":\"AAAA\",\"payload\":\"\",\"signature\":\"AAAA\",\"x\":1}" },
        { "another member", "{\"protected\":\"AAAA\",\"payload\":\"\",\"signatures\":\"AAAA\"}" },
        { "no text", "{\"protected\":\"AAAA\",\"payload\":1,\"signature\":\"AAAA\"}" },
        { "twice", "{\"protected\":\"AAAA\",\"payload\":\"\",\"payload\":\"\",\"signature\":\"AAAA\"}" },
        { "a point inside", "{\"protected\":\"AA.AA\",\"payload\":\"\",\"signature\":\"AAAA\"}" },
        { "no signature", "{\"protected\":\"AAAA\",\"payload\":\"\",\"signature\":\"\"}" },
        { "padding", "{\"protected\":\"AA==\",\"payload\":\"\",\"signature\":\"AAAA\"}" },
        { "leftovers", "{\"protected\":\"AAAA\",\"payload\":\"\",\"signature\":\"AAAA\"}x" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_acme_jws_done) struct bm_acme_jws j = { 0 };

        if (read_exact(bm_rd_str(rows[i].text), BM_ACME_OUTER, &j) != BM_MALFORMED || strcmp(err.code, "acme-jws") != 0)
            fail_msg("%s: %s %s", rows[i].name, err.code, err.what);
    }
}

/* A request cut short anywhere is none; one too long is not looked at. */
static void prefixes(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 1 << 20 };
    BM_CLEANUP(bm_acme_jws_done) struct bm_acme_jws j = { 0 };
    BM_CLEANUP(bm_acme_jws_done) struct bm_acme_jws none = { 0 };

    (void)state;
    flatten(&text, HEADER, "{\"a\":1}");
    for (size_t n = 0; n < text.n; n++)
        assert_int_equal(read_exact(bm_rd_of(text.p, n), BM_ACME_OUTER, &none), BM_MALFORMED);
    assert_ok(read_exact(bm_buf_rd(&text), BM_ACME_OUTER, &j));
    assert_string_equal(j.kid, "https://a/acme/acct/1");
    assert_int_equal(json_integer_value(json_object_get(j.body, "a")), 1);
    while (text.n <= BM_HTTP_BODY_MAX)
        bm_buf_str(&text, " ");
    assert_int_equal(read_exact(bm_buf_rd(&text), BM_ACME_OUTER, &none), BM_LIMIT);
}

static void payloads(void **state)
{
    static const struct {
        const char *payload;
        bool good, object;
    } rows[] = {
        { "", true, false },      { "{}", true, true },      { "{\"a\":[1]}", true, true }, { "[]", false, false },
        { "1", false, false },    { "{", false, false },     { "{}{}", false, false },      { "{\"a\":1,\"a\":1}", false, false },
        { "null", false, false }, { "\"x\"", false, false }, { " ", false, false }
    };
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 65536 };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_acme_jws_done) struct bm_acme_jws j = { 0 };

        flatten(&text, HEADER, rows[i].payload);
        if ((read_exact(bm_buf_rd(&text), BM_ACME_OUTER, &j) == BM_OK) != rows[i].good || (j.body != NULL) != rows[i].object)
            fail_msg("'%s'", rows[i].payload);
    }
}

/* --- keys -------------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc read_jwk(const char *text, struct bm_buf *spki)
{
    json_t *j = json_loads(text, 0, NULL);
    enum bm_rc rc;

    err = (struct bm_error){ 0 };
    rc = bm_jwk_read(j, spki, &err);
    json_decref(j);
    return rc;
}

static void thumbprint_is(const char *jwk, const char *want)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf spki = { .max = BM_SPKI_MAX }, text = { .max = 64 };
    uint8_t digest[32];

    assert_ok(read_jwk(jwk, &spki));
    assert_ok(bm_jwk_thumbprint(bm_buf_rd(&spki), digest, &err));
    bm_base64url(&text, bm_rd_of(digest, sizeof digest));
    assert_true(bm_rd_eq(bm_buf_rd(&text), bm_rd_str(want)));
}

/* RFC 7638 section 3.1, RFC 8037 appendix A.3 */
static void thumbprints(void **state)
{
    (void)state;
    thumbprint_is(
        "{\"kty\":\"RSA\",\"n\":\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_"
        "BJECPebWKRXjBZCiF"
        "V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"
        "FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5"
        "hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw\","
        "\"e\":\"AQAB\",\"alg\":\"RS256\",\"kid\":\"2011-04-29\"}",
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    thumbprint_is(JWK_ED, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#define P256_X "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4" /* RFC 7517 appendix A.1 */
#define P256_Y "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"

static void jwks(void **state)
{
    static const struct {
        const char *name, *jwk;
        enum bm_rc want;
    } rows[] = {
        { "P-256", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" P256_X "\",\"y\":\"" P256_Y "\"}", BM_OK },
        { "unknown members", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" P256_X "\",\"y\":\"" P256_Y "\",\"use\":\"sig\"}",
          BM_OK },
        { "another curve's name", "{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"" P256_X "\",\"y\":\"" P256_Y "\"}", BM_MALFORMED },
        { "an unknown curve", "{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"" P256_X "\",\"y\":\"" P256_Y "\"}", BM_MALFORMED },
        { "padded", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" P256_X "=\",\"y\":\"" P256_Y "\"}", BM_MALFORMED },
        { "short", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"" P256_Y "\"}", BM_MALFORMED },
        { "no y", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" P256_X "\"}", BM_MALFORMED },
        { "private", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" P256_X "\",\"y\":\"" P256_Y "\",\"d\":\"AAAA\"}", BM_MALFORMED },
        { "X25519", "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}", BM_MALFORMED },
        { "Ed25519 short", "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcH\"}",
          BM_MALFORMED },
        { "symmetric", "{\"kty\":\"oct\",\"k\":\"AAAA\"}", BM_MALFORMED },
        { "RSA of nothing", "{\"kty\":\"RSA\",\"n\":\"\",\"e\":\"AQAB\"}", BM_MALFORMED },
        { "RSA small", "{\"kty\":\"RSA\",\"n\":\"w8PDw8PD\",\"e\":\"AQAB\"}", BM_MALFORMED },
        { "no kind", "{}", BM_MALFORMED },
        { "no object", "[]", BM_MALFORMED },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf spki = { .max = BM_SPKI_MAX };

        if (read_jwk(rows[i].jwk, &spki) != rows[i].want || (rows[i].want != BM_OK && strcmp(err.code, "acme-key") != 0))
            fail_msg("%s: %s %s", rows[i].name, err.code, err.what);
    }
}

/* --- signatures ---------------------------------------------------------------------------------------------------------------------------- */
/* Signed here by another way than the reader's: bm_jws_sign() writes the same header each time, so the parts are put together by hand. */
static void sign_flat(const struct bm_key *k, const char *header, struct bm_buf *out)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf tbs = { .max = 4096 };
    uint8_t sig[BM_SIGNATURE_MAX];
    size_t n = sizeof sig;

    put_b64u(&tbs, header);
    bm_buf_str(&tbs, ".");
    put_b64u(&tbs, "{}");
    assert_ok(bm_key_sign_raw(k, bm_buf_rd(&tbs), sig, &n, &err));
    bm_buf_str(out, "{\"protected\":\"");
    put_b64u(out, header);
    bm_buf_str(out, "\",\"payload\":\"");
    put_b64u(out, "{}");
    bm_buf_str(out, "\",\"signature\":\"");
    bm_base64url(out, bm_rd_of(sig, n));
    bm_buf_str(out, "\"}");
}

static void verification(void **state)
{
    static const char es384[] = "{\"alg\":\"ES384\",\"nonce\":\"AAAA\",\"url\":\"u\",\"kid\":\"k\"}";
    BM_CLEANUP(bm_key_freep) struct bm_key *k = key_new("EC", "P-256"), *other = key_new("EC", "P-256");
    BM_CLEANUP(bm_buf_done) struct bm_buf good = { .max = 4096 }, wrong = { .max = 4096 };
    BM_CLEANUP(bm_acme_jws_done) struct bm_acme_jws j = { 0 }, w = { 0 };

    (void)state;
    sign_flat(k, HEADER, &good);
    sign_flat(k, es384, &wrong);
    assert_ok(read_exact(bm_buf_rd(&good), BM_ACME_OUTER, &j));
    assert_ok(bm_acme_jws_verify(&j, bm_key_spki(k), &err));
    assert_int_equal(bm_acme_jws_verify(&j, bm_key_spki(other), &err), BM_DENIED);
    assert_string_equal(err.code, "acme-signature");
    assert_int_equal(bm_acme_jws_verify(&j, bm_rd_str("x"), &err), BM_MALFORMED);
    assert_string_equal(err.code, "acme-key");
    assert_ok(read_exact(bm_buf_rd(&wrong), BM_ACME_OUTER, &w));
    assert_int_equal(bm_acme_jws_verify(&w, bm_key_spki(k), &err), BM_MALFORMED);
    assert_string_equal(err.code, "acme-algorithm");
}

/* HS256 of RFC 7515 appendix A.1: header, payload and key as they stand there. A reader that takes only bindings has to be bypassed. */
static void macs(void **state)
{
    static const char signed_part[] =
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl"
        "LmNvbS9pc19yb290Ijp0cnVlfQ";
    static const char mac[] = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    BM_CLEANUP(bm_buf_done) struct bm_buf key = { .max = 128 };
    struct bm_acme_jws j = { .jws = { .signed_part = bm_rd_str(signed_part), .signature_b64 = bm_rd_str(mac) } };

    (void)state;
    assert_ok(bm_unbase64url(bm_rd_str("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"),
                             &key, &err));
    assert_ok(bm_acme_jws_verify_mac(&j, bm_buf_rd(&key), &err));
    key.p[0] ^= 1;
    assert_int_equal(bm_acme_jws_verify_mac(&j, bm_buf_rd(&key), &err), BM_DENIED);
    key.p[0] ^= 1;
    for (size_t n = 0; n < strlen(mac); n++) { /* a MAC cut short is none */
        j.jws.signature_b64 = bm_rd_of(mac, n);
        assert_int_equal(bm_acme_jws_verify_mac(&j, bm_buf_rd(&key), &err), BM_DENIED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers),     cmocka_unit_test(forms), cmocka_unit_test(prefixes),     cmocka_unit_test(payloads),
        cmocka_unit_test(thumbprints), cmocka_unit_test(jwks),  cmocka_unit_test(verification), cmocka_unit_test(macs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
