/* Requests for certificates: ir, cr, kur with a CRMF request, p10cr with a PKCS#10 one. RFC 9483 section 4.1. */
#include "keeper/cmp.h"

/* --- what is asked for ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc check_template(const struct bm_crmf *r, struct bm_error *e)
{
    const struct bm_crmf_template *t = &r->t;

    if (t->has_version && t->version != 2)
        return bm_refuse(e, BM_DENIED, "cmp-template", "certificates are made in version 3, so the template's version is 2");
    if (t->serial.n != 0)
        return bm_refuse(e, BM_DENIED, "cmp-template", "a certificate's serial number is not for its owner to choose");
    if (t->subject.n == 0)
        return bm_refuse(e, BM_DENIED, "cmp-template",
                         "the template has no subject; it may be empty, as the product's profile decides");
    return BM_OK;
}

/* Proof of possession, RFC 4211 section 4.1, by signature alone: subject and key are in the template, so poposkInput has no place
 * (RFC 9483 section 4.1.1), and raVerified is a word that a device cannot give for itself. */
static enum bm_rc check_pop(const struct bm_cmp_job *j, const struct bm_crmf *r, struct bm_rd spki, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_spki parsed;
    enum bm_rc rc;

    if (r->pop == BM_CRMF_POP_RA_VERIFIED)
        return j->ra_org != 0
                   ? BM_OK
                   : bm_refuse(e, BM_DENIED, "cmp-not-ra", "only a registration authority that is trusted can say raVerified");
    if (r->pop != BM_CRMF_POP_SIGNATURE || r->pop_input)
        return bm_refuse(e, BM_DENIED, "cmp-pop",
                         "possession of the key is shown by a signature over the CertRequest, without poposkInput");
    rc = bm_spki_parse(spki, &parsed, e);
    if (rc == BM_OK)
        rc = bm_spki_open(&parsed, &key, e);
    if (rc != BM_OK)
        return rc == BM_NOMEM ? rc
                              : bm_refuse(e, BM_DENIED, "cmp-template", "the template's public key is not one that is taken here");
    rc = bm_verify_x509(key, r->pop_alg, r->request, r->pop_sig, e);
    return rc == BM_OK || rc == BM_NOMEM
               ? rc
               : bm_refuse(e, BM_DENIED, "cmp-pop", "the proof of possession does not verify with the template's public key");
}

/* --- a key that is made here, section 4.1.6 -------------------------------------------------------------------------------------------------- */
/* It is encrypted to the key that signs the message, so that has to be one that something can be encrypted to. */
static enum bm_rc check_signers_key(const struct bm_cmp_job *j, struct bm_error *e)
{
    const struct bm_cert *c = &j->signer;
    struct bm_spki spki;
    enum bm_rc rc = bm_spki_parse(c->spki, &spki, e);
    uint8_t need = rc == BM_OK && strcmp(spki.alg, "RSA") == 0 ? BM_KU_KEY_ENCIPHERMENT : BM_KU_KEY_AGREEMENT;

    if (rc == BM_OK && c->has_key_usage && (c->key_usage & need) == 0)
        return bm_refuse(
            e, BM_DENIED, "keygen-recipient-unfit",
            "nothing may be encrypted to the key of the signer's certificate: its keyUsage has neither keyAgreement (EC) "
            "nor keyEncipherment (RSA)");
    return rc;
}

static enum bm_rc check_recipient(const struct bm_cmp_job *j, struct bm_error *e)
{
    if (j->ra_org != 0)
        return bm_refuse(e, BM_DENIED, "cmp-not-ra",
                         "a key that is made here is for the device alone, which has to ask for it itself");
    if (j->m.h.pvno < 3)
        return bm_refuse(e, BM_DENIED, "cmp-version", "a key that is made here comes in CMP version 3");
    return j->by_mac ? BM_OK : check_signers_key(j, e);
}

