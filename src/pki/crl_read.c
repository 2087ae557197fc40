#include "pki/crl_read.h"

#include "base/text.h"
#include "pki/impl.h"

enum { EXTENSIONS_MAX = 16, SERIAL_MAX = 21, REASON_MAX = 10, REASON_UNUSED = 7, REASON_REMOVE = 8 };

static enum bm_rc bad(struct bm_error *e, const char *why)
{
    return bm_refuse(e, BM_MALFORMED, "bad-crl", "the revocation list: %s", why);
}

/* --- entries ------------------------------------------------------------------------------------------------------------------------ */
/* A code of 8 (removeFromCRL) is for deltas alone: section 5.3.1. */
static bool reason_read(struct bm_rd v, int *ret)
{
    struct bm_rd code;

    if (!bm_der_only(v, BM_DER_ENUMERATED, &code) || code.n != 1 || code.p[0] > REASON_MAX || code.p[0] == REASON_UNUSED ||
        code.p[0] == REASON_REMOVE)
        return false;
    *ret = code.p[0];
    return true;
}

/* What is critical and not known makes the list unusable (section 5.3): certificateIssuer among it, as others' certificates are not for here. */
static bool entry_extensions(struct bm_rd list, struct bm_crl_entry *ret)
{
    static const struct bm_rd reason = BM_LIT(OID_CRL_REASON);
    struct bm_rd all;
    struct bm_ext x;

    if (list.n == 0)
        return true;
    if (!bm_der_only(list, BM_DER_SEQUENCE, &all) || all.n == 0)
        return false;
    while (all.n != 0) {
        if (!bm_ext_next(&all, &x))
            return false;
        if (bm_rd_eq(x.oid, reason) ? !reason_read(x.value, &ret->reason) : x.critical)
            return false;
    }
    return true;
}

static bool entry_read(struct bm_rd *r, struct bm_crl_entry *ret)
{
    struct bm_crl_entry n = { .reason = 0 };
    struct bm_rd t = *r, seq;

    if (!bm_der_take(&t, BM_DER_SEQUENCE, &seq) || !bm_der_take(&seq, BM_DER_INTEGER, &n.serial) || !bm_der_int_ok(n.serial) ||
        n.serial.n > SERIAL_MAX || !bm_der_time(&seq, &n.revoked_at) || !entry_extensions(seq, &n))
        return false;
    *ret = n;
    *r = t;
    return true;
}

bool bm_crl_next(struct bm_rd *entries, struct bm_crl_entry *ret)
{
    return entries->n != 0 && entry_read(entries, ret);
}

static enum bm_rc entries_read(struct bm_rd *tbs, struct bm_crl *c, struct bm_error *e)
{
    struct bm_crl_entry entry;
    struct bm_rd rest;

    if (!bm_der_take(tbs, BM_DER_SEQUENCE, &c->entries))
        return BM_OK; /* section 5.1.2.6: absent when there are none */
    for (rest = c->entries; rest.n != 0; c->n++)
        if (!entry_read(&rest, &entry))
            return bad(e, "an entry does not parse, or says something critical that we do not know");
    return BM_OK;
}

/* --- extensions --------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc read_number(struct bm_rd v, struct bm_crl *c, struct bm_error *e)
{
    struct bm_rd n;

    if (!bm_der_only(v, BM_DER_INTEGER, &n) || !bm_der_int_ok(n) || n.p[0] >= 0x80)
        return bad(e, "its number does not parse");
    if (n.n > 1 && n.p[0] == 0)
        n = bm_rd_of(n.p + 1, n.n - 1);
    if (n.n > sizeof c->number)
        return bad(e, "its number has more than 20 bytes (RFC 5280 section 5.2.3)");
    memcpy(c->number + sizeof c->number - n.n, n.p, n.n);
    return BM_OK;
}

static enum bm_rc read_akid(struct bm_rd v, struct bm_crl *c, struct bm_error *e)
{
    struct bm_rd seq;

    if (!bm_der_only(v, BM_DER_SEQUENCE, &seq) ||
        (bm_der_next_is(seq, BM_DER_CTX(0)) && !bm_der_take(&seq, BM_DER_CTX(0), &c->akid)))
        return bad(e, "its authority key identifier does not parse");
    return BM_OK;
}

/* [n] BOOLEAN DEFAULT FALSE: when it is there it is TRUE (DER). false: malformed. */
static bool take_flag(struct bm_rd *r, unsigned n, bool *ret)
{
    struct bm_rd v;

    *ret = bm_der_take(r, BM_DER_CTX(n), &v);
    return !*ret || (v.n == 1 && v.p[0] == 0xff);
}

