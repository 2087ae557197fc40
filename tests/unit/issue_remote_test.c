/* Certificates of a CA whose key answers later: the same as if the key were here, and nothing unless the signature is the key's. */
#include "pki_help.h"

static const struct kind {
    const char *type, *option;
    size_t raw; /* bytes of r and of s; 0: RSA */
} kinds[] = { { "EC", "P-256", 32 }, { "EC", "P-384", 48 }, { "RSA", "2048", 0 } };

struct scene {
    struct bm_key *root_key, *ca_key, *device;
    struct made root, ca;
    struct bm_profile *profile;
    struct bm_buf tbs;
};

static struct bm_issue order(const struct scene *s)
{
    return (struct bm_issue){ .profile = s->profile,
                              .issuer_cert = &s->ca.cert,
                              .spki = bm_key_spki(s->device),
                              .words = &words_all,
                              .serial = { 0x81, 2, 3 },
                              .now = NOW,
                              .not_after_max = INT64_MAX };
}

static void scene_make(struct scene *s, const struct kind *k)
{
    struct bm_issue i;

    *s = (struct scene){ .tbs.max = BM_CERT_MAX };
    s->root_key = key_new("EC", "P-256");
    s->ca_key = key_new(k->type, k->option);
    s->device = key_new("EC", "P-256");
    s->profile = builtin("ldevid");
    issue(&s->root, "root-ca", s->root_key, NULL, s->root_key);
    issue(&s->ca, "intermediate-ca", s->root_key, &s->root, s->ca_key);
    i = order(s);
    assert_ok(bm_cert_body(&i, &s->tbs, &err));
}

static void scene_done(struct scene *s)
{
    bm_key_free(s->root_key);
    bm_key_free(s->ca_key);
    bm_key_free(s->device);
    bm_profile_free(s->profile);
    made_done(&s->root);
    made_done(&s->ca);
    bm_buf_done(&s->tbs);
}

static enum bm_rc complete(const struct scene *s, struct bm_rd tbs, struct bm_rd sig, enum bm_signature_form form,
                           struct bm_buf *ret)
{
    ret->n = 0;
    err = (struct bm_error){ 0 };
    return bm_cert_complete(s->ca.cert.spki, tbs, sig, form, ret, &err);
}

/* But for the signature it is the certificate that the key itself would have made, and it is good under the CA. */
static void like_one_of_ours(void **state)
{
    (void)state;
    for (size_t n = 0; n < BM_COUNT(kinds); n++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf ours = { .max = BM_CERT_MAX }, got = { .max = BM_CERT_MAX };
        BM_CLEANUP(scene_done) struct scene s;
        uint8_t sig[BM_SIGNATURE_MAX], raw[BM_SIGNATURE_MAX], digest[BM_BODY_DIGEST_MAX];
        size_t sig_len = sizeof sig, raw_len = sizeof raw, digest_len = 0;
        struct bm_issue i;
        struct bm_cert c;

        scene_make(&s, &kinds[n]);
        i = order(&s);
        i.issuer_key = s.ca_key;
        assert_ok(bm_cert_issue(&i, &ours, NULL, NULL, &err));
        assert_ok(bm_cert_parse(bm_buf_rd(&ours), &c, &err));
        assert_true(bm_rd_eq(c.tbs, bm_buf_rd(&s.tbs)));
        assert_ok(bm_cert_body_digest(s.ca.cert.spki, bm_buf_rd(&s.tbs), digest, &digest_len, &err));
        assert_int_equal(digest_len, kinds[n].raw != 0 ? kinds[n].raw : 32);
        assert_ok(bm_key_sign(s.ca_key, bm_buf_rd(&s.tbs), sig, &sig_len, &err));
        assert_ok(bm_key_sign_raw(s.ca_key, bm_buf_rd(&s.tbs), raw, &raw_len, &err));
        assert_ok(complete(&s, bm_buf_rd(&s.tbs), bm_rd_of(sig, sig_len), BM_SIGNATURE_DER, &got));
        assert_ok(bm_cert_parse(bm_buf_rd(&got), &c, &err));
        assert_ok(bm_cert_check_link(&c, &s.ca.cert, NOW, &err));
        assert_ok(complete(&s, bm_buf_rd(&s.tbs), bm_rd_of(raw, raw_len), BM_SIGNATURE_RAW, &got));
        assert_ok(bm_cert_parse(bm_buf_rd(&got), &c, &err));
        assert_ok(bm_cert_check_link(&c, &s.ca.cert, NOW, &err));
    }
}

