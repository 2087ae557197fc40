/* protocol/est_coap.h: EST over CoAP as pure functions (RFC 9148). If this fails, a device finds no function, gets another form than it asked
 * for, or is told the wrong thing about why not. */
#include "keeper_fixture.h"
#include "protocol/est.h"
#include "protocol/est_coap.h"

#include <cbor.h>

/* --- which operation -------------------------------------------------------------------------------------------------------------------- */
#define N (-1)
static const struct row {
    uint8_t method;
    const char *path[BM_COAP_SEGMENTS_MAX];
    int32_t content_format, accept;
    const char *code; /* of the refusal, or NULL */
    const char *name, *label;
    uint16_t format;
} rows[] = {
    { BM_COAP_GET, { "est", "crts" }, N, N, NULL, "coap-est-crts", "", 281 },
    { BM_COAP_GET, { ".well-known", "est", "crts" }, N, N, NULL, "coap-est-crts", "", 281 },
    { BM_COAP_GET, { "est", "mqtt", "crts" }, N, 281, NULL, "coap-est-crts", "mqtt", 281 },
    { BM_COAP_GET, { ".well-known", "est", "mqtt", "crts" }, N, 287, NULL, "coap-est-crts", "mqtt", 287 },
    { BM_COAP_GET, { "est", "att" }, N, 285, NULL, "coap-est-att", "", 285 },
    { BM_COAP_POST, { "est", "sen" }, 286, N, NULL, "coap-est-sen", "", 281 },
    { BM_COAP_POST, { "est", "sen" }, N, 287, NULL, "coap-est-sen", "", 287 },
    { BM_COAP_POST, { "est", "sren" }, 286, 281, NULL, "coap-est-sren", "", 281 },
    { BM_COAP_POST, { "est", "skg" }, 286, N, NULL, "coap-est-skg", "", 62 },
    { BM_COAP_POST, { "est", "skc" }, 286, 62, NULL, "coap-est-skc", "", 62 },
    /* labels that look like something else */
    { BM_COAP_GET, { "est", "crts", "crts" }, N, N, NULL, "coap-est-crts", "crts", 281 },
    { BM_COAP_GET, { "est", "est", "crts" }, N, N, NULL, "coap-est-crts", "est", 281 },
    /* paths that are not there */
    { BM_COAP_GET, { NULL }, N, N, "no-such-path", NULL, NULL, 0 },
    { BM_COAP_GET, { "est" }, N, N, "no-such-path", NULL, NULL, 0 },
    { BM_COAP_GET, { "crts" }, N, N, "no-such-path", NULL, NULL, 0 },
    { BM_COAP_GET, { "est", "" }, N, N, "no-such-path", NULL, NULL, 0 },
    { BM_COAP_GET, { "est", "", "crts" }, N, N, "no-such-path", NULL, NULL, 0 },
    { BM_COAP_GET, { "est", "crts", "" }, N, N, "no-such-path", NULL, NULL, 0 },
    { BM_COAP_GET, { "est", "crt" }, N, N, "no-such-path", NULL, NULL, 0 },
    { BM_COAP_GET, { "est", "crtsx" }, N, N, "no-such-path", NULL, NULL, 0 },
    { BM_COAP_GET, { "EST", "crts" }, N, N, "no-such-path", NULL, NULL, 0 },
    { BM_COAP_GET, { "est", "cacerts" }, N, N, "no-such-path", NULL, NULL, 0 },
    { BM_COAP_GET, { "est/crts" }, N, N, "no-such-path", NULL, NULL, 0 },
    { BM_COAP_GET, { "est", "a", "b", "crts" }, N, N, "no-such-path", NULL, NULL, 0 },
    { BM_COAP_GET, { ".well-known", "est" }, N, N, "no-such-path", NULL, NULL, 0 },
    { BM_COAP_GET, { ".well-known", "crts" }, N, N, "no-such-path", NULL, NULL, 0 },
    { BM_COAP_GET, { ".well-known", "est", "a", "b", "crts" }, N, N, "no-such-path", NULL, NULL, 0 },
    /* methods */
    { BM_COAP_POST, { "est", "crts" }, N, N, "method-not-allowed", NULL, NULL, 0 },
    { BM_COAP_GET, { "est", "sen" }, N, N, "method-not-allowed", NULL, NULL, 0 },
    { 3, { "est", "sen" }, 286, N, "method-not-allowed", NULL, NULL, 0 },
    { 5, { "est", "att" }, N, N, "method-not-allowed", NULL, NULL, 0 },
    /* forms */
    { BM_COAP_POST, { "est", "sen" }, 0, N, "unsupported-media-type", NULL, NULL, 0 },
    { BM_COAP_POST, { "est", "sen" }, 281, N, "unsupported-media-type", NULL, NULL, 0 },
    { BM_COAP_POST, { "est", "skg" }, 287, N, "unsupported-media-type", NULL, NULL, 0 },
    { BM_COAP_GET, { "est", "crts" }, N, 0, "not-acceptable", NULL, NULL, 0 },
    { BM_COAP_GET, { "est", "crts" }, N, 285, "not-acceptable", NULL, NULL, 0 },
    { BM_COAP_GET, { "est", "att" }, N, 281, "not-acceptable", NULL, NULL, 0 },
    { BM_COAP_GET, { "est", "att" }, N, 0, "not-acceptable", NULL, NULL, 0 },
    { BM_COAP_POST, { "est", "sen" }, 286, 62, "not-acceptable", NULL, NULL, 0 },
    { BM_COAP_POST, { "est", "skg" }, 286, 281, "not-acceptable", NULL, NULL, 0 },
    { BM_COAP_POST, { "est", "skc" }, 286, 0, "not-acceptable", NULL, NULL, 0 },
};

