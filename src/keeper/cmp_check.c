/* What every message has to be, whatever it asks for: RFC 9483 section 3.5. */
#include "keeper/cmp.h"

#include "base/text.h"

enum { FIRST = 1, LATER = 2, EITHER = 3 };

/* The bodies that are taken. FIRST: it begins a transaction; LATER: it goes on with one; EITHER: as what is in it. */
static const uint8_t turns[BM_CMP_TYPES] = {
    [BM_CMP_IR] = FIRST, [BM_CMP_CR] = FIRST,   [BM_CMP_P10CR] = FIRST,   [BM_CMP_KUR] = FIRST,     [BM_CMP_CERTCONF] = LATER,
    [BM_CMP_RR] = FIRST, [BM_CMP_GENM] = FIRST, [BM_CMP_POLLREQ] = LATER, [BM_CMP_NESTED] = EITHER,
};

/* --- header ------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc check_numbers(struct bm_cmp_job *j, struct bm_error *e)
{
    const struct bm_cmp_header *h = &j->m.h;

    if (h->pvno != 2 && h->pvno != 3)
        return bm_refuse(e, BM_DENIED, "cmp-version", "CMP is spoken here in version 2 and 3");
    if (h->tid.n == 0)
        return bm_refuse(e, BM_MALFORMED, "cmp-transaction-id", "the message has no transactionID");
    if (h->sender_nonce.n < BM_CMP_NONCE_LEN)
        return bm_refuse(e, BM_MALFORMED, "cmp-sender-nonce", "a senderNonce has 16 bytes or more");
    if (h->implicit_confirm_odd)
        return bm_refuse(e, BM_MALFORMED, "cmp-request", "implicitConfirm is a NULL, and no confirmWaitTime goes with it");
    return BM_OK;
}

static enum bm_rc check_turn(struct bm_cmp_job *j, struct bm_error *e)
{
    const struct bm_cmp_header *h = &j->m.h;

    if (turns[j->m.type] == 0)
        return bm_refuse(e, BM_DENIED, "cmp-request", "a message with this body (%u) is not taken here", j->m.type);
    if (turns[j->m.type] == FIRST && h->recip_nonce.n != 0)
        return bm_refuse(e, BM_DENIED, "cmp-recipient-nonce",
                         "the first message of a transaction answers nothing, so it has no recipNonce");
    if (turns[j->m.type] == LATER && h->recip_nonce.n == 0)
        return bm_refuse(e, BM_DENIED, "cmp-recipient-nonce",
                         "a later message of a transaction has the nonce of our last one as recipNonce");
    if (turns[j->m.type] == LATER && h->implicit_confirm)
        return bm_refuse(e, BM_DENIED, "cmp-request", "implicitConfirm belongs into a request for a certificate");
    return BM_OK;
}

static enum bm_rc check_time(struct bm_cmp_job *j, struct bm_error *e)
{
    int64_t off = j->m.h.has_time && j->kept == NULL ? j->m.h.time - j->now : 0;

    if (off > BM_CMP_CLOCK_S || off < -BM_CMP_CLOCK_S)
        return bm_refuse(e, BM_DENIED, "cmp-time",
                         "messageTime is more than %d minutes off; a device without a clock leaves it out", BM_CMP_CLOCK_S / 60);
    return BM_OK;
}

/* The path may name the operation (RFC 9483 section 6.1); later messages of a transaction go where the first one went. */
static enum bm_rc check_operation(struct bm_cmp_job *j, struct bm_error *e)
{
    static const struct {
        const char *operation;
        enum bm_cmp_type type;
    } rows[] = {
        { "initialization", BM_CMP_IR }, { "certification", BM_CMP_CR },   { "keyupdate", BM_CMP_KUR },
        { "pkcs10", BM_CMP_P10CR },      { "revocation", BM_CMP_RR },      { "getcacerts", BM_CMP_GENM },
        { "getcrls", BM_CMP_GENM },      { "getrootupdate", BM_CMP_GENM }, { "getcertreqtemplate", BM_CMP_GENM },
        { "nested", BM_CMP_NESTED },
    };

