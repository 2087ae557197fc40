#include "pki/etag.h"

#include "base/text.h"
#include "pki/key.h"

#include <string.h>

void bm_etag_of(struct bm_rd content, char ret[BM_ETAG_LEN])
{
    uint8_t digest[32];

    bm_udid_of(content, digest); /* SHA-256 all the same */
    ret[0] = '"';
    bm_hex(digest, 16, ret + 1);
    memcpy(ret + 33, "\"", 2);
}

/* Ours is unlike anything else that could stand in such a list, so there is no need to take it apart. */
bool bm_etag_listed(struct bm_rd if_none_match, const char *etag)
{
    return if_none_match.n != 0 &&
           (bm_rd_eq(if_none_match, bm_rd_str("*")) || memmem(if_none_match.p, if_none_match.n, etag, strlen(etag)) != NULL);
}
