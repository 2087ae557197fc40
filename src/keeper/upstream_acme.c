#include "keeper/upstream_acme.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const options[] = { "challenge", "hook", "under", "wait", "revoke", NULL };

bool bm_acme_same_place(const struct bm_upstream *u, const char *url)
{
    size_t place = strlen("https://") + bm_cloud_host(u->url).n;

    for (const char *p = url; p != NULL && *p != '\0'; p++)
        if (*p <= ' ' || *p > '~')
            return false;
    return url != NULL && strlen(url) < BM_ACME_URL_MAX && strncmp(url, u->url, place) == 0 && url[place] == '/';
}

/* --- the account's key ---------------------------------------------------------------------------------------------------------------- */
struct bm_key *bm_acme_account_key(const struct bm_upstream_secret *s, struct bm_error *e)
{
    BIO *in = s->client_key.n != 0 ? BIO_new_mem_buf(s->client_key.p, (int)s->client_key.n) : NULL;
    EVP_PKEY *evp = in != NULL ? PEM_read_bio_PrivateKey(in, NULL, NULL, (void *)(uintptr_t) "") : NULL;
    struct bm_key *key = NULL;

    BIO_free(in);
    ERR_clear_error();
    if (evp == NULL) {
        (void)bm_fail(e, BM_USAGE, "--client: wants the private key of the ACME account, in PEM, not encrypted");
        return NULL;
    }
    if (bm_key_of_evp(evp, &key, e) != BM_OK)
        return NULL;
    if (bm_jws_alg_of(key) != NULL)
        return key;
    bm_key_free(key);
    (void)bm_fail(e, BM_USAGE, "--client: the key of an ACME account is P-256, P-384, P-521, Ed25519 or RSA");
    return NULL;
}

static enum bm_rc acme_check(const struct bm_upstream *u, const struct bm_upstream_secret *s, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *key = bm_acme_account_key(s, e);
    BM_CLEANUP(bm_keeper_jsonp) json_t *binding = NULL;
    struct bm_rd kid, secret;
    char challenge[32];

    if (key == NULL)
        return BM_USAGE;
    if (bm_cloud_option(u, "challenge", challenge, sizeof challenge) && strcmp(challenge, "http-01") != 0 &&
        strcmp(challenge, "dns-01") != 0)
        return bm_fail(e, BM_USAGE, "--options: challenge is http-01 or dns-01, or is left out");
    if (bm_acme_dns_check(u, s, e) != BM_OK || bm_upstream_revoke_check(u, e) != BM_OK)
        return BM_USAGE;
    if (s->login.n == 0)
        return BM_OK;
    bm_cloud_login(s, &kid, &secret);
    binding = bm_acme_binding(key, u->url, "x", secret, e);
    return binding != NULL && kid.n != 0
               ? BM_OK
               : bm_fail(e, BM_USAGE, "--login: a file with one line, KID:HMAC, the HMAC key in base64url");
}

/* A request that cannot be ordered is refused before anybody is asked. */
static enum bm_rc acme_start(struct bm_keeper *k, const struct bm_plan *p, const struct bm_order *o, struct bm_buf *ret_state,
                             struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *ids = bm_acme_identifiers_of(o->csr.san, e);

    (void)k, (void)p, (void)ret_state;
    return ids != NULL ? BM_OK : BM_DENIED;
}

/* --- requests --------------------------------------------------------------------------------------------------------------------------- */
static void ask(const struct bm_upstream_job *j, const char *method, const char *url, struct bm_rd body, struct bm_buf *ret)
{
    struct bm_task t = {
        .kind = BM_TASK_HTTP,
        .timeout_ms = BM_CLOUD_TIMEOUT_MS,
        .answer_max = BM_TASK_ANSWER_MAX,
        .method = bm_rd_str(method),
        .url = bm_rd_str(url),
        .trust = bm_buf_rd(&j->u->trust),
        .body = body,
    };

    if (body.n != 0) /* section 6.2 */
        t.fields[t.n_fields++] = (struct bm_task_field){ bm_rd_str("Content-Type"), bm_rd_str("application/jose+json") };
    bm_task_write(ret, &t);
}

static void chars_freep(char **s)
{
    free(*s);
}

static enum bm_rc ask_signed(const struct bm_upstream_job *j, const json_t *state, const struct bm_acme_step *step,
                             struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *key = bm_acme_account_key(j->s, e);
    BM_CLEANUP(bm_keeper_jsonp) json_t *payload = NULL;
    BM_CLEANUP(chars_freep) char *text = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf body = { .max = BM_TASK_BODY_MAX };
    struct bm_acme_say say = {
        .key = key,
        .url = bm_cloud_text(state, step->url),
        .nonce = bm_cloud_text(state, "nonce"),
        .kid = step->by_key ? NULL : bm_cloud_text(state, "kid"),
    };
    enum bm_rc rc;

    if (key == NULL || say.url == NULL)
        return bm_fail(e, BM_USAGE, "the ACME account has no key, or step '%s' no address", step->name);
    if (step->payload != NULL) {
        payload = step->payload(j, state, e);
        text = payload != NULL ? json_dumps(payload, JSON_COMPACT) : NULL;
        if (text == NULL)
            return bm_fail(e, BM_DENIED, "what step '%s' has to say cannot be written", step->name);
        say.payload = bm_rd_str(text);
    }
    rc = bm_acme_jws_write(&say, &body, e);
    if (rc == BM_OK)
        ask(j, "POST", say.url, bm_buf_rd(&body), ret);
    return rc;
}

static json_t *state_of(const struct bm_upstream_job *j)
{
    return j->state.n != 0 ? bm_cloud_json(j->state) : json_object();
}

