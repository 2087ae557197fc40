#include "store/db.h"
#include "store/migrations.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { APPLICATION_ID = 0x424d524b }; /* "BMRK" in the file's header, so that a foreign SQLite file is told apart */

/* Kept here rather than in the general table of statements: they have no arguments and run around every transaction. */
struct bm_db {
    sqlite3 *h;
    sqlite3_stmt *begin, *commit, *rollback;
};

static sqlite3_stmt *stmt_of(struct bm_stmt *st)
{
    return (sqlite3_stmt *)(void *)st;
}

/* --- errors ------------------------------------------------------------------------------------------------------------------- */
static const struct {
    int code; /* extended, or primary: the first row that fits counts */
    enum bm_rc rc;
    const char *word, *what;
} outcomes[] = {
    { SQLITE_CONSTRAINT_UNIQUE, BM_CONFLICT, "", "a unique value is already taken" },
    { SQLITE_CONSTRAINT_PRIMARYKEY, BM_CONFLICT, "", "a key is already taken" },
    { SQLITE_CONSTRAINT_ROWID, BM_CONFLICT, "", "a key is already taken" },
    { SQLITE_CONSTRAINT_FOREIGNKEY, BM_NOTFOUND, "", "refers to a row that is not there" },
    { SQLITE_FULL, BM_IO, "disk-full", "the disk is full" },
    { SQLITE_READONLY, BM_IO, "read-only", "the file or its folder cannot be written" },
    { SQLITE_IOERR, BM_IO, "disk-error", "the disk reports an error" },
    { SQLITE_BUSY, BM_IO, "database-busy", "another process is writing to the registry" },
    { SQLITE_LOCKED, BM_IO, "database-busy", "the table is in use" },
    { SQLITE_CANTOPEN, BM_IO, "cannot-open", "the file or its write-ahead log cannot be opened" },
    { SQLITE_CORRUPT, BM_IO, "database-damaged", "the database file is damaged: restore it from a backup" },
    { SQLITE_NOTADB, BM_MALFORMED, "not-a-registry", "the file is not a registry" },
    { SQLITE_NOMEM, BM_NOMEM, "", "out of memory" },
    { SQLITE_TOOBIG, BM_LIMIT, "", "a value is too large" },
};

static enum bm_rc fail(sqlite3 *h, int code, struct bm_error *e)
{
    int extended = h != NULL ? sqlite3_extended_errcode(h) : code;

    for (size_t i = 0; i < BM_COUNT(outcomes); i++)
        if (outcomes[i].code == extended || outcomes[i].code == (code & 0xff))
            return bm_refuse(e, outcomes[i].rc, outcomes[i].word, "%s (SQLite %d)", outcomes[i].what, extended);
    return bm_fail(e, BM_BUG, "store: %s (SQLite %d)", h != NULL ? sqlite3_errmsg(h) : sqlite3_errstr(code), extended);
}

/* --- statements --------------------------------------------------------------------------------------------------------------- */
static enum bm_rc prepare(struct bm_db *db, const char *text, struct bm_stmt **ret, struct bm_error *e)
{
    sqlite3_stmt *st;
    int code = sqlite3_prepare_v3(db->h, text, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL);

    if (code != SQLITE_OK)
        return fail(db->h, code, e);
    *ret = (struct bm_stmt *)(void *)st;
    return BM_OK;
}

static int bind_one(sqlite3_stmt *st, int i, const struct bm_arg *a)
{
    static const char empty[] = "";
    const void *p = a->b.p != NULL ? a->b.p : (const void *)empty; /* a NULL pointer would bind NULL */

    if (a->kind == BM_ARG_INT)
        return sqlite3_bind_int64(st, i, a->i);
    if (a->kind == BM_ARG_BLOB)
        return sqlite3_bind_blob64(st, i, p, a->b.n, SQLITE_STATIC);
    if (a->kind == BM_ARG_TEXT)
        return sqlite3_bind_text64(st, i, p, a->b.n, SQLITE_STATIC, SQLITE_UTF8);
    return sqlite3_bind_null(st, i);
}