    if (j->in.what.n == 0 || turns[j->m.type] == LATER)
        return BM_OK;
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        if (rows[i].type == j->m.type && bm_rd_eq(j->in.what, bm_rd_str(rows[i].operation)))
            return BM_OK;
    return bm_refuse(e, BM_DENIED, "cmp-request", "the path names another operation than the message asks for");
}

/* certProfile names the service, as the path does (RFC 9483 section 3.1, RFC 9810 section 5.1.1.4). Later messages may say it again. */
static enum bm_rc check_profile(struct bm_cmp_job *j, struct bm_error *e)
{
    const struct bm_cmp_header *h = &j->m.h;

    if (h->cert_profile_odd)
        return bm_refuse(e, BM_DENIED, "cmp-request", "certProfile is the name of one service of the product");
    if (h->cert_profile.n == 0 || turns[j->m.type] != FIRST)
        return BM_OK;
    if (j->in.label.n != 0 && !bm_rd_eq(j->in.label, h->cert_profile))
        return bm_refuse(e, BM_DENIED, "cmp-request", "the path and certProfile name different services");
    j->in.label = h->cert_profile;
    return BM_OK;
}

/* --- protection by signature, RFC 9483 section 3.2 and 3.3 ------------------------------------------------------------------------------ */
/* The chain as the judge reads it: each certificate followed by its issuer's. extraCerts come in any order after the first. */
static void sort_chain(struct bm_cmp_job *j)
{
    struct bm_evidence *v = &j->c.evidence;
    struct bm_cert top = j->signer, next;

    while (top.whole.n != 0 && v->n_chain < BM_TLS_CLIENT_CERTS_MAX && !bm_rd_eq(top.issuer, top.subject)) {
        size_t i = 1;

        while (i < j->m.n_certs && (bm_cert_parse(j->m.certs[i], &next, NULL) != BM_OK || !bm_rd_eq(next.subject, top.issuer)))
            i++;
        if (i >= j->m.n_certs)
            return;
        v->chain[v->n_chain++] = next.whole;
        top = next;
    }
}

/* Some clients send no self-signed certificate. Then the sender's common name may be the UDID: the key is in the registry. */
static enum bm_rc find_by_name(struct bm_cmp_job *j, struct bm_error *e)
{
    static const struct bm_rd oid_cn = BM_LIT("\x55\x04\x03");
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    uint8_t udid[BM_UDID_LEN];
    struct bm_rd cn;
    enum bm_rc rc = BM_NOTFOUND;

    if (j->m.h.sender_name.n != 0 && bm_name_find(j->m.h.sender_name, oid_cn, &cn) && bm_unhex(cn, udid, sizeof udid))
        rc = bm_device_get(j->k->store, udid, &d, e);
    if (rc == BM_OK && d.spki.n == 0)
        rc = BM_NOTFOUND;
    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_DENIED, "cmp-signer",
                         "extraCerts begins with the signer's certificate; there is none, and sender has no common name that is a "
                         "UDID known here");
    if (rc != BM_OK)
        return rc;
    j->spki.max = BM_SPKI_MAX;
    bm_buf_put(&j->spki, d.spki.p, d.spki.n);
    j->signer.spki = j->c.evidence.spki = bm_buf_rd(&j->spki);
    return bm_buf_check(&j->spki, e);
}

static enum bm_rc find_signer(struct bm_cmp_job *j, struct bm_error *e)
{
    const struct bm_cmp_header *h = &j->m.h;
    struct bm_cert *c = &j->signer;
    enum bm_rc rc;

