/* A device's way to its certificate by device-attest-01, as the keeper sees it: newOrder, authorization, challenge, finalize, certificate. */
#include "keeper_fixture.h"

#include "keeper/acme.h"
#include "pki/attest.h"

#define HOST "acme.test:8443"
#define BASE "https://" HOST "/acme/"

static struct world w;
static struct party maker;
static struct dev device;

/* --- a client ------------------------------------------------------------------------------------------------------------------------- */
struct client {
    struct party key;
    char kid[128], nonce[128], order[128];
    char location[256], help[64], token[64];
    unsigned status;
    char code[32];
    struct bm_buf body;
};

static void take_told(struct client *c, struct bm_rd out)
{
    struct bm_acme_told t;

    assert_ok(bm_acme_told_parse(out, &t, &err));
    c->status = t.status;
    snprintf(c->code, sizeof c->code, "%s", t.code);
    snprintf(c->nonce, sizeof c->nonce, "%.*s", (int)t.nonce.n, (const char *)t.nonce.p);
    snprintf(c->location, sizeof c->location, "%.*s", (int)t.location.n, (const char *)t.location.p);
    snprintf(c->help, sizeof c->help, "%.*s", (int)t.help.n, (const char *)t.help.p);
    c->body.n = 0;
    c->body.max = BM_COMMAND_MAX;
    bm_buf_put(&c->body, t.body.p, t.body.n);
}

static void send_body(struct client *c, const char *what, const char *label, struct bm_rd body)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX }, out = { .max = BM_COMMAND_MAX };
    struct bm_acme_ask ask = { .correlation = "00000000000000aa",
                               .peer = "test",
                               .host = bm_rd_str(HOST),
                               .what = bm_rd_str(what),
                               .label = bm_rd_str(label),
                               .body = body };

    bm_acme_ask_write(&payload, &ask);
    assert_ok(command(&w, BM_CMD_ACME, bm_buf_rd(&payload), &out));
    take_told(c, bm_buf_rd(&out));
}

/* what: the path under /acme/, with an asterisk for the label. payload NULL: POST-as-GET. */
static void post(struct client *c, const char *what, const char *label, const char *payload)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf body = { .max = BM_COMMAND_MAX };
    const char *star = strchr(what, '*');
    char url[512];
    struct bm_acme_say say = { .key = c->key.key,
                               .url = url,
                               .nonce = c->nonce,
                               .kid = c->kid[0] != '\0' ? c->kid : NULL,
                               .payload = bm_rd_str(payload != NULL ? payload : "") };

    snprintf(url, sizeof url, BASE "%.*s%s%s", (int)(star != NULL ? (size_t)(star - what) : strlen(what)), what, label,
             star != NULL ? star + 1 : "");
    assert_ok(bm_acme_jws_write(&say, &body, &err));
    send_body(c, what, label, bm_buf_rd(&body));
}

static void want(const struct client *c, unsigned status, const char *code)
{
    if (c->status != status || strcmp(c->code, code) != 0)
        fail_msg("%u %s, wanted %u %s: %.*s", c->status, c->code, status, code, (int)c->body.n, (const char *)c->body.p);
}

static json_t *answer(const struct client *c)
{
    json_t *j = json_loadb((const char *)c->body.p, c->body.n, 0, NULL);

    if (j == NULL)
        fail_msg("no JSON: %.*s", (int)c->body.n, (const char *)c->body.p);
    return j;
}

static void join(struct client *c)
{
    BM_CLEANUP(json_unref) json_t *eab = admin(&w, "{\"op\":\"eab.create\",\"batch\":\"lot\"}"), *ask = NULL;
    char *text;

    *c = (struct client){ 0 };
    party_keys(&c->key, "P-256");
    send_body(c, "new-nonce", "", bm_rd_of(NULL, 0));
    ask = json_pack(
        "{s:o}", "externalAccountBinding",
        bm_acme_binding(c->key.key, BASE "new-account", member_text(eab, "kid"), bm_rd_str(member_text(eab, "hmac_key")), &err));
    text = json_dumps(ask, 0);
    post(c, "new-account", "", text);
    free(text);
    want(c, 201, "");
    snprintf(c->kid, sizeof c->kid, "%.127s", c->location);
}

static void client_done(struct client *c)
{
    party_done(&c->key);
    bm_buf_done(&c->body);
}

/* --- the five requests ------------------------------------------------------------------------------------------------------------------ */
static void new_order(struct client *c)
{
    char ask[256];

    snprintf(ask, sizeof ask, "{\"identifiers\":[{\"type\":\"permanent-identifier\",\"value\":\"%s\"}]}", device.hex);
    post(c, "new-order", "", ask);
    if (c->status == 201)
        snprintf(c->order, sizeof c->order, "%.127s", c->location + strlen(BASE "order/"));
}

