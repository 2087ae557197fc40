#include "pki_help.h"

#include <openssl/x509v3.h>

#define DS "\"key_usage\":[\"digitalSignature\"]"
#define CA "\"key_usage\":[\"keyCertSign\"]"

static void rows_parse(void **state)
{
    static const struct {
        const char *json;
        enum bm_rc want;
    } rows[] = {
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\"}", BM_OK },
        { "{\"validity\":\"30d\"," DS ",\"san\":[\"uri:urn:x:{udid}\"]}", BM_OK },
        { "{\"validity\":\"10y\"," CA ",\"subject\":\"CN=a\",\"ca\":{}}", BM_OK },
        { "{\"validity\":\"10y\"," CA ",\"subject\":\"CN=a\",\"ca\":{\"path_len\":3}}", BM_OK },
        { "{\"not_after\":\"99991231235959Z\"," DS ",\"subject\":\"serialNumber={serial}\"}", BM_OK },
        { "{\"validity\":\"1m\"," DS ",\"subject\":\"CN=a\",\"backdate\":\"0s\",\"eku\":[\"1.2.3.4\",\"clientAuth\"]}", BM_OK },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"san\":[\"hardware-module\"],\"hw_type\":\"1.3.6.1.4.1.99999.1\"}",
          BM_OK },
        { "{\"validity\":\"30d\",\"key_usage\":[\"digitalSignature\",\"keyEncipherment\"],\"subject\":\"CN=a\",\"keys\":[\"RSA\"]}",
          BM_OK },
        { "{\"validity\":\"30d\",\"key_usage\":[\"keyAgreement\"],\"subject\":\"CN=a\",\"keys\":[\"P-256\",\"P-384\"]}", BM_OK },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"eku\":[\"timeStamping\"]}", BM_OK },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"policies\":[\"1.3.6.1.4.1.99999.2\"],\"crl\":[\"http://a/b\"],"
          "\"ocsp\":[\"http://a/o\"],\"issuers\":[\"http://a/i\"]}",
          BM_OK },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN={service|batch|=Device} {attr:colour}\"}", BM_OK },
        { "{\"not_after\":\"99991231235959Z\"," DS ",\"subject\":\"serialNumber={serial}\",\"masa_url\":\"masa.example:8443\"}",
          BM_OK },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"masa_url\":\"https://masa.example/brski\"}", BM_OK },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"eku\":[\"cmcRA\"]}", BM_OK },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"masa_url\":\"\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"masa_url\":7}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"masa_url\":\"http://masa.example/\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"masa_url\":\"masa example\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"masa_url\":\"m\u00e4sa.example\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," CA ",\"subject\":\"CN=a\",\"ca\":{},\"masa_url\":\"masa.example\"}", BM_USAGE },
        { "{\"not_after\":\"99991231235959Z\"," DS ",\"subject\":\"serialNumber={serial}\",\"eku\":[\"clientAuth\"]}", BM_USAGE },
        { "", BM_USAGE },
        { "[]", BM_USAGE },
        { "{", BM_USAGE },
        { "{} x", BM_USAGE },
        { "{}", BM_USAGE },
        { "{\"validity\":\"30d\",\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"other\":1}", BM_USAGE },
        { "{\"validity\":30," DS ",\"subject\":\"CN=a\"}", BM_USAGE },
        { "{\"validity\":\"30\"," DS ",\"subject\":\"CN=a\"}", BM_USAGE },
        { "{\"validity\":\"0d\"," DS ",\"subject\":\"CN=a\"}", BM_USAGE },
        { "{\"validity\":\"101y\"," DS ",\"subject\":\"CN=a\"}", BM_USAGE },
        { "{\"validity\":\"30d\",\"not_after\":\"99991231235959Z\"," DS ",\"subject\":\"serialNumber=a\"}", BM_USAGE },
        { "{\"not_after\":\"20991231235959Z\"," DS ",\"subject\":\"serialNumber=a\"}", BM_USAGE },
        { "{" DS ",\"subject\":\"CN=a\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"backdate\":\"8d\"}", BM_USAGE },
        { "{\"validity\":\"30d\",\"subject\":\"CN=a\"}", BM_USAGE },
        { "{\"validity\":\"30d\",\"key_usage\":[],\"subject\":\"CN=a\"}", BM_USAGE },
        { "{\"validity\":\"30d\",\"key_usage\":[1],\"subject\":\"CN=a\"}", BM_USAGE },
        { "{\"validity\":\"30d\",\"key_usage\":[\"sign\"],\"subject\":\"CN=a\"}", BM_USAGE },
        { "{\"validity\":\"30d\",\"key_usage\":[\"cRLSign\",\"cRLSign\"],\"subject\":\"CN=a\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," CA ",\"subject\":\"CN=a\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"ca\":{}}", BM_USAGE },
        { "{\"validity\":\"30d\"," CA ",\"san\":[\"dns:a\"],\"ca\":{}}", BM_USAGE },
        { "{\"validity\":\"30d\"," CA ",\"subject\":\"CN=a\",\"ca\":{\"path_len\":-1}}", BM_USAGE },
        { "{\"validity\":\"30d\"," CA ",\"subject\":\"CN=a\",\"ca\":{\"path_len\":9}}", BM_USAGE },
        { "{\"validity\":\"30d\"," CA ",\"subject\":\"CN=a\",\"ca\":{\"path_len\":\"0\"}}", BM_USAGE },
        { "{\"validity\":\"30d\"," CA ",\"subject\":\"CN=a\",\"ca\":{\"pathlen\":0}}", BM_USAGE },
        { "{\"validity\":\"30d\"," CA ",\"subject\":\"CN=a\",\"ca\":true}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS "}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"a\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN={nothing}\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN={udid\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=udid}\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN={}\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN={{udid}}\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN={udid|}\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN={attr:}\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN={=}\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"san\":[]}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"san\":[\"udid\"]}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"san\":[\"dns:\"]}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"san\":[\"hardware-module\"]}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"hw_type\":\"1.2.3\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"san\":[\"hardware-module\"],\"hw_type\":\"x\"}", BM_USAGE },
        { "{\"not_after\":\"99991231235959Z\"," DS ",\"subject\":\"CN=a\"}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"eku\":[\"serverAuth\"]}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"eku\":[\"anything\"]}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"eku\":[\"clientAuth\",\"1.3.6.1.5.5.7.3.2\"]}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"eku\":[\"clientAuth\",\"timeStamping\"]}", BM_USAGE },
        { "{\"validity\":\"30d\",\"key_usage\":[\"contentCommitment\"],\"subject\":\"CN=a\",\"eku\":[\"clientAuth\"]}", BM_USAGE },
        { "{\"validity\":\"30d\",\"key_usage\":[\"keyEncipherment\"],\"subject\":\"CN=a\"}", BM_USAGE },
        { "{\"validity\":\"30d\",\"key_usage\":[\"keyEncipherment\"],\"subject\":\"CN=a\",\"keys\":[\"P-256\"]}", BM_USAGE },
        { "{\"validity\":\"30d\",\"key_usage\":[\"keyAgreement\"],\"subject\":\"CN=a\",\"keys\":[\"Ed25519\"]}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"keys\":[\"DSA\"]}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"keys\":[\"P-256\",\"P-256\"]}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"crl\":[\"no uri\"]}", BM_USAGE },
        { "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"must_staple\":false}", BM_USAGE },
        { "{\"validity\":\"30d\"," CA ",\"subject\":\"CN=a\",\"ca\":{},\"must_staple\":true}", BM_USAGE },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t *json = exact(bm_rd_str(rows[i].json));
        struct bm_profile *p = NULL;

        if (bm_profile_parse("test", bm_rd_of(json, strlen(rows[i].json)), &p, &err) != rows[i].want)
            fail_msg("%s: %s", rows[i].json, err.what);
        assert_true((p != NULL) == (rows[i].want == BM_OK));
        for (size_t n = 0; rows[i].want == BM_OK && n < strlen(rows[i].json); n++) {
            uint8_t *cut = exact(bm_rd_of(json, n));
            struct bm_profile *q = NULL;

            assert_int_equal(bm_profile_parse("test", bm_rd_of(cut, n), &q, NULL), BM_USAGE);
            free(cut);
        }
        bm_profile_free(p);
        free(json);
    }
}

