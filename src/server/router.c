#include "server/router.h"

#include "base/clock.h"
#include "base/text.h"
#include "protocol/acme.h"
#include "protocol/api.h"
#include "server/response.h"

#include <stdio.h>

static enum bm_rc health_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                                struct bm_error *e)
{
    (void)q;
    (void)v;
    (void)answer;
    (void)e;
    r->status = 200;
    r->content_type = "text/plain";
    bm_buf_str(&r->body, "ok\n");
    return BM_OK;
}

/* Answered by the worker itself: a load balancer asks whether this worker can serve. */
static const struct bm_operation health = {
    .name = "healthz",
    .protocol = "http",
    .method = BM_GET,
    .path = "/healthz",
    .render = health_render,
    .refuse = bm_refuse_text,
    .public_http = true,
};

/* Where the API is not served, its paths are not there. */
static const struct bm_operation *find(const struct bm_exchange *x, struct bm_request *q, bool *ret_known)
{
    *ret_known = false;
    if (bm_rd_eq(q->path, bm_rd_str(health.path))) {
        *ret_known = true;
        return q->method == BM_GET ? &health : NULL;
    }
    if (bm_api_path(q->path) ? !x->api : x->api_only)
        return NULL;
    return bm_operation_find(q, ret_known);
}

void bm_exchange_done(struct bm_exchange *x)
{
    bm_buf_done(&x->r.body);
    bm_buf_done(&x->r.fields);
    *x = (struct bm_exchange){ 0 };
}

void bm_route_refuse(struct bm_exchange *x, const struct bm_error *e, uint32_t retry_after_s)
{
    void (*refuse)(const struct bm_request *, const struct bm_error *, uint32_t, struct bm_response *) =
        x->op != NULL && x->op->refuse != NULL ? x->op->refuse
        : x->api && bm_api_path(x->q.path)     ? bm_api_refuse
        : bm_acme_path(x->q.path)              ? bm_acme_refuse
                                               : bm_refuse_text;

    bm_buf_done(&x->r.body);
    bm_buf_done(&x->r.fields);
    x->r = (struct bm_response){ .status = bm_http_status(e),
                                 .retry_after_s = retry_after_s,
                                 .body = { .max = BM_RESPONSE_BODY_MAX } };
    refuse(&x->q, e, retry_after_s, &x->r);
    snprintf(x->code, sizeof x->code, "%s", bm_error_code(e));
}

/* Refuses, and gives the kind back, so that `return refused(x, &e)` reads as one line. */
static enum bm_rc refused(struct bm_exchange *x, const struct bm_error *e)
{
    bm_route_refuse(x, e, e->rc == BM_AGAIN ? 5 : 0);
    return e->rc;
}

static enum bm_rc method_of(struct bm_exchange *x, const struct bm_http *h)
{
    switch (h->parser.method) {
    case HTTP_HEAD:
        x->head_only = x->q.head = true;
        x->q.method = BM_GET;
        return BM_OK;
    case HTTP_GET:
        x->q.method = BM_GET;
        return BM_OK;
    case HTTP_POST:
        x->q.method = BM_POST;
        return BM_OK;
    case HTTP_PUT:
        x->q.method = BM_PUT;
        return BM_OK;
    case HTTP_PATCH:
        x->q.method = BM_PATCH;
        return BM_OK;
    default:
        return BM_NOTFOUND;
    }
}

/* No row for method and path: 405 with what the path does take (RFC 9110 section 15.5.6), or 404. */
static enum bm_rc no_operation(struct bm_exchange *x, struct bm_error *e)
{
    static const char *const words[BM_METHODS] = {
        [BM_GET] = "GET, HEAD", [BM_POST] = "POST", [BM_PUT] = "PUT", [BM_PATCH] = "PATCH"
    };
    struct bm_request q = x->q;
    char shown[64];

    x->allow[0] = '\0';
    for (int m = 0; m < BM_METHODS; m++) {
        size_t n = strlen(x->allow);
        bool known;

        q.method = (enum bm_method)m;
        if (find(x, &q, &known) != NULL)
            snprintf(x->allow + n, sizeof x->allow - n, "%s%s", n == 0 ? "" : ", ", words[m]);
    }
    bm_text_escape(x->q.path, shown, sizeof shown);
    if (x->allow[0] != '\0')
        return bm_refuse(e, BM_DENIED, "method-not-allowed", "%s takes %s only", shown, x->allow);
    return bm_refuse(e, BM_NOTFOUND, "no-such-path", "nothing is served at %s", shown);
}

