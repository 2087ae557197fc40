/* Vouchers, for the administrator: which CA is for them, one by hand for a device that nobody can reach, and what was issued. */
#include "keeper/brski.h"
#include "keeper/ownership.h"

#include "base/text.h"

#include <stdio.h>

enum { VALID_DEFAULT_S = 7 * 86400 };

/* --- the MASA's CA ------------------------------------------------------------------------------------------------------------ */
/* What is burnt into devices is trusted for all it issues: so it issues nothing else. */
static enum bm_rc check_ca(struct bm_keeper *k, const char *name, struct bm_ca *ret, struct bm_error *e)
{
    struct bm_issuer *by = NULL;
    int path_len = -1;
    enum bm_rc rc = bm_ca_get(k->store, name, ret, e);

    if (rc == BM_OK)
        rc = bm_issuer_get(k, ret->id, &by, e);
    if (rc == BM_OK) { /* now: the next one may push it out of the cache */
        path_len = by->cert.path_len;
        rc = bm_issuer_default(k, &by, e);
    }
    if (rc == BM_OK && (ret->parent_id == 0 || ret->id == by->row.id || path_len != 0))
        rc = bm_refuse(
            e, BM_CONFLICT, "masa-ca-shared",
            "the MASA needs a CA of its own that issues nothing else: birthmark ca create NAME --parent root --profile masa-ca");
    return rc;
}

static enum bm_rc check_url(const char *url, struct bm_error *e)
{
    if (url == NULL)
        return BM_OK;
    for (const char *p = url; *p != '\0'; p++)
        if (*p <= 0x20 || *p >= 0x7f)
            return bm_fail(e, BM_USAGE, "'url' is what stands in IDevIDs: HOST:PORT, or an https URL");
    if (url[0] == '\0' || strlen(url) >= BM_TEXT_MAX || (strchr(url, '/') != NULL && strncmp(url, "https://", 8) != 0))
        return bm_fail(e, BM_USAGE, "'url' is what stands in IDevIDs: HOST:PORT, or an https URL");
    return BM_OK;
}

BM_ADMIN_HANDLER(bm_admin_voucher_masa)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    const char *name, *url = bm_arg_text(in, "url");
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "ca", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = check_url(url, e);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = check_ca(k, name, &ca, e);
    if (rc == BM_OK)
        rc = bm_meta_set(k->store, "masa-ca", bm_rd_str(name), e);
    if (rc == BM_OK && url != NULL)
        rc = bm_meta_set(k->store, "masa-url", bm_rd_str(url), e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "ca", json_string(name));
    if (bm_json_pem(out, "anchor", bm_buf_rd(&ca.cert)) != 0)
        return bm_fail(e, BM_NOMEM, "no memory");
    fields = json_pack("{s:s, s:s*}", "ca", name, "url", url);
    return bm_record(k, now, "masa.set", fields, e);
}

/* --- one by hand -------------------------------------------------------------------------------------------------------------- */
struct pinning {
    struct bm_buf der;
    struct bm_cert cert; /* borrows from der */
    size_t n;
};

static void pinning_done(struct pinning *p)
{
    bm_buf_done(&p->der);
}

static enum bm_rc pin_one(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct pinning *p = arg;

    if (p->n == 1)
        return bm_fail(e, BM_USAGE, "give the one certificate that the device is to trust");
    p->der.max = der.n;
    bm_buf_put(&p->der, der.p, der.n);
    p->n = 1;
    return bm_cert_parse(bm_buf_rd(&p->der), &p->cert, e);
}

/* The certificate given, or else the root of this registry's own network. */
static enum bm_rc find_pinned(struct bm_keeper *k, struct bm_rd blob, struct pinning *p, struct bm_error *e)
{
    struct bm_issuer *by;
    enum bm_rc rc;

    if (blob.n != 0) {
        rc = bm_pem_parse(blob, "CERTIFICATE", pin_one, p, e);
        return rc == BM_OK && p->n == 0 ? bm_fail(e, BM_USAGE, "no certificate in PEM given") : rc;
    }
    rc = bm_issuer_default(k, &by, e);
    return rc == BM_OK ? pin_one(p, bm_buf_rd(&by->chain[by->n_chain - 1]), e) : rc;
}

