/* What revocation.c (CRLs), ocsp.c and cmp.c share: for each CA what it takes to answer for it, and what is kept ready. */
#ifndef BM_KEEPER_REVOCATION_H
#define BM_KEEPER_REVOCATION_H

#include "keeper/internal.h"
#include "pki/crl.h"
#include "pki/ocsp.h"

/* A CRL kept ready. */
struct bm_crl_ready {
    struct bm_buf der;
    char etag[BM_ETAG_LEN];
    size_t entries;
};

/* Who speaks for a CA in one protocol: a key that lives in this process only, and a short-lived certificate over it. */
struct bm_delegate {
    struct bm_key *key;
    struct bm_buf der;
    struct bm_cert cert; /* borrows from der */
    uint64_t epoch;      /* of the last look at whether it is revoked */
};

/* A list of a CA, or one part of it; epoch 0: not made yet. */
struct bm_crl_list {
    uint64_t epoch;
    struct bm_crl_row row;
    int64_t base; /* number of the complete CRL that the delta starts from; 0: there is no delta */
    struct bm_crl_ready full, delta;
};

/* One CA. */
struct bm_authority {
    int64_t ca_id, parent_id;
    char name[BM_NAME_LEN], organisation[65];
    bool revoked, elsewhere; /* elsewhere: its key is, and whoever has it makes its list (ca_crl.c) */
    int64_t revoked_at, not_after;
    int reason;
    uint8_t serial[21]; /* of its own certificate: contents of the INTEGER */
    size_t serial_len;
    struct bm_ocsp_issuer issuer;

    struct bm_crl_list list, *parts; /* of the whole CA; and n_parts of its parts, or NULL */
    size_t n_parts;

    struct bm_delegate responder, cmp;
};

/* An OCSP answer without nonce. */
struct bm_ocsp_ready {
    uint64_t epoch;
    int64_t this_update, next_update;
    struct bm_buf id, der; /* CertID as it was asked for; the response */
};

struct bm_revocation {
    uint64_t epoch; /* from 1; goes up whenever something is revoked: all that was made before is not used again */
    bool look_again;
    size_t n;
    struct bm_authority *at;     /* BM_OCSP_RESPONDERS_MAX at most */
    struct bm_ocsp_ready *ready; /* BM_OCSP_READY_MAX, direct-mapped */
};

/* k->revocation with all CAs of the registry in it. */
BM_MUST_USE enum bm_rc bm_authorities(struct bm_keeper *k, struct bm_revocation **ret, struct bm_error *e);
struct bm_authority *bm_authority_by_id(struct bm_revocation *r, int64_t ca_id);                 /* NULL: there is none */
struct bm_authority *bm_authority_of(struct bm_revocation *r, const uint8_t subject_sha256[32]); /* by its name, whole, DER */

/* delegate.c */
struct bm_delegate_kind {
    const char *profile, *event, *title;
};
extern const struct bm_delegate_kind bm_delegate_ocsp, bm_delegate_cmp;
/* Makes it, or makes it anew when half its life is over or somebody has revoked it, inside the open transaction. */
BM_MUST_USE enum bm_rc bm_delegate_ready(struct bm_keeper *k, const struct bm_authority *a, const struct bm_delegate_kind *kind,
                                         struct bm_delegate *d, struct bm_issuer *by, int64_t now, struct bm_error *e);
void bm_delegate_done(struct bm_delegate *d);

/* The list of this name, "CA" or for one of its parts "CA.pN": made now, inside the open transaction, if need be. BM_NOTFOUND "unknown-ca",
 * BM_DENIED "ca-revoked", "issuer-expired". */
BM_MUST_USE enum bm_rc bm_crl_fresh(struct bm_keeper *k, struct bm_rd name, int64_t now, struct bm_authority **ret,
                                    struct bm_crl_list **ret_list, struct bm_error *e);
/* BM_NOTFOUND "unknown-ca": there is no delta of this list. */
BM_MUST_USE enum bm_rc bm_crl_delta_check(const struct bm_authority *a, const struct bm_crl_list *l, struct bm_error *e);

/* ca_crl.c: of a CA whose key is elsewhere. Its list, as it was brought. BM_NOTFOUND "crl-missing". */
BM_MUST_USE enum bm_rc bm_ca_crl_load(struct bm_keeper *k, const struct bm_authority *a, struct bm_crl_list *ret,
                                      struct bm_error *e);
/* A list in a file that was brought: taken in, and the CAs on it put out of use. next_default: may be NULL. */
BM_MUST_USE enum bm_rc bm_ca_crl_import(struct bm_keeper *k, const char *name, struct bm_rd der, const char *next_default,
                                        int64_t now, json_t *out, struct bm_error *e);
/* Is a certificate of that CA on the list that was brought? BM_DENIED "ca-revoked". */
BM_MUST_USE enum bm_rc bm_ca_crl_check(struct bm_keeper *k, int64_t ca_id, struct bm_rd serial, struct bm_error *e);
/* "CA.pN" as CA and N; false: the name is none of that form. */
bool bm_crl_part_name(struct bm_rd name, struct bm_rd *ret_ca, int64_t *ret_part);

#endif
