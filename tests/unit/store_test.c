/* The store through its interface alone, so that every driver passes the same rows: store_postgres_test.c is this file over a PostgreSQL
 * server, and BM_TEST_DSN names another PostgreSQL schema, which is emptied for each test. What is SQLite's own (files, disks, crashes)
 * is in migrate_test.c, what is PostgreSQL's in postgres_test.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/text.h"
#include "store/held_crl.h"
#include "store/upstream.h"

#include "postgres_fixture.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char dir[] = "/tmp/bm-store-XXXXXX";
static char dsn[256];
static struct bm_store *s;
static struct bm_error e;

#define OK(call)                                                                                                                   \
    do {                                                                                                                           \
        enum bm_rc rc_ = (call);                                                                                                   \
        if (rc_ != BM_OK)                                                                                                          \
            fail_msg("%s: %d %s", #call, rc_, e.what);                                                                             \
    } while (0)
#define IS(call, want)                                                                                                             \
    do {                                                                                                                           \
        enum bm_rc rc_ = (call);                                                                                                   \
        if (rc_ != (want))                                                                                                         \
            fail_msg("%s: %d %s, not %d", #call, rc_, e.what, (want));                                                             \
    } while (0)

/* What most tests start from. */
static struct bm_org org;
static struct bm_ca root_ca, issuing_ca;
static struct bm_service service;
static struct bm_product product;
static struct bm_batch batch;

static struct bm_buf lend(const void *p, size_t n)
{
    return (struct bm_buf){ .p = (uint8_t *)(uintptr_t)p, .n = n, .cap = n, .max = n };
}

static void put_basics(void)
{
    org = (struct bm_org){ .name = "acme", .title = "Acme Ltd", .role = "oem", .created_at = 1700000000 };
    root_ca =
        (struct bm_ca){ .name = "root", .key_uri = "file:root", .state = "active", .cert = lend("\x30\x01", 2), .created_at = 1 };
    issuing_ca =
        (struct bm_ca){ .name = "issuing", .key_uri = "file:iss", .state = "active", .cert = lend("\x30\x02", 2), .created_at = 2 };
    service =
        (struct bm_service){ .name = "broker", .title = "B", .kind = "mqtt", .endpoints = "[\"mqtts://b\"]", .created_at = 3 };
    product = (struct bm_product){ .name = "lamp", .title = "Lamp", .policy = "{\"rot\":[\"atecc\"]}", .created_at = 4 };
    batch = (struct bm_batch){ .name = "lamp-1", .state = "open", .quota = 10, .used = 99, .created_at = 5 };
    OK(bm_org_put(s, &org, &e));
    OK(bm_ca_put(s, &root_ca, &e));
    issuing_ca.parent_id = root_ca.id;
    OK(bm_ca_put(s, &issuing_ca, &e));
    OK(bm_service_put(s, &service, &e));
    product.org_id = org.id;
    OK(bm_product_put(s, &product, &e));
    batch.product_id = product.id;
    batch.ca_id = issuing_ca.id;
    OK(bm_batch_put(s, &batch, &e));
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(dsn, sizeof dsn, "sqlite:%s/registry.db", dir);
    if (pg_dir[0] != '\0')
        pg_dsn(dsn, sizeof dsn);
    if (getenv("BM_TEST_DSN") != NULL)
        snprintf(dsn, sizeof dsn, "%s", getenv("BM_TEST_DSN"));
    if (strncmp(dsn, "postgres:", 9) == 0)
        assert_true(pg_empty(dsn));
    OK(bm_store_open(dsn, (struct bm_store_options){ .create = true }, &s, &e));
    OK(bm_store_begin(s, &e));
    put_basics();
    OK(bm_store_commit(s, &e));
    return 0;
}

static int teardown(void **state)
{
    static const char *const ends[] = { "", "-wal", "-shm" };
    char path[300];

    (void)state;
    bm_store_close(s);
    s = NULL;
    for (size_t i = 0; i < BM_COUNT(ends); i++) {
        snprintf(path, sizeof path, "%s/registry.db%s", dir, ends[i]);
        unlink(path);
    }
    rmdir(dir);
    return 0;
}

static bool holds(const struct bm_buf *text, const char *part)
{
    return memmem(text->p, text->n, part, strlen(part)) != NULL;
}

static void in_transaction(void (*act)(void))
{
    OK(bm_store_begin(s, &e));
    act();
    OK(bm_store_commit(s, &e));
}

/* --- transactions ------------------------------------------------------------------------------------------------------------- */
static void test_transactions(void **state)
{
    struct bm_org o = { .name = "later", .role = "auditor" }, got;

    (void)state;
    IS(bm_store_commit(s, &e), BM_BUG);
    OK(bm_store_begin(s, &e));
    IS(bm_store_begin(s, &e), BM_BUG);
    OK(bm_org_put(s, &o, &e));
    OK(bm_org_get(s, "later", &got, &e)); /* seen inside */
    bm_store_rollback(s);
    bm_store_rollback(s); /* harmless */
    IS(bm_org_get(s, "later", &got, &e), BM_NOTFOUND);
    OK(bm_store_begin(s, &e));
    OK(bm_org_put(s, &o, &e));
    OK(bm_store_commit(s, &e));
    OK(bm_org_get(s, "later", &got, &e));
    bm_store_tidy(s);
    OK(bm_org_get(s, "later", &got, &e));
    OK(bm_store_begin(s, &e));
    IS(bm_org_put(s, &o, &e), BM_CONFLICT); /* and the transaction goes on */
    strcpy(o.name, "later-2");
    OK(bm_org_put(s, &o, &e));
    OK(bm_store_commit(s, &e));
    OK(bm_org_get(s, "later-2", &got, &e));
}

/* Asks for another row while it is given one. */
static enum bm_rc count_leaf(void *arg, int64_t index, int64_t at_ms, struct bm_rd data, struct bm_error *err)
{
    int64_t *n = arg, last;
    (void)at_ms, (void)data;
    assert_int_equal(index, *n);
    ++*n;
    return index % 100 == 0 ? bm_audit_leaf_count(s, &last, err) : BM_OK;
}

/* A snapshot stands still, however large what is read from it. */
static void test_snapshot(void **state)
{
    struct bm_store *r = NULL;
    int64_t n = 0;
    enum { N = 600 };

    (void)state;
    OK(bm_store_begin(s, &e));
    for (int64_t i = 0; i < N; i++)
        OK(bm_audit_leaf_add(s, i, i, bm_rd_str("{}"), &e));
    OK(bm_store_commit(s, &e));
    OK(bm_store_open(dsn, (struct bm_store_options){ .read_only = true }, &r, &e));
    OK(bm_store_snapshot(r, &e));
    IS(bm_store_snapshot(r, &e), BM_BUG);
    IS(bm_store_begin(r, &e), BM_BUG);
    OK(bm_audit_leaf_count(r, &n, &e));
    assert_int_equal(n, N);
    OK(bm_store_begin(s, &e));
    OK(bm_audit_leaf_add(s, N, 1, bm_rd_str("{}"), &e));
    OK(bm_store_commit(s, &e));
    n = 0;
    OK(bm_audit_leaf_each(r, 0, INT64_MAX, count_leaf, &n, &e));
    assert_int_equal(n, N);
    bm_store_rollback(r);
    OK(bm_audit_leaf_count(r, &n, &e));
    assert_int_equal(n, N + 1);
    bm_store_close(r);
    OK(bm_store_snapshot(s, &e));
    IS(bm_store_begin(s, &e), BM_BUG);
    IS(bm_meta_set(s, "x", bm_rd_str("1"), &e), BM_BUG);
    bm_store_rollback(s);
    OK(bm_store_begin(s, &e));
    bm_store_rollback(s);
}

static void test_close_rolls_back(void **state)
{
    struct bm_org o = { .name = "lost", .role = "auditor" };

    (void)state;
    OK(bm_store_begin(s, &e));
    OK(bm_org_put(s, &o, &e));
    bm_store_close(s);
    s = NULL;
    bm_store_close(NULL);
    OK(bm_store_open(dsn, (struct bm_store_options){ 0 }, &s, &e));
    IS(bm_org_get(s, "lost", &o, &e), BM_NOTFOUND);
    OK(bm_org_get(s, "acme", &o, &e));
}

