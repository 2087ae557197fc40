/* targets: bm_share_read bm_share_write */
#include "pki/share.h"

#include <stdlib.h>

/* What is read as a share is written as words that are read as the same share. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_share s, again;
    char words[BM_SHARE_TEXT_MAX];

    if (bm_share_read(bm_rd_of(p, n), &s, NULL) != BM_OK)
        return 0;
    if (bm_share_write(&s, words, NULL) != BM_OK || bm_share_read(bm_rd_str(words), &again, NULL) != BM_OK ||
        memcmp(&s, &again, sizeof s) != 0)
        abort();
    return 0;
}
