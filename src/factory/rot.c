/* The kinds of root of trust that a manifest may name; docs/manifest.md has the same table. */
#include "factory/manifest.h"

const struct bm_rot_kind bm_rot_kinds[] = {
    { "software", "private key in a file or in flash", false },
    { "generic", "hardware root of trust of a kind not listed", true },
    { "tpm2", "TPM 2.0, discrete or firmware", true },
    { "pkcs11", "PKCS#11 token or HSM", true },
    { "tee", "key held by a trusted execution environment (OP-TEE, TF-M)", true },
    { "dice", "DICE: key derived from a device secret and the measured firmware", true },
    { "puf-sram", "SRAM PUF with a fuzzy extractor", true },
    { "atecc608", "Microchip ATECC608 secure element", true },
    { "se05x", "NXP EdgeLock SE05x secure element", true },
    { "edgelock", "NXP EdgeLock secure enclave (i.MX, RW61x, MCX)", true },
    { "optiga-trust-m", "Infineon OPTIGA Trust M secure element", true },
    { "stsafe-a", "STMicroelectronics STSAFE-A secure element", true },
    { "stm32-sm", "STMicroelectronics STM32 Secure Manager", true },
    { "secure-vault", "Silicon Labs Secure Vault", true },
    { "esp32-ds", "Espressif digital signature peripheral, key in eFuses", true },
    { "nrf-kmu", "Nordic key management unit", true },
    { "iot-safe", "GSMA IoT SAFE applet on a SIM or eSIM", true },
    { "caliptra", "Caliptra silicon root of trust", true },
    { NULL, NULL, false },
};

const struct bm_rot_kind *bm_rot_kind_find(struct bm_rd name)
{
    for (const struct bm_rot_kind *k = bm_rot_kinds; k->name != NULL; k++)
        if (bm_rd_eq(name, bm_rd_str(k->name)))
            return k;
    return NULL;
}
