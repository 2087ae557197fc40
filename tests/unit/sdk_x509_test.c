/* The SDK's DER, CSR and certificates, held against OpenSSL. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sdk_help.h"

#include <openssl/sha.h>
#include <openssl/x509.h>

static const enum bmd_alg algs[] = { BMD_P256, BMD_P384 };

/* --- elements ------------------------------------------------------------------------------------------------------------------------ */

static void der_elements(void **state)
{
    static const struct {
        const char *name, *hex;
        bool want;
    } cases[] = {
        { "empty sequence", "30 00", true },
        { "one long octet", "30 80", false },
        { "length not the shortest", "30 81 01 00", false },
        { "length with a leading zero", "30 82 00 80", false },
        { "four length octets", "30 84 00 00 00 01 00", false },
        { "past the end", "30 02 05", false },
        { "multi-byte tag", "3f 81 00 00", false },
        { "tag alone", "30", false },
        { "nothing", "", false },
        { "reserved length", "30 ff", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t in[16], tag;
        struct bmd_rd r = bmd_rd_of(in, sdk_unhex(cases[i].hex, in, sizeof in)), was = r, v;

        if (bmd_der_any(&r, &tag, &v, NULL) != cases[i].want)
            fail_msg("%s", cases[i].name);
        if (!cases[i].want)
            assert_true(r.p == was.p && r.n == was.n); /* a failed read moves nothing */
    }
}

static void der_lengths(void **state)
{
    static const size_t lengths[] = { 0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff };
    static uint8_t room[0x10010], content[0xffff];

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct bmd_der d = bmd_der_of(room, sizeof room);
        struct bmd_rd r, v;

        bmd_der_tlv(&d, BMD_DER_OCTET_STRING, bmd_rd_of(content, lengths[i]));
        assert_false(d.bad);
        r = bmd_der_rd(&d, d.cap);
        assert_true(bmd_der_take(&r, BMD_DER_OCTET_STRING, &v, NULL));
        assert_int_equal(v.n, lengths[i]);
        assert_int_equal(r.n, 0);
    }
}

static void writers_stay_bad(void **state)
{
    uint8_t room[3];
    struct bmd_der d = bmd_der_of(room, sizeof room);

    (void)state;
    bmd_der_tlv(&d, BMD_DER_OCTET_STRING, bmd_rd_of("abcd", 4));
    assert_true(d.bad);
    bmd_der_put(&d, "", 1);
    assert_true(d.bad);
}

/* --- signatures ---------------------------------------------------------------------------------------------------------------------- */

static void sig_rows(void **state)
{
    static const struct {
        const char *name, *hex;
        size_t half;
        enum bmd_rc want;
    } cases[] = {
        { "smallest", "30 06 02 01 01 02 01 02", 2, BMD_OK },
        { "top bit padded", "30 08 02 02 00 80 02 02 00 ff", 1, BMD_OK },
        { "negative r", "30 06 02 01 80 02 01 02", 2, BMD_MALFORMED },
        { "padding not needed", "30 07 02 02 00 01 02 01 02", 2, BMD_MALFORMED },
        { "r too long", "30 08 02 03 01 00 00 02 01 02", 2, BMD_MALFORMED },
        { "empty r", "30 05 02 00 02 01 02", 2, BMD_MALFORMED },
        { "only r", "30 03 02 01 01", 2, BMD_MALFORMED },
        { "three numbers", "30 09 02 01 01 02 01 01 02 01 01", 2, BMD_MALFORMED },
        { "left over", "30 06 02 01 01 02 01 02 00", 2, BMD_MALFORMED },
        { "not a sequence", "31 06 02 01 01 02 01 02", 2, BMD_MALFORMED },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t in[32], raw[8], again[16];
        size_t n = sdk_unhex(cases[i].hex, in, sizeof in), raw_len = 0, again_len = 0;

        if (bmd_sig_from_der(bmd_rd_of(in, n), cases[i].half, raw, sizeof raw, &raw_len) != cases[i].want)
            fail_msg("%s", cases[i].name);
        if (cases[i].want != BMD_OK)
            continue;
        assert_int_equal(bmd_sig_to_der(bmd_rd_of(raw, raw_len), again, sizeof again, &again_len), BMD_OK);
        assert_int_equal(again_len, n);
        assert_memory_equal(again, in, n);
    }
}

static void sig_arguments(void **state)
{
    uint8_t raw[100] = { 1 }, out[4];
    size_t n = 0;

    (void)state;
    assert_int_equal(bmd_sig_to_der(bmd_rd_of(raw, 0), out, sizeof out, &n), BMD_BAD_ARGUMENT);
    assert_int_equal(bmd_sig_to_der(bmd_rd_of(raw, 63), out, sizeof out, &n), BMD_BAD_ARGUMENT);
    assert_int_equal(bmd_sig_to_der(bmd_rd_of(raw, 98), out, sizeof out, &n), BMD_BAD_ARGUMENT);
    assert_int_equal(bmd_sig_to_der(bmd_rd_of(raw, 64), out, sizeof out, &n), BMD_BUFFER_TOO_SMALL);
}

