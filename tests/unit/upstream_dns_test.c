/* dns-01 towards an upstream CA over ACME (keeper/upstream_acme_dns.c): which names get a record, what the hook is told, and that a record goes before a
 * refusal is told. With pebble and a hook: tests/e2e/test_upstream_acme.py. */
#include "keeper/upstream_acme.h"
#include "names_csr.h"
#include "pki_help.h"

#define OPTIONS "challenge=dns-01,hook=https://hook/x,under=example,wait=7"
#define URLS                                                                                                                       \
    "\"newNonce\":\"https://ca/n\",\"newAccount\":\"https://ca/a\",\"newOrder\":\"https://ca/o\",\"nonce\":\"AAAA\","              \
    "\"kid\":\"https://ca/1\",\"order\":\"https://ca/2\",\"finalize\":\"https://ca/3\",\"authorizations\":[\"https://ca/4\"],"     \
    "\"at\":0,\"authorization\":\"https://ca/4\",\"challenge\":\"https://ca/5\""
#define RECORD "\"fqdn\":\"_acme-challenge.x.example.\",\"digest\":\"9KUOHGHVQPOaH5FO-2jQvrLik7s0uYqER6x9Xx7uzmU\""
#define STEP(name) "{" URLS ",\"step\":\"" name "\"}"
#define UP(name) "{" URLS "," RECORD ",\"step\":\"" name "\"}"
#define MORE(name, more) "{" URLS "," RECORD "," more ",\"step\":\"" name "\"}"
#define OFFER(value, type, url, token)                                                                                             \
    "{\"status\":\"pending\",\"identifier\":{\"type\":\"dns\",\"value\":\"" value "\"},\"challenges\":[{\"type\":\"" type          \
    "\",\"url\":\"" url "\"" token "}]}"
#define TOKEN ",\"token\":\"TTTT\""

static struct bm_upstream u = { .url = "https://ca", .options = OPTIONS };
static struct bm_upstream_secret s = { .client_key = { .max = 1000 }, .hook_login = { .max = 100 }, .hook_trust = { .max = 100 } };

/* said: in the sentence, or, when it goes on, in the state it leaves; NULL: this step again, later. wait_s: before the next step. */
static const struct row {
    const char *name, *state;
    unsigned status;
    const char *body;
    enum bm_rc want;
    const char *said, *also;
    uint32_t wait_s;
} rows[] = {
    /* RFC 8555 section 8.4; the digest was computed elsewhere */
    { "a record", STEP("authorization"), 200, OFFER("x.example", "dns-01", "https://ca/5", TOKEN), BM_AGAIN, RECORD,
      "\"step\":\"present\"", 0 },
    { "a wildcard's", STEP("authorization"), 200, OFFER("w.example", "dns-01", "https://ca/5", TOKEN), BM_AGAIN,
      "_acme-challenge.w.example.", NULL, 0 },
    { "a name that was not ordered", STEP("authorization"), 200, OFFER("y.example", "dns-01", "https://ca/5", TOKEN), BM_DENIED,
      "'y.example' proven, which was not ordered", NULL, 0 },
    { "the domain above", STEP("authorization"), 200, OFFER("example", "dns-01", "https://ca/5", TOKEN), BM_DENIED,
      "was not ordered", NULL, 0 },
    { "a name with a quotation mark", STEP("authorization"), 200, OFFER("x\\\".example", "dns-01", "https://ca/5", TOKEN),
      BM_DENIED, "was not ordered", NULL, 0 },
    { "another challenge", STEP("authorization"), 200, OFFER("x.example", "http-01", "https://ca/5", TOKEN), BM_DENIED,
      "offers no dns-01", NULL, 0 },
    { "a challenge elsewhere", STEP("authorization"), 200, OFFER("x.example", "dns-01", "https://cb/5", TOKEN), BM_DENIED,
      "offers no dns-01", NULL, 0 },
    { "no token", STEP("authorization"), 200, OFFER("x.example", "dns-01", "https://ca/5", ""), BM_DENIED, "without a token", NULL,
      0 },
    { "a token of other characters", STEP("authorization"), 200,
      OFFER("x.example", "dns-01", "https://ca/5", ",\"token\":\"TT.T\""), BM_DENIED, "without a token", NULL, 0 },
    { "written", UP("present"), 200, "", BM_AGAIN, "\"step\":\"respond\"", RECORD, 7 },
    { "the hook says no", UP("present"), 403, "no such \x1b zone", BM_DENIED, "answers 403: no such \\x1b zone", NULL, 0 },
    { "the hook is busy", UP("present"), 503, "", BM_AGAIN, NULL, NULL, 0 },
    { "the CA does not want to hear of it", UP("respond"), 403, "{\"type\":\"urn:ietf:params:acme:error:unauthorized\"}", BM_AGAIN,
      "\"step\":\"withdraw\"", "unauthorized", 0 },
    { "proven", UP("authorization"), 200, "{\"status\":\"valid\"}", BM_AGAIN, "\"step\":\"withdraw\"", RECORD, 0 },
    { "not proven", UP("authorization"), 200, "{\"status\":\"invalid\"}", BM_AGAIN, "\"step\":\"withdraw\"", "\"refusal\":", 0 },
    { "taken away", UP("withdraw"), 200, "", BM_AGAIN, "\"step\":\"poll\"", NULL, 0 },
    { "not there to take away", UP("withdraw"), 404, "", BM_AGAIN, "\"step\":\"poll\"", NULL, 0 },
    { "taken away later", UP("withdraw"), 503, "", BM_AGAIN, "\"withdrawn\":1", RECORD, BM_CLOUD_NAP_S },
    { "taken away never", MORE("withdraw", "\"withdrawn\":4"), 503, "", BM_AGAIN, "\"step\":\"poll\"", NULL, 0 },
    { "a refusal is told in the end", MORE("withdraw", "\"refusal\":\"words\""), 200, "", BM_DENIED, "words", NULL, 0 },
    { "also without the hook", MORE("withdraw", "\"refusal\":\"words\",\"withdrawn\":4"), 500, "", BM_DENIED, "words", NULL, 0 },
};

