/* A small world for the tests of src/keeper: a registry in a folder of its own with CA, organisations, a product and a batch, devices that
 * came in through a signed manifest, and commands run the way src/keeper/loop_batch.c runs them: begin, run, commit. */
#ifndef BM_TESTS_KEEPER_FIXTURE_H
#define BM_TESTS_KEEPER_FIXTURE_H

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "factory/manifest.h"
#include "keeper/internal.h"
#include "pki/jwe.h"
#include "pki/mac.h"
#include "server/tls.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static UNUSED struct bm_error err;

#define assert_rc(call, want) assert_rc_((call), (want), #call)
#define assert_ok(call) assert_rc(call, BM_OK)
static UNUSED void assert_rc_(enum bm_rc got, enum bm_rc want, const char *what)
{
    if (got != want)
        fail_msg("%s: %s, wanted %s (%s: %s)", what, bm_rc_name(got), bm_rc_name(want), err.code, err.what);
}

static UNUSED void json_unref(json_t **j)
{
    json_decref(*j);
}

/* A copy in an allocation of its exact size, so that one byte too far is seen. */
static UNUSED uint8_t *exact(struct bm_rd r)
{
    uint8_t *b = malloc(r.n != 0 ? r.n : 1);

    assert_non_null(b);
    if (r.n != 0)
        memcpy(b, r.p, r.n);
    return b;
}

/* --- keys and certificates, by OpenSSL ------------------------------------------------------------------------------------------ */
struct party {
    EVP_PKEY *evp;
    struct bm_key *key;
    struct bm_buf cert; /* self-signed under its own name, or by another party */
    char name[80];
};

/* Every key made so far, so that prove() finds the one that a certificate is over. */
static UNUSED struct {
    EVP_PKEY *of[1024];
    size_t n;
} all_keys;

static UNUSED void party_keys(struct party *p, const char *alg)
{
    *p = (struct party){ 0 };
    if (strncmp(alg, "P-", 2) == 0)
        p->evp = EVP_EC_gen(alg);
    else if (strncmp(alg, "RSA", 3) == 0)
        p->evp = EVP_RSA_gen(2048);
    else
        p->evp = EVP_PKEY_Q_keygen(NULL, NULL, alg);
    assert_non_null(p->evp);
    assert_int_equal(EVP_PKEY_up_ref(p->evp), 1);
    assert_ok(bm_key_of_evp(p->evp, &p->key, &err));
    assert_int_equal(EVP_PKEY_up_ref(p->evp), 1);
    all_keys.of[all_keys.n++ % BM_COUNT(all_keys.of)] = p->evp;
}

static UNUSED void add_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    assert_non_null(ext);
    assert_int_equal(X509_add_ext(x, ext, -1), 1);
    X509_EXTENSION_free(ext);
}

/* `by` NULL: self-signed. valid_s from now on; negative: over since that long. */
static UNUSED void party_certify(struct party *p, const char *name, const struct party *by, bool ca, long valid_s)
{
    X509 *x = X509_new();
    const struct party *issuer = by != NULL ? by : p;
    uint8_t *der = NULL;
    int n;

    snprintf(p->name, sizeof p->name, "%s", name);
    assert_true(x != NULL && X509_set_version(x, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(x), 4711) == 1);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const uint8_t *)p->name, -1, -1, 0);
    X509_NAME_add_entry_by_txt(X509_get_issuer_name(x), "CN", MBSTRING_UTF8, (const uint8_t *)issuer->name, -1, -1, 0);
    X509_gmtime_adj(X509_getm_notBefore(x), valid_s < 0 ? 4 * valid_s - 86400 : -86400);
    X509_gmtime_adj(X509_getm_notAfter(x), valid_s);
    assert_int_equal(X509_set_pubkey(x, p->evp), 1);
    add_extension(x, NID_basic_constraints, ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (ca)
        add_extension(x, NID_key_usage, "critical,keyCertSign,cRLSign");
    assert_true(X509_sign(x, issuer->evp, EVP_PKEY_get_id(issuer->evp) == EVP_PKEY_ED25519 ? NULL : EVP_sha256()) > 0);
    n = i2d_X509(x, &der);
    assert_true(n > 0);
    p->cert.n = 0;
    p->cert.max = BM_CERT_MAX;
    bm_buf_put(&p->cert, der, (size_t)n);
    OPENSSL_free(der);
    X509_free(x);
}

