#include "http.h"

static void put_visible(struct bmd_wr *w, const char *s)
{
    const char *p;

    for (p = s; *p != '\0'; p++)
        w->bad = w->bad || *p <= ' ' || *p >= 0x7f;
    bmd_wr_str(w, s);
}

static void put_field(struct bmd_wr *w, const char *name, const char *value)
{
    if (value == NULL)
        return;
    bmd_wr_str(w, name);
    bmd_wr_str(w, ": ");
    bmd_wr_str(w, value);
    bmd_wr_str(w, "\r\n");
}

void bmd_http_write(struct bmd_wr *w, const struct bmd_http_request *q)
{
    bmd_wr_str(w, q->method);
    bmd_wr_str(w, " ");
    put_visible(w, q->path);
    bmd_wr_str(w, " HTTP/1.1\r\nHost: ");
    put_visible(w, q->host);
    bmd_wr_str(w, "\r\n");
    put_field(w, "Accept", q->accept);
    put_field(w, "Content-Type", q->content_type);
    put_field(w, "Content-Transfer-Encoding", q->content_encoding);
    put_field(w, "Connection", q->close ? "close" : NULL);
    if (q->content_type != NULL) {
        bmd_wr_str(w, "Content-Length: ");
        bmd_wr_dec(w, q->body_len);
        bmd_wr_str(w, "\r\n");
    }
    bmd_wr_str(w, "\r\n");
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* Does the text begin with this lower-case word, whatever its case? */
static bool begins(const char *text, const char *word)
{
    for (; *word != '\0'; word++, text++)
        if (lower((uint8_t)*text) != (uint8_t)*word)
            return false;
    return true;
}

static bool same(const char *text, const char *word)
{
    return begins(text, word) && text[strlen(word)] == '\0';
}

/* Only what we would print: letters, digits, '-', '_', '.'. Anything else leaves ret empty. */
static void copy_token(char *ret, size_t room, const char *value)
{
    size_t n = strlen(value), i;

    ret[0] = '\0';
    for (i = 0; i < n; i++) {
        uint8_t c = lower((uint8_t)value[i]);

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))
            return;
    }
    if (n < room)
        memcpy(ret, value, n + 1);
}

static uint32_t seconds(const char *s)
{
    uint32_t v = 0;

    for (; *s >= '0' && *s <= '9'; s++)
        v = v > 100000000 ? v : v * 10 + (uint32_t)(*s - '0');
    return *s == '\0' ? v : 0; /* an HTTP date needs a clock we may not have */
}

static enum bmd_http_media media_of(const char *v)
{
    if (begins(v, "application/cbor"))
        return BMD_MEDIA_CBOR;
    if (begins(v, "application/pkcs7-mime"))
        return BMD_MEDIA_PKCS7;
    return begins(v, "text/") ? BMD_MEDIA_TEXT : BMD_MEDIA_OTHER;
}

static void field_done(struct bmd_http *h)
{
    if (h->name_len < sizeof h->name && h->value_len < sizeof h->value) {
        h->name[h->name_len] = '\0';
        h->value[h->value_len] = '\0';
        if (same(h->name, "retry-after"))
            h->retry_after_s = seconds(h->value);
        else if (same(h->name, "birthmark-code"))
            copy_token(h->code, sizeof h->code, h->value);
        else if (same(h->name, "birthmark-correlation"))
            copy_token(h->correlation, sizeof h->correlation, h->value);
        else if (same(h->name, "content-type"))
            h->media = media_of(h->value);
        else if (same(h->name, "content-transfer-encoding"))
            h->base64 = same(h->value, "base64");
    }
    h->name_len = h->value_len = 0;
    h->in_value = false;
}

/* Keeps what fits and remembers that it did not: a field too long is one we do not know. */
static void keep(char *to, size_t room, size_t *len, const char *p, size_t n)
{
    if (*len < room && n < room - *len)
        memcpy(to + *len, p, n);
    *len = n > room || *len + n > room ? room : *len + n;
}

static bool header_room(struct bmd_http *h, size_t n)
{
    h->overflow = h->overflow || n > BMD_HTTP_HEADERS_MAX - h->header_bytes;
    h->header_bytes += h->overflow ? 0 : n;
    return !h->overflow;
}

static int on_name(http_parser *p, const char *at, size_t n)
{
    struct bmd_http *h = (struct bmd_http *)p->data;

    if (h->in_value)
        field_done(h);
    keep(h->name, sizeof h->name, &h->name_len, at, n);
    return header_room(h, n) ? 0 : -1;
}

static int on_value(http_parser *p, const char *at, size_t n)
{
    struct bmd_http *h = (struct bmd_http *)p->data;

    h->in_value = true;
    keep(h->value, sizeof h->value, &h->value_len, at, n);
    return header_room(h, n) ? 0 : -1;
}

static int on_headers(http_parser *p)
{
    struct bmd_http *h = (struct bmd_http *)p->data;

    if (h->in_value)
        field_done(h);
    if ((p->flags & F_CONTENTLENGTH) != 0 && p->content_length > h->body_cap)
        h->overflow = true;
    return h->overflow ? -1 : 0;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
    struct bmd_http *h = (struct bmd_http *)p->data;

    if (n > h->body_cap - h->body_len) {
        h->overflow = true;
        return -1;
    }
    memcpy(h->body + h->body_len, at, n);
    h->body_len += n;
    return 0;
}

static int on_complete(http_parser *p)
{
    struct bmd_http *h = (struct bmd_http *)p->data;

    if (p->status_code / 100 == 1) { /* RFC 9110 15.2: interim, the real one follows */
        h->interim++;
        return h->interim > BMD_HTTP_INTERIM_MAX || p->status_code == 101 ? -1 : 0;
    }
    h->status = p->status_code;
    h->keep_alive = http_should_keep_alive(p) != 0;
    h->done = true;
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_headers,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

void bmd_http_init(struct bmd_http *h, uint8_t *body, size_t body_cap)
{
    memset(h, 0, sizeof *h);
    http_parser_init(&h->parser, HTTP_RESPONSE);
    h->parser.data = h;
    h->body = body;
    h->body_cap = body_cap;
}

enum bmd_rc bmd_http_feed(struct bmd_http *h, const uint8_t *p, size_t n)
{
    size_t used;

    if (h->done)
        return n == 0 ? BMD_OK : BMD_MALFORMED;
    h->parser.data = h; /* the caller may have moved the struct between calls */
    used = http_parser_execute(&h->parser, &settings, n != 0 ? (const char *)p : "", n);
    if (h->done)
        return used == n ? BMD_OK : BMD_MALFORMED;
    if (h->overflow)
        return BMD_NO_SPACE;
    if (HTTP_PARSER_ERRNO(&h->parser) != HPE_OK || used != n)
        return BMD_MALFORMED;
    return n == 0 ? BMD_COMM : BMD_BUSY;
}
