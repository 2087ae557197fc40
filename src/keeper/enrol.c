/* The main job: a proven device gets its certificates. What it gets, or why not, is worked out before the first row is written (enrol_plan.c). */
#include "keeper/scep_hook.h"
#include "keeper/upstream.h"

#include "base/text.h"

int64_t bm_renew_after(const struct bm_policy *p, int64_t not_before, int64_t not_after)
{
    if (not_after == INT64_MAX)
        return INT64_MAX;
    return not_before + (not_after - not_before) * p->renew_after_percent / 100; /* at most 2^38 seconds: no overflow */
}

/* Names and codes in it are ours or checked, so it needs no escaping. */
static enum bm_rc record_issued(struct bm_keeper *k, const struct bm_enrol *c, const struct bm_proven *who, const struct bm_line *l,
                                const struct bm_order *o, int64_t now, struct bm_error *e)
{
    char udid[2 * BM_UDID_LEN + 1], serial[2 * BM_SERIAL_LEN + 1], digest[65];
    char approval[40] = "";
    uint8_t sha256[32], text[832];
    int n;

    if (o->approval_id != 0)
        snprintf(approval, sizeof approval, "\"approval\":%lld,", (long long)o->approval_id);
    bm_hex(who->device.udid, BM_UDID_LEN, udid);
    bm_hex(o->credential.serial, BM_SERIAL_LEN, serial);
    bm_udid_of(bm_buf_rd(&o->credential.cert), sha256); /* SHA-256 all the same */
    bm_hex(sha256, sizeof sha256, digest);
    n = snprintf((char *)text, sizeof text,
                 "{\"event\":\"credential.issued\",\"actor\":\"device\",\"udid\":\"%s\",\"serial\":\"%s\",\"sha256\":\"%s\","
                 "\"batch\":\"%s\","
                 "\"service\":\"%s\",\"protocol\":\"%s\",\"renewal\":%s,%s%s\"correlation\":\"%s\"}",
                 udid, serial, digest, l->batch.name, o->service != NULL ? o->service->row.name : "", c->protocol,
                 strcmp(who->device.state, bm_state_name(BM_ALLOCATED)) == 0 ? "false" : "true",
                 c->keygen ? "\"server_keygen\":true," : "", approval, c->correlation);
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
    rc = bm_plan_is_first(&who->device) ? use_quota(k, l, e) : BM_OK;
    if (rc != BM_OK)
        return rc;
    rc = bm_device_set_state(k->store, who->device.id, bm_state_name(BM_ACTIVE), now, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "activating the device");
}

static void fill_row(const struct bm_enrol *c, const struct bm_plan *p, struct bm_order *o, int64_t now)
{
    struct bm_credential *cr = &o->credential;

    cr->device_id = p->who.device.id;
    cr->service_id = o->service != NULL ? o->service->row.id : 0;
    cr->ca_id = o->issuer->row.id;
    cr->issued_at = now;
    memcpy(cr->protocol, c->protocol, sizeof cr->protocol);
    memcpy(cr->correlation, c->correlation, sizeof cr->correlation);
    snprintf(cr->state, sizeof cr->state, "active");
}

static enum bm_rc write_orders(struct bm_keeper *k, const struct bm_enrol *c, struct bm_plan *p, int64_t now, struct bm_error *e)
{
    enum bm_rc rc = activate(k, &p->who, p->line, now, e);

    for (size_t i = 0; rc == BM_OK && i < p->n; i++) {
        struct bm_order *o = &p->orders[i];

        fill_row(c, p, o, now);
        rc = bm_credential_put(k->store, &o->credential, e);
        if (rc == BM_OK && o->approval_id != 0)
            rc = bm_approval_use(k->store, o->approval_id, now, e);
        if (rc == BM_OK)
            rc = bm_upstream_given(k, o, e);
        if (rc == BM_OK)
            rc = record_issued(k, c, &p->who, p->line, o, now, e);
        bm_observe_issued(k, c->protocol, o->service != NULL ? o->service->row.kind : "none");
        if (rc != BM_OK) /* whatever it is: rows have been written, so the transaction must go */
            rc = bm_wrap(e, BM_IO, "writing credential %zu", i + 1);
    }
    return rc;
}

static void answer(const struct bm_plan *p, int64_t now, struct bm_buf *out)
{
    struct bm_enrolled r = { .n_credentials = p->n };
    const struct bm_line *l = p->line;

    memcpy(r.udid, p->who.device.udid, BM_UDID_LEN);
    for (size_t i = 0; i < p->n; i++) {
        const struct bm_order *o = &p->orders[i];
        struct bm_enrolled_credential *c = &r.credentials[i];

        c->service = bm_rd_str(o->service != NULL ? o->service->row.name : "");
        c->endpoints = bm_rd_str(o->service != NULL ? o->service->row.endpoints : "[]");
        c->cert = bm_buf_rd(&o->credential.cert);
        c->key_form = o->keygen.form;
        c->key = bm_buf_rd(&o->keygen.key);
        c->not_after = o->credential.not_after;
        c->renew_after = bm_renew_after(&l->policy, now, o->credential.not_after);
        c->n_chain = o->issuer->n_chain;
        for (size_t n = 0; n < o->issuer->n_chain; n++)
            c->chain[n] = bm_buf_rd(&o->issuer->chain[n]);
    }
    bm_enrolled_write(out, &r);
}

enum bm_rc bm_run_enrol(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_plan_done) struct bm_plan p = { 0 };
    enum bm_rc rc = bm_evidence_judge(k, BM_CMD_ENROL, c, now, &p.who, e);

    if (rc == BM_OK)
        rc = bm_plan_enrol(k, c, now, &p, e);
    if (rc == BM_OK)
        rc = bm_code_spend(k, c, &p.who, now, e);
    if (rc == BM_OK)
        rc = bm_hook_spend(k, c, &p, now, e);
    if (rc != BM_OK)
        return rc;
    rc = write_orders(k, c, &p, now, e);
    if (rc != BM_OK && (p.who.code.id != 0 || p.hook_errand != 0)) /* its use is written, so the transaction must go */
        rc = bm_wrap(e, BM_IO, "enrolling with a code");
    if (rc == BM_OK)
        answer(&p, now, out);
    return rc;
}