    if (j->m.n_certs == 0)
        return find_by_name(j, e);
    rc = bm_cert_parse(j->m.certs[0], c, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "the first of extraCerts");
    j->c.evidence.cert = c->whole; /* from here on a refusal is known to be about this device, or one that says so */
    if (!bm_rd_eq(h->sender_name, c->subject))
        return bm_refuse(e, BM_DENIED, "cmp-sender",
                         "sender is not the subject of the first of extraCerts, which is to be the signer's");
    if (h->sender_kid.n != 0 && c->skid.n != 0 && !bm_rd_eq(h->sender_kid, c->skid))
        return bm_refuse(e, BM_DENIED, "cmp-sender", "senderKID is not the key identifier of the signer's certificate");
    if (c->has_key_usage && (c->key_usage & BM_KU_DIGITAL_SIGNATURE) == 0)
        return bm_refuse(e, BM_DENIED, "cmp-signer", "the signer's certificate is not for digital signatures");
    return BM_OK;
}

static enum bm_rc bad_algorithm(struct bm_error *e)
{
    return bm_refuse(e, BM_DENIED, "cmp-algorithm",
                     "messages are protected with ECDSA or RSA with SHA-256 and up, Ed25519 or ML-DSA, by a key that fits");
}

static enum bm_rc check_signature(struct bm_cmp_job *j, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf part = { .max = BM_HTTP_BODY_MAX + 8 };
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_spki spki;
    enum bm_rc rc = bm_spki_parse(j->signer.spki, &spki, e);

    if (rc == BM_OK)
        rc = bm_spki_open(&spki, &key, e);
    if (rc == BM_OK)
        rc = bm_cmp_protected(j->m.part, &part, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "signer of the message");
    rc = bm_verify_x509(key, j->m.h.protection_alg, bm_buf_rd(&part), j->m.protection, e);
    if (rc == BM_MALFORMED)
        return bad_algorithm(e);
    if (rc == BM_DENIED)
        return bm_refuse(e, BM_DENIED, "cmp-protection", "the signature of the message does not verify with the signer's key");
    return rc;
}

/* An algorithm that is neither a signature's nor a MAC's that is taken: badAlg, whoever has sent it (RFC 9483 section 3.5). */
static enum bm_rc check_signer(struct bm_cmp_job *j, struct bm_error *e)
{
    enum bm_rc rc = bm_sig_alg_taken(j->m.h.protection_alg) ? find_signer(j, e) : bad_algorithm(e);

    if (rc == BM_OK)
        rc = check_signature(j, e);
    if (rc != BM_OK)
        return rc;
    sort_chain(j);
    j->c.evidence.proven = true;
    return bm_cmp_see_ra(j, e);
}

static enum bm_rc check_protection(struct bm_cmp_job *j, struct bm_error *e)
{
    enum bm_rc rc;

    if (!j->m.has_protection || j->m.h.protection_alg.n == 0)
        return bm_refuse(e, BM_DENIED, "cmp-protection", "a message has both protectionAlg and protection: none is taken without");
    if (j->m.type == BM_CMP_NESTED && bm_cmp_mac_is(j->m.h.protection_alg))
        return bm_refuse(e, BM_DENIED, "cmp-integrity", "a message around others is signed, not protected by a secret");
    rc = bm_cmp_mac_is(j->m.h.protection_alg) ? bm_cmp_check_mac(j, e) : check_signer(j, e);
    if (rc != BM_OK)
        return rc;
    bm_udid_of(j->by_mac ? j->m.h.sender_kid : j->signer.spki, j->who); /* SHA-256 all the same */
    j->who[0] = (uint8_t)((j->who[0] & 0xfe) | j->by_mac);
    return BM_OK;
}

enum bm_rc bm_cmp_check(struct bm_cmp_job *j, struct bm_error *e)
{
    enum bm_rc rc = check_numbers(j, e);

    if (rc == BM_OK)
        rc = check_turn(j, e);
    if (rc == BM_OK)
        rc = check_time(j, e);
    if (rc == BM_OK)
        rc = check_operation(j, e);
    if (rc == BM_OK)
        rc = check_profile(j, e);
    if (rc == BM_OK)
        rc = check_protection(j, e);
    if (rc == BM_OK)
        bm_udid_of(j->m.h.tid, j->digest); /* SHA-256 all the same */
    return rc;
}
