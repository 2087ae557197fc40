/* Secret keys of devices, as the administrator sees them: never the keys. */
#include "keeper/symmetric.h"

#include "base/text.h"
#include "factory/manifest.h"
#include "pki/jwe.h"

#include <stdio.h>

/* --- show, import-key ----------------------------------------------------------------------------------------------------------- */
struct telling {
    struct bm_keeper *k;
    json_t *rows;
};

static enum bm_rc tell_root(void *arg, const struct bm_mac_key *m, struct bm_error *e)
{
    struct telling *t = arg;
    struct bm_org o = { 0 };
    enum bm_rc rc = bm_org_by_id(t->k->store, m->org_id, &o, e);

    if (rc != BM_OK)
        return rc;
    json_array_append_new(
        t->rows, json_pack("{s:s, s:s, s:s, s:I}", "name", m->name, "org", o.name, "kdf", m->alg, "kek", (json_int_t)m->kek_id));
    return BM_OK;
}

static enum bm_rc tell_import_key(const struct bm_key *key, json_t *out, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 4096 };
    char kid[BM_JWE_KID_LEN];

    bm_pem_write(&pem, "PUBLIC KEY", bm_key_spki(key));
    bm_jwe_kid(bm_key_spki(key), kid);
    json_object_set_new(out, "import_key", json_stringn((const char *)pem.p, pem.n));
    json_object_set_new(out, "kid", json_string(kid));
    return bm_buf_check(&pem, e);
}

BM_ADMIN_HANDLER(bm_admin_key_show)
{
    struct telling t = { k, json_array() };
    const struct bm_key *key;
    enum bm_rc rc;

    (void)in, (void)blob;
    json_object_set_new(out, "roots", t.rows);
    rc = bm_kek_tell(k, out, e);
    if (rc == BM_OK)
        rc = bm_mac_root_each(k->store, tell_root, &t, e);
    if (rc != BM_OK)
        return rc;
    rc = bm_import_key(k, false, &key, e);
    if (rc == BM_OK)
        return tell_import_key(key, out, e);
    json_object_set_new(out, "import_key", json_null());
    return rc == BM_DENIED && strcmp(e->code, "no-import-key") == 0 ? BM_OK : rc;
}

BM_ADMIN_HANDLER(bm_admin_key_import)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    const struct bm_key *key;
    int64_t now;
    enum bm_rc rc = bm_keeper_now(k, &now, e);

    (void)in, (void)blob;
    if (rc != BM_OK)
        return rc;
    rc = bm_import_key(k, false, &key, e);
    if (rc == BM_OK)
        return tell_import_key(key, out, e);
    if (rc == BM_DENIED && strcmp(e->code, "no-import-key") == 0)
        rc = bm_import_key(k, true, &key, e);
    if (rc == BM_OK)
        rc = tell_import_key(key, out, e);
    if (rc != BM_OK)
        return rc;
    fields = json_pack("{s:O}", "kid", json_object_get(out, "kid"));
    return bm_record(k, now, "import-key.created", fields, e);
}

/* --- one device ----------------------------------------------------------------------------------------------------------------- */
struct adding {
    struct bm_org org;
    struct bm_batch batch;
    struct bm_device device;
    struct bm_mac_key key;
    struct bm_buf ident;
    int64_t now;
};

static void adding_done(struct adding *a)
{
    bm_mac_key_done(&a->key);
    bm_buf_done(&a->ident);
}

static enum bm_rc take_words(struct bm_keeper *k, const json_t *in, struct adding *a, struct bm_error *e)
{
    const char *org, *rot = bm_arg_text(in, "rot"), *id = bm_arg_text(in, "id"), *batch = bm_arg_text(in, "batch");
    const struct bm_rot_kind *kind = bm_rot_kind_find(bm_rd_str(rot));
    enum bm_rc rc = bm_arg_name(in, "org", &org, e);

    if (rc == BM_OK && (kind == NULL || !kind->symmetric))
        rc = bm_refuse(e, BM_USAGE, "entry-rot", "'rot' must be symmetric-chip or symmetric-software");
    a->ident.max = 2 * BM_MAC_IDENT_MAX;
    if (rc == BM_OK && (strlen(id) > a->ident.max || bm_unbase64url(bm_rd_str(id), &a->ident, e) != BM_OK || a->ident.n == 0 ||
                        a->ident.n > BM_MAC_IDENT_MAX))
        rc = bm_refuse(e, BM_USAGE, "entry-id", "'id' must be base64url of 1 to %d bytes", BM_MAC_IDENT_MAX);
    if (rc == BM_OK)
        rc = bm_org_get(k->store, org, &a->org, e);
    if (rc == BM_OK && batch != NULL)
        rc = bm_batch_get(k->store, batch, &a->batch, e);
    if (rc != BM_OK)
        return rc;
    snprintf(a->device.rot, sizeof a->device.rot, "%s", rot);
    bm_udid_symmetric(bm_rd_str(org), bm_rd_str(rot), bm_buf_rd(&a->ident), a->device.udid);
    return bm_keeper_now(k, &a->now, e);
}

