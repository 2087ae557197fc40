/* Accounts: RFC 8555 section 7.3. */
#include "keeper/acme.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

enum { CONTACTS_MAX = 10, ORDERS_PAGE = 100 };

/* --- contacts ----------------------------------------------------------------------------------------------------------------------- */
/* Section 7.3: one address in a mailto, no header fields. */
static enum bm_rc check_contact(const json_t *v, struct bm_error *e)
{
    const char *s = json_string_value(v), *at;

    if (s == NULL || strlen(s) != json_string_length(v) || strlen(s) >= BM_TEXT_MAX)
        return bm_refuse(e, BM_MALFORMED, "acme-contact", "a contact is a URL of at most %d characters", BM_TEXT_MAX - 1);
    if (strncmp(s, "mailto:", 7) != 0)
        return bm_refuse(e, BM_MALFORMED, "acme-contact-kind", "only mailto: contacts are taken");
    at = strchr(s + 7, '@');
    for (const char *p = s; *p != '\0'; p++)
        if ((uint8_t)*p <= 0x20 || (uint8_t)*p >= 0x7f)
            at = NULL;
    if (at == NULL || at == s + 7 || at[1] == '\0' || strpbrk(s, ",?") != NULL || strchr(at + 1, '@') != NULL)
        return bm_refuse(e, BM_MALFORMED, "acme-contact", "a mailto: contact is one address without header fields");
    return BM_OK;
}

static enum bm_rc take_contacts(const json_t *list, struct bm_buf *ret, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;
    json_t *v;
    size_t i;
    char *text;

    if (!json_is_array(list) || json_array_size(list) > CONTACTS_MAX)
        return bm_refuse(e, BM_MALFORMED, "acme-contact", "\"contact\" is an array of at most %d URLs", CONTACTS_MAX);
    json_array_foreach (list, i, v) {
        rc = check_contact(v, e);
        if (rc != BM_OK)
            return rc;
    }
    text = json_dumps(list, JSON_COMPACT);
    ret->n = 0;
    if (text != NULL)
        bm_buf_str(ret, text);
    free(text);
    return text != NULL ? bm_buf_check(ret, e) : bm_fail(e, BM_NOMEM, "no memory for contacts");
}

/* --- one account -------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc tell(struct bm_acme *a, int status, struct bm_error *e)
{
    const struct bm_acme_account *x = &a->account;
    char orders[BM_ACME_URL_MAX];

    bm_acme_url(a, a->location, "acct/%lld", (long long)x->id);
    bm_acme_url(a, orders, "acct/%lld/orders", (long long)x->id);
    a->status = status;
    a->reply = json_pack("{s:s, s:o, s:s}", "status", x->status, "contact",
                         json_loadb((const char *)x->contact.p, x->contact.n, 0, NULL), "orders", orders);
    return a->reply != NULL ? BM_OK : bm_fail(e, BM_NOMEM, "no memory for an answer");
}

/* Everything that leads here has been checked, so only the disk may fail. */
static enum bm_rc write_account(struct bm_acme *a, const char *event, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    enum bm_rc rc = bm_acme_account_put(a->k->store, &a->account, e);

    if (rc == BM_OK) {
        fields = json_pack("{s:s, s:I, s:I, s:s, s:s}", "actor", "acme", "account", (json_int_t)a->account.id, "binding",
                           (json_int_t)a->account.eab_id, "status", a->account.status, "correlation", a->ask->correlation);
        rc = bm_record(a->k, a->now, event, fields, e);
    }
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "writing the account");
}

static enum bm_rc create(struct bm_acme *a, struct bm_error *e)
{
    const json_t *contact = json_object_get(a->jws.body, "contact");
    struct bm_acme_account *x = &a->account;
    struct bm_acme_eab eab;
    enum bm_rc rc;

