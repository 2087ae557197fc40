/* SCEP, RFC 8894: what a worker hands on as it came is read, judged and answered here, so that no worker can put another request into a device's
 * message, or read a code in one. docs/scep.md. */
#include "keeper/scep.h"
#include "keeper/scep_hook.h"

#include "base/text.h"
#include "pki/ber.h"

#include <stdio.h>
#include <stdlib.h>

enum { FAIL_TEXT_MAX = 320 };

/* --- which CA, which service ------------------------------------------------------------------------------------------------------------ */
struct place {
    int64_t ca_id;
    struct bm_rd service, batch;
};

static enum bm_rc unknown_label(struct bm_rd label, struct bm_error *e)
{
    char safe[80];

    return bm_refuse(e, BM_NOTFOUND, "unknown-label", "there is no CA, no service and no batch with a hook '%s' here",
                     bm_text_escape(label, safe, sizeof safe));
}

static bool name_of(struct bm_rd text, char ret[BM_NAME_LEN])
{
    if (text.n == 0 || text.n >= BM_NAME_LEN || memchr(text.p, '\0', text.n) != NULL)
        return false;
    memcpy(ret, text.p, text.n);
    ret[text.n] = '\0';
    return true;
}

static enum bm_rc take_ca(struct bm_keeper *k, struct bm_rd text, struct place *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    char name[BM_NAME_LEN];
    enum bm_rc rc = name_of(text, name) ? bm_ca_get(k->store, name, &ca, e) : BM_NOTFOUND;

    if (rc == BM_OK)
        ret->ca_id = ca.id;
    return rc;
}

static enum bm_rc take_service(struct bm_keeper *k, struct bm_rd text, struct place *ret, struct bm_error *e)
{
    struct bm_service s;
    char name[BM_NAME_LEN];
    enum bm_rc rc = name_of(text, name) ? bm_service_get(k->store, name, &s, e) : BM_NOTFOUND;

    if (rc == BM_OK)
        ret->service = text;
    return rc;
}

/* A batch with a hook, docs/scep.md. Its RA is that of the CA which signs, unless that one is elsewhere. */
static enum bm_rc take_batch(struct bm_keeper *k, struct bm_rd text, struct place *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_hook_done) struct bm_hook h = { 0 };
    struct bm_batch b;
    struct bm_line *l;
    char name[BM_NAME_LEN];
    enum bm_rc rc = name_of(text, name) ? bm_batch_get(k->store, name, &b, e) : BM_NOTFOUND;

    if (rc == BM_OK)
        rc = bm_hook_get(k, b.id, &h, e);
    if (rc == BM_OK)
        rc = bm_line_get(k, b.id, &l, e);
    if (rc != BM_OK)
        return rc;
    ret->batch = text;
    if (!bm_ca_is_upstream(&l->issuer->row))
        ret->ca_id = l->issuer->row.id;
    return BM_OK;
}

/* "", "CA", "SERVICE", "CA/SERVICE" or "BATCH". */
static enum bm_rc find_place(struct bm_keeper *k, struct bm_rd label, struct place *ret, struct bm_error *e)
{
    const uint8_t *slash = label.n != 0 ? memchr(label.p, '/', label.n) : NULL;
    struct bm_rd first = slash != NULL ? bm_rd_of(label.p, (size_t)(slash - label.p)) : label,
                 rest = slash != NULL ? bm_rd_of(slash + 1, label.n - first.n - 1) : bm_rd_of(NULL, 0);
    struct bm_issuer *by;
    enum bm_rc rc = bm_issuer_default(k, &by, e);

    if (rc != BM_OK)
        return rc;
    *ret = (struct place){ .ca_id = by->row.id };
    if (label.n == 0)
        return BM_OK;
    rc = take_ca(k, first, ret, e);
    if (rc == BM_NOTFOUND && slash == NULL)
        rc = take_service(k, first, ret, e);
    if (rc == BM_NOTFOUND && slash == NULL)
        rc = take_batch(k, first, ret, e);
    if (rc == BM_OK && slash != NULL)
        rc = take_service(k, rest, ret, e);
    return rc == BM_NOTFOUND ? unknown_label(label, e) : rc;
}

