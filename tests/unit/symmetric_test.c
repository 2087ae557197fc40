/* Secret keys of devices in the keeper: how they come in, lie sealed, and move to another key-encryption key. Breaks when a sealed key opens for
 * another device, when a lost transaction loses a key, or when a stranger can tell one refusal from another. */
#include "keeper_fixture.h"

#include "keeper/symmetric.h"

static struct world w;
static struct chip chips[3];
static struct dev asking; /* whose key certificates are asked for */

static int open_world(void **state)
{
    (void)state;
    world_open(&w);
    admin_ok(&w, "{\"op\":\"product.set\",\"name\":\"meter\",\"policy\":{\"rot\":[\"symmetric-chip\",\"atecc608\"]}}");
    for (size_t i = 0; i < BM_COUNT(chips); i++)
        chip_add(&w, &chips[i], "lot");
    dev_make(&asking);
    register_device(&w, "lot", &asking);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    history_holds(&w);
    dev_done(&asking);
    world_close(&w);
    return 0;
}

/* --- asking ----------------------------------------------------------------------------------------------------------------------- */
struct question {
    struct bm_enrol c;
    uint8_t nonce[BM_CHALLENGE_LEN], mac[BM_MAC_MAX];
};

static void question_make(struct question *q, const struct chip *chip, const char *peer)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf tbs = { .max = BM_COMMAND_MAX }, out = { .max = 4096 };

    *q = (struct question){ .c = { .protocol = "onboard", .n_requests = 1 } };
    snprintf(q->c.peer, sizeof q->c.peer, "%s", peer);
    next_correlation(&w, &q->c);
    assert_ok(command(&w, BM_CMD_CHALLENGE, NO_BLOB, &out));
    memcpy(q->nonce, out.p, sizeof q->nonce);
    q->c.claimed_udid = bm_rd_of(chip->udid, BM_UDID_LEN);
    q->c.requests[0].csr = bm_buf_rd(&asking.csr);
    q->c.evidence = (struct bm_evidence){ .kind = BM_EVIDENCE_MAC, .challenge = bm_rd_of(q->nonce, sizeof q->nonce) };
    bm_enrol_tbs(&tbs, BM_CMD_ENROL, &q->c);
    assert_ok(bm_mac_make(bm_mac_find(bm_rd_str("hmac-sha256")), bm_rd_of(chip->secret, 32), bm_buf_rd(&tbs), q->mac, &err));
    q->c.evidence.signature = bm_rd_of(q->mac, sizeof q->mac);
}

static enum bm_rc question_ask(const struct question *q)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { .max = BM_COMMAND_MAX }, out = { .max = BM_FRAME_MAX };

    bm_enrol_write(&in, &q->c);
    return command(&w, BM_CMD_ENROL, bm_buf_rd(&in), &out);
}

static void enrols(const struct chip *chip)
{
    struct question q;

    question_make(&q, chip, "192.0.2.9:1");
    assert_ok(question_ask(&q));
}

static void enrolment(void **state)
{
    struct question q;

    (void)state;
    question_make(&q, &chips[0], "192.0.2.1:1");
    assert_ok(question_ask(&q));
    assert_rc(question_ask(&q), BM_DENIED);
    assert_string_equal(err.code, "challenge-used");
}

/* --- refusals --------------------------------------------------------------------------------------------------------------------- */
static void flip_mac(struct question *q)
{
    q->mac[7] ^= 1;
}
static void cut_mac(struct question *q)
{
    q->c.evidence.signature.n--;
}
static void no_mac(struct question *q)
{
    q->c.evidence.signature.n = 0;
}
static void other_csr(struct question *q)
{
    q->c.requests[0].csr.n--;
}
static void other_udid(struct question *q)
{
    q->c.claimed_udid = bm_rd_of(chips[1].udid, BM_UDID_LEN);
}
static void unknown_udid(struct question *q)
{
    static const uint8_t nobody[BM_UDID_LEN] = { 1 };

    q->c.claimed_udid = bm_rd_of(nobody, BM_UDID_LEN);
}
static void udid_of_key_pair(struct question *q)
{
    q->c.claimed_udid = bm_rd_of(asking.udid, BM_UDID_LEN);
}
static void old_challenge(struct question *q)
{
    q->nonce[3] ^= 1;
}
static void key_beside(struct question *q)
{
    q->c.evidence.spki = bm_key_spki(asking.id.key);
}
static void no_name(struct question *q)
{
    q->c.claimed_udid.n = 0;
}

