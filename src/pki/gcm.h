/* AES-256-GCM (SP 800-38D) over OpenSSL, nonce and tag of 96 and 128 bits. */
#ifndef BM_PKI_GCM_H
#define BM_PKI_GCM_H

#include "base/bytes.h"

enum { BM_GCM_KEY_LEN = 32, BM_GCM_NONCE_LEN = 12, BM_GCM_TAG_LEN = 16 };

/* Appends the ciphertext, as long as plain, and writes the tag. BM_NOMEM, BM_LIMIT. */
BM_MUST_USE enum bm_rc bm_gcm_seal(const uint8_t key[BM_GCM_KEY_LEN], const uint8_t nonce[BM_GCM_NONCE_LEN], struct bm_rd aad,
                                   struct bm_rd plain, struct bm_buf *ret, uint8_t ret_tag[BM_GCM_TAG_LEN], struct bm_error *e);
/* Appends the plaintext; nothing unless the tag is right: BM_DENIED. */
BM_MUST_USE enum bm_rc bm_gcm_open(const uint8_t key[BM_GCM_KEY_LEN], const uint8_t nonce[BM_GCM_NONCE_LEN], struct bm_rd aad,
                                   struct bm_rd sealed, const uint8_t tag[BM_GCM_TAG_LEN], struct bm_buf *ret, struct bm_error *e);

#endif
