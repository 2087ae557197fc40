#include "protocol/form.h"

#include "base/text.h"

#include <jansson.h>
#include <stdlib.h>

static enum bm_rc load(struct bm_rd in, void **ret, struct bm_error *e)
{
    json_error_t je;
    char safe[100];

    *ret = json_loadb((const char *)in.p, in.n, JSON_REJECT_DUPLICATES, &je);
    if (*ret == NULL)
        return bm_fail(e, BM_MALFORMED, "JSON, line %d: %s", je.line, bm_text_escape(bm_rd_str(je.text), safe, sizeof safe));
    return BM_OK;
}

static void release(void *tree)
{
    json_decref(tree);
}

static bool each(const void *map, bool (*fn)(void *arg, struct bm_rd key, const void *value), void *arg)
{
    json_t *v;
    const char *key;

    if (!json_is_object((const json_t *)map))
        return false;
    json_object_foreach ((json_t *)(uintptr_t)map, key, v) {
        if (!fn(arg, bm_rd_str(key), v))
            return false;
    }
    return true;
}

static size_t array_size(const void *array, bool *ret_is)
{
    *ret_is = json_is_array((const json_t *)array);
    return json_array_size(array);
}

static const void *array_at(const void *array, size_t i)
{
    return json_array_get(array, i);
}

static bool get_text(const void *value, struct bm_rd *ret)
{
    const char *s = json_string_value(value);

    if (s == NULL)
        return false;
    *ret = bm_rd_of(s, json_string_length(value));
    return true;
}

static bool get_bytes(const void *value, struct bm_buf *arena, struct bm_rd *ret)
{
    size_t at = arena->n;
    struct bm_rd text;

    if (!get_text(value, &text) || bm_unbase64url(text, arena, NULL) != BM_OK)
        return false;
    *ret = bm_rd_of(arena->p + at, arena->n - at);
    return true;
}

static void *map(size_t n)
{
    (void)n;
    return json_object();
}

static void *array(size_t n)
{
    (void)n;
    return json_array();
}

static void *text(struct bm_rd b)
{
    return json_stringn((const char *)b.p, b.n);
}

static void *bytes(struct bm_rd b)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf t = { .max = 2 * b.n + 4 };

    bm_base64url(&t, b);
    return t.bad ? NULL : text(bm_buf_rd(&t));
}

static void *integer(int64_t v)
{
    return json_integer(v);
}

static bool set(void *m, const char *key, void *take)
{
    return json_object_set_new(m, key, take) == 0;
}

static bool append(void *a, void *take)
{
    return json_array_append_new(a, take) == 0;
}

static bool store(void *tree, struct bm_buf *out)
{
    char *s = json_dumps(tree, JSON_COMPACT);

    if (s == NULL)
        return false;
    bm_buf_str(out, s);
    free(s);
    return !out->bad;
}

const struct bm_form bm_form_json = {
    "application/json",
    "application/problem+json",
    load,
    release,
    each,
    array_size,
    array_at,
    get_bytes,
    get_text,
    map,
    array,
    bytes,
    text,
    integer,
    set,
    append,
    store,
};
