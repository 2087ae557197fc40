/* ACME's door (RFC 8555, docs/acme.md): one signed request from a worker, one answer. Inside of the keeper only.
 *
 *   order:  pending --all authorizations valid--> ready --finalize--> [processing: waits for somebody] --> valid
 *      |                                           |                        |
 *      +---- an authorization fails, or time ------+------- refused --------+--> invalid
 *
 * An authorization is pending until one of its challenges is valid or invalid, and then the same. An order is one row with all of them in it. */
#ifndef BM_KEEPER_ACME_H
#define BM_KEEPER_ACME_H

#include "keeper/internal.h"
#include "pki/acme.h"
#include "store/acme.h"

/* A request on its way. */
struct bm_acme {
    struct bm_keeper *k;
    const struct bm_acme_ask *ask;
    int64_t now;
    struct bm_acme_jws jws;
    struct bm_acme_account account; /* whose it is; id 0: of nobody yet */
    uint8_t thumbprint[32];         /* of the key that signed it */
    uint8_t udid[BM_UDID_LEN];      /* the device it is about, for the record */
    bool has_udid;
    bool recorded; /* its refusal has been written down */
    /* the answer */
    int status;
    json_t *reply;
    struct bm_buf chain; /* PEM, in place of reply */
    char location[BM_ACME_URL_MAX], up[BM_ACME_URL_MAX], next[BM_ACME_URL_MAX];
    char alternates[BM_ACME_ALTERNATES_MAX][BM_ACME_URL_MAX];
    size_t n_alternates;
    uint32_t retry_after_s;
};

