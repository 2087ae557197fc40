/* policy.test: for each row what it says of a request is what enrolment then says of it, word by word; and the registry is, byte by byte, what it
 * was. A token with a scope learns nothing of devices that are not its own. */
#include "keeper_fixture.h"

#include "pki/describe.h"

static struct world w;

static int open_world(void **state)
{
    static const struct {
        const char *name, *json;
    } profiles[] = {
        { "rsa-only", "{\"validity\":\"5d\",\"key_usage\":[\"digitalSignature\"],\"subject\":\"CN={udid}\",\"keys\":[\"RSA\"]}" },
        { "wants-serial", "{\"validity\":\"5d\",\"key_usage\":[\"digitalSignature\"],\"subject\":\"CN={attr:slot}\"}" },
        { "for-mqtt", "{\"validity\":\"2h\",\"key_usage\":[\"digitalSignature\"],\"eku\":[\"clientAuth\",\"1.2.3.4\"],"
                      "\"subject\":\"CN={udid},OU={service}\",\"san\":[\"dns:{batch}.example\",\"uri:urn:x:{batch}\"]}" },
    };

    (void)state;
    world_open(&w);
    for (size_t i = 0; i < BM_COUNT(profiles); i++) {
        char text[100];

        snprintf(text, sizeof text, "{\"op\":\"profile.set\",\"name\":\"%s\"}", profiles[i].name);
        json_decref(admin_blob(&w, bm_rd_str(profiles[i].json), text));
    }
    admin_ok(&w, "{\"op\":\"service.create\",\"name\":\"mqtt\",\"kind\":\"mqtt\",\"profile\":\"for-mqtt\"}");
    admin_ok(&w, "{\"op\":\"ca.create\",\"name\":\"spare\",\"parent\":\"root\",\"alg\":\"EC:P-384\"}");
    admin_ok(&w, "{\"op\":\"ca.create\",\"name\":\"gone\",\"parent\":\"root\"}");
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

/* --- rows ------------------------------------------------------------------------------------------------------------------------- */
enum show { BY_UDID, BY_SELF_MADE, BY_LDEVID, BY_STRANGER, BY_COPY, BY_DEVICE_CODE, BY_BATCH_CODE, BY_WRONG_CODE };
enum request { GOOD, SPOILT, SAME_SUBJECT };

/* Each row has a product, a batch and a device of its own. @D: its UDID, @B: the batch, @S: serial number of what it was issued before. */
static const struct row {
    const char *name;
    const char *policy; /* of the product */
    const char *acts[3];
    const char *rot, *protocol, *service, *batch;
    enum show show;
    enum request request;
    bool enrolled, reenrol, keygen, loose;
    const char *want; /* a refusal's code, or NULL */
} rows[] = {
    { "first enrolment", .want = NULL },
    { "again", .enrolled = true, .want = NULL },
    { "with its self-made certificate", .show = BY_SELF_MADE, .want = NULL },
    { "renewal", .show = BY_LDEVID, .enrolled = true, .want = NULL },
    { "re-enrolment, same subject", .show = BY_LDEVID, .request = SAME_SUBJECT, .enrolled = true, .reenrol = true, .want = NULL },
    { "another protocol", .protocol = "cmp", .want = NULL },
    { "a service", .policy = "\"services\":[\"mqtt\"]", .service = "mqtt", .want = NULL },
    { "the first service", .policy = "\"services\":[\"mqtt\"]", .want = NULL },
    { "another CA", .policy = "\"ca\":\"spare\"", .want = NULL },
    { "renews late", .policy = "\"renew_after_percent\":90", .want = NULL },
    { "the batch it says", .batch = "@B", .want = NULL },
    { "key made here", .policy = "\"server_keygen\":true", .keygen = true, .request = SPOILT, .want = NULL },
    { "a device's code", .show = BY_DEVICE_CODE, .want = NULL },
    { "a batch's code", .policy = "\"self_registration\":true", .show = BY_BATCH_CODE, .batch = "@B", .want = NULL },
    { "resumed", .acts = { "{\"op\":\"device.suspend\",\"udid\":\"@D\"}", "{\"op\":\"device.resume\",\"udid\":\"@D\"}" },
      .enrolled = true, .want = NULL },
    { "reset, batch closed",
      .acts = { "{\"op\":\"device.reset\",\"udid\":\"@D\"}", "{\"op\":\"batch.set\",\"name\":\"@B\",\"state\":\"closed\"}" },
      .enrolled = true, .want = NULL },
    { "rented", .acts = { "{\"op\":\"device.rent\",\"udid\":\"@D\",\"org\":\"chips\",\"as\":\"acme\",\"until\":\"2d\"}" },
      .want = NULL },

    { "not allocated", .loose = true, .want = "not-allocated" },
    { "suspended", .acts = { "{\"op\":\"device.suspend\",\"udid\":\"@D\"}" }, .enrolled = true, .want = "device-suspended" },
    { "retired", .acts = { "{\"op\":\"device.retire\",\"udid\":\"@D\"}" }, .want = "device-retired" },
    { "compromised", .acts = { "{\"op\":\"device.compromise\",\"udid\":\"@D\"}" }, .want = "device-compromised" },
    { "wrong batch", .batch = "lot", .want = "wrong-batch" },
    { "root of trust", .policy = "\"rot\":[\"tpm2\"]", .want = "root-of-trust-refused" },
    { "protocol", .policy = "\"protocols\":[\"onboard\"]", .want = "protocol-refused" },
    { "other protocol", .policy = "\"protocols\":[\"est\"]", .protocol = "scep", .want = "protocol-refused" },
    { "no birth certificate", .policy = "\"birth_certificate\":true", .want = "birth-certificate-needed" },
    { "closed", .acts = { "{\"op\":\"batch.set\",\"name\":\"@B\",\"state\":\"closed\"}" }, .want = "batch-closed" },
    { "quota", .acts = { "{\"op\":\"batch.set\",\"name\":\"@B\",\"quota\":0}" }, .want = "quota-exceeded" },
    { "no such service", .service = "mqtt", .want = "service-refused" },
    { "spoilt request", .request = SPOILT, .want = "bad-signature" },
    { "key algorithm", .policy = "\"profile\":\"rsa-only\"", .want = "key-algorithm" },
    { "nothing known for a word", .policy = "\"profile\":\"wants-serial\"", .want = "profile-template" },
    { "CA revoked", .policy = "\"ca\":\"gone\"", .acts = { "{\"op\":\"ca.revoke\",\"name\":\"gone\"}" }, .want = "ca-revoked" },
    { "no keys made here", .keygen = true, .want = "server-keygen-off" },
    { "stranger", .show = BY_STRANGER, .want = "unknown-device" },
    { "copy", .show = BY_COPY, .want = "udid-mismatch" },
    { "certificate revoked", .show = BY_LDEVID, .enrolled = true, .acts = { "{\"op\":\"cert.revoke\",\"serial\":\"@S\"}" },
      .want = "credential-revoked" },
    { "other subject", .show = BY_LDEVID, .enrolled = true, .reenrol = true, .want = "subject-mismatch" },
    { "wrong code", .show = BY_WRONG_CODE, .want = "code-wrong" },
    { "code, no self-registration", .show = BY_BATCH_CODE, .batch = "@B", .want = "self-registration-off" },
    { "code at another batch", .policy = "\"self_registration\":true", .show = BY_BATCH_CODE, .batch = "lot",
      .want = "code-wrong" },
    { "code to renew", .show = BY_DEVICE_CODE, .reenrol = true, .want = "code-not-here" },
};

/* --- one row: its world ------------------------------------------------------------------------------------------------------------- */
struct scene {
    const struct row *row;
    struct dev d, stranger;
    struct bm_buf ldevid, csr;
    char product[16], batch[16], serial[2 * BM_SERIAL_LEN + 1], code[BM_CODE_TEXT_LEN], claimed[BM_NAME_LEN];
};

static void scene_done(struct scene *s)
{
    dev_done(&s->d);
    dev_done(&s->stranger);
    bm_buf_done(&s->ldevid);
    bm_buf_done(&s->csr);
}

static const char *word_of(const struct scene *s, char name)
{
    return name == 'D' ? s->d.hex : name == 'B' ? s->batch : s->serial;
}

static void expand(const struct scene *s, const char *from, char *to, size_t to_len)
{
    struct bm_wr out = bm_wr_of(to, to_len - 1);

    for (; *from != '\0'; from++) {
        if (*from == '@')
            bm_wr_str(&out, word_of(s, *++from));
        else
            bm_wr_put(&out, from, 1);
    }
    assert_false(out.bad);
    to[out.n] = '\0';
}

static enum bm_rc run(struct bm_enrol *c, struct bm_buf *out)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX };

    snprintf(c->peer, sizeof c->peer, "192.0.2.7");
    next_correlation(&w, c);
    prove(&w, c);
    bm_enrol_write(&payload, c);
    assert_false(payload.bad);
    return command(&w, BM_CMD_ENROL, bm_buf_rd(&payload), out);
}

