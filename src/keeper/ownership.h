/* Whose a device is. Every change of owner passes through one function, so that what the old owner's services had ends, and the history, the
 * audit log and the revocation lists tell the same. */
#ifndef BM_KEEPER_OWNERSHIP_H
#define BM_KEEPER_OWNERSHIP_H

#include "keeper/internal.h"

enum bm_how {
    BM_HOW_TRANSFER, /* offered by one side, accepted by the other */
    BM_HOW_FORCED,   /* by the administrator alone */
    BM_HOW_CLAIM,    /* with a one-time code */
    BM_HOW_RENTAL,   /* until an end date */
    BM_HOW_RETURN,   /* a rental is over */
    BM_HOWS
};

const char *bm_how_name(enum bm_how how);

/* The owner: the device's own entry, else its product's organisation; 0: it has none yet. */
BM_MUST_USE enum bm_rc bm_owner_of(struct bm_keeper *k, const struct bm_device *d, int64_t *ret_org, struct bm_error *e);

/* Makes org_id the owner of d (whose owner_id follows): revokes every live credential of the device with affiliationChanged (RFC 5280
 * section 5.3.1), adds a row to its history and a leaf to the audit log. State, batch, quota and IDevID stay as they are; the device enrols again with
 * its IDevID key.
 * until        Unix seconds when a rental ends; 0 otherwise.
 * ret_revoked  how many credentials that ended.
 * Checks before the first write: BM_CONFLICT "illegal-transition" for a device that is retired or compromised (but for BM_HOW_RETURN),
 * "same-owner" when it is the organisation's already, "rented" while a rental runs (but for BM_HOW_RETURN, which ends it); BM_NOTFOUND
 * when there is no such organisation. An offer that waits for an answer is dropped. Inside a transaction. */
BM_MUST_USE enum bm_rc bm_ownership_move(struct bm_keeper *k, struct bm_device *d, int64_t org_id, enum bm_how how, int64_t until,
                                         int64_t now, int64_t *ret_revoked, struct bm_error *e);

/* The checks alone. */
BM_MUST_USE enum bm_rc bm_ownership_check(struct bm_keeper *k, const struct bm_device *d, int64_t org_id, enum bm_how how,
                                          struct bm_error *e);

/* What one organisation gives to another for a while: BM_HOW_RENTAL and the row that ends it. As above, and BM_CONFLICT "no-owner". */
BM_MUST_USE enum bm_rc bm_rental_begin(struct bm_keeper *k, struct bm_device *d, int64_t tenant_id, int64_t until, int64_t now,
                                       int64_t *ret_revoked, struct bm_error *e);
/* Gives it back, be it due or not. */
BM_MUST_USE enum bm_rc bm_rental_finish(struct bm_keeper *k, const struct bm_rental *r, int64_t now, int64_t *ret_revoked,
                                        struct bm_error *e);
/* Until when a device's certificates may last: the end of the rental that runs, else INT64_MAX. BM_AGAIN "rental-over" between the end of
 * a rental and the moment that housekeeping takes the device back. */
BM_MUST_USE enum bm_rc bm_rental_limit(struct bm_keeper *k, const struct bm_device *d, int64_t now, int64_t *ret,
                                       struct bm_error *e);

#endif
