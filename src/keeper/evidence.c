/* Who is this? One judge for every protocol. What counts is possession of a key that the registry knows; certificates add only what their
 * issuer is trusted for. Nothing a worker says is taken on its word: a TLS handshake is proven by its messages (handshake.c). */
#include "keeper/scep_hook.h"

#include "base/text.h"

void bm_proven_done(struct bm_proven *p)
{
    bm_device_done(&p->device);
    bm_credential_done(&p->credential);
}

/* What the device put forward: its key, and the certificate around it, if any. */
struct presented {
    struct bm_rd spki;
    struct bm_cert cert; /* whole.n 0: none */
    uint8_t udid[BM_UDID_LEN];
};

static enum bm_rc present(const struct bm_evidence *v, struct presented *ret, struct bm_error *e)
{
    enum bm_rc rc;

    *ret = (struct presented){ .spki = v->spki };
    if (v->cert.n != 0) {
        if (v->spki.n != 0)
            return bm_refuse(e, BM_MALFORMED, "evidence-ambiguous", "give a key or a certificate, not both");
        rc = bm_cert_parse(v->cert, &ret->cert, e);
        if (rc != BM_OK)
            return bm_wrap(e, rc, "certificate presented");
        ret->spki = ret->cert.spki;
    }
    if (ret->spki.n == 0)
        return bm_refuse(e, BM_DENIED, "no-evidence", "show who you are: a TLS client certificate or a signed challenge");
    bm_udid_of(ret->spki, ret->udid);
    return BM_OK;
}

/* The UDID that the device says is its own: in so many words, or as the common name of its certificate. */
static bool goes_by(const struct bm_enrol *c, const struct presented *p, uint8_t ret[BM_UDID_LEN])
{
    static const uint8_t oid_cn[] = { 0x55, 0x04, 0x03 };
    struct bm_rd cn;

    if (c->claimed_udid.n == BM_UDID_LEN) {
        memcpy(ret, c->claimed_udid.p, BM_UDID_LEN);
        return true;
    }
    return p->cert.whole.n != 0 && bm_name_find(p->cert.subject, bm_rd_of(oid_cn, sizeof oid_cn), &cn) &&
           bm_unhex(cn, ret, BM_UDID_LEN);
}

static enum bm_rc check_signed_challenge(struct bm_keeper *k, uint8_t op, const struct bm_enrol *c, struct bm_rd spki, int64_t now,
                                         struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf tbs = { .max = BM_COMMAND_MAX };
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_spki parsed;
    enum bm_rc rc = bm_challenge_check(k, c->evidence.challenge, now, e);

    if (rc == BM_OK)
        rc = bm_spki_parse(spki, &parsed, e);
    if (rc == BM_OK)
        rc = bm_spki_open(&parsed, &key, e);
    if (rc != BM_OK)
        return rc;
    bm_enrol_tbs(&tbs, op, c);
    rc = bm_buf_check(&tbs, e);
    if (rc == BM_OK)
        rc = bm_verify_raw(key, bm_buf_rd(&tbs), c->evidence.signature, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "signature over the challenge");
    return bm_challenge_use(k, c->evidence.challenge, now, e);
}

/* A certificate that is not self-issued and not one of ours must come from a chip maker we trust for it. */
struct anchor_search {
    struct bm_keeper *k;
    struct bm_cert *path; /* the leaf first; there is room for the anchor after the last */
    size_t n;
    int64_t now, org_id;
    bool found;
};

static enum bm_rc try_anchor(void *arg, const struct bm_trust *t, struct bm_error *e)
{
    struct anchor_search *s = arg;
    struct bm_cert anchor;

    if (s->found || bm_cert_parse(bm_buf_rd(&t->der), &anchor, NULL) != BM_OK)
        return BM_OK;
    s->found =
        bm_rd_eq(s->path[s->n - 1].whole, anchor.whole) || bm_cert_check_above(s->path, s->n, &anchor, s->now, NULL) == BM_OK;
    if (!s->found)
        return BM_OK;
    s->org_id = t->org_id;
    s->path[s->n] = anchor; /* until this returns */
    return bm_maker_check(s->k, t->org_id, s->path, s->n + 1, s->now, e);
}

