/* Certification authorities and certificate profiles. */
#include "keeper/job.h"
#include "keeper/upstream.h"

#include "base/text.h"
#include "pki/lint.h"

#include <stdio.h>

enum { CA_COMPROMISE = 2 }; /* RFC 5280 section 5.3.1 */

BM_ADMIN_HANDLER(bm_admin_profile_list)
{
    static const char *const none[] = { NULL };

    (void)blob;
    return bm_admin_list(k, "profile", none, in, out, e);
}

BM_ADMIN_HANDLER(bm_admin_profile_show)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf json = { .max = BM_PROFILE_MAX };
    const char *name;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_profile_get(k->store, name, &json, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "name", json_string(name));
    json_object_set_new(out, "profile", json_loadb((const char *)json.p, json.n, 0, NULL));
    return BM_OK;
}

/* Products, services and CAs refer to a profile by its name and have been checked against what it was. */
static enum bm_rc check_same_kind(struct bm_keeper *k, const char *name, const struct bm_profile *p, struct bm_error *e)
{
    BM_CLEANUP(bm_profile_freep) struct bm_profile *was = NULL;
    enum bm_rc rc = bm_profile_open(k, name, &was, e);

    if (rc == BM_NOTFOUND)
        return BM_OK;
    if (rc == BM_OK && bm_profile_is_ca(was) != bm_profile_is_ca(p))
        return bm_fail(e, BM_CONFLICT,
                       "profile '%s' is there and %sfor certification authorities; give the new one a name of its own", name,
                       bm_profile_is_ca(was) ? "" : "not ");
    return rc;
}

/* A recommendation that is not followed: said once, not for each kind of key. */
static enum bm_rc add_warning(void *arg, const struct bm_lint_rule *r, struct bm_error *e)
{
    json_t *list = arg, *text = json_sprintf("%s: %s (rule %s)", r->section, r->what, r->name), *before;
    bool known = false;
    size_t i;

    json_array_foreach (list, i, before)
        known = known || json_equal(before, text);
    if (known)
        json_decref(text);
    else if (json_array_append_new(list, text) != 0)
        return bm_fail(e, BM_NOMEM, "no memory for warnings");
    return BM_OK;
}

BM_ADMIN_HANDLER(bm_admin_profile_set)
{
    BM_CLEANUP(bm_profile_freep) struct bm_profile *p = NULL;
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL, *warnings = json_array();
    const char *name;
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    if (rc == BM_OK && blob.n > BM_PROFILE_MAX)
        rc = bm_fail(e, BM_LIMIT, "a profile may have %d bytes", BM_PROFILE_MAX);
    if (rc == BM_OK)
        rc = bm_profile_parse(name, blob, &p, e);
    if (rc == BM_OK)
        rc = check_same_kind(k, name, p, e);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_profile_lint(p, now, add_warning, warnings, e);
    if (rc == BM_OK)
        rc = bm_profile_put(k->store, name, blob, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "name", json_string(name));
    if (json_array_size(warnings) != 0)
        json_object_set(out, "warnings", warnings);
    fields = json_pack("{s:s, s:s%}", "name", name, "profile", (const char *)blob.p, blob.n);
    return bm_record(k, now, "profile.set", fields, e);
}

BM_ADMIN_HANDLER(bm_admin_ca_create)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    BM_CLEANUP(bm_ca_done) struct bm_ca up = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char organisation[65];
    struct bm_ca_spec s = { .alg = bm_arg_text(in, "alg"),
                            .profile = bm_arg_text(in, "profile"),
                            .organisation = bm_arg_text(in, "org"),
                            .key = bm_arg_text(in, "key"),
                            .existing_key = json_is_true(json_object_get(in, "existing_key")) };
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &s.name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_arg_name(in, "parent", &s.parent, e);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc != BM_OK)
        return rc;
    rc = bm_ca_name_check(k, s.name, e);
    if (rc != BM_OK)
        return rc;
    s.alg = s.alg != NULL ? s.alg : "EC:P-256";
    s.profile = s.profile != NULL ? s.profile : "issuing-ca";
    if (s.organisation == NULL && bm_ca_get(k->store, s.parent, &up, NULL) == BM_OK) {
        bm_ca_organisation(&up, organisation);
        s.organisation = organisation;
    }
    s.organisation = s.organisation != NULL && s.organisation[0] != '\0' ? s.organisation : "Birthmark";
    rc = bm_ca_make(k, &s, now, &ca, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "CA '%s'", s.name);
    json_object_set_new(out, "name", json_string(s.name));
    fields = json_pack("{s:s, s:s, s:s*}", "name", s.name, "parent", s.parent, "key", s.key);
    if (bm_json_pem(out, "certificate", bm_buf_rd(&ca.cert)) != 0 || bm_json_pem(fields, "certificate", bm_buf_rd(&ca.cert)) != 0)
        return bm_fail(e, BM_NOMEM, "no memory");
    return bm_record(k, now, "ca.created", fields, e);
}

