/* Handshakes in which the client shows a raw public key (RFC 7250), put together by hand: OpenSSL can make them from 3.2 on only. Of the messages that
 * say nothing about who the client is there is as much as a reader of the transcript looks at. */
#ifndef BM_TESTS_RAW_KEY_HANDSHAKE_H
#define BM_TESTS_RAW_KEY_HANDSHAKE_H

#include "keeper_fixture.h"

enum raw_over { RAW_DTLS12, RAW_TLS12, RAW_TLS13 };
struct raw_handshake {
    enum raw_over over;
    const char *client_type, *server_type; /* hex of the extensions' content; NULL: not there */
    const char *entry_end;                 /* hex behind the key */
    bool listed;                           /* TLS 1.2: the Certificate is a list, as with X.509 */
    bool no_key;
};

static UNUSED void put_hex(struct bm_buf *out, const char *hex)
{
    uint8_t bytes[64];
    size_t n = hex != NULL ? strlen(hex) / 2 : 0;

    assert_true(n <= sizeof bytes && (n == 0 || bm_unhex(bm_rd_of(hex, 2 * n), bytes, n)));
    bm_buf_put(out, bytes, n);
}

static UNUSED void put_message(struct bm_buf *out, const struct raw_handshake *r, uint8_t type, unsigned number, struct bm_rd body)
{
    bm_buf_uint(out, 1, type);
    bm_buf_uint(out, 3, body.n);
    if (r->over == RAW_DTLS12) {
        bm_buf_uint(out, 2, number);
        bm_buf_uint(out, 3, 0);
        bm_buf_uint(out, 3, body.n);
    }
    bm_buf_put(out, body.p, body.n);
}

static UNUSED void put_extension(struct bm_buf *out, unsigned type, const char *hex)
{
    if (hex == NULL)
        return;
    bm_buf_uint(out, 2, type);
    bm_buf_uint(out, 2, strlen(hex) / 2);
    put_hex(out, hex);
}

/* The extensions that say what kind of Certificate follows: in the ServerHello, or in TLS 1.3 the EncryptedExtensions. */
static UNUSED void put_types(struct bm_buf *out, const struct raw_handshake *r, bool version)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf list = { .max = 256 };

    if (version)
        put_extension(&list, 43, "0304");
    else
        put_extension(&list, 19, r->client_type);
    if (!version)
        put_extension(&list, 20, r->server_type);
    bm_buf_uint(out, 2, list.n);
    bm_buf_put(out, list.p, list.n);
}

static UNUSED void put_server_hello(struct bm_buf *out, const struct raw_handshake *r, const uint8_t nonce[BM_HANDSHAKE_NONCE_LEN])
{
    BM_CLEANUP(bm_buf_done) struct bm_buf body = { .max = 512 };
    static const uint8_t random[32] = "random for a test, as it needs.";
    uint8_t id[BM_HANDSHAKE_ID_LEN];

    bm_handshake_session_id(nonce, random, id);
    bm_buf_uint(&body, 2, r->over == RAW_DTLS12 ? 0xfefd : 0x0303);
    bm_buf_put(&body, random, sizeof random);
    bm_buf_uint(&body, 1, sizeof id);
    bm_buf_put(&body, id, sizeof id);
    bm_buf_uint(&body, 2, r->over == RAW_TLS13 ? 0x1301 : 0xc0ae);
    bm_buf_uint(&body, 1, 0);
    put_types(&body, r, r->over == RAW_TLS13);
    put_message(out, r, 2, 1, bm_buf_rd(&body));
}

static UNUSED void put_server_certificate(struct bm_buf *out, const struct raw_handshake *r)
{
    put_message(out, r, 11, 2, r->over == RAW_TLS13 ? bm_rd_of("\0\0\0\x9\0\0\4cert\0\0", 13) : bm_rd_of("\0\0\7\0\0\4cert", 10));
}

static UNUSED void put_client_certificate(struct bm_buf *out, const struct raw_handshake *r, struct bm_rd spki)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf entry = { .max = 8192 }, body = { .max = 8192 };

    spki.n = r->no_key ? 0 : spki.n;
    bm_buf_uint(&entry, 3, spki.n);
    bm_buf_put(&entry, spki.p, spki.n);
    put_hex(&entry, r->entry_end);
    if (r->over == RAW_TLS13)
        bm_buf_uint(&body, 1, 0);
    if (r->over == RAW_TLS13 || r->listed)
        bm_buf_uint(&body, 3, entry.n);
    bm_buf_put(&body, entry.p, entry.n);
    put_message(out, r, 11, 6, bm_buf_rd(&body));
}

