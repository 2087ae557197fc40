/* The formats, one row each, and what cutting has in common. */
#include "factory/impl.h"

#include "factory/microchip.h"

const struct bm_manifest_format bm_manifest_formats[] = {
    { "birthmark", "Birthmark manifest, JSON lines under seals", '{', bm_native_next, bm_native_parse },
    { "microchip", "Microchip Trust Platform manifest, an array of signed entries", '[', bm_microchip_next,
      bm_microchip_block_parse },
    { NULL, NULL, 0, NULL, NULL },
};

const struct bm_manifest_format *bm_manifest_format_find(const char *name)
{
    for (const struct bm_manifest_format *f = bm_manifest_formats; f->name != NULL; f++)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

const struct bm_manifest_format *bm_manifest_format_guess(struct bm_rd beginning)
{
    while (beginning.n != 0 && strchr(" \t\r\n", beginning.p[0]) != NULL && beginning.p[0] != '\0')
        beginning = bm_rd_of(beginning.p + 1, beginning.n - 1);
    for (const struct bm_manifest_format *f = bm_manifest_formats; f->name != NULL && beginning.n != 0; f++)
        if (f->begins == beginning.p[0])
            return f;
    return NULL;
}

void bm_manifest_split_init(struct bm_manifest_split *s, const struct bm_manifest_format *f)
{
    *s = (struct bm_manifest_split){ .format = f, .line = 1 };
    s->in.max = BM_MANIFEST_BLOCK_MAX + 2 * BM_MANIFEST_CHUNK;
    s->out.max = BM_MANIFEST_BLOCK_MAX;
}

void bm_manifest_split_done(struct bm_manifest_split *s)
{
    bm_buf_done(&s->in);
    bm_buf_done(&s->out);
}

/* The block lent out last is not needed any more. */
static void reclaim(struct bm_manifest_split *s)
{
    bm_buf_drop(&s->in, s->used);
    s->used = 0;
}

enum bm_rc bm_manifest_split_put(struct bm_manifest_split *s, struct bm_rd bytes, struct bm_error *e)
{
    reclaim(s);
    if (s->eof || bytes.n > BM_MANIFEST_CHUNK)
        return bm_fail(e, BM_BUG, "manifest: more than a chunk, or past the end");
    bm_buf_put(&s->in, bytes.p, bytes.n);
    return bm_buf_check(&s->in, e);
}

void bm_manifest_split_end(struct bm_manifest_split *s)
{
    s->eof = true;
}

enum bm_rc bm_manifest_split_next(struct bm_manifest_split *s, struct bm_manifest_block *ret, struct bm_error *e)
{
    reclaim(s);
    return s->format->next(s, ret, e);
}
