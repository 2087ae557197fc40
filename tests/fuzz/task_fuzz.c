/* targets: bm_task_parse bm_task_answer_parse bm_errand_ask_parse bm_errand_given_parse and their writers */
#include "keeper/task.h"

#include <stdlib.h>

/* What parses writes back to the same bytes. */
static void same(struct bm_buf *out, struct bm_rd in)
{
    if (out->bad || !bm_rd_eq(bm_buf_rd(out), in))
        abort();
    bm_buf_done(out);
}

static void task(struct bm_rd in, struct bm_buf *out)
{
    struct bm_task v;

    if (bm_task_parse(in, &v, NULL) != BM_OK)
        return;
    bm_task_write(out, &v);
    same(out, in);
}

static void answer(struct bm_rd in, struct bm_buf *out)
{
    struct bm_task_answer v;

    if (bm_task_answer_parse(in, &v, NULL) != BM_OK)
        return;
    bm_task_answer_write(out, &v);
    same(out, in);
}

static void ask(struct bm_rd in, struct bm_buf *out)
{
    struct bm_errand_ask v;

    if (bm_errand_ask_parse(in, &v, NULL) != BM_OK)
        return;
    bm_errand_ask_write(out, &v);
    same(out, in);
}

static void given(struct bm_rd in, struct bm_buf *out)
{
    struct bm_errand_given v;

    if (bm_errand_given_parse(in, &v, NULL) != BM_OK)
        return;
    bm_errand_given_write(out, &v);
    same(out, in);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static void (*const targets[])(struct bm_rd, struct bm_buf *) = { task, answer, ask, given };
    struct bm_buf out = { .max = 1 << 20 };

    if (n != 0)
        targets[p[0] % BM_COUNT(targets)](bm_rd_of(p + 1, n - 1), &out);
    bm_buf_done(&out);
    return 0;
}
