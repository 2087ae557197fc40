/* The native format's blocks: cutting and checking. docs/manifest.md */
#include "factory/impl.h"

#include "base/text.h"
#include "pki/jws.h"

/* --- cutting: a block ends with a line that begins as a seal ------------------------------------------------------------------ */
static enum bm_rc line_too_long(const struct bm_manifest_split *s, struct bm_error *e)
{
    return bm_refuse(e, BM_LIMIT, "manifest-format", "line %zu is longer than %d bytes", s->line + s->n_lines,
                     BM_MANIFEST_LINE_MAX);
}

static enum bm_rc lend(struct bm_manifest_split *s, struct bm_manifest_block *ret, struct bm_error *e)
{
    if (s->begun > BM_MANIFEST_BLOCK_MAX)
        return bm_refuse(e, BM_LIMIT, "manifest-format", "the block from line %zu on is longer than %d bytes", s->line,
                         BM_MANIFEST_BLOCK_MAX);
    *ret = (struct bm_manifest_block){ bm_rd_of(s->in.p, s->begun), s->seq++, s->line, s->n_lines };
    s->used = s->begun;
    s->line += s->n_lines;
    s->n_lines = 0;
    s->begun = s->scanned = 0;
    return BM_OK;
}

/* No whole block is there. */
static enum bm_rc starved(const struct bm_manifest_split *s, struct bm_error *e)
{
    if (s->in.n - s->begun > BM_MANIFEST_LINE_MAX)
        return line_too_long(s, e);
    if (s->in.n > BM_MANIFEST_BLOCK_MAX || s->n_lines > BM_MANIFEST_BLOCK_ENTRIES + 1)
        return bm_refuse(e, BM_LIMIT, "manifest-format", "no seal within %zu lines from line %zu on", s->n_lines, s->line);
    if (!s->eof)
        return BM_AGAIN;
    if (s->in.n == 0 && s->seq > 0)
        return BM_NOTFOUND;
    return bm_refuse(e, BM_MALFORMED, "manifest-cut-short", "the file ends without a seal for line %zu and what follows", s->line);
}

enum bm_rc bm_native_next(struct bm_manifest_split *s, struct bm_manifest_block *ret, struct bm_error *e)
{
    struct bm_rd all = bm_buf_rd(&s->in), line;
    const uint8_t *end;

    while (s->scanned < all.n && (end = memchr(all.p + s->scanned, '\n', all.n - s->scanned)) != NULL) {
        line = bm_rd_of(all.p + s->begun, (size_t)(end - all.p) - s->begun);
        s->scanned = s->begun = (size_t)(end - all.p) + 1;
        s->n_lines++;
        if (line.n > BM_MANIFEST_LINE_MAX)
            return line_too_long(s, e);
        if (bm_seal_begins(line))
            return lend(s, ret, e);
    }
    s->scanned = all.n;
    return starved(s, e);
}

/* --- checking ----------------------------------------------------------------------------------------------------------------- */
struct native {
    struct bm_rd body;      /* everything but the seal line, line ends included */
    struct bm_rd seal_line; /* with its line end */
    struct bm_rd jws;
    struct bm_seal seal;
};

/* The last line must be the seal, and the only one. */
static enum bm_rc find_seal(struct bm_rd raw, struct native *n, struct bm_error *e)
{
    const uint8_t *before = raw.n > 1 ? memrchr(raw.p, '\n', raw.n - 1) : NULL;
    size_t body = before != NULL ? (size_t)(before - raw.p) + 1 : 0;

    n->body = bm_rd_of(raw.p, body);
    n->seal_line = bm_rd_of(raw.p + body, raw.n - body);
    if (!bm_seal_begins(n->seal_line))
        return bm_refuse(e, BM_MALFORMED, "manifest-cut-short", "the block does not end with a seal line");
    if (n->seal_line.n - 1 > BM_MANIFEST_LINE_MAX || !bm_seal_line(bm_rd_of(n->seal_line.p, n->seal_line.n - 1), &n->jws))
        return bm_refuse(e, BM_MALFORMED, "manifest-format", "the seal line is not as it must be");
    return BM_OK;
}

