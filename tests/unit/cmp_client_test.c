/* pki/cmp_client.h, and the state of a CMP transaction with an upstream CA. Breaks when a hostile answer is half read, or what we write ourselves is not
 * what the server's half reads. */
#include "pki_help.h"

#include "keeper/upstream_cmp.h"
#include "pki/cmp_client.h"

struct row {
    const char *name, *hex;
    enum bm_rc want;
};
static const struct row replies[] = {
    { "granted", "3015301330110201ff30030201003007a0053003040163", BM_OK },
    { "with caPubs and rspInfo", "3021a10730053003040163301630140201ff30030201003007a0053003040163040169", BM_OK },
    { "with a private key and publicationInfo", "301d301b30190201ff3003020100300fa0053003040163a0023000a1023000", BM_OK },
    { "encrypted only", "30123010300e0201ff30030201003004a1023000", BM_OK },
    { "two", "301f301d30110201ff30030201003007a005300304016330080201003003020100", BM_OK },
    { "rejected, with words and bits", "3016301430120201ff300d02010230040c026e6f03020520", BM_OK },
    { "waiting", "300c300a30080201ff3003020103", BM_OK },
    { "empty", "", BM_MALFORMED },
    { "no response", "30023000", BM_MALFORMED },
    { "response missing", "3000", BM_MALFORMED },
    { "left over", "3015301330110201ff30030201003007a005300304016300", BM_MALFORMED },
    { "left over inside", "3017301330110201ff30030201003007a00530030401630500", BM_MALFORMED },
    { "no status", "3007300530030201ff", BM_MALFORMED },
    { "status empty", "3009300730050201ff3000", BM_MALFORMED },
    { "status negative", "300c300a30080201ff30030201ff", BM_MALFORMED },
    { "words that are no strings", "30123010300e0201ff3009020102300404026e6f", BM_MALFORMED },
    { "words that are none", "300e300c300a0201ff30050201023000", BM_MALFORMED },
    { "second word no string", "3014301230100201ff300b02010230060c0161040162", BM_MALFORMED },
    { "bits without a count", "300e300c300a0201ff30050201020300", BM_MALFORMED },
    { "bits with a count of 8", "3010300e300c0201ff3007020102030208ff", BM_MALFORMED },
    { "unused bits of nothing", "300f300d300b0201ff3006020102030105", BM_MALFORMED },
    { "status with more", "3018301630140201ff300f02010230040c026e6f030205200500", BM_MALFORMED },
    { "key pair empty", "300e300c300a0201ff30030201003000", BM_MALFORMED },
    { "two certificates in one", "301a301830160201ff3003020100300ca00a30030401633003040163", BM_MALFORMED },
    { "more after rspInfo", "301a301830160201ff30030201003007a00530030401630401690500", BM_MALFORMED },
    { "certReqId of five bytes", "3010300e300c020501000000003003020100", BM_MALFORMED },
};
static const struct row polls[] = {
    { "poll", "300830060201ff02011e", BM_OK },
    { "poll, and why", "3010300e0201ff02011e30060c04736f6f6e", BM_OK },
    { "two", "301030060201000201013006020101020101", BM_OK },
    { "none", "3000", BM_MALFORMED },
    { "negative wait", "300830060201ff0201fb", BM_MALFORMED },
    { "no wait", "300530030201ff", BM_MALFORMED },
    { "left over", "300a30080201ff02011e0500", BM_MALFORMED },
    { "no list", "020105", BM_MALFORMED },
};
static const struct row errors[] = {
    { "error", "300f300d02010230040c026e6f03020520", BM_OK },
    { "with code and details", "3013300302010202010730090c0764657461696c73", BM_OK },
    { "27 bits", "300c300a020102030501ffffffff", BM_OK },
    { "no status", "3000", BM_MALFORMED },
    { "details that are none", "300730030201023000", BM_MALFORMED },
    { "left over", "300730030201020500", BM_MALFORMED },
    { "order", "300d300302010230030c0164020107", BM_MALFORMED },
};

static const struct row revocations[] = {
    { "revoked", "300730053003020100", BM_OK },
    { "rejected, with words and bits", "3011300f300d02010230040c026e6f03020520", BM_OK },
    { "with revCerts and crls", "300b30053003020100a000a100", BM_OK },
    { "with crls", "300930053003020100a100", BM_OK },
    { "two", "300c300a30030201003003020100", BM_OK },
    { "nothing", "", BM_MALFORMED },
    { "no list", "3000", BM_MALFORMED },
    { "no status", "30023000", BM_MALFORMED },
    { "status empty", "300430023000", BM_MALFORMED },
    { "status that is none", "30053003020100", BM_MALFORMED },
    { "order", "300b30053003020100a100a000", BM_MALFORMED },
    { "left over", "3009300530030201000500", BM_MALFORMED },
    { "left over behind", "3007300530030201000500", BM_MALFORMED },
};

