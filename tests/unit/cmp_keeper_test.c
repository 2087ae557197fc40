/* CMP at the keeper, with OpenSSL's client in the same process: its messages go straight to the door, at a time of the test's choice. */
#include "keeper_enrol.h"

#include "pki/cmp.h"
#include "store/cmp.h"
#include "store/mac_key.h"

#include <openssl/cmp.h>
#include <openssl/cmp_util.h>
#include <openssl/err.h>

static int64_t client_ahead_s; /* libcrypto asks for the time here: so far ahead is the client's clock */

time_t time(time_t *ret)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_sec += client_ahead_s;
    if (ret != NULL)
        *ret = ts.tv_sec;
    return ts.tv_sec;
}

struct end {
    struct world *w;
    int64_t ahead_s;  /* the keeper's clock is so far ahead of the client's */
    bool lose_answer; /* the next answer is lost on the way */
    char code[32];    /* of the last refusal */
};

static OSSL_CMP_MSG *transfer(OSSL_CMP_CTX *ctx, const OSSL_CMP_MSG *req)
{
    struct end *end = OSSL_CMP_CTX_get_transfer_cb_arg(ctx);
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX }, out = { .max = 1 << 20 };
    struct bm_message m = { .correlation = "0123456789abcdef", .peer = "192.0.2.7" };
    struct bm_cmp_told told;
    uint8_t *der = NULL;
    const uint8_t *p;
    int n = i2d_OSSL_CMP_MSG(req, &der);

    assert_true(n > 0);
    m.body = bm_rd_of(der, (size_t)n);
    bm_message_write(&payload, &m);
    OPENSSL_free(der);
    assert_ok(bm_keeper_begin(end->w->k, &err));
    assert_ok(
        bm_keeper_settle(end->w->k, bm_run_cmp(end->w->k, bm_buf_rd(&payload), bm_clock_s() + end->ahead_s, &out, &err), &err));
    assert_ok(bm_cmp_told_parse(bm_buf_rd(&out), &told, &err));
    memcpy(end->code, told.code, sizeof end->code);
    if (end->lose_answer) {
        ERR_raise(ERR_LIB_CMP, 0);
        return NULL;
    }
    p = told.der.p;
    return d2i_OSSL_CMP_MSG(NULL, &p, (long)told.der.n);
}

static X509 *x509_of(struct bm_rd der)
{
    const uint8_t *p = der.p;
    X509 *x = d2i_X509(NULL, &p, (long)der.n);

    assert_non_null(x);
    return x;
}

static OSSL_CMP_CTX *client_new(struct world *w, struct end *end, const struct dev *d)
{
    OSSL_CMP_CTX *c = OSSL_CMP_CTX_new(NULL, NULL);
    X509_STORE *trusted = X509_STORE_new();
    X509 *cert = x509_of(bm_buf_rd(&d->id.cert)), *root;
    struct bm_issuer *by;

    *end = (struct end){ .w = w };
    assert_ok(bm_issuer_default(w->k, &by, &err));
    root = x509_of(bm_buf_rd(&by->chain[by->n_chain - 1]));
    assert_true(c != NULL && trusted != NULL && X509_STORE_add_cert(trusted, root) == 1);
    assert_int_equal(OSSL_CMP_CTX_set0_trustedStore(c, trusted), 1);
    assert_int_equal(OSSL_CMP_CTX_set1_cert(c, cert), 1);
    assert_int_equal(OSSL_CMP_CTX_set1_pkey(c, d->id.evp), 1);
    assert_int_equal(EVP_PKEY_up_ref(d->op.evp), 1);
    assert_int_equal(OSSL_CMP_CTX_set0_newPkey(c, 1, d->op.evp), 1);
    assert_int_equal(OSSL_CMP_CTX_set_transfer_cb(c, transfer), 1);
    assert_int_equal(OSSL_CMP_CTX_set_transfer_cb_arg(c, end), 1);
    X509_free(cert);
    X509_free(root);
    return c;
}

static void serial_of(const X509 *cert, uint8_t ret[BM_SERIAL_LEN])
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);

    assert_int_equal(ASN1_STRING_length(serial), BM_SERIAL_LEN);
    memcpy(ret, ASN1_STRING_get0_data(serial), BM_SERIAL_LEN);
}

