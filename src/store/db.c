#include "store/journal_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const struct bm_db_driver *const drivers[] = { &bm_db_sqlite, &bm_db_postgres };

enum { SLOTS = 256 }; /* a power of two, more than twice the statements there are */

struct slot {
    const struct bm_sql *sql;
    struct bm_stmt *st;
    bool busy;
};

/* Rows counted in this transaction, told to the tally table once, at its end. */
enum { TALLIES = 16 };

struct tally {
    char name[40];
    int64_t n;
};

/* doomed: a statement failed in a way that may have undone the transaction behind our back; only rollback helps. */
struct bm_store {
    const struct bm_db_driver *driver;
    struct bm_db *db;
    bool in_transaction, doomed, read_only, snapshot, created, shared;
    int64_t host, log; /* which we write as; whose log is meant */
    struct slot slots[SLOTS];
    struct tally tallies[TALLIES];
    size_t n_tallies;
    struct bm_journal *journal; /* borrowed; NULL: none */
};

/* --- opening ------------------------------------------------------------------------------------------------------------------ */
static const struct bm_db_driver *driver_of(const char *dsn, const char **ret_where)
{
    for (size_t i = 0; i < BM_COUNT(drivers); i++) {
        size_t n = strlen(drivers[i]->scheme);

        if (strncmp(dsn, drivers[i]->scheme, n) == 0 && dsn[n] == ':') {
            *ret_where = dsn + n + 1;
            return drivers[i];
        }
    }
    return NULL;
}

static enum bm_rc migrate_one(struct bm_store *s, const struct bm_migration *m, struct bm_error *e)
{
    char number[24];
    enum bm_rc rc = bm_store_begin(s, e);

    if (rc != BM_OK)
        return rc;
    snprintf(number, sizeof number, "%" PRId64, m->number);
    rc = s->driver->script(s->db, m->sql, e);
    if (rc == BM_OK)
        rc = bm_meta_set(s, "schema", bm_rd_str(number), e);
    if (rc == BM_OK)
        rc = bm_store_commit(s, e);
    if (rc != BM_OK)
        bm_store_rollback(s);
    return rc;
}

/* No other host may be at work meanwhile, least of all with an older program. */
static enum bm_rc migrate_all(struct bm_store *s, int64_t have, struct bm_error *e)
{
    const struct bm_db_driver *d = s->driver;
    bool alone = s->shared && d->alone != NULL;
    enum bm_rc rc = alone ? d->alone(s->db, true, e) : BM_OK;

    for (size_t i = 0; rc == BM_OK && i < d->n_migrations; i++)
        if (d->migrations[i].number > have)
            rc = migrate_one(s, &d->migrations[i], e);
    return rc == BM_OK && alone ? d->alone(s->db, false, e) : rc;
}

static enum bm_rc migrate(struct bm_store *s, struct bm_store_options how, struct bm_error *e)
{
    const struct bm_db_driver *d = s->driver;
    int64_t have, newest = d->migrations[d->n_migrations - 1].number;
    enum bm_rc rc = d->schema(s->db, &have, e);

    if (rc != BM_OK)
        return rc;
    if (have > newest)
        return bm_refuse(e, BM_CONFLICT, "newer-schema",
                         "the registry has schema %" PRId64 ", this program knows %" PRId64 ": use the newer program", have,
                         newest);
    if (how.create && have != 0)
        return bm_fail(e, BM_CONFLICT, "there is a registry already");
    if (!how.create && have == 0)
        return bm_fail(e, BM_MALFORMED, "is empty: not a registry");
    if (how.as_is)
        return BM_OK;
    if (how.read_only && have != newest)
        return bm_refuse(e, BM_CONFLICT, "older-schema",
                         "the registry has schema %" PRId64 ", this program reads %" PRId64 ": start the server once to migrate it",
                         have, newest);
    return rc == BM_OK && have != newest ? migrate_all(s, have, e) : rc;
}