static void builtins(void **state)
{
    size_t n = 0;

    (void)state;
    for (const struct bm_profile_builtin *b = bm_profiles_builtin; b->name != NULL; b++, n++) {
        struct bm_profile *p = NULL;

        assert_ok(bm_profile_parse(b->name, bm_rd_str(b->json), &p, &err));
        assert_int_equal(bm_profile_is_ca(p), strstr(b->name, "-ca") != NULL);
        bm_profile_free(p);
    }
    assert_true(n >= 6);
}

static void names_and_sizes_refused(void **state)
{
    static char big[BM_PROFILE_MAX + 1];
    struct bm_profile *p = NULL;

    (void)state;
    assert_int_equal(bm_profile_parse("../x", bm_rd_str(builtin_json("ldevid")), &p, &err), BM_USAGE);
    assert_int_equal(bm_profile_parse("x", bm_rd_of(big, sizeof big), &p, &err), BM_LIMIT);
    bm_profile_free(NULL);
}

/* --- issuing ---------------------------------------------------------------------------------------------------------------------------- */
struct scene {
    struct bm_key *root_key, *ca_key, *device;
    struct made root, ca;
} scene;

static int setup(void **state)
{
    (void)state;
    scene.root_key = key_new("EC", "P-256");
    scene.ca_key = key_new("EC", "P-384");
    scene.device = key_new("EC", "P-256");
    issue(&scene.root, "root-ca", scene.root_key, NULL, scene.root_key);
    issue(&scene.ca, "issuing-ca", scene.root_key, &scene.root, scene.ca_key);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    made_done(&scene.ca);
    made_done(&scene.root);
    bm_key_free(scene.device);
    bm_key_free(scene.ca_key);
    bm_key_free(scene.root_key);
    return 0;
}

