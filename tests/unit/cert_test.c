#include "pki_help.h"

#include <openssl/bn.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

/* --- what we issue, seen by the library ------------------------------------------------------------------------------------------------ */
static void strict_verify(struct bm_rd leaf, struct bm_rd ca, struct bm_rd root, int64_t at)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *between = sk_X509_new_null();
    X509 *l = openssl_x509(leaf), *c = openssl_x509(ca), *r = openssl_x509(root);

    X509_STORE_add_cert(store, r);
    sk_X509_push(between, c);
    X509_STORE_CTX_init(ctx, store, l, between);
    X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
    X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx), (time_t)at);
    if (X509_verify_cert(ctx) != 1)
        fail_msg("%s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    X509_STORE_CTX_free(ctx);
    sk_X509_free(between);
    X509_STORE_free(store);
    X509_free(l);
    X509_free(c);
    X509_free(r);
}

/* The library writes the certificate back to the same bytes, and reads out of it what our parser reads. */
static void same_as_library(const struct bm_cert *c)
{
    X509 *x = openssl_x509(c->whole);
    const ASN1_OCTET_STRING *skid = X509_get0_subject_key_id(x);
    struct tm tm;
    uint8_t *der = NULL;
    int n;

    X509_get0_serialNumber(x);
    n = i2d_X509_NAME(X509_get_subject_name(x), &der);
    assert_true(bm_rd_eq(bm_rd_of(der, (size_t)n), c->subject));
    OPENSSL_free(der);
    der = NULL;
    n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
    assert_true(bm_rd_eq(bm_rd_of(der, (size_t)n), c->spki));
    OPENSSL_free(der);
    der = NULL;
    n = i2d_re_X509_tbs(x, &der);
    assert_true(bm_rd_eq(bm_rd_of(der, (size_t)n), c->tbs));
    OPENSSL_free(der);
    assert_int_equal(ASN1_TIME_to_tm(X509_get0_notBefore(x), &tm), 1);
    assert_int_equal(timegm(&tm), c->not_before);
    assert_int_equal(ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm), 1);
    if (c->not_after != INT64_MAX)
        assert_int_equal(timegm(&tm), c->not_after);
    assert_int_equal(X509_check_ca(x) == 1, c->ca);
    assert_int_equal(skid != NULL, c->skid.n != 0);
    if (skid != NULL)
        assert_true(bm_rd_eq(bm_rd_of(ASN1_STRING_get0_data(skid), (size_t)ASN1_STRING_length(skid)), c->skid));
    if (c->has_key_usage)
        assert_int_equal(X509_get_key_usage(x), c->key_usage);
    X509_free(x);
}

static void every_algorithm_and_leaf(void **state)
{
    static const struct {
        const char *type, *option;
    } kinds[] = { { "EC", "P-256" }, { "EC", "P-384" }, { "EC", "P-521" }, { "ED25519", NULL }, { "RSA", "2048" } };
    static const char *const leaves[] = { "idevid", "ldevid", "tls-server", "manifest-signer" };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(kinds); i++) {
        struct bm_key *root_key = key_new(kinds[i].type, kinds[i].option), *ca_key = key_new(kinds[i].type, kinds[i].option);
        struct bm_key *device = key_new("EC", "P-256");
        struct made root, ca, leaf;

        issue(&root, "root-ca", root_key, NULL, root_key);
        issue(&ca, "issuing-ca", root_key, &root, ca_key);
        same_as_library(&root.cert);
        same_as_library(&ca.cert);
        assert_ok(bm_cert_check_link(&root.cert, &root.cert, NOW, &err));
        assert_ok(bm_cert_check_link(&ca.cert, &root.cert, NOW, &err));
        for (size_t j = 0; j < BM_COUNT(leaves); j++) {
            issue(&leaf, leaves[j], ca_key, &ca, device);
            same_as_library(&leaf.cert);
            assert_ok(bm_cert_check_link(&leaf.cert, &ca.cert, NOW, &err));
            strict_verify(leaf.cert.whole, ca.cert.whole, root.cert.whole, NOW);
            made_done(&leaf);
        }
        made_done(&ca);
        made_done(&root);
        bm_key_free(device);
        bm_key_free(ca_key);
        bm_key_free(root_key);
    }
}