/* --- what needs no message ---------------------------------------------------------------------------------------------------------------- */
/* RFC 8894 section 3.5.2. SHA-384 is not of its list: a client in the field encrypts with AES only where it sees that word. */
#define CAPABILITIES "AES\nPOSTPKIOperation\nRenewal\nSHA-256\nSHA-384\nSHA-512\nSCEPStandard\n"

static enum bm_rc tell(struct bm_buf *out, enum bm_scep_form form, const char *code, struct bm_rd body, struct bm_error *e)
{
    struct bm_scep_told t = { .form = form, .body = body };

    snprintf(t.code, sizeof t.code, "%s", code);

    bm_scep_told_write(out, &t);
    return bm_buf_check(out, e);
}

static enum bm_rc get_ca_caps(struct bm_keeper *k, const struct bm_message *m, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    struct place p;
    enum bm_rc rc = find_place(k, m->label, &p, e);

    (void)now;
    if (rc != BM_OK)
        return rc;
    /* said only while there is one: some clients take a 404 for the end of everything */
    return tell(out, BM_SCEP_TEXT, "", bm_rd_str(bm_scep_has_next(k, p.ca_id) ? CAPABILITIES "GetNextCACert\n" : CAPABILITIES), e);
}

/* Section 4.2: the RA's certificate, then the CA's and those above it. */
static enum bm_rc get_ca_cert(struct bm_keeper *k, const struct bm_message *m, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_SCEP_REPLY_MAX };
    struct bm_rd certs[1 + BM_CHAIN_MAX];
    struct bm_issuer *by;
    struct bm_ra *ra;
    struct place p;
    enum bm_rc rc = find_place(k, m->label, &p, e);

    if (rc == BM_OK)
        rc = bm_ra_get(k, p.ca_id, now, &ra, e);
    if (rc == BM_OK)
        rc = bm_issuer_get(k, p.ca_id, &by, e);
    if (rc != BM_OK)
        return rc;
    certs[0] = ra->cert.whole;
    for (size_t i = 0; i < by->n_chain; i++)
        certs[1 + i] = bm_buf_rd(&by->chain[i]);
    rc = bm_cms_certs(certs, 1 + by->n_chain, &der, e);
    return rc == BM_OK ? tell(out, BM_SCEP_CERTS, "", bm_buf_rd(&der), e) : rc;
}

static enum bm_rc get_next_ca_cert(struct bm_keeper *k, const struct bm_message *m, int64_t now, struct bm_buf *out,
                                   struct bm_error *e)
{
    struct bm_rd der;
    struct place p;
    enum bm_rc rc = find_place(k, m->label, &p, e);

    if (rc == BM_OK)
        rc = bm_scep_next(k, p.ca_id, now, &der, e);
    return rc == BM_OK ? tell(out, BM_SCEP_NEXT_CA, "", der, e) : rc;
}

/* --- one message: read, checked, opened --------------------------------------------------------------------------------------------------- */
void bm_scep_case_done(struct bm_scep_case *c)
{
    EVP_PKEY_free(c->signer_key);
    bm_buf_done(&c->der);
    bm_buf_done(&c->inner);
    bm_buf_done(&c->plain);
    bm_buf_done(&c->reply);
}

enum bm_rc bm_scep_case_read(struct bm_scep_case *c, struct bm_rd body, struct bm_error *e)
{
    struct bm_error why = { 0 };
    enum bm_rc rc;

    c->der.max = BM_SCEP_MESSAGE_MAX;
    rc = bm_ber_to_der(body, &c->der, &why);
    if (rc == BM_OK)
        rc = bm_scep_message_parse(bm_buf_rd(&c->der), &c->m, &why);
    if (rc == BM_OK && c->m.transaction_id.n == 0)
        rc = bm_fail(&why, BM_MALFORMED, "a SCEP message needs a transactionID");
    return rc == BM_OK ? BM_OK : bm_refuse(e, rc, "scep-malformed", "%s", why.what);
}

