/* PostgreSQL under the store, over one libpq connection. What it has to make up for:
 *
 * - A failed statement aborts the whole transaction, where the contract (store/db.h) lets the caller go on after BM_CONFLICT and
 *   BM_NOTFOUND. Statements that can fail so run between SAVEPOINT and RELEASE, all three in one trip (pipeline mode).
 * - The connection can go away. Inside a transaction that is BM_IO and the transaction is lost; the next one connects again, with
 *   waits that grow up to BACKOFF_MAX_MS.
 * - Nobody else may write meanwhile: a writer holds an advisory lock, and leaves its mark in meta("writer"), so that one that comes
 *   back after somebody else has written finds out and refuses to go on with what it remembers. */
#include "base/clock.h"
#include "base/text.h"
#include "store/db.h"
#include "store/migrations.h"

#include <ctype.h>
#include <libpq-fe.h>
#include <malloc.h>
#include <openssl/rand.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PARAMS_MAX = 40,
    FETCH_ROWS = 256,
    QUEUE_MAX = 256,
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 5000,
    LOCK_WAIT_MS = 5000,
    LOCK_STEP_MS = 100
};
enum { OID_BYTEA = 17, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_TEXT = 25 }; /* pg_type.dat; fixed for ever */

struct bm_db {
    PGconn *c;
    char *where; /* conninfo or URI */
    bool read_only;
    bool broken; /* libpq may notice later than we do */
    bool in_transaction, snapshot;
    bool bulk;       /* rows are copied in: whatever fails fails the whole */
    unsigned queued; /* of them on their way, in pipeline mode */
    bool has_meta;
    bool marked, marking; /* meta("writer") holds our mark; will once this transaction is committed */
    bool replaced;        /* somebody else has written: nothing but a restart helps */
    char mark[33];
    char *with_id;       /* tables whose rows have an id, blank-separated; NULL: not looked up yet */
    uint64_t generation; /* of the connection: statements prepared on an earlier one are prepared again */
    uint64_t names;
    int64_t last_id, changes;
    int64_t next_try_ms, wait_ms;
};

struct bm_stmt {
    struct bm_db *db;
    char *text; /* with $1, $2 ... */
    int n_places;
    bool writes, guarded, gives_id;
    char name[32];
    uint64_t generation; /* 0: not on the server */
    bool cursor, ran, ended;
    PGresult *r;
    int row;
    int n;
    Oid types[PARAMS_MAX];
    const char *values[PARAMS_MAX];
    int lengths[PARAMS_MAX], formats[PARAMS_MAX];
    uint8_t ints[PARAMS_MAX][8];
};

static void result_freep(PGresult **r)
{
    PQclear(*r);
}
#define RESULT BM_CLEANUP(result_freep) PGresult

/* --- errors ------------------------------------------------------------------------------------------------------------------- */
static const struct {
    const char *state; /* SQLSTATE or the first characters of it; the first row that fits counts */
    enum bm_rc rc;
    const char *word, *what;
} outcomes[] = {
    { "23505", BM_CONFLICT, "", "a unique value is already taken" },
    { "23503", BM_NOTFOUND, "", "refers to a row that is not there" },
    { "22021", BM_MALFORMED, "", "text that is not UTF-8" },
    { "25006", BM_IO, "read-only", "the database takes no writes: it is a standby, or set read-only" },
    { "28", BM_IO, "database-denied", "the database does not let us in" },
    { "3D", BM_IO, "cannot-open", "there is no such database" },
    { "40", BM_IO, "database-busy", "the database gave the transaction up" },
    { "42501", BM_IO, "database-denied", "the database user may not do this" },
    { "53100", BM_IO, "disk-full", "the database's disk is full" },
    { "53200", BM_IO, "disk-error", "the database is out of memory" },
    { "53", BM_IO, "database-busy", "the database has no room for another connection" },
    { "55P03", BM_IO, "database-busy", "the table is in use" },
    { "57", BM_IO, "database-unreachable", "the database is shutting down, starting, or has cancelled the statement" },
    { "08", BM_IO, "database-unreachable", "the connection to the database was lost" },
    { "58", BM_IO, "disk-error", "the database reports an error of its disk" },
    { "XX00", BM_IO, "database-damaged", "the database is damaged: restore it from a backup" },
};

