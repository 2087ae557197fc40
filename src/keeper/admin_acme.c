/* Keys of external account bindings, and the accounts made with them: docs/acme.md. */
#include "keeper/acme.h"
#include "keeper/symmetric.h"

#include "base/text.h"

#include <openssl/rand.h>
#include <stdio.h>

enum { VALID_DEFAULT_S = 90 * 86400, USES_MAX = 1000000, SECRET_LEN = 32, KID_RAW_LEN = 12 };

/* Hex: it is typed, and stands behind an option of a command line. */
static enum bm_rc make_kid(char ret[BM_ACME_KID_LEN], struct bm_error *e)
{
    uint8_t raw[KID_RAW_LEN];

    if (RAND_bytes(raw, sizeof raw) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    bm_hex(raw, sizeof raw, ret);
    return BM_OK;
}

/* As base64url, which every client takes; not with a hyphen in front, which command lines take for an option. */
static enum bm_rc make_secret(uint8_t ret[SECRET_LEN], struct bm_buf *ret_text, struct bm_error *e)
{
    do {
        if (RAND_priv_bytes(ret, SECRET_LEN) != 1)
            return bm_fail(e, BM_BUG, "no random numbers");
        ret_text->n = 0;
        bm_base64url(ret_text, bm_rd_of(ret, SECRET_LEN));
    } while (!ret_text->bad && ret_text->p[0] == '-');
    bm_buf_put(ret_text, "", 1);
    return bm_buf_check(ret_text, e);
}

/* --- what it is for ----------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc for_batch(struct bm_keeper *k, const char *name, struct bm_acme_eab *ret, struct bm_error *e)
{
    struct bm_batch b;
    enum bm_rc rc = bm_batch_get(k->store, name, &b, e);

    ret->batch_id = rc == BM_OK ? b.id : 0;
    return rc;
}

static enum bm_rc for_product(struct bm_keeper *k, const char *name, struct bm_acme_eab *ret, struct bm_error *e)
{
    struct bm_product p;
    enum bm_rc rc = bm_product_get(k->store, name, &p, e);

    ret->product_id = rc == BM_OK ? p.id : 0;
    return rc;
}

static enum bm_rc for_org(struct bm_keeper *k, const char *name, struct bm_acme_eab *ret, struct bm_error *e)
{
    struct bm_org o;
    enum bm_rc rc = bm_org_get(k->store, name, &o, e);

    ret->org_id = rc == BM_OK ? o.id : 0;
    return rc;
}

static enum bm_rc take_scope(struct bm_keeper *k, const json_t *in, struct bm_acme_eab *ret, struct bm_error *e)
{
    static const struct {
        const char *member;
        enum bm_rc (*take)(struct bm_keeper *k, const char *name, struct bm_acme_eab *ret, struct bm_error *e);
    } rows[] = { { "batch", for_batch }, { "product", for_product }, { "org", for_org } };
    enum bm_rc rc = BM_OK;
    int given = 0;

    for (size_t i = 0; rc == BM_OK && i < BM_COUNT(rows); i++) {
        const char *name;

        if (json_object_get(in, rows[i].member) == NULL)
            continue;
        given++;
        rc = bm_arg_name(in, rows[i].member, &name, e);
        if (rc == BM_OK)
            rc = rows[i].take(k, name, ret, e);
    }
    if (rc == BM_OK && given != 1)
        rc = bm_fail(e, BM_USAGE, "a binding is for a batch, a product or an organisation: give one of the three");
    return rc;
}

/* --- making one ----------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc seal_secret(struct bm_keeper *k, struct bm_acme_eab *b, struct bm_rd secret, struct bm_error *e)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key m = { 0 };
    enum bm_rc rc;

    snprintf(m.name, sizeof m.name, "acme:%s", b->kid); /* no name that anybody could give a root key */
    snprintf(m.alg, sizeof m.alg, "acme-eab");
    rc = bm_mac_seal_named(k, &m, secret, b->created_at, e);
    if (rc == BM_OK)
        rc = bm_mac_key_put(k->store, &m, e);
    b->secret_id = m.id;
    return rc;
}

static enum bm_rc take_words(struct bm_keeper *k, const json_t *in, struct bm_acme_eab *b, struct bm_error *e)
{
    const char *note = bm_arg_text(in, "note"), *names = bm_arg_text(in, "names");
    enum bm_rc rc = bm_keeper_now(k, &b->created_at, e);

