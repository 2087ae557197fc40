#include "manifest_fixture.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

static struct fixture world;

/* --- listening to a reader ---------------------------------------------------------------------------------------------------- */
enum { HEARD_MAX = 64 };
struct heard {
    struct fixture_trust trust;
    size_t n, n_bad, n_sealed, stop_after; /* stop_after: the entry hook fails at this one */
    uint8_t udid[HEARD_MAX][32];
    size_t line[HEARD_MAX], bad_line[HEARD_MAX];
    char code[HEARD_MAX][32];
    struct bm_buf text; /* of everything handed out, to compare */
};

static enum bm_rc on_signer(void *arg, const uint8_t sha256[32], struct bm_rd offered, int64_t at, struct bm_rd *ret,
                            struct bm_error *e)
{
    return fixture_judge(&((struct heard *)arg)->trust, sha256, offered, at, ret, e);
}

static enum bm_rc on_sealed(void *arg, const struct bm_manifest_summary *s, struct bm_error *e)
{
    struct heard *h = arg;

    (void)e;
    assert_int_equal(s->seq == 0, s->header.id[0] != '\0');
    h->n_sealed++;
    return BM_OK;
}

static enum bm_rc on_entry(void *arg, const struct bm_manifest_entry *m, struct bm_error *e)
{
    struct heard *h = arg;

    if (h->stop_after != 0 && h->n + 1 == h->stop_after)
        return bm_fail(e, BM_IO, "the disk is full");
    assert_true(h->n < HEARD_MAX);
    memcpy(h->udid[h->n], m->udid, 32);
    h->line[h->n++] = m->line;
    bm_buf_vec(&h->text, m->spki);
    bm_buf_vec(&h->text, m->birth_cert);
    bm_buf_vec(&h->text, m->attributes);
    bm_buf_str(&h->text, m->rot);
    return BM_OK;
}

static enum bm_rc on_bad(void *arg, size_t line, const struct bm_error *why, struct bm_error *e)
{
    struct heard *h = arg;

    (void)e;
    assert_true(h->n_bad < HEARD_MAX && why->what[0] != '\0');
    h->bad_line[h->n_bad] = line;
    snprintf(h->code[h->n_bad++], sizeof h->code[0], "%s", why->code);
    return BM_OK;
}

static void heard_done(struct heard *h)
{
    bm_buf_done(&h->text);
}

static struct heard heard_for(struct bm_rd pinned)
{
    return (struct heard){ .trust = { pinned }, .text.max = 1 << 20 };
}

static struct bm_manifest_hooks hooks_of(struct heard *h)
{
    return (struct bm_manifest_hooks){ h, on_signer, NULL, on_sealed, on_entry, on_bad };
}

/* One block from an allocation of its exact size. */
static enum bm_rc parse_block(struct bm_manifest_reader *r, struct bm_rd raw, struct bm_manifest_state *at, int64_t now,
                              struct heard *h, struct bm_error *e)
{
    struct bm_manifest_hooks hooks = hooks_of(h);
    struct bm_manifest_summary s;
    uint8_t *exact = malloc(raw.n != 0 ? raw.n : 1);
    size_t n = h->n, bad = h->n_bad;
    enum bm_rc rc;

    assert_non_null(exact);
    memcpy(exact, raw.p, raw.n);
    rc = bm_manifest_block_parse(r, bm_rd_of(exact, raw.n), at, now, &hooks, &s, e);
    free(exact);
    if (rc != BM_OK)
        return rc;
    assert_int_equal(s.entries, h->n - n);
    assert_int_equal(s.bad, h->n_bad - bad);
    *at = s.next;
    return BM_OK;
}

/* A whole stream, put in `chunk` bytes at a time: BM_OK when it is complete and every block was good. */
static enum bm_rc read_stream(struct bm_rd file, size_t chunk, int64_t now, struct heard *h, struct bm_manifest_state *at,
                              struct bm_error *e)
{
    const struct bm_manifest_format *f = bm_manifest_format_find("birthmark");
    BM_CLEANUP(bm_manifest_reader_freep) struct bm_manifest_reader *r = NULL;
    BM_CLEANUP(bm_manifest_split_done) struct bm_manifest_split s = { 0 };
    struct bm_manifest_block block;
    enum bm_rc rc;

    assert_int_equal(bm_manifest_reader_new(f, &r, e), BM_OK);
    bm_manifest_split_init(&s, f);
    while ((rc = bm_manifest_split_next(&s, &block, e)) != BM_NOTFOUND) {
        size_t n = file.n < chunk ? file.n : chunk;

        if (rc == BM_OK) {
            assert_int_equal(block.seq, at->seq);
            rc = parse_block(r, block.raw, at, now, h, e);
        } else if (rc == BM_AGAIN && n == 0) {
            bm_manifest_split_end(&s);
            rc = BM_OK;
        } else if (rc == BM_AGAIN) {
            rc = bm_manifest_split_put(&s, bm_rd_of(file.p, n), e);
            file = bm_rd_of(file.p + n, file.n - n);
        }
        if (rc != BM_OK)
            return rc;
    }
    return bm_manifest_complete(at, e);
}

static enum bm_rc read_file(struct bm_rd file, struct heard *h, struct bm_error *e)
{
    struct bm_manifest_state at = { 0 };

    return read_stream(file, BM_MANIFEST_CHUNK, FIXTURE_CREATED + 100, h, &at, e);
}

/* Lines of a file, as borrowed pieces with their line ends. */
static size_t cut_lines(struct bm_rd file, struct bm_rd *ret, size_t max)
{
    struct bm_rd line;
    size_t n = 0;

    while (n < max && bm_line_take(&file, &line))
        ret[n++] = bm_rd_of(line.p, line.n + 1);
    return n;
}

static void put_rd(struct bm_buf *b, struct bm_rd r)
{
    bm_buf_put(b, r.p, r.n);
}

/* --- good manifests ----------------------------------------------------------------------------------------------------------- */
static void test_round_trip(void **state)
{
    static const struct {
        size_t entries, block_entries, chunk, blocks;
    } rows[] = { { 1, 0, 65536, 1 }, { 3, 2, 65536, 2 }, { 3, 2, 1, 2 }, { 7, 1, 1000, 7 }, { 0, 0, 7, 1 }, { 40, 3, 333, 14 } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = 1 << 20 }, spki = { .max = 128 };
        BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&world.ca.cert));
        struct bm_manifest_state at = { 0 };
        struct bm_error e = { 0 };

        fixture_manifest(&world, rows[i].entries, rows[i].block_entries, &file);
        if (read_stream(bm_buf_rd(&file), rows[i].chunk, FIXTURE_CREATED, &h, &at, &e) != BM_OK)
            fail_msg("row %zu: %s", i, e.what);
        assert_int_equal(h.n, rows[i].entries);
        assert_int_equal(h.n_bad, 0);
        assert_int_equal(h.n_sealed, rows[i].blocks);
        assert_int_equal(at.seq, rows[i].blocks);
        assert_int_equal(at.entries, rows[i].entries);
        for (size_t k = 0; k < h.n; k++) {
            uint8_t udid[32];

            fixture_device(k + 1, &spki);
            bm_udid_of(bm_buf_rd(&spki), udid);
            assert_memory_equal(h.udid[k], udid, 32);
            assert_int_equal(h.line[k], 2 + k + k / (rows[i].block_entries != 0 ? rows[i].block_entries : 1024));
        }
    }
}

