/* keeper/errand.h: the life of an errand, with kinds of the test's own and the test as courier. What breaks here: a question that is lost, an answer
 * that counts twice, one who asks without end. */
#include "keeper_fixture.h"

#include "keeper/errand.h"

static struct world w;
static unsigned n_done, n_failed;
static char last_failure[32];
static int64_t clock_now = 2000000000; /* errands live by the time they are told */

static enum bm_rc make_task(struct bm_keeper *k, const struct bm_errand *x, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    const struct bm_task t = { .kind = BM_TASK_DNS_TXT, .timeout_ms = 1000, .host = bm_rd_str("example.org") };

    (void)k;
    (void)now;
    if (bm_rd_eq(bm_buf_rd(&x->payload), bm_rd_str("hopeless")))
        return bm_refuse(e, BM_DENIED, "test-hopeless", "there is nobody to ask");
    bm_task_write(out, &t);
    return BM_OK;
}

/* The answer's first text says what comes of it. */
static enum bm_rc take(struct bm_keeper *k, const struct bm_errand *x, const struct bm_task_answer *a, int64_t now,
                       struct bm_errand_outcome *ret, struct bm_error *e)
{
    struct bm_rd word = a->n_texts != 0 ? a->texts[0] : bm_rd_str("");

    (void)k;
    (void)x;
    (void)now;
    n_done++;
    if (bm_rd_eq(word, bm_rd_str("later")))
        return bm_refuse(e, BM_AGAIN, "test-later", "come back");
    if (bm_rd_eq(word, bm_rd_str("wait")))
        ret->wait_s = 500;
    if (bm_rd_eq(word, bm_rd_str("for ever")))
        ret->wait_s = UINT32_MAX;
    if (ret->wait_s != 0)
        return bm_refuse(e, BM_AGAIN, "test-wait", "come back then");
    if (bm_rd_eq(word, bm_rd_str("step")))
        bm_buf_str(&ret->payload, "second step");
    if (bm_rd_eq(word, bm_rd_str("step")))
        return BM_AGAIN;
    if (bm_rd_eq(word, bm_rd_str("bad")))
        return bm_refuse(e, BM_DENIED, "test-bad", "the answer is wrong");
    bm_buf_put(&ret->result, word.p, word.n);
    return BM_OK;
}

static enum bm_rc note_failure(struct bm_keeper *k, const struct bm_errand *x, const struct bm_error *why, int64_t now,
                               struct bm_error *e)
{
    (void)k;
    (void)x;
    (void)now;
    (void)e;
    n_failed++;
    snprintf(last_failure, sizeof last_failure, "%s", bm_error_code(why));
    return BM_OK;
}

static const struct bm_errand_kind plain = { "plain", 3, 10, 40, 1000, 100, make_task, take, note_failure };
static const struct bm_errand_kind *const kinds[] = { &plain, NULL };

/* --- the test as courier --------------------------------------------------------------------------------------------------------- */
static struct bm_errand_work got[BM_ERRANDS_AT_ONCE];

static size_t say(const struct bm_errand_ask *a)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { .max = BM_ERRAND_COMMAND_MAX }, out = { .max = BM_FRAME_MAX };
    struct bm_errand_given g;

    bm_errand_ask_write(&in, a);
    assert_ok(bm_keeper_begin(w.k, &err));
    assert_ok(bm_run_errand(w.k, bm_buf_rd(&in), clock_now, &out, &err));
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
    assert_ok(bm_errand_given_parse(bm_buf_rd(&out), &g, &err));
    for (size_t i = 0; i < g.n; i++) {
        struct bm_task t;

        assert_ok(bm_task_parse(g.work[i].task, &t, &err));
        got[i] = g.work[i];
    }
    return g.n;
}

static size_t ask(uint16_t room)
{
    return say(&(struct bm_errand_ask){ .room = room });
}

