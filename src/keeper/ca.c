/* Making a certification authority: key, certificate, row. */
#include "keeper/revocation.h"

#include <openssl/rand.h>
#include <stdio.h>

void bm_ca_organisation(const struct bm_ca *ca, char ret[65])
{
    static const uint8_t oid_o[] = { 0x55, 0x04, 0x0a };
    struct bm_cert cert;
    struct bm_rd o;

    ret[0] = '\0';
    if (bm_cert_parse(bm_buf_rd(&ca->cert), &cert, NULL) == BM_OK &&
        bm_name_find(cert.subject, bm_rd_of(oid_o, sizeof oid_o), &o) && o.n < 65)
        snprintf(ret, 65, "%.*s", (int)o.n, (const char *)o.p);
}

static bool ends_in_delta(const char *name)
{
    static const char delta[] = "-delta";
    size_t n = strlen(name);

    return n >= sizeof delta - 1 && strcmp(name + n - (sizeof delta - 1), delta) == 0;
}

enum bm_rc bm_ca_name_check(struct bm_keeper *k, const char *name, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    struct bm_rd rest;
    int64_t part;

    if (!bm_name_ok(name))
        return bm_fail(e, BM_USAGE, "a CA's name has 1 to 64 of a-z 0-9 . _ -, and starts with a letter or digit");
    if (ends_in_delta(name))
        return bm_fail(e, BM_USAGE,
                       "a CA's name may not end in '-delta': /crl/NAME-delta.crl is where the delta CRL of NAME is served");
    if (bm_crl_part_name(bm_rd_str(name), &rest, &part))
        return bm_fail(e, BM_USAGE, "a CA's name may not end in '.pN': /crl/NAME.pN.crl is where part N of NAME's list is served");
    return bm_ca_get(k->store, name, &ca, NULL) == BM_OK ? bm_fail(e, BM_CONFLICT, "there is a CA '%s' already", name) : BM_OK;
}

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
        .subject = s->subject,
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

static enum bm_rc generate(struct bm_keeper *k, const char *name, const char *alg, struct bm_error *e)
{
    char uri[BM_TEXT_MAX];
    enum bm_rc rc = bm_key_mark(k, name, e);

    snprintf(uri, sizeof uri, "file:%s", name);
    return rc == BM_OK ? bm_key_generate(&k->ring, uri, alg, e) : rc;
}

static enum bm_rc token_key(struct bm_keeper *k, const struct bm_ca_spec *s, struct bm_ca *ca, struct bm_key **ret,
                            struct bm_error *e)
{
    enum bm_rc rc;

    if (!bm_key_in_token(s->key) || strlen(s->key) >= sizeof ca->key_uri)
        return bm_fail(e, BM_USAGE, "key: write pkcs11:token=LABEL;object=LABEL, in at most %zu characters",
                       sizeof ca->key_uri - 1);
    memcpy(ca->key_uri, s->key, strlen(s->key) + 1);
    rc = s->existing_key ? BM_OK : bm_token_key_make(k, s->key, s->alg, e);
    return rc == BM_OK ? bm_key_open(&k->ring, s->key, ret, e) : rc;
}

struct search {
    struct bm_rd spki;
    char found[BM_NAME_LEN];
};

static enum bm_rc see_key(void *arg, const struct bm_ca *ca, struct bm_error *e)
{
    struct search *s = arg;
    struct bm_cert cert;

    if (bm_cert_parse(bm_buf_rd(&ca->cert), &cert, e) == BM_OK && bm_rd_eq(cert.spki, s->spki))
        memcpy(s->found, ca->name, sizeof s->found);
    return BM_OK;
}

/* One CA, one key: what two share, revoking one of them would not take back. */
static enum bm_rc check_unused(struct bm_keeper *k, const struct bm_key *key, struct bm_error *e)
{
    struct search s = { .spki = bm_key_spki(key) };
    enum bm_rc rc = bm_ca_each(k->store, see_key, &s, e);

    if (rc == BM_OK && s.found[0] != '\0')
        return bm_refuse(e, BM_CONFLICT, "key-in-use", "that key is CA '%s' already; each CA has a key of its own", s.found);
    return rc;
}

/* Key files outlive a transaction that is rolled back; bm_key_marks_tidy() takes them away when the registry is opened next. Until then the new
 * CA's key gets a name of its own, as it does when the log's key has that name. */
static enum bm_rc make_key(struct bm_keeper *k, const struct bm_ca_spec *s, struct bm_ca *ca, struct bm_key **ret,
                           struct bm_error *e)
{
    char name[BM_NAME_LEN];
    uint8_t r[4];
    enum bm_rc rc;

    snprintf(name, sizeof name, "%s", s->name);
    rc = k->host.n > 1 ? BM_CONFLICT : generate(k, name, s->alg, e); /* two hosts never use one name */
    if (rc == BM_CONFLICT && RAND_bytes(r, sizeof r) == 1) {
        snprintf(name, sizeof name, "%.55s-%02x%02x%02x%02x", s->name, r[0], r[1], r[2], r[3]);
        rc = generate(k, name, s->alg, e);
    }
    snprintf(ca->key_uri, sizeof ca->key_uri, "file:%s", name);
    return rc == BM_OK ? bm_key_open(&k->ring, ca->key_uri, ret, e) : rc;
}

enum bm_rc bm_ca_key(struct bm_keeper *k, const struct bm_ca_spec *s, struct bm_ca *ca, struct bm_key **ret, struct bm_error *e)
{
    enum bm_rc rc = s->key != NULL ? token_key(k, s, ca, ret, e) : make_key(k, s, ca, ret, e);

    if (rc == BM_OK)
        rc = check_unused(k, *ret, e);
    if (rc == BM_OK)
        rc = bm_keeper_journal_key(k, ca->key_uri, e);
    return rc == BM_OK && k->host.n > 1 ? bm_host_publish_key(k, ca->key_uri, e) : rc;
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
    rc = bm_ca_key(k, s, &ca, &key, e);
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
