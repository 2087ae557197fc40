/* SCEP over HTTP, RFC 8894 section 4. What is inside a message is the keeper's: docs/scep.md. */
#ifndef BM_PROTOCOL_SCEP_H
#define BM_PROTOCOL_SCEP_H

#include "protocol/operation.h"

enum bm_rc bm_scep_get_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
enum bm_rc bm_scep_post_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
enum bm_rc bm_scep_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                          struct bm_error *e);
void bm_scep_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r);

/* "operation=...&message=..." in any order; what else is there is passed over, as clients add things. operation: lent from the query; message:
 * decoded from %XX, "" when there is none. BM_MALFORMED. */
BM_MUST_USE enum bm_rc bm_scep_query(struct bm_rd query, struct bm_rd *ret_operation, struct bm_buf *ret_message,
                                     struct bm_error *e);

#endif
