/* The administrator's acts: every row of bm_admin_ops once as it should be, and each of its members missing, unknown or of the wrong kind;
 * then what each act means, the imports of manifests, and the stories that `why` tells. A refused act leaves the registry as it was. */
#include "keeper_fixture.h"

#include "base/file.h"

#include <errno.h>

static struct world w;
static struct dev dev_a, dev_b; /* a: enrolled; b: registered without a batch */
static char serial[2 * BM_SERIAL_LEN + 1];
static char refusal_id[17];

static enum bm_rc enrol(const struct dev *d, struct bm_buf *out)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX };
    struct bm_enrol c = { .protocol = "est", .peer = "192.0.2.1", .n_requests = 1 };

    next_correlation(&w, &c);
    memcpy(refusal_id, c.correlation, sizeof refusal_id);
    c.evidence.kind = BM_EVIDENCE_TLS;
    c.evidence.cert = bm_buf_rd(&d->id.cert);
    c.requests[0].csr = bm_buf_rd(&d->csr);
    prove(&w, &c);
    bm_enrol_write(&payload, &c);
    return command(&w, BM_CMD_ENROL, bm_buf_rd(&payload), out);
}

static void enrol_ok(const struct dev *d, char ret_serial[2 * BM_SERIAL_LEN + 1])
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    struct bm_enrolled a;
    struct bm_cert cert;

    assert_ok(enrol(d, &out));
    assert_ok(bm_enrolled_parse(bm_buf_rd(&out), &a, &err));
    assert_ok(bm_cert_parse(a.credentials[0].cert, &cert, &err));
    bm_hex(cert.serial.p, BM_SERIAL_LEN, ret_serial);
}

static char jwe[BM_JWE_MAX]; /* a root key, sealed for the registry of the test */

static void make_jwe(void)
{
    static const uint8_t secret[32] = { 1, 2, 3 };
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = sizeof jwe - 1 };
    BM_CLEANUP(bm_key_freep) struct bm_key *k = NULL;

    admin_ok(&w, "{\"op\":\"key.import\"}");
    assert_ok(bm_key_open(&w.k->ring, "file:import", &k, &err));
    assert_ok(bm_jwe_make(bm_key_spki(k), bm_rd_str("root-1"), bm_rd_of(secret, sizeof secret), &out, &err));
    memcpy(jwe, out.p, out.n);
}

/* PEM as it stands in a JSON text. */
static char csr_pem[2048], cert_pem[2048];

static void make_pem(const char *label, struct bm_rd der, char ret[2048])
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 2000 };
    struct bm_wr out = bm_wr_of(ret, 2047);

    bm_pem_write(&pem, label, der);
    for (size_t i = 0; i < pem.n; i++) {
        if (pem.p[i] == '\n')
            bm_wr_str(&out, "\\n");
        else
            bm_wr_put(&out, &pem.p[i], 1);
    }
    assert_false(pem.bad || out.bad);
    ret[out.n] = '\0';
}

static int open_world(void **state)
{
    (void)state;
    world_open(&w);
    make_jwe();
    dev_make(&dev_a);
    dev_make(&dev_b);
    register_device(&w, "lot", &dev_a);
    register_device(&w, NULL, &dev_b);
    enrol_ok(&dev_a, serial);
    make_pem("CERTIFICATE REQUEST", bm_buf_rd(&dev_a.csr), csr_pem);
    make_pem("CERTIFICATE", bm_buf_rd(&dev_a.id.cert), cert_pem);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    if (w.k != NULL)
        history_holds(&w);
    dev_done(&dev_a);
    dev_done(&dev_b);
    world_close(&w);
    return 0;
}

/* --- every operation ------------------------------------------------------------------------------------------------------------------ */
static const char profile_json[] = "{\"validity\":\"10d\",\"key_usage\":[\"digitalSignature\"],\"subject\":\"CN={udid}\"}";

