/* Who is revoked, told to others: the CAs we answer for, and their CRLs (RFC 5280 section 5). A CRL is signed when somebody asks for it and
 * kept until something was revoked or half its life is over. Its number is in the registry, committed before the first byte of it leaves. */
#include "keeper/revocation.h"
#include "keeper/upstream_revoke.h"

#include "base/text.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

/* --- what is kept ---------------------------------------------------------------------------------------------------------------- */
static void crl_ready_done(struct bm_crl_ready *c)
{
    bm_buf_done(&c->der);
    *c = (struct bm_crl_ready){ 0 };
}

static void crl_list_done(struct bm_crl_list *l)
{
    crl_ready_done(&l->full);
    crl_ready_done(&l->delta);
}

static void authority_done(struct bm_authority *a)
{
    crl_list_done(&a->list);
    for (size_t i = 0; i < a->n_parts; i++)
        crl_list_done(&a->parts[i]);
    free(a->parts);
    bm_delegate_done(&a->responder);
    bm_delegate_done(&a->cmp);
}

void bm_revocation_drop(struct bm_keeper *k)
{
    struct bm_revocation *r = BM_MOVE(k->revocation);

    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n; i++)
        authority_done(&r->at[i]);
    for (size_t i = 0; r->ready != NULL && i < BM_OCSP_READY_MAX; i++) {
        bm_buf_done(&r->ready[i].id);
        bm_buf_done(&r->ready[i].der);
    }
    free(r->at);
    free(r->ready);
    free(r);
}

void bm_revocation_look_again(struct bm_keeper *k)
{
    if (k->revocation != NULL)
        k->revocation->look_again = true;
}

void bm_revocation_outdated(struct bm_keeper *k)
{
    if (k->revocation != NULL)
        k->revocation->epoch++;
}

static void next_epoch(struct bm_keeper *k)
{
    bm_revocation_outdated(k);
    k->host.touched = true;
}

enum bm_rc bm_revoke_credential(struct bm_keeper *k, int64_t id, int reason, int64_t at, struct bm_error *e)
{
    enum bm_rc rc;

    next_epoch(k);
    rc = bm_credential_set_revoked(k->store, id, reason, at, e);
    return rc == BM_OK ? bm_upstream_revoked(k, id, at, e) : rc;
}

enum bm_rc bm_revoke_ca(struct bm_keeper *k, int64_t id, int reason, int64_t at, struct bm_error *e)
{
    next_epoch(k);
    bm_revocation_look_again(k);
    return bm_ca_set_revoked(k->store, id, reason, at, e);
}

/* --- the CAs --------------------------------------------------------------------------------------------------------------------- */
struct bm_authority *bm_authority_of(struct bm_revocation *r, const uint8_t subject_sha256[32])
{
    for (size_t i = 0; i < r->n; i++)
        if (memcmp(r->at[i].issuer.name[BM_OCSP_SHA256], subject_sha256, 32) == 0)
            return &r->at[i];
    return NULL;
}

struct bm_authority *bm_authority_by_id(struct bm_revocation *r, int64_t ca_id)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->at[i].ca_id == ca_id)
            return &r->at[i];
    return NULL;
}

static enum bm_rc describe(struct bm_authority *a, const struct bm_ca *row, struct bm_error *e)
{
    static const uint8_t oid_o[] = { 0x55, 0x04, 0x0a };
    struct bm_cert cert;
    struct bm_rd o;
    enum bm_rc rc = bm_cert_parse(bm_buf_rd(&row->cert), &cert, e);

    if (rc == BM_OK && cert.serial.n > sizeof a->serial)
        rc = bm_fail(e, BM_BUG, "CA '%s' has a serial number of %zu bytes", row->name, cert.serial.n);
    if (rc == BM_OK)
        rc = bm_ocsp_issuer_of(&cert, &a->issuer, e);
    if (rc != BM_OK)
        return rc;
    memcpy(a->serial, cert.serial.p, cert.serial.n);
    a->serial_len = cert.serial.n;
    a->not_after = cert.not_after;
    a->ca_id = row->id;
    a->parent_id = row->parent_id;
    a->elsewhere = strncmp(row->key_uri, "external:", 9) == 0;
    memcpy(a->name, row->name, sizeof a->name);
    if (bm_name_find(cert.subject, bm_rd_of(oid_o, sizeof oid_o), &o) && o.n < sizeof a->organisation)
        snprintf(a->organisation, sizeof a->organisation, "%.*s", (int)o.n, (const char *)o.p);
    return BM_OK;
}

