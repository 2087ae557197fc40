/* Others' revocation lists: what is taken, by whom it has to be signed, and how an entry is found. */
#include "pki_help.h"

#include "pki/crl.h"
#include "pki/crl_read.h"
#include "pki/impl.h"

/* --- lists put together piece by piece: bm_crl_parse() looks at no signature ---------------------------------------------------------- */
#define NUMBER                                                                                                                     \
    {                                                                                                                              \
        "\x55\x1d\x14", false, "02 01 05"                                                                                          \
    }
#define AKID                                                                                                                       \
    {                                                                                                                              \
        "\x55\x1d\x23", false, "30 06 80 04 01020304"                                                                              \
    }
#define POINT(value)                                                                                                               \
    {                                                                                                                              \
        "\x55\x1d\x1c", true, value                                                                                                \
    }
#define ENTRY                                                                                                                      \
    "02 01 07 170d"                                                                                                                \
    "323630393231303030303030"                                                                                                     \
    "5a" /* serial 7, revoked at 260921000000Z */
#define REASON(code) "30 0c 30 0a 06 03 551d15 04 03 0a 01 " code

/* What a row does not name is zero. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

struct row {
    const char *name;
    struct {
        const char *oid;
        bool critical;
        const char *value;
    } ext[4];
    const char *entries[3]; /* contents */
    uint64_t version;       /* 0: 1, as v2 is written */
    int dates;              /* how many of the two; 0: both */
    bool other_alg, left_over;
    size_t n; /* good: so many entries */
};

static void put_hex(struct bm_derw *w, const char *text)
{
    uint8_t room[512];

    bm_derw_put(w, hex(text, room, sizeof room));
}

static void put_extensions(struct bm_derw *w, const struct row *r)
{
    size_t all = bm_derw_mark(w);

    if (r->ext[0].oid == NULL)
        return;
    for (size_t i = BM_COUNT(r->ext); i-- > 0;) {
        size_t mark = bm_derw_mark(w);

        if (r->ext[i].oid == NULL)
            continue;
        put_hex(w, r->ext[i].value);
        bm_ext_end(w, mark, bm_rd_str(r->ext[i].oid), r->ext[i].critical);
    }
    bm_derw_end(w, all, BM_DER_SEQUENCE);
    bm_derw_end(w, all, BM_DER_CTX_CONS(0));
}

static void put_entries(struct bm_derw *w, const struct row *r)
{
    size_t all = bm_derw_mark(w);

    for (size_t i = BM_COUNT(r->entries); i-- > 0;) {
        size_t mark = bm_derw_mark(w);

        if (r->entries[i] == NULL)
            continue;
        put_hex(w, r->entries[i]);
        bm_derw_end(w, mark, BM_DER_SEQUENCE);
    }
    if (r->entries[0] != NULL)
        bm_derw_end(w, all, BM_DER_SEQUENCE);
}

static struct bm_rd build(const struct row *r, uint8_t *room, size_t cap)
{
    static const char alg[] = "30 0a 06 08 2a8648ce3d040302", other[] = "30 0a 06 08 2a8648ce3d040303";
    struct bm_derw w = bm_derw_of(room, cap);
    size_t tbs;

    if (r->left_over)
        bm_derw_uint(&w, 1);
    put_hex(&w, "03 05 00 01020304"); /* a signature of no worth */
    put_hex(&w, alg);
    tbs = bm_derw_mark(&w);
    put_extensions(&w, r);
    put_entries(&w, r);
    for (int i = 0; i < (r->dates != 0 ? r->dates : 2); i++)
        bm_derw_time(&w, NOW + 86400 * (i == 0 ? 30 : 0));
    put_hex(&w, "30 0c 31 0a 30 08 06 03 550403 0c 01 4d"); /* CN=M */
    put_hex(&w, r->other_alg ? other : alg);
    bm_derw_uint(&w, r->version != 0 ? r->version : 1);
    bm_derw_end(&w, tbs, BM_DER_SEQUENCE);
    bm_derw_end(&w, cap, BM_DER_SEQUENCE);
    assert_false(w.bad);
    return bm_derw_rd(&w);
}