enum bm_rc bm_evidence_chain(struct bm_keeper *k, const char *purpose, const struct bm_evidence *v, const struct bm_cert *leaf,
                             int64_t now, int64_t *ret_org, struct bm_error *e)
{
    struct bm_cert link[2 + BM_TLS_CLIENT_CERTS_MAX];
    enum bm_rc rc = BM_OK;

    link[0] = *leaf;
    for (size_t i = 0; i <= v->n_chain; i++) {
        struct anchor_search s = { .k = k, .path = link, .n = i + 1, .now = now };

        rc = bm_trust_each(k->store, purpose, try_anchor, &s, e);
        *ret_org = s.org_id;
        if (rc != BM_OK || s.found)
            return rc;
        if (i == v->n_chain)
            break;
        if (bm_cert_parse(v->chain[i], &link[i + 1], e) != BM_OK || bm_cert_check_above(link, i + 1, &link[i + 1], now, e) != BM_OK)
            return bm_wrap(e, BM_DENIED, "%s certificate chain", purpose);
    }
    return bm_refuse(
        e, BM_DENIED, "untrusted-birth-certificate",
        "the device's certificate comes from an issuer that no organisation here is trusted for; see 'birthmark org trust'");
}

/* The current LDevID: a certificate that is, byte for byte, one we issued. */
static enum bm_rc find_credential(struct bm_keeper *k, const struct presented *p, struct bm_proven *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { 0 };
    uint8_t serial[BM_SERIAL_LEN];
    enum bm_rc rc;

    bm_cert_serial_key(p->cert.serial, serial);
    rc = bm_credential_get(k->store, serial, &c, e);
    if (rc != BM_OK)
        return rc;
    if (!bm_rd_eq(bm_buf_rd(&c.cert), p->cert.whole) || c.device_id == 0)
        return BM_NOTFOUND;
    rc = bm_device_by_id(k->store, c.device_id, &ret->device, e);
    if (rc != BM_OK)
        return rc == BM_NOTFOUND ? bm_wrap(e, BM_IO, "registry: credential without device") : rc;
    ret->credential = c;
    c = (struct bm_credential){ 0 };
    return BM_OK;
}

/* A stranger. When it goes by the name of a device we know, that is a copy of a genuine one, and is called so. */
static enum bm_rc refuse_stranger(struct bm_keeper *k, const struct bm_enrol *c, const struct presented *p, struct bm_error *e)
{
    uint8_t name[BM_UDID_LEN];
    int64_t id, batch;
    enum bm_rc rc;

    if (goes_by(c, p, name) && memcmp(name, p->udid, sizeof name) != 0) {
        rc = bm_device_peek(k->store, name, &id, &batch, e);
        if (rc == BM_OK)
            return bm_refuse(e, BM_DENIED, "udid-mismatch",
                             "the device claims the UDID of a registered device but holds another key: a copy");
        if (rc != BM_NOTFOUND)
            return rc;
    }
    if (c->reenrol && c->evidence.kind == BM_EVIDENCE_TLS && p->cert.whole.n == 0)
        return bm_refuse(e, BM_DENIED, "raw-key-not-registered",
                         "a raw public key stands for a device only when it is the one registered; to renew, show the certificate "
                         "to be renewed");
    return bm_refuse(e, BM_DENIED, "unknown-device", "no device with this key is registered; was its manifest imported?");
}

static enum bm_rc identify(struct bm_keeper *k, const struct bm_enrol *c, const struct presented *p, int64_t now,
                           struct bm_proven *ret, struct bm_error *e)
{
    bool self_issued = p->cert.whole.n == 0 || bm_rd_eq(p->cert.issuer, p->cert.subject);
    int64_t org_id;
    enum bm_rc rc;

    if (!self_issued) {
        rc = find_credential(k, p, ret, e);
        if (rc != BM_NOTFOUND)
            return rc;
    }
    rc = bm_device_get(k->store, p->udid, &ret->device, e);
    if (rc == BM_NOTFOUND)
        return refuse_stranger(k, c, p, e);
    if (rc != BM_OK || self_issued)
        return rc;
    rc = bm_evidence_chain(k, BM_TRUST_BIRTH, &c->evidence, &p->cert, now, &org_id, e);
    ret->birth_certificate = rc == BM_OK;
    return rc;
}

