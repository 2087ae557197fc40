/* An upstream CA over ACME (RFC 8555), as its client. One step is one request; what the steps before have brought is in the errand's state, as JSON:
 *
 *   directory -> lookup [-> register] -> order [-> authz [-> respond]] ... -> poll -> finalize -> poll -> certificate
 *
 * and of a certificate that is to be revoked: directory -> lookup -> revoke. A step that needs a nonce and has none fetches one first. Nothing of the state is secret. */
#ifndef BM_KEEPER_UPSTREAM_ACME_H
#define BM_KEEPER_UPSTREAM_ACME_H

#include "keeper/cloud.h"
#include "pki/acme.h"

/* One answer to a step, and where the errand goes from here. */
struct bm_acme_trip {
    const struct bm_upstream_job *j;
    const struct bm_task_answer *a;
    json_t *state;
    json_t *body; /* the answer's; NULL: no JSON object */
    struct bm_upstream_got *ret;
    bool over; /* what the step asked for had been done before */
};
struct bm_acme_step {
    const char *name;
    const char *url;  /* where in the state its address is; NULL: the directory's, or a hook's */
    const char *hook; /* asked of the DNS hook, not of the CA: the last part of its address */
    json_t *(*payload)(const struct bm_upstream_job *j, const json_t *state, struct bm_error *e); /* NULL: POST-as-GET */
    enum bm_rc (*read)(struct bm_acme_trip *t, struct bm_error *e);                               /* an answer of 2xx */
    enum bm_rc (*refused)(struct bm_acme_trip *t, const char *problem, struct bm_error *e); /* BM_OK: not for this step to say */
    bool by_key; /* signed with "jwk": there is no account yet */
};
const struct bm_acme_step *bm_acme_step_of(const json_t *state);

/* upstream_acme_names.c: what is ordered: the DNS names and addresses of a request. NULL with *e filled: there is none, or one that ACME cannot order. */
json_t *bm_acme_identifiers_of(struct bm_rd san, struct bm_error *e);

/* The authorization behind this one; behind the last, the order. */
BM_MUST_USE enum bm_rc bm_acme_next_authorization(struct bm_acme_trip *t, struct bm_error *e);

/* --- upstream_acme_dns.c: dns-01 ------------------------------------------------------------------------------------------------ */
/* Do options and secrets fit? BM_USAGE. */
BM_MUST_USE enum bm_rc bm_acme_dns_check(const struct bm_upstream *u, const struct bm_upstream_secret *s, struct bm_error *e);
/* Before anybody is asked: names that this CA may not be asked for with dns-01. BM_DENIED "upstream-request". */
BM_MUST_USE enum bm_rc bm_acme_dns_may(const struct bm_upstream_job *j, struct bm_error *e);
/* The record for this challenge, and to the step that has it written. */
BM_MUST_USE enum bm_rc bm_acme_dns_begin(struct bm_acme_trip *t, const char *name, const char *token, struct bm_error *e);
/* A record may be there that has to be taken away. */
bool bm_acme_dns_is_up(const json_t *state);
/* To the step that takes it away; *e's refusal is told after that. */
BM_MUST_USE enum bm_rc bm_acme_dns_give_up(struct bm_acme_trip *t, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_acme_dns_task(const struct bm_upstream_job *j, const json_t *state, const char *act, struct bm_buf *ret,
                                        struct bm_error *e);
BM_MUST_USE enum bm_rc bm_acme_dns_presented(struct bm_acme_trip *t, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_acme_dns_withdrawn(struct bm_acme_trip *t, struct bm_error *e);

/* The errand's account key; NULL with *e filled. */
struct bm_key *bm_acme_account_key(const struct bm_upstream_secret *s, struct bm_error *e);
/* Does this address lead where the directory is? Others are not gone to, whoever names them. */
bool bm_acme_same_place(const struct bm_upstream *u, const char *url);
/* To that step, at once or after a while. */
BM_MUST_USE enum bm_rc bm_acme_go(struct bm_acme_trip *t, const char *step, uint32_t wait_s, struct bm_error *e);

#endif
