/* CAs that somebody else signs: a root on an offline host (docs/ceremony.md), or another organisation's. The key is made here, or in a token; what
 * comes back is taken in with the root above it, whose key we have not got. */
#include "keeper/revocation.h"
#include "pki/crl_read.h"

#include <stdio.h>
#include <stdlib.h>

enum { REQUEST_MAX = 1024, META_KEY_LEN = BM_NAME_LEN + 16 };

/* --- request -------------------------------------------------------------------------------------------------------------------------- */
static void meta_key(const char *name, char ret[META_KEY_LEN])
{
    snprintf(ret, META_KEY_LEN, "ca-request:%.64s", name);
}

/* What is asked for and not there yet is no CA: it stands beside them, under its name. */
static enum bm_rc keep_request(struct bm_keeper *k, const char *name, const char *key_uri, struct bm_error *e)
{
    char key[META_KEY_LEN];

    meta_key(name, key);
    return bm_meta_set(k->store, key, bm_rd_str(key_uri), e);
}

static enum bm_rc find_request(struct bm_keeper *k, const char *name, char ret_uri[BM_TEXT_MAX], struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf uri = { .max = BM_TEXT_MAX - 1 };
    char key[META_KEY_LEN];
    enum bm_rc rc;

    meta_key(name, key);
    rc = bm_meta_get(k->store, key, &uri, e);
    if (rc == BM_NOTFOUND || (rc == BM_OK && uri.n == 0))
        return bm_refuse(e, BM_NOTFOUND, "ca-not-requested", "no CA '%s' has been requested: birthmark ca request %s", name, name);
    if (rc != BM_OK)
        return rc;
    snprintf(ret_uri, BM_TEXT_MAX, "%.*s", (int)uri.n, (const char *)uri.p);
    return BM_OK;
}

static enum bm_rc put_csr(struct bm_keeper *k, const char *name, const struct bm_key *key, const char *key_uri, int64_t now,
                          json_t *out, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CSR_MAX }, pem = { .max = 4 * BM_CSR_MAX };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = json_pack("{s:s, s:s}", "name", name, "key", key_uri);
    char subject[BM_NAME_LEN + 4];
    enum bm_rc rc;

    snprintf(subject, sizeof subject, "CN=%s", name);
    rc = bm_csr_make(key, subject, &der, e);
    if (rc != BM_OK)
        return rc;
    bm_pem_write(&pem, "CERTIFICATE REQUEST", bm_buf_rd(&der));
    if (bm_buf_check(&pem, e) != BM_OK || json_object_set_new(out, "name", json_string(name)) != 0 ||
        json_object_set_new(out, "key", json_string(key_uri)) != 0 ||
        json_object_set_new(out, "csr", json_stringn((const char *)pem.p, pem.n)) != 0)
        return bm_fail(e, BM_NOMEM, "no memory");
    return bm_record(k, now, "ca.requested", fields, e);
}

/* Asked again, it is the same key: the first request may have been lost on the way. */
BM_ADMIN_HANDLER(bm_admin_ca_request)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *key = NULL;
    struct bm_ca ca = { 0 };
    struct bm_ca_spec s = { .alg = bm_arg_text(in, "alg"),
                            .key = bm_arg_text(in, "key"),
                            .existing_key = json_is_true(json_object_get(in, "existing_key")) };
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &s.name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_ca_name_check(k, s.name, e);
    if (rc != BM_OK)
        return rc;
    s.alg = s.alg != NULL ? s.alg : "EC:P-256";
    rc = find_request(k, s.name, ca.key_uri, e);
    if (rc == BM_OK)
        rc = bm_key_open(&k->ring, ca.key_uri, &key, e);
    else if (rc == BM_NOTFOUND)
        rc = bm_ca_key(k, &s, &ca, &key, e);
    if (rc == BM_OK)
        rc = keep_request(k, s.name, ca.key_uri, e);
    return rc == BM_OK ? put_csr(k, s.name, key, ca.key_uri, now, out, e) : rc;
}

/* --- import --------------------------------------------------------------------------------------------------------------------------- */
struct brought {
    size_t n;
    struct bm_buf der[BM_CHAIN_MAX];
    struct bm_cert cert[BM_CHAIN_MAX];
};

static void brought_done(struct brought *b)
{
    for (size_t i = 0; i < BM_CHAIN_MAX; i++)
        bm_buf_done(&b->der[i]);
}

static enum bm_rc take_cert(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct brought *b = arg;
    struct bm_buf *to = &b->der[b->n < BM_CHAIN_MAX ? b->n : 0];
    enum bm_rc rc;

    if (b->n == BM_CHAIN_MAX)
        return bm_fail(e, BM_LIMIT, "more than %d certificates", BM_CHAIN_MAX);
    to->max = BM_CERT_MAX;
    bm_buf_put(to, der.p, der.n);
    rc = bm_cert_parse(bm_buf_rd(to), &b->cert[b->n], e);
    b->n += rc == BM_OK;
    return rc;
}

static enum bm_rc bad_chain(struct bm_error *e, const char *why)
{
    return bm_refuse(e, BM_DENIED, "ca-import-chain", "%s; the file has the CA's certificate first, then its root's", why);
}

/* The CA's own, and the root right above it. */
static enum bm_rc check_chain(const struct brought *b, int64_t now, struct bm_error *e)
{
    enum bm_rc rc;

