#include "manifest_fixture.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#define VECTORS "tests/vectors/microchip/"
enum { NOW = FIXTURE_CREATED, FILE_MAX = 1 << 22 };

static struct fixture world;
static struct bm_buf example = { .max = FILE_MAX },
                     payload = { .max = FILE_MAX }; /* the published example, and its decoded payload */
static struct bm_buf log_signer = { .max = BM_CERT_MAX }, root = { .max = BM_CERT_MAX };
static struct bm_buf our_signer; /* certificate of world.stranger's key, good in 2019 */

/* --- listening ------------------------------------------------------------------------------------------------------------------ */
enum { HEARD_MAX = 600 };
struct heard {
    struct bm_rd pinned, anchor;
    size_t n, n_bad, n_asked;
    char code[HEARD_MAX][32], what[224];
    size_t bad_line[HEARD_MAX], line[HEARD_MAX];
    struct bm_buf text;
};

static enum bm_rc on_signer(void *arg, const uint8_t sha256[32], struct bm_rd offered, int64_t at, struct bm_rd *ret,
                            struct bm_error *e)
{
    struct heard *h = arg;
    uint8_t digest[32];

    (void)at;
    assert_int_equal(offered.n, 0);
    h->n_asked++;
    bm_udid_of(h->pinned, digest);
    if (memcmp(digest, sha256, 32) != 0)
        return bm_fail(e, BM_DENIED, "not pinned");
    *ret = h->pinned;
    return BM_OK;
}

static enum bm_rc on_birth(void *arg, struct bm_rd cert, int64_t at, struct bm_error *e)
{
    struct heard *h = arg;
    struct bm_cert c, anchor;

    assert_int_equal(bm_cert_parse(cert, &c, e), BM_OK);
    assert_int_equal(bm_cert_parse(h->anchor, &anchor, e), BM_OK);
    return bm_cert_check_link(&c, &anchor, at, e);
}

static enum bm_rc on_entry(void *arg, const struct bm_manifest_entry *m, struct bm_error *e)
{
    struct heard *h = arg;
    char hex[65];

    (void)e;
    assert_true(h->n < HEARD_MAX);
    h->line[h->n++] = m->line;
    bm_hex(m->udid, 32, hex);
    bm_buf_printf(&h->text, "%s %s ", hex, m->rot);
    bm_buf_vec(&h->text, m->birth_cert);
    bm_buf_vec(&h->text, m->spki);
    bm_buf_vec(&h->text, m->attributes);
    return BM_OK;
}

static enum bm_rc on_bad(void *arg, size_t line, const struct bm_error *why, struct bm_error *e)
{
    struct heard *h = arg;

    (void)e;
    assert_true(h->n_bad < HEARD_MAX);
    h->bad_line[h->n_bad] = line;
    snprintf(h->what, sizeof h->what, "%s", why->what);
    snprintf(h->code[h->n_bad++], sizeof h->code[0], "%s", why->code);
    return BM_OK;
}

static void heard_done(struct heard *h)
{
    bm_buf_done(&h->text);
}

static struct heard heard_for(struct bm_rd pinned)
{
    return (struct heard){ .pinned = pinned, .anchor = bm_buf_rd(&root), .text.max = 1 << 20 };
}

static enum bm_rc read_stream(struct bm_rd file, size_t chunk, int64_t now, struct heard *h, struct bm_manifest_state *at,
                              struct bm_error *e)
{
    const struct bm_manifest_format *f = bm_manifest_format_find("microchip");
    const struct bm_manifest_hooks hooks = { h, on_signer, on_birth, NULL, on_entry, on_bad };
    BM_CLEANUP(bm_manifest_reader_freep) struct bm_manifest_reader *r = NULL;
    BM_CLEANUP(bm_manifest_split_done) struct bm_manifest_split s = { 0 };
    struct bm_manifest_summary sum;
    struct bm_manifest_block block;
    enum bm_rc rc;

