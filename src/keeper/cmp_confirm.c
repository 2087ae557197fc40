/* certConf: the device says whether it takes the certificate. RFC 9483 section 4.1.1, RFC 9810 section 5.3.18. And what becomes of one that
 * nobody has confirmed. */
#include "keeper/cmp.h"

enum { CESSATION_OF_OPERATION = 5 }; /* RFC 5280 section 5.3.1 */

static enum bm_rc check_state(enum bm_cmp_state is, enum bm_cmp_state wanted, struct bm_error *e)
{
    if (is == wanted)
        return BM_OK;
    if (wanted == BM_CMP_WAITS || is == BM_CMP_WAITS)
        return bm_refuse(e, BM_DENIED, "cmp-request", "a request that waits is asked about, and a certificate is confirmed");
    return bm_refuse(e, BM_DENIED, "cmp-confirmed", "this transaction is over: the certificate has been confirmed or refused");
}

enum bm_rc bm_cmp_transaction(struct bm_cmp_job *j, enum bm_cmp_state state, struct bm_cmp_row *ret, struct bm_error *e)
{
    enum bm_rc rc = bm_cmp_row_find(j->k->store, j->digest, ret, e);

    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_DENIED, "cmp-request", "no transaction with this transactionID waits here for anything");
    if (rc != BM_OK)
        return rc;
    if ((ret->who[0] & 1) != j->by_mac)
        return bm_refuse(e, BM_DENIED, "cmp-integrity",
                         "a transaction is protected by a secret or by signatures, from its beginning to its end");
    if (memcmp(ret->who, j->who, sizeof ret->who) != 0)
        return bm_refuse(e, BM_DENIED, "cmp-authority", "a transaction goes on under the certificate that it began with");
    rc = check_state(ret->state, state, e);
    if (rc == BM_OK && !bm_rd_eq(j->m.h.recip_nonce, bm_rd_of(ret->nonce, sizeof ret->nonce)))
        return bm_refuse(e, BM_DENIED, "cmp-recipient-nonce", "recipNonce is not the nonce of our last answer");
    return rc;
}

static enum bm_rc check_status(const struct bm_cmp_job *j, const struct bm_cmp_row *row, const struct bm_cmp_confirm *c,
                               struct bm_error *e)
{
    if (c->n != 1)
        return bm_refuse(e, BM_DENIED, "cmp-request", "one certificate was issued, so one is confirmed");
    if (c->req_id != row->req_id && (row->req_id != -1 || c->req_id != 0)) /* some clients count that of a p10cr as 0 */
        return bm_refuse(e, BM_DENIED, "cmp-request", "certReqId is not the one of our answer");
    if (c->status > BM_CMP_REJECTION || (c->status != BM_CMP_REJECTION && c->has_fail))
        return bm_refuse(e, BM_DENIED, "cmp-request", "a certificate is accepted without failInfo, or rejected");
    if (c->hash_alg.n != 0 && j->m.h.pvno < 3)
        return bm_refuse(e, BM_DENIED, "cmp-certificate", "hashAlg comes with CMP version 3");
    return BM_OK;
}

static enum bm_rc take_back(struct bm_keeper *k, const struct bm_credential *cr, const char *why, int64_t now, struct bm_error *e)
{
    if (strcmp(cr->state, "active") != 0) /* somebody has revoked it before */
        return BM_OK;
    return bm_cmp_take_back(k, cr, CESSATION_OF_OPERATION, why, now, e);
}

static enum bm_rc settle(struct bm_cmp_job *j, const struct bm_cmp_row *row, const struct bm_cmp_confirm *c, struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential cr = { 0 };
    bool rejected = c->n == 0 || c->status == BM_CMP_REJECTION;
    struct bm_cert cert;
    enum bm_rc rc = bm_credential_get(j->k->store, row->serial, &cr, e);

    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&cr.cert), &cert, e);
    if (rc == BM_OK && c->n != 0 && !bm_cmp_hash_fits(c, &cert))
        rc = bm_refuse(e, BM_DENIED, "cmp-certificate", "certHash is not the hash of the certificate that was issued");
    if (rc != BM_OK)
        return rc;
    j->lost = true;
    if (rejected)
        rc = take_back(j->k, &cr, "the device rejected it", j->now, e);
    if (rc == BM_OK)
        rc = bm_cmp_row_set(j->k->store, row->id, rejected ? BM_CMP_REFUSED : BM_CMP_CONFIRMED,
                            row->for_good ? INT64_MAX : row->expires_at, e);
    return rc;
}

