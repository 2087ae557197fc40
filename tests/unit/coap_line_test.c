/* server/coap_line.h: one peer's side of CoAP, with the time made by hand. If this fails, a request that came twice is carried out twice, a
 * large one is put together wrongly or without bound, or an answer is lost. */
#include "server/coap_line.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#define CODE(c, dd) BM_COAP_CODE(c, dd)

static struct bm_coap_budget budget;
static struct bm_coap_line line;
static struct bm_buf out;
static struct bm_rd body;
static int64_t now;

static int set_up(void **state)
{
    (void)state;
    budget = (struct bm_coap_budget){ .max = 1 << 20 };
    out = (struct bm_buf){ .max = 4096 };
    now = 1000000;
    bm_coap_line_init(&line, &budget, 100);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bm_coap_line_done(&line);
    bm_buf_done(&out);
    return budget.held != 0; /* what is held is counted, and given back */
}

/* --- both sides --------------------------------------------------------------------------------------------------------------------- */
static struct bm_coap_message request(uint8_t method, uint16_t mid)
{
    struct bm_coap_message m = bm_coap_message_of(BM_COAP_CON, method, mid);

    m.token_len = 1;
    m.token[0] = (uint8_t)mid;
    m.n_path = 2;
    m.path[0] = bm_rd_str("est");
    m.path[1] = bm_rd_str("sen");
    return m;
}

static struct bm_coap_message block(uint16_t mid, uint32_t num, bool more, const char *content)
{
    struct bm_coap_message m = request(BM_COAP_POST, mid);

    m.block1 = (struct bm_coap_block){ .present = true, .more = more, .szx = 0, .num = num };
    m.payload = bm_rd_str(content);
    return m;
}

static enum bm_coap_next tell(const struct bm_coap_message *m)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = 4096 };
    static uint8_t kept[4096]; /* what the body borrows from */
    struct bm_coap_message got;
    enum bm_coap_next next;

    bm_coap_write(&raw, m);
    memcpy(kept, raw.p, raw.n);
    out.n = 0;
    next = bm_coap_line_take(&line, bm_rd_of(kept, raw.n), now, &out, &got);
    return next == BM_COAP_REQUEST ? bm_coap_line_body(&line, &got, 64, now, &out, &body) : next;
}

static struct bm_coap_message heard(void)
{
    struct bm_coap_message m;
    struct bm_error e;
    bool header;

    assert_int_equal(bm_coap_parse(bm_buf_rd(&out), &m, &header, &e), BM_OK);
    return m;
}

static void answer(uint8_t code, const char *content)
{
    const struct bm_coap_reply r = {
        .code = code, .content_format = 281, .max_age_s = -1, .size1 = -1, .payload = bm_rd_str(content)
    };

    out.n = 0;
    bm_coap_line_answer(&line, &r, now, &out);
}

#define assert_told(m, next) assert_int_equal(tell(m), next)
#define assert_payload(m, text) assert_true(bm_rd_eq((m).payload, bm_rd_str(text)))

/* --- messages ------------------------------------------------------------------------------------------------------------------------ */
static void an_answer_acknowledges(void **state)
{
    const struct bm_coap_message q = request(BM_COAP_GET, 7);
    struct bm_coap_message m;

    (void)state;
    assert_told(&q, BM_COAP_REQUEST);
    assert_int_equal(out.n, 0);
    answer(CODE(2, 5), "yes");
    m = heard();
    assert_true(m.type == BM_COAP_ACK && m.mid == 7 && m.token_len == 1 && m.token[0] == 7 && m.content_format == 281);
    assert_payload(m, "yes");
    assert_false(m.block2.present);
}

/* Breaks when a device's request is carried out again because its answer was lost. */
static void a_request_that_comes_twice_counts_once(void **state)
{
    const struct bm_coap_message q = request(BM_COAP_POST, 7);
    struct bm_coap_message m;

    (void)state;
    assert_told(&q, BM_COAP_REQUEST);
    assert_told(&q, BM_COAP_DONE); /* not answered yet: nothing */
    assert_int_equal(out.n, 0);
    answer(CODE(2, 4), "once");
    assert_told(&q, BM_COAP_DONE);
    m = heard();
    assert_true(m.type == BM_COAP_ACK && m.mid == 7);
    assert_payload(m, "once");
    now += BM_COAP_BODY_MS;
    assert_told(&q, BM_COAP_REQUEST); /* a new one under an old number */
}

