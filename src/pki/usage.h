/* What keys may be for, by the names that RFC 5280 has for it. */
#ifndef BM_PKI_USAGE_H
#define BM_PKI_USAGE_H

#include "pki/impl.h"

struct bm_usage_name {
    const char *name;
    enum bm_key_usage bit;
};
extern const struct bm_usage_name bm_usage_names[]; /* NULL name ends it; a bit's own name comes before its other one */

struct bm_purpose_name {
    const char *name;
    struct bm_rd oid;
};
extern const struct bm_purpose_name bm_purpose_names[]; /* NULL name ends it */

#endif
