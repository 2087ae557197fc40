#include "pki_help.h"

#include "pki/ocsp.h"
#include "protocol/revocation.h"

#include <openssl/ocsp.h>

/* The rows' bytes are DER written out; each differs from the first in what its name says. */
static const struct {
    const char *name, *hex;
    enum bm_rc want;
    size_t n, nonce;
} cases[] = {
    { "one, SHA-1",
      "30423040303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "000000000000000000000000000000020105",
      BM_OK, 1, 0 },
    { "one, SHA-256",
      "305c305a305830563054300b0609608648016503040201042000000000000000000000000000000000000000000000000000"
      "0000000000000004200000000000000000000000000000000000000000000000000000000000000000020105",
      BM_OK, 1, 0 },
    { "two",
      "308180307e307c303c303a300906052b0e03021a050004140000000000000000000000000000000000000000041400000000"
      "00000000000000000000000000000000020105303c303a300906052b0e03021a050004140000000000000000000000000000"
      "00000000000004140000000000000000000000000000000000000000020105",
      BM_OK, 2, 0 },
    { "nonce of two bytes",
      "30593057303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "000000000000000000000000000000020105a2153013301106092b060105050730010204040402aabb",
      BM_OK, 1, 2 },
    { "requestor's name",
      "30483046a10482026161303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004"
      "140000000000000000000000000000000000000000020105",
      BM_OK, 1, 0 },
    { "signature",
      "30463040303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "000000000000000000000000000000020105a0023000",
      BM_OK, 1, 0 },
    { "an extension we pass over",
      "30543052303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "000000000000000000000000000000020105a210300e300c06052b060105050403040100",
      BM_OK, 1, 0 },
    { "negative serial is a serial",
      "30423040303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "000000000000000000000000000000020185",
      BM_OK, 1, 0 },
    { "empty", "", BM_MALFORMED, 0, 0 },
    { "empty sequence", "3000", BM_MALFORMED, 0, 0 },
    { "no certificates", "300430023000", BM_MALFORMED, 0, 0 },
    { "version 1 spelled out",
      "30473045a003020100303e303c303a300906052b0e03021a0500041400000000000000000000000000000000000000000414"
      "0000000000000000000000000000000000000000020105",
      BM_MALFORMED, 0, 0 },
    { "version 2",
      "30473045a003020101303e303c303a300906052b0e03021a0500041400000000000000000000000000000000000000000414"
      "0000000000000000000000000000000000000000020105",
      BM_MALFORMED, 0, 0 },
    { "a byte left over",
      "30423040303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "00000000000000000000000000000002010500",
      BM_MALFORMED, 0, 0 },
    { "left over in the tbs",
      "30443042303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "0000000000000000000000000000000201050500",
      BM_MALFORMED, 0, 0 },
    { "left over after the signature",
      "30483040303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "000000000000000000000000000000020105a00230000500",
      BM_MALFORMED, 0, 0 },
    { "signature is no sequence",
      "30463040303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "000000000000000000000000000000020105a0020500",
      BM_MALFORMED, 0, 0 },
    { "left over in a CertID",
      "304430423040303e303c300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "0000000000000000000000000000000201050500",
      BM_MALFORMED, 0, 0 },
    { "serial not minimal",
      "30433041303f303d303b300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "00000000000000000000000000000002020005",
      BM_MALFORMED, 0, 0 },
    { "hash of another length",
      "304e304c304a30483046300906052b0e03021a05000420000000000000000000000000000000000000000000000000000000"
      "000000000004140000000000000000000000000000000000000000020105",
      BM_MALFORMED, 0, 0 },
    { "empty nonce",
      "30573055303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "000000000000000000000000000000020105a2133011300f06092b060105050730010204020400",
      BM_MALFORMED, 0, 0 },
    { "nonce bare",
      "30573055303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "000000000000000000000000000000020105a2133011300f06092b06010505073001020402aabb",
      BM_MALFORMED, 0, 0 },
    { "two nonces",
      "306c306a303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "000000000000000000000000000000020105a2283026301106092b060105050730010204040402aabb301106092b06010505"
      "0730010204040402aabb",
      BM_MALFORMED, 0, 0 },
    { "no extensions in the list",
      "30463044303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "000000000000000000000000000000020105a2023000",
      BM_MALFORMED, 0, 0 },
    { "critical and unknown",
      "30573055303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "000000000000000000000000000000020105a2133011300f06052b060105050101ff0403040100",
      BM_MALFORMED, 0, 0 },
    { "length longer than needed",
      "3081423040303e303c303a300906052b0e03021a050004140000000000000000000000000000000000000000041400000000"
      "00000000000000000000000000000000020105",
      BM_MALFORMED, 0, 0 },
    { "indefinite length",
      "30803040303e303c303a300906052b0e03021a05000414000000000000000000000000000000000000000004140000000000"
      "0000000000000000000000000000000201050000",
      BM_MALFORMED, 0, 0 },
};

