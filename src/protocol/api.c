#include "protocol/api.h"

#include "base/text.h"
#include "keeper/admin.h"

#include <stdlib.h>
#include <strings.h>

enum { VALUE_MAX = 1024 }; /* of one member in path or query */

static void unref(json_t **j)
{
    json_decref(*j);
}

static void free_text(char **p)
{
    free(*p);
}

/* --- the token -------------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_api_token(struct bm_rd authorization, struct bm_rd *ret, struct bm_error *e)
{
    static const char scheme[] = "bearer ";
    size_t n = sizeof scheme - 1;
    struct bm_rd token;

    if (authorization.n == 0)
        return bm_refuse(e, BM_DENIED, "token-missing",
                         "this call needs a token: Authorization: Bearer " BM_API_TOKEN_PREFIX "...");
    if (authorization.n < n || strncasecmp((const char *)authorization.p, scheme, n) != 0)
        return bm_refuse(e, BM_DENIED, "token-missing", "the Authorization field must be of the Bearer kind");
    token = bm_rd_of(authorization.p + n, authorization.n - n);
    if (!bm_api_token_ok(token))
        return bm_refuse(e, BM_DENIED, "token-invalid", "this is no token of this server: one begins with " BM_API_TOKEN_PREFIX);
    *ret = token;
    return BM_OK;
}

/* Before the body is read: a stranger without so much as the form of a token makes us hold nothing. */
enum bm_rc bm_api_admit(const struct bm_request *q, struct bm_error *e)
{
    struct bm_rd token;

    return bm_api_token(q->authorization, &token, e);
}

/* --- members from text -------------------------------------------------------------------------------------------------------------- */
static bool decode(struct bm_rd in, bool query, char ret[VALUE_MAX], size_t *ret_n)
{
    size_t n = 0;

    while (in.n != 0) {
        uint8_t c = in.p[0];
        size_t took = 1;

        if (c == '%' && (in.n < 3 || !bm_unhex(bm_rd_of(in.p + 1, 2), &c, 1)))
            return false;
        if (in.p[0] == '%')
            took = 3;
        else if (query && c == '+')
            c = ' ';
        if (c == '\0' || n == VALUE_MAX)
            return false;
        ret[n++] = (char)c;
        in = bm_rd_of(in.p + took, in.n - took);
    }
    *ret_n = n;
    return true;
}

static json_t *whole_of(const char *s, size_t n)
{
    const char *digits = s + (n != 0 && s[0] == '-');
    size_t n_digits = n - (size_t)(digits - s);
    json_t *v = NULL;

    if (n_digits != 0 && n_digits <= 19 && strspn(digits, "0123456789") >= n_digits && (digits[0] != '0' || n_digits == 1))
        v = json_loadb(s, n, JSON_DECODE_ANY, NULL); /* knows where int64 ends */
    if (!json_is_integer(v)) {
        json_decref(v);
        return NULL;
    }
    return v;
}

static json_t *yes_no_of(const char *s, size_t n)
{
    struct bm_rd t = bm_rd_of(s, n);

    return bm_rd_eq(t, bm_rd_str("true")) ? json_true() : bm_rd_eq(t, bm_rd_str("false")) ? json_false() : NULL;
}

static enum bm_rc set(json_t *to, const char *member, const char *s, size_t n, struct bm_error *e)
{
    enum bm_member_kind kind = bm_admin_member_kind(member);
    json_t *v = NULL;

    if (json_object_get(to, member) != NULL)
        return bm_fail(e, BM_USAGE, "'%.40s' is given twice", member);
    if (kind == BM_MEMBER_TEXT)
        v = json_stringn(s, n); /* NULL unless it is UTF-8 */
    else if (kind == BM_MEMBER_WHOLE)
        v = whole_of(s, n);
    else if (kind == BM_MEMBER_YES_NO)
        v = yes_no_of(s, n);
    if (v == NULL)
        return bm_fail(e, BM_USAGE, "'%.40s' must be %s", member,
                       kind == BM_MEMBER_WHOLE    ? "a whole number"
                       : kind == BM_MEMBER_YES_NO ? "true or false"
                                                  : "text in UTF-8");
    return json_object_set_new(to, member, v) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "no memory for a request");
}