    assert_int_equal(bm_manifest_reader_new(f, &r, e), BM_OK);
    bm_manifest_split_init(&s, f);
    while ((rc = bm_manifest_split_next(&s, &block, e)) != BM_NOTFOUND) {
        size_t n = file.n < chunk ? file.n : chunk;

        if (rc == BM_OK) {
            assert_true(block.raw.n <= BM_MICROCHIP_BLOCK_MAX && block.seq == at->seq && block.first_line == at->entries + 1);
            rc = bm_manifest_block_parse(r, block.raw, at, now, &hooks, &sum, e);
            *at = sum.next;
            assert_true(rc != BM_OK || sum.n_lines == block.n_lines);
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

    return read_stream(file, BM_MANIFEST_CHUNK, NOW, h, &at, e);
}

/* --- the published example --------------------------------------------------------------------------------------------------------- */
static void test_example(void **state)
{
    static const size_t chunks[] = { 1, 7, 1000, BM_MANIFEST_CHUNK };
    static const char *const wanted[] = {
        "\"model\":\"ATECC608A\"",
        "\"partNumber\":\"ATECC608A-MAH22\"",
        "\"uniqueId\":\"0123f1822c38dd7a01\"",
        "\"manufacturer\":\"Microchip Technology Inc\"",
        "\"groupId\":\"359SCE55NV38H3CB\"",
        "\"provisioningTimestamp\":\"2019-01-24T16:35:23.473Z\"",
        "\"keys\":{\"0\":\"",
        "\"4\":\"",
        " atecc608 ",
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(chunks); i++) {
        BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&log_signer));
        struct bm_manifest_state at = { 0 };
        struct bm_error e = { 0 };

        if (read_stream(bm_buf_rd(&example), chunks[i], NOW, &h, &at, &e) != BM_OK)
            fail_msg("%s", e.what);
        if (h.n != 1 || h.n_bad != 0)
            fail_msg("%zu good, %s: %s", h.n, h.code[0], h.what);
        assert_int_equal(h.line[0], 1);
        assert_true(at.last && at.entries == 1 && at.seq == 1);
        for (size_t k = 0; k < BM_COUNT(wanted); k++)
            if (memmem(h.text.p, h.text.n, wanted[k], strlen(wanted[k])) == NULL)
                fail_msg("%s is missing", wanted[k]);
    }
}

/* No bit of it can be changed so that another entry comes out. */
static void test_flip(void **state)
{
    BM_CLEANUP(heard_done) struct heard original = heard_for(bm_buf_rd(&log_signer));

    (void)state;
    assert_int_equal(read_file(bm_buf_rd(&example), &original, NULL), BM_OK);
    for (size_t i = 0; i < example.n; i++) {
        BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&log_signer));
        uint8_t bit = (uint8_t)(1 << (i * 5 + i / 8) % 8);

        example.p[i] ^= bit;
        (void)!read_file(bm_buf_rd(&example), &h, NULL);
        example.p[i] ^= bit;
        if (h.n != 0)
            fail_msg("byte %zu", i);
    }
}

static void test_cut(void **state)
{
    (void)state;
    for (size_t n = 0; n < example.n; n++) {
        BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&log_signer));
        struct bm_error e = { 0 };
        uint8_t *exact = malloc(n != 0 ? n : 1);
        enum bm_rc rc;

        memcpy(exact, example.p, n);
        rc = read_file(bm_rd_of(exact, n), &h, &e);
        free(exact);
        if (memchr(example.p + n, ']', example.n - n) == NULL)
            continue;
        if (rc == BM_OK || h.n != 0 || strncmp(e.code, "manifest-", 9) != 0)
            fail_msg("%zu bytes: %s %s", n, e.code, e.what);
    }
}

