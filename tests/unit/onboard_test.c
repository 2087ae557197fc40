/* Onboard as pure functions, both forms: what requests become, what answers and refusals look like. Messages in CBOR are put together by hand
 * here, so that the library does not check itself. */
#include "base/text.h"
#include "protocol/onboard.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <cbor.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static struct bm_error err;

enum form { JSON, CBOR, FORMS };
static const char *const types[FORMS] = { "application/json", "application/cbor" };

typedef enum bm_rc prepare_fn(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);

static struct bm_request request(enum form form, struct bm_rd body)
{
    struct bm_request q = { .method = BM_POST,
                            .content_type = bm_rd_str(types[form]),
                            .body = body,
                            .peer = "192.0.2.1",
                            .correlation = "0123456789abcdef" };

    return q;
}

/* The body in an allocation of its exact size. */
static enum bm_rc run(prepare_fn *fn, struct bm_request q, struct bm_buf *payload)
{
    uint8_t *p = malloc(q.body.n != 0 ? q.body.n : 1);
    enum bm_rc rc;

    assert_non_null(p);
    if (q.body.n != 0)
        memcpy(p, q.body.p, q.body.n);
    q.body.p = p;
    payload->n = 0;
    err = (struct bm_error){ 0 };
    rc = fn(&q, payload, &err);
    free(p);
    return rc;
}

/* --- CBOR by hand (RFC 8949 section 3) ---------------------------------------------------------------------------------------------------- */
static void head(struct bm_buf *b, unsigned major, size_t n)
{
    if (n < 24) {
        bm_buf_uint(b, 1, major << 5 | n);
    } else if (n < 256) {
        bm_buf_uint(b, 1, major << 5 | 24);
        bm_buf_uint(b, 1, n);
    } else {
        bm_buf_uint(b, 1, major << 5 | 25);
        bm_buf_uint(b, 2, n);
    }
}

static void text(struct bm_buf *b, const char *s)
{
    head(b, 3, strlen(s));
    bm_buf_str(b, s);
}

static void blob(struct bm_buf *b, const void *p, size_t n)
{
    head(b, 2, n);
    bm_buf_put(b, p, n);
}

/* --- the samples -------------------------------------------------------------------------------------------------------------------------- */
static uint8_t udid[BM_UDID_LEN], challenge[BM_CHALLENGE_LEN], key[91], certificate[300], signature[64], csr_a[200], csr_b[3000];

static void fill(void)
{
    memset(udid, 0x11, sizeof udid);
    memset(challenge, 0x22, sizeof challenge);
    memset(key, 0x33, sizeof key);
    memset(certificate, 0x44, sizeof certificate);
    memset(signature, 0x55, sizeof signature);
    memset(csr_a, 0x66, sizeof csr_a);
    memset(csr_b, 0xfb, sizeof csr_b); /* '-' and '_' in base64url */
}

static void json_blob(struct bm_buf *b, const char *name, const void *p, size_t n)
{
    bm_buf_printf(b, "\"%s\":\"", name);
    bm_base64url(b, bm_rd_of(p, n));
    bm_buf_str(b, "\"");
}

/* udid, batch and two requests; with the proof when signed */
static void enrol_json(struct bm_buf *b, bool is_signed)
{
    bm_buf_str(b, "{");
    json_blob(b, "udid", udid, sizeof udid);
    if (is_signed) {
        bm_buf_str(b, ", ");
        json_blob(b, "challenge", challenge, sizeof challenge);
        bm_buf_str(b, ",\n ");
        json_blob(b, "key", key, sizeof key);
        bm_buf_str(b, ",");
        json_blob(b, "signature", signature, sizeof signature);
    }
    bm_buf_str(b, ",\"batch\":\"lot-7\",\"requests\":[{\"service\":\"mqtt\",");
    json_blob(b, "csr", csr_a, sizeof csr_a);
    bm_buf_str(b, "},{");
    json_blob(b, "csr", csr_b, sizeof csr_b);
    bm_buf_str(b, "}]}");
}

