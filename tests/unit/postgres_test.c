/* What is PostgreSQL's own under the store: addresses, one writer at a time, connections that go away, databases that are something else. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/store.h"

#include "postgres_fixture.h"

static char dsn[256];
static struct bm_error e;

#define OK(call)                                                                                                                   \
    do {                                                                                                                           \
        enum bm_rc rc_ = (call);                                                                                                   \
        if (rc_ != BM_OK)                                                                                                          \
            fail_msg("%s: %d %s %s", #call, rc_, e.code, e.what);                                                                  \
    } while (0)
#define REFUSED(call, want, word)                                                                                                  \
    do {                                                                                                                           \
        enum bm_rc rc_ = (call);                                                                                                   \
        if (rc_ != (want) || strcmp(e.code, (word)) != 0)                                                                          \
            fail_msg("%s: %d %s %s", #call, rc_, e.code, e.what);                                                                  \
    } while (0)

static const struct bm_store_options make = { .create = true }, use = { 0 }, look = { .read_only = true };

static int setup(void **state)
{
    (void)state;
    pg_dsn(dsn, sizeof dsn);
    return pg_empty(dsn) ? 0 : -1;
}

static struct bm_store *open_as(struct bm_store_options how)
{
    struct bm_store *s = NULL;

    OK(bm_store_open(dsn, how, &s, &e));
    return s;
}

static void put_value(struct bm_store *s, const char *key, const char *value)
{
    OK(bm_store_begin(s, &e));
    OK(bm_meta_set(s, key, bm_rd_str(value), &e));
    OK(bm_store_commit(s, &e));
}

static void cut_connections(void)
{
    assert_true(pg_sql(dsn, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND"
                            " application_name = 'birthmark'") >= 1);
}

/* Until the wait between two tries is over. */
static void begin_again(struct bm_store *s)
{
    enum bm_rc rc = BM_IO;

    for (int i = 0; i < 100 && rc != BM_OK; i++) {
        rc = bm_store_begin(s, &e);
        if (rc != BM_OK)
            usleep(100000);
    }
    OK(rc);
}

static void test_addresses(void **state)
{
    static const struct {
        const char *dsn;
        enum bm_rc want;
        const char *code;
    } cases[] = {
        { "postgres:no such option=1", BM_USAGE, "bad-address" },
        { "postgres:host", BM_USAGE, "bad-address" },
        { "postgres:dbname='", BM_USAGE, "bad-address" },
        { "postgres:host=/nowhere dbname=x password=secret", BM_USAGE, "password-in-address" },
        { "postgres://me:secret@/x?host=/nowhere", BM_USAGE, "password-in-address" },
        { "postgres:host=/nowhere dbname=x", BM_IO, "database-unreachable" },
        { "postgres://me@/x?host=/nowhere", BM_IO, "database-unreachable" },
        { "postgresql:dbname=x", BM_USAGE, "" },
        { "postgre:dbname=x", BM_USAGE, "" },
    };
    struct bm_store *s = NULL;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(cases); i++) {
        e.code[0] = '\0';
        REFUSED(bm_store_open(cases[i].dsn, make, &s, &e), cases[i].want, cases[i].code);
        assert_null(strstr(e.what, "secret"));
    }
    assert_null(s);
    snprintf(dsn, sizeof dsn, "postgres:host=%s user=birthmark dbname=nothing", pg_dir);
    REFUSED(bm_store_open(dsn, make, &s, &e), BM_IO, "database-unreachable");
    snprintf(dsn, sizeof dsn, "postgres://birthmark@/postgres?host=%s", pg_dir); /* the other way to write it */
    bm_store_close(open_as(make));
}

static void test_foreign(void **state)
{
    struct bm_store *s = NULL;

    (void)state;
    assert_int_equal(bm_store_open(dsn, use, &s, &e), BM_MALFORMED); /* empty */
    assert_int_equal(pg_sql(dsn, "CREATE TABLE address_book (name TEXT)"), 0);
    REFUSED(bm_store_open(dsn, make, &s, &e), BM_MALFORMED, "not-a-registry");
    REFUSED(bm_store_open(dsn, use, &s, &e), BM_MALFORMED, "not-a-registry");
    assert_true(pg_empty(dsn));
    bm_store_close(open_as(make));
    assert_int_equal(bm_store_open(dsn, make, &s, &e), BM_CONFLICT);
    assert_int_equal(pg_sql(dsn, "UPDATE meta SET value = '9999' WHERE key = 'schema'"), 0);
    REFUSED(bm_store_open(dsn, use, &s, &e), BM_CONFLICT, "newer-schema");
    assert_int_equal(pg_sql(dsn, "UPDATE meta SET value = 'x' WHERE key = 'schema'"), 0);
    REFUSED(bm_store_open(dsn, use, &s, &e), BM_MALFORMED, "not-a-registry");
    assert_int_equal(pg_sql(dsn, "CREATE DATABASE latin ENCODING LATIN1 LOCALE 'C' TEMPLATE template0"), 0);
    snprintf(dsn, sizeof dsn, "postgres:host=%s user=birthmark dbname=latin", pg_dir);
    REFUSED(bm_store_open(dsn, make, &s, &e), BM_USAGE, "database-unfit");
}

