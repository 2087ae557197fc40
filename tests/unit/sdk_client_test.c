/* The exchange machine against canned answers: Onboard with a signed challenge, EST, refusals, and a server that lies. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/cbor.h"
#include "sdk_help.h"

#include <openssl/sha.h>
#include <openssl/x509.h>

static struct sdk_device device, ldevid;
static struct bmd_client client;
static uint8_t tx[8192], rx[8192], csr_room[BMD_CSR_MAX], cert_room[BMD_IDEVID_MAX], udid[BMD_UDID_LEN];
static struct bmd_onboard_request request;
static struct bmd_rd cert; /* over the key asked for */

static int set_up(void **state)
{
    (void)state;
    sdk_device_init(&device, BMD_P256);
    sdk_device_init(&ldevid, BMD_P256);
    assert_int_equal(bmd_udid(&device.signer, udid), BMD_OK);
    assert_int_equal(bmd_csr(&ldevid.signer, "", csr_room, sizeof csr_room, &request.csr), BMD_OK);
    assert_int_equal(bmd_idevid_cert(&ldevid.signer, "x", cert_room, sizeof cert_room, &cert), BMD_OK);
    request.service = bmd_rd_str("web");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sdk_device_done(&device);
    sdk_device_done(&ldevid);
    return 0;
}

static struct bmd_client_config config(enum bmd_client_op op)
{
    return (struct bmd_client_config){
        .op = op,
        .host = "server.example",
        .signer = &device.signer,
        .udid = bmd_rd_of(udid, sizeof udid),
        .requests = &request,
        .n_requests = 1,
        .tx = tx,
        .rx = rx,
        .tx_cap = sizeof tx,
        .rx_cap = sizeof rx,
    };
}

static struct bmd_rd http(const char *status, const char *type, struct bmd_rd body)
{
    static uint8_t room[8192];
    struct bmd_wr w = bmd_wr_of(room, sizeof room);

    bmd_wr_str(&w, "HTTP/1.1 ");
    bmd_wr_str(&w, status);
    bmd_wr_str(&w, "\r\nContent-Type: ");
    bmd_wr_str(&w, type);
    bmd_wr_str(&w, "\r\nBirthmark-Correlation: c0ffee\r\nContent-Length: ");
    bmd_wr_dec(&w, body.n);
    bmd_wr_str(&w, "\r\n\r\n");
    bmd_wr_put(&w, body.p, body.n);
    assert_false(w.bad);
    return bmd_wr_rd(&w);
}

static void text(struct bmd_wr *w, const char *s)
{
    bmd_cbor_put_text(w, bmd_rd_str(s));
}

static struct bmd_rd answer(const uint8_t *who, struct bmd_rd certificate, size_t n)
{
    static uint8_t room[4096];
    struct bmd_wr w = bmd_wr_of(room, sizeof room);

    bmd_cbor_put_map(&w, 4);
    text(&w, "udid");
    bmd_cbor_put_bytes(&w, bmd_rd_of(who, BMD_UDID_LEN));
    text(&w, "credentials");
    bmd_cbor_put_array(&w, n);
    for (size_t i = 0; i < n; i++) {
        bmd_cbor_put_map(&w, 5);
        text(&w, "service");
        text(&w, "web");
        text(&w, "certificate");
        bmd_cbor_put_bytes(&w, certificate);
        text(&w, "chain");
        bmd_cbor_put_array(&w, 0);
        text(&w, "not_after");
        bmd_cbor_put_uint(&w, 2);
        text(&w, "renew_after");
        bmd_cbor_put_uint(&w, 1);
    }
    text(&w, "anchors");
    bmd_cbor_put_array(&w, 0);
    text(&w, "correlation");
    text(&w, "c");
    assert_false(w.bad);
    return bmd_wr_rd(&w);
}

static enum bmd_step feed(struct bmd_rd in, size_t step)
{
    bmd_client_sent(&client);
    for (size_t at = 0; at < in.n && client.step == BMD_STEP_RECV; at += step)
        (void)bmd_client_input(&client, in.p + at, in.n - at < step ? in.n - at : step);
    return client.step;
}

static void onboard_over_tls(void **state)
{
    struct bmd_client_config cfg = config(BMD_OP_ONBOARD_ENROL);

    (void)state;
    for (size_t step = 1; step < 2000; step = step * 7) {
        assert_int_equal(bmd_client_init(&client, &cfg), BMD_OK);
        assert_int_equal(client.step, BMD_STEP_SEND);
        assert_memory_equal(bmd_client_output(&client).p, "POST /onboard/v1/enrol ", 23);
        assert_int_equal(feed(http("200 OK", "application/cbor", answer(udid, cert, 1)), step), BMD_STEP_DONE);
        assert_true(bmd_rd_eq(client.answer.enrolled.credentials[0].certificate, cert));
        assert_string_equal(client.http.correlation, "c0ffee");
    }
}

