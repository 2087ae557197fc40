/* Public keys as JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037): to SubjectPublicKeyInfo and to thumbprints (RFC 7638). */
#ifndef BM_PKI_JWK_H
#define BM_PKI_JWK_H

#include "pki/key.h"

#include <jansson.h>

/* Kinds: EC with P-256, P-384 or P-521, OKP with Ed25519, RSA. A key with its private half is refused. Appends the DER SubjectPublicKeyInfo,
 * which bm_spki_parse() has seen; whether a point is on its curve bm_spki_open() finds out. Code "acme-key", BM_MALFORMED. */
BM_MUST_USE enum bm_rc bm_jwk_read(const json_t *jwk, struct bm_buf *ret_spki, struct bm_error *e);
/* Appends the key as RFC 7638 section 3 has it: the required members in their order, no blanks. */
BM_MUST_USE enum bm_rc bm_jwk_write(struct bm_rd spki, struct bm_buf *out, struct bm_error *e);
/* SHA-256 over the key's required members in their order. Of the kinds above. */
BM_MUST_USE enum bm_rc bm_jwk_thumbprint(struct bm_rd spki, uint8_t ret[32], struct bm_error *e);

#endif