/* The server's sentence without its line ends, for the operator. */
static const char *said(const char *message, char *ret, size_t room)
{
    size_t n = strlen(message);

    while (n != 0 && isspace((unsigned char)message[n - 1]))
        n--;
    bm_text_escape(bm_rd_of(message, n), ret, room);
    return ret;
}

static enum bm_rc lost(const struct bm_db *db, struct bm_error *e)
{
    char text[120];

    return bm_refuse(e, BM_IO, "database-unreachable", "the database cannot be reached: %s",
                     said(db->c != NULL ? PQerrorMessage(db->c) : "out of memory", text, sizeof text));
}

static bool gone(const struct bm_db *db)
{
    return db->c == NULL || db->broken || PQstatus(db->c) != CONNECTION_OK;
}

/* An error that is libpq's own, or that ends the session, is the end of the connection. */
static bool ends_session(const PGresult *r)
{
    const char *severity = r != NULL ? PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED) : NULL;

    return severity == NULL || strcmp(severity, "ERROR") != 0;
}

static enum bm_rc fail(struct bm_db *db, const PGresult *r, struct bm_error *e)
{
    const char *state = r != NULL ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    char text[120];

    db->broken = db->broken || ends_session(r);
    if (gone(db))
        return lost(db, e);
    for (size_t i = 0; state != NULL && i < BM_COUNT(outcomes); i++)
        if (strncmp(state, outcomes[i].state, strlen(outcomes[i].state)) == 0)
            return bm_refuse(e, outcomes[i].rc, outcomes[i].word, "%s (PostgreSQL %s)", outcomes[i].what, state);
    return bm_fail(e, BM_BUG, "store: %s", said(PQerrorMessage(db->c), text, sizeof text));
}

static bool good(const PGresult *r)
{
    return PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK;
}

/* --- one-off commands --------------------------------------------------------------------------------------------------------- */
static enum bm_rc command(struct bm_db *db, const char *sql, struct bm_error *e)
{
    RESULT *r = PQexec(db->c, sql);

    return good(r) ? BM_OK : fail(db, r, e);
}

/* The first column of the first row as text; "" when there is none. */
static enum bm_rc ask(struct bm_db *db, const char *sql, char *ret, size_t room, struct bm_error *e)
{
    RESULT *r = PQexec(db->c, sql);

    if (!good(r))
        return fail(db, r, e);
    snprintf(ret, room, "%s", PQntuples(r) != 0 ? PQgetvalue(r, 0, 0) : "");
    return BM_OK;
}

/* --- the connection ----------------------------------------------------------------------------------------------------------- */
/* Ours come first, so that the operator's words win. A dead peer is noticed in 20 s, not in two hours. */
static PGconn *dial(const char *where)
{
    const char *const keys[] = {
        "connect_timeout", "tcp_user_timeout", "keepalives_idle", "fallback_application_name", "dbname", "client_encoding", NULL
    };
    const char *const values[] = { "5", "20000", "10", "birthmark", where, "UTF8", NULL };

    return PQconnectdbParams(keys, values, 1);
}

static void silent(void *arg, const PGresult *r)
{
    (void)arg, (void)r;
}

enum { SERVER_OLDEST = 130000 };

static enum bm_rc check_server(struct bm_db *db, struct bm_error *e)
{
    const char *encoding = PQparameterStatus(db->c, "server_encoding");

    if (PQserverVersion(db->c) < SERVER_OLDEST)
        return bm_refuse(e, BM_USAGE, "database-unfit", "needs PostgreSQL 13 or newer, not %d", PQserverVersion(db->c) / 10000);
    if (encoding == NULL || strcmp(encoding, "UTF8") != 0)
        return bm_refuse(e, BM_USAGE, "database-unfit", "needs a database in UTF8: createdb --encoding UTF8 --template template0");
    return BM_OK;
}

/* A commit that returned must survive a power loss, and backslashes are just characters, whatever the server's settings say. */
static enum bm_rc set_up(struct bm_db *db, struct bm_error *e)
{
    char commits[24];
    enum bm_rc rc =
        command(db, db->read_only ? "SET default_transaction_read_only = on" : "SET standard_conforming_strings = on", e);

