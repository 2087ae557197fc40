/* The MASA, RFC 8995 section 5.5 to 5.8: says by a voucher whose network a device may trust. The registry knows who owns the
 * device; the message tells which network asks. */
#include "keeper/brski.h"
#include "keeper/ownership.h"

#include "base/text.h"
#include "pki/der.h"
#include "pki/oid.h"

/* --- the message -------------------------------------------------------------------------------------------------------------- */
void bm_masa_request_done(struct bm_masa_request *r)
{
    bm_voucher_opened_done(&r->registrar);
    bm_voucher_opened_done(&r->pledge);
}

bool bm_is_registrar_cert(const struct bm_cert *c)
{
    static const struct bm_rd ra = BM_LIT(OID_KP_CMC_RA);
    struct bm_rd list, oid;

    if (!bm_der_only(c->eku, BM_DER_SEQUENCE, &list))
        return false;
    while (bm_der_take(&list, BM_DER_OID, &oid))
        if (bm_rd_eq(oid, ra))
            return true;
    return false;
}

/* A registrar has a clock; what is old may have been taken from somewhere. */
static enum bm_rc check_age(const struct bm_voucher *v, int64_t now, unsigned max_age_s, struct bm_error *e)
{
    if (v->created_on != 0 && (v->created_on < now - (int64_t)max_age_s || v->created_on > now + BM_BACKDATE_S))
        return bm_refuse(e, BM_DENIED, "voucher-request-stale", "the registrar's request was made at another time than now");
    return BM_OK;
}

/* Section 5.5.5. Certificates beside a signature are not signed, so it is not enough that the one that the device saw is among
 * them: it has to be in the registrar's chain, or come from a CA of that chain. */
static bool saw_this_registrar(const struct bm_masa_request *r, int64_t now)
{
    struct bm_cert seen;

    if (r->pledge.voucher.assertion != BM_ASSERTION_PROXIMITY ||
        bm_cert_parse(bm_buf_rd(&r->pledge.voucher.proximity_registrar_cert), &seen, NULL) != BM_OK)
        return false;
    for (size_t i = 0; i < r->chain.n; i++)
        if (bm_rd_eq(seen.spki, r->chain.at[i].spki) || bm_cert_check_link(&seen, &r->chain.at[i], now, NULL) == BM_OK)
            return true;
    return false;
}

/* Sections 5.5.5 and 5.5.6: what the device signed has to be about the same. */
static enum bm_rc check_prior(struct bm_masa_request *r, int64_t now, struct bm_error *e)
{
    const struct bm_voucher *asked = &r->registrar.voucher, *prior = &r->pledge.voucher;
    char serial[BM_VOUCHER_SERIAL_MAX + 1];

    if (!prior->request || prior->prior_signed.n != 0)
        return bm_refuse(e, BM_MALFORMED, "voucher-request-wanted", "'prior-signed-voucher-request' is not a device's request");
    if (!bm_idevid_serial(&r->pledge.signer, serial) || strcmp(serial, asked->serial_number) != 0 ||
        strcmp(prior->serial_number, asked->serial_number) != 0)
        return bm_refuse(e, BM_DENIED, "voucher-serial", "the serial number is not that of the device whose request is inside");
    if (asked->nonce[0] != '\0' && strcmp(asked->nonce, prior->nonce) != 0)
        return bm_refuse(e, BM_DENIED, "voucher-nonce", "the nonce is not the one that the device has sent");
    if (!saw_this_registrar(r, now))
        return bm_refuse(e, BM_DENIED, "proximity-mismatch", "the device has seen another registrar than the one that asks");
    r->proximity = true;
    return BM_OK;
}

enum bm_rc bm_masa_request_open(struct bm_rd cms, int64_t now, unsigned max_age_s, struct bm_masa_request *ret, struct bm_error *e)
{
    const struct bm_voucher *v = &ret->registrar.voucher;
    enum bm_rc rc = bm_voucher_open(cms, &ret->registrar, e);

