/* Keys made for devices (EST serverkeygen): the certificate is over the key that comes with it; encrypted, only the key the device named opens it,
 * and the CA's signature is around it; every refusal by its code. */
#include "keeper_fixture.h"

#include "pki/impl.h"
#include "pki/keypkg.h"

#include <openssl/cms.h>

static struct world w;
static struct dev d;

static int open_world(void **state)
{
    (void)state;
    world_open(&w);
    dev_make(&d);
    register_device(&w, "lot", &d);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    if (w.k != NULL)
        history_holds(&w);
    dev_done(&d);
    world_close(&w);
    return 0;
}

static void policy(const char *json)
{
    admin_ok(&w, "{\"op\":\"product.set\",\"name\":\"meter\",\"policy\":%s}", json);
}

/* --- requests with attributes --------------------------------------------------------------------------------------------------------- */
static void octets(struct bm_derw *dw, const char *oid, size_t oid_len, struct bm_rd value)
{
    size_t mark = bm_derw_mark(dw);

    bm_derw_tlv(dw, BM_DER_OCTET_STRING, value);
    bm_derw_end(dw, mark, BM_DER_SET);
    bm_derw_tlv(dw, BM_DER_OID, bm_rd_of(oid, oid_len));
    bm_derw_end(dw, mark, BM_DER_SEQUENCE);
}

static void capability(struct bm_derw *dw, struct bm_rd cipher)
{
    size_t mark = bm_derw_mark(dw), one = mark;

    bm_derw_tlv(dw, BM_DER_OID, cipher);
    bm_derw_end(dw, one, BM_DER_SEQUENCE);
    bm_derw_end(dw, mark, BM_DER_SEQUENCE);
    bm_derw_end(dw, mark, BM_DER_SET);
    bm_derw_tlv(dw, BM_DER_OID, bm_rd_of(OID_SMIME_CAPABILITIES, sizeof OID_SMIME_CAPABILITIES - 1));
    bm_derw_end(dw, mark, BM_DER_SEQUENCE);
}

/* A request over `key` with these attributes (empty: not there). */
static void request_with(const struct bm_key *key, struct bm_rd symmetric, struct bm_rd asymmetric, struct bm_rd cipher,
                         struct bm_buf *ret)
{
    uint8_t room[4096];
    struct bm_derw dw = bm_derw_of(room, sizeof room);
    struct bm_name_spec name;
    size_t mark = bm_derw_mark(&dw);

    if (cipher.n != 0)
        capability(&dw, cipher);
    if (asymmetric.n != 0)
        octets(&dw, OID_ASYMM_DECRYPT_KEY_ID, sizeof OID_ASYMM_DECRYPT_KEY_ID - 1, asymmetric);
    if (symmetric.n != 0)
        octets(&dw, OID_DECRYPT_KEY_ID, sizeof OID_DECRYPT_KEY_ID - 1, symmetric);
    bm_derw_end(&dw, mark, BM_DER_CTX_CONS(0));
    bm_derw_put(&dw, bm_key_spki(key));
    assert_ok(bm_name_spec_parse("CN=kit", false, &name, &err));
    assert_ok(bm_name_write(&dw, &name, NULL, &err));
    bm_derw_uint(&dw, 0);
    bm_derw_end(&dw, mark, BM_DER_SEQUENCE);
    assert_false(dw.bad);
    ret->n = 0;
    ret->max = BM_CSR_MAX;
    assert_ok(bm_signed_put(key, bm_derw_rd(&dw), ret, &err));
}

static enum bm_rc ask(struct bm_rd csr, struct bm_buf *out)
{
    struct bm_enrol c = { .protocol = "est",
                          .peer = "192.0.2.7",
                          .evidence = { .kind = BM_EVIDENCE_TLS, .cert = bm_buf_rd(&d.id.cert) },
                          .keygen = true,
                          .n_requests = 1 };
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX };

    next_correlation(&w, &c);
    c.requests[0].csr = csr;
    prove(&w, &c);
    bm_enrol_write(&payload, &c);
    return command(&w, BM_CMD_ENROL, bm_buf_rd(&payload), out);
}