static void enrol_before(struct scene *s)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    struct bm_enrol c = { .protocol = "est", .n_requests = 1 };
    struct bm_enrolled got;
    struct bm_cert cert;

    c.evidence.kind = BM_EVIDENCE_TLS;
    c.evidence.cert = bm_buf_rd(&s->d.id.cert);
    c.requests[0].csr = bm_buf_rd(&s->d.csr);
    assert_ok(run(&c, &out));
    assert_ok(bm_enrolled_parse(bm_buf_rd(&out), &got, &err));
    assert_ok(bm_cert_parse(got.credentials[0].cert, &cert, &err));
    bm_buf_put(&s->ldevid, cert.whole.p, cert.whole.n);
    bm_hex(cert.serial.p, cert.serial.n, s->serial);
}

static void make_request(struct scene *s)
{
    char subject[160];

    if (s->row->request == SAME_SUBJECT) {
        snprintf(subject, sizeof subject, "CN=%s,OU=%s,O=Acme Meters", s->d.hex, s->product);
        assert_ok(bm_csr_make(s->d.op.key, subject, &s->csr, &err));
        return;
    }
    bm_buf_put(&s->csr, s->d.csr.p, s->d.csr.n);
    if (s->row->request == SPOILT)
        s->csr.p[s->csr.n - 1] ^= 1;
}

