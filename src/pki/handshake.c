#include "pki/handshake.h"

#include "pki/impl.h"

#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <stdlib.h>

/* RFC 8446 section 4, RFC 5246 section 7.4, RFC 6066 section 8, RFC 7250 section 3 */
enum message_type {
    CLIENT_HELLO = 1,
    SERVER_HELLO = 2,
    ENCRYPTED_EXTENSIONS = 8,
    CERTIFICATE = 11,
    SERVER_KEY_EXCHANGE = 12,
    CERTIFICATE_REQUEST = 13,
    SERVER_HELLO_DONE = 14,
    CERTIFICATE_VERIFY = 15,
    CLIENT_KEY_EXCHANGE = 16,
    FINISHED = 20,
    CERTIFICATE_STATUS = 22,
    MESSAGE_HASH = 254,
};
enum {
    CLIENT_CERTIFICATE_TYPE = 19,
    SERVER_CERTIFICATE_TYPE = 20,
    SUPPORTED_VERSIONS = 43,
    HEADER_LEN = 4,
    DTLS_HEADER_LEN = 12,
    RANDOM_LEN = 32
};
enum { TLS_12 = 0x0303, DTLS_12 = 0xfefd };
enum { X509_TYPE = 0, RAW_KEY_TYPE = 2 };

struct message {
    uint8_t type;
    struct bm_rd whole, body;
};

/* A message of DTLS 1.2 counts as if it had come in one piece (RFC 6347 section 4.2.6). */
static bool take_pieces(struct bm_rd *in, uint64_t whole)
{
    uint64_t offset, n;
    uint16_t number;

    return bm_rd_u16(in, &number) && bm_rd_uint(in, 3, &offset) && bm_rd_uint(in, 3, &n) && offset == 0 && n == whole;
}

static bool take_message(struct bm_rd *in, bool dtls, struct message *ret)
{
    struct bm_rd t = *in;
    uint64_t n;

    if (!bm_rd_u8(&t, &ret->type) || !bm_rd_uint(&t, 3, &n) || (dtls && !take_pieces(&t, n)) || !bm_rd_take(&t, n, &ret->body))
        return false;
    ret->whole = bm_rd_of(in->p, (dtls ? DTLS_HEADER_LEN : HEADER_LEN) + ret->body.n);
    *in = t;
    return true;
}

/* Behind the header of a ClientHello, TLS has the version, 0x0303, and DTLS the message's number, which is 0 or 1. */
static bool is_dtls(struct bm_rd transcript)
{
    return transcript.n > HEADER_LEN && transcript.p[HEADER_LEN] == 0;
}

/* A vector with a length of `width` bytes, as TLS writes them (RFC 8446 section 3.4). */
static bool take_vector(struct bm_rd *in, size_t width, struct bm_rd *ret)
{
    uint64_t n;

    return bm_rd_uint(in, width, &n) && bm_rd_take(in, n, ret);
}

/* --- the parts of messages that count -------------------------------------------------------------------------------------------- */
/* False for a list that is malformed; *ret stays as it was when the extension is not in it. */
static bool find_extension(struct bm_rd list, unsigned wanted, struct bm_rd *ret)
{
    while (list.n != 0) {
        struct bm_rd content;
        uint16_t type;

        if (!bm_rd_u16(&list, &type) || !take_vector(&list, 2, &content))
            return false;
        if (type == wanted)
            *ret = content;
    }
    return true;
}

struct server_hello {
    struct bm_rd random, session_id;
    uint16_t cipher;
    bool tls13;
    bool raw_key; /* the client's Certificate holds one */
};

/* What the two sides agreed to show, RFC 7250 section 4.2 and RFC 8446 section 4.3.1: X.509 unless it is said. A server of ours shows nothing else. */
static bool read_types(struct bm_rd extensions, bool *ret_raw_key)
{
    static const uint8_t x509[] = { 0 };
    struct bm_rd client = bm_rd_of(x509, 1), server = client;
    bool ok = find_extension(extensions, CLIENT_CERTIFICATE_TYPE, &client) &&
              find_extension(extensions, SERVER_CERTIFICATE_TYPE, &server) && client.n == 1 && server.n == 1 &&
              (client.p[0] == X509_TYPE || client.p[0] == RAW_KEY_TYPE) && server.p[0] == X509_TYPE;

    *ret_raw_key = ok && client.p[0] == RAW_KEY_TYPE;
    return ok;
}

