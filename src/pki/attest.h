/* Attestation objects of ACME's device-attest-01 (draft-ietf-acme-device-attest-10 section 5): read, and verified as far as they speak for
 * themselves. Whose key it is that signed, the registry has to say. Pure. */
#ifndef BM_PKI_ATTEST_H
#define BM_PKI_ATTEST_H

#include "pki/cert.h"

enum {
    BM_ATTEST_MAX = 32 * 1024, /* one object */
    BM_ATTEST_CERTS_MAX = 4,   /* in "x5c" */
    BM_ATTEST_FMT_LEN = 32,
};

/* A parsed object; everything borrows from `tree`. What is not there is empty. */
struct bm_attest {
    void *tree; /* libcbor's */
    char fmt[BM_ATTEST_FMT_LEN];
    bool has_alg;
    int64_t alg; /* COSE, RFC 9053 */
    struct bm_rd sig, spki, ver, cert_info, pub_area;
    struct bm_rd x5c[BM_ATTEST_CERTS_MAX];
    size_t n_x5c;
};
void bm_attest_done(struct bm_attest *a);
/* BM_MALFORMED or BM_LIMIT, code "acme-attestation". Members that nobody here asks for are passed over, as WebAuthn section 6.5.4 has it. */
BM_MUST_USE enum bm_rc bm_attest_parse(struct bm_rd cbor, struct bm_attest *ret, struct bm_error *e);

/* What a statement has proven: the holder of `signer` has seen key_authorization. attested: the SubjectPublicKeyInfo that the statement speaks
 * for, if its format speaks for one; the certificate request must be over it. */
struct bm_attested {
    struct bm_rd signer; /* borrows from the object */
    struct bm_buf attested;
    bool by_maker; /* the certificate speaks for a key that is new each time; the registry knows the device by a name in it */
};
void bm_attested_done(struct bm_attested *a);
/* BM_DENIED or BM_MALFORMED, code "acme-attestation". Formats: docs/acme.md. */
BM_MUST_USE enum bm_rc bm_attest_verify(const struct bm_attest *a, struct bm_rd key_authorization, struct bm_attested *ret,
                                        struct bm_error *e);

/* apple.c: what such a certificate says; borrows. What is not there is empty. BM_DENIED "acme-attestation". */
struct bm_apple {
    struct bm_rd serial, udid, freshness;
};
BM_MUST_USE enum bm_rc bm_apple_read(const struct bm_cert *cert, struct bm_apple *ret, struct bm_error *e);
/* tpm.c: TPM2_Certify by the key of `signer`. Appends the certified key's SubjectPublicKeyInfo. */
BM_MUST_USE enum bm_rc bm_tpm_certified(const struct bm_attest *a, struct bm_rd signer, struct bm_rd key_authorization,
                                        struct bm_buf *ret_spki, struct bm_error *e);
/* X.509 form of a signature with a COSE algorithm, by the key of this SubjectPublicKeyInfo. */
BM_MUST_USE enum bm_rc bm_cose_verify(int64_t alg, struct bm_rd spki, struct bm_rd msg, struct bm_rd sig, struct bm_error *e);
BM_PRINTF(2) enum bm_rc bm_attest_bad(struct bm_error *e, const char *fmt, ...);

#endif
