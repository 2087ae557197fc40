/* CAs whose key is somebody else's. Birthmark then is the registration authority: it judges the device as ever, asks the upstream CA by an errand
 * (errand.h), checks what comes back, and gives it to the device when that comes again. docs/upstream.md.
 *
 *   request -> judged -> errand queued -> refused BM_AGAIN "upstream-pending" ... answer checked, kept in the errand
 *   the same request -> judged -> certificate given, recorded as any other; the errand goes in the same transaction */
#ifndef BM_KEEPER_UPSTREAM_H
#define BM_KEEPER_UPSTREAM_H

#include "keeper/enrol.h"
#include "keeper/errand.h"
#include "store/upstream.h"

#define BM_UPSTREAM_KEY "upstream:" /* begins ca.key_uri of such a CA, and of those above it */
#define BM_UPSTREAM_ERRAND "upstream"
enum {
    BM_UPSTREAM_CERTS_MAX = 8, /* in one answer */
    BM_UPSTREAM_STATE_MAX = 16 * 1024,
    BM_UPSTREAM_PER_DEVICE = 2 * BM_SERVICES_MAX, /* unanswered */
    BM_UPSTREAM_TELL_S = 60,                      /* a device hears of a failure for so long; then it may try again */
    BM_UPSTREAM_RETRY_S = 5,                      /* when it is told to come back */
};
static inline bool bm_ca_is_upstream(const struct bm_ca *ca)
{
    return strncmp(ca->key_uri, BM_UPSTREAM_KEY, sizeof BM_UPSTREAM_KEY - 1) == 0;
}

/* What opens the upstream CA's door, in clear; only while a task is made. */
struct bm_upstream_secret {
    struct bm_buf client_key; /* PEM, or empty */
    struct bm_buf login;      /* USER:PASSWORD, or empty */
    struct bm_buf hook_login,
        hook_trust; /* of a hook that is asked besides: USER:PASSWORD; PEM, what its server's certificate must lead to */
};
void bm_upstream_secret_done(struct bm_upstream_secret *s);

/* One request on its way. */
struct bm_upstream_job {
    const struct bm_upstream *u;
    const struct bm_upstream_secret *s;
    int64_t now;
    int64_t errand_id;  /* the same for each attempt: what an upstream CA knows a repetition by can be made of it */
    struct bm_rd csr;   /* PKCS#10, DER, as the device has sent it */
    struct bm_rd cert;  /* in place of it, what is to be revoked; else empty */
    struct bm_rd ca;    /* the same: the certificate of the CA that has given it */
    int reason;         /* and why: RFC 5280 section 5.3.1 */
    struct bm_rd state; /* what this driver's last step has left; empty at first */
};
struct bm_upstream_got {
    struct bm_buf room; /* what is decoded of the answer */
    struct bm_rd certs[BM_UPSTREAM_CERTS_MAX];
    size_t n;
    struct bm_buf state; /* for the next step. It lies in the registry in clear: nothing secret belongs in it */
    uint32_t wait_s;     /* before the next step or attempt, when the upstream CA has said; 0: as it comes */
};

/* How a driver tells of a revocation (upstream_revoke.h). All three are pure. */
struct bm_upstream_revoking {
    enum bm_rc (*start)(const struct bm_upstream_job *j, struct bm_buf *ret_state, struct bm_error *e); /* NULL: no state */
    enum bm_rc (*task)(const struct bm_upstream_job *j, struct bm_buf *ret_task, struct bm_error *e);
    /* BM_OK: it is revoked there, now or before. BM_AGAIN as in read below. BM_DENIED "upstream-refused": no, for good, by somebody who may say so;
     * any other refusal is nobody's word, and it is asked again later. */
    enum bm_rc (*read)(const struct bm_upstream_job *j, const struct bm_task_answer *a, struct bm_upstream_got *ret,
                       struct bm_error *e);
};

