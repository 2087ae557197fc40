/* Authorizations and challenges: RFC 8555 sections 7.1.4, 7.1.5 and 7.5. */
#include "keeper/acme.h"

#include <stdio.h>

static bool status_is(const json_t *of, const char *status)
{
    const char *s = json_string_value(json_object_get(of, "status"));

    return s != NULL && strcmp(s, status) == 0;
}

static void set_status(json_t *of, const char *status)
{
    json_object_set_new(of, "status", json_string(status));
}

/* --- as answers ----------------------------------------------------------------------------------------------------------------------- */
static json_t *challenge_json(const struct bm_acme *a, const struct bm_acme_work *w, int64_t i, int64_t c)
{
    const json_t *x = bm_acme_challenge(w, i, c), *at = json_object_get(x, "at");
    char url[BM_ACME_URL_MAX];
    json_t *j;

    bm_acme_url(a, url, "chall/%lld-%lld-%lld", (long long)w->row.id, (long long)i, (long long)c);
    j = json_pack("{s:O, s:O, s:O, s:s}", "type", json_object_get(x, "type"), "token", json_object_get(x, "token"), "status",
                  json_object_get(x, "status"), "url", url);
    if (at != NULL)
        json_object_set_new(j, "validated", bm_acme_time(json_integer_value(at)));
    if (json_object_get(x, "error") != NULL)
        json_object_set(j, "error", json_object_get(x, "error"));
    return j;
}

/* An authorization ends with its order. */
static void tell_authorization(struct bm_acme *a, const struct bm_acme_work *w, int64_t i)
{
    const json_t *z = bm_acme_authz(w, i);
    struct bm_acme_identifier id = bm_acme_identifier_of(w, i);
    bool over = bm_acme_work_is(w, "invalid") && status_is(z, "pending"), wildcard;
    json_t *list = json_array();

    for (int64_t c = 0; bm_acme_challenge(w, i, c) != NULL; c++)
        json_array_append_new(list, challenge_json(a, w, i, c));
    wildcard = strcmp(id.type, "dns") == 0 && id.value[0] == '*';
    a->reply = json_pack("{s:{s:s, s:s}, s:s, s:o, s:o}", "identifier", "type", id.type, "value", id.value + 2 * wildcard, "status",
                         over ? "invalid" : json_string_value(json_object_get(z, "status")), "expires",
                         bm_acme_time(w->row.expires_at), "challenges", list);
    if (wildcard) /* section 7.1.4 */
        json_object_set_new(a->reply, "wildcard", json_true());
    for (int64_t c = 0; bm_acme_challenge(w, i, c) != NULL; c++)
        if (status_is(bm_acme_challenge(w, i, c), "processing") && !over && status_is(z, "pending"))
            a->retry_after_s = BM_ACME_RETRY_S;
}

static void tell_challenge(struct bm_acme *a, const struct bm_acme_work *w, int64_t i, int64_t c)
{
    bm_acme_url(a, a->up, "authz/%lld-%lld", (long long)w->row.id, (long long)i);
    a->reply = challenge_json(a, w, i, c);
    if (status_is(bm_acme_challenge(w, i, c), "processing"))
        a->retry_after_s = BM_ACME_RETRY_S;
}

/* --- outcomes: section 7.1.6 ------------------------------------------------------------------------------------------------------------ */
static bool all_valid(const struct bm_acme_work *w)
{
    for (int64_t i = 0; bm_acme_authz(w, i) != NULL; i++)
        if (!status_is(bm_acme_authz(w, i), "valid"))
            return false;
    return true;
}

void bm_acme_settle(struct bm_acme_work *w, int64_t i, int64_t c, const struct bm_error *why, const char *correlation, int64_t now)
{
    json_t *x = bm_acme_challenge(w, i, c);

    set_status(x, why == NULL ? "valid" : "invalid");
    set_status(bm_acme_authz(w, i), why == NULL ? "valid" : "invalid");
    json_object_set_new(x, "at", json_integer(now));
    if (why == NULL) {
        if (all_valid(w))
            bm_acme_work_status(w, "ready");
        return;
    }
    json_object_set_new(x, "error", bm_acme_problem(why, correlation));
    json_object_set_new(w->doc, "error", bm_acme_problem(why, correlation));
    bm_acme_work_status(w, "invalid");
}