/* In an order in which each finds what it needs. @A, @B: UDIDs, @S: a serial number. */
static const struct good {
    const char *request;
    enum { NOTHING, PEM, PROFILE } blob;
} goods[] = {
    { "{\"op\":\"org.create\",\"name\":\"new-org\",\"role\":\"auditor\",\"title\":\"Who Looks\"}", NOTHING },
    { "{\"op\":\"org.list\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"org.show\",\"name\":\"chips\"}", NOTHING },
    { "{\"op\":\"org.trust\",\"org\":\"new-org\",\"purpose\":\"birth\"}", PEM },
    { "{\"op\":\"profile.list\"}", NOTHING },
    { "{\"op\":\"profile.show\",\"name\":\"ldevid\"}", NOTHING },
    { "{\"op\":\"profile.set\",\"name\":\"ten-days\"}", PROFILE },
    { "{\"op\":\"ca.create\",\"name\":\"ca-2\",\"parent\":\"root\",\"alg\":\"EC:P-384\",\"profile\":\"issuing-ca\",\"org\":"
      "\"Two\"}",
      NOTHING },
    { "{\"op\":\"ca.list\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"ca.show\",\"name\":\"ca-2\"}", NOTHING },
    { "{\"op\":\"ca.default\",\"name\":\"issuing\"}", NOTHING },
    { "{\"op\":\"ca.set\",\"name\":\"ca-2\",\"crl_partitions\":4,\"crl_url\":\"http://pki.example/crl\"}", NOTHING },
    { "{\"op\":\"ca.rollover\",\"name\":\"root\",\"new\":\"root-2\",\"alg\":\"EC:P-384\",\"profile\":\"root-ca\"}", NOTHING },
    { "{\"op\":\"journal.show\"}", NOTHING },
    { "{\"op\":\"journal.rotate\"}", NOTHING },
    { "{\"op\":\"crl.show\",\"name\":\"issuing\"}", NOTHING },
    { "{\"op\":\"crl.export\",\"name\":\"root\",\"delta\":true}", NOTHING },
    { "{\"op\":\"ca.revoke\",\"name\":\"ca-2\",\"reason\":\"superseded\"}", NOTHING },
    { "{\"op\":\"service.create\",\"name\":\"svc\",\"kind\":\"mqtt\",\"title\":\"T\",\"profile\":\"ten-days\",\"org\":\"acme\","
      "\"endpoints\":["
      "\"mqtts://h:8883\"]}",
      NOTHING },
    { "{\"op\":\"service.set\",\"name\":\"svc\",\"title\":\"U\",\"kind\":\"https\",\"profile\":\"\",\"org\":\"chips\","
      "\"endpoints\":[]}",
      NOTHING },
    { "{\"op\":\"trust.show\",\"name\":\"svc\"}", NOTHING },
    { "{\"op\":\"service.list\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"service.show\",\"name\":\"svc\"}", NOTHING },
    { "{\"op\":\"product.create\",\"name\":\"prod\",\"org\":\"acme\",\"title\":\"P\",\"policy\":{\"services\":[\"svc\"]}}",
      NOTHING },
    { "{\"op\":\"product.set\",\"name\":\"prod\",\"title\":\"Q\",\"policy\":{\"rot\":[\"software\"],\"ca\":\"issuing\"}}",
      NOTHING },
    { "{\"op\":\"product.list\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"product.show\",\"name\":\"prod\"}", NOTHING },
    { "{\"op\":\"batch.create\",\"name\":\"b-1\",\"product\":\"prod\",\"quota\":7,\"ca\":\"issuing\",\"maker\":\"chips\"}",
      NOTHING },
    { "{\"op\":\"batch.set\",\"name\":\"b-1\",\"quota\":8,\"state\":\"closed\",\"ca\":\"issuing\",\"maker\":\"\"}", NOTHING },
    { "{\"op\":\"batch.hook\",\"name\":\"b-1\",\"url\":\"https://mdm.example/hook\"}", NOTHING },
    { "{\"op\":\"batch.list\",\"product\":\"prod\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"batch.show\",\"name\":\"b-1\"}", NOTHING },
    { "{\"op\":\"claim.create\",\"batch\":\"lot\",\"from_org\":\"acme\",\"valid\":\"5d\",\"note\":\"n\"}", NOTHING },
    { "{\"op\":\"claim.create\",\"udid\":\"@A\"}", NOTHING },
    { "{\"op\":\"ca.create\",\"name\":\"masa\",\"parent\":\"root\",\"profile\":\"masa-ca\"}", NOTHING },
    { "{\"op\":\"voucher.masa\",\"ca\":\"masa\",\"url\":\"masa.example:8443\"}", NOTHING },
    { "{\"op\":\"voucher.issue\",\"udid\":\"@A\",\"valid\":\"30d\"}", NOTHING },
    { "{\"op\":\"voucher.list\",\"udid\":\"@A\",\"org\":\"acme\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"voucher.show\",\"number\":1}", NOTHING },
    { "{\"op\":\"approval.list\",\"state\":\"waiting\",\"batch\":\"lot\",\"udid\":\"@A\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"claim.list\",\"batch\":\"lot\",\"udid\":\"@A\",\"owner\":\"chips\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"claim.revoke\",\"number\":1}", NOTHING },
    { "{\"op\":\"code.create\",\"batch\":\"lot\",\"uses\":2,\"count\":3,\"valid\":\"5d\",\"note\":\"n\"}", NOTHING },
    { "{\"op\":\"code.create\",\"udid\":\"@A\"}", NOTHING },
    { "{\"op\":\"code.create\",\"udids\":[\"@A\",\"@B\"]}", NOTHING },
    { "{\"op\":\"code.list\",\"batch\":\"lot\",\"udid\":\"@A\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"code.revoke\",\"number\":1}", NOTHING },
    { "{\"op\":\"eab.create\",\"batch\":\"lot\",\"uses\":2,\"valid\":\"5d\",\"note\":\"n\"}", NOTHING },
    { "{\"op\":\"eab.create\",\"product\":\"meter\"}", NOTHING },
    { "{\"op\":\"eab.create\",\"org\":\"acme\"}", NOTHING },
    { "{\"op\":\"eab.list\",\"batch\":\"lot\",\"product\":\"meter\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"acme-account.list\",\"kid\":\"k\",\"status\":\"valid\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"device.list\",\"state\":\"active\",\"batch\":\"lot\",\"product\":\"meter\",\"full\":true,\"after\":0,\"limit\":5}",
      NOTHING },
    { "{\"op\":\"device.show\",\"udid\":\"@A\"}", NOTHING },
    { "{\"op\":\"policy.test\",\"csr\":\"@R\",\"udid\":\"@A\",\"batch\":\"lot\",\"service\":\"svc\",\"protocol\":\"cmp\","
      "\"reenrol\":true,\"keygen\":true}",
      NOTHING },
    { "{\"op\":\"policy.test\",\"csr\":\"@R\",\"certificate\":\"@C\"}", NOTHING },
    { "{\"op\":\"policy.test\",\"csr\":\"@R\",\"udid\":\"@A\",\"code\":\"no code\"}", NOTHING },
    { "{\"op\":\"device.allocate\",\"udid\":\"@B\",\"batch\":\"lot\"}", NOTHING },
    { "{\"op\":\"device.suspend\",\"udid\":\"@A\",\"reason\":\"unspecified\"}", NOTHING },
    { "{\"op\":\"device.resume\",\"udid\":\"@A\",\"reason\":\"unspecified\"}", NOTHING },
    { "{\"op\":\"cert.list\",\"udid\":\"@A\",\"state\":\"active\",\"service\":\"svc\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"cert.show\",\"serial\":\"@S\"}", NOTHING },
    { "{\"op\":\"cert.revoke\",\"serial\":\"@S\",\"reason\":\"superseded\"}", NOTHING },
    { "{\"op\":\"device.transfer\",\"udid\":\"@A\",\"org\":\"chips\",\"force\":true}", NOTHING },
    { "{\"op\":\"device.offer\",\"udid\":\"@A\",\"org\":\"acme\",\"as\":\"chips\",\"until\":\"5d\"}", NOTHING },
    { "{\"op\":\"offer.list\",\"giver\":\"chips\",\"taker\":\"acme\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"device.withdraw\",\"udid\":\"@A\",\"as\":\"chips\"}", NOTHING },
    { "{\"op\":\"device.offer\",\"udid\":\"@A\",\"org\":\"acme\",\"as\":\"chips\"}", NOTHING },
    { "{\"op\":\"device.decline\",\"udid\":\"@A\",\"as\":\"acme\"}", NOTHING },
    { "{\"op\":\"device.offer\",\"udid\":\"@A\",\"org\":\"acme\",\"as\":\"chips\"}", NOTHING },
    { "{\"op\":\"device.accept\",\"udid\":\"@A\",\"as\":\"acme\"}", NOTHING },
    { "{\"op\":\"device.rent\",\"udid\":\"@A\",\"org\":\"chips\",\"as\":\"acme\",\"until\":\"2d\"}", NOTHING },
    { "{\"op\":\"device.extend\",\"udid\":\"@A\",\"until\":\"3d\"}", NOTHING },
    { "{\"op\":\"rental.list\",\"owner\":\"acme\",\"tenant\":\"chips\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"device.return\",\"udid\":\"@A\"}", NOTHING },
    { "{\"op\":\"device.reset\",\"udid\":\"@A\",\"reason\":\"superseded\"}", NOTHING },
    { "{\"op\":\"bulk.dry\",\"act\":\"transfer\",\"state\":\"active\",\"batch\":\"lot\",\"product\":\"meter\",\"owner\":\"acme\","
      "\"service\":\"svc\",\"org\":\"chips\",\"after\":0}",
      NOTHING },
    { "{\"op\":\"bulk.start\",\"act\":\"suspend\",\"service\":\"svc\",\"reason\":\"superseded\"}", NOTHING },
    { "{\"op\":\"bulk.cancel\",\"job\":1}", NOTHING },
    { "{\"op\":\"bulk.resume\",\"job\":1}", NOTHING },
    { "{\"op\":\"bulk.work\",\"job\":1}", NOTHING },
    { "{\"op\":\"bulk.start\",\"act\":\"retire\",\"listed\":true}", NOTHING },
    { "{\"op\":\"bulk.add\",\"job\":2}", NOTHING },
    { "{\"op\":\"bulk.show\",\"job\":1,\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"bulk.list\",\"state\":\"done\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"batch.compromise\",\"name\":\"b-1\",\"reason\":\"keyCompromise\"}", NOTHING },
    { "{\"op\":\"ca.create\",\"name\":\"ca-9\",\"parent\":\"root\"}", NOTHING },
    { "{\"op\":\"ca.compromise\",\"name\":\"ca-9\",\"default\":\"issuing\"}", NOTHING },
    { "{\"op\":\"ca.create\",\"name\":\"turn\",\"parent\":\"root\"}", NOTHING },
    { "{\"op\":\"ca.rotate\",\"name\":\"turn\",\"alg\":\"EC:P-384\"}", NOTHING },
    { "{\"op\":\"ca.rotate\",\"name\":\"turn-2\",\"successor\":\"turned\",\"at\":\"1h\",\"parent\":\"root\",\"profile\":\"issuing-"
      "ca\"}",
      NOTHING },
    { "{\"op\":\"ca.retire\",\"name\":\"turn\"}", NOTHING },
    { "{\"op\":\"ca.request\",\"name\":\"asked\",\"alg\":\"EC:P-384\"}", NOTHING },
    { "{\"op\":\"device.history\",\"udid\":\"@A\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"device.compromise\",\"udid\":\"@B\",\"reason\":\"keyCompromise\"}", NOTHING },
    { "{\"op\":\"device.retire\",\"udid\":\"@A\",\"reason\":\"cessationOfOperation\"}", NOTHING },
    { "{\"op\":\"manifest.begin\",\"format\":\"birthmark\",\"batch\":\"lot\",\"dry_run\":true}", PROFILE },
    { "{\"op\":\"manifest.list\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"host.list\"}", NOTHING },
    { "{\"op\":\"log.head\",\"log\":\"second\"}", NOTHING },
    { "{\"op\":\"log.entries\",\"from\":0,\"log\":\"second\"}", NOTHING },
    { "{\"op\":\"host.remove\",\"name\":\"second\"}", NOTHING },
    { "{\"op\":\"log.head\",\"log\":\"host-1\"}", NOTHING },
    { "{\"op\":\"log.head\"}", NOTHING },
    { "{\"op\":\"log.entries\",\"from\":0,\"to\":5}", NOTHING },
    { "{\"op\":\"log.inclusion\",\"index\":0,\"size\":3}", NOTHING },
    { "{\"op\":\"log.consistency\",\"from\":1,\"to\":3}", NOTHING },
    { "{\"op\":\"token.create\",\"name\":\"t-1\",\"role\":\"oem\",\"org\":\"acme\",\"expires\":\"never\"}", NOTHING },
    { "{\"op\":\"token.list\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"token.show\",\"name\":\"t-1\"}", NOTHING },
    { "{\"op\":\"token.revoke\",\"name\":\"t-1\"}", NOTHING },
    { "{\"op\":\"status\"}", NOTHING },
    { "{\"op\":\"why\",\"id\":\"@A\",\"limit\":10}", NOTHING },
    { "{\"op\":\"refusal.list\",\"udid\":\"@A\",\"code\":\"unknown-device\",\"after\":0,\"limit\":5}", NOTHING },
    { "{\"op\":\"clock.accept\"}", NOTHING },
    { "{\"op\":\"key.import\"}", NOTHING },
    { "{\"op\":\"key.root\",\"name\":\"root-1\",\"org\":\"chips\",\"kdf\":\"hkdf-sha256\",\"sealed\":\"@J\"}", NOTHING },
    { "{\"op\":\"key.add\",\"org\":\"chips\",\"rot\":\"symmetric-chip\",\"id\":\"AQID\",\"mac\":\"aes-cmac\",\"root\":\"root-1\","
      "\"batch\":\"lot\"}",
      NOTHING },
    { "{\"op\":\"key.rotate\"}", NOTHING },
    { "{\"op\":\"key.step\"}", NOTHING },
    { "{\"op\":\"key.show\"}", NOTHING },
};

static void expand(const char *from, char *to, size_t to_len)
{
    static const struct {
        char name;
        const char *value;
    } words[] = { { 'A', dev_a.hex }, { 'B', dev_b.hex }, { 'S', serial }, { 'J', jwe }, { 'R', csr_pem }, { 'C', cert_pem } };
    struct bm_wr out = bm_wr_of(to, to_len - 1);

    for (; *from != '\0'; from++) {
        size_t i = 0;

        while (*from == '@' && i < BM_COUNT(words) && words[i].name != from[1])
            i++;
        if (*from == '@' && i < BM_COUNT(words)) {
            bm_wr_str(&out, words[i].value);
            from++;
        } else {
            bm_wr_put(&out, from, 1);
        }
    }
    assert_false(out.bad);
    to[out.n] = '\0';
}

static void blob_of(const struct good *g, struct bm_buf *ret)
{
    if (g->blob == PEM)
        bm_pem_write(ret, "CERTIFICATE", bm_buf_rd(&w.signer.cert));
    if (g->blob == PROFILE)
        bm_buf_str(ret, profile_json);
}