    if (b->n != 2)
        return bad_chain(e, "there are not two certificates");
    if (!b->cert[0].ca || !b->cert[1].ca)
        return bad_chain(e, "one of the two is not a CA's");
    if (!bm_rd_eq(b->cert[1].subject, b->cert[1].issuer))
        return bad_chain(e, "the second is not a root");
    rc = bm_cert_check_link(&b->cert[1], &b->cert[1], now, e);
    if (rc == BM_OK)
        rc = bm_cert_check_link(&b->cert[0], &b->cert[1], now, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, rc, "the chain");
}

struct search {
    struct bm_rd cert;
    int64_t found;
};

static enum bm_rc see_cert(void *arg, const struct bm_ca *ca, struct bm_error *e)
{
    struct search *s = arg;

    (void)e;
    s->found = bm_rd_eq(bm_buf_rd(&ca->cert), s->cert) ? ca->id : s->found;
    return BM_OK;
}

static enum bm_rc put_ca(struct bm_keeper *k, const char *name, const char *key_uri, int64_t parent, struct bm_rd cert, int64_t now,
                         int64_t *ret_id, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { .parent_id = parent, .created_at = now, .state = "active", .cert.max = BM_CERT_MAX };
    enum bm_rc rc = bm_ca_name_check(k, name, e);

    if (rc != BM_OK)
        return rc;
    snprintf(ca.name, sizeof ca.name, "%s", name);
    snprintf(ca.key_uri, sizeof ca.key_uri, "%s", key_uri);
    bm_buf_put(&ca.cert, cert.p, cert.n);
    rc = bm_ca_put(k->store, &ca, e);
    *ret_id = ca.id;
    return rc;
}

/* A root we know already comes with each CA below it. */
static enum bm_rc find_or_put_root(struct bm_keeper *k, const char *name, struct bm_rd cert, int64_t now, int64_t *ret,
                                   struct bm_error *e)
{
    struct search s = { .cert = cert };
    char uri[BM_TEXT_MAX];
    enum bm_rc rc = bm_ca_each(k->store, see_cert, &s, e);

    *ret = s.found;
    if (rc != BM_OK || s.found != 0)
        return rc;
    snprintf(uri, sizeof uri, "external:%.64s", name);
    return put_ca(k, name, uri, 0, cert, now, ret, e);
}

static enum bm_rc check_key(struct bm_keeper *k, const char *uri, const struct bm_cert *cert, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *key = NULL;
    enum bm_rc rc = bm_key_open(&k->ring, uri, &key, e);

    if (rc == BM_NOTFOUND && k->host.n > 1) { /* asked for on another host */
        rc = bm_host_fetch_key(k, uri, e);
        rc = rc == BM_OK ? bm_key_open(&k->ring, uri, &key, e) : rc;
    }
    if (rc == BM_OK && !bm_rd_eq(bm_key_spki(key), cert->spki))
        return bm_refuse(e, BM_DENIED, "wrong-key", "the certificate is not for the key that was requested");
    return rc;
}

static enum bm_rc write_rows(struct bm_keeper *k, const char *name, const char *root, const char *uri, const struct brought *b,
                             int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = json_pack("{s:s, s:s}", "name", name, "key", uri);
    int64_t root_id = 0, id;
    enum bm_rc rc = find_or_put_root(k, root, bm_buf_rd(&b->der[1]), now, &root_id, e);

    if (rc == BM_OK)
        rc = bm_ca_crl_check(k, root_id, b->cert[0].serial, e);
    if (rc == BM_OK)
        rc = put_ca(k, name, uri, root_id, bm_buf_rd(&b->der[0]), now, &id, e);
    if (rc == BM_OK)
        rc = keep_request(k, name, "", e);
    if (rc == BM_OK && (fields == NULL || bm_json_pem(fields, "certificate", bm_buf_rd(&b->der[0])) != 0 ||
                        bm_json_pem(fields, "root", bm_buf_rd(&b->der[1])) != 0))
        rc = bm_fail(e, BM_NOMEM, "no memory");
    return rc == BM_OK ? bm_record(k, now, "ca.imported", fields, e) : rc;
}

static enum bm_rc import_cert(struct bm_keeper *k, const char *name, const char *root_name, struct bm_rd blob, int64_t now,
                              struct bm_error *e)
{
    BM_CLEANUP(brought_done) struct brought b = { 0 };
    char uri[BM_TEXT_MAX], root[BM_NAME_LEN];
    enum bm_rc rc = find_request(k, name, uri, e);

    if (rc == BM_OK)
        rc = bm_pem_parse(blob, "CERTIFICATE", take_cert, &b, e);
    if (rc == BM_OK)
        rc = check_chain(&b, now, e);
    if (rc == BM_OK)
        rc = check_key(k, uri, &b.cert[0], e);
    if (rc != BM_OK)
        return rc;
    snprintf(root, sizeof root, root_name != NULL ? "%.64s" : "%.59s-root", root_name != NULL ? root_name : name);
    return write_rows(k, name, root, uri, &b, now, e);
}

/* What is brought from elsewhere: a CA's certificate, or the revocation list of one whose key is there. The file says which. */
BM_ADMIN_HANDLER(bm_admin_ca_import)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf crl = { .max = BM_CRL_MAX };
    const char *name;
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "name", json_string(name));
    rc = bm_crl_in_file(blob, &crl, e);
    if (rc == BM_NOTFOUND)
        return import_cert(k, name, bm_arg_text(in, "root_name"), blob, now, e);
    return rc == BM_OK ? bm_ca_crl_import(k, name, bm_buf_rd(&crl), bm_arg_text(in, "default"), now, out, e) : rc;
}
