#include "pki/cmp_mac.h"

#include "pki/der.h"
#include "pki/oid.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

struct bm_cmp_hash {
    const char *name; /* OpenSSL's */
    struct bm_rd oid, hmac, hmac_old;
    size_t len;
    bool owf; /* taken as a hash, not only within HMAC */
};
static const struct bm_cmp_hash hashes[] = {
    { "SHA1", BM_LIT(OID_SHA1), BM_LIT(OID_HMAC_SHA1), BM_LIT(OID_HMAC_SHA1_OLD), 20, false },
    { "SHA256", BM_LIT(OID_SHA256), BM_LIT(OID_HMAC_SHA256), { NULL, 0 }, 32, true },
    { "SHA384", BM_LIT(OID_SHA384), BM_LIT(OID_HMAC_SHA384), { NULL, 0 }, 48, true },
    { "SHA512", BM_LIT(OID_SHA512), BM_LIT(OID_HMAC_SHA512), { NULL, 0 }, 64, true },
};
static const struct bm_rd oid_pbm = BM_LIT(OID_PASSWORD_BASED_MAC), oid_pbmac1 = BM_LIT(OID_PBMAC1),
                          oid_pbkdf2 = BM_LIT(OID_PBKDF2);

/* --- reading ------------------------------------------------------------------------------------------------------------------------ */
/* AlgorithmIdentifier; its parameters, or nothing. */
static bool algorithm(struct bm_rd *r, struct bm_rd *ret_oid, struct bm_rd *ret_params)
{
    struct bm_rd in;

    *ret_params = bm_rd_of(NULL, 0);
    return bm_der_take(r, BM_DER_SEQUENCE, &in) && bm_der_take(&in, BM_DER_OID, ret_oid) &&
           (in.n == 0 || (bm_der_any(&in, NULL, NULL, ret_params) && in.n == 0));
}

static bool plain(struct bm_rd params)
{
    return params.n == 0 || bm_rd_eq(params, bm_rd_of("\x05\x00", 2));
}

static const struct bm_cmp_hash *hash_of(struct bm_rd oid)
{
    for (size_t i = 0; i < BM_COUNT(hashes); i++)
        if (bm_rd_eq(oid, hashes[i].oid))
            return hashes[i].owf ? &hashes[i] : NULL;
    return NULL;
}

static const struct bm_cmp_hash *hmac_of(struct bm_rd oid)
{
    for (size_t i = 0; i < BM_COUNT(hashes); i++)
        if (bm_rd_eq(oid, hashes[i].hmac) || (hashes[i].hmac_old.n != 0 && bm_rd_eq(oid, hashes[i].hmac_old)))
            return &hashes[i];
    return NULL;
}

static bool take_salt(struct bm_rd *r, struct bm_cmp_mac *m)
{
    struct bm_rd salt;

    if (!bm_der_take(r, BM_DER_OCTET_STRING, &salt) || salt.n < 8 || salt.n > sizeof m->salt)
        return false;
    memcpy(m->salt, salt.p, salt.n);
    m->salt_len = salt.n;
    return true;
}

static bool count(struct bm_rd *r, struct bm_cmp_mac *m)
{
    uint64_t n;

    if (!bm_der_uint(r, &n) || n == 0 || n > BM_CMP_ITERATIONS_MAX)
        return false;
    m->iterations = (unsigned)n;
    return true;
}

/* PBMParameter ::= SEQUENCE { salt OCTET STRING, owf AlgorithmIdentifier, iterationCount INTEGER, mac AlgorithmIdentifier } */
static bool pbm(struct bm_rd params, struct bm_cmp_mac *m)
{
    struct bm_rd in, owf, mac, p1, p2;

    if (!bm_der_only(params, BM_DER_SEQUENCE, &in) || !take_salt(&in, m) || !algorithm(&in, &owf, &p1) || !count(&in, m) ||
        !algorithm(&in, &mac, &p2) || in.n != 0 || !plain(p1) || !plain(p2))
        return false;
    m->hash = hash_of(owf);
    m->mac = hmac_of(mac);
    m->key_len = m->hash != NULL ? m->hash->len : 0;
    return m->hash != NULL && m->mac != NULL;
}

