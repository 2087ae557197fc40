/* keeper/task.h: what keeper and courier say to each other, written and read back, cut short everywhere, over every limit. */
#include "keeper/task.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

/* clang-format off */
#define BM_LIT_RD(s) { (const uint8_t *)(s), sizeof(s) - 1 }
/* clang-format on */

static struct bm_error err;

static const struct bm_task post = {
    .kind = BM_TASK_HTTP,
    .timeout_ms = 20000,
    .method = BM_LIT_RD("POST"),
    .url = BM_LIT_RD("https://ca.example/.well-known/est/simpleenroll"),
    .n_fields = 2,
    .fields = { { BM_LIT_RD("Content-Type"), BM_LIT_RD("application/pkcs10") }, { BM_LIT_RD("X-Empty"), { 0 } } },
    .body = BM_LIT_RD("MIIB"),
    .answer_max = 4096,
    .trust = BM_LIT_RD("pem"),
    .client_cert = BM_LIT_RD("pem"),
    .client_key = BM_LIT_RD("pem"),
};
static const struct bm_task get = { .kind = BM_TASK_HTTP,
                                    .timeout_ms = 1,
                                    .foreign = true,
                                    .unverified = true,
                                    .redirects = 10,
                                    .method = BM_LIT_RD("GET"),
                                    .url = BM_LIT_RD("http://h/") };
static const struct bm_task txt = { .kind = BM_TASK_DNS_TXT,
                                    .timeout_ms = BM_TASK_TIMEOUT_MAX_MS,
                                    .host = BM_LIT_RD("_acme-challenge.x") };
static const struct bm_task tls = { .kind = BM_TASK_TLS,
                                    .timeout_ms = 5,
                                    .host = BM_LIT_RD("h"),
                                    .port = 443,
                                    .sni = BM_LIT_RD("1.0.0.127.in-addr.arpa"),
                                    .alpn = BM_LIT_RD("acme-tls/1") };
static const struct bm_task *const good_tasks[] = { &post, &get, &txt, &tls };

static const struct bm_task_answer good_answers[] = {
    { .status = 200,
      .content_type = BM_LIT_RD("text/plain"),
      .retry_after = BM_LIT_RD("3"),
      .location = BM_LIT_RD("/x"),
      .nonce = BM_LIT_RD("n"),
      .body = BM_LIT_RD("body") },
    { .failed = true, .retry = true, .code = "outbound-timeout", .what = "no whole answer" },
    { .n_texts = 2, .texts = { BM_LIT_RD("one"), { 0 } } },
    { .cert = BM_LIT_RD("der"), .alpn = BM_LIT_RD("acme-tls/1") },
};

typedef enum bm_rc parse_fn(struct bm_rd in);
static enum bm_rc as_task(struct bm_rd in)
{
    struct bm_task t;

    return bm_task_parse(in, &t, &err);
}
static enum bm_rc as_answer(struct bm_rd in)
{
    struct bm_task_answer a;

    return bm_task_answer_parse(in, &a, &err);
}
static enum bm_rc as_ask(struct bm_rd in)
{
    struct bm_errand_ask a;

    return bm_errand_ask_parse(in, &a, &err);
}
static enum bm_rc as_given(struct bm_rd in)
{
    struct bm_errand_given g;

    return bm_errand_given_parse(in, &g, &err);
}

static enum bm_rc exactly(parse_fn *parse, struct bm_rd in)
{
    uint8_t *copy = malloc(in.n != 0 ? in.n : 1);
    enum bm_rc rc;

    assert_non_null(copy);
    if (in.n != 0)
        memcpy(copy, in.p, in.n);
    rc = parse(bm_rd_of(copy, in.n));
    free(copy);
    return rc;
}

/* Whole, it is taken; every proper prefix and one byte more is not. */
static void whole_or_nothing(parse_fn *parse, struct bm_buf *b)
{
    assert_int_equal(exactly(parse, bm_buf_rd(b)), BM_OK);
    for (size_t n = 0; n < b->n; n++)
        assert_int_equal(exactly(parse, bm_rd_of(b->p, n)), BM_MALFORMED);
    bm_buf_uint(b, 1, 0);
    assert_int_equal(exactly(parse, bm_buf_rd(b)), BM_MALFORMED);
    bm_buf_done(b);
}

static void tasks(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(good_tasks); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf again = { .max = BM_TASK_MAX };
        struct bm_buf b = { .max = BM_TASK_MAX };
        struct bm_task t;

        bm_task_write(&b, good_tasks[i]);
        assert_int_equal(bm_task_parse(bm_buf_rd(&b), &t, &err), BM_OK);
        bm_task_write(&again, &t);
        assert_true(bm_rd_eq(bm_buf_rd(&again), bm_buf_rd(&b)));
        whole_or_nothing(as_task, &b);
    }
}

static void answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(good_answers); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf again = { .max = BM_TASK_MAX };
        struct bm_buf b = { .max = BM_TASK_MAX };
        struct bm_task_answer a;

        bm_task_answer_write(&b, &good_answers[i]);
        assert_int_equal(bm_task_answer_parse(bm_buf_rd(&b), &a, &err), BM_OK);
        bm_task_answer_write(&again, &a);
        assert_true(bm_rd_eq(bm_buf_rd(&again), bm_buf_rd(&b)));
        whole_or_nothing(as_answer, &b);
    }
}

