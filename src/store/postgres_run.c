/* Statements at work: one trip each, guarded by a savepoint where they may fail, or many rows in one trip. */
#include "store/postgres.h"

#include <stdio.h>
#include <stdlib.h>

enum { FETCH_ROWS = 256, QUEUE_MAX = 256 };

static enum bm_rc on_server(struct bm_stmt *st, struct bm_error *e)
{
    struct bm_db *db = st->db;
    enum bm_rc rc;

    if (st->generation == db->generation)
        return BM_OK;
    rc = bm_pg_add_returning(st, e);
    if (rc != BM_OK)
        return rc;
    {
        BM_PG_RESULT *r = PQprepare(db->c, st->name, st->text, st->n, st->types);

        if (!bm_pg_good(r))
            return bm_pg_fail(db, r, e);
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

    if (!bm_pg_good(r)) {
        rc = bm_pg_fail(db, r, e);
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

    if (rc != BM_OK && !bm_pg_gone(db) && PQtransactionStatus(db->c) == PQTRANS_INERROR)
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
        rc = bm_pg_lost(db, e);
    else {
        PQclear(next_result(db->c));
        rc = take(st, next_result(db->c), e);
        PQclear(next_result(db->c));
        PQclear(next_result(db->c)); /* the sync */
    }
    if (bm_pg_gone(db))
        return bm_pg_lost(db, e);
    if (PQexitPipelineMode(db->c) != 1)
        return bm_fail(e, BM_IO, "store: the pipeline did not end");
    if (rc != BM_OK && bm_pg_command(db, "ROLLBACK TO SAVEPOINT bm; RELEASE SAVEPOINT bm", NULL) != BM_OK)
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
    rc = bm_pg_good(r) ? BM_OK : bm_pg_fail(db, r, e);
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
    return bm_pg_good(st->r) ? BM_OK : bm_pg_fail(st->db, st->r, e);
}

/* --- rows on their way -------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_pg_drain(struct bm_db *db, struct bm_error *e)
{
    unsigned n = db->queued;
    enum bm_rc rc = BM_OK;

    if (n == 0)
        return BM_OK;
    db->queued = 0;
    if (PQpipelineSync(db->c) != 1)
        return bm_pg_lost(db, e);
    for (unsigned i = 0; i < n; i++) {
        BM_PG_RESULT *r = next_result(db->c);

        if (rc == BM_OK && !bm_pg_good(r))
            rc = bm_pg_fail(db, r, e);
    }
    PQclear(next_result(db->c)); /* the sync */
    if (rc == BM_OK && PQexitPipelineMode(db->c) != 1)
        return bm_pg_lost(db, e);
    return rc;
}

/* Many rows in one trip; libpq has copied the values when this returns. */
static enum bm_rc queue(struct bm_stmt *st, struct bm_error *e)
{
    struct bm_db *db = st->db;

    if (db->queued == 0 && PQenterPipelineMode(db->c) != 1)
        return bm_pg_lost(db, e);
    if (PQsendQueryPrepared(db->c, st->name, st->n, st->values, st->lengths, st->formats, 1) != 1)
        return bm_pg_lost(db, e);
    st->ran = true;
    return ++db->queued == QUEUE_MAX ? bm_pg_drain(db, e) : BM_OK;
}

static enum bm_rc run_bulk(struct bm_stmt *st, struct bm_error *e)
{
    bool new = st->generation != st->db->generation;
    enum bm_rc rc = !st->writes || new ? bm_pg_drain(st->db, e) : BM_OK;

    if (rc == BM_OK && !st->writes)
        return open_cursor(st, e);
    if (rc == BM_OK)
        rc = on_server(st, e);
    return rc == BM_OK ? queue(st, e) : rc;
}

static enum bm_rc run_once(struct bm_stmt *st, struct bm_error *e)
{
    struct bm_db *db = st->db;
    enum bm_rc rc = bm_pg_ready(db, e);

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

    return rc != BM_OK && alone && st->db->c != NULL && bm_pg_gone(st->db) ? run_once(st, e) : rc;
}

enum bm_rc bm_pg_step(struct bm_stmt *st, bool *ret_row, struct bm_error *e)
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

int64_t bm_pg_col_int(struct bm_stmt *st, int i)
{
    return col_int_of(st->r, st->row, i);
}

struct bm_rd bm_pg_col_bytes(struct bm_stmt *st, int i)
{
    if (PQgetisnull(st->r, st->row, i))
        return bm_rd_of(NULL, 0);
    return bm_rd_of(PQgetvalue(st->r, st->row, i), (size_t)PQgetlength(st->r, st->row, i));
}

enum bm_arg_kind bm_pg_col_kind(struct bm_stmt *st, int i)
{
    Oid type = PQftype(st->r, i);

    if (PQgetisnull(st->r, st->row, i))
        return BM_ARG_NULL;
    if (type == OID_INT8 || type == OID_INT4 || type == OID_INT2)
        return BM_ARG_INT;
    return type == OID_BYTEA ? BM_ARG_BLOB : BM_ARG_TEXT;
}
