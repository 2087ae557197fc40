/* JSON Web Encryption (RFC 7516) in compact form, for the one thing that travels encrypted here: a device's secret key, from the chip maker to
 * the registry's import key. ECDH-ES, direct (RFC 7518 section 4.6), on P-256, with A256GCM. The protected header also carries "sub"
 * (RFC 7519 section 5.3): whose key it is. Everything else a header could hold is refused. */
#ifndef BM_PKI_JWE_H
#define BM_PKI_JWE_H

#include "pki/key.h"

enum {
    BM_JWE_MAX = 1024,     /* the compact form */
    BM_JWE_PLAIN_MAX = 64, /* what is inside */
    BM_JWE_SUB_LEN = 80,   /* "sub" with its terminator */
    BM_JWE_KID_LEN = 44,   /* base64url of a SHA-256 with its terminator */
};

/* A JWE that is well formed; nothing of it is proven. Holds no secret. */
struct bm_jwe {
    char sub[BM_JWE_SUB_LEN], kid[BM_JWE_KID_LEN]; /* kid: "" when it names none */
    uint8_t epk[65];                               /* uncompressed point; not yet known to be on the curve */
    uint8_t iv[12], tag[16];
    uint8_t sealed[BM_JWE_PLAIN_MAX];
    size_t sealed_len;
    struct bm_rd protected_b64; /* borrowed: what the tag covers besides */
};
/* Strict: five parts, the known members and no other, no leftovers. BM_MALFORMED, BM_LIMIT. Pure. */
BM_MUST_USE enum bm_rc bm_jwe_parse(struct bm_rd compact, struct bm_jwe *ret, struct bm_error *e);
/* Appends the plaintext. BM_DENIED when it was made for another key, names another subject than `sub`, or was changed. */
BM_MUST_USE enum bm_rc bm_jwe_open(const struct bm_jwe *j, const struct bm_key *k, struct bm_rd sub, struct bm_buf *ret,
                                   struct bm_error *e);
/* Seals plain for the owner of a P-256 public key (SubjectPublicKeyInfo, DER). Appends the compact form. BM_USAGE for another kind of key. */
BM_MUST_USE enum bm_rc bm_jwe_make(struct bm_rd spki, struct bm_rd sub, struct bm_rd plain, struct bm_buf *out, struct bm_error *e);
/* What "kid" says: base64url of SHA-256 over the SubjectPublicKeyInfo. */
void bm_jwe_kid(struct bm_rd spki, char ret[BM_JWE_KID_LEN]);

#endif