static struct bm_coap_message message_of(const struct row *r)
{
    struct bm_coap_message m = bm_coap_message_of(BM_COAP_CON, r->method, 1);

    while (m.n_path < BM_COAP_SEGMENTS_MAX && r->path[m.n_path] != NULL) {
        m.path[m.n_path] = bm_rd_str(r->path[m.n_path]);
        m.n_path++;
    }
    m.content_format = r->content_format;
    m.accept = r->accept;
    return m;
}

static void requests_find_their_operation(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        const struct row *r = &rows[i];
        struct bm_coap_message m = message_of(r);
        const struct bm_coap_operation *op;
        struct bm_rd label;
        uint16_t format;
        enum bm_rc rc = bm_coap_admit(&m, &op, &label, &format, &err);

        if ((rc == BM_OK) != (r->code == NULL) || (rc != BM_OK && strcmp(err.code, r->code) != 0))
            fail_msg("row %zu: %s", i, rc == BM_OK ? op->name : err.code);
        if (rc == BM_OK && (strcmp(op->name, r->name) != 0 || !bm_rd_eq(label, bm_rd_str(r->label)) || format != r->format))
            fail_msg("row %zu: %s, format %u", i, op->name, format);
    }
}

static void queries_and_long_paths_are_refused(void **state)
{
    struct bm_coap_message m = message_of(&rows[0]);
    const struct bm_coap_operation *op;
    struct bm_rd label;
    uint16_t format;

    (void)state;
    m.too_long = true;
    assert_int_equal(bm_coap_admit(&m, &op, &label, &format, &err), BM_NOTFOUND);
    m.too_long = false;
    m.n_query = 1;
    m.query[0] = bm_rd_str("x=y");
    assert_int_equal(bm_coap_admit(&m, &op, &label, &format, &err), BM_MALFORMED);
    assert_string_equal(err.code, "bad-request");
}

/* --- discovery -------------------------------------------------------------------------------------------------------------------------- */
#define CRTS "</est/crts>;rt=\"ace.est.crts\";ct=\"281 287\""
#define SEN "</est/sen>;rt=\"ace.est.sen\";ct=\"281 287\""
#define SREN "</est/sren>;rt=\"ace.est.sren\";ct=\"281 287\""
#define REST "</est/att>;rt=\"ace.est.att\";ct=285,</est/skg>;rt=\"ace.est.skg\";ct=62,</est/skc>;rt=\"ace.est.skc\";ct=62"

