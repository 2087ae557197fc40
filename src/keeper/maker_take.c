/* Taking in a revocation list of another's: brought with `org trust`, or fetched. */
#include "keeper/maker_crl.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

/* --- one list --------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc record(struct bm_keeper *k, const struct bm_trust *t, const struct bm_held_crl *row, const char *how, int64_t now,
                         struct bm_error *e)
{
    char anchor[65], number[2 * BM_HELD_NUMBER_LEN + 1], until[24], digest[65];
    uint8_t sha256[32];
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;

    bm_udid_of(bm_buf_rd(&row->der), sha256); /* a SHA-256 like any other */
    bm_hex(sha256, sizeof sha256, digest);
    bm_hex(t->sha256, sizeof t->sha256, anchor);
    bm_hex(row->number, sizeof row->number, number);
    fields = json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s}", "how", how, "anchor_sha256", anchor, "purpose", t->purpose, "number",
                       number, "entries", (json_int_t)row->entries, "next_update", bm_time_text(row->next_update, until), "sha256",
                       digest);
    return bm_record(k, now, "maker-crl.taken", fields, e);
}

static enum bm_rc replace(struct bm_keeper *k, const struct bm_trust *t, struct bm_held_crl *row, const struct bm_crl *crl,
                          const char *how, int64_t now, struct bm_error *e)
{
    enum bm_rc rc;

    memcpy(row->number, crl->number, sizeof row->number);
    row->this_update = crl->this_update;
    row->next_update = crl->next_update;
    row->entries = (int64_t)crl->n;
    row->problem[0] = '\0';
    bm_buf_done(&row->der);
    row->der.max = BM_CRL_MAX;
    bm_buf_put(&row->der, crl->whole.p, crl->whole.n);
    rc = bm_buf_check(&row->der, e);
    if (rc == BM_OK)
        rc = bm_held_crl_put(k->store, row, e);
    return rc == BM_OK ? record(k, t, row, how, now, e) : rc;
}

/* Never back: whoever can put an older list in the way would bring revoked ones to life. */
static enum bm_rc check_newer(const struct bm_held_crl *row, const struct bm_crl *crl, struct bm_error *e)
{
    if (row->this_update == 0 || (memcmp(crl->number, row->number, sizeof row->number) > 0 && crl->this_update >= row->this_update))
        return BM_OK;
    return bm_refuse(e, BM_CONFLICT, "crl-old",
                     "a revocation list of this issuer with a higher number, or the same, is here already");
}

enum bm_rc bm_maker_take(struct bm_keeper *k, struct bm_held_crl *row, struct bm_rd der, const char *how, int64_t now,
                         struct bm_error *e)
{
    BM_CLEANUP(bm_trust_done) struct bm_trust t = { 0 };
    struct bm_cert anchor;
    struct bm_crl crl;
    enum bm_rc rc = bm_crl_parse(der, &crl, e);

    if (rc == BM_OK)
        rc = bm_trust_by_id(k->store, row->trust_id, &t, e);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&t.der), &anchor, e);
    if (rc == BM_OK)
        rc = bm_crl_check(&crl, &anchor, e);
    if (rc == BM_OK)
        rc = bm_crl_check_dates(&crl, now, e);
    if (rc != BM_OK)
        return rc;
    k->host.touched = true;
    bm_makers_look_again(k);
    if (bm_rd_eq(bm_buf_rd(&row->der), der)) {
        row->problem[0] = '\0';
        return bm_held_crl_set(k->store, row, e);
    }
    rc = check_newer(row, &crl, e);
    return rc == BM_OK ? replace(k, &t, row, &crl, how, now, e) : rc;
}

/* --- what the operator says ------------------------------------------------------------------------------------------------------------- */
static enum bm_rc count_row(void *arg, const struct bm_held_crl *h, struct bm_error *e)
{
    int64_t *n = arg;

    (void)e;
    *n += h->trust_id != 0;
    return BM_OK;
}

/* The anchor's row, new when there is none. */
static enum bm_rc row_of(struct bm_keeper *k, int64_t trust_id, struct bm_held_crl *ret, struct bm_error *e)
{
    int64_t n = 0;
    enum bm_rc rc = bm_held_crl_of_trust(k->store, trust_id, ret, e);

    if (rc != BM_NOTFOUND)
        return rc;
    rc = bm_held_crl_each(k->store, count_row, &n, e);
    if (rc == BM_OK && n >= BM_MAKER_CRLS_MAX)
        return bm_refuse(e, BM_LIMIT, "crl-limit", "revocation lists of %d issuers are held already, which is all there may be",
                         BM_MAKER_CRLS_MAX);
    ret->trust_id = trust_id;
    return rc == BM_OK ? bm_held_crl_put(k->store, ret, e) : rc;
}