static void got_done(struct bm_upstream_got *g)
{
    bm_buf_done(&g->room);
    bm_buf_done(&g->state);
}

static bool holds(struct bm_rd where, const char *what)
{
    return where.n != 0 && memmem(where.p, where.n, what, strlen(what)) != NULL;
}

static struct bm_upstream_job job(const char *state)
{
    return (struct bm_upstream_job){
        .u = &u, .s = &s, .now = NOW, .csr = bm_rd_of(names_csr, sizeof names_csr - 1), .state = bm_rd_str(state)
    };
}

static enum bm_rc read_exact(const struct row *r, struct bm_rd body, struct bm_upstream_got *ret)
{
    uint8_t *p = exact(body);
    struct bm_task_answer a = { .status = (uint16_t)r->status, .nonce = bm_rd_str("BBBB"), .body = bm_rd_of(p, body.n) };
    struct bm_upstream_job j = job(r->state);
    enum bm_rc rc;

    err = (struct bm_error){ 0 };
    *ret = (struct bm_upstream_got){ .room = { .max = BM_TASK_ANSWER_MAX }, .state = { .max = BM_UPSTREAM_STATE_MAX } };
    rc = bm_upstream_acme.read(&j, &a, ret, &err);
    free(p);
    return rc;
}

static void each_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(got_done) struct bm_upstream_got g;
        const struct row *r = &rows[i];
        enum bm_rc rc = read_exact(r, bm_rd_str(r->body), &g);
        struct bm_rd said = rc == BM_AGAIN ? bm_buf_rd(&g.state) : bm_rd_str(err.what);
        bool right = r->said != NULL ? holds(said, r->said) && (r->also == NULL || holds(said, r->also)) : said.n == 0;

        if (rc != r->want || !right || g.wait_s != r->wait_s)
            fail_msg("%s: %s, %s, %u s, state %.*s", r->name, bm_rc_name(rc), err.what, g.wait_s, (int)g.state.n,
                     (const char *)g.state.p);
        if (r->also == NULL && rc == BM_AGAIN && strstr(r->state, "withdraw") != NULL)
            assert_false(holds(said, "fqdn")); /* or the next refusal would have it taken away once more */
    }
}

/* What is cut short writes no record. */
static void every_prefix(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        for (size_t n = 0; strcmp(rows[i].state, STEP("authorization")) == 0 && n < strlen(rows[i].body); n++) {
            BM_CLEANUP(got_done) struct bm_upstream_got g;

            assert_int_equal(read_exact(&rows[i], bm_rd_of(rows[i].body, n), &g), BM_DENIED);
        }
    }
}

/* The form of lego's provider "httpreq"; the account's key is not in it. */
static void what_the_hook_is_told(void **state)
{
    static const struct {
        const char *step, *url;
    } acts[] = { { UP("present"), "https://hook/x/present" }, { UP("withdraw"), "https://hook/x/cleanup" } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(acts); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf task = { .max = BM_TASK_MAX };
        struct bm_upstream_job j = job(acts[i].step);
        struct bm_task t;

        assert_ok(bm_upstream_acme.task(&j, &task, &err));
        assert_ok(bm_task_parse(bm_buf_rd(&task), &t, &err));
        assert_true(bm_rd_eq(t.method, bm_rd_str("POST")) && bm_rd_eq(t.url, bm_rd_str(acts[i].url)) && !t.foreign);
        assert_true(bm_rd_eq(t.trust, bm_rd_str("trust")));
        assert_true(bm_rd_eq(t.body, bm_rd_str("{\"fqdn\":\"_acme-challenge.x.example.\",\"value\":"
                                               "\"9KUOHGHVQPOaH5FO-2jQvrLik7s0uYqER6x9Xx7uzmU\"}")));
        assert_int_equal(t.n_fields, 2);
        assert_true(bm_rd_eq(t.fields[1].value, bm_rd_str("Basic ZG5zOmdlaGVpbQ==")));
        assert_int_equal(t.client_key.n, 0);
        assert_false(holds(bm_buf_rd(&task), "PRIVATE"));
    }
}

