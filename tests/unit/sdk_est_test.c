/* EST in the SDK: base64 in all its wrappings, and certs-only CMS as OpenSSL writes it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sdk_help.h"

#include <openssl/cms.h>
#include <openssl/x509.h>

static void base64_rows(void **state)
{
    static const struct {
        const char *in, *want; /* NULL: refused */
    } cases[] = {
        { "", "" },
        { "Zg==", "f" },
        { "Zm8=", "fo" },
        { "Zm9v", "foo" },
        { "Zm9v\r\nYmFy\r\n", "foobar" },
        { " Z m 9 v ", "foo" },
        { "Zg=", NULL },
        { "Zg", NULL },
        { "Z", NULL },
        { "Zg===", NULL },
        { "=", NULL },
        { "====", NULL },
        { "Zm9v=", NULL },
        { "Zh==", NULL },
        { "Zm9=", NULL },
        { "Zg==Zg==", NULL },
        { "Zm9-", NULL },
        { "Zm9v!", NULL },
        { "Z\0==", NULL },
        { "Zg=g", NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t out[16];
        size_t n = 0;
        enum bmd_rc rc = bmd_unbase64(bmd_rd_str(cases[i].in), out, sizeof out, &n);

        if (cases[i].want == NULL ? rc != BMD_MALFORMED : rc != BMD_OK || !bmd_rd_is(bmd_rd_of(out, n), cases[i].want))
            fail_msg("'%s': %s", cases[i].in, bmd_rc_name(rc));
    }
}

static void base64_round(void **state)
{
    uint8_t in[100], text[160], out[100];

    (void)state;
    for (size_t n = 0; n <= sizeof in; n++) {
        struct bmd_wr w = bmd_wr_of(text, sizeof text);
        size_t len = 0;

        assert_int_equal(RAND_bytes(in, sizeof in), 1);
        bmd_base64(&w, bmd_rd_of(in, n));
        assert_false(w.bad);
        if (n != 0)
            assert_int_equal(bmd_unbase64(bmd_wr_rd(&w), out, n - 1, &len), BMD_BUFFER_TOO_SMALL);
        assert_int_equal(bmd_unbase64(bmd_wr_rd(&w), text, sizeof text, &len), BMD_OK); /* in place */
        assert_int_equal(len, n);
        assert_memory_equal(text, in, n);
    }
}

static void paths(void **state)
{
    char path[BMD_HTTP_PATH_MAX], label[200];

    (void)state;
    assert_int_equal(bmd_est_path(BMD_EST_ENROL, "", path), BMD_OK);
    assert_string_equal(path, "/.well-known/est/simpleenroll");
    assert_int_equal(bmd_est_path(BMD_EST_REENROL, "telemetry", path), BMD_OK);
    assert_string_equal(path, "/.well-known/est/telemetry/simplereenroll");
    assert_int_equal(bmd_est_path(BMD_EST_OPS, "", path), BMD_BAD_ARGUMENT);
    memset(label, 'x', sizeof label - 1);
    label[sizeof label - 1] = '\0';
    assert_int_equal(bmd_est_path(BMD_EST_CACERTS, label, path), BMD_BUFFER_TOO_SMALL);
}

/* --- certificates ---------------------------------------------------------------------------------------------------------------------- */

static X509 *certificate(struct sdk_device *d, const char *cn)
{
    uint8_t room[BMD_IDEVID_MAX];
    struct bmd_rd der;
    const uint8_t *p;

    assert_int_equal(bmd_idevid_cert(&d->signer, cn, room, sizeof room, &der), BMD_OK);
    p = der.p;
    return d2i_X509(NULL, &p, (long)der.n);
}

/* A degenerate SignedData with n certificates, the device's own one last. */
static struct bmd_rd cms_of(struct sdk_device *own, size_t n, uint8_t *room)
{
    STACK_OF(X509) *certs = sk_X509_new_null();
    CMS_ContentInfo *cms;
    uint8_t *p = room;
    int len;

    for (size_t i = 0; i + 1 < n; i++) {
        struct sdk_device other;

        sdk_device_init(&other, BMD_P256);
        sk_X509_push(certs, certificate(&other, "a CA"));
        sdk_device_done(&other);
    }
    if (n != 0)
        sk_X509_push(certs, certificate(own, "me"));
    cms = CMS_sign(NULL, NULL, certs, NULL, CMS_PARTIAL | CMS_BINARY);
    assert_non_null(cms);
    CMS_set_detached(cms, 1);
    len = i2d_CMS_ContentInfo(cms, &p);
    assert_true(len > 0 && len < 16 * 1024);
    CMS_ContentInfo_free(cms);
    sk_X509_pop_free(certs, X509_free);
    return bmd_rd_of(room, (size_t)len);
}

