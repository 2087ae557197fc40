#include "keeper/upstream_ra.h"

#include "base/text.h"
#include "pki/der.h"
#include "pki/oid.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

enum { SELF_MADE_BITS = 2048, SELF_MADE_DAYS = 7300 };

/* --- our own key ------------------------------------------------------------------------------------------------------------------ */
void bm_upstream_ra_done(struct bm_upstream_ra *ra)
{
    bm_key_free(ra->key);
    for (size_t i = 0; i < BM_COUNT(ra->der); i++)
        bm_buf_done(&ra->der[i]);
}

/* More than there is room for are left out: the upstream CA knows its own. */
static enum bm_rc add_cert(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct bm_upstream_ra *ra = arg;

    if (ra->n == BM_UPSTREAM_RA_CERTS_MAX)
        return BM_OK;
    ra->der[ra->n].max = BM_CERT_MAX;
    bm_buf_put(&ra->der[ra->n], der.p, der.n);
    return bm_buf_check(&ra->der[ra->n++], e);
}

static enum bm_rc open_key(struct bm_rd pem, struct bm_key **ret, struct bm_error *e)
{
    BIO *in = pem.n != 0 && pem.n <= INT_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    EVP_PKEY *key = in != NULL ? PEM_read_bio_PrivateKey(in, NULL, NULL, (void *)(uintptr_t) "") : NULL;

    BIO_free(in);
    ERR_clear_error();
    return key != NULL ? bm_key_of_evp(key, ret, e) : bm_fail(e, BM_BUG, "the key of --client does not open");
}

enum bm_rc bm_upstream_ra_open(const struct bm_upstream *u, const struct bm_upstream_secret *s, struct bm_upstream_ra *ret,
                               struct bm_error *e)
{
    enum bm_rc rc = bm_pem_parse(bm_buf_rd(&u->client_cert), "CERTIFICATE", add_cert, ret, e);

    if (rc == BM_OK && ret->n == 0)
        rc = bm_fail(e, BM_USAGE, "--client: there is none");
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&ret->der[0]), &ret->cert, e);
    return rc == BM_OK ? open_key(bm_buf_rd(&s->client_key), &ret->key, e) : rc;
}

bool bm_upstream_says(const struct bm_upstream *u, const char *option, const char *value)
{
    char text[32];

    bm_upstream_option(u, option, text, sizeof text);
    return strcmp(text, value) == 0;
}

/* --- a certificate of our own making --------------------------------------------------------------------------------------------------- */
static void x509_freep(X509 **x)
{
    X509_free(*x);
}

static bool set_serial(X509 *x)
{
    uint8_t serial[16];
    BIGNUM *n = RAND_bytes(serial, sizeof serial) == 1 ? BN_bin2bn(serial, sizeof serial, NULL) : NULL;
    bool ok = n != NULL && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;

    BN_free(n);
    return ok;
}

static bool add_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    bool ok = ext != NULL && X509_add_ext(x, ext, -1) == 1;

    X509_EXTENSION_free(ext);
    return ok;
}

static X509 *self_signed(EVP_PKEY *key)
{
    static const unsigned char cn[] = "Birthmark registration authority";
    BM_CLEANUP(x509_freep) X509 *x = X509_new();
    X509_NAME *name = x != NULL ? X509_get_subject_name(x) : NULL;
    bool ok = name != NULL && X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
              X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, cn, -1, -1, 0) == 1 && X509_set_issuer_name(x, name) == 1 &&
              X509_gmtime_adj(X509_getm_notBefore(x), -BM_BACKDATE_S) != NULL &&
              X509_time_adj_ex(X509_getm_notAfter(x), SELF_MADE_DAYS, 0, NULL) != NULL && X509_set_pubkey(x, key) == 1 &&
              add_extension(x, NID_key_usage, "critical,digitalSignature,keyEncipherment") && X509_sign(x, key, EVP_sha256()) > 0;

    return ok ? BM_MOVE(x) : NULL;
}

/* In OpenSSL's secure memory while it is text. */
static void put_pem(BIO *from, struct bm_buf *ret)
{
    char *text = NULL;
    long n = from != NULL ? BIO_get_mem_data(from, &text) : 0;

    bm_buf_put(ret, text, n > 0 ? (size_t)n : 0);
}

enum bm_rc bm_upstream_make_client(struct bm_buf *ret_cert, struct bm_buf *ret_key, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = EVP_RSA_gen(SELF_MADE_BITS);
    BM_CLEANUP(x509_freep) X509 *x = key != NULL ? self_signed(key) : NULL;
    BIO *cert = BIO_new(BIO_s_mem()), *secret = BIO_new(BIO_s_secmem());
    bool ok = x != NULL && cert != NULL && secret != NULL && PEM_write_bio_X509(cert, x) == 1 &&
              PEM_write_bio_PKCS8PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL) == 1;

    ret_cert->max = BM_CERT_MAX;
    put_pem(ok ? cert : NULL, ret_cert);
    put_pem(ok ? secret : NULL, ret_key);
    BIO_free(cert);
    BIO_free(secret);
    ERR_clear_error();
    return ok && !ret_cert->bad && !ret_key->bad ? BM_OK : bm_fail(e, BM_NOMEM, "the library makes no certificate");
}

