/* Owners for a while. A rental is a change of owner with a row beside it that ends it; housekeeping looks for rows that are due, so a rental
 * ends also when the server was down at that moment. */
#include "keeper/ownership.h"
enum bm_rc bm_rental_begin(struct bm_keeper *k, struct bm_device *d, int64_t tenant_id, int64_t until, int64_t now,
                           int64_t *ret_revoked, struct bm_error *e)
{
    struct bm_rental r = { .device_id = d->id, .tenant_id = tenant_id, .created_at = now, .ends_at = until };
    enum bm_rc rc = bm_owner_of(k, d, &r.owner_id, e);

    if (rc == BM_OK && r.owner_id == 0)
        rc = bm_refuse(e, BM_CONFLICT, "no-owner", "the device belongs to nobody yet, so nobody can rent it out");
    if (rc == BM_OK)
        rc = bm_ownership_move(k, d, tenant_id, BM_HOW_RENTAL, until, now, ret_revoked, e);
    return rc == BM_OK ? bm_rental_put(k->store, &r, e) : rc;
}

enum bm_rc bm_rental_finish(struct bm_keeper *k, const struct bm_rental *r, int64_t now, int64_t *ret_revoked, struct bm_error *e)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    enum bm_rc rc = bm_device_by_id(k->store, r->device_id, &d, e);

    if (rc == BM_OK)
        rc = bm_ownership_move(k, &d, r->owner_id, BM_HOW_RETURN, 0, now, ret_revoked, e);
    return rc == BM_OK ? bm_rental_drop(k->store, r->device_id, e) : rc;
}

enum bm_rc bm_rental_limit(struct bm_keeper *k, const struct bm_device *d, int64_t now, int64_t *ret, struct bm_error *e)
{
    struct bm_rental r;
    enum bm_rc rc;

    *ret = INT64_MAX;
    if (d->owner_id == 0) /* it never changed hands */
        return BM_OK;
    rc = bm_rental_of(k->store, d->id, &r, e);
    if (rc == BM_OK && r.ends_at <= now)
        return bm_refuse(e, BM_AGAIN, "rental-over", "the rental of this device is over; it goes back to its owner, try again");
    if (rc == BM_OK)
        *ret = r.ends_at;
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

static enum bm_rc look(struct bm_keeper *k, int64_t now, struct bm_error *e)
{
    struct bm_rental r;

    return bm_rental_due(k->store, now, &r, e);
}

static enum bm_rc finish_one(struct bm_keeper *k, int64_t now, struct bm_error *e)
{
    struct bm_rental r;
    int64_t revoked;
    enum bm_rc rc = bm_rental_due(k->store, now, &r, e);

    return rc == BM_OK ? bm_rental_finish(k, &r, now, &revoked, e) : rc;
}

const struct bm_chore bm_chore_rental = { "rental", "end the rentals that are over", look, finish_one };
