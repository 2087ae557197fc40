/* The journal, to write. A record is on disk before the database is asked to commit; what the database then says decides whether it stays. */
#include "store/journal_format.h"

#include "base/clock.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum { PATH_LEN = 4096, KEEP_BUFFER = 4 * 1024 * 1024, INDEX = 2 * BM_JOURNAL_STATEMENTS_MAX };

/* A statement as the records know it. */
struct known {
    const struct bm_sql *sql;
    uint16_t number;
    bool has_id, leaf;
};

struct bm_journal {
    char dir[PATH_LEN - 32];
    struct bm_store *store;
    int lock_fd, fd;          /* fd -1: the next record begins a segment */
    uint64_t segment, newest; /* numbers of files: that of fd, and the highest there is */
    int64_t end;              /* of the last good record in fd */
    bool torn;                /* behind that may be more */
    bool suspect;             /* an fsync of fd has failed */
    bool rotate;              /* the next record goes into a new segment */
    uint32_t schema;
    struct bm_journal_place place; /* of the registry: the last transaction that was committed */
    struct bm_journal_place next;  /* of the record written last */
    bool written;                  /* it is on disk, and the database has not said yes */
    int64_t written_len;
    bool quiet; /* what the store is told now is our own */
    enum bm_journal_start start;
    struct known known[INDEX];  /* open addressing by address */
    uint16_t n_known, n_before; /* n_before: when the pending record was begun */
    struct bm_buf record;       /* the pending one */
    uint32_t n_items;
    int64_t leaves;
};

static enum bm_rc unavailable(struct bm_error *e, const char *what, const char *path)
{
    int why = errno;

    return bm_refuse(e, BM_IO, "journal-unavailable", "the journal cannot be written: %s %s: %s", what, path, strerror(why));
}

/* --- statements ----------------------------------------------------------------------------------------------------------------- */
/* They are defined again before their next use; a later definition of a number counts. */
static void forget_statements(struct bm_journal *j)
{
    memset(j->known, 0, sizeof j->known);
    j->n_known = j->n_before = 0;
}

static struct known *known_of(struct bm_journal *j, const struct bm_sql *sql)
{
    size_t i = ((uintptr_t)sql >> 3) * 0x9e3779b1u;

    for (i = (i >> 8) % INDEX; j->known[i].sql != NULL && j->known[i].sql != sql; i = (i + 1) % INDEX)
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

/* --- the end of the journal ----------------------------------------------------------------------------------------------------- */
static void close_segment(struct bm_journal *j)
{
    if (j->fd >= 0)
        close(j->fd);
    j->fd = -1;
    j->torn = j->suspect = j->rotate = false;
}

/* Takes off what stands behind the last good record. */
static enum bm_rc mend(struct bm_journal *j, struct bm_error *e)
{
    if (!j->torn || j->fd < 0)
        return BM_OK;
    if (ftruncate(j->fd, j->end) != 0 || lseek(j->fd, j->end, SEEK_SET) < 0)
        return unavailable(e, "its end in", j->dir);
    j->torn = false;
    return BM_OK;
}

static enum bm_rc open_end(struct bm_journal *j, uint64_t number, int64_t end, struct bm_error *e)
{
    char path[PATH_LEN];

    bm_journal_path(j->dir, number, path, sizeof path);
    close_segment(j);
    j->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (j->fd < 0 || lseek(j->fd, end, SEEK_SET) < 0) {
        enum bm_rc rc = unavailable(e, "a segment in", j->dir);

        close_segment(j);
        return rc;
    }
    j->segment = number;
    j->end = end;
    return BM_OK;
}

/* Its head says which record it joins, so whatever stands behind that in an older one is no part of history. */
static enum bm_rc new_segment(struct bm_journal *j, struct bm_error *e)
{
    struct bm_journal_head h = { .first = j->place.seq + 1, .schema = j->schema, .at_ms = bm_clock_ms() };
    uint8_t head[BM_JOURNAL_HEAD_LEN];
    char path[PATH_LEN];
    struct bm_error why = { 0 };