static enum bm_rc seal_signed(struct bm_manifest_run *run, const struct bm_jws *jws, struct bm_jws_header *head, struct bm_error *e)
{
    struct bm_error why = { 0 };
    enum bm_rc rc = bm_jws_header_parse(jws->protected_b64, head, &why);

    if (rc != BM_OK)
        return bm_refuse(e, rc, bm_rc_is_ours(rc) ? "" : "manifest-format", "seal: %s", why.what);
    if (strcmp(head->typ, BM_SEAL_TYP) != 0 || !head->has_x5t)
        return bm_refuse(e, BM_MALFORMED, "manifest-format", "seal: typ must be " BM_SEAL_TYP " and x5t#S256 be there");
    rc = bm_signer_ready(&run->r->signer, head->x5t_s256, bm_buf_rd(&head->x5c), run->now, run->h, e);
    if (rc == BM_OK)
        rc = bm_signer_valid(&run->r->signer, run->now, "now", e);
    if (rc != BM_OK)
        return rc;
    rc = bm_jws_verify(jws, run->r->signer.key, &why);
    return rc == BM_OK
               ? BM_OK
               : bm_refuse(e, rc, bm_rc_is_ours(rc) ? "" : "manifest-signature", "the seal's signature is wrong: %s", why.what);
}

/* Signature first: nothing else of the seal is believed, or even read, before. */
static enum bm_rc open_seal(struct bm_manifest_run *run, struct native *n, struct bm_error *e)
{
    BM_CLEANUP(bm_jws_header_done) struct bm_jws_header head = { 0 };
    struct bm_error why = { 0 };
    struct bm_jws jws;
    enum bm_rc rc = bm_jws_split(n->jws, &jws, &why);

    if (rc != BM_OK)
        return bm_refuse(e, rc, "manifest-format", "seal: %s", why.what);
    rc = seal_signed(run, &jws, &head, e);
    if (rc != BM_OK)
        return rc;
    memcpy(run->s->signer, head.x5t_s256, 32);
    run->r->seal.n = 0;
    rc = bm_unbase64url(jws.payload_b64, &run->r->seal, &why);
    if (rc != BM_OK)
        return bm_refuse(e, rc, "manifest-format", "seal: %s", why.what);
    return bm_seal_parse(bm_buf_rd(&run->r->seal), &n->seal, e);
}

/* Is this block the one that comes next? */
static enum bm_rc in_place(const struct bm_manifest_summary *s, const struct bm_seal *seal, const struct bm_manifest_state *at,
                           struct bm_error *e)
{
    if (seal->seq != at->seq)
        return bm_refuse(e, BM_DENIED, "manifest-sequence", "block %llu came where block %llu was expected",
                         (unsigned long long)seal->seq, (unsigned long long)at->seq);
    if (seal->has_prev != (at->seq > 0) || (seal->has_prev && memcmp(seal->prev, at->prev, 32) != 0))
        return bm_refuse(e, BM_DENIED, "manifest-sequence", "block %llu was not sealed to follow the block before it",
                         (unsigned long long)seal->seq);
    if (seal->first != s->first_line || seal->total != at->entries + seal->entries)
        return bm_refuse(e, BM_DENIED, "manifest-sequence",
                         "block %llu was sealed for another place: line %llu, %llu entries in all", (unsigned long long)seal->seq,
                         (unsigned long long)seal->first, (unsigned long long)seal->total);
    return BM_OK;
}

static enum bm_rc untouched(const struct native *n, struct bm_error *e)
{
    uint8_t digest[32];

    bm_udid_of(n->body, digest); /* plain SHA-256 */
    if (memcmp(digest, n->seal.digest, 32) != 0)
        return bm_refuse(e, BM_DENIED, "manifest-digest", "they were changed after they were sealed; the seal itself is genuine");
    return BM_OK;
}

