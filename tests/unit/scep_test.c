/* SCEP's messages: BER into DER, the parsers, RSA and AES around them against OpenSSL's CMS, and that nothing tells what was wrong inside an
 * envelope. */
#include "pki_help.h"

#include "pki/ber.h"
#include "pki/scep.h"
#include "protocol/scep.h"

#include <openssl/cms.h>

/* --- BER ---------------------------------------------------------------------------------------------------------------------------------- */
static const struct {
    const char *name, *in, *out; /* out NULL: refused */
} bers[] = {
    { "a number as it is", "02 01 05", "02 01 05" },
    { "a sequence as it is", "30 06 02 01 05 02 01 06", "30 06 02 01 05 02 01 06" },
    { "empty", "30 00", "30 00" },
    { "indefinite", "30 80 02 01 05 00 00", "30 03 02 01 05" },
    { "indefinite and empty", "30 80 00 00", "30 00" },
    { "indefinite in indefinite", "30 80 31 80 05 00 00 00 00 00", "30 04 31 02 05 00" },
    { "definite in indefinite", "30 80 30 03 02 01 05 00 00", "30 05 30 03 02 01 05" },
    { "indefinite in definite", "30 07 31 80 02 01 05 00 00", "30 05 31 03 02 01 05" },
    { "a longer length than it needs", "04 82 00 02 aa bb", "04 02 aa bb" },
    { "octets in pieces", "24 80 04 01 aa 04 02 bb cc 00 00", "04 03 aa bb cc" },
    { "octets in pieces, definite", "24 06 04 01 aa 04 01 bb", "04 02 aa bb" },
    { "octets in pieces of pieces", "24 80 24 80 04 01 aa 00 00 04 01 bb 00 00", "04 02 aa bb" },
    { "octets in no pieces", "24 80 00 00", "04 00" },
    { "pieces under a context tag stay", "a0 80 04 01 aa 04 01 bb 00 00", "a0 06 04 01 aa 04 01 bb" },
    { "nothing", "", NULL },
    { "no length", "30", NULL },
    { "cut short", "04 02 aa", NULL },
    { "no end mark", "30 80 02 01 05", NULL },
    { "half an end mark", "30 80 02 01 05 00", NULL },
    { "an end mark alone", "00 00", NULL },
    { "an end mark in a definite one", "30 02 00 00", NULL },
    { "leftovers", "02 01 05 00", NULL },
    { "leftovers after an end mark", "30 80 00 00 05", NULL },
    { "indefinite but not constructed", "04 80 aa 00 00", NULL },
    { "a piece that is none", "24 80 02 01 05 00 00", NULL },
    { "a long tag", "1f 81 01 00", NULL },
    { "five bytes of length", "04 85 00 00 00 00 01 aa", NULL },
    { "a length over everything", "04 84 ff ff ff ff aa", NULL },
    { "an inner one past its outer", "30 03 04 02 aa bb", NULL },
};

static void ber_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(bers); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 256 };
        uint8_t in_room[64], want_room[64];
        struct bm_rd in = hex(bers[i].in, in_room, sizeof in_room), want;
        uint8_t *copy = exact(in);
        enum bm_rc rc = bm_ber_to_der(bm_rd_of(copy, in.n), &out, &err);

        free(copy);
        if (rc != (bers[i].out != NULL ? BM_OK : BM_MALFORMED))
            fail_msg("%s: %s", bers[i].name, bm_rc_name(rc));
        if (bers[i].out == NULL)
            continue;
        want = hex(bers[i].out, want_room, sizeof want_room);
        if (!bm_rd_eq(bm_buf_rd(&out), want))
            fail_msg("%s: something else came out", bers[i].name);
    }
}

