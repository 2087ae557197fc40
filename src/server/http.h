/* HTTP/1.1 requests (RFC 9110, 9112): bytes in any chunking become one struct bm_http at a time. Pure: no sockets, no clock. The parsing is
 * libhttp-parser's; what is here are our limits, the few fields that operations need, and the refusals.
 *
 * The dialogue: bm_http_feed() until BM_HTTP_HEAD; the caller looks at method and path, decides how much body it takes (h->body.max) or
 * refuses; on with bm_http_feed() until BM_HTTP_DONE; answer; bm_http_next(). Bytes of a pipelined request stay in `in`. */
#ifndef BM_SERVER_HTTP_H
#define BM_SERVER_HTTP_H

#include "base/bytes.h"
#include "base/limits.h"

#include <http_parser.h>

enum bm_http_event {
    BM_HTTP_MORE, /* all of `in` taken, more is needed */
    BM_HTTP_HEAD, /* the header fields are complete; said once per request */
    BM_HTTP_DONE, /* the request is complete */
};

/* Fields that are kept; all others are checked and forgotten. */
enum bm_http_field {
    BM_FIELD_CONTENT_TYPE,
    BM_FIELD_CONTENT_TRANSFER_ENCODING,
    BM_FIELD_CONTENT_ENCODING,
    BM_FIELD_ACCEPT,
    BM_FIELD_USER_AGENT,
    BM_FIELD_EXPECT,
    BM_FIELD_HOST,
    BM_FIELD_IF_NONE_MATCH,
    BM_FIELD_AUTHORIZATION,
    BM_FIELDS,
    BM_FIELD_OTHER = BM_FIELDS,
};

struct bm_http {
    http_parser parser;
    struct bm_buf text; /* target, then the values of the kept fields */
    struct bm_buf body; /* decoded; the caller sets body.max at BM_HTTP_HEAD */
    struct {
        uint16_t at, n;
    } values[BM_FIELDS];
    size_t target_n, head_n, raw_n; /* bytes of the target, of the head so far, of the body as it came over the wire */
    char name[28];                  /* field name being read, lower case */
    size_t name_n;
    int field;       /* enum bm_http_field of the value being read, or -1 while in a name */
    uint64_t length; /* what Content-Length says */
    bool has_length, chunked, head_done, done, keep_alive;
    const char *bad; /* set by a callback that refuses: why */
    enum bm_rc bad_rc;
    const char *bad_code;
};

void bm_http_init(struct bm_http *h);
void bm_http_done(struct bm_http *h); /* safe on the zero state */
/* Ready for the next request of the connection. */
void bm_http_next(struct bm_http *h);
/* Takes bytes off `in`. Refusals carry codes of their own: bad-request, target-too-long, header-too-large, body-too-large; after one the
 * connection is of no more use. */
BM_MUST_USE enum bm_rc bm_http_feed(struct bm_http *h, struct bm_rd *in, enum bm_http_event *ret, struct bm_error *e);

/* After BM_HTTP_HEAD, until bm_http_next(). */
struct bm_rd bm_http_field_get0(const struct bm_http *h, enum bm_http_field f); /* empty when not sent */
struct bm_rd bm_http_target_get0(const struct bm_http *h);
/* Path of the target without query, also of an absolute one (RFC 9112 section 3.2.2); false: there is none in it. */
BM_MUST_USE bool bm_http_path_get0(const struct bm_http *h, struct bm_rd *ret);
/* What stands behind the `?` of the target, or empty. */
struct bm_rd bm_http_query_get0(const struct bm_http *h);
/* The request says how its body ends: by length or chunks. */
bool bm_http_has_length(const struct bm_http *h);
/* A body of at least one byte, or of unknown length, follows. */
bool bm_http_has_body(const struct bm_http *h);
/* What Content-Length says, 0 when chunked or without. */
uint64_t bm_http_length(const struct bm_http *h);
/* The client waits for "100 Continue" (RFC 9110 section 10.1.1) and has not sent its body on. */
bool bm_http_waits(const struct bm_http *h);
/* True while nothing of a request line has been seen: what was fed may be noise after the last request. */
bool bm_http_blank(const struct bm_http *h);

#endif