/* --- requests and certificates --------------------------------------------------------------------------------------------------------- */

static void csr_verifies(void **state)
{
    static const char *const names[] = { "", "device 7", "0123456789012345678901234567890123456789012345678901234567890123" };

    (void)state;
    for (size_t a = 0; a < 2; a++) {
        for (size_t i = 0; i < 3; i++) {
            struct sdk_device d;
            uint8_t room[BMD_CSR_MAX], *back = NULL;
            struct bmd_rd csr, spki;
            const uint8_t *p;
            X509_REQ *req;
            EVP_PKEY *key;

            sdk_device_init(&d, algs[a]);
            assert_int_equal(bmd_csr(&d.signer, names[i], room, sizeof room, &csr), BMD_OK);
            p = csr.p;
            req = d2i_X509_REQ(NULL, &p, (long)csr.n);
            assert_non_null(req);
            assert_ptr_equal(p, csr.p + csr.n);
            key = X509_REQ_get_pubkey(req);
            assert_int_equal(X509_REQ_verify(req, key), 1);
            assert_int_equal(X509_NAME_entry_count(X509_REQ_get_subject_name(req)), names[i][0] != '\0');
            assert_int_equal(i2d_X509_REQ(req, &back), (int)csr.n); /* DER to the byte */
            assert_memory_equal(back, csr.p, csr.n);
            assert_int_equal(bmd_csr_spki(csr, &spki), BMD_OK);
            OPENSSL_free(back);
            EVP_PKEY_free(key);
            X509_REQ_free(req);
            sdk_device_done(&d);
        }
    }
}

static bool accepts_csr(struct bmd_rd in)
{
    struct bmd_rd spki;

    return bmd_csr_spki(in, &spki) == BMD_OK;
}

static bool accepts_cert(struct bmd_rd in)
{
    struct bmd_cert c;

    return bmd_cert_read(in, &c) == BMD_OK;
}

static void idevid_verifies(void **state)
{
    (void)state;
    for (size_t a = 0; a < 2; a++) {
        struct sdk_device d;
        uint8_t room[BMD_IDEVID_MAX], udid[BMD_UDID_LEN], hash[32];
        struct bmd_rd der;
        struct bmd_cert c;
        const uint8_t *p;
        X509 *x;

        sdk_device_init(&d, algs[a]);
        assert_int_equal(bmd_idevid_cert(&d.signer, "test device", room, sizeof room, &der), BMD_OK);
        p = der.p;
        x = d2i_X509(NULL, &p, (long)der.n);
        assert_non_null(x);
        assert_int_equal(X509_verify(x, d.ctx.key), 1);
        assert_int_equal(X509_self_signed(x, 1), 1);
        assert_int_equal(bmd_cert_read(der, &c), BMD_OK);
        assert_int_equal(c.not_before, 0);
        assert_true(c.not_after == 253402300799); /* 9999-12-31T23:59:59Z */
        assert_true(bmd_rd_eq(c.issuer, c.subject));
        assert_int_equal(bmd_udid(&d.signer, udid), BMD_OK);
        SHA256(c.spki.p, c.spki.n, hash);
        assert_memory_equal(udid, hash, sizeof hash);
        sdk_prefixes(der, accepts_cert);
        X509_free(x);
        sdk_device_done(&d);
    }
}

static void csr_refusals(void **state)
{
    struct sdk_device d;
    uint8_t room[BMD_CSR_MAX], long_name[BMD_SUBJECT_MAX + 1] = { 0x30 };
    struct bmd_rd csr;
    char cn[BMD_CN_MAX + 2];

    (void)state;
    sdk_device_init(&d, BMD_P256);
    memset(cn, 'x', sizeof cn - 1);
    cn[sizeof cn - 1] = '\0';
    assert_int_equal(bmd_csr(&d.signer, cn, room, sizeof room, &csr), BMD_BAD_ARGUMENT);
    assert_int_equal(bmd_csr_as(&d.signer, bmd_rd_of(long_name, sizeof long_name), room, sizeof room, &csr), BMD_BAD_ARGUMENT);
    assert_int_equal(bmd_csr(&d.signer, "", room, 64, &csr), BMD_BUFFER_TOO_SMALL);
    assert_int_equal(bmd_csr(&d.signer, "", room, sizeof room, &csr), BMD_OK);
    sdk_prefixes(csr, accepts_csr);
    sdk_device_done(&d);
}

