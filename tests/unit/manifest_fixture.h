/* A small world for the tests, fuzz targets and bench of src/factory: a CA, a chip maker's signer under it, a stranger, and as many
 * device keys as wanted. Nothing in it depends on a clock or on random numbers but the signatures. */
#ifndef BM_TESTS_MANIFEST_FIXTURE_H
#define BM_TESTS_MANIFEST_FIXTURE_H

#include "base/text.h"
#include "factory/impl.h"
#include "factory/manifest.h"
#include "factory/microchip.h"
#include "pki/cert.h"
#include "pki/jws.h"

#include <openssl/obj_mac.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#define FIXTURE_CREATED 1750000000 /* 2025-06-15 */
#define FIXTURE_FROM 1740000000
#define FIXTURE_TO 2000000000

/* P-256 private keys, PKCS#8 in base64; they protect nothing. */
static const char *const fixture_keys[] = {
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWLAiEWTek2d3pch3ahg80FZQT/sdHx6ysjR68hmF67WhRANCAATPcIl8d6snTuhyzqVY20F5"
    "qNkPgt/JakwldK+rpSHL0QkWPVJjdWy7aVsADbIcuyA1ibnfxCzQhrKmr7a38V9f",
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgnhReALsgvYBNvoAiTymh/mRbiK+p3pu6vyvfxD6urKOhRANCAAT9ShZClOAsVe5l3LUHMYOt"
    "+T3E15EUeaP47WMXHHCjeNU1a5zVTNupxbxKHnrmt8fEV6j+k9KAoYMDCw2e4gOD",
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg9EDiSJlLnv5s96Q2k7SE5ck+wA4wy4lptP8sFmC+S3yhRANCAATsXzIko7lWKbZ9uXjAfwRK"
    "kk0lyBqdGoS1BgDaLFzctMFqMtryxhG1/R8Ikqh0cmrtGEJwHA99AaVlZiOh3HEu",
};

struct fixture_party {
    EVP_PKEY *evp;
    struct bm_key *key;
    struct bm_buf cert;
};
struct fixture {
    struct fixture_party ca, signer, stranger; /* the stranger's certificate is its own */
    struct bm_buf expired;                     /* another certificate of the signer's key, by the CA, no longer good */
};

static inline void fixture_must(bool ok)
{
    if (!ok)
        abort();
}

static inline EVP_PKEY *fixture_evp(const char *base64)
{
    struct bm_buf der = { .max = 512 };
    const uint8_t *p;
    EVP_PKEY *k;

    fixture_must(bm_unbase64(bm_rd_str(base64), &der, NULL) == BM_OK);
    p = der.p;
    k = d2i_AutoPrivateKey(NULL, &p, (long)der.n);
    fixture_must(k != NULL);
    bm_buf_done(&der);
    return k;
}

static inline void fixture_extension(X509 *x, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;

    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    fixture_must(ext != NULL && X509_add_ext(x, ext, -1) == 1);
    X509_EXTENSION_free(ext);
}

/* By OpenSSL, not by src/pki: the two need not share a mistake. */
static inline void fixture_cert(EVP_PKEY *key, const char *cn, EVP_PKEY *issuer_key, const char *issuer_cn, bool ca, int64_t from,
                                int64_t to, struct bm_buf *out)
{
    X509 *x = X509_new();
    uint8_t *der = NULL;
    int n;

    fixture_must(x != NULL && X509_set_version(x, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(x), 77) == 1);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1, 0);
    X509_NAME_add_entry_by_txt(X509_get_issuer_name(x), "CN", MBSTRING_UTF8, (const uint8_t *)issuer_cn, -1, -1, 0);
    ASN1_TIME_set(X509_getm_notBefore(x), from);
    ASN1_TIME_set(X509_getm_notAfter(x), to);
    fixture_must(X509_set_pubkey(x, key) == 1);
    fixture_extension(x, NID_basic_constraints, ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (ca)
        fixture_extension(x, NID_key_usage, "critical,keyCertSign,cRLSign");
    fixture_extension(x, NID_subject_key_identifier, "hash");
    fixture_must(X509_sign(x, issuer_key, EVP_sha256()) > 0);
    n = i2d_X509(x, &der);
    fixture_must(n > 0);
    out->n = 0;
    out->max = BM_CERT_MAX;
    bm_buf_put(out, der, (size_t)n);
    OPENSSL_free(der);
    X509_free(x);
}

static inline void fixture_party_open(struct fixture_party *p, const char *base64)
{
    p->evp = fixture_evp(base64);
    fixture_must(EVP_PKEY_up_ref(p->evp) == 1 && bm_key_of_evp(p->evp, &p->key, NULL) == BM_OK);
}

