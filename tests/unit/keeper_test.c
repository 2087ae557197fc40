/* Enrolment and status inside the keeper, each refusal by its code. After a refusal nothing has changed and `birthmark why` can tell of it;
 * after a success OpenSSL accepts the certificate, the registry holds its bytes, and the log its digest. */
#include "keeper_fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static struct world w;

static int open_world(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = BM_FRAME_MAX };

    (void)state;
    world_open(&w);
    assert_ok(command(&w, BM_CMD_VIEW, NO_BLOB, &out)); /* makes the TLS certificate, once */
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    if (w.k != NULL)
        history_holds(&w);
    world_close(&w);
    return 0;
}

/* --- asking ----------------------------------------------------------------------------------------------------------------------- */
static void ask(struct bm_enrol *c, const char *protocol)
{
    *c = (struct bm_enrol){ .peer = "192.0.2.7:4711" };
    snprintf(c->protocol, sizeof c->protocol, "%s", protocol);
    next_correlation(&w, c);
}

static void want_cert(struct bm_enrol *c, const char *service, struct bm_rd csr)
{
    struct bm_enrol_request *r = &c->requests[c->n_requests++];

    r->service = bm_rd_str(service);
    r->csr = csr;
}

/* The plain case: EST, self-signed certificate over the IDevID key. */
static void ask_tls(struct bm_enrol *c, const struct dev *d)
{
    ask(c, "est");
    c->evidence.kind = BM_EVIDENCE_TLS;
    c->evidence.cert = bm_buf_rd(&d->id.cert);
    want_cert(c, "", bm_buf_rd(&d->csr));
}

struct proof {
    uint8_t challenge[BM_CHALLENGE_LEN], signature[512];
    size_t signature_len;
};

static void get_challenge(struct proof *p)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1000 };

    assert_ok(command(&w, BM_CMD_CHALLENGE, NO_BLOB, &out));
    assert_int_equal(out.n, BM_CHALLENGE_LEN);
    memcpy(p->challenge, out.p, BM_CHALLENGE_LEN);
}

static void sign_it(struct bm_enrol *c, uint8_t op, struct proof *p, const struct bm_key *key)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf tbs = { .max = BM_COMMAND_MAX };

    c->evidence.challenge = bm_rd_of(p->challenge, sizeof p->challenge);
    bm_enrol_tbs(&tbs, op, c);
    p->signature_len = sizeof p->signature;
    assert_ok(bm_key_sign_raw(key, bm_buf_rd(&tbs), p->signature, &p->signature_len, &err));
    c->evidence.signature = bm_rd_of(p->signature, p->signature_len);
}

static void ask_signed(struct bm_enrol *c, const struct dev *d, struct proof *p)
{
    ask(c, "onboard");
    c->evidence.kind = BM_EVIDENCE_CHALLENGE;
    c->evidence.spki = bm_key_spki(d->id.key);
    c->claimed_udid = bm_rd_of(d->udid, sizeof d->udid);
    want_cert(c, "", bm_buf_rd(&d->csr));
    get_challenge(p);
    sign_it(c, BM_CMD_ENROL, p, d->id.key);
}

static enum bm_rc run(uint8_t type, const struct bm_enrol *asked, struct bm_buf *out)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX };
    struct bm_enrol c = *asked;

    prove(&w, &c);
    bm_enrol_write(&payload, &c);
    assert_false(payload.bad);
    return command(&w, type, bm_buf_rd(&payload), out);
}

/* --- refused ---------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc keep_row(void *arg, int64_t id, const char *json, struct bm_error *e)
{
    json_t **row = arg;

    (void)id, (void)e;
    json_decref(*row);
    *row = json_loads(json, 0, NULL);
    return BM_OK;
}

static json_t *refusal_row(const char *correlation)
{
    char by[40];
    const char *filter[] = { by, NULL };
    json_t *row = NULL;

    snprintf(by, sizeof by, "correlation=%s", correlation);
    assert_ok(bm_store_list(w.k->store, "refusal", filter, 0, 10, keep_row, &row, &err));
    return row;
}

static void refused_as(uint8_t type, const struct bm_enrol *c, enum bm_rc rc, const char *code)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    BM_CLEANUP(json_unref) json_t *row = NULL;
    char *before = counts_of(&w), *after;
    enum bm_rc got = run(type, c, &out);

    if (got != rc || strcmp(bm_error_code(&err), code) != 0)
        fail_msg("wanted %s %s, got %s %s: %s", bm_rc_name(rc), code, bm_rc_name(got), bm_error_code(&err), err.what);
    assert_true(strlen(err.what) > 10);
    after = counts_of(&w);
    assert_string_equal(before, after);
    free(before);
    free(after);
    row = refusal_row(c->correlation);
    if (row == NULL)
        fail_msg("no refusal is kept for %s", code);
    assert_string_equal(member_text(row, "code"), code);
    assert_string_equal(member_text(row, "peer"), c->peer);
    assert_string_equal(member_text(row, "protocol"), c->protocol);
}

#define refused(c, rc, code) refused_as(BM_CMD_ENROL, (c), (rc), (code))

/* --- granted ---------------------------------------------------------------------------------------------------------------------- */
static X509 *x509_of(struct bm_rd der)
{
    const uint8_t *p = der.p;
    X509 *x = d2i_X509(NULL, &p, (long)der.n);

    assert_non_null(x);
    assert_ptr_equal(p, der.p + der.n);
    return x;
}

static void openssl_accepts(const struct bm_enrolled_credential *c)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *between = sk_X509_new_null();
    X509 *leaf = x509_of(c->cert), *root = x509_of(c->chain[c->n_chain - 1]);
    int ok;

    for (size_t i = 0; i + 1 < c->n_chain; i++)
        sk_X509_push(between, x509_of(c->chain[i]));
    X509_STORE_add_cert(store, root);
    assert_int_equal(X509_STORE_CTX_init(ctx, store, leaf, between), 1);
    X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
    X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT);
    ok = X509_verify_cert(ctx);
    if (ok != 1)
        fail_msg("OpenSSL: %s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    assert_int_equal(X509_check_ca(leaf), 0);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    sk_X509_pop_free(between, X509_free);
    X509_free(leaf);
    X509_free(root);
}

