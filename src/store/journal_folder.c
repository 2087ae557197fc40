/* The journal on disk, to read: which segments there are, their records one by one, and those of them that became history. */
#include "store/journal_format.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_LEN = 4096, PLACE_LEN = 16 + 8 + 32 + 8 };
/* What is hashed at most to find out whether a record follows a damaged one. */
static const size_t search_max = (size_t)4 * BM_JOURNAL_RECORD_MAX;

/* --- places --------------------------------------------------------------------------------------------------------------------- */
static const char place_key[] = "journal";

enum bm_rc bm_journal_place_get(struct bm_store *s, struct bm_journal_place *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf value = { .max = 4096 };
    struct bm_journal_place p;
    uint64_t log_size;
    struct bm_rd r;
    enum bm_rc rc = bm_meta_get(s, place_key, &value, e);

    if (rc != BM_OK)
        return rc;
    r = bm_buf_rd(&value);
    if (r.n != PLACE_LEN || !bm_rd_copy(&r, p.chain, sizeof p.chain) || !bm_rd_u64(&r, &p.seq) ||
        !bm_rd_copy(&r, p.sha256, sizeof p.sha256) || !bm_rd_u64(&r, &log_size) || p.seq >= INT64_MAX || log_size > INT64_MAX)
        return bm_fail(e, BM_IO, "store: the registry's place in its journal is not one of this program");
    p.log_size = (int64_t)log_size;
    *ret = p;
    return BM_OK;
}

enum bm_rc bm_journal_place_set(struct bm_store *s, const struct bm_journal_place *p, struct bm_error *e)
{
    uint8_t value[PLACE_LEN];
    struct bm_wr w = bm_wr_of(value, sizeof value);

    bm_wr_put(&w, p->chain, sizeof p->chain);
    bm_wr_uint(&w, 8, p->seq);
    bm_wr_put(&w, p->sha256, sizeof p->sha256);
    bm_wr_uint(&w, 8, (uint64_t)p->log_size);
    return bm_meta_set(s, place_key, bm_wr_rd(&w), e);
}

enum bm_rc bm_journal_place_drop(struct bm_store *s, struct bm_error *e)
{
    static const struct bm_sql drop = { "DELETE FROM meta WHERE key = ?" };

    return bm_db_run(s, &drop, BM_ARGS(bm_arg_text(place_key)), e);
}

/* --- segments ------------------------------------------------------------------------------------------------------------------- */
static const char suffix[] = ".journal";

void bm_journal_path(const char *dir, uint64_t number, char *ret, size_t room)
{
    snprintf(ret, room, "%s/%08" PRIu64 "%s", dir, number, suffix);
}

static bool number_of(const char *name, uint64_t *ret)
{
    size_t n = strspn(name, "0123456789");

    if (n < 8 || n > 18 || strcmp(name + n, suffix) != 0)
        return false;
    *ret = strtoull(name, NULL, 10);
    return *ret != 0;
}

static int by_number(const void *a, const void *b)
{
    const struct bm_journal_segment *x = a, *y = b;

    return x->number < y->number ? -1 : x->number > y->number;
}

static enum bm_rc open_segment(const char *dir, uint64_t number, int *ret, int64_t *ret_size, struct bm_error *e)
{
    char path[PATH_LEN];
    struct stat st;
    int fd;

    bm_journal_path(dir, number, path, sizeof path);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return bm_fail(e, errno == ENOENT ? BM_NOTFOUND : BM_IO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return bm_fail(e, BM_IO, "%s: not a file to read", path);
    }
    *ret = fd;
    *ret_size = st.st_size;
    return BM_OK;
}

static enum bm_rc read_at(int fd, void *ret, size_t n, int64_t at, struct bm_error *e)
{
    uint8_t *p = ret;

    while (n != 0) {
        ssize_t got = pread(fd, p, n, at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return bm_fail(e, BM_IO, "journal: %s", got == 0 ? "the file has become shorter" : strerror(errno));
        p += got;
        n -= (size_t)got;
        at += got;
    }
    return BM_OK;
}

/* Without a head it is told as bad: whether that matters depends on what comes after it. */
static enum bm_rc look_into(const char *dir, struct bm_journal_segment *s, struct bm_error *e)
{
    uint8_t head[BM_JOURNAL_HEAD_LEN];
    int fd = -1;
    enum bm_rc rc = open_segment(dir, s->number, &fd, &s->size, e);

