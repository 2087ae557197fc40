#include "keeper/act.h"
#include "keeper/job.h"
#include "keeper/ownership.h"

/* --- which ----------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc id_of_org(struct bm_keeper *k, const char *name, int64_t *ret, struct bm_error *e)
{
    struct bm_org o;
    enum bm_rc rc = bm_org_get(k->store, name, &o, e);

    *ret = rc == BM_OK ? o.id : 0;
    return rc;
}

static enum bm_rc id_of_batch(struct bm_keeper *k, const char *name, int64_t *ret, struct bm_error *e)
{
    struct bm_batch b;
    enum bm_rc rc = bm_batch_get(k->store, name, &b, e);

    *ret = rc == BM_OK ? b.id : 0;
    return rc;
}

static enum bm_rc id_of_product(struct bm_keeper *k, const char *name, int64_t *ret, struct bm_error *e)
{
    struct bm_product p;
    enum bm_rc rc = bm_product_get(k->store, name, &p, e);

    *ret = rc == BM_OK ? p.id : 0;
    return rc;
}

static enum bm_rc id_of_service(struct bm_keeper *k, const char *name, int64_t *ret, struct bm_error *e)
{
    struct bm_service s;
    enum bm_rc rc = bm_service_get(k->store, name, &s, e);

    *ret = rc == BM_OK ? s.id : 0;
    return rc;
}

static const struct {
    const char *member;
    enum bm_rc (*id_of)(struct bm_keeper *k, const char *name, int64_t *ret, struct bm_error *e);
    size_t at;
} filters[] = {
    { "batch", id_of_batch, offsetof(struct bm_selection, batch_id) },
    { "product", id_of_product, offsetof(struct bm_selection, product_id) },
    { "owner", id_of_org, offsetof(struct bm_selection, owner_id) },
    { "service", id_of_service, offsetof(struct bm_selection, service_id) },
    { "org", id_of_org, offsetof(struct bm_selection, org_id) },
};

static enum bm_rc read_filters(struct bm_keeper *k, const json_t *request, struct bm_selection *ret, size_t *ret_n,
                               struct bm_error *e)
{
    enum bm_state state;

    ret->state = bm_arg_text(request, "state");
    if (ret->state != NULL && !bm_state_parse(ret->state, &state))
        return bm_fail(e, BM_USAGE, "no such state; use registered, allocated, active, suspended, retired or compromised");
    *ret_n = ret->state != NULL;
    for (size_t i = 0; i < BM_COUNT(filters); i++) {
        const char *name;
        enum bm_rc rc;

        if (bm_arg_text(request, filters[i].member) == NULL)
            continue;
        rc = bm_arg_name(request, filters[i].member, &name, e);
        if (rc == BM_OK)
            rc = filters[i].id_of(k, name, (int64_t *)(void *)((char *)ret + filters[i].at), e);
        if (rc != BM_OK)
            return bm_wrap(e, rc, "%s '%.64s'", filters[i].member, bm_arg_text(request, filters[i].member));
        *ret_n += filters[i].at != offsetof(struct bm_selection, org_id);
    }
    return BM_OK;
}

enum bm_rc bm_selection_read(struct bm_keeper *k, const char *act, const json_t *request, struct bm_selection *ret,
                             struct bm_error *e)
{
    bool listed = json_is_true(json_object_get(request, "listed"));
    size_t n = 0;
    enum bm_rc rc;

    *ret = (struct bm_selection){ .act = bm_act_find(act) };
    if (ret->act == NULL && strcmp(act, "transfer") != 0)
        return bm_fail(e, BM_USAGE, "no such act; use suspend, resume, retire, compromise, reset or transfer");
    rc = bm_arg_reason(request, -1, &ret->reason, e);
    if (rc == BM_OK)
        rc = read_filters(k, request, ret, &n, e);
    if (rc != BM_OK)
        return rc;
    if ((ret->act == NULL) != (ret->org_id != 0))
        return bm_fail(e, BM_USAGE, "a transfer, and nothing else, needs 'org': the new owner");
    if (listed == (n != 0))
        return bm_fail(e, BM_USAGE, "say which devices: by state, batch, product, owner or service, or in a list, but not both");
    return BM_OK;
}

struct service_search {
    int64_t service_id;
    bool found;
};

static enum bm_rc see_credential(void *arg, const struct bm_credential *c, struct bm_error *e)
{
    struct service_search *s = arg;

    (void)e;
    s->found |= c->service_id == s->service_id && strcmp(c->state, "active") == 0;
    return BM_OK;
}

static bool any_or(int64_t want, int64_t is)
{
    return want == 0 || want == is;
}

static enum bm_rc is_meant(struct bm_keeper *k, const struct bm_selection *s, const struct bm_job_item *i, bool *ret,
                           struct bm_error *e)
{
    struct service_search search = { .service_id = s->service_id };
    enum bm_rc rc;

    *ret = i->device_id == 0 || (any_or(s->batch_id, i->batch_id) && any_or(s->product_id, i->product_id) &&
                                 any_or(s->owner_id, i->owner_id) && (s->state == NULL || strcmp(s->state, i->state) == 0));
    if (!*ret || s->service_id == 0)
        return BM_OK;
    rc = bm_credential_each_of(k->store, i->device_id, see_credential, &search, e);
    *ret = search.found;
    return rc;
}

/* --- what ------------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc load(struct bm_keeper *k, const struct bm_job_item *i, struct bm_device *ret, struct bm_error *e)
{
    enum bm_rc rc = i->device_id != 0 ? bm_device_by_id(k->store, i->device_id, ret, e) : bm_device_get(k->store, i->udid, ret, e);

    return rc == BM_NOTFOUND ? bm_refuse(e, BM_DENIED, "unknown-device", "no device with this UDID is registered") : rc;
}

/* Where it is to be already. "allocated" is where a reset leads, but a device that never enrolled has nothing to reset. */
static bool is_there(const struct bm_selection *s, const struct bm_device *d)
{
    return s->act != NULL && strcmp(d->state, bm_state_name(s->act->to)) == 0 &&
           (s->act->to != BM_ALLOCATED || d->activated_at != 0);
}

