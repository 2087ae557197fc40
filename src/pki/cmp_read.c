#include "pki/cmp.h"

#include "pki/impl.h"

static const struct bm_rd oid_implicit_confirm = BM_LIT(OID_IT_IMPLICIT_CONFIRM), oid_confirm_wait = BM_LIT(OID_IT_CONFIRM_WAIT),
                          oid_cert_profile = BM_LIT(OID_IT_CERT_PROFILE);

static enum bm_rc malformed(struct bm_error *e, const char *what)
{
    return bm_fail(e, BM_MALFORMED, "CMP message: %s", what);
}

/* --- header, RFC 9810 section 5.1.1: tags are explicit ---------------------------------------------------------------------------- */
/* GeneralName; a directoryName, [4], holds a Name. */
static bool general_name(struct bm_rd *r, struct bm_rd *ret_whole, struct bm_rd *ret_name)
{
    struct bm_rd value, whole;
    uint8_t tag;

    if (!bm_der_any(r, &tag, &value, &whole) || (tag & 0xc0) != 0x80 || value.n > BM_NAME_DER_MAX)
        return false;
    if (tag == BM_DER_CTX_CONS(4) && !bm_name_valid(value))
        return false;
    if (ret_whole != NULL)
        *ret_whole = whole;
    *ret_name = tag == BM_DER_CTX_CONS(4) ? value : bm_rd_of(NULL, 0);
    return true;
}

/* [n] OCTET STRING OPTIONAL, at most BM_CMP_NONCE_MAX bytes. */
static bool octets(struct bm_rd *r, unsigned n, struct bm_rd *ret)
{
    struct bm_rd in;

    if (!bm_der_next_is(*r, BM_DER_CTX_CONS(n)))
        return true;
    return bm_der_take(r, BM_DER_CTX_CONS(n), &in) && bm_der_only(in, BM_DER_OCTET_STRING, ret) && ret->n <= BM_CMP_NONCE_MAX;
}

/* messageTime [0] GeneralizedTime. */
static bool message_time(struct bm_rd *r, struct bm_cmp_header *h)
{
    struct bm_rd in;

    if (!bm_der_next_is(*r, BM_DER_CTX_CONS(0)))
        return true;
    h->has_time = true;
    return bm_der_take(r, BM_DER_CTX_CONS(0), &in) && bm_der_next_is(in, BM_DER_GENERALIZED_TIME) && bm_der_time(&in, &h->time) &&
           in.n == 0;
}

static bool algorithm(struct bm_rd whole)
{
    struct bm_rd in, oid;

    return bm_der_only(whole, BM_DER_SEQUENCE, &in) && bm_der_take(&in, BM_DER_OID, &oid) && bm_der_oid_ok(oid) &&
           (in.n == 0 || (bm_der_any(&in, NULL, NULL, NULL) && in.n == 0));
}

static bool protection_alg(struct bm_rd *r, struct bm_cmp_header *h)
{
    if (!bm_der_next_is(*r, BM_DER_CTX_CONS(1)))
        return true;
    return bm_der_take(r, BM_DER_CTX_CONS(1), &h->protection_alg) && algorithm(h->protection_alg);
}

/* freeText [7] SEQUENCE OF UTF8String: read past. */
static bool free_text(struct bm_rd *r)
{
    struct bm_rd in, list;

    if (!bm_der_next_is(*r, BM_DER_CTX_CONS(7)))
        return true;
    if (!bm_der_take(r, BM_DER_CTX_CONS(7), &in) || !bm_der_only(in, BM_DER_SEQUENCE, &list))
        return false;
    while (list.n != 0)
        if (!bm_der_take(&list, BM_DER_UTF8, NULL))
            return false;
    return true;
}

/* CertProfileValue ::= SEQUENCE SIZE (1..MAX) OF UTF8String, section 5.1.1.4: one for each certificate asked for, and here that is one. */
static bool cert_profile(struct bm_rd value, struct bm_cmp_header *h)
{
    struct bm_rd list;

    h->cert_profile_odd = h->cert_profile_odd || h->cert_profile.n != 0;
    if (!bm_der_only(value, BM_DER_SEQUENCE, &list) || !bm_der_take(&list, BM_DER_UTF8, &h->cert_profile))
        return false;
    for (; list.n != 0; h->cert_profile_odd = true)
        if (!bm_der_take(&list, BM_DER_UTF8, NULL))
            return false;
    h->cert_profile_odd = h->cert_profile_odd || h->cert_profile.n == 0 || h->cert_profile.n > BM_CMP_PROFILE_MAX;
    return true;
}

