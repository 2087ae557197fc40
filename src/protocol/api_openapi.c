/* The OpenAPI 3.1 description, made from the tables that do the work: what it says is what is served. */
#include "protocol/api.h"

#include "base/text.h"
#include "keeper/admin.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME "{\"type\":\"string\",\"pattern\":\"^[a-z0-9][a-z0-9._-]{0,63}$\"}"
#define HEX(n) "{\"type\":\"string\",\"pattern\":\"^[0-9a-f]{" #n "}$\"}"
#define REASON                                                                                                                     \
    "{\"type\":\"string\",\"enum\":[\"unspecified\",\"keyCompromise\",\"cACompromise\",\"affiliationChanged\",\"superseded\","     \
    "\"cessationOfOperation\",\"privilegeWithdrawn\",\"aACompromise\"]}"

/* More than a member's kind says. `act` NULL: in all acts. */
static const struct {
    const char *act, *member, *schema;
} schemas[] = {
    { "org.create", "role",
      "{\"type\":\"string\",\"enum\":[\"chip-maker\",\"contract-manufacturer\",\"oem\",\"service-operator\",\"auditor\"]}" },
    { "token.create", "role",
      "{\"type\":\"string\",\"enum\":[\"administrator\",\"operator\",\"auditor\",\"contract-manufacturer\",\"oem\",\"service-"
      "operator\"]}" },
    { "batch.set", "state", "{\"type\":\"string\",\"enum\":[\"open\",\"closed\"]}" },
    { NULL, "maker", "{\"type\":\"string\",\"pattern\":\"^([a-z0-9][a-z0-9._-]{0,63})?$\"}" },
    { "service.create", "org", "{\"type\":\"string\",\"pattern\":\"^([a-z0-9][a-z0-9._-]{0,63})?$\"}" },
    { "service.set", "org", "{\"type\":\"string\",\"pattern\":\"^([a-z0-9][a-z0-9._-]{0,63})?$\"}" },
    { "org.trust", "purpose",
      "{\"type\":\"string\",\"enum\":[\"manifest\",\"birth\",\"attestation\",\"registrar\",\"masa\",\"ra\"]}" },
    { "manifest.begin", "format", "{\"type\":\"string\",\"enum\":[\"birthmark\",\"microchip\"]}" },
    { "why", "id", "{\"type\":\"string\",\"pattern\":\"^([0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{64})$\"}" },
    { NULL, "name", NAME },
    { NULL, "org", NAME },
    { NULL, "product", NAME },
    { NULL, "batch", NAME },
    { NULL, "as", NAME },
    { NULL, "parent", NAME },
    { NULL, "service", NAME },
    { NULL, "udid", HEX(64) },
    { NULL, "serial", HEX(32) },
    { NULL, "reason", REASON },
    { NULL, "title", "{\"type\":\"string\",\"maxLength\":63}" },
    { NULL, "limit", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000}" },
    { NULL, "after", "{\"type\":\"integer\",\"minimum\":0}" },
    { NULL, "quota", "{\"type\":\"integer\",\"minimum\":0}" },
    { NULL, "endpoints",
      "{\"type\":\"array\",\"maxItems\":16,\"items\":{\"type\":\"string\",\"pattern\":\"^[a-z][a-z0-9+.-]*://"
      "\",\"maxLength\":200}}" },
    { NULL, "expires", "{\"type\":\"string\",\"description\":\"a duration like 90d, a time (RFC 3339), or never; default 90d\"}" },
};

static const char *const kinds[BM_MEMBER_KINDS] = {
    [BM_MEMBER_TEXT] = "{\"type\":\"string\"}",    [BM_MEMBER_WHOLE] = "{\"type\":\"integer\",\"format\":\"int64\"}",
    [BM_MEMBER_YES_NO] = "{\"type\":\"boolean\"}", [BM_MEMBER_MAP] = "{\"type\":\"object\"}",
    [BM_MEMBER_LIST] = "{\"type\":\"array\"}",
};

static void unref(json_t **j)
{
    json_decref(*j);
}

static json_t *schema_of(const char *act, const char *member)
{
    for (size_t i = 0; i < BM_COUNT(schemas); i++)
        if (strcmp(schemas[i].member, member) == 0 && (schemas[i].act == NULL || strcmp(schemas[i].act, act) == 0))
            return json_loads(schemas[i].schema, 0, NULL);
    return json_loads(kinds[bm_admin_member_kind(member)], 0, NULL);
}

