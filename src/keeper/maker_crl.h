/* Revocation lists of those whom organisations are trusted for: chip makers, signers of manifests, registration authorities, other networks
 * (docs/revocation.md, "Of others"). maker_crl.c answers who is on one, maker_take.c takes them in, maker_fetch.c has them fetched. */
#ifndef BM_KEEPER_MAKER_CRL_H
#define BM_KEEPER_MAKER_CRL_H

#include "keeper/internal.h"
#include "pki/crl_read.h"
#include "store/held_crl.h"

/* One list of an anchor's. The row, which keeps where it is fetched and whether that is a must, may be there without one. */
struct bm_maker {
    struct bm_held_crl row; /* with its list */
    int64_t org_id;
    struct bm_buf anchor_der;
    struct bm_cert anchor; /* borrows from it */
    bool has;
    struct bm_crl crl; /* borrows from row.der */
    struct bm_crl_index index;
};

struct bm_makers {
    bool look;
    size_t n;
    struct bm_maker *at[BM_MAKER_CRLS_MAX];
};
/* All there are, read again when they may have changed. */
BM_MUST_USE enum bm_rc bm_makers_get(struct bm_keeper *k, struct bm_makers **ret, struct bm_error *e);

/* maker_take.c. A list of this anchor's: verified, newer than what is there (the same one is fine), written and recorded. `how`: "brought", "fetched".
 * BM_DENIED "bad-crl", "crl-dates"; BM_CONFLICT "crl-old". */
BM_MUST_USE enum bm_rc bm_maker_take(struct bm_keeper *k, struct bm_held_crl *row, struct bm_rd der, const char *how, int64_t now,
                                     struct bm_error *e);
/* For org.trust: what the operator says of these anchors (ids of their rows), and lists out of the file, each by the anchor that has signed it. url and
 * over may be NULL: as it was. */
struct bm_maker_wish {
    const char *url, *over, *purpose;
    int64_t org_id;
    const json_t *ids;
    struct bm_rd file;
};
BM_MUST_USE enum bm_rc bm_maker_wish(struct bm_keeper *k, const struct bm_maker_wish *w, int64_t now, int64_t *ret_lists,
                                     struct bm_error *e);

#endif
