/* The main job: a proven device gets its certificates. Everything is checked and signed before the first row is written, so that a refusal
 * leaves nothing behind and a failed write means a failed disk. */
#include "keeper/ownership.h"

#include "base/text.h"
#include "factory/manifest.h"

#include <openssl/rand.h>

int64_t bm_renew_after(const struct bm_policy *p, int64_t not_before, int64_t not_after)
{
    if (not_after == INT64_MAX)
        return INT64_MAX;
    return not_before + (not_after - not_before) * p->renew_after_percent / 100; /* at most 2^38 seconds: no overflow */
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
    enum bm_rc rc = c->id != 0 ? bm_issuer_get(k, c->ca_id, &by, e) : BM_OK;

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

/* It counts against the quota once: a device that was reset has been counted. */
static bool is_first(const struct bm_device *d)
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
    bool first = is_first(&who->device);

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

/* One request on its way to a credential. */
struct order {
    const struct bm_line_service *service; /* NULL: the product has none */
    struct bm_credential credential;
    struct bm_keygen keygen; /* the key that was made for it, if one was */
};

struct orders {
    size_t n;
    struct order of[BM_SERVICES_MAX];
};

static void orders_done(struct orders *o)
{
    for (size_t i = 0; i < o->n; i++) {
        bm_credential_done(&o->of[i].credential);
        bm_keygen_done(&o->of[i].keygen);
    }
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

    if (rc == BM_OK && !c->keygen) /* RFC 7030 section 4.4.1: then its key and signature are passed over */
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

static enum bm_rc sign(struct bm_keeper *k, const struct bm_proven *who, struct bm_line *l, const struct bm_csr *csr, int64_t now,
                       int64_t not_after_max, struct order *o, struct bm_error *e)
{
    char udid[2 * BM_UDID_LEN + 1];
    struct bm_subject_words words = {
        .udid = udid,
        .product = l->product.name,
        .batch = l->batch.name,
        .org = org_of(l),
        .service = o->service != NULL ? o->service->row.name : NULL,
        .attributes = bm_buf_rd(&who->device.attributes),
    };
    struct bm_issue i = {
        .profile = o->service != NULL && o->service->profile != NULL ? o->service->profile : l->profile,
        .issuer_cert = &l->issuer->cert,
        .spki = csr->spki,
        .words = &words,
        .now = now,
        .not_after_max = not_after_max,
    };
    struct bm_credential *c = &o->credential;
    enum bm_rc rc = bm_issuer_key(k, l->issuer, e);
    struct bm_cert made;

    if (rc != BM_OK)
        return rc;
    bm_hex(who->device.udid, BM_UDID_LEN, udid);
    i.issuer_key = l->issuer->key;
    if (RAND_bytes(i.serial, sizeof i.serial) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    c->cert.max = BM_CERT_MAX;
    rc = bm_cert_issue(&i, &c->cert, &c->not_before, &c->not_after, e);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&c->cert), &made, e); /* the serial as it stands in the certificate */
    if (rc != BM_OK)
        return rc;
    memcpy(c->serial, made.serial.p, BM_SERIAL_LEN);
    return BM_OK;
}

static enum bm_rc prepare(struct bm_keeper *k, const struct bm_enrol *c, const struct bm_proven *who, struct bm_line *l,
                          int64_t now, struct orders *ret, struct bm_error *e)
{
    int64_t not_after_max;
    enum bm_rc rc = bm_rental_limit(k, &who->device, now, &not_after_max, e);

    if (rc == BM_OK && c->n_requests == 0)
        rc = bm_refuse(e, BM_MALFORMED, "no-requests", "at least one certificate request is needed");
    if (rc != BM_OK)
        return rc;
    for (size_t i = 0; i < c->n_requests; i++) {
        struct order *o = &ret->of[ret->n++];
        struct bm_csr csr;

        rc = find_service(l, c->requests[i].service, &o->service, e);

        if (rc == BM_OK)
            rc = check_csr(c, who, &c->requests[i], &csr, e);
        if (rc == BM_OK && c->keygen && (rc = bm_keygen(k, c, who, l, &csr, &o->keygen, e)) == BM_OK)
            csr.spki = bm_buf_rd(&o->keygen.spki);
        if (rc == BM_OK)
            rc = sign(k, who, l, &csr, now, not_after_max, o, e);
        if (rc != BM_OK)
            return rc;
    }
    return BM_OK;
}

/* Names and codes in it are ours or checked, so it needs no escaping. */
static enum bm_rc record_issued(struct bm_keeper *k, const struct bm_enrol *c, const struct bm_proven *who, const struct bm_line *l,
                                const struct order *o, int64_t now, struct bm_error *e)
{
    char udid[2 * BM_UDID_LEN + 1], serial[2 * BM_SERIAL_LEN + 1], digest[65];
    uint8_t sha256[32], text[768];
    int n;

    bm_hex(who->device.udid, BM_UDID_LEN, udid);
    bm_hex(o->credential.serial, BM_SERIAL_LEN, serial);
    bm_udid_of(bm_buf_rd(&o->credential.cert), sha256); /* SHA-256 all the same */
    bm_hex(sha256, sizeof sha256, digest);
    n = snprintf((char *)text, sizeof text,
                 "{\"event\":\"credential.issued\",\"actor\":\"device\",\"udid\":\"%s\",\"serial\":\"%s\",\"sha256\":\"%s\","
                 "\"batch\":\"%s\","
                 "\"service\":\"%s\",\"protocol\":\"%s\",\"renewal\":%s,%s\"correlation\":\"%s\"}",
                 udid, serial, digest, l->batch.name, o->service != NULL ? o->service->row.name : "", c->protocol,
                 strcmp(who->device.state, bm_state_name(BM_ALLOCATED)) == 0 ? "false" : "true",
                 c->keygen ? "\"server_keygen\":true," : "", c->correlation);
    if (n < 0 || (size_t)n >= sizeof text)
        return bm_fail(e, BM_BUG, "audit leaf too long");
    return bm_record_raw(k, now, bm_rd_of(text, (size_t)n), e);
}

static enum bm_rc use_quota(struct bm_keeper *k, struct bm_line *l, struct bm_error *e)
{
    enum bm_rc rc =
        k->host.n > 1 ? bm_lease_use(k->store, k->host.id, k->host.n, l->batch.id, e) : bm_batch_use(k->store, l->batch.id, 1, e);

    if (rc == BM_LIMIT) {
        l->batch.used = l->batch.quota; /* whoever used them: the next is refused before anything is signed */
        return bm_refuse(e, BM_LIMIT, "quota-exceeded", "batch '%s' has had all %lld devices it was allowed", l->batch.name,
                         (long long)l->batch.quota);
    }
    if (rc == BM_OK)
        l->batch.used++; /* the cache is dropped when the transaction is lost */
    return rc;
}

static enum bm_rc activate(struct bm_keeper *k, const struct bm_proven *who, struct bm_line *l, int64_t now, struct bm_error *e)
{
    enum bm_rc rc;

    if (strcmp(who->device.state, bm_state_name(BM_ALLOCATED)) != 0)
        return BM_OK;
    rc = is_first(&who->device) ? use_quota(k, l, e) : BM_OK;
    if (rc != BM_OK)
        return rc;
    rc = bm_device_set_state(k->store, who->device.id, bm_state_name(BM_ACTIVE), now, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "activating the device");
}

static enum bm_rc write_orders(struct bm_keeper *k, const struct bm_enrol *c, const struct bm_proven *who, struct bm_line *l,
                               struct orders *orders, int64_t now, struct bm_error *e)
{
    enum bm_rc rc = activate(k, who, l, now, e);

    for (size_t i = 0; rc == BM_OK && i < orders->n; i++) {
        struct bm_credential *cr = &orders->of[i].credential;

        cr->device_id = who->device.id;
        cr->service_id = orders->of[i].service != NULL ? orders->of[i].service->row.id : 0;
        cr->ca_id = l->issuer->row.id;
        cr->issued_at = now;
        memcpy(cr->protocol, c->protocol, sizeof cr->protocol);
        memcpy(cr->correlation, c->correlation, sizeof cr->correlation);
        snprintf(cr->state, sizeof cr->state, "active");
        rc = bm_credential_put(k->store, cr, e);
        if (rc == BM_OK)
            rc = record_issued(k, c, who, l, &orders->of[i], now, e);
        bm_observe_issued(k, c->protocol, orders->of[i].service != NULL ? orders->of[i].service->row.kind : "none");
        if (rc != BM_OK) /* whatever it is: rows have been written, so the transaction must go */
            rc = bm_wrap(e, BM_IO, "writing credential %zu", i + 1);
    }
    return rc;
}

static void answer(const struct bm_proven *who, const struct bm_line *l, const struct orders *orders, int64_t now,
                   struct bm_buf *out)
{
    struct bm_enrolled r = { .n_credentials = orders->n };

    memcpy(r.udid, who->device.udid, BM_UDID_LEN);
    for (size_t i = 0; i < orders->n; i++) {
        const struct order *o = &orders->of[i];
        struct bm_enrolled_credential *c = &r.credentials[i];

        c->service = bm_rd_str(o->service != NULL ? o->service->row.name : "");
        c->endpoints = bm_rd_str(o->service != NULL ? o->service->row.endpoints : "[]");
        c->cert = bm_buf_rd(&o->credential.cert);
        c->key_form = o->keygen.form;
        c->key = bm_buf_rd(&o->keygen.key);
        c->not_after = o->credential.not_after;
        c->renew_after = bm_renew_after(&l->policy, now, o->credential.not_after);
        c->n_chain = l->issuer->n_chain;
        for (size_t n = 0; n < l->issuer->n_chain; n++)
            c->chain[n] = bm_buf_rd(&l->issuer->chain[n]);
    }
    bm_enrolled_write(out, &r);
}

enum bm_rc bm_run_enrol(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_proven_done) struct bm_proven who = { 0 };
    BM_CLEANUP(orders_done) struct orders orders = { 0 };
    struct bm_line *l;
    enum bm_rc rc = bm_evidence_judge(k, BM_CMD_ENROL, c, now, &who, e);

    if (rc == BM_OK)
        rc = check_state(&who.device, e);
    if (rc == BM_OK) /* before the line is lent: another CA may push it out of the cache */
        rc = check_its_ca(k, &who.credential, e);
    if (rc == BM_OK)
        rc = bm_line_get(k, who.device.batch_id, &l, e);
    if (rc == BM_OK)
        rc = check_policy(c, &who, l, now, e);
    if (rc == BM_OK)
        rc = prepare(k, c, &who, l, now, &orders, e);
    if (rc == BM_OK)
        rc = bm_code_spend(k, c, &who, now, e);
    if (rc != BM_OK)
        return rc;
    rc = write_orders(k, c, &who, l, &orders, now, e);
    if (rc != BM_OK && who.code.id != 0) /* the code's use is written, so the transaction must go */
        rc = bm_wrap(e, BM_IO, "enrolling with a code");
    if (rc == BM_OK)
        answer(&who, l, &orders, now, out);
    return rc;
}