/* --- members ------------------------------------------------------------------------------------------------------------------------ */
/* The members of an act: before the "|" they are required. */
static bool next_member(const char **at, bool *optional, char ret[32])
{
    size_t n;

    *at += strspn(*at, " ");
    if (**at == '|') {
        *optional = true;
        *at += 1 + strspn(*at + 1, " ");
    }
    n = strcspn(*at, " |");
    if (n == 0 || n >= 32)
        return false;
    snprintf(ret, 32, "%.*s", (int)n, *at);
    *at += n;
    return true;
}

static void add_parameter(json_t *list, const struct bm_api_route *r, const char *member, bool optional)
{
    bool path = r->param != NULL && strcmp(r->param, member) == 0;

    json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:o}", "name", member, "in", path ? "path" : "query", "required",
                                          path || !optional, "schema", schema_of(r->act, member)));
}

static bool in_body(const struct bm_api_route *r, const char *member)
{
    return r->op.method != BM_GET && r->blob == NULL && (r->param == NULL || strcmp(r->param, member) != 0);
}

static void add_members(const struct bm_api_route *r, const struct bm_admin_op *op, json_t *parameters, json_t *properties,
                        json_t *required)
{
    const char *at = op->members;
    bool optional = false;
    char member[32];

    while (next_member(&at, &optional, member)) {
        if (!in_body(r, member)) {
            add_parameter(parameters, r, member, optional);
            continue;
        }
        json_object_set_new(properties, member, schema_of(r->act, member));
        if (!optional)
            json_array_append_new(required, json_string(member));
    }
}

static json_t *body_of(const struct bm_api_route *r, json_t *properties, json_t *required)
{
    bool must = json_array_size(required) != 0;
    json_t *schema;

    if (r->blob != NULL && strcmp(r->blob, "application/json") != 0)
        return json_pack("{s:b, s:{s:{s:{}}}}", "required", 1, "content", r->blob, "schema");
    if (r->blob != NULL)
        return json_pack("{s:b, s:{s:{s:{s:s}}}}", "required", 1, "content", r->blob, "schema", "type", "object");
    schema = json_pack("{s:s, s:O, s:b}", "type", "object", "properties", properties, "additionalProperties", 0);
    if (must)
        json_object_set(schema, "required", required);
    return json_pack("{s:b, s:{s:{s:o}}}", "required", must, "content", "application/json", "schema", schema);
}

/* --- answers ------------------------------------------------------------------------------------------------------------------------ */
static json_t *problem_ref(void)
{
    return json_pack("{s:s}", "$ref", "#/components/responses/Problem");
}

static bool is_list(const struct bm_api_route *r)
{
    const char *dot = strrchr(r->act, '.');

    return dot != NULL && strcmp(dot, ".list") == 0 && r->op.method == BM_GET;
}

static bool creates(const struct bm_api_route *r)
{
    const char *dot = strrchr(r->act, '.');

    return dot != NULL && strcmp(dot, ".create") == 0;
}

static json_t *responses_of(const struct bm_api_route *r)
{
    static const char *const refusals[] = { "400", "401", "403", "404", "409", "413", "415", "429", "500", "503" };
    static const char *const too_long[] = { "414", "431" };
    json_t *j = json_object();

    json_object_set_new(j, creates(r) ? "201" : "200",
                        json_pack("{s:s, s:{s:{s:{s:s}}}}", "description", "done", "content", "application/json", "schema", "$ref",
                                  is_list(r) ? "#/components/schemas/List" : "#/components/schemas/Object"));
    for (size_t i = 0; i < BM_COUNT(refusals); i++)
        json_object_set_new(j, refusals[i], problem_ref());
    for (size_t i = 0; i < BM_COUNT(too_long); i++) /* before it is known what was asked for */
        json_object_set_new(
            j, too_long[i],
            json_pack("{s:s, s:{s:{s:{s:s}}}}", "description", "refused", "content", "text/plain", "schema", "type", "string"));
    return j;
}

static json_t *roles_of(const struct bm_admin_op *op)
{
    json_t *list = json_array();

    for (int i = 0; i < BM_API_ROLES; i++)
        if (bm_admin_may(op, (enum bm_api_role)i))
            json_array_append_new(list, json_string(bm_api_roles[i]));
    return list;
}

