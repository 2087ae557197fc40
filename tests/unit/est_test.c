/* EST as pure functions: what a request becomes, what an answer looks like. */
#include "base/text.h"
#include "pki/cert.h"
#include "protocol/est.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

static struct bm_error err;
static struct bm_buf csr = { .max = BM_CSR_MAX };
static struct bm_buf cert = { .max = BM_CERT_MAX };
static struct bm_key *key;

static void make_cert(void)
{
    X509 *x = X509_new();
    EVP_PKEY *k = EVP_EC_gen("P-256");
    uint8_t *der = NULL;
    int n;

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const uint8_t *)"x", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, k);
    assert_true(X509_sign(x, k, EVP_sha256()) > 0);
    n = i2d_X509(x, &der);
    bm_buf_put(&cert, der, (size_t)n);
    OPENSSL_free(der);
    X509_free(x);
    assert_int_equal(bm_key_of_evp(k, &key, &err), BM_OK);
}

static int set_up(void **state)
{
    (void)state;
    make_cert();
    assert_int_equal(bm_csr_make(key, "CN=device", &csr, &err), BM_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bm_buf_done(&csr);
    bm_buf_done(&cert);
    bm_key_free(key);
    return 0;
}

/* --- requests ------------------------------------------------------------------------------------------------------------------------ */
static struct bm_request request(struct bm_rd body)
{
    struct bm_request q = { .method = BM_POST,
                            .content_type = bm_rd_str("application/pkcs10"),
                            .body = body,
                            .peer = "192.0.2.1",
                            .correlation = "0123456789abcdef",
                            .client_cert = bm_buf_rd(&cert) };

    return q;
}

/* The body in an allocation of its exact size. */
static enum bm_rc prepare(struct bm_request q, bool again, struct bm_buf *payload)
{
    uint8_t *p = malloc(q.body.n != 0 ? q.body.n : 1);
    enum bm_rc rc;

    assert_non_null(p);
    if (q.body.n != 0)
        memcpy(p, q.body.p, q.body.n);
    q.body.p = p;
    payload->n = 0;
    rc = again ? bm_est_reenroll(&q, payload, &err) : bm_est_enroll(&q, payload, &err);
    free(p);
    return rc;
}

static void is_the_csr(struct bm_request q)
{
    struct bm_buf payload = { .max = BM_COMMAND_MAX };
    struct bm_enrol c;

    if (prepare(q, false, &payload) != BM_OK)
        fail_msg("%s", err.what);
    assert_int_equal(bm_enrol_parse(bm_buf_rd(&payload), &c, &err), BM_OK);
    assert_int_equal(c.n_requests, 1);
    assert_true(bm_rd_eq(c.requests[0].csr, bm_buf_rd(&csr)));
    assert_true(bm_rd_eq(c.requests[0].service, q.label));
    assert_true(bm_rd_eq(c.evidence.cert, q.client_cert));
    assert_int_equal(c.evidence.n_chain, q.n_client_chain);
    assert_int_equal(c.evidence.kind, BM_EVIDENCE_TLS);
    assert_string_equal(c.protocol, "est");
    assert_string_equal(c.correlation, q.correlation);
    assert_string_equal(c.peer, q.peer);
    assert_true(c.claimed_udid.n == 0 && c.claimed_batch.n == 0 && !c.reenrol);
    bm_buf_done(&payload);
}

/* line_len wide, ended by eol each; pem: in armour */
static void as_text(size_t line_len, const char *eol, struct bm_buf *ret)
{
    struct bm_buf flat = { .max = 65536 };

    bm_base64(&flat, bm_buf_rd(&csr), 0);
    for (size_t i = 0; i < flat.n; i += line_len) {
        bm_buf_put(ret, flat.p + i, flat.n - i < line_len ? flat.n - i : line_len);
        bm_buf_str(ret, eol);
    }
    bm_buf_done(&flat);
}

static void forms_taken(void **state)
{
    static const struct {
        size_t line_len;
        const char *eol;
    } forms[] = { { 100000, "" }, { 100000, "\n" }, { 64, "\n" }, { 64, "\r\n" }, { 76, "\r\n" }, { 1, "\n" }, { 7, " \t\r\n" } };

    (void)state;
    is_the_csr(request(bm_buf_rd(&csr))); /* raw DER */
    for (size_t i = 0; i < BM_COUNT(forms); i++) {
        struct bm_buf text = { .max = 65536 };

        as_text(forms[i].line_len, forms[i].eol, &text);
        is_the_csr(request(bm_buf_rd(&text)));
        bm_buf_done(&text);
    }
}

static void what_goes_along(void **state)
{
    struct bm_request q = request(bm_buf_rd(&csr));
    struct bm_buf payload = { .max = BM_COMMAND_MAX };
    struct bm_enrol c;

    (void)state;
    q.label = bm_rd_str("mqtt");
    q.n_client_chain = 2;
    q.client_chain[0] = bm_buf_rd(&cert);
    q.client_chain[1] = bm_buf_rd(&csr);
    is_the_csr(q);
    assert_int_equal(prepare(q, true, &payload), BM_OK);
    assert_int_equal(bm_enrol_parse(bm_buf_rd(&payload), &c, &err), BM_OK);
    assert_true(c.reenrol);
    assert_true(bm_rd_eq(c.evidence.chain[1], bm_buf_rd(&csr)));
    bm_buf_done(&payload);
}

static void content_types(void **state)
{
    static const struct {
        const char *type;
        bool taken;
    } rows[] = {
        { "", true },
        { "application/pkcs10", true },
        { "application/pkcs10; charset=x", true },
        { "application/pkcs10 ;a=b", true },
        { "Application/PKCS10", true }, /* RFC 9110 section 8.3.1: case-insensitive */
        { "application/pkcs10x", false },
        { "application/pkcs1", false },
        { "application/pkcs7-mime", false },
        { "text/plain", false },
        { "x", false },
        { " application/pkcs10", false },
    };
    struct bm_buf payload = { .max = BM_COMMAND_MAX };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_request q = request(bm_buf_rd(&csr));

        q.content_type = bm_rd_str(rows[i].type);
        if ((prepare(q, false, &payload) == BM_OK) != rows[i].taken)
            fail_msg("'%s'", rows[i].type);
        if (!rows[i].taken)
            assert_string_equal(err.code, "unsupported-media-type");
    }
    bm_buf_done(&payload);
}

