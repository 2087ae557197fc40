/* manifest import: cuts the file into blocks and hands them to the keeper, which believes only the seals. Several blocks are on
 * their way at once; what was taken in stays, so an import that breaks off goes on when the same command runs again. */
#include "cli/manifest.h"

#include <errno.h>
#include <inttypes.h>

enum { LINES_NAMED = 20 };

struct import {
    struct bm_cli *c;
    struct bm_cli_source source;
    struct bm_cli_progress progress;
    FILE *report; /* --report, or NULL */
    int64_t id, next_seq;
    bool dry_run, complete, last;
    int64_t blocks, entries, added, known, allocated, bad, conflicts, named;
};

static void import_done(struct import *m)
{
    bm_cli_source_done(&m->source);
    if (m->report != NULL)
        fclose(m->report);
}

static int64_t number(const json_t *answer, const char *member)
{
    return json_integer_value(json_object_get(answer, member));
}

/* --- what was refused -------------------------------------------------------------------------------------------------------- */
static const char *text_of(const json_t *row, const char *member)
{
    const char *s = json_string_value(json_object_get(row, member));

    return s != NULL ? s : "";
}

/* "line 17: <reason> (code)" */
static void name_line(struct import *m, const json_t *row, const char *what)
{
    if (m->named++ >= LINES_NAMED)
        return;
    fprintf(m->c->err, "line %" PRId64 ": ", number(row, "line"));
    bm_cli_print_text(m->c->err, *text_of(row, "reason") != '\0' ? text_of(row, "reason") : what);
    fputs(" (", m->c->err);
    bm_cli_print_text(m->c->err, *text_of(row, "code") != '\0' ? text_of(row, "code") : what);
    fputs(")\n", m->c->err);
}

static void report_row(struct import *m, json_t *row, const char *what)
{
    if (m->report == NULL)
        return;
    json_object_set_new(row, "what", json_string(what));
    json_dumpf(row, m->report, JSON_COMPACT);
    fputc('\n', m->report);
}

/* Duplicates are no failure: the device is known with the same key and batch. They go to the report only. */
static void take_lines(struct import *m, const json_t *answer)
{
    static const struct {
        const char *member, *what;
        bool refused;
    } lists[] = { { "bad", "refused", true }, { "conflicts", "conflict", true }, { "duplicates", "known", false } };
    json_t *row;
    size_t k;

    for (size_t i = 0; i < BM_COUNT(lists); i++) {
        json_array_foreach (json_object_get(answer, lists[i].member), k, row) {
            report_row(m, row, lists[i].what);
            if (lists[i].refused)
                name_line(m, row, lists[i].what);
        }
    }
}

/* --- blocks ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc take_answer(struct import *m, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *a = NULL;
    enum bm_rc rc = bm_cli_link_receive(m->c->link, &a, e);

    if (rc != BM_OK)
        return bm_wrap(e, rc, "block %" PRId64, m->next_seq + m->blocks);
    m->blocks++;
    m->entries += number(a, "entries");
    m->added += number(a, "added");
    m->known += number(a, "known");
    m->allocated += number(a, "allocated");
    m->bad += number(a, "n_bad");
    m->conflicts += number(a, "n_conflicts");
    m->last = json_is_true(json_object_get(a, "last"));
    take_lines(m, a);
    bm_cli_progress_add(&m->progress, number(a, "entries"));
    return BM_OK;
}

static enum bm_rc send_block(struct import *m, const struct bm_manifest_block *b, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_pack("{ss,sI}", "op", "manifest.block", "manifest", (json_int_t)m->id);
    enum bm_rc rc = BM_OK;

    if (request == NULL || (m->dry_run && json_object_set_new(request, "dry_run", json_true()) != 0))
        return bm_fail(e, BM_NOMEM, "out of memory");
    if (bm_cli_link_pending(m->c->link) == BM_CLI_LINK_WINDOW)
        rc = take_answer(m, e);
    return rc == BM_OK ? bm_cli_link_send(m->c->link, request, b->raw, e) : rc;
}

/* The file may be damaged after good blocks: those that are on their way are waited for before that is told. */
static enum bm_rc drain(struct import *m, struct bm_error *e)
{
    while (bm_cli_link_pending(m->c->link) != 0) {
        enum bm_rc rc = take_answer(m, e);

        if (rc != BM_OK)
            return rc;
    }
    return BM_OK;
}

static enum bm_rc all_blocks(struct import *m, struct bm_manifest_block *b, struct bm_error *e)
{
    struct bm_error other;
    enum bm_rc rc = BM_OK, waited;

    while (rc == BM_OK) {
        if (b->seq >= (uint64_t)m->next_seq)
            rc = send_block(m, b, e);
        if (rc == BM_OK)
            rc = bm_cli_source_next(&m->source, b, e);
    }
    if (rc != BM_NOTFOUND) {
        waited = m->last || m->c->link == NULL ? BM_OK : drain(m, &other);
        (void)waited; /* the first trouble is the one to tell */
        return rc;
    }
    return drain(m, e);
}