/* Everything an entry can have comes back as it was given. */
static void test_all_members(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = 1 << 20 };
    struct bm_manifest_header header = fixture_header();
    struct bm_manifest_writer_options o = { &header, world.signer.key, bm_buf_rd(&world.signer.cert), 0, fixture_sink, &file };
    BM_CLEANUP(bm_manifest_writer_freep) struct bm_manifest_writer *w = NULL;
    BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&world.signer.cert));
    BM_CLEANUP(bm_buf_done) struct bm_buf want = { .max = 1 << 16 };
    struct bm_manifest_entry m = { .rot = "tpm2",
                                   .spki = bm_key_spki(world.stranger.key),
                                   .birth_cert = bm_buf_rd(&world.stranger.cert) };
    struct bm_error e = { 0 };

    (void)state;
    m.attributes = bm_rd_str("{ \"a\" : [1, {\"b\":\"\\u00e9\"}] }");
    assert_int_equal(bm_manifest_writer_new(&o, &w, &e), BM_OK);
    assert_int_equal(bm_manifest_writer_add(w, &m, &e), BM_OK);
    assert_int_equal(bm_manifest_writer_end(w, &e), BM_OK);
    if (read_file(bm_buf_rd(&file), &h, &e) != BM_OK)
        fail_msg("%s", e.what);
    bm_buf_vec(&want, m.spki);
    bm_buf_vec(&want, m.birth_cert);
    bm_buf_vec(&want, bm_rd_str("{\"a\":[1,{\"b\":\"\xc3\xa9\"}]}"));
    bm_buf_str(&want, m.rot);
    assert_true(bm_rd_eq(bm_buf_rd(&h.text), bm_buf_rd(&want)));
}

/* An import that stops after any block goes on with nothing kept but the state. */
static void test_resume(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = 1 << 20 };
    BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&world.ca.cert));
    struct bm_manifest_state at = { 0 };
    struct bm_error e = { 0 };
    struct bm_rd lines[16], rest;

    (void)state;
    fixture_manifest(&world, 6, 2, &file);
    assert_int_equal(cut_lines(bm_buf_rd(&file), lines, 16), 10); /* header, 2 entries, seal, 2, seal, 2, seal */
    rest = bm_buf_rd(&file);
    for (size_t i = 0; i < 3; i++) {
        BM_CLEANUP(bm_manifest_reader_freep) struct bm_manifest_reader *r = NULL;
        size_t n = (size_t)(lines[3 + 3 * i].p - rest.p) + lines[3 + 3 * i].n;

        assert_int_equal(bm_manifest_complete(&at, &e), BM_MALFORMED);
        assert_string_equal(e.code, "manifest-cut-short");
        assert_int_equal(bm_manifest_reader_new(bm_manifest_format_find("birthmark"), &r, &e), BM_OK);
        if (parse_block(r, bm_rd_of(rest.p, n), &at, FIXTURE_CREATED, &h, &e) != BM_OK)
            fail_msg("block %zu: %s", i, e.what);
        rest = bm_rd_of(rest.p + n, rest.n - n);
    }
    assert_int_equal(rest.n, 0);
    assert_int_equal(h.n, 6);
    assert_int_equal(bm_manifest_complete(&at, &e), BM_OK);
}

static void test_hook_stops(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = 1 << 20 };
    BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&world.ca.cert));
    struct bm_error e = { 0 };

    (void)state;
    h.stop_after = 2;
    fixture_manifest(&world, 3, 0, &file);
    assert_int_equal(read_file(bm_buf_rd(&file), &h, &e), BM_IO);
    assert_string_equal(e.what, "the disk is full");
    assert_int_equal(h.n, 1);
}

/* --- tampering ---------------------------------------------------------------------------------------------------------------- */
static bool heard_before(const struct heard *original, const struct heard *h)
{
    return h->n <= original->n && h->n_bad == 0 && h->text.n <= original->text.n &&
           (h->n == 0 || (memcmp(h->text.p, original->text.p, h->text.n) == 0 && memcmp(h->udid, original->udid, 32 * h->n) == 0 &&
                          memcmp(h->line, original->line, h->n * sizeof h->line[0]) == 0));
}

/* The manifest of 3 entries in 2 blocks that the next tests attack. */
static void victim(struct bm_buf *file, struct heard *original)
{
    *original = heard_for(bm_buf_rd(&world.signer.cert));
    fixture_manifest(&world, 3, 2, file);
    assert_int_equal(read_file(bm_buf_rd(file), original, NULL), BM_OK);
    assert_int_equal(original->n, 3);
}

/* Every bit of every byte: what comes out is what was in the blocks before, never more, never other, and never complete. */
static void test_flip_every_bit(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = 1 << 20 };
    BM_CLEANUP(heard_done) struct heard original = { 0 };

    (void)state;
    victim(&file, &original);
    for (size_t i = 0; i < 8 * file.n; i++) {
        BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&world.signer.cert));
        struct bm_error e = { 0 };
        enum bm_rc rc;

        file.p[i / 8] ^= (uint8_t)(1 << i % 8);
        rc = read_file(bm_buf_rd(&file), &h, &e);
        file.p[i / 8] ^= (uint8_t)(1 << i % 8);
        if (rc == BM_OK || !heard_before(&original, &h))
            fail_msg("bit %zu of byte %zu: %s, %zu entries", i % 8, i / 8, bm_rc_name(rc), h.n);
        if (memcmp(e.code, "manifest-", 9) != 0)
            fail_msg("bit %zu of byte %zu: code '%s': %s", i % 8, i / 8, e.code, e.what);
    }
}

static void test_cut_anywhere(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = 1 << 20 };
    BM_CLEANUP(heard_done) struct heard original = { 0 };

    (void)state;
    victim(&file, &original);
    for (size_t n = 0; n < file.n; n++) {
        BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&world.signer.cert));
        struct bm_error e = { 0 };
        uint8_t *exact = malloc(n != 0 ? n : 1);
        enum bm_rc rc;

        memcpy(exact, file.p, n);
        rc = read_file(bm_rd_of(exact, n), &h, &e);
        free(exact);
        if (rc == BM_OK || !heard_before(&original, &h) || strcmp(e.code, "manifest-cut-short") != 0)
            fail_msg("%zu bytes: %s %s", n, e.code, e.what);
    }
}

/* Blocks and lines in another order: H header, digits entries, A B C their seals, X an entry nobody sealed, N an empty line. Two
 * entries in each block. */
