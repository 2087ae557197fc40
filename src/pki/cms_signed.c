#include "pki/cms_signed.h"

#include "pki/impl.h"

#include <stdlib.h>

static const struct bm_rd oid_signed = BM_LIT(OID_CMS_SIGNED_DATA), oid_data = BM_LIT(OID_CMS_DATA),
                          oid_content_type = BM_LIT(OID_CONTENT_TYPE), oid_message_digest = BM_LIT(OID_MESSAGE_DIGEST);
static const struct bm_rd digest_oids[] = {
    [BM_SHA256] = BM_LIT(OID_SHA256), [BM_SHA384] = BM_LIT(OID_SHA384), [BM_SHA512] = BM_LIT(OID_SHA512)
};

/* --- reading ------------------------------------------------------------------------------------------------------------------ */
/* AlgorithmIdentifier of a digest: parameters absent, or NULL, which RFC 5754 section 2 wants accepted. */
static bool digest_alg_take(struct bm_rd *r, struct bm_rd *ret_oid)
{
    struct bm_rd seq, null;

    return bm_der_take(r, BM_DER_SEQUENCE, &seq) && bm_der_take(&seq, BM_DER_OID, ret_oid) && bm_der_oid_ok(*ret_oid) &&
           (seq.n == 0 || (bm_der_take(&seq, BM_DER_NULL, &null) && null.n == 0 && seq.n == 0));
}

/* EncapsulatedContentInfo, section 5.2, with its content: [0] EXPLICIT OCTET STRING. */
static bool content_take(struct bm_rd *r, struct bm_cms_signed *s)
{
    struct bm_rd seq, box;

    return bm_der_take(r, BM_DER_SEQUENCE, &seq) && bm_der_take(&seq, BM_DER_OID, &s->content_type) &&
           bm_der_oid_ok(s->content_type) && bm_der_take(&seq, BM_DER_CTX_CONS(0), &box) && seq.n == 0 &&
           bm_der_only(box, BM_DER_OCTET_STRING, &s->content);
}

/* CertificateSet, section 10.2.3: plain certificates only. */
static bool certs_take(struct bm_rd *r, struct bm_cms_signed *s, bool *ret_too_many)
{
    struct bm_rd list;

    *ret_too_many = false;
    if (!bm_der_next_is(*r, BM_DER_CTX_CONS(0)))
        return true;
    if (!bm_der_take(r, BM_DER_CTX_CONS(0), &list))
        return false;
    while (list.n != 0) {
        *ret_too_many = s->n_certs == BM_CMS_CERTS_MAX;
        if (*ret_too_many || !bm_der_whole(&list, BM_DER_SEQUENCE, &s->certs[s->n_certs]))
            return false;
        s->n_certs++;
    }
    return true;
}

/* SignerIdentifier, section 5.3: version 1 goes with issuer and serial number, version 3 with a key identifier. */
static bool signer_take(struct bm_rd *r, uint64_t version, struct bm_cms_signed *s)
{
    struct bm_rd seq;

    if (version == 3)
        return bm_der_take(r, BM_DER_CTX(0), &s->signer_key_id) && s->signer_key_id.n != 0;
    return version == 1 && bm_der_take(r, BM_DER_SEQUENCE, &seq) && bm_der_whole(&seq, BM_DER_SEQUENCE, &s->signer_issuer) &&
           bm_der_take(&seq, BM_DER_INTEGER, &s->signer_serial) && bm_der_int_ok(s->signer_serial) && seq.n == 0;
}

