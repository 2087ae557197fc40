/* targets: bm_microchip_next bm_microchip_block_parse */
#include "../unit/manifest_fixture.h"

/* The input as a stream, as one line of a block, and as the payload of an element that is signed for it. */
static struct fixture world;
static struct bm_buf protected_b64 = { .max = 4096 };

static void must(bool ok)
{
    if (!ok)
        abort();
}

static enum bm_rc on_signer(void *arg, const uint8_t sha256[32], struct bm_rd offered, int64_t at, struct bm_rd *ret,
                            struct bm_error *e)
{
    const struct fixture_trust t = { bm_buf_rd(&world.signer.cert) };

    (void)arg;
    must(offered.n == 0);
    return fixture_judge(&t, sha256, offered, at, ret, e);
}

static enum bm_rc on_entry(void *arg, const struct bm_manifest_entry *m, struct bm_error *e)
{
    uint8_t udid[32];
    json_t *j = NULL;

    (void)arg;
    bm_udid_of(m->spki, udid);
    must(memcmp(udid, m->udid, 32) == 0 && bm_rot_kind_find(bm_rd_str(m->rot)) != NULL);
    must(bm_json_object(m->attributes, &j, e) == BM_OK);
    json_decref(j);
    return BM_OK;
}

static enum bm_rc on_bad(void *arg, size_t line, const struct bm_error *why, struct bm_error *e)
{
    (void)arg, (void)e;
    must(line >= 1 && strncmp(why->code, "entry-", 6) == 0 && why->what[0] != '\0');
    return BM_OK;
}

static void parse(struct bm_rd raw)
{
    static struct bm_manifest_reader *r;
    const struct bm_manifest_hooks hooks = { NULL, on_signer, NULL, NULL, on_entry, on_bad };
    const struct bm_manifest_state at = { 0 };
    struct bm_manifest_summary s;
    struct bm_error e = { 0 };

    if (r == NULL)
        must(bm_manifest_reader_new(bm_manifest_format_find("microchip"), &r, NULL) == BM_OK);
    if (bm_manifest_block_parse(r, raw, &at, FIXTURE_CREATED, &hooks, &s, &e) == BM_OK)
        must(s.entries + s.bad == s.n_lines);
    else
        must(strncmp(e.code, "manifest-", 9) == 0);
}

static void as_stream(struct bm_rd in, size_t chunk)
{
    BM_CLEANUP(bm_manifest_split_done) struct bm_manifest_split s = { 0 };
    struct bm_manifest_block block;
    size_t given = 0;
    enum bm_rc rc = BM_OK;

    bm_manifest_split_init(&s, bm_manifest_format_find("microchip"));
    while (rc == BM_OK || rc == BM_AGAIN) {
        size_t n = in.n - given < chunk ? in.n - given : chunk;

        rc = bm_manifest_split_next(&s, &block, NULL);
        if (rc == BM_OK)
            parse(block.raw);
        else if (rc == BM_AGAIN && n == 0)
            bm_manifest_split_end(&s);
        else if (rc == BM_AGAIN)
            must(bm_manifest_split_put(&s, bm_rd_of(in.p + given, n), NULL) == BM_OK);
        given += rc == BM_AGAIN ? n : 0;
    }
}

static void as_line(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = 1 << 22 };

    bm_buf_put(&raw, in.p, in.n);
    bm_buf_str(&raw, "\n]\n");
    parse(bm_buf_rd(&raw));
}

static void as_payload(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf tbs = { .max = 1 << 22 }, raw = { .max = 1 << 22 };
    uint8_t sig[256];
    size_t n = sizeof sig;

    bm_buf_put(&tbs, protected_b64.p, protected_b64.n);
    bm_buf_str(&tbs, ".");
    bm_base64url(&tbs, in);
    must(bm_key_sign_raw(world.signer.key, bm_buf_rd(&tbs), sig, &n, NULL) == BM_OK);
    bm_buf_str(&raw, "{\"header\":{\"uniqueId\":\"0123f1822c38dd7a01\"},\"protected\":\"");
    bm_buf_put(&raw, protected_b64.p, protected_b64.n);
    bm_buf_str(&raw, "\",\"payload\":\"");
    bm_base64url(&raw, in);
    bm_buf_str(&raw, "\",\"signature\":\"");
    bm_base64url(&raw, bm_rd_of(sig, n));
    bm_buf_str(&raw, "\"}\n");
    parse(bm_buf_rd(&raw));
}

static void begin(void)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf head = { .max = 4096 };
    struct bm_cert c;
    uint8_t digest[32];

    fixture_open(&world);
    /* a log signer of the time of the published example */
    fixture_cert(world.signer.evp, "Log Signer", world.signer.evp, "Log Signer", false, 1546300800, FIXTURE_TO, &world.signer.cert);
    must(bm_cert_parse(bm_buf_rd(&world.signer.cert), &c, NULL) == BM_OK);
    bm_udid_of(bm_buf_rd(&world.signer.cert), digest);
    bm_buf_str(&head, "{\"typ\":\"JWT\",\"alg\":\"ES256\",\"kid\":\"");
    bm_base64url(&head, c.skid);
    bm_buf_str(&head, "\",\"x5t#S256\":\"");
    bm_base64url(&head, bm_rd_of(digest, 32));
    bm_buf_str(&head, "\"}");
    bm_base64url(&protected_b64, bm_buf_rd(&head));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_rd in = bm_rd_of(p, n);

    if (world.ca.key == NULL)
        begin();
    as_stream(in, 1000);
    as_stream(in, 13);
    as_line(in);
    as_payload(in);
    return 0;
}
