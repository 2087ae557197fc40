#include "pki/impl.h"

#include <openssl/err.h>
#include <openssl/x509.h>

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 4096, RSA_EXPONENT_MIN = 65537 };
enum { STRENGTH_MIN = 112 }; /* what RSA of 2048 bits has: NIST SP 800-57 part 1, section 5.6.1 */

enum spki_kind { KIND_EC, KIND_RSA, KIND_ED25519 };
struct spki_alg {
    const char *alg;
    struct bm_rd oid, params; /* params: the whole parameters field, DER, or empty */
    enum spki_kind kind;
    enum bm_curve curve;
};
static const struct spki_alg algs[] = {
    { "P-256", BM_LIT(OID_EC_PUBLIC_KEY), BM_LIT("\x06\x08" OID_P256), KIND_EC, BM_P256 },
    { "P-384", BM_LIT(OID_EC_PUBLIC_KEY), BM_LIT("\x06\x05" OID_P384), KIND_EC, BM_P384 },
    { "P-521", BM_LIT(OID_EC_PUBLIC_KEY), BM_LIT("\x06\x05" OID_P521), KIND_EC, BM_P521 },
    { "Ed25519", BM_LIT(OID_ED25519), { NULL, 0 }, KIND_ED25519, BM_CURVE_NONE }, /* RFC 8410 section 3: no parameters */
    { "RSA", BM_LIT(OID_RSA), BM_LIT("\x05\x00"), KIND_RSA, BM_CURVE_NONE },      /* RFC 3279 section 2.3.1: NULL */
};
static const struct bm_rd oid_ec = BM_LIT(OID_EC_PUBLIC_KEY), oid_rsa = BM_LIT(OID_RSA), oid_ed25519 = BM_LIT(OID_ED25519);

void bm_udid_of(struct bm_rd spki, uint8_t ret[32])
{
    uint8_t d[BM_DIGEST_MAX] = { 0 };

    (void)bm_digest_of(BM_SHA256, spki, d);
    memcpy(ret, d, 32);
}

void bm_key_id(struct bm_rd raw, uint8_t ret[20])
{
    uint8_t d[BM_DIGEST_MAX] = { 0 };

    (void)bm_digest_of(BM_SHA256, raw, d);
    memcpy(ret, d, 20);
}

static enum bm_rc ec_check(const struct spki_alg *a, struct bm_spki *k, struct bm_error *e)
{
    if (k->raw.n == 0 || k->raw.p[0] != 4 || k->raw.n != 1 + 2 * bm_ec_size(a->curve))
        return bm_fail(e, BM_MALFORMED, "public key: not an uncompressed %s point", a->alg);
    return BM_OK;
}

static enum bm_rc ed25519_check(const struct spki_alg *a, struct bm_spki *k, struct bm_error *e)
{
    if (k->raw.n != 32)
        return bm_fail(e, BM_MALFORMED, "public key: %s has 32 bytes, not %zu", a->alg, k->raw.n);
    return BM_OK;
}

static int bit_length(struct bm_rd n)
{
    int bits = (int)n.n * 8;

    for (uint8_t top = n.p[0]; (top & 0x80) == 0 && bits > 0; top = (uint8_t)(top << 1))
        bits--;
    return bits;
}

/* RSAPublicKey ::= SEQUENCE { modulus, publicExponent }, RFC 8017 appendix A.1.1 */
static enum bm_rc rsa_check(const struct spki_alg *a, struct bm_spki *k, struct bm_error *e)
{
    struct bm_rd seq, n;
    uint64_t exponent;

    if (!bm_der_only(k->raw, BM_DER_SEQUENCE, &seq) || !bm_der_take(&seq, BM_DER_INTEGER, &n) || !bm_der_int_ok(n) ||
        n.p[0] >= 0x80)
        return bm_fail(e, BM_MALFORMED, "public key: bad %s modulus", a->alg);
    if (!bm_der_uint(&seq, &exponent) || seq.n != 0)
        return bm_fail(e, BM_MALFORMED, "public key: bad %s exponent", a->alg);
    if (n.p[0] == 0 && n.n > 1)
        n = bm_rd_of(n.p + 1, n.n - 1);
    k->bits = n.p[0] == 0 ? 0 : bit_length(n);
    if (k->bits < RSA_BITS_MIN || k->bits > RSA_BITS_MAX)
        return bm_fail(e, BM_MALFORMED, "public key: RSA of %d bits; %d to %d are taken", k->bits, RSA_BITS_MIN, RSA_BITS_MAX);
    if (exponent < RSA_EXPONENT_MIN || exponent % 2 == 0 || n.p[n.n - 1] % 2 == 0)
        return bm_fail(e, BM_MALFORMED, "public key: RSA exponent must be odd and over 65535, and the modulus odd");
    return BM_OK;
}

