/* PostgreSQL under the store, over one libpq connection. What it has to make up for:
 *
 * - A failed statement aborts the whole transaction, where the contract (store/db.h) lets the caller go on after BM_CONFLICT and
 *   BM_NOTFOUND. Statements that can fail so run between SAVEPOINT and RELEASE, all three in one trip (pipeline mode).
 * - The connection can go away. Inside a transaction that is BM_IO and the transaction is lost; the next one connects again, with
 *   waits that grow up to BACKOFF_MAX_MS.
 * - Nobody else may write meanwhile as the same host: a writer holds advisory locks, and leaves its mark in meta("writer:HOST"), so that one
 *   that comes back after somebody else has written in its name finds out and refuses to go on with what it remembers.
 * - Other hosts may write meanwhile. A transaction sees the registry as of its begin (REPEATABLE READ), and fails as a whole when a row it
 *   changes was changed by another one since: `collided`. The keeper then does the same again. */
#include "store/postgres.h"

#include "base/text.h"
#include "store/migrations.h"

#include <malloc.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOCK_WAIT_MS = 5000 };

/* --- transactions ------------------------------------------------------------------------------------------------------------- */
static enum bm_rc leave_mark(struct bm_db *db, struct bm_error *e)
{
    char sql[220], key[32];

    db->marking = db->has_meta && !db->marked && (!db->shared || db->host != 0);
    if (!db->marking)
        return BM_OK;
    snprintf(sql, sizeof sql,
             "INSERT INTO meta (key, value) VALUES ('%s', decode('%s', 'escape')) ON CONFLICT (key) DO UPDATE SET value = "
             "excluded.value",
             bm_pg_mark_key(db, key), db->mark);
    return bm_pg_command(db, sql, e);
}

static enum bm_rc begin_once(struct bm_db *db, const char *sql, struct bm_error *e)
{
    char version[24] = "";
    enum bm_rc rc = bm_pg_ready(db, e);

    if (rc == BM_OK)
        rc = bm_pg_ask(db, sql, version, sizeof version, e);
    if (rc == BM_OK)
        db->version = strtoll(version, NULL, 10);
    return rc;
}

static enum bm_rc begin_as(struct bm_db *db, const char *sql, struct bm_error *e)
{
    enum bm_rc rc = begin_once(db, sql, e);

    return rc != BM_OK && db->c != NULL && bm_pg_gone(db) ? begin_once(db, sql, e) : rc;
}

static void rollback(struct bm_db *db)
{
    if (!bm_pg_gone(db) && PQpipelineStatus(db->c) != PQ_PIPELINE_OFF) {
        (void)bm_pg_drain(db, NULL);
        (void)PQexitPipelineMode(db->c);
    }
    if (!bm_pg_gone(db) && PQtransactionStatus(db->c) != PQTRANS_IDLE)
        PQclear(PQexec(db->c, "ROLLBACK"));
    db->in_transaction = db->snapshot = db->marking = db->bulk = false;
}

/* One trip: the version comes along. */
static enum bm_rc begin(struct bm_db *db, struct bm_error *e)
{
    static const char alone[] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE";
    static const char shared[] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE;"
                                 " SELECT encode(value, 'escape') FROM meta WHERE key = 'version'";
    enum bm_rc rc;

    db->collided = false;
    rc = begin_as(db, db->shared && db->has_meta ? shared : alone, e);
    if (rc == BM_OK)
        rc = leave_mark(db, e);
    db->in_transaction = rc == BM_OK;
    if (rc != BM_OK)
        rollback(db);
    return rc;
}

static enum bm_rc snapshot(struct bm_db *db, struct bm_error *e)
{
    enum bm_rc rc = begin_as(db, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", e);

    db->snapshot = rc == BM_OK;
    return rc;
}

/* COMMIT of a transaction that was aborted answers ROLLBACK, as a success. */
static enum bm_rc commit(struct bm_db *db, struct bm_error *e)
{
    enum bm_rc rc = bm_pg_drain(db, e);
    BM_PG_RESULT *r = rc == BM_OK ? PQexec(db->c, "COMMIT") : NULL;

