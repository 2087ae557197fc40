/* http-01 for our own account at an upstream CA (keeper/upstream_acme_view.c): RFC 8555 section 8.3. Without such an account the path is nobody's. */
#include "protocol/acme.h"

enum { TOKEN_MAX = 256 };

static bool token_ok(struct bm_rd t)
{
    for (size_t i = 0; i < t.n; i++) {
        uint8_t c = t.p[i], lower = c | 0x20;

        if (!((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
            return false;
    }
    return t.n != 0 && t.n <= TOKEN_MAX;
}

enum bm_rc bm_acme_answer_challenge(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                                    struct bm_error *e)
{
    (void)answer;
    if (v->acme_thumbprint.n == 0 || !token_ok(q->label))
        return bm_refuse(e, BM_NOTFOUND, "no-such-path", "nothing here answers to this path");
    r->status = 200;
    r->content_type = "application/octet-stream";
    bm_buf_put(&r->body, q->label.p, q->label.n);
    bm_buf_str(&r->body, ".");
    bm_buf_put(&r->body, v->acme_thumbprint.p, v->acme_thumbprint.n);
    return BM_OK;
}