static void make_code(struct scene *s)
{
    BM_CLEANUP(json_unref) json_t *reply = NULL;
    uint8_t digest[32];

    if (s->row->show == BY_WRONG_CODE)
        assert_ok(bm_code_make(BM_CODE_PURPOSE, s->code, digest, &err)); /* of the right form, and nobody has it */
    if (s->row->show == BY_DEVICE_CODE)
        reply = admin(&w, "{\"op\":\"code.create\",\"udid\":\"%s\"}", s->d.hex);
    if (s->row->show == BY_BATCH_CODE)
        reply = admin(&w, "{\"op\":\"code.create\",\"batch\":\"%s\"}", s->batch);
    if (reply != NULL)
        snprintf(s->code, sizeof s->code, "%s", member_text(json_array_get(json_object_get(reply, "codes"), 0), "code"));
}

static void scene_open(struct scene *s, const struct row *row, size_t number)
{
    char text[600];

    *s = (struct scene){ .row = row, .ldevid.max = BM_CERT_MAX, .csr.max = BM_CSR_MAX };
    snprintf(s->product, sizeof s->product, "p%zu", number);
    snprintf(s->batch, sizeof s->batch, "b%zu", number);
    dev_make(&s->d);
    dev_make(&s->stranger);
    if (row->show == BY_COPY)
        party_certify(&s->stranger.id, s->d.hex, NULL, false, 86400);
    admin_ok(&w, "{\"op\":\"product.create\",\"name\":\"%s\",\"org\":\"acme\",\"policy\":{%s}}", s->product,
             row->policy != NULL ? row->policy : "");
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"%s\",\"product\":\"%s\",\"quota\":3}", s->batch, s->product);
    if (row->show != BY_BATCH_CODE)
        register_device(&w, row->loose ? NULL : s->batch, &s->d);
    if (row->enrolled)
        enrol_before(s);
    make_request(s);
    make_code(s);
    for (size_t i = 0; i < BM_COUNT(row->acts) && row->acts[i] != NULL; i++) {
        expand(s, row->acts[i], text, sizeof text);
        admin_ok(&w, "%s", text);
    }
    if (row->batch != NULL)
        expand(s, row->batch, s->claimed, sizeof s->claimed);
}

