/* The steps of an ACME errand: RFC 8555 section 7.1 in the order of its table. */
#include "keeper/upstream_acme.h"
#include "keeper/upstream_revoke.h"

#include "base/text.h"

#include <stdio.h>

enum { AUTHORIZATIONS_MAX = 32 };

/* An address out of an answer, kept under this name. */
static bool keep_url(struct bm_acme_trip *t, const char *name, const char *url)
{
    return bm_acme_same_place(t->j->u, url) && json_object_set_new(t->state, name, json_string(url)) == 0;
}

static bool keep_location(struct bm_acme_trip *t, const char *name)
{
    char url[BM_ACME_URL_MAX];
    struct bm_rd l = t->a->location;

    if (l.n == 0 || l.n >= sizeof url || memchr(l.p, '\0', l.n) != NULL)
        return false;
    memcpy(url, l.p, l.n);
    url[l.n] = '\0';
    return keep_url(t, name, url);
}

static bool revoking(const struct bm_acme_trip *t)
{
    return t->j->cert.n != 0;
}

static bool is(const char *a, const char *b)
{
    return a != NULL && strcmp(a, b) == 0;
}

static uint32_t nap(const struct bm_acme_trip *t)
{
    uint32_t wait_s = bm_upstream_retry_after(t->a, t->j->now);

    return wait_s != 0 ? wait_s : BM_CLOUD_NAP_S;
}

/* A refusal inside of an order or a challenge. */
static enum bm_rc refused(const struct bm_acme_trip *t, const char *what, const json_t *problem, struct bm_error *e)
{
    const char *detail = bm_cloud_words(problem, "detail"), *type = bm_cloud_text(problem, "type");
    char said[120], kind[60];

    (void)t;
    return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA has made the %s invalid: %s: %s", what,
                     bm_text_escape(bm_rd_str(type != NULL ? type : "no reason given"), kind, sizeof kind),
                     bm_text_escape(bm_rd_str(detail != NULL ? detail : ""), said, sizeof said));
}

/* --- section 7.1.1 -------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc read_directory(struct bm_acme_trip *t, struct bm_error *e)
{
    const char *const names[] = { "newNonce", "newAccount", revoking(t) ? "revokeCert" : "newOrder" };
    const json_t *meta = json_object_get(t->body, "meta");

    for (size_t i = 0; i < BM_COUNT(names); i++)
        if (!keep_url(t, names[i], bm_cloud_text(t->body, names[i])))
            return bm_refuse(e, BM_DENIED, "upstream-refused",
                             "what is at --url is no ACME directory, or its addresses are on another server: %s", names[i]);
    if (json_is_true(json_object_get(meta, "externalAccountRequired")) && t->j->s->login.n == 0)
        return bm_refuse(e, BM_DENIED, "upstream-refused",
                         "the upstream CA wants an external account binding: --login with KID:HMAC (RFC 8555 section 7.3.4)");
    return bm_acme_go(t, "lookup", 0, e);
}

/* --- section 7.3: the account is looked for by its key first, so that a binding that can be used once is used once --------------------- */
static json_t *say_lookup(const struct bm_upstream_job *j, const json_t *state, struct bm_error *e)
{
    (void)j, (void)state, (void)e;
    return json_pack("{s:b}", "onlyReturnExisting", 1);
}

static json_t *say_register(const struct bm_upstream_job *j, const json_t *state, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *key = bm_acme_account_key(j->s, e);
    json_t *account = json_pack("{s:b}", "termsOfServiceAgreed", 1), *binding;
    struct bm_rd kid, secret;
    char name[256];

    if (j->s->login.n == 0 || account == NULL || key == NULL)
        return account;
    bm_cloud_login(j->s, &kid, &secret);
    snprintf(name, sizeof name, "%.*s", (int)kid.n, (const char *)kid.p);
    binding = bm_acme_binding(key, bm_cloud_text(state, "newAccount"), name, secret, e);
    json_object_set_new(account, "externalAccountBinding", binding);
    return account;
}

static enum bm_rc read_account(struct bm_acme_trip *t, struct bm_error *e)
{
    return keep_location(t, "kid") ? bm_acme_go(t, revoking(t) ? "revoke" : "order", 0, e)
                                   : bm_cloud_garbage("an account without an address", e);
}

static enum bm_rc no_account(struct bm_acme_trip *t, const char *problem, struct bm_error *e)
{
    return is(problem, "accountDoesNotExist") && !revoking(t) ? bm_acme_go(t, "register", 0, e) : BM_OK;
}

/* --- section 7.4 ---------------------------------------------------------------------------------------------------------------------- */
static json_t *say_order(const struct bm_upstream_job *j, const json_t *state, struct bm_error *e)
{
    struct bm_csr csr;
    json_t *ids;

    (void)state;
    if (bm_csr_parse(j->csr, &csr, e) != BM_OK)
        return NULL;
    ids = bm_acme_identifiers_of(csr.san, e);
    return ids != NULL ? json_pack("{s:o}", "identifiers", ids) : NULL;
}

