/* server/dtls.h: OpenSSL's client with our end of DTLS over datagrams in memory. If this fails, strangers make the server send or hold more than they
 * have earned, or the keeper cannot verify an honest device's handshake, or believes in one that never was. */
#include "keeper_fixture.h"
#include "server/dtls.h"
#include "server/tls_raw_key.h"

#include <openssl/err.h>

static const uint8_t nonce[BM_HANDSHAKE_NONCE_LEN] = "thirty-two bytes that are fresh.", other_nonce[BM_HANDSHAKE_NONCE_LEN] = "x";
static struct party server_key;
static struct bm_view view;
static struct bm_buf pem, key;
static struct bm_dtls_cookies cookies;

static int open_server(void **state)
{
    (void)state;
    party_keys(&server_key, "P-256");
    party_certify(&server_key, "server", NULL, false, 86400);
    pem.max = key.max = 65536;
    for (int i = 0; i < 5; i++) /* long enough that it takes several datagrams */
        bm_pem_write(&pem, "CERTIFICATE", bm_buf_rd(&server_key.cert));
    assert_ok(bm_key_export(server_key.key, &key, &err));
    view.tls_chain_pem = bm_buf_rd(&pem);
    view.tls_key = bm_buf_rd(&key);
    view.nonce = bm_rd_of(nonce, sizeof nonce);
    assert_ok(bm_dtls_cookies_init(&cookies, &err));
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    party_done(&server_key);
    bm_buf_done(&pem);
    bm_buf_done(&key);
    return 0;
}

/* --- a line between the two -------------------------------------------------------------------------------------------------------------- */
enum { IN_FLIGHT = 64 };
struct line {
    struct bm_buf datagrams[IN_FLIGHT];
    size_t n, at, sent, largest;
};

static void line_put(void *arg, struct bm_rd datagram)
{
    struct line *l = arg;

    assert_true(l->n < IN_FLIGHT);
    l->datagrams[l->n].max = 65536;
    bm_buf_put(&l->datagrams[l->n++], datagram.p, datagram.n);
    l->sent += datagram.n;
    l->largest = datagram.n > l->largest ? datagram.n : l->largest;
}

static bool line_take(struct line *l, struct bm_rd *ret)
{
    if (l->at == l->n)
        return false;
    *ret = bm_buf_rd(&l->datagrams[l->at++]);
    return true;
}

static void line_done(struct line *l)
{
    for (size_t i = 0; i < l->n; i++)
        bm_buf_done(&l->datagrams[i]);
}

