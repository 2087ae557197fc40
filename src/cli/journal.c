/* journal list, show, verify, prune: the folder itself is read, whether or not a server writes to it. */
#include "cli/backup.h"

#include "base/text.h"
#include "store/journal_format.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

struct view {
    struct bm_config config;
    struct bm_journal_folder folder;
    json_t *rows;
};

static void view_done(struct view *v)
{
    bm_journal_folder_done(&v->folder);
    json_decref(v->rows);
}

static enum bm_rc view_open(const struct bm_cli *c, struct view *v, struct bm_error *e)
{
    const char *dir = bm_cli_text(c, "journal");
    enum bm_rc rc = dir == NULL ? bm_config_load(&v->config, c->data_dir, NULL, e) : BM_OK;

    dir = dir == NULL ? v->config.journal : dir;
    if (rc == BM_OK && dir[0] == '\0')
        return bm_refuse(e, BM_NOTFOUND, "no-journal", "there is no journal: 'journal' is not set in the configuration");
    v->rows = json_array();
    if (rc == BM_OK && v->rows == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    return rc == BM_OK ? bm_journal_folder_read(dir, &v->folder, e) : rc;
}

static enum bm_rc add_row(json_t *rows, json_t *row, struct bm_error *e)
{
    return row != NULL && json_array_append_new(rows, row) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "out of memory");
}

static enum bm_rc put_out(struct bm_cli *c, json_t *rows, struct bm_error *e)
{
    struct bm_cli_table t = { .c = c, .rows = c->verb->rows, .columns = c->verb->columns };
    BM_CLEANUP(bm_cli_unref) json_t *all = json_pack("{sO}", c->verb->rows, rows);

    if (all == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    if (c->json) {
        bm_cli_print_json(c, all);
        return BM_OK;
    }
    bm_cli_table_rows(&t, rows);
    bm_cli_table_end(&t, NULL);
    return BM_OK;
}

static const char *short_chain(const uint8_t chain[16], char ret[9])
{
    bm_hex(chain, 4, ret);
    return ret;
}

/* --- list ----------------------------------------------------------------------------------------------------------------------- */
struct content {
    uint64_t last;
    const char *state;
};

static enum bm_rc look_through(const struct view *v, const struct bm_journal_segment *s, struct content *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_journal_reader_done) struct bm_journal_reader r = { 0 };
    struct bm_journal_record rec;
    enum bm_rc rc = bm_journal_reader_open(v->folder.dir, s, &r, e);

    while (rc == BM_OK)
        rc = bm_journal_reader_next(&r, &rec, e);
    if (rc != BM_NOTFOUND && rc != BM_MALFORMED)
        return rc;
    ret->last = r.seq - 1;
    ret->state = rc == BM_NOTFOUND ? "whole" : bm_journal_reader_torn(&r) ? "cut off" : "damaged";
    return BM_OK;
}

static enum bm_rc list_segment(struct view *v, const struct bm_journal_segment *s, struct bm_error *e)
{
    struct content is = { .state = "no head" };
    char chain[9] = "", at[21] = "";
    enum bm_rc rc = s->bad ? BM_OK : look_through(v, s, &is, e);

    if (rc != BM_OK)
        return rc;
    return add_row(v->rows,
                   json_pack("{sI,ss,sI,sI,ss,sI,ss}", "segment", (json_int_t)s->number, "chain", short_chain(s->head.chain, chain),
                             "first", (json_int_t)s->head.first, "last", (json_int_t)is.last, "since",
                             bm_time_text(s->head.at_ms / 1000, at), "bytes", (json_int_t)s->size, "state", is.state),
                   e);
}

enum bm_rc bm_cli_journal_list(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(view_done) struct view v = { 0 };
    enum bm_rc rc = view_open(c, &v, e);

    for (size_t i = 0; rc == BM_OK && i < v.folder.n; i++)
        rc = list_segment(&v, &v.folder.of[i], e);
    return rc == BM_OK ? put_out(c, v.rows, e) : rc;
}

/* --- verify --------------------------------------------------------------------------------------------------------------------- */
/* Each statement is told before it is used, and the audit log grows as the leaves say. */
struct check {
    uint64_t segment;
    bool known[BM_JOURNAL_STATEMENTS_MAX];
    int64_t records, log_size;
};

static enum bm_rc check_items(struct check *k, const struct bm_journal_record *r, struct bm_error *e)
{
    struct bm_journal_item i;
    struct bm_rd in = r->items;

    for (uint32_t n = 0; n < r->n_items; n++) {
        enum bm_rc rc = bm_journal_item_take(&in, &i, e);

        if (rc != BM_OK)
            return rc;
        if (i.kind == BM_JOURNAL_RUN && !k->known[i.number])
            return bm_refuse(e, BM_DENIED, "journal-damaged", "record %" PRIu64 " uses a statement that was not told before",
                             r->seq);
        if (i.kind == BM_JOURNAL_DEFINE)
            k->known[i.number] = true;
    }
    return BM_OK;
}

