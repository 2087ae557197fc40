/* Certificates: fetched (RFC 8555 section 7.4.2) and revoked (section 7.6). */
#include "keeper/acme.h"

#include "base/text.h"
#include "keeper/revocation.h"

#include <stdio.h>

/* --- fetching ------------------------------------------------------------------------------------------------------------------------- */
/* The root stays at home: clients have it, or do not trust it. A CA that is its own root is all there is. */
static void put_chain(struct bm_acme *a, const struct bm_credential *c, const struct bm_issuer *by, struct bm_rd link)
{
    bm_pem_write(&a->chain, "CERTIFICATE", bm_buf_rd(&c->cert));
    for (size_t i = 0; i < by->n_chain && (i + 1 < by->n_chain || (by->n_chain == 1 && link.n == 0)); i++)
        bm_pem_write(&a->chain, "CERTIFICATE", bm_buf_rd(&by->chain[i]));
    if (link.n != 0)
        bm_pem_write(&a->chain, "CERTIFICATE", link);
}

/* Section 7.4.2: where the root has another one's signature too (a successor's or a predecessor's), there is a chain that ends there. */
struct chains {
    struct bm_acme *a;
    const struct bm_credential *c;
    const struct bm_issuer *by;
    int64_t order_id, wanted; /* number of the link, 0: none */
};

static void tell_alternate(struct bm_acme *a, const struct chains *x, int64_t link_id)
{
    char *to = a->n_alternates < BM_ACME_ALTERNATES_MAX ? a->alternates[a->n_alternates++] : NULL;

    if (to != NULL && link_id != 0)
        bm_acme_url(a, to, "cert/%lld-%lld", (long long)x->order_id, (long long)link_id);
    else if (to != NULL)
        bm_acme_url(a, to, "cert/%lld", (long long)x->order_id);
}

static enum bm_rc see_link(void *arg, const struct bm_ca_link *l, struct bm_error *e)
{
    struct chains *x = arg;

    (void)e;
    if (l->id == x->wanted)
        put_chain(x->a, x->c, x->by, bm_buf_rd(&l->cert));
    else
        tell_alternate(x->a, x, l->id);
    return BM_OK;
}

static enum bm_rc put_chains(struct chains *x, struct bm_error *e)
{
    struct bm_acme *a = x->a;
    enum bm_rc rc;

    if (x->wanted == 0)
        put_chain(a, x->c, x->by, bm_rd_of(NULL, 0));
    else
        tell_alternate(a, x, 0);
    rc = bm_ca_links(a->k, x->by, a->now, see_link, x, e);
    if (rc == BM_OK && a->chain.n == 0) /* a link that has run out, or never was one of this root */
        rc = bm_acme_not_found(e);
    return rc == BM_OK ? bm_buf_check(&a->chain, e) : rc;
}

/* "order", or "order-link" for an alternate chain. */
static enum bm_rc read_label(struct bm_rd label, int64_t ret[2], struct bm_error *e)
{
    bool alternate = label.n != 0 && memchr(label.p, '-', label.n) != NULL;
    enum bm_rc rc = bm_acme_numbers(label, ret, alternate ? 2 : 1, e);

    if (!alternate)
        ret[1] = 0;
    return rc == BM_OK && alternate && ret[1] == 0 ? bm_acme_not_found(e) : rc;
}

/* The row alone says whose it is and which certificate came of it. */
static enum bm_rc find_issued(struct bm_acme *a, int64_t order_id, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_acme_order_done) struct bm_acme_order o = { 0 };
    enum bm_rc rc = bm_acme_order_by_id(a->k->store, order_id, &o, e);

    if (rc == BM_NOTFOUND || (rc == BM_OK && (o.account_id != a->account.id || o.credential_id == 0)))
        return bm_acme_not_found(e);
    *ret = o.credential_id;
    return rc;
}

enum bm_rc bm_acme_certificate(struct bm_acme *a, struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { 0 };
    struct bm_issuer *by = NULL;
    int64_t at[2] = { 0 }, credential_id = 0;
    enum bm_rc rc = read_label(a->ask->label, at, e);

    if (rc == BM_OK)
        rc = bm_acme_no_payload(a, e);
    if (rc == BM_OK)
        rc = find_issued(a, at[0], &credential_id, e);
    if (rc == BM_OK)
        rc = bm_credential_by_id(a->k->store, credential_id, &c, e);
    if (rc == BM_OK)
        rc = bm_issuer_get(a->k, c.ca_id, &by, e);
    return rc == BM_OK ? put_chains(&(struct chains){ a, &c, by, at[0], at[1] }, e) : rc;
}