/* One way to ask, a row of bm_upstream_drivers[]. All but start are pure. */
struct bm_upstream_driver {
    const char *name;           /* as in --driver */
    const char *url_form;       /* for who gets --url wrong */
    bool plain_http;            /* http:// will do: its messages are protected themselves */
    bool system_trust;          /* without --trust, what the system trusts: a public service, not one under the CA's own root */
    bool key_alone;             /* --client is a private key, without a certificate */
    const char *const *options; /* names that --options may have, NULL-ended; NULL: none */
    /* When it is taken in: is what this driver needs there? NULL: it needs nothing. */
    enum bm_rc (*check)(const struct bm_upstream *u, const struct bm_upstream_secret *s, struct bm_error *e);
    /* Makes what --client would have given, where that is missing: PEM. NULL: it goes without. */
    enum bm_rc (*make_client)(struct bm_buf *ret_cert, struct bm_buf *ret_key, struct bm_error *e);
    /* The state that the first step finds, made while the judged order is at hand. NULL: empty. */
    enum bm_rc (*start)(struct bm_keeper *k, const struct bm_plan *p, const struct bm_order *o, struct bm_buf *ret_state,
                        struct bm_error *e);
    /* A step's request. It may be made more than once: a crash repeats the last step. */
    enum bm_rc (*task)(const struct bm_upstream_job *j, struct bm_buf *ret_task, struct bm_error *e);
    /* BM_OK: the certificates in the answer, in its order. BM_AGAIN: with a state, the next step; without, this step again, later. BM_DENIED,
     * BM_MALFORMED and others: no, for good. */
    enum bm_rc (*read)(const struct bm_upstream_job *j, const struct bm_task_answer *a, struct bm_upstream_got *ret,
                       struct bm_error *e);
    const struct bm_upstream_revoking *revoking; /* NULL: it has no word for it, */
    const char *unrevoked;                       /* and what that means, for the operator */
};
extern const struct bm_upstream_driver bm_upstream_est;  /* upstream_est.c: RFC 7030 */
extern const struct bm_upstream_driver bm_upstream_cmp;  /* upstream_cmp.c: RFC 9810 */
extern const struct bm_upstream_driver bm_upstream_scep; /* upstream_scep.c: RFC 8894 */
extern const struct bm_upstream_driver bm_upstream_acme; /* upstream_acme.c: RFC 8555 */
extern const struct bm_upstream_driver bm_upstream_awspca, bm_upstream_awskms, bm_upstream_azure;
const struct bm_upstream_driver *bm_upstream_driver_find(const char *name);
/* The value that --options gives this name; "" when it gives none. */
void bm_upstream_option(const struct bm_upstream *u, const char *name, char *ret, size_t size);
/* Seconds that the answer's Retry-After asks for (RFC 9110 section 10.2.3), or 0. */
uint32_t bm_upstream_retry_after(const struct bm_task_answer *a, int64_t now);
/* The upstream's "no" in its own words, by its HTTP status: BM_AGAIN "upstream-waits" for 202, 408, 429 and 5xx, with ret->wait_s; else BM_DENIED
 * "upstream-refused". */
enum bm_rc bm_upstream_no(const struct bm_upstream_job *j, const struct bm_task_answer *a, struct bm_upstream_got *ret,
                          struct bm_error *e);

/* Checks what --options says in "revoke": yes, no, or nothing. BM_USAGE. */
BM_MUST_USE enum bm_rc bm_upstream_revoke_check(const struct bm_upstream *u, struct bm_error *e);

/* An errand's way to its upstream CA, looked up anew for each step. bm_upstream_way_done() it. */
struct bm_upstream_way {
    struct bm_upstream u;
    struct bm_upstream_secret s;
    const struct bm_upstream_driver *driver;
    struct bm_upstream_job job; /* u, s, now, errand_id; the rest is the caller's */
};
void bm_upstream_way_done(struct bm_upstream_way *w);
BM_MUST_USE enum bm_rc bm_upstream_way_open(struct bm_keeper *k, int64_t ca_id, int64_t errand_id, int64_t now,
                                            struct bm_upstream_way *ret, struct bm_error *e);
void bm_upstream_got_done(struct bm_upstream_got *g);

/* In place of signing: *p's orders are filled with what the upstream CA has given, or it is asked. BM_AGAIN "upstream-pending", BM_DENIED
 * "upstream-refused" and others. Only the errand is written. */
BM_MUST_USE enum bm_rc bm_upstream_orders(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_plan *p,
                                          struct bm_error *e);
/* The certificate of this order is written down: what it came from is no longer needed. */
BM_MUST_USE enum bm_rc bm_upstream_given(struct bm_keeper *k, const struct bm_order *o, struct bm_error *e);
extern const struct bm_errand_kind bm_errand_upstream;

/* The certificate among those that came that fits: over csr's key, by ca, valid, and no CA's. BM_DENIED "upstream-refused". */
BM_MUST_USE enum bm_rc bm_upstream_pick(const struct bm_rd *certs, size_t n, const struct bm_csr *csr, const struct bm_cert *ca,
                                        int64_t now, struct bm_cert *ret, struct bm_error *e);

/* upstream_acme_view.c: of the account key by which an upstream CA knows us at a device's name; "": there is none. */
BM_MUST_USE enum bm_rc bm_upstream_thumbprint(struct bm_keeper *k, char ret[BM_ACME_THUMBPRINT_LEN], struct bm_error *e);

/* admin_upstream.c: secret sealed and opened; rows that move to another key-encryption key */
BM_MUST_USE enum bm_rc bm_upstream_open(struct bm_keeper *k, const struct bm_upstream *u, struct bm_upstream_secret *ret,
                                        struct bm_error *e);
BM_MUST_USE enum bm_rc bm_upstream_reseal(struct bm_keeper *k, int64_t from_kek, int64_t now, int64_t *ret_moved,
                                          struct bm_error *e);

#endif