static struct bmd_rd member(struct bmd_rd map, const char *name)
{
    struct bmd_cbor_item head, key, value;

    assert_int_equal(bmd_cbor_take(&map, BMD_CBOR_MAP, &head), BMD_OK);
    while (head.value-- != 0) {
        assert_int_equal(bmd_cbor_take(&map, BMD_CBOR_TEXT, &key), BMD_OK);
        if (bmd_rd_is(key.bytes, name)) {
            assert_int_equal(bmd_cbor_next(&map, &value), BMD_OK);
            return value.bytes;
        }
        assert_int_equal(bmd_cbor_skip(&map), BMD_OK);
    }
    return bmd_rd_of(NULL, 0);
}

/* The server's side of the proof: key hashes to the UDID, signature holds over the bytes of docs/onboard.md. */
static void check_proof(struct bmd_rd body, const uint8_t *challenge)
{
    struct bmd_rd key = member(body, "key"), sig = member(body, "signature");
    uint8_t hash[32], tbs[2048], der[BMD_SIG_DER_MAX];
    const uint8_t *p = key.p;
    struct bmd_wr w = bmd_wr_of(tbs, sizeof tbs);
    struct bmd_onboard m = {
        .udid = bmd_rd_of(udid, 32), .challenge = bmd_rd_of(challenge, 48), .requests = &request, .n_requests = 1
    };
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY *pub = d2i_PUBKEY(NULL, &p, (long)key.n);
    size_t n = 0;

    SHA256(key.p, key.n, hash);
    assert_memory_equal(hash, udid, 32);
    assert_true(bmd_rd_eq(member(body, "challenge"), m.challenge));
    bmd_onboard_tbs(&w, BMD_ONBOARD_ENROL, &m);
    assert_int_equal(sig.n, 64);
    assert_int_equal(bmd_sig_to_der(sig, der, sizeof der, &n), BMD_OK);
    assert_int_equal(EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, pub), 1);
    assert_int_equal(EVP_DigestVerify(md, der, n, tbs, w.n), 1);
    EVP_PKEY_free(pub);
    EVP_MD_CTX_free(md);
}

static void onboard_by_challenge(void **state)
{
    struct bmd_client_config cfg = config(BMD_OP_ONBOARD_ENROL);
    uint8_t challenge[48], room[128];
    struct bmd_wr w = bmd_wr_of(room, sizeof room);
    struct bmd_rd out;
    const char *body;

    (void)state;
    memset(challenge, 0x5a, sizeof challenge);
    bmd_cbor_put_map(&w, 2);
    text(&w, "challenge");
    bmd_cbor_put_bytes(&w, bmd_rd_of(challenge, sizeof challenge));
    text(&w, "expires_in");
    bmd_cbor_put_uint(&w, 120);
    cfg.signed_challenge = true;
    assert_int_equal(bmd_client_init(&client, &cfg), BMD_OK);
    assert_memory_equal(bmd_client_output(&client).p, "POST /onboard/v1/challenge ", 27);
    assert_int_equal(feed(http("200 OK", "application/cbor", bmd_wr_rd(&w)), 1000), BMD_STEP_SEND);
    out = bmd_client_output(&client);
    body = memmem(out.p, out.n, "\r\n\r\n", 4);
    assert_non_null(body);
    check_proof(bmd_rd_of(body + 4, out.n - (size_t)(body + 4 - (const char *)out.p)), challenge);
    assert_int_equal(feed(http("200 OK", "application/cbor", answer(udid, cert, 1)), 1000), BMD_STEP_DONE);
}

static void lies(void **state)
{
    struct bmd_client_config cfg = config(BMD_OP_ONBOARD_ENROL);
    uint8_t other_udid[BMD_UDID_LEN] = { 1 }, room[BMD_IDEVID_MAX];
    struct bmd_rd other_cert;
    const struct {
        const char *name;
        const uint8_t *who;
        struct bmd_rd cert;
        size_t n;
        enum bmd_rc want;
    } cases[] = {
        { "another device's answer", other_udid, cert, 1, BMD_INTEGRITY },
        { "two certificates for one request", udid, cert, 2, BMD_INTEGRITY },
        { "not a certificate", udid, bmd_rd_str("0"), 1, BMD_MALFORMED },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(bmd_client_init(&client, &cfg), BMD_OK);
        assert_int_equal(feed(http("200 OK", "application/cbor", answer(cases[i].who, cases[i].cert, cases[i].n)), 999),
                         BMD_STEP_FAILED);
        if (client.rc != cases[i].want)
            fail_msg("%s: %s", cases[i].name, bmd_rc_name(client.rc));
    }
    assert_int_equal(bmd_idevid_cert(&device.signer, "x", room, sizeof room, &other_cert), BMD_OK); /* over another key */
    assert_int_equal(bmd_client_init(&client, &cfg), BMD_OK);
    assert_int_equal(feed(http("200 OK", "application/cbor", answer(udid, other_cert, 1)), 999), BMD_STEP_FAILED);
    assert_int_equal(client.rc, BMD_INTEGRITY);
}

