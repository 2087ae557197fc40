/* Proofs from the store, RFC 9162 sections 2.1.3.1 and 2.1.4.1, over stored tiles and few leaves. */
#include "audit/proof.h"

#include <inttypes.h>

/* --- full subtrees ------------------------------------------------------------------------------------------------------------ */
struct leaves {
    struct bm_merkle tree;
    int64_t next; /* index expected */
};

static enum bm_rc add_leaf(void *arg, int64_t index, int64_t at_ms, struct bm_rd data, struct bm_error *e)
{
    struct leaves *l = arg;
    uint8_t h[32];

    (void)at_ms;
    if (index != l->next)
        return bm_fail(e, BM_IO, "audit log: leaf %" PRId64 " is missing", l->next);
    l->next++;
    bm_merkle_leaf_hash(data, h);
    return bm_merkle_add(&l->tree, h, NULL, NULL, e);
}

static enum bm_rc from_leaves(struct bm_store *s, int64_t from, int64_t n, struct bm_merkle *ret, struct bm_error *e)
{
    struct leaves l = { .next = from };
    enum bm_rc rc = bm_audit_leaf_each(s, from, from + n, add_leaf, &l, e);

    if (rc == BM_OK && l.next != from + n)
        return bm_fail(e, BM_IO, "audit log: leaf %" PRId64 " is missing", l.next);
    if (rc == BM_OK)
        *ret = l.tree;
    return rc;
}

static enum bm_rc tile(struct bm_store *s, int level, int64_t index, uint8_t ret[32], struct bm_error *e)
{
    enum bm_rc rc = bm_audit_tile_get(s, level, index, ret, e);

    if (rc == BM_NOTFOUND)
        return bm_fail(e, BM_IO, "audit log: tile %" PRId64 " of level %d is missing", index, level);
    return rc;
}

enum bm_rc bm_audit_subtree(struct bm_store *s, int level, int64_t index, uint8_t ret[32], struct bm_error *e)
{
    int base = level - level % BM_TILE_LEVELS;
    int64_t n = (int64_t)1 << (level - base);
    struct bm_merkle t = { 0 };
    enum bm_rc rc = BM_OK;
    uint8_t h[32];

    if (base == 0)
        rc = from_leaves(s, index * n, n, &t, e);
    for (int64_t i = 0; base != 0 && rc == BM_OK && i < n; i++) {
        rc = tile(s, base, index * n + i, h, e);
        if (rc == BM_OK)
            rc = bm_merkle_add(&t, h, NULL, NULL, e);
    }
    if (rc == BM_OK)
        bm_merkle_root(&t, ret);
    return rc;
}

/* --- trees of any size -------------------------------------------------------------------------------------------------------- */
/* The tiles cover all but the last leaves below 2^8, which are read in one go. */
enum bm_rc bm_audit_frontier(struct bm_store *s, int64_t size, struct bm_merkle *ret, struct bm_error *e)
{
    struct bm_merkle m = { .size = size }, last;
    int64_t rest = size & ((1 << BM_TILE_LEVELS) - 1);
    size_t n = 0;
    enum bm_rc rc = BM_OK;

    for (int level = 62; rc == BM_OK && level >= BM_TILE_LEVELS; level--)
        if ((size >> level & 1) != 0)
            rc = bm_audit_subtree(s, level, (size >> (level + 1)) << 1, m.node[n++], e);
    if (rc == BM_OK)
        rc = from_leaves(s, size - rest, rest, &last, e);
    if (rc != BM_OK)
        return rc;
    memcpy(m.node + n, last.node, (size_t)__builtin_popcountll((unsigned long long)rest) * sizeof *last.node);
    *ret = m;
    return BM_OK;
}

/* The largest power of two below n (n > 1), as its exponent: the split of section 2.1.1. */
static int split_level(int64_t n)
{
    return 63 - __builtin_clzll((unsigned long long)n - 1);
}

/* MTH over [from, to): from is a multiple of the power of two that is not below to - from, so each left half is a full subtree. */
static enum bm_rc range_hash(struct bm_store *s, int64_t from, int64_t to, uint8_t ret[32], struct bm_error *e)
{
    uint8_t left[64][32];
    size_t n = 0;
    enum bm_rc rc = BM_OK;