    if (rc == BM_OK)
        rc = ask(db, "SHOW synchronous_commit", commits, sizeof commits, e);
    if (rc == BM_OK && strcmp(commits, "off") == 0)
        rc = command(db, "SET synchronous_commit = on", e);
    return rc;
}

/* One writer per schema of a database. The lock ends with its session; that of one killed just now may need a moment. */
static enum bm_rc lock_out_others(struct bm_db *db, int64_t patience_ms, struct bm_error *e)
{
    static const char sql[] =
        "SELECT pg_try_advisory_lock(1112363595, hashtext(coalesce(current_schema()::text, '')))"; /* "BMRK" */
    int64_t until = bm_clock_steady_ms() + patience_ms;
    char got[8];

    for (;;) {
        enum bm_rc rc = ask(db, sql, got, sizeof got, e);

        if (rc != BM_OK || got[0] == 't')
            return rc;
        if (bm_clock_steady_ms() >= until)
            return bm_refuse(e, BM_CONFLICT, "in-use", "another birthmark process has this registry open");
        (void)poll(NULL, 0, LOCK_STEP_MS);
    }
}

/* Was it still ours that wrote last? Only asked once our mark is there. */
static enum bm_rc check_mark(struct bm_db *db, struct bm_error *e)
{
    char mark[80];
    enum bm_rc rc =
        db->marked ? ask(db, "SELECT encode(value, 'escape') FROM meta WHERE key = 'writer'", mark, sizeof mark, e) : BM_OK;

    if (rc != BM_OK || !db->marked || strcmp(mark, db->mark) == 0)
        return rc;
    db->replaced = true;
    return BM_OK;
}

static enum bm_rc connect_now(struct bm_db *db, int64_t patience_ms, struct bm_error *e)
{
    enum bm_rc rc;

    PQfinish(db->c);
    db->c = dial(db->where);
    db->broken = false;
    if (gone(db))
        return lost(db, e);
    (void)PQsetNoticeReceiver(db->c, silent, NULL);
    db->generation++;
    db->queued = 0;
    db->in_transaction = db->snapshot = false;
    rc = check_server(db, e);
    if (rc == BM_OK)
        rc = set_up(db, e);
    if (rc == BM_OK && !db->read_only)
        rc = lock_out_others(db, patience_ms, e);
    return rc == BM_OK ? check_mark(db, e) : rc;
}

static enum bm_rc connect_again(struct bm_db *db, struct bm_error *e)
{
    enum bm_rc rc;

    if (bm_clock_steady_ms() < db->next_try_ms)
        return bm_refuse(e, BM_IO, "database-unreachable", "the database cannot be reached; the next try follows shortly");
    rc = connect_now(db, 0, e);
    if (rc == BM_OK) {
        db->wait_ms = 0;
        return BM_OK;
    }
    PQfinish(db->c); /* half a session is none */
    db->c = NULL;
    db->wait_ms = db->wait_ms == 0 ? BACKOFF_MIN_MS : db->wait_ms * 2 < BACKOFF_MAX_MS ? db->wait_ms * 2 : BACKOFF_MAX_MS;
    db->next_try_ms = bm_clock_steady_ms() + db->wait_ms;
    return bm_wrap(e, BM_IO, "connecting again");
}

/* A connection to work on: the one there is, or outside a transaction a new one. */
static enum bm_rc ready(struct bm_db *db, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    if (gone(db) && (db->in_transaction || db->snapshot))
        return bm_refuse(e, BM_IO, "database-unreachable",
                         "the connection to the database was lost in the middle of a transaction");
    if (gone(db))
        rc = connect_again(db, e);
    if (rc == BM_OK && db->replaced)
        return bm_refuse(e, BM_IO, "registry-replaced",
                         "another process has written to the registry while we had lost it: stop this server and start it again");
    return rc;
}

