/* Trust bundles over HTTP: docs/trust.md. */
#ifndef BM_PROTOCOL_TRUST_H
#define BM_PROTOCOL_TRUST_H

#include "protocol/operation.h"

enum bm_rc bm_trust_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
enum bm_rc bm_trust_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                           struct bm_error *e);

#endif