static const struct {
    const char *name;
    void (*change)(struct question *q);
    const char *code, *truth; /* what the operator reads; NULL: the same */
} refusals[] = {
    { "a bit of the MAC", flip_mac, "mac-refused", "MAC is wrong" },
    { "a MAC cut short", cut_mac, "mac-refused", "MAC is wrong" },
    { "no MAC", no_mac, "mac-refused", "MAC is wrong" },
    { "another request", other_csr, "mac-refused", "MAC is wrong" },
    { "another chip's name", other_udid, "mac-refused", "MAC is wrong" },
    { "nobody's name", unknown_udid, "mac-refused", "no device with this UDID" },
    { "the name of one with a key pair", udid_of_key_pair, "mac-refused", "has a key pair" },
    { "an invented challenge", old_challenge, "challenge-unknown", NULL },
    { "a key beside the MAC", key_beside, "evidence-ambiguous", NULL },
    { "no name", no_name, "no-evidence", NULL },
};

static void refused_alike(void **state)
{
    char first[sizeof err.what] = "";

    (void)state;
    for (size_t i = 0; i < BM_COUNT(refusals); i++) {
        json_t *list;
        struct question q;
        char peer[32], *text;

        snprintf(peer, sizeof peer, "198.51.100.%zu:1", i);
        question_make(&q, &chips[0], peer);
        refusals[i].change(&q);
        assert_rc(question_ask(&q), strcmp(refusals[i].code, "evidence-ambiguous") == 0 ? BM_MALFORMED : BM_DENIED);
        print_message("  %s: %s\n", refusals[i].name, err.what);
        assert_string_equal(err.code, refusals[i].code);
        if (refusals[i].truth == NULL)
            continue;
        if (first[0] == '\0')
            snprintf(first, sizeof first, "%s", err.what);
        assert_string_equal(err.what, first); /* outside they are one */
        list = admin(&w, "{\"op\":\"why\",\"id\":\"%s\"}", q.c.correlation);
        text = json_dumps(list, 0);
        assert_non_null(strstr(text, refusals[i].truth));
        free(text);
        json_decref(list);
    }
    enrols(&chips[0]);
}

static void limited(void **state)
{
    struct question q;

    (void)state;
    for (int i = 0; i < BM_MAC_WRONG_MAX; i++) {
        question_make(&q, &chips[1], "203.0.113.5:4711");
        flip_mac(&q);
        assert_rc(question_ask(&q), BM_DENIED);
    }
    question_make(&q, &chips[1], "203.0.113.5:9999"); /* another port is no other stranger */
    assert_rc(question_ask(&q), BM_AGAIN);
    assert_string_equal(err.code, "mac-rate-limited");
    enrols(&chips[1]); /* and the device itself, from elsewhere, is not locked out */
}

/* --- the sealed rows -------------------------------------------------------------------------------------------------------------- */
static void row_of(const struct chip *c, struct bm_mac_key *ret)
{
    struct bm_device d = { 0 };

    assert_ok(bm_device_get(w.k->store, c->udid, &d, &err));
    assert_ok(bm_mac_key_of(w.k->store, d.id, ret, &err));
    bm_device_done(&d);
}

static void sealed_keys_open_for_their_device_only(void **state)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key m = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf plain = { .max = 64 };

    (void)state;
    row_of(&chips[0], &m);
    assert_null(memmem(m.sealed.p, m.sealed.n, chips[0].secret, 32));
    assert_ok(bm_mac_open(w.k, chips[0].udid, &m, &plain, &err));
    assert_true(plain.n == 32 && memcmp(plain.p, chips[0].secret, 32) == 0);
    plain.n = 0;
    assert_rc(bm_mac_open(w.k, chips[1].udid, &m, &plain, &err), BM_DENIED);
    for (size_t i = 0; i < m.sealed.n; i++) {
        m.sealed.p[i] ^= 1;
        assert_rc(bm_mac_open(w.k, chips[0].udid, &m, &plain, &err), BM_DENIED);
        m.sealed.p[i] ^= 1;
    }
    snprintf(m.alg, sizeof m.alg, "aes-cmac"); /* nor for another kind of MAC */
    assert_rc(bm_mac_open(w.k, chips[0].udid, &m, &plain, &err), BM_DENIED);
    snprintf(m.alg, sizeof m.alg, "hmac-sha256");
    for (size_t n = m.sealed.n; n-- > 0;) {
        uint8_t *cut = exact(bm_rd_of(m.sealed.p, n));
        struct bm_mac_key less = m;

        less.sealed = (struct bm_buf){ .p = cut, .n = n, .cap = n, .max = n };
        assert_rc(bm_mac_open(w.k, chips[0].udid, &less, &plain, &err), BM_DENIED);
        free(cut);
    }
    assert_int_equal(plain.n, 0);
}

/* --- rotation, with a crash wherever one can be ------------------------------------------------------------------------------------ */
static enum bm_rc step(bool *more)
{
    int64_t moved, now;
    enum bm_rc rc = bm_keeper_now(w.k, &now, &err);

    assert_ok(bm_store_begin(w.k->store, &err));
    if (rc == BM_OK)
        rc = bm_kek_step(w.k, now, &moved, more, &err);
    return rc;
}

