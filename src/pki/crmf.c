/* Certificate requests as CMP has them: RFC 4211. Its module has implicit tags, except around what is a CHOICE (Name). */
#include "pki/cmp.h"

#include "pki/profile_draft.h"

static const struct bm_rd oid_old_cert_id = BM_LIT(OID_OLD_CERT_ID);

static enum bm_rc malformed(struct bm_error *e, const char *what)
{
    return bm_fail(e, BM_MALFORMED, "certificate request: %s", what);
}

/* --- template, section 5 ------------------------------------------------------------------------------------------------------------ */
static bool take_version(struct bm_rd value, struct bm_crmf_template *t)
{
    t->has_version = true;
    return bm_der_int_ok(value) && value.n == 1 && bm_rd_uint(&value, 1, &t->version);
}

static bool take_serial(struct bm_rd value, struct bm_crmf_template *t)
{
    t->serial = value;
    return bm_der_int_ok(value);
}

static bool take_name(struct bm_rd value, struct bm_rd *ret)
{
    *ret = value;
    return bm_name_valid(value);
}

static bool take_issuer(struct bm_rd value, struct bm_crmf_template *t)
{
    return take_name(value, &t->issuer);
}

static bool take_subject(struct bm_rd value, struct bm_crmf_template *t)
{
    return take_name(value, &t->subject);
}

static bool take_validity(struct bm_rd value, struct bm_crmf_template *t)
{
    (void)value;
    t->has_validity = true;
    return true;
}

static bool take_extensions(struct bm_rd value, struct bm_crmf_template *t)
{
    struct bm_rd list = value;
    struct bm_ext x;

    t->extensions = value;
    while (list.n != 0)
        if (!bm_ext_next(&list, &x))
            return false;
    return value.n != 0;
}

static bool pass_over(struct bm_rd value, struct bm_crmf_template *t)
{
    (void)value, (void)t;
    return true;
}

/* In the order of their tags, which is the order they come in. */
static const struct {
    uint8_t tag;
    bool (*take)(struct bm_rd value, struct bm_crmf_template *t);
} fields[] = {
    { BM_DER_CTX(0), take_version },         { BM_DER_CTX(1), take_serial },        { BM_DER_CTX_CONS(2), pass_over },
    { BM_DER_CTX_CONS(3), take_issuer },     { BM_DER_CTX_CONS(4), take_validity }, { BM_DER_CTX_CONS(5), take_subject },
    { BM_DER_CTX_CONS(6), pass_over },       { BM_DER_CTX(7), pass_over },          { BM_DER_CTX(8), pass_over },
    { BM_DER_CTX_CONS(9), take_extensions },
};

bool bm_crmf_template_parse(struct bm_rd in, struct bm_crmf_template *ret)
{
    struct bm_crmf_template t = { 0 };
    struct bm_rd value, whole;

    for (size_t i = 0; i < BM_COUNT(fields); i++) {
        if (!bm_der_next_is(in, fields[i].tag))
            continue;
        if (!bm_der_any(&in, NULL, &value, &whole) || !fields[i].take(value, &t))
            return false;
        if (fields[i].tag == BM_DER_CTX_CONS(6))
            t.public_key = whole;
    }
    if (in.n != 0)
        return false;
    *ret = t;
    return true;
}

enum bm_rc bm_crmf_spki(const struct bm_crmf_template *t, struct bm_buf *ret, struct bm_error *e)
{
    static const uint8_t sequence = BM_DER_SEQUENCE;

    if (t->public_key.n < 2)
        return malformed(e, "there is no public key");
    bm_buf_put(ret, &sequence, 1);
    bm_buf_put(ret, t->public_key.p + 1, t->public_key.n - 1);
    return bm_buf_check(ret, e);
}

static const char *kind_of(struct bm_rd oid, struct bm_rd params)
{
    for (size_t i = 0; i < profile_keys_count; i++)
        if (bm_rd_eq(oid, profile_keys[i].oid) && bm_rd_eq(params, profile_keys[i].params))
            return profile_keys[i].alg;
    return "this kind";
}

bool bm_crmf_wants_key(const struct bm_crmf_template *t, const char **ret_alg)
{
    struct bm_rd in, alg, oid, bits, rest = t->public_key;

    *ret_alg = NULL;
    if (t->public_key.n == 0)
        return true;
    if (!bm_der_take(&rest, BM_DER_CTX_CONS(6), &in) || !bm_der_take(&in, BM_DER_SEQUENCE, &alg) || !bm_der_bits(&in, &bits) ||
        in.n != 0 || bits.n != 0 || !bm_der_take(&alg, BM_DER_OID, &oid))
        return false;
    *ret_alg = kind_of(oid, alg);
    return true;
}

