/* Orders: RFC 8555 sections 7.1.3 and 7.4. The document of an order's row:
 *
 *   {"ids": [{"type", "value"}], "service": name or "", "error": problem or absent,
 *    "replaces": certificate's name or absent, "replaced": number of the order that replaces this one's certificate, or absent,
 *    "authz": [{"status", "chal": [{"type", "token", "status", "at", "error"}]}],      one for each of ids, in their order
 *    "who": {"udid", "certs": [base64url], "spki": base64url, "key": hex, "attested": true or false}, "csr": base64url}    what attestation has shown; the key that asks */
#include "keeper/acme.h"

#include "base/text.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

/* --- out of the registry and back ----------------------------------------------------------------------------------------------------- */
void bm_acme_work_done(struct bm_acme_work *w)
{
    bm_acme_order_done(&w->row);
    json_decref(w->doc);
    w->doc = NULL;
}

bool bm_acme_work_is(const struct bm_acme_work *w, const char *status)
{
    return strcmp(w->row.status, status) == 0;
}

void bm_acme_work_status(struct bm_acme_work *w, const char *status)
{
    snprintf(w->row.status, sizeof w->row.status, "%s", status);
}

enum bm_rc bm_acme_work_open(struct bm_keeper *k, int64_t id, int64_t now, struct bm_acme_work *ret, struct bm_error *e)
{
    enum bm_rc rc = bm_acme_order_by_id(k->store, id, &ret->row, e);

    if (rc != BM_OK)
        return rc == BM_NOTFOUND ? bm_acme_not_found(e) : rc;
    ret->doc = json_loadb((const char *)ret->row.document.p, ret->row.document.n, 0, NULL);
    if (!json_is_object(ret->doc))
        return bm_fail(e, BM_IO, "registry: order %lld has no document", (long long)id);
    if ((bm_acme_work_is(ret, "pending") || bm_acme_work_is(ret, "ready")) && ret->row.expires_at <= now)
        bm_acme_work_status(ret, "invalid");
    return BM_OK;
}

enum bm_rc bm_acme_work_load(struct bm_acme *a, int64_t id, struct bm_acme_work *ret, struct bm_error *e)
{
    enum bm_rc rc = bm_acme_work_open(a->k, id, a->now, ret, e);

    return rc == BM_OK && ret->row.account_id != a->account.id ? bm_acme_not_found(e) : rc;
}

enum bm_rc bm_acme_work_save(struct bm_keeper *k, struct bm_acme_work *w, struct bm_error *e)
{
    char *text = json_dumps(w->doc, JSON_COMPACT);
    enum bm_rc rc;

    w->row.document.n = 0;
    w->row.document.max = BM_ACME_DOCUMENT_MAX;
    if (text != NULL)
        bm_buf_str(&w->row.document, text);
    rc = text != NULL ? bm_buf_check(&w->row.document, e) : bm_fail(e, BM_NOMEM, "no memory for an order");
    free(text);
    if (rc == BM_OK)
        rc = bm_acme_order_put(k->store, &w->row, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "writing the order");
}

json_t *bm_acme_authz(const struct bm_acme_work *w, int64_t i)
{
    return i >= 0 ? json_array_get(json_object_get(w->doc, "authz"), (size_t)i) : NULL;
}

json_t *bm_acme_challenge(const struct bm_acme_work *w, int64_t i, int64_t c)
{
    return c >= 0 ? json_array_get(json_object_get(bm_acme_authz(w, i), "chal"), (size_t)c) : NULL;
}

struct bm_acme_identifier bm_acme_identifier_of(const struct bm_acme_work *w, int64_t i)
{
    const json_t *id = json_array_get(json_object_get(w->doc, "ids"), (size_t)i);

    return (struct bm_acme_identifier){ json_string_value(json_object_get(id, "type")),
                                        json_string_value(json_object_get(id, "value")) };
}

