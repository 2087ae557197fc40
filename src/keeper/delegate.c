/* Who speaks for a CA: OCSP responders and CMP signers. The CA's own key signs certificates and CRLs and nothing that strangers ask for. A
 * delegate's key never leaves this process's memory, and its certificate lives for days; both are made anew at half of that and at every start. */
#include "keeper/revocation.h"

#include <openssl/ec.h>

const struct bm_delegate_kind bm_delegate_ocsp = { "ocsp-signing", "ocsp.certificate", "OCSP responder" };
const struct bm_delegate_kind bm_delegate_cmp = { "cmp-signing", "cmp.certificate", "CMP signer" };

void bm_delegate_done(struct bm_delegate *d)
{
    bm_key_free(d->key);
    bm_buf_done(&d->der);
    *d = (struct bm_delegate){ 0 };
}

static enum bm_rc certify(struct bm_keeper *k, const struct bm_authority *a, const char *profile_name, struct bm_issuer *by,
                          const struct bm_key *key, int64_t now, struct bm_credential *c, struct bm_error *e)
{
    const struct bm_subject_words words = { .org = a->organisation[0] != '\0' ? a->organisation : "Birthmark", .service = a->name };

    return bm_own_cert(k, by, profile_name, bm_key_spki(key), &words, now, c, e);
}

static enum bm_rc write_down(struct bm_keeper *k, struct bm_credential *c, const char *event, const char *ca, int64_t now,
                             struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = json_pack("{s:s}", "ca", ca);
    enum bm_rc rc = bm_credential_put(k->store, c, e);

    if (rc == BM_OK && bm_json_pem(fields, "certificate", bm_buf_rd(&c->cert)) != 0)
        rc = bm_fail(e, BM_NOMEM, "no memory");
    return rc == BM_OK ? bm_record(k, now, event, fields, e) : rc;
}

static enum bm_rc new_key(struct bm_key **ret, struct bm_error *e)
{
    EVP_PKEY *evp = EVP_EC_gen("P-256");

    return evp != NULL ? bm_key_of_evp(evp, ret, e) : bm_fail(e, BM_BUG, "the library makes no key");
}

static enum bm_rc make(struct bm_keeper *k, const struct bm_authority *a, const struct bm_delegate_kind *kind, struct bm_issuer *by,
                       int64_t now, struct bm_delegate *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *key = NULL;
    BM_CLEANUP(bm_credential_done)
    struct bm_credential c = { .ca_id = a->ca_id, .state = "active", .protocol = "internal", .issued_at = now };
    struct bm_cert cert;
    enum bm_rc rc = new_key(&key, e);

    if (rc == BM_OK)
        rc = certify(k, a, kind->profile, by, key, now, &c, e);
    if (rc == BM_OK)
        rc = write_down(k, &c, kind->event, a->name, now, e);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&c.cert), &cert, e); /* the bytes stay where they are */
    if (rc != BM_OK)
        return bm_wrap(e, rc, "%s of CA '%s'", kind->title, a->name);
    bm_delegate_done(ret);
    *ret = (struct bm_delegate){ .key = BM_MOVE(key), .der = c.cert, .cert = cert, .epoch = k->revocation->epoch };
    c.cert = (struct bm_buf){ 0 };
    return BM_OK;
}

static bool young(const struct bm_cert *c, int64_t now)
{
    return now >= c->not_before && c->not_after - now > (c->not_after - c->not_before) / 2;
}

/* Revoked by an administrator like any other certificate, it is replaced as well: its status is looked up with each new epoch. */
static bool good(struct bm_keeper *k, struct bm_delegate *d, int64_t now)
{
    struct bm_revoked row;

    if (d->key == NULL || !young(&d->cert, now))
        return false;
    if (d->epoch == k->revocation->epoch)
        return true;
    if (bm_credential_peek(k->store, d->cert.serial.p, &row, NULL) != BM_OK || strcmp(row.state, "active") != 0)
        return false;
    d->epoch = k->revocation->epoch;
    return true;
}

enum bm_rc bm_delegate_ready(struct bm_keeper *k, const struct bm_authority *a, const struct bm_delegate_kind *kind,
                             struct bm_delegate *d, struct bm_issuer *by, int64_t now, struct bm_error *e)
{
    return good(k, d, now) ? BM_OK : make(k, a, kind, by, now, d, e);
}
