/* Keys in a token, against SoftHSM2: what is made there signs so that OpenSSL verifies it, and everything that can go wrong with a token is
 * told by its code. Faults are put into the module's own function list. */
#include "key_signs.h"

#include "pki/pkcs11_impl.h"

#include <sys/stat.h>
#include <unistd.h>

#define MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define PIN "4711-ca"

static struct {
    char dir[64], pin_file[96], tokens[96], away[96];
    struct bm_pkcs11 *p;
    struct bm_keyring ring;
    CK_FUNCTION_LIST list; /* the module's, with what a test puts in its place */
    CK_FUNCTION_LIST *real;
} w;

static void run(const char *fmt, ...)
{
    char command[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    if (system(command) != 0)
        fail_msg("%s", command);
}

static void open_module(const char *pin_file)
{
    assert_ok(bm_pkcs11_open(MODULE, pin_file, &w.p, &err));
    w.real = w.p->f;
    w.list = *w.p->f;
    w.p->f = &w.list;
    w.ring.pkcs11 = w.p;
}

static int setup(void **state)
{
    char conf[96];
    FILE *f;

    (void)state;
    snprintf(w.dir, sizeof w.dir, "/tmp/bm-pkcs11-test-XXXXXX");
    assert_non_null(mkdtemp(w.dir));
    snprintf(w.tokens, sizeof w.tokens, "%s/tokens", w.dir);
    snprintf(w.away, sizeof w.away, "%s/away", w.dir);
    snprintf(w.pin_file, sizeof w.pin_file, "%s/pin", w.dir);
    snprintf(conf, sizeof conf, "%s/softhsm2.conf", w.dir);
    f = fopen(conf, "w");
    assert_non_null(f);
    fprintf(f, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", w.tokens);
    fclose(f);
    assert_ok(bm_file_write(w.pin_file, bm_rd_str(PIN "\n"), 0600, &err));
    setenv("SOFTHSM2_CONF", conf, 1);
    run("mkdir %s && softhsm2-util --init-token --free --label ca --pin " PIN " --so-pin 12345678 >/dev/null", w.tokens);
    open_module(w.pin_file);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bm_pkcs11_close(w.p);
    run("rm -rf %s", w.dir);
    return 0;
}

static void begin_anew(const char *pin_file)
{
    bm_pkcs11_close(BM_MOVE(w.p));
    open_module(pin_file);
}

/* So that a test need not wait until the token may be asked again. */
static void no_quiet(void)
{
    for (size_t i = 0; i < w.p->n_tokens; i++)
        w.p->tokens[i].failed_ms = 0;
}

static void check_signature(const struct bm_key *k, const char *digest)
{
    uint8_t sig[BM_SIGNATURE_MAX];
    size_t n = 8; /* no room */

    check_signatures(k, digest);
    assert_int_not_equal(bm_key_sign(k, message, sig, &n, &err), BM_OK);
}

/* Breaks when a key could leave its token, or a certificate could not be verified by others. */
static void each_kind_signs(void **state)
{
    static const struct {
        const char *uri, *alg, *want, *digest;
    } rows[] = {
        { "pkcs11:token=ca;object=k0", "EC:P-256", "P-256", "SHA256" },
        { "pkcs11:token=ca;object=k1", "EC:P-384", "P-384", "SHA384" },
        { "pkcs11:token=ca;object=k2;id=%01%02", "RSA:2048", "RSA", "SHA256" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_key_freep) struct bm_key *k = NULL;
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 8192 };
        uint8_t agreed[64];
        size_t n = sizeof agreed;

        assert_ok(bm_key_generate(&w.ring, rows[i].uri, rows[i].alg, &err));
        assert_ok(bm_key_open(&w.ring, rows[i].uri, &k, &err));
        assert_string_equal(bm_key_alg(k), rows[i].want);
        check_signature(k, rows[i].digest);
        assert_int_equal(bm_key_generate(&w.ring, rows[i].uri, rows[i].alg, &err), BM_CONFLICT);
        assert_int_equal(bm_key_export(k, &out, &err), BM_DENIED);
        assert_string_equal(err.code, "key-not-exportable");
        assert_int_equal(bm_key_agree(k, bm_rd_of("\4", 1), agreed, &n, &err), BM_USAGE);
    }
}

struct asked {
    struct bm_pkcs11_uri uri;
    struct bm_token_facts facts;
    bool gives_value;
};

static CK_RV ask_facts(struct bm_pkcs11 *p, struct bm_token *t, void *arg)
{
    struct asked *a = arg;
    CK_OBJECT_HANDLE found[2];
    size_t n = 0;
    uint8_t room[512];
    CK_ATTRIBUTE value = { CKA_VALUE, room, sizeof room };

    assert_int_equal(bm_token_find(p, t, BM_TOKEN_PRIVATE, &a->uri, found, &n), CKR_OK);
    assert_int_equal(n, 1);
    a->gives_value = p->f->C_GetAttributeValue(t->session, found[0], &value, 1) == CKR_OK;
    return bm_token_facts(p, t, found[0], &a->uri, &a->facts);
}

/* As the token itself tells it: the key is sensitive, cannot be taken out, and asking for it gives nothing. */
static void stays_in_the_token(void **state)
{
    struct asked a = { 0 };
    struct bm_token *t;

    (void)state;
    assert_ok(bm_key_generate(&w.ring, "pkcs11:token=ca;object=stays", "EC:P-256", &err));
    assert_ok(bm_pkcs11_uri_parse(bm_rd_str("token=ca;object=stays"), &a.uri, &err));
    assert_ok(bm_token_of(w.p, &a.uri, &t, &err));
    assert_ok(bm_token_run(w.p, t, "tell", ask_facts, &a, &err));
    assert_true(a.facts.sensitive && !a.facts.extractable && a.facts.signs);
    assert_false(a.gives_value);
}

static CK_RV make_pair(struct bm_pkcs11 *p, struct bm_token *t, void *arg)
{
    static const uint8_t p521[] = { 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23 },
                         p256[] = { 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07 };
    const char *label = arg;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    bool leaks = strcmp(label, "leaks") == 0, big = strcmp(label, "p521") == 0, alone = strcmp(label, "alone") == 0;
    CK_MECHANISM how = { .mechanism = CKM_EC_KEY_PAIR_GEN };
    CK_ATTRIBUTE public[] = {
        { CKA_TOKEN, alone ? &no : &yes, 1 },
        { CKA_VERIFY, &yes, 1 },
        { CKA_LABEL, (void *)(uintptr_t)label, strlen(label) },
        { CKA_EC_PARAMS, (void *)(uintptr_t)(big ? p521 : p256), big ? sizeof p521 : sizeof p256 },
    };
    CK_ATTRIBUTE private[] = {
        { CKA_TOKEN, &yes, 1 },
        { CKA_PRIVATE, &yes, 1 },
        { CKA_SENSITIVE, &yes, 1 },
        { CKA_EXTRACTABLE, leaks ? &yes : &no, 1 },
        { CKA_SIGN, strcmp(label, "derives") == 0 ? &no : &yes, 1 },
        { CKA_LABEL, (void *)(uintptr_t)label, strlen(label) },
    };
    CK_SESSION_INFO info;
    CK_SESSION_HANDLE s;
    CK_OBJECT_HANDLE made[2];

    assert_int_equal(p->f->C_GetSessionInfo(t->session, &info), CKR_OK);
    assert_int_equal(p->f->C_OpenSession(info.slotID, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &s), CKR_OK);
    assert_int_equal(p->f->C_GenerateKeyPair(s, &how, public, BM_COUNT(public), private, BM_COUNT(private), &made[0], &made[1]),
                     CKR_OK);
    return p->f->C_CloseSession(s);
}

static void others_make(const char *label)
{
    struct bm_pkcs11_uri u;
    struct bm_token *t;

    assert_ok(bm_pkcs11_uri_parse(bm_rd_str("token=ca;object=x"), &u, &err));
    assert_ok(bm_token_of(w.p, &u, &t, &err));
    assert_ok(bm_token_run(w.p, t, "make", make_pair, (void *)(uintptr_t)label, &err));
}

/* Keys that were made by other hands, and are not taken. */
static void unfit(void **state)
{
    static const struct {
        const char *label, *code;
        enum bm_rc want;
    } rows[] = {
        { "leaks", "token-key-leaks", BM_USAGE }, { "derives", "token-key-unfit", BM_USAGE },
        { "alone", "token-key-unfit", BM_USAGE }, { "p521", "usage", BM_USAGE },
        { "twice", "token-ambiguous", BM_USAGE },
    };

    (void)state;
    others_make("twice");
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_key *k = NULL;
        char uri[80];

        others_make(rows[i].label);
        snprintf(uri, sizeof uri, "pkcs11:token=ca;object=%s", rows[i].label);
        if (bm_key_open(&w.ring, uri, &k, &err) != rows[i].want || strcmp(bm_error_code(&err), rows[i].code) != 0)
            fail_msg("%s: %s %s", rows[i].label, bm_error_code(&err), err.what);
        assert_null(k);
    }
}