static void csr_takes_over_a_subject(void **state)
{
    struct sdk_device d;
    uint8_t one[BMD_IDEVID_MAX], two[BMD_CSR_MAX];
    struct bmd_rd der, csr;
    struct bmd_cert c;
    const uint8_t *p;
    uint8_t *name = NULL;
    X509_REQ *req;

    (void)state;
    sdk_device_init(&d, BMD_P256);
    assert_int_equal(bmd_idevid_cert(&d.signer, "who I am", one, sizeof one, &der), BMD_OK);
    assert_int_equal(bmd_cert_read(der, &c), BMD_OK);
    assert_int_equal(bmd_csr_as(&d.signer, c.subject, two, sizeof two, &csr), BMD_OK);
    p = csr.p;
    req = d2i_X509_REQ(NULL, &p, (long)csr.n);
    assert_non_null(req);
    assert_int_equal(i2d_X509_NAME(X509_REQ_get_subject_name(req), &name), (int)c.subject.n);
    assert_memory_equal(name, c.subject.p, c.subject.n);
    OPENSSL_free(name);
    X509_REQ_free(req);
    sdk_device_done(&d);
}

/* Dates, in a certificate of one byte fields. */
static void dates(void **state)
{
    static const struct {
        const char *from, *until;
        enum bmd_rc want;
        int64_t not_before, not_after;
    } cases[] = {
        { "17 0d 3730303130313030303030305a", "18 0f 32303530303130313030303030305a", BMD_OK, 0, 2524608000 },
        { "17 0d 3439313233313233353935395a", "17 0d 3530303130313030303030305a", BMD_OK, 2524607999, -631152000 },
        { "18 0f 32303234303232393132303030305a", "17 0d 3730303130313030303030305a", BMD_OK, 1709208000, 0 },
        { "17 0d 3730313330313030303030305a", "17 0d 3730303130313030303030305a", BMD_MALFORMED, 0, 0 }, /* month 13 */
        { "17 0d 3730303130313234303030305a", "17 0d 3730303130313030303030305a", BMD_MALFORMED, 0, 0 }, /* hour 24 */
        { "17 0d 37303031303130303030303030", "17 0d 3730303130313030303030305a", BMD_MALFORMED, 0, 0 }, /* no Z */
        { "17 0b 373030313031303030305a", "17 0d 3730303130313030303030305a", BMD_MALFORMED, 0, 0 },     /* no seconds */
        { "17 0d 3730303130313030303030785a", "17 0d 3730303130313030303030305a", BMD_MALFORMED, 0, 0 }, /* a letter */
        { "16 0d 3730303130313030303030305a", "17 0d 3730303130313030303030305a", BMD_MALFORMED, 0, 0 }, /* text */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t room[256], t[64];
        struct bmd_der d = bmd_der_of(room, sizeof room);
        struct bmd_cert c;
        size_t mark, n;

        bmd_der_tlv(&d, BMD_DER_BIT_STRING, bmd_rd_of("", 1));
        bmd_der_tlv(&d, BMD_DER_SEQUENCE, bmd_rd_of("", 0));
        mark = d.at;
        bmd_der_tlv(&d, BMD_DER_SEQUENCE, bmd_rd_of("", 0));
        bmd_der_tlv(&d, BMD_DER_SEQUENCE, bmd_rd_of("", 0));
        n = d.at;
        bmd_der_put(&d, t, sdk_unhex(cases[i].until, t, sizeof t));
        bmd_der_put(&d, t, sdk_unhex(cases[i].from, t, sizeof t));
        bmd_der_wrap(&d, BMD_DER_SEQUENCE, n);
        bmd_der_tlv(&d, BMD_DER_SEQUENCE, bmd_rd_of("", 0));
        bmd_der_tlv(&d, BMD_DER_SEQUENCE, bmd_rd_of("", 0));
        bmd_der_uint(&d, bmd_rd_of("\x01", 1));
        bmd_der_wrap(&d, BMD_DER_SEQUENCE, mark);
        bmd_der_wrap(&d, BMD_DER_SEQUENCE, d.cap);
        if (bmd_cert_read(bmd_der_rd(&d, d.cap), &c) != cases[i].want)
            fail_msg("row %zu", i);
        if (cases[i].want == BMD_OK)
            assert_true(c.not_before == cases[i].not_before && c.not_after == cases[i].not_after);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(der_elements),    cmocka_unit_test(der_lengths),   cmocka_unit_test(writers_stay_bad),
        cmocka_unit_test(sig_rows),        cmocka_unit_test(sig_arguments), cmocka_unit_test(csr_verifies),
        cmocka_unit_test(idevid_verifies), cmocka_unit_test(csr_refusals),  cmocka_unit_test(csr_takes_over_a_subject),
        cmocka_unit_test(dates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