static EVP_PKEY *key_of_pkcs8(struct bm_rd der)
{
    const uint8_t *p = der.p;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)der.n);
    EVP_PKEY *key;

    assert_true(info != NULL && p == der.p + der.n);
    key = EVP_PKCS82PKEY(info);
    PKCS8_PRIV_KEY_INFO_free(info);
    assert_non_null(key);
    return key;
}

static void fits(EVP_PKEY *key, struct bm_rd cert)
{
    const uint8_t *p = cert.p;
    X509 *x = d2i_X509(NULL, &p, (long)cert.n);

    assert_int_equal(X509_check_private_key(x, key), 1);
    X509_free(x);
}

/* --- plain ---------------------------------------------------------------------------------------------------------------------------- */
static void plain_for_each_algorithm(void **state)
{
    static const char *const algs[] = { "P-256", "P-384", "ED25519" };

    (void)state;
    policy("{\"server_keygen\":true}");
    for (size_t i = 0; i < BM_COUNT(algs); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 }, csr = { 0 };
        struct bm_enrolled r;
        struct party like;
        EVP_PKEY *key;

        party_keys(&like, algs[i]);
        request_with(like.key, NO_BLOB, NO_BLOB, NO_BLOB, &csr);
        csr.p[csr.n - 1] ^= 1; /* RFC 7030 section 4.4.1: key and signature of the request are passed over */
        assert_ok(ask(bm_buf_rd(&csr), &out));
        assert_ok(bm_enrolled_parse(bm_buf_rd(&out), &r, &err));
        assert_int_equal(r.credentials[0].key_form, BM_KEY_PLAIN);
        key = key_of_pkcs8(r.credentials[0].key);
        fits(key, r.credentials[0].cert);
        assert_int_equal(EVP_PKEY_eq(key, like.evp), 0); /* not the request's own */
        EVP_PKEY_free(key);
        party_done(&like);
    }
}

/* --- encrypted -------------------------------------------------------------------------------------------------------------------------- */
/* What a device does: opens the envelope with its key or a password, checks the signature of the CA, takes the key out. */
static EVP_PKEY *open_sealed(struct bm_rd sealed, EVP_PKEY *with, const char *password)
{
    const uint8_t *p = sealed.p;
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)sealed.n);
    BM_CLEANUP(bm_buf_done) struct bm_buf info = { .max = 1 << 20 };
    BIO *out = BIO_new(BIO_s_mem()), *package = BIO_new(BIO_s_mem());
    uint8_t head[64], *data;
    struct bm_derw dw = bm_derw_of(head, sizeof head);
    struct bm_rd list, one;
    STACK_OF(X509) * signers;
    EVP_PKEY *key;
    long n;
    bool fits = true;

    assert_true(cms != NULL && p == sealed.p + sealed.n);
    assert_int_equal(OBJ_obj2nid(CMS_get0_type(cms)), NID_pkcs7_enveloped);
    assert_int_equal(OBJ_obj2nid(CMS_get0_eContentType(cms)), NID_pkcs7_signed);
    if (password != NULL)
        fits = CMS_decrypt_set1_password(cms, (unsigned char *)(uintptr_t)password, -1) == 1;
    else
        fits = CMS_decrypt_set1_pkey(cms, with, NULL) == 1;
    if (!fits || CMS_decrypt(cms, NULL, NULL, NULL, out, CMS_BINARY) != 1) {
        CMS_ContentInfo_free(cms);
        BIO_free(out);
        BIO_free(package);
        return NULL;
    }
    CMS_ContentInfo_free(cms);
    n = BIO_get_mem_data(out, (char **)&data);
    bm_derw_header(&dw, (size_t)n, BM_DER_CTX_CONS(0)); /* the ContentInfo that a library wants around it */
    bm_derw_tlv(&dw, BM_DER_OID, bm_rd_of(OID_CMS_SIGNED_DATA, sizeof OID_CMS_SIGNED_DATA - 1));
    bm_derw_header(&dw, bm_derw_rd(&dw).n + (size_t)n, BM_DER_SEQUENCE);
    bm_buf_put(&info, bm_derw_rd(&dw).p, bm_derw_rd(&dw).n);
    bm_buf_put(&info, data, (size_t)n);
    p = info.p;
    cms = d2i_CMS_ContentInfo(NULL, &p, (long)info.n);
    assert_non_null(cms);
    assert_int_equal(CMS_verify(cms, NULL, NULL, NULL, package, CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY), 1);
    signers = CMS_get0_signers(cms);
    assert_int_equal(sk_X509_num(signers), 1);
    sk_X509_free(signers);
    n = BIO_get_mem_data(package, (char **)&data);
    one = bm_rd_of(data, (size_t)n);
    assert_true(bm_der_only(one, BM_DER_SEQUENCE, &list));
    key = key_of_pkcs8(list);
    CMS_ContentInfo_free(cms);
    BIO_free(out);
    BIO_free(package);
    return key;
}