/* The one SignerInfo; unsigned attributes are read past. */
static bool signer_info_take(struct bm_rd *r, struct bm_cms_signed *s)
{
    struct bm_rd set, info;
    uint64_t version;
    bool ok = bm_der_take(r, BM_DER_SET, &set) && bm_der_take(&set, BM_DER_SEQUENCE, &info) && set.n == 0 &&
              bm_der_uint(&info, &version) && signer_take(&info, version, s) && digest_alg_take(&info, &s->digest_alg);

    if (ok && bm_der_next_is(info, BM_DER_CTX_CONS(0)))
        ok = bm_der_take(&info, BM_DER_CTX_CONS(0), &s->attrs) && s->attrs.n != 0;
    ok = ok && bm_der_whole(&info, BM_DER_SEQUENCE, &s->sig_alg) && bm_der_take(&info, BM_DER_OCTET_STRING, &s->sig) &&
         s->sig.n != 0;
    if (ok && bm_der_next_is(info, BM_DER_CTX_CONS(1)))
        ok = bm_der_take(&info, BM_DER_CTX_CONS(1), NULL);
    return ok && info.n == 0;
}

static bool digest_algs_take(struct bm_rd *r)
{
    struct bm_rd set, oid;

    if (!bm_der_take(r, BM_DER_SET, &set))
        return false;
    while (set.n != 0)
        if (!digest_alg_take(&set, &oid))
            return false;
    return true;
}

enum bm_rc bm_cms_signed_parse(struct bm_rd der, struct bm_cms_signed *ret, struct bm_error *e)
{
    struct bm_cms_signed s = { 0 };
    struct bm_rd info, oid, box, data;
    uint64_t version;
    bool too_many = false;

    if (der.n > BM_VOUCHER_REQUEST_MAX)
        return bm_fail(e, BM_LIMIT, "signed message of %zu bytes; at most %d are taken", der.n, BM_VOUCHER_REQUEST_MAX);
    if (!bm_der_only(der, BM_DER_SEQUENCE, &info) || !bm_der_take(&info, BM_DER_OID, &oid) || !bm_rd_eq(oid, oid_signed) ||
        !bm_der_take(&info, BM_DER_CTX_CONS(0), &box) || info.n != 0 || !bm_der_only(box, BM_DER_SEQUENCE, &data))
        return bm_fail(e, BM_MALFORMED, "not CMS SignedData in DER");
    if (!bm_der_uint(&data, &version) || version < 1 || version > 5 || !digest_algs_take(&data) || !content_take(&data, &s))
        return bm_fail(e, BM_MALFORMED, "SignedData: no version, digest algorithms and attached content in DER");
    if (!certs_take(&data, &s, &too_many))
        return too_many ? bm_fail(e, BM_LIMIT, "SignedData: more than %d certificates", BM_CMS_CERTS_MAX)
                        : bm_fail(e, BM_MALFORMED, "SignedData: certificates do not parse");
    if (bm_der_next_is(data, BM_DER_CTX_CONS(1)) && !bm_der_take(&data, BM_DER_CTX_CONS(1), NULL)) /* CRLs say nothing here */
        return bm_fail(e, BM_MALFORMED, "SignedData: CRLs do not parse");
    if (!signer_info_take(&data, &s) || data.n != 0)
        return bm_fail(e, BM_MALFORMED, "SignedData: not exactly one signer that parses");
    *ret = s;
    return BM_OK;
}

/* --- whose it is -------------------------------------------------------------------------------------------------------------- */
static bool is_signer(const struct bm_cms_signed *s, const struct bm_cert *c)
{
    if (s->signer_key_id.n != 0)
        return bm_rd_eq(s->signer_key_id, c->skid);
    return bm_rd_eq(s->signer_issuer, c->issuer) && bm_rd_eq(s->signer_serial, c->serial);
}

enum bm_rc bm_cms_signed_signer(const struct bm_cms_signed *s, struct bm_cert *ret, struct bm_error *e)
{
    struct bm_cert c;

    for (size_t i = 0; i < s->n_certs; i++) {
        if (bm_cert_parse(s->certs[i], &c, NULL) != BM_OK || !is_signer(s, &c))
            continue;
        *ret = c;
        return BM_OK;
    }
    return bm_refuse(e, BM_DENIED, "cms-no-signer", "the certificate of the message's signer is not in the message");
}

