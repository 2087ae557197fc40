#include "keeper/job.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { CA_COMPROMISE = 2 }; /* RFC 5280 section 5.3.1 */

/* One step at work. */
struct step {
    struct bm_keeper *k;
    struct bm_job *job;
    struct bm_selection selection;
    int64_t ca_id; /* of a BM_JOB_CA */
    int64_t now, began_ms;
};

static bool time_left(const struct step *s)
{
    return bm_clock_steady_ms() - s->began_ms < BM_CHORE_MS;
}

/* --- devices ---------------------------------------------------------------------------------------------------------------------- */
struct page {
    struct bm_job_item of[BM_JOB_PAGE];
    size_t n;
};

static enum bm_rc keep_item(void *arg, const struct bm_job_item *i, struct bm_error *e)
{
    struct page *p = arg;

    (void)e;
    p->of[p->n++] = *i;
    return BM_OK;
}

static enum bm_rc treat(struct step *s, const struct bm_job_item *i, struct bm_error *e)
{
    struct bm_error why = { 0 };
    bool refused;
    enum bm_rc rc = bm_selection_apply(s->k, &s->selection, i, false, s->now, s->job, &refused, &why);

    if (rc != BM_OK) {
        *e = why;
        return rc;
    }
    if (refused && s->job->refused <= BM_JOB_REFUSALS_MAX)
        rc = bm_job_refusal_add(s->k->store, s->job->id, i->udid, bm_error_code(&why), why.what, e);
    if (rc == BM_OK && s->job->listed)
        rc = bm_job_item_drop(s->k->store, i->id, e); /* what is done with does not fill the registry */
    s->job->looked_at++;
    s->job->cursor_id = i->id;
    return rc;
}

static enum bm_rc devices(struct step *s, bool *ret_end, struct bm_error *e)
{
    struct page p = { .n = 0 };
    enum bm_rc rc = s->job->listed ? bm_job_each_item(s->k->store, s->job->id, s->job->cursor_id, BM_JOB_PAGE, keep_item, &p, e)
                                   : bm_job_each_device(s->k->store, s->job->cursor_id, BM_JOB_PAGE, keep_item, &p, e);

    *ret_end = p.n == 0;
    for (size_t i = 0; rc == BM_OK && i < p.n && (i == 0 || time_left(s)); i++) {
        *ret_end = p.of[i].id > s->job->last_id;
        if (*ret_end)
            break;
        rc = treat(s, &p.of[i], e);
    }
    return rc;
}

/* --- what a CA issued -------------------------------------------------------------------------------------------------------------- */
struct briefs {
    struct bm_credential_brief of[BM_JOB_PAGE];
    size_t n;
};

static enum bm_rc keep_brief(void *arg, const struct bm_credential_brief *c, struct bm_error *e)
{
    struct briefs *b = arg;

    (void)e;
    b->of[b->n++] = *c;
    return BM_OK;
}

static enum bm_rc revoke_brief(struct step *s, const struct bm_credential_brief *c, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    if (c->ca_id == s->ca_id && strcmp(c->state, "active") == 0) {
        rc = bm_revoke_credential(s->k, c->id, CA_COMPROMISE, s->now, e);
        s->job->done++;
        s->job->revoked++;
    } else if (c->ca_id == s->ca_id) {
        s->job->already++;
    }
    s->job->looked_at++;
    s->job->cursor_id = c->id;
    return rc;
}

static enum bm_rc credentials(struct step *s, bool *ret_end, struct bm_error *e)
{
    struct briefs b = { .n = 0 };
    enum bm_rc rc = bm_credential_each_brief(s->k->store, s->job->cursor_id, BM_JOB_PAGE, keep_brief, &b, e);

    *ret_end = b.n == 0;
    for (size_t i = 0; rc == BM_OK && i < b.n && (i == 0 || time_left(s)); i++) {
        *ret_end = b.of[i].id > s->job->last_id;
        if (*ret_end)
            break;
        rc = revoke_brief(s, &b.of[i], e);
    }
    return rc;
}

static enum bm_rc find_ca(struct bm_keeper *k, const json_t *request, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    const char *name;
    enum bm_rc rc = bm_arg_name(request, "ca", &name, e);

    if (rc == BM_OK)
        rc = bm_ca_get(k->store, name, &ca, e);
    *ret = ca.id;
    return rc;
}