/* --- statements --------------------------------------------------------------------------------------------------------------- */
/* These cannot run into a taken value or a missing row by anything but damage, so they go without a savepoint. */
static const char *const surefooted[] = {
    "INSERT INTO meta ",        "INSERT INTO tally ",     "INSERT INTO audit_leaf ",    "INSERT INTO audit_tile ",
    "INSERT INTO tree_head ",   "INSERT INTO refusal ",   "UPDATE device SET state = ", "UPDATE device SET last_credential = ",
    "UPDATE batch SET used = ", "UPDATE credential SET ", "DELETE FROM refusal ",
};

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool needs_guard(const char *text)
{
    for (size_t i = 0; i < BM_COUNT(surefooted); i++)
        if (begins(text, surefooted[i]))
            return false;
    return true;
}

/* `?` outside of '...' becomes $n. */
static char *number_places(const char *text, int *ret_n)
{
    size_t room = strlen(text) * 3 + sizeof " RETURNING id";
    struct bm_wr w = bm_wr_of(malloc(room), room - 1);
    bool quoted = false;
    char place[16];

    *ret_n = 0;
    if (w.p == NULL)
        return NULL;
    for (const char *p = text; *p != '\0'; p++) {
        quoted ^= *p == '\'';
        if (*p != '?' || quoted) {
            bm_wr_put(&w, p, 1);
            continue;
        }
        snprintf(place, sizeof place, "$%d", ++*ret_n);
        bm_wr_str(&w, place);
    }
    w.p[w.n] = '\0';
    return (char *)w.p;
}

static void unprepare(struct bm_stmt *st)
{
    char sql[64];

    if (st->generation == 0 || gone(st->db) || st->db->queued != 0 || st->generation != st->db->generation)
        return;
    snprintf(sql, sizeof sql, "DEALLOCATE %s", st->name);
    PQclear(PQexec(st->db->c, sql));
}

static void reset(struct bm_stmt *st)
{
    char sql[64];

    if (st->cursor && !gone(st->db) && (st->db->snapshot || st->db->bulk) && st->db->queued == 0) {
        snprintf(sql, sizeof sql, "CLOSE %s", st->name);
        PQclear(PQexec(st->db->c, sql));
    }
    PQclear(BM_MOVE(st->r));
    st->row = 0;
    st->cursor = st->ran = st->ended = false;
}

static void drop(struct bm_stmt *st)
{
    if (st == NULL)
        return;
    reset(st);
    unprepare(st);
    free(st->text);
    free(st);
}

static enum bm_rc prepare(struct bm_db *db, const char *text, struct bm_stmt **ret, struct bm_error *e)
{
    struct bm_stmt *st = calloc(1, sizeof *st);

    if (st != NULL)
        st->text = number_places(text, &st->n_places);
    if (st == NULL || st->text == NULL) {
        free(st);
        return bm_fail(e, BM_NOMEM, "out of memory");
    }
    st->db = db;
    st->writes = begins(text, "INSERT") || begins(text, "UPDATE") || begins(text, "DELETE");
    st->guarded = st->writes && needs_guard(text);
    snprintf(st->name, sizeof st->name, "bm_%llx", (unsigned long long)++db->names);
    *ret = st;
    return BM_OK;
}

/* PostgreSQL's text holds neither zero bytes nor anything but UTF-8 (RFC 3629); better told now than as a lost transaction. */
static bool text_fits(struct bm_rd t)
{
    while (t.n != 0) {
        uint8_t c = t.p[0];
        size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;

        if (c == 0 || n == 0 || n > t.n)
            return false;
        for (size_t i = 1; i < n; i++)
            if ((t.p[i] & 0xc0) != 0x80)
                return false;
        if ((c == 0xe0 && t.p[1] < 0xa0) || (c == 0xed && t.p[1] > 0x9f) || (c == 0xf0 && t.p[1] < 0x90) ||
            (c == 0xf4 && t.p[1] > 0x8f))
            return false;
        t = bm_rd_of(t.p + n, t.n - n);
    }
    return true;
}

static void put_int(uint8_t to[8], int64_t v)
{
    struct bm_wr w = bm_wr_of(to, 8);

    bm_wr_uint(&w, 8, (uint64_t)v);
}

static enum bm_rc bind_one(struct bm_stmt *st, size_t i, const struct bm_arg *a, struct bm_error *e)
{
    static const Oid types[] = { [BM_ARG_NULL] = 0, [BM_ARG_INT] = OID_INT8, [BM_ARG_BLOB] = OID_BYTEA, [BM_ARG_TEXT] = OID_TEXT };

