/* The crypto port: what the core needs besides the root of trust. ports/ fill it from the library at hand. */
#ifndef BMD_CRYPTO_H
#define BMD_CRYPTO_H

#include "bmd.h"

enum bmd_hash { BMD_HASH_NONE, BMD_SHA256, BMD_SHA384, BMD_HASHES };
enum bmd_alg { BMD_ALG_NONE, BMD_P256, BMD_P384, BMD_ED25519, BMD_HMAC_SHA256, BMD_ALGS };

struct bmd_crypto {
    void *arg;
    /* ret: bmd_hash_len(h) bytes. */
    enum bmd_rc (*hash)(void *arg, enum bmd_hash h, struct bmd_rd data, uint8_t *ret);
    /* BMD_OK only when the raw signature holds; otherwise BMD_DENIED. May be NULL where nothing is verified. */
    enum bmd_rc (*verify)(void *arg, enum bmd_alg alg, struct bmd_rd point, struct bmd_rd digest, struct bmd_rd sig_raw);
};

/* 32, 48, or 0 for what is no hash. */
size_t bmd_hash_len(enum bmd_hash h);
/* Length of the raw public key (65, 97, 32) and of the raw signature (64, 96, 64); 0 for algorithms without. */
size_t bmd_alg_point_len(enum bmd_alg alg);
size_t bmd_alg_sig_len(enum bmd_alg alg);
/* The hash that goes with an algorithm here: SHA-256 with P-256, SHA-384 with P-384, none with Ed25519. */
enum bmd_hash bmd_alg_hash(enum bmd_alg alg);

#endif
