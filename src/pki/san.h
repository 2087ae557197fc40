/* The subjectAltName extension of a profile, filled in. */
#ifndef BM_PKI_SAN_H
#define BM_PKI_SAN_H

#include "pki/impl.h"

/* Writes the whole Extension, or nothing when the profile has no alternative names. */
BM_MUST_USE enum bm_rc bm_san_write(struct bm_derw *w, const struct bm_profile *p, const struct bm_subject_words *words,
                                    struct bm_error *e);
bool bm_san_uri_ok(struct bm_rd v);
bool bm_san_dns_ok(struct bm_rd v);
size_t bm_san_ip_of(struct bm_rd v, uint8_t ret[16]); /* bytes of the address that the text is: 4, 16, or 0 */

#endif
