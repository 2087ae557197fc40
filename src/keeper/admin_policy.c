/* policy.test: what a request would get, or the refusal it would meet, from the code that enrols (enrol_plan.c), with nothing written and nothing
 * used up. Only the proof is left out: whoever may ask this is believed when he says which device it is about. */
#include "keeper/enrol.h"

#include "base/text.h"
#include "pki/describe.h"

#include <stdio.h>

/* What the act's members become. */
struct trial {
    struct bm_enrol c;
    struct bm_plan plan;
    struct bm_buf csr, certs[1 + BM_TLS_CLIENT_CERTS_MAX];
    size_t n_certs;
    uint8_t udid[BM_UDID_LEN];
};

static void trial_done(struct trial *t)
{
    bm_plan_done(&t->plan);
    bm_buf_done(&t->csr);
    for (size_t i = 0; i < BM_COUNT(t->certs); i++)
        bm_buf_done(&t->certs[i]);
}

/* --- reading it ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc take_csr(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct bm_buf *csr = arg;

    if (csr->n != 0)
        return bm_fail(e, BM_USAGE, "'csr' holds more than one certificate request");
    bm_buf_put(csr, der.p, der.n);
    return bm_buf_check(csr, e);
}

static enum bm_rc read_csr(struct trial *t, const json_t *in, struct bm_error *e)
{
    static const char *const labels[] = { "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST" };
    const char *text = bm_arg_text(in, "csr");
    enum bm_rc rc = BM_OK;

    t->csr.max = BM_CSR_MAX;
    for (size_t i = 0; rc == BM_OK && i < BM_COUNT(labels); i++)
        rc = bm_pem_parse(bm_rd_str(text), labels[i], take_csr, &t->csr, e);
    if (rc == BM_OK && t->csr.n == 0)
        rc = bm_fail(e, BM_USAGE, "'csr' must be a certificate request, PEM");
    t->c.n_requests = 1;
    t->c.requests[0].csr = bm_buf_rd(&t->csr);
    return rc;
}

static enum bm_rc take_cert(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct trial *t = arg;
    struct bm_buf *to = &t->certs[t->n_certs];

    if (t->n_certs == BM_COUNT(t->certs))
        return bm_fail(e, BM_LIMIT, "'certificate' holds more than %zu certificates", BM_COUNT(t->certs));
    t->n_certs++;
    to->max = BM_CERT_MAX;
    bm_buf_put(to, der.p, der.n);
    return bm_buf_check(to, e);
}

static enum bm_rc read_certificate(struct trial *t, const char *pem, struct bm_error *e)
{
    enum bm_rc rc = pem != NULL ? bm_pem_parse(bm_rd_str(pem), "CERTIFICATE", take_cert, t, e) : BM_OK;

    if (rc != BM_OK || pem == NULL)
        return rc;
    if (t->n_certs == 0)
        return bm_fail(e, BM_USAGE, "'certificate' must be a certificate, PEM, and perhaps what stands above it");
    t->c.evidence.proven = true;
    t->c.evidence.cert = bm_buf_rd(&t->certs[0]);
    for (size_t i = 1; i < t->n_certs; i++)
        t->c.evidence.chain[t->c.evidence.n_chain++] = bm_buf_rd(&t->certs[i]);
    return BM_OK;
}

static enum bm_rc read_who(struct trial *t, const json_t *in, struct bm_error *e)
{
    const char *udid = bm_arg_text(in, "udid"), *pem = bm_arg_text(in, "certificate"), *code = bm_arg_text(in, "code");
    enum bm_rc rc = udid != NULL ? bm_arg_hex(in, "udid", t->udid, sizeof t->udid, e) : BM_OK;

    if (rc != BM_OK)
        return rc;
    if (pem != NULL && code != NULL)
        return bm_fail(e, BM_USAGE, "a device comes with a certificate or with a code, not with both");
    if (pem == NULL && code == NULL && udid == NULL)
        return bm_fail(e, BM_USAGE, "say who asks: 'udid', 'certificate' or 'code'");
    if (udid != NULL)
        t->c.claimed_udid = bm_rd_of(t->udid, sizeof t->udid);
    if (code != NULL) {
        t->c.evidence.kind = BM_EVIDENCE_CODE;
        t->c.evidence.code = bm_rd_str(code);
    }
    return read_certificate(t, pem, e);
}

static enum bm_rc read_words(struct bm_keeper *k, struct trial *t, const json_t *in, struct bm_error *e)
{
    const char *protocol = bm_arg_text(in, "protocol"), *batch = bm_arg_text(in, "batch"), *service = bm_arg_text(in, "service");

    protocol = protocol != NULL ? protocol : "est";
    if (!bm_name_ok(protocol) || strlen(protocol) >= sizeof t->c.protocol)
        return bm_fail(e, BM_USAGE, "'protocol' must be the name of one: est, onboard, cmp ...");
    snprintf(t->c.protocol, sizeof t->c.protocol, "%s", protocol);
    snprintf(t->c.peer, sizeof t->c.peer, "%.60s", k->actor); /* wrong codes are counted by who asks */
    t->c.claimed_batch = bm_rd_str(batch != NULL ? batch : "");
    t->c.requests[0].service = bm_rd_str(service != NULL ? service : "");
    t->c.reenrol = json_is_true(json_object_get(in, "reenrol"));
    t->c.keygen = json_is_true(json_object_get(in, "keygen"));
    return BM_OK;
}