    if (a->kind == BM_ARG_TEXT && !text_fits(a->b))
        return bm_fail(e, BM_MALFORMED, "store: text that is not UTF-8, or holds a zero byte");
    if (a->b.n > INT32_MAX)
        return bm_fail(e, BM_LIMIT, "a value is too large");
    st->types[i] = types[a->kind];
    st->formats[i] = 1;
    st->values[i] = a->b.p != NULL ? (const char *)a->b.p : "";
    st->lengths[i] = (int)a->b.n;
    if (a->kind == BM_ARG_NULL)
        st->values[i] = NULL;
    if (a->kind == BM_ARG_INT) {
        put_int(st->ints[i], a->i);
        st->values[i] = (const char *)st->ints[i];
        st->lengths[i] = 8;
    }
    return BM_OK;
}

static enum bm_rc bind(struct bm_stmt *st, struct bm_args args, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    if ((size_t)st->n_places != args.n || args.n > PARAMS_MAX)
        return bm_fail(e, BM_BUG, "store: %zu values for %d places", args.n, st->n_places);
    for (size_t i = 0; rc == BM_OK && i < args.n; i++)
        rc = bind_one(st, i, &args.p[i], e);
    st->n = (int)args.n;
    return rc;
}

/* --- ids of new rows ---------------------------------------------------------------------------------------------------------- */
static enum bm_rc learn_ids(struct bm_db *db, struct bm_error *e)
{
    static const char sql[] = "SELECT ' ' || coalesce(string_agg(c.relname, ' '), '') || ' ' FROM pg_class c JOIN pg_attribute a ON"
                              " a.attrelid = c.oid WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND"
                              " a.attname = 'id' AND a.attidentity <> ''";
    char names[1024];
    enum bm_rc rc = db->with_id == NULL ? ask(db, sql, names, sizeof names, e) : BM_OK;

    if (rc == BM_OK && db->with_id == NULL && (db->with_id = strdup(names)) == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    return rc;
}

/* An INSERT into a table with ids says which it gave. */
static enum bm_rc add_returning(struct bm_stmt *st, struct bm_error *e)
{
    static const char into[] = "INSERT INTO ";
    char name[64];
    enum bm_rc rc;

    if (st->gives_id || !begins(st->text, into))
        return BM_OK;
    rc = learn_ids(st->db, e);
    if (rc != BM_OK)
        return rc;
    snprintf(name, sizeof name, " %.*s ", (int)strcspn(st->text + strlen(into), " "), st->text + strlen(into));
    st->gives_id = strstr(st->db->with_id, name) != NULL;
    if (st->gives_id)
        memcpy(st->text + strlen(st->text), " RETURNING id", sizeof " RETURNING id"); /* number_places() left room */
    return BM_OK;
}

/* --- running ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc on_server(struct bm_stmt *st, struct bm_error *e)
{
    struct bm_db *db = st->db;
    enum bm_rc rc;

    if (st->generation == db->generation)
        return BM_OK;
    rc = add_returning(st, e);
    if (rc != BM_OK)
        return rc;
    {
        RESULT *r = PQprepare(db->c, st->name, st->text, st->n, st->types);

        if (!good(r))
            return fail(db, r, e);
    }
    st->generation = db->generation;
    return BM_OK;
}

static int64_t col_int_of(const PGresult *r, int row, int i)
{
    const uint8_t *p = (const uint8_t *)PQgetvalue(r, row, i);
    uint64_t v = 0;
    int n = PQgetlength(r, row, i);

    if (PQgetisnull(r, row, i) || n > 8)
        return 0;
    for (int k = 0; k < n; k++)
        v = v << 8 | p[k];
    return n == 8 ? (int64_t)v : n == 4 ? (int32_t)v : n == 2 ? (int16_t)v : (int64_t)v;
}

/* What a failure leaves of a transaction that has no savepoint: nothing. */
static enum bm_rc take(struct bm_stmt *st, PGresult *r, struct bm_error *e)
{
    struct bm_db *db = st->db;
    enum bm_rc rc;

