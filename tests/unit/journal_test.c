/* The journal: its bytes, where a writer finds itself after each kind of death, and that a copy and the journal give the registry again. */
#include "base/file.h"
#include "base/text.h"
#include "store/journal_format.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct bm_error err;

#define assert_ok(call) assert_rc((call), BM_OK)
#define assert_rc(call, want) assert_rc_((call), (want), #call)
static void assert_rc_(enum bm_rc got, enum bm_rc want, const char *what)
{
    if (got != want)
        fail_msg("%s: %s, wanted %s (%s: %s)", what, bm_rc_name(got), bm_rc_name(want), err.code, err.what);
}

static void assert_code(enum bm_rc got, const char *code)
{
    if (got == BM_OK || strcmp(bm_error_code(&err), code) != 0)
        fail_msg("%s (%s: %s), wanted %s", bm_rc_name(got), bm_error_code(&err), err.what, code);
}

static uint8_t *exact(struct bm_rd r)
{
    uint8_t *b = malloc(r.n != 0 ? r.n : 1);

    assert_non_null(b);
    if (r.n != 0)
        memcpy(b, r.p, r.n);
    return b;
}

/* --- bytes ---------------------------------------------------------------------------------------------------------------------- */
static void heads(void **state)
{
    struct bm_journal_head h = { .chain = { 1, 2, 3 }, .first = 7, .prev = { 9 }, .schema = 2, .at_ms = 1795243853000 }, got;
    uint8_t raw[BM_JOURNAL_HEAD_LEN];

    (void)state;
    bm_journal_head_write(&h, raw);
    assert_ok(bm_journal_head_parse(bm_rd_of(raw, sizeof raw), &got, &err));
    assert_true(got.first == 7 && got.schema == 2 && got.at_ms == h.at_ms && got.chain[2] == 3 && got.prev[0] == 9);
    for (size_t n = 0; n < sizeof raw; n++) {
        uint8_t *cut = exact(bm_rd_of(raw, n));

        assert_rc(bm_journal_head_parse(bm_rd_of(cut, n), &got, &err), BM_MALFORMED);
        free(cut);
        raw[n] ^= 0x40;
        assert_rc(bm_journal_head_parse(bm_rd_of(raw, sizeof raw), &got, &err), BM_MALFORMED);
        raw[n] ^= 0x40;
    }
    h.first = 0;
    bm_journal_head_write(&h, raw);
    assert_rc(bm_journal_head_parse(bm_rd_of(raw, sizeof raw), &got, &err), BM_MALFORMED);
}

static void some_record(struct bm_buf *out, struct bm_journal_record *r)
{
    struct bm_journal_item def = {
        .kind = BM_JOURNAL_DEFINE, .number = 3, .has_id = true, .text = bm_rd_str("INSERT INTO t (a) VALUES (?)")
    };
    struct bm_journal_item run = { .kind = BM_JOURNAL_RUN, .number = 3, .id = -5, .changes = 1, .n_args = 4 };
    struct bm_journal_item file = { .kind = BM_JOURNAL_FILE, .text = bm_rd_str("root.key.pem"), .content = bm_rd_str("sealed") };

    run.args[0] = bm_arg_int(INT64_MIN);
    run.args[1] = bm_arg_text("text");
    run.args[2] = bm_arg_blob("\0\1", 2);
    run.args[3] = bm_arg_ref(0);
    *r = (struct bm_journal_record){ .seq = 12, .prev = { 4 }, .at_ms = 5, .log_before = 6, .log_after = 8, .n_items = 3 };
    out->max = 4096;
    bm_journal_record_begin(out);
    bm_journal_item_put(out, &def);
    bm_journal_item_put(out, &run);
    bm_journal_item_put(out, &file);
    bm_journal_record_end(out, r);
    assert_false(out->bad);
}

