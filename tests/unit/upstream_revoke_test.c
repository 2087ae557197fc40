/* keeper/upstream_revoke.h inside the keeper: what is revoked here is told upstream, a few at a time and until it is done, or the operator hears that it is
 * not. The wire is in tests/e2e/test_upstream_revoke.py. */
#include "keeper_fixture.h"

#include "base/clock.h"
#include "keeper/upstream_revoke.h"

#define ARN "arn:aws:acm-pca:eu-west-1:1:certificate-authority/x"
enum { SERIAL = 4711 }; /* of every certificate that party_certify() makes */

static struct world w;
static struct party root, leaf;
static int64_t now;
static uint32_t made;

/* --- upstream CAs, and certificates that they are said to have given ------------------------------------------------------------------ */
static void add_upstream(const char *name, const char *driver, const char *url, const char *options)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf chain = { .max = 65536 };
    json_t *in, *reply = NULL;

    bm_pem_write(&chain, "CERTIFICATE", bm_buf_rd(&root.cert));
    in = json_pack("{s:s, s:s, s:s, s:s, s:s%, s:s, s:s}", "op", "ca.upstream", "name", name, "driver", driver, "url", url, "chain",
                   (const char *)chain.p, chain.n, "login", "user:geheim", "options", options);
    assert_ok(bm_keeper_admin(w.k, in, bm_rd_of(NULL, 0), "test", &reply, &err));
    json_decref(in);
    json_decref(reply);
}

static int64_t ca_id(const char *name)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };

    assert_ok(bm_ca_get(w.k->store, name, &ca, &err));
    return ca.id;
}

static int64_t credential(const char *ca, int64_t lives_s)
{
    struct bm_credential c = { .ca_id = ca_id(ca), .state = "active", .protocol = "est", .cert = { .max = BM_CERT_MAX } };

    made++;
    memcpy(c.serial + BM_SERIAL_LEN - sizeof made, &made, sizeof made);
    c.issued_at = c.not_before = now;
    c.not_after = now + lives_s;
    bm_buf_put(&c.cert, leaf.cert.p, leaf.cert.n);
    assert_ok(bm_keeper_begin(w.k, &err));
    assert_ok(bm_credential_put(w.k->store, &c, &err));
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
    bm_buf_done(&c.cert);
    return c.id;
}

static int64_t revoked(const char *ca, int reason)
{
    int64_t id = credential(ca, 86400);

    assert_ok(bm_keeper_begin(w.k, &err));
    assert_ok(bm_revoke_credential(w.k, id, reason, now, &err));
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
    return id;
}

static void chores(void)
{
    while (bm_chore_step(w.k, &bm_chore_upstream, now))
        ;
}

static int64_t count(const char *state)
{
    int64_t n;

    assert_ok(bm_upstream_revocation_count(w.k->store, state, &n, &err));
    return n;
}

static void state_is(int64_t id, const char *state, const char *code)
{
    struct bm_upstream_revocation r;

    assert_ok(bm_upstream_revocation_get(w.k->store, id, &r, &err));
    if (strcmp(r.state, state) != 0 || strcmp(r.code, code) != 0)
        fail_msg("%s %s, not %s %s: %s", r.state, r.code, state, code, r.what);
}

/* --- the test as courier ------------------------------------------------------------------------------------------------------------ */
static size_t say(const struct bm_errand_ask *a, struct bm_buf *out, struct bm_errand_given *ret)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { .max = BM_ERRAND_COMMAND_MAX };

    bm_errand_ask_write(&in, a);
    assert_ok(bm_keeper_begin(w.k, &err));
    assert_ok(bm_run_errand(w.k, bm_buf_rd(&in), now, out, &err));
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
    assert_ok(bm_errand_given_parse(bm_buf_rd(out), ret, &err));
    return ret->n;
}

/* All that is due is asked with this reason in it, and answered like this. */
static size_t answer_all(const char *reason, const struct bm_task_answer *a)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = BM_FRAME_MAX }, none = { .max = BM_FRAME_MAX }, report = { .max = 65536 };
    struct bm_errand_given g, after;

    bm_task_answer_write(&report, a);
    say(&(struct bm_errand_ask){ .room = BM_ERRANDS_AT_ONCE }, &out, &g);
    for (size_t i = 0; i < g.n; i++) {
        struct bm_errand_ask r = { .n = 1 };
        struct bm_task t;

        assert_ok(bm_task_parse(g.work[i].task, &t, &err));
        assert_non_null(memmem(t.body.p, t.body.n, "\"12:67\"", 7)); /* SERIAL, in AWS's way */
        assert_non_null(memmem(t.body.p, t.body.n, reason, strlen(reason)));
        r.reports[0] = (struct bm_errand_report){ g.work[i].id, g.work[i].token, bm_buf_rd(&report) };
        assert_int_equal(say(&r, &none, &after), 0);
        none.n = 0;
    }
    return g.n;
}

static const struct bm_task_answer ok = { .status = 200, .body = { (const uint8_t *)"{}", 2 } };

