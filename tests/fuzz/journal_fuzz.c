/* targets: bm_journal_head_parse bm_journal_frame_parse bm_journal_record_parse bm_journal_item_take */
#include "store/journal_format.h"

#include <openssl/sha.h>
#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* What we accept we can write, to the same bytes. */
static void head_again(struct bm_rd in)
{
    struct bm_journal_head h;
    uint8_t again[BM_JOURNAL_HEAD_LEN];

    if (bm_journal_head_parse(in, &h, NULL) != BM_OK)
        return;
    bm_journal_head_write(&h, again);
    must(bm_rd_eq(in, bm_rd_of(again, sizeof again)));
}

static void record_again(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = in.n + 64 };
    struct bm_journal_record r;
    struct bm_journal_item i;
    struct bm_rd items;

    if (bm_journal_record_parse(in, &r, NULL) != BM_OK)
        return;
    items = r.items;
    bm_journal_record_begin(&out);
    for (uint32_t n = 0; n < r.n_items; n++) {
        must(bm_journal_item_take(&items, &i, NULL) == BM_OK);
        bm_journal_item_put(&out, &i);
    }
    must(items.n == 0);
    bm_journal_record_end(&out, &r);
    must(!out.bad && bm_rd_eq(in, bm_buf_rd(&out)));
}

/* No mutation finds a digest by itself: the bytes are tried as they are, and with the digest that they need. */
static void with_digest(struct bm_rd in, void (*fn)(struct bm_rd))
{
    uint8_t *own = malloc(in.n + 32);

    must(own != NULL);
    fn(in);
    if (in.n != 0)
        memcpy(own, in.p, in.n);
    SHA256(own, in.n, own + in.n);
    fn(bm_rd_of(own, in.n + 32));
    free(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_rd in = bm_rd_of(p, n), items = in;
    struct bm_journal_item i;
    size_t len;

    with_digest(in, head_again);
    with_digest(in, record_again);
    if (bm_journal_frame_parse(in, &len, NULL) == BM_OK)
        must(len >= BM_JOURNAL_FRAME_LEN + BM_JOURNAL_BODY_MIN + 32 &&
             len <= (size_t)BM_JOURNAL_FRAME_LEN + BM_JOURNAL_RECORD_MAX + 32);
    while (bm_journal_item_take(&items, &i, NULL) == BM_OK)
        must(items.n < in.n && i.n_args <= BM_JOURNAL_ARGS_MAX);
    return 0;
}