static enum bm_rc check_device(struct bm_keeper *k, const struct bm_device *d, const struct pinning *p, int64_t now,
                               int64_t *ret_org, struct bm_error *e)
{
    const struct bm_cert *pin;
    int64_t owner = 0;
    enum bm_rc rc = bm_owner_of(k, d, &owner, e);

    if (rc == BM_OK &&
        (owner == 0 || (strcmp(d->state, bm_state_name(BM_ALLOCATED)) != 0 && strcmp(d->state, bm_state_name(BM_ACTIVE)) != 0)))
        rc = bm_refuse(e, BM_CONFLICT, "voucher-state", "the device is %s; only an allocated or active one gets a voucher",
                       d->state);
    if (rc == BM_OK)
        rc = bm_masa_domain(k, &p->cert, 1, owner, now, ret_org, &pin, e);
    if (rc == BM_OK && *ret_org != owner)
        rc = bm_refuse(e, BM_CONFLICT, "registrar-unknown",
                       "the device's owner is not trusted for this certificate: birthmark org trust ORG FILE --purpose registrar");
    return rc;
}

static enum bm_rc issue(struct bm_keeper *k, const struct bm_device *d, const struct pinning *p, int64_t org, int64_t now,
                        int64_t until, json_t *out, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf cms = { .max = BM_VOUCHER_MAX }, text = { .max = 2 * BM_VOUCHER_MAX };
    char serial[BM_VOUCHER_SERIAL_MAX + 1], at[24];
    struct bm_masa_grant g = { .device = d,
                               .serial_number = serial,
                               .nonce = "",
                               .correlation = "",
                               .pinned = &p->cert,
                               .assertion = BM_ASSERTION_VERIFIED,
                               .org_id = org,
                               .expires_at = until < p->cert.not_after ? until : p->cert.not_after };
    int64_t id;
    enum bm_rc rc;

    (void)bm_masa_serial(d, serial, &g.idevid_issuer);
    rc = bm_masa_issue(k, &g, now, &cms, &id, e);
    if (rc != BM_OK)
        return rc;
    bm_base64(&text, bm_buf_rd(&cms), 0);
    json_object_set_new(out, "number", json_integer(id));
    json_object_set_new(out, "serial_number", json_string(serial));
    json_object_set_new(out, "expires_at", json_string(bm_time_text(g.expires_at, at)));
    json_object_set_new(out, "voucher", json_stringn((const char *)text.p, text.n));
    return BM_OK;
}

BM_ADMIN_HANDLER(bm_admin_voucher_issue)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    BM_CLEANUP(pinning_done) struct pinning p = { 0 };
    int64_t now = 0, until = 0, org = 0;
    enum bm_rc rc = bm_arg_device(k, in, &d, &now, e);

    if (rc == BM_OK)
        rc = bm_arg_until(in, "valid", now, VALID_DEFAULT_S, BM_VOUCHER_LIFE_MAX_S, &until, e);
    if (rc == BM_OK)
        rc = find_pinned(k, blob, &p, e);
    if (rc == BM_OK)
        rc = check_device(k, &d, &p, now, &org, e);
    return rc == BM_OK ? issue(k, &d, &p, org, now, until, out, e) : rc;
}

/* --- what was issued ---------------------------------------------------------------------------------------------------------- */
BM_ADMIN_HANDLER(bm_admin_voucher_list)
{
    static const char *const by[] = { "udid", "org", NULL };

    (void)blob;
    return bm_admin_list(k, "voucher", by, in, out, e);
}

BM_ADMIN_HANDLER(bm_admin_voucher_show)
{
    char number[24];

    (void)blob;
    snprintf(number, sizeof number, "%lld", (long long)bm_arg_int(in, "number", 0));
    return bm_admin_one(k, "voucher", "number", number, out, e);
}