static const struct row {
    const char *alg, *suite, *schemes;
    long client_mtu; /* 0: ours */
    bool no_cert;
} rows[] = {
    { "P-256", "ECDHE-ECDSA-AES128-CCM8", NULL, 0, false }, /* what RFC 9148 section 7 demands */
    { "P-256", "ECDHE-ECDSA-AES128-CCM", NULL, 0, false },
    { "P-256", "ECDHE-ECDSA-AES128-GCM-SHA256", NULL, 0, false },
    { "P-256", "ECDHE-ECDSA-CHACHA20-POLY1305", NULL, 300, false }, /* the client's messages come in pieces */
    { "P-384", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDSA+SHA512", 0, false },
    { "ED25519", NULL, NULL, 0, false },
    { "RSA", NULL, "RSA+SHA256", 0, false },
    { "RSA", NULL, "rsa_pss_rsae_sha256", 300, false },
    { "P-256", NULL, NULL, 0, true },
};

struct pair {
    struct party dev;
    SSL_CTX *server_ctx, *client_ctx;
    SSL *server, *client;
    struct bm_dtls_io server_io, client_io;
    struct bm_tls_peer peer;
    struct line up, down;
    bool in; /* past the door */
};

static SSL_CTX *client_context(const struct row *r, struct party *dev)
{
    SSL_CTX *c = SSL_CTX_new(DTLS_client_method());
    const uint8_t *p;
    X509 *x;

    party_keys(dev, r->alg);
    party_certify(dev, "device", NULL, false, 86400);
    p = dev->cert.p;
    x = d2i_X509(NULL, &p, (long)dev->cert.n);
    SSL_CTX_set_security_level(c, 0);
    SSL_CTX_set_options(c, SSL_OP_NO_QUERY_MTU);
    assert_true(SSL_CTX_set_max_proto_version(c, DTLS1_2_VERSION) == 1);
    assert_true(r->no_cert || (SSL_CTX_use_certificate(c, x) == 1 && SSL_CTX_use_PrivateKey(c, dev->evp) == 1));
    assert_true(r->suite == NULL || SSL_CTX_set_cipher_list(c, r->suite) == 1);
    assert_true(r->schemes == NULL || SSL_CTX_set1_client_sigalgs_list(c, r->schemes) == 1);
    X509_free(x);
    return c;
}

static void pair_open(struct pair *p, const struct row *r)
{
    *p = (struct pair){ .peer = { .der.max = 65536, .transcript.max = BM_HANDSHAKE_MAX, .verify.max = BM_HANDSHAKE_VERIFY_MAX } };
    p->server_io = (struct bm_dtls_io){ .send = line_put, .arg = &p->down, .address = bm_rd_str("here") };
    p->client_io = (struct bm_dtls_io){ .send = line_put, .arg = &p->up };
    assert_ok(bm_dtls_context(&view, &cookies, &p->server_ctx, &err));
    p->client_ctx = client_context(r, &p->dev);
    p->server = bm_dtls_new(p->server_ctx, &p->server_io);
    p->client = bm_dtls_new(p->client_ctx, &p->client_io);
    assert_true(p->server != NULL && p->client != NULL);
    SSL_set_connect_state(p->client);
    if (r->client_mtu != 0)
        assert_true(SSL_set_mtu(p->client, r->client_mtu) != 0);
}

static void pair_close(struct pair *p)
{
    SSL_free(p->server);
    SSL_free(p->client);
    SSL_CTX_free(p->server_ctx);
    SSL_CTX_free(p->client_ctx);
    bm_tls_peer_done(&p->peer);
    line_done(&p->up);
    line_done(&p->down);
    party_done(&p->dev);
}

/* One datagram to the server. True: the handshake is over there. */
static bool serve(struct pair *p, struct bm_rd datagram)
{
    p->server_io.in = datagram;
    if (!p->in && !(p->in = bm_dtls_listen(p->server, &p->server_io, &p->peer)))
        return false;
    return SSL_accept(p->server) == 1;
}

static bool shake_dtls(struct pair *p)
{
    bool there = false, done = false;
    struct bm_rd datagram;

    for (int turn = 0; turn < 12 && (!there || !done); turn++) {
        ERR_clear_error();
        there = SSL_connect(p->client) == 1;
        while (line_take(&p->up, &datagram))
            done = serve(p, datagram);
        while (line_take(&p->down, &datagram)) {
            p->client_io.in = datagram;
            there = SSL_connect(p->client) == 1;
        }
    }
    return there && done;
}

/* --- honest clients ------------------------------------------------------------------------------------------------------------------------ */
static void honest_handshakes_verify(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_handshake h;
        struct pair p;

        if (rows[i].no_cert)
            continue;
        pair_open(&p, &rows[i]);
        if (!shake_dtls(&p))
            fail_msg("row %zu: no handshake", i);
        assert_true(rows[i].suite == NULL || strcmp(SSL_get_cipher_name(p.server), rows[i].suite) == 0);
        if (bm_handshake_verify(bm_buf_rd(&p.peer.transcript), bm_buf_rd(&p.peer.verify), &h, &err) != BM_OK)
            fail_msg("row %zu: %s: %s", i, err.code, err.what);
        assert_false(h.tls13);
        assert_true(bm_rd_eq(h.certificate, bm_buf_rd(&p.dev.cert)));
        assert_true(bm_rd_eq(h.server, bm_buf_rd(&server_key.cert)));
        assert_true(bm_handshake_is_fresh(&h, nonce));
        assert_false(bm_handshake_is_fresh(&h, other_nonce));
        assert_ok(bm_tls_peer_certs(p.server, &p.peer, &err));
        assert_true(p.peer.n == 1 && bm_rd_eq(bm_buf_rd(&p.peer.der), bm_buf_rd(&p.dev.cert)));
        assert_ok(bm_tls_binding(p.server, &p.peer, &err));
        assert_int_equal(p.peer.binding_len, 12); /* tls-unique */
        assert_true(p.down.largest <= BM_COAP_MTU);
        pair_close(&p);
    }
}

/* --- raw public keys (RFC 7250) ------------------------------------------------------------------------------------------------------------ */
#if OPENSSL_VERSION_NUMBER >= 0x30200000L
static const struct {
    const char *name;
    uint8_t types[2]; /* what the client names in its ClientHello, in its order */
    size_t n;
    bool raw;
} offers[] = {
    { "raw key alone", { TLSEXT_cert_type_rpk }, 1, true },
    { "raw key first", { TLSEXT_cert_type_rpk, TLSEXT_cert_type_x509 }, 2, true },
    { "certificate first", { TLSEXT_cert_type_x509, TLSEXT_cert_type_rpk }, 2, false },
    { "certificate alone", { TLSEXT_cert_type_x509 }, 1, false },
};