/* Whom to trust, at what time. */
static void test_trust(void **state)
{
    const struct {
        const char *name;
        struct bm_rd pinned, anchor;
        int64_t now;
        const char *code;
    } rows[] = {
        { "log signer and root", bm_buf_rd(&log_signer), bm_buf_rd(&root), NOW, "" },
        { "another log signer", bm_buf_rd(&our_signer), bm_buf_rd(&root), NOW, "entry-signer" },
        { "another root", bm_buf_rd(&log_signer), bm_buf_rd(&world.ca.cert), NOW, "entry-birth" },
        { "a clock before the entry was made", bm_buf_rd(&log_signer), bm_buf_rd(&root), 1540000000, "entry-format" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(heard_done) struct heard h = heard_for(rows[i].pinned);
        struct bm_manifest_state at = { 0 };

        h.anchor = rows[i].anchor;
        assert_int_equal(read_stream(bm_buf_rd(&example), 4096, rows[i].now, &h, &at, NULL), BM_OK);
        if (strcmp(h.n_bad != 0 ? h.code[0] : "", rows[i].code) != 0)
            fail_msg("%s: %s %s", rows[i].name, h.code[0], h.what);
    }
}

/* --- elements of our own making ------------------------------------------------------------------------------------------------------ */
static void put_b64(struct bm_buf *out, struct bm_rd in)
{
    bm_base64url(out, in);
}

/* Replaces the first `from` by `to`. */
static void put_replaced(struct bm_buf *out, struct bm_rd text, const char *from, const char *to)
{
    const uint8_t *at = from[0] != '\0' ? memmem(text.p, text.n, from, strlen(from)) : text.p;
    size_t before;

    if (at == NULL)
        fail_msg("'%s' is not there", from);
    before = (size_t)(at - text.p);
    bm_buf_put(out, text.p, before);
    bm_buf_str(out, to);
    bm_buf_put(out, at + strlen(from), text.n - before - strlen(from));
}

static void protected_header(struct bm_buf *out)
{
    struct bm_cert c;
    uint8_t digest[32];

    assert_int_equal(bm_cert_parse(bm_buf_rd(&our_signer), &c, NULL), BM_OK);
    bm_udid_of(bm_buf_rd(&our_signer), digest);
    bm_buf_str(out, "{\"typ\":\"JWT\",\"alg\":\"ES256\",\"kid\":\"");
    put_b64(out, c.skid);
    bm_buf_str(out, "\",\"x5t#S256\":\"");
    put_b64(out, bm_rd_of(digest, 32));
    bm_buf_str(out, "\"}");
}

/* One element, signed by world.stranger as log signer, over the example's payload and a good header after the replacements. */
struct element {
    const char *name;
    const char *from, *to;                     /* in the payload */
    const char *protected_from, *protected_to; /* in the protected header */
    const char *outer_from, *outer_to;         /* in the finished element */
    const char *code;
};

static void element_make(const struct element *m, struct bm_buf *out)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf head = { .max = 4096 }, head2 = { .max = 4096 }, body = { .max = FILE_MAX };
    BM_CLEANUP(bm_buf_done) struct bm_buf tbs = { .max = FILE_MAX }, flat = { .max = FILE_MAX };
    uint8_t sig[256];
    size_t n = sizeof sig, dot;

    protected_header(&head);
    put_replaced(&head2, bm_buf_rd(&head), m->protected_from, m->protected_to);
    put_replaced(&body, bm_buf_rd(&payload), m->from, m->to);
    put_b64(&tbs, bm_buf_rd(&head2));
    dot = tbs.n;
    bm_buf_str(&tbs, ".");
    put_b64(&tbs, bm_buf_rd(&body));
    assert_int_equal(bm_key_sign_raw(world.stranger.key, bm_buf_rd(&tbs), sig, &n, NULL), BM_OK);
    bm_buf_str(&flat, "{\"payload\":\"");
    bm_buf_put(&flat, tbs.p + dot + 1, tbs.n - dot - 1);
    bm_buf_str(&flat, "\",\"protected\":\"");
    bm_buf_put(&flat, tbs.p, dot);
    bm_buf_str(&flat, "\",\"header\":{\"uniqueId\":\"0123f1822c38dd7a01\"},\"signature\":\"");
    put_b64(&flat, bm_rd_of(sig, n));
    bm_buf_str(&flat, "\"}");
    put_replaced(out, bm_buf_rd(&flat), m->outer_from, m->outer_to);
}

