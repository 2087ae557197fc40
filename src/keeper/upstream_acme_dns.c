/* dns-01 (RFC 8555 section 8.4) towards an upstream CA. Birthmark writes to no name server: it asks a web hook, in the form that lego's provider
 * "httpreq" has made common (POST URL/present and URL/cleanup), to put the record there and to take it away.
 *
 *   authorization -> present -> respond -> authorization ... -> withdraw -> the next authorization
 *
 * Whatever refuses while a record is there is remembered, and told once the record has been taken away. */
#include "keeper/upstream_acme.h"

#include "base/text.h"
#include "pki/san.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { HOOK_MAX = 512, NAME_MAX_LEN = 253, WAIT_S = 30, WAIT_MAX_S = 3600, WITHDRAW_TRIES = 5 };
#define LABEL "_acme-challenge."

/* --- what the administrator says -------------------------------------------------------------------------------------------------------- */
static bool hook_ok(const char *url)
{
    return strncmp(url, "https://", 8) == 0 && bm_cloud_host(url).n != 0 && strpbrk(url, " \t\r\n#?@\\\"") == NULL;
}

/* Seconds until a record that has been put there can be seen everywhere; -1: that is no number. */
static int wait_of(const struct bm_upstream *u)
{
    char text[16];
    long n;

    if (!bm_cloud_option(u, "wait", text, sizeof text))
        return WAIT_S;
    n = strtol(text, NULL, 10);
    return strspn(text, "0123456789") == strlen(text) && n <= WAIT_MAX_S ? (int)n : -1;
}

static bool is_dns(const struct bm_upstream *u)
{
    char challenge[32];

    return bm_cloud_option(u, "challenge", challenge, sizeof challenge) && strcmp(challenge, "dns-01") == 0;
}

static enum bm_rc check_none(const struct bm_upstream *u, const struct bm_upstream_secret *s, struct bm_error *e)
{
    static const char *const names[] = { "hook", "under", "wait" };
    char any[HOOK_MAX];

    for (size_t i = 0; i < BM_COUNT(names); i++)
        if (bm_cloud_option(u, names[i], any, sizeof any))
            return bm_fail(e, BM_USAGE, "--options: %s goes with challenge=dns-01", names[i]);
    if (s->hook_login.n != 0 || s->hook_trust.n != 0)
        return bm_fail(e, BM_USAGE, "--hook-login, --hook-trust: go with --options challenge=dns-01");
    return BM_OK;
}

enum bm_rc bm_acme_dns_check(const struct bm_upstream *u, const struct bm_upstream_secret *s, struct bm_error *e)
{
    char hook[HOOK_MAX], under[NAME_MAX_LEN + 1];

    if (!is_dns(u))
        return check_none(u, s, e);
    if (!bm_cloud_option(u, "hook", hook, sizeof hook) || !hook_ok(hook))
        return bm_fail(e, BM_USAGE, "--options: challenge=dns-01 wants hook=https://HOST/PATH, which writes the records");
    if (!bm_cloud_option(u, "under", under, sizeof under) || !bm_san_dns_ok(bm_rd_str(under)) || under[0] == '*')
        return bm_fail(e, BM_USAGE, "--options: challenge=dns-01 wants under=DOMAIN: devices get names in it and no others");
    return wait_of(u) >= 0 ? BM_OK : bm_fail(e, BM_USAGE, "--options: wait is a number of seconds, %d at most", WAIT_MAX_S);
}

/* --- which names --------------------------------------------------------------------------------------------------------------------------- */
/* The domain itself, or a name in it. */
static bool is_under(const char *name, const char *domain)
{
    size_t n = strlen(name), d = strlen(domain);

    return n >= d && strcasecmp(name + (n - d), domain) == 0 && (n == d || name[n - d - 1] == '.');
}

/* The names of the device's request, as they are ordered; NULL: there are none. */
static json_t *ordered(const struct bm_upstream_job *j, struct bm_error *e)
{
    struct bm_csr csr;

    return bm_csr_parse(j->csr, &csr, e) == BM_OK ? bm_acme_identifiers_of(csr.san, e) : NULL;
}