    (void)mend(j, NULL);
    memcpy(h.chain, j->place.chain, sizeof h.chain);
    memcpy(h.prev, j->place.sha256, sizeof h.prev);
    bm_journal_head_write(&h, head);
    bm_journal_path(j->dir, j->newest + 1, path, sizeof path);
    if (bm_file_create(path, bm_rd_of(head, sizeof head), 0600, &why) != BM_OK) /* never there without its head */
        return bm_refuse(e, BM_IO, "journal-unavailable", "the journal cannot be written: %s", why.what);
    j->newest++;
    forget_statements(j);
    return open_end(j, j->newest, sizeof head, e);
}

/* One that holds no record yet is as good as a new one. */
static enum bm_rc room_for_more(struct bm_journal *j, struct bm_error *e)
{
    bool used = j->end > BM_JOURNAL_HEAD_LEN;

    if (j->fd < 0 || j->suspect || (used && (j->rotate || j->end >= BM_JOURNAL_SEGMENT_MAX)))
        return new_segment(j, e);
    j->rotate = false;
    return mend(j, e);
}

static void keep(struct bm_journal *j)
{
    j->place = j->next;
    j->end += j->written_len;
    j->written = false;
}

/* The record written last is no part of history. When it cannot be cut off, the next segment's head leaves it behind. */
static void take_back(struct bm_journal *j)
{
    j->written = false;
    j->torn = true;
    j->suspect = mend(j, NULL) != BM_OK;
    forget_statements(j);
}

static bool same_place(const struct bm_journal_place *a, const struct bm_journal_place *b)
{
    return a->seq == b->seq && memcmp(a->chain, b->chain, sizeof a->chain) == 0 &&
           memcmp(a->sha256, b->sha256, sizeof a->sha256) == 0;
}

/* What became of the record written last, when commit did not say: the registry knows. */
static enum bm_rc look_back(struct bm_journal *j, struct bm_error *e)
{
    struct bm_journal_place is;
    enum bm_rc rc;