static void ber_depth(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { .max = 4096 }, out = { .max = 4096 };

    (void)state;
    for (int i = 0; i <= BM_BER_DEPTH_MAX; i++)
        bm_buf_put(&in, "\x30\x80", 2);
    for (int i = 0; i <= BM_BER_DEPTH_MAX; i++)
        bm_buf_put(&in, "\0\0", 2);
    assert_ok(bm_ber_to_der(bm_buf_rd(&in), &out, &err));
    bm_buf_drop(&in, 0);
    in.n = 0;
    for (int i = 0; i < 1000; i++)
        bm_buf_put(&in, "\x30\x80", 2);
    assert_int_equal(bm_ber_to_der(bm_buf_rd(&in), &out, &err), BM_MALFORMED);
}

/* --- the parsers, on messages that a client in Python has made --------------------------------------------------------------------------- */
static struct bm_buf file(const char *name)
{
    struct bm_buf b = { .max = 1 << 16 };
    char path[256];

    snprintf(path, sizeof path, "tests/corpus/scep/%s", name);
    assert_ok(bm_file_read(path, &b, &err));
    return b;
}

static void prefixes(void (*parse)(struct bm_rd in), struct bm_rd whole)
{
    for (size_t n = 0; n < whole.n; n++) {
        uint8_t *cut = exact(bm_rd_of(whole.p, n));

        parse(bm_rd_of(cut, n));
        free(cut);
    }
}

static void no_message(struct bm_rd in)
{
    struct bm_scep_message m;

    assert_int_equal(bm_scep_message_parse(in, &m, &err), BM_MALFORMED);
}

static void no_envelope(struct bm_rd in)
{
    struct bm_scep_envelope v;

    assert_int_equal(bm_scep_envelope_parse(in, &v, &err), BM_MALFORMED);
}

static void no_ber(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 16 };

    assert_int_equal(bm_ber_to_der(in, &out, &err), BM_MALFORMED);
}

static void nothing_inside(struct bm_rd in)
{
    struct bm_rd a, b;
    struct bm_cert c;

    assert_false(bm_scep_issuer_and_subject(in, &a, &b) || bm_scep_issuer_and_serial(in, &a, &b) || bm_scep_self_made(in, &c));
}

static void message_parts(void **state)
{
    BM_CLEANUP(bm_buf_done)
    struct bm_buf in = file("pkcsreq_time.der"), none = file("nothing_in_it.der"), failed = file("failure.der"),
                  id = file("key_id.der");
    struct bm_scep_message m;
    struct bm_cert signer;

    (void)state;
    assert_ok(bm_scep_message_parse(bm_buf_rd(&in), &m, &err));
    assert_int_equal(m.type, BM_SCEP_PKCS_REQ);
    assert_true(bm_rd_eq(m.transaction_id, bm_rd_str("T-1")) && m.sender_nonce.n == 16 && m.recipient_nonce.n == 0);
    assert_true(m.has_content && m.content.n > 500 && m.has_time && m.signing_time > NOW - (INT64_C(10) << 30) && m.status == -1);
    assert_int_equal(m.n_certs, 1);
    assert_ok(bm_cert_parse(m.certs[0], &signer, &err));
    assert_true(bm_scep_is(&m.signer, &signer));
    prefixes(no_message, bm_buf_rd(&in));
    assert_ok(bm_scep_message_parse(bm_buf_rd(&none), &m, &err));
    assert_true(!m.has_content && m.content.n == 0 && !m.has_time);
    assert_ok(bm_scep_message_parse(bm_buf_rd(&failed), &m, &err));
    assert_true(m.type == BM_SCEP_CERT_REP && m.status == BM_SCEP_FAILURE && m.fail == BM_SCEP_BAD_CERT_ID &&
                m.recipient_nonce.n == 16);
    assert_ok(bm_scep_message_parse(bm_buf_rd(&id), &m, &err));
    assert_true(m.signer.key_id.n == 20 && !bm_scep_is(&m.signer, &signer));
}

static void messages_refused(void **state)
{
    static const char *const names[] = { "transaction_twice.der", "nine_certificates.der", "pkcsreq.ber", "envelope.der" };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(names); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf in = file(names[i]);

        no_message(bm_buf_rd(&in));
    }
}

