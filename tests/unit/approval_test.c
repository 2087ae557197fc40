/* Manual approval in the keeper: what waits, who may have it once somebody said yes, and that nothing else becomes possible by it. Breaks when a
 * certificate comes without the yes, comes twice for one yes, or for another key than somebody looked at. */
#include "keeper_enrol.h"

static struct world w;

static int open_world(void **state)
{
    (void)state;
    world_open(&w);
    admin_ok(&w, "{\"op\":\"service.create\",\"name\":\"mqtt\",\"kind\":\"mqtt\"}");
    admin_ok(&w, "{\"op\":\"service.create\",\"name\":\"web\",\"kind\":\"https\"}");
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

static void policy(const char *when, const char *more)
{
    admin_ok(&w, "{\"op\":\"product.set\",\"name\":\"meter\",\"policy\":{\"approval\":\"%s\",\"services\":[\"mqtt\",\"web\"]%s}}",
             when, more);
}

/* --- asking ------------------------------------------------------------------------------------------------------------------------- */
static void ask(struct bm_enrol *c, const struct dev *d)
{
    *c = (struct bm_enrol){ .protocol = "est", .peer = "192.0.2.7", .n_requests = 1 };
    c->evidence.kind = BM_EVIDENCE_TLS;
    c->evidence.cert = bm_buf_rd(&d->id.cert);
    c->requests[0].csr = bm_buf_rd(&d->csr);
}

static enum bm_rc run(struct bm_enrol *asked, struct bm_enrolled *ret)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX };
    static struct bm_buf out = { .max = 1 << 20 };
    struct bm_enrol c;
    enum bm_rc rc;

    next_correlation(&w, asked);
    c = *asked;
    prove(&w, &c);
    bm_enrol_write(&payload, &c);
    assert_false(payload.bad);
    rc = command(&w, BM_CMD_ENROL, bm_buf_rd(&payload), &out);
    if (rc == BM_OK && ret != NULL)
        assert_ok(bm_enrolled_parse(bm_buf_rd(&out), ret, &err));
    return rc;
}

static void refused(struct bm_enrol *c, enum bm_rc rc, const char *code)
{
    char *before, *after;
    enum bm_rc got;

    before = counts_of(&w);
    got = run(c, NULL);
    if (got != rc || strcmp(bm_error_code(&err), code) != 0)
        fail_msg("wanted %s %s, got %s %s: %s", bm_rc_name(rc), code, bm_rc_name(got), bm_error_code(&err), err.what);
    after = counts_of(&w);
    if (strcmp(code, "approval-pending") != 0) /* the first one of those leaves a leaf in the log */
        assert_string_equal(before, after);
    free(before);
    free(after);
}