enum bm_rc bm_store_open(const char *dsn, struct bm_store_options how, struct bm_store **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *s = NULL;
    const char *where = NULL;
    const struct bm_db_driver *d = driver_of(dsn, &where);
    enum bm_rc rc;

    if (d == NULL)
        return bm_fail(e, BM_USAGE, "store: the address must look like sqlite:PATH or postgres:dbname=NAME");
    if (how.create && how.read_only)
        return bm_fail(e, BM_USAGE, "store: cannot create what is only to be read");
    s = calloc(1, sizeof *s);
    if (s == NULL)
        return bm_fail(e, BM_NOMEM, "store: out of memory");
    s->driver = d;
    s->read_only = how.read_only;
    s->created = how.create;
    s->shared = how.shared;
    s->host = s->log = 1;
    rc = d->open(where, how, &s->db, e);
    if (rc == BM_OK)
        rc = migrate(s, how, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "store %s", d == &bm_db_sqlite ? where : d->scheme); /* an address may hold what is not for logs */
    *ret = BM_MOVE(s);
    return BM_OK;
}

void bm_store_close(struct bm_store *s)
{
    if (s == NULL)
        return;
    if (s->db != NULL) {
        bm_store_rollback(s);
        for (size_t i = 0; i < SLOTS; i++)
            s->driver->drop(s->slots[i].st);
        s->driver->close(s->db);
    }
    free(s);
}

struct bm_db *bm_store_db(struct bm_store *s, const struct bm_db_driver **ret_driver)
{
    *ret_driver = s->driver;
    return s->db;
}

void bm_store_discard(struct bm_store *s)
{
    if (s != NULL && s->created) {
        bm_store_rollback(s);
        s->driver->discard(s->db);
    }
    bm_store_close(s);
}

/* --- hosts -------------------------------------------------------------------------------------------------------------------- */
enum { LOG_BITS = 40 }; /* of a leaf's row; above them stands whose log it is in */

enum bm_rc bm_store_claim(struct bm_store *s, int64_t host_id, struct bm_error *e)
{
    enum bm_rc rc = s->driver->claim != NULL ? s->driver->claim(s->db, host_id, e) : BM_OK;

    if (rc == BM_OK)
        s->host = s->log = host_id;
    return rc;
}

bool bm_store_can_share(const struct bm_store *s)
{
    return s->driver->claim != NULL;
}

void bm_store_use_log(struct bm_store *s, int64_t host_id)
{
    s->log = host_id;
}

int64_t bm_db_log_base(const struct bm_store *s)
{
    return (s->log - 1) * ((int64_t)1 << LOG_BITS);
}

int64_t bm_db_log_end(const struct bm_store *s)
{
    return s->log * ((int64_t)1 << LOG_BITS);
}

int64_t bm_db_log_of(int64_t row)
{
    return row / ((int64_t)1 << LOG_BITS) + 1;
}

bool bm_store_collided(const struct bm_store *s)
{
    return s->driver->collided != NULL && s->driver->collided(s->db);
}

int64_t bm_store_version(const struct bm_store *s)
{
    return s->driver->version != NULL ? s->driver->version(s->db) : 0;
}

enum bm_rc bm_store_version_now(struct bm_store *s, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 24 };
    enum bm_rc rc = bm_meta_get(s, "version", &text, e);

    bm_buf_put(&text, "", 1);
    if (rc == BM_NOTFOUND)
        rc = BM_OK;
    if (rc == BM_OK)
        rc = bm_buf_check(&text, e);
    if (rc == BM_OK)
        *ret = strtoll((const char *)text.p, NULL, 10);
    return rc;
}

enum bm_rc bm_store_version_set(struct bm_store *s, int64_t version, struct bm_error *e)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRId64, version);
    return bm_meta_set(s, "version", bm_rd_str(text), e);
}

