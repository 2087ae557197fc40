/* keeper/upstream.h inside the keeper: what is asked, what is taken, and what of it counts against the batch. The wire is in tests/e2e/test_upstream.py. */
#include "keeper_enrol.h"

#include "keeper/symmetric.h"
#include "keeper/upstream.h"

#include <openssl/pem.h>

static struct world w;
static struct party root, ra;
static struct dev devices[6];

/* --- the upstream CA, played by the test ------------------------------------------------------------------------------------------- */
static json_t *upstream_request(const char *name)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf chain = { .max = 65536 }, client = { .max = 65536 };
    BIO *b = BIO_new(BIO_s_mem());
    char *key;
    long n;
    json_t *r;

    bm_pem_write(&chain, "CERTIFICATE", bm_buf_rd(&root.cert));
    bm_pem_write(&client, "CERTIFICATE", bm_buf_rd(&ra.cert));
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(b, ra.evp, NULL, NULL, 0, NULL, NULL), 1);
    n = BIO_get_mem_data(b, &key);
    bm_buf_put(&client, key, (size_t)n);
    BIO_free(b);
    r = json_pack("{s:s, s:s, s:s, s:s%, s:s%, s:s, s:s}", "op", "ca.upstream", "name", name, "url",
                  "https://ca.example/.well-known/est", "chain", (const char *)chain.p, chain.n, "client", (const char *)client.p,
                  client.n, "login", "ra:geheim", "names", "upstream");
    assert_non_null(r);
    return r;
}

static void add_upstream(const char *name)
{
    json_t *in = upstream_request(name), *reply = NULL;

    assert_ok(bm_keeper_admin(w.k, in, bm_rd_of(NULL, 0), "test", &reply, &err));
    json_decref(in);
    json_decref(reply);
}

static enum bm_rc say(const struct bm_errand_ask *a, struct bm_buf *out, struct bm_errand_given *ret)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { .max = BM_ERRAND_COMMAND_MAX };

    bm_errand_ask_write(&in, a);
    assert_ok(bm_keeper_begin(w.k, &err));
    assert_ok(bm_run_errand(w.k, bm_buf_rd(&in), bm_clock_s(), out, &err));
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
    return bm_errand_given_parse(bm_buf_rd(out), ret, &err);
}

/* Takes what there is to ask, looks at it, and answers each with `body`, or with a certificate over the request's key when that is NULL. */
static size_t answer_all(unsigned status, const char *body)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = BM_FRAME_MAX }, none = { .max = BM_FRAME_MAX };
    struct bm_errand_given g, after;

    assert_ok(say(&(struct bm_errand_ask){ .room = 16 }, &out, &g));
    for (size_t i = 0; i < g.n; i++) {
        BM_CLEANUP(bm_buf_done)
        struct bm_buf csr = { .max = BM_CSR_MAX }, cms = { .max = 65536 }, text = { .max = 65536 }, report = { .max = 65536 };
        struct bm_task_answer a = { .status = (uint16_t)status };
        struct bm_errand_ask r = { .n = 1 };
        struct party made = { 0 };
        struct bm_task t;
        const uint8_t *p;
        X509_REQ *x;

        assert_ok(bm_task_parse(g.work[i].task, &t, &err));
        assert_false(t.foreign);
        assert_true(bm_rd_eq(t.url, bm_rd_str("https://ca.example/.well-known/est/simpleenroll")));
        assert_non_null(memmem(t.client_key.p, t.client_key.n, "BEGIN PRIVATE KEY", 17));
        assert_ok(bm_unbase64(t.body, &csr, &err));
        p = csr.p;
        x = d2i_X509_REQ(NULL, &p, (long)csr.n);
        assert_non_null(x);
        made.evp = X509_REQ_get_pubkey(x);
        party_certify(&made, "device", &root, false, 86400);
        assert_ok(bm_cms_certs(&(struct bm_rd){ made.cert.p, made.cert.n }, 1, &cms, &err));
        bm_base64(&text, bm_buf_rd(&cms), 64);
        a.body = body != NULL ? bm_rd_str(body) : bm_buf_rd(&text);
        bm_task_answer_write(&report, &a);
        r.reports[0] = (struct bm_errand_report){ g.work[i].id, g.work[i].token, bm_buf_rd(&report) };
        assert_ok(say(&r, &none, &after));
        none.n = 0;
        EVP_PKEY_free(made.evp);
        bm_buf_done(&made.cert);
        X509_REQ_free(x);
    }
    return g.n;
}

