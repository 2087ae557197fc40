/* A PostgreSQL server of the test's own: in a folder under /tmp, on a socket in that folder, gone at the end. initdb refuses root, so
 * root becomes the user postgres (or nobody) for it. */
#ifndef TESTS_POSTGRES_FIXTURE_H
#define TESTS_POSTGRES_FIXTURE_H

#include <glob.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PG_HELPER __attribute__((unused)) static

static char pg_dir[32]; /* "": no server */
static char pg_bin[128], pg_as[96];

__attribute__((format(printf, 1, 2))) static int pg_shell(const char *fmt, ...)
{
    char command[1024];
    va_list ap;
    int n = snprintf(command, sizeof command, "cd / && %s ", pg_as);

    va_start(ap, fmt);
    n += vsnprintf(command + n, sizeof command - (size_t)n, fmt, ap);
    va_end(ap);
    snprintf(command + n, sizeof command - (size_t)n, " >>%s/out 2>&1", pg_dir);
    return system(command);
}

/* Debian keeps the server's programs off the path. */
static bool pg_find(void)
{
    glob_t found = { 0 };
    bool ok = glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) == 0;

    if (ok)
        snprintf(pg_bin, sizeof pg_bin, "%s/", found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
    return ok || system("command -v initdb >/dev/null") == 0;
}

static bool pg_become(void)
{
    const struct passwd *who = getpwnam("postgres");

    if (getuid() != 0)
        return true;
    who = who != NULL ? who : getpwnam("nobody");
    if (who == NULL || chown(pg_dir, who->pw_uid, who->pw_gid) != 0)
        return false;
    snprintf(pg_as, sizeof pg_as, "setpriv --reuid=%u --regid=%u --clear-groups", (unsigned)who->pw_uid, (unsigned)who->pw_gid);
    return true;
}

static bool pg_up(void)
{
    return pg_shell(
               "%spg_ctl -D %s/data -l %s/log -w -t 60 -o '-k %s -c listen_addresses= -c fsync=off -c max_connections=20' start",
               pg_bin, pg_dir, pg_dir, pg_dir) == 0;
}

PG_HELPER void pg_down(const char *how)
{
    (void)pg_shell("%spg_ctl -D %s/data -m %s -w -t 60 stop", pg_bin, pg_dir, how);
}

PG_HELPER bool pg_start(void)
{
    strcpy(pg_dir, "/tmp/bm-pg-XXXXXX");
    if (!pg_find() || mkdtemp(pg_dir) == NULL) {
        pg_dir[0] = '\0';
        return false;
    }
    return pg_become() &&
           pg_shell("%sinitdb -D %s/data -A trust -U birthmark -E UTF8 --locale=C.UTF-8 --no-sync", pg_bin, pg_dir) == 0 && pg_up();
}

PG_HELPER void pg_stop(void)
{
    char command[64];

    if (pg_dir[0] == '\0')
        return;
    pg_down("immediate");
    snprintf(command, sizeof command, "rm -rf %s", pg_dir);
    if (system(command) != 0)
        fprintf(stderr, "%s is left\n", pg_dir);
}

/* One statement of the test's own; its first value as a number. */
PG_HELPER long pg_sql(const char *dsn, const char *sql)
{
    PGconn *c = PQconnectdb(dsn + strlen("postgres:"));
    PGresult *r = PQexec(c, sql);
    long n = PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) != 0 ? strtol(PQgetvalue(r, 0, 0), NULL, 10) : 0;
    bool ok = PQresultStatus(r) == PGRES_TUPLES_OK || PQresultStatus(r) == PGRES_COMMAND_OK;

    if (!ok)
        fprintf(stderr, "%s: %s\n", sql, PQerrorMessage(c));
    PQclear(r);
    PQfinish(c);
    return ok ? n : -1;
}

/* An empty registry's place. */
PG_HELPER bool pg_empty(const char *dsn)
{
    return pg_sql(dsn, "SET client_min_messages = error; DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public") == 0;
}

PG_HELPER void pg_dsn(char *ret, size_t room)
{
    snprintf(ret, room, "postgres:host=%s user=birthmark dbname=postgres", pg_dir);
}

#endif
