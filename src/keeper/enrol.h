/* The two halves of an enrolment: what is to be granted, worked out without writing anything, and then the writing. A dry run (admin_policy.c)
 * is the first half alone. */
#ifndef BM_KEEPER_ENROL_H
#define BM_KEEPER_ENROL_H

#include "keeper/internal.h"

/* One request on its way to a credential. */
struct bm_order {
    const struct bm_line_service *service; /* NULL: the product has none; lent by the line */
    const struct bm_profile *profile;      /* that its certificate is made by; lent by the line */
    struct bm_issuer *issuer;              /* the CA that signs it; lent by the cache */
    struct bm_csr csr;                     /* what was asked for */
    int64_t approval_id;                   /* who said yes to it; 0: nobody was needed to */
    int64_t errand_id;                     /* an upstream CA's answer it came from; 0: it is signed here */
    struct bm_credential credential;       /* cert, serial, not_before, not_after */
    struct bm_keygen keygen;               /* the key that was made for it, if one was */
};

struct bm_plan {
    bool dry;             /* set by the caller: certificates without the CA's signature, good for looking at only */
    struct bm_proven who; /* set by the caller: whom the evidence proves, or whom a dry run is about */
    struct bm_line *line; /* lent by the cache */
    int64_t not_after_max;
    int64_t hook_errand; /* a hook's yes that it rests on; 0: on none */
    size_t n;
    struct bm_order orders[BM_SERVICES_MAX];
};
void bm_plan_done(struct bm_plan *p);

/* What the profile's templates are filled with for this order; udid: room for the hex digits, which *ret borrows. */
void bm_plan_words(const struct bm_plan *p, const struct bm_order *o, char udid[2 * BM_UDID_LEN + 1], struct bm_subject_words *ret);

/* A device that is being activated counts against its batch's quota once: one that was reset has been counted. */
bool bm_plan_is_first(const struct bm_device *d);

/* Device state, policy, quota, requests: whatever an enrolment can be refused for is refused here, and nothing is written or used up, but for
 * what has to wait for a person (approval.c). On BM_OK the certificates are ready. */
BM_MUST_USE enum bm_rc bm_plan_enrol(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_plan *p,
                                     struct bm_error *e);

#endif
