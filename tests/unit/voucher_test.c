/* Vouchers and the CMS around them: rows of JSON, the messages of RFC 8995 appendix C, and both ways against OpenSSL's CMS. */
#include "pki_help.h"

#include "keeper/brski.h"
#include "protocol/brski.h"

#include <openssl/cms.h>
#include <openssl/x509v3.h>

#define CERT "@" /* stands for the certificate that a row needs, in base64 */
#define VOUCHER(...) "{\"ietf-voucher:voucher\":{" __VA_ARGS__ "}}"
#define REQUEST(...) "{\"ietf-voucher-request:voucher\":{" __VA_ARGS__ "}}"
#define SERIAL "\"serial-number\":\"JADA123456789\""
#define NONCE ",\"nonce\":\"62a2e7693d82fcda2624de58fb6722e5\""
#define GOOD SERIAL ",\"created-on\":\"2016-10-07T19:31:42Z\",\"assertion\":\"logged\",\"pinned-domain-cert\":\"" CERT "\""

static const struct {
    const char *name, *json;
    enum bm_rc want;
} cases[] = {
    { "a voucher with nonce, as in RFC 8366 section 5.2", VOUCHER(GOOD NONCE), BM_OK },
    { "with an end", VOUCHER(GOOD ",\"expires-on\":\"2016-10-21T19:31:42Z\""), BM_OK },
    { "with neither", VOUCHER(GOOD), BM_OK },
    { "with all that goes with an end",
      VOUCHER(GOOD ",\"expires-on\":\"2016-10-21T19:31:42Z\",\"last-renewal-date\":\"2017-10-07T19:31:42Z\",\"idevid-issuer\":"
                   "\"AAECAw==\",\"domain-cert-revocation-checks\":false"),
      BM_OK },
    { "the least of a request", REQUEST(SERIAL), BM_OK },
    { "a pledge's, as in RFC 8995 section 3.3",
      REQUEST(SERIAL NONCE ",\"assertion\":\"proximity\",\"created-on\":"
                           "\"2017-01-01T00:00:00.000Z\",\"proximity-registrar-cert\":\"" CERT "\""),
      BM_OK },
    { "a registrar's", REQUEST(SERIAL NONCE ",\"idevid-issuer\":\"AAECAw==\",\"prior-signed-voucher-request\":\"AAECAw==\""),
      BM_OK },
    { "what a request may not say is passed over",
      REQUEST(SERIAL ",\"pinned-domain-cert\":\"" CERT "\",\"last-renewal-date\":\"2017-10-07T19:31:42Z\","
                     "\"domain-cert-revocation-checks\":true"),
      BM_OK },
    { "offset of a date", REQUEST(SERIAL ",\"created-on\":\"2021-04-13T17:43:23.747-04:00\""), BM_OK },
    { "nonce in base64url", REQUEST(SERIAL ",\"nonce\":\"-_XE9zK9q8Ll1qylMtLKeg\""), BM_OK },
    { "nonce of 8 bytes", REQUEST(SERIAL ",\"nonce\":\"AAECAwQFBgc=\""), BM_OK },
    { "nonce of 32 bytes", REQUEST(SERIAL ",\"nonce\":\"AAECAwQFBgcAAQIDBAUGBwABAgMEBQYHAAECAwQFBgc=\""), BM_OK },
    { "serial number of 64 characters",
      REQUEST("\"serial-number\":\"0123456789012345678901234567890123456789012345678901234567890123\""), BM_OK },
    { "empty", "", BM_MALFORMED },
    { "no JSON", "voucher", BM_MALFORMED },
    { "an array", "[]", BM_MALFORMED },
    { "an empty object", "{}", BM_MALFORMED },
    { "another name", "{\"voucher\":{" SERIAL "}}", BM_MALFORMED },
    { "both names", "{\"ietf-voucher:voucher\":{" GOOD "},\"ietf-voucher-request:voucher\":{" SERIAL "}}", BM_MALFORMED },
    { "something beside it", "{\"ietf-voucher-request:voucher\":{" SERIAL "},\"a\":1}", BM_MALFORMED },
    { "an array in it", "{\"ietf-voucher:voucher\":[]}", BM_MALFORMED },
    { "something behind it", REQUEST(SERIAL) "{}", BM_MALFORMED },
    { "a leaf twice", REQUEST(SERIAL "," SERIAL), BM_MALFORMED },
    { "a leaf of nobody's", REQUEST(SERIAL ",\"colour\":\"red\""), BM_MALFORMED },
    { "a request's leaf in a voucher", VOUCHER(GOOD ",\"prior-signed-voucher-request\":\"AAECAw==\""), BM_MALFORMED },
    { "proximity in a voucher", VOUCHER(GOOD ",\"proximity-registrar-cert\":\"" CERT "\""), BM_MALFORMED },
    { "no serial number", REQUEST("\"assertion\":\"logged\""), BM_MALFORMED },
    { "a voucher without date", VOUCHER(SERIAL ",\"assertion\":\"logged\",\"pinned-domain-cert\":\"" CERT "\""), BM_MALFORMED },
    { "a voucher without assertion", VOUCHER(SERIAL ",\"created-on\":\"2016-10-07T19:31:42Z\",\"pinned-domain-cert\":\"" CERT "\""),
      BM_MALFORMED },
    { "a voucher without certificate", VOUCHER(SERIAL ",\"created-on\":\"2016-10-07T19:31:42Z\",\"assertion\":\"logged\""),
      BM_MALFORMED },
    { "nonce and end", VOUCHER(GOOD NONCE ",\"expires-on\":\"2016-10-21T19:31:42Z\""), BM_MALFORMED },
    { "renewal without end", VOUCHER(GOOD ",\"last-renewal-date\":\"2017-10-07T19:31:42Z\""), BM_MALFORMED },
    { "prior request and proximity",
      REQUEST(SERIAL ",\"prior-signed-voucher-request\":\"AAECAw==\",\"proximity-registrar-cert\":\"" CERT "\""), BM_MALFORMED },
    { "an assertion of another kind", REQUEST(SERIAL ",\"assertion\":\"sworn\""), BM_MALFORMED },
    { "an assertion in capitals", REQUEST(SERIAL ",\"assertion\":\"Proximity\""), BM_MALFORMED },
    { "an empty assertion", REQUEST(SERIAL ",\"assertion\":\"\""), BM_MALFORMED },
    { "an assertion by number", REQUEST(SERIAL ",\"assertion\":2"), BM_MALFORMED },
    { "an empty serial number", REQUEST("\"serial-number\":\"\""), BM_MALFORMED },
    { "a serial number by number", REQUEST("\"serial-number\":7"), BM_MALFORMED },
    { "a serial number with a control character", REQUEST("\"serial-number\":\"a\\u0007b\""), BM_MALFORMED },
    { "a serial number outside ASCII", REQUEST("\"serial-number\":\"\\u00e4\""), BM_MALFORMED },
    { "a serial number of 65 characters",
      REQUEST("\"serial-number\":\"01234567890123456789012345678901234567890123456789012345678901234\""), BM_MALFORMED },
    { "a nonce of 7 bytes", REQUEST(SERIAL ",\"nonce\":\"AAECAwQFBg==\""), BM_MALFORMED },
    { "a nonce of 33 bytes", REQUEST(SERIAL ",\"nonce\":\"AAECAwQFBgcAAQIDBAUGBwABAgMEBQYHAAECAwQFBgcI\""), BM_MALFORMED },
    { "a nonce with a blank", REQUEST(SERIAL ",\"nonce\":\"62a2e7693d82 cda2624de58fb6722e5\""), BM_MALFORMED },
    { "a nonce that is no base64", REQUEST(SERIAL ",\"nonce\":\"62a2e7693d82?cda2624de58fb6722e5\""), BM_MALFORMED },
    { "an empty nonce", REQUEST(SERIAL ",\"nonce\":\"\""), BM_MALFORMED },
    { "an empty binary", REQUEST(SERIAL ",\"idevid-issuer\":\"\""), BM_MALFORMED },
    { "a binary cut short", REQUEST(SERIAL ",\"idevid-issuer\":\"AAECA\""), BM_MALFORMED },
    { "a certificate that is none", REQUEST(SERIAL ",\"proximity-registrar-cert\":\"AAECAw==\""), BM_MALFORMED },
    { "a flag in words", REQUEST(SERIAL ",\"domain-cert-revocation-checks\":\"true\""), BM_MALFORMED },
    { "a date without time", REQUEST(SERIAL ",\"created-on\":\"2016-10-07\""), BM_MALFORMED },
    { "a date without zone", REQUEST(SERIAL ",\"created-on\":\"2016-10-07T19:31:42\""), BM_MALFORMED },
    { "a date that there is not", REQUEST(SERIAL ",\"created-on\":\"2016-02-30T19:31:42Z\""), BM_MALFORMED },
    { "a zone that there is not", REQUEST(SERIAL ",\"created-on\":\"2016-10-07T19:31:42+24:00\""), BM_MALFORMED },
    { "half a zone", REQUEST(SERIAL ",\"created-on\":\"2016-10-07T19:31:42+0200\""), BM_MALFORMED },
    { "a zone of letters", REQUEST(SERIAL ",\"created-on\":\"2016-10-07T19:31:42+0a:00\""), BM_MALFORMED },
    { "a date by number", REQUEST(SERIAL ",\"created-on\":1475868702"), BM_MALFORMED },
};

