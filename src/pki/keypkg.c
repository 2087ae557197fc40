#include "pki/keypkg.h"

#include "pki/cms_signed.h"
#include "pki/impl.h"

#include <openssl/cms.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

/* --- made ---------------------------------------------------------------------------------------------------------------------------- */
static const struct {
    const char *alg, *type, *curve; /* as in bm_spki.alg; for the library */
} makeable[] = {
    { "P-256", "EC", "P-256" }, { "P-384", "EC", "P-384" }, { "P-521", "EC", "P-521" }, { "Ed25519", "ED25519", NULL }
};

static EVP_PKEY *make(const char *alg)
{
    for (size_t i = 0; i < BM_COUNT(makeable); i++) {
        if (strcmp(makeable[i].alg, alg) == 0)
            return makeable[i].curve != NULL ? EVP_EC_gen(makeable[i].curve) : EVP_PKEY_Q_keygen(NULL, NULL, makeable[i].type);
    }
    return NULL;
}

enum bm_rc bm_keypkg_make(const char *alg, struct bm_buf *ret_pkcs8, struct bm_buf *ret_spki, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *key = NULL;
    EVP_PKEY *made = make(alg);
    enum bm_rc rc;

    if (made == NULL)
        return bm_refuse(e, BM_DENIED, "keygen-algorithm", "keys are made here for P-256, P-384, P-521 and Ed25519, not for %s",
                         alg);
    rc = bm_key_of_evp(made, &key, e);
    if (rc == BM_OK)
        rc = bm_key_export(key, ret_pkcs8, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_put(ret_spki, bm_key_spki(key).p, bm_key_spki(key).n);
    return bm_buf_check(ret_spki, e);
}

/* --- signed -------------------------------------------------------------------------------------------------------------------------- */
static const struct bm_rd oid_key_package = BM_LIT(OID_KEY_PACKAGE);

/* AsymmetricKeyPackage ::= SEQUENCE OF OneAsymmetricKey, RFC 5958 section 2. */
static enum bm_rc wrap_key(struct bm_rd pkcs8, struct bm_buf *ret, struct bm_error *e)
{
    uint8_t room[8];
    struct bm_derw w = bm_derw_of(room, sizeof room);

    bm_derw_header(&w, pkcs8.n, BM_DER_SEQUENCE);
    bm_buf_put(ret, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    bm_buf_put(ret, pkcs8.p, pkcs8.n);
    return bm_buf_check(ret, e);
}

enum bm_rc bm_keypkg_sign(struct bm_rd pkcs8, const struct bm_keypkg_signer *by, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf package = { .max = BM_CERT_MAX };
    struct bm_cms_sign s = {
        .bare = true, .by_key_id = by->by_key_id, .content_type = oid_key_package, .key = by->key, .cert = by->cert
    };
    enum bm_rc rc = wrap_key(pkcs8, &package, e);

    s.content = bm_buf_rd(&package);
    s.certs[s.n_certs++] = by->cert->whole;
    for (size_t i = 0; i < by->n_chain && s.n_certs < BM_CMS_CERTS_MAX; i++)
        s.certs[s.n_certs++] = bm_buf_rd(&by->chain[i]);
    return rc == BM_OK ? bm_cms_signed_write(&s, ret, e) : rc;
}

enum { PASSWORD_ITERATIONS = 10000 }; /* the password has 128 random bits, which no number of them would make more */

/* --- sealed -------------------------------------------------------------------------------------------------------------------------- */
static void x509_freep(X509 **x)
{
    X509_free(*x);
}

static void cms_freep(CMS_ContentInfo **c)
{
    CMS_ContentInfo_free(*c);
}

/* The library takes a recipient as a certificate only. This one is signed by nobody in particular and goes nowhere: of it the message has the
 * key identifier alone. */
static X509 *stand_in(EVP_PKEY *recipient, struct bm_rd key_id)
{
    BM_EVP_FREE EVP_PKEY *any = EVP_EC_gen("P-256");
    BM_CLEANUP(x509_freep) X509 *x = X509_new();
    ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
    bool ok = any != NULL && x != NULL && id != NULL && ASN1_OCTET_STRING_set(id, key_id.p, (int)key_id.n) == 1 &&
              X509_set_version(x, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(x), 1) == 1 &&
              X509_gmtime_adj(X509_getm_notBefore(x), 0) != NULL && X509_gmtime_adj(X509_getm_notAfter(x), 60) != NULL &&
              X509_set_pubkey(x, recipient) == 1 && X509_add1_ext_i2d(x, NID_subject_key_identifier, id, 0, 0) == 1 &&
              X509_sign(x, any, EVP_sha256()) > 0;

    ASN1_OCTET_STRING_free(id);
    return ok ? BM_MOVE(x) : NULL;
}

static X509 *certificate_of(EVP_PKEY *key, const struct bm_keypkg_to *to)
{
    const uint8_t *p = to->cert.p;

    return to->key_id.n != 0 ? stand_in(key, to->key_id) : d2i_X509(NULL, &p, (long)to->cert.n);
}

static enum bm_rc open_key(struct bm_rd der, EVP_PKEY **ret, struct bm_error *e)
{
    struct bm_spki spki;
    enum bm_rc rc = bm_spki_parse(der, &spki, e);
    int type;

    if (rc == BM_OK)
        rc = bm_spki_open(&spki, ret, e);
    if (rc != BM_OK)
        return rc;
    type = EVP_PKEY_get_base_id(*ret);
    if (type != EVP_PKEY_EC && type != EVP_PKEY_RSA)
        return bm_refuse(e, BM_DENIED, "keygen-recipient-unfit", "nothing can be encrypted to a key of kind %s", spki.alg);
    return BM_OK;
}

static bool add_key(CMS_ContentInfo *cms, EVP_PKEY *key, const struct bm_keypkg_to *to)
{
    BM_CLEANUP(x509_freep) X509 *cert = certificate_of(key, to);
    CMS_RecipientInfo *ri =
        cert != NULL ? CMS_add1_recipient_cert(cms, cert, CMS_KEY_PARAM | (to->key_id.n != 0 ? CMS_USE_KEYID : 0)) : NULL;
    EVP_PKEY_CTX *ctx = ri != NULL ? CMS_RecipientInfo_get0_pkey_ctx(ri) : NULL;

    if (ctx == NULL)
        return false;
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA)
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 && EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) > 0;
    return EVP_PKEY_CTX_set_ecdh_kdf_md(ctx, EVP_sha256()) > 0; /* not the library's SHA-1 */
}