static struct bm_issue order(const struct bm_profile *p, const struct bm_subject_words *w)
{
    return (struct bm_issue){ .profile = p,
                              .issuer_key = scene.ca_key,
                              .issuer_cert = &scene.ca.cert,
                              .spki = bm_key_spki(scene.device),
                              .words = w,
                              .serial = { 1 },
                              .now = NOW,
                              .not_after_max = INT64_MAX };
}

/* The text the library prints for an extension, or for the subject. */
static void assert_printed(struct bm_rd der, int nid, const char *want)
{
    X509 *x = openssl_x509(der);
    BIO *out = BIO_new(BIO_s_mem());
    int at = X509_get_ext_by_NID(x, nid, -1);
    char *text;
    long n;

    if (nid == NID_undef)
        X509_NAME_print_ex(out, X509_get_subject_name(x), 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
    else if (at >= 0)
        X509V3_EXT_print(out, X509_get_ext(x, at), 0, 0);
    BIO_write(out, "", 1);
    n = BIO_get_mem_data(out, &text);
    assert_true(n > 0);
    if (n > 1 && text[n - 2] == '\n') /* 3.5 ends some lines that 3.0 does not */
        text[n - 2] = '\0';
    if (want == NULL)
        assert_int_equal(at, -1);
    else
        assert_string_equal(text, want);
    BIO_free(out);
    X509_free(x);
}

static void what_is_issued(void **state)
{
    static const struct {
        const char *name, *json;
        int nid;
        const char *want;
    } rows[] = {
        { "subject in RFC 4514 order", "\"subject\":\"CN={udid},OU={product},O={org}\"", NID_undef,
          "CN=" UDID ",OU=thermostat,O=Example GmbH" },
        { "all attributes", "\"subject\":\"serialNumber={serial},CN={service} {batch},C=DE\"", NID_undef,
          "serialNumber=SN-0001,CN=mqtt batch-7,C=DE" },
        { "device attributes", "\"subject\":\"CN={attr:colour} {attr:lot}\"", NID_undef, "CN=red 42" },
        { "first that is there", "\"subject\":\"CN={attr:none|serial|udid}\"", NID_undef, "CN=SN-0001" },
        { "fallback", "\"subject\":\"CN={attr:none|=Device 7}\"", NID_undef, "CN=Device 7" },
        { "first host", "\"subject\":\"CN={host}\"", NID_undef, "CN=iot.example.com" },
        { "hosts", "\"subject\":\"CN=a\",\"san\":[\"dns:{host}\",\"dns:www.{host}\",\"ip:{host}\"]", NID_subject_alt_name,
          "DNS:iot.example.com, DNS:www.iot.example.com, IP Address:10.0.0.1, IP Address:2001:DB8:0:0:0:0:0:1" },
        { "URI", "\"subject\":\"CN=a\",\"san\":[\"uri:urn:birthmark:udid:{udid}\"]", NID_subject_alt_name,
          "URI:urn:birthmark:udid:" UDID },
        { "URI is escaped", "\"subject\":\"CN=a\",\"san\":[\"uri:urn:x:{org}\"]", NID_subject_alt_name,
          "URI:urn:x:Example%20GmbH" },
        { "no alternative names", "\"subject\":\"CN=a\"", NID_subject_alt_name, NULL },
        { "no constraints on a leaf", "\"subject\":\"CN=a\"", NID_basic_constraints, NULL },
        { "usage", "\"subject\":\"CN=a\"", NID_key_usage, "Digital Signature" },
        { "extended usage",
          "\"subject\":\"CN=a\",\"eku\":[\"clientAuth\",\"emailProtection\",\"codeSigning\",\"OCSPSigning\",\"1.2.3.4\"]",
          NID_ext_key_usage, "TLS Web Client Authentication, E-mail Protection, Code Signing, OCSP Signing, 1.2.3.4" },
        { "must-staple", "\"subject\":\"CN=a\",\"must_staple\":true", NID_tlsfeature, "status_request" },
        { "policies", "\"subject\":\"CN=a\",\"policies\":[\"1.2.3.4\",\"1.2.3.5\"]", NID_certificate_policies,
          "Policy: 1.2.3.4\nPolicy: 1.2.3.5" },
        { "CRL", "\"subject\":\"CN=a\",\"crl\":[\"http://a/1\"]", NID_crl_distribution_points, "Full Name:\n  URI:http://a/1" },
        { "access", "\"subject\":\"CN=a\",\"ocsp\":[\"http://a/o\"],\"issuers\":[\"http://a/i\"]", NID_info_access,
          "OCSP - URI:http://a/o\nCA Issuers - URI:http://a/i" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX };
        char json[512];
        struct bm_profile *p;
        struct bm_issue o;
        struct bm_cert c;

        snprintf(json, sizeof json, "{\"validity\":\"30d\"," DS ",%s}", rows[i].json);
        p = profile_of(json);
        o = order(p, &words_all);
        if (bm_cert_issue(&o, &der, NULL, NULL, &err) != BM_OK)
            fail_msg("%s: %s", rows[i].name, err.what);
        assert_ok(bm_cert_parse(bm_buf_rd(&der), &c, &err));
        assert_ok(bm_cert_check_link(&c, &scene.ca.cert, NOW, &err));
        assert_printed(bm_buf_rd(&der), rows[i].nid, rows[i].want);
        bm_profile_free(p);
    }
}

/* Read back by our own parser, and as the bytes that RFC 8995 section 2.3.2 has: an IA5String, not critical. */
static void masa_url(void **state)
{
    static const uint8_t want[] = "\x30\x1d\x06\x08\x2b\x06\x01\x05\x05\x07\x01\x20\x04\x11\x16\x0fmasa.example:84";
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX };
    struct bm_profile *p =
        profile_of("{\"not_after\":\"99991231235959Z\"," DS ",\"subject\":\"serialNumber={serial}\",\"masa_url\":"
                   "\"masa.example:84\"}");
    struct bm_issue o = order(p, &words_all);
    struct bm_cert c;

    (void)state;
    assert_ok(bm_cert_issue(&o, &der, NULL, NULL, &err));
    assert_ok(bm_cert_parse(bm_buf_rd(&der), &c, &err));
    assert_true(bm_rd_eq(c.masa_url, bm_rd_str("masa.example:84")) && !c.unknown_critical);
    assert_non_null(memmem(der.p, der.n, want, sizeof want - 1));
    bm_profile_free(p);
}

