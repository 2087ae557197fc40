#include "protocol/acme.h"

#include "base/text.h"

#include <jansson.h>
#include <stdlib.h>

enum { ADDRESS_MAX = 1100 };

bool bm_acme_path(struct bm_rd path)
{
    size_t n = strlen(BM_ACME_ROOT);

    return path.n >= n && memcmp(path.p, BM_ACME_ROOT, n) == 0;
}

/* --- requests ---------------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_acme_admit(const struct bm_request *q, struct bm_error *e)
{
    if (bm_is_media_type(q->content_type, "application/jose+json"))
        return BM_OK;
    return bm_refuse(e, BM_MALFORMED, "unsupported-media-type", "a request to ACME has type application/jose+json");
}

static bool word_in(const char *const *list, struct bm_rd word)
{
    for (; *list != NULL; list++)
        if (bm_rd_eq(bm_rd_str(*list), word))
            return true;
    return false;
}

/* The path under the root with an asterisk in place of the label: what the operation's row has, found again without it. */
static void put_what(const struct bm_request *q, struct bm_buf *out)
{
    struct bm_rd path = bm_rd_of(q->path.p + strlen(BM_ACME_ROOT), q->path.n - strlen(BM_ACME_ROOT));
    size_t front = q->label.n != 0 ? (size_t)(q->label.p - path.p) : path.n;

    bm_buf_put(out, path.p, front);
    if (q->label.n == 0)
        return;
    bm_buf_str(out, "*");
    bm_buf_put(out, q->label.p + q->label.n, path.n - front - q->label.n);
}

enum bm_rc bm_acme_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf what = { .max = BM_NAME_LEN - 1 };
    struct bm_acme_ask ask = { .host = q->host, .label = q->label, .query = q->query, .body = q->body };

    if (!bm_acme_host_ok(q->host))
        return bm_refuse(e, BM_MALFORMED, "bad-request", "the Host field is missing, or is no name or address");
    put_what(q, &what);
    if (bm_buf_check(&what, e) != BM_OK)
        return bm_refuse(e, BM_NOTFOUND, "no-such-path", "nothing is served there");
    ask.what = bm_buf_rd(&what);
    memcpy(ask.correlation, q->correlation, sizeof ask.correlation);
    memcpy(ask.peer, q->peer, sizeof ask.peer);
    bm_acme_ask_write(payload, &ask);
    return bm_buf_check(payload, e);
}

/* --- answers ----------------------------------------------------------------------------------------------------------------------- */
static const char *const content_types[BM_ACME_CONTENTS] = {
    [BM_ACME_JSON] = "application/json",
    [BM_ACME_PROBLEM] = "application/problem+json",
    [BM_ACME_CHAIN] = "application/pem-certificate-chain",
};

static void link_field(struct bm_response *r, struct bm_rd target, const char *rel)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf v = { .max = ADDRESS_MAX + 32 };

    if (target.n == 0)
        return;
    bm_buf_str(&v, "<");
    bm_buf_put(&v, target.p, target.n);
    bm_buf_printf(&v, ">;rel=\"%s\"", rel);
    if (!v.bad)
        bm_response_field(r, "Link", bm_buf_rd(&v));
}

/* Section 7.1: every resource but the directory leads to it. */
static void put_index(const struct bm_request *q, struct bm_response *r)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf v = { .max = ADDRESS_MAX };

    if (!bm_acme_host_ok(q->host))
        return;
    bm_buf_str(&v, "https://");
    bm_buf_put(&v, q->host.p, q->host.n);
    bm_buf_str(&v, BM_ACME_ROOT "directory");
    link_field(r, bm_buf_rd(&v), "index");
}

static void put_fields(const struct bm_request *q, const struct bm_acme_told *t, struct bm_response *r)
{
    put_index(q, r);
    link_field(r, t->up, "up");
    link_field(r, t->next, "next");
    link_field(r, t->help, "help"); /* section 6.6 */
    for (size_t i = 0; i < t->n_alternates; i++)
        link_field(r, t->alternates[i], "alternate");
    if (t->nonce.n != 0)
        bm_response_field(r, "Replay-Nonce", t->nonce);
    if (t->location.n != 0)
        bm_response_field(r, "Location", t->location);
    if (t->code[0] != '\0')
        bm_response_field(r, "Birthmark-Code", bm_rd_str(t->code));
}