/* --- as an answer --------------------------------------------------------------------------------------------------------------------- */
static json_t *authorization_urls(const struct bm_acme *a, const struct bm_acme_work *w)
{
    json_t *list = json_array();
    char url[BM_ACME_URL_MAX];

    for (int64_t i = 0; bm_acme_authz(w, i) != NULL; i++)
        json_array_append_new(list, json_string(bm_acme_url(a, url, "authz/%lld-%lld", (long long)w->row.id, (long long)i)));
    return list;
}

void bm_acme_tell_order(struct bm_acme *a, const struct bm_acme_work *w, int status)
{
    const char *service = json_string_value(json_object_get(w->doc, "service"));
    char url[BM_ACME_URL_MAX];

    bm_acme_url(a, a->location, "order/%lld", (long long)w->row.id);
    bm_acme_url(a, url, "order/%lld/finalize", (long long)w->row.id);
    a->status = status;
    a->reply =
        json_pack("{s:s, s:o, s:O, s:o, s:s}", "status", w->row.status, "expires", bm_acme_time(w->row.expires_at), "identifiers",
                  json_object_get(w->doc, "ids"), "authorizations", authorization_urls(a, w), "finalize", url);
    if (service != NULL && service[0] != '\0')
        json_object_set_new(a->reply, "profile", json_string(service));
    if (json_object_get(w->doc, "replaces") != NULL) /* RFC 9773 section 5 */
        json_object_set(a->reply, "replaces", json_object_get(w->doc, "replaces"));
    if (json_object_get(w->doc, "error") != NULL)
        json_object_set(a->reply, "error", json_object_get(w->doc, "error"));
    if (bm_acme_work_is(w, "valid"))
        json_object_set_new(a->reply, "certificate", json_string(bm_acme_url(a, url, "cert/%lld", (long long)w->row.id)));
    if (bm_acme_work_is(w, "processing"))
        a->retry_after_s = BM_ACME_RETRY_S;
}

/* --- a new one ------------------------------------------------------------------------------------------------------------------------ */
struct ordering {
    struct bm_acme_work work, before; /* before: whose certificate it replaces */
    struct bm_acme_eab eab;
    int is_for;
};

static void ordering_done(struct ordering *o)
{
    bm_acme_work_done(&o->work);
    bm_acme_work_done(&o->before);
}