typedef enum bm_rc parse_fn(struct bm_rd in);

static enum bm_rc parse_reply(struct bm_rd in)
{
    struct bm_cmp_cert_rep c;

    return bm_cmp_cert_rep_parse(in, &c, &err);
}

static enum bm_rc parse_poll(struct bm_rd in)
{
    struct bm_cmp_poll_rep p;

    return bm_cmp_poll_rep_parse(in, &p, &err);
}

static enum bm_rc parse_error(struct bm_rd in)
{
    struct bm_cmp_error c;

    return bm_cmp_error_parse(in, &c, &err);
}

static enum bm_rc parse_revocation(struct bm_rd in)
{
    struct bm_cmp_rev_rep r;

    return bm_cmp_rev_rep_parse(in, &r, &err);
}

static void run(const struct row *rows, size_t n, parse_fn *parse)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t room[1024];
        struct bm_rd in = hex(rows[i].hex, room, sizeof room);

        for (size_t len = rows[i].want == BM_OK ? 0 : in.n; len <= in.n; len++) { /* of a good one every proper prefix too */
            uint8_t *copy = exact(bm_rd_of(in.p, len));
            enum bm_rc rc = parse(bm_rd_of(copy, len)), want = len < in.n ? BM_MALFORMED : rows[i].want;

            if (rc != want)
                fail_msg("%s, %zu of %zu bytes: %s (%s)", rows[i].name, len, in.n, bm_rc_name(rc), err.what);
            free(copy);
        }
    }
}

static void reply_rows(void **state)
{
    (void)state;
    run(replies, BM_COUNT(replies), parse_reply);
}

static void poll_rows(void **state)
{
    (void)state;
    run(polls, BM_COUNT(polls), parse_poll);
}

static void error_rows(void **state)
{
    (void)state;
    run(errors, BM_COUNT(errors), parse_error);
}

static void revocation_rows(void **state)
{
    (void)state;
    run(revocations, BM_COUNT(revocations), parse_revocation);
}

/* The server's half reads what we ask, and it is about that certificate. */
static void a_revocation_names_its_certificate(void **state)
{
    static const struct bm_rd issuer = BM_LIT("\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x0c\x04root"),
                              serial = BM_LIT("\x00\xff\x01");
    const struct bm_cert cert = { .issuer = issuer, .serial = serial };

    (void)state;
    for (int reason = 0; reason < 10; reason++) {
        uint8_t room[256];
        struct bm_derw to = bm_derw_of(room, sizeof room);
        struct bm_cmp_revocation r;
        struct bm_rd content;

        if (reason == 7) /* there is none */
            continue;
        bm_cmp_put_rr(&to, &cert, reason);
        assert_true(bm_der_only(bm_derw_rd(&to), BM_DER_CTX_CONS(BM_CMP_RR), &content));
        assert_ok(bm_cmp_revocation_parse(content, &r, &err));
        assert_true(r.n == 1 && r.reason == reason && bm_rd_eq(r.t.issuer, issuer) && bm_rd_eq(r.t.serial, serial));
    }
}

/* What they say, not only that they parse. */
static void values(void **state)
{
    uint8_t room[1024];
    struct bm_cmp_cert_rep c;
    struct bm_cmp_poll_rep p;

    (void)state;
    assert_ok(bm_cmp_cert_rep_parse(hex(replies[1].hex, room, sizeof room), &c, &err));
    assert_true(c.n == 1 && c.req_id == -1 && c.s.status == BM_CMP_ACCEPTED &&
                bm_rd_eq(c.cert, bm_rd_of("\x30\x03\x04\x01"
                                          "c",
                                          5)));
    assert_ok(bm_cmp_cert_rep_parse(hex(replies[3].hex, room, sizeof room), &c, &err));
    assert_int_equal(c.cert.n, 0); /* encrypted: none in clear */
    assert_ok(bm_cmp_cert_rep_parse(hex(replies[5].hex, room, sizeof room), &c, &err));
    assert_true(c.s.has_fail && c.s.fail == 1u << BM_CMP_BAD_REQUEST && bm_rd_eq(c.s.text, bm_rd_str("no")));
    assert_ok(bm_cmp_poll_rep_parse(hex(polls[1].hex, room, sizeof room), &p, &err));
    assert_true(p.check_after == 30 && bm_rd_eq(p.reason, bm_rd_str("soon")));
}

