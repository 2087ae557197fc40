#include "server/tls.h"

#include "server/tls_provider.h"
#include "server/tls_raw_key.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <sys/socket.h>

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

/* --- what the keeper will want to see ------------------------------------------------------------------------------------------ */

/* OpenSSL calls this with each whole message it sends or has received. */
static void keep_message(int sent, int version, int content, const void *p, size_t n, SSL *ssl, void *arg)
{
    struct bm_tls_peer *peer = arg;
    int type = n != 0 ? *(const uint8_t *)p : -1;

    (void)version;
    if (content != SSL3_RT_HANDSHAKE)
        return;
    if (!sent && type == SSL3_MT_CERTIFICATE_VERIFY)
        bm_buf_put(&peer->verify, p, n);
    else if (!sent && type == SSL3_MT_FINISHED) /* without a CertificateVerify: nothing has been shown */
        bm_buf_done(&peer->transcript);
    else
        bm_buf_put(&peer->transcript, p, n);
    if (!sent && (type == SSL3_MT_CERTIFICATE_VERIFY || type == SSL3_MT_FINISHED))
        SSL_set_msg_callback(ssl, NULL);
}

void bm_tls_peer_done(struct bm_tls_peer *p)
{
    bm_buf_done(&p->der);
    bm_buf_done(&p->transcript);
    bm_buf_done(&p->verify);
}

/* --- what names the connection ------------------------------------------------------------------------------------------------- */
/* tls-unique is the first Finished of the handshake. No session is resumed here, so that is the client's. */
enum bm_rc bm_tls_binding(SSL *ssl, struct bm_tls_peer *peer, struct bm_error *e)
{
    static const char label[] = "EXPORTER-Channel-Binding"; /* RFC 9266 section 2: no context, 32 bytes */

    if (SSL_version(ssl) == TLS1_3_VERSION) /* DTLS counts downwards */
        peer->binding_len = SSL_export_keying_material(ssl, peer->binding, 32, label, sizeof label - 1, NULL, 0, 0) == 1 ? 32 : 0;
    else
        peer->binding_len = SSL_get_peer_finished(ssl, peer->binding, sizeof peer->binding);
    if (peer->binding_len == 0 || peer->binding_len > sizeof peer->binding)
        return ssl_fail(e, "TLS channel binding");
    return BM_OK;
}

/* --- the nonce in every handshake ----------------------------------------------------------------------------------------------- */

static void free_nonce(void *parent, void *p, CRYPTO_EX_DATA *ad, int at, long argl, void *argp)
{
    (void)parent, (void)ad, (void)at, (void)argl, (void)argp;
    free(p);
}

/* A context owns its nonce; connections that began with it keep the context. */
static int nonce_at(void)
{
    static int at = -1;

    if (at < 0)
        at = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_nonce);
    return at;
}

static int add_nonce(SSL *ssl, unsigned type, unsigned context, const unsigned char **out, size_t *out_len, X509 *x,
                     size_t chain_at, int *alert, void *arg)
{
    (void)type, (void)context, (void)x, (void)chain_at, (void)alert, (void)arg;
    *out = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), nonce_at());
    *out_len = BM_HANDSHAKE_NONCE_LEN;
    return *out != NULL ? 1 : -1;
}

static int make_session_id(SSL *ssl, unsigned char *id, unsigned *n)
{
    const uint8_t *nonce = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), nonce_at());
    uint8_t random[16];

    if (nonce == NULL || *n < BM_HANDSHAKE_ID_LEN || RAND_bytes(random, sizeof random) != 1)
        return 0;
    *n = BM_HANDSHAKE_ID_LEN;
    bm_handshake_session_id(nonce, random, id);
    return 1;
}

static enum bm_rc use_nonce(SSL_CTX *ctx, struct bm_rd nonce, struct bm_error *e)
{
    uint8_t *own = nonce.n == BM_HANDSHAKE_NONCE_LEN ? malloc(nonce.n) : NULL;