static const struct row good[] = {
    { "none revoked", { NUMBER } },
    { "with a key identifier", { NUMBER, AKID } },
    { "two revoked", { NUMBER, AKID }, { ENTRY, ENTRY REASON("01") }, .n = 2 },
    { "every reason that counts", { NUMBER }, { ENTRY REASON("00"), ENTRY REASON("06"), ENTRY REASON("0a") }, .n = 3 },
    { "an entry says when it was lost",
      { NUMBER },
      { ENTRY "30 1a 30 18 06 03 551d18 04 11 180f 32303236303130313030303030305a" },
      .n = 1 },
    { "where it is to be found", { NUMBER, POINT("30 13 a0 11 a0 0f 86 0d 687474703a2f2f612e622f6372") } },
    { "of CAs only", { NUMBER, POINT("30 03 82 01 ff") } },
    { "a number of 20 bytes", { { "\x55\x1d\x14", false, "02 14 7f01020304050607080910111213141516171819" } } },
    { "an extension for others", { NUMBER, { "\x55\x1d\x2e", false, "30 00" } } },
};

static const struct row bad[] = {
    { "no extensions" },
    { "no number", { AKID } },
    { "number twice", { NUMBER, NUMBER } },
    { "number below zero", { { "\x55\x1d\x14", false, "02 01 ff" } } },
    { "number of 21 bytes", { { "\x55\x1d\x14", false, "02 15 7f0102030405060708091011121314151617181920" } } },
    { "number not minimal", { { "\x55\x1d\x14", false, "02 02 0005" } } },
    { "another version", { NUMBER }, .version = 7 },
    { "no nextUpdate", { NUMBER }, .dates = 1 },
    { "another algorithm inside", { NUMBER }, .other_alg = true },
    { "something after it", { NUMBER }, .left_over = true },
    { "a delta", { NUMBER, { "\x55\x1d\x1b", true, "02 01 04" } } },
    { "critical and unknown", { NUMBER, { "\x55\x1d\x2a", true, "05 00" } } },
    { "some reasons only", { NUMBER, POINT("30 04 83 02 01 40") } },
    { "indirect", { NUMBER, POINT("30 03 84 01 ff") } },
    { "attribute certificates", { NUMBER, POINT("30 03 85 01 ff") } },
    { "a FALSE that DER leaves out", { NUMBER, POINT("30 03 82 01 00") } },
    { "left over in the point", { NUMBER, POINT("30 06 82 01 ff 82 01 ff") } },
    { "entry of another's certificate", { NUMBER }, { ENTRY "30 0f 30 0d 06 03 551d1d 01 01 ff 04 03 0a 01 01" } },
    { "reason of a delta", { NUMBER }, { ENTRY REASON("08") } },
    { "reason not in use", { NUMBER }, { ENTRY REASON("07") } },
    { "reason over ten", { NUMBER }, { ENTRY REASON("0b") } },
    { "empty entry extensions", { NUMBER }, { ENTRY "30 00" } },
    { "entry without a date", { NUMBER }, { "02 01 07" } },
    { "entry with a serial of 22 bytes",
      { NUMBER },
      { "02 16 7f010203040506070809101112131415161718192021 170d 3236303932313030303030305a" } },
    { "the last of three is none", { NUMBER }, { ENTRY, ENTRY, "05 00" } },
};

