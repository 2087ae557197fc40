/* Acts on many devices: asked for, looked at, stopped and gone on with. The work is in job.c. */
#include "keeper/job.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdio.h>

enum { REFUSALS_SHOWN = 20, LIST_STEP = 1000 };

static enum bm_rc check_act(const json_t *in, const char **ret, struct bm_error *e)
{
    enum bm_rc rc = bm_arg_name(in, "act", ret, e);

    return rc == BM_OK && strlen(*ret) >= sizeof((struct bm_job *)NULL)->act ? bm_fail(e, BM_USAGE, "no such act") : rc;
}

BM_ADMIN_HANDLER(bm_admin_bulk_start)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *request = json_copy((json_t *)(uintptr_t)in);
    struct bm_selection s;
    const char *act;
    int64_t now;
    enum bm_rc rc = check_act(in, &act, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_selection_read(k, act, in, &s, e);
    if (rc != BM_OK)
        return rc;
    json_object_del(request, "op");
    return bm_job_start(k, act, request, now, out, e);
}

static enum bm_rc load(struct bm_keeper *k, const json_t *in, struct bm_job *ret, int64_t *ret_now, struct bm_error *e)
{
    enum bm_rc rc = bm_keeper_now(k, ret_now, e);

    if (rc == BM_OK)
        rc = bm_job_get(k->store, bm_arg_int(in, "job", 0), ret, e);
    return rc == BM_NOTFOUND ? bm_fail(e, BM_NOTFOUND, "no such job; 'birthmark bulk list' shows them") : rc;
}

/* --- UDIDs, one a line --------------------------------------------------------------------------------------------------------- */
/* The next one; empty lines are passed over. BM_NOTFOUND: that was all. */
static enum bm_rc next_udid(struct bm_rd *in, uint8_t ret[BM_UDID_LEN], struct bm_error *e)
{
    while (in->n != 0) {
        struct bm_rd line = bm_rd_line(in);

        if (line.n == 0)
            continue;
        return bm_unhex(line, ret, BM_UDID_LEN) ? BM_OK : bm_fail(e, BM_USAGE, "a line of the list is no UDID of 64 hex digits");
    }
    return BM_NOTFOUND;
}

BM_ADMIN_HANDLER(bm_admin_bulk_add)
{
    uint8_t udid[BM_UDID_LEN];
    struct bm_job j;
    int64_t now;
    enum bm_rc rc = load(k, in, &j, &now, e);

    if (rc == BM_OK && strcmp(j.state, "filling") != 0)
        rc = bm_refuse(e, BM_CONFLICT, "job-state", "the job is %s; it takes no more devices", j.state);
    if (rc != BM_OK)
        return rc;
    for (int n = 0; rc == BM_OK; n++) {
        rc = n < LIST_STEP ? next_udid(&blob, udid, e) : bm_fail(e, BM_LIMIT, "more than %d devices at a time", LIST_STEP);
        if (rc == BM_OK)
            rc = bm_job_item_add(k->store, j.id, udid, e);
        j.total += rc == BM_OK;
    }
    if (rc == BM_NOTFOUND)
        rc = bm_job_put(k->store, &j, e);
    json_object_set_new(out, "total", json_integer(j.total));
    return rc;
}

/* --- dry runs -------------------------------------------------------------------------------------------------------------------- */
struct dry {
    struct bm_keeper *k;
    struct bm_selection selection;
    struct bm_job counts;
    int64_t now;
    json_t *refusals;
};

static enum bm_rc dry_item(void *arg, const struct bm_job_item *i, struct bm_error *e)
{
    struct dry *d = arg;
    char udid[2 * BM_UDID_LEN + 1];
    bool refused;
    enum bm_rc rc = bm_selection_apply(d->k, &d->selection, i, true, d->now, &d->counts, &refused, e);

    d->counts.looked_at++;
    d->counts.cursor_id = i->id;
    if (rc != BM_OK || !refused || json_array_size(d->refusals) == REFUSALS_SHOWN)
        return rc;
    bm_hex(i->udid, BM_UDID_LEN, udid);
    json_array_append_new(d->refusals, json_pack("{s:s, s:s, s:s}", "udid", udid, "code", bm_error_code(e), "what", e->what));
    return BM_OK;
}

static enum bm_rc dry_list(struct dry *d, struct bm_rd list, struct bm_error *e)
{
    struct bm_job_item i = { .id = 0 };
    enum bm_rc rc = BM_OK;

    while (rc == BM_OK && i.id++ < LIST_STEP) {
        rc = next_udid(&list, i.udid, e);
        if (rc == BM_OK)
            rc = dry_item(d, &i, e);
    }
    return rc == BM_NOTFOUND ? BM_OK : rc != BM_OK ? rc : bm_fail(e, BM_LIMIT, "at most %d devices at a time", LIST_STEP - 1);
}

BM_ADMIN_HANDLER(bm_admin_bulk_dry)
{
    struct dry d = { .k = k, .refusals = json_array() };
    const char *act;
    bool listed = json_is_true(json_object_get(in, "listed"));
    enum bm_rc rc = check_act(in, &act, e);

    json_object_set_new(out, "refusals", d.refusals);
    if (rc == BM_OK)
        rc = bm_selection_read(k, act, in, &d.selection, e);
    if (rc == BM_OK && listed)
        rc = dry_list(&d, blob, e);
    else if (rc == BM_OK)
        rc = bm_job_each_device(k->store, bm_arg_int(in, "after", 0), LIST_STEP, dry_item, &d, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "looked_at", json_integer(d.counts.looked_at));
    json_object_set_new(out, "done", json_integer(d.counts.done));
    json_object_set_new(out, "already", json_integer(d.counts.already));
    json_object_set_new(out, "refused", json_integer(d.counts.refused));
    json_object_set_new(out, "next", !listed && d.counts.looked_at == LIST_STEP ? json_integer(d.counts.cursor_id) : json_null());
    return BM_OK;
}