static enum bm_rc counted(const struct bm_manifest_summary *s, const struct bm_seal *seal, struct bm_error *e)
{
    uint64_t entries = s->n_lines - 1 - (seal->seq == 0 ? 1 : 0);

    if (seal->seq == 0 && s->n_lines < 2)
        return bm_refuse(e, BM_MALFORMED, "manifest-format", "there is no header line");
    if (seal->entries != entries || entries > BM_MANIFEST_BLOCK_ENTRIES || (entries == 0 && !seal->last))
        return bm_refuse(e, BM_MALFORMED, "manifest-format", "%llu entries where the seal says %llu; 1 to %d make a block",
                         (unsigned long long)entries, (unsigned long long)seal->entries, BM_MANIFEST_BLOCK_ENTRIES);
    return BM_OK;
}

/* Takes the header line off the body. */
static enum bm_rc header(struct bm_manifest_run *run, struct native *n, struct bm_error *e)
{
    struct bm_manifest_header *h = &run->s->header;
    struct bm_rd line;
    enum bm_rc rc;

    if (!bm_line_take(&n->body, &line) || line.n > BM_MANIFEST_LINE_MAX)
        return bm_refuse(e, BM_MALFORMED, "manifest-format", "there is no header line");
    rc = bm_manifest_header_parse(line, h, e);
    if (rc != BM_OK)
        return rc;
    if (strcmp(h->id, n->seal.manifest) != 0)
        return bm_refuse(e, BM_DENIED, "manifest-sequence", "header and seal name different manifests");
    return bm_signer_valid(&run->r->signer, h->created, "when the manifest was made", e);
}

static enum bm_rc check(struct bm_manifest_run *run, struct native *n, const struct bm_manifest_state *at, struct bm_error *e)
{
    enum bm_rc rc = open_seal(run, n, e);

    if (rc == BM_OK)
        rc = in_place(run->s, &n->seal, at, e);
    if (rc == BM_OK)
        rc = untouched(n, e);
    if (rc == BM_OK)
        rc = counted(run->s, &n->seal, e);
    if (rc == BM_OK && n->seal.seq == 0)
        rc = header(run, n, e);
    return rc;
}

static enum bm_rc hand_out(struct bm_manifest_run *run, struct bm_rd body, size_t number, struct bm_error *e)
{
    struct bm_rd line;
    enum bm_rc rc = run->h->sealed != NULL ? run->h->sealed(run->h->arg, run->s, e) : BM_OK;

    while (rc == BM_OK && bm_line_take(&body, &line))
        rc = bm_manifest_run_line(run, line, number++, bm_entry_parse_native, e);
    return rc;
}

enum bm_rc bm_native_parse(struct bm_manifest_reader *r, struct bm_rd raw, const struct bm_manifest_state *at, int64_t now,
                           const struct bm_manifest_hooks *h, struct bm_manifest_summary *ret, struct bm_error *e)
{
    struct bm_manifest_run run = { r, h, now, ret, at->issuer };
    struct native n = { 0 };
    enum bm_rc rc;

    ret->seq = at->seq;
    ret->n_lines = bm_lines_count(raw);
    /* a header line, then every block's entries and one seal line each */
    ret->first_line = at->seq == 0 ? 1 : (size_t)(2 + at->entries + at->seq);
    rc = find_seal(raw, &n, e);
    if (rc == BM_OK)
        rc = check(&run, &n, at, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "lines %zu to %zu", ret->first_line, ret->first_line + ret->n_lines - 1);
    ret->next = (struct bm_manifest_state){ .seq = at->seq + 1, .entries = n.seal.total, .last = n.seal.last };
    memcpy(ret->next.issuer, at->seq == 0 ? ret->header.issuer : at->issuer, sizeof ret->next.issuer);
    run.issuer = ret->next.issuer;
    bm_udid_of(n.seal_line, ret->next.prev);
    return hand_out(&run, n.body, ret->first_line + (at->seq == 0 ? 1 : 0), e);
}
