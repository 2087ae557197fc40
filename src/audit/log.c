/* The log in a store: leaves added in the keeper's transaction, tiles as they fill, signed heads. */
#include "audit/log.h"

#include "audit/proof.h"
#include "pki/key.h"

#include <inttypes.h>

/* Whoever cut leaves off the end cannot cut the heads they were signed under: refuse to write on. */
static enum bm_rc check_last_head(struct bm_store *s, const struct bm_merkle *m, struct bm_error *e)
{
    BM_CLEANUP(bm_tree_head_done) struct bm_tree_head h = { 0 };
    uint8_t root[32];
    enum bm_rc rc = bm_tree_head_last(s, &h, e);

    if (rc == BM_NOTFOUND)
        return BM_OK;
    if (rc == BM_OK && h.size > m->size)
        return bm_refuse(e, BM_DENIED, "log-truncated", "the log has %" PRId64 " leaves, but a head was signed at %" PRId64,
                         m->size, h.size);
    if (rc == BM_OK)
        rc = bm_audit_root_at(s, h.size, root, e);
    if (rc == BM_OK && memcmp(root, h.root, sizeof root) != 0)
        return bm_refuse(e, BM_DENIED, "log-changed", "the log does not lead to the root signed at %" PRId64 " leaves", h.size);
    return rc;
}

enum bm_rc bm_audit_open(struct bm_audit *a, struct bm_store *s, struct bm_error *e)
{
    struct bm_merkle m = { 0 };
    int64_t size = 0;
    enum bm_rc rc = bm_audit_leaf_count(s, &size, e);

    if (rc == BM_OK)
        rc = bm_audit_frontier(s, size, &m, e);
    if (rc == BM_OK)
        rc = check_last_head(s, &m, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "audit log");
    *a = (struct bm_audit){ .store = s, .tree = m, .on_disk = m };
    return BM_OK;
}

static enum bm_rc keep_tile(void *arg, int level, int64_t index, const uint8_t hash[32], struct bm_error *e)
{
    return level % BM_TILE_LEVELS == 0 ? bm_audit_tile_add(arg, level, index, hash, e) : BM_OK;
}

/* What was committed once is there for good: a database that came back with less has lost what devices were given. */
static enum bm_rc look_again(struct bm_audit *a, struct bm_error *e)
{
    struct bm_audit now = { 0 };
    enum bm_rc rc = a->stale ? bm_audit_open(&now, a->store, e) : BM_OK;

    if (rc != BM_OK || !a->stale)
        return rc;
    if (now.tree.size < a->on_disk.size)
        return bm_refuse(e, BM_DENIED, "log-truncated", "the log has %" PRId64 " leaves, but %" PRId64 " had been committed",
                         now.tree.size, a->on_disk.size);
    *a = now;
    return BM_OK;
}

enum bm_rc bm_audit_add(struct bm_audit *a, int64_t at_ms, struct bm_rd data, struct bm_error *e)
{
    uint8_t h[32];
    enum bm_rc rc = look_again(a, e);

    if (rc == BM_OK)
        rc = bm_audit_leaf_add(a->store, a->tree.size, at_ms, data, e);

    if (rc != BM_OK)
        return rc;
    bm_merkle_leaf_hash(data, h);
    return bm_merkle_add(&a->tree, h, keep_tile, a->store, e);
}

void bm_audit_committed(struct bm_audit *a)
{
    a->on_disk = a->tree;
}

void bm_audit_rolled_back(struct bm_audit *a)
{
    a->tree = a->on_disk;
    a->stale = true;
}

void bm_tree_head_tbs(const struct bm_tree_head *h, struct bm_wr *w)
{
    bm_wr_uint(w, 8, (uint64_t)h->at_ms);
    bm_wr_uint(w, 8, (uint64_t)h->size);
    bm_wr_uint(w, 1, sizeof h->root); /* NodeHash is opaque<32..2^8-1> */
    bm_wr_put(w, h->root, sizeof h->root);
    bm_wr_uint(w, 2, 0); /* sth_extensions */
}

static enum bm_rc sign(struct bm_tree_head *h, const struct bm_key *key, struct bm_error *e)
{
    uint8_t raw[64], sig[BM_SIGNATURE_MAX];
    struct bm_wr w = bm_wr_of(raw, sizeof raw);
    size_t n = sizeof sig;
    enum bm_rc rc;

    bm_tree_head_tbs(h, &w);
    rc = bm_key_sign(key, bm_wr_rd(&w), sig, &n, e);
    if (rc != BM_OK)
        return rc;
    h->signature.max = n;
    bm_buf_put(&h->signature, sig, n);
    return bm_buf_check(&h->signature, e);
}

enum bm_rc bm_audit_sign_head(struct bm_audit *a, const struct bm_key *key, int64_t at_ms, struct bm_error *e)
{
    BM_CLEANUP(bm_tree_head_done) struct bm_tree_head last = { 0 }, h = { .at_ms = at_ms };
    enum bm_rc rc = look_again(a, e);

    if (rc != BM_OK)
        return rc;
    h.size = a->tree.size;
    rc = bm_tree_head_last(a->store, &last, e);
    if (rc != BM_OK && rc != BM_NOTFOUND)
        return rc;
    if (rc == BM_OK && last.size == h.size)
        return BM_OK;
    bm_merkle_root(&a->tree, h.root);
    rc = sign(&h, key, e);
    return rc == BM_OK ? bm_tree_head_add(a->store, &h, e) : rc;
}