static void records(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { 0 };
    struct bm_journal_record r, got;
    struct bm_journal_item i;
    size_t len;

    (void)state;
    some_record(&raw, &r);
    assert_ok(bm_journal_frame_parse(bm_rd_of(raw.p, BM_JOURNAL_FRAME_LEN), &len, &err));
    assert_int_equal(len, raw.n);
    assert_ok(bm_journal_record_parse(bm_buf_rd(&raw), &got, &err));
    assert_true(got.seq == 12 && got.prev[0] == 4 && got.at_ms == 5 && got.log_before == 6 && got.log_after == 8 &&
                got.n_items == 3);
    assert_memory_equal(got.sha256, r.sha256, 32);
    assert_ok(bm_journal_item_take(&got.items, &i, &err));
    assert_true(i.kind == BM_JOURNAL_DEFINE && i.number == 3 && i.has_id);
    assert_ok(bm_journal_item_take(&got.items, &i, &err));
    assert_true(i.id == -5 && i.changes == 1 && i.n_args == 4 && i.args[0].i == INT64_MIN && i.args[3].kind == BM_ARG_NULL);
    assert_true(bm_rd_eq(i.args[1].b, bm_rd_str("text")) && i.args[2].b.n == 2);
    assert_ok(bm_journal_item_take(&got.items, &i, &err));
    assert_true(bm_rd_eq(i.text, bm_rd_str("root.key.pem")) && bm_rd_eq(i.content, bm_rd_str("sealed")));
    for (size_t n = 0; n < raw.n; n++) {
        uint8_t *cut = exact(bm_rd_of(raw.p, n));

        assert_rc(bm_journal_record_parse(bm_rd_of(cut, n), &got, &err), BM_MALFORMED);
        free(cut);
        raw.p[n] ^= 1;
        assert_rc(bm_journal_record_parse(bm_buf_rd(&raw), &got, &err), BM_MALFORMED);
        raw.p[n] ^= 1;
    }
}

/* Items that a damaged or forged record may hold; each also cut off everywhere. */
static void items(void **state)
{
    static const struct {
        const char *name, *hex;
        bool good;
    } rows[] = {
        { "definition", "01 0000 00 0000000a 55504441544520782053", true }, /* UPDATE x S */
        { "number too high", "01 0200 00 0000000a 55504441544520782053", false },
        { "has_id of two", "01 0000 02 0000000a 55504441544520782053", false },
        { "no text", "01 0000 00 00000000", false },
        { "another statement", "01 0000 00 0000000a 41545441434820782053", false }, /* ATTACH x S */
        { "lower case", "01 0000 00 0000000a 75706461746520782053", false },
        { "two statements", "01 0000 00 0000000a 5550444154452078 3b53", false },
        { "a zero in it", "01 0000 00 0000000a 5550444154452078 0053", false },
        { "the verb alone", "01 0000 00 00000007 55504441544520", false },
        { "run", "02 0000 0000000000000000 0000000000000001 00", true },
        { "run with a value", "02 0001 0000000000000007 0000000000000001 01 01 0000000000000009", true },
        { "no row changed", "02 0000 0000000000000000 0000000000000000 00", false },
        { "minus one row", "02 0000 0000000000000000 ffffffffffffffff 00", false },
        { "41 values", "02 0000 0000000000000000 0000000000000001 29", false },
        { "value of an unknown kind", "02 0000 0000000000000000 0000000000000001 01 04", false },
        { "value longer than the rest", "02 0000 0000000000000000 0000000000000001 01 02 00000002 00", false },
        { "value of 4 GB", "02 0000 0000000000000000 0000000000000001 01 02 ffffffff 00", false },
        { "file", "03 00000001 61 00000001 62", true },
        { "file without a name", "03 00000000 00000001 62", false },
        { "file elsewhere", "03 00000003 612f62 00000001 62", false },
        { "file that is hidden", "03 00000002 2e61 00000001 62", false },
        { "file of 64 kB and one", "03 00000001 61 00010001 62", false },
        { "no kind", "00", false },
        { "unknown kind", "04 0000", false },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t raw[128], *own;
        char hex[256] = "";
        size_t n = 0, digits = 0;
        struct bm_journal_item item;
        struct bm_rd in;

        for (const char *p = rows[i].hex; *p != '\0'; p++)
            if (*p != ' ')
                hex[digits++] = *p;
        n = digits / 2;
        assert_true(bm_unhex(bm_rd_of(hex, digits), raw, n));
        own = exact(bm_rd_of(raw, n));
        in = bm_rd_of(own, n);
        if ((bm_journal_item_take(&in, &item, &err) == BM_OK && in.n == 0) != rows[i].good)
            fail_msg("%s", rows[i].name);
        free(own);
        for (size_t cut = 0; cut < n; cut++) {
            own = exact(bm_rd_of(raw, cut));
            in = bm_rd_of(own, cut);
            if (bm_journal_item_take(&in, &item, &err) == BM_OK)
                fail_msg("%s, cut off at %zu", rows[i].name, cut);
            assert_int_equal(in.n, cut);
            free(own);
        }
    }
}