/* A hook that is gone, and names that this CA is not to be asked for, end the errand before anybody is asked. */
static void what_is_not_asked(void **state)
{
    static const struct {
        const char *options, *state;
        enum bm_rc want;
        const char *said;
    } tries[] = {
        { OPTIONS, "", BM_OK, "" },
        { "challenge=dns-01,hook=https://hook,under=EXAMPLE", "", BM_OK, "" },
        { "challenge=dns-01,hook=https://hook,under=x.example", "", BM_DENIED, "'*.w.example' is not under 'x.example'" },
        { "challenge=dns-01,hook=https://hook,under=ample", "", BM_DENIED, "is not under" },
        { "challenge=http-01", "", BM_OK, "" },
        { "", UP("present"), BM_DENIED, "no hook any more" },
        { OPTIONS, STEP("present"), BM_DENIED, "no hook any more" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(tries); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf task = { .max = BM_TASK_MAX };
        struct bm_upstream_job j = job(tries[i].state);

        snprintf(u.options, sizeof u.options, "%s", tries[i].options);
        err = (struct bm_error){ 0 };
        if (bm_upstream_acme.task(&j, &task, &err) != tries[i].want || strstr(err.what, tries[i].said) == NULL)
            fail_msg("'%s': %s", tries[i].options, err.what);
    }
    snprintf(u.options, sizeof u.options, OPTIONS);
}

/* Breaks when certificates of such a CA cannot be revoked, whatever names they have. */
static void a_revocation_orders_no_names(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf task = { .max = BM_TASK_MAX };
    struct bm_upstream_job j = { .u = &u, .s = &s, .now = NOW, .cert = bm_rd_str("a certificate") };

    (void)state;
    assert_ok(bm_upstream_acme.revoking->task(&j, &task, &err));
}

static void what_is_taken_in(void **state)
{
    static const struct {
        const char *options, *said; /* NULL: good */
    } tries[] = {
        { OPTIONS, NULL },
        { "challenge=dns-01,hook=https://hook,under=a.example", NULL },
        { "challenge=dns-01,hook=https://hook,under=a.example,wait=0", NULL },
        { "challenge=dns-01,under=example", "hook=https" },
        { "challenge=dns-01,hook=http://hook,under=example", "hook=https" },
        { "challenge=dns-01,hook=https://,under=example", "hook=https" },
        { "challenge=dns-01,hook=https://u@hook,under=example", "hook=https" },
        { "challenge=dns-01,hook=https://hook/?a,under=example", "hook=https" },
        { "challenge=dns-01,hook=https://hook", "under=DOMAIN" },
        { "challenge=dns-01,hook=https://hook,under=*.example", "under=DOMAIN" },
        { "challenge=dns-01,hook=https://hook,under=a..b", "under=DOMAIN" },
        { "challenge=dns-01,hook=https://hook,under=example,wait=3601", "wait" },
        { "challenge=dns-01,hook=https://hook,under=example,wait=1s", "wait" },
        { "challenge=tls-alpn-01", "http-01 or dns-01" },
        { "challenge=http-01,wait=1", "wait goes with" },
        { "hook=https://hook", "hook goes with" },
        { "challenge=http-01", "--hook-login" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(tries); i++) {
        snprintf(u.options, sizeof u.options, "%s", tries[i].options);
        err = (struct bm_error){ 0 };
        if (bm_upstream_acme.check(&u, &s, &err) != (tries[i].said != NULL ? BM_USAGE : BM_OK) ||
            (tries[i].said != NULL && strstr(err.what, tries[i].said) == NULL))
            fail_msg("'%s': %s", tries[i].options, err.what);
    }
    snprintf(u.options, sizeof u.options, OPTIONS);
}

static int begin(void **state)
{
    (void)state;
    bm_buf_str(&s.client_key, account_pem);
    bm_buf_str(&s.hook_login, "dns:geheim");
    bm_buf_str(&s.hook_trust, "trust");
    return 0;
}

static int end(void **state)
{
    (void)state;
    bm_upstream_secret_done(&s);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_answer),       cmocka_unit_test(every_prefix),     cmocka_unit_test(what_the_hook_is_told),
        cmocka_unit_test(what_is_not_asked), cmocka_unit_test(what_is_taken_in), cmocka_unit_test(a_revocation_orders_no_names),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
