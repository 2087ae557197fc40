/* EST serverkeygen: RFC 7030 section 4.4 with RFC 8951. Two parts: the private key, and the certificate as for any enrolment. */
#include "protocol/est.h"

#include "base/text.h"
#include "pki/cert.h"

/* Never in base64, which has no hyphen. */
#define BOUNDARY "birthmark-serverkeygen"

static const char *const key_types[] = {
    [BM_KEY_PLAIN] = "application/pkcs8",
    [BM_KEY_SEALED] = "application/pkcs7-mime; smime-type=server-generated-key",
};

static void part(struct bm_buf *out, const char *type, struct bm_rd der)
{
    bm_buf_str(out, "--" BOUNDARY "\r\nContent-Type: ");
    bm_buf_str(out, type);
    bm_buf_str(out, "\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    bm_base64(out, der, 0);
    bm_buf_str(out, "\r\n");
}

enum bm_rc bm_est_key_and_certs(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                                struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = 2 * BM_CERT_MAX };
    struct bm_enrolled a;
    enum bm_rc rc = bm_enrolled_parse(answer, &a, e);

    (void)q, (void)v;
    if (rc == BM_OK && (a.n_credentials != 1 || a.credentials[0].key_form == BM_KEY_NONE))
        rc = bm_fail(e, BM_BUG, "not one certificate with its key");
    if (rc == BM_OK)
        rc = bm_cms_certs(&a.credentials[0].cert, 1, &der, e);
    if (rc != BM_OK)
        return rc;
    r->status = 200;
    r->content_type = "multipart/mixed; boundary=" BOUNDARY;
    r->no_store = true;
    part(&r->body, key_types[a.credentials[0].key_form], a.credentials[0].key);
    part(&r->body, "application/pkcs7-mime; smime-type=certs-only", bm_buf_rd(&der));
    bm_buf_str(&r->body, "--" BOUNDARY "--\r\n");
    return bm_buf_check(&r->body, e);
}
