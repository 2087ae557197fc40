/* The X.509 a device writes and reads: SubjectPublicKeyInfo, PKCS#10 (RFC 2986), its own self-signed certificate, and just enough of other
 * people's certificates to pick its own. Keys stay in the root of trust; signatures come from bmd_rot_sign(). */
#ifndef BMD_X509_H
#define BMD_X509_H

#include "../rot/rot.h"
#include "der.h"

/* A key of the device, ready for use: what the rest needs to know about it in one place. */
struct bmd_signer {
    struct bmd_rot *rot;
    const struct bmd_crypto *crypto;
    bmd_key key;
    enum bmd_alg alg;
    uint8_t point[BMD_POINT_MAX];
    size_t point_len;
};

/* Reads the public key of `key` and takes its algorithm from `alg`. */
BMD_MUST_USE enum bmd_rc bmd_signer_init(struct bmd_signer *s, struct bmd_rot *rot, const struct bmd_crypto *crypto, bmd_key key,
                                         enum bmd_alg alg);
/* Hashes `data` as the algorithm wants and signs: raw form, bmd_alg_sig_len() bytes. */
BMD_MUST_USE enum bmd_rc bmd_signer_sign(const struct bmd_signer *s, struct bmd_rd data, uint8_t ret[BMD_SIG_RAW_MAX],
                                         size_t *ret_len);

/* r || s of even length to ECDSA-Sig-Value (RFC 3279 2.2.3) and back; `room` is the length of each half. */
BMD_MUST_USE enum bmd_rc bmd_sig_to_der(struct bmd_rd raw, uint8_t *out, size_t cap, size_t *ret_len);
BMD_MUST_USE enum bmd_rc bmd_sig_from_der(struct bmd_rd der, size_t half, uint8_t *out, size_t cap, size_t *ret_len);

/* SubjectPublicKeyInfo of a raw public key (RFC 5480, RFC 8410). */
BMD_MUST_USE enum bmd_rc bmd_spki(enum bmd_alg alg, struct bmd_rd point, uint8_t *out, size_t cap, size_t *ret_len);
/* UDID: SHA-256 over that. */
BMD_MUST_USE enum bmd_rc bmd_udid(const struct bmd_signer *s, uint8_t ret[BMD_UDID_LEN]);

/* PKCS#10 request for the signer's key. cn: subject common name, at most BMD_CN_MAX; "": empty subject, the server's profile decides.
 * The request stands in out at *ret (not at its start). */
BMD_MUST_USE enum bmd_rc bmd_csr(const struct bmd_signer *s, const char *cn, uint8_t *out, size_t cap, struct bmd_rd *ret);
/* The same with a whole Name, DER: EST re-enrolment asks under the subject of the certificate at hand (RFC 7030 4.2.2). */
BMD_MUST_USE enum bmd_rc bmd_csr_as(const struct bmd_signer *s, struct bmd_rd subject, uint8_t *out, size_t cap,
                                    struct bmd_rd *ret);

/* Self-signed certificate over the root key, for TLS client authentication of a device whose root has no birth certificate: subject and
 * issuer CN = `cn`, valid 1970 to 9999 because a fresh device has no clock (IEEE 802.1AR 8.7 for the end), serial number 1. The server
 * looks at its key only. */
BMD_MUST_USE enum bmd_rc bmd_idevid_cert(const struct bmd_signer *s, const char *cn, uint8_t *out, size_t cap, struct bmd_rd *ret);

/* What of a certificate matters here; everything borrows. */
struct bmd_cert {
    struct bmd_rd serial;          /* content of the INTEGER */
    struct bmd_rd issuer, subject; /* whole Names */
    struct bmd_rd spki;
    int64_t not_before, not_after; /* Unix seconds */
};
/* Leftovers and BER lengths are refused. Checks form only, no signature. */
BMD_MUST_USE enum bmd_rc bmd_cert_read(struct bmd_rd der, struct bmd_cert *ret);

/* The SubjectPublicKeyInfo of a request, so that an answer can be held against it. */
BMD_MUST_USE enum bmd_rc bmd_csr_spki(struct bmd_rd csr, struct bmd_rd *ret);

#endif