/* Addresses are the operator's choice alone; those that stand in strangers' certificates are never followed. */
static enum bm_rc check_wish(const struct bm_maker_wish *w, struct bm_error *e)
{
    const char *u = w->url;
    bool none = u != NULL && strcmp(u, "none") == 0;

    if (u != NULL && !none &&
        ((strncmp(u, "http://", 7) != 0 && strncmp(u, "https://", 8) != 0) || strlen(u) >= BM_TEXT_MAX || strlen(u) < 10 ||
         strpbrk(u, " \t\r\n#@\\\"") != NULL))
        return bm_fail(e, BM_USAGE, "'crl' is an http:// or https:// address of at most %d characters, or none", BM_TEXT_MAX - 1);
    for (; u != NULL && *u != '\0'; u++)
        if (*u < 0x20 || *u >= 0x7f)
            return bm_fail(e, BM_USAGE, "'crl' is not text");
    if (w->over != NULL && strcmp(w->over, "use") != 0 && strcmp(w->over, "refuse") != 0)
        return bm_fail(e, BM_USAGE, "'crl_over' is 'use' (what a list that is over says still counts) or 'refuse'");
    return BM_OK;
}

static enum bm_rc set_one(struct bm_keeper *k, const struct bm_maker_wish *w, int64_t trust_id, struct bm_error *e)
{
    BM_CLEANUP(bm_held_crl_done) struct bm_held_crl row = { 0 };
    enum bm_rc rc = row_of(k, trust_id, &row, e);

    if (rc != BM_OK)
        return rc;
    if (w->url != NULL) {
        snprintf(row.url, sizeof row.url, "%s", strcmp(w->url, "none") == 0 ? "" : w->url);
        row.asked_at = 0; /* at once */
        row.problem[0] = '\0';
    }
    row.hard = w->over != NULL ? strcmp(w->over, "refuse") == 0 : row.hard;
    return bm_held_crl_set(k->store, &row, e);
}

/* --- lists out of the file -------------------------------------------------------------------------------------------------------------- */
struct search {
    struct bm_keeper *k;
    const struct bm_maker_wish *w;
    struct bm_crl crl;
    int64_t now, found, lists;
};

static enum bm_rc try_anchor(void *arg, const struct bm_trust *t, struct bm_error *e)
{
    struct search *s = arg;
    struct bm_cert anchor;

    (void)e;
    if (s->found == 0 && t->org_id == s->w->org_id && bm_cert_parse(bm_buf_rd(&t->der), &anchor, NULL) == BM_OK &&
        bm_crl_check(&s->crl, &anchor, NULL) == BM_OK)
        s->found = t->id;
    return BM_OK;
}

static enum bm_rc take_list(void *arg, struct bm_rd der, struct bm_error *e)
{
    BM_CLEANUP(bm_held_crl_done) struct bm_held_crl row = { 0 };
    struct search *s = arg;
    enum bm_rc rc = bm_crl_parse(der, &s->crl, e);

    s->found = 0;
    if (rc == BM_OK)
        rc = bm_trust_each(s->k->store, s->w->purpose, try_anchor, s, e);
    if (rc == BM_OK && s->found == 0)
        return bm_refuse(e, BM_DENIED, "bad-crl",
                         "the revocation list is by none of the certificates that the organisation is trusted for");
    if (rc == BM_OK)
        rc = row_of(s->k, s->found, &row, e);
    if (rc == BM_OK)
        rc = bm_maker_take(s->k, &row, der, "brought", s->now, e);
    if (rc == BM_OK && (s->w->url != NULL || s->w->over != NULL))
        rc = set_one(s->k, s->w, s->found, e);
    s->lists += rc == BM_OK;
    return rc;
}

enum bm_rc bm_maker_wish(struct bm_keeper *k, const struct bm_maker_wish *w, int64_t now, int64_t *ret_lists, struct bm_error *e)
{
    struct search s = { .k = k, .w = w, .now = now };
    const json_t *id;
    size_t i;
    enum bm_rc rc = check_wish(w, e);

    json_array_foreach (w->ids, i, id)
        if (rc == BM_OK && (w->url != NULL || w->over != NULL))
            rc = set_one(k, w, json_integer_value(id), e);
    if (rc == BM_OK && w->file.n != 0 && w->file.p[0] == 0x30) /* one list as DER */
        rc = take_list(&s, w->file, e);
    else if (rc == BM_OK)
        rc = bm_pem_parse(w->file, "X509 CRL", take_list, &s, e);
    bm_makers_look_again(k);
    *ret_lists = s.lists;
    return rc;
}
