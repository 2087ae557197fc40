#include "base/text.h"
#include "pki/impl.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>

struct bm_key {
    EVP_PKEY *evp;
    enum bm_digest digest;
    enum bm_curve curve;                /* BM_CURVE_NONE: not EC */
    bool low_level;                     /* the private half is at hand: sign without going through the provider */
    const struct bm_key_remote *remote; /* it is elsewhere, and evp is the public half only; NULL: it is here */
    void *remote_arg;
    struct bm_spki spki; /* borrows from spki_der */
    uint8_t *spki_der;
    uint8_t sig_alg[64];
    size_t sig_alg_len;
};

static const struct bm_key_driver *const drivers[] = { &bm_key_file, &bm_key_pkcs11, &bm_key_external };

enum bm_rc bm_key_driver_find(const char *uri, const struct bm_key_driver **ret, const char **ret_name, struct bm_error *e)
{
    const char *colon = strchr(uri, ':');
    char safe[80];

    for (size_t i = 0; colon != NULL && i < BM_COUNT(drivers); i++) {
        size_t n = strlen(drivers[i]->scheme);

        if (n == (size_t)(colon - uri) && memcmp(uri, drivers[i]->scheme, n) == 0) {
            *ret = drivers[i];
            *ret_name = colon + 1;
            return BM_OK;
        }
    }
    return bm_fail(e, BM_USAGE, "key '%s': there is no driver of that kind; write file:NAME or pkcs11:token=LABEL;object=LABEL",
                   bm_text_escape(bm_rd_str(uri), safe, sizeof safe));
}

enum bm_rc bm_key_generate(const struct bm_keyring *ring, const char *uri, const char *alg, struct bm_error *e)
{
    const struct bm_key_driver *d;
    const char *name;
    enum bm_rc rc = bm_key_driver_find(uri, &d, &name, e);

    return rc != BM_OK ? rc : d->generate(ring, name, alg, e);
}

enum bm_rc bm_key_open(const struct bm_keyring *ring, const char *uri, struct bm_key **ret, struct bm_error *e)
{
    const struct bm_key_driver *d;
    const char *name;
    enum bm_rc rc = bm_key_driver_find(uri, &d, &name, e);

    return rc != BM_OK ? rc : d->open(ring, name, ret, e);
}

enum bm_rc bm_key_destroy(const struct bm_keyring *ring, const char *uri, struct bm_error *e)
{
    const struct bm_key_driver *d;
    const char *name;
    enum bm_rc rc = bm_key_driver_find(uri, &d, &name, e);

    if (rc == BM_OK && d->destroy == NULL)
        rc = bm_fail(e, BM_USAGE, "keys of the kind '%s' are not destroyed here", d->scheme);
    return rc != BM_OK ? rc : d->destroy(ring, name, e);
}

bool bm_key_in_token(const char *uri)
{
    return strncmp(uri, "pkcs11:", 7) == 0;
}

void bm_key_free(struct bm_key *k)
{
    if (k == NULL)
        return;
    if (k->remote != NULL)
        k->remote->done(k->remote_arg);
    EVP_PKEY_free(k->evp);
    OPENSSL_free(k->spki_der);
    free(k);
}

void bm_key_freep(struct bm_key **k)
{
    bm_key_free(*k);
    *k = NULL;
}

/* A signing context for the key with its own digest. */
static EVP_MD_CTX *sign_ctx(const struct bm_key *k, EVP_PKEY_CTX **ret_pctx)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (ctx != NULL && EVP_DigestSignInit_ex(ctx, ret_pctx, bm_digest_name(k->digest), NULL, NULL, k->evp, NULL) == 1)
        return ctx;
    EVP_MD_CTX_free(ctx);
    return NULL;
}

/* The provider says what it calls its signatures, so that an algorithm we have never heard of works too. */
static bool sig_alg_ask(struct bm_key *k)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, k->sig_alg, sizeof k->sig_alg),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *pctx = NULL;
    EVP_MD_CTX *ctx = sign_ctx(k, &pctx);
    bool ok = ctx != NULL && EVP_PKEY_CTX_get_params(pctx, params) == 1 && params[0].return_size != 0 &&
              params[0].return_size <= sizeof k->sig_alg;

    EVP_MD_CTX_free(ctx);
    k->sig_alg_len = ok ? params[0].return_size : 0;
    return ok;
}

