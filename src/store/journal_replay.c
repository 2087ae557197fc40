/* The journal, run again on the copy of a registry. */
#include "store/journal_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A statement as the segment being read defines it. */
struct statement {
    struct bm_stmt *st;
    bool has_id;
};

struct replay {
    struct bm_store *store;
    const struct bm_db_driver *driver;
    struct bm_db *db;
    struct statement statements[BM_JOURNAL_STATEMENTS_MAX];
    uint64_t segment; /* whose they are */
    int64_t schema, leaves;
    bool in_transaction;
    bm_journal_file_fn *file;
    void *arg;
    struct bm_journal_place place;
    struct bm_replayed done;
};

static enum bm_rc mismatch(const struct bm_journal_record *r, const char *what, struct bm_error *e)
{
    return bm_refuse(e, BM_DENIED, "journal-mismatch", "record %" PRIu64 " of the journal does not fit the registry: %s", r->seq,
                     what);
}

static void forget(struct replay *p)
{
    for (size_t i = 0; i < BM_COUNT(p->statements); i++)
        p->driver->drop(p->statements[i].st);
    memset(p->statements, 0, sizeof p->statements);
}

static void replay_freep(struct replay **p)
{
    if (*p == NULL)
        return;
    forget(*p);
    bm_store_rollback((*p)->store);
    free(*p);
}

/* --- statements ----------------------------------------------------------------------------------------------------------------- */
static bool cut(struct bm_rd *text, const char *at, struct bm_rd *ret_before)
{
    const char *p = memmem(text->p, text->n, at, strlen(at));

    if (p == NULL)
        return false;
    *ret_before = bm_rd_of(text->p, (size_t)(p - (const char *)text->p) + strlen(at));
    *text = bm_rd_of(text->p + ret_before->n, text->n - ret_before->n);
    return true;
}

/* "INSERT INTO t (a) VALUES (?)" becomes "INSERT INTO t (id, a) VALUES (?, ?)": rows come back with the ids they had, gaps and all. */
static enum bm_rc sql_of(const struct bm_journal_item *i, char *ret, size_t room, struct bm_error *e)
{
    struct bm_wr w = bm_wr_of(ret, room);
    struct bm_rd rest = i->text, table, columns;

    if (i->has_id) {
        if (!cut(&rest, "(", &table) || !cut(&rest, ") VALUES (", &columns))
            return bm_fail(e, BM_MALFORMED, "journal: an INSERT of another form");
        bm_wr_put(&w, table.p, table.n);
        bm_wr_str(&w, "id, ");
        bm_wr_put(&w, columns.p, columns.n);
        bm_wr_str(&w, "?, ");
    }
    bm_wr_put(&w, rest.p, rest.n);
    bm_wr_put(&w, "", 1);
    return w.bad ? bm_fail(e, BM_LIMIT, "journal: a statement that is too long") : BM_OK;
}

static enum bm_rc define(struct replay *p, const struct bm_journal_item *i, struct bm_error *e)
{
    struct statement *s = &p->statements[i->number];
    char sql[BM_JOURNAL_SQL_MAX + 16];
    enum bm_rc rc = sql_of(i, sql, sizeof sql, e);

    if (rc != BM_OK)
        return rc;
    p->driver->drop(s->st);
    *s = (struct statement){ .has_id = i->has_id };
    return p->driver->prepare(p->db, sql, &s->st, e);
}

static enum bm_rc run(struct replay *p, const struct bm_journal_record *r, const struct bm_journal_item *i, struct bm_error *e)
{
    struct statement *s = &p->statements[i->number];
    struct bm_arg args[BM_JOURNAL_ARGS_MAX + 1];
    bool row;
    enum bm_rc rc;

    if (s->st == NULL)
        return mismatch(r, "a statement that was not told before", e);
    args[0] = bm_arg_int(i->id);
    memcpy(args + s->has_id, i->args, i->n_args * sizeof *args);
    rc = p->driver->bind(s->st, (struct bm_args){ args, i->n_args + s->has_id }, e);
    if (rc == BM_OK)
        rc = p->driver->step(s->st, &row, e);
    p->driver->reset(s->st);
    if (rc == BM_CONFLICT || rc == BM_NOTFOUND)
        return mismatch(r, "a row that cannot be there", e);
    if (rc == BM_OK && p->driver->changes(p->db) != i->changes)
        return mismatch(r, "another number of rows changed", e);
    p->done.statements++;
    return rc;
}

static enum bm_rc give_file(struct replay *p, const struct bm_journal_item *i, struct bm_error *e)
{
    char name[256];

    snprintf(name, sizeof name, "%.*s", (int)i->text.n, (const char *)i->text.p);
    p->done.files++;
    return p->file != NULL ? p->file(p->arg, name, i->content, e) : BM_OK;
}

/* done: the registry has that record, and only what it defines is wanted. */
static enum bm_rc run_items(struct replay *p, const struct bm_journal_record *r, bool done, struct bm_error *e)
{
    struct bm_journal_item i;
    struct bm_rd in = r->items;
    enum bm_rc rc = BM_OK;