static UNUSED void party_done(struct party *p)
{
    bm_key_free(p->key);
    EVP_PKEY_free(p->evp);
    bm_buf_done(&p->cert);
    *p = (struct party){ 0 };
}

struct dev {
    struct party id; /* IDevID key; cert: self-signed, CN = UDID */
    struct party op; /* key that LDevIDs are asked for */
    uint8_t udid[BM_UDID_LEN];
    char hex[2 * BM_UDID_LEN + 1];
    struct bm_buf csr; /* of the op key */
};

static UNUSED void dev_make_of(struct dev *d, const char *alg)
{
    *d = (struct dev){ .csr.max = BM_CSR_MAX };
    party_keys(&d->id, alg);
    party_keys(&d->op, "P-256");
    bm_udid_of(bm_key_spki(d->id.key), d->udid);
    bm_hex(d->udid, sizeof d->udid, d->hex);
    party_certify(&d->id, d->hex, NULL, false, 86400);
    assert_ok(bm_csr_make(d->op.key, "CN=device", &d->csr, &err));
}

static UNUSED void dev_make(struct dev *d)
{
    dev_make_of(d, "P-256");
}

static UNUSED void dev_done(struct dev *d)
{
    party_done(&d->id);
    party_done(&d->op);
    bm_buf_done(&d->csr);
}

/* --- the world -------------------------------------------------------------------------------------------------------------------- */
struct world {
    char dir[64];
    struct bm_keeper_options options;
    struct bm_keeper *k;
    struct party signer; /* of manifests, pinned for the organisation "chips" */
    unsigned manifests, correlations;
    char journal[80];
    bool rewritten; /* the test wrote to the database behind the keeper's back: its journal does not tell of that */
};

static UNUSED void remove_folder(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *f;
    char path[400];

    while (d != NULL && (f = readdir(d)) != NULL) {
        if (strcmp(f->d_name, ".") == 0 || strcmp(f->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%.60s/%s", dir, f->d_name);
        if (unlink(path) != 0)
            remove_folder(path);
    }
    if (d != NULL)
        closedir(d);
    (void)rmdir(dir);
}

static UNUSED void world_reopen(struct world *w)
{
    bm_keeper_close(BM_MOVE(w->k));
    assert_ok(bm_keeper_open(&w->options, &w->k, &err));
}

/* One administrator's act; the request as a format for json_pack-like text is plain JSON here. The reply is the caller's. */
static UNUSED enum bm_rc admin_do(struct world *w, const char *request, struct bm_rd blob, json_t **ret)
{
    json_error_t je;
    json_t *in = json_loads(request, 0, &je), *reply = NULL;
    enum bm_rc rc;

    if (in == NULL)
        fail_msg("%s: %s", request, je.text);
    err = (struct bm_error){ 0 };
    rc = bm_keeper_admin(w->k, in, blob, "test", &reply, &err);
    json_decref(in);
    if ((rc == BM_OK) != (reply != NULL))
        fail_msg("%s: %s and %s reply", request, bm_rc_name(rc), reply != NULL ? "a" : "no");
    if (ret != NULL)
        *ret = reply;
    else
        json_decref(reply);
    return rc;
}

static UNUSED json_t *admin_blob(struct world *w, struct bm_rd blob, const char *request)
{
    json_t *reply = NULL;

    assert_rc_(admin_do(w, request, blob, &reply), BM_OK, request);
    return reply;
}

#define NO_BLOB ((struct bm_rd){ 0 })

/* printf-like; must succeed; answers a reply to be released. */
__attribute__((format(printf, 2, 3))) static UNUSED json_t *admin(struct world *w, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    assert_true(n > 0 && (size_t)n < sizeof text);
    return admin_blob(w, NO_BLOB, text);
}

#define admin_ok(...) json_decref(admin(__VA_ARGS__))

static UNUSED void pin(struct world *w, const char *org, const char *purpose, struct bm_rd cert)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 65536 };
    char text[200];

    bm_pem_write(&pem, "CERTIFICATE", cert);
    snprintf(text, sizeof text, "{\"op\":\"org.trust\",\"org\":\"%s\",\"purpose\":\"%s\"}", org, purpose);
    json_decref(admin_blob(w, bm_buf_rd(&pem), text));
}

