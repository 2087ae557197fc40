#include "keeper/act.h"

#include "base/text.h"

#include <stdio.h>

enum { UNSPECIFIED = 0, KEY_COMPROMISE = 1, SUPERSEDED = 4, CESSATION = 5 };

const struct bm_act bm_acts[] = {
    { "suspend", "device.suspended", BM_STATES, BM_SUSPENDED, false, UNSPECIFIED },
    { "resume", "device.resumed", BM_SUSPENDED, BM_ACTIVE, false, UNSPECIFIED },
    { "retire", "device.retired", BM_STATES, BM_RETIRED, true, CESSATION },
    { "compromise", "device.compromised", BM_STATES, BM_COMPROMISED, true, KEY_COMPROMISE },
    { "reset", "device.reset", BM_ACTIVE, BM_ALLOCATED, true, SUPERSEDED },
    { NULL, NULL, BM_STATES, BM_STATES, false, 0 },
};

const struct bm_act *bm_act_find(const char *name)
{
    for (const struct bm_act *a = bm_acts; name != NULL && a->name != NULL; a++)
        if (strcmp(a->name, name) == 0)
            return a;
    return NULL;
}

enum bm_rc bm_act_check(const struct bm_act *a, const struct bm_device *d, struct bm_error *e)
{
    enum bm_state from;

    if (!bm_state_parse(d->state, &from))
        return bm_fail(e, BM_BUG, "device in unknown state '%s'", d->state);
    if (a->only != BM_STATES && from != a->only)
        return bm_refuse(e, BM_CONFLICT, "illegal-transition", "%s is for a device that is %s; this one is %s", a->name,
                         bm_state_name(a->only), d->state);
    return bm_state_move(from, a->to, e);
}

enum bm_rc bm_act_do(struct bm_keeper *k, const struct bm_act *a, struct bm_device *d, int reason, int64_t now,
                     int64_t *ret_revoked, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char udid[2 * BM_UDID_LEN + 1];
    int64_t revoked = 0;
    enum bm_rc rc = bm_act_check(a, d, e);

    reason = reason < 0 ? a->reason : reason;
    if (rc == BM_OK)
        rc = bm_device_set_state(k->store, d->id, bm_state_name(a->to), 0, e);
    if (rc == BM_OK && a->revokes)
        rc = bm_device_revoke_all(k, d->id, reason, now, &revoked, e);
    if (rc != BM_OK)
        return rc;
    bm_hex(d->udid, BM_UDID_LEN, udid);
    fields = json_pack("{s:s, s:s, s:s, s:I}", "udid", udid, "from", d->state, "reason", bm_reason_name(reason), "revoked",
                       (json_int_t)revoked);
    snprintf(d->state, sizeof d->state, "%s", bm_state_name(a->to));
    *ret_revoked = revoked;
    return bm_record(k, now, a->event, fields, e);
}