/* PBKDF2-params ::= SEQUENCE { salt OCTET STRING, iterationCount, keyLength OPTIONAL, prf DEFAULT hmacWithSHA1 }, RFC 8018 appendix A.2 */
static bool pbkdf2(struct bm_rd params, struct bm_cmp_mac *m)
{
    struct bm_rd in, prf, p;
    uint64_t len = 0;

    if (!bm_der_only(params, BM_DER_SEQUENCE, &in) || !take_salt(&in, m) || !count(&in, m))
        return false;
    if (bm_der_next_is(in, BM_DER_INTEGER) && (!bm_der_uint(&in, &len) || len < 16 || len > BM_CMP_MAC_MAX))
        return false;
    m->key_len = (size_t)len;
    m->hash = &hashes[0];
    if (in.n != 0) {
        if (!algorithm(&in, &prf, &p) || in.n != 0 || !plain(p))
            return false;
        m->hash = hmac_of(prf);
    }
    return m->hash != NULL;
}

/* PBMAC1-params ::= SEQUENCE { keyDerivationFunc, messageAuthScheme }, RFC 8018 appendix A.5 */
static bool pbmac1(struct bm_rd params, struct bm_cmp_mac *m)
{
    struct bm_rd in, kdf, kdf_params, mac, p;

    if (!bm_der_only(params, BM_DER_SEQUENCE, &in) || !algorithm(&in, &kdf, &kdf_params) || !algorithm(&in, &mac, &p) ||
        in.n != 0 || !plain(p) || !bm_rd_eq(kdf, oid_pbkdf2) || !pbkdf2(kdf_params, m))
        return false;
    m->mac = hmac_of(mac);
    if (m->mac != NULL && m->key_len == 0)
        m->key_len = m->mac->len;
    return m->mac != NULL;
}

bool bm_cmp_mac_is(struct bm_rd alg)
{
    struct bm_rd oid, params;

    return algorithm(&alg, &oid, &params) && (bm_rd_eq(oid, oid_pbm) || bm_rd_eq(oid, oid_pbmac1));
}

enum bm_rc bm_cmp_mac_parse(struct bm_rd alg, struct bm_cmp_mac *ret, struct bm_error *e)
{
    struct bm_cmp_mac m = { 0 };
    struct bm_rd oid, params;
    bool ok = algorithm(&alg, &oid, &params) && alg.n == 0;

    m.kind = ok && bm_rd_eq(oid, oid_pbmac1) ? BM_CMP_PBMAC1 : BM_CMP_PBM;
    ok = ok && (m.kind == BM_CMP_PBMAC1 ? pbmac1(params, &m) : bm_rd_eq(oid, oid_pbm) && pbm(params, &m));
    if (!ok)
        return bm_refuse(
            e, BM_DENIED, "cmp-algorithm",
            "MACs are taken with SHA-256 and up (HMAC with SHA-1 too), a salt of 8 to 64 bytes, and at most %d iterations",
            BM_CMP_ITERATIONS_MAX);
    *ret = m;
    return BM_OK;
}

/* --- computing ---------------------------------------------------------------------------------------------------------------------- */
/* RFC 9810 section 5.1.3.1: the hash of secret and salt, hashed again and again. */
static bool pbm_key(const struct bm_cmp_mac *m, struct bm_rd secret, uint8_t *ret)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { .max = 1024 };
    unsigned n = 0;
    const EVP_MD *md = EVP_get_digestbyname(m->hash->name);
    bool ok;

    bm_buf_put(&in, secret.p, secret.n);
    bm_buf_put(&in, m->salt, m->salt_len);
    ok = !in.bad && md != NULL && EVP_Digest(in.p, in.n, ret, &n, md, NULL) == 1;
    for (unsigned i = 1; ok && i < m->iterations; i++)
        ok = EVP_Digest(ret, n, ret, &n, md, NULL) == 1;
    return ok;
}

