/* Finalizing an order (RFC 8555 section 7.4): the request's key gets its certificate by the same way as at every other door. */
#include "keeper/acme.h"

#include "base/text.h"
#include "pki/attest.h"

#include <stdio.h>

/* --- the certificate request ------------------------------------------------------------------------------------------------------------ */
static enum bm_rc bad_csr(struct bm_error *e, const char *what)
{
    return bm_refuse(e, BM_MALFORMED, "acme-csr", "certificate request: %.180s", what);
}

static bool decode(const json_t *v, struct bm_buf *ret)
{
    return json_is_string(v) && bm_unbase64url(bm_rd_of(json_string_value(v), json_string_length(v)), ret, NULL) == BM_OK;
}

/* Section 11.1: an account's key is for its account alone. Where the attestation spoke for a key, it must be this one. */
static enum bm_rc check_key(const struct bm_acme *a, const struct bm_acme_work *w, const struct bm_csr *csr, struct bm_error *e)
{
    const char *want = json_string_value(json_object_get(json_object_get(w->doc, "who"), "key"));
    char hex[65];
    uint8_t digest[32];

    bm_udid_of(csr->spki, digest);
    bm_hex(digest, sizeof digest, hex);
    if (bm_rd_eq(csr->spki, bm_buf_rd(&a->account.spki)))
        return bad_csr(e, "it is for the account's own key");
    if (want != NULL && want[0] != '\0' && strcmp(want, hex) != 0)
        return bad_csr(e, "it is for another key than the one that was attested");
    return BM_OK;
}

static enum bm_rc check_csr(const struct bm_acme *a, const struct bm_acme_work *w, struct bm_rd der, struct bm_csr *ret,
                            struct bm_error *e)
{
    struct bm_error why = { 0 };
    enum bm_rc rc = bm_csr_parse(der, ret, &why);

    if (rc == BM_OK)
        rc = bm_csr_verify(ret, &why);
    if (rc != BM_OK)
        return bad_csr(e, why.what);
    rc = check_key(a, w, ret, e);
    return rc == BM_OK ? bm_acme_identifiers_fit(json_object_get(w->doc, "ids"), ret, e) : rc;
}

/* --- issuing ------------------------------------------------------------------------------------------------------------------------------ */
struct asking {
    struct bm_enrol enrol;
    struct bm_buf certs[BM_ATTEST_CERTS_MAX], spki, csr;
    uint8_t udid[BM_UDID_LEN];
};

static void asking_done(struct asking *q)
{
    for (size_t i = 0; i < BM_COUNT(q->certs); i++)
        bm_buf_done(&q->certs[i]);
    bm_buf_done(&q->spki);
    bm_buf_done(&q->csr);
}

static bool fill_evidence(const json_t *who, struct asking *q)
{
    const json_t *certs = json_object_get(who, "certs");
    struct bm_evidence *v = &q->enrol.evidence;
    size_t n = json_array_size(certs);

    q->spki.max = BM_SPKI_MAX;
    if (n > BM_ATTEST_CERTS_MAX || !decode(json_object_get(who, "spki"), &q->spki))
        return false;
    for (size_t i = 0; i < n; i++) {
        q->certs[i].max = BM_CERT_MAX;
        if (!decode(json_array_get(certs, i), &q->certs[i]))
            return false;
        if (i == 0)
            v->cert = bm_buf_rd(&q->certs[i]);
        else
            v->chain[v->n_chain++] = bm_buf_rd(&q->certs[i]);
    }
    v->spki = bm_buf_rd(&q->spki);
    v->kind = json_is_true(json_object_get(who, "attested")) ? BM_EVIDENCE_ATTESTED : BM_EVIDENCE_NONE;
    v->proven = true;
    return true;
}

/* As EST or Onboard would hand it over: evidence that the keeper has verified, and a key that its holder has signed with. */
static enum bm_rc fill(struct bm_acme *a, const struct bm_acme_work *w, struct asking *q, struct bm_error *e)
{
    const json_t *who = json_object_get(w->doc, "who");
    const char *udid = json_string_value(json_object_get(who, "udid"));
    struct bm_csr csr;
    enum bm_rc rc;

    q->csr.max = BM_CSR_MAX;
    snprintf(q->enrol.protocol, sizeof q->enrol.protocol, "acme");
    memcpy(q->enrol.correlation, a->ask->correlation, sizeof q->enrol.correlation);
    memcpy(q->enrol.peer, a->ask->peer, sizeof q->enrol.peer);
    if (udid == NULL || !bm_unhex(bm_rd_str(udid), q->udid, sizeof q->udid) || !fill_evidence(who, q) ||
        !decode(json_object_get(w->doc, "csr"), &q->csr))
        return bm_fail(e, BM_IO, "registry: order %lld lacks what its authorizations have shown", (long long)w->row.id);
    rc = bm_csr_parse(bm_buf_rd(&q->csr), &csr, e);
    if (rc != BM_OK)
        return rc;
    memcpy(a->udid, q->udid, sizeof a->udid);
    a->has_udid = true;
    q->enrol.claimed_udid = bm_rd_of(q->udid, sizeof q->udid);
    q->enrol.n_requests = 1;
    q->enrol.requests[0].service = bm_rd_str(json_string_value(json_object_get(w->doc, "service")));
    q->enrol.requests[0].spki = csr.spki;
    return BM_OK;
}