/* One that has issued `below`, among those not in the chain yet. */
static bool find_issuer(const struct bm_cms_signed *s, const struct bm_cert *below, int64_t at, struct bm_cert *ret)
{
    for (size_t i = 0; i < s->n_certs; i++) {
        if (bm_cert_parse(s->certs[i], ret, NULL) == BM_OK && !bm_rd_eq(ret->whole, below->whole) &&
            bm_rd_eq(ret->subject, below->issuer) && bm_cert_check_link(below, ret, at, NULL) == BM_OK)
            return true;
    }
    return false;
}

enum bm_rc bm_cms_signed_chain(const struct bm_cms_signed *s, const struct bm_cert *signer, int64_t at, struct bm_cms_chain *ret,
                               struct bm_error *e)
{
    ret->at[0] = *signer;
    ret->n = 1;
    if (at < signer->not_before || at > signer->not_after)
        return bm_refuse(e, BM_DENIED, at > signer->not_after ? "expired" : "not-yet-valid",
                         "the signer's certificate is not valid now");
    while (ret->n < BM_CMS_CHAIN_MAX) {
        const struct bm_cert *top = &ret->at[ret->n - 1];

        if (bm_rd_eq(top->issuer, top->subject) || !find_issuer(s, top, at, &ret->at[ret->n]))
            break;
        ret->n++;
    }
    return BM_OK;
}

/* --- the signature ------------------------------------------------------------------------------------------------------------ */
static enum bm_digest digest_of_oid(struct bm_rd oid)
{
    for (size_t i = 0; i < BM_COUNT(digest_oids); i++)
        if (bm_rd_eq(oid, digest_oids[i]))
            return (enum bm_digest)i;
    return BM_DIGEST_NONE;
}

/* The value of the attribute `oid`, which must be there once and have one value (RFC 5652 section 11.1 and 11.2). */
static bool attribute_find(struct bm_rd attrs, struct bm_rd oid, struct bm_rd *ret)
{
    struct bm_rd one, type, set;
    size_t found = 0;

    while (attrs.n != 0) {
        if (!bm_der_take(&attrs, BM_DER_SEQUENCE, &one) || !bm_der_take(&one, BM_DER_OID, &type) ||
            !bm_der_take(&one, BM_DER_SET, &set) || one.n != 0)
            return false;
        if (!bm_rd_eq(type, oid))
            continue;
        *ret = set;
        found++;
    }
    return found == 1;
}

/* Section 5.3: with signed attributes, content type and digest are among them, and are those of this message. */
static enum bm_rc attrs_check(const struct bm_cms_signed *s, enum bm_digest d, struct bm_error *e)
{
    uint8_t digest[BM_DIGEST_MAX];
    struct bm_rd type, told, set;
    size_t n = bm_digest_of(d, s->content, digest);

    if (!attribute_find(s->attrs, oid_content_type, &set) || !bm_der_only(set, BM_DER_OID, &type) ||
        !attribute_find(s->attrs, oid_message_digest, &set) || !bm_der_only(set, BM_DER_OCTET_STRING, &told))
        return bm_fail(e, BM_MALFORMED, "signed attributes without one content type and one message digest");
    if (!bm_rd_eq(type, s->content_type) || n == 0 || !bm_rd_eq(told, bm_rd_of(digest, n)))
        return bm_refuse(e, BM_DENIED, "bad-signature", "what was signed is another content");
    return BM_OK;
}

/* PKCS #1 v1.5 signers name the bare rsaEncryption; the hash is then that of the digest algorithm (RFC 5754 section 3.2). */
static struct bm_rd sig_alg_of(const struct bm_cms_signed *s, enum bm_digest d)
{
    static const struct bm_rd rsa = BM_LIT("\x30\x0d\x06\x09" OID_RSA "\x05\x00"), with[] = {
        [BM_SHA256] = BM_LIT("\x30\x0d\x06\x09" OID_RSA_SHA256 "\x05\x00"),
        [BM_SHA384] = BM_LIT("\x30\x0d\x06\x09" OID_RSA_SHA384 "\x05\x00"),
        [BM_SHA512] = BM_LIT("\x30\x0d\x06\x09" OID_RSA_SHA512 "\x05\x00"),
    };

    return bm_rd_eq(s->sig_alg, rsa) ? with[d] : s->sig_alg;
}

