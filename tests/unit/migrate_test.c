/* What is SQLite's own under the store: files and their modes, schemas old and new, foreign and damaged files, a full disk, kill
 * -9. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "audit/log.h"
#include "store/migrations.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char dir[32], path[64], dsn[96];
static struct bm_error e;

#define OK(call)                                                                                                                   \
    do {                                                                                                                           \
        enum bm_rc rc_ = (call);                                                                                                   \
        if (rc_ != BM_OK)                                                                                                          \
            fail_msg("%s: %d %s", #call, rc_, e.what);                                                                             \
    } while (0)

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/bm-migrate-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/registry.db", dir);
    snprintf(dsn, sizeof dsn, "sqlite:%s", path);
    return 0;
}

static int teardown(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static struct bm_store *open_as(struct bm_store_options how)
{
    struct bm_store *s = NULL;

    OK(bm_store_open(dsn, how, &s, &e));
    return s;
}

static void sql(const char *text)
{
    sqlite3 *h = NULL;
    char *why = NULL;

    assert_int_equal(sqlite3_open(path, &h), SQLITE_OK);
    if (sqlite3_exec(h, text, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s", why);
    sqlite3_close(h);
}

static void write_file(const void *p, size_t n)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

static void put_value(struct bm_store *s, const char *key, const char *value)
{
    OK(bm_store_begin(s, &e));
    OK(bm_meta_set(s, key, bm_rd_str(value), &e));
    OK(bm_store_commit(s, &e));
}

/* --- opening ------------------------------------------------------------------------------------------------------------------ */
static void test_addresses(void **state)
{
    static const char *const bad[] = { "", "sqlite", "postgres:x", "sqlit:x", "/tmp/x", "sqlite3:x", ":" };
    struct bm_store *s = NULL;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(bad); i++)
        assert_int_equal(bm_store_open(bad[i], (struct bm_store_options){ 0 }, &s, &e), BM_USAGE);
    assert_int_equal(bm_store_open(dsn, (struct bm_store_options){ .create = true, .read_only = true }, &s, &e), BM_USAGE);
    assert_int_equal(bm_store_open(dsn, (struct bm_store_options){ 0 }, &s, &e), BM_NOTFOUND);
    assert_int_equal(bm_store_open("sqlite:/nowhere/at/all.db", (struct bm_store_options){ .create = true }, &s, &e), BM_IO);
    assert_int_equal(bm_store_open("sqlite:/tmp", (struct bm_store_options){ 0 }, &s, &e), BM_USAGE);
    assert_int_equal(bm_store_open("sqlite:", (struct bm_store_options){ 0 }, &s, &e), BM_NOTFOUND);
    assert_null(s);
}