static void refused(void **state)
{
    static const struct {
        const char *uri, *alg;
        enum bm_rc generate, open;
        const char *code; /* of open */
    } rows[] = {
        { "pkcs11:token=ca;object=none", "ED25519", BM_USAGE, BM_NOTFOUND, "token-no-key" },
        { "pkcs11:token=ca;object=none", "EC:P-521", BM_USAGE, BM_NOTFOUND, "token-no-key" },
        { "pkcs11:token=ca;object=none", "RSA:1024", BM_USAGE, BM_NOTFOUND, "token-no-key" },
        { "pkcs11:token=ca;id=%01", "EC:P-256", BM_USAGE, BM_NOTFOUND, "token-no-key" }, /* no label for a new one */
        { "pkcs11:token=other;object=k", "EC:P-256", BM_AGAIN, BM_AGAIN, "token-unavailable" },
        { "pkcs11:token=ca;serial=ffff;object=k0", "EC:P-256", BM_AGAIN, BM_AGAIN, "token-unavailable" },
        { "pkcs11:object=k", "EC:P-256", BM_USAGE, BM_USAGE, "usage" },
    };

    (void)state;
    begin_anew(w.pin_file);
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct bm_key *k = NULL;

        assert_int_equal(bm_key_generate(&w.ring, rows[i].uri, rows[i].alg, &err), rows[i].generate);
        assert_int_equal(bm_key_open(&w.ring, rows[i].uri, &k, &err), rows[i].open);
        assert_string_equal(bm_error_code(&err), rows[i].code);
        assert_null(k);
    }
}