static void authorization(struct client *c)
{
    BM_CLEANUP(json_unref) json_t *j = NULL;
    const char *token;
    char label[140];

    snprintf(label, sizeof label, "%s-0", c->order);
    post(c, "authz/*", label, NULL);
    want(c, 200, "");
    j = answer(c);
    token = member_text(json_array_get(json_object_get(j, "challenges"), 0), "token");
    assert_non_null(token);
    snprintf(c->token, sizeof c->token, "%s", token != NULL ? token : "");
}

static void put_text(struct bm_buf *b, const char *s)
{
    uint8_t head = (uint8_t)(0x60 + strlen(s));

    bm_buf_put(b, &head, 1);
    bm_buf_str(b, s);
}

static void put_bytes(struct bm_buf *b, struct bm_rd raw)
{
    const uint8_t head[] = { 0x59, (uint8_t)(raw.n >> 8), (uint8_t)raw.n };

    bm_buf_put(b, head, sizeof head);
    bm_buf_put(b, raw.p, raw.n);
}

/* {"fmt": "packed", "attStmt": {"alg": -7, "sig": DER, "x5c": [certificate]}} */
static void statement(const struct client *c, struct bm_buf *out)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 256 };
    uint8_t thumbprint[32], sig[BM_SIGNATURE_MAX];
    size_t n = sizeof sig;

    assert_ok(bm_jwk_thumbprint(bm_key_spki(c->key.key), thumbprint, &err));
    bm_acme_key_authorization(c->token, thumbprint, &text);
    assert_ok(bm_key_sign(device.id.key, bm_buf_rd(&text), sig, &n, &err));
    bm_buf_put(out, "\xa2", 1);
    put_text(out, "fmt");
    put_text(out, "packed");
    put_text(out, "attStmt");
    bm_buf_put(out, "\xa3", 1);
    put_text(out, "alg");
    bm_buf_put(out, "\x26", 1);
    put_text(out, "sig");
    put_bytes(out, bm_rd_of(sig, n));
    put_text(out, "x5c");
    bm_buf_put(out, "\x81", 1);
    put_bytes(out, bm_buf_rd(&device.id.cert));
}

static void post_encoded(struct client *c, const char *what, const char *label, const char *member, struct bm_rd raw)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 65536 };

    bm_buf_printf(&text, "{\"%s\":\"", member);
    bm_base64url(&text, raw);
    bm_buf_str(&text, "\"}");
    bm_buf_put(&text, "", 1);
    assert_ok(bm_buf_check(&text, &err));
    post(c, what, label, (const char *)text.p);
}

static void challenge(struct client *c)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf object = { .max = 8192 };
    char label[140];

    snprintf(label, sizeof label, "%s-0-0", c->order);
    statement(c, &object);
    post_encoded(c, "chall/*", label, "attObj", bm_buf_rd(&object));
}

static void finalize(struct client *c)
{
    post_encoded(c, "order/*/finalize", c->order, "csr", bm_buf_rd(&device.csr));
}

static void enrol(struct client *c)
{
    new_order(c);
    want(c, 201, "");
    authorization(c);
    challenge(c);
    want(c, 200, "");
    finalize(c);
    want(c, 200, "");
    post(c, "cert/*", c->order, NULL);
    want(c, 200, "");
}

/* --- tests ------------------------------------------------------------------------------------------------------------------------------ */
static int open_world(void **state)
{
    (void)state;
    world_open(&w);
    party_keys(&maker, "P-256");
    party_certify(&maker, "maker CA", NULL, true, 86400 * 365L);
    pin(&w, "chips", "birth", bm_buf_rd(&maker.cert));
    dev_make(&device);
    party_certify(&device.id, device.hex, &maker, false, 86400);
    register_device(&w, "lot", &device);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    dev_done(&device);
    party_done(&maker);
    world_close(&w);
    return 0;
}

/* The same again and again, as accounts and chains are remembered meanwhile; and a certificate is for the account that ordered it. */
static void a_device_enrols(void **state)
{
    struct client c, other;

    (void)state;
    join(&c);
    join(&other);
    for (int i = 0; i < 3; i++) {
        enrol(&c);
        assert_memory_equal(c.body.p, "-----BEGIN CERTIFICATE-----", 27);
    }
    post(&other, "cert/*", c.order, NULL);
    want(&other, 404, "acme-not-found");
    post(&c, "cert/*", "999999", NULL);
    want(&c, 404, "acme-not-found");
    post(&c, "cert/*", c.order, "{}");
    want(&c, 400, "acme-payload");
    new_order(&c);
    post(&c, "cert/*", c.order, NULL); /* nothing has come of it yet */
    want(&c, 404, "acme-not-found");
    client_done(&c);
    client_done(&other);
}