/* --- asking twice ------------------------------------------------------------------------------------------------------------------- */
static struct bm_rd shown_cert(const struct scene *s)
{
    switch (s->row->show) {
    case BY_UDID:
    case BY_SELF_MADE:
        return bm_buf_rd(&s->d.id.cert);
    case BY_LDEVID:
        return bm_buf_rd(&s->ldevid);
    case BY_STRANGER:
    case BY_COPY:
        return bm_buf_rd(&s->stranger.id.cert);
    default:
        return NO_BLOB;
    }
}

static void set_pem(json_t *in, const char *member, const char *label, struct bm_rd der)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 65536 };

    bm_pem_write(&pem, label, der);
    json_object_set_new(in, member, json_stringn((const char *)pem.p, pem.n));
}

static void set_text(json_t *in, const char *member, const char *text)
{
    if (text != NULL && text[0] != '\0')
        json_object_set_new(in, member, json_string(text));
}

static json_t *question(const struct scene *s)
{
    json_t *in = json_pack("{s:s, s:b, s:b}", "op", "policy.test", "reenrol", s->row->reenrol, "keygen", s->row->keygen);

    set_pem(in, "csr", "CERTIFICATE REQUEST", bm_buf_rd(&s->csr));
    if (s->row->show == BY_UDID || s->row->show == BY_DEVICE_CODE || s->row->show == BY_WRONG_CODE)
        set_text(in, "udid", s->d.hex);
    else if (s->row->show != BY_BATCH_CODE)
        set_pem(in, "certificate", "CERTIFICATE", shown_cert(s));
    set_text(in, "code", s->code);
    set_text(in, "batch", s->claimed);
    set_text(in, "service", s->row->service);
    set_text(in, "protocol", s->row->protocol);
    return in;
}

static void content_of(struct bm_content *ret)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *now = NULL;
    char dsn[100];

    snprintf(dsn, sizeof dsn, "sqlite:%s/registry.db", w.dir);
    assert_ok(bm_store_open(dsn, (struct bm_store_options){ .read_only = true }, &now, &err));
    assert_ok(bm_store_content(now, ret, &err));
}

/* Every row of every table, leaves of the audit log included, before and after. */
static json_t *dry(const struct scene *s)
{
    BM_CLEANUP(json_unref) json_t *in = question(s);
    struct bm_content before, after;
    int64_t leaves = w.k->audit.on_disk.size;
    json_t *reply = NULL;

    content_of(&before);
    err = (struct bm_error){ 0 };
    if (bm_keeper_admin(w.k, in, NO_BLOB, "test", &reply, &err) != BM_OK)
        fail_msg("%s: %s", s->row->name, err.what);
    content_of(&after);
    assert_int_equal(before.rows, after.rows);
    assert_memory_equal(before.sha256, after.sha256, sizeof before.sha256);
    assert_int_equal(leaves, w.k->audit.on_disk.size);
    return reply;
}

static enum bm_rc really(const struct scene *s, struct bm_buf *out)
{
    struct bm_enrol c = { .n_requests = 1, .reenrol = s->row->reenrol, .keygen = s->row->keygen };

