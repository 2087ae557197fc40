/* targets: bm_manifest_split_next bm_manifest_block_parse bm_manifest_header_parse bm_seal_parse bm_entry_parse_native */
#include "../unit/manifest_fixture.h"

/* The input as a stream, as lines that are sealed for it, as a header line and as what a seal says: an attacker without the
 * signer's key gets no further than the seal, a chip maker who errs does. */
struct listener {
    struct fixture_trust trust;
    size_t entries, bad;
};

static struct fixture world;

static void must(bool ok)
{
    if (!ok)
        abort();
}

static enum bm_rc on_signer(void *arg, const uint8_t sha256[32], struct bm_rd offered, int64_t at, struct bm_rd *ret,
                            struct bm_error *e)
{
    return fixture_judge(&((struct listener *)arg)->trust, sha256, offered, at, ret, e);
}

/* What is handed out can be written, and is what it claims to be. */
static enum bm_rc on_entry(void *arg, const struct bm_manifest_entry *m, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf line = { .max = 1 << 16 };
    struct bm_spki k;
    uint8_t udid[32];

    ((struct listener *)arg)->entries++;
    if (m->ident.n != 0)
        bm_udid_symmetric(bm_rd_str(fixture_header().issuer), bm_rd_str(m->rot), m->ident, udid);
    else
        bm_udid_of(m->spki, udid);
    must(memcmp(udid, m->udid, 32) == 0 && bm_rot_kind_find(bm_rd_str(m->rot)) != NULL);
    must(m->ident.n != 0 || bm_spki_parse(m->spki, &k, e) == BM_OK);
    must(m->attributes.n <= BM_MANIFEST_ATTRIBUTES_MAX);
    must(bm_entry_write(m, &line, e) == BM_OK && line.n != 0 && line.p[line.n - 1] == '\n');
    return BM_OK;
}

static enum bm_rc on_bad(void *arg, size_t line, const struct bm_error *why, struct bm_error *e)
{
    (void)e;
    ((struct listener *)arg)->bad++;
    must(line >= 1 && strncmp(why->code, "entry-", 6) == 0 && why->what[0] != '\0');
    return BM_OK;
}

static enum bm_rc parse(struct bm_rd raw, struct bm_manifest_state *at, struct listener *l)
{
    static struct bm_manifest_reader *r;
    const struct bm_manifest_hooks hooks = { l, on_signer, NULL, NULL, on_entry, on_bad };
    struct bm_manifest_summary s;
    struct bm_error e = { 0 };
    enum bm_rc rc;

    if (r == NULL)
        must(bm_manifest_reader_new(bm_manifest_format_find("birthmark"), &r, NULL) == BM_OK);
    rc = bm_manifest_block_parse(r, raw, at, FIXTURE_CREATED, &hooks, &s, &e);
    must(rc == BM_OK || strncmp(e.code, "manifest-", 9) == 0);
    if (rc == BM_OK)
        *at = s.next;
    return rc;
}

static void as_stream(struct bm_rd in)
{
    BM_CLEANUP(bm_manifest_split_done) struct bm_manifest_split s = { 0 };
    struct listener l = { { bm_buf_rd(&world.signer.cert) }, 0, 0 };
    struct bm_manifest_state at = { 0 };
    struct bm_manifest_block block;
    size_t given = 0;
    enum bm_rc rc = BM_OK;

    bm_manifest_split_init(&s, bm_manifest_format_find("birthmark"));
    while (rc == BM_OK || rc == BM_AGAIN) {
        size_t n = in.n - given < 1000 ? in.n - given : 1000;

        rc = bm_manifest_split_next(&s, &block, NULL);
        if (rc == BM_OK)
            rc = parse(block.raw, &at, &l);
        else if (rc == BM_AGAIN && n == 0)
            bm_manifest_split_end(&s);
        else if (rc == BM_AGAIN)
            must(bm_manifest_split_put(&s, bm_rd_of(in.p + given, n), NULL) == BM_OK);
        given += rc == BM_AGAIN ? n : 0;
    }
}

static void as_sealed_lines(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf block = { .max = 1 << 22 }, payload = { .max = 1 << 12 };
    struct bm_seal s = { .manifest = "lot-4711", .first = 1, .last = true };
    struct listener l = { { bm_buf_rd(&world.signer.cert) }, 0, 0 };
    struct bm_manifest_header h = fixture_header();
    struct bm_manifest_state at = { 0 };

    bm_header_write(&h, &block);
    bm_buf_put(&block, in.p, in.n);
    bm_buf_str(&block, "\n");
    s.entries = s.total = bm_lines_count(bm_buf_rd(&block)) - 1;
    bm_udid_of(bm_buf_rd(&block), s.digest);
    bm_seal_write(&s, &payload);
    bm_buf_str(&block, "{\"seal\":\"");
    must(bm_jws_sign(world.signer.key, BM_SEAL_TYP, bm_buf_rd(&world.signer.cert), false, bm_buf_rd(&payload), &block, NULL) ==
         BM_OK);
    bm_buf_str(&block, "\"}\n");
    if (parse(bm_buf_rd(&block), &at, &l) == BM_OK)
        must(l.entries + l.bad == s.entries);
}

static void as_header(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf line = { .max = 4096 };
    struct bm_manifest_header h, again;

    if (bm_manifest_header_parse(in, &h, NULL) != BM_OK)
        return;
    bm_header_write(&h, &line);
    must(bm_manifest_header_parse(bm_buf_rd(&line), &again, NULL) == BM_OK);
    must(strcmp(h.id, again.id) == 0 && strcmp(h.issuer, again.issuer) == 0 && h.created == again.created);
}

static void as_seal(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf json = { .max = 4096 };
    struct bm_seal s, again;

    if (bm_seal_parse(in, &s, NULL) != BM_OK || strpbrk(s.manifest, "\"\\") != NULL)
        return;
    for (const char *c = s.manifest; *c != '\0'; c++)
        if ((unsigned char)*c < ' ')
            return; /* no header has such an id, so that the writer need not escape it */
    bm_seal_write(&s, &json);
    must(bm_seal_parse(bm_buf_rd(&json), &again, NULL) == BM_OK && s.seq == again.seq && memcmp(s.digest, again.digest, 32) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_rd in = bm_rd_of(p, n);

    if (world.ca.key == NULL)
        fixture_open(&world);
    as_stream(in);
    as_sealed_lines(in);
    as_header(in);
    as_seal(in);
    return 0;
}
