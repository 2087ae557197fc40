#include "pki/cmp_client.h"

#include "pki/impl.h"

#include <stdio.h>

static enum bm_rc malformed(struct bm_error *e, const char *what)
{
    return bm_fail(e, BM_MALFORMED, "CMP message: %s", what);
}

/* --- writing ------------------------------------------------------------------------------------------------------------------------ */
void bm_cmp_put_p10cr(struct bm_derw *w, struct bm_rd csr)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_put(w, csr);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(BM_CMP_P10CR));
}

void bm_cmp_put_poll_req(struct bm_derw *w, int64_t req_id)
{
    size_t mark = bm_derw_mark(w);

    bm_cmp_put_req_id(w, req_id);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(BM_CMP_POLLREQ));
}

/* reasonCode ::= ENUMERATED, in an Extension (RFC 5280 section 5.3.1). */
static void put_reason(struct bm_derw *w, int reason)
{
    static const struct bm_rd oid_reason = BM_LIT(OID_CRL_REASON);
    const uint8_t value = (uint8_t)reason;
    size_t mark = bm_derw_mark(w);

    bm_derw_tlv(w, BM_DER_ENUMERATED, bm_rd_of(&value, 1));
    bm_derw_end(w, mark, BM_DER_OCTET_STRING);
    bm_derw_tlv(w, BM_DER_OID, oid_reason);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

/* CertTemplate ::= SEQUENCE { ..., serialNumber [1], ..., issuer [3], ... }; Name is a CHOICE, so its tag is explicit. */
void bm_cmp_put_rr(struct bm_derw *w, const struct bm_cert *cert, int reason)
{
    size_t mark = bm_derw_mark(w), template;

    put_reason(w, reason);
    template = bm_derw_mark(w);
    bm_derw_put(w, cert->issuer);
    bm_derw_end(w, template, BM_DER_CTX_CONS(3));
    bm_derw_tlv(w, BM_DER_CTX(1), cert->serial);
    bm_derw_end(w, template, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(BM_CMP_RR));
}

static void put_hash_alg(struct bm_derw *w)
{
    static const struct bm_rd oid_sha256 = BM_LIT(OID_SHA256);
    size_t mark = bm_derw_mark(w);

    bm_derw_tlv(w, BM_DER_OID, oid_sha256);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
}

/* CertStatus ::= SEQUENCE { certHash, certReqId, statusInfo OPTIONAL, hashAlg [0] OPTIONAL } */
enum bm_rc bm_cmp_put_confirm(struct bm_derw *w, int64_t req_id, const struct bm_cert *cert, bool *ret_v3, struct bm_error *e)
{
    enum bm_digest d = bm_cmp_hash_of(cert->sig_alg);
    size_t mark = bm_derw_mark(w), n;
    uint8_t digest[BM_DIGEST_MAX];

    *ret_v3 = d == BM_DIGEST_NONE;
    n = bm_digest_of(*ret_v3 ? BM_SHA256 : d, cert->whole, digest);
    if (n == 0)
        return bm_fail(e, BM_NOMEM, "the digest of a certificate could not be computed");
    if (*ret_v3)
        put_hash_alg(w);
    bm_cmp_put_req_id(w, req_id);
    bm_derw_tlv(w, BM_DER_OCTET_STRING, bm_rd_of(digest, n));
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(BM_CMP_CERTCONF));
    return BM_OK;
}

/* --- PKIStatusInfo, section 5.2.3 ------------------------------------------------------------------------------------------------------ */
/* PKIFreeText ::= SEQUENCE SIZE (1..MAX) OF UTF8String: the first of them. */
static bool free_text(struct bm_rd *r, struct bm_rd *ret)
{
    struct bm_rd list;

    if (!bm_der_next_is(*r, BM_DER_SEQUENCE))
        return true;
    if (!bm_der_take(r, BM_DER_SEQUENCE, &list) || !bm_der_take(&list, BM_DER_UTF8, ret))
        return false;
    while (list.n != 0)
        if (!bm_der_take(&list, BM_DER_UTF8, NULL))
            return false;
    return true;
}

