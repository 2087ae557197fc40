#include "keeper/policy.h"

#include "base/text.h"

#include <jansson.h>
#include <stdio.h>

static void json_freep(json_t **j)
{
    json_decref(*j);
}

/* Names into rows of `width` characters each. */
static enum bm_rc take_words(const json_t *v, const char *member, char *rows, size_t width, size_t max, size_t *ret_n,
                             struct bm_error *e)
{
    const json_t *w;
    size_t i;

    if (!json_is_array(v) || json_array_size(v) > max)
        return bm_fail(e, BM_USAGE, "policy: '%s' must be an array of at most %zu words", member, max);
    json_array_foreach (v, i, w) {
        const char *s = json_string_value(w);

        if (s == NULL || !bm_name_ok(s) || strlen(s) >= width)
            return bm_fail(e, BM_USAGE, "policy: '%s' holds something that is not a name", member);
        for (size_t before = 0; before < i; before++)
            if (strcmp(rows + before * width, s) == 0)
                return bm_fail(e, BM_USAGE, "policy: '%s' names '%s' twice", member, s);
        snprintf(rows + i * width, width, "%s", s);
    }
    *ret_n = json_array_size(v);
    return BM_OK;
}

static enum bm_rc take_name(const json_t *v, const char *member, char *ret, struct bm_error *e)
{
    const char *s = json_string_value(v);

    if (s == NULL || !bm_name_ok(s))
        return bm_fail(e, BM_USAGE, "policy: '%s' must be a name", member);
    snprintf(ret, BM_NAME_LEN, "%s", s);
    return BM_OK;
}

static enum bm_rc take_bool(const json_t *v, const char *member, bool *ret, struct bm_error *e)
{
    if (!json_is_boolean(v))
        return bm_fail(e, BM_USAGE, "policy: '%s' must be true or false", member);
    *ret = json_is_true(v);
    return BM_OK;
}

static enum bm_rc take_percent(const json_t *v, const char *member, int *ret, struct bm_error *e)
{
    if (!json_is_integer(v) || json_integer_value(v) < 10 || json_integer_value(v) > 95)
        return bm_fail(e, BM_USAGE, "policy: '%s' must be a whole number from 10 to 95", member);
    *ret = (int)json_integer_value(v);
    return BM_OK;
}

static enum bm_rc take_approval(const json_t *v, const char *member, enum bm_approval_when *ret, struct bm_error *e)
{
    const char *s = json_is_false(v) ? "never" : json_string_value(v);

    if (s != NULL && strcmp(s, "never") == 0)
        *ret = BM_APPROVAL_NEVER;
    else if (s != NULL && strcmp(s, "first") == 0)
        *ret = BM_APPROVAL_FIRST;
    else if (s != NULL && strcmp(s, "always") == 0)
        *ret = BM_APPROVAL_ALWAYS;
    else
        return bm_fail(e, BM_USAGE, "policy: '%s' must be \"never\" (or false), \"first\" or \"always\"", member);
    return BM_OK;
}

static enum bm_rc take_life(const json_t *v, const char *member, int64_t *ret, struct bm_error *e)
{
    const char *s = json_string_value(v);

    if (s == NULL || !bm_duration_parse(s, ret) || *ret < 60 || *ret > BM_VOUCHER_LIFE_MAX_S)
        return bm_fail(e, BM_USAGE, "policy: '%s' must be a time from 1m to 365d", member);
    return BM_OK;
}

static enum bm_rc take_member(struct bm_policy *p, const char *member, const json_t *v, struct bm_error *e)
{
    if (strcmp(member, "rot") == 0)
        return take_words(v, member, p->rot[0], sizeof p->rot[0], BM_COUNT(p->rot), &p->n_rot, e);
    if (strcmp(member, "protocols") == 0)
        return take_words(v, member, p->protocols[0], sizeof p->protocols[0], BM_COUNT(p->protocols), &p->n_protocols, e);
    if (strcmp(member, "services") == 0)
        return take_words(v, member, p->services[0], sizeof p->services[0], BM_COUNT(p->services), &p->n_services, e);
    if (strcmp(member, "profile") == 0)
        return take_name(v, member, p->profile, e);
    if (strcmp(member, "ca") == 0)
        return take_name(v, member, p->ca, e);
    if (strcmp(member, "renew_after_percent") == 0)
        return take_percent(v, member, &p->renew_after_percent, e);
    if (strcmp(member, "renew_expired") == 0)
        return take_bool(v, member, &p->renew_expired, e);
    if (strcmp(member, "approval") == 0)
        return take_approval(v, member, &p->approval, e);
    if (strcmp(member, "pop_linked") == 0)
        return take_bool(v, member, &p->pop_linked, e);
    if (strcmp(member, "birth_certificate") == 0)
        return take_bool(v, member, &p->birth_certificate, e);
    if (strcmp(member, "server_keygen") == 0)
        return take_bool(v, member, &p->server_keygen, e);
    if (strcmp(member, "server_keygen_encrypted") == 0)
        return take_bool(v, member, &p->server_keygen_encrypted, e);
    if (strcmp(member, "revoke_unconfirmed") == 0)
        return take_bool(v, member, &p->revoke_unconfirmed, e);
    if (strcmp(member, "self_registration") == 0)
        return take_bool(v, member, &p->self_registration, e);
    if (strcmp(member, "voucher_logged") == 0)
        return take_bool(v, member, &p->voucher_logged, e);
    if (strcmp(member, "voucher_nonceless") == 0)
        return take_bool(v, member, &p->voucher_nonceless, e);
    if (strcmp(member, "voucher_life") == 0)
        return take_life(v, member, &p->voucher_life_s, e);
    return bm_fail(e, BM_USAGE, "policy: unknown member '%.40s'", member);
}

enum bm_rc bm_policy_parse(struct bm_rd json, struct bm_policy *ret, struct bm_error *e)
{
    BM_CLEANUP(json_freep) json_t *j = NULL;
    struct bm_policy p = { .profile = "ldevid", .renew_after_percent = 66, .voucher_life_s = 1200 };
    json_error_t je;
    const char *member;
    json_t *v;
    enum bm_rc rc;

    if (json.n == 0) {
        *ret = p;
        return BM_OK;
    }
    j = json_loadb((const char *)json.p, json.n, JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(j))
        return bm_fail(e, BM_USAGE, "policy: not a JSON object: %.100s", j == NULL ? je.text : "another kind of value");
    json_object_foreach (j, member, v) {
        rc = take_member(&p, member, v, e);
        if (rc != BM_OK)
            return rc;
    }
    *ret = p;
    return BM_OK;
}
