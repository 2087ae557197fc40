/* The log in a store: restored at opening, proved from tiles, and every way of changing it found. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "audit/log.h"
#include "pki/key.h"

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char dir[] = "/tmp/bm-audit-XXXXXX";
static char path[64], dsn[96];
static struct bm_key *key, *other_key;
static struct bm_error e;

static struct bm_key *make_key(void)
{
    struct bm_key *k = NULL;

    assert_int_equal(bm_key_of_evp(EVP_EC_gen("P-256"), &k, &e), BM_OK);
    return k;
}

static int setup_group(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/registry.db", dir);
    snprintf(dsn, sizeof dsn, "sqlite:%s", path);
    key = make_key();
    other_key = make_key();
    return 0;
}

static void remove_store(void)
{
    char side[80];

    unlink(path);
    snprintf(side, sizeof side, "%s-wal", path);
    unlink(side);
    snprintf(side, sizeof side, "%s-shm", path);
    unlink(side);
}

static int teardown_group(void **state)
{
    (void)state;
    remove_store();
    rmdir(dir);
    bm_key_free(key);
    bm_key_free(other_key);
    return 0;
}

static struct bm_store *open_store(bool create)
{
    struct bm_store *s = NULL;

    if (create)
        remove_store();
    assert_int_equal(bm_store_open(dsn, (struct bm_store_options){ .create = create }, &s, &e), BM_OK);
    return s;
}

static void leaf_text(int64_t i, char *ret, size_t room)
{
    snprintf(ret, room, "{\"op\":\"test\",\"n\":%lld}", (long long)i);
}

static void add_leaves(struct bm_audit *a, int64_t n)
{
    char text[64];

    for (int64_t i = 0; i < n; i++) {
        leaf_text(a->tree.size, text, sizeof text);
        assert_int_equal(bm_audit_add(a, 1700000000000 + a->tree.size, bm_rd_str(text), &e), BM_OK);
    }
}

static void grow(struct bm_store *s, struct bm_audit *a, int64_t n)
{
    assert_int_equal(bm_store_begin(s, &e), BM_OK);
    add_leaves(a, n);
    assert_int_equal(bm_audit_sign_head(a, key, 1800000000000, &e), BM_OK);
    assert_int_equal(bm_store_commit(s, &e), BM_OK);
    bm_audit_committed(a);
}

static void plain_root(int64_t n, uint8_t ret[32])
{
    struct bm_merkle m = { 0 };
    char text[64];
    uint8_t h[32];

    for (int64_t i = 0; i < n; i++) {
        leaf_text(i, text, sizeof text);
        bm_merkle_leaf_hash(bm_rd_str(text), h);
        assert_int_equal(bm_merkle_add(&m, h, NULL, NULL, &e), BM_OK);
    }
    bm_merkle_root(&m, ret);
}

/* --- adding, opening again ---------------------------------------------------------------------------------------------------- */
static void test_restored_at_opening(void **state)
{
    static const int64_t steps[] = { 0, 1, 254, 1, 1, 255, 3, 509, 1500 };
    struct bm_store *s = open_store(true);
    struct bm_audit a, again;

    (void)state;
    assert_int_equal(bm_audit_open(&a, s, &e), BM_OK);
    for (size_t i = 0; i < BM_COUNT(steps); i++) {
        uint8_t want[32], got[32];

        grow(s, &a, steps[i]);
        assert_int_equal(bm_audit_open(&again, s, &e), BM_OK);
        assert_int_equal(again.tree.size, a.tree.size);
        plain_root(a.tree.size, want);
        bm_merkle_root(&again.tree, got);
        assert_memory_equal(got, want, 32);
        bm_merkle_root(&a.tree, got);
        assert_memory_equal(got, want, 32);
    }
    bm_store_close(s);
}