/* --- a small PKI ----------------------------------------------------------------------------------------------------------------- */
static struct bm_key *root_key, *leaf_key;
static struct made root, leaf;

static int make_pki(void **state)
{
    (void)state;
    root_key = key_new("EC", "P-256");
    leaf_key = key_new("EC", "P-256");
    issue(&root, "root-ca", root_key, NULL, root_key);
    issue(&leaf, "registrar", root_key, &root, leaf_key);
    return 0;
}

static int drop_pki(void **state)
{
    (void)state;
    made_done(&root);
    made_done(&leaf);
    bm_key_free(root_key);
    bm_key_free(leaf_key);
    return 0;
}

/* --- rows ------------------------------------------------------------------------------------------------------------------------ */
static void fill(const char *row, struct bm_buf *ret)
{
    for (; *row != '\0'; row++) {
        if (*row == *CERT)
            bm_base64(ret, leaf.cert.whole, 0);
        else
            bm_buf_put(ret, row, 1);
    }
    assert_false(ret->bad);
}

static void prefixes_refused(struct bm_rd whole)
{
    struct bm_voucher v;

    for (size_t n = 0; n < whole.n; n++) {
        uint8_t *cut = exact(bm_rd_of(whole.p, n));

        assert_int_equal(bm_voucher_parse(bm_rd_of(cut, n), &v, &err), BM_MALFORMED);
        free(cut);
    }
}