#define PAYLOAD(from, to) from, to, "", "", "", ""
#define PROTECTED(from, to) "", "", from, to, "", ""
#define OUTER(from, to) "", "", "", "", from, to
#define SLOT1_X "2Ohne9v0aTSCdrZNmXvtOWir5ETgRhnvecJDXPHzFpg"
static const struct element elements[] = {
    { "as it is", PAYLOAD("", ""), "" },
    /* payload */
    { "version 2", PAYLOAD("\"version\":1", "\"version\":2"), "entry-format" },
    { "no version", PAYLOAD("\"version\":1,", ""), "entry-format" },
    { "no model", PAYLOAD("\"model\":\"ATECC608A\",", ""), "entry-format" },
    { "model is a number", PAYLOAD("\"model\":\"ATECC608A\"", "\"model\":608"), "entry-format" },
    { "no part number", PAYLOAD("\"partNumber\":\"ATECC608A-MAH22\",", ""), "" },
    { "no distributor", PAYLOAD("\"distributor\":{", "\"x\":{"), "" },
    { "distributor without a name", PAYLOAD("\"distributor\":{\"organizationName\":", "\"distributor\":{\"x\":"), "" },
    { "another uniqueId", PAYLOAD("0123f1822c38dd7a01", "0123f1822c38dd7a02"), "entry-format" },
    { "uniqueId in upper case", PAYLOAD("0123f1822c38dd7a01", "0123F1822C38DD7A01"), "entry-format" },
    { "uniqueId cut", PAYLOAD("0123f1822c38dd7a01", "0123f1822c38dd7a"), "entry-format" },
    { "no time", PAYLOAD("\"provisioningTimestamp\":\"2019-01-24T16:35:23.473Z\",", ""), "entry-format" },
    { "time without Z", PAYLOAD("23.473Z", "23.473"), "entry-format" },
    { "time before the log signer", PAYLOAD("2019-01-24T16", "2018-01-24T16"), "entry-signer" },
    { "time after the log signer", PAYLOAD("2019-01-24T16", "2020-01-24T16"), "entry-signer" },
    { "time ahead of us", PAYLOAD("2019-01-24T16", "2030-01-24T16"), "entry-format" },
    { "time before the device's certificate", PAYLOAD("2019-01-24T16", "2019-01-24T15"), "entry-birth" },
    { "member twice", PAYLOAD("\"version\":1", "\"version\":1,\"version\":1"), "entry-format" },
    { "member we do not know", PAYLOAD("\"version\":1", "\"version\":1,\"modelInfo\":{}"), "" },
    { "secret keys", PAYLOAD("\"version\":1", "\"version\":1,\"encryptedSecretKeySet\":{\"keys\":[{}]}"), "" },
    { "cut", PAYLOAD("}]}}", "}]}"), "entry-format" },
    { "leftover", PAYLOAD("}]}}", "}]}}{"), "entry-format" },
    /* keys */
    { "no keys", PAYLOAD("\"publicKeySet\":{", "\"x\":{"), "entry-format" },
    { "keys are no list", PAYLOAD("\"publicKeySet\":{\"keys\":[", "\"publicKeySet\":{\"keys\":{},\"k\":["), "entry-format" },
    { "no slot 0", PAYLOAD("\"kid\":\"0\"", "\"kid\":\"5\""), "entry-key" },
    { "slot 0 twice", PAYLOAD("\"kid\":\"1\"", "\"kid\":\"0\""), "entry-format" },
    { "slot 16", PAYLOAD("\"kid\":\"1\"", "\"kid\":\"16\""), "entry-key" },
    { "slot 15", PAYLOAD("\"kid\":\"1\"", "\"kid\":\"15\""), "" },
    { "slot 01", PAYLOAD("\"kid\":\"1\"", "\"kid\":\"01\""), "entry-key" },
    { "slot -1", PAYLOAD("\"kid\":\"1\"", "\"kid\":\"-1\""), "entry-key" },
    { "slot as a number", PAYLOAD("\"kid\":\"1\"", "\"kid\":1"), "entry-key" },
    { "no slot", PAYLOAD("\"kid\":\"1\",", ""), "entry-key" },
    { "slot 1 off the curve", PAYLOAD(SLOT1_X, "3Ohne9v0aTSCdrZNmXvtOWir5ETgRhnvecJDXPHzFpg"), "entry-key" },
    { "slot 1 too short", PAYLOAD(SLOT1_X, "2Ohne9v0aTSCdrZNmXvtOWir5ETgRhnvecJDXPHzFg"), "entry-key" },
    { "slot 1 without x", PAYLOAD("\"x\":\"" SLOT1_X "\",", ""), "entry-key" },
    { "slot 1 of another kind", PAYLOAD("\"kid\":\"1\",\"kty\":\"EC\"", "\"kid\":\"1\",\"kty\":\"RSA\""), "" },
    { "slot 0 of another kind", PAYLOAD("\"kid\":\"0\",\"kty\":\"EC\"", "\"kid\":\"0\",\"kty\":\"RSA\""), "entry-key" },
    { "slot 0 on another curve", PAYLOAD("\"crv\":\"P-256\"", "\"crv\":\"P-384\""), "entry-key" },
    /* birth certificate */
    { "no certificate", PAYLOAD("\"x5c\":[", "\"x5d\":["), "" },
    { "x5c is no list", PAYLOAD("\"x5c\":[", "\"x5c\":{},\"x5d\":["), "entry-birth" },
    { "x5c is empty", PAYLOAD("\"x5c\":[", "\"x5c\":[],\"x5d\":["), "entry-birth" },
    { "certificate cut", PAYLOAD("\"x5c\":[\"MIIB", "\"x5c\":[\"MII"), "entry-birth" },
    { "certificate changed", PAYLOAD("Lo2AwXjAMBgNV", "Lo2AwXjANBgNV"), "entry-birth" },
    { "certificate's signature changed", PAYLOAD("JamIf/uQKg==", "JamIf/uQKw=="), "entry-birth" },
    { "issuer's signature changed", PAYLOAD("Uvz2QpYR4Ydw=", "Uvz2QpYR4Yd0="), "entry-birth" },
    /* protected header */
    { "no typ", PROTECTED("\"typ\":\"JWT\",", ""), "entry-format" },
    { "other typ", PROTECTED("JWT", "birthmark-manifest+jws"), "entry-format" },
    { "alg none", PROTECTED("ES256", "none"), "entry-format" },
    { "alg HS256", PROTECTED("ES256", "HS256"), "entry-format" },
    { "alg PS256", PROTECTED("ES256", "PS256"), "entry-format" },
    { "alg EdDSA", PROTECTED("ES256", "EdDSA"), "entry-format" },
    { "alg of another curve", PROTECTED("ES256", "ES384"), "entry-signature" },
    { "alg of another key", PROTECTED("ES256", "RS256"), "entry-signature" },
    { "no kid", PROTECTED("\"kid\":", "\"kit\":"), "entry-signer" },
    { "other kid", PROTECTED("\"kid\":\"", "\"kid\":\"A"), "entry-signer" },
    { "no thumbprint", PROTECTED("\"x5t#S256\":", "\"x5t\":"), "entry-format" },
    { "other thumbprint", PROTECTED("\"x5t#S256\":\"", "\"x5t#S256\":\"AAA\",\"x\":\""), "entry-format" },
    { "crit", PROTECTED("{", "{\"crit\":[\"b64\"],\"b64\":false,"), "entry-format" },
    /* around it */
    { "other uniqueId", OUTER("\"0123f1822c38dd7a01\"", "\"0123f1822c38dd7a02\""), "entry-format" },
    { "no uniqueId", OUTER("{\"uniqueId\":\"0123f1822c38dd7a01\"}", "{}"), "entry-format" },
    { "header is a text", OUTER("{\"uniqueId\":\"0123f1822c38dd7a01\"}", "\"x\""), "entry-format" },
    { "more in the header", OUTER("{\"uniqueId\":", "{\"alg\":\"none\",\"uniqueId\":"), "entry-format" },
    { "no signature", OUTER("\"signature\":", "\"sig\":"), "entry-format" },
    { "signature is null", OUTER("\"signature\":\"", "\"signature\":null,\"x\":\""), "entry-format" },
    { "signatures", OUTER("\"signature\":", "\"signatures\":[],\"signature\":"), "entry-format" },
    { "signature longer", OUTER("\"signature\":\"", "\"signature\":\"AAAA"), "entry-signature" },
    { "a dot in the payload", OUTER("\"payload\":\"", "\"payload\":\"."), "entry-format" },
    { "payload longer", OUTER("\"payload\":\"", "\"payload\":\"AAAA"), "entry-signature" },
    { "payload empty", OUTER("\"payload\":\"", "\"payload\":\"\",\"x\":\""), "entry-format" },
    { "padding", OUTER("\",\"protected\"", "=\",\"protected\""), "entry-format" },
};

