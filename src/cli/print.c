/* Answers for people: tables and records. On a terminal neat, in a pipe plain: rows with tabs and without a heading. */
#include "cli/cli.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

enum { CELL_MAX = 512, COLUMNS_MAX = 16 };

/* --- text -------------------------------------------------------------------------------------------------------------------- */
/* Titles and refusals hold what other people wrote: no control character reaches the terminal (C0, DEL, and C1, which is C2 80 to
 * C2 9F in UTF-8). */
static bool is_control(const unsigned char *p)
{
    return *p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f);
}

void bm_cli_print_text(FILE *f, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (!is_control(p)) {
            fputc(*p, f);
            continue;
        }
        p += *p == 0xc2;
        fprintf(f, "\\x%02x", *p);
    }
}

/* Columns it takes on the terminal: characters, not bytes. */
static size_t width_of(const char *text)
{
    size_t n = 0;

    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++)
        n += is_control(p) ? 4 : (*p & 0xc0) != 0x80;
    return n;
}

static void list_text(const json_t *list, struct bm_wr *w);

static void value_text(const json_t *v, struct bm_wr *w)
{
    char number[32];

    if (json_is_string(v))
        bm_wr_str(w, json_string_value(v));
    else if (json_is_integer(v))
        bm_wr_put(w, number, (size_t)snprintf(number, sizeof number, "%" PRId64, (int64_t)json_integer_value(v)));
    else if (json_is_real(v))
        bm_wr_put(w, number, (size_t)snprintf(number, sizeof number, "%.3g", json_real_value(v)));
    else if (json_is_boolean(v))
        bm_wr_str(w, json_is_true(v) ? "yes" : "no");
    else if (json_is_array(v) || json_is_object(v))
        list_text(v, w);
}

/* "a, b" for an array, "name a, size 3" for an object */
static void list_text(const json_t *list, struct bm_wr *w)
{
    const json_t *item;
    const char *key;
    size_t i, n = 0;

    json_array_foreach (list, i, item) {
        bm_wr_str(w, i == 0 ? "" : ", ");
        value_text(item, w);
    }
    json_object_foreach ((json_t *)list, key, item) {
        bm_wr_str(w, n++ == 0 ? "" : ", ");
        bm_wr_str(w, key);
        bm_wr_str(w, " ");
        value_text(item, w);
    }
}

/* A cell on one line; "-" when there is nothing to show. A text is returned as it is, however long. */
static const char *cell_text(const json_t *v, char ret[CELL_MAX])
{
    struct bm_wr w = bm_wr_of(ret, CELL_MAX - 1);

    if (json_string_length(v) != 0)
        return json_string_value(v);
    value_text(v, &w);
    ret[w.n] = '\0';
    if (w.n == 0)
        snprintf(ret, CELL_MAX, w.bad ? "(long)" : "-");
    return ret;
}

static void pad(FILE *f, size_t n)
{
    while (n-- > 0)
        fputc(' ', f);
}

/* --- tables ------------------------------------------------------------------------------------------------------------------ */
struct column {
    char member[32], heading[32];
};

/* Columns as the row of the verb has them: "name role created_at=CREATED". */
static size_t columns_of(const char *text, struct column ret[COLUMNS_MAX])
{
    size_t n = 0;

    while (text != NULL && *text != '\0' && n < COLUMNS_MAX) {
        size_t len = strcspn(text, " ");
        const char *eq = memchr(text, '=', len);
        struct column *c = &ret[n++];

        snprintf(c->member, sizeof c->member, "%.*s", (int)(eq == NULL ? len : (size_t)(eq - text)), text);
        snprintf(c->heading, sizeof c->heading, "%.*s", eq == NULL ? (int)len : (int)(text + len - eq - 1),
                 eq == NULL ? text : eq + 1);
        for (char *p = c->heading; *p != '\0'; p++)
            *p = *p == '_' ? ' ' : (char)toupper((unsigned char)*p);
        text += len + strspn(text + len, " ");
    }
    return n;
}

static bool neat(const struct bm_cli_table *t)
{
    return t->c->terminal || t->in_record;
}

static void measure(struct bm_cli_table *t, const struct column *columns, size_t n, const json_t *rows)
{
    char cell[CELL_MAX];
    const json_t *row;
    size_t i;

    for (size_t k = 0; k < n; k++)
        t->width[k] = width_of(columns[k].heading);
    json_array_foreach (rows, i, row) {
        for (size_t k = 0; k < n; k++) {
            size_t w = width_of(cell_text(json_object_get(row, columns[k].member), cell));

            t->width[k] = w > t->width[k] ? w : t->width[k];
        }
    }
}

static void heading(struct bm_cli_table *t, const struct column *columns, size_t n)
{
    FILE *f = t->c->out;

    fputs(t->c->colour ? "\033[1m" : "", f);
    for (size_t k = 0; k < n; k++) {
        fputs(columns[k].heading, f);
        pad(f, k + 1 == n ? 0 : t->width[k] - width_of(columns[k].heading) + 2);
    }
    fputs(t->c->colour ? "\033[0m\n" : "\n", f);
}

static void one_row(struct bm_cli_table *t, const struct column *columns, size_t n, const json_t *row)
{
    char cell[CELL_MAX];

    for (size_t k = 0; k < n; k++) {
        const char *text = cell_text(json_object_get(row, columns[k].member), cell);
        size_t w = width_of(text);

        bm_cli_print_text(t->c->out, text);
        if (k + 1 == n)
            fputc('\n', t->c->out);
        else if (neat(t))
            pad(t->c->out, w < t->width[k] ? t->width[k] - w + 2 : 2);
        else
            fputc('\t', t->c->out);
    }
}