/* What only the certificate knows: how long it lives, and its key's kind. */
static void add_cert_facts(struct bm_keeper *k, json_t *row)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    const char *name = bm_arg_text(row, "name");
    struct bm_cert cert;
    struct bm_spki key;
    char at[24];

    if (name == NULL || bm_ca_get(k->store, name, &ca, NULL) != BM_OK || bm_cert_parse(bm_buf_rd(&ca.cert), &cert, NULL) != BM_OK ||
        bm_spki_parse(cert.spki, &key, NULL) != BM_OK)
        return;
    json_object_set_new(row, "not_after", json_string(bm_time_text(cert.not_after, at)));
    json_object_set_new(row, "alg", json_string(key.alg));
}

BM_ADMIN_HANDLER(bm_admin_ca_list)
{
    json_t *row;
    size_t i;
    enum bm_rc rc = bm_admin_list(k, "ca", NULL, in, out, e);

    (void)blob;
    json_array_foreach (json_object_get(out, "rows"), i, row)
        add_cert_facts(k, row);
    return rc;
}

static enum bm_rc add_crl_parts(struct bm_keeper *k, int64_t ca_id, json_t *row, struct bm_error *e)
{
    struct bm_crl_parts p;
    enum bm_rc rc = bm_crl_parts_get(k->store, ca_id, &p, e);

    if (rc == BM_OK && p.highest != 0) {
        json_object_set_new(row, "crl_partitions", json_integer(p.n));
        json_object_set_new(row, "crl_url", json_string(p.url));
    }
    return rc;
}

BM_ADMIN_HANDLER(bm_admin_ca_show)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    const char *name;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_ca_get(k->store, name, &ca, e);
    if (rc == BM_OK)
        rc = bm_admin_one(k, "ca", "name", name, out, e);
    if (rc == BM_OK)
        rc = add_crl_parts(k, ca.id, out, e);
    if (rc == BM_OK)
        add_cert_facts(k, out);
    if (rc == BM_OK && bm_json_pem(out, "certificate", bm_buf_rd(&ca.cert)) != 0)
        rc = bm_fail(e, BM_NOMEM, "no memory");
    return rc;
}

bool bm_ca_carries_default(struct bm_keeper *k, int64_t ca_id)
{
    static const struct bm_policy any = { 0 };
    int64_t id = 0, until;

    if (bm_line_ca(k, NULL, &any, &id, &until, NULL) != BM_OK)
        return false;
    while (id != 0 && id != ca_id) {
        BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };

        if (bm_ca_by_id(k->store, id, &ca, NULL) != BM_OK)
            return false;
        id = ca.parent_id;
    }
    return id == ca_id;
}

BM_ADMIN_HANDLER(bm_admin_ca_revoke)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    const char *name;
    int64_t now;
    int reason;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_arg_reason(in, 0, &reason, e);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_ca_get(k->store, name, &ca, e);
    if (rc != BM_OK)
        return rc;
    if (strcmp(ca.state, "active") != 0)
        return bm_fail(e, BM_CONFLICT, "CA '%s' is revoked already", name);
    if (ca.parent_id == 0)
        return bm_fail(e, BM_USAGE,
                       "'%s' is a root: nobody stands above it to revoke it; take it out of the devices' trust anchors", name);
    if (bm_ca_carries_default(k, ca.id))
        return bm_refuse(e, BM_CONFLICT, "ca-default",
                         "new certificates and the server's own hang on '%s'; choose another first: birthmark ca default NAME",
                         name);
    rc = bm_revoke_ca(k, ca.id, reason, now, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "name", json_string(name));
    json_object_set_new(out, "state", json_string("revoked"));
    fields = json_pack("{s:s, s:s}", "name", name, "reason", bm_reason_name(reason));
    return bm_record(k, now, "ca.revoked", fields, e);
}

