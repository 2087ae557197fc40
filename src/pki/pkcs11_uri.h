/* PKCS#11 URIs, RFC 7512: which token, and which key in it. */
#ifndef BM_PKI_PKCS11_URI_H
#define BM_PKI_PKCS11_URI_H

#include "base/bytes.h"

enum { BM_PKCS11_LABEL_MAX = 64, BM_PKCS11_ID_MAX = 64 };

/* What is "" or has length 0 was not said. The first four are compared with what the token says of itself (CK_TOKEN_INFO). */
struct bm_pkcs11_uri {
    char token[33], manufacturer[33], model[17], serial[17];
    char object[BM_PKCS11_LABEL_MAX + 1];
    uint8_t id[BM_PKCS11_ID_MAX];
    size_t id_len;
};
/* path: what follows "pkcs11:". It has to name the token (token or serial) and the key (object or id): a PIN must never be tried on
 * whichever token happens to be plugged in. BM_USAGE: not of RFC 7512 section 2.3, an attribute that says nothing here or comes twice, or a
 * query, which is where RFC 7512 section 2.4 would put the PIN: the registry and its log are no place for one. Pure. */
BM_MUST_USE enum bm_rc bm_pkcs11_uri_parse(struct bm_rd path, struct bm_pkcs11_uri *ret, struct bm_error *e);

#endif
