/* Codes as text: what is written is read back, in every way people type it; every slip of a finger is found. */
#include "base/code.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* From an allocation of the exact size, so that one byte too far is seen. */
static enum bm_rc read_exact(const char *text, size_t n, uint8_t ret[BM_CODE_LEN])
{
    char *p = malloc(n != 0 ? n : 1);
    struct bm_error e = { 0 };
    enum bm_rc rc;

    assert_non_null(p);
    memcpy(p, text, n);
    rc = bm_code_read(bm_rd_of(p, n), ret, &e);
    free(p);
    if (rc != BM_OK) {
        assert_int_equal(rc, BM_DENIED);
        assert_string_equal(e.code, "code-mistyped");
    }
    return rc;
}

static void sample(unsigned seed, uint8_t raw[BM_CODE_LEN])
{
    for (size_t i = 0; i < BM_CODE_LEN; i++)
        raw[i] = (uint8_t)(seed * 41 + i * 97 + (seed >> 3) * i);
}

static void written_and_read_back(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 2000; seed++) {
        uint8_t raw[BM_CODE_LEN], again[BM_CODE_LEN];
        char text[BM_CODE_TEXT_LEN];

        sample(seed, raw);
        bm_code_write(raw, text);
        assert_int_equal(strlen(text), BM_CODE_TEXT_LEN - 1);
        assert_int_equal(strspn(text, "0123456789ABCDEFGHJKMNPQRSTVWXYZ-"), BM_CODE_TEXT_LEN - 1);
        assert_int_equal(read_exact(text, strlen(text), again), BM_OK);
        assert_memory_equal(raw, again, sizeof raw);
    }
}

/* A code that is known from elsewhere keeps its text: printed codes outlive a release. */
static void known_text(void **state)
{
    static const uint8_t zeros[BM_CODE_LEN];
    uint8_t ones[BM_CODE_LEN];
    char text[BM_CODE_TEXT_LEN];

    (void)state;
    bm_code_write(zeros, text);
    assert_memory_equal(text, "0000-0000-0000-0000-0000-0000-00", 32);
    memset(ones, 0xff, sizeof ones);
    bm_code_write(ones, text);
    assert_memory_equal(text, "ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZW", 32);
}

static void as_people_type(void **state)
{
    uint8_t raw[BM_CODE_LEN], again[BM_CODE_LEN];
    char text[BM_CODE_TEXT_LEN], other[BM_CODE_TEXT_LEN];

    (void)state;
    for (unsigned seed = 0; seed < 100; seed++) {
        size_t n = 0;

        sample(seed, raw);
        bm_code_write(raw, text);
        for (size_t i = 0; text[i] != '\0'; i++)
            if (text[i] != '-')
                other[n++] = text[i] == '0' ? 'o' : text[i] == '1' ? (i & 1 ? 'l' : 'I') : (char)tolower(text[i]);
        assert_int_equal(read_exact(other, n, again), BM_OK);
        assert_memory_equal(raw, again, sizeof raw);
        for (size_t i = 0; text[i] != '\0'; i++)
            text[i] = text[i] == '-' ? ' ' : text[i];
        assert_int_equal(read_exact(text, strlen(text), again), BM_OK);
    }
}

static void every_slip_is_found(void **state)
{
    static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZU!";
    uint8_t raw[BM_CODE_LEN], again[BM_CODE_LEN];
    char text[BM_CODE_TEXT_LEN];

    (void)state;
    sample(77, raw);
    bm_code_write(raw, text);
    for (size_t i = 0; text[i] != '\0'; i++) {
        char was = text[i], next = text[i + 1] == '-' ? text[i + 2] : text[i + 1];

        for (size_t a = 0; was != '-' && alphabet[a] != '\0'; a++) {
            text[i] = alphabet[a];
            if (alphabet[a] != was)
                assert_int_equal(read_exact(text, BM_CODE_TEXT_LEN - 1, again), BM_DENIED);
        }
        text[i] = was;
        if (was != '-' && next != '\0' && next != was) { /* neighbours swapped */
            size_t j = text[i + 1] == '-' ? i + 2 : i + 1;

            text[i] = next;
            text[j] = was;
            assert_int_equal(read_exact(text, BM_CODE_TEXT_LEN - 1, again), BM_DENIED);
            text[j] = next;
            text[i] = was;
        }
    }
    for (size_t n = 0; n < BM_CODE_TEXT_LEN - 1; n++) /* every proper prefix */
        assert_int_equal(read_exact(text, n, again), BM_DENIED);
}

static void refused(void **state)
{
    static const struct {
        const char *name, *text;
    } rows[] = {
        { "empty", "" },
        { "hyphens only", "----" },
        { "one character more", "0000-0000-0000-0000-0000-0000-00XX-X" },
        { "too long to be looked at", "0000-0000-0000-0000-0000-0000-0000                              -" },
        { "a line end", "0000-0000-0000-0000-0000-0000-00\n" },
        { "not ASCII", "0000-0000-0000-0000-0000-0000-\xc3\xa9\xc3\xa9" },
    };
    uint8_t again[BM_CODE_LEN];
    char text[BM_CODE_TEXT_LEN];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        if (read_exact(rows[i].text, strlen(rows[i].text), again) != BM_DENIED)
            fail_msg("%s was taken", rows[i].name);
    /* a terminator inside */
    memset(again, 0, sizeof again);
    bm_code_write(again, text);
    assert_int_equal(read_exact(text, BM_CODE_TEXT_LEN, again), BM_DENIED);
    /* all zeros with zeros for check characters: what a blank form yields */
    assert_int_equal(read_exact("0000000000000000000000000000", 28, again), BM_DENIED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_and_read_back), cmocka_unit_test(known_text), cmocka_unit_test(as_people_type),
        cmocka_unit_test(every_slip_is_found),   cmocka_unit_test(refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
