/* The journal, to write. A record is on disk before the database is asked to commit; what the database then says decides whether it stays. */
#include "store/journal_impl.h"

#include "base/clock.h"

#include <stdio.h>

enum { KEEP_BUFFER = 4 * 1024 * 1024 };

/* --- statements ----------------------------------------------------------------------------------------------------------------- */
void bm_journal_forget_statements(struct bm_journal *j)
{
    memset(j->known, 0, sizeof j->known);
    j->n_known = j->n_before = 0;
}

static struct bm_journal_known *known_of(struct bm_journal *j, const struct bm_sql *sql)
{
    size_t i = ((uintptr_t)sql >> 3) * 0x9e3779b1u;

    for (i = (i >> 8) % BM_JOURNAL_INDEX; j->known[i].sql != NULL && j->known[i].sql != sql; i = (i + 1) % BM_JOURNAL_INDEX)
        ;
    return &j->known[i];
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Whether the table that it inserts into gives its rows ids, and the statement leaves that to it. */
static enum bm_rc gives_id(struct bm_store *s, const char *text, bool *ret, struct bm_error *e)
{
    static const char into[] = "INSERT INTO ";
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    const struct bm_db_driver *d;
    char table[64];
    enum bm_rc rc;

    *ret = false;
    if (!begins(text, into))
        return BM_OK;
    (void)bm_store_db(s, &d);
    snprintf(table, sizeof table, "%.*s", (int)strcspn(text + strlen(into), " "), text + strlen(into));
    if (begins(text + strlen(into) + strlen(table), " (id, "))
        return BM_OK;
    rc = bm_query_start_once(s, d->columns, BM_ARGS(bm_arg_text(table)), &q, e);
    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols c = bm_query_cols(&q);

        *ret = *ret || bm_rd_eq(bm_col_bytes(&c), bm_rd_str("id"));
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

/* --- the pending record --------------------------------------------------------------------------------------------------------- */
static void drop_pending(struct bm_journal *j)
{
    if (j->record.cap > KEEP_BUFFER || j->record.bad)
        bm_buf_done(&j->record);
    j->record.n = 0;
    j->n_items = 0;
    j->leaves = 0;
}

/* What has to be known before its first item: where it will stand, and so which statements are defined there. */
static enum bm_rc begin_record(struct bm_journal *j, struct bm_error *e)
{
    enum bm_rc rc;

    if (j->n_items != 0)
        return BM_OK;
    rc = bm_journal_end_look_back(j, e);
    if (rc == BM_OK)
        rc = bm_journal_end_room(j, e);
    if (rc != BM_OK)
        return rc;
    bm_journal_record_begin(&j->record);
    j->n_before = j->n_known;
    return BM_OK;
}

static enum bm_rc put_item(struct bm_journal *j, const struct bm_journal_item *i, struct bm_error *e)
{
    enum bm_rc rc = begin_record(j, e);

    if (rc != BM_OK)
        return rc;
    bm_journal_item_put(&j->record, i);
    j->n_items++;
    return BM_OK;
}

static enum bm_rc define(struct bm_journal *j, const struct bm_sql *sql, struct bm_error *e)
{
    struct bm_journal_item i = { .kind = BM_JOURNAL_DEFINE, .text = bm_rd_str(sql->text) };
    enum bm_rc rc;

    if (j->n_known == BM_JOURNAL_STATEMENTS_MAX || !bm_journal_sql_ok(i.text))
        return bm_fail(e, BM_BUG, "journal: a statement that does not go into it: %.40s", sql->text);
    rc = gives_id(j->store, sql->text, &i.has_id, e);
    if (rc != BM_OK)
        return rc;
    /* Replay writes the id into the statement; with a row updated in place there would be none. */
    if (i.has_id && (strstr(sql->text, ") VALUES (") == NULL || strstr(sql->text, " DO UPDATE ") != NULL))
        return bm_fail(e, BM_BUG, "journal: an INSERT that gives an id must be of one row of VALUES: %.40s", sql->text);
    i.number = j->n_known;
    rc = put_item(j, &i, e);
    if (rc == BM_OK)
        *known_of(j, sql) = (struct bm_journal_known){ sql, j->n_known++, i.has_id, begins(sql->text, "INSERT INTO audit_leaf ") };
    return rc;
}

static enum bm_rc note_run(struct bm_journal *j, const struct bm_journal_known *k, struct bm_args args, int64_t changes, int64_t id,
                           struct bm_error *e)
{
    struct bm_journal_item i = {
        .kind = BM_JOURNAL_RUN, .number = k->number, .id = k->has_id ? id : 0, .changes = changes, .n_args = args.n
    };

