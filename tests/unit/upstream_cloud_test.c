/* What the drivers of clouds and ACME make of each step's answer, good and bad, and that what they ask never holds more than it must. Whole ways through:
 * tests/e2e/test_upstream_clouds.py, tests/e2e/test_upstream_acme.py. */
#include "keeper/cloud.h"
#include "keeper/upstream_acme.h"
#include "pki_help.h"

#define U                                                                                                                          \
    "\"newNonce\":\"https://ca/n\",\"newAccount\":\"https://ca/a\",\"newOrder\":\"https://ca/"                                     \
    "o\",\"nonce\":\"AAAA\",\"kid\":\"https://ca/1\""
#define O                                                                                                                          \
    U ",\"order\":\"https://ca/2\",\"finalize\":\"https://ca/3\",\"authorizations\":[\"https://ca/"                                \
      "4\"],\"at\":0,\"authorization\":\"https://ca/4\""
#define R U ",\"revokeCert\":\"https://ca/r\""
#define STEP(name, rest) "{" rest ",\"step\":\"" name "\"}"
#define ARN "arn:aws:acm-pca:r:1:certificate-authority/x"
#define E(type) "{\"type\":\"urn:ietf:params:acme:error:" type "\",\"detail\":\"words\"}"
#define ORDER(status) "{\"status\":\"" status "\",\"authorizations\":[\"https://ca/4\"],\"finalize\":\"https://ca/3\""

/* said: stands in the sentence, or, when it goes on, in the state it leaves; NULL: this step again, later. */
static const struct row {
    const struct bm_upstream_driver *driver;
    const char *name, *state;
    unsigned status;
    const char *body;
    enum bm_rc want;
    const char *said;
} rows[] = {
    { &bm_upstream_acme, "directory", "", 200,
      "{\"newNonce\":\"https://ca/n\",\"newAccount\":\"https://ca/a\",\"newOrder\":\"https://ca/o\"}", BM_AGAIN, "\"lookup\"" },
    { &bm_upstream_acme, "directory of another", "", 200,
      "{\"newNonce\":\"https://ca/n\",\"newAccount\":\"https://cb/a\",\"newOrder\":\"https://ca/o\"}", BM_DENIED, "newAccount" },
    { &bm_upstream_acme, "directory over http", "", 200,
      "{\"newNonce\":\"http://ca/n\",\"newAccount\":\"https://ca/a\",\"newOrder\":\"https://ca/o\"}", BM_DENIED, "newNonce" },
    { &bm_upstream_acme, "directory with a host before", "", 200,
      "{\"newNonce\":\"https://ca@cb/n\",\"newAccount\":\"https://ca/a\",\"newOrder\":\"https://ca/o\"}", BM_DENIED, "newNonce" },
    { &bm_upstream_acme, "directory with a blank", "", 200,
      "{\"newNonce\":\"https://ca/ n\",\"newAccount\":\"https://ca/a\",\"newOrder\":\"https://ca/o\"}", BM_DENIED, "newNonce" },
    { &bm_upstream_acme, "directory twice", "", 200, "{\"newNonce\":\"https://ca/n\",\"newNonce\":\"https://ca/n\"}", BM_DENIED,
      "newNonce" },
    { &bm_upstream_acme, "directory is away", "", 503, "", BM_AGAIN, NULL },
    { &bm_upstream_acme, "a nonce is fetched", "{\"step\":\"lookup\",\"newNonce\":\"https://ca/n\"}", 200, "", BM_AGAIN,
      "\"BBBB\"" },
    { &bm_upstream_acme, "account there", STEP("lookup", U), 200, "{}", BM_AGAIN, "\"order\"" },
    { &bm_upstream_acme, "no account", STEP("lookup", U), 400, E("accountDoesNotExist"), BM_AGAIN, "\"register\"" },
    { &bm_upstream_acme, "account refused", STEP("register", U), 403, E("unauthorized"), BM_DENIED, "unauthorized: words" },
    { &bm_upstream_acme, "nonce refused", STEP("register", U), 400, E("badNonce"), BM_AGAIN, "\"badNonce\":1" },
    { &bm_upstream_acme, "rate limited", STEP("order", U), 429, E("rateLimited"), BM_AGAIN, NULL },
    { &bm_upstream_acme, "rate limited by its name", STEP("order", U), 400, E("rateLimited"), BM_AGAIN, NULL },
    { &bm_upstream_acme, "order", STEP("order", U), 201, ORDER("pending") "}", BM_AGAIN, "\"authorization\"" },
    { &bm_upstream_acme, "order that is ready", STEP("order", U), 201, ORDER("ready") "}", BM_AGAIN, "\"step\":\"finalize\"" },
    { &bm_upstream_acme, "order elsewhere", STEP("order", U), 201,
      "{\"status\":\"ready\",\"authorizations\":[\"https://ca/4\"],\"finalize\":\"https://cb/3\"}", BM_DENIED, "another server" },
    { &bm_upstream_acme, "order with authorizations elsewhere", STEP("order", U), 201,
      "{\"status\":\"ready\",\"authorizations\":[\"https://ca/4\",\"https://cb/5\"],\"finalize\":\"https://ca/3\"}", BM_DENIED,
      "another server" },
    { &bm_upstream_acme, "order without authorizations", STEP("order", U), 201,
      "{\"status\":\"ready\",\"authorizations\":[],\"finalize\":\"https://ca/3\"}", BM_DENIED, "without its addresses" },
    { &bm_upstream_acme, "authorization valid", STEP("authorization", O), 200, "{\"status\":\"valid\"}", BM_AGAIN, "\"poll\"" },
    { &bm_upstream_acme, "authorization not ours", STEP("authorization", O), 200, "{\"status\":\"pending\",\"challenges\":[]}",
      BM_DENIED, "does not know it as ours" },
    { &bm_upstream_acme, "authorization gone", STEP("authorization", O), 200, "{\"status\":\"expired\"}", BM_DENIED, "invalid" },
    { &bm_upstream_acme, "order ready", STEP("poll", O), 200, ORDER("ready") "}", BM_AGAIN, "\"step\":\"finalize\"" },
    { &bm_upstream_acme, "order valid", STEP("poll", O), 200, ORDER("valid") ",\"certificate\":\"https://ca/5\"}", BM_AGAIN,
      "\"step\":\"certificate\"" },
    { &bm_upstream_acme, "order valid elsewhere", STEP("poll", O), 200, ORDER("valid") ",\"certificate\":\"https://cb/5\"}",
      BM_DENIED, "names no certificate" },
    { &bm_upstream_acme, "order invalid", STEP("poll", O), 200, ORDER("invalid") ",\"error\":" E("caa") "}", BM_DENIED,
      "caa: words" },
    { &bm_upstream_acme, "finalized before", STEP("finalize", O), 403, E("orderNotReady"), BM_AGAIN, "\"poll\"" },
    { &bm_upstream_acme, "no certificate", STEP("certificate", O ",\"certificate\":\"https://ca/5\""), 200, "PEM", BM_DENIED,
      "PEM" },
    { &bm_upstream_acme, "damaged state", "{\"step\":\"none\"}", 200, "{}", BM_BUG, "damaged" },
    { &bm_upstream_awspca, "issued", "{\"token\":\"0\"}", 200, "{\"CertificateArn\":\"" ARN "/certificate/1\"}", BM_AGAIN,
      "/certificate/1" },
    { &bm_upstream_awspca, "issued by another", "{\"token\":\"0\"}", 200, "{\"CertificateArn\":\"arn:aws:acm-pca:r:2:x\"}",
      BM_DENIED, "no certificate of the CA" },
    { &bm_upstream_awspca, "throttled", "{\"token\":\"0\"}", 400, "{\"__type\":\"x#ThrottlingException\"}", BM_AGAIN, NULL },
    { &bm_upstream_awspca, "in progress before it was asked for", "{\"token\":\"0\"}", 400,
      "{\"__type\":\"RequestInProgressException\"}", BM_DENIED, "RequestInProgress" },
    { &bm_upstream_awspca, "in progress", "{\"arn\":\"" ARN "/1\"}", 400, "{\"__type\":\"RequestInProgressException\"}", BM_AGAIN,
      NULL },
    { &bm_upstream_awspca, "no text", "{\"arn\":\"" ARN "/1\"}", 200, "{\"Certificate\":1}", BM_DENIED, "no certificate" },
};