static void enrol_cbor(struct bm_buf *b, bool is_signed)
{
    head(b, 5, is_signed ? 6 : 3);
    text(b, "udid"), blob(b, udid, sizeof udid);
    if (is_signed) {
        text(b, "challenge"), blob(b, challenge, sizeof challenge);
        text(b, "key"), blob(b, key, sizeof key);
        text(b, "signature"), blob(b, signature, sizeof signature);
    }
    text(b, "batch"), text(b, "lot-7");
    text(b, "requests");
    head(b, 4, 2);
    head(b, 5, 2);
    text(b, "service"), text(b, "mqtt");
    text(b, "csr"), blob(b, csr_a, sizeof csr_a);
    head(b, 5, 1);
    text(b, "csr"), blob(b, csr_b, sizeof csr_b);
}

static void sample(enum form form, bool is_signed, struct bm_buf *b)
{
    b->n = 0;
    (form == JSON ? enrol_json : enrol_cbor)(b, is_signed);
    assert_false(b->bad);
}

/* --- requests ------------------------------------------------------------------------------------------------------------------------------ */
static void good_enrol(void **state)
{
    struct bm_buf body = { .max = 65536 }, payload = { .max = BM_COMMAND_MAX };
    struct bm_enrol c;

    (void)state;
    fill();
    for (enum form form = JSON; form < FORMS; form++) {
        for (int is_signed = 0; is_signed < 2; is_signed++) {
            struct bm_request q;

            sample(form, is_signed, &body);
            q = request(form, bm_buf_rd(&body));
            q.client_cert = bm_rd_of(certificate, sizeof certificate);
            q.client_chain[q.n_client_chain++] = bm_rd_of(csr_b, 7);
            if (run(bm_onboard_enrol_prepare, q, &payload) != BM_OK)
                fail_msg("form %d: %s", (int)form, err.what);
            assert_int_equal(bm_enrol_parse(bm_buf_rd(&payload), &c, &err), BM_OK);
            assert_string_equal(c.protocol, "onboard");
            assert_string_equal(c.correlation, q.correlation);
            assert_string_equal(c.peer, q.peer);
            assert_true(bm_rd_eq(c.claimed_udid, bm_rd_of(udid, sizeof udid)));
            assert_true(bm_rd_eq(c.claimed_batch, bm_rd_str("lot-7")));
            assert_int_equal(c.n_requests, 2);
            assert_true(bm_rd_eq(c.requests[0].service, bm_rd_str("mqtt")) && c.requests[1].service.n == 0);
            assert_true(bm_rd_eq(c.requests[0].csr, bm_rd_of(csr_a, sizeof csr_a)));
            assert_true(bm_rd_eq(c.requests[1].csr, bm_rd_of(csr_b, sizeof csr_b)));
            assert_int_equal(c.evidence.kind, is_signed ? BM_EVIDENCE_CHALLENGE : BM_EVIDENCE_TLS);
            assert_true(bm_rd_eq(c.evidence.cert, is_signed ? (struct bm_rd){ 0 } : q.client_cert));
            assert_int_equal(c.evidence.n_chain, is_signed ? 0 : 1);
            assert_true(bm_rd_eq(c.evidence.challenge, is_signed ? bm_rd_of(challenge, sizeof challenge) : (struct bm_rd){ 0 }));
            assert_true(bm_rd_eq(c.evidence.spki, is_signed ? bm_rd_of(key, sizeof key) : (struct bm_rd){ 0 }));
            assert_true(bm_rd_eq(c.evidence.signature, is_signed ? bm_rd_of(signature, sizeof signature) : (struct bm_rd){ 0 }));
        }
    }
    bm_buf_done(&body);
    bm_buf_done(&payload);
}

static void prefixes_and_leftovers(void **state)
{
    struct bm_buf body = { .max = 65536 }, payload = { .max = BM_COMMAND_MAX };

    (void)state;
    for (enum form form = JSON; form < FORMS; form++) {
        sample(form, true, &body);
        for (size_t n = 0; n < body.n; n++)
            if (run(bm_onboard_enrol_prepare, request(form, bm_rd_of(body.p, n)), &payload) != BM_MALFORMED)
                fail_msg("form %d: %zu of %zu bytes are taken", (int)form, n, body.n);
        bm_buf_put(&body, form == JSON ? "{" : "\xa0", 1);
        assert_int_equal(run(bm_onboard_enrol_prepare, request(form, bm_buf_rd(&body)), &payload), BM_MALFORMED);
    }
    bm_buf_done(&body);
    bm_buf_done(&payload);
}

