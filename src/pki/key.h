/* Keys. Public keys as SubjectPublicKeyInfo and verified with; private keys behind a table of drivers, so that a PKCS#11 token is
 * one more row. Algorithms go by OpenSSL's names, so that what the library underneath knows (ML-DSA from 3.5) works here. */
#ifndef BM_PKI_KEY_H
#define BM_PKI_KEY_H

#include "base/bytes.h"
#include "base/limits.h"

#include <openssl/evp.h>

/* --- public ------------------------------------------------------------------------------------------------------------------- */
/* UDID: SHA-256 over the DER SubjectPublicKeyInfo. */
void bm_udid_of(struct bm_rd spki, uint8_t ret[32]);

/* What a SubjectPublicKeyInfo holds; borrows from the bytes given. alg: "P-256", "P-384", "P-521", "Ed25519", "RSA", or the
 * dotted OID of others. raw: the contents of the BIT STRING (EC: the point). bits: RSA modulus length, else 0.
 * Strict DER; EC points uncompressed only; RSA 2048 to 4096 bits with odd exponent over 65535; leftovers refused. Does not check
 * that a point is on its curve: bm_spki_open() does. */
struct bm_spki {
    char alg[48];
    struct bm_rd raw, whole;
    int bits;
};
BM_MUST_USE enum bm_rc bm_spki_parse(struct bm_rd der, struct bm_spki *ret, struct bm_error *e);
/* An OpenSSL public key of it, the point checked to be on its curve; BM_EVP_FREE it. Fast for P-256 and P-384. BM_MALFORMED also for a curve of less
 * than 112 bits of strength. */
BM_MUST_USE enum bm_rc bm_spki_open(const struct bm_spki *k, EVP_PKEY **ret, struct bm_error *e);
/* The same for a key that may come again soon, an account's or a CA's: the last few are kept open, each known by all of its bytes, so that one can
 * never stand for another. The caller frees what it gets, as ever. spki_kept.c */
BM_MUST_USE enum bm_rc bm_spki_open_kept(const struct bm_spki *k, EVP_PKEY **ret, struct bm_error *e);
void bm_evp_freep(EVP_PKEY **k);
#define BM_EVP_FREE BM_CLEANUP(bm_evp_freep)

/* Verifies an X.509 style signature: sig_alg is the DER AlgorithmIdentifier that came with it and must fit the key.
 * BM_DENIED (code "bad-signature") when it does not verify; BM_MALFORMED for an algorithm we do not take (SHA-1, MD5, unknown). */
BM_MUST_USE enum bm_rc bm_verify_x509(EVP_PKEY *key, struct bm_rd sig_alg, struct bm_rd tbs, struct bm_rd sig, struct bm_error *e);
/* Is it the AlgorithmIdentifier of one that is taken, whatever the key? */
BM_MUST_USE bool bm_sig_alg_taken(struct bm_rd sig_alg);
/* Verifies raw r||s (ECDSA with the curve's own hash: P-256 SHA-256, P-384 SHA-384), or Ed25519 / RSA PKCS#1 v1.5 SHA-256 bytes
 * as they are: the form of Onboard and JOSE. */
BM_MUST_USE enum bm_rc bm_verify_raw(EVP_PKEY *key, struct bm_rd msg, struct bm_rd sig, struct bm_error *e);

/* --- private ------------------------------------------------------------------------------------------------------------------ */
struct bm_key; /* an opened private key */

/* Where private keys live. secret: what seals them at rest (32 bytes or a passphrase); borrowed while the ring is open, locked in
 * memory by its owner. */
struct bm_keyring {
    char dir[512]; /* folder of the file driver, mode 0700 */
    struct bm_rd secret;
    struct bm_pkcs11 *pkcs11; /* pkcs11.h; NULL: no tokens */
};