static void who_waits_for_the_keeper_is_told_so(void **state)
{
    const struct bm_coap_message q = request(BM_COAP_POST, 7);
    struct bm_coap_message ack = bm_coap_message_of(BM_COAP_ACK, BM_COAP_EMPTY, 100), m;

    (void)state;
    assert_told(&q, BM_COAP_REQUEST);
    now += BM_COAP_ACK_MS;
    bm_coap_line_tick(&line, now, &out);
    m = heard();
    assert_true(m.type == BM_COAP_ACK && m.code == BM_COAP_EMPTY && m.mid == 7);
    assert_told(&q, BM_COAP_DONE);
    m = heard(); /* the same again */
    assert_true(m.type == BM_COAP_ACK && m.code == BM_COAP_EMPTY && m.mid == 7);
    answer(CODE(2, 4), "later");
    m = heard();
    assert_true(m.type == BM_COAP_CON && m.mid == 100 && m.token[0] == 7);
    assert_true(bm_coap_line_busy(&line));
    assert_told(&ack, BM_COAP_DONE);
    assert_false(bm_coap_line_busy(&line));
}

/* An answer of its own goes out five times at most, each time after twice the wait. */
static void an_answer_is_sent_until_it_is_acknowledged(void **state)
{
    const struct bm_coap_message q = request(BM_COAP_POST, 7);
    int64_t wait = BM_COAP_RETRY_MS;

    (void)state;
    assert_told(&q, BM_COAP_REQUEST);
    now += BM_COAP_ACK_MS;
    bm_coap_line_tick(&line, now, &out);
    answer(CODE(2, 4), "later");
    for (int i = 0; i < BM_COAP_RETRIES_MAX; i++) {
        out.n = 0;
        bm_coap_line_tick(&line, now + wait - 1, &out);
        assert_int_equal(out.n, 0);
        now += wait;
        bm_coap_line_tick(&line, now, &out);
        assert_true(out.n != 0 && heard().mid == 100);
        wait *= 2;
    }
    out.n = 0;
    bm_coap_line_tick(&line, now + wait, &out);
    assert_int_equal(out.n, 0);
    assert_false(bm_coap_line_busy(&line));
}

static void a_second_request_waits_for_the_first(void **state)
{
    const struct bm_coap_message q = request(BM_COAP_POST, 7), other = request(BM_COAP_POST, 8);
    struct bm_coap_message m;

    (void)state;
    assert_told(&q, BM_COAP_REQUEST);
    assert_told(&other, BM_COAP_DONE);
    m = heard();
    assert_true(m.type == BM_COAP_ACK && m.mid == 8 && m.code == CODE(5, 3) && m.max_age_s > 0);
    answer(CODE(2, 4), "first");
    assert_true(heard().mid == 7);
    assert_told(&other, BM_COAP_REQUEST); /* it was not carried out, so it is not remembered */
}

static void a_non_confirmable_request_is_answered_so(void **state)
{
    struct bm_coap_message q = request(BM_COAP_GET, 7), m;

    (void)state;
    q.type = BM_COAP_NON;
    assert_told(&q, BM_COAP_REQUEST);
    now += BM_COAP_ACK_MS;
    bm_coap_line_tick(&line, now, &out);
    assert_int_equal(out.n, 0);
    answer(CODE(2, 5), "yes");
    m = heard();
    assert_true(m.type == BM_COAP_NON && m.mid == 100 && m.token[0] == 7);
    assert_false(bm_coap_line_busy(&line));
}

