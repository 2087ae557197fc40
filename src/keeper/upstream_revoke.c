/* Revocations on their way to an upstream CA. */
#include "keeper/upstream_revoke.h"

#include "base/log.h"

#include <stdio.h>

int bm_upstream_reason(int reason)
{
    static const bool good[] = { [1] = true, [3] = true, [4] = true, [5] = true, [9] = true };
    size_t at = reason > 0 ? (size_t)reason : 0;

    return at < BM_COUNT(good) && good[at] ? reason : 0;
}

/* --- the row --------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc record(struct bm_keeper *k, const struct bm_upstream_revocation *r, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { 0 };
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char serial[2 * BM_SERIAL_LEN + 1];
    enum bm_rc rc = bm_credential_by_id(k->store, r->credential_id, &c, e);

    if (rc == BM_OK)
        rc = bm_ca_by_id(k->store, r->ca_id, &ca, e);
    if (rc != BM_OK)
        return rc;
    bm_hex(c.serial, BM_SERIAL_LEN, serial);
    bm_log(strcmp(r->state, BM_UPSTREAM_FAILED) == 0 ? BM_LOG_WARN : BM_LOG_INFO, "upstream",
           "ca=%s serial=%s revocation=%s code=%s what=\"%s\"", ca.name, serial, r->state, r->code, r->what);
    fields = json_pack("{s:s, s:s, s:s, s:s, s:s}", "serial", serial, "ca", ca.name, "state", r->state, "code", r->code, "what",
                       r->what);
    return bm_record(k, now, "upstream.revocation", fields, e);
}

/* why NULL: there is nothing to explain. */
static enum bm_rc move(struct bm_keeper *k, struct bm_upstream_revocation *r, const char *state, const struct bm_error *why,
                       int64_t now, struct bm_error *e)
{
    snprintf(r->state, sizeof r->state, "%s", state);
    snprintf(r->code, sizeof r->code, "%s", why != NULL ? bm_error_code(why) : "");
    snprintf(r->what, sizeof r->what, "%s", why != NULL ? why->what : "");
    r->at = now;
    return bm_upstream_revocation_set(k->store, r, e);
}

static enum bm_rc end(struct bm_keeper *k, struct bm_upstream_revocation *r, const char *state, const struct bm_error *why,
                      int64_t now, struct bm_error *e)
{
    enum bm_rc rc = move(k, r, state, why, now, e);

    return rc == BM_OK ? record(k, r, now, e) : rc;
}

/* NULL: it can be told. */
static const char *why_not(const struct bm_upstream *u)
{
    const struct bm_upstream_driver *d = bm_upstream_driver_find(u->driver);
    char text[8];

    if (d == NULL || d->revoking == NULL)
        return d != NULL && d->unrevoked != NULL ? d->unrevoked : "this program has no way to tell it";
    bm_upstream_option(u, "revoke", text, sizeof text);
    return strcmp(text, "no") == 0 ? "--options revoke=no: it is not told of revocations" : NULL;
}

/* Said at once, so that whoever revokes hears of it. */
static enum bm_rc check_able(struct bm_keeper *k, struct bm_upstream_revocation *r, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_upstream_done) struct bm_upstream u = { 0 };
    struct bm_error why;
    enum bm_rc rc = bm_upstream_get(k->store, r->ca_id, &u, e);
    const char *text = rc == BM_OK ? why_not(&u) : NULL;

    if (rc != BM_OK || text == NULL)
        return rc;
    (void)bm_refuse(&why, BM_DENIED, "upstream-not-told", "%s", text);
    return end(k, r, BM_UPSTREAM_UNABLE, &why, now, e);
}

enum bm_rc bm_upstream_revoked(struct bm_keeper *k, int64_t credential_id, int64_t now, struct bm_error *e)
{
    struct bm_upstream_revocation r = { 0 };
    bool added;
    enum bm_rc rc = bm_upstream_revocation_add(k->store, credential_id, now, &added, e);

    if (rc != BM_OK || !added)
        return rc;
    rc = bm_upstream_revocation_get(k->store, credential_id, &r, e);
    return rc == BM_OK ? check_able(k, &r, now, e) : rc;
}

enum bm_rc bm_upstream_revoke_again(struct bm_keeper *k, int64_t credential_id, int64_t now, struct bm_error *e)
{
    struct bm_upstream_revocation r = { 0 };
    bool added; /* it was revoked when upstream CAs were not told yet */
    enum bm_rc rc = bm_upstream_revocation_add(k->store, credential_id, now, &added, e);

    if (rc == BM_OK)
        rc = bm_upstream_revocation_get(k->store, credential_id, &r, e);
    if (rc == BM_NOTFOUND ||
        (rc == BM_OK && !added && strcmp(r.state, BM_UPSTREAM_FAILED) != 0 && strcmp(r.state, BM_UPSTREAM_UNABLE) != 0))
        return bm_fail(e, BM_CONFLICT, "this certificate has been revoked before");
    if (rc == BM_OK)
        rc = end(k, &r, BM_UPSTREAM_WAITING, NULL, now, e);
    return rc == BM_OK ? check_able(k, &r, now, e) : rc;
}

