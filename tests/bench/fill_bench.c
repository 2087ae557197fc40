/* fill_bench REGISTRY.DB N [--revoked R] [--play SPKI.JSONL]: puts N more devices with one certificate each, and their audit leaves, into a
 * registry that nobody has open, so that a full one can be measured without enrolling for an hour. The first R of the certificates have been
 * revoked an hour ago. The keys of --play become allocated devices, spread evenly among the others: what enrols later is found all over
 * the registry, not side by side in a few warm pages. */
#include "audit/log.h"
#include "base/text.h"
#include "pki/key.h"
#include "store/db.h"

#include <openssl/rand.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PER_COMMIT = 500000, CERT_LEN = 480, SPKI_LEN = 91, HOUR = 3600 };

static void must(enum bm_rc rc, const struct bm_error *e)
{
    if (rc == BM_OK)
        return;
    fprintf(stderr, "fill_bench: %s\n", e->what);
    exit(1);
}

static void *need(const void *p)
{
    if (p == NULL) {
        perror("fill_bench");
        exit(1);
    }
    return (void *)(uintptr_t)p;
}

static void fill_random(struct bm_buf *b, size_t n)
{
    b->max = n;
    b->n = 0;
    if (bm_buf_room(b, n) == NULL || RAND_bytes(b->p, (int)n) != 1)
        exit(1);
    b->n = n;
}

static void filler(struct bm_store *s, struct bm_audit *a, int64_t revoked_at)
{
    struct bm_device d = { .batch_id = 1, .rot = "software", .state = "active", .created_at = 1, .activated_at = 1 };
    struct bm_credential c = { .ca_id = 2,
                               .protocol = "est",
                               .state = "active",
                               .correlation = "0000000000000000",
                               .not_before = 1,
                               .not_after = INT64_C(1) << 40,
                               .issued_at = 1,
                               .revoked_at = revoked_at };
    char leaf[320], udid[65], serial[33];
    struct bm_error e;
    int n;

    fill_random(&d.spki, SPKI_LEN);
    fill_random(&c.cert, CERT_LEN);
    if (RAND_bytes(d.udid, sizeof d.udid) != 1 || RAND_bytes(c.serial, sizeof c.serial) != 1)
        exit(1);
    c.serial[0] = 0x40 | (c.serial[0] & 0x3f); /* as issued ones are: positive */
    if (revoked_at != 0)
        memcpy(c.state, "revoked", sizeof "revoked");
    must(bm_device_put(s, &d, &e), &e);
    c.device_id = d.id;
    must(bm_credential_put(s, &c, &e), &e);
    bm_hex(d.udid, sizeof d.udid, udid);
    bm_hex(c.serial, sizeof c.serial, serial);
    n = snprintf(leaf, sizeof leaf, "{\"event\":\"filled\",\"udid\":\"%s\",\"serial\":\"%s\"}", udid, serial);
    must(bm_audit_add(a, 1000, bm_rd_of(leaf, (size_t)n), &e), &e);
    bm_device_done(&d);
    bm_credential_done(&c);
}

/* One line of what `birthmark-fleet spki` wrote. */
static void play(struct bm_store *s, const json_t *line)
{
    struct bm_device d = { .batch_id = 1, .rot = "software", .state = "allocated", .created_at = 1, .spki.max = BM_SPKI_MAX };
    struct bm_error e;

    must(bm_unbase64url(bm_rd_str(need(json_string_value(json_object_get(line, "key")))), &d.spki, &e), &e);
    bm_udid_of(bm_buf_rd(&d.spki), d.udid);
    must(bm_device_put(s, &d, &e), &e);
    bm_device_done(&d);
}

static json_t *read_lines(const char *path)
{
    FILE *f = need(fopen(path, "r"));
    json_t *all = need(json_array()), *line;

    while ((line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)) != NULL)
        if (json_array_append_new(all, line) != 0)
            exit(1);
    fclose(f);
    return all;
}

struct plan {
    int64_t n, revoked;
    json_t *play;
};

static void fill(struct bm_store *s, struct bm_audit *a, const struct plan *p)
{
    int64_t n_play = (int64_t)json_array_size(p->play), played = 0, then = time(NULL) - HOUR;
    struct bm_error e;

    for (int64_t i = 0; i < p->n; i++) {
        if (i % PER_COMMIT == 0)
            must(bm_store_begin(s, &e), &e);
        filler(s, a, i < p->revoked ? then : 0);
        for (; played < (i + 1) * n_play / p->n; played++)
            play(s, json_array_get(p->play, (size_t)played));
        if (i % PER_COMMIT != PER_COMMIT - 1 && i != p->n - 1)
            continue;
        must(bm_store_commit(s, &e), &e);
        bm_audit_committed(a);
    }
}

/* The indexes are random, so nearly every page of them is written with each commit: few and large ones, all in memory until then. */
static void grow_cache(struct bm_store *s)
{
    static const struct bm_sql cache = { "PRAGMA cache_size = -1500000" }; /* kB */
    struct bm_error e;

    must(bm_store_begin(s, &e), &e);
    must(bm_db_run(s, &cache, BM_NO_ARGS, &e), &e);
    must(bm_store_commit(s, &e), &e);
}

static bool read_words(int argc, char **argv, struct plan *ret)
{
    ret->n = argc >= 3 ? strtoll(argv[2], NULL, 10) : 0;
    for (int i = 3; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--revoked") == 0)
            ret->revoked = strtoll(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--play") == 0)
            ret->play = read_lines(argv[i + 1]);
        else
            return false;
    }
    return ret->n > 0 && argc % 2 == 1;
}

int main(int argc, char **argv)
{
    struct plan p = { 0 };
    struct bm_store *s;
    struct bm_audit a;
    struct bm_error e;
    char dsn[1024];

    if (!read_words(argc, argv, &p)) {
        fprintf(stderr, "usage: fill_bench REGISTRY.DB N [--revoked R] [--play SPKI.JSONL]\n");
        return 2;
    }
    snprintf(dsn, sizeof dsn, "%s%s", strncmp(argv[1], "postgres:", 9) == 0 ? "" : "sqlite:", argv[1]);
    must(bm_store_open(dsn, (struct bm_store_options){ 0 }, &s, &e), &e);
    if (strncmp(dsn, "sqlite:", 7) == 0)
        grow_cache(s);
    must(bm_audit_open(&a, s, &e), &e);
    fill(s, &a, &p);
    bm_store_tidy(s);
    bm_store_close(s);
    json_decref(p.play);
    return 0;
}