    if (own == NULL)
        return bm_fail(e, BM_MALFORMED, "handshake nonce of %zu bytes", nonce.n);
    memcpy(own, nonce.p, nonce.n);
    if (SSL_CTX_set_ex_data(ctx, nonce_at(), own) != 1) {
        free(own);
        return ssl_fail(e, "TLS nonce");
    }
    if (SSL_CTX_set_generate_session_id(ctx, make_session_id) != 1 ||
        SSL_CTX_add_custom_ext(ctx, BM_HANDSHAKE_EXTENSION, SSL_EXT_TLS1_3_CERTIFICATE_REQUEST, add_nonce, NULL, NULL, NULL,
                               NULL) != 1)
        return ssl_fail(e, "TLS nonce");
    SSL_CTX_set_msg_callback(ctx, keep_message);
    return BM_OK;
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

/* Nobody but TLS itself could read a compressed certificate. */
#ifdef SSL_OP_NO_TX_CERTIFICATE_COMPRESSION /* from OpenSSL 3.2 on */
#define PLAIN_CERTIFICATES (SSL_OP_NO_TX_CERTIFICATE_COMPRESSION | SSL_OP_NO_RX_CERTIFICATE_COMPRESSION)
#else
#define PLAIN_CERTIFICATES 0
#endif

/* The schemes that pki/handshake.c verifies; OpenSSL refuses a list with names it does not know. */
static int set_client_schemes(SSL_CTX *ctx)
{
    static const char post_quantum[] = "mldsa44:mldsa65:mldsa87:";
    static const char *const all = "mldsa44:mldsa65:mldsa87:ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519:"
                                   "rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:RSA+SHA256:RSA+SHA384:RSA+SHA512";
    int set = SSL_CTX_set1_client_sigalgs_list(ctx, all);

    ERR_clear_error();
    return set == 1 ? 1 : SSL_CTX_set1_client_sigalgs_list(ctx, all + sizeof post_quantum - 1);
}

/* Groups: with TLS 1.2 the list also names the curves that client certificates may be over (RFC 8422 section 5.1), hence the larger ones.
 * Session cache: on so that TLS 1.2 gets a session id at all; nothing is kept or found in it. */
static enum bm_rc set_policy(SSL_CTX *ctx, bool dtls, struct bm_error *e)
{
    int lowest = dtls ? DTLS1_2_VERSION : TLS1_2_VERSION, highest = dtls ? DTLS1_2_VERSION : TLS1_3_VERSION;

    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_TICKET | PLAIN_CERTIFICATES);
    SSL_CTX_set_read_ahead(ctx, 1); /* one recv per flight in place of two per record */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL | SSL_SESS_CACHE_NO_AUTO_CLEAR);
    SSL_CTX_set_max_cert_list(ctx, BM_TLS_CLIENT_CHAIN_MAX);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, accept_any, NULL);
    SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
    SSL_CTX_set_security_level(ctx, 2);
    if (SSL_CTX_set_min_proto_version(ctx, lowest) != 1 || SSL_CTX_set_max_proto_version(ctx, highest) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1 ||
        SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1 ||
        SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384:P-521") != 1 || SSL_CTX_set_num_tickets(ctx, 0) != 1 ||
        set_client_schemes(ctx) != 1 || SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"birthmark", 9) != 1)
        return ssl_fail(e, "TLS settings");
    return BM_OK;
}

enum bm_rc bm_tls_context(const struct bm_view *v, SSL_CTX **ret, struct bm_error *e)
{
    return bm_tls_context_of(TLS_server_method(), v, ret, e);
}

enum bm_rc bm_tls_context_of(const SSL_METHOD *method, const struct bm_view *v, SSL_CTX **ret, struct bm_error *e)
{
    BM_CLEANUP(ctx_freep) SSL_CTX *ctx = SSL_CTX_new_ex(bm_tls_library(), NULL, method);
    enum bm_rc rc;

    if (ctx == NULL)
        return ssl_fail(e, "TLS");
    rc = set_policy(ctx, method == DTLS_server_method(), e);
    if (rc == BM_OK)
        rc = load_chain(ctx, v->tls_chain_pem, e);
    if (rc == BM_OK)
        rc = load_key(ctx, v->tls_key, e);
    if (rc == BM_OK)
        rc = use_nonce(ctx, v->nonce, e);
    if (rc == BM_OK)
        *ret = BM_MOVE(ctx);
    return rc;
}

SSL *bm_tls_new(SSL_CTX *ctx, struct bm_tls_io *io, struct bm_tls_peer *peer)
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
    SSL_set_msg_callback_arg(ssl, peer);
    SSL_set_accept_state(ssl);
    return ssl;
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

/* As it came over the line: the keeper will read it there too. */
static enum bm_rc add_raw_key(struct bm_tls_peer *to, struct bm_error *e)
{
    struct bm_handshake h;
    enum bm_rc rc = bm_handshake_read(bm_buf_rd(&to->transcript), &h, e);

    if (rc != BM_OK)
        return rc;
    if (h.spki.n == 0 || h.spki.n > BM_SPKI_MAX)
        return bm_fail(e, BM_LIMIT, "the client's public key has %zu bytes, %d are taken", h.spki.n, BM_SPKI_MAX);
    bm_buf_put(&to->der, h.spki.p, h.spki.n);
    to->raw_key = true;
    return bm_buf_check(&to->der, e);
}

enum bm_rc bm_tls_peer_certs(const SSL *ssl, struct bm_tls_peer *ret, struct bm_error *e)
{
    bool raw_key = bm_tls_showed_raw_key(ssl);
    const X509 *own = SSL_get0_peer_certificate(ssl);
    const STACK_OF(X509) *rest = SSL_get_peer_cert_chain(ssl);
    enum bm_rc rc;

    if (own == NULL && !raw_key)
        return BM_OK;
    if (ret->transcript.bad || ret->verify.bad)
        return bm_refuse(e, BM_LIMIT, "handshake-too-long", "the TLS handshake was longer than %zu bytes", ret->transcript.max);
    if (raw_key)
        return add_raw_key(ret, e);
    rc = add_cert(ret, own, e);
    for (int i = 0; rc == BM_OK && rest != NULL && i < sk_X509_num(rest) && i < BM_TLS_CLIENT_CERTS_MAX; i++)
        rc = add_cert(ret, sk_X509_value(rest, i), e);
    return rc;
}
