/* How long a manifest entry takes to check and hand out, without the registry. Usage: manifest_bench [ENTRIES] */
#include "../unit/manifest_fixture.h"

#include "base/clock.h"

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

int main(int argc, char **argv)
{
    size_t n = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 100000;

    native(n != 0 ? n : 1);
    return 0;
}
