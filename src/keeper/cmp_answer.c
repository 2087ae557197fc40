/* The message around an answer's body: from whom, protected how. RFC 9483 section 3.1 to 3.3. */
#include "keeper/cmp.h"
#include "keeper/revocation.h"

enum bm_rc bm_cmp_authority(struct bm_cmp_job *j, struct bm_authority **ret, struct bm_issuer **ret_by, struct bm_error *e)
{
    struct bm_rd names[] = { j->issuer, j->m.h.recipient_name };
    struct bm_revocation *r;
    uint8_t digest[32];
    enum bm_rc rc = bm_authorities(j->k, &r, e);

    for (size_t i = 0; rc == BM_OK && i < BM_COUNT(names); i++) {
        if (names[i].n == 0)
            continue;
        bm_udid_of(names[i], digest); /* SHA-256 all the same */
        *ret = bm_authority_of(r, digest);
        if (*ret != NULL && bm_issuer_get(j->k, (*ret)->ca_id, ret_by, NULL) == BM_OK)
            return BM_OK;
    }
    if (rc == BM_OK)
        rc = bm_issuer_default(j->k, ret_by, e);
    if (rc != BM_OK)
        return rc;
    *ret = bm_authority_by_id(r, (*ret_by)->row.id);
    return *ret != NULL ? BM_OK : bm_fail(e, BM_BUG, "CA '%s' has nobody to speak for it", (*ret_by)->row.name);
}

/* The signer's certificate comes first (RFC 9483 section 3.3). */
static enum bm_rc protect_by_signature(struct bm_cmp_job *j, struct bm_authority *from, struct bm_issuer *by,
                                       struct bm_cmp_answer *a, struct bm_error *e)
{
    const struct bm_delegate *d = &from->cmp;
    enum bm_rc rc = bm_delegate_ready(j->k, from, &bm_delegate_cmp, &from->cmp, by, j->now, e);

    if (rc != BM_OK)
        return rc;
    a->sender = d->cert.subject;
    a->sender_kid = d->cert.skid;
    a->key = d->key;
    a->certs[a->n_certs++] = bm_buf_rd(&d->der);
    return BM_OK;
}

/* With the same secret and the same algorithms, under a salt of our own. */
static enum bm_rc protect_by_mac(struct bm_cmp_job *j, const struct bm_issuer *by, struct bm_cmp_answer *a, struct bm_error *e)
{
    a->sender = by->cert.subject;
    a->sender_kid = j->m.h.sender_kid;
    a->mac = &j->mac;
    a->secret = bm_buf_rd(&j->secret);
    return bm_cmp_mac_renew(&j->mac, e);
}

/* recipNonce of an answer that was waited for: RFC 9483 section 3.1 wants the nonce of the request; RFC 4210, that of the last message, which is what
 * clients of that time insist on. So it is the latter in version 2. */
enum bm_rc bm_cmp_answer(struct bm_cmp_job *j, struct bm_rd body, struct bm_buf *out, struct bm_error *e)
{
    struct bm_cmp_answer a = {
        .pvno = j->m.h.pvno == 2 ? 2 : 3, /* RFC 9810 section 7: no version above the request's */
        .recipient = j->m.h.sender,
        .time = j->now,
        .tid = j->m.h.tid,
        .sender_nonce = bm_rd_of(j->nonce, sizeof j->nonce),
        .recip_nonce = j->m.h.pvno == 3 && j->first_nonce.n != 0 ? j->first_nonce : j->m.h.sender_nonce,
        .implicit_confirm = j->implicit_confirm,
        .confirm_until = j->confirm_until,
        .body = body,
    };
    struct bm_authority *from;
    struct bm_issuer *by;
    enum bm_rc rc = bm_cmp_authority(j, &from, &by, e);

    if (rc == BM_OK)
        rc = j->by_mac ? protect_by_mac(j, by, &a, e) : protect_by_signature(j, from, by, &a, e);
    if (rc != BM_OK)
        return rc;
    for (size_t i = 0; i + 1 < by->n_chain; i++) /* up to the root, which the other side has to know */
        a.certs[a.n_certs++] = bm_buf_rd(&by->chain[i]);
    return bm_cmp_write(&a, out, e);
}
