#include "base/frame.h"

enum bm_rc bm_frame_read(struct bm_rd *in, size_t max, struct bm_frame *ret, struct bm_error *e)
{
    struct bm_rd t = *in;
    struct bm_frame f;
    uint32_t n;

    if (!bm_rd_u32(&t, &n))
        return BM_AGAIN;
    if (n < BM_FRAME_HEAD - 4 || n > max)
        return bm_fail(e, BM_LIMIT, "frame of %u bytes", n);
    if (t.n < n)
        return BM_AGAIN;
    if (!bm_rd_u64(&t, &f.id) || !bm_rd_u8(&t, &f.type) || !bm_rd_take(&t, n - (BM_FRAME_HEAD - 4), &f.payload))
        return bm_fail(e, BM_BUG, "frame: lengths do not add up");
    *in = t;
    *ret = f;
    return BM_OK;
}

size_t bm_frame_begin(struct bm_buf *out, uint64_t id, uint8_t type)
{
    size_t at = out->n;

    bm_buf_uint(out, 4, 0);
    bm_buf_uint(out, 8, id);
    bm_buf_uint(out, 1, type);
    return at;
}

void bm_frame_end(struct bm_buf *out, size_t begin)
{
    struct bm_wr w;

    if (out->bad)
        return;
    w = bm_wr_of(out->p + begin, 4);
    bm_wr_uint(&w, 4, out->n - begin - 4);
}