static enum bm_rc take_key(struct bm_keeper *k, const json_t *in, struct adding *a, struct bm_error *e)
{
    const char *sealed = bm_arg_text(in, "sealed"), *root = bm_arg_text(in, "root");
    const struct bm_mac_given given = {
        .org_id = a->org.id,
        .udid = a->device.udid,
        .mac = bm_arg_text(in, "mac"),
        .ident = bm_buf_rd(&a->ident),
        .sealed_b64u = bm_rd_str(sealed != NULL ? sealed : ""),
        .root = root != NULL ? root : "",
    };

    if ((sealed == NULL) == (root == NULL))
        return bm_refuse(e, BM_USAGE, "entry-secret", "either a sealed key or a root key is needed");
    return bm_mac_take(k, &given, a->now, &a->key, e);
}

static enum bm_rc put(struct bm_keeper *k, struct adding *a, struct bm_error *e)
{
    struct bm_device *d = &a->device;
    enum bm_rc rc;

    d->batch_id = a->batch.id;
    d->created_at = a->now;
    snprintf(d->state, sizeof d->state, "%s", bm_state_name(a->batch.id != 0 ? BM_ALLOCATED : BM_REGISTERED));
    rc = bm_device_put(k->store, d, e);
    if (rc != BM_OK)
        return rc;
    a->key.device_id = d->id;
    return bm_mac_key_put(k->store, &a->key, e);
}

BM_ADMIN_HANDLER(bm_admin_key_add)
{
    BM_CLEANUP(adding_done) struct adding a = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char udid[2 * BM_UDID_LEN + 1];
    enum bm_rc rc = take_words(k, in, &a, e);

    (void)blob;
    if (rc == BM_OK)
        rc = take_key(k, in, &a, e);
    if (rc == BM_OK)
        rc = put(k, &a, e);
    if (rc != BM_OK)
        return rc;
    bm_hex(a.device.udid, BM_UDID_LEN, udid);
    json_object_set_new(out, "udid", json_string(udid));
    json_object_set_new(out, "state", json_string(a.device.state));
    fields = json_pack("{s:s, s:s, s:s, s:s, s:s}", "udid", udid, "org", a.org.name, "rot", a.device.rot, "mac", a.key.alg, "batch",
                       a.batch.name);
    return bm_record(k, a.now, "device.added", fields, e);
}

/* --- root keys ------------------------------------------------------------------------------------------------------------------ */
BM_ADMIN_HANDLER(bm_admin_key_root)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key m = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    const char *name, *org, *sealed = bm_arg_text(in, "sealed");
    struct bm_org o;
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_arg_name(in, "org", &org, e);
    if (rc == BM_OK)
        rc = bm_org_get(k->store, org, &o, e);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_mac_take_root(k, name, bm_arg_text(in, "kdf"), o.id, bm_rd_str(sealed), now, &m, e);
    if (rc == BM_OK)
        rc = bm_mac_key_put(k->store, &m, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "root key '%.64s'", bm_arg_text(in, "name"));
    json_object_set_new(out, "name", json_string(name));
    fields = json_pack("{s:s, s:s, s:s}", "name", name, "org", org, "kdf", m.alg);
    return bm_record(k, now, "root-key.added", fields, e);
}

/* --- rotation ------------------------------------------------------------------------------------------------------------------- */
BM_ADMIN_HANDLER(bm_admin_key_rotate)
{
    int64_t now, id;
    enum bm_rc rc = bm_keeper_now(k, &now, e);

    (void)in, (void)blob;
    if (rc == BM_OK)
        rc = bm_kek_rotate(k, now, &id, e);
    if (rc == BM_OK)
        json_object_set_new(out, "kek", json_integer(id));
    return rc;
}

BM_ADMIN_HANDLER(bm_admin_key_step)
{
    int64_t now, moved;
    bool more;
    enum bm_rc rc = bm_keeper_now(k, &now, e);

    (void)in, (void)blob;
    if (rc == BM_OK)
        rc = bm_kek_step(k, now, &moved, &more, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "moved", json_integer(moved));
    json_object_set_new(out, "more", json_boolean(more));
    return BM_OK;
}
