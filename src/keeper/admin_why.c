/* Why something happened: everything the registry and the log know of an id, in the order of time. */
#include "keeper/internal.h"

#include "base/clock.h"

#include <stdlib.h>

static void tell(json_t *story, const char *at, const char *event, json_t *text)
{
    json_array_append_new(story, json_pack("{s:s, s:s, s:o}", "at", at != NULL ? at : "", "event", event, "text", text));
}

static const char *text_of(const json_t *row, const char *member)
{
    const char *s = json_string_value(json_object_get(row, member));

    return s != NULL ? s : "";
}

static enum bm_rc rows_of(struct bm_keeper *k, const char *kind, const char *column, const char *value, json_int_t limit,
                          json_t **ret, struct bm_error *e)
{
    const char *by[] = { column, NULL };
    BM_CLEANUP(bm_keeper_jsonp) json_t *query = json_pack("{s:s, s:I}", column, value, "limit", limit), *out = json_object();
    enum bm_rc rc = bm_admin_list(k, kind, by, query, out, e);

    if (rc == BM_OK)
        *ret = json_incref(json_object_get(out, "rows"));
    return rc;
}

static void tell_refusal(json_t *story, const json_t *row)
{
    tell(story, text_of(row, "at"), "refused",
         json_sprintf("refused over %s from %s with %s: %s (correlation %s, UDID %s)", text_of(row, "protocol"),
                      text_of(row, "peer"), text_of(row, "code"), text_of(row, "what"), text_of(row, "correlation"),
                      text_of(row, "udid")));
}

/* What has become of it at the upstream CA, as far as there is one. */
static void tell_upstream(json_t *story, const json_t *row)
{
    const char *state = text_of(row, "upstream"), *what = text_of(row, "upstream_what");

    if (state[0] != '\0')
        tell(story, NULL, "upstream",
             json_sprintf("revocation of %s at its upstream CA '%s': %s%s%s", text_of(row, "serial"), text_of(row, "ca"), state,
                          what[0] != '\0' ? ": " : "", what));
}

static void tell_credential(json_t *story, const json_t *row)
{
    tell(story, text_of(row, "issued_at"), "issued",
         json_sprintf("certificate %s issued by CA '%s' over %s for service '%s', good until %s (device %s, correlation %s)",
                      text_of(row, "serial"), text_of(row, "ca"), text_of(row, "protocol"), text_of(row, "service"),
                      text_of(row, "not_after"), text_of(row, "udid"), text_of(row, "correlation")));
    if (strcmp(text_of(row, "state"), "revoked") == 0)
        tell(story, text_of(row, "revoked_at"), "revoked", json_sprintf("certificate %s revoked", text_of(row, "serial")));
    tell_upstream(story, row);
}

static void tell_approval(json_t *story, const json_t *row)
{
    tell(story, text_of(row, "created_at"), "asked",
         json_sprintf("request %lld for approval, over %s from %s for service '%s' (correlation %s): %s, good until %s",
                      (long long)json_integer_value(json_object_get(row, "id")), text_of(row, "protocol"), text_of(row, "peer"),
                      text_of(row, "service"), text_of(row, "correlation"), text_of(row, "state"), text_of(row, "expires_at")));
}

/* What is told of an id, by the column that holds it. */
static const struct {
    const char *kind;
    bool has_serial; /* else a serial number says nothing about it */
    void (*tell)(json_t *story, const json_t *row);
} tables[] = { { "refusal", false, tell_refusal }, { "credential", true, tell_credential }, { "approval", false, tell_approval } };

static enum bm_rc tell_tables(struct bm_keeper *k, const char *column, const char *id, json_int_t limit, json_t *story,
                              struct bm_error *e)
{
    bool serial = strcmp(column, "serial") == 0;
    enum bm_rc rc = BM_OK;

    for (size_t t = 0; rc == BM_OK && t < BM_COUNT(tables); t++) {
        BM_CLEANUP(bm_keeper_jsonp) json_t *rows = NULL;
        json_t *row;
        size_t i;

        if (serial && !tables[t].has_serial)
            continue;
        rc = rows_of(k, tables[t].kind, column, id, limit, &rows, e);
        json_array_foreach (rows, i, row)
            tables[t].tell(story, row);
    }
    return rc;
}

static enum bm_rc tell_device(struct bm_keeper *k, const char *udid, json_t *story, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *row = json_object();
    enum bm_rc rc = bm_admin_one(k, "device", "udid", udid, row, e);

    if (rc == BM_NOTFOUND) {
        tell(story, NULL, "unknown",
             json_string("no device with this UDID is registered: import its manifest, or it is no genuine one"));
        return BM_OK;
    }
    if (rc != BM_OK)
        return rc;
    tell(story, text_of(row, "created_at"), "registered",
         json_sprintf("device registered, root of trust %s, batch '%s', product '%s'", text_of(row, "rot"), text_of(row, "batch"),
                      text_of(row, "product")));
    if (text_of(row, "activated_at")[0] != '\0')
        tell(story, text_of(row, "activated_at"), "activated", json_string("first enrolment: counted against the batch's quota"));
    tell(story, NULL, "now", json_sprintf("the device is %s", text_of(row, "state")));
    return BM_OK;
}

/* Administrators' acts on this UDID or serial, from the audit log's newest end. */
struct search {
    struct bm_keeper *k;
    json_t *story;
    const char *id, *log; /* log: of another host, by its name; NULL: ours */
};

