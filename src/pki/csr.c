#include "pki/impl.h"

enum { CSR_ATTRIBUTES_MAX = 16, CHALLENGE_PASSWORD_MAX = BM_CHALLENGE_PASSWORD_MAX, KEY_ID_MAX = 64 };

static const struct bm_rd oid_extension_request = BM_LIT(OID_EXTENSION_REQUEST);
static const struct bm_rd oid_challenge_password = BM_LIT(OID_CHALLENGE_PASSWORD);
static const struct bm_rd oid_identity_linking = BM_LIT(OID_EST_IDENTITY_LINKING);
static const struct bm_rd oid_decrypt_key_id = BM_LIT(OID_DECRYPT_KEY_ID);
static const struct bm_rd oid_asymmetric_key_id = BM_LIT(OID_ASYMM_DECRYPT_KEY_ID);
static const struct bm_rd oid_smime_capabilities = BM_LIT(OID_SMIME_CAPABILITIES);
static const struct bm_rd oid_san = BM_LIT(OID_SAN);

/* ExtensionReq ::= SEQUENCE OF Extension, RFC 2985 section 5.4.2; only the subjectAltName is of use to us. */
static bool extension_request(struct bm_rd value, struct bm_csr *c)
{
    struct bm_rd list, names;
    struct bm_ext x;

    if (!bm_der_only(value, BM_DER_SEQUENCE, &list))
        return false;
    while (list.n != 0) {
        if (!bm_ext_next(&list, &x))
            return false;
        if (!bm_rd_eq(x.oid, oid_san))
            continue;
        if (c->san.n != 0 || !bm_der_only(x.value, BM_DER_SEQUENCE, &names))
            return false;
        while (names.n != 0)
            if ((names.p[0] & 0xc0) != 0x80 || !bm_der_any(&names, NULL, NULL, NULL))
                return false;
        c->san = x.value;
    }
    return true;
}

/* A DirectoryString in practice; RFC 2985 section 5.4.1. */
static bool directory_string(struct bm_rd value, struct bm_rd *ret)
{
    uint8_t tag;

    return bm_der_any(&value, &tag, ret, NULL) && value.n == 0 && ret->n <= CHALLENGE_PASSWORD_MAX &&
           (tag == BM_DER_UTF8 || tag == BM_DER_PRINTABLE || tag == BM_DER_IA5);
}

static bool challenge_password(struct bm_rd value, struct bm_csr *c)
{
    return directory_string(value, &c->challenge_password);
}

static bool identity_linking(struct bm_rd value, struct bm_csr *c)
{
    return directory_string(value, &c->identity_linking) && c->identity_linking.n != 0;
}

static bool key_id(struct bm_rd value, struct bm_rd *ret)
{
    return bm_der_only(value, BM_DER_OCTET_STRING, ret) && ret->n != 0 && ret->n <= KEY_ID_MAX;
}

static bool decrypt_key_id(struct bm_rd value, struct bm_csr *c)
{
    return key_id(value, &c->decrypt_key_id);
}

static bool asymmetric_key_id(struct bm_rd value, struct bm_csr *c)
{
    return key_id(value, &c->asymmetric_key_id);
}

/* SMIMECapabilities ::= SEQUENCE OF SEQUENCE { capabilityID OID, parameters ANY OPTIONAL }, RFC 8551 section 2.5.2. */
static bool smime_capabilities(struct bm_rd value, struct bm_csr *c)
{
    struct bm_rd list, one, oid;

    if (!bm_der_only(value, BM_DER_SEQUENCE, &list))
        return false;
    c->smime_capabilities = list;
    while (list.n != 0)
        if (!bm_der_take(&list, BM_DER_SEQUENCE, &one) || !bm_der_take(&one, BM_DER_OID, &oid) || !bm_der_oid_ok(oid))
            return false;
    return c->smime_capabilities.n != 0;
}

static const struct {
    const struct bm_rd *oid;
    bool (*read)(struct bm_rd value, struct bm_csr *c);
} known[] = {
    { &oid_extension_request, extension_request }, { &oid_challenge_password, challenge_password },
    { &oid_decrypt_key_id, decrypt_key_id },       { &oid_asymmetric_key_id, asymmetric_key_id },
    { &oid_identity_linking, identity_linking },   { &oid_smime_capabilities, smime_capabilities },
};