static void leaf_tells(int64_t back, const struct bm_enrol *c, const struct dev *d, struct bm_rd cert)
{
    BM_CLEANUP(json_unref) json_t *leaf = leaf_of(&w, back);
    uint8_t sha256[32];
    char digest[65];

    bm_udid_of(cert, sha256);
    bm_hex(sha256, sizeof sha256, digest);
    assert_string_equal(member_text(leaf, "event"), "credential.issued");
    assert_string_equal(member_text(leaf, "udid"), d->hex);
    assert_string_equal(member_text(leaf, "sha256"), digest);
    assert_string_equal(member_text(leaf, "correlation"), c->correlation);
    assert_string_equal(member_text(leaf, "protocol"), c->protocol);
}

static void credential_holds(const struct bm_enrol *c, size_t i, const struct bm_enrolled_credential *got)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential row = { 0 };
    struct bm_cert cert;
    struct bm_csr csr;

    assert_ok(bm_cert_parse(got->cert, &cert, &err));
    assert_ok(bm_csr_parse(c->requests[i].csr, &csr, &err));
    assert_true(bm_rd_eq(cert.spki, csr.spki));
    assert_false(cert.ca);
    assert_ok(bm_credential_get(w.k->store, cert.serial.p, &row, &err));
    assert_true(bm_rd_eq(bm_buf_rd(&row.cert), got->cert));
    assert_string_equal(row.state, "active");
    assert_string_equal(row.correlation, c->correlation);
    assert_int_equal(row.not_after, got->not_after);
    assert_true(got->renew_after > bm_clock_s() && got->renew_after < got->not_after);
    openssl_accepts(got);
}

static void device_is(const struct dev *d, const char *state)
{
    BM_CLEANUP(bm_device_done) struct bm_device row = { 0 };

    assert_ok(bm_device_get(w.k->store, d->udid, &row, &err));
    assert_string_equal(row.state, state);
    assert_true(strcmp(state, "active") != 0 || row.activated_at != 0);
}

/* Runs it and checks all of the answer; out holds the bytes that *ret borrows. */
static void granted(const struct bm_enrol *c, const struct dev *d, struct bm_buf *out, struct bm_enrolled *ret)
{
    int64_t log = w.k->audit.on_disk.size;

    assert_ok(run(BM_CMD_ENROL, c, out));
    assert_ok(bm_enrolled_parse(bm_buf_rd(out), ret, &err));
    assert_memory_equal(ret->udid, d->udid, BM_UDID_LEN);
    assert_int_equal(ret->n_credentials, c->n_requests);
    assert_int_equal(w.k->audit.on_disk.size, log + (int64_t)c->n_requests);
    for (size_t i = 0; i < ret->n_credentials; i++) {
        credential_holds(c, i, &ret->credentials[i]);
        leaf_tells((int64_t)(ret->n_credentials - 1 - i), c, d, ret->credentials[i].cert);
    }
    device_is(d, "active");
}

static void granted_once(const struct bm_enrol *c, const struct dev *d)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    struct bm_enrolled a;

    granted(c, d, &out, &a);
}

/* Enrols over TLS and keeps the LDevID certificate. */
static void ldevid_of(const struct dev *d, struct bm_buf *cert)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    struct bm_enrolled a;
    struct bm_enrol c;

    ask_tls(&c, d);
    granted(&c, d, &out, &a);
    bm_buf_put(cert, a.credentials[0].cert.p, a.credentials[0].cert.n);
}

static int64_t batch_used(const char *name)
{
    struct bm_batch b;

    assert_ok(bm_batch_get(w.k->store, name, &b, &err));
    return b.used;
}

/* --- how a device may show itself ---------------------------------------------------------------------------------------------------- */
static void tls_with_idevid(void **state)
{
    BM_CLEANUP(dev_done) struct dev d;
    struct bm_enrol c;
    int64_t used = batch_used("lot");

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    device_is(&d, "allocated");
    ask_tls(&c, &d);
    granted_once(&c, &d);
    ask_tls(&c, &d); /* again: a renewal does not count against the quota */
    granted_once(&c, &d);
    assert_int_equal(batch_used("lot"), used + 1);
}

static void signed_challenge(void **state)
{
    static const char *const algs[] = { "P-256", "P-384", "ED25519" };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(algs); i++) {
        BM_CLEANUP(dev_done) struct dev d;
        struct bm_enrol c;
        struct proof p;

        dev_make_of(&d, algs[i]);
        register_device(&w, "lot", &d);
        ask_signed(&c, &d, &p);
        granted_once(&c, &d);
    }
}

static void with_ldevid(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf cert = { .max = BM_CERT_MAX };
    BM_CLEANUP(dev_done) struct dev d;
    struct bm_enrol c;
    struct proof p;

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    ldevid_of(&d, &cert);
    ask_tls(&c, &d);
    c.evidence.cert = bm_buf_rd(&cert);
    granted_once(&c, &d);
    ask_signed(&c, &d, &p);
    c.evidence.spki = (struct bm_rd){ 0 };
    c.evidence.cert = bm_buf_rd(&cert);
    get_challenge(&p);
    sign_it(&c, BM_CMD_ENROL, &p, d.op.key);
    granted_once(&c, &d);
}

static void reenrol_subject(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf cert = { .max = BM_CERT_MAX }, csr = { .max = BM_CSR_MAX };
    BM_CLEANUP(dev_done) struct dev d;
    char subject[200];
    struct bm_enrol c;

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    ldevid_of(&d, &cert);
    ask_tls(&c, &d);
    c.evidence.cert = bm_buf_rd(&cert);
    c.reenrol = true;
    refused(&c, BM_DENIED, "subject-mismatch");
    snprintf(subject, sizeof subject, "CN=%s,OU=meter,O=Acme Meters", d.hex);
    assert_ok(bm_csr_make(d.op.key, subject, &csr, &err));
    next_correlation(&w, &c);
    c.requests[0].csr = bm_buf_rd(&csr);
    granted_once(&c, &d);
    ask_tls(&c, &d); /* with the IDevID any subject will do */
    c.reenrol = true;
    granted_once(&c, &d);
}