static void test_rolled_back(void **state)
{
    struct bm_store *s = open_store(true);
    struct bm_audit a;
    uint8_t before[32], after[32];

    (void)state;
    assert_int_equal(bm_audit_open(&a, s, &e), BM_OK);
    grow(s, &a, 300);
    bm_merkle_root(&a.tree, before);
    assert_int_equal(bm_store_begin(s, &e), BM_OK);
    add_leaves(&a, 300);
    bm_store_rollback(s);
    bm_audit_rolled_back(&a);
    bm_merkle_root(&a.tree, after);
    assert_memory_equal(before, after, 32);
    grow(s, &a, 300);
    plain_root(600, before);
    bm_merkle_root(&a.tree, after);
    assert_memory_equal(before, after, 32);
    assert_int_equal(bm_audit_add(&a, 1, bm_rd_str("{}"), &e), BM_BUG); /* outside a transaction */
    assert_int_equal(a.tree.size, 600);
    bm_store_close(s);
}

static void test_heads(void **state)
{
    struct bm_store *s = open_store(true);
    struct bm_tree_head h = { 0 };
    struct bm_audit a;
    uint8_t raw[64];
    struct bm_wr w = bm_wr_of(raw, sizeof raw);

    (void)state;
    assert_int_equal(bm_audit_open(&a, s, &e), BM_OK);
    assert_int_equal(bm_tree_head_last(s, &h, &e), BM_NOTFOUND);
    grow(s, &a, 5);
    grow(s, &a, 0); /* the same size: no second head */
    grow(s, &a, 2);
    assert_int_equal(bm_tree_head_last(s, &h, &e), BM_OK);
    assert_int_equal(h.size, 7);
    bm_tree_head_tbs(&h, &w);
    assert_false(w.bad);
    assert_int_equal(w.n, 51); /* RFC 9162 section 4.10: 8 + 8 + 1 + 32 + 2 */
    assert_int_equal(raw[15], 7);
    assert_int_equal(raw[16], 32);
    assert_memory_equal(raw + 17, h.root, 32);
    assert_int_equal(raw[49] | raw[50], 0);
    bm_tree_head_done(&h);
    bm_store_close(s);
}

/* --- proofs ------------------------------------------------------------------------------------------------------------------- */
static void prove_inclusion(struct bm_store *s, int64_t index, int64_t size)
{
    uint8_t p[64][32], root[32], leaf[32];
    char text[64];
    size_t n = 0;

    leaf_text(index, text, sizeof text);
    bm_merkle_leaf_hash(bm_rd_str(text), leaf);
    assert_int_equal(bm_audit_root_at(s, size, root, &e), BM_OK);
    assert_int_equal(bm_audit_prove_inclusion(s, index, size, p, &n, &e), BM_OK);
    assert_int_equal(bm_merkle_check_inclusion(leaf, index, size, root, (const uint8_t(*)[32])p, n, &e), BM_OK);
}

static void prove_consistency(struct bm_store *s, int64_t m, int64_t n)
{
    uint8_t p[64][32], r1[32], r2[32];
    size_t n_path = 0;

    assert_int_equal(bm_audit_root_at(s, m, r1, &e), BM_OK);
    assert_int_equal(bm_audit_root_at(s, n, r2, &e), BM_OK);
    assert_int_equal(bm_audit_prove_consistency(s, m, n, p, &n_path, &e), BM_OK);
    assert_int_equal(bm_merkle_check_consistency(m, r1, n, r2, (const uint8_t(*)[32])p, n_path, &e), BM_OK);
}

