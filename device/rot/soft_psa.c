#include "soft_psa.h"

#include <psa/crypto.h>

/* Our part of PSA's range for applications (PSA_KEY_ID_USER_MIN to _MAX). A handle is the PSA key id itself. */
#define FIRST_ID 0x00b10000u

struct soft {
    int32_t last;
    bool open;
};

static const struct result_row {
    psa_status_t status;
    enum bmd_rc rc;
} results[] = {
    { PSA_SUCCESS, BMD_OK },
    { PSA_ERROR_NOT_SUPPORTED, BMD_NOT_SUPPORTED },
    { PSA_ERROR_INVALID_ARGUMENT, BMD_BAD_ARGUMENT },
    { PSA_ERROR_BUFFER_TOO_SMALL, BMD_BUFFER_TOO_SMALL },
    { PSA_ERROR_DOES_NOT_EXIST, BMD_NOT_FOUND },
    { PSA_ERROR_INVALID_HANDLE, BMD_NOT_FOUND },
    { PSA_ERROR_ALREADY_EXISTS, BMD_EXISTS },
    { PSA_ERROR_INSUFFICIENT_STORAGE, BMD_NO_SPACE },
    { PSA_ERROR_INSUFFICIENT_MEMORY, BMD_NO_SPACE },
    { PSA_ERROR_NOT_PERMITTED, BMD_DENIED },
    { PSA_ERROR_INVALID_SIGNATURE, BMD_DENIED },
    { PSA_ERROR_COMMUNICATION_FAILURE, BMD_COMM },
    { PSA_ERROR_STORAGE_FAILURE, BMD_INTEGRITY },
    { PSA_ERROR_DATA_CORRUPT, BMD_INTEGRITY },
    { PSA_ERROR_DATA_INVALID, BMD_INTEGRITY },
};

static enum bmd_rc result(void *ctx, psa_status_t status)
{
    struct soft *s = ctx;
    size_t i;

    s->last = status;
    for (i = 0; i < sizeof results / sizeof results[0]; i++)
        if (results[i].status == status)
            return results[i].rc;
    return BMD_INTERNAL;
}

static psa_key_id_t id_of(const struct bmd_selector *sel)
{
    return FIRST_ID + sel->slot;
}

static bool ours(bmd_key k)
{
    return k >= FIRST_ID && k < FIRST_ID + BMD_SOFT_PSA_SLOTS;
}

static enum bmd_rc soft_open(void *ctx, const char *config)
{
    struct soft *s = ctx;

    if (config[0] != '\0')
        return BMD_BAD_ARGUMENT;
    s->open = true;
    return result(ctx, psa_crypto_init());
}

static void soft_close(void *ctx)
{
    struct soft *s = ctx;

    if (s->open)
        mbedtls_psa_crypto_free();
    s->open = false;
}

static enum bmd_rc soft_info(void *ctx, struct bmd_rot_info *ret)
{
    (void)ctx;
    memset(ret, 0, sizeof *ret);
    ret->algs = 1u << BMD_P256 | 1u << BMD_P384;
    ret->slots = BMD_SOFT_PSA_SLOTS;
    ret->id_len = 8;
    ret->assurance = BMD_ASSURE_SOFTWARE;
    ret->kind = "software";
    ret->vendor = "Mbed TLS";
    ret->model = "PSA Crypto";
    return BMD_OK;
}

/* Software has no number of its own: the id says what it is, the UDID who. */
static enum bmd_rc soft_id(void *ctx, uint8_t *ret, size_t *ret_len)
{
    (void)ctx;
    memcpy(ret, "soft-psa", 8);
    *ret_len = 8;
    return BMD_OK;
}

static enum bmd_rc soft_random(void *ctx, uint8_t *ret, size_t n)
{
    return result(ctx, psa_generate_random(ret, n));
}

static enum bmd_alg alg_of(const psa_key_attributes_t *a)
{
    if (psa_get_key_type(a) != PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1))
        return BMD_ALG_NONE;
    return psa_get_key_bits(a) == 256 ? BMD_P256 : psa_get_key_bits(a) == 384 ? BMD_P384 : BMD_ALG_NONE;
}

static enum bmd_rc soft_key_open(void *ctx, const struct bmd_selector *sel, bmd_key *ret, struct bmd_key_attributes *ret_attr)
{
    psa_key_attributes_t a = PSA_KEY_ATTRIBUTES_INIT;
    enum bmd_rc rc;

