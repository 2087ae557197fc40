/* Recomputing the log: leaves in order, each stored tile and each signed head on the way. Bounded memory. */
#include "audit/proof.h"
#include "pki/key.h"

#include <inttypes.h>

struct verify {
    struct bm_store *store;
    struct bm_rd sig_alg;
    EVP_PKEY *key;
    struct bm_merkle tree;
    int64_t heads, checked; /* heads checked; size at the last of them */
    int bad_level; /* the first tile that does not fit the leaves under it; 0: none. The next head tells which of them lies */
    int64_t bad_tile;
};

/* --- the signature algorithm of the log's key (RFC 5758 section 3.2, RFC 4055 section 5) -------------------------------------- */
static const struct {
    const char *alg;
    uint8_t n, der[16];
} sig_algs[] = {
    { "P-256", 12, { 0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2 } },
    { "P-384", 12, { 0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3 } },
    { "P-521", 12, { 0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4 } },
    { "RSA", 15, { 0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b, 5, 0 } },
};

/* A DER header of SEQUENCE at the front of r, whose length has one to three bytes. */
static bool enter_sequence(struct bm_rd *r, size_t *ret_len)
{
    uint64_t n;
    uint8_t tag, len;

    if (!bm_rd_u8(r, &tag) || tag != 0x30 || !bm_rd_u8(r, &len) || len > 0x82 || len == 0x80)
        return false;
    n = len;
    if (len > 0x80 && !bm_rd_uint(r, len & 0x7f, &n))
        return false;
    *ret_len = (size_t)n;
    return n <= r->n;
}

/* Newer keys (Ed25519: RFC 8410, ML-DSA: RFC 9881) name their signature by the AlgorithmIdentifier of the key itself. */
static bool own_alg(struct bm_rd spki, struct bm_rd *ret)
{
    struct bm_rd inner;
    size_t n;

    if (!enter_sequence(&spki, &n))
        return false;
    inner = spki;
    return enter_sequence(&inner, &n) && bm_rd_take(&spki, (size_t)(inner.p - spki.p) + n, ret);
}

static enum bm_rc open_key(struct verify *v, struct bm_rd spki, struct bm_error *e)
{
    struct bm_spki k;
    enum bm_rc rc = bm_spki_parse(spki, &k, e);

    if (rc != BM_OK)
        return rc;
    for (size_t i = 0; i < BM_COUNT(sig_algs); i++)
        if (strcmp(sig_algs[i].alg, k.alg) == 0)
            v->sig_alg = bm_rd_of(sig_algs[i].der, sig_algs[i].n);
    if (v->sig_alg.n == 0 && !own_alg(spki, &v->sig_alg))
        return bm_fail(e, BM_MALFORMED, "the key's algorithm cannot be read");
    return bm_spki_open(&k, &v->key, e);
}

/* --- leaves and tiles --------------------------------------------------------------------------------------------------------- */
static enum bm_rc check_tile(void *arg, int level, int64_t index, const uint8_t hash[32], struct bm_error *e)
{
    struct verify *v = arg;
    uint8_t stored[32];
    enum bm_rc rc;

    if (level % BM_TILE_LEVELS != 0 || v->bad_level != 0)
        return BM_OK;
    rc = bm_audit_tile_get(v->store, level, index, stored, e);
    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_DENIED, "log-changed", "tile %" PRId64 " of level %d is missing", index, level);
    if (rc == BM_OK && memcmp(stored, hash, sizeof stored) != 0) {
        v->bad_level = level;
        v->bad_tile = index;
    }
    return rc;
}

static enum bm_rc bad_tile(const struct verify *v, bool leaves_signed, struct bm_error *e)
{
    int64_t first = v->bad_tile << v->bad_level, last = first + ((int64_t)1 << v->bad_level) - 1;

    if (leaves_signed)
        return bm_refuse(e, BM_DENIED, "log-changed", "tile %" PRId64 " of level %d was changed: the leaves under it are as signed",
                         v->bad_tile, v->bad_level);
    return bm_refuse(e, BM_DENIED, "log-changed",
                     "a leaf from %" PRId64 " to %" PRId64 " was changed or moved: tile %" PRId64 " of level %d is not their hash",
                     first, last, v->bad_tile, v->bad_level);
}

static enum bm_rc take_leaf(void *arg, int64_t index, int64_t at_ms, struct bm_rd data, struct bm_error *e)
{
    struct verify *v = arg;
    uint8_t h[32];

