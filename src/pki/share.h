/* A secret of 32 bytes in shares of which any `threshold` give it back and fewer say nothing about it (Shamir, over GF(2^8), by libgfshare), and
 * the words that a share is printed as. docs/ceremony.md. */
#ifndef BM_PKI_SHARE_H
#define BM_PKI_SHARE_H

#include "base/bytes.h"

enum {
    BM_SHARE_SECRET_LEN = 32,
    BM_SHARES_MAX = 16,
    BM_SHARE_TEXT_MAX = 256, /* words with blanks between them, and a terminator */
};

struct bm_share {
    uint8_t set[4]; /* which secret: shares of different ones do not go together */
    uint8_t number, threshold;
    bool sealed;
    uint8_t salt[16];
    uint8_t body[BM_SHARE_SECRET_LEN + 16]; /* the share; sealed: with its tag */
};

/* n shares of secret, numbers 1 to n. BM_USAGE unless 2 <= threshold <= n <= BM_SHARES_MAX. */
BM_MUST_USE enum bm_rc bm_share_split(const uint8_t secret[BM_SHARE_SECRET_LEN], const uint8_t set[4], size_t n, size_t threshold,
                                      struct bm_share *ret, struct bm_error *e);
/* The secret of n shares. BM_DENIED: "shares-too-few", "share-twice", "share-foreign" (of another set), "share-sealed". What comes of shares that
 * were changed is another secret: the caller has to know the right one when he sees it. */
BM_MUST_USE enum bm_rc bm_share_combine(const struct bm_share *shares, size_t n, uint8_t ret[BM_SHARE_SECRET_LEN],
                                        struct bm_error *e);
/* Under a passphrase: AES-256-GCM under PBKDF2-HMAC-SHA256. unseal: BM_DENIED "share-passphrase". */
BM_MUST_USE enum bm_rc bm_share_seal(struct bm_share *s, struct bm_rd passphrase, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_share_unseal(struct bm_share *s, struct bm_rd passphrase, struct bm_error *e);
/* SHA-256 of an unsealed share: as random as the share, so it gives nothing away. */
void bm_share_digest(const struct bm_share *s, uint8_t ret[32]);

/* Words of five letters, 16 bits each, that can be read aloud (proquints), with blanks; the last two are a checksum. */
BM_MUST_USE enum bm_rc bm_share_write(const struct bm_share *s, char ret[BM_SHARE_TEXT_MAX], struct bm_error *e);
/* Words in either case, with blanks, line ends or hyphens between them. BM_DENIED "share-mistyped". */
BM_MUST_USE enum bm_rc bm_share_read(struct bm_rd text, struct bm_share *ret, struct bm_error *e);
void bm_share_done(struct bm_share *s); /* wipes */

#endif
