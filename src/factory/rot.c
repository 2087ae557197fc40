/* The kinds of root of trust that a manifest may name; docs/manifest.md has the same table. */
#include "factory/manifest.h"

const struct bm_rot_kind bm_rot_kinds[] = {
    { "software", "private key in a file or in flash", false, false, false },
    { "generic", "hardware root of trust of a kind not listed", true, false, false },
    { "tpm2", "TPM 2.0, discrete or firmware", true, false, false },
    { "pkcs11", "PKCS#11 token or HSM", true, false, false },
    { "tee", "key held by a trusted execution environment (OP-TEE, TF-M)", true, false, false },
    { "dice", "DICE: key derived from a device secret and the measured firmware", true, false, false },
    { "puf-sram", "SRAM PUF with a fuzzy extractor", true, false, false },
    { "atecc608", "Microchip ATECC608 secure element", true, false, false },
    { "se05x", "NXP EdgeLock SE05x secure element", true, false, false },
    { "edgelock", "NXP EdgeLock secure enclave (i.MX, RW61x, MCX)", true, false, false },
    { "optiga-trust-m", "Infineon OPTIGA Trust M secure element", true, false, false },
    { "stsafe-a", "STMicroelectronics STSAFE-A secure element", true, false, false },
    { "stm32-sm", "STMicroelectronics STM32 Secure Manager", true, false, false },
    { "secure-vault", "Silicon Labs Secure Vault", true, false, false },
    { "esp32-ds", "Espressif digital signature peripheral, key in eFuses", true, false, false },
    { "nrf-kmu", "Nordic key management unit", true, false, false },
    { "iot-safe", "GSMA IoT SAFE applet on a SIM or eSIM", true, false, false },
    { "caliptra", "Caliptra silicon root of trust", true, false, false },
    { BM_ROT_APPLE, "Apple Secure Enclave: a key that is new each time, vouched for by Apple", true, false, true },
    { "symmetric-chip", "authenticator chip with an identifier and a secret key, of a kind not listed", true, true, false },
    { "symmetric-software", "identifier and secret key in a file or in flash", false, true, false },
    { NULL, NULL, false, false, false },
};

const struct bm_rot_kind *bm_rot_kind_find(struct bm_rd name)
{
    for (const struct bm_rot_kind *k = bm_rot_kinds; k->name != NULL; k++)
        if (bm_rd_eq(name, bm_rd_str(k->name)))
            return k;
    return NULL;
}
