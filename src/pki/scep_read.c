#include "pki/scep.h"

#include "pki/impl.h"

enum { ATTRIBUTES_MAX = 32 };

static const struct bm_rd oid_signed = BM_LIT(OID_CMS_SIGNED_DATA), oid_enveloped = BM_LIT(OID_CMS_ENVELOPED_DATA),
                          oid_data = BM_LIT(OID_CMS_DATA);

bool bm_scep_is(const struct bm_scep_who *who, const struct bm_cert *cert)
{
    if (who->key_id.n != 0)
        return bm_rd_eq(who->key_id, cert->skid);
    return who->serial.n != 0 && bm_rd_eq(who->serial, cert->serial) && bm_rd_eq(who->issuer, cert->issuer);
}

/* AlgorithmIdentifier: the OID; what follows it is one element or nothing. */
static bool take_alg(struct bm_rd *r, struct bm_rd *ret_oid, struct bm_rd *ret_params)
{
    struct bm_rd alg, params;

    if (!bm_der_take(r, BM_DER_SEQUENCE, &alg) || !bm_der_take(&alg, BM_DER_OID, ret_oid) || !bm_der_oid_ok(*ret_oid))
        return false;
    params = alg;
    if (alg.n != 0 && (!bm_der_any(&alg, NULL, NULL, NULL) || alg.n != 0))
        return false;
    if (ret_params != NULL)
        *ret_params = params;
    return true;
}

static bool issuer_and_serial(struct bm_rd seq, struct bm_rd *ret_issuer, struct bm_rd *ret_serial)
{
    return bm_der_whole(&seq, BM_DER_SEQUENCE, ret_issuer) && bm_name_valid(*ret_issuer) &&
           bm_der_take(&seq, BM_DER_INTEGER, ret_serial) && bm_der_int_ok(*ret_serial) && seq.n == 0;
}

/* SignerIdentifier and RecipientIdentifier have the same form, RFC 5652 sections 5.3 and 6.2.1. */
static bool take_who(struct bm_rd *r, struct bm_scep_who *ret)
{
    struct bm_rd seq;

    if (bm_der_next_is(*r, BM_DER_CTX(0)))
        return bm_der_take(r, BM_DER_CTX(0), &ret->key_id) && ret->key_id.n != 0;
    return bm_der_take(r, BM_DER_SEQUENCE, &seq) && issuer_and_serial(seq, &ret->issuer, &ret->serial);
}

/* ContentInfo of this type: what is in its [0]. */
static bool content_info(struct bm_rd der, struct bm_rd type, struct bm_rd *ret)
{
    struct bm_rd seq, oid, content;

    return bm_der_only(der, BM_DER_SEQUENCE, &seq) && bm_der_take(&seq, BM_DER_OID, &oid) && bm_rd_eq(oid, type) &&
           bm_der_take(&seq, BM_DER_CTX_CONS(0), &content) && seq.n == 0 && bm_der_only(content, BM_DER_SEQUENCE, ret);
}

/* --- the attributes that are signed: RFC 8894 section 3.2.1 --------------------------------------------------------------------------- */
static bool printable(struct bm_rd value, size_t max, struct bm_rd *ret)
{
    uint8_t tag;

    /* PrintableString by the standard; the other two are what some clients write, with the same characters in it */
    if (!bm_der_any(&value, &tag, ret, NULL) || value.n != 0 ||
        (tag != BM_DER_PRINTABLE && tag != BM_DER_UTF8 && tag != BM_DER_IA5) || ret->n == 0 || ret->n > max)
        return false;
    for (size_t i = 0; i < ret->n; i++)
        if (ret->p[i] < 0x20 || ret->p[i] > 0x7e)
            return false;
    return true;
}