static void same(const struct bm_voucher *a, const struct bm_voucher *b)
{
    assert_true(a->request == b->request && a->assertion == b->assertion && a->created_on == b->created_on &&
                a->expires_on == b->expires_on);
    assert_string_equal(a->serial_number, b->serial_number);
    assert_string_equal(a->nonce, b->nonce);
    assert_true(bm_rd_eq(bm_buf_rd(&a->idevid_issuer), bm_buf_rd(&b->idevid_issuer)) &&
                bm_rd_eq(bm_buf_rd(&a->pinned_domain_cert), bm_buf_rd(&b->pinned_domain_cert)) &&
                bm_rd_eq(bm_buf_rd(&a->proximity_registrar_cert), bm_buf_rd(&b->proximity_registrar_cert)) &&
                bm_rd_eq(bm_buf_rd(&a->prior_signed), bm_buf_rd(&b->prior_signed)));
}

static void written_reads_the_same(const struct bm_voucher *v)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf json = { .max = 65536 };
    BM_CLEANUP(bm_voucher_done) struct bm_voucher again = { 0 };

    assert_ok(bm_voucher_write(v, &json, &err));
    assert_ok(bm_voucher_parse(bm_buf_rd(&json), &again, &err));
    same(v, &again);
}

static void rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(cases); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 65536 };
        struct bm_voucher v = { 0 };
        enum bm_rc rc;
        uint8_t *copy;

        fill(cases[i].json, &text);
        copy = exact(bm_buf_rd(&text));
        rc = bm_voucher_parse(bm_rd_of(copy, text.n), &v, &err);
        if (rc != cases[i].want)
            fail_msg("%s: %s (%s)", cases[i].name, bm_rc_name(rc), err.what);
        if (rc == BM_OK) {
            written_reads_the_same(&v);
            prefixes_refused(bm_buf_rd(&text));
            bm_voucher_done(&v);
        }
        free(copy);
    }
}

