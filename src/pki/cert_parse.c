#include "pki/impl.h"

enum { EXTENSIONS_COUNT_MAX = 32, SERIAL_BYTES_MAX = 20 };

void bm_ext_end(struct bm_derw *w, size_t mark, struct bm_rd oid, bool critical)
{
    bm_derw_end(w, mark, BM_DER_OCTET_STRING);
    if (critical)
        bm_derw_tlv(w, BM_DER_BOOLEAN, bm_rd_of("\xff", 1));
    bm_derw_tlv(w, BM_DER_OID, oid);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

/* An explicit FALSE is no DER (X.690 11.5) but found in chip makers' certificates, and harmless. */
bool bm_ext_next(struct bm_rd *r, struct bm_ext *ret)
{
    struct bm_ext x = { .critical = false };
    struct bm_rd t = *r, seq, flag;

    if (!bm_der_take(&t, BM_DER_SEQUENCE, &seq) || !bm_der_take(&seq, BM_DER_OID, &x.oid) || !bm_der_oid_ok(x.oid))
        return false;
    if (bm_der_take(&seq, BM_DER_BOOLEAN, &flag)) {
        if (flag.n != 1 || (flag.p[0] != 0 && flag.p[0] != 0xff))
            return false;
        x.critical = flag.p[0] != 0;
    }
    if (!bm_der_take(&seq, BM_DER_OCTET_STRING, &x.value) || seq.n != 0)
        return false;
    *ret = x;
    *r = t;
    return true;
}

/* BasicConstraints ::= SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER OPTIONAL } */
static bool basic_constraints(struct bm_rd v, struct bm_cert *c)
{
    struct bm_rd seq, flag;
    uint64_t n;

    if (!bm_der_only(v, BM_DER_SEQUENCE, &seq))
        return false;
    if (bm_der_take(&seq, BM_DER_BOOLEAN, &flag)) {
        if (flag.n != 1 || (flag.p[0] != 0 && flag.p[0] != 0xff))
            return false;
        c->ca = flag.p[0] != 0;
    }
    if (seq.n == 0)
        return true;
    if (!c->ca || !bm_der_uint(&seq, &n) || seq.n != 0)
        return false;
    c->path_len = n > 255 ? 255 : (int)n;
    return true;
}

static bool key_usage(struct bm_rd v, struct bm_cert *c)
{
    struct bm_rd bits;

    if (!bm_der_only(v, BM_DER_BIT_STRING, &bits) || bits.n < 2 || bits.n > 3 || bits.p[0] > 7)
        return false;
    if ((bits.p[bits.n - 1] & ((1u << bits.p[0]) - 1)) != 0) /* X.690 11.2.1: unused bits are zero */
        return false;
    c->has_key_usage = true;
    c->key_usage = bits.p[1] & 0xfe;
    return true;
}

static bool subject_key_id(struct bm_rd v, struct bm_cert *c)
{
    return bm_der_only(v, BM_DER_OCTET_STRING, &c->skid) && c->skid.n != 0;
}

/* AuthorityKeyIdentifier ::= SEQUENCE { [0] keyIdentifier, [1] issuer, [2] serial }, all optional */
static bool authority_key_id(struct bm_rd v, struct bm_cert *c)
{
    struct bm_rd seq;

    if (!bm_der_only(v, BM_DER_SEQUENCE, &seq))
        return false;
    (void)!bm_der_take(&seq, BM_DER_CTX(0), &c->akid);
    (void)!bm_der_take(&seq, BM_DER_CTX_CONS(1), NULL);
    (void)!bm_der_take(&seq, BM_DER_CTX(2), NULL);
    return seq.n == 0;
}

static bool subject_alt_name(struct bm_rd v, struct bm_cert *c)
{
    struct bm_rd names;

    if (!bm_der_only(v, BM_DER_SEQUENCE, &names) || names.n == 0)
        return false;
    while (names.n != 0)
        if ((names.p[0] & 0xc0) != 0x80 || !bm_der_any(&names, NULL, NULL, NULL))
            return false;
    c->san = v;
    return true;
}

static bool ext_key_usage(struct bm_rd v, struct bm_cert *c)
{
    struct bm_rd oids, oid;

    if (!bm_der_only(v, BM_DER_SEQUENCE, &oids) || oids.n == 0)
        return false;
    while (oids.n != 0)
        if (!bm_der_take(&oids, BM_DER_OID, &oid) || !bm_der_oid_ok(oid))
            return false;
    c->eku = v;
    return true;
}

/* RFC 8995 section 2.3.2: an IA5String. */
static bool masa_url(struct bm_rd v, struct bm_cert *c)
{
    if (!bm_der_only(v, BM_DER_IA5, &c->masa_url) || c->masa_url.n == 0 || c->masa_url.n > BM_TEXT_MAX)
        return false;
    for (size_t i = 0; i < c->masa_url.n; i++)
        if (c->masa_url.p[i] <= 0x20 || c->masa_url.p[i] >= 0x7f)
            return false;
    return true;
}

/* Well-formed, and nothing in it that we act on: without policy constraints any policy passes, RFC 5280 section 6.1. */
static bool read_past(struct bm_rd v, struct bm_cert *c)
{
    (void)c;
    return bm_der_only(v, BM_DER_SEQUENCE, NULL);
}

/* We do not process these, and RFC 5280 section 6.1 has them processed, so that a CA that has them is refused. Section 4.2.1 has them critical; where a CA
 * has forgotten that, they bind all the same. */
static bool not_processed(struct bm_rd v, struct bm_cert *c)
{
    c->unknown_critical = true;
    return read_past(v, c);
}

static const struct {
    struct bm_rd oid;
    bool (*read)(struct bm_rd v, struct bm_cert *c);
} known[] = {
    { BM_LIT(OID_BASIC_CONSTRAINTS), basic_constraints },
    { BM_LIT(OID_KEY_USAGE), key_usage },
    { BM_LIT(OID_SKID), subject_key_id },
    { BM_LIT(OID_AKID), authority_key_id },
    { BM_LIT(OID_SAN), subject_alt_name },
    { BM_LIT(OID_EKU), ext_key_usage },
    { BM_LIT(OID_MASA_URL), masa_url },
    { BM_LIT(OID_POLICIES), read_past },
    { BM_LIT(OID_CRL_POINTS), read_past },
    { BM_LIT(OID_AIA), read_past },
    { BM_LIT(OID_NAME_CONSTRAINTS), not_processed },
    { BM_LIT(OID_POLICY_CONSTRAINTS), not_processed },
};

static enum bm_rc extension_read(const struct bm_ext *x, struct bm_cert *c, struct bm_error *e)
{
    char oid[64] = "?";

    for (size_t i = 0; i < BM_COUNT(known); i++) {
        if (!bm_rd_eq(x->oid, known[i].oid))
            continue;
        if (known[i].read(x->value, c))
            return BM_OK;
        (void)!bm_der_oid_text(x->oid, oid, sizeof oid);
        return bm_fail(e, BM_MALFORMED, "certificate: extension %s does not parse", oid);
    }
    c->unknown_critical = c->unknown_critical || x->critical;
    return BM_OK;
}

/* RFC 5280 section 4.2: no extension twice. */
static enum bm_rc extensions_read(struct bm_rd list, struct bm_cert *c, struct bm_error *e)
{
    struct bm_rd seen[EXTENSIONS_COUNT_MAX];
    struct bm_ext x;

    for (size_t n = 0; list.n != 0; n++) {
        enum bm_rc rc;

        if (n == EXTENSIONS_COUNT_MAX)
            return bm_fail(e, BM_LIMIT, "certificate: more than %d extensions", EXTENSIONS_COUNT_MAX);
        if (!bm_ext_next(&list, &x))
            return bm_fail(e, BM_MALFORMED, "certificate: extension %zu does not parse", n + 1);
        seen[n] = x.oid;
        for (size_t i = 0; i < n; i++)
            if (bm_rd_eq(seen[i], x.oid))
                return bm_fail(e, BM_MALFORMED, "certificate: an extension comes twice");
        rc = extension_read(&x, c, e);
        if (rc != BM_OK)
            return rc;
    }
    return BM_OK;
}

bool bm_cert_extension(const struct bm_cert *c, struct bm_rd oid, struct bm_rd *ret)
{
    struct bm_rd list = c->extensions;
    struct bm_ext x;

    while (list.n != 0 && bm_ext_next(&list, &x)) {
        if (bm_rd_eq(x.oid, oid)) {
            *ret = x.value;
            return true;
        }
    }
    return false;
}

/* version [0] EXPLICIT, absent for v1. Sets *ret_v3. */
static bool version_read(struct bm_rd *tbs, bool *ret_v3)
{
    struct bm_rd v;
    uint64_t n;

    *ret_v3 = bm_der_next_is(*tbs, BM_DER_CTX_CONS(0));
    if (!*ret_v3)
        return true;
    return bm_der_take(tbs, BM_DER_CTX_CONS(0), &v) && bm_der_uint(&v, &n) && v.n == 0 && n == 2;
}

static bool serial_ok(struct bm_rd v)
{
    return v.n <= SERIAL_BYTES_MAX && bm_der_int_ok(v) && v.p[0] < 0x80; /* RFC 5280 section 4.1.2.2 */
}

static bool validity_read(struct bm_rd *tbs, struct bm_cert *c)
{
    struct bm_rd seq;

    return bm_der_take(tbs, BM_DER_SEQUENCE, &seq) && bm_der_time(&seq, &c->not_before) && bm_der_time(&seq, &c->not_after) &&
           seq.n == 0 && c->not_before <= c->not_after;
}

/* TBSCertificate up to the extensions, RFC 5280 section 4.1. */
static const char *fields_read(struct bm_rd *tbs, struct bm_cert *c, bool *ret_v3)
{
    struct bm_rd inner_alg;

    if (!version_read(tbs, ret_v3))
        return "version is neither v3 nor v1";
    if (!bm_der_take(tbs, BM_DER_INTEGER, &c->serial) || !serial_ok(c->serial))
        return "serial number is not a non-negative INTEGER of at most 20 bytes";
    if (!bm_der_whole(tbs, BM_DER_SEQUENCE, &inner_alg) || !bm_rd_eq(inner_alg, c->sig_alg))
        return "the two signature algorithms differ";
    if (!bm_der_whole(tbs, BM_DER_SEQUENCE, &c->issuer) || !bm_name_valid(c->issuer))
        return "issuer name does not parse";
    if (!validity_read(tbs, c))
        return "validity does not parse";
    if (!bm_der_whole(tbs, BM_DER_SEQUENCE, &c->subject) || !bm_name_valid(c->subject))
        return "subject name does not parse";
    if (!bm_der_whole(tbs, BM_DER_SEQUENCE, &c->spki))
        return "public key does not parse";
    return NULL;
}

static enum bm_rc tbs_read(struct bm_cert *c, struct bm_error *e)
{
    struct bm_rd tbs, box, list;
    bool v3;
    const char *wrong;

    if (!bm_der_only(c->tbs, BM_DER_SEQUENCE, &tbs))
        return bm_fail(e, BM_MALFORMED, "certificate: not DER");
    wrong = fields_read(&tbs, c, &v3);
    if (wrong != NULL)
        return bm_fail(e, BM_MALFORMED, "certificate: %s", wrong);
    if (tbs.n == 0)
        return BM_OK;
    /* issuerUniqueID and subjectUniqueID are not taken: RFC 5280 section 4.1.2.8 forbids writing them */
    if (!v3 || !bm_der_take(&tbs, BM_DER_CTX_CONS(3), &box) || tbs.n != 0 || !bm_der_only(box, BM_DER_SEQUENCE, &list) ||
        list.n == 0)
        return bm_fail(e, BM_MALFORMED, "certificate: what follows the public key is no extensions field");
    c->extensions = list;
    return extensions_read(list, c, e);
}

enum bm_rc bm_cert_parse(struct bm_rd der, struct bm_cert *ret, struct bm_error *e)
{
    struct bm_cert c = { .whole = der, .path_len = -1 };
    struct bm_rd seq;
    enum bm_rc rc;

    if (der.n > BM_CERT_MAX)
        return bm_fail(e, BM_LIMIT, "certificate of %zu bytes; at most %d are taken", der.n, BM_CERT_MAX);
    if (!bm_der_only(der, BM_DER_SEQUENCE, &seq) || !bm_der_whole(&seq, BM_DER_SEQUENCE, &c.tbs) ||
        !bm_der_whole(&seq, BM_DER_SEQUENCE, &c.sig_alg) || !bm_der_bits(&seq, &c.sig) || seq.n != 0)
        return bm_fail(e, BM_MALFORMED, "certificate: not DER");
    rc = tbs_read(&c, e);
    if (rc == BM_OK)
        *ret = c;
    return rc;
}

void bm_cert_serial_key(struct bm_rd serial, uint8_t ret[16])
{
    size_t n = serial.n < 16 ? serial.n : 16;

    memset(ret, 0, 16);
    if (n != 0)
        memcpy(ret + 16 - n, serial.p + serial.n - n, n);
}
