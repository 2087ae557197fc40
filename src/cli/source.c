#include "cli/manifest.h"

#include "base/clock.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

/* --- a file in blocks -------------------------------------------------------------------------------------------------------- */
static ssize_t read_chunk(int fd, uint8_t *to)
{
    ssize_t n;

    do
        n = read(fd, to, BM_MANIFEST_CHUNK);
    while (n < 0 && errno == EINTR);
    return n;
}

static enum bm_rc feed(struct bm_cli_source *s, const uint8_t *p, ssize_t n, struct bm_error *e)
{
    if (n < 0)
        return bm_fail(e, BM_IO, "cannot read the manifest: %s", strerror(errno));
    if (n == 0) {
        s->eof = true;
        bm_manifest_split_end(&s->split);
        return BM_OK;
    }
    return bm_manifest_split_put(&s->split, bm_rd_of(p, (size_t)n), e);
}

static const struct bm_manifest_format *choose(const char *format, struct bm_rd beginning)
{
    bool guess = format == NULL || strcmp(format, "auto") == 0;

    return guess ? bm_manifest_format_guess(beginning) : bm_manifest_format_find(format);
}

enum bm_rc bm_cli_source_open(const char *path, const char *format, struct bm_cli_source *ret, struct bm_error *e)
{
    uint8_t first[BM_MANIFEST_CHUNK];
    ssize_t n;

    ret->fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (ret->fd < 0)
        return bm_fail(e, errno == ENOENT ? BM_NOTFOUND : BM_IO, "%s: %s", path, strerror(errno));
    n = read_chunk(ret->fd, first);
    if (n < 0)
        return bm_fail(e, BM_IO, "%s: %s", path, strerror(errno));
    if (n == 0)
        return bm_refuse(e, BM_MALFORMED, "manifest-cut-short", "%s is empty", strcmp(path, "-") == 0 ? "standard input" : path);
    ret->format = choose(format, bm_rd_of(first, (size_t)n));
    if (ret->format == NULL && format != NULL && strcmp(format, "auto") != 0)
        return bm_fail(e, BM_USAGE, "--format %s: there are birthmark and microchip", format);
    if (ret->format == NULL)
        return bm_refuse(e, BM_MALFORMED, "manifest-format", "%s is no manifest: it begins with neither { nor [",
                         strcmp(path, "-") == 0 ? "standard input" : path);
    bm_manifest_split_init(&ret->split, ret->format);
    return feed(ret, first, n, e);
}

void bm_cli_source_done(struct bm_cli_source *s)
{
    if (s->fd >= 0)
        close(s->fd);
    bm_manifest_split_done(&s->split);
}

enum bm_rc bm_cli_source_next(struct bm_cli_source *s, struct bm_manifest_block *ret, struct bm_error *e)
{
    uint8_t part[BM_MANIFEST_CHUNK];
    enum bm_rc rc;

    while ((rc = bm_manifest_split_next(&s->split, ret, e)) == BM_AGAIN) {
        if (s->eof)
            return bm_fail(e, BM_BUG, "the manifest's splitter asks for more after the end");
        rc = feed(s, part, read_chunk(s->fd, part), e);
        if (rc != BM_OK)
            return rc;
    }
    return rc;
}

/* --- progress ---------------------------------------------------------------------------------------------------------------- */
enum { TELL_EVERY_MS = 100 };

static int64_t per_second(const struct bm_cli_progress *p, int64_t now)
{
    return now > p->began_ms ? p->n * 1000 / (now - p->began_ms) : p->n;
}

void bm_cli_progress_begin(struct bm_cli_progress *p, struct bm_cli *c)
{
    *p = (struct bm_cli_progress){ .c = c, .shown = !c->quiet && isatty(fileno(c->err)) == 1 };
    p->began_ms = p->told_ms = bm_clock_steady_ms();
}

void bm_cli_progress_add(struct bm_cli_progress *p, int64_t n)
{
    int64_t now = bm_clock_steady_ms();

    p->n += n;
    if (!p->shown || now < p->told_ms + TELL_EVERY_MS)
        return;
    p->told_ms = now;
    fprintf(p->c->err, "\r%" PRId64 " entries, %" PRId64 " a second ", p->n, per_second(p, now));
    fflush(p->c->err);
}

void bm_cli_progress_end(struct bm_cli_progress *p, json_t *totals)
{
    int64_t now = bm_clock_steady_ms();

    if (p->shown && p->told_ms != p->began_ms)
        fprintf(p->c->err, "\r%60s\r", "");
    json_object_set_new(totals, "seconds", json_real((double)(now - p->began_ms) / 1000));
    json_object_set_new(totals, "per_second", json_integer(per_second(p, now)));
}