static void no_module(void **state)
{
    static const char *const modules[] = { "softhsm2", "/nonexistent.so", "/usr/lib/x86_64-linux-gnu/libz.so.1", "" };
    struct bm_keyring ring = { .dir = "/tmp" };
    struct bm_pkcs11 *p = NULL;
    struct bm_key *k = NULL;

    (void)state;
    assert_int_equal(bm_key_open(&ring, "pkcs11:token=ca;object=k0", &k, &err), BM_USAGE);
    assert_string_equal(err.code, "pkcs11-module");
    for (size_t i = 0; i < BM_COUNT(modules); i++) {
        assert_int_equal(bm_pkcs11_open(modules[i], NULL, &p, &err), BM_USAGE);
        assert_string_equal(err.code, "pkcs11-module");
    }
    assert_int_equal(bm_pkcs11_open(MODULE, "/nonexistent-pin", &p, &err), BM_NOTFOUND);
    assert_null(p);
}

/* --- PINs ------------------------------------------------------------------------------------------------------------------------- */
static int logins;

static CK_RV count_login(CK_SESSION_HANDLE s, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG n)
{
    logins++;
    return w.real->C_Login(s, user, pin, n);
}

/* Breaks when a wrong PIN in the configuration locks the token: it is tried once. */
static void wrong_pin_is_tried_once(void **state)
{
    char file[128];
    struct bm_key *k = NULL;

    (void)state;
    snprintf(file, sizeof file, "%s/wrong", w.dir);
    assert_ok(bm_file_write(file, bm_rd_str("0000"), 0600, &err));
    begin_anew(file);
    w.list.C_Login = count_login;
    logins = 0;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(bm_key_open(&w.ring, "pkcs11:token=ca;object=k0", &k, &err), BM_AGAIN);
        assert_string_equal(err.code, "token-pin");
        no_quiet();
        bm_pkcs11_probe(w.p);
    }
    assert_int_equal(logins, 1);
    assert_false(bm_pkcs11_well(w.p));
    begin_anew(NULL);
    assert_int_equal(bm_key_open(&w.ring, "pkcs11:token=ca;object=k0", &k, &err), BM_USAGE);
    assert_string_equal(err.code, "token-pin");
    begin_anew(w.pin_file);
    assert_ok(bm_key_open(&w.ring, "pkcs11:token=ca;object=k0", &k, &err));
    bm_key_free(k);
}

