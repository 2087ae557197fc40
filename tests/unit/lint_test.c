/* The linter: each rule has certificates that break it and nothing else; profiles that would make such certificates are not saved; every
 * built-in profile passes. */
#include "pki_help.h"

#include "pki/lint.h"

/* --- certificates from text ---------------------------------------------------------------------------------------------------------- */
/* Hex bytes; "30{...}" is an element with its length worked out; "5a*64" is a byte 64 times. */
static const char *encode(const char *p, struct bm_buf *out)
{
    while (*p != '\0' && *p != '}') {
        BM_CLEANUP(bm_buf_done) struct bm_buf inner = { .max = BM_CERT_MAX };
        uint8_t byte;
        char *end;

        if (*p == ' ') {
            p++;
            continue;
        }
        assert_true(bm_unhex(bm_rd_of((const uint8_t *)p, 2), &byte, 1));
        p += 2;
        if (*p == '{') {
            p = encode(p + 1, &inner);
            assert_int_equal(*p, '}');
            p++;
            bm_buf_put(out, &byte, 1);
            if (inner.n >= 128)
                bm_buf_uint(out, 1, inner.n < 256 ? 0x81 : 0x82);
            bm_buf_uint(out, inner.n < 256 ? 1 : 2, inner.n);
            bm_buf_put(out, inner.p, inner.n);
        } else {
            for (unsigned long n = *p == '*' ? strtoul(p + 1, &end, 10) : 1; n > 0; n--)
                bm_buf_put(out, &byte, 1);
            p = *p == '*' ? end : p;
        }
    }
    return p;
}

#define NAME(type, value) "30{31{30{06{" type "}" value "}}}"
#define CN "550403"
#define ALG(oid) "30{06{" oid "}}"
#define ALG_NULL(oid) "30{06{" oid "}0500}"
#define NO_END "18{39393939313233313233353935395a}"
#define EXT(oid, value) "30{06{" oid "}04{" value "}}"
#define CRIT(oid, value) "30{06{" oid "}0101ff04{" value "}}"

#define ED25519_KEY "30{30{06{2b6570}}03{00 5a*32}}"
#define EC_KEY "30{30{06{2a8648ce3d0201}06{2a8648ce3d030107}}03{0004 5a*64}}"
#define RSA_KEY "30{30{06{2a864886f70d010101}0500}03{0030{02{00c1*256}02{010001}}}}"
#define ML_DSA_KEY(last) "30{30{06{6086480165030403" last "}}03{00 5a*1312}}"

#define KU(bits) CRIT("551d0f", "03{" bits "}")
#define SIGNS KU("0780")
#define SIGNS_CERTS KU("0106")
#define IS_CA CRIT("551d13", "30{0101ff}")
#define SKI EXT("551d0e", "04{01*20}")
#define AKI EXT("551d23", "30{80{02*20}}")
#define EKU(purposes) EXT("551d25", "30{" purposes "}")
#define SERVER "06{2b06010505070301}"
#define CLIENT "06{2b06010505070302}"
#define CODE "06{2b06010505070303}"
#define EMAIL "06{2b06010505070304}"
#define STAMP "06{2b06010505070308}"
#define OCSP "06{2b06010505070309}"
#define SAN(names) EXT("551d11", "30{" names "}")
#define NOCHECK "2b0601050507300105"
#define FEATURE "2b06010505070118"
#define HTTP "86{687474703a2f2f61}"
#define HTTPS "86{68747470733a2f2f61}"
#define POINT(uri) "30{a0{a0{" uri "}}}"
#define CONSTRAINED "30{a0{30{82{61}}}}"

#define LEAF SIGNS SKI AKI
#define CA SIGNS_CERTS IS_CA SKI AKI
#define A_SERVER LEAF EKU(SERVER) SAN("82{53}")

struct parts {
    const char *version, *serial, *alg, *outer, *issuer, *before, *after, *subject, *key, *ids, *ext;
};
static const struct parts plain = {
    .version = "a0{020102}",
    .serial = "02{41*16}",
    .alg = ALG("2a8648ce3d040302"),
    .issuer = NAME(CN, "0c{49}"),
    .before = "17{3236303130313030303030305a}",
    .after = "17{3237303130313030303030305a}",
    .subject = NAME(CN, "0c{53}"),
    .key = ED25519_KEY,
    .ids = "",
    .ext = LEAF,
};