/* The same of steps that revoke. */
static const struct row revocations[] = {
    { &bm_upstream_acme, "directory", "", 200,
      "{\"newNonce\":\"https://ca/n\",\"newAccount\":\"https://ca/a\",\"revokeCert\":\"https://ca/r\"}", BM_AGAIN,
      "\"https://ca/r\"" },
    { &bm_upstream_acme, "directory without it", "", 200,
      "{\"newNonce\":\"https://ca/n\",\"newAccount\":\"https://ca/a\",\"newOrder\":\"https://ca/o\"}", BM_DENIED, "revokeCert" },
    { &bm_upstream_acme, "revoked elsewhere", "", 200,
      "{\"newNonce\":\"https://ca/n\",\"newAccount\":\"https://ca/a\",\"revokeCert\":\"https://cb/r\"}", BM_DENIED, "revokeCert" },
    { &bm_upstream_acme, "account there", STEP("lookup", R), 200, "{}", BM_AGAIN, "\"step\":\"revoke\"" },
    { &bm_upstream_acme, "no account, and none is made", STEP("lookup", R), 400, E("accountDoesNotExist"), BM_DENIED,
      "accountDoesNotExist" },
    { &bm_upstream_acme, "revoked", STEP("revoke", R), 200, "", BM_OK, NULL },
    { &bm_upstream_acme, "revoked before", STEP("revoke", R), 400, E("alreadyRevoked"), BM_OK, NULL },
    { &bm_upstream_acme, "reason not taken", STEP("revoke", R), 400, E("badRevocationReason"), BM_AGAIN, "\"unreasoned\":true" },
    { &bm_upstream_acme, "no reason not taken", STEP("revoke", R ",\"unreasoned\":true"), 400, E("badRevocationReason"), BM_DENIED,
      "badRevocationReason: words" },
    { &bm_upstream_acme, "nonce refused", STEP("revoke", R), 400, E("badNonce"), BM_AGAIN, "\"badNonce\":1" },
    { &bm_upstream_acme, "not ours", STEP("revoke", R), 403, E("unauthorized"), BM_DENIED, "unauthorized: words" },
    { &bm_upstream_acme, "down", STEP("revoke", R), 500, "", BM_AGAIN, NULL },
    { &bm_upstream_awspca, "revoked", "", 200, "{}", BM_OK, NULL },
    { &bm_upstream_awspca, "revoked before", "", 400, "{\"__type\":\"x#RequestAlreadyProcessedException\"}", BM_OK, NULL },
    { &bm_upstream_awspca, "being revoked", "", 400, "{\"__type\":\"RequestInProgressException\"}", BM_AGAIN, NULL },
    { &bm_upstream_awspca, "denied", "", 400, "{\"__type\":\"AccessDeniedException\",\"message\":\"words\"}", BM_DENIED, "words" },
    { &bm_upstream_awspca, "garbage", "", 400, "\xff", BM_DENIED, "400" },
};

