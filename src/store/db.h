/* What the typed functions of the store need from a database: statements, rows, transactions. A driver is one table of functions.
 * SQL is written in the subset that SQLite (from 3.40) and PostgreSQL share, with plain `?` for values, in order, each used once.
 * Values reach the database only as bound arguments, never inside the text. */
#ifndef BM_STORE_DB_H
#define BM_STORE_DB_H

#include "store/store.h"

struct bm_db;   /* a driver's connection */
struct bm_stmt; /* a driver's prepared statement */

/* A statement: always a static const, because its address is its name in the store's table of prepared statements. */
struct bm_sql {
    const char *text;
};

/* A value for a `?`; borrows until the query is done. */
struct bm_arg {
    enum bm_arg_kind { BM_ARG_NULL, BM_ARG_INT, BM_ARG_BLOB, BM_ARG_TEXT } kind;
    int64_t i;
    struct bm_rd b;
};

static inline struct bm_arg bm_arg_int(int64_t v)
{
    return (struct bm_arg){ .kind = BM_ARG_INT, .i = v };
}

/* A reference to another row: 0 is "none", NULL in the table. */
static inline struct bm_arg bm_arg_ref(int64_t id)
{
    return (struct bm_arg){ .kind = id != 0 ? BM_ARG_INT : BM_ARG_NULL, .i = id };
}

static inline struct bm_arg bm_arg_blob(const void *p, size_t n)
{
    return (struct bm_arg){ .kind = BM_ARG_BLOB, .b = { p, n } };
}

/* Empty is NULL in the table. */
static inline struct bm_arg bm_arg_buf(const struct bm_buf *b)
{
    return (struct bm_arg){ .kind = b->n != 0 ? BM_ARG_BLOB : BM_ARG_NULL, .b = { b->p, b->n } };
}

static inline struct bm_arg bm_arg_text(const char *s)
{
    return (struct bm_arg){ .kind = BM_ARG_TEXT, .b = bm_rd_str(s) };
}

struct bm_args {
    const struct bm_arg *p;
    size_t n;
};
#define BM_ARGS(...)                                                                                                               \
    (struct bm_args)                                                                                                               \
    {                                                                                                                              \
        (const struct bm_arg[]){ __VA_ARGS__ }, sizeof((const struct bm_arg[]){ __VA_ARGS__ }) / sizeof(struct bm_arg)             \
    }

#define BM_NO_ARGS                                                                                                                 \
    (struct bm_args)                                                                                                               \
    {                                                                                                                              \
        NULL, 0                                                                                                                    \
    }

/* --- drivers ------------------------------------------------------------------------------------------------------------------ */
struct bm_migration {
    int64_t number;
    const char *sql; /* a script, run in one transaction */
};

/* step: whether it came to a row, or to the end. commit that fails leaves the transaction to rollback. A statement that fails with
 * BM_CONFLICT, BM_NOTFOUND or BM_LIMIT has changed nothing, and the transaction goes on. */
struct bm_db_driver {
    const char *scheme; /* of the dsn: "sqlite" */
    /* For several hosts on one database; a driver has all of these or none. alone: nobody else has it open, until the opposite is said.
     * claim: this session is that host. version: meta("version") as begin found it. */
    enum bm_rc (*alone)(struct bm_db *db, bool on, struct bm_error *e);
    enum bm_rc (*claim)(struct bm_db *db, int64_t host_id, struct bm_error *e);
    bool (*collided)(const struct bm_db *db);
    int64_t (*version)(const struct bm_db *db);
    const struct bm_migration *migrations;
    size_t n_migrations;
    enum bm_rc (*open)(const char *where, struct bm_store_options how, struct bm_db **ret, struct bm_error *e);
    void (*close)(struct bm_db *db);
    void (*discard)(struct bm_db *db);                                        /* drops all tables; only close may follow */
    enum bm_rc (*schema)(struct bm_db *db, int64_t *ret, struct bm_error *e); /* 0: nothing in it yet */
    enum bm_rc (*script)(struct bm_db *db, const char *sql, struct bm_error *e);
    enum bm_rc (*begin)(struct bm_db *db, struct bm_error *e);
    enum bm_rc (*snapshot)(struct bm_db *db, struct bm_error *e); /* a transaction that only reads, all at one moment */
    enum bm_rc (*commit)(struct bm_db *db, struct bm_error *e);
    void (*rollback)(struct bm_db *db);
    void (*tidy)(struct bm_db *db);
    enum bm_rc (*prepare)(struct bm_db *db, const char *text, struct bm_stmt **ret, struct bm_error *e);
    enum bm_rc (*bind)(struct bm_stmt *st, struct bm_args args, struct bm_error *e);
    enum bm_rc (*step)(struct bm_stmt *st, bool *ret_row, struct bm_error *e);
    void (*reset)(struct bm_stmt *st);
    void (*drop)(struct bm_stmt *st); /* NULL is fine */
    int64_t (*col_int)(struct bm_stmt *st, int i);
    struct bm_rd (*col_bytes)(struct bm_stmt *st, int i); /* text or blob; lent until the next step; NULL is empty */
    enum bm_arg_kind (*col_kind)(struct bm_stmt *st, int i);
    int64_t (*last_id)(struct bm_db *db); /* of the row inserted last */
    int64_t (*changes)(struct bm_db *db); /* rows touched by the statement run last */
    /* for copy.c */
    const char *tables;             /* SQL: names, those that are referred to first */
    const char *columns;            /* SQL: names, of the table `?` */
    void (*bulk)(struct bm_db *db); /* in this transaction any failure of a change fails the whole, perhaps later; NULL is fine */
    enum bm_rc (*copied)(struct bm_db *db, struct bm_error *e); /* rows have come with their ids; NULL is fine */
    /* All of it, as of one moment, while others write, into a new SQLite file. NULL: copy.c does it. */
    enum bm_rc (*backup)(struct bm_db *db, const char *path, struct bm_error *e);
};
extern const struct bm_db_driver bm_db_sqlite, bm_db_postgres;