#define U "\"udid\":\"ERERERERERERERERERERERERERERERERERERERERERE\""

static const char *const bad_json[] = {
    "",
    " ",
    "null",
    "[]",
    "7",
    "\"x\"",
    "{}",
    "[{}]",
    "{" U ",\"requests\":[]}x",
    "{" U "," U "}", /* twice */
    "{" U ",\"nonsense\":1}",
    "{" U ",\"\":1}",
    "{" U ",\"Udid\":\"\"}",
    "{\"udid\":7}",
    "{\"udid\":null}",
    "{\"udid\":\"\"}",
    "{\"udid\":[\"ERER\"]}",
    "{\"udid\":\"ERER\"}", /* too short */
    "{\"udid\":\"ERERERERERERERERERERERERERERERERERERERERERERE\"}",
    "{\"udid\":\"ERERERERERERERERERERERERERERERERERERERERERE=\"}", /* padded */
    "{\"udid\":\"ERERERERERERERERERERERERERERERERERERERERERF\"}",  /* stray bits */
    "{\"udid\":\"ERERERERERERERERERERERERERERERERERERERER+RE\"}",  /* the other alphabet */
    "{\"udid\":\"ERERERERERERERERERERERERERERERERERERERER\\nRE\"}",
    "{" U ",\"challenge\":7}",
    "{" U ",\"key\":{}}",
    "{" U ",\"signature\":true}",
    "{" U ",\"certificate\":[]}",
    "{" U ",\"batch\":7}",
    "{" U ",\"batch\":null}",
    "{" U ",\"batch\":\"a\\u0000b\"}",
    "{" U ",\"requests\":{}}",
    "{" U ",\"requests\":\"x\"}",
    "{" U ",\"requests\":null}",
    "{" U ",\"requests\":[7]}",
    "{" U ",\"requests\":[[]]}",
    "{" U ",\"requests\":[{\"csr\":\"ERER\"},null]}",
    "{" U ",\"requests\":[{\"crs\":\"ERER\"}]}",
    "{" U ",\"requests\":[{\"csr\":7}]}",
    "{" U ",\"requests\":[{\"service\":7}]}",
    "{" U ",\"requests\":[{\"csr\":\"ERER\",\"csr\":\"ERER\"}]}",
    "{" U ",\"requests\":[{\"csr\":{\"csr\":{\"csr\":{}}}}]}",
    "{" U ",\"requests\":[{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}]}", /* seventeen */
    "{\"a\\u0000\":1}",
    "{" U ",\"batch\":\"\xff\"}",
    "{" U ",\"batch\":\"\\ud800\"}",
};

static void json_refused(void **state)
{
    struct bm_buf payload = { .max = BM_COMMAND_MAX }, deep = { .max = 65536 };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(bad_json); i++) {
        enum bm_rc rc = run(bm_onboard_enrol_prepare, request(JSON, bm_rd_str(bad_json[i])), &payload);

        if (rc != BM_MALFORMED)
            fail_msg("%s: %s", bad_json[i], bm_rc_name(rc));
        assert_int_equal(payload.n, 0);
        for (const char *p = err.what; *p != '\0'; p++)
            assert_true(*p >= 0x20 && *p < 0x7f);
    }
    for (size_t i = 0; i < 60000; i++)
        bm_buf_str(&deep, "[");
    assert_int_equal(run(bm_onboard_enrol_prepare, request(JSON, bm_buf_rd(&deep)), &payload), BM_MALFORMED);
    bm_buf_done(&payload);
    bm_buf_done(&deep);
}

#define UC "64 75646964 5820 1111111111111111111111111111111111111111111111111111111111111111 "