/* InfoTypeAndValue ::= SEQUENCE { OID, ANY OPTIONAL } */
static bool info(struct bm_rd one, struct bm_cmp_header *h, bool *ret_wait)
{
    struct bm_rd oid, time;
    int64_t at;

    if (!bm_der_take(&one, BM_DER_OID, &oid) || !bm_der_oid_ok(oid))
        return false;
    if (bm_rd_eq(oid, oid_implicit_confirm)) { /* section 5.1.1.1: NULL */
        h->implicit_confirm = true;
        h->implicit_confirm_odd = h->implicit_confirm_odd || !bm_rd_eq(one, bm_rd_of("\x05\x00", 2));
    }
    if (bm_rd_eq(oid, oid_cert_profile))
        return cert_profile(one, h);
    if (bm_rd_eq(oid, oid_confirm_wait)) { /* section 5.1.1.2: GeneralizedTime */
        time = one;
        *ret_wait = true;
        return bm_der_next_is(time, BM_DER_GENERALIZED_TIME) && bm_der_time(&time, &at) && time.n == 0;
    }
    return one.n == 0 || (bm_der_any(&one, NULL, NULL, NULL) && one.n == 0);
}

/* generalInfo [8] SEQUENCE OF InfoTypeAndValue. */
static bool general_info(struct bm_rd *r, struct bm_cmp_header *h)
{
    struct bm_rd in, list, one;
    bool wait = false;

    if (!bm_der_next_is(*r, BM_DER_CTX_CONS(8)))
        return true;
    if (!bm_der_take(r, BM_DER_CTX_CONS(8), &in) || !bm_der_only(in, BM_DER_SEQUENCE, &list))
        return false;
    for (int n = 0; list.n != 0; n++)
        if (n == BM_CMP_INFO_MAX || !bm_der_take(&list, BM_DER_SEQUENCE, &one) || !info(one, h, &wait))
            return false;
    h->implicit_confirm_odd = h->implicit_confirm_odd || (h->implicit_confirm && wait);
    return true;
}

static const char *header_read(struct bm_rd in, struct bm_cmp_header *h)
{
    struct bm_rd kid = { NULL, 0 };

    if (!bm_der_uint(&in, &h->pvno))
        return "there is no version";
    if (!general_name(&in, &h->sender, &h->sender_name) || !general_name(&in, NULL, &h->recipient_name))
        return "sender or recipient is no name";
    if (!message_time(&in, h))
        return "messageTime is no GeneralizedTime";
    if (!protection_alg(&in, h))
        return "protectionAlg does not parse";
    if (!octets(&in, 2, &h->sender_kid) || !octets(&in, 3, &kid) || !octets(&in, 4, &h->tid) || !octets(&in, 5, &h->sender_nonce) ||
        !octets(&in, 6, &h->recip_nonce))
        return "an identifier or nonce does not parse or is too long";
    if (!free_text(&in) || !general_info(&in, h))
        return "freeText or generalInfo does not parse";
    return in.n == 0 ? NULL : "something is left over after the header";
}

/* --- the whole, section 5.1 -------------------------------------------------------------------------------------------------------- */
static bool body_read(struct bm_rd *r, struct bm_cmp *m)
{
    uint8_t tag;

    if (!bm_der_any(r, &tag, &m->content, NULL) || (tag & 0xe0) != 0xa0 || (tag & 0x1f) >= BM_CMP_TYPES)
        return false;
    m->type = tag & 0x1f;
    return true;
}

static bool protection_read(struct bm_rd *r, struct bm_cmp *m)
{
    struct bm_rd in;

    if (!bm_der_next_is(*r, BM_DER_CTX_CONS(0)))
        return true;
    m->has_protection = true;
    return bm_der_take(r, BM_DER_CTX_CONS(0), &in) && bm_der_bits(&in, &m->protection) && in.n == 0;
}

static bool certs_read(struct bm_rd *r, struct bm_cmp *m)
{
    struct bm_rd in, list;

    if (!bm_der_next_is(*r, BM_DER_CTX_CONS(1)))
        return true;
    if (!bm_der_take(r, BM_DER_CTX_CONS(1), &in) || !bm_der_only(in, BM_DER_SEQUENCE, &list) || list.n == 0)
        return false;
    while (list.n != 0)
        if (m->n_certs == BM_CMP_CERTS_MAX || !bm_der_whole(&list, BM_DER_SEQUENCE, &m->certs[m->n_certs++]))
            return false;
    return true;
}

enum bm_rc bm_cmp_parse(struct bm_rd der, struct bm_cmp *ret, struct bm_error *e)
{
    struct bm_cmp m = { 0 };
    struct bm_rd in, header;
    const uint8_t *from;
    const char *wrong;

    if (!bm_der_only(der, BM_DER_SEQUENCE, &in))
        return malformed(e, "not a SEQUENCE in DER");
    from = in.p;
    if (!bm_der_take(&in, BM_DER_SEQUENCE, &header))
        return malformed(e, "there is no header");
    wrong = header_read(header, &m.h);
    if (wrong != NULL)
        return malformed(e, wrong);
    if (!body_read(&in, &m))
        return malformed(e, "there is no body, or one of an unknown type");
    m.part = bm_rd_of(from, (size_t)(in.p - from));
    if (!protection_read(&in, &m) || !certs_read(&in, &m) || in.n != 0)
        return malformed(e, "protection or extraCerts do not parse, or there are too many certificates");
    *ret = m;
    return BM_OK;
}

