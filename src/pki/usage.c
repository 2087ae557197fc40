#include "pki/usage.h"

const struct bm_usage_name bm_usage_names[] = {
    { "digitalSignature", BM_KU_DIGITAL_SIGNATURE },
    { "contentCommitment", BM_KU_CONTENT_COMMITMENT },
    { "nonRepudiation", BM_KU_CONTENT_COMMITMENT },
    { "keyEncipherment", BM_KU_KEY_ENCIPHERMENT },
    { "dataEncipherment", BM_KU_DATA_ENCIPHERMENT },
    { "keyAgreement", BM_KU_KEY_AGREEMENT },
    { "keyCertSign", BM_KU_CERT_SIGN },
    { "cRLSign", BM_KU_CRL_SIGN },
    { NULL, BM_KU_DIGITAL_SIGNATURE },
};

const struct bm_purpose_name bm_purpose_names[] = {
    { "serverAuth", BM_LIT(OID_KP_SERVER) },     { "clientAuth", BM_LIT(OID_KP_CLIENT) }, { "codeSigning", BM_LIT(OID_KP_CODE) },
    { "emailProtection", BM_LIT(OID_KP_EMAIL) }, { "timeStamping", BM_LIT(OID_KP_TIME) }, { "OCSPSigning", BM_LIT(OID_KP_OCSP) },
    { "cmcRA", BM_LIT(OID_KP_CMC_RA) },          { "cmKGA", BM_LIT(OID_KP_CM_KGA) },      { NULL, { NULL, 0 } },
};
