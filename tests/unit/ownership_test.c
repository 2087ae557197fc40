/* Every change of owner: what it ends, what it leaves alone, what is written down about it, and which ones are refused. If one of these fails, a
 * device keeps talking to the services of somebody who has sold it, or is taken from its owner. */
#include "keeper_fixture.h"
#include "keeper_enrol.h"

#include "keeper/ownership.h"

static struct world w;

static int open_world(void **state)
{
    (void)state;
    world_open(&w);
    admin_ok(&w, "{\"op\":\"org.create\",\"name\":\"buyer\",\"role\":\"service-operator\"}");
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    history_holds(&w);
    world_close(&w);
    return 0;
}

static int64_t org_id(const char *name)
{
    struct bm_org o;

    assert_ok(bm_org_get(w.k->store, name, &o, &err));
    return o.id;
}

static enum bm_rc move_to(const struct dev *d, int64_t org, enum bm_how how, int64_t until, int64_t *ret_revoked)
{
    BM_CLEANUP(bm_device_done) struct bm_device row = { 0 };
    struct bm_error settled;
    enum bm_rc rc;

    assert_ok(bm_device_get(w.k->store, d->udid, &row, &err));
    assert_ok(bm_store_begin(w.k->store, &err));
    rc = bm_ownership_move(w.k, &row, org, how, until, bm_clock_s(), ret_revoked, &err);
    if (rc == BM_OK)
        assert_int_equal(row.owner_id, org);
    assert_rc(bm_keeper_settle(w.k, rc, &settled), rc);
    return rc;
}

static void each_how(void **state)
{
    static const struct {
        enum bm_how how;
        const char *name, *event, *to;
        int64_t until;
    } rows[] = {
        { BM_HOW_TRANSFER, "transfer", "device.transferred", "buyer", 0 },
        { BM_HOW_FORCED, "forced", "device.transferred", "chips", 0 },
        { BM_HOW_CLAIM, "claim", "device.claimed", "buyer", 0 },
        { BM_HOW_RENTAL, "rental", "device.rented", "chips", 4102444800 },
        { BM_HOW_RETURN, "return", "device.returned", "acme", 0 },
    };
    BM_CLEANUP(dev_done) struct dev d;
    BM_CLEANUP(json_unref) json_t *list = NULL;
    const char *from = "acme";

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(json_unref) json_t *leaf = NULL;
        BM_CLEANUP(bm_device_done) struct bm_device row = { 0 };
        int64_t revoked = -1;

        enrol_as(&w, &d, d.op.key, "", BM_OK);
        status_of(&w, &d, "enrolled", "active");
        assert_ok(move_to(&d, org_id(rows[i].to), rows[i].how, rows[i].until, &revoked));
        assert_int_equal(revoked, 1);
        status_of(&w, &d, "transferred", "active"); /* enrol again, whoever the new owner is */
        leaf = leaf_of(&w, 0);
        assert_string_equal(member_text(leaf, "event"), rows[i].event);
        assert_string_equal(member_text(leaf, "udid"), d.hex);
        assert_string_equal(member_text(leaf, "from"), from);
        assert_string_equal(member_text(leaf, "owner"), rows[i].to);
        assert_int_equal(json_object_get(leaf, "until") != NULL, rows[i].until != 0);
        assert_ok(bm_device_get(w.k->store, d.udid, &row, &err));
        assert_string_equal(row.state, "active");
        assert_true(row.batch_id != 0);
        from = rows[i].to;
    }
    list = admin(&w, "{\"op\":\"device.history\",\"udid\":\"%s\"}", d.hex);
    assert_int_equal(json_array_size(json_object_get(list, "rows")), BM_COUNT(rows));
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        const json_t *r = json_array_get(json_object_get(list, "rows"), i);

        assert_string_equal(member_text(r, "how"), rows[i].name);
        assert_string_equal(member_text(r, "to"), rows[i].to);
        assert_int_equal(member_int(r, "revoked"), 1);
        assert_int_equal(json_is_null(json_object_get(r, "until")), rows[i].until == 0);
    }
}

