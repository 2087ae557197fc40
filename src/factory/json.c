#include "factory/impl.h"

#include "base/text.h"

void bm_json_freep(json_t **j)
{
    json_decref(*j);
    *j = NULL;
}

enum bm_rc bm_json_object(struct bm_rd text, json_t **ret, struct bm_error *e)
{
    char what[JSON_ERROR_TEXT_LENGTH];
    json_error_t je;
    json_t *j = json_loadb((const char *)text.p, text.n, BM_JSON_FLAGS, &je);

    if (j == NULL && json_error_code(&je) == json_error_out_of_memory)
        return bm_fail(e, BM_NOMEM, "out of memory");
    if (j == NULL)
        return bm_fail(e, BM_MALFORMED, "not JSON: %s", bm_text_escape(bm_rd_str(je.text), what, sizeof what));
    if (!json_is_object(j)) {
        json_decref(j);
        return bm_fail(e, BM_MALFORMED, "not a JSON object");
    }
    *ret = j;
    return BM_OK;
}

bool bm_json_text(const json_t *o, const char *name, struct bm_rd *ret)
{
    const json_t *v = json_object_get(o, name);

    if (!json_is_string(v))
        return false;
    *ret = bm_rd_of(json_string_value(v), json_string_length(v));
    return true;
}

static bool listed(const char *const *names, const char *name)
{
    for (; *names != NULL; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

const char *bm_json_unknown(const json_t *o, const char *const *names)
{
    json_t *w = (json_t *)o; /* iterators take no const, and do not write */

    for (void *i = json_object_iter(w); i != NULL; i = json_object_iter_next(w, i))
        if (!listed(names, json_object_iter_key(i)))
            return json_object_iter_key(i);
    return NULL;
}

bool bm_text_copy(struct bm_rd text, char *ret, size_t ret_len)
{
    if (text.n >= ret_len)
        return false;
    if (text.n != 0)
        memcpy(ret, text.p, text.n);
    ret[text.n] = '\0';
    return true;
}