/* Refused, and nothing has changed. */
static void refused_json(json_t *in, struct bm_rd blob, enum bm_rc want)
{
    char *before = counts_of(&w), *after, *text = json_dumps(in, 0);
    json_t *reply = NULL;
    enum bm_rc rc;

    err = (struct bm_error){ 0 };
    rc = bm_keeper_admin(w.k, in, blob, "test", &reply, &err);
    if (rc != want)
        fail_msg("%s: %s, wanted %s (%s)", text, bm_rc_name(rc), bm_rc_name(want), err.what);
    assert_null(reply);
    assert_true(err.what[0] != '\0');
    after = counts_of(&w);
    assert_string_equal(before, after);
    free(before);
    free(after);
    free(text);
}

static void refused_text(const char *request, struct bm_rd blob, enum bm_rc want)
{
    char text[4096];
    json_t *in;

    expand(request, text, sizeof text);
    in = json_loads(text, 0, NULL);
    if (in == NULL)
        fail_msg("row is no JSON: %s", request);
    refused_json(in, blob, want);
    json_decref(in);
}

/* Every member left out if it must be there, and each with a value of every kind that it is not. */
static void spoil_members(const struct bm_admin_op *op, json_t *in, struct bm_rd blob)
{
    static const char *const others[] = { "null", "7", "7.5", "\"seven\"", "true", "[7]", "{\"seven\":7}" };
    const char *bar = strchr(op->members, '|'), *member;
    json_t *v, *list = json_deep_copy(in);

    json_object_foreach (list, member, v) {
        const char *at = strstr(op->members, member);
        json_t *less;

        if (strcmp(member, "op") == 0)
            continue;
        assert_non_null(at);
        less = json_copy(in);
        json_object_del(less, member);
        if (bar == NULL || at < bar)
            refused_json(less, blob, BM_USAGE);
        for (size_t i = 0; i < BM_COUNT(others); i++) {
            json_t *other = json_loads(others[i], JSON_DECODE_ANY, NULL);

            if (json_typeof(other) == json_typeof(v) || (json_is_boolean(other) && json_is_boolean(v))) {
                json_decref(other);
                continue;
            }
            json_object_set_new(less, member, other);
            refused_json(less, blob, BM_USAGE);
        }
        json_decref(less);
    }
    json_decref(list);
}

static const struct bm_admin_op *op_named(const char *name)
{
    for (const struct bm_admin_op *op = bm_admin_ops; op->name != NULL; op++)
        if (strcmp(op->name, name) == 0)
            return op;
    fail_msg("no operation %s", name);
    return NULL;
}

/* As a backup of a registry with two hosts has it, restored into SQLite. Its log: one leaf under one head. */
static void second_host(void)
{
    w.rewritten = true; /* a leaf of another host, which a journal does not know: it is for registries of one host */
    struct bm_tree_head h = { .size = 1 };

    assert_ok(bm_store_begin(w.k->store, &err));
    assert_ok(bm_host_put(w.k->store, "second", 1, &err));
    assert_ok(bm_host_set_joined(w.k->store, 2, 1, bm_rd_str("key"), &err));
    bm_store_use_log(w.k->store, 2);
    assert_ok(bm_audit_leaf_add(w.k->store, 0, 1000, bm_rd_str("{}"), &err));
    h.signature = (struct bm_buf){ .p = (uint8_t *)(uintptr_t) "s", .n = 1 };
    assert_ok(bm_tree_head_add(w.k->store, &h, &err));
    bm_store_use_log(w.k->store, 1);
    assert_ok(bm_store_commit(w.k->store, &err));
}

static void every_operation(void **state)
{
    static const char *const unknown[] = { "nonsense", "", " ", "|", "name role", "nam", "ame" };
    bool seen[128] = { false };

    (void)state;
    second_host();
    seen[op_named("ca.import") - bm_admin_ops] = true; /* tests/e2e/test_ceremony.py: a root outside has to sign first */
    for (size_t i = 0; i < BM_COUNT(goods); i++) {
        BM_CLEANUP(bm_buf_done) struct bm_buf blob = { .max = 65536 };
        BM_CLEANUP(json_unref) json_t *in = NULL;
        char text[4096];
        const struct bm_admin_op *op;

        expand(goods[i].request, text, sizeof text);
        in = json_loads(text, 0, NULL);
        if (in == NULL)
            fail_msg("row is no JSON: %s", text);
        op = op_named(member_text(in, "op"));
        seen[op - bm_admin_ops] = true;
        blob_of(&goods[i], &blob);
        for (size_t n = 0; n < BM_COUNT(unknown); n++) {
            json_object_set_new(in, unknown[n], json_integer(1));
            refused_json(in, bm_buf_rd(&blob), BM_USAGE);
            json_object_del(in, unknown[n]);
        }
        spoil_members(op, in, bm_buf_rd(&blob));
        assert_rc_(admin_do(&w, text, bm_buf_rd(&blob), NULL), BM_OK, text);
    }
    for (const struct bm_admin_op *op = bm_admin_ops; op->name != NULL; op++)
        if (!seen[op - bm_admin_ops] && strcmp(op->name, "manifest.block") != 0 &&                 /* below */
            strcmp(op->name, "ca.upstream") != 0 &&                                                /* tests/unit/upstream_test.c */
            strcmp(op->name, "host.add") != 0 &&                                                   /* tests/e2e/test_hosts.py */
            strcmp(op->name, "eab.revoke") != 0 && strcmp(op->name, "acme-account.revoke") != 0 && /* tests/e2e/test_acme.py */
            strncmp(op->name, "approval.", 9) != 0 && /* approval_test.c: somebody has to ask first */
            strcmp(op->name, "claim.take") != 0)      /* claim_test.c: a claim's code is known when it is made */
            fail_msg("no row for %s", op->name);
}

#define NO_UDID "0000000000000000000000000000000000000000000000000000000000000000"