static void several_services(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    BM_CLEANUP(dev_done) struct dev d;
    struct bm_enrolled a;
    struct bm_enrol c;

    (void)state;
    admin_ok(
        &w,
        "{\"op\":\"service.create\",\"name\":\"mqtt\",\"kind\":\"mqtt\",\"endpoints\":[\"mqtts://a:8883\",\"mqtts://b:8883\"]}");
    admin_ok(&w, "{\"op\":\"service.create\",\"name\":\"web\",\"kind\":\"https\"}");
    admin_ok(&w, "{\"op\":\"service.create\",\"name\":\"other\",\"kind\":\"https\"}");
    admin_ok(&w, "{\"op\":\"product.create\",\"name\":\"camera\",\"org\":\"acme\",\"policy\":{\"services\":[\"mqtt\",\"web\"]}}");
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"cams\",\"product\":\"camera\",\"quota\":5}");
    dev_make(&d);
    register_device(&w, "cams", &d);
    ask_tls(&c, &d);
    c.n_requests = 0;
    want_cert(&c, "web", bm_buf_rd(&d.csr));
    want_cert(&c, "mqtt", bm_buf_rd(&d.csr));
    want_cert(&c, "", bm_buf_rd(&d.csr));
    granted(&c, &d, &out, &a);
    assert_true(bm_rd_eq(a.credentials[0].service, bm_rd_str("web")));
    assert_true(bm_rd_eq(a.credentials[1].service, bm_rd_str("mqtt")));
    assert_true(bm_rd_eq(a.credentials[2].service, bm_rd_str("mqtt"))); /* the first is the default */
    assert_true(bm_rd_eq(a.credentials[0].endpoints, bm_rd_str("[]")));
    assert_true(bm_rd_eq(a.credentials[1].endpoints, bm_rd_str("[\"mqtts://a:8883\",\"mqtts://b:8883\"]")));
    assert_int_equal(batch_used("cams"), 1);
    ask_tls(&c, &d);
    want_cert(&c, "other", bm_buf_rd(&d.csr)); /* the first request alone would be fine */
    refused(&c, BM_DENIED, "service-refused");
    ask_tls(&c, &d);
    c.requests[0].service = bm_rd_of("mq\0t", 4);
    refused(&c, BM_DENIED, "service-refused");
}

/* --- birth certificates ----------------------------------------------------------------------------------------------------------- */
static void birth_certificates(void **state)
{
    BM_CLEANUP(party_done) struct party root, between, stranger;
    BM_CLEANUP(dev_done) struct dev d, far, bad;
    struct bm_enrol c;

    (void)state;
    party_keys(&root, "P-256");
    party_certify(&root, "Chip root", NULL, true, 86400);
    party_keys(&between, "P-256");
    party_certify(&between, "Chip line 7", &root, true, 86400);
    party_keys(&stranger, "P-256");
    party_certify(&stranger, "Chip root", NULL, true, 86400); /* the same name, another key */
    dev_make(&d);
    dev_make(&far);
    dev_make(&bad);
    register_devices(&w, "lot", NULL, (const struct dev *const[]){ &d, &far, &bad }, 3);
    party_certify(&d.id, "a chip", &root, false, 86400);
    party_certify(&far.id, "another chip", &between, false, 86400);
    party_certify(&bad.id, "a third chip", &stranger, false, 86400);
    ask_tls(&c, &d);
    refused(&c, BM_DENIED, "untrusted-birth-certificate");
    pin(&w, "chips", "manifest", bm_buf_rd(&root.cert)); /* the wrong purpose does not help */
    next_correlation(&w, &c);
    refused(&c, BM_DENIED, "untrusted-birth-certificate");
    pin(&w, "chips", "birth", bm_buf_rd(&root.cert));
    next_correlation(&w, &c);
    granted_once(&c, &d);
    ask_tls(&c, &far);
    refused(&c, BM_DENIED, "untrusted-birth-certificate"); /* the intermediate is missing */
    next_correlation(&w, &c);
    c.evidence.chain[c.evidence.n_chain++] = bm_buf_rd(&between.cert);
    granted_once(&c, &far);
    ask_tls(&c, &bad);
    c.evidence.chain[c.evidence.n_chain++] = bm_buf_rd(&root.cert);
    refused(&c, BM_DENIED, "bad-signature"); /* what came along did not sign it */
    ask_tls(&c, &bad);
    c.evidence.chain[c.evidence.n_chain++] = bm_buf_rd(&stranger.cert);
    refused(&c, BM_DENIED, "untrusted-birth-certificate");
    party_certify(&bad.id, "a third chip", &root, false, -3600);
    ask_tls(&c, &bad);
    refused(&c, BM_DENIED, "untrusted-birth-certificate"); /* over */
}

static void birth_certificate_needed(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf cert = { .max = BM_CERT_MAX };
    BM_CLEANUP(party_done) struct party root;
    BM_CLEANUP(dev_done) struct dev d;
    struct bm_enrol c;

    (void)state;
    admin_ok(&w, "{\"op\":\"product.create\",\"name\":\"strict\",\"org\":\"acme\",\"policy\":{\"birth_certificate\":true}}");
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"strict-1\",\"product\":\"strict\",\"quota\":5}");
    party_keys(&root, "P-256");
    party_certify(&root, "Strict root", NULL, true, 86400);
    pin(&w, "chips", "birth", bm_buf_rd(&root.cert));
    dev_make(&d);
    register_device(&w, "strict-1", &d);
    ask_tls(&c, &d);
    refused(&c, BM_DENIED, "birth-certificate-needed");
    party_certify(&d.id, "chip", &root, false, 86400);
    ldevid_of(&d, &cert);
    ask_tls(&c, &d);
    c.evidence.cert = bm_buf_rd(&cert); /* an LDevID says that it has been shown before */
    granted_once(&c, &d);
}

/* --- who are you? --------------------------------------------------------------------------------------------------------------------- */
static void no_evidence(void **state)
{
    BM_CLEANUP(dev_done) struct dev d;
    struct bm_enrol c;

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    ask_tls(&c, &d);
    c.evidence = (struct bm_evidence){ .kind = BM_EVIDENCE_NONE };
    refused(&c, BM_DENIED, "no-evidence");
    ask_tls(&c, &d);
    c.evidence.cert = (struct bm_rd){ 0 };
    refused(&c, BM_DENIED, "no-evidence");
    ask_tls(&c, &d);
    c.evidence.kind = BM_EVIDENCE_NONE; /* a certificate that nobody proved to own */
    refused(&c, BM_DENIED, "no-evidence");
    ask_tls(&c, &d);
    c.evidence.spki = bm_key_spki(d.id.key);
    refused(&c, BM_MALFORMED, "evidence-ambiguous");
    ask_tls(&c, &d);
    c.evidence.cert.n--;
    refused(&c, BM_MALFORMED, "malformed");
    device_is(&d, "allocated");
}

