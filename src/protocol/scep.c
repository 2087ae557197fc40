#include "protocol/scep.h"

#include "base/text.h"

/* --- the query ---------------------------------------------------------------------------------------------------------------------------- */
static struct bm_rd cut(struct bm_rd *r, char at)
{
    const uint8_t *end = r->n != 0 ? memchr(r->p, at, r->n) : NULL;
    struct bm_rd front = end != NULL ? bm_rd_of(r->p, (size_t)(end - r->p)) : *r;

    *r = end != NULL ? bm_rd_of(end + 1, r->n - front.n - 1) : bm_rd_of(NULL, 0);
    return front;
}

/* A '+' stays one: the message is base64, and clients that forget to encode theirs are many. So does a blank become one again. */
static bool unescape(struct bm_rd in, struct bm_buf *ret)
{
    while (in.n != 0) {
        uint8_t c = in.p[0];
        size_t took = c == '%' ? 3 : 1;

        if (c == '%' && (in.n < 3 || !bm_unhex(bm_rd_of(in.p + 1, 2), &c, 1)))
            return false;
        c = c == ' ' ? '+' : c;
        bm_buf_put(ret, &c, 1);
        in = bm_rd_of(in.p + took, in.n - took);
    }
    return !ret->bad;
}

enum bm_rc bm_scep_query(struct bm_rd query, struct bm_rd *ret_operation, struct bm_buf *ret_message, struct bm_error *e)
{
    bool message = false;

    *ret_operation = bm_rd_of(NULL, 0);
    while (query.n != 0) {
        struct bm_rd value = cut(&query, '&'), name = cut(&value, '=');

        if (bm_rd_eq(name, bm_rd_str("operation")) && ret_operation->n == 0)
            *ret_operation = value;
        else if (bm_rd_eq(name, bm_rd_str("message")) && !message && (message = unescape(value, ret_message)))
            continue;
        else if (bm_rd_eq(name, bm_rd_str("operation")) || bm_rd_eq(name, bm_rd_str("message")))
            return bm_refuse(e, BM_MALFORMED, "scep-operation", "'operation' and 'message' come once each, percent-encoded");
    }
    if (ret_operation->n == 0 || ret_operation->n >= BM_NAME_LEN)
        return bm_refuse(e, BM_MALFORMED, "scep-operation", "say ?operation=GetCACaps, GetCACert, GetNextCACert or PKIOperation");
    return BM_OK;
}

/* --- requests ----------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc hand_on(const struct bm_request *q, struct bm_rd operation, struct bm_rd body, struct bm_buf *payload,
                          struct bm_error *e)
{
    struct bm_message m = { .what = operation, .label = q->label, .body = body };
    char safe[80];

    if (q->label.n >= BM_NAME_LEN)
        return bm_refuse(e, BM_NOTFOUND, "unknown-label", "there is no CA and no service '%s' here",
                         bm_text_escape(q->label, safe, sizeof safe));
    memcpy(m.correlation, q->correlation, sizeof m.correlation);
    memcpy(m.peer, q->peer, sizeof m.peer);
    bm_message_write(payload, &m);
    return bm_buf_check(payload, e);
}

/* RFC 8894 section 4.1: only PKIOperation takes the message itself; elsewhere it names a CA in a way of each client's own. */
enum bm_rc bm_scep_get_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_HTTP_QUERY_MAX }, der = { .max = BM_HTTP_QUERY_MAX };
    struct bm_rd operation;
    enum bm_rc rc = bm_scep_query(q->query, &operation, &text, e);

    if (rc == BM_OK && bm_rd_eq(operation, bm_rd_str("PKIOperation")))
        rc = bm_unbase64(bm_buf_rd(&text), &der, e);
    if (rc == BM_OK)
        return hand_on(q, operation, bm_buf_rd(&der), payload, e);
    return e->code[0] != '\0' ? rc : bm_refuse(e, BM_MALFORMED, "scep-malformed", "the message in the query is not base64");
}

enum bm_rc bm_scep_post_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_HTTP_QUERY_MAX };
    struct bm_rd operation;
    enum bm_rc rc = bm_scep_query(q->query, &operation, &text, e);

    if (rc == BM_OK && !bm_rd_eq(operation, bm_rd_str("PKIOperation")))
        return bm_refuse(e, BM_MALFORMED, "scep-operation", "POST is for operation=PKIOperation");
    return rc == BM_OK ? hand_on(q, operation, q->body, payload, e) : rc;
}

/* --- answers ------------------------------------------------------------------------------------------------------------------------------ */
enum bm_rc bm_scep_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                          struct bm_error *e)
{
    static const char *const types[BM_SCEP_FORMS] = {
        [BM_SCEP_TEXT] = "text/plain",
        [BM_SCEP_MESSAGE] = "application/x-pki-message",
        [BM_SCEP_CERTS] = "application/x-x509-ca-ra-cert",
        [BM_SCEP_NEXT_CA] = "application/x-x509-next-ca-cert",
    };
    struct bm_scep_told t;
    enum bm_rc rc = bm_scep_told_parse(answer, &t, e);

    (void)q, (void)v;
    if (rc != BM_OK)
        return rc;
    r->status = 200;
    r->content_type = types[t.form];
    r->no_store = t.form == BM_SCEP_MESSAGE;
    if (t.code[0] != '\0')
        bm_response_field(r, "Birthmark-Code", bm_rd_str(t.code));
    bm_buf_put(&r->body, t.body.p, t.body.n);
    return BM_OK;
}

/* For what no CertRep can say: section 4.1 leaves that to HTTP. */
void bm_scep_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r)
{
    bm_refuse_text(q, e, retry_after_s, r);
    r->no_store = true;
}
