/* One-time codes in the keeper: made once and kept as digests, good for what they were made for, as often as they may be used, and no
 * more; every refusal by its code, with nothing left behind. */
#include "keeper_fixture.h"

static struct world w;

static int open_world(void **state)
{
    (void)state;
    world_open(&w);
    admin_ok(&w, "{\"op\":\"product.set\",\"name\":\"meter\",\"policy\":{\"self_registration\":true}}");
    admin_ok(&w, "{\"op\":\"product.create\",\"name\":\"strict\",\"org\":\"acme\"}");
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"closed-shop\",\"product\":\"strict\",\"quota\":100}");
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"tight\",\"product\":\"meter\",\"quota\":1}");
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    if (w.k != NULL)
        history_holds(&w);
    world_close(&w);
    return 0;
}

/* Wrong codes of one test are not those of another. */
static int forget_attempts(void **state)
{
    (void)state;
    bm_attempts_drop(w.k);
    return 0;
}

/* --- helpers ---------------------------------------------------------------------------------------------------------------------- */
struct made {
    char text[BM_CODE_TEXT_LEN];
    json_int_t number;
};

__attribute__((format(printf, 1, 2))) static struct made make_code(const char *fmt, ...)
{
    BM_CLEANUP(json_unref) json_t *reply = NULL;
    const json_t *one;
    struct made m;
    char members[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(members, sizeof members, fmt, ap);
    va_end(ap);
    reply = admin(&w, "{\"op\":\"code.create\",%s}", members);
    one = json_array_get(json_object_get(reply, "codes"), 0);
    snprintf(m.text, sizeof m.text, "%s", member_text(one, "code"));
    m.number = member_int(one, "number");
    return m;
}

static void ask(struct bm_enrol *c, const char *code)
{
    *c = (struct bm_enrol){ .protocol = "est", .peer = "192.0.2.7", .evidence.kind = BM_EVIDENCE_CODE };
    c->evidence.code = bm_rd_str(code);
    next_correlation(&w, c);
}

static void want(struct bm_enrol *c, struct bm_rd csr)
{
    c->requests[c->n_requests++].csr = csr;
}

/* As curl does it: the request's key is all there is to see of the device. */
static void ask_batch(struct bm_enrol *c, const char *batch, const char *code, const struct dev *d)
{
    ask(c, code);
    c->claimed_batch = bm_rd_str(batch);
    want(c, bm_buf_rd(&d->csr));
}

static void ask_device(struct bm_enrol *c, const struct dev *d, const char *code)
{
    ask(c, code);
    c->claimed_udid = bm_rd_of(d->udid, sizeof d->udid);
    want(c, bm_buf_rd(&d->csr));
}

static enum bm_rc run(uint8_t type, const struct bm_enrol *asked, struct bm_buf *out)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX };
    struct bm_enrol c = *asked;

    prove(&w, &c);
    bm_enrol_write(&payload, &c);
    assert_false(payload.bad);
    return command(&w, type, bm_buf_rd(&payload), out);
}

static void granted(const struct bm_enrol *c, uint8_t ret_udid[BM_UDID_LEN])
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    struct bm_enrolled r;

    assert_ok(run(BM_CMD_ENROL, c, &out));
    assert_ok(bm_enrolled_parse(bm_buf_rd(&out), &r, &err));
    assert_int_equal(r.n_credentials, c->n_requests);
    memcpy(ret_udid, r.udid, BM_UDID_LEN);
}

/* Codes are no rows of `counts`: their uses are looked at as well. */
static json_int_t used(json_int_t number)
{
    BM_CLEANUP(json_unref) json_t *reply = admin(&w, "{\"op\":\"code.list\",\"limit\":1000}");
    const json_t *row;
    size_t i;

    json_array_foreach (json_object_get(reply, "rows"), i, row) {
        if (member_int(row, "id") == number)
            return member_int(row, "used");
    }
    fail_msg("code %lld is not listed", (long long)number);
    return -1;
}

static void refused_as(const char *name, const struct bm_enrol *c, const char *code)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    BM_CLEANUP(json_unref) json_t *told = NULL;
    char *before = counts_of(&w), *after;
    enum bm_rc rc = run(BM_CMD_ENROL, c, &out);

    if (rc == BM_OK || strcmp(bm_error_code(&err), code) != 0)
        fail_msg("%s: wanted %s, got %s: %s", name, code, bm_error_code(&err), err.what);
    after = counts_of(&w);
    assert_string_equal(before, after);
    free(before);
    free(after);
    told = admin(&w, "{\"op\":\"why\",\"id\":\"%s\"}", c->correlation); /* fails when nothing is known */
}

