/* protocol/coap.h: CoAP messages as they are on the line. If this fails, a datagram is read past its end, an option that the client counts on
 * is passed over, or one that may be is not. */
#include "protocol/coap.h"

#include "base/text.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static struct bm_error err;

static size_t bytes_of(const char *hex, uint8_t *ret)
{
    size_t n = 0;

    for (; *hex != '\0'; hex++) {
        if (*hex == ' ')
            continue;
        assert_true(bm_unhex(bm_rd_of(hex, 2), &ret[n++], 1));
        hex++;
    }
    return n;
}

/* In an allocation of its exact size. */
static enum bm_rc parse(struct bm_rd in, struct bm_coap_message *ret, bool *ret_header, uint8_t **ret_room)
{
    *ret_room = malloc(in.n != 0 ? in.n : 1);
    assert_non_null(*ret_room);
    if (in.n != 0)
        memcpy(*ret_room, in.p, in.n);
    return bm_coap_parse(bm_rd_of(*ret_room, in.n), ret, ret_header, &err);
}

/* --- reading ------------------------------------------------------------------------------------------------------------------------ */
static const struct {
    const char *name, *hex;
    bool ok;
    uint16_t unknown; /* of a good one */
} rows[] = {
    { "ping", "40 00 1234", true, 0 },
    { "GET without options", "40 01 1234", true, 0 },
    { "token of eight", "48 01 1234 0102030405060708", true, 0 },
    { "GET est crts", "41 01 1234 aa b3 657374 04 63727473", true, 0 },
    { "a payload", "40 02 1234 ff 61", true, 0 },
    { "an empty path segment", "40 01 1234 b0", true, 0 },
    { "extended delta and length", "40 01 1234 dd 00 00 61616161616161616161616161", true, 13 },
    { "unknown elective option", "40 01 1234 d1 01 61", true, 0 }, /* 14 is Max-Age, 1 byte */
    { "unknown critical option", "40 01 1234 91 61", true, 9 },
    { "If-Match", "40 01 1234 11 61", true, 1 },
    { "Uri-Host that is empty", "40 01 1234 30", true, 3 },
    { "Uri-Port of three bytes", "40 01 1234 73 010203", true, 7 },
    { "Accept of three bytes", "40 01 1234 d3 04 010203", true, 17 },
    { "Accept twice", "40 01 1234 d1 04 28 01 29", true, 17 },
    { "Content-Format twice: elective, the first counts", "40 02 1234 c1 28 01 29", true, 0 },
    { "Content-Format of three bytes: elective", "40 02 1234 c3 010203", true, 0 },
    { "a block size that is reserved", "40 02 1234 d1 0e 0f", true, 0 },
    { "Block1 of four bytes", "40 02 1234 d4 0e 00000006", true, 27 },
    { "Block1 twice", "40 02 1234 d1 0e 06 01 06", true, 27 },
    { "Q-Block1", "40 02 1234 d1 06 06", true, 19 },
    { "a path segment of 269 bytes, cut off", "40 01 1234 be 0000", false, 0 },

    { "nothing", "", false, 0 },
    { "three bytes", "40 01 12", false, 0 },
    { "version 0", "00 01 1234", false, 0 },
    { "version 2", "80 01 1234", false, 0 },
    { "token of nine", "49 01 1234 010203040506070809", false, 0 },
    { "token cut off", "44 01 1234 010203", false, 0 },
    { "ping with a token", "41 00 1234 aa", false, 0 },
    { "ping with an option", "40 00 1234 b0", false, 0 },
    { "marker without payload", "40 01 1234 ff", false, 0 },
    { "option cut off", "40 01 1234 b3 6573", false, 0 },
    { "delta 15", "40 01 1234 f0", false, 0 },
    { "length 15", "40 01 1234 0f", false, 0 },
    { "extended delta cut off", "40 01 1234 d0", false, 0 },
    { "extended length cut off", "40 01 1234 bd", false, 0 },
    { "option number over 65535", "40 01 1234 e0 ffff e0 ffff", false, 0 },
    { "33 options", "40 01 1234 b0 00000000000000000000000000000000 00000000000000000000000000000000", false, 0 },
};

/* RFC 7959 section 2.2: SZX 7 is no unknown option, but 4.00. */
static void a_reserved_size_is_told(void **state)
{
    static const uint8_t block1[] = { 0x40, 0x02, 0x12, 0x34, 0xd1, 0x0e, 0x0f },
                         block2[] = { 0x40, 0x01, 0x12, 0x34, 0xd1, 0x0a, 0x07 },
                         good[] = { 0x40, 0x01, 0x12, 0x34, 0xd1, 0x0a, 0x06 };
    struct bm_coap_message m;
    bool header;

    (void)state;
    assert_int_equal(bm_coap_parse(bm_rd_of(block1, sizeof block1), &m, &header, &err), BM_OK);
    assert_true(m.bad_block && !m.block1.present);
    assert_int_equal(bm_coap_parse(bm_rd_of(block2, sizeof block2), &m, &header, &err), BM_OK);
    assert_true(m.bad_block && !m.block2.present);
    assert_int_equal(bm_coap_parse(bm_rd_of(good, sizeof good), &m, &header, &err), BM_OK);
    assert_true(!m.bad_block && m.block2.present);
}