static void test_rearranged(void **state)
{
    static const struct {
        const char *name, *order, *code;
        size_t heard;
    } rows[] = {
        { "as made", "H12A34B56C", "", 6 },
        { "a block dropped", "H12A56C", "manifest-sequence", 2 },
        { "the first block dropped", "34B56C", "manifest-sequence", 0 },
        { "the last block dropped", "H12A34B", "manifest-cut-short", 4 },
        { "blocks swapped", "H12A56C34B", "manifest-sequence", 2 },
        { "a block twice", "H12A34B34B56C", "manifest-sequence", 4 },
        { "the last block twice", "H12A34B56C56C", "manifest-sequence", 6 },
        { "an entry after the last seal", "H12A34B56C1", "manifest-cut-short", 6 },
        { "an empty line after the last seal", "H12A34B56CN", "manifest-cut-short", 6 },
        { "an entry dropped", "H1A34B56C", "manifest-digest", 0 },
        { "an entry added", "H12XA34B56C", "manifest-digest", 0 },
        { "an entry exchanged", "H12A3XB56C", "manifest-digest", 2 },
        { "entries swapped", "H21A34B56C", "manifest-digest", 0 },
        { "an entry into the next block", "H1A234B56C", "manifest-digest", 0 },
        { "an empty line", "H12NA34B56C", "manifest-digest", 0 },
        { "no header", "12A34B56C", "manifest-digest", 0 },
        { "header twice", "HH12A34B56C", "manifest-digest", 0 },
        { "a seal over other lines", "H12B34A56C", "manifest-sequence", 0 },
        { "a seal dropped", "H1234B56C", "manifest-sequence", 0 },
        { "seals only", "ABC", "manifest-digest", 0 },
        { "entries only", "123456", "manifest-cut-short", 0 },
        { "nothing", "", "manifest-cut-short", 0 },
    };
    BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = 1 << 20 }, other = { .max = 1 << 20 };
    struct bm_rd l[10], x[9];

    (void)state;
    fixture_manifest(&world, 6, 2, &file);
    fixture_manifest(&world, 7, 0, &other);
    assert_int_equal(cut_lines(bm_buf_rd(&file), l, 10), 10);
    assert_int_equal(cut_lines(bm_buf_rd(&other), x, 9), 9);

    const struct {
        char c;
        struct bm_rd line;
    } words[] = { { 'H', l[0] }, { '1', l[1] }, { '2', l[2] }, { 'A', l[3] }, { '3', l[4] }, { '4', l[5] },
                  { 'B', l[6] }, { '5', l[7] }, { '6', l[8] }, { 'C', l[9] }, { 'X', x[7] }, { 'N', bm_rd_str("\n") } };

    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&world.signer.cert));
        BM_CLEANUP(bm_buf_done) struct bm_buf made = { .max = 1 << 20 };
        struct bm_error e = { 0 };
        enum bm_rc rc;

        for (const char *c = rows[i].order; *c != '\0'; c++)
            for (size_t k = 0; k < BM_COUNT(words); k++)
                if (words[k].c == *c)
                    put_rd(&made, words[k].line);
        rc = read_file(bm_buf_rd(&made), &h, &e);
        if ((rc == BM_OK) != (rows[i].code[0] == '\0') || strcmp(e.code, rows[i].code) != 0 || h.n != rows[i].heard)
            fail_msg("%s: %zu entries, %s: %s", rows[i].name, h.n, e.code, e.what);
    }
}

/* A refusal says which lines. */
static void test_says_where(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = 1 << 20 };
    BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&world.signer.cert));
    struct bm_rd l[10];
    struct bm_error e = { 0 };

    (void)state;
    fixture_manifest(&world, 6, 2, &file);
    assert_int_equal(cut_lines(bm_buf_rd(&file), l, 10), 10);
    file.p[(size_t)(l[5].p - file.p) + 20] ^= 1;
    assert_int_equal(read_file(bm_buf_rd(&file), &h, &e), BM_DENIED);
    assert_string_equal(e.code, "manifest-digest");
    assert_non_null(strstr(e.what, "lines 5 to 7"));
}

/* --- blocks sealed by hand ---------------------------------------------------------------------------------------------------- */
struct by_hand {
    const struct fixture_party *by; /* NULL: the signer */
    struct bm_rd cert;              /* empty: of `by` */
    const char *typ;
    bool without_x5c;
    const char *payload; /* NULL: what is right for a first and last block of these lines */
};

/* header line and lines -> a sealed first and last block. */
static void seal_by_hand(const struct by_hand *how, const char *header, struct bm_rd lines, struct bm_buf *out)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = 1 << 16 };
    const struct fixture_party *by = how->by != NULL ? how->by : &world.signer;
    struct bm_seal s = { .manifest = "lot-4711", .first = 1, .last = true };

    bm_buf_str(out, header);
    put_rd(out, lines);
    s.entries = s.total = bm_lines_count(lines);
    bm_udid_of(bm_buf_rd(out), s.digest);
    if (how->payload != NULL)
        bm_buf_str(&payload, how->payload);
    else
        bm_seal_write(&s, &payload);
    bm_buf_str(out, "{\"seal\":\"");
    fixture_must(bm_jws_sign(by->key, how->typ != NULL ? how->typ : BM_SEAL_TYP,
                             how->cert.n != 0 ? how->cert : bm_buf_rd(&by->cert), !how->without_x5c, bm_buf_rd(&payload), out,
                             NULL) == BM_OK);
    bm_buf_str(out, "\"}\n");
}

/* The rows below are written with ' for ", so that they can be read. */
static const char *json(const char *text, struct bm_buf *room)
{
    room->n = 0;
    bm_buf_put(room, text, strlen(text) + 1);
    for (size_t i = 0; i < room->n; i++)
        if (room->p[i] == '\'')
            room->p[i] = '"';
    return (const char *)room->p;
}

#define HEADER "{\"birthmark-manifest\":1,\"id\":\"lot-4711\",\"issuer\":\"chips\",\"created\":\"2025-06-15T15:06:40Z\"}\n"
#define UDID1 "5cd252fb0ce8932436faf8ccd1040981b89ee4ad6b9fe9e2a2b7e71aacb27cd3"
#define UDID1_UPPER "5CD252FB0CE8932436FAF8CCD1040981B89EE4AD6B9FE9E2A2B7E71AACB27CD3"
#define UDID_OF_NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define KEY_HEAD "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"
#define KEY1 KEY_HEAD "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li_hp_m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q"
#define KEY1_PLAIN KEY_HEAD "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q"
#define UDID2 "dc0ce633dbcc913dafafa4b89ac44d8ce683fdfc3f60c8bdf21213b9f2b534ba"
#define KEY2 KEY_HEAD "fPJ7GI0DT36KUjgDBLUaw8CJaeJ38hs1pgtI_EdmmXgHd1UQ247QQCk9msafdDDbun2t5jzpgimeBLedInhz0Q"
/* KEY1 with a bit of y flipped: not on the curve */
#define KEY_OFF KEY_HEAD "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li_hp_m47n60p8D54WK84zV2sxXs7LtkBoN79R9A"
#define KEY_ED25519 "MCowBQYDK2VwAyEA11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define E1 "{'udid':'" UDID1 "','key':'" KEY1 "'," /* what an entry with KEY1 begins with */
#define ENTRY1 "{\"udid\":\"" UDID1 "\",\"key\":\"" KEY1 "\",\"rot\":\"atecc608\"}"