/* RFC 7252 sections 4.2, 4.3, 5.4.1, 5.10.2 */
static const struct {
    const char *name;
    uint8_t raw[16];
    size_t n;
    enum bm_coap_type type; /* of what comes back */
    uint8_t code;
    bool silent;
} odd[] = {
    { "ping", { 0x40, 0x00, 0, 9 }, 4, BM_COAP_RST, 0, false },
    { "a response that nobody waits for", { 0x40, 0x45, 0, 9 }, 4, BM_COAP_RST, 0, false },
    { "a class that is not there", { 0x40, 0x20, 0, 9 }, 4, BM_COAP_RST, 0, false },
    { "what cannot be read", { 0x40, 0x01, 0, 9, 0xff }, 5, BM_COAP_RST, 0, false },
    { "the same, not confirmable", { 0x50, 0x01, 0, 9, 0xff }, 5, BM_COAP_RST, 0, true },
    { "not even a header", { 0x40, 0x01 }, 2, BM_COAP_RST, 0, true },
    { "an acknowledgement of nothing", { 0x60, 0x00, 0, 9 }, 4, BM_COAP_RST, 0, true },
    { "a reset of nothing", { 0x70, 0x00, 0, 9 }, 4, BM_COAP_RST, 0, true },
    { "a critical option", { 0x40, 0x01, 0, 9, 0x91, 0x61 }, 6, BM_COAP_ACK, CODE(4, 2), false },
    { "Proxy-Uri", { 0x40, 0x01, 0, 9, 0xd1, 22, 0x61 }, 7, BM_COAP_ACK, CODE(5, 5), false },
    { "Proxy-Scheme", { 0x40, 0x01, 0, 9, 0xd1, 26, 0x61 }, 7, BM_COAP_ACK, CODE(5, 5), false },
    { "a block of the size that is reserved", { 0x40, 0x02, 0, 9, 0xd1, 14, 0x07 }, 7, BM_COAP_ACK, CODE(4, 0), false },
    { "the rest of an answer that is gone", { 0x40, 0x02, 0, 9, 0xd1, 10, 0x10 }, 7, BM_COAP_ACK, CODE(4, 8), false },
};

static void odd_messages_have_their_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(odd); i++) {
        struct bm_coap_message m;

        out.n = 0;
        now += BM_COAP_BODY_MS;
        assert_int_equal(bm_coap_line_take(&line, bm_rd_of(odd[i].raw, odd[i].n), now, &out, &m), BM_COAP_DONE);
        if (odd[i].silent != (out.n == 0))
            fail_msg("%s: %zu bytes", odd[i].name, out.n);
        if (!odd[i].silent)
            m = heard();
        if (!odd[i].silent && (m.type != odd[i].type || m.code != odd[i].code || m.mid != 9))
            fail_msg("%s: type %d, code %#x, mid %u", odd[i].name, m.type, m.code, m.mid);
    }
}

/* --- a request in blocks -------------------------------------------------------------------------------------------------------------- */
static void blocks_become_a_request(void **state)
{
    const struct bm_coap_message a = block(1, 0, true, "0123456789abcdef"), b = block(2, 1, true, "ghijklmnopqrstuv"),
                                 c = block(3, 2, false, "w");
    struct bm_coap_message m;

    (void)state;
    assert_told(&a, BM_COAP_DONE);
    m = heard();
    assert_true(m.type == BM_COAP_ACK && m.code == CODE(2, 31) && m.block1.present && m.block1.more && m.block1.num == 0);
    assert_told(&a, BM_COAP_DONE); /* came twice: acknowledged twice, taken once */
    assert_true(heard().code == CODE(2, 31));
    assert_told(&b, BM_COAP_DONE);
    assert_told(&c, BM_COAP_REQUEST);
    assert_true(bm_rd_eq(body, bm_rd_str("0123456789abcdefghijklmnopqrstuvw")));
    answer(CODE(2, 4), "done");
    m = heard();
    assert_true(m.block1.present && !m.block1.more && m.block1.num == 2 && m.code == CODE(2, 4));
    assert_false(bm_coap_line_busy(&line));
}

static const struct {
    const char *name;
    struct {
        uint32_t num;
        bool more;
        const char *content, *segment;
    } blocks[5];
    uint8_t code; /* of the answer to the last of them */
} uploads[] = {
    { "not from the beginning", { { 1, true, "0123456789abcdef", NULL } }, CODE(4, 8) },
    { "one left out", { { 0, true, "0123456789abcdef", NULL }, { 2, false, "x", NULL } }, CODE(4, 8) },
    { "one again under another number",
      { { 0, true, "0123456789abcdef", NULL }, { 1, true, "0123456789abcdef", NULL }, { 1, true, "0123456789abcdef", NULL } },
      CODE(4, 8) },
    { "goes on at another path", { { 0, true, "0123456789abcdef", NULL }, { 1, false, "x", "sren" } }, CODE(4, 8) },
    { "longer than its size", { { 0, false, "0123456789abcdefg", NULL } }, CODE(4, 0) },
    { "shorter, and not the last", { { 0, true, "0123456789abcde", NULL } }, CODE(4, 0) },
    { "empty, and not the last", { { 0, true, "", NULL } }, CODE(4, 0) },
    { "too much",
      { { 0, true, "0123456789abcdef", NULL },
        { 1, true, "0123456789abcdef", NULL },
        { 2, true, "0123456789abcdef", NULL },
        { 3, true, "0123456789abcdef", NULL },
        { 4, false, "x", NULL } },
      CODE(4, 13) },
};