    *x = (struct bm_acme_account){ .created_at = a->now, .status = "valid", .spki.max = BM_SPKI_MAX, .contact.max = 4096 };
    memcpy(x->thumbprint, a->thumbprint, sizeof x->thumbprint);
    bm_buf_put(&x->spki, a->jws.spki.p, a->jws.spki.n);
    bm_buf_str(&x->contact, "[]");
    rc = contact != NULL ? take_contacts(contact, &x->contact, e) : BM_OK;
    if (rc == BM_OK)
        rc = bm_acme_eab_verify(a, &eab, e);
    if (rc == BM_OK)
        rc = bm_acme_eab_use(a->k->store, eab.id, e);
    if (rc != BM_OK)
        return rc;
    x->eab_id = eab.id;
    rc = write_account(a, "acme.account", e);
    return rc == BM_OK ? tell(a, 201, e) : rc;
}

/* Section 7.3.1: a key has one account. */
enum bm_rc bm_acme_new_account(struct bm_acme *a, struct bm_error *e)
{
    enum bm_rc rc = bm_acme_some_payload(a, e);

    if (rc == BM_OK)
        rc = bm_acme_account_by_key(a->k->store, a->thumbprint, &a->account, e);
    else
        return rc;
    if (rc == BM_OK && strcmp(a->account.status, "valid") != 0)
        return bm_refuse(e, BM_DENIED, "acme-account-closed", "this key's account has been %s", a->account.status);
    if (rc == BM_OK)
        return tell(a, 200, e);
    if (rc == BM_NOTFOUND && json_is_true(json_object_get(a->jws.body, "onlyReturnExisting")))
        return bm_refuse(e, BM_DENIED, "acme-account-unknown", "this key has no account here");
    return rc == BM_NOTFOUND ? create(a, e) : rc;
}

static enum bm_rc check_own(struct bm_acme *a, struct bm_error *e)
{
    int64_t id;
    enum bm_rc rc = bm_acme_numbers(a->ask->label, &id, 1, e);

    return rc == BM_OK && id != a->account.id ? bm_acme_not_found(e) : rc;
}

/* Sections 7.3.2 and 7.3.6; what else is in the object is passed over. */
enum bm_rc bm_acme_account(struct bm_acme *a, struct bm_error *e)
{
    const json_t *contact = json_object_get(a->jws.body, "contact"), *status = json_object_get(a->jws.body, "status");
    enum bm_rc rc = check_own(a, e);

    if (rc == BM_OK && status != NULL && strcmp(json_is_string(status) ? json_string_value(status) : "", "deactivated") != 0)
        rc = bm_refuse(e, BM_MALFORMED, "acme-payload", "\"status\" can only be set to deactivated");
    a->account.contact.max = 4096;
    if (rc == BM_OK && contact != NULL)
        rc = take_contacts(contact, &a->account.contact, e);
    if (rc != BM_OK)
        return rc;
    if (status != NULL)
        snprintf(a->account.status, sizeof a->account.status, "deactivated");
    if (status != NULL || contact != NULL)
        rc = write_account(a, status != NULL ? "acme.account.deactivated" : "acme.account.changed", e);
    return rc == BM_OK ? tell(a, 200, e) : rc;
}

/* Section 7.1.2.1, page by page: "cursor=" and the last number of the page before. */
enum bm_rc bm_acme_orders(struct bm_acme *a, struct bm_error *e)
{
    static const char word[] = "cursor=";
    struct bm_rd q = a->ask->query;
    int64_t after = 0, ids[ORDERS_PAGE];
    size_t n;
    json_t *list = json_array();
    enum bm_rc rc = check_own(a, e);

