/* Issuing CAs and production lines, kept ready between commands. Any administrator's write drops them all: they are few and quick to load. */
#include "keeper/upstream.h"

#include <stdlib.h>

static void issuer_free(struct bm_issuer *i)
{
    if (i == NULL)
        return;
    for (size_t n = 0; n < BM_CHAIN_MAX; n++)
        bm_buf_done(&i->chain[n]);
    bm_key_free(i->key);
    bm_ca_done(&i->row);
    free(i);
}

static void issuer_freep(struct bm_issuer **i)
{
    issuer_free(*i);
}

static void line_free(struct bm_line *l)
{
    if (l == NULL)
        return;
    for (size_t n = 0; n < l->n_services; n++)
        bm_profile_free(l->services[n].profile);
    bm_profile_free(l->profile);
    free(l);
}

static void line_freep(struct bm_line **l)
{
    line_free(*l);
}

static void drop_lines(struct bm_keeper *k)
{
    for (size_t i = 0; i < BM_CACHE_SLOTS; i++)
        line_free(BM_MOVE(k->lines[i]));
}

void bm_cache_drop(struct bm_keeper *k)
{
    drop_lines(k);
    bm_revocation_look_again(k);
    bm_makers_look_again(k);
    bm_ra_drop(k);
    for (size_t i = 0; i < BM_CACHE_SLOTS; i++)
        while (k->issuers[i] != NULL) {
            struct bm_issuer *first = k->issuers[i];

            k->issuers[i] = first->next;
            issuer_free(first);
        }
    k->n_issuers = 0;
}

static void copy(struct bm_buf *to, struct bm_rd from)
{
    to->max = BM_CERT_MAX;
    bm_buf_put(to, from.p, from.n);
}

/* This CA's certificate and those above it. A revoked one anywhere cuts off everything below. */
static enum bm_rc load_chain(struct bm_keeper *k, struct bm_issuer *i, struct bm_error *e)
{
    int64_t up = i->row.parent_id;
    enum bm_rc rc;

    copy(&i->chain[i->n_chain++], bm_buf_rd(&i->row.cert));
    while (up != 0) {
        BM_CLEANUP(bm_ca_done) struct bm_ca parent = { 0 };

        if (i->n_chain == BM_CHAIN_MAX)
            return bm_fail(e, BM_LIMIT, "CA '%s' lies more than %d levels deep", i->row.name, BM_CHAIN_MAX);
        rc = bm_ca_by_id(k->store, up, &parent, e);
        if (rc != BM_OK)
            return rc;
        if (strcmp(parent.state, "active") != 0)
            return bm_refuse(e, BM_DENIED, "ca-revoked", "the CA '%s' above '%s' is %s", parent.name, i->row.name, parent.state);
        copy(&i->chain[i->n_chain++], bm_buf_rd(&parent.cert));
        up = parent.parent_id;
    }
    return BM_OK;
}

static enum bm_rc out_of_use(const struct bm_ca *ca, struct bm_error *e)
{
    if (strcmp(ca->state, "retired") == 0)
        return bm_refuse(e, BM_DENIED, "ca-retired", "the issuing CA '%s' is %s", ca->name, ca->state);
    return bm_refuse(e, BM_DENIED, "ca-revoked",
                     "the issuing CA '%s' is revoked; hand its lines over to another: birthmark ca rotate %s --onto NAME", ca->name,
                     ca->name);
}

enum bm_rc bm_issuer_get(struct bm_keeper *k, int64_t ca_id, struct bm_issuer **ret, struct bm_error *e)
{
    struct bm_issuer **slot = &k->issuers[(size_t)ca_id % BM_CACHE_SLOTS];
    BM_CLEANUP(issuer_freep) struct bm_issuer *i = NULL;
    enum bm_rc rc;

    for (struct bm_issuer *there = *slot; there != NULL; there = there->next) {
        if (there->row.id != ca_id)
            continue;
        *ret = there;
        return BM_OK;
    }
    i = calloc(1, sizeof *i);
    if (i == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a CA");
    rc = bm_ca_by_id(k->store, ca_id, &i->row, e);
    if (rc == BM_OK && strcmp(i->row.state, "active") != 0)
        rc = out_of_use(&i->row, e);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&i->row.cert), &i->cert, e);
    if (rc == BM_OK)
        rc = load_chain(k, i, e);
    if (rc == BM_OK)
        rc = bm_crl_parts_get(k->store, ca_id, &i->crl, e);
    if (rc != BM_OK)
        return rc;
    i->next = *slot; /* none leaves while somebody may hold it: bm_keeper_begin() */
    *slot = *ret = BM_MOVE(i);
    k->n_issuers++;
    return BM_OK;
}