static bool read_server_hello(struct bm_rd in, bool dtls, struct server_hello *ret)
{
    struct bm_rd extensions = { 0 }, version = { 0 };
    uint8_t compression;
    uint16_t legacy;
    bool ok = bm_rd_u16(&in, &legacy) && legacy == (dtls ? DTLS_12 : TLS_12) && bm_rd_take(&in, RANDOM_LEN, &ret->random) &&
              take_vector(&in, 1, &ret->session_id) && bm_rd_u16(&in, &ret->cipher) && bm_rd_u8(&in, &compression) &&
              (in.n == 0 || take_vector(&in, 2, &extensions)) && in.n == 0 &&
              find_extension(extensions, SUPPORTED_VERSIONS, &version) && read_types(extensions, &ret->raw_key);

    ret->tls13 = ok && version.n == 2 && version.p[0] == 0x03 && version.p[1] == 0x04;
    return ok && (version.n == 0 || (ret->tls13 && !dtls));
}

static bool is_retry(const struct server_hello *h)
{
    static const uint8_t magic[RANDOM_LEN] = { /* SHA-256 of "HelloRetryRequest", RFC 8446 section 4.1.3 */
                                               0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c,
                                               0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb,
                                               0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c
    };

    return h->tls13 && memcmp(h->random.p, magic, sizeof magic) == 0;
}

static bool read_request(struct bm_rd in, struct bm_rd *ret_nonce)
{
    struct bm_rd context, extensions;

    return take_vector(&in, 1, &context) && take_vector(&in, 2, &extensions) && in.n == 0 &&
           find_extension(extensions, BM_HANDSHAKE_EXTENSION, ret_nonce);
}

static bool read_encrypted(struct bm_rd in, bool *ret_raw_key)
{
    struct bm_rd extensions;

    return take_vector(&in, 2, &extensions) && in.n == 0 && read_types(extensions, ret_raw_key);
}

/* The first certificate of the list: the client's own. */
static bool read_certificate(struct bm_rd in, bool tls13, struct bm_rd *ret)
{
    struct bm_rd context, list;

    return (!tls13 || take_vector(&in, 1, &context)) && take_vector(&in, 3, &list) && in.n == 0 && take_vector(&list, 3, ret) &&
           ret->n != 0;
}

/* A raw key stands alone: in TLS 1.2 without a list (RFC 7250 section 3), in 1.3 as the only entry of one (RFC 8446 section 4.4.2). */
static bool read_raw_key(struct bm_rd in, bool tls13, struct bm_rd *ret)
{
    struct bm_rd list, extensions;

    if (!tls13)
        return take_vector(&in, 3, ret) && in.n == 0 && ret->n != 0;
    return take_vector(&in, 1, &list) && take_vector(&in, 3, &list) && in.n == 0 && take_vector(&list, 3, ret) &&
           take_vector(&list, 2, &extensions) && list.n == 0 && ret->n != 0;
}

/* --- the transcript -------------------------------------------------------------------------------------------------------------- */
struct transcript {
    bool dtls;
    struct server_hello hello;
    struct message first_hello; /* before a HelloRetryRequest; empty when there was none */
    struct bm_rd rest;          /* from the HelloRetryRequest, or else the ClientHello, to the end */
    struct bm_handshake *told;
};

/* What follows the ServerHello, each once and in this order, when the client is asked for a certificate and has one. Full handshakes
 * with ephemeral keys only: the rest of TLS is not spoken here. */
enum { AFTER_HELLO = 6, CLIENTS_13 = 5, CLIENTS_12 = 4 };
static const uint8_t order_13[AFTER_HELLO] = { ENCRYPTED_EXTENSIONS, CERTIFICATE_REQUEST, CERTIFICATE, CERTIFICATE_VERIFY, FINISHED,
                                               CERTIFICATE };