/* --- controls, section 6 ------------------------------------------------------------------------------------------------------------ */
/* OldCertId ::= CertId ::= SEQUENCE { issuer GeneralName, serialNumber INTEGER }, section 6.5 */
static bool old_cert_id(struct bm_rd value, struct bm_crmf *c)
{
    struct bm_rd in;

    return c->old_serial.n == 0 && bm_der_only(value, BM_DER_SEQUENCE, &in) &&
           bm_der_take(&in, BM_DER_CTX_CONS(4), &c->old_issuer) && bm_name_valid(c->old_issuer) &&
           bm_der_take(&in, BM_DER_INTEGER, &c->old_serial) && bm_der_int_ok(c->old_serial) && in.n == 0;
}

static bool control(struct bm_rd one, struct bm_crmf *c)
{
    struct bm_rd oid, value;

    if (!bm_der_take(&one, BM_DER_OID, &oid) || !bm_der_oid_ok(oid) || !bm_der_any(&one, NULL, NULL, &value) || one.n != 0)
        return false;
    return !bm_rd_eq(oid, oid_old_cert_id) || old_cert_id(value, c);
}

static bool controls(struct bm_rd list, struct bm_crmf *c)
{
    struct bm_rd one;

    while (list.n != 0)
        if (!bm_der_take(&list, BM_DER_SEQUENCE, &one) || !control(one, c))
            return false;
    return true;
}

/* --- requests, section 3 and 4 -------------------------------------------------------------------------------------------------------- */
/* CertRequest ::= SEQUENCE { certReqId INTEGER, certTemplate CertTemplate, controls Controls OPTIONAL } */
static bool cert_request(struct bm_rd whole, struct bm_crmf *c)
{
    struct bm_rd in, template, list = { NULL, 0 };

    c->request = whole;
    return bm_der_only(whole, BM_DER_SEQUENCE, &in) && bm_der_int(&in, &c->req_id) &&
           bm_der_take(&in, BM_DER_SEQUENCE, &template) && bm_crmf_template_parse(template, &c->t) &&
           (in.n == 0 || (bm_der_take(&in, BM_DER_SEQUENCE, &list) && in.n == 0)) && controls(list, c);
}

/* POPOSigningKey ::= SEQUENCE { poposkInput [0] OPTIONAL, algorithmIdentifier, signature BIT STRING } */
static bool pop_signature(struct bm_rd in, struct bm_crmf *c)
{
    c->pop_input = bm_der_next_is(in, BM_DER_CTX_CONS(0));
    return (!c->pop_input || bm_der_take(&in, BM_DER_CTX_CONS(0), NULL)) && bm_der_whole(&in, BM_DER_SEQUENCE, &c->pop_alg) &&
           bm_der_bits(&in, &c->pop_sig) && in.n == 0;
}

static bool pop(struct bm_rd *r, struct bm_crmf *c)
{
    struct bm_rd value;
    uint8_t tag;

    if (r->n == 0 || r->p[0] == BM_DER_SEQUENCE) /* regInfo */
        return true;
    if (!bm_der_any(r, &tag, &value, NULL))
        return false;
    c->pop = tag == BM_DER_CTX(0) ? BM_CRMF_POP_RA_VERIFIED : tag == BM_DER_CTX_CONS(1) ? BM_CRMF_POP_SIGNATURE : BM_CRMF_POP_OTHER;
    return c->pop != BM_CRMF_POP_SIGNATURE || pop_signature(value, c);
}

/* CertReqMsg ::= SEQUENCE { certReq CertRequest, popo ProofOfPossession OPTIONAL, regInfo SEQUENCE OPTIONAL } */
static bool message(struct bm_rd in, struct bm_crmf *c)
{
    struct bm_rd whole;

    return bm_der_whole(&in, BM_DER_SEQUENCE, &whole) && cert_request(whole, c) && pop(&in, c) &&
           (in.n == 0 || (bm_der_take(&in, BM_DER_SEQUENCE, NULL) && in.n == 0));
}

enum bm_rc bm_crmf_parse(struct bm_rd content, struct bm_crmf *ret, struct bm_error *e)
{
    struct bm_crmf c = { 0 };
    struct bm_rd list, one;

    if (!bm_der_only(content, BM_DER_SEQUENCE, &list) || list.n == 0)
        return malformed(e, "there is none");
    for (; list.n != 0; c.n++) {
        struct bm_crmf more = { 0 };

        if (!bm_der_take(&list, BM_DER_SEQUENCE, &one) || !message(one, c.n == 0 ? &c : &more))
            return malformed(e, "not a CertReqMsg (RFC 4211 section 3)");
    }
    *ret = c;
    return BM_OK;
}
