/* For the tests of the device SDK: bytes as hex, prefixes in exact-size memory, and a root of trust in memory over OpenSSL. */
#ifndef TESTS_SDK_HELP_H
#define TESTS_SDK_HELP_H

#include "core/client.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>

/* Hex with blanks; at most cap bytes. */
__attribute__((unused)) static size_t sdk_unhex(const char *hex, uint8_t *ret, size_t cap)
{
    size_t n = 0;
    unsigned v;

    for (; *hex != '\0'; hex++) {
        if (*hex == ' ')
            continue;
        assert_true(n < cap && sscanf(hex, "%2x", &v) == 1);
        ret[n++] = (uint8_t)v;
        hex++;
    }
    return n;
}

/* Every proper prefix, each in an allocation of its exact size, must be refused. */
__attribute__((unused)) static void sdk_prefixes(struct bmd_rd good, bool (*accepts)(struct bmd_rd in))
{
    for (size_t n = 0; n < good.n; n++) {
        uint8_t *p = malloc(n != 0 ? n : 1);

        memcpy(p, good.p, n);
        if (accepts(bmd_rd_of(p, n)))
            fail_msg("a prefix of %zu of %zu bytes is accepted", n, good.n);
        free(p);
    }
}

/* --- a driver with one key ----------------------------------------------------------------------------------------------------------- */

struct sdk_soft {
    EVP_PKEY *key;
};

__attribute__((unused)) static enum bmd_rc sdk_open(void *ctx, const char *config)
{
    struct sdk_soft *s = ctx;

    s->key = EVP_EC_gen(strcmp(config, "p384") == 0 ? "P-384" : "P-256");
    return s->key != NULL ? BMD_OK : BMD_INTERNAL;
}

__attribute__((unused)) static void sdk_close(void *ctx)
{
    EVP_PKEY_free(((struct sdk_soft *)ctx)->key);
}

__attribute__((unused)) static enum bmd_rc sdk_info(void *ctx, struct bmd_rot_info *ret)
{
    (void)ctx;
    *ret = (struct bmd_rot_info){ .algs = 1u << BMD_P256 | 1u << BMD_P384, .slots = 1, .id_len = 4, .kind = "software" };
    return BMD_OK;
}

__attribute__((unused)) static enum bmd_rc sdk_id(void *ctx, uint8_t *ret, size_t *ret_len)
{
    (void)ctx;
    memcpy(ret, "test", 4);
    *ret_len = 4;
    return BMD_OK;
}

__attribute__((unused)) static enum bmd_rc sdk_public(void *ctx, bmd_key k, uint8_t *ret, size_t *ret_len)
{
    (void)k;
    return EVP_PKEY_get_octet_string_param(((struct sdk_soft *)ctx)->key, "pub", ret, *ret_len, ret_len) == 1 ? BMD_OK
                                                                                                              : BMD_INTERNAL;
}

__attribute__((unused)) static enum bmd_rc sdk_sign(void *ctx, bmd_key k, enum bmd_hash h, struct bmd_rd digest, uint8_t *ret,
                                                    size_t *ret_len)
{
    EVP_PKEY_CTX *sign = EVP_PKEY_CTX_new(((struct sdk_soft *)ctx)->key, NULL);
    uint8_t der[BMD_SIG_DER_MAX + 8];
    size_t n = sizeof der;

    (void)k;
    assert_int_equal(EVP_PKEY_sign_init(sign), 1);
    assert_int_equal(EVP_PKEY_sign(sign, der, &n, digest.p, digest.n), 1);
    EVP_PKEY_CTX_free(sign);
    return bmd_sig_from_der(bmd_rd_of(der, n), h == BMD_SHA384 ? 48 : 32, ret, *ret_len, ret_len);
}

__attribute__((unused)) static const struct bmd_rot_driver sdk_driver = {
    .name = "test",
    .ctx_size = sizeof(struct sdk_soft),
    .open = sdk_open,
    .close = sdk_close,
    .info = sdk_info,
    .id = sdk_id,
    .key_public = sdk_public,
    .sign = sdk_sign,
};

__attribute__((unused)) static enum bmd_rc sdk_hash(void *arg, enum bmd_hash h, struct bmd_rd data, uint8_t *ret)
{
    (void)arg;
    return EVP_Digest(data.p, data.n, ret, NULL, h == BMD_SHA384 ? EVP_sha384() : EVP_sha256(), NULL) == 1 ? BMD_OK : BMD_INTERNAL;
}

__attribute__((unused)) static const struct bmd_crypto sdk_crypto = { .hash = sdk_hash };

/* A key of the device in one place. */
struct sdk_device {
    struct sdk_soft ctx;
    struct bmd_rot rot;
    struct bmd_signer signer;
};

__attribute__((unused)) static void sdk_device_init(struct sdk_device *d, enum bmd_alg alg)
{
    assert_int_equal(bmd_rot_open(&d->rot, &sdk_driver, &d->ctx, sizeof d->ctx, alg == BMD_P384 ? "p384" : "p256"), BMD_OK);
    assert_int_equal(bmd_signer_init(&d->signer, &d->rot, &sdk_crypto, 1, alg), BMD_OK);
}

__attribute__((unused)) static void sdk_device_done(struct sdk_device *d)
{
    bmd_rot_close(&d->rot);
}

#endif
