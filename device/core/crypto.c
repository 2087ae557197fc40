#include "crypto.h"

struct alg_row {
    uint8_t point, sig, hash;
};

static const struct alg_row algs[BMD_ALGS] = {
    { 0, 0, BMD_HASH_NONE },   /* BMD_ALG_NONE */
    { 65, 64, BMD_SHA256 },    /* BMD_P256 */
    { 97, 96, BMD_SHA384 },    /* BMD_P384 */
    { 32, 64, BMD_HASH_NONE }, /* BMD_ED25519 */
    { 0, 0, BMD_HASH_NONE },   /* BMD_HMAC_SHA256 */
};

static const struct alg_row *row(enum bmd_alg alg)
{
    return &algs[(unsigned)alg < BMD_ALGS ? alg : BMD_ALG_NONE];
}

size_t bmd_hash_len(enum bmd_hash h)
{
    return h == BMD_SHA256 ? 32 : h == BMD_SHA384 ? 48 : 0;
}

size_t bmd_alg_point_len(enum bmd_alg alg)
{
    return row(alg)->point;
}

size_t bmd_alg_sig_len(enum bmd_alg alg)
{
    return row(alg)->sig;
}

enum bmd_hash bmd_alg_hash(enum bmd_alg alg)
{
    return (enum bmd_hash)row(alg)->hash;
}
