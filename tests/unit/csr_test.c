#include "pki_help.h"

#include <openssl/x509v3.h>

/* A request as the library makes it, with a SAN, a challenge password and an attribute we do not know. */
static struct bm_rd library_csr(EVP_PKEY *k, bool with_attributes, uint8_t **ret)
{
    X509_REQ *r = X509_REQ_new();
    STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
    int n;

    X509_REQ_set_version(r, 0);
    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(r), "CN", MBSTRING_UTF8, (const unsigned char *)"device", -1, -1, 0);
    X509_REQ_set_pubkey(r, k);
    if (with_attributes) {
        sk_X509_EXTENSION_push(list, X509V3_EXT_conf_nid(NULL, NULL, NID_key_usage, "critical,digitalSignature"));
        sk_X509_EXTENSION_push(list, X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:a.example,URI:urn:x:y"));
        X509_REQ_add_extensions(r, list);
        X509_REQ_add1_attr_by_NID(r, NID_pkcs9_challengePassword, MBSTRING_UTF8, (const unsigned char *)"secret", -1);
        X509_REQ_add1_attr_by_NID(r, NID_pkcs9_unstructuredName, MBSTRING_UTF8, (const unsigned char *)"whatever", -1);
    }
    assert_true(X509_REQ_sign(r, k, EVP_PKEY_get_base_id(k) == EVP_PKEY_ED25519 ? NULL : EVP_sha256()) > 0);
    *ret = NULL;
    n = i2d_X509_REQ(r, ret);
    assert_true(n > 0);
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    X509_REQ_free(r);
    return bm_rd_of(*ret, (size_t)n);
}

static EVP_PKEY *kind(int i)
{
    return i == 0   ? EVP_EC_gen("P-256")
           : i == 1 ? EVP_EC_gen("P-384")
           : i == 2 ? EVP_RSA_gen(2048)
                    : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
}

static void of_the_library(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        BM_EVP_FREE EVP_PKEY *k = kind(i / 2);
        uint8_t *der;
        struct bm_rd r = library_csr(k, i % 2 == 1, &der);
        struct bm_csr c;

        assert_ok(bm_csr_parse(r, &c, &err));
        assert_ok(bm_csr_verify(&c, &err));
        assert_int_equal(c.san.n != 0, i % 2);
        assert_true(bm_rd_eq(c.challenge_password, bm_rd_str(i % 2 == 1 ? "secret" : "")));
        if (i % 2 == 1)
            assert_true(bm_rd_eq(c.san, bm_rd_str("\x30\x14\x82\x09"
                                                  "a.example\x86\x07urn:x:y")));
        OPENSSL_free(der);
    }
}

static void ours_in_the_library(void **state)
{
    static const struct {
        const char *type, *option;
    } rows[] = { { "EC", "P-256" }, { "EC", "P-384" }, { "EC", "P-521" }, { "ED25519", NULL }, { "RSA", "2048" } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_key_freep) struct bm_key *k = key_new(rows[i].type, rows[i].option);
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CSR_MAX };
        const uint8_t *p;
        struct bm_csr c;
        X509_REQ *r;

        assert_ok(bm_csr_make(k, i == 0 ? "" : "CN=caf\xc3\xa9 {x},OU=u,O=o,C=DE,serialNumber=A-1", &der, &err));
        assert_ok(bm_csr_parse(bm_buf_rd(&der), &c, &err));
        assert_ok(bm_csr_verify(&c, &err));
        p = der.p;
        r = d2i_X509_REQ(NULL, &p, (long)der.n);
        assert_non_null(r);
        assert_int_equal(X509_REQ_verify(r, X509_REQ_get0_pubkey(r)), 1);
        assert_int_equal(X509_NAME_entry_count(X509_REQ_get_subject_name(r)), i == 0 ? 0 : 5);
        X509_REQ_free(r);
    }
}

static void subjects_refused(void **state)
{
    static const struct {
        const char *subject;
        enum bm_rc want;
    } rows[] = {
        { "CN", BM_USAGE },
        { "CN=", BM_USAGE },
        { "CN=a,", BM_USAGE },
        { ",CN=a", BM_USAGE },
        { "XX=a", BM_USAGE },
        { "cn=a", BM_USAGE },
        { "CN=a,,O=b", BM_USAGE },
        { "C=Germany", BM_DENIED },
        { "C=de", BM_DENIED },
        { "CN=a\nb", BM_DENIED },
        { "CN=\xff", BM_DENIED },
        { "CN=\xc0\x80", BM_DENIED },
        { "CN=\xed\xa0\x80", BM_DENIED },
        { "CN=\xe2\x82", BM_DENIED },
        { "serialNumber=a@b", BM_DENIED },
        { "serialNumber=caf\xc3\xa9", BM_DENIED },
        { "CN=12345678901234567890123456789012345678901234567890123456789012345", BM_DENIED },
        { "CN=1,CN=2,CN=3,CN=4,CN=5,CN=6,CN=7,CN=8,CN=9", BM_USAGE },
    };
    BM_CLEANUP(bm_key_freep) struct bm_key *k = key_new("EC", "P-256");

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CSR_MAX };

        if (bm_csr_make(k, rows[i].subject, &der, &err) != rows[i].want)
            fail_msg("%s: %s", rows[i].subject, err.what);
        assert_int_equal(der.n, 0);
    }
}