enum bm_rc bm_acme_dns_may(const struct bm_upstream_job *j, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *ids = NULL;
    const json_t *one;
    char under[NAME_MAX_LEN + 1];
    size_t i;

    if (!is_dns(j->u) || j->cert.n != 0) /* a revocation orders no names */
        return BM_OK;
    bm_upstream_option(j->u, "under", under, sizeof under);
    ids = ordered(j, e);
    if (ids == NULL)
        return BM_DENIED;
    json_array_foreach (ids, i, one)
        if (strcmp(bm_cloud_text(one, "type"), "dns") == 0 && !is_under(bm_cloud_text(one, "value"), under))
            return bm_refuse(e, BM_DENIED, "upstream-request", "'%.80s' is not under '%.80s', where this CA's names are",
                             bm_cloud_text(one, "value"), under);
    return BM_OK;
}

/* The CA says which name it wants proven: one that we have ordered, or it would choose where a record is written. */
static bool is_ordered(const struct bm_upstream_job *j, const char *name)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *ids = ordered(j, NULL);
    const json_t *one;
    size_t i;

    json_array_foreach (ids, i, one) {
        const char *value = bm_cloud_text(one, "value");

        value += strncmp(value, "*.", 2) == 0 ? 2 : 0; /* section 7.1.4: the authorization of a wildcard is without it */
        if (strcmp(bm_cloud_text(one, "type"), "dns") == 0 && strcmp(value, name) == 0)
            return true;
    }
    return false;
}

/* --- the record ---------------------------------------------------------------------------------------------------------------------------- */
/* Section 8.1: base64url, and enough of it. */
static bool token_ok(const char *token)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    return token != NULL && strlen(token) < BM_ACME_NONCE_MAX && strspn(token, set) == strlen(token);
}

static enum bm_rc digest_of(const struct bm_acme_trip *t, const char *token, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *key = bm_acme_account_key(t->j->s, e);
    BM_CLEANUP(bm_buf_done) struct bm_buf authorization = { .max = 2 * BM_ACME_NONCE_MAX };
    uint8_t thumbprint[32], digest[32];
    enum bm_rc rc = key != NULL ? bm_jwk_thumbprint(bm_key_spki(key), thumbprint, e) : BM_USAGE;

    if (rc != BM_OK)
        return rc;
    bm_acme_key_authorization(token, thumbprint, &authorization);
    bm_udid_of(bm_buf_rd(&authorization), digest); /* SHA-256 all the same */
    bm_base64url(ret, bm_rd_of(digest, sizeof digest));
    return authorization.bad ? bm_fail(e, BM_NOMEM, "no memory") : bm_buf_check(ret, e);
}

enum bm_rc bm_acme_dns_begin(struct bm_acme_trip *t, const char *name, const char *token, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf digest = { .max = 64 };
    char fqdn[sizeof LABEL + NAME_MAX_LEN + 1], said[80];
    enum bm_rc rc;

    if (name == NULL || !is_ordered(t->j, name))
        return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA wants '%s' proven, which was not ordered",
                         bm_text_escape(bm_rd_str(name != NULL ? name : "?"), said, sizeof said));
    if (!token_ok(token))
        return bm_cloud_garbage("a challenge without a token", e);
    rc = digest_of(t, token, &digest, e);
    if (rc != BM_OK)
        return rc;
    snprintf(fqdn, sizeof fqdn, LABEL "%s.", name);
    json_object_set_new(t->state, "fqdn", json_string(fqdn));
    json_object_set_new(t->state, "digest", json_stringn((const char *)digest.p, digest.n));
    return bm_acme_go(t, "present", 0, e);
}

bool bm_acme_dns_is_up(const json_t *state)
{
    return bm_cloud_text(state, "fqdn") != NULL;
}

static void forget(json_t *state)
{
    static const char *const members[] = { "fqdn", "digest", "withdrawn" };

    for (size_t i = 0; i < BM_COUNT(members); i++)
        json_object_del(state, members[i]);
}

