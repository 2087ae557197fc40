/* QR codes (ISO/IEC 18004), by libqrencode; pictures by libpng. */
#ifndef BM_CLI_QR_H
#define BM_CLI_QR_H

#include "base/bytes.h"

/* form: "text" (for a terminal), "svg" or "png". Error correction level M: a quarter of a worn label may be gone. Appended to out, whose
 * ceiling is the caller's. BM_USAGE for another form, BM_LIMIT when the text is too long for one symbol. */
BM_MUST_USE enum bm_rc bm_qr_write(const char *text, const char *form, struct bm_buf *out, struct bm_error *e);

#endif
