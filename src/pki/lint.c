#include "pki/lint_impl.h"

#define NONE                                                                                                                       \
    {                                                                                                                              \
        NULL, 0                                                                                                                    \
    }
#define R5280(s) "RFC 5280 section " s

/* A table reads by rows. */
/* clang-format off */
const struct bm_lint_rule bm_lint_rules[] = {
    /* fields */
    { "version", R5280("4.1.2.1"), "a certificate is v3", lint_version, NONE, false },
    { "serial-positive", R5280("4.1.2.2"), "the serial number is positive", lint_serial_positive, NONE, false },
    { "serial-length", R5280("4.1.2.2"), "the serial number has at most 20 bytes", lint_serial_long, NONE, false },
    { "serial-random", "CA/B BR section 7.1", "a server's serial number holds 64 random bits", lint_serial_short, BM_LIT(OID_KP_SERVER), true },
    { "signature-algorithms", R5280("4.1.1.2"), "both signature algorithms are the same", lint_alg_differ, NONE, false },
    { "signature-weak", "RFC 6194 section 3", "signatures do not rest on MD2, MD5 or SHA-1", lint_alg_weak, NONE, false },
    { "signature-parameters", "RFC 5758 section 3.2, RFC 8410 section 3, RFC 4055 section 5", "the signature algorithm has the parameters it takes: NULL for RSA, else none", lint_alg_params, NONE, false },
    { "unique-ids", R5280("4.1.2.8"), "there are no unique identifiers", lint_unique_ids, NONE, false },
    { "time-form", R5280("4.1.2.5"), "times have seconds and end with Z", lint_time_form, NONE, false },
    { "time-kind", R5280("4.1.2.5"), "times are UTCTime through 2049 and GeneralizedTime from 2050", lint_time_kind, NONE, false },
    { "time-order", R5280("4.1.2.5"), "notBefore is not after notAfter", lint_time_order, NONE, false },
    { "key", "RFC 3279, RFC 5480, RFC 8410", "the public key is well-formed: RSA of 2048 bits or more, curves by name", lint_key, NONE, false },

    /* names */
    { "issuer-empty", R5280("4.1.2.4"), "the issuer has a name", lint_issuer_empty, NONE, false },
    { "ca-subject-empty", R5280("4.1.2.6"), "a CA has a subject", lint_ca_subject_empty, NONE, false },
    { "subject-empty", R5280("4.1.2.6"), "without a subject there is a critical subjectAltName", lint_subject_empty, BM_LIT(OID_SAN), false },
    { "name-form", R5280("4.1.2.4"), "names are sets of attributes", lint_name_form, NONE, false },
    { "name-string", R5280("4.1.2.4"), "directory strings are UTF8String or PrintableString", lint_name_directory, NONE, false },
    { "name-printable", R5280("A.1"), "country, serialNumber and dnQualifier are PrintableString", lint_name_printable, NONE, false },
    { "name-ia5", R5280("A.1"), "domainComponent and emailAddress are IA5String", lint_name_ia5, NONE, false },
    { "name-characters", "X.680 section 41.4, RFC 3629", "strings hold the characters of their type", lint_name_chars, NONE, false },
    { "name-empty", R5280("A.1"), "no attribute is empty", lint_name_empty_value, NONE, false },
    { "name-country", R5280("A.1"), "a country is two capital letters (ISO 3166)", lint_name_country, NONE, false },
    { "name-length", R5280("A.1"), "no attribute is over its upper bound (ub-common-name 64 ...)", lint_name_long, NONE, false },

    /* extensions in general */
    { "extension-twice", R5280("4.2"), "no extension comes twice", lint_ext_twice, NONE, false },
    { "extensions-none", R5280("4.1.2.9"), "a list of extensions is not empty", lint_ext_none, NONE, false },
    { "extension-unknown", R5280("4.2"), "no extension that is not known is critical", lint_ext_unknown, NONE, false },
    { "extension-default", "X.690 section 11.5", "an extension that is not critical does not say so", lint_ext_default, NONE, false },
    { "basic-constraints-form", R5280("4.2.1.9"), "basicConstraints is well-formed", lint_ext_form, BM_LIT(OID_BASIC_CONSTRAINTS), false },
    { "key-usage-form", R5280("4.2.1.3"), "keyUsage is well-formed", lint_ext_form, BM_LIT(OID_KEY_USAGE), false },
    { "eku-form", R5280("4.2.1.12"), "extKeyUsage is a list of OIDs, and not empty", lint_ext_form, BM_LIT(OID_EKU), false },
    { "ski-form", R5280("4.2.1.2"), "subjectKeyIdentifier is well-formed", lint_ext_form, BM_LIT(OID_SKID), false },
    { "aki-form", R5280("4.2.1.1"), "authorityKeyIdentifier is well-formed", lint_ext_form, BM_LIT(OID_AKID), false },
    { "san-form", R5280("4.2.1.6"), "subjectAltName is a list of names, and not empty", lint_ext_form, BM_LIT(OID_SAN), false },
    { "policies-form", R5280("4.2.1.4"), "certificatePolicies is a list, and not empty", lint_ext_form, BM_LIT(OID_POLICIES), false },
    { "crl-form", R5280("4.2.1.13"), "cRLDistributionPoints is a list, and not empty", lint_ext_form, BM_LIT(OID_CRL_POINTS), false },
    { "aia-form", R5280("4.2.2.1"), "authorityInfoAccess is a list, and not empty", lint_ext_form, BM_LIT(OID_AIA), false },
    { "ocsp-nocheck-form", "RFC 6960 section 4.2.2.2.1", "ocsp-nocheck is NULL", lint_ext_form, BM_LIT(OID_OCSP_NOCHECK), false },
    { "tls-feature-form", "RFC 7633 section 4.1", "tls-feature names status_request", lint_feature_form, BM_LIT(OID_TLS_FEATURE), false },

    /* criticality */
    { "basic-constraints-critical", R5280("4.2.1.9"), "a CA's basicConstraints is critical", lint_ca_critical, BM_LIT(OID_BASIC_CONSTRAINTS), false },
    { "key-usage-critical", R5280("4.2.1.3"), "keyUsage is critical", lint_critical, BM_LIT(OID_KEY_USAGE), true },
    { "name-constraints-critical", R5280("4.2.1.10"), "nameConstraints is critical", lint_critical, BM_LIT(OID_NAME_CONSTRAINTS), false },
    { "policy-constraints-critical", R5280("4.2.1.11"), "policyConstraints is critical", lint_critical, BM_LIT(OID_POLICY_CONSTRAINTS), false },
    { "inhibit-any-policy-critical", R5280("4.2.1.14"), "inhibitAnyPolicy is critical", lint_critical, BM_LIT(OID_INHIBIT_ANY_POLICY), false },
    { "ski-critical", R5280("4.2.1.2"), "subjectKeyIdentifier is not critical", lint_not_critical, BM_LIT(OID_SKID), false },
    { "aki-critical", R5280("4.2.1.1"), "authorityKeyIdentifier is not critical", lint_not_critical, BM_LIT(OID_AKID), false },
    { "aia-critical", R5280("4.2.2.1"), "authorityInfoAccess is not critical", lint_not_critical, BM_LIT(OID_AIA), false },
    { "sia-critical", R5280("4.2.2.2"), "subjectInfoAccess is not critical", lint_not_critical, BM_LIT(OID_SIA), false },
    { "freshest-crl-critical", R5280("4.2.1.15"), "freshestCRL is not critical", lint_not_critical, BM_LIT(OID_FRESHEST_CRL), false },
    { "directory-attributes-critical", R5280("4.2.1.8"), "subjectDirectoryAttributes is not critical", lint_not_critical, BM_LIT(OID_DIRECTORY_ATTRIBUTES), false },
    { "issuer-alt-name-critical", R5280("4.2.1.7"), "issuerAltName is not critical", lint_not_critical, BM_LIT(OID_ISSUER_ALT_NAME), true },
    { "crl-critical", R5280("4.2.1.13"), "cRLDistributionPoints is not critical", lint_not_critical, BM_LIT(OID_CRL_POINTS), true },
    { "ocsp-nocheck-critical", "RFC 6960 section 4.2.2.2.1", "ocsp-nocheck is not critical", lint_not_critical, BM_LIT(OID_OCSP_NOCHECK), true },
    { "tls-feature-critical", "RFC 7633 section 4", "tls-feature is not critical", lint_not_critical, BM_LIT(OID_TLS_FEATURE), true },
    { "san-critical", R5280("4.2.1.6"), "beside a subject, subjectAltName is not critical", lint_san_critical, BM_LIT(OID_SAN), true },
    { "any-purpose-critical", R5280("4.2.1.12"), "extKeyUsage with anyExtendedKeyUsage is not critical", lint_any_critical, BM_LIT(OID_KP_ANY), true },

    /* CAs */
    { "ca-key-usage", R5280("4.2.1.3"), "a CA has keyUsage", lint_ca_usage, NONE, false },
    { "ca-cert-sign", R5280("4.2.1.3"), "a CA's keyUsage has keyCertSign", lint_ca_cannot_sign, NONE, false },
    { "leaf-cert-sign", R5280("4.2.1.9"), "nothing but a CA has keyCertSign", lint_leaf_can_sign, NONE, false },
    { "path-length", R5280("4.2.1.9"), "nothing but a CA has a path length", lint_path_len, NONE, false },
    { "name-constraints-leaf", R5280("4.2.1.10"), "nothing but a CA has nameConstraints", lint_ca_only, BM_LIT(OID_NAME_CONSTRAINTS), false },
    { "policy-mappings-leaf", R5280("4.2.1.5"), "nothing but a CA has policyMappings", lint_ca_only, BM_LIT(OID_POLICY_MAPPINGS), false },

    /* usage */
    { "key-usage-empty", R5280("4.2.1.3"), "keyUsage has a bit set", lint_usage_empty, BM_LIT(OID_KEY_USAGE), false },
    { "key-usage-trailing", "X.690 section 11.2.2", "keyUsage ends with a bit that is set", lint_usage_trailing, BM_LIT(OID_KEY_USAGE), false },
    { "key-usage-only", R5280("4.2.1.3"), "encipherOnly and decipherOnly come with keyAgreement", lint_only_bits, NONE, false },
    { "key-usage-ec", "RFC 8813 section 3", "an EC key does not encipher", lint_usage_of_key, BM_LIT(OID_EC_PUBLIC_KEY), false },
    { "key-usage-rsa", "RFC 3279 section 2.3.1", "an RSA key does not agree on keys", lint_usage_of_key, BM_LIT(OID_RSA), false },
    { "key-usage-ed25519", "RFC 9295 section 3", "an Ed25519 key does nothing but sign", lint_usage_of_key, BM_LIT(OID_ED25519), false },
    { "key-usage-ml-dsa-44", "RFC 9881 section 5", "an ML-DSA key does nothing but sign", lint_usage_of_key, BM_LIT(OID_ML_DSA_44), false },
    { "key-usage-ml-dsa-65", "RFC 9881 section 5", "an ML-DSA key does nothing but sign", lint_usage_of_key, BM_LIT(OID_ML_DSA_65), false },
    { "key-usage-ml-dsa-87", "RFC 9881 section 5", "an ML-DSA key does nothing but sign", lint_usage_of_key, BM_LIT(OID_ML_DSA_87), false },
    { "purpose-server", R5280("4.2.1.12"), "serverAuth comes with digitalSignature, keyEncipherment or keyAgreement", lint_purpose_usage, BM_LIT(OID_KP_SERVER), false },
    { "purpose-client", R5280("4.2.1.12"), "clientAuth comes with digitalSignature or keyAgreement", lint_purpose_usage, BM_LIT(OID_KP_CLIENT), false },
    { "purpose-code", R5280("4.2.1.12"), "codeSigning comes with digitalSignature", lint_purpose_usage, BM_LIT(OID_KP_CODE), false },
    { "purpose-email", R5280("4.2.1.12"), "emailProtection comes with a usage that signs, enciphers keys or agrees on them", lint_purpose_usage, BM_LIT(OID_KP_EMAIL), false },
    { "purpose-time", R5280("4.2.1.12"), "timeStamping comes with digitalSignature or contentCommitment", lint_purpose_usage, BM_LIT(OID_KP_TIME), false },
    { "purpose-ocsp", R5280("4.2.1.12"), "OCSPSigning comes with digitalSignature or contentCommitment", lint_purpose_usage, BM_LIT(OID_KP_OCSP), false },
    { "time-stamp-alone", "RFC 3161 section 2.3", "timeStamping stands alone", lint_stamp_alone, BM_LIT(OID_KP_TIME), false },
    { "time-stamp-critical", "RFC 3161 section 2.3", "timeStamping is critical", lint_stamp_critical, BM_LIT(OID_KP_TIME), false },
    { "ocsp-nocheck-responder", "RFC 6960 section 4.2.2.2.1", "ocsp-nocheck is for OCSP responders", lint_nocheck, BM_LIT(OID_KP_OCSP), false },

    /* key identifiers */
    { "ski-ca", R5280("4.2.1.2"), "a CA has a subjectKeyIdentifier", lint_ski_missing, BM_LIT(OID_SKID), false },
    { "ski", R5280("4.2.1.2"), "a certificate has a subjectKeyIdentifier", lint_ski_leaf, BM_LIT(OID_SKID), true },
    { "aki", R5280("4.2.1.1"), "who is not self-issued has an authorityKeyIdentifier", lint_aki_missing, BM_LIT(OID_AKID), false },
    { "aki-key-id", R5280("4.2.1.1"), "authorityKeyIdentifier has the keyIdentifier", lint_aki_key_id, BM_LIT(OID_AKID), false },
    { "aki-pair", R5280("4.2.1.1"), "authorityCertIssuer and authorityCertSerialNumber come together", lint_aki_pair, BM_LIT(OID_AKID), false },

    /* alternative names and addresses */
    { "san-dns", R5280("4.2.1.6"), "a dNSName has the preferred syntax of RFC 1034", lint_san_dns, NONE, false },
    { "san-ip", R5280("4.2.1.6"), "an iPAddress has 4 or 16 bytes", lint_san_ip, NONE, false },
    { "san-uri", R5280("4.2.1.6"), "a URI has a scheme and the characters of RFC 3986", lint_san_uri, NONE, false },
    { "san-uri-host", R5280("4.2.1.6"), "a URI with an authority has a host", lint_san_uri_host, NONE, false },
    { "san-email", R5280("4.2.1.6"), "an rfc822Name is a mailbox: local@host", lint_san_email, NONE, false },
    { "san-hardware", "RFC 4108 section 5", "a hardwareModuleName is an OID and a serial number", lint_san_hardware, NONE, false },
    { "server-name", "RFC 9525 section 3", "a TLS server has a dNSName or an iPAddress", lint_server_names, BM_LIT(OID_KP_SERVER), false },
    { "server-common-name", "CA/B BR section 7.1.4.2", "a TLS server's common name is one of its alternative names", lint_server_cn, BM_LIT(OID_KP_SERVER), true },
    { "crl-nowhere", R5280("4.2.1.13"), "a distribution point says where or who", lint_crl_nowhere, BM_LIT(OID_CRL_POINTS), false },
    { "crl-scheme", R5280("8"), "CRLs are fetched over http or ldap, so that fetching them needs no certificate", lint_crl_scheme, BM_LIT(OID_CRL_POINTS), true },
    { "aia-scheme", R5280("8"), "issuers and OCSP are asked for over http or ldap", lint_aia_scheme, BM_LIT(OID_AIA), true },
    { "policy-twice", R5280("4.2.1.4"), "no policy comes twice", lint_policy_twice, NONE, false },

    /* device identities without an end */
    { "idevid-serial-number", "IEEE 802.1AR-2018 section 8.6", "an IDevID has serialNumber in its subject", lint_idevid_serial, BM_LIT(OID_SERIAL_NUMBER), false },
    { "idevid-key-usage", "IEEE 802.1AR-2018 section 8.10.3", "an IDevID's key usage has digitalSignature", lint_idevid_usage, NONE, false },
    { NULL, NULL, NULL, NULL, NONE, false },
};
/* clang-format on */

enum bm_rc bm_cert_lint(struct bm_rd der, bm_lint_fn *fn, void *arg, struct bm_error *e)
{
    struct lint l;
    enum bm_rc rc = lint_parse(der, &l, e);

    for (const struct bm_lint_rule *r = bm_lint_rules; rc == BM_OK && r->name != NULL; r++)
        if (r->broken(&l, r->about))
            rc = fn(arg, r, e);
    return rc;
}
