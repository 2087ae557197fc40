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
    admin_ok(&w, "{\"op\":\"device.transfer\",\"udid\":\"%s\",\"org\":\"buyer\",\"force\":true}", d.hex);
    sleep(1); /* times have seconds */
    enrol_as(&w, &d, d.op.key, "", BM_OK);
    certs = admin(&w, "{\"op\":\"cert.list\",\"udid\":\"%s\"}", d.hex);
    admin_ok(&w, "{\"op\":\"cert.revoke\",\"serial\":\"%s\"}",
             member_text(json_array_get(json_object_get(certs, "rows"), 0), "serial"));
    status_of(&w, &d, "revoked", "active");
    assert_rc(bm_ownership_last(w.k->store, 999999, &last, &err), BM_NOTFOUND);
}

/* --- both sides ------------------------------------------------------------------------------------------------------------------ */
/* Each row is one thing said about one device, in order; '*' in front: time has passed the offer's end. What is refused leaves the owner and the
 * certificate alone. */
static const struct {
    const char *what, *as, *org;
    enum bm_rc want;
    const char *code, *owner;
} dialogue[] = {
    { "offer", "buyer", "chips", BM_DENIED, "not-owner", "acme" },
    { "accept", "buyer", NULL, BM_NOTFOUND, "no-offer", "acme" },
    { "offer", "acme", "acme", BM_CONFLICT, "same-owner", "acme" },
    { "offer", "acme", "buyer", BM_OK, "", "acme" },
    { "offer", "acme", "chips", BM_CONFLICT, "already-offered", "acme" },
    { "accept", "chips", NULL, BM_DENIED, "not-your-offer", "acme" },
    { "accept", "acme", NULL, BM_DENIED, "not-your-offer", "acme" }, /* the giver cannot consent for the taker */
    { "decline", "acme", NULL, BM_DENIED, "not-your-offer", "acme" },
    { "withdraw", "buyer", NULL, BM_DENIED, "not-your-offer", "acme" },
    { "decline", "buyer", NULL, BM_OK, "", "acme" },
    { "accept", "buyer", NULL, BM_NOTFOUND, "no-offer", "acme" },
    { "offer", "acme", "buyer", BM_OK, "", "acme" },
    { "withdraw", "acme", NULL, BM_OK, "", "acme" },
    { "accept", "buyer", NULL, BM_NOTFOUND, "no-offer", "acme" },
    { "offer", "acme", "buyer", BM_OK, "", "acme" },
    { "*accept", "buyer", NULL, BM_CONFLICT, "offer-expired", "acme" },
    { "*decline", "buyer", NULL, BM_CONFLICT, "offer-expired", "acme" },
    { "*offer", "acme", "chips", BM_OK, "", "acme" }, /* one that ran out is not in the way */
    { "withdraw", "acme", NULL, BM_OK, "", "acme" },
    { "offer", "acme", "buyer", BM_OK, "", "acme" },
    { "accept", "buyer", NULL, BM_OK, "", "buyer" },
    { "accept", "buyer", NULL, BM_NOTFOUND, "no-offer", "buyer" }, /* once */
    { "offer", "acme", "chips", BM_DENIED, "not-owner", "buyer" },
    { "offer", "buyer", "acme", BM_OK, "", "buyer" },
    { "transfer", NULL, "chips", BM_OK, "", "chips" },            /* the administrator is faster, */
    { "accept", "acme", NULL, BM_NOTFOUND, "no-offer", "chips" }, /* and what was offered is not on offer any more */
};

static void let_offer_run_out(const struct dev *d)
{
    BM_CLEANUP(bm_device_done) struct bm_device row = { 0 };
    struct bm_offer o;

    assert_ok(bm_device_get(w.k->store, d->udid, &row, &err));
    assert_ok(bm_store_begin(w.k->store, &err));
    assert_ok(bm_offer_of(w.k->store, row.id, &o, &err));
    assert_ok(bm_offer_drop(w.k->store, row.id, &err));
    o.until = bm_clock_s() - 1;
    assert_ok(bm_offer_put(w.k->store, &o, &err));
    assert_ok(bm_store_commit(w.k->store, &err));
}

static void owner_is(const struct dev *d, const char *name)
{
    BM_CLEANUP(bm_device_done) struct bm_device row = { 0 };
    int64_t id;

    assert_ok(bm_device_get(w.k->store, d->udid, &row, &err));
    assert_ok(bm_owner_of(w.k, &row, &id, &err));
    assert_int_equal(id, org_id(name));
}