/* A number of one or two digits; anything else is a number that means nothing. */
static bool number(struct bm_rd value, int *ret)
{
    struct bm_rd text;

    if (!printable(value, 8, &text))
        return false;
    *ret = 0;
    for (size_t i = 0; i < text.n; i++)
        *ret = *ret < 0 || text.n > 2 || text.p[i] < '0' || text.p[i] > '9' ? -1 : *ret * 10 + (text.p[i] - '0');
    return true;
}

static bool read_type(struct bm_rd value, struct bm_scep_message *m)
{
    return number(value, &m->type);
}

static bool read_status(struct bm_rd value, struct bm_scep_message *m)
{
    return number(value, &m->status);
}

static bool read_fail(struct bm_rd value, struct bm_scep_message *m)
{
    return number(value, &m->fail);
}

static bool read_transaction(struct bm_rd value, struct bm_scep_message *m)
{
    return printable(value, BM_SCEP_TRANSACTION_MAX, &m->transaction_id);
}

static bool nonce(struct bm_rd value, struct bm_rd *ret)
{
    return bm_der_only(value, BM_DER_OCTET_STRING, ret) && ret->n <= BM_SCEP_NONCE_MAX;
}

static bool read_sender_nonce(struct bm_rd value, struct bm_scep_message *m)
{
    return nonce(value, &m->sender_nonce);
}

static bool read_recipient_nonce(struct bm_rd value, struct bm_scep_message *m)
{
    return nonce(value, &m->recipient_nonce);
}

static bool read_content_type(struct bm_rd value, struct bm_scep_message *m)
{
    return bm_der_only(value, BM_DER_OID, &m->content_type);
}

static bool read_digest(struct bm_rd value, struct bm_scep_message *m)
{
    return bm_der_only(value, BM_DER_OCTET_STRING, &m->message_digest);
}

static bool read_fail_text(struct bm_rd value, struct bm_scep_message *m)
{
    return bm_der_any(&value, NULL, &m->fail_text, NULL) && value.n == 0; /* UTF8String; some write another kind of string */
}

static bool read_time(struct bm_rd value, struct bm_scep_message *m)
{
    m->has_time = true;
    return bm_der_time(&value, &m->signing_time) && value.n == 0;
}

static const struct {
    struct bm_rd oid;
    bool (*read)(struct bm_rd value, struct bm_scep_message *m);
} known[] = {
    { BM_LIT(OID_CONTENT_TYPE), read_content_type },
    { BM_LIT(OID_MESSAGE_DIGEST), read_digest },
    { BM_LIT(OID_SIGNING_TIME), read_time },
    { BM_LIT(OID_SCEP_MESSAGE_TYPE), read_type },
    { BM_LIT(OID_SCEP_PKI_STATUS), read_status },
    { BM_LIT(OID_SCEP_FAIL_INFO), read_fail },
    { BM_LIT(OID_SCEP_FAIL_TEXT), read_fail_text },
    { BM_LIT(OID_SCEP_SENDER_NONCE), read_sender_nonce },
    { BM_LIT(OID_SCEP_RECIPIENT_NONCE), read_recipient_nonce },
    { BM_LIT(OID_SCEP_TRANSACTION_ID), read_transaction },
};

/* seen: bit per row of known[]. */
static bool attribute(struct bm_rd *all, unsigned *seen, struct bm_scep_message *m)
{
    struct bm_rd one, oid, values;

    if (!bm_der_take(all, BM_DER_SEQUENCE, &one) || !bm_der_take(&one, BM_DER_OID, &oid) || !bm_der_oid_ok(oid) ||
        !bm_der_take(&one, BM_DER_SET, &values) || one.n != 0)
        return false;
    for (unsigned i = 0; i < BM_COUNT(known); i++) {
        if (!bm_rd_eq(oid, known[i].oid))
            continue;
        if ((*seen & 1u << i) != 0 || !known[i].read(values, m))
            return false;
        *seen |= 1u << i;
    }
    return true;
}

