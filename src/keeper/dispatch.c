/* One command in, one answer out. */
#include "keeper/upstream.h"

#include "base/log.h"
#include "base/text.h"

#include <stdlib.h>

/* --- administrator's acts ------------------------------------------------------------------------------------------------------ */
const struct bm_admin_op *bm_admin_op_find(const char *name)
{
    for (const struct bm_admin_op *op = bm_admin_ops; op->name != NULL; op++)
        if (name != NULL && strcmp(op->name, name) == 0)
            return op;
    return NULL;
}

/* Is `word` one of those in the blank-separated list? */
static bool listed(const char *list, const char *word)
{
    size_t n = strlen(word);

    if (n == 0 || strpbrk(word, " |") != NULL)
        return false;
    for (const char *p = list; (p = strstr(p, word)) != NULL; p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    return false;
}

#define WHOLE BM_MEMBER_WHOLE
#define YES_NO BM_MEMBER_YES_NO
#define MAP BM_MEMBER_MAP
#define LIST BM_MEMBER_LIST

/* What a member may be, for all operations alike; what is not here is text. A value of the wrong kind is never taken for an absent one. */
static const struct {
    const char *member;
    enum bm_member_kind kind;
} kinds[] = {
    { "after", WHOLE },          { "limit", WHOLE },    { "quota", WHOLE },   { "manifest", WHOLE },
    { "from", WHOLE },           { "to", WHOLE },       { "index", WHOLE },   { "size", WHOLE },
    { "full", YES_NO },          { "dry_run", YES_NO }, { "policy", MAP },    { "endpoints", LIST },
    { "delta", YES_NO },         { "force", YES_NO },   { "job", WHOLE },     { "uses", WHOLE },
    { "count", WHOLE },          { "number", WHOLE },   { "udids", LIST },    { "listed", YES_NO },
    { "crl_partitions", WHOLE }, { "reenrol", YES_NO }, { "keygen", YES_NO }, { "existing_key", YES_NO },
};

static const char *const kind_words[BM_MEMBER_KINDS] = { "text", "a whole number", "true or false", "an object", "an array" };

enum bm_member_kind bm_admin_member_kind(const char *member)
{
    for (size_t i = 0; i < BM_COUNT(kinds); i++)
        if (strcmp(kinds[i].member, member) == 0)
            return kinds[i].kind;
    return BM_MEMBER_TEXT;
}

static bool is_kind(const json_t *v, enum bm_member_kind kind)
{
    const bool is[BM_MEMBER_KINDS] = { json_is_string(v), json_is_integer(v), json_is_boolean(v), json_is_object(v),
                                       json_is_array(v) };

    return is[kind];
}

static enum bm_rc check_members(const struct bm_admin_op *op, const json_t *in, struct bm_error *e)
{
    const char *member;
    const char *p = op->members;
    json_t *v;

    json_object_foreach ((json_t *)(uintptr_t)in, member, v) {
        if (strcmp(member, "op") != 0 && !listed(op->members, member))
            return bm_fail(e, BM_USAGE, "%s does not take '%.40s'", op->name, member);
        if (!is_kind(v, bm_admin_member_kind(member)))
            return bm_fail(e, BM_USAGE, "%s: '%s' must be %s", op->name, member, kind_words[bm_admin_member_kind(member)]);
    }
    while (*p != '\0' && *p != '|') {
        char word[32];
        size_t n = strcspn(p, " |");

        snprintf(word, sizeof word, "%.*s", (int)n, p);
        if (n != 0 && json_object_get(in, word) == NULL)
            return bm_fail(e, BM_USAGE, "%s needs '%s'", op->name, word);
        p += n;
        p += strspn(p, " ");
    }
    return BM_OK;
}

static enum bm_rc run_op(struct bm_keeper *k, const json_t *in, struct bm_rd blob, const char *actor, json_t **ret,
                         struct bm_error *e)
{
    const struct bm_admin_op *op = bm_admin_op_find(bm_arg_text(in, "op"));
    BM_CLEANUP(bm_keeper_jsonp) json_t *out = json_object();
    enum bm_rc rc;

    if (op == NULL)
        return bm_fail(e, BM_USAGE, "no such operation");
    if (out == NULL)
        return bm_fail(e, BM_NOMEM, "no memory");
    rc = check_members(op, in, e);
    if (rc != BM_OK)
        return rc;
    k->actor = actor;
    rc = op->run(k, in, blob, out, e);
    k->actor = NULL;
    if (op->writes && !op->joins)
        k->view_changed = k->host.touched = true;
    if (rc == BM_OK)
        *ret = BM_MOVE(out);
    return rc;
}

static const struct bm_admin_op *op_of(const json_t *in)
{
    return bm_admin_op_find(bm_arg_text(in, "op"));
}

enum { ADMIN_TRIES = 20 }; /* when another host changes the same at the same time */

static enum bm_rc write_once(struct bm_keeper *k, const struct bm_admin_op *op, const json_t *request, struct bm_rd blob,
                             const char *actor, json_t **ret_reply, struct bm_error *e)
{
    enum bm_rc rc = bm_keeper_begin(k, e);

    if (rc == BM_OK)
        rc = run_op(k, request, blob, actor, ret_reply, e);
    rc = bm_keeper_settle(k, rc, e);
    if (!op->joins)
        bm_cache_drop(k);
    if (rc != BM_OK) {
        json_decref(*ret_reply);
        *ret_reply = NULL;
    }
    return rc;
}

enum bm_rc bm_keeper_admin(struct bm_keeper *k, const json_t *request, struct bm_rd blob, const char *actor, json_t **ret_reply,
                           struct bm_error *e)
{
    const struct bm_admin_op *op = op_of(request);
    int tries = 0;
    enum bm_rc rc;

    *ret_reply = NULL;
    if (op == NULL || !op->writes)
        return run_op(k, request, blob, actor, ret_reply, e);
    do
        rc = write_once(k, op, request, blob, actor, ret_reply, e);
    while (rc != BM_OK && bm_store_collided(k->store) && ++tries < ADMIN_TRIES);
    return rc;
}

/* --- frames -------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc split_admin(struct bm_rd payload, json_t **ret, struct bm_rd *ret_blob, struct bm_error *e)
{
    struct bm_rd text;
    json_error_t je;

    if (!bm_rd_vec(&payload, BM_COMMAND_MAX, &text))
        return bm_fail(e, BM_MALFORMED, "administrator's command: cut short");
    *ret = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(*ret))
        return bm_fail(e, BM_MALFORMED, "administrator's command is not a JSON object");
    *ret_blob = payload;
    return BM_OK;
}

static bool admin_flags(const struct bm_command_in *c, bool *ret_writes, bool *ret_joins)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *in = NULL;
    struct bm_rd blob;
    const struct bm_admin_op *op;

    if (split_admin(c->payload, &in, &blob, NULL) != BM_OK || (op = op_of(in)) == NULL)
        return false;
    *ret_writes = op->writes;
    *ret_joins = op->joins;
    return true;
}

/* A refused API call is written down with the others of its batch; one that is granted is as the administrator's own. */
static bool api_flags(struct bm_keeper *k, const struct bm_command_in *c, bool *ret_writes, bool *ret_joins)
{
    struct bm_api_plan p = bm_api_plan(k, c->payload);

    *ret_writes = p.writes || !p.granted;
    *ret_joins = p.joins || !p.granted;
    return true;
}

static bool op_flags(struct bm_keeper *k, const struct bm_command_in *c, bool *ret_writes, bool *ret_joins)
{
    return c->type == BM_CMD_API ? api_flags(k, c, ret_writes, ret_joins) : admin_flags(c, ret_writes, ret_joins);
}

/* What needs the time and a transaction, and nothing else. */
typedef enum bm_rc timed_fn(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out, struct bm_error *e);
static timed_fn *const timed[] = {
    [BM_CMD_TRUST] = bm_run_trust,   [BM_CMD_CRL] = bm_run_crl, [BM_CMD_OCSP] = bm_run_ocsp,   [BM_CMD_SCEP] = bm_run_scep,
    [BM_CMD_ERRAND] = bm_run_errand, [BM_CMD_CMP] = bm_run_cmp, [BM_CMD_BRSKI] = bm_run_brski, [BM_CMD_ACME] = bm_run_acme,
};

static timed_fn *timed_of(uint8_t type)
{
    return type < BM_COUNT(timed) ? timed[type] : NULL;
}

bool bm_command_needs_transaction(struct bm_keeper *k, const struct bm_command_in *c)
{
    bool writes = false, joins = false;

    if (c->courier != (c->type == BM_CMD_ERRAND))
        return false;
    if (c->type == BM_CMD_ADMIN || c->type == BM_CMD_API)
        return op_flags(k, c, &writes, &joins) && joins;
    return c->type == BM_CMD_ENROL || c->type == BM_CMD_STATUS || timed_of(c->type) != NULL;
}

bool bm_command_stands_alone(struct bm_keeper *k, const struct bm_command_in *c)
{
    bool writes = false, joins = false;

    if (c->type == BM_CMD_VIEW)
        return true;
    return (c->type == BM_CMD_ADMIN || c->type == BM_CMD_API) && (!op_flags(k, c, &writes, &joins) || !joins);
}

enum bm_rc bm_run_request(struct bm_keeper *k, const json_t *in, struct bm_rd blob, const char *actor, struct bm_buf *out,
                          struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *reply = NULL;
    const struct bm_admin_op *op = op_of(in);
    char *text;
    enum bm_rc rc;

    if (op != NULL && op->joins)
        rc = run_op(k, in, blob, actor, &reply, e);
    else
        rc = bm_keeper_admin(k, in, blob, actor, &reply, e);
    if (rc != BM_OK)
        return rc;
    text = json_dumps(reply, JSON_COMPACT);
    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for an answer");
    bm_buf_str(out, text);
    bm_wipe(text, strlen(text)); /* codes are shown this way */
    free(text);
    return BM_OK;
}

static enum bm_rc run_admin(struct bm_keeper *k, const struct bm_command_in *c, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *in = NULL;
    struct bm_rd blob;
    enum bm_rc rc = c->admin ? split_admin(c->payload, &in, &blob, e)
                             : bm_refuse(e, BM_DENIED, "not-administrator", "a worker may not administer");

    return rc == BM_OK ? bm_run_request(k, in, blob, c->actor, out, e) : rc;
}

/* The keeper's line of a request's trace; the worker's has the same correlation. The words come from a worker, so they are escaped. What was
 * granted counts only once the batch is committed, and that is not known here yet: hence "judged". */
static void log_judged(const struct bm_enrol *c, const char *outcome)
{
    char correlation[4 * sizeof c->correlation], protocol[4 * sizeof c->protocol], peer[4 * sizeof c->peer];

    bm_log(BM_LOG_DEBUG, "judged", "correlation=%s protocol=%s outcome=%s peer=%s",
           bm_text_escape(bm_rd_str(c->correlation), correlation, sizeof correlation),
           bm_text_escape(bm_rd_str(c->protocol), protocol, sizeof protocol), outcome,
           bm_text_escape(bm_rd_str(c->peer), peer, sizeof peer));
}

/* A refusal is written down in the same transaction; only the disk can stop that. */
static enum bm_rc settle_judged(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, enum bm_rc rc, struct bm_error *e)
{
    struct bm_error lost;

    log_judged(c, rc == BM_OK ? "ok" : bm_error_code(e));
    if (rc == BM_OK || rc == BM_IO || bm_record_refusal(k, c, now, e, &lost) != BM_IO)
        return rc;
    *e = lost;
    return BM_IO;
}

enum bm_rc bm_judge_enrol(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    return settle_judged(k, c, now, bm_run_enrol(k, c, now, out, e), e);
}

typedef enum bm_rc judged_fn(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_buf *out, struct bm_error *e);

static enum bm_rc run_judged(struct bm_keeper *k, const struct bm_command_in *c, judged_fn *run, struct bm_buf *out,
                             struct bm_error *e)
{
    struct bm_enrol cmd;
    int64_t now;
    enum bm_rc rc = bm_enrol_parse(c->payload, &cmd, e);

    if (rc != BM_OK)
        return rc;
    rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = run(k, &cmd, now, out, e);
    else
        now = k->clock_high; /* the refusal is kept under the last time that was believed */
    return settle_judged(k, &cmd, now, rc, e);
}

static enum bm_rc run_challenge(struct bm_keeper *k, struct bm_buf *out, struct bm_error *e)
{
    uint8_t challenge[BM_CHALLENGE_LEN];
    int64_t now;
    enum bm_rc rc = bm_keeper_now(k, &now, e);

    if (rc != BM_OK)
        return rc;
    bm_challenge_make(k, now, challenge);
    bm_buf_put(out, challenge, sizeof challenge);
    return BM_OK;
}

static enum bm_rc run_timed(struct bm_keeper *k, const struct bm_command_in *c, struct bm_buf *out, struct bm_error *e)
{
    int64_t now;
    enum bm_rc rc = bm_keeper_now(k, &now, e);

    return rc == BM_OK ? timed_of(c->type)(k, c->payload, now, out, e) : rc;
}

enum bm_rc bm_command_run(struct bm_keeper *k, const struct bm_command_in *c, struct bm_buf *out, struct bm_error *e)
{
    int64_t now;
    enum bm_rc rc;

    if (c->courier != (c->type == BM_CMD_ERRAND))
        return bm_refuse(e, BM_DENIED, "not-courier", "errands are the courier's, and all else is not");
    if (timed_of(c->type) != NULL)
        return run_timed(k, c, out, e);
    switch (c->type) {
    case BM_CMD_CHALLENGE:
        return c->payload.n == 0 ? run_challenge(k, out, e) : bm_fail(e, BM_MALFORMED, "challenge takes no payload");
    case BM_CMD_ENROL:
        return run_judged(k, c, bm_run_enrol, out, e);
    case BM_CMD_STATUS:
        return run_judged(k, c, bm_run_status, out, e);
    case BM_CMD_VIEW:
        rc = bm_keeper_now(k, &now, e);
        return bm_run_view(k, rc == BM_OK ? now : k->clock_high, out, e);
    case BM_CMD_ADMIN:
        return run_admin(k, c, out, e);
    case BM_CMD_API:
        return bm_run_api(k, c->payload, out, e);
    default:
        return bm_fail(e, BM_MALFORMED, "no such command: %u", c->type);
    }
}

uint32_t bm_retry_after(const struct bm_error *e)
{
    if (strcmp(e->code, "too-many-attempts") == 0)
        return BM_CODE_TRIES_S;
    if (strcmp(e->code, "approval-pending") == 0)
        return BM_APPROVAL_RETRY_S;
    if (strcmp(e->code, "upstream-pending") == 0)
        return BM_UPSTREAM_RETRY_S;
    return e->rc == BM_AGAIN || e->rc == BM_IO || e->rc == BM_NOMEM ? 30 : 0;
}
