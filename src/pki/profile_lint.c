/* A profile on trial: certificates by it, made under a CA that exists for a moment, before the linter. */
#include "base/text.h"
#include "pki/lint.h"
#include "pki/profile_draft.h"

#include <stdlib.h>

enum { TRIAL_SPKI_MAX = 4096, RSA_MODULUS_LEN = 257 };

/* --- sample keys ------------------------------------------------------------------------------------------------------------------ */
/* Of the right form and nobody's: a profile says something of a key's algorithm, and nothing of its value. */
static const struct sample {
    const char *alg;
    struct bm_rd params; /* of the AlgorithmIdentifier */
    size_t raw_len;
    uint8_t first; /* of the key bits */
} samples[] = {
    { "P-256", BM_LIT("\x06\x08" OID_P256), 65, 4 },
    { "P-384", BM_LIT("\x06\x05" OID_P384), 97, 4 },
    { "P-521", BM_LIT("\x06\x05" OID_P521), 133, 4 },
    { "Ed25519", { NULL, 0 }, 32, 1 },
    { "RSA", BM_LIT("\x05\x00"), 0, 0 },
    { "2.16.840.1.101.3.4.3.17", { NULL, 0 }, 1312, 1 },
    { "2.16.840.1.101.3.4.3.18", { NULL, 0 }, 1952, 1 },
    { "2.16.840.1.101.3.4.3.19", { NULL, 0 }, 2592, 1 },
};

static void rsa_write(struct bm_derw *w)
{
    uint8_t modulus[RSA_MODULUS_LEN];
    size_t mark = bm_derw_mark(w);

    memset(modulus, 0xc1, sizeof modulus); /* 2048 bits, and odd */
    modulus[0] = 0;
    bm_derw_uint(w, 65537);
    bm_derw_tlv(w, BM_DER_INTEGER, bm_rd_of(modulus, sizeof modulus));
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

static enum bm_rc spki_write(struct bm_derw *w, const char *alg, struct bm_error *e)
{
    const struct profile_key *k = profile_key_find(alg);
    const struct sample *s = samples;
    size_t all = bm_derw_mark(w), mark;

    while (s < samples + BM_COUNT(samples) && strcmp(s->alg, alg) != 0)
        s++;
    if (k == NULL || s == samples + BM_COUNT(samples))
        return bm_fail(e, BM_BUG, "no sample of a %s key", alg);
    if (s->raw_len == 0)
        rsa_write(w);
    for (size_t i = 0; i < s->raw_len; i++)
        bm_derw_byte(w, i == s->raw_len - 1 ? s->first : 0x5a); /* back to front */
    bm_derw_end_bits(w, all);
    mark = bm_derw_mark(w);
    bm_derw_put(w, s->params);
    bm_derw_tlv(w, BM_DER_OID, k->oid);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, all, BM_DER_SEQUENCE);
    return w->bad ? bm_fail(e, BM_BUG, "sample of a %s key", alg) : BM_OK;
}

/* --- sample words ------------------------------------------------------------------------------------------------------------------ */
/* Every {attr:NAME} of a template gets a value that its place can hold. */
static void add_attributes(json_t *to, const char *template, const char *value)
{
    static const char prefix[] = "attr:";

    for (const char *at = template; (at = strstr(at, prefix)) != NULL;) {
        size_t n;

        at += sizeof prefix - 1;
        n = strcspn(at, "|}");
        json_object_setn_new(to, at, n, json_string(value));
    }
}

static const char *value_for(const char *type)
{
    return strcmp(type, "C") == 0 ? "DE" : "sample";
}

static char *sample_attributes(const struct bm_profile *p)
{
    json_t *all = json_object();
    char *text;

    for (size_t i = 0; i < p->subject.n; i++)
        add_attributes(all, p->subject.at[i].text, value_for(bm_name_spec_type(&p->subject, i)));
    for (size_t i = 0; i < p->n_san; i++)
        add_attributes(all, p->san[i].text, p->san[i].kind == BM_SAN_IP ? "192.0.2.1" : "sample");
    text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    return text;
}

static void free_text(char **p)
{
    free(*p);
}

