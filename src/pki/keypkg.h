/* Private keys made for devices that cannot make one, on their way to them: EST serverkeygen, RFC 7030 section 4.4, RFC 5958. Nothing here
 * keeps a key; every buffer that held one is wiped by its owner (bm_buf_done()). */
#ifndef BM_PKI_KEYPKG_H
#define BM_PKI_KEYPKG_H

#include "pki/cert.h"

/* A key like the one the client showed, as bm_spki.alg names it: P-256, P-384, P-521 or Ed25519. RSA keys take too long to make for a
 * process that serves everybody. BM_DENIED "keygen-algorithm". ret_pkcs8: OneAsymmetricKey, DER. */
BM_MUST_USE enum bm_rc bm_keypkg_make(const char *alg, struct bm_buf *ret_pkcs8, struct bm_buf *ret_spki, struct bm_error *e);

/* Who made the key and signs for it. */
struct bm_keypkg_signer {
    const struct bm_key *key;
    const struct bm_cert *cert;
    const struct bm_buf *chain; /* what goes along behind its certificate */
    size_t n_chain;
    bool by_key_id; /* named by key identifier, as CMP has it (RFC 9483 section 4.1.6); otherwise by issuer and serial number */
};
/* SignedData (RFC 5652 section 5.1, without ContentInfo around it) over an AsymmetricKeyPackage with this one key. */
BM_MUST_USE enum bm_rc bm_keypkg_sign(struct bm_rd pkcs8, const struct bm_keypkg_signer *by, struct bm_buf *ret,
                                      struct bm_error *e);

/* To whom. What is not there is empty. */
struct bm_keypkg_to {
    struct bm_rd password; /* a secret of 128 random bits or more that both sides know; or */
    struct bm_rd spki;     /* a key of the device, */
    struct bm_rd key_id;   /* named as the client did, or by */
    struct bm_rd cert;     /* issuer and serial number of this certificate for it */
};
/* ContentInfo with EnvelopedData (section 6.1) over that: to a key by ECDH-ES with SHA-256 and AES key wrap, or RSA-OAEP with SHA-256; to a password
 * by PBKDF2 (RFC 3370 section 4.4.1; with HMAC-SHA-1, as the library has it) and PWRI-KEK with AES-256 (RFC 3211 section 2.3). key_bits: of
 * AES-CBC, 128 or 256.
 * BM_DENIED "keygen-recipient-unfit": a key that only signs. */
BM_MUST_USE enum bm_rc bm_keypkg_seal(struct bm_rd signed_data, const struct bm_keypkg_to *to, int key_bits, struct bm_buf *ret,
                                      struct bm_error *e);

/* Is key_id one of the names of this key? Its UDID, or its key identifier by SHA-1 (RFC 5280 section 4.2.1.2) or SHA-256 (RFC 7093). */
bool bm_keypkg_is_id_of(struct bm_rd key_id, struct bm_rd spki);
/* AES bits for SMIMECapabilities (RFC 8551 section 2.5.2; contents of the attribute's value, empty: none were sent); 0: nothing in common. */
int bm_keypkg_cipher(struct bm_rd capabilities);

#endif