static enum bm_rc check_record(void *arg, const struct bm_journal_segment *s, const struct bm_journal_record *r, struct bm_error *e)
{
    struct check *k = arg;

    if (k->segment != s->number)
        memset(k->known, 0, sizeof k->known);
    if (k->records != 0 && r->log_before != k->log_size)
        return bm_refuse(e, BM_DENIED, "journal-damaged", "record %" PRIu64 " does not follow in the audit log", r->seq);
    k->segment = s->number;
    k->log_size = r->log_after;
    k->records++;
    return check_items(k, r, e);
}

static bool seen_before(const struct bm_journal_folder *f, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (!f->of[k].bad && memcmp(f->of[k].head.chain, f->of[i].head.chain, sizeof f->of[i].head.chain) == 0)
            return true;
    return false;
}

static enum bm_rc verify_chain(struct view *v, const struct bm_journal_segment *s, struct bm_error *e)
{
    struct check k = { 0 };
    struct bm_journal_end end = { 0 };
    char chain[9];
    enum bm_rc rc =
        bm_journal_each(&v->folder, s->head.chain, s->head.first - 1, s->head.prev, UINT64_MAX, check_record, &k, &end, e);

    if (rc != BM_OK)
        return rc;
    return add_row(v->rows,
                   json_pack("{ss,sI,sI,sI,sI}", "chain", short_chain(s->head.chain, chain), "first", (json_int_t)s->head.first,
                             "last", (json_int_t)end.last, "records", (json_int_t)k.records, "cut_off_bytes",
                             (json_int_t)end.torn_len),
                   e);
}

enum bm_rc bm_cli_journal_verify(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(view_done) struct view v = { 0 };
    enum bm_rc rc = view_open(c, &v, e);

    for (size_t i = 0; rc == BM_OK && i < v.folder.n; i++)
        if (!v.folder.of[i].bad && !seen_before(&v.folder, i))
            rc = verify_chain(&v, &v.folder.of[i], e);
    return rc == BM_OK ? put_out(c, v.rows, e) : rc;
}

/* --- show ----------------------------------------------------------------------------------------------------------------------- */
struct showing {
    struct view *v;
    uint64_t from;
    bool whole; /* statements too */
    char *texts[BM_JOURNAL_STATEMENTS_MAX];
    uint64_t segment;
};

static void showing_done(struct showing *s)
{
    for (size_t i = 0; i < BM_COUNT(s->texts); i++)
        free(s->texts[i]);
    memset(s->texts, 0, sizeof s->texts);
}

static json_t *value_json(const struct bm_arg *a)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf hex = { .max = 2 * (size_t)BM_JOURNAL_RECORD_MAX + 1 };
    json_t *text;

    if (a->kind == BM_ARG_NULL)
        return json_null();
    if (a->kind == BM_ARG_INT)
        return json_integer((json_int_t)a->i);
    text = a->kind == BM_ARG_TEXT ? json_stringn((const char *)a->b.p, a->b.n) : NULL; /* NULL too when it is no UTF-8 */
    for (size_t i = 0; text == NULL && i < a->b.n; i++)
        bm_buf_printf(&hex, "%02x", a->b.p[i]);
    return text != NULL ? text : json_stringn((const char *)hex.p, hex.bad ? 0 : hex.n);
}

static json_t *item_json(const struct showing *s, const struct bm_journal_item *i)
{
    json_t *values;

    if (i->kind == BM_JOURNAL_FILE)
        return json_pack("{ss#,sI}", "file", i->text.p, (int)i->text.n, "bytes", (json_int_t)i->content.n);
    values = json_array();
    for (size_t k = 0; k < i->n_args; k++)
        (void)json_array_append_new(values, value_json(&i->args[k]));
    return json_pack("{ss,sI,sI,so}", "sql", s->texts[i->number] != NULL ? s->texts[i->number] : "", "id", (json_int_t)i->id,
                     "rows", (json_int_t)i->changes, "values", values);
}

static enum bm_rc take_items(struct showing *s, const struct bm_journal_record *r, json_t *ret, struct bm_error *e)
{
    struct bm_journal_item i;
    struct bm_rd in = r->items;
    enum bm_rc rc = BM_OK;

    for (uint32_t n = 0; rc == BM_OK && n < r->n_items; n++) {
        rc = bm_journal_item_take(&in, &i, e);
        if (rc == BM_OK && i.kind == BM_JOURNAL_DEFINE) {
            free(s->texts[i.number]);
            s->texts[i.number] = strndup((const char *)i.text.p, i.text.n);
        } else if (rc == BM_OK && s->whole && r->seq >= s->from) {
            rc = add_row(ret, item_json(s, &i), e);
        }
    }
    return rc;
}

static enum bm_rc show_record(void *arg, const struct bm_journal_segment *seg, const struct bm_journal_record *r,
                              struct bm_error *e)
{
    struct showing *s = arg;
    BM_CLEANUP(bm_cli_unref) json_t *items = json_array();
    char at[21], log[48];
    enum bm_rc rc;