struct bm_db *bm_store_db(struct bm_store *s, const struct bm_db_driver **ret_driver);

struct bm_journal; /* journal.h: told of every statement that changes something, and of commits; NULL: nobody is */
void bm_store_set_journal(struct bm_store *s, struct bm_journal *j);

/* --- for the typed functions -------------------------------------------------------------------------------------------------- */
/* A statement in use. Ends with bm_query_done(), which frees its row; safe on the zero state. */
struct bm_query {
    struct bm_store *store;
    struct bm_stmt *st;
    bool *busy; /* of the kept statement; NULL: made for this query alone */
};
BM_MUST_USE enum bm_rc bm_query_start(struct bm_store *s, const struct bm_sql *q, struct bm_args args, struct bm_query *ret,
                                      struct bm_error *e);
/* The same for text put together at run time: prepared for this one use. */
BM_MUST_USE enum bm_rc bm_query_start_once(struct bm_store *s, const char *text, struct bm_args args, struct bm_query *ret,
                                           struct bm_error *e);
BM_MUST_USE enum bm_rc bm_query_next(struct bm_query *q, struct bm_error *e); /* BM_NOTFOUND: no more rows */
void bm_query_done(struct bm_query *q);

/* Start and first row in one; `what` names the thing in "no such <what>". */
BM_MUST_USE enum bm_rc bm_query_one(struct bm_store *s, const struct bm_sql *q, struct bm_args args, const char *what,
                                    struct bm_query *ret, struct bm_error *e);
/* BM_BUG outside a transaction, BM_IO in one that can only be rolled back. */
BM_MUST_USE enum bm_rc bm_db_may_change(const struct bm_store *s, struct bm_error *e);
/* One statement that changes something: needs a transaction. BM_NOTFOUND: it refers to a row that is not there. */
BM_MUST_USE enum bm_rc bm_db_run(struct bm_store *s, const struct bm_sql *q, struct bm_args args, struct bm_error *e);
/* An INSERT ... ON CONFLICT DO NOTHING: BM_CONFLICT "<what> is already there" when it did nothing. ret_id may be NULL. */
BM_MUST_USE enum bm_rc bm_db_insert(struct bm_store *s, const struct bm_sql *q, struct bm_args args, const char *what,
                                    int64_t *ret_id, struct bm_error *e);
/* An UPDATE of one row: BM_NOTFOUND when it is not there. */
BM_MUST_USE enum bm_rc bm_db_update(struct bm_store *s, const struct bm_sql *q, struct bm_args args, const char *what,
                                    struct bm_error *e);
int64_t bm_db_changes(struct bm_store *s);
/* The rows of the log in use: from base (a leaf's index is added to it) to end, where the next host's begin. */
int64_t bm_db_log_base(const struct bm_store *s);
int64_t bm_db_log_end(const struct bm_store *s);
int64_t bm_db_log_of(int64_t row); /* whose log it is in */
/* Counts n rows more (or fewer) of a large table under a name, so that nobody has to count them: bm_store_counts(). Inside a
 * transaction. */
BM_MUST_USE enum bm_rc bm_db_tally(struct bm_store *s, const char *name, int64_t n, struct bm_error *e);

/* Reads a row's columns from left to right. Sticky, like bm_wr: read freely, ask once with bm_cols_check(). */
struct bm_cols {
    struct bm_store *store;
    struct bm_stmt *st;
    int i;
    bool bad;
};
struct bm_cols bm_query_cols(const struct bm_query *q);
int64_t bm_col_int(struct bm_cols *c);
struct bm_arg bm_col_any(struct bm_cols *c);                 /* as it is; lent until the next step */
struct bm_rd bm_col_bytes(struct bm_cols *c);                /* lent until the next step */
void bm_col_text(struct bm_cols *c, char *ret, size_t room); /* bad when it does not fit */
void bm_col_fixed(struct bm_cols *c, void *ret, size_t n);   /* bad unless exactly n bytes */
void bm_col_buf(struct bm_cols *c, struct bm_buf *ret);      /* sets its ceiling to what is there */
void bm_col_append(struct bm_cols *c, struct bm_buf *ret);   /* to a caller's buffer, whose ceiling 0 means as much as is there */
BM_MUST_USE enum bm_rc bm_cols_check(const struct bm_cols *c, const char *what, struct bm_error *e);
#define BM_COL_TEXT(c, array) bm_col_text((c), (array), sizeof(array))
#define BM_COL_FIXED(c, array) bm_col_fixed((c), (array), sizeof(array))

/* Ids of the credentials of the device that `which` picks, as a subquery: the chain from its last one back. prev_id < id ends
 * it, whatever
 * the rows say. */
#define BM_CREDENTIALS_OF(which)                                                                                                   \
    "WITH RECURSIVE chain (id) AS (SELECT last_credential FROM device WHERE " which " UNION ALL"                                   \
    " SELECT k.prev_id FROM chain JOIN credential k ON k.id = chain.id WHERE k.prev_id < k.id) SELECT id FROM chain"

/* What of a batch's quota is used: handed out, less what hosts have left of it (lease.c). */
#define BM_BATCH_USED(b) b ".used - CAST(coalesce((SELECT sum(n) FROM lease WHERE lease.batch_id = " b ".id), 0) AS BIGINT)"

/* The column of a short index over random bytes (migrations/0001_registry.sql): signed, so that it always takes four bytes. */
static inline int64_t bm_short_key(const uint8_t p[4])
{
    return (int32_t)((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
}

#endif