enum bm_rc bm_cmp_certconf(struct bm_cmp_job *j, struct bm_derw *w, struct bm_error *e)
{
    struct bm_cmp_confirm c;
    struct bm_cmp_row row;
    enum bm_rc rc = bm_cmp_confirm_parse(j->m.content, &c, e);

    if (rc == BM_OK)
        rc = bm_cmp_transaction(j, BM_CMP_ISSUED, &row, e);
    if (rc == BM_OK && c.n != 0) /* none at all: all are rejected */
        rc = check_status(j, &row, &c, e);
    if (rc == BM_OK)
        rc = settle(j, &row, &c, e);
    bm_cmp_put_empty(w, BM_CMP_PKICONF);
    return rc;
}

/* --- nobody confirmed it ------------------------------------------------------------------------------------------------------------------ */
/* It stays good, unless the product says otherwise: our pkiConf, or the device's certConf, may have been lost on the way. */
static enum bm_rc policy_revokes(struct bm_keeper *k, const struct bm_credential *cr, bool *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    struct bm_line *l;
    enum bm_rc rc = bm_device_by_id(k->store, cr->device_id, &d, e);

    *ret = false;
    if (rc == BM_OK && d.batch_id != 0)
        rc = bm_line_get(k, d.batch_id, &l, e);
    else
        return rc;
    *ret = rc == BM_OK && l->policy.revoke_unconfirmed;
    return rc == BM_IO || rc == BM_NOMEM ? rc : BM_OK; /* its CA may be revoked by now, and so it is itself */
}

static enum bm_rc unconfirmed(struct bm_keeper *k, const struct bm_cmp_row *row, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential cr = { 0 };
    bool revokes = false;
    enum bm_rc rc = bm_credential_get(k->store, row->serial, &cr, e);

    if (rc == BM_OK)
        rc = policy_revokes(k, &cr, &revokes, e);
    if (rc == BM_OK && revokes)
        rc = take_back(k, &cr, "the device did not confirm it", now, e);
    return rc;
}

static enum bm_rc finish(struct bm_keeper *k, const struct bm_cmp_row *row, int64_t now, struct bm_error *e)
{
    enum bm_rc rc = row->state == BM_CMP_ISSUED ? unconfirmed(k, row, now, e) : BM_OK;

    if (row->state == BM_CMP_WAITS)
        rc = bm_cmp_kept_drop(k->store, row->id, e);
    if (rc != BM_OK)
        return rc;
    return row->for_good ? bm_cmp_row_set(k->store, row->id, BM_CMP_REFUSED, INT64_MAX, e) : bm_cmp_row_drop(k->store, row->id, e);
}

/* What is due: a transaction, or else a code. BM_NOTFOUND: nothing. */
static enum bm_rc step(struct bm_keeper *k, int64_t now, bool dry, struct bm_error *e)
{
    struct bm_cmp_row row;
    int64_t code;
    enum bm_rc rc = bm_cmp_row_due(k->store, now, &row, e);

    if (rc != BM_NOTFOUND)
        return rc == BM_OK && !dry ? finish(k, &row, now, e) : rc;
    rc = bm_cmp_code_due(k->store, now, &code, e);
    return rc == BM_OK && !dry ? bm_cmp_forget_code(k, code, e) : rc;
}

static enum bm_rc look(struct bm_keeper *k, int64_t now, struct bm_error *e)
{
    return step(k, now, true, e);
}

static enum bm_rc finish_one(struct bm_keeper *k, int64_t now, struct bm_error *e)
{
    return step(k, now, false, e);
}

const struct bm_chore bm_chore_cmp = { "cmp", "end the transactions that are over", look, finish_one };
