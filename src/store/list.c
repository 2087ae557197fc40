/* Rows for people: one table of kinds, each with its SELECT, its columns as JSON members, and what it may be filtered by. */
#include "base/text.h"
#include "store/db.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* What a row does not name is zero, and that is the point. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/* How a column becomes JSON. What is not there (NULL, an empty reference, time 0) is null. */
enum as { AS_TEXT, AS_INT, AS_HEX, AS_TIME, AS_JSON, AS_BOOL };

struct member {
    const char *name;
    enum as as;
};

/* clause: takes one value, or two for a UDID or serial number (short key and whole). */
struct filter {
    const char *column, *clause;
    enum filter_value { BY_TEXT, BY_UDID, BY_SERIAL } value;
};

enum { MEMBERS_MAX = 16, FILTERS_MAX = 6, SQL_MAX = 2048 };

/* select: its first column is the id, the rest are the members in order; id: what to page by. */
struct kind {
    const char *name, *select, *id;
    struct member members[MEMBERS_MAX];
    struct filter filters[FILTERS_MAX];
    const char *scope[BM_SCOPES]; /* clause with one `?`, the organisation; NULL: not for them */
};

/* Whose a device is: its owner's, as long as none is set its maker's. */
#define OWNER_OF_D                                                                                                                 \
    "COALESCE(d.owner_id, (SELECT y.org_id FROM batch x JOIN product y ON y.id = x.product_id WHERE x.id = d.batch_id))"

