/* Writes the native format. */
#include "factory/impl.h"

#include "base/text.h"
#include "pki/cert.h"
#include "pki/jws.h"

#include <stdlib.h>

enum { SEAL_ROOM = BM_MANIFEST_LINE_MAX + 1 }; /* what a block keeps free for its seal line */

struct bm_manifest_writer {
    struct bm_manifest_header header;
    const struct bm_key *key;
    struct bm_buf cert;
    size_t block_entries;
    bm_manifest_sink *sink;
    void *arg;
    struct bm_keycheck keys;
    struct bm_seen seen; /* what the reader would refuse as a duplicate is not written */
    struct bm_buf block, line, payload;
    uint64_t seq, total, first; /* of the block being filled */
    size_t entries;             /* in it */
    uint8_t prev[32];
    bool ended; /* or failed: a hole in the file must not be sealed over */
};

void bm_manifest_writer_free(struct bm_manifest_writer *w)
{
    if (w == NULL)
        return;
    bm_keycheck_done(&w->keys);
    bm_buf_done(&w->cert);
    bm_buf_done(&w->block);
    bm_buf_done(&w->line);
    bm_buf_done(&w->payload);
    free(w);
}

void bm_manifest_writer_freep(struct bm_manifest_writer **w)
{
    bm_manifest_writer_free(*w);
    *w = NULL;
}

static enum bm_rc cert_check(const struct bm_manifest_writer_options *o, struct bm_error *e)
{
    struct bm_error why = { 0 };
    struct bm_cert c;

    if (bm_cert_parse(o->cert, &c, &why) != BM_OK)
        return bm_fail(e, BM_USAGE, "the signer's certificate: %s", why.what);
    if (!bm_rd_eq(c.spki, bm_key_spki(o->key)))
        return bm_fail(e, BM_USAGE, "the signer's certificate is for another key");
    if (o->header->created < c.not_before || o->header->created > c.not_after)
        return bm_fail(e, BM_USAGE, "the signer's certificate is not valid at the time the manifest is made");
    return BM_OK;
}

static enum bm_rc options_check(const struct bm_manifest_writer_options *o, struct bm_error *e)
{
    struct bm_error why = { 0 };

    if (bm_header_check(o->header, &why) != BM_OK)
        return bm_fail(e, BM_USAGE, "%s", why.what);
    if (o->block_entries > BM_MANIFEST_BLOCK_ENTRIES)
        return bm_fail(e, BM_USAGE, "a block holds at most %d entries", BM_MANIFEST_BLOCK_ENTRIES);
    return cert_check(o, e);
}

enum bm_rc bm_manifest_writer_new(const struct bm_manifest_writer_options *o, struct bm_manifest_writer **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_manifest_writer_freep) struct bm_manifest_writer *w = NULL;
    enum bm_rc rc = options_check(o, e);

    if (rc != BM_OK)
        return rc;
    w = calloc(1, sizeof *w);
    if (w == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    w->header = *o->header;
    w->key = o->key;
    w->block_entries = o->block_entries != 0 ? o->block_entries : BM_MANIFEST_BLOCK_ENTRIES;
    w->sink = o->sink;
    w->arg = o->arg;
    w->first = 1;
    bm_seen_clear(&w->seen);
    w->cert.max = BM_CERT_MAX;
    w->block.max = BM_MANIFEST_BLOCK_MAX;
    w->line.max = w->payload.max = 2 * BM_MANIFEST_LINE_MAX;
    bm_buf_put(&w->cert, o->cert.p, o->cert.n);
    bm_header_write(&w->header, &w->block);
    rc = bm_keycheck_init(&w->keys, e);
    if (rc == BM_OK)
        *ret = BM_MOVE(w);
    return rc;
}

/* The seal line over what is in the block. */
static enum bm_rc seal(struct bm_manifest_writer *w, bool last, struct bm_error *e)
{
    struct bm_seal s = {
        .seq = w->seq, .entries = w->entries, .first = w->first, .total = w->total, .has_prev = w->seq > 0, .last = last
    };
    enum bm_rc rc;

