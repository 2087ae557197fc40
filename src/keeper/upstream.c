#include "keeper/upstream.h"

#include "base/text.h"
#include "pki/names.h"

#include <stdio.h>

static const struct bm_upstream_driver *const bm_upstream_drivers[] = { &bm_upstream_est };

const struct bm_upstream_driver *bm_upstream_driver_find(const char *name)
{
    for (size_t i = 0; i < BM_COUNT(bm_upstream_drivers); i++)
        if (strcmp(bm_upstream_drivers[i]->name, name) == 0)
            return bm_upstream_drivers[i];
    return NULL;
}

/* --- the errand ------------------------------------------------------------------------------------------------------------------ */
/* Payload: the CA's id, then the request. */
static bool read_payload(const struct bm_errand *x, int64_t *ret_ca, struct bm_rd *ret_csr)
{
    struct bm_rd r = bm_buf_rd(&x->payload);
    uint64_t id;

    if (!bm_rd_uint(&r, 8, &id) || id == 0 || id > INT64_MAX)
        return false;
    *ret_ca = (int64_t)id;
    *ret_csr = r;
    return true;
}

static enum bm_rc find_way(struct bm_keeper *k, const struct bm_errand *x, struct bm_upstream *ret, struct bm_rd *ret_csr,
                           const struct bm_upstream_driver **ret_driver, struct bm_error *e)
{
    int64_t ca_id;
    enum bm_rc rc = read_payload(x, &ca_id, ret_csr) ? bm_upstream_get(k->store, ca_id, ret, e)
                                                     : bm_fail(e, BM_BUG, "errand %lld: its request is damaged", (long long)x->id);

    if (rc != BM_OK)
        return rc;
    *ret_driver = bm_upstream_driver_find(ret->driver);
    return *ret_driver != NULL ? BM_OK : bm_fail(e, BM_BUG, "there is no way '%s' to ask an upstream CA", ret->driver);
}

static enum bm_rc make_task(struct bm_keeper *k, const struct bm_errand *x, int64_t now, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_upstream_done) struct bm_upstream u = { 0 };
    BM_CLEANUP(bm_upstream_secret_done) struct bm_upstream_secret s = { 0 };
    const struct bm_upstream_driver *driver;
    struct bm_rd csr;
    enum bm_rc rc = find_way(k, x, &u, &csr, &driver, e);

    (void)now;
    if (rc == BM_OK)
        rc = bm_upstream_open(k, &u, &s, e);
    return rc == BM_OK ? driver->task(&u, &s, csr, ret, e) : rc;
}

enum bm_rc bm_upstream_pick(const struct bm_rd *certs, size_t n, const struct bm_csr *csr, const struct bm_cert *ca, int64_t now,
                            struct bm_cert *ret, struct bm_error *e)
{
    enum bm_rc rc;

    for (size_t i = 0; i < n; i++) {
        if (bm_cert_parse(certs[i], ret, NULL) != BM_OK || !bm_rd_eq(ret->spki, csr->spki))
            continue;
        rc = bm_cert_check_link(ret, ca, now, e);
        if (rc != BM_OK)
            return bm_refuse(e, BM_DENIED, "upstream-refused",
                             "the certificate is not good under the CA that is configured: %.100s", e->what);
        if (ret->ca || (ret->key_usage & (BM_KU_CERT_SIGN | BM_KU_CRL_SIGN)) != 0)
            return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA has made the device a CA");
        return BM_OK;
    }
    return bm_refuse(e, BM_DENIED, "upstream-refused", "of %zu certificates in the answer none is over the device's key", n);
}

static enum bm_rc record_issued(struct bm_keeper *k, const struct bm_errand *x, const struct bm_issuer *by, const struct bm_cert *c,
                                int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    uint8_t sha256[32];
    char digest[65];

    bm_udid_of(c->whole, sha256); /* SHA-256 all the same */
    bm_hex(sha256, sizeof sha256, digest);
    fields = json_pack("{s:s, s:s, s:I}", "ca", by->row.name, "sha256", digest, "errand", (json_int_t)x->id);
    return bm_record(k, now, "upstream.issued", fields, e);
}

static enum bm_rc take_answer(struct bm_keeper *k, const struct bm_errand *x, const struct bm_task_answer *a, int64_t now,
                              struct bm_buf *ret_result, struct bm_buf *ret_payload, struct bm_error *e)
{
    BM_CLEANUP(bm_upstream_done) struct bm_upstream u = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf room = { .max = BM_TASK_ANSWER_MAX };
    struct bm_rd certs[BM_UPSTREAM_CERTS_MAX], der;
    const struct bm_upstream_driver *driver;
    struct bm_issuer *by;
    struct bm_csr csr;
    struct bm_cert cert;
    size_t n = 0;
    enum bm_rc rc = find_way(k, x, &u, &der, &driver, e);

