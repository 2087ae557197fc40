#include "protocol/coap.h"

#include <coap3/coap.h>

enum { VERSION = 1, PAYLOAD_MARKER = 0xff, TOKEN_MAX = 8, HEADER_LEN = 4, OPTION_ROOM = 300 };

/* RFC 7252 section 5.10, RFC 7959 section 2.1 */
enum {
    URI_HOST = 3,
    URI_PORT = 7,
    URI_PATH = 11,
    CONTENT_FORMAT = 12,
    MAX_AGE = 14,
    URI_QUERY = 15,
    ACCEPT = 17,
    BLOCK2 = 23,
    BLOCK1 = 27,
    SIZE2 = 28,
    PROXY_URI = 35,
    PROXY_SCHEME = 39,
    SIZE1 = 60,
};

struct bm_coap_message bm_coap_message_of(enum bm_coap_type type, uint8_t code, uint16_t mid)
{
    return (struct bm_coap_message){
        .type = type, .code = code, .mid = mid, .content_format = -1, .accept = -1, .max_age_s = -1, .size1 = -1, .size2 = -1
    };
}

/* --- reading --------------------------------------------------------------------------------------------------------------------- */
/* A reader of one option's value. False: the option is not as it should be, and counts as one we do not know (RFC 7252 section 5.4.3); so does one
 * that comes twice and may not (section 5.4.5). */
typedef bool option_reader(struct bm_rd value, struct bm_coap_message *m);

static bool read_uint(struct bm_rd value, size_t max, int64_t *ret)
{
    uint64_t v;

    if (*ret >= 0 || value.n > max || !bm_rd_uint(&value, value.n, &v))
        return false;
    *ret = (int64_t)v;
    return true;
}

static bool read_format(struct bm_rd value, int32_t *ret)
{
    int64_t v = *ret;

    if (!read_uint(value, 2, &v))
        return false;
    *ret = (int32_t)v;
    return true;
}

/* RFC 7959 section 2.2 */
static bool read_block(struct bm_rd value, struct bm_coap_message *m, struct bm_coap_block *ret)
{
    int64_t v = -1;

    if (ret->present || !read_uint(value, 3, &v))
        return false;
    if ((v & 7) > BM_COAP_SZX_MAX) {
        m->bad_block = true;
        return true;
    }
    *ret = (struct bm_coap_block){ .present = true, .more = (v & 8) != 0, .szx = (uint8_t)(v & 7), .num = (uint32_t)(v >> 4) };
    return true;
}

static bool read_segment(struct bm_rd value, size_t max, struct bm_rd *list, size_t *n, bool *too_long)
{
    if (value.n > 255)
        return false;
    if (*n < max)
        list[(*n)++] = value;
    else
        *too_long = true;
    return true;
}

static bool path_reader(struct bm_rd value, struct bm_coap_message *m)
{
    return read_segment(value, BM_COAP_SEGMENTS_MAX, m->path, &m->n_path, &m->too_long);
}

static bool query_reader(struct bm_rd value, struct bm_coap_message *m)
{
    return read_segment(value, BM_COAP_QUERIES_MAX, m->query, &m->n_query, &m->too_long);
}

/* Where the message was sent to: there is one server here, whatever its name. */
static bool host_reader(struct bm_rd value, struct bm_coap_message *m)
{
    (void)m;
    return value.n >= 1 && value.n <= 255;
}

static bool port_reader(struct bm_rd value, struct bm_coap_message *m)
{
    (void)m;
    return value.n <= 2;
}

static bool format_reader(struct bm_rd value, struct bm_coap_message *m)
{
    return read_format(value, &m->content_format);
}

static bool accept_reader(struct bm_rd value, struct bm_coap_message *m)
{
    return read_format(value, &m->accept);
}

static bool age_reader(struct bm_rd value, struct bm_coap_message *m)
{
    return read_uint(value, 4, &m->max_age_s);
}

static bool size1_reader(struct bm_rd value, struct bm_coap_message *m)
{
    return read_uint(value, 4, &m->size1);
}

static bool size2_reader(struct bm_rd value, struct bm_coap_message *m)
{
    return read_uint(value, 4, &m->size2);
}

static bool block1_reader(struct bm_rd value, struct bm_coap_message *m)
{
    return read_block(value, m, &m->block1);
}

static bool block2_reader(struct bm_rd value, struct bm_coap_message *m)
{
    return read_block(value, m, &m->block2);
}

static bool proxy_reader(struct bm_rd value, struct bm_coap_message *m)
{
    (void)value;
    m->proxy = true;
    return true;
}

static const struct {
    uint16_t number;
    option_reader *read;
} readers[] = {
    { URI_HOST, host_reader }, { URI_PORT, port_reader },   { URI_PATH, path_reader },   { CONTENT_FORMAT, format_reader },
    { MAX_AGE, age_reader },   { URI_QUERY, query_reader }, { ACCEPT, accept_reader },   { BLOCK2, block2_reader },
    { BLOCK1, block1_reader }, { SIZE2, size2_reader },     { PROXY_URI, proxy_reader }, { PROXY_SCHEME, proxy_reader },
    { SIZE1, size1_reader },
};