/* --- tallies ------------------------------------------------------------------------------------------------------------------ */
static const struct bm_sql add_tally = {
    "INSERT INTO tally (name, n) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = tally.n + excluded.n"
};

static enum bm_rc tell_tallies(struct bm_store *s, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    for (size_t i = 0; rc == BM_OK && i < s->n_tallies; i++)
        if (s->tallies[i].n != 0)
            rc = bm_db_run(s, &add_tally, BM_ARGS(bm_arg_text(s->tallies[i].name), bm_arg_int(s->tallies[i].n)), e);
    s->n_tallies = 0;
    return rc;
}

/* Each host counts in rows of its own, so that no two wait for each other: "device:active", "device:active@2". */
enum bm_rc bm_db_tally(struct bm_store *s, const char *what, int64_t n, struct bm_error *e)
{
    char name[sizeof s->tallies[0].name];
    enum bm_rc rc = BM_OK;
    size_t i = 0;

    if (s->host == 1)
        snprintf(name, sizeof name, "%s", what);
    else
        snprintf(name, sizeof name, "%s@%" PRId64, what, s->host);

    while (i < s->n_tallies && strcmp(s->tallies[i].name, name) != 0)
        i++;
    if (i == TALLIES) {
        rc = tell_tallies(s, e);
        i = 0;
    }
    if (i == s->n_tallies) {
        snprintf(s->tallies[i].name, sizeof s->tallies[i].name, "%s", name);
        s->tallies[i].n = 0;
        s->n_tallies++;
    }
    s->tallies[i].n += n;
    return rc;
}

/* --- transactions ------------------------------------------------------------------------------------------------------------- */
bool bm_store_in_transaction(const struct bm_store *s)
{
    return s->in_transaction;
}

enum bm_rc bm_store_begin(struct bm_store *s, struct bm_error *e)
{
    enum bm_rc rc;

    if (s->in_transaction || s->snapshot)
        return bm_fail(e, BM_BUG, "store: a transaction is already open");
    if (s->read_only)
        return bm_fail(e, BM_BUG, "store: opened for reading only");
    rc = s->driver->begin(s->db, e);
    s->in_transaction = rc == BM_OK;
    s->doomed = false;
    return rc;
}

enum bm_rc bm_store_snapshot(struct bm_store *s, struct bm_error *e)
{
    enum bm_rc rc;

    if (s->in_transaction || s->snapshot)
        return bm_fail(e, BM_BUG, "store: a transaction is already open");
    rc = s->driver->snapshot(s->db, e);
    s->snapshot = rc == BM_OK;
    return rc;
}

enum bm_rc bm_store_commit(struct bm_store *s, struct bm_error *e)
{
    enum bm_rc rc;

    if (!s->in_transaction)
        return bm_fail(e, BM_BUG, "store: no transaction is open");
    if (s->doomed)
        return bm_fail(e, BM_IO, "store: the transaction failed before and must be rolled back");
    rc = tell_tallies(s, e);
    if (rc == BM_OK && s->journal != NULL)
        rc = bm_journal_write(s->journal, e);
    if (rc == BM_OK)
        rc = s->driver->commit(s->db, e);
    s->in_transaction = rc != BM_OK;
    s->doomed = rc != BM_OK;
    if (rc == BM_OK && s->journal != NULL)
        bm_journal_committed(s->journal);
    return rc;
}

void bm_store_rollback(struct bm_store *s)
{
    if (s->in_transaction || s->snapshot)
        s->driver->rollback(s->db);
    s->in_transaction = s->doomed = s->snapshot = false;
    s->n_tallies = 0;
    if (s->journal != NULL)
        bm_journal_rolled_back(s->journal);
}

enum bm_rc bm_store_migrate(struct bm_store *s, int64_t upto, struct bm_error *e)
{
    const struct bm_db_driver *d = s->driver;
    int64_t have;
    enum bm_rc rc = d->schema(s->db, &have, e);