enum bm_rc bm_issuer_key(struct bm_keeper *k, struct bm_issuer *i, struct bm_error *e)
{
    enum bm_rc rc = bm_ca_is_upstream(&i->row)
                        ? bm_refuse(e, BM_DENIED, "ca-upstream", "its key is the upstream CA's, not ours: it signs nothing here")
                    : i->key != NULL ? BM_OK
                                     : bm_key_open(&k->ring, i->row.key_uri, &i->key, e);

    if (rc == BM_NOTFOUND && k->host.n > 1) { /* made on another host */
        rc = bm_host_fetch_key(k, i->row.key_uri, e);
        rc = rc == BM_OK ? bm_key_open(&k->ring, i->row.key_uri, &i->key, e) : rc;
    }
    if (rc == BM_OK && !bm_rd_eq(bm_key_spki(i->key), i->cert.spki)) {
        bm_key_free(BM_MOVE(i->key));
        rc = bm_refuse(e, BM_DENIED, "wrong-key", "the key where it is kept is not the one its certificate is for");
    }
    if (rc != BM_OK && bm_key_in_token(i->row.key_uri)) /* no fault of whoever asks for a certificate */
        rc = BM_AGAIN;
    return rc == BM_OK ? BM_OK : bm_wrap(e, rc, "key of CA '%s'", i->row.name);
}

enum bm_rc bm_profile_open(struct bm_keeper *k, const char *name, struct bm_profile **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf json = { .max = BM_PROFILE_MAX };
    enum bm_rc rc = bm_profile_get(k->store, name, &json, e);

    for (const struct bm_profile_builtin *b = bm_profiles_builtin; rc == BM_NOTFOUND && b->name != NULL; b++) {
        if (strcmp(b->name, name) != 0) /* a registry made before this one was built in */
            continue;
        bm_buf_str(&json, b->json);
        rc = BM_OK;
    }
    if (rc == BM_OK)
        rc = bm_profile_parse(name, bm_buf_rd(&json), ret, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, rc, "certificate profile '%s'", name);
}

/* A device's certificate is never a CA's, whatever the profile it was given has become since. */
static enum bm_rc open_for_devices(struct bm_keeper *k, const char *name, struct bm_profile **ret, struct bm_error *e)
{
    enum bm_rc rc = bm_profile_open(k, name, ret, e);

    if (rc == BM_OK && bm_profile_is_ca(*ret))
        return bm_refuse(e, BM_DENIED, "profile-is-ca",
                         "certificate profile '%s' is for certification authorities, not for devices", name);
    return rc;
}

static enum bm_rc ca_id_of(struct bm_keeper *k, const char *name, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    enum bm_rc rc = bm_ca_get(k->store, name, &ca, e);

    if (rc != BM_OK)
        return bm_wrap(e, rc, "issuing CA '%s'", name);
    *ret = ca.id;
    return BM_OK;
}

static bool is_compromised(struct bm_keeper *k, int64_t ca_id)
{
    enum { CA_COMPROMISE = 2 }; /* RFC 5280 section 5.3.1 */
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };

    return bm_ca_by_id(k->store, ca_id, &ca, NULL) == BM_OK && strcmp(ca.state, "active") != 0 && ca.reason == CA_COMPROMISE;
}

/* The default stands in for one that was compromised, so that its devices can come back; one that was revoked for other reasons is the
 * administrator's to replace. */