/* Still waiting, and asked before: nothing at all is written. */
static void still_pending(struct bm_enrol *c)
{
    char *before = counts_of(&w), *after;
    BM_CLEANUP(bm_buf_done) struct bm_buf a = { .max = 65536 }, b = { .max = 65536 };

    assert_ok(bm_store_counts(w.k->store, &a, &err));
    refused(c, BM_AGAIN, "approval-pending");
    assert_int_equal(bm_retry_after(&err), BM_APPROVAL_RETRY_S);
    assert_ok(bm_store_counts(w.k->store, &b, &err));
    assert_true(bm_rd_eq(bm_buf_rd(&a), bm_buf_rd(&b))); /* refusals are counted here */
    after = counts_of(&w);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

/* --- deciding ----------------------------------------------------------------------------------------------------------------------- */
static json_t *rows(const char *filters)
{
    json_t *reply = admin(&w, "{\"op\":\"approval.list\"%s}", filters), *list = json_incref(json_object_get(reply, "rows"));

    json_decref(reply);
    return list;
}

/* The newest of the device. */
static json_int_t number_of(const struct dev *d, const char *state)
{
    BM_CLEANUP(json_unref) json_t *list = NULL;
    char filter[100];
    const json_t *row;

    snprintf(filter, sizeof filter, ",\"udid\":\"%s\"", d->hex);
    list = rows(filter);
    assert_true(json_array_size(list) != 0);
    row = json_array_get(list, json_array_size(list) - 1);
    assert_string_equal(member_text(row, "state"), state);
    return member_int(row, "id");
}

static enum bm_rc decide(const char *verb, json_int_t number)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 65536 }, payload = { .max = 1000 };
    struct bm_command_in c = { .type = BM_CMD_ADMIN, .admin = true, .actor = "boss" };
    char text[100];
    enum bm_rc rc;

    snprintf(text, sizeof text, "{\"op\":\"approval.%s\",\"number\":%lld}", verb, (long long)number);
    bm_buf_uint(&payload, 4, strlen(text));
    bm_buf_str(&payload, text);
    c.payload = bm_buf_rd(&payload);
    err = (struct bm_error){ 0 };
    assert_true(bm_command_needs_transaction(w.k, &c)); /* beside others, without a stop for all */
    assert_ok(bm_store_begin(w.k->store, &err));
    rc = bm_command_run(w.k, &c, &out, &err);
    assert_true(rc != BM_IO);
    assert_ok(bm_store_commit(w.k->store, NULL));
    bm_audit_committed(&w.k->audit);
    return rc;
}

static void leaf_is(int64_t back, const char *event, const struct dev *d, const char *actor)
{
    BM_CLEANUP(json_unref) json_t *leaf = leaf_of(&w, back);

    assert_string_equal(member_text(leaf, "event"), event);
    assert_string_equal(member_text(leaf, "udid"), d->hex);
    assert_string_equal(member_text(leaf, "actor"), actor);
}

static void new_device(struct dev *d)
{
    dev_make(d);
    register_device(&w, "lot", d);
}

/* --- the way it goes ---------------------------------------------------------------------------------------------------------------- */
static void waits_and_gets_it_once(void **state)
{
    struct bm_enrolled got;
    struct bm_enrol c;
    struct dev d;
    json_int_t n;

    (void)state;
    policy("always", "");
    new_device(&d);
    ask(&c, &d);
    refused(&c, BM_AGAIN, "approval-pending");
    leaf_is(0, "approval.asked", &d, "device");
    still_pending(&c);
    world_reopen(&w); /* the row has survived the refusal, and the process */
    still_pending(&c);
    n = number_of(&d, "waiting");
    assert_ok(decide("approve", n));
    leaf_is(0, "approval.approved", &d, "boss");
    assert_ok(run(&c, &got));
    assert_int_equal(got.n_credentials, 1);
    {
        BM_CLEANUP(json_unref) json_t *leaf = leaf_of(&w, 0);

        assert_string_equal(member_text(leaf, "event"), "credential.issued");
        assert_int_equal(member_int(leaf, "approval"), n);
    }
    assert_int_equal(number_of(&d, "used"), n);
    refused(&c, BM_AGAIN, "approval-pending"); /* one yes, one certificate */
    assert_true(number_of(&d, "waiting") != n);
    dev_done(&d);
}

static void denied_until_somebody_thinks_again(void **state)
{
    struct bm_enrol c;
    struct dev d;
    json_int_t n;

    (void)state;
    policy("always", "");
    new_device(&d);
    ask(&c, &d);
    refused(&c, BM_AGAIN, "approval-pending");
    n = number_of(&d, "waiting");
    assert_ok(decide("deny", n));
    leaf_is(0, "approval.denied", &d, "boss");
    refused(&c, BM_DENIED, "approval-denied");
    assert_rc(decide("deny", n), BM_CONFLICT);
    assert_ok(decide("approve", n));
    assert_rc(decide("approve", n), BM_CONFLICT);
    assert_ok(decide("deny", n)); /* and again, before it is used */
    refused(&c, BM_DENIED, "approval-denied");
    assert_ok(decide("approve", n));
    assert_ok(run(&c, NULL));
    assert_rc(decide("deny", n), BM_CONFLICT);
    assert_rc(decide("approve", 4711), BM_NOTFOUND);
    dev_done(&d);
}