static const struct kind kinds[] = {
    { "org",
      "SELECT id, name, title, role, created_at FROM org",
      "id",
      { { "name", AS_TEXT }, { "title", AS_TEXT }, { "role", AS_TEXT }, { "created_at", AS_TIME } },
      { { "name", "name = ?", BY_TEXT }, { "role", "role = ?", BY_TEXT } } },
    { "trust",
      "SELECT t.id, o.name, t.purpose, t.sha256, t.created_at FROM trust t JOIN org o ON o.id = t.org_id",
      "t.id",
      { { "org", AS_TEXT }, { "purpose", AS_TEXT }, { "sha256", AS_HEX }, { "created_at", AS_TIME } },
      { { "org", "o.name = ?", BY_TEXT }, { "purpose", "t.purpose = ?", BY_TEXT } } },
    { "ca",
      "SELECT c.id, c.name, p.name, c.key_uri, c.state, c.created_at, c.revoked_at, c.reason, n.name, x.at FROM ca c"
      " LEFT JOIN ca p ON p.id = c.parent_id LEFT JOIN ca_successor x ON x.ca_id = c.id LEFT JOIN ca n ON n.id = x.successor_id",
      "c.id",
      { { "name", AS_TEXT },
        { "parent", AS_TEXT },
        { "key", AS_TEXT },
        { "state", AS_TEXT },
        { "created_at", AS_TIME },
        { "revoked_at", AS_TIME },
        { "reason", AS_INT },
        { "successor", AS_TEXT },
        { "hands_over_at", AS_TIME } },
      { { "name", "c.name = ?", BY_TEXT }, { "state", "c.state = ?", BY_TEXT } } },
    { "profile",
      "SELECT id, name, json FROM profile",
      "id",
      { { "name", AS_TEXT }, { "profile", AS_JSON } },
      { { "name", "name = ?", BY_TEXT } } },
    { "service",
      "SELECT v.id, v.name, v.title, v.kind, v.profile, v.endpoints, o.name, c.name, v.created_at FROM service v"
      " LEFT JOIN org o ON o.id = v.org_id LEFT JOIN ca c ON c.id = v.ca_id",
      "v.id",
      { { "name", AS_TEXT },
        { "title", AS_TEXT },
        { "kind", AS_TEXT },
        { "profile", AS_TEXT },
        { "endpoints", AS_JSON },
        { "org", AS_TEXT },
        { "ca", AS_TEXT },
        { "created_at", AS_TIME } },
      { { "name", "v.name = ?", BY_TEXT }, { "kind", "v.kind = ?", BY_TEXT } },
      { [BM_SCOPE_SERVICE] = "v.org_id = ?" } },
    { "product",
      "SELECT p.id, p.name, p.title, o.name, p.policy, p.created_at FROM product p LEFT JOIN org o ON o.id = p.org_id",
      "p.id",
      { { "name", AS_TEXT }, { "title", AS_TEXT }, { "org", AS_TEXT }, { "policy", AS_JSON }, { "created_at", AS_TIME } },
      { { "name", "p.name = ?", BY_TEXT }, { "org", "o.name = ?", BY_TEXT } },
      { [BM_SCOPE_OEM] = "p.org_id = ?" } },
    { "batch",
      "SELECT b.id, b.name, p.name, c.name, m.name, b.state, b.quota, " BM_BATCH_USED(
          "b") ", b.created_at FROM batch b JOIN product p ON p.id = "
               "b.product_id"
               " LEFT JOIN ca c ON c.id = b.ca_id LEFT JOIN org m ON m.id = b.maker_id",
      "b.id",
      { { "name", AS_TEXT },
        { "product", AS_TEXT },
        { "ca", AS_TEXT },
        { "maker", AS_TEXT },
        { "state", AS_TEXT },
        { "quota", AS_INT },
        { "used", AS_INT },
        { "created_at", AS_TIME } },
      { { "name", "b.name = ?", BY_TEXT }, { "product", "p.name = ?", BY_TEXT }, { "state", "b.state = ?", BY_TEXT } },
      { [BM_SCOPE_MAKER] = "b.maker_id = ?", [BM_SCOPE_OEM] = "p.org_id = ?" } },
    { "claim",
      "SELECT c.id, d.udid, b.name, f.name, o.name, c.moved, c.passed, c.expires_at, c.taken_at, c.done_at, c.revoked_at, c.note"
      " FROM claim c LEFT JOIN device d ON d.id = c.device_id LEFT JOIN batch b ON b.id = c.batch_id"
      " JOIN org f ON f.id = c.from_id LEFT JOIN org o ON o.id = c.org_id",
      "c.id",
      { { "udid", AS_HEX },
        { "batch", AS_TEXT },
        { "giver", AS_TEXT },
        { "owner", AS_TEXT },
        { "moved", AS_INT },
        { "passed", AS_INT },
        { "expires_at", AS_TIME },
        { "taken_at", AS_TIME },
        { "done_at", AS_TIME },
        { "revoked_at", AS_TIME },
        { "note", AS_TEXT } },
      { { "batch", "b.name = ?", BY_TEXT },
        { "udid", "d.udid_key = ? AND d.udid = ?", BY_UDID },
        { "owner", "o.name = ?", BY_TEXT } } },
    { "acme-account",
      "SELECT a.id, a.status, b.kid, a.contact, a.created_at FROM acme_account a JOIN acme_eab b ON b.id = a.eab_id",
      "a.id",
      { { "status", AS_TEXT }, { "kid", AS_TEXT }, { "contact", AS_JSON }, { "created_at", AS_TIME } },
      { { "kid", "b.kid = ?", BY_TEXT }, { "status", "a.status = ?", BY_TEXT } } },
    { "eab",
      "SELECT e.id, e.kid, b.name, p.name, o.name, e.uses, e.used, e.created_at, e.expires_at, e.revoked_at, e.names, e.note FROM "
      "acme_eab e"
      " LEFT JOIN batch b ON b.id = e.batch_id LEFT JOIN product p ON p.id = e.product_id LEFT JOIN org o ON o.id = e.org_id",
      "e.id",
      { { "kid", AS_TEXT },
        { "batch", AS_TEXT },
        { "product", AS_TEXT },
        { "org", AS_TEXT },
        { "uses", AS_INT },
        { "used", AS_INT },
        { "created_at", AS_TIME },
        { "expires_at", AS_TIME },
        { "revoked_at", AS_TIME },
        { "names", AS_TEXT },
        { "note", AS_TEXT } },
      { { "batch", "b.name = ?", BY_TEXT }, { "product", "p.name = ?", BY_TEXT } } },
    { "code",
      "SELECT c.id, d.udid, b.name, c.uses, c.used, c.created_at, c.expires_at, c.used_at, c.revoked_at, c.note FROM code c"
      " LEFT JOIN device d ON d.id = c.device_id LEFT JOIN batch b ON b.id = c.batch_id",
      "c.id",
      { { "udid", AS_HEX },
        { "batch", AS_TEXT },
        { "uses", AS_INT },
        { "used", AS_INT },
        { "created_at", AS_TIME },
        { "expires_at", AS_TIME },
        { "used_at", AS_TIME },
        { "revoked_at", AS_TIME },
        { "note", AS_TEXT } },
      { { "batch", "b.name = ?", BY_TEXT }, { "udid", "d.udid_key = ? AND d.udid = ?", BY_UDID } } },
    { "approval",
      "SELECT a.id, a.udid, p.name, b.name, v.name, a.key_sha256, a.state, a.protocol, a.peer, a.correlation, a.created_at,"
      " a.expires_at, a.decided_at, a.decided_by, a.used_at FROM approval a JOIN batch b ON b.id = a.batch_id"
      " JOIN product p ON p.id = b.product_id LEFT JOIN service v ON v.id = a.service_id",
      "a.id",
      { { "udid", AS_HEX },
        { "product", AS_TEXT },
        { "batch", AS_TEXT },
        { "service", AS_TEXT },
        { "key_sha256", AS_HEX },
        { "state", AS_TEXT },
        { "protocol", AS_TEXT },
        { "peer", AS_TEXT },
        { "correlation", AS_TEXT },
        { "created_at", AS_TIME },
        { "expires_at", AS_TIME },
        { "decided_at", AS_TIME },
        { "decided_by", AS_TEXT },
        { "used_at", AS_TIME } },
      { { "number", "CAST(a.id AS TEXT) = ?", BY_TEXT },
        { "state", "a.state = ?", BY_TEXT },
        { "batch", "b.name = ?", BY_TEXT },
        { "correlation", "a.correlation = ?", BY_TEXT },
        { "udid", "a.udid_key = ? AND a.udid = ?", BY_UDID } },
      { [BM_SCOPE_OEM] = "COALESCE((SELECT d.owner_id FROM device d WHERE d.udid_key = a.udid_key AND d.udid = a.udid),"
                         " p.org_id) = ?" } },
    { "voucher",
      "SELECT v.id, d.udid, v.serial_number, o.name, v.assertion, v.nonce, v.domain_id, v.created_at, v.expires_at, v.told,"
      " v.enrolled, v.reason, v.correlation, v.digest FROM voucher v JOIN device d ON d.id = v.device_id"
      " LEFT JOIN org o ON o.id = v.org_id",
      "v.id",
      { { "udid", AS_HEX },
        { "serial_number", AS_TEXT },
        { "org", AS_TEXT },
        { "assertion", AS_TEXT },
        { "nonce", AS_TEXT },
        { "domain_id", AS_HEX },
        { "created_at", AS_TIME },
        { "expires_at", AS_TIME },
        { "told", AS_TEXT },
        { "enrolled", AS_TEXT },
        { "reason", AS_TEXT },
        { "correlation", AS_TEXT },
        { "sha256", AS_HEX } },
      { { "number", "CAST(v.id AS TEXT) = ?", BY_TEXT },
        { "udid", "d.udid_key = ? AND d.udid = ?", BY_UDID },
        { "org", "o.name = ?", BY_TEXT },
        { "correlation", "v.correlation = ?", BY_TEXT } } },
    { "device",
      "SELECT d.id, d.udid, d.state, d.rot, p.name, b.name, o.name, d.manifest_id, d.attributes, d.created_at, d.activated_at"
      " FROM device d LEFT JOIN batch b ON b.id = d.batch_id LEFT JOIN product p ON p.id = b.product_id"
      " LEFT JOIN org o ON o.id = d.owner_id",
      "d.id",
      { { "udid", AS_HEX },
        { "state", AS_TEXT },
        { "rot", AS_TEXT },
        { "product", AS_TEXT },
        { "batch", AS_TEXT },
        { "owner", AS_TEXT },
        { "manifest", AS_INT },
        { "attributes", AS_JSON },
        { "created_at", AS_TIME },
        { "activated_at", AS_TIME } },
      { { "state", "d.state = ?", BY_TEXT },
        { "batch", "b.name = ?", BY_TEXT },
        { "product", "p.name = ?", BY_TEXT },
        { "udid", "d.udid_key = ? AND d.udid = ?", BY_UDID } },
      { [BM_SCOPE_MAKER] = "b.maker_id = ?",
        [BM_SCOPE_OEM] = OWNER_OF_D " = ?",
        [BM_SCOPE_SERVICE] = "EXISTS (SELECT 1 FROM credential k JOIN service v ON v.id = k.service_id WHERE v.org_id = ?"
                             " AND k.id IN (" BM_CREDENTIALS_OF("device.id = d.id") "))" } },
    { "credential",
      "SELECT c.id, c.serial, d.udid, v.name, a.name, c.protocol, c.state, c.correlation, c.issued_at, c.not_before, c.not_after,"
      " c.revoked_at, c.reason FROM credential c LEFT JOIN device d ON d.id = c.device_id LEFT JOIN service v ON v.id = "
      "c.service_id"
      " LEFT JOIN ca a ON a.id = c.ca_id",
      "c.id",
      { { "serial", AS_HEX },
        { "udid", AS_HEX },
        { "service", AS_TEXT },
        { "ca", AS_TEXT },
        { "protocol", AS_TEXT },
        { "state", AS_TEXT },
        { "correlation", AS_TEXT },
        { "issued_at", AS_TIME },
        { "not_before", AS_TIME },
        { "not_after", AS_TIME },
        { "revoked_at", AS_TIME },
        { "reason", AS_INT } },
      { { "udid", "c.id IN (" BM_CREDENTIALS_OF("udid_key = ? AND udid = ?") ")", BY_UDID },
        { "state", "c.state = ?", BY_TEXT },
        { "service", "v.name = ?", BY_TEXT },
        { "ca", "a.name = ?", BY_TEXT },
        { "correlation", "c.correlation = ?", BY_TEXT },
        { "serial", "c.serial_key = ? AND c.serial = ?", BY_SERIAL } },
      { [BM_SCOPE_MAKER] = "d.batch_id IN (SELECT x.id FROM batch x WHERE x.maker_id = ?)",
        [BM_SCOPE_OEM] = OWNER_OF_D " = ?",
        [BM_SCOPE_SERVICE] = "v.org_id = ?" } },
    { "manifest",
      "SELECT m.id, o.name, b.name, m.digest, m.format, m.next_seq, m.entries, m.bad, m.complete, m.created_at FROM manifest m"
      " LEFT JOIN org o ON o.id = m.org_id LEFT JOIN batch b ON b.id = m.batch_id",
      "m.id",
      { { "org", AS_TEXT },
        { "batch", AS_TEXT },
        { "digest", AS_HEX },
        { "format", AS_TEXT },
        { "next_block", AS_INT },
        { "entries", AS_INT },
        { "bad", AS_INT },
        { "complete", AS_BOOL },
        { "created_at", AS_TIME } },
      { { "org", "o.name = ?", BY_TEXT }, { "batch", "b.name = ?", BY_TEXT } },
      { [BM_SCOPE_MAKER] = "b.maker_id = ?", [BM_SCOPE_OEM] = "b.product_id IN (SELECT y.id FROM product y WHERE y.org_id = ?)" } },
    { "ownership",
      "SELECT w.id, d.udid, w.how, f.name, t.name, w.at, w.until, w.revoked, w.actor FROM ownership w JOIN device d ON d.id = "
      "w.device_id LEFT JOIN org f ON f.id = w.from_id LEFT JOIN org t ON t.id = w.to_id",
      "w.id",
      { { "udid", AS_HEX },
        { "how", AS_TEXT },
        { "from", AS_TEXT },
        { "to", AS_TEXT },
        { "at", AS_TIME },
        { "until", AS_TIME },
        { "revoked", AS_INT },
        { "actor", AS_TEXT } },
      { { "udid", "d.udid_key = ? AND d.udid = ?", BY_UDID }, { "how", "w.how = ?", BY_TEXT } } },
    { "offer",
      "SELECT x.id, d.udid, f.name, t.name, x.created_at, x.until, x.actor FROM offer x JOIN device d ON d.id = x.device_id"
      " JOIN org f ON f.id = x.from_id JOIN org t ON t.id = x.to_id",
      "x.id",
      { { "udid", AS_HEX },
        { "giver", AS_TEXT },
        { "taker", AS_TEXT },
        { "created_at", AS_TIME },
        { "until", AS_TIME },
        { "actor", AS_TEXT } },
      { { "udid", "d.udid_key = ? AND d.udid = ?", BY_UDID },
        { "giver", "f.name = ?", BY_TEXT },
        { "taker", "t.name = ?", BY_TEXT } } },
    { "rental",
      "SELECT r.id, d.udid, o.name, t.name, r.created_at, r.ends_at FROM rental r JOIN device d ON d.id = r.device_id"
      " JOIN org o ON o.id = r.owner_id JOIN org t ON t.id = r.tenant_id",
      "r.id",
      { { "udid", AS_HEX }, { "owner", AS_TEXT }, { "tenant", AS_TEXT }, { "since", AS_TIME }, { "until", AS_TIME } },
      { { "udid", "d.udid_key = ? AND d.udid = ?", BY_UDID },
        { "owner", "o.name = ?", BY_TEXT },
        { "tenant", "t.name = ?", BY_TEXT } } },
    { "job",
      "SELECT id, act, state, created_at, ended_at, total, looked_at, done, already, refused, revoked, actor, request FROM job",
      "id",
      { { "act", AS_TEXT },
        { "state", AS_TEXT },
        { "created_at", AS_TIME },
        { "ended_at", AS_TIME },
        { "total", AS_INT },
        { "looked_at", AS_INT },
        { "done", AS_INT },
        { "already", AS_INT },
        { "refused", AS_INT },
        { "revoked", AS_INT },
        { "actor", AS_TEXT },
        { "request", AS_JSON } },
      { { "id", "CAST(id AS TEXT) = ?", BY_TEXT }, { "state", "state = ?", BY_TEXT } } },
    { "job-refusal",
      "SELECT id, udid, code, what FROM job_refusal",
      "id",
      { { "udid", AS_HEX }, { "code", AS_TEXT }, { "what", AS_TEXT } },
      { { "job", "CAST(job_id AS TEXT) = ?", BY_TEXT } } },
    { "refusal",
      "SELECT id, at, code, what, correlation, protocol, peer, udid FROM refusal",
      "id",
      { { "at", AS_TIME },
        { "code", AS_TEXT },
        { "what", AS_TEXT },
        { "correlation", AS_TEXT },
        { "protocol", AS_TEXT },
        { "peer", AS_TEXT },
        { "udid", AS_HEX } },
      { { "correlation", "correlation = ?", BY_TEXT },
        { "udid", "udid = ?", BY_UDID },
        { "code", "code = ?", BY_TEXT },
        { "protocol", "protocol = ?", BY_TEXT } } },
    { "token",
      "SELECT t.id, t.name, t.role, o.name, t.created_at, t.expires_at, t.revoked_at, t.last_used_at FROM token t"
      " LEFT JOIN org o ON o.id = t.org_id",
      "t.id",
      { { "name", AS_TEXT },
        { "role", AS_TEXT },
        { "org", AS_TEXT },
        { "created_at", AS_TIME },
        { "expires_at", AS_TIME },
        { "revoked_at", AS_TIME },
        { "last_used_at", AS_TIME } },
      { { "name", "t.name = ?", BY_TEXT } } },
};

