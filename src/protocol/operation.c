#include "protocol/operation.h"

#include "base/metrics.h"
#include "protocol/acme.h"
#include "protocol/api.h"
#include "protocol/cmp.h"
#include "protocol/brski.h"
#include "protocol/est.h"
#include "protocol/form.h"
#include "protocol/onboard.h"
#include "protocol/revocation.h"
#include "protocol/trust.h"
#include "protocol/scep.h"

#include <strings.h>

/* What a row does not name is zero, and that is the point. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define EST "/.well-known/est/"
#define LABELLED "/.well-known/est/*/"
#define BRSKI "/.well-known/brski/"
#define BRSKI_STATUS 4096 /* what a device tells */
#define EST_BODY (BM_CSR_MAX * 2)
#define PKICLIENT "/cgi-bin/pkiclient.exe" /* what SCEP clients ask for when they are told a host alone */
#define ACME_GET(name, path, command, prepare, render)                                                                             \
    {                                                                                                                              \
        name, "acme", BM_GET, BM_ACME_ROOT path, 0, false, command, prepare, render, bm_acme_refuse                                \
    }
#define ACME_POST(name, path)                                                                                                      \
    {                                                                                                                              \
        name, "acme", BM_POST, BM_ACME_ROOT path, BM_HTTP_BODY_MAX, false, BM_CMD_ACME, bm_acme_prepare, bm_acme_render,           \
            bm_acme_refuse, .admit = bm_acme_admit                                                                                 \
    }

