#include "pki/impl.h"
#include "pki/scep.h"

#include <openssl/err.h>
#include <openssl/rand.h>

static const struct bm_rd oid_rsa = BM_LIT(OID_RSA), oid_data = BM_LIT(OID_CMS_DATA),
                          oid_enveloped = BM_LIT(OID_CMS_ENVELOPED_DATA);

/* --- signatures ------------------------------------------------------------------------------------------------------------------------- */
/* What we take. MD5 and SHA-1 are not here, and so refused. */
static const struct {
    struct bm_rd oid, with_rsa;
    enum bm_digest digest;
} digests[] = {
    { BM_LIT(OID_SHA256), BM_LIT(OID_RSA_SHA256), BM_SHA256 },
    { BM_LIT(OID_SHA384), BM_LIT(OID_RSA_SHA384), BM_SHA384 },
    { BM_LIT(OID_SHA512), BM_LIT(OID_RSA_SHA512), BM_SHA512 },
};

/* PKCS #7 wrote rsaEncryption there, CMS writes the whole algorithm; both are about (RFC 3370 section 3.2). */
static enum bm_digest digest_of(const struct bm_scep_message *m)
{
    for (size_t i = 0; i < BM_COUNT(digests); i++)
        if (bm_rd_eq(m->digest, digests[i].oid))
            return bm_rd_eq(m->sig_alg, oid_rsa) || bm_rd_eq(m->sig_alg, digests[i].with_rsa) ? digests[i].digest : BM_DIGEST_NONE;
    return BM_DIGEST_NONE;
}

/* RFC 5652 section 5.4: what is signed is the SET OF the attributes, not the [0] in its place. */
static enum bm_rc signed_set(const struct bm_scep_message *m, struct bm_buf *ret, struct bm_error *e)
{
    uint8_t room[8];
    struct bm_derw w = bm_derw_of(room, sizeof room);

    bm_derw_header(&w, m->attributes.n, BM_DER_SET);
    bm_buf_put(ret, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    bm_buf_put(ret, m->attributes.p, m->attributes.n);
    return bm_buf_check(ret, e);
}

static enum bm_rc verify_attributes(const struct bm_scep_message *m, EVP_PKEY *key, enum bm_digest d, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf set = { .max = m->attributes.n + 8 };
    enum bm_rc rc = signed_set(m, &set, e);

    return rc == BM_OK ? bm_verify_raw_with(key, d, bm_buf_rd(&set), m->signature, e) : rc;
}

enum bm_rc bm_scep_verify(const struct bm_scep_message *m, EVP_PKEY *key, struct bm_error *e)
{
    enum bm_digest d = digest_of(m);
    uint8_t digest[BM_DIGEST_MAX];
    size_t n;

