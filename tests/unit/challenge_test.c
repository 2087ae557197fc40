/* Challenges without a registry: made, known again, used once, forgotten. */
#include "keeper/internal.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

enum { AT = 1790000000 };

static struct bm_error err;

static struct bm_keeper *keeper_new(uint8_t key)
{
    struct bm_keeper *k = calloc(1, sizeof *k);

    assert_non_null(k);
    memset(k->challenge_key, key, sizeof k->challenge_key);
    return k;
}

static void keeper_free(struct bm_keeper *k)
{
    EVP_MAC_CTX_free(k->challenge_mac);
    free(k->used);
    free(k->fresh);
    free(k);
}

static void refused(struct bm_keeper *k, const uint8_t *c, size_t n, int64_t now, enum bm_rc rc, const char *code)
{
    assert_int_equal(bm_challenge_check(k, bm_rd_of(c, n), now, &err), rc);
    assert_string_equal(err.code, code);
}

static void life(void **state)
{
    struct bm_keeper *k = keeper_new(1), *other = keeper_new(2);
    uint8_t c[BM_CHALLENGE_LEN], d[BM_CHALLENGE_LEN];
    struct bm_rd r = bm_rd_of(c, sizeof c);

    (void)state;
    bm_challenge_make(k, AT, c);
    bm_challenge_make(k, AT, d);
    assert_memory_not_equal(c, d, 16);
    assert_int_equal(bm_challenge_check(k, r, AT, &err), BM_OK);
    assert_int_equal(bm_challenge_check(k, r, AT + BM_CHALLENGE_TTL_S, &err), BM_OK);
    refused(k, c, sizeof c, AT + BM_CHALLENGE_TTL_S + 1, BM_DENIED, "challenge-expired");
    refused(other, c, sizeof c, AT, BM_DENIED, "challenge-unknown");
    for (size_t i = 0; i < sizeof c; i++) { /* no byte of it may change */
        c[i] ^= 1;
        refused(k, c, sizeof c, AT, BM_DENIED, "challenge-unknown");
        c[i] ^= 1;
    }
    assert_int_equal(bm_challenge_use(k, r, AT, &err), BM_OK);
    refused(k, c, sizeof c, AT, BM_DENIED, "challenge-used");
    refused(k, c, sizeof c, AT + BM_CHALLENGE_TTL_S, BM_DENIED, "challenge-used");
    assert_int_equal(bm_challenge_check(k, bm_rd_of(d, sizeof d), AT, &err), BM_OK);
    keeper_free(k);
    keeper_free(other);
}

static void lengths(void **state)
{
    struct bm_keeper *k = keeper_new(1);
    uint8_t c[BM_CHALLENGE_LEN + 1] = { 0 };

    (void)state;
    bm_challenge_make(k, AT, c);
    for (size_t n = 0; n <= sizeof c; n++) {
        uint8_t *e = malloc(n + 1);

        assert_non_null(e);
        memcpy(e + 1, c, n);
        if (n != BM_CHALLENGE_LEN)
            refused(k, e + 1, n, AT, BM_MALFORMED, "challenge-malformed");
        free(e);
    }
    refused(k, NULL, 0, AT, BM_MALFORMED, "challenge-malformed");
    keeper_free(k);
}

/* As many as come: each is known as used while it lives, and the table does not grow with those that are over. */
static void many(void **state)
{
    enum { MANY = 20000 };
    struct bm_keeper *k = keeper_new(1);
    uint8_t(*c)[BM_CHALLENGE_LEN] = calloc(MANY, sizeof *c);
    size_t cap;

    (void)state;
    assert_non_null(c);
    for (size_t i = 0; i < MANY; i++) {
        bm_challenge_make(k, AT, c[i]);
        assert_int_equal(bm_challenge_use(k, bm_rd_of(c[i], sizeof c[i]), AT, &err), BM_OK);
    }
    for (size_t i = 0; i < MANY; i++)
        refused(k, c[i], sizeof c[i], AT + BM_CHALLENGE_TTL_S, BM_DENIED, "challenge-used");
    cap = k->used_cap;
    assert_true(cap >= 2 * MANY && cap <= 8 * MANY);
    for (int64_t round = 1; round <= 5; round++) {
        int64_t now = AT + round * (BM_CHALLENGE_TTL_S + 1);

        for (size_t i = 0; i < MANY; i++) {
            bm_challenge_make(k, now, c[i]);
            assert_int_equal(bm_challenge_use(k, bm_rd_of(c[i], sizeof c[i]), now, &err), BM_OK);
        }
    }
    assert_true(k->used_cap <= 2 * cap);
    free(c);
    keeper_free(k);
}

/* Among several hosts: one made elsewhere is called so, and one whose transaction was lost to another host's is as good as before, while
 * those used before that stay used. */
static void hosts(void **state)
{
    enum { MANY = 3000 };
    struct bm_keeper *k = keeper_new(1), *other = keeper_new(2);
    uint8_t(*c)[BM_CHALLENGE_LEN] = calloc(MANY, sizeof *c);

    (void)state;
    assert_non_null(c);
    k->host = (struct bm_host_self){ .id = 1, .n = 2 };
    other->host = (struct bm_host_self){ .id = 65535, .n = 2 };
    bm_challenge_make(other, AT, c[0]);
    assert_int_equal(bm_challenge_check(other, bm_rd_of(c[0], sizeof c[0]), AT, &err), BM_OK);
    refused(k, c[0], sizeof c[0], AT, BM_DENIED, "challenge-elsewhere");
    for (size_t i = 0; i < MANY; i++) {
        bm_challenge_make(k, AT, c[i]);
        assert_int_equal(bm_challenge_use(k, bm_rd_of(c[i], sizeof c[i]), AT, &err), BM_OK);
        if (i == MANY / 3 - 1)
            bm_challenges_settled(k, false);
    }
    bm_challenges_settled(k, true);
    for (size_t i = 0; i < MANY; i++) {
        if (i < MANY / 3)
            refused(k, c[i], sizeof c[i], AT, BM_DENIED, "challenge-used");
        else
            assert_int_equal(bm_challenge_check(k, bm_rd_of(c[i], sizeof c[i]), AT, &err), BM_OK);
    }
    assert_int_equal(bm_challenge_use(k, bm_rd_of(c[MANY - 1], sizeof c[0]), AT, &err), BM_OK);
    bm_challenges_settled(k, false);
    refused(k, c[MANY - 1], sizeof c[0], AT, BM_DENIED, "challenge-used");
    free(c);
    keeper_free(k);
    keeper_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(life), cmocka_unit_test(lengths), cmocka_unit_test(many),
                                        cmocka_unit_test(hosts) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
