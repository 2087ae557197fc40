#include "pki/cbor.h"
#include "protocol/form.h"

#include <stdlib.h>

/* --- reading --------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc load(struct bm_rd in, void **ret, struct bm_error *e)
{
    cbor_item_t *item;
    enum bm_rc rc = bm_cbor_load(in, &item, e);

    if (rc == BM_OK)
        *ret = item;
    return rc;
}

static void release(void *tree)
{
    cbor_item_t *item = tree;

    if (item != NULL)
        cbor_decref(&item);
}

static bool get_text(const void *value, struct bm_rd *ret)
{
    const cbor_item_t *item = value;

    if (!cbor_isa_string(item) || !cbor_string_is_definite(item))
        return false;
    *ret = bm_rd_of(cbor_string_handle(item), cbor_string_length(item));
    return true;
}

static bool get_bytes(const void *value, struct bm_buf *arena, struct bm_rd *ret)
{
    const cbor_item_t *item = value;

    (void)arena;
    if (!cbor_isa_bytestring(item) || !cbor_bytestring_is_definite(item))
        return false;
    *ret = bm_rd_of(cbor_bytestring_handle(item), cbor_bytestring_length(item));
    return true;
}

static bool key_twice(const struct cbor_pair *pairs, size_t i)
{
    struct bm_rd a, b;

    for (size_t j = 0; j < i; j++)
        if (get_text(pairs[i].key, &a) && get_text(pairs[j].key, &b) && bm_rd_eq(a, b))
            return true;
    return false;
}

static bool each(const void *m, bool (*fn)(void *arg, struct bm_rd key, const void *value), void *arg)
{
    const cbor_item_t *item = m;
    struct cbor_pair *pairs;
    struct bm_rd key;

    if (!cbor_isa_map(item))
        return false;
    pairs = cbor_map_handle(item);
    for (size_t i = 0; i < cbor_map_size(item); i++)
        if (!get_text(pairs[i].key, &key) || key_twice(pairs, i) || !fn(arg, key, pairs[i].value))
            return false;
    return true;
}

static size_t array_size(const void *a, bool *ret_is)
{
    *ret_is = cbor_isa_array(a);
    return *ret_is ? cbor_array_size(a) : 0;
}

static const void *array_at(const void *a, size_t i)
{
    return cbor_array_handle(a)[i];
}

/* --- writing --------------------------------------------------------------------------------------------------------------------- */
static void *map(size_t n)
{
    return cbor_new_definite_map(n);
}

static void *array(size_t n)
{
    return cbor_new_definite_array(n);
}

static void *bytes(struct bm_rd b)
{
    return cbor_build_bytestring(b.p, b.n);
}

static void *text(struct bm_rd b)
{
    return cbor_build_stringn((const char *)b.p, b.n);
}

static void *integer(int64_t v)
{
    return v >= 0 ? cbor_build_uint64((uint64_t)v) : cbor_build_negint64((uint64_t)(-(v + 1)));
}

static bool set(void *m, const char *key, void *take)
{
    cbor_item_t *k = cbor_build_string(key), *v = take;
    bool ok = m != NULL && k != NULL && v != NULL && cbor_map_add(m, (struct cbor_pair){ k, v });

    release(k);
    release(v);
    return ok;
}

static bool append(void *a, void *take)
{
    bool ok = a != NULL && take != NULL && cbor_array_push(a, take);

    release(take);
    return ok;
}

static bool store(void *tree, struct bm_buf *out)
{
    unsigned char *p = NULL;
    size_t cap = 0, n = tree != NULL ? cbor_serialize_alloc(tree, &p, &cap) : 0;

    bm_buf_put(out, p, n);
    free(p);
    return n != 0 && !out->bad;
}

const struct bm_form bm_form_cbor = {
    "application/cbor",
    "application/cbor",
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
