/* Revocation lists, for the administrator. */
#include "keeper/revocation.h"

#include "base/text.h"

static enum bm_rc fresh(struct bm_keeper *k, const json_t *in, struct bm_authority **ret, struct bm_error *e)
{
    const char *name;
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    return rc == BM_OK ? bm_crl_fresh(k, bm_rd_str(name), now, ret, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_crl_show)
{
    struct bm_authority *a;
    char at[24];
    enum bm_rc rc = fresh(k, in, &a, e);

    (void)blob;
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "ca", json_string(a->name));
    json_object_set_new(out, "number", json_integer(a->row.number));
    json_object_set_new(out, "this_update", json_string(bm_time_text(a->row.this_update, at)));
    json_object_set_new(out, "next_update", json_string(bm_time_text(a->row.next_update, at)));
    json_object_set_new(out, "entries", json_integer((json_int_t)a->full.entries));
    json_object_set_new(out, "bytes", json_integer((json_int_t)a->full.der.n));
    json_object_set_new(out, "delta_base", json_integer(a->base));
    json_object_set_new(out, "delta_entries", json_integer((json_int_t)a->delta.entries));
    return BM_OK;
}

BM_ADMIN_HANDLER(bm_admin_crl_export)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 2 * BM_CRL_MAX };
    struct bm_authority *a;
    const struct bm_crl_ready *c;
    enum bm_rc rc = fresh(k, in, &a, e);

    (void)blob;
    if (rc != BM_OK)
        return rc;
    c = json_is_true(json_object_get(in, "delta")) ? &a->delta : &a->full;
    bm_pem_write(&pem, "X509 CRL", bm_buf_rd(&c->der));
    rc = bm_buf_check(&pem, e);
    if (rc == BM_OK && json_object_set_new(out, "crl", json_stringn((const char *)pem.p, pem.n)) != 0)
        rc = bm_fail(e, BM_NOMEM, "no memory");
    json_object_set_new(out, "ca", json_string(a->name));
    json_object_set_new(out, "number", json_integer(a->row.number));
    return rc;
}
