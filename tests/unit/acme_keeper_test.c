/* What of ACME takes days: orders run out and are swept up. The rest is in tests/e2e/test_acme*.py. */
#include "keeper_fixture.h"

#include "keeper/acme.h"
#include "store/mac_key.h"

static struct world w;

static int open_world(void **state)
{
    (void)state;
    world_open(&w);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    world_close(&w);
    return 0;
}

static int64_t account(void)
{
    BM_CLEANUP(bm_acme_account_done) struct bm_acme_account a = { .status = "valid", .spki.max = 64, .contact.max = 64 };
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key m = { .name = "acme:test", .alg = "acme-eab" };
    struct bm_acme_eab b = { .kid = "test", .uses = 1 };
    struct bm_org o;

    assert_ok(bm_org_get(w.k->store, "acme", &o, &err));
    bm_buf_str(&a.spki, "key");
    bm_buf_str(&a.contact, "[]");
    assert_ok(bm_mac_key_put(w.k->store, &m, &err));
    b.org_id = o.id;
    b.secret_id = m.id;
    assert_ok(bm_acme_eab_put(w.k->store, &b, &err));
    a.eab_id = b.id;
    assert_ok(bm_acme_account_put(w.k->store, &a, &err));
    return a.id;
}

static int64_t order(int64_t account_id, const char *status, int64_t expires_at, int64_t drop_at)
{
    BM_CLEANUP(bm_acme_order_done)
    struct bm_acme_order o = { .account_id = account_id, .expires_at = expires_at, .drop_at = drop_at, .document.max = 64 };

    snprintf(o.status, sizeof o.status, "%s", status);
    bm_buf_str(&o.document, "{}");
    assert_ok(bm_acme_order_put(w.k->store, &o, &err));
    return o.id;
}

static void status_at(int64_t id, int64_t now, const char *want)
{
    BM_CLEANUP(bm_acme_work_done) struct bm_acme_work work = { 0 };

    assert_ok(bm_acme_work_open(w.k, id, now, &work, &err));
    assert_string_equal(work.row.status, want);
}

/* An order whose time is over is invalid though nobody has written that down; one that has its certificate is not touched by it. */
static void orders_run_out(void **state)
{
    int64_t a, id[3];

    (void)state;
    assert_ok(bm_keeper_begin(w.k, &err));
    a = account();
    id[0] = order(a, "pending", 1000, 5000);
    id[1] = order(a, "ready", 1000, 5000);
    id[2] = order(a, "valid", 1000, 5000);
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
    status_at(id[0], 999, "pending");
    status_at(id[0], 1000, "invalid");
    status_at(id[1], 999, "ready");
    status_at(id[1], 1000, "invalid");
    status_at(id[2], 4000, "valid");
}

/* Breaks when the registry keeps every order anybody ever made, or drops one too early. */
static void orders_are_swept_up(void **state)
{
    BM_CLEANUP(bm_acme_order_done) struct bm_acme_order o = { 0 };
    int64_t keep, n = 0, open;

    (void)state;
    assert_ok(bm_keeper_begin(w.k, &err));
    for (int i = 0; i < 250; i++)
        (void)order(1, "invalid", 1000, 5999);
    keep = order(1, "pending", 9000, 9999);
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
    assert_false(bm_acme_step(w.k, 4999));
    while (bm_acme_step(w.k, 6000)) /* a hundred at a time */
        n++;
    assert_int_equal(n, 2);
    assert_int_equal(bm_acme_order_due(w.k->store, 6000, &n, &err), BM_NOTFOUND);
    assert_ok(bm_acme_order_by_id(w.k->store, keep, &o, &err));
    assert_ok(bm_acme_order_open(w.k->store, 1, 10, &open, &err));
    assert_int_equal(open, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(orders_run_out), cmocka_unit_test(orders_are_swept_up) };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