    if (sel->label_len != 0)
        return BMD_BAD_ARGUMENT;
    rc = result(ctx, psa_get_key_attributes(id_of(sel), &a));
    if (rc != BMD_OK)
        return rc;
    memset(ret_attr, 0, sizeof *ret_attr);
    ret_attr->alg = alg_of(&a);
    ret_attr->usage = BMD_USE_SIGN;
    ret_attr->origin = BMD_ORIGIN_GENERATED;
    ret_attr->exportable = (psa_get_key_usage_flags(&a) & PSA_KEY_USAGE_EXPORT) != 0;
    ret_attr->persistent = true;
    psa_reset_key_attributes(&a);
    *ret = id_of(sel);
    return ret_attr->alg != BMD_ALG_NONE ? BMD_OK : BMD_INTEGRITY;
}

static enum bmd_rc soft_generate(void *ctx, const struct bmd_selector *sel, enum bmd_alg alg, uint8_t usage, uint8_t flags,
                                 bmd_key *ret)
{
    psa_key_attributes_t a = PSA_KEY_ATTRIBUTES_INIT;
    psa_key_id_t made;
    psa_status_t status;

    if (sel->label_len != 0)
        return BMD_BAD_ARGUMENT;
    if (usage != BMD_USE_SIGN || (flags & BMD_GEN_VOLATILE) != 0)
        return BMD_NOT_SUPPORTED;
    if ((flags & BMD_GEN_REPLACE) != 0)
        (void)psa_destroy_key(id_of(sel));
    psa_set_key_id(&a, id_of(sel));
    psa_set_key_type(&a, PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1));
    psa_set_key_bits(&a, alg == BMD_P384 ? 384 : 256);
    psa_set_key_usage_flags(&a, PSA_KEY_USAGE_SIGN_HASH | ((flags & BMD_GEN_EXPORTABLE) != 0 ? PSA_KEY_USAGE_EXPORT : 0));
    psa_set_key_algorithm(&a, PSA_ALG_ECDSA(alg == BMD_P384 ? PSA_ALG_SHA_384 : PSA_ALG_SHA_256));
    status = psa_generate_key(&a, &made);
    psa_reset_key_attributes(&a);
    if (status == PSA_SUCCESS)
        *ret = made;
    return result(ctx, status);
}

static enum bmd_rc soft_public(void *ctx, bmd_key k, uint8_t *ret, size_t *ret_len)
{
    return ours(k) ? result(ctx, psa_export_public_key(k, ret, *ret_len, ret_len)) : BMD_NOT_FOUND;
}

static enum bmd_rc soft_sign(void *ctx, bmd_key k, enum bmd_hash h, struct bmd_rd digest, uint8_t *ret, size_t *ret_len)
{
    psa_algorithm_t alg = PSA_ALG_ECDSA(h == BMD_SHA384 ? PSA_ALG_SHA_384 : PSA_ALG_SHA_256);

    if (h == BMD_HASH_NONE)
        return BMD_NOT_SUPPORTED;
    return ours(k) ? result(ctx, psa_sign_hash(k, alg, digest.p, digest.n, ret, *ret_len, ret_len)) : BMD_NOT_FOUND;
}

static enum bmd_rc soft_erase(void *ctx, const struct bmd_selector *sel)
{
    return sel->label_len == 0 ? result(ctx, psa_destroy_key(id_of(sel))) : BMD_BAD_ARGUMENT;
}

static int32_t soft_detail(void *ctx)
{
    return ((struct soft *)ctx)->last;
}

const struct bmd_rot_driver bmd_soft_psa = {
    .name = "soft-psa",
    .ctx_size = sizeof(struct soft),
    .open = soft_open,
    .close = soft_close,
    .info = soft_info,
    .id = soft_id,
    .random = soft_random,
    .key_open = soft_key_open,
    .key_generate = soft_generate,
    .key_public = soft_public,
    .sign = soft_sign,
    .key_erase = soft_erase,
    .last_detail = soft_detail,
};

enum bmd_rc bmd_soft_psa_export(struct bmd_rot *r, bmd_key k, uint8_t *ret, size_t *ret_len)
{
    if (!r->open || r->driver != &bmd_soft_psa || !ours(k))
        return BMD_BAD_ARGUMENT;
    return result(r->ctx, psa_export_key(k, ret, *ret_len, ret_len));
}
