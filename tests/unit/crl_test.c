#include "pki_help.h"

#include "pki/crl.h"

#include <openssl/x509v3.h>

/* A CA and what signs for it. */
struct ca {
    struct bm_key *key;
    struct made cert;
};

static void ca_open(struct ca *c, const char *type, const char *option)
{
    c->key = key_new(type, option);
    issue(&c->cert, "root-ca", c->key, NULL, c->key);
}

static void ca_done(struct ca *c)
{
    made_done(&c->cert);
    bm_key_free(c->key);
}

static struct bm_crl_head head_of(const struct ca *c, uint64_t number, uint64_t base)
{
    return (struct bm_crl_head){
        .key = c->key, .issuer = &c->cert.cert, .number = number, .base = base, .this_update = NOW, .next_update = NOW + 86400
    };
}

static X509_CRL *library_crl(const struct bm_buf *der)
{
    uint8_t *b = exact(bm_buf_rd(der));
    const uint8_t *p = b;
    X509_CRL *crl = d2i_X509_CRL(NULL, &p, (long)der->n);
    uint8_t *again = NULL;

    assert_non_null(crl);
    assert_ptr_equal(p, b + der->n);
    assert_int_equal(i2d_X509_CRL(crl, &again), der->n);
    assert_memory_equal(again, der->p, der->n);
    OPENSSL_free(again);
    free(b);
    return crl;
}

static void serial_of(uint32_t i, uint8_t ret[16])
{
    memset(ret, 0x41, 16);
    for (int b = 0; b < 4; b++)
        ret[12 + b] = (uint8_t)(i >> (24 - 8 * b));
}

static const int reasons[] = { 0, 1, 2, 3, 4, 5, 9, 10 };

/* What the library reads is what was put in, whatever the CA's key. */
static void read_by_the_library(void **state)
{
    static const struct {
        const char *type, *option;
        size_t n;
        uint64_t number, base;
    } cases[] = {
        { "EC", "P-256", 0, 1, 0 },     { "EC", "P-256", 8, 2, 0 },   { "EC", "P-384", 1, 127, 1 },
        { "ED25519", "", 3, 128, 127 }, { "RSA", "2048", 2, 300, 0 }, { "EC", "P-256", 3000, INT64_MAX, 5 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(cases); i++) {
        BM_CLEANUP(bm_crl_done) struct bm_crl_writer w = { 0 };
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CRL_MAX };
        struct ca ca;
        struct bm_crl_head h;
        EVP_PKEY *pub;
        X509 *cert;
        X509_CRL *crl;
        ASN1_INTEGER *number;
        int critical = -2;

        ca_open(&ca, cases[i].type, cases[i].option);
        h = head_of(&ca, cases[i].number, cases[i].base);
        for (size_t n = 0; n < cases[i].n; n++) {
            uint8_t serial[16];

            serial_of((uint32_t)n, serial);
            assert_ok(bm_crl_add(&w, bm_rd_of(serial, 16), NOW - (int64_t)n, reasons[n % BM_COUNT(reasons)], &err));
        }
        assert_ok(bm_crl_sign(&w, &h, &der, &err));
        crl = library_crl(&der);
        cert = openssl_x509(bm_buf_rd(&ca.cert.der));
        pub = X509_get_pubkey(cert);
        assert_int_equal(X509_CRL_verify(crl, pub), 1);
        assert_int_equal(X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(cert)), 0);
        assert_int_equal(X509_CRL_get_version(crl), 1);
        assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)), cases[i].n == 0 ? -1 : (int)cases[i].n);
        number = X509_CRL_get_ext_d2i(crl, NID_crl_number, &critical, NULL);
        assert_int_equal(critical, 0);
        assert_int_equal(ASN1_INTEGER_get(number), cases[i].number);
        ASN1_INTEGER_free(number);
        number = X509_CRL_get_ext_d2i(crl, NID_delta_crl, &critical, NULL);
        assert_int_equal(number != NULL, cases[i].base != 0);
        assert_int_equal(critical, cases[i].base != 0 ? 1 : -1);
        ASN1_INTEGER_free(number);
        assert_true(X509_CRL_get_ext_by_NID(crl, NID_authority_key_identifier, -1) >= 0);
        for (size_t n = 0; n < cases[i].n; n++) {
            X509_REVOKED *r = sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), (int)n);
            ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(r, NID_crl_reason, NULL, NULL);

            assert_int_equal(reason != NULL ? ASN1_ENUMERATED_get(reason) : 0, reasons[n % BM_COUNT(reasons)]);
            assert_int_equal(reason != NULL, reasons[n % BM_COUNT(reasons)] != 0); /* unspecified is left out */
            ASN1_ENUMERATED_free(reason);
        }
        EVP_PKEY_free(pub);
        X509_free(cert);
        X509_CRL_free(crl);
        ca_done(&ca);
    }
}