    for (size_t i = 0; rc == BM_OK && i < d->n_migrations; i++)
        if (d->migrations[i].number > have && d->migrations[i].number <= upto)
            rc = migrate_one(s, &d->migrations[i], e);
    return rc;
}

void bm_store_set_journal(struct bm_store *s, struct bm_journal *j)
{
    s->journal = j;
}

void bm_store_tidy(struct bm_store *s)
{
    if (!s->in_transaction && !s->snapshot)
        s->driver->tidy(s->db);
}

/* --- statements --------------------------------------------------------------------------------------------------------------- */
/* Open addressing by address; the table is never full (SLOTS), so the walk ends. */
static struct slot *slot_of(struct bm_store *s, const struct bm_sql *q)
{
    size_t i = ((uintptr_t)q >> 3) * 0x9e3779b1u;

    for (i = (i >> 8) % SLOTS; s->slots[i].sql != NULL && s->slots[i].sql != q; i = (i + 1) % SLOTS)
        ;
    return &s->slots[i];
}

enum bm_rc bm_query_start_once(struct bm_store *s, const char *text, struct bm_args args, struct bm_query *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { .store = s };
    enum bm_rc rc = s->driver->prepare(s->db, text, &q.st, e);

    if (rc == BM_OK)
        rc = s->driver->bind(q.st, args, e);
    if (rc != BM_OK)
        return rc;
    *ret = q;
    q.st = NULL;
    return BM_OK;
}

enum bm_rc bm_query_start(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_query *ret,
                          struct bm_error *e)
{
    struct slot *slot = slot_of(s, sql);
    enum bm_rc rc;

    if (slot->busy) /* inside its own callback */
        return bm_query_start_once(s, sql->text, args, ret, e);
    if (slot->sql == NULL) {
        rc = s->driver->prepare(s->db, sql->text, &slot->st, e);
        if (rc != BM_OK)
            return rc;
        slot->sql = sql;
    }
    rc = s->driver->bind(slot->st, args, e);
    if (rc != BM_OK)
        return rc;
    slot->busy = true;
    *ret = (struct bm_query){ .store = s, .st = slot->st, .busy = &slot->busy };
    return BM_OK;
}

/* These leave the transaction as it was before the statement; after any other it may be undone, wholly or in part. */
static void note_failure(struct bm_store *s, enum bm_rc rc)
{
    if (rc != BM_OK && rc != BM_NOTFOUND && rc != BM_CONFLICT && rc != BM_LIMIT)
        s->doomed = s->in_transaction;
}

enum bm_rc bm_query_next(struct bm_query *q, struct bm_error *e)
{
    bool row = false;
    enum bm_rc rc = q->store->driver->step(q->st, &row, e);

    note_failure(q->store, rc);
    return rc == BM_OK && !row ? BM_NOTFOUND : rc;
}

void bm_query_done(struct bm_query *q)
{
    if (q->st == NULL)
        return;
    if (q->busy == NULL) {
        q->store->driver->drop(q->st);
    } else {
        q->store->driver->reset(q->st);
        *q->busy = false;
    }
    *q = (struct bm_query){ 0 };
}

enum bm_rc bm_query_one(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, const char *what, struct bm_query *ret,
                        struct bm_error *e)
{
    enum bm_rc rc = bm_query_start(s, sql, args, ret, e);

    if (rc == BM_OK)
        rc = bm_query_next(ret, e);
    if (rc == BM_NOTFOUND)
        return bm_fail(e, rc, "no such %s", what);
    return rc;
}

enum bm_rc bm_db_may_change(const struct bm_store *s, struct bm_error *e)
{
    if (!s->in_transaction)
        return bm_fail(e, BM_BUG, "store: a change outside a transaction");
    if (s->doomed)
        return bm_fail(e, BM_IO, "store: the transaction failed before and must be rolled back");
    return BM_OK;
}

