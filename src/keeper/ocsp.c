/* OCSP, RFC 6960: each issuing CA has a delegated responder (delegate.c). Only what is in the registry is "good"; a serial number that its CA never gave
 * out is "unknown" (section 2.2). */
#include "keeper/revocation.h"

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

    if (rc == BM_OK)
        rc = bm_delegate_ready(k, a, &bm_delegate_ocsp, &a->responder, by, now, e);
    if (rc != BM_OK)
        return rc;
    r->key = a->responder.key;
    r->cert = &a->responder.cert;
    r->with_cert = true;
    r->this_update = now;
    r->next_update = now + BM_OCSP_LIFE_S < a->responder.cert.not_after ? now + BM_OCSP_LIFE_S : a->responder.cert.not_after;
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