/* The process dies with the transaction open: what was written is gone, what was done to files is not. */
static void crash(void)
{
    bm_store_rollback(w.k->store);
    bm_audit_rolled_back(&w.k->audit);
    world_reopen(&w);
}

static void all_enrol(void)
{
    for (size_t i = 0; i < BM_COUNT(chips); i++)
        enrols(&chips[i]);
}

static void every_step_survives_a_crash(void **state)
{
    int64_t id, now;
    bool more = true;
    int steps = 0;

    (void)state;
    assert_ok(bm_keeper_now(w.k, &now, &err));
    assert_ok(bm_store_begin(w.k->store, &err));
    assert_ok(bm_kek_rotate(w.k, now, &id, &err));
    crash(); /* a key file without a row */
    all_enrol();
    admin_ok(&w, "{\"op\":\"key.rotate\"}");
    assert_rc(admin_do(&w, "{\"op\":\"key.rotate\"}", NO_BLOB, NULL), BM_CONFLICT);
    assert_string_equal(err.code, "rotation-running");
    while (more) {
        assert_ok(step(&more));
        crash();
        all_enrol();
        assert_ok(step(&more));
        assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
        all_enrol();
        assert_true(++steps < 10);
    }
    assert_true(steps >= 3); /* rows, ending, destroyed */
    assert_false(bm_kek_pending(w.k));
}

static size_t count_keks(void)
{
    char path[100];
    const struct dirent *f;
    size_t n = 0;
    DIR *d;

    snprintf(path, sizeof path, "%s/keys", w.dir);
    d = opendir(path);
    assert_non_null(d);
    while ((f = readdir(d)) != NULL)
        n += strncmp(f->d_name, "kek-", 4) == 0;
    closedir(d);
    return n;
}

static void background_work_ends(void **state)
{
    size_t before = count_keks();
    int n = 0;

    (void)state;
    admin_ok(&w, "{\"op\":\"key.rotate\"}");
    assert_int_equal(count_keks(), before + 1);
    for (; bm_kek_pending(w.k); n++) {
        assert_true(n < 10);
        bm_kek_work(w.k);
    }
    assert_int_equal(count_keks(), before);
    all_enrol();
}

/* --- JWE -------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc jwe_try(const struct bm_key *k, struct bm_rd text, const char *sub)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf plain = { .max = 64 };
    struct bm_jwe j;
    enum bm_rc rc = bm_jwe_parse(text, &j, &err);

    if (rc == BM_OK)
        rc = bm_jwe_open(&j, k, bm_rd_str(sub), &plain, &err);
    if (rc != BM_OK)
        assert_int_equal(plain.n, 0);
    return rc;
}

static void jwe_is_whole_or_nothing(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_JWE_MAX };
    struct party us, them;

    (void)state;
    party_keys(&us, "P-256");
    party_keys(&them, "P-256");
    assert_ok(bm_jwe_make(bm_key_spki(us.key), bm_rd_str("me"), bm_rd_str("0123456789abcdef"), &text, &err));
    assert_ok(jwe_try(us.key, bm_buf_rd(&text), "me"));
    assert_rc(jwe_try(us.key, bm_buf_rd(&text), "you"), BM_DENIED);
    assert_rc(jwe_try(them.key, bm_buf_rd(&text), "me"), BM_DENIED);
    for (size_t n = 0; n < text.n; n++) {
        uint8_t *cut = exact(bm_rd_of(text.p, n));

        assert_true(jwe_try(us.key, bm_rd_of(cut, n), "me") != BM_OK);
        free(cut);
    }
    for (size_t i = 0; i < text.n; i++) {
        uint8_t was = text.p[i];

        text.p[i] = was == 'A' ? 'B' : 'A';
        assert_true(jwe_try(us.key, bm_buf_rd(&text), "me") != BM_OK);
        text.p[i] = was;
    }
    assert_rc(bm_jwe_make(bm_key_spki(w.signer.key), bm_rd_str("me"), bm_rd_str(""), &text, &err), BM_LIMIT);
    party_done(&us);
    party_done(&them);
}

static void jwe_is_for_p256_only(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_JWE_MAX };
    static const char *const algs[] = { "P-384", "ED25519", "RSA" };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(algs); i++) {
        struct party p;

        party_keys(&p, algs[i]);
        assert_rc(bm_jwe_make(bm_key_spki(p.key), bm_rd_str("me"), bm_rd_str("0123456789abcdef"), &text, &err), BM_USAGE);
        party_done(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(enrolment),
        cmocka_unit_test(refused_alike),
        cmocka_unit_test(limited),
        cmocka_unit_test(sealed_keys_open_for_their_device_only),
        cmocka_unit_test(every_step_survives_a_crash),
        cmocka_unit_test(background_work_ends),
        cmocka_unit_test(jwe_is_whole_or_nothing),
        cmocka_unit_test(jwe_is_for_p256_only),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