/* Every change outside a transaction is our own mistake, and changes nothing. */
static void test_outside_transaction(void **state)
{
    struct bm_org o = { .name = "x" };
    struct bm_trust t = { .org_id = org.id, .purpose = BM_TRUST_BIRTH };
    struct bm_ca ca = { .name = "x" };
    struct bm_service v = { .name = "x" };
    struct bm_product p = { .name = "x" };
    struct bm_batch b = { .name = "x", .product_id = product.id };
    struct bm_device d = { .state = "registered" };
    struct bm_credential c = { .state = "active" };
    struct bm_manifest_row m = { .format = "x" };
    struct bm_refusal r = { .code = "x" };
    struct bm_tree_head h = { .size = 1 };
    struct bm_buf json = { 0 };

    (void)state;
    IS(bm_meta_set(s, "x", bm_rd_str("y"), &e), BM_BUG);
    IS(bm_org_put(s, &o, &e), BM_BUG);
    IS(bm_trust_put(s, &t, &e), BM_BUG);
    IS(bm_ca_put(s, &ca, &e), BM_BUG);
    IS(bm_ca_set_revoked(s, root_ca.id, 1, 1, &e), BM_BUG);
    IS(bm_profile_put(s, "x", bm_rd_str("{}"), &e), BM_BUG);
    IS(bm_service_put(s, &v, &e), BM_BUG);
    IS(bm_product_put(s, &p, &e), BM_BUG);
    IS(bm_batch_put(s, &b, &e), BM_BUG);
    IS(bm_batch_use(s, batch.id, 1, &e), BM_BUG);
    IS(bm_device_put(s, &d, &e), BM_BUG);
    IS(bm_device_set_state(s, 1, "active", 0, &e), BM_BUG);
    IS(bm_device_set_state(s, 1, "active", 1, &e), BM_BUG);
    IS(bm_device_set_batch(s, 1, 1, "allocated", &e), BM_BUG);
    IS(bm_credential_put(s, &c, &e), BM_BUG);
    IS(bm_credential_set_revoked(s, 1, 1, 1, &e), BM_BUG);
    IS(bm_manifest_put(s, &m, &e), BM_BUG);
    IS(bm_refusal_add(s, &r, &e), BM_BUG);
    IS(bm_audit_leaf_add(s, 0, 0, bm_rd_str("{}"), &e), BM_BUG);
    IS(bm_audit_tile_add(s, 8, 0, (const uint8_t[32]){ 0 }, &e), BM_BUG);
    IS(bm_tree_head_add(s, &h, &e), BM_BUG);
    OK(bm_store_counts(s, &json, &e));
    assert_true(holds(&json, "\"org\":1,"));
    bm_buf_done(&json);
}

/* --- small tables ------------------------------------------------------------------------------------------------------------- */
static void test_meta(void **state)
{
    static const uint8_t odd[] = { 0, 1, 0xff, 0, '\'' };
    BM_CLEANUP(bm_buf_done) struct bm_buf got = { .max = 100 };
    BM_CLEANUP(bm_buf_done) struct bm_buf small = { .max = 4 };

    (void)state;
    IS(bm_meta_get(s, "clock", &got, &e), BM_NOTFOUND);
    assert_int_equal(got.n, 0);
    OK(bm_store_begin(s, &e));
    OK(bm_meta_set(s, "clock", bm_rd_str("1"), &e));
    OK(bm_meta_set(s, "clock", bm_rd_of(odd, sizeof odd), &e));
    OK(bm_meta_set(s, "empty", bm_rd_of(NULL, 0), &e));
    OK(bm_store_commit(s, &e));
    OK(bm_meta_get(s, "clock", &got, &e));
    assert_int_equal(got.n, sizeof odd);
    assert_memory_equal(got.p, odd, sizeof odd);
    got.n = 0;
    OK(bm_meta_get(s, "empty", &got, &e));
    assert_int_equal(got.n, 0);
    OK(bm_meta_get(s, "schema", &got, &e));
    assert_true(got.n > 0);
    IS(bm_meta_get(s, "clock", &small, &e), BM_IO); /* longer than the caller takes */
}

static void test_org(void **state)
{
    struct bm_org o = {
        .name = "chips", .title = "Chips & \"Söhne\" '); DROP TABLE org; --", .role = "chip-maker", .created_at = 7
    };
    struct bm_org got = { .id = 77 };

    (void)state;
    IS(bm_org_get(s, "chips", &got, &e), BM_NOTFOUND);
    IS(bm_org_by_id(s, 4711, &got, &e), BM_NOTFOUND);
    assert_int_equal(got.id, 77); /* untouched */
    OK(bm_store_begin(s, &e));
    OK(bm_org_put(s, &o, &e));
    assert_true(o.id > org.id);
    IS(bm_org_put(s, &o, &e), BM_CONFLICT);
    OK(bm_store_commit(s, &e));
    OK(bm_org_get(s, "chips", &got, &e));
    assert_string_equal(got.title, o.title);
    assert_string_equal(got.role, "chip-maker");
    assert_int_equal(got.created_at, 7);
    OK(bm_org_by_id(s, o.id, &got, &e));
    assert_string_equal(got.name, "chips");
    IS(bm_org_get(s, "", &got, &e), BM_NOTFOUND);
    IS(bm_org_get(s, "CHIPS", &got, &e), BM_NOTFOUND);
}

static enum bm_rc count_trust(void *arg, const struct bm_trust *t, struct bm_error *err)
{
    int *n = arg;

    (void)err;
    assert_int_equal(t->der.n, 3);
    assert_int_equal(t->org_id, org.id);
    return ++*n == 3 ? BM_NOTFOUND : BM_OK;
}

static void test_trust(void **state)
{
    struct bm_trust t = { .org_id = org.id, .purpose = BM_TRUST_BIRTH, .sha256 = { 1 }, .der = lend("abc", 3), .created_at = 1 };
    int n = 0;

    (void)state;
    OK(bm_store_begin(s, &e));
    OK(bm_trust_put(s, &t, &e));
    IS(bm_trust_put(s, &t, &e), BM_CONFLICT);
    strcpy(t.purpose, BM_TRUST_MANIFEST);
    OK(bm_trust_put(s, &t, &e)); /* the same certificate for something else */
    strcpy(t.purpose, BM_TRUST_BIRTH);
    t.sha256[0] = 2;
    OK(bm_trust_put(s, &t, &e));
    t.sha256[0] = 3;
    t.org_id = 4711;
    IS(bm_trust_put(s, &t, &e), BM_NOTFOUND); /* no such organisation */
    OK(bm_store_commit(s, &e));
    OK(bm_trust_each(s, BM_TRUST_BIRTH, count_trust, &n, &e));
    assert_int_equal(n, 2);
    IS(bm_trust_each(s, BM_TRUST_BIRTH, count_trust, &n, &e), BM_NOTFOUND); /* the callback's word is handed on */
    n = 0;
    OK(bm_trust_each(s, "other", count_trust, &n, &e));
    assert_int_equal(n, 0);
}

static enum bm_rc check_order(void *arg, const struct bm_ca *c, struct bm_error *err)
{
    int64_t *last = arg;

    (void)err;
    assert_true(c->id > *last && c->parent_id < c->id);
    *last = c->id;
    return BM_OK;
}

static enum bm_rc see_held(void *arg, const struct bm_held_crl *h, struct bm_error *err)
{
    int64_t *sum = arg;

    (void)err;
    assert_int_equal(h->der.n, 0);
    *sum += h->ca_id != 0 ? 1 : 100 + h->entries;
    return BM_OK;
}

