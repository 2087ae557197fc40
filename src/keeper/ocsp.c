/* OCSP, RFC 6960: each issuing CA has a delegated responder, whose key never leaves this process's memory and whose certificate lives for
 * days; it is made anew at half of that and at every start. Only what is in the registry is "good"; a serial number that its CA never gave
 * out is "unknown" (section 2.2). */
#include "keeper/revocation.h"

#include <openssl/ec.h>
#include <openssl/rand.h>

/* --- the responder ---------------------------------------------------------------------------------------------------------------- */
static enum bm_rc certify(struct bm_keeper *k, const struct bm_authority *a, struct bm_issuer *by, const struct bm_key *key,
                          int64_t now, struct bm_credential *c, struct bm_error *e)
{
    BM_CLEANUP(bm_profile_freep) struct bm_profile *profile = NULL;
    struct bm_subject_words words = { .org = a->organisation[0] != '\0' ? a->organisation : "Birthmark", .service = a->name };
    struct bm_issue i = {
        .issuer_cert = &by->cert, .spki = bm_key_spki(key), .words = &words, .now = now, .not_after_max = INT64_MAX
    };
    struct bm_cert made;
    enum bm_rc rc = bm_profile_open(k, "ocsp-signing", &profile, e);

    if (rc == BM_OK)
        rc = bm_issuer_key(k, by, e);
    if (rc != BM_OK)
        return rc;
    if (RAND_bytes(i.serial, sizeof i.serial) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    i.profile = profile;
    i.issuer_key = by->key;
    c->cert.max = BM_CERT_MAX;
    rc = bm_cert_issue(&i, &c->cert, &c->not_before, &c->not_after, e);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&c->cert), &made, e);
    if (rc == BM_OK)
        memcpy(c->serial, made.serial.p, BM_SERIAL_LEN);
    return rc;
}

static enum bm_rc write_down(struct bm_keeper *k, struct bm_credential *c, const char *ca, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = json_pack("{s:s}", "ca", ca);
    enum bm_rc rc = bm_credential_put(k->store, c, e);

    if (rc == BM_OK && bm_json_pem(fields, "certificate", bm_buf_rd(&c->cert)) != 0)
        rc = bm_fail(e, BM_NOMEM, "no memory");
    return rc == BM_OK ? bm_record(k, now, "ocsp.certificate", fields, e) : rc;
}

static enum bm_rc new_key(struct bm_key **ret, struct bm_error *e)
{
    EVP_PKEY *evp = EVP_EC_gen("P-256");

    return evp != NULL ? bm_key_of_evp(evp, ret, e) : bm_fail(e, BM_BUG, "the library makes no key");
}

static enum bm_rc new_responder(struct bm_keeper *k, struct bm_authority *a, struct bm_issuer *by, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *key = NULL;
    BM_CLEANUP(bm_credential_done)
    struct bm_credential c = { .ca_id = a->ca_id, .state = "active", .protocol = "internal", .issued_at = now };
    enum bm_rc rc = new_key(&key, e);

    if (rc == BM_OK)
        rc = certify(k, a, by, key, now, &c, e);
    if (rc == BM_OK)
        rc = write_down(k, &c, a->name, now, e);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&c.cert), &a->responder, e); /* the bytes stay where they are */
    if (rc != BM_OK)
        return bm_wrap(e, rc, "OCSP responder of CA '%s'", a->name);
    bm_buf_done(&a->responder_der);
    a->responder_der = c.cert;
    c.cert = (struct bm_buf){ 0 };
    bm_key_free(a->responder_key);
    a->responder_key = BM_MOVE(key);
    return BM_OK;
}

/* Revoked by an administrator like any other certificate, it is replaced as well: its status is looked up with each new epoch. */
static bool responder_good(struct bm_keeper *k, const struct bm_authority *a, int64_t now)
{
    const struct bm_cert *c = &a->responder;
    struct bm_revoked row;

    return a->responder_key != NULL && now >= c->not_before && c->not_after - now > (c->not_after - c->not_before) / 2 &&
           bm_credential_peek(k->store, c->serial.p, &row, NULL) == BM_OK && strcmp(row.state, "active") == 0;
}

/* --- one answer ------------------------------------------------------------------------------------------------------------------- */
/* RFC 6960 section 2.2: "good" only for a certificate that is in the registry, of this very CA. */
static enum bm_rc look_up(struct bm_keeper *k, const struct bm_authority *a, const struct bm_ocsp_id *id,
                          struct bm_ocsp_answer *ret, struct bm_error *e)
{
    const struct bm_revocation *r = k->revocation;
    struct bm_revoked row;
    enum bm_rc rc;

    *ret = (struct bm_ocsp_answer){ .id = id->whole, .status = BM_OCSP_UNKNOWN };
    for (size_t i = 0; i < r->n; i++) {
        const struct bm_authority *below = &r->at[i];

        if (below->parent_id == a->ca_id && bm_rd_eq(bm_rd_of(below->serial, below->serial_len), id->serial)) {
            ret->status = below->revoked ? BM_OCSP_REVOKED : BM_OCSP_GOOD;
            ret->revoked_at = below->revoked_at;
            ret->reason = below->reason;
            return BM_OK;
        }
    }
    if (id->serial.n != BM_SERIAL_LEN)
        return BM_OK;
    rc = bm_credential_peek(k->store, id->serial.p, &row, e);
    if (rc != BM_OK)
        return rc == BM_NOTFOUND ? BM_OK : rc;
    if (row.ca_id != a->ca_id)
        return BM_OK;
    ret->status = strcmp(row.state, "active") == 0 ? BM_OCSP_GOOD : BM_OCSP_REVOKED;
    ret->revoked_at = row.revoked_at;
    ret->reason = row.reason;
    return BM_OK;
}