static void refused(void **state)
{
    static const struct {
        const char *act, *to;
        enum bm_how how;
        enum bm_rc want;
        const char *code;
    } rows[] = {
        { NULL, "acme", BM_HOW_TRANSFER, BM_CONFLICT, "same-owner" },
        { NULL, "acme", BM_HOW_CLAIM, BM_CONFLICT, "same-owner" },
        { NULL, "", BM_HOW_FORCED, BM_NOTFOUND, "not-found" },
        { "suspend", "buyer", BM_HOW_TRANSFER, BM_OK, "" }, /* and stays suspended */
        { "retire", "buyer", BM_HOW_TRANSFER, BM_CONFLICT, "illegal-transition" },
        { "retire", "buyer", BM_HOW_CLAIM, BM_CONFLICT, "illegal-transition" },
        { "compromise", "buyer", BM_HOW_FORCED, BM_CONFLICT, "illegal-transition" },
        { "compromise", "buyer", BM_HOW_RENTAL, BM_CONFLICT, "illegal-transition" },
        { "compromise", "buyer", BM_HOW_RETURN, BM_OK, "" }, /* a tenant does not keep it for that */
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(dev_done) struct dev d;
        int64_t revoked = -1;
        char *before, *after;

        dev_make(&d);
        register_device(&w, "lot", &d);
        enrol_as(&w, &d, d.op.key, "", BM_OK);
        if (rows[i].act != NULL)
            admin_ok(&w, "{\"op\":\"device.%s\",\"udid\":\"%s\"}", rows[i].act, d.hex);
        before = counts_of(&w);
        assert_rc(move_to(&d, rows[i].to[0] != '\0' ? org_id(rows[i].to) : 999, rows[i].how, 0, &revoked), rows[i].want);
        after = counts_of(&w);
        if (rows[i].want != BM_OK) {
            assert_string_equal(before, after);
            assert_int_equal(revoked, -1);
            if (rows[i].want == BM_CONFLICT)
                assert_string_equal(bm_error_code(&err), rows[i].code);
        }
        free(before);
        free(after);
    }
}

/* One that belongs to no batch has no owner; it can be given one. */
static void of_nobody(void **state)
{
    BM_CLEANUP(dev_done) struct dev d;
    BM_CLEANUP(json_unref) json_t *list = NULL;
    int64_t revoked = -1;

    (void)state;
    dev_make(&d);
    register_device(&w, NULL, &d);
    assert_ok(move_to(&d, org_id("buyer"), BM_HOW_CLAIM, 0, &revoked));
    assert_int_equal(revoked, 0);
    list = admin(&w, "{\"op\":\"device.history\",\"udid\":\"%s\"}", d.hex);
    assert_true(json_is_null(json_object_get(json_array_get(json_object_get(list, "rows"), 0), "from")));
    status_of(&w, &d, "transferred", "registered");
}

/* What was revoked one by one after the move is no move. */
static void revoked_later(void **state)
{
    BM_CLEANUP(dev_done) struct dev d;
    BM_CLEANUP(json_unref) json_t *certs = NULL;
    struct bm_ownership last = { .at = 0 };

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    admin_ok(&w, "{\"op\":\"device.transfer\",\"udid\":\"%s\",\"org\":\"buyer\"}", d.hex);
    sleep(1); /* times have seconds */
    enrol_as(&w, &d, d.op.key, "", BM_OK);
    certs = admin(&w, "{\"op\":\"cert.list\",\"udid\":\"%s\"}", d.hex);
    admin_ok(&w, "{\"op\":\"cert.revoke\",\"serial\":\"%s\"}",
             member_text(json_array_get(json_object_get(certs, "rows"), 0), "serial"));
    status_of(&w, &d, "revoked", "active");
    assert_rc(bm_ownership_last(w.k->store, 999999, &last, &err), BM_NOTFOUND);
}

static void names(void **state)
{
    (void)state;
    for (int i = 0; i < BM_HOWS; i++)
        assert_true(strlen(bm_how_name((enum bm_how)i)) < sizeof((struct bm_ownership *)NULL)->how);
    assert_string_equal(bm_how_name(BM_HOWS), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_how),      cmocka_unit_test(refused), cmocka_unit_test(of_nobody),
        cmocka_unit_test(revoked_later), cmocka_unit_test(names),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
