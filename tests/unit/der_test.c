#include "pki_help.h"

static void elements(void **state)
{
    static const struct {
        const char *name, *hex;
        bool want;
    } rows[] = {
        { "empty sequence", "3000", true },
        { "one byte", "040161", true },
        { "tag alone", "04", false },
        { "no bytes", "", false },
        { "cut short", "040261", false },
        { "indefinite length", "30800000", false },
        { "long form for a short length", "04810161", false },
        { "leading zero in the length", "048200800000", false },
        { "four length bytes", "04840000000161", false },
        { "reserved length byte", "04ff61", false },
        { "high tag number", "1f810100", false },
        { "end of contents", "0000", false },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t room[64];
        struct bm_rd r = hex(rows[i].hex, room, sizeof room), whole;
        uint8_t *p = exact(r), tag;
        struct bm_rd in = bm_rd_of(p, r.n);

        assert_int_equal(bm_der_any(&in, &tag, NULL, &whole), rows[i].want);
        assert_int_equal(in.n, rows[i].want ? 0 : r.n);
        free(p);
    }
}

static void long_lengths(void **state)
{
    static const size_t lengths[] = { 0, 1, 127, 128, 255, 256, 65535, 65536, 70000 };
    uint8_t *room = calloc(1, 70016);

    (void)state;
    for (size_t i = 0; i < BM_COUNT(lengths); i++) {
        struct bm_derw w = bm_derw_of(room, 70016);
        struct bm_rd value, whole;

        w.at -= lengths[i];
        bm_derw_end(&w, w.cap, BM_DER_OCTET_STRING);
        assert_false(w.bad);
        whole = bm_derw_rd(&w);
        assert_true(bm_der_only(whole, BM_DER_OCTET_STRING, &value));
        assert_int_equal(value.n, lengths[i]);
        assert_int_equal(whole.n - value.n, lengths[i] < 128 ? 2 : lengths[i] < 256 ? 3 : lengths[i] < 65536 ? 4 : 5);
    }
    free(room);
}

