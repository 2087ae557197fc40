/* The journal is opened: it goes on where the registry says it ends, or begins anew. */
#include "store/journal_impl.h"

#include <fcntl.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

static enum bm_rc take_lock(struct bm_journal *j, struct bm_error *e)
{
    char path[BM_JOURNAL_PATH_LEN];

    snprintf(path, sizeof path, "%s/lock", j->dir);
    j->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (j->lock_fd < 0)
        return bm_journal_unavailable(e, "its lock", path);
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
    rc = bm_journal_end_open(j, s->number, t.end, e);
    j->torn = t.torn || t.seq > j->place.seq;
    j->start = j->torn ? BM_JOURNAL_MENDED : BM_JOURNAL_JOINED;
    return rc == BM_OK ? bm_journal_end_mend(j, e) : rc;
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
        rc = bm_journal_end_new(j, e);
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
    bm_journal_end_close(j);
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