static const char *enrol_code(struct dev *d)
{
    static char code[32];
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX }, out = { .max = 1 << 20 };
    struct bm_enrol c = { .protocol = "est", .peer = "192.0.2.7", .n_requests = 1 };
    enum bm_rc rc;

    c.evidence.kind = BM_EVIDENCE_TLS;
    c.evidence.cert = bm_buf_rd(&d->id.cert);
    c.requests[0].csr = bm_buf_rd(&d->csr);
    next_correlation(&w, &c);
    prove(&w, &c);
    bm_enrol_write(&payload, &c);
    err = (struct bm_error){ 0 };
    rc = command(&w, BM_CMD_ENROL, bm_buf_rd(&payload), &out);
    snprintf(code, sizeof code, "%s", rc == BM_OK ? "" : bm_error_code(&err));
    return code;
}

/* --- rows ------------------------------------------------------------------------------------------------------------------------ */
static void asked_once_and_given(void **state)
{
    (void)state;
    assert_string_equal(enrol_code(&devices[0]), "upstream-pending");
    assert_string_equal(enrol_code(&devices[0]), "upstream-pending");
    assert_int_equal(answer_all(200, NULL), 1);
    assert_string_equal(enrol_code(&devices[0]), "");
    assert_int_equal(answer_all(200, NULL), 0);
    /* the same request again is a renewal: it is asked for anew, and the old certificate is not given twice */
    assert_string_equal(enrol_code(&devices[0]), "upstream-pending");
    assert_int_equal(answer_all(200, NULL), 1);
}

static const struct {
    unsigned status;
    const char *body, *code;
} answers[] = {
    { 403, "no", "upstream-refused" }, { 400, "", "upstream-refused" },  { 204, "", "upstream-refused" },
    { 302, "", "upstream-refused" },   { 200, "%", "upstream-refused" }, { 200, "MAA=", "upstream-refused" },
    { 202, "", "upstream-pending" },   { 503, "x", "upstream-pending" }, { 429, "x", "upstream-pending" },
};

static void each_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(answers); i++) {
        struct dev d = devices[1];

        party_keys(&d.op, "P-256"); /* another key, another request */
        d.csr = (struct bm_buf){ .max = BM_CSR_MAX };
        assert_ok(bm_csr_make(d.op.key, "CN=device", &d.csr, &err));
        assert_string_equal(enrol_code(&d), "upstream-pending");
        assert_true(answer_all(answers[i].status, answers[i].body) >= 1);
        if (strcmp(enrol_code(&d), answers[i].code) != 0)
            fail_msg("%u '%s': %s, %s", answers[i].status, answers[i].body, err.code, err.what);
        party_done(&d.op);
        bm_buf_done(&d.csr);
    }
}

/* Devices that wait count against the quota, so that the upstream CA certifies no more of them than there may be. */
static void quota(void **state)
{
    (void)state;
    assert_ok(admin_do(&w, "{\"op\":\"batch.set\",\"name\":\"lot\",\"quota\":3}", bm_rd_of(NULL, 0), NULL));
    assert_string_equal(enrol_code(&devices[2]), "upstream-pending"); /* devices[0] is active, devices[1] waits */
    assert_string_equal(enrol_code(&devices[3]), "quota-exceeded");
    assert_ok(admin_do(&w, "{\"op\":\"batch.set\",\"name\":\"lot\",\"quota\":100}", bm_rd_of(NULL, 0), NULL));
    assert_string_equal(enrol_code(&devices[3]), "upstream-pending");
    assert_true(answer_all(200, NULL) >= 2);
    assert_string_equal(enrol_code(&devices[3]), "upstream-refused"); /* the test gives every certificate the same serial number */
    assert_non_null(strstr(err.what, "serial number that another certificate has"));
}