static void values(void **state)
{
    BM_CLEANUP(bm_voucher_done) struct bm_voucher v = { 0 };
    const char *json = REQUEST(SERIAL ",\"created-on\":\"2021-04-13T17:43:23.747-04:00\",\"assertion\":\"proximity\","
                                      "\"pinned-domain-cert\":\"" CERT "\"");
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 65536 };

    (void)state;
    fill(json, &text);
    assert_ok(bm_voucher_parse(bm_buf_rd(&text), &v, &err));
    assert_int_equal(v.created_on, 1618350203);
    assert_int_equal(v.assertion, BM_ASSERTION_PROXIMITY);
    assert_int_equal(v.pinned_domain_cert.n, 0); /* RFC 8995 section 3.4: "any occurrence MUST be ignored" */
}

/* --- RFC 8995 appendix C.2 --------------------------------------------------------------------------------------------------------- */
static void read_vector(const char *name, struct bm_buf *ret)
{
    char path[200];

    snprintf(path, sizeof path, "tests/vectors/brski/%s", name);
    ret->max = 65536;
    assert_ok(bm_file_read(path, ret, &err));
}

static void of_the_rfc(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pledge = { 0 }, registrar = { 0 }, voucher = { 0 };
    BM_CLEANUP(bm_voucher_opened_done) struct bm_voucher_opened p = { 0 }, r = { 0 }, v = { 0 };
    struct bm_cms_chain chain;
    char serial[BM_VOUCHER_SERIAL_MAX + 1];

    (void)state;
    read_vector("pledge-request.cms", &pledge);
    read_vector("registrar-request.cms", &registrar);
    read_vector("voucher.cms", &voucher);
    assert_ok(bm_voucher_open(bm_buf_rd(&pledge), &p, &err));
    assert_ok(bm_voucher_open(bm_buf_rd(&registrar), &r, &err));
    assert_ok(bm_voucher_open(bm_buf_rd(&voucher), &v, &err));
    assert_true(p.voucher.request && r.voucher.request && !v.voucher.request);
    assert_true(bm_idevid_serial(&p.signer, serial));
    assert_string_equal(serial, "00-D0-E5-F2-00-02");
    assert_string_equal(serial, v.voucher.serial_number);
    assert_string_equal(p.voucher.nonce, "-_XE9zK9q8Ll1qylMtLKeg");
    assert_string_equal(v.voucher.nonce, p.voucher.nonce);
    assert_true(bm_rd_eq(bm_buf_rd(&r.voucher.prior_signed), bm_buf_rd(&pledge)));
    assert_true(bm_rd_eq(bm_buf_rd(&p.voucher.proximity_registrar_cert), r.signer.whole));
    assert_int_equal(v.voucher.assertion, BM_ASSERTION_LOGGED);
    assert_true(bm_rd_eq(p.signer.masa_url, bm_rd_str("highway-test.example.com:9443")));
    assert_ok(bm_cms_signed_chain(&r.cms, &r.signer, r.voucher.created_on, &chain, &err));
    assert_int_equal(chain.n, 2);
    assert_int_equal(bm_cms_signed_chain(&r.cms, &r.signer, NOW, &chain, &err), BM_DENIED); /* it ended in 2022 */
}

/* --- CMS --------------------------------------------------------------------------------------------------------------------------- */
static void sealed(struct bm_buf *ret)
{
    struct bm_voucher v = { .request = true, .assertion = BM_ASSERTION_PROXIMITY, .created_on = NOW, .serial_number = "SN-1" };
    struct bm_rd certs[] = { leaf.cert.whole, root.cert.whole };

    ret->max = BM_VOUCHER_MAX;
    assert_ok(bm_voucher_seal(&v, BM_VOUCHER_CMS, leaf_key, certs, 2, ret, &err));
}