/* The device may have changed hands since it showed itself. */
static enum bm_rc check_binding(struct bm_acme *a, const struct asking *q, struct bm_error *e)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    struct bm_acme_eab eab;
    enum bm_rc rc = bm_acme_eab_of(a, &eab, e);

    if (rc == BM_OK)
        rc = bm_device_get(a->k->store, q->udid, &d, e);
    return rc == BM_OK ? bm_acme_eab_covers(a->k, &eab, &d, e) : rc;
}

/* The certificate is written; from here on only the disk may fail. */
static enum bm_rc finish(struct bm_acme *a, struct bm_acme_work *w, struct bm_error *e)
{
    w->row.drop_at = a->now + BM_ACME_CERT_KEPT_S;
    json_object_del(w->doc, "who"); /* what was shown has served its purpose */
    json_object_del(w->doc, "csr");
    bm_acme_work_status(w, "valid");
    return bm_acme_work_save(a->k, w, e);
}

static enum bm_rc take(struct bm_acme *a, struct bm_acme_work *w, struct bm_rd enrolled, struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { 0 };
    struct bm_enrolled got;
    struct bm_cert cert;
    enum bm_rc rc = bm_enrolled_parse(enrolled, &got, e);

    if (rc == BM_OK)
        rc = bm_cert_parse(got.credentials[0].cert, &cert, e);
    if (rc == BM_OK)
        rc = bm_credential_get(a->k->store, cert.serial.p, &c, e);
    if (rc != BM_OK)
        return bm_wrap(e, BM_IO, "the certificate just issued");
    w->row.credential_id = c.id;
    return finish(a, w, e);
}

/* The binding as it is now, and not as it was when the order was made. */
static enum bm_rc issue_names(struct bm_acme *a, struct bm_acme_work *w, struct bm_rd spki, struct bm_error *e)
{
    struct bm_acme_eab eab;
    int is_for;
    enum bm_rc rc = bm_acme_eab_of(a, &eab, e);

    for (int64_t i = 0; rc == BM_OK && bm_acme_authz(w, i) != NULL; i++) {
        struct bm_acme_identifier id = bm_acme_identifier_of(w, i);

        rc = bm_acme_identifier_check(&id, &eab, &is_for, e);
    }
    if (rc == BM_OK)
        rc = bm_acme_issue_names(a, w, &eab, spki, e);
    return rc == BM_OK ? finish(a, w, e) : rc;
}

enum bm_rc bm_acme_issue(struct bm_acme *a, struct bm_acme_work *w, struct bm_error *e)
{
    BM_CLEANUP(asking_done) struct asking q = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = BM_COMMAND_MAX };
    enum bm_rc rc = fill(a, w, &q, e);

    if (rc == BM_OK)
        rc = check_binding(a, &q, e);
    if (rc != BM_OK)
        return rc;
    rc = bm_judge_enrol(a->k, &q.enrol, a->now, &out, e);
    a->recorded = rc != BM_OK;
    if (rc == BM_OK)
        return take(a, w, bm_buf_rd(&out), e);
    if (rc != BM_AGAIN || !bm_refusal_waits(e->code))
        return rc;
    if (bm_acme_work_is(w, "processing"))
        return BM_OK;
    bm_acme_work_status(w, "processing");
    w->row.drop_at = a->now + BM_ACME_CERT_KEPT_S;
    return bm_acme_work_save(a->k, w, e);
}

enum bm_rc bm_acme_finalize(struct bm_acme *a, struct bm_error *e)
{
    BM_CLEANUP(bm_acme_work_done) struct bm_acme_work w = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CSR_MAX };
    const json_t *given;
    struct bm_csr csr;
    int64_t id;
    enum bm_rc rc = bm_acme_numbers(a->ask->label, &id, 1, e);

    if (rc == BM_OK)
        rc = bm_acme_some_payload(a, e);
    if (rc == BM_OK)
        rc = bm_acme_work_load(a, id, &w, e);
    if (rc == BM_OK && !bm_acme_work_is(&w, "ready"))
        rc = bm_refuse(e, BM_DENIED, "acme-order-state", "the order is %s, and only a ready one can be finalized", w.row.status);
    given = json_object_get(a->jws.body, "csr");
    if (rc == BM_OK && !decode(given, &der))
        rc = bad_csr(e, "\"csr\" is missing, too long, or no base64url");
    if (rc == BM_OK)
        rc = check_csr(a, &w, bm_buf_rd(&der), &csr, e);
    if (rc != BM_OK)
        return rc;
    json_object_set(w.doc, "csr", (json_t *)(uintptr_t)given);
    rc = bm_acme_for_names(bm_acme_identifier_of(&w, 0).type) ? issue_names(a, &w, csr.spki, e) : bm_acme_issue(a, &w, e);
    if (rc == BM_OK)
        bm_acme_tell_order(a, &w, 200);
    return rc;
}