/* --- a store with a journal ----------------------------------------------------------------------------------------------------- */
static struct {
    char dir[64], journal[80], dsn[100], copy[100];
    struct bm_store *s;
    struct bm_journal *j;
    unsigned n;
} w;

static void reopen(void)
{
    bm_journal_close(BM_MOVE(w.j));
    bm_store_close(BM_MOVE(w.s));
    assert_ok(bm_store_open(w.dsn, (struct bm_store_options){ 0 }, &w.s, &err));
    assert_ok(bm_journal_open(w.journal, w.s, &w.j, &err));
}

static void open_at(int64_t schema)
{
    memset(&w, 0, sizeof w);
    snprintf(w.dir, sizeof w.dir, "%s/bm-journal-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w.dir));
    snprintf(w.journal, sizeof w.journal, "%s/journal", w.dir);
    snprintf(w.dsn, sizeof w.dsn, "sqlite:%s/registry.db", w.dir);
    snprintf(w.copy, sizeof w.copy, "%s/copy.db", w.dir);
    assert_ok(bm_dir_make(w.journal, 0700, &err));
    assert_ok(bm_store_open(w.dsn, (struct bm_store_options){ .create = true, .as_is = true }, &w.s, &err));
    assert_ok(bm_store_migrate(w.s, schema, &err));
    assert_ok(bm_journal_open(w.journal, w.s, &w.j, &err));
    assert_ok(bm_store_backup(w.s, w.copy, &err));
}

static int setup(void **state)
{
    (void)state;
    open_at(INT64_MAX);
    return 0;
}

static void remove_all(const char *dir)
{
    char path[400];
    const struct dirent *f;
    DIR *d = opendir(dir);

    while (d != NULL && (f = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "%.100s/%s", dir, f->d_name);
        if (strcmp(f->d_name, ".") != 0 && strcmp(f->d_name, "..") != 0 && unlink(path) != 0)
            remove_all(path);
    }
    if (d != NULL)
        closedir(d);
    (void)rmdir(dir);
}

static int teardown(void **state)
{
    (void)state;
    bm_journal_close(BM_MOVE(w.j));
    bm_store_close(BM_MOVE(w.s));
    remove_all(w.dir);
    return 0;
}

static void put_org(void)
{
    struct bm_org o = { .role = "oem", .created_at = 1 };

    snprintf(o.name, sizeof o.name, "org-%u", ++w.n);
    assert_ok(bm_org_put(w.s, &o, &err));
    assert_ok(bm_meta_set(w.s, "last", bm_rd_str(o.name), &err));
}

static void add(void)
{
    assert_ok(bm_store_begin(w.s, &err));
    put_org();
    assert_ok(bm_store_commit(w.s, &err));
}

/* The copy made at the beginning, brought forward; in a file of its own each time. same: must then be as the registry is. */
static enum bm_rc replay(struct bm_replayed *ret, bool same)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *copy = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = 1 << 24 };
    struct bm_content a, b;
    char path[120], dsn[140];
    enum bm_rc rc;

    snprintf(path, sizeof path, "%s.work", w.copy);
    snprintf(dsn, sizeof dsn, "sqlite:%s", path);
    assert_ok(bm_file_read(w.copy, &raw, &err));
    assert_ok(bm_file_write(path, bm_buf_rd(&raw), 0600, &err));
    assert_ok(bm_store_open(dsn, (struct bm_store_options){ .as_is = true }, &copy, &err));
    rc = bm_journal_replay(copy, w.journal, UINT64_MAX, NULL, NULL, ret, &err);
    if (rc != BM_OK || !same)
        return rc;
    assert_ok(bm_store_content(copy, &a, &err));
    assert_ok(bm_store_content(w.s, &b, &err));
    assert_int_equal(a.rows, b.rows);
    assert_memory_equal(a.sha256, b.sha256, 32);
    return BM_OK;
}

static void same_again(int64_t records)
{
    struct bm_replayed r;

    assert_ok(replay(&r, true));
    assert_int_equal(r.records, records);
}

static size_t segments(void)
{
    BM_CLEANUP(bm_journal_folder_done) struct bm_journal_folder f = { 0 };

    assert_ok(bm_journal_folder_read(w.journal, &f, &err));
    return f.n;
}