static enum bm_rc add_challenge(json_t *list, const char *type, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf token = { .max = 64 };
    uint8_t raw[32];

    if (RAND_bytes(raw, sizeof raw) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    bm_base64url(&token, bm_rd_of(raw, sizeof raw));
    return json_array_append_new(list,
                                 json_pack("{s:s, s:s, s:s%}", "type", type, "status", "pending", "token", token.p, token.n)) == 0
               ? BM_OK
               : bm_fail(e, BM_NOMEM, "no memory for an order");
}

/* What each kind of identifier can be proven by: RFC 8555 section 8, RFC 8738 section 4; a wildcard by DNS alone. */
static const char *const *challenges_of(const struct bm_acme_identifier *i)
{
    static const char *const device[] = { "device-attest-01", NULL }, *const wildcard[] = { "dns-01", NULL };
    static const char *const dns[] = { "http-01", "dns-01", "tls-alpn-01", NULL }, *const ip[] = { "http-01", "tls-alpn-01", NULL };

    if (strcmp(i->type, "ip") == 0)
        return ip;
    return strcmp(i->type, "dns") != 0 ? device : i->value[0] == '*' ? wildcard : dns;
}

static enum bm_rc add_authorization(json_t *doc, const struct bm_acme_identifier *i, struct bm_error *e)
{
    const char *const *type = challenges_of(i);
    json_t *chal = json_array();
    enum bm_rc rc = BM_OK;

    if (json_array_append_new(json_object_get(doc, "authz"), json_pack("{s:s, s:o}", "status", "pending", "chal", chal)) != 0)
        return bm_fail(e, BM_NOMEM, "no memory for an order");
    for (; rc == BM_OK && *type != NULL; type++)
        rc = add_challenge(chal, *type, e);
    return rc;
}

static enum bm_rc add_identifier(struct ordering *o, const json_t *given, struct bm_error *e)
{
    struct bm_acme_identifier i = { json_string_value(json_object_get(given, "type")),
                                    json_string_value(json_object_get(given, "value")) };
    int is_for = 0;
    enum bm_rc rc;

    if (i.type == NULL || i.value == NULL)
        return bm_refuse(e, BM_MALFORMED, "acme-identifier-form", "an identifier is an object with \"type\" and \"value\"");
    rc = bm_acme_identifier_check(&i, &o->eab, &is_for, e);
    if (rc != BM_OK)
        return rc;
    if (json_array_size(json_object_get(o->work.doc, "ids")) != 0 && o->is_for != is_for)
        return bm_refuse(e, BM_DENIED, "acme-identifier", "an order is for a device or for names, not for both");
    json_array_append_new(json_object_get(o->work.doc, "ids"), json_pack("{s:s, s:s}", "type", i.type, "value", i.value));
    o->is_for = is_for;
    return add_authorization(o->work.doc, &i, e);
}

static enum bm_rc add_identifiers(struct ordering *o, const json_t *list, struct bm_error *e)
{
    const json_t *one;
    size_t i;

    if (!json_is_array(list) || json_array_size(list) == 0)
        return bm_refuse(e, BM_MALFORMED, "acme-identifier-form", "\"identifiers\" must be an array, and not empty");
    if (json_array_size(list) > BM_ACME_NAMES_MAX)
        return bm_refuse(e, BM_DENIED, "acme-identifier", "an order has at most %d identifiers", BM_ACME_NAMES_MAX);
    json_array_foreach (list, i, one) {
        enum bm_rc rc = add_identifier(o, one, e);

        if (rc != BM_OK)
            return rc;
    }
    if (o->is_for == BM_ACME_FOR_DEVICE && json_array_size(list) > BM_ACME_DEVICE_IDENTIFIERS_MAX)
        return bm_refuse(e, BM_DENIED, "acme-identifier", "a device's certificate is ordered by at most %d identifiers",
                         BM_ACME_DEVICE_IDENTIFIERS_MAX);
    return BM_OK;
}

/* Which of the product's services: by the directory it came through, or by "profile" (draft-ietf-acme-profiles). */
static enum bm_rc take_service(struct bm_acme *a, json_t *doc, struct bm_error *e)
{
    const json_t *profile = json_object_get(a->jws.body, "profile");
    char name[BM_NAME_LEN] = "";
    struct bm_rd word = a->ask->label;
    struct bm_service s;
    enum bm_rc rc = BM_OK;

    if (profile != NULL)
        word = json_is_string(profile) ? bm_rd_str(json_string_value(profile)) : bm_rd_str("?");
    if (word.n != 0 && word.n < sizeof name) {
        memcpy(name, word.p, word.n);
        rc = memchr(name, '\0', word.n) == NULL ? bm_service_get(a->k->store, name, &s, e) : BM_NOTFOUND;
    }
    if (rc == BM_NOTFOUND || word.n >= sizeof name)
        return bm_refuse(e, BM_MALFORMED, "acme-profile", "there is no such profile; the directory's \"meta\" lists them");
    json_object_set_new(doc, "service", json_string(name));
    return rc;
}

static enum bm_rc check_room(struct bm_acme *a, struct bm_error *e)
{
    uint8_t room[8];
    struct bm_wr w = bm_wr_of(room, sizeof room);
    int64_t open;
    enum bm_rc rc = bm_acme_order_open(a->k->store, a->account.id, BM_ACME_ORDERS_OPEN, &open, e);

    bm_wr_uint(&w, 8, (uint64_t)a->account.id);
    if (rc == BM_OK && open >= BM_ACME_ORDERS_OPEN)
        return bm_refuse(e, BM_AGAIN, "acme-orders", "this account has %d orders open; finish them, or let their time pass",
                         BM_ACME_ORDERS_OPEN);
    if (rc == BM_OK && bm_attempts_add(a->k, BM_GUESS_ACME_ORDER, bm_wr_rd(&w), a->now) > BM_ACME_ORDERS_PER_MINUTE)
        return bm_refuse(e, BM_AGAIN, "acme-orders", "this account orders more than %d certificates in a minute",
                         BM_ACME_ORDERS_PER_MINUTE);
    return rc;
}

static enum bm_rc check_order(struct bm_acme *a, struct ordering *o, struct bm_error *e)
{
    const json_t *in = a->jws.body;
    enum bm_rc rc = bm_acme_some_payload(a, e);

    if (rc == BM_OK && (json_object_get(in, "notBefore") != NULL || json_object_get(in, "notAfter") != NULL))
        rc = bm_refuse(e, BM_MALFORMED, "acme-payload",
                       "the validity is the certificate profile's; leave notBefore and notAfter out");
    if (rc == BM_OK)
        rc = bm_acme_eab_of(a, &o->eab, e);
    if (rc == BM_OK)
        rc = add_identifiers(o, json_object_get(in, "identifiers"), e);
    if (rc == BM_OK)
        rc = take_service(a, o->work.doc, e);
    if (rc == BM_OK)
        rc = bm_acme_replaces_check(a, &o->work, &o->before, e);
    return rc == BM_OK ? check_room(a, e) : rc;
}

enum bm_rc bm_acme_new_order(struct bm_acme *a, struct bm_error *e)
{
    BM_CLEANUP(ordering_done) struct ordering o = { 0 };
    struct bm_acme_order *row = &o.work.row;
    enum bm_rc rc;

    o.work.doc = json_pack("{s:[], s:[]}", "ids", "authz");
    rc = check_order(a, &o, e);
    if (rc != BM_OK)
        return rc;
    row->account_id = a->account.id;
    row->created_at = a->now;
    row->expires_at = a->now + BM_ACME_ORDER_LIFE_S;
    row->drop_at = row->expires_at + BM_ACME_ORDER_KEPT_S;
    bm_acme_work_status(&o.work, "pending");
    rc = bm_acme_work_save(a->k, &o.work, e);
    if (rc == BM_OK)
        rc = bm_acme_replaces_mark(a, &o.work, &o.before, e);
    if (rc == BM_OK)
        bm_acme_tell_order(a, &o.work, 201);
    return rc;
}

/* Section 7.4: polling. An order that waits for somebody is tried again; a refusal then ends it. */
enum bm_rc bm_acme_order(struct bm_acme *a, struct bm_error *e)
{
    BM_CLEANUP(bm_acme_work_done) struct bm_acme_work w = { 0 };
    int64_t id;
    enum bm_rc rc = bm_acme_numbers(a->ask->label, &id, 1, e);

    if (rc == BM_OK)
        rc = bm_acme_no_payload(a, e);
    if (rc == BM_OK)
        rc = bm_acme_work_load(a, id, &w, e);
    if (rc == BM_OK && bm_acme_work_is(&w, "processing"))
        rc = bm_acme_issue(a, &w, e);
    if (rc == BM_DENIED || rc == BM_MALFORMED || rc == BM_LIMIT) {
        if (w.doc == NULL || !bm_acme_work_is(&w, "processing"))
            return rc;
        bm_acme_work_status(&w, "invalid");
        json_object_set_new(w.doc, "error", bm_acme_problem(e, a->ask->correlation));
        rc = bm_acme_work_save(a->k, &w, e);
    }
    if (rc == BM_OK)
        bm_acme_tell_order(a, &w, 200);
    return rc;
}
