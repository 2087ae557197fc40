/* ACME (RFC 8555, docs/acme.md) over HTTP. The signed requests are the keeper's to read. */
#ifndef BM_PROTOCOL_ACME_H
#define BM_PROTOCOL_ACME_H

#include "protocol/operation.h"

#define BM_ACME_ROOT "/acme/"
bool bm_acme_path(struct bm_rd path);

/* Of the header fields alone: Content-Type, section 6.2. */
enum bm_rc bm_acme_admit(const struct bm_request *q, struct bm_error *e);
enum bm_rc bm_acme_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
enum bm_rc bm_acme_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                          struct bm_error *e);
enum bm_rc bm_acme_directory(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                             struct bm_error *e);
/* /.well-known/acme-challenge/TOKEN, for an upstream CA that looks for us. */
enum bm_rc bm_acme_answer_challenge(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                                    struct bm_error *e);
void bm_acme_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r);

#endif
