#include "pki_help.h"

#include <openssl/cms.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>

static struct made certs[3];
static struct bm_key *key;

static int setup(void **state)
{
    (void)state;
    key = key_new("EC", "P-256");
    for (size_t i = 0; i < BM_COUNT(certs); i++)
        issue(&certs[i], i == 0 ? "root-ca" : "ldevid", key, i == 0 ? NULL : &certs[0], key);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(certs); i++)
        made_done(&certs[i]);
    bm_key_free(key);
    return 0;
}

static bool among(const struct bm_rd *list, size_t n, struct bm_rd der)
{
    for (size_t i = 0; i < n; i++)
        if (bm_rd_eq(list[i], der))
            return true;
    return false;
}

/* X.690 section 11.6; clients that are strict about it refuse anything else. */
static bool in_order(struct bm_rd a, struct bm_rd b)
{
    int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);

    return order < 0 || (order == 0 && a.n <= b.n);
}

/* The library finds the same certificates in it by both of its parsers, in the order that DER wants, and no byte is left over. */
static void in_the_library(void **state)
{
    struct bm_rd list[BM_COUNT(certs)];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(certs); i++)
        list[i] = certs[i].cert.whole;
    for (size_t n = 0; n <= BM_COUNT(certs); n++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = 65536 };
        const uint8_t *p, *q;
        STACK_OF(X509) * found;
        CMS_ContentInfo *cms;
        PKCS7 *p7;

        assert_ok(bm_cms_certs(list, n, &der, &err));
        p = q = der.p;
        p7 = d2i_PKCS7(NULL, &p, (long)der.n);
        cms = d2i_CMS_ContentInfo(NULL, &q, (long)der.n);
        assert_true(p7 != NULL && cms != NULL && p == der.p + der.n && q == p);
        assert_true(PKCS7_type_is_signed(p7));
        found = p7->d.sign->cert;
        assert_int_equal(found != NULL ? sk_X509_num(found) : 0, n);
        for (size_t i = 0; i < n; i++) {
            uint8_t *back = NULL, *next = NULL;
            int len = i2d_X509(sk_X509_value(found, (int)i), &back);
            int next_len = i + 1 < n ? i2d_X509(sk_X509_value(found, (int)i + 1), &next) : 0;

            assert_true(among(list, n, bm_rd_of(back, (size_t)len)));
            assert_true(next == NULL || in_order(bm_rd_of(back, (size_t)len), bm_rd_of(next, (size_t)next_len)));
            OPENSSL_free(back);
            OPENSSL_free(next);
        }
        CMS_ContentInfo_free(cms);
        PKCS7_free(p7);
    }
}

static void refused(void **state)
{
    struct bm_rd list[] = { certs[0].cert.whole, bm_rd_str("no DER") };
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = 65536 }, small = { .max = 100 };

    (void)state;
    assert_int_equal(bm_cms_certs(list, 2, &der, &err), BM_MALFORMED);
    assert_int_equal(der.n, 0);
    assert_int_equal(bm_cms_certs(list, 1, &small, &err), BM_LIMIT);
}

/* --- PEM -------------------------------------------------------------------------------------------------------------------------------- */
struct seen {
    size_t n;
    enum bm_rc answer;
};

static enum bm_rc see(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct seen *s = arg;

    assert_true(s->n < BM_COUNT(certs) && bm_rd_eq(der, certs[s->n].cert.whole));
    s->n++;
    return s->answer == BM_OK ? BM_OK : bm_fail(e, s->answer, "enough");
}

static void pem_there_and_back(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 65536 };
    struct seen all = { 0, BM_OK }, stop = { 0, BM_CONFLICT }, none = { 0, BM_OK };
    BIO *in;
    X509 *x;

    (void)state;
    bm_buf_str(&text, "words before\n");
    for (size_t i = 0; i < BM_COUNT(certs); i++) {
        bm_pem_write(&text, "CERTIFICATE", certs[i].cert.whole);
        bm_pem_write(&text, "SOMETHING ELSE", bm_rd_str("x"));
    }
    assert_ok(bm_pem_parse(bm_buf_rd(&text), "CERTIFICATE", see, &all, &err));
    assert_int_equal(all.n, BM_COUNT(certs));
    assert_int_equal(bm_pem_parse(bm_buf_rd(&text), "CERTIFICATE", see, &stop, &err), BM_CONFLICT);
    assert_int_equal(stop.n, 1);
    assert_ok(bm_pem_parse(bm_rd_of(NULL, 0), "CERTIFICATE", see, &none, &err));
    in = BIO_new_mem_buf(text.p, (int)text.n);
    x = PEM_read_bio_X509(in, NULL, NULL, NULL);
    assert_non_null(x);
    X509_free(x);
    BIO_free(in);
}

static void pem_refused(void **state)
{
    static const char *const rows[] = {
        "-----BEGIN CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nMAA=\n",
        "-----BEGIN CERTIFICATE-----\nMA!=\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END OTHER-----\n",
        "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMAA=\n-----END CERTIFICATE-----\n",
    };
    struct seen s = { BM_COUNT(certs), BM_OK };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        assert_int_equal(bm_pem_parse(bm_rd_str(rows[i]), "CERTIFICATE", see, &s, &err), BM_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(in_the_library), cmocka_unit_test(refused),
                                        cmocka_unit_test(pem_there_and_back), cmocka_unit_test(pem_refused) };

    return cmocka_run_group_tests(tests, setup, teardown);
}
