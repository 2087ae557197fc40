/* Revocation lists that others have signed: how they are. */
#include "keeper/internal.h"
#include "store/held_crl.h"

enum { WARN_S = 30 * 86400 };

/* --- when they are over ---------------------------------------------------------------------------------------------------------------- */
static bool still_counts(struct bm_keeper *k, const struct bm_held_crl *h)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };

    return h->ca_id == 0 || (bm_ca_by_id(k->store, h->ca_id, &ca, NULL) == BM_OK && strcmp(ca.state, "active") == 0);
}

struct end {
    struct bm_keeper *k;
    bool makers;
    int64_t at;
};

static enum bm_rc see_end(void *arg, const struct bm_held_crl *h, struct bm_error *e)
{
    struct end *s = arg;

    (void)e;
    if ((h->trust_id != 0) == s->makers && h->next_update != 0 && (s->at == 0 || h->next_update < s->at) && still_counts(s->k, h))
        s->at = h->next_update;
    return BM_OK;
}

int64_t bm_held_crls_end(struct bm_keeper *k, bool makers)
{
    struct end s = { .k = k, .makers = makers };

    return bm_held_crl_each(k->store, see_end, &s, NULL) == BM_OK ? s.at : 0;
}

/* --- in sentences ---------------------------------------------------------------------------------------------------------------------- */
struct warn {
    struct bm_keeper *k;
    int64_t now;
    json_t *warnings;
};

static enum bm_rc warn_of_ca(struct warn *w, const struct bm_held_crl *h, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    int64_t third = (h->next_update - h->this_update) / 3;
    char at[24];
    enum bm_rc rc = bm_ca_by_id(w->k->store, h->ca_id, &ca, e);

    if (rc != BM_OK || strcmp(ca.state, "active") != 0 || h->next_update - w->now > (third < WARN_S ? third : WARN_S))
        return rc;
    return json_array_append_new(w->warnings, json_sprintf("the revocation list of '%s' %s over at %s: have the next one signed "
                                                           "(birthmark ceremony crl), and birthmark ca import %s FILE",
                                                           ca.name, h->next_update > w->now ? "is" : "was",
                                                           bm_time_text(h->next_update, at), ca.name)) == 0
               ? BM_OK
               : bm_fail(e, BM_NOMEM, "no memory");
}

/* One that was never there is missed by whoever wants it to count; one that is over, by everybody. */
static enum bm_rc warn_of_maker(struct warn *w, const struct bm_held_crl *h, struct bm_error *e)
{
    BM_CLEANUP(bm_trust_done) struct bm_trust t = { 0 };
    struct bm_org o;
    enum bm_rc rc;

    if (h->next_update > w->now || (h->next_update == 0 && h->problem[0] == '\0' && !h->hard))
        return BM_OK;
    rc = bm_trust_by_id(w->k->store, h->trust_id, &t, e);
    if (rc == BM_OK)
        rc = bm_org_by_id(w->k->store, t.org_id, &o, e);
    if (rc != BM_OK)
        return rc;
    return json_array_append_new(w->warnings,
                                 json_sprintf("the revocation list of '%s' (%s) is %s: %s", o.name, t.purpose,
                                              h->next_update == 0 ? "not there" : "over",
                                              h->problem[0] != '\0' ? h->problem : "bring a newer one: birthmark org trust")) == 0
               ? BM_OK
               : bm_fail(e, BM_NOMEM, "no memory");
}

static enum bm_rc see_warn(void *arg, const struct bm_held_crl *h, struct bm_error *e)
{
    return h->ca_id != 0 ? warn_of_ca(arg, h, e) : warn_of_maker(arg, h, e);
}

enum bm_rc bm_held_crls_warn(struct bm_keeper *k, int64_t now, json_t *warnings, struct bm_error *e)
{
    struct warn w = { .k = k, .now = now, .warnings = warnings };

    return bm_held_crl_each(k->store, see_warn, &w, e);
}