static void build(const struct parts *p, struct bm_buf *out)
{
    char text[4096];
#define PART(name) (p->name != NULL ? p->name : plain.name)
    const char *outer = p->outer != NULL ? p->outer : PART(alg);

    snprintf(text, sizeof text, "30{30{%s%s%s%s30{%s%s}%s%s%sa3{30{%s}}}%s03{0000}}", PART(version), PART(serial), PART(alg),
             PART(issuer), PART(before), PART(after), PART(subject), PART(key), PART(ids), PART(ext), outer);
    assert_int_equal(*encode(text, out), '\0');
    assert_false(out->bad);
}

/* --- rules ---------------------------------------------------------------------------------------------------------------------------- */
static const struct {
    const char *rule, *also; /* also: a recommendation that goes with it by nature */
    struct parts p;
} rows[] = {
    { "version", NULL, { .version = "" } },
    { "version", NULL, { .version = "a0{020101}" } },
    { "serial-positive", NULL, { .serial = "02{ff01}" } },
    { "serial-positive", NULL, { .serial = "02{00}" } },
    { "serial-length", NULL, { .serial = "02{41*21}" } },
    { "serial-random", NULL, { .serial = "02{41*7}", .ext = A_SERVER } },
    { "signature-algorithms", NULL, { .outer = ALG("2a8648ce3d040303") } },
    { "signature-weak", NULL, { .alg = ALG_NULL("2a864886f70d010105") } },
    { "signature-weak", NULL, { .alg = ALG_NULL("2a864886f70d010104") } },
    { "signature-weak", NULL, { .alg = ALG("2a8648ce3d0401") } },
    { "signature-parameters", NULL, { .alg = ALG_NULL("2a8648ce3d040302") } },
    { "signature-parameters", NULL, { .alg = ALG_NULL("2b6570") } },
    { "signature-parameters", NULL, { .alg = ALG("2a864886f70d01010b") } },
    { "unique-ids", NULL, { .ids = "81{0001}" } },
    { "unique-ids", NULL, { .ids = "82{0001}" } },
    { "time-form", NULL, { .after = "17{32373031303130303030 5a}" } },
    { "time-form", NULL, { .after = "17{3237303130313030303030302b30303030}" } },
    { "time-form", NULL, { .after = "18{32303630303130313030303030302e315a}" } },
    { "time-form", NULL, { .before = "0c{3236303130313030303030305a}" } },
    { "time-kind", NULL, { .after = "18{32303237303130313030303030305a}" } },
    { "time-order", NULL, { .before = "17{3238303130313030303030305a}" } },
    { "key", NULL, { .key = "30{30{06{2b6570}}03{00 5a*31}}" } },
    { "key", NULL, { .key = "30{30{06{2a864886f70d010101}0500}03{0030{02{00c1*128}02{010001}}}}" } },
    { "key", NULL, { .key = "30{30{06{2a8648ce3d0201}30{020101}}03{0004 5a*64}}" } },

    { "issuer-empty", NULL, { .issuer = "30{}" } },
    { "ca-subject-empty", NULL, { .subject = "30{}", .ext = CA } },
    { "subject-empty", NULL, { .subject = "30{}" } },
    { "subject-empty", NULL, { .subject = "30{}", .ext = LEAF SAN("82{61}") } },
    { "name-form", NULL, { .subject = "30{31{}}" } },
    { "name-string", NULL, { .subject = NAME(CN, "16{53}") } },
    { "name-string", NULL, { .issuer = NAME("55040a", "14{53}") } },
    { "name-printable", NULL, { .subject = NAME("550405", "0c{53}") } },
    { "name-printable", NULL, { .subject = NAME("550406", "0c{4445}") } },
    { "name-ia5", NULL, { .subject = NAME("0992268993f22c640119", "0c{61}") } },
    { "name-characters", NULL, { .subject = NAME(CN, "13{2a}") } },
    { "name-characters", NULL, { .subject = NAME(CN, "0c{c328}") } },
    { "name-characters", NULL, { .subject = NAME("0992268993f22c640119", "16{e9}") } },
    { "name-empty", NULL, { .subject = NAME(CN, "0c{}") } },
    { "name-country", NULL, { .subject = NAME("550406", "13{6465}") } },
    { "name-country", NULL, { .subject = NAME("550406", "13{444555}") } },
    { "name-length", NULL, { .subject = NAME(CN, "0c{41*65}") } },
    { "name-length", NULL, { .subject = NAME("550405", "13{41*65}") } },
    { "name-length", NULL, { .issuer = NAME("550408", "0c{41*129}") } },

    { "extension-twice", NULL, { .ext = LEAF SKI } },
    { "extensions-none", "ski", { .ext = "", .issuer = NAME(CN, "0c{53}") } },
    { "extension-unknown", NULL, { .ext = LEAF CRIT("2a0304", "0500") } },
    { "extension-default", NULL, { .ext = SIGNS AKI "30{06{551d0e}010100 04{04{01*20}}}" } },
    { "basic-constraints-form", NULL, { .ext = LEAF EXT("551d13", "30{0500}") } },
    { "key-usage-form", NULL, { .ext = SKI AKI KU("0980") } },
    { "key-usage-form", NULL, { .ext = SKI AKI CRIT("551d0f", "0500") } },
    { "eku-form", NULL, { .ext = LEAF EKU("") } },
    { "eku-form", NULL, { .ext = LEAF EKU("0500") } },
    { "ski-form", NULL, { .ext = SIGNS AKI EXT("551d0e", "04{}") } },
    { "aki-form", NULL, { .ext = SIGNS SKI EXT("551d23", "0500") } },
    { "san-form", NULL, { .ext = LEAF SAN("") } },
    { "san-form", NULL, { .ext = LEAF SAN("0c{61}") } },
    { "policies-form", NULL, { .ext = LEAF EXT("551d20", "30{}") } },
    { "crl-form", NULL, { .ext = LEAF EXT("551d1f", "30{}") } },
    { "aia-form", NULL, { .ext = LEAF EXT("2b06010505070101", "30{}") } },
    { "ocsp-nocheck-form", NULL, { .ext = LEAF EKU(OCSP) EXT(NOCHECK, "0400") } },
    { "tls-feature-form", NULL, { .ext = LEAF EXT(FEATURE, "30{020106}") } },
    { "tls-feature-form", NULL, { .ext = LEAF EXT(FEATURE, "020105") } },

    { "basic-constraints-critical", NULL, { .ext = SIGNS_CERTS SKI AKI EXT("551d13", "30{0101ff}") } },
    { "key-usage-critical", NULL, { .ext = SKI AKI EXT("551d0f", "03{0780}") } },
    { "name-constraints-critical", NULL, { .ext = CA EXT("551d1e", CONSTRAINED) } },
    { "policy-constraints-critical", NULL, { .ext = CA EXT("551d24", "30{800100}") } },
    { "inhibit-any-policy-critical", NULL, { .ext = CA EXT("551d36", "020100") } },
    { "ski-critical", NULL, { .ext = SIGNS AKI CRIT("551d0e", "04{01*20}") } },
    { "aki-critical", NULL, { .ext = SIGNS SKI CRIT("551d23", "30{80{02*20}}") } },
    { "aia-critical", NULL, { .ext = LEAF CRIT("2b06010505070101", "30{30{06{2b06010505073001}" HTTP "}}") } },
    { "sia-critical", NULL, { .ext = CA CRIT("2b0601050507010b", "30{30{06{2b06010505073005}" HTTP "}}") } },
    { "freshest-crl-critical", NULL, { .ext = LEAF CRIT("551d2e", "30{" POINT(HTTP) "}") } },
    { "directory-attributes-critical", NULL, { .ext = LEAF CRIT("551d09", "30{30{06{2a03}31{0500}}}") } },
    { "issuer-alt-name-critical", NULL, { .ext = LEAF CRIT("551d12", "30{82{61}}") } },
    { "crl-critical", NULL, { .ext = LEAF CRIT("551d1f", "30{" POINT(HTTP) "}") } },
    { "ocsp-nocheck-critical", NULL, { .ext = LEAF EKU(OCSP) CRIT(NOCHECK, "0500") } },
    { "tls-feature-critical", NULL, { .ext = LEAF CRIT(FEATURE, "30{020105}") } },
    { "san-critical", NULL, { .ext = LEAF CRIT("551d11", "30{82{61}}") } },
    { "any-purpose-critical", NULL, { .ext = LEAF CRIT("551d25", "30{06{551d2500}}") } },

    { "ca-key-usage", NULL, { .ext = IS_CA SKI AKI } },
    { "ca-cert-sign", NULL, { .ext = KU("0102") IS_CA SKI AKI } },
    { "leaf-cert-sign", NULL, { .ext = KU("0284") SKI AKI } },
    { "path-length", NULL, { .ext = LEAF EXT("551d13", "30{020100}") } },
    { "name-constraints-leaf", NULL, { .ext = LEAF CRIT("551d1e", CONSTRAINED) } },
    { "policy-mappings-leaf", NULL, { .ext = LEAF CRIT("551d21", "30{30{06{2a03}06{2a04}}}") } },

    { "key-usage-empty", NULL, { .ext = SKI AKI KU("00") } },
    { "key-usage-trailing", NULL, { .ext = SKI AKI KU("0080") } },
    { "key-usage-trailing", NULL, { .ext = SKI AKI KU("078000") } },
    { "key-usage-only", NULL, { .ext = SKI AKI KU("0081") } },
    { "key-usage-only", NULL, { .ext = SKI AKI KU("078080") } },
    { "key-usage-ec", NULL, { .key = EC_KEY, .ext = SKI AKI KU("05a0") } },
    { "key-usage-ec", NULL, { .key = EC_KEY, .ext = SKI AKI KU("0490") } },
    { "key-usage-rsa", NULL, { .key = RSA_KEY, .ext = SKI AKI KU("0388") } },
    { "key-usage-ed25519", NULL, { .ext = SKI AKI KU("0388") } },
    { "key-usage-ml-dsa-44", NULL, { .key = ML_DSA_KEY("11"), .ext = SKI AKI KU("05a0") } },
    { "key-usage-ml-dsa-65", NULL, { .key = ML_DSA_KEY("12"), .ext = SKI AKI KU("05a0") } },
    { "key-usage-ml-dsa-87", NULL, { .key = ML_DSA_KEY("13"), .ext = SKI AKI KU("05a0") } },
    { "purpose-server", NULL, { .ext = KU("0640") SKI AKI EKU(SERVER) SAN("82{53}") } },
    { "purpose-client", NULL, { .ext = KU("0640") SKI AKI EKU(CLIENT) } },
    { "purpose-client", NULL, { .key = RSA_KEY, .ext = KU("0520") SKI AKI EKU(CLIENT) } },
    { "purpose-code", NULL, { .ext = KU("0640") SKI AKI EKU(CODE) } },
    { "purpose-email", NULL, { .key = RSA_KEY, .ext = KU("0410") SKI AKI EKU(EMAIL) } },
    { "purpose-time", NULL, { .key = EC_KEY, .ext = KU("0308") SKI AKI CRIT("551d25", "30{" STAMP "}") } },
    { "purpose-ocsp", NULL, { .key = EC_KEY, .ext = KU("0308") SKI AKI EKU(OCSP) } },
    { "time-stamp-alone", NULL, { .ext = LEAF CRIT("551d25", "30{" STAMP CLIENT "}") } },
    { "time-stamp-critical", NULL, { .ext = LEAF EKU(STAMP) } },
    { "ocsp-nocheck-responder", NULL, { .ext = LEAF EKU(CLIENT) EXT(NOCHECK, "0500") } },

    { "ski-ca", NULL, { .ext = SIGNS_CERTS IS_CA AKI } },
    { "ski", NULL, { .ext = SIGNS AKI } },
    { "aki", NULL, { .ext = SIGNS SKI } },
    { "aki-key-id", NULL, { .ext = SIGNS SKI EXT("551d23", "30{a1{82{61}}82{01}}") } },
    { "aki-pair", NULL, { .ext = SIGNS SKI EXT("551d23", "30{80{01}82{01}}") } },
    { "aki-pair", NULL, { .ext = SIGNS SKI EXT("551d23", "30{80{01}a1{82{61}}}") } },

    { "san-dns", NULL, { .ext = LEAF SAN("82{2d61}") } },
    { "san-dns", NULL, { .ext = LEAF SAN("82{}") } },
    { "san-dns", NULL, { .ext = LEAF SAN("82{61*64}") } },
    { "san-dns", NULL, { .ext = LEAF SAN("82{61}82{612e2e62}") } },
    { "san-ip", NULL, { .ext = LEAF SAN("87{0a0000}") } },
    { "san-ip", NULL, { .ext = LEAF SAN("87{0a*8}") } },
    { "san-uri", NULL, { .ext = LEAF SAN("86{61}") } },
    { "san-uri", NULL, { .ext = LEAF SAN("86{75726e3a 20}") } },
    { "san-uri-host", NULL, { .ext = LEAF SAN("86{687474703a2f2f2f61}") } },
    { "san-email", NULL, { .ext = LEAF SAN("81{61}") } },
    { "san-email", NULL, { .ext = LEAF SAN("81{4061}") } },
    { "san-hardware", NULL, { .ext = LEAF SAN("a0{06{2b06010505070804}a0{30{06{2a03}}}}") } },
    { "san-hardware", NULL, { .ext = LEAF SAN("a0{06{2b06010505070804}a0{30{06{2a03}04{}}}}") } },
    { "server-name", NULL, { .ext = LEAF EKU(SERVER) } },
    { "server-name", NULL, { .ext = LEAF EKU(SERVER) SAN("86{75726e3a61}") } },
    { "server-common-name", NULL, { .ext = LEAF EKU(SERVER) SAN("82{61}") } },
    { "crl-nowhere", NULL, { .ext = LEAF EXT("551d1f", "30{30{81{0780}}}") } },
    { "crl-scheme", NULL, { .ext = LEAF EXT("551d1f", "30{" POINT(HTTP) POINT(HTTPS) "}") } },
    { "aia-scheme", NULL, { .ext = LEAF EXT("2b06010505070101", "30{30{06{2b06010505073001}" HTTPS "}}") } },
    { "policy-twice", NULL, { .ext = LEAF EXT("551d20", "30{30{06{2a03}}30{06{2a04}}30{06{2a03}}}") } },

    { "idevid-serial-number", NULL, { .after = NO_END } },
    { "idevid-key-usage",
      NULL,
      { .after = NO_END, .key = EC_KEY, .subject = NAME("550405", "13{31}"), .ext = SKI AKI KU("0308") } },
};