    a->reply = json_pack("{s:o}", "orders", list);
    if (rc == BM_OK)
        rc = bm_acme_no_payload(a, e);
    if (rc == BM_OK && q.n > sizeof word - 1 && memcmp(q.p, word, sizeof word - 1) == 0)
        rc = bm_acme_numbers(bm_rd_of(q.p + sizeof word - 1, q.n - sizeof word + 1), &after, 1, e);
    if (rc == BM_OK)
        rc = bm_acme_order_list(a->k->store, a->account.id, after, ids, BM_COUNT(ids), &n, e);
    if (rc != BM_OK)
        return rc;
    for (size_t i = 0; i < n; i++) {
        char url[BM_ACME_URL_MAX];

        json_array_append_new(list, json_string(bm_acme_url(a, url, "order/%lld", (long long)ids[i])));
    }
    if (n == BM_COUNT(ids))
        bm_acme_url(a, a->next, "acct/%lld/orders?%s%lld", (long long)a->account.id, word, (long long)ids[n - 1]);
    return a->reply != NULL ? BM_OK : bm_fail(e, BM_NOMEM, "no memory for an answer");
}

/* --- a new key: section 7.3.5 --------------------------------------------------------------------------------------------------------- */
static enum bm_rc bad_rollover(struct bm_error *e, const char *what)
{
    return bm_refuse(e, BM_MALFORMED, "acme-rollover", "key change: %s", what);
}

static enum bm_rc check_rollover(const struct bm_acme *a, const struct bm_acme_jws *inner, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf old = { .max = BM_SPKI_MAX };
    const char *account = json_string_value(json_object_get(inner->body, "account"));
    uint8_t thumbprint[32] = { 0 };
    enum bm_rc rc;

    if (strcmp(inner->url, a->jws.url) != 0)
        return bad_rollover(e, "inner and outer \"url\" differ");
    if (inner->body == NULL || account == NULL || strcmp(account, a->jws.kid) != 0)
        return bad_rollover(e, "\"account\" is not the account that asks");
    rc = bm_jwk_read(json_object_get(inner->body, "oldKey"), &old, e);
    if (rc == BM_OK)
        rc = bm_jwk_thumbprint(bm_buf_rd(&old), thumbprint, e);
    if (rc != BM_OK || memcmp(thumbprint, a->thumbprint, sizeof thumbprint) != 0)
        return bad_rollover(e, "\"oldKey\" is not the account's key");
    return bm_acme_jws_verify(inner, bm_buf_rd(&inner->spki), e);
}

static enum bm_rc take_key(struct bm_acme *a, const struct bm_acme_jws *inner, struct bm_error *e)
{
    BM_CLEANUP(bm_acme_account_done) struct bm_acme_account other = { 0 };
    struct bm_acme_account *x = &a->account;
    uint8_t thumbprint[32];
    enum bm_rc rc = bm_jwk_thumbprint(bm_buf_rd(&inner->spki), thumbprint, e);

    if (rc == BM_OK)
        rc = bm_acme_account_by_key(a->k->store, thumbprint, &other, e);
    if (rc == BM_OK) {
        bm_acme_url(a, a->location, "acct/%lld", (long long)other.id);
        return bm_refuse(e, BM_CONFLICT, "acme-key-in-use", "the new key is an account's already");
    }
    if (rc != BM_NOTFOUND)
        return rc;
    memcpy(x->thumbprint, thumbprint, sizeof thumbprint);
    x->spki.n = 0;
    x->spki.max = BM_SPKI_MAX;
    bm_buf_put(&x->spki, inner->spki.p, inner->spki.n);
    return bm_buf_check(&x->spki, e);
}

enum bm_rc bm_acme_key_change(struct bm_acme *a, struct bm_error *e)
{
    BM_CLEANUP(bm_acme_jws_done) struct bm_acme_jws inner = { 0 };
    enum bm_rc rc = bm_acme_some_payload(a, e);

    if (rc == BM_OK)
        rc = bm_acme_jws_of(a->jws.body, BM_ACME_ROLLOVER, &inner, e);
    if (rc == BM_OK)
        rc = check_rollover(a, &inner, e);
    if (rc == BM_OK)
        rc = take_key(a, &inner, e);
    if (rc == BM_OK)
        rc = write_account(a, "acme.account.key", e);
    return rc == BM_OK ? tell(a, 200, e) : rc;
}