/* --- a row as JSON ------------------------------------------------------------------------------------------------------------ */
static json_t *as_text(struct bm_cols *c)
{
    struct bm_rd b = bm_col_bytes(c);

    return b.p != NULL ? json_stringn((const char *)b.p, b.n) : json_null();
}

static json_t *as_int(struct bm_cols *c)
{
    return json_integer(bm_col_int(c));
}

static json_t *as_hex(struct bm_cols *c)
{
    struct bm_rd b = bm_col_bytes(c);
    char hex[2 * 32 + 1];

    if (b.n == 0 || b.n > 32)
        return json_null();
    bm_hex(b.p, b.n, hex);
    return json_string(hex);
}

static json_t *as_time(struct bm_cols *c)
{
    int64_t at = bm_col_int(c);
    char text[21];

    return at != 0 ? json_string(bm_time_text(at, text)) : json_null();
}

static json_t *as_json(struct bm_cols *c)
{
    struct bm_rd b = bm_col_bytes(c);
    json_t *j = b.n != 0 ? json_loadb((const char *)b.p, b.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL) : NULL;

    return j != NULL ? j : json_null();
}

static json_t *as_bool(struct bm_cols *c)
{
    return json_boolean(bm_col_int(c) != 0);
}

static json_t *(*const makers[])(struct bm_cols *) = {
    [AS_TEXT] = as_text, [AS_INT] = as_int, [AS_HEX] = as_hex, [AS_TIME] = as_time, [AS_JSON] = as_json, [AS_BOOL] = as_bool,
};