/* --- the hook ------------------------------------------------------------------------------------------------------------------------------ */
enum bm_rc bm_acme_dns_task(const struct bm_upstream_job *j, const json_t *state, const char *act, struct bm_buf *ret,
                            struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf login = { .max = BM_TASK_TEXT_MAX }, body = { .max = 1024 };
    char hook[HOOK_MAX], url[HOOK_MAX + 16];
    struct bm_task t = {
        .kind = BM_TASK_HTTP,
        .timeout_ms = BM_CLOUD_TIMEOUT_MS,
        .answer_max = BM_TASK_ANSWER_MAX,
        .method = bm_rd_str("POST"),
        .trust = bm_buf_rd(&j->s->hook_trust),
    };

    if (!bm_cloud_option(j->u, "hook", hook, sizeof hook) || !bm_acme_dns_is_up(state))
        return bm_refuse(e, BM_DENIED, "upstream-refused", "there is no hook any more that writes records for dns-01");
    snprintf(url, sizeof url, "%s%s%s", hook, hook[strlen(hook) - 1] == '/' ? "" : "/", act);
    /* both are of characters that need no escaping: names are checked when they are ordered */
    bm_buf_printf(&body, "{\"fqdn\":\"%s\",\"value\":\"%s\"}", bm_cloud_text(state, "fqdn"), bm_cloud_text(state, "digest"));
    t.url = bm_rd_str(url);
    t.body = bm_buf_rd(&body);
    t.fields[t.n_fields++] = (struct bm_task_field){ bm_rd_str("Content-Type"), bm_rd_str("application/json") };
    if (j->s->hook_login.n != 0) { /* RFC 7617 */
        bm_buf_str(&login, "Basic ");
        bm_base64(&login, bm_buf_rd(&j->s->hook_login), 0);
        t.fields[t.n_fields++] = (struct bm_task_field){ bm_rd_str("Authorization"), bm_buf_rd(&login) };
    }
    bm_task_write(ret, &t);
    return login.bad ? bm_fail(e, BM_LIMIT, "the hook's login is too long") : bm_buf_check(&body, e);
}

static bool is_good(const struct bm_task_answer *a)
{
    return a->status >= 200 && a->status < 300;
}

enum bm_rc bm_acme_dns_presented(struct bm_acme_trip *t, struct bm_error *e)
{
    char said[120];

    if (is_good(t->a))
        return bm_acme_go(t, "respond", (uint32_t)wait_of(t->j->u), e);
    bm_text_escape(t->a->body, said, sizeof said);
    if (!bm_cloud_is_later(t->a->status)) {
        forget(t->state); /* there is nothing to take away */
        return bm_refuse(e, BM_DENIED, "upstream-refused", "the hook that writes records for dns-01 answers %u: %s", t->a->status,
                         said);
    }
    t->ret->wait_s = bm_upstream_retry_after(t->a, t->j->now);
    return bm_refuse(e, BM_AGAIN, "upstream-waits", "the hook that writes records for dns-01 answers %u: %s", t->a->status, said);
}

/* A record that stays does no harm: who does not get it taken away in some tries goes on. */
enum bm_rc bm_acme_dns_withdrawn(struct bm_acme_trip *t, struct bm_error *e)
{
    json_int_t tries = json_integer_value(json_object_get(t->state, "withdrawn")) + 1;
    const char *refusal = bm_cloud_text(t->state, "refusal");
    uint32_t wait_s = bm_upstream_retry_after(t->a, t->j->now);

    if (bm_cloud_is_later(t->a->status) && tries < WITHDRAW_TRIES) {
        json_object_set_new(t->state, "withdrawn", json_integer(tries));
        return bm_acme_go(t, NULL, wait_s != 0 ? wait_s : BM_CLOUD_NAP_S, e);
    }
    forget(t->state);
    return refusal != NULL ? bm_refuse(e, BM_DENIED, "upstream-refused", "%s", refusal) : bm_acme_next_authorization(t, e);
}

enum bm_rc bm_acme_dns_give_up(struct bm_acme_trip *t, struct bm_error *e)
{
    json_t *why = json_string(e != NULL && e->what[0] != '\0' ? e->what : "the upstream CA has refused");

    if (json_object_set_new(t->state, "refusal", why) != 0)
        return bm_fail(e, BM_NOMEM, "no memory");
    return bm_acme_go(t, "withdraw", 0, e);
}
