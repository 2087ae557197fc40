/* Services, products and batches. */
#include "keeper/internal.h"
#include "keeper/upstream.h"

#include "base/text.h"
#include "factory/manifest.h"

#include <stdio.h>
#include <stdlib.h>

enum { ENDPOINTS_MAX = 16 };

static void free_text(char **p)
{
    free(*p);
}

static enum bm_rc take_json(const json_t *v, char *ret, size_t ret_len, const char *member, struct bm_error *e)
{
    BM_CLEANUP(free_text) char *text = json_dumps(v, JSON_COMPACT);

    if (text == NULL || strlen(text) >= ret_len)
        return bm_fail(e, BM_LIMIT, "'%s' may have %zu bytes as JSON", member, ret_len - 1);
    memcpy(ret, text, strlen(text) + 1);
    return BM_OK;
}

static enum bm_rc take_title(const json_t *in, char ret[BM_TEXT_MAX], struct bm_error *e)
{
    const char *s = bm_arg_text(in, "title");

    if (s == NULL)
        return BM_OK;
    if (strlen(s) >= BM_TEXT_MAX)
        return bm_fail(e, BM_LIMIT, "'title' may have %d bytes", BM_TEXT_MAX - 1);
    memcpy(ret, s, strlen(s) + 1);
    return BM_OK;
}

/* "changed" leaves carry the request itself: what was asked is what was done. */
static enum bm_rc record_request(struct bm_keeper *k, int64_t now, const char *event, const json_t *in, json_t *out,
                                 struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = json_copy((json_t *)(uintptr_t)in);

    json_object_del(fields, "op");
    json_object_set(out, "name", json_object_get(in, "name"));
    return bm_record(k, now, event, fields, e);
}

static enum bm_rc name_and_now(const json_t *in, const char **ret_name, int64_t *ret_now, struct bm_keeper *k, struct bm_error *e)
{
    enum bm_rc rc = bm_arg_name(in, "name", ret_name, e);

    return rc == BM_OK ? bm_keeper_now(k, ret_now, e) : rc;
}

/* --- services ------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc take_endpoints(const json_t *in, struct bm_service *s, struct bm_error *e)
{
    const json_t *v = json_object_get(in, "endpoints"), *one;
    size_t i;

    if (v == NULL)
        return BM_OK;
    if (!json_is_array(v) || json_array_size(v) > ENDPOINTS_MAX)
        return bm_fail(e, BM_USAGE, "'endpoints' must be an array of at most %d URIs", ENDPOINTS_MAX);
    json_array_foreach (v, i, one) {
        const char *uri = json_string_value(one);

        if (uri == NULL || strstr(uri, "://") == NULL || strspn(uri, "abcdefghijklmnopqrstuvwxyz0123456789+.-") == 0)
            return bm_fail(e, BM_USAGE, "endpoint %zu is no URI, like mqtts://host:8883", i + 1);
    }
    return take_json(v, s->endpoints, sizeof s->endpoints, "endpoints", e);
}

/* The organisation that `member` names, if it is there; "" takes away the one that was set. */
static enum bm_rc take_org(struct bm_keeper *k, const json_t *in, const char *member, int64_t *id, struct bm_error *e)
{
    const char *name = bm_arg_text(in, member);
    struct bm_org o = { 0 };
    enum bm_rc rc = name != NULL && name[0] != '\0' ? bm_org_get(k->store, name, &o, e) : BM_OK;

    if (rc == BM_OK && name != NULL)
        *id = o.id;
    return rc == BM_OK ? BM_OK : bm_wrap(e, rc, "'%s'", member);
}

/* The CA that its certificates come from; "" goes back to the product's. */
static enum bm_rc take_ca(struct bm_keeper *k, const json_t *in, int64_t *id, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    const char *name = bm_arg_text(in, "ca");
    struct bm_issuer *i;
    enum bm_rc rc = name != NULL && name[0] != '\0' ? bm_ca_get(k->store, name, &ca, e) : BM_OK;

    if (rc == BM_OK && ca.id != 0)
        rc = bm_issuer_get(k, ca.id, &i, e);
    if (rc == BM_OK && ca.id != 0 && bm_ca_is_upstream(&ca))
        rc = bm_fail(e, BM_USAGE, "'%s' is an upstream CA: a product or batch can name it, a service cannot", name);
    if (rc == BM_OK && name != NULL)
        *id = ca.id;
    return rc == BM_OK ? BM_OK : bm_wrap(e, rc, "'ca'");
}

static enum bm_rc take_service(struct bm_keeper *k, const json_t *in, struct bm_service *s, struct bm_error *e)
{
    BM_CLEANUP(bm_profile_freep) struct bm_profile *p = NULL;
    const char *kind = bm_arg_text(in, "kind"), *profile = bm_arg_text(in, "profile");
    enum bm_rc rc = take_title(in, s->title, e);