/* Breaks when a list, or what is known of it, comes back otherwise than it was put, or one issuer can have two. */
static void test_held_crl(void **state)
{
    struct bm_held_crl of_ca, of_trust, got = { 0 }, second;
    struct bm_trust t = { .purpose = BM_TRUST_BIRTH, .der = lend("\x30\x05", 2), .created_at = 1 };
    int64_t sum = 0;

    (void)state;
    OK(bm_store_begin(s, &e));
    t.org_id = org.id;
    OK(bm_trust_put(s, &t, &e));
    IS(bm_held_crl_of_ca(s, root_ca.id, &got, &e), BM_NOTFOUND);
    of_ca =
        (struct bm_held_crl){ .ca_id = root_ca.id, .this_update = 5, .next_update = 9, .entries = 3, .der = lend("\x30\x00", 2) };
    memset(of_ca.number, 0xff, sizeof of_ca.number);
    OK(bm_held_crl_put(s, &of_ca, &e));
    of_trust = (struct bm_held_crl){ .trust_id = t.id, .url = "http://a.example/b", .hard = true };
    OK(bm_held_crl_put(s, &of_trust, &e)); /* no list yet */
    second = (struct bm_held_crl){ .trust_id = t.id };
    IS(bm_held_crl_put(s, &second, &e), BM_CONFLICT);
    second = (struct bm_held_crl){ .ca_id = 4711 };
    IS(bm_held_crl_put(s, &second, &e), BM_NOTFOUND);
    OK(bm_held_crl_of_ca(s, root_ca.id, &got, &e));
    assert_true(got.id == of_ca.id && got.trust_id == 0 && got.next_update == 9 && got.entries == 3 && got.der.n == 2);
    assert_memory_equal(got.number, of_ca.number, sizeof got.number);
    bm_held_crl_done(&got);
    OK(bm_held_crl_of_trust(s, t.id, &got, &e));
    assert_true(got.hard && got.this_update == 0 && got.der.n == 0 && got.number[0] == 0 && strcmp(got.url, of_trust.url) == 0);
    bm_held_crl_done(&got);
    of_trust.asked_at = 77;
    snprintf(of_trust.problem, sizeof of_trust.problem, "HTTP 404");
    OK(bm_held_crl_set(s, &of_trust, &e));
    of_ca.number[0] = 1;
    of_ca.der = lend("\x30\x01\x00", 3);
    OK(bm_held_crl_put(s, &of_ca, &e)); /* in place of the one before */
    OK(bm_store_commit(s, &e));
    OK(bm_held_crl_get(s, of_trust.id, &got, &e));
    assert_true(got.asked_at == 77 && strcmp(got.problem, "HTTP 404") == 0);
    bm_held_crl_done(&got);
    OK(bm_held_crl_get(s, of_ca.id, &got, &e));
    assert_true(got.number[0] == 1 && got.number[1] == 0xff && got.der.n == 3);
    bm_held_crl_done(&got);
    OK(bm_held_crl_each(s, see_held, &sum, &e));
    assert_int_equal(sum, 101);
    OK(bm_trust_by_id(s, t.id, &t, &e));
    assert_true(t.der.n == 2 && t.org_id == org.id);
    bm_trust_done(&t);
    IS(bm_trust_by_id(s, 4711, &t, &e), BM_NOTFOUND);
}

static void test_ca(void **state)
{
    struct bm_ca got = { 0 }, third = { .name = "root", .state = "active" };
    int64_t last = 0;

    (void)state;
    OK(bm_ca_get(s, "issuing", &got, &e));
    assert_int_equal(got.parent_id, root_ca.id);
    assert_string_equal(got.key_uri, "file:iss");
    assert_memory_equal(got.cert.p, "\x30\x02", 2);
    bm_ca_done(&got);
    IS(bm_ca_get(s, "none", &got, &e), BM_NOTFOUND);
    IS(bm_ca_by_id(s, 4711, &got, &e), BM_NOTFOUND);
    OK(bm_store_begin(s, &e));
    IS(bm_ca_put(s, &third, &e), BM_CONFLICT);
    strcpy(third.name, "orphan");
    third.parent_id = 4711;
    IS(bm_ca_put(s, &third, &e), BM_NOTFOUND);
    IS(bm_ca_set_revoked(s, 4711, 1, 1, &e), BM_NOTFOUND);
    OK(bm_ca_set_revoked(s, issuing_ca.id, 4, 1234, &e));
    OK(bm_store_commit(s, &e));
    OK(bm_ca_by_id(s, issuing_ca.id, &got, &e));
    assert_string_equal(got.state, "revoked");
    assert_int_equal(got.reason, 4);
    assert_int_equal(got.revoked_at, 1234);
    bm_ca_done(&got);
    OK(bm_ca_each(s, check_order, &last, &e));
    assert_int_equal(last, issuing_ca.id);
}

static enum bm_rc join_profiles(void *arg, const char *name, struct bm_rd json, struct bm_error *err)
{
    (void)err;
    bm_buf_printf(arg, "%s=%.*s;", name, (int)json.n, (const char *)json.p);
    return BM_OK;
}

static void test_profile(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf got = { .max = BM_PROFILE_MAX };
    BM_CLEANUP(bm_buf_done) struct bm_buf all = { .max = 1000 };

    (void)state;
    IS(bm_profile_get(s, "ldevid", &got, &e), BM_NOTFOUND);
    OK(bm_store_begin(s, &e));
    OK(bm_profile_put(s, "ldevid", bm_rd_str("{\"a\":1}"), &e));
    OK(bm_profile_put(s, "tls", bm_rd_str("{}"), &e));
    OK(bm_profile_put(s, "ldevid", bm_rd_str("{\"a\":2}"), &e)); /* replaces */
    OK(bm_store_commit(s, &e));
    OK(bm_profile_get(s, "ldevid", &got, &e));
    assert_true(bm_rd_eq(bm_buf_rd(&got), bm_rd_str("{\"a\":2}")));
    OK(bm_profile_each(s, join_profiles, &all, &e));
    assert_true(bm_rd_eq(bm_buf_rd(&all), bm_rd_str("ldevid={\"a\":2};tls={};")));
}

static void test_service(void **state)
{
    struct bm_service got, v = { .name = "broker", .kind = "https" };

    (void)state;
    OK(bm_service_get(s, "broker", &got, &e));
    assert_string_equal(got.endpoints, "[\"mqtts://b\"]");
    OK(bm_store_begin(s, &e));
    IS(bm_service_put(s, &v, &e), BM_CONFLICT);
    strcpy(got.title, "Renamed");
    strcpy(got.profile, "ldevid");
    OK(bm_service_put(s, &got, &e));
    got.id = 4711;
    IS(bm_service_put(s, &got, &e), BM_NOTFOUND);
    OK(bm_store_commit(s, &e));
    OK(bm_service_by_id(s, service.id, &got, &e));
    assert_string_equal(got.title, "Renamed");
    assert_string_equal(got.profile, "ldevid");
    IS(bm_service_by_id(s, 4711, &got, &e), BM_NOTFOUND);
    IS(bm_service_get(s, "none", &got, &e), BM_NOTFOUND);
}

static void test_product(void **state)
{
    struct bm_product got, p = { .name = "lamp", .policy = "{}" };

    (void)state;
    OK(bm_product_get(s, "lamp", &got, &e));
    assert_int_equal(got.org_id, org.id);
    assert_string_equal(got.policy, product.policy);
    OK(bm_store_begin(s, &e));
    IS(bm_product_put(s, &p, &e), BM_CONFLICT);
    strcpy(p.name, "second");
    OK(bm_product_put(s, &p, &e)); /* without an organisation */
    strcpy(p.name, "lamp");
    IS(bm_product_put(s, &p, &e), BM_CONFLICT); /* renamed onto another */
    strcpy(p.name, "third");
    p.org_id = 4711;
    IS(bm_product_put(s, &p, &e), BM_NOTFOUND);
    memset(got.policy, 'x', sizeof got.policy - 1); /* the largest that fits */
    got.policy[sizeof got.policy - 1] = '\0';
    OK(bm_product_put(s, &got, &e));
    OK(bm_store_commit(s, &e));
    OK(bm_product_by_id(s, product.id, &got, &e));
    assert_int_equal(strlen(got.policy), sizeof got.policy - 1);
    OK(bm_product_get(s, "second", &got, &e));
    assert_int_equal(got.org_id, 0);
    IS(bm_product_get(s, "third", &got, &e), BM_NOTFOUND);
    IS(bm_product_by_id(s, 4711, &got, &e), BM_NOTFOUND);
}

