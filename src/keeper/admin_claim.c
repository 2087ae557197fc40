/* Claims: a code, most often printed as a QR code on the box, that lets its holder's organisation take a device or a reel. docs/codes.md */
#include "keeper/ownership.h"

#include <stdio.h>

#define PURPOSE "birthmark-claim-v1"
enum { VALID_DEFAULT_S = 365 * 86400, STEP = 200 };

/* --- made --------------------------------------------------------------------------------------------------------------------------- */
/* Only what the giver owns can be claimed: looked at now, so that a mistake is told, and at the taking, because then it counts. */
static enum bm_rc check_owner(struct bm_keeper *k, struct bm_claim *c, const struct bm_device *d, struct bm_error *e)
{
    char udid[2 * BM_UDID_LEN + 1];
    int64_t owner;
    enum bm_rc rc = bm_owner_of(k, d, &owner, e);

    if (rc != BM_OK)
        return rc;
    bm_hex(d->udid, BM_UDID_LEN, udid);
    c->from_id = c->from_id != 0 ? c->from_id : owner;
    if (owner == 0 || owner != c->from_id)
        return bm_refuse(e, BM_CONFLICT, "claim-owner", "device %.12s... %s", udid,
                         owner == 0 ? "has no owner yet" : "belongs to another organisation than the one that gives");
    return BM_OK;
}

static enum bm_rc take_device(struct bm_keeper *k, const char *hex, struct bm_claim *c, int64_t *ret_id, struct bm_error *e)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    uint8_t udid[BM_UDID_LEN];
    enum bm_rc rc;

    if (!bm_unhex(bm_rd_str(hex), udid, sizeof udid))
        return bm_fail(e, BM_USAGE, "a UDID has %d hex digits", 2 * BM_UDID_LEN);
    rc = bm_device_get(k->store, udid, &d, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "device %.12s...", hex);
    *ret_id = d.id;
    return check_owner(k, c, &d, e);
}

/* The batch's product's maker gives it, unless `from` says otherwise. */
static enum bm_rc take_batch(struct bm_keeper *k, const json_t *in, struct bm_claim *c, struct bm_error *e)
{
    struct bm_product p;
    struct bm_batch b;
    const char *name;
    enum bm_rc rc = bm_arg_name(in, "batch", &name, e);

    if (rc == BM_OK)
        rc = bm_batch_get(k->store, name, &b, e);
    if (rc == BM_OK)
        rc = bm_product_by_id(k->store, b.product_id, &p, e);
    if (rc != BM_OK)
        return rc;
    c->batch_id = b.id;
    c->from_id = c->from_id != 0 ? c->from_id : p.org_id;
    return BM_OK;
}

/* UDIDs, one a line, as the blob. */
static enum bm_rc put_items(struct bm_keeper *k, struct bm_rd list, struct bm_claim *c, bool store, struct bm_error *e)
{
    char hex[2 * BM_UDID_LEN + 1];
    size_t n = 0;
    enum bm_rc rc = BM_OK;

    while (rc == BM_OK && list.n != 0) {
        struct bm_rd line = bm_rd_line(&list);
        int64_t id;

        if (line.n == 0)
            continue;
        if (line.n != sizeof hex - 1 || ++n > BM_CLAIM_LIST_MAX)
            return bm_fail(e, BM_USAGE, "the list must have 1 to %d UDIDs, one a line; line %zu has not", BM_CLAIM_LIST_MAX, n);
        snprintf(hex, sizeof hex, "%.*s", (int)line.n, (const char *)line.p);
        rc = take_device(k, hex, c, &id, e);
        if (rc == BM_OK && store)
            rc = bm_claim_add_item(k->store, c->id, id, e);
    }
    return rc == BM_OK && n == 0 ? bm_fail(e, BM_USAGE, "the list of devices is empty") : rc;
}

static enum bm_rc take_words(struct bm_keeper *k, const json_t *in, struct bm_rd blob, struct bm_claim *c, struct bm_error *e)
{
    const char *note = bm_arg_text(in, "note"), *udid = bm_arg_text(in, "udid"), *from = bm_arg_text(in, "from_org");
    bool batch = bm_arg_text(in, "batch") != NULL;
    struct bm_org giver;
    enum bm_rc rc = BM_OK;

