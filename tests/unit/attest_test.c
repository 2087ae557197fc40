/* Attestation objects: what is read, and what TPM2_Certify proves. Formats birthmark and packed are attacked in tests/e2e/test_acme_negative.py. */
#include "pki/attest.h"
#include "pki_help.h"

#include <cbor.h>

static const struct bm_rd authorization = BM_LIT("token.thumbprint");

static enum bm_rc parse_exact(struct bm_rd in, struct bm_attest *ret, uint8_t **ret_copy)
{
    *ret_copy = exact(in);
    err = (struct bm_error){ 0 };
    return bm_attest_parse(bm_rd_of(*ret_copy, in.n), ret, &err);
}

/* --- reading -------------------------------------------------------------------------------------------------------------------------------- */
static const struct {
    const char *name, *hex;
    enum bm_rc want;
} objects[] = {
    { "smallest", "a1 63666d74 6178", BM_OK },
    { "a statement", "a2 63666d74 6178 6761747453746d74 a0", BM_OK },
    { "all members",
      "a2 63666d74 6178 6761747453746d74 a7 63616c67 26 63736967 4101 63783563 81 4102 6473706b69 4103 63766572 63322e30"
      " 6863657274496e666f 4104 6770756241726561 4105",
      BM_OK },
    { "members nobody asks for", "a3 63666d74 6178 686175746844617461 4101 6761747453746d74 a1 6178 8101", BM_OK },
    { "RS256", "a2 63666d74 6178 6761747453746d74 a1 63616c67 390100", BM_OK },
    { "nothing", "", BM_MALFORMED },
    { "no map", "80", BM_MALFORMED },
    { "no fmt", "a1 6761747453746d74 a0", BM_MALFORMED },
    { "an empty fmt", "a1 63666d74 60", BM_MALFORMED },
    { "fmt as bytes", "a1 63666d74 4178", BM_MALFORMED },
    { "fmt with a NUL", "a1 63666d74 627800", BM_MALFORMED },
    { "fmt too long", "a1 63666d74 7820 6161616161616161616161616161616161616161616161616161616161616161", BM_MALFORMED },
    { "fmt twice", "a2 63666d74 6178 63666d74 6178", BM_MALFORMED },
    { "a statement that is none", "a2 63666d74 6178 6761747453746d74 80", BM_MALFORMED },
    { "a key that is no text", "a2 63666d74 6178 01 02", BM_MALFORMED },
    { "alg as text", "a2 63666d74 6178 6761747453746d74 a1 63616c67 6178", BM_MALFORMED },
    { "alg beyond all sense", "a2 63666d74 6178 6761747453746d74 a1 63616c67 1bffffffffffffffff", BM_MALFORMED },
    { "alg beyond all sense, negative", "a2 63666d74 6178 6761747453746d74 a1 63616c67 3bffffffffffffffff", BM_MALFORMED },
    { "sig as text", "a2 63666d74 6178 6761747453746d74 a1 63736967 6178", BM_MALFORMED },
    { "x5c of nothing", "a2 63666d74 6178 6761747453746d74 a1 63783563 80", BM_MALFORMED },
    { "x5c of text", "a2 63666d74 6178 6761747453746d74 a1 63783563 81 6178", BM_MALFORMED },
    { "x5c with an empty one", "a2 63666d74 6178 6761747453746d74 a1 63783563 81 40", BM_MALFORMED },
    { "x5c of five", "a2 63666d74 6178 6761747453746d74 a1 63783563 85 4101 4101 4101 4101 4101", BM_MALFORMED },
    { "a member twice", "a2 63666d74 6178 6761747453746d74 a2 63736967 4101 63736967 4101", BM_MALFORMED },
    { "a byte left over", "a1 63666d74 6178 00", BM_MALFORMED },
    { "without an end", "bf 63666d74 6178 ff", BM_MALFORMED },
    { "a tag", "c1 a1 63666d74 6178", BM_MALFORMED },
    { "a map of more than there is", "ba ffffffff 63666d74 6178", BM_MALFORMED },
    { "too deep", "a2 63666d74 6178 6178 8181818181 01", BM_MALFORMED },
};

