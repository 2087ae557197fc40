/* The connection: made, made again with waits that grow, and closed to a second writer. */
#include "store/postgres.h"

#include "base/clock.h"

#include <poll.h>
#include <stdio.h>

enum { BACKOFF_MIN_MS = 100, BACKOFF_MAX_MS = 5000, LOCK_STEP_MS = 100 };

/* --- one-off commands --------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_pg_command(struct bm_db *db, const char *sql, struct bm_error *e)
{
    BM_PG_RESULT *r = PQexec(db->c, sql);

    return bm_pg_good(r) ? BM_OK : bm_pg_fail(db, r, e);
}

enum bm_rc bm_pg_ask(struct bm_db *db, const char *sql, char *ret, size_t room, struct bm_error *e)
{
    BM_PG_RESULT *r = PQexec(db->c, sql);

    if (!bm_pg_good(r))
        return bm_pg_fail(db, r, e);
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

/* Among several hosts: who waits for a row of another's transaction gives up soon and tries again, which also ends deadlocks; and who stops in
 * the middle of a transaction, or loses its power there, does not hold the others up for long. */
static const char manners[] =
    "SET lock_timeout = '250ms'; SET idle_in_transaction_session_timeout = '20s'; SET tcp_keepalives_idle = 10;"
    " SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 2";

/* A commit that returned must survive a power loss, and backslashes are just characters, whatever the server's settings say. */
static enum bm_rc set_up(struct bm_db *db, struct bm_error *e)
{
    char commits[24] = "";
    enum bm_rc rc =
        bm_pg_command(db, db->read_only ? "SET default_transaction_read_only = on" : "SET standard_conforming_strings = on", e);

    if (rc == BM_OK)
        rc = bm_pg_ask(db, "SHOW synchronous_commit", commits, sizeof commits, e);
    if (rc == BM_OK && strcmp(commits, "off") == 0)
        rc = bm_pg_command(db, "SET synchronous_commit = on", e);
    if (rc == BM_OK && db->shared)
        rc = bm_pg_command(db, manners, e);
    return rc;
}

#define SCHEMA "coalesce(current_schema()::text, '')"
#define REGISTRY "1112363595, hashtext(" SCHEMA ")" /* "BMRK" */

/* A lock ends with its session; that of one killed just now may need a moment. */
static enum bm_rc lock(struct bm_db *db, const char *sql, int64_t patience_ms, struct bm_error *e)
{
    int64_t until = bm_clock_steady_ms() + patience_ms;
    char got[8] = "";

    for (;;) {
        enum bm_rc rc = bm_pg_ask(db, sql, got, sizeof got, e);

        if (rc != BM_OK || got[0] == 't')
            return rc;
        if (bm_clock_steady_ms() >= until)
            return bm_refuse(e, BM_CONFLICT, "in-use", "another birthmark process has this registry open");
        (void)poll(NULL, 0, LOCK_STEP_MS);
    }
}

/* One writer per schema of a database, or several that all know of each other. */
static enum bm_rc lock_registry(struct bm_db *db, int64_t patience_ms, struct bm_error *e)
{
    return lock(db, db->shared ? "SELECT pg_try_advisory_lock_shared(" REGISTRY ")" : "SELECT pg_try_advisory_lock(" REGISTRY ")",
                patience_ms, e);
}

enum bm_rc bm_pg_claim_now(struct bm_db *db, int64_t patience_ms, struct bm_error *e)
{
    char sql[160];

    snprintf(sql, sizeof sql, "SELECT pg_try_advisory_lock(1112363596, hashtext(" SCHEMA " || '/%lld'))", (long long)db->host);
    return db->host != 0 ? lock(db, sql, patience_ms, e) : BM_OK;
}

/* A session's own locks do not stand in its way. */
enum bm_rc bm_pg_alone(struct bm_db *db, bool on, struct bm_error *e)
{
    char got[8] = "";

    return on ? lock(db, "SELECT pg_try_advisory_lock(" REGISTRY ")", 0, e)
              : bm_pg_ask(db, "SELECT pg_advisory_unlock(" REGISTRY ")", got, sizeof got, e);
}

const char *bm_pg_mark_key(const struct bm_db *db, char ret[32])
{
    snprintf(ret, 32, db->host != 0 ? "writer:%lld" : "writer", (long long)db->host);
    return ret;
}

/* Was it still ours that wrote last? Only asked once our mark is there. */
static enum bm_rc check_mark(struct bm_db *db, struct bm_error *e)
{
    char mark[80] = "", key[32], sql[120];
    enum bm_rc rc;

    snprintf(sql, sizeof sql, "SELECT encode(value, 'escape') FROM meta WHERE key = '%s'", bm_pg_mark_key(db, key));
    rc = db->marked ? bm_pg_ask(db, sql, mark, sizeof mark, e) : BM_OK;

    if (rc != BM_OK || !db->marked || strcmp(mark, db->mark) == 0)
        return rc;
    db->replaced = true;
    return BM_OK;
}

enum bm_rc bm_pg_connect(struct bm_db *db, int64_t patience_ms, struct bm_error *e)
{
    enum bm_rc rc;

    PQfinish(db->c);
    db->c = dial(db->where);
    db->broken = false;
    if (bm_pg_gone(db))
        return bm_pg_lost(db, e);
    (void)PQsetNoticeReceiver(db->c, silent, NULL);
    db->generation++;
    db->queued = 0;
    db->in_transaction = db->snapshot = false;
    rc = check_server(db, e);
    if (rc == BM_OK)
        rc = set_up(db, e);
    if (rc == BM_OK && !db->read_only)
        rc = lock_registry(db, patience_ms, e);
    if (rc == BM_OK)
        rc = bm_pg_claim_now(db, patience_ms, e);
    return rc == BM_OK ? check_mark(db, e) : rc;
}

static enum bm_rc connect_again(struct bm_db *db, struct bm_error *e)
{
    enum bm_rc rc;

    if (bm_clock_steady_ms() < db->next_try_ms)
        return bm_refuse(e, BM_IO, "database-unreachable", "the database cannot be reached; the next try follows shortly");
    rc = bm_pg_connect(db, 0, e);
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

enum bm_rc bm_pg_ready(struct bm_db *db, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    if (bm_pg_gone(db) && (db->in_transaction || db->snapshot))
        return bm_refuse(e, BM_IO, "database-unreachable",
                         "the connection to the database was lost in the middle of a transaction");
    if (bm_pg_gone(db))
        rc = connect_again(db, e);
    if (rc == BM_OK && db->replaced)
        return bm_refuse(e, BM_IO, "registry-replaced",
                         "another process has written to the registry while we had lost it: stop this server and start it again");
    return rc;
}
