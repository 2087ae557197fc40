/* Who is on a list. The lists are in memory, with an index each, and read again only when another one has come: an enrolment costs a query when something
 * has changed, and some twenty comparisons for each certificate otherwise. */
#include "keeper/maker_crl.h"

#include "base/text.h"

#include <stdlib.h>

/* --- what is kept ---------------------------------------------------------------------------------------------------------------------- */
static void maker_free(struct bm_maker *m)
{
    if (m == NULL)
        return;
    bm_crl_index_done(&m->index);
    bm_held_crl_done(&m->row);
    bm_buf_done(&m->anchor_der);
    free(m);
}

static void maker_freep(struct bm_maker **m)
{
    maker_free(*m);
}

static void makers_done(struct bm_makers *all)
{
    for (size_t i = 0; i < all->n; i++)
        maker_free(all->at[i]);
    all->n = 0;
}

void bm_makers_drop(struct bm_keeper *k)
{
    if (k->makers != NULL)
        makers_done(k->makers);
    free(BM_MOVE(k->makers));
}

void bm_makers_look_again(struct bm_keeper *k)
{
    if (k->makers != NULL)
        k->makers->look = true;
}

/* --- reading them ---------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc open_list(struct bm_maker *m, struct bm_error *e)
{
    enum bm_rc rc = bm_cert_parse(bm_buf_rd(&m->anchor_der), &m->anchor, e);

    m->has = m->row.this_update != 0;
    if (rc != BM_OK || !m->has)
        return rc;
    rc = bm_crl_parse(bm_buf_rd(&m->row.der), &m->crl, e);
    return rc == BM_OK ? bm_crl_index_make(&m->crl, &m->index, e) : rc;
}

static enum bm_rc read_one(struct bm_keeper *k, int64_t id, struct bm_maker **ret, struct bm_error *e)
{
    BM_CLEANUP(maker_freep) struct bm_maker *m = calloc(1, sizeof *m);
    BM_CLEANUP(bm_trust_done) struct bm_trust t = { 0 };
    enum bm_rc rc;

    if (m == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a revocation list");
    rc = bm_held_crl_get(k->store, id, &m->row, e);
    if (rc == BM_OK)
        rc = bm_trust_by_id(k->store, m->row.trust_id, &t, e);
    if (rc != BM_OK)
        return rc;
    m->org_id = t.org_id;
    m->anchor_der = t.der;
    t.der = (struct bm_buf){ 0 };
    rc = open_list(m, e);
    if (rc != BM_OK)
        return bm_wrap(e, BM_BUG, "the revocation list %lld that is held", (long long)id);
    *ret = BM_MOVE(m);
    return BM_OK;
}

struct reading {
    struct bm_keeper *k;
    struct bm_makers *was, now;
};

static bool is_same(const struct bm_maker *m, const struct bm_held_crl *h)
{
    return m != NULL && m->row.id == h->id && m->row.this_update == h->this_update &&
           memcmp(m->row.number, h->number, sizeof h->number) == 0;
}

/* What has not changed moves over, with what the operator may have said since. */
static struct bm_maker *keep(struct bm_makers *was, const struct bm_held_crl *h)
{
    for (size_t i = 0; i < was->n; i++) {
        struct bm_maker *m = was->at[i];
        struct bm_buf der;

        if (!is_same(m, h))
            continue;
        der = m->row.der;
        m->row = *h;
        m->row.der = der;
        was->at[i] = NULL;
        return m;
    }
    return NULL;
}

static enum bm_rc see_row(void *arg, const struct bm_held_crl *h, struct bm_error *e)
{
    struct reading *r = arg;
    struct bm_maker *m;
    enum bm_rc rc = BM_OK;