/* --- a job's life ---------------------------------------------------------------------------------------------------------------- */
static enum bm_rc show(struct bm_keeper *k, const struct bm_job *j, json_t *out, struct bm_error *e)
{
    char id[24];
    int64_t part = j->listed ? (j->total != 0 ? j->looked_at * 1000 / j->total : 1000)
                             : (j->last_id != 0 ? j->cursor_id * 1000 / j->last_id : 1000);
    enum bm_rc rc;

    snprintf(id, sizeof id, "%lld", (long long)j->id);
    rc = bm_admin_one(k, "job", "id", id, out, e);
    json_object_set_new(out, "part", json_integer(strcmp(j->state, "done") == 0 ? 1000 : part));
    return rc;
}

static enum bm_rc change(struct bm_keeper *k, const json_t *in, const char *state, const char *event, json_t *out,
                         struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    struct bm_job j;
    int64_t now;
    enum bm_rc rc = load(k, in, &j, &now, e);

    if (rc == BM_OK && (strcmp(j.state, "done") == 0 || strcmp(j.state, state) == 0))
        rc = bm_refuse(e, BM_CONFLICT, "job-state", "the job is %s already", j.state);
    if (rc != BM_OK)
        return rc;
    if (strcmp(j.state, "filling") == 0)
        j.last_id = INT64_MAX;
    snprintf(j.state, sizeof j.state, "%s", state);
    j.ended_at = strcmp(state, "running") == 0 ? 0 : now;
    rc = bm_job_put(k->store, &j, e);
    if (rc == BM_OK)
        rc = show(k, &j, out, e);
    fields = json_pack("{s:I}", "job", (json_int_t)j.id);
    return rc == BM_OK ? bm_record(k, now, event, fields, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_bulk_resume)
{
    (void)blob;
    return change(k, in, "running", "job.resumed", out, e);
}

BM_ADMIN_HANDLER(bm_admin_bulk_cancel)
{
    (void)blob;
    return change(k, in, "cancelled", "job.cancelled", out, e);
}

BM_ADMIN_HANDLER(bm_admin_bulk_work)
{
    struct bm_job j;
    int64_t now;
    enum bm_rc rc = load(k, in, &j, &now, e);

    (void)blob;
    if (rc != BM_OK)
        return rc;
    rc = k->in_server ? BM_OK : bm_job_step(k, &j, now, e);
    json_object_set_new(out, "server", json_boolean(k->in_server));
    if (rc == BM_OK)
        rc = show(k, &j, out, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "the job's step was taken back");
}

BM_ADMIN_HANDLER(bm_admin_bulk_list)
{
    static const char *const by[] = { "state", NULL };

    (void)blob;
    return bm_admin_list(k, "job", by, in, out, e);
}

BM_ADMIN_HANDLER(bm_admin_bulk_show)
{
    static const char *const by[] = { "job", NULL };
    BM_CLEANUP(bm_keeper_jsonp) json_t *list = json_object(), *query = json_object();
    char id[24];
    struct bm_job j;
    enum bm_rc rc = bm_job_get(k->store, bm_arg_int(in, "job", 0), &j, e);

    (void)blob;
    if (rc == BM_OK)
        rc = show(k, &j, out, e);
    if (rc != BM_OK)
        return rc;
    snprintf(id, sizeof id, "%lld", (long long)j.id);
    json_object_set_new(query, "job", json_string(id));
    json_object_set_new(query, "after", json_integer(bm_arg_int(in, "after", 0)));
    json_object_set_new(query, "limit", json_integer(bm_arg_int(in, "limit", 100)));
    rc = bm_admin_list(k, "job-refusal", by, query, list, e);
    json_object_set(out, "refusals", json_object_get(list, "rows"));
    json_object_set(out, "next", json_object_get(list, "next"));
    return rc;
}

/* --- a whole batch ----------------------------------------------------------------------------------------------------------------- */
/* Closed at once, so that no device of it becomes active while the job comes to the others. */
BM_ADMIN_HANDLER(bm_admin_batch_compromise)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *request = NULL, *fields = NULL;
    const char *name;
    struct bm_batch b;
    int64_t now;
    int reason;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_arg_reason(in, -1, &reason, e);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_batch_get(k->store, name, &b, e);
    if (rc != BM_OK)
        return rc;
    snprintf(b.state, sizeof b.state, "closed");
    rc = bm_batch_put(k->store, &b, e);
    fields = json_pack("{s:s}", "name", name);
    if (rc == BM_OK)
        rc = bm_record(k, now, "batch.compromised", fields, e);
    request = json_pack("{s:s, s:s, s:s*}", "act", "compromise", "batch", name, "reason", bm_arg_text(in, "reason"));
    json_object_set_new(out, "name", json_string(name));
    return rc == BM_OK ? bm_job_start(k, "compromise", request, now, out, e) : rc;
}
