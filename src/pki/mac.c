#include "pki/mac.h"

#include "pki/impl.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

const struct bm_mac_alg bm_mac_algs[] = {
    { "hmac-sha256", "HMAC-SHA-256 (RFC 2104)", "HMAC", "SHA256", 16, 64, 32, 32, false },
    { "hmac-sha256-digest", "HMAC-SHA-256 over the SHA-256 of the message", "HMAC", "SHA256", 16, 64, 32, 32, true },
    { "aes-cmac", "AES-CMAC (SP 800-38B, RFC 4493)", "CMAC", NULL, 16, 32, 16, 16, false },
    { "aes-cmac-digest", "AES-CMAC over the SHA-256 of the message", "CMAC", NULL, 16, 32, 16, 16, true },
    { NULL, NULL, NULL, NULL, 0, 0, 0, 0, false },
};

/* SP 800-108 section 4.1 in counter mode as OpenSSL's KBKDF does it, and HKDF (RFC 5869). Label or info, and context: bm_kdf_derive(). */
const struct bm_kdf bm_kdfs[] = {
    { "sp800-108-hmac-sha256", "SP 800-108, counter mode, HMAC-SHA-256", "KBKDF", "HMAC", "SHA256", 16, 64 },
    { "sp800-108-aes-cmac", "SP 800-108, counter mode, AES-CMAC", "KBKDF", "CMAC", NULL, 16, 32 },
    { "hkdf-sha256", "HKDF-SHA-256 (RFC 5869)", "HKDF", NULL, "SHA256", 16, 64 },
    { NULL, NULL, NULL, NULL, NULL, 0, 0 },
};

const struct bm_mac_alg *bm_mac_find(struct bm_rd name)
{
    for (const struct bm_mac_alg *a = bm_mac_algs; a->name != NULL; a++)
        if (bm_rd_eq(name, bm_rd_str(a->name)))
            return a;
    return NULL;
}

const struct bm_kdf *bm_kdf_find(struct bm_rd name)
{
    for (const struct bm_kdf *d = bm_kdfs; d->name != NULL; d++)
        if (bm_rd_eq(name, bm_rd_str(d->name)))
            return d;
    return NULL;
}

static bool length_fits(const char *param, size_t n, size_t min, size_t max)
{
    return n >= min && n <= max && (param != NULL || n == 16 || n == 32);
}

bool bm_mac_key_fits(const struct bm_mac_alg *a, size_t n)
{
    return length_fits(a->param, n, a->key_min, a->key_max);
}

/* The digest of HMAC or the cipher of CMAC, which goes by the key's length. */
static OSSL_PARAM param_of(const char *param, size_t key_len)
{
    const char *cipher = key_len == 32 ? "AES-256-CBC" : "AES-128-CBC";

    if (param == NULL)
        return OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, (char *)(uintptr_t)cipher, 0);
    return OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t)param, 0);
}

/* --- MAC -------------------------------------------------------------------------------------------------------------------- */
static EVP_MAC *fetched_mac(const char *name)
{
    static _Thread_local EVP_MAC *hmac, *cmac;
    EVP_MAC **m = strcmp(name, "HMAC") == 0 ? &hmac : &cmac;

    if (*m == NULL)
        *m = EVP_MAC_fetch(NULL, name, NULL);
    return *m;
}

static bool mac_run(const struct bm_mac_alg *a, struct bm_rd key, struct bm_rd msg, uint8_t *ret)
{
    EVP_MAC *mac = fetched_mac(a->mac);
    EVP_MAC_CTX *ctx = mac != NULL ? EVP_MAC_CTX_new(mac) : NULL;
    OSSL_PARAM params[] = { param_of(a->param, key.n), OSSL_PARAM_construct_end() };
    size_t n = 0;
    bool ok = ctx != NULL && EVP_MAC_init(ctx, key.p, key.n, params) == 1 && EVP_MAC_update(ctx, msg.p, msg.n) == 1 &&
              EVP_MAC_final(ctx, ret, &n, a->mac_len) == 1 && n == a->mac_len;

    EVP_MAC_CTX_free(ctx); /* cleanses */
    ERR_clear_error();
    return ok;
}

enum bm_rc bm_mac_make(const struct bm_mac_alg *a, struct bm_rd key, struct bm_rd msg, uint8_t ret[BM_MAC_MAX], struct bm_error *e)
{
    uint8_t digest[BM_DIGEST_MAX];