static struct bm_upstream u = { .url = "https://ca", .options = "ca=" ARN };
static struct bm_upstream_secret s = { .login = { .max = 100 } };

static bool revokes(const struct row *r)
{
    return r >= revocations && r < revocations + BM_COUNT(revocations);
}

static enum bm_rc read_exact(const struct row *r, struct bm_rd body, struct bm_upstream_got *ret)
{
    uint8_t *p = exact(body);
    struct bm_task_answer a = { .status = (uint16_t)r->status, .nonce = bm_rd_str("BBBB"), .location = bm_rd_str("https://ca/9") };
    struct bm_upstream_job j = { .u = &u, .s = &s, .now = NOW, .state = bm_rd_str(r->state) };
    enum bm_rc rc;

    a.body = bm_rd_of(p, body.n);
    err = (struct bm_error){ 0 };
    *ret = (struct bm_upstream_got){ .room = { .max = BM_TASK_ANSWER_MAX }, .state = { .max = BM_UPSTREAM_STATE_MAX } };
    if (revokes(r))
        j.cert = bm_rd_str("a certificate");
    rc = revokes(r) ? r->driver->revoking->read(&j, &a, ret, &err) : r->driver->read(&j, &a, ret, &err);
    free(p);
    return rc;
}

static void got_done(struct bm_upstream_got *g)
{
    bm_buf_done(&g->room);
    bm_buf_done(&g->state);
}

static bool holds(struct bm_rd where, const char *what)
{
    return where.n != 0 && memmem(where.p, where.n, what, strlen(what)) != NULL;
}

static void each_row(const struct row *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        BM_CLEANUP(got_done) struct bm_upstream_got g;
        const struct row *r = &all[i];
        enum bm_rc rc = read_exact(r, bm_rd_str(r->body), &g);
        struct bm_rd said = rc == BM_AGAIN ? bm_buf_rd(&g.state) : bm_rd_str(err.what);

        if (rc != r->want || (r->said != NULL ? !holds(said, r->said) : said.n != 0))
            fail_msg("%s: %s, %s, state %.*s", r->name, bm_rc_name(rc), err.what, (int)g.state.n, (const char *)g.state.p);
    }
}

static void each_answer(void **state)
{
    (void)state;
    each_row(rows, BM_COUNT(rows));
    each_row(revocations, BM_COUNT(revocations));
}

/* What is cut short is never taken for the whole, and nothing is read behind its end. */
static void every_prefix(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        for (size_t n = 0; rows[i].status == 200 && n < strlen(rows[i].body); n++) {
            BM_CLEANUP(got_done) struct bm_upstream_got g;

            if (read_exact(&rows[i], bm_rd_of(rows[i].body, n), &g) == BM_OK)
                fail_msg("%s: cut to %zu bytes it passes", rows[i].name, n);
            if (strstr(rows[i].state, "lookup") == NULL) /* an account is known by its address alone */
                assert_true(rows[i].want == BM_BUG || err.rc == BM_DENIED);
        }
    }
}

/* The secret key stays here: only what it has signed goes to the courier. */
static void the_courier_sees_a_signature(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf task = { .max = BM_TASK_MAX };
    struct bm_upstream_job j = { .u = &u, .s = &s, .now = NOW, .state = bm_rd_str("{\"arn\":\"" ARN "/1\"}") };
    struct bm_task t;

    (void)state;
    assert_ok(bm_upstream_awspca.task(&j, &task, &err));
    assert_ok(bm_task_parse(bm_buf_rd(&task), &t, &err));
    assert_true(holds(bm_buf_rd(&task), "Credential=user/2026"));
    assert_false(holds(bm_buf_rd(&task), "geheim"));
}

static int begin(void **state)
{
    (void)state;
    bm_buf_str(&s.login, "user:geheim");
    return 0;
}

static int end(void **state)
{
    (void)state;
    bm_buf_done(&s.login);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_answer),
        cmocka_unit_test(every_prefix),
        cmocka_unit_test(the_courier_sees_a_signature),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