/* Names of the rules broken, with blanks between. */
static enum bm_rc note(void *arg, const struct bm_lint_rule *r, struct bm_error *e)
{
    (void)e;
    bm_buf_printf(arg, "%s ", r->name);
    return BM_OK;
}

static void each_rule_alone(void **state)
{
    size_t n_rules = 0, seen = 0;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX }, broken = { .max = 4096 };
        char want[120];

        build(&rows[i].p, &der);
        if (bm_cert_lint(bm_buf_rd(&der), note, &broken, &err) != BM_OK)
            fail_msg("row %zu, %s: %s", i, rows[i].rule, err.what);
        bm_buf_put(&broken, "", 1);
        snprintf(want, sizeof want, "%s %s%s", rows[i].rule, rows[i].also != NULL ? rows[i].also : "",
                 rows[i].also != NULL ? " " : "");
        if (strcmp((const char *)broken.p, want) != 0)
            fail_msg("row %zu, %s: breaks '%s'", i, rows[i].rule, (const char *)broken.p);
    }
    for (const struct bm_lint_rule *r = bm_lint_rules; r->name != NULL; r++, n_rules++)
        for (size_t i = 0, found = 0; i < BM_COUNT(rows) && found == 0; i++)
            seen += found = strcmp(rows[i].rule, r->name) == 0;
    assert_int_equal(seen, n_rules);
    assert_true(n_rules > 80);
}

