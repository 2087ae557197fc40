/* The administrator's acts over HTTPS (docs/api.md). A worker brings what a stranger sent: the token, where it came from, and the request.
 * Who that is and what he may do is found out here and nowhere else, from the registry, anew for each request; so a revoked token is of no
 * use from the next request on, and a worker in enemy hands can do what the tokens it has seen can do. */
#include "keeper/internal.h"

#include "base/log.h"
#include "base/text.h"
#include "pki/key.h"

#include <stdio.h>
#include <stdlib.h>

enum { USED_EVERY_S = 3600 }; /* how exactly the last use of a token is known: one write an hour, not one per call */

struct call {
    struct bm_api_ask ask;
    json_t *in;
    const struct bm_admin_op *op;
    struct bm_token token;
    enum bm_api_role role;
    struct bm_scope scope;
    char actor[BM_NAME_LEN + 8];
    int64_t now;
};

static void call_done(struct call *c)
{
    json_decref(c->in);
    c->in = NULL;
}

/* --- wrong tokens ---------------------------------------------------------------------------------------------------------------- */
/* Only wrong tokens are counted and slowed: nobody can lock out the holder of a right one. */
static bool too_many(struct bm_keeper *k, const char *peer, int64_t now)
{
    uint8_t room[16];

    return bm_attempts_add(k, BM_GUESS_TOKEN, bm_attempts_address(peer, room), now) > BM_API_WRONG_TOKENS;
}

/* --- who is it? ------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc find_role(const char *name, enum bm_api_role *ret, struct bm_error *e)
{
    for (int i = 0; i < BM_API_ROLES; i++) {
        if (strcmp(bm_api_roles[i], name) == 0) {
            *ret = (enum bm_api_role)i;
            return BM_OK;
        }
    }
    return bm_fail(e, BM_BUG, "a token has the unknown role '%.20s'", name);
}

static enum bm_rc find_token(struct bm_keeper *k, struct call *c, struct bm_error *e)
{
    uint8_t sha256[32];
    char at[24];
    enum bm_rc rc = BM_NOTFOUND;

    if (bm_api_token_ok(c->ask.token)) {
        bm_udid_of(c->ask.token, sha256); /* a SHA-256 like any other */
        rc = bm_token_by_hash(k->store, sha256, &c->token, e);
    }
    if (rc == BM_OK && !bm_secret_eq(sha256, c->token.sha256, sizeof sha256))
        rc = BM_NOTFOUND;
    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_DENIED, "token-invalid", "there is no such token");
    if (rc == BM_OK && c->token.revoked_at != 0)
        return bm_refuse(e, BM_DENIED, "token-revoked", "the token '%s' was revoked", c->token.name);
    if (rc == BM_OK && c->token.expires_at != 0 && c->token.expires_at <= c->now)
        return bm_refuse(e, BM_DENIED, "token-expired", "the token '%s' expired at %s", c->token.name,
                         bm_time_text(c->token.expires_at, at));
    return rc;
}

static void find_scope(struct call *c)
{
    static const enum bm_scope_of of[BM_API_ROLES] = {
        [BM_ROLE_MAKER] = BM_SCOPE_MAKER,
        [BM_ROLE_OEM] = BM_SCOPE_OEM,
        [BM_ROLE_SERVICE] = BM_SCOPE_SERVICE,
    };

    c->scope = (struct bm_scope){ .of = of[c->role], .org_id = c->token.org_id };
    snprintf(c->actor, sizeof c->actor, "token:%s", c->token.name);
}

/* --- may he? ---------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc none(const struct call *c, const char *what, struct bm_error *e)
{
    return bm_fail(e, BM_NOTFOUND, "no such %s; %s tokens see what is their organisation's", what, bm_api_roles[c->role]);
}

static enum bm_rc count_row(void *arg, int64_t id, const char *json, struct bm_error *e)
{
    (void)id, (void)json, (void)e;
    *(bool *)arg = true;
    return BM_OK;
}

/* A value that is no UDID or serial number at all is the act's to refuse. */
static enum bm_rc reaches(struct bm_keeper *k, const struct call *c, const char *kind, const char *column, const char *value,
                          struct bm_error *e)
{
    char text[192];
    const char *const filter[] = { text, NULL };
    bool there = false;
    enum bm_rc rc;

