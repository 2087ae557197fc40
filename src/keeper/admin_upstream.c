/* Taking in CAs whose key is somebody else's: their certificates, the way to them, and what opens the door. */
#include "keeper/symmetric.h"
#include "keeper/upstream.h"

#include "base/text.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>

enum { PEM_MAX = 24 * 1024, LOGIN_MAX = 512, HOOK_TRUST_MAX = 8 * 1024 };

void bm_upstream_secret_done(struct bm_upstream_secret *s)
{
    bm_buf_done(&s->client_key);
    bm_buf_done(&s->login);
    bm_buf_done(&s->hook_login);
    bm_buf_done(&s->hook_trust);
}

/* --- the secret ------------------------------------------------------------------------------------------------------------------ */
static void aad_of(const struct bm_upstream *u, struct bm_buf *ret)
{
    bm_buf_str(ret, "upstream");
    bm_buf_uint(ret, 8, (uint64_t)u->ca_id);
}

static enum bm_rc seal(struct bm_keeper *k, struct bm_rd plain, int64_t now, struct bm_upstream *u, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf aad = { .max = 32 }, sealed = { .max = PEM_MAX };
    const struct bm_kek *kek;
    enum bm_rc rc = bm_kek_current(k, now, &u->kek_id, &kek, e);

    aad_of(u, &aad);
    if (rc == BM_OK)
        rc = bm_kek_seal(kek, bm_buf_rd(&aad), plain, &sealed, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_done(&u->secret);
    u->secret = sealed;
    sealed = (struct bm_buf){ 0 };
    return BM_OK;
}

static enum bm_rc unseal(struct bm_keeper *k, const struct bm_upstream *u, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf aad = { .max = 32 };
    const struct bm_kek *kek;
    enum bm_rc rc = bm_kek_get(k, u->kek_id, &kek, e);

    aad_of(u, &aad);
    return rc == BM_OK ? bm_kek_unseal(kek, bm_buf_rd(&aad), bm_buf_rd(&u->secret), ret, e) : rc;
}

enum bm_rc bm_upstream_open(struct bm_keeper *k, const struct bm_upstream *u, struct bm_upstream_secret *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf plain = { .max = PEM_MAX };
    struct bm_rd r, key, login, hook_login = { 0 }, hook_trust = { 0 };
    enum bm_rc rc = u->secret.n != 0 ? unseal(k, u, &plain, e) : BM_OK;

    if (rc != BM_OK || u->secret.n == 0)
        return rc;
    r = bm_buf_rd(&plain);
    if (!bm_rd_vec(&r, PEM_MAX, &key) || !bm_rd_vec(&r, LOGIN_MAX, &login))
        return bm_fail(e, BM_BUG, "the upstream CA's secret is damaged");
    if (r.n != 0 && (!bm_rd_vec(&r, LOGIN_MAX, &hook_login) || !bm_rd_vec(&r, HOOK_TRUST_MAX, &hook_trust) || r.n != 0))
        return bm_fail(e, BM_BUG, "the upstream CA's secret is damaged");
    ret->client_key.max = ret->login.max = ret->hook_login.max = ret->hook_trust.max = PEM_MAX;
    bm_buf_put(&ret->client_key, key.p, key.n);
    bm_buf_put(&ret->login, login.p, login.n);
    bm_buf_put(&ret->hook_login, hook_login.p, hook_login.n);
    bm_buf_put(&ret->hook_trust, hook_trust.p, hook_trust.n);
    return BM_OK;
}

enum bm_rc bm_upstream_reseal(struct bm_keeper *k, int64_t from_kek, int64_t now, int64_t *ret_moved, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    while (rc == BM_OK) {
        BM_CLEANUP(bm_upstream_done) struct bm_upstream u = { 0 };
        BM_CLEANUP(bm_buf_done) struct bm_buf plain = { .max = PEM_MAX };

        rc = bm_upstream_of_kek(k->store, from_kek, &u, e);
        if (rc == BM_NOTFOUND)
            return BM_OK;
        if (rc == BM_OK)
            rc = unseal(k, &u, &plain, e);
        if (rc == BM_OK)
            rc = seal(k, bm_buf_rd(&plain), now, &u, e);
        if (rc == BM_OK)
            rc = bm_upstream_put(k->store, &u, e);
        *ret_moved += rc == BM_OK;
    }
    return bm_wrap(e, BM_IO, "sealed keys of upstream CAs");
}

/* --- the client's certificate and key -------------------------------------------------------------------------------------------- */
/* The certificates of a PEM file, and nothing else that may be in it. */
static enum bm_rc take_certs(const char *pem, const char *what, struct bm_buf *ret, struct bm_error *e)
{
    enum bm_rc rc;

    ret->max = PEM_MAX;
    rc = bm_pem_parse(bm_rd_str(pem), "CERTIFICATE", bm_admin_add_pem, ret, e);
    if (rc == BM_OK && ret->n == 0)
        rc = bm_fail(e, BM_USAGE, "no certificate in it");
    if (rc == BM_OK)
        rc = bm_buf_check(ret, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_USAGE, "%s", what);
}

static void bio_freep(BIO **b)
{
    BIO_free(*b);
}

static void x509_freep(X509 **x)
{
    X509_free(*x);
}

static enum bm_rc put_key(EVP_PKEY *key, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bio_freep) BIO *out = BIO_new(BIO_s_secmem());
    char *text = NULL;
    long n;

    if (out == NULL || PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) != 1)
        return bm_fail(e, BM_NOMEM, "no memory for a key");
    n = BIO_get_mem_data(out, &text);
    bm_buf_put(ret, text, n > 0 ? (size_t)n : 0);
    return bm_buf_check(ret, e);
}