static void test_elements(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(elements); i++) {
        BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&our_signer));
        BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = FILE_MAX };
        struct bm_error e = { 0 };

        bm_buf_str(&file, "[");
        element_make(&elements[i], &file);
        bm_buf_str(&file, "]");
        if (read_file(bm_buf_rd(&file), &h, &e) != BM_OK)
            fail_msg("%s: %s", elements[i].name, e.what);
        assert_int_equal(h.n + h.n_bad, 1);
        if (strcmp(h.n_bad != 0 ? h.code[0] : "", elements[i].code) != 0)
            fail_msg("%s: %s %s", elements[i].name, h.code[0], h.what);
    }
}

static void test_other_chip(void **state)
{
    const struct element ta = { "", PAYLOAD("\"model\":\"ATECC608A\"", "\"model\":\"ECC204\""), "" };
    BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&our_signer));
    BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = FILE_MAX };

    (void)state;
    bm_buf_str(&file, "[");
    element_make(&ta, &file);
    bm_buf_str(&file, "]");
    assert_int_equal(read_file(bm_buf_rd(&file), &h, NULL), BM_OK);
    assert_int_equal(h.n, 1);
    assert_non_null(memmem(h.text.p, h.text.n, " generic ", 9));
}

/* A bad element among good ones; the hook is asked once for a signer and block. */
static void test_several(void **state)
{
    static const struct element good = { "", PAYLOAD("", ""), "" }, bad = { "", OUTER("\"payload\":\"", "\"payload\":\"AAAA"), "" };
    BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&our_signer));
    BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = FILE_MAX };

    (void)state;
    bm_buf_str(&file, " [ ");
    element_make(&bad, &file);
    bm_buf_str(&file, " ,\n");
    element_make(&good, &file);
    bm_buf_str(&file, ",{},");
    element_make(&good, &file);
    bm_buf_str(&file, "\t]\r\n ");
    assert_int_equal(read_file(bm_buf_rd(&file), &h, NULL), BM_OK);
    assert_int_equal(h.n, 1);
    assert_int_equal(h.line[0], 2);
    assert_int_equal(h.n_bad, 3);
    assert_int_equal(h.n_asked, 1);
    assert_string_equal(h.code[0], "entry-signature");
    assert_string_equal(h.code[1], "entry-format");
    assert_int_equal(h.bad_line[1], 3);
    assert_string_equal(h.code[2], "entry-duplicate");
    assert_int_equal(h.bad_line[2], 4);
}

