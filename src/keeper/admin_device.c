/* Devices: looking them up, and the moves of their life. What a move does to credentials stands in act.c. */
#include "keeper/act.h"

#include "base/text.h"

#include <stdio.h>

static bool each_row_full(struct bm_keeper *k, json_t *row)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 4 * BM_CERT_MAX };
    uint8_t udid[BM_UDID_LEN];

    if (bm_arg_hex(row, "udid", udid, sizeof udid, NULL) != BM_OK || bm_device_get(k->store, udid, &d, NULL) != BM_OK)
        return false;
    bm_base64url(&text, bm_buf_rd(&d.spki));
    json_object_set_new(row, "key", json_stringn((const char *)text.p, text.n));
    if (d.birth_cert.n != 0) {
        text.n = 0;
        bm_base64url(&text, bm_buf_rd(&d.birth_cert));
        json_object_set_new(row, "birth", json_stringn((const char *)text.p, text.n));
    }
    if (d.attributes.n != 0)
        json_object_set_new(row, "attributes", json_loadb((const char *)d.attributes.p, d.attributes.n, 0, NULL));
    return !text.bad;
}

BM_ADMIN_HANDLER(bm_admin_device_list)
{
    static const char *const by[] = { "state", "batch", "product", NULL };
    json_t *row;
    size_t i;
    enum bm_rc rc = bm_admin_list(k, "device", by, in, out, e);

    (void)blob;
    if (rc != BM_OK || !json_is_true(json_object_get(in, "full")))
        return rc;
    json_array_foreach (json_object_get(out, "rows"), i, row) {
        if (!each_row_full(k, row))
            return bm_fail(e, BM_IO, "cannot read device %zu of the list", i);
    }
    return BM_OK;
}

BM_ADMIN_HANDLER(bm_admin_device_show)
{
    static const char *const by[] = { "udid", NULL };
    BM_CLEANUP(bm_keeper_jsonp) json_t *list = json_object(), *query = NULL;
    uint8_t udid[BM_UDID_LEN];
    enum bm_rc rc = bm_arg_hex(in, "udid", udid, sizeof udid, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_admin_one(k, "device", "udid", bm_arg_text(in, "udid"), out, e);
    if (rc == BM_OK && !each_row_full(k, out))
        rc = bm_fail(e, BM_IO, "cannot read the device");
    if (rc != BM_OK)
        return rc;
    query = json_pack("{s:s, s:i}", "udid", bm_arg_text(in, "udid"), "limit", 1000);
    rc = bm_admin_list(k, "credential", by, query, list, e);
    if (rc == BM_OK)
        json_object_set(out, "credentials", json_object_get(list, "rows"));
    return rc;
}

enum bm_rc bm_arg_device(struct bm_keeper *k, const json_t *in, struct bm_device *ret, int64_t *ret_now, struct bm_error *e)
{
    uint8_t udid[BM_UDID_LEN];
    enum bm_rc rc = bm_arg_hex(in, "udid", udid, sizeof udid, e);

    if (rc == BM_OK)
        rc = bm_keeper_now(k, ret_now, e);
    if (rc == BM_OK)
        rc = bm_device_get(k->store, udid, ret, e);
    return rc == BM_NOTFOUND ? bm_fail(e, BM_NOTFOUND, "no device with this UDID is registered") : rc;
}

/* An active device goes back to "allocated" by a reset only, and keeps its batch. */
static enum bm_rc check_registered(const struct bm_device *d, struct bm_error *e)
{
    if (strcmp(d->state, bm_state_name(BM_REGISTERED)) == 0)
        return BM_OK;
    return bm_refuse(e, BM_CONFLICT, "illegal-transition", "only a device without a batch can be allocated; this one is %s",
                     d->state);
}

BM_ADMIN_HANDLER(bm_admin_device_allocate)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    const char *batch;
    struct bm_batch b;
    int64_t now;
    enum bm_rc rc = bm_arg_device(k, in, &d, &now, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_arg_name(in, "batch", &batch, e);
    if (rc == BM_OK)
        rc = bm_batch_get(k->store, batch, &b, e);
    if (rc == BM_OK)
        rc = check_registered(&d, e);
    if (rc == BM_OK)
        rc = bm_device_set_batch(k->store, d.id, b.id, bm_state_name(BM_ALLOCATED), e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "state", json_string(bm_state_name(BM_ALLOCATED)));
    fields = json_pack("{s:O, s:s}", "udid", json_object_get(in, "udid"), "batch", batch);
    return bm_record(k, now, "device.allocated", fields, e);
}

/* --- credentials of one device ------------------------------------------------------------------------------------------------- */
enum { REVOKE_STEP = 64 };

struct active {
    int64_t ids[REVOKE_STEP];
    size_t n;
};

static enum bm_rc note_active(void *arg, const struct bm_credential *c, struct bm_error *e)
{
    struct active *a = arg;

    (void)e;
    if (a->n < REVOKE_STEP && strcmp(c->state, "active") == 0)
        a->ids[a->n++] = c->id;
    return BM_OK;
}

enum bm_rc bm_device_revoke_all(struct bm_keeper *k, int64_t device_id, int reason, int64_t now, int64_t *ret_n, struct bm_error *e)
{
    struct active a;
    enum bm_rc rc;

    *ret_n = 0;
    do {
        a.n = 0;
        rc = bm_credential_each_of(k->store, device_id, note_active, &a, e);
        for (size_t i = 0; rc == BM_OK && i < a.n; i++)
            rc = bm_revoke_credential(k, a.ids[i], reason, now, e);
        *ret_n += (int64_t)a.n;
    } while (rc == BM_OK && a.n == REVOKE_STEP);
    return rc;
}

/* --- moves --------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc do_act(struct bm_keeper *k, const char *name, const json_t *in, json_t *out, struct bm_error *e)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    int64_t now, revoked;
    int reason;
    enum bm_rc rc = bm_arg_device(k, in, &d, &now, e);

    if (rc == BM_OK)
        rc = bm_arg_reason(in, -1, &reason, e);
    if (rc == BM_OK)
        rc = bm_act_do(k, bm_act_find(name), &d, reason, now, &revoked, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "state", json_string(d.state));
    json_object_set_new(out, "revoked", json_integer(revoked));
    return BM_OK;
}

#define ACT(handler, name)                                                                                                         \
    BM_ADMIN_HANDLER(handler)                                                                                                      \
    {                                                                                                                              \
        (void)blob;                                                                                                                \
        return do_act(k, name, in, out, e);                                                                                        \
    }
ACT(bm_admin_device_suspend, "suspend")
ACT(bm_admin_device_resume, "resume")
ACT(bm_admin_device_retire, "retire")
ACT(bm_admin_device_compromise, "compromise")
ACT(bm_admin_device_reset, "reset")
