#include "pki_help.h"

#include "pki/share.h"

static const uint8_t set_a[4] = { 1, 2, 3, 4 }, set_b[4] = { 1, 2, 3, 5 };
static uint8_t secret[BM_SHARE_SECRET_LEN];

static void make(struct bm_share *s, size_t n, size_t threshold, const uint8_t set[4])
{
    for (size_t i = 0; i < sizeof secret; i++)
        secret[i] = (uint8_t)(i * 7 + 1);
    assert_ok(bm_share_split(secret, set, n, threshold, s, &err));
}

/* Breaks when some choice of enough shares does not give the secret back, or the words lose something. */
static void every_choice(void **state)
{
    struct bm_share s[5], some[5];
    uint8_t got[BM_SHARE_SECRET_LEN];

    (void)state;
    make(s, 5, 3, set_a);
    for (unsigned mask = 0; mask < 32; mask++) {
        size_t n = 0;
        enum bm_rc rc;

        for (unsigned i = 0; i < 5; i++)
            if ((mask & 1U << i) != 0) {
                char words[BM_SHARE_TEXT_MAX];

                assert_ok(bm_share_write(&s[i], words, &err));
                assert_ok(bm_share_read(bm_rd_str(words), &some[n], &err));
                assert_memory_equal(&some[n], &s[i], sizeof s[i]);
                n++;
            }
        rc = bm_share_combine(some, n, got, &err);
        assert_int_equal(rc, n >= 3 ? BM_OK : BM_DENIED);
        if (rc == BM_OK)
            assert_memory_equal(got, secret, sizeof secret);
        else
            assert_string_equal(err.code, "shares-too-few");
    }
}

/* Two splits of one secret have nothing in common, or the shares would tell something. */
static void splits_differ(void **state)
{
    struct bm_share a[3], b[3];
    uint8_t da[32], db[32];

    (void)state;
    make(a, 3, 2, set_a);
    make(b, 3, 2, set_a);
    for (size_t i = 0; i < 3; i++) {
        assert_memory_not_equal(a[i].body, b[i].body, BM_SHARE_SECRET_LEN);
        assert_memory_not_equal(a[i].body, secret, BM_SHARE_SECRET_LEN);
        bm_share_digest(&a[i], da);
        bm_share_digest(&b[i], db);
        assert_memory_not_equal(da, db, 32);
    }
}

static void refused_together(void **state)
{
    struct bm_share a[3], b[3], c[3], some[3];
    uint8_t got[BM_SHARE_SECRET_LEN];

    (void)state;
    make(a, 3, 2, set_a);
    make(b, 3, 2, set_b);
    make(c, 3, 3, set_a);
    some[0] = a[0];
    some[1] = a[0];
    assert_int_equal(bm_share_combine(some, 2, got, &err), BM_DENIED);
    assert_string_equal(err.code, "share-twice");
    some[1] = b[1];
    assert_int_equal(bm_share_combine(some, 2, got, &err), BM_DENIED);
    assert_string_equal(err.code, "share-foreign");
    some[1] = c[1]; /* the same root, another ceremony */
    assert_int_equal(bm_share_combine(some, 2, got, &err), BM_DENIED);
    assert_string_equal(err.code, "share-foreign");
    some[1] = a[1];
    assert_ok(bm_share_seal(&some[1], bm_rd_str("horse"), &err));
    assert_int_equal(bm_share_combine(some, 2, got, &err), BM_DENIED);
    assert_string_equal(err.code, "share-sealed");
    assert_int_equal(bm_share_combine(some, 0, got, &err), BM_DENIED);
    some[1] = a[1]; /* changed, with whatever checksum: another secret, which the caller has to notice */
    some[1].body[3] ^= 1;
    assert_ok(bm_share_combine(some, 2, got, &err));
    assert_memory_not_equal(got, secret, sizeof secret);
}

