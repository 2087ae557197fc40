/* A root's new key (RFC 9810 section 4.4, RFC 7030 section 4.1.3): a new root of the same name, and each certified by the other. Who has only the
 * old root follows NewWithOld to the new one; who has only the new follows OldWithNew to what the old one signed. The old root stays as it is,
 * and so does everything below it. */
#include "keeper/internal.h"

#include <openssl/rand.h>
#include <stdio.h>

/* --- links ------------------------------------------------------------------------------------------------------------------------ */
int64_t bm_ca_root_of(struct bm_keeper *k, const struct bm_issuer *i)
{
    int64_t id = i->row.id, up = i->row.parent_id;

    while (up != 0) {
        BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };

        if (bm_ca_by_id(k->store, up, &ca, NULL) != BM_OK)
            return 0;
        id = ca.id;
        up = ca.parent_id;
    }
    return id;
}

struct telling {
    int64_t root_id, now;
    bm_ca_link_fn *fn;
    void *arg;
};

static enum bm_rc tell_link(void *arg, const struct bm_ca_link *l, struct bm_error *e)
{
    struct telling *t = arg;
    struct bm_cert cert;
    enum bm_rc rc;

    if (l->ca_id != t->root_id)
        return BM_OK;
    rc = bm_cert_parse(bm_buf_rd(&l->cert), &cert, e);
    return rc == BM_OK && cert.not_after > t->now ? t->fn(t->arg, l, e) : rc;
}

enum bm_rc bm_ca_links(struct bm_keeper *k, const struct bm_issuer *i, int64_t now, bm_ca_link_fn *fn, void *arg,
                       struct bm_error *e)
{
    struct telling t = { .root_id = bm_ca_root_of(k, i), .now = now, .fn = fn, .arg = arg };

    return t.root_id != 0 ? bm_ca_link_each(k->store, tell_link, &t, e) : BM_OK;
}

static enum bm_rc put_link(void *arg, const struct bm_ca_link *l, struct bm_error *e)
{
    (void)e;
    bm_pem_write(arg, "CERTIFICATE", bm_buf_rd(&l->cert));
    return BM_OK;
}

enum bm_rc bm_ca_links_pem(struct bm_keeper *k, const struct bm_issuer *i, int64_t now, struct bm_buf *pem, struct bm_error *e)
{
    return bm_ca_links(k, i, now, put_link, pem, e);
}

/* The key of `ca`, signed by `by`, no longer than either lives. */
static enum bm_rc link_roots(struct bm_keeper *k, const struct bm_issuer *ca, const struct bm_issuer *by, const char *profile_name,
                             int64_t now, struct bm_ca_link *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_profile_freep) struct bm_profile *profile = NULL;
    struct bm_subject_words no_words = { 0 };
    struct bm_issue i = {
        .issuer_key = by->key,
        .issuer_cert = &by->cert,
        .spki = ca->cert.spki,
        .words = &no_words,
        .subject = ca->cert.subject,
        .now = now,
        .not_after_max = ca->cert.not_after,
    };
    enum bm_rc rc = bm_profile_open(k, profile_name, &profile, e);

    if (rc != BM_OK)
        return rc;
    i.profile = profile;
    if (RAND_bytes(i.serial, sizeof i.serial) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    *ret = (struct bm_ca_link){ .ca_id = ca->row.id, .by_id = by->row.id, .created_at = now, .cert.max = BM_CERT_MAX };
    rc = bm_cert_issue(&i, &ret->cert, NULL, NULL, e);
    return rc == BM_OK ? bm_ca_link_put(k->store, ret, e) : rc;
}

/* --- the act ------------------------------------------------------------------------------------------------------------------------ */
struct successor {
    int64_t of;
    bool found;
};

/* NewWithOld: the one whose key is in it came later than the one that signed it. */
static enum bm_rc see_successor(void *arg, const struct bm_ca_link *l, struct bm_error *e)
{
    struct successor *s = arg;

    (void)e;
    s->found = s->found || (l->by_id == s->of && l->ca_id > s->of);
    return BM_OK;
}