static void bodies_refused(void **state)
{
    static const char *const bad[] = {
        "M",     "MI",       "MII",     "====", "MIIB=", "MIIB MIIB!", "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n",
        "MI\0B", "\xff\xfe", "MIIB===="
    };
    struct bm_buf payload = { .max = BM_COMMAND_MAX }, big = { .max = 1 << 20 }, text = { .max = 1 << 20 };
    struct bm_request q = request(bm_buf_rd(&csr));

    (void)state;
    for (size_t i = 0; i < BM_COUNT(bad); i++) {
        if (prepare(request(bm_rd_of(bad[i], i == 7 ? 4 : strlen(bad[i]))), false, &payload) != BM_MALFORMED)
            fail_msg("'%s'", bad[i]);
    }
    while (big.n <= BM_CSR_MAX)
        bm_buf_put(&big, "\x30\x82", 2);
    assert_int_equal(prepare(request(bm_buf_rd(&big)), false, &payload), BM_LIMIT);
    bm_base64(&text, bm_buf_rd(&big), 64);
    assert_int_equal(prepare(request(bm_buf_rd(&text)), false, &payload), BM_LIMIT);
    q.label = bm_rd_of(big.p, BM_NAME_LEN);
    assert_int_equal(prepare(q, false, &payload), BM_NOTFOUND);
    assert_string_equal(err.code, "unknown-label");
    bm_buf_done(&payload);
    bm_buf_done(&big);
    bm_buf_done(&text);
}