/* --- paths -------------------------------------------------------------------------------------------------------------------------- */
static void template_of(const struct bm_api_route *r, char *ret, size_t ret_len)
{
    const char *path = r->op.path, *star = strchr(path, '*');

    if (star == NULL)
        snprintf(ret, ret_len, "%s", path);
    else
        snprintf(ret, ret_len, "%.*s{%s}%s", (int)(star - path), path, r->param, star + 1);
}

static json_t *operation_of(const struct bm_api_route *r, const struct bm_admin_op *op)
{
    BM_CLEANUP(unref) json_t *parameters = json_array(), *properties = json_object(), *required = json_array();
    json_t *j = json_pack("{s:s, s:s, s:o, s:o}", "operationId", r->act, "summary", r->summary, "responses", responses_of(r),
                          "x-roles", roles_of(op));

    add_members(r, op, parameters, properties, required);
    if (json_array_size(parameters) != 0)
        json_object_set(j, "parameters", parameters);
    if (r->blob != NULL || json_object_size(properties) != 0)
        json_object_set_new(j, "requestBody", body_of(r, properties, required));
    return j;
}

static void add_route(json_t *paths, const struct bm_api_route *r)
{
    static const char *const verbs[BM_METHODS] = { [BM_GET] = "get", [BM_POST] = "post", [BM_PUT] = "put", [BM_PATCH] = "patch" };
    const struct bm_admin_op *op = bm_admin_op_find(r->act);
    char path[128];
    json_t *item;

    if (op == NULL)
        return;
    template_of(r, path, sizeof path);
    item = json_object_get(paths, path);
    if (item == NULL) {
        json_object_set_new(paths, path, json_object());
        item = json_object_get(paths, path);
    }
    json_object_set_new(item, verbs[r->op.method], operation_of(r, op));
}

static json_t *components(void)
{
    static const char text[] =
        "{\"securitySchemes\":{\"token\":{\"type\":\"http\",\"scheme\":\"bearer\",\"description\":\"birthmark token create\"}},"
        "\"schemas\":{"
        "\"Object\":{\"type\":\"object\"},"
        "\"List\":{\"type\":\"object\",\"required\":[\"rows\",\"next\"],\"properties\":{"
        "\"rows\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"id\"],\"properties\":{\"id\":{\"type\":"
        "\"integer\"}}}},"
        "\"next\":{\"type\":[\"integer\",\"null\"],\"description\":\"ask again with it as 'after'; null: that was all\"}}},"
        "\"Problem\":{\"type\":\"object\",\"description\":\"RFC 9457\","
        "\"required\":[\"type\",\"status\",\"detail\",\"code\",\"correlation\"],\"properties\":{"
        "\"type\":{\"type\":\"string\"},\"status\":{\"type\":\"integer\"},"
        "\"detail\":{\"type\":\"string\",\"description\":\"a sentence for people\"},"
        "\"code\":{\"type\":\"string\",\"description\":\"stable; docs/refusals.md\"},"
        "\"correlation\":{\"type\":\"string\",\"pattern\":\"^[0-9a-f]{16}$\",\"description\":\"for birthmark why\"}}}},"
        "\"responses\":{\"Problem\":{\"description\":\"refused\",\"content\":{\"application/problem+json\":"
        "{\"schema\":{\"$ref\":\"#/components/schemas/Problem\"}}}}}}";

    return json_loads(text, 0, NULL);
}

json_t *bm_api_openapi(void)
{
    json_t *paths = json_object();

    for (const struct bm_api_route *r = bm_api_routes; r->act != NULL; r++)
        add_route(paths, r);
    return json_pack("{s:s, s:{s:s, s:s, s:s}, s:[{s:s}], s:[{s:[]}], s:o, s:o}", "openapi", "3.1.0", "info", "title",
                     "Birthmark Admin API", "version", "1", "description",
                     "The administrator's acts over HTTPS. docs/api.md has roles, scopes and how tokens are made.", "servers",
                     "url", "/", "security", "token", "paths", paths, "components", components());
}

static void free_text(char **p)
{
    free(*p);
}

enum bm_rc bm_api_description_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer,
                                     struct bm_response *r, struct bm_error *e)
{
    BM_CLEANUP(unref) json_t *doc = bm_api_openapi();
    BM_CLEANUP(free_text) char *text = doc != NULL ? json_dumps(doc, JSON_COMPACT) : NULL;

    (void)q, (void)v, (void)answer;
    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for the description");
    r->status = 200;
    r->content_type = "application/json";
    r->no_store = true;
    bm_buf_str(&r->body, text);
    return BM_OK;
}
