/* An upstream CA in AWS Private Certificate Authority: IssueCertificate, then GetCertificate until it is there. */
#include "keeper/upstream_aws.h"

#include "base/text.h"

#include <openssl/rand.h>
#include <stdio.h>

#define SERVICE "acm-pca"

static const char *const options[] = { "ca", "template", "days", "revoke", NULL };

static enum bm_rc days_of(const struct bm_upstream *u, int64_t *ret, struct bm_error *e)
{
    char text[16];

    *ret = 0;
    if (!bm_cloud_option(u, "days", text, sizeof text))
        return BM_OK;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || p - text > 5)
            return bm_fail(e, BM_USAGE, "--options: days is a number");
        *ret = *ret * 10 + (*p - '0');
    }
    return *ret != 0 ? BM_OK : bm_fail(e, BM_USAGE, "--options: days is a number, 1 or more");
}

static enum bm_rc awspca_check(const struct bm_upstream *u, const struct bm_upstream_secret *s, struct bm_error *e)
{
    int64_t days;
    enum bm_rc rc = bm_aws_check(u, s, "ca", SERVICE, e);

    if (rc == BM_OK)
        rc = bm_upstream_revoke_check(u, e);
    return rc == BM_OK ? days_of(u, &days, e) : rc;
}

/* --- what is asked for, worked out while the order is at hand ---------------------------------------------------------------------- */
static const char *algorithm_of(const struct bm_cert *ca)
{
    static const char *const known[][2] = {
        { "P-256", "SHA256WITHECDSA" },
        { "P-384", "SHA384WITHECDSA" },
        { "P-521", "SHA512WITHECDSA" },
        { "RSA", "SHA256WITHRSA" },
    };
    struct bm_spki k;

    if (bm_spki_parse(ca->spki, &k, NULL) != BM_OK)
        return NULL;
    for (size_t i = 0; i < BM_COUNT(known); i++)
        if (strcmp(known[i][0], k.alg) == 0)
            return known[i][1];
    return NULL;
}

/* The earliest of what the profile, the CA's certificate and a rental allow. */
static int64_t until(const struct bm_plan *p, const struct bm_order *o, int64_t now)
{
    int64_t validity = bm_profile_validity_s(o->profile), ca = o->issuer->cert.not_after;
    int64_t at = validity > INT64_MAX - now ? INT64_MAX : now + validity;

    at = at > p->not_after_max ? p->not_after_max : at;
    return at > ca ? ca : at;
}

/* The token is the request's: whatever of this errand is repeated gives the same certificate. Unlike the device's signature it is never the same in
 * two requests. */
static enum bm_rc awspca_start(struct bm_keeper *k, const struct bm_plan *p, const struct bm_order *o, struct bm_buf *ret_state,
                               struct bm_error *e)
{
    const char *algorithm = algorithm_of(&o->issuer->cert);
    uint8_t random[16];
    char token[33];
    int64_t now;
    enum bm_rc rc = bm_keeper_now(k, &now, e);

    if (rc != BM_OK)
        return rc;
    if (algorithm == NULL)
        return bm_fail(e, BM_USAGE, "AWS Private CA signs with EC and RSA keys, and the CA in --chain has another");
    if (RAND_bytes(random, sizeof random) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    bm_hex(random, sizeof random, token);
    bm_buf_printf(ret_state, "{\"token\":\"%s\",\"algorithm\":\"%s\",\"until\":%lld}", token, algorithm,
                  (long long)until(p, o, now));
    return bm_buf_check(ret_state, e);
}

/* --- the two calls ------------------------------------------------------------------------------------------------------------------ */
static json_t *validity_of(const struct bm_upstream_job *j, const json_t *state)
{
    int64_t days = 0, at = json_integer_value(json_object_get(state, "until"));

    if (days_of(j->u, &days, NULL) == BM_OK && days != 0 && j->now + days * 86400 < at)
        at = j->now + days * 86400;
    return json_pack("{s:s, s:I}", "Type", "ABSOLUTE", "Value", (json_int_t)at);
}

/* A blob is base64 of its bytes, and these bytes are PEM. */
static json_t *blob_of(struct bm_rd csr)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 2 * BM_CSR_MAX + 256 }, text = { .max = 4 * BM_CSR_MAX };

    bm_pem_write(&pem, "CERTIFICATE REQUEST", csr);
    bm_base64(&text, bm_buf_rd(&pem), 0);
    return pem.bad || text.bad ? NULL : json_stringn((const char *)text.p, text.n);
}

static json_t *issue_of(const struct bm_upstream_job *j, const json_t *state, const char *ca)
{
    char template[BM_ARN_MAX];
    json_t *body = json_pack("{s:s, s:o, s:s, s:o, s:s}", "CertificateAuthorityArn", ca, "Csr", blob_of(j->csr), "SigningAlgorithm",
                             bm_cloud_text(state, "algorithm"), "Validity", validity_of(j, state), "IdempotencyToken",
                             bm_cloud_text(state, "token"));

    if (body != NULL && bm_cloud_option(j->u, "template", template, sizeof template))
        json_object_set_new(body, "TemplateArn", json_string(template));
    return body;
}