static void report(struct bm_errand_work of, const struct bm_task_answer *a)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = BM_COMMAND_MAX };
    struct bm_errand_ask r = { .n = 1 };

    bm_task_answer_write(&b, a);
    r.reports[0] = (struct bm_errand_report){ .id = of.id, .token = of.token, .answer = bm_buf_rd(&b) };
    assert_int_equal(say(&r), 0);
}

static void report_word(struct bm_errand_work of, const char *word)
{
    const struct bm_task_answer a = { .n_texts = 1, .texts = { bm_rd_str(word) } };

    report(of, &a);
}

static void report_failure(struct bm_errand_work of, bool retry)
{
    struct bm_task_answer a = { .failed = true, .retry = retry, .code = "outbound-dns", .what = "nobody answers" };

    report(of, &a);
}

static enum bm_rc add(const char *subject, const char *payload)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { .kind = "plain", .payload = { .max = 100 } };
    enum bm_rc rc;

    snprintf(x.subject, sizeof x.subject, "%s", subject);
    bm_buf_str(&x.payload, payload);
    assert_ok(bm_keeper_begin(w.k, &err));
    rc = bm_errand_add(w.k, &x, clock_now, &err);
    assert_ok(bm_keeper_settle(w.k, BM_OK, NULL));
    return rc;
}

static void state_is(const char *subject, const char *state, const char *code)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };

    assert_ok(bm_errand_find(w.k, "plain", subject, &x, &err));
    assert_string_equal(x.state, state);
    assert_string_equal(x.code, code);
}

static void due_again(void)
{
    clock_now += 60;
}

/* --- rows ------------------------------------------------------------------------------------------------------------------------ */
static void asked_and_answered(void **state)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };

    (void)state;
    n_done = 0;
    assert_ok(add("a", "p"));
    assert_true(bm_errands_wake(w.k, clock_now));
    assert_false(bm_errands_wake(w.k, clock_now)); /* told once */
    assert_int_equal(ask(0), 0);
    assert_int_equal(ask(5), 1);
    assert_int_equal(ask(5), 0); /* it is in hand */
    state_is("a", BM_ERRAND_RUNNING, "");
    report_word(got[0], "hello");
    state_is("a", BM_ERRAND_DONE, "");
    assert_ok(bm_errand_find(w.k, "plain", "a", &x, &err));
    assert_true(bm_rd_eq(bm_buf_rd(&x.result), bm_rd_str("hello")));
    assert_int_equal(x.payload.n, 0);
    report_word(got[0], "hello"); /* said twice, it counts once */
    assert_int_equal(n_done, 1);
}

/* A courier that was late, or lies about an id or an attempt. */
static void only_the_attempt_in_hand_counts(void **state)
{
    struct bm_errand_work first, wrong;

    (void)state;
    n_done = 0;
    assert_ok(add("b", "p"));
    assert_int_equal(ask(1), 1);
    first = got[0];
    wrong = first;
    wrong.id += 1000;
    report_word(wrong, "x");
    wrong = first;
    wrong.token++;
    report_word(wrong, "x");
    assert_int_equal(say(&(struct bm_errand_ask){ .fresh = true, .room = 1 }), 1); /* the next courier has it */
    assert_int_equal(got[0].token, first.token + 1);
    report_word(first, "x"); /* the answer to the first attempt comes after all */
    assert_int_equal(n_done, 0);
    state_is("b", BM_ERRAND_RUNNING, "");
    report_word(got[0], "x");
    assert_int_equal(n_done, 1);
    state_is("b", BM_ERRAND_DONE, "");
}

static void tried_again_and_given_up(void **state)
{
    (void)state;
    n_failed = 0;
    assert_ok(add("c", "p"));
    for (unsigned i = 0; i < plain.tries; i++) {
        assert_int_equal(ask(1), 1);
        report_failure(got[0], true);
        if (i + 1 < plain.tries) {
            assert_int_equal(ask(1), 0); /* not at once */
            assert_int_equal(n_failed, 0);
            due_again();
        }
    }
    assert_int_equal(n_failed, 1);
    assert_string_equal(last_failure, "outbound-dns");
    state_is("c", BM_ERRAND_FAILED, "outbound-dns");
    due_again();
    assert_int_equal(ask(1), 0);
}