static const struct {
    const char *query[2], *links;
} discoveries[] = {
    { { NULL }, CRTS "," SEN "," SREN "," REST },
    { { "rt=ace.est*" }, CRTS "," SEN "," SREN "," REST },
    { { "rt=*" }, CRTS "," SEN "," SREN "," REST },
    { { "rt=ace.est.sen" }, SEN },
    { { "rt=ace.est.s*", "href=/est/sr*" }, SREN },
    { { "href=/est/crts" }, CRTS },
    { { "rt=ace.est" }, "" },
    { { "rt=ace.est.senx" }, "" },
    { { "rt=ace.est.senx*" }, "" },
    { { "rt=" }, "" },
    { { "rt" }, "" },
    { { "if=sensor" }, "" },
    { { "" }, "" },
};

static void discovery_tells_what_fits(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(discoveries); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 4096 };
        struct bm_coap_message m = bm_coap_message_of(BM_COAP_CON, BM_COAP_GET, 1);

        while (m.n_query < 2 && discoveries[i].query[m.n_query] != NULL) {
            m.query[m.n_query] = bm_rd_str(discoveries[i].query[m.n_query]);
            m.n_query++;
        }
        bm_coap_links(&m, &out);
        if (!bm_rd_eq(bm_buf_rd(&out), bm_rd_str(discoveries[i].links)))
            fail_msg("%zu: %.*s", i, (int)out.n, (const char *)out.p);
    }
}

/* --- answers ------------------------------------------------------------------------------------------------------------------------------ */
static const struct bm_coap_operation *operation(const char *short_name)
{
    for (const struct bm_coap_operation *op = bm_coap_operations; op->short_name != NULL; op++)
        if (strcmp(op->short_name, short_name) == 0)
            return op;
    fail_msg("%s", short_name);
    return NULL;
}

static const uint8_t cert_a[] = { 0x30, 0x01, 'a' }, cert_b[] = { 0x30, 0x01, 'b' }, key_der[] = { 0x30, 0x02, 'k', 'k' };

static struct party root, other_root, issuing;

static int make_cas(void **state)
{
    (void)state;
    party_keys(&root, "P-256");
    party_keys(&other_root, "P-256");
    party_keys(&issuing, "P-256");
    party_certify(&root, "Root", NULL, true, 86400);
    party_certify(&other_root, "Other root", NULL, true, 86400);
    party_certify(&issuing, "Issuing", &root, true, 86400);
    return 0;
}

static int drop_cas(void **state)
{
    (void)state;
    party_done(&root);
    party_done(&other_root);
    party_done(&issuing);
    return 0;
}

static enum bm_rc render(const char *what, struct bm_rd label, uint16_t format, uint64_t cas, struct bm_rd answer,
                         struct bm_buf *body)
{
    const struct bm_request q = { .label = label, .raw = true };
    static struct bm_view v;

    v = (struct bm_view){ .n_cas = 3, .n_labels = 1 };
    v.cas[0] = bm_buf_rd(&root.cert);
    v.cas[1] = bm_buf_rd(&other_root.cert);
    v.cas[2] = bm_buf_rd(&issuing.cert);
    v.labels[0].csrattrs = bm_rd_str("0\x02xx");
    v.labels[0].cas = cas;
    return operation(what)->render(&q, &v, answer, format, body, &err);
}

static void certificates_come_as_asked_for(void **state)
{
    BM_CLEANUP(bm_buf_done)
    struct bm_buf many = { .max = 4096 }, one = { .max = 4096 }, two = { .max = 4096 }, att = { .max = 4096 };

    (void)state;
    assert_int_equal(render("crts", bm_rd_str(""), 281, 3, bm_rd_str(""), &many), BM_OK);
    assert_true(many.n > 40 && many.p[0] == 0x30 &&
                memmem(many.p, many.n, other_root.cert.p, other_root.cert.n) != NULL);   /* DER, no base64 */
    assert_int_equal(render("crts", bm_rd_str(""), 287, 5, bm_rd_str(""), &one), BM_OK); /* the root, and one below it */
    assert_true(bm_rd_eq(bm_buf_rd(&one), bm_buf_rd(&root.cert)));
    assert_int_equal(render("crts", bm_rd_str(""), 287, 3, bm_rd_str(""), &two), BM_DENIED); /* two roots */
    assert_string_equal(err.code, "not-acceptable");
    assert_int_equal(render("crts", bm_rd_str(""), 287, 4, bm_rd_str(""), &two), BM_DENIED); /* none */
    assert_int_equal(render("crts", bm_rd_str("nobody"), 287, 2, bm_rd_str(""), &two), BM_NOTFOUND);
    assert_string_equal(err.code, "unknown-label");
    assert_int_equal(render("att", bm_rd_str(""), 285, 3, bm_rd_str(""), &att), BM_OK);
    assert_true(bm_rd_eq(bm_buf_rd(&att), bm_rd_str("0\x02xx")));
}