    if (rc == BM_OK && (!v->request || v->proximity_registrar_cert.n != 0))
        rc = bm_refuse(e, BM_MALFORMED, "voucher-request-wanted", "this is not a registrar's request for a voucher");
    if (rc == BM_OK && !bm_is_registrar_cert(&ret->registrar.signer))
        rc = bm_refuse(e, BM_DENIED, "registrar-not-ra",
                       "the signer's certificate is not a registrar's: it lacks id-kp-cmcRA (RFC 8995 section 5.5.4)");
    if (rc == BM_OK)
        rc = bm_cms_signed_chain(&ret->registrar.cms, &ret->registrar.signer, now, &ret->chain, e);
    if (rc == BM_OK)
        rc = check_age(v, now, max_age_s, e);
    if (rc != BM_OK || v->prior_signed.n == 0)
        return rc;
    rc = bm_voucher_open(bm_buf_rd(&v->prior_signed), &ret->pledge, e);
    return rc == BM_OK ? check_prior(ret, now, e) : bm_wrap(e, rc, "the device's request");
}

/* --- whose network ------------------------------------------------------------------------------------------------------------ */
struct domain_search {
    const struct bm_cert *chain;
    size_t n;
    int64_t owner, now, found;
    bool owner_has;
    size_t pin;
};

/* Which of the chain the anchor is, or the last when it stands above that; n: it is another's. */
static size_t chain_at(const struct domain_search *s, struct bm_rd der)
{
    struct bm_cert anchor;

    for (size_t i = 0; i < s->n; i++)
        if (bm_rd_eq(s->chain[i].whole, der))
            return i;
    if (bm_cert_parse(der, &anchor, NULL) == BM_OK && bm_cert_check_link(&s->chain[s->n - 1], &anchor, s->now, NULL) == BM_OK)
        return s->n - 1;
    return s->n;
}

static enum bm_rc try_domain(void *arg, const struct bm_trust *t, struct bm_error *e)
{
    struct domain_search *s = arg;
    size_t at = chain_at(s, bm_buf_rd(&t->der));

    (void)e;
    s->owner_has = s->owner_has || t->org_id == s->owner;
    if (at == s->n || (s->found == s->owner && t->org_id != s->owner))
        return BM_OK;
    s->pin = s->found == t->org_id && s->pin > at ? s->pin : at;
    s->found = t->org_id;
    return BM_OK;
}

/* This registry's own CAs: the network of every organisation that has named no other. */
static enum bm_rc is_own(struct bm_keeper *k, const struct bm_cert *top, bool *ret, struct bm_error *e)
{
    struct bm_issuer *by;
    enum bm_rc rc = bm_issuer_default(k, &by, e);

    *ret = rc == BM_OK && bm_rd_eq(top->whole, bm_buf_rd(&by->chain[by->n_chain - 1]));
    return rc;
}

enum bm_rc bm_masa_domain(struct bm_keeper *k, const struct bm_cert *chain, size_t n, int64_t owner, int64_t now, int64_t *ret_org,
                          const struct bm_cert **ret_pin, struct bm_error *e)
{
    struct domain_search s = { .chain = chain, .n = n, .owner = owner, .now = now, .pin = n - 1 };
    bool own = false;
    enum bm_rc rc = bm_trust_each(k->store, BM_TRUST_REGISTRAR, try_domain, &s, e);

    if (rc == BM_OK && s.found == 0 && !s.owner_has)
        rc = is_own(k, &chain[n - 1], &own, e);
    if (rc != BM_OK)
        return rc;
    *ret_org = own ? owner : s.found;
    *ret_pin = &chain[s.pin];
    if (s.found != 0)
        rc = bm_maker_check(k, s.found, chain, n, now, e);
    if (rc != BM_OK)
        return rc;
    if (*ret_org != owner && (s.found != 0 || s.owner_has))
        return bm_refuse(e, BM_DENIED, "voucher-not-owner",
                         "the device belongs to another organisation than the network that asks for it");
    return BM_OK;
}