/* What came with the certificate that may be its chain, in order: each one the issuer of the one before. */
static void order_chain(struct bm_scep_case *c)
{
    struct bm_evidence *v = &c->enrol.evidence;
    struct bm_cert top = c->signer, next;

    for (size_t i = 0; i < c->m.n_certs && v->n_chain < BM_TLS_CLIENT_CERTS_MAX; i++) {
        if (bm_rd_eq(top.issuer, top.subject))
            return;
        for (size_t n = 0; n < c->m.n_certs; n++) {
            if (bm_cert_parse(c->m.certs[n], &next, NULL) != BM_OK || !bm_rd_eq(next.subject, top.issuer))
                continue;
            v->chain[v->n_chain++] = next.whole;
            top = next;
            break;
        }
    }
}

static enum bm_rc find_signer(struct bm_scep_case *c, struct bm_error *e)
{
    for (size_t i = 0; i < c->m.n_certs; i++) {
        bool whole = bm_cert_parse(c->m.certs[i], &c->signer, NULL) == BM_OK;

        if ((!whole && !bm_scep_self_made(c->m.certs[i], &c->signer)) || !bm_scep_is(&c->m.signer, &c->signer))
            continue;
        c->self_signed = bm_rd_eq(c->signer.issuer, c->signer.subject);
        *(whole ? &c->enrol.evidence.cert : &c->enrol.evidence.spki) = whole ? c->signer.whole : c->signer.spki;
        order_chain(c);
        return BM_OK;
    }
    c->signer = (struct bm_cert){ 0 };
    return bm_refuse(e, BM_DENIED, "scep-integrity", "the certificate of the signer is not in the message, or does not parse");
}

/* RFC 8894 section 3.1: what goes back is encrypted to this key. */
static enum bm_rc open_signer_key(struct bm_scep_case *c, struct bm_error *e)
{
    struct bm_error why = { 0 };
    struct bm_spki spki;
    enum bm_rc rc = bm_spki_parse(c->signer.spki, &spki, &why);

    if (rc == BM_OK && spki.bits == 0)
        rc = bm_fail(&why, BM_DENIED, "SCEP needs RSA keys: nothing can be encrypted to one of kind %s", spki.alg);
    if (rc == BM_OK)
        rc = bm_spki_open(&spki, &c->signer_key, &why);
    return rc == BM_OK ? BM_OK : bm_refuse(e, BM_DENIED, "scep-algorithm", "%s", why.what);
}

/* Section 3.2.1.4.4. A device without a clock leaves the attribute out. */
static enum bm_rc check_time(const struct bm_scep_case *c, struct bm_error *e)
{
    int64_t off = c->m.has_time && !c->kept ? c->m.signing_time - c->now : 0;

    if (off < -BM_SCEP_CLOCK_S || off > BM_SCEP_CLOCK_S)
        return bm_refuse(e, BM_DENIED, "scep-time", "the message was signed at a time more than %d hours from now; set the clock",
                         BM_SCEP_CLOCK_S / 3600);
    return BM_OK;
}

enum bm_rc bm_scep_case_check(struct bm_scep_case *c, struct bm_error *e)
{
    enum bm_rc rc = find_signer(c, e);

    if (rc == BM_OK)
        rc = open_signer_key(c, e);
    if (rc == BM_OK)
        rc = bm_scep_verify(&c->m, c->signer_key, e);
    if (rc == BM_OK && c->m.sender_nonce.n == 0)
        rc = bm_refuse(e, BM_DENIED, "scep-request", "the message has no senderNonce");
    return rc == BM_OK ? check_time(c, e) : rc;
}

enum bm_rc bm_scep_case_open(struct bm_scep_case *c, struct bm_error *e)
{
    const struct bm_scep_recipient *to;
    struct bm_ra *ra;
    enum bm_rc rc;

