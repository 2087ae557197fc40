/* Refusals as CMP has them: a bit of PKIFailureInfo (RFC 9810 section 5.2.3), by the code of docs/refusals.md, or else by the kind. */
#include "keeper/cmp.h"

static const struct {
    const char *code;
    enum bm_cmp_fail fail;
} of_code[] = {
    { "cmp-version", BM_CMP_UNSUPPORTED_VERSION },
    { "cmp-transaction-id", BM_CMP_BAD_DATA_FORMAT },
    { "cmp-transaction-in-use", BM_CMP_TRANSACTION_ID_IN_USE },
    { "cmp-sender-nonce", BM_CMP_BAD_SENDER_NONCE },
    { "cmp-recipient-nonce", BM_CMP_BAD_RECIPIENT_NONCE },
    { "cmp-time", BM_CMP_BAD_TIME },
    { "cmp-protection", BM_CMP_BAD_MESSAGE_CHECK },
    { "cmp-algorithm", BM_CMP_BAD_ALG },
    { "cmp-sender", BM_CMP_BAD_MESSAGE_CHECK },
    { "cmp-signer", BM_CMP_SIGNER_NOT_TRUSTED },
    { "cmp-request", BM_CMP_BAD_REQUEST },
    { "cmp-template", BM_CMP_BAD_CERT_TEMPLATE },
    { "cmp-pop", BM_CMP_BAD_POP },
    { "cmp-certificate", BM_CMP_BAD_CERT_ID },
    { "cmp-confirmed", BM_CMP_CERT_CONFIRMED },
    { "cmp-details", BM_CMP_ADD_INFO_NOT_AVAILABLE },
    { "cmp-crl-large", BM_CMP_ADD_INFO_NOT_AVAILABLE },
    { "cmp-authority", BM_CMP_WRONG_AUTHORITY },
    { "cmp-integrity", BM_CMP_WRONG_INTEGRITY },
    { "bad-signature", BM_CMP_BAD_POP }, /* of a PKCS#10 request: that of the message has another code */
    { "unknown-device", BM_CMP_SIGNER_NOT_TRUSTED },
    { "udid-mismatch", BM_CMP_SIGNER_NOT_TRUSTED },
    { "untrusted-birth-certificate", BM_CMP_SIGNER_NOT_TRUSTED },
    { "credential-expired", BM_CMP_SIGNER_NOT_TRUSTED },
    { "maker-revoked", BM_CMP_CERT_REVOKED },
    { "credential-revoked", BM_CMP_CERT_REVOKED },
    { "key-algorithm", BM_CMP_BAD_CERT_TEMPLATE },
    { "keygen-algorithm", BM_CMP_BAD_CERT_TEMPLATE },
    { "subject-mismatch", BM_CMP_BAD_CERT_TEMPLATE },
    { "quota-exceeded", BM_CMP_NOT_AUTHORIZED },
};

static const enum bm_cmp_fail of_kind[] = {
    [BM_OK] = BM_CMP_SYSTEM_FAILURE,     [BM_AGAIN] = BM_CMP_SYSTEM_UNAVAIL,  [BM_MALFORMED] = BM_CMP_BAD_DATA_FORMAT,
    [BM_LIMIT] = BM_CMP_BAD_DATA_FORMAT, [BM_DENIED] = BM_CMP_NOT_AUTHORIZED, [BM_NOTFOUND] = BM_CMP_BAD_REQUEST,
    [BM_CONFLICT] = BM_CMP_BAD_REQUEST,  [BM_USAGE] = BM_CMP_BAD_REQUEST,     [BM_NOMEM] = BM_CMP_SYSTEM_UNAVAIL,
    [BM_IO] = BM_CMP_SYSTEM_UNAVAIL,     [BM_BUG] = BM_CMP_SYSTEM_FAILURE,
};

enum bm_cmp_fail bm_cmp_fail_of(const struct bm_error *e)
{
    for (size_t i = 0; i < BM_COUNT(of_code); i++)
        if (strcmp(of_code[i].code, e->code) == 0)
            return of_code[i].fail;
    return (size_t)e->rc < BM_COUNT(of_kind) ? of_kind[e->rc] : BM_CMP_SYSTEM_FAILURE;
}

bool bm_cmp_fail_is_outside(enum bm_cmp_fail fail)
{
    static const enum bm_cmp_fail outside[] = {
        BM_CMP_UNSUPPORTED_VERSION,
        BM_CMP_TRANSACTION_ID_IN_USE,
        BM_CMP_BAD_SENDER_NONCE,
        BM_CMP_BAD_RECIPIENT_NONCE,
        BM_CMP_BAD_TIME,
        BM_CMP_BAD_MESSAGE_CHECK,
        BM_CMP_SIGNER_NOT_TRUSTED,
        BM_CMP_SYSTEM_UNAVAIL,
        BM_CMP_SYSTEM_FAILURE,
    };

    for (size_t i = 0; i < BM_COUNT(outside); i++)
        if (outside[i] == fail)
            return true;
    return false;
}