/* --- a batch's code ------------------------------------------------------------------------------------------------------------------ */
/* An unlisted key joins the batch with its quota, its owner and its audit leaf; the code is then used up. */
static void joins_a_batch(void **state)
{
    struct made m = make_code("\"batch\":\"lot\"");
    BM_CLEANUP(json_unref) json_t *leaf = NULL, *shown = NULL;
    uint8_t udid[BM_UDID_LEN];
    char hex[2 * BM_UDID_LEN + 1], *leaf_text;
    struct dev d, late;
    struct bm_enrol c;

    (void)state;
    dev_make(&d);
    dev_make(&late);
    ask_batch(&c, "lot", m.text, &d);
    granted(&c, udid);
    bm_udid_of(bm_key_spki(d.op.key), d.udid); /* the request's key is the IDevID key */
    assert_memory_equal(udid, d.udid, sizeof udid);
    bm_hex(udid, sizeof udid, hex);
    shown = admin(&w, "{\"op\":\"device.show\",\"udid\":\"%s\"}", hex);
    assert_string_equal(member_text(shown, "state"), "active");
    assert_string_equal(member_text(shown, "batch"), "lot");
    assert_string_equal(member_text(shown, "rot"), "software");
    leaf = leaf_of(&w, 1);
    assert_string_equal(member_text(leaf, "event"), "code.used");
    assert_string_equal(member_text(leaf, "udid"), hex);
    assert_true(json_is_true(json_object_get(leaf, "registered")));
    leaf_text = json_dumps(leaf, 0);
    assert_null(strstr(leaf_text, m.text));
    free(leaf_text);
    assert_int_equal(used(m.number), 1);
    ask_batch(&c, "lot", m.text, &late);
    refused_as("a second use", &c, "code-used-up");
    assert_int_equal(used(m.number), 1);
    dev_done(&d);
    dev_done(&late);
}

/* With a TLS client certificate or a signed challenge that key is the IDevID key, and the requests are free. */
static void shown_key_is_registered(void **state)
{
    struct made m = make_code("\"batch\":\"lot\",\"uses\":2");
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1000 }, tbs = { .max = BM_COMMAND_MAX };
    uint8_t udid[BM_UDID_LEN], challenge[BM_CHALLENGE_LEN], signature[256];
    size_t n = sizeof signature;
    struct dev tls, signer;
    struct bm_enrol c;

    (void)state;
    dev_make(&tls);
    dev_make(&signer);
    ask_batch(&c, "lot", m.text, &tls);
    c.evidence.cert = bm_buf_rd(&tls.id.cert);
    granted(&c, udid);
    assert_memory_equal(udid, tls.udid, sizeof udid);
    assert_ok(command(&w, BM_CMD_CHALLENGE, NO_BLOB, &out));
    memcpy(challenge, out.p, sizeof challenge);
    ask_batch(&c, "lot", m.text, &signer);
    c.claimed_udid = bm_rd_of(signer.udid, sizeof signer.udid);
    c.evidence.spki = bm_key_spki(signer.id.key);
    c.evidence.challenge = bm_rd_of(challenge, sizeof challenge);
    bm_enrol_tbs(&tbs, BM_CMD_ENROL, &c);
    assert_ok(bm_key_sign_raw(signer.id.key, bm_buf_rd(&tbs), signature, &n, &err));
    signature[3] ^= 1;
    c.evidence.signature = bm_rd_of(signature, n);
    refused_as("a signature by nobody", &c, "bad-signature");
    signature[3] ^= 1;
    next_correlation(&w, &c);
    granted(&c, udid);
    assert_memory_equal(udid, signer.udid, sizeof udid);
    assert_int_equal(used(m.number), 2);
    dev_done(&tls);
    dev_done(&signer);
}

/* --- a device's code ----------------------------------------------------------------------------------------------------------------- */
static void stands_for_a_device(void **state)
{
    struct dev d, other;
    struct made m;
    uint8_t udid[BM_UDID_LEN];
    struct bm_enrol c;

    (void)state;
    dev_make(&d);
    dev_make(&other);
    register_device(&w, "lot", &d);
    register_device(&w, "lot", &other);
    m = make_code("\"udid\":\"%s\"", d.hex);
    ask_device(&c, &other, m.text);
    refused_as("another device", &c, "code-wrong");
    ask_device(&c, &d, m.text);
    c.claimed_batch = bm_rd_str("tight");
    refused_as("another batch", &c, "wrong-batch");
    ask_device(&c, &d, m.text);
    granted(&c, udid);
    assert_memory_equal(udid, d.udid, sizeof udid);
    ask_device(&c, &d, m.text);
    refused_as("a second use", &c, "code-used-up");
    m = make_code("\"udid\":\"%s\"", d.hex);
    admin_ok(&w, "{\"op\":\"device.suspend\",\"udid\":\"%s\"}", d.hex);
    ask_device(&c, &d, m.text);
    refused_as("suspended", &c, "device-suspended");
    assert_int_equal(used(m.number), 0);
    dev_done(&d);
    dev_done(&other);
}

