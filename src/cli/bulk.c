/* Acts on many devices: starts a job, and follows it to its end. The server does the work, this only watches; without a server the work is done
 * step by step in this process. Whoever is stopped, the job goes on where it was. */
#include "cli/cli.h"

#include "base/clock.h"

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

enum { LIST_LINES = 500, BAR = 24, WATCH_MS = 100, REFUSALS_NAMED = 20 };

static int64_t number(const json_t *answer, const char *member)
{
    return json_integer_value(json_object_get(answer, member));
}

static const char *text_of(const json_t *row, const char *member)
{
    const char *s = json_string_value(json_object_get(row, member));

    return s != NULL ? s : "";
}

/* --- what was refused -------------------------------------------------------------------------------------------------------------- */
static void name_refusals(struct bm_cli *c, const json_t *rows, int64_t all)
{
    const json_t *row;
    size_t i;

    json_array_foreach (rows, i, row) {
        if (i == REFUSALS_NAMED)
            break;
        bm_cli_print_text(c->err, text_of(row, "udid"));
        fputs(": ", c->err);
        bm_cli_print_text(c->err, text_of(row, "what"));
        fputs(" (", c->err);
        bm_cli_print_text(c->err, text_of(row, "code"));
        fputs(")\n", c->err);
    }
    if (all > REFUSALS_NAMED)
        fprintf(c->err, "and %" PRId64 " more\n", all - REFUSALS_NAMED);
}

static enum bm_rc end(struct bm_cli *c, json_t *answer, struct bm_error *e)
{
    int64_t refused = number(answer, "refused");

    if (!c->json)
        name_refusals(c, json_object_get(answer, "refusals"), refused);
    if (c->json) {
        bm_cli_print_json(c, answer);
    } else if (!c->quiet) {
        json_object_del(answer, "refusals");
        json_object_del(answer, "next");
        bm_cli_print_record(c, answer);
    }
    return refused == 0 ? BM_OK : bm_refuse(e, BM_DENIED, "devices-refused", "%" PRId64 " devices were refused", refused);
}

/* --- following ------------------------------------------------------------------------------------------------------------------------ */
static void show_bar(const struct bm_cli *c, const json_t *answer)
{
    int full = (int)(number(answer, "part") * BAR / 1000);
    char bar[BAR + 1];

    memset(bar, '.', BAR);
    memset(bar, '#', (size_t)(full < 0 ? 0 : full > BAR ? BAR : full));
    bar[BAR] = '\0';
    fprintf(c->err, "\r[%s] %" PRId64 " done, %" PRId64 " already so, %" PRId64 " refused ", bar, number(answer, "done"),
            number(answer, "already"), number(answer, "refused"));
    fflush(c->err);
}

static void pause_ms(long ms)
{
    struct timespec t = { .tv_nsec = ms * 1000000 };

    (void)nanosleep(&t, NULL);
}

static enum bm_rc ask_job(struct bm_cli *c, const char *op, int64_t job, json_t **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_pack("{ss,sI}", "op", op, "job", (json_int_t)job);

    return request != NULL ? bm_cli_ask(c, request, ret, e) : bm_fail(e, BM_NOMEM, "out of memory");
}

static enum bm_rc follow(struct bm_cli *c, int64_t job, struct bm_error *e)
{
    bool bar = !c->quiet && isatty(fileno(c->err)) == 1, running = true;
    BM_CLEANUP(bm_cli_unref) json_t *shown = NULL;
    int64_t told_ms = 0;
    enum bm_rc rc = BM_OK;

    while (rc == BM_OK && running) {
        BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;

        rc = ask_job(c, "bulk.work", job, &answer, e);
        if (rc != BM_OK)
            break;
        running = strcmp(text_of(answer, "state"), "running") == 0;
        if (bar && (bm_clock_steady_ms() - told_ms >= WATCH_MS || !running)) {
            told_ms = bm_clock_steady_ms();
            show_bar(c, answer);
        }
        if (running && json_is_true(json_object_get(answer, "server")))
            pause_ms(WATCH_MS);
    }
    if (bar)
        fputc('\n', c->err);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "job %" PRId64 " goes on where it is ('birthmark bulk resume')", job);
    rc = ask_job(c, "bulk.show", job, &shown, e);
    return rc == BM_OK ? end(c, shown, e) : rc;
}

/* For verbs whose answer names a job. */
enum bm_rc bm_cli_follow(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;
    enum bm_rc rc = bm_cli_ask(c, c->words, &answer, e);

    return rc == BM_OK ? follow(c, number(answer, "job"), e) : rc;
}

enum bm_rc bm_cli_bulk_resume(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *was = NULL, *answer = NULL;
    int64_t job = bm_cli_int(c, "job", 0);
    enum bm_rc rc = ask_job(c, "bulk.show", job, &was, e);

    if (rc == BM_OK && strcmp(text_of(was, "state"), "running") != 0)
        rc = ask_job(c, "bulk.resume", job, &answer, e);
    return rc == BM_OK ? follow(c, job, e) : rc;
}