static void test_discard(void **state)
{
    struct bm_store *s = open_as(make);

    (void)state;
    put_value(s, "x", "1");
    bm_store_discard(s);
    assert_int_equal(pg_sql(dsn, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), 0);
    bm_store_close(open_as(make));
    bm_store_discard(open_as(use)); /* not one that it made */
    bm_store_close(open_as(use));
}

/* --- one writer --------------------------------------------------------------------------------------------------------------- */
static void test_second_writer(void **state)
{
    struct bm_store *a = open_as(make), *b = NULL, *r = open_as(look);
    BM_CLEANUP(bm_buf_done) struct bm_buf got = { .max = 10 };

    (void)state;
    REFUSED(bm_store_open(dsn, use, &b, &e), BM_CONFLICT, "in-use");
    put_value(a, "x", "1");
    OK(bm_meta_get(r, "x", &got, &e)); /* readers are welcome */
    bm_store_close(r);
    bm_store_close(a);
    a = open_as(use);
    assert_int_equal(pg_sql(dsn, "CREATE SCHEMA other"), 0);
    snprintf(dsn + strlen(dsn), sizeof dsn - strlen(dsn),
             " options=-csearch_path=other"); /* another registry in the same database */
    b = open_as(make);
    put_value(b, "x", "2");
    got.n = 0;
    OK(bm_meta_get(a, "x", &got, &e));
    assert_int_equal(got.p[0], '1');
    bm_store_close(b);
    bm_store_close(a);
    pg_dsn(dsn, sizeof dsn);
    assert_int_equal(pg_sql(dsn, "SET client_min_messages = error; DROP SCHEMA other CASCADE"), 0);
}

/* Whoever comes back after another has written knows too little to go on. */
static void test_replaced(void **state)
{
    struct bm_store *a = open_as(make), *b;

    (void)state;
    put_value(a, "x", "1");
    cut_connections();
    b = open_as(use);
    put_value(b, "x", "2");
    assert_int_equal(bm_store_begin(a, &e), BM_IO); /* b has the lock */
    bm_store_close(b);
    for (int i = 0; i < 100 && strcmp(e.code, "registry-replaced") != 0; i++) {
        assert_int_equal(bm_store_begin(a, &e), BM_IO);
        usleep(50000);
    }
    assert_string_equal(e.code, "registry-replaced");
    assert_int_equal(bm_store_begin(a, &e), BM_IO); /* and for good */
    bm_store_close(a);
}

/* --- connections that go away ------------------------------------------------------------------------------------------------- */
static void test_cut_between(void **state)
{
    struct bm_store *s = open_as(make);
    BM_CLEANUP(bm_buf_done) struct bm_buf got = { .max = 10 };

    (void)state;
    put_value(s, "x", "1");
    cut_connections();
    OK(bm_meta_get(s, "x", &got, &e)); /* nothing was open: a new connection does */
    cut_connections();
    put_value(s, "x", "2");
    bm_store_close(s);
}

static void test_cut_inside(void **state)
{
    struct bm_store *s = open_as(make);
    BM_CLEANUP(bm_buf_done) struct bm_buf got = { .max = 10 };
    struct bm_org o = { .name = "lost", .role = "oem" };

    (void)state;
    put_value(s, "x", "1");
    for (int how = 0; how < 3; how++) {
        begin_again(s);
        OK(bm_meta_set(s, "x", bm_rd_str("2"), &e));
        cut_connections();
        if (how == 0)
            REFUSED(bm_meta_set(s, "x", bm_rd_str("3"), &e), BM_IO, "database-unreachable");
        if (how == 1)
            REFUSED(bm_org_put(s, &o, &e), BM_IO, "database-unreachable"); /* with a savepoint round it */
        if (how != 2)
            assert_int_equal(bm_meta_set(s, "x", bm_rd_str("3"), &e), BM_IO); /* doomed */
        assert_int_equal(bm_store_commit(s, &e), BM_IO);
        bm_store_rollback(s);
    }
    begin_again(s);
    OK(bm_meta_get(s, "x", &got, &e));
    assert_int_equal(got.p[0], '1');
    OK(bm_org_put(s, &o, &e));
    OK(bm_store_commit(s, &e));
    bm_store_close(s);
}

static void test_restart(void **state)
{
    struct bm_store *s = open_as(make);

    (void)state;
    put_value(s, "x", "1");
    pg_down("immediate");
    REFUSED(bm_store_begin(s, &e), BM_IO, "database-unreachable");
    assert_int_equal(bm_store_begin(s, &e), BM_IO); /* too early for another try */
    assert_true(pg_up());
    begin_again(s);
    OK(bm_meta_set(s, "x", bm_rd_str("2"), &e));
    OK(bm_store_commit(s, &e));
    bm_store_close(s);
}