static const uint8_t order_12[AFTER_HELLO] = { CERTIFICATE,       SERVER_KEY_EXCHANGE, CERTIFICATE_REQUEST,
                                               SERVER_HELLO_DONE, CERTIFICATE,         CLIENT_KEY_EXCHANGE };

static bool read_hellos(struct bm_rd *in, struct transcript *t)
{
    struct message m;

    t->rest = *in;
    if (!take_message(in, t->dtls, &m) || m.type != CLIENT_HELLO)
        return false;
    t->first_hello = m;
    t->rest = *in;
    if (!take_message(in, t->dtls, &m) || m.type != SERVER_HELLO || !read_server_hello(m.body, t->dtls, &t->hello))
        return false;
    if (!is_retry(&t->hello)) {
        t->rest = bm_rd_of(t->first_hello.whole.p, t->first_hello.whole.n + t->rest.n);
        t->first_hello = (struct message){ 0 };
        return true;
    }
    return take_message(in, t->dtls, &m) && m.type == CLIENT_HELLO && take_message(in, t->dtls, &m) && m.type == SERVER_HELLO &&
           read_server_hello(m.body, t->dtls, &t->hello) && t->hello.tls13 && !is_retry(&t->hello);
}

/* The server's certificate may have its status behind it: in TLS 1.2 a message of its own (RFC 6066 section 8), in 1.3 an extension. */
static bool take_step(struct bm_rd *in, bool dtls, bool after_certificate, struct message *ret)
{
    bool ok = take_message(in, dtls, ret);

    return ok && after_certificate && ret->type == CERTIFICATE_STATUS ? take_message(in, dtls, ret) : ok;
}

/* The client's Certificate is the one with a number of steps before it; the other is the server's. */
static bool read_step(struct transcript *t, size_t step, const struct message *m)
{
    bool tls13 = t->hello.tls13;

    if (tls13 && m->type == ENCRYPTED_EXTENSIONS)
        return read_encrypted(m->body, &t->hello.raw_key);
    if (tls13 && m->type == CERTIFICATE_REQUEST)
        return read_request(m->body, &t->told->nonce);
    if (m->type != CERTIFICATE)
        return true;
    if (step < (tls13 ? CLIENTS_13 : CLIENTS_12))
        return read_certificate(m->body, tls13, &t->told->server);
    return t->hello.raw_key ? read_raw_key(m->body, tls13, &t->told->spki)
                            : read_certificate(m->body, tls13, &t->told->certificate);
}

static bool read_transcript(struct bm_rd in, struct transcript *t)
{
    struct message m;
    bool ok = read_hellos(&in, t), tls13 = t->hello.tls13;
    const uint8_t *order = tls13 ? order_13 : order_12;

    for (size_t i = 0; ok && i < AFTER_HELLO; i++)
        ok = take_step(&in, t->dtls, !tls13 && i == 1, &m) && m.type == order[i] && read_step(t, i, &m);
    t->told->tls13 = tls13;
    if (!tls13)
        t->told->session_id = t->hello.session_id;
    return ok && in.n == 0;
}

/* --- the signature --------------------------------------------------------------------------------------------------------------- */
enum padding { NO_PADDING, PKCS1, PSS };
static const struct scheme {
    uint16_t code; /* SignatureScheme, RFC 8446 section 4.2.3 */
    const char *key;
    enum bm_digest digest;
    enum padding padding;
} schemes[] = {
    { 0x0403, "EC", BM_SHA256, NO_PADDING },
    { 0x0503, "EC", BM_SHA384, NO_PADDING },
    { 0x0603, "EC", BM_SHA512, NO_PADDING },
    { 0x0807, "ED25519", BM_DIGEST_NONE, NO_PADDING },
    { 0x0804, "RSA", BM_SHA256, PSS },
    { 0x0805, "RSA", BM_SHA384, PSS },
    { 0x0806, "RSA", BM_SHA512, PSS },
    { 0x0401, "RSA", BM_SHA256, PKCS1 }, /* TLS 1.2 only; a client that does so in 1.3 has been refused by TLS */
    { 0x0501, "RSA", BM_SHA384, PKCS1 },
    { 0x0601, "RSA", BM_SHA512, PKCS1 },
    { 0x0904, "ML-DSA-44", BM_DIGEST_NONE, NO_PADDING },
    { 0x0905, "ML-DSA-65", BM_DIGEST_NONE, NO_PADDING },
    { 0x0906, "ML-DSA-87", BM_DIGEST_NONE, NO_PADDING },
};