static const struct {
    const char *name, *hex;
} bad_cbor[] = {
    { "nothing", "" },
    { "null", "f6" },
    { "an array", "80" },
    { "an empty map", "a0" },
    { "two items", "a0 a0" },
    { "fewer than promised", "a2 " UC },
    { "more than promised", "a0 " UC },
    { "twice", "a2 " UC UC },
    { "unknown", "a2 " UC "61 78 01" },
    { "a number as key", "a2 " UC "01 01" },
    { "bytes as key", "a2 " UC "41 78 01" },
    { "an array as key", "a2 " UC "80 01" },
    { "text for bytes", "a1 64 75646964 7820 3131313131313131313131313131313131313131313131313131313131313131" },
    { "bytes for text", "a2 " UC "65 6261746368 41 78" },
    { "indefinite map", "bf " UC "ff" },
    { "indefinite bytes", "a1 64 75646964 5f 5820 1111111111111111111111111111111111111111111111111111111111111111 ff" },
    { "indefinite text", "a2 " UC "65 6261746368 7f 61 78 ff" },
    { "indefinite array", "a2 " UC "68 7265717565737473 9f ff" },
    { "a lone break", "ff" },
    { "a tag", "a1 64 75646964 d8 18 5820 1111111111111111111111111111111111111111111111111111111111111111" },
    { "a tag on the whole", "d9 d9f7 a1 " UC },
    { "half float", "a2 " UC "65 6261746368 f9 3c00" },
    { "float", "a2 " UC "65 6261746368 fa 3f800000" },
    { "double", "a2 " UC "65 6261746368 fb 3ff0000000000000" },
    { "simple value", "a2 " UC "65 6261746368 e5" },
    { "undefined", "a2 " UC "65 6261746368 f7" },
    { "reserved length", "bc" },
    { "huge map", "bb ffffffffffffffff" },
    { "huge map, half of 2^64", "bb 8000000000000000" },
    { "large map", "ba 00100000" },
    { "huge array", "a2 " UC "68 7265717565737473 9b 7fffffffffffffff" },
    { "large array", "a2 " UC "68 7265717565737473 99 ffff" },
    { "huge bytes", "a1 64 75646964 5b ffffffffffffffff 11" },
    { "large bytes", "a1 64 75646964 5a 00010000 11" },
    { "huge text", "a1 7b ffffffffffffffff 11" },
    { "short UDID", "a1 64 75646964 42 1111" },
    { "requests as a map", "a2 " UC "68 7265717565737473 a0" },
    { "a number in requests", "a2 " UC "68 7265717565737473 81 01" },
    { "requests too deep", "a2 " UC "68 7265717565737473 81 81 81 81 80" },
    { "csr as text", "a2 " UC "68 7265717565737473 81 a1 63 637372 63 637372" },
    { "csr twice", "a2 " UC "68 7265717565737473 81 a2 63 637372 41 00 63 637372 41 00" },
    { "deep", "8181818181818181818181818181818181818181818181818181818181818181818180" },
};

static struct bm_rd unhex(const char *hex, uint8_t *room, size_t room_len)
{
    char packed[1024];
    size_t n = 0;

    for (; *hex != '\0'; hex++)
        if (*hex != ' ')
            packed[n++] = *hex;
    assert_true(n / 2 <= room_len && n < sizeof packed && bm_unhex(bm_rd_of(packed, n), room, n / 2));
    return bm_rd_of(room, n / 2);
}

static void cbor_refused(void **state)
{
    struct bm_buf payload = { .max = BM_COMMAND_MAX }, many = { .max = 65536 };
    uint8_t room[512];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(bad_cbor); i++) {
        enum bm_rc rc = run(bm_onboard_enrol_prepare, request(CBOR, unhex(bad_cbor[i].hex, room, sizeof room)), &payload);

        if (rc != BM_MALFORMED)
            fail_msg("%s: %s", bad_cbor[i].name, bm_rc_name(rc));
    }
    head(&many, 5, 2);
    text(&many, "udid"), blob(&many, udid, sizeof udid);
    text(&many, "requests"), head(&many, 4, BM_SERVICES_MAX + 1);
    for (size_t i = 0; i <= BM_SERVICES_MAX; i++)
        bm_buf_put(&many, "\xa0", 1);
    assert_int_equal(run(bm_onboard_enrol_prepare, request(CBOR, bm_buf_rd(&many)), &payload), BM_MALFORMED);
    many.n = 0;
    for (size_t i = 0; i < 60000; i++)
        bm_buf_put(&many, "\x81", 1);
    assert_int_equal(run(bm_onboard_enrol_prepare, request(CBOR, bm_buf_rd(&many)), &payload), BM_MALFORMED);
    bm_buf_done(&payload);
    bm_buf_done(&many);
}