    if (!bm_mac_key_fits(a, key.n))
        return bm_fail(e, BM_USAGE, "a key of %zu bytes does not fit %s", key.n, a->name);
    if (a->digest_first)
        msg = bm_rd_of(digest, bm_digest_of(BM_SHA256, msg, digest));
    if ((a->digest_first && msg.n == 0) || !mac_run(a, key, msg, ret))
        return bm_fail(e, BM_NOMEM, "%s: the library failed", a->name);
    return BM_OK;
}

enum bm_rc bm_mac_check(const struct bm_mac_alg *a, struct bm_rd key, struct bm_rd msg, struct bm_rd mac, struct bm_error *e)
{
    uint8_t want[BM_MAC_MAX];
    enum bm_rc rc = bm_mac_make(a, key, msg, want, e);

    if (rc == BM_OK && (mac.n != a->mac_len || !bm_secret_eq(want, mac.p, mac.n)))
        rc = bm_refuse(e, BM_DENIED, "bad-mac", "the MAC is wrong: another key made it, or over other bytes");
    bm_wipe(want, sizeof want);
    return rc;
}

/* --- key derivation --------------------------------------------------------------------------------------------------------- */
static const char label[] = "birthmark-device-key-v1";

static OSSL_PARAM octets(const char *name, struct bm_rd b)
{
    return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)b.p, b.n);
}

/* SP 800-108: label and context as they are. */
static bool kbkdf(EVP_KDF_CTX *ctx, const struct bm_kdf *d, struct bm_rd root, struct bm_rd ident, uint8_t *ret, size_t n)
{
    OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_MAC, (char *)(uintptr_t)d->mac, 0),
                            param_of(d->param, root.n),
                            octets(OSSL_KDF_PARAM_KEY, root),
                            octets(OSSL_KDF_PARAM_SALT, bm_rd_str(label)),
                            octets(OSSL_KDF_PARAM_INFO, ident),
                            OSSL_PARAM_construct_end() };

    return EVP_KDF_derive(ctx, ret, n, params) == 1;
}

/* RFC 5869: no salt; info is label, a zero byte, identifier. */
static bool hkdf(EVP_KDF_CTX *ctx, const struct bm_kdf *d, struct bm_rd root, struct bm_rd ident, uint8_t *ret, size_t n)
{
    uint8_t info[sizeof label + BM_MAC_IDENT_MAX];
    struct bm_wr w = bm_wr_of(info, sizeof info);

    bm_wr_put(&w, label, sizeof label);
    bm_wr_put(&w, ident.p, ident.n);
    OSSL_PARAM params[] = { param_of(d->param, root.n), octets(OSSL_KDF_PARAM_KEY, root), octets(OSSL_KDF_PARAM_INFO, bm_wr_rd(&w)),
                            OSSL_PARAM_construct_end() };

    return !w.bad && EVP_KDF_derive(ctx, ret, n, params) == 1;
}

enum bm_rc bm_kdf_derive(const struct bm_kdf *d, struct bm_rd root, struct bm_rd ident, uint8_t *ret, size_t n, struct bm_error *e)
{
    EVP_KDF *kdf;
    EVP_KDF_CTX *ctx;
    bool ok;

    if (!length_fits(d->param, root.n, d->root_min, d->root_max) || ident.n == 0 || ident.n > BM_MAC_IDENT_MAX ||
        n > BM_MAC_KEY_MAX)
        return bm_fail(e, BM_USAGE, "a root key of %zu bytes does not fit %s", root.n, d->name);
    kdf = EVP_KDF_fetch(NULL, d->kdf, NULL);
    ctx = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    ok = ctx != NULL && (d->mac != NULL ? kbkdf : hkdf)(ctx, d, root, ident, ret, n);
    EVP_KDF_CTX_free(ctx); /* cleanses */
    EVP_KDF_free(kdf);
    ERR_clear_error();
    return ok ? BM_OK : bm_fail(e, BM_NOMEM, "%s: the library failed", d->name);
}

/* --- name ------------------------------------------------------------------------------------------------------------------- */
void bm_udid_symmetric(struct bm_rd issuer, struct bm_rd rot, struct bm_rd ident, uint8_t ret[32])
{
    static const char context[] = "birthmark-symmetric-udid-v1"; /* with its terminator: the 0x00 of the format */
    uint8_t text[sizeof context + 3 * (4 + 65)] = { 0 };
    struct bm_wr w = bm_wr_of(text, sizeof text);

    bm_wr_put(&w, context, sizeof context);
    bm_wr_vec(&w, issuer);
    bm_wr_vec(&w, rot);
    bm_wr_vec(&w, ident);
    bm_udid_of(bm_wr_rd(&w), ret); /* plain SHA-256; names and identifiers were checked to fit */
}