/* --- refused ------------------------------------------------------------------------------------------------------------------------- */
static struct dev stranger;
static struct made lot_code, strict_code, tight_code, revoked_code;

static void no_target(struct bm_enrol *c)
{
    c->claimed_batch = bm_rd_of(NULL, 0);
}
static void no_code(struct bm_enrol *c)
{
    c->evidence.code = bm_rd_of(NULL, 0);
}
static void mistyped(struct bm_enrol *c)
{
    c->evidence.code = bm_rd_str("0000-0000-0000-0000-0000-0000-0000");
}
static void never_made(struct bm_enrol *c)
{
    static const uint8_t zeros[BM_CODE_LEN];
    static char text[BM_CODE_TEXT_LEN];

    bm_code_write(zeros, text);
    c->evidence.code = bm_rd_str(text);
}
static void of_another_batch(struct bm_enrol *c)
{
    c->claimed_batch = bm_rd_str("tight");
}
static void of_no_batch(struct bm_enrol *c)
{
    c->claimed_batch = bm_rd_str("no-such-batch");
}
static void policy_off(struct bm_enrol *c)
{
    c->claimed_batch = bm_rd_str("closed-shop");
    c->evidence.code = bm_rd_str(strict_code.text);
}
static void is_revoked(struct bm_enrol *c)
{
    c->evidence.code = bm_rd_str(revoked_code.text);
}
static void another_udid(struct bm_enrol *c)
{
    static const uint8_t zeros[BM_UDID_LEN];

    c->claimed_udid = bm_rd_of(zeros, sizeof zeros);
}
static void two_keys(struct bm_enrol *c)
{
    static struct bm_buf other = { .max = BM_CSR_MAX };

    other.n = 0;
    assert_ok(bm_csr_make(stranger.id.key, "CN=x", &other, &err));
    want(c, bm_buf_rd(&other));
}
static void forged_request(struct bm_enrol *c)
{
    static uint8_t bytes[BM_CSR_MAX];

    memcpy(bytes, stranger.csr.p, stranger.csr.n);
    bytes[stranger.csr.n - 1] ^= 1;
    c->requests[0].csr = bm_rd_of(bytes, stranger.csr.n);
}
static void bare_key(struct bm_enrol *c)
{
    c->evidence.spki = bm_key_spki(stranger.id.key);
}
static void nothing_asked(struct bm_enrol *c)
{
    c->n_requests = 0;
}
static void renewal(struct bm_enrol *c)
{
    c->reenrol = true;
}

static const struct {
    const char *name;
    void (*change)(struct bm_enrol *c);
    const char *code;
} rows[] = {
    { "for nobody", no_target, "code-target" },
    { "empty", no_code, "code-mistyped" },
    { "mistyped", mistyped, "code-mistyped" },
    { "never made", never_made, "code-wrong" },
    { "of another batch", of_another_batch, "code-wrong" },
    { "for a batch that is not there", of_no_batch, "code-wrong" },
    { "policy does not allow it", policy_off, "self-registration-off" },
    { "revoked", is_revoked, "code-revoked" },
    { "another UDID than the key's", another_udid, "udid-mismatch" },
    { "requests over two keys", two_keys, "key-unproven" },
    { "a request its key did not sign", forged_request, "bad-signature" },
    { "a key without proof", bare_key, "key-unproven" },
    { "nothing asked for", nothing_asked, "no-requests" },
    { "to renew", renewal, "code-not-here" },
};

static void refusals(void **state)
{
    struct bm_enrol c;

    (void)state;
    dev_make(&stranger);
    lot_code = make_code("\"batch\":\"lot\",\"uses\":50");
    strict_code = make_code("\"batch\":\"closed-shop\",\"uses\":50");
    revoked_code = make_code("\"batch\":\"lot\",\"uses\":50");
    admin_ok(&w, "{\"op\":\"code.revoke\",\"number\":%lld}", (long long)revoked_code.number);
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        ask_batch(&c, "lot", lot_code.text, &stranger);
        rows[i].change(&c);
        refused_as(rows[i].name, &c, rows[i].code);
    }
    assert_int_equal(used(lot_code.number), 0);
    assert_int_equal(used(strict_code.number), 0);
    dev_done(&stranger);
}