static const char *state_of(struct world *w, const X509 *cert)
{
    static struct bm_revoked row;
    uint8_t serial[BM_SERIAL_LEN];

    serial_of(cert, serial);
    assert_ok(bm_credential_peek(w->k->store, serial, &row, &err));
    return row.state;
}

static bool any_due(struct world *w, int64_t now)
{
    struct bm_cmp_row row;
    enum bm_rc rc = bm_cmp_row_due(w->k->store, now, &row, &err);

    assert_true(rc == BM_OK || rc == BM_NOTFOUND);
    return rc == BM_OK;
}

/* A device that never confirms keeps its certificate, unless the product says that it is to be revoked. Either way the row goes. */
static void unconfirmed(void **state)
{
    static const char *const want[] = { "active", "revoked" };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(want); i++) {
        struct world w;
        struct end end;
        struct dev d;
        OSSL_CMP_CTX *c;
        X509 *got;
        int64_t before = bm_clock_s() + 2 * BM_CMP_CLOCK_S - 1, later;

        world_open(&w);
        if (i == 1)
            admin_ok(&w, "{\"op\":\"product.set\",\"name\":\"meter\",\"policy\":{\"revoke_unconfirmed\":true}}");
        dev_make(&d);
        register_device(&w, "lot", &d);
        c = client_new(&w, &end, &d);
        assert_int_equal(OSSL_CMP_CTX_set_option(c, OSSL_CMP_OPT_DISABLE_CONFIRM, 1), 1);
        got = OSSL_CMP_exec_IR_ses(c);
        if (got == NULL)
            fail_msg("no certificate: '%s'", end.code);
        later = bm_clock_s() + 2 * BM_CMP_CLOCK_S + 1;
        assert_false(bm_chore_step(w.k, &bm_chore_cmp, before));
        assert_string_equal(state_of(&w, got), "active");
        assert_true(any_due(&w, later));
        while (bm_chore_step(w.k, &bm_chore_cmp, later)) /* as many steps as a slow machine needs */
            ;
        assert_string_equal(state_of(&w, got), want[i]);
        assert_false(any_due(&w, later));
        history_holds(&w);
        OSSL_CMP_CTX_free(c);
        dev_done(&d);
        world_close(&w);
    }
}

/* One that has confirmed keeps it whatever the policy. */
static void confirmed(void **state)
{
    struct world w;
    struct end end;
    struct dev d;
    OSSL_CMP_CTX *c;
    X509 *got;

    (void)state;
    world_open(&w);
    admin_ok(&w, "{\"op\":\"product.set\",\"name\":\"meter\",\"policy\":{\"revoke_unconfirmed\":true}}");
    dev_make(&d);
    register_device(&w, "lot", &d);
    c = client_new(&w, &end, &d);
    got = OSSL_CMP_exec_IR_ses(c);
    assert_non_null(got);
    assert_string_equal(end.code, "");
    (void)bm_chore_step(w.k, &bm_chore_cmp, bm_clock_s() + 3 * BM_CMP_CLOCK_S);
    assert_string_equal(state_of(&w, got), "active");
    OSSL_CMP_CTX_free(c);
    dev_done(&d);
    world_close(&w);
}

/* A device's clock that is behind, by about as far as it may be, and by one second more. */
static void clocks(void **state)
{
    static const struct {
        int64_t ahead_s;
        const char *code;
    } rows[] = {
        { 0, "" },
        { BM_CMP_CLOCK_S - 60, "" },
        { BM_CMP_CLOCK_S + 1, "cmp-time" },
    };
    struct world w;
    struct dev d;

    (void)state;
    world_open(&w);
    dev_make(&d);
    register_device(&w, "lot", &d);
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct end end;
        OSSL_CMP_CTX *c = client_new(&w, &end, &d);

        end.ahead_s = rows[i].ahead_s;
        assert_int_equal(OSSL_CMP_CTX_set_option(c, OSSL_CMP_OPT_IMPLICIT_CONFIRM, 1), 1);
        assert_int_equal(OSSL_CMP_exec_IR_ses(c) != NULL, rows[i].code[0] == '\0');
        assert_string_equal(end.code, rows[i].code);
        OSSL_CMP_CTX_free(c);
    }
    dev_done(&d);
    world_close(&w);
}

