#include "pki/impl.h"
#include "pki/san.h"

static const struct bm_rd oid_skid = BM_LIT(OID_SKID), oid_akid = BM_LIT(OID_AKID), oid_crl = BM_LIT(OID_CRL_POINTS);

enum bm_rc bm_signed_put(const struct bm_key *k, struct bm_rd body, struct bm_buf *out, struct bm_error *e)
{
    uint8_t sig[BM_SIGNATURE_MAX], tail[BM_SIGNATURE_MAX + 128], head[8];
    struct bm_derw t = bm_derw_of(tail, sizeof tail), h = bm_derw_of(head, sizeof head);
    size_t sig_len = sizeof sig, mark = bm_derw_mark(&t);
    enum bm_rc rc = bm_key_sign(k, body, sig, &sig_len, e);

    if (rc != BM_OK)
        return rc;
    bm_derw_put(&t, bm_rd_of(sig, sig_len));
    bm_derw_end_bits(&t, mark);
    bm_derw_put(&t, bm_key_sig_alg(k));
    if (t.bad)
        return bm_fail(e, BM_LIMIT, "signature of %zu bytes", sig_len);
    bm_derw_header(&h, body.n + bm_derw_rd(&t).n, BM_DER_SEQUENCE);
    bm_buf_put(out, bm_derw_rd(&h).p, bm_derw_rd(&h).n);
    bm_buf_put(out, body.p, body.n);
    bm_buf_put(out, bm_derw_rd(&t).p, bm_derw_rd(&t).n);
    return bm_buf_check(out, e);
}

/* One zero byte in the place of the signature: it parses, and verifies with nothing. */
static enum bm_rc unsigned_put(const struct bm_key *k, struct bm_rd body, struct bm_buf *out, struct bm_error *e)
{
    uint8_t room[BM_CERT_MAX];
    struct bm_derw w = bm_derw_of(room, sizeof room);

    bm_derw_byte(&w, 0);
    bm_derw_end_bits(&w, sizeof room);
    bm_derw_put(&w, bm_key_sig_alg(k));
    bm_derw_put(&w, body);
    bm_derw_end(&w, sizeof room, BM_DER_SEQUENCE);
    if (w.bad)
        return bm_fail(e, BM_LIMIT, "certificate over %d bytes", BM_CERT_MAX);
    bm_buf_put(out, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    return bm_buf_check(out, e);
}

static enum bm_rc key_check(const struct bm_profile *p, struct bm_rd spki, struct bm_spki *ret, struct bm_error *e)
{
    enum bm_rc rc = bm_spki_parse(spki, ret, e);

    for (size_t n = 0; rc == BM_OK && n < p->n_keys; n++)
        if (strcmp(p->keys[n], ret->alg) == 0)
            return BM_OK;
    if (rc != BM_OK)
        return rc;
    return bm_refuse(e, BM_DENIED, "key-algorithm", "certificate profile '%s' does not take %s keys", p->name, ret->alg);
}

enum bm_rc bm_profile_check_key(const struct bm_profile *p, struct bm_rd spki, struct bm_error *e)
{
    struct bm_spki key;

    return key_check(p, spki, &key, e);
}

static enum bm_rc issuer_check(const struct bm_issue *i, struct bm_error *e)
{
    const struct bm_cert *ca = i->issuer_cert;
    struct bm_rd signer = bm_key_spki(i->issuer_key);

    if (!bm_rd_eq(ca != NULL ? ca->spki : i->spki, signer))
        return bm_fail(e, BM_USAGE, "the issuing key is not the one in the issuer's certificate");
    if (ca == NULL)
        return BM_OK;
    if (!ca->ca || (ca->has_key_usage && (ca->key_usage & BM_KU_CERT_SIGN) == 0))
        return bm_refuse(e, BM_DENIED, "bad-issuer", "the issuer's certificate is not a CA's");
    if (bm_rd_eq(i->subject, ca->subject)) /* self-issued, so it does not count (section 4.2.1.9) */
        return BM_OK;
    if (i->profile->ca && (ca->path_len == 0 || (ca->path_len > 0 && i->profile->path_len >= ca->path_len)))
        return bm_refuse(e, BM_DENIED, "bad-issuer", "the issuer's path length %d leaves no room for certificate profile '%s'",
                         ca->path_len, i->profile->name);
    return BM_OK;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static enum bm_rc window(const struct bm_issue *i, int64_t *ret_before, int64_t *ret_after, struct bm_error *e)
{
    const struct bm_profile *p = i->profile;
    const struct bm_cert *ca = i->issuer_cert;
    int64_t before = i->now - p->backdate_s;
    int64_t after = least(p->validity_s == INT64_MAX ? INT64_MAX : i->now + p->validity_s, i->not_after_max);

    if (ca != NULL) {
        if (i->now < ca->not_before || i->now > ca->not_after)
            return bm_refuse(e, BM_DENIED, "issuer-expired", "the issuer's certificate is %s",
                             i->now < ca->not_before ? "not valid yet" : "past its end");
        before = before < ca->not_before ? ca->not_before : before;
        after = least(after, ca->not_after);
    }
    if (after <= i->now)
        return bm_refuse(e, BM_DENIED, "validity-over", "the certificate's latest allowed end is already past");
    *ret_before = before;
    *ret_after = after;
    return BM_OK;
}

/* Extensions [3]: what the profile fixed, then the two key identifiers, then the alternative names. */
static enum bm_rc extensions_write(struct bm_derw *w, const struct bm_issue *i, struct bm_rd key_bits, struct bm_error *e)
{
    size_t mark = bm_derw_mark(w), m;
    uint8_t skid[20], own_akid[20];
    struct bm_rd akid = bm_rd_of(skid, sizeof skid);
    struct bm_spki ca;
    enum bm_rc rc = bm_san_write(w, i->profile, i->words, e);