static void test_batch(void **state)
{
    static const struct {
        int64_t n;
        enum bm_rc want;
    } uses[] = { { 0, BM_OK },    { 4, BM_OK }, { 7, BM_LIMIT }, { INT64_MAX, BM_LIMIT }, { 6, BM_OK },
                 { 1, BM_LIMIT }, { 0, BM_OK }, { -1, BM_BUG },  { INT64_MIN, BM_BUG } };
    struct bm_batch got, b = { .name = "lamp-1", .product_id = product.id, .state = "open", .quota = 1 };

    (void)state;
    OK(bm_batch_get(s, "lamp-1", &got, &e));
    assert_int_equal(got.used, 0); /* a new one has used nothing, whatever the caller says */
    assert_int_equal(got.ca_id, issuing_ca.id);
    OK(bm_store_begin(s, &e));
    IS(bm_batch_put(s, &b, &e), BM_CONFLICT);
    for (size_t i = 0; i < BM_COUNT(uses); i++)
        IS(bm_batch_use(s, batch.id, uses[i].n, &e), uses[i].want);
    IS(bm_batch_use(s, 4711, 1, &e), BM_NOTFOUND);
    IS(bm_batch_use(s, batch.id, 1, &e), BM_LIMIT);
    assert_string_equal(e.code, "quota-exhausted");
    OK(bm_batch_by_id(s, batch.id, &got, &e));
    assert_int_equal(got.used, 10);
    got.used = 0;
    got.quota = 12;
    strcpy(got.state, "closed");
    OK(bm_batch_put(s, &got, &e)); /* does not give back what was used */
    OK(bm_batch_use(s, batch.id, 2, &e));
    got.quota = 5; /* lowered below what was used: nothing more */
    OK(bm_batch_put(s, &got, &e));
    IS(bm_batch_use(s, batch.id, 1, &e), BM_LIMIT);
    strcpy(b.name, "lamp-2");
    b.product_id = 4711;
    IS(bm_batch_put(s, &b, &e), BM_NOTFOUND);
    OK(bm_store_commit(s, &e));
    OK(bm_batch_get(s, "lamp-1", &got, &e));
    assert_int_equal(got.used, 12);
    assert_string_equal(got.state, "closed");
    IS(bm_batch_get(s, "none", &got, &e), BM_NOTFOUND);
}

/* --- hosts -------------------------------------------------------------------------------------------------------------------- */
static void put_hosts(void)
{
    OK(bm_host_put(s, "host-1", 1, &e));
    OK(bm_host_put(s, "second", 2, &e));
    OK(bm_host_put(s, "third", 3, &e));
}

static void test_hosts(void **state)
{
    BM_CLEANUP(bm_host_done) struct bm_host h = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 100 };
    int64_t n, version = 7;

    (void)state;
    OK(bm_store_begin(s, &e));
    put_hosts();
    IS(bm_host_put(s, "second", 2, &e), BM_CONFLICT);
    OK(bm_host_get(s, "third", &h, &e));
    assert_int_equal(h.id, 3);
    assert_true(h.joined_at == 0 && h.removed_at == 0 && h.log_spki.n == 0);
    OK(bm_host_set_joined(s, 3, 9, bm_rd_str("key"), &e));
    IS(bm_host_set_joined(s, 3, 9, bm_rd_str("other"), &e), BM_NOTFOUND); /* nobody takes a host's place */
    OK(bm_host_set_removed(s, 2, 10, &e));
    OK(bm_host_count(s, &n, &e));
    assert_int_equal(n, 2);
    IS(bm_host_get(s, "nobody", &h, &e), BM_NOTFOUND);
    OK(bm_sealed_key_put(s, "root", bm_rd_str("a"), &e));
    OK(bm_sealed_key_put(s, "root", bm_rd_str("b"), &e));
    OK(bm_sealed_key_get(s, "root", &pem, &e));
    assert_true(bm_rd_eq(bm_buf_rd(&pem), bm_rd_str("b")));
    OK(bm_sealed_key_drop_all(s, &e));
    IS(bm_sealed_key_get(s, "root", &pem, &e), BM_NOTFOUND);
    OK(bm_store_version_now(s, &version, &e));
    assert_int_equal(version, 0);
    OK(bm_store_version_set(s, 12, &e));
    OK(bm_store_version_now(s, &version, &e));
    assert_int_equal(version, 12);
    OK(bm_store_commit(s, &e));
}

static int64_t used_of_batch(void)
{
    struct bm_batch b;

    OK(bm_batch_by_id(s, batch.id, &b, &e));
    return b.used;
}

/* Whoever asks, in whatever order: every unit of the quota is given out once, and what a batch says is used counts what is, not what is leased. */
static void test_leases(void **state)
{
    enum { QUOTA = 500 };
    struct bm_batch b;
    int64_t given = 0, asked = 0;

    (void)state;
    OK(bm_store_begin(s, &e));
    put_hosts();
    OK(bm_batch_by_id(s, batch.id, &b, &e));
    b.quota = QUOTA;
    OK(bm_batch_put(s, &b, &e));
    for (; given < QUOTA; given++, asked = asked * 7 + 3) {
        OK(bm_lease_use(s, asked % 3 + 1, 3, batch.id, &e));
        assert_int_equal(used_of_batch(), given + 1);
        asked %= 1000003;
    }
    for (int64_t host = 1; host <= 3; host++) {
        IS(bm_lease_use(s, host, 3, batch.id, &e), BM_LIMIT);
        assert_string_equal(e.code, "quota-exhausted");
    }
    IS(bm_batch_use(s, batch.id, 1, &e), BM_LIMIT);
    IS(bm_lease_use(s, 1, 3, 4711, &e), BM_NOTFOUND);
    assert_int_equal(used_of_batch(), QUOTA);
    OK(bm_store_commit(s, &e));
}

/* What a host leased and did not use is not lost when it never comes back, however the others go on. */
static void test_leases_of_the_dead(void **state)
{
    struct bm_batch b;
    int64_t given = 0;

    (void)state;
    OK(bm_store_begin(s, &e));
    put_hosts();
    OK(bm_batch_by_id(s, batch.id, &b, &e));
    b.quota = 100;
    OK(bm_batch_put(s, &b, &e));
    OK(bm_lease_use(s, 2, 2, batch.id, &e)); /* takes a block, dies */
    OK(bm_lease_use(s, 1, 2, batch.id, &e));
    for (given = 2; given < 90; given++)
        OK(bm_lease_use(s, 1, 2, batch.id, &e));
    OK(bm_batch_by_id(s, batch.id, &b, &e));
    b.quota = 95; /* fewer than were handed out */
    OK(bm_batch_put(s, &b, &e));
    for (; given < 93; given++)
        OK(bm_lease_use(s, 1, 2, batch.id, &e));
    OK(bm_lease_use(s, 2, 2, batch.id, &e)); /* is back, and leases what is left */
    OK(bm_batch_use(s, batch.id, 1, &e));    /* one host alone again */
    IS(bm_batch_use(s, batch.id, 1, &e), BM_LIMIT);
    assert_int_equal(used_of_batch(), 95);
    OK(bm_store_commit(s, &e));
}

static enum bm_rc note_leaf(void *arg, int64_t index, int64_t at_ms, struct bm_rd data, struct bm_error *err)
{
    (void)data, (void)err;
    assert_true(at_ms == 100 * *(int64_t *)arg + index);
    return BM_OK;
}

