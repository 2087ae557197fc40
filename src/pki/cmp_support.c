/* Bodies beyond certificates: revocation, questions and what they are answered with. RFC 9810 section 5.3.9, 5.3.10, 5.3.19, 5.3.20. */
#include "pki/cmp.h"

#include "pki/impl.h"

static const struct bm_rd oid_reason = BM_LIT(OID_CRL_REASON), oid_crls = BM_LIT(OID_IT_CRLS);
static const struct {
    enum bm_cmp_info what;
    struct bm_rd oid;
} infos[] = {
    { BM_CMP_INFO_CA_CERTS, BM_LIT(OID_IT_CA_CERTS) },
    { BM_CMP_INFO_CURRENT_CRL, BM_LIT(OID_IT_CURRENT_CRL) },
    { BM_CMP_INFO_CRL_STATUS, BM_LIT(OID_IT_CRL_STATUS) },
    { BM_CMP_INFO_ROOT_CA_CERT, BM_LIT(OID_IT_ROOT_CA_CERT) },
    { BM_CMP_INFO_ROOT_CA_KEY_UPDATE, BM_LIT(OID_IT_ROOT_CA_KEY_UPDATE) },
    { BM_CMP_INFO_CERT_REQ_TEMPLATE, BM_LIT(OID_IT_CERT_REQ_TEMPLATE) },
};

static enum bm_rc malformed(struct bm_error *e, const char *what)
{
    return bm_fail(e, BM_MALFORMED, "CMP message: %s", what);
}

/* --- rr ------------------------------------------------------------------------------------------------------------------------------- */
/* reasonCode, once at most; CRLReason has 0 to 6 and 8 to 10. Other extensions are read past. */
static bool entry_details(struct bm_rd list, int *ret_reason)
{
    struct bm_rd reason;
    bool seen = false;
    struct bm_ext x;

    while (list.n != 0) {
        if (!bm_ext_next(&list, &x))
            return false;
        if (!bm_rd_eq(x.oid, oid_reason))
            continue;
        if (seen || !bm_der_only(x.value, BM_DER_ENUMERATED, &reason) || reason.n != 1 || reason.p[0] > 10 || reason.p[0] == 7)
            return false;
        *ret_reason = reason.p[0];
        seen = true;
    }
    return true;
}

/* RevDetails ::= SEQUENCE { certDetails CertTemplate, crlEntryDetails Extensions OPTIONAL } */
static bool details(struct bm_rd in, struct bm_cmp_revocation *r)
{
    struct bm_rd template, list = { NULL, 0 };

    return bm_der_take(&in, BM_DER_SEQUENCE, &template) && bm_crmf_template_parse(template, &r->t) &&
           (in.n == 0 || (bm_der_take(&in, BM_DER_SEQUENCE, &list) && in.n == 0)) && entry_details(list, &r->reason);
}

enum bm_rc bm_cmp_revocation_parse(struct bm_rd content, struct bm_cmp_revocation *ret, struct bm_error *e)
{
    struct bm_cmp_revocation r = { 0 }, more;
    struct bm_rd list, one;

    if (!bm_der_only(content, BM_DER_SEQUENCE, &list) || list.n == 0)
        return malformed(e, "rr asks for nothing");
    for (; list.n != 0; r.n++) {
        more = (struct bm_cmp_revocation){ 0 };
        if (!bm_der_take(&list, BM_DER_SEQUENCE, &one) || !details(one, r.n == 0 ? &r : &more))
            return malformed(e, "RevDetails do not parse, or the reason is none");
    }
    *ret = r;
    return BM_OK;
}

/* RevRepContent ::= SEQUENCE { status SEQUENCE OF PKIStatusInfo, ... } */
void bm_cmp_put_revoked(struct bm_derw *w)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_uint(w, BM_CMP_ACCEPTED);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(BM_CMP_RP));
}

/* --- genm ------------------------------------------------------------------------------------------------------------------------------ */
static bool question(struct bm_rd in, struct bm_cmp_question *q)
{
    struct bm_rd oid;

    if (!bm_der_take(&in, BM_DER_OID, &oid) || !bm_der_oid_ok(oid))
        return false;
    for (size_t i = 0; i < BM_COUNT(infos); i++)
        if (bm_rd_eq(oid, infos[i].oid))
            q->what = infos[i].what;
    q->value = in;
    return in.n == 0 || (bm_der_any(&in, NULL, NULL, NULL) && in.n == 0);
}

enum bm_rc bm_cmp_question_parse(struct bm_rd content, struct bm_cmp_question *ret, struct bm_error *e)
{
    struct bm_cmp_question q = { 0 }, more;
    struct bm_rd list, one;