/* The yes is for a key, a service and a device. */
static void for_nothing_else(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf csr = { .max = BM_CSR_MAX };
    struct bm_enrol c, other;
    struct dev d, e;

    (void)state;
    policy("always", "");
    new_device(&d);
    new_device(&e);
    ask(&c, &d);
    refused(&c, BM_AGAIN, "approval-pending");
    assert_ok(decide("approve", number_of(&d, "waiting")));
    other = c;
    assert_ok(bm_csr_make(e.op.key, "CN=device", &csr, &err));
    other.requests[0].csr = bm_buf_rd(&csr);
    refused(&other, BM_AGAIN, "approval-pending");
    other = c;
    other.requests[0].service = bm_rd_str("web");
    refused(&other, BM_AGAIN, "approval-pending");
    ask(&other, &e);
    other.requests[0].csr = bm_buf_rd(&d.csr); /* the approved key, by somebody else */
    refused(&other, BM_AGAIN, "approval-pending");
    assert_ok(run(&c, NULL));
    dev_done(&d);
    dev_done(&e);
}

/* What comes after the yes is checked as ever. */
static void all_else_is_still_checked(void **state)
{
    struct bm_enrol c;
    struct dev d;

    (void)state;
    policy("never", "");
    new_device(&d);
    ask(&c, &d);
    assert_ok(run(&c, NULL)); /* only an active device can be suspended */
    policy("always", "");
    c.requests[0].service = bm_rd_str("nothing");
    refused(&c, BM_DENIED, "service-refused"); /* nobody is asked about what would be refused anyway */
    c.keygen = true;
    c.requests[0].service = bm_rd_str("mqtt");
    refused(&c, BM_DENIED, "server-keygen-off");
    ask(&c, &d);
    refused(&c, BM_AGAIN, "approval-pending");
    assert_ok(decide("approve", number_of(&d, "waiting")));
    admin_ok(&w, "{\"op\":\"device.suspend\",\"udid\":\"%s\"}", d.hex);
    refused(&c, BM_DENIED, "device-suspended");
    admin_ok(&w, "{\"op\":\"device.resume\",\"udid\":\"%s\"}", d.hex);
    assert_ok(run(&c, NULL));
    dev_done(&d);
}

static void only_the_first(void **state)
{
    struct bm_enrol c;
    struct dev d;

    (void)state;
    policy("first", "");
    new_device(&d);
    ask(&c, &d);
    refused(&c, BM_AGAIN, "approval-pending");
    assert_ok(decide("approve", number_of(&d, "waiting")));
    assert_ok(run(&c, NULL));
    assert_ok(run(&c, NULL)); /* it is active now */
    admin_ok(&w, "{\"op\":\"device.reset\",\"udid\":\"%s\"}", d.hex);
    refused(&c, BM_AGAIN, "approval-pending");
    policy("never", "");
    assert_ok(run(&c, NULL));
    dev_done(&d);
}

/* Several requests in one message: all or none. */
static void all_of_a_message(void **state)
{
    struct bm_enrolled got;
    struct bm_enrol c;
    struct dev d;
    json_int_t second;

    (void)state;
    policy("always", "");
    new_device(&d);
    ask(&c, &d);
    c.requests[0].service = bm_rd_str("mqtt");
    c.requests[1] = c.requests[0];
    c.n_requests = 2;
    refused(&c, BM_MALFORMED, "approval-twice");
    c.requests[1].service = bm_rd_str("web");
    refused(&c, BM_AGAIN, "approval-pending");
    second = number_of(&d, "waiting");
    assert_ok(decide("approve", second - 1));
    still_pending(&c);
    assert_ok(decide("deny", second));
    refused(&c, BM_DENIED, "approval-denied");
    assert_ok(decide("approve", second));
    assert_ok(run(&c, &got));
    assert_int_equal(got.n_credentials, 2);
    dev_done(&d);
}

