/* Trust bundles: what the devices of a service are to trust, as one signed, numbered file (docs/trust.md). */
#ifndef BM_KEEPER_TRUST_H
#define BM_KEEPER_TRUST_H

#include "keeper/internal.h"
#include "pki/jws.h"

struct bm_bundle {
    int64_t version, not_before, not_after;
    struct bm_buf jws;
    json_t *payload; /* owned */
};
void bm_bundle_done(struct bm_bundle *b);
/* trust_cas.c: what the bundle of this service has to name now, a new array; last: of the version before, or NULL. */
BM_MUST_USE enum bm_rc bm_bundle_cas(struct bm_keeper *k, const struct bm_service *s, const json_t *last, int64_t now, json_t **ret,
                                     struct bm_error *e);
/* The bundle of this service as it has to be now: made anew, inside the open transaction, when its CAs have changed or half its life is over.
 * BM_NOTFOUND "unknown-service". */
BM_MUST_USE enum bm_rc bm_bundle_fresh(struct bm_keeper *k, struct bm_rd service, int64_t now, struct bm_bundle *ret,
                                       struct bm_error *e);

#endif