static void integers(void **state)
{
    static const struct {
        const char *hex;
        bool ok;
        uint64_t want;
    } rows[] = {
        { "020100", true, 0 },
        { "02017f", true, 127 },
        { "02020080", true, 128 },
        { "0208 7fffffffffffffff", true, INT64_MAX },
        { "0209 00ffffffffffffffff", true, UINT64_MAX },
        { "0209 01ffffffffffffffff", false, 0 },
        { "0180", false, 0 },
        { "020180", false, 0 },
        { "0200", false, 0 },
        { "0202007f", false, 0 },
        { "0202ff80", false, 0 },
        { "0a0101", false, 0 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t room[32], back[32];
        struct bm_rd r = hex(rows[i].hex, room, sizeof room), in = r;
        struct bm_derw w = bm_derw_of(back, sizeof back);
        uint64_t v = 7;

        assert_int_equal(bm_der_uint(&in, &v), rows[i].ok);
        assert_int_equal(v, rows[i].ok ? rows[i].want : 7);
        if (!rows[i].ok)
            continue;
        bm_derw_uint(&w, v);
        assert_true(bm_rd_eq(bm_derw_rd(&w), r));
    }
}

static void bit_strings(void **state)
{
    static const struct {
        const char *hex;
        bool ok;
    } rows[] = { { "030100", true }, { "03020061", true }, { "03020160", false }, { "0300", false }, { "04020061", false } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t room[32];
        struct bm_rd r = hex(rows[i].hex, room, sizeof room), v;

        assert_int_equal(bm_der_bits(&r, &v), rows[i].ok);
    }
}

static void object_identifiers(void **state)
{
    static const struct {
        const char *hex, *text; /* NULL: refused */
    } rows[] = {
        { "2a8648ce3d030107", "1.2.840.10045.3.1.7" },
        { "550403", "2.5.4.3" },
        { "2b6570", "1.3.101.112" },
        { "883703", "2.999.3" },
        { "", NULL },
        { "80", NULL },
        { "2a80", NULL },
        { "2a8001", NULL },
        { "2a86", NULL },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t room[32], back[32];
        struct bm_rd r = hex(rows[i].hex, room, sizeof room);
        char text[64];
        size_t n;

        assert_int_equal(bm_der_oid_ok(r), rows[i].text != NULL);
        assert_int_equal(bm_der_oid_text(r, text, sizeof text), rows[i].text != NULL);
        if (rows[i].text == NULL)
            continue;
        assert_string_equal(text, rows[i].text);
        assert_false(bm_der_oid_text(r, text, 4));
        assert_true(bm_der_oid_of_text(rows[i].text, back, &n));
        assert_true(bm_rd_eq(bm_rd_of(back, n), r));
    }
}

static void object_identifier_text_refused(void **state)
{
    static const char *const rows[] = {
        "",           "1",
        "commonName", "CN",
        "1.2.",       "3.1",
        "1.40.1",     "1.2.a",
        " 1.2.3",     "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.19.20.21.22.23.24.25.26.27.28.29.30.31.32.33.34.35"
    };
    uint8_t der[32];
    size_t n;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        assert_false(bm_der_oid_of_text(rows[i], der, &n));
}

static void times(void **state)
{
    static const struct {
        uint8_t tag;
        const char *text;
        bool ok;
        int64_t want;
    } rows[] = {
        { BM_DER_UTC_TIME, "700101000000Z", true, 0 },
        { BM_DER_UTC_TIME, "500101000000Z", true, -631152000 },
        { BM_DER_UTC_TIME, "491231235959Z", true, 2524607999 },
        { BM_DER_UTC_TIME, "240229120000Z", true, 1709208000 },
        { BM_DER_GENERALIZED_TIME, "20500101000000Z", true, 2524608000 },
        { BM_DER_GENERALIZED_TIME, "20470124160000Z", true, 2431958400 }, /* Microchip's: before 2050 and still not UTCTime */
        { BM_DER_GENERALIZED_TIME, "99991231235959Z", true, INT64_MAX },
        { BM_DER_GENERALIZED_TIME, "99991231235958Z", true, 253402300798 },
        { BM_DER_UTC_TIME, "230229120000Z", false, 0 },
        { BM_DER_UTC_TIME, "231301000000Z", false, 0 },
        { BM_DER_UTC_TIME, "230001000000Z", false, 0 },
        { BM_DER_UTC_TIME, "230100000000Z", false, 0 },
        { BM_DER_UTC_TIME, "230101240000Z", false, 0 },
        { BM_DER_UTC_TIME, "230101006000Z", false, 0 },
        { BM_DER_UTC_TIME, "230101000060Z", false, 0 },
        { BM_DER_UTC_TIME, "2301010000Z", false, 0 },
        { BM_DER_UTC_TIME, "230101000000", false, 0 },
        { BM_DER_UTC_TIME, "230101000000+0000", false, 0 },
        { BM_DER_UTC_TIME, "23010100000 Z", false, 0 },
        { BM_DER_UTC_TIME, "20230101000000Z", false, 0 },
        { BM_DER_GENERALIZED_TIME, "20500101000000.5Z", false, 0 },
        { BM_DER_GENERALIZED_TIME, "20500101000000", false, 0 },
        { BM_DER_GENERALIZED_TIME, "500101000000Z", false, 0 },
        { BM_DER_PRINTABLE, "230101000000Z", false, 0 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t room[32];
        struct bm_derw w = bm_derw_of(room, sizeof room);
        struct bm_rd r;
        int64_t at = 7;

        bm_derw_tlv(&w, rows[i].tag, bm_rd_str(rows[i].text));
        r = bm_derw_rd(&w);
        assert_int_equal(bm_der_time(&r, &at), rows[i].ok);
        assert_int_equal(at, rows[i].ok ? rows[i].want : 7);
    }
}

/* Against the library's calendar, over 130 years in uneven steps and around each turn of a year. */
static void times_written(void **state)
{
    (void)state;
    for (int64_t at = -631152000; at < 3500000000; at += 12345679) {
        uint8_t room[32];
        struct bm_derw w = bm_derw_of(room, sizeof room);
        ASN1_TIME *t = ASN1_TIME_set(NULL, at);
        struct bm_rd r;
        int64_t back;

        bm_derw_time(&w, at);
        r = bm_derw_rd(&w);
        assert_false(w.bad);
        assert_int_equal(r.p[0], at < 2524608000 ? BM_DER_UTC_TIME : BM_DER_GENERALIZED_TIME);
        assert_memory_equal(r.p + 2, ASN1_STRING_get0_data(t), (size_t)ASN1_STRING_length(t));
        assert_true(bm_der_time(&r, &back));
        assert_int_equal(back, at);
        ASN1_TIME_free(t);
    }
}

static void writer_is_sticky(void **state)
{
    uint8_t room[4];
    struct bm_derw w = bm_derw_of(room, sizeof room);

    (void)state;
    bm_derw_tlv(&w, BM_DER_OCTET_STRING, bm_rd_str("abc"));
    assert_true(w.bad);
    bm_derw_byte(&w, 1);
    assert_true(w.bad);
    w = bm_derw_of(room, sizeof room);
    bm_derw_time(&w, 0);
    assert_true(w.bad);
    w = bm_derw_of(room, sizeof room);
    bm_derw_unsigned(&w, bm_rd_of("\0\0\x80", 3));
    assert_false(w.bad);
    assert_memory_equal(room, "\x02\x02\x00\x80", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements),    cmocka_unit_test(long_lengths),       cmocka_unit_test(integers),
        cmocka_unit_test(bit_strings), cmocka_unit_test(object_identifiers), cmocka_unit_test(object_identifier_text_refused),
        cmocka_unit_test(times),       cmocka_unit_test(times_written),      cmocka_unit_test(writer_is_sticky),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