/* --- tokens that go away ------------------------------------------------------------------------------------------------------------ */
static CK_RV fault;
static int faults;

static CK_RV faulty_init(CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE k)
{
    return faults > 0 && faults-- > 0 ? fault : w.real->C_SignInit(s, m, k);
}

static CK_RV faulty_sign(CK_SESSION_HANDLE s, CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *out_n)
{
    CK_RV rv = w.real->C_Sign(s, in, n, out, out_n);

    return faults > 0 && faults-- > 0 ? fault : rv;
}

static CK_RV wrong_sign(CK_SESSION_HANDLE s, CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *out_n)
{
    CK_RV rv = w.real->C_Sign(s, in, n, out, out_n);

    out[*out_n - 1] ^= 1;
    return rv;
}

static CK_RV short_sign(CK_SESSION_HANDLE s, CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *out_n)
{
    CK_RV rv = w.real->C_Sign(s, in, n, out, out_n);

    *out_n = 7;
    return rv;
}

static enum bm_rc sign(const struct bm_key *k)
{
    uint8_t sig[BM_SIGNATURE_MAX];
    size_t n = sizeof sig;

    return bm_key_sign(k, message, sig, &n, &err);
}

/* Each way in which modules say that session or token are gone: once or twice, and it is found again; for good, and it is said, until it is back. */
static void lost_and_found(void **state)
{
    static const CK_RV rows[] = { CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED, CKR_DEVICE_REMOVED, CKR_TOKEN_NOT_PRESENT,
                                  CKR_USER_NOT_LOGGED_IN,     CKR_DEVICE_ERROR,   CKR_GENERAL_ERROR,  CKR_OBJECT_HANDLE_INVALID };
    BM_CLEANUP(bm_key_freep) struct bm_key *k = NULL;

    (void)state;
    begin_anew(w.pin_file);
    assert_ok(bm_key_open(&w.ring, "pkcs11:token=ca;object=k0", &k, &err));
    w.list.C_SignInit = faulty_init;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint64_t before = bm_pkcs11_reopened(w.p);

        fault = rows[i];
        for (int times = 1; times <= 2; times++) {
            faults = times;
            assert_ok(sign(k));
            assert_true(bm_pkcs11_well(w.p));
        }
        assert_int_equal(bm_pkcs11_reopened(w.p) - before, 3);
        faults = 3;
        assert_int_equal(sign(k), BM_AGAIN);
        assert_string_equal(err.code, rows[i] == CKR_OBJECT_HANDLE_INVALID ? "token-no-key" : "token-unavailable");
        if (rows[i] != CKR_OBJECT_HANDLE_INVALID) {
            assert_false(bm_pkcs11_well(w.p));
            assert_int_equal(sign(k), BM_AGAIN); /* for a second it is not even asked */
            no_quiet();
            bm_pkcs11_probe(w.p); /* found without anybody asking for a signature */
            assert_true(bm_pkcs11_well(w.p));
        }
        assert_ok(sign(k));
    }
    w.list.C_Sign = faulty_sign; /* after the work was done: the result is thrown away, not used twice */
    fault = CKR_DEVICE_REMOVED;
    faults = 2;
    assert_ok(sign(k));
    fault = CKR_MECHANISM_INVALID; /* not lost, but refused: no use in trying again */
    faults = 1;
    assert_int_equal(sign(k), BM_AGAIN);
    assert_string_equal(err.code, "token-refused");
    assert_ok(sign(k));
}

/* A token that signs with another key, or wrongly, never yields a certificate. */
static void wrong_signatures_are_seen(void **state)
{
    static CK_RV (*const rows[])(CK_SESSION_HANDLE, CK_BYTE *, CK_ULONG, CK_BYTE *, CK_ULONG *) = { wrong_sign, short_sign };
    static const char *const keys[] = { "pkcs11:token=ca;object=k0", "pkcs11:token=ca;object=k2" };

    (void)state;
    for (size_t key = 0; key < BM_COUNT(keys); key++)
        for (size_t i = 0; i < BM_COUNT(rows); i++) {
            BM_CLEANUP(bm_key_freep) struct bm_key *k = NULL;

            begin_anew(w.pin_file);
            assert_ok(bm_key_open(&w.ring, keys[key], &k, &err));
            w.list.C_Sign = rows[i];
            assert_int_equal(sign(k), BM_AGAIN);
            assert_string_equal(err.code, "token-signature");
        }
}