static bool wants_nonce(const json_t *state, const struct bm_acme_step *step)
{
    return step->url != NULL && bm_cloud_text(state, "nonce") == NULL;
}

static enum bm_rc ask_directory(const struct bm_upstream_job *j, struct bm_buf *ret, struct bm_error *e)
{
    enum bm_rc rc = bm_acme_dns_may(j, e);

    if (rc == BM_OK)
        ask(j, "GET", j->u->url, bm_rd_of(NULL, 0), ret);
    return rc;
}

static enum bm_rc acme_task(const struct bm_upstream_job *j, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *state = state_of(j);
    const struct bm_acme_step *step = bm_acme_step_of(state);
    const char *nonces = bm_cloud_text(state, "newNonce");

    if (step == NULL || (step->url != NULL && nonces == NULL))
        return bm_fail(e, BM_BUG, "the state of an ACME errand is damaged");
    if (step->hook != NULL)
        return bm_acme_dns_task(j, state, step->hook, ret, e);
    if (step->url == NULL)
        return ask_directory(j, ret, e);
    if (wants_nonce(state, step))
        ask(j, "HEAD", nonces, bm_rd_of(NULL, 0), ret);
    else
        return ask_signed(j, state, step, ret, e);
    return BM_OK;
}

/* --- answers ---------------------------------------------------------------------------------------------------------------------------- */
/* Each answer brings the nonce for the next request (section 6.5); the one that was used is used up. */
static void take_nonce(struct bm_acme_trip *t)
{
    struct bm_rd n = t->a->nonce;

    json_object_del(t->state, "nonce");
    if (n.n != 0 && n.n < BM_ACME_NONCE_MAX)
        json_object_set_new(t->state, "nonce", json_stringn((const char *)n.p, n.n));
}

enum bm_rc bm_acme_go(struct bm_acme_trip *t, const char *step, uint32_t wait_s, struct bm_error *e)
{
    if (step != NULL)
        json_object_set_new(t->state, "step", json_string(step));
    t->ret->wait_s = wait_s;
    return bm_cloud_next(t->state, t->ret, e);
}

static const char *problem_of(const json_t *body)
{
    static const char urn[] = "urn:ietf:params:acme:error:";
    const char *type = bm_cloud_text(body, "type");

    return type != NULL && strncmp(type, urn, sizeof urn - 1) == 0 ? type + sizeof urn - 1 : type;
}

/* Section 6.5: the answer has a fresh one. A server that takes none is not asked in a tight loop. */
static enum bm_rc bad_nonce(struct bm_acme_trip *t, struct bm_error *e)
{
    json_int_t n = json_integer_value(json_object_get(t->state, "badNonce"));

    json_object_set_new(t->state, "badNonce", json_integer(n + 1));
    return bm_acme_go(t, NULL, n < 2 ? 0 : BM_UPSTREAM_RETRY_S, e);
}

static enum bm_rc problem(struct bm_acme_trip *t, const struct bm_acme_step *step, struct bm_error *e)
{
    const char *kind = problem_of(t->body);
    bool later = bm_cloud_is_later(t->a->status) || (kind != NULL && strcmp(kind, "rateLimited") == 0);
    uint32_t wait_s = later ? bm_upstream_retry_after(t->a, t->j->now) : 0;
    enum bm_rc rc = BM_OK;

    if (kind != NULL && strcmp(kind, "badNonce") == 0)
        return bad_nonce(t, e);
    if (kind != NULL && step->refused != NULL)
        rc = step->refused(t, kind, e);
    if (rc != BM_OK || t->over)
        return rc;
    if (wait_s != 0)
        return bm_acme_go(t, NULL, wait_s, e);
    return bm_cloud_no(t->j, t->a, later, kind, bm_cloud_words(t->body, "detail"), t->ret, e);
}

static enum bm_rc read_trip(struct bm_acme_trip *t, const struct bm_acme_step *step, struct bm_error *e)
{
    bool good = t->a->status >= 200 && t->a->status < 300;

    if (step->hook != NULL)
        return step->read(t, e);
    if (wants_nonce(t->state, step)) {
        take_nonce(t);
        if (!good || bm_cloud_text(t->state, "nonce") == NULL)
            return bm_cloud_no(t->j, t->a, true, NULL, "no nonce", t->ret, e);
        return bm_acme_go(t, NULL, 0, e);
    }
    if (step->url != NULL)
        take_nonce(t);
    if (!good)
        return problem(t, step, e);
    json_object_del(t->state, "badNonce");
    return step->read(t, e);
}

static enum bm_rc acme_read(const struct bm_upstream_job *j, const struct bm_task_answer *a, struct bm_upstream_got *ret,
                            struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *state = state_of(j), *body = bm_cloud_json(a->body);
    struct bm_acme_trip t = { .j = j, .a = a, .state = state, .body = body, .ret = ret };
    const struct bm_acme_step *step = bm_acme_step_of(state);
    enum bm_rc rc = step != NULL ? read_trip(&t, step, e) : bm_fail(e, BM_BUG, "the state of an ACME errand is damaged");

    /* a record that was written for this order goes before its refusal is told */
    return (rc == BM_DENIED || rc == BM_MALFORMED || rc == BM_LIMIT) && bm_acme_dns_is_up(state) ? bm_acme_dns_give_up(&t, e) : rc;
}

static const struct bm_upstream_revoking revoking = { NULL, acme_task, acme_read };

const struct bm_upstream_driver bm_upstream_acme = {
    .name = "acme",
    .url_form = "https://HOST[:PORT]/PATH of the directory",
    .system_trust = true,
    .key_alone = true,
    .options = options,
    .check = acme_check,
    .start = acme_start,
    .task = acme_task,
    .read = acme_read,
    .revoking = &revoking,
};