const struct bm_operation bm_operations[] = {
    { "est-cacerts", "est", BM_GET, EST "cacerts", 0, false, 0, NULL, bm_est_cacerts, bm_refuse_text },
    { "est-cacerts", "est", BM_GET, LABELLED "cacerts", 0, false, 0, NULL, bm_est_cacerts, bm_refuse_text },
    { "est-csrattrs", "est", BM_GET, EST "csrattrs", 0, false, 0, NULL, bm_est_csrattrs, bm_refuse_text },
    { "est-csrattrs", "est", BM_GET, LABELLED "csrattrs", 0, false, 0, NULL, bm_est_csrattrs, bm_refuse_text },
    { "est-simpleenroll", "est", BM_POST, EST "simpleenroll", EST_BODY, true, BM_CMD_ENROL, bm_est_enroll, bm_est_certs,
      bm_est_refuse },
    { "est-simpleenroll", "est", BM_POST, LABELLED "simpleenroll", EST_BODY, true, BM_CMD_ENROL, bm_est_enroll, bm_est_certs,
      bm_est_refuse },
    { "est-fullcmc", "est", BM_POST, EST "fullcmc", EST_BODY, false, 0, NULL, bm_est_fullcmc, bm_refuse_text },
    { "est-fullcmc", "est", BM_POST, LABELLED "fullcmc", EST_BODY, false, 0, NULL, bm_est_fullcmc, bm_refuse_text },
    { "est-serverkeygen", "est", BM_POST, EST "serverkeygen", EST_BODY, true, BM_CMD_ENROL, bm_est_keygen, bm_est_key_and_certs,
      bm_est_refuse },
    { "est-serverkeygen", "est", BM_POST, LABELLED "serverkeygen", EST_BODY, true, BM_CMD_ENROL, bm_est_keygen,
      bm_est_key_and_certs, bm_est_refuse },
    { "est-simplereenroll", "est", BM_POST, EST "simplereenroll", EST_BODY, true, BM_CMD_ENROL, bm_est_reenroll, bm_est_certs,
      bm_est_refuse_renewal },
    { "est-simplereenroll", "est", BM_POST, LABELLED "simplereenroll", EST_BODY, true, BM_CMD_ENROL, bm_est_reenroll, bm_est_certs,
      bm_est_refuse_renewal },
    { "brski-requestvoucher", "brski", BM_POST, BRSKI "requestvoucher", BM_VOUCHER_REQUEST_MAX, false, BM_CMD_BRSKI,
      bm_brski_voucher_prepare, bm_brski_voucher_render, bm_brski_refuse },
    { "brski-requestvoucher", "brski", BM_POST, EST "requestvoucher", BM_VOUCHER_REQUEST_MAX, false, BM_CMD_BRSKI,
      bm_brski_voucher_prepare, bm_brski_voucher_render, bm_brski_refuse },
    { "brski-requestauditlog", "brski", BM_POST, BRSKI "requestauditlog", BM_VOUCHER_REQUEST_MAX, false, BM_CMD_BRSKI,
      bm_brski_audit_prepare, bm_brski_audit_render, bm_brski_refuse },
    { "brski-voucher-status", "brski", BM_POST, BRSKI "voucher_status", BRSKI_STATUS, true, BM_CMD_BRSKI, bm_brski_status_prepare,
      bm_brski_told_render, bm_brski_refuse },
    { "brski-enrollstatus", "brski", BM_POST, BRSKI "enrollstatus", BRSKI_STATUS, true, BM_CMD_BRSKI, bm_brski_enrolled_prepare,
      bm_brski_told_render, bm_brski_refuse },
    { "onboard-challenge", "onboard", BM_POST, "/onboard/v1/challenge", 1024, false, BM_CMD_CHALLENGE, bm_onboard_challenge_prepare,
      bm_onboard_challenge_render, bm_onboard_refuse },
    { "onboard-enrol", "onboard", BM_POST, "/onboard/v1/enrol", BM_HTTP_BODY_MAX, false, BM_CMD_ENROL, bm_onboard_enrol_prepare,
      bm_onboard_enrol_render, bm_onboard_refuse },
    { "onboard-status", "onboard", BM_POST, "/onboard/v1/status", BM_HTTP_BODY_MAX, false, BM_CMD_STATUS, bm_onboard_status_prepare,
      bm_onboard_status_render, bm_onboard_refuse },
    { "cmp", "cmp", BM_POST, "/.well-known/cmp", BM_HTTP_BODY_MAX, false, BM_CMD_CMP, bm_cmp_prepare, bm_cmp_render, bm_cmp_refuse,
      .public_http = true },
    { "cmp", "cmp", BM_POST, "/.well-known/cmp/**", BM_HTTP_BODY_MAX, false, BM_CMD_CMP, bm_cmp_prepare, bm_cmp_render,
      bm_cmp_refuse, .public_http = true },
    { "cmp", "cmp", BM_POST, "/cmp", BM_HTTP_BODY_MAX, false, BM_CMD_CMP, bm_cmp_prepare, bm_cmp_render, bm_cmp_refuse,
      .public_http = true },
    { "trust", "trust", BM_GET, "/trust/*.jws", 0, false, BM_CMD_TRUST, bm_trust_prepare, bm_trust_render, bm_refuse_text,
      .public_http = true },
    { "crl-delta", "crl", BM_GET, "/crl/*-delta.crl", 0, false, BM_CMD_CRL, bm_crl_delta_prepare, bm_crl_render, bm_refuse_text,
      .public_http = true },
    { "crl", "crl", BM_GET, "/crl/*.crl", 0, false, BM_CMD_CRL, bm_crl_full_prepare, bm_crl_render, bm_refuse_text,
      .public_http = true },
    { "ocsp-post", "ocsp", BM_POST, "/ocsp", BM_OCSP_REQUEST_MAX, false, BM_CMD_OCSP, bm_ocsp_post_prepare, bm_ocsp_render,
      bm_ocsp_refuse, .public_http = true },
    { "ocsp-post", "ocsp", BM_POST, "/ocsp/", BM_OCSP_REQUEST_MAX, false, BM_CMD_OCSP, bm_ocsp_post_prepare, bm_ocsp_render,
      bm_ocsp_refuse, .public_http = true },
    { "ocsp-get", "ocsp", BM_GET, "/ocsp/**", 0, false, BM_CMD_OCSP, bm_ocsp_get_prepare, bm_ocsp_render, bm_ocsp_refuse,
      .public_http = true },
    { "scep-get", "scep", BM_GET, "/scep", 0, false, BM_CMD_SCEP, bm_scep_get_prepare, bm_scep_render, bm_scep_refuse,
      .public_http = true },
    { "scep-get", "scep", BM_GET, "/scep/**", 0, false, BM_CMD_SCEP, bm_scep_get_prepare, bm_scep_render, bm_scep_refuse,
      .public_http = true },
    { "scep-get", "scep", BM_GET, PKICLIENT, 0, false, BM_CMD_SCEP, bm_scep_get_prepare, bm_scep_render, bm_scep_refuse,
      .public_http = true },
    { "scep-post", "scep", BM_POST, "/scep", BM_SCEP_MESSAGE_MAX, false, BM_CMD_SCEP, bm_scep_post_prepare, bm_scep_render,
      bm_scep_refuse, .public_http = true },
    { "scep-post", "scep", BM_POST, "/scep/**", BM_SCEP_MESSAGE_MAX, false, BM_CMD_SCEP, bm_scep_post_prepare, bm_scep_render,
      bm_scep_refuse, .public_http = true },
    { "scep-post", "scep", BM_POST, PKICLIENT, BM_SCEP_MESSAGE_MAX, false, BM_CMD_SCEP, bm_scep_post_prepare, bm_scep_render,
      bm_scep_refuse, .public_http = true },
    ACME_GET("acme-directory", "directory", 0, NULL, bm_acme_directory),
    ACME_GET("acme-directory", "*/directory", 0, NULL, bm_acme_directory),
    ACME_GET("acme-new-nonce", "new-nonce", BM_CMD_ACME, bm_acme_prepare, bm_acme_render),
    ACME_GET("acme-renewal-info", "renewal-info/*", BM_CMD_ACME, bm_acme_prepare, bm_acme_render),
    ACME_POST("acme-new-account", "new-account"),
    ACME_POST("acme-new-order", "new-order"),
    ACME_POST("acme-new-order", "*/new-order"),
    ACME_POST("acme-account", "acct/*"),
    ACME_POST("acme-orders", "acct/*/orders"),
    ACME_POST("acme-order", "order/*"),
    ACME_POST("acme-finalize", "order/*/finalize"),
    ACME_POST("acme-authorization", "authz/*"),
    ACME_POST("acme-challenge", "chall/*"),
    ACME_POST("acme-certificate", "cert/*"),
    ACME_POST("acme-revoke", "revoke-cert"),
    ACME_POST("acme-key-change", "key-change"),
    { "acme-answer", "acme", BM_GET, "/.well-known/acme-challenge/*", 0, false, 0, NULL, bm_acme_answer_challenge, bm_refuse_text,
      .public_http = true },
    { NULL, NULL, BM_GET, NULL, 0, false, 0, NULL, NULL, NULL },
};
_Static_assert(BM_COUNT(bm_operations) <= BM_METRIC_HTTP_OPERATIONS_MAX,
               "each may have a name of its own in the metrics; raise the bound there");

