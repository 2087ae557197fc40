/* The Merkle tree of RFC 9162 section 2.1, over nothing but hashes. */
#include "audit/log.h"

#include <openssl/evp.h>
#include <stdlib.h>

/* Fetching an algorithm and making a context cost more than hashing a leaf, so each thread keeps one of its own. */
static EVP_MD_CTX *context(void)
{
    static _Thread_local EVP_MD_CTX *kept;
    EVP_MD *sha256;

    if (kept != NULL)
        return kept;
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    kept = EVP_MD_CTX_new();
    if (sha256 == NULL || kept == NULL || EVP_DigestInit_ex(kept, sha256, NULL) != 1)
        abort();         /* no SHA-256, no memory: there is no honest hash to hand back */
    EVP_MD_free(sha256); /* the context holds it */
    return kept;
}

static void hash(const struct bm_rd *parts, size_t n, uint8_t ret[32])
{
    EVP_MD_CTX *c = context();
    bool ok = EVP_DigestInit_ex(c, NULL, NULL) == 1;

    for (size_t i = 0; i < n; i++)
        ok = ok && EVP_DigestUpdate(c, parts[i].p, parts[i].n) == 1;
    if (!ok || EVP_DigestFinal_ex(c, ret, NULL) != 1)
        abort();
}

void bm_merkle_leaf_hash(struct bm_rd data, uint8_t ret[32])
{
    static const uint8_t leaf = 0x00;
    const struct bm_rd parts[] = { { &leaf, 1 }, data };

    hash(parts, 2, ret);
}

void bm_merkle_node_hash(const uint8_t l[32], const uint8_t r[32], uint8_t ret[32])
{
    uint8_t node[65];
    struct bm_wr w = bm_wr_of(node, sizeof node);
    struct bm_rd whole;

    bm_wr_uint(&w, 1, 0x01);
    bm_wr_put(&w, l, 32);
    bm_wr_put(&w, r, 32);
    whole = bm_wr_rd(&w);
    hash(&whole, 1, ret);
}

static size_t n_nodes(int64_t size)
{
    return (size_t)__builtin_popcountll((unsigned long long)size);
}

/* Like adding one to a binary number: each carry joins two subtrees of one size. */
enum bm_rc bm_merkle_add(struct bm_merkle *m, const uint8_t leaf_hash[32], bm_merkle_full_fn *full, void *arg, struct bm_error *e)
{
    size_t n = n_nodes(m->size);
    uint8_t carry[32];
    enum bm_rc rc;

    if (m->size < 0 || m->size == INT64_MAX)
        return bm_fail(e, BM_LIMIT, "audit log: full");
    memcpy(carry, leaf_hash, sizeof carry);
    for (int level = 0; (m->size >> level & 1) != 0; level++) {
        bm_merkle_node_hash(m->node[--n], carry, carry);
        rc = full != NULL ? full(arg, level + 1, m->size >> (level + 1), carry, e) : BM_OK;
        if (rc != BM_OK)
            return rc; /* m is as it was */
    }
    memcpy(m->node[n], carry, sizeof carry);
    m->size++;
    return BM_OK;
}

void bm_merkle_root(const struct bm_merkle *m, uint8_t ret[32])
{
    size_t n = n_nodes(m->size);

    if (n == 0) {
        hash(NULL, 0, ret);
        return;
    }
    memcpy(ret, m->node[--n], 32);
    while (n != 0)
        bm_merkle_node_hash(m->node[--n], ret, ret);
}

/* --- checking proofs ---------------------------------------------------------------------------------------------------------- */
static enum bm_rc no_proof(struct bm_error *e, const char *why)
{
    return bm_refuse(e, BM_DENIED, "bad-proof", "the proof does not hold: %s", why);
}

/* fn and sn as in RFC 9162: the places of the node reached and of the last node, at the height reached. */
struct climb {
    uint64_t fn, sn;
};

