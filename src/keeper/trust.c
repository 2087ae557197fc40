/* A bundle is made when somebody asks and what it says is no longer so, like a CRL, and kept in the registry, so that every host and every start tells
 * the same. Its key lives for one signature: whoever takes the server over can sign bundles while he is there, and has nothing to take along. */
#include "keeper/trust.h"

#include "base/text.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

enum { LIFE_S = 30 * 86400, BUNDLE_MAX = 1024 * 1024, META_KEY_LEN = BM_NAME_LEN + 16, MAX_AGE_S = 300 };

void bm_bundle_done(struct bm_bundle *b)
{
    bm_buf_done(&b->jws);
    json_decref(b->payload);
    *b = (struct bm_bundle){ 0 };
}

/* --- what was said last --------------------------------------------------------------------------------------------------------------- */
static void meta_key(const char *service, char ret[META_KEY_LEN])
{
    snprintf(ret, META_KEY_LEN, "trust:%.64s", service);
}

static int64_t number(const json_t *payload, const char *member)
{
    return json_integer_value(json_object_get(payload, member));
}

static enum bm_rc read_payload(struct bm_bundle *b, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BUNDLE_MAX };
    struct bm_jws jws;
    enum bm_rc rc = bm_jws_split(bm_buf_rd(&b->jws), &jws, e);

    if (rc == BM_OK)
        rc = bm_unbase64url(jws.payload_b64, &text, e);
    if (rc != BM_OK)
        return rc;
    b->payload = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    b->version = number(b->payload, "version");
    b->not_before = number(b->payload, "not_before");
    b->not_after = number(b->payload, "not_after");
    return b->payload != NULL && b->version > 0 ? BM_OK : bm_fail(e, BM_BUG, "the trust bundle in the registry is none");
}

/* None yet: version 0. */
static enum bm_rc last(struct bm_keeper *k, const char *service, struct bm_bundle *ret, struct bm_error *e)
{
    char key[META_KEY_LEN];
    enum bm_rc rc;

    meta_key(service, key);
    ret->jws.max = BUNDLE_MAX;
    rc = bm_meta_get(k->store, key, &ret->jws, e);
    return rc == BM_OK ? read_payload(ret, e) : rc == BM_NOTFOUND ? BM_OK : rc;
}

static bool still_good(const struct bm_bundle *b, const json_t *certs, int64_t now)
{
    return b->version != 0 && now < b->not_before + (b->not_after - b->not_before) / 2 &&
           json_equal(json_object_get(b->payload, "certificates"), certs) == 1;
}

/* --- making one ----------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc certify(struct bm_keeper *k, const struct bm_key *key, int64_t now, struct bm_credential *c, struct bm_error *e)
{
    struct bm_issuer *by;
    enum bm_rc rc = bm_issuer_default(k, &by, e);

    return rc == BM_OK ? bm_own_cert(k, by, "trust-signing", bm_key_spki(key), &(struct bm_subject_words){ 0 }, now, c, e) : rc;
}

static void digest_hex(struct bm_rd in, char ret[65])
{
    uint8_t d[32] = { 0 };

    (void)EVP_Q_digest(NULL, "SHA256", NULL, in.p, in.n, d, NULL);
    bm_hex(d, sizeof d, ret);
}

static json_t *payload_of(const char *service, const struct bm_bundle *was, json_t *certs, int64_t now)
{
    char previous[65] = "";

    if (was->version != 0)
        digest_hex(bm_buf_rd(&was->jws), previous);
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:O}", "format", "birthmark-trust-1", "service", service, "version",
                     (json_int_t)was->version + 1, "not_before", (json_int_t)now, "not_after", (json_int_t)now + LIFE_S, "previous",
                     previous, "certificates", certs);
}

static enum bm_rc sign(struct bm_keeper *k, json_t *payload, int64_t now, struct bm_credential *c, struct bm_buf *out,
                       struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *key = NULL;
    EVP_PKEY *evp = EVP_EC_gen("P-256");
    char *text = payload != NULL ? json_dumps(payload, JSON_COMPACT) : NULL;
    enum bm_rc rc = evp != NULL ? bm_key_of_evp(evp, &key, e) : bm_fail(e, BM_BUG, "the library makes no key");

    if (rc == BM_OK && text == NULL)
        rc = bm_fail(e, BM_NOMEM, "no memory for a trust bundle");
    if (rc == BM_OK)
        rc = certify(k, key, now, c, e);
    if (rc == BM_OK)
        rc = bm_jws_sign(key, "birthmark-trust+json", bm_buf_rd(&c->cert), true, bm_rd_str(text), out, e);
    free(text);
    return rc;
}

/* Signed before the first row is written. */
static enum bm_rc write_down(struct bm_keeper *k, const char *service, struct bm_credential *c, const struct bm_bundle *b,
                             int64_t now, struct bm_error *e)
{
    char key[META_KEY_LEN], sha256[65];
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    enum bm_rc rc = bm_credential_put(k->store, c, e);

    meta_key(service, key);
    digest_hex(bm_buf_rd(&b->jws), sha256);
    fields = json_pack("{s:s, s:I, s:s}", "service", service, "version", (json_int_t)b->version, "sha256", sha256);
    if (rc == BM_OK)
        rc = bm_meta_set(k->store, key, bm_buf_rd(&b->jws), e);
    if (rc == BM_OK && (fields == NULL || bm_json_pem(fields, "certificate", bm_buf_rd(&c->cert)) != 0))
        rc = bm_fail(e, BM_NOMEM, "no memory");
    if (rc == BM_OK)
        rc = bm_record(k, now, "trust.published", fields, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "writing a trust bundle"); /* rows may be written: the transaction must go */
}