    if (rc != BM_OK)
        return rc;
    s->bad = s->size < BM_JOURNAL_HEAD_LEN;
    if (!s->bad)
        rc = read_at(fd, head, sizeof head, 0, e);
    close(fd);
    s->bad = s->bad || (rc == BM_OK && bm_journal_head_parse(bm_rd_of(head, sizeof head), &s->head, NULL) != BM_OK);
    return rc;
}

static enum bm_rc add_segment(struct bm_journal_folder *f, uint64_t number, struct bm_error *e)
{
    struct bm_journal_segment *more, s = { .number = number };
    enum bm_rc rc;

    if (f->n == BM_JOURNAL_SEGMENTS_MAX)
        return bm_fail(e, BM_LIMIT, "%s: more than %d segments", f->dir, BM_JOURNAL_SEGMENTS_MAX);
    rc = look_into(f->dir, &s, e);
    if (rc == BM_NOTFOUND) /* taken away meanwhile */
        return BM_OK;
    if (rc != BM_OK)
        return rc;
    more = realloc(f->of, (f->n + 1) * sizeof *f->of);
    if (more == NULL)
        return bm_fail(e, BM_NOMEM, "journal: out of memory");
    f->of = more;
    f->of[f->n++] = s;
    return BM_OK;
}

void bm_journal_folder_done(struct bm_journal_folder *f)
{
    free(f->of);
    *f = (struct bm_journal_folder){ 0 };
}

enum bm_rc bm_journal_folder_read(const char *dir, struct bm_journal_folder *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_journal_folder_done) struct bm_journal_folder f = { .dir = dir };
    const struct dirent *entry;
    uint64_t number;
    DIR *d = opendir(dir);
    enum bm_rc rc = BM_OK;

    if (d == NULL)
        return bm_fail(e, errno == ENOENT ? BM_NOTFOUND : BM_IO, "%s: %s", dir, strerror(errno));
    while (rc == BM_OK && (entry = readdir(d)) != NULL)
        if (number_of(entry->d_name, &number))
            rc = add_segment(&f, number, e);
    closedir(d);
    if (rc != BM_OK)
        return rc;
    if (f.n != 0)
        qsort(f.of, f.n, sizeof *f.of, by_number);
    *ret = f;
    f = (struct bm_journal_folder){ 0 };
    return BM_OK;
}

/* --- records of one segment ----------------------------------------------------------------------------------------------------- */
void bm_journal_reader_done(struct bm_journal_reader *r)
{
    if (r->fd > 0)
        close(r->fd);
    bm_buf_done(&r->buf);
    *r = (struct bm_journal_reader){ 0 };
}

enum bm_rc bm_journal_reader_open(const char *dir, const struct bm_journal_segment *s, struct bm_journal_reader *ret,
                                  struct bm_error *e)
{
    struct bm_journal_reader r = { .at = BM_JOURNAL_HEAD_LEN,
                                   .seq = s->head.first,
                                   .buf.max = (size_t)BM_JOURNAL_RECORD_MAX + BM_JOURNAL_FRAME_LEN + 32 };
    enum bm_rc rc = open_segment(dir, s->number, &r.fd, &r.size, e);

    if (rc != BM_OK)
        return rc;
    memcpy(r.prev, s->head.prev, sizeof r.prev);
    *ret = r;
    return BM_OK;
}

static enum bm_rc fill(struct bm_journal_reader *r, size_t n, struct bm_error *e)
{
    uint8_t *to;
    enum bm_rc rc;

    if (n > (uint64_t)(r->size - r->at))
        return bm_fail(e, BM_MALFORMED, "journal: a record that is cut off");
    r->buf.n = 0;
    to = bm_buf_room(&r->buf, n);
    if (to == NULL)
        return bm_fail(e, BM_NOMEM, "journal: out of memory");
    rc = read_at(r->fd, to, n, r->at, e);
    r->buf.n = rc == BM_OK ? n : 0;
    return rc;
}

