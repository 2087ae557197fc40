/* Certificates that a person has to approve (docs/approval.md). A request that has passed every other check waits as a row; the device comes
 * again with the same request until the row says yes or no. Nothing of the request itself is kept: each time it proves itself anew. */
#include "keeper/internal.h"

bool bm_approval_needed(const struct bm_policy *p, const struct bm_device *d)
{
    if (p->approval == BM_APPROVAL_FIRST)
        return strcmp(d->state, bm_state_name(BM_ALLOCATED)) == 0;
    return p->approval == BM_APPROVAL_ALWAYS;
}

/* --- a request that nobody has seen yet -------------------------------------------------------------------------------------------- */
static enum bm_rc too_many(const char *what, struct bm_error *e)
{
    return bm_refuse(e, BM_LIMIT, "approval-limit", "too many requests wait for approval %s; see 'birthmark approval list'", what);
}

/* Whoever holds a batch's code could make up devices without end: no more of them wait than the code would let in, with all services each. */
static enum bm_rc check_code_room(struct bm_keeper *k, const struct bm_proven *who, struct bm_error *e)
{
    int64_t n = 0;
    enum bm_rc rc;

    if (who->code.id == 0)
        return BM_OK;
    rc = bm_approval_waiting_with(k->store, who->code.id, &n, e);
    return rc == BM_OK && n >= (who->code.uses - who->code.used) * BM_SERVICES_MAX ? too_many("with this code", e) : rc;
}

static enum bm_rc check_room(struct bm_keeper *k, const struct bm_proven *who, int64_t now, struct bm_error *e)
{
    int64_t n = 0;
    enum bm_rc rc = bm_approval_forget(k->store, now, e);

    if (rc == BM_OK)
        rc = bm_approval_waiting_of(k->store, who->device.udid, &n, e);
    if (rc == BM_OK && n >= BM_APPROVALS_PER_DEVICE)
        return too_many("for this device", e);
    if (rc == BM_OK)
        rc = check_code_room(k, who, e);
    if (rc == BM_OK)
        rc = bm_approval_waiting(k->store, &n, e);
    return rc == BM_OK && n >= BM_APPROVALS_MAX ? too_many("in this registry", e) : rc;
}

static json_t *fields_of(const struct bm_approval *a)
{
    char udid[2 * BM_UDID_LEN + 1], key[2 * sizeof a->key + 1] = "";

    bm_hex(a->udid, BM_UDID_LEN, udid);
    if (!a->keygen)
        bm_hex(a->key, sizeof a->key, key);
    return json_pack("{s:I, s:s, s:s, s:s, s:s}", "approval", (json_int_t)a->id, "udid", udid, "key_sha256", key, "protocol",
                     a->protocol, "correlation", a->correlation);
}

/* The row and its leaf are there to stay, although the request is refused: only the disk may fail from here on. */
static enum bm_rc write_down(struct bm_keeper *k, struct bm_approval *a, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    enum bm_rc rc = bm_approval_put(k->store, a, e);

    if (rc == BM_OK) {
        fields = fields_of(a);
        k->actor = "device";
        rc = bm_record(k, a->created_at, "approval.asked", fields, e);
        k->actor = NULL;
    }
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "writing down what waits for approval");
}

static enum bm_rc add(struct bm_keeper *k, const struct bm_enrol *c, const struct bm_proven *who, int64_t now,
                      struct bm_approval *a, struct bm_error *e)
{
    enum bm_rc rc = check_room(k, who, now, e);

    if (rc != BM_OK)
        return rc;
    a->batch_id = who->device.batch_id;
    a->code_id = who->code.id;
    a->created_at = now;
    a->expires_at = now + BM_APPROVAL_LIFE_S;
    snprintf(a->state, sizeof a->state, "waiting");
    memcpy(a->protocol, c->protocol, sizeof a->protocol);
    memcpy(a->correlation, c->correlation, sizeof a->correlation);
    memcpy(a->peer, c->peer, sizeof a->peer);
    return write_down(k, a, e);
}

/* One approval is good for one certificate. */
static enum bm_rc check_twice(const struct bm_approval *wanted, size_t n, struct bm_error *e)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (wanted[i].service_id == wanted[j].service_id && memcmp(wanted[i].key, wanted[j].key, sizeof wanted[i].key) == 0)
                return bm_refuse(e, BM_MALFORMED, "approval-twice", "the same service and key are asked for twice in one message");
    return BM_OK;
}

/* --- all requests of one message ---------------------------------------------------------------------------------------------------- */
static enum bm_rc look_up(struct bm_keeper *k, const struct bm_enrol *c, const struct bm_proven *who, int64_t now,
                          struct bm_approval *a, struct bm_error *e)
{
    enum bm_rc rc;

