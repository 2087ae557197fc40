/* SCEP messages, RFC 8894 section 3: CMS SignedData outside, EnvelopedData inside (RFC 5652). The readers take DER (pki/ber.h makes it of what
 * comes) and are pure; all they give borrows from their input. RSA and AES are the library's. */
#ifndef BM_PKI_SCEP_H
#define BM_PKI_SCEP_H

#include "pki/cert.h"

/* RFC 8894 section 3.2.1.2 */
enum bm_scep_type {
    BM_SCEP_CERT_REP = 3,
    BM_SCEP_RENEWAL_REQ = 17,
    BM_SCEP_PKCS_REQ = 19,
    BM_SCEP_CERT_POLL = 20,
    BM_SCEP_GET_CERT = 21,
    BM_SCEP_GET_CRL = 22,
};
/* section 3.2.1.3 */
enum bm_scep_status { BM_SCEP_SUCCESS = 0, BM_SCEP_FAILURE = 2, BM_SCEP_PENDING = 3 };
/* section 3.2.1.4 */
enum bm_scep_fail {
    BM_SCEP_BAD_ALG = 0,
    BM_SCEP_BAD_MESSAGE_CHECK = 1,
    BM_SCEP_BAD_REQUEST = 2,
    BM_SCEP_BAD_TIME = 3,
    BM_SCEP_BAD_CERT_ID = 4,
};

/* Who signed, or for whom it is: by issuer and serial number, or by subject key identifier. */
struct bm_scep_who {
    struct bm_rd issuer, serial; /* whole Name; contents of the INTEGER; or both empty */
    struct bm_rd key_id;         /* or empty */
};
bool bm_scep_is(const struct bm_scep_who *who, const struct bm_cert *cert);

/* A pkiMessage. What is not there is empty, type -1. */
struct bm_scep_message {
    bool has_content;
    struct bm_rd content; /* of the encapsulated OCTET STRING: the pkcsPKIEnvelope */
    size_t n_certs;
    struct bm_rd certs[BM_SCEP_CERTS_MAX];
    struct bm_scep_who signer;
    struct bm_rd digest, sig_alg; /* contents of the OIDs */
    struct bm_rd attributes;      /* contents of the signed attributes */
    struct bm_rd signature;
    /* of the attributes */
    struct bm_rd content_type, message_digest, transaction_id, sender_nonce, recipient_nonce;
    struct bm_rd fail_text; /* text, as it came */
    int type, status, fail; /* -1: not there, or no such number */
    bool has_time;
    int64_t signing_time;
};
/* Strict DER, leftovers refused, one signer with signed attributes, each attribute that means something here at most once and with one value.
 * BM_MALFORMED, BM_LIMIT (over BM_SCEP_MESSAGE_MAX or BM_SCEP_CERTS_MAX). */
BM_MUST_USE enum bm_rc bm_scep_message_parse(struct bm_rd der, struct bm_scep_message *ret, struct bm_error *e);

/* Of a certificate that its holder has made for himself, and that bm_cert_parse() may not take (a serial number of 32 bytes, and the like): names,
 * serial number and key, which is all it is good for. False when it does not parse, or is by somebody else. */
BM_MUST_USE bool bm_scep_self_made(struct bm_rd der, struct bm_cert *ret);

/* A pkcsPKIEnvelope. */
struct bm_scep_envelope {
    size_t n;
    struct bm_scep_recipient {
        struct bm_scep_who who;
        struct bm_rd alg; /* contents of the OID of the key's encryption */
        struct bm_rd key; /* encrypted */
    } to[BM_SCEP_RECIPIENTS_MAX];
    struct bm_rd cipher, iv;
    struct bm_rd sealed;
    bool in_pieces; /* sealed is a row of OCTET STRINGs */
};
BM_MUST_USE enum bm_rc bm_scep_envelope_parse(struct bm_rd der, struct bm_scep_envelope *ret, struct bm_error *e);

/* What is inside: IssuerAndSubject (CertPoll), IssuerAndSerialNumber (GetCert, GetCRL). Whole Names; contents of the INTEGER. */
BM_MUST_USE bool bm_scep_issuer_and_subject(struct bm_rd der, struct bm_rd *ret_issuer, struct bm_rd *ret_subject);
BM_MUST_USE bool bm_scep_issuer_and_serial(struct bm_rd der, struct bm_rd *ret_issuer, struct bm_rd *ret_serial);