    if (rc != BM_OK)
        return rc;
    if (!bm_pg_good(r))
        return bm_pg_fail(db, r, e);
    if (strcmp(PQcmdStatus(r), "COMMIT") != 0)
        return bm_fail(e, BM_IO, "store: the transaction had failed and was rolled back");
    db->marked = db->marked || db->marking;
    db->in_transaction = db->marking = db->bulk = false;
    return BM_OK;
}

static void tidy(struct bm_db *db)
{
    (void)db; /* autovacuum does the rest */
    malloc_trim(0);
}

static int64_t last_id(struct bm_db *db)
{
    return db->last_id;
}

static int64_t changes(struct bm_db *db)
{
    return db->changes;
}

/* --- opening ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc script(struct bm_db *db, const char *sql, struct bm_error *e)
{
    enum bm_rc rc = bm_pg_command(db, sql, e);

    db->has_meta = db->has_meta || rc == BM_OK;
    free(db->with_id); /* there may be more tables now */
    db->with_id = NULL;
    return rc;
}

static bool number_of(const char *text, int64_t *ret)
{
    size_t n = strlen(text);

    if (n == 0 || n > 9 || strspn(text, "0123456789") != n)
        return false;
    *ret = strtoll(text, NULL, 10);
    return *ret > 0;
}

static enum bm_rc schema(struct bm_db *db, int64_t *ret, struct bm_error *e)
{
    static const char look[] =
        "SELECT CASE WHEN count(*) = 0 THEN '' WHEN count(*) FILTER (WHERE relname IN ('meta', 'audit_leaf', 'credential')) = 3"
        " THEN 'ours' ELSE 'other' END FROM pg_class WHERE relkind IN ('r', 'p', 'v') AND relnamespace ="
        " coalesce(current_schema()::text, 'public')::regnamespace";
    char what[16] = "";
    enum bm_rc rc = bm_pg_ask(db, look, what, sizeof what, e);

    if (rc == BM_OK && what[0] == '\0') {
        *ret = 0;
        return BM_OK;
    }
    if (rc == BM_OK && strcmp(what, "ours") != 0)
        return bm_refuse(e, BM_MALFORMED, "not-a-registry", "is another program's database, not a registry");
    if (rc == BM_OK)
        rc = bm_pg_ask(db, "SELECT encode(value, 'escape') FROM meta WHERE key = 'schema'", what, sizeof what, e);
    if (rc == BM_OK && !number_of(what, ret))
        return bm_refuse(e, BM_MALFORMED, "not-a-registry", "tells no schema number");
    db->has_meta = rc == BM_OK;
    return rc;
}

static void close_db(struct bm_db *db)
{
    if (db == NULL)
        return;
    PQfinish(db->c);
    free(db->with_id);
    free(db->where);
    free(db);
}

static void close_dbp(struct bm_db **db)
{
    close_db(*db);
}

/* A password would stand in the configuration, in `config show` and in backups. */
static enum bm_rc check_words(const char *where, struct bm_error *e)
{
    char *why = NULL, text[120];
    PQconninfoOption *all = PQconninfoParse(where, &why);
    bool password = false;

    if (all == NULL) {
        bm_refuse(e, BM_USAGE, "bad-address", "%s", bm_pg_said(why != NULL ? why : "out of memory", text, sizeof text));
        PQfreemem(why);
        return BM_USAGE;
    }
    for (const PQconninfoOption *o = all; o->keyword != NULL; o++)
        password = password || (o->val != NULL && strcmp(o->keyword, "password") == 0);
    PQconninfoFree(all);
    if (password)
        return bm_refuse(e, BM_USAGE, "password-in-address",
                         "no password in the address: put it into a file and write passfile=FILE");
    return BM_OK;
}

static enum bm_rc db_new(const char *where, struct bm_store_options how, struct bm_db **ret, struct bm_error *e)
{
    BM_CLEANUP(close_dbp) struct bm_db *db = calloc(1, sizeof *db);
    uint8_t mark[16];

