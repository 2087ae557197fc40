/* The table of a device's life: all 36 moves. */
#include "keeper/state.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

/* row: from; column: to; in the order of enum bm_state */
static const char *const may[BM_STATES] = {
    [BM_REGISTERED] = ".y...y", [BM_ALLOCATED] = "..y.yy", [BM_ACTIVE] = ".y.yyy",
    [BM_SUSPENDED] = "..y.yy",  [BM_RETIRED] = ".....y",   [BM_COMPROMISED] = "....y.",
};

static void all_moves(void **state)
{
    struct bm_error e;

    (void)state;
    for (int from = 0; from < BM_STATES; from++) {
        for (int to = 0; to < BM_STATES; to++) {
            enum bm_rc want = may[from][to] == 'y' ? BM_OK : BM_CONFLICT;

            if (bm_state_move((enum bm_state)from, (enum bm_state)to, &e) != want)
                fail_msg("%s to %s", bm_state_name((enum bm_state)from), bm_state_name((enum bm_state)to));
            if (want != BM_OK)
                assert_string_equal(e.code, "illegal-transition");
            assert_int_equal(bm_state_move((enum bm_state)from, (enum bm_state)to, NULL), want);
        }
    }
}

static void no_such_state(void **state)
{
    static const int others[] = { -1, BM_STATES, BM_STATES + 1, 31, 32, 1000000 };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(others); i++) {
        assert_int_equal(bm_state_move((enum bm_state)others[i], BM_ACTIVE, NULL), BM_CONFLICT);
        assert_int_equal(bm_state_move(BM_ALLOCATED, (enum bm_state)others[i], NULL), BM_CONFLICT);
        assert_string_equal(bm_state_name((enum bm_state)others[i]), "?");
    }
}

static void names(void **state)
{
    static const char *const not_names[] = { "", "Active", "active ", " active", "activ", "?", "retired\n" };
    enum bm_state s;

    (void)state;
    for (int i = 0; i < BM_STATES; i++) {
        assert_true(bm_state_parse(bm_state_name((enum bm_state)i), &s));
        assert_int_equal(s, i);
        assert_true(strlen(bm_state_name((enum bm_state)i)) < 16); /* struct bm_device.state */
    }
    s = BM_RETIRED;
    for (size_t i = 0; i < BM_COUNT(not_names); i++)
        assert_false(bm_state_parse(not_names[i], &s));
    assert_int_equal(s, BM_RETIRED);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(all_moves), cmocka_unit_test(no_such_state), cmocka_unit_test(names) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
