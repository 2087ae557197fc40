/* External account binding (RFC 8555 section 7.3.4): the client shows that it holds a key which the operator gave out for some devices, with a MAC
 * over its own public key. */
#include "keeper/acme.h"
#include "keeper/symmetric.h"

#include "base/text.h"

static enum bm_rc still_good(const struct bm_acme_eab *b, int64_t now, struct bm_error *e)
{
    if (b->revoked_at != 0)
        return bm_refuse(e, BM_DENIED, "acme-eab-revoked", "the binding '%s' has been revoked, and its accounts with it", b->kid);
    if (b->expires_at != 0 && b->expires_at <= now)
        return bm_refuse(e, BM_DENIED, "acme-eab-expired", "the time of the binding '%s' is over", b->kid);
    return BM_OK;
}

/* One answer for a wrong key identifier and a wrong key: there is nothing to be learned by trying. */
static enum bm_rc wrong(struct bm_error *e)
{
    return bm_refuse(e, BM_DENIED, "acme-eab-wrong", "the external account binding was not made with a key of this server");
}

static enum bm_rc check_mac(struct bm_keeper *k, const struct bm_acme_jws *inner, const struct bm_acme_eab *b, struct bm_error *e)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key row = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf secret = { .max = 64 };
    enum bm_rc rc = bm_mac_key_by_id(k->store, b->secret_id, &row, e);

    if (rc == BM_OK)
        rc = bm_mac_open(k, NULL, &row, &secret, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc == BM_NOTFOUND ? BM_IO : rc, "the key of the binding");
    rc = bm_acme_jws_verify_mac(inner, bm_buf_rd(&secret), e);
    return rc == BM_DENIED ? wrong(e) : rc;
}

/* The payload is the account's key, as in the outer "jwk". */
static enum bm_rc check_key(const struct bm_acme *a, const struct bm_acme_jws *inner, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf spki = { .max = BM_SPKI_MAX };
    uint8_t thumbprint[32];
    enum bm_rc rc = bm_jwk_read(inner->body, &spki, e);

    if (rc == BM_OK)
        rc = bm_jwk_thumbprint(bm_buf_rd(&spki), thumbprint, e);
    if (rc == BM_OK && memcmp(thumbprint, a->thumbprint, sizeof thumbprint) != 0)
        rc = bm_refuse(e, BM_DENIED, "acme-eab-wrong", "the external account binding is for another key than the account's");
    return rc;
}

enum bm_rc bm_acme_eab_verify(struct bm_acme *a, struct bm_acme_eab *ret, struct bm_error *e)
{
    const json_t *member = json_object_get(a->jws.body, "externalAccountBinding");
    BM_CLEANUP(bm_acme_jws_done) struct bm_acme_jws inner = { 0 };
    enum bm_rc rc;

    if (member == NULL)
        return bm_refuse(e, BM_DENIED, "acme-eab-needed",
                         "an account needs an external account binding; 'birthmark eab create' makes what it takes");
    rc = bm_acme_jws_of(member, BM_ACME_BINDING, &inner, e);
    if (rc == BM_OK && strcmp(inner.url, a->jws.url) != 0)
        rc = bm_refuse(e, BM_DENIED, "acme-url", "the external account binding was made for another address");
    if (rc == BM_OK)
        rc = strlen(inner.kid) < sizeof ret->kid ? bm_acme_eab_get(a->k->store, inner.kid, ret, e) : BM_NOTFOUND;
    if (rc == BM_NOTFOUND)
        return wrong(e);
    if (rc == BM_OK)
        rc = check_mac(a->k, &inner, ret, e);
    if (rc == BM_OK)
        rc = check_key(a, &inner, e);
    return rc == BM_OK ? still_good(ret, a->now, e) : rc;
}

enum bm_rc bm_acme_eab_of(struct bm_acme *a, struct bm_acme_eab *ret, struct bm_error *e)
{
    enum bm_rc rc = bm_acme_eab_by_id(a->k->store, a->account.eab_id, ret, e);

    return rc == BM_OK ? still_good(ret, a->now, e) : rc == BM_NOTFOUND ? bm_wrap(e, BM_IO, "the account's binding") : rc;
}

enum bm_rc bm_acme_eab_covers(struct bm_keeper *k, const struct bm_acme_eab *b, const struct bm_device *d, struct bm_error *e)
{
    struct bm_line *l = NULL;
    enum bm_rc rc = d->batch_id != 0 ? bm_line_get(k, d->batch_id, &l, e) : BM_OK;

    if (rc != BM_OK)
        return rc;
    if (l != NULL && ((b->batch_id != 0 && b->batch_id == d->batch_id) || (b->product_id != 0 && b->product_id == l->product.id) ||
                      (b->org_id != 0 && b->org_id == (d->owner_id != 0 ? d->owner_id : l->product.org_id))))
        return BM_OK;
    return bm_refuse(e, BM_DENIED, "acme-eab-scope", "the account's binding '%s' is not for this device", b->kid);
}