    if (value == NULL)
        return bm_fail(e, BM_USAGE, "%s: say which %s: %s tokens reach what is their organisation's", c->op->name, kind,
                       bm_api_roles[c->role]);
    if ((size_t)snprintf(text, sizeof text, "%s=%s", column, value) >= sizeof text)
        return none(c, kind, e);
    rc = bm_store_list_in(k->store, &c->scope, kind, filter, 0, 1, count_row, &there, e);
    return rc != BM_OK || there ? rc : none(c, kind, e);
}

static enum bm_rc reaches_import(struct bm_keeper *k, const struct call *c, struct bm_error *e)
{
    struct bm_batch b = { 0 };
    int64_t batch_id = 0;
    enum bm_rc rc = bm_import_batch(k, bm_arg_int(c->in, "manifest", 0), &batch_id, e);

    if (rc == BM_OK)
        rc = batch_id != 0 ? bm_batch_by_id(k->store, batch_id, &b, e) : BM_NOTFOUND;
    if (rc == BM_OK)
        rc = reaches(k, c, "batch", "name", b.name, e);
    return rc == BM_NOTFOUND ? none(c, "import", e) : rc;
}

static enum bm_rc reaches_approval(struct bm_keeper *k, const struct call *c, struct bm_error *e)
{
    char number[24];

    snprintf(number, sizeof number, "%lld", (long long)bm_arg_int(c->in, "number", 0));
    return reaches(k, c, "approval", "number", number, e);
}

/* 64 hex digits are a device, 32 a certificate; what else `why` can look for belongs to nobody in particular. */
static enum bm_rc reaches_story(struct bm_keeper *k, const struct call *c, struct bm_error *e)
{
    const char *id = bm_arg_text(c->in, "id");
    size_t n = id != NULL ? strlen(id) : 0;
    bool udid = n == 2 * (size_t)BM_UDID_LEN;

    if (!udid && n != 2 * (size_t)BM_SERIAL_LEN)
        return none(c, "story", e);
    return reaches(k, c, udid ? "device" : "credential", udid ? "udid" : "serial", id, e);
}

static enum bm_rc in_reach(struct bm_keeper *k, const struct call *c, struct bm_error *e)
{
    static const struct {
        const char *kind, *column, *member;
    } things[] = {
        [BM_REACH_DEVICE] = { "device", "udid", "udid" },   [BM_REACH_BATCH] = { "batch", "name", "name" },
        [BM_REACH_INTO] = { "batch", "name", "batch" },     [BM_REACH_PRODUCT] = { "product", "name", "name" },
        [BM_REACH_SERVICE] = { "service", "name", "name" }, [BM_REACH_CERT] = { "credential", "serial", "serial" },
    };
    enum bm_reach r = c->op->reach;

    if (r == BM_REACH_LIST || r == BM_REACH_SELF)
        return BM_OK;
    if (r == BM_REACH_IMPORT)
        return reaches_import(k, c, e);
    if (r == BM_REACH_APPROVAL)
        return reaches_approval(k, c, e);
    if (r == BM_REACH_STORY)
        return reaches_story(k, c, e);
    if ((size_t)r < BM_COUNT(things) && things[r].kind != NULL)
        return reaches(k, c, things[r].kind, things[r].column, bm_arg_text(c->in, things[r].member), e);
    return bm_refuse(e, BM_DENIED, "not-permitted", "%s tokens may not %s", bm_api_roles[c->role], c->op->name);
}

static enum bm_rc permitted(struct bm_keeper *k, struct call *c, struct bm_error *e)
{
    c->op = bm_admin_op_find(bm_arg_text(c->in, "op"));
    if (c->op == NULL)
        return bm_fail(e, BM_USAGE, "no such operation");
    if (!bm_admin_may(c->op, c->role))
        return bm_refuse(e, BM_DENIED, "not-permitted", "%s tokens may not %s", bm_api_roles[c->role], c->op->name);
    if (c->scope.of == BM_SCOPE_ALL)
        return BM_OK;
    if (c->scope.org_id == 0)
        return bm_fail(e, BM_BUG, "a %s token without organisation", bm_api_roles[c->role]);
    return in_reach(k, c, e);
}

/* --- one call ---------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc read_request(struct call *c, struct bm_error *e)
{
    json_error_t je;

    c->in = json_loadb((const char *)c->ask.request.p, c->ask.request.n, JSON_REJECT_DUPLICATES, &je);
    return json_is_object(c->in) ? BM_OK : bm_fail(e, BM_MALFORMED, "the request is not a JSON object");
}

/* Changes nothing, so that it may be asked as often as one likes. *ret_token: it was the token that was refused. */
static enum bm_rc judge(struct bm_keeper *k, struct bm_rd payload, struct call *c, bool *ret_token, struct bm_error *e)
{
    enum bm_rc rc = bm_api_ask_parse(payload, &c->ask, e);