static void wrong_blocks_are_refused(void **state)
{
    uint16_t mid = 1;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(uploads); i++) {
        for (size_t j = 0; j < 5 && uploads[i].blocks[j].content != NULL; j++) {
            struct bm_coap_message m =
                block(mid++, uploads[i].blocks[j].num, uploads[i].blocks[j].more, uploads[i].blocks[j].content);

            if (uploads[i].blocks[j].segment != NULL)
                m.path[1] = bm_rd_str(uploads[i].blocks[j].segment);
            assert_told(&m, BM_COAP_DONE);
        }
        if (heard().code != uploads[i].code)
            fail_msg("%s: %#x", uploads[i].name, heard().code);
        assert_int_equal(budget.held, 0); /* a refusal ends it */
    }
}

static void too_large_ones_are_told_how_large(void **state)
{
    struct bm_coap_message m = block(1, 0, true, "0123456789abcdef"), plain = request(BM_COAP_POST, 2);
    char large[66] = { 0 };

    (void)state;
    m.size1 = 65;
    assert_told(&m, BM_COAP_DONE);
    assert_true(heard().code == CODE(4, 13) && heard().size1 == 64);
    memset(large, 'x', 65);
    plain.payload = bm_rd_str(large);
    assert_told(&plain, BM_COAP_DONE);
    assert_true(heard().code == CODE(4, 13) && heard().size1 == 64);
}

/* What all sessions hold together is bounded, and an upload that nobody goes on with is dropped. */
static void uploads_are_bounded(void **state)
{
    const struct bm_coap_message a = block(1, 0, true, "0123456789abcdef"), b = block(2, 1, true, "0123456789abcdef"),
                                 c = block(3, 2, false, "x");

    (void)state;
    budget.max = 20;
    assert_told(&a, BM_COAP_DONE);
    assert_int_equal(budget.held, 16);
    assert_told(&b, BM_COAP_DONE);
    assert_true(heard().code == CODE(5, 3) && heard().max_age_s > 0);
    assert_int_equal(budget.held, 0);
    assert_told(&c, BM_COAP_DONE);
    assert_true(heard().code == CODE(4, 8));
    now += BM_COAP_BODY_MS;
    assert_told(&a, BM_COAP_DONE);
    now += BM_COAP_BODY_MS;
    bm_coap_line_tick(&line, now, &out);
    assert_int_equal(budget.held, 0);
    assert_told(&b, BM_COAP_DONE);
    assert_true(heard().code == CODE(4, 8));
}

/* The operator has lowered the bound while more than that is held: nothing is added, and what is there is given back as ever. */
static void a_bound_may_be_lowered(void **state)
{
    const struct bm_coap_message a = block(1, 0, true, "0123456789abcdef"), b = block(2, 1, true, "0123456789abcdef");

    (void)state;
    assert_told(&a, BM_COAP_DONE);
    budget.max = 10;
    assert_told(&b, BM_COAP_DONE);
    assert_true(heard().code == CODE(5, 3));
    assert_int_equal(budget.held, 0);
}

/* --- an answer in blocks ---------------------------------------------------------------------------------------------------------------- */
static struct bm_coap_message want(uint8_t method, uint16_t mid, uint32_t num)
{
    struct bm_coap_message m = request(method, mid);

    m.block2 = (struct bm_coap_block){ .present = true, .szx = 0, .num = num };
    return m;
}