static const struct bad {
    const char *request;
    enum bm_rc want;
} bads[] = {
    { "{}", BM_USAGE },
    { "{\"op\":7}", BM_USAGE },
    { "{\"op\":\"\"}", BM_USAGE },
    { "{\"op\":\"org.creat\"}", BM_USAGE },
    { "{\"op\":\"org.create\",\"name\":\"chips\",\"role\":\"oem\"}", BM_CONFLICT },
    { "{\"op\":\"org.create\",\"name\":\"Chips\",\"role\":\"oem\"}", BM_USAGE },
    { "{\"op\":\"org.create\",\"name\":\"\",\"role\":\"oem\"}", BM_USAGE },
    { "{\"op\":\"org.create\",\"name\":\"../x\",\"role\":\"oem\"}", BM_USAGE },
    { "{\"op\":\"org.create\",\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"role\":\"oem\"}",
      BM_USAGE },
    { "{\"op\":\"org.create\",\"name\":\"x\",\"role\":\"king\"}", BM_USAGE },
    { "{\"op\":\"org.show\",\"name\":\"nobody\"}", BM_NOTFOUND },
    { "{\"op\":\"org.trust\",\"org\":\"nobody\",\"purpose\":\"birth\"}", BM_NOTFOUND },
    { "{\"op\":\"org.trust\",\"org\":\"chips\",\"purpose\":\"everything\"}", BM_USAGE },
    { "{\"op\":\"org.trust\",\"org\":\"chips\",\"purpose\":\"birth\"}", BM_USAGE }, /* no certificate */
    { "{\"op\":\"profile.show\",\"name\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"profile.set\",\"name\":\"x\"}", BM_USAGE },
    { "{\"op\":\"ca.create\",\"name\":\"issuing\",\"parent\":\"root\"}", BM_CONFLICT },
    { "{\"op\":\"ca.create\",\"name\":\"x\",\"parent\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"ca.create\",\"name\":\"x\",\"parent\":\"ca-2\"}", BM_DENIED },    /* revoked */
    { "{\"op\":\"ca.create\",\"name\":\"x\",\"parent\":\"issuing\"}", BM_DENIED }, /* no room below it */
    { "{\"op\":\"ca.create\",\"name\":\"x\",\"parent\":\"root\",\"alg\":\"EC:P-257\"}", BM_USAGE },
    { "{\"op\":\"ca.create\",\"name\":\"x\",\"parent\":\"root\",\"alg\":\"\"}", BM_USAGE },
    { "{\"op\":\"ca.create\",\"name\":\"x\",\"parent\":\"root\",\"profile\":\"ldevid\"}", BM_USAGE },
    { "{\"op\":\"ca.create\",\"name\":\"x\",\"parent\":\"root\",\"profile\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"ca.show\",\"name\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"ca.revoke\",\"name\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"ca.revoke\",\"name\":\"root\"}", BM_USAGE },
    { "{\"op\":\"ca.revoke\",\"name\":\"ca-2\"}", BM_CONFLICT },
    { "{\"op\":\"ca.revoke\",\"name\":\"issuing\",\"reason\":\"boredom\"}", BM_USAGE },
    { "{\"op\":\"ca.default\",\"name\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"ca.rollover\",\"name\":\"nothing\",\"new\":\"root-9\"}", BM_NOTFOUND },
    { "{\"op\":\"ca.rollover\",\"name\":\"issuing\",\"new\":\"root-9\"}", BM_USAGE },
    { "{\"op\":\"ca.rollover\",\"name\":\"root\",\"new\":\"issuing\"}", BM_CONFLICT },
    { "{\"op\":\"ca.rollover\",\"name\":\"root\",\"new\":\"root-delta\"}", BM_CONFLICT },
    { "{\"op\":\"ca.rollover\",\"name\":\"root-2\",\"new\":\"root-delta\"}", BM_USAGE },
    { "{\"op\":\"ca.rollover\",\"name\":\"root-2\",\"new\":\"root-9\",\"profile\":\"ldevid\"}", BM_USAGE },
    { "{\"op\":\"ca.create\",\"name\":\"x-delta\",\"parent\":\"root\"}", BM_USAGE },
    { "{\"op\":\"crl.show\",\"name\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"crl.export\",\"name\":\"Nothing\"}", BM_USAGE },
    { "{\"op\":\"ca.default\",\"name\":\"turn\"}", BM_DENIED },     /* retired */
    { "{\"op\":\"ca.rotate\",\"name\":\"turn\"}", BM_CONFLICT },    /* retired */
    { "{\"op\":\"ca.retire\",\"name\":\"turn\"}", BM_CONFLICT },    /* twice */
    { "{\"op\":\"ca.retire\",\"name\":\"turn-2\"}", BM_CONFLICT },  /* it hands over in an hour */
    { "{\"op\":\"ca.rotate\",\"name\":\"turn-2\"}", BM_CONFLICT },  /* it has a successor */
    { "{\"op\":\"ca.retire\",\"name\":\"issuing\"}", BM_CONFLICT }, /* nobody after it */
    { "{\"op\":\"ca.rotate\",\"name\":\"root\"}", BM_USAGE },
    { "{\"op\":\"ca.request\",\"name\":\"issuing\"}", BM_CONFLICT },
    { "{\"op\":\"ca.import\",\"name\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"ca.rotate\",\"name\":\"issuing\",\"onto\":\"issuing\"}", BM_USAGE },
    { "{\"op\":\"ca.rotate\",\"name\":\"turned\",\"onto\":\"turn-2\"}", BM_USAGE }, /* it comes from there */
    { "{\"op\":\"ca.rotate\",\"name\":\"turned\",\"onto\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"ca.rotate\",\"name\":\"turned\",\"onto\":\"ca-2\"}", BM_DENIED }, /* revoked */
    { "{\"op\":\"ca.rotate\",\"name\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"ca.rotate\",\"name\":\"turned\",\"at\":\"yesterday\"}", BM_USAGE },
    { "{\"op\":\"ca.rotate\",\"name\":\"turned\",\"successor\":\"x-delta\"}", BM_USAGE },
    { "{\"op\":\"ca.rotate\",\"name\":\"turned\",\"successor\":\"root\"}", BM_CONFLICT },
    { "{\"op\":\"ca.rotate\",\"name\":\"turned\",\"parent\":\"ca-2\"}", BM_DENIED }, /* revoked */
    { "{\"op\":\"ca.rotate\",\"name\":\"turned\",\"key\":\"pkcs11:token=t;object=k\"}", BM_USAGE },
    { "{\"op\":\"ca.default\",\"name\":\"ca-2\"}", BM_DENIED },
    { "{\"op\":\"service.create\",\"name\":\"svc\",\"kind\":\"mqtt\"}", BM_CONFLICT },
    { "{\"op\":\"service.create\",\"name\":\"x\",\"kind\":\"M Q\"}", BM_USAGE },
    { "{\"op\":\"service.create\",\"name\":\"x\",\"kind\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", BM_USAGE },
    { "{\"op\":\"service.create\",\"name\":\"x\",\"kind\":\"mqtt\",\"profile\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"service.create\",\"name\":\"x\",\"kind\":\"mqtt\",\"profile\":\"issuing-ca\"}", BM_USAGE },
    { "{\"op\":\"service.create\",\"name\":\"x\",\"kind\":\"mqtt\",\"endpoints\":[\"host\"]}", BM_USAGE },
    { "{\"op\":\"service.create\",\"name\":\"x\",\"kind\":\"mqtt\",\"endpoints\":[7]}", BM_USAGE },
    { "{\"op\":\"service.set\",\"name\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"service.set\",\"name\":\"svc\",\"profile\":\"root-ca\"}", BM_USAGE },
    { "{\"op\":\"service.show\",\"name\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"product.create\",\"name\":\"meter\",\"org\":\"acme\"}", BM_CONFLICT },
    { "{\"op\":\"product.create\",\"name\":\"x\",\"org\":\"nobody\"}", BM_NOTFOUND },
    { "{\"op\":\"product.create\",\"name\":\"x\",\"org\":\"acme\",\"policy\":{\"service\":[]}}", BM_USAGE },
    { "{\"op\":\"product.create\",\"name\":\"x\",\"org\":\"acme\",\"policy\":{\"services\":[\"nothing\"]}}", BM_NOTFOUND },
    { "{\"op\":\"product.create\",\"name\":\"x\",\"org\":\"acme\",\"policy\":{\"profile\":\"nothing\"}}", BM_NOTFOUND },
    { "{\"op\":\"product.create\",\"name\":\"x\",\"org\":\"acme\",\"policy\":{\"profile\":\"issuing-ca\"}}", BM_USAGE },
    { "{\"op\":\"product.create\",\"name\":\"x\",\"org\":\"acme\",\"policy\":{\"ca\":\"nothing\"}}", BM_NOTFOUND },
    { "{\"op\":\"product.create\",\"name\":\"x\",\"org\":\"acme\",\"policy\":{\"rot\":[\"atec608\"]}}", BM_USAGE },
    { "{\"op\":\"product.set\",\"name\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"product.show\",\"name\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"batch.create\",\"name\":\"lot\",\"product\":\"meter\",\"quota\":1}", BM_CONFLICT },
    { "{\"op\":\"batch.create\",\"name\":\"x\",\"product\":\"nothing\",\"quota\":1}", BM_NOTFOUND },
    { "{\"op\":\"batch.create\",\"name\":\"x\",\"product\":\"meter\",\"quota\":-1}", BM_USAGE },
    { "{\"op\":\"batch.create\",\"name\":\"x\",\"product\":\"meter\",\"quota\":1,\"ca\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"batch.create\",\"name\":\"x\",\"product\":\"meter\",\"quota\":1,\"ca\":\"ca-2\"}", BM_DENIED },
    { "{\"op\":\"batch.set\",\"name\":\"nothing\",\"quota\":1}", BM_NOTFOUND },
    { "{\"op\":\"host.add\",\"name\":\"third\"}", BM_USAGE }, /* in SQLite */
    { "{\"op\":\"host.add\",\"name\":\"No Name\"}", BM_USAGE },
    { "{\"op\":\"host.remove\",\"name\":\"host-1\"}", BM_CONFLICT }, /* itself */
    { "{\"op\":\"host.remove\",\"name\":\"nobody\"}", BM_NOTFOUND },
    { "{\"op\":\"log.head\",\"log\":\"nobody\"}", BM_NOTFOUND },
    { "{\"op\":\"log.inclusion\",\"index\":0,\"log\":\"nobody\"}", BM_NOTFOUND },
    { "{\"op\":\"batch.set\",\"name\":\"lot\",\"quota\":0}", BM_USAGE }, /* one is active */
    { "{\"op\":\"batch.set\",\"name\":\"lot\",\"state\":\"ajar\"}", BM_USAGE },
    { "{\"op\":\"batch.show\",\"name\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"device.show\",\"udid\":\"" NO_UDID "\"}", BM_NOTFOUND },
    { "{\"op\":\"device.show\",\"udid\":\"00\"}", BM_USAGE },
    { "{\"op\":\"device.show\",\"udid\":\"" NO_UDID "00\"}", BM_USAGE },
    { "{\"op\":\"device.allocate\",\"udid\":\"" NO_UDID "\",\"batch\":\"lot\"}", BM_NOTFOUND },
    { "{\"op\":\"device.allocate\",\"udid\":\"@A\",\"batch\":\"nothing\"}", BM_NOTFOUND },
    { "{\"op\":\"device.allocate\",\"udid\":\"@A\",\"batch\":\"lot\"}", BM_CONFLICT },
    { "{\"op\":\"device.suspend\",\"udid\":\"@A\"}", BM_CONFLICT }, /* retired by now */
    { "{\"op\":\"device.suspend\",\"udid\":\"@B\",\"reason\":\"KeyCompromise\"}", BM_USAGE },
    { "{\"op\":\"device.resume\",\"udid\":\"@A\"}", BM_CONFLICT },
    { "{\"op\":\"device.retire\",\"udid\":\"@A\"}", BM_CONFLICT },
    { "{\"op\":\"device.compromise\",\"udid\":\"@B\"}", BM_CONFLICT },
    { "{\"op\":\"device.transfer\",\"udid\":\"@A\",\"org\":\"acme\",\"force\":true}", BM_CONFLICT },
    { "{\"op\":\"device.transfer\",\"udid\":\"@A\",\"org\":\"nobody\",\"force\":true}", BM_NOTFOUND },
    { "{\"op\":\"device.transfer\",\"udid\":\"@A\",\"org\":\"chips\"}", BM_DENIED },
    { "{\"op\":\"device.transfer\",\"udid\":\"@A\",\"org\":\"chips\",\"force\":false}", BM_DENIED },
    { "{\"op\":\"device.reset\",\"udid\":\"@A\"}", BM_CONFLICT },
    { "{\"op\":\"device.offer\",\"udid\":\"@A\",\"org\":\"chips\",\"as\":\"acme\"}", BM_CONFLICT },
    { "{\"op\":\"device.offer\",\"udid\":\"@A\",\"org\":\"chips\",\"as\":\"chips\"}", BM_DENIED },
    { "{\"op\":\"device.offer\",\"udid\":\"@A\",\"org\":\"nobody\",\"as\":\"acme\"}", BM_NOTFOUND },
    { "{\"op\":\"device.offer\",\"udid\":\"@A\",\"org\":\"chips\",\"as\":\"nobody\"}", BM_NOTFOUND },
    { "{\"op\":\"device.offer\",\"udid\":\"@A\",\"org\":\"chips\",\"as\":\"acme\",\"until\":\"0s\"}", BM_USAGE },
    { "{\"op\":\"device.offer\",\"udid\":\"@A\",\"org\":\"chips\",\"as\":\"acme\",\"until\":\"\"}", BM_USAGE },
    { "{\"op\":\"device.offer\",\"udid\":\"@A\",\"org\":\"chips\",\"as\":\"acme\",\"until\":\"367d\"}", BM_USAGE },
    { "{\"op\":\"device.offer\",\"udid\":\"@A\",\"org\":\"chips\",\"as\":\"acme\",\"until\":\"2001-01-01T00:00:00Z\"}", BM_USAGE },
    { "{\"op\":\"device.accept\",\"udid\":\"@A\",\"as\":\"chips\"}", BM_NOTFOUND },
    { "{\"op\":\"device.accept\",\"udid\":\"" NO_UDID "\",\"as\":\"chips\"}", BM_NOTFOUND },
    { "{\"op\":\"device.decline\",\"udid\":\"@A\",\"as\":\"chips\"}", BM_NOTFOUND },
    { "{\"op\":\"device.withdraw\",\"udid\":\"@A\",\"as\":\"acme\"}", BM_NOTFOUND },
    { "{\"op\":\"device.rent\",\"udid\":\"@A\",\"org\":\"chips\",\"as\":\"acme\",\"until\":\"1d\"}", BM_CONFLICT },
    { "{\"op\":\"device.rent\",\"udid\":\"@A\",\"org\":\"chips\",\"as\":\"chips\",\"until\":\"1d\"}", BM_DENIED },
    { "{\"op\":\"device.rent\",\"udid\":\"@A\",\"org\":\"chips\",\"as\":\"acme\",\"until\":\"99y\"}", BM_USAGE },
    { "{\"op\":\"device.extend\",\"udid\":\"@A\",\"until\":\"1d\"}", BM_NOTFOUND },
    { "{\"op\":\"device.return\",\"udid\":\"@A\"}", BM_NOTFOUND },
    { "{\"op\":\"device.history\",\"udid\":\"" NO_UDID "\"}", BM_NOTFOUND },
    { "{\"op\":\"cert.show\",\"serial\":\"00000000000000000000000000000000\"}", BM_NOTFOUND },
    { "{\"op\":\"cert.show\",\"serial\":\"zz\"}", BM_USAGE },
    { "{\"op\":\"cert.revoke\",\"serial\":\"@S\"}", BM_CONFLICT },
    { "{\"op\":\"cert.revoke\",\"serial\":\"00000000000000000000000000000000\"}", BM_NOTFOUND },
    { "{\"op\":\"cert.list\",\"udid\":\"xyz\"}", BM_USAGE },
    { "{\"op\":\"manifest.begin\",\"format\":\"birthmark\"}", BM_USAGE }, /* no first line */
    { "{\"op\":\"manifest.begin\",\"format\":\"xml\"}", BM_USAGE },
    { "{\"op\":\"manifest.block\",\"manifest\":0}", BM_NOTFOUND },
    { "{\"op\":\"manifest.block\",\"manifest\":-99}", BM_NOTFOUND },
    { "{\"op\":\"manifest.block\",\"manifest\":99999}", BM_NOTFOUND },
    { "{\"op\":\"log.entries\",\"from\":-1}", BM_USAGE },
    { "{\"op\":\"log.entries\",\"from\":9223372036854775807}", BM_USAGE },
    { "{\"op\":\"log.entries\",\"from\":3,\"to\":2}", BM_USAGE },
    { "{\"op\":\"log.inclusion\",\"index\":-1}", BM_USAGE },
    { "{\"op\":\"log.inclusion\",\"index\":5,\"size\":5}", BM_USAGE },
    { "{\"op\":\"log.inclusion\",\"index\":0,\"size\":99999}", BM_USAGE },
    { "{\"op\":\"log.consistency\",\"from\":0,\"to\":1}", BM_USAGE },
    { "{\"op\":\"log.consistency\",\"from\":2,\"to\":1}", BM_USAGE },
    { "{\"op\":\"log.consistency\",\"from\":1,\"to\":99999}", BM_USAGE },
    { "{\"op\":\"why\",\"id\":\"\"}", BM_USAGE },
    { "{\"op\":\"why\",\"id\":\"0000\"}", BM_USAGE },
    { "{\"op\":\"why\",\"id\":\"ABCDEF0123456789\"}", BM_USAGE },
    { "{\"op\":\"why\",\"id\":\"00000000000000ff\"}", BM_NOTFOUND },
};