/* --- cutting --------------------------------------------------------------------------------------------------------------------------- */
static const struct {
    const char *name, *text;
    const char *code; /* "": whole */
    size_t elements;
} arrays[] = {
    { "empty", "[]", "", 0 },
    { "blanks", " \r\n\t[ \n ] \n", "", 0 },
    { "one", "[{}]", "", 1 },
    { "two", "[{},{}]", "", 2 },
    { "brackets in a text", "[{\"a\":\"]}\\\"],{\"}]", "", 1 },
    { "nested", "[{\"a\":[{\"b\":{}}]}]", "", 1 },
    { "nothing", "", "manifest-cut-short", 0 },
    { "open", "[", "manifest-cut-short", 0 },
    { "no end", "[{}", "manifest-cut-short", 0 },
    { "no end after a comma", "[{},", "manifest-cut-short", 0 },
    { "element cut", "[{\"a\":", "manifest-format", 0 },
    { "comma at the end", "[{},]", "manifest-format", 0 },
    { "comma first", "[,{}]", "manifest-format", 0 },
    { "two commas", "[{},,{}]", "manifest-format", 0 },
    { "no comma", "[{}{}]", "manifest-format", 0 },
    { "a number", "[1]", "manifest-format", 0 },
    { "a list", "[[]]", "manifest-format", 0 },
    { "an object", "{}", "manifest-format", 0 },
    { "leftover", "[{}]x", "manifest-format", 1 },
    { "two arrays", "[{}][{}]", "manifest-format", 1 },
    { "member twice", "[{\"a\":1,\"a\":2}]", "manifest-format", 0 },
    { "bad UTF-8", "[{\"a\":\"\xff\"}]", "manifest-format", 0 },
    { "a comment", "[/**/{}]", "manifest-format", 0 },
};

