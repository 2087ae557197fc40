/* JSON Web Signatures (RFC 7515) in compact form, with the algorithms of RFC 7518 section 3.1 that are signatures by a key pair,
 * and EdDSA (RFC 8037): ES256 ES384 ES512 RS256 RS384 RS512 EdDSA. libjose has no EdDSA and copies each key through JSON; a
 * verification here is the signature check and little else. Never `none`, never HMAC, never a key taken from the header
 * unchecked. */
#ifndef BM_PKI_JWS_H
#define BM_PKI_JWS_H

#include "pki/key.h"

/* Splits "header.payload.signature"; decodes nothing; leftovers refused. */
struct bm_jws {
    struct bm_rd protected_b64, payload_b64, signature_b64;
    struct bm_rd signed_part; /* "header.payload" */
};
BM_MUST_USE enum bm_rc bm_jws_split(struct bm_rd compact, struct bm_jws *ret, struct bm_error *e);
/* Verifies with key; the header's alg must be one of the above and fit the key; `crit` is refused. BM_DENIED,
 * BM_MALFORMED. */
BM_MUST_USE enum bm_rc bm_jws_verify(const struct bm_jws *j, EVP_PKEY *key, struct bm_error *e);
/* The same for who has read the protected header already, as strictly: alg is from there. */
BM_MUST_USE enum bm_rc bm_jws_verify_as(const struct bm_jws *j, const char *alg, EVP_PKEY *key, struct bm_error *e);
/* The decoded protected header, parsed strictly, for the caller to choose the key by (kid, x5t#S256, x5c). Empty members stay
 * empty. */
struct bm_jws_header {
    char alg[8];
    char kid[1024]; /* ACME has a URL here */
    char typ[64];
    uint8_t x5t_s256[32];
    bool has_x5t;
    struct bm_buf x5c; /* first certificate of x5c, DER, or empty */
};
void bm_jws_header_done(struct bm_jws_header *h);
BM_MUST_USE enum bm_rc bm_jws_header_parse(struct bm_rd protected_b64, struct bm_jws_header *ret, struct bm_error *e);
/* The algorithm that goes with this key; NULL: there is none. */
const char *bm_jws_alg_of(const struct bm_key *k);
/* Signs payload; cert (DER, may be empty) goes into the header as x5t#S256, and as x5c when with_x5c. typ may be NULL. Appends
 * the compact form. */
BM_MUST_USE enum bm_rc bm_jws_sign(const struct bm_key *k, const char *typ, struct bm_rd cert, bool with_x5c, struct bm_rd payload,
                                   struct bm_buf *out, struct bm_error *e);

#endif