    b->uses = bm_arg_int(in, "uses", 1);
    if (rc == BM_OK && (b->uses < 1 || b->uses > USES_MAX))
        rc = bm_fail(e, BM_USAGE, "'uses' must be from 1 to %d", USES_MAX);
    if (rc == BM_OK && note != NULL && strlen(note) >= sizeof b->note)
        rc = bm_fail(e, BM_LIMIT, "'note' may have %zu bytes", sizeof b->note - 1);
    if (rc == BM_OK)
        rc = bm_arg_until(in, "valid", b->created_at, VALID_DEFAULT_S, BM_CODE_LIFE_MAX_S, &b->expires_at, e);
    if (rc == BM_OK && names != NULL && strlen(names) >= sizeof b->names)
        rc = bm_fail(e, BM_LIMIT, "'names' may have %zu bytes", sizeof b->names - 1);
    if (rc == BM_OK && names != NULL)
        rc = bm_acme_patterns_check(names, e);
    snprintf(b->names, sizeof b->names, "%s", rc == BM_OK && names != NULL ? names : "");
    snprintf(b->note, sizeof b->note, "%s", rc == BM_OK && note != NULL ? note : "");
    return rc == BM_OK ? take_scope(k, in, b, e) : rc;
}

static enum bm_rc record_made(struct bm_keeper *k, const struct bm_acme_eab *b, const json_t *in, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp)
    json_t *fields =
        json_pack("{s:s, s:I, s:I}", "kid", b->kid, "uses", (json_int_t)b->uses, "expires_at", (json_int_t)b->expires_at);
    static const char *const named[] = { "batch", "product", "org", "names", "note" };

    for (size_t i = 0; i < BM_COUNT(named); i++)
        if (json_object_get(in, named[i]) != NULL)
            json_object_set(fields, named[i], json_object_get(in, named[i]));
    return bm_record(k, b->created_at, "eab.created", fields, e);
}

BM_ADMIN_HANDLER(bm_admin_eab_create)
{
    struct bm_acme_eab b = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 64 };
    uint8_t secret[SECRET_LEN] = { 0 };
    char until[24];
    enum bm_rc rc = take_words(k, in, &b, e);

    (void)blob;
    if (rc == BM_OK)
        rc = make_kid(b.kid, e);
    if (rc == BM_OK)
        rc = make_secret(secret, &text, e);
    if (rc == BM_OK)
        rc = seal_secret(k, &b, bm_rd_of(secret, sizeof secret), e);
    if (rc == BM_OK)
        rc = bm_acme_eab_put(k->store, &b, e);
    if (rc == BM_OK)
        rc = record_made(k, &b, in, e);
    if (rc == BM_OK &&
        json_object_update_new(out, json_pack("{s:s, s:s, s:I, s:s}", "kid", b.kid, "hmac_key", text.p, "uses", (json_int_t)b.uses,
                                              "expires_at", bm_time_text(b.expires_at, until))) != 0)
        rc = bm_fail(e, BM_NOMEM, "no memory for an answer");
    bm_wipe(secret, sizeof secret);
    return rc;
}

BM_ADMIN_HANDLER(bm_admin_eab_list)
{
    static const char *const by[] = { "batch", "product", NULL };

    (void)blob;
    return bm_admin_list(k, "eab", by, in, out, e);
}

BM_ADMIN_HANDLER(bm_admin_eab_revoke)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    const char *kid = bm_arg_text(in, "kid");
    struct bm_acme_eab b;
    int64_t now;
    enum bm_rc rc = bm_keeper_now(k, &now, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_acme_eab_get(k->store, kid, &b, e);
    if (rc == BM_OK && b.revoked_at != 0)
        rc = bm_fail(e, BM_CONFLICT, "this binding is revoked already");
    if (rc == BM_OK)
        rc = bm_acme_eab_revoke(k->store, b.id, now, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "kid", json_string(kid));
    fields = json_pack("{s:s, s:I}", "kid", kid, "used", (json_int_t)b.used);
    return bm_record(k, now, "eab.revoked", fields, e);
}

/* --- accounts -------------------------------------------------------------------------------------------------------------------------------- */
BM_ADMIN_HANDLER(bm_admin_account_list)
{
    static const char *const by[] = { "kid", "status", NULL };

    (void)blob;
    return bm_admin_list(k, "acme-account", by, in, out, e);
}

/* RFC 8555 section 7.1.2: the server's word, where the client's own is "deactivated". */
BM_ADMIN_HANDLER(bm_admin_account_revoke)
{
    BM_CLEANUP(bm_acme_account_done) struct bm_acme_account a = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    int64_t now, number = bm_arg_int(in, "number", 0);
    enum bm_rc rc = bm_keeper_now(k, &now, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_acme_account_by_id(k->store, number, &a, e);
    if (rc == BM_OK && strcmp(a.status, "valid") != 0)
        rc = bm_fail(e, BM_CONFLICT, "this account is %s already", a.status);
    if (rc != BM_OK)
        return rc;
    snprintf(a.status, sizeof a.status, "revoked");
    rc = bm_acme_account_put(k->store, &a, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "number", json_integer(number));
    fields = json_pack("{s:I}", "account", (json_int_t)number);
    return bm_record(k, now, "acme.account.revoked", fields, e);
}