static void test_proofs(void **state)
{
    static const int64_t sizes[] = { 1, 2, 3, 69, 70, 255, 256, 257, 511, 512, 513, 1023, 1024, 1100, 2047 };
    struct bm_store *s = open_store(true);
    struct bm_audit a;
    uint8_t p[64][32], root[32];
    size_t n;

    (void)state;
    assert_int_equal(bm_audit_open(&a, s, &e), BM_OK);
    grow(s, &a, 2047);
    for (int64_t size = 1; size <= 70; size++)
        for (int64_t i = 0; i < size; i++) {
            prove_inclusion(s, i, size);
            prove_consistency(s, i, size);
        }
    for (size_t i = 0; i < BM_COUNT(sizes); i++) {
        plain_root(sizes[i], p[0]);
        assert_int_equal(bm_audit_root_at(s, sizes[i], root, &e), BM_OK);
        assert_memory_equal(root, p[0], 32);
        for (size_t k = 0; k <= i; k++) {
            prove_inclusion(s, sizes[k] - 1, sizes[i]);
            prove_consistency(s, sizes[k], sizes[i]);
        }
    }
    assert_int_equal(bm_audit_prove_inclusion(s, 2047, 2047, p, &n, &e), BM_NOTFOUND);
    assert_int_equal(bm_audit_prove_inclusion(s, -1, 2047, p, &n, &e), BM_NOTFOUND);
    assert_int_equal(bm_audit_prove_inclusion(s, 0, 2048, p, &n, &e), BM_NOTFOUND);
    assert_int_equal(bm_audit_prove_inclusion(s, 0, 0, p, &n, &e), BM_NOTFOUND);
    assert_int_equal(bm_audit_prove_consistency(s, 1, 2048, p, &n, &e), BM_NOTFOUND);
    assert_int_equal(bm_audit_prove_consistency(s, 9, 8, p, &n, &e), BM_NOTFOUND);
    assert_int_equal(bm_audit_prove_consistency(s, -1, 8, p, &n, &e), BM_NOTFOUND);
    assert_int_equal(bm_audit_root_at(s, 2048, root, &e), BM_NOTFOUND);
    assert_int_equal(bm_audit_root_at(s, -1, root, &e), BM_NOTFOUND);
    bm_store_close(s);
}

/* --- tampering ---------------------------------------------------------------------------------------------------------------- */
/* The log has 1000 leaves, heads at 600 and 1000, three tiles; the 50 leaves after that have no head, or a third one. */
static const struct tampering {
    const char *name, *sql, *what; /* what: part of the sentence */
    int64_t loose;                 /* leaves after the last head */
} tamperings[] = {
    { "nothing", "SELECT 1", NULL, 0 },
    { "nothing, with loose leaves", "SELECT 1", NULL, 50 },
    { "leaf changed in a full tile", "UPDATE audit_leaf SET data = CAST('{}' AS BLOB) WHERE idx = 300", "leaf from 256 to 511", 0 },
    { "leaf changed before the first head", "UPDATE audit_leaf SET data = CAST('{}' AS BLOB) WHERE idx = 599", "leaf from 0 to 599",
      0 },
    { "leaf changed after the first head", "UPDATE audit_leaf SET data = CAST('{}' AS BLOB) WHERE idx = 999",
      "leaf from 600 to 999", 0 },
    { "one bit", "UPDATE audit_leaf SET data = CAST('{\"op\":\"tesu\",\"n\":0}' AS BLOB) WHERE idx = 0", "leaf from 0 to 255", 0 },
    { "leaf longer", "UPDATE audit_leaf SET data = CAST(data || ' ' AS BLOB) WHERE idx = 10", "leaf from 0 to 255", 0 },
    { "leaf gone", "DELETE FROM audit_leaf WHERE idx = 400", "leaf 400 is missing", 0 },
    { "first leaf gone", "DELETE FROM audit_leaf WHERE idx = 0", "leaf 0 is missing", 0 },
    { "loose leaf gone", "DELETE FROM audit_leaf WHERE idx = 1020", "leaf 1020 is missing", 50 },
    { "leaf added in front", "INSERT INTO audit_leaf VALUES (-1, 1, x'7b7d')", "leaf 0 is missing", 0 },
    { "leaves swapped",
      "UPDATE audit_leaf SET idx = 100000 WHERE idx = 5; UPDATE audit_leaf SET idx = 5 WHERE idx = 6;"
      "UPDATE audit_leaf SET idx = 6 WHERE idx = 100000",
      "leaf from 0 to 255", 0 },
    { "leaves moved up", "UPDATE audit_leaf SET idx = -idx WHERE idx >= 700; UPDATE audit_leaf SET idx = 1 - idx WHERE idx < 0",
      "leaf 700 is missing", 0 },
    { "truncated", "DELETE FROM audit_leaf WHERE idx >= 900", "ends after 900 leaves, but a head was signed at 1000", 0 },
    { "truncated with its head", "DELETE FROM audit_leaf WHERE idx >= 600; DELETE FROM tree_head WHERE size > 600",
      "tiles are stored", 0 },
    { "all leaves gone", "DELETE FROM audit_leaf", "ends after 0 leaves", 0 },
    { "tile changed", "UPDATE audit_tile SET hash = zeroblob(32) WHERE idx = 1", "tile 1 of level 8 was changed", 0 },
    { "tile gone", "DELETE FROM audit_tile WHERE idx = 2", "tile 2 of level 8 is missing", 0 },
    { "tile from the future", "INSERT INTO audit_tile VALUES (8, 3, zeroblob(32))", "4 tiles are stored", 0 },
    { "tile of another level", "INSERT INTO audit_tile VALUES (16, 0, zeroblob(32))", "4 tiles are stored", 0 },
    { "tile cut short", "UPDATE audit_tile SET hash = zeroblob(31) WHERE idx = 1", "audit tile row", 0 },
    { "head root changed", "UPDATE tree_head SET root = zeroblob(32) WHERE size = 600", "head at 600 leaves is not signed", 0 },
    { "head time changed", "UPDATE tree_head SET at_ms = at_ms + 1 WHERE size = 600", "head at 600 leaves is not signed", 0 },
    { "head size changed", "UPDATE tree_head SET size = 599 WHERE size = 600", "head at 599 leaves is not signed", 0 },
    { "head moved beyond", "UPDATE tree_head SET size = 5000 WHERE size = 1000", "head at 5000 leaves is not signed", 0 },
    { "signature empty", "UPDATE tree_head SET signature = x'' WHERE size = 600", "head at 600 leaves is not signed", 0 },
    { "signature of another head",
      "UPDATE tree_head SET signature = (SELECT signature FROM tree_head WHERE size = 1000) WHERE size = 600",
      "head at 600 leaves is not signed", 0 },
    { "signature not DER", "UPDATE tree_head SET signature = x'3006020101020101ff' WHERE size = 600",
      "head at 600 leaves is not signed", 0 },
};