static enum bm_rc bind(struct bm_stmt *st, struct bm_args args, struct bm_error *e)
{
    sqlite3_stmt *q = stmt_of(st);
    int code = SQLITE_OK;

    if ((size_t)sqlite3_bind_parameter_count(q) != args.n)
        return bm_fail(e, BM_BUG, "store: %zu values for %d places", args.n, sqlite3_bind_parameter_count(q));
    for (size_t i = 0; code == SQLITE_OK && i < args.n; i++)
        code = bind_one(q, (int)i + 1, &args.p[i]);
    return code == SQLITE_OK ? BM_OK : fail(sqlite3_db_handle(q), code, e);
}

static enum bm_rc step(struct bm_stmt *st, bool *ret_row, struct bm_error *e)
{
    int code = sqlite3_step(stmt_of(st));

    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return fail(sqlite3_db_handle(stmt_of(st)), code, e);
    *ret_row = code == SQLITE_ROW;
    return BM_OK;
}

static void reset(struct bm_stmt *st)
{
    (void)sqlite3_reset(stmt_of(st)); /* repeats the error of the step, already told */
}

static void drop(struct bm_stmt *st)
{
    (void)sqlite3_finalize(stmt_of(st));
}

static int64_t col_int(struct bm_stmt *st, int i)
{
    return sqlite3_column_int64(stmt_of(st), i);
}

static struct bm_rd col_bytes(struct bm_stmt *st, int i)
{
    const void *p = sqlite3_column_blob(stmt_of(st), i); /* text comes as the UTF-8 it is stored in */

    return bm_rd_of(p, (size_t)sqlite3_column_bytes(stmt_of(st), i));
}

static enum bm_arg_kind col_kind(struct bm_stmt *st, int i)
{
    static const enum bm_arg_kind kinds[] = {
        [SQLITE_INTEGER] = BM_ARG_INT, [SQLITE_FLOAT] = BM_ARG_NULL, [SQLITE_TEXT] = BM_ARG_TEXT,
        [SQLITE_BLOB] = BM_ARG_BLOB,   [SQLITE_NULL] = BM_ARG_NULL,
    };

    return kinds[sqlite3_column_type(stmt_of(st), i)]; /* the tables are STRICT: there are no floats */
}

static int64_t last_id(struct bm_db *db)
{
    return sqlite3_last_insert_rowid(db->h);
}

static int64_t changes(struct bm_db *db)
{
    return sqlite3_changes64(db->h);
}

/* --- transactions ------------------------------------------------------------------------------------------------------------- */
static enum bm_rc run(struct bm_db *db, sqlite3_stmt *st, struct bm_error *e)
{
    int code = sqlite3_step(st);
    enum bm_rc rc = code == SQLITE_DONE || code == SQLITE_ROW ? BM_OK : fail(db->h, code, e);

    (void)sqlite3_reset(st);
    return rc;
}

/* A deferred transaction: its first read fixes what all of it sees. */
static enum bm_rc snapshot(struct bm_db *db, struct bm_error *e)
{
    int code = sqlite3_exec(db->h, "BEGIN", NULL, NULL, NULL);

    return code == SQLITE_OK ? BM_OK : fail(db->h, code, e);
}

static enum bm_rc begin(struct bm_db *db, struct bm_error *e)
{
    return run(db, db->begin, e);
}

static enum bm_rc commit(struct bm_db *db, struct bm_error *e)
{
    return run(db, db->commit, e);
}

static void rollback(struct bm_db *db)
{
    if (sqlite3_get_autocommit(db->h) == 0) /* some failures have rolled back already */
        (void)run(db, db->rollback, NULL);
}

