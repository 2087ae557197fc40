/* Who owns a device: transfers that both sides agree to, rentals, and the history. */
#include "keeper/ownership.h"

#include "base/text.h"

#include <stdio.h>

enum { DAY_S = 86400, OFFER_S = 30 * DAY_S, OFFER_MAX_S = 366 * DAY_S };
#define RENTAL_MAX_S ((int64_t)10 * 366 * DAY_S)

/* What the acts below start from: a device, the organisation that speaks, and the time. */
struct side {
    struct bm_device device;
    struct bm_org as;
    int64_t now;
};

static void side_done(struct side *s)
{
    bm_device_done(&s->device);
}

static enum bm_rc load_org(struct bm_keeper *k, const json_t *in, const char *member, struct bm_org *ret, struct bm_error *e)
{
    const char *name;
    enum bm_rc rc = bm_arg_name(in, member, &name, e);

    return rc == BM_OK ? bm_org_get(k->store, name, ret, e) : rc;
}

static enum bm_rc load_side(struct bm_keeper *k, const json_t *in, struct side *ret, struct bm_error *e)
{
    enum bm_rc rc = bm_arg_device(k, in, &ret->device, &ret->now, e);

    return rc == BM_OK ? load_org(k, in, "as", &ret->as, e) : rc;
}

static enum bm_rc check_owner(struct bm_keeper *k, const struct side *s, struct bm_error *e)
{
    int64_t owner;
    enum bm_rc rc = bm_owner_of(k, &s->device, &owner, e);

    if (rc == BM_OK && owner != s->as.id)
        return bm_refuse(e, BM_DENIED, "not-owner", "'%s' does not own the device, so it cannot give it away", s->as.name);
    return rc;
}

static enum bm_rc record(struct bm_keeper *k, const json_t *in, const struct side *s, const char *event, int64_t until,
                         struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char text[24];

    fields = json_pack("{s:O, s:s*, s:s*, s:s*}", "udid", json_object_get(in, "udid"), "as", s->as.id != 0 ? s->as.name : NULL,
                       "org", bm_arg_text(in, "org"), "until", until != 0 ? bm_time_text(until, text) : NULL);
    return fields != NULL ? bm_record(k, s->now, event, fields, e) : bm_fail(e, BM_NOMEM, "no memory for the audit log");
}

static void tell(json_t *out, const char *owner, int64_t revoked, int64_t until)
{
    char text[24];

    if (owner != NULL)
        json_object_set_new(out, "owner", json_string(owner));
    if (revoked >= 0)
        json_object_set_new(out, "revoked", json_integer(revoked));
    if (until != 0)
        json_object_set_new(out, "until", json_string(bm_time_text(until, text)));
}

/* --- offers ---------------------------------------------------------------------------------------------------------------------- */
/* One that has run out makes room for the next. */
static enum bm_rc check_no_offer(struct bm_keeper *k, const struct side *s, struct bm_error *e)
{
    struct bm_offer o;
    enum bm_rc rc = bm_offer_of(k->store, s->device.id, &o, e);