/* Whatever is changed: it does not parse, or does not verify, or (in the parts that nobody signs) says the same. */
static void every_byte(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf cms = { 0 };
    BM_CLEANUP(bm_voucher_opened_done) struct bm_voucher_opened good = { 0 };

    (void)state;
    sealed(&cms);
    assert_ok(bm_voucher_open(bm_buf_rd(&cms), &good, &err));
    for (size_t i = 0; i < cms.n; i++) {
        uint8_t *copy = exact(bm_buf_rd(&cms));
        struct bm_voucher_opened o = { 0 };

        copy[i] ^= 0x01;
        if (bm_voucher_open(bm_rd_of(copy, cms.n), &o, &err) == BM_OK) {
            same(&o.voucher, &good.voucher);
            assert_true(bm_rd_eq(o.signer.spki, leaf.cert.spki));
        }
        bm_voucher_opened_done(&o);
        free(copy);
    }
    for (size_t n = 0; n < cms.n; n++) {
        uint8_t *cut = exact(bm_rd_of(cms.p, n));
        struct bm_cms_signed s;

        assert_int_equal(bm_cms_signed_parse(bm_rd_of(cut, n), &s, &err), BM_MALFORMED);
        free(cut);
    }
}

static void openssl_reads_ours(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf cms = { 0 };
    X509_STORE *store = X509_STORE_new();
    X509 *anchor = openssl_x509(root.cert.whole);
    BIO *in, *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *ci;
    const uint8_t *p;
    char *text;

    (void)state;
    sealed(&cms);
    p = cms.p;
    ci = d2i_CMS_ContentInfo(NULL, &p, (long)cms.n);
    assert_true(ci != NULL && p == cms.p + cms.n);
    X509_STORE_add_cert(store, anchor);
    X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store), NOW);
    assert_true(X509_STORE_set_purpose(store, X509_PURPOSE_ANY) == 1);
    assert_int_equal(CMS_verify(ci, NULL, store, NULL, out, CMS_BINARY), 1);
    assert_true(BIO_get_mem_data(out, &text) > 0);
    assert_memory_equal(text, "{\"ietf-voucher-request:voucher\":", 32);
    in = BIO_new(BIO_s_mem()); /* and its bytes are DER: written by the library they are the same */
    assert_true(i2d_CMS_bio(in, ci) == 1);
    assert_int_equal(BIO_get_mem_data(in, &text), cms.n);
    assert_memory_equal(text, cms.p, cms.n);
    BIO_free(in);
    BIO_free(out);
    CMS_ContentInfo_free(ci);
    X509_free(anchor);
    X509_STORE_free(store);
}

static void we_read_openssls_with(unsigned flags, enum bm_rc want)
{
    static const char json[] = REQUEST(SERIAL NONCE);
    EVP_PKEY *key = EVP_EC_gen("P-384");
    X509 *x = X509_new();
    BIO *in = BIO_new_mem_buf(json, sizeof json - 1);
    struct bm_voucher_opened o = { 0 };
    CMS_ContentInfo *ci;
    uint8_t *der = NULL;
    enum bm_rc rc;
    int n;

    assert_true(X509_set_version(x, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(x), 7) == 1 && X509_set_pubkey(x, key) == 1);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const uint8_t *)"x", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 60);
    assert_true(X509_sign(x, key, EVP_sha384()) > 0);
    ci = CMS_sign(x, key, NULL, in, flags);
    assert_non_null(ci);
    n = i2d_CMS_ContentInfo(ci, &der);
    assert_true(n > 0);
    rc = bm_voucher_open(bm_rd_of(der, (size_t)n), &o, &err);
    if (rc != want)
        fail_msg("flags %x: %s (%s)", flags, bm_rc_name(rc), err.what);
    bm_voucher_opened_done(&o);
    OPENSSL_free(der);
    CMS_ContentInfo_free(ci);
    BIO_free(in);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void we_read_openssls(void **state)
{
    (void)state;
    we_read_openssls_with(CMS_BINARY, BM_OK);
    we_read_openssls_with(CMS_BINARY | CMS_NOSMIMECAP, BM_OK);
    we_read_openssls_with(CMS_BINARY | CMS_NOATTR, BM_OK);
    we_read_openssls_with(CMS_BINARY | CMS_NOCERTS, BM_DENIED);
    we_read_openssls_with(CMS_BINARY | CMS_DETACHED, BM_MALFORMED);
}

