/* What AWS's services have in common: JSON 1.1 over POST, signed (pki/sigv4.h), and errors that are named in the answer. */
#ifndef BM_KEEPER_UPSTREAM_AWS_H
#define BM_KEEPER_UPSTREAM_AWS_H

#include "keeper/cloud.h"

enum { BM_ARN_MAX = 400 };

/* The option's value, an ARN of this service ("acm-pca"), into arn[BM_ARN_MAX]. BM_USAGE. */
BM_MUST_USE enum bm_rc bm_aws_arn(const struct bm_upstream *u, const char *option, const char *service, char *arn,
                                  struct bm_error *e);
/* Login, the ARN that this option has to be, and an address without a path, as what is signed has none. BM_USAGE. */
BM_MUST_USE enum bm_rc bm_aws_check(const struct bm_upstream *u, const struct bm_upstream_secret *s, const char *option,
                                    const char *service, struct bm_error *e);
/* One call: target as in X-Amz-Target, of the service in the region that the ARN names. Takes body over. */
BM_MUST_USE enum bm_rc bm_aws_task(const struct bm_upstream_job *j, const char *arn, const char *target, json_t *body,
                                   struct bm_buf *ret_task, struct bm_error *e);
/* Does the answer name this error? */
bool bm_aws_error_is(const struct bm_task_answer *a, const char *name);
/* An answer other than 200: is it one that a later attempt mends? waits: what this call may answer besides, to be asked again; or NULL. */
BM_MUST_USE enum bm_rc bm_aws_no(const struct bm_upstream_job *j, const struct bm_task_answer *a, const char *waits,
                                 struct bm_upstream_got *ret, struct bm_error *e);

#endif