static void ber_message(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = file("pkcsreq.ber"), der = { .max = 1 << 16 }, inner = { .max = 1 << 16 };
    struct bm_scep_message m;
    struct bm_scep_envelope v;

    (void)state;
    assert_ok(bm_ber_to_der(bm_buf_rd(&in), &der, &err));
    assert_ok(bm_scep_message_parse(bm_buf_rd(&der), &m, &err));
    assert_ok(bm_ber_to_der(m.content, &inner, &err));
    assert_ok(bm_scep_envelope_parse(bm_buf_rd(&inner), &v, &err));
    assert_true(v.in_pieces && v.n == 1 && v.iv.n == 16);
    prefixes(no_ber, bm_buf_rd(&in));
}

static void envelope_parts(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = file("envelope.der"), old = file("envelope_3des.der");
    enum bm_scep_cipher c;
    struct bm_scep_envelope v;

    (void)state;
    assert_ok(bm_scep_envelope_parse(bm_buf_rd(&in), &v, &err));
    assert_true(!v.in_pieces && v.n == 1 && v.to[0].key.n == 256 && v.sealed.n % 16 == 0);
    assert_ok(bm_scep_cipher_of(&v, &c, &err));
    assert_int_equal(c, BM_SCEP_AES256);
    prefixes(no_envelope, bm_buf_rd(&in));
    assert_ok(bm_scep_envelope_parse(bm_buf_rd(&old), &v, &err));
    assert_int_equal(bm_scep_cipher_of(&v, &c, &err), BM_DENIED);
    assert_string_equal(err.code, "scep-algorithm");
}

static void small_parts(void **state)
{
    BM_CLEANUP(bm_buf_done)
    struct bm_buf subject = file("issuer_and_subject.der"), serial = file("issuer_and_serial.der"), own = file("self_made.der");
    struct bm_rd a, b;
    struct bm_cert c, whole;

    (void)state;
    assert_true(bm_scep_issuer_and_subject(bm_buf_rd(&subject), &a, &b));
    assert_true(!bm_scep_same_name(a, b) && bm_scep_same_name(a, a));
    assert_false(bm_scep_issuer_and_serial(bm_buf_rd(&subject), &a, &b));
    assert_true(bm_scep_issuer_and_serial(bm_buf_rd(&serial), &a, &b) && b.n != 0);
    assert_true(bm_scep_self_made(bm_buf_rd(&own), &c));
    assert_ok(bm_cert_parse(bm_buf_rd(&own), &whole, &err));
    assert_true(bm_rd_eq(c.spki, whole.spki) && bm_rd_eq(c.serial, whole.serial) && bm_rd_eq(c.subject, whole.subject));
    prefixes(nothing_inside, bm_buf_rd(&subject));
    prefixes(nothing_inside, bm_buf_rd(&serial));
}

/* CN=a as UTF8String and as PrintableString are one name to a renewal; everything else is another. */
static void names(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        { "300c310a3008060355040313 0161", "300c310a3008060355040 30c0161", true },
        { "300c310a30080603550403130161", "300c310a30080603550403160161", true },
        { "300c310a30080603550403130161", "300c310a30080603550403130162", false },
        { "300c310a30080603550403130161", "300c310a300806035504030a0161", false },
        { "300c310a30080603550403130161", "300c310a300806035504 0a130161", false },
        { "300c310a30080603550403130161", "3000", false },
        { "300c310a30080603550403130161", "3018310a30080603550403130161310a30080603550403130161", false },
        { "3000", "3000", true },
        { "300c310a30080603550403130161", "", false },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t a[64], b[64];
        struct bm_rd x = hex(rows[i].a, a, sizeof a), y = hex(rows[i].b, b, sizeof b);

        if (bm_scep_same_name(x, y) != rows[i].same || bm_scep_same_name(y, x) != rows[i].same)
            fail_msg("names %zu", i);
    }
}