/* --- names --------------------------------------------------------------------------------------------------------------------------- */
static void domains(void **state)
{
    uint8_t room[32], sha256[32];
    struct bm_cert bare = root.cert;
    struct bm_rd id;

    (void)state;
    bm_domain_id(&root.cert, room, &id);
    assert_true(bm_rd_eq(id, root.cert.skid));
    bare.skid = bm_rd_of(NULL, 0);
    bm_domain_id(&bare, room, &id);
    bm_udid_of(bare.spki, sha256);
    assert_true(bm_rd_eq(id, bm_rd_of(sha256, sizeof sha256)));
}

static const struct {
    const char *accept, *code; /* "": fine */
    enum bm_voucher_form form; /* of an answer to a request in CMS */
} accepts[] = {
    { "", "", BM_VOUCHER_CMS },
    { " ", "", BM_VOUCHER_CMS },
    { "*/*", "", BM_VOUCHER_CMS },
    { "application/*", "", BM_VOUCHER_CMS },
    { "application/voucher-cms+json", "", BM_VOUCHER_CMS },
    { "Application/Voucher-CMS+JSON;q=0.3", "", BM_VOUCHER_CMS },
    { "text/html,application/voucher-cms+json", "", BM_VOUCHER_CMS },
    { "text/html , application/voucher-cms+json ; q=1", "", BM_VOUCHER_CMS },
    { "application/voucher-jws+json", "", BM_VOUCHER_JWS },
    { "application/voucher-jws+json, application/voucher-cms+json", "", BM_VOUCHER_JWS },
    { "application/voucher-cms+json, application/voucher-jws+json", "", BM_VOUCHER_CMS },
    { "text/html, */*, application/voucher-jws+json", "", BM_VOUCHER_CMS },
    { "application/voucher-jws", "unsupported-media-type", BM_VOUCHER_CMS },
    { "text/html,application/voucher-cose+cbor", "not-acceptable", BM_VOUCHER_CMS },
    { "text/html", "unsupported-media-type", BM_VOUCHER_CMS },
    { "application/voucher-cms+jso", "unsupported-media-type", BM_VOUCHER_CMS },
    { "application/voucher-cms+json2", "unsupported-media-type", BM_VOUCHER_CMS },
    { ",,", "unsupported-media-type", BM_VOUCHER_CMS },
    { ";", "unsupported-media-type", BM_VOUCHER_CMS },
};

static void accept_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(accepts); i++) {
        uint8_t *copy = exact(bm_rd_str(accepts[i].accept));
        struct bm_error e = { 0 };
        enum bm_voucher_form form;
        enum bm_rc rc = bm_brski_accept(bm_rd_of(copy, strlen(accepts[i].accept)), BM_VOUCHER_CMS, &form, &e);

        if (rc == BM_OK && form != accepts[i].form)
            fail_msg("'%s': the other form", accepts[i].accept);
        if (strcmp(e.code, accepts[i].code) != 0 || (rc == BM_OK) != (accepts[i].code[0] == '\0'))
            fail_msg("'%s': %s %s", accepts[i].accept, bm_rc_name(rc), e.code);
        free(copy);
    }
}

