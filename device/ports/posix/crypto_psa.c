#include "posix.h"

#include <psa/crypto.h>

static enum bmd_rc hash(void *arg, enum bmd_hash h, struct bmd_rd data, uint8_t *ret)
{
    psa_algorithm_t alg = h == BMD_SHA384 ? PSA_ALG_SHA_384 : PSA_ALG_SHA_256;
    size_t n;

    (void)arg;
    if (bmd_hash_len(h) == 0)
        return BMD_NOT_SUPPORTED;
    return psa_hash_compute(alg, data.p, data.n, ret, bmd_hash_len(h), &n) == PSA_SUCCESS ? BMD_OK : BMD_INTERNAL;
}

static enum bmd_rc verify(void *arg, enum bmd_alg alg, struct bmd_rd point, struct bmd_rd digest, struct bmd_rd sig_raw)
{
    psa_algorithm_t ecdsa = PSA_ALG_ECDSA(alg == BMD_P384 ? PSA_ALG_SHA_384 : PSA_ALG_SHA_256);
    psa_key_attributes_t a = PSA_KEY_ATTRIBUTES_INIT;
    psa_key_id_t key;
    psa_status_t status;

    (void)arg;
    if (alg != BMD_P256 && alg != BMD_P384)
        return BMD_NOT_SUPPORTED;
    psa_set_key_type(&a, PSA_KEY_TYPE_ECC_PUBLIC_KEY(PSA_ECC_FAMILY_SECP_R1));
    psa_set_key_usage_flags(&a, PSA_KEY_USAGE_VERIFY_HASH);
    psa_set_key_algorithm(&a, ecdsa);
    if (psa_import_key(&a, point.p, point.n, &key) != PSA_SUCCESS)
        return BMD_DENIED;
    status = psa_verify_hash(key, ecdsa, digest.p, digest.n, sig_raw.p, sig_raw.n);
    (void)psa_destroy_key(key);
    return status == PSA_SUCCESS ? BMD_OK : BMD_DENIED;
}

const struct bmd_crypto bmd_crypto_psa = { .hash = hash, .verify = verify };