static UNUSED void world_backup(struct world *w)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *s = NULL;
    char dsn[100], path[100];

    snprintf(dsn, sizeof dsn, "sqlite:%s/registry.db", w->dir);
    snprintf(path, sizeof path, "%s/then.db", w->dir);
    assert_ok(bm_store_open(dsn, (struct bm_store_options){ .read_only = true }, &s, &err));
    assert_ok(bm_store_backup(s, path, &err));
}

/* org chips (its signer pinned), org acme, product meter, batch lot of 100 */
static UNUSED void world_open(struct world *w)
{
    struct bm_init_options init = { .data_dir = w->dir, .ca_alg = "EC:P-256", .organisation = "Test", .tls_hosts = "localhost" };

    *w = (struct world){ 0 };
    snprintf(w->dir, sizeof w->dir, "%s/bm-keeper-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w->dir));
    w->options = (struct bm_keeper_options){ .data_dir = w->dir, .tls_hosts = "localhost" };
    assert_ok(bm_keeper_init(&init, &err));
    snprintf(w->journal, sizeof w->journal, "%s/journal", w->dir);
    assert_ok(bm_dir_make(w->journal, 0700, &err));
    w->options.journal = w->journal;
    assert_ok(bm_keeper_open(&w->options, &w->k, &err));
    world_backup(w);
    party_keys(&w->signer, "P-256");
    party_certify(&w->signer, "Chips signer", NULL, false, 86400 * 365L);
    admin_ok(w, "{\"op\":\"org.create\",\"name\":\"chips\",\"role\":\"chip-maker\"}");
    admin_ok(w, "{\"op\":\"org.create\",\"name\":\"acme\",\"role\":\"oem\",\"title\":\"Acme Meters\"}");
    admin_ok(w, "{\"op\":\"product.create\",\"name\":\"meter\",\"org\":\"acme\"}");
    admin_ok(w, "{\"op\":\"batch.create\",\"name\":\"lot\",\"product\":\"meter\",\"quota\":100}");
    pin(w, "chips", "manifest", bm_buf_rd(&w->signer.cert));
}

/* Whatever a test did: the registry of its beginning and the journal give the registry of its end, row by row. */
static UNUSED void world_check_journal(struct world *w)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *was = NULL, *is = NULL;
    struct bm_content a, b;
    struct bm_replayed done;
    char dsn[100];

    snprintf(dsn, sizeof dsn, "sqlite:%s/then.db", w->dir);
    assert_ok(bm_store_open(dsn, (struct bm_store_options){ .as_is = true }, &was, &err));
    assert_ok(bm_journal_replay(was, w->journal, UINT64_MAX, NULL, NULL, &done, &err));
    snprintf(dsn, sizeof dsn, "sqlite:%s/registry.db", w->dir);
    assert_ok(bm_store_open(dsn, (struct bm_store_options){ .read_only = true }, &is, &err));
    assert_ok(bm_store_content(was, &a, &err));
    assert_ok(bm_store_content(is, &b, &err));
    assert_int_equal(a.rows, b.rows);
    assert_memory_equal(a.sha256, b.sha256, sizeof a.sha256);
}

static UNUSED void world_close(struct world *w)
{
    bm_keeper_close(BM_MOVE(w->k));
    if (!w->rewritten)
        world_check_journal(w);
    party_done(&w->signer);
    remove_folder(w->dir);
}

/* --- manifests -------------------------------------------------------------------------------------------------------------------- */
static UNUSED enum bm_rc sink(void *arg, struct bm_rd block, struct bm_error *e)
{
    bm_buf_put(arg, block.p, block.n);
    return bm_buf_check(arg, e);
}

struct sheet { /* what goes into a manifest */
    const char *id, *issuer, *product, *batch, *rot;
    const struct party *signer;
    size_t block_entries;
};

static UNUSED void manifest_write(const struct sheet *s, const struct dev *const *devs, size_t n, struct bm_buf *out)
{
    struct bm_manifest_header h = { .created = bm_clock_s() - 60 };
    struct bm_manifest_writer_options o = { &h, s->signer->key, bm_buf_rd(&s->signer->cert), s->block_entries, sink, out };
    BM_CLEANUP(bm_manifest_writer_freep) struct bm_manifest_writer *wr = NULL;

    snprintf(h.id, sizeof h.id, "%s", s->id);
    snprintf(h.issuer, sizeof h.issuer, "%s", s->issuer);
    snprintf(h.product, sizeof h.product, "%s", s->product != NULL ? s->product : "");
    snprintf(h.batch, sizeof h.batch, "%s", s->batch != NULL ? s->batch : "");
    assert_ok(bm_manifest_writer_new(&o, &wr, &err));
    for (size_t i = 0; i < n; i++) {
        struct bm_manifest_entry m = { .spki = bm_key_spki(devs[i]->id.key), .attributes = bm_rd_str("{\"colour\":\"red\"}") };

        snprintf(m.rot, sizeof m.rot, "%s", s->rot != NULL ? s->rot : "atecc608");
        assert_ok(bm_manifest_writer_add(wr, &m, &err));
    }
    assert_ok(bm_manifest_writer_end(wr, &err));
}

