/* PKCSReq, RenewalReq and CertPoll: RFC 8894 sections 3.3.1 and 3.3.3. */
#include "keeper/scep.h"

#include "base/text.h"

/* --- transactions ------------------------------------------------------------------------------------------------------------------------- */
/* A client that got no answer sends the same again. Some make the transactionID from their key, so that a renewal has the same one: what tells them
 * apart is the certificate that signs it. A self-signed one is made anew each time, so there it is the key. */
void bm_scep_name_transaction(struct bm_scep_case *c)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf whole = { .max = BM_CERT_MAX + 2 * BM_SCEP_TRANSACTION_MAX };

    bm_buf_vec(&whole, c->m.transaction_id);
    bm_buf_vec(&whole, c->self_signed ? c->signer.spki : c->signer.whole);
    bm_udid_of(bm_buf_rd(&whole), c->digest); /* SHA-256 all the same */
}

/* A new row in place of what is known of this transaction. */
static enum bm_rc remember(struct bm_scep_case *c, const uint8_t *serial, struct bm_rd message, struct bm_error *e)
{
    BM_CLEANUP(bm_scep_row_done)
    struct bm_scep_row row = { .created_at = c->now, .waits = serial == NULL, .message = { .max = BM_SCEP_MESSAGE_MAX } };
    enum bm_rc rc;

    memcpy(row.digest, c->digest, sizeof row.digest);
    if (serial != NULL)
        memcpy(row.serial, serial, sizeof row.serial);
    else
        bm_buf_put(&row.message, message.p, message.n);
    rc = bm_buf_check(&row.message, e);
    if (rc == BM_OK)
        rc = bm_scep_row_set(c->k->store, &row, c->now - BM_SCEP_TRANSACTION_S, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "SCEP transaction");
}

/* Is it time for a new one? By then the same request once more is not an answer that was lost. */
static bool is_young(struct bm_scep_case *c, const struct bm_credential *cr)
{
    struct bm_device d = { 0 };
    struct bm_line *l;
    bool young = bm_device_by_id(c->k->store, cr->device_id, &d, NULL) == BM_OK &&
                 bm_line_get(c->k, d.batch_id, &l, NULL) == BM_OK &&
                 c->now < bm_renew_after(&l->policy, cr->issued_at, cr->not_after);

    bm_device_done(&d);
    return young;
}

/* The certificate of an earlier answer, if that is still the right one. spki: what it must be for; or empty. */
static enum bm_rc find_answer(struct bm_scep_case *c, const uint8_t serial[BM_SERIAL_LEN], struct bm_rd spki, struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential cr = { 0 };
    struct bm_cert cert;
    struct bm_rd der;
    enum bm_rc rc = bm_credential_get(c->k->store, serial, &cr, e);

    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&cr.cert), &cert, e);
    if (rc != BM_OK)
        return rc;
    if (strcmp(bm_credential_status(&cr, c->now), "active") != 0 || (spki.n != 0 && !bm_rd_eq(cert.spki, spki)) ||
        !is_young(c, &cr))
        return BM_NOTFOUND;
    der = bm_buf_rd(&cr.cert);
    c->reply.n = 0;
    c->reply.max = BM_SCEP_REPLY_MAX;
    return bm_cms_certs(&der, 1, &c->reply, e);
}

static enum bm_rc find_again(struct bm_scep_case *c, struct bm_rd spki, struct bm_error *e)
{
    BM_CLEANUP(bm_scep_row_done) struct bm_scep_row row = { 0 };
    enum bm_rc rc = bm_scep_row_find(c->k->store, c->digest, &row, e);

    if (rc != BM_OK)
        return rc;
    return row.waits ? BM_NOTFOUND : find_answer(c, row.serial, spki, e);
}

/* --- the request inside -------------------------------------------------------------------------------------------------------------------- */
/* Whatever is wrong in there, the answer is one: whoever changes bits of somebody else's envelope learns nothing from it. The operator does. */
static enum bm_rc read_csr(struct bm_scep_case *c, struct bm_csr *ret, struct bm_error *e)
{
    enum bm_rc rc = bm_csr_parse(bm_buf_rd(&c->plain), ret, e);

    if (rc == BM_OK && bm_rd_eq(ret->spki, c->signer.spki)) /* most are over the signer's key, which is open */
        rc = bm_verify_x509(c->signer_key, ret->sig_alg, ret->info, ret->sig, e);
    else if (rc == BM_OK)
        rc = bm_csr_verify(ret, e);
    if (rc == BM_OK)
        return BM_OK;
    c->k->truth = *e;
    return bm_refuse(e, BM_DENIED, "scep-integrity", "the envelope does not hold a certificate request signed by its own key");
}

static bool is_ours(const struct bm_scep_case *c)
{
    struct bm_revoked row;

    return c->signer.serial.n == BM_SERIAL_LEN && bm_credential_peek(c->k->store, c->signer.serial.p, &row, NULL) == BM_OK;
}

