/* targets: bm_code_read bm_code_write */
#include "base/code.h"

#include <stdlib.h>

/* What is read as a code is written as that code again, and read back; whatever else is refused with its word. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    uint8_t raw[BM_CODE_LEN], again[BM_CODE_LEN];
    char text[BM_CODE_TEXT_LEN];
    struct bm_error e = { 0 };

    if (bm_code_read(bm_rd_of(p, n), raw, &e) != BM_OK) {
        if (e.rc != BM_DENIED || strcmp(e.code, "code-mistyped") != 0)
            abort();
        return 0;
    }
    bm_code_write(raw, text);
    if (bm_code_read(bm_rd_str(text), again, &e) != BM_OK || memcmp(raw, again, sizeof raw) != 0)
        abort();
    return 0;
}
