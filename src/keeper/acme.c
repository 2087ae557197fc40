/* One request: read, held against where it came to, its nonce, its key; then the resource's own function; then the answer. */
#include "keeper/acme.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Whose key has to sign (section 6.2). */
enum who { NOBODY, NEW_KEY, ACCOUNT, EITHER };

static const struct resource {
    const char *path; /* under /acme/, as the worker names it */
    enum who who;
    bm_acme_fn *run;
} resources[] = {
    { "new-nonce", NOBODY, bm_acme_new_nonce },        { "renewal-info/*", NOBODY, bm_acme_renewal_info },
    { "new-account", NEW_KEY, bm_acme_new_account },   { "new-order", ACCOUNT, bm_acme_new_order },
    { "*/new-order", ACCOUNT, bm_acme_new_order },     { "acct/*", ACCOUNT, bm_acme_account },
    { "acct/*/orders", ACCOUNT, bm_acme_orders },      { "order/*", ACCOUNT, bm_acme_order },
    { "order/*/finalize", ACCOUNT, bm_acme_finalize }, { "authz/*", ACCOUNT, bm_acme_authorization },
    { "chall/*", ACCOUNT, bm_acme_respond },           { "cert/*", ACCOUNT, bm_acme_certificate },
    { "revoke-cert", EITHER, bm_acme_revoke },         { "key-change", ACCOUNT, bm_acme_key_change },
};

static void acme_done(struct bm_acme *a)
{
    bm_acme_jws_done(&a->jws);
    bm_acme_account_done(&a->account);
    bm_buf_done(&a->chain);
    json_decref(a->reply);
}

/* --- small things that the resources share ------------------------------------------------------------------------------------------ */
const char *bm_acme_url(const struct bm_acme *a, char *ret, const char *fmt, ...)
{
    int n = snprintf(ret, BM_ACME_URL_MAX, "https://%.*s/acme/", (int)a->ask->host.n, (const char *)a->ask->host.p);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(ret + n, BM_ACME_URL_MAX - (size_t)n, fmt, ap); /* a host has at most BM_ACME_HOST_MAX characters */
    va_end(ap);
    return ret;
}

enum bm_rc bm_acme_not_found(struct bm_error *e)
{
    return bm_refuse(e, BM_NOTFOUND, "acme-not-found", "there is no such resource, or it belongs to another account");
}

enum bm_rc bm_acme_numbers(struct bm_rd label, int64_t *ret, size_t n, struct bm_error *e)
{
    for (size_t i = 0; i < n; i++) {
        size_t digits = 0;

        for (ret[i] = 0; digits < label.n && digits < 18 && label.p[digits] >= '0' && label.p[digits] <= '9'; digits++)
            ret[i] = ret[i] * 10 + (label.p[digits] - '0');
        if (digits == 0 || (digits > 1 && label.p[0] == '0') || (i + 1 < n && (digits == label.n || label.p[digits] != '-')))
            return bm_acme_not_found(e);
        digits += i + 1 < n;
        label = bm_rd_of(label.p + digits, label.n - digits);
    }
    return label.n == 0 ? BM_OK : bm_acme_not_found(e);
}

enum bm_rc bm_acme_no_payload(const struct bm_acme *a, struct bm_error *e)
{
    return a->jws.payload.n == 0 ? BM_OK
                                 : bm_refuse(e, BM_MALFORMED, "acme-payload", "this resource is fetched with an empty payload");
}

enum bm_rc bm_acme_some_payload(const struct bm_acme *a, struct bm_error *e)
{
    return a->jws.body != NULL ? BM_OK
                               : bm_refuse(e, BM_MALFORMED, "acme-payload", "this request needs a JSON object as its payload");
}

/* --- whose is it? ------------------------------------------------------------------------------------------------------------------- */
/* Section 6.4: what was signed is for this address, so that nobody can send it to another. */
static enum bm_rc check_url(const struct bm_acme *a, struct bm_error *e)
{
    const struct bm_acme_ask *q = a->ask;
    const uint8_t *star = memchr(q->what.p, '*', q->what.n);
    size_t front = star != NULL ? (size_t)(star - q->what.p) : q->what.n;
    char want[BM_ACME_URL_MAX];

