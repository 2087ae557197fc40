/* The inside of the PostgreSQL driver, shared by the postgres*.c of this folder only. Outcomes and errors as in store/db.h. */
#ifndef BM_STORE_POSTGRES_H
#define BM_STORE_POSTGRES_H

#include "store/db.h"

#include <libpq-fe.h>

enum { BM_PG_PARAMS_MAX = 40 };
enum { OID_BYTEA = 17, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_TEXT = 25 }; /* pg_type.dat; fixed for ever */

struct bm_db {
    PGconn *c;
    char *where; /* conninfo or URI */
    bool read_only, shared;
    int64_t host;    /* claimed; 0: none */
    bool collided;   /* this transaction was lost to another host's */
    int64_t version; /* meta("version") at begin */
    bool broken;     /* libpq may notice later than we do */
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
    Oid types[BM_PG_PARAMS_MAX];
    const char *values[BM_PG_PARAMS_MAX];
    int lengths[BM_PG_PARAMS_MAX], formats[BM_PG_PARAMS_MAX];
    uint8_t ints[BM_PG_PARAMS_MAX][8];
};

static inline void bm_pg_resultp(PGresult **r)
{
    PQclear(*r);
}
#define BM_PG_RESULT BM_CLEANUP(bm_pg_resultp) PGresult

/* postgres_error.c */
const char *bm_pg_said(const char *message, char *ret, size_t room); /* the server's sentence without its line ends */
enum bm_rc bm_pg_lost(const struct bm_db *db, struct bm_error *e);
bool bm_pg_gone(const struct bm_db *db);
enum bm_rc bm_pg_fail(struct bm_db *db, const PGresult *r, struct bm_error *e); /* what a result that is not good means */
bool bm_pg_good(const PGresult *r);

/* postgres_connect.c */
enum bm_rc bm_pg_command(struct bm_db *db, const char *sql, struct bm_error *e);
/* The first column of the first row as text; "" when there is none. */
BM_MUST_USE enum bm_rc bm_pg_ask(struct bm_db *db, const char *sql, char *ret, size_t room, struct bm_error *e);
/* A new connection; patience_ms: how long to wait for one who is just leaving. */
BM_MUST_USE enum bm_rc bm_pg_connect(struct bm_db *db, int64_t patience_ms, struct bm_error *e);
/* Takes the lock on a host, or on the whole registry; patience_ms as above. */
BM_MUST_USE enum bm_rc bm_pg_claim_now(struct bm_db *db, int64_t patience_ms, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_pg_alone(struct bm_db *db, bool on, struct bm_error *e);
const char *bm_pg_mark_key(const struct bm_db *db, char ret[32]); /* of meta: where this writer leaves its mark */
/* A connection to work on: the one there is, or outside a transaction a new one. */
BM_MUST_USE enum bm_rc bm_pg_ready(struct bm_db *db, struct bm_error *e);

/* postgres_statement.c, postgres_run.c: the driver's functions of these names */
bool bm_pg_begins(const char *text, const char *with);
enum bm_rc bm_pg_prepare(struct bm_db *db, const char *text, struct bm_stmt **ret, struct bm_error *e);
enum bm_rc bm_pg_bind(struct bm_stmt *st, struct bm_args args, struct bm_error *e);
void bm_pg_reset(struct bm_stmt *st);
void bm_pg_drop(struct bm_stmt *st);
/* An INSERT into a table with ids says which it gave. */
BM_MUST_USE enum bm_rc bm_pg_add_returning(struct bm_stmt *st, struct bm_error *e);
enum bm_rc bm_pg_step(struct bm_stmt *st, bool *ret_row, struct bm_error *e);
int64_t bm_pg_col_int(struct bm_stmt *st, int i);
struct bm_rd bm_pg_col_bytes(struct bm_stmt *st, int i);
enum bm_arg_kind bm_pg_col_kind(struct bm_stmt *st, int i);
/* Takes the outcomes of what was queued, and leaves pipeline mode. */
enum bm_rc bm_pg_drain(struct bm_db *db, struct bm_error *e);

#endif
