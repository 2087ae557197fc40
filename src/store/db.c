/* A registry that is open: its schema, its transactions, its statements. */
#include "store/db_impl.h"
#include "store/journal_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const struct bm_db_driver *const drivers[] = { &bm_db_sqlite, &bm_db_postgres };

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
        for (size_t i = 0; i < BM_STORE_SLOTS; i++)
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
    rc = bm_db_tell_tallies(s, e);
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
/* Open addressing by address; the table is never full (BM_STORE_SLOTS), so the walk ends. */
static struct slot *slot_of(struct bm_store *s, const struct bm_sql *q)
{
    size_t i = ((uintptr_t)q >> 3) * 0x9e3779b1u;

    for (i = (i >> 8) % BM_STORE_SLOTS; s->slots[i].sql != NULL && s->slots[i].sql != q; i = (i + 1) % BM_STORE_SLOTS)
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