    if (rc == BM_OK && kind != NULL && (!bm_name_ok(kind) || strlen(kind) >= sizeof s->kind))
        rc = bm_fail(e, BM_USAGE, "'kind' must be a word, like mqtt, https, aws-iot, azure-dps, lorawan or generic");
    if (rc == BM_OK && profile != NULL && profile[0] != '\0')
        rc = bm_profile_open(k, profile, &p, e);
    if (rc == BM_OK && p != NULL && bm_profile_is_ca(p))
        rc = bm_fail(e, BM_USAGE, "profile '%s' is for certification authorities", profile);
    if (rc == BM_OK)
        rc = take_org(k, in, "org", &s->org_id, e);
    if (rc == BM_OK)
        rc = take_ca(k, in, &s->ca_id, e);
    if (rc != BM_OK)
        return rc;
    if (kind != NULL)
        snprintf(s->kind, sizeof s->kind, "%s", kind);
    if (profile != NULL)
        snprintf(s->profile, sizeof s->profile, "%s", profile);
    return take_endpoints(in, s, e);
}

BM_ADMIN_HANDLER(bm_admin_service_create)
{
    struct bm_service s = { .endpoints = "[]" };
    const char *name;
    enum bm_rc rc = name_and_now(in, &name, &s.created_at, k, e);

    (void)blob;
    if (rc == BM_OK)
        rc = take_service(k, in, &s, e);
    if (rc != BM_OK)
        return rc;
    snprintf(s.name, sizeof s.name, "%s", name);
    rc = bm_service_put(k->store, &s, e);
    return rc == BM_OK ? record_request(k, s.created_at, "service.created", in, out, e) : bm_wrap(e, rc, "service '%s'", name);
}