static void strangers_and_copies(void **state)
{
    BM_CLEANUP(dev_done) struct dev genuine, stranger, other;
    BM_CLEANUP(json_unref) json_t *row = NULL;
    struct bm_enrol c;
    struct proof p;

    (void)state;
    dev_make(&genuine);
    dev_make(&stranger);
    dev_make(&other);
    register_devices(&w, "lot", NULL, (const struct dev *const[]){ &genuine, &other }, 2);
    ask_tls(&c, &stranger);
    refused(&c, BM_DENIED, "unknown-device");
    ask_tls(&c, &stranger);
    c.claimed_udid = bm_rd_of(genuine.udid, sizeof genuine.udid);
    refused(&c, BM_DENIED, "udid-mismatch");
    ask_tls(&c, &other); /* genuine itself, but says to be another */
    c.claimed_udid = bm_rd_of(genuine.udid, sizeof genuine.udid);
    refused(&c, BM_DENIED, "udid-mismatch");
    ask_signed(&c, &stranger, &p);
    refused(&c, BM_DENIED, "unknown-device");
    party_certify(&stranger.id, genuine.hex, NULL, false, 86400); /* a copied CN */
    ask_tls(&c, &stranger);
    refused(&c, BM_DENIED, "udid-mismatch");
    row = refusal_row(c.correlation);
    assert_string_equal(member_text(row, "udid"), genuine.hex); /* the story of the device that was copied tells of it */
    device_is(&genuine, "allocated");
}

/* A refused device with an LDevID: the refusal belongs to the device, not to the LDevID's key. */
static void refusal_names_the_device(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf cert = { .max = BM_CERT_MAX };
    BM_CLEANUP(json_unref) json_t *row = NULL;
    BM_CLEANUP(dev_done) struct dev d;
    struct bm_enrol c;

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    ldevid_of(&d, &cert);
    admin_ok(&w, "{\"op\":\"device.suspend\",\"udid\":\"%s\"}", d.hex);
    ask_tls(&c, &d);
    c.evidence.cert = bm_buf_rd(&cert);
    refused(&c, BM_DENIED, "device-suspended");
    row = refusal_row(c.correlation);
    assert_string_equal(member_text(row, "udid"), d.hex);
}

/* --- states ------------------------------------------------------------------------------------------------------------------------- */
static void states(void **state)
{
    BM_CLEANUP(dev_done) struct dev d;
    struct bm_enrol c;
    struct proof p;

    (void)state;
    dev_make(&d);
    register_device(&w, NULL, &d);
    device_is(&d, "registered");
    ask_tls(&c, &d);
    refused(&c, BM_DENIED, "not-allocated");
    admin_ok(&w, "{\"op\":\"device.allocate\",\"udid\":\"%s\",\"batch\":\"lot\"}", d.hex);
    ask_tls(&c, &d);
    granted_once(&c, &d);
    admin_ok(&w, "{\"op\":\"device.suspend\",\"udid\":\"%s\"}", d.hex);
    ask_tls(&c, &d);
    refused(&c, BM_DENIED, "device-suspended");
    ask_signed(&c, &d, &p);
    refused(&c, BM_DENIED, "device-suspended");
    admin_ok(&w, "{\"op\":\"device.resume\",\"udid\":\"%s\"}", d.hex);
    ask_tls(&c, &d);
    granted_once(&c, &d);
    admin_ok(&w, "{\"op\":\"device.compromise\",\"udid\":\"%s\"}", d.hex);
    ask_tls(&c, &d);
    refused(&c, BM_DENIED, "device-compromised");
    admin_ok(&w, "{\"op\":\"device.retire\",\"udid\":\"%s\"}", d.hex);
    ask_tls(&c, &d);
    refused(&c, BM_DENIED, "device-retired");
}

/* --- policy -------------------------------------------------------------------------------------------------------------------------- */
static void policy_rules(void **state)
{
    BM_CLEANUP(dev_done) struct dev d, soft;
    const struct dev *one = &soft;
    struct bm_enrol c;
    struct proof p;

    (void)state;
    admin_ok(&w, "{\"op\":\"product.create\",\"name\":\"picky\",\"org\":\"acme\",\"policy\":{\"rot\":[\"atecc608\"],\"protocols\":["
                 "\"est\"]}}");
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"picky-1\",\"product\":\"picky\",\"quota\":5}");
    dev_make(&d);
    dev_make(&soft);
    register_device(&w, "picky-1", &d);
    register_devices(&w, "picky-1", "software", &one, 1);
    ask_tls(&c, &soft);
    refused(&c, BM_DENIED, "root-of-trust-refused");
    ask_signed(&c, &d, &p);
    refused(&c, BM_DENIED, "protocol-refused");
    ask_tls(&c, &d);
    c.claimed_batch = bm_rd_str("lot");
    refused(&c, BM_DENIED, "wrong-batch");
    ask_tls(&c, &d);
    c.claimed_batch = bm_rd_str("picky-1");
    granted_once(&c, &d);
}

static void batch_closed(void **state)
{
    BM_CLEANUP(dev_done) struct dev in, late;
    struct bm_enrol c;

    (void)state;
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"short\",\"product\":\"meter\",\"quota\":5}");
    dev_make(&in);
    dev_make(&late);
    register_devices(&w, "short", NULL, (const struct dev *const[]){ &in, &late }, 2);
    ask_tls(&c, &in);
    granted_once(&c, &in);
    admin_ok(&w, "{\"op\":\"batch.set\",\"name\":\"short\",\"state\":\"closed\"}");
    ask_tls(&c, &late);
    refused(&c, BM_DENIED, "batch-closed");
    ask_tls(&c, &in); /* who is in stays in */
    granted_once(&c, &in);
}