/* Is the request in the envelope the signer's? Somebody else's could be: envelopes can be passed on. Over the signer's key it is. Who signs with
 * a certificate of his own making shows nothing else, so there it must be (RFC 8894 section 2.2). With a certificate from somewhere, the subject must be
 * that of the certificate, when that is one of ours; an IDevID's subject is the chip maker's affair. */
static enum bm_rc check_signer(const struct bm_scep_case *c, const struct bm_csr *csr, struct bm_error *e)
{
    if (c->self_signed && c->m.type == BM_SCEP_RENEWAL_REQ)
        return bm_refuse(e, BM_DENIED, "scep-request", "a RenewalReq is signed with the certificate that it renews");
    if (c->self_signed && !bm_rd_eq(csr->spki, c->signer.spki))
        return bm_refuse(e, BM_DENIED, "scep-key-mismatch",
                         "the self-signed certificate of the signer must be over the key of the certificate request");
    if (!bm_rd_eq(csr->spki, c->signer.spki) && is_ours(c) && !bm_scep_same_name(csr->subject, c->signer.subject))
        return bm_refuse(e, BM_DENIED, "subject-mismatch",
                         "a renewal over a new key must carry the subject of the certificate it renews");
    return BM_OK;
}

/* --- evidence ------------------------------------------------------------------------------------------------------------------------------ */
static const uint8_t oid_cn[] = { 0x55, 0x04, 0x03 }, oid_serial_number[] = { 0x55, 0x04, 0x05 };

static bool take_udid(struct bm_scep_case *c, struct bm_rd text)
{
    if (!bm_unhex(text, c->udid, sizeof c->udid))
        return false;
    c->enrol.claimed_udid = bm_rd_of(c->udid, sizeof c->udid);
    return true;
}

static bool subject_has(const struct bm_csr *csr, const uint8_t *oid, size_t n, struct bm_rd *ret)
{
    return bm_name_find(csr->subject, bm_rd_of(oid, n), ret);
}

/* "TARGET:CODE", as in EST's user and password; or else the subject names the UDID, or the batch as its common name. */
static enum bm_rc take_code(struct bm_scep_case *c, const struct bm_csr *csr, struct bm_error *e)
{
    struct bm_rd code = csr->challenge_password, target = { NULL, 0 }, cn = { NULL, 0 }, sn;
    const uint8_t *colon = memchr(code.p, ':', code.n);
    struct bm_enrol *q = &c->enrol;

    if (colon != NULL) {
        target = bm_rd_of(code.p, (size_t)(colon - code.p));
        code = bm_rd_of(colon + 1, code.n - target.n - 1);
    }
    if (code.n == 0 || code.n > BM_CODE_TYPED_MAX)
        return bm_refuse(e, BM_DENIED, "code-wrong", "the challengePassword is no one-time code");
    q->evidence.kind = BM_EVIDENCE_CODE;
    q->evidence.code = code;
    q->evidence.cert = q->evidence.spki = bm_rd_of(NULL, 0); /* the request itself shows the key */
    q->evidence.n_chain = 0;
    if (colon == NULL && ((subject_has(csr, oid_cn, sizeof oid_cn, &cn) && take_udid(c, cn)) ||
                          (subject_has(csr, oid_serial_number, sizeof oid_serial_number, &sn) && take_udid(c, sn))))
        return BM_OK;
    target = colon == NULL ? cn : target;
    if (target.n == 0 || target.n >= BM_NAME_LEN)
        return bm_refuse(e, BM_DENIED, "code-wrong",
                         "name the batch or the UDID that the code is for: as common name, or as TARGET:CODE in challengePassword");
    if (!take_udid(c, target))
        q->claimed_batch = target;
    return BM_OK;
}

/* Whether it is a good one, device management says. The request itself shows the key. */
static void take_challenge(struct bm_scep_case *c)
{
    struct bm_enrol *q = &c->enrol;

    q->evidence = (struct bm_evidence){ .kind = BM_EVIDENCE_HOOK, .challenge = bm_rd_of(c->digest, sizeof c->digest) };
    q->claimed_batch = c->batch;
}

static enum bm_rc take_evidence(struct bm_scep_case *c, const struct bm_csr *csr, struct bm_error *e)
{
    bool challenged = c->self_signed && csr->challenge_password.n != 0;

    if (challenged && c->batch.n == 0)
        return take_code(c, csr, e);
    if (challenged)
        take_challenge(c);
    else
        bm_scep_show_key(c);
    return BM_OK;
}

