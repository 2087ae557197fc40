#include "keeper/upstream.h"

#include "base/text.h"
#include "pki/names.h"

#include <stdio.h>
#include <time.h>

static const struct bm_upstream_driver *const bm_upstream_drivers[] = {
    &bm_upstream_est,    &bm_upstream_cmp,    &bm_upstream_scep,  &bm_upstream_acme,
    &bm_upstream_awspca, &bm_upstream_awskms, &bm_upstream_azure,
};

const struct bm_upstream_driver *bm_upstream_driver_find(const char *name)
{
    for (size_t i = 0; i < BM_COUNT(bm_upstream_drivers); i++)
        if (strcmp(bm_upstream_drivers[i]->name, name) == 0)
            return bm_upstream_drivers[i];
    return NULL;
}

void bm_upstream_option(const struct bm_upstream *u, const char *name, char *ret, size_t size)
{
    size_t n = strlen(name);

    ret[0] = '\0';
    for (const char *at = u->options; *at != '\0'; at += *at == ',') {
        size_t len = strcspn(at, ",");

        if (len > n && strncmp(at, name, n) == 0 && at[n] == '=')
            snprintf(ret, size, "%.*s", (int)(len - n - 1), at + n + 1);
        at += len;
    }
}

uint32_t bm_upstream_retry_after(const struct bm_task_answer *a, int64_t now)
{
    char text[64];
    struct tm date = { 0 };
    const char *end;
    time_t at;

    snprintf(text, sizeof text, "%.*s", (int)a->retry_after.n, a->retry_after.n != 0 ? (const char *)a->retry_after.p : "");
    if (text[0] == '\0')
        return 0;
    if (strspn(text, "0123456789") == strlen(text))
        return strlen(text) < 7 ? (uint32_t)strtoul(text, NULL, 10) : BM_ERRAND_WAIT_MAX_S;
    end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &date);
    at = end != NULL && *end == '\0' ? timegm(&date) : 0;
    return at > now && at - now < BM_ERRAND_WAIT_MAX_S ? (uint32_t)(at - now) : 0;
}

enum bm_rc bm_upstream_revoke_check(const struct bm_upstream *u, struct bm_error *e)
{
    char text[8];

    bm_upstream_option(u, "revoke", text, sizeof text);
    if (text[0] == '\0' || strcmp(text, "yes") == 0 || strcmp(text, "no") == 0)
        return BM_OK;
    return bm_fail(e, BM_USAGE, "--options: revoke is yes (it hears of revocations) or no");
}

enum bm_rc bm_upstream_no(const struct bm_upstream_job *j, const struct bm_task_answer *a, struct bm_upstream_got *ret,
                          struct bm_error *e)
{
    char words[120];

    bm_text_escape(a->body, words, sizeof words);
    if (a->status != 202 && a->status != 408 && a->status != 429 && a->status < 500)
        return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA answers %u: %s", a->status, words);
    ret->wait_s = bm_upstream_retry_after(a, j->now);
    return bm_refuse(e, BM_AGAIN, "upstream-waits", "the upstream CA answers %u: %s", a->status, words);
}

/* --- the errand ------------------------------------------------------------------------------------------------------------------ */
/* Payload: the CA's id, the request, the driver's state. */
static void write_payload(struct bm_buf *out, int64_t ca_id, struct bm_rd csr, struct bm_rd state)
{
    out->max = BM_CSR_MAX + BM_UPSTREAM_STATE_MAX + 16;
    bm_buf_uint(out, 8, (uint64_t)ca_id);
    bm_buf_vec(out, csr);
    bm_buf_put(out, state.p, state.n);
}

void bm_upstream_way_done(struct bm_upstream_way *w)
{
    bm_upstream_done(&w->u);
    bm_upstream_secret_done(&w->s);
}

enum bm_rc bm_upstream_way_open(struct bm_keeper *k, int64_t ca_id, int64_t errand_id, int64_t now, struct bm_upstream_way *ret,
                                struct bm_error *e)
{
    enum bm_rc rc = bm_upstream_get(k->store, ca_id, &ret->u, e);

    if (rc == BM_OK)
        rc = bm_upstream_open(k, &ret->u, &ret->s, e);
    if (rc != BM_OK)
        return rc;
    ret->job.u = &ret->u;
    ret->job.s = &ret->s;
    ret->job.now = now;
    ret->job.errand_id = errand_id;
    ret->driver = bm_upstream_driver_find(ret->u.driver);
    return ret->driver != NULL ? BM_OK : bm_fail(e, BM_BUG, "there is no way '%s' to ask an upstream CA", ret->u.driver);
}

static enum bm_rc read_payload(const struct bm_errand *x, int64_t *ret_ca, struct bm_upstream_job *ret, struct bm_error *e)
{
    uint64_t id;

    ret->state = bm_buf_rd(&x->payload);
    if (!bm_rd_uint(&ret->state, 8, &id) || id == 0 || id > INT64_MAX || !bm_rd_vec(&ret->state, BM_CSR_MAX, &ret->csr))
        return bm_fail(e, BM_BUG, "errand %lld: its request is damaged", (long long)x->id);
    *ret_ca = (int64_t)id;
    return BM_OK;
}

static enum bm_rc find_way(struct bm_keeper *k, const struct bm_errand *x, int64_t now, struct bm_upstream_way *ret,
                           struct bm_error *e)
{
    int64_t ca_id = 0;
    enum bm_rc rc = read_payload(x, &ca_id, &ret->job, e);