static void quota(void **state)
{
    enum { QUOTA = 3, DEVICES = 7 };
    struct dev d[DEVICES];
    const struct dev *all[DEVICES];
    struct bm_enrol c;

    (void)state;
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"few\",\"product\":\"meter\",\"quota\":%d}", QUOTA);
    for (size_t i = 0; i < DEVICES; i++) {
        dev_make(&d[i]);
        all[i] = &d[i];
    }
    register_devices(&w, "few", NULL, all, DEVICES);
    for (size_t i = 0; i < DEVICES; i++) {
        ask_tls(&c, &d[i]);
        if (i < QUOTA)
            granted_once(&c, &d[i]);
        else
            refused(&c, BM_LIMIT, "quota-exceeded");
        if (i == 1) /* from a cold cache as from a warm one */
            bm_cache_drop(w.k);
    }
    assert_int_equal(batch_used("few"), QUOTA);
    admin_ok(&w, "{\"op\":\"batch.set\",\"name\":\"few\",\"quota\":%d}", QUOTA + 1);
    ask_tls(&c, &d[5]);
    granted_once(&c, &d[5]);
    ask_tls(&c, &d[6]);
    refused(&c, BM_LIMIT, "quota-exceeded");
    assert_int_equal(batch_used("few"), QUOTA + 1);
    for (size_t i = 0; i < DEVICES; i++)
        dev_done(&d[i]);
}

/* --- credentials --------------------------------------------------------------------------------------------------------------------- */
static void serial_of(struct bm_rd der, char ret[2 * BM_SERIAL_LEN + 1])
{
    struct bm_cert cert;

    assert_ok(bm_cert_parse(der, &cert, &err));
    assert_int_equal(cert.serial.n, BM_SERIAL_LEN);
    bm_hex(cert.serial.p, BM_SERIAL_LEN, ret);
}

static void credential_revoked(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf cert = { .max = BM_CERT_MAX };
    BM_CLEANUP(dev_done) struct dev d;
    char serial[2 * BM_SERIAL_LEN + 1];
    struct bm_enrol c;

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    ldevid_of(&d, &cert);
    serial_of(bm_buf_rd(&cert), serial);
    admin_ok(&w, "{\"op\":\"cert.revoke\",\"serial\":\"%s\",\"reason\":\"keyCompromise\"}", serial);
    ask_tls(&c, &d);
    c.evidence.cert = bm_buf_rd(&cert);
    refused(&c, BM_DENIED, "credential-revoked");
    ask_tls(&c, &d);
    granted_once(&c, &d); /* the IDevID is still good */
}

/* A certificate with the serial number of one of ours, over a key of its own. */
static void forged_ldevid(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf cert = { .max = BM_CERT_MAX };
    BM_CLEANUP(party_done) struct party thief;
    BM_CLEANUP(dev_done) struct dev d;
    struct bm_enrol c;
    struct bm_cert parsed;

    (void)state;
    party_keys(&thief, "P-256");
    dev_make(&d);
    register_device(&w, "lot", &d);
    ldevid_of(&d, &cert);
    assert_ok(bm_cert_parse(bm_buf_rd(&cert), &parsed, &err));
    memcpy((uint8_t *)(uintptr_t)parsed.spki.p, bm_key_spki(thief.key).p, parsed.spki.n);
    ask_tls(&c, &d);
    c.evidence.cert = bm_buf_rd(&cert);
    refused(&c, BM_DENIED, "udid-mismatch"); /* it still carries the device's name */
}

/* Asked in forty days, and taken back. */
static enum bm_rc run_later(const struct bm_enrol *asked)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    struct bm_enrol c = *asked;
    int64_t then = bm_clock_s() + 40 * 86400;
    enum bm_rc rc;

    prove_at(&w, &c, then);
    err = (struct bm_error){ 0 };
    assert_ok(bm_store_begin(w.k->store, &err));
    rc = bm_run_enrol(w.k, &c, then, &out, &err);
    bm_store_rollback(w.k->store);
    bm_audit_rolled_back(&w.k->audit);
    bm_cache_drop(w.k);
    return rc;
}

static void credential_expired(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf cert = { .max = BM_CERT_MAX };
    BM_CLEANUP(dev_done) struct dev d;
    struct bm_enrol c;

    (void)state;
    admin_ok(&w, "{\"op\":\"product.create\",\"name\":\"fly\",\"org\":\"acme\"}");
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"fly-1\",\"product\":\"fly\",\"quota\":5}");
    dev_make(&d);
    register_device(&w, "fly-1", &d);
    ldevid_of(&d, &cert);
    ask_tls(&c, &d);
    assert_ok(run_later(&c)); /* the IDevID always may */
    c.evidence.cert = bm_buf_rd(&cert);
    assert_rc(run_later(&c), BM_DENIED);
    assert_string_equal(err.code, "credential-expired");
    admin_ok(&w, "{\"op\":\"product.set\",\"name\":\"fly\",\"policy\":{\"renew_expired\":true}}");
    assert_ok(run_later(&c));
    admin_ok(&w, "{\"op\":\"device.suspend\",\"udid\":\"%s\"}", d.hex);
    assert_rc(run_later(&c), BM_DENIED);
    assert_string_equal(err.code, "device-suspended");
}

/* --- requests ------------------------------------------------------------------------------------------------------------------------ */
static void bad_requests(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf csr = { .max = BM_CSR_MAX };
    BM_CLEANUP(party_done) struct party rsa;
    BM_CLEANUP(dev_done) struct dev d;
    struct bm_enrol c;

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    bm_buf_put(&csr, d.csr.p, d.csr.n);
    csr.p[csr.n - 1] ^= 1;
    ask_tls(&c, &d);
    c.requests[0].csr = bm_buf_rd(&csr);
    refused(&c, BM_DENIED, "bad-signature");
    csr.p[csr.n - 1] ^= 1;
    bm_buf_put(&csr, "", 1);
    ask_tls(&c, &d);
    c.requests[0].csr = bm_buf_rd(&csr);
    refused(&c, BM_MALFORMED, "malformed");
    ask_tls(&c, &d);
    c.requests[0].csr = bm_rd_of(d.csr.p, d.csr.n - 1);
    refused(&c, BM_MALFORMED, "malformed");
    ask_tls(&c, &d);
    c.requests[0].csr = (struct bm_rd){ 0 };
    refused(&c, BM_MALFORMED, "malformed");
    ask_tls(&c, &d);
    c.n_requests = 0;
    refused(&c, BM_MALFORMED, "no-requests");
    ask_tls(&c, &d); /* the second request is broken: the first is not served either */
    want_cert(&c, "", bm_rd_of(d.csr.p, d.csr.n - 1));
    refused(&c, BM_MALFORMED, "malformed");
    party_keys(&rsa, "P-521");
    csr.n = 0;
    assert_ok(bm_csr_make(rsa.key, "CN=x", &csr, &err));
    ask_tls(&c, &d);
    c.requests[0].csr = bm_buf_rd(&csr);
    device_is(&d, "allocated");
}