static enum bm_rc add_ca(void *arg, const struct bm_ca *row, struct bm_error *e)
{
    struct bm_revocation *r = arg;
    struct bm_authority *a = bm_authority_by_id(r, row->id), made = { 0 };
    enum bm_rc rc = BM_OK;

    if (bm_ca_is_upstream(row)) /* what it revokes it says itself */
        return BM_OK;

    if (a == NULL && r->n == BM_OCSP_RESPONDERS_MAX)
        return bm_fail(e, BM_LIMIT, "more than %d CAs", BM_OCSP_RESPONDERS_MAX);
    if (a == NULL) {
        rc = describe(&made, row, e);
        if (rc != BM_OK)
            return rc;
        a = &r->at[r->n++];
        *a = made;
    }
    a->revoked = strcmp(row->state, "revoked") == 0;
    a->revoked_at = row->revoked_at;
    a->reason = row->reason;
    return BM_OK;
}

enum bm_rc bm_authorities(struct bm_keeper *k, struct bm_revocation **ret, struct bm_error *e)
{
    struct bm_revocation *r = k->revocation;
    enum bm_rc rc;

    if (r == NULL) {
        r = k->revocation = calloc(1, sizeof *r);
        if (r == NULL)
            return bm_fail(e, BM_NOMEM, "no memory for revocation");
        r->epoch = 1;
        r->look_again = true;
    }
    if (r->at == NULL)
        r->at = calloc(BM_OCSP_RESPONDERS_MAX, sizeof *r->at);
    if (r->ready == NULL)
        r->ready = calloc(BM_OCSP_READY_MAX, sizeof *r->ready);
    if (r->at == NULL || r->ready == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for revocation");
    rc = r->look_again ? bm_ca_each(k->store, add_ca, r, e) : BM_OK;
    r->look_again = r->look_again && rc != BM_OK;
    *ret = r;
    return rc;
}

/* --- making a CRL ---------------------------------------------------------------------------------------------------------------- */
struct making {
    struct bm_crl_writer full, delta;
    int64_t since; /* what was revoked before this is not in the delta */
};

static void making_done(struct making *m)
{
    bm_crl_done(&m->full);
    bm_crl_done(&m->delta);
}

static enum bm_rc add_entry(struct making *m, struct bm_rd serial, int64_t revoked_at, int reason, struct bm_error *e)
{
    enum bm_rc rc = bm_crl_add(&m->full, serial, revoked_at, reason, e);

    return rc == BM_OK && revoked_at >= m->since ? bm_crl_add(&m->delta, serial, revoked_at, reason, e) : rc;
}

static enum bm_rc add_credential(void *arg, const struct bm_revoked *r, struct bm_error *e)
{
    return add_entry(arg, bm_rd_of(r->serial, sizeof r->serial), r->revoked_at, r->reason, e);
}

/* not_after_min: RFC 5280 section 3.3 keeps an entry until it has been on one CRL issued after the certificate's end, so what was over
 * before the last CRL has been on that one. */
static enum bm_rc gather(struct bm_keeper *k, const struct bm_authority *a, int64_t part, int64_t not_after_min, struct making *m,
                         struct bm_error *e)
{
    const struct bm_revocation *r = k->revocation;
    enum bm_rc rc = bm_credential_each_revoked(k->store, a->ca_id, part, not_after_min, add_credential, m, e);

