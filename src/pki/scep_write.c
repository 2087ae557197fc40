#include "pki/impl.h"
#include "pki/scep.h"

#include <openssl/rand.h>
#include <stdlib.h>

enum { ATTRIBUTES_MAX = 10, ATTRIBUTES_ROOM = 2048, NONCE_LEN = 16 };

static const struct bm_rd oid_signed = BM_LIT(OID_CMS_SIGNED_DATA), oid_data = BM_LIT(OID_CMS_DATA),
                          oid_sha256 = BM_LIT(OID_SHA256), oid_rsa = BM_LIT(OID_RSA);

/* --- the attributes that are signed ----------------------------------------------------------------------------------------------------- */
/* Each lies in the room by itself, so that they can be put into the order of DER. */
struct attributes {
    uint8_t room[ATTRIBUTES_ROOM];
    struct bm_derw w;
    struct bm_rd at[ATTRIBUTES_MAX];
    size_t n;
};

static void add(struct attributes *a, struct bm_rd oid, uint8_t tag, struct bm_rd value)
{
    size_t mark = bm_derw_mark(&a->w);

    bm_derw_tlv(&a->w, tag, value);
    bm_derw_end(&a->w, mark, BM_DER_SET);
    bm_derw_tlv(&a->w, BM_DER_OID, oid);
    bm_derw_end(&a->w, mark, BM_DER_SEQUENCE);
    if (!a->w.bad)
        a->at[a->n++] = bm_rd_of(a->w.p + a->w.at, mark - a->w.at);
}

static void add_number(struct attributes *a, struct bm_rd oid, int n)
{
    char text[12];
    int len = snprintf(text, sizeof text, "%d", n);

    add(a, oid, BM_DER_PRINTABLE, bm_rd_of(text, (size_t)len));
}

/* X.690 section 11.6: SET OF in ascending order of the encodings. */
static int by_encoding(const void *x, const void *y)
{
    const struct bm_rd *a = x, *b = y;
    int c = memcmp(a->p, b->p, a->n < b->n ? a->n : b->n);

    return c != 0 ? c : a->n < b->n ? -1 : a->n > b->n;
}

static const struct bm_rd attr_content_type = BM_LIT(OID_CONTENT_TYPE), attr_digest = BM_LIT(OID_MESSAGE_DIGEST),
                          attr_type = BM_LIT(OID_SCEP_MESSAGE_TYPE), attr_status = BM_LIT(OID_SCEP_PKI_STATUS),
                          attr_fail = BM_LIT(OID_SCEP_FAIL_INFO), attr_text = BM_LIT(OID_SCEP_FAIL_TEXT),
                          attr_sender = BM_LIT(OID_SCEP_SENDER_NONCE), attr_recipient = BM_LIT(OID_SCEP_RECIPIENT_NONCE),
                          attr_transaction = BM_LIT(OID_SCEP_TRANSACTION_ID);

/* What every message has. */
static enum bm_rc begin(struct attributes *a, enum bm_scep_type type, struct bm_rd transaction_id, struct bm_rd envelope,
                        struct bm_error *e)
{
    uint8_t sha256[BM_DIGEST_MAX];

    a->w = bm_derw_of(a->room, sizeof a->room);
    a->n = 0;
    if (bm_digest_of(BM_SHA256, envelope, sha256) == 0)
        return bm_fail(e, BM_BUG, "no digest");
    add(a, attr_content_type, BM_DER_OID, oid_data);
    add(a, attr_digest, BM_DER_OCTET_STRING, bm_rd_of(sha256, 32));
    add_number(a, attr_type, (int)type);
    add(a, attr_transaction, BM_DER_PRINTABLE, transaction_id);
    return BM_OK;
}

static enum bm_rc end(struct attributes *a, struct bm_error *e)
{
    qsort(a->at, a->n, sizeof a->at[0], by_encoding);
    return a->w.bad ? bm_fail(e, BM_LIMIT, "signed attributes do not fit") : BM_OK;
}

static enum bm_rc fill(struct attributes *a, const struct bm_scep_reply *r, struct bm_error *e)
{
    uint8_t nonce[NONCE_LEN];
    enum bm_rc rc = begin(a, BM_SCEP_CERT_REP, r->transaction_id, r->envelope, e);