static void sealed_to_the_device(void **state)
{
    static const struct bm_rd aes128 = BM_LIT(OID_AES128_CBC);
    uint8_t sha1[20], rfc7093[20];
    struct bm_spki parsed;
    struct dev other;

    (void)state;
    policy("{\"server_keygen\":true,\"server_keygen_encrypted\":true}");
    dev_make(&other);
    assert_ok(bm_spki_parse(bm_key_spki(d.id.key), &parsed, &err));
    EVP_Digest(parsed.raw.p, parsed.raw.n, sha1, NULL, EVP_sha1(), NULL);
    bm_key_id(parsed.raw, rfc7093);
    for (int i = 0; i < 3; i++) {
        const struct bm_rd ids[] = { bm_rd_of(sha1, 20), bm_rd_of(rfc7093, 20), bm_rd_of(d.udid, BM_UDID_LEN) };
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 }, csr = { 0 };
        struct bm_enrolled r;
        EVP_PKEY *key;

        request_with(d.op.key, NO_BLOB, ids[i], i == 1 ? aes128 : NO_BLOB, &csr);
        assert_ok(ask(bm_buf_rd(&csr), &out));
        assert_ok(bm_enrolled_parse(bm_buf_rd(&out), &r, &err));
        assert_int_equal(r.credentials[0].key_form, BM_KEY_SEALED);
        assert_null(open_sealed(r.credentials[0].key, other.id.evp, NULL));
        key = open_sealed(r.credentials[0].key, d.id.evp, NULL);
        assert_non_null(key);
        fits(key, r.credentials[0].cert);
        EVP_PKEY_free(key);
    }
    dev_done(&other);
}

/* RSA devices get it by OAEP; keys that only sign get nothing. */
static void kinds_of_recipient(void **state)
{
    static const struct {
        const char *alg;
        enum bm_rc rc;
    } rows[] = { { "P-256", BM_OK }, { "P-384", BM_OK }, { "P-521", BM_OK }, { "RSA", BM_OK }, { "ED25519", BM_DENIED } };
    BM_CLEANUP(bm_buf_done) struct bm_buf pkcs8 = { .max = 4096 }, spki = { .max = 4096 }, package = { .max = 1 << 16 };
    struct bm_cert cert;
    struct party ca;

    (void)state;
    party_keys(&ca, "P-384");
    party_certify(&ca, "CA", NULL, true, 86400);
    assert_ok(bm_cert_parse(bm_buf_rd(&ca.cert), &cert, &err));
    assert_ok(bm_keypkg_make("P-256", &pkcs8, &spki, &err));
    assert_ok(bm_keypkg_sign(bm_buf_rd(&pkcs8), &(struct bm_keypkg_signer){ .key = ca.key, .cert = &cert }, &package, &err));
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf sealed = { .max = 1 << 16 };
        struct party to;
        EVP_PKEY *key;

        party_keys(&to, rows[i].alg);
        err = (struct bm_error){ 0 };
        assert_rc(bm_keypkg_seal(bm_buf_rd(&package),
                                 &(struct bm_keypkg_to){ .spki = bm_key_spki(to.key), .key_id = bm_rd_str("id") }, 256, &sealed,
                                 &err),
                  rows[i].rc);
        if (rows[i].rc == BM_OK) {
            key = open_sealed(bm_buf_rd(&sealed), to.evp, NULL);
            assert_non_null(key);
            EVP_PKEY_free(key);
        } else {
            assert_string_equal(err.code, "keygen-recipient-unfit");
        }
        party_done(&to);
    }
    party_done(&ca);
}