enum bm_rc bm_evidence_shown(struct bm_keeper *k, uint8_t op, const struct bm_enrol *c, int64_t now, struct bm_proven *ret,
                             struct bm_rd *ret_spki, struct bm_error *e)
{
    struct bm_error lost = { 0 };
    struct presented p;
    enum bm_rc rc = present(&c->evidence, &p, e);

    if (rc == BM_OK && c->evidence.challenge.n != 0)
        rc = check_signed_challenge(k, op, c, p.spki, now, e);
    else if (rc == BM_OK && c->evidence.cert.n == 0 && c->evidence.handshake.n == 0)
        rc = bm_refuse(e, BM_DENIED, "key-unproven", "a key alone proves nothing: sign a challenge with it");
    else if (rc == BM_OK)
        rc = bm_keeper_check_handshake(k, &c->evidence, e);
    if (rc != BM_OK)
        return rc;
    ret->subject = p.cert.subject;
    *ret_spki = p.spki;
    rc = identify(k, c, &p, now, ret, &lost);
    if (rc != BM_OK && e != NULL)
        *e = lost;
    return rc != BM_OK && strcmp(lost.code, "unknown-device") == 0 ? BM_NOTFOUND : rc;
}

static enum bm_rc check_claim(const struct bm_enrol *c, const struct bm_proven *who, struct bm_error *e)
{
    if (c->claimed_udid.n != 0 && memcmp(c->claimed_udid.p, who->device.udid, BM_UDID_LEN) != 0)
        return bm_refuse(e, BM_DENIED, "udid-mismatch", "the device claims one UDID and proves to be another");
    return BM_OK;
}

enum bm_rc bm_evidence_judge(struct bm_keeper *k, uint8_t op, const struct bm_enrol *c, int64_t now, struct bm_proven *ret,
                             struct bm_error *e)
{
    struct presented p;
    enum bm_rc rc;

    if (c->evidence.kind == BM_EVIDENCE_CODE || c->evidence.kind == BM_EVIDENCE_HOOK) {
        rc = (c->evidence.kind == BM_EVIDENCE_CODE ? bm_code_judge : bm_hook_judge)(k, op, c, now, ret, e);
        return rc == BM_OK ? check_claim(c, ret, e) : rc;
    }
    if (c->evidence.kind == BM_EVIDENCE_MAC)
        return bm_evidence_mac(k, op, c, now, ret, e);
    if (c->evidence.kind == BM_EVIDENCE_ATTESTED) {
        rc = bm_evidence_attested(k, c, now, ret, e);
        return rc == BM_OK ? check_claim(c, ret, e) : rc;
    }
    rc = present(&c->evidence, &p, e);
    if (rc == BM_OK && c->evidence.kind == BM_EVIDENCE_NONE && !c->evidence.proven)
        rc = bm_refuse(e, BM_DENIED, "no-evidence", "show who you are: a TLS client certificate or a signed challenge");
    if (rc == BM_OK && c->evidence.kind == BM_EVIDENCE_TLS)
        rc = bm_keeper_check_handshake(k, &c->evidence, e);
    if (rc == BM_OK && c->evidence.kind == BM_EVIDENCE_CHALLENGE)
        rc = check_signed_challenge(k, op, c, p.spki, now, e);
    if (rc == BM_OK)
        rc = identify(k, c, &p, now, ret, e);
    if (rc != BM_OK)
        return rc;
    ret->subject = p.cert.subject;
    return check_claim(c, ret, e);
}

/* By its certificate if that is one of ours, else by the name it gives itself, else by its key: so that the story of a device also tells of
 * what was refused to its LDevID and to its copies. */
bool bm_evidence_udid(struct bm_keeper *k, const struct bm_enrol *c, uint8_t ret[BM_UDID_LEN])
{
    BM_CLEANUP(bm_proven_done) struct bm_proven who = { 0 };
    struct presented p = { 0 };
    bool known = present(&c->evidence, &p, NULL) == BM_OK;

    if (known && p.cert.whole.n != 0 && find_credential(k, &p, &who, NULL) == BM_OK) {
        memcpy(ret, who.device.udid, BM_UDID_LEN);
        return true;
    }
    if (goes_by(c, &p, ret))
        return true;
    memcpy(ret, p.udid, known ? BM_UDID_LEN : 0);
    return known || bm_code_udid(c, ret);
}