    c->inner.max = c->plain.max = BM_SCEP_MESSAGE_MAX + 64;
    rc = bm_ber_to_der(c->m.content, &c->inner, e);
    if (rc == BM_OK)
        rc = bm_scep_envelope_parse(bm_buf_rd(&c->inner), &c->envelope, e);
    if (rc != BM_OK)
        return bm_refuse(e, BM_DENIED, "scep-integrity", "the envelope in the message does not parse");
    rc = bm_scep_cipher_of(&c->envelope, &c->cipher, e);
    if (rc == BM_OK)
        rc = bm_ra_of_envelope(c->k, c->ca_id, &c->envelope, c->now, &ra, &to, e);
    if (rc != BM_OK)
        return rc;
    c->ca_id = ra->ca_id;
    return bm_scep_open(&c->envelope, to, ra->key, &c->plain, e);
}

void bm_scep_show_key(struct bm_scep_case *c)
{
    c->enrol.evidence.kind = BM_EVIDENCE_NONE;
    c->enrol.evidence.proven = true;
}

/* --- the answer ---------------------------------------------------------------------------------------------------------------------------- */
static const struct {
    int type;
    enum bm_rc (*run)(struct bm_scep_case *c, struct bm_error *e);
} types[] = {
    { BM_SCEP_PKCS_REQ, bm_scep_request },  { BM_SCEP_RENEWAL_REQ, bm_scep_request }, { BM_SCEP_CERT_POLL, bm_scep_poll },
    { BM_SCEP_GET_CERT, bm_scep_get_cert }, { BM_SCEP_GET_CRL, bm_scep_get_crl },
};

static enum bm_rc run_type(struct bm_scep_case *c, struct bm_error *e)
{
    for (size_t i = 0; i < BM_COUNT(types); i++)
        if (types[i].type == c->m.type)
            return types[i].run(c, e);
    return bm_refuse(e, BM_DENIED, "scep-request", "this messageType is none that a client sends");
}

/* RFC 8894 section 3.2.1.4 has five words for all that can be wrong; the sentence says the rest. */
static enum bm_scep_fail fail_of(const struct bm_error *e)
{
    static const struct {
        const char *code;
        enum bm_scep_fail fail;
    } rows[] = {
        { "scep-algorithm", BM_SCEP_BAD_ALG },
        { "key-algorithm", BM_SCEP_BAD_ALG },
        { "scep-integrity", BM_SCEP_BAD_MESSAGE_CHECK },
        { "bad-signature", BM_SCEP_BAD_MESSAGE_CHECK },
        { "scep-time", BM_SCEP_BAD_TIME },
        { "scep-not-found", BM_SCEP_BAD_CERT_ID },
        { "scep-recipient", BM_SCEP_BAD_CERT_ID },
    };

    for (size_t i = 0; i < BM_COUNT(rows); i++)
        if (strcmp(rows[i].code, e->code) == 0)
            return rows[i].fail;
    return BM_SCEP_BAD_REQUEST;
}

/* What the device can do nothing about, or is to try again later, is HTTP's to say. */
static bool is_final(enum bm_rc rc)
{
    return rc != BM_AGAIN && rc != BM_NOMEM && rc != BM_IO && rc != BM_BUG;
}

static bool is_pending(enum bm_rc rc, const struct bm_error *e)
{
    return rc == BM_AGAIN && bm_refusal_waits(e->code);
}

/* Best effort but for the disk, as all refusals are. */
static enum bm_rc record(struct bm_scep_case *c, const struct bm_error *why, struct bm_error *e)
{
    return c->recorded ? BM_OK : bm_record_refusal(c->k, &c->enrol, c->now, why, e);
}

static enum bm_rc answer(struct bm_scep_case *c, const struct bm_scep_reply *r, const char *code, struct bm_buf *out,
                         struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_SCEP_REPLY_MAX };
    struct bm_ra *ra;
    enum bm_rc rc = bm_ra_get(c->k, c->ca_id, c->now, &ra, e);

    if (rc == BM_OK)
        rc = bm_scep_reply_write(r, ra->key, &ra->cert, &der, e);
    return rc == BM_OK ? tell(out, BM_SCEP_MESSAGE, code, bm_buf_rd(&der), e) : rc;
}