/* --- failures that leave the transaction -------------------------------------------------------------------------------------- */
static void test_goes_on(void **state)
{
    struct bm_store *s = open_as(make);
    struct bm_org o = { .name = "acme", .role = "oem" }, bad = { .name = "bad", .title = "\xff\xfe", .role = "oem" }, got;
    struct bm_product p = { .name = "lamp", .org_id = 4711 };
    struct bm_device d = { .state = "registered", .batch_id = 4711 };

    (void)state;
    OK(bm_store_begin(s, &e));
    OK(bm_org_put(s, &o, &e));
    assert_int_equal(bm_product_put(s, &p, &e), BM_NOTFOUND);
    assert_int_equal(bm_org_put(s, &o, &e), BM_CONFLICT);
    assert_int_equal(bm_org_put(s, &bad, &e), BM_MALFORMED); /* PostgreSQL's text is UTF-8; told before it is sent */
    for (int i = 0; i < 200; i++)
        assert_int_equal(bm_device_put(s, &d, &e), BM_NOTFOUND);
    d.batch_id = 0;
    OK(bm_device_put(s, &d, &e));
    OK(bm_store_commit(s, &e));
    OK(bm_org_get(s, "acme", &got, &e));
    assert_int_equal(pg_sql(dsn, "SELECT count(*) FROM device"), 1);
    bm_store_close(s);
}

/* --- copies ------------------------------------------------------------------------------------------------------------------- */
static void fill(struct bm_store *s)
{
    static const uint8_t bytes[] = { 0, 0xff, '\'', '\\', 0 };
    struct bm_org o = { .name = "acme", .title = "S\xc3\xb6hne \\ '", .role = "oem", .created_at = INT64_MIN };

    OK(bm_store_begin(s, &e));
    OK(bm_org_put(s, &o, &e));
    OK(bm_meta_set(s, "odd", bm_rd_of(bytes, sizeof bytes), &e));
    OK(bm_meta_set(s, "none", bm_rd_of(NULL, 0), &e));
    for (int i = 0; i < 1500; i++) {
        struct bm_device d = { .state = "registered", .owner_id = i % 2 ? o.id : 0, .udid = { (uint8_t)i, (uint8_t)(i >> 8) } };
        struct bm_credential c = { .state = "active", .serial = { (uint8_t)i, (uint8_t)(i >> 8) }, .not_after = INT64_MAX };

        OK(bm_device_put(s, &d, &e));
        c.device_id = d.id;
        OK(bm_credential_put(s, &c, &e));
        OK(bm_audit_leaf_add(s, i, i, bm_rd_of(bytes, sizeof bytes), &e));
    }
    OK(bm_store_commit(s, &e));
}

static enum bm_rc refuse_it(void *arg, struct bm_store *to, struct bm_error *err)
{
    int64_t n = 0;

    (void)arg;
    OK(bm_audit_leaf_count(to, &n, err));
    assert_int_equal(n, 1500);
    return bm_fail(err, BM_DENIED, "no");
}

/* SQLite to PostgreSQL and back again: the same rows, and new ones go on after the last id. */
static void test_copies(void **state)
{
    char dir[] = "/tmp/bm-copy-XXXXXX", one[96], two[64], command[64];
    struct bm_content a, b, c;
    struct bm_store *s = NULL, *back = NULL;
    struct bm_org o = { .name = "next", .role = "oem" };

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(one, sizeof one, "sqlite:%s/one.db", dir);
    snprintf(two, sizeof two, "%s/two.db", dir);
    OK(bm_store_open(one, make, &s, &e));
    fill(s);
    OK(bm_store_snapshot(s, &e));
    assert_int_equal(bm_store_move(s, dsn, refuse_it, NULL, &b, &e), BM_DENIED);
    assert_int_equal(pg_sql(dsn, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), 0); /* nothing is left */
    OK(bm_store_move(s, dsn, NULL, NULL, &b, &e));
    assert_int_equal(bm_store_move(s, dsn, NULL, NULL, &b, &e), BM_CONFLICT);
    OK(bm_store_content(s, &a, &e));
    assert_memory_equal(&a, &b, sizeof a);
    bm_store_close(s);
    s = open_as(use);
    OK(bm_store_backup(s, two, &e));
    snprintf(one, sizeof one, "sqlite:%s", two);
    OK(bm_store_open(one, look, &back, &e));
    OK(bm_store_content(back, &c, &e));
    assert_memory_equal(a.sha256, c.sha256, sizeof a.sha256);
    bm_store_close(back);
    OK(bm_store_begin(s, &e));
    OK(bm_org_put(s, &o, &e));
    OK(bm_store_commit(s, &e));
    assert_int_equal(o.id, 2);
    OK(bm_store_content(s, &c, &e));
    assert_memory_not_equal(a.sha256, c.sha256, sizeof a.sha256);
    bm_store_close(s);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

static int group_setup(void **state)
{
    (void)state;
    return pg_start() ? 0 : -1;
}

static int group_teardown(void **state)
{
    (void)state;
    pg_stop();
    return 0;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        T(test_addresses),   T(test_foreign),    T(test_discard), T(test_second_writer), T(test_replaced),
        T(test_cut_between), T(test_cut_inside), T(test_restart), T(test_goes_on),       T(test_copies),
    };

    return cmocka_run_group_tests_name("PostgreSQL", tests, group_setup, group_teardown);
}