static void prefixes(void **state)
{
    struct bm_buf payload = { .max = BM_COMMAND_MAX }, text = { .max = 65536 };

    (void)state;
    as_text(64, "\r\n", &text);
    for (size_t n = 0; n < text.n; n++) /* whatever the outcome: the keeper judges the request, here it is only carried */
        (void)!prepare(request(bm_rd_of(text.p, n)), false, &payload);
    for (size_t n = 0; n < csr.n; n++)
        (void)!prepare(request(bm_rd_of(csr.p, n)), false, &payload);
    bm_buf_done(&payload);
    bm_buf_done(&text);
}

/* --- answers ---------------------------------------------------------------------------------------------------------------------------- */
static void holds_certs(const struct bm_response *r, int want)
{
    struct bm_buf der = { .max = 1 << 20 };
    STACK_OF(X509) * certs;
    CMS_ContentInfo *cms;
    const uint8_t *p;

    assert_int_equal(bm_unbase64(bm_buf_rd(&r->body), &der, &err), BM_OK);
    p = der.p;
    cms = d2i_CMS_ContentInfo(NULL, &p, (long)der.n);
    assert_non_null(cms);
    assert_ptr_equal(p, der.p + der.n);
    certs = CMS_get1_certs(cms);
    assert_int_equal(sk_X509_num(certs), want);
    sk_X509_pop_free(certs, X509_free);
    CMS_ContentInfo_free(cms);
    bm_buf_done(&der);
}

static bool wrapped(const struct bm_response *r)
{
    return memchr(r->body.p, '\n', r->body.n) != NULL;
}

static void answer_of(struct bm_buf *out)
{
    static struct bm_enrolled a;

    a.n_credentials = 1;
    a.credentials[0] = (struct bm_enrolled_credential){ .cert = bm_buf_rd(&cert), .n_chain = 1, .chain = { bm_buf_rd(&cert) } };
    bm_enrolled_write(out, &a);
}

static void certs_in_the_clients_habit(void **state)
{
    struct bm_buf answer = { .max = 65536 }, one = { .max = 65536 }, many = { .max = 65536 };
    const struct {
        struct bm_rd body;
        bool wrap;
    } rows[] = {
        { bm_buf_rd(&csr), false },
        { (as_text(100000, "", &one), bm_buf_rd(&one)), false },
        { (one.n = 0, as_text(100000, "\r\n", &one), bm_buf_rd(&one)), false },
        { (as_text(64, "\n", &many), bm_buf_rd(&many)), true },
    };

    (void)state;
    answer_of(&answer);
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_request q = request(rows[i].body);
        struct bm_response r = { .body.max = 1 << 20 };
        struct bm_view v = { 0 };

        assert_int_equal(bm_est_certs(&q, &v, bm_buf_rd(&answer), &r, &err), BM_OK);
        assert_int_equal(r.status, 200);
        assert_string_equal(r.content_type, "application/pkcs7-mime; smime-type=certs-only");
        assert_string_equal(r.content_encoding, "base64");
        assert_int_equal(wrapped(&r), rows[i].wrap);
        holds_certs(&r, 1);
        bm_buf_done(&r.body);
    }
    bm_buf_done(&answer);
    bm_buf_done(&one);
    bm_buf_done(&many);
}

