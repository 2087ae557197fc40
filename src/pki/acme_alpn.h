/* The certificate that answers tls-alpn-01: RFC 8737 section 3. */
#ifndef BM_PKI_ACME_ALPN_H
#define BM_PKI_ACME_ALPN_H

#include "pki/cert.h"

/* Self-signed in form, for this name (or address) alone, with a critical acmeIdentifier that holds SHA-256 of the key authorization. BM_DENIED
 * "acme-incorrect"; BM_MALFORMED. Pure. */
BM_MUST_USE enum bm_rc bm_acme_alpn_check(struct bm_rd cert, const char *name, struct bm_rd key_authorization, struct bm_error *e);

#endif
