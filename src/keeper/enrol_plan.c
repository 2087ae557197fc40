/* What a device is to be granted, or why not: everything is checked and signed here before enrol.c writes the first row, so that a refusal leaves
 * nothing behind and a failed write means a failed disk. */
#include "keeper/enrol.h"

#include "base/text.h"
#include "factory/manifest.h"
#include "keeper/ownership.h"
#include "keeper/scep_hook.h"
#include "keeper/upstream.h"

#include <openssl/rand.h>

void bm_plan_done(struct bm_plan *p)
{
    bm_proven_done(&p->who);
    for (size_t i = 0; i < p->n; i++) {
        bm_credential_done(&p->orders[i].credential);
        bm_keygen_done(&p->orders[i].keygen);
    }
}

static bool among(const char *word, const char *rows, size_t width, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, rows + i * width) == 0)
            return true;
    return n == 0;
}

static const struct {
    const char *state, *code, *what;
} barred[] = {
    { "registered", "not-allocated",
      "the device is genuine but belongs to no batch yet; allocate it with 'birthmark device allocate'" },
    { "suspended", "device-suspended", "the device is suspended; 'birthmark device resume' lifts it" },
    { "retired", "device-retired", "the device has been retired" },
    { "compromised", "device-compromised", "the device has been marked compromised" },
};

static enum bm_rc check_state(const struct bm_device *d, struct bm_error *e)
{
    for (size_t i = 0; i < BM_COUNT(barred); i++)
        if (strcmp(d->state, barred[i].state) == 0)
            return bm_refuse(e, BM_DENIED, barred[i].code, "%s", barred[i].what);
    return BM_OK;
}

/* A certificate falls with its CA, before anybody has come to revoke it. */
static enum bm_rc check_its_ca(struct bm_keeper *k, const struct bm_credential *c, struct bm_error *e)
{
    struct bm_issuer *by;
    struct bm_error why = { 0 };
    enum bm_rc rc = c->id != 0 ? bm_issuer_get(k, c->ca_id, &by, &why) : BM_OK;

    if (rc == BM_DENIED &&
        strcmp(why.code, "ca-retired") == 0) /* in honour: the certificate has expired, and that is judged elsewhere */
        return BM_OK;
    if (rc != BM_OK && rc != BM_DENIED && e != NULL)
        *e = why;
    if (rc == BM_DENIED)
        return bm_refuse(e, BM_DENIED, "credential-revoked",
                         "the CA of the certificate presented has been revoked; enrol with the IDevID key");
    return rc;
}

static enum bm_rc check_credential(const struct bm_credential *c, const struct bm_policy *p, int64_t now, struct bm_error *e)
{
    const char *status = c->id != 0 ? bm_credential_status(c, now) : "active";

    if (strcmp(status, "revoked") == 0)
        return bm_refuse(e, BM_DENIED, "credential-revoked",
                         "the certificate presented has been revoked; enrol with the IDevID key if the device is still good");
    if (strcmp(status, "expired") == 0 && !p->renew_expired)
        return bm_refuse(e, BM_DENIED, "credential-expired", "the certificate presented has expired; enrol with the IDevID key");
    return BM_OK;
}

bool bm_plan_is_first(const struct bm_device *d)
{
    return strcmp(d->state, bm_state_name(BM_ALLOCATED)) == 0 && d->activated_at == 0;
}

/* Weaker than a key pair, as the registry holds the key too: a product takes them only when its policy names the kind. */
static bool is_symmetric(const struct bm_device *d)
{
    const struct bm_rot_kind *kind = bm_rot_kind_find(bm_rd_str(d->rot));

    return kind != NULL && kind->symmetric;
}

static enum bm_rc check_policy(const struct bm_enrol *c, const struct bm_proven *who, const struct bm_line *l, int64_t now,
                               struct bm_error *e)
{
    const struct bm_policy *p = &l->policy;
    bool first = bm_plan_is_first(&who->device);

