/* Key-encryption keys: what seals the secret keys of devices for the registry. They live where private keys live, behind the same table of
 * drivers (key.h), and never leave there: whoever wants something sealed asks the driver. */
#ifndef BM_PKI_KEK_H
#define BM_PKI_KEK_H

#include "pki/key.h"

enum { BM_KEK_OVERHEAD = 12 + 16 }; /* nonce and tag around what is sealed */

struct bm_kek; /* an opened key-encryption key */

struct bm_kek_driver {
    enum bm_rc (*generate)(const struct bm_keyring *ring, const char *name, struct bm_error *e); /* BM_CONFLICT if there is one */
    enum bm_rc (*open)(const struct bm_keyring *ring, const char *name, struct bm_kek **ret, struct bm_error *e);
    /* Gone for good; one that is not there is fine. */
    enum bm_rc (*destroy)(const struct bm_keyring *ring, const char *name, struct bm_error *e);
    enum bm_rc (*seal)(const struct bm_kek *k, struct bm_rd aad, struct bm_rd plain, struct bm_buf *ret, struct bm_error *e);
    enum bm_rc (*unseal)(const struct bm_kek *k, struct bm_rd aad, struct bm_rd sealed, struct bm_buf *ret, struct bm_error *e);
    void (*close)(struct bm_kek *k); /* wipes */
};
struct bm_kek {
    const struct bm_kek_driver *driver; /* the driver's own struct begins with this */
};

/* uri: "file:NAME". BM_USAGE for a scheme without a driver, or whose driver keeps no such keys. */
BM_MUST_USE enum bm_rc bm_kek_generate(const struct bm_keyring *ring, const char *uri, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_kek_open(const struct bm_keyring *ring, const char *uri, struct bm_kek **ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_kek_destroy(const struct bm_keyring *ring, const char *uri, struct bm_error *e);
void bm_kek_close(struct bm_kek *k); /* NULL is fine */
void bm_kek_closep(struct bm_kek **k);

/* AES-256-GCM under a random nonce: nonce, ciphertext, tag, appended to *ret. aad: what the secret belongs to; it opens for nothing
 * else. One key seals at most 2^32 times (SP 800-38D section 8.3): rotate long before. */
BM_MUST_USE enum bm_rc bm_kek_seal(const struct bm_kek *k, struct bm_rd aad, struct bm_rd plain, struct bm_buf *ret,
                                   struct bm_error *e);
/* BM_DENIED "sealed-key" unless every byte of it, and aad, are as they were. */
BM_MUST_USE enum bm_rc bm_kek_unseal(const struct bm_kek *k, struct bm_rd aad, struct bm_rd sealed, struct bm_buf *ret,
                                     struct bm_error *e);

#endif