typedef enum bm_rc spki_check(const struct spki_alg *a, struct bm_spki *k, struct bm_error *e);
static spki_check *const checks[] = { [KIND_EC] = ec_check, [KIND_RSA] = rsa_check, [KIND_ED25519] = ed25519_check };

static const struct spki_alg *alg_find(struct bm_rd oid, struct bm_rd params)
{
    for (size_t i = 0; i < BM_COUNT(algs); i++)
        if (bm_rd_eq(oid, algs[i].oid) && bm_rd_eq(params, algs[i].params))
            return &algs[i];
    return NULL;
}

/* Algorithms we have no row for pass through by their OID; other curves by the curve's. */
static enum bm_rc other_alg(struct bm_rd oid, struct bm_rd params, struct bm_spki *k, struct bm_error *e)
{
    if (bm_rd_eq(oid, oid_rsa) || bm_rd_eq(oid, oid_ed25519))
        return bm_fail(e, BM_MALFORMED, "public key: wrong parameters for its algorithm");
    if (bm_rd_eq(oid, oid_ec)) {
        if (!bm_der_only(params, BM_DER_OID, &oid))
            return bm_fail(e, BM_MALFORMED, "public key: the curve must be given by name");
        if (k->raw.n == 0 || k->raw.p[0] != 4)
            return bm_fail(e, BM_MALFORMED, "public key: not an uncompressed point");
    }
    if (!bm_der_oid_text(oid, k->alg, sizeof k->alg))
        return bm_fail(e, BM_MALFORMED, "public key: bad algorithm identifier");
    return BM_OK;
}

enum bm_rc bm_spki_parse(struct bm_rd der, struct bm_spki *ret, struct bm_error *e)
{
    struct bm_spki k = { .whole = der };
    struct bm_rd seq, id, oid, params;
    const struct spki_alg *a;
    enum bm_rc rc;

    if (der.n > BM_SPKI_MAX)
        return bm_fail(e, BM_LIMIT, "public key of %zu bytes; at most %d are taken", der.n, BM_SPKI_MAX);
    if (!bm_der_only(der, BM_DER_SEQUENCE, &seq) || !bm_der_take(&seq, BM_DER_SEQUENCE, &id) || !bm_der_bits(&seq, &k.raw) ||
        seq.n != 0 || !bm_der_take(&id, BM_DER_OID, &oid))
        return bm_fail(e, BM_MALFORMED, "public key: not a DER SubjectPublicKeyInfo");
    params = id;
    if (id.n != 0 && (!bm_der_any(&id, NULL, NULL, NULL) || id.n != 0))
        return bm_fail(e, BM_MALFORMED, "public key: bad algorithm parameters");
    a = alg_find(oid, params);
    if (a != NULL)
        memcpy(k.alg, a->alg, strlen(a->alg) + 1);
    rc = a != NULL ? checks[a->kind](a, &k, e) : other_alg(oid, params, &k, e);
    if (rc == BM_OK)
        *ret = k;
    return rc;
}

/* Curves that we have no row for come as OpenSSL knows them, down to those of 112 bits, which a person can break. */
static bool weak(EVP_PKEY *k)
{
    return EVP_PKEY_get_base_id(k) == EVP_PKEY_EC && EVP_PKEY_get_security_bits(k) < STRENGTH_MIN;
}

static EVP_PKEY *generic_open(struct bm_rd whole)
{
    const uint8_t *p = whole.p;
    EVP_PKEY *k = d2i_PUBKEY(NULL, &p, (long)whole.n);

    if (k != NULL && p == whole.p + whole.n && !weak(k))
        return k;
    EVP_PKEY_free(k);
    return NULL;
}

enum bm_rc bm_spki_open(const struct bm_spki *k, EVP_PKEY **ret, struct bm_error *e)
{
    EVP_PKEY *key;

    for (size_t i = 0; i < BM_COUNT(algs); i++)
        if (algs[i].kind == KIND_EC && strcmp(algs[i].alg, k->alg) == 0)
            return bm_ec_open(algs[i].curve, k->raw, ret, e);
    if (strcmp(k->alg, "Ed25519") == 0)
        key = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, k->raw.p, k->raw.n);
    else
        key = k->bits != 0 ? bm_rsa_open(k->raw) : generic_open(k->whole);
    if (key == NULL) {
        ERR_clear_error();
        return bm_fail(e, BM_MALFORMED, "public key of algorithm %s: this OpenSSL cannot read it, or its curve is weak", k->alg);
    }
    *ret = key;
    return BM_OK;
}

void bm_evp_freep(EVP_PKEY **k)
{
    EVP_PKEY_free(*k);
    *k = NULL;
}