static void templates_refused(void **state)
{
    static const char *const rows[] = {
        "\"subject\":\"CN={attr:none}\"",
        "\"subject\":\"CN={attr:none|attr:no}\"",
        "\"subject\":\"CN={udid}{udid}\"",
        "\"subject\":\"C={org}\"",
        "\"subject\":\"serialNumber={attr:bad}\"",
        "\"subject\":\"CN={attr:list}\"",
        "\"subject\":\"CN={attr:empty}\"",
        "\"subject\":\"CN=a\",\"san\":[\"dns:{org}\"]",
        "\"subject\":\"CN=a\",\"san\":[\"dns:-{product}\"]",
        "\"subject\":\"CN=a\",\"san\":[\"dns:{product}..x\"]",
        "\"subject\":\"CN=a\",\"san\":[\"ip:{product}\"]",
        "\"subject\":\"CN=a\",\"san\":[\"uri:{product}\"]",
        "\"subject\":\"CN=a\",\"san\":[\"uri:1:{product}\"]",
        "\"subject\":\"CN=a\",\"san\":[\"uri:urn:a b\"]",
        "\"subject\":\"CN=a\",\"san\":[\"ip:{host}\"]",
    };
    struct bm_subject_words w = words_all;

    (void)state;
    w.host = "only.a.name";
    w.attributes = bm_rd_str("{\"bad\":\"caf\\u00e9\",\"list\":[1],\"empty\":\"\"}");
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX };
        char json[512];
        struct bm_profile *p;
        struct bm_issue o;

        snprintf(json, sizeof json, "{\"validity\":\"30d\"," DS ",%s}", rows[i]);
        p = profile_of(json);
        o = order(p, &w);
        if (bm_cert_issue(&o, &der, NULL, NULL, &err) != BM_DENIED)
            fail_msg("%s", rows[i]);
        assert_string_equal(err.code, "profile-template");
        assert_int_equal(der.n, 0);
        bm_profile_free(p);
    }
}