/* The store itself goes away and comes back, under an open key. */
static void the_store_goes_away(void **state)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *k = NULL;
    struct bm_key *other = NULL;

    (void)state;
    begin_anew(w.pin_file);
    assert_ok(bm_key_open(&w.ring, "pkcs11:token=ca;object=k0", &k, &err));
    assert_ok(sign(k));
    assert_int_equal(rename(w.tokens, w.away), 0);
    assert_int_equal(mkdir(w.tokens, 0700), 0);
    bm_pkcs11_probe(w.p);
    assert_false(bm_pkcs11_well(w.p));
    assert_int_equal(sign(k), BM_AGAIN);
    assert_string_equal(err.code, "token-unavailable");
    no_quiet();
    assert_int_equal(bm_key_open(&w.ring, "pkcs11:token=ca;object=k0", &other, &err), BM_AGAIN);
    assert_int_equal(rmdir(w.tokens), 0);
    assert_int_equal(rename(w.away, w.tokens), 0);
    no_quiet();
    assert_ok(sign(k));
    assert_true(bm_pkcs11_well(w.p));
    check_signature(k, "SHA256");
}

static void same_label_twice(void **state)
{
    struct bm_key *k = NULL;
    struct bm_pkcs11_uri u;
    CK_TOKEN_INFO info;
    CK_SESSION_INFO session;
    struct bm_token *t;
    char uri[128];

    (void)state;
    begin_anew(w.pin_file);
    assert_ok(bm_key_open(&w.ring, "pkcs11:token=ca;object=k0", &k, &err));
    bm_key_free(BM_MOVE(k));
    assert_ok(bm_pkcs11_uri_parse(bm_rd_str("token=ca;object=x"), &u, &err));
    assert_ok(bm_token_of(w.p, &u, &t, &err));
    assert_int_equal(w.p->f->C_GetSessionInfo(t->session, &session), CKR_OK);
    assert_int_equal(w.p->f->C_GetTokenInfo(session.slotID, &info), CKR_OK);
    run("softhsm2-util --init-token --free --label ca --pin " PIN " --so-pin 12345678 >/dev/null");
    begin_anew(w.pin_file);
    assert_int_equal(bm_key_open(&w.ring, "pkcs11:token=ca;object=k0", &k, &err), BM_USAGE);
    assert_string_equal(err.code, "token-ambiguous");
    snprintf(uri, sizeof uri, "pkcs11:token=ca;serial=%.16s;object=k0", (const char *)info.serialNumber);
    assert_ok(bm_key_open(&w.ring, uri, &k, &err));
    bm_key_free(k);
}

static void destroyed(void **state)
{
    char uri[] = "pkcs11:token=second;object=gone";
    struct bm_key *k = NULL;

    (void)state;
    run("softhsm2-util --init-token --free --label second --pin " PIN " --so-pin 12345678 >/dev/null");
    begin_anew(w.pin_file);
    assert_ok(bm_key_generate(&w.ring, uri, "EC:P-256", &err));
    assert_ok(bm_key_destroy(&w.ring, uri, &err));
    assert_int_equal(bm_key_open(&w.ring, uri, &k, &err), BM_NOTFOUND);
    assert_ok(bm_key_destroy(&w.ring, uri, &err));
    assert_int_equal(bm_key_destroy(&w.ring, "file:x", &err), BM_USAGE);
    assert_ok(bm_key_generate(&w.ring, uri, "EC:P-384", &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_signs),
        cmocka_unit_test(stays_in_the_token),
        cmocka_unit_test(unfit),
        cmocka_unit_test(refused),
        cmocka_unit_test(no_module),
        cmocka_unit_test(wrong_pin_is_tried_once),
        cmocka_unit_test(lost_and_found),
        cmocka_unit_test(wrong_signatures_are_seen),
        cmocka_unit_test(the_store_goes_away),
        cmocka_unit_test(same_label_twice),
        cmocka_unit_test(destroyed),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
