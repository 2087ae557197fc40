/* Software root of trust for play devices. The low-level EC calls are deprecated in OpenSSL 3 and several times faster. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "fleet.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

struct soft {
    EC_GROUP *group;
    EC_KEY *keys[FLEET_SLOTS];
};

static enum bmd_rc soft_open(void *ctx, const char *config)
{
    struct soft *s = ctx;

    if (config[0] != '\0')
        return BMD_BAD_ARGUMENT;
    s->group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    return s->group != NULL ? BMD_OK : BMD_INTERNAL;
}

static void soft_close(void *ctx)
{
    struct soft *s = ctx;

    for (size_t i = 0; i < FLEET_SLOTS; i++)
        EC_KEY_free(s->keys[i]);
    EC_GROUP_free(s->group);
    memset(s, 0, sizeof *s);
}

static enum bmd_rc soft_info(void *ctx, struct bmd_rot_info *ret)
{
    (void)ctx;
    *ret = (struct bmd_rot_info){
        .algs = 1u << BMD_P256,
        .slots = FLEET_SLOTS,
        .id_len = 4,
        .assurance = BMD_ASSURE_SOFTWARE,
        .kind = "software",
        .vendor = "Birthmark",
        .model = "play device",
    };
    return BMD_OK;
}

static enum bmd_rc soft_id(void *ctx, uint8_t *ret, size_t *ret_len)
{
    (void)ctx;
    memcpy(ret, "play", 4);
    *ret_len = 4;
    return BMD_OK;
}

static enum bmd_rc soft_random(void *ctx, uint8_t *ret, size_t n)
{
    (void)ctx;
    return RAND_bytes(ret, (int)n) == 1 ? BMD_OK : BMD_INTERNAL;
}

static EC_KEY *key_of(struct soft *s, bmd_key k)
{
    return k >= 1 && k <= FLEET_SLOTS ? s->keys[k - 1] : NULL;
}

static enum bmd_rc place(struct soft *s, uint32_t slot, EC_KEY *key, bmd_key *ret)
{
    EC_KEY_free(s->keys[slot]);
    s->keys[slot] = key;
    *ret = slot + 1;
    return BMD_OK;
}

static EC_KEY *empty_key(struct soft *s)
{
    EC_KEY *key = EC_KEY_new();

    if (key != NULL && EC_KEY_set_group(key, s->group) == 1)
        return key;
    EC_KEY_free(key);
    return NULL;
}

static enum bmd_rc soft_generate(void *ctx, const struct bmd_selector *sel, enum bmd_alg alg, uint8_t usage, uint8_t flags,
                                 bmd_key *ret)
{
    struct soft *s = ctx;
    EC_KEY *key;

    (void)alg;
    (void)usage;
    if (sel->label_len != 0)
        return BMD_BAD_ARGUMENT;
    if (s->keys[sel->slot] != NULL && (flags & BMD_GEN_REPLACE) == 0)
        return BMD_EXISTS;
    key = empty_key(s);
    if (key == NULL || EC_KEY_generate_key(key) != 1) {
        EC_KEY_free(key);
        return BMD_INTERNAL;
    }
    return place(s, sel->slot, key, ret);
}

static enum bmd_rc soft_public(void *ctx, bmd_key k, uint8_t *ret, size_t *ret_len)
{
    struct soft *s = ctx;
    EC_KEY *key = key_of(s, k);

    if (key == NULL)
        return BMD_NOT_FOUND;
    if (*ret_len < FLEET_POINT) {
        *ret_len = FLEET_POINT;
        return BMD_BUFFER_TOO_SMALL;
    }
    *ret_len = EC_POINT_point2oct(s->group, EC_KEY_get0_public_key(key), POINT_CONVERSION_UNCOMPRESSED, ret, FLEET_POINT, NULL);
    return *ret_len == FLEET_POINT ? BMD_OK : BMD_INTERNAL;
}

static enum bmd_rc soft_sign(void *ctx, bmd_key k, enum bmd_hash h, struct bmd_rd digest, uint8_t *ret, size_t *ret_len)
{
    EC_KEY *key = key_of(ctx, k);
    ECDSA_SIG *sig;
    bool ok;

    if (key == NULL)
        return BMD_NOT_FOUND;
    if (h != BMD_SHA256)
        return BMD_NOT_SUPPORTED;
    if (*ret_len < 64)
        return BMD_BUFFER_TOO_SMALL;
    sig = ECDSA_do_sign(digest.p, (int)digest.n, key);
    if (sig == NULL)
        return BMD_INTERNAL;
    ok = BN_bn2binpad(ECDSA_SIG_get0_r(sig), ret, 32) == 32 && BN_bn2binpad(ECDSA_SIG_get0_s(sig), ret + 32, 32) == 32;
    ECDSA_SIG_free(sig);
    *ret_len = 64;
    return ok ? BMD_OK : BMD_INTERNAL;
}

static enum bmd_rc soft_erase(void *ctx, const struct bmd_selector *sel)
{
    struct soft *s = ctx;

    if (sel->label_len != 0 || s->keys[sel->slot] == NULL)
        return BMD_NOT_FOUND;
    EC_KEY_free(s->keys[sel->slot]);
    s->keys[sel->slot] = NULL;
    return BMD_OK;
}

const struct bmd_rot_driver fleet_soft = {
    .name = "fleet-soft",
    .ctx_size = sizeof(struct soft),
    .open = soft_open,
    .close = soft_close,
    .info = soft_info,
    .id = soft_id,
    .random = soft_random,
    .key_generate = soft_generate,
    .key_public = soft_public,
    .sign = soft_sign,
    .key_erase = soft_erase,
};

enum bmd_rc fleet_soft_put(struct bmd_rot *r, uint32_t slot, const uint8_t *scalar, const uint8_t *point, bmd_key *ret)
{
    struct soft *s = r->ctx;
    EC_KEY *key = empty_key(s);

    if (slot < FLEET_SLOTS && key != NULL && EC_KEY_oct2key(key, point, FLEET_POINT, NULL) == 1 &&
        EC_KEY_oct2priv(key, scalar, FLEET_SCALAR) == 1)
        return place(s, slot, key, ret);
    EC_KEY_free(key);
    return BMD_BAD_ARGUMENT;
}

/* A provider-side key: handing the EC_KEY over would have libssl convert it in every handshake. */
EVP_PKEY *fleet_soft_tls_key(struct bmd_rot *r, bmd_key k)
{
    EC_KEY *key = key_of(r->ctx, k);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *make = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM *params = NULL;
    EVP_PKEY *ret = NULL;
    uint8_t point[FLEET_POINT];
    size_t n = sizeof point;

    if (key != NULL && bld != NULL && make != NULL && soft_public(r->ctx, k, point, &n) == BMD_OK &&
        OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, EC_KEY_get0_private_key(key)) == 1 &&
        (params = OSSL_PARAM_BLD_to_param(bld)) != NULL && EVP_PKEY_fromdata_init(make) == 1)
        (void)EVP_PKEY_fromdata(make, &ret, EVP_PKEY_KEYPAIR, params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(make);
    return ret;
}

static enum bmd_rc hash(void *arg, enum bmd_hash h, struct bmd_rd data, uint8_t *ret)
{
    (void)arg;
    if (h == BMD_SHA256)
        return SHA256(data.p, data.n, ret) != NULL ? BMD_OK : BMD_INTERNAL;
    if (h == BMD_SHA384)
        return SHA384(data.p, data.n, ret) != NULL ? BMD_OK : BMD_INTERNAL;
    return BMD_NOT_SUPPORTED;
}

const struct bmd_crypto fleet_crypto = { .hash = hash };
