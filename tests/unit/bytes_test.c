#include "base/bytes.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

/* A copy in an allocation of its exact size, so that one byte too far is seen. */
static uint8_t *exact(const void *p, size_t n)
{
    uint8_t *b = malloc(n != 0 ? n : 1);

    assert_non_null(b);
    if (n != 0)
        memcpy(b, p, n);
    return b;
}

static const uint8_t count_up[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 };

static void reads_integers_big_endian(void **state)
{
    static const struct {
        size_t n;
        uint64_t want;
    } rows[] = {
        { 0, 0 }, { 1, 0 }, { 2, 0x0001 }, { 3, 0x000102 }, { 4, 0x00010203 }, { 7, 0x00010203040506 }, { 8, 0x0001020304050607 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_rd r = bm_rd_of(count_up, sizeof count_up);
        uint64_t v = 99;

        assert_true(bm_rd_uint(&r, rows[i].n, &v));
        assert_int_equal(v, rows[i].want);
        assert_int_equal(r.n, sizeof count_up - rows[i].n);
        assert_ptr_equal(r.p, count_up + rows[i].n);
    }
}

static void a_failed_read_moves_nothing(void **state)
{
    (void)state;
    for (size_t have = 0; have < 8; have++) {
        uint8_t *p = exact(count_up, have), raw[8] = { 0xee };
        struct bm_rd r = bm_rd_of(p, have), v = bm_rd_str("kept");
        uint64_t u64 = 7;
        uint32_t u32 = 7;
        uint16_t u16 = 7;
        uint8_t u8 = 7;

        assert_false(bm_rd_u64(&r, &u64));
        assert_true(have >= 4 || !bm_rd_u32(&r, &u32));
        assert_true(have >= 2 || !bm_rd_u16(&r, &u16));
        assert_true(have >= 1 || !bm_rd_u8(&r, &u8));
        assert_false(bm_rd_copy(&r, raw, 8));
        assert_false(bm_rd_take(&r, have + 1, &v));
        assert_false(bm_rd_take(&r, SIZE_MAX, &v));
        assert_true(u64 == 7 && u32 == 7 && u16 == 7 && u8 == 7 && raw[0] == 0xee && v.n == 4);
        assert_true(r.p == p && r.n == have);
        free(p);
    }
}

static void reads_nothing_from_nothing(void **state)
{
    struct bm_rd r = bm_rd_of(NULL, 0), v = bm_rd_str("x");

    (void)state;
    assert_true(bm_rd_take(&r, 0, &v));
    assert_int_equal(v.n, 0);
    assert_true(bm_rd_copy(&r, &v, 0));
    assert_true(bm_rd_eq(r, v));
    assert_false(bm_rd_eq(r, bm_rd_str("x")));
    assert_true(bm_rd_eq(bm_rd_str("same"), bm_rd_str("same")));
    assert_false(bm_rd_eq(bm_rd_str("same"), bm_rd_str("sane")));
}

static void reads_vectors(void **state)
{
    static const struct {
        const char *name;
        uint8_t in[8];
        size_t n, max;
        bool ok;
        size_t want;
    } rows[] = {
        { "empty", { 0, 0, 0, 0 }, 4, 0, true, 0 },
        { "two bytes", { 0, 0, 0, 2, 'a', 'b' }, 6, 2, true, 2 },
        { "two bytes and more behind", { 0, 0, 0, 2, 'a', 'b', 'c' }, 7, 4, true, 2 },
        { "nothing at all", { 0 }, 0, 4, false, 0 },
        { "half a length", { 0, 0 }, 2, 4, false, 0 },
        { "a byte short", { 0, 0, 0, 2, 'a' }, 5, 4, false, 0 },
        { "over the limit", { 0, 0, 0, 3, 'a', 'b', 'c' }, 7, 2, false, 0 },
        { "length that would wrap", { 0xff, 0xff, 0xff, 0xff, 'a' }, 5, SIZE_MAX, false, 0 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t *p = exact(rows[i].in, rows[i].n);
        struct bm_rd r = bm_rd_of(p, rows[i].n), v = bm_rd_str("kept");

        if (bm_rd_vec(&r, rows[i].max, &v) != rows[i].ok)
            fail_msg("%s", rows[i].name);
        assert_int_equal(v.n, rows[i].ok ? rows[i].want : 4);
        assert_int_equal(r.n, rows[i].ok ? rows[i].n - 4 - rows[i].want : rows[i].n);
        free(p);
    }
}

static void writer_stops_at_its_end_and_stays_bad(void **state)
{
    uint8_t room[7];
    struct bm_wr w = bm_wr_of(room, sizeof room);

    (void)state;
    bm_wr_vec(&w, bm_rd_str("abc"));
    assert_false(w.bad);
    assert_memory_equal(room, "\0\0\0\3abc", 7);
    bm_wr_put(&w, NULL, 0);
    assert_false(w.bad);
    bm_wr_uint(&w, 1, 1);
    assert_true(w.bad);
    assert_int_equal(w.n, 7);
    bm_wr_put(&w, NULL, 0);
    assert_true(w.bad);
    w = bm_wr_of(room, sizeof room);
    bm_wr_put(&w, "x", SIZE_MAX);
    assert_true(w.bad && w.n == 0);
}

static void buffer_holds_exactly_its_ceiling(void **state)
{
    static const size_t sizes[] = { 0, 1, 127, 128, 129, 1000, 4096, 70000 };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(sizes); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = sizes[i] };
        struct bm_error e = { 0 };

        for (size_t k = 0; k < sizes[i]; k++)
            bm_buf_put(&b, "x", 1);
        bm_buf_put(&b, "x", 0);
        assert_int_equal(bm_buf_check(&b, &e), BM_OK);
        assert_int_equal(b.n, sizes[i]);
        bm_buf_put(&b, "x", 1);
        assert_int_equal(bm_buf_check(&b, &e), BM_LIMIT);
        assert_int_equal(b.n, sizes[i]);
        bm_buf_put(&b, "", 0);
        assert_true(b.bad);
    }
}