static void json_freep(json_t **j)
{
    json_decref(*j);
}

static void text_freep(char **p)
{
    free(*p);
}

static enum bm_rc tell_row(const struct kind *k, const struct bm_query *q, bm_row_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(json_freep) json_t *row = json_object();
    BM_CLEANUP(text_freep) char *text = NULL;
    struct bm_cols c = bm_query_cols(q);
    int64_t id = bm_col_int(&c);

    json_object_set_new(row, "id", json_integer(id));
    for (size_t i = 0; i < MEMBERS_MAX && k->members[i].name != NULL; i++)
        json_object_set_new(row, k->members[i].name, makers[k->members[i].as](&c));
    text = json_dumps(row, JSON_COMPACT);
    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "store: out of memory");
    return fn(arg, id, text, e);
}

/* --- the statement ------------------------------------------------------------------------------------------------------------ */
enum { PAIRS_MAX = 8 };

struct list {
    char sql[SQL_MAX];
    struct bm_wr w;
    struct bm_arg args[2 * PAIRS_MAX + 3];
    size_t n_args;
    uint8_t bytes[PAIRS_MAX][32]; /* UDIDs and serial numbers the arguments borrow */
};

static const struct filter *filter_of(const struct kind *k, const char *pair, const char **ret_value)
{
    const char *eq = strchr(pair, '=');
    size_t n = eq != NULL ? (size_t)(eq - pair) : 0;

    for (size_t i = 0; eq != NULL && i < FILTERS_MAX && k->filters[i].column != NULL; i++) {
        if (strlen(k->filters[i].column) == n && memcmp(k->filters[i].column, pair, n) == 0) {
            *ret_value = eq + 1;
            return &k->filters[i];
        }
    }
    return NULL;
}

