/* Credentials. */
#include "keeper/internal.h"

BM_ADMIN_HANDLER(bm_admin_cert_list)
{
    static const char *const by[] = { "udid", "state", "service", NULL };

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

BM_ADMIN_HANDLER(bm_admin_cert_revoke)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    int64_t now;
    int reason;
    enum bm_rc rc = load(k, in, &c, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_arg_reason(in, 0, &reason, e);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK && strcmp(c.state, "active") != 0)
        rc = bm_fail(e, BM_CONFLICT, "this certificate has been revoked before");
    if (rc == BM_OK)
        rc = bm_revoke_credential(k, c.id, reason, now, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "serial", json_string(bm_arg_text(in, "serial")));
    json_object_set_new(out, "state", json_string("revoked"));
    fields = json_pack("{s:O, s:s}", "serial", json_object_get(in, "serial"), "reason", bm_reason_name(reason));
    return bm_record(k, now, "credential.revoked", fields, e);
}