    if (!j->written)
        return BM_OK;
    rc = bm_journal_place_get(j->store, &is, e);
    if (rc != BM_OK)
        return rc;
    if (same_place(&is, &j->next))
        keep(j);
    else if (same_place(&is, &j->place))
        take_back(j);
    else
        return bm_refuse(e, BM_IO, "registry-replaced",
                         "another process has written to the registry: stop this server and start it again");
    return BM_OK;
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
    rc = look_back(j, e);
    if (rc == BM_OK)
        rc = room_for_more(j, e);
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
        *known_of(j, sql) = (struct known){ sql, j->n_known++, i.has_id, begins(sql->text, "INSERT INTO audit_leaf ") };
    return rc;
}

static enum bm_rc note_run(struct bm_journal *j, const struct known *k, struct bm_args args, int64_t changes, int64_t id,
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

static bool put_out(int fd, struct bm_rd b)
{
    while (b.n != 0) {
        ssize_t n = write(fd, b.p, b.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        b = bm_rd_of(b.p + n, b.n - (size_t)n);
    }
    return true;
}

/* After a failed fsync nothing is known of what the file holds, and asking again would only say yes: it is left behind. */
static enum bm_rc append(struct bm_journal *j, struct bm_error *e)
{
    bool out = put_out(j->fd, bm_buf_rd(&j->record));
    enum bm_rc rc;

    if (out && fdatasync(j->fd) == 0) {
        j->written = true;
        j->written_len = (int64_t)j->record.n;
        return BM_OK;
    }
    rc = unavailable(e, "a record in", j->dir);
    j->suspect = out;
    j->torn = true;
    (void)mend(j, NULL);
    return rc;
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
    return rc == BM_OK ? append(j, e) : rc;
}

void bm_journal_committed(struct bm_journal *j)
{
    if (j->written && j->n_items != 0)
        keep(j);
    drop_pending(j);
}

/* After a commit that failed, the database is asked at once; when it does not answer, the next record asks again. */
void bm_journal_rolled_back(struct bm_journal *j)
{
    if (j->written)
        (void)look_back(j, NULL);
    if (j->n_known != j->n_before)
        forget_statements(j);
    drop_pending(j);
}

/* --- opening -------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc take_lock(struct bm_journal *j, struct bm_error *e)
{
    char path[PATH_LEN];

    snprintf(path, sizeof path, "%s/lock", j->dir);
    j->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (j->lock_fd < 0)
        return unavailable(e, "its lock", path);
    if (flock(j->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return bm_refuse(e, BM_CONFLICT, "in-use", "another birthmark process writes the journal in %s", j->dir);
    return BM_OK;
}

static enum bm_rc save_place(struct bm_journal *j, struct bm_error *e)
{
    enum bm_rc rc = bm_store_begin(j->store, e);

    if (rc != BM_OK)
        return rc;
    rc = bm_journal_place_set(j->store, &j->place, e);
    if (rc == BM_OK)
        rc = bm_store_commit(j->store, e);
    if (rc != BM_OK)
        bm_store_rollback(j->store);
    return rc;
}

/* The registry's changes until now are in no journal. */
static enum bm_rc begin_chain(struct bm_journal *j, int64_t leaves, struct bm_error *e)
{
    j->place = (struct bm_journal_place){ .log_size = leaves };
    j->start = BM_JOURNAL_BEGUN;
    if (RAND_bytes(j->place.chain, sizeof j->place.chain) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    return save_place(j, e);
}

/* Where the last segment of the chain ends, and where our place in it is. */
struct tail {
    uint64_t seq;      /* of its last record */
    int64_t end;       /* of the record at our place; 0: not in it */
    bool torn, broken; /* broken: whole records behind something that is none */
};

static enum bm_rc find_tail(const struct bm_journal *j, const struct bm_journal_segment *s, struct tail *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_journal_reader_done) struct bm_journal_reader r = { 0 };
    struct bm_journal_record rec;
    struct tail t = { 0 };
    enum bm_rc rc = bm_journal_reader_open(j->dir, s, &r, e);

    while (rc == BM_OK) {
        if (r.seq == j->place.seq + 1 && memcmp(r.prev, j->place.sha256, sizeof r.prev) == 0)
            t.end = r.at;
        rc = bm_journal_reader_next(&r, &rec, e);
    }
    if (rc != BM_NOTFOUND && rc != BM_MALFORMED)
        return rc;
    t.seq = r.seq - 1;
    t.torn = rc == BM_MALFORMED;
    t.broken = t.torn && !bm_journal_reader_torn(&r);
    *ret = t;
    return BM_OK;
}

static enum bm_rc ahead(const struct bm_journal *j, uint64_t seq, struct bm_error *e)
{
    return bm_refuse(e, BM_CONFLICT, "journal-ahead",
                     "the journal in %s goes on to record %" PRIu64 ", the registry ends with %" PRIu64
                     ": restore a backup with --journal, or move the journal away if what it holds is to be forgotten",
                     j->dir, seq, j->place.seq);
}

/* One record more than the registry has is what a death between journal and commit leaves: it was never acknowledged. */
static enum bm_rc join_tail(struct bm_journal *j, const struct bm_journal_segment *s, struct bm_error *e)
{
    struct tail t;
    enum bm_rc rc = find_tail(j, s, &t, e);

    if (rc != BM_OK)
        return rc;
    if (t.end == 0 && t.seq >= j->place.seq)
        return ahead(j, t.seq, e);
    if (t.end == 0) {
        j->start = BM_JOURNAL_GAP;
        return BM_OK;
    }
    if (t.seq > j->place.seq + 1 || t.broken)
        return ahead(j, t.seq, e);
    if (s->head.schema != j->schema)
        return BM_OK;
    rc = open_end(j, s->number, t.end, e);
    j->torn = t.torn || t.seq > j->place.seq;
    j->start = j->torn ? BM_JOURNAL_MENDED : BM_JOURNAL_JOINED;
    return rc == BM_OK ? mend(j, e) : rc;
}

static enum bm_rc join(struct bm_journal *j, struct bm_error *e)
{
    BM_CLEANUP(bm_journal_folder_done) struct bm_journal_folder f = { 0 };
    const struct bm_journal_segment *last = NULL;
    enum bm_rc rc = bm_journal_folder_read(j->dir, &f, e);

    for (size_t i = 0; rc == BM_OK && i < f.n; i++) {
        j->newest = f.of[i].number;
        if (!f.of[i].bad && memcmp(f.of[i].head.chain, j->place.chain, sizeof j->place.chain) == 0)
            last = &f.of[i];
    }
    if (rc != BM_OK || j->start == BM_JOURNAL_BEGUN)
        return rc;
    if (last != NULL)
        return join_tail(j, last, e);
    j->start = j->place.seq == 0 ? BM_JOURNAL_JOINED : BM_JOURNAL_GAP;
    return BM_OK;
}

static enum bm_rc find_place(struct bm_journal *j, struct bm_error *e)
{
    const struct bm_db_driver *d;
    struct bm_db *db = bm_store_db(j->store, &d);
    int64_t schema = 0, leaves = 0;
    enum bm_rc rc = d->schema(db, &schema, e);

    j->schema = (uint32_t)schema;
    if (rc == BM_OK)
        rc = bm_audit_leaf_count(j->store, &leaves, e);
    if (rc != BM_OK)
        return rc;
    rc = bm_journal_place_get(j->store, &j->place, e);
    if (rc == BM_NOTFOUND || (rc == BM_OK && j->place.log_size != leaves))
        return begin_chain(j, leaves, e);
    return rc;
}

static void closep(struct bm_journal **j)
{
    bm_journal_close(*j);
}

enum bm_rc bm_journal_open(const char *dir, struct bm_store *s, struct bm_journal **ret, struct bm_error *e)
{
    BM_CLEANUP(closep) struct bm_journal *j = calloc(1, sizeof *j);
    enum bm_rc rc;

    if (j == NULL)
        return bm_fail(e, BM_NOMEM, "journal: out of memory");
    j->lock_fd = j->fd = -1;
    j->store = s;
    j->record.max = (size_t)BM_JOURNAL_RECORD_MAX + BM_JOURNAL_FRAME_LEN + 32;
    if ((size_t)snprintf(j->dir, sizeof j->dir, "%s", dir) >= sizeof j->dir)
        return bm_fail(e, BM_LIMIT, "%s: path too long", dir);
    rc = take_lock(j, e);
    if (rc == BM_OK)
        rc = find_place(j, e);
    if (rc == BM_OK)
        rc = join(j, e);
    if (rc == BM_OK && j->fd < 0) /* now, so that a journal that cannot be written stops the start */
        rc = new_segment(j, e);
    if (rc != BM_OK)
        return rc;
    bm_store_set_journal(s, j);
    *ret = BM_MOVE(j);
    return BM_OK;
}

void bm_journal_close(struct bm_journal *j)
{
    if (j == NULL)
        return;
    bm_store_set_journal(j->store, NULL);
    close_segment(j);
    if (j->lock_fd >= 0)
        close(j->lock_fd);
    bm_buf_done(&j->record);
    free(j);
}

enum bm_rc bm_journal_forget(struct bm_store *s, struct bm_error *e)
{
    struct bm_journal_place was;
    enum bm_rc rc = bm_journal_place_get(s, &was, e);

    if (rc == BM_NOTFOUND)
        return BM_OK;
    rc = bm_store_begin(s, e);
    if (rc != BM_OK)
        return rc;
    rc = bm_journal_place_drop(s, e);
    if (rc == BM_OK)
        rc = bm_store_commit(s, e);
    if (rc != BM_OK)
        bm_store_rollback(s);
    return rc;
}

void bm_journal_rotate(struct bm_journal *j)
{
    j->rotate = true;
}

struct bm_journal_state bm_journal_state(const struct bm_journal *j)
{
    return (struct bm_journal_state){ .place = j->place, .segment = j->segment, .start = j->start };
}
