/* manifest verify: the reader that the keeper uses, with trust from a file. */
#include "cli/manifest.h"

#include "base/clock.h"
#include "base/text.h"
#include "pki/cert.h"

#include <inttypes.h>
#include <openssl/sha.h>

enum { PINS_MAX = 64, LINES_NAMED = 20 };

struct check {
    struct bm_cli *c;
    struct bm_cli_source source;
    struct bm_manifest_reader *reader;
    struct bm_cli_progress progress;
    struct bm_buf pins[PINS_MAX]; /* DER */
    size_t n_pins;
    struct bm_manifest_header header;
    int64_t entries, bad;
};

static void check_done(struct check *k)
{
    bm_cli_source_done(&k->source);
    bm_manifest_reader_free(k->reader);
    for (size_t i = 0; i < k->n_pins; i++)
        bm_buf_done(&k->pins[i]);
}

static enum bm_rc add_pin(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct check *k = arg;
    struct bm_buf *pin = &k->pins[k->n_pins];
    struct bm_cert cert;
    enum bm_rc rc;

    if (k->n_pins == PINS_MAX)
        return bm_fail(e, BM_LIMIT, "--signer: more than %d certificates", PINS_MAX);
    rc = bm_cert_parse(der, &cert, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "--signer");
    pin->max = BM_CERT_MAX;
    bm_buf_put(pin, der.p, der.n);
    k->n_pins++;
    return bm_buf_check(pin, e);
}

/* The pinned certificate itself, or the one offered when a pinned CA issued it. */
static enum bm_rc signer(void *arg, const uint8_t sha256[32], struct bm_rd offered, int64_t at, struct bm_rd *ret_cert,
                         struct bm_error *e)
{
    struct check *k = arg;
    struct bm_cert leaf, pinned;
    uint8_t digest[32];
    char hex[65];

    for (size_t i = 0; i < k->n_pins; i++) {
        struct bm_rd pin = bm_buf_rd(&k->pins[i]);

        SHA256(pin.p, pin.n, digest);
        if (memcmp(digest, sha256, sizeof digest) == 0) {
            *ret_cert = pin;
            return BM_OK;
        }
        if (offered.n != 0 && bm_cert_parse(offered, &leaf, NULL) == BM_OK && bm_cert_parse(pin, &pinned, NULL) == BM_OK &&
            bm_cert_check_link(&leaf, &pinned, at, NULL) == BM_OK) {
            *ret_cert = offered;
            return BM_OK;
        }
    }
    bm_hex(sha256, 32, hex);
    return bm_refuse(e, BM_DENIED, "manifest-signer", "signed with certificate SHA-256 %s, which --signer does not hold", hex);
}

static enum bm_rc entry(void *arg, const struct bm_manifest_entry *m, struct bm_error *e)
{
    struct check *k = arg;

    (void)m, (void)e;
    k->entries++;
    return BM_OK;
}

static enum bm_rc bad(void *arg, size_t line, const struct bm_error *why, struct bm_error *e)
{
    struct check *k = arg;

    (void)e;
    if (k->bad++ < LINES_NAMED) {
        fprintf(k->c->err, "line %zu: ", line);
        bm_cli_print_text(k->c->err, why->what);
        fprintf(k->c->err, " (%s)\n", bm_error_code(why));
    }
    return BM_OK;
}

static enum bm_rc all_blocks(struct check *k, struct bm_error *e)
{
    const struct bm_manifest_hooks hooks = { .arg = k, .signer = signer, .entry = entry, .bad = bad };
    struct bm_manifest_state at = { 0 };
    struct bm_manifest_summary s;
    struct bm_manifest_block b;
    enum bm_rc rc;

    while ((rc = bm_cli_source_next(&k->source, &b, e)) == BM_OK) {
        rc = bm_manifest_block_parse(k->reader, b.raw, &at, bm_clock_s(), &hooks, &s, e);
        if (rc != BM_OK)
            return bm_wrap(e, rc, "block %" PRIu64, b.seq);
        if (s.seq == 0)
            k->header = s.header;
        at = s.next;
        bm_cli_progress_add(&k->progress, (int64_t)(s.entries + s.bad));
    }
    return rc == BM_NOTFOUND ? bm_manifest_complete(&at, e) : rc;
}

static void print_totals(struct check *k)
{
    char created[24];
    BM_CLEANUP(bm_cli_unref)
    json_t *t = json_pack("{ss,ss,ss,ss,ss,ss,sI,sI}", "format", k->source.format->name, "id", k->header.id, "issuer",
                          k->header.issuer, "product", k->header.product, "batch", k->header.batch, "created",
                          k->header.created == 0 ? "" : bm_time_text(k->header.created, created), "entries", (json_int_t)k->entries,
                          "refused", (json_int_t)k->bad);

    bm_cli_progress_end(&k->progress, t);
    if (k->c->json)
        bm_cli_print_json(k->c, t);
    else if (!k->c->quiet)
        bm_cli_print_record(k->c, t);
}

enum bm_rc bm_cli_manifest_verify(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(check_done) struct check k = { .c = c, .source.fd = -1 };
    enum bm_rc rc = bm_pem_parse(bm_buf_rd(&c->blob), "CERTIFICATE", add_pin, &k, e);

    if (rc == BM_OK && k.n_pins == 0)
        rc = bm_fail(e, BM_USAGE, "--signer: no certificate in PEM");
    if (rc == BM_OK)
        rc = bm_cli_source_open(bm_cli_text(c, "file"), bm_cli_text(c, "format"), &k.source, e);
    if (rc == BM_OK)
        rc = bm_manifest_reader_new(k.source.format, &k.reader, e);
    if (rc != BM_OK)
        return rc;
    bm_cli_progress_begin(&k.progress, c);
    rc = all_blocks(&k, e);
    if (rc != BM_OK)
        return rc;
    print_totals(&k);
    return k.bad == 0 ? BM_OK : bm_refuse(e, BM_DENIED, "entries-refused", "%" PRId64 " entries are bad", k.bad);
}
