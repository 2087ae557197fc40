/* What the administrator's handlers share: members in, rows and PEM out. */
#include "keeper/internal.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

void bm_keeper_jsonp(json_t **j)
{
    json_decref(*j);
}

const char *bm_arg_text(const json_t *in, const char *member)
{
    return json_string_value(json_object_get(in, member));
}

enum bm_rc bm_arg_name(const json_t *in, const char *member, const char **ret, struct bm_error *e)
{
    const char *s = bm_arg_text(in, member);

    if (s == NULL || !bm_name_ok(s))
        return bm_fail(e, BM_USAGE, "'%s' must be a name: 1 to 64 of a-z 0-9 . _ -, starting with a letter or digit", member);
    *ret = s;
    return BM_OK;
}

enum bm_rc bm_arg_hex(const json_t *in, const char *member, void *ret, size_t n, struct bm_error *e)
{
    const char *s = bm_arg_text(in, member);

    if (s == NULL || !bm_unhex(bm_rd_str(s), ret, n))
        return bm_fail(e, BM_USAGE, "'%s' must be %zu hex digits", member, 2 * n);
    return BM_OK;
}

int64_t bm_arg_int(const json_t *in, const char *member, int64_t absent)
{
    const json_t *v = json_object_get(in, member);

    return json_is_integer(v) ? json_integer_value(v) : absent;
}

enum bm_rc bm_arg_until(const json_t *in, const char *member, int64_t now, int64_t absent_s, int64_t max_s, int64_t *ret,
                        struct bm_error *e)
{
    const char *s = bm_arg_text(in, member);
    int64_t at = now + absent_s, span;

    if (s != NULL && bm_duration_parse(s, &span))
        at = span <= max_s ? now + span : INT64_MAX;
    else if ((s == NULL && absent_s == 0) || (s != NULL && !bm_time_parse(s, &at)))
        return bm_fail(e, BM_USAGE, "'%s' must be a date like 2030-01-31T12:00:00Z, or a time from now like 30d", member);
    if (at <= now || at > now + max_s)
        return bm_fail(e, BM_USAGE, "'%s' must be later than now, and at most %lld days from now", member,
                       (long long)(max_s / 86400));
    *ret = at;
    return BM_OK;
}

enum bm_rc bm_arg_reason(const json_t *in, int absent, int *ret, struct bm_error *e)
{
    const char *s = bm_arg_text(in, "reason");

    *ret = absent;
    return s != NULL ? bm_reason_find(s, ret, e) : BM_OK;
}

int bm_json_pem(json_t *out, const char *member, struct bm_rd der)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 2 * BM_CERT_MAX };

    bm_pem_write(&pem, "CERTIFICATE", der);
    if (pem.bad)
        return -1;
    return json_object_set_new(out, member, json_stringn((const char *)pem.p, pem.n));
}

/* --- rows ---------------------------------------------------------------------------------------------------------------------- */
enum { LIST_LIMIT_DEFAULT = 100, LIST_LIMIT_MAX = 1000, FILTERS_MAX = 8 };

struct rows {
    json_t *array;
    int64_t last, n;
};

static enum bm_rc add_row(void *arg, int64_t id, const char *json, struct bm_error *e)
{
    struct rows *r = arg;
    json_t *row = json_loads(json, 0, NULL);

    if (row == NULL || json_array_append_new(r->array, row) != 0)
        return bm_fail(e, BM_NOMEM, "no memory for a list");
    r->last = id;
    r->n++;
    return BM_OK;
}

enum bm_rc bm_admin_list(struct bm_keeper *k, const char *kind, const char *const *filters, const json_t *in, json_t *out,
                         struct bm_error *e)
{
    char text[FILTERS_MAX][192];
    const char *filter[FILTERS_MAX + 1];
    struct rows r = { .array = json_array() };
    int64_t limit = bm_arg_int(in, "limit", LIST_LIMIT_DEFAULT);
    size_t n = 0;
    enum bm_rc rc;

    for (; filters != NULL && *filters != NULL && n < FILTERS_MAX; filters++) {
        const char *v = bm_arg_text(in, *filters);

        if (v == NULL)
            continue;
        snprintf(text[n], sizeof text[n], "%s=%s", *filters, v);
        filter[n] = text[n];
        n++;
    }
    filter[n] = NULL;
    limit = limit < 1 ? 1 : limit > LIST_LIMIT_MAX ? LIST_LIMIT_MAX : limit;
    json_object_set_new(out, "rows", r.array);
    rc = bm_store_list_in(k->store, k->scope, kind, filter, bm_arg_int(in, "after", 0), limit, add_row, &r, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "next", r.n == limit ? json_integer(r.last) : json_null());
    return BM_OK;
}

enum bm_rc bm_admin_one(struct bm_keeper *k, const char *kind, const char *column, const char *value, json_t *out,
                        struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *array = json_array();
    char text[192];
    const char *filter[] = { text, NULL };
    struct rows r = { .array = array };
    enum bm_rc rc;

    snprintf(text, sizeof text, "%s=%s", column, value);
    rc = bm_store_list_in(k->store, k->scope, kind, filter, 0, 1, add_row, &r, e);
    if (rc == BM_OK && r.n == 0)
        return bm_fail(e, BM_NOTFOUND, "no %s '%s'", kind, value);
    if (rc == BM_OK && json_object_update(out, json_array_get(array, 0)) != 0)
        return bm_fail(e, BM_NOMEM, "no memory");
    return rc;
}

enum bm_rc bm_admin_add_pem(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct bm_cert c;
    enum bm_rc rc = bm_cert_parse(der, &c, e);

    if (rc == BM_OK)
        bm_pem_write(arg, "CERTIFICATE", der);
    return rc;
}