    if (c->claimed_batch.n != 0 && !bm_rd_eq(c->claimed_batch, bm_rd_str(l->batch.name)))
        return bm_refuse(e, BM_DENIED, "wrong-batch", "the device says it is of another batch than the registry's '%s'",
                         l->batch.name);
    if (p->n_rot == 0 && is_symmetric(&who->device))
        return bm_refuse(e, BM_DENIED, "symmetric-refused",
                         "product '%s' does not say that it takes devices with a secret key; name '%s' in its --rot",
                         l->product.name, who->device.rot);
    if (!among(who->device.rot, p->rot[0], sizeof p->rot[0], p->n_rot))
        return bm_refuse(e, BM_DENIED, "root-of-trust-refused", "product '%s' does not take devices with root of trust '%s'",
                         l->product.name, who->device.rot);
    if (!among(c->protocol, p->protocols[0], sizeof p->protocols[0], p->n_protocols))
        return bm_refuse(e, BM_DENIED, "protocol-refused", "product '%s' does not enrol over '%s'", l->product.name, c->protocol);
    if (p->birth_certificate && !who->birth_certificate && who->credential.id == 0)
        return bm_refuse(e, BM_DENIED, "birth-certificate-needed",
                         "product '%s' wants the birth certificate of a trusted chip maker", l->product.name);
    if (first && strcmp(l->batch.state, "open") != 0)
        return bm_refuse(e, BM_DENIED, "batch-closed", "batch '%s' is closed; no further device may join it", l->batch.name);
    if (first && l->batch.used >= l->batch.quota)
        return bm_refuse(e, BM_LIMIT, "quota-exceeded", "batch '%s' has had all %lld devices it was allowed", l->batch.name,
                         (long long)l->batch.quota);
    return check_credential(&who->credential, p, now, e);
}

static enum bm_rc find_service(const struct bm_line *l, struct bm_rd name, const struct bm_line_service **ret, struct bm_error *e)
{
    char shown[BM_NAME_LEN];

    *ret = NULL;
    if (name.n == 0) {
        *ret = l->n_services != 0 ? &l->services[0] : NULL;
        return BM_OK;
    }
    for (size_t i = 0; i < l->n_services; i++) {
        if (bm_rd_eq(name, bm_rd_str(l->services[i].row.name))) {
            *ret = &l->services[i];
            return BM_OK;
        }
    }
    return bm_refuse(e, BM_DENIED, "service-refused", "product '%s' has no service '%s'", l->product.name,
                     bm_text_escape(name, shown, sizeof shown));
}

static enum bm_rc check_csr(const struct bm_enrol *c, const struct bm_proven *who, const struct bm_enrol_request *r,
                            struct bm_csr *ret, struct bm_error *e)
{
    enum bm_rc rc;

    if (r->spki.n != 0) {
        *ret = (struct bm_csr){ .spki = r->spki };
        return BM_OK;
    }
    rc = bm_csr_parse(r->csr, ret, e);

    if (rc == BM_OK && !c->keygen && !r->verified) /* RFC 7030 section 4.4.1: then its key and signature are passed over */
        rc = bm_csr_verify(ret, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "certificate request");
    /* RFC 7030 section 4.2.2; an IDevID's subject is the chip maker's affair, so the rule is for LDevIDs */
    if (c->reenrol && who->credential.id != 0 && !bm_rd_eq(ret->subject, who->subject))
        return bm_refuse(e, BM_DENIED, "subject-mismatch",
                         "a re-enrolment request must carry the subject of the certificate it renews");
    return BM_OK;
}

/* O= has room for 64 characters (RFC 5280 appendix A.1, ub-organization-name); a longer title stays in the registry. */
static const char *org_of(const struct bm_line *l)
{
    size_t n = strlen(l->owner.title);

    return n != 0 && n <= 64 ? l->owner.title : l->owner.name;
}

void bm_plan_words(const struct bm_plan *p, const struct bm_order *o, char udid[2 * BM_UDID_LEN + 1], struct bm_subject_words *ret)
{
    bm_hex(p->who.device.udid, BM_UDID_LEN, udid);
    *ret = (struct bm_subject_words){
        .udid = udid,
        .product = p->line->product.name,
        .batch = p->line->batch.name,
        .org = org_of(p->line),
        .service = o->service != NULL ? o->service->row.name : NULL,
        .attributes = bm_buf_rd(&p->who.device.attributes),
    };
}

static enum bm_rc sign(struct bm_keeper *k, const struct bm_plan *p, int64_t now, struct bm_order *o, struct bm_error *e)
{
    char udid[2 * BM_UDID_LEN + 1], crl_url[BM_CRL_URL_LEN];
    struct bm_subject_words words;
    struct bm_issue i = {
        .profile = o->profile,
        .issuer_cert = &o->issuer->cert,
        .spki = o->csr.spki,
        .words = &words,
        .now = now,
        .not_after_max = p->not_after_max,
        .no_signature = p->dry,
    };
    struct bm_credential *c = &o->credential;
    enum bm_rc rc = bm_issuer_key(k, o->issuer, e);
    struct bm_cert made;