/* Rows of one host's log are never taken for another's. */
static void test_logs_apart(void **state)
{
    static const int64_t hosts[] = { 1, 2, 3, 1000 };
    struct bm_tree_head h = { .signature = lend("s", 1) };
    uint8_t hash[32] = { 0 };
    int64_t n;

    (void)state;
    OK(bm_store_begin(s, &e));
    for (size_t i = 0; i < BM_COUNT(hosts); i++) {
        bm_store_use_log(s, hosts[i]);
        OK(bm_audit_leaf_count(s, &n, &e));
        assert_int_equal(n, 0);
        for (int64_t k = 0; k <= hosts[i] % 5; k++)
            OK(bm_audit_leaf_add(s, k, 100 * hosts[i] + k, bm_rd_str("{}"), &e));
        hash[0] = (uint8_t)hosts[i];
        OK(bm_audit_tile_add(s, 8, 0, hash, &e));
        h.size = hosts[i] % 5 + 1;
        OK(bm_tree_head_add(s, &h, &e));
        OK(bm_audit_last_log(s, &n, &e));
        assert_int_equal(n, hosts[i]);
    }
    for (size_t i = 0; i < BM_COUNT(hosts); i++) {
        BM_CLEANUP(bm_tree_head_done) struct bm_tree_head got = { 0 };
        int64_t host = hosts[i];

        bm_store_use_log(s, host);
        OK(bm_audit_leaf_count(s, &n, &e));
        assert_int_equal(n, host % 5 + 1);
        OK(bm_audit_leaf_each(s, INT64_MIN, INT64_MAX, note_leaf, &host, &e));
        OK(bm_audit_tile_get(s, 8, 0, hash, &e));
        assert_int_equal(hash[0], (uint8_t)host);
        OK(bm_audit_tile_count(s, &n, &e));
        assert_int_equal(n, 1);
        OK(bm_tree_head_last(s, &got, &e));
        assert_int_equal(got.size, host % 5 + 1);
    }
    bm_store_use_log(s, 1);
    OK(bm_store_commit(s, &e));
}

/* --- devices and credentials -------------------------------------------------------------------------------------------------- */
static void udid_of(int i, uint8_t ret[BM_UDID_LEN])
{
    for (int k = 0; k < BM_UDID_LEN; k++)
        ret[k] = (uint8_t)(i * 37 + k * 11);
    ret[BM_UDID_LEN - 1] = (uint8_t)i;
}

static struct bm_device device_of(int i)
{
    struct bm_device d = {
        .batch_id = batch.id, .owner_id = org.id, .rot = "atecc608", .state = "registered", .created_at = 100 + i
    };

    udid_of(i, d.udid);
    d.spki = lend("spki", 4);
    return d;
}

static void test_device(void **state)
{
    struct bm_device d = device_of(1), bare = { .state = "registered" }, got = { 0 };
    int64_t id = 7, batch_id = 7;

    (void)state;
    IS(bm_device_get(s, d.udid, &got, &e), BM_NOTFOUND);
    IS(bm_device_peek(s, d.udid, &id, &batch_id, &e), BM_NOTFOUND);
    assert_int_equal(id, 7);
    d.attributes = lend("{\"serial\":\"A1\"}", 15);
    OK(bm_store_begin(s, &e));
    OK(bm_device_put(s, &d, &e));
    IS(bm_device_put(s, &d, &e), BM_CONFLICT);
    OK(bm_device_put(s, &bare, &e)); /* all zero UDID, nothing optional */
    OK(bm_store_commit(s, &e));
    OK(bm_device_get(s, d.udid, &got, &e));
    assert_int_equal(got.id, d.id);
    assert_int_equal(got.owner_id, org.id);
    assert_int_equal(got.manifest_id, 0);
    assert_string_equal(got.rot, "atecc608");
    assert_true(bm_rd_eq(bm_buf_rd(&got.spki), bm_rd_str("spki")));
    assert_true(bm_rd_eq(bm_buf_rd(&got.attributes), bm_rd_str("{\"serial\":\"A1\"}")));
    assert_int_equal(got.birth_cert.n, 0);
    bm_device_done(&got);
    OK(bm_device_peek(s, d.udid, &id, &batch_id, &e));
    assert_int_equal(id, d.id);
    assert_int_equal(batch_id, batch.id);
    OK(bm_device_peek(s, bare.udid, &id, &batch_id, &e));
    assert_int_equal(batch_id, 0);
    OK(bm_device_by_id(s, bare.id, &got, &e));
    assert_int_equal(got.spki.n, 0);
    bm_device_done(&got);
    IS(bm_device_by_id(s, 4711, &got, &e), BM_NOTFOUND);
}

static void test_device_changes(void **state)
{
    struct bm_device d = device_of(2), got = { 0 }, bad = device_of(3);

    (void)state;
    OK(bm_store_begin(s, &e));
    OK(bm_device_put(s, &d, &e));
    bad.batch_id = 4711;
    IS(bm_device_put(s, &bad, &e), BM_NOTFOUND);
    OK(bm_device_set_state(s, d.id, "active", 555, &e));
    OK(bm_device_set_state(s, d.id, "suspended", 0, &e));
    IS(bm_device_set_state(s, 4711, "active", 0, &e), BM_NOTFOUND);
    IS(bm_device_set_state(s, 4711, "active", 1, &e), BM_NOTFOUND);
    OK(bm_device_by_id(s, d.id, &got, &e));
    assert_string_equal(got.state, "suspended");
    assert_int_equal(got.activated_at, 555);
    bm_device_done(&got);
    OK(bm_device_set_batch(s, d.id, 0, "registered", &e));
    IS(bm_device_set_batch(s, d.id, 4711, "allocated", &e), BM_NOTFOUND);
    IS(bm_device_set_owner(s, d.id, 4711, &e), BM_NOTFOUND);
    IS(bm_device_set_owner(s, 4711, org.id, &e), BM_NOTFOUND);
    OK(bm_device_set_owner(s, d.id, 0, &e));
    IS(bm_device_set_batch(s, 4711, batch.id, "allocated", &e), BM_NOTFOUND);
    OK(bm_device_by_id(s, d.id, &got, &e));
    assert_int_equal(got.batch_id, 0);
    assert_int_equal(got.owner_id, 0);
    bm_device_done(&got);
    OK(bm_device_set_batch(s, d.id, batch.id, "allocated", &e));
    OK(bm_store_commit(s, &e));
    OK(bm_device_by_id(s, d.id, &got, &e));
    assert_int_equal(got.batch_id, batch.id);
    assert_string_equal(got.state, "allocated");
    bm_device_done(&got);
}

/* UDIDs and serial numbers that share what the short indexes hold of them. */
static void test_same_short_key(void **state)
{
    enum { N = 20 };
    int64_t id, batch_id;

    (void)state;
    OK(bm_store_begin(s, &e));
    for (int i = 0; i < N; i++) {
        struct bm_device d = { .state = "registered", .udid = { 0xff, 0xee, 0xdd, 0xcc, (uint8_t)i } };
        struct bm_credential c = { .state = "active", .serial = { (uint8_t)i } };

        OK(bm_device_put(s, &d, &e));
        IS(bm_device_put(s, &d, &e), BM_CONFLICT);
        OK(bm_credential_put(s, &c, &e));
        IS(bm_credential_put(s, &c, &e), BM_CONFLICT);
    }
    OK(bm_store_commit(s, &e));
    for (int i = 0; i <= N; i++) {
        const uint8_t udid[BM_UDID_LEN] = { 0xff, 0xee, 0xdd, 0xcc, (uint8_t)i }, serial[BM_SERIAL_LEN] = { (uint8_t)i };
        struct bm_device d = { 0 };
        struct bm_credential c = { 0 };

        IS(bm_device_get(s, udid, &d, &e), i < N ? BM_OK : BM_NOTFOUND);
        IS(bm_device_peek(s, udid, &id, &batch_id, &e), i < N ? BM_OK : BM_NOTFOUND);
        IS(bm_credential_get(s, serial, &c, &e), i < N ? BM_OK : BM_NOTFOUND);
        assert_true(i == N || (memcmp(d.udid, udid, sizeof udid) == 0 && memcmp(c.serial, serial, sizeof serial) == 0));
        bm_device_done(&d);
        bm_credential_done(&c);
    }
}

struct seen {
    int n, depth;
    int64_t last, device_id;
};

static enum bm_rc see_credential(void *arg, const struct bm_credential *c, struct bm_error *err)
{
    struct seen *t = arg, inner = { .depth = 1, .device_id = t->device_id };

