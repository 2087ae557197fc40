/* EST (RFC 7030, RFC 8951): paths, and the certs-only CMS answer (RFC 5652 5.1). */
#ifndef BMD_EST_H
#define BMD_EST_H

#include "x509.h"

enum bmd_est_op { BMD_EST_CACERTS, BMD_EST_ENROL, BMD_EST_REENROL, BMD_EST_OPS };

#define BMD_EST_CERTS_MAX (BMD_CHAIN_MAX + BMD_ANCHORS_MAX)

/* "/.well-known/est/<label>/simpleenroll" with its end into ret; label "": none. */
BMD_MUST_USE enum bmd_rc bmd_est_path(enum bmd_est_op op, const char *label, char ret[BMD_HTTP_PATH_MAX]);

struct bmd_est_certs {
    struct bmd_rd certs[BMD_EST_CERTS_MAX];
    size_t n;
};
/* Certificates of a degenerate SignedData, borrowed. Signers, other content and BER lengths are refused. */
BMD_MUST_USE enum bmd_rc bmd_est_certs_read(struct bmd_rd cms, struct bmd_est_certs *ret);
/* Moves the certificate over `spki` to the front; BMD_NOT_FOUND when none is. */
BMD_MUST_USE enum bmd_rc bmd_est_own_first(struct bmd_est_certs *c, struct bmd_rd spki);

#endif
