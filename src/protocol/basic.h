/* HTTP Basic authentication (RFC 7617), as EST uses it for devices without a certificate (RFC 7030 section 3.2.3). */
#ifndef BM_PROTOCOL_BASIC_H
#define BM_PROTOCOL_BASIC_H

#include "base/bytes.h"

enum { BM_BASIC_MAX = 256 }; /* user, colon and password */

/* Value of an Authorization field. arena: its max is BM_BASIC_MAX; what is returned borrows from it, and it holds a secret.
 * BM_DENIED "authorization-scheme" (not Basic), BM_MALFORMED "authorization-malformed". */
BM_MUST_USE enum bm_rc bm_basic_parse(struct bm_rd value, struct bm_buf *arena, struct bm_rd *ret_user, struct bm_rd *ret_password,
                                      struct bm_error *e);

#endif