static void serial_is_positive_and_fixed(void **state)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *k = key_new("EC", "P-256");
    struct made m;

    (void)state;
    issue(&m, "root-ca", k, NULL, k);
    assert_int_equal(m.cert.serial.n, 16);
    assert_int_equal(m.cert.serial.p[0], 0x41); /* 0x81: top bit cleared, next one set */
    made_done(&m);
}

/* --- every proper prefix, and one byte more -------------------------------------------------------------------------------------------- */
static void prefixes(void **state)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *k = key_new("EC", "P-256");
    struct made m;
    struct bm_cert c;

    (void)state;
    issue(&m, "ldevid", k, NULL, k);
    for (size_t n = 0; n < m.der.n; n++) {
        uint8_t *p = exact(bm_rd_of(m.der.p, n));

        assert_int_equal(bm_cert_parse(bm_rd_of(p, n), &c, NULL), BM_MALFORMED);
        free(p);
    }
    bm_buf_put(&m.der, "", 1);
    assert_int_equal(bm_cert_parse(bm_buf_rd(&m.der), &c, NULL), BM_MALFORMED);
    made_done(&m);
}

/* --- certificates made by hand, one thing wrong with each --------------------------------------------------------------------------- */
#define SPKI                                                                                                                       \
    "3059 3013 0607 2a8648ce3d0201 0608 2a8648ce3d030107 0342 00 04 "                                                              \
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296 "                                                            \
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
#define ALG "300a 0608 2a8648ce3d040302"
#define NAME "300c 310a 3008 0603 550403 0c01 61"
#define DATES "301e 170d 3236303130313030303030305a 170d 3336303130313030303030305a"
#define V3 "a003 0201 02"
#define BC "300f 0603 551d13 0101ff 0405 3003 0101ff"
#define KU "300e 0603 551d0f 0101ff 0404 0302 0106"