    if (rc != BM_OK)
        return rc;
    bm_key_id(key_bits, skid);
    if (i->issuer_cert != NULL && i->issuer_cert->skid.n != 0) {
        akid = i->issuer_cert->skid;
    } else if (i->issuer_cert != NULL) {
        rc = bm_spki_parse(i->issuer_cert->spki, &ca, e);
        if (rc != BM_OK)
            return rc;
        bm_key_id(ca.raw, own_akid);
        akid = bm_rd_of(own_akid, sizeof own_akid);
    }
    m = bm_derw_mark(w);
    bm_derw_tlv(w, BM_DER_CTX(0), akid);
    bm_derw_end(w, m, BM_DER_SEQUENCE);
    bm_ext_end(w, m, oid_akid, false);
    m = bm_derw_mark(w);
    bm_derw_tlv(w, BM_DER_OCTET_STRING, bm_rd_of(skid, sizeof skid));
    bm_ext_end(w, m, oid_skid, false);
    if (i->crl_url.n != 0)
        bm_crl_points_put(w, oid_crl, i->crl_url);
    else
        bm_derw_put(w, bm_rd_of(i->profile->crl, i->profile->crl_len));
    bm_derw_put(w, bm_rd_of(i->profile->fixed, i->profile->fixed_len));
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(3));
    return mark - w->at > BM_EXTENSIONS_MAX ? bm_fail(e, BM_LIMIT, "extensions over %d bytes", BM_EXTENSIONS_MAX) : BM_OK;
}

static void validity_write(struct bm_derw *w, int64_t before, int64_t after)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_time(w, after);
    bm_derw_time(w, before);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

static void serial_write(struct bm_derw *w, const uint8_t random[16])
{
    uint8_t serial[16];

    memcpy(serial, random, sizeof serial);
    serial[0] = (serial[0] & 0x7f) | 0x40;
    bm_derw_tlv(w, BM_DER_INTEGER, bm_rd_of(serial, sizeof serial));
}

/* From validity back to the version, RFC 5280 section 4.1. */
static void front_write(struct bm_derw *w, const struct bm_issue *i, struct bm_rd issuer, int64_t before, int64_t after)
{
    size_t mark;

    validity_write(w, before, after);
    bm_derw_put(w, issuer);
    bm_derw_put(w, bm_key_sig_alg(i->issuer_key));
    serial_write(w, i->serial);
    mark = bm_derw_mark(w);
    bm_derw_uint(w, 2); /* v3 */
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
}

static enum bm_rc tbs_write(struct bm_derw *w, const struct bm_issue *i, struct bm_rd key_bits, int64_t before, int64_t after,
                            struct bm_error *e)
{
    uint8_t name[BM_NAME_DER_MAX];
    struct bm_derw n = bm_derw_of(name, sizeof name);
    size_t mark = bm_derw_mark(w);
    enum bm_rc rc = i->subject.n == 0 ? bm_name_write(&n, &i->profile->subject, i->words, e) : BM_OK;

    bm_derw_put(&n, i->subject);
    if (rc == BM_OK && i->issuer_cert != NULL && i->subject.n == 0 &&
        bm_rd_eq(bm_derw_rd(&n), i->issuer_cert->subject)) /* it would pass for self-issued */
        rc = bm_refuse(e, BM_DENIED, "profile-template", "certificate profile '%s' gives the issuer's own name", i->profile->name);
    if (rc == BM_OK)
        rc = extensions_write(w, i, key_bits, e);
    if (rc != BM_OK)
        return rc;
    bm_derw_put(w, i->spki);
    bm_derw_put(w, bm_derw_rd(&n));
    front_write(w, i, i->issuer_cert != NULL ? i->issuer_cert->subject : bm_derw_rd(&n), before, after);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    return w->bad ? bm_fail(e, BM_LIMIT, "certificate over %d bytes", BM_CERT_MAX) : BM_OK;
}

enum bm_rc bm_cert_issue(const struct bm_issue *i, struct bm_buf *ret_der, int64_t *ret_not_before, int64_t *ret_not_after,
                         struct bm_error *e)
{
    uint8_t room[BM_CERT_MAX];
    struct bm_derw w = bm_derw_of(room, sizeof room);
    int64_t before = 0, after = 0;
    struct bm_spki spki;
    enum bm_rc rc = key_check(i->profile, i->spki, &spki, e);

    if (rc == BM_OK)
        rc = issuer_check(i, e);
    if (rc == BM_OK)
        rc = window(i, &before, &after, e);
    if (rc == BM_OK)
        rc = tbs_write(&w, i, spki.raw, before, after, e);
    if (rc == BM_OK)
        rc = (i->no_signature ? unsigned_put : bm_signed_put)(i->issuer_key, bm_derw_rd(&w), ret_der, e);
    if (rc != BM_OK)
        return rc;
    if (ret_not_before != NULL)
        *ret_not_before = before;
    if (ret_not_after != NULL)
        *ret_not_after = after;
    return BM_OK;
}