/* A key elsewhere has no provider to ask. */
static bool sig_alg_write(struct bm_key *k)
{
    static const struct {
        enum bm_curve curve;
        struct bm_rd whole;
    } known[] = {
        { BM_P256, BM_LIT("\x30\x0a\x06\x08" OID_ECDSA_SHA256) },
        { BM_P384, BM_LIT("\x30\x0a\x06\x08" OID_ECDSA_SHA384) },
        { BM_CURVE_NONE, BM_LIT("\x30\x0d\x06\x09" OID_RSA_SHA256 "\x05\x00") }, /* RFC 4055 section 5 */
    };

    for (size_t i = 0; i < BM_COUNT(known); i++)
        if (known[i].curve == k->curve && (k->curve != BM_CURVE_NONE || k->digest == BM_SHA256)) {
            memcpy(k->sig_alg, known[i].whole.p, known[i].whole.n);
            k->sig_alg_len = known[i].whole.n;
            return true;
        }
    return false;
}

static enum bm_rc key_describe(struct bm_key *k, struct bm_error *e)
{
    int n = i2d_PUBKEY(k->evp, &k->spki_der);
    int id = EVP_PKEY_get_base_id(k->evp);
    enum bm_rc rc;

    if (n <= 0)
        return bm_fail(e, BM_USAGE, "key: its public half cannot be written");
    rc = bm_spki_parse(bm_rd_of(k->spki_der, (size_t)n), &k->spki, e);
    if (rc != BM_OK)
        return rc;
    k->curve = bm_ec_curve(k->evp);
    k->digest = k->curve != BM_CURVE_NONE ? bm_ec_digest(k->curve) : id == EVP_PKEY_RSA ? BM_SHA256 : BM_DIGEST_NONE;
    k->low_level = k->curve != BM_CURVE_NONE && bm_ec_has_private(k->evp);
    if (k->remote != NULL ? !sig_alg_write(k) : !sig_alg_ask(k))
        return bm_fail(e, BM_USAGE, "key of algorithm %s cannot sign", k->spki.alg);
    return BM_OK;
}

enum bm_rc bm_key_of_evp(EVP_PKEY *take, struct bm_key **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *k = calloc(1, sizeof *k);
    enum bm_rc rc;

    if (k == NULL) {
        EVP_PKEY_free(take);
        return bm_fail(e, BM_NOMEM, "key");
    }
    k->evp = take;
    rc = take != NULL ? key_describe(k, e) : bm_fail(e, BM_USAGE, "no key given");
    ERR_clear_error();
    if (rc == BM_OK)
        *ret = BM_MOVE(k);
    return rc;
}

enum bm_rc bm_key_of_remote(struct bm_rd spki, const struct bm_key_remote *how, void *arg, struct bm_key **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *k = calloc(1, sizeof *k);
    struct bm_spki parsed;
    enum bm_rc rc;

    if (k == NULL) {
        how->done(arg);
        return bm_fail(e, BM_NOMEM, "key");
    }
    k->remote = how;
    k->remote_arg = arg;
    rc = bm_spki_parse(spki, &parsed, e);
    if (rc == BM_OK)
        rc = bm_spki_open(&parsed, &k->evp, e);
    if (rc == BM_OK)
        rc = key_describe(k, e);
    ERR_clear_error();
    if (rc == BM_OK)
        *ret = BM_MOVE(k);
    return rc;
}

struct bm_rd bm_key_spki(const struct bm_key *k)
{
    return k->spki.whole;
}

struct bm_rd bm_key_sig_alg(const struct bm_key *k)
{
    return bm_rd_of(k->sig_alg, k->sig_alg_len);
}

const char *bm_key_alg(const struct bm_key *k)
{
    return k->spki.alg;
}

static bool sign_low_level(const struct bm_key *k, struct bm_rd tbs, uint8_t *ret, size_t *ret_len)
{
    uint8_t digest[BM_DIGEST_MAX];
    size_t n = bm_digest_of(k->digest, tbs, digest);

    return n != 0 && bm_ec_sign(k->evp, bm_rd_of(digest, n), ret, ret_len);
}

static bool sign_evp(const struct bm_key *k, struct bm_rd tbs, uint8_t *ret, size_t *ret_len)
{
    EVP_MD_CTX *ctx = sign_ctx(k, NULL);
    bool ok = ctx != NULL && EVP_DigestSign(ctx, ret, ret_len, tbs.p, tbs.n) == 1;

    EVP_MD_CTX_free(ctx);
    return ok;
}

/* Verified, so that nothing leaves under a signature that is wrong, whatever is wrong with the place that made it. */
static enum bm_rc sign_remote(const struct bm_key *k, struct bm_rd tbs, uint8_t *ret, size_t *ret_len, struct bm_error *e)
{
    uint8_t digest[BM_DIGEST_MAX];
    size_t n = bm_digest_of(k->digest, tbs, digest);
    enum bm_rc rc = n != 0 ? k->remote->sign(k->remote_arg, bm_rd_of(digest, n), ret, ret_len, e)
                           : bm_fail(e, BM_NOMEM, "the digest could not be computed");