/* What protects the request protects the key: sections 4.1.6.1 to 4.1.6.3. A certificate without a key identifier is named by issuer and serial number;
 * a key that came without one, by its UDID. */
static struct bm_keypkg_to recipient_of(struct bm_cmp_job *j)
{
    const struct bm_cert *c = &j->signer;
    struct bm_keypkg_to to = { .spki = c->spki, .key_id = c->skid };

    if (j->by_mac)
        return (struct bm_keypkg_to){ .password = bm_buf_rd(&j->secret) };
    if (c->skid.n == 0 && c->whole.n != 0)
        to.cert = c->whole;
    if (c->skid.n == 0 && c->whole.n == 0) {
        bm_udid_of(c->spki, j->signer_id);
        to.key_id = bm_rd_of(j->signer_id, sizeof j->signer_id);
    }
    return to;
}

/* The judge makes the key; it is told by another one of what kind. Proof of possession is absent; some clients put raVerified there, which says nothing of
 * a key that is not there either. */
static enum bm_rc ask_for_key(struct bm_cmp_job *j, const struct bm_crmf *r, const char *alg, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf key = { .max = BM_SPKI_MAX };
    enum bm_rc rc;

    if (r->pop != BM_CRMF_POP_NONE && r->pop != BM_CRMF_POP_RA_VERIFIED)
        return bm_refuse(e, BM_DENIED, "cmp-pop", "nobody can show possession of a key that is yet to be made");
    rc = check_recipient(j, e);
    if (rc == BM_OK)
        rc = bm_keypkg_make(alg != NULL ? alg : "P-256", &key, &j->wanted, e);
    if (rc != BM_OK)
        return rc;
    j->keygen_to = recipient_of(j);
    j->c.keygen_to = &j->keygen_to;
    j->c.keygen = true;
    return BM_OK;
}

/* --- an update ------------------------------------------------------------------------------------------------------------------------------- */
/* A key update is for the certificate that signs it (RFC 9483 section 4.1.3), and that has to be one of ours. */
static enum bm_rc check_update(struct bm_cmp_job *j, const struct bm_crmf *r, struct bm_error *e)
{
    const struct bm_cert *old = &j->signer;
    struct bm_revoked row;
    enum bm_rc rc;

    if (j->by_mac)
        return bm_refuse(e, BM_DENIED, "cmp-integrity",
                         "a key update is signed with the certificate it updates, not protected by a secret");
    rc = old->serial.n == BM_SERIAL_LEN ? bm_credential_peek(j->k->store, old->serial.p, &row, e) : BM_NOTFOUND;

    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_DENIED, "cmp-certificate",
                         "a key update is signed with the certificate it updates, and this one is not from here");
    if (rc != BM_OK)
        return rc;
    if (r->old_serial.n != 0 && (!bm_rd_eq(r->old_serial, old->serial) || !bm_name_alike(r->old_issuer, old->issuer)))
        return bm_refuse(e, BM_DENIED, "cmp-certificate", "oldCertID is not the certificate that the message is signed with");
    if (!bm_name_alike(r->t.subject, old->subject))
        return bm_refuse(e, BM_DENIED, "cmp-template", "a key update keeps the subject of the certificate it updates");
    return BM_OK;
}

static enum bm_rc check_unused(struct bm_cmp_job *j, struct bm_error *e)
{
    struct bm_cmp_row row;
    enum bm_rc rc = bm_cmp_row_find(j->k->store, j->digest, &row, e);

    if (rc == BM_OK)
        return bm_refuse(e, BM_DENIED, "cmp-transaction-in-use",
                         "this transactionID has been used; each transaction has a random one of its own");
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

/* --- the certificate -------------------------------------------------------------------------------------------------------------------- */
/* Of a request that has waited there is a row. */
static enum bm_rc write_row(struct bm_cmp_job *j, struct bm_cmp_row *r, struct bm_error *e)
{
    enum bm_rc rc;