    bm_acme_url(a, want, "%.*s%.*s%.*s%s%.*s", (int)front, (const char *)q->what.p, (int)(star != NULL ? q->label.n : 0),
                (const char *)q->label.p, (int)(star != NULL ? q->what.n - front - 1 : 0),
                star != NULL ? (const char *)star + 1 : "", q->query.n != 0 ? "?" : "", (int)q->query.n, (const char *)q->query.p);
    if (strcmp(want, a->jws.url) == 0)
        return BM_OK;
    return bm_refuse(e, BM_DENIED, "acme-url", "the request was signed for another address than the one it came to");
}

/* Section 6.5. The nonce is used up once the signature is known to be good. */
static enum bm_rc nonce_of(const struct bm_acme *a, struct bm_buf *ret, struct bm_error *e)
{
    struct bm_error why = { 0 };

    if (bm_unbase64url(bm_rd_str(a->jws.nonce), ret, &why) == BM_OK &&
        bm_challenge_check(a->k, bm_buf_rd(ret), a->now, &why) == BM_OK)
        return BM_OK;
    return bm_refuse(e, BM_MALFORMED, "acme-nonce",
                     "the nonce is not one of this server that is still good; try again with the new one");
}

static enum bm_rc load_account(struct bm_acme *a, struct bm_error *e)
{
    char base[BM_ACME_URL_MAX];
    size_t n = strlen(bm_acme_url(a, base, "acct/"));
    int64_t id;
    enum bm_rc rc = BM_NOTFOUND;

    if (strncmp(a->jws.kid, base, n) == 0 && bm_acme_numbers(bm_rd_str(a->jws.kid + n), &id, 1, NULL) == BM_OK)
        rc = bm_acme_account_by_id(a->k->store, id, &a->account, e);
    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_DENIED, "acme-account-unknown", "\"kid\" is not the address of an account here");
    if (rc == BM_OK && strcmp(a->account.status, "valid") != 0)
        return bm_refuse(e, BM_DENIED, "acme-account-closed", "this account has been %s", a->account.status);
    if (rc == BM_OK)
        memcpy(a->thumbprint, a->account.thumbprint, sizeof a->thumbprint);
    return rc;
}

static enum bm_rc find_key(struct bm_acme *a, enum who who, struct bm_rd *ret_spki, struct bm_error *e)
{
    bool kid = a->jws.kid[0] != '\0';
    enum bm_rc rc;

    if ((kid && who == NEW_KEY) || (!kid && who == ACCOUNT))
        return bm_refuse(e, BM_MALFORMED, "acme-jws",
                         kid ? "JWS: this request needs \"jwk\", not \"kid\"" : "JWS: this request needs \"kid\", not \"jwk\"");
    rc = kid ? load_account(a, e) : bm_jwk_thumbprint(bm_buf_rd(&a->jws.spki), a->thumbprint, e);
    *ret_spki = kid ? bm_buf_rd(&a->account.spki) : bm_buf_rd(&a->jws.spki);
    return rc;
}

static enum bm_rc authenticate(struct bm_acme *a, enum who who, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf nonce = { .max = BM_ACME_NONCE_MAX };
    struct bm_rd spki;
    enum bm_rc rc;

    if (who == NOBODY)
        return BM_OK;
    rc = bm_acme_jws_read(a->ask->body, BM_ACME_OUTER, &a->jws, e);
    if (rc == BM_OK)
        rc = check_url(a, e);
    if (rc == BM_OK)
        rc = nonce_of(a, &nonce, e);
    if (rc == BM_OK)
        rc = find_key(a, who, &spki, e);
    if (rc == BM_OK)
        rc = bm_acme_jws_verify(&a->jws, spki, e);
    return rc == BM_OK ? bm_challenge_use(a->k, bm_buf_rd(&nonce), a->now, e) : rc;
}