    if (batch + (udid != NULL) + (blob.n != 0) != 1)
        return bm_fail(e, BM_USAGE, "a claim is for a device, a batch or a list of devices: give one of them");
    if (note != NULL && strlen(note) >= BM_TEXT_MAX)
        return bm_fail(e, BM_LIMIT, "'note' may have %d bytes", BM_TEXT_MAX - 1);
    snprintf(c->note, sizeof c->note, "%s", note != NULL ? note : "");
    if (from != NULL)
        rc = bm_org_get(k->store, from, &giver, e);
    if (rc == BM_OK && from != NULL)
        c->from_id = giver.id;
    if (rc == BM_OK && batch)
        rc = take_batch(k, in, c, e);
    if (rc == BM_OK && udid != NULL)
        rc = take_device(k, udid, c, &c->device_id, e);
    if (rc == BM_OK && blob.n != 0)
        rc = put_items(k, blob, c, false, e); /* only looked at: the claim has no id yet */
    return rc == BM_OK && c->from_id == 0 ? bm_refuse(e, BM_CONFLICT, "claim-owner", "nobody owns it yet: --from says who gives")
                                          : rc;
}

static enum bm_rc record_claim(struct bm_keeper *k, const struct bm_claim *c, const char *event, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp)
    json_t *fields = json_pack("{s:I, s:I, s:I, s:I}", "claim", (json_int_t)c->id, "expires_at", (json_int_t)c->expires_at, "moved",
                               (json_int_t)c->moved, "passed", (json_int_t)c->passed);
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    char udid[2 * BM_UDID_LEN + 1];
    struct bm_org org;
    struct bm_batch b;
    enum bm_rc rc = bm_org_by_id(k->store, c->from_id, &org, e);

    if (rc == BM_OK)
        json_object_set_new(fields, "from", json_string(org.name));
    if (rc == BM_OK && c->org_id != 0 && (rc = bm_org_by_id(k->store, c->org_id, &org, e)) == BM_OK)
        json_object_set_new(fields, "owner", json_string(org.name));
    if (rc == BM_OK && c->batch_id != 0 && (rc = bm_batch_by_id(k->store, c->batch_id, &b, e)) == BM_OK)
        json_object_set_new(fields, "batch", json_string(b.name));
    if (rc == BM_OK && c->device_id != 0 && (rc = bm_device_by_id(k->store, c->device_id, &d, e)) == BM_OK) {
        bm_hex(d.udid, BM_UDID_LEN, udid);
        json_object_set_new(fields, "udid", json_string(udid));
    }
    return rc == BM_OK ? bm_record(k, now, event, fields, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_claim_create)
{
    char text[BM_CODE_TEXT_LEN], until[24];
    struct bm_claim c = { 0 };
    enum bm_rc rc = take_words(k, in, blob, &c, e);

    if (rc == BM_OK)
        rc = bm_keeper_now(k, &c.created_at, e);
    if (rc == BM_OK)
        rc = bm_arg_until(in, "valid", c.created_at, VALID_DEFAULT_S, BM_CODE_LIFE_MAX_S, &c.expires_at, e);
    if (rc == BM_OK)
        rc = bm_code_make(PURPOSE, text, c.digest, e);
    if (rc == BM_OK)
        rc = bm_claim_put(k->store, &c, e);
    if (rc == BM_OK && blob.n != 0)
        rc = put_items(k, blob, &c, true, e);
    if (rc == BM_OK)
        rc = record_claim(k, &c, "claim.created", c.created_at, e);
    if (rc == BM_OK) {
        json_object_set_new(out, "number", json_integer(c.id));
        json_object_set_new(out, "code", json_string(text));
        json_object_set_new(out, "expires_at", json_string(bm_time_text(c.expires_at, until)));
    }
    bm_wipe(text, sizeof text);
    return rc;
}

/* --- taken -------------------------------------------------------------------------------------------------------------------------- */
/* What was scanned may be the code, or a URI that ends in it. */
static struct bm_rd code_of(const char *scanned)
{
    const char *code = scanned;

    for (const char *p = scanned; *p != '\0'; p++)
        if (*p == ':' || *p == '/' || *p == '=' || *p == '#')
            code = p + 1;
    return bm_rd_str(code);
}

static enum bm_rc find(struct bm_keeper *k, const char *scanned, int64_t now, struct bm_claim *ret, struct bm_error *e)
{
    const struct bm_rd target = bm_rd_str("claim");
    uint8_t digest[32];
    enum bm_rc rc = bm_code_attempts_check(k, k->actor, target, now, e);

    if (rc != BM_OK)
        return rc;
    rc = bm_code_read_digest(PURPOSE, code_of(scanned), digest, e);
    if (rc == BM_OK)
        rc = bm_claim_find(k->store, digest, ret, e);
    if (rc == BM_DENIED || rc == BM_NOTFOUND)
        bm_code_attempts_wrong(k, k->actor, target, now);
    return rc == BM_NOTFOUND ? bm_refuse(e, BM_DENIED, "claim-wrong", "there is no claim with this code") : rc;
}