static bool derive(const struct bm_cmp_mac *m, struct bm_rd secret, uint8_t *ret)
{
    if (m->kind == BM_CMP_PBM)
        return pbm_key(m, secret, ret);
    return secret.n <= INT32_MAX &&
           PKCS5_PBKDF2_HMAC((const char *)secret.p, (int)secret.n, m->salt, (int)m->salt_len, (int)m->iterations,
                             EVP_get_digestbyname(m->hash->name), (int)m->key_len, ret) == 1;
}

enum bm_rc bm_cmp_mac_make(const struct bm_cmp_mac *m, struct bm_rd secret, struct bm_rd msg, uint8_t *ret, size_t *ret_len,
                           struct bm_error *e)
{
    uint8_t key[BM_CMP_MAC_MAX];
    unsigned n = 0;
    bool ok =
        derive(m, secret, key) && HMAC(EVP_get_digestbyname(m->mac->name), key, (int)m->key_len, msg.p, msg.n, ret, &n) != NULL;

    bm_wipe(key, sizeof key);
    *ret_len = n;
    return ok ? BM_OK : bm_fail(e, BM_NOMEM, "the MAC could not be computed");
}

enum bm_rc bm_cmp_mac_renew(struct bm_cmp_mac *m, struct bm_error *e)
{
    m->salt_len = BM_CMP_SALT_LEN;
    return RAND_bytes(m->salt, BM_CMP_SALT_LEN) == 1 ? BM_OK : bm_fail(e, BM_BUG, "no random numbers");
}

enum bm_rc bm_cmp_mac_new(enum bm_cmp_mac_kind kind, unsigned iterations, struct bm_cmp_mac *ret, struct bm_error *e)
{
    const struct bm_cmp_hash *sha256 = &hashes[1];

    *ret = (struct bm_cmp_mac){ .kind = kind, .iterations = iterations, .hash = sha256, .mac = sha256, .key_len = sha256->len };
    return bm_cmp_mac_renew(ret, e);
}

/* --- writing ------------------------------------------------------------------------------------------------------------------------ */
static void put_algorithm(struct bm_derw *w, struct bm_rd oid)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_tlv(w, BM_DER_NULL, bm_rd_of(NULL, 0));
    bm_derw_tlv(w, BM_DER_OID, oid);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

static void put_pbm(struct bm_derw *w, const struct bm_cmp_mac *m)
{
    size_t mark = bm_derw_mark(w);

    put_algorithm(w, m->mac->hmac);
    bm_derw_uint(w, m->iterations);
    put_algorithm(w, m->hash->oid);
    bm_derw_tlv(w, BM_DER_OCTET_STRING, bm_rd_of(m->salt, m->salt_len));
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

static void put_pbmac1(struct bm_derw *w, const struct bm_cmp_mac *m)
{
    size_t all = bm_derw_mark(w), mark;

    put_algorithm(w, m->mac->hmac);
    mark = bm_derw_mark(w);
    put_algorithm(w, m->hash->hmac);
    bm_derw_uint(w, m->key_len);
    bm_derw_uint(w, m->iterations);
    bm_derw_tlv(w, BM_DER_OCTET_STRING, bm_rd_of(m->salt, m->salt_len));
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_tlv(w, BM_DER_OID, oid_pbkdf2);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, all, BM_DER_SEQUENCE);
}

void bm_cmp_mac_put(struct bm_derw *w, const struct bm_cmp_mac *m)
{
    size_t mark = bm_derw_mark(w);

    if (m->kind == BM_CMP_PBM)
        put_pbm(w, m);
    else
        put_pbmac1(w, m);
    bm_derw_tlv(w, BM_DER_OID, m->kind == BM_CMP_PBM ? oid_pbm : oid_pbmac1);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}
