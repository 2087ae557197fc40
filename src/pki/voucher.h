/* Vouchers and requests for them: JSON by the YANG of RFC 8366 section 5.3 and RFC 8995 section 3.4, signed as CMS or as JWS. A voucher tells a device whose network it may trust: its maker's signature over its serial number
 * and a certificate of that network. Pure: no I/O, no clock, any thread. */
#ifndef BM_PKI_VOUCHER_H
#define BM_PKI_VOUCHER_H

#include "pki/cms_signed.h"

#define BM_VOUCHER_TYPE "application/voucher-cms+json"
#define BM_VOUCHER_JWS_TYPE "application/voucher-jws+json" /* draft-ietf-anima-jws-voucher */

enum bm_voucher_form { BM_VOUCHER_CMS, BM_VOUCHER_JWS };
enum bm_voucher_form bm_voucher_form_of(struct bm_rd message); /* by its first byte: JSON, or else CMS */
const char *bm_voucher_type(enum bm_voucher_form form);        /* media type */

enum bm_assertion { BM_ASSERTION_NONE, BM_ASSERTION_VERIFIED, BM_ASSERTION_LOGGED, BM_ASSERTION_PROXIMITY, BM_ASSERTIONS };
const char *bm_assertion_name(enum bm_assertion a); /* "verified"; "" for none */

struct bm_voucher {
    bool request; /* "ietf-voucher-request:voucher", else "ietf-voucher:voucher" */
    enum bm_assertion assertion;
    char serial_number[BM_VOUCHER_SERIAL_MAX + 1];
    char nonce[BM_VOUCHER_NONCE_MAX + 1];   /* as it came: makers disagree on the alphabet, and it only has to come back; "" none */
    int64_t created_on, expires_on;         /* Unix seconds; 0: none */
    struct bm_buf idevid_issuer;            /* authorityKeyIdentifier of the IDevID; empty: none, here and below */
    struct bm_buf pinned_domain_cert;       /* voucher: DER */
    struct bm_buf proximity_registrar_cert; /* a device's request: DER */
    struct bm_buf prior_signed;             /* a registrar's request: the device's own, as it came */
};
void bm_voucher_done(struct bm_voucher *v);

/* Strict: the leaves of the model and no others, each once and of its type, the required ones there. In a request, leaves that RFC
 * 8995 section 3.4 says must be ignored are checked for their type and dropped. Free the result with bm_voucher_done().
 * BM_MALFORMED. */
BM_MUST_USE enum bm_rc bm_voucher_parse(struct bm_rd json, struct bm_voucher *ret, struct bm_error *e);
/* Appends the JSON. */
BM_MUST_USE enum bm_rc bm_voucher_write(const struct bm_voucher *v, struct bm_buf *ret_json, struct bm_error *e);

/* A signed one, in either form: the message, who signed it (borrows from the bytes given), and what it says. Of a JWS, `cms` has content and certificates, the
 * signer's first, and they lie in `room`. The signature is checked, by the key
 * of that certificate; whose that is, and whether it may, is the caller's. Zero-initialise; bm_voucher_opened_done() in any case.
 * */
struct bm_voucher_opened {
    struct bm_cms_signed cms;
    struct bm_cert signer;
    struct bm_voucher voucher;
    struct bm_buf room;
};
void bm_voucher_opened_done(struct bm_voucher_opened *o);
BM_MUST_USE enum bm_rc bm_voucher_open(struct bm_rd message, struct bm_voucher_opened *ret, struct bm_error *e);
/* certs: of the signer's chain, its own first. */
BM_MUST_USE enum bm_rc bm_voucher_seal(const struct bm_voucher *v, enum bm_voucher_form form, const struct bm_key *key,
                                       const struct bm_rd *certs, size_t n_certs, struct bm_buf *ret, struct bm_error *e);

/* --- voucher_jws.c ------------------------------------------------------------------------------------------------------------- */
/* Has it the form? No signature is checked. BM_MALFORMED, BM_LIMIT. */
BM_MUST_USE enum bm_rc bm_voucher_jws_check(struct bm_rd text, struct bm_error *e);
/* Reads one and verifies its signature by the first certificate; what is given out borrows from *room. */
BM_MUST_USE enum bm_rc bm_voucher_jws_open(struct bm_rd text, struct bm_buf *room, struct bm_cms_signed *ret,
                                           struct bm_cert *ret_signer, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_voucher_jws_seal(struct bm_rd json, const struct bm_key *key, const struct bm_rd *certs, size_t n_certs,
                                           struct bm_buf *ret, struct bm_error *e);

/* The device's serial number, from the subject of its IDevID (RFC 8995 section 2.3.1); false when there is none that fits. */
BM_MUST_USE bool bm_idevid_serial(const struct bm_cert *idevid, char ret[BM_VOUCHER_SERIAL_MAX + 1]);
/* domainID, RFC 8995 section 5.8.2: the subject key identifier of the pinned certificate, else SHA-256 of its key. */
void bm_domain_id(const struct bm_cert *pinned, uint8_t room[32], struct bm_rd *ret);

#endif