    snprintf(c.protocol, sizeof c.protocol, "%s", s->row->protocol != NULL ? s->row->protocol : "est");
    c.evidence.kind = s->code[0] != '\0' ? BM_EVIDENCE_CODE : BM_EVIDENCE_TLS;
    c.evidence.code = bm_rd_str(s->code);
    c.evidence.cert = shown_cert(s);
    if (s->row->show == BY_DEVICE_CODE || s->row->show == BY_WRONG_CODE)
        c.claimed_udid = bm_rd_of(s->d.udid, sizeof s->d.udid);
    c.claimed_batch = bm_rd_str(s->claimed);
    c.requests[0].csr = bm_buf_rd(&s->csr);
    c.requests[0].service = bm_rd_str(s->row->service != NULL ? s->row->service : "");
    return run(&c, out);
}

/* --- comparing ---------------------------------------------------------------------------------------------------------------------- */
enum { SLACK_S = 5 }; /* the clock goes on between the two */

static void near_time(json_t *said, const char *member, int64_t is)
{
    int64_t at;

    assert_true(bm_time_parse(member_text(said, member), &at));
    assert_true(is - at >= 0 && is - at <= SLACK_S);
    json_object_del(said, member);
}

static void same_certificate(const struct row *row, json_t *said, const struct bm_enrolled_credential *got)
{
    BM_CLEANUP(json_unref) json_t *is = NULL;
    struct bm_cert cert;

    assert_ok(bm_cert_parse(got->cert, &cert, &err));
    near_time(said, "not_before", cert.not_before);
    near_time(said, "renew_after", got->renew_after);
    if (strcmp(row->name, "rented") == 0) /* until its end, to the second */
        json_object_del(said, "not_after");
    else
        near_time(said, "not_after", cert.not_after);
    is = bm_cert_describe(&cert);
    json_object_del(is, "not_before");
    json_object_del(is, "not_after");
    if (!json_equal(said, is))
        fail_msg("%s: said %s, made %s", row->name, json_dumps(said, 0), json_dumps(is, 0));
}

static void same_grant(const struct scene *s, json_t *said, struct bm_rd answer)
{
    struct bm_enrolled got;
    struct bm_batch b;

    assert_ok(bm_enrolled_parse(answer, &got, &err));
    if (!json_is_true(json_object_get(said, "granted")))
        fail_msg("%s: the dry run refuses it: %s", s->row->name, json_string_value(json_object_get(said, "what")));
    same_certificate(s->row, json_object_get(said, "certificate"), &got.credentials[0]);
    assert_int_equal(json_is_true(json_object_get(said, "key_made_here")), got.credentials[0].key_form != BM_KEY_NONE);
    assert_ok(bm_batch_get(w.k->store, s->batch, &b, &err));
    assert_int_equal(member_int(said, "quota_left") - json_is_true(json_object_get(said, "uses_quota")), b.quota - b.used);
}

static void walk(const struct row *row, size_t number)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    BM_CLEANUP(scene_done) struct scene s;
    BM_CLEANUP(json_unref) json_t *said = NULL;
    enum bm_rc rc;

    scene_open(&s, row, number);
    said = dry(&s);
    err = (struct bm_error){ 0 };
    rc = really(&s, &out);
    if ((rc == BM_OK) != (row->want == NULL) || (rc != BM_OK && strcmp(bm_error_code(&err), row->want) != 0))
        fail_msg("%s: enrolment says %s %s", row->name, bm_error_code(&err), err.what);
    if (rc == BM_OK) {
        same_grant(&s, said, bm_buf_rd(&out));
        return;
    }
    if (json_is_true(json_object_get(said, "granted")))
        fail_msg("%s: the dry run grants it", row->name);
    assert_string_equal(member_text(said, "code"), bm_error_code(&err));
    assert_string_equal(member_text(said, "what"), err.what);
    assert_null(json_object_get(said, "certificate"));
}

/* Breaks when a dry run is anything else than what enrolment does, or leaves a trace. */
static void says_what_enrolment_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        walk(&rows[i], i);
}