static void too_long(void **state)
{
    static uint8_t zeros[BM_CSR_MAX + 1];
    static const struct {
        const char *name;
        size_t n;
        bool is_text;
    } rows[] = {
        { "challenge", BM_CHALLENGE_LEN + 1, false }, { "key", BM_SPKI_MAX + 1, false }, { "certificate", BM_CERT_MAX + 1, false },
        { "signature", BM_SIGNATURE_MAX + 1, false }, { "batch", BM_NAME_LEN, true },
    };
    struct bm_buf body = { .max = 65536 }, payload = { .max = BM_COMMAND_MAX };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        body.n = 0;
        head(&body, 5, 2);
        text(&body, "udid"), blob(&body, udid, sizeof udid);
        text(&body, rows[i].name);
        head(&body, rows[i].is_text ? 3 : 2, rows[i].n);
        bm_buf_put(&body, zeros, rows[i].n);
        if (run(bm_onboard_status_prepare, request(CBOR, bm_buf_rd(&body)), &payload) != BM_LIMIT)
            fail_msg("%s of %zu bytes", rows[i].name, rows[i].n);
    }
    for (int csr = 0; csr < 2; csr++) {
        body.n = 0;
        head(&body, 5, 2);
        text(&body, "udid"), blob(&body, udid, sizeof udid);
        text(&body, "requests"), head(&body, 4, 1), head(&body, 5, 1);
        text(&body, csr ? "csr" : "service");
        head(&body, csr ? 2 : 3, csr ? BM_CSR_MAX + 1 : BM_NAME_LEN);
        bm_buf_put(&body, zeros, csr ? BM_CSR_MAX + 1 : BM_NAME_LEN);
        assert_int_equal(run(bm_onboard_enrol_prepare, request(CBOR, bm_buf_rd(&body)), &payload), BM_LIMIT);
    }
    bm_buf_done(&body);
    bm_buf_done(&payload);
}

static void status_takes_no_requests(void **state)
{
    struct bm_buf body = { .max = 65536 }, payload = { .max = BM_COMMAND_MAX };
    struct bm_enrol c;

    (void)state;
    for (enum form form = JSON; form < FORMS; form++) {
        uint8_t room[64];

        sample(form, true, &body);
        assert_int_equal(run(bm_onboard_status_prepare, request(form, bm_buf_rd(&body)), &payload), BM_MALFORMED);
        assert_int_equal(run(bm_onboard_status_prepare,
                             request(form, form == JSON ? bm_rd_str("{" U "}") : unhex("a1 " UC, room, sizeof room)), &payload),
                         BM_OK);
        assert_int_equal(bm_enrol_parse(bm_buf_rd(&payload), &c, &err), BM_OK);
        assert_int_equal(c.n_requests, 0);
        assert_int_equal(c.evidence.kind, BM_EVIDENCE_NONE);
    }
    bm_buf_done(&body);
    bm_buf_done(&payload);
}

static void challenge_requests(void **state)
{
    static const struct {
        enum form form;
        const char *body;
        size_t n;
        bool good;
    } rows[] = {
        { JSON, "{}", 2, true },
        { JSON, " {\n} ", 5, true },
        { CBOR, "\xa0", 1, true },
        { JSON, "", 0, false },
        { JSON, "[]", 2, false },
        { JSON, "{}{}", 4, false },
        { JSON, "{\"a\":1}", 7, false },
        { JSON, "null", 4, false },
        { CBOR, "", 0, false },
        { CBOR, "\x80", 1, false },
        { CBOR, "\xa0\xa0", 2, false },
        { CBOR, "\xbf\xff", 2, false },
        { CBOR, "\xa1\x61\x61\x01", 4, false },
        { CBOR, "{}", 2, false },
        { JSON, "\xa0", 1, false },
    };
    struct bm_buf payload = { .max = 1000 };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        enum bm_rc rc = run(bm_onboard_challenge_prepare, request(rows[i].form, bm_rd_of(rows[i].body, rows[i].n)), &payload);

        if (rc != (rows[i].good ? BM_OK : BM_MALFORMED))
            fail_msg("row %zu: %s", i, bm_rc_name(rc));
        assert_int_equal(payload.n, 0);
    }
    bm_buf_done(&payload);
}

