/* What is revoked here is revoked at the upstream CA that has given it, so that those who ask that one hear of it too. docs/upstream.md, "Revocation".
 *
 *   revoked here -> waiting --errand--> asked -> done            (rows of upstream_revocation, store/upstream.h)
 *              \                             \-> failed: no, for good, or no answer for as long as an errand lives; "cert revoke" once more asks again
 *               \-> unable: the driver has no word for it, or --options revoke=no
 *
 * The row is written in the transaction that revokes, and never refused for want of room: it becomes an errand when fewer than
 * BM_UPSTREAM_REVOKE_AT_ONCE of its CA are under way. Each end of it is a leaf of the audit log, "upstream.revocation". */
#ifndef BM_KEEPER_UPSTREAM_REVOKE_H
#define BM_KEEPER_UPSTREAM_REVOKE_H

#include "keeper/upstream.h"

#define BM_UPSTREAM_REVOKE_ERRAND "upstream-revoke"
enum { BM_UPSTREAM_REVOKE_AT_ONCE = 8 };
extern const struct bm_errand_kind bm_errand_upstream_revoke;

/* This credential has just been revoked here. Nothing happens when no upstream CA has given it. */
BM_MUST_USE enum bm_rc bm_upstream_revoked(struct bm_keeper *k, int64_t credential_id, int64_t now, struct bm_error *e);
/* Once more, after it has failed, or could not be, or was never tried. BM_CONFLICT: there is nothing to be asked again. */
BM_MUST_USE enum bm_rc bm_upstream_revoke_again(struct bm_keeper *k, int64_t credential_id, int64_t now, struct bm_error *e);
/* Adds "upstream" and "upstream_what" to an answer, when an upstream CA has given the credential. */
BM_MUST_USE enum bm_rc bm_upstream_revocation_tell(struct bm_keeper *k, int64_t credential_id, json_t *out, struct bm_error *e);

/* A reason as CMP and ACME take it for the certificate of a device: 0 in place of those that say nothing of the device itself. */
int bm_upstream_reason(int reason);

#endif
