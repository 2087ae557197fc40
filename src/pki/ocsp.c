#include "pki/ocsp.h"

#include "pki/impl.h"

#include <openssl/evp.h>

static const struct bm_rd oid_nonce = BM_LIT(OID_OCSP_NONCE), oid_basic = BM_LIT(OID_OCSP_BASIC);

static const struct {
    struct bm_rd oid;
    size_t len;
} hashes[BM_OCSP_HASHES] = {
    [BM_OCSP_SHA1] = { BM_LIT(OID_SHA1), 20 },
    [BM_OCSP_SHA256] = { BM_LIT(OID_SHA256), 32 },
};

/* --- issuers ------------------------------------------------------------------------------------------------------------------ */
static bool hash_of(enum bm_ocsp_hash h, struct bm_rd in, uint8_t ret[BM_OCSP_HASH_MAX])
{
    return EVP_Q_digest(NULL, h == BM_OCSP_SHA1 ? "SHA1" : "SHA256", NULL, in.p, in.n, ret, NULL) == 1;
}

/* The bits of a SubjectPublicKeyInfo, without tag, length and number of unused bits (RFC 6960 section 4.1.1). */
static bool key_bits(struct bm_rd spki, struct bm_rd *ret)
{
    struct bm_rd in;

    return bm_der_only(spki, BM_DER_SEQUENCE, &in) && bm_der_take(&in, BM_DER_SEQUENCE, NULL) && bm_der_bits(&in, ret);
}

enum bm_rc bm_ocsp_issuer_of(const struct bm_cert *ca, struct bm_ocsp_issuer *ret, struct bm_error *e)
{
    struct bm_ocsp_issuer i = { 0 };
    struct bm_rd bits;

    if (!key_bits(ca->spki, &bits))
        return bm_fail(e, BM_MALFORMED, "a CA's key is not well-formed");
    for (int h = 0; h < BM_OCSP_HASHES; h++)
        if (!hash_of((enum bm_ocsp_hash)h, ca->subject, i.name[h]) || !hash_of((enum bm_ocsp_hash)h, bits, i.key[h]))
            return bm_fail(e, BM_BUG, "the library has no %s", h == BM_OCSP_SHA1 ? "SHA-1" : "SHA-256");
    *ret = i;
    return BM_OK;
}

bool bm_ocsp_id_is(const struct bm_ocsp_id *id, const struct bm_ocsp_issuer *issuer)
{
    return id->known_hash && memcmp(id->name_hash.p, issuer->name[id->hash], id->name_hash.n) == 0 &&
           memcmp(id->key_hash.p, issuer->key[id->hash], id->key_hash.n) == 0;
}

enum bm_rc bm_ocsp_request_write(const struct bm_cert *cert, const struct bm_cert *issuer, enum bm_ocsp_hash h,
                                 struct bm_buf *ret_der, struct bm_error *e)
{
    uint8_t room[256];
    struct bm_derw w = bm_derw_of(room, sizeof room);
    struct bm_ocsp_issuer i;
    size_t all = bm_derw_mark(&w), alg;
    enum bm_rc rc = bm_ocsp_issuer_of(issuer, &i, e);

