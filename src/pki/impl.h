/* What the files of src/pki share with each other and nobody else. */
#ifndef BM_PKI_IMPL_H
#define BM_PKI_IMPL_H

#include "pki/cert.h"
#include "pki/der.h"
#include "pki/key.h"
#include "pki/oid.h"

#include <openssl/x509.h>

/* --- digest.c: digests fetched once per process ----------------------------------------------------------------------------- */
enum bm_digest { BM_SHA256, BM_SHA384, BM_SHA512, BM_DIGEST_NONE };
enum { BM_DIGEST_MAX = 64 };
const EVP_MD *bm_digest_md(enum bm_digest d); /* NULL for BM_DIGEST_NONE */
const char *bm_digest_name(enum bm_digest d);
/* Writes the digest, returns its length; 0 when the library failed. */
size_t bm_digest_of(enum bm_digest d, struct bm_rd in, uint8_t ret[BM_DIGEST_MAX]);

/* --- ec.c: elliptic curves through the library's low-level calls, which cost a fraction of the provider's ------------------- */
enum bm_curve { BM_P256, BM_P384, BM_P521, BM_CURVE_NONE };
BM_MUST_USE enum bm_rc bm_ec_open(enum bm_curve c, struct bm_rd point, EVP_PKEY **ret, struct bm_error *e);
enum bm_curve bm_ec_curve(EVP_PKEY *key);     /* BM_CURVE_NONE: another curve or no EC key */
enum bm_digest bm_ec_digest(enum bm_curve c); /* the hash that goes with the curve, RFC 7518 section 3.4 */
size_t bm_ec_size(enum bm_curve c);           /* bytes of a coordinate */
bool bm_ec_verify(EVP_PKEY *key, struct bm_rd digest, struct bm_rd sig_der);
/* Signature as DER; false when the key has no private half at hand (a token's) or the library failed. */
bool bm_ec_sign(EVP_PKEY *key, struct bm_rd digest, uint8_t *ret, size_t *ret_len);
bool bm_ec_has_private(EVP_PKEY *key);
/* r||s of `size` bytes each, and SEQUENCE { r, s }. */
EVP_PKEY *bm_rsa_open(struct bm_rd raw); /* contents of the BIT STRING; NULL: not a key */
bool bm_rsa_verify(EVP_PKEY *key, enum bm_digest d, struct bm_rd msg, struct bm_rd sig); /* PKCS #1 v1.5 */
/* A content key for `to`, PKCS #1 v1.5 (RFC 3370 section 4.2.1). ret_len: room on the way in. */
bool bm_rsa_wrap(EVP_PKEY *to, struct bm_rd secret, uint8_t *ret, size_t *ret_len);
bool bm_ec_raw_to_der(struct bm_rd raw, size_t size, struct bm_derw *w);
bool bm_ec_der_to_raw(struct bm_rd der, size_t size, uint8_t *ret);

/* --- key.c, key_file.c: what the key drivers share --------------------------------------------------------------------------- */
BM_MUST_USE enum bm_rc bm_key_driver_find(const char *uri, const struct bm_key_driver **ret, const char **ret_name,
                                          struct bm_error *e);
extern const struct bm_kek_driver bm_kek_file; /* kek_file.c */
/* A key whose private half is elsewhere. sign: `digest` is of the digest that goes with the key; what it gives is verified before it is used. */
struct bm_key_remote {
    enum bm_rc (*sign)(void *arg, struct bm_rd digest, uint8_t *ret, size_t *ret_len, struct bm_error *e);
    void (*done)(void *arg);
};
/* Takes arg over, also when it fails. P-256, P-384 and RSA. */
BM_MUST_USE enum bm_rc bm_key_of_remote(struct bm_rd spki, const struct bm_key_remote *how, void *arg, struct bm_key **ret,
                                        struct bm_error *e);
/* <ring>/<name>.key.pem */
BM_MUST_USE enum bm_rc bm_key_file_path(const struct bm_keyring *ring, const char *name, char *ret, size_t ret_len,
                                        struct bm_error *e);
/* A new file with the key sealed under the secret (PBES2). */
BM_MUST_USE enum bm_rc bm_key_file_seal(const char *path, PKCS8_PRIV_KEY_INFO *plain, struct bm_rd secret, struct bm_error *e);
/* The reverse; to be freed with PKCS8_PRIV_KEY_INFO_free(), which cleanses. BM_DENIED wrong-secret. */
BM_MUST_USE enum bm_rc bm_key_file_unseal(const struct bm_keyring *ring, const char *name, PKCS8_PRIV_KEY_INFO **ret,
                                          struct bm_error *e);
enum bm_rc bm_key_file_wrong(const char *name, struct bm_error *e); /* BM_DENIED wrong-secret */

/* --- verify.c --------------------------------------------------------------------------------------------------------------- */
/* With a digest of the caller's choice (JWS). EC signatures are r||s. */
BM_MUST_USE enum bm_rc bm_verify_raw_with(EVP_PKEY *key, enum bm_digest d, struct bm_rd msg, struct bm_rd sig, struct bm_error *e);

