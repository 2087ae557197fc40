/* Certificates and requests: the little we need of them, read and written by our own DER codec (pki/der.h), because OpenSSL's costs
 * more than the signatures. RFC 5280, RFC 2986. */
#ifndef BM_PKI_CERT_H
#define BM_PKI_CERT_H

#include "pki/key.h"

/* A parsed certificate; everything borrows from the bytes given. */
struct bm_cert {
    struct bm_rd whole, tbs, sig_alg, sig;
    struct bm_rd serial;           /* contents of the INTEGER */
    struct bm_rd issuer, subject;  /* whole Name, DER */
    struct bm_rd spki;             /* whole SubjectPublicKeyInfo, DER */
    struct bm_rd san;              /* contents of the subjectAltName extension (a GeneralNames SEQUENCE, DER), or empty */
    struct bm_rd skid, akid;       /* key identifiers, or empty */
    int64_t not_before, not_after; /* Unix seconds; 99991231235959Z is INT64_MAX */
    bool ca;                       /* basicConstraints cA */
    int path_len;                  /* its pathLenConstraint; -1: none */
    bool has_key_usage;            /* keyUsage is there */
    uint8_t key_usage;             /* enum bm_key_usage, or'ed */
    struct bm_rd eku;              /* contents of the extKeyUsage extension (a SEQUENCE of OIDs, DER), or empty */
    struct bm_rd masa_url;         /* RFC 8995 section 2.3.2: contents of the IA5String, or empty */
    struct bm_rd extensions;       /* contents of the field: bm_cert_extension() */
    /* A critical extension that we do not process, or name or policy constraints, critical or not: refused in an issuer by bm_cert_check_link() */
    bool unknown_critical;
};
/* RFC 5280 section 4.2.1.3, the first byte of the BIT STRING */
enum bm_key_usage {
    BM_KU_DIGITAL_SIGNATURE = 0x80,
    BM_KU_CONTENT_COMMITMENT = 0x40,
    BM_KU_KEY_ENCIPHERMENT = 0x20,
    BM_KU_DATA_ENCIPHERMENT = 0x10,
    BM_KU_KEY_AGREEMENT = 0x08,
    BM_KU_CERT_SIGN = 0x04,
    BM_KU_CRL_SIGN = 0x02,
};
/* Strict DER, v3 (v1 for the self-made certificates of simple tools), every extension well-formed and at most once. Checks no
 * signature and no date. BM_MALFORMED, BM_LIMIT (over BM_CERT_MAX). */
BM_MUST_USE enum bm_rc bm_cert_parse(struct bm_rd der, struct bm_cert *ret, struct bm_error *e);

/* Contents of the extnValue of one that the struct has no member for; false: it is not there. */
bool bm_cert_extension(const struct bm_cert *c, struct bm_rd oid, struct bm_rd *ret);

/* Sixteen bytes by which a certificate is found: its serial number, as ours are of that length; of another's, which may be shorter or longer (RFC
 * 5280 section 4.1.2.2), the last sixteen bytes with zeros before them. */
void bm_cert_serial_key(struct bm_rd serial, uint8_t ret[16]);

/* A parsed PKCS#10 request; borrows. Attributes other than extensionRequest and challengePassword are read past. */
struct bm_csr {
    struct bm_rd whole, info, sig_alg, sig;
    struct bm_rd subject; /* whole Name, DER */
    struct bm_rd spki;
    struct bm_rd san;                /* as in bm_cert, from extensionRequest, or empty */
    struct bm_rd challenge_password; /* contents, or empty */
    struct bm_rd identity_linking;   /* the same of estIdentityLinking (RFC 7894), which is for nothing but RFC 7030 section 3.5 */
    /* For a key that somebody else makes (RFC 7030 section 4.4.1), or empty: contents of the OCTET STRINGs, of the SEQUENCE */
    struct bm_rd decrypt_key_id, asymmetric_key_id, smime_capabilities;
};
BM_MUST_USE enum bm_rc bm_csr_parse(struct bm_rd der, struct bm_csr *ret, struct bm_error *e);
/* Proof of possession: the request's signature by its own key. BM_DENIED "bad-signature". */
BM_MUST_USE enum bm_rc bm_csr_verify(const struct bm_csr *csr, struct bm_error *e);
/* Makes one: subject as "CN=..,O=..", signed by k. For the tools and tests. */
BM_MUST_USE enum bm_rc bm_csr_make(const struct bm_key *k, const char *subject, struct bm_buf *ret_der, struct bm_error *e);