static void media_types(void **state)
{
    static const struct {
        const char *type;
        bool taken;
    } rows[] = {
        { "application/json", true },
        { "application/json; charset=utf-8", true },
        { "Application/JSON", true },
        { "application/json ;x", true },
        { "", false },
        { "application/jsonx", false },
        { "application/jso", false },
        { "text/json", false },
        { "application/problem+json", false },
        { "application/cbor-seq", false },
    };
    struct bm_buf payload = { .max = 1000 };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_request q = request(JSON, bm_rd_str("{}"));

        q.content_type = bm_rd_str(rows[i].type);
        if ((run(bm_onboard_challenge_prepare, q, &payload) == BM_OK) != rows[i].taken)
            fail_msg("'%s'", rows[i].type);
        if (!rows[i].taken)
            assert_string_equal(err.code, "unsupported-media-type");
    }
    bm_buf_done(&payload);
}

/* --- answers -------------------------------------------------------------------------------------------------------------------------------- */
static bool definite(const cbor_item_t *item);

static bool all_definite(cbor_item_t *const *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!definite(items[i]))
            return false;
    return true;
}

static bool definite(const cbor_item_t *item)
{
    switch (cbor_typeof(item)) {
    case CBOR_TYPE_BYTESTRING:
        return cbor_bytestring_is_definite(item);
    case CBOR_TYPE_STRING:
        return cbor_string_is_definite(item);
    case CBOR_TYPE_ARRAY:
        return cbor_array_is_definite(item) && all_definite(cbor_array_handle(item), cbor_array_size(item));
    case CBOR_TYPE_MAP:
        for (size_t i = 0; i < cbor_map_size(item); i++)
            if (!cbor_isa_string(cbor_map_handle(item)[i].key) || !definite(cbor_map_handle(item)[i].key) ||
                !definite(cbor_map_handle(item)[i].value))
                return false;
        return cbor_map_is_definite(item);
    default:
        return cbor_typeof(item) == CBOR_TYPE_UINT || cbor_typeof(item) == CBOR_TYPE_NEGINT;
    }
}

/* As JSON, bytes as base64url: so that both forms are looked at alike. */
static json_t *cbor_as_json(const cbor_item_t *item)
{
    struct bm_buf b = { .max = 1 << 20 };
    json_t *j = NULL;

    if (cbor_isa_uint(item) || cbor_isa_negint(item)) {
        int64_t v = (int64_t)cbor_get_int(item);

        j = json_integer(cbor_isa_uint(item) ? v : -1 - v);
    } else if (cbor_isa_bytestring(item)) {
        bm_base64url(&b, bm_rd_of(cbor_bytestring_handle(item), cbor_bytestring_length(item)));
        j = json_stringn((const char *)b.p, b.n);
    } else if (cbor_isa_string(item)) {
        j = json_stringn((const char *)cbor_string_handle(item), cbor_string_length(item));
    } else if (cbor_isa_array(item)) {
        j = json_array();
        for (size_t i = 0; i < cbor_array_size(item); i++)
            json_array_append_new(j, cbor_as_json(cbor_array_handle(item)[i]));
    } else if (cbor_isa_map(item)) {
        j = json_object();
        for (size_t i = 0; i < cbor_map_size(item); i++) {
            struct cbor_pair p = cbor_map_handle(item)[i];
            char name[64] = "";

            memcpy(name, cbor_string_handle(p.key), cbor_string_length(p.key));
            assert_int_equal(json_object_set_new(j, name, cbor_as_json(p.value)), 0);
        }
    }
    bm_buf_done(&b);
    assert_non_null(j);
    return j;
}

