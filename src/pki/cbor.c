#include "pki/cbor.h"

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

enum bm_rc bm_cbor_load(struct bm_rd in, cbor_item_t **ret, struct bm_error *e)
{
    struct cbor_load_result r;
    cbor_item_t *item;

    if (!looks_sane(in))
        return bm_fail(e, BM_MALFORMED, "CBOR: cut short, too deep, too many items, or of a kind that is not used here");
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

void bm_cbor_freep(cbor_item_t **item)
{
    if (*item != NULL)
        cbor_decref(item);
}