static void prefixes_refused(struct bm_rd whole)
{
    struct bm_ocsp_request q;

    for (size_t n = 0; n < whole.n; n++) {
        uint8_t *cut = exact(bm_rd_of(whole.p, n));

        assert_int_equal(bm_ocsp_request_parse(bm_rd_of(cut, n), &q, &err), BM_MALFORMED);
        free(cut);
    }
}

static void rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(cases); i++) {
        uint8_t room[1024];
        struct bm_rd in = hex(cases[i].hex, room, sizeof room);
        uint8_t *copy = exact(in);
        struct bm_ocsp_request q = { 0 };
        enum bm_rc rc = bm_ocsp_request_parse(bm_rd_of(copy, in.n), &q, &err);

        if (rc != cases[i].want)
            fail_msg("%s: %s (%s)", cases[i].name, bm_rc_name(rc), err.what);
        assert_int_equal(q.n, cases[i].n);
        assert_int_equal(q.nonce.n, cases[i].nonce);
        if (rc == BM_OK)
            prefixes_refused(in);
        free(copy);
    }
}

/* --- against the library -------------------------------------------------------------------------------------------------------- */
static struct bm_rd library_request(const struct made *ca, const uint8_t *serial, size_t n, const EVP_MD *md, int nonce,
                                    uint8_t **ret)
{
    OCSP_REQUEST *q = OCSP_REQUEST_new();
    X509 *cert = openssl_x509(bm_buf_rd(&ca->der));
    int len;

    for (size_t i = 0; i < n; i++) {
        BIGNUM *bn = BN_bin2bn(serial, 16, NULL);
        ASN1_INTEGER *number;

        BN_add_word(bn, i);
        number = BN_to_ASN1_INTEGER(bn, NULL);
        assert_non_null(
            OCSP_request_add0_id(q, OCSP_cert_id_new(md, X509_get_subject_name(cert), X509_get0_pubkey_bitstr(cert), number)));
        ASN1_INTEGER_free(number);
        BN_free(bn);
    }
    if (nonce != 0)
        assert_int_equal(OCSP_request_add1_nonce(q, NULL, nonce), 1);
    *ret = NULL;
    len = i2d_OCSP_REQUEST(q, ret);
    assert_true(len > 0);
    OCSP_REQUEST_free(q);
    X509_free(cert);
    return bm_rd_of(*ret, (size_t)len);
}

struct authority {
    struct bm_key *ca_key, *key;
    struct made ca, responder;
    struct bm_ocsp_issuer issuer;
};

static void authority_open(struct authority *a, const char *type, const char *option)
{
    a->ca_key = key_new(type, option);
    a->key = key_new("EC", "P-256");
    issue(&a->ca, "root-ca", a->ca_key, NULL, a->ca_key);
    issue(&a->responder, "ocsp-signing", a->ca_key, &a->ca, a->key);
    assert_ok(bm_ocsp_issuer_of(&a->ca.cert, &a->issuer, &err));
}