/* --- starting ------------------------------------------------------------------------------------------------------------------------- */
typedef enum bm_rc chunk_fn(struct bm_cli *c, json_t *request, struct bm_rd chunk, void *arg, struct bm_error *e);

/* So many lines at a time. */
static struct bm_rd next_chunk(struct bm_rd *list)
{
    struct bm_rd chunk = *list;
    size_t lines = 0, n = 0;

    while (n < chunk.n && lines < LIST_LINES)
        lines += chunk.p[n++] == '\n';
    chunk.n = n;
    *list = bm_rd_of(list->p + n, list->n - n);
    return chunk;
}

static enum bm_rc each_chunk(struct bm_cli *c, json_t *request, chunk_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 512 * 1024 * 1024 };
    struct bm_rd left;
    enum bm_rc rc = bm_cli_read(bm_cli_text(c, "file"), &text, e);

    left = bm_buf_rd(&text);
    if (rc == BM_OK && left.n == 0)
        rc = bm_fail(e, BM_USAGE, "the list of devices is empty");
    while (rc == BM_OK && left.n != 0)
        rc = fn(c, request, next_chunk(&left), arg, e);
    return rc;
}

static json_t *request_of(struct bm_cli *c, const char *op)
{
    static const char *const ours[] = { "file", "dry_run", "detach" };
    json_t *request = json_copy(c->words);

    for (size_t i = 0; i < BM_COUNT(ours); i++)
        json_object_del(request, ours[i]);
    json_object_set_new(request, "op", json_string(op));
    if (bm_cli_text(c, "file") != NULL)
        json_object_set_new(request, "listed", json_true());
    return request;
}

static void add_up(json_t *sum, const json_t *answer)
{
    static const char *const counts[] = { "looked_at", "done", "already", "refused" };

    for (size_t i = 0; i < BM_COUNT(counts); i++)
        json_object_set_new(sum, counts[i], json_integer(number(sum, counts[i]) + number(answer, counts[i])));
    if (json_array_size(json_object_get(sum, "refusals")) < REFUSALS_NAMED)
        json_array_extend(json_object_get(sum, "refusals"), json_object_get(answer, "refusals"));
}

static enum bm_rc dry_chunk(struct bm_cli *c, json_t *request, struct bm_rd chunk, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;
    enum bm_rc rc = bm_cli_open(c, e);

    if (rc == BM_OK)
        rc = bm_cli_link_ask(c->link, request, chunk, &answer, e);
    if (rc == BM_OK)
        add_up(arg, answer);
    return rc;
}

static enum bm_rc dry_pages(struct bm_cli *c, json_t *request, json_t *sum, struct bm_error *e)
{
    bool more = true;
    enum bm_rc rc = BM_OK;

    while (rc == BM_OK && more) {
        BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;

        rc = bm_cli_ask(c, request, &answer, e);
        if (rc != BM_OK)
            break;
        add_up(sum, answer);
        more = json_is_integer(json_object_get(answer, "next"));
        json_object_set(request, "after", json_object_get(answer, "next"));
    }
    return rc;
}

static enum bm_rc dry_run(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = request_of(c, "bulk.dry"), *sum = json_pack("{sb,s[]}", "dry_run", 1, "refusals");
    enum bm_rc rc = bm_cli_text(c, "file") != NULL ? each_chunk(c, request, dry_chunk, sum, e) : dry_pages(c, request, sum, e);

    return rc == BM_OK ? end(c, sum, e) : rc;
}

static enum bm_rc add_chunk(struct bm_cli *c, json_t *request, struct bm_rd chunk, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;

    (void)arg;
    return bm_cli_link_ask(c->link, request, chunk, &answer, e);
}

/* Of a list with a line that is no UDID nothing is done. */
static enum bm_rc fill(struct bm_cli *c, int64_t job, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_pack("{ss,sI}", "op", "bulk.add", "job", (json_int_t)job), *answer = NULL;
    struct bm_error ignored;
    enum bm_rc rc = each_chunk(c, request, add_chunk, NULL, e);

    if (rc == BM_OK)
        return ask_job(c, "bulk.resume", job, &answer, e);
    if (ask_job(c, "bulk.cancel", job, &answer, &ignored) != BM_OK)
        bm_cli_note(c, "job %" PRId64 " was not started\n", job);
    return rc;
}

enum bm_rc bm_cli_device_bulk(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = NULL, *started = NULL;
    enum bm_rc rc;

    if (bm_cli_flag(c, "dry_run"))
        return dry_run(c, e);
    request = request_of(c, "bulk.start");
    rc = bm_cli_ask(c, request, &started, e);
    if (rc == BM_OK && bm_cli_text(c, "file") != NULL)
        rc = fill(c, number(started, "job"), e);
    if (rc != BM_OK)
        return rc;
    if (!bm_cli_flag(c, "detach"))
        return follow(c, number(started, "job"), e);
    if (c->json)
        bm_cli_print_json(c, started);
    else
        bm_cli_print_record(c, started);
    return BM_OK;
}