static enum bm_rc one(struct bm_keeper *k, const struct bm_selection *s, struct bm_device *d, bool dry, int64_t now,
                      int64_t *ret_revoked, struct bm_error *e)
{
    if (s->act != NULL)
        return dry ? bm_act_check(s->act, d, e) : bm_act_do(k, s->act, d, s->reason, now, ret_revoked, e);
    return dry ? bm_ownership_check(k, d, s->org_id, BM_HOW_FORCED, e)
               : bm_ownership_move(k, d, s->org_id, BM_HOW_FORCED, 0, now, ret_revoked, e);
}

enum bm_rc bm_selection_apply(struct bm_keeper *k, const struct bm_selection *s, const struct bm_job_item *i, bool dry, int64_t now,
                              struct bm_job *j, bool *ret_refused, struct bm_error *ret_why)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    int64_t revoked = 0;
    bool meant = false;
    enum bm_rc rc = is_meant(k, s, i, &meant, ret_why);

    *ret_refused = false;
    if (rc != BM_OK || !meant)
        return rc;
    rc = load(k, i, &d, ret_why);
    if (rc == BM_OK && is_there(s, &d)) {
        j->already++;
        return BM_OK;
    }
    if (rc == BM_OK)
        rc = one(k, s, &d, dry, now, &revoked, ret_why);
    if (rc == BM_CONFLICT && strcmp(bm_error_code(ret_why), "same-owner") == 0) {
        j->already++;
        return BM_OK;
    }
    j->done += rc == BM_OK;
    j->revoked += revoked;
    *ret_refused = rc == BM_CONFLICT || rc == BM_DENIED; /* checked before the first write */
    j->refused += *ret_refused;
    return *ret_refused ? BM_OK : rc;
}
