#include "server/http.h"

#include <strings.h>

/* Names in lower case; rows in the order of enum bm_http_field. */
static const char *const field_names[BM_FIELDS] = {
    [BM_FIELD_CONTENT_TYPE] = "content-type",
    [BM_FIELD_CONTENT_TRANSFER_ENCODING] = "content-transfer-encoding",
    [BM_FIELD_CONTENT_ENCODING] = "content-encoding",
    [BM_FIELD_ACCEPT] = "accept",
    [BM_FIELD_USER_AGENT] = "user-agent",
    [BM_FIELD_EXPECT] = "expect",
    [BM_FIELD_HOST] = "host",
    [BM_FIELD_IF_NONE_MATCH] = "if-none-match",
    [BM_FIELD_AUTHORIZATION] = "authorization",
};

/* A body may come in small chunks, each with a few bytes around it; this is how far that may go. */
#define RAW_PER_BODY 8

static struct bm_http *of(http_parser *p)
{
    return p->data;
}

static int bad(struct bm_http *h, enum bm_rc rc, const char *code, const char *why)
{
    h->bad_rc = rc;
    h->bad_code = code;
    h->bad = why;
    return 1;
}

static int on_url(http_parser *p, const char *at, size_t n)
{
    struct bm_http *h = of(p);
    const uint8_t *query;

    h->target_n += n;
    if (h->target_n > BM_HTTP_QUERY_MAX)
        return bad(h, BM_LIMIT, "target-too-long", "the request target is too long");
    bm_buf_put(&h->text, at, n);
    query = h->text.bad ? NULL : memchr(h->text.p, '?', h->target_n);
    if ((query != NULL ? (size_t)(query - h->text.p) : h->target_n) > BM_HTTP_TARGET_MAX)
        return bad(h, BM_LIMIT, "target-too-long", "the request target is too long");
    return 0;
}

/* The library as distributions build it takes a blank in a field name; a proxy in front of us may read such a line another way
 * (RFC 9112 section 5.1: it must be refused). */
static int on_field(http_parser *p, const char *at, size_t n)
{
    struct bm_http *h = of(p);

    if (h->field >= 0)
        h->name_n = 0;
    h->field = -1;
    for (size_t i = 0; i < n; i++) {
        if (at[i] == ' ')
            return bad(h, BM_MALFORMED, "bad-request", "blank in the name of a header field");
        if (h->name_n < sizeof h->name)
            h->name[h->name_n++] = (char)(at[i] | (at[i] >= 'A' && at[i] <= 'Z' ? 0x20 : 0));
    }
    return 0;
}

static int field_of(const struct bm_http *h)
{
    for (int i = 0; i < BM_FIELDS; i++) {
        if (strlen(field_names[i]) == h->name_n && memcmp(field_names[i], h->name, h->name_n) == 0)
            return i;
    }
    return BM_FIELD_OTHER;
}

/* Called once per piece of a value, also with n 0 for an empty one. */
static int on_value(http_parser *p, const char *at, size_t n)
{
    struct bm_http *h = of(p);
    bool first = h->field < 0;

    if (h->head_done) /* trailer fields: nothing here uses them */
        return 0;
    if (first)
        h->field = field_of(h);
    if ((h->field == BM_FIELD_ACCEPT || h->field == BM_FIELD_IF_NONE_MATCH) && first && h->values[h->field].at != 0)
        h->field = BM_FIELD_OTHER; /* a list may be spread over lines; the first says enough */
    if (h->field == BM_FIELD_OTHER)
        return 0;
    if (first && h->values[h->field].at != 0)
        return bad(h, BM_MALFORMED, "bad-request", "a header field that may come once came twice");
    if (first)
        h->values[h->field].at = (uint16_t)h->text.n;
    bm_buf_put(&h->text, at, n);
    h->values[h->field].n = (uint16_t)(h->values[h->field].n + n);
    return 0;
}

static int on_head(http_parser *p)
{
    struct bm_http *h = of(p);

    h->head_done = true;
    h->chunked = (p->flags & F_CHUNKED) != 0;
    h->has_length = (p->flags & F_CONTENTLENGTH) != 0;
    h->length = h->has_length ? p->content_length : 0; /* the library counts its own down */
    h->keep_alive = http_should_keep_alive(p) != 0;
    p->upgrade = 0; /* "Upgrade: h2c" may be passed over (RFC 9110 section 7.8); CONNECT is refused with its method */
    http_parser_pause(p, 1);
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
    struct bm_http *h = of(p);

    bm_buf_put(&h->body, at, n);
    if (h->body.bad)
        return bad(h, BM_LIMIT, "body-too-large", "the body is larger than this operation takes");
    return 0;
}

static int on_done(http_parser *p)
{
    of(p)->done = true;
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_done,
};

void bm_http_init(struct bm_http *h)
{
    memset(h, 0, sizeof *h);
    h->text.max = BM_HTTP_HEADER_MAX;
    bm_http_next(h);
}

void bm_http_done(struct bm_http *h)
{
    bm_buf_done(&h->text);
    bm_buf_done(&h->body);
}

