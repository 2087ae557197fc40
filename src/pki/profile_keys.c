#include "pki/profile_draft.h"

enum {
    NEVER_EC = BM_KU_KEY_ENCIPHERMENT | BM_KU_DATA_ENCIPHERMENT, /* RFC 8813 section 3 */
    NEVER_SIGN_ONLY = NEVER_EC | BM_KU_KEY_AGREEMENT,            /* RFC 9295, RFC 9881 section 5 */
    NEVER_RSA = BM_KU_KEY_AGREEMENT,                             /* RFC 3279 section 2.3.1 */
};

const struct profile_key profile_keys[] = {
    { "P-256", "P-256", BM_LIT(OID_EC_PUBLIC_KEY), BM_LIT("\x06\x08" OID_P256), BM_LIT(OID_ECDSA_SHA256), NEVER_EC },
    { "P-384", "P-384", BM_LIT(OID_EC_PUBLIC_KEY), BM_LIT("\x06\x05" OID_P384), BM_LIT(OID_ECDSA_SHA384), NEVER_EC },
    { "P-521", "P-521", BM_LIT(OID_EC_PUBLIC_KEY), BM_LIT("\x06\x05" OID_P521), BM_LIT(OID_ECDSA_SHA512), NEVER_EC },
    { "Ed25519", "Ed25519", BM_LIT(OID_ED25519), { NULL, 0 }, { NULL, 0 }, NEVER_SIGN_ONLY },
    { "RSA", "RSA", BM_LIT(OID_RSA), BM_LIT("\x02\x02\x08\x00"), BM_LIT(OID_RSA_SHA256),
      NEVER_RSA }, /* 2048, RFC 7030 section 4.5.2 */
    { "ML-DSA-44", "2.16.840.1.101.3.4.3.17", BM_LIT(OID_ML_DSA_44), { NULL, 0 }, { NULL, 0 }, NEVER_SIGN_ONLY },
    { "ML-DSA-65", "2.16.840.1.101.3.4.3.18", BM_LIT(OID_ML_DSA_65), { NULL, 0 }, { NULL, 0 }, NEVER_SIGN_ONLY },
    { "ML-DSA-87", "2.16.840.1.101.3.4.3.19", BM_LIT(OID_ML_DSA_87), { NULL, 0 }, { NULL, 0 }, NEVER_SIGN_ONLY },
};
const size_t profile_keys_count = BM_COUNT(profile_keys);

const struct profile_key *profile_key_find(const char *alg)
{
    for (size_t i = 0; i < BM_COUNT(profile_keys); i++)
        if (strcmp(profile_keys[i].alg, alg) == 0)
            return &profile_keys[i];
    return NULL;
}