struct by_hand {
    const char *name;
    const char *version, *serial, *alg, *issuer, *dates, *rest; /* rest: subject to the end, without extensions */
    const char *extensions;                                     /* contents of the list; NULL: no field */
    enum bm_rc want;
};
#define GOOD V3, "0201 05", ALG, NAME, DATES, NAME SPKI
static const struct by_hand hands[] = {
    { "as it should be", GOOD, BC KU, BM_OK },
    { "v1", "", "0201 05", ALG, NAME, DATES, NAME SPKI, NULL, BM_OK },
    { "v3 without extensions", GOOD, NULL, BM_OK },
    { "serial zero", V3, "0201 00", ALG, NAME, DATES, NAME SPKI, BC, BM_OK },
    { "serial of 20 bytes", V3, "0214 0102030405060708090a0b0c0d0e0f1011121314", ALG, NAME, DATES, NAME SPKI, BC, BM_OK },
    { "name constraints", GOOD, BC "3016 0603 551d1e 040f 300d a00b 3009 8207 6578616d706c65", BM_OK },
    { "policy constraints", GOOD, BC "300c 0603 551d24 0405 3003 800100", BM_OK },
    { "name constraints no sequence", GOOD, BC "3009 0603 551d1e 0402 0500", BM_MALFORMED },
    { "name constraints with more behind", GOOD, BC "300b 0603 551d1e 0404 3000 0500", BM_MALFORMED },
    { "policy constraints no sequence", GOOD, BC "3009 0603 551d24 0402 0500", BM_MALFORMED },
    { "unknown extension", GOOD, "300a 0603 2a0304 0403 020101", BM_OK },
    { "FALSE written out", GOOD, "300d 0603 2a0304 010100 0403 020101", BM_OK },
    { "empty subject", V3, "0201 05", ALG, NAME, DATES, "3000" SPKI, BC, BM_OK },
    { "no end", V3, "0201 05", ALG, NAME, "3020 170d 3236303130313030303030305a 180f 39393939313233313233353935395a", NAME SPKI, BC,
      BM_OK },
    { "v1 with extensions", "", "0201 05", ALG, NAME, DATES, NAME SPKI, BC, BM_MALFORMED },
    { "v2", "a003 0201 01", "0201 05", ALG, NAME, DATES, NAME SPKI, NULL, BM_MALFORMED },
    { "v4", "a003 0201 03", "0201 05", ALG, NAME, DATES, NAME SPKI, NULL, BM_MALFORMED },
    { "version twice", "a006 0201 02 0201 02", "0201 05", ALG, NAME, DATES, NAME SPKI, NULL, BM_MALFORMED },
    { "negative serial", V3, "0201 ff", ALG, NAME, DATES, NAME SPKI, BC, BM_MALFORMED },
    { "padded serial", V3, "0202 0001", ALG, NAME, DATES, NAME SPKI, BC, BM_MALFORMED },
    { "empty serial", V3, "0200", ALG, NAME, DATES, NAME SPKI, BC, BM_MALFORMED },
    { "serial of 21 bytes", V3, "0215 0102030405060708090a0b0c0d0e0f101112131415", ALG, NAME, DATES, NAME SPKI, BC, BM_MALFORMED },
    { "other algorithm inside", V3, "0201 05", "300a 0608 2a8648ce3d040303", NAME, DATES, NAME SPKI, BC, BM_MALFORMED },
    { "issuer no name", V3, "0201 05", ALG, "3002 3100", DATES, NAME SPKI, BC, BM_MALFORMED },
    { "issuer with three in an attribute", V3, "0201 05", ALG, "300f 310d 300b 0603 550403 0c01 61 0c01 62", DATES, NAME SPKI, BC,
      BM_MALFORMED },
    { "end before start", V3, "0201 05", ALG, NAME, "301e 170d 3336303130313030303030305a 170d 3236303130313030303030305a",
      NAME SPKI, BC, BM_MALFORMED },
    { "one date", V3, "0201 05", ALG, NAME, "300f 170d 3236303130313030303030305a", NAME SPKI, BC, BM_MALFORMED },
    { "unique identifier", V3, "0201 05", ALG, NAME, DATES, NAME SPKI "8102 0001", BC, BM_MALFORMED },
    { "empty extensions", GOOD, "", BM_MALFORMED },
    { "extension twice", GOOD, BC BC, BM_MALFORMED },
    { "unknown extension twice", GOOD, "300a 0603 2a0304 0403 020101 300a 0603 2a0304 0403 020101", BM_MALFORMED },
    { "boolean of 1", GOOD, "300f 0603 551d13 010101 0405 3003 0101ff", BM_MALFORMED },
    { "boolean of two bytes", GOOD, "3010 0603 551d13 0102ffff 0405 3003 0101ff", BM_MALFORMED },
    { "path length of no CA", GOOD, "300f 0603 551d13 0101ff 0405 3003 020100", BM_MALFORMED },
    { "negative path length", GOOD, "3012 0603 551d13 0101ff 0408 3006 0101ff 0201ff", BM_MALFORMED },
    { "left over in basicConstraints", GOOD, "3011 0603 551d13 0101ff 0407 3003 0101ff 0500", BM_MALFORMED },
    { "key usage without bits", GOOD, "300d 0603 551d0f 0101ff 0403 030100", BM_MALFORMED },
    { "key usage with stray bits", GOOD, "300e 0603 551d0f 0101ff 0404 0302 0207", BM_MALFORMED },
    { "key usage of 8 unused bits", GOOD, "300e 0603 551d0f 0101ff 0404 0302 0800", BM_MALFORMED },
    { "empty alternative names", GOOD, "3009 0603 551d11 0402 3000", BM_MALFORMED },
    { "alternative name of another class", GOOD, "300c 0603 551d11 0405 3003 0c01 61", BM_MALFORMED },
    { "key identifier no string", GOOD, "300b 0603 551d0e 0404 0c02 6161", BM_MALFORMED },
    { "usage no OID", GOOD, "300b 0603 551d25 0404 3002 0500", BM_MALFORMED },
    { "extension without value", GOOD, "3005 0603 2a0304", BM_MALFORMED },
    { "extension left over", GOOD, "300c 0603 2a0304 0403 020101 0500", BM_MALFORMED },
};

static void put_hex(struct bm_derw *w, const char *text)
{
    uint8_t room[1024];

    bm_derw_put(w, hex(text, room, sizeof room));
}

static struct bm_rd by_hand(const struct by_hand *h, uint8_t *room, size_t room_len)
{
    struct bm_derw w = bm_derw_of(room, room_len);
    size_t all = bm_derw_mark(&w), mark;