static void queries(void **state)
{
    static const struct {
        const char *query, *operation, *message; /* operation NULL: refused */
    } rows[] = {
        { "operation=GetCACert", "GetCACert", "" },
        { "message=&operation=GetCACaps", "GetCACaps", "" },
        { "operation=PKIOperation&message=a%2Bb%3D", "PKIOperation", "a+b=" },
        { "operation=PKIOperation&message=a+b=", "PKIOperation", "a+b=" },
        { "operation=PKIOperation&message=a%20b", "PKIOperation", "a+b" },
        { "x=y&operation=GetCACert&z", "GetCACert", "" },
        { "", NULL, NULL },
        { "operation", NULL, NULL },
        { "operation=", NULL, NULL },
        { "message=x", NULL, NULL },
        { "operation=a&operation=b", NULL, NULL },
        { "operation=a&message=b&message=c", NULL, NULL },
        { "operation=a&message=%4", NULL, NULL },
        { "operation=a&message=%zz", NULL, NULL },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf message = { .max = 256 };
        struct bm_rd operation;
        enum bm_rc rc = bm_scep_query(bm_rd_str(rows[i].query), &operation, &message, &err);

        if (rc != (rows[i].operation != NULL ? BM_OK : BM_MALFORMED))
            fail_msg("'%s': %s", rows[i].query, bm_rc_name(rc));
        if (rc == BM_OK &&
            (!bm_rd_eq(operation, bm_rd_str(rows[i].operation)) || !bm_rd_eq(bm_buf_rd(&message), bm_rd_str(rows[i].message))))
            fail_msg("'%s': read as something else", rows[i].query);
    }
}

/* --- with keys --------------------------------------------------------------------------------------------------------------------------- */
struct party {
    EVP_PKEY *evp;
    struct bm_key *key;
    struct made cert;
};

static struct party ra, device;

static void party_open(struct party *p, const char *profile)
{
    p->evp = EVP_RSA_gen(2048);
    assert_int_equal(EVP_PKEY_up_ref(p->evp), 1);
    assert_ok(bm_key_of_evp(p->evp, &p->key, &err));
    issue(&p->cert, profile, p->key, NULL, p->key);
}

static int open_parties(void **state)
{
    (void)state;
    party_open(&ra, "root-ca");
    party_open(&device, "root-ca");
    return 0;
}

static int close_parties(void **state)
{
    (void)state;
    for (struct party *p = &ra; p != NULL; p = p == &ra ? &device : NULL) {
        bm_key_free(p->key);
        EVP_PKEY_free(p->evp);
        made_done(&p->cert);
    }
    return 0;
}

static struct bm_buf sealed_to(struct party *to, enum bm_scep_cipher c, struct bm_rd plain)
{
    struct bm_buf out = { .max = 1 << 16 };

    assert_ok(bm_scep_seal(plain, &to->cert.cert, to->evp, c, &out, &err));
    return out;
}

static void round_trip(void **state)
{
    uint8_t text[100];

    (void)state;
    memset(text, 'x', sizeof text);
    for (int c = 0; c < BM_SCEP_CIPHERS; c++) {
        for (size_t n = 0; n < 50; n++) {
            BM_CLEANUP(bm_buf_done)
            struct bm_buf der = sealed_to(&ra, (enum bm_scep_cipher)c, bm_rd_of(text, n)), plain = { .max = 1 << 16 };
            struct bm_scep_envelope v;
            enum bm_scep_cipher got;

            assert_ok(bm_scep_envelope_parse(bm_buf_rd(&der), &v, &err));
            assert_ok(bm_scep_cipher_of(&v, &got, &err));
            assert_true((int)got == c && bm_scep_is(&v.to[0].who, &ra.cert.cert));
            assert_ok(bm_scep_open(&v, &v.to[0], ra.key, &plain, &err));
            assert_true(bm_rd_eq(bm_buf_rd(&plain), bm_rd_of(text, n)));
        }
    }
}

