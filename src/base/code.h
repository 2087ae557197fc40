/* Codes that people type, print and scan: 128 random bits as 26 characters of Crockford's base 32 (no I, L, O, U; either case, and I, L, O
 * are read as what they look like), then two check characters, in groups of four: "7ZQK-0M3D-...". The check characters find every
 * mistyped character and every swap of neighbours; they protect nothing. Blanks and hyphens between characters are skipped.
 * Pure. */
#ifndef BM_BASE_CODE_H
#define BM_BASE_CODE_H

#include "base/bytes.h"
#include "base/limits.h"

enum {
    BM_CODE_LEN = 16,      /* bytes of randomness */
    BM_CODE_TEXT_LEN = 35, /* seven groups of four with hyphens, and a terminator */
};

void bm_code_write(const uint8_t raw[BM_CODE_LEN], char ret[BM_CODE_TEXT_LEN]);
/* BM_DENIED "code-mistyped": a character that is none, too few or too many of them, or check characters that do not fit. */
BM_MUST_USE enum bm_rc bm_code_read(struct bm_rd text, uint8_t ret[BM_CODE_LEN], struct bm_error *e);

#endif