    if (h->trust_id == 0)
        return BM_OK;
    if (r->now.n == BM_MAKER_CRLS_MAX)
        return bm_fail(e, BM_LIMIT, "more than %d revocation lists of others", BM_MAKER_CRLS_MAX);
    m = keep(r->was, h);
    if (m == NULL)
        rc = read_one(r->k, h->id, &m, e);
    if (rc == BM_OK)
        r->now.at[r->now.n++] = m;
    return rc;
}

enum bm_rc bm_makers_get(struct bm_keeper *k, struct bm_makers **ret, struct bm_error *e)
{
    struct reading r = { .k = k };
    enum bm_rc rc;

    if (k->makers == NULL) {
        k->makers = calloc(1, sizeof *k->makers);
        if (k->makers == NULL)
            return bm_fail(e, BM_NOMEM, "no memory for revocation lists");
        k->makers->look = true;
    }
    *ret = r.was = k->makers;
    if (!k->makers->look)
        return BM_OK;
    rc = bm_held_crl_each(k->store, see_row, &r, e);
    makers_done(k->makers); /* what was kept has moved */
    *k->makers = r.now;
    k->makers->look = rc != BM_OK;
    return rc;
}

/* --- who is on one --------------------------------------------------------------------------------------------------------------------- */
bool bm_maker_refusal(const struct bm_error *e)
{
    return strcmp(e->code, "maker-revoked") == 0 || strcmp(e->code, "maker-crl-over") == 0;
}

/* By name; and by key, where the issuer stands in the path, or else where both say which. Lists of another organisation's anchors do not count: their names
 * are theirs to choose. */
static bool is_issuer(const struct bm_maker *m, int64_t org_id, const struct bm_cert *c, const struct bm_cert *above)
{
    if (m->org_id != org_id || !bm_rd_eq(m->anchor.subject, c->issuer))
        return false;
    if (above == NULL && (c->akid.n == 0 || c->skid.n == 0 || bm_rd_eq(c->akid, c->skid)))
        above = c; /* a root, when the names are the same */
    if (above != NULL && bm_rd_eq(above->subject, c->issuer))
        return bm_rd_eq(above->spki, m->anchor.spki);
    return c->akid.n == 0 || m->anchor.skid.n == 0 || bm_rd_eq(c->akid, m->anchor.skid);
}

/* RFC 5280 section 5.2.5: what it does not cover, it says nothing about. */
static bool counts_for(const struct bm_maker *m, const struct bm_cert *c, int64_t now)
{
    return m->has && now < m->crl.next_update && !(m->crl.users_only && c->ca) && !(m->crl.cas_only && !c->ca);
}

static enum bm_rc check_one(const struct bm_maker *m, const struct bm_cert *c, int64_t now, struct bm_error *e)
{
    struct bm_crl_entry entry;
    char at[24];

    if (m->has && bm_crl_index_find(&m->index, &m->crl, c->serial, &entry))
        return bm_refuse(e, BM_DENIED, "maker-revoked", "%s was revoked by its issuer at %s (%s)",
                         c->ca ? "a CA above the certificate" : "the certificate", bm_time_text(entry.revoked_at, at),
                         bm_reason_name(entry.reason));
    if (m->row.hard && !counts_for(m, c, now))
        return bm_refuse(
            e, BM_AGAIN, "maker-crl-over",
            "no revocation list of the certificate's issuer counts at present, and its organisation's has to: birthmark org "
            "show tells why");
    return BM_OK;
}

enum bm_rc bm_maker_check(struct bm_keeper *k, int64_t org_id, const struct bm_cert *path, size_t n, int64_t now,
                          struct bm_error *e)
{
    struct bm_makers *all;
    enum bm_rc rc = bm_makers_get(k, &all, e);

    for (size_t i = 0; rc == BM_OK && i < n; i++)
        for (size_t m = 0; rc == BM_OK && m < all->n; m++)
            if (is_issuer(all->at[m], org_id, &path[i], i + 1 < n ? &path[i + 1] : NULL))
                rc = check_one(all->at[m], &path[i], now, e);
    return rc;
}