/* --- challenges ------------------------------------------------------------------------------------------------------------------------ */
static void challenges(void **state)
{
    BM_CLEANUP(dev_done) struct dev d, other;
    struct bm_enrol c;
    struct proof p;

    (void)state;
    dev_make(&d);
    dev_make(&other);
    register_devices(&w, "lot", NULL, (const struct dev *const[]){ &d, &other }, 2);
    ask_signed(&c, &d, &p);
    granted_once(&c, &d);
    next_correlation(&w, &c);
    refused(&c, BM_DENIED, "challenge-used");
    ask_signed(&c, &d, &p);
    p.challenge[20] ^= 1;
    refused(&c, BM_DENIED, "challenge-unknown");
    ask_signed(&c, &d, &p);
    c.evidence.challenge.n--;
    refused(&c, BM_MALFORMED, "challenge-malformed");
    ask_signed(&c, &d, &p);
    c.evidence.challenge.n = 0;
    refused(&c, BM_MALFORMED, "challenge-malformed");
    ask_signed(&c, &d, &p); /* made 121 seconds ago */
    bm_challenge_make(w.k, bm_clock_s() - BM_CHALLENGE_TTL_S - 1, p.challenge);
    sign_it(&c, BM_CMD_ENROL, &p, d.id.key);
    refused(&c, BM_DENIED, "challenge-expired");
    ask_signed(&c, &d, &p);
    sign_it(&c, BM_CMD_ENROL, &p, other.id.key);
    refused(&c, BM_DENIED, "bad-signature");
    ask_signed(&c, &d, &p);
    c.requests[0].csr = bm_buf_rd(&other.csr); /* not what was signed */
    refused(&c, BM_DENIED, "bad-signature");
    ask_signed(&c, &d, &p);
    c.requests[0].service = bm_rd_str("mqtt");
    refused(&c, BM_DENIED, "bad-signature");
    ask_signed(&c, &d, &p);
    c.claimed_batch = bm_rd_str("lot");
    refused(&c, BM_DENIED, "bad-signature");
    ask_signed(&c, &d, &p);
    sign_it(&c, BM_CMD_STATUS, &p, d.id.key); /* a status question is no enrolment */
    refused(&c, BM_DENIED, "bad-signature");
    ask_signed(&c, &d, &p); /* a failed proof does not use the challenge up */
    p.signature[0] ^= 1;
    refused(&c, BM_DENIED, "bad-signature");
    p.signature[0] ^= 1;
    next_correlation(&w, &c);
    granted_once(&c, &d);
    ask_signed(&c, &d, &p);
    world_reopen(&w);
    refused(&c, BM_DENIED, "challenge-unknown");
}

/* --- authorities --------------------------------------------------------------------------------------------------------------------- */
static void ca_cut_off(void **state)
{
    BM_CLEANUP(dev_done) struct dev d, go_on;
    struct bm_enrol c;

    (void)state;
    admin_ok(&w, "{\"op\":\"ca.create\",\"name\":\"lot-ca\",\"parent\":\"root\"}");
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"cut\",\"product\":\"meter\",\"quota\":5,\"ca\":\"lot-ca\"}");
    dev_make(&d);
    dev_make(&go_on);
    register_device(&w, "cut", &d);
    register_device(&w, "lot", &go_on);
    ask_tls(&c, &d);
    granted_once(&c, &d);
    admin_ok(&w, "{\"op\":\"ca.revoke\",\"name\":\"lot-ca\",\"reason\":\"superseded\"}");
    ask_tls(&c, &d);
    refused(&c, BM_DENIED, "ca-revoked");
    ask_tls(&c, &go_on);
    granted_once(&c, &go_on);
}

static void middle_ca_cut_off(void **state)
{
    BM_CLEANUP(dev_done) struct dev d;
    struct bm_enrol c;

    (void)state;
    admin_ok(&w, "{\"op\":\"ca.create\",\"name\":\"middle\",\"parent\":\"root\",\"profile\":\"intermediate-ca\"}");
    admin_ok(&w, "{\"op\":\"ca.create\",\"name\":\"below\",\"parent\":\"middle\",\"alg\":\"EC:P-384\"}");
    admin_ok(&w, "{\"op\":\"product.create\",\"name\":\"deep\",\"org\":\"acme\",\"policy\":{\"ca\":\"below\"}}");
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"deep-1\",\"product\":\"deep\",\"quota\":5}");
    dev_make(&d);
    register_device(&w, "deep-1", &d);
    ask_tls(&c, &d);
    granted_once(&c, &d);
    admin_ok(&w, "{\"op\":\"ca.revoke\",\"name\":\"middle\"}");
    ask_tls(&c, &d);
    refused(&c, BM_DENIED, "ca-revoked");
}

/* No certificate that a device gets may be a CA's, whatever way a profile took. */
static void no_ca_for_devices(void **state)
{
    BM_CLEANUP(dev_done) struct dev d;
    struct bm_enrol c;

    (void)state;
    dev_make(&d);
    assert_ok(bm_store_begin(w.k->store, &err)); /* past all checks of the administrator's acts */
    assert_ok(bm_profile_put(w.k->store, "trojan", bm_rd_str(bm_profiles_builtin[5].json), &err));
    assert_ok(bm_store_commit(w.k->store, &err));
    assert_string_equal(bm_profiles_builtin[5].name, "issuing-ca");
    admin_ok(&w, "{\"op\":\"service.create\",\"name\":\"horse\",\"kind\":\"https\"}");
    admin_ok(&w, "{\"op\":\"product.create\",\"name\":\"troy\",\"org\":\"acme\",\"policy\":{\"services\":[\"horse\"]}}");
    admin_ok(&w,
             "{\"op\":\"ca.create\",\"name\":\"troy-ca\",\"parent\":\"root\",\"profile\":\"intermediate-ca\"}"); /* room below it */
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"troy-1\",\"product\":\"troy\",\"quota\":5,\"ca\":\"troy-ca\"}");
    {
        struct bm_service s;

        assert_ok(bm_store_begin(w.k->store, &err));
        assert_ok(bm_service_get(w.k->store, "horse", &s, &err));
        snprintf(s.profile, sizeof s.profile, "trojan");
        assert_ok(bm_service_put(w.k->store, &s, &err));
        assert_ok(bm_store_commit(w.k->store, &err));
        bm_cache_drop(w.k);
    }
    register_device(&w, "troy-1", &d);
    ask_tls(&c, &d);
    refused(&c, BM_DENIED, "profile-is-ca");
}

