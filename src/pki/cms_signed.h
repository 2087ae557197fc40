/* CMS SignedData around a content, with one signer (RFC 5652 section 5): what vouchers and generated keys are wrapped in. Strict DER. The certificates
 * beside the signature are not covered by it: they are hints, to be judged by what links them. Pure, any thread. */
#ifndef BM_PKI_CMS_SIGNED_H
#define BM_PKI_CMS_SIGNED_H

#include "pki/cert.h"

/* A parsed message; everything borrows from the bytes given. */
struct bm_cms_signed {
    struct bm_rd content_type; /* contents of the OID */
    struct bm_rd content;
    struct bm_rd certs[BM_CMS_CERTS_MAX]; /* DER, in the order they came */
    size_t n_certs;
    struct bm_rd signer_issuer, signer_serial; /* the signer, by issuer (whole Name) and serial number ... */
    struct bm_rd signer_key_id;                /* ... or by its key identifier; the others are empty then */
    struct bm_rd digest_alg;                   /* contents of the OID */
    struct bm_rd attrs;                        /* contents of the SET of signed attributes, or empty */
    struct bm_rd sig_alg, sig;                 /* whole AlgorithmIdentifier; the signature */
};
/* Attached content, exactly one signer, no leftovers. Checks no signature. BM_MALFORMED, BM_LIMIT. */
BM_MUST_USE enum bm_rc bm_cms_signed_parse(struct bm_rd der, struct bm_cms_signed *ret, struct bm_error *e);
/* The signer's certificate among those that came along. BM_DENIED "cms-no-signer". */
BM_MUST_USE enum bm_rc bm_cms_signed_signer(const struct bm_cms_signed *s, struct bm_cert *ret, struct bm_error *e);
/* The signature, by the key of this certificate, over content and type. BM_DENIED "bad-signature", BM_MALFORMED for algorithms that
 * are not taken. Checks neither dates nor issuer. */
BM_MUST_USE enum bm_rc bm_cms_signed_verify(const struct bm_cms_signed *s, const struct bm_cert *signer, struct bm_error *e);
/* From the signer's certificate upwards: each next one has issued the one before it, at `at`. Ends where none of them goes on, or
 * at a self-issued one. ret: the signer's first. */
struct bm_cms_chain {
    struct bm_cert at[BM_CMS_CHAIN_MAX];
    size_t n;
};
BM_MUST_USE enum bm_rc bm_cms_signed_chain(const struct bm_cms_signed *s, const struct bm_cert *signer, int64_t at,
                                           struct bm_cms_chain *ret, struct bm_error *e);

/* Writes one. certs: DER, the signer's own among them; content_type: contents of the OID. */
struct bm_cms_sign {
    bool bare; /* SignedData alone, as another message's content; else in a ContentInfo */
    bool
        by_key_id; /* the signer is named by key identifier, and certs stand as they are given, the signer's first (RFC 9483 section 4.1.6) */
    struct bm_rd content_type, content;
    const struct bm_key *key;
    const struct bm_cert *cert;
    struct bm_rd certs[BM_CMS_CERTS_MAX];
    size_t n_certs;
};
BM_MUST_USE enum bm_rc bm_cms_signed_write(const struct bm_cms_sign *s, struct bm_buf *ret_der, struct bm_error *e);

#endif