/* A named bit list; bits past those we know are dropped. */
static bool fail_info(struct bm_rd *r, struct bm_cmp_status_info *s)
{
    struct bm_rd bits;

    if (!bm_der_next_is(*r, BM_DER_BIT_STRING))
        return true;
    if (!bm_der_take(r, BM_DER_BIT_STRING, &bits) || bits.n == 0 || bits.p[0] > 7 || (bits.n == 1 && bits.p[0] != 0))
        return false;
    s->has_fail = true;
    for (unsigned i = 0; i < 32 && i < 8 * (bits.n - 1); i++)
        s->fail |= (uint32_t)(bits.p[1 + i / 8] >> (7 - i % 8) & 1) << i;
    return true;
}

static bool status_info(struct bm_rd *r, struct bm_cmp_status_info *s)
{
    struct bm_rd in;

    return bm_der_take(r, BM_DER_SEQUENCE, &in) && bm_der_uint(&in, &s->status) && free_text(&in, &s->text) && fail_info(&in, s) &&
           in.n == 0;
}

const char *bm_cmp_fail_text(uint32_t fail, char ret[BM_CMP_FAIL_TEXT_LEN])
{
    static const char *const names[] = {
        "badAlg",           "badMessageCheck",     "badRequest",          "badTime",           "badCertId",
        "badDataFormat",    "wrongAuthority",      "incorrectData",       "missingTimeStamp",  "badPOP",
        "certRevoked",      "certConfirmed",       "wrongIntegrity",      "badRecipientNonce", "timeNotAvailable",
        "unacceptedPolicy", "unacceptedExtension", "addInfoNotAvailable", "badSenderNonce",    "badCertTemplate",
        "signerNotTrusted", "transactionIdInUse",  "unsupportedVersion",  "notAuthorized",     "systemUnavail",
        "systemFailure",    "duplicateCertReq",
    };
    struct bm_wr w = bm_wr_of(ret, BM_CMP_FAIL_TEXT_LEN - 1);

    for (size_t i = 0; i < BM_COUNT(names); i++) {
        size_t before = w.n;

        if ((fail >> i & 1) == 0)
            continue;
        bm_wr_str(&w, w.n != 0 ? ", " : "");
        bm_wr_str(&w, names[i]);
        w.n = w.bad ? before : w.n; /* whole names or none */
    }
    ret[w.n] = '\0';
    return ret;
}

/* --- CertRepMessage, section 5.3.4 -------------------------------------------------------------------------------------------------------- */
/* CertifiedKeyPair ::= SEQUENCE { certOrEncCert CHOICE { certificate [0], encryptedCert [1] }, privateKey [0] OPTIONAL, publicationInfo [1] OPTIONAL };
 * a CMPCertificate is a Certificate, or something else under [1]. */
static bool key_pair(struct bm_rd *r, struct bm_rd *ret_cert)
{
    struct bm_rd in, choice;
    uint8_t tag;

    if (!bm_der_next_is(*r, BM_DER_SEQUENCE))
        return true;
    if (!bm_der_take(r, BM_DER_SEQUENCE, &in) || !bm_der_any(&in, &tag, &choice, NULL))
        return false;
    if (tag == BM_DER_CTX_CONS(0) && bm_der_next_is(choice, BM_DER_SEQUENCE) &&
        (!bm_der_whole(&choice, BM_DER_SEQUENCE, ret_cert) || choice.n != 0))
        return false;
    while (in.n != 0)
        if (!bm_der_any(&in, NULL, NULL, NULL))
            return false;
    return true;
}

/* CertResponse ::= SEQUENCE { certReqId, status, certifiedKeyPair OPTIONAL, rspInfo OCTET STRING OPTIONAL } */
static bool response(struct bm_rd in, struct bm_cmp_cert_rep *c)
{
    if (!bm_der_int(&in, &c->req_id) || !status_info(&in, &c->s) || !key_pair(&in, &c->cert))
        return false;
    if (bm_der_next_is(in, BM_DER_OCTET_STRING) && !bm_der_take(&in, BM_DER_OCTET_STRING, NULL))
        return false;
    return in.n == 0;
}

enum bm_rc bm_cmp_cert_rep_parse(struct bm_rd content, struct bm_cmp_cert_rep *ret, struct bm_error *e)
{
    struct bm_cmp_cert_rep c = { 0 }, more;
    struct bm_rd in, list, one;

