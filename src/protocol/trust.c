#include "protocol/trust.h"

#include "base/text.h"

enum bm_rc bm_trust_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    const struct bm_crl_ask ask = { .ca = q->label, .have = q->if_none_match };
    char safe[80];

    if (q->label.n >= BM_NAME_LEN)
        return bm_refuse(e, BM_NOTFOUND, "unknown-service", "there is no service '%s' here",
                         bm_text_escape(q->label, safe, sizeof safe));
    bm_crl_ask_write(payload, &ask);
    return bm_buf_check(payload, e);
}

enum bm_rc bm_trust_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                           struct bm_error *e)
{
    struct bm_crl_told t;
    enum bm_rc rc = bm_crl_told_parse(answer, &t, e);

    (void)q, (void)v;
    if (rc != BM_OK)
        return rc;
    memcpy(r->etag, t.etag, sizeof r->etag);
    r->modified_at = t.this_update;
    r->max_age_s = t.max_age_s;
    r->status = t.der.n != 0 ? 200 : 304;
    r->content_type = "application/jose"; /* RFC 7515 section 9.2.1 */
    bm_buf_put(&r->body, t.der.p, t.der.n);
    return BM_OK;
}
