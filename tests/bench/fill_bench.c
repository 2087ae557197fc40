/* fill_bench REGISTRY.DB N: puts N more devices with one certificate each, and their audit leaves, into a registry that nobody has open, so
 * that a full one can be measured without enrolling for an hour. */
#include "audit/log.h"
#include "base/text.h"
#include "store/store.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

enum { PER_COMMIT = 20000, CERT_LEN = 480, SPKI_LEN = 91 };

static void must(enum bm_rc rc, const struct bm_error *e)
{
    if (rc == BM_OK)
        return;
    fprintf(stderr, "fill_bench: %s\n", e->what);
    exit(1);
}

static void fill_random(struct bm_buf *b, size_t n)
{
    b->max = n;
    b->n = 0;
    if (bm_buf_room(b, n) == NULL || RAND_bytes(b->p, (int)n) != 1)
        exit(1);
    b->n = n;
}

static void one(struct bm_store *s, struct bm_audit *a, int64_t i)
{
    struct bm_device d = { .batch_id = 1, .rot = "software", .state = "active", .created_at = 1, .activated_at = 1 };
    struct bm_credential c = { .ca_id = 2,
                               .protocol = "est",
                               .state = "active",
                               .correlation = "0000000000000000",
                               .not_before = 1,
                               .not_after = INT64_C(1) << 40,
                               .issued_at = 1 };
    char leaf[320], udid[65], serial[33];
    struct bm_error e;
    int n;

    fill_random(&d.spki, SPKI_LEN);
    fill_random(&c.cert, CERT_LEN);
    if (RAND_bytes(d.udid, sizeof d.udid) != 1 || RAND_bytes(c.serial, sizeof c.serial) != 1)
        exit(1);
    must(bm_device_put(s, &d, &e), &e);
    c.device_id = d.id;
    must(bm_credential_put(s, &c, &e), &e);
    bm_hex(d.udid, sizeof d.udid, udid);
    bm_hex(c.serial, sizeof c.serial, serial);
    n = snprintf(leaf, sizeof leaf, "{\"event\":\"filled\",\"udid\":\"%s\",\"serial\":\"%s\",\"n\":%lld}", udid, serial,
                 (long long)i);
    must(bm_audit_add(a, 1000, bm_rd_of(leaf, (size_t)n), &e), &e);
    bm_device_done(&d);
    bm_credential_done(&c);
}

int main(int argc, char **argv)
{
    int64_t n = argc == 3 ? strtoll(argv[2], NULL, 10) : 0;
    struct bm_store *s;
    struct bm_audit a;
    struct bm_error e;
    char dsn[1024];

    if (n <= 0) {
        fprintf(stderr, "usage: fill_bench REGISTRY.DB N\n");
        return 2;
    }
    snprintf(dsn, sizeof dsn, "%s%s", strncmp(argv[1], "postgres:", 9) == 0 ? "" : "sqlite:", argv[1]);
    must(bm_store_open(dsn, (struct bm_store_options){ 0 }, &s, &e), &e);
    must(bm_audit_open(&a, s, &e), &e);
    for (int64_t i = 0; i < n; i++) {
        if (i % PER_COMMIT == 0)
            must(bm_store_begin(s, &e), &e);
        one(s, &a, i);
        if (i % PER_COMMIT != PER_COMMIT - 1 && i != n - 1)
            continue;
        must(bm_store_commit(s, &e), &e);
        bm_audit_committed(&a);
    }
    bm_store_tidy(s);
    bm_store_close(s);
    return 0;
}
