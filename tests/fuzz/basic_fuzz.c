/* targets: bm_basic_parse */
#include "protocol/basic.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_buf arena = { .max = BM_BASIC_MAX };
    struct bm_error e = { 0 };
    struct bm_rd user, password;

    if (bm_basic_parse(bm_rd_of(p, n), &arena, &user, &password, &e) != BM_OK) {
        if (e.code[0] == '\0' || (e.rc != BM_DENIED && e.rc != BM_MALFORMED))
            abort();
    } else if (user.n + 1 + password.n != arena.n || arena.n > BM_BASIC_MAX || user.p[user.n] != ':' ||
               (user.n != 0 && memchr(user.p, ':', user.n) != NULL)) {
        abort();
    }
    bm_buf_done(&arena);
    return 0;
}