/* --- clock ---------------------------------------------------------------------------------------------------------------------------- */
static void clock_went_back(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    BM_CLEANUP(dev_done) struct dev d;
    struct bm_enrol c;

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    w.k->clock_high = bm_clock_s() + 3600;
    ask_tls(&c, &d);
    refused(&c, BM_AGAIN, "clock-went-back");
    assert_true(bm_retry_after(&err) != 0);
    assert_rc(command(&w, BM_CMD_CHALLENGE, NO_BLOB, &out), BM_AGAIN);
    assert_string_equal(err.code, "clock-went-back");
    assert_rc(admin_do(&w, "{\"op\":\"org.create\",\"name\":\"late\",\"role\":\"oem\"}", NO_BLOB, NULL), BM_AGAIN);
    assert_ok(command(&w, BM_CMD_VIEW, NO_BLOB, &out)); /* workers go on answering what needs no signature */
    admin_ok(&w, "{\"op\":\"clock.accept\"}");
    ask_tls(&c, &d);
    granted_once(&c, &d);
    world_reopen(&w); /* and it stays accepted */
    ask_tls(&c, &d);
    granted_once(&c, &d);
}

/* Time is remembered over a restart, by the last leaf. */
static void clock_over_restart(void **state)
{
    BM_CLEANUP(dev_done) struct dev d;
    struct bm_enrol c;

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    assert_ok(bm_store_begin(w.k->store, &err));
    assert_ok(bm_record(w.k, bm_clock_s() + 3600, "test.future", NULL, &err));
    assert_ok(bm_store_commit(w.k->store, &err));
    bm_audit_committed(&w.k->audit);
    world_reopen(&w);
    ask_tls(&c, &d);
    refused(&c, BM_AGAIN, "clock-went-back");
    admin_ok(&w, "{\"op\":\"clock.accept\"}");
    ask_tls(&c, &d);
    granted_once(&c, &d);
}

/* --- status ---------------------------------------------------------------------------------------------------------------------------- */
static void status_is(const struct dev *d, const char *status, const char *device_state, size_t n)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    struct bm_status s;
    struct bm_enrol c;

    ask_tls(&c, d);
    c.n_requests = 0;
    assert_ok(run(BM_CMD_STATUS, &c, &out));
    assert_ok(bm_status_parse(bm_buf_rd(&out), &s, &err));
    assert_memory_equal(s.udid, d->udid, sizeof s.udid);
    assert_string_equal(s.status, status);
    assert_string_equal(s.state, device_state);
    assert_int_equal(s.n_credentials, n);
}

static void status_story(void **state)
{
    BM_CLEANUP(dev_done) struct dev d, stranger;
    struct bm_enrol c;
    struct proof p;

    (void)state;
    dev_make(&d);
    dev_make(&stranger);
    register_device(&w, NULL, &d);
    status_is(&d, "not-enrolled", "registered", 0);
    admin_ok(&w, "{\"op\":\"device.allocate\",\"udid\":\"%s\",\"batch\":\"lot\"}", d.hex);
    status_is(&d, "not-enrolled", "allocated", 0);
    ask_tls(&c, &d);
    granted_once(&c, &d);
    status_is(&d, "enrolled", "active", 1);
    admin_ok(&w, "{\"op\":\"device.suspend\",\"udid\":\"%s\"}", d.hex);
    status_is(&d, "suspended", "suspended", 1);
    admin_ok(&w, "{\"op\":\"device.resume\",\"udid\":\"%s\"}", d.hex);
    admin_ok(&w, "{\"op\":\"device.transfer\",\"udid\":\"%s\",\"org\":\"chips\",\"force\":true}", d.hex);
    status_is(&d, "transferred", "active", 1);
    ask_tls(&c, &d);
    granted_once(&c, &d);
    status_is(&d, "enrolled", "active", 2);
    for (size_t i = 0; i < BM_STATUS_CREDENTIALS_MAX; i++) {
        ask_tls(&c, &d);
        granted_once(&c, &d);
    }
    status_is(&d, "enrolled", "active", BM_STATUS_CREDENTIALS_MAX);
    admin_ok(&w, "{\"op\":\"device.compromise\",\"udid\":\"%s\"}", d.hex);
    status_is(&d, "compromised", "compromised", BM_STATUS_CREDENTIALS_MAX);
    ask_signed(&c, &stranger, &p);
    c.n_requests = 0;
    sign_it(&c, BM_CMD_STATUS, &p, stranger.id.key);
    refused_as(BM_CMD_STATUS, &c, BM_DENIED, "unknown-device");
    ask_signed(&c, &d, &p);
    refused_as(BM_CMD_STATUS, &c, BM_DENIED, "bad-signature"); /* signed for enrolment */
}

/* --- commands as such ------------------------------------------------------------------------------------------------------------------ */
static void other_commands(void **state)
{
    static const uint8_t types[] = { 0, BM_CMD_CHANGED, 7, BM_ANSWER | BM_CMD_ENROL, BM_REFUSAL };
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    struct bm_view v;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(types); i++)
        assert_rc(command(&w, types[i], NO_BLOB, &out), BM_MALFORMED);
    assert_rc(command(&w, BM_CMD_CHALLENGE, bm_rd_str("x"), &out), BM_MALFORMED);
    assert_rc(command(&w, BM_CMD_ENROL, NO_BLOB, &out), BM_MALFORMED);
    assert_rc(command(&w, BM_CMD_STATUS, bm_rd_str("\0\0\0\x10"), &out), BM_MALFORMED);
    assert_rc(command(&w, BM_CMD_ADMIN, bm_rd_of("\0\0\0\x15{\"op\":\"clock.accept\"}", 25), &out), BM_DENIED);
    assert_string_equal(err.code, "not-administrator");
    assert_ok(command(&w, BM_CMD_VIEW, NO_BLOB, &out));
    assert_ok(bm_view_parse(bm_buf_rd(&out), &v, &err));
    assert_true(v.n_cas >= 2 && v.n_labels >= 1 && v.tls_key.n != 0 && v.tls_chain_pem.n != 0);
    assert_int_equal(v.nonce.n, BM_HANDSHAKE_NONCE_LEN);
}