struct rollover {
    struct bm_issuer *old, *new;
    char organisation[65];
    struct bm_ca_spec spec;
    struct bm_ca_link old_with_new, new_with_old;
    struct successor successor;
    int64_t now;
};

static void rollover_done(struct rollover *r)
{
    bm_ca_link_done(&r->old_with_new);
    bm_ca_link_done(&r->new_with_old);
}

static enum bm_rc open_issuer(struct bm_keeper *k, int64_t id, struct bm_issuer **ret, struct bm_error *e)
{
    enum bm_rc rc = bm_issuer_get(k, id, ret, e);

    return rc == BM_OK ? bm_issuer_key(k, *ret, e) : rc;
}

static enum bm_rc find_old(struct bm_keeper *k, const char *name, struct rollover *r, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    enum bm_rc rc = bm_ca_get(k->store, name, &ca, e);

    if (rc == BM_OK && ca.parent_id != 0)
        return bm_fail(e, BM_USAGE, "'%s' is no root; an issuing CA gets a successor by 'birthmark ca create'", name);
    if (rc == BM_OK)
        rc = open_issuer(k, ca.id, &r->old, e);
    r->successor.of = ca.id;
    if (rc == BM_OK)
        rc = bm_ca_link_each(k->store, see_successor, &r->successor, e);
    if (rc == BM_OK && r->successor.found)
        return bm_fail(e, BM_CONFLICT, "'%s' has a successor already; roll that one over", name);
    return rc;
}

static enum bm_rc make_new(struct bm_keeper *k, const json_t *in, struct rollover *r, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    struct bm_ca_spec *s = &r->spec;
    enum bm_rc rc = bm_ca_name_check(k, s->name, e);

    bm_ca_organisation(&r->old->row, r->organisation);
    s->alg = bm_arg_text(in, "alg") != NULL ? bm_arg_text(in, "alg") : "EC:P-256";
    s->profile = bm_arg_text(in, "profile") != NULL ? bm_arg_text(in, "profile") : "root-ca";
    s->organisation = r->organisation;
    s->key = bm_arg_text(in, "key");
    s->existing_key = json_is_true(json_object_get(in, "existing_key"));
    s->subject = r->old->cert.subject; /* a new key, not a new CA */
    if (rc == BM_OK)
        rc = bm_ca_make(k, s, r->now, &ca, e);
    return rc == BM_OK ? open_issuer(k, ca.id, &r->new, e) : bm_wrap(e, rc, "CA '%s'", s->name);
}

static enum bm_rc tell(struct bm_keeper *k, const struct rollover *r, json_t *out, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = json_pack("{s:s, s:s}", "name", r->old->row.name, "new", r->spec.name);

    json_object_set_new(out, "name", json_string(r->spec.name));
    if (bm_json_pem(out, "certificate", bm_buf_rd(&r->new->row.cert)) != 0 ||
        bm_json_pem(out, "new_with_old", bm_buf_rd(&r->new_with_old.cert)) != 0 ||
        bm_json_pem(out, "old_with_new", bm_buf_rd(&r->old_with_new.cert)) != 0 || json_object_update_missing(fields, out) != 0)
        return bm_fail(e, BM_NOMEM, "no memory");
    return bm_record(k, r->now, "ca.rolled-over", fields, e);
}

BM_ADMIN_HANDLER(bm_admin_ca_rollover)
{
    BM_CLEANUP(rollover_done) struct rollover r = { 0 };
    const char *name;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_arg_name(in, "new", &r.spec.name, e);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &r.now, e);
    if (rc == BM_OK)
        rc = find_old(k, name, &r, e);
    if (rc == BM_OK)
        rc = make_new(k, in, &r, e);
    if (rc == BM_OK)
        rc = link_roots(k, r.old, r.new, r.spec.profile, r.now, &r.old_with_new, e);
    if (rc == BM_OK)
        rc = link_roots(k, r.new, r.old, r.spec.profile, r.now, &r.new_with_old, e);
    return rc == BM_OK ? tell(k, &r, out, e) : rc;
}