static const struct entry_row {
    const char *name, *line, *code; /* code "": a good one */
} entry_rows[] = {
    { "smallest", E1 "'rot':'software'}", "" },
    { "blanks and order", " { 'rot' : 'tpm2', 'key':'" KEY1 "' , 'udid':'" UDID1 "' } \r", "" },
    { "escapes", "{'ud\\u0069d':'" UDID1 "','key':'" KEY1 "','rot':'\\u0074pm2'}", "" },
    { "attributes", E1 "'rot':'dice','attributes':{'a':{'b':[]}}}", "" },
    { "empty attributes", E1 "'rot':'dice','attributes':{}}", "" },
    { "empty line", "", "entry-format" },
    { "no JSON", "hello", "entry-format" },
    { "no object", "[1]", "entry-format" },
    { "cut", E1 "'rot':'tpm2'", "entry-format" },
    { "leftover", E1 "'rot':'tpm2'}x", "entry-format" },
    { "two objects", E1 "'rot':'tpm2'}" E1 "'rot':'tpm2'}", "entry-format" },
    { "bad UTF-8", E1 "'rot':'tpm2','attributes':{'a':'\xff'}}", "entry-format" },
    { "NUL in a text", E1 "'rot':'tpm2\\u0000'}", "entry-format" },
    { "member twice", E1 "'rot':'tpm2','rot':'tpm2'}", "entry-format" },
    { "attribute twice", E1 "'rot':'tpm2','attributes':{'a':1,'a':2}}", "entry-format" },
    { "unknown member", E1 "'rot':'tpm2','owner':'me'}", "entry-format" },
    { "no udid", "{'key':'" KEY1 "','rot':'tpm2'}", "entry-format" },
    { "no key", "{'udid':'" UDID1 "','rot':'tpm2'}", "entry-format" },
    { "key is a number", "{'udid':'" UDID1 "','key':1,'rot':'tpm2'}", "entry-format" },
    { "birth is null", E1 "'rot':'tpm2','birth':null}", "entry-format" },
    { "birth is empty", E1 "'rot':'tpm2','birth':''}", "entry-format" },
    { "no rot", "{'udid':'" UDID1 "','key':'" KEY1 "'}", "entry-rot" },
    { "unknown rot", E1 "'rot':'rot13'}", "entry-rot" },
    { "empty rot", E1 "'rot':''}", "entry-rot" },
    { "long rot", E1 "'rot':'softwaresoftwaresoftwaresoftware'}", "entry-rot" },
    { "upper-case rot", E1 "'rot':'TPM2'}", "entry-rot" },
    { "UDID of another key", "{'udid':'" UDID2 "','key':'" KEY1 "','rot':'tpm2'}", "entry-udid" },
    { "UDID in upper case", "{'udid':'" UDID1_UPPER "','key':'" KEY1 "','rot':'tpm2'}", "entry-udid" },
    { "UDID cut", "{'udid':'5cd252fb','key':'" KEY1 "','rot':'tpm2'}", "entry-udid" },
    { "empty UDID", "{'udid':'','key':'" KEY1 "','rot':'tpm2'}", "entry-udid" },
    { "key padded", "{'udid':'" UDID1 "','key':'" KEY1 "==','rot':'tpm2'}", "entry-key" },
    { "key in plain base64", "{'udid':'" UDID1 "','key':'" KEY1_PLAIN "','rot':'tpm2'}", "entry-key" },
    { "no key at all", "{'udid':'" UDID_OF_NOTHING "','key':'','rot':'tpm2'}", "entry-key" },
    { "attributes are a list", E1 "'rot':'tpm2','attributes':[]}", "entry-attributes" },
    { "attributes are null", E1 "'rot':'tpm2','attributes':null}", "entry-attributes" },
    { "attributes 16 deep", E1 "'rot':'tpm2','attributes':{'a':[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}}", "" },
    { "attributes 17 deep", E1 "'rot':'tpm2','attributes':{'a':[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}}", "entry-attributes" },
    { "birth is no certificate", E1 "'rot':'tpm2','birth':'MAA'}", "entry-birth" },
    { "birth is no base64url", E1 "'rot':'tpm2','birth':'M=A'}", "entry-birth" },
};

/* line (with its LF) in a genuine block: the code it gets, when it is handed out. */
static void verdict(struct bm_rd line, char *ret, size_t ret_len)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf block = { .max = 1 << 22 };
    BM_CLEANUP(bm_manifest_reader_freep) struct bm_manifest_reader *r = NULL;
    BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&world.signer.cert));
    struct bm_manifest_state at = { 0 };
    struct bm_error e = { 0 };

    seal_by_hand(&(struct by_hand){ 0 }, HEADER, line, &block);
    assert_int_equal(bm_manifest_reader_new(bm_manifest_format_find("birthmark"), &r, &e), BM_OK);
    if (parse_block(r, bm_buf_rd(&block), &at, FIXTURE_CREATED, &h, &e) != BM_OK)
        fail_msg("%s: %s", e.code, e.what);
    assert_int_equal(h.n + h.n_bad, 1);
    assert_int_equal(h.n != 0 ? h.line[0] : h.bad_line[0], 2);
    snprintf(ret, ret_len, "%s", h.n_bad != 0 ? h.code[0] : "");
}

static void test_entries(void **state)
{
    char code[32];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(entry_rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf line = { .max = 4096 }, room = { .max = 4096 };

        bm_buf_printf(&line, "%s\n", json(entry_rows[i].line, &room));
        verdict(bm_buf_rd(&line), code, sizeof code);
        if (strcmp(code, entry_rows[i].code) != 0)
            fail_msg("%s: '%s'", entry_rows[i].name, code);
    }
}

/* Prefixes and single characters changed: sealed as they are, so that the entry parser sees them. */
static void test_entry_prefixes(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf line = { .max = 4096 };
    char code[32];

    (void)state;
    for (size_t n = 0; n < strlen(ENTRY1); n++) {
        line.n = 0;
        bm_buf_put(&line, ENTRY1, n);
        bm_buf_str(&line, "\n");
        verdict(bm_buf_rd(&line), code, sizeof code);
        if (code[0] == '\0')
            fail_msg("%zu characters were taken", n);
    }
    for (size_t i = 0; i < strlen(ENTRY1); i++) {
        line.n = 0;
        bm_buf_str(&line, ENTRY1 "\n");
        line.p[i] ^= 1; /* never makes a line end of these characters */
        verdict(bm_buf_rd(&line), code, sizeof code);
        if (code[0] == '\0')
            fail_msg("character %zu changed, and taken", i);
    }
}

static void put_hex_line(struct bm_buf *out, struct bm_rd spki, const char *rest)
{
    uint8_t udid[32];
    char hex[65];

    bm_udid_of(spki, udid);
    bm_hex(udid, 32, hex);
    bm_buf_printf(out, "{\"udid\":\"%s\",\"key\":\"", hex);
    bm_base64url(out, spki);
    bm_buf_printf(out, "\",\"rot\":\"software\"%s}\n", rest);
}

/* Keys whose UDID is right and that are no good all the same. */
static void test_keys(void **state)
{
    static const struct {
        const char *name, *key, *code;
    } rows[] = {
        { "P-256", KEY1, "" },
        { "off the curve", KEY_OFF, "entry-key" },
        { "Ed25519", KEY_ED25519, "" },
        { "compressed point", "MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgADaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "entry-key" },
        { "infinity", "MBkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDAgAA", "entry-key" },
        { "no SubjectPublicKeyInfo", "MAA", "entry-key" },
        { "one byte", "MA", "entry-key" },
        { "unknown algorithm", "MAwwBQYDKgMEAwMAAQI", "entry-key" },
    };
    char code[32];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = 1024 }, line = { .max = 4096 };

        assert_int_equal(bm_unbase64url(bm_rd_str(rows[i].key), &der, NULL), BM_OK);
        put_hex_line(&line, bm_buf_rd(&der), "");
        verdict(bm_buf_rd(&line), code, sizeof code);
        if (strcmp(code, rows[i].code) != 0)
            fail_msg("%s: '%s'", rows[i].name, code);
    }
}

/* Kinds of key by the library that makes them. */
static void test_generated_keys(void **state)
{
    static const char *const curves[] = { "P-256", "P-384", "P-521" };
    char code[32];

    (void)state;
    for (size_t i = 0; i <= BM_COUNT(curves); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf line = { .max = 4096 };
        EVP_PKEY *k = i < BM_COUNT(curves) ? EVP_EC_gen(curves[i]) : EVP_RSA_gen(2048);
        uint8_t *der = NULL;
        int n = i2d_PUBKEY(k, &der);

        assert_true(n > 0);
        put_hex_line(&line, bm_rd_of(der, (size_t)n), "");
        verdict(bm_buf_rd(&line), code, sizeof code);
        assert_string_equal(code, "");
        if (i < BM_COUNT(curves)) {
            der[n - 1] ^= 1; /* y + 1 or y - 1 is on the curve for no point we will meet */
            line.n = 0;
            put_hex_line(&line, bm_rd_of(der, (size_t)n), "");
            verdict(bm_buf_rd(&line), code, sizeof code);
            assert_string_equal(code, "entry-key");
        }
        OPENSSL_free(der);
        EVP_PKEY_free(k);
    }
}

