/* The keys that sign vouchers and registrar's requests: in memory only, like those of OCSP responders, so that neither a stolen
 * disk nor a worker in enemy hands has them. What devices are made to trust is the CA above. */
#include "keeper/brski.h"

#include <openssl/ec.h>
#include <stdlib.h>

struct bm_brski {
    struct bm_brski_signer at[BM_BRSKI_ROLES];
};

static const struct {
    const char *profile, *service;
} roles[BM_BRSKI_ROLES] = {
    [BM_ROLE_OF_MASA] = { "masa-signing", "MASA" },
    [BM_ROLE_OF_REGISTRAR] = { "registrar", "Registrar" },
};

static void signer_done(struct bm_brski_signer *s)
{
    bm_key_free(s->key);
    bm_buf_done(&s->der);
    *s = (struct bm_brski_signer){ 0 };
}

void bm_brski_drop(struct bm_keeper *k)
{
    for (size_t i = 0; k->brski != NULL && i < BM_BRSKI_ROLES; i++)
        signer_done(&k->brski->at[i]);
    free(BM_MOVE(k->brski));
}

static enum bm_rc certify(struct bm_keeper *k, enum bm_brski_role role, struct bm_issuer *by, const struct bm_key *key, int64_t now,
                          struct bm_credential *c, struct bm_error *e)
{
    char org[BM_ORG_LEN];

    bm_own_org(by, org);
    return bm_own_cert(k, by, roles[role].profile, bm_key_spki(key),
                       &(struct bm_subject_words){ .org = org, .service = roles[role].service }, now, c, e);
}

static enum bm_rc write_down(struct bm_keeper *k, struct bm_credential *c, enum bm_brski_role role, const char *ca, int64_t now,
                             struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = json_pack("{s:s, s:s}", "ca", ca, "for", roles[role].profile);
    enum bm_rc rc = bm_credential_put(k->store, c, e);

    if (rc == BM_OK && bm_json_pem(fields, "certificate", bm_buf_rd(&c->cert)) != 0)
        rc = bm_fail(e, BM_NOMEM, "no memory");
    return rc == BM_OK ? bm_record(k, now, "brski.certificate", fields, e) : rc;
}

static enum bm_rc new_signer(struct bm_keeper *k, enum bm_brski_role role, struct bm_issuer *by, int64_t now,
                             struct bm_brski_signer *s, struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done)
    struct bm_credential c = { .ca_id = by->row.id, .state = "active", .protocol = "internal", .issued_at = now };
    EVP_PKEY *evp = EVP_EC_gen("P-256");
    enum bm_rc rc = evp != NULL ? BM_OK : bm_fail(e, BM_BUG, "the library makes no key");

    signer_done(s);
    if (rc == BM_OK)
        rc = bm_key_of_evp(evp, &s->key, e);
    if (rc == BM_OK)
        rc = certify(k, role, by, s->key, now, &c, e);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&c.cert), &s->cert, e); /* the bytes stay where they are */
    if (rc == BM_OK)
        rc = write_down(k, &c, role, by->row.name, now, e);
    if (rc != BM_OK) {
        signer_done(s);
        return bm_wrap(e, rc, "%s certificate", roles[role].service);
    }
    s->der = c.cert;
    c.cert = (struct bm_buf){ 0 };
    s->ca_id = by->row.id;
    return BM_OK;
}

/* One that an administrator has revoked is replaced, as an OCSP responder's is. */
static bool still_good(struct bm_keeper *k, const struct bm_brski_signer *s, const struct bm_issuer *by, int64_t now)
{
    const struct bm_cert *c = &s->cert;
    struct bm_revoked row;

    return s->key != NULL && s->ca_id == by->row.id && now >= c->not_before &&
           c->not_after - now > (c->not_after - c->not_before) / 2 &&
           bm_credential_peek(k->store, c->serial.p, &row, NULL) == BM_OK && strcmp(row.state, "active") == 0;
}

static enum bm_rc masa_ca(struct bm_keeper *k, struct bm_issuer **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf name = { .max = BM_NAME_LEN };
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    enum bm_rc rc = bm_meta_get(k->store, "masa-ca", &name, e);

    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_DENIED, "no-masa",
                         "this registry issues no vouchers yet; 'birthmark voucher masa CA' says which CA is for them");
    bm_buf_put(&name, "", 1);
    if (rc == BM_OK)
        rc = bm_buf_check(&name, e);
    if (rc == BM_OK)
        rc = bm_ca_get(k->store, (const char *)name.p, &ca, e);
    return rc == BM_OK ? bm_issuer_get(k, ca.id, ret, e) : rc;
}

enum bm_rc bm_brski_signer(struct bm_keeper *k, enum bm_brski_role role, int64_t now, struct bm_brski_signer **ret,
                           struct bm_issuer **ret_issuer, struct bm_error *e)
{
    struct bm_issuer *by;
    struct bm_brski_signer *s;
    enum bm_rc rc = role == BM_ROLE_OF_MASA ? masa_ca(k, &by, e) : bm_issuer_default(k, &by, e);

    if (rc != BM_OK)
        return rc;
    if (k->brski == NULL && (k->brski = calloc(1, sizeof *k->brski)) == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for keys");
    s = &k->brski->at[role];
    if (!still_good(k, s, by, now))
        rc = new_signer(k, role, by, now, s, e);
    if (rc != BM_OK)
        return rc;
    *ret = s;
    *ret_issuer = by;
    return BM_OK;
}

enum bm_rc bm_masa_url(struct bm_keeper *k, char ret[BM_TEXT_MAX], struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf url = { .max = BM_TEXT_MAX - 1 };
    enum bm_rc rc = bm_meta_get(k->store, "masa-url", &url, e);

    if (rc != BM_OK && rc != BM_NOTFOUND)
        return rc;
    snprintf(ret, BM_TEXT_MAX, "%.*s", (int)url.n, url.n != 0 ? (const char *)url.p : "");
    return BM_OK;
}