enum bm_rc bm_journal_reader_next(struct bm_journal_reader *r, struct bm_journal_record *ret, struct bm_error *e)
{
    struct bm_journal_record rec;
    size_t len = 0;
    enum bm_rc rc;

    if (r->at == r->size)
        return bm_fail(e, BM_NOTFOUND, "journal: the end of the segment");
    rc = fill(r, BM_JOURNAL_FRAME_LEN, e);
    if (rc == BM_OK)
        rc = bm_journal_frame_parse(bm_buf_rd(&r->buf), &len, e);
    if (rc == BM_OK)
        rc = fill(r, len, e);
    if (rc == BM_OK)
        rc = bm_journal_record_parse(bm_buf_rd(&r->buf), &rec, e);
    if (rc != BM_OK)
        return rc;
    if (rec.seq != r->seq || memcmp(rec.prev, r->prev, sizeof rec.prev) != 0)
        return bm_fail(e, BM_MALFORMED, "journal: a record that does not follow the one before it");
    r->at += (int64_t)len;
    r->seq++;
    memcpy(r->prev, rec.sha256, sizeof r->prev);
    *ret = rec;
    return BM_OK;
}

/* Whether a whole record stands anywhere in `in` behind its first byte; true also when that takes too long to find out. */
static bool holds_record(struct bm_rd in)
{
    struct bm_journal_record rec;
    size_t len, hashed = 0;

    for (size_t i = 1; i + BM_JOURNAL_FRAME_LEN <= in.n; i++) {
        if (in.p[i] != 'B' || bm_journal_frame_parse(bm_rd_of(in.p + i, BM_JOURNAL_FRAME_LEN), &len, NULL) != BM_OK ||
            len > in.n - i)
            continue;
        hashed += len;
        if (hashed > search_max || bm_journal_record_parse(bm_rd_of(in.p + i, len), &rec, NULL) == BM_OK)
            return true;
    }
    return false;
}

/* A record is on disk before the next one is begun, so behind one that was cut off there is nothing. */
bool bm_journal_reader_torn(struct bm_journal_reader *r)
{
    return (uint64_t)(r->size - r->at) <= r->buf.max && fill(r, (size_t)(r->size - r->at), NULL) == BM_OK &&
           !holds_record(bm_buf_rd(&r->buf));
}

/* --- a chain -------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc damaged(const struct bm_journal_folder *f, const struct bm_journal_segment *s, int64_t at,
                          const struct bm_error *why, struct bm_error *e)
{
    char path[PATH_LEN], what[sizeof why->what];

    snprintf(what, sizeof what, "%s", why->what);
    bm_journal_path("", s->number, path, sizeof path);
    return bm_refuse(e, BM_DENIED, "journal-damaged", "%s of %s, at byte %" PRId64 ": %s", path + 1, f->dir, at, what);
}

static enum bm_rc gap(uint64_t first, uint64_t last, struct bm_error *e)
{
    return bm_refuse(e, BM_DENIED, "journal-gap", "the journal lacks records %" PRIu64 " to %" PRIu64, first, last);
}

static bool of_chain(const struct bm_journal_segment *s, const uint8_t chain[16])
{
    return !s->bad && memcmp(s->head.chain, chain, sizeof s->head.chain) == 0;
}

/* The next segment of the chain after i, or f->n. */
static size_t next_of(const struct bm_journal_folder *f, const uint8_t chain[16], size_t i)
{
    while (i < f->n && !of_chain(&f->of[i], chain))
        i++;
    return i;
}

struct walk {
    const struct bm_journal_folder *f;
    const uint8_t *chain;
    uint64_t seq; /* told last */
    uint8_t prev[32];
    uint64_t until;
    bm_journal_fn *fn;
    void *arg;
    struct bm_journal_end end;
};

static enum bm_rc tell(struct walk *w, const struct bm_journal_segment *s, const struct bm_journal_record *rec, struct bm_error *e)
{
    enum bm_rc rc;

    if (rec->seq == w->seq && memcmp(rec->sha256, w->prev, sizeof w->prev) != 0)
        return bm_refuse(e, BM_DENIED, "journal-mismatch", "record %" PRIu64 " of the journal belongs to another history",
                         rec->seq);
    rc = w->fn(w->arg, s, rec, e);
    if (rc != BM_OK || rec->seq <= w->seq)
        return rc;
    w->seq = rec->seq;
    memcpy(w->prev, rec->sha256, sizeof w->prev);
    return BM_OK;
}