/* Section 5.2.5. Where it is to be found does not matter here; that some reasons are left out, or others' certificates are in it, does. */
static enum bm_rc read_point(struct bm_rd v, struct bm_crl *c, struct bm_error *e)
{
    struct bm_rd seq;
    bool reasons, indirect, attributes;

    if (!bm_der_only(v, BM_DER_SEQUENCE, &seq) ||
        (bm_der_next_is(seq, BM_DER_CTX_CONS(0)) && !bm_der_take(&seq, BM_DER_CTX_CONS(0), NULL)) ||
        !take_flag(&seq, 1, &c->users_only) || !take_flag(&seq, 2, &c->cas_only))
        return bad(e, "its issuing distribution point does not parse");
    reasons = bm_der_take(&seq, BM_DER_CTX(3), NULL);
    if (!take_flag(&seq, 4, &indirect) || !take_flag(&seq, 5, &attributes) || seq.n != 0)
        return bad(e, "its issuing distribution point does not parse");
    return reasons || indirect || attributes ? bad(e, "it is for some reasons only, an indirect one, or for attribute certificates")
                                             : BM_OK;
}

static enum bm_rc refuse_delta(struct bm_rd v, struct bm_crl *c, struct bm_error *e)
{
    (void)v, (void)c;
    return bad(e, "it is a delta; bring the complete one");
}

static const struct extension {
    struct bm_rd oid;
    enum bm_rc (*read)(struct bm_rd v, struct bm_crl *c, struct bm_error *e);
} extensions[] = {
    { BM_LIT(OID_CRL_NUMBER), read_number },
    { BM_LIT(OID_AKID), read_akid },
    { BM_LIT(OID_CRL_ISSUING_POINT), read_point },
    { BM_LIT(OID_CRL_DELTA), refuse_delta },
};

static enum bm_rc extension_read(const struct bm_ext *x, bool seen[BM_COUNT(extensions)], struct bm_crl *c, struct bm_error *e)
{
    for (size_t i = 0; i < BM_COUNT(extensions); i++) {
        if (!bm_rd_eq(extensions[i].oid, x->oid))
            continue;
        if (seen[i])
            return bad(e, "an extension comes twice");
        seen[i] = true;
        return extensions[i].read(x->value, c, e);
    }
    return x->critical ? bad(e, "it has a critical extension that we do not know") : BM_OK;
}

/* crlExtensions [0] EXPLICIT. A list without a number could be put back by an older one: section 5.2.3 has it in each. */
static enum bm_rc extensions_read(struct bm_rd tbs, struct bm_crl *c, struct bm_error *e)
{
    bool seen[BM_COUNT(extensions)] = { false };
    struct bm_rd field, list;
    struct bm_ext x;
    enum bm_rc rc = BM_OK;

    if (tbs.n == 0)
        return bad(e, "it has no number (RFC 5280 section 5.2.3)");
    if (!bm_der_only(tbs, BM_DER_CTX_CONS(0), &field) || !bm_der_only(field, BM_DER_SEQUENCE, &list))
        return bad(e, "its extensions do not parse");
    for (size_t n = 0; rc == BM_OK && list.n != 0; n++)
        rc = n < EXTENSIONS_MAX && bm_ext_next(&list, &x) ? extension_read(&x, seen, c, e) : bad(e, "its extensions do not parse");
    if (rc == BM_OK && !seen[0])
        return bad(e, "it has no number (RFC 5280 section 5.2.3)");
    return rc;
}

/* --- the whole ---------------------------------------------------------------------------------------------------------------------- */
/* TBSCertList, section 5.1.2. */
static enum bm_rc tbs_read(struct bm_crl *c, struct bm_error *e)
{
    struct bm_rd tbs, alg;
    uint64_t version;
    enum bm_rc rc;

