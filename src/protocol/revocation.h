/* CRLs and OCSP over HTTP: docs/revocation.md. */
#ifndef BM_PROTOCOL_REVOCATION_H
#define BM_PROTOCOL_REVOCATION_H

#include "protocol/operation.h"

enum bm_rc bm_crl_full_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
enum bm_rc bm_crl_delta_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
/* A signed thing that changes seldom, with its tag and its dates, or 304. */
enum bm_rc bm_dated_render(struct bm_rd answer, const char *content_type, struct bm_response *r, struct bm_error *e);
enum bm_rc bm_crl_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                         struct bm_error *e);

enum bm_rc bm_ocsp_post_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
enum bm_rc bm_ocsp_get_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
enum bm_rc bm_ocsp_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                          struct bm_error *e);
/* A refusal as OCSP has it: an OCSPResponse with an error status, and HTTP 200. */
void bm_ocsp_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r);

/* What stands in the path of a GET (RFC 6960 appendix A.1): base64, percent-encoded or not, with or without padding, in either alphabet. */
BM_MUST_USE enum bm_rc bm_ocsp_path_decode(struct bm_rd text, struct bm_buf *ret_der, struct bm_error *e);

#endif