static void tidy(struct bm_db *db)
{
    (void)sqlite3_wal_checkpoint_v2(db->h, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    (void)sqlite3_db_release_memory(db->h);
    malloc_trim(0);
}

/* --- a copy of all of it ------------------------------------------------------------------------------------------------------ */
static enum bm_rc copy_pages(sqlite3 *from, sqlite3 *to, struct bm_error *e)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    int code;

    if (b == NULL)
        return fail(to, sqlite3_errcode(to), e);
    (void)sqlite3_backup_step(b, -1); /* in one go: one moment, and a writer in WAL mode does not wait for readers */
    code = sqlite3_backup_finish(b);
    return code == SQLITE_OK ? BM_OK : fail(to, code, e);
}

static enum bm_rc backup(struct bm_db *db, const char *path, struct bm_error *e)
{
    sqlite3 *to = NULL;
    int code =
        sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE | SQLITE_OPEN_NOMUTEX, NULL);
    enum bm_rc rc = code == SQLITE_OK ? BM_OK : fail(to, code, e);

    if (rc == BM_OK)
        rc = copy_pages(db->h, to, e);
    if (rc == BM_OK &&
        sqlite3_exec(to, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL) != SQLITE_OK) /* one file, no -wal beside it */
        rc = fail(to, sqlite3_errcode(to), e);
    if (sqlite3_close(to) != SQLITE_OK && rc == BM_OK)
        rc = bm_fail(e, BM_IO, "%s cannot be closed", path);
    return rc;
}

/* --- opening ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc script(struct bm_db *db, const char *sql, struct bm_error *e)
{
    int code = sqlite3_exec(db->h, sql, NULL, NULL, NULL);

    return code == SQLITE_OK ? BM_OK : fail(db->h, code, e);
}

static enum bm_rc ask_int(struct bm_db *db, const char *sql, int64_t *ret, struct bm_error *e)
{
    struct bm_stmt *st = NULL;
    bool row = false;
    enum bm_rc rc = prepare(db, sql, &st, e);

    if (rc == BM_OK)
        rc = step(st, &row, e);
    if (rc == BM_OK)
        *ret = row ? col_int(st, 0) : 0;
    drop(st);
    return rc;
}

/* The first look into the file, before anything is set in it. */
static enum bm_rc identify(struct bm_db *db, bool *ret_empty, struct bm_error *e)
{
    int64_t tables, app;
    enum bm_rc rc = ask_int(db, "SELECT count(*) FROM sqlite_master", &tables, e);

    if (rc == BM_OK)
        rc = ask_int(db, "PRAGMA application_id", &app, e);
    if (rc != BM_OK)
        return rc;
    if (tables != 0 && app != APPLICATION_ID)
        return bm_refuse(e, BM_MALFORMED, "not-a-registry", "is another program's database, not a registry");
    *ret_empty = tables == 0;
    return BM_OK;
}

static enum bm_rc schema(struct bm_db *db, int64_t *ret, struct bm_error *e)
{
    int64_t version = 0;
    bool empty;
    enum bm_rc rc = identify(db, &empty, e);

    if (rc == BM_OK && !empty)
        rc = ask_int(db, "SELECT CAST(CAST(value AS TEXT) AS INTEGER) FROM meta WHERE key = 'schema'", &version, e);
    if (rc == BM_OK && !empty && version < 1)
        return bm_refuse(e, BM_MALFORMED, "not-a-registry", "tells no schema number");
    if (rc == BM_OK)
        *ret = version;
    return rc;
}

/* Made by us, not by SQLite, so that nobody else can read it for a moment. The folder's entry must survive a power loss too. */
static enum bm_rc make_file(const char *path, struct bm_error *e)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), folder;
    bool ok = fd >= 0 && fchmod(fd, 0600) == 0;

    if (fd >= 0)
        close(fd);
    if (!ok)
        return bm_fail(e, BM_IO, "%s", strerror(errno));
    snprintf(dir, sizeof dir, "%.*s", slash == NULL ? 1 : (int)(slash - path) + 1, slash == NULL ? "." : path);
    folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ok = folder >= 0 && fsync(folder) == 0;
    if (folder >= 0)
        close(folder);
    return ok ? BM_OK : bm_fail(e, BM_IO, "%s: %s", dir, strerror(errno));
}

