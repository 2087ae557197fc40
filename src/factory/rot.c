/* The kinds of root of trust that a manifest may name; docs/manifest.md has the same table. */
#include "factory/manifest.h"

const struct bm_rot_kind bm_rot_kinds[] = {
    { "software", "private key in a file or in flash", false, false },
    { "generic", "hardware root of trust of a kind not listed", true, false },
    { "tpm2", "TPM 2.0, discrete or firmware", true, false },
    { "pkcs11", "PKCS#11 token or HSM", true, false },
    { "tee", "key held by a trusted execution environment (OP-TEE, TF-M)", true, false },
    { "dice", "DICE: key derived from a device secret and the measured firmware", true, false },
    { "puf-sram", "SRAM PUF with a fuzzy extractor", true, false },
    { "atecc608", "Microchip ATECC608 secure element", true, false },
    { "se05x", "NXP EdgeLock SE05x secure element", true, false },
    { "edgelock", "NXP EdgeLock secure enclave (i.MX, RW61x, MCX)", true, false },
    { "optiga-trust-m", "Infineon OPTIGA Trust M secure element", true, false },
    { "stsafe-a", "STMicroelectronics STSAFE-A secure element", true, false },
    { "stm32-sm", "STMicroelectronics STM32 Secure Manager", true, false },
    { "secure-vault", "Silicon Labs Secure Vault", true, false },
    { "esp32-ds", "Espressif digital signature peripheral, key in eFuses", true, false },
    { "nrf-kmu", "Nordic key management unit", true, false },
    { "iot-safe", "GSMA IoT SAFE applet on a SIM or eSIM", true, false },
    { "caliptra", "Caliptra silicon root of trust", true, false },
    { "symmetric-chip", "authenticator chip with an identifier and a secret key, of a kind not listed", true, true },
    { "symmetric-software", "identifier and secret key in a file or in flash", false, true },
    { NULL, NULL, false, false },
};

const struct bm_rot_kind *bm_rot_kind_find(struct bm_rd name)
{
    for (const struct bm_rot_kind *k = bm_rot_kinds; k->name != NULL; k++)
        if (bm_rd_eq(name, bm_rd_str(k->name)))
            return k;
    return NULL;
}
