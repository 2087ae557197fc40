/* targets: bm_api_prepare bm_api_admit bm_api_query bm_api_token bm_api_ask_parse */
#include "protocol/api.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

static struct bm_rd part(struct bm_rd *in)
{
    const uint8_t *at = in->n != 0 ? memchr(in->p, '\n', in->n) : NULL;
    size_t n = at != NULL ? (size_t)(at - in->p) : in->n;
    struct bm_rd front = bm_rd_of(in->p, n);

    n += at != NULL;
    *in = n != 0 ? bm_rd_of(in->p + n, in->n - n) : *in;
    return front;
}

/* What is prepared the keeper can read, and it is the act of the route. */
static void check(const struct bm_request *q, const struct bm_operation *op)
{
    struct bm_buf payload = { .max = BM_API_COMMAND_MAX };
    struct bm_api_ask ask;
    json_t *request;

    if (op->command == BM_CMD_API && op->admit(q, NULL) == BM_OK && op->prepare(q, &payload, NULL) == BM_OK) {
        must(bm_api_ask_parse(bm_buf_rd(&payload), &ask, NULL) == BM_OK && bm_api_token_ok(ask.token));
        request = json_loadb((const char *)ask.request.p, ask.request.n, JSON_REJECT_DUPLICATES, NULL);
        must(request != NULL && strcmp(json_string_value(json_object_get(request, "op")), op->name) == 0);
        json_decref(request);
    }
    bm_buf_done(&payload);
}

/* One line each: method, path, query, type, Authorization; the rest is the body. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_rd in = bm_rd_of(p, n), method = part(&in);
    struct bm_request q = { .correlation = "0123456789abcdef", .peer = "192.0.2.1" };
    const struct bm_operation *op;
    struct bm_api_ask ask;
    bool known;

    q.method = method.n != 0 ? (enum bm_method)(method.p[0] % BM_METHODS) : BM_GET;
    q.path = part(&in);
    q.query = part(&in);
    q.content_type = part(&in);
    q.authorization = part(&in);
    q.body = in;
    op = bm_api_find(&q, &known);
    if (op != NULL)
        check(&q, op);
    (void)!bm_api_ask_parse(bm_rd_of(p, n), &ask, NULL);
    return 0;
}
