#include "pki/jwe.h"

#include "base/text.h"
#include "pki/gcm.h"
#include "pki/impl.h"

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

enum { HEADER_MAX = 512, Z_LEN = 32 };

#define ALG "ECDH-ES"
#define ENC "A256GCM"

static void jsonp(json_t **j)
{
    json_decref(*j);
}

/* --- reading ---------------------------------------------------------------------------------------------------------------- */
static enum bm_rc malformed(struct bm_error *e, const char *what)
{
    return bm_fail(e, BM_MALFORMED, "JWE: %s", what);
}

/* Up to the next dot, which is taken off, or all of it for the last part. */
static bool part(struct bm_rd *r, bool last, struct bm_rd *ret)
{
    const uint8_t *dot = r->n != 0 ? memchr(r->p, '.', r->n) : NULL;
    struct bm_rd point;

    if (last)
        return dot == NULL && bm_rd_take(r, r->n, ret);
    return dot != NULL && bm_rd_take(r, (size_t)(dot - r->p), ret) && bm_rd_take(r, 1, &point);
}

/* base64url of at most `room` bytes into ret. */
static bool decode(struct bm_rd text, uint8_t *ret, size_t room, size_t *ret_len)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = BM_JWE_MAX };

    if (text.n > BM_JWE_MAX || bm_unbase64url(text, &b, NULL) != BM_OK || b.n > room)
        return false;
    if (b.n != 0)
        memcpy(ret, b.p, b.n);
    *ret_len = b.n;
    return true;
}

static bool decode_all(struct bm_rd text, uint8_t *ret, size_t n)
{
    size_t got;

    return decode(text, ret, n, &got) && got == n;
}

static bool is_text(const json_t *o, const char *member, const char *want)
{
    const char *s = json_string_value(json_object_get(o, member));

    return s != NULL && strcmp(s, want) == 0;
}

static bool text_of(const json_t *o, const char *member, struct bm_rd *ret)
{
    const json_t *v = json_object_get(o, member);

    if (!json_is_string(v))
        return false;
    *ret = bm_rd_of(json_string_value(v), json_string_length(v));
    return true;
}

/* Printable ASCII, so that it can be compared and shown as it is. */
static bool copy_text(struct bm_rd text, char *ret, size_t room)
{
    if (text.n == 0 || text.n >= room)
        return false;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] <= 0x20 || text.p[i] >= 0x7f)
            return false;
    memcpy(ret, text.p, text.n);
    ret[text.n] = '\0';
    return true;
}

/* A JWK of RFC 7518 section 6.2.1: coordinates of full length. */
static bool epk_of(const json_t *jwk, uint8_t ret[65])
{
    struct bm_rd x, y;

    ret[0] = 4; /* uncompressed */
    return json_object_size(jwk) == 4 && is_text(jwk, "kty", "EC") && is_text(jwk, "crv", "P-256") && text_of(jwk, "x", &x) &&
           text_of(jwk, "y", &y) && decode_all(x, ret + 1, 32) && decode_all(y, ret + 33, 32);
}

static enum bm_rc header(struct bm_rd protected_b64, struct bm_jwe *j, struct bm_error *e)
{
    BM_CLEANUP(jsonp) json_t *h = NULL;
    uint8_t text[HEADER_MAX];
    struct bm_rd sub, kid;
    size_t n;

    if (!decode(protected_b64, text, sizeof text, &n))
        return malformed(e, "its header is no base64url, or too long");
    h = json_loadb((const char *)text, n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(h) || !is_text(h, "alg", ALG) || !is_text(h, "enc", ENC))
        return malformed(e, "it must have \"alg\":\"" ALG "\" and \"enc\":\"" ENC "\"");
    if (!epk_of(json_object_get(h, "epk"), j->epk))
        return malformed(e, "\"epk\" must be a public key on P-256");
    if (!text_of(h, "sub", &sub) || !copy_text(sub, j->sub, sizeof j->sub))
        return malformed(e, "\"sub\" must say whose key it is");
    if (json_object_get(h, "kid") != NULL && (!text_of(h, "kid", &kid) || !copy_text(kid, j->kid, sizeof j->kid)))
        return malformed(e, "\"kid\" must be base64url of a SHA-256");
    return json_object_size(h) == 4 + (size_t)(json_object_get(h, "kid") != NULL)
               ? BM_OK
               : malformed(e, "its header has members that are not taken here");
}