/* Breaks when a list that this program must not use is used, or one that every CA writes is not. */
static void forms(void **state)
{
    uint8_t room[2048];
    struct bm_crl crl;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(good); i++) {
        struct bm_rd der = build(&good[i], room, sizeof room);
        struct bm_crl_entry entry;

        err = (struct bm_error){ 0 };
        if (bm_crl_parse(der, &crl, &err) != BM_OK)
            fail_msg("%s: %s", good[i].name, err.what);
        assert_int_equal(crl.n, good[i].n);
        assert_true(crl.this_update == NOW && crl.next_update == NOW + 30 * 86400);
        for (size_t n = 0; n < crl.n; n++)
            assert_true(bm_crl_next(&crl.entries, &entry) && entry.serial.n == 1 && entry.serial.p[0] == 7);
        assert_false(bm_crl_next(&crl.entries, &entry));
        for (size_t n = 0; n < der.n; n++) {
            uint8_t *cut = exact(bm_rd_of(der.p, n));

            assert_int_equal(bm_crl_parse(bm_rd_of(cut, n), &crl, &err), BM_MALFORMED);
            free(cut);
        }
    }
    for (size_t i = 0; i < BM_COUNT(bad); i++) {
        struct bm_rd der = build(&bad[i], room, sizeof room);
        uint8_t *copy = exact(der);

        if (bm_crl_parse(bm_rd_of(copy, der.n), &crl, &err) != BM_MALFORMED || strcmp(err.code, "bad-crl") != 0)
            fail_msg("%s: %s", bad[i].name, err.what);
        free(copy);
    }
}

/* --- lists that are signed -------------------------------------------------------------------------------------------------------------- */
struct ca {
    struct bm_key *key;
    struct made cert;
};

static void ca_open(struct ca *c)
{
    c->key = key_new("EC", "P-256");
    issue(&c->cert, "root-ca", c->key, NULL, c->key);
}

static void ca_done(struct ca *c)
{
    made_done(&c->cert);
    bm_key_free(c->key);
}

static void serial_of(uint32_t i, uint8_t ret[16])
{
    memset(ret, 0x41, 16);
    for (int b = 0; b < 4; b++)
        ret[12 + b] = (uint8_t)(i * 2654435761U >> (24 - 8 * b)); /* in no order */
}

static void sign_list(const struct ca *c, size_t n, struct bm_buf *ret, struct bm_crl *ret_crl)
{
    BM_CLEANUP(bm_crl_done) struct bm_crl_writer w = { 0 };
    const struct bm_crl_head h = {
        .key = c->key, .issuer = &c->cert.cert, .number = 9, .this_update = NOW, .next_update = NOW + 86400
    };
    uint8_t serial[16];

    for (size_t i = 0; i < n; i++) {
        serial_of((uint32_t)i, serial);
        assert_ok(bm_crl_add(&w, bm_rd_of(serial, 16), NOW - (int64_t)i, i % 2 == 0 ? 1 : 0, &err));
    }
    ret->max = BM_CRL_MAX;
    assert_ok(bm_crl_sign(&w, &h, ret, &err));
    assert_ok(bm_crl_parse(bm_buf_rd(ret), ret_crl, &err));
    assert_int_equal(ret_crl->n, n);
}

static void denied(const struct bm_crl *crl, const struct bm_cert *by, const char *why)
{
    assert_int_equal(bm_crl_check(crl, by, &err), BM_DENIED);
    assert_string_equal(err.code, "bad-crl");
    if (strstr(err.what, why) == NULL)
        fail_msg("%s, and not '%s'", err.what, why);
}

/* RFC 5280 section 6.3.3. Breaks when one CA's list is taken for another's, or one that was changed. */
static void signers(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { 0 };
    struct bm_crl crl, changed;
    struct bm_cert cert;
    struct ca ca, other;
    uint8_t *copy;

    (void)state;
    ca_open(&ca);
    ca_open(&other);
    sign_list(&ca, 3, &der, &crl);
    assert_ok(bm_crl_check(&crl, &ca.cert.cert, &err));
    denied(&crl, &other.cert.cert, "another key"); /* the same name */
    cert = other.cert.cert;
    cert.skid = bm_rd_of(NULL, 0);
    denied(&crl, &cert, "not signed");
    cert = ca.cert.cert;
    cert.subject = bm_rd_of(cert.subject.p, cert.subject.n - 1);
    denied(&crl, &cert, "another CA's");
    cert = ca.cert.cert;
    cert.key_usage = BM_KU_CERT_SIGN;
    denied(&crl, &cert, "cRLSign");
    cert = ca.cert.cert;
    cert.ca = false;
    denied(&crl, &cert, "cRLSign");
    copy = exact(bm_buf_rd(&der)); /* a serial number other than it was */
    copy[crl.entries.p - der.p + 10] ^= 1;
    assert_ok(bm_crl_parse(bm_rd_of(copy, der.n), &changed, &err));
    denied(&changed, &ca.cert.cert, "not signed");
    free(copy);
    ca_done(&other);
    ca_done(&ca);
}