/* One file with the certificate first, what goes with it, and the private key, not encrypted; or the key alone, where that is all that is needed. */
static enum bm_rc take_client(const char *pem, bool key_alone, struct bm_buf *ret_cert, struct bm_buf *ret_key, struct bm_error *e)
{
    BM_CLEANUP(bio_freep) BIO *in = BIO_new_mem_buf(pem, -1), *again = BIO_new_mem_buf(pem, -1);
    BM_CLEANUP(x509_freep) X509 *x = in != NULL && !key_alone ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;
    BM_EVP_FREE EVP_PKEY *key = again != NULL ? PEM_read_bio_PrivateKey(again, NULL, NULL, (void *)(uintptr_t) "") : NULL;
    enum bm_rc rc = key_alone ? BM_OK : take_certs(pem, "--client", ret_cert, e);

    ERR_clear_error();
    if (rc != BM_OK)
        return rc;
    if (key_alone && key == NULL)
        return bm_fail(e, BM_USAGE, "--client: wants a private key, not encrypted, in PEM");
    if (!key_alone && (key == NULL || x == NULL || X509_check_private_key(x, key) != 1))
        return bm_fail(e, BM_USAGE, "--client: wants a certificate and its private key, not encrypted, in one PEM file");
    return put_key(key, ret_key, e);
}

/* --client, or what the driver makes in its place. */
static enum bm_rc find_client(const char *client, struct bm_upstream *u, struct bm_buf *ret_key, struct bm_error *e)
{
    const struct bm_upstream_driver *d = bm_upstream_driver_find(u->driver);

    if (client != NULL)
        return take_client(client, d->key_alone, &u->client_cert, ret_key, e);
    return d->make_client != NULL ? d->make_client(&u->client_cert, ret_key, e) : BM_OK;
}

/* One line of a file; none, where there is no such argument. */
static enum bm_rc take_login(const json_t *in, const char *name, struct bm_rd *ret, struct bm_error *e)
{
    const char *login = bm_arg_text(in, name);
    size_t n = login != NULL ? strcspn(login, "\r\n") : 0;

    if (login != NULL && (n == 0 || n > LOGIN_MAX || memchr(login, ':', n) == NULL || login[n + strspn(login + n, "\r\n")] != '\0'))
        return bm_fail(e, BM_USAGE, "--%s: a file with one line, USER:PASSWORD", name[0] == 'h' ? "hook-login" : name);
    *ret = bm_rd_of(login, n);
    return BM_OK;
}

/* Does this driver have such an option? */
static bool may_have(const struct bm_upstream_driver *d, const char *name, size_t n)
{
    for (const char *const *o = d->options; o != NULL && *o != NULL; o++)
        if (strlen(*o) == n && memcmp(*o, name, n) == 0)
            return true;
    return false;
}

/* Login and trust of a hook, behind the secret; nothing, where a driver asks none. */
static enum bm_rc take_hook(const json_t *in, const struct bm_upstream *u, struct bm_buf *plain, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf certs = { 0 };
    const struct bm_upstream_driver *d = bm_upstream_driver_find(u->driver);
    const char *trust = bm_arg_text(in, "hook_trust");
    struct bm_rd login = { 0 };
    enum bm_rc rc = take_login(in, "hook_login", &login, e);

    if (rc == BM_OK && trust != NULL)
        rc = take_certs(trust, "--hook-trust", &certs, e);
    if (rc != BM_OK || (login.n == 0 && certs.n == 0))
        return rc;
    if (!may_have(d, "hook", strlen("hook")))
        return bm_fail(e, BM_USAGE, "--hook-login, --hook-trust: driver %s asks no hook", d->name);
    if (certs.n > HOOK_TRUST_MAX)
        return bm_fail(e, BM_USAGE, "--hook-trust: more than %d bytes", HOOK_TRUST_MAX);
    bm_buf_vec(plain, login);
    bm_buf_vec(plain, bm_buf_rd(&certs));
    return BM_OK;
}

