/* Entity tags. A cache that is told "not modified" wrongly keeps an old CRL; one that never is told asks for megabytes each time. */
#include "pki/etag.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

static void tags_are_of_the_content(void **state)
{
    char a[BM_ETAG_LEN], b[BM_ETAG_LEN];

    (void)state;
    bm_etag_of(bm_rd_str("abc"), a);
    assert_string_equal(a, "\"ba7816bf8f01cfea414140de5dae2223\""); /* FIPS 180-2 appendix B.1 */
    bm_etag_of(bm_rd_str("abd"), b);
    assert_string_not_equal(a, b);
}

static void lists(void **state)
{
    static const struct {
        const char *field;
        bool named;
    } rows[] = {
        { "", false },
        { "*", true },
        { "**", false },
        { "\"ba7816bf8f01cfea414140de5dae2223\"", true },
        { "W/\"ba7816bf8f01cfea414140de5dae2223\"", true }, /* compared weakly: section 13.1.2 */
        { "\"x\", \"ba7816bf8f01cfea414140de5dae2223\", \"y\"", true },
        { "ba7816bf8f01cfea414140de5dae2223", false },
        { "\"ba7816bf8f01cfea414140de5dae222\"", false },
        { "\"xba7816bf8f01cfea414140de5dae2223\"", false },
    };
    char tag[BM_ETAG_LEN];

    (void)state;
    bm_etag_of(bm_rd_str("abc"), tag);
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        assert_int_equal(bm_etag_listed(bm_rd_str(rows[i].field), tag), rows[i].named);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(tags_are_of_the_content), cmocka_unit_test(lists) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