    if (args.n > BM_JOURNAL_ARGS_MAX)
        return bm_fail(e, BM_BUG, "journal: a statement with %zu values", args.n);
    if (args.n != 0)
        memcpy(i.args, args.p, args.n * sizeof *args.p);
    j->leaves += k->leaf;
    return put_item(j, &i, e);
}

enum bm_rc bm_journal_noted(struct bm_journal *j, const struct bm_sql *sql, struct bm_args args, int64_t changes, int64_t id,
                            struct bm_error *e)
{
    enum bm_rc rc;

    if (j->quiet || changes == 0)
        return BM_OK;
    rc = begin_record(j, e);
    if (rc == BM_OK && known_of(j, sql)->sql == NULL)
        rc = define(j, sql, e);
    return rc == BM_OK ? note_run(j, known_of(j, sql), args, changes, id, e) : rc;
}

enum bm_rc bm_journal_file(struct bm_journal *j, const char *name, struct bm_rd content, struct bm_error *e)
{
    const struct bm_journal_item i = { .kind = BM_JOURNAL_FILE, .text = bm_rd_str(name), .content = content };

    if (content.n > BM_JOURNAL_FILE_MAX)
        return bm_fail(e, BM_LIMIT, "journal: a file of %zu bytes", content.n);
    return put_item(j, &i, e);
}

static enum bm_rc finish_record(struct bm_journal *j, struct bm_error *e)
{
    struct bm_journal_record r = { .seq = j->place.seq + 1,
                                   .at_ms = bm_clock_ms(),
                                   .log_before = j->place.log_size,
                                   .log_after = j->place.log_size + j->leaves,
                                   .n_items = j->n_items };

    memcpy(r.prev, j->place.sha256, sizeof r.prev);
    bm_journal_record_end(&j->record, &r);
    if (j->record.bad)
        return bm_refuse(e, BM_IO, "journal-unavailable", "one transaction is larger than the %d MB a journal record may have",
                         BM_JOURNAL_RECORD_MAX / (1024 * 1024));
    j->next = j->place;
    j->next.seq = r.seq;
    j->next.log_size = r.log_after;
    memcpy(j->next.sha256, r.sha256, sizeof j->next.sha256);
    return BM_OK;
}

/* --- what db.c tells ------------------------------------------------------------------------------------------------------------ */
enum bm_rc bm_journal_write(struct bm_journal *j, struct bm_error *e)
{
    enum bm_rc rc;

    if (j->n_items == 0) /* nothing changed: there is nothing to tell */
        return BM_OK;
    rc = finish_record(j, e);
    j->quiet = true;
    if (rc == BM_OK)
        rc = bm_journal_place_set(j->store, &j->next, e);
    j->quiet = false;
    return rc == BM_OK ? bm_journal_end_append(j, e) : rc;
}

void bm_journal_committed(struct bm_journal *j)
{
    if (j->written && j->n_items != 0)
        bm_journal_end_keep(j);
    drop_pending(j);
}

/* After a commit that failed, the database is asked at once; when it does not answer, the next record asks again. */
void bm_journal_rolled_back(struct bm_journal *j)
{
    if (j->written)
        (void)bm_journal_end_look_back(j, NULL);
    if (j->n_known != j->n_before)
        bm_journal_forget_statements(j);
    drop_pending(j);
}

void bm_journal_rotate(struct bm_journal *j)
{
    j->rotate = true;
}

struct bm_journal_state bm_journal_state(const struct bm_journal *j)
{
    return (struct bm_journal_state){ .place = j->place, .segment = j->segment, .start = j->start };
}