static void refusals(void **state)
{
    static const struct {
        const char *in;
        enum bmd_rc want;
        unsigned status;
        const char *code;
        uint32_t retry;
    } cases[] = {
        { "HTTP/1.1 403 No\r\nBirthmark-Code: unknown-device\r\nContent-Length: 0\r\n\r\n", BMD_REFUSED, 403, "unknown-device", 0 },
        { "HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n", BMD_REFUSED, 503, "", 9 },
        { "HTTP/1.1 503 Busy\r\nContent-Type: application/cbor\r\nContent-Length: 24\r\n\r\n"
          "\xa2\x64"
          "code"
          "\x64"
          "busy"
          "\x6bretry_after\x07",
          BMD_REFUSED, 503, "", 7 },
        { "HTTP/1.1 503 Busy\r\nContent-Type: application/cbor\r\nContent-Length: 2\r\n\r\n\xa2\x64", BMD_REFUSED, 503, "", 0 },
        { "HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n", BMD_REFUSED, 302, "", 0 },
        { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", BMD_MALFORMED, 200, "", 0 },
        { "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", BMD_NO_SPACE, 0, "", 0 },
    };
    struct bmd_client_config cfg = config(BMD_OP_ONBOARD_ENROL);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(bmd_client_init(&client, &cfg), BMD_OK);
        assert_int_equal(feed(bmd_rd_str(cases[i].in), 5000), BMD_STEP_FAILED);
        if (client.rc != cases[i].want || client.http.status != cases[i].status || strcmp(client.http.code, cases[i].code) != 0 ||
            client.http.retry_after_s != cases[i].retry)
            fail_msg("row %zu: %s, %u, '%s', %u", i, bmd_rc_name(client.rc), client.http.status, client.http.code,
                     (unsigned)client.http.retry_after_s);
    }
}

static void connection_lost(void **state)
{
    struct bmd_client_config cfg = config(BMD_OP_EST_ENROL);
    struct bmd_rd whole = http("200 OK", "application/pkcs7-mime", bmd_rd_str("MAA="));

    (void)state;
    for (size_t n = 0; n < whole.n; n++) {
        assert_int_equal(bmd_client_init(&client, &cfg), BMD_OK);
        bmd_client_sent(&client);
        if (n != 0)
            assert_int_equal(bmd_client_input(&client, whole.p, n), BMD_STEP_RECV);
        assert_int_equal(bmd_client_input(&client, NULL, 0), BMD_STEP_FAILED);
        assert_int_equal(bmd_client_input(&client, whole.p, whole.n), BMD_STEP_FAILED); /* and stays so */
    }
}

static void configurations(void **state)
{
    struct bmd_client_config good = config(BMD_OP_ONBOARD_ENROL), c;

    (void)state;
    c = good, c.udid.n = 31;
    assert_int_equal(bmd_client_init(&client, &c), BMD_BAD_ARGUMENT);
    c = good, c.n_requests = 0;
    assert_int_equal(bmd_client_init(&client, &c), BMD_BAD_ARGUMENT);
    c = good, c.n_requests = BMD_SERVICES_MAX + 1;
    assert_int_equal(bmd_client_init(&client, &c), BMD_BAD_ARGUMENT);
    c = good, c.host = NULL;
    assert_int_equal(bmd_client_init(&client, &c), BMD_BAD_ARGUMENT);
    c = good, c.op = BMD_OP_EST_ENROL, c.signed_challenge = true;
    assert_int_equal(bmd_client_init(&client, &c), BMD_BAD_ARGUMENT);
    c = good, c.tx_cap = 100;
    assert_int_equal(bmd_client_init(&client, &c), BMD_BAD_ARGUMENT);
    c = good, c.tx_cap = 1000; /* the head fits, the request does not */
    assert_int_equal(bmd_client_init(&client, &c), BMD_BUFFER_TOO_SMALL);
    assert_int_equal(bmd_client_output(&client).n, 0);
    c = good, c.op = BMD_OP_EST_ENROL, c.label = "a b";
    assert_int_equal(bmd_client_init(&client, &c), BMD_BUFFER_TOO_SMALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(onboard_over_tls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(onboard_by_challenge, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(connection_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(configurations, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
