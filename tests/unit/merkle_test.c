/* RFC 9162 section 2.1: hashes, roots, and every proof of every small tree. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "audit/log.h"
#include "base/text.h"

#include <stdlib.h>

/* The eight leaves and the roots that Certificate Transparency implementations are tested with. */
static const struct {
    const char *leaf, *root; /* root: of the tree up to and including this leaf */
} golden[] = {
    { "", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d" },
    { "00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125" },
    { "10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77" },
    { "2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7" },
    { "3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4" },
    { "40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef" },
    { "5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c" },
    { "606162636465666768696a6b6c6d6e6f", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328" },
};

static void leaf_of(size_t i, uint8_t ret[32])
{
    uint8_t raw[16];
    size_t n = strlen(golden[i].leaf) / 2;

    assert_true(bm_unhex(bm_rd_str(golden[i].leaf), raw, n));
    bm_merkle_leaf_hash(bm_rd_of(raw, n), ret);
}

static void assert_hex(const uint8_t hash[32], const char *want)
{
    char hex[65];

    bm_hex(hash, 32, hex);
    assert_string_equal(hex, want);
}

static void test_golden_roots(void **state)
{
    struct bm_merkle m = { 0 };
    uint8_t h[32];

    (void)state;
    bm_merkle_root(&m, h);
    assert_hex(h, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (size_t i = 0; i < BM_COUNT(golden); i++) {
        leaf_of(i, h);
        assert_int_equal(bm_merkle_add(&m, h, NULL, NULL, NULL), BM_OK);
        bm_merkle_root(&m, h);
        assert_hex(h, golden[i].root);
    }
}

/* --- the definitions of section 2.1, word for word and slow, to hold the fast code against ------------------------------------ */
enum { LEAVES = 70 };
static uint8_t leaves[LEAVES][32];

struct path {
    uint8_t h[64][32];
    size_t n;
};

static size_t split(size_t n)
{
    size_t k = 1;

    while (2 * k < n)
        k *= 2;
    return k;
}

static void slow_root(size_t from, size_t n, uint8_t ret[32])
{
    static const struct bm_merkle empty;
    uint8_t l[32], r[32];

    if (n == 0) {
        bm_merkle_root(&empty, ret);
    } else if (n == 1) {
        memcpy(ret, leaves[from], 32);
    } else {
        slow_root(from, split(n), l);
        slow_root(from + split(n), n - split(n), r);
        bm_merkle_node_hash(l, r, ret);
    }
}

static void slow_path(size_t m, size_t from, size_t n, struct path *p) /* section 2.1.3.1 */
{
    size_t k = split(n);

    if (n == 1)
        return;
    slow_path(m < k ? m : m - k, m < k ? from : from + k, m < k ? k : n - k, p);
    if (m < k)
        slow_root(from + k, n - k, p->h[p->n++]);
    else
        slow_root(from, k, p->h[p->n++]);
}

static void slow_subproof(size_t m, size_t from, size_t n, bool whole, struct path *p) /* section 2.1.4.1 */
{
    size_t k = split(n);

    if (m == n) {
        if (!whole)
            slow_root(from, n, p->h[p->n++]);
    } else if (m <= k) {
        slow_subproof(m, from, k, whole, p);
        slow_root(from + k, n - k, p->h[p->n++]);
    } else {
        slow_subproof(m - k, from + k, n - k, false, p);
        slow_root(from, k, p->h[p->n++]);
    }
}

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEAVES; i++)
        bm_merkle_leaf_hash(bm_rd_of(&i, sizeof i), leaves[i]);
    return 0;
}

static void test_roots(void **state)
{
    struct bm_merkle m = { 0 };
    uint8_t want[32], got[32];

    (void)state;
    for (size_t n = 0; n < LEAVES; n++) {
        slow_root(0, n, want);
        bm_merkle_root(&m, got);
        assert_memory_equal(got, want, 32);
        assert_int_equal(bm_merkle_add(&m, leaves[n], NULL, NULL, NULL), BM_OK);
    }
}

/* Each byte of the path turned once, a hash more, a hash less, the neighbours of the numbers: nothing of it may pass. */
static void refuse_inclusion(size_t m, size_t n, const uint8_t root[32], struct path *p)
{
    uint8_t(*exact)[32] = malloc(p->n * 32 + (p->n == 0)), *flat = (uint8_t *)p->h;

    for (size_t i = 0; i < p->n * 32; i++) {
        flat[i] ^= (uint8_t)(1 + i % 255);
        assert_int_equal(bm_merkle_check_inclusion(leaves[m], (int64_t)m, (int64_t)n, root, p->h, p->n, NULL), BM_DENIED);
        flat[i] ^= (uint8_t)(1 + i % 255);
    }
    assert_int_equal(bm_merkle_check_inclusion(leaves[m], (int64_t)m, (int64_t)n, root, p->h, p->n + 1, NULL), BM_DENIED);
    for (size_t k = 0; k < p->n; k++) {
        memcpy(exact, p->h, p->n * 32);
        assert_int_equal(bm_merkle_check_inclusion(leaves[m], (int64_t)m, (int64_t)n, root, exact, k, NULL), BM_DENIED);
    }
    assert_int_equal(bm_merkle_check_inclusion(leaves[(m + 1) % LEAVES], (int64_t)m, (int64_t)n, root, p->h, p->n, NULL),
                     BM_DENIED);
    for (size_t other = 0; other < n; other++)
        if (other != m)
            assert_int_equal(bm_merkle_check_inclusion(leaves[m], (int64_t)other, (int64_t)n, root, p->h, p->n, NULL), BM_DENIED);
    free(exact);
}

static void test_inclusion(void **state)
{
    (void)state;
    for (size_t n = 1; n <= LEAVES; n++) {
        uint8_t root[32];

        slow_root(0, n, root);
        for (size_t m = 0; m < n; m++) {
            struct path p = { .n = 0 };

            slow_path(m, 0, n, &p);
            assert_int_equal(bm_merkle_check_inclusion(leaves[m], (int64_t)m, (int64_t)n, root, p.h, p.n, NULL), BM_OK);
            if (m % 7 == n % 7 || n < 12)
                refuse_inclusion(m, n, root, &p);
        }
    }
}

static void refuse_consistency(size_t m, size_t n, uint8_t r1[32], uint8_t r2[32], struct path *p)
{
    uint8_t *flat = (uint8_t *)p->h;

    for (size_t i = 0; i < p->n * 32; i++) {
        flat[i] ^= (uint8_t)(1 + i % 255);
        assert_int_equal(bm_merkle_check_consistency((int64_t)m, r1, (int64_t)n, r2, p->h, p->n, NULL), BM_DENIED);
        flat[i] ^= (uint8_t)(1 + i % 255);
    }
    for (size_t i = 0; i < 32; i++) {
        r1[i] ^= 0x10;
        assert_int_equal(bm_merkle_check_consistency((int64_t)m, r1, (int64_t)n, r2, p->h, p->n, NULL), BM_DENIED);
        r1[i] ^= 0x10;
        r2[i] ^= 0x10;
        if (m != 0) /* everything grows out of the empty tree */
            assert_int_equal(bm_merkle_check_consistency((int64_t)m, r1, (int64_t)n, r2, p->h, p->n, NULL), BM_DENIED);
        r2[i] ^= 0x10;
    }
    assert_int_equal(bm_merkle_check_consistency((int64_t)m, r1, (int64_t)n, r2, p->h, p->n + 1, NULL), BM_DENIED);
    for (size_t k = 0; k < p->n; k++)
        assert_int_equal(bm_merkle_check_consistency((int64_t)m, r1, (int64_t)n, r2, p->h, k, NULL), BM_DENIED);
    if (m != n)
        assert_int_equal(bm_merkle_check_consistency((int64_t)n, r2, (int64_t)m, r1, p->h, p->n, NULL), BM_DENIED);
}

static void test_consistency(void **state)
{
    (void)state;
    for (size_t n = 0; n <= LEAVES; n++) {
        uint8_t r1[32], r2[32];

        slow_root(0, n, r2);
        for (size_t m = 0; m <= n; m++) {
            struct path p = { .n = 0 };

            slow_root(0, m, r1);
            if (m != 0)
                slow_subproof(m, 0, n, true, &p);
            assert_int_equal(bm_merkle_check_consistency((int64_t)m, r1, (int64_t)n, r2, p.h, p.n, NULL), BM_OK);
            if (m % 7 == n % 7 || n < 12)
                refuse_consistency(m, n, r1, r2, &p);
        }
    }
}

static void test_odd_numbers(void **state)
{
    static const struct {
        int64_t index, size;
    } inclusion[] = { { -1, 8 }, { 8, 8 }, { 0, 0 }, { 0, -1 }, { -2, -1 }, { INT64_MAX, INT64_MAX }, { 0, INT64_MIN } };
    static const struct {
        int64_t size1, size2;
    } consistency[] = { { -1, 8 }, { 9, 8 }, { INT64_MIN, 8 }, { 1, INT64_MAX }, { INT64_MIN, INT64_MAX }, { -1, -1 } };
    uint8_t path[64][32] = { { 0 } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(inclusion); i++)
        for (size_t n = 0; n <= 64; n++)
            assert_int_equal(bm_merkle_check_inclusion(leaves[0], inclusion[i].index, inclusion[i].size, leaves[1], path, n, NULL),
                             BM_DENIED);
    for (size_t i = 0; i < BM_COUNT(consistency); i++)
        for (size_t n = 0; n <= 64; n++)
            assert_int_equal(
                bm_merkle_check_consistency(consistency[i].size1, leaves[0], consistency[i].size2, leaves[1], path, n, NULL),
                BM_DENIED);
}

/* --- full subtrees are told, and a refusal leaves the tree alone -------------------------------------------------------------- */
struct told {
    size_t n;
    int fail_at;
};

static enum bm_rc told_full(void *arg, int level, int64_t index, const uint8_t hash[32], struct bm_error *e)
{
    struct told *t = arg;
    uint8_t want[32];

    (void)e;
    if (level == t->fail_at)
        return BM_IO;
    slow_root((size_t)(index << level), (size_t)1 << level, want);
    assert_memory_equal(hash, want, 32);
    t->n++;
    return BM_OK;
}

static void test_full_subtrees(void **state)
{
    struct bm_merkle m = { 0 }, before;
    struct told t = { .n = 0 };

    (void)state;
    for (size_t i = 0; i < 64; i++) {
        before = m;
        if (i % 4 == 3) { /* completes level 2 */
            t.fail_at = 2;
            assert_int_equal(bm_merkle_add(&m, leaves[i], told_full, &t, NULL), BM_IO);
            assert_memory_equal(&m, &before, sizeof m);
            t.n--; /* level 1 was told and will be again */
        }
        t.fail_at = 0;
        assert_int_equal(bm_merkle_add(&m, leaves[i], told_full, &t, NULL), BM_OK);
    }
    assert_int_equal(t.n, 63);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_roots), cmocka_unit_test(test_roots),       cmocka_unit_test(test_inclusion),
        cmocka_unit_test(test_consistency),  cmocka_unit_test(test_odd_numbers), cmocka_unit_test(test_full_subtrees),
    };

    return cmocka_run_group_tests_name("merkle", tests, setup, NULL);
}