static enum bm_rc add_value(struct list *l, const struct filter *f, const char *value, uint8_t raw[32], struct bm_error *e)
{
    size_t n = f->value == BY_UDID ? BM_UDID_LEN : BM_SERIAL_LEN;

    if (f->value == BY_TEXT) {
        l->args[l->n_args++] = bm_arg_text(value);
        return BM_OK;
    }
    if (!bm_unhex(bm_rd_str(value), raw, n))
        return bm_fail(e, BM_USAGE, "%s= takes %zu hex digits", f->column, 2 * n);
    if (strstr(f->clause, "_key") != NULL)
        l->args[l->n_args++] = bm_arg_int(bm_short_key(f->value == BY_UDID ? raw : raw + n - 4));
    l->args[l->n_args++] = bm_arg_blob(raw, n);
    return BM_OK;
}

static enum bm_rc add_filter(struct list *l, const struct kind *k, const char *pair, size_t i, struct bm_error *e)
{
    const char *value = NULL;
    const struct filter *f = filter_of(k, pair, &value);
    char shown[64];

    if (f == NULL)
        return bm_fail(e, BM_USAGE, "a %s list cannot be filtered by '%s'", k->name,
                       bm_text_escape(bm_rd_str(pair), shown, sizeof shown));
    bm_wr_str(&l->w, " AND ");
    bm_wr_str(&l->w, f->clause);
    return add_value(l, f, value, l->bytes[i], e);
}