/* RFC 5280 sections 5.2.5 and 5.2.6: a part says critically which it is, complete or delta; where its delta is, the complete one says. */
static void parts_say_which_they_are(void **state)
{
    (void)state;
    for (uint64_t base = 0; base < 2; base++) {
        BM_CLEANUP(bm_crl_done) struct bm_crl_writer w = { 0 };
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CRL_MAX };
        ISSUING_DIST_POINT *point;
        CRL_DIST_POINTS *fresh;
        struct bm_crl_head h;
        const GENERAL_NAME *name;
        int critical = -2;
        X509_CRL *crl;
        struct ca ca;

        ca_open(&ca, "EC", "P-256");
        h = head_of(&ca, 2, base);
        h.point = bm_rd_str("http://pki.example/crl/a.p1.crl");
        h.fresh = bm_rd_str("http://pki.example/crl/a.p1-delta.crl");
        assert_ok(bm_crl_sign(&w, &h, &der, &err));
        crl = library_crl(&der);
        point = X509_CRL_get_ext_d2i(crl, NID_issuing_distribution_point, &critical, NULL);
        assert_true(point != NULL && critical == 1 && point->onlyuser <= 0 && point->onlyCA <= 0 && point->indirectCRL <= 0);
        name = sk_GENERAL_NAME_value(point->distpoint->name.fullname, 0);
        assert_int_equal(name->type, GEN_URI);
        assert_memory_equal(ASN1_STRING_get0_data(name->d.uniformResourceIdentifier), h.point.p, h.point.n);
        fresh = X509_CRL_get_ext_d2i(crl, NID_freshest_crl, &critical, NULL);
        assert_true((fresh != NULL) == (base == 0) && critical == (base == 0 ? 0 : -1));
        ISSUING_DIST_POINT_free(point);
        CRL_DIST_POINTS_free(fresh);
        X509_CRL_free(crl);
        ca_done(&ca);
    }
}

static void entries_refused(void **state)
{
    static const uint8_t serial[21] = { 1 };
    static const struct {
        size_t n;
        int reason;
        int64_t at;
    } cases[] = { { 0, 0, NOW }, { 21, 0, NOW }, { 16, -1, NOW }, { 16, 11, NOW }, { 16, 0, -631152001 } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(cases); i++) {
        BM_CLEANUP(bm_crl_done) struct bm_crl_writer w = { 0 };

        assert_int_equal(bm_crl_add(&w, bm_rd_of(serial, cases[i].n), cases[i].at, cases[i].reason, &err), BM_BUG);
        assert_int_equal(w.n, 0);
    }
}

/* A list that grew over its limit is refused, not cut. */
static void too_large_refused(void **state)
{
    BM_CLEANUP(bm_crl_done) struct bm_crl_writer w = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CRL_MAX };
    struct ca ca;
    struct bm_crl_head h;
    uint8_t serial[16];
    enum bm_rc rc = BM_OK;

    (void)state;
    ca_open(&ca, "EC", "P-256");
    h = head_of(&ca, 1, 0);
    for (uint32_t i = 0; rc == BM_OK && i < BM_CRL_MAX; i++) {
        serial_of(i, serial);
        rc = bm_crl_add(&w, bm_rd_of(serial, 16), NOW, 1, &err);
    }
    assert_int_equal(rc, BM_LIMIT);
    assert_string_equal(err.code, "crl-too-large");
    assert_true(w.n > 100000);
    assert_int_equal(bm_crl_sign(&w, &h, &der, &err), BM_BUG);
    assert_int_equal(der.n, 0);
    ca_done(&ca);
}

static void signers_refused(void **state)
{
    BM_CLEANUP(bm_crl_done) struct bm_crl_writer w = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CRL_MAX };
    struct bm_key *leaf = key_new("EC", "P-256");
    struct made leaf_cert;
    struct bm_crl_head h;
    struct ca ca;

    (void)state;
    ca_open(&ca, "EC", "P-256");
    issue(&leaf_cert, "ldevid", ca.key, &ca.cert, leaf);
    h = head_of(&ca, 1, 0);
    h.key = leaf;
    assert_int_equal(bm_crl_sign(&w, &h, &der, &err), BM_USAGE);
    h.issuer = &leaf_cert.cert;
    assert_int_equal(bm_crl_sign(&w, &h, &der, &err), BM_DENIED);
    assert_string_equal(err.code, "bad-issuer");
    ca.cert.cert.key_usage = BM_KU_CERT_SIGN; /* may sign certificates, and nothing else */
    h = head_of(&ca, 1, 0);
    assert_int_equal(bm_crl_sign(&w, &h, &der, &err), BM_DENIED);
    made_done(&leaf_cert);
    bm_key_free(leaf);
    ca_done(&ca);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_by_the_library), cmocka_unit_test(parts_say_which_they_are), cmocka_unit_test(entries_refused),
        cmocka_unit_test(too_large_refused),   cmocka_unit_test(signers_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