    if (rc == BM_OK && bm_verify_x509(k->evp, bm_key_sig_alg(k), tbs, bm_rd_of(ret, *ret_len), NULL) != BM_OK)
        rc = bm_refuse(e, BM_AGAIN, "token-signature", "what the token signed does not verify with the key's public half");
    return rc;
}

enum bm_rc bm_key_sign(const struct bm_key *k, struct bm_rd tbs, uint8_t *ret, size_t *ret_len, struct bm_error *e)
{
    if (k->remote != NULL)
        return sign_remote(k, tbs, ret, ret_len, e);
    if (k->low_level ? sign_low_level(k, tbs, ret, ret_len) : sign_evp(k, tbs, ret, ret_len))
        return BM_OK;
    ERR_clear_error();
    return bm_fail(e, BM_IO, "signing with the %s key failed", k->spki.alg);
}

enum bm_rc bm_key_sign_raw(const struct bm_key *k, struct bm_rd msg, uint8_t *ret, size_t *ret_len, struct bm_error *e)
{
    uint8_t der[256];
    size_t n = sizeof der, size = bm_ec_size(k->curve);
    enum bm_rc rc;

    if (size == 0)
        return bm_key_sign(k, msg, ret, ret_len, e);
    if (*ret_len < 2 * size)
        return bm_fail(e, BM_BUG, "no room for a raw signature");
    rc = bm_key_sign(k, msg, der, &n, e);
    if (rc != BM_OK)
        return rc;
    if (!bm_ec_der_to_raw(bm_rd_of(der, n), size, ret))
        return bm_fail(e, BM_BUG, "a signature of our own does not parse");
    *ret_len = 2 * size;
    return BM_OK;
}

enum bm_rc bm_key_agree(const struct bm_key *k, struct bm_rd point, uint8_t *ret, size_t *ret_len, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *peer = NULL;
    EVP_PKEY_CTX *ctx;
    bool ok;
    enum bm_rc rc = k->curve != BM_CURVE_NONE && k->remote == NULL
                        ? bm_ec_open(k->curve, point, &peer, e)
                        : bm_fail(e, BM_USAGE, "a key of algorithm %s agrees on nothing", k->spki.alg);

    if (rc != BM_OK)
        return rc;
    ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k->evp, NULL);
    ok = ctx != NULL && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1 &&
         EVP_PKEY_derive(ctx, ret, ret_len) == 1;
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return ok ? BM_OK : bm_fail(e, BM_MALFORMED, "key agreement failed: the other side's point is of another curve");
}

/* `good` is 0 or 1; which of the two is copied shows in no branch and no address. */
static void choose(uint8_t *to, const uint8_t *from, size_t n, unsigned good)
{
    uint8_t mask = (uint8_t)(0 - good);

    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)((from[i] & mask) | (to[i] & ~mask));
}

/* The library checks the padding in constant time and says how it went with its return value and length alone. */
enum bm_rc bm_key_unwrap(const struct bm_key *k, struct bm_rd wrapped, uint8_t *ret, size_t want, struct bm_error *e)
{
    uint8_t plain[1024] = { 0 };
    size_t n = sizeof plain;
    EVP_PKEY_CTX *ctx = k->spki.bits != 0 ? EVP_PKEY_CTX_new_from_pkey(NULL, k->evp, NULL) : NULL;
    bool ok = ctx != NULL && want <= sizeof plain && RAND_bytes(ret, (int)want) == 1 && EVP_PKEY_decrypt_init(ctx) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
    unsigned good;

    if (ok) {
        good = (unsigned)(EVP_PKEY_decrypt(ctx, plain, &n, wrapped.p, wrapped.n) == 1);
        choose(ret, plain, want, good & (unsigned)(n == want));
    }
    EVP_PKEY_CTX_free(ctx);
    bm_wipe(plain, sizeof plain);
    ERR_clear_error();
    return ok ? BM_OK : bm_fail(e, BM_USAGE, "a key of algorithm %s opens nothing", k->spki.alg);
}

enum bm_rc bm_key_export(const struct bm_key *k, struct bm_buf *ret, struct bm_error *e)
{
    PKCS8_PRIV_KEY_INFO *plain = k->remote == NULL ? EVP_PKEY2PKCS8(k->evp) : NULL;
    uint8_t *der = NULL;
    int n = plain != NULL ? i2d_PKCS8_PRIV_KEY_INFO(plain, &der) : 0;

    PKCS8_PRIV_KEY_INFO_free(plain); /* cleanses */
    ERR_clear_error();
    if (n <= 0)
        return bm_refuse(e, BM_DENIED, "key-not-exportable", "the private key does not leave where it is kept");
    bm_buf_put(ret, der, (size_t)n);
    OPENSSL_clear_free(der, (size_t)n);
    return bm_buf_check(ret, e);
}