    memcpy(a->udid, who->device.udid, BM_UDID_LEN);
    a->keygen = c->keygen;
    rc = bm_approval_find(k->store, a, now, a, e);
    if (rc == BM_OK && strcmp(a->state, "denied") == 0)
        return bm_refuse(e, BM_DENIED, "approval-denied", "request %lld was looked at and denied", (long long)a->id);
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

static enum bm_rc pending(int64_t id, struct bm_error *e)
{
    if (id == 0)
        return bm_refuse(e, BM_AGAIN, "approval-pending", "a person would have to approve this request first");
    return bm_refuse(e, BM_AGAIN, "approval-pending", "request %lld waits until somebody approves it: 'birthmark approval approve'",
                     (long long)id);
}

/* *ret_new: one of them was not there before. */
static enum bm_rc write_down_new(struct bm_keeper *k, const struct bm_enrol *c, const struct bm_proven *who, int64_t now,
                                 struct bm_approval *wanted, size_t n, bool *ret_new, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    for (size_t i = 0; rc == BM_OK && i < n; i++) {
        if (wanted[i].id != 0)
            continue;
        *ret_new = true;
        rc = add(k, c, who, now, &wanted[i], e);
    }
    return rc;
}

enum bm_rc bm_approval_check(struct bm_keeper *k, const struct bm_enrol *c, const struct bm_proven *who, bool dry, int64_t now,
                             struct bm_approval *wanted, size_t n, struct bm_error *e)
{
    bool new = false;
    enum bm_rc rc = check_twice(wanted, n, e);

    for (size_t i = 0; rc == BM_OK && i < n; i++)
        rc = look_up(k, c, who, now, &wanted[i], e);
    if (rc == BM_OK && !dry)
        rc = write_down_new(k, c, who, now, wanted, n, &new, e);
    for (size_t i = 0; rc == BM_OK && i < n; i++)
        if (strcmp(wanted[i].state, "approved") != 0)
            rc = pending(wanted[i].id, e);
    if (!dry) /* who asks again each minute does not fill the book of refusals */
        k->told = rc == BM_AGAIN && !new;
    return rc;
}

/* --- who decides -------------------------------------------------------------------------------------------------------------------- */
BM_ADMIN_HANDLER(bm_admin_approval_list)
{
    static const char *const by[] = { "state", "batch", "udid", NULL };

    (void)blob;
    return bm_admin_list(k, "approval", by, in, out, e);
}

static enum bm_rc check_open(const struct bm_approval *a, const char *state, int64_t now, struct bm_error *e)
{
    if (strcmp(a->state, "used") == 0)
        return bm_fail(e, BM_CONFLICT, "approval %lld has been used: the device has its certificate", (long long)a->id);
    if (a->expires_at <= now)
        return bm_fail(e, BM_CONFLICT, "approval %lld is over; the device has to ask again", (long long)a->id);
    if (strcmp(a->state, state) == 0)
        return bm_fail(e, BM_CONFLICT, "request %lld is %s already", (long long)a->id, state);
    return BM_OK;
}

static enum bm_rc decide(struct bm_keeper *k, const json_t *in, const char *state, json_t *out, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    struct bm_approval a;
    char event[32], until[24];
    int64_t now;
    enum bm_rc rc = bm_keeper_now(k, &now, e);

    if (rc == BM_OK)
        rc = bm_approval_by_id(k->store, bm_arg_int(in, "number", 0), &a, e);
    if (rc == BM_OK)
        rc = check_open(&a, state, now, e);
    if (rc != BM_OK)
        return rc;
    snprintf(a.state, sizeof a.state, "%s", state);
    snprintf(a.decided_by, sizeof a.decided_by, "%s", k->actor != NULL ? k->actor : "system");
    a.decided_at = now;
    a.expires_at = now + BM_APPROVAL_LIFE_S;
    rc = bm_approval_decide(k->store, &a, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "number", json_integer(a.id));
    json_object_set_new(out, "state", json_string(state));
    json_object_set_new(out, "expires_at", json_string(bm_time_text(a.expires_at, until)));
    fields = fields_of(&a);
    snprintf(event, sizeof event, "approval.%s", state);
    return bm_record(k, now, event, fields, e) == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "deciding on a request");
}

BM_ADMIN_HANDLER(bm_admin_approval_approve)
{
    (void)blob;
    return decide(k, in, "approved", out, e);
}

BM_ADMIN_HANDLER(bm_admin_approval_deny)
{
    (void)blob;
    return decide(k, in, "denied", out, e);
}