    if (j->kept == NULL)
        return bm_cmp_row_put(j->k->store, r, e);
    r->id = j->kept->id;
    rc = bm_cmp_row_answer(j->k->store, r, e);
    return rc == BM_OK ? bm_cmp_kept_drop(j->k->store, r->id, e) : rc;
}

/* A request without messageTime could be played again at any time, so its row stays for good. */
static enum bm_rc remember(struct bm_cmp_job *j, const struct bm_cert *made, int64_t req_id, struct bm_error *e)
{
    struct bm_cmp_row r = {
        .state = j->implicit_confirm ? BM_CMP_CONFIRMED : BM_CMP_ISSUED,
        .for_good = !j->m.h.has_time,
        .req_id = req_id,
    };

    r.expires_at = r.for_good && j->implicit_confirm ? INT64_MAX : j->now + 2 * BM_CMP_CLOCK_S;
    memcpy(r.digest, j->digest, sizeof r.digest);
    memcpy(r.who, j->who, sizeof r.who);
    memcpy(r.nonce, j->nonce, sizeof r.nonce);
    memcpy(r.serial, made->serial.p, sizeof r.serial);
    return write_row(j, &r, e);
}

struct wanted {
    enum bm_cmp_type answer;
    int64_t req_id;
    struct bm_rd subject; /* asked for; empty: whatever it comes to */
    struct bm_rd extensions;
    bool more; /* validity too, or names in a PKCS#10 request */
};

/* Are they all among those made, byte for byte? */
static bool has_extensions(struct bm_rd made, struct bm_rd asked)
{
    struct bm_rd one, it, left;
    bool found = true;

    while (found && bm_der_whole(&asked, BM_DER_SEQUENCE, &one)) {
        found = false;
        for (left = made; !found && bm_der_whole(&left, BM_DER_SEQUENCE, &it);)
            found = bm_rd_eq(one, it);
    }
    return found && asked.n == 0;
}

/* grantedWithMods, when the profile has made another certificate than was asked for (RFC 9810 section 5.2.3). */
static enum bm_cmp_status status_of(const struct wanted *w, const struct bm_cert *made)
{
    bool same =
        !w->more && (w->subject.n == 0 || bm_rd_eq(w->subject, made->subject)) && has_extensions(made->extensions, w->extensions);

    return same ? BM_CMP_ACCEPTED : BM_CMP_GRANTED_WITH_MODS;
}

static enum bm_rc grant(struct bm_cmp_job *j, const struct wanted *w, struct bm_derw *out, struct bm_error *e)
{
    struct bm_cmp_granted g = { .type = w->answer, .req_id = w->req_id };
    struct bm_enrolled a;
    struct bm_cert made;
    enum bm_rc rc = bm_enrolled_parse(bm_buf_rd(&j->judged), &a, e);

    if (rc == BM_OK && a.n_credentials != 1)
        rc = bm_fail(e, BM_BUG, "%zu certificates for one request", a.n_credentials);
    if (rc == BM_OK)
        rc = bm_cert_parse(a.credentials[0].cert, &made, e);
    if (rc != BM_OK)
        return rc;
    g.cert = made.whole;
    g.status = status_of(w, &made);
    g.key = bm_rd_of(a.credentials[0].key.p, a.credentials[0].key_form == BM_KEY_SEALED ? a.credentials[0].key.n : 0);
    g.ca = w->answer == BM_CMP_IP && a.credentials[0].n_chain != 0 ? a.credentials[0].chain[a.credentials[0].n_chain - 1]
                                                                   : bm_rd_of(NULL, 0);
    j->issuer = made.issuer; /* in j->judged, as all of this */
    j->implicit_confirm = j->m.h.implicit_confirm;
    j->confirm_until = j->implicit_confirm ? 0 : j->now + BM_CMP_CLOCK_S;
    bm_cmp_put_granted(out, &g);
    return remember(j, &made, w->req_id, e);
}

static enum bm_rc enrol(struct bm_cmp_job *j, const struct wanted *w, struct bm_derw *out, struct bm_error *e)
{
    enum bm_rc rc = j->kept == NULL ? check_unused(j, e) : BM_OK;