static bool keep_authorizations(struct bm_acme_trip *t)
{
    const json_t *list = json_object_get(t->body, "authorizations"), *one;
    json_t *kept = json_array();
    bool ok = json_array_size(list) != 0 && json_array_size(list) <= AUTHORIZATIONS_MAX;
    size_t i;

    json_array_foreach (list, i, one)
        ok = ok && bm_acme_same_place(t->j->u, json_string_value(one)) && json_array_append(kept, (json_t *)(uintptr_t)one) == 0;
    return json_object_set_new(t->state, "authorizations", kept) == 0 && ok;
}

/* The authorizations one after the other; behind the last one the order again. */
static enum bm_rc go_authorization(struct bm_acme_trip *t, size_t at, struct bm_error *e)
{
    const json_t *url = json_array_get(json_object_get(t->state, "authorizations"), at);

    json_object_del(t->state, "responded");
    if (url == NULL)
        return bm_acme_go(t, "poll", 0, e);
    json_object_set_new(t->state, "at", json_integer((json_int_t)at));
    json_object_set_new(t->state, "authorization", json_string(json_string_value(url)));
    return bm_acme_go(t, "authorization", 0, e);
}

enum bm_rc bm_acme_next_authorization(struct bm_acme_trip *t, struct bm_error *e)
{
    return go_authorization(t, (size_t)json_integer_value(json_object_get(t->state, "at")) + 1, e);
}

static enum bm_rc read_order(struct bm_acme_trip *t, struct bm_error *e)
{
    const char *status = bm_cloud_text(t->body, "status");

    if (is(status, "ready"))
        return bm_acme_go(t, "finalize", 0, e);
    if (is(status, "processing") || is(status, "pending"))
        return bm_acme_go(t, "poll", nap(t), e);
    if (is(status, "valid"))
        return keep_url(t, "certificate", bm_cloud_text(t->body, "certificate"))
                   ? bm_acme_go(t, "certificate", 0, e)
                   : bm_cloud_garbage("an order that is valid names no certificate", e);
    if (is(status, "invalid"))
        return refused(t, "order", json_object_get(t->body, "error"), e);
    return bm_cloud_garbage("an order without a status", e);
}

static enum bm_rc read_new_order(struct bm_acme_trip *t, struct bm_error *e)
{
    if (!keep_location(t, "order") || !keep_url(t, "finalize", bm_cloud_text(t->body, "finalize")) || !keep_authorizations(t))
        return bm_cloud_garbage("an order without its addresses, or with some on another server", e);
    return is(bm_cloud_text(t->body, "status"), "pending") ? go_authorization(t, 0, e) : read_order(t, e);
}

/* --- section 7.5 ---------------------------------------------------------------------------------------------------------------------- */
static const json_t *challenge_of(const json_t *authorization, const char *type)
{
    const json_t *list = json_object_get(authorization, "challenges"), *one;
    size_t i;

    json_array_foreach (list, i, one)
        if (is(bm_cloud_text(one, "type"), type))
            return one;
    return NULL;
}

static enum bm_rc take_challenge(struct bm_acme_trip *t, struct bm_error *e)
{
    char type[32] = "", name[80];
    const char *value = bm_cloud_text(json_object_get(t->body, "identifier"), "value");
    bool set = bm_cloud_option(t->j->u, "challenge", type, sizeof type);
    const json_t *c = set ? challenge_of(t->body, type) : NULL;

    bm_text_escape(bm_rd_str(value != NULL ? value : "?"), name, sizeof name);
    if (!set)
        return bm_refuse(
            e, BM_DENIED, "upstream-refused",
            "the upstream CA wants '%s' proven and does not know it as ours; --options challenge=http-01 can prove names "
            "that lead here, challenge=dns-01 those of a domain",
            name);
    if (c == NULL || !keep_url(t, "challenge", bm_cloud_text(c, "url")))
        return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA offers no %s for '%s'", type, name);
    return strcmp(type, "dns-01") == 0 ? bm_acme_dns_begin(t, value, bm_cloud_text(c, "token"), e) : bm_acme_go(t, "respond", 0, e);
}

static enum bm_rc read_authorization(struct bm_acme_trip *t, struct bm_error *e)
{
    const char *status = bm_cloud_text(t->body, "status");
    char type[32] = "";

    if (is(status, "valid"))
        return bm_acme_dns_is_up(t->state) ? bm_acme_go(t, "withdraw", 0, e) : bm_acme_next_authorization(t, e);
    if (is(status, "pending") && !json_is_true(json_object_get(t->state, "responded")))
        return take_challenge(t, e);
    if (is(status, "pending"))
        return bm_acme_go(t, NULL, nap(t), e);
    bm_upstream_option(t->j->u, "challenge", type, sizeof type);
    return refused(t, "authorization", json_object_get(challenge_of(t->body, type), "error"), e);
}