static enum bm_rc fail(struct bm_scep_case *c, const struct bm_error *why, struct bm_buf *out, struct bm_error *e)
{
    char text[FAIL_TEXT_MAX];
    struct bm_scep_reply r = { .status = BM_SCEP_FAILURE,
                               .fail = fail_of(why),
                               .fail_text = text,
                               .transaction_id = c->m.transaction_id,
                               .recipient_nonce = c->m.sender_nonce };
    enum bm_rc rc = record(c, why, e);

    if (rc == BM_IO)
        return rc;
    snprintf(text, sizeof text, "%s: %s (correlation %s)", bm_error_code(why), why->what, c->in->correlation);
    return answer(c, &r, bm_error_code(why), out, e);
}

static enum bm_rc succeed(struct bm_scep_case *c, enum bm_scep_status status, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf sealed = { .max = BM_SCEP_REPLY_MAX };
    struct bm_scep_reply r = { .status = status, .transaction_id = c->m.transaction_id, .recipient_nonce = c->m.sender_nonce };
    enum bm_rc rc = BM_OK;

    if (status == BM_SCEP_SUCCESS)
        rc = bm_scep_seal(bm_buf_rd(&c->reply), &c->signer, c->signer_key, c->cipher, &sealed, e);
    r.envelope = bm_buf_rd(&sealed);
    return rc == BM_OK ? answer(c, &r, "", out, e) : rc;
}

static enum bm_rc run_case(struct bm_scep_case *c, struct bm_buf *out, struct bm_error *e)
{
    struct bm_error why = { 0 };
    enum bm_rc rc = bm_scep_case_read(c, c->in->body, e), admitted;

    if (rc != BM_OK)
        return rc;
    rc = bm_scep_case_check(c, &why);
    admitted = bm_scep_admit(c, rc == BM_OK, e);
    if (admitted != BM_OK)
        return admitted;
    if (rc == BM_OK)
        rc = bm_scep_case_open(c, &why);
    if (rc == BM_OK)
        rc = run_type(c, &why);
    if (rc == BM_OK || is_pending(rc, &why))
        return succeed(c, rc == BM_OK ? BM_SCEP_SUCCESS : BM_SCEP_PENDING, out, e);
    if (is_final(rc))
        return fail(c, &why, out, e);
    *e = why;
    return rc;
}

static enum bm_rc pki_operation(struct bm_keeper *k, const struct bm_message *m, int64_t now, struct bm_buf *out,
                                struct bm_error *e)
{
    BM_CLEANUP(bm_scep_case_done)
    struct bm_scep_case c = { .k = k, .in = m, .now = now, .enrol = { .protocol = "scep" } };
    struct place p;
    enum bm_rc rc = find_place(k, m->label, &p, e);

    if (rc != BM_OK)
        return rc;
    c.ca_id = p.ca_id;
    c.service = p.service;
    c.batch = p.batch;
    memcpy(c.enrol.correlation, m->correlation, sizeof c.enrol.correlation);
    memcpy(c.enrol.peer, m->peer, sizeof c.enrol.peer);
    return run_case(&c, out, e);
}

/* --- operations ----------------------------------------------------------------------------------------------------------------------------- */
static const struct {
    const char *name;
    enum bm_rc (*run)(struct bm_keeper *k, const struct bm_message *m, int64_t now, struct bm_buf *out, struct bm_error *e);
} operations[] = {
    { "GetCACaps", get_ca_caps },
    { "GetCACert", get_ca_cert },
    { "GetNextCACert", get_next_ca_cert },
    { "PKIOperation", pki_operation },
};

enum bm_rc bm_run_scep(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    struct bm_message m;
    enum bm_rc rc = bm_message_parse(payload, &m, e);

    for (size_t i = 0; rc == BM_OK && i < BM_COUNT(operations); i++)
        if (bm_rd_eq(m.what, bm_rd_str(operations[i].name)))
            return operations[i].run(k, &m, now, out, e);
    return rc == BM_OK ? bm_refuse(e, BM_MALFORMED, "scep-operation", "there is no such operation in SCEP") : rc;
}