static enum bm_rc add_scope(struct list *l, const struct kind *k, const struct bm_scope *scope, struct bm_error *e)
{
    if (scope == NULL || scope->of == BM_SCOPE_ALL)
        return BM_OK;
    if ((size_t)scope->of >= BM_SCOPES || k->scope[scope->of] == NULL)
        return bm_fail(e, BM_DENIED, "a %s is nothing for this organisation", k->name);
    bm_wr_str(&l->w, " AND ");
    bm_wr_str(&l->w, k->scope[scope->of]);
    l->args[l->n_args++] = bm_arg_int(scope->org_id);
    return BM_OK;
}

static enum bm_rc build(struct list *l, const struct kind *k, const struct bm_scope *scope, const char *const *filter,
                        int64_t after_id, int64_t limit, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    l->w = bm_wr_of(l->sql, sizeof l->sql - 1);
    bm_wr_str(&l->w, k->select);
    bm_wr_str(&l->w, " WHERE ");
    bm_wr_str(&l->w, k->id);
    bm_wr_str(&l->w, " > ?");
    l->args[l->n_args++] = bm_arg_int(after_id);
    rc = add_scope(l, k, scope, e);
    for (size_t i = 0; rc == BM_OK && filter != NULL && filter[i] != NULL; i++)
        rc = i < PAIRS_MAX ? add_filter(l, k, filter[i], i, e) : bm_fail(e, BM_USAGE, "at most %d filters", PAIRS_MAX);
    if (rc != BM_OK)
        return rc;
    bm_wr_str(&l->w, " ORDER BY ");
    bm_wr_str(&l->w, k->id);
    bm_wr_str(&l->w, " LIMIT ?");
    l->args[l->n_args++] = bm_arg_int(limit);
    l->sql[l->w.n] = '\0';
    return l->w.bad ? bm_fail(e, BM_BUG, "store: the list's statement does not fit") : BM_OK;
}

