/* OCSP, RFC 6960: requests read strictly, responses written. The nonce as RFC 9654 has it. Pure. */
#ifndef BM_PKI_OCSP_H
#define BM_PKI_OCSP_H

#include "pki/cert.h"

enum bm_ocsp_hash { BM_OCSP_SHA1, BM_OCSP_SHA256, BM_OCSP_HASHES };
enum { BM_OCSP_HASH_MAX = 32 };

/* How a request names an issuer: hashes of its subject (whole Name) and of its key's bits. */
struct bm_ocsp_issuer {
    uint8_t name[BM_OCSP_HASHES][BM_OCSP_HASH_MAX], key[BM_OCSP_HASHES][BM_OCSP_HASH_MAX];
};
/* Of a CA's certificate. SHA-1 names things here, it protects nothing. */
BM_MUST_USE enum bm_rc bm_ocsp_issuer_of(const struct bm_cert *ca, struct bm_ocsp_issuer *ret, struct bm_error *e);

/* A parsed OCSPRequest; borrows. */
struct bm_ocsp_request {
    size_t n;
    struct bm_ocsp_id {
        struct bm_rd whole; /* CertID, DER: goes back as it came */
        bool known_hash;    /* hash is one we compute */
        enum bm_ocsp_hash hash;
        struct bm_rd name_hash, key_hash;
        struct bm_rd serial; /* contents of the INTEGER */
    } ids[BM_OCSP_IDS_MAX];
    struct bm_rd nonce; /* 1 to BM_OCSP_NONCE_MAX bytes, or empty: none was sent */
};
/* Strict DER, leftovers refused, 1 to BM_OCSP_IDS_MAX certificates, each extension once, no unknown critical one. A requestor's name and
 * signature are read past: everybody may ask. BM_MALFORMED, BM_LIMIT (over BM_OCSP_REQUEST_MAX or BM_OCSP_IDS_MAX). */
BM_MUST_USE enum bm_rc bm_ocsp_request_parse(struct bm_rd der, struct bm_ocsp_request *ret, struct bm_error *e);
/* A request about one certificate, without nonce: appended. */
BM_MUST_USE enum bm_rc bm_ocsp_request_write(const struct bm_cert *cert, const struct bm_cert *issuer, enum bm_ocsp_hash h,
                                             struct bm_buf *ret_der, struct bm_error *e);
bool bm_ocsp_id_is(const struct bm_ocsp_id *id, const struct bm_ocsp_issuer *issuer);

enum bm_ocsp_status { BM_OCSP_GOOD, BM_OCSP_REVOKED, BM_OCSP_UNKNOWN };
struct bm_ocsp_answer {
    struct bm_rd id; /* CertID, DER */
    enum bm_ocsp_status status;
    int64_t revoked_at;
    int reason; /* RFC 5280 section 5.3.1 */
};
/* key, cert  the responder's; cert goes along when it is not the CA's own.
 * nonce      empty: none. */
struct bm_ocsp_response {
    const struct bm_key *key;
    const struct bm_cert *cert;
    bool with_cert;
    int64_t this_update, next_update;
    size_t n;
    struct bm_ocsp_answer answers[BM_OCSP_IDS_MAX];
    struct bm_rd nonce;
};
/* Appends a successful OCSPResponse. */
BM_MUST_USE enum bm_rc bm_ocsp_response_write(const struct bm_ocsp_response *r, struct bm_buf *ret_der, struct bm_error *e);

/* The answers that are not signed, RFC 6960 section 2.3. */
enum bm_ocsp_error {
    BM_OCSP_MALFORMED_REQUEST = 1,
    BM_OCSP_INTERNAL_ERROR = 2,
    BM_OCSP_TRY_LATER = 3,
    BM_OCSP_UNAUTHORIZED = 6,
};
enum bm_ocsp_error bm_ocsp_error_of(enum bm_rc rc);
void bm_ocsp_error_write(struct bm_buf *out, enum bm_ocsp_error status);

#endif