static enum bm_rc read_trial(struct bm_keeper *k, struct trial *t, const json_t *in, struct bm_error *e)
{
    enum bm_rc rc = read_who(t, in, e);

    if (rc == BM_OK)
        rc = read_words(k, t, in, e);
    return rc == BM_OK ? read_csr(t, in, e) : rc;
}

/* --- within whose reach? ------------------------------------------------------------------------------------------------------------ */
static enum bm_rc is_there(void *arg, int64_t id, const char *json, struct bm_error *e)
{
    (void)id, (void)json, (void)e;
    *(bool *)arg = true;
    return BM_OK;
}

static enum bm_rc reaches(struct bm_keeper *k, const char *kind, const char *column, const char *value, struct bm_error *e)
{
    char text[192];
    const char *const filter[] = { text, NULL };
    bool there = false;
    enum bm_rc rc = BM_OK;

    if ((size_t)snprintf(text, sizeof text, "%s=%s", column, value) < sizeof text)
        rc = bm_store_list_in(k->store, k->scope, kind, filter, 0, 1, is_there, &there, e);
    return rc != BM_OK || there ? rc : bm_fail(e, BM_NOTFOUND, "no such %s within this token's reach", kind);
}

static enum bm_rc reaches_device(struct bm_keeper *k, const uint8_t udid[BM_UDID_LEN], struct bm_error *e)
{
    char hex[2 * BM_UDID_LEN + 1];

    bm_hex(udid, BM_UDID_LEN, hex);
    return reaches(k, "device", "udid", hex, e);
}

/* A guess at a code is not even taken for somebody else's batch or device. */
static enum bm_rc in_reach(struct bm_keeper *k, const struct trial *t, const json_t *in, struct bm_error *e)
{
    const char *batch = bm_arg_text(in, "batch");

    if (k->scope == NULL || t->c.evidence.kind != BM_EVIDENCE_CODE)
        return BM_OK;
    return batch != NULL ? reaches(k, "batch", "name", batch, e) : reaches_device(k, t->udid, e);
}

/* After judging and before telling: somebody else's device is as one that is not there, and so is a key that nobody knows; a batch's code may
 * have come with the key of a device that is registered elsewhere. */
static enum bm_rc still_in_reach(struct bm_keeper *k, const struct trial *t, struct bm_error *e)
{
    const struct bm_device *d = &t->plan.who.device;

    if (k->scope == NULL || (d->id == 0 && t->c.evidence.kind == BM_EVIDENCE_CODE))
        return BM_OK;
    return d->id != 0 ? reaches_device(k, d->udid, e) : bm_fail(e, BM_NOTFOUND, "no such device within this token's reach");
}

/* --- judging ---------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc find_who(struct bm_keeper *k, struct trial *t, int64_t now, struct bm_error *e)
{
    enum bm_rc rc;

    if (t->c.evidence.kind == BM_EVIDENCE_CODE || t->c.evidence.cert.n != 0)
        return bm_evidence_judge(k, BM_CMD_ENROL, &t->c, now, &t->plan.who, e);
    rc = bm_device_get(k->store, t->udid, &t->plan.who.device, e);
    return rc == BM_NOTFOUND
               ? bm_refuse(e, BM_DENIED, "unknown-device", "no device with this key is registered; was its manifest imported?")
               : rc;
}

/* With several hosts the line only knows what this one has used. */
static void look_again(struct bm_keeper *k, int64_t batch_id)
{
    struct bm_batch now;
    struct bm_line *l;

    if (batch_id != 0 && bm_line_get(k, batch_id, &l, NULL) == BM_OK && bm_batch_by_id(k->store, batch_id, &now, NULL) == BM_OK)
        l->batch = now;
}