static const struct kind *kind_of(const char *name)
{
    for (size_t i = 0; i < BM_COUNT(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

enum bm_rc bm_store_list(struct bm_store *s, const char *kind, const char *const *filter, int64_t after_id, int64_t limit,
                         bm_row_fn *fn, void *arg, struct bm_error *e)
{
    return bm_store_list_in(s, NULL, kind, filter, after_id, limit, fn, arg, e);
}

enum bm_rc bm_store_list_in(struct bm_store *s, const struct bm_scope *scope, const char *kind, const char *const *filter,
                            int64_t after_id, int64_t limit, bm_row_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    const struct kind *k = kind_of(kind);
    struct list l = { .n_args = 0 };
    char shown[32];
    enum bm_rc rc;

    if (k == NULL)
        return bm_fail(e, BM_USAGE, "no list of '%s'", bm_text_escape(bm_rd_str(kind), shown, sizeof shown));
    if (limit < 0)
        return bm_fail(e, BM_USAGE, "a list cannot have %lld rows", (long long)limit);
    rc = build(&l, k, scope, filter, after_id, limit, e);
    if (rc == BM_OK)
        rc = bm_query_start_once(s, l.sql, (struct bm_args){ l.args, l.n_args }, &q, e);
    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        rc = tell_row(k, &q, fn, arg, e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

/* --- counts ------------------------------------------------------------------------------------------------------------------- */
static const struct bm_sql count_rows = {
    "SELECT 'org', count(*) FROM org UNION ALL SELECT 'trust', count(*) FROM trust UNION ALL SELECT 'ca', count(*) FROM ca"
    " UNION ALL SELECT 'profile', count(*) FROM profile UNION ALL SELECT 'service', count(*) FROM service"
    " UNION ALL SELECT 'product', count(*) FROM product UNION ALL SELECT 'batch', count(*) FROM batch"
    " UNION ALL SELECT 'device', CAST(COALESCE(sum(n), 0) AS BIGINT) FROM tally WHERE name LIKE 'device:%'"
    " UNION ALL SELECT 'credential', CAST(COALESCE(sum(n), 0) AS BIGINT) FROM tally WHERE name = 'credential' OR name LIKE "
    "'credential@%'"
    " UNION ALL SELECT 'manifest', count(*) FROM manifest UNION ALL SELECT 'refusal', count(*) FROM refusal"
};
static const struct bm_sql count_states = { "SELECT substr(name, 8), n FROM tally WHERE name LIKE 'device:%' ORDER BY name" };

/* Of each host a row: "active", "active@2". */
static void count_one(json_t *to, char *name, int64_t n)
{
    json_int_t sum;

    name[strcspn(name, "@")] = '\0';
    sum = json_integer_value(json_object_get(to, name)) + n;
    json_object_set_new(to, name, json_integer(sum));
}

static void drop_zeros(json_t *counts)
{
    const char *name;
    json_t *n;
    void *next;

    json_object_foreach_safe(counts, next, name, n)
    {
        if (json_integer_value(n) == 0)
            json_object_del(counts, name);
    }
}

static enum bm_rc count_into(struct bm_store *s, const struct bm_sql *sql, json_t *to, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, sql, BM_NO_ARGS, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols c = bm_query_cols(&q);
        char name[32];

        BM_COL_TEXT(&c, name);
        rc = bm_cols_check(&c, "count", e);
        if (rc == BM_OK)
            count_one(to, name, bm_col_int(&c));
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

enum bm_rc bm_store_device_states(struct bm_store *s, bm_tally_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &count_states, BM_NO_ARGS, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols c = bm_query_cols(&q);
        char name[32];

        BM_COL_TEXT(&c, name);
        rc = bm_cols_check(&c, "count", e);
        name[strcspn(name, "@")] = '\0'; /* each host has a row of its own */
        if (rc == BM_OK)
            fn(arg, name, bm_col_int(&c));
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

enum bm_rc bm_store_counts(struct bm_store *s, struct bm_buf *ret_json, struct bm_error *e)
{
    BM_CLEANUP(json_freep) json_t *counts = json_object();
    BM_CLEANUP(text_freep) char *text = NULL;
    json_t *states = json_object();
    enum bm_rc rc = count_into(s, &count_rows, counts, e);

    if (rc == BM_OK)
        rc = count_into(s, &count_states, states, e);
    drop_zeros(states);
    json_object_set_new(counts, "device_states", states);
    if (rc != BM_OK)
        return rc;
    text = json_dumps(counts, JSON_COMPACT);
    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "store: out of memory");
    if (ret_json->max == 0)
        ret_json->max = strlen(text);
    bm_buf_str(ret_json, text);
    return bm_buf_check(ret_json, e);
}