/* --- JWS: each byte of one changed, each prefix of it; jwcrypto judges in tests/e2e/test_brski.py ---------------------------------- */
static void jws(void **state)
{
    struct bm_voucher v = { .request = true, .assertion = BM_ASSERTION_PROXIMITY, .created_on = NOW, .serial_number = "SN-1" };
    struct bm_rd certs[] = { leaf.cert.whole, root.cert.whole };
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_VOUCHER_MAX };
    BM_CLEANUP(bm_voucher_opened_done) struct bm_voucher_opened good = { 0 };
    struct bm_cms_chain chain;

    (void)state;
    assert_ok(bm_voucher_seal(&v, BM_VOUCHER_JWS, leaf_key, certs, 2, &text, &err));
    assert_int_equal(bm_voucher_form_of(bm_buf_rd(&text)), BM_VOUCHER_JWS);
    assert_ok(bm_voucher_jws_check(bm_buf_rd(&text), &err));
    assert_ok(bm_voucher_open(bm_buf_rd(&text), &good, &err));
    assert_string_equal(good.voucher.serial_number, "SN-1");
    assert_true(bm_rd_eq(good.signer.whole, leaf.cert.whole));
    assert_ok(bm_cms_signed_chain(&good.cms, &good.signer, NOW, &chain, &err));
    assert_int_equal(chain.n, 2);
    for (size_t i = 0; i < text.n; i++) {
        BM_CLEANUP(bm_voucher_opened_done) struct bm_voucher_opened o = { 0 };
        uint8_t *copy = exact(bm_buf_rd(&text)), *cut = exact(bm_rd_of(text.p, i));

        assert_int_not_equal(bm_voucher_jws_check(bm_rd_of(cut, i), &err), BM_OK);
        copy[i] ^= 1;
        if (bm_voucher_open(bm_rd_of(copy, text.n), &o, &err) == BM_OK)
            fail_msg("byte %zu may be changed", i);
        free(copy);
        free(cut);
    }
}

/* --- what a worker hands on ------------------------------------------------------------------------------------------------------ */
static void asks(void **state)
{
    const struct bm_brski_ask good = { .op = BM_BRSKI_STATUS,
                                       .who = { .correlation = "0123456789abcdef", .protocol = "brski", .peer = "192.0.2.7" },
                                       .body = bm_rd_str("{}") };
    const struct bm_brski_ask bad[] = {
        { .op = 0, .who = good.who, .body = good.body },
        { .op = BM_BRSKI_OPS, .who = good.who, .body = good.body },
        { .op = BM_BRSKI_STATUS, .who = { .correlation = "0123456789abcdef", .protocol = "est" }, .body = good.body },
        { .op = BM_BRSKI_STATUS, .who = { .correlation = "0123456789abcdeg", .protocol = "brski" }, .body = good.body },
        { .op = BM_BRSKI_STATUS,
          .who = { .correlation = "0123456789abcdef", .protocol = "brski", .evidence.kind = BM_EVIDENCE_CODE },
          .body = good.body },
        { .op = BM_BRSKI_STATUS,
          .who = { .correlation = "0123456789abcdef", .protocol = "brski", .n_requests = 1 },
          .body = good.body },
    };
    BM_CLEANUP(bm_buf_done) struct bm_buf bytes = { .max = 4096 };
    struct bm_brski_ask got;

    (void)state;
    bm_brski_ask_write(&bytes, &good);
    assert_ok(bm_brski_ask_parse(bm_buf_rd(&bytes), &got, &err));
    assert_true(got.op == good.op && bm_rd_eq(got.body, good.body));
    for (size_t n = 0; n < bytes.n; n++) {
        uint8_t *cut = exact(bm_rd_of(bytes.p, n));

        assert_int_equal(bm_brski_ask_parse(bm_rd_of(cut, n), &got, &err), BM_MALFORMED);
        free(cut);
    }
    bm_buf_put(&bytes, "", 1);
    assert_int_equal(bm_brski_ask_parse(bm_buf_rd(&bytes), &got, &err), BM_MALFORMED);
    for (size_t i = 0; i < BM_COUNT(bad); i++) {
        bytes.n = 0;
        bm_brski_ask_write(&bytes, &bad[i]);
        if (bm_brski_ask_parse(bm_buf_rd(&bytes), &got, &err) != BM_MALFORMED)
            fail_msg("row %zu is taken", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows),
        cmocka_unit_test(values),
        cmocka_unit_test(of_the_rfc),
        cmocka_unit_test(every_byte),
        cmocka_unit_test(openssl_reads_ours),
        cmocka_unit_test(we_read_openssls),
        cmocka_unit_test(domains),
        cmocka_unit_test(accept_fields),
        cmocka_unit_test(jws),
        cmocka_unit_test(asks),
    };

    return cmocka_run_group_tests(tests, make_pki, drop_pki);
}