static void both_sides(void **state)
{
    BM_CLEANUP(dev_done) struct dev d;
    char text[400], as[80], org[80];

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    for (size_t i = 0; i < BM_COUNT(dialogue); i++) {
        bool late = dialogue[i].what[0] == '*';

        if (late)
            let_offer_run_out(&d);
        enrol_as(&w, &d, d.op.key, "", BM_OK);
        as[0] = org[0] = '\0';
        if (dialogue[i].as != NULL)
            snprintf(as, sizeof as, ",\"as\":\"%s\"", dialogue[i].as);
        if (dialogue[i].org != NULL)
            snprintf(org, sizeof org, ",\"org\":\"%s\"", dialogue[i].org);
        snprintf(text, sizeof text, "{\"op\":\"device.%s\",\"udid\":\"%s\"%s%s%s}", dialogue[i].what + late, d.hex, as, org,
                 dialogue[i].as == NULL ? ",\"force\":true" : "");
        assert_rc_(admin_do(&w, text, NO_BLOB, NULL), dialogue[i].want, text);
        if (dialogue[i].want != BM_OK && strcmp(bm_error_code(&err), dialogue[i].code) != 0)
            fail_msg("row %zu: %s", i, bm_error_code(&err));
        owner_is(&d, dialogue[i].owner);
        status_of(&w, &d, i > 0 && strcmp(dialogue[i].owner, dialogue[i - 1].owner) != 0 ? "transferred" : "enrolled", "active");
    }
}

/* --- rentals --------------------------------------------------------------------------------------------------------------------- */
static void rent(const struct dev *d, const char *until)
{
    admin_ok(&w, "{\"op\":\"device.rent\",\"udid\":\"%s\",\"org\":\"buyer\",\"as\":\"acme\",\"until\":\"%s\"}", d->hex, until);
}

static void set_end(const struct dev *d, int64_t ends_at)
{
    BM_CLEANUP(bm_device_done) struct bm_device row = { 0 };

    assert_ok(bm_device_get(w.k->store, d->udid, &row, &err));
    assert_ok(bm_store_begin(w.k->store, &err));
    assert_ok(bm_rental_set_end(w.k->store, row.id, ends_at, &err));
    assert_ok(bm_store_commit(w.k->store, &err));
}

static void refused_with(const char *code, const char *fmt, const char *hex)
{
    char text[400];

    snprintf(text, sizeof text, "{\"op\":\"device.%s,\"udid\":\"%s\"}", fmt, hex);
    assert_true(admin_do(&w, text, NO_BLOB, NULL) != BM_OK);
    assert_string_equal(bm_error_code(&err), code);
}

/* The tenant's certificates end with the rental, an extension lets new ones last longer, and the end revokes them, seen or not. */
static void rental(void **state)
{
    BM_CLEANUP(dev_done) struct dev d;
    int64_t now = bm_clock_s(), normal, first, second;

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    normal = enrol_as(&w, &d, d.op.key, "", BM_OK);
    assert_true(normal > now + 9 * 86400);
    rent(&d, "2d");
    owner_is(&d, "buyer");
    status_of(&w, &d, "transferred", "active");
    first = enrol_as(&w, &d, d.op.key, "", BM_OK);
    assert_in_range(first, now + 2 * 86400 - 1, now + 2 * 86400 + 60);
    refused_with("rented", "offer\",\"as\":\"buyer\",\"org\":\"chips\"", d.hex);
    refused_with("rented", "rent\",\"as\":\"buyer\",\"org\":\"chips\",\"until\":\"1d\"", d.hex); /* a tenant does not sublet */
    refused_with("rented", "transfer\",\"org\":\"chips\",\"force\":true", d.hex);
    refused_with("usage", "extend\",\"until\":\"1d\"", d.hex);
    admin_ok(&w, "{\"op\":\"device.extend\",\"udid\":\"%s\",\"until\":\"4d\"}", d.hex);
    second = enrol_as(&w, &d, d.op.key, "", BM_OK);
    assert_in_range(second, now + 4 * 86400 - 1, now + 4 * 86400 + 60);
    assert_false(bm_chore_step(w.k, &bm_chore_rental, bm_clock_s()));
    owner_is(&d, "buyer");
    set_end(&d, bm_clock_s());
    enrol_as(&w, &d, d.op.key, "", BM_AGAIN); /* between the end and the return nobody gets anything */
    assert_string_equal(bm_error_code(&err), "rental-over");
    refused_with("rental-over", "extend\",\"until\":\"1d\"", d.hex);
    world_reopen(&w); /* the server was down meanwhile */
    while (bm_chores_step(w.k, bm_clock_s()))
        ; /* a step that took its time says that there may be more */
    owner_is(&d, "acme");
    status_of(&w, &d, "transferred", "active");
    refused_with("not-rented", "return\"", d.hex);
    assert_int_equal(enrol_as(&w, &d, d.op.key, "", BM_OK) / 86400, normal / 86400);
    assert_false(bm_chores_step(w.k, bm_clock_s()));
    status_of(&w, &d, "enrolled", "active");
}