/* Attribute ::= SEQUENCE { type OID, values SET OF ANY }. seen: bit per row of known[]; all are single-valued. */
static bool attribute_read(struct bm_rd *attributes, unsigned *seen, struct bm_csr *c)
{
    struct bm_rd attribute, oid, values;

    if (!bm_der_take(attributes, BM_DER_SEQUENCE, &attribute) || !bm_der_take(&attribute, BM_DER_OID, &oid) ||
        !bm_der_oid_ok(oid) || !bm_der_take(&attribute, BM_DER_SET, &values) || attribute.n != 0)
        return false;
    for (unsigned i = 0; i < BM_COUNT(known); i++) {
        if (!bm_rd_eq(oid, *known[i].oid))
            continue;
        if ((*seen & 1u << i) != 0 || !known[i].read(values, c))
            return false;
        *seen |= 1u << i;
    }
    return true;
}

static bool attributes_read(struct bm_rd attributes, struct bm_csr *c)
{
    unsigned seen = 0;

    for (int n = 0; attributes.n != 0; n++)
        if (n == CSR_ATTRIBUTES_MAX || !attribute_read(&attributes, &seen, c))
            return false;
    return true;
}

/* CertificationRequestInfo, RFC 2986 section 4.1. Some clients leave the empty attributes field out; so may they. */
static const char *info_read(struct bm_csr *c)
{
    struct bm_rd info, attributes = { NULL, 0 };
    uint64_t version;

    if (!bm_der_only(c->info, BM_DER_SEQUENCE, &info) || !bm_der_uint(&info, &version) || version != 0)
        return "version is not v1";
    if (!bm_der_whole(&info, BM_DER_SEQUENCE, &c->subject) || !bm_name_valid(c->subject))
        return "subject name does not parse";
    if (!bm_der_whole(&info, BM_DER_SEQUENCE, &c->spki))
        return "public key does not parse";
    if (info.n != 0 && (!bm_der_take(&info, BM_DER_CTX_CONS(0), &attributes) || info.n != 0))
        return "what follows the public key is no attributes field";
    return attributes_read(attributes, c) ? NULL : "an attribute does not parse or comes twice";
}

enum bm_rc bm_csr_parse(struct bm_rd der, struct bm_csr *ret, struct bm_error *e)
{
    struct bm_csr c = { .whole = der };
    struct bm_rd seq;
    const char *wrong;

    if (der.n > BM_CSR_MAX)
        return bm_fail(e, BM_LIMIT, "certificate request of %zu bytes; at most %d are taken", der.n, BM_CSR_MAX);
    if (!bm_der_only(der, BM_DER_SEQUENCE, &seq) || !bm_der_whole(&seq, BM_DER_SEQUENCE, &c.info) ||
        !bm_der_whole(&seq, BM_DER_SEQUENCE, &c.sig_alg) || !bm_der_bits(&seq, &c.sig) || seq.n != 0)
        return bm_fail(e, BM_MALFORMED, "certificate request: not DER");
    wrong = info_read(&c);
    if (wrong != NULL)
        return bm_fail(e, BM_MALFORMED, "certificate request: %s", wrong);
    *ret = c;
    return BM_OK;
}

enum bm_rc bm_csr_verify(const struct bm_csr *csr, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_spki spki;
    enum bm_rc rc = bm_spki_parse(csr->spki, &spki, e);

    if (rc == BM_OK)
        rc = bm_spki_open(&spki, &key, e);
    if (rc == BM_OK)
        rc = bm_verify_x509(key, csr->sig_alg, csr->info, csr->sig, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, rc, "certificate request");
}

enum bm_rc bm_csr_make(const struct bm_key *k, const char *subject, struct bm_buf *ret_der, struct bm_error *e)
{
    uint8_t room[BM_CSR_MAX];
    struct bm_derw w = bm_derw_of(room, sizeof room);
    struct bm_name_spec spec;
    size_t mark = bm_derw_mark(&w);
    enum bm_rc rc = bm_name_spec_parse(subject, false, &spec, e);

    if (rc != BM_OK)
        return rc;
    bm_derw_tlv(&w, BM_DER_CTX_CONS(0), bm_rd_of(NULL, 0));
    bm_derw_put(&w, bm_key_spki(k));
    rc = bm_name_write(&w, &spec, NULL, e);
    if (rc != BM_OK)
        return rc;
    bm_derw_uint(&w, 0);
    bm_derw_end(&w, mark, BM_DER_SEQUENCE);
    return w.bad ? bm_fail(e, BM_LIMIT, "certificate request does not fit") : bm_signed_put(k, bm_derw_rd(&w), ret_der, e);
}
