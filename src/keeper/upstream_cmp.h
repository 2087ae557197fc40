/* What the files keeper/upstream_cmp*.c share: a transaction with an upstream CA over CMP, as it lies in the errand between its steps. */
#ifndef BM_KEEPER_UPSTREAM_CMP_H
#define BM_KEEPER_UPSTREAM_CMP_H

#include "keeper/upstream_ra.h"
#include "pki/cmp_client.h"

enum { BM_UPSTREAM_CMP_ROUNDS = 3 }; /* transactions begun for one request, when the upstream CA loses them on the way */

/*   ASK: p10cr --> cp with a certificate --(confirmed implicitly)--> done        --> cp, waiting --> POLL
 *                                        \--> CONFIRM: certConf --> pkiconf --> done
 *   POLL: pollReq --> pollRep: again after checkAfter | cp: as above
 *   REVOKE, where a certificate is to be revoked: rr --> rp --> done             --> rp or error, waiting --> POLL
 *   An error in POLL or CONFIRM: the upstream CA may have forgotten the transaction, or we have died before its answer was written down: ASK, or REVOKE, anew. */
enum bm_upstream_cmp_step { BM_UPSTREAM_CMP_ASK = 1, BM_UPSTREAM_CMP_POLL, BM_UPSTREAM_CMP_CONFIRM, BM_UPSTREAM_CMP_REVOKE };

/* Nothing secret. All borrow. */
struct bm_upstream_cmp_state {
    uint8_t step, round;
    int64_t req_id;
    struct bm_rd tid, nonce;   /* nonce: of our message of this step */
    struct bm_rd their_nonce;  /* of their last message, or empty */
    struct bm_rd issuer;       /* the certificate of the CA that is asked */
    struct bm_rd signer, cert; /* whose signature was on their first message; what is to be confirmed; or empty */
};
void bm_upstream_cmp_write(struct bm_buf *out, const struct bm_upstream_cmp_state *s);
BM_MUST_USE enum bm_rc bm_upstream_cmp_parse(struct bm_rd in, struct bm_upstream_cmp_state *ret, struct bm_error *e);

/* The state of what comes next, under a nonce of its own. */
BM_MUST_USE enum bm_rc bm_upstream_cmp_next(struct bm_upstream_cmp_state s, enum bm_upstream_cmp_step step, struct bm_buf *ret,
                                            struct bm_error *e);

/* upstream_cmp_read.c: the driver's read, and that of its revoking. */
BM_MUST_USE enum bm_rc bm_upstream_cmp_read(const struct bm_upstream_job *j, const struct bm_task_answer *a,
                                            struct bm_upstream_got *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_upstream_cmp_revoke_read(const struct bm_upstream_job *j, const struct bm_task_answer *a,
                                                   struct bm_upstream_got *ret, struct bm_error *e);

/* upstream_cmp_check.c: is that an answer to our message of this step, by somebody who may give it? RFC 9483 section 3.5. *ret_signer: the
 * signer's certificate, in m, or empty when it is protected by the secret. BM_DENIED "upstream-untrusted"; BM_AGAIN for a word of refusal that
 * nobody has signed and that came over a connection that anybody could have written into. */
BM_MUST_USE enum bm_rc bm_upstream_cmp_check(const struct bm_upstream_job *j, const struct bm_upstream_cmp_state *s,
                                             const struct bm_cmp *m, struct bm_rd *ret_signer, struct bm_error *e);

/* REF and SECRET of --login. False when there is none. */
bool bm_upstream_cmp_login(const struct bm_upstream_secret *s, struct bm_rd *ret_ref, struct bm_rd *ret_secret);

#endif