static void library_opens_it(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = sealed_to(&device, BM_SCEP_AES256, bm_rd_str("what is inside"));
    BIO *in = BIO_new_mem_buf(der.p, (int)der.n), *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *cms = d2i_CMS_bio(in, NULL);
    X509 *cert = openssl_x509(device.cert.cert.whole);
    char *text;
    long n;

    (void)state;
    assert_int_equal(CMS_decrypt(cms, device.evp, cert, NULL, out, CMS_BINARY), 1);
    n = BIO_get_mem_data(out, &text);
    assert_true(bm_rd_eq(bm_rd_of(text, (size_t)n), bm_rd_str("what is inside")));
    X509_free(cert);
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    BIO_free(out);
}

/* Whatever is changed in the encrypted key: the same outcome, and rubbish that is another each time, never a refusal to learn from. */
static void wrong_keys_look_like_wrong_content(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = sealed_to(&ra, BM_SCEP_AES128, bm_rd_str("a secret of thirty-one letters."));
    struct bm_scep_envelope v;

    (void)state;
    assert_ok(bm_scep_envelope_parse(bm_buf_rd(&der), &v, &err));
    for (size_t i = 0; i < v.to[0].key.n; i += 5) {
        BM_CLEANUP(bm_buf_done) struct bm_buf plain = { .max = 1 << 16 };
        uint8_t *key = exact(v.to[0].key);
        struct bm_scep_recipient to = v.to[0];

        key[i] ^= 0x10;
        to.key = bm_rd_of(key, to.key.n);
        assert_ok(bm_scep_open(&v, &to, ra.key, &plain, &err));
        assert_false(bm_rd_eq(bm_buf_rd(&plain), bm_rd_str("a secret of thirty-one letters.")));
        free(key);
    }
}

static void rubbish_is_random(void **state)
{
    uint8_t a[32], b[32], wrapped[256] = { 0 };

    (void)state;
    assert_ok(bm_key_unwrap(ra.key, bm_rd_of(wrapped, sizeof wrapped), a, sizeof a, &err));
    assert_ok(bm_key_unwrap(ra.key, bm_rd_of(wrapped, sizeof wrapped), b, sizeof b, &err));
    assert_memory_not_equal(a, b, sizeof a);
    assert_ok(bm_key_unwrap(ra.key, bm_rd_of(wrapped, 3), b, sizeof b, &err)); /* not even as long as the modulus */
}

static void only_rsa_unwraps(void **state)
{
    struct bm_key *ec = key_new("EC", "P-256");
    uint8_t out[16], in[64] = { 1 };

    (void)state;
    assert_int_equal(bm_key_unwrap(ec, bm_rd_of(in, sizeof in), out, sizeof out, &err), BM_USAGE);
    bm_key_free(ec);
}

/* All lengths of padding that there are, and all that there are not, by ciphertexts whose last block decrypts to anything: nothing but BM_OK. */
static void every_padding(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = sealed_to(&ra, BM_SCEP_AES256, bm_rd_str("fifteen letters"));
    struct bm_scep_envelope v;
    size_t empty = 0;

    (void)state;
    assert_ok(bm_scep_envelope_parse(bm_buf_rd(&der), &v, &err));
    for (int last = 0; last < 256; last++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf plain = { .max = 1 << 16 };
        uint8_t *iv = exact(v.iv);
        struct bm_scep_envelope changed = v;

        iv[15] ^= (uint8_t)last;
        changed.iv = bm_rd_of(iv, v.iv.n);
        assert_ok(bm_scep_open(&changed, &v.to[0], ra.key, &plain, &err));
        empty += plain.n == 0;
        free(iv);
    }
    assert_int_equal(empty, 255); /* only the padding that was written is one */
}

/* --- replies ------------------------------------------------------------------------------------------------------------------------------ */
static void library_verifies(struct bm_rd der, struct bm_rd want)
{
    BIO *in = BIO_new_mem_buf(der.p, (int)der.n), *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *cms = d2i_CMS_bio(in, NULL);
    char *text;
    long n;

    assert_non_null(cms);
    if (want.n != 0) {
        assert_int_equal(CMS_verify(cms, NULL, NULL, NULL, out, CMS_NO_SIGNER_CERT_VERIFY | CMS_BINARY), 1);
        n = BIO_get_mem_data(out, &text);
        assert_true(bm_rd_eq(bm_rd_of(text, (size_t)n), want));
    }
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    BIO_free(out);
}

