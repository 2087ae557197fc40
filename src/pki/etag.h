/* Entity tags (RFC 9110 section 8.8.3) of what caches keep: CRLs, OCSP answers, trust bundles. */
#ifndef BM_PKI_ETAG_H
#define BM_PKI_ETAG_H

#include "base/bytes.h"

#define BM_ETAG_LEN 35 /* 32 hex digits in quotes, and a terminator */

/* A strong one: half of the content's SHA-256. */
void bm_etag_of(struct bm_rd content, char ret[BM_ETAG_LEN]);
/* Does an If-None-Match, a list of entity tags or "*" (section 13.1.2), name this one? */
BM_MUST_USE bool bm_etag_listed(struct bm_rd if_none_match, const char *etag);

#endif
