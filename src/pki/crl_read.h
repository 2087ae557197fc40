/* Certificate revocation lists of others, read: RFC 5280 section 5. Complete lists only: no deltas, no lists of another's certificates. */
#ifndef BM_PKI_CRL_READ_H
#define BM_PKI_CRL_READ_H

#include "pki/cert.h"

enum { BM_CRL_NUMBER_LEN = 20 }; /* section 5.2.3: at most so long */

/* A parsed list; everything borrows from the bytes given. */
struct bm_crl {
    struct bm_rd whole, tbs, sig_alg, sig;
    struct bm_rd issuer;               /* whole Name */
    struct bm_rd akid;                 /* keyIdentifier, or empty */
    uint8_t number[BM_CRL_NUMBER_LEN]; /* big-endian, zeros in front: memcmp() tells which is higher */
    int64_t this_update, next_update;  /* Unix seconds */
    struct bm_rd entries;              /* bm_crl_next() */
    size_t n;                          /* how many */
    bool users_only, cas_only;         /* section 5.2.5: what it says nothing about, it does not call good */
};
/* Strict DER, v2, with number and nextUpdate, each entry well-formed: all of it or nothing. Signature, issuer and dates are bm_crl_check()'s.
 * BM_MALFORMED "bad-crl", BM_LIMIT over BM_CRL_MAX. */
BM_MUST_USE enum bm_rc bm_crl_parse(struct bm_rd der, struct bm_crl *ret, struct bm_error *e);

struct bm_crl_entry {
    struct bm_rd serial; /* contents of the INTEGER, as in struct bm_cert */
    int64_t revoked_at;
    int reason; /* section 5.3.1; 0: unspecified, or not said */
};
/* The next of `entries` of a list that was parsed; false: there is none. */
bool bm_crl_next(struct bm_rd *entries, struct bm_crl_entry *ret);

/* Is it this CA's own, and signed by its key (section 6.3.3 (b), (f), (g))? BM_DENIED "bad-crl". */
BM_MUST_USE enum bm_rc bm_crl_check(const struct bm_crl *crl, const struct bm_cert *issuer, struct bm_error *e);
/* BM_DENIED "crl-dates": made in the future, or over. */
BM_MUST_USE enum bm_rc bm_crl_check_dates(const struct bm_crl *crl, int64_t now, struct bm_error *e);

/* Finding one of many: places of entries in the list, in the order of their serial numbers. Belongs with a list that stays where it is. */
struct bm_crl_index {
    uint32_t *at; /* offsets in entries */
    size_t n;
};
BM_MUST_USE enum bm_rc bm_crl_index_make(const struct bm_crl *crl, struct bm_crl_index *ret, struct bm_error *e);
void bm_crl_index_done(struct bm_crl_index *x);
bool bm_crl_index_find(const struct bm_crl_index *x, const struct bm_crl *crl, struct bm_rd serial, struct bm_crl_entry *ret);

/* The list in a file, whether PEM ("X509 CRL", the last) or DER; appended to ret, not parsed. BM_NOTFOUND: no list is in it. */
BM_MUST_USE enum bm_rc bm_crl_in_file(struct bm_rd file, struct bm_buf *ret_der, struct bm_error *e);

#endif