    put_hex(&w, "0301 00");
    put_hex(&w, ALG);
    mark = bm_derw_mark(&w);
    if (h->extensions != NULL) {
        put_hex(&w, h->extensions);
        bm_derw_end(&w, mark, BM_DER_SEQUENCE);
        bm_derw_end(&w, mark, BM_DER_CTX_CONS(3));
    }
    put_hex(&w, h->rest);
    put_hex(&w, h->dates);
    put_hex(&w, h->issuer);
    put_hex(&w, h->alg);
    put_hex(&w, h->serial);
    put_hex(&w, h->version);
    bm_derw_end(&w, mark, BM_DER_SEQUENCE);
    bm_derw_end(&w, all, BM_DER_SEQUENCE);
    assert_false(w.bad);
    return bm_derw_rd(&w);
}

static void rows_by_hand(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(hands); i++) {
        uint8_t room[2048];
        struct bm_rd der = by_hand(&hands[i], room, sizeof room);
        uint8_t *p = exact(der);
        struct bm_cert c;

        if (bm_cert_parse(bm_rd_of(p, der.n), &c, &err) != hands[i].want)
            fail_msg("%s: %s", hands[i].name, err.what);
        for (size_t n = 0; hands[i].want == BM_OK && n < der.n; n++) {
            uint8_t *cut = exact(bm_rd_of(p, n));

            assert_int_equal(bm_cert_parse(bm_rd_of(cut, n), &c, NULL), BM_MALFORMED);
            free(cut);
        }
        free(p);
    }
}

static void what_is_read(void **state)
{
    static const struct by_hand h = { "", GOOD,
                                      "3012 0603 551d13 0101ff 0408 3006 0101ff 020103" KU "300d 0603 2a0304 0101ff 0403 020101"
                                      "3016 0603 551d25 040f 300d 0603 2a0305 0606 2b0601050507",
                                      BM_OK };
    uint8_t room[2048];
    struct bm_cert c;

    (void)state;
    assert_ok(bm_cert_parse(by_hand(&h, room, sizeof room), &c, &err));
    assert_true(c.ca && c.path_len == 3 && c.has_key_usage && c.unknown_critical);
    assert_int_equal(c.key_usage, BM_KU_CERT_SIGN | BM_KU_CRL_SIGN);
    assert_int_equal(c.eku.n, 15);
    assert_int_equal(c.not_before, 1767225600);
}

/* Breaks when a CA's name or policy constraints stop counting because they are not critical (RFC 5280 section 6.1), or something harmless begins to. */
static void what_has_an_issuer_refused(void **state)
{
    static const struct {
        const char *extensions;
        bool want;
    } rows[] = {
        { BC "3016 0603 551d1e 040f 300d a00b 3009 8207 6578616d706c65", true },
        { BC "3019 0603 551d1e 0101ff 040f 300d a00b 3009 8207 6578616d706c65", true },
        { BC "300c 0603 551d24 0405 3003 800100", true },
        { BC "300f 0603 551d24 0101ff 0405 3003 800100", true },
        { BC "300d 0603 2a0304 0101ff 0403 020101", true },
        { BC "300a 0603 551d36 0403 020100", false },
        { BC "300a 0603 2a0304 0403 020101", false },
        { BC KU, false },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct by_hand h = { "", GOOD, rows[i].extensions, BM_OK };
        uint8_t room[2048];
        struct bm_cert c;

        assert_ok(bm_cert_parse(by_hand(&h, room, sizeof room), &c, &err));
        assert_int_equal(c.unknown_critical, rows[i].want);
        assert_int_equal(bm_cert_check_link(&c, &c, c.not_before, &err), BM_DENIED);
        assert_string_equal(err.code, rows[i].want ? "bad-issuer" : "bad-signature");
    }
}

static void limits(void **state)
{
    static uint8_t big[BM_CERT_MAX + 1];
    struct by_hand h = { "", GOOD, NULL, BM_OK };
    char many[33 * 24 + 1];
    uint8_t room[4096];
    struct bm_cert c;

    (void)state;
    assert_int_equal(bm_cert_parse(bm_rd_of(big, sizeof big), &c, &err), BM_LIMIT);
    for (int i = 0; i < 33; i++)
        snprintf(many + (size_t)i * 24, 25, "300a06032a03%02x0403020101", i);
    h.extensions = many;
    assert_int_equal(bm_cert_parse(by_hand(&h, room, sizeof room), &c, &err), BM_LIMIT);
    many[32 * 24] = '\0';
    assert_ok(bm_cert_parse(by_hand(&h, room, sizeof room), &c, &err));
}