static void replies(void **state)
{
    static const struct bm_scep_reply rows[] = {
        { .status = BM_SCEP_SUCCESS,
          .transaction_id = BM_LIT("T"),
          .recipient_nonce = BM_LIT("0123456789abcdef"),
          .envelope = BM_LIT("sealed") },
        { .status = BM_SCEP_PENDING, .transaction_id = BM_LIT("T"), .recipient_nonce = BM_LIT("0123456789abcdef") },
        { .status = BM_SCEP_FAILURE,
          .fail = BM_SCEP_BAD_TIME,
          .fail_text = "scep-time: look at the clock",
          .transaction_id = BM_LIT("T") },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = 1 << 16 };
        struct bm_scep_message m;

        assert_ok(bm_scep_reply_write(&rows[i], ra.key, &ra.cert.cert, &der, &err));
        assert_ok(bm_scep_message_parse(bm_buf_rd(&der), &m, &err));
        assert_ok(bm_scep_verify(&m, ra.evp, &err));
        assert_true(m.type == BM_SCEP_CERT_REP && m.status == (int)rows[i].status && bm_scep_is(&m.signer, &ra.cert.cert));
        assert_int_equal(m.fail, rows[i].status == BM_SCEP_FAILURE ? (int)rows[i].fail : -1);
        assert_true(bm_rd_eq(m.transaction_id, rows[i].transaction_id) && bm_rd_eq(m.recipient_nonce, rows[i].recipient_nonce));
        assert_true(m.sender_nonce.n == 16 && bm_rd_eq(m.content, rows[i].envelope) && m.has_content == (rows[i].envelope.n != 0));
        library_verifies(bm_buf_rd(&der), rows[i].envelope);
        assert_int_equal(bm_scep_verify(&m, device.evp, &err), BM_DENIED);
        assert_string_equal(err.code, "scep-integrity");
    }
}

/* Each byte of a signed reply's attributes and signature is worth something. */
static void all_matter(struct bm_rd whole, struct bm_rd part)
{
    for (size_t i = (size_t)(part.p - whole.p); i < (size_t)(part.p - whole.p) + part.n; i++) {
        uint8_t *copy = exact(whole);
        struct bm_scep_message m;

        copy[i] ^= 1;
        if (bm_scep_message_parse(bm_rd_of(copy, whole.n), &m, &err) == BM_OK && bm_scep_verify(&m, ra.evp, &err) == BM_OK)
            fail_msg("byte %zu may be changed", i);
        free(copy);
    }
}

static void every_byte_is_signed(void **state)
{
    struct bm_scep_reply r = { .status = BM_SCEP_PENDING,
                               .transaction_id = BM_LIT("T-17"),
                               .recipient_nonce = BM_LIT("0123456789abcdef") };
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = 1 << 16 };
    struct bm_scep_message m;

    (void)state;
    assert_ok(bm_scep_reply_write(&r, ra.key, &ra.cert.cert, &der, &err));
    assert_ok(bm_scep_message_parse(bm_buf_rd(&der), &m, &err));
    all_matter(bm_buf_rd(&der), m.attributes);
    all_matter(bm_buf_rd(&der), m.signature);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ber_rows),
        cmocka_unit_test(ber_depth),
        cmocka_unit_test(message_parts),
        cmocka_unit_test(messages_refused),
        cmocka_unit_test(ber_message),
        cmocka_unit_test(envelope_parts),
        cmocka_unit_test(small_parts),
        cmocka_unit_test(names),
        cmocka_unit_test(queries),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(library_opens_it),
        cmocka_unit_test(wrong_keys_look_like_wrong_content),
        cmocka_unit_test(rubbish_is_random),
        cmocka_unit_test(only_rsa_unwraps),
        cmocka_unit_test(every_padding),
        cmocka_unit_test(replies),
        cmocka_unit_test(every_byte_is_signed),
    };

    return cmocka_run_group_tests(tests, open_parties, close_parties);
}
