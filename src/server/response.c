#include "server/response.h"

#include <http_parser.h>
#include <time.h>

const char *bm_http_reason(int status)
{
    switch (status) {
#define XX(num, name, string)                                                                                                      \
    case num:                                                                                                                      \
        return #string;
        HTTP_STATUS_MAP(XX)
#undef XX
    default:
        return "Status";
    }
}

static void number(struct bm_buf *out, uint64_t v)
{
    char text[20];
    size_t at = sizeof text;

    do
        text[--at] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    bm_buf_put(out, text + at, sizeof text - at);
}

static void field(struct bm_buf *out, const char *name, const char *value)
{
    if (value == NULL)
        return;
    bm_buf_str(out, name);
    bm_buf_str(out, value);
    bm_buf_str(out, "\r\n");
}

/* RFC 9110 section 5.6.7: IMF-fixdate. The program sets no locale, so the names are English. */
static void date(struct bm_buf *out, const char *name, int64_t at)
{
    char text[40];
    time_t t = (time_t)at;
    struct tm tm;

    if (gmtime_r(&t, &tm) == NULL || strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0)
        return;
    field(out, name, text);
}

static void cache_fields(struct bm_buf *out, const struct bm_response *r, int64_t now)
{
    field(out, "ETag: ", r->etag[0] != '\0' ? r->etag : NULL);
    if (r->modified_at != 0)
        date(out, "Last-Modified: ", r->modified_at);
    field(out, "Cache-Control: ", r->no_store ? "no-store" : NULL);
    if (r->max_age_s != 0 && !r->no_store) {
        bm_buf_str(out, "Cache-Control: public, no-transform, max-age=");
        number(out, r->max_age_s);
        bm_buf_str(out, "\r\n");
        date(out, "Date: ", now); /* both for caches that do not know max-age: RFC 9111 section 5.3, RFC 5019 section 6.2 */
        date(out, "Expires: ", now + r->max_age_s);
    }
}

void bm_response_write(struct bm_buf *out, const struct bm_response *r, const struct bm_response_head *h)
{
    bm_buf_str(out, "HTTP/1.1 ");
    number(out, (uint64_t)r->status);
    bm_buf_str(out, " ");
    field(out, bm_http_reason(r->status), "");
    if (r->status != 304) { /* which has no content to describe: RFC 9110 section 15.4.5 */
        field(out, "Content-Type: ", r->content_type);
        field(out, "Content-Transfer-Encoding: ", r->content_encoding);
        bm_buf_str(out, "Content-Length: ");
        number(out, r->body.n);
        bm_buf_str(out, "\r\n");
    }
    cache_fields(out, r, h->now);
    field(out, "Birthmark-Correlation: ", h->correlation);
    field(out, "Birthmark-Code: ", h->code);
    field(out, "Allow: ", h->allow);
    field(out, "WWW-Authenticate: ", r->authenticate);
    bm_buf_put(out, r->fields.p, r->fields.n);
    if (r->retry_after_s != 0) {
        bm_buf_str(out, "Retry-After: ");
        number(out, r->retry_after_s);
        bm_buf_str(out, "\r\n");
    }
    field(out, "Connection: ", !h->keep_alive ? "close" : h->http_1_0 ? "keep-alive" : NULL);
    bm_buf_str(out, "\r\n");
    if (!h->head_only)
        bm_buf_put(out, r->body.p, r->body.n);
}