enum bm_rc bm_jwe_parse(struct bm_rd compact, struct bm_jwe *ret, struct bm_error *e)
{
    struct bm_rd protected_b64, key, iv, sealed, tag;
    struct bm_jwe j = { 0 };
    enum bm_rc rc;

    if (compact.n > BM_JWE_MAX)
        return bm_fail(e, BM_LIMIT, "JWE: %zu characters; at most %d are taken", compact.n, BM_JWE_MAX);
    if (!part(&compact, false, &protected_b64) || !part(&compact, false, &key) || !part(&compact, false, &iv) ||
        !part(&compact, false, &sealed) || !part(&compact, true, &tag))
        return malformed(e, "it must have five parts");
    if (key.n != 0) /* RFC 7516 section 5.2 step 10: direct key agreement has no encrypted key */
        return malformed(e, "its second part must be empty");
    if (!decode_all(iv, j.iv, sizeof j.iv) || !decode_all(tag, j.tag, sizeof j.tag) ||
        !decode(sealed, j.sealed, sizeof j.sealed, &j.sealed_len) || j.sealed_len == 0)
        return malformed(e, "nonce, ciphertext or tag is no base64url of the right length");
    rc = header(protected_b64, &j, e);
    if (rc != BM_OK)
        return rc;
    j.protected_b64 = protected_b64;
    *ret = j;
    return BM_OK;
}

/* --- the key ---------------------------------------------------------------------------------------------------------------- */
/* RFC 7518 section 4.6.2: the Concat KDF of SP 800-56A, which OpenSSL calls SSKDF; no apu, no apv. */
static bool concat_kdf(const uint8_t z[Z_LEN], uint8_t ret[BM_GCM_KEY_LEN])
{
    static const uint8_t other_info[] = { 0, 0, 0, 7, 'A', '2', '5', '6', 'G', 'C', 'M', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0 };
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)z, Z_LEN),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)other_info, sizeof other_info),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "SSKDF", NULL);
    EVP_KDF_CTX *ctx = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    bool ok = ctx != NULL && EVP_KDF_derive(ctx, ret, BM_GCM_KEY_LEN, params) == 1;

    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    ERR_clear_error();
    return ok;
}

static enum bm_rc content_key(const struct bm_key *k, struct bm_rd point, uint8_t ret[BM_GCM_KEY_LEN], struct bm_error *e)
{
    uint8_t z[Z_LEN];
    size_t n = sizeof z;
    enum bm_rc rc = bm_key_agree(k, point, z, &n, e);

    if (rc == BM_OK && (n != sizeof z || !concat_kdf(z, ret)))
        rc = bm_fail(e, BM_NOMEM, "JWE: no content key");
    bm_wipe(z, sizeof z);
    return rc;
}

/* --- opening and making ----------------------------------------------------------------------------------------------------- */
void bm_jwe_kid(struct bm_rd spki, char ret[BM_JWE_KID_LEN])
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_JWE_KID_LEN };
    uint8_t digest[32];

    bm_udid_of(spki, digest); /* a SHA-256 like any other */
    bm_base64url(&text, bm_rd_of(digest, sizeof digest));
    memcpy(ret, text.p, text.n);
    ret[text.n] = '\0';
}

enum bm_rc bm_jwe_open(const struct bm_jwe *j, const struct bm_key *k, struct bm_rd sub, struct bm_buf *ret, struct bm_error *e)
{
    uint8_t key[BM_GCM_KEY_LEN];
    char kid[BM_JWE_KID_LEN];
    enum bm_rc rc;