static enum bm_rc set_encoded(json_t *to, const char *member, struct bm_rd text, bool query, struct bm_error *e)
{
    char value[VALUE_MAX + 1];
    size_t n = 0;

    if (!decode(text, query, value, &n))
        return bm_fail(e, BM_MALFORMED, "'%.40s': not percent-encoded text of at most %d bytes", member, VALUE_MAX);
    value[n] = '\0';
    return set(to, member, value, n, e);
}

enum bm_rc bm_api_set(json_t *to, const char *member, struct bm_rd text, struct bm_error *e)
{
    return set_encoded(to, member, text, false, e);
}

/* Names are our own words: what is not made of them is no member of any act. */
static bool member_name(struct bm_rd text, char ret[32])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz_";

    if (text.n == 0 || text.n >= 32)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (memchr(letters, text.p[i], sizeof letters - 1) == NULL)
            return false;
        ret[i] = (char)text.p[i];
    }
    ret[text.n] = '\0';
    return strcmp(ret, "op") != 0;
}

enum bm_rc bm_api_query(json_t *to, struct bm_rd query, struct bm_error *e)
{
    while (query.n != 0) {
        struct bm_rd pair = bm_rd_cut(&query, '&'), value = pair, name;
        char member[32], shown[64];
        enum bm_rc rc;

        name = bm_rd_cut(&value, '=');
        if (name.n == pair.n || !member_name(name, member))
            return bm_fail(e, BM_USAGE, "the query does not take '%s'", bm_text_escape(name, shown, sizeof shown));
        rc = set_encoded(to, member, value, true, e);
        if (rc != BM_OK)
            return rc;
    }
    return BM_OK;
}

/* --- requests ------------------------------------------------------------------------------------------------------------------------ */
static const struct bm_api_route *route_of(const struct bm_request *q)
{
    struct bm_request copy = *q;
    bool known;
    const struct bm_operation *op = bm_api_find(&copy, &known);

    for (const struct bm_api_route *r = bm_api_routes; r->act != NULL; r++)
        if (&r->op == op)
            return r;
    return NULL;
}

static enum bm_rc check_type(const struct bm_request *q, const char *type, struct bm_error *e)
{
    if (bm_is_media_type(q->content_type, type))
        return BM_OK;
    return bm_refuse(e, BM_MALFORMED, "unsupported-media-type", "the body must be of type %s", type);
}

static enum bm_rc take_json(const struct bm_request *q, json_t *to, struct bm_error *e)
{
    BM_CLEANUP(unref) json_t *body = NULL;
    json_error_t why;
    const char *member;
    json_t *v;
    enum bm_rc rc = q->body.n != 0 ? check_type(q, "application/json", e) : BM_OK;

    if (rc != BM_OK || q->body.n == 0)
        return rc;
    body = json_loadb((const char *)q->body.p, q->body.n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(body))
        return bm_fail(e, BM_MALFORMED, "the body is not a JSON object");
    json_object_foreach (body, member, v) {
        if (json_object_get(to, member) != NULL) /* op, or what the path says */
            return bm_fail(e, BM_USAGE, "the body does not take '%.40s'", member);
        if (json_object_set(to, member, v) != 0)
            return bm_fail(e, BM_NOMEM, "no memory for a request");
    }
    return BM_OK;
}

static enum bm_rc take_rest(const struct bm_api_route *r, const struct bm_request *q, json_t *to, struct bm_rd *ret_blob,
                            struct bm_error *e)
{
    bool json = r->blob == NULL && q->method != BM_GET;
    enum bm_rc rc;

    if (json && q->query.n != 0)
        return bm_fail(e, BM_USAGE, "this call takes its members in the body, not in the query");
    if (json)
        return take_json(q, to, e);
    rc = bm_api_query(to, q->query, e);
    if (rc != BM_OK || r->blob == NULL)
        return rc;
    *ret_blob = q->body;
    return check_type(q, r->blob, e);
}

