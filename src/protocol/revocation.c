#include "protocol/revocation.h"

#include "base/text.h"
#include "pki/ocsp.h"

#include <strings.h>

/* --- CRLs ----------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc crl_prepare(const struct bm_request *q, bool delta, struct bm_buf *payload, struct bm_error *e)
{
    const struct bm_crl_ask ask = { .ca = q->label, .delta = delta, .have = q->if_none_match };
    char safe[80];

    if (q->label.n >= BM_NAME_LEN)
        return bm_refuse(e, BM_NOTFOUND, "unknown-ca", "there is no CA '%s' here", bm_text_escape(q->label, safe, sizeof safe));
    bm_crl_ask_write(payload, &ask);
    return bm_buf_check(payload, e);
}

enum bm_rc bm_crl_full_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    return crl_prepare(q, false, payload, e);
}

enum bm_rc bm_crl_delta_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    return crl_prepare(q, true, payload, e);
}

enum bm_rc bm_dated_render(struct bm_rd answer, const char *content_type, struct bm_response *r, struct bm_error *e)
{
    struct bm_crl_told t;
    enum bm_rc rc = bm_crl_told_parse(answer, &t, e);

    if (rc != BM_OK)
        return rc;
    memcpy(r->etag, t.etag, sizeof r->etag);
    r->modified_at = t.this_update;
    r->max_age_s = t.max_age_s;
    r->status = t.der.n != 0 ? 200 : 304;
    r->content_type = content_type;
    bm_buf_put(&r->body, t.der.p, t.der.n);
    return BM_OK;
}

enum bm_rc bm_crl_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                         struct bm_error *e)
{
    (void)q, (void)v;
    return bm_dated_render(answer, "application/pkix-crl", r, e); /* RFC 2585 section 4.2 */
}

/* --- OCSP ----------------------------------------------------------------------------------------------------------------------- */
/* A request that is none never reaches the keeper. */
static enum bm_rc ocsp_prepare(struct bm_rd der, struct bm_buf *payload, struct bm_error *e)
{
    struct bm_ocsp_request q;
    enum bm_rc rc = bm_ocsp_request_parse(der, &q, e);

    if (rc != BM_OK)
        return rc;
    bm_buf_put(payload, der.p, der.n);
    return bm_buf_check(payload, e);
}

enum bm_rc bm_ocsp_post_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    static const char type[] = "application/ocsp-request"; /* RFC 6960 appendix A.1 */

    if (q->content_type.n != 0 &&
        (q->content_type.n < sizeof type - 1 || strncasecmp((const char *)q->content_type.p, type, sizeof type - 1) != 0))
        return bm_refuse(e, BM_MALFORMED, "unsupported-media-type", "an OCSP request has type %s", type);
    return ocsp_prepare(q->body, payload, e);
}

/* "%2B" and the like to characters, and the URL alphabet (RFC 4648 section 5) to the plain one. */
static bool unescape(struct bm_rd in, struct bm_buf *out)
{
    while (in.n != 0) {
        uint8_t c = in.p[0];

        if (c == '%' && (in.n < 3 || !bm_unhex(bm_rd_of(in.p + 1, 2), &c, 1)))
            return false;
        in = in.p[0] == '%' ? bm_rd_of(in.p + 3, in.n - 3) : bm_rd_of(in.p + 1, in.n - 1);
        c = c == '-' ? '+' : c == '_' ? '/' : c;
        bm_buf_put(out, &c, 1);
    }
    while (out->n % 4 != 0)
        bm_buf_put(out, "=", 1);
    return !out->bad;
}

enum bm_rc bm_ocsp_path_decode(struct bm_rd text, struct bm_buf *ret_der, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf base64 = { .max = BM_HTTP_TARGET_MAX + 4 };

    if (text.n > BM_HTTP_TARGET_MAX || !unescape(text, &base64))
        return bm_fail(e, BM_MALFORMED, "OCSP request: the path is not percent-encoded base64");
    return bm_unbase64(bm_buf_rd(&base64), ret_der, e);
}

enum bm_rc bm_ocsp_get_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_OCSP_REQUEST_MAX };
    enum bm_rc rc = bm_ocsp_path_decode(q->label, &der, e);

    return rc == BM_OK ? ocsp_prepare(bm_buf_rd(&der), payload, e) : bm_wrap(e, rc, "OCSP request in the path");
}

static void put_response(struct bm_response *r, struct bm_rd der)
{
    r->status = 200;
    r->content_type = "application/ocsp-response";
    bm_buf_put(&r->body, der.p, der.n);
}

/* Only an answer to a GET can be kept by caches on the way (RFC 5019 section 6), and only one made for everybody. */
enum bm_rc bm_ocsp_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                          struct bm_error *e)
{
    struct bm_ocsp_told t;
    enum bm_rc rc = bm_ocsp_told_parse(answer, &t, e);

    (void)v;
    if (rc != BM_OK)
        return rc;
    put_response(r, t.der);
    r->max_age_s = q->method == BM_GET ? t.max_age_s : 0;
    r->no_store = r->max_age_s == 0;
    if (r->no_store)
        return BM_OK;
    bm_etag_of(t.der, r->etag);
    if (bm_etag_listed(q->if_none_match, r->etag)) {
        r->status = 304;
        r->body.n = 0;
    }
    return BM_OK;
}

void bm_ocsp_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = 16 };

    (void)q;
    bm_ocsp_error_write(&der, bm_ocsp_error_of(e->rc));
    put_response(r, bm_buf_rd(&der));
    r->no_store = true;
    r->retry_after_s = retry_after_s;
}