static enum bm_rc judge(struct bm_keeper *k, struct trial *t, int64_t *ret_now, struct bm_error *e)
{
    enum bm_rc rc = bm_keeper_now(k, ret_now, e);

    if (rc == BM_OK)
        rc = find_who(k, t, *ret_now, e);
    if (rc != BM_OK)
        return rc;
    look_again(k, t->plan.who.device.batch_id);
    return bm_plan_enrol(k, &t->c, *ret_now, &t->plan, e);
}

/* --- telling ---------------------------------------------------------------------------------------------------------------------- */
static void tell_device(const struct bm_plan *p, json_t *out)
{
    char udid[2 * BM_UDID_LEN + 1];

    bm_hex(p->who.device.udid, BM_UDID_LEN, udid);
    json_object_set_new(out, "udid", json_string(udid));
    json_object_set_new(out, "state", json_string(p->who.device.state));
    json_object_set_new(out, "registered", json_boolean(p->who.device.id != 0));
}

static void tell_refusal(const struct bm_error *why, json_t *out)
{
    json_object_set_new(out, "granted", json_false());
    json_object_set_new(out, "code", json_string(bm_error_code(why)));
    json_object_set_new(out, "what", json_string(why->what));
    if (bm_retry_after(why) != 0)
        json_object_set_new(out, "retry_after_s", json_integer(bm_retry_after(why)));
}

static void tell_line(const struct bm_plan *p, json_t *out)
{
    const struct bm_line *l = p->line;
    const struct bm_order *o = &p->orders[0];

    json_object_set_new(out, "product", json_string(l->product.name));
    json_object_set_new(out, "batch", json_string(l->batch.name));
    json_object_set_new(out, "quota_left", json_integer(l->batch.quota - l->batch.used));
    json_object_set_new(out, "uses_quota", json_boolean(bm_plan_is_first(&p->who.device)));
    if (o->service != NULL)
        json_object_set_new(out, "service", json_string(o->service->row.name));
    json_object_set_new(out, "ca", json_string(o->issuer->row.name));
    json_object_set_new(out, "profile", json_string(bm_profile_name(o->profile)));
    json_object_set_new(out, "key_made_here", json_boolean(o->keygen.form != BM_KEY_NONE));
}

static enum bm_rc tell_certificate(const struct bm_plan *p, int64_t now, json_t *out, struct bm_error *e)
{
    const struct bm_order *o = &p->orders[0];
    int64_t renew = bm_renew_after(&p->line->policy, now, o->credential.not_after);
    struct bm_cert cert;
    json_t *told;
    char at[24];
    enum bm_rc rc = bm_cert_parse(bm_buf_rd(&o->credential.cert), &cert, e);

    if (rc != BM_OK)
        return rc;
    told = bm_cert_describe(&cert);
    if (told == NULL || json_object_set_new(out, "certificate", told) != 0)
        return bm_fail(e, BM_NOMEM, "no memory for a certificate");
    if (renew != INT64_MAX)
        json_object_set_new(told, "renew_after", json_string(bm_time_text(renew, at)));
    return BM_OK;
}

/* Our own trouble is no answer. */
static bool is_refusal(enum bm_rc rc)
{
    return rc != BM_OK && rc != BM_NOMEM && rc != BM_IO && rc != BM_BUG;
}

static enum bm_rc tell(const struct bm_plan *p, const struct bm_error *why, int64_t now, json_t *out, struct bm_error *e)
{
    json_object_set_new(out, "granted", json_boolean(why->rc == BM_OK));
    if (why->rc != BM_OK)
        tell_refusal(why, out);
    if (p->who.device.state[0] != '\0')
        tell_device(p, out);
    if (why->rc != BM_OK)
        return BM_OK;
    tell_line(p, out);
    return tell_certificate(p, now, out, e);
}

BM_ADMIN_HANDLER(bm_admin_policy_test)
{
    BM_CLEANUP(trial_done) struct trial t = { .plan.dry = true };
    struct bm_error why = { 0 };
    int64_t now = 0;
    enum bm_rc rc = read_trial(k, &t, in, e);

    (void)blob;
    if (rc == BM_OK)
        rc = in_reach(k, &t, in, e);
    if (rc != BM_OK)
        return rc;
    rc = judge(k, &t, &now, &why);
    why.rc = rc; /* what was looked for and not found on the way is no refusal */
    if (rc != BM_OK && !is_refusal(rc))
        return bm_fail(e, rc, "%s", why.what);
    rc = still_in_reach(k, &t, e);
    return rc == BM_OK ? tell(&t.plan, &why, now, out, e) : rc;
}
