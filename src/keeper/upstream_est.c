/* An upstream CA over EST: RFC 7030 section 4.2, with the registration authority's own client certificate or password. */
#include "keeper/upstream.h"

#include "base/text.h"
#include "pki/cms_read.h"

#include <stdio.h>

enum { TIMEOUT_MS = 30000 };

static enum bm_rc est_task(const struct bm_upstream_job *j, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf body = { .max = BM_TASK_BODY_MAX }, login = { .max = BM_TASK_TEXT_MAX };
    char url[sizeof j->u->url + 16];
    struct bm_task t = {
        .kind = BM_TASK_HTTP,
        .timeout_ms = TIMEOUT_MS,
        .answer_max = BM_TASK_ANSWER_MAX,
        .trust = bm_buf_rd(&j->u->trust),
        .client_cert = bm_buf_rd(&j->u->client_cert),
        .client_key = bm_buf_rd(&j->s->client_key),
    };

    snprintf(url, sizeof url, "%s/simpleenroll", j->u->url);
    bm_base64(&body, j->csr, 76);
    t.method = bm_rd_str("POST");
    t.url = bm_rd_str(url);
    t.body = bm_buf_rd(&body);
    t.fields[t.n_fields++] = (struct bm_task_field){ bm_rd_str("Content-Type"), bm_rd_str("application/pkcs10") };
    t.fields[t.n_fields++] = (struct bm_task_field){ bm_rd_str("Content-Transfer-Encoding"), bm_rd_str("base64") };
    if (j->s->login.n != 0) { /* RFC 7617 */
        bm_buf_str(&login, "Basic ");
        bm_base64(&login, bm_buf_rd(&j->s->login), 0);
        t.fields[t.n_fields++] = (struct bm_task_field){ bm_rd_str("Authorization"), bm_buf_rd(&login) };
    }
    if (body.bad || login.bad)
        return bm_fail(e, BM_LIMIT, "certificate request of %zu bytes", j->csr.n);
    bm_task_write(ret, &t);
    return BM_OK;
}

static enum bm_rc est_read(const struct bm_upstream_job *j, const struct bm_task_answer *a, struct bm_upstream_got *ret,
                           struct bm_error *e)
{
    enum bm_rc rc;

    if (a->status != 200) /* 202 with Retry-After: not yet, RFC 7030 section 4.2.3 */
        return bm_upstream_no(j, a, ret, e);
    rc = bm_unbase64(a->body, &ret->room, e);
    if (rc == BM_OK)
        rc = bm_cms_certs_parse(bm_buf_rd(&ret->room), ret->certs, BM_UPSTREAM_CERTS_MAX, &ret->n, e);
    return rc == BM_OK ? BM_OK
                       : bm_refuse(e, BM_DENIED, "upstream-refused",
                                   "the upstream CA's answer holds no certificate: it is no base64 of a "
                                   "certs-only CMS message");
}

const struct bm_upstream_driver bm_upstream_est = {
    .name = "est",
    .url_form = "https://HOST[:PORT]/.well-known/est[/LABEL]",
    .task = est_task,
    .read = est_read,
    .unrevoked = "EST has no word for a revocation: revoke it at the upstream CA too",
};