static void test_birth_certificates(void **state)
{
    static const struct {
        const char *name;
        bool own;
        const char *code;
    } rows[] = { { "its own", true, "" }, { "another's", false, "entry-birth" } };
    char code[32];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf line = { .max = 8192 }, rest = { .max = 8192 };

        bm_buf_str(&rest, ",\"birth\":\"");
        bm_base64url(&rest, bm_buf_rd(rows[i].own ? &world.stranger.cert : &world.ca.cert));
        bm_buf_put(&rest, "\"", 2);
        put_hex_line(&line, bm_key_spki(world.stranger.key), (const char *)rest.p);
        verdict(bm_buf_rd(&line), code, sizeof code);
        if (strcmp(code, rows[i].code) != 0)
            fail_msg("%s: '%s'", rows[i].name, code);
    }
}

static void test_sizes(void **state)
{
    static const struct {
        const char *name;
        size_t attribute; /* characters of one */
        const char *code;
    } rows[] = { { "4096 bytes", 4096 - 8, "" },
                 { "4097 bytes", 4096 - 7, "entry-attributes" },
                 { "15 kB", 15000, "entry-attributes" },
                 { "17 kB", 17000, "entry-format" } };
    char code[32];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf line = { .max = 1 << 16 }, room = { .max = 4096 };

        bm_buf_str(&line, json(E1 "'rot':'tpm2','attributes':{'a':'", &room));
        for (size_t k = 0; k < rows[i].attribute; k++)
            bm_buf_str(&line, "x");
        bm_buf_str(&line, "\"}}\n");
        verdict(bm_buf_rd(&line), code, sizeof code);
        if (strcmp(code, rows[i].code) != 0)
            fail_msg("%s: '%s'", rows[i].name, code);
    }
}

/* A bad line does not keep the others from coming through, and is named by its number. */
static void test_bad_among_good(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf block = { .max = 1 << 16 }, lines = { .max = 4096 }, room = { .max = 4096 };
    BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&world.signer.cert));
    struct bm_error e = { 0 };

    (void)state;
    bm_buf_str(&lines, json("nonsense\n" E1 "'rot':'tpm2'}\n", &room));
    bm_buf_str(&lines, ENTRY1 "\n");
    bm_buf_str(&lines, json("{'udid':'" UDID2 "','key':'" KEY2 "','rot':'tpm2'}\n", &room));
    seal_by_hand(&(struct by_hand){ 0 }, HEADER, bm_buf_rd(&lines), &block);
    if (read_file(bm_buf_rd(&block), &h, &e) != BM_OK)
        fail_msg("%s", e.what);
    assert_int_equal(h.n, 2);
    assert_int_equal(h.line[0], 3);
    assert_int_equal(h.line[1], 5);
    assert_int_equal(h.n_bad, 2);
    assert_int_equal(h.bad_line[0], 2);
    assert_string_equal(h.code[0], "entry-format");
    assert_int_equal(h.bad_line[1], 4);
    assert_string_equal(h.code[1], "entry-duplicate");
}

/* --- header ------------------------------------------------------------------------------------------------------------------- */
#define H1 "{'birthmark-manifest':1,"
#define MADE ",'created':'2025-06-15T15:06:40Z'}"
#define ID_64 "0123456789012345678901234567890123456789012345678901234567890123"
static const struct {
    const char *name, *line;
    bool good;
} header_rows[] = {
    { "smallest", H1 "'id':'1','issuer':'a'" MADE, true },
    { "all", H1 "'id':'lot/4711#x','issuer':'a','product':'p','batch':'b'" MADE, true },
    { "version 2", "{'birthmark-manifest':2,'id':'1','issuer':'a'" MADE, false },
    { "version as text", "{'birthmark-manifest':'1','id':'1','issuer':'a'" MADE, false },
    { "version 1.0", "{'birthmark-manifest':1.0,'id':'1','issuer':'a'" MADE, false },
    { "no version", "{'id':'1','issuer':'a'" MADE, false },
    { "no id", H1 "'issuer':'a'" MADE, false },
    { "empty id", H1 "'id':'','issuer':'a'" MADE, false },
    { "id with a blank", H1 "'id':'a b','issuer':'a'" MADE, false },
    { "id with a quote", H1 "'id':'a\\'b','issuer':'a'" MADE, false },
    { "id with a line end", H1 "'id':'a\\nb','issuer':'a'" MADE, false },
    { "id not ASCII", H1 "'id':'\xc3\xa9','issuer':'a'" MADE, false },
    { "id of 64", H1 "'id':'" ID_64 "','issuer':'a'" MADE, true },
    { "id of 65", H1 "'id':'" ID_64 "4','issuer':'a'" MADE, false },
    { "no issuer", H1 "'id':'1'" MADE, false },
    { "issuer is no name", H1 "'id':'1','issuer':'Chips Ltd'" MADE, false },
    { "empty product", H1 "'id':'1','issuer':'a','product':''" MADE, false },
    { "product is no name", H1 "'id':'1','issuer':'a','product':'../x'" MADE, false },
    { "batch is a number", H1 "'id':'1','issuer':'a','batch':1" MADE, false },
    { "no time", H1 "'id':'1','issuer':'a'}", false },
    { "time with an offset", H1 "'id':'1','issuer':'a','created':'2025-06-15T15:06:40+01:00'}", false },
    { "time as a number", H1 "'id':'1','issuer':'a','created':1750000000}", false },
    { "time before 1970", H1 "'id':'1','issuer':'a','created':'1969-06-15T15:06:40Z'}", false },
    { "member twice", H1 "'id':'1','id':'2','issuer':'a'" MADE, false },
    { "unknown member", H1 "'id':'1','issuer':'a','x':1" MADE, false },
    { "leftover", H1 "'id':'1','issuer':'a'" MADE " x", false },
    { "no object", "[]", false },
    { "nothing", "", false },
};

static enum bm_rc header_exact(const char *line, size_t n, struct bm_manifest_header *h, struct bm_error *e)
{
    uint8_t *exact = malloc(n != 0 ? n : 1);
    enum bm_rc rc;

    memcpy(exact, line, n);
    rc = bm_manifest_header_parse(bm_rd_of(exact, n), h, e);
    free(exact);
    return rc;
}

static void test_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(header_rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf again = { .max = 4096 }, room = { .max = 4096 };
        const char *line = json(header_rows[i].line, &room);
        struct bm_manifest_header h = { 0 }, same = { 0 };
        struct bm_error e = { 0 };
        enum bm_rc rc = header_exact(line, strlen(line), &h, &e);

        if ((rc == BM_OK) != header_rows[i].good || (rc != BM_OK && strcmp(e.code, "manifest-format") != 0))
            fail_msg("%s: %s %s", header_rows[i].name, bm_rc_name(rc), e.what);
        if (rc != BM_OK)
            continue;
        for (size_t n = 0; n < strlen(line); n++)
            assert_int_not_equal(header_exact(line, n, &same, NULL), BM_OK);
        bm_header_write(&h, &again);
        assert_int_equal(bm_manifest_header_parse(bm_buf_rd(&again), &same, &e), BM_OK);
        assert_memory_equal(&h, &same, sizeof h); /* the rows are spelled as the writer does it */
    }
}