enum bm_rc bm_ca_set_default(struct bm_keeper *k, const char *name, const struct bm_ca *not_this, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    struct bm_issuer *issuer;
    enum bm_rc rc = bm_ca_get(k->store, name, &ca, e);

    if (rc == BM_OK && not_this != NULL && ca.id == not_this->id)
        return bm_fail(e, BM_USAGE, "the new default must be another CA");
    if (rc == BM_OK && bm_ca_is_upstream(&ca))
        return bm_refuse(
            e, BM_CONFLICT, "ca-upstream",
            "'%s' is an upstream CA; the server's own certificates are signed here. Products and batches name it with --ca", name);
    if (rc == BM_OK)
        rc = bm_issuer_get(k, ca.id, &issuer, e); /* active, all the way up */
    return rc == BM_OK ? bm_meta_set(k->store, "default-ca", bm_rd_str(name), e) : rc;
}

/* --- a CA whose key is in wrong hands ---------------------------------------------------------------------------------------------- */
static enum bm_rc check_compromise(struct bm_keeper *k, const struct bm_ca *ca, struct bm_error *e)
{
    char child[BM_NAME_LEN];
    enum bm_rc rc;

    if (strcmp(ca->state, "active") != 0 && ca->reason == CA_COMPROMISE)
        return bm_fail(e, BM_CONFLICT, "CA '%s' is marked compromised already", ca->name);
    if (ca->parent_id == 0)
        return bm_fail(e, BM_USAGE,
                       "'%s' is a root: nobody stands above it to revoke it; take it out of the devices' trust anchors", ca->name);
    rc = bm_ca_active_child(k->store, ca->id, child, e);
    if (rc == BM_OK && child[0] != '\0')
        return bm_refuse(e, BM_CONFLICT, "ca-has-children", "'%s' stands below '%s'; it is compromised as well: say so first",
                         child, ca->name);
    return rc;
}

/* Whoever was to get certificates from it gets them from the default CA from now on (bm_line_ca()); with one of its own nobody renews. */
static enum bm_rc put_out_of_use(struct bm_keeper *k, const struct bm_ca *ca, const char *successor, int64_t now,
                                 struct bm_error *e)
{
    enum bm_rc rc = successor != NULL ? bm_ca_set_default(k, successor, ca, e) : BM_OK;

    if (rc != BM_OK)
        return bm_wrap(e, rc, "new default CA '%.64s'", successor);
    if (bm_ca_carries_default(k, ca->id))
        return bm_refuse(e, BM_CONFLICT, "ca-default",
                         "new certificates and the server's own hang on '%s'; name the one to take its place: --default NAME",
                         ca->name);
    return bm_revoke_ca(k, ca->id, CA_COMPROMISE, now, e);
}

BM_ADMIN_HANDLER(bm_admin_ca_compromise)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL, *request = NULL;
    const char *name;
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_ca_get(k->store, name, &ca, e);
    if (rc == BM_OK)
        rc = check_compromise(k, &ca, e);
    if (rc == BM_OK)
        rc = put_out_of_use(k, &ca, bm_arg_text(in, "default"), now, e);
    if (rc != BM_OK)
        return rc;
    fields = json_pack("{s:s, s:s*}", "name", name, "default", bm_arg_text(in, "default"));
    rc = bm_record(k, now, "ca.compromised", fields, e);
    request = json_pack("{s:s}", "ca", name);
    json_object_set_new(out, "name", json_string(name));
    return rc == BM_OK ? bm_job_start(k, BM_JOB_CA, request, now, out, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_ca_default)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    const char *name;
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_ca_set_default(k, name, NULL, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "name", json_string(name));
    fields = json_pack("{s:s}", "name", name);
    return bm_record(k, now, "ca.default", fields, e);
}