/* --- may it? ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc check_state(const struct bm_device *d, const struct bm_policy *p, struct bm_error *e)
{
    bool allowed = p->n_protocols == 0;

    if (strcmp(d->state, bm_state_name(BM_ALLOCATED)) != 0 && strcmp(d->state, bm_state_name(BM_ACTIVE)) != 0)
        return bm_refuse(e, BM_DENIED, "voucher-state", "the device is %s; only an allocated or active one gets a voucher",
                         d->state);
    for (size_t i = 0; i < p->n_protocols; i++)
        allowed = allowed || strcmp(p->protocols[i], "brski") == 0;
    if (!allowed)
        return bm_refuse(e, BM_DENIED, "protocol-refused", "the device's product does not take 'brski'; see its --protocols");
    return BM_OK;
}

/* Section 5.5.4: without a nonce nothing shows that the device is there, so whoever asks has to be known. */
static enum bm_rc decide(const struct bm_masa_request *r, const struct bm_policy *p, int64_t owner, int64_t now,
                         struct bm_masa_grant *g, struct bm_error *e)
{
    const int64_t end = r->chain.at[0].not_after;

    g->assertion = g->org_id == owner ? BM_ASSERTION_VERIFIED : r->proximity ? BM_ASSERTION_PROXIMITY : BM_ASSERTION_LOGGED;
    if (g->org_id != owner && !p->voucher_logged)
        return bm_refuse(e, BM_DENIED, "registrar-unknown",
                         "no organisation here is trusted for this registrar; see 'birthmark org trust --purpose registrar'");
    if (g->nonce[0] != '\0')
        return BM_OK;
    if (!p->voucher_nonceless || g->org_id != owner)
        return bm_refuse(e, BM_DENIED, "voucher-nonceless",
                         "the device's product does not allow vouchers without a nonce to this registrar");
    g->expires_at = now + p->voucher_life_s < end ? now + p->voucher_life_s : end;
    return BM_OK;
}

/* --- issued ------------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_voucher_written(struct bm_keeper *k, const struct bm_masa_grant *g, const char *event, struct bm_rd cms, int64_t now,
                              int64_t *ret_id, struct bm_error *e)
{
    struct bm_voucher_row row = { .device_id = g->device->id, .org_id = g->org_id, .created_at = now, .expires_at = g->expires_at };
    char udid[2 * BM_UDID_LEN + 1], digest[65], domain_hex[2 * BM_DOMAIN_ID_MAX + 1];
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    uint8_t room[32];
    struct bm_rd domain;
    enum bm_rc rc;

    bm_domain_id(g->pinned, room, &domain);
    bm_udid_of(cms, row.digest); /* a SHA-256 like any other */
    memcpy(row.domain_id, domain.p, domain.n);
    row.domain_id_len = domain.n;
    snprintf(row.serial_number, sizeof row.serial_number, "%s", g->serial_number);
    snprintf(row.nonce, sizeof row.nonce, "%s", g->nonce);
    snprintf(row.assertion, sizeof row.assertion, "%s", bm_assertion_name(g->assertion));
    snprintf(row.correlation, sizeof row.correlation, "%s", g->correlation);
    rc = bm_voucher_row_put(k->store, &row, e);
    if (rc != BM_OK)
        return bm_wrap(e, BM_IO, "writing a voucher");
    bm_hex(g->device->udid, BM_UDID_LEN, udid);
    bm_hex(row.digest, sizeof row.digest, digest);
    bm_hex(row.domain_id, row.domain_id_len, domain_hex);
    fields = json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:s}", "udid", udid, "voucher", (json_int_t)row.id, "serial_number",
                       row.serial_number, "assertion", row.assertion, "nonce", row.nonce, "domain_id", domain_hex, "sha256", digest,
                       "correlation", row.correlation);
    *ret_id = row.id;
    rc = fields != NULL ? bm_record(k, now, event, fields, e) : bm_fail(e, BM_NOMEM, "no memory");
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "logging a voucher"); /* a row has been written, so the transaction must go */
}

static void put(struct bm_buf *to, struct bm_rd from)
{
    to->max = from.n;
    bm_buf_put(to, from.p, from.n);
}