static void dates(void **state)
{
    const struct bm_crl crl = { .this_update = NOW, .next_update = NOW + 100 };

    (void)state;
    assert_ok(bm_crl_check_dates(&crl, NOW, &err));
    assert_ok(bm_crl_check_dates(&crl, NOW - BM_CLOCK_BACK_TOLERANCE_S, &err));
    assert_ok(bm_crl_check_dates(&crl, NOW + 99, &err));
    assert_int_equal(bm_crl_check_dates(&crl, NOW + 100, &err), BM_DENIED);
    assert_string_equal(err.code, "crl-dates");
    assert_int_equal(bm_crl_check_dates(&crl, NOW - BM_CLOCK_BACK_TOLERANCE_S - 1, &err), BM_DENIED);
}

/* Breaks when a revoked certificate is not found on a long list, or one that is not on it is. */
static void finding(void **state)
{
    static const size_t sizes[] = { 0, 1, 2, 3, 1000, 20000 };

    (void)state;
    for (size_t s = 0; s < BM_COUNT(sizes); s++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf der = { 0 };
        BM_CLEANUP(bm_crl_index_done) struct bm_crl_index x = { 0 };
        struct bm_crl_entry entry;
        struct bm_crl crl;
        uint8_t serial[16];
        struct ca ca;

        ca_open(&ca);
        sign_list(&ca, sizes[s], &der, &crl);
        assert_ok(bm_crl_index_make(&crl, &x, &err));
        for (size_t i = 0; i < sizes[s] + 100; i++) {
            serial_of((uint32_t)i, serial);
            assert_true(bm_crl_index_find(&x, &crl, bm_rd_of(serial, 16), &entry) == (i < sizes[s]));
            if (i < sizes[s])
                assert_true(entry.reason == (i % 2 == 0 ? 1 : 0) && entry.revoked_at == NOW - (int64_t)i);
            assert_false(bm_crl_index_find(&x, &crl, bm_rd_of(serial, 15), &entry));
        }
        ca_done(&ca);
    }
}

static void files(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { 0 }, pem = { .max = BM_CRL_MAX }, out = { .max = BM_CRL_MAX };
    struct bm_crl crl;
    struct ca ca;

    (void)state;
    ca_open(&ca);
    sign_list(&ca, 2, &der, &crl);
    assert_ok(bm_crl_in_file(bm_buf_rd(&der), &out, &err));
    assert_true(bm_rd_eq(bm_buf_rd(&der), bm_buf_rd(&out)));
    bm_pem_write(&pem, "X509 CRL", bm_buf_rd(&der));
    out.n = 0;
    assert_ok(bm_crl_in_file(bm_buf_rd(&pem), &out, &err));
    assert_true(bm_rd_eq(bm_buf_rd(&der), bm_buf_rd(&out)));
    pem.n = out.n = 0;
    bm_pem_write(&pem, "CERTIFICATE", bm_buf_rd(&ca.cert.der));
    assert_int_equal(bm_crl_in_file(bm_buf_rd(&pem), &out, &err), BM_NOTFOUND);
    assert_int_equal(bm_crl_in_file(bm_rd_of(NULL, 0), &out, &err), BM_NOTFOUND);
    ca_done(&ca);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms),   cmocka_unit_test(signers), cmocka_unit_test(dates),
        cmocka_unit_test(finding), cmocka_unit_test(files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
