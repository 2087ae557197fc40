/* The end of the journal: the segment that is written to, and what of it is history. */
#include "store/journal_impl.h"

#include "base/clock.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum bm_rc bm_journal_unavailable(struct bm_error *e, const char *what, const char *path)
{
    int why = errno;

    return bm_refuse(e, BM_IO, "journal-unavailable", "the journal cannot be written: %s %s: %s", what, path, strerror(why));
}

void bm_journal_end_close(struct bm_journal *j)
{
    if (j->fd >= 0)
        close(j->fd);
    j->fd = -1;
    j->torn = j->suspect = j->rotate = false;
}

enum bm_rc bm_journal_end_mend(struct bm_journal *j, struct bm_error *e)
{
    if (!j->torn || j->fd < 0)
        return BM_OK;
    if (ftruncate(j->fd, j->end) != 0 || lseek(j->fd, j->end, SEEK_SET) < 0)
        return bm_journal_unavailable(e, "its end in", j->dir);
    j->torn = false;
    return BM_OK;
}

enum bm_rc bm_journal_end_open(struct bm_journal *j, uint64_t number, int64_t end, struct bm_error *e)
{
    char path[BM_JOURNAL_PATH_LEN];

    bm_journal_path(j->dir, number, path, sizeof path);
    bm_journal_end_close(j);
    j->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (j->fd < 0 || lseek(j->fd, end, SEEK_SET) < 0) {
        enum bm_rc rc = bm_journal_unavailable(e, "a segment in", j->dir);

        bm_journal_end_close(j);
        return rc;
    }
    j->segment = number;
    j->end = end;
    return BM_OK;
}

/* Its head says which record it joins, so whatever stands behind that in an older one is no part of history. */
enum bm_rc bm_journal_end_new(struct bm_journal *j, struct bm_error *e)
{
    struct bm_journal_head h = { .first = j->place.seq + 1, .schema = j->schema, .at_ms = bm_clock_ms() };
    uint8_t head[BM_JOURNAL_HEAD_LEN];
    char path[BM_JOURNAL_PATH_LEN];
    struct bm_error why = { 0 };

    (void)bm_journal_end_mend(j, NULL);
    memcpy(h.chain, j->place.chain, sizeof h.chain);
    memcpy(h.prev, j->place.sha256, sizeof h.prev);
    bm_journal_head_write(&h, head);
    bm_journal_path(j->dir, j->newest + 1, path, sizeof path);
    if (bm_file_create(path, bm_rd_of(head, sizeof head), 0600, &why) != BM_OK) /* never there without its head */
        return bm_refuse(e, BM_IO, "journal-unavailable", "the journal cannot be written: %s", why.what);
    j->newest++;
    bm_journal_forget_statements(j);
    return bm_journal_end_open(j, j->newest, sizeof head, e);
}

/* One that holds no record yet is as good as a new one. */
enum bm_rc bm_journal_end_room(struct bm_journal *j, struct bm_error *e)
{
    bool used = j->end > BM_JOURNAL_HEAD_LEN;

    if (j->fd < 0 || j->suspect || (used && (j->rotate || j->end >= BM_JOURNAL_SEGMENT_MAX)))
        return bm_journal_end_new(j, e);
    j->rotate = false;
    return bm_journal_end_mend(j, e);
}

void bm_journal_end_keep(struct bm_journal *j)
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
    j->suspect = bm_journal_end_mend(j, NULL) != BM_OK;
    bm_journal_forget_statements(j);
}

static bool same_place(const struct bm_journal_place *a, const struct bm_journal_place *b)
{
    return a->seq == b->seq && memcmp(a->chain, b->chain, sizeof a->chain) == 0 &&
           memcmp(a->sha256, b->sha256, sizeof a->sha256) == 0;
}

/* What became of the record written last, when commit did not say: the registry knows. */
enum bm_rc bm_journal_end_look_back(struct bm_journal *j, struct bm_error *e)
{
    struct bm_journal_place is;
    enum bm_rc rc;

    if (!j->written)
        return BM_OK;
    rc = bm_journal_place_get(j->store, &is, e);
    if (rc != BM_OK)
        return rc;
    if (same_place(&is, &j->next))
        bm_journal_end_keep(j);
    else if (same_place(&is, &j->place))
        take_back(j);
    else
        return bm_refuse(e, BM_IO, "registry-replaced",
                         "another process has written to the registry: stop this server and start it again");
    return BM_OK;
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
enum bm_rc bm_journal_end_append(struct bm_journal *j, struct bm_error *e)
{
    bool out = put_out(j->fd, bm_buf_rd(&j->record));
    enum bm_rc rc;

    if (out && fdatasync(j->fd) == 0) {
        j->written = true;
        j->written_len = (int64_t)j->record.n;
        return BM_OK;
    }
    rc = bm_journal_unavailable(e, "a record in", j->dir);
    j->suspect = out;
    j->torn = true;
    (void)bm_journal_end_mend(j, NULL);
    return rc;
}
