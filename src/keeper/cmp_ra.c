/* Registration authorities, RFC 9483 section 5: who puts devices' messages into messages of its own (5.2.2), and who asks (5.2.3) or revokes
 * (5.3.2) in a device's name. All have to be trusted by an organisation, 'org trust --purpose ra', and in whose name they ask has to be that
 * organisation's device at this moment. */
#include "keeper/brski.h"
#include "keeper/cmp.h"
#include "keeper/ownership.h"

enum { NESTED_MAX = 8 };

/* --- is it one? ----------------------------------------------------------------------------------------------------------------------- */
/* One of our own making may have been revoked. */
static bool is_revoked(const struct bm_cmp_job *j)
{
    struct bm_revoked row;

    return j->signer.serial.n == BM_SERIAL_LEN && bm_credential_peek(j->k->store, j->signer.serial.p, &row, NULL) == BM_OK &&
           strcmp(row.state, "active") != 0;
}

enum bm_rc bm_cmp_see_ra(struct bm_cmp_job *j, struct bm_error *e)
{
    const struct bm_cert *c = &j->signer;
    struct bm_error why = { 0 };
    int64_t org_id;
    enum bm_rc rc;

    if (c->whole.n == 0 || !bm_is_registrar_cert(c) || j->now < c->not_before || j->now > c->not_after || is_revoked(j))
        return BM_OK;
    rc = bm_evidence_chain(j->k, BM_TRUST_RA, &j->c.evidence, c, j->now, &org_id, &why);
    if (rc == BM_DENIED && !bm_maker_refusal(&why)) /* nobody here trusts it for that: one like any other */
        return BM_OK;
    if (rc != BM_OK) {
        *e = why;
        return rc;
    }
    j->ra_org = org_id;
    j->c.evidence = (struct bm_evidence){ .kind = BM_EVIDENCE_NONE }; /* of a device it is none */
    return BM_OK;
}

/* --- in a device's name ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc find_device(struct bm_cmp_job *j, struct bm_rd subject, struct bm_device *ret, struct bm_error *e)
{
    static const struct bm_rd oid_cn = BM_LIT("\x55\x04\x03");
    struct bm_rd cn;
    enum bm_rc rc = BM_NOTFOUND;

    if (bm_name_find(subject, oid_cn, &cn) && bm_unhex(cn, j->udid, sizeof j->udid))
        rc = bm_device_get(j->k->store, j->udid, ret, e);
    if (rc == BM_NOTFOUND || (rc == BM_OK && ret->spki.n == 0))
        return bm_refuse(
            e, BM_DENIED, "cmp-template",
            "a registration authority names the device: the subject's common name is the UDID of one that is registered "
            "with a key");
    return rc;
}

/* It speaks for what its organisation owns at this moment. */
static enum bm_rc check_owner(struct bm_cmp_job *j, const struct bm_device *d, struct bm_error *e)
{
    int64_t owner = 0;
    enum bm_rc rc;

    j->c.claimed_udid = bm_rd_of(j->udid, sizeof j->udid);
    rc = bm_owner_of(j->k, d, &owner, e);
    if (rc == BM_OK && owner != j->ra_org)
        rc = bm_refuse(e, BM_DENIED, "cmp-not-ra", "this registration authority is trusted for devices of another organisation");
    return rc;
}

enum bm_rc bm_cmp_speaks_for(struct bm_cmp_job *j, int64_t device_id, struct bm_error *e)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    enum bm_rc rc = bm_device_by_id(j->k->store, device_id, &d, e);

    if (rc != BM_OK)
        return rc;
    memcpy(j->udid, d.udid, sizeof j->udid);
    return check_owner(j, &d, e);
}

/* Its word stands for the device's own proof. */
enum bm_rc bm_cmp_vouched(struct bm_cmp_job *j, struct bm_rd subject, struct bm_error *e)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    enum bm_rc rc = find_device(j, subject, &d, e);

    if (rc == BM_OK)
        rc = check_owner(j, &d, e);
    if (rc != BM_OK)
        return rc;
    j->spki.n = 0;
    j->spki.max = BM_SPKI_MAX;
    bm_buf_put(&j->spki, d.spki.p, d.spki.n);
    j->c.evidence.spki = bm_buf_rd(&j->spki);
    j->c.evidence.proven = true;
    return bm_buf_check(&j->spki, e);
}

/* Who asked is not who got it, so the log says both. */
enum bm_rc bm_cmp_record_vouched(struct bm_cmp_job *j, const char *revoked, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char udid[2 * BM_UDID_LEN + 1], ra[65];
    uint8_t digest[32];

    bm_udid_of(j->signer.whole, digest); /* SHA-256 all the same */
    bm_hex(digest, sizeof digest, ra);
    bm_hex(j->udid, sizeof j->udid, udid);
    fields = json_pack("{s:s, s:s, s:I, s:s, s:s*}", "udid", udid, "ra_sha256", ra, "org", (json_int_t)j->ra_org, "correlation",
                       j->in.correlation, "revoked", revoked);
    return bm_record(j->k, j->now, "cmp.vouched", fields, e);
}