static void answers_that_do_not_fit(void **state)
{
    static struct bm_enrolled none, two;
    struct bm_request q = request(bm_buf_rd(&csr));
    struct bm_response r = { .body.max = 1 << 20 };
    struct bm_buf out = { .max = 65536 };
    struct bm_view v = { 0 };

    (void)state;
    assert_int_equal(bm_est_certs(&q, &v, bm_rd_str("rubbish"), &r, &err), BM_MALFORMED);
    bm_enrolled_write(&out, &none);
    assert_int_equal(bm_est_certs(&q, &v, bm_buf_rd(&out), &r, &err), BM_BUG);
    two.n_credentials = 2;
    two.credentials[0].cert = two.credentials[1].cert = bm_buf_rd(&cert);
    out.n = 0;
    bm_enrolled_write(&out, &two);
    assert_int_equal(bm_est_certs(&q, &v, bm_buf_rd(&out), &r, &err), BM_BUG);
    assert_int_equal(r.body.n, 0);
    bm_buf_done(&out);
    bm_buf_done(&r.body);
}

static void view_of(struct bm_view *v)
{
    *v = (struct bm_view){ .n_cas = 2, .n_labels = 2 };
    v->cas[0] = v->cas[1] = bm_buf_rd(&cert);
    v->labels[0] = (struct bm_view_label){ bm_rd_str(""), bm_rd_of("\x30\x00", 2), 3 };
    v->labels[1] = (struct bm_view_label){ bm_rd_str("mqtt"), bm_rd_of("\x30\x02\x05\x00", 4), 3 };
}

static void questions(void **state)
{
    static const char *const labels[] = { "", "mqtt" };
    static const char *const agents[] = { "", "curl/8", "libest client" };
    static struct bm_view v;

    (void)state;
    view_of(&v);
    for (size_t l = 0; l < BM_COUNT(labels); l++) {
        for (size_t a = 0; a < BM_COUNT(agents); a++) {
            struct bm_request q = { .method = BM_GET, .label = bm_rd_str(labels[l]), .user_agent = bm_rd_str(agents[a]) };
            struct bm_response r = { .body.max = 1 << 20 };
            struct bm_buf der = { .max = 1000 };

            assert_int_equal(bm_est_cacerts(&q, &v, (struct bm_rd){ 0 }, &r, &err), BM_OK);
            assert_string_equal(r.content_type, "application/pkcs7-mime");
            assert_int_equal(wrapped(&r), a == 2);
            holds_certs(&r, 2);
            r.body.n = 0;
            assert_int_equal(bm_est_csrattrs(&q, &v, (struct bm_rd){ 0 }, &r, &err), BM_OK);
            assert_string_equal(r.content_type, "application/csrattrs");
            assert_int_equal(bm_unbase64(bm_buf_rd(&r.body), &der, &err), BM_OK);
            assert_true(bm_rd_eq(bm_buf_rd(&der), v.labels[l].csrattrs));
            bm_buf_done(&der);
            bm_buf_done(&r.body);
        }
    }
}

static void unknown_labels(void **state)
{
    static const char *const labels[] = { "x", "mqt", "mqttt", "MQTT", "..", "a\nb" };
    static struct bm_view v;
    struct bm_response r = { .body.max = 1 << 20 };

    (void)state;
    view_of(&v);
    for (size_t i = 0; i < BM_COUNT(labels); i++) {
        struct bm_request q = { .method = BM_GET, .label = bm_rd_str(labels[i]) };

        assert_int_equal(bm_est_cacerts(&q, &v, (struct bm_rd){ 0 }, &r, &err), BM_NOTFOUND);
        assert_string_equal(err.code, "unknown-label");
        assert_null(strchr(err.what, '\n'));
        assert_int_equal(bm_est_csrattrs(&q, &v, (struct bm_rd){ 0 }, &r, &err), BM_NOTFOUND);
    }
    assert_int_equal(r.body.n, 0);
    bm_buf_done(&r.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_taken),
        cmocka_unit_test(what_goes_along),
        cmocka_unit_test(content_types),
        cmocka_unit_test(bodies_refused),
        cmocka_unit_test(prefixes),
        cmocka_unit_test(certs_in_the_clients_habit),
        cmocka_unit_test(answers_that_do_not_fit),
        cmocka_unit_test(questions),
        cmocka_unit_test(unknown_labels),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