static void keys_made_here(void **state)
{
    struct bm_enrolled got;
    struct bm_enrol c;
    struct dev d, e;

    (void)state;
    policy("always", ",\"server_keygen\":true");
    new_device(&d);
    dev_make(&e);
    ask(&c, &d);
    c.keygen = true;
    refused(&c, BM_AGAIN, "approval-pending");
    assert_ok(decide("approve", number_of(&d, "waiting")));
    c.requests[0].csr = bm_buf_rd(&e.csr); /* the request's own key is nothing here */
    assert_ok(run(&c, &got));
    assert_int_equal(got.credentials[0].key_form, BM_KEY_PLAIN);
    refused(&c, BM_AGAIN, "approval-pending");
    dev_done(&d);
    dev_done(&e);
}

/* --- limits -------------------------------------------------------------------------------------------------------------------------- */
static void so_many_of_a_device(void **state)
{
    struct bm_enrol c;
    struct dev d;

    (void)state;
    policy("always", "");
    new_device(&d);
    for (int i = 0; i < BM_APPROVALS_PER_DEVICE + 1; i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf csr = { .max = BM_CSR_MAX };
        struct party key;

        party_keys(&key, "P-256");
        assert_ok(bm_csr_make(key.key, "CN=device", &csr, &err));
        ask(&c, &d);
        c.requests[0].csr = bm_buf_rd(&csr);
        if (i < BM_APPROVALS_PER_DEVICE)
            refused(&c, BM_AGAIN, "approval-pending");
        else
            refused(&c, BM_LIMIT, "approval-limit");
        party_done(&key);
    }
    dev_done(&d);
}

/* A code that is good for one device lets one device wait, with as many services as a product may have. */
static void so_many_with_a_code(void **state)
{
    BM_CLEANUP(json_unref) json_t *reply = NULL;
    struct bm_enrol c;
    struct dev d;

    (void)state;
    policy("always", ",\"self_registration\":true");
    reply = admin(&w, "{\"op\":\"code.create\",\"batch\":\"lot\"}");
    for (int i = 0; i < BM_SERVICES_MAX + 1; i++) {
        dev_make(&d);
        c = (struct bm_enrol){ .protocol = "est", .peer = "192.0.2.7", .evidence.kind = BM_EVIDENCE_CODE, .n_requests = 1 };
        c.evidence.code = bm_rd_str(member_text(json_array_get(json_object_get(reply, "codes"), 0), "code"));
        c.claimed_batch = bm_rd_str("lot");
        c.requests[0].csr = bm_buf_rd(&d.csr);
        if (i < BM_SERVICES_MAX)
            refused(&c, BM_AGAIN, "approval-pending");
        else
            refused(&c, BM_LIMIT, "approval-limit");
        if (i < BM_SERVICES_MAX)
            dev_done(&d);
    }
    /* the last but one is known by its request's key; it gets in, and the code is used up then and not before */
    {
        BM_CLEANUP(json_unref) json_t *list = rows(",\"state\":\"waiting\",\"limit\":1000");

        c.requests[0].csr = bm_buf_rd(&d.csr);
        assert_ok(decide("deny", member_int(json_array_get(list, json_array_size(list) - 1), "id")));
    }
    refused(&c, BM_AGAIN, "approval-pending"); /* there is room again */
    bm_udid_of(bm_key_spki(d.op.key), d.udid);
    bm_hex(d.udid, sizeof d.udid, d.hex);
    assert_ok(decide("approve", number_of(&d, "waiting")));
    assert_ok(run(&c, NULL));
    refused(&c, BM_DENIED, "code-used-up");
    dev_done(&d);
}