enum bm_rc bm_cmp_protected(struct bm_rd part, struct bm_buf *ret, struct bm_error *e)
{
    uint8_t head[8];
    struct bm_derw w = bm_derw_of(head, sizeof head);

    bm_derw_header(&w, part.n, BM_DER_SEQUENCE);
    bm_buf_put(ret, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    bm_buf_put(ret, part.p, part.n);
    return bm_buf_check(ret, e);
}

/* --- certConf, section 5.3.18 ------------------------------------------------------------------------------------------------------ */
/* PKIStatusInfo ::= SEQUENCE { status INTEGER, statusString SEQUENCE OPTIONAL, failInfo BIT STRING OPTIONAL } */
static bool status_info(struct bm_rd in, struct bm_cmp_confirm *c)
{
    if (!bm_der_uint(&in, &c->status))
        return false;
    if (bm_der_next_is(in, BM_DER_SEQUENCE) && !bm_der_take(&in, BM_DER_SEQUENCE, NULL))
        return false;
    c->has_fail = bm_der_next_is(in, BM_DER_BIT_STRING);
    return (!c->has_fail || bm_der_take(&in, BM_DER_BIT_STRING, NULL)) && in.n == 0;
}

static bool cert_status(struct bm_rd in, struct bm_cmp_confirm *c)
{
    struct bm_rd status;

    if (!bm_der_take(&in, BM_DER_OCTET_STRING, &c->hash) || !bm_der_int(&in, &c->req_id))
        return false;
    if (bm_der_next_is(in, BM_DER_SEQUENCE) && (!bm_der_take(&in, BM_DER_SEQUENCE, &status) || !status_info(status, c)))
        return false;
    if (bm_der_next_is(in, BM_DER_CTX_CONS(0)) && (!bm_der_take(&in, BM_DER_CTX_CONS(0), &c->hash_alg) || !algorithm(c->hash_alg)))
        return false;
    return in.n == 0;
}

enum bm_rc bm_cmp_confirm_parse(struct bm_rd content, struct bm_cmp_confirm *ret, struct bm_error *e)
{
    struct bm_cmp_confirm c = { 0 }, more;
    struct bm_rd list, one;

    if (!bm_der_only(content, BM_DER_SEQUENCE, &list))
        return malformed(e, "certConf is no list");
    for (; list.n != 0; c.n++) {
        more = (struct bm_cmp_confirm){ 0 };
        if (!bm_der_take(&list, BM_DER_SEQUENCE, &one) || !cert_status(one, c.n == 0 ? &c : &more))
            return malformed(e, "a CertStatus does not parse");
    }
    *ret = c;
    return BM_OK;
}

enum bm_digest bm_cmp_hash_of(struct bm_rd algorithm_whole)
{
    static const struct {
        struct bm_rd oid;
        enum bm_digest digest;
    } rows[] = {
        { BM_LIT(OID_SHA256), BM_SHA256 },       { BM_LIT(OID_SHA384), BM_SHA384 },       { BM_LIT(OID_SHA512), BM_SHA512 },
        { BM_LIT(OID_ECDSA_SHA256), BM_SHA256 }, { BM_LIT(OID_ECDSA_SHA384), BM_SHA384 }, { BM_LIT(OID_ECDSA_SHA512), BM_SHA512 },
        { BM_LIT(OID_RSA_SHA256), BM_SHA256 },   { BM_LIT(OID_RSA_SHA384), BM_SHA384 },   { BM_LIT(OID_RSA_SHA512), BM_SHA512 },
        { BM_LIT(OID_ED25519), BM_SHA512 },
    };
    struct bm_rd in, oid;

    if (bm_der_only(algorithm_whole, BM_DER_SEQUENCE, &in) && bm_der_take(&in, BM_DER_OID, &oid))
        for (size_t i = 0; i < BM_COUNT(rows); i++)
            if (bm_rd_eq(oid, rows[i].oid))
                return rows[i].digest;
    return BM_DIGEST_NONE;
}

bool bm_cmp_hash_fits(const struct bm_cmp_confirm *c, const struct bm_cert *cert)
{
    enum bm_digest d = bm_cmp_hash_of(c->hash_alg.n != 0 ? c->hash_alg : cert->sig_alg);
    uint8_t digest[BM_DIGEST_MAX];
    size_t n = d != BM_DIGEST_NONE ? bm_digest_of(d, cert->whole, digest) : 0;

    return n != 0 && bm_rd_eq(bm_rd_of(digest, n), c->hash);
}