/* A key-encryption key is taken away only when nothing is sealed under it any more. */
static void key_rotation(void **state)
{
    BM_CLEANUP(bm_upstream_done) struct bm_upstream u = { 0 };
    BM_CLEANUP(bm_upstream_secret_done) struct bm_upstream_secret s = { 0 };
    struct bm_ca ca = { 0 };
    int64_t fresh = 0, moved = 0;
    bool more = true;

    (void)state;
    assert_ok(bm_keeper_begin(w.k, &err));
    assert_ok(bm_kek_rotate(w.k, bm_clock_s(), &fresh, &err));
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
    while (more) {
        assert_ok(bm_keeper_begin(w.k, &err));
        assert_ok(bm_kek_step(w.k, bm_clock_s(), &moved, &more, &err));
        assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
    }
    assert_ok(bm_ca_get(w.k->store, "above", &ca, &err));
    assert_ok(bm_upstream_get(w.k->store, ca.id, &u, &err));
    assert_int_equal(u.kek_id, fresh);
    assert_ok(bm_upstream_open(w.k, &u, &s, &err));
    assert_true(bm_rd_eq(bm_buf_rd(&s.login), bm_rd_str("ra:geheim")));
    u.ca_id++; /* sealed for this CA and no other */
    bm_upstream_secret_done(&s);
    s = (struct bm_upstream_secret){ 0 };
    assert_rc(bm_upstream_open(w.k, &u, &s, &err), BM_DENIED);
    bm_ca_done(&ca);
}

/* What the errand says is kept, but what it was about may be gone: then it ends, and nobody else is hurt. */
static void ours_it_is_not(void **state)
{
    struct bm_issuer *i;
    struct bm_ca ca = { 0 };

    (void)state;
    assert_ok(bm_ca_get(w.k->store, "above", &ca, &err));
    assert_ok(bm_issuer_get(w.k, ca.id, &i, &err));
    assert_rc(bm_issuer_key(w.k, i, &err), BM_DENIED);
    assert_string_equal(err.code, "ca-upstream");
    bm_ca_done(&ca);
}

static int begin(void **state)
{
    (void)state;
    world_open(&w);
    party_keys(&root, "P-256");
    party_certify(&root, "Upstream Root", NULL, true, 864000);
    party_keys(&ra, "P-256");
    party_certify(&ra, "our RA", &root, false, 86400);
    add_upstream("above");
    admin_ok(&w, "{\"op\":\"batch.set\",\"name\":\"lot\",\"ca\":\"above\"}");
    for (size_t i = 0; i < BM_COUNT(devices); i++) {
        dev_make(&devices[i]);
        register_device(&w, "lot", &devices[i]);
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(devices); i++)
        dev_done(&devices[i]);
    party_done(&root);
    party_done(&ra);
    world_close(&w);
    return 0;
}

static void options(void **state)
{
    static const struct {
        const char *options, *name, *value;
    } rows[] = {
        { "", "a", "" },         { "a=b", "a", "b" },   { "a=b,c=d", "c", "d" }, { "aa=b,a=c", "a", "c" },
        { "a=b=c", "a", "b=c" }, { "a=,c=d", "a", "" }, { "a=b", "b", "" },      { "a=0123456789", "a", "01234567" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_upstream u = { 0 };
        char got[9];

        snprintf(u.options, sizeof u.options, "%s", rows[i].options);
        bm_upstream_option(&u, rows[i].name, got, sizeof got);
        assert_string_equal(got, rows[i].value);
    }
}

/* RFC 9110 section 10.2.3: seconds or a date; whatever else it is, the back-off decides. */
static void retry_after(void **state)
{
    static const struct {
        const char *text;
        uint32_t s;
    } rows[] = {
        { "", 0 },
        { "120", 120 },
        { "99999999999999999999", BM_ERRAND_WAIT_MAX_S },
        { "-5", 0 },
        { "12x", 0 },
        { "Sun, 06 Nov 1994 08:49:37 GMT", 90 },
        { "Sun, 06 Nov 1994 08:48:07 GMT", 0 },
        { "Sun, 06 Nov 1994 08:49:37 CET", 0 },
        { "Sun, 06 Nov 2094 08:49:37 GMT", 0 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_task_answer a = { .retry_after = bm_rd_str(rows[i].text) };

        assert_int_equal(bm_upstream_retry_after(&a, 784111687), rows[i].s); /* 08:48:07 */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asked_once_and_given), cmocka_unit_test(each_answer),    cmocka_unit_test(quota),
        cmocka_unit_test(key_rotation),         cmocka_unit_test(ours_it_is_not), cmocka_unit_test(options),
        cmocka_unit_test(retry_after),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