enum bm_rc bm_upstream_revocation_tell(struct bm_keeper *k, int64_t credential_id, json_t *out, struct bm_error *e)
{
    struct bm_upstream_revocation r = { 0 };
    enum bm_rc rc = bm_upstream_revocation_get(k->store, credential_id, &r, e);

    if (rc != BM_OK)
        return rc == BM_NOTFOUND ? BM_OK : rc;
    json_object_set_new(out, "upstream", json_string(r.state));
    json_object_set_new(out, "upstream_what", json_string(r.what));
    return BM_OK;
}

/* --- the errand ------------------------------------------------------------------------------------------------------------------ */
/* Payload: the credential's id, the CA's, the driver's state. What is to be revoked is looked up for each step. */
struct revoking {
    struct bm_upstream_way w;
    struct bm_credential c;
    struct bm_ca ca;
};

static void revoking_done(struct revoking *r)
{
    bm_upstream_way_done(&r->w);
    bm_credential_done(&r->c);
    bm_ca_done(&r->ca);
}

static void write_payload(struct bm_buf *out, const struct revoking *r, struct bm_rd state)
{
    out->max = BM_UPSTREAM_STATE_MAX + 16;
    bm_buf_uint(out, 8, (uint64_t)r->c.id);
    bm_buf_uint(out, 8, (uint64_t)r->ca.id);
    bm_buf_put(out, state.p, state.n);
}

static enum bm_rc read_payload(const struct bm_errand *x, int64_t *ret_credential, int64_t *ret_ca, struct bm_rd *ret_state,
                               struct bm_error *e)
{
    struct bm_rd in = bm_buf_rd(&x->payload);

    if (!bm_rd_i64(&in, ret_credential) || !bm_rd_i64(&in, ret_ca))
        return bm_fail(e, BM_BUG, "errand %lld: its request is damaged", (long long)x->id);
    *ret_state = in;
    return BM_OK;
}

static enum bm_rc open_way(struct bm_keeper *k, int64_t credential_id, int64_t ca_id, int64_t errand_id, int64_t now,
                           struct revoking *ret, struct bm_error *e)
{
    enum bm_rc rc = bm_upstream_way_open(k, ca_id, errand_id, now, &ret->w, e);

    if (rc == BM_OK && ret->w.driver->revoking == NULL)
        rc = bm_fail(e, BM_BUG, "driver '%s' has no word for a revocation", ret->w.driver->name);
    if (rc == BM_OK)
        rc = bm_credential_by_id(k->store, credential_id, &ret->c, e);
    if (rc == BM_OK)
        rc = bm_ca_by_id(k->store, ca_id, &ret->ca, e);
    ret->w.job.cert = bm_buf_rd(&ret->c.cert);
    ret->w.job.ca = bm_buf_rd(&ret->ca.cert);
    ret->w.job.reason = ret->c.reason;
    return rc;
}

static enum bm_rc open_errand(struct bm_keeper *k, const struct bm_errand *x, int64_t now, struct revoking *ret, struct bm_error *e)
{
    int64_t credential_id = 0, ca_id = 0;
    enum bm_rc rc = read_payload(x, &credential_id, &ca_id, &ret->w.job.state, e);

    return rc == BM_OK ? open_way(k, credential_id, ca_id, x->id, now, ret, e) : rc;
}

static enum bm_rc make_task(struct bm_keeper *k, const struct bm_errand *x, int64_t now, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(revoking_done) struct revoking r = { 0 };
    enum bm_rc rc = open_errand(k, x, now, &r, e);

    return rc == BM_OK ? r.w.driver->revoking->task(&r.w.job, ret, e) : rc;
}

/* Only a refusal that counts is one: whoever can write into a connection could else stop a revocation for good. */
static enum bm_rc weigh(enum bm_rc rc, struct bm_error *e)
{
    struct bm_error told;

    if (rc == BM_OK || rc == BM_AGAIN || rc == BM_IO || rc == BM_BUG || strcmp(bm_error_code(e), "upstream-refused") == 0)
        return rc;
    told = *e;
    return bm_refuse(e, BM_AGAIN, "upstream-waits", "%s", told.what);
}

static enum bm_rc go_on(const struct revoking *r, const struct bm_upstream_got *g, struct bm_errand_outcome *ret,
                        struct bm_error *e)
{
    enum bm_rc rc = bm_buf_check(&g->state, e);

    if (rc != BM_OK)
        return rc;
    ret->wait_s = g->wait_s;
    if (g->state.n != 0)
        write_payload(&ret->payload, r, bm_buf_rd(&g->state));
    return BM_AGAIN;
}

static enum bm_rc finish(struct bm_keeper *k, const struct revoking *r, int64_t now, struct bm_error *e)
{
    struct bm_upstream_revocation row;
    enum bm_rc rc = bm_upstream_revocation_get(k->store, r->c.id, &row, e);