    if (s->segment != seg->number)
        showing_done(s);
    s->segment = seg->number;
    rc = take_items(s, r, items, e);
    if (rc != BM_OK || r->seq < s->from)
        return rc;
    snprintf(log, sizeof log, "%" PRId64 "-%" PRId64, r->log_before, r->log_after);
    return add_row(s->v->rows,
                   json_pack("{sI,ss,ss,sI,sI,sO*}", "record", (json_int_t)r->seq, "at", bm_time_text(r->at_ms / 1000, at), "log",
                             log, "items", (json_int_t)r->n_items, "bytes", (json_int_t)r->items.n, "statements",
                             s->whole ? items : NULL),
                   e);
}

/* Of the newest chain. */
static enum bm_rc show_all(struct showing *s, uint64_t to, struct bm_error *e)
{
    const struct bm_journal_folder *f = &s->v->folder;
    const struct bm_journal_segment *newest = NULL, *first = NULL;
    struct bm_journal_end end;

    for (size_t i = f->n; newest == NULL && i != 0; i--)
        newest = f->of[i - 1].bad ? NULL : &f->of[i - 1];
    for (size_t i = 0; newest != NULL && i < f->n; i++) {
        const struct bm_journal_segment *is = &f->of[i];

        if (!is->bad && memcmp(is->head.chain, newest->head.chain, 16) == 0 && (first == NULL || is->head.first <= s->from))
            first = is;
    }
    if (first == NULL)
        return BM_OK;
    return bm_journal_each(f, first->head.chain, first->head.first - 1, first->head.prev, to, show_record, s, &end, e);
}

enum bm_rc bm_cli_journal_show(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(view_done) struct view v = { 0 };
    BM_CLEANUP(showing_done) struct showing s = { .v = &v, .whole = c->json };
    int64_t from = bm_cli_int(c, "from", 0), to = bm_cli_int(c, "to", from != 0 ? from : INT64_MAX);
    enum bm_rc rc = view_open(c, &v, e);

    s.from = (uint64_t)from;
    if (rc == BM_OK)
        rc = show_all(&s, (uint64_t)to, e);
    return rc == BM_OK ? put_out(c, v.rows, e) : rc;
}

/* --- prune ---------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc place_of(const char *backup, struct bm_journal_place *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *s = NULL;
    char dsn[BM_BACKUP_PATH_MAX + 32];
    enum bm_rc rc;

    snprintf(dsn, sizeof dsn, "sqlite:%s/registry.db", backup);
    rc = bm_store_open(dsn, (struct bm_store_options){ .read_only = true, .as_is = true }, &s, e);
    if (rc == BM_OK)
        rc = bm_journal_place_get(s, ret, e);
    return rc == BM_NOTFOUND ? bm_refuse(e, BM_NOTFOUND, "no-journal", "%s was made when the registry had no journal", backup) : rc;
}

/* The segment that the record after the backup is in, or will be: all before it can go. */
static size_t first_needed(const struct bm_journal_folder *f, const struct bm_journal_place *p)
{
    size_t found = 0;

    for (size_t i = 0; i < f->n; i++)
        if (!f->of[i].bad && memcmp(f->of[i].head.chain, p->chain, sizeof p->chain) == 0 && f->of[i].head.first <= p->seq + 1)
            found = i;
    return found;
}

static enum bm_rc remove_before(const struct bm_journal_folder *f, size_t n, int64_t *ret_bytes, struct bm_error *e)
{
    char path[BM_BACKUP_PATH_MAX + 32];

    for (size_t i = 0; i < n; i++) {
        bm_journal_path(f->dir, f->of[i].number, path, sizeof path);
        if (unlink(path) != 0 && errno != ENOENT)
            return bm_fail(e, BM_IO, "%s: %s", path, strerror(errno));
        *ret_bytes += f->of[i].size;
    }
    return BM_OK;
}

enum bm_rc bm_cli_journal_prune(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(view_done) struct view v = { 0 };
    BM_CLEANUP(bm_cli_unref) json_t *manifest = NULL;
    const char *backup = bm_cli_text(c, "backup");
    struct bm_journal_place place;
    struct bm_proof proof;
    int64_t bytes = 0;
    size_t n = 0;
    enum bm_rc rc = view_open(c, &v, e);

    if (rc == BM_OK)
        rc = bm_cli_backup_check(backup, &manifest, &proof, e);
    if (rc == BM_OK)
        rc = place_of(backup, &place, e);
    if (rc == BM_OK) {
        n = first_needed(&v.folder, &place);
        rc = remove_before(&v.folder, n, &bytes, e);
    }
    if (rc != BM_OK)
        return rc;
    return bm_cli_tell(
        c, json_pack("{sI,sI,sI}", "removed", (json_int_t)n, "bytes", (json_int_t)bytes, "kept", (json_int_t)(v.folder.n - n)), e);
}