static void refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(bads); i++)
        refused_text(bads[i].request, NO_BLOB, bads[i].want);
}

static void long_texts(void **state)
{
    BM_CLEANUP(json_unref) json_t *in = json_object(), *policy = json_object(), *many = json_array();
    char title[BM_TEXT_MAX + 2];

    (void)state;
    memset(title, 'x', sizeof title);
    title[BM_TEXT_MAX] = '\0';
    json_object_set_new(in, "op", json_string("org.create"));
    json_object_set_new(in, "name", json_string("long"));
    json_object_set_new(in, "role", json_string("oem"));
    json_object_set_new(in, "title", json_string(title));
    refused_json(in, NO_BLOB, BM_LIMIT);
    json_object_set_new(in, "op", json_string("product.create"));
    json_object_del(in, "role");
    json_object_set_new(in, "org", json_string("acme"));
    refused_json(in, NO_BLOB, BM_LIMIT);
    json_object_del(in, "title");
    for (int i = 0; i < 500; i++)
        json_array_append_new(many, json_string("atecc608"));
    json_object_set(policy, "rot", many);
    json_object_set(in, "policy", policy);
    refused_json(in, NO_BLOB, BM_LIMIT);
    json_array_clear(many);
    for (int i = 0; i < 17; i++)
        json_array_append_new(many, json_string("mqtts://h:8883"));
    json_object_clear(in);
    json_object_set_new(in, "op", json_string("service.create"));
    json_object_set_new(in, "name", json_string("many"));
    json_object_set_new(in, "kind", json_string("mqtt"));
    json_object_set(in, "endpoints", many);
    refused_json(in, NO_BLOB, BM_USAGE);
}

/* --- what acts mean ---------------------------------------------------------------------------------------------------------------------- */
static void blobs(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 65536 }, big = { .max = 65536 };
    BM_CLEANUP(party_done) struct party other, third;
    BM_CLEANUP(json_unref) json_t *reply = NULL, *again = NULL, *shown = NULL;

    (void)state;
    party_keys(&other, "P-256");
    party_certify(&other, "Other", NULL, true, 86400);
    bm_pem_write(&pem, "CERTIFICATE", bm_buf_rd(&other.cert));
    party_keys(&third, "P-256");
    party_certify(&third, "Third", NULL, true, 86400);
    bm_pem_write(&pem, "CERTIFICATE", bm_buf_rd(&third.cert));
    reply = admin_blob(&w, bm_buf_rd(&pem), "{\"op\":\"org.trust\",\"org\":\"acme\",\"purpose\":\"birth\"}");
    assert_int_equal(member_int(reply, "added"), 2);
    assert_int_equal(json_array_size(json_object_get(reply, "sha256")), 2);
    again = admin_blob(&w, bm_buf_rd(&pem), "{\"op\":\"org.trust\",\"org\":\"acme\",\"purpose\":\"birth\"}");
    assert_int_equal(member_int(again, "added"), 0);
    shown = admin(&w, "{\"op\":\"org.show\",\"name\":\"acme\"}");
    assert_int_equal(json_array_size(json_object_get(shown, "trust")), 2);
    assert_string_equal(member_text(shown, "title"), "Acme Meters");
    refused_text("{\"op\":\"org.trust\",\"org\":\"chips\",\"purpose\":\"birth\"}", bm_buf_rd(&pem), BM_CONFLICT); /* acme's */
    party_certify(&other, "Other again", NULL, true, 86400);
    pem.n = 0;
    bm_pem_write(&pem, "CERTIFICATE", bm_buf_rd(&other.cert));
    bm_pem_write(&pem, "CERTIFICATE", bm_rd_str("no certificate at all")); /* a good one before it does not help */
    refused_text("{\"op\":\"org.trust\",\"org\":\"acme\",\"purpose\":\"birth\"}", bm_buf_rd(&pem), BM_MALFORMED);
    for (size_t i = 0; i <= BM_PROFILE_MAX; i++)
        bm_buf_put(&big, " ", 1);
    refused_text("{\"op\":\"profile.set\",\"name\":\"big\"}", bm_buf_rd(&big), BM_LIMIT);
    refused_text("{\"op\":\"profile.set\",\"name\":\"bad\"}", bm_rd_str("{\"validity\":\"10d\""), BM_USAGE);
    refused_text("{\"op\":\"profile.set\",\"name\":\"ldevid\"}",
                 bm_rd_str("{\"validity\":\"1y\",\"key_usage\":[\"keyCertSign\"],\"subject\":\"CN=x\",\"ca\":{}}"),
                 BM_CONFLICT); /* a device profile does not become a CA's */
    refused_text("{\"op\":\"profile.set\",\"name\":\"issuing-ca\"}", bm_rd_str(profile_json), BM_CONFLICT);
}