static enum bm_rc take_secret(struct bm_keeper *k, const json_t *in, int64_t now, struct bm_upstream *u, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf key = { .max = PEM_MAX / 2 }, plain = { .max = PEM_MAX };
    struct bm_rd login = { 0 };
    enum bm_rc rc = find_client(bm_arg_text(in, "client"), u, &key, e);

    if (rc == BM_OK)
        rc = take_login(in, "login", &login, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_vec(&plain, bm_buf_rd(&key));
    bm_buf_vec(&plain, login);
    rc = take_hook(in, u, &plain, e);
    if (rc != BM_OK || (key.n == 0 && login.n == 0))
        return rc;
    return seal(k, bm_buf_rd(&plain), now, u, e);
}

/* --- certificates of the CA ------------------------------------------------------------------------------------------------------ */
struct chain {
    size_t n;
    struct bm_buf der[BM_CHAIN_MAX]; /* the issuing CA first */
};

static void chain_done(struct chain *c)
{
    for (size_t i = 0; i < BM_CHAIN_MAX; i++)
        bm_buf_done(&c->der[i]);
}

static enum bm_rc add_link(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct chain *c = arg;

    if (c->n == BM_CHAIN_MAX)
        return bm_fail(e, BM_LIMIT, "more than %d certificates", BM_CHAIN_MAX);
    c->der[c->n].max = BM_CERT_MAX;
    bm_buf_put(&c->der[c->n], der.p, der.n);
    return bm_buf_check(&c->der[c->n++], e);
}

/* Each by the next, and the last by itself. */
static enum bm_rc check_chain(const struct chain *c, int64_t now, struct bm_error *e)
{
    for (size_t i = 0; i < c->n; i++) {
        struct bm_cert one, above;
        enum bm_rc rc = bm_cert_parse(bm_buf_rd(&c->der[i]), &one, e);

        if (rc == BM_OK)
            rc = bm_cert_parse(bm_buf_rd(&c->der[i + 1 < c->n ? i + 1 : i]), &above, e);
        if (rc == BM_OK)
            rc = bm_cert_check_link(&one, &above, now, e);
        if (rc == BM_OK && !one.ca)
            rc = bm_fail(e, BM_USAGE, "it is not a CA's");
        if (rc != BM_OK)
            return bm_wrap(e, BM_USAGE, "--chain: certificate %zu (the issuing CA's comes first, its root last)", i + 1);
    }
    return c->n != 0 ? BM_OK : bm_fail(e, BM_USAGE, "--chain: no certificate in it");
}

struct same {
    struct bm_rd cert;
    int64_t id;
};

static enum bm_rc see_ca(void *arg, const struct bm_ca *ca, struct bm_error *e)
{
    struct same *s = arg;

    (void)e;
    if (bm_rd_eq(bm_buf_rd(&ca->cert), s->cert))
        s->id = ca->id;
    return BM_OK;
}

static enum bm_rc put_ca(struct bm_keeper *k, const char *name, const struct bm_buf *cert, int64_t parent_id, int64_t now,
                         int64_t *ret_id, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done)
    struct bm_ca ca = { .parent_id = parent_id, .created_at = now, .state = "active", .cert = { .max = BM_CERT_MAX } };
    enum bm_rc rc;

    snprintf(ca.name, sizeof ca.name, "%s", name);
    snprintf(ca.key_uri, sizeof ca.key_uri, BM_UPSTREAM_KEY "%s", name);
    bm_buf_put(&ca.cert, cert->p, cert->n);
    rc = bm_ca_put(k->store, &ca, e);
    *ret_id = ca.id;
    return rc;
}

/* Those above it that are here already, for another upstream CA, stay as they are. */
static enum bm_rc put_chain(struct bm_keeper *k, const char *name, const struct chain *c, int64_t now, int64_t *ret_id,
                            struct bm_error *e)
{
    int64_t parent = 0;
    enum bm_rc rc = BM_OK;

    for (size_t i = c->n - 1; rc == BM_OK && i > 0; i--) {
        struct same s = { .cert = bm_buf_rd(&c->der[i]) };
        char above[BM_NAME_LEN];

        snprintf(above, sizeof above, "%.60s-%u", name, (unsigned)(i & 0xff));
        rc = bm_ca_each(k->store, see_ca, &s, e);
        if (rc == BM_OK && s.id == 0)
            rc = put_ca(k, above, &c->der[i], parent, now, &s.id, e);
        parent = s.id;
    }
    return rc == BM_OK ? put_ca(k, name, &c->der[0], parent, now, ret_id, e) : rc;
}