static UNUSED void put_nonce(struct bm_buf *out, const struct raw_handshake *r, const uint8_t nonce[BM_HANDSHAKE_NONCE_LEN])
{
    BM_CLEANUP(bm_buf_done) struct bm_buf body = { .max = 512 };

    bm_buf_uint(&body, 1, 0);
    bm_buf_uint(&body, 2, 4 + BM_HANDSHAKE_NONCE_LEN);
    bm_buf_uint(&body, 2, BM_HANDSHAKE_EXTENSION);
    bm_buf_uint(&body, 2, BM_HANDSHAKE_NONCE_LEN);
    bm_buf_put(&body, nonce, BM_HANDSHAKE_NONCE_LEN);
    put_message(out, r, 13, 0, bm_buf_rd(&body));
}

static UNUSED void put_flights(struct bm_buf *out, const struct raw_handshake *r, const uint8_t *nonce, struct bm_rd spki)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf types = { .max = 512 };

    put_message(out, r, 1, 0, bm_rd_of("\3\3 what the client says first", 30));
    put_server_hello(out, r, nonce);
    if (r->over == RAW_TLS13) {
        put_types(&types, r, false);
        put_message(out, r, 8, 0, bm_buf_rd(&types));
        put_nonce(out, r, nonce);
        put_server_certificate(out, r);
        put_message(out, r, 15, 0, bm_rd_str("signature"));
        put_message(out, r, 20, 0, bm_rd_str("finished"));
        put_client_certificate(out, r, spki);
        return;
    }
    put_server_certificate(out, r);
    put_message(out, r, 12, 3, bm_rd_str("key exchange"));
    put_message(out, r, 13, 4, bm_rd_str("request"));
    put_message(out, r, 14, 5, bm_rd_str(""));
    put_client_certificate(out, r, spki);
    put_message(out, r, 16, 7, bm_rd_str("key exchange"));
}

/* What the client signs: RFC 5246 section 7.4.8, RFC 8446 section 4.4.3. */
static UNUSED void put_signed(struct bm_buf *out, const struct raw_handshake *r, struct bm_rd transcript)
{
    static const char context[] = "TLS 1.3, client CertificateVerify";
    uint8_t digest[32];

    if (r->over != RAW_TLS13) {
        bm_buf_put(out, transcript.p, transcript.n);
        return;
    }
    assert_int_equal(EVP_Digest(transcript.p, transcript.n, digest, NULL, EVP_sha256(), NULL), 1);
    for (int i = 0; i < 64; i++)
        bm_buf_uint(out, 1, 0x20);
    bm_buf_put(out, context, sizeof context);
    bm_buf_put(out, digest, sizeof digest);
}

/* by: who signs, a P-256 key; spki: what it shows. */
static UNUSED void raw_handshake(const struct raw_handshake *r, const uint8_t nonce[BM_HANDSHAKE_NONCE_LEN], EVP_PKEY *by,
                                 struct bm_rd spki, struct bm_tls_peer *ret)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf tbs = { .max = BM_HANDSHAKE_MAX }, body = { .max = 1024 };
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t signature[512];
    size_t n = sizeof signature;

    *ret = (struct bm_tls_peer){ .transcript.max = BM_HANDSHAKE_MAX, .verify.max = BM_HANDSHAKE_VERIFY_MAX };
    put_flights(&ret->transcript, r, nonce, spki);
    put_signed(&tbs, r, bm_buf_rd(&ret->transcript));
    assert_true(ctx != NULL && EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, by, NULL) == 1 &&
                EVP_DigestSign(ctx, signature, &n, tbs.p, tbs.n) == 1);
    EVP_MD_CTX_free(ctx);
    bm_buf_uint(&body, 2, 0x0403);
    bm_buf_uint(&body, 2, n);
    bm_buf_put(&body, signature, n);
    put_message(&ret->verify, r, 15, 8, bm_buf_rd(&body));
    assert_false(ret->transcript.bad || ret->verify.bad || tbs.bad || body.bad);
}

#endif