/* --- who speaks for the upstream CA --------------------------------------------------------------------------------------------------- */
struct search {
    const struct bm_cert *path; /* the speaker's first */
    size_t n;
    int64_t now;
    bool is, below; /* an anchor itself; issued by one */
};

static enum bm_rc try_anchor(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct search *s = arg;
    struct bm_cert anchor;

    (void)e;
    if (bm_cert_parse(der, &anchor, NULL) != BM_OK)
        return BM_OK;
    s->is = s->is || bm_rd_eq(s->path[s->n - 1].whole, der);
    s->below = s->below || bm_cert_check_above(s->path, s->n, &anchor, s->now, NULL) == BM_OK;
    return BM_OK;
}

static bool is_named(const struct bm_upstream *u, const struct bm_cert *c)
{
    uint8_t want[32], sha256[32];
    char text[80];

    bm_udid_of(c->whole, sha256); /* SHA-256 all the same */
    bm_upstream_option(u, "fingerprint", text, sizeof text);
    return bm_unhex(bm_rd_str(text), want, sizeof want) && memcmp(want, sha256, sizeof want) == 0;
}

enum bm_rc bm_upstream_fingerprint_check(const struct bm_upstream *u, struct bm_error *e)
{
    uint8_t want[32];
    char text[80];

    bm_upstream_option(u, "fingerprint", text, sizeof text);
    if (text[0] == '\0' || bm_unhex(bm_rd_str(text), want, sizeof want))
        return BM_OK;
    return bm_fail(e, BM_USAGE, "--options: fingerprint is the SHA-256 of a certificate, 64 hex digits");
}

static bool is_anchor(const struct bm_upstream *u, const struct bm_cert *path, size_t n, int64_t now, bool *ret_below)
{
    struct search s = { .path = path, .n = n, .now = now };

    *ret_below = bm_pem_parse(bm_buf_rd(&u->trust), "CERTIFICATE", try_anchor, &s, NULL) == BM_OK && s.below;
    return s.is || is_named(u, &path[n - 1]);
}

static bool find_issuer(const struct bm_cert *path, size_t depth, const struct bm_rd *pool, size_t n, int64_t now,
                        struct bm_cert *ret)
{
    for (size_t i = 0; i < n; i++)
        if (bm_cert_parse(pool[i], ret, NULL) == BM_OK && bm_rd_eq(ret->subject, path[depth - 1].issuer) &&
            bm_cert_check_above(path, depth, ret, now, NULL) == BM_OK)
            return true;
    return false;
}

/* Each certificate is by the next, up to one of --trust. */
static bool leads_there(const struct bm_upstream *u, const struct bm_cert *cert, const struct bm_rd *pool, size_t n, int64_t now)
{
    struct bm_cert path[BM_CHAIN_MAX + 1] = { *cert };
    bool below;

    for (size_t depth = 1; depth <= BM_CHAIN_MAX; depth++) {
        if (is_anchor(u, path, depth, now, &below) || below)
            return true;
        if (!find_issuer(path, depth, pool, n, now, &path[depth]))
            return false;
    }
    return false;
}

static bool is_authority(const struct bm_cert *c)
{
    static const struct bm_rd purposes[] = { BM_LIT(OID_KP_CMC_CA), BM_LIT(OID_KP_CMC_RA), BM_LIT(OID_KP_MS_REQUEST_AGENT) };
    struct bm_rd list, oid;

    if (c->ca)
        return true;
    if (!bm_der_only(c->eku, BM_DER_SEQUENCE, &list))
        return false;
    while (bm_der_take(&list, BM_DER_OID, &oid))
        for (size_t i = 0; i < BM_COUNT(purposes); i++)
            if (bm_rd_eq(oid, purposes[i]))
                return true;
    return false;
}

enum bm_rc bm_upstream_speaker_check(const struct bm_upstream *u, const struct bm_cert *cert, const struct bm_rd *pool, size_t n,
                                     int64_t now, struct bm_error *e)
{
    bool below, named = is_anchor(u, cert, 1, now, &below);

    if (now < cert->not_before || now > cert->not_after)
        return bm_refuse(e, BM_DENIED, "upstream-untrusted", "the certificate that speaks for the upstream CA is not valid now");
    if (!named && !leads_there(u, cert, pool, n, now))
        return bm_refuse(e, BM_DENIED, "upstream-untrusted",
                         "the certificate that speaks for the upstream CA does not lead to --trust, or without that to the root of "
                         "--chain");
    if (!named && !is_authority(cert))
        return bm_refuse(
            e, BM_DENIED, "upstream-untrusted",
            "the certificate that speaks for the upstream CA is neither a CA's nor says cmcCA or cmcRA; when it is the "
            "right one, put it into --trust");
    return BM_OK;
}
