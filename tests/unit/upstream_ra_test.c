/* keeper/upstream_ra.h: who may speak for an upstream CA. Breaks when a CA that was allowed none below it makes itself one, and with it somebody who ends
 * requests and revocations in the upstream CA's name. */
#include "keeper_fixture.h"

#include "base/clock.h"
#include "keeper/upstream_ra.h"

enum { ROOT, MIDDLE, BELOW, SPEAKER, PARTIES };
static struct party party[PARTIES];

static void certify(struct party *p, const char *name, const struct party *by, const char *constraints, const char *purpose)
{
    X509 *x = X509_new();
    uint8_t *der = NULL;
    int n;

    snprintf(p->name, sizeof p->name, "%s", name);
    assert_true(x != NULL && X509_set_version(x, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(x), 4711) == 1);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const uint8_t *)p->name, -1, -1, 0);
    X509_NAME_add_entry_by_txt(X509_get_issuer_name(x), "CN", MBSTRING_UTF8, (const uint8_t *)by->name, -1, -1, 0);
    X509_gmtime_adj(X509_getm_notBefore(x), -86400);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    assert_int_equal(X509_set_pubkey(x, p->evp), 1);
    add_extension(x, NID_basic_constraints, constraints);
    if (strstr(constraints, "TRUE") != NULL)
        add_extension(x, NID_key_usage, "critical,keyCertSign,cRLSign");
    if (purpose != NULL)
        add_extension(x, NID_ext_key_usage, purpose);
    assert_true(X509_sign(x, by->evp, EVP_sha256()) > 0);
    n = i2d_X509(x, &der);
    assert_true(n > 0);
    p->cert.n = 0;
    p->cert.max = BM_CERT_MAX;
    bm_buf_put(&p->cert, der, (size_t)n);
    OPENSSL_free(der);
    X509_free(x);
}

#define CMC_RA "1.3.6.1.5.5.7.3.28"
#define CA "critical,CA:TRUE"
#define NO_CA "critical,CA:FALSE"

/* What each may have below it, and what the speaker says of itself. below NULL: the speaker is right under `middle`. */
static const struct {
    const char *name, *root, *middle, *below, *speaker, *purpose;
    enum bm_rc want;
} rows[] = {
    { "two CAs between, and no bound", CA, CA, CA, NO_CA, CMC_RA, BM_OK },
    { "two CAs between, as many as the root allows", CA ",pathlen:2", CA, CA, NO_CA, CMC_RA, BM_OK },
    { "one more than the root allows", CA ",pathlen:1", CA, CA, NO_CA, CMC_RA, BM_DENIED },
    { "none below the middle one, and one is", CA, CA ",pathlen:0", CA, NO_CA, CMC_RA, BM_DENIED },
    { "one below the middle one", CA, CA ",pathlen:1", CA, NO_CA, CMC_RA, BM_OK },
    { "none below the root, and one is", CA ",pathlen:0", CA, NULL, NO_CA, CMC_RA, BM_DENIED },
    { "none below the middle one, and none is", CA ",pathlen:1", CA ",pathlen:0", NULL, NO_CA, CMC_RA, BM_OK },
    { "a CA that may not be one", CA, CA ",pathlen:0", NULL, CA, NULL, BM_DENIED },
    { "a CA", CA, CA, NULL, CA, NULL, BM_OK },
    { "a device", CA, CA, NULL, NO_CA, "clientAuth", BM_DENIED },
    { "under one that is no CA", CA, NO_CA, NULL, NO_CA, CMC_RA, BM_DENIED },
};

static void path_length_counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_upstream_done) struct bm_upstream u = { .trust = { .max = 65536 } };
        struct bm_rd pool[2];
        struct bm_cert cert;
        size_t n = 0;

        certify(&party[ROOT], "root", &party[ROOT], rows[i].root, NULL);
        certify(&party[MIDDLE], "middle", &party[ROOT], rows[i].middle, NULL);
        pool[n++] = bm_buf_rd(&party[MIDDLE].cert);
        if (rows[i].below != NULL) {
            certify(&party[BELOW], "below", &party[MIDDLE], rows[i].below, NULL);
            pool[n++] = bm_buf_rd(&party[BELOW].cert);
        }
        certify(&party[SPEAKER], "speaker", &party[rows[i].below != NULL ? BELOW : MIDDLE], rows[i].speaker, rows[i].purpose);
        bm_pem_write(&u.trust, "CERTIFICATE", bm_buf_rd(&party[ROOT].cert));
        assert_ok(bm_cert_parse(bm_buf_rd(&party[SPEAKER].cert), &cert, &err));
        err = (struct bm_error){ 0 };
        if (bm_upstream_speaker_check(&u, &cert, pool, n, bm_clock_s(), &err) != rows[i].want)
            fail_msg("%s: %s %s", rows[i].name, bm_rc_name(err.rc), err.what);
        if (rows[i].want == BM_DENIED)
            assert_string_equal(err.code, "upstream-untrusted");
    }
}

static int begin(void **state)
{
    (void)state;
    for (size_t i = 0; i < PARTIES; i++)
        party_keys(&party[i], "P-256");
    snprintf(party[ROOT].name, sizeof party[ROOT].name, "root");
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (size_t i = 0; i < PARTIES; i++)
        party_done(&party[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(path_length_counts) };

    return cmocka_run_group_tests(tests, begin, end);
}