/* What every request has to satisfy, whatever it asks for. */
static enum bm_rc check_form(const struct bm_http *h, struct bm_error *e)
{
    struct bm_rd coding = bm_http_field_get0(h, BM_FIELD_CONTENT_ENCODING);

    if (h->parser.http_major != 1)
        return bm_refuse(e, BM_MALFORMED, "http-version", "HTTP/%u.%u is not served; use HTTP/1.1", h->parser.http_major,
                         h->parser.http_minor);
    if (h->parser.http_minor != 0 && h->values[BM_FIELD_HOST].at == 0) /* RFC 9112 section 3.2 */
        return bm_refuse(e, BM_MALFORMED, "bad-request", "the Host field is missing");
    if (coding.n != 0 && !bm_rd_eq(coding, bm_rd_str("identity")))
        return bm_refuse(e, BM_MALFORMED, "content-encoding", "send the body without Content-Encoding");
    if (bm_http_field_get0(h, BM_FIELD_EXPECT).n != 0 && !bm_http_waits(h))
        return bm_refuse(e, BM_MALFORMED, "expectation", "the only expectation served is 100-continue");
    return BM_OK;
}

static enum bm_rc check_body(const struct bm_operation *op, const struct bm_http *h, struct bm_error *e)
{
    if (op->method != BM_GET && !bm_http_has_length(h))
        return bm_refuse(e, BM_MALFORMED, "length-required", "a request with a body needs Content-Length or chunked coding");
    if (bm_http_length(h) > op->body_max)
        return bm_refuse(e, BM_LIMIT, "body-too-large", "%s takes a body of at most %zu bytes", op->name, op->body_max);
    return BM_OK;
}

/* Finds the operation and checks what can be checked before the body is there. */
static enum bm_rc find_operation(struct bm_exchange *x, struct bm_http *h, bool known_method, struct bm_error *e)
{
    bool known;
    enum bm_rc rc;

    if (!bm_http_path_get0(h, &x->q.path))
        return bm_refuse(e, BM_MALFORMED, "bad-request", "there is no path in the request target");
    rc = check_form(h, e);
    if (rc != BM_OK)
        return rc;
    x->op = known_method ? find(x, &x->q, &known) : NULL;
    if (x->op == NULL)
        return no_operation(x, e);
    if (x->plain && !x->op->public_http)
        return bm_refuse(e, BM_DENIED, "tls-required", "%s is served over TLS only; here is what is signed in itself", x->op->name);
    rc = x->op->admit != NULL ? x->op->admit(&x->q, e) : BM_OK;
    if (rc == BM_OK)
        rc = check_body(x->op, h, e);
    if (rc == BM_OK)
        h->body.max = x->op->body_max;
    return rc;
}

enum bm_rc bm_route_head(struct bm_exchange *x, struct bm_http *h)
{
    struct bm_error e = { 0 };
    bool known_method;

    x->keep_alive = h->keep_alive && h->parser.method != HTTP_CONNECT;
    x->http_1_0 = h->parser.http_minor == 0;
    x->q.content_type = bm_http_field_get0(h, BM_FIELD_CONTENT_TYPE); /* refusals have the form of the request */
    x->q.authorization = bm_http_field_get0(h, BM_FIELD_AUTHORIZATION);
    known_method = method_of(x, h) == BM_OK;
    return find_operation(x, h, known_method, &e) == BM_OK ? BM_OK : refused(x, &e);
}

bool bm_route_wants_cert(const struct bm_exchange *x)
{
    return x->op != NULL && (x->op->client_cert || x->op->command != 0);
}

/* EST alone has requests that name their connection (RFC 7030 section 3.5). */
bool bm_route_wants_binding(const struct bm_exchange *x)
{
    return x->op != NULL && x->op->command == BM_CMD_ENROL && strcmp(x->op->protocol, "est") == 0;
}