static UNUSED struct bm_rd first_line(struct bm_rd text)
{
    const uint8_t *lf = memchr(text.p, '\n', text.n);

    assert_non_null(lf);
    return bm_rd_of(text.p, (size_t)(lf - text.p));
}

/* Cut as the command cuts it: `at` -th block, in a buffer of the caller. False: there are no more. */
static UNUSED bool manifest_block(struct bm_rd text, const char *format, size_t at, struct bm_buf *ret)
{
    struct bm_manifest_split s;
    struct bm_manifest_block b;
    bool found = false;

    bm_manifest_split_init(&s, bm_manifest_format_find(format));
    for (;;) {
        enum bm_rc rc = bm_manifest_split_next(&s, &b, &err);

        if (rc == BM_AGAIN) {
            size_t n = text.n < BM_MANIFEST_CHUNK ? text.n : BM_MANIFEST_CHUNK;

            if (n == 0)
                bm_manifest_split_end(&s);
            else
                assert_ok(bm_manifest_split_put(&s, bm_rd_of(text.p, n), &err));
            text = bm_rd_of(text.p + n, text.n - n);
            continue;
        }
        if (rc != BM_OK)
            break;
        if (b.seq == at) {
            bm_buf_put(ret, b.raw.p, b.raw.n);
            found = true;
            break;
        }
    }
    bm_manifest_split_done(&s);
    return found;
}

static UNUSED json_int_t member_int(const json_t *j, const char *member)
{
    const json_t *v = json_object_get(j, member);

    if (!json_is_integer(v))
        fail_msg("no number '%s'", member);
    return json_integer_value(v);
}

static UNUSED const char *member_text(const json_t *j, const char *member)
{
    const char *s = json_string_value(json_object_get(j, member));

    if (s == NULL)
        fail_msg("no text '%s'", member);
    return s;
}

/* Registers devices, into `batch` unless NULL. */
static UNUSED void register_devices(struct world *w, const char *batch, const char *rot, const struct dev *const *devs, size_t n)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 1 << 22 }, block = { .max = 1 << 22 };
    char id[40], request[200];
    struct sheet s = { .id = id, .issuer = "chips", .rot = rot, .signer = &w->signer };
    json_t *reply;
    json_int_t import;

    snprintf(id, sizeof id, "manifest-%u", ++w->manifests);
    manifest_write(&s, devs, n, &text);
    if (batch != NULL)
        snprintf(request, sizeof request, "{\"op\":\"manifest.begin\",\"format\":\"birthmark\",\"batch\":\"%s\"}", batch);
    else
        snprintf(request, sizeof request, "{\"op\":\"manifest.begin\",\"format\":\"birthmark\"}");
    reply = admin_blob(w, first_line(bm_buf_rd(&text)), request);
    import = member_int(reply, "manifest");
    json_decref(reply);
    for (size_t i = 0; manifest_block(bm_buf_rd(&text), "birthmark", i, &block); i++, block.n = 0) {
        snprintf(request, sizeof request, "{\"op\":\"manifest.block\",\"manifest\":%lld}", (long long)import);
        reply = admin_blob(w, bm_buf_rd(&block), request);
        json_decref(reply);
    }
}

static UNUSED void register_device(struct world *w, const char *batch, const struct dev *d)
{
    register_devices(w, batch, NULL, &d, 1);
}

/* --- devices with a secret key ------------------------------------------------------------------------------------------------------ */
struct chip {
    uint8_t secret[32], ident[4], udid[BM_UDID_LEN];
};

