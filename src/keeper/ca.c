/* Making a certification authority: key, certificate, row. */
#include "keeper/internal.h"

#include <openssl/rand.h>
#include <stdio.h>

static enum bm_rc certify(struct bm_keeper *k, const struct bm_ca_spec *s, const struct bm_key *key, struct bm_issuer *parent,
                          int64_t now, struct bm_ca *ca, struct bm_error *e)
{
    BM_CLEANUP(bm_profile_freep) struct bm_profile *profile = NULL;
    struct bm_subject_words words = { .org = s->organisation, .service = s->name, .host = s->name };
    struct bm_issue i = {
        .issuer_key = parent != NULL ? parent->key : key,
        .issuer_cert = parent != NULL ? &parent->cert : NULL,
        .spki = bm_key_spki(key),
        .words = &words,
        .now = now,
        .not_after_max = INT64_MAX,
    };
    enum bm_rc rc = bm_profile_open(k, s->profile, &profile, e);

    if (rc != BM_OK)
        return rc;
    if (!bm_profile_is_ca(profile))
        return bm_refuse(e, BM_USAGE, "profile-not-ca", "profile '%s' is not one for certification authorities", s->profile);
    if (RAND_bytes(i.serial, sizeof i.serial) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    i.profile = profile;
    ca->cert.max = BM_CERT_MAX;
    return bm_cert_issue(&i, &ca->cert, NULL, NULL, e);
}

/* Key files outlive a transaction that is rolled back. One that is there without a CA row stays what it is: the new CA's key gets a name of
 * its own. */
static enum bm_rc make_key(struct bm_keeper *k, const struct bm_ca_spec *s, struct bm_ca *ca, struct bm_key **ret,
                           struct bm_error *e)
{
    uint8_t r[4];
    enum bm_rc rc;

    snprintf(ca->key_uri, sizeof ca->key_uri, "file:%s", s->name);
    rc = bm_key_generate(&k->ring, ca->key_uri, s->alg, e);
    if (rc == BM_CONFLICT && RAND_bytes(r, sizeof r) == 1) {
        snprintf(ca->key_uri, sizeof ca->key_uri, "file:%.55s-%02x%02x%02x%02x", s->name, r[0], r[1], r[2], r[3]);
        rc = bm_key_generate(&k->ring, ca->key_uri, s->alg, e);
    }
    return rc == BM_OK ? bm_key_open(&k->ring, ca->key_uri, ret, e) : rc;
}

enum bm_rc bm_ca_make(struct bm_keeper *k, const struct bm_ca_spec *s, int64_t now, struct bm_ca *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *key = NULL;
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { .created_at = now, .state = "active" }, up = { 0 };
    struct bm_issuer *parent = NULL;
    enum bm_rc rc = BM_OK;

    if (s->parent != NULL) {
        rc = bm_ca_get(k->store, s->parent, &up, e);
        if (rc == BM_OK)
            rc = bm_issuer_get(k, up.id, &parent, e);
        if (rc == BM_OK)
            rc = bm_issuer_key(k, parent, e);
        if (rc != BM_OK)
            return bm_wrap(e, rc, "parent CA '%s'", s->parent);
        ca.parent_id = up.id;
    }
    snprintf(ca.name, sizeof ca.name, "%s", s->name);
    rc = make_key(k, s, &ca, &key, e);
    if (rc == BM_OK)
        rc = certify(k, s, key, parent, now, &ca, e);
    if (rc == BM_OK)
        rc = bm_ca_put(k->store, &ca, e);
    if (rc != BM_OK)
        return rc;
    *ret = ca;
    ca = (struct bm_ca){ 0 };
    return BM_OK;
}