    if (d == BM_DIGEST_NONE || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA)
        return bm_refuse(e, BM_DENIED, "scep-algorithm", "the message must be signed with RSA and SHA-256, SHA-384 or SHA-512");
    if (!bm_rd_eq(m->content_type, oid_data))
        return bm_refuse(e, BM_DENIED, "scep-integrity", "the signed content type is not that of the content");
    n = bm_digest_of(d, m->content, digest);
    if (n == 0)
        return bm_fail(e, BM_NOMEM, "the digest could not be computed");
    if (!bm_rd_eq(m->message_digest, bm_rd_of(digest, n)))
        return bm_refuse(e, BM_DENIED, "scep-integrity", "the content is not what was signed");
    if (verify_attributes(m, key, d, NULL) != BM_OK)
        return bm_refuse(e, BM_DENIED, "scep-integrity", "the signature is not by the key of the signer's certificate");
    return BM_OK;
}

static bool is_sha1(const struct bm_scep_message *m)
{
    static const struct bm_rd oid_sha1 = BM_LIT(OID_SHA1), with_rsa = BM_LIT(OID_SHA1_RSA);

    return bm_rd_eq(m->digest, oid_sha1) && (bm_rd_eq(m->sig_alg, oid_rsa) || bm_rd_eq(m->sig_alg, with_rsa)) &&
           bm_rd_eq(m->content_type, oid_data);
}

enum bm_rc bm_scep_verify_sha1(const struct bm_scep_message *m, EVP_PKEY *key, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf set = { .max = m->attributes.n + 8 };
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    enum bm_rc rc = signed_set(m, &set, e);
    bool ok = rc == BM_OK && ctx != NULL && is_sha1(m) && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA &&
              EVP_Digest(m->content.p, m->content.n, digest, &n, EVP_sha1(), NULL) == 1 &&
              bm_rd_eq(m->message_digest, bm_rd_of(digest, n)) && EVP_DigestVerifyInit(ctx, NULL, EVP_sha1(), NULL, key) == 1 &&
              EVP_DigestVerify(ctx, m->signature.p, m->signature.n, set.p, set.n) == 1;

    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok ? BM_OK : bm_refuse(e, BM_DENIED, "scep-integrity", "the signature with SHA-1 does not verify with the signer's key");
}

/* --- envelopes -------------------------------------------------------------------------------------------------------------------------- */
enum { BLOCK = 16, CEK_MAX = 32 };
static const struct {
    struct bm_rd oid;
    const char *name;
    size_t key_len;
} ciphers[BM_SCEP_CIPHERS] = {
    [BM_SCEP_AES128] = { BM_LIT(OID_AES128_CBC), "AES-128-CBC", 16 },
    [BM_SCEP_AES192] = { BM_LIT(OID_AES192_CBC), "AES-192-CBC", 24 },
    [BM_SCEP_AES256] = { BM_LIT(OID_AES256_CBC), "AES-256-CBC", 32 },
};

static const EVP_CIPHER *cipher_of(enum bm_scep_cipher c)
{
    static _Thread_local EVP_CIPHER *fetched[BM_SCEP_CIPHERS];

    if (fetched[c] == NULL)
        fetched[c] = EVP_CIPHER_fetch(NULL, ciphers[c].name, NULL);
    return fetched[c];
}

enum bm_rc bm_scep_cipher_of(const struct bm_scep_envelope *v, enum bm_scep_cipher *ret, struct bm_error *e)
{
    for (size_t i = 0; i < BM_SCEP_CIPHERS; i++) {
        if (!bm_rd_eq(v->cipher, ciphers[i].oid) || v->iv.n != BLOCK)
            continue;
        *ret = (enum bm_scep_cipher)i;
        return BM_OK;
    }
    return bm_refuse(e, BM_DENIED, "scep-algorithm", "the content must be encrypted with AES in CBC mode");
}

static enum bm_rc gather(const struct bm_scep_envelope *v, struct bm_buf *ret, struct bm_error *e)
{
    struct bm_rd row = v->sealed, piece;

    if (!v->in_pieces)
        bm_buf_put(ret, row.p, row.n);
    while (v->in_pieces && bm_der_take(&row, BM_DER_OCTET_STRING, &piece))
        bm_buf_put(ret, piece.p, piece.n);
    return bm_buf_check(ret, e);
}

/* Bytes of padding at the end (RFC 5652 section 6.3), or all of them when there is none: in the same steps whatever the bytes are. */
static size_t padding(struct bm_rd plain)
{
    const uint8_t *end = plain.p + plain.n;
    unsigned pad = end[-1], bad = (unsigned)(pad == 0) | (unsigned)(pad > BLOCK);

    for (unsigned i = 1; i <= BLOCK; i++)
        bad |= (unsigned)(i <= pad) & (unsigned)(end[-(int)i] != pad);
    return bad * plain.n + (1 - bad) * pad;
}

/* The library's own unpadding is off: it tells with an error what nobody may learn. */
static bool decrypt(enum bm_scep_cipher c, const uint8_t *key, const uint8_t *iv, struct bm_rd sealed, struct bm_buf *ret)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t *to = bm_buf_room(ret, sealed.n + BLOCK);
    int n = 0, tail = 0;
    bool ok = ctx != NULL && to != NULL && EVP_DecryptInit_ex2(ctx, cipher_of(c), key, iv, NULL) == 1 &&
              EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 && EVP_DecryptUpdate(ctx, to, &n, sealed.p, (int)sealed.n) == 1 &&
              EVP_DecryptFinal_ex(ctx, to + n, &tail) == 1;

    EVP_CIPHER_CTX_free(ctx);
    if (ok)
        ret->n += sealed.n - padding(bm_rd_of(to, sealed.n));
    return ok;
}

enum bm_rc bm_scep_open(const struct bm_scep_envelope *v, const struct bm_scep_recipient *to, const struct bm_key *key,
                        struct bm_buf *ret_plain, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf sealed = { .max = BM_SCEP_MESSAGE_MAX };
    uint8_t cek[CEK_MAX];
    enum bm_scep_cipher c;
    enum bm_rc rc = bm_scep_cipher_of(v, &c, e);

    if (rc == BM_OK && !bm_rd_eq(to->alg, oid_rsa))
        rc = bm_refuse(e, BM_DENIED, "scep-algorithm", "the content's key must be encrypted with RSA PKCS #1 v1.5");
    if (rc == BM_OK)
        rc = gather(v, &sealed, e);
    if (rc == BM_OK)
        rc = bm_key_unwrap(key, to->key, cek, ciphers[c].key_len, e);
    if (rc != BM_OK || sealed.n == 0 || sealed.n % BLOCK != 0) /* its length is there for all to see */
        return rc;
    if (!decrypt(c, cek, v->iv.p, bm_buf_rd(&sealed), ret_plain))
        rc = bm_fail(e, BM_NOMEM, "the library does not decrypt");
    bm_wipe(cek, sizeof cek);
    return rc;
}