/* Segment by segment; `*` takes what is left of one and not empty, `**` at the end all that is left. */
bool bm_operation_path_fits(const char *pattern, struct bm_rd path, struct bm_rd *ret_label)
{
    const char *star = strchr(pattern, '*');
    bool rest = star != NULL && star[1] == '*';
    size_t front = star != NULL ? (size_t)(star - pattern) : strlen(pattern), back = star != NULL && !rest ? strlen(star + 1) : 0;
    struct bm_rd label;

    if (path.n < front + back || memcmp(path.p, pattern, front) != 0)
        return false;
    label = bm_rd_of(path.p + front, path.n - front - back);
    if (star == NULL ? label.n != 0
                     : label.n == 0 || (!rest && memchr(label.p, '/', label.n) != NULL) ||
                           memcmp(path.p + path.n - back, star + 1, back) != 0) /* back 0 with `**` */
        return false;
    *ret_label = label;
    return true;
}

const struct bm_operation *bm_operation_find(struct bm_request *q, bool *ret_known)
{
    struct bm_rd label;

    if (bm_api_path(q->path))
        return bm_api_find(q, ret_known);
    *ret_known = false;
    for (const struct bm_operation *op = bm_operations; op->name != NULL; op++) {
        if (!bm_operation_path_fits(op->path, q->path, &label))
            continue;
        *ret_known = true;
        if (op->method == q->method) {
            q->label = label;
            return op;
        }
    }
    return NULL;
}