static void enrolled(struct bm_buf *out, size_t n, uint8_t form)
{
    struct bm_enrolled a = { .n_credentials = n };

    for (size_t i = 0; i < n; i++) {
        a.credentials[i].cert = bm_rd_of(cert_a, sizeof cert_a);
        a.credentials[i].endpoints = bm_rd_str("[]");
        a.credentials[i].n_chain = 1;
        a.credentials[i].chain[0] = bm_rd_of(cert_b, sizeof cert_b);
        a.credentials[i].key_form = form;
        a.credentials[i].key = form != BM_KEY_NONE ? bm_rd_of(key_der, sizeof key_der) : bm_rd_str("");
    }
    bm_enrolled_write(out, &a);
}

static void an_enrolment_is_one_certificate(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf one = { .max = 4096 }, two = { .max = 4096 }, body = { .max = 4096 };

    (void)state;
    enrolled(&one, 1, BM_KEY_NONE);
    enrolled(&two, 2, BM_KEY_NONE);
    assert_int_equal(render("sen", bm_rd_str(""), 287, 0, bm_buf_rd(&one), &body), BM_OK);
    assert_true(bm_rd_eq(bm_buf_rd(&body), bm_rd_of(cert_a, sizeof cert_a)));
    body.n = 0;
    assert_int_equal(render("sren", bm_rd_str(""), 281, 0, bm_buf_rd(&one), &body), BM_OK);
    assert_true(memmem(body.p, body.n, cert_a, sizeof cert_a) != NULL);
    assert_int_equal(render("sen", bm_rd_str(""), 281, 0, bm_buf_rd(&two), &body), BM_BUG);
    assert_int_not_equal(render("sen", bm_rd_str(""), 281, 0, bm_rd_of(one.p, one.n - 1), &body), BM_OK);
    assert_int_equal(render("skg", bm_rd_str(""), 62, 0, bm_buf_rd(&one), &body), BM_BUG); /* a key was to come with it */
}

/* RFC 9148 section 4.8, read by the CBOR library: [format, key, format, certificate]. */
static void keys_come_as_multipart(void **state)
{
    static const struct {
        const char *what;
        uint8_t form;
        uint16_t key, cert;
    } parts[] = { { "skg", BM_KEY_PLAIN, 284, 281 },
                  { "skg", BM_KEY_SEALED, 280, 281 },
                  { "skc", BM_KEY_PLAIN, 284, 287 },
                  { "skc", BM_KEY_SEALED, 280, 287 } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(parts); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf answer = { .max = 4096 }, body = { .max = 4096 };
        struct cbor_load_result read;
        cbor_item_t *items, *part[4];

        enrolled(&answer, 1, parts[i].form);
        assert_int_equal(render(parts[i].what, bm_rd_str(""), 62, 0, bm_buf_rd(&answer), &body), BM_OK);
        items = cbor_load(body.p, body.n, &read);
        assert_true(items != NULL && read.read == body.n && cbor_isa_array(items) && cbor_array_is_definite(items) &&
                    cbor_array_size(items) == 4);
        for (size_t j = 0; j < 4; j++)
            part[j] = cbor_array_get(items, j);
        assert_int_equal(cbor_get_int(part[0]), parts[i].key);
        assert_true(bm_rd_eq(bm_rd_of(cbor_bytestring_handle(part[1]), cbor_bytestring_length(part[1])),
                             bm_rd_of(key_der, sizeof key_der)));
        assert_int_equal(cbor_get_int(part[2]), parts[i].cert);
        assert_true(memmem(cbor_bytestring_handle(part[3]), cbor_bytestring_length(part[3]), cert_a, sizeof cert_a) != NULL);
        for (size_t j = 0; j < 4; j++)
            cbor_decref(&part[j]);
        cbor_decref(&items);
    }
}