    if (rc != BM_OK)
        return rc;
    if (j->ra_org != 0)
        rc = bm_cmp_vouched(j, w->subject, e);
    if (rc != BM_OK)
        return rc;
    j->c.n_requests = 1;
    j->c.requests[0].service = j->in.label;
    j->judged.max = BM_FRAME_MAX;
    j->written_down = true;
    rc = bm_judge_enrol(j->k, &j->c, j->now, &j->judged, e);
    if (rc == BM_AGAIN && bm_refusal_waits(e->code) && j->kept == NULL)
        return bm_cmp_wait(j, w->answer, w->req_id, out, e);
    if (rc != BM_OK)
        return rc;
    j->lost = true;
    rc = j->ra_org != 0 ? bm_cmp_record_vouched(j, NULL, e) : BM_OK;
    return rc == BM_OK ? grant(j, w, out, e) : rc;
}

/* --- the kinds of request -------------------------------------------------------------------------------------------------------------- */
static enum bm_rc take_key(struct bm_cmp_job *j, const struct bm_crmf *r, struct bm_error *e)
{
    const char *alg;
    enum bm_rc rc;

    j->wanted.max = BM_SPKI_MAX;
    if (bm_crmf_wants_key(&r->t, &alg))
        return ask_for_key(j, r, alg, e);
    rc = bm_crmf_spki(&r->t, &j->wanted, e);
    return rc == BM_OK ? check_pop(j, r, bm_buf_rd(&j->wanted), e) : rc;
}

static enum bm_rc crmf(struct bm_cmp_job *j, enum bm_cmp_type answer, struct bm_derw *out, struct bm_error *e)
{
    struct wanted w = { .answer = answer };
    struct bm_crmf r;
    enum bm_rc rc = bm_crmf_parse(j->m.content, &r, e);

    if (rc == BM_OK && (r.n != 1 || r.req_id != 0))
        rc = bm_refuse(e, BM_DENIED, "cmp-request", "a message asks for one certificate, as certReqId 0");
    if (rc == BM_OK)
        rc = check_template(&r, e);
    if (rc == BM_OK)
        rc = answer == BM_CMP_KUP ? check_update(j, &r, e) : BM_OK;
    if (rc == BM_OK)
        rc = take_key(j, &r, e);
    if (rc != BM_OK)
        return rc;
    w.subject = r.t.subject;
    w.extensions = r.t.extensions;
    w.more = r.t.has_validity;
    j->c.reenrol = answer == BM_CMP_KUP;
    j->c.requests[0].spki = bm_buf_rd(&j->wanted);
    return enrol(j, &w, out, e);
}

enum bm_rc bm_cmp_ir(struct bm_cmp_job *j, struct bm_derw *w, struct bm_error *e)
{
    return crmf(j, BM_CMP_IP, w, e);
}

enum bm_rc bm_cmp_cr(struct bm_cmp_job *j, struct bm_derw *w, struct bm_error *e)
{
    return crmf(j, BM_CMP_CP, w, e);
}

enum bm_rc bm_cmp_kur(struct bm_cmp_job *j, struct bm_derw *w, struct bm_error *e)
{
    return crmf(j, BM_CMP_KUP, w, e);
}

/* RFC 9483 section 4.1.4; the answer's certReqId is -1 (RFC 9810 section 5.3.4). */
enum bm_rc bm_cmp_p10cr(struct bm_cmp_job *j, struct bm_derw *w, struct bm_error *e)
{
    struct wanted asked = { .answer = BM_CMP_CP, .req_id = -1 };
    struct bm_csr csr;
    enum bm_rc rc = bm_csr_parse(j->m.content, &csr, e);

    if (rc != BM_OK)
        return rc;
    asked.subject = csr.subject;
    asked.more = csr.san.n != 0;
    j->c.requests[0].csr = csr.whole;
    return enrol(j, &asked, w, e);
}