    if (rc == BM_OK && o.until > s->now)
        return bm_refuse(e, BM_CONFLICT, "already-offered", "the device has been offered already; withdraw that offer first");
    return rc == BM_OK || rc == BM_NOTFOUND ? bm_offer_drop(k->store, s->device.id, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_device_offer)
{
    BM_CLEANUP(side_done) struct side s = { .now = 0 };
    struct bm_offer o = { .id = 0 };
    struct bm_org to;
    enum bm_rc rc = load_side(k, in, &s, e);

    (void)blob;
    if (rc == BM_OK)
        rc = load_org(k, in, "org", &to, e);
    if (rc == BM_OK)
        rc = bm_arg_until(in, "until", s.now, OFFER_S, OFFER_MAX_S, &o.until, e);
    if (rc == BM_OK)
        rc = check_owner(k, &s, e);
    if (rc == BM_OK)
        rc = bm_ownership_check(k, &s.device, to.id, BM_HOW_TRANSFER, e);
    if (rc == BM_OK)
        rc = check_no_offer(k, &s, e);
    if (rc != BM_OK)
        return rc;
    o.device_id = s.device.id;
    o.from_id = s.as.id;
    o.to_id = to.id;
    o.created_at = s.now;
    snprintf(o.actor, sizeof o.actor, "%s", k->actor != NULL ? k->actor : "system");
    rc = bm_offer_put(k->store, &o, e);
    tell(out, NULL, -1, o.until);
    return rc == BM_OK ? record(k, in, &s, "device.offered", o.until, e) : rc;
}

enum party { GIVER, TAKER };

/* The offer that waits, for the side that may say this to it. */
static enum bm_rc load_offer(struct bm_keeper *k, const json_t *in, enum party who, struct side *s, struct bm_offer *ret,
                             struct bm_error *e)
{
    char until[24];
    enum bm_rc rc = load_side(k, in, s, e);