    memcpy(s.manifest, w->header.id, sizeof s.manifest);
    memcpy(s.prev, w->prev, 32);
    bm_udid_of(bm_buf_rd(&w->block), s.digest); /* plain SHA-256 */
    w->payload.n = w->line.n = 0;
    bm_seal_write(&s, &w->payload);
    bm_buf_str(&w->line, "{\"seal\":\"");
    /* x5c goes into every seal, so that an import can go on at any block with nothing remembered but a digest */
    rc = bm_jws_sign(w->key, BM_SEAL_TYP, bm_buf_rd(&w->cert), true, bm_buf_rd(&w->payload), &w->line, e);
    bm_buf_str(&w->line, "\"}\n");
    if (rc == BM_OK)
        rc = bm_buf_check(&w->line, e);
    if (rc == BM_OK && w->line.n > BM_MANIFEST_LINE_MAX)
        rc = bm_fail(e, BM_LIMIT, "the seal line would have %zu bytes; at most %d are possible", w->line.n, BM_MANIFEST_LINE_MAX);
    return rc;
}

static enum bm_rc flush(struct bm_manifest_writer *w, bool last, struct bm_error *e)
{
    enum bm_rc rc = seal(w, last, e);

    if (rc == BM_OK) {
        bm_udid_of(bm_buf_rd(&w->line), w->prev);
        bm_buf_put(&w->block, w->line.p, w->line.n);
        rc = bm_buf_check(&w->block, e);
    }
    if (rc == BM_OK)
        rc = w->sink(w->arg, bm_buf_rd(&w->block), e);
    w->ended = last || rc != BM_OK;
    w->first += w->entries + 1 + (w->seq == 0 ? 1 : 0);
    w->seq++;
    w->entries = 0;
    w->block.n = 0;
    bm_seen_clear(&w->seen);
    return rc;
}

static enum bm_rc udid_settle(const char *issuer, struct bm_manifest_entry *m, struct bm_error *e)
{
    static const uint8_t none[32];
    uint8_t udid[32];

    if (m->ident.n != 0 && m->ident.n <= BM_MAC_IDENT_MAX)
        bm_udid_symmetric(bm_rd_str(issuer), bm_rd_str(m->rot), m->ident, udid);
    else
        bm_udid_of(m->spki, udid);
    if (memcmp(m->udid, none, 32) != 0 && memcmp(m->udid, udid, 32) != 0)
        return bm_refuse(e, BM_MALFORMED, "entry-udid", "the UDID is not that of the key, or of issuer, kind and identifier");
    memcpy(m->udid, udid, 32);
    return BM_OK;
}

static enum bm_rc entry_line(struct bm_manifest_writer *w, struct bm_manifest_entry *m, struct bm_buf *line, struct bm_error *e)
{
    enum bm_rc rc = udid_settle(w->header.issuer, m, e);

    if (rc == BM_OK)
        rc = bm_entry_check(&w->keys, w->header.issuer, m, e);
    if (rc == BM_OK)
        rc = bm_entry_write(m, line, e);
    if (rc == BM_OK && line->n > BM_MANIFEST_LINE_MAX)
        rc =
            bm_refuse(e, BM_LIMIT, "entry-format", "an entry of %zu bytes; at most %d are possible", line->n, BM_MANIFEST_LINE_MAX);
    return rc;
}

enum bm_rc bm_manifest_writer_add(struct bm_manifest_writer *w, const struct bm_manifest_entry *given, struct bm_error *e)
{
    struct bm_manifest_entry m = *given;
    BM_CLEANUP(bm_buf_done) struct bm_buf line = { .max = 4 * BM_MANIFEST_LINE_MAX };
    enum bm_rc rc;

    if (w->ended)
        return bm_fail(e, BM_BUG, "manifest writer: nothing can be added any more");
    rc = entry_line(w, &m, &line, e);
    if (rc == BM_OK && (w->entries == w->block_entries || w->block.n + line.n + SEAL_ROOM > BM_MANIFEST_BLOCK_MAX))
        rc = flush(w, false, e);
    if (rc != BM_OK)
        return rc;
    if (!bm_seen_add(&w->seen, m.udid))
        return bm_refuse(e, BM_CONFLICT, "entry-duplicate", "the same key came before in this block");
    bm_buf_put(&w->block, line.p, line.n);
    w->entries++;
    w->total++;
    return bm_buf_check(&w->block, e);
}

enum bm_rc bm_manifest_writer_end(struct bm_manifest_writer *w, struct bm_error *e)
{
    if (w->ended)
        return bm_fail(e, BM_BUG, "manifest writer: ended already");
    return flush(w, true, e);
}
