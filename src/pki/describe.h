/* Certificates for people to read, as JSON. */
#ifndef BM_PKI_DESCRIBE_H
#define BM_PKI_DESCRIBE_H

#include "pki/cert.h"

#include <jansson.h>

/* Appends the Name as RFC 4514 writes it, the most specific attribute first; what is no text comes as #hex. */
void bm_name_text(struct bm_rd name, struct bm_buf *out);

/* {"subject", "issuer", "san": ["uri:...", "dns:...", "ip:...", "hardware-module:OID:HEX" ...], "key", "not_before", "not_after", "key_usage": [...],
 * "eku": [...], "ca", "path_len"}; what the certificate does not have is left out. A new reference; NULL when there is no memory. */
json_t *bm_cert_describe(const struct bm_cert *c);

#endif
