#include "server/tls.h"

#include "server/tls_provider.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <sys/socket.h>

#define TICKET_KEY_LEN 80
#define TICKET_LIFETIME_S (24 * 3600)

static enum bm_rc ssl_fail(struct bm_error *e, const char *what)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());

    ERR_clear_error();
    return bm_fail(e, BM_IO, "%s: %s", what, why != NULL ? why : "OpenSSL does not say why");
}

static void bio_freep(BIO **b)
{
    BIO_free(*b);
}

static void x509_freep(X509 **x)
{
    X509_free(*x);
}

static void pkey_freep(EVP_PKEY **k)
{
    EVP_PKEY_free(*k);
}

static void ctx_freep(SSL_CTX **c)
{
    SSL_CTX_free(*c);
}

/* --- the socket underneath ---------------------------------------------------------------------------------------------------- */

static int io_write(BIO *b, const char *p, int n)
{
    struct bm_tls_io *io = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    if (n <= 0)
        return 0;
    bm_buf_put(&io->out, p, (size_t)n);
    return io->out.bad ? -1 : n;
}

static int io_read(BIO *b, char *p, int n)
{
    struct bm_tls_io *io = BIO_get_data(b);
    ssize_t got;

    BIO_clear_retry_flags(b);
    do
        got = recv(io->fd, p, (size_t)n, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_read(b);
    io->eof = io->eof || got == 0;
    return (int)got;
}

static long io_ctrl(BIO *b, int cmd, long num, void *p)
{
    struct bm_tls_io *io = BIO_get_data(b);

    (void)num;
    (void)p;
    if (cmd == BIO_CTRL_EOF)
        return io->eof;
    return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *io_method(void)
{
    static BIO_METHOD *m; /* one per process, for good */

    if (m == NULL && (m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "birthmark")) != NULL) {
        BIO_meth_set_write(m, io_write);
        BIO_meth_set_read(m, io_read);
        BIO_meth_set_ctrl(m, io_ctrl);
    }
    return m;
}

/* --- the context --------------------------------------------------------------------------------------------------------------- */

/* Stands in for chain building: by now the client has shown that it holds the key of the certificate; the keeper decides what that is
 * worth, against registry and policy, which no trust store could. */
static int accept_any(X509_STORE_CTX *store, void *arg)
{
    (void)arg;
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned int in_len,
                       void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;

    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static enum bm_rc load_chain(SSL_CTX *ctx, struct bm_rd pem, struct bm_error *e)
{
    BM_CLEANUP(bio_freep) BIO *in = BIO_new_mem_buf(pem.p, (int)pem.n);
    BM_CLEANUP(x509_freep) X509 *leaf = in != NULL ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;

    if (leaf == NULL || SSL_CTX_use_certificate(ctx, leaf) != 1)
        return ssl_fail(e, "TLS server certificate");
    for (;;) {
        BM_CLEANUP(x509_freep) X509 *ca = PEM_read_bio_X509(in, NULL, NULL, NULL);

        if (ca == NULL)
            break;
        if (SSL_CTX_add1_chain_cert(ctx, ca) != 1)
            return ssl_fail(e, "chain of the TLS server certificate");
    }
    ERR_clear_error(); /* the end of the PEM text counts as an error there */
    return BM_OK;
}

static enum bm_rc load_key(SSL_CTX *ctx, struct bm_rd der, struct bm_error *e)
{
    const unsigned char *p = der.p;
    BM_CLEANUP(pkey_freep) EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &p, (long)der.n);

    if (key == NULL || SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
        return ssl_fail(e, "TLS server key");
    return BM_OK;
}

/* Groups: with TLS 1.2 the list also names the curves that client certificates may be over (RFC 8422 section 5.1), hence the larger ones.
 * Tickets: TLS 1.3 clients get one only with bm_tls_ticket(). OpenSSL 3.0 spends 140 us on a ticket that holds a client certificate, and a
 * resumption costs it more (350 us) than a whole handshake with ECDSA P-256 (300 us), so they are for devices that are told to come back. */
static enum bm_rc set_policy(SSL_CTX *ctx, struct bm_error *e)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_read_ahead(ctx, 1); /* one recv per flight in place of two per record */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ctx, TICKET_LIFETIME_S);
    SSL_CTX_set_max_cert_list(ctx, BM_TLS_CLIENT_CHAIN_MAX);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, accept_any, NULL);
    SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
    SSL_CTX_set_security_level(ctx, 2);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 || SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1 ||
        SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1 ||
        SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384:P-521") != 1 || SSL_CTX_set_num_tickets(ctx, 0) != 1 ||
        SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"birthmark", 9) != 1)
        return ssl_fail(e, "TLS settings");
    return BM_OK;
}

