/* Rows for people: a kind of list.c's table becomes a statement, and each of its rows JSON. */
#include "store/list_impl.h"

#include "base/text.h"

#include <jansson.h>
#include <stdlib.h>

/* --- a row as JSON ------------------------------------------------------------------------------------------------------------ */
static json_t *as_text(struct bm_cols *c)
{
    struct bm_rd b = bm_col_bytes(c);

    return b.p != NULL ? json_stringn((const char *)b.p, b.n) : json_null();
}

static json_t *as_int(struct bm_cols *c)
{
    return json_integer(bm_col_int(c));
}

static json_t *as_hex(struct bm_cols *c)
{
    struct bm_rd b = bm_col_bytes(c);
    char hex[2 * 32 + 1];

    if (b.n == 0 || b.n > 32)
        return json_null();
    bm_hex(b.p, b.n, hex);
    return json_string(hex);
}

static json_t *as_time(struct bm_cols *c)
{
    int64_t at = bm_col_int(c);
    char text[21];

    return at != 0 ? json_string(bm_time_text(at, text)) : json_null();
}

static json_t *as_json(struct bm_cols *c)
{
    struct bm_rd b = bm_col_bytes(c);
    json_t *j = b.n != 0 ? json_loadb((const char *)b.p, b.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL) : NULL;

    return j != NULL ? j : json_null();
}

static json_t *as_bool(struct bm_cols *c)
{
    return json_boolean(bm_col_int(c) != 0);
}

static json_t *(*const makers[])(struct bm_cols *) = {
    [AS_TEXT] = as_text, [AS_INT] = as_int, [AS_HEX] = as_hex, [AS_TIME] = as_time, [AS_JSON] = as_json, [AS_BOOL] = as_bool,
};

static void json_freep(json_t **j)
{
    json_decref(*j);
}

static void text_freep(char **p)
{
    free(*p);
}

static enum bm_rc tell_row(const struct kind *k, const struct bm_query *q, bm_row_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(json_freep) json_t *row = json_object();
    BM_CLEANUP(text_freep) char *text = NULL;
    struct bm_cols c = bm_query_cols(q);
    int64_t id = bm_col_int(&c);

    json_object_set_new(row, "id", json_integer(id));
    for (size_t i = 0; i < MEMBERS_MAX && k->members[i].name != NULL; i++)
        json_object_set_new(row, k->members[i].name, makers[k->members[i].as](&c));
    text = json_dumps(row, JSON_COMPACT);
    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "store: out of memory");
    return fn(arg, id, text, e);
}

/* --- the statement ------------------------------------------------------------------------------------------------------------ */
enum { PAIRS_MAX = 8, SQL_MAX = 2048 };

struct list {
    char sql[SQL_MAX];
    struct bm_wr w;
    struct bm_arg args[2 * PAIRS_MAX + 3];
    size_t n_args;
    uint8_t bytes[PAIRS_MAX][32]; /* UDIDs and serial numbers the arguments borrow */
};

static const struct filter *filter_of(const struct kind *k, const char *pair, const char **ret_value)
{
    const char *eq = strchr(pair, '=');
    size_t n = eq != NULL ? (size_t)(eq - pair) : 0;

    for (size_t i = 0; eq != NULL && i < FILTERS_MAX && k->filters[i].column != NULL; i++) {
        if (strlen(k->filters[i].column) == n && memcmp(k->filters[i].column, pair, n) == 0) {
            *ret_value = eq + 1;
            return &k->filters[i];
        }
    }
    return NULL;
}

static enum bm_rc add_value(struct list *l, const struct filter *f, const char *value, uint8_t raw[32], struct bm_error *e)
{
    size_t n = f->value == BY_UDID ? BM_UDID_LEN : BM_SERIAL_LEN;

    if (f->value == BY_TEXT) {
        l->args[l->n_args++] = bm_arg_text(value);
        return BM_OK;
    }
    if (!bm_unhex(bm_rd_str(value), raw, n))
        return bm_fail(e, BM_USAGE, "%s= takes %zu hex digits", f->column, 2 * n);
    if (strstr(f->clause, "_key") != NULL)
        l->args[l->n_args++] = bm_arg_int(bm_short_key(f->value == BY_UDID ? raw : raw + n - 4));
    l->args[l->n_args++] = bm_arg_blob(raw, n);
    return BM_OK;
}

