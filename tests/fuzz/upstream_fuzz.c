/* targets: bm_cmp_cert_rep_parse bm_cmp_poll_rep_parse bm_cmp_rev_rep_parse bm_cmp_error_parse bm_cmp_fail_text bm_upstream_cmp_parse, and what the drivers for CMP and SCEP make of
 * an answer before anybody's signature has been looked at */
#include "keeper/upstream_cmp.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

static bool inside(struct bm_rd part, struct bm_rd whole)
{
    return part.n == 0 || (part.p >= whole.p && part.n <= whole.n && (size_t)(part.p - whole.p) <= whole.n - part.n);
}

static void status(const struct bm_cmp_status_info *s, struct bm_rd in)
{
    char text[BM_CMP_FAIL_TEXT_LEN];

    must(inside(s->text, in) && (s->has_fail || s->fail == 0) && strlen(bm_cmp_fail_text(s->fail, text)) < sizeof text);
}

static void cert_rep(struct bm_rd in)
{
    struct bm_cmp_cert_rep c;

    if (bm_cmp_cert_rep_parse(in, &c, NULL) != BM_OK)
        return;
    must(c.n >= 1 && inside(c.cert, in));
    status(&c.s, in);
}

static void rev_rep(struct bm_rd in)
{
    struct bm_cmp_rev_rep r;

    if (bm_cmp_rev_rep_parse(in, &r, NULL) != BM_OK)
        return;
    must(r.n >= 1);
    status(&r.s, in);
}

static void poll_rep(struct bm_rd in)
{
    struct bm_cmp_poll_rep p;

    if (bm_cmp_poll_rep_parse(in, &p, NULL) == BM_OK)
        must(p.n >= 1 && inside(p.reason, in));
}

static void error(struct bm_rd in)
{
    struct bm_cmp_error c;

    if (bm_cmp_error_parse(in, &c, NULL) != BM_OK)
        return;
    must(inside(c.details, in));
    status(&c.s, in);
}

static void state(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf again = { .max = 1 << 20 };
    struct bm_upstream_cmp_state s;

    if (bm_upstream_cmp_parse(in, &s, NULL) != BM_OK)
        return;
    bm_upstream_cmp_write(&again, &s);
    must(bm_rd_eq(bm_buf_rd(&again), in));
}

/* Nor is anything revoked, and over a connection that anybody could write into nothing is given up. */
static void revocation(const struct bm_upstream_driver *d, struct bm_upstream_job j, const struct bm_task_answer *a)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf state = { .max = 4096 };
    struct bm_upstream open = *j.u;
    struct bm_upstream_got got = { .room = { .max = BM_TASK_ANSWER_MAX }, .state = { .max = BM_UPSTREAM_STATE_MAX } };

    memcpy(open.url, "http://ca.example/", sizeof "http://ca.example/");
    bm_upstream_cmp_write(
        &state, &(struct bm_upstream_cmp_state){ .step = BM_UPSTREAM_CMP_REVOKE, .tid = bm_rd_str("t"), .nonce = bm_rd_str("n") });
    j.u = &open;
    j.state = bm_buf_rd(&state);
    j.cert = bm_rd_str("a certificate");
    must(d->revoking->read(&j, a, &got, NULL) == BM_AGAIN && got.state.n == 0);
    bm_buf_done(&got.room);
    bm_buf_done(&got.state);
}

/* Nobody has signed it, so no certificate comes of it. */
static void answer(const struct bm_upstream_driver *d, struct bm_rd state, struct bm_rd body)
{
    const struct bm_upstream u = { .url = "https://ca.example/" };
    const struct bm_upstream_secret s = { .login = { .p = (uint8_t *)(uintptr_t) "ref:secret", .n = 10 } };
    const struct bm_upstream_job j = { .u = &u, .s = &s, .now = 1795243853, .state = state };
    const struct bm_task_answer a = { .status = 200, .body = body };
    struct bm_upstream_got got = { .room = { .max = BM_TASK_ANSWER_MAX }, .state = { .max = BM_UPSTREAM_STATE_MAX } };

    must(d->read(&j, &a, &got, NULL) != BM_OK && got.n == 0);
    if (d->revoking != NULL)
        revocation(d, j, &a);
    bm_buf_done(&got.room);
    bm_buf_done(&got.state);
}

static void over_cmp(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 4096 };

    bm_upstream_cmp_write(
        &out, &(struct bm_upstream_cmp_state){ .step = BM_UPSTREAM_CMP_ASK, .tid = bm_rd_str("t"), .nonce = bm_rd_str("n") });
    answer(&bm_upstream_cmp, bm_buf_rd(&out), in);
}

/* GetCACert, and a CertRep. */
static void over_scep(struct bm_rd in)
{
    for (uint8_t step = 2; step <= 3; step++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 4096 };

        bm_buf_uint(&out, 2, step << 8);
        for (int i = 0; i < 5; i++)
            bm_buf_vec(&out, bm_rd_str("t"));
        answer(&bm_upstream_scep, bm_buf_rd(&out), in);
    }
}

/* The first byte says what it is. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static void (*const parts[])(struct bm_rd) = { cert_rep, poll_rep, error, state, over_cmp, over_scep, rev_rep };

    if (n != 0)
        parts[p[0] % BM_COUNT(parts)](bm_rd_of(p + 1, n - 1));
    return 0;
}