static json_t *body_of(const struct bm_response *r, enum form form)
{
    struct cbor_load_result res;
    cbor_item_t *item;
    json_t *j;

    if (form == JSON) {
        j = json_loadb((const char *)r->body.p, r->body.n, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(j);
        return j;
    }
    item = cbor_load(r->body.p, r->body.n, &res);
    assert_non_null(item);
    assert_int_equal(res.read, r->body.n);
    assert_true(definite(item));
    j = cbor_as_json(item);
    cbor_decref(&item);
    return j;
}

static void says(enum form form, const struct bm_response *r, const char *want)
{
    json_t *got = body_of(r, form), *wanted = json_loads(want, 0, NULL);
    char *text_got = json_dumps(got, JSON_SORT_KEYS | JSON_COMPACT),
         *text_wanted = json_dumps(wanted, JSON_SORT_KEYS | JSON_COMPACT);

    assert_non_null(wanted);
    assert_string_equal(text_got, text_wanted);
    free(text_got);
    free(text_wanted);
    json_decref(got);
    json_decref(wanted);
}

static void challenge_answer(void **state)
{
    (void)state;
    memset(challenge, 0, sizeof challenge);
    for (enum form form = JSON; form < FORMS; form++) {
        struct bm_request q = request(form, bm_rd_str("{}"));
        struct bm_response r = { .body.max = 1 << 20 };
        struct bm_view v = { 0 };

        assert_int_equal(bm_onboard_challenge_render(&q, &v, bm_rd_of(challenge, sizeof challenge), &r, &err), BM_OK);
        assert_int_equal(r.status, 200);
        assert_string_equal(r.content_type, types[form]);
        says(form, &r, "{\"challenge\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"expires_in\":120}");
        bm_buf_done(&r.body);
    }
}

static void enrol_answer(void **state)
{
    static struct bm_enrolled a;
    struct bm_buf answer = { .max = 1 << 20 };

    (void)state;
    a = (struct bm_enrolled){ .n_credentials = 2 };
    a.credentials[0] = (struct bm_enrolled_credential){ bm_rd_str("mqtt"),
                                                        bm_rd_str("LEAF0"),
                                                        bm_rd_str("[\"mqtts://a\",\"mqtts://b\"]"),
                                                        2000,
                                                        1500,
                                                        2,
                                                        { bm_rd_str("ISSUER"), bm_rd_str("ROOT") },
                                                        bm_rd_of(NULL, 0),
                                                        BM_KEY_NONE };
    a.credentials[1] =
        (struct bm_enrolled_credential){ bm_rd_str(""),         bm_rd_str("LEAF1"), bm_rd_str("[]"), INT64_MAX, -5, 1,
                                         { bm_rd_str("ROOT") }, bm_rd_of(NULL, 0),  BM_KEY_NONE };
    bm_enrolled_write(&answer, &a);
    for (enum form form = JSON; form < FORMS; form++) {
        struct bm_request q = request(form, bm_rd_str("{}"));
        struct bm_response r = { .body.max = 1 << 20 };
        struct bm_view v = { 0 };

        assert_int_equal(bm_onboard_enrol_render(&q, &v, bm_buf_rd(&answer), &r, &err), BM_OK);
        says(form, &r,
             "{\"udid\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"correlation\":\"0123456789abcdef\",\"anchors\":["
             "\"Uk9PVA\"],\"credentials\":["
             "{\"service\":\"mqtt\",\"certificate\":\"TEVBRjA\",\"chain\":[\"SVNTVUVS\"],\"not_after\":2000,\"renew_after\":1500,"
             "\"endpoints\":[\"mqtts://a\",\"mqtts://b\"]},"
             "{\"service\":\"\",\"certificate\":\"TEVBRjE\",\"chain\":[],\"not_after\":9223372036854775807,\"renew_after\":-5,"
             "\"endpoints\":[]}]}");
        bm_buf_done(&r.body);
        assert_int_equal(bm_onboard_enrol_render(&q, &v, bm_rd_of(answer.p, answer.n - 1), &r, &err), BM_MALFORMED);
        assert_int_equal(r.body.n, 0);
    }
    a.credentials[1].n_chain = 0;
    answer.n = 0;
    bm_enrolled_write(&answer, &a);
    {
        struct bm_request q = request(JSON, bm_rd_str("{}"));
        struct bm_response r = { .body.max = 1 << 20 };
        struct bm_view v = { 0 };

        assert_int_equal(bm_onboard_enrol_render(&q, &v, bm_buf_rd(&answer), &r, &err), BM_BUG);
        bm_buf_done(&r.body);
    }
    bm_buf_done(&answer);
}

static void status_answer(void **state)
{
    static struct bm_status s;
    struct bm_buf answer = { .max = 1 << 20 };

    (void)state;
    s = (struct bm_status){
        .status = "enrolled", .state = "active", .product = "p", .batch = "b", .owner = "o", .n_credentials = 1
    };
    s.credentials[0] = (struct bm_status_credential){ .service = "mqtt", .status = "expired", .not_after = 7, .renew_after = 5 };
    bm_status_write(&answer, &s);
    for (enum form form = JSON; form < FORMS; form++) {
        struct bm_request q = request(form, bm_rd_str("{}"));
        struct bm_response r = { .body.max = 1 << 20 };
        struct bm_view v = { 0 };

        assert_int_equal(bm_onboard_status_render(&q, &v, bm_buf_rd(&answer), &r, &err), BM_OK);
        says(form, &r,
             "{\"udid\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"status\":\"enrolled\",\"state\":\"active\",\"product\":"
             "\"p\",\"batch\":\"b\","
             "\"owner\":\"o\",\"correlation\":\"0123456789abcdef\",\"credentials\":[{\"service\":\"mqtt\",\"serial\":"
             "\"AAAAAAAAAAAAAAAAAAAAAA\","
             "\"status\":\"expired\",\"not_after\":7,\"renew_after\":5}]}");
        bm_buf_done(&r.body);
    }
    bm_buf_done(&answer);
}

static void refusals(void **state)
{
    struct bm_error e = { .rc = BM_AGAIN, .code = "clock-went-back", .what = "the clock \"says\"" };

    (void)state;
    for (enum form form = JSON; form < FORMS; form++) {
        struct bm_request q = request(form, bm_rd_str("{}"));
        struct bm_response r = { .body.max = 1 << 20 };

        bm_onboard_refuse(&q, &e, 30, &r);
        assert_int_equal(r.status, 503);
        assert_int_equal(r.retry_after_s, 30);
        assert_string_equal(r.content_type, form == JSON ? "application/problem+json" : "application/cbor");
        says(form, &r,
             "{\"type\":\"urn:birthmark:refusal:clock-went-back\",\"title\":\"the clock "
             "\\\"says\\\"\",\"status\":503,\"code\":\"clock-went-back\","
             "\"correlation\":\"0123456789abcdef\",\"retry_after\":30}");
        r.body.n = 0;
        bm_onboard_refuse(&q, &(struct bm_error){ .rc = BM_DENIED, .what = "no" }, 0, &r);
        assert_int_equal(r.status, 403);
        says(form, &r,
             "{\"type\":\"urn:birthmark:refusal:denied\",\"title\":\"no\",\"status\":403,\"code\":\"denied\",\"correlation\":"
             "\"0123456789abcdef\"}");
        bm_buf_done(&r.body);
    }
}

/* Neither form asked for: JSON. No room: at least the status is right. */
static void refusals_at_the_edge(void **state)
{
    struct bm_error e = { .rc = BM_MALFORMED, .code = "unsupported-media-type", .what = "x" };
    struct bm_request q = request(JSON, bm_rd_str(""));
    struct bm_response r = { .body.max = 1 << 20 };

    (void)state;
    q.content_type = bm_rd_str("text/html");
    bm_onboard_refuse(&q, &e, 0, &r);
    assert_int_equal(r.status, 415);
    assert_string_equal(r.content_type, "application/problem+json");
    bm_buf_done(&r.body);
    snprintf(e.what, sizeof e.what, "not \xff UTF-8");
    r = (struct bm_response){ .body.max = 1 << 20 };
    bm_onboard_refuse(&q, &e, 0, &r);
    assert_int_equal(r.status, 415);
    assert_string_equal(r.content_type, "text/plain");
    bm_buf_done(&r.body);
    r = (struct bm_response){ .body.max = 10 };
    bm_onboard_refuse(&q, &e, 0, &r);
    assert_int_equal(r.status, 415);
    bm_buf_done(&r.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_enrol),
        cmocka_unit_test(prefixes_and_leftovers),
        cmocka_unit_test(json_refused),
        cmocka_unit_test(cbor_refused),
        cmocka_unit_test(too_long),
        cmocka_unit_test(status_takes_no_requests),
        cmocka_unit_test(challenge_requests),
        cmocka_unit_test(media_types),
        cmocka_unit_test(challenge_answer),
        cmocka_unit_test(enrol_answer),
        cmocka_unit_test(status_answer),
        cmocka_unit_test(refusals),
        cmocka_unit_test(refusals_at_the_edge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