/* --- requests --------------------------------------------------------------------------------------------------------------------------- */
/* Section 7.5.2 */
static enum bm_rc deactivate(struct bm_acme *a, struct bm_acme_work *w, int64_t i, struct bm_error *e)
{
    json_t *z = bm_acme_authz(w, i);

    if (!status_is(a->jws.body, "deactivated"))
        return bm_refuse(e, BM_MALFORMED, "acme-payload", "an authorization can only be deactivated");
    if (!status_is(z, "pending") && !status_is(z, "valid"))
        return bm_refuse(e, BM_DENIED, "acme-order-state", "this authorization is over");
    set_status(z, "deactivated");
    if (bm_acme_work_is(w, "pending") || bm_acme_work_is(w, "ready"))
        bm_acme_work_status(w, "invalid");
    return bm_acme_work_save(a->k, w, e);
}

enum bm_rc bm_acme_authorization(struct bm_acme *a, struct bm_error *e)
{
    BM_CLEANUP(bm_acme_work_done) struct bm_acme_work w = { 0 };
    int64_t at[2];
    enum bm_rc rc = bm_acme_numbers(a->ask->label, at, 2, e);

    if (rc == BM_OK)
        rc = bm_acme_work_load(a, at[0], &w, e);
    if (rc == BM_OK && bm_acme_authz(&w, at[1]) == NULL)
        rc = bm_acme_not_found(e);
    if (rc == BM_OK && a->jws.body != NULL)
        rc = deactivate(a, &w, at[1], e);
    if (rc == BM_OK)
        tell_authorization(a, &w, at[1]);
    return rc;
}

/* What somebody else's doing may mend leaves the challenge as it was; everything else has decided it, and that stays. */
static enum bm_rc decide(struct bm_acme *a, struct bm_acme_work *w, int64_t i, int64_t c, struct bm_error *e)
{
    const char *token = json_string_value(json_object_get(bm_acme_challenge(w, i, c), "token"));
    struct bm_error lost = { 0 };
    enum bm_rc rc = bm_acme_attest(a, w, i, token, e);

    if (rc != BM_OK && rc != BM_DENIED && rc != BM_MALFORMED && rc != BM_LIMIT)
        return rc;
    bm_acme_settle(w, i, c, rc == BM_OK ? NULL : e, a->ask->correlation, a->now);
    if (bm_acme_work_save(a->k, w, &lost) == BM_OK)
        return rc;
    *e = lost;
    return BM_IO;
}

/* Attestation speaks for itself; for the others somebody has to go and look. */
static enum bm_rc begin(struct bm_acme *a, struct bm_acme_work *w, int64_t i, int64_t c, struct bm_error *e)
{
    const char *type = json_string_value(json_object_get(bm_acme_challenge(w, i, c), "type"));
    enum bm_rc rc;

    if (strcmp(type, "device-attest-01") == 0)
        return decide(a, w, i, c, e);
    rc = bm_acme_validate(a, w, i, c, e);
    return rc == BM_OK ? bm_acme_work_save(a->k, w, e) : rc;
}

/* Section 7.5.1. One that is decided, or under way, is told as it stands. */
enum bm_rc bm_acme_respond(struct bm_acme *a, struct bm_error *e)
{
    BM_CLEANUP(bm_acme_work_done) struct bm_acme_work w = { 0 };
    int64_t at[3];
    enum bm_rc rc = bm_acme_numbers(a->ask->label, at, 3, e);

    if (rc == BM_OK)
        rc = bm_acme_work_load(a, at[0], &w, e);
    if (rc == BM_OK && bm_acme_challenge(&w, at[1], at[2]) == NULL)
        rc = bm_acme_not_found(e);
    if (rc == BM_OK && a->jws.body != NULL && bm_acme_work_is(&w, "pending") && status_is(bm_acme_authz(&w, at[1]), "pending") &&
        status_is(bm_acme_challenge(&w, at[1], at[2]), "pending"))
        rc = begin(a, &w, at[1], at[2], e);
    if (rc == BM_OK)
        tell_challenge(a, &w, at[1], at[2]);
    return rc;
}