/* IEEE 802.1AR: otherName hardwareModuleName with the UDID as serial number; and the only name, so critical. */
static void hardware_module(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX };
    struct bm_profile *p =
        profile_of("{\"validity\":\"30d\"," DS ",\"san\":[\"hardware-module\"],\"hw_type\":\"1.3.6.1.4.1.99999.1\"}");
    struct bm_issue o = order(p, &words_all);
    GENERAL_NAMES *names;
    int critical;
    X509 *x;
    static const char want[] = "\x30\x2d\x06\x09\x2b\x06\x01\x04\x01\x86\x8d\x1f\x01\x04\x20\x00\x11\x22";

    (void)state;
    assert_ok(bm_cert_issue(&o, &der, NULL, NULL, &err));
    x = openssl_x509(bm_buf_rd(&der));
    names = X509_get_ext_d2i(x, NID_subject_alt_name, &critical, NULL);
    assert_int_equal(critical, 1);
    assert_int_equal(sk_GENERAL_NAME_num(names), 1);
    assert_int_equal(sk_GENERAL_NAME_value(names, 0)->type, GEN_OTHERNAME);
    assert_memory_equal(ASN1_STRING_get0_data(sk_GENERAL_NAME_value(names, 0)->d.otherName->value->value.sequence), want,
                        sizeof want - 1);
    GENERAL_NAMES_free(names);
    X509_free(x);
    bm_profile_free(p);
}

