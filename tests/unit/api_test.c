/* The Admin API at the worker: every act has its route, requests become what the keeper is asked, and docs/api.md says the same. */
#include "keeper/admin.h"
#include "protocol/api.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define TOKEN "bmt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define UDID "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static struct bm_error err;

/* --- the table --------------------------------------------------------------------------------------------------------------------------- */
static const struct bm_api_route *route_of_act(const char *act)
{
    for (const struct bm_api_route *r = bm_api_routes; r->act != NULL; r++)
        if (strcmp(r->act, act) == 0)
            return r;
    return NULL;
}

static bool local_only(const char *act)
{
    for (const char *const *p = bm_api_local_only; *p != NULL; p++)
        if (strcmp(*p, act) == 0)
            return true;
    return false;
}

/* Whoever adds an act says where it is found: a row in bm_api_routes[], or in bm_api_local_only[]. */
static void every_act_has_a_route(void **state)
{
    (void)state;
    for (const struct bm_admin_op *op = bm_admin_ops; op->name != NULL; op++)
        if ((route_of_act(op->name) != NULL) == local_only(op->name))
            fail_msg("%s needs a row in bm_api_routes[] or in bm_api_local_only[], and not in both", op->name);
}

static bool is_member(const char *members, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = members; (p = strstr(p, name)) != NULL; p += n)
        if ((p == members || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    return false;
}

static void every_route_is_sound(void **state)
{
    (void)state;
    for (const struct bm_api_route *r = bm_api_routes; r->act != NULL; r++) {
        const struct bm_admin_op *op = bm_admin_op_find(r->act);
        const char *star = strchr(r->op.path, '*');
        char path[128];
        struct bm_request q = { .method = r->op.method };
        bool known;

        if (op == NULL)
            fail_msg("%s: no such act", r->act);
        assert_true((star != NULL) == (r->param != NULL));
        assert_true(r->param == NULL || is_member(op->members, r->param));
        assert_true(r->op.admit == bm_api_admit && r->op.prepare == bm_api_prepare && r->op.command == BM_CMD_API);
        assert_false(r->op.public_http || r->op.client_cert);
        assert_true(r->op.body_max <= BM_HTTP_BODY_MAX || strcmp(r->act, "manifest.block") == 0);
        assert_true(strcmp(r->act, "log.head") == 0 || strcmp(r->act, "bulk.dry") == 0 || strcmp(r->act, "policy.test") == 0 ||
                    strncmp(r->act, "crl.", 4) == 0 || strcmp(r->act, "trust.show") == 0 || (r->op.method != BM_GET) == op->writes);
        snprintf(path, sizeof path, "%.*s%s%s", (int)(star != NULL ? star - r->op.path : (long)strlen(r->op.path)), r->op.path,
                 star != NULL ? "x" : "", star != NULL ? star + 1 : "");
        q.path = bm_rd_str(path);
        assert_ptr_equal(bm_operation_find(&q, &known), &r->op); /* no row before it takes its requests */
    }
}

/* --- tokens -------------------------------------------------------------------------------------------------------------------------------- */
static void tokens_are_read(void **state)
{
    static const struct {
        const char *field, *code;
    } rows[] = {
        { "Bearer " TOKEN, "" },
        { "bearer " TOKEN, "" },
        { "BEARER " TOKEN, "" },
        { "", "token-missing" },
        { TOKEN, "token-missing" },
        { "Basic dTpw", "token-missing" },
        { "Bearer", "token-missing" },
        { "Bearer ", "token-invalid" },
        { "Bearer  " TOKEN, "token-invalid" },
        { "Bearer " TOKEN " ", "token-invalid" },
        { "Bearer " TOKEN "A", "token-invalid" },
        { "Bearer bmt_", "token-invalid" },
        { "Bearer bmt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "token-invalid" },
        { "Bearer bmt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "token-invalid" },
        { "Bearer bmt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA,", "token-invalid" },
        { "Bearer xmt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "token-invalid" },
        { "Bearer BMT_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "token-invalid" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_rd token = { 0 };
        enum bm_rc rc = bm_api_token(bm_rd_str(rows[i].field), &token, &err);

        if (rc == BM_OK ? rows[i].code[0] != '\0' : strcmp(err.code, rows[i].code) != 0)
            fail_msg("%s: %s", rows[i].field, rc == BM_OK ? "taken" : err.code);
        assert_true(rc != BM_OK || bm_rd_eq(token, bm_rd_str(TOKEN)));
    }
    for (size_t n = 0; n < strlen("Bearer " TOKEN); n++) {
        uint8_t *exact = malloc(n != 0 ? n : 1);
        struct bm_rd token;

        memcpy(exact, "Bearer " TOKEN, n);
        assert_int_equal(bm_api_token(bm_rd_of(exact, n), &token, &err), BM_DENIED);
        free(exact);
    }
}

/* --- requests ------------------------------------------------------------------------------------------------------------------------------- */
struct ask {
    enum bm_method method;
    const char *path, *query, *type, *body;
    const char *want; /* the request as JSON; NULL: refused with rc */
    enum bm_rc rc;
};

static enum bm_rc prepare(const struct ask *a, struct bm_buf *payload)
{
    struct bm_request q = {
        .method = a->method,
        .path = bm_rd_str(a->path),
        .query = bm_rd_str(a->query),
        .content_type = bm_rd_str(a->type),
        .authorization = bm_rd_str("Bearer " TOKEN),
        .body = bm_rd_str(a->body),
        .correlation = "0123456789abcdef",
        .peer = "192.0.2.1",
    };
    bool known;
    const struct bm_operation *op = bm_operation_find(&q, &known);

    if (op == NULL)
        return BM_NOTFOUND;
    return op->prepare(&q, payload, &err);
}

#define V "/api/v1/"
#define J "application/json"

static const struct ask asks[] = {
    { BM_GET, V "devices", "", "", "", "{\"op\":\"device.list\"}", BM_OK },
    { BM_GET, V "devices", "state=active&limit=5&full=true", "", "",
      "{\"op\":\"device.list\",\"state\":\"active\",\"limit\":5,\"full\":true}", BM_OK },
    { BM_GET, V "devices", "limit=-5", "", "", "{\"op\":\"device.list\",\"limit\":-5}", BM_OK }, /* the act's to refuse */
    { BM_GET, V "devices", "batch=a+b%2Bc", "", "", "{\"op\":\"device.list\",\"batch\":\"a b+c\"}", BM_OK },
    { BM_GET, V "devices", "batch=%C3%A4", "", "", "{\"op\":\"device.list\",\"batch\":\"\\u00e4\"}", BM_OK },
    { BM_GET, V "devices", "batch=a=b", "", "", "{\"op\":\"device.list\",\"batch\":\"a=b\"}", BM_OK },
    { BM_GET, V "devices", "after=9223372036854775807", "", "", "{\"op\":\"device.list\",\"after\":9223372036854775807}", BM_OK },
    { BM_GET, V "devices/" UDID, "", "", "", "{\"op\":\"device.show\",\"udid\":\"" UDID "\"}", BM_OK },
    { BM_GET, V "devices/a+b", "", "", "", "{\"op\":\"device.show\",\"udid\":\"a+b\"}", BM_OK },
    { BM_GET, V "devices/..%2f..", "", "", "", "{\"op\":\"device.show\",\"udid\":\"../..\"}", BM_OK },
    { BM_POST, V "devices/x/suspend", "", "", "", "{\"op\":\"device.suspend\",\"udid\":\"x\"}", BM_OK },
    { BM_POST, V "devices/x/suspend", "", J, "{\"reason\":\"superseded\"}",
      "{\"op\":\"device.suspend\",\"udid\":\"x\",\"reason\":\"superseded\"}", BM_OK },
    { BM_POST, V "organisations", "", J "; charset=utf-8", "{\"name\":\"a\"}", "{\"op\":\"org.create\",\"name\":\"a\"}", BM_OK },
    { BM_PATCH, V "products/p", "", J, "{\"policy\":{\"rot\":[]}}",
      "{\"op\":\"product.set\",\"name\":\"p\",\"policy\":{\"rot\":[]}}", BM_OK },
    { BM_POST, V "manifests", "format=birthmark", "application/octet-stream", "line",
      "{\"op\":\"manifest.begin\",\"format\":\"birthmark\"}", BM_OK },
    { BM_POST, V "manifests/-3/blocks", "dry_run=true", "application/octet-stream", "block",
      "{\"op\":\"manifest.block\",\"manifest\":-3,\"dry_run\":true}", BM_OK },
    { BM_PUT, V "profiles/p", "", J, "{}", "{\"op\":\"profile.set\",\"name\":\"p\"}", BM_OK },
    /* no such thing */
    { BM_GET, V, "", "", "", NULL, BM_NOTFOUND },
    { BM_GET, V "device", "", "", "", NULL, BM_NOTFOUND },
    { BM_GET, V "devices/", "", "", "", NULL, BM_NOTFOUND },
    { BM_GET, V "devices/a/b", "", "", "", NULL, BM_NOTFOUND },
    { BM_PUT, V "devices", "", "", "", NULL, BM_NOTFOUND },
    { BM_GET, "/api/v2/devices", "", "", "", NULL, BM_NOTFOUND },
    /* queries */
    { BM_GET, V "devices", "limit=x", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "limit=", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "limit=1.5", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "limit=01", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "limit=+1", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "limit=--1", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "limit=-", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "limit=9223372036854775808", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "limit=99999999999999999999999", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "full=1", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "full=TRUE", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "limit=1&limit=2", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "op=org.list", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "%6Fp=org.list", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "state", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "=x", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "&", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "state=a&&batch=b", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "St=x", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices", "batch=%", "", "", NULL, BM_MALFORMED },
    { BM_GET, V "devices", "batch=%4", "", "", NULL, BM_MALFORMED },
    { BM_GET, V "devices", "batch=%zz", "", "", NULL, BM_MALFORMED },
    { BM_GET, V "devices", "batch=a%00b", "", "", NULL, BM_MALFORMED },
    { BM_GET, V "devices", "batch=%ff", "", "", NULL, BM_USAGE }, /* not UTF-8 */
    { BM_GET, V "devices/%ff", "", "", "", NULL, BM_USAGE },
    { BM_GET, V "devices/%00", "", "", "", NULL, BM_MALFORMED },
    { BM_GET, V "devices/" UDID, "udid=x", "", "", NULL, BM_USAGE },
    { BM_POST, V "manifests/x/blocks", "", "application/octet-stream", "block", NULL, BM_USAGE },
    /* bodies */
    { BM_POST, V "organisations", "", "", "{\"name\":\"a\"}", NULL, BM_MALFORMED },
    { BM_POST, V "organisations", "", "text/plain", "{\"name\":\"a\"}", NULL, BM_MALFORMED },
    { BM_POST, V "organisations", "", "application/jsonx", "{\"name\":\"a\"}", NULL, BM_MALFORMED },
    { BM_POST, V "organisations", "", J, "{", NULL, BM_MALFORMED },
    { BM_POST, V "organisations", "", J, "[]", NULL, BM_MALFORMED },
    { BM_POST, V "organisations", "", J, "\"x\"", NULL, BM_MALFORMED },
    { BM_POST, V "organisations", "", J, "{} {}", NULL, BM_MALFORMED },
    { BM_POST, V "organisations", "", J, "{\"name\":\"a\",\"name\":\"b\"}", NULL, BM_MALFORMED },
    { BM_POST, V "organisations", "", J, "{\"name\":\"\\u0000\"}", NULL, BM_MALFORMED },
    { BM_POST, V "organisations", "", J, "{\"op\":\"ca.revoke\"}", NULL, BM_USAGE },
    { BM_POST, V "organisations", "name=a", J, "{}", NULL, BM_USAGE },
    { BM_PATCH, V "products/p", "", J, "{\"name\":\"q\"}", NULL, BM_USAGE },
    { BM_POST, V "manifests", "format=birthmark", J, "{}", NULL, BM_MALFORMED },
    { BM_POST, V "organisations/o/trust", "purpose=birth", "", "x", NULL, BM_MALFORMED },
};

static void requests_become_acts(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(asks); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_API_COMMAND_MAX };
        enum bm_rc rc = prepare(&asks[i], &payload);
        struct bm_api_ask got;
        json_t *request, *want;

        if (rc != asks[i].rc)
            fail_msg("%s?%s %s: %s (%s)", asks[i].path, asks[i].query, asks[i].body, bm_rc_name(rc), err.what);
        if (rc != BM_OK)
            continue;
        assert_int_equal(bm_api_ask_parse(bm_buf_rd(&payload), &got, &err), BM_OK);
        assert_true(bm_rd_eq(got.token, bm_rd_str(TOKEN)));
        assert_string_equal(got.peer, "192.0.2.1");
        request = json_loadb((const char *)got.request.p, got.request.n, 0, NULL);
        want = json_loads(asks[i].want, 0, NULL);
        if (!json_equal(request, want))
            fail_msg("%s?%s: %.*s", asks[i].path, asks[i].query, (int)got.request.n, (const char *)got.request.p);
        json_decref(request);
        json_decref(want);
    }
}

/* Every proper prefix of a query, in memory of exactly its size: refused or taken, never read beyond. */
static void queries_are_read_to_their_end(void **state)
{
    static const char text[] = "state=active&batch=a%2Db&limit=12&full=false";

    (void)state;
    for (size_t n = 0; n <= strlen(text); n++) {
        char *exact = malloc(n != 0 ? n : 1);
        json_t *to = json_object();
        enum bm_rc rc;

        memcpy(exact, text, n);
        rc = bm_api_query(to, bm_rd_of(exact, n), &err);
        assert_true(rc == BM_OK || rc == BM_USAGE || rc == BM_MALFORMED);
        assert_true(n != strlen(text) || (rc == BM_OK && json_object_size(to) == 4));
        json_decref(to);
        free(exact);
    }
}

/* --- refusals -------------------------------------------------------------------------------------------------------------------------------- */
static void refusals_are_problems(void **state)
{
    static const struct {
        enum bm_rc rc;
        const char *code, *what;
        int status;
        const char *authenticate;
    } rows[] = {
        { BM_DENIED, "token-missing", "x", 401, "Bearer realm=\"Birthmark\"" },
        { BM_DENIED, "token-invalid", "x", 401, "Bearer realm=\"Birthmark\", error=\"invalid_token\"" },
        { BM_DENIED, "token-expired", "x", 401, "Bearer realm=\"Birthmark\", error=\"invalid_token\"" },
        { BM_DENIED, "not-permitted", "x", 403, NULL },
        { BM_AGAIN, "too-many-attempts", "x", 429, NULL },
        { BM_NOTFOUND, "", "cut within a character: \xc3", 404, NULL },
        { BM_USAGE, "", "quoted \" and \\", 400, NULL },
    };
    const struct bm_request q = { .correlation = "0123456789abcdef" };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_response r = { .body = { .max = 4096 } };
        json_t *p;

        (void)bm_refuse(&err, rows[i].rc, rows[i].code, "%s", rows[i].what);
        bm_api_refuse(&q, &err, 0, &r);
        assert_int_equal(r.status, rows[i].status);
        assert_string_equal(r.content_type, "application/problem+json");
        assert_true(r.no_store);
        assert_true((r.authenticate == NULL) == (rows[i].authenticate == NULL));
        assert_true(r.authenticate == NULL || strcmp(r.authenticate, rows[i].authenticate) == 0);
        p = json_loadb((const char *)r.body.p, r.body.n, 0, NULL);
        assert_non_null(p);
        assert_string_equal(json_string_value(json_object_get(p, "code")), bm_error_code(&err));
        assert_string_equal(json_string_value(json_object_get(p, "correlation")), q.correlation);
        assert_int_equal(json_integer_value(json_object_get(p, "status")), rows[i].status);
        json_decref(p);
        bm_buf_done(&r.body);
    }
}

/* --- documents -------------------------------------------------------------------------------------------------------------------------------- */
static char *slurp(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = calloc(1, 1 << 20);

    assert_non_null(f);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    return text;
}

/* docs/api.md has a line for each route, with its roles; and the description knows it. */
static void documents_say_the_same(void **state)
{
    static const char *const verbs[BM_METHODS] = { "GET", "POST", "PUT", "PATCH" };
    char *doc = slurp("docs/api.md");
    json_t *description = bm_api_openapi(), *paths = json_object_get(description, "paths");

    (void)state;
    for (const struct bm_api_route *r = bm_api_routes; r->act != NULL; r++) {
        const struct bm_admin_op *op = bm_admin_op_find(r->act);
        const char *star = strchr(r->op.path, '*');
        char path[128], line[300], roles[BM_API_ROLES + 1] = "";

        snprintf(path, sizeof path, "%.*s", (int)(star != NULL ? star - r->op.path : (long)strlen(r->op.path)), r->op.path);
        if (star != NULL)
            snprintf(path + strlen(path), sizeof path - strlen(path), "{%s}%s", r->param, star + 1);
        for (int i = 0; i < BM_API_ROLES; i++)
            roles[i] = bm_admin_may(op, (enum bm_api_role)i) ? "aoumes"[i] : '.';
        snprintf(line, sizeof line, "| %s `%s` | `%s` | `%s` |", verbs[r->op.method], path + strlen("/api/v1"), r->act, roles);
        if (strstr(doc, line) == NULL)
            fail_msg("docs/api.md lacks: %s", line);
        if (json_object_get(paths, path) == NULL)
            fail_msg("the description lacks %s", path);
    }
    json_decref(description);
    free(doc);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_act_has_a_route),
        cmocka_unit_test(every_route_is_sound),
        cmocka_unit_test(tokens_are_read),
        cmocka_unit_test(requests_become_acts),
        cmocka_unit_test(queries_are_read_to_their_end),
        cmocka_unit_test(refusals_are_problems),
        cmocka_unit_test(documents_say_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