static void words_between_them(void **state)
{
    static const struct bm_errand_ask ask = {
        .fresh = true, .room = 32, .n = 2, .reports = { { 1, 7, BM_LIT_RD("a") }, { 2, 1, { 0 } } }
    };
    static const struct bm_errand_given given = { .n = 2, .work = { { 9, 1, BM_LIT_RD("task") }, { 10, 2, BM_LIT_RD("t") } } };
    struct bm_buf b = { .max = 4096 }, g = { .max = 4096 };

    (void)state;
    bm_errand_ask_write(&b, &ask);
    whole_or_nothing(as_ask, &b);
    bm_errand_given_write(&g, &given);
    whole_or_nothing(as_given, &g);
}

/* What the keeper would never say, and a courier must not carry out all the same. */
static void bad_tasks(void **state)
{
    static char longish[BM_TASK_TEXT_MAX + 2];
    struct {
        const char *name;
        struct bm_task t;
    } rows[] = {
        { "no such kind", { .kind = 4, .timeout_ms = 1, .host = BM_LIT_RD("h") } },
        { "no kind", { .timeout_ms = 1, .host = BM_LIT_RD("h") } },
        { "no time", { .kind = BM_TASK_TLS, .host = BM_LIT_RD("h") } },
        { "too much time", { .kind = BM_TASK_TLS, .timeout_ms = BM_TASK_TIMEOUT_MAX_MS + 1, .host = BM_LIT_RD("h") } },
        { "no host", { .kind = BM_TASK_TLS, .timeout_ms = 1 } },
        { "a line in the host", { .kind = BM_TASK_TLS, .timeout_ms = 1, .host = BM_LIT_RD("h\n") } },
        { "no URL", { .kind = BM_TASK_HTTP, .timeout_ms = 1, .method = BM_LIT_RD("GET") } },
        { "no method", { .kind = BM_TASK_HTTP, .timeout_ms = 1, .url = BM_LIT_RD("http://h") } },
        { "a line in the URL",
          { .kind = BM_TASK_HTTP, .timeout_ms = 1, .method = BM_LIT_RD("GET"), .url = BM_LIT_RD("http://h\r\nX: y") } },
        { "a long URL", { .kind = BM_TASK_HTTP, .timeout_ms = 1, .method = BM_LIT_RD("GET"), .url = { 0 } } },
        { "many redirects",
          { .kind = BM_TASK_HTTP, .timeout_ms = 1, .method = BM_LIT_RD("GET"), .url = BM_LIT_RD("http://h"), .redirects = 11 } },
        { "a long answer",
          { .kind = BM_TASK_HTTP,
            .timeout_ms = 1,
            .method = BM_LIT_RD("GET"),
            .url = BM_LIT_RD("http://h"),
            .answer_max = BM_TASK_LARGE_MAX + 1 } },
        { "a field without name",
          { .kind = BM_TASK_HTTP, .timeout_ms = 1, .method = BM_LIT_RD("GET"), .url = BM_LIT_RD("http://h"), .n_fields = 1 } },
        { "a colon in a name",
          { .kind = BM_TASK_HTTP,
            .timeout_ms = 1,
            .method = BM_LIT_RD("GET"),
            .url = BM_LIT_RD("http://h"),
            .n_fields = 1,
            .fields = { { BM_LIT_RD("A: b"), { 0 } } } } },
        { "a line in a value",
          { .kind = BM_TASK_HTTP,
            .timeout_ms = 1,
            .method = BM_LIT_RD("GET"),
            .url = BM_LIT_RD("http://h"),
            .n_fields = 1,
            .fields = { { BM_LIT_RD("A"), BM_LIT_RD("b\r\nC: d") } } } },
    };

    (void)state;
    memset(longish, 'x', sizeof longish);
    rows[9].t.url = bm_rd_of(longish, sizeof longish);
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = BM_TASK_MAX };

        bm_task_write(&b, &rows[i].t);
        if (exactly(as_task, bm_buf_rd(&b)) == BM_OK)
            fail_msg("a task with %s is taken", rows[i].name);
    }
}

static void bad_answers(void **state)
{
    static const struct {
        const char *name;
        struct bm_task_answer a;
    } rows[] = {
        { "a failure without code", { .failed = true } },
        { "a code without failure", { .code = "outbound-dns" } },
        { "a line in its sentence", { .failed = true, .code = "outbound-dns", .what = "no\nsuch" } },
        { "a byte that is no text", { .failed = true, .code = "out\xff" } },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = BM_TASK_MAX };

        bm_task_answer_write(&b, &rows[i].a);
        if (exactly(as_answer, bm_buf_rd(&b)) != BM_MALFORMED)
            fail_msg("%s is taken", rows[i].name);
    }
}

/* An id is a row's, and there is room for so many. */
static void bad_words(void **state)
{
    static const struct {
        const char *name;
        uint8_t bytes[24];
        size_t n;
    } rows[] = {
        { "fresh is neither", { 2, 0, 1, 0, 0 }, 5 },
        { "more room than there is", { 0, 0, BM_ERRANDS_AT_ONCE + 1, 0, 0 }, 5 },
        { "more reports than there may be", { 0, 0, 0, 0, BM_ERRANDS_AT_ONCE + 1 }, 5 },
        { "id 0", { 0, 0, 0, 0, 1 }, 21 },
        { "a negative id", { 0, 0, 0, 0, 1, 0x80 }, 21 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        if (exactly(as_ask, bm_rd_of(rows[i].bytes, rows[i].n)) != BM_MALFORMED)
            fail_msg("%s is taken", rows[i].name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks),     cmocka_unit_test(answers),     cmocka_unit_test(words_between_them),
        cmocka_unit_test(bad_tasks), cmocka_unit_test(bad_answers), cmocka_unit_test(bad_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