static bool accepts_cms(struct bmd_rd in)
{
    struct bmd_est_certs c;

    return bmd_est_certs_read(in, &c) == BMD_OK;
}

static void cms_good(void **state)
{
    static uint8_t room[16 * 1024];
    struct sdk_device own, other;
    struct bmd_est_certs c;
    uint8_t spki[BMD_SPKI_MAX];
    struct bmd_cert cert;
    struct bmd_rd in;
    size_t n = 0;

    (void)state;
    sdk_device_init(&own, BMD_P256);
    sdk_device_init(&other, BMD_P256);
    in = cms_of(&own, 3, room);
    assert_int_equal(bmd_est_certs_read(in, &c), BMD_OK);
    assert_int_equal(c.n, 3);
    assert_int_equal(bmd_spki(BMD_P256, bmd_rd_of(own.signer.point, own.signer.point_len), spki, sizeof spki, &n), BMD_OK);
    assert_int_equal(bmd_est_own_first(&c, bmd_rd_of(spki, n)), BMD_OK);
    assert_int_equal(bmd_cert_read(c.certs[0], &cert), BMD_OK);
    assert_true(bmd_rd_eq(cert.spki, bmd_rd_of(spki, n)));
    assert_int_equal(bmd_spki(BMD_P256, bmd_rd_of(other.signer.point, other.signer.point_len), spki, sizeof spki, &n), BMD_OK);
    assert_int_equal(bmd_est_own_first(&c, bmd_rd_of(spki, n)), BMD_NOT_FOUND);
    sdk_prefixes(in, accepts_cms);
    room[in.n] = 0;
    assert_int_equal(bmd_est_certs_read(bmd_rd_of(room, in.n + 1), &c), BMD_MALFORMED);
    sdk_device_done(&other);
    sdk_device_done(&own);
}

static void cms_limits(void **state)
{
    static uint8_t room[16 * 1024];
    struct sdk_device own;
    struct bmd_est_certs c;

    (void)state;
    sdk_device_init(&own, BMD_P256);
    assert_int_equal(bmd_est_certs_read(cms_of(&own, BMD_EST_CERTS_MAX, room), &c), BMD_OK);
    assert_int_equal(bmd_est_certs_read(cms_of(&own, BMD_EST_CERTS_MAX + 1, room), &c), BMD_NO_SPACE);
    assert_int_equal(bmd_est_certs_read(cms_of(&own, 0, room), &c), BMD_MALFORMED);
    sdk_device_done(&own);
}

static void cms_refusals(void **state)
{
    static uint8_t room[16 * 1024];
    static const char *const hex[] = {
        "30 00",                                            /* nothing in it */
        "30 80 06 09 2a864886f70d010702 a0 80 00 00 00 00", /* BER */
        "30 0b 06 09 2a864886f70d010702",                   /* no content */
        "30 0f 06 09 2a864886f70d010701 a0 02 04 00",       /* data, not signedData */
        "30 0f 06 09 2a864886f70d010702 a0 02 30 00",       /* empty SignedData */
        "02 01 00",
    };
    struct sdk_device own;
    struct bmd_est_certs c;
    struct bmd_rd in;

    (void)state;
    for (size_t i = 0; i < sizeof hex / sizeof hex[0]; i++) {
        uint8_t raw[64];

        assert_int_equal(bmd_est_certs_read(bmd_rd_of(raw, sdk_unhex(hex[i], raw, sizeof raw)), &c), BMD_MALFORMED);
    }
    sdk_device_init(&own, BMD_P256); /* every changed byte: never a crash, never a read outside */
    in = cms_of(&own, 1, room);
    for (size_t i = 0; i < in.n; i++) {
        uint8_t *copy = malloc(in.n);

        memcpy(copy, in.p, in.n);
        copy[i] ^= 0x81;
        if (bmd_est_certs_read(bmd_rd_of(copy, in.n), &c) == BMD_OK)
            for (size_t k = 0; k < c.n; k++)
                assert_true(c.certs[k].p >= copy && c.certs[k].p + c.certs[k].n <= copy + in.n);
        free(copy);
    }
    sdk_device_done(&own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_rows), cmocka_unit_test(base64_round), cmocka_unit_test(paths),
        cmocka_unit_test(cms_good),    cmocka_unit_test(cms_limits),   cmocka_unit_test(cms_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