static void reading(void **state)
{
    uint8_t room[512];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(objects); i++) {
        struct bm_rd in = hex(objects[i].hex, room, sizeof room);

        for (size_t n = objects[i].want == BM_OK ? 0 : in.n; n <= in.n; n++) { /* and every proper prefix of the good ones */
            BM_CLEANUP(bm_attest_done) struct bm_attest a = { 0 };
            enum bm_rc want = n == in.n ? objects[i].want : BM_MALFORMED;
            uint8_t *copy;

            if (parse_exact(bm_rd_of(in.p, n), &a, &copy) != want || (want != BM_OK && strcmp(err.code, "acme-attestation") != 0))
                fail_msg("%s, %zu of %zu bytes: %s", objects[i].name, n, in.n, err.what);
            free(copy);
        }
    }
}

/* --- TPM ------------------------------------------------------------------------------------------------------------------------------------ */
/* What a TPM would write, with a switch for each thing that can be wrong with it. */
struct chip {
    uint32_t attributes, magic;
    uint16_t type, curve;
    bool other_name, other_extra, short_info, long_info, long_area, raw_sig;
};
static const struct chip right = { .attributes = 0x00040072, .magic = 0xff544347, .type = 0x8017, .curve = 3 };

static void put_2b(struct bm_buf *out, struct bm_rd b)
{
    bm_buf_uint(out, 2, b.n);
    bm_buf_put(out, b.p, b.n);
}

static void put_public(const struct chip *c, const struct bm_key *k, struct bm_buf *out)
{
    struct bm_spki s;

    assert_ok(bm_spki_parse(bm_key_spki(k), &s, &err));
    bm_buf_uint(out, 2, strcmp(s.alg, "RSA") == 0 ? 0x0001 : 0x0023);
    bm_buf_uint(out, 2, 0x000b);
    bm_buf_uint(out, 4, c->attributes);
    put_2b(out, bm_rd_of(NULL, 0));
    bm_buf_uint(out, 2, 0x0010); /* no symmetric algorithm, no scheme */
    bm_buf_uint(out, 2, 0x0010);
    if (strcmp(s.alg, "RSA") == 0) {
        struct bm_rd seq, n;

        assert_true(bm_der_only(s.raw, BM_DER_SEQUENCE, &seq) && bm_der_take(&seq, BM_DER_INTEGER, &n));
        bm_buf_uint(out, 2, 2048);
        bm_buf_uint(out, 4, 0); /* the usual exponent */
        put_2b(out, bm_rd_of(n.p + 1, n.n - 1));
    } else {
        bm_buf_uint(out, 2, c->curve);
        bm_buf_uint(out, 2, 0x0010);
        put_2b(out, bm_rd_of(s.raw.p + 1, 32));
        put_2b(out, bm_rd_of(s.raw.p + 33, 32));
    }
    if (c->long_area)
        bm_buf_uint(out, 1, 0);
}

static void put_info(const struct chip *c, struct bm_rd area, struct bm_buf *out)
{
    static const uint8_t clock[25] = { 0 };
    uint8_t digest[34] = { 0x00, 0x0b }, extra[32];

    bm_udid_of(area, digest + 2);
    bm_udid_of(authorization, extra);
    digest[10] ^= c->other_name;
    extra[3] ^= c->other_extra;
    bm_buf_uint(out, 4, c->magic);
    bm_buf_uint(out, 2, c->type);
    put_2b(out, bm_rd_str("signer"));
    put_2b(out, bm_rd_of(extra, sizeof extra));
    bm_buf_put(out, clock, sizeof clock);
    put_2b(out, bm_rd_of(digest, sizeof digest));
    put_2b(out, bm_rd_str("qualified"));
    if (c->long_info)
        bm_buf_uint(out, 1, 0);
    out->n -= c->short_info;
}

/* TPMT_SIGNATURE of an ECDSA key, or plain. */
static void put_signature(const struct chip *c, const struct bm_key *ak, struct bm_rd info, struct bm_buf *out)
{
    uint8_t sig[256];
    size_t n = sizeof sig;

    if (c->raw_sig) {
        assert_ok(bm_key_sign(ak, info, sig, &n, &err));
        bm_buf_put(out, sig, n);
        return;
    }
    assert_ok(bm_key_sign_raw(ak, info, sig, &n, &err));
    bm_buf_uint(out, 2, 0x0018);
    bm_buf_uint(out, 2, 0x000b);
    put_2b(out, bm_rd_of(sig, 32));
    put_2b(out, bm_rd_of(sig + 32, 32));
}

