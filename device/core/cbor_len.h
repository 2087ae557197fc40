/* libcbor's callbacks carried lengths as size_t before 0.9 and as uint64_t since. */
#ifndef BMD_CBOR_LEN_H
#define BMD_CBOR_LEN_H

#include <cbor/configuration.h>
#include <stddef.h>
#include <stdint.h>

#if CBOR_MAJOR_VERSION == 0 && CBOR_MINOR_VERSION < 9
typedef size_t bmd_cbor_len;
#else
typedef uint64_t bmd_cbor_len;
#endif

#endif