/* Value of the first attribute `oid_der` (contents of the OID) in a Name; false when absent. */
BM_MUST_USE bool bm_name_find(struct bm_rd name, struct bm_rd oid, struct bm_rd *ret);
/* Are they the same text, in whatever string type, and forwards or backwards? Some clients make a Name of the text that RFC 4514 writes the other way
 * round. For nothing that a right depends on. */
BM_MUST_USE bool bm_name_alike(struct bm_rd a, struct bm_rd b);

/* What a certificate is made from: the templates are filled in with these words: {udid} {serial} {product} {batch} {org}
 * {service} {host} and {attr:NAME} for a device attribute. {serial|udid} takes the first that is there, {service|=text} falls
 * back to the text. An unknown or empty word in a template is BM_DENIED "profile-template". A CA's own name goes into
 * service. */
struct bm_subject_words {
    const char *udid, *serial, *product, *batch, *org, *service, *host; /* NULL: not there */
    struct bm_rd attributes;                                            /* JSON object or empty */
};

/* A certificate profile, compiled from its JSON (docs/profiles.md): validity, key usage, EKU, subject and SAN templates, CA
 * constraints, allowed subject key algorithms. Strict: an unknown member, or a profile that breaks RFC 5280 or IEEE 802.1AR,
 * is BM_USAGE. */
struct bm_profile;
BM_MUST_USE enum bm_rc bm_profile_parse(const char *name, struct bm_rd json, struct bm_profile **ret, struct bm_error *e);
void bm_profile_free(struct bm_profile *p);
void bm_profile_freep(struct bm_profile **p);
int64_t bm_profile_validity_s(const struct bm_profile *p); /* INT64_MAX: no end (99991231235959Z) */
bool bm_profile_is_ca(const struct bm_profile *p);
const char *bm_profile_name(const struct bm_profile *p);
/* Does it take keys of this kind? BM_DENIED "key-algorithm". */
BM_MUST_USE enum bm_rc bm_profile_check_key(const struct bm_profile *p, struct bm_rd spki, struct bm_error *e);
/* The DER CsrAttrs (RFC 7030 section 4.5, RFC 8951) that tell a client what key and hash to use. */
/* linked: a challengePassword that links the request to its connection is wanted (RFC 7030 section 3.5). A profile with csr_template adds
 * the same as a template (RFC 9908 section 3.4). */
BM_MUST_USE enum bm_rc bm_profile_csrattrs(const struct bm_profile *p, bool linked, struct bm_buf *ret_der, struct bm_error *e);
/* The same for CMP: appends a CertReqTemplateContent. */
struct bm_derw;
void bm_profile_cmp_template(const struct bm_profile *p, struct bm_derw *w);
/* Built-in profiles as JSON: "idevid", "ldevid", "tls-server", "root-ca", "intermediate-ca", "issuing-ca", "device-root-ca",
 * "batch-ca", "manifest-signer", "ocsp-signing", "cmp-signing", "masa-ca", "masa-signing", "registrar". A NULL-named row ends the table. */
struct bm_profile_builtin {
    const char *name, *json;
};
extern const struct bm_profile_builtin bm_profiles_builtin[];

/* Issues: checks spki against the profile's allowed algorithms, fills the templates, signs. A point is not checked to be on its
 * curve here: whoever brings the key has opened it (bm_csr_verify, bm_spki_open).
 * issuer_cert  the CA's certificate, parsed (its subject becomes the issuer, its skid the akid); NULL: self-signed.
 * serial       16 random bytes; the top bit is cleared and the next set, so that it is always a positive 16-byte INTEGER.
 * notAfter is the earliest of the profile's validity, the issuer's notAfter and not_after_max (INT64_MAX: none). notBefore is now
 * - BM_BACKDATE_S (now for CAs), and never before the issuer's.
 * ret_der      appended to; ret_not_* may be NULL.
 * Codes of BM_DENIED: "key-algorithm", "profile-template", "bad-issuer" (no CA, or its path length leaves no room),
 * "issuer-expired", "validity-over". BM_USAGE when the issuing key is not that of issuer_cert (or of spki, self-signed). */