static void assert_private(const char *ending)
{
    char name[80];
    struct stat st;

    snprintf(name, sizeof name, "%s%s", path, ending);
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_create(void **state)
{
    struct bm_store *s, *again = NULL;
    mode_t mask = umask(0);

    (void)state;
    s = open_as((struct bm_store_options){ .create = true });
    put_value(s, "x", "1");
    assert_private("");
    assert_private("-wal");
    assert_private("-shm");
    umask(mask);
    bm_store_close(s);
    assert_int_equal(bm_store_open(dsn, (struct bm_store_options){ .create = true }, &again, &e), BM_CONFLICT);
    bm_store_close(open_as((struct bm_store_options){ 0 }));
}

/* An init that was cut short leaves an empty file, or one with no tables; the next one takes it over. */
static void test_create_resumes(void **state)
{
    struct bm_store *s = NULL;

    (void)state;
    write_file("", 0);
    assert_int_equal(bm_store_open(dsn, (struct bm_store_options){ 0 }, &s, &e), BM_MALFORMED);
    assert_int_equal(bm_store_open(dsn, (struct bm_store_options){ .read_only = true }, &s, &e), BM_MALFORMED);
    bm_store_close(open_as((struct bm_store_options){ .create = true }));
    assert_private("");
}

/* A link somebody else put there is not followed into their file. */
static void test_create_through_link(void **state)
{
    struct bm_store *s = NULL;
    char target[80];

    (void)state;
    snprintf(target, sizeof target, "%s/target", dir);
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(bm_store_open(dsn, (struct bm_store_options){ .create = true }, &s, &e), BM_IO);
    assert_int_equal(access(target, F_OK), -1);
}

/* A registry from before there were CRLs. */
static void test_up_from_1(void **state)
{
    const struct bm_crl_row row = { .ca_id = 1, .number = 1, .this_update = 1, .next_update = 2 };
    struct bm_crl_row got;
    struct bm_store *s;

    (void)state;
    bm_store_close(open_as((struct bm_store_options){ .create = true }));
    sql("DROP TABLE crl_parts");
    sql("DROP TABLE held_crl");
    sql("DROP INDEX credential_revoked");
    sql("ALTER TABLE credential DROP COLUMN crl_part");
    sql("DROP TABLE scep_transaction");
    sql("DROP TABLE upstream_revocation");
    sql("DROP TABLE upstream");
    sql("DROP TABLE acme_order");
    sql("DROP TABLE acme_account");
    sql("DROP TABLE acme_eab");
    sql("DROP TABLE cmp_transaction");
    sql("DROP TABLE cmp_waiting");
    sql("DROP TABLE cmp_code");
    sql("DROP TABLE ca_successor");
    sql("DROP TABLE errand");
    sql("DROP TABLE voucher");
    sql("DROP TABLE ca_link");
    sql("DROP TABLE approval");
    sql("ALTER TABLE service DROP COLUMN ca_id");
    sql("DROP TABLE mac_key");
    sql("DROP TABLE kek");
    sql("ALTER TABLE batch DROP COLUMN maker_id");
    sql("ALTER TABLE service DROP COLUMN org_id");
    sql("DROP TABLE token");
    sql("DROP TABLE claim_item");
    sql("DROP TABLE claim");
    sql("DROP TABLE code");
    sql("DROP TABLE lease");
    sql("DROP TABLE sealed_key");
    sql("DROP TABLE host");
    sql("DROP TABLE job_refusal");
    sql("DROP TABLE job_item");
    sql("DROP TABLE job");
    sql("DROP TABLE rental");
    sql("DROP TABLE offer");
    sql("DROP TABLE ownership");
    sql("DROP TABLE crl");
    sql("INSERT INTO ca VALUES (1, NULL, 'root', 'file:root', 'active', 0, 0, 0, x'00')");
    sql("INSERT INTO meta VALUES ('log-spki', x'30')");
    sql("UPDATE meta SET value = x'31' WHERE key = 'schema'");
    s = open_as((struct bm_store_options){ 0 });
    assert_int_equal(bm_crl_last(s, 1, 0, &got, &e), BM_NOTFOUND);
    assert_int_equal(bm_store_begin(s, &e), BM_OK);
    assert_int_equal(bm_crl_put(s, &row, &e), BM_OK);
    assert_int_equal(bm_crl_put(s, &row, &e), BM_CONFLICT);
    assert_int_equal(bm_store_commit(s, &e), BM_OK);
    assert_int_equal(bm_crl_last(s, 1, 0, &got, &e), BM_OK);
    assert_int_equal(got.number, 1);
    bm_store_close(s);
}

/* --- schemas ------------------------------------------------------------------------------------------------------------------ */
static void schema_is(const char *value, enum bm_rc want)
{
    char text[128];

    snprintf(text, sizeof text, "UPDATE meta SET value = %s WHERE key = 'schema'", value);
    sql(text);
    for (int read_only = 0; read_only < 2; read_only++) {
        struct bm_store *s = NULL;

        assert_int_equal(bm_store_open(dsn, (struct bm_store_options){ .read_only = read_only != 0 }, &s, &e), want);
        bm_store_close(s);
    }
}

static void test_schema_numbers(void **state)
{
    static const char *const none[] = { "x'30'", "x''", "x'2d31'", "x'616263'" };
    char number[64];

    (void)state;
    bm_store_close(open_as((struct bm_store_options){ .create = true }));
    schema_is("x'39393939'", BM_CONFLICT); /* 9999: of a newer program */
    snprintf(number, sizeof number, "CAST('%d' AS BLOB)", BM_MIGRATIONS_SQLITE + 1);
    schema_is(number, BM_CONFLICT);
    for (size_t i = 0; i < BM_COUNT(none); i++)
        schema_is(none[i], BM_MALFORMED);
    snprintf(number, sizeof number, "CAST('%d' AS BLOB)", BM_MIGRATIONS_SQLITE);
    schema_is(number, BM_OK);
}

static void test_read_only(void **state)
{
    struct bm_store *w = open_as((struct bm_store_options){ .create = true }), *r;
    BM_CLEANUP(bm_buf_done) struct bm_buf got = { .max = 10 };

    (void)state;
    put_value(w, "x", "1");
    r = open_as((struct bm_store_options){ .read_only = true });
    assert_int_equal(bm_store_begin(r, &e), BM_BUG);
    OK(bm_meta_get(r, "x", &got, &e));
    put_value(w, "x", "2");
    got.n = 0;
    OK(bm_meta_get(r, "x", &got, &e)); /* sees what was committed meanwhile */
    assert_int_equal(got.p[0], '2');
    bm_store_tidy(r);
    bm_store_close(r);
    bm_store_close(w);
}

static void test_second_writer(void **state)
{
    struct bm_store *a = open_as((struct bm_store_options){ .create = true }), *b = open_as((struct bm_store_options){ 0 });

    (void)state;
    OK(bm_store_begin(a, &e));
    assert_int_equal(bm_store_begin(b, &e), BM_IO);
    assert_string_equal(e.code, "database-busy");
    OK(bm_store_commit(a, &e));
    put_value(b, "x", "1");
    bm_store_close(b);
    bm_store_close(a);
}

/* --- files that are something else -------------------------------------------------------------------------------------------- */
static void test_wrong_files(void **state)
{
    static const char text[] =
        "This is a letter, and a long one at that: it goes on for more than the hundred bytes of a database header.";
    static const uint8_t zeros[8192];
    struct bm_store *s = NULL;
    struct stat before, after;

    (void)state;
    for (int i = 0; i < 4; i++) {
        unlink(path);
        if (i == 0)
            write_file(text, sizeof text);
        if (i == 1)
            write_file(zeros, sizeof zeros);
        if (i == 2)
            sql("CREATE TABLE address_book (name TEXT)");
        if (i == 3)
            sql("PRAGMA application_id = 0x424d524b; CREATE TABLE meta (key TEXT, value TEXT)"); /* ours, but no schema number */
        assert_int_equal(stat(path, &before), 0);
        for (int how = 0; how < 3; how++) {
            struct bm_store_options o = { .create = how == 1, .read_only = how == 2 };
            enum bm_rc rc = bm_store_open(dsn, o, &s, &e);

            if (rc != BM_MALFORMED || strcmp(e.code, "not-a-registry") != 0)
                fail_msg("file %d opened %d: %d %s %s", i, how, rc, e.code, e.what);
        }
        assert_int_equal(stat(path, &after), 0);
        if (i < 3) /* left as it was */
            assert_true(before.st_size == after.st_size && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    }
}

static void fill(struct bm_store *s, int n)
{
    static uint8_t blob[3000];

    for (int i = 0; i < n; i++) {
        struct bm_credential c = { .state = "active", .cert = { blob, sizeof blob, sizeof blob, sizeof blob, false } };

        for (size_t k = 0; k < sizeof c.serial; k++)
            c.serial[k] = (uint8_t)random();
        OK(bm_credential_put(s, &c, &e));
    }
}

/* Pages turned to rubbish: an error that names the damage, never a crash. */
static void test_damaged_pages(void **state)
{
    struct bm_store *s = open_as((struct bm_store_options){ .create = true });
    uint8_t rubbish[4096];
    int refused = 0;
    struct stat st;

    (void)state;
    OK(bm_store_begin(s, &e));
    fill(s, 200);
    OK(bm_store_commit(s, &e));
    bm_store_close(s);
    memset(rubbish, 0x5a, sizeof rubbish);
    assert_int_equal(stat(path, &st), 0);
    for (off_t at = 4096; at + 4096 <= st.st_size; at += 11 * 4096) {
        BM_CLEANUP(bm_buf_done) struct bm_buf json = { 0 };
        uint8_t kept[4096];
        int fd = open(path, O_RDWR);
        enum bm_rc rc;

        s = NULL;
        assert_int_equal(pread(fd, kept, sizeof kept, at), sizeof kept);
        assert_int_equal(pwrite(fd, rubbish, sizeof rubbish, at), sizeof rubbish);
        rc = bm_store_open(dsn, (struct bm_store_options){ 0 }, &s, &e);
        if (rc == BM_OK)
            rc = bm_store_counts(s, &json, &e);
        refused += rc != BM_OK;
        if (rc != BM_OK)
            assert_true(rc == BM_IO && strcmp(e.code, "database-damaged") == 0);
        bm_store_close(s);
        assert_int_equal(pwrite(fd, kept, sizeof kept, at), sizeof kept);
        close(fd);
    }
    assert_true(refused > 0);
}

/* --- a full disk -------------------------------------------------------------------------------------------------------------- */
/* Fills until the store says so; everything committed before is there, nothing of what failed is, and it goes on once there is
 * room. */
static void fill_up(void (*make_room)(void), const char *code)
{
    struct bm_store *s = open_as((struct bm_store_options){ .create = true });
    int64_t committed = 0, got;
    enum bm_rc rc = BM_OK;

    for (int i = 0; rc == BM_OK && i < 10000; i++) {
        static uint8_t leaf[20000];

        OK(bm_store_begin(s, &e));
        for (int k = 0; rc == BM_OK && k < 10; k++)
            rc = bm_audit_leaf_add(s, committed + k, 1, bm_rd_of(leaf, sizeof leaf), &e);
        if (rc == BM_OK)
            rc = bm_store_commit(s, &e);
        else
            assert_int_equal(bm_store_commit(s, NULL), BM_IO); /* never half of it */
        if (rc != BM_OK)
            bm_store_rollback(s);
        else
            committed += 10;
    }
    assert_int_equal(rc, BM_IO);
    assert_string_equal(e.code, code);
    OK(bm_audit_leaf_count(s, &got, &e)); /* still readable */
    assert_int_equal(got, committed);
    make_room();
    put_value(s, "after", "1");
    bm_store_close(s);
    s = open_as((struct bm_store_options){ 0 });
    OK(bm_audit_leaf_count(s, &got, &e));
    assert_int_equal(got, committed);
    put_value(s, "after", "2");
    bm_store_close(s);
}

static void lift_limit(void)
{
    struct rlimit l = { RLIM_INFINITY, RLIM_INFINITY };

    getrlimit(RLIMIT_FSIZE, &l);
    l.rlim_cur = l.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

static void test_file_size_limit(void **state)
{
    struct rlimit l;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &l), 0);
    l.rlim_cur = 2 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
    fill_up(lift_limit, "disk-error");
}

static char ballast[80];

static void drop_ballast(void)
{
    assert_int_equal(unlink(ballast), 0);
}

static void test_disk_full(void **state)
{
    char block[65536] = { 0 };
    int fd;

    (void)state;
    if (mount("none", dir, "tmpfs", 0, "size=6m") != 0) {
        print_message("no small disk to be had here: %s\n", strerror(errno));
        skip();
    }
    snprintf(ballast, sizeof ballast, "%s/ballast", dir);
    fd = open(ballast, O_CREAT | O_WRONLY, 0600);
    for (int i = 0; i < 56; i++) /* more than half of it: once it is gone, what is in the log fits into the database as well */
        assert_int_equal(write(fd, block, sizeof block), sizeof block);
    close(fd);
    fill_up(drop_ballast, "disk-full");
    assert_int_equal(umount(dir), 0);
}

/* --- kill -9 ------------------------------------------------------------------------------------------------------------------ */
/* Commits one batch of leaves after another, and tells each commit once it has returned. */
static void commit_for_ever(int tell)
{
    struct bm_store *s = NULL;
    struct bm_audit a;
    int64_t told;

    if (bm_store_open(dsn, (struct bm_store_options){ 0 }, &s, &e) != BM_OK || bm_audit_open(&a, s, &e) != BM_OK)
        _exit(2);
    for (;;) {
        int n = 1 + (int)(random() % 40);

        if (bm_store_begin(s, &e) != BM_OK)
            _exit(3);
        for (int i = 0; i < n; i++)
            if (bm_audit_add(&a, 1, bm_rd_str("{\"op\":\"test\"}"), &e) != BM_OK)
                _exit(4);
        if (bm_store_commit(s, &e) != BM_OK)
            _exit(5);
        bm_audit_committed(&a);
        told = a.on_disk.size;
        if (write(tell, &told, sizeof told) != sizeof told)
            _exit(6);
    }
}

static int64_t run_and_kill(int round)
{
    int pipes[2], status;
    int64_t told, last = -1;
    pid_t child;

    assert_int_equal(pipe(pipes), 0);
    child = fork();
    if (child == 0) {
        close(pipes[0]);
        srandom((unsigned)round);
        commit_for_ever(pipes[1]);
    }
    close(pipes[1]);
    assert_int_equal(read(pipes[0], &last, sizeof last), sizeof last); /* it is up */
    nanosleep(&(struct timespec){ .tv_nsec = random() % 20000000 }, NULL);
    kill(child, SIGKILL);
    while (read(pipes[0], &told, sizeof told) == sizeof told)
        last = told;
    close(pipes[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    return last;
}

static void test_kill(void **state)
{
    (void)state;
    bm_store_close(open_as((struct bm_store_options){ .create = true }));
    for (int round = 0; round < 30; round++) {
        int64_t told = run_and_kill(round), tiles;
        struct bm_store *s = open_as((struct bm_store_options){ 0 });
        struct bm_audit a;

        OK(bm_audit_open(&a, s, &e));
        assert_true(a.tree.size >= told);
        OK(bm_audit_tile_count(s, &tiles, &e));
        assert_int_equal(tiles, (a.tree.size >> 8) + (a.tree.size >> 16));
        bm_store_close(s);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_addresses), T(test_create),        T(test_create_resumes), T(test_create_through_link), T(test_schema_numbers),
        T(test_read_only), T(test_second_writer), T(test_wrong_files),    T(test_damaged_pages),       T(test_file_size_limit),
        T(test_disk_full), T(test_kill),          T(test_up_from_1),
    };

    return cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
}
