#include "cbor.h"

#include "cbor_len.h"

#include <cbor/callbacks.h>
#include <cbor/encoding.h>
#include <cbor/streaming.h>

struct catch
{
    struct bmd_cbor_item item;
    bool taken;
};

static void catch_item(void *ctx, enum bmd_cbor_type type, uint64_t value, struct bmd_rd bytes)
{
    struct catch *c = (struct catch *)ctx;

    c->item.type = type;
    c->item.value = value;
    c->item.bytes = bytes;
    c->taken = true;
}

static const struct bmd_rd none = { NULL, 0 };

static void on_u8(void *ctx, uint8_t v)
{
    catch_item(ctx, BMD_CBOR_UINT, v, none);
}
static void on_u16(void *ctx, uint16_t v)
{
    catch_item(ctx, BMD_CBOR_UINT, v, none);
}
static void on_u32(void *ctx, uint32_t v)
{
    catch_item(ctx, BMD_CBOR_UINT, v, none);
}
static void on_u64(void *ctx, uint64_t v)
{
    catch_item(ctx, BMD_CBOR_UINT, v, none);
}
static void on_n8(void *ctx, uint8_t v)
{
    catch_item(ctx, BMD_CBOR_NEGINT, v, none);
}
static void on_n16(void *ctx, uint16_t v)
{
    catch_item(ctx, BMD_CBOR_NEGINT, v, none);
}
static void on_n32(void *ctx, uint32_t v)
{
    catch_item(ctx, BMD_CBOR_NEGINT, v, none);
}
static void on_n64(void *ctx, uint64_t v)
{
    catch_item(ctx, BMD_CBOR_NEGINT, v, none);
}
static void on_bytes(void *ctx, cbor_data p, bmd_cbor_len n)
{
    catch_item(ctx, BMD_CBOR_BYTES, n, bmd_rd_of(p, (size_t)n));
}
static void on_text(void *ctx, cbor_data p, bmd_cbor_len n)
{
    catch_item(ctx, BMD_CBOR_TEXT, n, bmd_rd_of(p, (size_t)n));
}
static void on_array(void *ctx, bmd_cbor_len n)
{
    catch_item(ctx, BMD_CBOR_ARRAY, n, none);
}
static void on_map(void *ctx, bmd_cbor_len n)
{
    catch_item(ctx, BMD_CBOR_MAP, n, none);
}
static void on_tag(void *ctx, uint64_t v)
{
    catch_item(ctx, BMD_CBOR_TAG, v, none);
}
static void on_float(void *ctx, float v)
{
    (void)v;
    catch_item(ctx, BMD_CBOR_SIMPLE, 0, none);
}
static void on_double(void *ctx, double v)
{
    (void)v;
    catch_item(ctx, BMD_CBOR_SIMPLE, 0, none);
}
static void on_bool(void *ctx, bool v)
{
    catch_item(ctx, BMD_CBOR_SIMPLE, v, none);
}
static void on_simple(void *ctx)
{
    catch_item(ctx, BMD_CBOR_SIMPLE, 0, none);
}
static void on_forbidden(void *ctx)
{
    (void)ctx;
} /* indefinite lengths and break: nothing taken, so refused */

static const struct cbor_callbacks callbacks = {
    .uint8 = on_u8,
    .uint16 = on_u16,
    .uint32 = on_u32,
    .uint64 = on_u64,
    .negint8 = on_n8,
    .negint16 = on_n16,
    .negint32 = on_n32,
    .negint64 = on_n64,
    .byte_string = on_bytes,
    .byte_string_start = on_forbidden,
    .string = on_text,
    .string_start = on_forbidden,
    .array_start = on_array,
    .indef_array_start = on_forbidden,
    .map_start = on_map,
    .indef_map_start = on_forbidden,
    .tag = on_tag,
    .float2 = on_float,
    .float4 = on_float,
    .float8 = on_double,
    .undefined = on_simple,
    .null = on_simple,
    .boolean = on_bool,
    .indef_break = on_forbidden,
};

enum bmd_rc bmd_cbor_next(struct bmd_rd *r, struct bmd_cbor_item *ret)
{
    struct catch c;
    struct cbor_decoder_result d;
    struct bmd_rd head;

    memset(&c, 0, sizeof c);
    if (r->n == 0)
        return BMD_MALFORMED;
    d = cbor_stream_decode(r->p, r->n, &callbacks, &c);
    if (d.status != CBOR_DECODER_FINISHED || !c.taken || !bmd_rd_take(r, d.read, &head))
        return BMD_MALFORMED;
    *ret = c.item;
    return BMD_OK;
}

enum bmd_rc bmd_cbor_take(struct bmd_rd *r, enum bmd_cbor_type type, struct bmd_cbor_item *ret)
{
    struct bmd_rd t = *r;
    struct bmd_cbor_item i;

    if (bmd_cbor_next(&t, &i) != BMD_OK || i.type != type)
        return BMD_MALFORMED;
    *r = t;
    *ret = i;
    return BMD_OK;
}

/* How many items follow a head before it is complete. Every item has at least one byte, so more than what is left cannot be. */
static bool inside(const struct bmd_cbor_item *i, size_t left, uint64_t *ret)
{
    uint64_t n = i->type == BMD_CBOR_ARRAY || i->type == BMD_CBOR_MAP ? i->value : i->type == BMD_CBOR_TAG ? 1 : 0;

    if (n > left)
        return false;
    *ret = i->type == BMD_CBOR_MAP ? 2 * n : n;
    return true;
}

enum bmd_rc bmd_cbor_skip(struct bmd_rd *r)
{
    uint64_t left[BMD_CBOR_DEPTH_MAX + 1];
    struct bmd_rd t = *r;
    struct bmd_cbor_item i;
    size_t depth = 0;

    left[0] = 1;
    for (;;) {
        uint64_t n;

        while (left[depth] == 0) {
            if (depth-- == 0) {
                *r = t;
                return BMD_OK;
            }
        }
        left[depth]--;
        if (bmd_cbor_next(&t, &i) != BMD_OK || !inside(&i, t.n, &n))
            return BMD_MALFORMED;
        if (n == 0)
            continue;
        if (depth == BMD_CBOR_DEPTH_MAX)
            return BMD_MALFORMED;
        left[++depth] = n;
    }
}

/* libcbor answers 0 when there is no room. */
static void put_head(struct bmd_wr *w, size_t (*encode)(size_t, unsigned char *, size_t), size_t v)
{
    size_t n = w->bad ? 0 : encode(v, w->p + w->n, w->cap - w->n);

    w->bad = w->bad || n == 0;
    w->n += n;
}

void bmd_cbor_put_uint(struct bmd_wr *w, uint64_t v)
{
    size_t n = w->bad ? 0 : cbor_encode_uint(v, w->p + w->n, w->cap - w->n);

    w->bad = w->bad || n == 0;
    w->n += n;
}

void bmd_cbor_put_bytes(struct bmd_wr *w, struct bmd_rd v)
{
    put_head(w, cbor_encode_bytestring_start, v.n);
    bmd_wr_put(w, v.p, v.n);
}

void bmd_cbor_put_text(struct bmd_wr *w, struct bmd_rd v)
{
    put_head(w, cbor_encode_string_start, v.n);
    bmd_wr_put(w, v.p, v.n);
}

void bmd_cbor_put_map(struct bmd_wr *w, size_t pairs)
{
    put_head(w, cbor_encode_map_start, pairs);
}

void bmd_cbor_put_array(struct bmd_wr *w, size_t items)
{
    put_head(w, cbor_encode_array_start, items);
}