    bm_jwe_kid(bm_key_spki(k), kid);
    if (j->kid[0] != '\0' && strcmp(j->kid, kid) != 0)
        return bm_fail(e, BM_DENIED, "JWE: it was sealed for another registry's import key; this one's is %s", kid);
    if (!bm_rd_eq(bm_rd_str(j->sub), sub))
        return bm_fail(e, BM_DENIED, "JWE: it holds the key of %s, and not of %.*s", j->sub, (int)sub.n, (const char *)sub.p);
    rc = content_key(k, bm_rd_of(j->epk, sizeof j->epk), key, e);
    if (rc == BM_OK)
        rc = bm_gcm_open(key, j->iv, j->protected_b64, bm_rd_of(j->sealed, j->sealed_len), j->tag, ret, e);
    bm_wipe(key, sizeof key);
    return rc == BM_OK ? rc : bm_wrap(e, rc, "JWE: it was not sealed for this import key, or was changed");
}

static enum bm_rc header_make(struct bm_rd point, struct bm_rd spki, struct bm_rd sub, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = HEADER_MAX };
    char kid[BM_JWE_KID_LEN];

    bm_jwe_kid(spki, kid);
    bm_buf_str(&text, "{\"alg\":\"" ALG "\",\"enc\":\"" ENC "\",\"epk\":{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"");
    bm_base64url(&text, bm_rd_of(point.p + 1, 32));
    bm_buf_str(&text, "\",\"y\":\"");
    bm_base64url(&text, bm_rd_of(point.p + 33, 32));
    bm_buf_printf(&text, "\"},\"sub\":\"%.*s\",\"kid\":\"%s\"}", (int)sub.n, (const char *)sub.p, kid);
    bm_base64url(out, bm_buf_rd(&text));
    return text.bad ? bm_fail(e, BM_LIMIT, "JWE: the header is too long") : bm_buf_check(out, e);
}

static enum bm_rc body_make(const uint8_t key[BM_GCM_KEY_LEN], struct bm_rd head, struct bm_rd plain, struct bm_buf *out,
                            struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf sealed = { .max = 2 * BM_JWE_PLAIN_MAX };
    uint8_t iv[BM_GCM_NONCE_LEN], tag[BM_GCM_TAG_LEN];
    enum bm_rc rc = RAND_bytes(iv, sizeof iv) == 1 ? BM_OK : bm_fail(e, BM_BUG, "no random numbers");

    if (rc == BM_OK)
        rc = bm_gcm_seal(key, iv, head, plain, &sealed, tag, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_str(out, "..");
    bm_base64url(out, bm_rd_of(iv, sizeof iv));
    bm_buf_str(out, ".");
    bm_base64url(out, bm_buf_rd(&sealed));
    bm_buf_str(out, ".");
    bm_base64url(out, bm_rd_of(tag, sizeof tag));
    return bm_buf_check(out, e);
}

enum bm_rc bm_jwe_make(struct bm_rd spki, struct bm_rd sub, struct bm_rd plain, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *ours = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf head = { .max = BM_JWE_MAX };
    uint8_t key[BM_GCM_KEY_LEN];
    struct bm_spki to, from;
    enum bm_rc rc = bm_spki_parse(spki, &to, e);

    if (rc == BM_OK && strcmp(to.alg, "P-256") != 0)
        rc = bm_fail(e, BM_USAGE, "an import key is one on P-256, not %s", to.alg);
    if (rc == BM_OK && (plain.n == 0 || plain.n > BM_JWE_PLAIN_MAX || sub.n == 0 || sub.n >= BM_JWE_SUB_LEN))
        rc = bm_fail(e, BM_LIMIT, "JWE: 1 to %d bytes can be sealed", BM_JWE_PLAIN_MAX);
    if (rc == BM_OK)
        rc = bm_key_of_evp(EVP_EC_gen("P-256"), &ours, e);
    if (rc == BM_OK)
        rc = bm_spki_parse(bm_key_spki(ours), &from, e);
    if (rc == BM_OK)
        rc = content_key(ours, to.raw, key, e);
    if (rc == BM_OK)
        rc = header_make(from.raw, spki, sub, &head, e);
    if (rc == BM_OK) {
        bm_buf_put(out, head.p, head.n);
        rc = body_make(key, bm_buf_rd(&head), plain, out, e);
    }
    bm_wipe(key, sizeof key);
    return rc;
}
