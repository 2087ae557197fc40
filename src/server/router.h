/* Between HTTP and the operations: finds the row, checks what holds for all of them (method, length, client certificate), calls its
 * functions, and turns what comes back into one response. Pure: the connection moves the bytes, the keeper link carries the command. */
#ifndef BM_SERVER_ROUTER_H
#define BM_SERVER_ROUTER_H

#include "protocol/operation.h"
#include "server/http.h"

#define BM_RESPONSE_BODY_MAX (BM_CRL_MAX + 64 * 1024)     /* a CRL is the largest */
#define BM_RESPONSE_MAX (BM_RESPONSE_BODY_MAX + 8 * 1024) /* header and body */

/* What a worker knows when it answers. */
struct bm_router {
    const struct bm_view *view; /* NULL before the first one */
    bool keeper_alive;
};

/* One request and its answer. Zero-initialise; bm_exchange_done() after it. Members of q borrow from the struct bm_http and from the
 * connection's copy of the client certificate. */
struct bm_exchange {
    struct bm_request q;           /* peer and correlation are set by the caller before bm_route_head() */
    const struct bm_operation *op; /* NULL: refused before one was found */
    struct bm_response r;
    char code[32];  /* of the refusal; "" when there was none */
    char allow[40]; /* for 405 */
    bool plain;     /* came without TLS; set by the caller before bm_route_head() */
    bool api;       /* the Admin API is served here; set like plain */
    bool api_only;  /* and nothing else */
    bool head_only; /* HEAD */
    bool http_1_0;
    bool keep_alive;
};
void bm_exchange_done(struct bm_exchange *x);

/* What to do after bm_route_request(). */
enum bm_route {
    BM_ROUTE_ANSWERED, /* x->r is ready */
    BM_ROUTE_COMMAND,  /* send x->op->command with the payload to the keeper, then bm_route_answer() */
};

/* After BM_HTTP_HEAD: finds the operation and sets h->body.max. On a refusal x->r is ready, and the body is not worth reading. */
BM_MUST_USE enum bm_rc bm_route_head(struct bm_exchange *x, struct bm_http *h);
/* True when the operation wants to know the client's certificate; the caller fills in q.client_cert and q.client_chain. */
bool bm_route_wants_cert(const struct bm_exchange *x);
bool bm_route_wants_binding(const struct bm_exchange *x);
/* After BM_HTTP_DONE. payload: appended to. */
enum bm_route bm_route_request(const struct bm_router *router, struct bm_exchange *x, struct bm_http *h, struct bm_buf *payload);
/* The keeper's frame for it: type and payload. */
void bm_route_answer(const struct bm_router *router, struct bm_exchange *x, uint8_t type, struct bm_rd payload);
/* Makes x->r the refusal *e in the operation's own form. */
void bm_route_refuse(struct bm_exchange *x, const struct bm_error *e, uint32_t retry_after_s);
/* The operation's number among the label values of the metrics. */
unsigned bm_route_operation(const struct bm_exchange *x);
/* Names all operations to the metrics; once, before the first process counts. */
BM_MUST_USE enum bm_rc bm_route_count_operations(struct bm_error *e);
/* The whole response as bytes. */
void bm_route_write(const struct bm_exchange *x, struct bm_buf *out);

#endif