static const struct {
    const char *name, *word, *state, *code;
    bool failed, retry;
} ends[] = {
    { "wrong answer", "bad", BM_ERRAND_FAILED, "test-bad", false, false },
    { "come back", "later", BM_ERRAND_QUEUED, "test-later", false, false },
    { "next step", "step", BM_ERRAND_QUEUED, "", false, false },
    { "fails for good", NULL, BM_ERRAND_FAILED, "outbound-dns", true, false },
    { "fails for now", NULL, BM_ERRAND_QUEUED, "outbound-dns", true, true },
};

static void each_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(ends); i++) {
        assert_ok(add(ends[i].name, "p"));
        assert_int_equal(ask(1), 1);
        if (ends[i].failed)
            report_failure(got[0], ends[i].retry);
        else
            report_word(got[0], ends[i].word);
        state_is(ends[i].name, ends[i].state, ends[i].code);
        clock_now += 2000; /* what is left of it expires */
        while (bm_errands_step(w.k, clock_now))
            ;
        w.k->errands.look_ms = 0;
    }
}

static void a_step_has_its_own_payload_and_tries(void **state)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };

    (void)state;
    assert_ok(add("d", "first step"));
    assert_int_equal(ask(1), 1);
    report_word(got[0], "step");
    assert_ok(bm_errand_find(w.k, "plain", "d", &x, &err));
    assert_true(bm_rd_eq(bm_buf_rd(&x.payload), bm_rd_str("second step")));
    assert_int_equal(x.tries, 0);
    assert_int_equal(ask(1), 1); /* at once */
    report_word(got[0], "end");
    state_is("d", BM_ERRAND_DONE, "");
}

/* Who asks for time gets it, but not more than a day: the errand would never be tried again. */
static void the_other_side_says_when(void **state)
{
    static const struct {
        const char *word;
        int64_t wait;
    } rows[] = { { "wait", 500 }, { "for ever", BM_ERRAND_WAIT_MAX_S } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };

        assert_ok(add(rows[i].word, "payload"));
        assert_int_equal(ask(1), 1);
        report_word(got[0], rows[i].word);
        assert_ok(bm_errand_find(w.k, "plain", rows[i].word, &x, &err));
        assert_int_equal(x.due_at, clock_now + rows[i].wait);
        clock_now += 2000;
        while (bm_errands_step(w.k, clock_now))
            ;
        w.k->errands.look_ms = 0;
    }
}

static void no_task_no_errand(void **state)
{
    (void)state;
    n_failed = 0;
    assert_ok(add("e", "hopeless"));
    assert_int_equal(ask(3), 0);
    assert_int_equal(n_failed, 1);
    state_is("e", BM_ERRAND_FAILED, "test-hopeless");
}

static void expired_forgotten_and_taken_over(void **state)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };

    (void)state;
    n_failed = 0;
    assert_ok(add("f", "p"));
    assert_int_equal(ask(1), 1);
    clock_now += BM_ERRAND_LEASE_S + 1; /* nobody is heard of */
    w.k->errands.look_ms = 0;
    assert_true(bm_errands_step(w.k, clock_now));
    state_is("f", BM_ERRAND_QUEUED, "errand-lost");
    clock_now += plain.life_s;
    w.k->errands.look_ms = 0;
    assert_true(bm_errands_step(w.k, clock_now));
    state_is("f", BM_ERRAND_EXPIRED, "errand-expired");
    assert_int_equal(n_failed, 1);
    assert_string_equal(last_failure, "errand-expired");
    clock_now += plain.kept_s;
    w.k->errands.look_ms = 0;
    while (bm_errands_step(w.k, clock_now))
        ;
    assert_rc(bm_errand_find(w.k, "plain", "f", &x, &err), BM_NOTFOUND);
}