/* synchronous FULL: a commit that returned has been fsynced, and survives a power loss (SQLite, "PRAGMA synchronous").
 * page_size, application_id: must come before the first table; later they change nothing.
 * secure_delete: nothing secret is in here, and overwriting freed cells costs. cache_size in KiB; pages are allocated as they
 * are used. */
static const char settings[] = "PRAGMA page_size = 4096;"
                               "PRAGMA synchronous = FULL;"
                               "PRAGMA foreign_keys = ON;"
                               "PRAGMA trusted_schema = OFF;"
                               "PRAGMA cell_size_check = ON;"
                               "PRAGMA mmap_size = 0;"
                               "PRAGMA temp_store = MEMORY;"
                               "PRAGMA secure_delete = OFF;"
                               "PRAGMA cache_size = -65536;";
static const char writer_settings[] = "PRAGMA wal_autocheckpoint = 16000;";
static const char new_settings[] = "PRAGMA application_id = 0x424d524b;";

enum { BUSY_MS = 500 };

/* On a disk that cannot be written SQLite cannot make the index that it wants beside a write-ahead log, even to read. Without a log there
 * is nobody who writes (theirs stays while they have the file open), so the file may be taken as it is
 * (sqlite.org/wal.html, "Read-Only Databases"). */
static bool at_rest_and_locked(const char *path)
{
    const char *slash = strrchr(path, '/');
    char beside[4096];

    if ((size_t)snprintf(beside, sizeof beside, "%.*s", slash == NULL ? 1 : (int)(slash - path) + 1, slash == NULL ? "." : path) >=
            sizeof beside ||
        access(beside, W_OK) == 0)
        return false;
    return (size_t)snprintf(beside, sizeof beside, "%s-wal", path) < sizeof beside && access(beside, F_OK) != 0 && errno == ENOENT;
}

/* sqlite.org/uri.html section 3 */
static void put_uri(struct bm_buf *out, const char *path)
{
    bm_buf_str(out, "file:");
    for (; *path != '\0'; path++)
        bm_buf_printf(out, strchr("%?#", *path) != NULL ? "%%%02X" : "%c", (unsigned char)*path);
    bm_buf_str(out, "?immutable=1");
    bm_buf_put(out, "", 1);
}