/* --- begin ------------------------------------------------------------------------------------------------------------------- */
static struct bm_rd first_line(struct bm_rd block)
{
    const uint8_t *lf = block.n == 0 ? NULL : memchr(block.p, '\n', block.n);

    return bm_rd_of(block.p, lf != NULL ? (size_t)(lf - block.p) : block.n);
}

static enum bm_rc begin(struct import *m, const struct bm_manifest_block *b, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_pack("{ss,ss}", "op", "manifest.begin", "format", m->source.format->name);
    BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;
    const char *batch = bm_cli_text(m->c, "batch");
    enum bm_rc rc = bm_cli_open(m->c, e);

    if (rc != BM_OK)
        return rc;
    if (request == NULL || (batch != NULL && json_object_set_new(request, "batch", json_string(batch)) != 0) ||
        (m->dry_run && json_object_set_new(request, "dry_run", json_true()) != 0))
        return bm_fail(e, BM_NOMEM, "out of memory");
    rc = bm_cli_link_ask(m->c->link, request, first_line(b->raw), &answer, e);
    if (rc != BM_OK)
        return rc;
    m->id = number(answer, "manifest");
    m->next_seq = number(answer, "next_seq");
    m->complete = json_is_true(json_object_get(answer, "complete"));
    if (m->complete)
        bm_cli_note(m->c, "This manifest has been imported before, to its end: nothing to do.\n");
    else if (m->next_seq != 0)
        bm_cli_note(m->c, "An earlier import got as far as block %" PRId64 "; going on from there.\n", m->next_seq);
    return BM_OK;
}

static enum bm_rc open_report(struct import *m, struct bm_error *e)
{
    const char *path = bm_cli_text(m->c, "report");

    if (path == NULL)
        return BM_OK;
    m->report = fopen(path, "we");
    return m->report != NULL ? BM_OK : bm_fail(e, BM_IO, "--report %s: %s", path, strerror(errno));
}

/* --- totals ------------------------------------------------------------------------------------------------------------------ */
static void print_totals(struct import *m)
{
    BM_CLEANUP(bm_cli_unref)
    json_t *t = json_pack("{sI,sI,sI,sI,sI,sI,sI,sI,sb}", "manifest", (json_int_t)m->id, "blocks", (json_int_t)m->blocks, "entries",
                          (json_int_t)m->entries, "added", (json_int_t)m->added, "allocated", (json_int_t)m->allocated, "known",
                          (json_int_t)m->known, "refused", (json_int_t)m->bad, "conflicts", (json_int_t)m->conflicts, "complete",
                          m->complete || m->last);

    bm_cli_progress_end(&m->progress, t);
    if (m->dry_run)
        json_object_set_new(t, "dry_run", json_true());
    if (m->named > LINES_NAMED)
        fprintf(m->c->err, "and %" PRId64 " more; --report FILE takes them all\n", m->bad + m->conflicts - LINES_NAMED);
    if (m->c->json)
        bm_cli_print_json(m->c, t);
    else if (!m->c->quiet)
        bm_cli_print_record(m->c, t);
}

static enum bm_rc finish_report(struct import *m, struct bm_error *e)
{
    FILE *f = BM_MOVE(m->report);

    return f == NULL || fclose(f) == 0 ? BM_OK : bm_fail(e, BM_IO, "cannot write the report: %s", strerror(errno));
}

enum bm_rc bm_cli_manifest_import(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(import_done) struct import m = { .c = c, .source.fd = -1, .dry_run = bm_cli_flag(c, "dry_run") };
    struct bm_manifest_block b;
    enum bm_rc rc = bm_cli_source_open(bm_cli_text(c, "file"), bm_cli_text(c, "format"), &m.source, e);

    if (rc == BM_OK)
        rc = open_report(&m, e);
    if (rc == BM_OK)
        rc = bm_cli_source_next(&m.source, &b, e);
    if (rc == BM_OK)
        rc = begin(&m, &b, e);
    if (rc != BM_OK)
        return rc == BM_NOTFOUND && *e->what == '\0' ? bm_fail(e, BM_MALFORMED, "the file is empty") : rc;
    bm_cli_progress_begin(&m.progress, c);
    if (!m.complete)
        rc = all_blocks(&m, &b, e);
    print_totals(&m);
    if (rc == BM_OK)
        rc = finish_report(&m, e);
    if (rc == BM_OK && !m.complete && !m.last)
        rc = bm_refuse(e, BM_MALFORMED, "manifest-cut-short", "the file ends before the manifest does");
    if (rc == BM_OK && m.bad + m.conflicts != 0)
        rc = bm_refuse(e, BM_DENIED, "entries-refused", "%" PRId64 " entries were refused", m.bad + m.conflicts);
    return rc;
}