    for (uint32_t n = 0; rc == BM_OK && n < r->n_items; n++) {
        rc = bm_journal_item_take(&in, &i, e);
        if (rc == BM_OK && i.kind == BM_JOURNAL_DEFINE)
            rc = define(p, &i, e);
        else if (rc == BM_OK && !done)
            rc = i.kind == BM_JOURNAL_RUN ? run(p, r, &i, e) : give_file(p, &i, e);
    }
    return rc;
}

/* --- records -------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc commit(struct replay *p, struct bm_error *e)
{
    enum bm_rc rc;

    if (!p->in_transaction)
        return BM_OK;
    rc = bm_journal_place_set(p->store, &p->place, e);
    if (rc == BM_OK)
        rc = bm_store_commit(p->store, e);
    p->in_transaction = rc != BM_OK;
    return rc;
}

/* Statements are those of their segment, and written for its schema. */
static enum bm_rc enter(struct replay *p, const struct bm_journal_segment *s, struct bm_error *e)
{
    int64_t newest = p->driver->migrations[p->driver->n_migrations - 1].number;
    enum bm_rc rc = commit(p, e);

    if (rc != BM_OK)
        return rc;
    forget(p);
    p->segment = s->number;
    if (s->head.schema > newest)
        return bm_refuse(e, BM_CONFLICT, "newer-schema",
                         "the journal is of schema %" PRIu32 ", this program knows %" PRId64 ": use the newer program",
                         s->head.schema, newest);
    if (s->head.schema < p->schema)
        return bm_refuse(e, BM_DENIED, "journal-mismatch", "the journal is of schema %" PRIu32 ", the registry of %" PRId64,
                         s->head.schema, p->schema);
    rc = bm_store_migrate(p->store, s->head.schema, e);
    if (rc == BM_OK)
        p->schema = s->head.schema;
    return rc;
}

static enum bm_rc check_log(struct replay *p, const struct bm_journal_record *r, struct bm_error *e)
{
    int64_t leaves;
    enum bm_rc rc = bm_audit_leaf_count(p->store, &leaves, e);

    if (rc == BM_OK && (r->log_before != p->leaves || r->log_after != leaves))
        return mismatch(r, "the audit log has another size", e);
    p->leaves = leaves;
    return rc;
}

static enum bm_rc replay_record(void *arg, const struct bm_journal_segment *s, const struct bm_journal_record *r,
                                struct bm_error *e)
{
    struct replay *p = arg;
    bool done = r->seq <= p->place.seq;
    enum bm_rc rc = p->segment == s->number ? BM_OK : enter(p, s, e);

    if (rc == BM_OK && done)
        return run_items(p, r, true, e);
    if (rc == BM_OK && !p->in_transaction) {
        rc = bm_store_begin(p->store, e);
        p->in_transaction = rc == BM_OK;
    }
    if (rc == BM_OK)
        rc = run_items(p, r, false, e);
    if (rc == BM_OK)
        rc = check_log(p, r, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "record %" PRIu64, r->seq);
    p->place.seq = r->seq;
    p->place.log_size = r->log_after;
    memcpy(p->place.sha256, r->sha256, sizeof p->place.sha256);
    p->done.records++;
    p->done.at_ms = r->at_ms;
    return BM_OK;
}

static enum bm_rc all_of(struct replay *p, const char *dir, uint64_t until, struct bm_error *e)
{
    BM_CLEANUP(bm_journal_folder_done) struct bm_journal_folder f = { 0 };
    bool ours = false;
    enum bm_rc rc = bm_journal_folder_read(dir, &f, e);

    for (size_t i = 0; rc == BM_OK && i < f.n; i++)
        ours = ours || (!f.of[i].bad && memcmp(f.of[i].head.chain, p->place.chain, sizeof p->place.chain) == 0);
    if (rc == BM_OK && !ours)
        return bm_refuse(e, BM_NOTFOUND, "no-journal", "%s holds no journal of this registry", dir);
    if (rc == BM_OK)
        rc = bm_journal_each(&f, p->place.chain, p->place.seq, p->place.sha256, until, replay_record, p, &p->done.end, e);
    return rc == BM_OK ? commit(p, e) : rc;
}

enum bm_rc bm_journal_replay(struct bm_store *s, const char *dir, uint64_t until, bm_journal_file_fn *fn, void *arg,
                             struct bm_replayed *ret, struct bm_error *e)
{
    BM_CLEANUP(replay_freep) struct replay *p = calloc(1, sizeof *p);
    enum bm_rc rc;

    if (p == NULL)
        return bm_fail(e, BM_NOMEM, "journal: out of memory");
    p->store = s;
    p->file = fn;
    p->arg = arg;
    p->db = bm_store_db(s, &p->driver);
    rc = p->driver->schema(p->db, &p->schema, e);
    if (rc == BM_OK)
        rc = bm_audit_leaf_count(s, &p->leaves, e);
    if (rc == BM_OK)
        rc = bm_journal_place_get(s, &p->place, e);
    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_NOTFOUND, "no-journal", "the registry was copied when it had no journal");
    p->done.from = p->place.seq;
    if (rc == BM_OK)
        rc = all_of(p, dir, until, e);
    if (rc != BM_OK)
        return rc;
    p->done.to = p->place.seq;
    *ret = p->done;
    return BM_OK;
}
