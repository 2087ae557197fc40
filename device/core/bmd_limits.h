/* Every limit of the device SDK, in one place. Bytes unless the name says otherwise. A port may lower those that size structs. */
#ifndef BMD_LIMITS_H
#define BMD_LIMITS_H

enum {
    /* keys and what is made of them */
    BMD_POINT_MAX = 97,    /* uncompressed P-384 */
    BMD_SIG_RAW_MAX = 96,  /* r || s, P-384 */
    BMD_SIG_DER_MAX = 104, /* the same as ECDSA-Sig-Value */
    BMD_HASH_MAX = 48,     /* SHA-384 */
    BMD_SPKI_MAX = 120,    /* P-384 */
    BMD_UDID_LEN = 32,
    BMD_CN_MAX = 64,       /* ub-common-name, RFC 5280 appendix A */
    BMD_SUBJECT_MAX = 512, /* a whole Name taken over from a certificate */
    BMD_TBS_MAX = 768,     /* to-be-signed part of a CSR or of the device's own certificate */
    BMD_CSR_MAX = 960,
    BMD_IDEVID_MAX = 768, /* self-signed certificate over the root key */

    /* Onboard */
    BMD_CHALLENGE_LEN = 48,
    BMD_NAME_MAX = 64,        /* services, batches */
    BMD_SERVICES_MAX = 16,    /* requests and credentials in one exchange */
    BMD_CHAIN_MAX = 4,        /* CA certificates of one credential */
    BMD_ANCHORS_MAX = 8,      /* roots */
    BMD_ENDPOINTS_MAX = 8,    /* URIs of one service; more are ignored */
    BMD_CERT_MAX = 16 * 1024, /* one certificate in an answer */
    BMD_CBOR_DEPTH_MAX = 8,   /* nesting of members we skip */

    /* HTTP */
    BMD_HTTP_HEADERS_MAX = 8 * 1024, /* status line and all header fields of an answer */
    BMD_HTTP_HOST_MAX = 255,
    BMD_HTTP_PATH_MAX = 160,
    BMD_HTTP_CODE_LEN = 32,        /* Birthmark-Code with its end */
    BMD_HTTP_CORRELATION_LEN = 40, /* Birthmark-Correlation with its end */
    BMD_HTTP_INTERIM_MAX = 4,      /* 1xx answers before the real one */
    BMD_BODY_MAX = 64 * 1024,      /* largest answer worth a buffer */

    /* roots of trust */
    BMD_ROT_ID_MAX = 32,
    BMD_ROT_LABEL_MAX = 32,
    BMD_ROT_RANDOM_MAX = 256,
    BMD_ROT_CHALLENGE_MAX = 64,
    BMD_ROT_SEAL_PLAIN_MAX = 1024,
    BMD_ROT_SEAL_OVERHEAD = 256, /* TPM; 64 elsewhere */
    BMD_ROT_ATTEST_MAX = 4096,
    BMD_ROT_BLOB_MAX = 1024 /* credential_open, key_import */
};

#endif