/* The quota holds against codes too, and a use that met a full batch is not counted. */
static void quota_holds(void **state)
{
    struct dev one, two;
    uint8_t udid[BM_UDID_LEN];
    struct bm_enrol c;

    (void)state;
    dev_make(&one);
    dev_make(&two);
    tight_code = make_code("\"batch\":\"tight\",\"uses\":5");
    ask_batch(&c, "tight", tight_code.text, &one);
    granted(&c, udid);
    ask_batch(&c, "tight", tight_code.text, &two);
    refused_as("over the quota", &c, "quota-exceeded");
    assert_int_equal(used(tight_code.number), 1);
    dev_done(&one);
    dev_done(&two);
}

/* A code is good until its second, and no longer. */
static void its_time_is_over(void **state)
{
    struct made m = make_code("\"batch\":\"lot\",\"valid\":\"60s\"");
    struct bm_proven who = { 0 };
    struct dev d;
    struct bm_enrol c;
    int64_t now = bm_clock_s();

    (void)state;
    dev_make(&d);
    ask_batch(&c, "lot", m.text, &d);
    assert_ok(bm_evidence_judge(w.k, BM_CMD_ENROL, &c, now + 50, &who, &err));
    bm_proven_done(&who);
    who = (struct bm_proven){ 0 };
    assert_rc(bm_evidence_judge(w.k, BM_CMD_ENROL, &c, now + 61, &who, &err), BM_DENIED);
    assert_string_equal(err.code, "code-expired");
    bm_proven_done(&who);
    dev_done(&d);
}

/* A status says nothing to a code: it would be a way to try codes without using them up. */
static void no_status_by_code(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    struct made m = make_code("\"batch\":\"lot\"");
    struct bm_enrol c;

    (void)state;
    ask(&c, m.text);
    c.claimed_batch = bm_rd_str("lot");
    assert_rc(run(BM_CMD_STATUS, &c, &out), BM_DENIED);
    assert_string_equal(err.code, "code-not-here");
}

/* --- wrong ones are counted ------------------------------------------------------------------------------------------------------------ */
static void try_wrong(const char *peer, const char *batch, const struct dev *d, const char *code)
{
    struct bm_enrol c;

    ask_batch(&c, batch, "0000-0000-0000-0000-0000-0000-0000", d);
    snprintf(c.peer, sizeof c.peer, "%s", peer);
    refused_as(peer, &c, code);
}

/* By address, where even the right code then waits; and by target, where it does not, unless it comes from one that guessed. */
static void guessing_is_slow(void **state)
{
    struct made m = make_code("\"batch\":\"lot\",\"uses\":3");
    uint8_t udid[BM_UDID_LEN];
    struct dev d;
    struct bm_enrol c;
    char peer[40];

    (void)state;
    dev_make(&d);
    for (int i = 0; i < BM_CODE_TRIES_ADDRESS; i++)
        try_wrong("2001:db8::1", "lot", &d, "code-mistyped");
    try_wrong("2001:db8::2", "lot", &d, "too-many-attempts"); /* the same network */
    ask_batch(&c, "lot", m.text, &d);
    snprintf(c.peer, sizeof c.peer, "2001:db8::3");
    refused_as("the right one from there", &c, "too-many-attempts");
    assert_int_equal(bm_retry_after(&(struct bm_error){ .rc = BM_AGAIN, .code = "too-many-attempts" }), BM_CODE_TRIES_S);
    for (int i = 0; i < BM_CODE_TRIES_TARGET; i++) {
        snprintf(peer, sizeof peer, "198.51.100.%d", i + 1);
        try_wrong(peer, "lot", &d, "code-mistyped");
    }
    try_wrong("198.51.100.1", "lot", &d, "too-many-attempts"); /* its second, but the target has had its share */
    try_wrong("198.51.100.1", "closed-shop", &d, "code-mistyped");
    ask_batch(&c, "lot", m.text, &d); /* 192.0.2.7 never guessed */
    granted(&c, udid);
    dev_done(&d);
}

/* --- kept ------------------------------------------------------------------------------------------------------------------------------- */
static bool in_file(const char *path, struct bm_rd needle)
{
    FILE *f = fopen(path, "rb");
    static uint8_t bytes[1 << 24];
    size_t n = f != NULL ? fread(bytes, 1, sizeof bytes, f) : 0;

    if (f != NULL)
        fclose(f);
    return memmem(bytes, n, needle.p, needle.n) != NULL;
}

