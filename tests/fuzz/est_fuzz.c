/* targets: bm_est_keygen bm_est_key_and_certs bm_est_enroll bm_est_reenroll bm_est_certs bm_est_cacerts bm_est_csrattrs bm_operation_find */
#include "protocol/est.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void prepare(const struct bm_request *q, bool again)
{
    struct bm_buf payload = { .max = BM_COMMAND_MAX };
    struct bm_enrol c;

    if ((again ? bm_est_reenroll : bm_est_enroll)(q, &payload, NULL) == BM_OK) {
        must(bm_enrol_parse(bm_buf_rd(&payload), &c, NULL) == BM_OK);
        must(c.n_requests == 1 && c.reenrol == again && bm_rd_eq(c.requests[0].service, q->label));
    }
    payload.n = 0;
    if (!again && bm_est_keygen(q, &payload, NULL) == BM_OK)
        must(bm_enrol_parse(bm_buf_rd(&payload), &c, NULL) == BM_OK && c.keygen && !c.reenrol);
    bm_buf_done(&payload);
}

static void answer(const struct bm_request *q)
{
    struct bm_view v = { .n_labels = 1 };
    struct bm_response r = { .body.max = BM_FRAME_MAX };

    v.labels[0].csrattrs = q->body;
    v.labels[0].cas = 1;
    must(bm_est_csrattrs(q, &v, q->body, &r, NULL) == (q->label.n == 0 ? BM_OK : BM_NOTFOUND));
    (void)!bm_est_certs(q, &v, q->body, &r, NULL);
    r.body.n = 0;
    must(bm_est_key_and_certs(q, &v, q->body, &r, NULL) != BM_OK || r.body.n != 0);
    v.n_cas = 1;
    v.cas[0] = q->body;
    (void)!bm_est_cacerts(q, &v, q->body, &r, NULL);
    bm_buf_done(&r.body);
}

static void find(struct bm_rd path)
{
    struct bm_request q = { .method = BM_POST, .path = path };
    bool known;
    const struct bm_operation *op = bm_operation_find(&q, &known);

    must(op == NULL || known);
    must(op == NULL || strchr(op->path, '*') == NULL || (q.label.n != 0 && memchr(q.label.p, '/', q.label.n) == NULL));
}

/* A byte of choices, a length of the label, the label, the body. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_request q = { .method = BM_POST, .correlation = "0123456789abcdef", .peer = "192.0.2.1" };
    struct bm_rd in = bm_rd_of(p, n);
    uint8_t how, label;

    find(in);
    if (!bm_rd_u8(&in, &how) || !bm_rd_u8(&in, &label) || !bm_rd_take(&in, label % 80, &q.label))
        return 0;
    q.body = in;
    if ((how & 4) != 0)
        q.user_agent = bm_rd_str("libest");
    if ((how & 2) != 0)
        answer(&q);
    else
        prepare(&q, (how & 1) != 0);
    return 0;
}
