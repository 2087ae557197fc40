/* Which CAs a service's bundle names: those that its certificates come from, now or soon; those that were there before them and are still active; what
 * stands above; and, where a root has a new key, both keys with the certificates that link them. What the last version named stays until it is retired or
 * revoked, as certificates of it may be about. */
#include "keeper/trust.h"

#include "base/text.h"
#include "keeper/policy.h"
#include "store/ca_rotate.h"

#include <stdlib.h>

enum { CAS_MAX = 4096, LINKS_MAX = 256 };

struct known {
    int64_t id, parent_id, successor_id;
    bool in;
    json_t *entry;
};

struct link {
    int64_t ca_id, by_id;
    json_t *entry;
};

struct cas {
    struct bm_keeper *k;
    const char *service;
    int64_t now;
    size_t n, n_links;
    struct known *at; /* active ones, parents first */
    struct link links[LINKS_MAX];
};

static void cas_done(struct cas *c)
{
    for (size_t i = 0; i < c->n; i++)
        json_decref(c->at[i].entry);
    for (size_t i = 0; i < c->n_links; i++)
        json_decref(c->links[i].entry);
    free(c->at);
}

/* --- all there are ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc entry_of(const char *use, struct bm_rd der, json_t **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 2 * BM_CERT_MAX };

    bm_base64(&text, der, 0);
    *ret = text.bad ? NULL : json_pack("{s:s, s:s%}", "use", use, "der", (const char *)text.p, text.n);
    return *ret != NULL ? BM_OK : bm_fail(e, BM_NOMEM, "no memory for a trust bundle");
}

static enum bm_rc see_ca(void *arg, const struct bm_ca *ca, struct bm_error *e)
{
    struct cas *c = arg;
    struct bm_ca_successor s = { 0 };
    struct known *all;
    enum bm_rc rc;

    if (strcmp(ca->state, "active") != 0)
        return BM_OK;
    if (c->n == CAS_MAX)
        return bm_fail(e, BM_LIMIT, "more than %d active CAs", CAS_MAX);
    if ((c->n & (c->n - 1)) == 0) {
        all = realloc(c->at, (c->n != 0 ? 2 * c->n : 1) * sizeof *all);
        if (all == NULL)
            return bm_fail(e, BM_NOMEM, "no memory for a trust bundle");
        c->at = all;
    }
    rc = bm_ca_successor_get(c->k->store, ca->id, &s, e);
    if (rc != BM_OK && rc != BM_NOTFOUND)
        return rc;
    c->at[c->n] = (struct known){ .id = ca->id, .parent_id = ca->parent_id, .successor_id = rc == BM_OK ? s.successor_id : 0 };
    rc = entry_of(ca->parent_id == 0 ? "root" : "intermediate", bm_buf_rd(&ca->cert), &c->at[c->n].entry, e);
    c->n += rc == BM_OK;
    return rc;
}

static enum bm_rc see_link(void *arg, const struct bm_ca_link *l, struct bm_error *e)
{
    struct cas *c = arg;
    struct bm_cert cert;
    struct link *to = &c->links[c->n_links];
    enum bm_rc rc = bm_cert_parse(bm_buf_rd(&l->cert), &cert, e);

    if (rc != BM_OK || cert.not_after <= c->now || c->n_links == LINKS_MAX)
        return rc;
    *to = (struct link){ .ca_id = l->ca_id, .by_id = l->by_id };
    rc = entry_of("link", bm_buf_rd(&l->cert), &to->entry, e);
    c->n_links += rc == BM_OK;
    return rc;
}

/* --- those that the service's certificates come from -------------------------------------------------------------------------------- */
static struct known *find(const struct cas *c, int64_t id)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->at[i].id == id)
            return &c->at[i];
    return NULL; /* none, or not active */
}

static bool take(const struct cas *c, int64_t id)
{
    struct known *ca = id != 0 ? find(c, id) : NULL;
    bool new = ca != NULL && !ca->in;

    if (new)
        ca->in = true;
    return new;
}

static bool take_both(const struct cas *c, int64_t a, int64_t b)
{
    bool new_a = take(c, a), new_b = take(c, b);

    return new_a || new_b;
}

static enum bm_rc see_batch(void *arg, int64_t ca_id, struct bm_error *e)
{
    (void)e;
    (void)take(arg, ca_id);
    return BM_OK;
}