static enum bm_rc still_good(const struct bm_claim *c, const struct bm_org *to, int64_t now, struct bm_error *e)
{
    if (c->revoked_at != 0)
        return bm_refuse(e, BM_DENIED, "claim-revoked", "this claim has been revoked");
    if (c->org_id != 0 && c->org_id != to->id)
        return bm_refuse(e, BM_CONFLICT, "claim-taken", "somebody else has taken this claim");
    if (c->org_id == 0 && c->expires_at <= now)
        return bm_refuse(e, BM_DENIED, "claim-expired", "this claim's time is over");
    if (c->from_id == to->id)
        return bm_refuse(e, BM_CONFLICT, "same-owner", "'%s' cannot claim what it gives itself", to->name);
    return BM_OK;
}

/* A device that has changed hands otherwise since, or cannot (retired, compromised, rented out), is passed over. */
static enum bm_rc move_one(struct bm_keeper *k, struct bm_claim *c, int64_t id, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    int64_t owner = 0, revoked;
    enum bm_rc rc = bm_device_by_id(k->store, id, &d, e);

    if (rc == BM_OK)
        rc = bm_owner_of(k, &d, &owner, e);
    if (rc == BM_OK && owner != c->from_id)
        rc = BM_CONFLICT;
    if (rc == BM_OK)
        rc = bm_ownership_check(k, &d, c->org_id, BM_HOW_CLAIM, e);
    if (rc == BM_CONFLICT) {
        c->passed++;
        return BM_OK;
    }
    if (rc == BM_OK)
        rc = bm_ownership_move(k, &d, c->org_id, BM_HOW_CLAIM, 0, now, &revoked, e);
    c->moved += rc == BM_OK;
    return rc;
}

static enum bm_rc step(struct bm_keeper *k, struct bm_claim *c, int64_t now, struct bm_error *e)
{
    int64_t devices[STEP];
    size_t n;
    enum bm_rc rc = bm_claim_next(k->store, c, devices, STEP, &n, e);

    for (size_t i = 0; rc == BM_OK && i < n; i++)
        rc = move_one(k, c, devices[i], now, e);
    if (rc != BM_OK)
        return rc;
    c->done_at = c->cursor_id >= c->last_id ? now : 0;
    rc = bm_claim_step(k->store, c, e);
    return rc == BM_OK && c->done_at != 0 ? record_claim(k, c, "claim.done", now, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_claim_take)
{
    struct bm_claim c = { 0 };
    struct bm_org to = { 0 };
    const char *name;
    int64_t now = 0;
    enum bm_rc rc = bm_arg_name(in, "org", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = find(k, bm_arg_text(in, "claim"), now, &c, e);
    if (rc == BM_OK)
        rc = bm_org_get(k->store, name, &to, e);
    if (rc == BM_OK)
        rc = still_good(&c, &to, now, e);
    if (rc == BM_OK && c.org_id == 0 && (rc = bm_claim_take(k->store, &c, to.id, now, e)) == BM_OK)
        rc = record_claim(k, &c, "claim.taken", now, e);
    if (rc == BM_OK && c.done_at == 0)
        rc = step(k, &c, now, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "number", json_integer(c.id));
    json_object_set_new(out, "owner", json_string(to.name));
    json_object_set_new(out, "moved", json_integer(c.moved));
    json_object_set_new(out, "passed", json_integer(c.passed));
    json_object_set_new(out, "done", json_boolean(c.done_at != 0));
    return BM_OK;
}

/* --- seen to ------------------------------------------------------------------------------------------------------------------------ */
BM_ADMIN_HANDLER(bm_admin_claim_list)
{
    static const char *const by[] = { "batch", "udid", "owner", NULL };

    (void)blob;
    return bm_admin_list(k, "claim", by, in, out, e);
}

BM_ADMIN_HANDLER(bm_admin_claim_revoke)
{
    struct bm_claim c = { 0 };
    int64_t now, number = bm_arg_int(in, "number", 0);
    enum bm_rc rc = bm_keeper_now(k, &now, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_claim_by_id(k->store, number, &c, e);
    if (rc == BM_OK && (c.revoked_at != 0 || c.done_at != 0))
        rc = bm_fail(e, BM_CONFLICT, "claim %lld is %s already", (long long)number, c.done_at != 0 ? "done" : "revoked");
    if (rc == BM_OK)
        rc = bm_claim_revoke(k->store, number, now, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "number", json_integer(number));
    return record_claim(k, &c, "claim.revoked", now, e);
}