/* What a thief of the disk finds: neither the text nor the bits of a code. */
static void not_on_disk(void **state)
{
    struct made m = make_code("\"batch\":\"lot\",\"note\":\"findable\"");
    uint8_t raw[BM_CODE_LEN];
    char path[200];
    bool note = false;

    (void)state;
    assert_ok(bm_code_read(bm_rd_str(m.text), raw, &err));
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/registry.db%s", w.dir, i == 0 ? "" : "-wal");
        note |= in_file(path, bm_rd_str("findable")); /* we look where rows are */
        assert_false(in_file(path, bm_rd_str(m.text)));
        assert_false(in_file(path, bm_rd_of(raw, sizeof raw)));
    }
    assert_true(note);
}

static void administrators_words(void **state)
{
    static const struct {
        const char *request;
        enum bm_rc rc;
    } wrong[] = {
        { "{\"op\":\"code.create\"}", BM_USAGE },
        { "{\"op\":\"code.create\",\"batch\":\"lot\",\"udid\":\"00\"}", BM_USAGE },
        { "{\"op\":\"code.create\",\"batch\":\"nowhere\"}", BM_NOTFOUND },
        { "{\"op\":\"code.create\",\"udid\":\"00\"}", BM_USAGE },
        { "{\"op\":\"code.create\",\"udid\":\"0000000000000000000000000000000000000000000000000000000000000000\"}", BM_NOTFOUND },
        { "{\"op\":\"code.create\",\"udids\":[]}", BM_USAGE },
        { "{\"op\":\"code.create\",\"udids\":[1]}", BM_USAGE },
        { "{\"op\":\"code.create\",\"udids\":[\"00\"],\"uses\":2}", BM_USAGE },
        { "{\"op\":\"code.create\",\"batch\":\"lot\",\"uses\":0}", BM_USAGE },
        { "{\"op\":\"code.create\",\"batch\":\"lot\",\"uses\":-1}", BM_USAGE },
        { "{\"op\":\"code.create\",\"batch\":\"lot\",\"uses\":1000001}", BM_USAGE },
        { "{\"op\":\"code.create\",\"batch\":\"lot\",\"count\":0}", BM_USAGE },
        { "{\"op\":\"code.create\",\"batch\":\"lot\",\"count\":1001}", BM_USAGE },
        { "{\"op\":\"code.create\",\"batch\":\"lot\",\"valid\":\"\"}", BM_USAGE },
        { "{\"op\":\"code.create\",\"batch\":\"lot\",\"valid\":\"2001-01-01T00:00:00Z\"}", BM_USAGE },
        { "{\"op\":\"code.create\",\"batch\":\"lot\",\"valid\":\"11y\"}", BM_USAGE },
        { "{\"op\":\"code.create\",\"batch\":\"lot\",\"code\":\"x\"}", BM_USAGE },
        { "{\"op\":\"code.revoke\",\"number\":99999}", BM_NOTFOUND },
        { "{\"op\":\"code.revoke\"}", BM_USAGE },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(wrong); i++)
        assert_rc_(admin_do(&w, wrong[i].request, NO_BLOB, NULL), wrong[i].rc, wrong[i].request);
}

static void many_at_once(void **state)
{
    BM_CLEANUP(json_unref)
    json_t *reply = admin(&w, "{\"op\":\"code.create\",\"batch\":\"lot\",\"count\":1000}"), *seen = json_object();
    BM_CLEANUP(json_unref) json_t *leaf = NULL;
    const json_t *one;
    size_t i;

    (void)state;
    json_array_foreach (json_object_get(reply, "codes"), i, one) {
        assert_null(json_object_get(seen, member_text(one, "code")));
        json_object_set_new(seen, member_text(one, "code"), json_true());
    }
    assert_int_equal(json_object_size(seen), 1000);
    leaf = leaf_of(&w, 0);
    assert_string_equal(member_text(leaf, "event"), "code.created");
    assert_int_equal(member_int(leaf, "count"), 1000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, forget_attempts)
    const struct CMUnitTest tests[] = {
        TEST(joins_a_batch), TEST(shown_key_is_registered), TEST(stands_for_a_device), TEST(refusals),
        TEST(quota_holds),   TEST(its_time_is_over),        TEST(no_status_by_code),   TEST(guessing_is_slow),
        TEST(not_on_disk),   TEST(administrators_words),    TEST(many_at_once),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
