/* What a client has shown in its handshake, as every request of its connection brings it along. */
#ifndef BM_SERVER_SHOWN_H
#define BM_SERVER_SHOWN_H

#include "protocol/operation.h"
#include "server/tls.h"

/* q borrows from p. */
void bm_shown_fill(const struct bm_tls_peer *p, struct bm_request *q);
/* A certificate, or a raw public key? */
bool bm_shown_any(const struct bm_request *q);

#endif