/* --- outcomes -------------------------------------------------------------------------------------------------------------------- */
static const int status_of_kind[] = {
    [BM_OK] = 200,       [BM_AGAIN] = 503, [BM_MALFORMED] = 400, [BM_LIMIT] = 413, [BM_DENIED] = 403, [BM_NOTFOUND] = 404,
    [BM_CONFLICT] = 409, [BM_USAGE] = 400, [BM_NOMEM] = 503,     [BM_IO] = 503,    [BM_BUG] = 500,
};

static const struct {
    const char *code;
    int status;
} status_of_code[] = {
    { "no-evidence", 401 },
    { "code-wrong", 401 },
    { "code-mistyped", 401 },
    { "authorization-scheme", 401 },
    { "too-many-attempts", 429 },
    { "scep-busy", 429 },
    { "quota-exceeded", 403 },
    { "unsupported-media-type", 415 },
    { "not-implemented", 501 },
    { "token-missing", 401 },
    { "token-invalid", 401 },
    { "token-expired", 401 },
    { "token-revoked", 401 },
    /* what HTTP itself has a word for */
    { "bad-request", 400 },
    { "no-such-path", 404 },
    { "method-not-allowed", 405 },
    { "request-timeout", 408 },
    { "length-required", 411 },
    { "body-too-large", 413 },
    { "target-too-long", 414 },
    { "content-encoding", 415 },
    { "expectation", 417 },
    { "header-too-large", 431 },
    { "http-version", 505 },
};

int bm_http_status(const struct bm_error *e)
{
    for (size_t i = 0; i < BM_COUNT(status_of_code); i++)
        if (strcmp(status_of_code[i].code, e->code) == 0)
            return status_of_code[i].status;
    return (size_t)e->rc < BM_COUNT(status_of_kind) ? status_of_kind[e->rc] : 500;
}

void bm_response_field(struct bm_response *r, const char *name, struct bm_rd value)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < 0x20 || value.p[i] == 0x7f)
            return;
    r->fields.max = BM_HTTP_HEADER_MAX;
    if (r->fields.n + n + value.n + 4 > r->fields.max)
        return;
    bm_buf_str(&r->fields, name);
    bm_buf_str(&r->fields, ": ");
    bm_buf_put(&r->fields, value.p, value.n);
    bm_buf_str(&r->fields, "\r\n");
}

void bm_refuse_text(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r)
{
    r->status = bm_http_status(e);
    r->retry_after_s = retry_after_s;
    r->content_type = "text/plain";
    bm_buf_printf(&r->body, "%s: %s (correlation %s)\n", bm_error_code(e), e->what, q->correlation);
}

bool bm_is_media_type(struct bm_rd content_type, const char *type)
{
    size_t n = strlen(type);

    return content_type.n >= n && strncasecmp((const char *)content_type.p, type, n) == 0 &&
           (content_type.n == n || content_type.p[n] == ';' || content_type.p[n] == ' ' || content_type.p[n] == '\t');
}

const struct bm_form *bm_form_of(struct bm_rd content_type)
{
    static const struct bm_form *const forms[] = { &bm_form_json, &bm_form_cbor };

    for (size_t i = 0; i < BM_COUNT(forms); i++) {
        if (bm_is_media_type(content_type, forms[i]->content_type))
            return forms[i];
    }
    return NULL;
}