/* --- cmp_read.c -------------------------------------------------------------------------------------------------------------- */
/* Which hash an algorithm goes with (whole AlgorithmIdentifier): the hash's own identifier, or that of a signature. */
enum bm_digest bm_cmp_hash_of(struct bm_rd algorithm_whole);

/* --- spki.c ----------------------------------------------------------------------------------------------------------------- */
/* SHA-256 of the key bits cut to 160 bits: RFC 7093 section 2, method 1. */
void bm_key_id(struct bm_rd raw, uint8_t ret[20]);

/* --- name.c, template.c ----------------------------------------------------------------------------------------------------- */
enum { BM_NAME_ATTRIBUTES_MAX = 8, BM_TEMPLATE_MAX = 160, BM_VALUE_MAX = 512 };
enum bm_template_style {
    BM_TEMPLATE_PLAIN,
    BM_TEMPLATE_URI
}; /* URI: what a word brings in is percent-encoded, RFC 3986 section 2 */

/* Words known and braces in order? */
BM_MUST_USE enum bm_rc bm_template_check(const char *text, struct bm_error *e);
/* words NULL: the text stands for itself. Appends to out, never empty. */
BM_MUST_USE enum bm_rc bm_template_fill(const char *text, const struct bm_subject_words *words, enum bm_template_style style,
                                        struct bm_wr *out, struct bm_error *e);
bool bm_template_has(const char *text, const char *word);

struct bm_attribute_type;
struct bm_name_spec { /* in the order written, RFC 4514: the last RDN of the Name comes first */
    size_t n;
    struct {
        const struct bm_attribute_type *type;
        char text[BM_TEMPLATE_MAX];
    } at[BM_NAME_ATTRIBUTES_MAX];
};
BM_MUST_USE enum bm_rc bm_name_spec_parse(const char *text, bool templates, struct bm_name_spec *ret, struct bm_error *e);
bool bm_name_spec_has(const struct bm_name_spec *s, const char *type);
const char *bm_name_spec_type(const struct bm_name_spec *s, size_t i); /* "CN" */
/* Whole Name. */
BM_MUST_USE enum bm_rc bm_name_write(struct bm_derw *w, const struct bm_name_spec *s, const struct bm_subject_words *words,
                                     struct bm_error *e);
/* The same as a NameTemplate (RFC 9908 section 3.4): text that is the same in each certificate is a value, the rest has none. */
void bm_name_template_write(struct bm_derw *w, const struct bm_name_spec *s);
/* SEQUENCE of RDNs, each with well-formed attributes; `name` is the whole Name. */
bool bm_name_valid(struct bm_rd name);
bool bm_printable_ok(struct bm_rd v);
bool bm_utf8_ok(struct bm_rd v);
size_t bm_char_count(struct bm_rd v); /* of UTF-8 */

/* --- profile.c -------------------------------------------------------------------------------------------------------------- */
enum bm_san_kind { BM_SAN_URI, BM_SAN_DNS, BM_SAN_IP, BM_SAN_HARDWARE };
enum { BM_SAN_ENTRIES_MAX = 8, BM_PROFILE_KEYS_MAX = 12 };
struct bm_profile {
    char name[65];
    int64_t validity_s; /* INT64_MAX: 99991231235959Z */
    int64_t backdate_s;
    bool ca;
    int path_len; /* -1: none */
    struct bm_name_spec subject;
    struct {
        enum bm_san_kind kind;
        char text[BM_TEMPLATE_MAX];
    } san[BM_SAN_ENTRIES_MAX];
    size_t n_san;
    const char *keys[BM_PROFILE_KEYS_MAX]; /* as in bm_spki.alg; static storage */
    size_t n_keys;
    bool csr_template;   /* csrattrs has a template, RFC 9908 */
    uint8_t hw_type[32]; /* contents of the OID */
    size_t hw_type_len;
    uint8_t fixed[2048]; /* the extensions that are the same in each certificate, DER */
    size_t fixed_len;
    uint8_t crl[1200]; /* cRLDistributionPoints, DER: apart, as a CA whose list is in parts has its own */
    size_t crl_len;
};

/* --- extension helpers shared by profile.c, issue.c and csr.c --------------------------------------------------------------- */
/* Extension ::= SEQUENCE { oid, critical, OCTET STRING { all written since mark } } */
void bm_ext_end(struct bm_derw *w, size_t mark, struct bm_rd oid, bool critical);
/* DistributionPointName: [0] { fullName [0] { [6] uri } }, RFC 5280 section 4.2.1.13 */
void bm_crl_point_put(struct bm_derw *w, struct bm_rd uri);
/* A whole cRLDistributionPoints, or freshestCRL, with one address. */
void bm_crl_points_put(struct bm_derw *w, struct bm_rd oid, struct bm_rd uri);
/* One Extension off the reader; false when malformed. */
struct bm_ext {
    struct bm_rd oid, value;
    bool critical;
};
bool bm_ext_next(struct bm_rd *r, struct bm_ext *ret);

/* Appends SEQUENCE { body, sig_alg of k, BIT STRING signature of k over body } */
BM_MUST_USE enum bm_rc bm_signed_put(const struct bm_key *k, struct bm_rd body, struct bm_buf *out, struct bm_error *e);

#endif