    for (size_t i = 0; rc == BM_OK && part == 0 && i < r->n; i++) { /* CAs are in no part */
        const struct bm_authority *below = &r->at[i];

        if (below->parent_id == a->ca_id && below->revoked && below->not_after >= not_after_min)
            rc = add_entry(m, bm_rd_of(below->serial, below->serial_len), below->revoked_at, below->reason, e);
    }
    return rc;
}

/* The same text in the certificate and in the list: they are compared (RFC 5280 section 6.3.3 (b)(2)(i)). */
static void part_url(const struct bm_issuer *by, int64_t part, const char *suffix, char ret[BM_CRL_URL_LEN])
{
    snprintf(ret, BM_CRL_URL_LEN, "%s/%s.p%lld%s.crl", by->crl.url, by->row.name, (long long)part, suffix);
}

int64_t bm_crl_part_of(const struct bm_issuer *by, const uint8_t serial[BM_SERIAL_LEN], char ret_url[BM_CRL_URL_LEN])
{
    int64_t part = 0;

    ret_url[0] = '\0';
    if (by->crl.n == 0)
        return 0;
    for (size_t i = BM_SERIAL_LEN - 4; i < BM_SERIAL_LEN; i++) /* random, all of them */
        part = part << 8 | serial[i];
    part = 1 + part % by->crl.n;
    part_url(by, part, "", ret_url);
    return part;
}

static enum bm_rc sign_one(const struct bm_issuer *by, const struct bm_crl_row *row, int64_t base, struct bm_crl_writer *w,
                           struct bm_crl_ready *ret, struct bm_error *e)
{
    char point[BM_CRL_URL_LEN] = "", fresh[BM_CRL_URL_LEN] = "";
    struct bm_crl_head h = { .key = by->key,
                             .issuer = &by->cert,
                             .number = (uint64_t)row->number,
                             .base = (uint64_t)base,
                             .this_update = row->this_update,
                             .next_update = row->next_update };
    enum bm_rc rc;

    if (row->part != 0) {
        part_url(by, row->part, "", point);
        part_url(by, row->part, "-delta", fresh);
    }
    h.point = bm_rd_str(point);
    h.fresh = bm_rd_str(fresh);
    crl_ready_done(ret);
    ret->der.max = BM_CRL_MAX;
    ret->entries = w->n;
    rc = bm_crl_sign(w, &h, &ret->der, e);
    if (rc == BM_OK)
        bm_etag_of(bm_buf_rd(&ret->der), ret->etag);
    return rc;
}

/* The number is spent and the fact is in the audit log before anybody gets the list. */
static enum bm_rc write_down(struct bm_keeper *k, const struct bm_authority *a, const struct bm_crl_row *row, size_t entries,
                             int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp)
    json_t *fields = json_pack("{s:s, s:I, s:I}", "ca", a->name, "number", (json_int_t)row->number, "entries", (json_int_t)entries);
    enum bm_rc rc = bm_crl_put(k->store, row, e);

    if (rc == BM_OK)
        rc = bm_crl_forget(k->store, a->ca_id, row->part, now, row->number, e);
    if (row->part != 0)
        json_object_set_new(fields, "part", json_integer(row->part));
    return rc == BM_OK ? bm_record(k, now, "crl.issued", fields, e) : rc;
}

/* The delta starts from the oldest complete CRL that somebody may still go by, so that it serves all of them (RFC 5280 section 5.2.4). A
 * revocation may carry an earlier time than the base although it came later: clocks may step back a little. */
static enum bm_rc find_base(struct bm_keeper *k, const struct bm_crl_row *row, int64_t now, struct bm_crl_row *ret,
                            struct bm_error *e)
{
    enum bm_rc rc = bm_crl_oldest(k->store, row->ca_id, row->part, now, ret, e);

    if (rc == BM_NOTFOUND) {
        *ret = *row;
        rc = BM_OK;
    }
    return rc;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* One sequence of numbers for all lists of a CA: those of each go up, which is all that section 5.2.3 asks. */
static enum bm_rc next_row(struct bm_keeper *k, const struct bm_issuer *by, int64_t part, int64_t now, struct bm_crl_row *last,
                           struct bm_crl_row *ret, struct bm_error *e)
{
    int64_t number = 0;
    enum bm_rc rc = bm_crl_last(k->store, by->row.id, part, last, e);