/* --- steps ------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc record_end(struct step *s, const char *event, struct bm_error *e)
{
    const struct bm_job *j = s->job;
    BM_CLEANUP(bm_keeper_jsonp)
    json_t *fields =
        json_pack("{s:I, s:s, s:I, s:I, s:I, s:I}", "job", (json_int_t)j->id, "act", j->act, "done", (json_int_t)j->done, "already",
                  (json_int_t)j->already, "refused", (json_int_t)j->refused, "revoked", (json_int_t)j->revoked);

    return fields != NULL ? bm_record(s->k, s->now, event, fields, e) : bm_fail(e, BM_NOMEM, "no memory for the audit log");
}

static enum bm_rc go(struct step *s, bool ca, struct bm_error *e)
{
    bool end = false;
    enum bm_rc rc;

    do /* one at least, however slow the machine */
        rc = ca ? credentials(s, &end, e) : devices(s, &end, e);
    while (rc == BM_OK && !end && time_left(s));
    if (rc != BM_OK)
        return rc;
    if (end) {
        snprintf(s->job->state, sizeof s->job->state, "done");
        s->job->ended_at = s->now;
        rc = record_end(s, "job.done", e);
    }
    return rc == BM_OK ? bm_job_put(s->k->store, s->job, e) : rc;
}

enum bm_rc bm_job_step(struct bm_keeper *k, struct bm_job *j, int64_t now, struct bm_error *e)
{
    struct step s = { .k = k, .job = j, .now = now, .began_ms = bm_clock_steady_ms() };
    BM_CLEANUP(bm_keeper_jsonp) json_t *request = NULL;
    bool ca = strcmp(j->act, BM_JOB_CA) == 0;
    const char *was = k->actor;
    char actor[96];
    enum bm_rc rc;

    if (strcmp(j->state, "running") != 0)
        return BM_OK;
    request = json_loads(j->request, 0, NULL);
    if (request == NULL)
        return bm_fail(e, BM_IO, "job %lld: what it is to do cannot be read", (long long)j->id);
    rc = ca ? find_ca(k, request, &s.ca_id, e) : bm_selection_read(k, j->act, request, &s.selection, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "job %lld", (long long)j->id);
    snprintf(actor, sizeof actor, "%s, job %lld", j->actor, (long long)j->id);
    k->actor = actor;
    rc = go(&s, ca, e);
    k->actor = was;
    return rc;
}

bool bm_jobs_step(struct bm_keeper *k, int64_t now)
{
    struct bm_job j;
    struct bm_error e;
    enum bm_rc rc = bm_job_running(k->store, &j, &e);

    if (rc == BM_NOTFOUND)
        return false;
    if (rc == BM_OK)
        rc = bm_keeper_begin(k, &e);
    if (rc == BM_OK) { /* another host may have taken a step since: what counts is the row as of now */
        rc = bm_job_running(k->store, &j, &e);
        rc = bm_keeper_settle(k, rc == BM_OK ? bm_job_step(k, &j, now, &e) : rc, &e);
    }
    if (rc != BM_OK && rc != BM_NOTFOUND && !bm_store_collided(k->store))
        bm_log(BM_LOG_ERROR, "job", "%s", e.what);
    return rc == BM_OK;
}

/* --- start ------------------------------------------------------------------------------------------------------------------------- */
static void free_text(char **p)
{
    free(*p);
}

static enum bm_rc keep_request(const json_t *request, struct bm_job *j, struct bm_error *e)
{
    BM_CLEANUP(free_text) char *text = json_dumps(request, JSON_COMPACT);

    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a job");
    if (strlen(text) >= sizeof j->request)
        return bm_fail(e, BM_LIMIT, "the request for a job may have %zu characters", sizeof j->request - 1);
    snprintf(j->request, sizeof j->request, "%s", text);
    return BM_OK;
}

static enum bm_rc record_start(struct bm_keeper *k, const struct bm_job *j, const json_t *request, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp)
    json_t *fields = json_pack("{s:I, s:s, s:O}", "job", (json_int_t)j->id, "act", j->act, "request", request);

    return fields != NULL ? bm_record(k, j->created_at, "job.started", fields, e)
                          : bm_fail(e, BM_NOMEM, "no memory for the audit log");
}

enum bm_rc bm_job_start(struct bm_keeper *k, const char *act, const json_t *request, int64_t now, json_t *out, struct bm_error *e)
{
    struct bm_job j = { .reason = -1, .created_at = now, .listed = json_is_true(json_object_get(request, "listed")) };
    enum bm_rc rc = keep_request(request, &j, e);

    snprintf(j.act, sizeof j.act, "%s", act);
    snprintf(j.state, sizeof j.state, "%s", j.listed ? "filling" : "running");
    snprintf(j.actor, sizeof j.actor, "%s", k->actor != NULL ? k->actor : "system");
    if (rc == BM_OK && !j.listed)
        rc = strcmp(act, BM_JOB_CA) == 0 ? bm_credential_last_id(k->store, &j.last_id, e)
                                         : bm_device_last_id(k->store, &j.last_id, e);
    if (rc == BM_OK)
        rc = bm_job_put(k->store, &j, e);
    if (rc == BM_OK)
        rc = record_start(k, &j, request, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "job", json_integer(j.id));
    json_object_set_new(out, "state", json_string(j.state));
    return BM_OK;
}
