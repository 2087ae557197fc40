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

#define CHALLENGE "{\"type\":\"http-01\",\"status\":\"processing\",\"token\":\"t\",\"auth\":\"t.x\"}"

static int64_t order(int64_t account_id, const char *status, int64_t expires_at, int64_t drop_at)
{
    BM_CLEANUP(bm_acme_order_done)
    struct bm_acme_order o = { .account_id = account_id, .expires_at = expires_at, .drop_at = drop_at, .document.max = 4096 };

    snprintf(o.status, sizeof o.status, "%s", status);
    bm_buf_str(&o.document, "{\"ids\":[{\"type\":\"dns\",\"value\":\"a.test\"},{\"type\":\"dns\",\"value\":\"b.test\"}],\"authz\":["
                            "{\"status\":\"pending\",\"chal\":[" CHALLENGE "," CHALLENGE
                            "]},{\"status\":\"pending\",\"chal\":[" CHALLENGE "]}]}");
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

static void outcome(int64_t id, int64_t authorization, int64_t challenge, const struct bm_error *why)
{
    char name[64];

    snprintf(name, sizeof name, "%lld-%lld-%lld", (long long)id, (long long)authorization, (long long)challenge);
    assert_ok(bm_keeper_begin(w.k, &err));
    assert_ok(bm_acme_validated(w.k, name, why, 500, &err));
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
}

/* RFC 8555 section 7.1.6: what has been decided stays, whatever a second answer says; and what is gone is nobody's business. */
static void first_answers_count(void **state)
{
    static const struct bm_error why = { BM_DENIED, "acme-incorrect", "wrong" };
    int64_t id[2];

    (void)state;
    assert_ok(bm_keeper_begin(w.k, &err));
    id[0] = order(1, "pending", 1000, 5000);
    id[1] = order(1, "pending", 1000, 5000);
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
    outcome(id[0], 0, 0, NULL);
    outcome(id[0], 0, 1, &why); /* another challenge of the same authorization */
    outcome(id[0], 0, 0, &why); /* the same once more */
    status_at(id[0], 500, "pending");
    outcome(id[0], 1, 0, NULL);
    status_at(id[0], 500, "ready");
    outcome(id[1], 1, 0, &why);
    status_at(id[1], 500, "invalid");
    outcome(id[1], 0, 0, NULL);
    status_at(id[1], 500, "invalid");
    outcome(id[1], 7, 7, NULL);
    outcome(999999, 0, 0, NULL);
    assert_ok(bm_keeper_begin(w.k, &err));
    assert_ok(bm_acme_validated(w.k, "no number", NULL, 500, &err));
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
}

/* Breaks when the registry keeps every order anybody ever made, or drops one too early. */
static void orders_are_swept_up(void **state)
{
    BM_CLEANUP(bm_acme_order_done) struct bm_acme_order o = { 0 };
    int64_t keep, due, open;

    (void)state;
    assert_ok(bm_keeper_begin(w.k, &err));
    for (int i = 0; i < 250; i++)
        (void)order(1, "invalid", 1000, 5999);
    keep = order(1, "pending", 9000, 9999);
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
    assert_false(bm_chore_step(w.k, &bm_chore_acme, 4999));
    while (bm_chore_step(w.k, &bm_chore_acme, 6000))
        ;
    assert_int_equal(bm_acme_order_due(w.k->store, 6000, &due, &err), BM_NOTFOUND);
    assert_ok(bm_acme_order_by_id(w.k->store, keep, &o, &err));
    assert_ok(bm_acme_order_open(w.k->store, 1, 10, &open, &err));
    assert_int_equal(open, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(orders_run_out), cmocka_unit_test(first_answers_count),
                                        cmocka_unit_test(orders_are_swept_up) };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
