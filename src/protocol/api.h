/* The Admin API: the administrator's acts as routes under /api/v1/ (docs/api.md). One table of routes; members, their kinds and who may do
 * it come from the table of acts (keeper/admin.h). A worker turns the request into JSON and hands it to the keeper with the token it came
 * with, unread: what the token is good for, the keeper finds out. Pure. */
#ifndef BM_PROTOCOL_API_H
#define BM_PROTOCOL_API_H

#include "protocol/operation.h"

#include <jansson.h>

#define BM_API_ROOT "/api/v1/"

struct bm_api_route {
    struct bm_operation op; /* its path has a `*` where `param` stands */
    const char *act;        /* of bm_admin_ops[] */
    const char *param;      /* member that the path names; NULL: none */
    const char *blob;       /* media type of a body that goes to the keeper as it is; NULL: the body, if any, is JSON members */
    const char *summary;    /* one line */
};
extern const struct bm_api_route bm_api_routes[]; /* NULL act ends it */
/* Acts that have no route, on purpose; NULL ends it. */
extern const char *const bm_api_local_only[];
extern const struct bm_operation bm_api_description; /* GET openapi.json */

/* The row for path and method, with q->label set; NULL and *ret_known as bm_operation_find(). */
const struct bm_operation *bm_api_find(struct bm_request *q, bool *ret_known);
bool bm_api_path(struct bm_rd path); /* below BM_API_ROOT */

/* Functions of the rows. */
BM_MUST_USE enum bm_rc bm_api_admit(const struct bm_request *q, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_api_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_api_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer,
                                     struct bm_response *r, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_api_description_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer,
                                                 struct bm_response *r, struct bm_error *e);
/* RFC 9457. */
void bm_api_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r);

/* The token of an Authorization field (RFC 6750 section 2.1). BM_DENIED "token-missing" or "token-invalid". */
BM_MUST_USE enum bm_rc bm_api_token(struct bm_rd authorization, struct bm_rd *ret, struct bm_error *e);
/* Sets a member of `to` from text by the member's kind (keeper/admin.h). BM_USAGE. */
BM_MUST_USE enum bm_rc bm_api_set(json_t *to, const char *member, struct bm_rd text, struct bm_error *e);
/* The members of a query string; percent-encoding undone, nothing twice. BM_MALFORMED, BM_USAGE. */
BM_MUST_USE enum bm_rc bm_api_query(json_t *to, struct bm_rd query, struct bm_error *e);
/* The OpenAPI 3.1 description: a new reference, or NULL. */
json_t *bm_api_openapi(void);

#endif