    if (!good(r)) {
        rc = fail(db, r, e);
        PQclear(r);
        return rc;
    }
    st->r = r;
    st->ran = true;
    st->row = -1;
    if (st->writes) {
        db->changes = strtoll(PQcmdTuples(r), NULL, 10);
        if (st->gives_id && PQntuples(r) > 0)
            db->last_id = col_int_of(r, 0, 0);
    }
    return BM_OK;
}

static enum bm_rc run_plain(struct bm_stmt *st, struct bm_error *e)
{
    struct bm_db *db = st->db;
    enum bm_rc rc = take(st, PQexecPrepared(db->c, st->name, st->n, st->values, st->lengths, st->formats, 1), e);

    if (rc != BM_OK && !gone(db) && PQtransactionStatus(db->c) == PQTRANS_INERROR)
        return bm_wrap(e, rc == BM_BUG ? rc : BM_IO, "the transaction is lost");
    return rc;
}

/* Of each command in the pipeline: its result, then a NULL. */
static PGresult *next_result(PGconn *c)
{
    PGresult *r = PQgetResult(c);

    if (r != NULL && PQresultStatus(r) != PGRES_PIPELINE_SYNC)
        PQclear(PQgetResult(c));
    return r;
}

static bool send_guarded(struct bm_stmt *st)
{
    PGconn *c = st->db->c;

    return PQsendQueryParams(c, "SAVEPOINT bm", 0, NULL, NULL, NULL, NULL, 1) == 1 &&
           PQsendQueryPrepared(c, st->name, st->n, st->values, st->lengths, st->formats, 1) == 1 &&
           PQsendQueryParams(c, "RELEASE SAVEPOINT bm", 0, NULL, NULL, NULL, NULL, 1) == 1 && PQpipelineSync(c) == 1;
}

static enum bm_rc run_guarded(struct bm_stmt *st, struct bm_error *e)
{
    struct bm_db *db = st->db;
    enum bm_rc rc;

    if (PQenterPipelineMode(db->c) != 1)
        return bm_fail(e, BM_BUG, "store: no pipeline");
    if (!send_guarded(st))
        rc = lost(db, e);
    else {
        PQclear(next_result(db->c));
        rc = take(st, next_result(db->c), e);
        PQclear(next_result(db->c));
        PQclear(next_result(db->c)); /* the sync */
    }
    if (gone(db))
        return lost(db, e);
    if (PQexitPipelineMode(db->c) != 1)
        return bm_fail(e, BM_IO, "store: the pipeline did not end");
    if (rc != BM_OK && command(db, "ROLLBACK TO SAVEPOINT bm; RELEASE SAVEPOINT bm", NULL) != BM_OK)
        return bm_wrap(e, BM_IO, "the transaction is lost");
    return rc;
}

/* In a snapshot results may be as large as the registry: they come through a cursor. */
static enum bm_rc open_cursor(struct bm_stmt *st, struct bm_error *e)
{
    struct bm_db *db = st->db;
    size_t room = strlen(st->text) + 64;
    char *sql = malloc(room);
    PGresult *r;
    enum bm_rc rc;

    if (sql == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    snprintf(sql, room, "DECLARE %s NO SCROLL CURSOR FOR %s", st->name, st->text);
    r = PQexecParams(db->c, sql, st->n, st->types, st->values, st->lengths, st->formats, 1);
    rc = good(r) ? BM_OK : fail(db, r, e);
    PQclear(r);
    free(sql);
    st->cursor = st->ran = rc == BM_OK;
    st->row = -1;
    return rc;
}

static enum bm_rc fetch(struct bm_stmt *st, struct bm_error *e)
{
    char sql[64];

    PQclear(BM_MOVE(st->r));
    snprintf(sql, sizeof sql, "FETCH %d FROM %s", FETCH_ROWS, st->name);
    st->r = PQexecParams(st->db->c, sql, 0, NULL, NULL, NULL, NULL, 1);
    st->row = 0;
    return good(st->r) ? BM_OK : fail(st->db, st->r, e);
}

/* --- rows on their way -------------------------------------------------------------------------------------------------------- */
/* Takes the outcomes of what was queued, and leaves pipeline mode. */
static enum bm_rc drain(struct bm_db *db, struct bm_error *e)
{
    unsigned n = db->queued;
    enum bm_rc rc = BM_OK;