/* The library takes its copy of the password over, and wipes it; when it fails, which is for want of memory, it may have wiped it already. */
static bool add_password(CMS_ContentInfo *cms, struct bm_rd password)
{
    unsigned char *copy = OPENSSL_memdup(password.p, password.n);

    return copy != NULL && CMS_add0_recipient_password(cms, PASSWORD_ITERATIONS, NID_id_alg_PWRI_KEK, NID_undef, copy,
                                                       (ossl_ssize_t)password.n, EVP_aes_256_cbc()) != NULL;
}

static bool finish(CMS_ContentInfo *cms, struct bm_rd plain, struct bm_buf *ret)
{
    BIO *in = BIO_new_mem_buf(plain.p, (int)plain.n);
    uint8_t *der = NULL;
    int n = -1;

    if (in != NULL && CMS_set1_eContentType(cms, OBJ_nid2obj(NID_pkcs7_signed)) == 1 && CMS_final(cms, in, NULL, CMS_BINARY) == 1)
        n = i2d_CMS_ContentInfo(cms, &der);
    BIO_free(in);
    if (n > 0)
        bm_buf_put(ret, der, (size_t)n);
    OPENSSL_free(der);
    return n > 0;
}

enum bm_rc bm_keypkg_seal(struct bm_rd signed_data, const struct bm_keypkg_to *to, int key_bits, struct bm_buf *ret,
                          struct bm_error *e)
{
    BM_CLEANUP(cms_freep)
    CMS_ContentInfo *cms =
        CMS_encrypt(NULL, NULL, key_bits == 256 ? EVP_aes_256_cbc() : EVP_aes_128_cbc(), CMS_PARTIAL | CMS_BINARY);
    BM_EVP_FREE EVP_PKEY *key = NULL;
    enum bm_rc rc = to->password.n != 0 ? BM_OK : open_key(to->spki, &key, e);
    bool ok;

    if (rc != BM_OK)
        return rc;
    ok = cms != NULL && (to->password.n != 0 ? add_password(cms, to->password) : add_key(cms, key, to));
    if (!ok || !finish(cms, signed_data, ret))
        return bm_fail(e, BM_BUG, "the key cannot be encrypted");
    return bm_buf_check(ret, e);
}

/* --- what the client says ------------------------------------------------------------------------------------------------------------ */
bool bm_keypkg_is_id_of(struct bm_rd key_id, struct bm_rd spki)
{
    uint8_t udid[32], sha256[20], sha1[20];
    struct bm_spki parsed;

    if (bm_spki_parse(spki, &parsed, NULL) != BM_OK)
        return false;
    bm_udid_of(spki, udid);
    bm_key_id(parsed.raw, sha256);
    if (EVP_Digest(parsed.raw.p, parsed.raw.n, sha1, NULL, EVP_sha1(), NULL) != 1) /* a name, no protection */
        return false;
    return bm_rd_eq(key_id, bm_rd_of(udid, sizeof udid)) || bm_rd_eq(key_id, bm_rd_of(sha256, sizeof sha256)) ||
           bm_rd_eq(key_id, bm_rd_of(sha1, sizeof sha1));
}

int bm_keypkg_cipher(struct bm_rd capabilities)
{
    static const struct bm_rd aes256 = BM_LIT(OID_AES256_CBC), aes128 = BM_LIT(OID_AES128_CBC);
    struct bm_rd one, oid;
    int best = 0;

    if (capabilities.n == 0)
        return 256;
    while (capabilities.n != 0) {
        if (!bm_der_take(&capabilities, BM_DER_SEQUENCE, &one) || !bm_der_take(&one, BM_DER_OID, &oid))
            return 0;
        best = bm_rd_eq(oid, aes256) ? 256 : bm_rd_eq(oid, aes128) && best == 0 ? 128 : best;
    }
    return best;
}