static bool attributes(struct bm_rd all, struct bm_scep_message *m)
{
    unsigned seen = 0;

    for (int n = 0; all.n != 0; n++)
        if (n == ATTRIBUTES_MAX || !attribute(&all, &seen, m))
            return false;
    return true;
}

/* --- SignedData, RFC 5652 section 5.1 --------------------------------------------------------------------------------------------------- */
static bool signer_info(struct bm_rd infos, struct bm_scep_message *m)
{
    struct bm_rd info;
    uint64_t version;

    if (!bm_der_take(&infos, BM_DER_SEQUENCE, &info) || infos.n != 0 || !bm_der_uint(&info, &version) ||
        !take_who(&info, &m->signer) || !take_alg(&info, &m->digest, NULL) ||
        !bm_der_take(&info, BM_DER_CTX_CONS(0), &m->attributes) || !take_alg(&info, &m->sig_alg, NULL) ||
        !bm_der_take(&info, BM_DER_OCTET_STRING, &m->signature))
        return false;
    if (bm_der_next_is(info, BM_DER_CTX_CONS(1)) && !bm_der_take(&info, BM_DER_CTX_CONS(1), NULL))
        return false;
    return info.n == 0 && attributes(m->attributes, m);
}

static bool certificates(struct bm_rd set, struct bm_scep_message *m)
{
    while (set.n != 0) {
        struct bm_rd whole;
        uint8_t tag;

        if (!bm_der_any(&set, &tag, NULL, &whole))
            return false;
        if (tag != BM_DER_SEQUENCE) /* an attribute certificate or something else we have no use for */
            continue;
        if (m->n_certs == BM_SCEP_CERTS_MAX)
            return false;
        m->certs[m->n_certs++] = whole;
    }
    return true;
}

/* EncapsulatedContentInfo: absent in failures, and empty in some. */
static bool encapsulated(struct bm_rd seq, struct bm_scep_message *m)
{
    struct bm_rd oid, content;

    if (!bm_der_take(&seq, BM_DER_OID, &oid) || !bm_rd_eq(oid, oid_data))
        return false;
    if (seq.n == 0)
        return true;
    m->has_content = true;
    return bm_der_take(&seq, BM_DER_CTX_CONS(0), &content) && seq.n == 0 && bm_der_only(content, BM_DER_OCTET_STRING, &m->content);
}

static const char *signed_data(struct bm_rd in, struct bm_scep_message *m)
{
    struct bm_rd part;
    uint64_t version;

    if (!bm_der_uint(&in, &version) || !bm_der_take(&in, BM_DER_SET, NULL))
        return "version or digest algorithms do not parse";
    if (!bm_der_take(&in, BM_DER_SEQUENCE, &part) || !encapsulated(part, m))
        return "what it holds is no data";
    if (bm_der_next_is(in, BM_DER_CTX_CONS(0)) && (!bm_der_take(&in, BM_DER_CTX_CONS(0), &part) || !certificates(part, m)))
        return "the certificates do not parse, or are too many";
    if (bm_der_next_is(in, BM_DER_CTX_CONS(1)) && !bm_der_take(&in, BM_DER_CTX_CONS(1), NULL))
        return "the CRLs do not parse";
    if (!bm_der_take(&in, BM_DER_SET, &part) || in.n != 0 || !signer_info(part, m))
        return "there is not one signer with signed attributes, or they do not parse";
    return NULL;
}

enum bm_rc bm_scep_message_parse(struct bm_rd der, struct bm_scep_message *ret, struct bm_error *e)
{
    struct bm_scep_message m = { .type = -1, .status = -1, .fail = -1 };
    struct bm_rd in;
    const char *wrong;