    if (!bm_der_only(content, BM_DER_SEQUENCE, &list))
        return malformed(e, "genm is no list");
    for (; list.n != 0; q.n++) {
        more = (struct bm_cmp_question){ 0 };
        if (!bm_der_take(&list, BM_DER_SEQUENCE, &one) || !question(one, q.n == 0 ? &q : &more))
            return malformed(e, "an InfoTypeAndValue does not parse");
    }
    *ret = q;
    return BM_OK;
}

/* CRLSource ::= CHOICE { dpn [0] DistributionPointName, issuer [1] GeneralNames }; explicit tags, as dpn is a CHOICE and the module says so. */
static bool source(struct bm_rd *r, struct bm_rd *ret_issuer)
{
    struct bm_rd in, names;

    if (bm_der_next_is(*r, BM_DER_CTX_CONS(0)))
        return bm_der_take(r, BM_DER_CTX_CONS(0), NULL);
    if (!bm_der_take(r, BM_DER_CTX_CONS(1), &in) || !bm_der_only(in, BM_DER_SEQUENCE, &names))
        return false;
    return bm_der_take(&names, BM_DER_CTX_CONS(4), ret_issuer) && names.n == 0 && bm_name_valid(*ret_issuer);
}

/* CRLStatus ::= SEQUENCE { source CRLSource, thisUpdate Time OPTIONAL } */
enum bm_rc bm_cmp_crl_status_parse(struct bm_rd value, struct bm_cmp_crl_status *ret, struct bm_error *e)
{
    struct bm_cmp_crl_status s = { 0 };
    struct bm_rd list, one;

    if (!bm_der_only(value, BM_DER_SEQUENCE, &list) || !bm_der_take(&list, BM_DER_SEQUENCE, &one) || list.n != 0 ||
        !source(&one, &s.issuer))
        return malformed(e, "crlStatusList is not one CRLStatus");
    s.has_time = one.n != 0;
    if (s.has_time && (!bm_der_time(&one, &s.this_update) || one.n != 0))
        return malformed(e, "thisUpdate does not parse");
    *ret = s;
    return BM_OK;
}

/* --- genp ------------------------------------------------------------------------------------------------------------------------------ */
/* The value has been written since mark. */
static void info_end(struct bm_derw *w, size_t mark, struct bm_rd oid)
{
    bm_derw_tlv(w, BM_DER_OID, oid);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(BM_CMP_GENP));
}

static struct bm_rd oid_of(enum bm_cmp_info what)
{
    for (size_t i = 0; i < BM_COUNT(infos); i++)
        if (infos[i].what == what)
            return infos[i].oid;
    return bm_rd_of(NULL, 0);
}

void bm_cmp_put_info(struct bm_derw *w, enum bm_cmp_info what, struct bm_rd value)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_put(w, value);
    info_end(w, mark, oid_of(what));
}

void bm_cmp_put_info_certs(struct bm_derw *w, const struct bm_buf *certs, size_t n)
{
    size_t mark = bm_derw_mark(w);

    for (size_t i = n; i-- > 0;)
        bm_derw_put(w, bm_buf_rd(&certs[i]));
    if (n != 0) /* none: the value is left out */
        bm_derw_end(w, mark, BM_DER_SEQUENCE);
    info_end(w, mark, oid_of(BM_CMP_INFO_CA_CERTS));
}

void bm_cmp_put_info_crls(struct bm_derw *w, struct bm_rd crl)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_put(w, crl);
    if (crl.n != 0)
        bm_derw_end(w, mark, BM_DER_SEQUENCE);
    info_end(w, mark, oid_crls);
}

static void link_put(struct bm_derw *w, unsigned tag, struct bm_rd cert)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_put(w, cert);
    if (cert.n != 0)
        bm_derw_end(w, mark, BM_DER_CTX_CONS(tag));
}

/* RootCaKeyUpdateContent ::= SEQUENCE { newWithNew, newWithOld [0] OPTIONAL, oldWithNew [1] OPTIONAL } */
void bm_cmp_put_info_root(struct bm_derw *w, struct bm_rd new_with_new, struct bm_rd new_with_old, struct bm_rd old_with_new)
{
    size_t mark = bm_derw_mark(w);

    link_put(w, 1, old_with_new);
    link_put(w, 0, new_with_old);
    bm_derw_put(w, new_with_new);
    if (new_with_new.n != 0)
        bm_derw_end(w, mark, BM_DER_SEQUENCE);
    info_end(w, mark, oid_of(BM_CMP_INFO_ROOT_CA_KEY_UPDATE));
}