static enum bm_rc add_filter(struct list *l, const struct kind *k, const char *pair, size_t i, struct bm_error *e)
{
    const char *value = NULL;
    const struct filter *f = filter_of(k, pair, &value);
    char shown[64];

    if (f == NULL)
        return bm_fail(e, BM_USAGE, "a %s list cannot be filtered by '%s'", k->name,
                       bm_text_escape(bm_rd_str(pair), shown, sizeof shown));
    bm_wr_str(&l->w, " AND ");
    bm_wr_str(&l->w, f->clause);
    return add_value(l, f, value, l->bytes[i], e);
}

static enum bm_rc add_scope(struct list *l, const struct kind *k, const struct bm_scope *scope, struct bm_error *e)
{
    if (scope == NULL || scope->of == BM_SCOPE_ALL)
        return BM_OK;
    if ((size_t)scope->of >= BM_SCOPES || k->scope[scope->of] == NULL)
        return bm_fail(e, BM_DENIED, "a %s is nothing for this organisation", k->name);
    bm_wr_str(&l->w, " AND ");
    bm_wr_str(&l->w, k->scope[scope->of]);
    l->args[l->n_args++] = bm_arg_int(scope->org_id);
    return BM_OK;
}

static enum bm_rc build(struct list *l, const struct kind *k, const struct bm_scope *scope, const char *const *filter,
                        int64_t after_id, int64_t limit, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    l->w = bm_wr_of(l->sql, sizeof l->sql - 1);
    bm_wr_str(&l->w, k->select);
    bm_wr_str(&l->w, " WHERE ");
    bm_wr_str(&l->w, k->id);
    bm_wr_str(&l->w, " > ?");
    l->args[l->n_args++] = bm_arg_int(after_id);
    rc = add_scope(l, k, scope, e);
    for (size_t i = 0; rc == BM_OK && filter != NULL && filter[i] != NULL; i++)
        rc = i < PAIRS_MAX ? add_filter(l, k, filter[i], i, e) : bm_fail(e, BM_USAGE, "at most %d filters", PAIRS_MAX);
    if (rc != BM_OK)
        return rc;
    bm_wr_str(&l->w, " ORDER BY ");
    bm_wr_str(&l->w, k->id);
    bm_wr_str(&l->w, " LIMIT ?");
    l->args[l->n_args++] = bm_arg_int(limit);
    l->sql[l->w.n] = '\0';
    return l->w.bad ? bm_fail(e, BM_BUG, "store: the list's statement does not fit") : BM_OK;
}

static const struct kind *kind_of(const char *name)
{
    for (size_t i = 0; i < bm_list_n_kinds; i++)
        if (strcmp(bm_list_kinds[i].name, name) == 0)
            return &bm_list_kinds[i];
    return NULL;
}

enum bm_rc bm_store_list(struct bm_store *s, const char *kind, const char *const *filter, int64_t after_id, int64_t limit,
                         bm_row_fn *fn, void *arg, struct bm_error *e)
{
    return bm_store_list_in(s, NULL, kind, filter, after_id, limit, fn, arg, e);
}

enum bm_rc bm_store_list_in(struct bm_store *s, const struct bm_scope *scope, const char *kind, const char *const *filter,
                            int64_t after_id, int64_t limit, bm_row_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    const struct kind *k = kind_of(kind);
    struct list l = { .n_args = 0 };
    char shown[32];
    enum bm_rc rc;

    if (k == NULL)
        return bm_fail(e, BM_USAGE, "no list of '%s'", bm_text_escape(bm_rd_str(kind), shown, sizeof shown));
    if (limit < 0)
        return bm_fail(e, BM_USAGE, "a list cannot have %lld rows", (long long)limit);
    rc = build(&l, k, scope, filter, after_id, limit, e);
    if (rc == BM_OK)
        rc = bm_query_start_once(s, l.sql, (struct bm_args){ l.args, l.n_args }, &q, e);
    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        rc = tell_row(k, &q, fn, arg, e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}