/* What is good, in all its forms; and each rule says where it comes from. */
static void good_ones(void **state)
{
    static const struct parts goods[] = {
        { .ext = LEAF },
        { .ext = CA },
        { .ext = SIGNS_CERTS CRIT("551d13", "30{0101ff 020103}") SKI, .issuer = NAME(CN, "0c{53}") },
        { .ext = A_SERVER },
        { .ext = LEAF EKU(SERVER CLIENT) SAN("87{0a000001}82{53}"), .subject = NAME(CN, "13{53}") },
        { .ext = LEAF EKU(SERVER) SAN("87{0a000001}"), .subject = NAME(CN, "0c{31302e302e302e31}") },
        { .ext = LEAF CRIT("551d25", "30{" STAMP "}") },
        { .ext = LEAF EKU(OCSP) EXT(NOCHECK, "0500") EXT(FEATURE, "30{020105}") },
        { .ext = LEAF CRIT("551d11", "30{82{61}}"), .subject = "30{}" },
        { .ext = LEAF SAN("81{61406263}82{2a2e61}86{687474703a2f2f612f}86{75726e3a613a62}87{0a*16}a4{" NAME(
              CN, "0c{53}") "}"
                            "a0{06{2b06010505070804}a0{30{06{2a03}04{01}}}}a0{06{2a03}a0{0500}}88{2a03}") },
        { .ext = LEAF EXT("551d1f", "30{" POINT(HTTP) "30{a2{a4{" NAME(CN, "0c{53}") "}}}}")
              EXT("551d20", "30{30{06{2a03}}30{06{2a04}}}") },
        { .after = NO_END, .subject = NAME("550405", "13{31}") },
        { .after = "18{32303530303130313030303030305a}" },
        { .key = RSA_KEY, .alg = ALG_NULL("2a864886f70d01010b"), .ext = SKI AKI KU("05a0") EKU(SERVER) SAN("82{53}") },
        { .key = EC_KEY, .ext = SKI AKI KU("00 89") },
        { .key = ML_DSA_KEY("12") },
        { .subject = "30{31{30{06{550406}13{4445}}}31{30{06{55040a}0c{c3a4*1}}30{06{55040b}13{41}}}}" },
        { .ext = LEAF EXT("2a0304", "0500") },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(goods); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX }, broken = { .max = 4096 };

        build(&goods[i], &der);
        assert_ok(bm_cert_lint(bm_buf_rd(&der), note, &broken, &err));
        bm_buf_put(&broken, "", 1);
        if (broken.n != 1)
            fail_msg("good row %zu breaks '%s'", i, (const char *)broken.p);
    }
    for (const struct bm_lint_rule *r = bm_lint_rules; r->name != NULL; r++)
        assert_true(r->section[0] != '\0' && r->what[0] != '\0');
}