static bool encrypt(enum bm_scep_cipher c, const uint8_t *key, const uint8_t *iv, struct bm_rd plain, struct bm_buf *ret)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t *to = bm_buf_room(ret, plain.n + BLOCK);
    int n = 0, tail = 0;
    bool ok = ctx != NULL && to != NULL && EVP_EncryptInit_ex2(ctx, cipher_of(c), key, iv, NULL) == 1 &&
              EVP_EncryptUpdate(ctx, to, &n, plain.p, (int)plain.n) == 1 && EVP_EncryptFinal_ex(ctx, to + n, &tail) == 1;

    EVP_CIPHER_CTX_free(ctx);
    ret->n += ok ? (size_t)(n + tail) : 0;
    return ok;
}

/* The one KeyTransRecipientInfo, in its SET. */
static void recipient(struct bm_derw *w, const struct bm_cert *to, struct bm_rd wrapped)
{
    size_t mark = bm_derw_mark(w), m;

    bm_derw_tlv(w, BM_DER_OCTET_STRING, wrapped);
    m = bm_derw_mark(w);
    bm_derw_tlv(w, BM_DER_NULL, bm_rd_of(NULL, 0));
    bm_derw_tlv(w, BM_DER_OID, oid_rsa);
    bm_derw_end(w, m, BM_DER_SEQUENCE);
    m = bm_derw_mark(w);
    bm_derw_tlv(w, BM_DER_INTEGER, to->serial);
    bm_derw_put(w, to->issuer);
    bm_derw_end(w, m, BM_DER_SEQUENCE);
    bm_derw_uint(w, 0);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SET);
}

struct letter {
    const struct bm_cert *to;
    enum bm_scep_cipher cipher;
    struct bm_rd iv, wrapped, sealed;
};

static void envelope(struct bm_derw *w, const struct letter *l)
{
    size_t mark = bm_derw_mark(w), m;

    bm_derw_tlv(w, BM_DER_CTX(0), l->sealed);
    m = bm_derw_mark(w);
    bm_derw_tlv(w, BM_DER_OCTET_STRING, l->iv);
    bm_derw_tlv(w, BM_DER_OID, ciphers[l->cipher].oid);
    bm_derw_end(w, m, BM_DER_SEQUENCE);
    bm_derw_tlv(w, BM_DER_OID, oid_data);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    recipient(w, l->to, l->wrapped);
    bm_derw_uint(w, 0);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
    bm_derw_tlv(w, BM_DER_OID, oid_enveloped);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

static enum bm_rc write_envelope(const struct letter *l, struct bm_buf *ret, struct bm_error *e)
{
    size_t cap = l->sealed.n + l->wrapped.n + l->to->issuer.n + l->to->serial.n + 256;
    BM_CLEANUP(bm_buf_done) struct bm_buf room = { .max = cap };
    uint8_t *p = bm_buf_room(&room, cap);
    struct bm_derw w;

    if (p == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for an envelope");
    w = bm_derw_of(p, cap);
    envelope(&w, l);
    if (w.bad)
        return bm_fail(e, BM_LIMIT, "the envelope does not fit");
    bm_buf_put(ret, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    return bm_buf_check(ret, e);
}

enum bm_rc bm_scep_seal(struct bm_rd plain, const struct bm_cert *to, EVP_PKEY *key, enum bm_scep_cipher cipher, struct bm_buf *ret,
                        struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf sealed = { .max = plain.n + BLOCK };
    uint8_t cek[CEK_MAX], iv[BLOCK], wrapped[1024] = { 0 };
    size_t wrapped_len = sizeof wrapped;
    bool ok = RAND_priv_bytes(cek, sizeof cek) == 1 && RAND_bytes(iv, sizeof iv) == 1 && encrypt(cipher, cek, iv, plain, &sealed) &&
              bm_rsa_wrap(key, bm_rd_of(cek, ciphers[cipher].key_len), wrapped, &wrapped_len);
    struct letter l = { to, cipher, { iv, sizeof iv }, { wrapped, wrapped_len }, bm_buf_rd(&sealed) };

    bm_wipe(cek, sizeof cek);
    return ok ? write_envelope(&l, ret, e) : bm_fail(e, BM_NOMEM, "the library does not encrypt");
}