    if (rc == BM_OK && RAND_bytes(nonce, sizeof nonce) != 1)
        rc = bm_fail(e, BM_BUG, "no random numbers");
    if (rc != BM_OK)
        return rc;
    add_number(a, attr_status, (int)r->status);
    if (r->status == BM_SCEP_FAILURE)
        add_number(a, attr_fail, (int)r->fail);
    if (r->status == BM_SCEP_FAILURE && r->fail_text != NULL)
        add(a, attr_text, BM_DER_UTF8, bm_rd_str(r->fail_text));
    add(a, attr_sender, BM_DER_OCTET_STRING, bm_rd_of(nonce, sizeof nonce));
    if (r->recipient_nonce.n != 0)
        add(a, attr_recipient, BM_DER_OCTET_STRING, r->recipient_nonce);
    return end(a, e);
}

static enum bm_rc fill_ask(struct attributes *a, const struct bm_scep_ask *q, struct bm_error *e)
{
    enum bm_rc rc = begin(a, q->type, q->transaction_id, q->envelope, e);

    if (rc != BM_OK)
        return rc;
    add(a, attr_sender, BM_DER_OCTET_STRING, q->sender_nonce);
    return end(a, e);
}

/* --- SignedData, RFC 5652 section 5 ----------------------------------------------------------------------------------------------------- */
static void alg(struct bm_derw *w, struct bm_rd oid)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_tlv(w, BM_DER_NULL, bm_rd_of(NULL, 0));
    bm_derw_tlv(w, BM_DER_OID, oid);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

/* Its signature algorithm is rsaEncryption, as PKCS #7 had it: some clients know no other (RFC 3370 section 3.2 allows both). */
static enum bm_rc signer_info(struct bm_derw *w, const struct attributes *a, const struct bm_key *signer,
                              const struct bm_cert *cert, struct bm_error *e)
{
    uint8_t room[ATTRIBUTES_ROOM + 8], sig[1024];
    struct bm_derw set = bm_derw_of(room, sizeof room);
    size_t n = sizeof sig, mark = bm_derw_mark(w), m = bm_derw_mark(&set);
    struct bm_rd signed_bytes;
    enum bm_rc rc;

    for (size_t i = a->n; i-- > 0;)
        bm_derw_put(&set, a->at[i]);
    bm_derw_end(&set, m, BM_DER_SET);
    signed_bytes = bm_derw_rd(&set);
    rc = set.bad ? bm_fail(e, BM_LIMIT, "signed attributes do not fit") : bm_key_sign(signer, signed_bytes, sig, &n, e);
    if (rc != BM_OK)
        return rc;
    bm_derw_tlv(w, BM_DER_OCTET_STRING, bm_rd_of(sig, n));
    alg(w, oid_rsa);
    bm_derw_put(w, bm_rd_of(signed_bytes.p + 1, signed_bytes.n - 1));
    bm_derw_byte(w, BM_DER_CTX_CONS(0)); /* in place of the SET's tag */
    alg(w, oid_sha256);
    m = bm_derw_mark(w);
    bm_derw_tlv(w, BM_DER_INTEGER, cert->serial);
    bm_derw_put(w, cert->issuer);
    bm_derw_end(w, m, BM_DER_SEQUENCE);
    bm_derw_uint(w, 1);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SET);
    return BM_OK;
}

static void content(struct bm_derw *w, struct bm_rd envelope)
{
    size_t mark = bm_derw_mark(w);

    if (envelope.n != 0) {
        bm_derw_tlv(w, BM_DER_OCTET_STRING, envelope);
        bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
    }
    bm_derw_tlv(w, BM_DER_OID, oid_data);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

/* What is before the signers, and around all: everything back to the first byte. */
static void front(struct bm_derw *w, size_t end, struct bm_rd envelope, const struct bm_cert *cert)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_put(w, cert->whole);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
    content(w, envelope);
    mark = bm_derw_mark(w);
    alg(w, oid_sha256);
    bm_derw_end(w, mark, BM_DER_SET);
    bm_derw_uint(w, 1);
    bm_derw_end(w, end, BM_DER_SEQUENCE);
    bm_derw_end(w, end, BM_DER_CTX_CONS(0));
    bm_derw_tlv(w, BM_DER_OID, oid_signed);
    bm_derw_end(w, end, BM_DER_SEQUENCE);
}

