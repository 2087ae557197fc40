/* Keys that a kill left behind. If a row fails, the folder of keys fills with strays, or, worse, a key is lost that a CA signs with. */
#include "keeper_fixture.h"

#include "base/file.h"

static struct world w;

static int open_world(void **state)
{
    (void)state;
    world_open(&w);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    world_close(&w);
    return 0;
}

static const char *path_of(const char *file)
{
    static char path[200];

    snprintf(path, sizeof path, "%s/keys/%s", w.dir, file);
    return path;
}

static bool is_there(const char *file)
{
    return access(path_of(file), F_OK) == 0;
}

static void put(const char *file)
{
    assert_ok(bm_file_write(path_of(file), bm_rd_str("x"), 0600, &err));
}

static size_t n_marks(void)
{
    char dir[200];
    const struct dirent *f;
    size_t n = 0;
    DIR *d;

    snprintf(dir, sizeof dir, "%s/keys", w.dir);
    d = opendir(dir);
    assert_non_null(d);
    while ((f = readdir(d)) != NULL)
        n += strstr(f->d_name, ".making") != NULL;
    closedir(d);
    return n;
}

/* What is in the folder when the registry is opened, and whether the key is there afterwards. */
static void tidied(void **state)
{
    static const struct {
        const char *key, *mark;
        bool stays;
    } rows[] = {
        { "stray.key.pem", "stray.making", false }, /* the case it is for */
        { "foreign.key.pem", NULL, true },          /* somebody else's: no mark, no touching */
        { "issuing.key.pem", "issuing.making", true },
        { "root.key.pem", "root.making", true },
        { "log.key.pem", "log.making", true }, /* these two have no row */
        { "tls-server.key.pem", "tls-server.making", true },
        { "other.key.pem", ".making", true },
        { "other.key.pem", "other.making.x", true },
        { "other.key.pem", "stray.making", true }, /* a mark without its key */
        { "a.making.key.pem", "a.making.making", false },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        bool was = is_there(rows[i].key);

        if (!was)
            put(rows[i].key);
        if (rows[i].mark != NULL)
            put(rows[i].mark);
        world_reopen(&w);
        if (is_there(rows[i].key) != rows[i].stays)
            fail_msg("row %zu: %s", i, rows[i].key);
        assert_false(is_there("stray.making") || is_there("issuing.making") || is_there("a.making.making"));
        if (!was)
            (void)unlink(path_of(rows[i].key));
        if (rows[i].mark != NULL)
            (void)unlink(path_of(rows[i].mark));
    }
    assert_int_equal(n_marks(), 0);
}

/* Between key and commit: the mark is there, and the next opening takes both; after the commit there is no mark. */
static void cut_off(void **state)
{
    struct bm_ca_spec s = { .name = "later", .parent = "root", .alg = "EC:P-256", .profile = "issuing-ca", .organisation = "Test" };
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };

    (void)state;
    assert_int_equal(n_marks(), 0); /* init has left none */
    assert_ok(bm_store_begin(w.k->store, &err));
    assert_ok(bm_ca_make(w.k, &s, bm_clock_s(), &ca, &err));
    assert_true(is_there("later.key.pem") && is_there("later.making"));
    assert_rc(bm_keeper_settle(w.k, BM_IO, &err), BM_IO);
    assert_true(is_there("later.making")); /* the commit may have come through all the same */
    world_reopen(&w);
    assert_false(is_there("later.key.pem") || is_there("later.making"));
    admin_ok(&w, "{\"op\":\"ca.create\",\"name\":\"later\",\"parent\":\"root\"}");
    assert_true(is_there("later.key.pem"));
    assert_int_equal(n_marks(), 0);
    world_reopen(&w);
    assert_true(is_there("later.key.pem"));
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"b\",\"product\":\"meter\",\"quota\":1,\"ca\":\"later\"}");
}

/* A refused act leaves key and mark to the next opening, and is no obstacle to the next try. */
static void refused(void **state)
{
    (void)state;
    assert_true(admin_do(&w, "{\"op\":\"ca.create\",\"name\":\"again\",\"parent\":\"root\",\"profile\":\"ldevid\"}", NO_BLOB,
                         NULL) != BM_OK);
    admin_ok(&w, "{\"op\":\"ca.create\",\"name\":\"again\",\"parent\":\"root\"}");
    admin_ok(&w, "{\"op\":\"ca.create\",\"name\":\"log\",\"parent\":\"root\"}"); /* the log's key has that name */
    world_reopen(&w);
    assert_int_equal(n_marks(), 0);
    assert_true(is_there("log.key.pem"));
    assert_false(is_there("again.key.pem")); /* of the refused one; the other got a name of its own */
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"c\",\"product\":\"meter\",\"quota\":1,\"ca\":\"again\"}");
    history_holds(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(tidied), cmocka_unit_test(cut_off), cmocka_unit_test(refused) };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
