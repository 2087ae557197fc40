/* What went wrong in PostgreSQL, as the outcomes that the store's callers know. */
#include "store/postgres.h"

#include "base/text.h"

#include <ctype.h>

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
const char *bm_pg_said(const char *message, char *ret, size_t room)
{
    size_t n = strlen(message);

    while (n != 0 && isspace((unsigned char)message[n - 1]))
        n--;
    bm_text_escape(bm_rd_of(message, n), ret, room);
    return ret;
}

enum bm_rc bm_pg_lost(const struct bm_db *db, struct bm_error *e)
{
    char text[120];

    return bm_refuse(e, BM_IO, "database-unreachable", "the database cannot be reached: %s",
                     bm_pg_said(db->c != NULL ? PQerrorMessage(db->c) : "out of memory", text, sizeof text));
}

bool bm_pg_gone(const struct bm_db *db)
{
    return db->c == NULL || db->broken || PQstatus(db->c) != CONNECTION_OK;
}

/* An error that is libpq's own, or that ends the session, is the end of the connection. */
static bool ends_session(const PGresult *r)
{
    const char *severity = r != NULL ? PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED) : NULL;

    return severity == NULL || strcmp(severity, "ERROR") != 0;
}

enum bm_rc bm_pg_fail(struct bm_db *db, const PGresult *r, struct bm_error *e)
{
    const char *state = r != NULL ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    char text[120];

    db->broken = db->broken || ends_session(r);
    if (bm_pg_gone(db))
        return bm_pg_lost(db, e);
    db->collided = db->collided || (state != NULL && (strncmp(state, "40", 2) == 0 || strcmp(state, "55P03") == 0));
    for (size_t i = 0; state != NULL && i < BM_COUNT(outcomes); i++)
        if (strncmp(state, outcomes[i].state, strlen(outcomes[i].state)) == 0)
            return bm_refuse(e, outcomes[i].rc, outcomes[i].word, "%s (PostgreSQL %s)", outcomes[i].what, state);
    return bm_fail(e, BM_BUG, "store: %s", bm_pg_said(PQerrorMessage(db->c), text, sizeof text));
}

bool bm_pg_good(const PGresult *r)
{
    return PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK;
}
