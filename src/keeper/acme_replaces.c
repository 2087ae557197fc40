/* An order that replaces a certificate (RFC 9773 section 5). The order that the certificate came from is marked with the number of the one that takes
 * its place, in the same transaction; an order that has come to nothing takes no place. */
#include "keeper/acme.h"

static enum bm_rc refuse(struct bm_error *e, const char *what)
{
    return bm_refuse(e, BM_MALFORMED, "acme-replaces", "\"replaces\": %s", what);
}

/* Whether it does not exist or is somebody else's is one answer. */
static enum bm_rc find(struct bm_acme *a, const char *name, struct bm_acme_work *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { 0 };
    BM_CLEANUP(bm_acme_order_done) struct bm_acme_order row = { 0 };
    struct bm_error why = { 0 };
    struct bm_cert cert;
    enum bm_rc rc = bm_acme_find_named(a, bm_rd_str(name), &c, &cert, &why);

    if (rc == BM_OK)
        rc = bm_acme_order_of(a->k->store, c.id, &row, &why);
    if (rc == BM_OK)
        rc = bm_acme_work_load(a, row.id, ret, &why);
    if (rc == BM_NOTFOUND || rc == BM_MALFORMED)
        return refuse(e, "it names no certificate that this account has ordered");
    if (rc != BM_OK && e != NULL)
        *e = why;
    return rc;
}

static bool share_identifier(const struct bm_acme_work *x, const struct bm_acme_work *y)
{
    for (int64_t i = 0; bm_acme_authz(x, i) != NULL; i++)
        for (int64_t j = 0; bm_acme_authz(y, j) != NULL; j++)
            if (json_equal(json_array_get(json_object_get(x->doc, "ids"), (size_t)i),
                           json_array_get(json_object_get(y->doc, "ids"), (size_t)j)))
                return true;
    return false;
}

/* By an order that may still come to something, or has. */
static enum bm_rc check_free(struct bm_acme *a, const struct bm_acme_work *before, struct bm_error *e)
{
    BM_CLEANUP(bm_acme_work_done) struct bm_acme_work other = { 0 };
    const json_t *by = json_object_get(before->doc, "replaced");
    enum bm_rc rc = by != NULL ? bm_acme_work_open(a->k, json_integer_value(by), a->now, &other, e) : BM_NOTFOUND;

    if (rc == BM_NOTFOUND || (rc == BM_OK && bm_acme_work_is(&other, "invalid")))
        return BM_OK;
    return rc == BM_OK ? bm_refuse(e, BM_CONFLICT, "acme-replaced", "\"replaces\": another order replaces this certificate already")
                       : rc;
}

enum bm_rc bm_acme_replaces_check(struct bm_acme *a, struct bm_acme_work *w, struct bm_acme_work *ret, struct bm_error *e)
{
    json_t *given = json_object_get(a->jws.body, "replaces");
    enum bm_rc rc;

    if (given == NULL)
        return BM_OK;
    if (!json_is_string(given))
        return refuse(e, "it must be text");
    rc = find(a, json_string_value(given), ret, e);
    if (rc == BM_OK && !share_identifier(w, ret))
        rc = refuse(e, "that certificate has none of the identifiers of this order");
    if (rc == BM_OK)
        rc = check_free(a, ret, e);
    if (rc == BM_OK)
        json_object_set(w->doc, "replaces", given);
    return rc;
}

enum bm_rc bm_acme_replaces_mark(struct bm_acme *a, const struct bm_acme_work *w, struct bm_acme_work *before, struct bm_error *e)
{
    if (before->doc == NULL)
        return BM_OK;
    json_object_set_new(before->doc, "replaced", json_integer(w->row.id));
    return bm_acme_work_save(a->k, before, e);
}