/* No certificate at all: every proper prefix, and bytes left over. */
static void no_certificate(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX }, broken = { .max = 4096 };
    static uint8_t big[BM_CERT_MAX + 1];

    (void)state;
    build(&plain, &der);
    for (size_t n = 0; n < der.n; n++) {
        uint8_t *cut = exact(bm_rd_of(der.p, n));

        assert_int_equal(bm_cert_lint(bm_rd_of(cut, n), note, &broken, NULL), BM_MALFORMED);
        free(cut);
    }
    bm_buf_put(&der, "", 1);
    assert_int_equal(bm_cert_lint(bm_buf_rd(&der), note, &broken, NULL), BM_MALFORMED);
    assert_int_equal(bm_cert_lint(bm_rd_of(big, sizeof big), note, &broken, NULL), BM_LIMIT);
    assert_int_equal(broken.n, 0);
}

/* --- profiles ------------------------------------------------------------------------------------------------------------------------- */
#define DS "\"validity\":\"30d\",\"key_usage\":[\"digitalSignature\"]"

static void profiles_on_trial(void **state)
{
    static const struct {
        const char *json, *told; /* told: of the refusal; NULL: it passes */
        const char *recommended;
    } cases[] = {
        { DS ",\"subject\":\"CN={udid}\"", NULL, "" },
        { DS ",\"subject\":\"C={attr:country},CN={attr:lot}\",\"san\":[\"ip:{attr:ip}\",\"dns:{attr:name}.example\"]", NULL, "" },
        { DS ",\"subject\":\"CN={udid}\",\"crl\":[\"http://a/c\"],\"ocsp\":[\"http://a/o\"]", NULL, "" },
        { DS ",\"subject\":\"CN={udid}\",\"crl\":[\"https://a/c\"]", NULL, "crl-scheme " },
        { DS ",\"subject\":\"CN={udid}\",\"issuers\":[\"https://a/c\"]", NULL, "aia-scheme " },
        { DS ",\"subject\":\"CN={service}\",\"eku\":[\"serverAuth\"],\"san\":[\"dns:{host}\"]", NULL, "server-common-name " },
        { DS ",\"san\":[\"hardware-module\"],\"hw_type\":\"1.3.6.1.4.1.99999.1\"", NULL, "" },
        { DS ",\"subject\":\"CN={udid}{udid}\"", "is longer", NULL },
        { DS ",\"subject\":\"CN={udid} {product}\"", "is longer", NULL },
        { DS ",\"subject\":\"C={org}\"", "cannot hold", NULL },
        { DS ",\"subject\":\"C=de\"", "cannot hold", NULL },
        { DS ",\"subject\":\"serialNumber=caf\xc3\xa9\"", "cannot hold", NULL },
        { DS ",\"subject\":\"CN=a\",\"san\":[\"dns:{udid}\"]", "is no DNS name", NULL },
        { DS ",\"subject\":\"CN=a\",\"san\":[\"dns:-{product}\"]", "is no DNS name", NULL },
        { DS ",\"subject\":\"CN=a\",\"san\":[\"ip:{udid}\"]", "is no IP address", NULL },
        { DS ",\"subject\":\"CN=a\",\"san\":[\"uri:{product}\"]", "is no URI", NULL },
        { DS ",\"subject\":\"CN=a\",\"san\":[\"uri:http:///{product}\"]", "rule san-uri-host", NULL },
        { DS ",\"subject\":\"CN=Trial CA\"", "issuer's own name", NULL },
        { "\"validity\":\"30d\",\"key_usage\":[\"keyEncipherment\"],\"keys\":[\"RSA\"],\"subject\":\"CN=a\",\"eku\":["
          "\"clientAuth\"]",
          "rule purpose-client", NULL },
        { "\"validity\":\"30d\",\"key_usage\":[\"contentCommitment\"],\"subject\":\"CN=a\",\"eku\":[\"codeSigning\"]",
          "rule purpose-code", NULL },
        { "\"validity\":\"30d\",\"key_usage\":[\"keyAgreement\"],\"keys\":[\"P-256\"],\"subject\":\"CN=a\",\"eku\":["
          "\"OCSPSigning\"]",
          "rule purpose-ocsp", NULL },
        { "\"not_after\":\"99991231235959Z\",\"key_usage\":[\"keyAgreement\"],\"keys\":[\"P-384\"],\"subject\":\"serialNumber={"
          "serial}\"",
          "rule idevid-key-usage", NULL },
        { DS ",\"subject\":\"CN=a\",\"policies\":[\"1.2.3.4\"]", NULL, "" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(cases); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 4096 }, recommended = { .max = 4096 };
        BM_CLEANUP(bm_profile_freep) struct bm_profile *p = NULL;
        enum bm_rc rc;

        bm_buf_printf(&text, "{%s}", cases[i].json);
        assert_ok(bm_profile_parse("test", bm_buf_rd(&text), &p, &err));
        rc = bm_profile_lint(p, NOW, note, &recommended, &err);
        bm_buf_put(&recommended, "", 1);
        if (rc != (cases[i].told == NULL ? BM_OK : BM_USAGE))
            fail_msg("%s: %s %s", cases[i].json, bm_rc_name(rc), err.what);
        if (cases[i].told == NULL && strncmp((const char *)recommended.p, cases[i].recommended, strlen(cases[i].recommended)) != 0)
            fail_msg("%s: recommended '%s'", cases[i].json, (const char *)recommended.p);
        if (cases[i].recommended != NULL)
            assert_int_equal(recommended.n == 1, cases[i].recommended[0] == '\0');
        if (cases[i].told != NULL) {
            assert_string_equal(err.code, "profile-lint");
            if (strstr(err.what, cases[i].told) == NULL)
                fail_msg("%s: %s", cases[i].json, err.what);
        }
    }
}

/* Breaks when a profile that everybody has is not as good as what users have to bring. */
static void builtins_pass(void **state)
{
    (void)state;
    for (const struct bm_profile_builtin *b = bm_profiles_builtin; b->name != NULL; b++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf recommended = { .max = 4096 };
        BM_CLEANUP(bm_profile_freep) struct bm_profile *p = NULL;

        assert_ok(bm_profile_parse(b->name, bm_rd_str(b->json), &p, &err));
        assert_ok(bm_profile_lint(p, NOW, note, &recommended, &err));
        assert_int_equal(recommended.n, 0);
        assert_ok(bm_profile_lint(p, NOW, NULL, NULL, &err));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_alone),   cmocka_unit_test(good_ones),     cmocka_unit_test(no_certificate),
        cmocka_unit_test(profiles_on_trial), cmocka_unit_test(builtins_pass),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