    (void)ret_payload;
    if (rc == BM_OK)
        rc = driver->read(a, &room, certs, &n, e);
    if (rc == BM_OK)
        rc = bm_csr_parse(der, &csr, e);
    if (rc == BM_OK)
        rc = bm_issuer_get(k, u.ca_id, &by, e);
    if (rc == BM_OK)
        rc = bm_upstream_pick(certs, n, &csr, &by->cert, now, &cert, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_put(ret_result, cert.whole.p, cert.whole.n);
    rc = record_issued(k, x, by, &cert, now, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "writing down what the upstream CA gave");
}

const struct bm_errand_kind bm_errand_upstream = {
    .name = BM_UPSTREAM_ERRAND,
    .tries = UINT32_MAX, /* its life ends it */
    .first_s = 1,
    .most_s = 300,
    .life_s = 7 * 86400,
    .kept_s = 86400,
    .task = make_task,
    .done = take_answer,
};

/* --- a device's request ---------------------------------------------------------------------------------------------------------- */
/* The same request is the same key under the same names: an ECDSA signature over it differs each time it is made. */
static void subject_of(const struct bm_plan *p, const struct bm_order *o, char ret[BM_ERRAND_SUBJECT_LEN])
{
    BM_CLEANUP(bm_buf_done) struct bm_buf all = { .max = BM_CSR_MAX + 64 };
    char udid[2 * BM_UDID_LEN + 1], digest[65];
    uint8_t sha256[32];

    bm_buf_vec(&all, o->csr.subject);
    bm_buf_vec(&all, o->csr.san);
    bm_buf_vec(&all, o->csr.spki);
    bm_udid_of(bm_buf_rd(&all), sha256);
    bm_hex(sha256, 12, digest);
    bm_hex(p->who.device.udid, BM_UDID_LEN, udid);
    snprintf(ret, BM_ERRAND_SUBJECT_LEN, "%lld %s %lld %s", (long long)p->line->issuer->row.id, udid,
             (long long)(o->service != NULL ? o->service->row.id : 0), digest);
}

/* A full queue of one device, or more devices than the batch may have, is not for the upstream CA to see. */
static enum bm_rc check_room(struct bm_keeper *k, const struct bm_plan *p, struct bm_error *e)
{
    const struct bm_batch *b = &p->line->batch;
    int64_t of_device = 0, of_batch = 0, unknown = 0;
    enum bm_rc rc = BM_OK;

    if (p->who.device.id != 0)
        rc = bm_errand_open_of(k->store, BM_UPSTREAM_ERRAND, p->who.device.id, &of_device, e);
    if (rc == BM_OK)
        rc = bm_errand_in_batch(k->store, BM_UPSTREAM_ERRAND, b->id, p->who.device.id, &of_batch, &unknown, e);
    if (rc != BM_OK)
        return rc;
    if (of_device >= BM_UPSTREAM_PER_DEVICE || (p->who.device.id == 0 && unknown >= p->who.code.uses - p->who.code.used))
        return bm_refuse(e, BM_AGAIN, "upstream-limit",
                         "too many requests of this device, or with this code, wait for the upstream CA");
    if (bm_plan_is_first(&p->who.device) && of_batch + unknown >= b->quota - b->used)
        return bm_refuse(e, BM_LIMIT, "quota-exceeded",
                         "batch '%s' has had all %lld devices it was allowed, with those that wait for the upstream CA", b->name,
                         (long long)b->quota);
    return BM_OK;
}

static enum bm_rc queue(struct bm_keeper *k, const struct bm_plan *p, const struct bm_order *o, const char *subject, int64_t now,
                        struct bm_error *e)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { .kind = BM_UPSTREAM_ERRAND, .payload = { .max = BM_CSR_MAX + 8 } };
    enum bm_rc rc = check_room(k, p, e);

    if (rc != BM_OK)
        return rc;
    x.device_id = p->who.device.id;
    x.batch_id = bm_plan_is_first(&p->who.device) ? p->line->batch.id : 0;
    memcpy(x.subject, subject, sizeof x.subject);
    bm_buf_uint(&x.payload, 8, (uint64_t)p->line->issuer->row.id);
    bm_buf_put(&x.payload, o->csr.whole.p, o->csr.whole.n);
    return bm_errand_add(k, &x, now, e);
}

static enum bm_rc check_names(const struct bm_plan *p, const struct bm_order *o, const struct bm_names *n,
                              const struct bm_names *also, struct bm_error *e)
{
    char udid[2 * BM_UDID_LEN + 1];
    struct bm_subject_words words;

    bm_plan_words(p, o, udid, &words);
    return bm_names_within(n, o->profile, &words, also, "upstream-names", e);
}

/* What was given is held against what is asked for now: the registry may have changed meanwhile. */
static enum bm_rc fill(struct bm_keeper *k, const struct bm_upstream *u, const struct bm_plan *p, struct bm_order *o,
                       struct bm_errand *x, int64_t now, struct bm_error *e)
{
    const struct bm_names asked = { o->csr.subject, o->csr.san };
    struct bm_credential *c = &o->credential;
    struct bm_revoked other;
    struct bm_cert cert;
    enum bm_rc rc =
        bm_upstream_pick(&(struct bm_rd){ x->result.p, x->result.n }, 1, &o->csr, &p->line->issuer->cert, now, &cert, e);