    if (!bm_der_only(c->tbs, BM_DER_SEQUENCE, &tbs) || !bm_der_uint(&tbs, &version) || version != 1)
        return bad(e, "it is not one of version 2");
    if (!bm_der_whole(&tbs, BM_DER_SEQUENCE, &alg) || !bm_rd_eq(alg, c->sig_alg)) /* section 5.1.1.2 */
        return bad(e, "its signature algorithm is said in two ways");
    if (!bm_der_whole(&tbs, BM_DER_SEQUENCE, &c->issuer) || !bm_name_valid(c->issuer))
        return bad(e, "its issuer does not parse");
    if (!bm_der_time(&tbs, &c->this_update) || !bm_der_time(&tbs, &c->next_update)) /* section 5.1.2.5: both, always */
        return bad(e, "it does not say from when to when it counts");
    rc = entries_read(&tbs, c, e);
    return rc == BM_OK ? extensions_read(tbs, c, e) : rc;
}

enum bm_rc bm_crl_parse(struct bm_rd der, struct bm_crl *ret, struct bm_error *e)
{
    struct bm_crl c = { .whole = der };
    struct bm_rd seq;
    enum bm_rc rc;

    if (der.n > BM_CRL_MAX)
        return bm_refuse(e, BM_LIMIT, "bad-crl", "a revocation list of %zu bytes; at most %d are taken", der.n, BM_CRL_MAX);
    if (!bm_der_only(der, BM_DER_SEQUENCE, &seq) || !bm_der_whole(&seq, BM_DER_SEQUENCE, &c.tbs) ||
        !bm_der_whole(&seq, BM_DER_SEQUENCE, &c.sig_alg) || !bm_der_bits(&seq, &c.sig) || seq.n != 0)
        return bad(e, "it is not a DER CertificateList");
    rc = tbs_read(&c, e);
    if (rc == BM_OK)
        *ret = c;
    return rc;
}

/* --- whose it is, and when ---------------------------------------------------------------------------------------------------------- */
static enum bm_rc denied(struct bm_error *e, const char *why)
{
    return bm_refuse(e, BM_DENIED, "bad-crl", "the revocation list %s", why);
}

enum bm_rc bm_crl_check(const struct bm_crl *crl, const struct bm_cert *issuer, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_spki spki;
    enum bm_rc rc;

    if (!bm_rd_eq(crl->issuer, issuer->subject))
        return denied(e, "is another CA's");
    if (crl->akid.n != 0 && issuer->skid.n != 0 && !bm_rd_eq(crl->akid, issuer->skid))
        return denied(e, "is by another key of that CA");
    if (!issuer->ca || (issuer->has_key_usage && (issuer->key_usage & BM_KU_CRL_SIGN) == 0) || issuer->unknown_critical)
        return denied(e, "is by a certificate that may not sign any (cRLSign)");
    rc = bm_spki_parse(issuer->spki, &spki, e);
    if (rc == BM_OK)
        rc = bm_spki_open(&spki, &key, e);
    if (rc != BM_OK)
        return rc;
    return bm_verify_x509(key, crl->sig_alg, crl->tbs, crl->sig, NULL) == BM_OK
               ? BM_OK
               : denied(e, "is not signed by that CA's key, or with SHA-1");
}

enum bm_rc bm_crl_check_dates(const struct bm_crl *crl, int64_t now, struct bm_error *e)
{
    char at[24];

    if (crl->this_update > now + BM_CLOCK_BACK_TOLERANCE_S)
        return bm_refuse(e, BM_DENIED, "crl-dates", "the revocation list counts from %s on: look at the clocks",
                         bm_time_text(crl->this_update, at));
    if (crl->next_update <= now)
        return bm_refuse(e, BM_DENIED, "crl-dates", "the revocation list was over at %s: bring a newer one",
                         bm_time_text(crl->next_update, at));
    return BM_OK;
}

enum bm_rc bm_crl_in_file(struct bm_rd file, struct bm_buf *ret_der, struct bm_error *e)
{
    enum bm_rc rc;

    if (bm_der_next_is(file, BM_DER_SEQUENCE)) {
        bm_buf_put(ret_der, file.p, file.n);
        return bm_buf_check(ret_der, e);
    }
    rc = bm_pem_parse(file, "X509 CRL", bm_pem_keep, ret_der, e);
    return rc == BM_OK && ret_der->n == 0 ? bm_fail(e, BM_NOTFOUND, "no revocation list is in the file") : rc;
}