    if (der.n > BM_SCEP_MESSAGE_MAX)
        return bm_fail(e, BM_LIMIT, "a SCEP message may have %d bytes", BM_SCEP_MESSAGE_MAX);
    if (!content_info(der, oid_signed, &in))
        return bm_fail(e, BM_MALFORMED, "SCEP message: not CMS SignedData");
    wrong = signed_data(in, &m);
    if (wrong != NULL)
        return bm_fail(e, BM_MALFORMED, "SCEP message: %s", wrong);
    *ret = m;
    return BM_OK;
}

bool bm_scep_self_made(struct bm_rd der, struct bm_cert *ret)
{
    struct bm_cert c = { .whole = der, .path_len = -1 };
    struct bm_rd in, tbs;

    if (der.n > BM_CERT_MAX || !bm_der_only(der, BM_DER_SEQUENCE, &in) || !bm_der_take(&in, BM_DER_SEQUENCE, &tbs))
        return false;
    if (bm_der_next_is(tbs, BM_DER_CTX_CONS(0)) && !bm_der_take(&tbs, BM_DER_CTX_CONS(0), NULL))
        return false;
    if (!bm_der_take(&tbs, BM_DER_INTEGER, &c.serial) || !bm_der_int_ok(c.serial) || !bm_der_take(&tbs, BM_DER_SEQUENCE, NULL) ||
        !bm_der_whole(&tbs, BM_DER_SEQUENCE, &c.issuer) || !bm_name_valid(c.issuer) || !bm_der_take(&tbs, BM_DER_SEQUENCE, NULL) ||
        !bm_der_whole(&tbs, BM_DER_SEQUENCE, &c.subject) || !bm_rd_eq(c.issuer, c.subject) ||
        !bm_der_whole(&tbs, BM_DER_SEQUENCE, &c.spki))
        return false;
    *ret = c;
    return true;
}

/* --- EnvelopedData, RFC 5652 section 6.1 -------------------------------------------------------------------------------------------------- */
/* KeyTransRecipientInfo; the other kinds are not for us. */
static bool recipients(struct bm_rd set, struct bm_scep_envelope *v)
{
    while (set.n != 0) {
        struct bm_scep_recipient *to = &v->to[v->n];
        struct bm_rd info;
        uint64_t version;
        uint8_t tag;

        if (!bm_der_any(&set, &tag, &info, NULL))
            return false;
        if (tag != BM_DER_SEQUENCE)
            continue;
        if (v->n == BM_SCEP_RECIPIENTS_MAX || !bm_der_uint(&info, &version) || !take_who(&info, &to->who) ||
            !take_alg(&info, &to->alg, NULL) || !bm_der_take(&info, BM_DER_OCTET_STRING, &to->key) || info.n != 0)
            return false;
        v->n++;
    }
    return v->n != 0;
}

static bool pieces_ok(struct bm_rd row)
{
    while (row.n != 0)
        if (!bm_der_take(&row, BM_DER_OCTET_STRING, NULL))
            return false;
    return true;
}

static bool encrypted(struct bm_rd seq, struct bm_scep_envelope *v)
{
    struct bm_rd params;

    if (!bm_der_take(&seq, BM_DER_OID, NULL) || !take_alg(&seq, &v->cipher, &params))
        return false;
    if (!bm_der_only(params, BM_DER_OCTET_STRING, &v->iv)) /* some other cipher's */
        v->iv = bm_rd_of(NULL, 0);
    v->in_pieces = bm_der_next_is(seq, BM_DER_CTX_CONS(0));
    return bm_der_take(&seq, v->in_pieces ? BM_DER_CTX_CONS(0) : BM_DER_CTX(0), &v->sealed) && seq.n == 0 &&
           (!v->in_pieces || pieces_ok(v->sealed));
}

enum bm_rc bm_scep_envelope_parse(struct bm_rd der, struct bm_scep_envelope *ret, struct bm_error *e)
{
    struct bm_scep_envelope v = { .n = 0 };
    struct bm_rd in, part;
    uint64_t version;