/* What was in hand when the power went is handed out again; what was answered is not. */
static void outlives_the_keeper(void **state)
{
    (void)state;
    assert_ok(add("g", "p"));
    assert_ok(add("h", "p"));
    assert_int_equal(ask(1), 1);
    report_word(got[0], "x");
    assert_int_equal(ask(1), 1);
    world_reopen(&w);
    w.k->errands.kinds = kinds;
    assert_int_equal(ask(5), 0);
    assert_int_equal(say(&(struct bm_errand_ask){ .fresh = true, .room = 5 }), 1);
    report_word(got[0], "x");
    state_is("g", BM_ERRAND_DONE, "");
    state_is("h", BM_ERRAND_DONE, "");
}

/* A kind that another version of the program knew. */
static void unknown_kind(void **state)
{
    static const struct bm_errand_kind *const none[] = { NULL };

    (void)state;
    assert_ok(add("i", "p"));
    w.k->errands.kinds = none;
    assert_int_equal(ask(1), 0);
    w.k->errands.kinds = kinds;
    state_is("i", BM_ERRAND_FAILED, "errand-unknown");
}

static void bounded(void **state)
{
    (void)state;
    w.k->errands.counted_ms = bm_clock_steady_ms();
    w.k->errands.open = BM_ERRANDS_MAX;
    assert_rc(add("j", "p"), BM_AGAIN);
    assert_string_equal(err.code, "errands-full");
    w.k->errands.counted_ms = 0;
    assert_ok(add("j", "p")); /* counted anew */
    assert_int_equal(ask(1), 1);
    report_word(got[0], "x");
}

static void backoff(void **state)
{
    static const struct {
        uint32_t tries;
        int64_t least, most;
    } waits[] = { { 1, 7, 13 }, { 2, 15, 25 }, { 3, 30, 50 }, { 4, 30, 50 }, { 200, 30, 50 } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(waits); i++) {
        for (uint32_t chance = 0; chance < 100; chance++) {
            int64_t s = bm_errand_backoff(&plain, waits[i].tries, chance * 2654435761U);

            assert_in_range(s, waits[i].least, waits[i].most);
        }
    }
}

/* Nobody but the courier, and nothing else from it. */
static void who_may(void **state)
{
    static const struct {
        uint8_t type;
        bool courier, admin;
    } bad[] = { { BM_CMD_ERRAND, false, false }, { BM_CMD_ERRAND, false, true },   { BM_CMD_ENROL, true, false },
                { BM_CMD_STATUS, true, false },  { BM_CMD_VIEW, true, false },     { BM_CMD_ADMIN, true, false },
                { BM_CMD_API, true, false },     { BM_CMD_CHALLENGE, true, false } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(bad); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = BM_FRAME_MAX };
        const struct bm_command_in c = { .type = bad[i].type, .courier = bad[i].courier, .admin = bad[i].admin, .actor = "x" };

        assert_false(bm_command_needs_transaction(w.k, &c));
        assert_rc(bm_command_run(w.k, &c, &out, &err), BM_DENIED);
        assert_string_equal(err.code, "not-courier");
    }
}

static int begin(void **state)
{
    (void)state;
    world_open(&w);
    w.k->errands.kinds = kinds;
    return 0;
}

static int end(void **state)
{
    (void)state;
    world_close(&w);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asked_and_answered),
        cmocka_unit_test(only_the_attempt_in_hand_counts),
        cmocka_unit_test(tried_again_and_given_up),
        cmocka_unit_test(each_end),
        cmocka_unit_test(a_step_has_its_own_payload_and_tries),
        cmocka_unit_test(the_other_side_says_when),
        cmocka_unit_test(no_task_no_errand),
        cmocka_unit_test(expired_forgotten_and_taken_over),
        cmocka_unit_test(outlives_the_keeper),
        cmocka_unit_test(unknown_kind),
        cmocka_unit_test(bounded),
        cmocka_unit_test(backoff),
        cmocka_unit_test(who_may),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
