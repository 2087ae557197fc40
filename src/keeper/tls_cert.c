/* The server's own TLS certificate: the operator's files, or one from our own CA that renews itself at a third of its life left. */
#include "keeper/internal.h"

#include "base/file.h"
#include "base/log.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

enum { TLS_HOSTS_LEN = 1024 };

static const char tls_key_uri[] = "file:tls-server";

static enum bm_rc from_files(const struct bm_keeper_options *o, struct bm_buf *chain_pem, struct bm_buf *key_der,
                             struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = BM_CERT_MAX };
    BM_EVP_FREE EVP_PKEY *key = NULL;
    unsigned char *der = NULL;
    BIO *bio;
    int n;
    enum bm_rc rc = bm_file_read(o->tls_cert_file, chain_pem, e);

    if (rc == BM_OK)
        rc = bm_file_read(o->tls_key_file, &pem, e);
    if (rc != BM_OK)
        return rc;
    bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)(uintptr_t) "") : NULL;
    BIO_free(bio);
    n = key != NULL ? i2d_PrivateKey(key, &der) : -1;
    if (n <= 0)
        return bm_fail(e, BM_USAGE, "%s holds no unencrypted private key in PEM", o->tls_key_file);
    bm_buf_put(key_der, der, (size_t)n);
    OPENSSL_clear_free(der, (size_t)n);
    return bm_buf_check(key_der, e);
}

/* Our own key is exported once, for the workers: it is no CA key, and they must hold it to speak TLS. */
static enum bm_rc own_key(struct bm_keeper *k, struct bm_key **ret, struct bm_buf *key_der, struct bm_error *e)
{
    enum bm_rc rc = bm_key_open(&k->ring, tls_key_uri, ret, e);

    if (rc == BM_NOTFOUND) {
        rc = bm_key_generate(&k->ring, tls_key_uri, "EC:P-256", e);
        if (rc == BM_OK)
            rc = bm_key_open(&k->ring, tls_key_uri, ret, e);
    }
    return rc == BM_OK ? bm_key_export(*ret, key_der, e) : rc;
}

enum bm_rc bm_issuer_default(struct bm_keeper *k, struct bm_issuer **ret, struct bm_error *e)
{
    static const struct bm_policy any = { 0 };
    int64_t ca_id, until;
    enum bm_rc rc = bm_line_ca(k, NULL, &any, &ca_id, &until, e);

    return rc == BM_OK ? bm_issuer_get(k, ca_id, ret, e) : rc;
}

static enum bm_rc store_issued(struct bm_keeper *k, struct bm_credential *c, struct bm_rd memo, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = json_object();
    char key[BM_NAME_LEN];
    enum bm_rc rc = bm_store_begin(k->store, e);

    if (rc != BM_OK)
        return rc;
    rc = bm_credential_put(k->store, c, e);
    if (rc == BM_OK) /* each time: the key was made outside a transaction */
        rc = bm_keeper_journal_key(k, tls_key_uri, e);
    if (rc == BM_OK)
        rc = bm_meta_set(k->store, bm_host_meta(k, "tls-cert", key), bm_buf_rd(&c->cert), e);
    if (rc == BM_OK)
        rc = bm_meta_set(k->store, bm_host_meta(k, "tls-memo", key), memo, e);
    if (rc == BM_OK && (bm_json_pem(fields, "certificate", bm_buf_rd(&c->cert)) != 0))
        rc = bm_fail(e, BM_NOMEM, "no memory");
    if (rc == BM_OK)
        rc = bm_record(k, now, "server.certificate", fields, e);
    return bm_keeper_settle(k, rc, e);
}

/* Good while the hosts and the issuer are the same and a third of the life is left. */
static bool still_good(struct bm_keeper *k, struct bm_rd memo, int64_t now, struct bm_buf *cert)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf was = { .max = 2048 };
    char key[BM_NAME_LEN];
    struct bm_cert c;

    if (bm_meta_get(k->store, bm_host_meta(k, "tls-memo", key), &was, NULL) != BM_OK || !bm_rd_eq(bm_buf_rd(&was), memo) ||
        bm_meta_get(k->store, bm_host_meta(k, "tls-cert", key), cert, NULL) != BM_OK ||
        bm_cert_parse(bm_buf_rd(cert), &c, NULL) != BM_OK)
        return false;
    return c.not_after - now > (c.not_after - c.not_before) / 3;
}

/* As configured, else as given at init, else this machine alone. */
static enum bm_rc hosts_of(struct bm_keeper *k, char ret[TLS_HOSTS_LEN], struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf given = { .max = TLS_HOSTS_LEN - 1 };
    char key[BM_NAME_LEN];
    struct bm_rd hosts = bm_rd_str(k->options.tls_hosts != NULL ? k->options.tls_hosts : "");
    enum bm_rc rc = hosts.n == 0 ? bm_meta_get(k->store, bm_host_meta(k, "tls-hosts", key), &given, e) : BM_OK;

    if (rc != BM_OK && rc != BM_NOTFOUND)
        return rc;
    hosts = hosts.n == 0 ? bm_buf_rd(&given) : hosts;
    hosts = hosts.n == 0 ? bm_rd_str("localhost,127.0.0.1") : hosts;
    if (hosts.n >= TLS_HOSTS_LEN)
        return bm_fail(e, BM_LIMIT, "tls_hosts: longer than %d characters", TLS_HOSTS_LEN - 1);
    memcpy(ret, hosts.p, hosts.n);
    ret[hosts.n] = '\0';
    return BM_OK;
}

enum bm_rc bm_tls_identity(struct bm_keeper *k, int64_t now, struct bm_buf *chain_pem, struct bm_buf *key_der, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *key = NULL;
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { .state = "active", .protocol = "internal", .issued_at = now };
    BM_CLEANUP(bm_buf_done) struct bm_buf memo = { .max = 2048 };
    char hosts[TLS_HOSTS_LEN];
    struct bm_issuer *by;
    enum bm_rc rc;

    if (k->options.tls_cert_file != NULL && k->options.tls_cert_file[0] != '\0')
        return from_files(&k->options, chain_pem, key_der, e);
    rc = hosts_of(k, hosts, e);
    if (rc == BM_OK)
        rc = bm_issuer_default(k, &by, e);
    if (rc == BM_OK)
        rc = own_key(k, &key, key_der, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_printf(&memo, "%lld %s", (long long)by->row.id, hosts);
    c.cert.max = BM_CERT_MAX;
    if (!still_good(k, bm_buf_rd(&memo), now, &c.cert)) {
        c.cert.n = 0;
        rc = bm_own_cert(k, by, "tls-server", bm_key_spki(key), &(struct bm_subject_words){ .host = hosts }, now, &c, e);
        if (rc == BM_OK)
            rc = store_issued(k, &c, bm_buf_rd(&memo), now, e);
        if (rc != BM_OK)
            return bm_wrap(e, rc, "the server's TLS certificate");
    }
    bm_pem_write(chain_pem, "CERTIFICATE", bm_buf_rd(&c.cert));
    for (size_t i = 0; i + 1 < by->n_chain; i++) /* the root stays at home: clients have it or do not trust it */
        bm_pem_write(chain_pem, "CERTIFICATE", bm_buf_rd(&by->chain[i]));
    rc = bm_ca_links_pem(k, by, now, chain_pem, e);
    return rc == BM_OK ? bm_buf_check(chain_pem, e) : rc;
}