/* --- messages in messages ------------------------------------------------------------------------------------------------------------------ */
static bool same(struct bm_rd a, struct bm_rd b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Section 5.2.2.1: around one message, the header says whose transaction it is. Some authorities repeat its generalInfo. */
static enum bm_rc check_added(const struct bm_cmp_header *outer, const struct bm_cmp_header *h, struct bm_error *e)
{
    if (!same(outer->tid, h->tid))
        return bm_refuse(e, BM_DENIED, "cmp-request", "around one message, transactionID is that of the message");
    if (!same(outer->sender_nonce, h->sender_nonce))
        return bm_refuse(e, BM_DENIED, "cmp-sender-nonce", "around one message, senderNonce is that of the message");
    if (!same(outer->recip_nonce, h->recip_nonce))
        return bm_refuse(e, BM_DENIED, "cmp-recipient-nonce", "around one message, recipNonce is that of the message");
    if (outer->implicit_confirm && !h->implicit_confirm)
        return bm_refuse(e, BM_DENIED, "cmp-request", "implicitConfirm belongs into a request for a certificate");
    return BM_OK;
}

/* Section 5.2.2.2: each of several is a transaction of its own, and so is the message around them. */
static enum bm_rc check_apart(const struct bm_cmp_header *a, const struct bm_cmp_header *b, struct bm_error *e)
{
    if (same(a->tid, b->tid))
        return bm_refuse(e, BM_DENIED, "cmp-request", "messages in one message have transactionIDs of their own");
    if (same(a->sender_nonce, b->sender_nonce))
        return bm_refuse(e, BM_DENIED, "cmp-sender-nonce", "messages in one message have senderNonces of their own");
    return BM_OK;
}

static enum bm_rc check_batch(const struct bm_cmp_header *outer, const struct bm_cmp *m, size_t n, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    if (outer->recip_nonce.n != 0)
        return bm_refuse(e, BM_DENIED, "cmp-recipient-nonce", "a message around several answers nothing, so it has no recipNonce");
    if (outer->implicit_confirm)
        return bm_refuse(e, BM_DENIED, "cmp-request", "implicitConfirm belongs into a request for a certificate");
    for (size_t i = 0; rc == BM_OK && i < n; i++) {
        rc = check_apart(outer, &m[i].h, e);
        for (size_t k = 0; rc == BM_OK && k < i; k++)
            rc = check_apart(&m[k].h, &m[i].h, e);
    }
    return rc;
}

static enum bm_rc read_inner(struct bm_cmp_job *j, struct bm_rd *der, struct bm_cmp *m, size_t *ret_n, struct bm_error *e)
{
    enum bm_rc rc = bm_cmp_nested_parse(j->m.content, der, NESTED_MAX, ret_n, e);

    for (size_t i = 0; rc == BM_OK && i < *ret_n; i++) {
        rc = bm_cmp_parse(der[i], &m[i], e);
        if (rc == BM_OK && m[i].type == BM_CMP_NESTED)
            rc = bm_refuse(e, BM_DENIED, "cmp-request", "a message in a message holds no further one");
    }
    if (rc != BM_OK)
        return rc;
    return *ret_n == 1 ? check_added(&j->m.h, &m[0].h, e) : check_batch(&j->m.h, m, *ret_n, e);
}

/* As if it had come alone: what it is worth is up to its own protection. */
static enum bm_rc answer_one(struct bm_cmp_job *j, struct bm_rd der, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_cmp_job_done) struct bm_cmp_job one = { .k = j->k, .now = j->now, .in = j->in };
    enum bm_rc rc;

    one.in.body = der;
    one.in.what = bm_rd_of(NULL, 0);
    rc = bm_cmp_run(&one, out, e);
    memcpy(j->code, one.code, sizeof j->code);
    return rc;
}

enum bm_rc bm_cmp_nested(struct bm_cmp_job *j, struct bm_derw *w, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf all = { .max = BM_CMP_ANSWER_MAX };
    struct bm_rd der[NESTED_MAX];
    struct bm_cmp m[NESTED_MAX];
    size_t n;
    enum bm_rc rc;

    if (j->ra_org == 0)
        return bm_refuse(e, BM_DENIED, "cmp-not-ra", "only a registration authority that is trusted puts messages into its own");
    rc = read_inner(j, der, m, &n, e);
    if (rc != BM_OK)
        return rc;
    j->lost = true; /* all of it, or nothing */
    j->whole.max = BM_CMP_ANSWER_MAX;
    if (n == 1) /* section 5.2.2.1: the answer is the one to the message itself */
        return answer_one(j, der[0], &j->whole, e);
    for (size_t i = 0; rc == BM_OK && i < n; i++)
        rc = answer_one(j, der[i], &all, e);
    j->code[0] = '\0';
    bm_cmp_put_nested(w, bm_buf_rd(&all));
    return rc;
}