static void json_rows(struct bm_cli_table *t, const json_t *rows)
{
    const json_t *row;
    size_t i;

    json_array_foreach (rows, i, row) {
        if (t->n_rows++ == 0)
            fprintf(t->c->out, "{\"%s\": [\n", t->rows);
        else
            fputs(",\n", t->c->out);
        json_dumpf(row, t->c->out, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    }
}

void bm_cli_table_rows(struct bm_cli_table *t, const json_t *rows)
{
    struct column columns[COLUMNS_MAX];
    size_t n = columns_of(t->columns, columns), i;
    const json_t *row;

    if (t->c->json) {
        json_rows(t, rows);
        return;
    }
    if (neat(t) && t->n_rows == 0 && json_array_size(rows) != 0) {
        measure(t, columns, n, rows);
        heading(t, columns, n);
    }
    json_array_foreach (rows, i, row) {
        one_row(t, columns, n, row);
    }
    t->n_rows += (int64_t)json_array_size(rows);
}

void bm_cli_table_end(struct bm_cli_table *t, const json_t *next)
{
    if (t->c->json) {
        if (t->n_rows == 0)
            fprintf(t->c->out, "{\"%s\": [", t->rows);
        fputs("], \"next\": ", t->c->out);
        json_is_integer(next) ? fprintf(t->c->out, "%" PRId64, (int64_t)json_integer_value(next)) : fputs("null", t->c->out);
        fputs("}\n", t->c->out);
    } else if (t->n_rows == 0 && t->c->terminal) {
        bm_cli_note(t->c, "Nothing there.\n");
    } else if (json_is_integer(next)) {
        bm_cli_note(t->c, "There are more: --after %" PRId64 "\n", (int64_t)json_integer_value(next));
    }
}

/* --- records ----------------------------------------------------------------------------------------------------------------- */
static bool is_table(const json_t *v)
{
    return json_is_object(json_array_get(v, 0));
}

static bool is_block(const json_t *v)
{
    return json_is_string(v) && strchr(json_string_value(v), '\n') != NULL;
}

static bool is_group(const json_t *v)
{
    return json_is_object(v) && json_object_size(v) != 0;
}

static bool is_field(const json_t *v)
{
    return !is_table(v) && !is_block(v) && !is_group(v);
}

static void print_key(struct bm_cli *c, const char *key)
{
    for (const char *p = key; *p != '\0'; p++)
        fputc(*p == '_' ? ' ' : *p, c->out);
}

static void field(struct bm_cli *c, const char *key, const json_t *v, size_t width, size_t indent)
{
    char cell[CELL_MAX];

    pad(c->out, indent);
    print_key(c, key);
    pad(c->out, width - strlen(key) + 2);
    bm_cli_print_text(c->out, cell_text(v, cell));
    fputc('\n', c->out);
}

static void fields(struct bm_cli *c, const json_t *record, size_t indent)
{
    size_t width = 0;
    const char *key;
    const json_t *v;

    json_object_foreach ((json_t *)record, key, v) {
        width = is_field(v) && strlen(key) > width ? strlen(key) : width;
    }
    json_object_foreach ((json_t *)record, key, v) {
        if (is_field(v))
            field(c, key, v, width, indent);
    }
    json_object_foreach ((json_t *)record, key, v) {
        if (!is_group(v) || indent > 8)
            continue;
        pad(c->out, indent);
        print_key(c, key);
        fputc('\n', c->out);
        fields(c, v, indent + 2);
    }
}

/* Text of several lines, as PEM. */
static void block(struct bm_cli *c, const char *text)
{
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");
        char line[256];

        snprintf(line, sizeof line, "%.*s", (int)n, text);
        bm_cli_print_text(c->out, line);
        fputc('\n', c->out);
        text += n + (text[n] == '\n');
    }
}

/* A list of objects inside a record: its columns are the members of its first row. */
static void inner_table(struct bm_cli *c, const char *key, const json_t *rows)
{
    struct bm_cli_table t = { .c = c, .in_record = true };
    struct bm_wr w;
    char columns[256];
    const char *member;
    const json_t *v;

    w = bm_wr_of(columns, sizeof columns - 1);
    json_object_foreach (json_array_get(rows, 0), member, v) {
        if (is_block(v) || w.n + strlen(member) + 1 >= sizeof columns)
            continue;
        bm_wr_str(&w, w.n == 0 ? "" : " ");
        bm_wr_str(&w, member);
    }
    columns[w.n] = '\0';
    t.columns = columns;
    fprintf(c->out, "\n%s\n", key);
    bm_cli_table_rows(&t, rows);
}

/* Order: fields, then groups of fields, then tables, then blocks of text. */
void bm_cli_print_record(struct bm_cli *c, const json_t *record)
{
    const char *key;
    const json_t *v;

    fields(c, record, 0);
    json_object_foreach ((json_t *)record, key, v) {
        if (is_table(v))
            inner_table(c, key, v);
    }
    json_object_foreach ((json_t *)record, key, v) {
        if (is_block(v))
            block(c, json_string_value(v));
    }
}

void bm_cli_print_json(struct bm_cli *c, const json_t *j)
{
    json_dumpf(j, c->out, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    fputc('\n', c->out);
}
