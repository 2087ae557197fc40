/* Organisations and the certificates they are trusted for. */
#include "keeper/maker_crl.h"

#include "base/text.h"

#include <stdio.h>

static const char *const roles[] = { "chip-maker", "contract-manufacturer", "oem", "service-operator", "auditor" };

BM_ADMIN_HANDLER(bm_admin_org_create)
{
    struct bm_org o = { 0 };
    const char *name, *role = bm_arg_text(in, "role"), *title = bm_arg_text(in, "title");
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    size_t i;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    for (i = 0; i < BM_COUNT(roles) && (role == NULL || strcmp(roles[i], role) != 0); i++)
        ;
    if (rc == BM_OK && i == BM_COUNT(roles))
        rc = bm_fail(e, BM_USAGE, "'role' must be chip-maker, contract-manufacturer, oem, service-operator or auditor");
    if (rc == BM_OK && title != NULL && strlen(title) >= sizeof o.title)
        rc = bm_fail(e, BM_LIMIT, "'title' may have %zu bytes", sizeof o.title - 1);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &o.created_at, e);
    if (rc != BM_OK)
        return rc;
    snprintf(o.name, sizeof o.name, "%s", name);
    snprintf(o.role, sizeof o.role, "%s", role);
    snprintf(o.title, sizeof o.title, "%s", title != NULL ? title : "");
    rc = bm_org_put(k->store, &o, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "organisation '%s'", name);
    fields = json_pack("{s:s, s:s}", "name", name, "role", role);
    json_object_set_new(out, "name", json_string(name));
    return bm_record(k, o.created_at, "org.created", fields, e);
}

BM_ADMIN_HANDLER(bm_admin_org_list)
{
    (void)blob;
    return bm_admin_list(k, "org", NULL, in, out, e);
}

BM_ADMIN_HANDLER(bm_admin_org_show)
{
    static const char *const by_org[] = { "org", NULL };
    BM_CLEANUP(bm_keeper_jsonp) json_t *list = json_object(), *query = NULL;
    const char *name;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_admin_one(k, "org", "name", name, out, e);
    if (rc != BM_OK)
        return rc;
    query = json_pack("{s:s, s:i}", "org", name, "limit", 1000);
    rc = bm_admin_list(k, "trust", by_org, query, list, e);
    if (rc == BM_OK)
        json_object_set(out, "trust", json_object_get(list, "rows"));
    return rc;
}

struct trusting {
    struct bm_keeper *k;
    struct bm_trust row;
    json_t *digests, *ids;
    int added;
};

struct holder {
    const uint8_t *sha256;
    int64_t id, org_id;
};

/* A certificate speaks for one organisation only. Pinned twice for the same one is fine. */
static enum bm_rc find_holder(void *arg, const struct bm_trust *t, struct bm_error *e)
{
    struct holder *h = arg;

    (void)e;
    if (memcmp(t->sha256, h->sha256, sizeof t->sha256) == 0)
        *h = (struct holder){ h->sha256, t->id, t->org_id };
    return BM_OK;
}

static enum bm_rc check_holder(struct bm_keeper *k, struct bm_trust *row, const char *digest, struct bm_error *e)
{
    struct holder held = { .sha256 = row->sha256 };
    struct bm_org o;
    enum bm_rc rc = bm_trust_each(k->store, row->purpose, find_holder, &held, e);

    row->id = held.id;
    if (rc != BM_OK || held.org_id == row->org_id)
        return rc;
    rc = bm_org_by_id(k->store, held.org_id, &o, e);
    return rc == BM_OK ? bm_fail(e, BM_CONFLICT, "certificate %.16s... is pinned for organisation '%s' already", digest, o.name)
                       : rc;
}

static enum bm_rc trust_one(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct trusting *t = arg;
    struct bm_trust row = t->row;
    char digest[65];
    struct bm_cert cert;
    enum bm_rc rc = bm_cert_parse(der, &cert, e);

    if (rc != BM_OK)
        return rc;
    bm_udid_of(der, row.sha256); /* a SHA-256 like any other */
    row.der = (struct bm_buf){ .p = (uint8_t *)(uintptr_t)der.p, .n = der.n, .cap = der.n, .max = der.n };
    bm_hex(row.sha256, sizeof row.sha256, digest);
    rc = bm_trust_put(t->k->store, &row, e);
    t->added += rc == BM_OK;
    if (rc == BM_CONFLICT)
        rc = check_holder(t->k, &row, digest, e);
    if (rc != BM_OK)
        return rc;
    json_array_append_new(t->digests, json_string(digest));
    json_array_append_new(t->ids, json_integer(row.id));
    return BM_OK;
}

static bool is_purpose(const char *word)
{
    static const char *const purposes[] = { BM_TRUST_MANIFEST,  BM_TRUST_BIRTH, BM_TRUST_ATTESTATION,
                                            BM_TRUST_REGISTRAR, BM_TRUST_MASA,  BM_TRUST_RA };

    for (size_t i = 0; word != NULL && i < BM_COUNT(purposes); i++)
        if (strcmp(word, purposes[i]) == 0)
            return true;
    return false;
}

/* Certificates, and revocation lists that they or those from before have signed. */
static enum bm_rc take_file(struct trusting *t, const json_t *in, struct bm_rd blob, json_t *out, struct bm_error *e)
{
    const struct bm_maker_wish w = { .url = bm_arg_text(in, "crl"),
                                     .over = bm_arg_text(in, "crl_over"),
                                     .purpose = t->row.purpose,
                                     .org_id = t->row.org_id,
                                     .ids = t->ids,
                                     .file = blob };
    int64_t lists = 0;
    enum bm_rc rc = bm_pem_parse(blob, "CERTIFICATE", trust_one, t, e);

    if (rc == BM_OK)
        rc = bm_maker_wish(t->k, &w, t->row.created_at, &lists, e);
    if (rc == BM_OK && json_array_size(t->digests) == 0 && lists == 0)
        rc = bm_fail(e, BM_USAGE, "no certificate in PEM given, and no revocation list");
    if (lists != 0)
        json_object_set_new(out, "lists", json_integer(lists));
    return rc;
}

BM_ADMIN_HANDLER(bm_admin_org_trust)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL, *ids = json_array();
    struct trusting t = { .k = k, .ids = ids };
    const char *org, *purpose = bm_arg_text(in, "purpose");
    struct bm_org o;
    enum bm_rc rc = bm_arg_name(in, "org", &org, e);

    if (rc == BM_OK && !is_purpose(purpose))
        rc = bm_fail(e, BM_USAGE, "'purpose' must be manifest, birth, attestation, registrar, masa or ra");
    if (rc == BM_OK)
        rc = bm_org_get(k->store, org, &o, e);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &t.row.created_at, e);
    if (rc != BM_OK)
        return rc;
    t.row.org_id = o.id;
    snprintf(t.row.purpose, sizeof t.row.purpose, "%s", purpose);
    t.digests = json_array();
    json_object_set_new(out, "sha256", t.digests);
    rc = take_file(&t, in, blob, out, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "added", json_integer(t.added));
    fields = json_pack("{s:s, s:s, s:O, s:s*, s:s*}", "org", org, "purpose", purpose, "sha256", t.digests, "crl",
                       bm_arg_text(in, "crl"), "crl_over", bm_arg_text(in, "crl_over"));
    return bm_record(k, t.row.created_at, "org.trusted", fields, e);
}
