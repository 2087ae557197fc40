#include "cli/cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_ROWS 500

/* --- words of argv ----------------------------------------------------------------------------------------------------------- */
const char *bm_cli_text(const struct bm_cli *c, const char *member)
{
    return json_string_value(json_object_get(c->words, member));
}

int64_t bm_cli_int(const struct bm_cli *c, const char *member, int64_t otherwise)
{
    const json_t *v = json_object_get(c->words, member);

    return v == NULL ? otherwise : json_integer_value(v);
}

bool bm_cli_flag(const struct bm_cli *c, const char *member)
{
    return json_is_true(json_object_get(c->words, member));
}

enum bm_rc bm_cli_joined(const struct bm_cli *c, const char *member, char *ret, size_t ret_len, struct bm_error *e)
{
    struct bm_wr w = bm_wr_of(ret, ret_len - 1);
    const json_t *item;
    size_t i;

    json_array_foreach (json_object_get(c->words, member), i, item) {
        bm_wr_str(&w, i == 0 ? "" : ",");
        bm_wr_str(&w, json_string_value(item));
    }
    if (w.bad)
        return bm_fail(e, BM_LIMIT, "--%s: more than %zu characters together", member, ret_len - 1);
    ret[w.n] = '\0';
    return BM_OK;
}

void bm_cli_note(struct bm_cli *c, const char *fmt, ...)
{
    va_list ap;

    if (c->quiet || c->json)
        return;
    fflush(c->out);
    va_start(ap, fmt);
    vfprintf(c->err, fmt, ap);
    va_end(ap);
}

/* --- asking ------------------------------------------------------------------------------------------------------------------ */
enum bm_rc bm_cli_open(struct bm_cli *c, struct bm_error *e)
{
    return c->link != NULL ? BM_OK : bm_cli_link_open(c->data_dir, c->secret_file, &c->link, e);
}

enum bm_rc bm_cli_ask(struct bm_cli *c, const json_t *request, json_t **ret, struct bm_error *e)
{
    enum bm_rc rc = bm_cli_open(c, e);

    return rc == BM_OK ? bm_cli_link_ask(c->link, request, bm_buf_rd(&c->blob), ret, e) : rc;
}

enum bm_rc bm_cli_ask1(struct bm_cli *c, const char *op, const char *member, const char *value, json_t **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_pack("{ss}", "op", op);

    if (request == NULL || (member != NULL && json_object_set_new(request, member, json_string(value)) != 0))
        return bm_fail(e, BM_NOMEM, "out of memory");
    return bm_cli_ask(c, request, ret, e);
}

static enum bm_rc add_fixed(const char *fixed, json_t *words, struct bm_error *e)
{
    const char *eq = fixed == NULL ? NULL : strchr(fixed, '=');
    char member[64];

    if (eq == NULL)
        return BM_OK;
    snprintf(member, sizeof member, "%.*s", (int)(eq - fixed), fixed);
    return json_object_set_new(words, member, json_string(eq + 1)) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "out of memory");
}

/* --- lists: page after page, so that a million devices fit through ----------------------------------------------------------- */
static bool next_page(json_t *words, const json_t *answer, int64_t left)
{
    const json_t *next = json_object_get(answer, "next");

    return json_is_integer(next) && left > 0 && json_object_set(words, "after", (json_t *)next) == 0 &&
           json_object_set_new(words, "limit", json_integer(left < PAGE_ROWS ? left : PAGE_ROWS)) == 0;
}

enum bm_rc bm_cli_list(struct bm_cli *c, struct bm_error *e)
{
    struct bm_cli_table t = { .c = c, .rows = c->verb->rows, .columns = c->verb->columns };
    bool paged = json_object_get(c->words, "limit") != NULL;
    int64_t want = bm_cli_int(c, "limit", INT64_MAX);
    enum bm_rc rc;

    if (paged && want > PAGE_ROWS)
        json_object_set_new(c->words, "limit", json_integer(PAGE_ROWS));
    for (;;) {
        BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;

        rc = bm_cli_ask(c, c->words, &answer, e);
        if (rc != BM_OK)
            return rc;
        bm_cli_table_rows(&t, json_object_get(answer, t.rows));
        if (!next_page(c->words, answer, want - t.n_rows)) {
            bm_cli_table_end(&t, json_object_get(answer, "next"));
            return BM_OK;
        }
    }
}

/* --- the engine -------------------------------------------------------------------------------------------------------------- */
static void say_next(struct bm_cli *c)
{
    const char *next = c->verb->next, *hole;

    if (next == NULL || !c->terminal)
        return;
    bm_cli_note(c, "Next: ");
    while ((hole = strstr(next, "{}")) != NULL) {
        bm_cli_note(c, "%.*s%s", (int)(hole - next), next, c->first_arg);
        next = hole + 2;
    }
    bm_cli_note(c, "%s\n", next);
}

static enum bm_rc ask_and_print(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;
    enum bm_rc rc = bm_cli_ask(c, c->words, &answer, e);

    if (rc != BM_OK)
        return rc;
    if (c->json)
        bm_cli_print_json(c, answer);
    else if (!c->quiet)
        bm_cli_print_record(c, answer);
    return BM_OK;
}

static enum bm_rc run_verb(struct bm_cli *c, struct bm_error *e)
{
    const struct bm_verb *v = c->verb;
    enum bm_rc rc = BM_OK;

    if (v->op != NULL && json_object_set_new(c->words, "op", json_string(v->op)) != 0)
        return bm_fail(e, BM_NOMEM, "out of memory");
    rc = add_fixed(v->fixed, c->words, e);
    if (rc == BM_OK && v->prepare != NULL)
        rc = v->prepare(c, e);
    if (rc != BM_OK)
        return rc;
    if (v->run != NULL)
        rc = v->run(c, e);
    else
        rc = v->rows != NULL ? bm_cli_list(c, e) : ask_and_print(c, e);
    if (rc == BM_OK)
        say_next(c);
    return rc;
}

void bm_cli_done(struct bm_cli *c)
{
    bm_cli_link_close(c->link);
    c->link = NULL;
    json_decref(c->words);
    c->words = NULL;
    bm_buf_done(&c->blob);
}

/* What was printed must have arrived: a full disk is a failure of the command. */
static enum bm_rc flush(struct bm_cli *c, struct bm_error *e)
{
    return fflush(c->out) == 0 && !ferror(c->out) ? BM_OK : bm_fail(e, BM_IO, "cannot write the output");
}

int bm_cli_main(struct bm_cli *c, int argc, char **argv)
{
    struct bm_error e = { 0 };
    enum bm_rc rc;

    c->data_dir = getenv("BIRTHMARK_DATA");
    c->data_dir = c->data_dir == NULL || *c->data_dir == '\0' ? "/var/lib/birthmark" : c->data_dir;
    c->blob.max = BM_FRAME_MAX;
    rc = bm_cli_parse(c, argc, argv, &e);
    c->parsed = rc == BM_OK;
    if (rc == BM_OK && c->help)
        bm_cli_help(c->out, c->family, c->verb);
    else if (rc == BM_OK)
        rc = run_verb(c, &e);
    if (rc == BM_OK)
        rc = flush(c, &e);
    if (rc != BM_OK)
        bm_cli_complain(c, &e);
    return rc == BM_OK ? c->status : (int)bm_cli_exit_of(e.rc);
}
