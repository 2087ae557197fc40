#include "keeper/internal.h"

const char *bm_credential_status(const struct bm_credential *c, int64_t now)
{
    if (strcmp(c->state, "revoked") == 0)
        return "revoked";
    return c->not_after < now ? "expired" : "active";
}

struct gather {
    struct bm_keeper *k;
    struct bm_status *status;
    const struct bm_policy *policy;
    int64_t ca_id; /* the last one looked at */
    bool ca_gone;
    int64_t now, issued_at; /* of the newest credential */
    size_t active, expired, revoked;
    bool moved; /* it has a new owner, and got nothing since */
};

/* Keeps the newest BM_STATUS_CREDENTIALS_MAX: they come oldest first. */
static struct bm_status_credential *next_slot(struct bm_status *s)
{
    if (s->n_credentials == BM_STATUS_CREDENTIALS_MAX) {
        memmove(&s->credentials[0], &s->credentials[1], sizeof s->credentials[0] * (BM_STATUS_CREDENTIALS_MAX - 1));
        s->n_credentials--;
    }
    return &s->credentials[s->n_credentials++];
}

/* Covered by what happened to its CA. */
static bool has_lost_ca(struct gather *g, int64_t ca_id)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };

    if (g->ca_id == ca_id)
        return g->ca_gone;
    g->ca_id = ca_id;
    g->ca_gone = bm_ca_by_id(g->k->store, ca_id, &ca, NULL) == BM_OK && strcmp(ca.state, "active") != 0;
    return g->ca_gone;
}

static enum bm_rc add_credential(void *arg, const struct bm_credential *c, struct bm_error *e)
{
    struct gather *g = arg;
    struct bm_status_credential *s = next_slot(g->status);
    const char *status = has_lost_ca(g, c->ca_id) ? "revoked" : bm_credential_status(c, g->now);
    struct bm_service service = { 0 };

    *s = (struct bm_status_credential){ .not_after = c->not_after };
    if (c->service_id != 0 && bm_service_by_id(g->k->store, c->service_id, &service, e) != BM_OK)
        return BM_IO;
    memcpy(s->service, service.name, sizeof s->service);
    memcpy(s->serial, c->serial, sizeof s->serial);
    snprintf(s->status, sizeof s->status, "%s", status);
    g->issued_at = c->issued_at;
    s->renew_after = bm_renew_after(g->policy, c->issued_at, c->not_after);
    g->active += strcmp(status, "active") == 0;
    g->expired += strcmp(status, "expired") == 0;
    g->revoked += strcmp(status, "revoked") == 0;
    return BM_OK;
}

/* One word for where the device stands: its own state when that bars it, else that of its credentials. */
static const char *overall(const struct bm_device *d, const struct gather *g)
{
    if (strcmp(d->state, "suspended") == 0 || strcmp(d->state, "retired") == 0 || strcmp(d->state, "compromised") == 0)
        return d->state;
    if (g->active != 0)
        return "enrolled";
    if (g->moved)
        return "transferred";
    if (strcmp(d->state, "allocated") == 0)
        return "not-enrolled"; /* new, or reset */
    if (g->expired != 0)
        return "expired";
    return g->revoked != 0 ? "revoked" : "not-enrolled";
}

static enum bm_rc find_move(struct bm_keeper *k, const struct bm_device *d, struct gather *g, struct bm_error *e)
{
    struct bm_ownership last;
    enum bm_rc rc;

    if (d->owner_id == 0 || g->active != 0)
        return BM_OK;
    rc = bm_ownership_last(k->store, d->id, &last, e);
    g->moved = rc == BM_OK && last.at >= g->issued_at;
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

static enum bm_rc name_line(struct bm_keeper *k, const struct bm_device *d, struct bm_line **ret, struct bm_status *s,
                            struct bm_error *e)
{
    struct bm_org owner;
    enum bm_rc rc;

    *ret = NULL;
    if (d->batch_id != 0) {
        rc = bm_line_get(k, d->batch_id, ret, e);
        if (rc != BM_OK)
            return rc;
        memcpy(s->product, (*ret)->product.name, sizeof s->product);
        memcpy(s->batch, (*ret)->batch.name, sizeof s->batch);
        memcpy(s->owner, (*ret)->owner.name, sizeof s->owner);
    }
    if (d->owner_id == 0)
        return BM_OK;
    rc = bm_org_by_id(k->store, d->owner_id, &owner, e);
    if (rc == BM_OK)
        memcpy(s->owner, owner.name, sizeof s->owner);
    return rc;
}

enum bm_rc bm_run_status(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    static const struct bm_policy no_policy = { .renew_after_percent = 66 };
    BM_CLEANUP(bm_proven_done) struct bm_proven who = { 0 };
    struct bm_status s = { 0 };
    struct gather g = { .k = k, .status = &s, .policy = &no_policy, .now = now };
    struct bm_line *l = NULL;
    enum bm_rc rc = bm_evidence_judge(k, BM_CMD_STATUS, c, now, &who, e);

    if (rc == BM_OK)
        rc = name_line(k, &who.device, &l, &s, e);
    if (rc != BM_OK)
        return rc;
    g.policy = l != NULL ? &l->policy : &no_policy;
    rc = bm_credential_each_of(k->store, who.device.id, add_credential, &g, e);
    if (rc == BM_OK)
        rc = find_move(k, &who.device, &g, e);
    if (rc != BM_OK)
        return rc;
    memcpy(s.udid, who.device.udid, sizeof s.udid);
    memcpy(s.state, who.device.state, sizeof s.state);
    snprintf(s.status, sizeof s.status, "%s", overall(&who.device, &g));
    bm_status_write(out, &s);
    return BM_OK;
}
