"""The settings of Siemens' CMP test suite for this server. Robot Framework loads this with the suite's own Python: certificates and keys have to be
objects of the suite's."""
import json

from pyasn1_alt_modules import rfc5280
from resources import keyutils, utils

SET = {
    "APPEND_PKIBODY_URL_SUFFIX": False, "LWCMP": True, "ENFORCE_RFC9481": True, "STRICT": True, "DEFAULT_PROTECTION": "signature",
    "DEFAULT_ALGORITHM": "ecc", "DEFAULT_KGA_ALGORITHM": "ecc", "DEFAULT_MAC_ALGORITHM": "password_based_mac",
    "ALLOW_ONLY_ONE_SENDER": True, "SUPPORT_DIRECTORY_CHOICE_FOR_MAC_PROTECTION": True, "ALLOW_IMPLICIT_CONFIRM": True, "ALLOW_CERT_CONF": True,
    "ALLOW_MAC_PROTECTION": True, "ALLOW_IR_MAC_BASED": True, "ALLOW_CR_MAC_BASED": True, "ALLOW_P10CR_MAC_BASED": True,
    "ALLOWED_ALGORITHM": "ecc,rsa,ed25519", "ALLOW_KUR_SAME_KEY": True, "ALLOW_IR_SAME_KEY": True,
    "ALLOW_ISSUING_OF_CA_CERTS": False, "ALLOW_CMP_EKU_EXTENSION": False, "ALLOW_KGA": True, "ALLOW_KGA_RAW_KEYS": False,
    "ALLOW_SUPPORT_MESSAGES": True, "ALLOW_MAC_PROTECTED_SUPPORT_MSG": True, "ALLOW_UNPROTECTED_INNER_MESSAGE": False, "CERT_PROFILE": "operation",
    "MAX_ALLOW_TIME_INTERVAL_RECEIVED": -3700, "REVOKED_WAIT_TIME": "0s", "UPDATE_WAIT_TIME": "0s", "WAIT_UNTIL_UPDATED_CONFIRMATION_IS_EXPIRED": "0s",
    "DSA_KEY": None, "DSA_CERT": None, "CRL_FILEPATH": None, "CRL_CERT_IDP": None, "RR_CERT_FOR_TRUSTED": None, "TRUSTED_CA_CERT": None,
    "TRUSTED_CA_KEY": None, "TRUSTED_CA_DIR": None, "RA_CERT_CHAIN_DIR": None, "DEVICE_KEY_PASSWORD": "11111", "CA_RSA_ENCR_CERT": None,
    "CA_X25519_CERT": None, "CA_X448_CERT": None, "CA_ECC_CERT": None, "CA_HYBRID_KEM_CERT": None, "CA_KEM_CERT": None,
}


def mend_sender_kid():
    """The suite writes "CN=" before the reference in senderKID, where RFC 9483 section 3.1 has the common name itself; all it does with a shared
    secret would end there."""
    notation = utils.get_openssl_name_notation

    def mended(name, oids=None, **more):
        text = notation(name, oids=oids, **more)
        return text.removeprefix("CN=") if oids == [rfc5280.id_at_commonName] and isinstance(text, str) else text

    utils.get_openssl_name_notation = mended


def signer(files):
    return utils.may_load_cert(files[0]), keyutils.load_private_key_from_file(files[1])


def get_variables(path):
    mend_sender_kid()
    with open(path, encoding="ascii") as f:
        given = json.load(f)
    found = {
        **SET, "CA_CMP_URL": given["url"], "CA_BASE_URL": given["url"], "PRESHARED_SECRET": given["code"], "SENDER": f"CN={given['number']}",
        "DEFAULT_X509NAME": given["subject"], "RECIPIENT": given["recipient"], "OLD_ROOT_CERT": given["root"],
        "DEVICE_CERT_CHAIN": given["birth"][0], "DEVICE_KEY": given["birth"][1], "RA_CERT_CHAIN_PATH": given["ra"][0],
    }
    for name, who in (("ISSUED", "issued"), ("OTHER_TRUSTED_PKI", "ra"), ("KGA_KARI", "agrees"),
                      ("NEG_KARI", "issued"), ("KGA_KTRI", "enciphers"), ("NEG_KTRI", "rsa")):
        found[f"{name}_CERT"], found[f"{name}_KEY"] = signer(given[who])
    return {**found, "DICT__DEFAULT_PROTECTION_VALS": {"protection": "signature", "private_key": found["ISSUED_KEY"], "cert": found["ISSUED_CERT"],
                                                       "password": given["code"]}}