static void newest(char *ret, size_t room)
{
    bm_journal_path(w.journal, bm_journal_state(w.j).segment, ret, room);
}

static int64_t size_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void grows_and_replays(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++)
        add();
    reopen();
    assert_int_equal(bm_journal_state(w.j).start, BM_JOURNAL_JOINED);
    add();
    bm_journal_rotate(w.j);
    add();
    bm_journal_rotate(w.j);
    bm_journal_rotate(w.j);
    add();
    assert_int_equal(segments(), 3);
    same_again(8);
}

/* Changes taken back are in no record, and statements that only they used are told again. */
static void rolled_back(void **state)
{
    (void)state;
    add();
    for (int i = 0; i < 3; i++) {
        assert_ok(bm_store_begin(w.s, &err));
        put_org();
        assert_ok(bm_profile_put(w.s, "p", bm_rd_str("{}"), &err));
        bm_store_rollback(w.s);
        assert_ok(bm_store_begin(w.s, &err)); /* and an empty one */
        assert_ok(bm_store_commit(w.s, &err));
        assert_ok(bm_store_begin(w.s, &err));
        assert_ok(bm_profile_put(w.s, "p", bm_rd_str("{}"), &err));
        assert_ok(bm_store_commit(w.s, &err));
    }
    assert_int_equal(segments(), 1);
    same_again(4);
}

/* The record is on disk, and the commit fails: it goes, whether the process lives on or dies. */
static void commit_that_failed(void **state)
{
    char path[200];
    int64_t before;

    (void)state;
    add();
    newest(path, sizeof path);
    before = size_of(path);
    assert_ok(bm_store_begin(w.s, &err));
    put_org();
    assert_ok(bm_journal_write(w.j, &err));
    assert_true(size_of(path) > before);
    bm_store_rollback(w.s);
    assert_int_equal(size_of(path), before);
    add();
    assert_ok(bm_store_begin(w.s, &err));
    put_org();
    assert_ok(bm_journal_write(w.j, &err));
    bm_store_set_journal(w.s, NULL); /* it never learns */
    bm_store_rollback(w.s);
    reopen();
    assert_int_equal(bm_journal_state(w.j).start, BM_JOURNAL_MENDED);
    add();
    same_again(3);
}

/* The database committed and could not say so. */
static void commit_that_was_not_heard_of(void **state)
{
    const struct bm_db_driver *d;
    struct bm_db *db = bm_store_db(w.s, &d);

    (void)state;
    add();
    assert_ok(bm_store_begin(w.s, &err));
    put_org();
    assert_ok(bm_journal_write(w.j, &err));
    assert_ok(d->commit(db, &err));
    bm_store_rollback(w.s);
    assert_int_equal(bm_journal_state(w.j).place.seq, 2);
    add();
    assert_ok(bm_store_begin(w.s, &err));
    put_org();
    assert_ok(bm_journal_write(w.j, &err));
    assert_ok(d->commit(db, &err));
    reopen();
    assert_int_equal(bm_journal_state(w.j).start, BM_JOURNAL_JOINED);
    same_again(4);
}

static void put_bytes(const char *path, const void *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_APPEND);

    assert_true(fd >= 0 && write(fd, p, n) == (ssize_t)n);
    close(fd);
}

/* Half a record, zeros, and what looks like a record and is none. */
static void torn_ends(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } tails[] = { { "B", 1 },
                  { "BMJr", 4 },
                  { "BMJr\0\0\1\0something", 17 },
                  { "\0\0\0\0\0\0\0\0\0\0\0\0", 12 },
                  { "BMJr\xff\xff\xff\xff", 8 } };
    char path[200];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(tails); i++) {
        struct bm_replayed r;

        add();
        newest(path, sizeof path);
        put_bytes(path, tails[i].bytes, tails[i].n);
        assert_ok(replay(&r, true));
        assert_int_equal(r.end.torn_len, tails[i].n);
        reopen();
        assert_int_equal(bm_journal_state(w.j).start, BM_JOURNAL_MENDED);
    }
    put_bytes(path, "BMJr", 4);
    same_again(BM_COUNT(tails));
}

