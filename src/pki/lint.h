/* What a certificate may not be: one table of rules, each with the section it comes from. It judges any certificate, ours or not, and reads more
 * leniently than bm_cert_parse(), so that it can say what is wrong. RFC 5280, IEEE 802.1AR-2018 and their neighbours. */
#ifndef BM_PKI_LINT_H
#define BM_PKI_LINT_H

#include "pki/cert.h"

struct lint; /* lint_impl.h */
struct bm_lint_rule {
    const char *name;    /* "serial-positive": stable, for scripts */
    const char *section; /* "RFC 5280 section 4.1.2.2" */
    const char *what;    /* what has to be so */
    bool (*broken)(const struct lint *l, struct bm_rd about);
    struct bm_rd about; /* contents of the OID that the rule is about, where several rules share a function */
    bool should;        /* a recommendation: said, and not refused */
};
extern const struct bm_lint_rule bm_lint_rules[]; /* NULL name ends it */

/* Calls fn for each rule that is broken. The signature is not looked at. BM_MALFORMED when it is not the shape of a certificate at all,
 * BM_LIMIT over BM_CERT_MAX; else what fn answers. Pure. */
typedef enum bm_rc bm_lint_fn(void *arg, const struct bm_lint_rule *broken, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_cert_lint(struct bm_rd der, bm_lint_fn *fn, void *arg, struct bm_error *e);

/* Issues by the profile, with a key that is gone afterwards and sample words, one certificate for each kind of key it takes, and lints them. fn, which
 * may be NULL, hears of recommendations. BM_USAGE "profile-lint" for a rule that is broken, or when no certificate comes out. */
BM_MUST_USE enum bm_rc bm_profile_lint(const struct bm_profile *p, int64_t now, bm_lint_fn *fn, void *arg, struct bm_error *e);

#endif
