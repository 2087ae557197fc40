/* Root of trust in software over PSA Crypto: persistent keys in PSA's internal trusted storage, which Mbed TLS keeps as files in the
 * current directory. Slots 0 to BMD_SOFT_PSA_SLOTS - 1; no labels. P-256 and P-384. One process at a time per directory. */
#ifndef BMD_SOFT_PSA_H
#define BMD_SOFT_PSA_H

#include "rot.h"

enum { BMD_SOFT_PSA_SLOTS = 64 };

extern const struct bmd_rot_driver bmd_soft_psa;

/* The private scalar of a key made with BMD_GEN_EXPORTABLE; BMD_DENIED for others. Wipe it after use. */
BMD_MUST_USE enum bmd_rc bmd_soft_psa_export(struct bmd_rot *r, bmd_key k, uint8_t *ret, size_t *ret_len);

#endif