static void prefixes_and_flips(void **state)
{
    BM_EVP_FREE EVP_PKEY *k = EVP_EC_gen("P-256");
    uint8_t *der;
    struct bm_rd r = library_csr(k, true, &der);
    struct bm_csr c;

    (void)state;
    for (size_t n = 0; n < r.n; n++) {
        uint8_t *p = exact(bm_rd_of(r.p, n));

        assert_int_equal(bm_csr_parse(bm_rd_of(p, n), &c, NULL), BM_MALFORMED);
        free(p);
    }
    for (size_t n = 0; n < r.n; n++) { /* whatever parses with a byte changed does not verify */
        uint8_t *p = exact(r);

        p[n] ^= 4;
        if (bm_csr_parse(bm_rd_of(p, r.n), &c, NULL) == BM_OK)
            assert_int_not_equal(bm_csr_verify(&c, &err), BM_OK);
        free(p);
    }
    OPENSSL_free(der);
}

#define SPKI                                                                                                                       \
    "3059 3013 0607 2a8648ce3d0201 0608 2a8648ce3d030107 0342 00 04 "                                                              \
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296 "                                                            \
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
#define NAME "300c 310a 3008 0603 550403 0c01 61"
#define PASSWORD "3012 0609 2a864886f70d010907 3105 0c03 616263"
#define EXTENSIONS(n, more) "30" n " 0609 2a864886f70d01090e " more

static void rows_by_hand(void **state)
{
    static const struct {
        const char *name, *version, *subject, *attributes; /* NULL: the field is left out */
        enum bm_rc want;
    } rows[] = {
        { "no attributes field", "0201 00", NAME, NULL, BM_OK },
        { "empty attributes", "0201 00", NAME, "", BM_OK },
        { "empty subject", "0201 00", "3000", "", BM_OK },
        { "challenge password", "0201 00", NAME, PASSWORD, BM_OK },
        { "alternative name", "0201 00", NAME, EXTENSIONS("1d", "3110 300e 300c 0603 551d11 0405 3003 8201 61"), BM_OK },
        { "unknown attribute", "0201 00", NAME, "3008 0602 2a03 3102 0500", BM_OK },
        { "version 1", "0201 01", NAME, "", BM_MALFORMED },
        { "no version", "", NAME, "", BM_MALFORMED },
        { "subject no name", "0201 00", "3002 0500", "", BM_MALFORMED },
        { "password twice", "0201 00", NAME, PASSWORD PASSWORD, BM_MALFORMED },
        { "password with two values", "0201 00", NAME, "3013 0609 2a864886f70d010907 3106 0c01 61 0c01 62", BM_MALFORMED },
        { "password without value", "0201 00", NAME, "300d 0609 2a864886f70d010907 3100", BM_MALFORMED },
        { "password of another type", "0201 00", NAME, "3010 0609 2a864886f70d010907 3103 0201 61", BM_MALFORMED },
        { "request without value", "0201 00", NAME, EXTENSIONS("0d", "3100"), BM_MALFORMED },
        { "alternative names twice", "0201 00", NAME,
          EXTENSIONS("2b", "311e 301c 300c 0603 551d11 0405 3003 8201 61 300c 0603 551d11 0405 3003 8201 61"), BM_MALFORMED },
        { "alternative name that is none", "0201 00", NAME, EXTENSIONS("1d", "3110 300e 300c 0603 551d11 0405 3003 0c01 61"),
          BM_MALFORMED },
        { "attribute left over", "0201 00", NAME, "300a 0602 2a03 3102 0500 0500", BM_MALFORMED },
        { "attribute no SET", "0201 00", NAME, "3008 0602 2a03 3002 0500", BM_MALFORMED },
        { "attribute with bad OID", "0201 00", NAME, "3008 0602 2a83 3102 0500", BM_MALFORMED },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t room[1024], part[512];
        struct bm_derw w = bm_derw_of(room, sizeof room);
        size_t mark;
        struct bm_csr c;
        uint8_t *p;

        bm_derw_put(&w, hex("300a 0608 2a8648ce3d040302 0301 00", part, sizeof part));
        mark = bm_derw_mark(&w);
        if (rows[i].attributes != NULL)
            bm_derw_tlv(&w, BM_DER_CTX_CONS(0), hex(rows[i].attributes, part, sizeof part));
        bm_derw_put(&w, hex(SPKI, part, sizeof part));
        bm_derw_put(&w, hex(rows[i].subject, part, sizeof part));
        bm_derw_put(&w, hex(rows[i].version, part, sizeof part));
        bm_derw_end(&w, mark, BM_DER_SEQUENCE);
        bm_derw_end(&w, w.cap, BM_DER_SEQUENCE);
        p = exact(bm_derw_rd(&w));
        if (bm_csr_parse(bm_rd_of(p, bm_derw_rd(&w).n), &c, &err) != rows[i].want)
            fail_msg("%s: %s", rows[i].name, err.what);
        free(p);
    }
}

static void too_long(void **state)
{
    static uint8_t big[BM_CSR_MAX + 1];
    struct bm_csr c;

    (void)state;
    assert_int_equal(bm_csr_parse(bm_rd_of(big, sizeof big), &c, &err), BM_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_the_library),     cmocka_unit_test(ours_in_the_library), cmocka_unit_test(subjects_refused),
        cmocka_unit_test(prefixes_and_flips), cmocka_unit_test(rows_by_hand),        cmocka_unit_test(too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
