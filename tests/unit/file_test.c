#include "base/file.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[] = "/tmp/birthmark-file-XXXXXX";

static const char *in_top(const char *name)
{
    static char path[300];

    snprintf(path, sizeof path, "%s/%s", top, name);
    return path;
}

static int make_top(void **state)
{
    (void)state;
    return mkdtemp(top) == NULL;
}

static int n_entries(void)
{
    DIR *d = opendir(top);
    int n = 0;

    assert_non_null(d);
    for (struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d))
        n += entry->d_name[0] != '.';
    closedir(d);
    return n;
}

static int remove_top(void **state)
{
    DIR *d = opendir(top);

    (void)state;
    for (struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d))
        if (entry->d_name[0] != '.')
            (void)remove(in_top(entry->d_name));
    closedir(d);
    return rmdir(top);
}

static void assert_holds(const char *path, struct bm_rd want)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf got = { .max = want.n };

    assert_int_equal(bm_file_read(path, &got, NULL), BM_OK);
    assert_true(bm_rd_eq(bm_buf_rd(&got), want));
}

static void writes_and_replaces_whole(void **state)
{
    static char big[10000];
    const char *path = in_top("whole");
    struct stat st;

    (void)state;
    memset(big, 'b', sizeof big);
    assert_int_equal(bm_file_write(path, bm_rd_of(big, sizeof big), 0600, NULL), BM_OK);
    assert_holds(path, bm_rd_of(big, sizeof big));
    assert_int_equal(bm_file_write(path, bm_rd_str("small"), 0600, NULL), BM_OK);
    assert_holds(path, bm_rd_str("small"));
    assert_int_equal(bm_file_write(path, bm_rd_of(NULL, 0), 0600, NULL), BM_OK);
    assert_holds(path, bm_rd_of(NULL, 0));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(n_entries(), 1);
}

/* The new file takes the new mode, and a leftover of an earlier try is not followed or kept. */
static void replaces_a_wider_file_and_a_leftover(void **state)
{
    char beside[400];
    const char *path = in_top("key");
    struct stat st;

    (void)state;
    assert_int_equal(bm_file_write(path, bm_rd_str("old"), 0644, NULL), BM_OK);
    snprintf(beside, sizeof beside, "%s.new.%ld", path, (long)getpid());
    assert_int_equal(symlink("/dev/null", beside), 0);
    assert_int_equal(bm_file_write(path, bm_rd_str("new"), 0600, NULL), BM_OK);
    assert_holds(path, bm_rd_str("new"));
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode) && (st.st_mode & 0777) == 0600);
    assert_int_not_equal(lstat(beside, &st), 0);
}

static void a_failed_write_leaves_nothing(void **state)
{
    char too_long[5000];
    struct bm_error e = { 0 };
    int before = n_entries();

    (void)state;
    assert_int_equal(mkdir(in_top("folder"), 0700), 0);
    assert_int_equal(bm_file_write(in_top("folder"), bm_rd_str("x"), 0600, &e), BM_IO);
    assert_non_null(strstr(e.what, "cannot write"));
    assert_int_equal(n_entries(), before + 1);
    assert_int_equal(bm_file_write(in_top("nowhere/file"), bm_rd_str("x"), 0600, &e), BM_IO);
    memset(too_long, 'x', sizeof too_long);
    too_long[sizeof too_long - 1] = '\0';
    assert_int_equal(bm_file_write(too_long, bm_rd_str("x"), 0600, &e), BM_LIMIT);
}

static void creates_once(void **state)
{
    const char *path = in_top("once");
    int before = n_entries();

    (void)state;
    assert_int_equal(bm_file_create(path, bm_rd_str("first"), 0600, NULL), BM_OK);
    assert_int_equal(bm_file_create(path, bm_rd_str("second"), 0600, NULL), BM_CONFLICT);
    assert_holds(path, bm_rd_str("first"));
    assert_int_equal(bm_file_create(in_top("nowhere/file"), bm_rd_str("x"), 0600, NULL), BM_IO);
    assert_int_equal(n_entries(), before + 1);
}

static void reads_up_to_the_limit(void **state)
{
    static char content[9000];
    const char *path = in_top("limit");
    static const struct {
        size_t size, max;
        enum bm_rc want;
    } rows[] = {
        { 0, 0, BM_OK },    { 1, 1, BM_OK },          { 4096, 4096, BM_OK },    { 9000, 9000, BM_OK },
        { 1, 0, BM_LIMIT }, { 4097, 4096, BM_LIMIT }, { 9000, 8999, BM_LIMIT },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = rows[i].max };

        assert_int_equal(bm_file_write(path, bm_rd_of(content, rows[i].size), 0600, NULL), BM_OK);
        assert_int_equal(bm_file_read(path, &b, NULL), rows[i].want);
        assert_int_equal(b.n, rows[i].want == BM_OK ? rows[i].size : 0);
    }
}

static void reading_appends_or_leaves_alone(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = 64 };
    struct bm_error e = { 0 };

    (void)state;
    bm_buf_str(&b, "before ");
    assert_int_equal(bm_file_write(in_top("after"), bm_rd_str("after"), 0600, NULL), BM_OK);
    assert_int_equal(bm_file_read(in_top("after"), &b, &e), BM_OK);
    assert_true(bm_rd_eq(bm_buf_rd(&b), bm_rd_str("before after")));
    assert_int_equal(bm_file_read(in_top("missing"), &b, &e), BM_NOTFOUND);
    assert_non_null(strstr(e.what, "missing"));
    assert_int_equal(bm_file_read(top, &b, &e), BM_IO);
    assert_int_equal(bm_file_read("/dev/zero", &b, &e), BM_LIMIT); /* and it comes back */
    assert_true(bm_rd_eq(bm_buf_rd(&b), bm_rd_str("before after")));
}

static void makes_folders(void **state)
{
    const char *path = in_top("made");

    (void)state;
    assert_int_equal(bm_dir_make(path, 0700, NULL), BM_OK);
    assert_int_equal(bm_dir_make(path, 0700, NULL), BM_OK);
    assert_int_equal(bm_dir_make(in_top("no/parent"), 0700, NULL), BM_IO);
    assert_int_equal(bm_file_write(in_top("plain"), bm_rd_str("x"), 0600, NULL), BM_OK);
    assert_int_equal(bm_dir_make(in_top("plain"), 0700, NULL), BM_CONFLICT);
}

static void joins_paths(void **state)
{
    char *ret = malloc(6);

    (void)state;
    assert_non_null(ret);
    assert_int_equal(bm_path_join("ab", "cd", ret, 6, NULL), BM_OK);
    assert_string_equal(ret, "ab/cd");
    assert_int_equal(bm_path_join("ab", "cde", ret, 6, NULL), BM_LIMIT);
    assert_int_equal(bm_path_join("", "", ret, 1, NULL), BM_LIMIT);
    free(ret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_and_replaces_whole),
        cmocka_unit_test(replaces_a_wider_file_and_a_leftover),
        cmocka_unit_test(a_failed_write_leaves_nothing),
        cmocka_unit_test(creates_once),
        cmocka_unit_test(reads_up_to_the_limit),
        cmocka_unit_test(reading_appends_or_leaves_alone),
        cmocka_unit_test(makes_folders),
        cmocka_unit_test(joins_paths),
    };

    return cmocka_run_group_tests_name("file", tests, make_top, remove_top);
}
