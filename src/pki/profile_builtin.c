/* The profiles everybody has; docs/profiles.md explains them. A CA's own name comes as {service};
 * the OU keeps two kinds of CA from coming out alike whatever the words. */
#include "pki/cert.h"

#define CA_USAGE "\"key_usage\":[\"keyCertSign\",\"cRLSign\"],"
#define SIGN_USAGE "\"key_usage\":[\"digitalSignature\"],"
#define UDID_URI "\"san\":[\"uri:urn:birthmark:udid:{udid}\"]"

const struct bm_profile_builtin bm_profiles_builtin[] = {
    { "idevid", "{\"not_after\":\"99991231235959Z\"," SIGN_USAGE
                "\"subject\":\"serialNumber={serial|udid},CN={udid},OU={product},O={org}\"," UDID_URI "}" },
    { "ldevid", "{\"validity\":\"30d\"," SIGN_USAGE "\"eku\":[\"clientAuth\"],"
                "\"subject\":\"CN={udid},OU={product},O={org}\"," UDID_URI "}" },
    { "tls-server", "{\"validity\":\"90d\"," SIGN_USAGE "\"eku\":[\"serverAuth\"],"
                    "\"subject\":\"CN={host}\",\"san\":[\"dns:{host}\",\"ip:{host}\"]}" },
    { "root-ca", "{\"validity\":\"20y\"," CA_USAGE "\"subject\":\"CN={org} {service|=Root} CA,OU=Root CA,O={org}\",\"ca\":{}}" },
    { "intermediate-ca",
      "{\"validity\":\"15y\"," CA_USAGE
      "\"subject\":\"CN={org} {service|batch|=Intermediate} CA,OU=Intermediate CA,O={org}\",\"ca\":{\"path_len\":1}}" },
    { "issuing-ca", "{\"validity\":\"10y\"," CA_USAGE
                    "\"subject\":\"CN={org} {service|batch|=Issuing} CA,OU=Issuing CA,O={org}\",\"ca\":{\"path_len\":0}}" },
    { "device-root-ca", "{\"not_after\":\"99991231235959Z\"," CA_USAGE
                        "\"subject\":\"CN={org} {service|=Device} CA,OU=Device Root CA,O={org}\",\"ca\":{}}" },
    { "batch-ca", "{\"not_after\":\"99991231235959Z\"," CA_USAGE
                  "\"subject\":\"CN={org} {service|batch} CA,OU=Batch CA,O={org}\",\"ca\":{\"path_len\":0}}" },
    { "manifest-signer", "{\"validity\":\"2y\"," SIGN_USAGE "\"subject\":\"CN={org} {service|=Manifest Signer},O={org}\"}" },
    { "trust-signing", "{\"validity\":\"31d\"," SIGN_USAGE "\"eku\":[\"2.25.312193122366575543490681667821770338644\"],"
                       "\"subject\":\"CN=Trust bundles\"}" }, /* docs/trust.md */
    { "ocsp-signing", "{\"validity\":\"7d\"," SIGN_USAGE "\"eku\":[\"OCSPSigning\"],\"ocsp_nocheck\":true,"
                      "\"subject\":\"CN={service|=Issuing},OU=OCSP,O={org}\"}" },
    { "cmp-signing", "{\"validity\":\"7d\"," SIGN_USAGE "\"eku\":[\"cmcRA\",\"cmKGA\"],"
                     "\"subject\":\"CN={service|=Issuing},OU=CMP,O={org}\"}" },
    { "scep-ra", "{\"validity\":\"1y\",\"key_usage\":[\"digitalSignature\",\"keyEncipherment\"],\"keys\":[\"RSA\"],"
                 "\"eku\":[\"cmcRA\"],"
                 "\"subject\":\"CN={service|=Issuing},OU=SCEP RA,O={org}\"}" },
    { "masa-ca",
      "{\"validity\":\"30y\"," CA_USAGE "\"subject\":\"CN={org} {service|=MASA} CA,OU=MASA CA,O={org}\",\"ca\":{\"path_len\":0}}" },
    { "masa-signing", "{\"validity\":\"1y\"," SIGN_USAGE "\"subject\":\"CN={service|=MASA},OU=MASA,O={org}\"}" },
    { "registrar",
      "{\"validity\":\"7d\"," SIGN_USAGE "\"eku\":[\"cmcRA\"],\"subject\":\"CN={service|=Registrar},OU=Registrar,O={org}\"}" },
    { NULL, NULL },
};
