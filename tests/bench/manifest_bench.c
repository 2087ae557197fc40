/* How long a manifest entry takes to check and hand out, without the registry. Usage: manifest_bench [ENTRIES] */
#include "../unit/manifest_fixture.h"

#include "base/clock.h"
#include "base/file.h"

struct tally {
    struct fixture_trust trust;
    size_t entries, bad;
};

static enum bm_rc on_signer(void *arg, const uint8_t sha256[32], struct bm_rd offered, int64_t at, struct bm_rd *ret,
                            struct bm_error *e)
{
    return fixture_judge(&((struct tally *)arg)->trust, sha256, offered, at, ret, e);
}

static enum bm_rc on_entry(void *arg, const struct bm_manifest_entry *m, struct bm_error *e)
{
    (void)m, (void)e;
    ((struct tally *)arg)->entries++;
    return BM_OK;
}

static enum bm_rc on_bad(void *arg, size_t line, const struct bm_error *why, struct bm_error *e)
{
    (void)line, (void)why, (void)e;
    ((struct tally *)arg)->bad++;
    return BM_OK;
}

static void read_all(const struct bm_manifest_format *f, struct bm_rd file, int64_t now, const struct bm_manifest_hooks *h,
                     struct bm_manifest_state *at)
{
    BM_CLEANUP(bm_manifest_reader_freep) struct bm_manifest_reader *r = NULL;
    BM_CLEANUP(bm_manifest_split_done) struct bm_manifest_split s = { 0 };
    struct bm_manifest_summary sum;
    struct bm_manifest_block block;
    struct bm_error e = { 0 };
    enum bm_rc rc;

    fixture_must(bm_manifest_reader_new(f, &r, NULL) == BM_OK);
    bm_manifest_split_init(&s, f);
    while ((rc = bm_manifest_split_next(&s, &block, &e)) != BM_NOTFOUND) {
        struct bm_rd chunk = bm_rd_of(file.p, file.n < BM_MANIFEST_CHUNK ? file.n : BM_MANIFEST_CHUNK);

        if (rc == BM_OK) {
            rc = bm_manifest_block_parse(r, block.raw, at, now, h, &sum, &e);
            *at = sum.next;
        } else if (rc == BM_AGAIN && chunk.n == 0) {
            bm_manifest_split_end(&s);
            rc = BM_OK;
        } else if (rc == BM_AGAIN) {
            rc = bm_manifest_split_put(&s, chunk, &e);
            file = bm_rd_of(file.p + chunk.n, file.n - chunk.n);
        }
        if (rc != BM_OK) {
            fprintf(stderr, "%s: %s\n", bm_error_code(&e), e.what);
            exit(1);
        }
    }
}

static enum bm_rc keep_der(void *arg, struct bm_rd der, struct bm_error *e)
{
    bm_buf_put(arg, der.p, der.n);
    return bm_buf_check(arg, e);
}

static void report(const char *what, int64_t us, size_t n)
{
    printf("%-34s %8zu entries %8.3f s CPU %7.2f us each %10.0f a second\n", what, n, (double)us / 1e6, (double)us / (double)n,
           1e6 * (double)n / (double)us);
}

static void native(size_t n)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = n * 1024 + 1024 * 1024 };
    BM_CLEANUP(fixture_close) struct fixture f;
    struct bm_manifest_state at = { 0 };
    int64_t begin;

    fixture_open(&f);
    fixture_manifest(&f, n, 0, &file);
    fixture_must(!file.bad);

    struct tally t = { { bm_buf_rd(&f.ca.cert) }, 0, 0 };
    struct bm_manifest_hooks h = { .arg = &t, .signer = on_signer, .entry = on_entry, .bad = on_bad };

    begin = bm_clock_cpu_us();
    read_all(bm_manifest_format_find("birthmark"), bm_buf_rd(&file), FIXTURE_CREATED, &h, &at);
    fixture_must(at.last && t.entries == n && t.bad == 0);
    report("birthmark: split, verify, parse", bm_clock_cpu_us() - begin, n);
}

/* What the point check costs, and what it would by opening the key. */
static void key_checks(size_t n)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = 128 };
    BM_CLEANUP(bm_keycheck_done) struct bm_keycheck c = { 0 };
    struct bm_spki k;
    int64_t begin;

    fixture_device(4711, &der);
    fixture_must(bm_keycheck_init(&c, NULL) == BM_OK && bm_spki_parse(bm_buf_rd(&der), &k, NULL) == BM_OK);
    begin = bm_clock_cpu_us();
    for (size_t i = 0; i < n; i++)
        fixture_must(bm_keycheck(&c, bm_buf_rd(&der), NULL) == BM_OK);
    report("of which key and point check", bm_clock_cpu_us() - begin, n);
    begin = bm_clock_cpu_us();
    for (size_t i = 0; i < n; i++) {
        BM_EVP_FREE EVP_PKEY *key = NULL;

        fixture_must(bm_spki_open(&k, &key, NULL) == BM_OK);
    }
    report("(the same by opening the key)", bm_clock_cpu_us() - begin, n);
}

/* The published example over and over: after the first one of each block they are duplicates, found out when all the work is done. */
static void microchip(size_t n)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf file = { .max = (n + 1) * 8192 }, one = { .max = 8192 }, pem = { .max = 8192 };
    BM_CLEANUP(bm_buf_done) struct bm_buf cert = { .max = BM_CERT_MAX };
    struct tally t = { { { 0 } }, 0, 0 };
    struct bm_manifest_hooks h = { .arg = &t, .signer = on_signer, .entry = on_entry, .bad = on_bad };
    struct bm_manifest_state at = { 0 };
    const uint8_t *first, *end;
    int64_t begin;

    if (bm_file_read("tests/vectors/microchip/manifest-example.json", &one, NULL) != BM_OK ||
        bm_file_read("tests/vectors/microchip/manifest-log-signer-001.pem", &pem, NULL) != BM_OK)
        return;
    fixture_must(bm_pem_parse(bm_buf_rd(&pem), "CERTIFICATE", keep_der, &cert, NULL) == BM_OK);
    t.trust.pinned = bm_buf_rd(&cert);
    first = memchr(one.p, '{', one.n);
    end = memrchr(one.p, ']', one.n);
    fixture_must(first != NULL && end != NULL);
    bm_buf_str(&file, "[");
    for (size_t i = 0; i < n; i++) {
        bm_buf_str(&file, i != 0 ? "," : "");
        bm_buf_put(&file, first, (size_t)(end - first));
    }
    bm_buf_str(&file, "]");
    begin = bm_clock_cpu_us();
    read_all(bm_manifest_format_find("microchip"), bm_buf_rd(&file), FIXTURE_CREATED, &h, &at);
    fixture_must(at.last && t.entries + t.bad == n && t.entries == (n + 255) / 256);
    report("microchip: split, verify, parse", bm_clock_cpu_us() - begin, n);
}

int main(int argc, char **argv)
{
    size_t n = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 100000;

    n = n != 0 ? n : 1;
    native(n);
    key_checks(n);
    microchip(n / 50 + 1);
    return 0;
}