static void test_arrays(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(arrays); i++) {
        for (size_t chunk = 1; chunk < 40; chunk += 6) {
            BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&log_signer));
            struct bm_manifest_state at = { 0 };
            struct bm_error e = { 0 };
            enum bm_rc rc = read_stream(bm_rd_str(arrays[i].text), chunk, NOW, &h, &at, &e);

            if ((rc == BM_OK) != (arrays[i].code[0] == '\0') || strcmp(e.code, arrays[i].code) != 0)
                fail_msg("%s in pieces of %zu: %s %s", arrays[i].name, chunk, e.code, e.what);
            if (h.n_bad != arrays[i].elements)
                fail_msg("%s in pieces of %zu: %zu elements", arrays[i].name, chunk, h.n_bad);
        }
    }
}

static void put_times(struct bm_buf *out, const char *what, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bm_buf_str(out, what);
}

static void test_limits(void **state)
{
    static const struct {
        const char *name, *element; /* the array is this n times */
        size_t blanks, n;
        const char *code;
        size_t blocks;
    } rows[] = {
        { "256", "{}", 0, 256, "", 2 }, /* the second holds the end only */
        { "600", "{}", 0, 600, "", 3 },
        { "blanks without end", "{}", 100000, 3, "", 1 },
        { "element without end", "{\"a\":\"", 100000, 1, "manifest-format", 0 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&log_signer));
        BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = FILE_MAX };
        struct bm_manifest_state at = { 0 };
        struct bm_error e = { 0 };
        enum bm_rc rc;

        bm_buf_str(&file, "[");
        for (size_t k = 0; k < rows[i].n; k++) {
            bm_buf_str(&file, k != 0 ? "," : "");
            bm_buf_str(&file, rows[i].element);
            put_times(&file, " ", rows[i].blanks);
        }
        bm_buf_str(&file, "]");
        rc = read_stream(bm_buf_rd(&file), BM_MANIFEST_CHUNK, NOW, &h, &at, &e);
        if ((rc == BM_OK) != (rows[i].code[0] == '\0') || strcmp(e.code, rows[i].code) != 0 || at.seq != rows[i].blocks)
            fail_msg("%s: %s %s, %llu blocks", rows[i].name, e.code, e.what, (unsigned long long)at.seq);
        assert_true(rc != BM_OK || h.n_bad == rows[i].n);
    }
}

