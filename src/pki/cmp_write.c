#include "pki/cmp.h"

#include "pki/impl.h"

static const struct bm_rd oid_implicit_confirm = BM_LIT(OID_IT_IMPLICIT_CONFIRM), oid_confirm_wait = BM_LIT(OID_IT_CONFIRM_WAIT);

/* --- bodies ------------------------------------------------------------------------------------------------------------------------- */
static void body_end(struct bm_derw *w, size_t mark, enum bm_cmp_type type)
{
    bm_derw_end(w, mark, BM_DER_CTX_CONS(type));
}

void bm_cmp_put_empty(struct bm_derw *w, enum bm_cmp_type type)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_tlv(w, BM_DER_NULL, bm_rd_of(NULL, 0));
    body_end(w, mark, type);
}

/* One bit of a named bit list; X.690 11.2.2: no trailing zeros. */
static void fail_info(struct bm_derw *w, enum bm_cmp_fail fail)
{
    uint8_t bits[5] = { 0 };

    bits[0] = (uint8_t)(7 - fail % 8);
    bits[1 + fail / 8] = (uint8_t)(0x80 >> fail % 8);
    bm_derw_tlv(w, BM_DER_BIT_STRING, bm_rd_of(bits, 2 + (size_t)fail / 8));
}

void bm_cmp_put_text(struct bm_derw *w, const char *text)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_tlv(w, BM_DER_UTF8, bm_rd_str(text));
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

/* PKIStatusInfo without text and failInfo. */
static void plain_status(struct bm_derw *w, enum bm_cmp_status status)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_uint(w, status);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

/* PKIStatusInfo of a refusal. */
static void rejection(struct bm_derw *w, enum bm_cmp_fail fail, const char *text)
{
    size_t mark = bm_derw_mark(w);

    fail_info(w, fail);
    bm_cmp_put_text(w, text);
    bm_derw_uint(w, BM_CMP_REJECTION);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

/* ErrorMsgContent ::= SEQUENCE { pKIStatusInfo, errorCode OPTIONAL, errorDetails OPTIONAL }, section 5.3.21 */
void bm_cmp_put_error(struct bm_derw *w, enum bm_cmp_fail fail, const char *text)
{
    size_t mark = bm_derw_mark(w);

    rejection(w, fail, text);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    body_end(w, mark, BM_CMP_ERROR);
}

/* CertRepMessage and RevRepContent both begin with a list, of CertResponse or of PKIStatusInfo. */
void bm_cmp_put_rejected(struct bm_derw *w, enum bm_cmp_type type, int64_t req_id, enum bm_cmp_fail fail, const char *text)
{
    size_t mark = bm_derw_mark(w);

    rejection(w, fail, text);
    if (type != BM_CMP_RP) {
        bm_cmp_put_req_id(w, req_id);
        bm_derw_end(w, mark, BM_DER_SEQUENCE); /* CertResponse */
    }
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    body_end(w, mark, type);
}

void bm_cmp_put_req_id(struct bm_derw *w, int64_t id)
{
    if (id < 0)
        bm_derw_tlv(w, BM_DER_INTEGER, bm_rd_of("\xff", 1)); /* section 5.3.4: -1 answers a p10cr */
    else
        bm_derw_uint(w, (uint64_t)id);
}

/* privateKey [0] EncryptedKey of a CertifiedKeyPair: a CHOICE, of which envelopedData is [0] too, but implicit (RFC 4211 section 2). */
static void put_key(struct bm_derw *w, struct bm_rd key)
{
    size_t mark = bm_derw_mark(w);
    struct bm_rd in, content, enveloped = { NULL, 0 };

    if (key.n == 0)
        return;
    if (!bm_der_only(key, BM_DER_SEQUENCE, &in) || !bm_der_take(&in, BM_DER_OID, NULL) ||
        !bm_der_take(&in, BM_DER_CTX_CONS(0), &content) || !bm_der_only(content, BM_DER_SEQUENCE, &enveloped))
        w->bad = true;
    bm_derw_put(w, enveloped);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
}

/* CertRepMessage ::= SEQUENCE { caPubs [1] SEQUENCE OF CMPCertificate OPTIONAL, response SEQUENCE OF CertResponse }, section 5.3.4 */
void bm_cmp_put_granted(struct bm_derw *w, const struct bm_cmp_granted *g)
{
    size_t all = bm_derw_mark(w), mark;

    put_key(w, g->key);
    mark = bm_derw_mark(w);
    bm_derw_put(w, g->cert);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0)); /* certificate */
    bm_derw_end(w, all, BM_DER_SEQUENCE);     /* CertifiedKeyPair */
    plain_status(w, g->status);
    bm_cmp_put_req_id(w, g->req_id);
    bm_derw_end(w, all, BM_DER_SEQUENCE); /* CertResponse */
    bm_derw_end(w, all, BM_DER_SEQUENCE);
    mark = bm_derw_mark(w);
    if (g->ca.n != 0) {
        bm_derw_put(w, g->ca);
        bm_derw_end(w, mark, BM_DER_SEQUENCE);
        bm_derw_end(w, mark, BM_DER_CTX_CONS(1));
    }
    bm_derw_end(w, all, BM_DER_SEQUENCE);
    body_end(w, all, g->type);
}

