#include "keeper/ownership.h"

#include "base/text.h"

#include <stdio.h>

enum { AFFILIATION_CHANGED = 3 }; /* RFC 5280 section 5.3.1 */

static const struct {
    const char *name, *event;
    bool ends_rental; /* and so asks neither for the device's state nor for a rental */
} hows[BM_HOWS] = {
    [BM_HOW_TRANSFER] = { "transfer", "device.transferred", false }, [BM_HOW_FORCED] = { "forced", "device.transferred", false },
    [BM_HOW_CLAIM] = { "claim", "device.claimed", false },           [BM_HOW_RENTAL] = { "rental", "device.rented", false },
    [BM_HOW_RETURN] = { "return", "device.returned", true },
};

const char *bm_how_name(enum bm_how how)
{
    return (size_t)how < BM_HOWS ? hows[how].name : "?";
}

enum bm_rc bm_owner_of(struct bm_keeper *k, const struct bm_device *d, int64_t *ret_org, struct bm_error *e)
{
    struct bm_batch b;
    struct bm_product p;
    enum bm_rc rc;

    *ret_org = d->owner_id;
    if (d->owner_id != 0 || d->batch_id == 0)
        return BM_OK;
    rc = bm_batch_by_id(k->store, d->batch_id, &b, e);
    if (rc == BM_OK)
        rc = bm_product_by_id(k->store, b.product_id, &p, e);
    if (rc == BM_OK)
        *ret_org = p.org_id;
    return rc;
}

static enum bm_rc check_free(struct bm_keeper *k, const struct bm_device *d, struct bm_error *e)
{
    struct bm_rental r;
    char until[24];
    enum bm_rc rc = bm_rental_of(k->store, d->id, &r, e);

    if (rc == BM_OK)
        return bm_refuse(e, BM_CONFLICT, "rented", "the device is rented out until %s; 'birthmark device return' ends that",
                         bm_time_text(r.ends_at, until));
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

static enum bm_rc check(struct bm_keeper *k, const struct bm_device *d, int64_t from, const struct bm_org *to, enum bm_how how,
                        struct bm_error *e)
{
    if (hows[how].ends_rental)
        return BM_OK;
    if (strcmp(d->state, bm_state_name(BM_RETIRED)) == 0 || strcmp(d->state, bm_state_name(BM_COMPROMISED)) == 0)
        return bm_refuse(e, BM_CONFLICT, "illegal-transition", "a device that is %s cannot change hands", d->state);
    if (from == to->id)
        return bm_refuse(e, BM_CONFLICT, "same-owner", "the device is already owned by '%s'", to->name);
    return check_free(k, d, e);
}

enum bm_rc bm_ownership_check(struct bm_keeper *k, const struct bm_device *d, int64_t org_id, enum bm_how how, struct bm_error *e)
{
    struct bm_org to;
    int64_t from;
    enum bm_rc rc = bm_org_by_id(k->store, org_id, &to, e);

    if (rc == BM_OK)
        rc = bm_owner_of(k, d, &from, e);
    return rc == BM_OK ? check(k, d, from, &to, how, e) : rc;
}

static enum bm_rc record(struct bm_keeper *k, const struct bm_device *d, const struct bm_ownership *o, enum bm_how how,
                         const char *from, const char *to, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char udid[2 * BM_UDID_LEN + 1], until[24];

    bm_hex(d->udid, BM_UDID_LEN, udid);
    fields = json_pack("{s:s, s:s, s:s, s:s, s:I, s:s*}", "udid", udid, "how", o->how, "from", from, "owner", to, "revoked",
                       (json_int_t)o->revoked, "until", o->until != 0 ? bm_time_text(o->until, until) : NULL);
    return fields != NULL ? bm_record(k, o->at, hows[how].event, fields, e) : bm_fail(e, BM_NOMEM, "no memory for the audit log");
}

static enum bm_rc write_move(struct bm_keeper *k, struct bm_device *d, struct bm_ownership *o, struct bm_error *e)
{
    enum bm_rc rc = bm_device_set_owner(k->store, d->id, o->to_id, e);

    if (rc == BM_OK)
        rc = bm_device_revoke_all(k, d->id, AFFILIATION_CHANGED, o->at, &o->revoked, e);
    if (rc == BM_OK)
        rc = bm_ownership_add(k->store, o, e);
    if (rc == BM_OK)
        rc = bm_offer_drop(k->store, d->id, e);
    if (rc == BM_OK)
        d->owner_id = o->to_id;
    return rc;
}

enum bm_rc bm_ownership_move(struct bm_keeper *k, struct bm_device *d, int64_t org_id, enum bm_how how, int64_t until, int64_t now,
                             int64_t *ret_revoked, struct bm_error *e)
{
    struct bm_ownership o = { .device_id = d->id, .to_id = org_id, .at = now, .until = until };
    struct bm_org from = { 0 }, to;
    enum bm_rc rc = bm_org_by_id(k->store, org_id, &to, e);

    if (rc == BM_OK)
        rc = bm_owner_of(k, d, &o.from_id, e);
    if (rc == BM_OK && o.from_id != 0)
        rc = bm_org_by_id(k->store, o.from_id, &from, e);
    if (rc == BM_OK)
        rc = check(k, d, o.from_id, &to, how, e);
    if (rc != BM_OK)
        return rc;
    snprintf(o.how, sizeof o.how, "%s", hows[how].name);
    snprintf(o.actor, sizeof o.actor, "%s", k->actor != NULL ? k->actor : "system");
    rc = write_move(k, d, &o, e);
    if (rc == BM_OK)
        rc = record(k, d, &o, how, from.name, to.name, e);
    if (rc == BM_OK)
        *ret_revoked = o.revoked;
    return rc;
}