    if (!bm_der_only(content, BM_DER_SEQUENCE, &in))
        return malformed(e, "CertRepMessage is no SEQUENCE");
    if (bm_der_next_is(in, BM_DER_CTX_CONS(1)) && !bm_der_take(&in, BM_DER_CTX_CONS(1), NULL))
        return malformed(e, "caPubs does not parse");
    if (!bm_der_take(&in, BM_DER_SEQUENCE, &list) || in.n != 0 || list.n == 0)
        return malformed(e, "CertRepMessage holds no response");
    for (; list.n != 0; c.n++) {
        more = (struct bm_cmp_cert_rep){ 0 };
        if (!bm_der_take(&list, BM_DER_SEQUENCE, &one) || !response(one, c.n == 0 ? &c : &more))
            return malformed(e, "a CertResponse does not parse");
    }
    *ret = c;
    return BM_OK;
}

/* --- RevRepContent, section 5.3.10 ---------------------------------------------------------------------------------------------------------- */
/* SEQUENCE { status SEQUENCE OF PKIStatusInfo, revCerts [0] OPTIONAL, crls [1] OPTIONAL }. Which certificate it is about is not looked at: the
 * message answers ours, and ours was about one. */
enum bm_rc bm_cmp_rev_rep_parse(struct bm_rd content, struct bm_cmp_rev_rep *ret, struct bm_error *e)
{
    struct bm_cmp_rev_rep r = { 0 }, more;
    struct bm_rd in, list;

    if (!bm_der_only(content, BM_DER_SEQUENCE, &in) || !bm_der_take(&in, BM_DER_SEQUENCE, &list) || list.n == 0)
        return malformed(e, "rp holds no status");
    for (; list.n != 0; r.n++) {
        more = (struct bm_cmp_rev_rep){ 0 };
        if (!status_info(&list, r.n == 0 ? &r.s : &more.s))
            return malformed(e, "a status in rp does not parse");
    }
    for (unsigned tag = 0; tag < 2; tag++)
        if (bm_der_next_is(in, BM_DER_CTX_CONS(tag)) && !bm_der_take(&in, (uint8_t)BM_DER_CTX_CONS(tag), NULL))
            return malformed(e, "rp does not parse");
    if (in.n != 0)
        return malformed(e, "something is left over in rp");
    *ret = r;
    return BM_OK;
}

/* --- PollRepContent, section 5.3.22 ---------------------------------------------------------------------------------------------------------- */
static bool poll_answer(struct bm_rd in, struct bm_cmp_poll_rep *p)
{
    return bm_der_int(&in, &p->req_id) && bm_der_uint(&in, &p->check_after) && free_text(&in, &p->reason) && in.n == 0;
}

enum bm_rc bm_cmp_poll_rep_parse(struct bm_rd content, struct bm_cmp_poll_rep *ret, struct bm_error *e)
{
    struct bm_cmp_poll_rep p = { 0 }, more;
    struct bm_rd list, one;

    if (!bm_der_only(content, BM_DER_SEQUENCE, &list) || list.n == 0)
        return malformed(e, "pollRep holds no answer");
    for (; list.n != 0; p.n++) {
        more = (struct bm_cmp_poll_rep){ 0 };
        if (!bm_der_take(&list, BM_DER_SEQUENCE, &one) || !poll_answer(one, p.n == 0 ? &p : &more))
            return malformed(e, "pollRep does not parse");
    }
    *ret = p;
    return BM_OK;
}

/* --- ErrorMsgContent, section 5.3.21 -------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_cmp_error_parse(struct bm_rd content, struct bm_cmp_error *ret, struct bm_error *e)
{
    struct bm_cmp_error c = { 0 };
    struct bm_rd in;

    if (!bm_der_only(content, BM_DER_SEQUENCE, &in) || !status_info(&in, &c.s))
        return malformed(e, "an error's status does not parse");
    if (bm_der_next_is(in, BM_DER_INTEGER) && !bm_der_take(&in, BM_DER_INTEGER, NULL))
        return malformed(e, "an error's errorCode does not parse");
    if (!free_text(&in, &c.details) || in.n != 0)
        return malformed(e, "an error's details do not parse");
    *ret = c;
    return BM_OK;
}
