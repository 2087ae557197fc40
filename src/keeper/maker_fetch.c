/* Having lists fetched: a chore that sees when one is due, and the errand that brings it. */
#include "keeper/errand.h"
#include "keeper/maker_crl.h"

#include "base/text.h"

#include <stdio.h>

enum {
    LIFE_S = 900,
    KEPT_S = 86400,
    TIMEOUT_MS = 60000,
    REDIRECTS = 3,
    AGAIN_S = 900,    /* after one that came to nothing */
    SELDOM_S = 86400, /* at the longest: a maker may revoke at any time */
};
static const char kind_name[] = "maker-crl";

/* --- the errand ------------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc row_of(struct bm_keeper *k, const struct bm_errand *x, struct bm_held_crl *ret, struct bm_error *e)
{
    struct bm_rd in = bm_buf_rd(&x->payload);
    uint64_t id;
    enum bm_rc rc;

    if (!bm_rd_uint(&in, 8, &id) || in.n != 0)
        return bm_fail(e, BM_BUG, "errand %lld: its question is damaged", (long long)x->id);
    rc = bm_held_crl_get(k->store, (int64_t)id, ret, e);
    return rc == BM_OK && ret->url[0] == '\0' ? bm_refuse(e, BM_DENIED, "crl-missing", "nobody wants this list fetched any more")
                                              : rc;
}

/* The operator chose the address, so it may be one of his own network. Over plain http as well: the list is signed. */
static enum bm_rc make_task(struct bm_keeper *k, const struct bm_errand *x, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_held_crl_done) struct bm_held_crl row = { 0 };
    struct bm_task t = { .kind = BM_TASK_HTTP,
                         .timeout_ms = TIMEOUT_MS,
                         .method = bm_rd_str("GET"),
                         .answer_max = BM_TASK_LARGE_MAX,
                         .redirects = REDIRECTS };
    enum bm_rc rc = row_of(k, x, &row, e);

    (void)now;
    if (rc != BM_OK)
        return rc;
    t.url = bm_rd_str(row.url);
    bm_task_write(out, &t);
    return bm_buf_check(out, e);
}

static enum bm_rc note_problem(struct bm_keeper *k, struct bm_held_crl *row, const char *what, struct bm_error *e)
{
    snprintf(row->problem, sizeof row->problem, "%s", what);
    return bm_held_crl_set(k->store, row, e);
}

/* In PEM from some, although RFC 5280 section 4.2.1.13 has DER. */
static enum bm_rc take_answer(struct bm_keeper *k, const struct bm_errand *x, const struct bm_task_answer *a, int64_t now,
                              struct bm_errand_outcome *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_held_crl_done) struct bm_held_crl row = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CRL_MAX };
    enum bm_rc rc;

    (void)ret;
    if (a->status >= 500 || a->status == 429)
        return bm_refuse(e, BM_AGAIN, "crl-fetch", "the revocation list is not given out now (HTTP %u)", a->status);
    if (a->status != 200)
        return bm_refuse(e, BM_DENIED, "crl-fetch", "there is no revocation list at that address (HTTP %u)", a->status);
    rc = row_of(k, x, &row, e);
    if (rc == BM_OK)
        rc = bm_crl_in_file(a->body, &der, e);
    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_DENIED, "bad-crl", "what is at that address is no revocation list");
    return rc == BM_OK ? bm_maker_take(k, &row, bm_buf_rd(&der), "fetched", now, e) : rc;
}

static enum bm_rc failed(struct bm_keeper *k, const struct bm_errand *x, const struct bm_error *why, int64_t now,
                         struct bm_error *e)
{
    BM_CLEANUP(bm_held_crl_done) struct bm_held_crl row = { 0 };
    enum bm_rc rc = row_of(k, x, &row, e);

    (void)now;
    return rc == BM_OK ? note_problem(k, &row, why->what, e) : BM_OK;
}

const struct bm_errand_kind bm_errand_maker_crl = { kind_name, 4, 5, 120, LIFE_S, KEPT_S, make_task, take_answer, failed };

/* --- when one is due ------------------------------------------------------------------------------------------------------------------- */
/* Four times in a list's life, a day apart at most. */
static int64_t due_at(const struct bm_held_crl *h)
{
    int64_t quarter = (h->next_update - h->this_update) / 4;

    if (h->asked_at == 0)
        return 0;
    if (h->problem[0] != '\0' || h->this_update == 0 || quarter < AGAIN_S)
        return h->asked_at + AGAIN_S;
    return h->asked_at + (quarter < SELDOM_S ? quarter : SELDOM_S);
}

/* What is kept in memory has the times, so a look costs nothing. */
static struct bm_maker *find_due(struct bm_keeper *k, int64_t now)
{
    struct bm_makers *all;

    if (bm_makers_get(k, &all, NULL) != BM_OK)
        return NULL;
    for (size_t i = 0; i < all->n; i++)
        if (all->at[i]->row.url[0] != '\0' && due_at(&all->at[i]->row) <= now)
            return all->at[i];
    return NULL;
}

static enum bm_rc look(struct bm_keeper *k, int64_t now, struct bm_error *e)
{
    (void)e;
    return find_due(k, now) != NULL ? BM_OK : BM_NOTFOUND;
}

static bool is_under_way(struct bm_keeper *k, const char *subject)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };

    return bm_errand_find(k, kind_name, subject, &x, NULL) == BM_OK &&
           (strcmp(x.state, BM_ERRAND_QUEUED) == 0 || strcmp(x.state, BM_ERRAND_RUNNING) == 0);
}

static enum bm_rc send_for(struct bm_keeper *k, struct bm_maker *m, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { .payload.max = 8 };
    enum bm_rc rc;

    snprintf(x.kind, sizeof x.kind, "%s", kind_name);
    snprintf(x.subject, sizeof x.subject, "%lld", (long long)m->row.id);
    bm_buf_uint(&x.payload, 8, (uint64_t)m->row.id);
    m->row.asked_at = now;
    rc = bm_held_crl_set(k->store, &m->row, e);
    return rc == BM_OK && !is_under_way(k, x.subject) ? bm_errand_add(k, &x, now, e) : rc;
}

static enum bm_rc fetch_next(struct bm_keeper *k, int64_t now, struct bm_error *e)
{
    struct bm_maker *m = find_due(k, now);

    return m != NULL ? send_for(k, m, now, e) : BM_NOTFOUND;
}

const struct bm_chore bm_chore_maker_crl = { "maker-crl", "have revocation lists fetched", look, fetch_next };