static enum bm_rc match_leaf(void *arg, int64_t index, int64_t at_ms, struct bm_rd data, struct bm_error *e)
{
    struct search *s = arg;
    BM_CLEANUP(bm_keeper_jsonp) json_t *leaf = NULL;
    char at[24];

    (void)e;
    if (memmem(data.p, data.n, s->id, strlen(s->id)) == NULL || memmem(data.p, data.n, "\"credential.issued\"", 19) != NULL)
        return BM_OK;
    leaf = json_loadb((const char *)data.p, data.n, 0, NULL);
    tell(s->story, bm_time_text(at_ms / 1000, at), text_of(leaf, "event"),
         json_sprintf("%s by %s (audit log%s%s, entry %lld)", text_of(leaf, "event"), text_of(leaf, "actor"),
                      s->log != NULL ? " of " : "", s->log != NULL ? s->log : "", (long long)index));
    return BM_OK;
}

static enum bm_rc search_log(void *arg, const struct bm_host *h, struct bm_error *e)
{
    enum { LOOK_BACK = 20000 };
    struct search *s = arg;
    int64_t size = 0;
    enum bm_rc rc;

    bm_store_use_log(s->k->store, h->id);
    s->log = h->id != s->k->host.id ? h->name : NULL;
    rc = bm_audit_leaf_count(s->k->store, &size, e);
    return rc == BM_OK ? bm_audit_leaf_each(s->k->store, size > LOOK_BACK ? size - LOOK_BACK : 0, size, match_leaf, s, e) : rc;
}

static enum bm_rc tell_acts(struct bm_keeper *k, const char *id, json_t *story, struct bm_error *e)
{
    struct search s = { .k = k, .story = story, .id = id };
    enum bm_rc rc = bm_host_each(k->store, search_log, &s, e);

    bm_store_use_log(k->store, k->host.id);
    return rc;
}

static int by_time(const void *a, const void *b)
{
    return strcmp(text_of(*(json_t *const *)a, "at"), text_of(*(json_t *const *)b, "at"));
}

/* Oldest first; what has no time ("the device is active") comes last. */
static json_t *sorted(const json_t *story)
{
    size_t n = json_array_size(story);
    json_t **rows = calloc(n + 1, sizeof(json_t *)), *out = json_array();

    for (size_t i = 0; rows != NULL && i < n; i++)
        rows[i] = json_array_get(story, i);
    if (rows != NULL)
        qsort(rows, n, sizeof(json_t *), by_time);
    for (int late = 0; rows != NULL && late < 2; late++)
        for (size_t i = 0; i < n; i++)
            if ((text_of(rows[i], "at")[0] == '\0') == (late == 1))
                json_array_append(out, rows[i]);
    free(rows);
    return out;
}

/* A manifest's digest is as long as a UDID; its blocks are in the log. */
static enum bm_rc tell_manifest(struct bm_keeper *k, const char *id, json_t *story, struct bm_error *e)
{
    struct bm_manifest_row m;
    uint8_t digest[32];
    char at[24];
    enum bm_rc rc = bm_unhex(bm_rd_str(id), digest, sizeof digest) ? bm_manifest_by_digest(k->store, digest, &m, e) : BM_NOTFOUND;

    if (rc != BM_OK)
        return rc;
    tell(story, bm_time_text(m.created_at, at), "begun", json_sprintf("import of a manifest in the format '%s' begun", m.format));
    tell(story, NULL, "now",
         json_sprintf("%lld entries taken, %lld refused, %s", (long long)m.entries, (long long)m.bad,
                      m.complete ? "complete" : "not complete yet"));
    return tell_acts(k, id, story, e);
}

static enum bm_rc tell_all(struct bm_keeper *k, const char *id, json_int_t limit, json_t *story, const char **ret_what,
                           struct bm_error *e)
{
    size_t n = strlen(id);
    enum bm_rc rc = BM_OK;

    if (strspn(id, "0123456789abcdef") != n || (n != 16 && n != 32 && n != 64))
        return bm_fail(
            e, BM_USAGE,
            "give a correlation id (16 hex digits), a serial number (32), a UDID or a manifest's digest (64), in lower case");
    *ret_what = "manifest";
    rc = n == 64 ? tell_manifest(k, id, story, e) : BM_NOTFOUND;
    if (rc != BM_NOTFOUND)
        return rc;
    rc = BM_OK;
    *ret_what = n == 16 ? "correlation" : n == 32 ? "serial" : "udid";
    if (n == 64)
        rc = tell_device(k, id, story, e);
    if (rc == BM_OK)
        rc = tell_tables(k, *ret_what, id, limit, story, e);
    if (rc == BM_OK && n != 16)
        rc = tell_acts(k, id, story, e);
    return rc;
}

BM_ADMIN_HANDLER(bm_admin_why)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *story = json_array();
    const char *id = bm_arg_text(in, "id"), *what = "";
    enum bm_rc rc;

    (void)blob;
    if (id == NULL)
        return bm_fail(e, BM_USAGE, "'id' must be text");
    rc = tell_all(k, id, bm_arg_int(in, "limit", 100), story, &what, e);
    if (rc != BM_OK)
        return rc;
    if (json_array_size(story) == 0)
        return bm_fail(e, BM_NOTFOUND, "nothing is known about %s '%s'", what, id);
    json_object_set_new(out, "id", json_string(id));
    json_object_set_new(out, "what", json_string(what));
    json_object_set_new(out, "story", sorted(story));
    return BM_OK;
}