    (void)at_ms;
    if (index != v->tree.size)
        return bm_refuse(e, BM_DENIED, "log-changed", "leaf %" PRId64 " is missing", v->tree.size);
    bm_merkle_leaf_hash(data, h);
    return bm_merkle_add(&v->tree, h, check_tile, v, e);
}

/* The first time from the very first row, so that none hides below index 0. */
static enum bm_rc take_leaves_to(struct verify *v, int64_t size, struct bm_error *e)
{
    return bm_audit_leaf_each(v->store, v->tree.size != 0 ? v->tree.size : INT64_MIN, size, take_leaf, v, e);
}

/* --- heads -------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc check_signature(struct verify *v, const struct bm_tree_head *h, struct bm_error *e)
{
    uint8_t raw[64];
    struct bm_wr w = bm_wr_of(raw, sizeof raw);
    enum bm_rc rc;

    bm_tree_head_tbs(h, &w);
    rc = bm_verify_x509(v->key, v->sig_alg, bm_wr_rd(&w), bm_buf_rd(&h->signature), e);
    if (rc == BM_DENIED || rc == BM_MALFORMED)
        return bm_refuse(e, BM_DENIED, "bad-signature", "the head at %" PRId64 " leaves is not signed by the log's key", h->size);
    return rc;
}

static enum bm_rc take_head(void *arg, const struct bm_tree_head *h, struct bm_error *e)
{
    struct verify *v = arg;
    uint8_t root[32];
    enum bm_rc rc = check_signature(v, h, e); /* first: a forged head is not worth reading leaves for */

    if (rc == BM_OK)
        rc = take_leaves_to(v, h->size, e);
    if (rc != BM_OK)
        return rc;
    if (v->tree.size != h->size)
        return bm_refuse(e, BM_DENIED, "log-truncated", "the log ends after %" PRId64 " leaves, but a head was signed at %" PRId64,
                         v->tree.size, h->size);
    bm_merkle_root(&v->tree, root);
    if (v->bad_level != 0)
        return bad_tile(v, memcmp(root, h->root, sizeof root) == 0, e);
    if (memcmp(root, h->root, sizeof root) != 0)
        return bm_refuse(e, BM_DENIED, "log-changed",
                         "a leaf from %" PRId64 " to %" PRId64 " was changed or moved: they do not lead to the root signed there",
                         v->checked, h->size - 1);
    v->checked = h->size;
    v->heads++;
    return BM_OK;
}

/* Tiles of subtrees the log has not reached would be believed once it has. */
static enum bm_rc check_beyond(struct verify *v, struct bm_error *e)
{
    int64_t want = 0, have;
    enum bm_rc rc = bm_audit_tile_count(v->store, &have, e);

    for (int level = BM_TILE_LEVELS; level < 63; level += BM_TILE_LEVELS)
        want += v->tree.size >> level;
    if (rc == BM_OK && have != want)
        return bm_refuse(e, BM_DENIED, "log-changed", "%" PRId64 " tiles are stored, but %" PRId64 " leaves make %" PRId64, have,
                         v->tree.size, want);
    return rc;
}

static void verify_done(struct verify *v)
{
    bm_evp_freep(&v->key);
}

enum bm_rc bm_audit_verify(struct bm_store *s, struct bm_rd spki, struct bm_audit_report *ret, struct bm_error *e)
{
    BM_CLEANUP(verify_done) struct verify v = { .store = s };
    enum bm_rc rc = open_key(&v, spki, e);

    if (rc == BM_OK)
        rc = bm_tree_head_each(s, take_head, &v, e);
    if (rc == BM_OK) /* leaves after the last head: no signature covers them yet, tiles do */
        rc = take_leaves_to(&v, INT64_MAX, e);
    if (rc == BM_OK && v.bad_level != 0)
        rc = bad_tile(&v, false, e);
    if (rc == BM_OK)
        rc = check_beyond(&v, e);
    if (rc == BM_OK && v.heads == 0 && v.tree.size != 0) /* the first is signed with the first leaf */
        rc = bm_refuse(e, BM_DENIED, "log-head", "%" PRId64 " leaves and no signed head: the heads were taken away", v.tree.size);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "audit log");
    *ret = (struct bm_audit_report){ .leaves = v.tree.size, .heads = v.heads, .covered = v.checked };
    bm_merkle_root(&v.tree, ret->root);
    return BM_OK;
}