    if (rc == BM_OK && strcmp(u->names, "registry") == 0)
        rc = check_names(p, o, &(struct bm_names){ cert.subject, cert.san }, &asked, e);
    if (rc != BM_OK)
        return rc;
    bm_cert_serial_key(cert.serial, c->serial);
    if (cert.not_after > p->not_after_max)
        return bm_refuse(e, BM_DENIED, "upstream-rental",
                         "the upstream CA's certificate lives longer than the device is rented out");
    if (bm_credential_peek(k->store, c->serial, &other, NULL) == BM_OK)
        return bm_refuse(e, BM_DENIED, "upstream-refused",
                         "the upstream CA has given a serial number that another certificate has");
    c->not_before = cert.not_before;
    c->not_after = cert.not_after;
    c->cert = x->result;
    x->result = (struct bm_buf){ 0 };
    o->errand_id = x->id;
    return BM_OK;
}

static enum bm_rc pending(struct bm_error *e)
{
    return bm_refuse(e, BM_AGAIN, "upstream-pending", "the upstream CA has been asked; come again with the same request");
}

static enum bm_rc ask(struct bm_keeper *k, const struct bm_plan *p, const struct bm_order *o, const char *subject, int64_t now,
                      struct bm_error *e)
{
    enum bm_rc rc = p->dry ? BM_OK : queue(k, p, o, subject, now, e);

    return rc == BM_OK ? pending(e) : rc;
}

/* BM_AGAIN "upstream-pending": *ret_new when it has been asked only now. */
static enum bm_rc settle(struct bm_keeper *k, const struct bm_upstream *u, const struct bm_plan *p, struct bm_order *o, int64_t now,
                         bool *ret_new, struct bm_error *e)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };
    char subject[BM_ERRAND_SUBJECT_LEN] = "";
    enum bm_rc rc;

    subject_of(p, o, subject);
    rc = bm_errand_find(k, BM_UPSTREAM_ERRAND, subject, &x, e);
    *ret_new = rc == BM_NOTFOUND;
    if (rc == BM_NOTFOUND)
        return ask(k, p, o, subject, now, e);
    if (rc != BM_OK)
        return rc;
    if (strcmp(x.state, BM_ERRAND_QUEUED) == 0 || strcmp(x.state, BM_ERRAND_RUNNING) == 0)
        return pending(e);
    if (strcmp(x.state, BM_ERRAND_DONE) == 0)
        return fill(k, u, p, o, &x, now, e);
    *ret_new = true;
    if (now < x.due_at - bm_errand_upstream.kept_s + BM_UPSTREAM_TELL_S)
        return bm_refuse(e, BM_DENIED, "upstream-refused", "%s", x.what);
    return ask(k, p, o, subject, now, e);
}

static enum bm_rc check_order(const struct bm_enrol *c, const struct bm_upstream *u, const struct bm_plan *p,
                              const struct bm_order *o, struct bm_error *e)
{
    if (c->keygen || o->csr.whole.n == 0)
        return bm_refuse(e, BM_DENIED, "upstream-request",
                         "an upstream CA certifies requests that the device has signed itself (PKCS#10), and no others");
    if (strcmp(u->names, "registry") != 0)
        return BM_OK;
    return check_names(p, o, &(struct bm_names){ o->csr.subject, o->csr.san }, NULL, e);
}

/* All are asked for at once, and given together. */
static enum bm_rc settle_all(struct bm_keeper *k, const struct bm_upstream *u, int64_t now, struct bm_plan *p, struct bm_error *e)
{
    bool waits = false, new = false;
    enum bm_rc rc = BM_OK;

    for (size_t i = 0; i < p->n && (rc == BM_OK || rc == BM_AGAIN); i++) {
        bool now_asked = false;

        rc = settle(k, u, p, &p->orders[i], now, &now_asked, e);
        if (rc == BM_AGAIN && strcmp(bm_error_code(e), "upstream-pending") != 0)
            return rc;
        waits |= rc == BM_AGAIN;
        new |= now_asked;
    }
    if (rc != BM_OK && rc != BM_AGAIN)
        return rc;
    k->told = waits && !new && !p->dry; /* who asks again each minute does not fill the book of refusals */
    return waits ? pending(e) : BM_OK;
}

enum bm_rc bm_upstream_orders(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_plan *p, struct bm_error *e)
{
    BM_CLEANUP(bm_upstream_done) struct bm_upstream u = { 0 };
    enum bm_rc rc = bm_upstream_get(k->store, p->line->issuer->row.id, &u, e);

    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_DENIED, "upstream-above", "CA '%s' stands above an upstream CA and issues nothing here",
                         p->line->issuer->row.name);
    for (size_t i = 0; rc == BM_OK && i < p->n; i++)
        rc = check_order(c, &u, p, &p->orders[i], e);
    return rc == BM_OK ? settle_all(k, &u, now, p, e) : rc;
}

enum bm_rc bm_upstream_given(struct bm_keeper *k, const struct bm_order *o, struct bm_error *e)
{
    return o->errand_id != 0 ? bm_errand_drop(k->store, o->errand_id, e) : BM_OK;
}
