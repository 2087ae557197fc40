/* HTTP/1.1 (RFC 9112), the device's side: request text out, answer in through http-parser, which needs no heap. */
#ifndef BMD_HTTP_H
#define BMD_HTTP_H

#include "bmd.h"

#include <http_parser.h>

struct bmd_http_request {
    const char *method, *path, *host; /* host with port when it is not 443 */
    const char *content_type;         /* NULL: no body */
    const char *content_encoding;     /* Content-Transfer-Encoding (RFC 7030 4.2.1), or NULL */
    const char *accept;               /* or NULL */
    bool close;                       /* "Connection: close" */
    size_t body_len;
};
/* Request line and header fields up to the empty line; the body is put after it. Blanks and controls in path or host make w bad. */
void bmd_http_write(struct bmd_wr *w, const struct bmd_http_request *q);

enum bmd_http_media { BMD_MEDIA_OTHER, BMD_MEDIA_CBOR, BMD_MEDIA_PKCS7, BMD_MEDIA_TEXT };

/* One answer. Caller memory; the body goes to the caller's buffer. */
struct bmd_http {
    http_parser parser;
    uint8_t *body;
    size_t body_cap, body_len;
    size_t header_bytes;
    unsigned status, interim;
    uint32_t retry_after_s; /* 0: none or not in seconds */
    enum bmd_http_media media;
    bool base64; /* Content-Transfer-Encoding: base64 */
    bool done, keep_alive, overflow;
    char code[BMD_HTTP_CODE_LEN]; /* Birthmark-Code, "" when absent or too long */
    char correlation[BMD_HTTP_CORRELATION_LEN];
    /* the field being read */
    char name[32], value[80];
    size_t name_len, value_len;
    bool in_value;
};

void bmd_http_init(struct bmd_http *h, uint8_t *body, size_t body_cap);
/* Feeds bytes as they come; n = 0 tells the end of the connection. BMD_OK with h->done when the answer is whole, BMD_BUSY when more is
 * needed; BMD_MALFORMED also for bytes after the answer, BMD_NO_SPACE for a body or header over its limit. */
BMD_MUST_USE enum bmd_rc bmd_http_feed(struct bmd_http *h, const uint8_t *p, size_t n);

#endif