static void refused(const struct scene *s, struct bm_rd tbs, struct bm_rd sig, enum bm_signature_form form, enum bm_rc want)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf got = { .max = BM_CERT_MAX };

    assert_int_equal(complete(s, tbs, sig, form, &got), want);
    if (want == BM_DENIED)
        assert_string_equal(err.code, "bad-signature");
    assert_int_equal(got.n, 0);
}

static void every_prefix_refused(const struct scene *s, struct bm_rd sig, enum bm_signature_form form)
{
    for (size_t n = 1; n<sig.n; n += sig.n> 120 ? 37 : 1) {
        uint8_t *cut = exact(bm_rd_of(sig.p, n));

        refused(s, bm_buf_rd(&s->tbs), bm_rd_of(cut, n), form, BM_DENIED);
        free(cut);
    }
}

static void no_signature_of_the_ca(void **state)
{
    (void)state;
    for (size_t n = 0; n < BM_COUNT(kinds); n++) {
        BM_CLEANUP(scene_done) struct scene s;
        static const uint8_t zeros[BM_SIGNATURE_MAX + 1];
        struct bm_key *other = key_new(kinds[n].type, kinds[n].option);
        uint8_t good[BM_SIGNATURE_MAX], raw[BM_SIGNATURE_MAX], wrong[BM_SIGNATURE_MAX];
        size_t good_len = sizeof good, raw_len = sizeof raw, wrong_len = sizeof wrong;
        struct bm_rd tbs, cut;

        scene_make(&s, &kinds[n]);
        tbs = bm_buf_rd(&s.tbs);
        cut = bm_rd_of(tbs.p, tbs.n - 1);
        assert_ok(bm_key_sign(s.ca_key, tbs, good, &good_len, &err));
        assert_ok(bm_key_sign_raw(s.ca_key, tbs, raw, &raw_len, &err));
        assert_ok(bm_key_sign(other, tbs, wrong, &wrong_len, &err));
        refused(&s, tbs, bm_rd_of(wrong, wrong_len), BM_SIGNATURE_DER, BM_DENIED);
        refused(&s, cut, bm_rd_of(good, good_len), BM_SIGNATURE_DER, BM_DENIED);
        refused(&s, tbs, bm_rd_of(zeros, raw_len), BM_SIGNATURE_RAW, BM_DENIED);
        refused(&s, tbs, bm_rd_of(zeros, 0), BM_SIGNATURE_DER, BM_LIMIT);
        refused(&s, tbs, bm_rd_of(zeros, sizeof zeros), BM_SIGNATURE_DER, BM_LIMIT);
        if (kinds[n].raw != 0) { /* one form is not the other */
            refused(&s, tbs, bm_rd_of(good, good_len), BM_SIGNATURE_RAW, BM_DENIED);
            refused(&s, tbs, bm_rd_of(raw, raw_len), BM_SIGNATURE_DER, BM_DENIED);
        }
        every_prefix_refused(&s, bm_rd_of(good, good_len), BM_SIGNATURE_DER);
        every_prefix_refused(&s, bm_rd_of(raw, raw_len), BM_SIGNATURE_RAW);
        bm_key_free(other);
    }
}

/* The profile's own rules hold, and a CA key that no such service has is told before anybody is asked. */
static void bodies_refused(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = BM_CERT_MAX };
    BM_CLEANUP(scene_done) struct scene s;
    struct bm_key *edwards = key_new("ED25519", NULL);
    struct made ca;
    uint8_t digest[BM_BODY_DIGEST_MAX];
    size_t n;
    struct bm_issue i;

    (void)state;
    scene_make(&s, &kinds[0]);
    i = order(&s);
    i.now = s.ca.cert.not_after + 1;
    assert_int_equal(bm_cert_body(&i, &out, &err), BM_DENIED);
    assert_string_equal(err.code, "issuer-expired");
    i = order(&s);
    i.spki = bm_rd_str("no key");
    assert_int_equal(bm_cert_body(&i, &out, &err), BM_MALFORMED);
    issue(&ca, "intermediate-ca", s.root_key, &s.root, edwards);
    i = order(&s);
    i.issuer_cert = &ca.cert;
    assert_int_equal(bm_cert_body(&i, &out, &err), BM_USAGE);
    assert_int_equal(bm_cert_body_digest(ca.cert.spki, bm_buf_rd(&s.tbs), digest, &n, &err), BM_USAGE);
    assert_int_equal(bm_cert_body_digest(bm_rd_str("x"), bm_buf_rd(&s.tbs), digest, &n, &err), BM_MALFORMED);
    assert_int_equal(out.n, 0);
    made_done(&ca);
    bm_key_free(edwards);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_one_of_ours),
        cmocka_unit_test(no_signature_of_the_ca),
        cmocka_unit_test(bodies_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