/* Two whole Names with the same attributes in the same order, whichever kind of string their values are: PrintableString and UTF8String are both
 * right (RFC 5280 section 4.1.2.4), and a client that writes a name anew may take the other. */
bool bm_scep_same_name(struct bm_rd a, struct bm_rd b);

/* --- with keys (scep_crypt.c) ------------------------------------------------------------------------------------------------- */
/* Is the message signed by this key? BM_DENIED "scep-algorithm" (a digest below SHA-256, or no RSA signature), "scep-integrity". */
BM_MUST_USE enum bm_rc bm_scep_verify(const struct bm_scep_message *m, EVP_PKEY *key, struct bm_error *e);

/* The same of a message that is signed with RSA and SHA-1, for answers of servers that know no better. */
BM_MUST_USE enum bm_rc bm_scep_verify_sha1(const struct bm_scep_message *m, EVP_PKEY *key, struct bm_error *e);

enum bm_scep_cipher { BM_SCEP_AES128, BM_SCEP_AES192, BM_SCEP_AES256, BM_SCEP_CIPHERS };
/* Of an envelope. BM_DENIED "scep-algorithm": only AES-CBC is taken (RFC 8894 section 3.1 forbids nothing; DES and 3DES are broken or old). */
BM_MUST_USE enum bm_rc bm_scep_cipher_of(const struct bm_scep_envelope *v, enum bm_scep_cipher *ret, struct bm_error *e);
/* Opens it with the key of recipient `to`. Whether the content-encryption key did not come out, or what it opens has no padding: either way
 * the outcome is BM_OK with nothing or rubbish in ret_plain, so that no answer can tell one from the other (RFC 3218 section 2.3.2).
 * BM_DENIED "scep-algorithm": the key is not encrypted with RSA PKCS #1 v1.5, as RFC 8894 section 3.1 has it. */
BM_MUST_USE enum bm_rc bm_scep_open(const struct bm_scep_envelope *v, const struct bm_scep_recipient *to, const struct bm_key *key,
                                    struct bm_buf *ret_plain, struct bm_error *e);
/* A pkcsPKIEnvelope to this certificate, whose key is `key`. */
BM_MUST_USE enum bm_rc bm_scep_seal(struct bm_rd plain, const struct bm_cert *to, EVP_PKEY *key, enum bm_scep_cipher cipher,
                                    struct bm_buf *ret, struct bm_error *e);

/* A CertRep. Of what is not there nothing is written; envelope is for success alone (section 3.3.2). */
struct bm_scep_reply {
    enum bm_scep_status status;
    enum bm_scep_fail fail;
    const char *fail_text; /* UTF-8, for failures; or NULL */
    struct bm_rd transaction_id, recipient_nonce;
    struct bm_rd envelope;
};
BM_MUST_USE enum bm_rc bm_scep_reply_write(const struct bm_scep_reply *r, const struct bm_key *signer, const struct bm_cert *cert,
                                           struct bm_buf *ret, struct bm_error *e);
/* A request of a client's: PKCSReq, CertPoll. signer: an RSA key, cert: its own. */
struct bm_scep_ask {
    enum bm_scep_type type;
    struct bm_rd transaction_id, sender_nonce;
    struct bm_rd envelope;
};
BM_MUST_USE enum bm_rc bm_scep_ask_write(const struct bm_scep_ask *q, const struct bm_key *signer, const struct bm_cert *cert,
                                         struct bm_buf *ret, struct bm_error *e);
/* What the envelope of a CertPoll holds, section 3.3.3: appends IssuerAndSubject. */
BM_MUST_USE enum bm_rc bm_scep_put_issuer_and_subject(struct bm_rd issuer, struct bm_rd subject, struct bm_buf *ret,
                                                      struct bm_error *e);
/* The degenerate SignedData that carries a CRL: section 3.3.4. */
BM_MUST_USE enum bm_rc bm_cms_crl(struct bm_rd crl, struct bm_buf *ret_der, struct bm_error *e);

#endif