static void put_jwk(struct bm_buf *out, const struct party *p)
{
    assert_ok(bm_jwk_write(bm_key_spki(p->key), out, &err));
}

/* Section 7.3.5: signed by the new key within, by the old one without. */
static void change_key(struct client *c, struct party *next)
{
    BM_CLEANUP(bm_buf_done)
    struct bm_buf header = { .max = 4096 }, payload = { .max = 4096 }, tbs = { .max = 8192 }, ask = { .max = 8192 };
    uint8_t sig[BM_SIGNATURE_MAX];
    size_t n = sizeof sig, dot;

    bm_buf_str(&header, "{\"alg\":\"ES256\",\"url\":\"" BASE "key-change\",\"jwk\":");
    put_jwk(&header, next);
    bm_buf_str(&header, "}");
    bm_buf_printf(&payload, "{\"account\":\"%s\",\"oldKey\":", c->kid);
    put_jwk(&payload, &c->key);
    bm_buf_str(&payload, "}");
    bm_base64url(&tbs, bm_buf_rd(&header));
    dot = tbs.n;
    bm_buf_str(&tbs, ".");
    bm_base64url(&tbs, bm_buf_rd(&payload));
    assert_ok(bm_key_sign_raw(next->key, bm_buf_rd(&tbs), sig, &n, &err));
    bm_buf_printf(&ask, "{\"protected\":\"%.*s\",\"payload\":\"%.*s\",\"signature\":\"", (int)dot, (const char *)tbs.p,
                  (int)(tbs.n - dot - 1), (const char *)tbs.p + dot + 1);
    bm_base64url(&ask, bm_rd_of(sig, n));
    bm_buf_str(&ask, "\"}");
    bm_buf_put(&ask, "", 1);
    post(c, "key-change", "", (const char *)ask.p);
}

/* What was opened for an account is of use to nobody once the account has another key, or is closed. */
static void changes_count_at_once(void **state)
{
    struct party next, old;
    struct client c;

    (void)state;
    join(&c);
    enrol(&c);
    party_keys(&next, "P-256");
    change_key(&c, &next);
    want(&c, 200, "");
    new_order(&c); /* by the old key */
    want(&c, 403, "acme-signature");
    old = c.key;
    c.key = next;
    enrol(&c);
    post(&c, "acct/*", strrchr(c.kid, '/') + 1, "{\"status\":\"deactivated\"}");
    want(&c, 200, "");
    new_order(&c);
    want(&c, 403, "acme-account-closed");
    party_done(&old);
    client_done(&c);
}

/* What was shown and found good is judged again when the order is finalized: the issuer may be trusted no more, the device suspended. */
static void judged_again_at_the_end(void **state)
{
    struct client c;

    (void)state;
    join(&c);
    new_order(&c);
    authorization(&c);
    challenge(&c);
    want(&c, 200, "");
    admin_ok(&w, "{\"op\":\"device.suspend\",\"udid\":\"%s\"}", device.hex);
    finalize(&c);
    if (c.status == 200)
        fail_msg("a suspended device got a certificate");
    admin_ok(&w, "{\"op\":\"device.resume\",\"udid\":\"%s\"}", device.hex);
    finalize(&c);
    want(&c, 200, "");
    client_done(&c);
}

/* RFC 8555 section 6.6: who has asked too much learns where the limits are told; nobody else is sent there. */
static void limits_are_explained(void **state)
{
    struct client c;

    (void)state;
    w.k->options.acme_help_url = "https://docs.test/limits";
    join(&c);
    post(&c, "cert/*", "999999", NULL);
    want(&c, 404, "acme-not-found");
    assert_string_equal(c.help, "");
    for (int i = 0; i < BM_ACME_ORDERS_OPEN; i++)
        new_order(&c);
    want(&c, 201, "");
    assert_string_equal(c.help, "");
    new_order(&c);
    want(&c, 429, "acme-orders");
    assert_string_equal(c.help, "https://docs.test/limits");
    w.k->options.acme_help_url = NULL;
    new_order(&c);
    want(&c, 429, "acme-orders");
    assert_string_equal(c.help, "");
    client_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_device_enrols), cmocka_unit_test(changes_count_at_once),
                                        cmocka_unit_test(judged_again_at_the_end), cmocka_unit_test(limits_are_explained) };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