static void rental_ended_early(void **state)
{
    BM_CLEANUP(dev_done) struct dev d;
    BM_CLEANUP(json_unref) json_t *list = NULL, *back = NULL, *history = NULL;

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    rent(&d, "30d");
    enrol_as(&w, &d, d.op.key, "", BM_OK);
    list = admin(&w, "{\"op\":\"rental.list\",\"tenant\":\"buyer\"}");
    assert_int_equal(json_array_size(json_object_get(list, "rows")), 1);
    admin_ok(&w, "{\"op\":\"device.compromise\",\"udid\":\"%s\"}", d.hex); /* whatever becomes of it, it goes back */
    back = admin(&w, "{\"op\":\"device.return\",\"udid\":\"%s\"}", d.hex);
    assert_string_equal(member_text(back, "owner"), "acme");
    status_of(&w, &d, "compromised", "compromised");
    history = admin(&w, "{\"op\":\"device.history\",\"udid\":\"%s\"}", d.hex);
    assert_string_equal(member_text(json_array_get(json_object_get(history, "rows"), 0), "how"), "rental");
    assert_string_equal(member_text(json_array_get(json_object_get(history, "rows"), 1), "how"), "return");
    list = (json_decref(list), admin(&w, "{\"op\":\"rental.list\"}"));
    assert_int_equal(json_array_size(json_object_get(list, "rows")), 0);
}

/* After a long time down: many at once, in steps, each one whole. */
static void many_rentals(void **state)
{
    enum { MANY = 40 };
    struct dev d[MANY];
    int steps = 0;

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        dev_make(&d[i]);
        register_device(&w, "lot", &d[i]);
        rent(&d[i], "1d");
        enrol_as(&w, &d[i], d[i].op.key, "", BM_OK);
        set_end(&d[i], bm_clock_s() - (int64_t)i);
    }
    while (bm_chores_step(w.k, bm_clock_s()))
        assert_true(++steps <= MANY);
    for (size_t i = 0; i < MANY; i++) {
        owner_is(&d[i], "acme");
        dev_done(&d[i]);
    }
}

/* --- reset ------------------------------------------------------------------------------------------------------------------------ */
/* It ends what the device holds, keeps its key and batch, and is not counted twice, even when the batch is full and closed by then. */
static void reset(void **state)
{
    BM_CLEANUP(dev_done) struct dev d;
    BM_CLEANUP(json_unref) json_t *before = NULL, *after = NULL, *done = NULL;

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    refused_with("illegal-transition", "reset\"", d.hex); /* there is nothing to reset */
    enrol_as(&w, &d, d.op.key, "", BM_OK);
    before = admin(&w, "{\"op\":\"batch.show\",\"name\":\"lot\"}");
    admin_ok(&w, "{\"op\":\"batch.set\",\"name\":\"lot\",\"state\":\"closed\",\"quota\":%lld}",
             (long long)member_int(before, "used"));
    done = admin(&w, "{\"op\":\"device.reset\",\"udid\":\"%s\"}", d.hex);
    assert_int_equal(member_int(done, "revoked"), 1);
    assert_string_equal(member_text(done, "state"), "allocated");
    status_of(&w, &d, "not-enrolled", "allocated");
    refused_with("illegal-transition", "reset\"", d.hex);
    refused_with("illegal-transition", "allocate\",\"batch\":\"lot\"", d.hex); /* not into another batch that way */
    enrol_as(&w, &d, d.op.key, "", BM_OK);
    status_of(&w, &d, "enrolled", "active");
    after = admin(&w, "{\"op\":\"batch.show\",\"name\":\"lot\"}");
    assert_int_equal(member_int(before, "used"), member_int(after, "used"));
    admin_ok(&w, "{\"op\":\"batch.set\",\"name\":\"lot\",\"state\":\"open\",\"quota\":100}");
    admin_ok(&w, "{\"op\":\"device.suspend\",\"udid\":\"%s\"}", d.hex);
    refused_with("illegal-transition", "reset\"", d.hex); /* a reset is no way out of a suspension */
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
        cmocka_unit_test(each_how),     cmocka_unit_test(refused),
        cmocka_unit_test(of_nobody),    cmocka_unit_test(revoked_later),
        cmocka_unit_test(names),        cmocka_unit_test(both_sides),
        cmocka_unit_test(rental),       cmocka_unit_test(rental_ended_early),
        cmocka_unit_test(many_rentals), cmocka_unit_test(reset),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
