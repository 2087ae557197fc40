/* A CA whose key is in AWS Key Management Service: we write the certificate, Sign signs its digest. */
#include "keeper/upstream_aws.h"

#include "base/text.h"

#define SERVICE "kms"

static const char *const options[] = { "key", NULL };

static enum bm_rc awskms_check(const struct bm_upstream *u, const struct bm_upstream_secret *s, struct bm_error *e)
{
    return bm_aws_check(u, s, "key", SERVICE, e);
}

static enum bm_rc awskms_task(const struct bm_upstream_job *j, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf digest = { .max = 128 };
    struct bm_cloud_signing how;
    struct bm_cloud_body body;
    char arn[BM_ARN_MAX];
    enum bm_rc rc = bm_aws_arn(j->u, "key", SERVICE, arn, e);

    if (rc == BM_OK)
        rc = bm_cloud_body_read(j->state, &body, e);
    if (rc == BM_OK)
        rc = bm_cloud_signing_of(&body, &how, e);
    if (rc != BM_OK)
        return rc;
    bm_base64(&digest, bm_rd_of(how.digest, how.digest_len), 0);
    return bm_aws_task(j, arn, "TrentService.Sign",
                       json_pack("{s:s, s:s%, s:s, s:s}", "KeyId", arn, "Message", (const char *)digest.p, digest.n, "MessageType",
                                 "DIGEST", "SigningAlgorithm", how.kms),
                       ret, e);
}

static enum bm_rc awskms_read(const struct bm_upstream_job *j, const struct bm_task_answer *a, struct bm_upstream_got *ret,
                              struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *answer = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf sig = { .max = BM_SIGNATURE_MAX };
    struct bm_cloud_body body;
    const char *text;
    enum bm_rc rc;

    if (a->status != 200)
        return bm_aws_no(j, a, NULL, ret, e);
    answer = bm_cloud_json(a->body);
    text = bm_cloud_text(answer, "Signature");
    if (text == NULL || bm_unbase64(bm_rd_str(text), &sig, NULL) != BM_OK)
        return bm_cloud_garbage("it holds no signature", e);
    rc = bm_cloud_body_read(j->state, &body, e);
    return rc == BM_OK ? bm_cloud_signed(&body, bm_buf_rd(&sig), BM_SIGNATURE_DER, ret, e) : rc;
}

const struct bm_upstream_driver bm_upstream_awskms = {
    .name = "aws-kms",
    .url_form = "https://kms.REGION.amazonaws.com",
    .system_trust = true,
    .options = options,
    .check = awskms_check,
    .start = bm_cloud_body_make,
    .task = awskms_task,
    .read = awskms_read,
    .unrevoked = "no CRL is signed with a key in AWS KMS: nobody but this registry knows of it",
};