/* A request whose answer was lost has been done, and a new one gets a certificate of its own: nothing waits for the lost one. */
static void lost_answer(void **state)
{
    struct world w;
    struct end end;
    struct dev d;
    OSSL_CMP_CTX *c;

    (void)state;
    world_open(&w);
    dev_make(&d);
    register_device(&w, "lot", &d);
    c = client_new(&w, &end, &d);
    end.lose_answer = true;
    assert_null(OSSL_CMP_exec_IR_ses(c));
    assert_string_equal(end.code, "");
    end.lose_answer = false;
    assert_int_equal(OSSL_CMP_CTX_reinit(c), 1);
    assert_non_null(OSSL_CMP_exec_IR_ses(c));
    OSSL_CMP_CTX_free(c);
    dev_done(&d);
    world_close(&w);
}

static bool kept(struct world *w, int64_t code)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key m = { 0 };
    char name[BM_NAME_LEN];
    enum bm_rc rc;

    snprintf(name, sizeof name, "code/%lld", (long long)code);
    rc = bm_mac_root(w->k->store, name, &m, &err);
    assert_true(rc == BM_OK || rc == BM_NOTFOUND);
    return rc == BM_OK;
}

static void step(struct world *w, int64_t at)
{
    while (bm_chore_step(w->k, &bm_chore_cmp, at))
        ;
}

/* The number of a code for this device, and its text. */
static int64_t code_for(struct world *w, const struct dev *d, char text[64])
{
    char udid[2 * BM_UDID_LEN + 1];
    json_t *reply;
    const json_t *one;
    int64_t number;

    bm_hex(d->udid, BM_UDID_LEN, udid);
    reply = admin(w, "{\"op\":\"code.create\",\"udid\":\"%s\",\"for\":\"cmp\",\"valid\":\"10d\"}", udid);
    one = json_array_get(json_object_get(reply, "codes"), 0);
    number = json_integer_value(json_object_get(one, "number"));
    snprintf(text, 64, "%s", json_string_value(json_object_get(one, "code")));
    json_decref(reply);
    return number;
}

/* The text of a code is not kept for longer than something can be done with it: two hours after its last use, for the sake of a certConf; as long after
 * its end; not at all once it is revoked. */
static void codes_are_forgotten(void **state)
{
    struct world w;
    struct end end;
    struct dev d;
    OSSL_CMP_CTX *c;
    char text[64], number[24];
    int64_t used, unused, revoked, now = bm_clock_s(), after = 2 * BM_CMP_CLOCK_S;

    (void)state;
    world_open(&w);
    dev_make(&d);
    register_device(&w, "lot", &d);
    unused = code_for(&w, &d, text);
    revoked = code_for(&w, &d, text);
    used = code_for(&w, &d, text);
    assert_true(kept(&w, used) && kept(&w, unused) && kept(&w, revoked));
    admin_ok(&w, "{\"op\":\"code.revoke\",\"number\":%lld}", (long long)revoked);
    assert_false(kept(&w, revoked));
    c = client_new(&w, &end, &d);
    snprintf(number, sizeof number, "%lld", (long long)used);
    assert_int_equal(OSSL_CMP_CTX_set1_referenceValue(c, (uint8_t *)number, (int)strlen(number)), 1);
    assert_int_equal(OSSL_CMP_CTX_set1_secretValue(c, (uint8_t *)text, (int)strlen(text)), 1);
    assert_non_null(OSSL_CMP_exec_IR_ses(c)); /* and confirmed, under the code that has just been used up */
    step(&w, now + after - 60);
    assert_true(kept(&w, used) && kept(&w, unused));
    step(&w, now + after + 60);
    assert_true(!kept(&w, used) && kept(&w, unused));
    step(&w, now + 10 * 86400 + after - 60);
    assert_true(kept(&w, unused));
    step(&w, now + 10 * 86400 + after + 60);
    assert_false(kept(&w, unused));
    OSSL_CMP_CTX_free(c);
    dev_done(&d);
    world_close(&w);
}