    while (rc == BM_OK && to - from > 1 && ((to - from) & (to - from - 1)) != 0) {
        int level = split_level(to - from);

        rc = bm_audit_subtree(s, level, from >> level, left[n++], e);
        from += (int64_t)1 << level;
    }
    if (rc == BM_OK) {
        int level = 63 - __builtin_clzll((unsigned long long)(to - from));

        rc = bm_audit_subtree(s, level, from >> level, ret, e);
    }
    while (rc == BM_OK && n != 0)
        bm_merkle_node_hash(left[--n], ret, ret);
    return rc;
}

static enum bm_rc check_size(struct bm_store *s, int64_t size, struct bm_error *e)
{
    int64_t have;
    enum bm_rc rc = bm_audit_leaf_count(s, &have, e);

    if (rc == BM_OK && (size < 0 || size > have))
        return bm_fail(e, BM_NOTFOUND, "the audit log has %" PRId64 " leaves, not %" PRId64, have, size);
    return rc;
}

enum bm_rc bm_audit_root_at(struct bm_store *s, int64_t size, uint8_t ret[32], struct bm_error *e)
{
    struct bm_merkle m;
    enum bm_rc rc = check_size(s, size, e);

    if (rc == BM_OK)
        rc = bm_audit_frontier(s, size, &m, e);
    if (rc == BM_OK)
        bm_merkle_root(&m, ret);
    return rc;
}

/* --- proofs ------------------------------------------------------------------------------------------------------------------- */
/* The RFC builds a path from the leaf up; we walk from the root down, so it comes out backwards. */
static void reverse(uint8_t (*path)[32], size_t n)
{
    uint8_t t[32];

    for (size_t i = 0; i < n / 2; i++) {
        memcpy(t, path[i], sizeof t);
        memcpy(path[i], path[n - 1 - i], sizeof t);
        memcpy(path[n - 1 - i], t, sizeof t);
    }
}

enum bm_rc bm_audit_prove_inclusion(struct bm_store *s, int64_t index, int64_t size, uint8_t (*path)[32], size_t *ret_n,
                                    struct bm_error *e)
{
    int64_t from = 0, to = size;
    size_t n = 0;
    enum bm_rc rc = check_size(s, size, e);

    if (rc == BM_OK && (index < 0 || index >= size))
        return bm_fail(e, BM_NOTFOUND, "leaf %" PRId64 " is not in a tree of %" PRId64, index, size);
    while (rc == BM_OK && to - from > 1) {
        int64_t middle = from + ((int64_t)1 << split_level(to - from));

        if (index < middle) {
            rc = range_hash(s, middle, to, path[n++], e);
            to = middle;
        } else {
            rc = range_hash(s, from, middle, path[n++], e);
            from = middle;
        }
    }
    if (rc != BM_OK)
        return rc;
    reverse(path, n);
    *ret_n = n;
    return BM_OK;
}

/* SUBPROOF(size1, [from, to), whole): whole while the old tree's own root is a node the verifier knows. */
enum bm_rc bm_audit_prove_consistency(struct bm_store *s, int64_t size1, int64_t size2, uint8_t (*path)[32], size_t *ret_n,
                                      struct bm_error *e)
{
    int64_t from = 0, to = size2;
    bool whole = true;
    size_t n = 0;
    enum bm_rc rc = check_size(s, size2, e);

    if (rc == BM_OK && (size1 < 0 || size1 > size2))
        return bm_fail(e, BM_NOTFOUND, "a tree of %" PRId64 " has no earlier one of %" PRId64, size2, size1);
    while (rc == BM_OK && size1 != 0 && size1 != to) {
        int64_t middle = from + ((int64_t)1 << split_level(to - from));

        if (size1 <= middle) {
            rc = range_hash(s, middle, to, path[n++], e);
            to = middle;
        } else {
            rc = range_hash(s, from, middle, path[n++], e);
            from = middle;
            whole = false;
        }
    }
    if (rc == BM_OK && !whole)
        rc = range_hash(s, from, to, path[n++], e);
    if (rc != BM_OK)
        return rc;
    reverse(path, n);
    *ret_n = n;
    return BM_OK;
}