enum bm_rc bm_acme_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                          struct bm_error *e)
{
    struct bm_acme_told t;
    enum bm_rc rc = bm_acme_told_parse(answer, &t, e);

    (void)v;
    if (rc != BM_OK)
        return rc;
    r->status = t.status == 204 && q->head ? 200 : t.status; /* newNonce, section 7.2 */
    r->content_type = content_types[t.content];
    r->retry_after_s = t.retry_after_s;
    r->no_store = true; /* section 7.2 asks for it where a nonce is; nothing here is for others */
    put_fields(q, &t, r);
    bm_buf_put(&r->body, t.body.p, t.body.n);
    return BM_OK;
}

/* What the keeper had no say in, or could not answer: RFC 7807 without a fresh nonce. */
void bm_acme_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r)
{
    static const char *const ours[] = { "try-again", "no-memory", "io", "internal", NULL };
    bool server = word_in(ours, bm_rd_str(bm_error_code(e))) || e->rc == BM_AGAIN;
    json_t *j;
    char *text;

    r->status = bm_http_status(e);
    r->retry_after_s = retry_after_s;
    r->no_store = true;
    r->content_type = content_types[BM_ACME_PROBLEM];
    j = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type",
                  server ? "urn:ietf:params:acme:error:serverInternal" : "urn:ietf:params:acme:error:malformed", "detail", e->what,
                  "status", r->status, "code", bm_error_code(e), "correlation", q->correlation);
    text = json_dumps(j, JSON_COMPACT);
    if (text != NULL)
        bm_buf_str(&r->body, text);
    free(text);
    json_decref(j);
    put_index(q, r);
}

/* --- the directory: section 7.1.1 ---------------------------------------------------------------------------------------------------- */
static int put_url(json_t *to, const char *member, const struct bm_request *q, const char *path)
{
    char url[ADDRESS_MAX];

    snprintf(url, sizeof url, "https://%.*s" BM_ACME_ROOT "%s", (int)q->host.n, (const char *)q->host.p, path);
    return json_object_set_new(to, member, json_string(url));
}

/* Profiles (draft-ietf-acme-profiles) are the services that a certificate can be for. */
static json_t *meta_of(const struct bm_view *v)
{
    json_t *meta = json_pack("{s:b}", "externalAccountRequired", 1), *profiles = json_object();
    char name[BM_NAME_LEN];

    for (size_t i = 0; i < v->n_labels; i++) {
        snprintf(name, sizeof name, "%.*s", (int)v->labels[i].label.n, (const char *)v->labels[i].label.p);
        if (name[0] != '\0')
            json_object_set_new(profiles, name, json_string("a certificate for this service"));
    }
    if (json_object_size(profiles) != 0)
        json_object_set(meta, "profiles", profiles);
    json_decref(profiles);
    return meta;
}

static bool label_known(const struct bm_view *v, struct bm_rd label)
{
    for (size_t i = 0; i < v->n_labels; i++)
        if (bm_rd_eq(v->labels[i].label, label))
            return true;
    return false;
}

enum bm_rc bm_acme_directory(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                             struct bm_error *e)
{
    static const char *const rows[][2] = { { "newNonce", "new-nonce" },   { "newAccount", "new-account" },
                                           { "newOrder", "new-order" },   { "revokeCert", "revoke-cert" },
                                           { "keyChange", "key-change" }, { "renewalInfo", "renewal-info" } };
    char order[BM_NAME_LEN + 16];
    json_t *j = json_object();
    char *text;

    (void)answer;
    if (!bm_acme_host_ok(q->host) || (q->label.n != 0 && !label_known(v, q->label))) {
        json_decref(j);
        return bm_refuse(e, BM_NOTFOUND, "no-such-path", "there is no such directory; a label is the name of a service");
    }
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        put_url(j, rows[i][0], q, rows[i][1]);
    snprintf(order, sizeof order, "%.*s/new-order", (int)q->label.n, (const char *)q->label.p);
    if (q->label.n != 0)
        put_url(j, "newOrder", q, order);
    json_object_set_new(j, "meta", meta_of(v));
    text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for an answer");
    r->content_type = content_types[BM_ACME_JSON];
    bm_buf_str(&r->body, text);
    free(text);
    return BM_OK;
}