static void fill_request(struct bm_exchange *x, const struct bm_http *h)
{
    struct bm_request *q = &x->q;

    q->content_type = bm_http_field_get0(h, BM_FIELD_CONTENT_TYPE);
    q->content_encoding = bm_http_field_get0(h, BM_FIELD_CONTENT_TRANSFER_ENCODING);
    q->accept = bm_http_field_get0(h, BM_FIELD_ACCEPT);
    q->if_none_match = bm_http_field_get0(h, BM_FIELD_IF_NONE_MATCH);
    q->authorization = bm_http_field_get0(h, BM_FIELD_AUTHORIZATION);
    q->user_agent = bm_http_field_get0(h, BM_FIELD_USER_AGENT);
    q->query = bm_http_query_get0(h);
    q->host = bm_http_field_get0(h, BM_FIELD_HOST);
    q->body = bm_buf_rd(&h->body);
}

static void render(const struct bm_router *router, struct bm_exchange *x, struct bm_rd answer)
{
    struct bm_error e = { 0 };
    enum bm_rc rc;

    bm_buf_done(&x->r.body);
    bm_buf_done(&x->r.fields);
    x->r = (struct bm_response){ .status = 200, .body = { .max = BM_RESPONSE_BODY_MAX } };
    rc = x->op->render(&x->q, router->view, answer, &x->r, &e);
    if (rc == BM_OK && bm_buf_check(&x->r.body, &e) == BM_OK)
        return;
    e.rc = e.rc == BM_OK ? BM_BUG : e.rc;
    bm_route_refuse(x, &e, 0);
}

enum bm_route bm_route_request(const struct bm_router *router, struct bm_exchange *x, struct bm_http *h, struct bm_buf *payload)
{
    struct bm_error e = { 0 };
    enum bm_rc rc = BM_OK;

    fill_request(x, h);
    if (x->op->client_cert && x->q.client_cert.n == 0 && x->q.authorization.n == 0)
        rc = bm_refuse(&e, BM_DENIED, "no-evidence", "this call needs a TLS client certificate, or a one-time code as HTTP Basic");
    else if (!router->keeper_alive || router->view == NULL)
        rc = bm_refuse(&e, BM_AGAIN, "try-again", "the server is not ready");
    else if (x->op->command != 0)
        rc = x->op->prepare(&x->q, payload, &e);
    if (rc == BM_OK)
        rc = bm_buf_check(payload, &e);
    if (rc != BM_OK) {
        e.rc = rc;
        (void)refused(x, &e);
        return BM_ROUTE_ANSWERED;
    }
    if (x->op->command != 0)
        return BM_ROUTE_COMMAND;
    render(router, x, bm_rd_of(NULL, 0));
    return BM_ROUTE_ANSWERED;
}

static void refused_by_keeper(struct bm_exchange *x, struct bm_rd payload)
{
    struct bm_error e = { 0 };
    struct bm_refused w = { 0 };

    if (bm_refused_parse(payload, &w, &e) != BM_OK) {
        (void)bm_fail(&e, BM_BUG, "the keeper's refusal cannot be read");
    } else {
        e.rc = (enum bm_rc)w.rc;
        memcpy(e.code, w.code, sizeof e.code);
        memcpy(e.what, w.what, sizeof e.what);
    }
    bm_route_refuse(x, &e, w.retry_after_s);
}

void bm_route_answer(const struct bm_router *router, struct bm_exchange *x, uint8_t type, struct bm_rd payload)
{
    struct bm_error e;

    if (type == BM_REFUSAL) {
        refused_by_keeper(x, payload);
    } else if (type == (x->op->command | BM_ANSWER)) {
        render(router, x, payload);
    } else {
        (void)bm_fail(&e, BM_BUG, "the keeper answered something else");
        bm_route_refuse(x, &e, 0);
    }
}

void bm_route_write(const struct bm_exchange *x, struct bm_buf *out)
{
    struct bm_response_head h = {
        .correlation = x->q.correlation,
        .code = x->code[0] != '\0' ? x->code : NULL,
        .allow = x->allow[0] != '\0' ? x->allow : NULL,
        .keep_alive = x->keep_alive,
        .http_1_0 = x->http_1_0,
        .head_only = x->head_only,
        .now = x->r.max_age_s != 0 ? bm_clock_s() : 0,
    };

    bm_response_write(out, &x->r, &h);
}