/* DER goes to the keeper as it came: what looks like base64 is not unwrapped. */
static void requests_are_der(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX };
    struct bm_request q = { .raw = true, .correlation = "0123456789abcdef", .peer = "192.0.2.1", .body = bm_rd_str("MAECAw==") };
    struct bm_enrol c;

    (void)state;
    q.client_cert = bm_rd_of(cert_a, sizeof cert_a);
    assert_int_equal(bm_est_enroll(&q, &payload, &err), BM_OK);
    assert_int_equal(bm_enrol_parse(bm_buf_rd(&payload), &c, &err), BM_OK);
    assert_true(bm_rd_eq(c.requests[0].csr, q.body));
    assert_string_equal(c.protocol, "est");
}

/* --- refusals ------------------------------------------------------------------------------------------------------------------------------- */
static void refusals_have_their_codes(void **state)
{
    static const struct {
        enum bm_rc rc;
        const char *code;
        uint8_t want;
    } refusals[] = {
        { BM_AGAIN, "approval-pending", BM_COAP_CODE(5, 3) },
        { BM_AGAIN, "upstream-pending", BM_COAP_CODE(5, 3) },
        { BM_AGAIN, "try-again", BM_COAP_CODE(5, 3) },
        { BM_DENIED, "no-evidence", BM_COAP_CODE(4, 1) },
        { BM_DENIED, "unknown-device", BM_COAP_CODE(4, 3) },
        { BM_NOTFOUND, "no-such-path", BM_COAP_CODE(4, 4) },
        { BM_NOTFOUND, "unknown-label", BM_COAP_CODE(4, 4) },
        { BM_DENIED, "method-not-allowed", BM_COAP_CODE(4, 5) },
        { BM_DENIED, "not-acceptable", BM_COAP_CODE(4, 6) },
        { BM_CONFLICT, "incomplete", BM_COAP_CODE(4, 8) },
        { BM_MALFORMED, "bad-option", BM_COAP_CODE(4, 2) },
        { BM_MALFORMED, "bad-request", BM_COAP_CODE(4, 0) },
        { BM_MALFORMED, "", BM_COAP_CODE(4, 0) },
        { BM_LIMIT, "body-too-large", BM_COAP_CODE(4, 13) },
        { BM_LIMIT, "quota-exceeded", BM_COAP_CODE(4, 3) },
        { BM_MALFORMED, "unsupported-media-type", BM_COAP_CODE(4, 15) },
        { BM_CONFLICT, "", BM_COAP_CODE(4, 9) },
        { BM_AGAIN, "too-many-attempts", BM_COAP_CODE(4, 29) },
        { BM_BUG, "", BM_COAP_CODE(5, 0) },
        { BM_IO, "", BM_COAP_CODE(5, 3) },
        { BM_USAGE, "not-implemented", BM_COAP_CODE(5, 1) },
        { BM_DENIED, "no-proxy", BM_COAP_CODE(5, 5) },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(refusals); i++) {
        (void)bm_refuse(&err, refusals[i].rc, refusals[i].code, "x");
        if (bm_coap_code_of(&err) != refusals[i].want)
            fail_msg("%s: %#x", refusals[i].code, bm_coap_code_of(&err));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_find_their_operation),
        cmocka_unit_test(queries_and_long_paths_are_refused),
        cmocka_unit_test(discovery_tells_what_fits),
        cmocka_unit_test(certificates_come_as_asked_for),
        cmocka_unit_test(an_enrolment_is_one_certificate),
        cmocka_unit_test(keys_come_as_multipart),
        cmocka_unit_test(requests_are_der),
        cmocka_unit_test(refusals_have_their_codes),
    };

    return cmocka_run_group_tests(tests, make_cas, drop_cas);
}