struct bm_key_driver {
    const char *scheme; /* of the key URI: "file" */
    /* Makes a key of OpenSSL's name ("EC:P-256", "EC:P-384", "ED25519", "RSA:3072", "ML-DSA-65" ...) called `name`; BM_CONFLICT
     * if there is one. */
    enum bm_rc (*generate)(const struct bm_keyring *ring, const char *name, const char *alg, struct bm_error *e);
    enum bm_rc (*open)(const struct bm_keyring *ring, const char *name, struct bm_key **ret, struct bm_error *e);
    const struct bm_kek_driver *kek; /* kek.h; NULL: it keeps no key-encryption keys */
    enum bm_rc (*destroy)(const struct bm_keyring *ring, const char *name, struct bm_error *e); /* NULL: it cannot */
};
extern const struct bm_key_driver bm_key_file; /* key_file.c: PKCS#8, PBES2 with AES-256-CBC and PBKDF2-HMAC-SHA256, mode 0600 */
extern const struct bm_key_driver
    bm_key_pkcs11; /* key_pkcs11.c: EC and RSA keys in a token; a signature of it is verified before it counts */
extern const struct bm_key_driver bm_key_external; /* key_external.c: "external:NAME", never opens: BM_DENIED "key-elsewhere" */
bool bm_key_in_token(const char *uri);

/* uri: "file:NAME", "pkcs11:token=LABEL;object=LABEL" (pkcs11_uri.h). BM_USAGE for a scheme without a driver or an algorithm that OpenSSL does not have. */
BM_MUST_USE enum bm_rc bm_key_generate(const struct bm_keyring *ring, const char *uri, const char *alg, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_key_open(const struct bm_keyring *ring, const char *uri, struct bm_key **ret, struct bm_error *e);
/* Takes back what generate made. One that is not there is fine. */
BM_MUST_USE enum bm_rc bm_key_destroy(const struct bm_keyring *ring, const char *uri, struct bm_error *e);
/* An in-memory key over an EVP_PKEY that it takes over: tests, manifest signing with a PEM file. */
BM_MUST_USE enum bm_rc bm_key_of_evp(EVP_PKEY *take, struct bm_key **ret, struct bm_error *e);
void bm_key_free(struct bm_key *k); /* NULL is fine */
void bm_key_freep(struct bm_key **k);

/* PKCS#8 DER of the private key, for the one key that must leave the keeper: the TLS server's. BM_DENIED when its driver does not
 * let it. */
BM_MUST_USE enum bm_rc bm_key_export(const struct bm_key *k, struct bm_buf *ret, struct bm_error *e);

struct bm_rd bm_key_spki(const struct bm_key *k);    /* lent: DER SubjectPublicKeyInfo */
struct bm_rd bm_key_sig_alg(const struct bm_key *k); /* lent: DER AlgorithmIdentifier of the signatures it makes */
const char *bm_key_alg(const struct bm_key *k);      /* as in bm_spki.alg */
/* X.509 signature (ECDSA as DER, SHA-256 or the curve's hash); *ret_len in: room, out: bytes written. */
BM_MUST_USE enum bm_rc bm_key_sign(const struct bm_key *k, struct bm_rd tbs, uint8_t *ret, size_t *ret_len, struct bm_error *e);
/* ECDH with a peer's uncompressed point, checked to be on the key's curve: the shared x coordinate, for EC keys only (BM_USAGE).
 * *ret_len in: room, out: bytes written. The result is a secret. */
BM_MUST_USE enum bm_rc bm_key_agree(const struct bm_key *k, struct bm_rd point, uint8_t *ret, size_t *ret_len, struct bm_error *e);
/* Opens what was encrypted to an RSA key with PKCS #1 v1.5 (RFC 8017 section 7.2): `want` bytes, a key. What was not padded so, or has another
 * length, gives `want` random bytes instead, in the same time and with the same outcome, so that nobody can use us to find out which it was
 * (RFC 3218 section 2.3.2). BM_USAGE when it is no RSA key. */
BM_MUST_USE enum bm_rc bm_key_unwrap(const struct bm_key *k, struct bm_rd wrapped, uint8_t *ret, size_t want, struct bm_error *e);
/* The raw form that bm_verify_raw() takes. */
BM_MUST_USE enum bm_rc bm_key_sign_raw(const struct bm_key *k, struct bm_rd msg, uint8_t *ret, size_t *ret_len, struct bm_error *e);

#endif
