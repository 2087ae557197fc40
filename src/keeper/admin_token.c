/* Tokens of the Admin API. The text is made here, told once, and not kept. */
#include "keeper/internal.h"

#include "base/text.h"
#include "pki/key.h"

#include <openssl/rand.h>
#include <stdio.h>

enum { LIFE_DEFAULT_S = 90 * 86400 };

static enum bm_rc take_role(const json_t *in, struct bm_token *t, enum bm_api_role *ret, struct bm_error *e)
{
    const char *role = bm_arg_text(in, "role");

    for (int i = 0; role != NULL && i < BM_API_ROLES; i++) {
        if (strcmp(bm_api_roles[i], role) == 0) {
            *ret = (enum bm_api_role)i;
            snprintf(t->role, sizeof t->role, "%s", role);
            return BM_OK;
        }
    }
    return bm_fail(e, BM_USAGE, "'role' must be administrator, operator, auditor, contract-manufacturer, oem or service-operator");
}

static enum bm_rc take_org(struct bm_keeper *k, const json_t *in, enum bm_api_role role, struct bm_token *t, struct bm_error *e)
{
    const char *org = bm_arg_text(in, "org");
    struct bm_org o;
    enum bm_rc rc;

    if (role < BM_ROLE_MAKER)
        return org == NULL ? BM_OK : bm_fail(e, BM_USAGE, "%s tokens are of no organisation", t->role);
    if (org == NULL)
        return bm_fail(e, BM_USAGE, "'org' is needed: %s tokens reach what is their organisation's, and nothing else", t->role);
    rc = bm_org_get(k->store, org, &o, e);
    if (rc == BM_OK)
        t->org_id = o.id;
    return rc;
}

static enum bm_rc take_expiry(const json_t *in, struct bm_token *t, struct bm_error *e)
{
    const char *s = bm_arg_text(in, "expires");
    int64_t v = LIFE_DEFAULT_S;

    if (s != NULL && strcmp(s, "never") == 0)
        return BM_OK;
    if (s != NULL && bm_time_parse(s, &t->expires_at)) /* a moment */
        return t->expires_at > t->created_at ? BM_OK : bm_fail(e, BM_USAGE, "'expires' lies in the past");
    if (s != NULL && (!bm_duration_parse(s, &v) || v <= 0))
        return bm_fail(e, BM_USAGE, "'expires' must be a duration like 90d, a time like 2030-01-31T00:00:00Z, or never");
    t->expires_at = t->created_at + v;
    return BM_OK;
}

static enum bm_rc make_text(char ret[BM_API_TOKEN_LEN + 1], uint8_t ret_sha256[32], struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_API_TOKEN_LEN };
    uint8_t raw[32];

    if (RAND_priv_bytes(raw, sizeof raw) != 1)
        return bm_fail(e, BM_IO, "no random numbers");
    bm_buf_str(&text, BM_API_TOKEN_PREFIX);
    bm_base64url(&text, bm_rd_of(raw, sizeof raw));
    bm_wipe(raw, sizeof raw);
    if (text.bad || !bm_api_token_ok(bm_buf_rd(&text)))
        return bm_fail(e, BM_BUG, "a token does not look like one");
    bm_udid_of(bm_buf_rd(&text), ret_sha256); /* a SHA-256 like any other */
    memcpy(ret, text.p, text.n);
    ret[text.n] = '\0';
    return BM_OK;
}

static enum bm_rc record(struct bm_keeper *k, const json_t *in, const struct bm_token *t, json_t *out, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = json_pack("{s:s, s:s}", "name", t->name, "role", t->role);
    char at[24];

    if (json_object_get(in, "org") != NULL)
        json_object_set(fields, "org", json_object_get(in, "org"));
    json_object_set_new(out, "expires_at", t->expires_at != 0 ? json_string(bm_time_text(t->expires_at, at)) : json_null());
    json_object_set(fields, "expires_at", json_object_get(out, "expires_at"));
    return bm_record(k, t->created_at, "token.created", fields, e);
}

static enum bm_rc take_token(struct bm_keeper *k, const json_t *in, struct bm_token *t, struct bm_error *e)
{
    const char *name;
    enum bm_api_role role;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    if (rc == BM_OK)
        rc = take_role(in, t, &role, e);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &t->created_at, e);
    if (rc == BM_OK)
        rc = take_org(k, in, role, t, e);
    if (rc == BM_OK)
        rc = take_expiry(in, t, e);
    if (rc == BM_OK)
        snprintf(t->name, sizeof t->name, "%s", name);
    return rc;
}

BM_ADMIN_HANDLER(bm_admin_token_create)
{
    char text[BM_API_TOKEN_LEN + 1] = "";
    struct bm_token t = { 0 };
    enum bm_rc rc = take_token(k, in, &t, e);

    (void)blob;
    if (rc == BM_OK)
        rc = make_text(text, t.sha256, e);
    if (rc == BM_OK)
        rc = bm_token_put(k->store, &t, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "token");
    json_object_set_new(out, "name", json_string(t.name));
    json_object_set_new(out, "role", json_string(t.role));
    json_object_set_new(out, "token", json_string(text));
    bm_wipe(text, sizeof text);
    return record(k, in, &t, out, e);
}

BM_ADMIN_HANDLER(bm_admin_token_list)
{
    (void)blob;
    return bm_admin_list(k, "token", NULL, in, out, e);
}

BM_ADMIN_HANDLER(bm_admin_token_show)
{
    const char *name;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    return rc == BM_OK ? bm_admin_one(k, "token", "name", name, out, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_token_revoke)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    struct bm_token t;
    const char *name;
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_token_get(k->store, name, &t, e);
    if (rc == BM_OK && t.revoked_at != 0)
        rc = bm_fail(e, BM_CONFLICT, "this token has been revoked before");
    if (rc == BM_OK)
        rc = bm_token_set_revoked(k->store, t.id, now, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "name", json_string(t.name));
    fields = json_pack("{s:s}", "name", t.name);
    return bm_record(k, now, "token.revoked", fields, e);
}