/* Blocks that no splitter makes. */
static void test_blocks(void **state)
{
    static const struct {
        const char *name, *element;
        size_t n;
        const char *after, *code;
    } rows[] = {
        { "256 elements", "{}\n", 256, "]\n", "" },
        { "257 elements", "{}\n", 257, "]\n", "manifest-format" },
        { "something after the end", "{}\n", 1, "]\n{}\n", "manifest-format" },
        { "two ends", "{}\n", 1, "]\n]\n", "manifest-format" },
        { "no line end", "{}\n", 1, "]", "manifest-cut-short" },
        { "nothing", "", 0, "", "manifest-cut-short" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_manifest_reader_freep) struct bm_manifest_reader *r = NULL;
        BM_CLEANUP(heard_done) struct heard h = heard_for(bm_buf_rd(&log_signer));
        const struct bm_manifest_hooks hooks = { &h, on_signer, on_birth, NULL, on_entry, on_bad };
        BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = FILE_MAX };
        const struct bm_manifest_state at = { 0 };
        struct bm_manifest_summary sum;
        struct bm_error e = { 0 };

        put_times(&raw, rows[i].element, rows[i].n);
        bm_buf_str(&raw, rows[i].after);
        assert_int_equal(bm_manifest_reader_new(bm_manifest_format_find("microchip"), &r, &e), BM_OK);
        (void)!bm_manifest_block_parse(r, bm_buf_rd(&raw), &at, NOW, &hooks, &sum, &e);
        if (strcmp(e.code, rows[i].code) != 0)
            fail_msg("%s: %s %s", rows[i].name, e.code, e.what);
    }
}

/* --- set-up ------------------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc keep_der(void *arg, struct bm_rd der, struct bm_error *e)
{
    bm_buf_put(arg, der.p, der.n);
    return bm_buf_check(arg, e);
}

static void load(const char *path, struct bm_buf *ret)
{
    char text[16384];
    FILE *f = fopen(path, "rb");
    size_t n = f != NULL ? fread(text, 1, sizeof text, f) : 0;

    if (n == 0) {
        fprintf(stderr, "%s cannot be read: run from the top of the tree\n", path);
        exit(1);
    }
    fclose(f);
    bm_buf_put(ret, text, n);
}

static void load_cert(const char *path, struct bm_buf *ret)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 16384 };

    load(path, &pem);
    fixture_must(bm_pem_parse(bm_buf_rd(&pem), "CERTIFICATE", keep_der, ret, NULL) == BM_OK);
}

static void open_payload(void)
{
    json_t *j = json_loadb((const char *)example.p, example.n, 0, NULL);
    const char *text = json_string_value(json_object_get(json_array_get(j, 0), "payload"));

    fixture_must(text != NULL && bm_unbase64url(bm_rd_str(text), &payload, NULL) == BM_OK);
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example), cmocka_unit_test(test_flip),     cmocka_unit_test(test_cut),
        cmocka_unit_test(test_trust),   cmocka_unit_test(test_elements), cmocka_unit_test(test_other_chip),
        cmocka_unit_test(test_several), cmocka_unit_test(test_arrays),   cmocka_unit_test(test_limits),
        cmocka_unit_test(test_blocks),
    };
    struct bm_buf *buffers[] = { &example, &payload, &log_signer, &root, &our_signer };
    int failed;

    fixture_open(&world);
    load(VECTORS "manifest-example.json", &example);
    load_cert(VECTORS "manifest-log-signer-001.pem", &log_signer);
    load_cert(VECTORS "crypto-authentication-root-ca-002.pem", &root);
    fixture_cert(world.stranger.evp, "Log Signer 002", world.stranger.evp, "Log Signer 002", false, 1546300800, 1577836800,
                 &our_signer);
    open_payload();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < BM_COUNT(buffers); i++)
        bm_buf_done(buffers[i]);
    fixture_close(&world);
    return failed;
}