/* Registers it the way 'birthmark key add' does: HMAC-SHA-256, key sealed to the import key. */
static UNUSED void chip_add(struct world *w, struct chip *c, const char *batch)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf jwe = { .max = BM_JWE_MAX }, id = { .max = 64 };
    BM_CLEANUP(bm_key_freep) struct bm_key *k = NULL;
    char hex[2 * BM_UDID_LEN + 1];

    assert_true(RAND_bytes(c->secret, sizeof c->secret) == 1 && RAND_bytes(c->ident, sizeof c->ident) == 1);
    bm_udid_symmetric(bm_rd_str("chips"), bm_rd_str("symmetric-chip"), bm_rd_of(c->ident, sizeof c->ident), c->udid);
    bm_hex(c->udid, BM_UDID_LEN, hex);
    admin_ok(w, "{\"op\":\"key.import\"}");
    assert_ok(bm_key_open(&w->k->ring, "file:import", &k, &err));
    assert_ok(bm_jwe_make(bm_key_spki(k), bm_rd_str(hex), bm_rd_of(c->secret, sizeof c->secret), &jwe, &err));
    bm_base64url(&id, bm_rd_of(c->ident, sizeof c->ident));
    admin_ok(w,
             "{\"op\":\"key.add\",\"org\":\"chips\",\"rot\":\"symmetric-chip\",\"id\":\"%.*s\",\"mac\":\"hmac-sha256\",\"sealed\":"
             "\"%.*s\","
             "\"batch\":\"%s\"}",
             (int)id.n, (const char *)id.p, (int)jwe.n, (const char *)jwe.p, batch);
}

/* --- commands --------------------------------------------------------------------------------------------------------------------- */
/* As src/keeper/loop_batch.c does it for a batch of one. */
static UNUSED enum bm_rc command(struct world *w, uint8_t type, struct bm_rd payload, struct bm_buf *out)
{
    struct bm_command_in c = { .type = type, .payload = payload };
    enum bm_rc rc;

    err = (struct bm_error){ 0 };
    out->n = 0;
    if (!bm_command_needs_transaction(w->k, &c))
        return bm_command_run(w->k, &c, out, &err);
    assert_ok(bm_store_begin(w->k->store, &err));
    rc = bm_command_run(w->k, &c, out, &err);
    if (rc != BM_IO && bm_store_commit(w->k->store, rc == BM_OK ? &err : NULL) != BM_OK)
        rc = BM_IO;
    if (rc != BM_IO) {
        bm_audit_committed(&w->k->audit);
        return rc;
    }
    bm_store_rollback(w->k->store);
    bm_audit_rolled_back(&w->k->audit);
    bm_cache_drop(w->k);
    bm_imports_drop(w->k, false);
    return rc;
}

static UNUSED void next_correlation(struct world *w, struct bm_enrol *c)
{
    snprintf(c->correlation, sizeof c->correlation, "%016x", ++w->correlations + 0xabc000);
}

/* --- TLS handshakes ---------------------------------------------------------------------------------------------------------------- */
static UNUSED EVP_PKEY *key_under(X509 *x)
{
    for (size_t i = 0; i < all_keys.n && i < BM_COUNT(all_keys.of); i++)
        if (X509_check_private_key(x, all_keys.of[i]) == 1)
            return all_keys.of[i];
    return NULL;
}

/* A real one, of OpenSSL's client with the worker's end of TLS, over a pair of sockets. */
static UNUSED void shake(SSL_CTX *server, SSL_CTX *client, struct bm_tls_peer *ret)
{
    struct bm_tls_io io = { .out.max = 1 << 20 };
    int fds[2], done = 0, there = 0;
    SSL *ours, *theirs = SSL_new(client);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    io.fd = fds[0];
    ours = bm_tls_new(server, &io, ret);
    assert_true(ours != NULL && theirs != NULL && SSL_set_fd(theirs, fds[1]) == 1);
    for (int turn = 0; turn < 10 && (done != 1 || there != 1); turn++) {
        there = SSL_connect(theirs);
        done = SSL_accept(ours);
        assert_int_equal(send(fds[0], io.out.p, io.out.n, MSG_NOSIGNAL), io.out.n);
        io.out.n = 0;
    }
    assert_true(done == 1 && there == 1);
    SSL_free(ours);
    SSL_free(theirs);
    bm_buf_done(&io.out);
    close(fds[0]);
    close(fds[1]);
}