static enum bm_rc build(const struct bm_api_route *r, const struct bm_request *q, json_t *to, struct bm_rd *ret_blob,
                        struct bm_error *e)
{
    enum bm_rc rc = json_object_set_new(to, "op", json_string(r->act)) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "no memory");

    if (rc == BM_OK && r->param != NULL)
        rc = bm_api_set(to, r->param, q->label, e);
    return rc == BM_OK ? take_rest(r, q, to, ret_blob, e) : rc;
}

static enum bm_rc write_ask(const struct bm_request *q, const json_t *request, struct bm_rd blob, struct bm_buf *payload,
                            struct bm_error *e)
{
    BM_CLEANUP(free_text) char *text = json_dumps(request, JSON_COMPACT);
    struct bm_api_ask ask = { .blob = blob };
    enum bm_rc rc = text != NULL ? BM_OK : bm_fail(e, BM_NOMEM, "no memory for a request");

    if (rc == BM_OK)
        rc = bm_api_token(q->authorization, &ask.token, e);
    if (rc != BM_OK)
        return rc;
    ask.request = bm_rd_str(text);
    if (ask.request.n > BM_API_REQUEST_MAX)
        return bm_fail(e, BM_LIMIT, "a request of %zu bytes; at most %d are taken", ask.request.n, BM_API_REQUEST_MAX);
    memcpy(ask.correlation, q->correlation, sizeof ask.correlation);
    memcpy(ask.peer, q->peer, sizeof ask.peer);
    bm_api_ask_write(payload, &ask);
    return bm_buf_check(payload, e);
}

enum bm_rc bm_api_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    BM_CLEANUP(unref) json_t *request = json_object();
    const struct bm_api_route *r = route_of(q);
    struct bm_rd blob = { 0 };
    enum bm_rc rc;

    if (r == NULL)
        return bm_fail(e, BM_BUG, "a route that is none");
    rc = build(r, q, request, &blob, e);
    return rc == BM_OK ? write_ask(q, request, blob, payload, e) : rc;
}

/* --- answers ------------------------------------------------------------------------------------------------------------------------- */
static bool creates(const struct bm_api_route *r)
{
    size_t n = r != NULL ? strlen(r->act) : 0;

    return n > 7 && strcmp(r->act + n - 7, ".create") == 0;
}

enum bm_rc bm_api_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                         struct bm_error *e)
{
    (void)v;
    if (answer.n > r->body.max)
        return bm_refuse(e, BM_LIMIT, "answer-too-large", "the answer has %zu bytes; ask for fewer rows with 'limit'", answer.n);
    r->status = creates(route_of(q)) ? 201 : 200;
    r->content_type = "application/json";
    r->no_store = true;
    bm_buf_put(&r->body, answer.p, answer.n);
    return BM_OK;
}

static json_t *problem(const struct bm_request *q, const struct bm_error *e, int status)
{
    /* RFC 9457 section 4.2.1: "about:blank" says that the status code and our own members tell all there is. */
    char safe[4 * sizeof e->what];
    json_t *what = json_string(e->what);

    if (what == NULL) /* a sentence that was cut within a character */
        what = json_string(bm_text_escape(bm_rd_str(e->what), safe, sizeof safe));
    return json_pack("{s:s, s:i, s:o, s:s, s:s}", "type", "about:blank", "status", status, "detail", what, "code", bm_error_code(e),
                     "correlation", q->correlation);
}

void bm_api_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r)
{
    BM_CLEANUP(unref) json_t *p = NULL;
    BM_CLEANUP(free_text) char *text = NULL;

    r->status = bm_http_status(e);
    r->retry_after_s = retry_after_s;
    r->content_type = "application/problem+json";
    r->no_store = true;
    if (r->status == 401) /* RFC 6750 section 3.1 */
        r->authenticate = strcmp(bm_error_code(e), "token-missing") == 0 ? "Bearer realm=\"Birthmark\""
                                                                         : "Bearer realm=\"Birthmark\", error=\"invalid_token\"";
    p = problem(q, e, r->status);
    text = p != NULL ? json_dumps(p, JSON_COMPACT) : NULL;
    bm_buf_str(&r->body, text != NULL ? text : "{}");
}