    if (rc != BM_OK)
        return rc;
    bm_derw_tlv(&w, BM_DER_INTEGER, cert->serial);
    bm_derw_tlv(&w, BM_DER_OCTET_STRING, bm_rd_of(i.key[h], hashes[h].len));
    bm_derw_tlv(&w, BM_DER_OCTET_STRING, bm_rd_of(i.name[h], hashes[h].len));
    alg = bm_derw_mark(&w);
    bm_derw_tlv(&w, BM_DER_NULL, bm_rd_of(NULL, 0));
    bm_derw_tlv(&w, BM_DER_OID, hashes[h].oid);
    bm_derw_end(&w, alg, BM_DER_SEQUENCE);
    for (int depth = 0; depth < 5; depth++) /* CertID, Request, requestList, TBSRequest, OCSPRequest */
        bm_derw_end(&w, all, BM_DER_SEQUENCE);
    if (w.bad)
        return bm_fail(e, BM_BUG, "OCSP request over %zu bytes", sizeof room);
    bm_buf_put(ret_der, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    return bm_buf_check(ret_der, e);
}

/* --- requests, RFC 6960 section 4.1.1 ------------------------------------------------------------------------------------------ */
static enum bm_rc malformed(struct bm_error *e, const char *what)
{
    return bm_fail(e, BM_MALFORMED, "OCSP request: %s", what);
}

/* AlgorithmIdentifier: parameters NULL or absent (RFC 4055 section 2.1: both are to be taken). */
static bool hash_parse(struct bm_rd *r, struct bm_ocsp_id *id)
{
    struct bm_rd alg, oid, params;

    if (!bm_der_take(r, BM_DER_SEQUENCE, &alg) || !bm_der_take(&alg, BM_DER_OID, &oid) || !bm_der_oid_ok(oid))
        return false;
    if (alg.n != 0 && (!bm_der_take(&alg, BM_DER_NULL, &params) || params.n != 0 || alg.n != 0))
        return false;
    for (int h = 0; h < BM_OCSP_HASHES && !id->known_hash; h++) {
        id->known_hash = bm_rd_eq(oid, hashes[h].oid);
        id->hash = (enum bm_ocsp_hash)h;
    }
    return true;
}

static bool id_parse(struct bm_rd whole, struct bm_ocsp_id *ret)
{
    struct bm_ocsp_id id = { .whole = whole };
    struct bm_rd in;

    if (!bm_der_only(whole, BM_DER_SEQUENCE, &in) || !hash_parse(&in, &id) ||
        !bm_der_take(&in, BM_DER_OCTET_STRING, &id.name_hash) || !bm_der_take(&in, BM_DER_OCTET_STRING, &id.key_hash) ||
        !bm_der_take(&in, BM_DER_INTEGER, &id.serial) || in.n != 0)
        return false;
    if (!bm_der_int_ok(id.serial) || id.name_hash.n != id.key_hash.n || id.name_hash.n == 0 || id.name_hash.n > 64 ||
        id.serial.n > 21)
        return false;
    if (id.known_hash && id.name_hash.n != hashes[id.hash].len)
        return false;
    *ret = id;
    return true;
}

/* Extensions ::= SEQUENCE SIZE (1..MAX), each at most once as far as we know them; ret_nonce NULL: a place where no nonce belongs. */
static enum bm_rc extensions_parse(struct bm_rd in, struct bm_rd *ret_nonce, struct bm_error *e)
{
    struct bm_rd list, nonce;
    struct bm_ext x;

    if (!bm_der_only(in, BM_DER_SEQUENCE, &list) || list.n == 0)
        return malformed(e, "extensions are not well-formed");
    while (list.n != 0) {
        if (!bm_ext_next(&list, &x))
            return malformed(e, "an extension is not well-formed");
        if (ret_nonce == NULL || !bm_rd_eq(x.oid, oid_nonce)) {
            if (x.critical)
                return malformed(e, "a critical extension that is not known here");
            continue;
        }
        if (ret_nonce->n != 0)
            return malformed(e, "two nonces");
        if (!bm_der_only(x.value, BM_DER_OCTET_STRING, &nonce) || nonce.n == 0 || nonce.n > BM_OCSP_NONCE_MAX)
            return malformed(e, "a nonce is an OCTET STRING of 1 to 128 bytes (RFC 9654 section 2.1)");
        *ret_nonce = nonce;
    }
    return BM_OK;
}

static enum bm_rc one_parse(struct bm_rd in, struct bm_ocsp_id *ret, struct bm_error *e)
{
    struct bm_rd id, extensions;

    if (!bm_der_whole(&in, BM_DER_SEQUENCE, &id) || !id_parse(id, ret))
        return malformed(e, "a CertID is not well-formed");
    if (in.n == 0)
        return BM_OK;
    if (!bm_der_take(&in, BM_DER_CTX_CONS(0), &extensions) || in.n != 0)
        return malformed(e, "something is left over after a CertID");
    return extensions_parse(extensions, NULL, e);
}

static enum bm_rc list_parse(struct bm_rd list, struct bm_ocsp_request *q, struct bm_error *e)
{
    struct bm_rd one;
    enum bm_rc rc = BM_OK;

    if (list.n == 0)
        return malformed(e, "it asks about no certificate");
    while (rc == BM_OK && list.n != 0) {
        if (q->n == BM_OCSP_IDS_MAX)
            return bm_fail(e, BM_LIMIT, "OCSP request: about more than %d certificates", BM_OCSP_IDS_MAX);
        if (!bm_der_take(&list, BM_DER_SEQUENCE, &one))
            return malformed(e, "the list of certificates is not well-formed");
        rc = one_parse(one, &q->ids[q->n++], e);
    }
    return rc;
}

/* requestorName [1] GeneralName: read past. Version v1 is the default, which DER leaves out. */
static enum bm_rc tbs_parse(struct bm_rd in, struct bm_ocsp_request *q, struct bm_error *e)
{
    struct bm_rd name, list, extensions;
    enum bm_rc rc;

