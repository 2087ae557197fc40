/* Credentials. */
#include "keeper/upstream_revoke.h"

BM_ADMIN_HANDLER(bm_admin_cert_list)
{
    static const char *const by[] = { "udid", "state", "service", "upstream", NULL };

    (void)blob;
    return bm_admin_list(k, "credential", by, in, out, e);
}

static enum bm_rc load(struct bm_keeper *k, const json_t *in, struct bm_credential *ret, struct bm_error *e)
{
    uint8_t serial[BM_SERIAL_LEN];
    enum bm_rc rc = bm_arg_hex(in, "serial", serial, sizeof serial, e);

    if (rc == BM_OK)
        rc = bm_credential_get(k->store, serial, ret, e);
    return rc == BM_NOTFOUND ? bm_fail(e, BM_NOTFOUND, "no certificate with this serial number was issued here") : rc;
}

BM_ADMIN_HANDLER(bm_admin_cert_show)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { 0 };
    enum bm_rc rc = load(k, in, &c, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_admin_one(k, "credential", "serial", bm_arg_text(in, "serial"), out, e);
    if (rc == BM_OK && bm_json_pem(out, "certificate", bm_buf_rd(&c.cert)) != 0)
        rc = bm_fail(e, BM_NOMEM, "no memory");
    return rc;
}

/* Of one that is revoked already, what may have failed is the upstream CA's part: it is asked once more. */
static enum bm_rc revoke(struct bm_keeper *k, const struct bm_credential *c, int reason, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char serial[2 * BM_SERIAL_LEN + 1];
    enum bm_rc rc;

    if (strcmp(c->state, "active") != 0)
        return bm_upstream_revoke_again(k, c->id, now, e);
    rc = bm_revoke_credential(k, c->id, reason, now, e);
    if (rc != BM_OK)
        return rc;
    bm_hex(c->serial, sizeof c->serial, serial);
    fields = json_pack("{s:s, s:s}", "serial", serial, "reason", bm_reason_name(reason));
    return bm_record(k, now, "credential.revoked", fields, e);
}

BM_ADMIN_HANDLER(bm_admin_cert_revoke)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { 0 };
    int64_t now;
    int reason;
    enum bm_rc rc = load(k, in, &c, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_arg_reason(in, 0, &reason, e);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = revoke(k, &c, reason, now, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "serial", json_string(bm_arg_text(in, "serial")));
    json_object_set_new(out, "state", json_string("revoked"));
    return bm_upstream_revocation_tell(k, c.id, out, e);
}