static enum bm_rc make(struct bm_keeper *k, const char *service, struct bm_bundle *was, json_t *certs, int64_t now,
                       struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { .state = "active", .protocol = "internal", .issued_at = now };
    BM_CLEANUP(bm_keeper_jsonp) json_t *payload = payload_of(service, was, certs, now);
    BM_CLEANUP(bm_bundle_done) struct bm_bundle made = { .jws.max = BUNDLE_MAX };
    enum bm_rc rc = sign(k, payload, now, &c, &made.jws, e);

    if (rc == BM_OK)
        rc = read_payload(&made, e);
    if (rc == BM_OK)
        rc = write_down(k, service, &c, &made, now, e);
    if (rc != BM_OK)
        return rc;
    bm_bundle_done(was);
    *was = made;
    made = (struct bm_bundle){ 0 };
    return BM_OK;
}

enum bm_rc bm_bundle_fresh(struct bm_keeper *k, struct bm_rd service, int64_t now, struct bm_bundle *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_bundle_done) struct bm_bundle b = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *certs = NULL;
    char name[BM_NAME_LEN] = "", safe[80];
    struct bm_service s;
    enum bm_rc rc = BM_NOTFOUND;

    if (service.n < sizeof name && memchr(service.p, '\0', service.n) == NULL) {
        memcpy(name, service.p, service.n);
        rc = bm_service_get(k->store, name, &s, e);
    }
    if (rc == BM_NOTFOUND)
        return bm_refuse(e, rc, "unknown-service", "there is no service '%s' here", bm_text_escape(service, safe, sizeof safe));
    if (rc == BM_OK)
        rc = last(k, name, &b, e);
    if (rc == BM_OK)
        rc = bm_bundle_cas(k, &s, json_object_get(b.payload, "certificates"), now, &certs, e);
    if (rc == BM_OK && !still_good(&b, certs, now))
        rc = make(k, name, &b, certs, now, e);
    if (rc != BM_OK)
        return rc;
    *ret = b;
    b = (struct bm_bundle){ 0 };
    return BM_OK;
}

/* --- the worker's question, and the administrator's ------------------------------------------------------------------------------------ */
enum bm_rc bm_run_trust(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_bundle_done) struct bm_bundle b = { 0 };
    struct bm_crl_told told = { .max_age_s = MAX_AGE_S };
    struct bm_crl_ask ask;
    enum bm_rc rc = bm_crl_ask_parse(payload, &ask, e);

    if (rc == BM_OK)
        rc = bm_bundle_fresh(k, ask.ca, now, &b, e);
    if (rc != BM_OK)
        return rc;
    bm_etag_of(bm_buf_rd(&b.jws), told.etag);
    told.this_update = b.not_before;
    told.der = bm_etag_listed(ask.have, told.etag) ? bm_rd_of(NULL, 0) : bm_buf_rd(&b.jws);
    bm_crl_told_write(out, &told);
    return bm_buf_check(out, e);
}

static json_t *describe(const json_t *entry)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX };
    const char *text = json_string_value(json_object_get(entry, "der"));
    char sha256[65], until[24];
    struct bm_cert cert;

    if (text == NULL || bm_unbase64(bm_rd_str(text), &der, NULL) != BM_OK || bm_cert_parse(bm_buf_rd(&der), &cert, NULL) != BM_OK)
        return NULL;
    digest_hex(bm_buf_rd(&der), sha256);
    return json_pack("{s:O, s:s, s:s}", "use", json_object_get(entry, "use"), "sha256", sha256, "not_after",
                     bm_time_text(cert.not_after, until));
}

BM_ADMIN_HANDLER(bm_admin_trust_show)
{
    BM_CLEANUP(bm_bundle_done) struct bm_bundle b = { 0 };
    json_t *rows = json_array(), *entry;
    const char *name;
    char at[24];
    int64_t now;
    size_t i;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    json_object_set_new(out, "certificates", rows);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_bundle_fresh(k, bm_rd_str(name), now, &b, e);
    if (rc != BM_OK)
        return rc;
    json_array_foreach (json_object_get(b.payload, "certificates"), i, entry)
        json_array_append_new(rows, describe(entry));
    json_object_set_new(out, "service", json_string(name));
    json_object_set_new(out, "version", json_integer(b.version));
    json_object_set_new(out, "not_before", json_string(bm_time_text(b.not_before, at)));
    json_object_set_new(out, "not_after", json_string(bm_time_text(b.not_after, at)));
    json_object_set(out, "previous", json_object_get(b.payload, "previous"));
    return json_object_set_new(out, "jws", json_stringn((const char *)b.jws.p, b.jws.n)) == 0 ? BM_OK
                                                                                              : bm_fail(e, BM_NOMEM, "no memory");
}