/* The handshake of a client with this certificate, its key being one of all_keys; false when OpenSSL does not know the certificate. */
static UNUSED bool shake_with(const struct bm_view *v, struct bm_rd cert, int version, struct bm_tls_peer *ret)
{
    const uint8_t *p = cert.p;
    X509 *x = d2i_X509(NULL, &p, (long)cert.n);
    EVP_PKEY *key = x != NULL && p == cert.p + cert.n ? key_under(x) : NULL;
    SSL_CTX *server = NULL, *client = SSL_CTX_new(TLS_client_method());

    if (key != NULL) {
        assert_ok(bm_tls_context(v, &server, &err));
        assert_true(SSL_CTX_use_certificate(client, x) == 1 && SSL_CTX_use_PrivateKey(client, key) == 1 &&
                    SSL_CTX_set_min_proto_version(client, version) == 1 && SSL_CTX_set_max_proto_version(client, version) == 1);
        ret->transcript.max = BM_HANDSHAKE_MAX;
        ret->verify.max = BM_HANDSHAKE_VERIFY_MAX;
        shake(server, client, ret);
        assert_true(ret->transcript.n != 0 && ret->verify.n != 0);
    }
    SSL_CTX_free(server);
    SSL_CTX_free(client);
    X509_free(x);
    return key != NULL;
}

static UNUSED bool wants_proof(const struct bm_evidence *v)
{
    return (v->kind == BM_EVIDENCE_TLS || v->kind == BM_EVIDENCE_CODE) && v->cert.n != 0 && v->challenge.n == 0 &&
           v->handshake.n == 0;
}

/* Gives TLS evidence its proof: what a worker would have seen of a handshake with evidence.cert. Nothing for other evidence, or when there is
 * a proof already. The bytes live until the next 64 proofs. */
static UNUSED void prove_by(const struct bm_view *v, struct bm_enrol *c)
{
    static struct bm_tls_peer peers[64];
    static size_t n;
    struct bm_tls_peer *peer = &peers[n++ % BM_COUNT(peers)];

    if (!wants_proof(&c->evidence))
        return;
    bm_tls_peer_done(peer);
    *peer = (struct bm_tls_peer){ 0 };
    if (!shake_with(v, c->evidence.cert, n % 4 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION, peer))
        return;
    c->evidence.handshake = bm_buf_rd(&peer->transcript);
    c->evidence.verify = bm_buf_rd(&peer->verify);
}

static UNUSED void prove_at(struct world *w, struct bm_enrol *c, int64_t now)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf bytes = { .max = 1 << 20 };
    static struct bm_view view; /* large */

    if (!wants_proof(&c->evidence))
        return;
    assert_ok(bm_run_view(w->k, now, &bytes, &err));
    assert_ok(bm_view_parse(bm_buf_rd(&bytes), &view, &err));
    prove_by(&view, c);
}

static UNUSED void prove(struct world *w, struct bm_enrol *c)
{
    prove_at(w, c, bm_clock_s());
}

/* What `birthmark status` counts, refusals left out: the same text before and after means nothing was stored. */
static UNUSED char *counts_of(struct world *w)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 65536 };
    json_t *j;
    char *flat;

    assert_ok(bm_store_counts(w->k->store, &text, &err));
    j = json_loadb((const char *)text.p, text.n, 0, NULL);
    assert_non_null(j);
    json_object_del(j, "refusal");
    json_object_set_new(j, "log", json_integer(w->k->audit.on_disk.size));
    flat = json_dumps(j, JSON_SORT_KEYS);
    json_decref(j);
    return flat;
}

static UNUSED void history_holds(struct world *w)
{
    struct bm_audit_report r;

    assert_ok(bm_audit_verify(w->k->store, bm_key_spki(w->k->log_key), &r, &err));
    assert_int_equal(r.leaves, w->k->audit.on_disk.size);
}

static UNUSED enum bm_rc keep_leaf(void *arg, int64_t index, int64_t at_ms, struct bm_rd data, struct bm_error *e)
{
    json_t **leaf = arg;

    (void)index, (void)at_ms, (void)e;
    json_decref(*leaf);
    *leaf = json_loadb((const char *)data.p, data.n, 0, NULL);
    return *leaf != NULL ? BM_OK : BM_BUG;
}

/* The newest-but-`back` leaf, which must be one JSON object. */
static UNUSED json_t *leaf_of(struct world *w, int64_t back)
{
    json_t *leaf = NULL;
    int64_t at = w->k->audit.on_disk.size - 1 - back;

    assert_ok(bm_audit_leaf_each(w->k->store, at, at + 1, keep_leaf, &leaf, &err));
    assert_non_null(leaf);
    return leaf;
}

#endif