/* --- what is no question ------------------------------------------------------------------------------------------------------------- */
static void bad_questions(void **state)
{
    static const struct {
        const char *member, *value; /* value NULL: taken away */
        enum bm_rc want;
    } bads[] = {
        { "csr", NULL, BM_USAGE },
        { "csr", "", BM_USAGE },
        { "csr", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", BM_USAGE },
        { "csr", "-----BEGIN CERTIFICATE REQUEST-----\n!\n-----END CERTIFICATE REQUEST-----\n", BM_MALFORMED },
        { "udid", NULL, BM_USAGE },
        { "udid", "00", BM_USAGE },
        { "certificate", "no PEM", BM_USAGE },
        { "protocol", "a-protocol-with-a-long-name", BM_USAGE },
        { "protocol", "EST", BM_USAGE },
    };
    struct scene s;

    (void)state;
    scene_open(&s, &rows[0], 900);
    for (size_t i = 0; i < BM_COUNT(bads); i++) {
        BM_CLEANUP(json_unref) json_t *in = question(&s);
        json_t *reply = NULL;

        json_object_del(in, bads[i].member);
        set_text(in, bads[i].member, bads[i].value);
        assert_rc_(bm_keeper_admin(w.k, in, NO_BLOB, "test", &reply, &err), bads[i].want, bads[i].member);
        assert_null(reply);
    }
    scene_done(&s);
}

/* --- tokens with a scope --------------------------------------------------------------------------------------------------------------- */
static enum bm_rc by_token(const char *token, const json_t *in, json_t **ret)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_API_COMMAND_MAX }, out = { .max = 1 << 22 };
    struct bm_api_ask ask = { .token = bm_rd_str(token), .peer = "192.0.2.1" };
    char *text = json_dumps(in, JSON_COMPACT);
    enum bm_rc rc;

    snprintf(ask.correlation, sizeof ask.correlation, "%016x", ++w.correlations);
    ask.request = bm_rd_str(text);
    bm_api_ask_write(&payload, &ask);
    rc = command(&w, BM_CMD_API, bm_buf_rd(&payload), &out);
    *ret = rc == BM_OK ? json_loadb((const char *)out.p, out.n, 0, NULL) : NULL;
    free(text);
    return rc;
}

/* Breaks when a contract manufacturer learns of a device, a key or a code that is not of its own batches. */
static void a_maker_tries_its_own_only(void **state)
{
    static const struct row plain[] = { { "udid", .want = NULL },
                                        { "certificate", .show = BY_SELF_MADE },
                                        { "code", .show = BY_DEVICE_CODE },
                                        { "stranger", .show = BY_STRANGER },
                                        { "retired", .acts = { "{\"op\":\"device.retire\",\"udid\":\"@D\"}" } } };
    BM_CLEANUP(json_unref) json_t *token = NULL;

    (void)state;
    admin_ok(&w, "{\"op\":\"org.create\",\"name\":\"fab\",\"role\":\"contract-manufacturer\"}");
    token = admin(&w, "{\"op\":\"token.create\",\"name\":\"t\",\"role\":\"contract-manufacturer\",\"org\":\"fab\"}");
    for (size_t i = 0; i < BM_COUNT(plain); i++) {
        BM_CLEANUP(scene_done) struct scene s;
        BM_CLEANUP(json_unref) json_t *in = NULL, *foreign = NULL, *own = NULL;

        scene_open(&s, &plain[i], 950 + i);
        in = question(&s);
        assert_rc_(by_token(member_text(token, "token"), in, &foreign), BM_NOTFOUND, plain[i].name);
        assert_non_null(strstr(err.what, "within this token's reach"));
        admin_ok(&w, "{\"op\":\"batch.set\",\"name\":\"%s\",\"maker\":\"fab\"}", s.batch);
        assert_rc_(by_token(member_text(token, "token"), in, &own), plain[i].show == BY_STRANGER ? BM_NOTFOUND : BM_OK,
                   plain[i].name);
        if (own != NULL)
            assert_int_equal(json_is_true(json_object_get(own, "granted")), plain[i].acts[0] == NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_enrolment_says),
        cmocka_unit_test(bad_questions),
        cmocka_unit_test(a_maker_tries_its_own_only),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