static enum bm_rc write_message(const struct attributes *a, struct bm_rd envelope, const struct bm_key *signer,
                                const struct bm_cert *cert, struct bm_buf *ret, struct bm_error *e)
{
    size_t cap = envelope.n + cert->whole.n + 2 * ATTRIBUTES_ROOM + 2048;
    BM_CLEANUP(bm_buf_done) struct bm_buf room = { .max = cap };
    uint8_t *p = bm_buf_room(&room, cap);
    struct bm_derw w;
    size_t mark;
    enum bm_rc rc;

    if (p == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a message");
    w = bm_derw_of(p, cap);
    mark = bm_derw_mark(&w);
    rc = signer_info(&w, a, signer, cert, e);
    if (rc != BM_OK)
        return rc;
    front(&w, mark, envelope, cert);
    if (w.bad)
        return bm_fail(e, BM_LIMIT, "the message does not fit");
    bm_buf_put(ret, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    return bm_buf_check(ret, e);
}

enum bm_rc bm_scep_reply_write(const struct bm_scep_reply *r, const struct bm_key *signer, const struct bm_cert *cert,
                               struct bm_buf *ret, struct bm_error *e)
{
    struct attributes a;
    enum bm_rc rc = fill(&a, r, e);

    return rc == BM_OK ? write_message(&a, r->envelope, signer, cert, ret, e) : rc;
}

enum bm_rc bm_scep_ask_write(const struct bm_scep_ask *q, const struct bm_key *signer, const struct bm_cert *cert,
                             struct bm_buf *ret, struct bm_error *e)
{
    struct attributes a;
    enum bm_rc rc = fill_ask(&a, q, e);

    return rc == BM_OK ? write_message(&a, q->envelope, signer, cert, ret, e) : rc;
}

enum bm_rc bm_scep_put_issuer_and_subject(struct bm_rd issuer, struct bm_rd subject, struct bm_buf *ret, struct bm_error *e)
{
    uint8_t room[2 * BM_NAME_DER_MAX + 8];
    struct bm_derw w = bm_derw_of(room, sizeof room);
    size_t mark = bm_derw_mark(&w);

    bm_derw_put(&w, subject);
    bm_derw_put(&w, issuer);
    bm_derw_end(&w, mark, BM_DER_SEQUENCE);
    if (w.bad)
        return bm_fail(e, BM_LIMIT, "names that are too long");
    bm_buf_put(ret, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    return bm_buf_check(ret, e);
}

/* As bm_cms_certs(), with [1] crls in place of [0] certificates. */
enum bm_rc bm_cms_crl(struct bm_rd crl, struct bm_buf *ret_der, struct bm_error *e)
{
    uint8_t before[64], after[] = { BM_DER_SET, 0 };
    struct bm_derw w = bm_derw_of(before, sizeof before);
    size_t tail = crl.n + sizeof after, mark;

    if (!bm_der_only(crl, BM_DER_SEQUENCE, NULL))
        return bm_fail(e, BM_BUG, "a CRL of our own is not DER");
    bm_derw_header(&w, crl.n, BM_DER_CTX_CONS(1));
    mark = bm_derw_mark(&w);
    bm_derw_tlv(&w, BM_DER_OID, oid_data);
    bm_derw_end(&w, mark, BM_DER_SEQUENCE);
    bm_derw_tlv(&w, BM_DER_SET, bm_rd_of(NULL, 0));
    bm_derw_uint(&w, 1);
    bm_derw_header(&w, bm_derw_rd(&w).n + tail, BM_DER_SEQUENCE);
    bm_derw_header(&w, bm_derw_rd(&w).n + tail, BM_DER_CTX_CONS(0));
    bm_derw_tlv(&w, BM_DER_OID, oid_signed);
    bm_derw_header(&w, bm_derw_rd(&w).n + tail, BM_DER_SEQUENCE);
    if (w.bad)
        return bm_fail(e, BM_LIMIT, "a CRL of %zu bytes", crl.n);
    bm_buf_put(ret_der, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    bm_buf_put(ret_der, crl.p, crl.n);
    bm_buf_put(ret_der, after, sizeof after);
    return bm_buf_check(ret_der, e);
}
