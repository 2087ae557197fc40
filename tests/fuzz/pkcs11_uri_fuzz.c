/* targets: bm_pkcs11_uri_parse */
#include "pki/pkcs11_uri.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_pkcs11_uri u;

    if (bm_pkcs11_uri_parse(bm_rd_of(p, n), &u, NULL) != BM_OK)
        return 0;
    if ((u.token[0] == '\0' && u.serial[0] == '\0') ||
        (u.object[0] == '\0' && u.id_len == 0)) /* a token or key of nobody's choice */
        abort();
    if (strlen(u.token) > 32 || strlen(u.serial) > 16 || strlen(u.object) > BM_PKCS11_LABEL_MAX || u.id_len > BM_PKCS11_ID_MAX)
        abort();
    return 0;
}