    if (bm_der_next_is(in, BM_DER_CTX_CONS(1)) &&
        (!bm_der_take(&in, BM_DER_CTX_CONS(1), &name) || !bm_der_any(&name, NULL, NULL, NULL) || name.n != 0))
        return malformed(e, "the requestor's name is not well-formed");
    if (!bm_der_take(&in, BM_DER_SEQUENCE, &list))
        return malformed(e, "there is no list of certificates, or a version other than 1");
    rc = list_parse(list, q, e);
    if (rc != BM_OK || in.n == 0)
        return rc;
    if (!bm_der_take(&in, BM_DER_CTX_CONS(2), &extensions) || in.n != 0)
        return malformed(e, "something is left over after the list of certificates");
    return extensions_parse(extensions, &q->nonce, e);
}

enum bm_rc bm_ocsp_request_parse(struct bm_rd der, struct bm_ocsp_request *ret, struct bm_error *e)
{
    struct bm_ocsp_request q = { 0 };
    struct bm_rd in, tbs, sig;
    enum bm_rc rc;

    if (der.n > BM_OCSP_REQUEST_MAX)
        return bm_fail(e, BM_LIMIT, "OCSP request: over %d bytes", BM_OCSP_REQUEST_MAX);
    if (!bm_der_only(der, BM_DER_SEQUENCE, &in) || !bm_der_take(&in, BM_DER_SEQUENCE, &tbs))
        return malformed(e, "not an OCSPRequest in DER");
    if (in.n != 0 && (!bm_der_take(&in, BM_DER_CTX_CONS(0), &sig) || !bm_der_only(sig, BM_DER_SEQUENCE, NULL) || in.n != 0))
        return malformed(e, "its signature is not well-formed");
    rc = tbs_parse(tbs, &q, e);
    if (rc == BM_OK)
        *ret = q;
    return rc;
}

/* --- responses, RFC 6960 section 4.2.1 ------------------------------------------------------------------------------------------ */
/* revoked [1] IMPLICIT RevokedInfo { revocationTime, revocationReason [0] EXPLICIT OPTIONAL } */
static void revoked_write(struct bm_derw *w, const struct bm_ocsp_answer *a)
{
    size_t mark = bm_derw_mark(w);
    uint8_t reason = (uint8_t)a->reason;

    if (reason != 0) {
        bm_derw_tlv(w, BM_DER_ENUMERATED, bm_rd_of(&reason, 1));
        bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
    }
    bm_derw_generalized(w, a->revoked_at);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(1));
}

static void answer_write(struct bm_derw *w, const struct bm_ocsp_response *r, const struct bm_ocsp_answer *a)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_generalized(w, r->next_update);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
    bm_derw_generalized(w, r->this_update);
    if (a->status == BM_OCSP_REVOKED)
        revoked_write(w, a);
    else
        bm_derw_tlv(w, BM_DER_CTX(a->status == BM_OCSP_GOOD ? 0 : 2), bm_rd_of(NULL, 0));
    bm_derw_put(w, a->id);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

static void nonce_write(struct bm_derw *w, struct bm_rd nonce)
{
    size_t mark = bm_derw_mark(w);

    if (nonce.n == 0)
        return;
    bm_derw_tlv(w, BM_DER_OCTET_STRING, nonce);
    bm_ext_end(w, mark, oid_nonce, false);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(1));
}

/* responderID byKey [2]: SHA-1 of the key's bits, which is what the RFC has. */
static bool responder_write(struct bm_derw *w, const struct bm_cert *cert)
{
    uint8_t id[BM_OCSP_HASH_MAX];
    size_t mark = bm_derw_mark(w);
    struct bm_rd bits;

    if (!key_bits(cert->spki, &bits) || !hash_of(BM_OCSP_SHA1, bits, id))
        return false;
    bm_derw_tlv(w, BM_DER_OCTET_STRING, bm_rd_of(id, hashes[BM_OCSP_SHA1].len));
    bm_derw_end(w, mark, BM_DER_CTX_CONS(2));
    return true;
}

