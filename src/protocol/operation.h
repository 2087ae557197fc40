/* A protocol operation is a row in a table. Its functions are pure: bytes in, bytes out; they know no socket, store or key. The router
 * (server/router.c) finds the row, `prepare` turns the request into a command for the keeper, `render` its answer into a response,
 * `refuse` any refusal into the protocol's own form. */
#ifndef BM_PROTOCOL_OPERATION_H
#define BM_PROTOCOL_OPERATION_H

#include "base/bytes.h"
#include "keeper/wire.h"

enum bm_method { BM_GET, BM_POST, BM_PUT, BM_PATCH, BM_METHODS };

struct bm_request {
    enum bm_method method;
    bool head;          /* HEAD, which goes as GET */
    struct bm_rd path;  /* without query */
    struct bm_rd label; /* what stood in place of the `*` in the operation's path, or empty */
    struct bm_rd content_type, content_encoding, accept,
        user_agent; /* header values or empty; content_encoding: Content-Transfer-Encoding */
    struct bm_rd if_none_match;
    struct bm_rd authorization; /* a secret; or empty */
    struct bm_rd query;         /* what stood behind the `?` */
    struct bm_rd host;
    struct bm_rd body;
    bool raw; /* EST: DER as it is, both ways, and no base64 (RFC 9148 section 4.3) */
    char peer[64];
    char correlation[17];
    struct bm_rd client_cert; /* DER of the TLS client's certificate, or empty */
    struct bm_rd client_key;  /* the SubjectPublicKeyInfo that it showed in place of one (RFC 7250), or empty */
    struct bm_rd client_chain[BM_TLS_CLIENT_CERTS_MAX];
    size_t n_client_chain;
    struct bm_rd handshake, verify; /* what proves that it holds the certificate's key: pki/handshake.h */
    struct bm_rd binding; /* of the TLS connection: tls-unique (RFC 5929) with TLS 1.2, tls-exporter (RFC 9266) with 1.3 */
};

struct bm_response {
    int status;                   /* HTTP */
    const char *content_type;     /* static; NULL: no body */
    const char *content_encoding; /* static Content-Transfer-Encoding, or NULL */
    uint32_t retry_after_s;       /* 0: no header */
    char etag[BM_ETAG_LEN];       /* entity tag in its quotes, or "" */
    int64_t modified_at;          /* Last-Modified, Unix seconds; 0: no header */
    uint32_t max_age_s;           /* Cache-Control: public, for so long; 0: not said */
    bool no_store;                /* Cache-Control: no-store */
    bool close;                   /* the connection ends with this answer */
    const char *authenticate;     /* static WWW-Authenticate, or NULL */
    struct bm_buf fields;         /* further header fields: bm_response_field() */
    struct bm_buf body;           /* max is set by the router */
};

struct bm_operation {
    const char *name; /* "est-simpleenroll": logs, metrics */
    const char *protocol;
    enum bm_method method;
    const char *path; /* whole path; one segment may have a `*`, the label; `**` at the end takes the rest */
    size_t body_max;
    bool client_cert; /* refuse with 401 when TLS brought none and there is no Authorization either */
    uint8_t command;  /* enum bm_command, or 0: answered from the view alone, prepare is NULL */
    /* Appends the command's payload. */
    enum bm_rc (*prepare)(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
    /* answer: payload of the keeper's answer (empty when command is 0). */
    enum bm_rc (*render)(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                         struct bm_error *e);
    void (*refuse)(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r);
    bool public_http; /* also served without TLS (listen_http): what it tells is public and signed in itself */
    /* What the header fields alone decide, before the body is taken; NULL: nothing. */
    enum bm_rc (*admit)(const struct bm_request *q, struct bm_error *e);
};

/* All operations of this program; a row with a NULL name ends it. */
extern const struct bm_operation bm_operations[];
/* The row for method and path, with q->label set, or NULL; *ret_known tells whether the path exists for another method (405, not 404). */
const struct bm_operation *bm_operation_find(struct bm_request *q, bool *ret_known);

/* Does the path follow the pattern of an operation? *ret_label: what its `*` stands for. */
BM_MUST_USE bool bm_operation_path_fits(const char *pattern, struct bm_rd path, struct bm_rd *ret_label);

/* Is this header value that media type? Parameters are ignored, and so is the case (RFC 9110 section 8.3.1). */
bool bm_is_media_type(struct bm_rd content_type, const char *type);

/* One more header field. What cannot stand in one (RFC 9110 section 5.5: a control character, or more than BM_HTTP_HEADER_MAX in all) leaves
 * it out. */
void bm_response_field(struct bm_response *r, const char *name, struct bm_rd value);

/* HTTP status for an outcome; one table for all protocols. */
int bm_http_status(const struct bm_error *e);
/* "code: sentence (correlation ...)" as text/plain: EST, and requests that no operation took. */
void bm_refuse_text(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r);

#endif