static void buffer_room_is_null_only_when_bad(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf b = { 0 };

    (void)state;
    assert_non_null(bm_buf_room(&b, 0));
    assert_false(b.bad);
    assert_null(bm_buf_room(&b, 1));
    assert_true(b.bad);
    assert_null(bm_buf_room(&b, 0));
    bm_buf_done(&b);
    assert_false(b.bad);
}

static void buffer_refuses_lengths_that_wrap(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = SIZE_MAX };

    (void)state;
    bm_buf_str(&b, "abc");
    assert_null(bm_buf_room(&b, SIZE_MAX));
    assert_true(b.bad);
    assert_int_equal(b.n, 3);
    bm_buf_done(&b);
    assert_null(bm_buf_room(&b, SIZE_MAX)); /* within max, and more than there is */
    assert_true(b.bad);
}

static void buffer_prints_up_to_its_ceiling(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = 5 };

    (void)state;
    bm_buf_printf(&b, "%s", "");
    bm_buf_printf(&b, "%s-%d", "ab", 42);
    assert_false(b.bad);
    assert_true(bm_rd_eq(bm_buf_rd(&b), bm_rd_str("ab-42")));
    bm_buf_printf(&b, "%d", 1);
    assert_true(b.bad);
    assert_int_equal(b.n, 5);
}

static void buffer_writes_what_the_reader_reads(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = 64 };
    struct bm_rd r, v;
    uint64_t u;

    (void)state;
    bm_buf_uint(&b, 8, 0x0102030405060708);
    bm_buf_vec(&b, bm_rd_str("hello"));
    bm_buf_vec(&b, bm_rd_of(NULL, 0));
    r = bm_buf_rd(&b);
    assert_true(bm_rd_u64(&r, &u) && u == 0x0102030405060708);
    assert_true(bm_rd_vec(&r, 5, &v) && bm_rd_eq(v, bm_rd_str("hello")));
    assert_true(bm_rd_vec(&r, 0, &v) && v.n == 0 && r.n == 0);
}

static void buffer_drops_from_the_front(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = 64 };

    (void)state;
    bm_buf_drop(&b, 3);
    assert_int_equal(b.n, 0);
    bm_buf_str(&b, "abcdef");
    bm_buf_drop(&b, 2);
    assert_true(bm_rd_eq(bm_buf_rd(&b), bm_rd_str("cdef")));
    bm_buf_drop(&b, 0);
    bm_buf_drop(&b, SIZE_MAX);
    assert_int_equal(b.n, 0);
}