enum bm_rc bm_line_ca(struct bm_keeper *k, const struct bm_batch *b, const struct bm_policy *p, int64_t *ret_ca, int64_t *ret_until,
                      struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf name = { .max = BM_NAME_LEN };
    int64_t named = b != NULL ? b->ca_id : 0;
    enum bm_rc rc = named == 0 && p->ca[0] != '\0' ? ca_id_of(k, p->ca, &named, e) : BM_OK;

    if (rc == BM_OK && named != 0)
        rc = bm_ca_follow(k, &named, ret_until, e);
    if (rc != BM_OK)
        return rc;
    if (named != 0 && !is_compromised(k, named)) {
        *ret_ca = named;
        return BM_OK;
    }
    rc = bm_meta_get(k->store, "default-ca", &name, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "no default issuing CA; set one with 'birthmark ca default'");
    bm_buf_put(&name, "", 1);
    rc = bm_buf_check(&name, e);
    if (rc == BM_OK)
        rc = ca_id_of(k, (const char *)name.p, ret_ca, e);
    return rc == BM_OK ? bm_ca_follow(k, ret_ca, ret_until, e) : rc;
}

/* As with a line: where its CA's successors lead by now; the line's stands in for one that was compromised. One that was revoked for other
 * reasons stops this service alone. */
static enum bm_rc load_issuer(struct bm_keeper *k, struct bm_line *l, struct bm_line_service *s, struct bm_error *e)
{
    int64_t ca_id = s->row.ca_id, until;
    enum bm_rc rc = ca_id != 0 ? bm_ca_follow(k, &ca_id, &until, e) : BM_OK;

    s->issuer = l->issuer;
    if (rc != BM_OK || ca_id == 0 || is_compromised(k, ca_id) || bm_ca_is_upstream(&l->issuer->row))
        return rc; /* an upstream CA takes all requests of a message, or none */
    l->until = until < l->until ? until : l->until;
    rc = bm_issuer_get(k, ca_id, &s->issuer, e);
    if (rc == BM_DENIED || (rc == BM_OK && bm_ca_is_upstream(&s->issuer->row)))
        s->issuer = NULL;
    return rc == BM_DENIED ? BM_OK : rc;
}

static enum bm_rc load_services(struct bm_keeper *k, struct bm_line *l, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    for (size_t i = 0; rc == BM_OK && i < l->policy.n_services; i++) {
        struct bm_line_service *s = &l->services[l->n_services++];

        rc = bm_service_get(k->store, l->policy.services[i], &s->row, e);
        if (rc == BM_OK && s->row.profile[0] != '\0')
            rc = open_for_devices(k, s->row.profile, &s->profile, e);
        if (rc == BM_OK)
            rc = load_issuer(k, l, s, e);
        if (rc != BM_OK)
            return bm_wrap(e, rc, "service '%s'", l->policy.services[i]);
    }
    return rc;
}

static enum bm_rc load_line(struct bm_keeper *k, int64_t batch_id, struct bm_line *l, struct bm_error *e)
{
    int64_t ca_id;
    enum bm_rc rc = bm_batch_by_id(k->store, batch_id, &l->batch, e);

    if (rc == BM_OK)
        rc = bm_product_by_id(k->store, l->batch.product_id, &l->product, e);
    if (rc == BM_OK)
        rc = bm_org_by_id(k->store, l->product.org_id, &l->owner, e);
    if (rc == BM_OK)
        rc = bm_policy_parse(bm_rd_str(l->product.policy), &l->policy, e);
    if (rc == BM_OK)
        rc = bm_line_ca(k, &l->batch, &l->policy, &ca_id, &l->until, e);
    if (rc == BM_OK)
        rc = bm_issuer_get(k, ca_id, &l->issuer, e);
    if (rc == BM_OK)
        rc = open_for_devices(k, l->policy.profile, &l->profile, e);
    return rc == BM_OK ? load_services(k, l, e) : rc;
}

enum bm_rc bm_line_get(struct bm_keeper *k, int64_t batch_id, struct bm_line **ret, struct bm_error *e)
{
    struct bm_line **slot = &k->lines[(size_t)batch_id % BM_CACHE_SLOTS];
    BM_CLEANUP(line_freep) struct bm_line *l = NULL;
    enum bm_rc rc;

    if (*slot != NULL && (*slot)->batch.id == batch_id && k->clock_high < (*slot)->until) {
        *ret = *slot;
        return BM_OK;
    }
    l = calloc(1, sizeof *l);
    if (l == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a batch");
    rc = load_line(k, batch_id, l, e);
    if (rc != BM_OK)
        return rc;
    line_free(*slot);
    *slot = *ret = BM_MOVE(l);
    return BM_OK;
}