/* --- links ------------------------------------------------------------------------------------------------------------------------------ */
/* What breaks: a CA that may have so many below it has more. RFC 5280 section 6.1.4, l and m. */
static void check_depth(const struct bm_cert *leaf, const struct bm_cert *ca, const struct bm_cert *root)
{
    struct bm_cert path[] = { *leaf, *ca, *ca }, issuer = *root;

    for (int room = -1; room < 4; room++) {
        issuer.path_len = room;
        assert_int_equal(bm_cert_check_above(path, BM_COUNT(path), &issuer, NOW, &err), room == 0 || room == 1 ? BM_DENIED : BM_OK);
    }
    assert_string_equal(err.code, "bad-issuer");
    path[1].issuer = path[1].subject; /* self-issued: does not count */
    issuer.path_len = 1;
    assert_ok(bm_cert_check_above(path, BM_COUNT(path), &issuer, NOW, &err));
    assert_ok(bm_cert_check_above(path, 1, ca, NOW, &err)); /* the leaf is none between */
}

static void links_refused(void **state)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *root_key = key_new("EC", "P-256");
    BM_CLEANUP(bm_key_freep) struct bm_key *ca_key = key_new("EC", "P-256");
    BM_CLEANUP(bm_key_freep) struct bm_key *leaf_key = key_new("EC", "P-256");
    struct made root, ca, leaf;
    struct bm_cert c, x;
    uint8_t *flipped;

    (void)state;
    issue(&root, "root-ca", root_key, NULL, root_key);
    issue(&ca, "issuing-ca", root_key, &root, ca_key);
    issue(&leaf, "ldevid", ca_key, &ca, leaf_key);
    assert_ok(bm_cert_check_link(&leaf.cert, &ca.cert, NOW, &err));
#define REFUSED(cert, issuer, at, word)                                                                                            \
    do {                                                                                                                           \
        assert_int_equal(bm_cert_check_link(cert, issuer, at, &err), BM_DENIED);                                                   \
        assert_string_equal(err.code, word);                                                                                       \
    } while (0)
    REFUSED(&leaf.cert, &root.cert, NOW, "bad-issuer");
    REFUSED(&ca.cert, &leaf.cert, NOW, "bad-issuer");
    REFUSED(&leaf.cert, &leaf.cert, NOW, "bad-issuer");
    REFUSED(&leaf.cert, &ca.cert, leaf.cert.not_before - 1, "not-yet-valid");
    REFUSED(&leaf.cert, &ca.cert, leaf.cert.not_after + 1, "expired");
    assert_ok(bm_cert_check_link(&leaf.cert, &ca.cert, leaf.cert.not_after, &err));
    x = ca.cert;
    x.key_usage = BM_KU_CRL_SIGN;
    REFUSED(&leaf.cert, &x, NOW, "bad-issuer");
    x = ca.cert;
    x.unknown_critical = true;
    REFUSED(&leaf.cert, &x, NOW, "bad-issuer");
    x = ca.cert;
    x.not_after = NOW - 1;
    REFUSED(&leaf.cert, &x, NOW, "expired");
    x = ca.cert;
    x.skid = root.cert.skid;
    REFUSED(&leaf.cert, &x, NOW, "bad-issuer");
    x = root.cert;
    x.path_len = 0;
    REFUSED(&ca.cert, &x, NOW, "bad-issuer");
    x = ca.cert;
    x.spki = root.cert.spki;
    REFUSED(&leaf.cert, &x, NOW, "bad-signature");
    check_depth(&leaf.cert, &ca.cert, &root.cert);
    flipped = exact(leaf.cert.whole);
    flipped[leaf.cert.serial.p - leaf.cert.whole.p + 5] ^= 1;
    assert_ok(bm_cert_parse(bm_rd_of(flipped, leaf.cert.whole.n), &c, &err));
    REFUSED(&c, &ca.cert, NOW, "bad-signature");
    free(flipped);
    made_done(&leaf);
    made_done(&ca);
    made_done(&root);
}