static void fail_texts(void **state)
{
    static const struct {
        uint32_t fail;
        const char *text;
    } rows[] = {
        { 0, "" },
        { 1u << BM_CMP_BAD_POP, "badPOP" },
        { 1u << BM_CMP_BAD_REQUEST | 1u << BM_CMP_SYSTEM_FAILURE, "badRequest, systemFailure" },
        { 1u << 26, "duplicateCertReq" },
        { 1u << 27, "" },
        { UINT32_MAX, "badAlg, badMessageCheck, badRequest, badTime, badCertId, badDataFormat, wrongAuthority" },
    };
    char text[BM_CMP_FAIL_TEXT_LEN];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        assert_string_equal(bm_cmp_fail_text(rows[i].fail, text), rows[i].text);
}

/* With an algorithm whose hash is known, and with one that has none of its own: there hashAlg says which. */
static void confirmation_is_of_that_certificate(void **state)
{
    static const struct {
        struct bm_rd alg;
        bool v3;
    } rows[] = { { BM_LIT("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"), false }, /* ECDSA with SHA-256 */
                 { BM_LIT("\x30\x05\x06\x03\x2b\x65\x70"), false },                     /* Ed25519 */
                 { BM_LIT("\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12"), true } /* ML-DSA-65 */ };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_cert cert = { .whole = bm_rd_str("a certificate"), .sig_alg = rows[i].alg };
        uint8_t room[256];
        struct bm_derw w = bm_derw_of(room, sizeof room);
        struct bm_cmp_confirm c;
        struct bm_rd body, content;
        bool v3;

        assert_ok(bm_cmp_put_confirm(&w, -1, &cert, &v3, &err));
        assert_int_equal(v3, rows[i].v3);
        body = bm_derw_rd(&w);
        assert_true(bm_der_only(body, BM_DER_CTX_CONS(BM_CMP_CERTCONF), &content));
        assert_ok(bm_cmp_confirm_parse(content, &c, &err));
        assert_true(c.n == 1 && c.req_id == -1 && c.status == BM_CMP_ACCEPTED && bm_cmp_hash_fits(&c, &cert));
        cert.whole = bm_rd_str("b certificate");
        assert_false(bm_cmp_hash_fits(&c, &cert));
    }
}

static void states(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 4096 };
    struct bm_upstream_cmp_state s = { .step = BM_UPSTREAM_CMP_POLL,
                                       .round = 1,
                                       .req_id = -1,
                                       .tid = bm_rd_str("tid"),
                                       .nonce = bm_rd_str("nonce"),
                                       .issuer = bm_rd_str("issuer"),
                                       .cert = bm_rd_str("cert") },
                                 got;

    (void)state;
    bm_upstream_cmp_write(&out, &s);
    assert_ok(bm_upstream_cmp_parse(bm_buf_rd(&out), &got, &err));
    assert_true(got.step == s.step && got.round == 1 && got.req_id == -1 && bm_rd_eq(got.tid, s.tid) &&
                bm_rd_eq(got.nonce, s.nonce) && bm_rd_eq(got.issuer, s.issuer) && bm_rd_eq(got.cert, s.cert) && got.signer.n == 0 &&
                got.their_nonce.n == 0);
    for (size_t len = 0; len < out.n; len++) {
        uint8_t *copy = exact(bm_rd_of(out.p, len));

        assert_int_equal(bm_upstream_cmp_parse(bm_rd_of(copy, len), &got, &err), BM_BUG);
        free(copy);
    }
    bm_buf_uint(&out, 1, 0);
    assert_int_equal(bm_upstream_cmp_parse(bm_buf_rd(&out), &got, &err), BM_BUG);
    out.p[0] = BM_UPSTREAM_CMP_REVOKE + 1;
    assert_int_equal(bm_upstream_cmp_parse(bm_rd_of(out.p, out.n - 1), &got, &err), BM_BUG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reply_rows), cmocka_unit_test(poll_rows),       cmocka_unit_test(error_rows),
        cmocka_unit_test(values),     cmocka_unit_test(fail_texts),      cmocka_unit_test(confirmation_is_of_that_certificate),
        cmocka_unit_test(states),     cmocka_unit_test(revocation_rows), cmocka_unit_test(a_revocation_names_its_certificate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