static void take_option(uint32_t number, struct bm_rd value, struct bm_coap_message *m)
{
    for (size_t i = 0; i < BM_COUNT(readers); i++) {
        if (readers[i].number == number && readers[i].read(value, m))
            return;
    }
    if ((number & 1) != 0 && m->unknown == 0) /* critical: RFC 7252 section 5.4.1; the others are passed over */
        m->unknown = (uint16_t)number;
}

/* Leaves in *in what comes after the options. */
static bool take_options(struct bm_rd *in, struct bm_coap_message *m)
{
    uint32_t number = 0;

    for (unsigned n = 0; in->n != 0 && in->p[0] != PAYLOAD_MARKER; n++) {
        struct bm_rd whole;
        coap_option_t o;
        size_t len = coap_opt_parse(in->p, in->n, &o);

        if (len == 0 || n == BM_COAP_OPTIONS_MAX || !bm_rd_take(in, len, &whole))
            return false;
        number += o.delta;
        if (number > UINT16_MAX)
            return false;
        take_option(number, bm_rd_of(o.value, o.length), m);
    }
    return true;
}

static bool take_header(struct bm_rd *in, struct bm_coap_message *m)
{
    uint8_t first;

    if (!bm_rd_u8(in, &first) || first >> 6 != VERSION || !bm_rd_u8(in, &m->code) || !bm_rd_u16(in, &m->mid))
        return false;
    m->type = (enum bm_coap_type)(first >> 4 & 3);
    m->token_len = first & 15;
    return true;
}

static bool take_rest(struct bm_rd in, struct bm_coap_message *m)
{
    uint8_t marker;

    if (m->token_len > TOKEN_MAX || !bm_rd_copy(&in, m->token, m->token_len) || !take_options(&in, m))
        return false;
    if (in.n != 0 && (!bm_rd_u8(&in, &marker) || in.n == 0)) /* a marker with nothing after it: section 3 */
        return false;
    m->payload = in;
    return true;
}

enum bm_rc bm_coap_parse(struct bm_rd in, struct bm_coap_message *ret, bool *ret_header, struct bm_error *e)
{
    *ret = bm_coap_message_of(BM_COAP_CON, BM_COAP_EMPTY, 0);
    *ret_header = take_header(&in, ret);
    if (!*ret_header)
        return bm_fail(e, BM_MALFORMED, "no CoAP message");
    if (ret->code == BM_COAP_EMPTY ? ret->token_len != 0 || in.n != 0 : !take_rest(in, ret))
        return bm_fail(e, BM_MALFORMED, "not a CoAP message that can be read");
    return BM_OK;
}

/* --- writing --------------------------------------------------------------------------------------------------------------------- */
struct writer {
    struct bm_buf *out;
    uint16_t last;
};

static void put_option(struct writer *w, uint16_t number, struct bm_rd value)
{
    uint8_t room[OPTION_ROOM];
    size_t n = value.n <= 255 ? coap_opt_encode(room, sizeof room, (uint16_t)(number - w->last), value.p, value.n) : 0;

    w->out->bad = w->out->bad || n == 0;
    bm_buf_put(w->out, room, n);
    w->last = number;
}

/* In as few bytes as it takes: RFC 7252 section 3.2. */
static void put_uint(struct writer *w, uint16_t number, uint32_t v)
{
    uint8_t b[4];
    size_t n = 0;

    while (n < 4 && v >> (8 * n) != 0)
        n++;
    for (size_t i = 0; i < n; i++)
        b[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
    put_option(w, number, bm_rd_of(b, n));
}

static void put_number(struct writer *w, uint16_t number, int64_t v)
{
    if (v >= 0)
        put_uint(w, number, (uint32_t)v);
}

static void put_block(struct writer *w, uint16_t number, const struct bm_coap_block *b)
{
    if (b->present)
        put_uint(w, number, b->num << 4 | (uint32_t)b->more << 3 | b->szx);
}

void bm_coap_write(struct bm_buf *out, const struct bm_coap_message *m)
{
    struct writer w = { out, 0 };

    bm_buf_uint(out, 1, VERSION << 6 | (unsigned)m->type << 4 | m->token_len);
    bm_buf_uint(out, 1, m->code);
    bm_buf_uint(out, 2, m->mid);
    bm_buf_put(out, m->token, m->token_len);
    for (size_t i = 0; i < m->n_path; i++)
        put_option(&w, URI_PATH, m->path[i]);
    put_number(&w, CONTENT_FORMAT, m->content_format);
    put_number(&w, MAX_AGE, m->max_age_s);
    for (size_t i = 0; i < m->n_query; i++)
        put_option(&w, URI_QUERY, m->query[i]);
    put_number(&w, ACCEPT, m->accept);
    put_block(&w, BLOCK2, &m->block2);
    put_block(&w, BLOCK1, &m->block1);
    put_number(&w, SIZE2, m->size2);
    put_number(&w, SIZE1, m->size1);
    if (m->payload.n != 0) {
        bm_buf_uint(out, 1, PAYLOAD_MARKER);
        bm_buf_put(out, m->payload.p, m->payload.n);
    }
}
