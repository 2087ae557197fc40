/* Message authentication codes of devices that share a secret key with the registry, and how a device's key comes from the root key of its
 * batch. Names are those of manifests; docs/symmetric.md. Keys are the caller's to wipe. Pure; any thread. */
#ifndef BM_PKI_MAC_H
#define BM_PKI_MAC_H

#include "base/bytes.h"

enum {
    BM_MAC_MAX = 32,       /* a MAC */
    BM_MAC_KEY_MAX = 64,   /* a key, also a root key */
    BM_MAC_NAME_LEN = 32,  /* of an algorithm or derivation, with its terminator */
    BM_MAC_IDENT_MAX = 64, /* a chip's identifier */
};

struct bm_mac_alg {
    const char *name, *title;
    const char *mac, *param; /* OpenSSL's names: the MAC, and its digest or cipher by length of the key */
    size_t key_min, key_max; /* bytes; AES takes 16 or 32 */
    size_t derived;          /* bytes of a key that comes from a root key */
    size_t mac_len;
    bool digest_first; /* over SHA-256 of the message: for chips that take a message of fixed length */
};
extern const struct bm_mac_alg bm_mac_algs[];            /* a row without a name ends the table */
const struct bm_mac_alg *bm_mac_find(struct bm_rd name); /* NULL: no such algorithm */
bool bm_mac_key_fits(const struct bm_mac_alg *a, size_t n);

/* ret: a->mac_len bytes. BM_USAGE for a key of a wrong length. */
BM_MUST_USE enum bm_rc bm_mac_make(const struct bm_mac_alg *a, struct bm_rd key, struct bm_rd msg, uint8_t ret[BM_MAC_MAX],
                                   struct bm_error *e);
/* BM_DENIED "bad-mac" unless it is the whole MAC and right; the comparison takes the same time wherever they differ. */
BM_MUST_USE enum bm_rc bm_mac_check(const struct bm_mac_alg *a, struct bm_rd key, struct bm_rd msg, struct bm_rd mac,
                                    struct bm_error *e);

struct bm_kdf {
    const char *name, *title;
    const char *kdf, *mac, *param; /* OpenSSL's names */
    size_t root_min, root_max;
};
extern const struct bm_kdf bm_kdfs[]; /* a row without a name ends the table */
const struct bm_kdf *bm_kdf_find(struct bm_rd name);
/* The key of one chip: n bytes (at most BM_MAC_KEY_MAX) from the root key and the chip's identifier. */
BM_MUST_USE enum bm_rc bm_kdf_derive(const struct bm_kdf *d, struct bm_rd root, struct bm_rd ident, uint8_t *ret, size_t n,
                                     struct bm_error *e);

/* The UDID of a device without a key pair, docs/symmetric.md: a name for issuer, kind and chip, and never of the secret. */
void bm_udid_symmetric(struct bm_rd issuer, struct bm_rd rot, struct bm_rd ident, uint8_t ret[32]);

#endif
