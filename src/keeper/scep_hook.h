/* Device management vouches for a challengePassword (docs/scep.md, "Device management"): a batch has the address of a hook, and whoever sends a
 * PKCSReq to that batch's path gets PENDING while the hook is asked, by an errand (errand.h). The request waits as it came, sealed to our RA; the
 * challenge is nowhere else at rest.
 *
 *   PKCSReq -> judged -> errand queued -> PENDING ... the hook says allow
 *   CertPoll, or the same PKCSReq -> judged -> certificate; the device is registered and the errand goes, in the same transaction */
#ifndef BM_KEEPER_SCEP_HOOK_H
#define BM_KEEPER_SCEP_HOOK_H

#include "keeper/enrol.h"
#include "keeper/errand.h"

#define BM_HOOK_ERRAND "scep-hook"
enum {
    BM_HOOK_SECRET_LEN = 32,
    BM_HOOK_REASON_LEN = 121,
    BM_HOOK_TELL_S = 60 /* a denial is final so long; then the same may be asked again */
};

/* What a batch has of it. */
struct bm_hook {
    char url[512];
    struct bm_buf trust; /* PEM: what its server's certificate must lead to; empty: the system's */
    int64_t secret_id;   /* mac_key.h */
};
void bm_hook_done(struct bm_hook *h);
BM_MUST_USE enum bm_rc bm_hook_get(struct bm_keeper *k, int64_t batch_id, struct bm_hook *ret,
                                   struct bm_error *e); /* BM_NOTFOUND */

/* --- scep_hook_text.c, pure ------------------------------------------------------------------------------------------------------ */
struct bm_hook_facts {
    const char *id; /* the same for each attempt to ask about one request */
    int64_t time;
    const char *batch, *product, *peer;
    struct bm_rd transaction_id, csr, subject, spki, challenge;
};
/* The body of the question, JSON. BM_DENIED "scep-request": the challenge is no UTF-8. */
BM_MUST_USE enum bm_rc bm_hook_body(const struct bm_hook_facts *f, struct bm_buf *ret, struct bm_error *e);
/* "sha256=" and the HMAC in hex; nothing when the library failed. */
enum { BM_HOOK_SIGNATURE_LEN = 7 + 64 + 1 };
BM_MUST_USE enum bm_rc bm_hook_sign(struct bm_rd secret, struct bm_rd body, char ret[BM_HOOK_SIGNATURE_LEN], struct bm_error *e);
/* {"allow": true or false, "reason": text} and whatever else. reason: escaped, or "". BM_MALFORMED. */
BM_MUST_USE enum bm_rc bm_hook_answer(struct bm_rd body, bool *ret_allow, char ret_reason[BM_HOOK_REASON_LEN], struct bm_error *e);

/* --- for evidence.c, enrol_plan.c, enrol.c --------------------------------------------------------------------------------------- */
BM_MUST_USE enum bm_rc bm_hook_judge(struct bm_keeper *k, uint8_t op, const struct bm_enrol *c, int64_t now, struct bm_proven *ret,
                                     struct bm_error *e);
/* The hook has said yes to what is asked for, or it is asked. BM_AGAIN "scep-hook-pending", BM_DENIED "scep-hook-denied" and others. */
BM_MUST_USE enum bm_rc bm_hook_check(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_plan *p,
                                     struct bm_error *e);
/* The yes is used, and a newcomer registered; before the first credential is written. */
BM_MUST_USE enum bm_rc bm_hook_spend(struct bm_keeper *k, const struct bm_enrol *c, struct bm_plan *p, int64_t now,
                                     struct bm_error *e);
extern const struct bm_errand_kind bm_errand_scep_hook;

#endif
