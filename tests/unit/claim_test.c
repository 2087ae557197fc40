/* Claims in the keeper: what is taken, by whom, in steps, once; and each refusal by its code. */
#include "keeper_fixture.h"

#include "keeper/ownership.h"

static struct world w;

static int open_world(void **state)
{
    (void)state;
    world_open(&w);
    admin_ok(&w, "{\"op\":\"org.create\",\"name\":\"buyer\",\"role\":\"service-operator\"}");
    admin_ok(&w, "{\"op\":\"org.create\",\"name\":\"rival\",\"role\":\"service-operator\"}");
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    if (w.k != NULL)
        history_holds(&w);
    world_close(&w);
    return 0;
}

static int forget_attempts(void **state)
{
    (void)state;
    bm_attempts_drop(w.k);
    return 0;
}

struct made {
    char text[BM_CODE_TEXT_LEN];
    json_int_t number;
};

static struct made made_of(json_t *reply)
{
    struct made m;

    snprintf(m.text, sizeof m.text, "%s", member_text(reply, "code"));
    m.number = member_int(reply, "number");
    json_decref(reply);
    return m;
}

static enum bm_rc take(const char *code, const char *org, json_t **ret)
{
    char request[300];

    snprintf(request, sizeof request, "{\"op\":\"claim.take\",\"claim\":\"%s\",\"org\":\"%s\"}", code, org);
    return admin_do(&w, request, NO_BLOB, ret);
}

static void take_refused(const char *code, const char *org, const char *want)
{
    assert_int_not_equal(take(code, org, NULL), BM_OK);
    assert_string_equal(bm_error_code(&err), want);
}

static void owned_by(const struct dev *d, const char *org)
{
    BM_CLEANUP(json_unref) json_t *shown = admin(&w, "{\"op\":\"device.show\",\"udid\":\"%s\"}", d->hex);
    const char *owner = json_string_value(json_object_get(shown, "owner"));

    if (strcmp(owner != NULL ? owner : "", org) != 0)
        fail_msg("owned by %s, not %s", owner != NULL ? owner : "nobody", org);
}

/* --- one device ------------------------------------------------------------------------------------------------------------------------ */
static void one_device(void **state)
{
    BM_CLEANUP(json_unref) json_t *reply = NULL, *leaf = NULL;
    struct made m;
    struct dev d;
    char uri[80];

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    m = made_of(admin(&w, "{\"op\":\"claim.create\",\"udid\":\"%s\"}", d.hex));
    take_refused("0000-0000-0000-0000-0000-0000-0000", "buyer", "code-mistyped");
    take_refused(m.text, "acme", "same-owner");
    take_refused(m.text, "nobody", "not-found");
    snprintf(uri, sizeof uri, "BIRTHMARK:CLAIM:%s", m.text); /* as it is scanned */
    assert_ok(take(uri, "buyer", &reply));
    assert_true(json_is_true(json_object_get(reply, "done")));
    assert_int_equal(member_int(reply, "moved"), 1);
    owned_by(&d, "buyer");
    leaf = leaf_of(&w, 0);
    assert_string_equal(member_text(leaf, "event"), "claim.done");
    take_refused(m.text, "rival", "claim-taken");
    assert_ok(take(m.text, "buyer", NULL)); /* again: the same, and nothing moves */
    owned_by(&d, "buyer");
    dev_done(&d);
}

/* --- a reel ------------------------------------------------------------------------------------------------------------------------------ */
enum { REEL = 450 };

/* 450 devices in three steps; what was sold apart, or retired, is passed over; a stop in between loses nothing. */
static void a_reel(void **state)
{
    static struct dev reel[REEL];
    static const struct dev *devs[REEL];
    BM_CLEANUP(json_unref) json_t *reply = NULL;
    struct made m;
    struct dev late;
    const struct dev *one = &late;
    int steps = 1;

    (void)state;
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"reel\",\"product\":\"meter\",\"quota\":1000}");
    for (size_t i = 0; i < REEL; i++) {
        dev_make(&reel[i]);
        devs[i] = &reel[i];
    }
    register_devices(&w, "reel", NULL, devs, REEL);
    m = made_of(admin(&w, "{\"op\":\"claim.create\",\"batch\":\"reel\"}"));
    admin_ok(&w, "{\"op\":\"device.transfer\",\"udid\":\"%s\",\"org\":\"rival\",\"force\":true}", reel[7].hex);
    admin_ok(&w, "{\"op\":\"device.retire\",\"udid\":\"%s\"}", reel[300].hex);
    assert_ok(take(m.text, "buyer", &reply));
    assert_false(json_is_true(json_object_get(reply, "done")));
    take_refused(m.text, "rival", "claim-taken");
    world_reopen(&w);
    dev_make(&late);
    register_devices(&w, "reel", NULL, &one, 1); /* came after the claim was taken: not in it */
    while (!json_is_true(json_object_get(reply, "done"))) {
        json_decref(reply);
        assert_ok(take(m.text, "buyer", &reply));
        steps++;
    }
    assert_int_equal(steps, 3);
    assert_int_equal(member_int(reply, "moved"), REEL - 2);
    assert_int_equal(member_int(reply, "passed"), 2);
    owned_by(&reel[0], "buyer");
    owned_by(&reel[REEL - 1], "buyer");
    owned_by(&reel[7], "rival");
    owned_by(&late, "");
    for (size_t i = 0; i < REEL; i++)
        dev_done(&reel[i]);
    dev_done(&late);
}