/* The client's order says what it shows; the keeper reads from the messages what that was; and what the worker hands on is the same. */
static void raw_keys_verify(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(offers); i++) {
        struct bm_handshake h;
        struct bm_rd want;
        struct pair p;

        pair_open(&p, &rows[0]);
        want = offers[i].raw ? bm_key_spki(p.dev.key) : bm_buf_rd(&p.dev.cert);
        assert_int_equal(SSL_set1_client_cert_type(p.client, offers[i].types, offers[i].n), 1);
        if (!shake_dtls(&p))
            fail_msg("%s: no handshake", offers[i].name);
        if (bm_handshake_verify(bm_buf_rd(&p.peer.transcript), bm_buf_rd(&p.peer.verify), &h, &err) != BM_OK)
            fail_msg("%s: %s", offers[i].name, err.what);
        assert_true(bm_rd_eq(offers[i].raw ? h.spki : h.certificate, want));
        assert_int_equal((offers[i].raw ? h.certificate : h.spki).n, 0);
        assert_true(bm_rd_eq(h.server, bm_buf_rd(&server_key.cert)) && bm_handshake_is_fresh(&h, nonce));
        assert_ok(bm_tls_peer_certs(p.server, &p.peer, &err));
        assert_true(bm_rd_eq(bm_buf_rd(&p.peer.der), want));
        assert_true(p.peer.raw_key == offers[i].raw && p.peer.n == !offers[i].raw);
        pair_close(&p);
    }
}
#else
static void raw_keys_verify(void **state) /* raw_key_test.c has what the keeper makes of them */
{
    (void)state;
    assert_false(bm_tls_has_raw_keys());
    skip();
}
#endif

/* A client that has no certificate leaves nothing behind to be mistaken for a proof. */
static void no_certificate_no_proof(void **state)
{
    struct pair p;

    (void)state;
    pair_open(&p, &rows[BM_COUNT(rows) - 1]);
    assert_true(shake_dtls(&p));
    assert_int_equal(p.peer.transcript.n + p.peer.verify.n, 0);
    pair_close(&p);
}

/* The server's flight is sent again when nothing comes back; it counts once. */
static void what_is_sent_again_counts_once(void **state)
{
    struct bm_handshake h;
    struct bm_rd datagram;
    struct pair p;

    (void)state;
    pair_open(&p, &rows[0]);
    assert_int_equal(SSL_connect(p.client), -1);
    for (int i = 0; i < 2; i++) {
        while (line_take(&p.up, &datagram))
            (void)serve(&p, datagram);
        if (i == 0 && line_take(&p.down, &datagram)) { /* HelloVerifyRequest */
            p.client_io.in = datagram;
            (void)SSL_connect(p.client);
        }
    }
    assert_true(p.in && p.down.n > 2); /* in several datagrams, which are lost */
    p.down.at = p.down.n;
    (void)usleep(1100000); /* OpenSSL's own clock: a second */
    assert_true(DTLSv1_handle_timeout(p.server) > 0);
    assert_true(shake_dtls(&p));
    assert_ok(bm_handshake_verify(bm_buf_rd(&p.peer.transcript), bm_buf_rd(&p.peer.verify), &h, &err));
    pair_close(&p);
}

/* --- enemies --------------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc verify_exact(struct bm_rd transcript, struct bm_rd verify)
{
    uint8_t *t = exact(transcript), *v = exact(verify);
    struct bm_handshake h;
    enum bm_rc rc = bm_handshake_verify(bm_rd_of(t, transcript.n), bm_rd_of(v, verify.n), &h, &err);

    free(t);
    free(v);
    return rc;
}

/* Every byte of the messages counts, every proper prefix is refused; the same for the signature. */
static void every_byte_counts(void **state)
{
    struct bm_rd t, v;
    struct pair p;

    (void)state;
    pair_open(&p, &rows[0]);
    assert_true(shake_dtls(&p));
    t = bm_buf_rd(&p.peer.transcript);
    v = bm_buf_rd(&p.peer.verify);
    assert_ok(verify_exact(t, v));
    for (size_t n = 0; n < t.n; n++) {
        assert_int_not_equal(verify_exact(bm_rd_of(t.p, n), v), BM_OK);
        p.peer.transcript.p[n] ^= 0x40;
        assert_int_not_equal(verify_exact(t, v), BM_OK);
        p.peer.transcript.p[n] ^= 0x40;
    }
    for (size_t n = 0; n < v.n; n++) {
        assert_int_not_equal(verify_exact(t, bm_rd_of(v.p, n)), BM_OK);
        if (n >= 4 && n < 6)
            continue; /* the signature's own number, which nobody has signed */
        p.peer.verify.p[n] ^= 0x40;
        assert_int_not_equal(verify_exact(t, v), BM_OK);
        p.peer.verify.p[n] ^= 0x40;
    }
    pair_close(&p);
}

/* Breaks when the server can be used to flood somebody whose address is forged: before the cookie it never says more than it was told, and
 * holds nothing. */