/* ResponseData; version v1 is the default. */
static bool data_write(struct bm_derw *w, const struct bm_ocsp_response *r)
{
    size_t mark = bm_derw_mark(w), list;

    nonce_write(w, r->nonce);
    list = bm_derw_mark(w);
    for (size_t i = r->n; i-- > 0;)
        answer_write(w, r, &r->answers[i]);
    bm_derw_end(w, list, BM_DER_SEQUENCE);
    bm_derw_generalized(w, r->this_update);
    if (!responder_write(w, r->cert))
        return false;
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    return !w->bad;
}

/* BasicOCSPResponse: data, algorithm, signature, certs [0]. */
static enum bm_rc basic_write(struct bm_derw *w, const struct bm_ocsp_response *r, struct bm_rd data, struct bm_error *e)
{
    uint8_t sig[BM_SIGNATURE_MAX];
    size_t sig_len = sizeof sig, mark = bm_derw_mark(w), bits;
    enum bm_rc rc = bm_key_sign(r->key, data, sig, &sig_len, e);

    if (rc != BM_OK)
        return rc;
    if (r->with_cert) {
        bm_derw_put(w, r->cert->whole);
        bm_derw_end(w, mark, BM_DER_SEQUENCE);
        bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
    }
    bits = bm_derw_mark(w);
    bm_derw_put(w, bm_rd_of(sig, sig_len));
    bm_derw_end_bits(w, bits);
    bm_derw_put(w, bm_key_sig_alg(r->key));
    bm_derw_put(w, data);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    return BM_OK;
}

enum bm_rc bm_ocsp_response_write(const struct bm_ocsp_response *r, struct bm_buf *ret_der, struct bm_error *e)
{
    static const uint8_t successful = 0;
    uint8_t data_room[BM_OCSP_REQUEST_MAX * 2], room[BM_OCSP_RESPONSE_MAX];
    struct bm_derw data = bm_derw_of(data_room, sizeof data_room), w = bm_derw_of(room, sizeof room);
    size_t mark = bm_derw_mark(&w);
    enum bm_rc rc;

    if (!data_write(&data, r))
        return bm_fail(e, BM_LIMIT, "an OCSP response over %zu bytes", sizeof data_room);
    rc = basic_write(&w, r, bm_derw_rd(&data), e);
    if (rc != BM_OK)
        return rc;
    bm_derw_end(&w, mark, BM_DER_OCTET_STRING);
    bm_derw_tlv(&w, BM_DER_OID, oid_basic);
    bm_derw_end(&w, mark, BM_DER_SEQUENCE);
    bm_derw_end(&w, mark, BM_DER_CTX_CONS(0));
    bm_derw_tlv(&w, BM_DER_ENUMERATED, bm_rd_of(&successful, 1));
    bm_derw_end(&w, mark, BM_DER_SEQUENCE);
    if (w.bad)
        return bm_fail(e, BM_LIMIT, "an OCSP response over %d bytes", BM_OCSP_RESPONSE_MAX);
    bm_buf_put(ret_der, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    return bm_buf_check(ret_der, e);
}

enum bm_ocsp_error bm_ocsp_error_of(enum bm_rc rc)
{
    static const enum bm_ocsp_error errors[] = {
        [BM_OK] = BM_OCSP_INTERNAL_ERROR,
        [BM_AGAIN] = BM_OCSP_TRY_LATER,
        [BM_MALFORMED] = BM_OCSP_MALFORMED_REQUEST,
        [BM_LIMIT] = BM_OCSP_MALFORMED_REQUEST,
        [BM_DENIED] = BM_OCSP_UNAUTHORIZED,
        [BM_NOTFOUND] = BM_OCSP_UNAUTHORIZED,
        [BM_CONFLICT] = BM_OCSP_UNAUTHORIZED,
        [BM_USAGE] = BM_OCSP_MALFORMED_REQUEST,
        [BM_NOMEM] = BM_OCSP_TRY_LATER,
        [BM_IO] = BM_OCSP_TRY_LATER,
        [BM_BUG] = BM_OCSP_INTERNAL_ERROR,
    };

    return (size_t)rc < BM_COUNT(errors) ? errors[rc] : BM_OCSP_INTERNAL_ERROR;
}

void bm_ocsp_error_write(struct bm_buf *out, enum bm_ocsp_error status)
{
    const uint8_t der[] = { 0x30, 3, BM_DER_ENUMERATED, 1, (uint8_t)status };

    bm_buf_put(out, der, sizeof der);
}