/* The attributes are signed as a SET OF, not with the tag that they travel under. */
static enum bm_rc tbs_of(const struct bm_cms_signed *s, struct bm_buf *room, struct bm_rd *ret, struct bm_error *e)
{
    uint8_t header[8];
    struct bm_derw w = bm_derw_of(header, sizeof header);

    if (s->attrs.n == 0) {
        *ret = s->content;
        return BM_OK;
    }
    bm_derw_header(&w, s->attrs.n, BM_DER_SET);
    bm_buf_put(room, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    bm_buf_put(room, s->attrs.p, s->attrs.n);
    *ret = bm_buf_rd(room);
    return bm_buf_check(room, e);
}

enum bm_rc bm_cms_signed_verify(const struct bm_cms_signed *s, const struct bm_cert *signer, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf room = { .max = BM_VOUCHER_REQUEST_MAX + 8 };
    BM_EVP_FREE EVP_PKEY *key = NULL;
    enum bm_digest d = digest_of_oid(s->digest_alg);
    struct bm_spki spki;
    struct bm_rd tbs;
    enum bm_rc rc;

    if (d == BM_DIGEST_NONE)
        return bm_fail(e, BM_MALFORMED, "digest algorithm is not SHA-256, SHA-384 or SHA-512");
    if (s->attrs.n == 0 && !bm_rd_eq(s->content_type, oid_data)) /* section 5.3: then they must be there */
        return bm_fail(e, BM_MALFORMED, "no signed attributes");
    rc = s->attrs.n != 0 ? attrs_check(s, d, e) : BM_OK;
    if (rc == BM_OK)
        rc = tbs_of(s, &room, &tbs, e);
    if (rc == BM_OK)
        rc = bm_spki_parse(signer->spki, &spki, e);
    if (rc == BM_OK)
        rc = bm_spki_open(&spki, &key, e);
    return rc == BM_OK ? bm_verify_x509(key, sig_alg_of(s, d), tbs, s->sig, e) : rc;
}

/* --- writing ------------------------------------------------------------------------------------------------------------------ */
/* The hash that goes with the signature: RFC 5754 section 3, RFC 8419 section 2.3 (Ed25519), RFC 9882 section 3.3 (ML-DSA). */
static enum bm_digest digest_for(const struct bm_key *k)
{
    static const struct {
        const char *alg;
        enum bm_digest d;
    } rows[] = { { "P-256", BM_SHA256 }, { "RSA", BM_SHA256 }, { "P-384", BM_SHA384 } };