/* --- rows ---------------------------------------------------------------------------------------------------------------------------- */
/* Breaks when a batch that is revoked floods the upstream CA or the queue, when one CA's many keep another's few waiting, or when one is lost or told twice. */
static void a_few_at_a_time(void **state)
{
    int64_t beside;

    (void)state;
    for (int i = 0; i < 2 * BM_UPSTREAM_REVOKE_AT_ONCE + 4; i++)
        (void)revoked("aws", 1);
    beside = revoked("beside", 1);
    assert_int_equal(count(BM_UPSTREAM_WAITING), 2 * BM_UPSTREAM_REVOKE_AT_ONCE + 5);
    chores();
    assert_int_equal(count(BM_UPSTREAM_ASKED), BM_UPSTREAM_REVOKE_AT_ONCE + 1);
    state_is(beside, BM_UPSTREAM_ASKED, "");
    assert_int_equal(answer_all("KEY_COMPROMISE", &ok), BM_UPSTREAM_REVOKE_AT_ONCE + 1);
    chores();
    world_reopen(&w);
    assert_int_equal(answer_all("KEY_COMPROMISE", &ok), BM_UPSTREAM_REVOKE_AT_ONCE);
    chores();
    assert_int_equal(answer_all("KEY_COMPROMISE", &ok), 4);
    chores();
    assert_int_equal(answer_all("", &ok), 0);
    assert_int_equal(count(BM_UPSTREAM_DONE), 2 * BM_UPSTREAM_REVOKE_AT_ONCE + 5);
}

static const struct {
    const char *name;
    unsigned status;
    const char *body, *state, *code;
} ends[] = {
    { "done before", 400, "{\"__type\":\"RequestAlreadyProcessedException\"}", BM_UPSTREAM_DONE, "" },
    { "being done", 400, "{\"__type\":\"RequestInProgressException\"}", BM_UPSTREAM_ASKED, "" },
    { "throttled", 400, "{\"__type\":\"ThrottlingException\"}", BM_UPSTREAM_ASKED, "" },
    { "busy", 503, "busy", BM_UPSTREAM_ASKED, "" },
    { "denied", 400, "{\"__type\":\"AccessDeniedException\",\"message\":\"no\"}", BM_UPSTREAM_FAILED, "upstream-refused" },
    { "no such certificate", 400, "{\"__type\":\"ResourceNotFoundException\"}", BM_UPSTREAM_FAILED, "upstream-refused" },
    { "redirected", 302, "", BM_UPSTREAM_FAILED, "upstream-refused" },
};

static void each_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(ends); i++) {
        const struct bm_task_answer a = { .status = (uint16_t)ends[i].status, .body = bm_rd_str(ends[i].body) };
        int64_t id = revoked("aws", 0);

        chores();
        assert_int_equal(answer_all("UNSPECIFIED", &a), 1);
        state_is(id, ends[i].state, ends[i].code);
        now += 1000;
        if (strcmp(ends[i].state, BM_UPSTREAM_ASKED) == 0) {
            assert_int_equal(answer_all("UNSPECIFIED", &ok), 1);
            state_is(id, BM_UPSTREAM_DONE, "");
        }
    }
}

/* Nobody there is not a no; only an errand's life ends it, and then it can be asked for again. */
static void nobody_there(void **state)
{
    struct bm_task_answer away = { .failed = true, .retry = true, .code = "outbound-dns", .what = "nobody answers" };
    int64_t id = revoked("aws", 5);

    (void)state;
    chores();
    for (int i = 0; i < 12; i++, now += 1200, away.retry = !away.retry)
        assert_int_equal(answer_all("CESSATION_OF_OPERATION", &away), 1);
    state_is(id, BM_UPSTREAM_ASKED, "");
    now += 31 * 86400;
    assert_int_equal(answer_all("", &away), 0);
    state_is(id, BM_UPSTREAM_FAILED, "errand-expired");
}

static enum bm_rc revoke_again(int64_t id)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential c = { 0 };
    char serial[2 * BM_SERIAL_LEN + 1], request[128];

    assert_ok(bm_credential_by_id(w.k->store, id, &c, &err));
    bm_hex(c.serial, sizeof c.serial, serial);
    snprintf(request, sizeof request, "{\"op\":\"cert.revoke\",\"serial\":\"%s\"}", serial);
    return admin_do(&w, request, bm_rd_of(NULL, 0), NULL);
}

/* By a version of this program that did not tell upstream CAs. */
static void revoked_long_ago(void **state)
{
    int64_t id = credential("aws", 86400), over = credential("aws", bm_clock_s() - 10 - now);

    (void)state;
    assert_ok(bm_keeper_begin(w.k, &err));
    assert_ok(bm_credential_set_revoked(w.k->store, id, 1, now, &err));
    assert_ok(bm_credential_set_revoked(w.k->store, over, 1, now, &err));
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
    assert_ok(revoke_again(id));
    assert_rc(revoke_again(over), BM_CONFLICT);
    chores();
    assert_int_equal(answer_all("KEY_COMPROMISE", &ok), 1);
    state_is(id, BM_UPSTREAM_DONE, "");
}