static void buffer_done_twice_keeps_the_ceiling(void **state)
{
    struct bm_buf b = { .max = 9 };

    (void)state;
    bm_buf_str(&b, "abc");
    bm_buf_done(&b);
    bm_buf_done(&b);
    assert_true(b.p == NULL && b.n == 0 && b.cap == 0 && b.max == 9 && !b.bad);
}

static void compares_and_wipes_secrets(void **state)
{
    uint8_t secret[4] = { 1, 2, 3, 4 };
    static const uint8_t none[4];

    (void)state;
    assert_true(bm_secret_eq("abcd", "abcd", 4));
    assert_true(bm_secret_eq("a", "b", 0));
    assert_false(bm_secret_eq("abcd", "abce", 4));
    assert_false(bm_secret_eq("abcd", "Abcd", 4));
    bm_wipe(secret, sizeof secret);
    assert_memory_equal(secret, none, 4);
    bm_wipe(NULL, 0);
}

/* Breaks when a line or a pair loses a byte, or when the last one without an end is lost. */
static void cuts_text(void **state)
{
    static const struct {
        const char *in, *cut, *line, *rest;
    } rows[] = {
        { "a\nb", "a", "a", "b" },    { "a\r\nb", "a\r", "a", "b" }, { "a", "a", "a", "" }, { "\n", "", "", "" },
        { "\r\n\n", "\r", "", "\n" }, { "\r", "\r", "", "" },        { "", "", "", "" },    { "a\rb\n", "a\rb", "a\rb", "" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_rd cut = bm_rd_str(rows[i].in), line = cut;

        assert_true(bm_rd_eq(bm_rd_cut(&cut, '\n'), bm_rd_str(rows[i].cut)));
        assert_true(bm_rd_eq(bm_rd_line(&line), bm_rd_str(rows[i].line)));
        assert_true(bm_rd_eq(cut, bm_rd_str(rows[i].rest)) && bm_rd_eq(line, cut));
    }
}

static void reads_signed_integers(void **state)
{
    static const uint8_t bytes[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0x7f };
    struct bm_rd r = bm_rd_of(bytes, sizeof bytes);
    int64_t v;

    (void)state;
    assert_true(bm_rd_i64(&r, &v) && v == -2);
    assert_false(bm_rd_i64(&r, &v));
    assert_int_equal(r.n, 1);
}

static void errors_wrap_and_name_themselves(void **state)
{
    struct bm_error e = { 0 };
    char longer[400];

    (void)state;
    assert_int_equal(bm_fail(&e, BM_DENIED, "no %d", 1), BM_DENIED);
    assert_string_equal(bm_error_code(&e), "denied");
    assert_int_equal(bm_refuse(&e, BM_LIMIT, "quota-used", "over"), BM_LIMIT);
    assert_int_equal(bm_wrap(&e, BM_LIMIT, "batch %s", "b1"), BM_LIMIT);
    assert_string_equal(e.what, "batch b1: over");
    assert_string_equal(bm_error_code(&e), "quota-used");
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    (void)bm_wrap(&e, BM_IO, "%s", longer);
    assert_int_equal(strlen(e.what), sizeof e.what - 1);
    assert_int_equal(bm_fail(NULL, BM_IO, "x"), BM_IO);
    assert_int_equal(bm_wrap(NULL, BM_IO, "x"), BM_IO);
    assert_string_equal(bm_rc_name((enum bm_rc)77), "internal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_integers_big_endian),
        cmocka_unit_test(a_failed_read_moves_nothing),
        cmocka_unit_test(reads_nothing_from_nothing),
        cmocka_unit_test(reads_vectors),
        cmocka_unit_test(writer_stops_at_its_end_and_stays_bad),
        cmocka_unit_test(buffer_holds_exactly_its_ceiling),
        cmocka_unit_test(buffer_room_is_null_only_when_bad),
        cmocka_unit_test(buffer_refuses_lengths_that_wrap),
        cmocka_unit_test(buffer_prints_up_to_its_ceiling),
        cmocka_unit_test(buffer_writes_what_the_reader_reads),
        cmocka_unit_test(buffer_drops_from_the_front),
        cmocka_unit_test(buffer_done_twice_keeps_the_ceiling),
        cmocka_unit_test(compares_and_wipes_secrets),
        cmocka_unit_test(cuts_text),
        cmocka_unit_test(reads_signed_integers),
        cmocka_unit_test(errors_wrap_and_name_themselves),
    };

    return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