    assert_true(c->id > t->last); /* oldest first */
    assert_int_equal(c->device_id, t->device_id);
    t->last = c->id;
    t->n++;
    if (t->depth == 0) { /* the same question asked while it is being answered */
        OK(bm_credential_each_of(s, t->device_id, see_credential, &inner, err));
        assert_int_equal(inner.n, 3);
    }
    return BM_OK;
}

static void put_credentials(int64_t device_id, uint8_t mark)
{
    for (uint8_t i = 0; i < 3; i++) {
        struct bm_credential c = { .device_id = device_id,
                                   .service_id = device_id != 0 ? service.id : 0,
                                   .ca_id = issuing_ca.id,
                                   .serial = { 0x40, mark, i, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, mark, i, 1 },
                                   .protocol = "est",
                                   .state = "active",
                                   .correlation = "0123456789abcdef",
                                   .cert = lend("cert", 4),
                                   .not_before = 1,
                                   .not_after = INT64_MAX,
                                   .issued_at = 1700000000 + i };

        OK(bm_credential_put(s, &c, &e));
        assert_true(c.id != 0);
        IS(bm_credential_put(s, &c, &e), BM_CONFLICT);
    }
}

static void test_credential(void **state)
{
    struct bm_device d = device_of(4);
    struct bm_credential got = { 0 }, bad = { .device_id = 4711, .serial = { 1, 2, 3 }, .state = "active" };
    const uint8_t serial[BM_SERIAL_LEN] = { 0x40, 2, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 2, 1, 1 };
    struct seen seen = { 0 };

    (void)state;
    OK(bm_store_begin(s, &e));
    OK(bm_device_put(s, &d, &e));
    put_credentials(0, 1);
    put_credentials(d.id, 2);
    IS(bm_credential_put(s, &bad, &e), BM_NOTFOUND);
    OK(bm_store_commit(s, &e));
    OK(bm_credential_get(s, serial, &got, &e));
    assert_int_equal(got.device_id, d.id);
    assert_int_equal(got.not_after, INT64_MAX);
    assert_string_equal(got.protocol, "est");
    assert_string_equal(got.correlation, "0123456789abcdef");
    assert_true(bm_rd_eq(bm_buf_rd(&got.cert), bm_rd_str("cert")));
    OK(bm_store_begin(s, &e));
    OK(bm_credential_set_revoked(s, got.id, 1, 999, &e));
    IS(bm_credential_set_revoked(s, 4711, 1, 999, &e), BM_NOTFOUND);
    OK(bm_store_commit(s, &e));
    bm_credential_done(&got);
    OK(bm_credential_get(s, serial, &got, &e));
    assert_string_equal(got.state, "revoked");
    assert_int_equal(got.reason, 1);
    assert_int_equal(got.revoked_at, 999);
    bm_credential_done(&got);
    IS(bm_credential_get(s, bad.serial, &got, &e), BM_NOTFOUND);
    seen.device_id = d.id;
    OK(bm_credential_each_of(s, d.id, see_credential, &seen, &e));
    assert_int_equal(seen.n, 3);
    seen = (struct seen){ 0 }; /* the server's own */
    OK(bm_credential_each_of(s, 0, see_credential, &seen, &e));
    assert_int_equal(seen.n, 3);
    seen = (struct seen){ .depth = 1 };
    OK(bm_credential_each_of(s, 4711, see_credential, &seen, &e));
    assert_int_equal(seen.n, 0);
}

/* --- manifests, refusals, audit rows ------------------------------------------------------------------------------------------ */
static int64_t revocations(const char *state)
{
    int64_t n = -1;

    OK(bm_upstream_revocation_count(s, state, &n, &e));
    return n;
}

static int64_t credential_of(uint8_t mark, uint8_t i)
{
    const uint8_t serial[BM_SERIAL_LEN] = { 0x40, mark, i, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, mark, i, 1 };
    struct bm_credential got = { 0 };
    int64_t id;

    OK(bm_credential_get(s, serial, &got, &e));
    id = got.id;
    bm_credential_done(&got);
    return id;
}

/* Breaks when a CA of ours hears of itself, one upstream CA's many keep another from its turn, or a row is taken twice. */
static void test_upstream_revocations(void **state)
{
    struct bm_upstream up = { .ca_id = issuing_ca.id, .driver = "cmp", .url = "https://ca.example", .names = "registry" };
    struct bm_upstream_revocation r;
    int64_t ids[3];
    bool added;

    (void)state;
    OK(bm_store_begin(s, &e));
    put_credentials(0, 1);
    for (uint8_t i = 0; i < 3; i++)
        ids[i] = credential_of(1, i);
    OK(bm_upstream_revocation_add(s, ids[0], 100, &added, &e));
    assert_false(added);
    OK(bm_upstream_put(s, &up, &e));
    for (size_t i = 0; i < 3; i++) {
        OK(bm_upstream_revocation_add(s, ids[i], 100, &added, &e));
        assert_true(added);
    }
    OK(bm_upstream_revocation_add(s, ids[2], 100, &added, &e));
    assert_false(added);
    OK(bm_upstream_revocation_add(s, 4711, 100, &added, &e));
    assert_false(added);
    assert_int_equal(revocations(BM_UPSTREAM_WAITING), 3);
    for (size_t i = 0; i < 2; i++) {
        OK(bm_upstream_revocation_due(s, 2, &r, &e));
        assert_true(r.credential_id == ids[i] && r.ca_id == issuing_ca.id && r.at == 100);
        snprintf(r.state, sizeof r.state, BM_UPSTREAM_ASKED);
        OK(bm_upstream_revocation_set(s, &r, &e));
    }
    IS(bm_upstream_revocation_due(s, 2, &r, &e), BM_NOTFOUND);
    OK(bm_upstream_revocation_due(s, 3, &r, &e));
    OK(bm_upstream_revocation_get(s, ids[1], &r, &e));
    snprintf(r.state, sizeof r.state, BM_UPSTREAM_FAILED);
    snprintf(r.code, sizeof r.code, "upstream-refused");
    snprintf(r.what, sizeof r.what, "no");
    OK(bm_upstream_revocation_set(s, &r, &e));
    OK(bm_store_commit(s, &e));
    OK(bm_upstream_revocation_get(s, ids[1], &r, &e));
    assert_string_equal(r.what, "no");
    assert_int_equal(revocations(BM_UPSTREAM_FAILED), 1);
    OK(bm_upstream_revocation_due(s, 2, &r, &e));
    assert_int_equal(r.credential_id, ids[2]);
    IS(bm_upstream_revocation_get(s, 4711, &r, &e), BM_NOTFOUND);
}

static void test_manifest(void **state)
{
    struct bm_manifest_row m = { .org_id = org.id, .digest = { 1, 2, 3 }, .prev = { 9 }, .format = "birthmark-1", .created_at = 5 },
                           got;

    (void)state;
    IS(bm_manifest_by_digest(s, m.digest, &got, &e), BM_NOTFOUND);
    OK(bm_store_begin(s, &e));
    OK(bm_manifest_put(s, &m, &e));
    m.next_seq = 4;
    m.entries = 4000;
    m.bad = 2;
    m.complete = true;
    m.batch_id = batch.id;
    m.prev[0] = 8;
    OK(bm_manifest_put(s, &m, &e));
    OK(bm_store_commit(s, &e));
    OK(bm_manifest_by_digest(s, m.digest, &got, &e));
    assert_true(got.id == m.id && got.org_id == org.id && got.batch_id == batch.id && got.created_at == 5);
    assert_true(got.next_seq == 4 && got.entries == 4000 && got.bad == 2 && got.complete);
    assert_memory_equal(got.digest, m.digest, 32);
    assert_memory_equal(got.prev, m.prev, 32);
    assert_string_equal(got.format, "birthmark-1");
    OK(bm_store_begin(s, &e));
    m.id = 0;
    IS(bm_manifest_put(s, &m, &e), BM_CONFLICT);
    m.id = 4711;
    IS(bm_manifest_put(s, &m, &e), BM_NOTFOUND);
    OK(bm_store_commit(s, &e));
}

struct rows {
    int n;
    int64_t first, last;
    json_t *latest;
};

static enum bm_rc see_row(void *arg, int64_t id, const char *json, struct bm_error *err)
{
    struct rows *r = arg;