/* --- all together --------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc issued(struct bm_scep_case *c, struct bm_rd answer, struct bm_error *e)
{
    struct bm_enrolled got;
    struct bm_cert cert;
    enum bm_rc rc = bm_enrolled_parse(answer, &got, e);

    if (rc == BM_OK && got.n_credentials != 1)
        rc = bm_fail(e, BM_BUG, "%zu certificates for one request", got.n_credentials);
    if (rc == BM_OK)
        rc = bm_cert_parse(got.credentials[0].cert, &cert, e);
    if (rc == BM_OK)
        rc = remember(c, cert.serial.p, bm_rd_of(NULL, 0), e);
    c->reply.n = 0;
    c->reply.max = BM_SCEP_REPLY_MAX;
    return rc == BM_OK ? bm_cms_certs(&got.credentials[0].cert, 1, &c->reply, e) : bm_wrap(e, BM_IO, "SCEP answer");
}

static enum bm_rc judge(struct bm_scep_case *c, const struct bm_csr *csr, struct bm_rd message, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = BM_FRAME_MAX };
    enum bm_rc rc = take_evidence(c, csr, e);

    if (rc != BM_OK)
        return rc;
    c->enrol.n_requests = 1;
    c->enrol.requests[0].csr = csr->whole;
    c->enrol.requests[0].verified = true; /* read_csr() */
    c->enrol.requests[0].service = c->service;
    rc = bm_judge_enrol(c->k, &c->enrol, c->now, &out, e);
    c->recorded = true;
    if (rc == BM_OK)
        return issued(c, bm_buf_rd(&out), e);
    if (rc == BM_AGAIN && bm_refusal_waits(e->code)) {
        struct bm_error lost = { 0 };

        if (remember(c, NULL, message, &lost) != BM_OK) {
            *e = lost;
            return BM_IO;
        }
    }
    return rc;
}

static enum bm_rc request(struct bm_scep_case *c, struct bm_rd message, struct bm_error *e)
{
    struct bm_csr csr;
    enum bm_rc rc = read_csr(c, &csr, e);

    if (rc == BM_OK)
        rc = check_signer(c, &csr, e);
    if (rc == BM_OK && c->expected_subject.n != 0 && !bm_scep_same_name(c->expected_subject, csr.subject))
        rc = bm_refuse(e, BM_DENIED, "scep-not-found", "the request of this transaction has another subject");
    if (rc != BM_OK)
        return rc;
    bm_scep_name_transaction(c);
    rc = find_again(c, csr.spki, e);
    return rc == BM_NOTFOUND ? judge(c, &csr, message, e) : rc;
}

enum bm_rc bm_scep_request(struct bm_scep_case *c, struct bm_error *e)
{
    return request(c, c->in->body, e);
}

/* --- waiting ---------------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc no_transaction(struct bm_error *e)
{
    return bm_refuse(e, BM_DENIED, "scep-not-found",
                     "no request of this signer with this transactionID is known here; send it again");
}

/* The request that waits is judged as if it came now: it was kept as it came, sealed to us. */
static enum bm_rc ask_again(struct bm_scep_case *poll, const struct bm_scep_row *row, struct bm_rd subject, struct bm_error *e)
{
    BM_CLEANUP(bm_scep_case_done)
    struct bm_scep_case c = { .k = poll->k,
                              .in = poll->in,
                              .now = poll->now,
                              .kept = true,
                              .ca_id = poll->ca_id,
                              .service = poll->service,
                              .batch = poll->batch };
    enum bm_rc rc;

    c.enrol = poll->enrol;
    c.enrol.evidence = (struct bm_evidence){ .kind = BM_EVIDENCE_NONE };
    c.expected_subject = subject;
    rc = bm_scep_case_read(&c, bm_buf_rd(&row->message), e);
    if (rc == BM_OK)
        rc = bm_scep_case_check(&c, e);
    if (rc == BM_OK)
        rc = bm_scep_case_open(&c, e);
    if (rc == BM_OK)
        rc = request(&c, bm_buf_rd(&row->message), e);
    poll->recorded = c.recorded;
    if (rc == BM_OK) {
        poll->reply = c.reply;
        c.reply = (struct bm_buf){ 0 };
    }
    return rc;
}

enum bm_rc bm_scep_poll(struct bm_scep_case *c, struct bm_error *e)
{
    BM_CLEANUP(bm_scep_row_done) struct bm_scep_row row = { 0 };
    struct bm_rd issuer, subject;
    enum bm_rc rc;

    if (!bm_scep_issuer_and_subject(bm_buf_rd(&c->plain), &issuer, &subject))
        return bm_refuse(e, BM_DENIED, "scep-integrity", "the envelope of a CertPoll does not hold an IssuerAndSubject");
    bm_scep_name_transaction(c);
    rc = bm_scep_row_find(c->k->store, c->digest, &row, e);
    if (rc == BM_OK && row.waits)
        return ask_again(c, &row, subject, e);
    if (rc == BM_OK)
        rc = find_answer(c, row.serial, bm_rd_of(NULL, 0), e);
    return rc == BM_NOTFOUND ? no_transaction(e) : rc;
}