    if (rc == BM_OK)
        rc = end(k, &row, BM_UPSTREAM_DONE, NULL, now, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "writing down a revocation at an upstream CA");
}

static enum bm_rc take_answer(struct bm_keeper *k, const struct bm_errand *x, const struct bm_task_answer *a, int64_t now,
                              struct bm_errand_outcome *ret, struct bm_error *e)
{
    BM_CLEANUP(revoking_done) struct revoking r = { 0 };
    BM_CLEANUP(bm_upstream_got_done)
    struct bm_upstream_got g = { .room = { .max = BM_TASK_ANSWER_MAX }, .state = { .max = BM_UPSTREAM_STATE_MAX } };
    enum bm_rc rc = open_errand(k, x, now, &r, e);

    if (rc == BM_OK)
        rc = weigh(r.w.driver->revoking->read(&r.w.job, a, &g, e), e);
    if (rc == BM_AGAIN)
        return go_on(&r, &g, ret, e);
    return rc == BM_OK ? finish(k, &r, now, e) : rc;
}

static enum bm_rc give_up(struct bm_keeper *k, const struct bm_errand *x, const struct bm_error *why, int64_t now,
                          struct bm_error *e)
{
    struct bm_upstream_revocation r = { 0 };
    int64_t credential_id = 0, ca_id = 0;
    struct bm_rd state;
    enum bm_rc rc = read_payload(x, &credential_id, &ca_id, &state, e);

    if (rc == BM_OK)
        rc = bm_upstream_revocation_get(k->store, credential_id, &r, e);
    if (rc == BM_OK)
        rc = end(k, &r, BM_UPSTREAM_FAILED, why, now, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "writing down that an upstream CA does not revoke");
}

const struct bm_errand_kind bm_errand_upstream_revoke = {
    .name = BM_UPSTREAM_REVOKE_ERRAND,
    .tries = BM_ERRAND_INSISTS,
    .first_s = 1,
    .most_s = 900,
    .life_s = 30 * 86400,
    .kept_s = 60, /* the row has what came of it */
    .task = make_task,
    .done = take_answer,
    .failed = give_up,
};

/* --- from the row to the errand ---------------------------------------------------------------------------------------------------- */
static enum bm_rc queue(struct bm_keeper *k, struct bm_upstream_revocation *row, const struct revoking *r, int64_t now,
                        struct bm_error *e)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { .kind = BM_UPSTREAM_REVOKE_ERRAND };
    BM_CLEANUP(bm_buf_done) struct bm_buf state = { .max = BM_UPSTREAM_STATE_MAX };
    const struct bm_upstream_revoking *how = r->w.driver->revoking;
    char serial[2 * BM_SERIAL_LEN + 1];
    enum bm_rc rc = how->start != NULL ? how->start(&r->w.job, &state, e) : BM_OK;

    if (rc == BM_OK)
        rc = bm_buf_check(&state, e);
    if (rc != BM_OK)
        return rc;
    bm_hex(r->c.serial, BM_SERIAL_LEN, serial);
    snprintf(x.subject, sizeof x.subject, "%lld %s", (long long)row->ca_id, serial);
    write_payload(&x.payload, r, bm_buf_rd(&state));
    rc = bm_errand_add(k, &x, now, e);
    return rc == BM_OK ? move(k, row, BM_UPSTREAM_ASKED, NULL, now, e) : rc;
}

/* One that cannot be asked must not stand before the others. No room among the errands: later, all of them. */
static enum bm_rc ask(struct bm_keeper *k, struct bm_upstream_revocation *row, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(revoking_done) struct revoking r = { 0 };
    struct bm_error why = { 0 };
    enum bm_rc rc = open_way(k, row->credential_id, row->ca_id, 0, now, &r, &why);

    if (rc == BM_OK)
        rc = queue(k, row, &r, now, &why);
    if (rc == BM_OK || rc == BM_AGAIN)
        return rc == BM_AGAIN ? BM_NOTFOUND : BM_OK;
    *e = why;
    return rc == BM_IO ? rc : end(k, row, BM_UPSTREAM_FAILED, &why, now, e);
}

static enum bm_rc look(struct bm_keeper *k, int64_t now, struct bm_error *e)
{
    struct bm_upstream_revocation row;

    (void)now;
    return bm_upstream_revocation_due(k->store, BM_UPSTREAM_REVOKE_AT_ONCE, &row, e);
}

static enum bm_rc next(struct bm_keeper *k, int64_t now, struct bm_error *e)
{
    struct bm_upstream_revocation row;
    enum bm_rc rc = bm_upstream_revocation_due(k->store, BM_UPSTREAM_REVOKE_AT_ONCE, &row, e);

    return rc == BM_OK ? ask(k, &row, now, e) : rc;
}

const struct bm_chore bm_chore_upstream = { "upstream", "tell upstream CAs of revocations", look, next };