    if (n == 0)
        return BM_OK;
    db->queued = 0;
    if (PQpipelineSync(db->c) != 1)
        return lost(db, e);
    for (unsigned i = 0; i < n; i++) {
        RESULT *r = next_result(db->c);

        if (rc == BM_OK && !good(r))
            rc = fail(db, r, e);
    }
    PQclear(next_result(db->c)); /* the sync */
    if (rc == BM_OK && PQexitPipelineMode(db->c) != 1)
        return lost(db, e);
    return rc;
}

/* Many rows in one trip; libpq has copied the values when this returns. */
static enum bm_rc queue(struct bm_stmt *st, struct bm_error *e)
{
    struct bm_db *db = st->db;

    if (db->queued == 0 && PQenterPipelineMode(db->c) != 1)
        return lost(db, e);
    if (PQsendQueryPrepared(db->c, st->name, st->n, st->values, st->lengths, st->formats, 1) != 1)
        return lost(db, e);
    st->ran = true;
    return ++db->queued == QUEUE_MAX ? drain(db, e) : BM_OK;
}

static enum bm_rc run_bulk(struct bm_stmt *st, struct bm_error *e)
{
    bool new = st->generation != st->db->generation;
    enum bm_rc rc = !st->writes || new ? drain(st->db, e) : BM_OK;

    if (rc == BM_OK && !st->writes)
        return open_cursor(st, e);
    if (rc == BM_OK)
        rc = on_server(st, e);
    return rc == BM_OK ? queue(st, e) : rc;
}

static enum bm_rc run_once(struct bm_stmt *st, struct bm_error *e)
{
    struct bm_db *db = st->db;
    enum bm_rc rc = ready(db, e);

    if (rc == BM_OK && db->snapshot)
        return open_cursor(st, e);
    if (rc == BM_OK && db->bulk)
        return run_bulk(st, e);
    if (rc == BM_OK)
        rc = on_server(st, e);
    if (rc != BM_OK)
        return rc;
    return st->guarded && db->in_transaction ? run_guarded(st, e) : run_plain(st, e);
}

/* Outside a transaction a connection that turns out to be dead is made again once. */
static enum bm_rc run(struct bm_stmt *st, struct bm_error *e)
{
    bool alone = !st->db->in_transaction && !st->db->snapshot;
    enum bm_rc rc = run_once(st, e);

    return rc != BM_OK && alone && st->db->c != NULL && gone(st->db) ? run_once(st, e) : rc;
}

static enum bm_rc step(struct bm_stmt *st, bool *ret_row, struct bm_error *e)
{
    enum bm_rc rc = st->ran ? BM_OK : run(st, e);

    if (rc != BM_OK)
        return rc;
    st->row++;
    if (st->cursor && !st->ended && (st->r == NULL || st->row >= PQntuples(st->r))) {
        rc = fetch(st, e);
        st->ended = rc != BM_OK || PQntuples(st->r) == 0;
    }
    *ret_row = rc == BM_OK && !st->writes && !st->ended && st->row < PQntuples(st->r);
    return rc;
}

static int64_t col_int(struct bm_stmt *st, int i)
{
    return col_int_of(st->r, st->row, i);
}

static struct bm_rd col_bytes(struct bm_stmt *st, int i)
{
    if (PQgetisnull(st->r, st->row, i))
        return bm_rd_of(NULL, 0);
    return bm_rd_of(PQgetvalue(st->r, st->row, i), (size_t)PQgetlength(st->r, st->row, i));
}

static enum bm_arg_kind col_kind(struct bm_stmt *st, int i)
{
    Oid type = PQftype(st->r, i);

    if (PQgetisnull(st->r, st->row, i))
        return BM_ARG_NULL;
    if (type == OID_INT8 || type == OID_INT4 || type == OID_INT2)
        return BM_ARG_INT;
    return type == OID_BYTEA ? BM_ARG_BLOB : BM_ARG_TEXT;
}

static int64_t last_id(struct bm_db *db)
{
    return db->last_id;
}

static int64_t changes(struct bm_db *db)
{
    return db->changes;
}

/* --- transactions ------------------------------------------------------------------------------------------------------------- */
static enum bm_rc leave_mark(struct bm_db *db, struct bm_error *e)
{
    char sql[200];