    if (rc == BM_NOTFOUND) {
        *last = (struct bm_crl_row){ .ca_id = by->row.id, .part = part };
        rc = BM_OK;
    }
    if (rc == BM_OK)
        rc = bm_crl_number(k->store, by->row.id, &number, e);
    if (rc != BM_OK)
        return rc;
    *ret = (struct bm_crl_row){ .ca_id = by->row.id, .part = part, .number = number + 1 };
    ret->this_update = now > last->this_update ? now : last->this_update;
    ret->next_update = least(ret->this_update + BM_CRL_LIFE_S, by->cert.not_after);
    if (ret->next_update <= now)
        return bm_refuse(e, BM_DENIED, "issuer-expired", "the CA '%s' is past its end", by->row.name);
    return BM_OK;
}

static enum bm_rc make(struct bm_keeper *k, const struct bm_authority *a, int64_t part, struct bm_crl_list *to,
                       const struct bm_issuer *by, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(making_done) struct making m = { 0 };
    struct bm_crl_row last, row, base;
    enum bm_rc rc = next_row(k, by, part, now, &last, &row, e);

    if (rc == BM_OK)
        rc = find_base(k, &row, now, &base, e);
    if (rc != BM_OK)
        return rc;
    m.since = base.number == row.number ? INT64_MAX : base.this_update - BM_CLOCK_BACK_TOLERANCE_S;
    rc = gather(k, a, part, last.this_update, &m, e);
    if (rc == BM_OK)
        rc = sign_one(by, &row, 0, &m.full, &to->full, e);
    if (rc == BM_OK)
        rc = sign_one(by, &row, base.number, &m.delta, &to->delta, e);
    if (rc == BM_OK)
        rc = write_down(k, a, &row, m.full.n, now, e);
    if (rc != BM_OK)
        return rc;
    to->row = row;
    to->base = base.number;
    to->epoch = k->revocation->epoch;
    return BM_OK;
}

/* What was brought stays what it is until another is. */
static bool still_fresh(const struct bm_authority *a, const struct bm_crl_list *l, uint64_t epoch, int64_t now)
{
    return l->epoch == epoch && (a->elsewhere || now < l->row.this_update + (l->row.next_update - l->row.this_update) / 2);
}

static enum bm_rc load(struct bm_keeper *k, const struct bm_authority *a, struct bm_crl_list *l, struct bm_error *e)
{
    enum bm_rc rc;

    crl_list_done(l);
    rc = bm_ca_crl_load(k, a, l, e);
    l->epoch = rc == BM_OK ? k->revocation->epoch : 0;
    return rc;
}

static enum bm_rc sign(struct bm_keeper *k, const struct bm_authority *a, int64_t part, struct bm_crl_list *l, struct bm_issuer *by,
                       int64_t now, struct bm_error *e)
{
    enum bm_rc rc;

    l->epoch = 0;
    rc = bm_issuer_key(k, by, e);
    return rc == BM_OK ? make(k, a, part, l, by, now, e) : rc;
}

static struct bm_authority *find_name(struct bm_revocation *r, struct bm_rd name)
{
    for (size_t i = 0; i < r->n; i++)
        if (bm_rd_eq(bm_rd_str(r->at[i].name), name))
            return &r->at[i];
    return NULL;
}

bool bm_crl_part_name(struct bm_rd name, struct bm_rd *ret_ca, int64_t *ret_part)
{
    size_t n = name.n;
    int64_t part = 0, ten = 1;

    for (; n > 0 && name.n - n < 3 && name.p[n - 1] >= '0' && name.p[n - 1] <= '9'; n--, ten *= 10)
        part += (name.p[n - 1] - '0') * ten;
    if (n == name.n || n < 3 || name.p[n - 1] != 'p' || name.p[n - 2] != '.' || name.p[n] == '0')
        return false;
    *ret_ca = bm_rd_of(name.p, n - 2);
    *ret_part = part;
    return true;
}

/* The list itself: the CA's own, or the part that the name asks for, if there has ever been one of that number. */
static enum bm_rc find_list(struct bm_revocation *r, struct bm_rd name, struct bm_authority **ret, int64_t *ret_part,
                            struct bm_error *e)
{
    struct bm_rd ca = name;
    char safe[80];