static enum bm_rc awspca_task(const struct bm_upstream_job *j, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *state = bm_cloud_json(j->state);
    const char *arn = bm_cloud_text(state, "arn");
    char ca[BM_ARN_MAX];
    enum bm_rc rc = bm_aws_arn(j->u, "ca", SERVICE, ca, e);

    if (rc != BM_OK)
        return rc;
    if (arn == NULL)
        return bm_aws_task(j, ca, "ACMPrivateCA.IssueCertificate", issue_of(j, state, ca), ret, e);
    return bm_aws_task(j, ca, "ACMPrivateCA.GetCertificate",
                       json_pack("{s:s, s:s}", "CertificateArn", arn, "CertificateAuthorityArn", ca), ret, e);
}

/* It is somewhere below the CA, or the answer is another's. */
static enum bm_rc take_arn(const struct bm_upstream_job *j, json_t *state, const json_t *answer, struct bm_upstream_got *ret,
                           struct bm_error *e)
{
    const char *arn = bm_cloud_text(answer, "CertificateArn");
    char ca[BM_ARN_MAX];
    enum bm_rc rc = bm_aws_arn(j->u, "ca", SERVICE, ca, e);

    if (rc != BM_OK)
        return rc;
    if (arn == NULL || strlen(arn) >= BM_ARN_MAX || strncmp(arn, ca, strlen(ca)) != 0)
        return bm_cloud_garbage("it names no certificate of the CA that was asked", e);
    json_object_set_new(state, "arn", json_string(arn));
    return bm_cloud_next(state, ret, e);
}

static enum bm_rc awspca_read(const struct bm_upstream_job *j, const struct bm_task_answer *a, struct bm_upstream_got *ret,
                              struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *state = bm_cloud_json(j->state), *answer = NULL;
    bool asked = bm_cloud_text(state, "arn") != NULL;
    const json_t *pem;

    if (a->status != 200)
        return bm_aws_no(j, a, asked ? "RequestInProgressException" : NULL, ret, e);
    answer = bm_cloud_json(a->body);
    if (state == NULL || answer == NULL)
        return bm_cloud_garbage("it is no JSON object", e);
    if (!asked)
        return take_arn(j, state, answer, ret, e);
    pem = json_object_get(answer, "Certificate");
    return json_is_string(pem) ? bm_cloud_pem(bm_rd_of(json_string_value(pem), json_string_length(pem)), ret, e)
                               : bm_cloud_garbage("it holds no certificate", e);
}

/* --- RevokeCertificate -------------------------------------------------------------------------------------------------------------- */
/* RFC 5280 section 5.3.1 in AWS's words, which has none for a hold. */
static const char *reason_of(int reason)
{
    static const char *const names[] = {
        [1] = "KEY_COMPROMISE", [2] = "CERTIFICATE_AUTHORITY_COMPROMISE", [3] = "AFFILIATION_CHANGED",
        [4] = "SUPERSEDED",     [5] = "CESSATION_OF_OPERATION",           [9] = "PRIVILEGE_WITHDRAWN",
        [10] = "A_A_COMPROMISE"
    };
    size_t at = reason > 0 ? (size_t)reason : 0;

    return at < BM_COUNT(names) && names[at] != NULL ? names[at] : "UNSPECIFIED";
}

/* "0a:1b:...", as openssl and AWS's own tools show it: without the byte that is there for the sign. */
static void put_serial(struct bm_buf *out, struct bm_rd serial)
{
    struct bm_rd sign;

    if (serial.n > 1 && serial.p[0] == 0)
        (void)!bm_rd_take(&serial, 1, &sign);
    for (size_t i = 0; i < serial.n; i++)
        bm_buf_printf(out, "%s%02x", i != 0 ? ":" : "", serial.p[i]);
}

static enum bm_rc awspca_revoke_task(const struct bm_upstream_job *j, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf serial = { .max = 128 };
    struct bm_cert cert;
    char ca[BM_ARN_MAX];
    enum bm_rc rc = bm_aws_arn(j->u, "ca", SERVICE, ca, e);

    if (rc == BM_OK)
        rc = bm_cert_parse(j->cert, &cert, e);
    if (rc != BM_OK)
        return rc;
    put_serial(&serial, cert.serial);
    rc = bm_buf_check(&serial, e);
    if (rc != BM_OK)
        return rc;
    return bm_aws_task(j, ca, "ACMPrivateCA.RevokeCertificate",
                       json_pack("{s:s, s:s%, s:s}", "CertificateAuthorityArn", ca, "CertificateSerial", (const char *)serial.p,
                                 serial.n, "RevocationReason", reason_of(j->reason)),
                       ret, e);
}

static enum bm_rc awspca_revoke_read(const struct bm_upstream_job *j, const struct bm_task_answer *a, struct bm_upstream_got *ret,
                                     struct bm_error *e)
{
    if (a->status == 200 || bm_aws_error_is(a, "RequestAlreadyProcessedException"))
        return BM_OK;
    return bm_aws_no(j, a, "RequestInProgressException", ret, e);
}

static const struct bm_upstream_revoking revoking = { NULL, awspca_revoke_task, awspca_revoke_read };

const struct bm_upstream_driver bm_upstream_awspca = {
    .name = "aws-pca",
    .url_form = "https://acm-pca.REGION.amazonaws.com",
    .system_trust = true,
    .options = options,
    .check = awspca_check,
    .start = awspca_start,
    .task = awspca_task,
    .read = awspca_read,
    .revoking = &revoking,
};
