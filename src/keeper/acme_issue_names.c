/* Certificates for names and addresses: of gateways and servers beside the devices. They belong to an account and to no device, so there is no state
 * and no quota; what they may be for, the account's binding says. */
#include "keeper/acme.h"

#include "base/text.h"

#include <stdio.h>

enum { HOSTS_LEN = BM_ACME_NAMES_MAX * 256 };

/* "a.example,10.0.0.1": as profiles want it. */
static void put_hosts(const struct bm_acme_work *w, struct bm_buf *ret)
{
    for (int64_t i = 0; bm_acme_authz(w, i) != NULL; i++)
        bm_buf_printf(ret, "%s%s", i == 0 ? "" : ",", bm_acme_identifier_of(w, i).value);
    bm_buf_put(ret, "", 1);
}

static enum bm_rc issuer_of_product(struct bm_acme *a, int64_t product_id, struct bm_issuer **ret, struct bm_error *e)
{
    struct bm_product p;
    struct bm_policy policy;
    int64_t ca_id, until;
    enum bm_rc rc = bm_product_by_id(a->k->store, product_id, &p, e);

    if (rc == BM_OK)
        rc = bm_policy_parse(bm_rd_str(p.policy), &policy, e);
    if (rc == BM_OK)
        rc = bm_line_ca(a->k, NULL, &policy, &ca_id, &until, e);
    return rc == BM_OK ? bm_issuer_get(a->k, ca_id, ret, e) : rc;
}

/* The CA that devices of the binding's batch or product get theirs from; of an organisation's, the default one. */
static enum bm_rc issuer_of(struct bm_acme *a, const struct bm_acme_eab *b, struct bm_issuer **ret, struct bm_error *e)
{
    struct bm_line *l = NULL;
    enum bm_rc rc;

    if (b->product_id != 0)
        return issuer_of_product(a, b->product_id, ret, e);
    if (b->batch_id == 0)
        return bm_issuer_default(a->k, ret, e);
    rc = bm_line_get(a->k, b->batch_id, &l, e);
    if (rc == BM_OK)
        *ret = l->issuer;
    return rc;
}

static enum bm_rc sign(struct bm_acme *a, const struct bm_acme_eab *b, const char *hosts, struct bm_rd spki,
                       struct bm_credential *c, struct bm_error *e)
{
    struct bm_issuer *by;
    enum bm_rc rc = issuer_of(a, b, &by, e);

    return rc == BM_OK ? bm_own_cert(a->k, by, "tls-server", spki, &(struct bm_subject_words){ .host = hosts }, a->now, c, e) : rc;
}

static enum bm_rc write_down(struct bm_acme *a, struct bm_credential *c, const char *hosts, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char serial[2 * BM_SERIAL_LEN + 1], sha256[65];
    uint8_t digest[32];
    enum bm_rc rc = bm_credential_put(a->k->store, c, e);

    bm_hex(c->serial, BM_SERIAL_LEN, serial);
    bm_udid_of(bm_buf_rd(&c->cert), digest);
    bm_hex(digest, sizeof digest, sha256);
    fields = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s}", "actor", "acme", "serial", serial, "sha256", sha256, "names", hosts,
                       "protocol", "acme", "account", (json_int_t)a->account.id, "correlation", a->ask->correlation);
    if (rc == BM_OK)
        rc = bm_record(a->k, a->now, "credential.issued", fields, e);
    bm_observe_issued(a->k, "acme", "none");
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "writing the certificate");
}

enum bm_rc bm_acme_issue_names(struct bm_acme *a, struct bm_acme_work *w, const struct bm_acme_eab *b, struct bm_rd spki,
                               struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf hosts = { .max = HOSTS_LEN };
    BM_CLEANUP(bm_credential_done)
    struct bm_credential c = { .state = "active", .protocol = "acme", .issued_at = a->now, .cert.max = BM_CERT_MAX };
    enum bm_rc rc;

    put_hosts(w, &hosts);
    rc = bm_buf_check(&hosts, e);
    memcpy(c.correlation, a->ask->correlation, sizeof c.correlation);
    if (rc == BM_OK)
        rc = sign(a, b, (const char *)hosts.p, spki, &c, e);
    if (rc == BM_OK)
        rc = write_down(a, &c, (const char *)hosts.p, e);
    if (rc == BM_OK)
        w->row.credential_id = c.id;
    return rc;
}