    if (rc == BM_OK)
        rc = bm_offer_of(k->store, s->device.id, ret, e);
    if (rc == BM_NOTFOUND && s->as.id != 0)
        return bm_refuse(e, BM_NOTFOUND, "no-offer", "the device has not been offered to anybody");
    if (rc != BM_OK)
        return rc;
    if (s->as.id != (who == GIVER ? ret->from_id : ret->to_id))
        return bm_refuse(e, BM_DENIED, "not-your-offer", "the device was not offered %s '%s'", who == GIVER ? "by" : "to",
                         s->as.name);
    if (who == TAKER && ret->until <= s->now)
        return bm_refuse(e, BM_CONFLICT, "offer-expired", "the offer ran out at %s; ask for a new one",
                         bm_time_text(ret->until, until));
    return BM_OK;
}

BM_ADMIN_HANDLER(bm_admin_device_accept)
{
    BM_CLEANUP(side_done) struct side s = { .now = 0 };
    struct bm_offer o;
    int64_t revoked;
    enum bm_rc rc = load_offer(k, in, TAKER, &s, &o, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_ownership_move(k, &s.device, s.as.id, BM_HOW_TRANSFER, 0, s.now, &revoked, e);
    if (rc == BM_OK)
        tell(out, s.as.name, revoked, 0);
    return rc;
}

static enum bm_rc say_no(struct bm_keeper *k, const json_t *in, enum party who, const char *event, struct bm_error *e)
{
    BM_CLEANUP(side_done) struct side s = { .now = 0 };
    struct bm_offer o;
    enum bm_rc rc = load_offer(k, in, who, &s, &o, e);

    if (rc == BM_OK)
        rc = bm_offer_drop(k->store, s.device.id, e);
    return rc == BM_OK ? record(k, in, &s, event, 0, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_device_decline)
{
    (void)blob, (void)out;
    return say_no(k, in, TAKER, "device.offer-declined", e);
}

BM_ADMIN_HANDLER(bm_admin_device_withdraw)
{
    (void)blob, (void)out;
    return say_no(k, in, GIVER, "device.offer-withdrawn", e);
}

BM_ADMIN_HANDLER(bm_admin_offer_list)
{
    static const char *const by[] = { "giver", "taker", NULL };

    (void)blob;
    return bm_admin_list(k, "offer", by, in, out, e);
}

/* --- the administrator alone ---------------------------------------------------------------------------------------------------- */
BM_ADMIN_HANDLER(bm_admin_device_transfer)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    struct bm_org o;
    int64_t now, revoked;
    enum bm_rc rc = bm_arg_device(k, in, &d, &now, e);

    (void)blob;
    if (rc == BM_OK)
        rc = load_org(k, in, "org", &o, e);
    if (rc == BM_OK && !json_is_true(json_object_get(in, "force")))
        rc = bm_refuse(
            e, BM_DENIED, "consent-needed",
            "both sides have to agree: 'birthmark device offer', then 'accept'; --force does without, and says so in the log");
    if (rc == BM_OK)
        rc = bm_ownership_move(k, &d, o.id, BM_HOW_FORCED, 0, now, &revoked, e);
    if (rc == BM_OK)
        tell(out, o.name, revoked, 0);
    return rc;
}

/* --- rentals --------------------------------------------------------------------------------------------------------------------- */
BM_ADMIN_HANDLER(bm_admin_device_rent)
{
    BM_CLEANUP(side_done) struct side s = { .now = 0 };
    struct bm_org tenant;
    int64_t until, revoked;
    enum bm_rc rc = load_side(k, in, &s, e);

    (void)blob;
    if (rc == BM_OK)
        rc = load_org(k, in, "org", &tenant, e);
    if (rc == BM_OK)
        rc = bm_arg_until(in, "until", s.now, 0, RENTAL_MAX_S, &until, e);
    if (rc == BM_OK)
        rc = check_owner(k, &s, e);
    if (rc == BM_OK)
        rc = bm_rental_begin(k, &s.device, tenant.id, until, s.now, &revoked, e);
    if (rc == BM_OK)
        tell(out, tenant.name, revoked, until);
    return rc;
}

static enum bm_rc load_rental(struct bm_keeper *k, const json_t *in, struct side *s, struct bm_rental *ret, struct bm_error *e)
{
    enum bm_rc rc = bm_arg_device(k, in, &s->device, &s->now, e);

    if (rc != BM_OK)
        return rc;
    rc = bm_rental_of(k->store, s->device.id, ret, e);
    return rc == BM_NOTFOUND ? bm_refuse(e, BM_NOTFOUND, "not-rented", "the device is not rented out") : rc;
}

/* An earlier end would leave certificates that outlast it: that is what ending now is for. */
BM_ADMIN_HANDLER(bm_admin_device_extend)
{
    BM_CLEANUP(side_done) struct side s = { .now = 0 };
    struct bm_rental r;
    int64_t until;
    enum bm_rc rc = load_rental(k, in, &s, &r, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_arg_until(in, "until", s.now, 0, RENTAL_MAX_S, &until, e);
    if (rc == BM_OK && until <= r.ends_at)
        rc = bm_fail(e, BM_USAGE, "the rental lasts that long already; 'birthmark device return' ends it now");
    if (rc == BM_OK && r.ends_at <= s.now)
        rc = bm_refuse(e, BM_CONFLICT, "rental-over", "the rental is over; rent the device out anew");
    if (rc == BM_OK)
        rc = bm_rental_set_end(k->store, s.device.id, until, e);
    if (rc != BM_OK)
        return rc;
    tell(out, NULL, -1, until);
    return record(k, in, &s, "device.rental-extended", until, e);
}

BM_ADMIN_HANDLER(bm_admin_device_return)
{
    BM_CLEANUP(side_done) struct side s = { .now = 0 };
    struct bm_rental r;
    struct bm_org owner;
    int64_t revoked;
    enum bm_rc rc = load_rental(k, in, &s, &r, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_org_by_id(k->store, r.owner_id, &owner, e);
    if (rc == BM_OK)
        rc = bm_rental_finish(k, &r, s.now, &revoked, e);
    if (rc == BM_OK)
        tell(out, owner.name, revoked, 0);
    return rc;
}

BM_ADMIN_HANDLER(bm_admin_rental_list)
{
    static const char *const by[] = { "owner", "tenant", NULL };

    (void)blob;
    return bm_admin_list(k, "rental", by, in, out, e);
}

/* --- history --------------------------------------------------------------------------------------------------------------------- */
BM_ADMIN_HANDLER(bm_admin_device_history)
{
    static const char *const by[] = { "udid", NULL };
    uint8_t udid[BM_UDID_LEN];
    int64_t id, batch;
    enum bm_rc rc = bm_arg_hex(in, "udid", udid, sizeof udid, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_device_peek(k->store, udid, &id, &batch, e);
    return rc == BM_OK ? bm_admin_list(k, "ownership", by, in, out, e) : rc;
}
