/* Revocation lists, for the administrator. */
#include "keeper/revocation.h"

#include "base/text.h"

static enum bm_rc fresh(struct bm_keeper *k, const json_t *in, struct bm_authority **ret, struct bm_crl_list **ret_list,
                        struct bm_error *e)
{
    const char *name;
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    return rc == BM_OK ? bm_crl_fresh(k, bm_rd_str(name), now, ret, ret_list, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_crl_show)
{
    struct bm_authority *a;
    struct bm_crl_list *l;
    char at[24];
    enum bm_rc rc = fresh(k, in, &a, &l, e);

    (void)blob;
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "ca", json_string(a->name));
    if (l->row.part != 0)
        json_object_set_new(out, "part", json_integer(l->row.part));
    json_object_set_new(out, "number", json_integer(l->row.number));
    json_object_set_new(out, "this_update", json_string(bm_time_text(l->row.this_update, at)));
    json_object_set_new(out, "next_update", json_string(bm_time_text(l->row.next_update, at)));
    json_object_set_new(out, "entries", json_integer((json_int_t)l->full.entries));
    json_object_set_new(out, "bytes", json_integer((json_int_t)l->full.der.n));
    if (l->base == 0) /* made elsewhere */
        return BM_OK;
    json_object_set_new(out, "delta_base", json_integer(l->base));
    json_object_set_new(out, "delta_entries", json_integer((json_int_t)l->delta.entries));
    return BM_OK;
}

BM_ADMIN_HANDLER(bm_admin_crl_export)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 2 * BM_CRL_MAX };
    struct bm_authority *a;
    struct bm_crl_list *l;
    const struct bm_crl_ready *c;
    enum bm_rc rc = fresh(k, in, &a, &l, e);

    (void)blob;
    if (rc == BM_OK && json_is_true(json_object_get(in, "delta")))
        rc = bm_crl_delta_check(a, l, e);
    if (rc != BM_OK)
        return rc;
    c = json_is_true(json_object_get(in, "delta")) ? &l->delta : &l->full;
    bm_pem_write(&pem, "X509 CRL", bm_buf_rd(&c->der));
    rc = bm_buf_check(&pem, e);
    if (rc == BM_OK && json_object_set_new(out, "crl", json_stringn((const char *)pem.p, pem.n)) != 0)
        rc = bm_fail(e, BM_NOMEM, "no memory");
    json_object_set_new(out, "ca", json_string(a->name));
    json_object_set_new(out, "number", json_integer(l->row.number));
    return rc;
}

/* --- lists in parts ---------------------------------------------------------------------------------------------------------------- */
/* Parts are served at /crl/CA.pN.crl. */
static enum bm_rc names_are_free(struct bm_keeper *k, const char *ca, int64_t n, struct bm_error *e)
{
    char name[BM_NAME_LEN + 16];

    for (int64_t i = 1; i <= n; i++) {
        BM_CLEANUP(bm_ca_done) struct bm_ca other = { 0 };

        if (snprintf(name, sizeof name, "%s.p%lld", ca, (long long)i) >= BM_NAME_LEN)
            return bm_fail(e, BM_USAGE, "a CA whose list is in parts has a name of at most %d characters", BM_NAME_LEN - 6);
        if (bm_ca_get(k->store, name, &other, NULL) == BM_OK)
            return bm_fail(e, BM_CONFLICT, "there is a CA '%s', whose list is where part %lld would be", name, (long long)i);
    }
    return BM_OK;
}

/* Certificates that are out name the old address, and the lists have to be found there for as long as they live. */
static enum bm_rc take_url(const char *url, struct bm_crl_parts *p, struct bm_error *e)
{
    if (url == NULL)
        return p->n == 0 || p->url[0] != '\0'
                   ? BM_OK
                   : bm_fail(e, BM_USAGE, "say where the parts are: 'crl_url', as in http://pki.example.com/crl");
    if (!bm_crl_url_ok(url))
        return bm_fail(e, BM_USAGE, "'crl_url' is an http:// address of at most %d characters, without a slash at its end",
                       BM_TEXT_MAX - 1);
    if (p->highest != 0 && strcmp(url, p->url) != 0)
        return bm_fail(e, BM_CONFLICT, "certificates have been told of %s; 'crl_url' can only be set before there are parts",
                       p->url);
    snprintf(p->url, sizeof p->url, "%s", url);
    return BM_OK;
}

BM_ADMIN_HANDLER(bm_admin_ca_set)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    struct bm_crl_parts p;
    const char *name;
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_ca_get(k->store, name, &ca, e);
    if (rc == BM_OK)
        rc = bm_crl_parts_get(k->store, ca.id, &p, e);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc != BM_OK)
        return rc;
    p.n = bm_arg_int(in, "crl_partitions", p.n);
    if (p.n < 0 || p.n > BM_CRL_PARTS_MAX)
        return bm_fail(e, BM_USAGE, "'crl_partitions' must be from 0 (none) to %d", BM_CRL_PARTS_MAX);
    rc = names_are_free(k, name, p.n, e);
    if (rc == BM_OK)
        rc = take_url(bm_arg_text(in, "crl_url"), &p, e);
    p.highest = p.n > p.highest ? p.n : p.highest;
    if (rc == BM_OK)
        rc = bm_crl_parts_set(k->store, &p, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "name", json_string(name));
    fields = json_pack("{s:s, s:I, s:s}", "name", name, "crl_partitions", (json_int_t)p.n, "crl_url", p.url);
    return bm_record(k, now, "ca.set", fields, e);
}