/* acme.c */
typedef enum bm_rc bm_acme_fn(struct bm_acme *a, struct bm_error *e);
/* An address of ours: what stands behind /acme/. ret has BM_ACME_URL_MAX characters. */
__attribute__((format(printf, 3, 4))) const char *bm_acme_url(const struct bm_acme *a, char *ret, const char *fmt, ...);
/* Whole numbers with hyphens between them, exactly n. BM_NOTFOUND "acme-not-found". */
BM_MUST_USE enum bm_rc bm_acme_numbers(struct bm_rd label, int64_t *ret, size_t n, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_acme_not_found(struct bm_error *e);
/* POST-as-GET (section 6.3) and nothing else; or an object and nothing else. */
BM_MUST_USE enum bm_rc bm_acme_no_payload(const struct bm_acme *a, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_acme_some_payload(const struct bm_acme *a, struct bm_error *e);

/* acme_problem.c: what a refusal is to a client of ACME; the object to be put into an answer or an order */
int bm_acme_status(const struct bm_error *e);
bool bm_acme_is_limit(const struct bm_error *e); /* rateLimited: section 6.6 */
json_t *bm_acme_problem(const struct bm_error *e, const char *correlation);
/* A time as RFC 3339 has it. */
json_t *bm_acme_time(int64_t at);

/* acme_eab.c: external account binding, section 7.3.4 */
BM_MUST_USE enum bm_rc bm_acme_eab_verify(struct bm_acme *a, struct bm_acme_eab *ret, struct bm_error *e);
/* Of the account: still good? */
BM_MUST_USE enum bm_rc bm_acme_eab_of(struct bm_acme *a, struct bm_acme_eab *ret, struct bm_error *e);
/* May its accounts order for this device? BM_DENIED "acme-eab-scope". */
BM_MUST_USE enum bm_rc bm_acme_eab_covers(struct bm_keeper *k, const struct bm_acme_eab *b, const struct bm_device *d,
                                          struct bm_error *e);

/* acme_identifier.c */
struct bm_acme_identifier {
    const char *type, *value;
};
enum { BM_ACME_FOR_DEVICE, BM_ACME_FOR_NAMES };
/* Well-formed, of a kind that is taken, and one this binding allows? *ret_for: what a certificate with it is for. */
BM_MUST_USE enum bm_rc bm_acme_identifier_check(const struct bm_acme_identifier *i, const struct bm_acme_eab *b, int *ret_for,
                                                struct bm_error *e);
bool bm_acme_for_names(const char *type);
/* Patterns of a binding, with blanks between them: "gw.example.org", "*.example.org" (any name below it), "10.0.0.0/8". BM_USAGE. */
BM_MUST_USE enum bm_rc bm_acme_patterns_check(const char *patterns, struct bm_error *e);
/* Is this device, that has shown this certificate, what the identifier says? trusted: its issuer may say so. */
bool bm_acme_identifier_is(const struct bm_acme_identifier *i, const struct bm_device *d, struct bm_rd cert, bool trusted);
/* What a request asks for must be what was ordered: section 7.4. "acme-csr". identifiers: as in the order. */
BM_MUST_USE enum bm_rc bm_acme_identifiers_fit(const json_t *identifiers, const struct bm_csr *csr, struct bm_error *e);

/* acme_order.c: an order out of the registry, with its document */
struct bm_acme_work {
    struct bm_acme_order row;
    json_t *doc;
};
void bm_acme_work_done(struct bm_acme_work *w);
/* One whose time is over is invalid. */
BM_MUST_USE enum bm_rc bm_acme_work_open(struct bm_keeper *k, int64_t id, int64_t now, struct bm_acme_work *ret,
                                         struct bm_error *e);
/* The same, and BM_NOTFOUND "acme-not-found" unless it is this account's. */
BM_MUST_USE enum bm_rc bm_acme_work_load(struct bm_acme *a, int64_t id, struct bm_acme_work *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_acme_work_save(struct bm_keeper *k, struct bm_acme_work *w, struct bm_error *e); /* BM_IO */
void bm_acme_work_status(struct bm_acme_work *w, const char *status);
bool bm_acme_work_is(const struct bm_acme_work *w, const char *status);
json_t *bm_acme_authz(const struct bm_acme_work *w, int64_t i);                /* NULL: there is none */
json_t *bm_acme_challenge(const struct bm_acme_work *w, int64_t i, int64_t c); /* NULL: there is none */
struct bm_acme_identifier bm_acme_identifier_of(const struct bm_acme_work *w, int64_t i);
/* The order as its answer. */
void bm_acme_tell_order(struct bm_acme *a, const struct bm_acme_work *w, int status);

/* acme_renewal.c: the certificate that RFC 9773 section 4.1 names so. BM_MALFORMED, BM_NOTFOUND. */
BM_MUST_USE enum bm_rc bm_acme_find_named(struct bm_acme *a, struct bm_rd name, struct bm_credential *ret, struct bm_cert *ret_cert,
                                          struct bm_error *e);
/* acme_replaces.c: may the order under way replace what its payload says it does (RFC 9773 section 5)? ret: the order that certificate came from;
 * its doc is NULL where nothing is to be replaced. "acme-replaces"; "acme-replaced": another has done it. */
BM_MUST_USE enum bm_rc bm_acme_replaces_check(struct bm_acme *a, struct bm_acme_work *w, struct bm_acme_work *ret,
                                              struct bm_error *e);
/* Once w is written: it is the one. BM_IO. */
BM_MUST_USE enum bm_rc bm_acme_replaces_mark(struct bm_acme *a, const struct bm_acme_work *w, struct bm_acme_work *before,
                                             struct bm_error *e);

/* acme_challenge.c: a challenge has come out well, or not; its authorization and order follow. why: NULL, it is valid. */
void bm_acme_settle(struct bm_acme_work *w, int64_t i, int64_t c, const struct bm_error *why, const char *correlation, int64_t now);

/* acme_attest.c: the answer to device-attest-01. What it proves goes into the order's document. */
BM_MUST_USE enum bm_rc bm_acme_attest(struct bm_acme *a, struct bm_acme_work *w, int64_t i, const char *token, struct bm_error *e);

/* acme_finalize.c: a certificate for what is proven, once more or for the first time. On BM_OK the order is valid or processing, and written.
 * A refusal has left nothing behind. */
BM_MUST_USE enum bm_rc bm_acme_issue(struct bm_acme *a, struct bm_acme_work *w, struct bm_error *e);

/* acme_issue_names.c: for names and addresses, by the key that asks; sets w->row.credential_id. b: the account's binding, which says by which CA. */
BM_MUST_USE enum bm_rc bm_acme_issue_names(struct bm_acme *a, struct bm_acme_work *w, const struct bm_acme_eab *b,
                                           struct bm_rd spki, struct bm_error *e);

/* acme_validate.c: sends somebody to look; the challenge is then processing. The order is the caller's to save. */
BM_MUST_USE enum bm_rc bm_acme_validate(struct bm_acme *a, const struct bm_acme_work *w, int64_t i, int64_t c, struct bm_error *e);

bm_acme_fn bm_acme_new_nonce, bm_acme_new_account, bm_acme_account, bm_acme_orders, bm_acme_new_order, bm_acme_order,
    bm_acme_authorization, bm_acme_respond, bm_acme_finalize, bm_acme_certificate, bm_acme_revoke, bm_acme_key_change,
    bm_acme_renewal_info;

#endif
