/* BER into DER: CMS may come in BER (RFC 5652 section 2), and some clients send indefinite lengths and strings in pieces; everything else here
 * reads DER only. Pure. */
#ifndef BM_PKI_BER_H
#define BM_PKI_BER_H

#include "base/bytes.h"

enum { BM_BER_DEPTH_MAX = 24 };

/* Appends one element with definite, minimal lengths, OCTET STRINGs in one piece. DER comes out as it went in, byte for byte. A string in pieces
 * under a context tag stays in pieces: only who knows the syntax can tell it from a sequence. Leftovers are refused. ret never grows larger
 * than the input. BM_MALFORMED, BM_LIMIT (BM_BER_DEPTH_MAX). */
BM_MUST_USE enum bm_rc bm_ber_to_der(struct bm_rd ber, struct bm_buf *ret_der, struct bm_error *e);

#endif
