/* Protection of CMP messages with a shared secret: PasswordBasedMac (RFC 9810 section 5.1.3.1) and PBMAC1 (RFC 8018 section 7.1, as RFC 9481
 * section 6 has it). The primitives are OpenSSL's. Pure; any thread. */
#ifndef BM_PKI_CMP_MAC_H
#define BM_PKI_CMP_MAC_H

#include "base/bytes.h"

enum {
    BM_CMP_SALT_LEN = 16, /* of salts we make */
    BM_CMP_SALT_MAX = 64,
    BM_CMP_ITERATIONS_MAX = 10000, /* a stranger chooses how long we compute: a few ms at most. The secrets have 128 random bits */
    BM_CMP_MAC_MAX = 64,
};

enum bm_cmp_mac_kind { BM_CMP_PBM, BM_CMP_PBMAC1 };
struct bm_cmp_mac {
    enum bm_cmp_mac_kind kind;
    uint8_t salt[BM_CMP_SALT_MAX];
    size_t salt_len;
    unsigned iterations;
    const struct bm_cmp_hash *hash; /* PBM: owf; PBMAC1: prf */
    const struct bm_cmp_hash *mac;  /* HMAC with it */
    size_t key_len;                 /* PBMAC1; PBM: that of owf */
};

/* Is that protection by a secret at all, whatever its parameters? */
bool bm_cmp_mac_is(struct bm_rd alg);
/* alg: whole AlgorithmIdentifier. BM_DENIED "cmp-algorithm": hashes that are not taken (SHA-1 as owf; HMAC-SHA-1 is, as it is what OpenSSL
 * does by default), too many iterations, parameters that do not parse. */
BM_MUST_USE enum bm_rc bm_cmp_mac_parse(struct bm_rd alg, struct bm_cmp_mac *ret, struct bm_error *e);
/* One of our own: SHA-256 throughout, and a new salt. */
BM_MUST_USE enum bm_rc bm_cmp_mac_new(enum bm_cmp_mac_kind kind, unsigned iterations, struct bm_cmp_mac *ret, struct bm_error *e);
/* The MAC of msg; *ret_len at most BM_CMP_MAC_MAX. */
BM_MUST_USE enum bm_rc bm_cmp_mac_make(const struct bm_cmp_mac *m, struct bm_rd secret, struct bm_rd msg, uint8_t *ret,
                                       size_t *ret_len, struct bm_error *e);
/* A new salt: for an answer. */
BM_MUST_USE enum bm_rc bm_cmp_mac_renew(struct bm_cmp_mac *m, struct bm_error *e);

struct bm_derw;
void bm_cmp_mac_put(struct bm_derw *w, const struct bm_cmp_mac *m); /* AlgorithmIdentifier */

#endif