    db->marking = db->has_meta && !db->marked;
    if (!db->marking)
        return BM_OK;
    snprintf(sql, sizeof sql,
             "INSERT INTO meta (key, value) VALUES ('writer', decode('%s', 'escape')) ON CONFLICT (key) DO UPDATE SET value = "
             "excluded.value",
             db->mark);
    return command(db, sql, e);
}

static enum bm_rc begin_once(struct bm_db *db, const char *sql, struct bm_error *e)
{
    enum bm_rc rc = ready(db, e);

    return rc == BM_OK ? command(db, sql, e) : rc;
}

static enum bm_rc begin_as(struct bm_db *db, const char *sql, struct bm_error *e)
{
    enum bm_rc rc = begin_once(db, sql, e);

    return rc != BM_OK && db->c != NULL && gone(db) ? begin_once(db, sql, e) : rc;
}

static void rollback(struct bm_db *db)
{
    if (!gone(db) && PQpipelineStatus(db->c) != PQ_PIPELINE_OFF) {
        (void)drain(db, NULL);
        (void)PQexitPipelineMode(db->c);
    }
    if (!gone(db) && PQtransactionStatus(db->c) != PQTRANS_IDLE)
        PQclear(PQexec(db->c, "ROLLBACK"));
    db->in_transaction = db->snapshot = db->marking = db->bulk = false;
}

static enum bm_rc begin(struct bm_db *db, struct bm_error *e)
{
    enum bm_rc rc = begin_as(db, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", e);

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
    enum bm_rc rc = drain(db, e);
    RESULT *r = rc == BM_OK ? PQexec(db->c, "COMMIT") : NULL;

    if (rc != BM_OK)
        return rc;
    if (!good(r))
        return fail(db, r, e);
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

/* --- opening ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc script(struct bm_db *db, const char *sql, struct bm_error *e)
{
    enum bm_rc rc = command(db, sql, e);

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
    enum bm_rc rc = ask(db, look, what, sizeof what, e);

    if (rc == BM_OK && what[0] == '\0') {
        *ret = 0;
        return BM_OK;
    }
    if (rc == BM_OK && strcmp(what, "ours") != 0)
        return bm_refuse(e, BM_MALFORMED, "not-a-registry", "is another program's database, not a registry");
    if (rc == BM_OK)
        rc = ask(db, "SELECT encode(value, 'escape') FROM meta WHERE key = 'schema'", what, sizeof what, e);
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
        bm_refuse(e, BM_USAGE, "bad-address", "%s", said(why != NULL ? why : "out of memory", text, sizeof text));
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

    if (db == NULL || asprintf(&db->where, "%s%s", begins(where, "//") ? "postgres:" : "", where) < 0)
        return bm_fail(e, BM_NOMEM, "out of memory");
    if (RAND_bytes(mark, sizeof mark) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    bm_hex(mark, sizeof mark, db->mark);
    db->read_only = how.read_only;
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
        rc = connect_now(db, LOCK_WAIT_MS, e);
    if (rc == BM_OK)
        *ret = BM_MOVE(db);
    return rc;
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

    enum bm_rc rc = drain(db, e);

    return rc == BM_OK ? command(db, sql, e) : rc;
}

static void discard(struct bm_db *db)
{
    static const char sql[] =
        "DO $$ DECLARE t text; BEGIN FOR t IN SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace ="
        " current_schema()::regnamespace LOOP EXECUTE 'DROP TABLE IF EXISTS ' || t || ' CASCADE'; END LOOP; END $$";

    if (ready(db, NULL) == BM_OK)
        (void)command(db, sql, NULL);
}

const struct bm_db_driver bm_db_postgres = {
    .scheme = "postgres",
    .migrations = bm_migrations_postgres,
    .n_migrations = BM_MIGRATIONS_POSTGRES,
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
    .tables = "SELECT CAST(relname AS TEXT) FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
              " ORDER BY oid",
    .columns = "SELECT CAST(attname AS TEXT) FROM pg_attribute WHERE attrelid = CAST(CAST(? AS TEXT) AS regclass)"
               " AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
    .bulk = bulk,
    .copied = copied,
};