/* A good signature is remembered. Breaks when that lets anything else pass, or when what was refused is taken the second time. */
static void links_remembered(void **state)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *ca_key = key_new("EC", "P-256");
    BM_CLEANUP(bm_key_freep) struct bm_key *other_key = key_new("EC", "P-256");
    BM_CLEANUP(bm_key_freep) struct bm_key *leaf_key = key_new("EC", "P-256");
    struct made ca, other, leaf;
    struct bm_cert c;

    (void)state;
    issue(&ca, "root-ca", ca_key, NULL, ca_key);
    issue(&other, "root-ca", other_key, NULL, other_key);
    issue(&leaf, "ldevid", ca_key, &ca, leaf_key);
    for (int i = 0; i < 2; i++) {
        c = other.cert; /* the same name, another key */
        c.skid = ca.cert.skid;
        REFUSED(&leaf.cert, &c, NOW, "bad-signature");
        assert_ok(bm_cert_check_link(&leaf.cert, &ca.cert, NOW, &err));
        REFUSED(&leaf.cert, &ca.cert, leaf.cert.not_after + 1, "expired");
    }
    for (size_t i = 0; i < leaf.cert.whole.n; i++) {
        uint8_t *flipped = exact(leaf.cert.whole);

        flipped[i] ^= 1;
        if (bm_cert_parse(bm_rd_of(flipped, leaf.cert.whole.n), &c, NULL) == BM_OK) {
            assert_int_not_equal(bm_cert_check_link(&c, &ca.cert, NOW, NULL), BM_OK);
            assert_int_not_equal(bm_cert_check_link(&c, &ca.cert, NOW, NULL), BM_OK);
        }
        free(flipped);
    }
    made_done(&leaf);
    made_done(&other);
    made_done(&ca);
}

/* --- certificates of others --------------------------------------------------------------------------------------------------------------- */
static void microchip(void **state)
{
    static const char *const files[] = { "tests/vectors/microchip/crypto-authentication-root-ca-002.pem",
                                         "tests/vectors/microchip/manifest-log-signer-001.pem" };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(files); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX };
        BM_EVP_FREE EVP_PKEY *key = NULL;
        struct bm_spki spki;
        struct bm_cert c;

        pem_file(files[i], &der);
        assert_ok(bm_cert_parse(bm_buf_rd(&der), &c, &err));
        same_as_library(&c);
        assert_int_equal(c.ca, i == 0);
        assert_true(bm_rd_eq(c.issuer, c.subject) && bm_rd_eq(c.akid, c.skid));
        assert_ok(bm_spki_parse(c.spki, &spki, &err));
        assert_ok(bm_spki_open(&spki, &key, &err));
        assert_ok(bm_verify_x509(key, c.sig_alg, c.tbs, c.sig, &err));
        /* the root is a link of itself; the log signer is self-signed without being a CA */
        assert_int_equal(bm_cert_check_link(&c, &c, c.not_before, &err), i == 0 ? BM_OK : BM_DENIED);
    }
}

/* A self-signed certificate as simple tools make it, through the library: v1, RSA or EC. */
static void library_made(void **state)
{
    static const struct {
        const char *type, *option;
        int version;
    } rows[] = { { "EC", "P-256", 0 }, { "EC", "P-384", 2 }, { "RSA", "2048", 0 }, { "RSA", "2048", 2 }, { "ED25519", NULL, 2 } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        EVP_PKEY *k = strcmp(rows[i].type, "EC") == 0 ? EVP_EC_gen(rows[i].option)
                      : rows[i].option != NULL        ? EVP_RSA_gen(2048)
                                                      : EVP_PKEY_Q_keygen(NULL, NULL, rows[i].type);
        X509 *x = X509_new();
        uint8_t *der = NULL;
        struct bm_cert c;
        int n;

        X509_set_version(x, rows[i].version);
        ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
        ASN1_TIME_set(X509_getm_notBefore(x), NOW);
        ASN1_TIME_set(X509_getm_notAfter(x), INT64_C(4000000000));
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)"t\xc3\xa4st", -1, -1, 0);
        X509_set_issuer_name(x, X509_get_subject_name(x));
        X509_set_pubkey(x, k);
        assert_true(X509_sign(x, k, rows[i].option != NULL ? EVP_sha256() : NULL) > 0);
        n = i2d_X509(x, &der);
        assert_ok(bm_cert_parse(bm_rd_of(der, (size_t)n), &c, &err));
        same_as_library(&c);
        OPENSSL_free(der);
        X509_free(x);
        EVP_PKEY_free(k);
    }
}

