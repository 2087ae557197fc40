/* targets: bm_coap_parse bm_coap_write bm_coap_admit bm_coap_links bm_coap_line_take bm_coap_line_body bm_coap_line_answer bm_coap_line_tick */
#include "protocol/est_coap.h"
#include "server/coap_line.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* What has been read can be written, and read again to the same. */
static void again(const struct bm_coap_message *m)
{
    struct bm_buf out = { .max = 1 << 20 };
    struct bm_coap_message got;
    bool header;

    bm_coap_write(&out, m);
    must(!out.bad && bm_coap_parse(bm_buf_rd(&out), &got, &header, NULL) == BM_OK);
    must(got.n_path == m->n_path && got.n_query == m->n_query && got.accept == m->accept &&
         got.content_format == m->content_format);
    must(got.block1.num == m->block1.num && got.block2.num == m->block2.num && bm_rd_eq(got.payload, m->payload));
    bm_buf_done(&out);
}

static void find(const struct bm_coap_message *m)
{
    const struct bm_coap_operation *op;
    struct bm_buf links = { .max = 8192 };
    struct bm_rd label;
    uint16_t format;

    if (bm_coap_admit(m, &op, &label, &format, NULL) == BM_OK)
        must(op != NULL && (format == op->formats[0] || format == op->formats[1]) && m->code == op->method);
    bm_coap_links(m, &links);
    must(!links.bad);
    bm_buf_done(&links);
}

static void serve(struct bm_coap_line *l, struct bm_rd datagram, int64_t now, unsigned how, struct bm_buf *out)
{
    static const uint8_t answer[300] = { 0x30 };
    struct bm_coap_reply r = {
        .code = BM_COAP_CODE(2, 4), .content_format = 281, .max_age_s = -1, .size1 = -1, .payload = bm_rd_of(answer, sizeof answer)
    };
    struct bm_coap_message m;
    struct bm_rd body;

    out->n = 0;
    if (bm_coap_line_take(l, datagram, now, out, &m) == BM_COAP_REQUEST) {
        again(&m);
        find(&m);
        if (bm_coap_line_body(l, &m, 4096, now, out, &body) == BM_COAP_REQUEST) {
            must(body.n <= 4096);
            if ((how & 1) != 0)
                bm_coap_line_answer(l, &r, now, out);
        }
    }
    must(!out->bad);
    bm_coap_line_tick(l, now, out);
    if ((how & 2) != 0)
        bm_coap_line_answer(l, &r, now, out);
    must(!out->bad && l->budget->held <= l->budget->max);
}

/* Datagrams: a byte of choices, two of length, the bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_coap_budget budget = { .max = 8192 };
    struct bm_buf out = { .max = 1 << 20 };
    struct bm_rd in = bm_rd_of(p, n), datagram;
    struct bm_coap_line l;
    int64_t now = 0;
    uint16_t len;
    uint8_t how;

    bm_coap_line_init(&l, &budget, 0xfffe);
    while (bm_rd_u8(&in, &how) && bm_rd_u16(&in, &len)) {
        if (!bm_rd_take(&in, len, &datagram))
            (void)bm_rd_take(&in, in.n, &datagram);
        now += how * INT64_C(100);
        serve(&l, datagram, now, how, &out);
    }
    bm_coap_line_done(&l);
    must(budget.held == 0);
    bm_buf_done(&out);
    return 0;
}
