#include "protocol/form.h"

#include <cbor.h>
#include <stdlib.h>

enum { DEPTH_MAX = 4, ITEMS_MAX = 512 };

/* --- a look before the leap ------------------------------------------------------------------------------------------------------
 * The library reserves memory for as many elements as a head promises, so the heads are checked first, without reserving anything. */
struct guard {
    bool bad;
    int depth;
    size_t items, left[DEPTH_MAX + 1]; /* elements still to come, per level */
};

static void count(struct guard *g)
{
    if (++g->items > ITEMS_MAX)
        g->bad = true;
    while (g->depth > 0 && g->left[g->depth] == 0)
        g->depth--;
    if (g->depth > 0)
        g->left[g->depth]--;
}

static void open_level(struct guard *g, uint64_t elements)
{
    count(g);
    if (elements > ITEMS_MAX || g->depth == DEPTH_MAX) {
        g->bad = true;
        return;
    }
    g->left[++g->depth] = (size_t)elements;
}

static void see_u8(void *ctx, uint8_t v)
{
    (void)v;
    count(ctx);
}
static void see_u16(void *ctx, uint16_t v)
{
    (void)v;
    count(ctx);
}
static void see_u32(void *ctx, uint32_t v)
{
    (void)v;
    count(ctx);
}
static void see_u64(void *ctx, uint64_t v)
{
    (void)v;
    count(ctx);
}
static void see_bool(void *ctx, bool v)
{
    (void)v;
    count(ctx);
}
static void see_nothing(void *ctx)
{
    count(ctx);
}
static void see_float(void *ctx, float v)
{
    (void)v;
    ((struct guard *)ctx)->bad = true;
}
static void see_double(void *ctx, double v)
{
    (void)v;
    ((struct guard *)ctx)->bad = true;
}
static void refuse(void *ctx)
{
    ((struct guard *)ctx)->bad = true;
}
static void refuse_tag(void *ctx, uint64_t v)
{
    (void)v;
    ((struct guard *)ctx)->bad = true;
}

/* The length's type differs between versions of the library; the compiler picks the fitting cast from the member itself. */
static void see_string_body(void *ctx)
{
    count(ctx);
}
#define LIKE(member) (__typeof__(((struct cbor_callbacks *)0)->member))

static void see_string(void *ctx, cbor_data p, __typeof__(cbor_string_length(NULL)) n)
{
    (void)p, (void)n;
    see_string_body(ctx);
}

static void see_array(void *ctx, __typeof__(cbor_array_size(NULL)) n)
{
    open_level(ctx, n);
}

static void see_map(void *ctx, __typeof__(cbor_map_size(NULL)) n)
{
    open_level(ctx, n > ITEMS_MAX ? n : 2 * (uint64_t)n);
}

static bool looks_sane(struct bm_rd in)
{
    struct cbor_callbacks cb = cbor_empty_callbacks;
    struct guard g = { 0 };

    cb.uint8 = see_u8, cb.uint16 = see_u16, cb.uint32 = see_u32, cb.uint64 = see_u64;
    cb.negint8 = see_u8, cb.negint16 = see_u16, cb.negint32 = see_u32, cb.negint64 = see_u64;
    cb.byte_string = LIKE(byte_string) see_string;
    cb.string = LIKE(string) see_string;
    cb.array_start = LIKE(array_start) see_array;
    cb.map_start = LIKE(map_start) see_map;
    cb.byte_string_start = cb.string_start = cb.indef_array_start = cb.indef_map_start = cb.indef_break = refuse;
    cb.tag = refuse_tag;
    cb.float2 = cb.float4 = see_float;
    cb.float8 = see_double;
    cb.boolean = see_bool;
    cb.null = cb.undefined = see_nothing;
    while (in.n != 0 && !g.bad) {
        struct cbor_decoder_result r = cbor_stream_decode(in.p, in.n, &cb, &g);

        if (r.status != CBOR_DECODER_FINISHED)
            return false;
        in = bm_rd_of(in.p + r.read, in.n - r.read);
    }
    return !g.bad;
}

/* --- reading --------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc load(struct bm_rd in, void **ret, struct bm_error *e)
{
    struct cbor_load_result r;
    cbor_item_t *item;

    if (!looks_sane(in))
        return bm_fail(e, BM_MALFORMED, "CBOR: cut short, too deep, too many items, or of a kind that Onboard does not use");
    item = cbor_load(in.p, in.n, &r);
    if (item == NULL)
        return bm_fail(e, BM_MALFORMED, "CBOR: wrong at byte %zu", r.error.position);
    if (r.read != in.n) {
        cbor_decref(&item);
        return bm_fail(e, BM_MALFORMED, "CBOR: %zu bytes left over", in.n - r.read);
    }
    *ret = item;
    return BM_OK;
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