enum bm_rc bm_masa_issue(struct bm_keeper *k, const struct bm_masa_grant *g, int64_t now, struct bm_buf *out, int64_t *ret_id,
                         struct bm_error *e)
{
    BM_CLEANUP(bm_voucher_done)
    struct bm_voucher v = { .assertion = g->assertion, .created_on = now, .expires_on = g->expires_at };
    BM_CLEANUP(bm_buf_done) struct bm_buf cms = { .max = BM_VOUCHER_MAX };
    struct bm_brski_signer *signer;
    struct bm_issuer *by;
    struct bm_rd certs[2];
    enum bm_rc rc = bm_brski_signer(k, BM_ROLE_OF_MASA, now, &signer, &by, e);

    if (rc != BM_OK)
        return rc;
    if (v.expires_on > signer->cert.not_after)
        v.expires_on = signer->cert.not_after;
    snprintf(v.serial_number, sizeof v.serial_number, "%s", g->serial_number);
    snprintf(v.nonce, sizeof v.nonce, "%s", g->nonce);
    put(&v.idevid_issuer, g->idevid_issuer);
    put(&v.pinned_domain_cert, g->pinned->whole);
    certs[0] = signer->cert.whole;
    certs[1] = bm_buf_rd(&by->chain[0]);
    rc = bm_voucher_seal(&v, g->form, signer->key, certs, BM_COUNT(certs), &cms, e);
    if (rc == BM_OK)
        rc = bm_voucher_written(k, g, "voucher.issued", bm_buf_rd(&cms), now, ret_id, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_put(out, cms.p, cms.n);
    return bm_buf_check(out, e);
}

/* A copy: the line may leave the cache when another CA comes into it. */
static enum bm_rc policy_of(struct bm_keeper *k, const struct bm_device *d, struct bm_policy *ret, struct bm_error *e)
{
    struct bm_line *l;
    enum bm_rc rc = d->batch_id != 0
                        ? bm_line_get(k, d->batch_id, &l, e)
                        : bm_refuse(e, BM_DENIED, "voucher-state", "the device belongs to no batch yet, and so to nobody");

    if (rc == BM_OK)
        *ret = l->policy;
    return rc;
}

enum bm_rc bm_voucher_allowed(struct bm_keeper *k, const struct bm_device *d, struct bm_policy *ret, struct bm_error *e)
{
    enum bm_rc rc = policy_of(k, d, ret, e);

    return rc == BM_OK ? check_state(d, ret, e) : rc;
}

/* Everything that can be refused is refused before the first row is written. */
static enum bm_rc answer(struct bm_keeper *k, const struct bm_masa_request *r, const struct bm_device *d, enum bm_voucher_form form,
                         const char *correlation, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    struct bm_masa_grant g = {
        .device = d,
        .serial_number = r->registrar.voucher.serial_number,
        .nonce = r->registrar.voucher.nonce,
        .correlation = correlation,
        .form = form,
    };
    struct bm_policy policy;
    int64_t owner = 0, id;
    enum bm_rc rc = bm_voucher_allowed(k, d, &policy, e);

    if (rc == BM_OK)
        rc = bm_masa_check_serial(k, r, d, now, &g.idevid_issuer, e);
    if (rc == BM_OK)
        rc = bm_owner_of(k, d, &owner, e);
    if (rc == BM_OK)
        rc = bm_masa_domain(k, r->chain.at, r->chain.n, owner, now, &g.org_id, &g.pinned, e);
    if (rc == BM_OK)
        rc = decide(r, &policy, owner, now, &g, e);
    return rc == BM_OK ? bm_masa_issue(k, &g, now, out, &id, e) : rc;
}

enum bm_rc bm_masa_answer(struct bm_keeper *k, struct bm_rd message, enum bm_voucher_form form, const char *correlation,
                          int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_masa_request_done) struct bm_masa_request r = { 0 };
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    enum bm_rc rc = bm_masa_request_open(message, now, k->options.limits.voucher_request_age_s, &r, e);

    if (rc == BM_OK)
        rc = bm_masa_device(k, &r, &d, e);
    return rc == BM_OK ? answer(k, &r, &d, form, correlation, now, out, e) : rc;
}