static inline void fixture_open(struct fixture *f)
{
    *f = (struct fixture){ 0 };
    fixture_party_open(&f->ca, fixture_keys[0]);
    fixture_party_open(&f->signer, fixture_keys[1]);
    fixture_party_open(&f->stranger, fixture_keys[2]);
    fixture_cert(f->ca.evp, "Chips CA", f->ca.evp, "Chips CA", true, FIXTURE_FROM, FIXTURE_TO, &f->ca.cert);
    fixture_cert(f->signer.evp, "Chips manifest signer", f->ca.evp, "Chips CA", false, FIXTURE_FROM, FIXTURE_TO, &f->signer.cert);
    fixture_cert(f->signer.evp, "Chips manifest signer", f->ca.evp, "Chips CA", false, FIXTURE_FROM, FIXTURE_CREATED + 10,
                 &f->expired);
    fixture_cert(f->stranger.evp, "Stranger", f->stranger.evp, "Stranger", false, FIXTURE_FROM, FIXTURE_TO, &f->stranger.cert);
}

static inline void fixture_party_close(struct fixture_party *p)
{
    bm_key_free(p->key);
    EVP_PKEY_free(p->evp);
    bm_buf_done(&p->cert);
}

static inline void fixture_close(struct fixture *f)
{
    fixture_party_close(&f->ca);
    fixture_party_close(&f->signer);
    fixture_party_close(&f->stranger);
    bm_buf_done(&f->expired);
}

/* SubjectPublicKeyInfo of the P-256 key with this private scalar. */
static inline void fixture_device(unsigned long scalar, struct bm_buf *spki)
{
    static const uint8_t head[] = { 0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
                                    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00 };
    EC_GROUP *g = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    EC_POINT *p = EC_POINT_new(g);
    BIGNUM *n = BN_new();
    uint8_t point[65];

    fixture_must(BN_set_word(n, scalar) == 1 && EC_POINT_mul(g, p, n, NULL, NULL, NULL) == 1);
    fixture_must(EC_POINT_point2oct(g, p, POINT_CONVERSION_UNCOMPRESSED, point, sizeof point, NULL) == sizeof point);
    spki->n = 0;
    bm_buf_put(spki, head, sizeof head);
    bm_buf_put(spki, point, sizeof point);
    BN_free(n);
    EC_POINT_free(p);
    EC_GROUP_free(g);
}

static inline struct bm_manifest_header fixture_header(void)
{
    struct bm_manifest_header h = { .id = "lot-4711", .issuer = "chips", .product = "meter-3", .created = FIXTURE_CREATED };

    return h;
}

static inline enum bm_rc fixture_sink(void *arg, struct bm_rd block, struct bm_error *e)
{
    bm_buf_put(arg, block.p, block.n);
    return bm_buf_check(arg, e);
}

/* A genuine manifest of n entries; with attributes where the number is even. */
static inline void fixture_manifest(const struct fixture *f, size_t n, size_t block_entries, struct bm_buf *out)
{
    struct bm_manifest_header h = fixture_header();
    struct bm_manifest_writer_options o = { &h, f->signer.key, bm_buf_rd(&f->signer.cert), block_entries, fixture_sink, out };
    BM_CLEANUP(bm_manifest_writer_freep) struct bm_manifest_writer *w = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf spki = { .max = 128 };

    fixture_must(bm_manifest_writer_new(&o, &w, NULL) == BM_OK);
    for (size_t i = 0; i < n; i++) {
        struct bm_manifest_entry m = { .rot = "atecc608" };

        fixture_device(i + 1, &spki);
        m.spki = bm_buf_rd(&spki);
        m.attributes = i % 2 == 0 ? bm_rd_str("{\"serial\":\"0123F1822C38DD7A01\",\"lot\":\"A55\"}") : (struct bm_rd){ 0 };
        fixture_must(bm_manifest_writer_add(w, &m, NULL) == BM_OK);
    }
    fixture_must(bm_manifest_writer_end(w, NULL) == BM_OK);
}

/* Who is trusted for manifests: this certificate, and what it issued when it is a CA's. */
struct fixture_trust {
    struct bm_rd pinned;
};

static inline enum bm_rc fixture_judge(const struct fixture_trust *t, const uint8_t sha256[32], struct bm_rd offered, int64_t at,
                                       struct bm_rd *ret, struct bm_error *e)
{
    struct bm_cert cert, ca;
    uint8_t digest[32];

    bm_udid_of(t->pinned, digest);
    *ret = t->pinned;
    if (memcmp(digest, sha256, 32) == 0)
        return BM_OK;
    *ret = offered;
    if (offered.n == 0 || bm_cert_parse(t->pinned, &ca, NULL) != BM_OK || bm_cert_parse(offered, &cert, NULL) != BM_OK)
        return bm_fail(e, BM_DENIED, "nobody pinned this signer");
    return bm_cert_check_link(&cert, &ca, at, e) == BM_OK ? BM_OK : bm_fail(e, BM_DENIED, "nobody pinned this signer");
}

#endif