/* --- names --------------------------------------------------------------------------------------------------------------------------------- */
static void names_found(void **state)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *k = key_new("EC", "P-256");
    struct made m;
    struct bm_rd v;

    (void)state;
    issue(&m, "idevid", k, NULL, k);
    assert_true(bm_name_find(m.cert.subject, bm_rd_of("\x55\x04\x03", 3), &v));
    assert_true(bm_rd_eq(v, bm_rd_str(UDID)));
    assert_true(bm_name_find(m.cert.subject, bm_rd_of("\x55\x04\x05", 3), &v));
    assert_true(bm_rd_eq(v, bm_rd_str("SN-0001")));
    assert_false(bm_name_find(m.cert.subject, bm_rd_of("\x55\x04\x06", 3), &v));
    assert_false(bm_name_find(bm_rd_str("no name"), bm_rd_of("\x55\x04\x06", 3), &v));
    made_done(&m);
}

#define UTF8_CN(c) "\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01" c
#define PRINTABLE_CN(c) "\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x13\x01" c
#define BMP_CN(c) "\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x1e\x01" c
#define UTF8_O(c) "\x31\x0a\x30\x08\x06\x03\x55\x04\x0a\x0c\x01" c
#define NAME1(a) "\x30\x0c" a
#define NAME2(a, b) "\x30\x18" a b
#define ROW(what, a, b, want)                                                                                                      \
    {                                                                                                                              \
        what, BM_LIT(a), BM_LIT(b), want                                                                                           \
    }

/* What a client has made of a name's text is the name still; anything else is another one. */
static void names_alike(void **state)
{
    static const struct {
        const char *what;
        struct bm_rd a, b;
        bool want;
    } rows[] = {
        ROW("the same", NAME2(UTF8_O("o"), UTF8_CN("a")), NAME2(UTF8_O("o"), UTF8_CN("a")), true),
        ROW("another string type", NAME1(UTF8_CN("a")), NAME1(PRINTABLE_CN("a")), true),
        ROW("backwards", NAME2(UTF8_O("o"), UTF8_CN("a")), NAME2(PRINTABLE_CN("a"), UTF8_O("o")), true),
        ROW("none", "\x30\x00", "\x30\x00", true),
        ROW("another value", NAME1(UTF8_CN("a")), NAME1(UTF8_CN("b")), false),
        ROW("a type whose bytes are another text", NAME1(UTF8_CN("a")), NAME1(BMP_CN("a")), false),
        ROW("another attribute", NAME1(UTF8_CN("a")), NAME1(UTF8_O("a")), false),
        ROW("values exchanged", NAME2(UTF8_O("o"), UTF8_CN("a")), NAME2(UTF8_O("a"), UTF8_CN("o")), false),
        ROW("one of two", NAME2(UTF8_O("o"), UTF8_CN("a")), NAME2(UTF8_O("o"), UTF8_CN("b")), false),
        ROW("the first twice", NAME2(UTF8_O("o"), UTF8_CN("a")), NAME2(UTF8_O("o"), UTF8_O("o")), false),
        ROW("one more", NAME1(UTF8_CN("a")), NAME2(UTF8_CN("a"), UTF8_CN("a")), false),
        ROW("no name", NAME1(UTF8_CN("a")), "\x31\x00", false),
        ROW("nothing", NAME1(UTF8_CN("a")), "", false),
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        if (bm_name_alike(rows[i].a, rows[i].b) != rows[i].want || bm_name_alike(rows[i].b, rows[i].a) != rows[i].want)
            fail_msg("%s", rows[i].what);
        for (size_t n = 0; n < rows[i].a.n; n++) { /* each proper prefix, with nothing behind it */
            uint8_t *p = malloc(n + 1);

            memcpy(p + 1, rows[i].a.p, n);
            assert_false(bm_name_alike(bm_rd_of(p + 1, n), rows[i].a));
            free(p);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_algorithm_and_leaf),
        cmocka_unit_test(serial_is_positive_and_fixed),
        cmocka_unit_test(prefixes),
        cmocka_unit_test(rows_by_hand),
        cmocka_unit_test(what_is_read),
        cmocka_unit_test(what_has_an_issuer_refused),
        cmocka_unit_test(limits),
        cmocka_unit_test(links_refused),
        cmocka_unit_test(links_remembered),
        cmocka_unit_test(microchip),
        cmocka_unit_test(library_made),
        cmocka_unit_test(names_found),
        cmocka_unit_test(names_alike),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
