/* targets: bm_merkle_check_inclusion bm_merkle_check_consistency bm_merkle_add bm_merkle_root */
#include "audit/log.h"

#include <stdlib.h>

/* kind (1), index or first size (8), size (8), leaf or first root (32), root (32), then the path. */
struct question {
    uint8_t kind, a[32], b[32];
    int64_t m, n;
    uint8_t path[70][32];
    size_t n_path;
};

static bool parse(struct bm_rd r, struct question *q)
{
    uint64_t m, n;

    if (!bm_rd_u8(&r, &q->kind) || !bm_rd_u64(&r, &m) || !bm_rd_u64(&r, &n) || !bm_rd_copy(&r, q->a, 32) ||
        !bm_rd_copy(&r, q->b, 32))
        return false;
    q->m = (int64_t)m;
    q->n = (int64_t)n;
    for (q->n_path = 0; q->n_path < 70 && bm_rd_copy(&r, q->path[q->n_path], 32); q->n_path++)
        ;
    return true;
}

static enum bm_rc ask(const struct question *q)
{
    const uint8_t(*path)[32] = (const uint8_t(*)[32])q->path;

    return (q->kind & 1) != 0 ? bm_merkle_check_inclusion(q->a, q->m, q->n, q->b, path, q->n_path, NULL)
                              : bm_merkle_check_consistency(q->m, q->a, q->n, q->b, path, q->n_path, NULL);
}

/* What holds no longer holds with one bit of the path turned, nor with a hash less or more. */
static void must_break(struct question *q)
{
    for (size_t i = 0; i < q->n_path; i++) {
        q->path[i][i % 32] ^= 1;
        if (ask(q) == BM_OK)
            abort();
        q->path[i][i % 32] ^= 1;
    }
    if (q->n_path == 0)
        return;
    q->n_path--;
    if (ask(q) == BM_OK)
        abort();
}

/* A tree grown leaf by leaf is consistent with itself one leaf before: the path to the last leaf is known without any proof code. */
static void grow(const uint8_t *p, size_t n)
{
    struct bm_merkle m = { 0 }, before;
    uint8_t leaf[32], path[64][32], root[32];

    for (size_t i = 0; i < n && i < 300; i++) {
        size_t k = (size_t)__builtin_popcountll((unsigned long long)m.size);

        before = m;
        bm_merkle_leaf_hash(bm_rd_of(p, i), leaf);
        if (bm_merkle_add(&m, leaf, NULL, NULL, NULL) != BM_OK)
            abort();
        for (size_t j = 0; j < k; j++)
            memcpy(path[j], before.node[k - 1 - j], 32);
        bm_merkle_root(&m, root);
        if (bm_merkle_check_inclusion(leaf, (int64_t)i, m.size, root, (const uint8_t(*)[32])path, k, NULL) != BM_OK)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct question q;

    if (parse(bm_rd_of(p, n), &q) && ask(&q) == BM_OK)
        must_break(&q);
    if (n != 0 && p[0] == 'g')
        grow(p, n);
    return 0;
}
