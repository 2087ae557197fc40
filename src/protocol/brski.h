/* BRSKI over HTTP, RFC 8995 section 5: /.well-known/brski/..., and requestvoucher also under /.well-known/est/, where drafts had
 * it. */
#ifndef BM_PROTOCOL_BRSKI_H
#define BM_PROTOCOL_BRSKI_H

#include "pki/voucher.h"
#include "protocol/operation.h"

BM_MUST_USE enum bm_rc bm_brski_voucher_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_brski_audit_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_brski_status_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_brski_enrolled_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_brski_voucher_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer,
                                               struct bm_response *r, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_brski_audit_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer,
                                             struct bm_response *r, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_brski_told_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer,
                                            struct bm_response *r, struct bm_error *e);
void bm_brski_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r);

/* Section 5.6: BM_OK when a voucher fits the Accept field (RFC 9110 section 12.5.1), which may be empty; *ret: in which form, where the field leaves it open as
 * the request was `sent`.
 * "not-acceptable": other kinds of vouchers are wanted, which are not made here; "unsupported-media-type": nothing in it is known.
 * */
BM_MUST_USE enum bm_rc bm_brski_accept(struct bm_rd accept, enum bm_voucher_form sent, enum bm_voucher_form *ret,
                                       struct bm_error *e);

#endif