    if (db == NULL || asprintf(&db->where, "%s%s", bm_pg_begins(where, "//") ? "postgres:" : "", where) < 0)
        return bm_fail(e, BM_NOMEM, "out of memory");
    if (RAND_bytes(mark, sizeof mark) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    bm_hex(mark, sizeof mark, db->mark);
    db->read_only = how.read_only;
    db->shared = how.shared;
    *ret = BM_MOVE(db);
    return BM_OK;
}

static enum bm_rc open_db(const char *where, struct bm_store_options how, struct bm_db **ret, struct bm_error *e)
{
    BM_CLEANUP(close_dbp) struct bm_db *db = NULL;
    enum bm_rc rc = db_new(where, how, &db, e);

    if (rc == BM_OK)
        rc = check_words(db->where, e);
    if (rc == BM_OK)
        rc = bm_pg_connect(db, LOCK_WAIT_MS, e);
    if (rc == BM_OK)
        *ret = BM_MOVE(db);
    return rc;
}

/* --- hosts -------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc claim(struct bm_db *db, int64_t host_id, struct bm_error *e)
{
    enum bm_rc rc;

    db->host = host_id;
    rc = bm_pg_claim_now(db, LOCK_WAIT_MS, e);
    if (rc != BM_OK)
        db->host = 0;
    return rc;
}

static bool collided(const struct bm_db *db)
{
    return db->collided;
}

static int64_t version(const struct bm_db *db)
{
    return db->version;
}

/* --- copying ------------------------------------------------------------------------------------------------------------------ */
static void bulk(struct bm_db *db)
{
    db->bulk = db->in_transaction;
}

/* Rows came with their ids: new ones follow after the highest. */
static enum bm_rc copied(struct bm_db *db, struct bm_error *e)
{
    static const char sql[] = "DO $$ DECLARE t text; BEGIN FOR t IN SELECT c.oid::regclass::text FROM pg_class c JOIN pg_attribute "
                              "a ON a.attrelid = c.oid"
                              " WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND a.attname = 'id' AND "
                              "a.attidentity <> '' LOOP"
                              " EXECUTE format('SELECT setval(pg_get_serial_sequence(%L, ''id''), (SELECT coalesce(max(id), 0) + 1 "
                              "FROM %s), false)', t, t);"
                              " END LOOP; END $$";

    enum bm_rc rc = bm_pg_drain(db, e);

    return rc == BM_OK ? bm_pg_command(db, sql, e) : rc;
}

static void discard(struct bm_db *db)
{
    static const char sql[] =
        "DO $$ DECLARE t text; BEGIN FOR t IN SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace ="
        " current_schema()::regnamespace LOOP EXECUTE 'DROP TABLE IF EXISTS ' || t || ' CASCADE'; END LOOP; END $$";

    if (bm_pg_ready(db, NULL) == BM_OK)
        (void)bm_pg_command(db, sql, NULL);
}

const struct bm_db_driver bm_db_postgres = {
    .scheme = "postgres",
    .migrations = bm_migrations_postgres,
    .n_migrations = BM_MIGRATIONS_POSTGRES,
    .alone = bm_pg_alone,
    .claim = claim,
    .collided = collided,
    .version = version,
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
    .prepare = bm_pg_prepare,
    .bind = bm_pg_bind,
    .step = bm_pg_step,
    .reset = bm_pg_reset,
    .drop = bm_pg_drop,
    .col_int = bm_pg_col_int,
    .col_bytes = bm_pg_col_bytes,
    .col_kind = bm_pg_col_kind,
    .last_id = last_id,
    .changes = changes,
    .tables = "SELECT CAST(relname AS TEXT) FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
              " ORDER BY oid",
    .columns = "SELECT CAST(attname AS TEXT) FROM pg_attribute WHERE attrelid = CAST(CAST(? AS TEXT) AS regclass)"
               " AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
    .bulk = bulk,
    .copied = copied,
};