static enum bm_rc connect(struct bm_db *db, const char *path, struct bm_store_options how, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf uri = { .max = 16 * 1024 };
    int flags = (how.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int code;

    if (how.read_only && at_rest_and_locked(path)) {
        put_uri(&uri, path);
        if (uri.bad)
            return bm_fail(e, BM_LIMIT, "path too long");
        path = (const char *)uri.p;
        flags |= SQLITE_OPEN_URI;
    }
    code = sqlite3_open_v2(path, &db->h, flags, NULL);
    if (code != SQLITE_OK)
        return fail(db->h, code, e);
    sqlite3_busy_timeout(db->h, BUSY_MS);
    sqlite3_db_config(db->h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->h, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(db->h, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    return script(db, settings, e);
}

/* SQLite answers with the mode it is in, which is another when this one cannot be had (a file system without shared memory). */
static enum bm_rc use_wal(struct bm_db *db, struct bm_error *e)
{
    struct bm_stmt *st = NULL;
    bool row = false;
    enum bm_rc rc = prepare(db, "PRAGMA journal_mode = WAL", &st, e);

    if (rc == BM_OK)
        rc = step(st, &row, e);
    if (rc == BM_OK && (!row || !bm_rd_eq(col_bytes(st, 0), bm_rd_str("wal"))))
        rc = bm_refuse(e, BM_IO, "cannot-open", "the file system does not take a write-ahead log");
    drop(st);
    return rc;
}

static enum bm_rc prepare_own(struct bm_db *db, struct bm_error *e)
{
    const struct {
        const char *text;
        sqlite3_stmt **to;
    } own[] = { { "BEGIN IMMEDIATE", &db->begin }, { "COMMIT", &db->commit }, { "ROLLBACK", &db->rollback } };

    for (size_t i = 0; i < BM_COUNT(own); i++) {
        int code = sqlite3_prepare_v3(db->h, own[i].text, -1, SQLITE_PREPARE_PERSISTENT, own[i].to, NULL);

        if (code != SQLITE_OK)
            return fail(db->h, code, e);
    }
    return BM_OK;
}

static void close_db(struct bm_db *db)
{
    if (db == NULL)
        return;
    sqlite3_finalize(db->begin);
    sqlite3_finalize(db->commit);
    sqlite3_finalize(db->rollback);
    (void)sqlite3_close(db->h);
    free(db);
}

static void close_dbp(struct bm_db **db)
{
    close_db(*db);
}

static enum bm_rc check_file(const char *path, struct bm_store_options how, struct bm_error *e)
{
    struct stat st;
    bool there = stat(path, &st) == 0;

    if (!there && errno != ENOENT)
        return bm_fail(e, BM_IO, "%s", strerror(errno));
    if (there && !S_ISREG(st.st_mode))
        return bm_fail(e, BM_USAGE, "is not a file");
    if (!there && !how.create)
        return bm_fail(e, BM_NOTFOUND, "no such file");
    return how.create && (!there || st.st_size == 0) ? make_file(path, e) : BM_OK; /* empty: left by one that was cut short */
}

/* A registry that is already there is not touched by `create`: store/db.c refuses it by its schema number. */
static enum bm_rc open_db(const char *path, struct bm_store_options how, struct bm_db **ret, struct bm_error *e)
{
    BM_CLEANUP(close_dbp) struct bm_db *db = NULL;
    bool empty = false;
    enum bm_rc rc = check_file(path, how, e);

    if (rc != BM_OK)
        return rc;
    db = calloc(1, sizeof *db);
    if (db == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    rc = connect(db, path, how, e);
    if (rc == BM_OK)
        rc = identify(db, &empty, e);
    if (rc == BM_OK && empty && !how.create) /* before the settings put something into it */
        rc = bm_refuse(e, BM_MALFORMED, "not-a-registry", "is empty: not a registry");
    if (rc == BM_OK && how.create && empty)
        rc = script(db, new_settings, e);
    if (rc == BM_OK && !how.read_only)
        rc = use_wal(db, e);
    if (rc == BM_OK && !how.read_only)
        rc = script(db, writer_settings, e);
    if (rc == BM_OK)
        rc = prepare_own(db, e);
    if (rc != BM_OK)
        return rc;
    *ret = BM_MOVE(db);
    return BM_OK;
}

static void discard(struct bm_db *db)
{
    static const char *const ends[] = { "", "-wal", "-shm" };
    char path[4096];

    for (size_t i = 0; i < BM_COUNT(ends); i++) {
        snprintf(path, sizeof path, "%s%s", sqlite3_db_filename(db->h, "main"), ends[i]);
        (void)unlink(path);
    }
}

const struct bm_db_driver bm_db_sqlite = {
    .scheme = "sqlite",
    .migrations = bm_migrations_sqlite,
    .n_migrations = BM_MIGRATIONS_SQLITE,
    .open = open_db,
    .close = close_db,
    .discard = discard,
    .schema = schema,
    .script = script,
    .begin = begin,
    .snapshot = snapshot,
    .commit = commit,
    .rollback = rollback,
    .tidy = tidy,
    .prepare = prepare,
    .bind = bind,
    .step = step,
    .reset = reset,
    .drop = drop,
    .col_int = col_int,
    .col_bytes = col_bytes,
    .col_kind = col_kind,
    .last_id = last_id,
    .changes = changes,
    .tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid",
    .columns = "SELECT name FROM pragma_table_info(?) ORDER BY cid",
    .backup = backup,
};
