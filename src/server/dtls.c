#include "server/dtls.h"

#include "base/clock.h"
#include "base/limits.h"
#include "server/tls_raw_key.h"

#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

enum { COOKIE_LEN = 32, RECORD_HEADER = 13, MESSAGE_HEADER = 12, HANDSHAKE = 22, CLIENT_HELLO = 1, RANDOM_LEN = 32 };

/* --- our own side of the transcript ------------------------------------------------------------------------------------------------
 * OpenSSL tells of each message that it has received, put together again (RFC 6347 section 4.2.3). Of one that it sends in pieces it tells with
 * what is left of it, so ours are taken from the records, which are plain until the client has finished. */
struct piece {
    uint8_t type;
    uint16_t number;
    uint64_t whole, offset;
    struct bm_rd content;
};

static bool take_piece(struct bm_rd *in, struct piece *ret)
{
    uint64_t n;

    return bm_rd_u8(in, &ret->type) && bm_rd_uint(in, 3, &ret->whole) && bm_rd_u16(in, &ret->number) &&
           bm_rd_uint(in, 3, &ret->offset) && bm_rd_uint(in, 3, &n) && bm_rd_take(in, n, &ret->content);
}

/* A message sent again has a number that we are past. */
static void tape(struct bm_dtls_io *io, const struct piece *p)
{
    struct bm_buf *to = &io->peer->transcript;

    if (p->number < io->taped)
        return;
    if (p->offset == 0) {
        bm_buf_uint(to, 1, p->type);
        bm_buf_uint(to, 3, p->whole);
        bm_buf_uint(to, 2, p->number);
        bm_buf_uint(to, 3, 0);
        bm_buf_uint(to, 3, p->whole);
    }
    bm_buf_put(to, p->content.p, p->content.n);
    if (p->offset + p->content.n == p->whole)
        io->taped = (uint16_t)(p->number + 1);
}

static bool take_record(struct bm_rd *in, uint8_t *ret_type, uint16_t *ret_epoch, struct bm_rd *ret)
{
    struct bm_rd number;
    uint16_t version;
    uint64_t n;

    return bm_rd_u8(in, ret_type) && bm_rd_u16(in, &version) && bm_rd_u16(in, ret_epoch) && bm_rd_take(in, 6, &number) &&
           bm_rd_uint(in, 2, &n) && bm_rd_take(in, n, ret);
}

static void tape_datagram(struct bm_dtls_io *io, struct bm_rd datagram)
{
    struct bm_rd content;
    struct piece p;
    uint16_t epoch;
    uint8_t type;

    while (take_record(&datagram, &type, &epoch, &content) && epoch == 0) {
        while (type == HANDSHAKE && content.n != 0 && take_piece(&content, &p))
            tape(io, &p);
    }
}

/* The client's messages, as tls.c keeps them, but with the headers of DTLS. */
static void keep_received(int sent, int version, int content, const void *p, size_t n, SSL *ssl, void *arg)
{
    struct bm_dtls_io *io = arg;
    int type = n != 0 ? *(const uint8_t *)p : -1;

    (void)version;
    if (sent || content != SSL3_RT_HANDSHAKE)
        return;
    if (type == SSL3_MT_CERTIFICATE_VERIFY)
        bm_buf_put(&io->peer->verify, p, n);
    else if (type == SSL3_MT_FINISHED) /* without a CertificateVerify: nothing has been shown */
        bm_buf_done(&io->peer->transcript);
    else
        bm_buf_put(&io->peer->transcript, p, n);
    if (type == SSL3_MT_CERTIFICATE_VERIFY || type == SSL3_MT_FINISHED) {
        io->peer = NULL;
        SSL_set_msg_callback(ssl, NULL);
    }
}

/* --- datagrams underneath ---------------------------------------------------------------------------------------------------------- */
static int io_write(BIO *b, const char *p, int n)
{
    struct bm_dtls_io *io = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    if (n <= 0)
        return 0;
    if (io->peer != NULL)
        tape_datagram(io, bm_rd_of(p, (size_t)n));
    io->send(io->arg, bm_rd_of(p, (size_t)n));
    return n;
}

/* A datagram is read in one piece; what has no room is lost, as it would be with a socket. */
static int io_read(BIO *b, char *p, int n)
{
    struct bm_dtls_io *io = BIO_get_data(b);
    size_t len = n > 0 && io->in.n > (size_t)n ? (size_t)n : io->in.n;

    BIO_clear_retry_flags(b);
    if (len == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    memcpy(p, io->in.p, len);
    io->in = bm_rd_of(NULL, 0);
    return (int)len;
}

static long io_ctrl(BIO *b, int cmd, long num, void *p)
{
    (void)b, (void)num, (void)p;
    switch (cmd) {
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT:
    case BIO_CTRL_DGRAM_SET_CONNECTED:
    case BIO_CTRL_DGRAM_SET_PEER:
        return 1;
    case BIO_CTRL_DGRAM_GET_MTU_OVERHEAD:
        return 48; /* IPv6 and UDP */
    case BIO_CTRL_DGRAM_QUERY_MTU:
    case BIO_CTRL_DGRAM_GET_FALLBACK_MTU:
        return BM_COAP_MTU;
    default:
        return 0;
    }
}

static BIO_METHOD *io_method(void)
{
    static BIO_METHOD *m; /* one per process, for good */

    if (m == NULL && (m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "birthmark-dtls")) != NULL) {
        BIO_meth_set_write(m, io_write);
        BIO_meth_set_read(m, io_read);
        BIO_meth_set_ctrl(m, io_ctrl);
    }
    return m;
}