static void authorities(void **state)
{
    BM_CLEANUP(json_unref) json_t *made = NULL, *shown = NULL, *list = NULL;

    (void)state;
    refused_text("{\"op\":\"ca.create\",\"name\":\"retry\",\"parent\":\"root\",\"profile\":\"ldevid\"}", NO_BLOB, BM_USAGE);
    made = admin(&w, "{\"op\":\"ca.create\",\"name\":\"retry\",\"parent\":\"root\"}"); /* the failure is no obstacle */
    assert_non_null(strstr(member_text(made, "certificate"), "-----BEGIN CERTIFICATE-----"));
    shown = admin(&w, "{\"op\":\"ca.show\",\"name\":\"retry\"}");
    assert_string_equal(member_text(shown, "certificate"), member_text(made, "certificate"));
    assert_string_equal(member_text(shown, "parent"), "root");
    admin_ok(&w, "{\"op\":\"ca.create\",\"name\":\"log\",\"parent\":\"root\"}"); /* the log's key is called that too */
    world_reopen(&w);
    history_holds(&w);
    refused_text(
        "{\"op\":\"ca.create\",\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"parent\":\"root\"}",
        NO_BLOB, BM_DENIED); /* a subject is not cut to fit */
    list = admin(&w, "{\"op\":\"ca.list\",\"limit\":2}");
    assert_int_equal(json_array_size(json_object_get(list, "rows")), 2);
    assert_true(json_is_integer(json_object_get(list, "next")));
}

static void lists_page(void **state)
{
    json_int_t after = 0;
    size_t n = 0;

    (void)state;
    for (;;) {
        BM_CLEANUP(json_unref) json_t *page = admin(&w, "{\"op\":\"profile.list\"}"), *orgs = NULL;
        const json_t *next;

        orgs = admin(&w, "{\"op\":\"org.list\",\"limit\":1,\"after\":%lld}", (long long)after);
        n += json_array_size(json_object_get(orgs, "rows"));
        next = json_object_get(orgs, "next");
        if (!json_is_integer(next))
            break;
        assert_true(json_integer_value(next) > after);
        after = json_integer_value(next);
        assert_true(n < 100);
    }
    assert_true(n >= 2);
    json_decref(admin(&w, "{\"op\":\"org.list\",\"limit\":-5}"));
    json_decref(admin(&w, "{\"op\":\"org.list\",\"limit\":99999999,\"after\":-7}"));
}

static void life_of_a_device(void **state)
{
    BM_CLEANUP(json_unref) json_t *shown = NULL, *moved = NULL, *gone = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    BM_CLEANUP(dev_done) struct dev d;
    char sn[2 * BM_SERIAL_LEN + 1];
    json_t *c;
    size_t i;

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    assert_rc(admin_do(&w, "{\"op\":\"device.list\",\"state\":\"nowhere\"}", NO_BLOB, NULL), BM_OK);
    for (i = 0; i < 3; i++)
        enrol_ok(&d, sn);
    moved = admin(&w, "{\"op\":\"device.transfer\",\"udid\":\"%s\",\"org\":\"chips\",\"force\":true}", d.hex);
    assert_int_equal(member_int(moved, "revoked"), 3);
    enrol_ok(&d, sn);
    gone = admin(&w, "{\"op\":\"device.retire\",\"udid\":\"%s\"}", d.hex);
    assert_int_equal(member_int(gone, "revoked"), 1);
    assert_string_equal(member_text(gone, "state"), "retired");
    shown = admin(&w, "{\"op\":\"device.show\",\"udid\":\"%s\"}", d.hex);
    assert_string_equal(member_text(shown, "state"), "retired");
    assert_string_equal(member_text(shown, "owner"), "chips");
    assert_string_equal(member_text(shown, "rot"), "atecc608");
    assert_int_equal(json_array_size(json_object_get(shown, "credentials")), 4);
    json_array_foreach (json_object_get(shown, "credentials"), i, c)
        assert_string_equal(member_text(c, "state"), "revoked");
    assert_rc(enrol(&d, &out), BM_DENIED);
    assert_string_equal(err.code, "device-retired");
}

/* More credentials than one step of the revocation takes. */
static void revoke_many(void **state)
{
    enum { MANY = 130 };
    BM_CLEANUP(json_unref) json_t *gone = NULL, *left = NULL;
    BM_CLEANUP(dev_done) struct dev d;
    char sn[2 * BM_SERIAL_LEN + 1];

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    for (size_t i = 0; i < MANY; i++)
        enrol_ok(&d, sn);
    gone = admin(&w, "{\"op\":\"device.compromise\",\"udid\":\"%s\"}", d.hex);
    assert_int_equal(member_int(gone, "revoked"), MANY);
    left = admin(&w, "{\"op\":\"cert.list\",\"udid\":\"%s\",\"state\":\"active\"}", d.hex);
    assert_int_equal(json_array_size(json_object_get(left, "rows")), 0);
}

/* --- the log -------------------------------------------------------------------------------------------------------------------------- */
static void hex_member(const json_t *j, const char *member, uint8_t ret[32])
{
    assert_true(bm_unhex(bm_rd_str(member_text(j, member)), ret, 32));
}

static size_t path_of(const json_t *j, uint8_t (*ret)[32])
{
    const json_t *path = json_object_get(j, "path");

    for (size_t i = 0; i < json_array_size(path); i++)
        assert_true(bm_unhex(bm_rd_str(json_string_value(json_array_get(path, i))), ret[i], 32));
    return json_array_size(path);
}

static void log_proofs(void **state)
{
    BM_CLEANUP(json_unref) json_t *head = NULL, *entries = NULL;
    int64_t size = w.k->audit.on_disk.size;
    uint8_t path[64][32], root[32], root_from[32], leaf[32];

    (void)state;
    head = admin(&w, "{\"op\":\"log.head\"}");
    assert_int_equal(member_int(head, "size"), size);
    hex_member(head, "root", root);
    for (int64_t i = 0; i < size; i += size / 7 + 1) {
        BM_CLEANUP(json_unref)
        json_t *in = admin(&w, "{\"op\":\"log.inclusion\",\"index\":%lld,\"size\":%lld}", (long long)i, (long long)size);
        BM_CLEANUP(json_unref)
        json_t *con = admin(&w, "{\"op\":\"log.consistency\",\"from\":%lld,\"to\":%lld}", (long long)i + 1, (long long)size);
        size_t n = path_of(in, path);

        hex_member(in, "leaf_hash", leaf);
        assert_ok(bm_merkle_check_inclusion(leaf, i, size, root, (const uint8_t(*)[32])path, n, &err));
        n = path_of(con, path);
        hex_member(con, "root_from", root_from);
        assert_ok(bm_merkle_check_consistency(i + 1, root_from, size, root, (const uint8_t(*)[32])path, n, &err));
    }
    entries = admin(&w, "{\"op\":\"log.entries\",\"from\":0}");
    assert_int_equal(json_array_size(json_object_get(entries, "entries")), size < 1000 ? size : 1000);
}

/* --- manifests -------------------------------------------------------------------------------------------------------------------------- */
enum { LINES = 7, BLOCK = 3 };

struct lot {
    struct dev d[LINES];
    const struct dev *all[LINES];
    struct bm_buf text;
};

static void lot_make(struct lot *l, const struct sheet *s)
{
    *l = (struct lot){ .text.max = 1 << 20 };
    for (size_t i = 0; i < LINES; i++) {
        dev_make(&l->d[i]);
        l->all[i] = &l->d[i];
    }
    manifest_write(s, l->all, LINES, &l->text);
}

static void lot_done(struct lot *l)
{
    for (size_t i = 0; i < LINES; i++)
        dev_done(&l->d[i]);
    bm_buf_done(&l->text);
}

static json_int_t begin(struct bm_rd text, const char *request, json_int_t want_seq, bool want_complete)
{
    BM_CLEANUP(json_unref) json_t *reply = admin_blob(&w, first_line(text), request);

    assert_int_equal(member_int(reply, "next_seq"), want_seq);
    assert_true(json_is_true(json_object_get(reply, "complete")) == want_complete);
    return member_int(reply, "manifest");
}

static enum bm_rc block(json_int_t import, struct bm_rd text, size_t at, json_t **ret)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = 1 << 20 };
    char request[120];

    assert_true(manifest_block(text, "birthmark", at, &raw));
    snprintf(request, sizeof request, "{\"op\":\"manifest.block\",\"manifest\":%lld}", (long long)import);
    return admin_do(&w, request, bm_buf_rd(&raw), ret);
}

static void block_says(json_int_t import, struct bm_rd text, size_t at, json_int_t added, json_int_t known, json_int_t conflicts)
{
    BM_CLEANUP(json_unref) json_t *reply = NULL;

    assert_rc(block(import, text, at, &reply), BM_OK);
    assert_int_equal(member_int(reply, "seq"), (json_int_t)at);
    assert_int_equal(member_int(reply, "added"), added);
    assert_int_equal(member_int(reply, "known"), known);
    assert_int_equal(member_int(reply, "n_conflicts"), conflicts);
    assert_int_equal(member_int(reply, "n_bad"), 0);
    assert_true(json_is_true(json_object_get(reply, "last")) == (at == 2));
}