/* --- seals -------------------------------------------------------------------------------------------------------------------- */
#define D43 "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
#define LOT "{'manifest':'lot-4711',"
#define DIGEST "'digest':'" D43 "'"
static const struct {
    const char *name, *payload, *code;
} seal_rows[] = {
    { "other digest", LOT "'seq':0,'entries':1,'first':1," DIGEST ",'total':1,'last':true}", "manifest-digest" },
    { "other seq", LOT "'seq':1,'entries':1,'first':1," DIGEST ",'total':1,'last':true}", "manifest-sequence" },
    { "prev in block 0", LOT "'seq':0,'entries':1,'first':1," DIGEST ",'prev':'" D43 "','total':1}", "manifest-sequence" },
    { "other first", LOT "'seq':0,'entries':1,'first':2," DIGEST ",'total':1,'last':true}", "manifest-sequence" },
    { "other total", LOT "'seq':0,'entries':1,'first':1," DIGEST ",'total':2,'last':true}", "manifest-sequence" },
    { "negative", LOT "'seq':-1,'entries':1,'first':1," DIGEST ",'total':1,'last':true}", "manifest-format" },
    { "a real", LOT "'seq':0.0,'entries':1,'first':1," DIGEST ",'total':1,'last':true}", "manifest-format" },
    { "huge", LOT "'seq':0,'entries':99999999999999999999,'first':1," DIGEST ",'total':1}", "manifest-format" },
    { "digest cut", LOT "'seq':0,'entries':1,'first':1,'digest':'47DE','total':1,'last':true}", "manifest-format" },
    { "no digest", LOT "'seq':0,'entries':1,'first':1,'total':1,'last':true}", "manifest-format" },
    { "last is false", LOT "'seq':0,'entries':1,'first':1," DIGEST ",'total':1,'last':false}", "manifest-format" },
    { "unknown member", LOT "'seq':0,'entries':1,'first':1," DIGEST ",'total':1,'x':1}", "manifest-format" },
    { "member twice", LOT "'seq':0,'seq':0,'entries':1,'first':1," DIGEST ",'total':1}", "manifest-format" },
    { "no JSON", "hello", "manifest-format" },
    { "nothing", "", "manifest-format" },
};

static enum bm_rc read_block(struct bm_rd block, struct bm_rd pinned, int64_t now, size_t *ret_heard, struct bm_error *e)
{
    BM_CLEANUP(bm_manifest_reader_freep) struct bm_manifest_reader *r = NULL;
    BM_CLEANUP(heard_done) struct heard h = heard_for(pinned);
    struct bm_manifest_state at = { 0 };
    enum bm_rc rc;

    assert_int_equal(bm_manifest_reader_new(bm_manifest_format_find("birthmark"), &r, e), BM_OK);
    rc = parse_block(r, block, &at, now, &h, e);
    *ret_heard = h.n + h.n_bad + h.n_sealed;
    return rc;
}

static void test_seals(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(seal_rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf block = { .max = 1 << 16 }, room = { .max = 4096 };
        struct bm_error e = { 0 };
        size_t heard;

        seal_by_hand(&(struct by_hand){ .payload = json(seal_rows[i].payload, &room) }, HEADER, bm_rd_str(ENTRY1 "\n"), &block);
        assert_int_not_equal(read_block(bm_buf_rd(&block), bm_buf_rd(&world.signer.cert), FIXTURE_CREATED, &heard, &e), BM_OK);
        if (strcmp(e.code, seal_rows[i].code) != 0 || heard != 0)
            fail_msg("%s: %s %s", seal_rows[i].name, e.code, e.what);
    }
}

/* What a seal says, written and read, and every proper prefix of it. */
static void test_seal_prefixes(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 4096 };
    struct bm_seal s = { .manifest = "lot-4711", .seq = 7, .entries = 3, .first = 99, .total = 70, .has_prev = true, .last = true },
                   got;

    (void)state;
    memset(s.digest, 1, 32);
    memset(s.prev, 2, 32);
    bm_seal_write(&s, &text);
    assert_int_equal(bm_seal_parse(bm_buf_rd(&text), &got, NULL), BM_OK);
    assert_string_equal(got.manifest, s.manifest);
    assert_true(got.seq == 7 && got.entries == 3 && got.first == 99 && got.total == 70 && got.has_prev && got.last);
    assert_memory_equal(got.digest, s.digest, 32);
    assert_memory_equal(got.prev, s.prev, 32);
    for (size_t n = 0; n < text.n; n++) {
        uint8_t *exact = malloc(n != 0 ? n : 1);

        memcpy(exact, text.p, n);
        assert_int_not_equal(bm_seal_parse(bm_rd_of(exact, n), &got, NULL), BM_OK);
        free(exact);
    }
}

/* Sealed in good order over something that is no manifest. */
static void test_sealed_nonsense(void **state)
{
    static const struct {
        const char *name, *header, *lines, *code;
    } rows[] = {
        { "no header", "", ENTRY1 "\n", "manifest-format" },
        { "another's header", H1 "'id':'other','issuer':'chips'" MADE "\n", ENTRY1 "\n", "manifest-sequence" },
        { "made too early", H1 "'id':'lot-4711','issuer':'c','created':'2015-06-15T15:06:40Z'}\n", ENTRY1 "\n", "manifest-signer" },
        { "nothing at all", "", "", "manifest-format" },
        { "no entries", HEADER, "", "" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf block = { .max = 1 << 16 }, room = { .max = 4096 };
        struct bm_error e = { 0 };
        size_t heard;
        enum bm_rc rc;

        seal_by_hand(&(struct by_hand){ 0 }, json(rows[i].header, &room), bm_rd_str(rows[i].lines), &block);
        rc = read_block(bm_buf_rd(&block), bm_buf_rd(&world.signer.cert), FIXTURE_CREATED, &heard, &e);
        if (strcmp(e.code, rows[i].code) != 0 || (rc == BM_OK) != (heard != 0))
            fail_msg("%s: %s %s", rows[i].name, e.code, e.what);
    }
}

/* --- signers ------------------------------------------------------------------------------------------------------------------ */
static void test_signers(void **state)
{
    const struct bm_rd signer = bm_buf_rd(&world.signer.cert), ca = bm_buf_rd(&world.ca.cert), expired = bm_buf_rd(&world.expired);
    const struct bm_rd stranger = bm_buf_rd(&world.stranger.cert);
    const int64_t then = FIXTURE_CREATED;
    const struct {
        const char *name;
        struct by_hand how;
        struct bm_rd pinned;
        int64_t now;
        const char *code;
    } rows[] = {
        { "pinned", { 0 }, signer, then, "" },
        { "pinned, not brought along", { .without_x5c = true }, signer, then, "" },
        { "issued by a pinned CA", { 0 }, ca, then, "" },
        { "by a pinned CA, not brought along", { .without_x5c = true }, ca, then, "manifest-signer" },
        { "the pinned CA itself", { .by = &world.ca }, ca, then, "" },
        { "nobody we know", { .by = &world.stranger }, ca, then, "manifest-signer" },
        { "the signer for the stranger", { 0 }, stranger, then, "manifest-signer" },
        { "stranger, the signer's certificate", { .by = &world.stranger, .cert = signer }, ca, then, "manifest-signature" },
        { "the same by its digest",
          { .by = &world.stranger, .cert = signer, .without_x5c = true },
          signer,
          then,
          "manifest-signature" },
        { "expired", { .cert = expired }, ca, then + 11, "manifest-signer" },
        { "expired and pinned itself", { .cert = expired }, expired, then + 11, "manifest-signer" },
        { "about to expire", { .cert = expired }, ca, then + 10, "" },
        { "not yet valid", { 0 }, signer, FIXTURE_FROM - 1, "manifest-signer" },
        { "another typ", { .typ = "JWT" }, signer, then, "manifest-format" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf block = { .max = 1 << 16 };
        struct bm_error e = { 0 };
        size_t heard;
        enum bm_rc rc;

        seal_by_hand(&rows[i].how, HEADER, bm_rd_str(ENTRY1 "\n"), &block);
        rc = read_block(bm_buf_rd(&block), rows[i].pinned, rows[i].now, &heard, &e);
        if (strcmp(e.code, rows[i].code) != 0 || (rc == BM_OK) != (heard != 0))
            fail_msg("%s: %s %s", rows[i].name, e.code, e.what);
    }
}

/* The key is kept from block to block, trust is not. */
static void test_trust_taken_away(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = 1 << 20 };
    BM_CLEANUP(bm_manifest_reader_freep) struct bm_manifest_reader *r = NULL;
    BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&world.signer.cert));
    struct bm_manifest_state at = { 0 };
    struct bm_error e = { 0 };
    struct bm_rd l[16];
    size_t first;

    (void)state;
    fixture_manifest(&world, 4, 2, &file);
    assert_int_equal(cut_lines(bm_buf_rd(&file), l, 16), 7);
    first = (size_t)(l[4].p - file.p);
    assert_int_equal(bm_manifest_reader_new(bm_manifest_format_find("birthmark"), &r, &e), BM_OK);
    assert_int_equal(parse_block(r, bm_rd_of(file.p, first), &at, FIXTURE_CREATED, &h, &e), BM_OK);
    h.trust.pinned = bm_buf_rd(&world.stranger.cert);
    assert_int_equal(parse_block(r, bm_rd_of(file.p + first, file.n - first), &at, FIXTURE_CREATED, &h, &e), BM_DENIED);
    assert_string_equal(e.code, "manifest-signer");
    assert_int_equal(h.n, 2);
}

