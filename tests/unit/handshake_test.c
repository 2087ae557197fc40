/* pki/handshake.h: handshakes of OpenSSL's client with the worker's end of TLS, verified by somebody who was not there. If this fails, the
 * keeper either believes a worker that lies about who connected, or refuses honest devices. */
#include "keeper_fixture.h"

static const uint8_t nonce[BM_HANDSHAKE_NONCE_LEN] = "thirty-two bytes that are fresh.", other_nonce[BM_HANDSHAKE_NONCE_LEN] = "x";
static struct party server_key;
static struct bm_view view;
static struct bm_buf pem, key;

static int open_server(void **state)
{
    (void)state;
    party_keys(&server_key, "P-256");
    party_certify(&server_key, "server", NULL, false, 86400);
    pem.max = key.max = 65536;
    bm_pem_write(&pem, "CERTIFICATE", bm_buf_rd(&server_key.cert));
    assert_ok(bm_key_export(server_key.key, &key, &err));
    view.tls_chain_pem = bm_buf_rd(&pem);
    view.tls_key = bm_buf_rd(&key);
    view.nonce = bm_rd_of(nonce, sizeof nonce);
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

/* --- what devices do ---------------------------------------------------------------------------------------------------------------- */
static const struct row {
    const char *alg;
    int version;
    const char *suites, *groups, *schemes; /* NULL: OpenSSL's own choice */
} rows[] = {
    { "P-256", TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", "X25519", NULL },
    { "P-256", TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", "P-256", NULL },
    { "P-256", TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", NULL, NULL },
    { "P-256", TLS1_3_VERSION, NULL, "X448:P-384", NULL }, /* its share is none of ours: HelloRetryRequest */
    { "P-256", TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", "X448:P-521", NULL },
    { "P-384", TLS1_3_VERSION, NULL, NULL, NULL },
    { "P-521", TLS1_3_VERSION, NULL, NULL, NULL },
    { "ED25519", TLS1_3_VERSION, NULL, NULL, NULL },
    { "RSA", TLS1_3_VERSION, NULL, NULL, NULL },
    { "RSA", TLS1_3_VERSION, NULL, NULL, "rsa_pss_rsae_sha384" },
    { "RSA", TLS1_3_VERSION, NULL, NULL, "rsa_pss_rsae_sha512" },
    { "P-256", TLS1_2_VERSION, NULL, NULL, NULL },
    { "P-256", TLS1_2_VERSION, NULL, NULL, "ECDSA+SHA384" },
    { "P-384", TLS1_2_VERSION, NULL, NULL, "ECDSA+SHA512" },
    { "ED25519", TLS1_2_VERSION, NULL, NULL, NULL },
    { "RSA", TLS1_2_VERSION, NULL, NULL, "RSA+SHA256" },
    { "RSA", TLS1_2_VERSION, NULL, NULL, "RSA+SHA512" },
    { "RSA", TLS1_2_VERSION, NULL, NULL, "rsa_pss_rsae_sha256" },
};

static const uint8_t staple[] = "what an OCSP responder said";

static int give_staple(SSL *ssl, void *arg)
{
    (void)arg;
    return SSL_set_tlsext_status_ocsp_resp(ssl, OPENSSL_memdup(staple, sizeof staple), sizeof staple) == 1
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int take_staple(SSL *ssl, void *arg)
{
    const uint8_t *p;

    *(bool *)arg = SSL_get_tlsext_status_ocsp_resp(ssl, &p) == sizeof staple && memcmp(p, staple, sizeof staple) == 0;
    return 1;
}

static void shake_row(const struct row *r, struct party *dev, struct bm_tls_peer *ret)
{
    SSL_CTX *server = NULL, *client = SSL_CTX_new(TLS_client_method());
    const uint8_t *p;
    X509 *x;

    party_keys(dev, r->alg);
    party_certify(dev, "device", NULL, false, 86400);
    p = dev->cert.p;
    x = d2i_X509(NULL, &p, (long)dev->cert.n);
    assert_ok(bm_tls_context(&view, &server, &err));
    assert_true(SSL_CTX_use_certificate(client, x) == 1 && SSL_CTX_use_PrivateKey(client, dev->evp) == 1);
    assert_true(SSL_CTX_set_min_proto_version(client, r->version) == 1 && SSL_CTX_set_max_proto_version(client, r->version) == 1);
    assert_true(r->suites == NULL || SSL_CTX_set_ciphersuites(client, r->suites) == 1);
    assert_true(r->groups == NULL || SSL_CTX_set1_groups_list(client, r->groups) == 1);
    assert_true(r->schemes == NULL || SSL_CTX_set1_client_sigalgs_list(client, r->schemes) == 1);
    *ret = (struct bm_tls_peer){ .transcript.max = BM_HANDSHAKE_MAX, .verify.max = BM_HANDSHAKE_VERIFY_MAX };
    shake(server, client, ret);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
    X509_free(x);
}

/* Breaks when a device that asks for the status of the server's certificate can no longer prove its own. */
static void stapled_handshakes_verify(void **state)
{
    static const int versions[] = { TLS1_3_VERSION, TLS1_2_VERSION };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(versions); i++) {
        BM_CLEANUP(party_done) struct party dev;
        BM_CLEANUP(bm_tls_peer_done)
        struct bm_tls_peer peer = { .transcript.max = BM_HANDSHAKE_MAX, .verify.max = BM_HANDSHAKE_VERIFY_MAX };
        SSL_CTX *server = NULL, *client = SSL_CTX_new(TLS_client_method());
        struct bm_handshake h;
        bool stapled = false;
        const uint8_t *p;
        X509 *x;

        party_keys(&dev, "P-256");
        party_certify(&dev, "device", NULL, false, 86400);
        p = dev.cert.p;
        x = d2i_X509(NULL, &p, (long)dev.cert.n);
        assert_ok(bm_tls_context(&view, &server, &err));
        SSL_CTX_set_tlsext_status_cb(server, give_staple);
        SSL_CTX_set_tlsext_status_cb(client, take_staple);
        SSL_CTX_set_tlsext_status_arg(client, &stapled);
        assert_true(SSL_CTX_set_tlsext_status_type(client, TLSEXT_STATUSTYPE_ocsp) == 1 &&
                    SSL_CTX_use_certificate(client, x) == 1 && SSL_CTX_use_PrivateKey(client, dev.evp) == 1 &&
                    SSL_CTX_set_max_proto_version(client, versions[i]) == 1);
        shake(server, client, &peer);
        assert_true(stapled);
        assert_ok(bm_handshake_verify(bm_buf_rd(&peer.transcript), bm_buf_rd(&peer.verify), &h, &err));
        assert_true(h.tls13 == (versions[i] == TLS1_3_VERSION) && bm_handshake_is_fresh(&h, nonce));
        SSL_CTX_free(server);
        SSL_CTX_free(client);
        X509_free(x);
    }
}

static void honest_handshakes_verify(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(party_done) struct party dev;
        BM_CLEANUP(bm_tls_peer_done) struct bm_tls_peer peer;
        struct bm_handshake h;

        shake_row(&rows[i], &dev, &peer);
        if (bm_handshake_verify(bm_buf_rd(&peer.transcript), bm_buf_rd(&peer.verify), &h, &err) != BM_OK)
            fail_msg("row %zu: %s: %s", i, err.code, err.what);
        assert_int_equal(h.tls13, rows[i].version == TLS1_3_VERSION);
        assert_true(bm_rd_eq(h.certificate, bm_buf_rd(&dev.cert)));
        assert_true(bm_handshake_is_fresh(&h, nonce));
        assert_false(bm_handshake_is_fresh(&h, other_nonce));
    }
}

/* A client that has no certificate leaves nothing behind to be mistaken for a proof. */
static void no_certificate_no_proof(void **state)
{
    static const int versions[] = { TLS1_3_VERSION, TLS1_2_VERSION };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(versions); i++) {
        BM_CLEANUP(bm_tls_peer_done)
        struct bm_tls_peer peer = { .transcript.max = BM_HANDSHAKE_MAX, .verify.max = BM_HANDSHAKE_VERIFY_MAX };
        SSL_CTX *server = NULL, *client = SSL_CTX_new(TLS_client_method());

        assert_ok(bm_tls_context(&view, &server, &err));
        assert_int_equal(SSL_CTX_set_max_proto_version(client, versions[i]), 1);
        shake(server, client, &peer);
        assert_int_equal(peer.transcript.n + peer.verify.n, 0);
        SSL_CTX_free(server);
        SSL_CTX_free(client);
    }
}

/* --- what an enemy does ---------------------------------------------------------------------------------------------------------------- */
static enum bm_rc verify_exact(struct bm_rd transcript, struct bm_rd verify)
{
    uint8_t *t = exact(transcript), *v = exact(verify);
    struct bm_handshake h;
    enum bm_rc rc = bm_handshake_verify(bm_rd_of(t, transcript.n), bm_rd_of(v, verify.n), &h, &err);

    free(t);
    free(v);
    return rc;
}

/* Every byte of the messages counts, every proper prefix of them is refused; the same for the signature. */
static void every_byte_counts(void **state)
{
    static const size_t picked[] = { 0, 3, 11 }; /* TLS 1.3, with HelloRetryRequest, TLS 1.2 */

    (void)state;
    for (size_t i = 0; i < BM_COUNT(picked); i++) {
        BM_CLEANUP(party_done) struct party dev;
        BM_CLEANUP(bm_tls_peer_done) struct bm_tls_peer peer;
        struct bm_rd t, v;

        shake_row(&rows[picked[i]], &dev, &peer);
        t = bm_buf_rd(&peer.transcript);
        v = bm_buf_rd(&peer.verify);
        assert_ok(verify_exact(t, v));
        for (size_t n = 0; n < t.n; n++) {
            assert_int_not_equal(verify_exact(bm_rd_of(t.p, n), v), BM_OK);
            peer.transcript.p[n] ^= 0x40;
            assert_int_not_equal(verify_exact(t, v), BM_OK);
            peer.transcript.p[n] ^= 0x40;
        }
        for (size_t n = 0; n < v.n; n++) {
            assert_int_not_equal(verify_exact(t, bm_rd_of(v.p, n)), BM_OK);
            peer.verify.p[n] ^= 0x40;
            assert_int_not_equal(verify_exact(t, v), BM_OK);
            peer.verify.p[n] ^= 0x40;
        }
        bm_buf_put(&peer.transcript, "", 1);
        assert_int_not_equal(verify_exact(bm_buf_rd(&peer.transcript), v), BM_OK);
        bm_buf_put(&peer.verify, "", 1);
        assert_int_not_equal(verify_exact(t, bm_buf_rd(&peer.verify)), BM_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_handshakes_verify),
        cmocka_unit_test(stapled_handshakes_verify),
        cmocka_unit_test(no_certificate_no_proof),
        cmocka_unit_test(every_byte_counts),
    };

    return cmocka_run_group_tests(tests, open_server, close_server);
}