/* As CMP has it: a key is named by its certificate's issuer and serial number when that has no key identifier; or there is a password, and no other
 * opens it. */
static void named_otherwise(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pkcs8 = { .max = 4096 }, spki = { .max = 4096 }, package = { .max = 1 << 16 };
    BM_CLEANUP(bm_buf_done) struct bm_buf to_cert = { .max = 1 << 16 }, to_password = { .max = 1 << 16 };
    struct bm_cert cert;
    struct party ca;
    EVP_PKEY *key;

    (void)state;
    party_keys(&ca, "P-256");
    party_certify(&ca, "CA", NULL, true, 86400);
    assert_ok(bm_cert_parse(bm_buf_rd(&ca.cert), &cert, &err));
    assert_ok(bm_keypkg_make("P-256", &pkcs8, &spki, &err));
    assert_ok(bm_keypkg_sign(bm_buf_rd(&pkcs8), &(struct bm_keypkg_signer){ .key = ca.key, .cert = &cert }, &package, &err));
    assert_ok(
        bm_keypkg_seal(bm_buf_rd(&package), &(struct bm_keypkg_to){ .spki = cert.spki, .cert = cert.whole }, 256, &to_cert, &err));
    assert_non_null(memmem(to_cert.p, to_cert.n, cert.serial.p, cert.serial.n));
    key = open_sealed(bm_buf_rd(&to_cert), ca.evp, NULL);
    assert_non_null(key);
    EVP_PKEY_free(key);
    assert_ok(
        bm_keypkg_seal(bm_buf_rd(&package), &(struct bm_keypkg_to){ .password = bm_rd_str("7ZQK-0M3D") }, 256, &to_password, &err));
    assert_null(memmem(to_password.p, to_password.n, "7ZQK-0M3D", 9));
    assert_null(open_sealed(bm_buf_rd(&to_password), NULL, "7ZQK-0M3E"));
    key = open_sealed(bm_buf_rd(&to_password), NULL, "7ZQK-0M3D");
    assert_non_null(key);
    EVP_PKEY_free(key);
    party_done(&ca);
}

/* --- refused ---------------------------------------------------------------------------------------------------------------------------- */
static void refusals(void **state)
{
    static const struct bm_rd des3 = BM_LIT("\x2a\x86\x48\x86\xf7\x0d\x03\x07");
    const struct bm_rd id = bm_rd_of(d.udid, BM_UDID_LEN), none = NO_BLOB, unknown = bm_rd_str("somebody else's");
    const char *on = "{\"server_keygen\":true}", *must = "{\"server_keygen\":true,\"server_keygen_encrypted\":true}";
    const struct {
        const char *name, *policy, *alg;
        struct bm_rd symmetric, asymmetric, cipher;
        const char *code;
    } rows[] = {
        { "off", "{}", "P-256", none, none, none, "server-keygen-off" },
        { "off, encrypted", "{\"server_keygen_encrypted\":true}", "P-256", none, id, none, "server-keygen-off" },
        { "must be encrypted", must, "P-256", none, none, none, "server-keygen-encrypt" },
        { "a shared secret", on, "P-256", unknown, none, none, "keygen-recipient-unknown" },
        { "both", on, "P-256", unknown, id, none, "keygen-recipient-unknown" },
        { "to a key nobody knows", on, "P-256", none, unknown, none, "keygen-recipient-unknown" },
        { "no cipher in common", on, "P-256", none, id, des3, "keygen-cipher" },
        { "RSA takes too long", on, "RSA", none, none, none, "keygen-algorithm" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 }, csr = { 0 };
        char *before, *after;
        struct party like;

        policy(rows[i].policy);
        party_keys(&like, rows[i].alg);
        request_with(like.key, rows[i].symmetric, rows[i].asymmetric, rows[i].cipher, &csr);
        before = counts_of(&w);
        assert_rc_(ask(bm_buf_rd(&csr), &out), BM_DENIED, rows[i].name);
        assert_string_equal(err.code, rows[i].code);
        after = counts_of(&w);
        assert_string_equal(before, after);
        free(before);
        free(after);
        party_done(&like);
    }
}