static void nothing_is_given_before_the_cookie(void **state)
{
    struct bm_rd hello = { 0 };
    struct pair p, q;

    (void)state;
    pair_open(&p, &rows[0]);
    assert_int_equal(SSL_connect(p.client), -1);
    assert_true(line_take(&p.up, &hello) && bm_dtls_is_hello(hello));
    for (int i = 0; i < 3; i++) {
        size_t before = p.down.sent;

        assert_false(serve(&p, hello));
        assert_true(!p.in && p.down.sent > before && p.down.sent - before < hello.n);
    }
    assert_int_equal(p.peer.transcript.n, 0);
    p.client_io.in = bm_buf_rd(&p.down.datagrams[0]);
    (void)SSL_connect(p.client);
    assert_true(line_take(&p.up, &hello));
    pair_open(&q, &rows[0]);
    q.server_io.address = bm_rd_str("elsewhere"); /* a cookie is for the address it was sent to */
    assert_false(serve(&q, hello));
    assert_false(q.in);
    q.server_io.address = bm_rd_str("here");
    (void)serve(&q, hello);
    assert_true(q.in); /* the server remembers nothing of the first, so any side of it takes the cookie */
    pair_close(&q);
    pair_close(&p);
}

/* Cookies go stale: after two turns of their key. */
static void cookies_end(void **state)
{
    struct bm_rd hello = { 0 };
    struct pair p, q;

    (void)state;
    pair_open(&p, &rows[0]);
    (void)SSL_connect(p.client);
    assert_true(line_take(&p.up, &hello));
    (void)serve(&p, hello);
    p.client_io.in = bm_buf_rd(&p.down.datagrams[0]);
    (void)SSL_connect(p.client);
    assert_true(line_take(&p.up, &hello));
    for (int turns = 1; turns <= 2; turns++) {
        bm_dtls_cookies_turn(&cookies, cookies.changed_ms + BM_COAP_COOKIE_S * INT64_C(1000));
        pair_open(&q, &rows[0]);
        (void)serve(&q, hello);
        assert_int_equal(q.in, turns == 1);
        pair_close(&q);
    }
    pair_close(&p);
}

static void what_is_no_hello_is_passed_over(void **state)
{
    static const uint8_t seed[] = {
        22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, 1, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 28, 0xfe, 0xfd
    };
    uint8_t raw[60] = { 0 };
    struct bm_rd random;
    struct pair p;

    (void)state;
    memcpy(raw, seed, sizeof seed);
    assert_true(bm_dtls_is_hello(bm_rd_of(raw, sizeof raw)) && bm_dtls_hello_random(bm_rd_of(raw, sizeof raw), &random));
    for (size_t n = 0; n < sizeof raw; n++) {
        uint8_t *cut = exact(bm_rd_of(raw, n));

        assert_int_equal(bm_dtls_hello_random(bm_rd_of(cut, n), &random), n >= 59);
        free(cut);
    }
    for (size_t at = 0; at < 14; at += at == 1 ? 2 : at == 4 ? 9 : 1) { /* type, version, epoch, message type */
        raw[at] ^= 0x10;
        assert_false(bm_dtls_is_hello(bm_rd_of(raw, sizeof raw)));
        raw[at] ^= 0x10;
    }
    pair_open(&p, &rows[0]);
    (void)serve(&p, bm_rd_of(raw, sizeof raw)); /* it looks like one, and is none */
    assert_false(p.in);
    assert_true(p.down.sent <= sizeof raw);
    pair_close(&p);
}

/* RFC 7925 section 4.2, RFC 9325: no older version, no suite without forward secrecy. */
static void old_ways_are_refused(void **state)
{
    static const struct row old[] = { { "P-256", "AES128-CCM8", NULL, 0, false },
                                      { "P-256", "ECDHE-ECDSA-AES128-SHA", NULL, 0, false } };
    struct pair p;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(old); i++) {
        pair_open(&p, &old[i]);
        assert_false(shake_dtls(&p));
        pair_close(&p);
    }
    pair_open(&p, &rows[BM_COUNT(rows) - 1]);
    assert_true(SSL_set_min_proto_version(p.client, DTLS1_VERSION) == 1 && SSL_set_max_proto_version(p.client, DTLS1_VERSION) == 1);
    assert_false(shake_dtls(&p));
    pair_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_handshakes_verify),
        cmocka_unit_test(raw_keys_verify),
        cmocka_unit_test(no_certificate_no_proof),
        cmocka_unit_test(what_is_sent_again_counts_once),
        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(nothing_is_given_before_the_cookie),
        cmocka_unit_test(cookies_end),
        cmocka_unit_test(what_is_no_hello_is_passed_over),
        cmocka_unit_test(old_ways_are_refused),
    };

    return cmocka_run_group_tests(tests, open_server, close_server);
}