enum bm_rc bm_tls_context(const struct bm_view *v, SSL_CTX **ret, struct bm_error *e)
{
    BM_CLEANUP(ctx_freep) SSL_CTX *ctx = SSL_CTX_new_ex(bm_tls_library(), NULL, TLS_server_method());
    uint8_t keys[TICKET_KEY_LEN];
    struct bm_rd in = v->ticket_key;
    enum bm_rc rc;

    if (ctx == NULL)
        return ssl_fail(e, "TLS");
    rc = set_policy(ctx, e);
    if (rc == BM_OK)
        rc = load_chain(ctx, v->tls_chain_pem, e);
    if (rc == BM_OK)
        rc = load_key(ctx, v->tls_key, e);
    if (rc != BM_OK)
        return rc;
    if (in.n != sizeof keys || !bm_rd_copy(&in, keys, sizeof keys))
        return bm_fail(e, BM_MALFORMED, "ticket key of %zu bytes", v->ticket_key.n);
    if (SSL_CTX_set_tlsext_ticket_keys(ctx, keys, sizeof keys) != 1)
        rc = ssl_fail(e, "TLS ticket keys");
    bm_wipe(keys, sizeof keys);
    if (rc == BM_OK)
        *ret = BM_MOVE(ctx);
    return rc;
}

SSL *bm_tls_new(SSL_CTX *ctx, struct bm_tls_io *io)
{
    SSL *ssl = SSL_new(ctx);
    BIO *b = io_method() != NULL ? BIO_new(io_method()) : NULL;

    if (ssl == NULL || b == NULL) {
        SSL_free(ssl);
        BIO_free(b);
        return NULL;
    }
    BIO_set_data(b, io);
    BIO_set_init(b, 1);
    SSL_set_bio(ssl, b, b);
    SSL_set_accept_state(ssl);
    return ssl;
}

void bm_tls_ticket(SSL *ssl)
{
    if (SSL_version(ssl) == TLS1_3_VERSION && SSL_new_session_ticket(ssl) != 1)
        ERR_clear_error(); /* no ticket: the next handshake is a whole one */
}

static enum bm_rc add_cert(struct bm_tls_peer *to, const X509 *x, struct bm_error *e)
{
    int n = i2d_X509(x, NULL);
    uint8_t *room = n > 0 ? bm_buf_room(&to->der, (size_t)n) : NULL;

    if (room == NULL || i2d_X509(x, &room) != n)
        return bm_fail(e, BM_LIMIT, "the client's certificates are larger than %zu bytes", to->der.max);
    to->der.n += (size_t)n;
    to->end[to->n++] = to->der.n;
    return BM_OK;
}

enum bm_rc bm_tls_peer_certs(const SSL *ssl, struct bm_tls_peer *ret, struct bm_error *e)
{
    const X509 *own = SSL_get0_peer_certificate(ssl);
    const STACK_OF(X509) *rest = SSL_get_peer_cert_chain(ssl);
    enum bm_rc rc;

    if (own == NULL)
        return BM_OK;
    rc = add_cert(ret, own, e);
    for (int i = 0; rc == BM_OK && rest != NULL && i < sk_X509_num(rest) && i < BM_TLS_CLIENT_CERTS_MAX; i++)
        rc = add_cert(ret, sk_X509_value(rest, i), e);
    return rc;
}
