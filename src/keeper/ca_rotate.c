/* Rolling a CA over to a new key: a successor under the same parent, to which its lines move at a moment; the old one goes on answering for what it
 * issued, until nothing of that is left and it retires. Nothing is rewritten at that moment: whoever is to get a certificate from a CA gets
 * it from where that CA's successors lead by then, so all hosts change at the same second. */
#include "keeper/internal.h"

#include "base/text.h"
#include "store/ca_rotate.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    ROTATIONS_MAX = 100, /* of one CA, in a registry's life */
    ROTATE_AHEAD_MAX_S = 2 * 365 * 86400,
};

/* --- following -------------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_ca_follow(struct bm_keeper *k, int64_t *id, int64_t *ret_until, struct bm_error *e)
{
    struct bm_ca_successor s = { 0 };
    enum bm_rc rc = BM_OK;

    *ret_until = INT64_MAX;
    for (int i = 0; i < ROTATIONS_MAX; i++) {
        rc = bm_ca_successor_get(k->store, *id, &s, e);
        if (rc == BM_NOTFOUND)
            return BM_OK;
        if (rc != BM_OK)
            return rc;
        if (s.at > k->clock_high) {
            *ret_until = s.at;
            return BM_OK;
        }
        *id = s.successor_id;
    }
    return bm_fail(e, BM_LIMIT, "a CA was rotated more than %d times", ROTATIONS_MAX);
}

bool bm_ca_handed_over(struct bm_keeper *k, int64_t id)
{
    struct bm_ca_successor s;

    return bm_ca_successor_get(k->store, id, &s, NULL) == BM_OK && s.at <= k->clock_high;
}

/* --- rotate ------------------------------------------------------------------------------------------------------------------------- */
/* "issuing" is followed by "issuing-2", that by "issuing-3". */
static void next_name(const char *name, char ret[BM_NAME_LEN])
{
    const char *dash = strrchr(name, '-');
    char *end = NULL;
    long n = dash != NULL && dash[1] >= '1' && dash[1] <= '9' ? strtol(dash + 1, &end, 10) : 0;
    bool counted = n > 1 && n < 10000 && *end == '\0';

    snprintf(ret, BM_NAME_LEN, "%.*s-%ld", counted ? (int)(dash - name) : 58, name, counted ? n + 1 : 2);
}

/* As at ca.create: what the old one's key is. */
static void same_alg(const struct bm_cert *cert, char ret[64])
{
    struct bm_spki k;

    if (bm_spki_parse(cert->spki, &k, NULL) != BM_OK)
        k = (struct bm_spki){ .alg = "P-256" };
    if (strncmp(k.alg, "P-", 2) == 0)
        snprintf(ret, 64, "EC:%s", k.alg);
    else if (strcmp(k.alg, "RSA") == 0)
        snprintf(ret, 64, "RSA:%d", k.bits);
    else
        snprintf(ret, 64, "%s", k.alg);
}

struct rotation {
    struct bm_ca old, parent, made;
    struct bm_cert cert; /* of old */
    char name[BM_NAME_LEN], alg[64], organisation[65];
    int64_t now, at;
};

static void rotation_done(struct rotation *r)
{
    bm_ca_done(&r->old);
    bm_ca_done(&r->parent);
    bm_ca_done(&r->made);
}

static enum bm_rc find_old(struct bm_keeper *k, const char *name, struct rotation *r, struct bm_error *e)
{
    struct bm_ca_successor s;
    enum bm_rc rc = bm_ca_get(k->store, name, &r->old, e);

    if (rc != BM_OK)
        return rc;
    if (strcmp(r->old.state, "retired") == 0) /* what named a revoked one can still be given another */
        return bm_fail(e, BM_CONFLICT, "CA '%s' is %s: there is nothing to hand over", name, r->old.state);
    if (r->old.parent_id == 0)
        return bm_fail(e, BM_USAGE, "'%s' is a root: a new one is made beside it and told to the devices first (docs/rotation.md)",
                       name);
    if (bm_ca_successor_get(k->store, r->old.id, &s, NULL) == BM_OK)
        return bm_refuse(e, BM_CONFLICT, "ca-rotated", "CA '%s' has a successor already: rotate that one", name);
    return bm_cert_parse(bm_buf_rd(&r->old.cert), &r->cert, e);
}

/* What the act does not say, the old CA does. */
static enum bm_rc fill_spec(struct bm_keeper *k, const json_t *in, struct rotation *r, struct bm_ca_spec *s, struct bm_error *e)
{
    const char *parent = bm_arg_text(in, "parent"), *name = bm_arg_text(in, "successor"), *alg = bm_arg_text(in, "alg");
    enum bm_rc rc =
        parent != NULL ? bm_ca_get(k->store, parent, &r->parent, e) : bm_ca_by_id(k->store, r->old.parent_id, &r->parent, e);

    if (rc != BM_OK)
        return rc;
    next_name(r->old.name, r->name);
    same_alg(&r->cert, r->alg);
    bm_ca_organisation(&r->old, r->organisation);
    *s = (struct bm_ca_spec){
        .name = name != NULL ? name : r->name,
        .parent = r->parent.name,
        .alg = alg != NULL ? alg : r->alg,
        .profile = bm_arg_text(in, "profile"),
        .organisation = r->organisation[0] != '\0' ? r->organisation : "Birthmark",
        .key = bm_arg_text(in, "key"),
        .existing_key = json_is_true(json_object_get(in, "existing_key")),
    };
    if (s->profile == NULL)
        s->profile = r->cert.path_len == 0 ? "issuing-ca" : "intermediate-ca";
    return bm_ca_name_check(k, s->name, e);
}