/* Every byte of the journal changed, one at a time: told, but for the last record, which then is one that was cut off. */
static void damaged(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = 1 << 20 };
    char path[200];
    int64_t last;

    (void)state;
    add();
    newest(path, sizeof path);
    last = size_of(path);
    add();
    assert_ok(bm_file_read(path, &raw, &err));
    for (size_t i = 0; i < raw.n; i++) {
        struct bm_replayed r;

        raw.p[i] ^= 0x10;
        assert_ok(bm_file_write(path, bm_buf_rd(&raw), 0600, &err));
        if (i < (size_t)last) {
            assert_code(replay(&r, false), i < BM_JOURNAL_HEAD_LEN ? "no-journal" : "journal-damaged");
        } else {
            assert_ok(replay(&r, false));
            assert_true(r.records == 1 && r.end.torn_at == last);
        }
        raw.p[i] ^= 0x10;
    }
    assert_ok(bm_file_write(path, bm_buf_rd(&raw), 0600, &err));
    same_again(2);
}

static void registry_behind(void **state)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *old = NULL;
    struct bm_journal *j = NULL;
    char dsn[120];

    (void)state;
    add();
    add();
    snprintf(dsn, sizeof dsn, "sqlite:%s", w.copy);
    assert_ok(bm_store_open(dsn, (struct bm_store_options){ 0 }, &old, &err));
    assert_code(bm_journal_open(w.journal, old, &j, &err), "in-use");
    bm_journal_close(BM_MOVE(w.j));
    assert_code(bm_journal_open(w.journal, old, &j, &err), "journal-ahead");
    assert_null(j);
}

/* Changed without it: another chain, which an older copy does not join. Journal lost: the chain goes on, and lacks what it lacks. */
static void gaps(void **state)
{
    struct bm_replayed r;
    char path[200];

    (void)state;
    add();
    newest(path, sizeof path);
    assert_int_equal(unlink(path), 0);
    reopen();
    assert_int_equal(bm_journal_state(w.j).start, BM_JOURNAL_GAP);
    add();
    assert_code(replay(&r, false), "journal-gap");
    bm_journal_close(BM_MOVE(w.j));
    assert_ok(bm_journal_forget(w.s, &err));
    add();
    reopen();
    assert_int_equal(bm_journal_state(w.j).start, BM_JOURNAL_BEGUN);
    add();
    assert_code(replay(&r, false), "journal-gap");
}

/* Statements are run at the schema that they were written for. */
static void across_a_migration(void **state)
{
    (void)state;
    teardown(NULL);
    open_at(1);
    add();
    reopen(); /* by a newer program */
    add();
    assert_int_equal(segments(), 2);
    same_again(2);
}

/* A transaction larger than a record: refused before the database hears of it, and the next one is none the worse for it. */
static void too_large(void **state)
{
    const size_t n = BM_JOURNAL_RECORD_MAX;
    uint8_t *much = calloc(1, n);

    (void)state;
    assert_non_null(much);
    add();
    assert_ok(bm_store_begin(w.s, &err));
    assert_ok(bm_meta_set(w.s, "much", bm_rd_of(much, n), &err));
    assert_code(bm_store_commit(w.s, &err), "journal-unavailable");
    bm_store_rollback(w.s);
    free(much);
    add();
    same_again(2);
}

/* What a record says happened must happen. */
static void other_registry(void **state)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *copy = NULL;
    struct bm_org o = { .name = "org-1", .role = "oem" };
    struct bm_replayed r;
    char dsn[120];

    (void)state;
    add();
    snprintf(dsn, sizeof dsn, "sqlite:%s", w.copy);
    assert_ok(bm_store_open(dsn, (struct bm_store_options){ 0 }, &copy, &err));
    assert_ok(bm_store_begin(copy, &err));
    assert_ok(bm_org_put(copy, &o, &err));
    assert_ok(bm_store_commit(copy, &err));
    assert_code(bm_journal_replay(copy, w.journal, UINT64_MAX, NULL, NULL, &r, &err), "journal-mismatch");
}

int main(void)
{
#define ON_STORE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads),
        cmocka_unit_test(records),
        cmocka_unit_test(items),
        ON_STORE(grows_and_replays),
        ON_STORE(rolled_back),
        ON_STORE(commit_that_failed),
        ON_STORE(commit_that_was_not_heard_of),
        ON_STORE(torn_ends),
        ON_STORE(damaged),
        ON_STORE(registry_behind),
        ON_STORE(gaps),
        ON_STORE(across_a_migration),
        ON_STORE(too_large),
        ON_STORE(other_registry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