    return rc == BM_OK ? bm_upstream_way_open(k, ca_id, x->id, now, ret, e) : rc;
}

static enum bm_rc make_task(struct bm_keeper *k, const struct bm_errand *x, int64_t now, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_upstream_way_done) struct bm_upstream_way w = { 0 };
    enum bm_rc rc = find_way(k, x, now, &w, e);

    return rc == BM_OK ? w.driver->task(&w.job, ret, e) : rc;
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

void bm_upstream_got_done(struct bm_upstream_got *g)
{
    bm_buf_done(&g->room);
    bm_buf_done(&g->state);
}

/* The certificate, if one of these is the one. */
static enum bm_rc take_certs(struct bm_keeper *k, const struct bm_errand *x, const struct bm_upstream_way *w,
                             const struct bm_upstream_got *g, struct bm_buf *ret, struct bm_error *e)
{
    struct bm_issuer *by;
    struct bm_csr csr;
    struct bm_cert cert;
    enum bm_rc rc = bm_csr_parse(w->job.csr, &csr, e);

    if (rc == BM_OK)
        rc = bm_issuer_get(k, w->u.ca_id, &by, e);
    if (rc == BM_OK)
        rc = bm_upstream_pick(g->certs, g->n, &csr, &by->cert, w->job.now, &cert, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_put(ret, cert.whole.p, cert.whole.n);
    rc = record_issued(k, x, by, &cert, w->job.now, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "writing down what the upstream CA gave");
}

static enum bm_rc go_on(const struct bm_upstream_way *w, const struct bm_upstream_got *g, struct bm_errand_outcome *ret,
                        struct bm_error *e)
{
    enum bm_rc rc = bm_buf_check(&g->state, e);

    if (rc != BM_OK)
        return rc;
    ret->wait_s = g->wait_s;
    if (g->state.n != 0)
        write_payload(&ret->payload, w->u.ca_id, w->job.csr, bm_buf_rd(&g->state));
    return BM_AGAIN;
}

static enum bm_rc take_answer(struct bm_keeper *k, const struct bm_errand *x, const struct bm_task_answer *a, int64_t now,
                              struct bm_errand_outcome *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_upstream_way_done) struct bm_upstream_way w = { 0 };
    BM_CLEANUP(bm_upstream_got_done)
    struct bm_upstream_got g = { .room = { .max = BM_TASK_ANSWER_MAX }, .state = { .max = BM_UPSTREAM_STATE_MAX } };
    enum bm_rc rc = find_way(k, x, now, &w, e);

    if (rc == BM_OK)
        rc = w.driver->read(&w.job, a, &g, e);
    if (rc == BM_AGAIN)
        return go_on(&w, &g, ret, e);
    return rc == BM_OK ? take_certs(k, x, &w, &g, &ret->result, e) : rc;
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
    if (of_device >= BM_UPSTREAM_PER_DEVICE ||
        (p->who.code.id != 0 && p->who.device.id == 0 && unknown >= p->who.code.uses - p->who.code.used))
        return bm_refuse(e, BM_AGAIN, "upstream-limit",
                         "too many requests of this device, or with this code, wait for the upstream CA");
    if (bm_plan_is_first(&p->who.device) && of_batch + unknown >= b->quota - b->used)
        return bm_refuse(e, BM_LIMIT, "quota-exceeded",
                         "batch '%s' has had all %lld devices it was allowed, with those that wait for the upstream CA", b->name,
                         (long long)b->quota);
    return BM_OK;
}

static enum bm_rc queue(struct bm_keeper *k, const struct bm_upstream *u, const struct bm_plan *p, const struct bm_order *o,
                        const char *subject, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { .kind = BM_UPSTREAM_ERRAND };
    BM_CLEANUP(bm_buf_done) struct bm_buf state = { .max = BM_UPSTREAM_STATE_MAX };
    const struct bm_upstream_driver *driver = bm_upstream_driver_find(u->driver);
    enum bm_rc rc = check_room(k, p, e);

    if (rc == BM_OK && driver != NULL && driver->start != NULL)
        rc = driver->start(k, p, o, &state, e);
    if (rc == BM_OK)
        rc = bm_buf_check(&state, e);
    if (rc != BM_OK)
        return rc;
    x.device_id = p->who.device.id;
    x.batch_id = bm_plan_is_first(&p->who.device) ? p->line->batch.id : 0;
    memcpy(x.subject, subject, sizeof x.subject);
    write_payload(&x.payload, u->ca_id, o->csr.whole, bm_buf_rd(&state));
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

static enum bm_rc ask(struct bm_keeper *k, const struct bm_upstream *u, const struct bm_plan *p, const struct bm_order *o,
                      const char *subject, int64_t now, struct bm_error *e)
{
    enum bm_rc rc = p->dry ? BM_OK : queue(k, u, p, o, subject, now, e);

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
        return ask(k, u, p, o, subject, now, e);
    if (rc != BM_OK)
        return rc;
    if (strcmp(x.state, BM_ERRAND_QUEUED) == 0 || strcmp(x.state, BM_ERRAND_RUNNING) == 0)
        return pending(e);
    if (strcmp(x.state, BM_ERRAND_DONE) == 0)
        return fill(k, u, p, o, &x, now, e);
    *ret_new = true;
    if (now < x.due_at - bm_errand_upstream.kept_s + BM_UPSTREAM_TELL_S)
        return bm_refuse(e, BM_DENIED, "upstream-refused", "%s", x.what);
    return ask(k, u, p, o, subject, now, e);
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