/* --- time: straight at the store, which is told what time it is ------------------------------------------------------------------------ */
static void rows_end(void **state)
{
    struct bm_approval a = { .batch_id = 1, .state = "waiting", .protocol = "est", .created_at = 1000, .expires_at = 2000 }, got;

    (void)state;
    memset(a.udid, 0x5a, sizeof a.udid);
    assert_ok(bm_store_begin(w.k->store, &err));
    assert_ok(bm_approval_put(w.k->store, &a, &err));
    assert_ok(bm_approval_find(w.k->store, &a, 1999, &got, &err));
    assert_int_equal(got.id, a.id);
    assert_rc(bm_approval_find(w.k->store, &a, 2000, &got, &err), BM_NOTFOUND);
    assert_rc(bm_approval_use(w.k->store, a.id, 1500, &err), BM_CONFLICT); /* nobody has approved it */
    snprintf(a.state, sizeof a.state, "approved");
    assert_ok(bm_approval_decide(w.k->store, &a, &err));
    assert_ok(bm_approval_use(w.k->store, a.id, 1500, &err));
    assert_rc(bm_approval_use(w.k->store, a.id, 1500, &err), BM_CONFLICT);
    assert_rc(bm_approval_decide(w.k->store, &a, &err), BM_CONFLICT);
    assert_ok(bm_approval_forget(w.k->store, 1999, &err));
    assert_ok(bm_approval_by_id(w.k->store, a.id, &got, &err));
    assert_ok(bm_approval_forget(w.k->store, 2000, &err));
    assert_rc(bm_approval_by_id(w.k->store, a.id, &got, &err), BM_NOTFOUND);
    assert_ok(bm_store_commit(w.k->store, &err));
}

/* policy.test tells what would happen, and nobody is asked because of it. */
static void tried_out(void **state)
{
    BM_CLEANUP(json_unref) json_t *told = NULL, *in = NULL, *list = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 65536 };
    char filter[100];
    struct dev d;

    (void)state;
    policy("always", "");
    new_device(&d);
    bm_pem_write(&pem, "CERTIFICATE REQUEST", bm_buf_rd(&d.csr));
    in = json_pack("{s:s, s:s, s:s%}", "op", "policy.test", "udid", d.hex, "csr", (const char *)pem.p, pem.n);
    assert_ok(bm_keeper_admin(w.k, in, NO_BLOB, "test", &told, &err));
    assert_string_equal(member_text(told, "code"), "approval-pending");
    snprintf(filter, sizeof filter, ",\"udid\":\"%s\"", d.hex);
    list = rows(filter);
    assert_int_equal(json_array_size(list), 0);
    dev_done(&d);
}

static void why_tells(void **state)
{
    BM_CLEANUP(json_unref) json_t *told = NULL, *status = NULL;
    struct bm_enrol c;
    struct dev d;
    char *text;

    (void)state;
    policy("always", "");
    new_device(&d);
    ask(&c, &d);
    refused(&c, BM_AGAIN, "approval-pending");
    told = admin(&w, "{\"op\":\"why\",\"id\":\"%s\"}", c.correlation);
    text = json_dumps(told, 0);
    assert_non_null(strstr(text, "approval-pending"));
    assert_non_null(strstr(text, "waiting"));
    free(text);
    status = admin(&w, "{\"op\":\"status\"}");
    text = json_dumps(json_object_get(status, "warnings"), 0);
    assert_non_null(strstr(text, "wait for approval"));
    free(text);
    dev_done(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_and_gets_it_once),
        cmocka_unit_test(denied_until_somebody_thinks_again),
        cmocka_unit_test(for_nothing_else),
        cmocka_unit_test(all_else_is_still_checked),
        cmocka_unit_test(only_the_first),
        cmocka_unit_test(all_of_a_message),
        cmocka_unit_test(keys_made_here),
        cmocka_unit_test(so_many_of_a_device),
        cmocka_unit_test(so_many_with_a_code),
        cmocka_unit_test(rows_end),
        cmocka_unit_test(tried_out),
        cmocka_unit_test(why_tells),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