    (void)err;
    json_decref(r->latest);
    r->latest = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(r->latest);
    assert_int_equal(json_integer_value(json_object_get(r->latest, "id")), id);
    assert_true(id > r->last);
    r->first = r->n++ == 0 ? id : r->first;
    r->last = id;
    return BM_OK;
}

static void test_refusals_kept(void **state)
{
    struct bm_refusal r = {
        .at = 1, .correlation = "c", .protocol = "est", .code = "unknown-device", .peer = "[::1]:5", .what = "No."
    };
    struct rows rows = { 0 };

    (void)state;
    OK(bm_store_begin(s, &e));
    for (int i = 0; i < BM_REFUSALS_KEPT + 250; i++) {
        r.at = i;
        OK(bm_refusal_add(s, &r, &e));
    }
    OK(bm_store_commit(s, &e));
    OK(bm_store_list(s, "refusal", NULL, 0, 5, see_row, &rows, &e));
    assert_int_equal(rows.n, 5);
    assert_int_equal(rows.first, 251);
    rows.last = 0;
    OK(bm_store_list(s, "refusal", NULL, BM_REFUSALS_KEPT + 200, 1000, see_row, &rows, &e));
    assert_int_equal(rows.n, 55);
    assert_int_equal(rows.last, BM_REFUSALS_KEPT + 250);
    json_decref(rows.latest);
}

static enum bm_rc see_leaf(void *arg, int64_t index, int64_t at_ms, struct bm_rd data, struct bm_error *err)
{
    int64_t *next = arg;

    (void)err;
    assert_int_equal(index, *next);
    assert_int_equal(at_ms, 1000 + index);
    assert_int_equal(data.n, 2);
    return ++*next == 9 ? BM_AGAIN : BM_OK;
}

static void test_audit_rows(void **state)
{
    uint8_t hash[32] = { 5 }, got[32] = { 6 };
    int64_t n, next = 3;

    (void)state;
    OK(bm_audit_leaf_count(s, &n, &e));
    assert_int_equal(n, 0);
    OK(bm_store_begin(s, &e));
    for (int64_t i = 0; i < 10; i++)
        OK(bm_audit_leaf_add(s, i, 1000 + i, bm_rd_str("{}"), &e));
    IS(bm_audit_leaf_add(s, 9, 1, bm_rd_str("{}"), &e), BM_CONFLICT);
    OK(bm_audit_tile_add(s, 8, 0, hash, &e));
    OK(bm_audit_tile_add(s, 16, 0, hash, &e));
    IS(bm_audit_tile_add(s, 8, 0, hash, &e), BM_CONFLICT);
    OK(bm_store_commit(s, &e));
    OK(bm_audit_leaf_count(s, &n, &e));
    assert_int_equal(n, 10);
    OK(bm_audit_leaf_each(s, 3, 7, see_leaf, &next, &e));
    assert_int_equal(next, 7);
    IS(bm_audit_leaf_each(s, 7, 100, see_leaf, &next, &e), BM_AGAIN); /* stopped by the callback */
    OK(bm_audit_tile_count(s, &n, &e));
    assert_int_equal(n, 2);
    IS(bm_audit_tile_get(s, 8, 1, got, &e), BM_NOTFOUND);
    assert_int_equal(got[0], 6);
    OK(bm_audit_tile_get(s, 16, 0, got, &e));
    assert_memory_equal(got, hash, 32);
}

static enum bm_rc see_head(void *arg, const struct bm_tree_head *h, struct bm_error *err)
{
    int64_t *last = arg;

    (void)err;
    assert_true(h->size > *last);
    assert_int_equal(h->signature.n, 3);
    *last = h->size;
    return BM_OK;
}

static void test_tree_heads(void **state)
{
    struct bm_tree_head h = { .at_ms = 1, .root = { 7 }, .signature = lend("sig", 3) }, got = { 0 };
    int64_t last = 0;

    (void)state;
    IS(bm_tree_head_last(s, &got, &e), BM_NOTFOUND);
    OK(bm_tree_head_each(s, see_head, &last, &e));
    assert_int_equal(last, 0);
    OK(bm_store_begin(s, &e));
    for (h.size = 100; h.size >= 10; h.size -= 10)
        OK(bm_tree_head_add(s, &h, &e));
    h.size = 50;
    IS(bm_tree_head_add(s, &h, &e), BM_CONFLICT);
    OK(bm_store_commit(s, &e));
    OK(bm_tree_head_last(s, &got, &e));
    assert_int_equal(got.size, 100);
    bm_tree_head_done(&got);
    OK(bm_tree_head_each(s, see_head, &last, &e));
    assert_int_equal(last, 100);
}

/* --- lists -------------------------------------------------------------------------------------------------------------------- */
static void fill_lists(void)
{
    struct bm_trust t = { .org_id = org.id, .purpose = BM_TRUST_BIRTH, .sha256 = { 1 }, .der = lend("abc", 3), .created_at = 1 };
    struct bm_manifest_row m = { .org_id = org.id, .batch_id = batch.id, .digest = { 1, 2, 3 }, .format = "f", .complete = true };
    struct bm_refusal r = { .at = 1700000000,
                            .correlation = "0123456789abcdef",
                            .code = "unknown-device",
                            .what = "No \"such\"\x01 device.",
                            .has_udid = true };

    OK(bm_trust_put(s, &t, &e));
    OK(bm_profile_put(s, "ldevid", bm_rd_str("{\"days\":30}"), &e));
    OK(bm_manifest_put(s, &m, &e));
    for (int i = 0; i < 10; i++) {
        struct bm_device d = device_of(i);

        if (i == 9)
            d = (struct bm_device){ .state = "registered", .udid = { 0xaa } };
        OK(bm_device_put(s, &d, &e));
        if (i < 3)
            OK(bm_device_set_state(s, d.id, "active", 1700000000, &e));
        if (i < 2)
            put_credentials(d.id, (uint8_t)(10 + i));
    }
    put_credentials(0, 30);
    udid_of(1, r.udid);
    OK(bm_refusal_add(s, &r, &e));
    r.has_udid = false;
    strcpy(r.code, "other");
    OK(bm_refusal_add(s, &r, &e));
}

#define UDID_0 "000b16212c37424d58636e79848f9aa5b0bbc6d1dce7f2fd08131e29343f4a00"
#define UDID_1 "25303b46515c67727d88939ea9b4bfcad5e0ebf6010c17222d38434e59646f01"
#define SERIAL                                                                                                                     \
    "400b0109090909090909090909"                                                                                                   \
    "0b0101"

static const struct {
    const char *kind, *filter[3];
    int want;
    const char *member, *text; /* of the last row; text NULL: null or not a string */
} lists[] = {
    { "org", { NULL }, 1, "name", "acme" },
    { "org", { "name=acme" }, 1, "created_at", "2023-11-14T22:13:20Z" },
    { "org", { "role=auditor" }, 0, NULL, NULL },
    { "trust", { NULL }, 1, "sha256", "0100000000000000000000000000000000000000000000000000000000000000" },
    { "trust", { "org=acme", "purpose=birth" }, 1, "org", "acme" },
    { "trust", { "purpose=manifest" }, 0, NULL, NULL },
    { "ca", { NULL }, 2, "parent", "root" },
    { "ca", { "name=root" }, 1, "parent", NULL },
    { "ca", { "state=active" }, 2, "key", "file:iss" },
    { "profile", { NULL }, 1, "name", "ldevid" },
    { "service", { "kind=mqtt" }, 1, "title", "B" },
    { "product", { "org=acme" }, 1, "org", "acme" },
    { "batch", { NULL }, 1, "product", "lamp" },
    { "batch", { "product=lamp", "state=open" }, 1, "ca", "issuing" },
    { "batch", { "product=x" }, 0, NULL, NULL },
    { "device", { NULL }, 10, "batch", NULL },
    { "device", { "state=active" }, 3, "activated_at", "2023-11-14T22:13:20Z" },
    { "device", { "batch=lamp-1" }, 9, "product", "lamp" },
    { "device", { "product=lamp", "state=registered" }, 6, "owner", "acme" },
    { "device", { "udid=" UDID_1 }, 1, "udid", UDID_1 },
    { "device", { "udid=" UDID_1, "state=registered" }, 0, NULL, NULL },
    { "device", { "state=' OR 1=1 --" }, 0, NULL, NULL },
    { "device", { "state=" }, 0, NULL, NULL },
    { "credential", { NULL }, 9, "udid", NULL },
    { "credential", { "udid=" UDID_1 }, 3, "udid", UDID_1 },
    { "credential", { "udid=" UDID_0, "service=broker" }, 3, "service", "broker" },
    { "credential", { "serial=" SERIAL }, 1, "serial", SERIAL },
    { "credential", { "service=broker" }, 6, "ca", "issuing" },
    { "credential", { "state=revoked" }, 0, NULL, NULL },
    { "manifest", { NULL }, 1, "batch", "lamp-1" },
    { "manifest", { "org=acme" }, 1, "format", "f" },
    { "refusal", { NULL }, 2, "udid", NULL },
    { "refusal", { "udid=" UDID_1 }, 1, "what", "No \"such\"\x01 device." },
    { "refusal", { "correlation=0123456789abcdef", "code=other" }, 1, "at", "2023-11-14T22:13:20Z" },
    { "refusal", { "code=nothing" }, 0, NULL, NULL },
};

