/* The audit log: every change is a leaf of an RFC 9162 Merkle tree (section 2.1), with signed tree heads.
 * Leaf data is one compact JSON object. Leaves are added inside the keeper's transaction, so that history and registry are never
 * apart.
 * Tiles (hashes of full subtrees of 2^8, 2^16, 2^24 leaves) are stored as they fill, so proofs read a bounded number of rows. */
#ifndef BM_AUDIT_LOG_H
#define BM_AUDIT_LOG_H

#include "store/store.h"

struct bm_key; /* pki/key.h */

/* Hashes of the full subtrees that make up a tree of `size` leaves, largest first: enough to add leaves and to tell the root. */
struct bm_merkle {
    int64_t size;
    uint8_t node[64][32];
};
void bm_merkle_leaf_hash(struct bm_rd data, uint8_t ret[32]); /* RFC 9162 section 2.1.1 */
void bm_merkle_node_hash(const uint8_t l[32], const uint8_t r[32], uint8_t ret[32]);
/* full: called for each completed subtree with its level (1 = two leaves) and index at that level; may be NULL. Stops at its first
 * outcome other than BM_OK. */
typedef enum bm_rc bm_merkle_full_fn(void *arg, int level, int64_t index, const uint8_t hash[32], struct bm_error *e);
BM_MUST_USE enum bm_rc bm_merkle_add(struct bm_merkle *m, const uint8_t leaf_hash[32], bm_merkle_full_fn *full, void *arg,
                                     struct bm_error *e);
void bm_merkle_root(const struct bm_merkle *m, uint8_t ret[32]); /* of the empty tree: SHA-256 of nothing */

/* Checks a proof (RFC 9162 sections 2.1.3.2 and 2.1.4.2). BM_DENIED when it does not prove it. Pure. */
BM_MUST_USE enum bm_rc bm_merkle_check_inclusion(const uint8_t leaf_hash[32], int64_t index, int64_t size, const uint8_t root[32],
                                                 const uint8_t (*path)[32], size_t n_path, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_merkle_check_consistency(int64_t size1, const uint8_t root1[32], int64_t size2, const uint8_t root2[32],
                                                   const uint8_t (*path)[32], size_t n_path, struct bm_error *e);

/* The log in a store. Opening restores the frontier from tiles and the last few leaves. */
struct bm_audit {
    struct bm_store *store;   /* borrowed */
    struct bm_merkle tree;    /* as of the open transaction */
    struct bm_merkle on_disk; /* as of the last commit */
    bool stale;               /* a commit failed, and a lost connection may hide that it did not: look again before adding */
};
BM_MUST_USE enum bm_rc bm_audit_open(struct bm_audit *a, struct bm_store *s, struct bm_error *e);
/* Inside a transaction. data: one JSON object. */
BM_MUST_USE enum bm_rc bm_audit_add(struct bm_audit *a, int64_t at_ms, struct bm_rd data, struct bm_error *e);
void bm_audit_committed(struct bm_audit *a);   /* after bm_store_commit() */
void bm_audit_rolled_back(struct bm_audit *a); /* after bm_store_rollback() */
/* Signs the present size and stores the head; nothing when the last head has that size. Inside a transaction. */
BM_MUST_USE enum bm_rc bm_audit_sign_head(struct bm_audit *a, const struct bm_key *key, int64_t at_ms, struct bm_error *e);

/* The bytes a head's signature covers: RFC 9162 section 4.10 TreeHeadDataV2 (timestamp, tree_size, root_hash, no extensions). */
void bm_tree_head_tbs(const struct bm_tree_head *h, struct bm_wr *w);

/* Proofs from the store; path has room for 64 hashes. BM_NOTFOUND when index or sizes are beyond the log. */
BM_MUST_USE enum bm_rc bm_audit_prove_inclusion(struct bm_store *s, int64_t index, int64_t size, uint8_t (*path)[32], size_t *ret_n,
                                                struct bm_error *e);
BM_MUST_USE enum bm_rc bm_audit_prove_consistency(struct bm_store *s, int64_t size1, int64_t size2, uint8_t (*path)[32],
                                                  size_t *ret_n, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_audit_root_at(struct bm_store *s, int64_t size, uint8_t ret[32], struct bm_error *e);

/* Recomputes the tree from its leaves, in bounded memory, and checks every stored head's root and signature and every tile on the
 * way. spki: the log key's public half, DER. BM_DENIED names the first leaf, tile or head that is wrong. */
struct bm_audit_report {
    int64_t leaves, heads;
    int64_t covered; /* leaves under the newest signed head; the rest is not signed yet */
    uint8_t root[32];
};
BM_MUST_USE enum bm_rc bm_audit_verify(struct bm_store *s, struct bm_rd spki, struct bm_audit_report *ret, struct bm_error *e);
/* The same of one host's log (verify_all.c), with the key in *ret_spki, or when that is empty with the one the registry has, which goes there.
 * Leaves the store with that log in use. */
BM_MUST_USE enum bm_rc bm_audit_verify_host(struct bm_store *s, const struct bm_host *h, struct bm_buf *ret_spki,
                                            struct bm_audit_report *ret, struct bm_error *e);
/* Of every host that has one; and that there are no entries of others. */
typedef enum bm_rc bm_audit_verified_fn(void *arg, const struct bm_host *h, const struct bm_audit_report *r, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_audit_verify_all(struct bm_store *s, bm_audit_verified_fn *fn, void *arg, struct bm_error *e);

#endif