/* One responder signs the whole response, so all certificates asked about have to be one CA's. */
static enum bm_rc find_authority(struct bm_revocation *r, const struct bm_ocsp_request *q, struct bm_authority **ret,
                                 struct bm_error *e)
{
    struct bm_authority *a = NULL;

    for (size_t i = 0; i < r->n && a == NULL; i++)
        if (bm_ocsp_id_is(&q->ids[0], &r->at[i].issuer))
            a = &r->at[i];
    if (a == NULL)
        return bm_refuse(e, BM_DENIED, "ocsp-not-ours",
                         "no CA here has the issuer hashes of this OCSP request; SHA-1 and SHA-256 are known");
    for (size_t i = 1; i < q->n; i++)
        if (!bm_ocsp_id_is(&q->ids[i], &a->issuer))
            return bm_refuse(e, BM_DENIED, "ocsp-not-ours",
                             "one OCSP request asks about certificates of one CA; send one for each CA");
    *ret = a;
    return BM_OK;
}

static enum bm_rc produce(struct bm_keeper *k, struct bm_authority *a, const struct bm_ocsp_request *q, int64_t now,
                          struct bm_buf *out, struct bm_ocsp_response *r, struct bm_error *e)
{
    struct bm_issuer *by;
    enum bm_rc rc = bm_issuer_get(k, a->ca_id, &by, e);

    if (rc == BM_OK && !responder_good(k, a, now))
        rc = new_responder(k, a, by, now, e);
    if (rc != BM_OK)
        return rc;
    r->key = a->responder_key;
    r->cert = &a->responder;
    r->with_cert = true;
    r->this_update = now;
    r->next_update = now + BM_OCSP_LIFE_S < a->responder.not_after ? now + BM_OCSP_LIFE_S : a->responder.not_after;
    r->nonce = q->nonce;
    for (r->n = 0; rc == BM_OK && r->n < q->n; r->n++)
        rc = look_up(k, a, &q->ids[r->n], &r->answers[r->n], e);
    return rc == BM_OK ? bm_ocsp_response_write(r, out, e) : rc;
}

/* --- answers kept ready ------------------------------------------------------------------------------------------------------------ */
static struct bm_ocsp_ready *slot_of(struct bm_revocation *r, const struct bm_ocsp_id *id)
{
    size_t key = 0;

    for (size_t i = 0; i < id->serial.n; i++) /* random numbers: any four bytes of them spread well */
        key = key << 8 ^ id->serial.p[i];
    return &r->ready[(key * BM_OCSP_HASHES + id->hash) % BM_OCSP_READY_MAX];
}

static bool is_ready(const struct bm_ocsp_ready *s, uint64_t epoch, const struct bm_ocsp_id *id, int64_t now)
{
    return s->epoch == epoch && now >= s->this_update && now < s->this_update + (s->next_update - s->this_update) / 2 &&
           bm_rd_eq(bm_buf_rd(&s->id), id->whole);
}

/* "unknown" is not kept: that serial number may be given out next. */
static void keep(struct bm_ocsp_ready *s, uint64_t epoch, const struct bm_ocsp_response *r, struct bm_rd der)
{
    if (r->answers[0].status == BM_OCSP_UNKNOWN)
        return;
    s->id.n = s->der.n = 0;
    s->id.max = BM_OCSP_REQUEST_MAX;
    s->der.max = BM_OCSP_RESPONSE_MAX;
    bm_buf_put(&s->id, r->answers[0].id.p, r->answers[0].id.n);
    bm_buf_put(&s->der, der.p, der.n);
    s->this_update = r->this_update;
    s->next_update = r->next_update;
    s->epoch = s->id.bad || s->der.bad ? 0 : epoch;
}

static enum bm_rc tell(struct bm_buf *out, struct bm_rd der, int64_t max_age_s, struct bm_error *e)
{
    struct bm_ocsp_told t = { .max_age_s = max_age_s > 0 ? (uint32_t)max_age_s : 0, .der = der };

    bm_ocsp_told_write(out, &t);
    return bm_buf_check(out, e);
}

enum bm_rc bm_run_ocsp(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_OCSP_RESPONSE_MAX };
    struct bm_ocsp_response made = { 0 };
    struct bm_ocsp_request q;
    struct bm_revocation *r;
    struct bm_authority *a;
    struct bm_ocsp_ready *slot;
    enum bm_rc rc = bm_ocsp_request_parse(payload, &q, e);
    bool keepable = rc == BM_OK && q.n == 1 && q.nonce.n == 0;

    if (rc == BM_OK)
        rc = bm_authorities(k, &r, e);
    if (rc != BM_OK)
        return rc;
    slot = slot_of(r, &q.ids[0]);
    if (keepable && is_ready(slot, r->epoch, &q.ids[0], now))
        return tell(out, bm_buf_rd(&slot->der), slot->next_update - now, e);
    rc = find_authority(r, &q, &a, e);
    if (rc == BM_OK)
        rc = produce(k, a, &q, now, &der, &made, e);
    if (rc != BM_OK)
        return rc;
    if (keepable)
        keep(slot, r->epoch, &made, bm_buf_rd(&der));
    return tell(out, bm_buf_rd(&der), keepable && made.answers[0].status != BM_OCSP_UNKNOWN ? made.next_update - now : 0, e);
}