enum bm_rc bm_db_run(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    bool row;
    enum bm_rc rc = bm_db_may_change(s, e);

    if (rc == BM_OK)
        rc = bm_query_start(s, sql, args, &q, e);
    if (rc != BM_OK)
        return rc;
    rc = s->driver->step(q.st, &row, e);
    note_failure(s, rc);
    if (rc == BM_OK && s->journal != NULL) {
        rc = bm_journal_noted(s->journal, sql, args, s->driver->changes(s->db), s->driver->last_id(s->db), e);
        s->doomed = rc != BM_OK; /* the statement was run, and the journal does not know of it */
    }
    return rc;
}

enum bm_rc bm_db_insert(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, const char *what, int64_t *ret_id,
                        struct bm_error *e)
{
    enum bm_rc rc = bm_db_run(s, sql, args, e);

    if (rc != BM_OK)
        return rc;
    if (s->driver->changes(s->db) == 0)
        return bm_fail(e, BM_CONFLICT, "the %s is already there", what);
    if (ret_id != NULL)
        *ret_id = s->driver->last_id(s->db);
    return BM_OK;
}

enum bm_rc bm_db_update(struct bm_store *s, const struct bm_sql *sql, struct bm_args args, const char *what, struct bm_error *e)
{
    enum bm_rc rc = bm_db_run(s, sql, args, e);

    if (rc == BM_OK && s->driver->changes(s->db) == 0)
        return bm_fail(e, BM_NOTFOUND, "no such %s", what);
    return rc;
}

int64_t bm_db_changes(struct bm_store *s)
{
    return s->driver->changes(s->db);
}

/* --- columns ------------------------------------------------------------------------------------------------------------------ */
struct bm_cols bm_query_cols(const struct bm_query *q)
{
    return (struct bm_cols){ .store = q->store, .st = q->st };
}

int64_t bm_col_int(struct bm_cols *c)
{
    return c->store->driver->col_int(c->st, c->i++);
}

struct bm_arg bm_col_any(struct bm_cols *c)
{
    struct bm_arg a = { .kind = c->store->driver->col_kind(c->st, c->i) };

    if (a.kind == BM_ARG_INT)
        a.i = c->store->driver->col_int(c->st, c->i);
    else if (a.kind != BM_ARG_NULL)
        a.b = c->store->driver->col_bytes(c->st, c->i);
    c->i++;
    return a;
}

struct bm_rd bm_col_bytes(struct bm_cols *c)
{
    return c->store->driver->col_bytes(c->st, c->i++);
}

void bm_col_text(struct bm_cols *c, char *ret, size_t room)
{
    struct bm_rd b = bm_col_bytes(c);

    c->bad = c->bad || b.n >= room;
    if (c->bad)
        return;
    if (b.n != 0)
        memcpy(ret, b.p, b.n);
    ret[b.n] = '\0';
}

void bm_col_fixed(struct bm_cols *c, void *ret, size_t n)
{
    struct bm_rd b = bm_col_bytes(c);

    c->bad = c->bad || b.n != n;
    if (!c->bad)
        memcpy(ret, b.p, n);
}

void bm_col_buf(struct bm_cols *c, struct bm_buf *ret)
{
    struct bm_rd b = bm_col_bytes(c);

    *ret = (struct bm_buf){ .max = b.n };
    bm_buf_put(ret, b.p, b.n);
    c->bad = c->bad || ret->bad;
}

void bm_col_append(struct bm_cols *c, struct bm_buf *ret)
{
    struct bm_rd b = bm_col_bytes(c);

    if (ret->max == 0)
        ret->max = b.n;
    bm_buf_put(ret, b.p, b.n);
    c->bad = c->bad || ret->bad;
}

enum bm_rc bm_cols_check(const struct bm_cols *c, const char *what, struct bm_error *e)
{
    if (c->bad)
        return bm_fail(e, BM_IO, "store: a %s row does not have the form of this program's schema", what);
    return BM_OK;
}
