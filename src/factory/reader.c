/* The reader: what all formats share. */
#include "factory/impl.h"

#include "pki/jwe.h"

#include <stdlib.h>

bool bm_rc_is_ours(enum bm_rc rc)
{
    return rc == BM_NOMEM || rc == BM_BUG || rc == BM_IO || rc == BM_AGAIN;
}

void bm_manifest_reader_free(struct bm_manifest_reader *r)
{
    if (r == NULL)
        return;
    bm_keycheck_done(&r->keys);
    bm_signer_done(&r->signer);
    bm_buf_done(&r->seal);
    bm_buf_done(&r->spki);
    bm_buf_done(&r->birth);
    bm_buf_done(&r->attributes);
    bm_buf_done(&r->text);
    bm_buf_done(&r->ident);
    bm_buf_done(&r->sealed);
    free(r);
}

void bm_manifest_reader_freep(struct bm_manifest_reader **r)
{
    bm_manifest_reader_free(*r);
    *r = NULL;
}

enum bm_rc bm_manifest_reader_new(const struct bm_manifest_format *f, struct bm_manifest_reader **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_manifest_reader_freep) struct bm_manifest_reader *r = calloc(1, sizeof *r);
    enum bm_rc rc;

    if (r == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    r->format = f;
    r->seal.max = r->text.max = BM_MANIFEST_BLOCK_MAX;
    r->spki.max = BM_SPKI_MAX;
    r->ident.max = 2 * BM_MAC_IDENT_MAX;
    r->sealed.max = BM_JWE_MAX;
    r->birth.max = BM_CERT_MAX;
    r->attributes.max = BM_MANIFEST_ATTRIBUTES_MAX;
    rc = bm_keycheck_init(&r->keys, e);
    if (rc == BM_OK)
        *ret = BM_MOVE(r);
    return rc;
}

enum bm_rc bm_manifest_block_parse(struct bm_manifest_reader *r, struct bm_rd raw, const struct bm_manifest_state *at, int64_t now,
                                   const struct bm_manifest_hooks *h, struct bm_manifest_summary *ret, struct bm_error *e)
{
    struct bm_manifest_summary s = { 0 };
    enum bm_rc rc;

    if (at->last)
        return bm_refuse(e, BM_DENIED, "manifest-sequence", "the manifest was complete: nothing may follow its last block");
    if (raw.n > BM_MANIFEST_BLOCK_MAX)
        return bm_refuse(e, BM_LIMIT, "manifest-format", "a block of %zu bytes; at most %d are taken", raw.n,
                         BM_MANIFEST_BLOCK_MAX);
    if (raw.n == 0 || raw.p[raw.n - 1] != '\n')
        return bm_refuse(e, BM_MALFORMED, "manifest-cut-short", "the block does not end with a line end");
    bm_seen_clear(&r->seen);
    r->signer.allowed = false;
    rc = r->format->parse(r, raw, at, now, h, &s, e);
    if (rc == BM_OK)
        *ret = s;
    return rc;
}

enum bm_rc bm_manifest_complete(const struct bm_manifest_state *at, struct bm_error *e)
{
    if (at->last)
        return BM_OK;
    return bm_refuse(e, BM_MALFORMED, "manifest-cut-short",
                     "the manifest ends after block %llu of %llu entries, before its last seal", (unsigned long long)at->seq,
                     (unsigned long long)at->entries);
}

bool bm_line_take(struct bm_rd *r, struct bm_rd *ret)
{
    const uint8_t *end = r->n != 0 ? memchr(r->p, '\n', r->n) : NULL;
    struct bm_rd lf;

    return end != NULL && bm_rd_take(r, (size_t)(end - r->p), ret) && bm_rd_take(r, 1, &lf);
}

size_t bm_lines_count(struct bm_rd r)
{
    struct bm_rd line;
    size_t n = 0;

    while (bm_line_take(&r, &line))
        n++;
    return n;
}

static enum bm_rc line_refused(struct bm_manifest_run *run, size_t number, const struct bm_error *why, struct bm_error *e)
{
    run->s->bad++;
    return run->h->bad != NULL ? run->h->bad(run->h->arg, number, why, e) : BM_OK;
}

enum bm_rc bm_manifest_run_line(struct bm_manifest_run *run, struct bm_rd line, size_t number, bm_entry_parse *parse,
                                struct bm_error *e)
{
    struct bm_manifest_entry m = { .line = number };
    struct bm_error why = { 0 };
    enum bm_rc rc = parse(run, line, &m, &why);

    if (rc == BM_OK)
        rc = bm_entry_check(&run->r->keys, run->issuer, &m, &why);
    if (rc == BM_OK && !bm_seen_add(&run->r->seen, m.udid))
        rc = bm_refuse(&why, BM_CONFLICT, "entry-duplicate", "the same key came before in this block");
    if (bm_rc_is_ours(rc))
        return bm_refuse(e, rc, why.code, "%s", why.what);
    if (rc != BM_OK)
        return line_refused(run, number, &why, e);
    run->s->entries++;
    return run->h->entry(run->h->arg, &m, e);
}
