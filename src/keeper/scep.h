/* What the keeper's files about SCEP share: docs/scep.md. */
#ifndef BM_KEEPER_SCEP_H
#define BM_KEEPER_SCEP_H

#include "keeper/internal.h"
#include "keeper/upstream.h"
#include "pki/scep.h"

/* Who speaks SCEP for a CA. The CA's own key may be one that decrypts nothing, and shall not anyway, so this is an RA of its own (RFC 8894 section
 * 2.1.3): an RSA key, sealed like a CA's, and a certificate by the CA that renews itself. */
struct bm_ra {
    int64_t ca_id;
    struct bm_key *key;
    struct bm_buf der;
    struct bm_cert cert; /* borrows from der */
};
/* Lent until the next one is asked for. Makes key or certificate inside the open transaction if need be. BM_DENIED: the CA cannot issue. */
BM_MUST_USE enum bm_rc bm_ra_get(struct bm_keeper *k, int64_t ca_id, int64_t now, struct bm_ra **ret, struct bm_error *e);

/* The RA that an envelope is for, by whichever of its certificates; that of `likely_ca` is looked at first. BM_DENIED "scep-recipient". */
BM_MUST_USE enum bm_rc bm_ra_of_envelope(struct bm_keeper *k, int64_t likely_ca, const struct bm_scep_envelope *v, int64_t now,
                                         struct bm_ra **ret, const struct bm_scep_recipient **ret_to, struct bm_error *e);

/* One pkiMessage on its way to its answer. */
struct bm_scep_case {
    struct bm_keeper *k;
    const struct bm_message *in; /* as it came: for the record */
    int64_t now;
    bool kept;            /* it came some time ago, and was kept until an approval */
    struct bm_rd service; /* from the path, or empty */
    struct bm_rd batch;   /* from the path: one whose hook vouches for challenges; or empty */
    int64_t ca_id;        /* whose RA it was sent to; before that is known, that of its path */
    struct bm_buf der;    /* of the message */
    struct bm_scep_message m;
    struct bm_cert signer; /* borrows from der */
    EVP_PKEY *signer_key;
    bool self_signed;
    struct bm_buf inner; /* the envelope */
    struct bm_scep_envelope envelope;
    enum bm_scep_cipher cipher;
    struct bm_buf plain;           /* what was in it */
    struct bm_rd expected_subject; /* of a poll: the request that waits must have this one; or empty */
    uint8_t digest[32];            /* names the transaction */
    struct bm_enrol enrol;
    uint8_t udid[BM_UDID_LEN]; /* that a code was given with */
    bool recorded;             /* the refusal is written down already */
    struct bm_buf reply;       /* what goes back sealed: certs-only SignedData */
};
void bm_scep_case_done(struct bm_scep_case *c);
/* The outside: parsed. Fails with what no CertRep can say. */
BM_MUST_USE enum bm_rc bm_scep_case_read(struct bm_scep_case *c, struct bm_rd body, struct bm_error *e);
/* The signer's certificate and signature, the attributes; then the envelope opened. */
BM_MUST_USE enum bm_rc bm_scep_case_check(struct bm_scep_case *c, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_scep_case_open(struct bm_scep_case *c, struct bm_error *e);

/* scep_admit.c: may this message cost private RSA operations? is_signed: its signature is right. BM_AGAIN "scep-busy". */
BM_MUST_USE enum bm_rc bm_scep_admit(struct bm_scep_case *c, bool is_signed, struct bm_error *e);
/* scep_request.c: sets `digest` */
void bm_scep_name_transaction(struct bm_scep_case *c);
/* PKCSReq and RenewalReq; with what `reply` is then. BM_AGAIN "approval-pending". */
BM_MUST_USE enum bm_rc bm_scep_request(struct bm_scep_case *c, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_scep_poll(struct bm_scep_case *c, struct bm_error *e);
/* scep_get.c */
BM_MUST_USE enum bm_rc bm_scep_get_cert(struct bm_scep_case *c, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_scep_get_crl(struct bm_scep_case *c, struct bm_error *e);
/* scep_next.c: what comes after this CA, as RFC 8894 section 4.7 wants it told: a SignedData by the CA itself, lent until the next is asked for.
 * BM_NOTFOUND "scep-no-next-ca". */
BM_MUST_USE enum bm_rc bm_scep_next(struct bm_keeper *k, int64_t ca_id, int64_t now, struct bm_rd *ret, struct bm_error *e);
bool bm_scep_has_next(struct bm_keeper *k, int64_t ca_id);
void bm_scep_next_drop(struct bm_keeper *k);
/* The signer's key as evidence. */
void bm_scep_show_key(struct bm_scep_case *c);

#endif