static void test_lists(void **state)
{
    (void)state;
    in_transaction(fill_lists);
    for (size_t i = 0; i < BM_COUNT(lists); i++) {
        struct rows rows = { 0 };
        const char *text;

        e.what[0] = '\0';
        if (bm_store_list(s, lists[i].kind, lists[i].filter, 0, 100, see_row, &rows, &e) != BM_OK || rows.n != lists[i].want)
            fail_msg("list %zu (%s): %d rows, %s", i, lists[i].kind, rows.n, e.what);
        text = lists[i].member != NULL ? json_string_value(json_object_get(rows.latest, lists[i].member)) : NULL;
        if (lists[i].member != NULL && json_object_get(rows.latest, lists[i].member) == NULL)
            fail_msg("list %zu (%s): no member %s", i, lists[i].kind, lists[i].member);
        if ((text == NULL) != (lists[i].text == NULL) || (text != NULL && strcmp(text, lists[i].text) != 0))
            fail_msg("list %zu (%s): %s is %s", i, lists[i].kind, lists[i].member, text);
        json_decref(rows.latest);
    }
}

static void test_list_refusals(void **state)
{
    static const struct {
        const char *kind, *filter[10];
        int64_t limit;
    } bad[] = {
        { "nothing", { NULL }, 1 },
        { "", { NULL }, 1 },
        { "device; DROP TABLE device", { NULL }, 1 },
        { "sqlite_master", { NULL }, 1 },
        { "device", { "colour=red" }, 1 },
        { "device", { "state" }, 1 },
        { "device", { "=active" }, 1 },
        { "device", { "" }, 1 },
        { "device", { "stat=active" }, 1 },
        { "device", { "states=active" }, 1 },
        { "device", { "d.state=active" }, 1 },
        { "device", { "1=1 OR state=active" }, 1 },
        { "device", { "udid=12" }, 1 },
        { "device", { "udid=" }, 1 },
        { "device", { "udid=" UDID_1 "00" }, 1 },
        { "device", { "udid=zz303b46515c67727d88939ea9b4bfcad5e0ebf6010c17222d38434e59646f01" }, 1 },
        { "credential", { "serial=" UDID_1 }, 1 },
        { "credential", { "serial=12" }, 1 },
        { "org", { "udid=" UDID_1 }, 1 },
        { "device", { NULL }, -1 },
        { "device", { "state=a", "state=a", "state=a", "state=a", "state=a", "state=a", "state=a", "state=a", "state=a" }, 1 },
    };
    struct rows rows = { 0 };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(bad); i++)
        if (bm_store_list(s, bad[i].kind, bad[i].filter, 0, bad[i].limit, see_row, &rows, &e) != BM_USAGE)
            fail_msg("list refusal %zu passed", i);
    assert_int_equal(rows.n, 0);
}

static void test_list_pages(void **state)
{
    struct rows rows = { 0 };
    int64_t after = 0;
    int pages = 0;

    (void)state;
    in_transaction(fill_lists);
    do {
        rows.n = 0;
        OK(bm_store_list(s, "device", NULL, after, 3, see_row, &rows, &e));
        after = rows.last;
        pages++;
    } while (rows.n == 3);
    assert_int_equal(pages, 4);
    assert_int_equal(rows.n, 1);
    rows.n = 0;
    OK(bm_store_list(s, "device", NULL, 0, 0, see_row, &rows, &e));
    OK(bm_store_list(s, "device", NULL, INT64_MAX, 10, see_row, &rows, &e));
    assert_int_equal(rows.n, 0);
    json_decref(rows.latest);
}

static void test_counts(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { 0 };
    json_t *j, *states;

    (void)state;
    in_transaction(fill_lists);
    OK(bm_store_counts(s, &text, &e));
    j = json_loadb((const char *)text.p, text.n, 0, NULL);
    states = json_object_get(j, "device_states");
    assert_int_equal(json_integer_value(json_object_get(j, "device")), 10);
    assert_int_equal(json_integer_value(json_object_get(j, "credential")), 9);
    assert_int_equal(json_integer_value(json_object_get(j, "refusal")), 2);
    assert_int_equal(json_integer_value(json_object_get(j, "ca")), 2);
    assert_int_equal(json_integer_value(json_object_get(states, "active")), 3);
    assert_int_equal(json_integer_value(json_object_get(states, "registered")), 7);
    json_decref(j);
}

/* The tallies follow every way a transaction can end, and more states than are held back at a time. */
static void test_counts_follow(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { 0 };
    int64_t first = 0;
    char word[16];

    (void)state;
    OK(bm_store_begin(s, &e));
    for (int i = 0; i < 40; i++) {
        struct bm_device d = device_of(i);

        snprintf(d.state, sizeof d.state, "s%d", i);
        OK(bm_device_put(s, &d, &e));
        first = i == 0 ? d.id : first;
    }
    OK(bm_store_commit(s, &e));
    OK(bm_store_begin(s, &e));
    for (int i = 0; i < 40; i++) {
        snprintf(word, sizeof word, "t%d", i % 20);
        OK(bm_device_set_state(s, first + i, word, 0, &e));
    }
    bm_store_rollback(s);
    OK(bm_store_begin(s, &e));
    for (int i = 0; i < 40; i++)
        OK(bm_device_set_state(s, first + i, i < 30 ? "active" : "retired", 0, &e));
    OK(bm_store_commit(s, &e));
    OK(bm_store_counts(s, &text, &e));
    assert_true(holds(&text, "\"device\":40,"));
    assert_true(holds(&text, "{\"active\":30,\"retired\":10}"));
}

#ifdef STORE_TEST_POSTGRES
static int group_setup(void **state)
{
    (void)state;
    return getenv("BM_TEST_DSN") != NULL || pg_start() ? 0 : -1;
}

static int group_teardown(void **state)
{
    (void)state;
    pg_stop();
    return 0;
}
#endif

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_transactions),
        T(test_snapshot),
        T(test_close_rolls_back),
        T(test_outside_transaction),
        T(test_meta),
        T(test_org),
        T(test_trust),
        T(test_held_crl),
        T(test_ca),
        T(test_profile),
        T(test_service),
        T(test_product),
        T(test_batch),
        T(test_hosts),
        T(test_leases),
        T(test_leases_of_the_dead),
        T(test_logs_apart),
        T(test_device),
        T(test_device_changes),
        T(test_same_short_key),
        T(test_credential),
        T(test_upstream_revocations),
        T(test_manifest),
        T(test_refusals_kept),
        T(test_audit_rows),
        T(test_tree_heads),
        T(test_lists),
        T(test_list_refusals),
        T(test_list_pages),
        T(test_counts),
        T(test_counts_follow),
    };

#ifdef STORE_TEST_POSTGRES
    return cmocka_run_group_tests_name("store over PostgreSQL", tests, group_setup, group_teardown);
#else
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
#endif
}