static void authority_done(struct authority *a)
{
    made_done(&a->ca);
    made_done(&a->responder);
    bm_key_free(a->ca_key);
    bm_key_free(a->key);
}

/* The library checks our response: signature, delegation, nonce, each status. */
static void library_reads(const struct authority *a, const struct bm_buf *der, struct bm_rd request, size_t n, bool nonce)
{
    const uint8_t *p = der->p, *rp = request.p;
    OCSP_RESPONSE *r = d2i_OCSP_RESPONSE(NULL, &p, (long)der->n);
    OCSP_REQUEST *q = d2i_OCSP_REQUEST(NULL, &rp, (long)request.n);
    OCSP_BASICRESP *b = OCSP_response_get1_basic(r);
    X509_STORE *anchors = X509_STORE_new();
    X509 *ca = openssl_x509(bm_buf_rd(&a->ca.der));

    assert_non_null(b);
    assert_ptr_equal(p, der->p + der->n);
    assert_int_equal(OCSP_response_status(r), OCSP_RESPONSE_STATUS_SUCCESSFUL);
    X509_STORE_add_cert(anchors, ca);
    X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(anchors), NOW);
    assert_int_equal(OCSP_basic_verify(b, NULL, anchors, 0), 1);
    assert_int_equal(OCSP_check_nonce(q, b), nonce ? 1 : 2);
    assert_int_equal(OCSP_resp_count(b), n);
    for (size_t i = 0; i < n; i++) {
        int why = -1, status = OCSP_single_get0_status(OCSP_resp_get0(b, (int)i), &why, NULL, NULL, NULL);

        assert_int_equal(status, i % 3); /* good, revoked, unknown: the library numbers them alike */
        assert_int_equal(why, status == 1 && i > 3 ? 4 : -1);
    }
    OCSP_RESPONSE_free(r);
    OCSP_REQUEST_free(q);
    OCSP_BASICRESP_free(b);
    X509_STORE_free(anchors);
    X509_free(ca);
}

static void with_the_library(void **state)
{
    static const struct {
        const char *type, *option;
        bool sha256;
        size_t n;
        int nonce;
    } rows_[] = {
        { "EC", "P-256", false, 1, 0 }, { "EC", "P-256", true, 1, 16 },   { "EC", "P-384", true, 5, 32 },
        { "RSA", "2048", false, 3, 1 }, { "ED25519", "", true, 16, 128 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows_); i++) {
        static const uint8_t serial[16] = { 0x41, 2, 3 };
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_OCSP_RESPONSE_MAX };
        struct authority a;
        struct bm_ocsp_request q;
        struct bm_ocsp_response r = { .with_cert = true, .this_update = NOW, .next_update = NOW + 60 };
        uint8_t *owned;
        struct bm_rd in;

        authority_open(&a, rows_[i].type, rows_[i].option);
        in = library_request(&a.ca, serial, rows_[i].n, rows_[i].sha256 ? EVP_sha256() : EVP_sha1(), rows_[i].nonce, &owned);
        assert_ok(bm_ocsp_request_parse(in, &q, &err));
        assert_int_equal(q.n, rows_[i].n);
        assert_int_equal(q.nonce.n, rows_[i].nonce);
        prefixes_refused(in);
        r.key = a.key;
        r.cert = &a.responder.cert;
        r.nonce = q.nonce;
        r.n = q.n;
        for (size_t n = 0; n < q.n; n++) {
            assert_true(bm_ocsp_id_is(&q.ids[n], &a.issuer));
            r.answers[n] = (struct bm_ocsp_answer){ q.ids[n].whole, (enum bm_ocsp_status)(n % 3), NOW - 5, n > 3 ? 4 : 0 };
        }
        assert_ok(bm_ocsp_response_write(&r, &der, &err));
        library_reads(&a, &der, in, q.n, rows_[i].nonce != 0);
        a.issuer.key[q.ids[0].hash][0] ^= 1;
        assert_false(bm_ocsp_id_is(&q.ids[0], &a.issuer));
        OPENSSL_free(owned);
        authority_done(&a);
    }
}

