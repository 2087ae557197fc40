/* Reading what bm_cms_certs() writes, from others. */
#ifndef BM_PKI_CMS_READ_H
#define BM_PKI_CMS_READ_H

#include "base/bytes.h"

/* The certificates in a certs-only SignedData, in its order, borrowed; each is a SEQUENCE and no more is known of it. Strict DER, leftovers refused.
 * BM_MALFORMED, BM_LIMIT (more than max). Pure. */
BM_MUST_USE enum bm_rc bm_cms_certs_parse(struct bm_rd der, struct bm_rd *ret, size_t max, size_t *ret_n, struct bm_error *e);

#endif