/* --- cookies ----------------------------------------------------------------------------------------------------------------------- */
static int cookies_at(void)
{
    static int at = -1;

    if (at < 0)
        at = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    return at;
}

enum bm_rc bm_dtls_cookies_init(struct bm_dtls_cookies *c, struct bm_error *e)
{
    if (RAND_bytes(c->now, sizeof c->now) != 1 || RAND_bytes(c->before, sizeof c->before) != 1)
        return bm_fail(e, BM_IO, "no random numbers");
    c->changed_ms = bm_clock_steady_ms();
    return BM_OK;
}

void bm_dtls_cookies_turn(struct bm_dtls_cookies *c, int64_t now_ms)
{
    uint8_t next[sizeof c->now];

    if (now_ms - c->changed_ms < BM_COAP_COOKIE_S * INT64_C(1000) || RAND_bytes(next, sizeof next) != 1)
        return;
    memcpy(c->before, c->now, sizeof c->before);
    memcpy(c->now, next, sizeof c->now);
    c->changed_ms = now_ms;
}

static bool cookie_of(const uint8_t key[32], struct bm_rd address, uint8_t ret[COOKIE_LEN])
{
    unsigned n = COOKIE_LEN;

    return HMAC(EVP_sha256(), key, 32, address.p, address.n, ret, &n) != NULL && n == COOKIE_LEN;
}

static struct bm_dtls_io *io_of(const SSL *ssl)
{
    return BIO_get_data(SSL_get_rbio(ssl));
}

static int make_cookie(SSL *ssl, unsigned char *cookie, unsigned *n)
{
    const struct bm_dtls_cookies *c = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), cookies_at());

    *n = COOKIE_LEN;
    return cookie_of(c->now, io_of(ssl)->address, cookie);
}

static int check_cookie(SSL *ssl, const unsigned char *cookie, unsigned n)
{
    const struct bm_dtls_cookies *c = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), cookies_at());
    uint8_t now[COOKIE_LEN], before[COOKIE_LEN];

    return n == COOKIE_LEN && cookie_of(c->now, io_of(ssl)->address, now) && cookie_of(c->before, io_of(ssl)->address, before) &&
           (bm_secret_eq(now, cookie, n) || bm_secret_eq(before, cookie, n));
}

/* --- the context --------------------------------------------------------------------------------------------------------------------
 * The suites of RFC 7925 section 4.4 last: a client that can do better is given better. CCM_8 authenticates with 64 bits, which OpenSSL from 3.2 on has at its
 * lowest level only; what else that level would let in is in none of the lists. */
enum bm_rc bm_dtls_context(const struct bm_view *v, struct bm_dtls_cookies *cookies, SSL_CTX **ret, struct bm_error *e)
{
    SSL_CTX *ctx = NULL;
    enum bm_rc rc = bm_tls_context_of(DTLS_server_method(), v, &ctx, e);

    if (rc != BM_OK)
        return rc;
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_msg_callback(ctx, NULL);
    SSL_CTX_set_alpn_select_cb(ctx, NULL, NULL);
    SSL_CTX_set_options(ctx, SSL_OP_NO_QUERY_MTU);
    SSL_CTX_set_cookie_generate_cb(ctx, make_cookie);
    SSL_CTX_set_cookie_verify_cb(ctx, check_cookie);
    if (SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES256-CCM:"
                                     "ECDHE-ECDSA-AES128-CCM8:ECDHE-ECDSA-AES256-CCM8") != 1 ||
        SSL_CTX_set_ex_data(ctx, cookies_at(), cookies) != 1 || !bm_tls_take_raw_keys(ctx)) {
        SSL_CTX_free(ctx);
        ERR_clear_error();
        return bm_fail(e, BM_IO, "DTLS settings");
    }
    *ret = ctx;
    return BM_OK;
}

SSL *bm_dtls_new(SSL_CTX *ctx, struct bm_dtls_io *io)
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
    (void)SSL_set_mtu(ssl, BM_COAP_MTU);
    return ssl;
}

/* --- the first datagrams ---------------------------------------------------------------------------------------------------------- */
bool bm_dtls_is_hello(struct bm_rd datagram)
{
    return datagram.n > RECORD_HEADER + MESSAGE_HEADER && datagram.p[0] == HANDSHAKE && datagram.p[1] == 0xfe &&
           datagram.p[3] == 0 && datagram.p[4] == 0 && datagram.p[RECORD_HEADER] == CLIENT_HELLO;
}

bool bm_dtls_hello_random(struct bm_rd datagram, struct bm_rd *ret)
{
    const size_t at = RECORD_HEADER + MESSAGE_HEADER + 2; /* client_version */

    if (!bm_dtls_is_hello(datagram) || datagram.n < at + RANDOM_LEN)
        return false;
    *ret = bm_rd_of(datagram.p + at, RANDOM_LEN);
    return true;
}

bool bm_dtls_listen(SSL *ssl, struct bm_dtls_io *io, struct bm_tls_peer *peer)
{
    BIO_ADDR *from = BIO_ADDR_new(); /* who it is we know already; OpenSSL wants to write something there */
    int done = from != NULL ? DTLSv1_listen(ssl, from) : -1;

    BIO_ADDR_free(from);
    ERR_clear_error();
    io->in = bm_rd_of(NULL, 0);
    if (done <= 0)
        return false;
    io->peer = peer;
    io->taped = 0;
    SSL_set_msg_callback(ssl, keep_received);
    SSL_set_msg_callback_arg(ssl, io);
    return true;
}