static enum bm_rc make_successor(struct bm_keeper *k, const json_t *in, struct rotation *r, struct bm_error *e)
{
    struct bm_ca_spec spec;
    enum bm_rc rc = fill_spec(k, in, r, &spec, e);

    return rc == BM_OK ? bm_ca_make(k, &spec, r->now, &r->made, e) : rc;
}

/* To one that is there, say of another root: then nothing is made. It must not lead back. */
static enum bm_rc find_onto(struct bm_keeper *k, const char *name, struct rotation *r, struct bm_error *e)
{
    struct bm_issuer *issuer;
    enum bm_rc rc = bm_ca_get(k->store, name, &r->made, e);

    if (rc == BM_OK)
        rc = bm_issuer_get(k, r->made.id, &issuer, e); /* active, all the way up */
    if (rc == BM_OK)
        rc = bm_issuer_key(k, issuer, e);
    if (rc != BM_OK)
        return rc;
    for (struct bm_ca_successor s = { .successor_id = r->made.id }; s.successor_id != 0;) {
        if (s.successor_id == r->old.id)
            return bm_fail(e, BM_USAGE, "CA '%s' hands over to '%s' itself", name, r->old.name);
        if (bm_ca_successor_get(k->store, s.successor_id, &s, NULL) != BM_OK)
            break;
    }
    return BM_OK;
}

static enum bm_rc tell(struct bm_keeper *k, const struct rotation *r, json_t *out, struct bm_error *e)
{
    char at[24];
    BM_CLEANUP(bm_keeper_jsonp)
    json_t *fields = json_pack("{s:s, s:s, s:s, s:s}", "name", r->old.name, "successor", r->made.name, "from",
                               bm_time_text(r->at, at), "key", r->made.key_uri);

    if (fields == NULL || bm_json_pem(fields, "certificate", bm_buf_rd(&r->made.cert)) != 0 || json_object_update(out, fields) != 0)
        return bm_fail(e, BM_NOMEM, "no memory");
    return bm_record(k, r->now, "ca.rotated", fields, e);
}

BM_ADMIN_HANDLER(bm_admin_ca_rotate)
{
    BM_CLEANUP(rotation_done) struct rotation r = { 0 };
    const char *name, *onto = bm_arg_text(in, "onto");
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &r.now, e);
    r.at = r.now;
    if (rc == BM_OK && bm_arg_text(in, "at") != NULL)
        rc = bm_arg_until(in, "at", r.now, 0, ROTATE_AHEAD_MAX_S, &r.at, e);
    if (rc == BM_OK)
        rc = find_old(k, name, &r, e);
    if (rc == BM_OK && onto != NULL)
        rc = find_onto(k, onto, &r, e);
    else if (rc == BM_OK)
        rc = make_successor(k, in, &r, e);
    if (rc == BM_OK)
        rc = bm_ca_successor_put(
            k->store, &(struct bm_ca_successor){ .ca_id = r.old.id, .successor_id = r.made.id, .at = r.at, .created_at = r.now },
            e);
    return rc == BM_OK ? tell(k, &r, out, e) : rc;
}

/* --- retire ------------------------------------------------------------------------------------------------------------------------- */
/* An expired, but revoked certificate is in no CRL any more; one that has not expired must stay in it. */
static enum bm_rc check_left(struct bm_keeper *k, const struct bm_ca *ca, int64_t now, struct bm_error *e)
{
    char child[BM_NAME_LEN];
    struct bm_ca_left left;
    char last[24];
    enum bm_rc rc = bm_ca_active_child(k->store, ca->id, child, e);

    if (rc == BM_OK && child[0] != '\0')
        return bm_refuse(e, BM_CONFLICT, "ca-has-children", "'%s' stands below '%s'; it retires first", child, ca->name);
    if (rc == BM_OK)
        rc = bm_ca_left(k->store, ca->id, now, &left, e);
    if (rc == BM_OK && left.n != 0)
        return bm_refuse(
            e, BM_CONFLICT, "ca-in-use",
            "%lld certificates of '%s' have not expired, the last does so at %s; its CRL and OCSP are needed until then",
            (long long)left.n, ca->name, left.last == INT64_MAX ? "no time" : bm_time_text(left.last, last));
    return rc;
}

BM_ADMIN_HANDLER(bm_admin_ca_retire)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    const char *name;
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_ca_get(k->store, name, &ca, e);
    if (rc != BM_OK)
        return rc;
    if (strcmp(ca.state, "active") != 0)
        return bm_fail(e, BM_CONFLICT, "CA '%s' is %s already", name, ca.state);
    if (ca.parent_id != 0 && !bm_ca_handed_over(k, ca.id)) /* a root goes when nothing is below it any more */
        return bm_refuse(e, BM_CONFLICT, "ca-not-rotated", "CA '%s' has not handed over to another: birthmark ca rotate", name);
    rc = check_left(k, &ca, now, e);
    if (rc == BM_OK)
        rc = bm_ca_set_retired(k->store, ca.id, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "name", json_string(name));
    json_object_set_new(out, "state", json_string("retired"));
    fields = json_pack("{s:s}", "name", name);
    return bm_record(k, now, "ca.retired", fields, e);
}
