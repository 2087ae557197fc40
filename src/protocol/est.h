/* Enrolment over Secure Transport: RFC 7030 with RFC 8951. Labels are service names (RFC 7030 section 3.2.2): each may have a
 * profile and a CA of its own. */
#ifndef BM_PROTOCOL_EST_H
#define BM_PROTOCOL_EST_H

#include "protocol/operation.h"

/* What the view has for the request's label, or NULL. */
const struct bm_view_label *bm_est_find_label(const struct bm_request *q, const struct bm_view *v);
enum bm_rc bm_est_cacerts(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                          struct bm_error *e);
enum bm_rc bm_est_csrattrs(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                           struct bm_error *e);
/* RFC 7030 section 4.3: OPTIONAL, and not here. */
enum bm_rc bm_est_fullcmc(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                          struct bm_error *e);
enum bm_rc bm_est_enroll(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
enum bm_rc bm_est_reenroll(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
/* Text; 202 for what waits for approval. The second: a 401 says that a one-time code would do (RFC 7030 section 3.2.3). */
void bm_est_refuse_renewal(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r);
void bm_est_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r);
enum bm_rc bm_est_keygen(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
enum bm_rc bm_est_key_and_certs(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                                struct bm_error *e);
enum bm_rc bm_est_certs(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                        struct bm_error *e);

#endif