    *ret_token = false;
    if (rc == BM_OK && bm_keeper_now(k, &c->now, NULL) != BM_OK)
        c->now = k->clock_high; /* what the clock forbids, the acts refuse themselves */
    if (rc != BM_OK)
        return rc;
    *ret_token = true;
    rc = find_token(k, c, e);
    if (rc == BM_OK)
        rc = find_role(c->token.role, &c->role, e);
    if (rc != BM_OK)
        return rc;
    *ret_token = false;
    find_scope(c);
    rc = read_request(c, e);
    return rc == BM_OK ? permitted(k, c, e) : rc;
}

struct bm_api_plan bm_api_plan(struct bm_keeper *k, struct bm_rd payload)
{
    BM_CLEANUP(call_done) struct call c = { 0 };
    bool token;

    if (judge(k, payload, &c, &token, NULL) != BM_OK)
        return (struct bm_api_plan){ .granted = false };
    return (struct bm_api_plan){ .granted = true, .writes = c.op->writes, .joins = c.op->joins };
}

/* Refusals are kept for `birthmark why`, but those of a guesser only until he is one. */
static enum bm_rc write_down(struct bm_keeper *k, const struct call *c, bool token, struct bm_error *why)
{
    struct bm_refusal r = { .at = c->now, .protocol = "api" };
    struct bm_error lost = { 0 };

    if (token && too_many(k, c->ask.peer, c->now))
        return bm_refuse(why, BM_AGAIN, "too-many-attempts", "too many wrong tokens have come from this address; wait a minute");
    memcpy(r.correlation, c->ask.correlation, sizeof r.correlation);
    memcpy(r.peer, c->ask.peer, sizeof r.peer);
    snprintf(r.code, sizeof r.code, "%s", bm_error_code(why));
    snprintf(r.what, sizeof r.what, "%s", why->what);
    if (bm_record_refused(k, c->now, &r, &lost) != BM_IO)
        return why->rc;
    *why = lost;
    return BM_IO;
}

static enum bm_rc note_use(struct bm_keeper *k, const struct call *c, struct bm_error *e)
{
    enum bm_rc rc;

    if (c->now - c->token.last_used_at < USED_EVERY_S)
        return BM_OK;
    if (c->op->joins)
        return bm_token_set_used(k->store, c->token.id, c->now, e);
    rc = bm_store_begin(k->store, e);
    if (rc == BM_OK)
        rc = bm_token_set_used(k->store, c->token.id, c->now, e);
    rc = bm_keeper_settle(k, rc, e);
    return rc != BM_OK && bm_store_collided(k->store) ? BM_OK : rc; /* another host has just noted it */
}

static void log_call(const struct call *c, const char *outcome)
{
    char peer[4 * sizeof c->ask.peer];

    bm_log(BM_LOG_DEBUG, "judged", "correlation=%s protocol=api op=%s actor=%s outcome=%s peer=%s", c->ask.correlation,
           c->op != NULL ? c->op->name : "-", c->actor[0] != '\0' ? c->actor : "-", outcome,
           bm_text_escape(bm_rd_str(c->ask.peer), peer, sizeof peer));
}

static enum bm_rc run_granted(struct bm_keeper *k, const struct call *c, struct bm_buf *out, struct bm_error *e)
{
    enum bm_rc rc;

    /* Planned as a refusal, and granted a moment later: it would end the transaction of others. */
    if (!c->op->joins && bm_store_in_transaction(k->store))
        return bm_refuse(e, BM_AGAIN, "try-again", "ask again");
    rc = note_use(k, c, e);
    if (rc != BM_OK)
        return rc;
    k->scope = c->scope.of == BM_SCOPE_ALL || c->op->reach == BM_REACH_STORY ? NULL : &c->scope;
    rc = bm_run_request(k, c->in, c->ask.blob, c->actor, out, e);
    k->scope = NULL;
    return rc;
}

enum bm_rc bm_run_api(struct bm_keeper *k, struct bm_rd payload, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(call_done) struct call c = { 0 };
    bool token;
    enum bm_rc rc = judge(k, payload, &c, &token, e);
    bool granted = rc == BM_OK;

    if (granted)
        rc = run_granted(k, &c, out, e);
    else if (c.ask.correlation[0] != '\0')
        rc = write_down(k, &c, token, e);
    log_call(&c, rc == BM_OK ? "ok" : bm_error_code(e));
    return rc;
}
