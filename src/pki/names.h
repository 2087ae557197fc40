/* Names in requests and certificates of others, held against those that a profile gives. */
#ifndef BM_PKI_NAMES_H
#define BM_PKI_NAMES_H

#include "pki/cert.h"

/* Is every attribute of the subject, and every alternative name, one that `profile` writes from `words`, or the same as in `also` (which may be NULL)?
 * An attribute counts by its type and text, whatever its string type. CN and serialNumber may be the UDID in any profile. san: as in
 * bm_cert. BM_DENIED with `code`. */
struct bm_names {
    struct bm_rd subject, san;
};
BM_MUST_USE enum bm_rc bm_names_within(const struct bm_names *n, const struct bm_profile *profile,
                                       const struct bm_subject_words *words, const struct bm_names *also, const char *code,
                                       struct bm_error *e);

#endif