struct bm_issue {
    const struct bm_profile *profile;
    const struct bm_key *issuer_key;
    const struct bm_cert *issuer_cert;
    struct bm_rd spki;
    const struct bm_subject_words *words;
    uint8_t serial[16];
    int64_t now, not_after_max;
    struct bm_rd crl_url; /* where this certificate's part of the CA's list is, in place of what the profile says; or empty */
    bool no_signature;    /* for looking at only: all checks, and in the place of the signature one zero byte */
    struct bm_rd
        subject; /* whole Name in place of the profile's; it may be the issuer's own: a self-issued certificate, RFC 5280 section 3.2 */
};
BM_MUST_USE enum bm_rc bm_cert_issue(const struct bm_issue *i, struct bm_buf *ret_der, int64_t *ret_not_before,
                                     int64_t *ret_not_after, struct bm_error *e);

/* For a CA whose key is elsewhere and answers later (P-256, P-384, RSA). The body (TBSCertificate) of what bm_cert_issue() would give: the same checks
 * and codes; i->issuer_key is not looked at, i->issuer_cert must be there. */
BM_MUST_USE enum bm_rc bm_cert_body(const struct bm_issue *i, struct bm_buf *ret_tbs, struct bm_error *e);
enum { BM_BODY_DIGEST_MAX = 64 };
/* What the key is to sign: the digest that goes with it. BM_USAGE for a key of another kind. */
BM_MUST_USE enum bm_rc bm_cert_body_digest(struct bm_rd ca_spki, struct bm_rd tbs, uint8_t ret[BM_BODY_DIGEST_MAX], size_t *ret_len,
                                           struct bm_error *e);
enum bm_signature_form {
    BM_SIGNATURE_DER, /* ECDSA as in X.509 */
    BM_SIGNATURE_RAW, /* r||s, as in JOSE */
};
/* The whole, once the signature is there; it is verified with the CA's key. BM_DENIED "bad-signature". */
BM_MUST_USE enum bm_rc bm_cert_complete(struct bm_rd ca_spki, struct bm_rd tbs, struct bm_rd sig, enum bm_signature_form form,
                                        struct bm_buf *ret_der, struct bm_error *e);

/* Checks that cert is signed by issuer, within both validities at `at`, and issuer.ca. One link of a chain.
 * BM_DENIED: "bad-issuer" (no CA, no keyCertSign, an unknown critical extension, path length, another name or key identifier),
 * "not-yet-valid", "expired", "bad-signature". */
BM_MUST_USE enum bm_rc bm_cert_check_link(const struct bm_cert *cert, const struct bm_cert *issuer, int64_t at, struct bm_error *e);

/* The same of the end of a path: path[0] is the leaf, each certificate the subject of the next, and issuer's the next above. Counts the CAs between, as
 * its path length allows (RFC 5280 section 6.1.4, l and m: self-issued ones do not count). n is 1 or more. */
BM_MUST_USE enum bm_rc bm_cert_check_above(const struct bm_cert *path, size_t n, const struct bm_cert *issuer, int64_t at,
                                           struct bm_error *e);

/* Degenerate certs-only CMS SignedData (RFC 5652, RFC 7030 section 4.1.3) over n certificates. */
BM_MUST_USE enum bm_rc bm_cms_certs(const struct bm_rd *certs, size_t n, struct bm_buf *ret_der, struct bm_error *e);

/* PEM in and out. _parse takes any number of blocks with this label ("CERTIFICATE"), each handed to fn as DER. */
void bm_pem_write(struct bm_buf *out, const char *label, struct bm_rd der);
typedef enum bm_rc bm_pem_fn(void *arg, struct bm_rd der, struct bm_error *e);
/* A bm_pem_fn: arg is a struct bm_buf, which holds the last block afterwards. */
BM_MUST_USE enum bm_rc bm_pem_keep(void *arg, struct bm_rd der, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_pem_parse(struct bm_rd text, const char *label, bm_pem_fn *fn, void *arg, struct bm_error *e);

#endif
