/* Who owns a device: transfers, and the history. */
#include "keeper/ownership.h"

BM_ADMIN_HANDLER(bm_admin_device_history)
{
    static const char *const by[] = { "udid", NULL };
    uint8_t udid[BM_UDID_LEN];
    int64_t id, batch;
    enum bm_rc rc = bm_arg_hex(in, "udid", udid, sizeof udid, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_device_peek(k->store, udid, &id, &batch, e);
    return rc == BM_OK ? bm_admin_list(k, "ownership", by, in, out, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_device_transfer)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    const char *org;
    struct bm_org o;
    int64_t now, revoked;
    enum bm_rc rc = bm_arg_device(k, in, &d, &now, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_arg_name(in, "org", &org, e);
    if (rc == BM_OK)
        rc = bm_org_get(k->store, org, &o, e);
    if (rc == BM_OK)
        rc = bm_ownership_move(k, &d, o.id, BM_HOW_FORCED, 0, now, &revoked, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "owner", json_string(org));
    json_object_set_new(out, "revoked", json_integer(revoked));
    return BM_OK;
}