static enum bm_rc certify(const struct chip *c, const struct bm_key *ak, const struct bm_key *by, const struct bm_key *key,
                          struct bm_buf *ret)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf area = { .max = 1024 }, info = { .max = 1024 }, sig = { .max = 1024 };
    struct bm_attest a = { .has_alg = true, .alg = -7 };

    put_public(c, key, &area);
    put_info(c, bm_buf_rd(&area), &info);
    put_signature(c, by, bm_buf_rd(&info), &sig);
    a.cert_info = bm_buf_rd(&info);
    a.pub_area = bm_buf_rd(&area);
    a.sig = bm_buf_rd(&sig);
    ret->n = 0;
    err = (struct bm_error){ 0 };
    return bm_tpm_certified(&a, bm_key_spki(ak), authorization, ret, &err);
}

static void tpm_certifies(void **state)
{
    static const struct {
        const char *type, *option;
    } kinds[] = { { "EC", "P-256" }, { "RSA", "2048" } };
    BM_CLEANUP(bm_key_freep) struct bm_key *ak = key_new("EC", "P-256");
    struct chip plain = right;

    (void)state;
    plain.raw_sig = true;
    for (size_t i = 0; i < BM_COUNT(kinds); i++) {
        BM_CLEANUP(bm_key_freep) struct bm_key *key = key_new(kinds[i].type, kinds[i].option);
        BM_CLEANUP(bm_buf_done) struct bm_buf spki = { .max = BM_SPKI_MAX };

        assert_ok(certify(&right, ak, ak, key, &spki));
        assert_true(bm_rd_eq(bm_buf_rd(&spki), bm_key_spki(key)));
        assert_ok(certify(&plain, ak, ak, key, &spki));
    }
}

/* Each with one thing wrong; none of them may count for a key. */
static void tpm_refuses(void **state)
{
    static const struct {
        const char *name;
        struct chip chip;
    } rows[] = {
        { "not a TPM's", { 0x00040072, 0xff544348, 0x8017, 3, .raw_sig = true } },
        { "another command", { 0x00040072, 0xff544347, 0x8018, 3, .raw_sig = true } },
        { "a key that may leave", { 0x00040070, 0xff544347, 0x8017, 3, .raw_sig = true } },
        { "a key from outside", { 0x00040052, 0xff544347, 0x8017, 3, .raw_sig = true } },
        { "an unknown curve", { 0x00040072, 0xff544347, 0x8017, 1, .raw_sig = true } },
        { "another curve", { 0x00040072, 0xff544347, 0x8017, 4, .raw_sig = true } },
        { "another key's name", { 0x00040072, 0xff544347, 0x8017, 3, .other_name = true } },
        { "another challenge", { 0x00040072, 0xff544347, 0x8017, 3, .other_extra = true } },
        { "cut short", { 0x00040072, 0xff544347, 0x8017, 3, .short_info = true } },
        { "a byte more", { 0x00040072, 0xff544347, 0x8017, 3, .long_info = true } },
        { "a byte more in the key", { 0x00040072, 0xff544347, 0x8017, 3, .long_area = true } },
    };
    BM_CLEANUP(bm_key_freep)
    struct bm_key *ak = key_new("EC", "P-256"), *other = key_new("EC", "P-256"), *key = key_new("EC", "P-256");
    BM_CLEANUP(bm_buf_done) struct bm_buf spki = { .max = BM_SPKI_MAX };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        if (certify(&rows[i].chip, ak, ak, key, &spki) != BM_DENIED || strcmp(err.code, "acme-attestation") != 0)
            fail_msg("%s: %s", rows[i].name, err.what);
    assert_int_equal(certify(&right, ak, other, key, &spki), BM_DENIED); /* signed by another than it says */
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(reading), cmocka_unit_test(tpm_certifies), cmocka_unit_test(tpm_refuses) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