/* --- cutting ------------------------------------------------------------------------------------------------------------------ */
static void test_huge(void **state)
{
    static const struct {
        const char *name;
        size_t line_len, n_lines;
        bool lf;
        enum bm_rc want;
        const char *code;
    } rows[] = {
        { "a line without end", 3 << 20, 1, false, BM_LIMIT, "manifest-format" },
        { "a line that is too long", BM_MANIFEST_LINE_MAX + 1, 1, true, BM_LIMIT, "manifest-format" },
        { "the longest line", BM_MANIFEST_LINE_MAX, 1, true, BM_MALFORMED, "manifest-cut-short" },
        { "lines without a seal", 10, 100000, true, BM_LIMIT, "manifest-format" },
        { "long lines without a seal", 16000, 1000, true, BM_LIMIT, "manifest-format" },
        { "lines of nothing", 0, 5000, true, BM_LIMIT, "manifest-format" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = 1 << 25 };
        BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&world.signer.cert));
        struct bm_error e = { 0 };
        enum bm_rc rc;

        for (size_t k = 0; k < rows[i].n_lines; k++) {
            uint8_t *to = bm_buf_room(&file, rows[i].line_len + 1);

            assert_non_null(to);
            memset(to, 'x', rows[i].line_len);
            to[rows[i].line_len] = '\n';
            file.n += rows[i].line_len + (rows[i].lf ? 1 : 0);
        }
        rc = read_file(bm_buf_rd(&file), &h, &e);
        if (rc != rows[i].want || strcmp(e.code, rows[i].code) != 0)
            fail_msg("%s: %s %s", rows[i].name, e.code, e.what);
    }
}

/* 1025 entries under one seal, or a block over its limit, however well sealed. */
static void test_block_limits(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf lines = { .max = 1 << 24 }, block = { .max = 1 << 24 };
    struct bm_error e = { 0 };
    size_t heard;

    (void)state;
    for (size_t i = 0; i < BM_MANIFEST_BLOCK_ENTRIES + 1; i++)
        bm_buf_str(&lines, "x\n");
    seal_by_hand(&(struct by_hand){ 0 }, HEADER, bm_buf_rd(&lines), &block);
    assert_int_not_equal(read_block(bm_buf_rd(&block), bm_buf_rd(&world.signer.cert), FIXTURE_CREATED, &heard, &e), BM_OK);
    assert_string_equal(e.code, "manifest-format");
    while (lines.n <= BM_MANIFEST_BLOCK_MAX)
        bm_buf_str(&lines, "x\n");
    block.n = 0;
    seal_by_hand(&(struct by_hand){ 0 }, HEADER, bm_buf_rd(&lines), &block);
    assert_int_equal(read_block(bm_buf_rd(&block), bm_buf_rd(&world.signer.cert), FIXTURE_CREATED, &heard, &e), BM_LIMIT);
    assert_int_equal(heard, 0);
}

/* --- writing ------------------------------------------------------------------------------------------------------------------ */
static void test_writer_refuses(void **state)
{
    struct bm_manifest_header good = fixture_header(), no_id = good, early = good;
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 16 };
    const struct {
        const char *name;
        struct bm_manifest_writer_options o;
    } rows[] = {
        { "no id", { &no_id, world.signer.key, bm_buf_rd(&world.signer.cert), 0, fixture_sink, &out } },
        { "before the signer's time", { &early, world.signer.key, bm_buf_rd(&world.signer.cert), 0, fixture_sink, &out } },
        { "another's certificate", { &good, world.signer.key, bm_buf_rd(&world.ca.cert), 0, fixture_sink, &out } },
        { "no certificate", { &good, world.signer.key, { 0 }, 0, fixture_sink, &out } },
        { "blocks too large", { &good, world.signer.key, bm_buf_rd(&world.signer.cert), 1025, fixture_sink, &out } },
    };

    (void)state;
    no_id.id[0] = '\0';
    early.created = FIXTURE_FROM - 1;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_manifest_writer_freep) struct bm_manifest_writer *w = NULL;
        struct bm_error e = { 0 };

        if (bm_manifest_writer_new(&rows[i].o, &w, &e) != BM_USAGE)
            fail_msg("%s", rows[i].name);
    }
    assert_int_equal(out.n, 0);
}

static void test_writer_checks_entries(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = 1 << 20 }, spki = { .max = 128 };
    struct bm_manifest_header header = fixture_header();
    struct bm_manifest_writer_options o = { &header, world.signer.key, bm_buf_rd(&world.signer.cert), 0, fixture_sink, &file };
    BM_CLEANUP(bm_manifest_writer_freep) struct bm_manifest_writer *w = NULL;
    BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&world.signer.cert));
    struct bm_error e = { 0 };
    enum bm_rc rc;

    (void)state;
    fixture_device(5, &spki);

    const struct {
        const char *name;
        struct bm_manifest_entry m;
        const char *code;
    } rows[] = {
        { "unknown rot", { .spki = bm_buf_rd(&spki), .rot = "rot13" }, "entry-rot" },
        { "no key", { .rot = "tpm2" }, "entry-key" },
        { "other UDID", { .spki = bm_buf_rd(&spki), .rot = "tpm2", .udid = { 1 } }, "entry-udid" },
        { "another's birth certificate",
          { .spki = bm_buf_rd(&spki), .rot = "tpm2", .birth_cert = bm_buf_rd(&world.ca.cert) },
          "entry-birth" },
        { "attributes are no object",
          { .spki = bm_buf_rd(&spki), .rot = "tpm2", .attributes = bm_rd_str("[]") },
          "entry-attributes" },
        { "good", { .spki = bm_buf_rd(&spki), .rot = "tpm2" }, "" },
        { "again", { .spki = bm_buf_rd(&spki), .rot = "tpm2" }, "entry-duplicate" },
    };

    assert_int_equal(bm_manifest_writer_new(&o, &w, &e), BM_OK);
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        e = (struct bm_error){ 0 };
        rc = bm_manifest_writer_add(w, &rows[i].m, &e);
        if ((rc == BM_OK) != (rows[i].code[0] == '\0') || strcmp(e.code, rows[i].code) != 0)
            fail_msg("%s: %s %s", rows[i].name, e.code, e.what);
    }
    assert_int_equal(bm_manifest_writer_end(w, &e), BM_OK);
    assert_int_equal(bm_manifest_writer_end(w, &e), BM_BUG);
    assert_int_equal(bm_manifest_writer_add(w, &rows[5].m, &e), BM_BUG);
    assert_int_equal(read_file(bm_buf_rd(&file), &h, &e), BM_OK);
    assert_int_equal(h.n, 1);
}

static enum bm_rc full_disk(void *arg, struct bm_rd block, struct bm_error *e)
{
    (void)arg, (void)block;
    return bm_fail(e, BM_IO, "the disk is full");
}