static void asked_again(void **state)
{
    const struct bm_task_answer no = { .status = 403, .body = bm_rd_str("no") };
    BM_CLEANUP(json_unref) json_t *status = NULL, *list = NULL;
    int64_t id = revoked("aws", 4);
    char *text;

    (void)state;
    chores();
    assert_rc(revoke_again(id), BM_CONFLICT); /* it is under way */
    assert_int_equal(answer_all("SUPERSEDED", &no), 1);
    status = admin(&w, "{\"op\":\"status\"}");
    text = json_dumps(status, 0);
    assert_non_null(strstr(text, "cert list --upstream failed"));
    free(text);
    list = admin(&w, "{\"op\":\"cert.list\",\"upstream\":\"failed\",\"limit\":1000}");
    assert_int_equal(json_array_size(json_object_get(list, "rows")), count(BM_UPSTREAM_FAILED));
    assert_ok(revoke_again(id));
    state_is(id, BM_UPSTREAM_WAITING, "");
    chores();
    assert_int_equal(answer_all("SUPERSEDED", &ok), 1);
    state_is(id, BM_UPSTREAM_DONE, "");
    assert_rc(revoke_again(id), BM_CONFLICT);
}

/* Where the upstream CA cannot be told, whoever revokes hears of it, and so does the log. */
static void those_that_cannot(void **state)
{
    static const struct {
        const char *ca, *word;
    } rows[] = { { "est", "EST has no word" }, { "quiet", "revoke=no" }, { "kms", "AWS KMS" } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(json_unref) json_t *entry = NULL, *fields = json_object();
        int64_t id = revoked(rows[i].ca, 1);

        state_is(id, BM_UPSTREAM_UNABLE, "upstream-not-told");
        assert_ok(bm_upstream_revocation_tell(w.k, id, fields, &err));
        assert_string_equal(member_text(fields, "upstream"), "unable");
        assert_non_null(strstr(member_text(fields, "upstream_what"), rows[i].word));
        entry = leaf_of(&w, 0);
        assert_string_equal(member_text(entry, "event"), "upstream.revocation");
        assert_ok(revoke_again(id));
        state_is(id, BM_UPSTREAM_UNABLE, "upstream-not-told");
    }
    chores();
    assert_int_equal(answer_all("", &ok), 0);
}

/* What is over, or ours, or not revoked after all, is nobody's business. */
static void nothing_to_tell(void **state)
{
    struct bm_upstream_revocation r;
    int64_t over = credential("aws", -10), back = credential("aws", 86400), own = revoked("issuing", 1);

    (void)state;
    assert_ok(bm_keeper_begin(w.k, &err));
    assert_ok(bm_revoke_credential(w.k, over, 1, now, &err));
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
    assert_ok(bm_keeper_begin(w.k, &err));
    assert_ok(bm_revoke_credential(w.k, back, 1, now, &err));
    assert_rc(bm_keeper_settle(w.k, BM_DENIED, &err), BM_DENIED);
    assert_rc(bm_upstream_revocation_get(w.k->store, over, &r, &err), BM_NOTFOUND);
    assert_rc(bm_upstream_revocation_get(w.k->store, back, &r, &err), BM_NOTFOUND);
    assert_rc(bm_upstream_revocation_get(w.k->store, own, &r, &err), BM_NOTFOUND);
    chores();
    assert_int_equal(answer_all("", &ok), 0);
}

static void reasons(void **state)
{
    static const int as[] = { 0, 1, 0, 3, 4, 5, 0, 0, 0, 9, 0, 0 };

    (void)state;
    for (int i = 0; i < (int)BM_COUNT(as); i++)
        assert_int_equal(bm_upstream_reason(i), as[i]);
    assert_int_equal(bm_upstream_reason(-1), 0);
}

static int begin(void **state)
{
    (void)state;
    world_open(&w);
    now = bm_clock_s();
    party_keys(&root, "P-256");
    party_certify(&root, "Upstream Root", NULL, true, 864000);
    party_keys(&leaf, "P-256");
    party_certify(&leaf, "device", &root, false, 86400);
    add_upstream("aws", "aws-pca", "https://acm-pca.eu-west-1.amazonaws.com", "ca=" ARN);
    add_upstream("beside", "aws-pca", "https://acm-pca.eu-west-1.amazonaws.com", "ca=" ARN ",revoke=yes");
    add_upstream("quiet", "aws-pca", "https://acm-pca.eu-west-1.amazonaws.com", "ca=" ARN ",revoke=no");
    add_upstream("kms", "aws-kms", "https://kms.eu-west-1.amazonaws.com", "key=arn:aws:kms:eu-west-1:1:key/x");
    add_upstream("est", "est", "https://ca.example/.well-known/est", "");
    return 0;
}

static int end(void **state)
{
    (void)state;
    party_done(&root);
    party_done(&leaf);
    world_close(&w);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_at_a_time),  cmocka_unit_test(each_end),          cmocka_unit_test(nobody_there),
        cmocka_unit_test(asked_again),      cmocka_unit_test(those_that_cannot), cmocka_unit_test(nothing_to_tell),
        cmocka_unit_test(revoked_long_ago), cmocka_unit_test(reasons),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