static const struct scheme *scheme_of(uint16_t code)
{
    for (size_t i = 0; i < BM_COUNT(schemes); i++)
        if (schemes[i].code == code)
            return &schemes[i];
    return NULL;
}

static bool evp_verifies(EVP_PKEY *key, const struct scheme *s, struct bm_rd message, struct bm_rd signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key_ctx = NULL; /* ctx owns it */
    bool ok = ctx != NULL && EVP_DigestVerifyInit_ex(ctx, &key_ctx, bm_digest_name(s->digest), NULL, NULL, key, NULL) == 1 &&
              (s->padding != PSS || (EVP_PKEY_CTX_set_rsa_padding(key_ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
                                     EVP_PKEY_CTX_set_rsa_pss_saltlen(key_ctx, RSA_PSS_SALTLEN_DIGEST) == 1)) &&
              EVP_DigestVerify(ctx, signature.p, signature.n, message.p, message.n) == 1;

    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

static bool verifies(EVP_PKEY *key, const struct scheme *s, struct bm_rd message, struct bm_rd signature)
{
    uint8_t digest[BM_DIGEST_MAX];

    if (EVP_PKEY_is_a(key, s->key) != 1)
        return false;
    if (bm_ec_curve(key) == BM_CURVE_NONE)
        return evp_verifies(key, s, message, signature);
    return bm_ec_verify(key, bm_rd_of(digest, bm_digest_of(s->digest, message, digest)), signature);
}

/* The hash of the cipher suite, RFC 8446 appendix B.4. */
static enum bm_digest suite_digest(uint16_t cipher)
{
    if (cipher == 0x1302)
        return BM_SHA384;
    return cipher == 0x1301 || cipher == 0x1303 ? BM_SHA256 : BM_DIGEST_NONE;
}

/* Transcript-Hash, RFC 8446 section 4.4.1; 0 when it cannot be made. */
static size_t transcript_hash(const struct transcript *t, uint8_t ret[BM_DIGEST_MAX])
{
    enum bm_digest d = suite_digest(t->hello.cipher);
    uint8_t first[HEADER_LEN + BM_DIGEST_MAX] = { MESSAGE_HASH };
    EVP_MD_CTX *ctx = d != BM_DIGEST_NONE ? EVP_MD_CTX_new() : NULL;
    bool ok = ctx != NULL && EVP_DigestInit_ex2(ctx, bm_digest_md(d), NULL) == 1;
    unsigned n = 0;

    if (ok && t->first_hello.whole.n != 0) {
        first[3] = (uint8_t)bm_digest_of(d, t->first_hello.whole, first + HEADER_LEN);
        ok = EVP_DigestUpdate(ctx, first, HEADER_LEN + first[3]) == 1;
    }
    ok = ok && EVP_DigestUpdate(ctx, t->rest.p, t->rest.n) == 1 && EVP_DigestFinal_ex(ctx, ret, &n) == 1;
    EVP_MD_CTX_free(ctx);
    return ok ? n : 0;
}

enum { PAD_LEN = 64, TBS_MAX = PAD_LEN + 34 + BM_DIGEST_MAX };

/* RFC 8446 section 4.4.3; the terminator of the context is the zero byte after it. */
static struct bm_rd tbs_13(const struct transcript *t, uint8_t room[TBS_MAX])
{
    static const char context[] = "TLS 1.3, client CertificateVerify";
    size_t n;

    _Static_assert(sizeof context == TBS_MAX - PAD_LEN - BM_DIGEST_MAX, "parts add up");
    memset(room, 0x20, PAD_LEN);
    memcpy(room + PAD_LEN, context, sizeof context);
    n = transcript_hash(t, room + PAD_LEN + sizeof context);
    return bm_rd_of(room, n != 0 ? PAD_LEN + sizeof context + n : 0);
}

static enum bm_rc open_key(const struct bm_handshake *h, EVP_PKEY **ret, struct bm_error *e)
{
    struct bm_cert cert = { .spki = h->spki };
    struct bm_spki spki;
    enum bm_rc rc = h->spki.n == 0 ? bm_cert_parse(h->certificate, &cert, e) : BM_OK;

    if (rc == BM_OK)
        rc = bm_spki_parse(cert.spki, &spki, e);
    if (rc == BM_OK)
        rc = bm_spki_open(&spki, ret, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, rc, "handshake: client's %s", h->spki.n == 0 ? "certificate" : "raw public key");
}

static enum bm_rc check_signature(const struct transcript *t, struct bm_rd whole, struct bm_rd verify, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    uint8_t room[TBS_MAX];
    struct message m;
    struct bm_rd signature, tbs = t->hello.tls13 ? tbs_13(t, room) : whole;
    uint16_t code;
    enum bm_rc rc;

    if (!take_message(&verify, t->dtls, &m) || verify.n != 0 || m.type != CERTIFICATE_VERIFY || !bm_rd_u16(&m.body, &code) ||
        !take_vector(&m.body, 2, &signature) || m.body.n != 0 || scheme_of(code) == NULL || tbs.n == 0)
        return bm_fail(e, BM_MALFORMED, "handshake: CertificateVerify is not one that we take");
    rc = open_key(t->told, &key, e);
    if (rc != BM_OK)
        return rc;
    if (!verifies(key, scheme_of(code), tbs, signature))
        return bm_refuse(e, BM_DENIED, "bad-signature", "the client's signature over the handshake does not verify");
    return BM_OK;
}

static enum bm_rc read_all(struct bm_rd transcript, struct transcript *t, struct bm_handshake *ret, struct bm_error *e)
{
    *t = (struct transcript){ .dtls = is_dtls(transcript), .told = ret };
    *ret = (struct bm_handshake){ 0 };
    if (!read_transcript(transcript, t))
        return bm_fail(e, BM_MALFORMED,
                       "handshake: not the messages of one in which a client showed a certificate or raw public key");
    return BM_OK;
}

enum bm_rc bm_handshake_read(struct bm_rd transcript, struct bm_handshake *ret, struct bm_error *e)
{
    struct transcript t;

    return read_all(transcript, &t, ret, e);
}

enum bm_rc bm_handshake_verify(struct bm_rd transcript, struct bm_rd verify, struct bm_handshake *ret, struct bm_error *e)
{
    struct transcript t;
    enum bm_rc rc = read_all(transcript, &t, ret, e);

    return rc == BM_OK ? check_signature(&t, transcript, verify, e) : rc;
}

/* --- freshness ------------------------------------------------------------------------------------------------------------------- */
void bm_handshake_session_id(const uint8_t nonce[BM_HANDSHAKE_NONCE_LEN], const uint8_t random[16],
                             uint8_t ret[BM_HANDSHAKE_ID_LEN])
{
    uint8_t mac[32];
    unsigned n = sizeof mac;

    if (HMAC(EVP_sha256(), nonce, BM_HANDSHAKE_NONCE_LEN, random, 16, mac, &n) == NULL)
        abort(); /* out of memory at 32 bytes */
    memmove(ret, random, 16);
    memcpy(ret + 16, mac, 16);
}

bool bm_handshake_is_fresh(const struct bm_handshake *h, const uint8_t nonce[BM_HANDSHAKE_NONCE_LEN])
{
    uint8_t want[BM_HANDSHAKE_ID_LEN];

    if (h->tls13)
        return h->nonce.n == BM_HANDSHAKE_NONCE_LEN && memcmp(h->nonce.p, nonce, BM_HANDSHAKE_NONCE_LEN) == 0;
    if (h->session_id.n != BM_HANDSHAKE_ID_LEN)
        return false;
    bm_handshake_session_id(nonce, h->session_id.p, want);
    return memcmp(h->session_id.p, want, sizeof want) == 0;
}