    *ret_part = 0;
    *ret = find_name(r, name);
    if (*ret == NULL && bm_crl_part_name(name, &ca, ret_part))
        *ret = find_name(r, ca);
    return *ret != NULL
               ? BM_OK
               : bm_refuse(e, BM_NOTFOUND, "unknown-ca", "there is no CA '%s' here", bm_text_escape(name, safe, sizeof safe));
}

static enum bm_rc list_of(struct bm_authority *a, const struct bm_issuer *by, int64_t part, struct bm_crl_list **ret,
                          struct bm_error *e)
{
    size_t n = (size_t)by->crl.highest;
    struct bm_crl_list *more;

    *ret = &a->list;
    if (part == 0)
        return BM_OK;
    if (part > by->crl.highest)
        return bm_refuse(e, BM_NOTFOUND, "unknown-ca", "the list of CA '%s' has no part %lld", a->name, (long long)part);
    if (a->n_parts < n) {
        more = realloc(a->parts, n * sizeof *more);
        if (more == NULL)
            return bm_fail(e, BM_NOMEM, "no memory for revocation");
        memset(more + a->n_parts, 0, (n - a->n_parts) * sizeof *more);
        a->parts = more;
        a->n_parts = n;
    }
    *ret = &a->parts[part - 1];
    return BM_OK;
}

enum bm_rc bm_crl_fresh(struct bm_keeper *k, struct bm_rd name, int64_t now, struct bm_authority **ret,
                        struct bm_crl_list **ret_list, struct bm_error *e)
{
    struct bm_revocation *r;
    struct bm_authority *a = NULL;
    struct bm_crl_list *l = NULL;
    struct bm_issuer *by;
    int64_t part;
    enum bm_rc rc = bm_authorities(k, &r, e);

    if (rc == BM_OK)
        rc = find_list(r, name, &a, &part, e);
    if (rc == BM_OK)
        rc = bm_issuer_get(k, a->ca_id, &by, e); /* a revoked CA's word is worth nothing: its parent's CRL says so */
    if (rc == BM_OK)
        rc = list_of(a, by, part, &l, e);
    if (rc == BM_OK && !still_fresh(a, l, r->epoch, now))
        rc = a->elsewhere ? load(k, a, l, e) : sign(k, a, part, l, by, now, e);
    if (rc != BM_OK)
        return rc;
    *ret = a;
    *ret_list = l;
    return BM_OK;
}

enum bm_rc bm_crl_delta_check(const struct bm_authority *a, const struct bm_crl_list *l, struct bm_error *e)
{
    return l->base != 0
               ? BM_OK
               : bm_refuse(e, BM_NOTFOUND, "unknown-ca", "the list of CA '%s' is made elsewhere, and has no delta", a->name);
}

/* --- the worker's question -------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_run_crl(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    struct bm_crl_ask ask;
    struct bm_crl_told told = { 0 };
    const struct bm_crl_ready *c;
    struct bm_crl_list *l;
    struct bm_authority *a;
    enum bm_rc rc = bm_crl_ask_parse(payload, &ask, e);

    if (rc == BM_OK)
        rc = bm_crl_fresh(k, ask.ca, now, &a, &l, e);
    if (rc == BM_OK && ask.delta)
        rc = bm_crl_delta_check(a, l, e);
    if (rc != BM_OK)
        return rc;
    c = ask.delta ? &l->delta : &l->full;
    memcpy(told.etag, c->etag, sizeof told.etag);
    told.this_update = l->row.this_update;
    told.max_age_s = l->row.next_update > now ? (uint32_t)(l->row.next_update - now) : 0;
    told.der = bm_etag_listed(ask.have, c->etag) ? bm_rd_of(NULL, 0) : bm_buf_rd(&c->der);
    bm_crl_told_write(out, &told);
    return bm_buf_check(out, e);
}