static void keeper_is_alone(void **state)
{
    struct bm_keeper *second = NULL;
    struct bm_keeper_options nowhere = { .data_dir = "/dev/shm/bm-no-such-folder" };

    (void)state;
    assert_rc(bm_keeper_open(&w.options, &second, &err), BM_CONFLICT);
    assert_string_equal(err.code, "in-use");
    assert_null(second);
    assert_rc(bm_keeper_open(&nowhere, &second, &err), BM_NOTFOUND);
    assert_string_equal(err.code, "no-registry");
}

/* --- a disk that gives out ---------------------------------------------------------------------------------------------------------- */
static off_t largest_file(void)
{
    static const char *const files[] = { "registry.db", "registry.db-wal", "registry.db-shm" };
    struct stat st;
    off_t most = 0;
    char path[128];

    for (size_t i = 0; i < BM_COUNT(files); i++) {
        snprintf(path, sizeof path, "%s/%s", w.dir, files[i]);
        if (stat(path, &st) == 0 && st.st_size > most)
            most = st.st_size;
    }
    return most;
}

/* No file may grow from here on; what fails is the commit or, once the cache spills, a write before it. */
static void disk_full(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    BM_CLEANUP(dev_done) struct dev d;
    struct rlimit was, full;
    struct bm_enrol c;
    int64_t used = batch_used("lot"), failed = 0;
    char *before, *after;

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    signal(SIGXFSZ, SIG_IGN);
    bm_store_tidy(w.k->store);
    before = counts_of(&w);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    full = (struct rlimit){ (rlim_t)4096, was.rlim_max };
    (void)largest_file;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    for (size_t i = 0; i < 5; i++) {
        ask_tls(&c, &d);
        failed += run(BM_CMD_ENROL, &c, &out) == BM_IO;
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(failed, 5);
    after = counts_of(&w);
    assert_string_equal(before, after);
    assert_int_equal(batch_used("lot"), used);
    device_is(&d, "allocated");
    ask_tls(&c, &d);
    granted_once(&c, &d);
    assert_int_equal(batch_used("lot"), used + 1);
    history_holds(&w);
    free(before);
    free(after);
}

/* --- making a registry ------------------------------------------------------------------------------------------------------------------ */
static void init_again(void **state)
{
    char dir[] = "/tmp/bm-init-XXXXXX", path[64];
    struct bm_init_options o = { .data_dir = dir, .ca_alg = "EC:NO-SUCH", .organisation = "Test" };
    struct bm_keeper_options ko = { .data_dir = dir };
    struct bm_keeper *k = NULL;
    struct stat st, now;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_true(bm_keeper_init(&o, &err) != BM_OK);
    o.ca_alg = "EC:P-256"; /* a failed one is no obstacle */
    assert_ok(bm_keeper_init(&o, &err));
    assert_ok(bm_keeper_open(&ko, &k, &err));
    bm_keeper_close(k);
    assert_rc(bm_keeper_init(&o, &err), BM_CONFLICT);
    assert_string_equal(err.code, "already-there");
    snprintf(path, sizeof path, "%s/secret", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0400);
    snprintf(path, sizeof path, "%s/registry.db", dir);
    assert_int_equal(unlink(path), 0); /* lost: but the keys must survive a second init */
    assert_rc(bm_keeper_init(&o, &err), BM_CONFLICT);
    snprintf(path, sizeof path, "%s/secret", dir);
    assert_int_equal(stat(path, &now), 0);
    assert_int_equal(now.st_ino, st.st_ino);
    snprintf(path, sizeof path, "%s/keys/root.key.pem", dir);
    assert_int_equal(access(path, F_OK), 0);
    remove_folder(dir);
}

/* Cut off anywhere, init can be run again, and until then nobody takes what is there for a registry. */
static void touch(const char *dir, const char *name)
{
    char path[64];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

static void init_cut_off(void **state)
{
    static const char *const kept[][3] = { { "init.begun" },
                                           { "init.begun", "secret" },
                                           { "init.begun", "secret", "registry.db" } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(kept); i++) {
        char dir[] = "/tmp/bm-init-XXXXXX", path[64];
        struct bm_init_options o = { .data_dir = dir, .ca_alg = "EC:P-256", .organisation = "Test" };
        struct bm_keeper_options ko = { .data_dir = dir };
        struct bm_keeper *k = NULL;

        assert_non_null(mkdtemp(dir));
        for (size_t n = 0; n < 3 && kept[i][n] != NULL; n++)
            touch(dir, kept[i][n]);
        assert_rc(bm_keeper_open(&ko, &k, &err), BM_NOTFOUND);
        assert_string_equal(err.code, "no-registry");
        assert_ok(bm_keeper_init(&o, &err));
        snprintf(path, sizeof path, "%s/init.begun", dir);
        assert_int_equal(access(path, F_OK), -1);
        touch(dir, "init.begun"); /* back after a power cut: what is whole stays */
        assert_rc(bm_keeper_init(&o, &err), BM_CONFLICT);
        assert_ok(bm_keeper_open(&ko, &k, &err));
        bm_keeper_close(BM_MOVE(k));
        remove_folder(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tls_with_idevid),
        cmocka_unit_test(signed_challenge),
        cmocka_unit_test(with_ldevid),
        cmocka_unit_test(reenrol_subject),
        cmocka_unit_test(several_services),
        cmocka_unit_test(birth_certificates),
        cmocka_unit_test(birth_certificate_needed),
        cmocka_unit_test(no_evidence),
        cmocka_unit_test(strangers_and_copies),
        cmocka_unit_test(refusal_names_the_device),
        cmocka_unit_test(states),
        cmocka_unit_test(policy_rules),
        cmocka_unit_test(batch_closed),
        cmocka_unit_test(quota),
        cmocka_unit_test(credential_revoked),
        cmocka_unit_test(forged_ldevid),
        cmocka_unit_test(credential_expired),
        cmocka_unit_test(bad_requests),
        cmocka_unit_test(challenges),
        cmocka_unit_test(ca_cut_off),
        cmocka_unit_test(middle_ca_cut_off),
        cmocka_unit_test(no_ca_for_devices),
        cmocka_unit_test(clock_went_back),
        cmocka_unit_test(clock_over_restart),
        cmocka_unit_test(status_story),
        cmocka_unit_test(other_commands),
        cmocka_unit_test(keeper_is_alone),
        cmocka_unit_test(disk_full),
        cmocka_unit_test(init_again),
        cmocka_unit_test(init_cut_off),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