static enum bm_rc take_named(const struct cas *c, const char *name, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    enum bm_rc rc = name[0] != '\0' ? bm_ca_get(c->k->store, name, &ca, e) : BM_NOTFOUND;

    if (rc == BM_OK)
        (void)take(c, ca.id);
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

/* A product that has this service: its own CA, and those of its batches. */
static enum bm_rc see_product(void *arg, int64_t id, const char *json, struct bm_error *e)
{
    struct cas *c = arg;
    struct bm_product product;
    struct bm_policy p = { 0 };
    bool has = false;
    enum bm_rc rc = bm_product_by_id(c->k->store, id, &product, e);

    (void)json;
    if (rc == BM_OK)
        rc = bm_policy_parse(bm_rd_str(product.policy), &p, e);
    for (size_t i = 0; rc == BM_OK && i < p.n_services; i++)
        has |= strcmp(p.services[i], c->service) == 0;
    if (rc != BM_OK || !has)
        return rc;
    rc = take_named(c, p.ca, e);
    return rc == BM_OK ? bm_batch_cas(c->k->store, id, see_batch, c, e) : rc;
}

/* The default CA in any case: it signs the bundles, and stands in for one that was compromised. */
static enum bm_rc take_own(struct cas *c, const struct bm_service *s, struct bm_error *e)
{
    static const char *const no_filter[] = { NULL };
    BM_CLEANUP(bm_buf_done) struct bm_buf name = { .max = BM_NAME_LEN };
    enum bm_rc rc = bm_meta_get(c->k->store, "default-ca", &name, e);

    bm_buf_put(&name, "", 1);
    if (rc == BM_OK)
        rc = take_named(c, (const char *)name.p, e);
    if (rc != BM_OK && rc != BM_NOTFOUND)
        return rc;
    (void)take(c, s->ca_id);
    return s->ca_id != 0 ? BM_OK : bm_store_list(c->k->store, "product", no_filter, 0, INT32_MAX, see_product, c, e);
}

/* --- and what goes with them ---------------------------------------------------------------------------------------------------------- */
/* Above it, after it, and before it. */
static bool take_kin(const struct cas *c, const struct known *ca)
{
    const struct known *next = ca->successor_id != 0 ? find(c, ca->successor_id) : NULL;

    if (ca->in)
        return take_both(c, ca->parent_id, ca->successor_id);
    return next != NULL && next->in && take(c, ca->id);
}

/* Of a root that is in: its other key. Both must be active still. */
static bool is_linking(const struct cas *c, const struct link *l)
{
    const struct known *a = find(c, l->ca_id), *b = find(c, l->by_id);

    return a != NULL && b != NULL && (a->in || b->in);
}

static void close_over(const struct cas *c)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < c->n; i++)
            more |= take_kin(c, &c->at[i]);
        for (size_t i = 0; i < c->n_links; i++)
            if (is_linking(c, &c->links[i]))
                more |= take_both(c, c->links[i].ca_id, c->links[i].by_id);
    }
}

static void take_last(const struct cas *c, const json_t *last)
{
    const json_t *entry;
    size_t at;

    json_array_foreach (last, at, entry)
        for (size_t i = 0; i < c->n; i++)
            c->at[i].in = c->at[i].in || json_equal(c->at[i].entry, entry) == 1;
}

/* --- all together ---------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc write_out(const struct cas *c, json_t **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *list = json_array();
    bool bad = list == NULL;

    for (size_t i = 0; i < c->n; i++)
        bad = bad || (c->at[i].in && json_array_append(list, c->at[i].entry) != 0);
    for (size_t i = 0; i < c->n_links; i++)
        bad = bad || (is_linking(c, &c->links[i]) && json_array_append(list, c->links[i].entry) != 0);
    if (bad)
        return bm_fail(e, BM_NOMEM, "no memory for a trust bundle");
    *ret = BM_MOVE(list);
    return BM_OK;
}

enum bm_rc bm_bundle_cas(struct bm_keeper *k, const struct bm_service *s, const json_t *last, int64_t now, json_t **ret,
                         struct bm_error *e)
{
    BM_CLEANUP(cas_done) struct cas c = { .k = k, .service = s->name, .now = now };
    enum bm_rc rc = bm_ca_each(k->store, see_ca, &c, e);

    if (rc == BM_OK)
        rc = bm_ca_link_each(k->store, see_link, &c, e);
    if (rc == BM_OK)
        rc = take_own(&c, s, e);
    if (rc != BM_OK)
        return rc;
    take_last(&c, last);
    close_over(&c);
    return write_out(&c, ret, e);
}
