/* A certificate profile while it is read: what JSON said, before it is judged and turned into DER. */
#ifndef BM_PKI_PROFILE_DRAFT_H
#define BM_PKI_PROFILE_DRAFT_H

#include "pki/impl.h"

#include <jansson.h>

enum { DRAFT_OIDS_MAX = 8, DRAFT_URIS_MAX = 4 };

struct draft_oids {
    struct {
        uint8_t der[32];
        size_t n;
    } at[DRAFT_OIDS_MAX];
    size_t n;
};
struct draft_uris {
    const char *at[DRAFT_URIS_MAX]; /* lent by the JSON value */
    size_t n;
};
struct draft {
    struct bm_profile *p;
    bool has_validity, has_end, has_backdate, ocsp_nocheck, must_staple;
    uint8_t key_usage;
    struct draft_oids eku, policies;
    struct draft_uris crl, ocsp, issuers;
    const char *masa_url; /* lent by the JSON value; NULL: none */
};

/* Reads every member of the object into d. */
BM_MUST_USE enum bm_rc draft_read(struct draft *d, const json_t *profile, struct bm_error *e);
/* RFC 5280 and IEEE 802.1AR: what a profile may not be. */
BM_MUST_USE enum bm_rc draft_lint(const struct draft *d, struct bm_error *e);
/* The extensions that are the same in each certificate, into d->p->fixed. */
BM_MUST_USE enum bm_rc draft_compile(struct draft *d, struct bm_error *e);

/* Key algorithms a profile can name. */
struct profile_key {
    const char *name; /* in the profile */
    const char *alg;  /* as in bm_spki.alg */
    struct bm_rd oid, params, signature;
    uint8_t usage_never; /* enum bm_key_usage that make no sense with such a key */
};
extern const struct profile_key profile_keys[];
extern const size_t profile_keys_count;
const struct profile_key *profile_key_find(const char *alg);

#endif
