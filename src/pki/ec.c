/* The one file that calls OpenSSL's low-level EC functions. They are deprecated but present in every 3.x, and opening a P-256 key
 * or checking a signature with them costs the arithmetic and little else, while the provider's way rebuilds the curve for
 * each key. When the key is not theirs to have (an HSM's, or a library built without them) everything falls back to EVP. */
#include "pki/impl.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static const struct {
    int nid;
    const char *group;
    size_t size;
    enum bm_digest digest;
} curves[] = {
    [BM_P256] = { NID_X9_62_prime256v1, "P-256", 32, BM_SHA256 },
    [BM_P384] = { NID_secp384r1, "P-384", 48, BM_SHA384 },
    [BM_P521] = { NID_secp521r1, "P-521", 66, BM_SHA512 },
};

enum bm_digest bm_ec_digest(enum bm_curve c)
{
    return c < BM_COUNT(curves) ? curves[c].digest : BM_DIGEST_NONE;
}

size_t bm_ec_size(enum bm_curve c)
{
    return c < BM_COUNT(curves) ? curves[c].size : 0;
}

#ifndef OPENSSL_NO_DEPRECATED_3_0

static const EC_GROUP *curve_group(enum bm_curve c)
{
    static _Thread_local EC_GROUP *groups[BM_COUNT(curves)];

    if (groups[c] == NULL)
        groups[c] = EC_GROUP_new_by_curve_name(curves[c].nid);
    return groups[c];
}

static EC_KEY *ec_key_of(enum bm_curve c, struct bm_rd point)
{
    const EC_GROUP *g = curve_group(c);
    EC_KEY *k = g != NULL ? EC_KEY_new() : NULL;

    /* oct2key checks that the point is on the curve; the curves have cofactor 1, so nothing else is left to check (SEC 1,
     * 3.2.2.1) */
    if (k != NULL && EC_KEY_set_group(k, g) == 1 && EC_KEY_oct2key(k, point.p, point.n, NULL) == 1)
        return k;
    EC_KEY_free(k);
    return NULL;
}

static EVP_PKEY *ec_evp_of(enum bm_curve c, struct bm_rd point)
{
    EC_KEY *k = ec_key_of(c, point);
    EVP_PKEY *p = k != NULL ? EVP_PKEY_new() : NULL;

    if (p != NULL && EVP_PKEY_assign_EC_KEY(p, k) == 1)
        return p;
    EVP_PKEY_free(p);
    EC_KEY_free(k);
    return NULL;
}

static const EC_KEY *low_level(EVP_PKEY *key)
{
    return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC ? EVP_PKEY_get0_EC_KEY(key) : NULL;
}

enum bm_curve bm_ec_curve(EVP_PKEY *key)
{
    const EC_KEY *k = low_level(key);
    int nid = k != NULL ? EC_GROUP_get_curve_name(EC_KEY_get0_group(k)) : NID_undef;

    for (unsigned c = 0; c < BM_COUNT(curves); c++)
        if (nid == curves[c].nid)
            return (enum bm_curve)c;
    return BM_CURVE_NONE;
}

bool bm_ec_verify(EVP_PKEY *key, struct bm_rd digest, struct bm_rd sig)
{
    const EC_KEY *k = low_level(key);

    if (k == NULL || sig.n > BM_SIGNATURE_MAX)
        return false;
    return ECDSA_verify(0, digest.p, (int)digest.n, sig.p, (int)sig.n, (EC_KEY *)k) == 1; /* the call does not write to the key */
}

bool bm_ec_has_private(EVP_PKEY *key)
{
    const EC_KEY *k = low_level(key);

    return k != NULL && EC_KEY_get0_private_key(k) != NULL;
}

bool bm_ec_sign(EVP_PKEY *key, struct bm_rd digest, uint8_t *ret, size_t *ret_len)
{
    const EC_KEY *k = low_level(key);
    unsigned n = 0;

    if (k == NULL || (size_t)ECDSA_size(k) > *ret_len || ECDSA_sign(0, digest.p, (int)digest.n, ret, &n, (EC_KEY *)k) != 1)
        return false;
    *ret_len = n;
    return true;
}

#else /* a library without the deprecated calls */

static EVP_PKEY *ec_evp_of(enum bm_curve c, struct bm_rd point)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)curves[c].group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)point.p, point.n),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY *p = NULL;

    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &p, EVP_PKEY_PUBLIC_KEY, params) != 1)
        p = NULL;
    EVP_PKEY_CTX_free(ctx);
    return p;
}

enum bm_curve bm_ec_curve(EVP_PKEY *key)
{
    char name[32];
    size_t n;

    if (EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, name, sizeof name, &n) != 1)
        return BM_CURVE_NONE;
    for (unsigned c = 0; c < BM_COUNT(curves); c++)
        if (OBJ_txt2nid(name) == curves[c].nid || strcmp(name, curves[c].group) == 0)
            return (enum bm_curve)c;
    return BM_CURVE_NONE;
}

bool bm_ec_verify(EVP_PKEY *key, struct bm_rd digest, struct bm_rd sig)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    bool ok = ctx != NULL && EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_verify(ctx, sig.p, sig.n, digest.p, digest.n) == 1;

    EVP_PKEY_CTX_free(ctx);
    return ok;
}

bool bm_ec_has_private(EVP_PKEY *key)
{
    (void)key;
    return false; /* sign through EVP */
}

bool bm_ec_sign(EVP_PKEY *key, struct bm_rd digest, uint8_t *ret, size_t *ret_len)
{
    (void)key, (void)digest, (void)ret, (void)ret_len;
    return false;
}

#endif

enum bm_rc bm_ec_open(enum bm_curve c, struct bm_rd point, EVP_PKEY **ret, struct bm_error *e)
{
    EVP_PKEY *k = c < BM_COUNT(curves) ? ec_evp_of(c, point) : NULL;

    if (k == NULL) {
        ERR_clear_error();
        return bm_fail(e, BM_MALFORMED, "the public key is no point of its curve");
    }
    *ret = k;
    return BM_OK;
}

bool bm_ec_raw_to_der(struct bm_rd raw, size_t size, struct bm_derw *w)
{
    size_t mark = bm_derw_mark(w);

    if (size == 0 || raw.n != 2 * size)
        return false;
    bm_derw_unsigned(w, bm_rd_of(raw.p + size, size));
    bm_derw_unsigned(w, bm_rd_of(raw.p, size));
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    return !w->bad;
}

/* A non-negative INTEGER right-aligned into `size` bytes. */
static bool int_to_raw(struct bm_rd *r, size_t size, uint8_t *ret)
{
    struct bm_rd v;

    if (!bm_der_take(r, BM_DER_INTEGER, &v) || !bm_der_int_ok(v) || v.p[0] >= 0x80)
        return false;
    if (v.p[0] == 0)
        v = bm_rd_of(v.p + 1, v.n - 1);
    if (v.n > size)
        return false;
    memset(ret, 0, size - v.n);
    if (v.n != 0)
        memcpy(ret + size - v.n, v.p, v.n);
    return true;
}

bool bm_ec_der_to_raw(struct bm_rd der, size_t size, uint8_t *ret)
{
    struct bm_rd seq;

    return bm_der_only(der, BM_DER_SEQUENCE, &seq) && int_to_raw(&seq, size, ret) && int_to_raw(&seq, size, ret + size) &&
           seq.n == 0;
}