static void messages_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t raw[64], *room;
        size_t n = bytes_of(rows[i].hex, raw);
        struct bm_coap_message m;
        bool header, ok = parse(bm_rd_of(raw, n), &m, &header, &room) == BM_OK;

        if (ok != rows[i].ok || (ok && m.unknown != rows[i].unknown))
            fail_msg("%s: %d, unknown %u", rows[i].name, ok, m.unknown);
        free(room);
    }
}

/* A message that cannot be read is reset only if its header could be: RFC 7252 section 4.2. */
static void a_header_alone_can_be_reset(void **state)
{
    static const uint8_t raw[] = { 0x40, 0x01, 0x12, 0x34, 0xff };
    struct bm_coap_message m;
    bool header;

    (void)state;
    assert_int_equal(bm_coap_parse(bm_rd_of(raw, sizeof raw), &m, &header, &err), BM_MALFORMED);
    assert_true(header && m.type == BM_COAP_CON && m.mid == 0x1234);
    assert_int_equal(bm_coap_parse(bm_rd_of(raw, 3), &m, &header, &err), BM_MALFORMED);
    assert_false(header);
}

/* --- writing ------------------------------------------------------------------------------------------------------------------------ */
static struct bm_coap_message everything(void)
{
    struct bm_coap_message m = bm_coap_message_of(BM_COAP_NON, BM_COAP_CODE(2, 4), 0xfffe);

    m.token_len = 3;
    memcpy(m.token, "tok", 3);
    m.n_path = 2;
    m.path[0] = bm_rd_str(".well-known");
    m.path[1] = bm_rd_str("core");
    m.n_query = 1;
    m.query[0] = bm_rd_str("rt=ace.est*");
    m.content_format = 286;
    m.accept = 0;
    m.max_age_s = 70000;
    m.block1 = (struct bm_coap_block){ true, true, 2, 0xfffff };
    m.block2 = (struct bm_coap_block){ true, false, 6, 0 };
    m.size1 = 16384;
    m.size2 = 0;
    m.payload = bm_rd_str("payload");
    return m;
}

static void same(const struct bm_coap_message *a, const struct bm_coap_message *b)
{
    assert_true(a->type == b->type && a->code == b->code && a->mid == b->mid && a->token_len == b->token_len);
    assert_memory_equal(a->token, b->token, a->token_len);
    assert_true(a->n_path == b->n_path && a->n_query == b->n_query && a->unknown == b->unknown);
    for (size_t i = 0; i < a->n_path; i++)
        assert_true(bm_rd_eq(a->path[i], b->path[i]));
    for (size_t i = 0; i < a->n_query; i++)
        assert_true(bm_rd_eq(a->query[i], b->query[i]));
    assert_true(a->content_format == b->content_format && a->accept == b->accept && a->max_age_s == b->max_age_s);
    assert_true(a->size1 == b->size1 && a->size2 == b->size2);
    assert_true(a->block1.present == b->block1.present && a->block1.more == b->block1.more && a->block1.szx == b->block1.szx &&
                a->block1.num == b->block1.num);
    assert_true(a->block2.present == b->block2.present && a->block2.more == b->block2.more && a->block2.szx == b->block2.szx &&
                a->block2.num == b->block2.num);
    assert_true(bm_rd_eq(a->payload, b->payload));
}

static void what_is_written_can_be_read(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 4096 };
    const struct bm_coap_message m = everything();
    struct bm_coap_message got;
    uint8_t *room;
    bool header;

    (void)state;
    bm_coap_write(&out, &m);
    assert_false(out.bad);
    assert_int_equal(parse(bm_buf_rd(&out), &got, &header, &room), BM_OK);
    same(&m, &got);
    free(room);
    for (size_t n = 0; n < out.n; n++) { /* no prefix is read past its end */
        (void)!parse(bm_rd_of(out.p, n), &got, &header, &room);
        free(room);
    }
}

/* A path of more segments than any of ours is not cut to one of ours. */
static void long_paths_are_told(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 4096 };
    struct bm_coap_message m = bm_coap_message_of(BM_COAP_CON, BM_COAP_GET, 1), got;
    static const uint8_t more[] = { 0x01, 'x' }; /* another Uri-Path */
    bool header;

    (void)state;
    m.n_path = BM_COAP_SEGMENTS_MAX;
    for (size_t i = 0; i < m.n_path; i++)
        m.path[i] = bm_rd_str("est");
    bm_coap_write(&out, &m);
    assert_int_equal(bm_coap_parse(bm_buf_rd(&out), &got, &header, &err), BM_OK);
    assert_false(got.too_long);
    bm_buf_put(&out, more, sizeof more);
    assert_int_equal(bm_coap_parse(bm_buf_rd(&out), &got, &header, &err), BM_OK);
    assert_true(got.too_long);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_read),           cmocka_unit_test(a_reserved_size_is_told),
        cmocka_unit_test(a_header_alone_can_be_reset), cmocka_unit_test(what_is_written_can_be_read),
        cmocka_unit_test(long_paths_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