/* --- dates ------------------------------------------------------------------------------------------------------------------------------- */
static void windows(void **state)
{
    static const struct {
        const char *name, *json;
        int64_t now, max, ca_after, want_before, want_after; /* want_after 0: refused with `code` */
        const char *code;
    } rows[] = {
        { "plain", "\"validity\":\"1h\"", NOW, INT64_MAX, INT64_MAX, NOW - BM_BACKDATE_S, NOW + 3600, NULL },
        { "own backdate", "\"validity\":\"1h\",\"backdate\":\"10s\"", NOW, INT64_MAX, INT64_MAX, NOW - 10, NOW + 3600, NULL },
        { "cut by the caller", "\"validity\":\"1h\"", NOW, NOW + 60, INT64_MAX, NOW - BM_BACKDATE_S, NOW + 60, NULL },
        { "cut by the issuer", "\"validity\":\"1h\"", NOW, INT64_MAX, NOW + 70, NOW - BM_BACKDATE_S, NOW + 70, NULL },
        { "no end", "\"not_after\":\"99991231235959Z\"", NOW, INT64_MAX, INT64_MAX, NOW - BM_BACKDATE_S, INT64_MAX, NULL },
        { "no end, cut", "\"not_after\":\"99991231235959Z\"", NOW, INT64_MAX, NOW + 70, NOW - BM_BACKDATE_S, NOW + 70, NULL },
        { "not before the issuer", "\"validity\":\"1h\"", NOW - 1000000 + 5, INT64_MAX, INT64_MAX, NOW - 1000000,
          NOW - 1000000 + 3605, NULL },
        { "issuer over", "\"validity\":\"1h\"", NOW, INT64_MAX, NOW - 1, 0, 0, "issuer-expired" },
        { "issuer's last second", "\"validity\":\"1h\"", NOW, INT64_MAX, NOW, 0, 0, "validity-over" },
        { "issuer not yet", "\"validity\":\"1h\"", NOW - 1000001, INT64_MAX, INT64_MAX, 0, 0, "issuer-expired" },
        { "caller's end is past", "\"validity\":\"1h\"", NOW, NOW - 1, INT64_MAX, 0, 0, "validity-over" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX };
        struct bm_cert ca = scene.ca.cert, c;
        int64_t before = 0, after = 0;
        char json[256];
        struct bm_profile *p;
        struct bm_issue o;

        snprintf(json, sizeof json, "{%s," DS ",\"subject\":\"serialNumber={serial}\"}", rows[i].json);
        p = profile_of(json);
        ca.not_before = NOW - 1000000;
        ca.not_after = rows[i].ca_after;
        o = order(p, &words_all);
        o.issuer_cert = &ca;
        o.now = rows[i].now;
        o.not_after_max = rows[i].max;
        if (rows[i].code != NULL) {
            assert_int_equal(bm_cert_issue(&o, &der, &before, &after, &err), BM_DENIED);
            assert_string_equal(err.code, rows[i].code);
        } else {
            assert_ok(bm_cert_issue(&o, &der, &before, &after, &err));
            assert_ok(bm_cert_parse(bm_buf_rd(&der), &c, &err));
            if (before != rows[i].want_before || after != rows[i].want_after || c.not_before != before || c.not_after != after)
                fail_msg("%s: %ld %ld", rows[i].name, (long)before, (long)after);
        }
        bm_profile_free(p);
    }
}