/* --- header, section 5.1.1 ------------------------------------------------------------------------------------------------------------ */
static void octets(struct bm_derw *w, unsigned n, struct bm_rd value)
{
    size_t mark = bm_derw_mark(w);

    if (value.n == 0)
        return;
    bm_derw_tlv(w, BM_DER_OCTET_STRING, value);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(n));
}

static void general_info(struct bm_derw *w, const struct bm_cmp_answer *a)
{
    size_t all = bm_derw_mark(w), mark;

    if (!a->implicit_confirm && a->confirm_until == 0)
        return;
    if (a->confirm_until != 0) {
        bm_derw_generalized(w, a->confirm_until);
        bm_derw_tlv(w, BM_DER_OID, oid_confirm_wait);
        bm_derw_end(w, all, BM_DER_SEQUENCE);
    }
    mark = bm_derw_mark(w);
    if (a->implicit_confirm) {
        bm_derw_tlv(w, BM_DER_NULL, bm_rd_of(NULL, 0));
        bm_derw_tlv(w, BM_DER_OID, oid_implicit_confirm);
        bm_derw_end(w, mark, BM_DER_SEQUENCE);
    }
    bm_derw_end(w, all, BM_DER_SEQUENCE);
    bm_derw_end(w, all, BM_DER_CTX_CONS(8));
}

static void explicit(struct bm_derw *w, unsigned n, struct bm_rd whole)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_put(w, whole);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(n));
}

static void header_write(struct bm_derw *w, const struct bm_cmp_answer *a)
{
    static const uint8_t nobody[] = { BM_DER_CTX_CONS(4), 2, BM_DER_SEQUENCE, 0 }; /* the NULL-DN of RFC 9810 section 5.1.1 */
    size_t mark = bm_derw_mark(w), alg, time;

    general_info(w, a);
    octets(w, 6, a->recip_nonce);
    octets(w, 5, a->sender_nonce);
    octets(w, 4, a->tid);
    octets(w, 2, a->sender_kid);
    alg = bm_derw_mark(w);
    if (a->mac != NULL)
        bm_cmp_mac_put(w, a->mac);
    else
        bm_derw_put(w, bm_key_sig_alg(a->key));
    bm_derw_end(w, alg, BM_DER_CTX_CONS(1));
    time = bm_derw_mark(w);
    bm_derw_generalized(w, a->time);
    bm_derw_end(w, time, BM_DER_CTX_CONS(0));
    bm_derw_put(w, a->recipient.n != 0 ? a->recipient : bm_rd_of(nobody, sizeof nobody));
    explicit(w, 4, a->sender);
    bm_derw_uint(w, a->pvno);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

/* --- the whole, section 5.1 ------------------------------------------------------------------------------------------------------------- */
static enum bm_rc protect(struct bm_derw *w, const struct bm_cmp_answer *a, struct bm_rd protected, struct bm_error *e)
{
    uint8_t sig[BM_SIGNATURE_MAX];
    size_t sig_len = sizeof sig, mark = bm_derw_mark(w);
    enum bm_rc rc = a->mac != NULL ? bm_cmp_mac_make(a->mac, a->secret, protected, sig, &sig_len, e)
                                   : bm_key_sign(a->key, protected, sig, &sig_len, e);

    if (rc != BM_OK)
        return rc;
    bm_derw_put(w, bm_rd_of(sig, sig_len));
    bm_derw_end_bits(w, mark);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
    return BM_OK;
}

static void certs_write(struct bm_derw *w, const struct bm_cmp_answer *a)
{
    size_t mark = bm_derw_mark(w);

    if (a->n_certs == 0)
        return;
    for (size_t i = a->n_certs; i-- > 0;)
        bm_derw_put(w, a->certs[i]);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(1));
}

enum bm_rc bm_cmp_write(const struct bm_cmp_answer *a, struct bm_buf *out, struct bm_error *e)
{
    uint8_t part_room[BM_CMP_ANSWER_MAX / 2], room[BM_CMP_ANSWER_MAX];
    struct bm_derw part = bm_derw_of(part_room, sizeof part_room), w = bm_derw_of(room, sizeof room);
    size_t mark = bm_derw_mark(&w), n;
    enum bm_rc rc;

    bm_derw_put(&part, a->body);
    header_write(&part, a);
    n = bm_derw_rd(&part).n; /* the same bytes stand in the message, without the SEQUENCE that protection puts around them */
    bm_derw_header(&part, n, BM_DER_SEQUENCE);
    if (part.bad)
        return bm_fail(e, BM_LIMIT, "a CMP message over %zu bytes", sizeof part_room);
    certs_write(&w, a);
    rc = protect(&w, a, bm_derw_rd(&part), e);
    if (rc != BM_OK)
        return rc;
    bm_derw_put(&w, bm_rd_of(part_room + sizeof part_room - n, n));
    bm_derw_end(&w, mark, BM_DER_SEQUENCE);
    if (w.bad)
        return bm_fail(e, BM_LIMIT, "a CMP message over %d bytes", BM_CMP_ANSWER_MAX);
    bm_buf_put(out, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    return bm_buf_check(out, e);
}