static json_t *say_nothing(const struct bm_upstream_job *j, const json_t *state, struct bm_error *e)
{
    (void)j, (void)state, (void)e;
    return json_object();
}

static enum bm_rc read_challenge(struct bm_acme_trip *t, struct bm_error *e)
{
    json_object_set_new(t->state, "responded", json_true());
    return bm_acme_go(t, "authorization", nap(t), e);
}

/* The challenge was answered already, and we died before we had it written down: the authorization tells. */
static enum bm_rc not_pending(struct bm_acme_trip *t, const char *problem, struct bm_error *e)
{
    return is(problem, "malformed") ? read_challenge(t, e) : BM_OK;
}

/* --- finalize, and the end ------------------------------------------------------------------------------------------------------------- */
static json_t *say_finalize(const struct bm_upstream_job *j, const json_t *state, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 2 * BM_CSR_MAX };

    (void)state, (void)e;
    bm_base64url(&text, j->csr);
    return text.bad ? NULL : json_pack("{s:s%}", "csr", (const char *)text.p, text.n);
}

/* It was finalized already, and we died before we had it written down. */
static enum bm_rc not_ready(struct bm_acme_trip *t, const char *problem, struct bm_error *e)
{
    return is(problem, "orderNotReady") ? bm_acme_go(t, "poll", BM_CLOUD_NAP_S, e) : BM_OK;
}

/* An order that says it is still ready is looked at again, not finalized in a tight loop. */
static enum bm_rc read_finalized(struct bm_acme_trip *t, struct bm_error *e)
{
    return is(bm_cloud_text(t->body, "status"), "ready") ? bm_acme_go(t, "poll", nap(t), e) : read_order(t, e);
}

static enum bm_rc read_certificate(struct bm_acme_trip *t, struct bm_error *e)
{
    return bm_cloud_pem(t->a->body, t->ret, e);
}

/* --- section 7.6 ---------------------------------------------------------------------------------------------------------------------- */
static json_t *say_revoke(const struct bm_upstream_job *j, const json_t *state, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 2 * BM_CERT_MAX };
    int reason = json_is_true(json_object_get(state, "unreasoned")) ? 0 : bm_upstream_reason(j->reason);
    json_t *said;

    (void)e;
    bm_base64url(&text, j->cert);
    said = text.bad ? NULL : json_pack("{s:s%}", "certificate", (const char *)text.p, text.n);
    if (said != NULL && reason != 0)
        json_object_set_new(said, "reason", json_integer(reason));
    return said;
}

static enum bm_rc read_revoked(struct bm_acme_trip *t, struct bm_error *e)
{
    (void)t, (void)e;
    return BM_OK;
}

/* A reason that this CA does not take is worth less than the revocation: without one, it is revoked. */
static enum bm_rc not_revoked(struct bm_acme_trip *t, const char *problem, struct bm_error *e)
{
    t->over = is(problem, "alreadyRevoked");
    if (!is(problem, "badRevocationReason") || json_is_true(json_object_get(t->state, "unreasoned")))
        return BM_OK;
    json_object_set_new(t->state, "unreasoned", json_true());
    return bm_acme_go(t, NULL, 0, e);
}

static const struct bm_acme_step steps[] = {
    { .name = "directory", .read = read_directory },
    { .name = "lookup", .url = "newAccount", .payload = say_lookup, .read = read_account, .refused = no_account, .by_key = true },
    { .name = "register", .url = "newAccount", .payload = say_register, .read = read_account, .by_key = true },
    { .name = "order", .url = "newOrder", .payload = say_order, .read = read_new_order },
    { .name = "authorization", .url = "authorization", .read = read_authorization },
    { .name = "present", .hook = "present", .read = bm_acme_dns_presented },
    { .name = "withdraw", .hook = "cleanup", .read = bm_acme_dns_withdrawn },
    { .name = "respond", .url = "challenge", .payload = say_nothing, .read = read_challenge, .refused = not_pending },
    { .name = "poll", .url = "order", .read = read_order },
    { .name = "finalize", .url = "finalize", .payload = say_finalize, .read = read_finalized, .refused = not_ready },
    { .name = "certificate", .url = "certificate", .read = read_certificate },
    { .name = "revoke", .url = "revokeCert", .payload = say_revoke, .read = read_revoked, .refused = not_revoked },
};

const struct bm_acme_step *bm_acme_step_of(const json_t *state)
{
    const char *name = bm_cloud_text(state, "step");

    if (state == NULL)
        return NULL;
    for (size_t i = 0; i < BM_COUNT(steps); i++)
        if (strcmp(steps[i].name, name != NULL ? name : steps[0].name) == 0)
            return &steps[i];
    return NULL;
}