static void sizes_refused(void **state)
{
    static const uint8_t serial[16] = { 0x41 };
    static uint8_t big[BM_OCSP_REQUEST_MAX + 1];
    struct authority a;
    struct bm_ocsp_request q;
    uint8_t *owned;

    (void)state;
    authority_open(&a, "EC", "P-256");
    assert_int_equal(bm_ocsp_request_parse(library_request(&a.ca, serial, BM_OCSP_IDS_MAX + 1, EVP_sha1(), 0, &owned), &q, &err),
                     BM_LIMIT);
    OPENSSL_free(owned);
    assert_int_equal(bm_ocsp_request_parse(library_request(&a.ca, serial, 1, EVP_sha1(), BM_OCSP_NONCE_MAX + 1, &owned), &q, &err),
                     BM_MALFORMED);
    OPENSSL_free(owned);
    assert_int_equal(bm_ocsp_request_parse(bm_rd_of(big, sizeof big), &q, &err), BM_LIMIT);
    assert_ok(bm_ocsp_request_parse(library_request(&a.ca, serial, 1, EVP_sha384(), 0, &owned), &q,
                                    &err)); /* well-formed, and nobody's */
    assert_false(bm_ocsp_id_is(&q.ids[0], &a.issuer));
    OPENSSL_free(owned);
    authority_done(&a);
}

static void errors(void **state)
{
    (void)state;
    for (int rc = BM_OK; rc <= BM_BUG; rc++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 16 };
        const uint8_t *p;
        OCSP_RESPONSE *r;

        bm_ocsp_error_write(&out, bm_ocsp_error_of((enum bm_rc)rc));
        p = out.p;
        r = d2i_OCSP_RESPONSE(NULL, &p, (long)out.n);
        assert_non_null(r);
        assert_int_not_equal(OCSP_response_status(r), OCSP_RESPONSE_STATUS_SUCCESSFUL);
        OCSP_RESPONSE_free(r);
    }
    assert_int_equal(bm_ocsp_error_of(BM_AGAIN), BM_OCSP_TRY_LATER);
    assert_int_equal(bm_ocsp_error_of(BM_DENIED), BM_OCSP_UNAUTHORIZED);
}

static void paths(void **state)
{
    static const struct {
        const char *text, *want; /* hex; NULL: refused */
    } spellings[] = {
        { "+/8=", "fbff" }, { "%2B%2f8%3D", "fbff" }, { "-_8", "fbff" },  { "%2D%5F8", "fbff" },
        { "+/8", "fbff" },  { "AAAA", "000000" },     { "", "" },         { "%", NULL },
        { "%2", NULL },     { "%zz", NULL },          { "A", NULL },      { "A===", NULL },
        { "AB=C", NULL },   { "A*==", NULL },         { "%00AAA", NULL }, { "+/9=", NULL },
        { "AAA%", NULL },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(spellings); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = 64 };
        uint8_t room[64], *copy = exact(bm_rd_str(spellings[i].text));
        enum bm_rc rc = bm_ocsp_path_decode(bm_rd_of(copy, strlen(spellings[i].text)), &der, &err);

        if ((rc == BM_OK) != (spellings[i].want != NULL))
            fail_msg("'%s': %s", spellings[i].text, bm_rc_name(rc));
        if (rc == BM_OK)
            assert_true(bm_rd_eq(bm_buf_rd(&der), hex(spellings[i].want, room, sizeof room)));
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows),  cmocka_unit_test(with_the_library), cmocka_unit_test(sizes_refused), cmocka_unit_test(errors),
        cmocka_unit_test(paths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
