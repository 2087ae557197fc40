#include "tls_key.h"

#include <mbedtls/ecp.h>
#include <mbedtls/pk_internal.h>
#include <stdlib.h>

/* mbedtls_pk_ec() and the certificate writer look at the key pair in front: it holds the public point only. */
struct adapter {
    mbedtls_ecp_keypair pair;
    const struct bmd_signer *signer;
};

static size_t adapter_bits(const void *ctx)
{
    return ((const struct adapter *)ctx)->pair.grp.pbits;
}

static int adapter_can_do(mbedtls_pk_type_t type)
{
    return type == MBEDTLS_PK_ECKEY || type == MBEDTLS_PK_ECDSA;
}

static int adapter_sign(void *ctx, mbedtls_md_type_t md, const unsigned char *hash, size_t hash_len, unsigned char *sig,
                        size_t *sig_len, int (*rng)(void *, unsigned char *, size_t), void *rng_arg)
{
    const struct bmd_signer *s = ((struct adapter *)ctx)->signer;
    enum bmd_hash h = md == MBEDTLS_MD_SHA384 ? BMD_SHA384 : BMD_SHA256;
    uint8_t raw[BMD_SIG_RAW_MAX];
    size_t n = sizeof raw;

    (void)rng;
    (void)rng_arg;
    if ((md != MBEDTLS_MD_SHA256 && md != MBEDTLS_MD_SHA384) || h != bmd_alg_hash(s->alg))
        return MBEDTLS_ERR_PK_FEATURE_UNAVAILABLE;
    if (bmd_rot_sign(s->rot, s->key, h, bmd_rd_of(hash, hash_len), raw, &n) != BMD_OK)
        return MBEDTLS_ERR_PK_BAD_INPUT_DATA;
    return bmd_sig_to_der(bmd_rd_of(raw, n), sig, BMD_SIG_DER_MAX, sig_len) == BMD_OK ? 0 : MBEDTLS_ERR_PK_BAD_INPUT_DATA;
}

static void *adapter_alloc(void)
{
    struct adapter *a = calloc(1, sizeof *a);

    if (a != NULL)
        mbedtls_ecp_keypair_init(&a->pair);
    return a;
}

static void adapter_free(void *ctx)
{
    struct adapter *a = ctx;

    mbedtls_ecp_keypair_free(&a->pair);
    free(a);
}

static const mbedtls_pk_info_t adapter_info = {
    .type = MBEDTLS_PK_ECKEY,
    .name = "root of trust",
    .get_bitlen = adapter_bits,
    .can_do = adapter_can_do,
    .sign_func = adapter_sign,
    .ctx_alloc_func = adapter_alloc,
    .ctx_free_func = adapter_free,
};

bool bmd_tls_key_possible(void)
{
    return true;
}

int bmd_tls_key_setup(mbedtls_pk_context *pk, const struct bmd_signer *s)
{
    mbedtls_ecp_group_id curve = s->alg == BMD_P384 ? MBEDTLS_ECP_DP_SECP384R1 : MBEDTLS_ECP_DP_SECP256R1;
    int rc = mbedtls_pk_setup(pk, &adapter_info);
    struct adapter *a = pk->pk_ctx;

    if (rc == 0)
        rc = mbedtls_ecp_group_load(&a->pair.grp, curve);
    if (rc == 0)
        rc = mbedtls_ecp_point_read_binary(&a->pair.grp, &a->pair.Q, s->point, s->point_len);
    if (rc == 0)
        a->signer = s;
    return rc;
}

static const int suites_sha256[] = {
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    0,
};
static const int suites_sha384[] = {
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    0,
};

void bmd_tls_floor(mbedtls_ssl_config *c, enum bmd_alg alg)
{
    mbedtls_ssl_conf_min_version(c, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_ciphersuites(c, alg == BMD_P384 ? suites_sha384 : suites_sha256);
}

bool bmd_tls_again(int code)
{
    return code == MBEDTLS_ERR_SSL_WANT_READ || code == MBEDTLS_ERR_SSL_WANT_WRITE;
}
