/* AWS Signature Version 4, as far as services with a JSON protocol need it: POST to "/", without a query. The signature is made here and not by
 * the HTTP client, so that the secret key need not leave the keeper. HMAC and SHA-256 are OpenSSL's. Pure. */
#ifndef BM_PKI_SIGV4_H
#define BM_PKI_SIGV4_H

#include "base/bytes.h"

enum { BM_SIGV4_DATE_LEN = 17, BM_SIGV4_FIELDS_MAX = 8 };

struct bm_sigv4 {
    struct bm_rd access, secret; /* the key's id, and the key */
    struct bm_rd region, service;
    int64_t at; /* Unix seconds */
    size_t n;   /* header fields: all of them are signed; host and x-amz-date must be among them */
    struct bm_sigv4_field {
        const char *name; /* in lower case, and in the order of bytes */
        struct bm_rd value;
    } fields[BM_SIGV4_FIELDS_MAX];
    struct bm_rd body;
};
/* "YYYYMMDDTHHMMSSZ", what x-amz-date says. Returns ret. */
const char *bm_sigv4_date(int64_t at, char ret[BM_SIGV4_DATE_LEN]);
/* Appends the value of the Authorization field. BM_USAGE for fields out of order, BM_NOMEM, BM_LIMIT. */
BM_MUST_USE enum bm_rc bm_sigv4_sign(const struct bm_sigv4 *s, struct bm_buf *ret, struct bm_error *e);

#endif