/* A worker that sees a device's code go by cannot have the key encrypted to itself: beside a code, a certificate is only a word. */
static void no_key_for_the_messenger(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 }, csr = { 0 }, payload = { .max = BM_COMMAND_MAX };
    BM_CLEANUP(json_unref) json_t *reply = NULL;
    struct bm_enrol c = { .protocol = "est", .peer = "192.0.2.7", .keygen = true, .n_requests = 1 };
    struct dev worker;

    (void)state;
    policy("{\"server_keygen\":true,\"server_keygen_encrypted\":true}");
    dev_make(&worker);
    reply = admin(&w, "{\"op\":\"code.create\",\"udid\":\"%s\"}", d.hex);
    next_correlation(&w, &c);
    request_with(d.op.key, NO_BLOB, bm_rd_of(worker.udid, BM_UDID_LEN), NO_BLOB, &csr);
    c.evidence = (struct bm_evidence){ .kind = BM_EVIDENCE_CODE, .cert = bm_buf_rd(&worker.id.cert) };
    c.evidence.code = bm_rd_str(member_text(json_array_get(json_object_get(reply, "codes"), 0), "code"));
    c.claimed_udid = bm_rd_of(d.udid, BM_UDID_LEN);
    c.requests[0].csr = bm_buf_rd(&csr);
    bm_enrol_write(&payload, &c);
    assert_rc(command(&w, BM_CMD_ENROL, bm_buf_rd(&payload), &out), BM_DENIED);
    assert_string_equal(err.code, "keygen-recipient-unknown");
    dev_done(&worker);
}

/* A key that is made here is nowhere afterwards: not in the registry's files. */
static void not_on_disk(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 }, csr = { 0 };
    struct bm_enrolled r;
    static uint8_t bytes[1 << 24];
    char path[200];

    (void)state;
    policy("{\"server_keygen\":true}");
    request_with(d.op.key, NO_BLOB, NO_BLOB, NO_BLOB, &csr);
    assert_ok(ask(bm_buf_rd(&csr), &out));
    assert_ok(bm_enrolled_parse(bm_buf_rd(&out), &r, &err));
    assert_true(r.credentials[0].key.n > 100);
    for (int i = 0; i < 2; i++) {
        FILE *f;
        size_t n;

        snprintf(path, sizeof path, "%s/registry.db%s", w.dir, i == 0 ? "" : "-wal");
        f = fopen(path, "rb");
        n = f != NULL ? fread(bytes, 1, sizeof bytes, f) : 0;
        if (f != NULL)
            fclose(f);
        assert_null(memmem(bytes, n, r.credentials[0].key.p + 36, 32)); /* the number itself, in PKCS#8 for P-256 */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_for_each_algorithm),
        cmocka_unit_test(sealed_to_the_device),
        cmocka_unit_test(kinds_of_recipient),
        cmocka_unit_test(named_otherwise),
        cmocka_unit_test(refusals),
        cmocka_unit_test(not_on_disk),
        cmocka_unit_test(no_key_for_the_messenger),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