BM_ADMIN_HANDLER(bm_admin_service_set)
{
    struct bm_service s;
    const char *name;
    int64_t now;
    enum bm_rc rc = name_and_now(in, &name, &now, k, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_service_get(k->store, name, &s, e);
    if (rc == BM_OK)
        rc = take_service(k, in, &s, e);
    if (rc == BM_OK)
        rc = bm_service_put(k->store, &s, e);
    return rc == BM_OK ? record_request(k, now, "service.changed", in, out, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_service_list)
{
    (void)blob;
    return bm_admin_list(k, "service", NULL, in, out, e);
}

BM_ADMIN_HANDLER(bm_admin_service_show)
{
    const char *name;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    return rc == BM_OK ? bm_admin_one(k, "service", "name", name, out, e) : rc;
}

/* --- products ------------------------------------------------------------------------------------------------------------------- */
/* Everything a policy names must exist, so that a typing error shows here and not at the first device. */
static enum bm_rc check_policy(struct bm_keeper *k, const char *json, struct bm_error *e)
{
    BM_CLEANUP(bm_profile_freep) struct bm_profile *profile = NULL;
    struct bm_policy p;
    enum bm_rc rc = bm_policy_parse(bm_rd_str(json), &p, e);

    if (rc == BM_OK)
        rc = bm_profile_open(k, p.profile, &profile, e);
    if (rc == BM_OK && bm_profile_is_ca(profile))
        rc = bm_fail(e, BM_USAGE, "policy: profile '%s' is for certification authorities", p.profile);
    for (size_t i = 0; rc == BM_OK && i < p.n_rot; i++)
        if (bm_rot_kind_find(bm_rd_str(p.rot[i])) == NULL)
            rc = bm_fail(e, BM_USAGE, "policy: no root of trust is called '%s'", p.rot[i]);
    for (size_t i = 0; rc == BM_OK && i < p.n_services; i++) {
        struct bm_service s;

        rc = bm_service_get(k->store, p.services[i], &s, e);
        if (rc != BM_OK)
            return bm_wrap(e, rc, "policy: service '%s'", p.services[i]);
    }
    if (rc == BM_OK && p.ca[0] != '\0') {
        BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };

        rc = bm_ca_get(k->store, p.ca, &ca, e);
        if (rc != BM_OK)
            return bm_wrap(e, rc, "policy: CA '%s'", p.ca);
    }
    return rc;
}

static enum bm_rc take_product(struct bm_keeper *k, const json_t *in, struct bm_product *p, struct bm_error *e)
{
    const json_t *policy = json_object_get(in, "policy");
    enum bm_rc rc = take_title(in, p->title, e);

    if (rc == BM_OK && policy != NULL)
        rc = take_json(policy, p->policy, sizeof p->policy, "policy", e);
    return rc == BM_OK ? check_policy(k, p->policy, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_product_create)
{
    struct bm_product p = { .policy = "{}" };
    struct bm_org o;
    const char *name, *org;
    enum bm_rc rc = name_and_now(in, &name, &p.created_at, k, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_arg_name(in, "org", &org, e);
    if (rc == BM_OK)
        rc = bm_org_get(k->store, org, &o, e);
    if (rc == BM_OK)
        rc = take_product(k, in, &p, e);
    if (rc != BM_OK)
        return rc;
    p.org_id = o.id;
    snprintf(p.name, sizeof p.name, "%s", name);
    rc = bm_product_put(k->store, &p, e);
    return rc == BM_OK ? record_request(k, p.created_at, "product.created", in, out, e) : bm_wrap(e, rc, "product '%s'", name);
}

BM_ADMIN_HANDLER(bm_admin_product_set)
{
    struct bm_product p;
    const char *name;
    int64_t now;
    enum bm_rc rc = name_and_now(in, &name, &now, k, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_product_get(k->store, name, &p, e);
    if (rc == BM_OK)
        rc = take_product(k, in, &p, e);
    if (rc == BM_OK)
        rc = bm_product_put(k->store, &p, e);
    return rc == BM_OK ? record_request(k, now, "product.changed", in, out, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_product_list)
{
    (void)blob;
    return bm_admin_list(k, "product", NULL, in, out, e);
}

BM_ADMIN_HANDLER(bm_admin_product_show)
{
    const char *name;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    return rc == BM_OK ? bm_admin_one(k, "product", "name", name, out, e) : rc;
}

/* --- batches -------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc take_batch(struct bm_keeper *k, const json_t *in, struct bm_batch *b, struct bm_error *e)
{
    const char *ca = bm_arg_text(in, "ca"), *state = bm_arg_text(in, "state");
    BM_CLEANUP(bm_ca_done) struct bm_ca row = { 0 };
    int64_t quota = bm_arg_int(in, "quota", b->quota);
    struct bm_issuer *issuer;
    enum bm_rc rc = BM_OK;

    if (quota < b->used || quota < 0)
        return bm_fail(e, BM_USAGE, "'quota' must be a whole number, not less than the %lld devices already active",
                       (long long)b->used);
    if (state != NULL && strcmp(state, "open") != 0 && strcmp(state, "closed") != 0)
        return bm_fail(e, BM_USAGE, "'state' must be open or closed");
    if (ca != NULL)
        rc = bm_ca_get(k->store, ca, &row, e);
    if (rc == BM_OK && ca != NULL)
        rc = bm_issuer_get(k, row.id, &issuer, e);
    if (rc == BM_OK)
        rc = take_org(k, in, "maker", &b->maker_id, e);
    if (rc != BM_OK)
        return rc;
    b->quota = quota;
    b->ca_id = ca != NULL ? row.id : b->ca_id;
    if (state != NULL)
        snprintf(b->state, sizeof b->state, "%s", state);
    return BM_OK;
}

BM_ADMIN_HANDLER(bm_admin_batch_create)
{
    struct bm_batch b = { .state = "open", .quota = -1 };
    struct bm_product p;
    const char *name, *product;
    enum bm_rc rc = name_and_now(in, &name, &b.created_at, k, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_arg_name(in, "product", &product, e);
    if (rc == BM_OK)
        rc = bm_product_get(k->store, product, &p, e);
    if (rc == BM_OK)
        rc = take_batch(k, in, &b, e);
    if (rc != BM_OK)
        return rc;
    b.product_id = p.id;
    snprintf(b.name, sizeof b.name, "%s", name);
    rc = bm_batch_put(k->store, &b, e);
    return rc == BM_OK ? record_request(k, b.created_at, "batch.created", in, out, e) : bm_wrap(e, rc, "batch '%s'", name);
}

BM_ADMIN_HANDLER(bm_admin_batch_set)
{
    struct bm_batch b;
    const char *name;
    int64_t now;
    enum bm_rc rc = name_and_now(in, &name, &now, k, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_batch_get(k->store, name, &b, e);
    if (rc == BM_OK)
        rc = take_batch(k, in, &b, e);
    if (rc == BM_OK)
        rc = bm_batch_put(k->store, &b, e);
    return rc == BM_OK ? record_request(k, now, "batch.changed", in, out, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_batch_list)
{
    static const char *const by[] = { "product", NULL };

    (void)blob;
    return bm_admin_list(k, "batch", by, in, out, e);
}

BM_ADMIN_HANDLER(bm_admin_batch_show)
{
    const char *name;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    return rc == BM_OK ? bm_admin_one(k, "batch", "name", name, out, e) : rc;
}
