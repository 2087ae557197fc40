/* Certificate revocation lists, RFC 5280 section 5, written row by row. */
#ifndef BM_PKI_CRL_H
#define BM_PKI_CRL_H

#include "pki/cert.h"

/* Words of section 5.3.1: "keyCompromise". BM_USAGE: no such reason. */
const char *bm_reason_name(int reason);
BM_MUST_USE enum bm_rc bm_reason_find(const char *name, int *ret, struct bm_error *e);
bool bm_crl_url_ok(const char *url); /* http://, in plain characters, not a folder */

/* Begin with the zero state; any number of _add; then one _sign; bm_crl_done() whatever happened. Holds some 40 bytes per entry. */
struct bm_crl_writer {
    struct bm_buf entries; /* revokedCertificates, DER */
    size_t n;
};
void bm_crl_done(struct bm_crl_writer *w); /* usable as BM_CLEANUP(bm_crl_done) */

/* serial: the number, big-endian, without sign byte. reason: section 5.3.1; 0 (unspecified) is left out, as the section asks.
 * BM_LIMIT "crl-too-large" over BM_CRL_MAX. */
BM_MUST_USE enum bm_rc bm_crl_add(struct bm_crl_writer *w, struct bm_rd serial, int64_t revoked_at, int reason, struct bm_error *e);

/* issuer  the CA's certificate; its subject becomes the issuer, its key identifier the authority's.
 * number  CRL number; base: 0 for a complete CRL, or the number of the complete CRL that a delta starts from. */
struct bm_crl_head {
    const struct bm_key *key;
    const struct bm_cert *issuer;
    uint64_t number, base;
    int64_t this_update, next_update;
    struct bm_rd point, fresh; /* where it is, when it is one part of the CA's list, and where its delta is; or empty */
};
/* Appends the CertificateList. BM_DENIED "bad-issuer" when the CA's certificate has no cRLSign, BM_USAGE when the key is another's. */
BM_MUST_USE enum bm_rc bm_crl_sign(struct bm_crl_writer *w, const struct bm_crl_head *h, struct bm_buf *ret_der,
                                   struct bm_error *e);

#endif