    for (size_t i = 0; i < BM_COUNT(rows); i++)
        if (strcmp(rows[i].alg, bm_key_alg(k)) == 0)
            return rows[i].d;
    return BM_SHA512;
}

static void digest_alg(struct bm_derw *w, enum bm_digest d)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_tlv(w, BM_DER_OID, digest_oids[d]);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

static void attribute_end(struct bm_derw *w, size_t mark, struct bm_rd oid)
{
    bm_derw_end(w, mark, BM_DER_SET);
    bm_derw_tlv(w, BM_DER_OID, oid);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

/* SET OF in DER order: the shorter one, the content type, comes first. */
static void put_attrs(struct bm_derw *w, const struct bm_cms_sign *s, struct bm_rd digest)
{
    size_t mark = bm_derw_mark(w), each = mark;

    bm_derw_tlv(w, BM_DER_OCTET_STRING, digest);
    attribute_end(w, each, oid_message_digest);
    each = bm_derw_mark(w);
    bm_derw_tlv(w, BM_DER_OID, s->content_type);
    attribute_end(w, each, oid_content_type);
    bm_derw_end(w, mark, BM_DER_SET);
}

/* SignerIdentifier, and the version that goes with it, section 5.3. */
static void put_signer_id(struct bm_derw *w, const struct bm_cms_sign *s)
{
    size_t mark = bm_derw_mark(w);

    if (s->by_key_id) {
        bm_derw_tlv(w, BM_DER_CTX(0), s->cert->skid);
        bm_derw_uint(w, 3);
        return;
    }
    bm_derw_tlv(w, BM_DER_INTEGER, s->cert->serial);
    bm_derw_put(w, s->cert->issuer);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_uint(w, 1);
}

static enum bm_rc put_signer_info(struct bm_derw *w, const struct bm_cms_sign *s, enum bm_digest d, struct bm_error *e)
{
    uint8_t digest[BM_DIGEST_MAX], room[192], sig[BM_SIGNATURE_MAX];
    struct bm_derw attrs = bm_derw_of(room, sizeof room);
    size_t n = sizeof sig, mark = bm_derw_mark(w);
    enum bm_rc rc;

    put_attrs(&attrs, s, bm_rd_of(digest, bm_digest_of(d, s->content, digest)));
    rc = attrs.bad ? bm_fail(e, BM_BUG, "signed attributes do not fit") : bm_key_sign(s->key, bm_derw_rd(&attrs), sig, &n, e);
    if (rc != BM_OK)
        return rc;
    bm_derw_tlv(w, BM_DER_OCTET_STRING, bm_rd_of(sig, n));
    bm_derw_put(w, bm_key_sig_alg(s->key));
    bm_derw_put(w, bm_rd_of(bm_derw_rd(&attrs).p + 1, bm_derw_rd(&attrs).n - 1)); /* [0] in place of the SET's tag */
    bm_derw_byte(w, BM_DER_CTX_CONS(0));
    digest_alg(w, d);
    put_signer_id(w, s);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SET);
    return BM_OK;
}

static void put_content(struct bm_derw *w, const struct bm_cms_sign *s)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_tlv(w, BM_DER_OCTET_STRING, s->content);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
    bm_derw_tlv(w, BM_DER_OID, s->content_type);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

/* X.690 11.6: the elements of a SET OF stand in the order of their bytes. */
static int in_der_order(const void *a, const void *b)
{
    const struct bm_rd *x = a, *y = b;
    int d = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);

    return d != 0 ? d : x->n < y->n ? -1 : x->n > y->n;
}

static void put_certs(struct bm_derw *w, const struct bm_cms_sign *s)
{
    struct bm_rd certs[BM_CMS_CERTS_MAX];
    size_t mark = bm_derw_mark(w);

    memcpy(certs, s->certs, s->n_certs * sizeof *certs);
    if (!s->by_key_id)
        qsort(certs, s->n_certs, sizeof *certs, in_der_order);
    for (size_t i = s->n_certs; i-- > 0;)
        bm_derw_put(w, certs[i]);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
}

static enum bm_rc put_all(struct bm_derw *w, const struct bm_cms_sign *s, struct bm_error *e)
{
    size_t mark = bm_derw_mark(w), each;
    enum bm_digest d = digest_for(s->key);
    enum bm_rc rc = put_signer_info(w, s, d, e);

    if (rc != BM_OK)
        return rc;
    put_certs(w, s);
    put_content(w, s);
    each = bm_derw_mark(w);
    digest_alg(w, d);
    bm_derw_end(w, each, BM_DER_SET);
    bm_derw_uint(w, bm_rd_eq(s->content_type, oid_data) ? 1 : 3); /* section 5.1 */
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    if (!s->bare) {
        bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
        bm_derw_tlv(w, BM_DER_OID, oid_signed);
        bm_derw_end(w, mark, BM_DER_SEQUENCE);
    }
    return w->bad ? bm_fail(e, BM_LIMIT, "the signed message is over %d bytes", BM_VOUCHER_REQUEST_MAX) : BM_OK;
}

enum bm_rc bm_cms_signed_write(const struct bm_cms_sign *s, struct bm_buf *ret_der, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf room = { .max = BM_VOUCHER_REQUEST_MAX };
    uint8_t *p = bm_buf_room(&room, room.max);
    struct bm_derw w;
    enum bm_rc rc;

    if (p == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a signed message");
    w = bm_derw_of(p, room.max);
    rc = put_all(&w, s, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_put(ret_der, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    return bm_buf_check(ret_der, e);
}