static void device_in(const struct dev *d, const char *state, const char *batch)
{
    BM_CLEANUP(json_unref) json_t *row = admin(&w, "{\"op\":\"device.show\",\"udid\":\"%s\"}", d->hex);
    const char *in = json_string_value(json_object_get(row, "batch"));

    assert_string_equal(member_text(row, "state"), state);
    assert_string_equal(in != NULL ? in : "", batch);
}

#define BEGIN_LOT "{\"op\":\"manifest.begin\",\"format\":\"birthmark\",\"batch\":\"lot\"}"

static void import_resumes(void **state)
{
    struct sheet s = { .id = "resume", .issuer = "chips", .signer = &w.signer, .block_entries = BLOCK };
    BM_CLEANUP(lot_done) struct lot l;
    json_int_t id;
    char *before, *after;

    (void)state;
    lot_make(&l, &s);
    id = begin(bm_buf_rd(&l.text), BEGIN_LOT, 0, false);
    assert_rc(block(id, bm_buf_rd(&l.text), 1, NULL), BM_DENIED); /* out of turn */
    block_says(id, bm_buf_rd(&l.text), 0, 3, 0, 0);
    assert_rc(block(id, bm_buf_rd(&l.text), 0, NULL), BM_DENIED); /* twice */
    device_in(&l.d[2], "allocated", "lot");
    world_reopen(&w); /* as after a crash */
    assert_int_equal(begin(bm_buf_rd(&l.text), BEGIN_LOT, 1, false), id);
    block_says(id, bm_buf_rd(&l.text), 1, 3, 0, 0);
    world_reopen(&w);
    block_says(id, bm_buf_rd(&l.text), 2, 1, 0, 0); /* the id alone is enough */
    assert_int_equal(begin(bm_buf_rd(&l.text), BEGIN_LOT, 3, true), id);
    before = counts_of(&w);
    assert_true(block(id, bm_buf_rd(&l.text), 0, NULL) != BM_OK); /* complete: nothing may follow */
    after = counts_of(&w);
    assert_string_equal(before, after);
    free(before);
    free(after);
    refused_text("{\"op\":\"manifest.begin\",\"format\":\"birthmark\",\"batch\":\"b-1\"}", first_line(bm_buf_rd(&l.text)),
                 BM_CONFLICT);
}

/* The same devices in another manifest: known in the same batch, a conflict in another, and given a batch when they had none. */
static void devices_met_again(void **state)
{
    struct sheet s = { .id = "first", .issuer = "chips", .signer = &w.signer, .block_entries = BLOCK };
    BM_CLEANUP(bm_buf_done) struct bm_buf again = { .max = 1 << 20 }, other = { .max = 1 << 20 };
    BM_CLEANUP(json_unref) json_t *reply = NULL;
    BM_CLEANUP(lot_done) struct lot l;
    json_int_t id;

    (void)state;
    lot_make(&l, &s);
    id = begin(bm_buf_rd(&l.text), "{\"op\":\"manifest.begin\",\"format\":\"birthmark\"}", 0, false);
    for (size_t i = 0; i < 3; i++)
        block_says(id, bm_buf_rd(&l.text), i, i < 2 ? 3 : 1, 0, 0);
    device_in(&l.d[0], "registered", "");
    admin_ok(&w, "{\"op\":\"device.compromise\",\"udid\":\"%s\"}", l.d[1].hex);
    s.id = "second";
    manifest_write(&s, l.all, LINES, &again);
    id = begin(bm_buf_rd(&again), BEGIN_LOT, 0, false);
    assert_rc(block(id, bm_buf_rd(&again), 0, &reply), BM_OK);
    assert_int_equal(member_int(reply, "allocated"), 2);
    assert_int_equal(member_int(reply, "added"), 0);
    assert_int_equal(member_int(reply, "n_conflicts"), 1);
    assert_string_equal(member_text(json_array_get(json_object_get(reply, "conflicts"), 0), "udid"), l.d[1].hex);
    device_in(&l.d[0], "allocated", "lot");
    device_in(&l.d[1], "compromised", ""); /* an import does not heal */
    s.id = "third";
    manifest_write(&s, l.all, LINES, &other);
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"rival\",\"product\":\"meter\",\"quota\":5}");
    id = begin(bm_buf_rd(&other), "{\"op\":\"manifest.begin\",\"format\":\"birthmark\",\"batch\":\"rival\"}", 0, false);
    json_decref(BM_MOVE(reply));
    assert_rc(block(id, bm_buf_rd(&other), 0, &reply), BM_OK);
    assert_int_equal(member_int(reply, "n_conflicts"), 3);
    assert_non_null(strstr(member_text(json_array_get(json_object_get(reply, "conflicts"), 0), "reason"), "lot"));
    device_in(&l.d[0], "allocated", "lot");
}

static void dry_runs(void **state)
{
    struct sheet s = { .id = "dry", .issuer = "chips", .signer = &w.signer, .block_entries = BLOCK };
    BM_CLEANUP(lot_done) struct lot l;
    char *before, *after, request[120];
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = 1 << 20 };
    json_int_t id;

    (void)state;
    lot_make(&l, &s);
    before = counts_of(&w);
    id = begin(bm_buf_rd(&l.text), "{\"op\":\"manifest.begin\",\"format\":\"birthmark\",\"batch\":\"lot\",\"dry_run\":true}", 0,
               false);
    assert_true(id < 0);
    for (size_t i = 0; i < 3; i++)
        block_says(id, bm_buf_rd(&l.text), i, i < 2 ? 3 : 1, 0, 0);
    after = counts_of(&w);
    assert_string_equal(before, after);
    free(before);
    free(after);
    id = begin(bm_buf_rd(&l.text), BEGIN_LOT, 0, false); /* the real one still stands at its beginning */
    assert_true(manifest_block(bm_buf_rd(&l.text), "birthmark", 0, &raw));
    snprintf(request, sizeof request, "{\"op\":\"manifest.block\",\"manifest\":%lld,\"dry_run\":true}", (long long)id);
    refused_text(request, bm_buf_rd(&raw), BM_USAGE);
    block_says(id, bm_buf_rd(&l.text), 0, 3, 0, 0);
}

static void refused_block(json_int_t id, struct bm_rd raw, enum bm_rc rc, const char *code)
{
    char request[120];

    snprintf(request, sizeof request, "{\"op\":\"manifest.block\",\"manifest\":%lld}", (long long)id);
    refused_text(request, raw, rc);
    assert_string_equal(bm_error_code(&err), code);
}

static void manifests_refused(void **state)
{
    struct sheet s = { .id = "tampered", .issuer = "chips", .signer = &w.signer, .block_entries = BLOCK };
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = 1 << 20 }, other = { .max = 1 << 20 };
    BM_CLEANUP(json_unref) json_t *reply = NULL;
    BM_CLEANUP(party_done) struct party stranger;
    BM_CLEANUP(lot_done) struct lot l;
    json_int_t id;
    uint8_t *at;

    (void)state;
    lot_make(&l, &s);
    id = begin(bm_buf_rd(&l.text), BEGIN_LOT, 0, false);
    assert_true(manifest_block(bm_buf_rd(&l.text), "birthmark", 0, &raw));
    at = memmem(raw.p, raw.n, "atecc608", 8);
    assert_non_null(at);
    at[7] = '9'; /* atecc609 */
    refused_block(id, bm_buf_rd(&raw), BM_DENIED, "manifest-digest");
    at[7] = '8';
    at = memmem(raw.p, raw.n, "\"seal\":\"", 8);
    assert_non_null(at);
    at = memchr(at + 8, '"', (size_t)(raw.p + raw.n - at - 8));
    at[-5] = at[-5] == 'A' ? 'B' : 'A';
    refused_block(id, bm_buf_rd(&raw), BM_DENIED, "manifest-signature");
    refused_block(id, NO_BLOB, BM_MALFORMED, "manifest-cut-short");
    refused_block(id, bm_rd_str("{}\n"), BM_MALFORMED, "manifest-cut-short");
    s.id = "other";
    manifest_write(&s, l.all, LINES, &other);
    raw.n = 0;
    assert_true(manifest_block(bm_buf_rd(&other), "birthmark", 0, &raw));
    refused_block(id, bm_buf_rd(&raw), BM_DENIED, "manifest-sequence"); /* of another manifest */
    s.id = "stolen-name";
    s.issuer = "acme"; /* signed by the signer of chips */
    other.n = raw.n = 0;
    manifest_write(&s, l.all, LINES, &other);
    id = begin(bm_buf_rd(&other), BEGIN_LOT, 0, false);
    assert_true(manifest_block(bm_buf_rd(&other), "birthmark", 0, &raw));
    refused_block(id, bm_buf_rd(&raw), BM_DENIED, "manifest-issuer");
    s = (struct sheet){ .id = "for-rival", .issuer = "chips", .batch = "rival", .signer = &w.signer };
    other.n = raw.n = 0;
    manifest_write(&s, l.all, LINES, &other);
    id = begin(bm_buf_rd(&other), BEGIN_LOT, 0, false);
    assert_true(manifest_block(bm_buf_rd(&other), "birthmark", 0, &raw));
    refused_block(id, bm_buf_rd(&raw), BM_DENIED, "manifest-batch");
    party_keys(&stranger, "P-256");
    party_certify(&stranger, "Nobody", NULL, false, 86400);
    s = (struct sheet){ .id = "untrusted", .issuer = "chips", .signer = &stranger };
    other.n = raw.n = 0;
    manifest_write(&s, l.all, LINES, &other);
    id = begin(bm_buf_rd(&other), BEGIN_LOT, 0, false);
    assert_true(manifest_block(bm_buf_rd(&other), "birthmark", 0, &raw));
    refused_block(id, bm_buf_rd(&raw), BM_DENIED, "manifest-signer");
    pin(&w, "chips", "birth", bm_buf_rd(&stranger.cert)); /* not for manifests */
    refused_block(id, bm_buf_rd(&raw), BM_DENIED, "manifest-signer");
    pin(&w, "chips", "manifest", bm_buf_rd(&stranger.cert));
    assert_rc(block(id, bm_buf_rd(&other), 0, &reply), BM_OK);
    assert_int_equal(member_int(reply, "added"), LINES);
}