static void answers_come_in_blocks(void **state)
{
    const struct bm_coap_message q = want(BM_COAP_POST, 1, 0), second = want(BM_COAP_POST, 2, 1), past = want(BM_COAP_POST, 3, 2);
    struct bm_coap_message other = want(BM_COAP_POST, 4, 1), m;

    (void)state;
    assert_told(&q, BM_COAP_REQUEST);
    answer(CODE(2, 4), "0123456789abcdefghij");
    m = heard();
    assert_true(m.block2.present && m.block2.more && m.block2.num == 0 && m.block2.szx == 0 && m.size2 == 20);
    assert_payload(m, "0123456789abcdef");
    assert_told(&second, BM_COAP_DONE);
    m = heard();
    assert_true(m.code == CODE(2, 4) && m.content_format == 281 && m.block2.num == 1 && !m.block2.more && m.mid == 2 &&
                m.token[0] == 2);
    assert_payload(m, "ghij");
    assert_told(&past, BM_COAP_DONE);
    assert_true(heard().code == CODE(4, 0));
    other.path[1] = bm_rd_str("sren"); /* another request's rest is nobody else's */
    assert_told(&other, BM_COAP_DONE);
    assert_true(heard().code == CODE(4, 8));
}

/* A GET can be asked for from the middle: it is made anew. */
static void a_get_needs_no_first_block(void **state)
{
    const struct bm_coap_message q = want(BM_COAP_GET, 1, 1), past = want(BM_COAP_GET, 2, 9);

    (void)state;
    assert_told(&q, BM_COAP_REQUEST);
    answer(CODE(2, 5), "0123456789abcdefghij");
    assert_payload(heard(), "ghij");
    assert_told(&past, BM_COAP_REQUEST);
    answer(CODE(2, 5), "0123456789abcdefghij");
    assert_true(heard().code == CODE(4, 0));
}

/* Blocks are as large as the client made its own, when it does not say. */
static void block_sizes_follow_the_client(void **state)
{
    struct bm_coap_message q = block(1, 0, false, "x"), fits = want(BM_COAP_POST, 2, 0);

    (void)state;
    assert_told(&q, BM_COAP_REQUEST);
    answer(CODE(2, 4), "0123456789abcdefghij");
    assert_true(heard().block2.szx == 0 && heard().payload.n == 16);
    assert_told(&fits, BM_COAP_REQUEST);
    answer(CODE(2, 4), "0123456789abcdef");
    assert_true(heard().block2.present && !heard().block2.more && heard().block2.num == 0 && heard().payload.n == 16);
}

static void answers_are_bounded(void **state)
{
    const struct bm_coap_message q = want(BM_COAP_POST, 1, 0);

    (void)state;
    budget.max = 19;
    assert_told(&q, BM_COAP_REQUEST);
    answer(CODE(2, 4), "0123456789abcdefghij");
    assert_true(heard().code == CODE(5, 3) && heard().max_age_s > 0);
    assert_int_equal(budget.held, 0);
}

/* A refusal is one message, whatever blocks were asked for; its code stands first. */
static void refusals_have_one_block(void **state)
{
    const struct bm_coap_message q = want(BM_COAP_GET, 1, 3);
    struct bm_coap_message m;
    struct bm_error e;

    (void)state;
    (void)bm_refuse(&e, BM_AGAIN, "approval-pending", "somebody has to say yes");
    assert_told(&q, BM_COAP_REQUEST);
    out.n = 0;
    bm_coap_line_refuse(&line, &e, 60, "0123456789abcdef", now, &out);
    m = heard();
    assert_true(m.code == CODE(5, 3) && m.max_age_s == 60 && m.content_format == -1 && !m.block2.present);
    assert_payload(m, "approval-pending");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_answer_acknowledges),
        TEST(a_request_that_comes_twice_counts_once),
        TEST(who_waits_for_the_keeper_is_told_so),
        TEST(an_answer_is_sent_until_it_is_acknowledged),
        TEST(a_second_request_waits_for_the_first),
        TEST(a_non_confirmable_request_is_answered_so),
        TEST(odd_messages_have_their_answers),
        TEST(blocks_become_a_request),
        TEST(wrong_blocks_are_refused),
        TEST(too_large_ones_are_told_how_large),
        TEST(uploads_are_bounded),
        TEST(a_bound_may_be_lowered),
        TEST(answers_come_in_blocks),
        TEST(a_get_needs_no_first_block),
        TEST(block_sizes_follow_the_client),
        TEST(answers_are_bounded),
        TEST(refusals_have_one_block),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