    if (rc != BM_OK)
        return rc;
    bm_plan_words(p, o, udid, &words);
    i.issuer_key = o->issuer->key;
    if (RAND_bytes(i.serial, sizeof i.serial) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    c->crl_part = bm_crl_part_of(o->issuer, i.serial, crl_url);
    i.crl_url = bm_rd_str(crl_url);
    c->cert.max = BM_CERT_MAX;
    rc = bm_cert_issue(&i, &c->cert, &c->not_before, &c->not_after, e);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&c->cert), &made, e); /* the serial as it stands in the certificate */
    if (rc != BM_OK)
        return rc;
    memcpy(c->serial, made.serial.p, BM_SERIAL_LEN);
    return BM_OK;
}

/* Everything that can be said against a request before it costs a signature, or a person's time. */
static enum bm_rc take_order(const struct bm_enrol *c, const struct bm_enrol_request *r, struct bm_plan *p, struct bm_error *e)
{
    struct bm_order *o = &p->orders[p->n++];
    enum bm_rc rc = find_service(p->line, r->service, &o->service, e);

    o->profile = o->service != NULL && o->service->profile != NULL ? o->service->profile : p->line->profile;
    o->issuer = o->service != NULL ? o->service->issuer : p->line->issuer;
    if (rc == BM_OK && o->issuer == NULL)
        rc = bm_refuse(e, BM_DENIED, "ca-revoked", "the CA of service '%s' is revoked, or issues nothing here",
                       o->service->row.name);
    if (rc == BM_OK)
        rc = check_csr(c, &p->who, r, &o->csr, e);
    if (rc == BM_OK)
        rc = bm_pop_check(c, &p->line->policy, &o->csr, p->dry, e);
    if (rc == BM_OK && c->keygen)
        rc = bm_keygen_check(c, &p->who, p->line, &o->csr, e);
    return rc == BM_OK ? bm_profile_check_key(o->profile, o->csr.spki, e) : rc;
}

static enum bm_rc take_orders(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_plan *p, struct bm_error *e)
{
    enum bm_rc rc = bm_rental_limit(k, &p->who.device, now, &p->not_after_max, e);

    if (rc == BM_OK && c->n_requests == 0)
        rc = bm_refuse(e, BM_MALFORMED, "no-requests", "at least one certificate request is needed");
    for (size_t i = 0; rc == BM_OK && i < c->n_requests; i++)
        rc = take_order(c, &c->requests[i], p, e);
    return rc;
}

static enum bm_rc approve_orders(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_plan *p, struct bm_error *e)
{
    struct bm_approval wanted[BM_SERVICES_MAX] = { 0 };
    enum bm_rc rc;

    if (!bm_approval_needed(&p->line->policy, &p->who.device))
        return BM_OK;
    for (size_t i = 0; i < p->n; i++) {
        wanted[i].service_id = p->orders[i].service != NULL ? p->orders[i].service->row.id : 0;
        bm_udid_of(p->orders[i].csr.spki, wanted[i].key); /* SHA-256 all the same */
    }
    rc = bm_approval_check(k, c, &p->who, p->dry, now, wanted, p->n, e);
    for (size_t i = 0; rc == BM_OK && i < p->n; i++)
        p->orders[i].approval_id = wanted[i].id;
    return rc;
}

static enum bm_rc sign_orders(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_plan *p, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    for (size_t i = 0; rc == BM_OK && i < p->n; i++) {
        struct bm_order *o = &p->orders[i];

        if (c->keygen && (rc = bm_keygen(k, c, &p->who, p->line, &o->csr, now, &o->keygen, e)) == BM_OK)
            o->csr.spki = bm_buf_rd(&o->keygen.spki);
        if (rc == BM_OK)
            rc = sign(k, p, now, o, e);
    }
    return rc;
}

enum bm_rc bm_plan_enrol(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_plan *p, struct bm_error *e)
{
    enum bm_rc rc = check_state(&p->who.device, e);

    if (rc == BM_OK)
        rc = check_its_ca(k, &p->who.credential, e);
    if (rc == BM_OK)
        rc = bm_line_get(k, p->who.device.batch_id, &p->line, e);
    if (rc == BM_OK)
        rc = check_policy(c, &p->who, p->line, now, e);
    if (rc == BM_OK)
        rc = take_orders(k, c, now, p, e);
    if (rc == BM_OK)
        rc = bm_hook_check(k, c, now, p, e);
    if (rc == BM_OK)
        rc = approve_orders(k, c, now, p, e);
    if (rc == BM_OK && bm_ca_is_upstream(&p->line->issuer->row))
        return bm_upstream_orders(k, c, now, p, e);
    return rc == BM_OK ? sign_orders(k, c, now, p, e) : rc;
}
