#include "protocol/trust.h"

#include "base/text.h"
#include "protocol/revocation.h"

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
    (void)q, (void)v;
    return bm_dated_render(answer, "application/jose", r, e); /* RFC 7515 section 9.2.1 */
}
