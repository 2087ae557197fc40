/* What the drivers share whose messages are protected by themselves (CMP, SCEP): our own key as registration authority, and who may speak for the
 * upstream CA. */
#ifndef BM_KEEPER_UPSTREAM_RA_H
#define BM_KEEPER_UPSTREAM_RA_H

#include "keeper/upstream.h"

enum { BM_UPSTREAM_RA_CERTS_MAX = 4 };

/* --client: our certificate, what goes with it, and its key. bm_upstream_ra_done() it. */
struct bm_upstream_ra {
    struct bm_key *key;
    size_t n;
    struct bm_buf der[BM_UPSTREAM_RA_CERTS_MAX]; /* ours first */
    struct bm_cert cert;                         /* borrows from der[0] */
};
void bm_upstream_ra_done(struct bm_upstream_ra *ra);
BM_MUST_USE enum bm_rc bm_upstream_ra_open(const struct bm_upstream *u, const struct bm_upstream_secret *s,
                                           struct bm_upstream_ra *ret, struct bm_error *e);

/* In place of --client, where any certificate will do: a new RSA key, and a certificate that it signs itself. PEM. */
BM_MUST_USE enum bm_rc bm_upstream_make_client(struct bm_buf *ret_cert, struct bm_buf *ret_key, struct bm_error *e);

/* Has --options this name with this value? */
bool bm_upstream_says(const struct bm_upstream *u, const char *option, const char *value);

/* May the holder of this certificate speak for the upstream CA? It leads to --trust at `now`, by way of `pool` (what came along), and is a CA's, or
 * says cmcCA or cmcRA (RFC 6402 section 2.10) or Microsoft's Certificate Request Agent, or is one of --trust itself, or option "fingerprint" names it.
 * Any other certificate below that root, a device's say, speaks for nobody. BM_DENIED "upstream-untrusted". */
BM_MUST_USE enum bm_rc bm_upstream_speaker_check(const struct bm_upstream *u, const struct bm_cert *cert, const struct bm_rd *pool,
                                                 size_t n, int64_t now, struct bm_error *e);
/* Option "fingerprint" is 64 hex digits, or is not there. BM_USAGE. */
BM_MUST_USE enum bm_rc bm_upstream_fingerprint_check(const struct bm_upstream *u, struct bm_error *e);

#endif