/* What waits is kept as long as an approval would be good, and no row of it stays. */
static void waiting_ends(void **state)
{
    struct world w;
    struct end end;
    struct dev d;
    OSSL_CMP_CTX *c;
    int after = 0;
    int64_t now = bm_clock_s();

    (void)state;
    world_open(&w);
    admin_ok(&w, "{\"op\":\"product.set\",\"name\":\"meter\",\"policy\":{\"approval\":\"always\"}}");
    dev_make(&d);
    register_device(&w, "lot", &d);
    c = client_new(&w, &end, &d);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(OSSL_CMP_try_certreq(c, BM_CMP_IR, NULL, &after), -1);
        assert_int_equal(after, BM_APPROVAL_RETRY_S);
        assert_string_equal(end.code, "approval-pending");
        step(&w, now + BM_APPROVAL_LIFE_S - 60);
    }
    step(&w, now + BM_APPROVAL_LIFE_S + 60);
    assert_false(any_due(&w, INT64_MAX - 1));
    assert_rc(bm_cmp_kept_get(w.k->store, 1, &(struct bm_buf){ 0 }, &err), BM_NOTFOUND);
    assert_int_not_equal(OSSL_CMP_try_certreq(c, BM_CMP_IR, NULL, &after), -1);
    assert_string_equal(end.code, "cmp-request");
    OSSL_CMP_CTX_free(c);
    dev_done(&d);
    world_close(&w);
}

static json_int_t waiting_number(struct world *w)
{
    BM_CLEANUP(json_unref) json_t *reply = admin(w, "{\"op\":\"approval.list\",\"state\":\"waiting\"}");

    return json_integer_value(json_object_get(json_array_get(json_object_get(reply, "rows"), 0), "id"));
}

/* The messageTime of a request that has waited for longer than an hour is not held against it; that of the poll has to be right, as in any
 * message. */
static void polls_late(void **state)
{
    static const struct {
        int64_t client_ahead_s;
        const char *code;
    } rows[] = { { 2 * BM_CMP_CLOCK_S, "" }, { BM_CMP_CLOCK_S - 60, "cmp-time" }, { 3 * BM_CMP_CLOCK_S + 60, "cmp-time" } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        struct world w;
        struct end end;
        struct dev d;
        OSSL_CMP_CTX *c;
        int after = 0;

        world_open(&w);
        admin_ok(&w, "{\"op\":\"product.set\",\"name\":\"meter\",\"policy\":{\"approval\":\"always\"}}");
        dev_make(&d);
        register_device(&w, "lot", &d);
        c = client_new(&w, &end, &d);
        assert_int_equal(OSSL_CMP_CTX_set_option(c, OSSL_CMP_OPT_IMPLICIT_CONFIRM, 1), 1);
        assert_int_equal(OSSL_CMP_try_certreq(c, BM_CMP_IR, NULL, &after), -1);
        admin_ok(&w, "{\"op\":\"approval.approve\",\"number\":%lld}", (long long)waiting_number(&w));
        end.ahead_s = 2 * BM_CMP_CLOCK_S;
        client_ahead_s = rows[i].client_ahead_s;
        assert_int_equal(OSSL_CMP_try_certreq(c, BM_CMP_IR, NULL, &after), rows[i].code[0] == '\0');
        client_ahead_s = 0;
        assert_string_equal(end.code, rows[i].code);
        OSSL_CMP_CTX_free(c);
        dev_done(&d);
        world_close(&w);
    }
}

/* What is no message at all is answered too, and written down. */
static void garbage(void **state)
{
    static const char *const bodies[] = { "", "0", "\x30", "not CMP" };
    struct world w;

    (void)state;
    world_open(&w);
    for (size_t i = 0; i < BM_COUNT(bodies); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX }, out = { .max = 1 << 20 };
        struct bm_message m = { .correlation = "0123456789abcdef", .peer = "192.0.2.7", .body = bm_rd_str(bodies[i]) };
        struct bm_cmp_told told;

        bm_message_write(&payload, &m);
        assert_ok(command(&w, BM_CMD_CMP, bm_buf_rd(&payload), &out));
        assert_ok(bm_cmp_told_parse(bm_buf_rd(&out), &told, &err));
        assert_string_equal(told.code, "malformed");
        payload.n--; /* a worker's frame that is cut short gets nothing */
        assert_rc(command(&w, BM_CMD_CMP, bm_buf_rd(&payload), &out), BM_MALFORMED);
    }
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unconfirmed),  cmocka_unit_test(confirmed),  cmocka_unit_test(clocks),
        cmocka_unit_test(lost_answer),  cmocka_unit_test(garbage),    cmocka_unit_test(codes_are_forgotten),
        cmocka_unit_test(waiting_ends), cmocka_unit_test(polls_late),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