/* --- the act --------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc take_url(const struct bm_upstream_driver *d, const char *url, struct bm_upstream *u, struct bm_error *e)
{
    size_t n = strlen(url), scheme = strncmp(url, "https://", 8) == 0                   ? 8
                                     : d->plain_http && strncmp(url, "http://", 7) == 0 ? 7
                                                                                        : 0;

    if (scheme == 0 || n < scheme + 2 || n >= sizeof u->url || strpbrk(url, " \t\r\n#?@\\\"") != NULL)
        return bm_fail(e, BM_USAGE, "--url: %s", d->url_form);
    snprintf(u->url, sizeof u->url, "%.*s", (int)(url[n - 1] == '/' ? n - 1 : n), url);
    return BM_OK;
}

/* Each name=value, of the names this driver takes. */
static enum bm_rc take_options(const struct bm_upstream_driver *d, const char *options, struct bm_upstream *u, struct bm_error *e)
{
    options = options != NULL ? options : "";
    for (const char *at = options; *at != '\0'; at += *at == ',') {
        size_t n = strcspn(at, ","), name = strcspn(at, "=,");

        if (name == n || !may_have(d, at, name))
            return bm_fail(e, BM_USAGE, "--options: driver %s has no '%.*s'; options are name=value,name=value", d->name,
                           (int)(name < 40 ? name : 40), at);
        at += n;
    }
    if (strlen(options) >= sizeof u->options)
        return bm_fail(e, BM_USAGE, "--options: longer than %zu characters", sizeof u->options - 1);
    snprintf(u->options, sizeof u->options, "%s", options);
    return BM_OK;
}

static enum bm_rc take_way(const json_t *in, const struct chain *c, struct bm_upstream *u, struct bm_error *e)
{
    const char *driver = bm_arg_text(in, "driver"), *names = bm_arg_text(in, "names"), *trust = bm_arg_text(in, "trust");
    const struct bm_upstream_driver *d = bm_upstream_driver_find(driver != NULL ? driver : "est");
    enum bm_rc rc =
        d != NULL ? take_url(d, bm_arg_text(in, "url"), u, e) : bm_fail(e, BM_USAGE, "--driver: there is no '%.40s'", driver);

    names = names != NULL ? names : "registry";
    if (rc == BM_OK)
        rc = take_options(d, bm_arg_text(in, "options"), u, e);
    if (rc == BM_OK && strcmp(names, "registry") != 0 && strcmp(names, "upstream") != 0)
        rc = bm_fail(e, BM_USAGE, "--names: registry or upstream");
    if (rc != BM_OK)
        return rc;
    snprintf(u->driver, sizeof u->driver, "%s", d->name);
    snprintf(u->names, sizeof u->names, "%s", names);
    if (trust != NULL)
        return take_certs(trust, "--trust", &u->trust, e);
    if (d->system_trust)
        return BM_OK;
    u->trust.max = PEM_MAX;
    bm_pem_write(&u->trust, "CERTIFICATE", bm_buf_rd(&c->der[c->n - 1]));
    return BM_OK;
}

static enum bm_rc check_driver(struct bm_keeper *k, const struct bm_upstream *u, struct bm_error *e)
{
    BM_CLEANUP(bm_upstream_secret_done) struct bm_upstream_secret s = { 0 };
    const struct bm_upstream_driver *d = bm_upstream_driver_find(u->driver);
    enum bm_rc rc = bm_upstream_open(k, u, &s, e);

    return rc == BM_OK && d->check != NULL ? d->check(u, &s, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_ca_upstream)
{
    BM_CLEANUP(bm_upstream_done) struct bm_upstream u = { 0 };
    BM_CLEANUP(chain_done) struct chain c = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    const char *name;
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_pem_parse(bm_rd_str(bm_arg_text(in, "chain")), "CERTIFICATE", add_link, &c, e);
    if (rc == BM_OK)
        rc = check_chain(&c, now, e);
    if (rc == BM_OK)
        rc = take_way(in, &c, &u, e);
    if (rc == BM_OK)
        rc = put_chain(k, name, &c, now, &u.ca_id, e);
    if (rc == BM_OK)
        rc = take_secret(k, in, now, &u, e);
    if (rc == BM_OK)
        rc = check_driver(k, &u, e);
    if (rc == BM_OK)
        rc = bm_upstream_put(k->store, &u, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "name", json_string(name));
    json_object_set_new(out, "url", json_string(u.url));
    fields = json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", name, "driver", u.driver, "url", u.url, "options", u.options, "names",
                       u.names);
    if (bm_json_pem(fields, "certificate", bm_buf_rd(&c.der[0])) != 0)
        return bm_fail(e, BM_NOMEM, "no memory");
    return bm_record(k, now, "ca.upstream", fields, e);
}
