/* CMP over HTTP, RFC 9811: docs/cmp.md. The message goes to the keeper as it came, as it is protected itself; so it needs no TLS. */
#ifndef BM_PROTOCOL_CMP_H
#define BM_PROTOCOL_CMP_H

#include "protocol/operation.h"

enum bm_rc bm_cmp_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
enum bm_rc bm_cmp_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                         struct bm_error *e);
/* What is refused before a message can be signed: text, with an HTTP status (RFC 9811 section 3.4). */
void bm_cmp_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r);

/* What stands behind "/.well-known/cmp/": an operation, "p/" and a label, or both (RFC 9811 section 3.3). Any part may be empty. False: another
 * path. */
BM_MUST_USE bool bm_cmp_path_split(struct bm_rd rest, struct bm_rd *ret_label, struct bm_rd *ret_operation);

#endif