void bm_http_next(struct bm_http *h)
{
    struct bm_buf text = h->text, body = h->body;

    bm_buf_done(&body);
    if (h->values[BM_FIELD_AUTHORIZATION].at != 0)
        bm_wipe(text.p, text.cap);
    text.n = 0; /* kept for the next request, bounded by BM_HTTP_HEADER_MAX */
    text.bad = false;
    body.max = 0;
    memset(h, 0, sizeof *h);
    h->text = text;
    h->body = body;
    h->field = -1;
    http_parser_init(&h->parser, HTTP_REQUEST);
    h->parser.data = h;
}

static enum bm_rc parser_refusal(const struct bm_http *h, struct bm_error *e)
{
    if (h->bad != NULL)
        return bm_refuse(e, h->bad_rc, h->bad_code, "%s", h->bad);
    return bm_refuse(e, BM_MALFORMED, "bad-request", "not an HTTP/1.1 request: %s",
                     http_errno_description(HTTP_PARSER_ERRNO(&h->parser)));
}

/* How many bytes of n the parser may see before a limit has to be looked at again. */
static size_t budget(const struct bm_http *h, size_t n)
{
    size_t used = h->head_done ? h->raw_n : h->head_n;
    size_t max = h->head_done ? h->body.max * RAW_PER_BODY + BM_HTTP_HEADER_MAX : BM_HTTP_HEADER_MAX;

    return n < max - used ? n : max - used;
}

static enum bm_rc over_budget(const struct bm_http *h, struct bm_error *e)
{
    if (h->head_done)
        return bm_refuse(e, BM_LIMIT, "body-too-large", "the body has more chunk framing than this server reads");
    return bm_refuse(e, BM_LIMIT, "header-too-large", "request line and header fields are larger than %d bytes",
                     BM_HTTP_HEADER_MAX);
}

enum bm_rc bm_http_feed(struct bm_http *h, struct bm_rd *in, enum bm_http_event *ret, struct bm_error *e)
{
    while (in->n != 0) {
        bool was_head = h->head_done;
        size_t n = budget(h, in->n), took;

        if (n == 0)
            return over_budget(h, e);
        http_parser_pause(&h->parser, 0);
        took = http_parser_execute(&h->parser, &settings, (const char *)in->p, n);
        *in = bm_rd_of(in->p + took, in->n - took);
        h->head_n += was_head ? 0 : took;
        h->raw_n += was_head ? took : 0;
        if (HTTP_PARSER_ERRNO(&h->parser) != HPE_OK && HTTP_PARSER_ERRNO(&h->parser) != HPE_PAUSED)
            return parser_refusal(h, e);
        if (h->text.bad)
            return over_budget(h, e);
        if (h->done || h->head_done != was_head) {
            *ret = h->done ? BM_HTTP_DONE : BM_HTTP_HEAD;
            return BM_OK;
        }
    }
    *ret = BM_HTTP_MORE;
    return BM_OK;
}

struct bm_rd bm_http_field_get0(const struct bm_http *h, enum bm_http_field f)
{
    return h->values[f].at == 0 ? bm_rd_of(NULL, 0) : bm_rd_of(h->text.p + h->values[f].at, h->values[f].n);
}

struct bm_rd bm_http_target_get0(const struct bm_http *h)
{
    return bm_rd_of(h->text.p, h->target_n);
}

bool bm_http_path_get0(const struct bm_http *h, struct bm_rd *ret)
{
    struct http_parser_url u;
    struct bm_rd t = bm_http_target_get0(h);

    http_parser_url_init(&u);
    if (t.n == 0 || http_parser_parse_url((const char *)t.p, t.n, 0, &u) != 0 || (u.field_set & 1 << UF_PATH) == 0)
        return false;
    *ret = bm_rd_of(t.p + u.field_data[UF_PATH].off, u.field_data[UF_PATH].len);
    return true;
}

struct bm_rd bm_http_query_get0(const struct bm_http *h)
{
    struct http_parser_url u;
    struct bm_rd t = bm_http_target_get0(h);

    http_parser_url_init(&u);
    if (t.n == 0 || http_parser_parse_url((const char *)t.p, t.n, 0, &u) != 0 || (u.field_set & 1 << UF_QUERY) == 0)
        return bm_rd_of(NULL, 0);
    return bm_rd_of(t.p + u.field_data[UF_QUERY].off, u.field_data[UF_QUERY].len);
}

bool bm_http_has_length(const struct bm_http *h)
{
    return h->chunked || h->has_length;
}

bool bm_http_has_body(const struct bm_http *h)
{
    return h->chunked || h->length != 0;
}

uint64_t bm_http_length(const struct bm_http *h)
{
    return h->length;
}

bool bm_http_waits(const struct bm_http *h)
{
    struct bm_rd v = bm_http_field_get0(h, BM_FIELD_EXPECT);

    return v.n == 12 && strncasecmp((const char *)v.p, "100-continue", 12) == 0 && h->parser.http_minor != 0;
}

bool bm_http_blank(const struct bm_http *h)
{
    return h->target_n == 0;
}
