/* Onboard, the native protocol: docs/onboard.md. */
#ifndef BM_PROTOCOL_ONBOARD_H
#define BM_PROTOCOL_ONBOARD_H

#include "protocol/operation.h"

#define BM_PREPARE(name) enum bm_rc name(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
#define BM_RENDER(name)                                                                                                            \
    enum bm_rc name(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,               \
                    struct bm_error *e)

BM_PREPARE(bm_onboard_challenge_prepare);
BM_PREPARE(bm_onboard_enrol_prepare);
BM_PREPARE(bm_onboard_status_prepare);
BM_RENDER(bm_onboard_challenge_render);
BM_RENDER(bm_onboard_enrol_render);
BM_RENDER(bm_onboard_status_render);
void bm_onboard_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r);

#endif