/* After a block was lost no later one is sealed over the hole. */
static void test_writer_stops_at_a_hole(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf spki = { .max = 128 };
    struct bm_manifest_header header = fixture_header();
    struct bm_manifest_writer_options o = { &header, world.signer.key, bm_buf_rd(&world.signer.cert), 1, full_disk, NULL };
    BM_CLEANUP(bm_manifest_writer_freep) struct bm_manifest_writer *w = NULL;
    struct bm_manifest_entry m = { .rot = "tpm2" };
    struct bm_error e = { 0 };
    enum bm_rc want[] = { BM_OK, BM_IO, BM_BUG };

    (void)state;
    assert_int_equal(bm_manifest_writer_new(&o, &w, &e), BM_OK);
    for (size_t i = 0; i < BM_COUNT(want); i++) {
        fixture_device(i + 1, &spki);
        m.spki = bm_buf_rd(&spki);
        assert_int_equal(bm_manifest_writer_add(w, &m, &e), want[i]);
    }
    assert_int_equal(bm_manifest_writer_end(w, &e), BM_BUG);
}

/* Attributes of 4 kB each: blocks end before they are too large. */
static void test_writer_large_entries(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = 1 << 24 }, spki = { .max = 128 }, attributes = { .max = 4096 };
    struct bm_manifest_header header = fixture_header();
    struct bm_manifest_writer_options o = { &header, world.signer.key, bm_buf_rd(&world.signer.cert), 0, fixture_sink, &file };
    BM_CLEANUP(bm_manifest_writer_freep) struct bm_manifest_writer *w = NULL;
    const struct bm_manifest_format *f = bm_manifest_format_find("birthmark");
    BM_CLEANUP(bm_manifest_split_done) struct bm_manifest_split s = { 0 };
    struct bm_manifest_entry m = { .rot = "tpm2" };
    struct bm_manifest_block block;
    struct bm_error e = { 0 };
    size_t blocks = 0;

    (void)state;
    bm_buf_str(&attributes, "{\"a\":\"");
    while (attributes.n < 4094)
        bm_buf_str(&attributes, "x");
    bm_buf_str(&attributes, "\"}");
    m.attributes = bm_buf_rd(&attributes);
    assert_int_equal(bm_manifest_writer_new(&o, &w, &e), BM_OK);
    for (size_t i = 0; i < 1024; i++) {
        fixture_device(i + 1, &spki);
        m.spki = bm_buf_rd(&spki);
        assert_int_equal(bm_manifest_writer_add(w, &m, &e), BM_OK);
    }
    assert_int_equal(bm_manifest_writer_end(w, &e), BM_OK);
    assert_true(file.n > BM_MANIFEST_BLOCK_MAX);
    bm_manifest_split_init(&s, f);
    for (size_t at = 0;;) {
        enum bm_rc rc = bm_manifest_split_next(&s, &block, &e);
        size_t n = file.n - at < BM_MANIFEST_CHUNK ? file.n - at : BM_MANIFEST_CHUNK;

        blocks += rc == BM_OK;
        if (rc == BM_NOTFOUND)
            break;
        assert_true(rc == BM_OK || rc == BM_AGAIN);
        if (rc == BM_AGAIN && n == 0)
            bm_manifest_split_end(&s);
        if (rc == BM_AGAIN && n != 0)
            assert_int_equal(bm_manifest_split_put(&s, bm_rd_of(file.p + at, n), &e), BM_OK);
        at += rc == BM_AGAIN ? n : 0;
    }
    assert_int_equal(blocks, 2);
}

/* --- tables and documents ----------------------------------------------------------------------------------------------------- */
static void test_formats(void **state)
{
    static const struct {
        const char *text, *name;
    } rows[] = { { "{\"birthmark-manifest\":1", "birthmark" },
                 { "\r\n [\n", "microchip" },
                 { "", NULL },
                 { " \n", NULL },
                 { "udid,key", NULL } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        const struct bm_manifest_format *f = bm_manifest_format_guess(bm_rd_str(rows[i].text));

        assert_true(f == (rows[i].name != NULL ? bm_manifest_format_find(rows[i].name) : NULL));
        assert_true(rows[i].name == NULL || f != NULL);
    }
    assert_null(bm_manifest_format_guess(bm_rd_of("\0[", 2)));
    assert_null(bm_manifest_format_find("csv"));
}

static char *slurp(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 18);

    if (f == NULL)
        fail_msg("%s cannot be read: run from the top of the tree", path);
    assert_true(fread(text, 1, (1 << 18) - 1, f) > 0);
    fclose(f);
    return text;
}

/* docs/manifest.md lists every kind of root of trust and nothing else. */
static void test_documented_kinds(void **state)
{
    char *doc = slurp("docs/manifest.md"), *table = strstr(doc, "| kind |"), *end = table != NULL ? strstr(table, "\n## ") : NULL;
    size_t rows = 0, kinds = 0;

    (void)state;
    assert_non_null(end);
    *end = '\0';
    for (const char *c = table; (c = strstr(c, "\n| `")) != NULL; c++)
        rows++;
    for (const struct bm_rot_kind *k = bm_rot_kinds; k->name != NULL; k++) {
        char row[64];

        assert_true(strlen(k->name) < BM_ROT_LEN && bm_rot_kind_find(bm_rd_str(k->name)) == k);
        snprintf(row, sizeof row, "| `%s` |", k->name);
        if (strstr(table, row) == NULL)
            fail_msg("%s is not in docs/manifest.md", k->name);
        kinds++;
    }
    assert_int_equal(rows, kinds);
    free(doc);
}

static enum bm_rc keep_der(void *arg, struct bm_rd der, struct bm_error *e)
{
    put_rd(arg, der);
    return bm_buf_check(arg, e);
}

/* The worked example of docs/manifest.md is a good manifest of the signer shown there. */
static void test_documented_example(void **state)
{
    char *doc = slurp("docs/manifest.md"), *begin = strstr(doc, "```jsonl\n"),
         *end = begin != NULL ? strstr(begin + 9, "```\n") : NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf cert = { .max = BM_CERT_MAX };
    struct bm_manifest_state at = { 0 };
    struct bm_error e = { 0 };
    struct heard h;

    (void)state;
    assert_non_null(end);
    assert_int_equal(bm_pem_parse(bm_rd_str(doc), "CERTIFICATE", keep_der, &cert, &e), BM_OK);
    h = heard_for(bm_buf_rd(&cert));
    if (read_stream(bm_rd_of(begin + 9, (size_t)(end - begin) - 9), 100, FIXTURE_CREATED, &h, &at, &e) != BM_OK)
        fail_msg("%s: %s", e.code, e.what);
    assert_int_equal(h.n, 3);
    assert_int_equal(at.seq, 2);
    heard_done(&h);
    free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_all_members),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_hook_stops),
        cmocka_unit_test(test_flip_every_bit),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_rearranged),
        cmocka_unit_test(test_says_where),
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_entry_prefixes),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_generated_keys),
        cmocka_unit_test(test_birth_certificates),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_bad_among_good),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_seals),
        cmocka_unit_test(test_seal_prefixes),
        cmocka_unit_test(test_sealed_nonsense),
        cmocka_unit_test(test_signers),
        cmocka_unit_test(test_trust_taken_away),
        cmocka_unit_test(test_huge),
        cmocka_unit_test(test_block_limits),
        cmocka_unit_test(test_writer_refuses),
        cmocka_unit_test(test_writer_checks_entries),
        cmocka_unit_test(test_writer_stops_at_a_hole),
        cmocka_unit_test(test_writer_large_entries),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_documented_kinds),
        cmocka_unit_test(test_documented_example),
    };
    int failed;

    fixture_open(&world);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close(&world);
    return failed;
}