/* --- revoking --------------------------------------------------------------------------------------------------------------------------- */
/* Byte for byte one of ours. */
static enum bm_rc find_ours(struct bm_acme *a, struct bm_rd der, struct bm_credential *ret, struct bm_cert *ret_cert,
                            struct bm_error *e)
{
    uint8_t key[BM_SERIAL_LEN]; /* an upstream CA's may be of another length */
    enum bm_rc rc = bm_cert_parse(der, ret_cert, NULL);

    if (rc != BM_OK)
        return bm_refuse(e, BM_MALFORMED, "acme-payload", "\"certificate\" is no certificate in DER as base64url");
    bm_cert_serial_key(ret_cert->serial, key);
    rc = bm_credential_get(a->k->store, key, ret, e);
    if (rc == BM_NOTFOUND || (rc == BM_OK && (!bm_rd_eq(bm_buf_rd(&ret->cert), der) || strcmp(ret->protocol, "internal") == 0)))
        return bm_refuse(e, BM_NOTFOUND, "acme-not-found", "this certificate was not issued here");
    return rc;
}

/* The account that ordered it, or whoever holds its key. */
static enum bm_rc check_right(struct bm_acme *a, const struct bm_credential *c, const struct bm_cert *cert, struct bm_error *e)
{
    BM_CLEANUP(bm_acme_order_done) struct bm_acme_order o = { 0 };
    enum bm_rc rc = BM_NOTFOUND;

    if (a->account.id == 0 && bm_rd_eq(bm_buf_rd(&a->jws.spki), cert->spki))
        return BM_OK;
    if (a->account.id != 0)
        rc = bm_acme_order_of(a->k->store, c->id, &o, e);
    if (rc == BM_OK && o.account_id == a->account.id)
        return BM_OK;
    if (rc != BM_OK && rc != BM_NOTFOUND)
        return rc;
    return bm_refuse(e, BM_DENIED, "acme-not-yours", "only the account that ordered a certificate, or its own key, may revoke it");
}

/* RFC 5280 section 5.3.1, those that the end of a certificate can have for its subject: not cACompromise, certificateHold, removeFromCRL,
 * aACompromise. */
static enum bm_rc take_reason(const struct bm_acme *a, int *ret, struct bm_error *e)
{
    static const uint8_t good[] = { 0, 1, 3, 4, 5, 9 };
    const json_t *v = json_object_get(a->jws.body, "reason");

    *ret = 0;
    if (v == NULL)
        return BM_OK;
    for (size_t i = 0; i < sizeof good; i++) {
        if (json_is_integer(v) && json_integer_value(v) == good[i]) {
            *ret = good[i];
            return BM_OK;
        }
    }
    return bm_refuse(e, BM_MALFORMED, "acme-reason", "\"reason\" must be 0, 1, 3, 4, 5 or 9 (RFC 5280 section 5.3.1)");
}

static enum bm_rc revoke(struct bm_acme *a, const struct bm_credential *c, int reason, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char serial[2 * BM_SERIAL_LEN + 1];
    enum bm_rc rc = bm_revoke_credential(a->k, c->id, reason, a->now, e);

    bm_hex(c->serial, BM_SERIAL_LEN, serial);
    fields = json_pack("{s:s, s:s, s:s, s:I, s:s}", "actor", "acme", "serial", serial, "reason", bm_reason_name(reason), "account",
                       (json_int_t)a->account.id, "correlation", a->ask->correlation);
    if (rc == BM_OK)
        rc = bm_record(a->k, a->now, "credential.revoked", fields, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "revoking");
}

enum bm_rc bm_acme_revoke(struct bm_acme *a, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX };
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { 0 };
    const json_t *v = json_object_get(a->jws.body, "certificate");
    struct bm_cert cert;
    int reason = 0;
    enum bm_rc rc = bm_acme_some_payload(a, e);

    if (rc == BM_OK &&
        (!json_is_string(v) || bm_unbase64url(bm_rd_of(json_string_value(v), json_string_length(v)), &der, NULL) != BM_OK))
        rc = bm_refuse(e, BM_MALFORMED, "acme-payload", "\"certificate\" is no certificate in DER as base64url");
    if (rc == BM_OK)
        rc = find_ours(a, bm_buf_rd(&der), &c, &cert, e);
    if (rc == BM_OK)
        rc = check_right(a, &c, &cert, e);
    if (rc == BM_OK)
        rc = take_reason(a, &reason, e);
    if (rc == BM_OK && strcmp(c.state, "active") != 0)
        rc = bm_refuse(e, BM_DENIED, "acme-revoked", "this certificate has been revoked before");
    return rc == BM_OK ? revoke(a, &c, reason, e) : rc;
}