/* With its line end or without: one manifest. */
static void begin_with_line_end(void **state)
{
    struct sheet s = { .id = "line-end", .issuer = "chips", .signer = &w.signer, .block_entries = BLOCK };
    BM_CLEANUP(json_unref) json_t *a = NULL, *b = NULL;
    BM_CLEANUP(lot_done) struct lot l;
    struct bm_rd line;

    (void)state;
    lot_make(&l, &s);
    line = first_line(bm_buf_rd(&l.text));
    line.n++;
    a = admin_blob(&w, line, BEGIN_LOT);
    line.n--;
    b = admin_blob(&w, line, BEGIN_LOT);
    assert_int_equal(member_int(a, "manifest"), member_int(b, "manifest"));
    block_says(member_int(a, "manifest"), bm_buf_rd(&l.text), 0, 3, 0, 0);
}

/* More imports at a time than the keeper keeps in mind. */
static void many_imports(void **state)
{
    enum { MANY = BM_IMPORTS_MAX + 3 };
    struct sheet s = { .issuer = "chips", .signer = &w.signer, .block_entries = BLOCK };
    struct lot l[MANY];
    json_int_t id[MANY];
    char name[20];

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "many-%zu", i);
        s.id = name;
        lot_make(&l[i], &s);
        id[i] = begin(bm_buf_rd(&l[i].text), BEGIN_LOT, 0, false);
    }
    for (size_t b = 0; b < 3; b++)
        for (size_t i = 0; i < MANY; i++)
            block_says(id[i], bm_buf_rd(&l[i].text), b, b < 2 ? 3 : 1, 0, 0);
    for (size_t i = 0; i < MANY; i++)
        lot_done(&l[i]);
}

/* Microchip's own example. Its signer's certificate is pinned, and its root anchors the birth certificate. */
static void read_file(const char *path, struct bm_buf *ret)
{
    assert_rc(bm_file_read(path, ret, &err), BM_OK);
}

static void microchip_example(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 1 << 20 }, pem = { .max = 65536 }, raw = { .max = 1 << 20 };
    BM_CLEANUP(json_unref) json_t *begun = NULL, *reply = NULL, *again = NULL, *list = NULL;
    struct bm_manifest_split split;
    struct bm_manifest_block b;
    char request[120];

    (void)state;
    read_file("tests/vectors/microchip/manifest-example.json", &text);
    read_file("tests/vectors/microchip/manifest-log-signer-001.pem", &pem);
    bm_manifest_split_init(&split, bm_manifest_format_find("microchip"));
    assert_ok(bm_manifest_split_put(&split, bm_buf_rd(&text), &err));
    bm_manifest_split_end(&split);
    assert_ok(bm_manifest_split_next(&split, &b, &err));
    bm_buf_put(&raw, b.raw.p, b.raw.n);
    bm_manifest_split_done(&split);
    begun = admin_blob(&w, first_line(bm_buf_rd(&raw)), "{\"op\":\"manifest.begin\",\"format\":\"microchip\",\"batch\":\"lot\"}");
    snprintf(request, sizeof request, "{\"op\":\"manifest.block\",\"manifest\":%lld}", (long long)member_int(begun, "manifest"));
    assert_rc_(admin_do(&w, request, bm_buf_rd(&raw), &reply), BM_OK, "unpinned");
    assert_int_equal(member_int(reply, "added"), 0); /* nobody has pinned Microchip yet: the entry is bad, not the block */
    assert_int_equal(member_int(reply, "n_bad"), 1);
    assert_string_equal(member_text(json_array_get(json_object_get(reply, "bad"), 0), "code"), "entry-signer");
    json_decref(admin_blob(&w, bm_buf_rd(&pem), "{\"op\":\"org.trust\",\"org\":\"chips\",\"purpose\":\"manifest\"}"));
    pem.n = 0;
    read_file("tests/vectors/microchip/crypto-authentication-root-ca-002.pem", &pem);
    json_decref(admin_blob(&w, bm_buf_rd(&pem), "{\"op\":\"org.trust\",\"org\":\"chips\",\"purpose\":\"birth\"}"));
    list = admin(&w, "{\"op\":\"manifest.list\",\"limit\":1000}");
    assert_true(json_array_size(json_object_get(list, "rows")) > 0);
    json_decref(BM_MOVE(begun));
    begun = admin_blob(&w, first_line(bm_buf_rd(&raw)),
                       "{\"op\":\"manifest.begin\",\"format\":\"microchip\",\"batch\":\"lot\",\"dry_run\":true}");
    snprintf(request, sizeof request, "{\"op\":\"manifest.block\",\"manifest\":%lld}", (long long)member_int(begun, "manifest"));
    assert_rc_(admin_do(&w, request, bm_buf_rd(&raw), &again), BM_OK, "pinned");
    if (member_int(again, "added") != 1)
        fail_msg("the example is not taken");
}

/* --- why ------------------------------------------------------------------------------------------------------------------------------------ */
static bool tells(const json_t *story, const char *event, const char *part)
{
    const json_t *row;
    size_t i;

    json_array_foreach (story, i, row)
        if (strcmp(member_text(row, "event"), event) == 0 && strstr(member_text(row, "text"), part) != NULL)
            return true;
    return false;
}

#define assert_tells(reply, event, part)                                                                                           \
    do {                                                                                                                           \
        if (!tells(json_object_get((reply), "story"), (event), (part)))                                                            \
            fail_msg("%s about %s is not told: %s", (event), (part), json_dumps((reply), 0));                                      \
    } while (0)

static void why_stories(void **state)
{
    BM_CLEANUP(json_unref) json_t *device = NULL, *refusal = NULL, *cert = NULL, *stranger_story = NULL, *manifest = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    BM_CLEANUP(dev_done) struct dev d, stranger;
    char sn[2 * BM_SERIAL_LEN + 1], request[120];
    json_t *list;

    (void)state;
    dev_make(&d);
    dev_make(&stranger);
    register_device(&w, "lot", &d);
    enrol_ok(&d, sn);
    admin_ok(&w, "{\"op\":\"device.suspend\",\"udid\":\"%s\"}", d.hex);
    assert_rc(enrol(&d, &out), BM_DENIED);
    refusal = admin(&w, "{\"op\":\"why\",\"id\":\"%s\"}", refusal_id);
    assert_string_equal(member_text(refusal, "what"), "correlation");
    assert_tells(refusal, "refused", "device-suspended");
    device = admin(&w, "{\"op\":\"why\",\"id\":\"%s\"}", d.hex);
    assert_tells(device, "registered", "lot");
    assert_tells(device, "activated", "quota");
    assert_tells(device, "issued", sn);
    assert_tells(device, "device.suspended", "by test");
    assert_tells(device, "refused", "device-suspended");
    assert_tells(device, "now", "suspended");
    admin_ok(&w, "{\"op\":\"cert.revoke\",\"serial\":\"%s\"}", sn);
    cert = admin(&w, "{\"op\":\"why\",\"id\":\"%s\"}", sn);
    assert_tells(cert, "issued", d.hex);
    assert_tells(cert, "revoked", sn);
    assert_tells(cert, "credential.revoked", "by test");
    assert_rc(enrol(&stranger, &out), BM_DENIED);
    stranger_story = admin(&w, "{\"op\":\"why\",\"id\":\"%s\"}", stranger.hex);
    assert_tells(stranger_story, "unknown", "manifest");
    assert_tells(stranger_story, "refused", "unknown-device");
    list = admin(&w, "{\"op\":\"manifest.list\",\"limit\":1}");
    snprintf(request, sizeof request, "{\"op\":\"why\",\"id\":\"%s\"}",
             member_text(json_array_get(json_object_get(list, "rows"), 0), "digest"));
    json_decref(list);
    manifest = admin_blob(&w, NO_BLOB, request);
    assert_tells(manifest, "manifest.block", "by test");
    assert_string_equal(member_text(manifest, "what"), "manifest");
}

static void status_op(void **state)
{
    BM_CLEANUP(json_unref) json_t *s = admin(&w, "{\"op\":\"status\"}");
    const json_t *counts = json_object_get(s, "counts");

    (void)state;
    assert_true(json_is_object(counts) && json_is_array(json_object_get(s, "warnings")));
    assert_int_equal(member_int(s, "log_size"), w.k->audit.on_disk.size);
    assert_true(member_int(counts, "device") > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation),   cmocka_unit_test(refusals),
        cmocka_unit_test(long_texts),        cmocka_unit_test(blobs),
        cmocka_unit_test(authorities),       cmocka_unit_test(lists_page),
        cmocka_unit_test(life_of_a_device),  cmocka_unit_test(revoke_many),
        cmocka_unit_test(log_proofs),        cmocka_unit_test(import_resumes),
        cmocka_unit_test(devices_met_again), cmocka_unit_test(dry_runs),
        cmocka_unit_test(manifests_refused), cmocka_unit_test(begin_with_line_end),
        cmocka_unit_test(many_imports),      cmocka_unit_test(microchip_example),
        cmocka_unit_test(why_stories),       cmocka_unit_test(status_op),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
