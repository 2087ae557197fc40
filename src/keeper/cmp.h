/* The door for CMP, RFC 9810 in the profile of RFC 9483: a message in, a message out. docs/cmp.md. What the files keeper/cmp*.c share. */
#ifndef BM_KEEPER_CMP_H
#define BM_KEEPER_CMP_H

#include "keeper/internal.h"
#include "pki/cmp.h"
#include "pki/keypkg.h"
#include "store/cmp.h"

/* One message on its way through. */
struct bm_cmp_job {
    struct bm_keeper *k;
    int64_t now;
    struct bm_message in;
    struct bm_cmp m;
    struct bm_enrol c;     /* what the judge is asked, and what a refusal is written down with */
    struct bm_cert signer; /* whose signature protects the message */
    uint8_t who[32];       /* SHA-256 of its key, or of senderKID; the last bit of the first byte: by_mac */
    uint8_t digest[32];    /* of the transactionID */
    bool by_mac;           /* it is protected by a secret, not by a signature: */
    struct bm_cmp_mac mac; /* how */
    struct bm_buf secret;
    struct bm_batch batch; /* whom the code was given to */
    uint8_t udid[BM_UDID_LEN];
    uint8_t signer_id[BM_UDID_LEN]; /* what the signer's key is called when it came without a certificate */
    struct bm_keypkg_to keygen_to;  /* who gets a key that is made here */
    int64_t ra_org;                 /* the organisation that trusts who signed it as a registration authority; 0: it is none */
    struct bm_buf whole;            /* an answer that needs nothing around it */
    bool checked;                   /* header and protection are good: bm_cmp_check() */
    bool written_down;              /* the refusal: the judge has done it */
    bool lost;                      /* rows have been written: whatever fails now takes the transaction with it */
    struct bm_buf spki, wanted,
        judged;                    /* the signer's key, when there is no certificate; the key to be certified; the judge's answer */
    const struct bm_cmp_row *kept; /* this request came some time ago and has been kept: its transaction */
    struct bm_buf waited;          /* it, while a poll for it is answered */

    /* of the answer */
    struct bm_rd issuer;      /* Name of the CA that it comes from; empty: the one the message is addressed to */
    bool with_root;           /* caPubs: the root of that CA */
    char code[32];            /* what it waits for */
    struct bm_rd first_nonce; /* senderNonce of the request that it answers, when that is not this message */
    uint8_t nonce[BM_CMP_NONCE_LEN];
    bool implicit_confirm;
    int64_t confirm_until;
    const struct bm_cmp_granted *granted;
};

void bm_cmp_job_done(struct bm_cmp_job *j);
/* cmp.c: the message in j->in, answered. BM_IO: the transaction is lost. */
BM_MUST_USE enum bm_rc bm_cmp_run(struct bm_cmp_job *j, struct bm_buf *der, struct bm_error *e);
/* cmp.c: parsed, checked, done; the answer's body goes into w. */
BM_MUST_USE enum bm_rc bm_cmp_handle(struct bm_cmp_job *j, struct bm_derw *w, struct bm_error *e);

/* A refusal has a code; each code of ours here says which failInfo goes with it (cmp_error.c). */
enum bm_cmp_fail bm_cmp_fail_of(const struct bm_error *e);
/* Is it about the message or about us, and not about what the message asks for? */
bool bm_cmp_fail_is_outside(enum bm_cmp_fail fail);

/* cmp_check.c: RFC 9483 section 3.5. Sets signer, who, digest and the evidence. */
BM_MUST_USE enum bm_rc bm_cmp_check(struct bm_cmp_job *j, struct bm_error *e);

/* cmp_secret.c: the MAC, by the code that senderKID names. Sets secret, mac, by_mac and the evidence. */
BM_MUST_USE enum bm_rc bm_cmp_check_mac(struct bm_cmp_job *j, struct bm_error *e);

/* cmp_enrol.c, cmp_confirm.c, cmp_revoke.c, cmp_support.c: what a message asks for, done; the answer's body goes into w, unless it is j->granted. */
typedef enum bm_rc bm_cmp_fn(struct bm_cmp_job *j, struct bm_derw *w, struct bm_error *e);
bm_cmp_fn bm_cmp_ir, bm_cmp_cr, bm_cmp_kur, bm_cmp_p10cr, bm_cmp_certconf, bm_cmp_rr, bm_cmp_genm, bm_cmp_pollreq, bm_cmp_nested;

/* cmp_confirm.c: the transaction that a later message goes on with: of the same one, in this state, with the nonce of our last answer. */
BM_MUST_USE enum bm_rc bm_cmp_transaction(struct bm_cmp_job *j, enum bm_cmp_state state, struct bm_cmp_row *ret,
                                          struct bm_error *e);

/* cmp_poll.c: what the judge says (*e, BM_AGAIN) takes time, so the request is kept and answered with status waiting. */
BM_MUST_USE enum bm_rc bm_cmp_wait(struct bm_cmp_job *j, enum bm_cmp_type answer, int64_t req_id, struct bm_derw *w,
                                   struct bm_error *e);

/* cmp_ra.c: sets ra_org, after the signature has been verified. */
BM_MUST_USE enum bm_rc bm_cmp_see_ra(struct bm_cmp_job *j, struct bm_error *e);
/* The device that the subject of a registration authority's request names takes the place of evidence. */
BM_MUST_USE enum bm_rc bm_cmp_vouched(struct bm_cmp_job *j, struct bm_rd subject, struct bm_error *e);
/* Is the device with this row one that a registration authority speaks for? */
BM_MUST_USE enum bm_rc bm_cmp_speaks_for(struct bm_cmp_job *j, int64_t device_id, struct bm_error *e);
/* revoked: serial number in hex of the certificate that it had revoked; NULL: it asked for one */
BM_MUST_USE enum bm_rc bm_cmp_record_vouched(struct bm_cmp_job *j, const char *revoked, struct bm_error *e);

/* cmp_secret.c: the text of a code is not known here any more. */
BM_MUST_USE enum bm_rc bm_cmp_forget_code(struct bm_keeper *k, int64_t number, struct bm_error *e);

/* cmp_revoke.c: an active certificate, at its device's word or for want of it. */
BM_MUST_USE enum bm_rc bm_cmp_take_back(struct bm_keeper *k, const struct bm_credential *cr, int reason, const char *why,
                                        int64_t now, struct bm_error *e);

struct bm_authority;
/* cmp_answer.c: the CA that answers: that of the certificate, or else the one that the message is addressed to, or else the default one. */
BM_MUST_USE enum bm_rc bm_cmp_authority(struct bm_cmp_job *j, struct bm_authority **ret, struct bm_issuer **ret_by,
                                        struct bm_error *e);

/* cmp_answer.c: the message around a body */
BM_MUST_USE enum bm_rc bm_cmp_answer(struct bm_cmp_job *j, struct bm_rd body, struct bm_buf *out, struct bm_error *e);

#endif
