#include "keeper/upstream_aws.h"

#include "pki/sigv4.h"

#include <stdlib.h>

static struct bm_rd arn_part(const char *arn, size_t number)
{
    struct bm_rd r = bm_rd_str(arn), part = { 0 };

    for (size_t i = 0; i <= number; i++)
        part = bm_rd_cut(&r, ':');
    return part;
}

/* arn:PARTITION:SERVICE:REGION:ACCOUNT:WHAT */
enum bm_rc bm_aws_arn(const struct bm_upstream *u, const char *option, const char *service, char *arn, struct bm_error *e)
{
    if (!bm_cloud_option(u, option, arn, BM_ARN_MAX))
        return bm_fail(e, BM_USAGE, "--options: wants %s=arn:aws:%s:REGION:ACCOUNT:...", option, service);
    if (!bm_rd_eq(arn_part(arn, 0), bm_rd_str("arn")) || !bm_rd_eq(arn_part(arn, 2), bm_rd_str(service)) ||
        arn_part(arn, 3).n == 0 || arn_part(arn, 5).n == 0)
        return bm_fail(e, BM_USAGE, "--options: %s is no ARN of %s: arn:aws:%s:REGION:ACCOUNT:...", option, service, service);
    return BM_OK;
}

enum bm_rc bm_aws_check(const struct bm_upstream *u, const struct bm_upstream_secret *s, const char *option, const char *service,
                        struct bm_error *e)
{
    char arn[BM_ARN_MAX];

    if (strlen(u->url) != strlen("https://") + bm_cloud_host(u->url).n)
        return bm_fail(e, BM_USAGE, "--url: https://%s.REGION.amazonaws.com, without a path", service);
    if (bm_cloud_want_login(s, "ACCESS-KEY-ID:SECRET-ACCESS-KEY", e) != BM_OK)
        return BM_USAGE;
    return bm_aws_arn(u, option, service, arn, e);
}

static void put_field(struct bm_task *t, const char *name, struct bm_rd value)
{
    t->fields[t->n_fields++] = (struct bm_task_field){ bm_rd_str(name), value };
}

static enum bm_rc write_task(const struct bm_upstream_job *j, const char *arn, const char *target, struct bm_rd body,
                             struct bm_buf *ret_task, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf authorization = { .max = BM_TASK_TEXT_MAX };
    char date[BM_SIGV4_DATE_LEN];
    struct bm_rd type = bm_rd_str("application/x-amz-json-1.1"), host = bm_cloud_host(j->u->url);
    struct bm_sigv4 s = { .region = arn_part(arn, 3), .service = arn_part(arn, 2), .at = j->now, .body = body };
    struct bm_task t = { .kind = BM_TASK_HTTP, .timeout_ms = BM_CLOUD_TIMEOUT_MS, .answer_max = BM_TASK_ANSWER_MAX };
    enum bm_rc rc;

    bm_cloud_login(j->s, &s.access, &s.secret);
    s.fields[s.n++] = (struct bm_sigv4_field){ "content-type", type };
    s.fields[s.n++] = (struct bm_sigv4_field){ "host", host };
    s.fields[s.n++] = (struct bm_sigv4_field){ "x-amz-date", bm_rd_str(bm_sigv4_date(j->now, date)) };
    s.fields[s.n++] = (struct bm_sigv4_field){ "x-amz-target", bm_rd_str(target) };
    rc = bm_sigv4_sign(&s, &authorization, e);
    for (size_t i = 0; i < s.n; i++)
        put_field(&t, s.fields[i].name, s.fields[i].value);
    put_field(&t, "authorization", bm_buf_rd(&authorization));
    t.method = bm_rd_str("POST");
    t.url = bm_rd_str(j->u->url);
    t.trust = bm_buf_rd(&j->u->trust);
    t.body = body;
    if (rc == BM_OK)
        bm_task_write(ret_task, &t);
    return rc;
}

enum bm_rc bm_aws_task(const struct bm_upstream_job *j, const char *arn, const char *target, json_t *body, struct bm_buf *ret_task,
                       struct bm_error *e)
{
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    enum bm_rc rc = text != NULL ? write_task(j, arn, target, bm_rd_str(text), ret_task, e) : bm_fail(e, BM_NOMEM, "no memory");

    json_decref(body);
    free(text);
    return rc;
}

/* "com.amazonaws.acmpca#RequestInProgressException": what stands behind the sharp. */
static const char *name_of(const json_t *answer)
{
    const char *type = bm_cloud_text(answer, "__type"), *sharp = type != NULL ? strrchr(type, '#') : NULL;

    return sharp != NULL ? sharp + 1 : type;
}

bool bm_aws_error_is(const struct bm_task_answer *a, const char *name)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *answer = bm_cloud_json(a->body);
    const char *is = name_of(answer);

    return is != NULL && strcmp(is, name) == 0;
}

/* Of all services; others are for good. A quota that is used up is somebody's to raise. */
static bool is_later(const char *name)
{
    static const char *const names[] = { "ThrottlingException",
                                         "TooManyRequestsException",
                                         "RequestLimitExceeded",
                                         "LimitExceededException",
                                         "ConcurrentModificationException",
                                         "ServiceUnavailable",
                                         "ServiceUnavailableException",
                                         "InternalFailure",
                                         "KMSInternalException",
                                         "DependencyTimeoutException",
                                         "KeyUnavailableException" };

    for (size_t i = 0; i < BM_COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

enum bm_rc bm_aws_no(const struct bm_upstream_job *j, const struct bm_task_answer *a, const char *waits,
                     struct bm_upstream_got *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *answer = bm_cloud_json(a->body);
    const char *name = name_of(answer), *words = bm_cloud_words(answer, "message");
    bool waiting = name != NULL && waits != NULL && strcmp(name, waits) == 0;

    if (words == NULL)
        words = bm_cloud_words(answer, "Message");
    if (waiting)
        ret->wait_s = BM_CLOUD_NAP_S;
    return bm_cloud_no(j, a, waiting || bm_cloud_is_later(a->status) || (name != NULL && is_later(name)), name, words, ret, e);
}