static void numbers_refused(void **state)
{
    static const size_t rows[][2] = { { 0, 0 }, { 1, 1 }, { 2, 1 }, { 2, 3 }, { BM_SHARES_MAX + 1, 2 }, { 300, 200 } };
    struct bm_share s[BM_SHARES_MAX];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        assert_int_equal(bm_share_split(secret, set_a, rows[i][0], rows[i][1], s, &err), BM_USAGE);
    make(s, BM_SHARES_MAX, BM_SHARES_MAX, set_a);
}

static void passphrases(void **state)
{
    struct bm_share s[2], back;
    char words[BM_SHARE_TEXT_MAX];

    (void)state;
    make(s, 2, 2, set_a);
    back = s[0];
    assert_int_equal(bm_share_seal(&back, bm_rd_str(""), &err), BM_USAGE);
    back = s[0];
    assert_ok(bm_share_seal(&back, bm_rd_str("correct horse"), &err));
    assert_memory_not_equal(back.body, s[0].body, BM_SHARE_SECRET_LEN);
    assert_ok(bm_share_write(&back, words, &err));
    assert_ok(bm_share_read(bm_rd_str(words), &back, &err));
    assert_true(back.sealed);
    assert_int_equal(bm_share_unseal(&back, bm_rd_str("correct house"), &err), BM_DENIED);
    assert_string_equal(err.code, "share-passphrase");
    back.number ^= 3; /* it is under the seal as well */
    assert_int_equal(bm_share_unseal(&back, bm_rd_str("correct horse"), &err), BM_DENIED);
    back.number ^= 3;
    assert_ok(bm_share_unseal(&back, bm_rd_str("correct horse"), &err));
    assert_memory_equal(back.body, s[0].body, BM_SHARE_SECRET_LEN);
}

/* One wrong letter anywhere, a word lost or doubled, two words the wrong way round: told, and not taken for another share. */
static void mistyped(void **state)
{
    struct bm_share s[2], got = { .number = 77 };
    char words[BM_SHARE_TEXT_MAX], bad[BM_SHARE_TEXT_MAX + 8];
    size_t n;

    (void)state;
    make(s, 2, 2, set_a);
    assert_ok(bm_share_write(&s[0], words, &err));
    n = strlen(words);
    for (size_t i = 0; i < n; i++) {
        memcpy(bad, words, n + 1);
        bad[i] = words[i] == ' '                    ? 'x'
                 : strchr("aiou", words[i]) != NULL ? (words[i] == 'a' ? 'o' : 'a')
                 : words[i] == 'b'                  ? 'd'
                                                    : 'b';
        assert_int_equal(bm_share_read(bm_rd_str(bad), &got, &err), BM_DENIED);
        assert_string_equal(err.code, "share-mistyped");
        uint8_t *cut = exact(bm_rd_of(words, i)); /* every prefix */
        assert_int_equal(bm_share_read(bm_rd_of(cut, i), &got, &err), BM_DENIED);
        free(cut);
    }
    for (size_t i = 0; i + 11 < n; i += 6) {
        memcpy(bad, words, n + 1);
        memcpy(bad + i, words + i + 6, 5);
        memcpy(bad + i + 6, words + i, 5);
        if (memcmp(words + i, words + i + 6, 5) != 0)
            assert_int_equal(bm_share_read(bm_rd_str(bad), &got, &err), BM_DENIED);
    }
    snprintf(bad, sizeof bad, "%s lusab", words);
    assert_int_equal(bm_share_read(bm_rd_str(bad), &got, &err), BM_DENIED);
    assert_int_equal(got.number, 77);
    for (size_t i = 0; i < n; i++) /* in capitals, with hyphens: the same */
        words[i] = (char)(words[i] == ' ' ? (i % 4 == 1 ? '\n' : '-') : words[i] - 32);
    assert_ok(bm_share_read(bm_rd_str(words), &got, &err));
    assert_int_equal(got.number, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_choice),    cmocka_unit_test(splits_differ), cmocka_unit_test(refused_together),
        cmocka_unit_test(numbers_refused), cmocka_unit_test(passphrases),   cmocka_unit_test(mistyped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