    if (!content_info(der, oid_enveloped, &in) || !bm_der_uint(&in, &version))
        return bm_fail(e, BM_MALFORMED, "SCEP envelope: not CMS EnvelopedData");
    if (bm_der_next_is(in, BM_DER_CTX_CONS(0)) && !bm_der_take(&in, BM_DER_CTX_CONS(0), NULL))
        return bm_fail(e, BM_MALFORMED, "SCEP envelope: originator's information does not parse");
    if (!bm_der_take(&in, BM_DER_SET, &part) || !recipients(part, &v))
        return bm_fail(e, BM_MALFORMED, "SCEP envelope: recipients do not parse, or are too many or none");
    if (!bm_der_take(&in, BM_DER_SEQUENCE, &part) || !encrypted(part, &v))
        return bm_fail(e, BM_MALFORMED, "SCEP envelope: encrypted content does not parse");
    if (bm_der_next_is(in, BM_DER_CTX_CONS(1)) && !bm_der_take(&in, BM_DER_CTX_CONS(1), NULL))
        return bm_fail(e, BM_MALFORMED, "SCEP envelope: unprotected attributes do not parse");
    if (in.n != 0)
        return bm_fail(e, BM_MALFORMED, "SCEP envelope: %zu bytes left over", in.n);
    *ret = v;
    return BM_OK;
}

/* --- what is inside --------------------------------------------------------------------------------------------------------------------- */
bool bm_scep_issuer_and_subject(struct bm_rd der, struct bm_rd *ret_issuer, struct bm_rd *ret_subject)
{
    struct bm_rd seq;

    return bm_der_only(der, BM_DER_SEQUENCE, &seq) && bm_der_whole(&seq, BM_DER_SEQUENCE, ret_issuer) &&
           bm_der_whole(&seq, BM_DER_SEQUENCE, ret_subject) && seq.n == 0 && bm_name_valid(*ret_issuer) &&
           bm_name_valid(*ret_subject);
}

bool bm_scep_issuer_and_serial(struct bm_rd der, struct bm_rd *ret_issuer, struct bm_rd *ret_serial)
{
    struct bm_rd seq;

    return bm_der_only(der, BM_DER_SEQUENCE, &seq) && issuer_and_serial(seq, ret_issuer, ret_serial);
}

static bool is_string(uint8_t tag)
{
    return tag == BM_DER_UTF8 || tag == BM_DER_PRINTABLE || tag == BM_DER_IA5;
}

/* AttributeTypeAndValue, the only one in its RDN or one of several. */
static bool same_attribute(struct bm_rd *a, struct bm_rd *b)
{
    struct bm_rd x, y, x_oid, y_oid, x_value, y_value;
    uint8_t x_tag, y_tag;

    return bm_der_take(a, BM_DER_SEQUENCE, &x) && bm_der_take(b, BM_DER_SEQUENCE, &y) && bm_der_take(&x, BM_DER_OID, &x_oid) &&
           bm_der_take(&y, BM_DER_OID, &y_oid) && bm_rd_eq(x_oid, y_oid) && bm_der_any(&x, &x_tag, &x_value, NULL) &&
           bm_der_any(&y, &y_tag, &y_value, NULL) && (x_tag == y_tag || (is_string(x_tag) && is_string(y_tag))) &&
           bm_rd_eq(x_value, y_value);
}

bool bm_scep_same_name(struct bm_rd a, struct bm_rd b)
{
    struct bm_rd x, y;

    if (!bm_der_only(a, BM_DER_SEQUENCE, &a) || !bm_der_only(b, BM_DER_SEQUENCE, &b))
        return false;
    while (a.n != 0 && b.n != 0) {
        if (!bm_der_take(&a, BM_DER_SET, &x) || !bm_der_take(&b, BM_DER_SET, &y))
            return false;
        while (x.n != 0 && y.n != 0)
            if (!same_attribute(&x, &y))
                return false;
        if (x.n != y.n)
            return false;
    }
    return a.n == b.n;
}