/* --- the answer --------------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_acme_new_nonce(struct bm_acme *a, struct bm_error *e)
{
    (void)e;
    a->status = 204;
    return BM_OK;
}

static enum bm_rc put_answer(struct bm_acme *a, const struct bm_error *why, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf nonce = { .max = 2 * BM_CHALLENGE_LEN };
    uint8_t raw[BM_CHALLENGE_LEN];
    const char *help = a->k->options.acme_help_url;
    char *text = a->reply != NULL ? json_dumps(a->reply, JSON_COMPACT) : NULL;
    struct bm_acme_told t = {
        .status = (uint16_t)a->status,
        .content = why != NULL       ? BM_ACME_PROBLEM
                   : a->chain.n != 0 ? BM_ACME_CHAIN
                   : text != NULL    ? BM_ACME_JSON
                                     : BM_ACME_EMPTY,
        .retry_after_s = a->retry_after_s,
        .location = bm_rd_str(a->location),
        .up = bm_rd_str(a->up),
        .next = bm_rd_str(a->next),
        .help = bm_rd_str(why != NULL && bm_acme_is_limit(why) && help != NULL ? help : ""),
        .body = text != NULL ? bm_rd_str(text) : bm_buf_rd(&a->chain),
    };

    for (; t.n_alternates < a->n_alternates; t.n_alternates++)
        t.alternates[t.n_alternates] = bm_rd_str(a->alternates[t.n_alternates]);
    bm_challenge_make(a->k, a->now, raw);
    bm_base64url(&nonce, bm_rd_of(raw, sizeof raw));
    t.nonce = bm_buf_rd(&nonce);
    snprintf(t.code, sizeof t.code, "%s", why != NULL ? bm_error_code(why) : "");
    if (a->reply == NULL || text != NULL)
        bm_acme_told_write(out, &t);
    free(text);
    return a->reply == NULL || text != NULL ? bm_buf_check(out, e) : bm_fail(e, BM_IO, "no memory for an answer");
}

/* For `birthmark why`. A stale nonce is everyday business. */
static enum bm_rc write_down(struct bm_acme *a, const struct bm_error *why, struct bm_error *e)
{
    struct bm_refusal r = { .at = a->now, .protocol = "acme", .has_udid = a->has_udid };

    if (a->recorded || strcmp(why->code, "acme-nonce") == 0)
        return BM_OK;
    memcpy(r.correlation, a->ask->correlation, sizeof r.correlation);
    memcpy(r.peer, a->ask->peer, sizeof r.peer);
    memcpy(r.udid, a->udid, sizeof r.udid);
    snprintf(r.code, sizeof r.code, "%s", bm_error_code(why));
    snprintf(r.what, sizeof r.what, "%s", why->what);
    return bm_record_refused(a->k, a->now, &r, e) == BM_IO ? BM_IO : BM_OK;
}

/* A refusal is an answer too, with a fresh nonce (section 6.5). What is our own trouble goes the way of all trouble: memory that ran out may have
 * left half of a step behind. */
static enum bm_rc refuse(struct bm_acme *a, struct bm_error *why, struct bm_buf *out, struct bm_error *e)
{
    enum bm_rc rc;

    if (why->rc == BM_IO || why->rc == BM_BUG || why->rc == BM_NOMEM) {
        *e = *why;
        return why->rc == BM_NOMEM ? (e->rc = BM_IO) : why->rc;
    }
    rc = write_down(a, why, e);
    if (rc != BM_OK)
        return rc;
    json_decref(a->reply);
    a->reply = bm_acme_problem(why, a->ask->correlation);
    bm_buf_done(&a->chain);
    a->status = bm_acme_status(why);
    a->retry_after_s = a->retry_after_s != 0 ? a->retry_after_s : bm_retry_after(why);
    return a->reply != NULL ? put_answer(a, why, out, e) : bm_fail(e, BM_IO, "no memory for an answer");
}

enum bm_rc bm_run_acme(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    struct bm_acme_ask ask;
    BM_CLEANUP(acme_done) struct bm_acme a = { .k = k, .ask = &ask, .now = now, .status = 200, .chain.max = BM_COMMAND_MAX };
    const struct resource *r = NULL;
    struct bm_error why = { 0 };
    enum bm_rc rc = bm_acme_ask_parse(payload, &ask, e);

    if (rc != BM_OK)
        return rc;
    for (size_t i = 0; i < BM_COUNT(resources); i++)
        r = bm_rd_eq(ask.what, bm_rd_str(resources[i].path)) ? &resources[i] : r;
    rc = r != NULL ? authenticate(&a, r->who, &why) : bm_acme_not_found(&why);
    if (rc == BM_OK)
        rc = r->run(&a, &why);
    why.rc = rc;
    return rc == BM_OK ? put_answer(&a, NULL, out, e) : refuse(&a, &why, out, e);
}