static void a_list(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf list = { .max = 10000 };
    BM_CLEANUP(json_unref) json_t *reply = NULL;
    struct dev d[3];
    struct made m;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(d); i++) {
        dev_make(&d[i]);
        register_device(&w, "lot", &d[i]);
        if (i != 1)
            bm_buf_printf(&list, "%s\r\n", d[i].hex);
    }
    m = made_of(admin_blob(&w, bm_buf_rd(&list), "{\"op\":\"claim.create\"}"));
    assert_ok(take(m.text, "buyer", &reply));
    assert_int_equal(member_int(reply, "moved"), 2);
    owned_by(&d[0], "buyer");
    owned_by(&d[1], "");
    owned_by(&d[2], "buyer");
    bm_buf_str(&list, d[1].hex); /* two of them are no longer the maker's */
    assert_int_not_equal(admin_do(&w, "{\"op\":\"claim.create\",\"from_org\":\"acme\"}", bm_buf_rd(&list), NULL), BM_OK);
    assert_string_equal(err.code, "claim-owner");
    for (size_t i = 0; i < BM_COUNT(d); i++)
        dev_done(&d[i]);
}

/* --- refused ------------------------------------------------------------------------------------------------------------------------------ */
static void refusals(void **state)
{
    static const struct {
        const char *request, *blob;
        enum bm_rc rc;
    } wrong[] = {
        { "{\"op\":\"claim.create\"}", "", BM_USAGE },
        { "{\"op\":\"claim.create\",\"batch\":\"lot\",\"udid\":\"00\"}", "", BM_USAGE },
        { "{\"op\":\"claim.create\",\"batch\":\"lot\"}", "00", BM_USAGE },
        { "{\"op\":\"claim.create\",\"batch\":\"nowhere\"}", "", BM_NOTFOUND },
        { "{\"op\":\"claim.create\",\"batch\":\"lot\",\"from_org\":\"nobody\"}", "", BM_NOTFOUND },
        { "{\"op\":\"claim.create\",\"udid\":\"00\"}", "", BM_USAGE },
        { "{\"op\":\"claim.create\"}", "\n\n", BM_USAGE },
        { "{\"op\":\"claim.create\"}", "no udid\n", BM_USAGE },
        { "{\"op\":\"claim.create\",\"batch\":\"lot\",\"valid\":\"11y\"}", "", BM_USAGE },
        { "{\"op\":\"claim.revoke\",\"number\":9999}", "", BM_NOTFOUND },
    };
    struct made m = made_of(admin(&w, "{\"op\":\"claim.create\",\"batch\":\"lot\"}"));
    struct made code = { 0 };
    json_t *reply;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(wrong); i++)
        assert_rc_(admin_do(&w, wrong[i].request, bm_rd_str(wrong[i].blob), NULL), wrong[i].rc, wrong[i].request);
    /* an enrolment code is no claim, although it reads like one */
    reply = admin(&w, "{\"op\":\"code.create\",\"batch\":\"lot\"}");
    snprintf(code.text, sizeof code.text, "%s", member_text(json_array_get(json_object_get(reply, "codes"), 0), "code"));
    json_decref(reply);
    take_refused(code.text, "buyer", "claim-wrong");
    admin_ok(&w, "{\"op\":\"claim.revoke\",\"number\":%lld}", (long long)m.number);
    take_refused(m.text, "buyer", "claim-revoked");
}

static void guessing_is_slow(void **state)
{
    struct made m = made_of(admin(&w, "{\"op\":\"claim.create\",\"batch\":\"lot\"}"));

    (void)state;
    for (int i = 0; i < BM_CODE_TRIES_ADDRESS; i++)
        take_refused("0000-0000-0000-0000-0000-0000-0000", "buyer", "code-mistyped");
    take_refused(m.text, "buyer", "too-many-attempts");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, forget_attempts)
    const struct CMUnitTest tests[] = { TEST(one_device), TEST(a_reel), TEST(a_list), TEST(refusals), TEST(guessing_is_slow) };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
