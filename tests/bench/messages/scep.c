/* PKCSReq over the device's own key, signed with a self-signed certificate over it: RFC 8894 section 3.3.1. */
#include "messages.h"

#include <openssl/objects.h>
#include <openssl/pkcs7.h>
#include <openssl/rand.h>
#include <stdio.h>

/* RFC 8894 section 3.2.1 */
static int attribute(const char *oid)
{
    int nid = OBJ_txt2nid(oid);

    return nid != NID_undef ? nid : OBJ_create(oid, oid, oid);
}
#define MESSAGE_TYPE attribute("2.16.840.1.113733.1.9.2")
#define PKI_STATUS attribute("2.16.840.1.113733.1.9.3")
#define SENDER_NONCE attribute("2.16.840.1.113733.1.9.5")
#define TRANSACTION_ID attribute("2.16.840.1.113733.1.9.7")

static BIO *request(const struct device *d)
{
    X509_REQ *r = need(X509_REQ_new());
    BIO *b = need(BIO_new(BIO_s_mem()));

    must(X509_REQ_set_subject_name(r, X509_get_subject_name(d->cert)));
    must(X509_REQ_set_pubkey(r, d->key));
    must(X509_REQ_sign(r, d->key, EVP_sha256()) > 0);
    must(i2d_X509_REQ_bio(b, r));
    X509_REQ_free(r);
    return b;
}

static BIO *envelope(const struct device *d, X509 *ra)
{
    STACK_OF(X509) *to = need(sk_X509_new_null());
    BIO *plain = request(d), *b = need(BIO_new(BIO_s_mem()));
    PKCS7 *p;

    must(sk_X509_push(to, ra) > 0);
    p = need(PKCS7_encrypt(to, plain, EVP_aes_256_cbc(), PKCS7_BINARY));
    must(i2d_PKCS7_bio(b, p));
    PKCS7_free(p);
    sk_X509_free(to);
    BIO_free(plain);
    return b;
}

static void add(PKCS7_SIGNER_INFO *info, int nid, int type, const void *text, size_t n)
{
    ASN1_STRING *s = need(ASN1_STRING_type_new(type));

    must(ASN1_STRING_set(s, text, (int)n));
    must(PKCS7_add_signed_attribute(info, nid, type, s));
}

static void add_attributes(PKCS7_SIGNER_INFO *info)
{
    unsigned char nonce[16], id[16];
    char text[2 * sizeof id + 1];

    must(RAND_bytes(nonce, sizeof nonce));
    must(RAND_bytes(id, sizeof id));
    for (size_t i = 0; i < sizeof id; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
    add(info, MESSAGE_TYPE, V_ASN1_PRINTABLESTRING, "19", 2);
    add(info, SENDER_NONCE, V_ASN1_OCTET_STRING, nonce, sizeof nonce);
    add(info, TRANSACTION_ID, V_ASN1_PRINTABLESTRING, text, 2 * sizeof id);
    must(PKCS7_add_signed_attribute(info, NID_pkcs9_contentType, V_ASN1_OBJECT, OBJ_nid2obj(NID_pkcs7_data)));
}

static void make(const struct device *d, X509 *ra, struct bm_buf *ret)
{
    PKCS7 *p = need(PKCS7_new());
    BIO *content = envelope(d, ra), *into;
    unsigned char *der = NULL;
    char *text;
    long n = BIO_get_mem_data(content, &text);

    must(PKCS7_set_type(p, NID_pkcs7_signed));
    add_attributes(need(PKCS7_add_signature(p, d->cert, d->key, EVP_sha256())));
    must(PKCS7_add_certificate(p, d->cert));
    must(PKCS7_content_new(p, NID_pkcs7_data));
    into = need(PKCS7_dataInit(p, NULL));
    must(BIO_write(into, text, (int)n) == n);
    must(PKCS7_dataFinal(p, into));
    n = i2d_PKCS7(p, &der);
    bm_buf_put(ret, need(der), (size_t)n);
    OPENSSL_free(der);
    BIO_free_all(into);
    BIO_free(content);
    PKCS7_free(p);
}

/* pkiStatus SUCCESS */
static bool granted(struct bm_rd answer)
{
    const unsigned char *at = answer.p;
    PKCS7 *p = d2i_PKCS7(NULL, &at, (long)answer.n);
    STACK_OF(PKCS7_SIGNER_INFO) *infos = p != NULL ? PKCS7_get_signer_info(p) : NULL;
    ASN1_TYPE *status = infos != NULL && sk_PKCS7_SIGNER_INFO_num(infos) == 1
                            ? PKCS7_get_signed_attribute(sk_PKCS7_SIGNER_INFO_value(infos, 0), PKI_STATUS)
                            : NULL;
    bool ok = status != NULL && status->type == V_ASN1_PRINTABLESTRING && ASN1_STRING_length(status->value.asn1_string) == 1 &&
              *ASN1_STRING_get0_data(status->value.asn1_string) == '0';

    PKCS7_free(p);
    return ok;
}

const struct protocol load_scep = { "scep", "application/x-pki-message", "?operation=PKIOperation", "RSA", make, granted };