static void tamper(const char *sql)
{
    sqlite3 *h = NULL;
    char *why = NULL;

    assert_int_equal(sqlite3_open(path, &h), SQLITE_OK);
    if (sqlite3_exec(h, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s", why);
    sqlite3_close(h);
}

static void make_log(int64_t loose)
{
    struct bm_store *s = open_store(true);
    struct bm_audit a;

    assert_int_equal(bm_audit_open(&a, s, &e), BM_OK);
    grow(s, &a, 600);
    grow(s, &a, 400);
    assert_int_equal(bm_store_begin(s, &e), BM_OK);
    add_leaves(&a, loose);
    assert_int_equal(bm_store_commit(s, &e), BM_OK);
    bm_store_close(s);
}

static void test_tampering(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(tamperings); i++) {
        const struct tampering *t = &tamperings[i];
        struct bm_audit_report report = { .leaves = -1 };
        struct bm_store *s;
        enum bm_rc rc;

        make_log(t->loose);
        tamper(t->sql);
        s = open_store(false);
        e.what[0] = '\0';
        rc = bm_audit_verify(s, bm_key_spki(key), &report, &e);
        if (t->what == NULL && (rc != BM_OK || report.leaves != 1000 + t->loose || report.heads != 2))
            fail_msg("%s: %d %s", t->name, rc, e.what);
        if (t->what != NULL && (rc == BM_OK || strstr(e.what, t->what) == NULL || report.leaves != -1))
            fail_msg("%s: %d %s", t->name, rc, e.what);
        bm_store_close(s);
    }
}

static void test_other_key(void **state)
{
    struct bm_audit_report report;
    struct bm_store *s;

    (void)state;
    make_log(0);
    s = open_store(false);
    assert_int_equal(bm_audit_verify(s, bm_key_spki(other_key), &report, &e), BM_DENIED);
    assert_string_equal(e.code, "bad-signature");
    assert_int_equal(bm_audit_verify(s, bm_rd_str("no key"), &report, &e), BM_MALFORMED);
    bm_store_close(s);
}

/* Whoever has the file but not the log's key cannot write a history that passes: a forged head over changed leaves. */
static void test_forged_head(void **state)
{
    struct bm_audit_report report;
    struct bm_audit a;
    struct bm_store *s;

    (void)state;
    make_log(0);
    tamper("DELETE FROM tree_head WHERE size = 1000");
    s = open_store(false);
    assert_int_equal(bm_audit_open(&a, s, &e), BM_OK);
    assert_int_equal(bm_store_begin(s, &e), BM_OK);
    assert_int_equal(bm_audit_sign_head(&a, other_key, 1, &e), BM_OK);
    assert_int_equal(bm_store_commit(s, &e), BM_OK);
    assert_int_equal(bm_audit_verify(s, bm_key_spki(key), &report, &e), BM_DENIED);
    assert_non_null(strstr(e.what, "head at 1000"));
    bm_store_close(s);
}

/* The keeper must not write on over a log that was cut or changed. */
static void test_opening_a_changed_log(void **state)
{
    static const struct {
        const char *sql, *code;
    } cases[] = {
        { "DELETE FROM audit_leaf WHERE idx >= 900", "log-truncated" },
        { "DELETE FROM audit_leaf", "log-truncated" },
        { "UPDATE audit_leaf SET data = x'7b7d' WHERE idx = 999", "log-changed" },
        { "UPDATE audit_tile SET hash = zeroblob(32) WHERE idx = 0", "log-changed" },
        { "DELETE FROM audit_tile WHERE idx = 0", "" },
        { "DELETE FROM audit_leaf WHERE idx = 990", "" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(cases); i++) {
        struct bm_audit a;
        struct bm_store *s;

        make_log(0);
        tamper(cases[i].sql);
        s = open_store(false);
        assert_int_not_equal(bm_audit_open(&a, s, &e), BM_OK);
        assert_string_equal(e.code, cases[i].code);
        bm_store_close(s);
    }
}

static void test_key_kinds(void **state)
{
    struct {
        const char *name;
        EVP_PKEY *k;
    } kinds[] = {
        { "P-384", EVP_EC_gen("P-384") },
        { "P-521", EVP_EC_gen("P-521") },
        { "Ed25519", EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") },
        { "RSA", EVP_RSA_gen(2048) },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(kinds); i++) {
        struct bm_store *s = open_store(true);
        struct bm_audit_report report = { 0 };
        struct bm_audit a;
        struct bm_key *k = NULL;

        assert_int_equal(bm_key_of_evp(kinds[i].k, &k, &e), BM_OK);
        assert_int_equal(bm_audit_open(&a, s, &e), BM_OK);
        assert_int_equal(bm_store_begin(s, &e), BM_OK);
        add_leaves(&a, 3);
        assert_int_equal(bm_audit_sign_head(&a, k, 1, &e), BM_OK);
        assert_int_equal(bm_store_commit(s, &e), BM_OK);
        if (bm_audit_verify(s, bm_key_spki(k), &report, &e) != BM_OK)
            fail_msg("%s: %s", kinds[i].name, e.what);
        assert_int_equal(report.heads, 1);
        bm_key_free(k);
        bm_store_close(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restored_at_opening),
        cmocka_unit_test(test_rolled_back),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_proofs),
        cmocka_unit_test(test_tampering),
        cmocka_unit_test(test_other_key),
        cmocka_unit_test(test_forged_head),
        cmocka_unit_test(test_key_kinds),
        cmocka_unit_test(test_opening_a_changed_log),
    };

    return cmocka_run_group_tests_name("audit", tests, setup_group, teardown_group);
}