/* Is the next hash of the path on the left? Then also skips the heights at which we are the last, lone node. */
static bool from_left(struct climb *c)
{
    if ((c->fn & 1) == 0 && c->fn != c->sn)
        return false;
    while ((c->fn & 1) == 0 && c->fn != 0) {
        c->fn >>= 1;
        c->sn >>= 1;
    }
    return true;
}

static void climb(struct climb *c)
{
    c->fn >>= 1;
    c->sn >>= 1;
}

/* RFC 9162 section 2.1.3.2 */
enum bm_rc bm_merkle_check_inclusion(const uint8_t leaf_hash[32], int64_t index, int64_t size, const uint8_t root[32],
                                     const uint8_t (*path)[32], size_t n_path, struct bm_error *e)
{
    struct climb c = { (uint64_t)index, (uint64_t)size - 1 };
    uint8_t r[32];

    if (index < 0 || index >= size)
        return no_proof(e, "the leaf is beyond the tree");
    memcpy(r, leaf_hash, sizeof r);
    for (size_t i = 0; i < n_path; i++) {
        if (c.sn == 0)
            return no_proof(e, "the path is too long");
        if (from_left(&c))
            bm_merkle_node_hash(path[i], r, r);
        else
            bm_merkle_node_hash(r, path[i], r);
        climb(&c);
    }
    if (c.sn != 0)
        return no_proof(e, "the path is too short");
    return memcmp(r, root, sizeof r) == 0 ? BM_OK : no_proof(e, "it leads to another root");
}

/* The cases section 2.1.4.2 leaves out: equal sizes, and the empty tree, which is a prefix of every other. */
static enum bm_rc check_trivial(int64_t size1, const uint8_t root1[32], int64_t size2, const uint8_t root2[32], size_t n_path,
                                struct bm_error *e)
{
    static const struct bm_merkle empty;
    uint8_t nothing[32];

    if (n_path != 0)
        return no_proof(e, "the path is too long");
    bm_merkle_root(&empty, nothing);
    if (size1 == 0 && memcmp(root1, nothing, sizeof nothing) != 0)
        return no_proof(e, "that is not the root of the empty tree");
    if (size1 == size2 && memcmp(root1, root2, sizeof nothing) != 0)
        return no_proof(e, "two roots for one size");
    return BM_OK;
}

/* RFC 9162 section 2.1.4.2 */
enum bm_rc bm_merkle_check_consistency(int64_t size1, const uint8_t root1[32], int64_t size2, const uint8_t root2[32],
                                       const uint8_t (*path)[32], size_t n_path, struct bm_error *e)
{
    struct climb c = { (uint64_t)size1 - 1, (uint64_t)size2 - 1 };
    bool power = ((uint64_t)size1 & ((uint64_t)size1 - 1)) == 0;
    uint8_t fr[32], sr[32];

    if (size1 < 0 || size1 > size2)
        return no_proof(e, "the tree has shrunk");
    if (size1 == 0 || size1 == size2)
        return check_trivial(size1, root1, size2, root2, n_path, e);
    if (n_path == 0)
        return no_proof(e, "the path is empty");
    while ((c.fn & 1) != 0)
        climb(&c);
    memcpy(fr, power ? root1 : path[0], sizeof fr);
    memcpy(sr, fr, sizeof sr);
    for (size_t i = power ? 0 : 1; i < n_path; i++) {
        if (c.sn == 0)
            return no_proof(e, "the path is too long");
        if (from_left(&c)) {
            bm_merkle_node_hash(path[i], fr, fr);
            bm_merkle_node_hash(path[i], sr, sr);
        } else {
            bm_merkle_node_hash(sr, path[i], sr);
        }
        climb(&c);
    }
    if (c.sn != 0)
        return no_proof(e, "the path is too short");
    if (memcmp(fr, root1, sizeof fr) != 0 || memcmp(sr, root2, sizeof sr) != 0)
        return no_proof(e, "it leads to other roots");
    return BM_OK;
}