/* --- the trial --------------------------------------------------------------------------------------------------------------------- */
struct trial {
    struct bm_key *key; /* of the CA */
    struct bm_buf ca_der;
    struct bm_cert ca;
    struct bm_subject_words words;
    int64_t now;
    const struct bm_profile *profile;
    bm_lint_fn *fn;
    void *arg;
};

static void trial_done(struct trial *t)
{
    bm_key_free(t->key);
    bm_buf_done(&t->ca_der);
}

static enum bm_rc make_ca(struct trial *t, struct bm_error *e)
{
    static const char json[] =
        "{\"not_after\":\"99991231235959Z\",\"key_usage\":[\"keyCertSign\"],\"subject\":\"CN=Trial CA\",\"ca\":{}}";
    BM_CLEANUP(bm_profile_freep) struct bm_profile *p = NULL;
    struct bm_issue i = { .words = &t->words, .serial = { 1 }, .now = t->now - 1, .not_after_max = INT64_MAX };
    EVP_PKEY *evp = EVP_EC_gen("P-256");
    enum bm_rc rc = evp != NULL ? bm_key_of_evp(evp, &t->key, e) : bm_fail(e, BM_BUG, "the library makes no key");

    if (rc == BM_OK)
        rc = bm_profile_parse("trial", bm_rd_str(json), &p, e);
    if (rc != BM_OK)
        return rc;
    t->ca_der.max = BM_CERT_MAX;
    i.profile = p;
    i.issuer_key = t->key;
    i.spki = bm_key_spki(t->key);
    rc = bm_cert_issue(&i, &t->ca_der, NULL, NULL, e);
    return rc == BM_OK ? bm_cert_parse(bm_buf_rd(&t->ca_der), &t->ca, e) : rc;
}

static enum bm_rc judge(void *arg, const struct bm_lint_rule *r, struct bm_error *e)
{
    struct trial *t = arg;

    if (!r->should)
        return bm_refuse(e, BM_USAGE, "profile-lint", "certificate profile '%s' breaks %s: %s (rule %s)", t->profile->name,
                         r->section, r->what, r->name);
    return t->fn != NULL ? t->fn(t->arg, r, e) : BM_OK;
}

static enum bm_rc try_key(struct trial *t, const char *alg, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX };
    uint8_t room[TRIAL_SPKI_MAX];
    struct bm_derw w = bm_derw_of(room, sizeof room);
    struct bm_issue i = { .profile = t->profile,
                          .issuer_key = t->key,
                          .issuer_cert = &t->ca,
                          .words = &t->words,
                          .serial = { 1 },
                          .now = t->now,
                          .not_after_max = INT64_MAX };
    struct bm_error why = { 0 };
    enum bm_rc rc = spki_write(&w, alg, e);

    if (rc != BM_OK)
        return rc;
    i.spki = bm_derw_rd(&w);
    rc = bm_cert_issue(&i, &der, NULL, NULL, &why);
    if (rc != BM_OK && rc != BM_NOMEM && rc != BM_BUG)
        return bm_refuse(e, BM_USAGE, "profile-lint", "certificate profile '%s' makes no certificate: %s", t->profile->name,
                         why.what);
    return rc == BM_OK ? bm_cert_lint(bm_buf_rd(&der), judge, t, e) : bm_fail(e, rc, "%s", why.what);
}

enum bm_rc bm_profile_lint(const struct bm_profile *p, int64_t now, bm_lint_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(free_text) char *attributes = sample_attributes(p);
    BM_CLEANUP(trial_done)
    struct trial t = { .now = now,
                       .profile = p,
                       .fn = fn,
                       .arg = arg,
                       .words = { .udid = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
                                  .serial = "SN-0001",
                                  .product = "product",
                                  .batch = "batch",
                                  .org = "Organisation",
                                  .service = "service",
                                  .host = "host.example.com,192.0.2.1" } };
    enum bm_rc rc = attributes != NULL ? make_ca(&t, e) : bm_fail(e, BM_NOMEM, "no memory for a trial");

    if (rc != BM_OK)
        return rc;
    t.words.attributes = bm_rd_str(attributes);
    for (size_t i = 0; rc == BM_OK && i < p->n_keys; i++)
        rc = try_key(&t, p->keys[i], e);
    return rc;
}