/* --- who may be issued what ------------------------------------------------------------------------------------------------------------- */
static void orders_refused(void **state)
{
    struct bm_profile *leaf =
        profile_of("{\"validity\":\"30d\"," DS ",\"subject\":\"CN={udid}\",\"keys\":[\"P-384\",\"Ed25519\"]}");
    struct bm_profile *any = builtin("ldevid"), *ca = builtin("issuing-ca"), *mid = builtin("intermediate-ca");
    struct bm_profile *twin = profile_of("{\"validity\":\"30d\"," DS ",\"subject\":\"CN={org} mqtt CA,OU=Issuing CA,O={org}\"}");
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX }, small = { .max = 64 };
    struct bm_cert no_ca = scene.ca.cert, one = scene.root.cert;
    struct bm_issue o = order(leaf, &words_all);

    (void)state;
    assert_int_equal(bm_cert_issue(&o, &der, NULL, NULL, &err), BM_DENIED);
    assert_string_equal(err.code, "key-algorithm");
    o = order(any, &words_all);
    o.spki = bm_rd_str("no key");
    assert_int_equal(bm_cert_issue(&o, &der, NULL, NULL, &err), BM_MALFORMED);
    o = order(any, &words_all);
    o.issuer_key = scene.root_key;
    assert_int_equal(bm_cert_issue(&o, &der, NULL, NULL, &err), BM_USAGE);
    o = order(any, &words_all);
    o.issuer_cert = NULL; /* self-signed, but the key is another's */
    assert_int_equal(bm_cert_issue(&o, &der, NULL, NULL, &err), BM_USAGE);
    no_ca.ca = false;
    o = order(any, &words_all);
    o.issuer_cert = &no_ca;
    assert_int_equal(bm_cert_issue(&o, &der, NULL, NULL, &err), BM_DENIED);
    assert_string_equal(err.code, "bad-issuer");
    o = order(ca, &words_all); /* path length 0 above it */
    assert_int_equal(bm_cert_issue(&o, &der, NULL, NULL, &err), BM_DENIED);
    assert_string_equal(err.code, "bad-issuer");
    one.path_len = 1;
    o = order(mid, &words_all); /* path length 1 under path length 1 */
    o.issuer_key = scene.root_key;
    o.issuer_cert = &one;
    assert_int_equal(bm_cert_issue(&o, &der, NULL, NULL, &err), BM_DENIED);
    o = order(twin, &words_all);
    assert_int_equal(bm_cert_issue(&o, &der, NULL, NULL, &err), BM_DENIED);
    assert_string_equal(err.code, "profile-template");
    o = order(any, &words_all);
    assert_int_equal(bm_cert_issue(&o, &small, NULL, NULL, &err), BM_LIMIT);
    assert_int_equal(der.n, 0);
    bm_profile_free(leaf);
    bm_profile_free(any);
    bm_profile_free(ca);
    bm_profile_free(mid);
    bm_profile_free(twin);
}

static void csrattrs(void **state)
{
    static const struct {
        const char *key, *hex;
    } rows[] = {
        { "P-256", "3021 3015 0607 2a8648ce3d0201 310a 0608 2a8648ce3d030107 0608 2a8648ce3d040302" },
        { "P-384", "301e 3012 0607 2a8648ce3d0201 3107 0605 2b81040022 0608 2a8648ce3d040303" },
        { "RSA", "301e 3011 0609 2a864886f70d010101 3104 0202 0800 0609 2a864886f70d01010b" },
        { "Ed25519", "3005 0603 2b6570" },
        { "ML-DSA-65", "300b 0609 608648016503040312" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = 256 };
        uint8_t room[128];
        char json[256];
        struct bm_profile *p;

        snprintf(json, sizeof json, "{\"validity\":\"30d\"," DS ",\"subject\":\"CN=a\",\"keys\":[\"%s\"]}", rows[i].key);
        p = profile_of(json);
        assert_ok(bm_profile_csrattrs(p, false, &der, &err));
        assert_true(bm_rd_eq(bm_buf_rd(&der), hex(rows[i].hex, room, sizeof room)));
        bm_profile_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_parse),      cmocka_unit_test(builtins), cmocka_unit_test(names_and_sizes_refused),
        cmocka_unit_test(what_is_issued),  cmocka_unit_test(masa_url), cmocka_unit_test(templates_refused),
        cmocka_unit_test(hardware_module), cmocka_unit_test(windows),  cmocka_unit_test(orders_refused),
        cmocka_unit_test(csrattrs),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