static enum bm_rc end_of(struct walk *w, const struct bm_journal_segment *s, struct bm_journal_reader *r, bool last,
                         const struct bm_error *why, struct bm_error *e)
{
    if (!last || !bm_journal_reader_torn(r))
        return damaged(w->f, s, r->at, why, e);
    w->end.torn = s->number;
    w->end.torn_at = r->at;
    w->end.torn_len = r->size - r->at;
    return BM_OK;
}

/* Records before `stop`, where the next segment goes on; there must be that many. */
static enum bm_rc walk_segment(struct walk *w, const struct bm_journal_segment *s, uint64_t stop, bool last, struct bm_error *e)
{
    BM_CLEANUP(bm_journal_reader_done) struct bm_journal_reader r = { 0 };
    struct bm_journal_record rec;
    struct bm_error why = { 0 };
    enum bm_rc rc = bm_journal_reader_open(w->f->dir, s, &r, e);

    if (rc == BM_OK && s->head.first == w->seq + 1 && memcmp(s->head.prev, w->prev, sizeof w->prev) != 0)
        return bm_refuse(e, BM_DENIED, "journal-mismatch", "record %" PRIu64 " of the journal belongs to another history",
                         w->seq + 1);
    while (rc == BM_OK && r.seq < stop && r.seq <= w->until) {
        rc = bm_journal_reader_next(&r, &rec, &why);
        if (rc == BM_NOTFOUND)
            return last ? BM_OK : gap(r.seq, stop - 1, e);
        if (rc == BM_MALFORMED)
            return end_of(w, s, &r, last, &why, e);
        rc = rc == BM_OK ? tell(w, s, &rec, e) : bm_fail(e, rc, "%s", why.what);
    }
    return rc;
}

/* The last segment that can hold the record after `from`; all before it is of no interest. */
static enum bm_rc first_segment(const struct walk *w, size_t *ret, struct bm_error *e)
{
    size_t found = w->f->n;

    for (size_t i = next_of(w->f, w->chain, 0); i < w->f->n; i = next_of(w->f, w->chain, i + 1)) {
        if (found == w->f->n && w->f->of[i].head.first > w->seq + 1)
            return gap(w->seq + 1, w->f->of[i].head.first - 1, e);
        if (w->f->of[i].head.first <= w->seq + 1)
            found = i;
    }
    *ret = found;
    return BM_OK;
}

/* A segment without a head may hold records of this chain: only at the very end, empty, is it of no account. */
static enum bm_rc check_heads(const struct bm_journal_folder *f, size_t from, struct bm_error *e)
{
    const struct bm_error why = { .what = "no head of a segment" };

    for (size_t i = from; i < f->n; i++)
        if (f->of[i].bad && (i + 1 < f->n || f->of[i].size > BM_JOURNAL_HEAD_LEN))
            return damaged(f, &f->of[i], 0, &why, e);
    return BM_OK;
}

enum bm_rc bm_journal_each(const struct bm_journal_folder *f, const uint8_t chain[16], uint64_t from, const uint8_t prev[32],
                           uint64_t until, bm_journal_fn *fn, void *arg, struct bm_journal_end *ret, struct bm_error *e)
{
    struct walk w = { .f = f, .chain = chain, .seq = from, .until = until, .fn = fn, .arg = arg };
    size_t i = 0, next;
    enum bm_rc rc;

    memcpy(w.prev, prev, sizeof w.prev);
    rc = first_segment(&w, &i, e);
    if (rc == BM_OK)
        rc = check_heads(f, i < f->n ? i : 0, e);
    for (; rc == BM_OK && i < f->n; i = next) {
        next = next_of(f, chain, i + 1);
        rc = walk_segment(&w, &f->of[i], next < f->n ? f->of[next].head.first : UINT64_MAX, next == f->n, e);
    }
    if (rc != BM_OK)
        return rc;
    w.end.last = w.seq;
    *ret = w.end;
    return BM_OK;
}
