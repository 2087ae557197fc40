/* Tokens, roles and scopes of the Admin API, at the keeper: each act by each role; what a token of one organisation makes of other people's
 * things (the same as of things that are not there); tokens that are wrong, revoked or over; what the audit log says; and a worker that makes
 * up calls. */
#include "keeper_fixture.h"

#include "pki/key.h"

static struct world w;
static struct dev mine, theirs, loose; /* of acme-made batch "own", of batch "lot"; of no batch */
static char serial_mine[2 * BM_SERIAL_LEN + 1], serial_theirs[2 * BM_SERIAL_LEN + 1];
static char tokens[BM_API_ROLES][BM_API_TOKEN_LEN + 1];

/* --- calls ---------------------------------------------------------------------------------------------------------------------------- */
struct said {
    enum bm_rc rc;
    char code[32], what[224];
    json_t *reply; /* NULL when refused */
};

static void said_done(struct said *s)
{
    json_decref(s->reply);
    s->reply = NULL;
}

static void call_blob(const char *token, const char *peer, const char *request, struct bm_rd blob, struct said *ret)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_API_COMMAND_MAX }, out = { .max = 1 << 22 };
    struct bm_api_ask ask = { .token = bm_rd_str(token), .request = bm_rd_str(request), .blob = blob };

    snprintf(ask.correlation, sizeof ask.correlation, "%016x", ++w.correlations);
    snprintf(ask.peer, sizeof ask.peer, "%s", peer);
    bm_api_ask_write(&payload, &ask);
    *ret = (struct said){ .rc = command(&w, BM_CMD_API, bm_buf_rd(&payload), &out) };
    if (ret->rc == BM_OK)
        ret->reply = json_loadb((const char *)out.p, out.n, 0, NULL);
    else
        snprintf(ret->code, sizeof ret->code, "%s", bm_error_code(&err));
    snprintf(ret->what, sizeof ret->what, "%s", ret->rc == BM_OK ? "" : err.what);
}

static void call(const char *token, const char *request, struct said *ret)
{
    call_blob(token, "192.0.2.1", request, NO_BLOB, ret);
}

static void enrol_ok(const struct dev *d, char ret_serial[2 * BM_SERIAL_LEN + 1])
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 }, payload = { .max = BM_COMMAND_MAX };
    struct bm_enrol c = { .protocol = "est", .peer = "192.0.2.1", .n_requests = 1 };
    struct bm_enrolled a;
    struct bm_cert cert;

    next_correlation(&w, &c);
    c.evidence.kind = BM_EVIDENCE_TLS;
    c.evidence.cert = bm_buf_rd(&d->id.cert);
    c.requests[0].csr = bm_buf_rd(&d->csr);
    prove(&w, &c);
    bm_enrol_write(&payload, &c);
    assert_ok(command(&w, BM_CMD_ENROL, bm_buf_rd(&payload), &out));
    assert_ok(bm_enrolled_parse(bm_buf_rd(&out), &a, &err));
    assert_ok(bm_cert_parse(a.credentials[0].cert, &cert, &err));
    bm_hex(cert.serial.p, BM_SERIAL_LEN, ret_serial);
}

static void make_token(enum bm_api_role role, const char *org)
{
    json_t *r = org != NULL ? admin(&w, "{\"op\":\"token.create\",\"name\":\"t-%s\",\"role\":\"%s\",\"org\":\"%s\"}",
                                    bm_api_roles[role], bm_api_roles[role], org)
                            : admin(&w, "{\"op\":\"token.create\",\"name\":\"t-%s\",\"role\":\"%s\"}", bm_api_roles[role],
                                    bm_api_roles[role]);

    snprintf(tokens[role], sizeof tokens[role], "%s", member_text(r, "token"));
    json_decref(r);
}

static int open_world(void **state)
{
    (void)state;
    world_open(&w);
    dev_make(&mine);
    dev_make(&theirs);
    dev_make(&loose);
    admin_ok(&w, "{\"op\":\"org.create\",\"name\":\"fab\",\"role\":\"contract-manufacturer\"}");
    admin_ok(&w, "{\"op\":\"org.create\",\"name\":\"brand\",\"role\":\"oem\"}");
    admin_ok(&w, "{\"op\":\"org.create\",\"name\":\"cloud\",\"role\":\"service-operator\"}");
    admin_ok(&w, "{\"op\":\"service.create\",\"name\":\"svc-mine\",\"kind\":\"mqtt\",\"org\":\"cloud\"}");
    admin_ok(&w, "{\"op\":\"service.create\",\"name\":\"svc-theirs\",\"kind\":\"mqtt\"}");
    admin_ok(&w, "{\"op\":\"product.create\",\"name\":\"lamp\",\"org\":\"brand\",\"policy\":{\"services\":[\"svc-mine\"]}}");
    admin_ok(&w, "{\"op\":\"product.set\",\"name\":\"meter\",\"policy\":{\"services\":[\"svc-theirs\"]}}");
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"own\",\"product\":\"lamp\",\"quota\":9,\"maker\":\"fab\"}");
    register_device(&w, "own", &mine);
    register_device(&w, "lot", &theirs);
    register_device(&w, NULL, &loose);
    enrol_ok(&mine, serial_mine);
    enrol_ok(&theirs, serial_theirs);
    make_token(BM_ROLE_ADMINISTRATOR, NULL);
    make_token(BM_ROLE_OPERATOR, NULL);
    make_token(BM_ROLE_AUDITOR, NULL);
    make_token(BM_ROLE_MAKER, "fab");
    make_token(BM_ROLE_OEM, "brand");
    make_token(BM_ROLE_SERVICE, "cloud");
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    history_holds(&w);
    dev_done(&mine);
    dev_done(&theirs);
    dev_done(&loose);
    world_close(&w);
    return 0;
}

/* --- the matrix ------------------------------------------------------------------------------------------------------------------------ */
/* Who may, in the order of enum bm_api_role: Administrator, Operator, aUditor, contract Manufacturer, Oem (e), Service operator. docs/api.md
 * has the same table. Whoever adds an act decides here, too. */
static const struct {
    const char *act, *may;
} matrix[] = {
    { "org.create", "a....." },
    { "org.list", "aou..." },
    { "org.show", "aou..." },
    { "org.trust", "a....." },
    { "profile.list", "aou..." },
    { "profile.show", "aou..." },
    { "profile.set", "a....." },
    { "ca.create", "a....." },
    { "ca.list", "aou..." },
    { "ca.show", "aou..." },
    { "ca.revoke", "a....." },
    { "ca.default", "a....." },
    { "crl.show", "aou..." },
    { "crl.export", "aou..." },
    { "service.create", "a....." },
    { "service.set", "a....." },
    { "service.list", "aou..s" },
    { "service.show", "aou..s" },
    { "product.create", "a....." },
    { "product.set", "a....." },
    { "product.list", "aou.e." },
    { "product.show", "aou.e." },
    { "batch.create", "ao...." },
    { "batch.set", "ao...." },
    { "batch.list", "aoume." },
    { "batch.show", "aoume." },
    { "device.list", "aoumes" },
    { "device.show", "aoumes" },
    { "device.allocate", "ao...." },
    { "device.suspend", "ao..e." },
    { "device.resume", "ao..e." },
    { "device.retire", "ao..e." },
    { "device.compromise", "ao..e." },
    { "device.transfer", "ao...." },
    { "device.history", "aou..." },
    { "device.reset", "ao..e." },
    { "device.offer", "ao...." },
    { "device.accept", "ao...." },
    { "device.decline", "ao...." },
    { "device.withdraw", "ao...." },
    { "device.rent", "ao...." },
    { "device.extend", "ao...." },
    { "device.return", "ao...." },
    { "offer.list", "aou..." },
    { "rental.list", "aou..." },
    { "cert.list", "aou.es" },
    { "cert.show", "aou.es" },
    { "cert.revoke", "ao..e." },
    { "manifest.begin", "ao.m.." },
    { "manifest.block", "ao.m.." },
    { "manifest.list", "aoume." },
    { "batch.compromise", "ao...." },
    { "bulk.start", "ao...." },
    { "bulk.dry", "aou..." },
    { "bulk.add", "ao...." },
    { "bulk.resume", "ao...." },
    { "bulk.cancel", "ao...." },
    { "bulk.list", "aou..." },
    { "bulk.show", "aou..." },
    { "code.create", "ao...." },
    { "code.list", "aou..." },
    { "code.revoke", "ao...." },
    { "log.head", "aou..." },
    { "log.entries", "aou..." },
    { "log.inclusion", "aou..." },
    { "log.consistency", "aou..." },
    { "token.create", "a....." },
    { "token.list", "aou..." },
    { "token.show", "aou..." },
    { "token.revoke", "a....." },
    { "status", "aou..." },
    { "why", "aou.e." },
    { "refusal.list", "aou..." },
    { "clock.accept", "a....." },
    { "policy.test", "aoume." },
    { "voucher.masa", "a....." },
    { "voucher.issue", "ao...." },
    { "voucher.list", "aou..." },
    { "voucher.show", "aou..." },
    { "approval.list", "aou.e." },
    { "approval.approve", "ao..e." },
    { "approval.deny", "ao..e." },
    { "trust.show", "aou..." },
    { "eab.create", "ao...." },
    { "eab.list", "aou..." },
    { "eab.revoke", "ao...." },
    { "acme-account.list", "aou..." },
    { "acme-account.revoke", "ao...." },
};

static const char *may_of(const char *act)
{
    for (size_t i = 0; i < BM_COUNT(matrix); i++)
        if (strcmp(matrix[i].act, act) == 0)
            return matrix[i].may;
    return "a....."; /* an act that says nothing is the administrator's alone */
}

/* Breaks when a role may do more, or less, than the table says. Each pair is asked for real, with nothing but the act's name: who may not is
 * refused for that reason, who may gets further. */
static void every_act_by_every_role(void **state)
{
    char request[64];
    size_t n = 0;

    (void)state;
    for (const struct bm_admin_op *op = bm_admin_ops; op->name != NULL; op++) {
        for (int role = 0; role < BM_API_ROLES; role++, n++) {
            BM_CLEANUP(said_done) struct said s;
            bool may = may_of(op->name)[role] != '.';

            assert_int_equal(bm_admin_may(op, (enum bm_api_role)role), may);
            if (role == BM_ROLE_ADMINISTRATOR && strcmp(op->name, "clock.accept") == 0)
                continue;
            snprintf(request, sizeof request, "{\"op\":\"%s\"}", op->name);
            call(tokens[role], request, &s);
            if ((strcmp(s.code, "not-permitted") != 0) != may)
                fail_msg("%s by %s: %s %s", op->name, bm_api_roles[role], s.code, s.what);
        }
    }
    assert_true(n >= 53 * BM_API_ROLES);
}

/* --- scopes ---------------------------------------------------------------------------------------------------------------------------- */
/* Every act that names a thing: @D a device, @B a batch, @P a product, @S a service, @C a certificate, @M an import, @N anything else's name. */
static const char *const asks[] = {
    "{\"op\":\"org.create\",\"name\":\"@N\",\"role\":\"oem\"}",
    "{\"op\":\"org.show\",\"name\":\"acme\"}",
    "{\"op\":\"org.trust\",\"org\":\"acme\",\"purpose\":\"birth\"}",
    "{\"op\":\"org.list\"}",
    "{\"op\":\"profile.list\"}",
    "{\"op\":\"profile.show\",\"name\":\"ldevid\"}",
    "{\"op\":\"profile.set\",\"name\":\"@N\"}",
    "{\"op\":\"ca.create\",\"name\":\"@N\",\"parent\":\"root\"}",
    "{\"op\":\"ca.list\"}",
    "{\"op\":\"ca.show\",\"name\":\"issuing\"}",
    "{\"op\":\"ca.revoke\",\"name\":\"issuing\"}",
    "{\"op\":\"ca.default\",\"name\":\"issuing\"}",
    "{\"op\":\"crl.show\",\"name\":\"issuing\"}",
    "{\"op\":\"crl.export\",\"name\":\"issuing\"}",
    "{\"op\":\"service.create\",\"name\":\"@N\",\"kind\":\"mqtt\"}",
    "{\"op\":\"service.set\",\"name\":\"@S\",\"title\":\"x\"}",
    "{\"op\":\"service.show\",\"name\":\"@S\"}",
    "{\"op\":\"product.create\",\"name\":\"@N\",\"org\":\"acme\"}",
    "{\"op\":\"product.set\",\"name\":\"@P\",\"title\":\"x\"}",
    "{\"op\":\"product.show\",\"name\":\"@P\"}",
    "{\"op\":\"batch.create\",\"name\":\"@N\",\"product\":\"@P\",\"quota\":5}",
    "{\"op\":\"batch.set\",\"name\":\"@B\",\"quota\":50}",
    "{\"op\":\"batch.set\",\"name\":\"@B\",\"maker\":\"fab\"}",
    "{\"op\":\"batch.show\",\"name\":\"@B\"}",
    "{\"op\":\"device.show\",\"udid\":\"@D\"}",
    "{\"op\":\"device.allocate\",\"udid\":\"@D\",\"batch\":\"own\"}",
    "{\"op\":\"device.suspend\",\"udid\":\"@D\"}",
    "{\"op\":\"device.resume\",\"udid\":\"@D\"}",
    "{\"op\":\"device.retire\",\"udid\":\"@D\"}",
    "{\"op\":\"device.compromise\",\"udid\":\"@D\"}",
    "{\"op\":\"device.transfer\",\"udid\":\"@D\",\"org\":\"brand\"}",
    "{\"op\":\"device.history\",\"udid\":\"@D\"}",
    "{\"op\":\"device.reset\",\"udid\":\"@D\"}",
    "{\"op\":\"device.offer\",\"udid\":\"@D\",\"org\":\"brand\",\"as\":\"acme\"}",
    "{\"op\":\"device.accept\",\"udid\":\"@D\",\"as\":\"brand\"}",
    "{\"op\":\"device.rent\",\"udid\":\"@D\",\"org\":\"brand\",\"as\":\"acme\",\"until\":\"30d\"}",
    "{\"op\":\"device.return\",\"udid\":\"@D\"}",
    "{\"op\":\"cert.show\",\"serial\":\"@C\"}",
    "{\"op\":\"cert.revoke\",\"serial\":\"@C\"}",
    "{\"op\":\"manifest.begin\",\"format\":\"birthmark\",\"batch\":\"@B\"}",
    "{\"op\":\"manifest.begin\",\"format\":\"birthmark\",\"batch\":\"@B\",\"dry_run\":true}",
    "{\"op\":\"manifest.block\",\"manifest\":@M}",
    "{\"op\":\"manifest.block\",\"manifest\":@M,\"dry_run\":true}",
    "{\"op\":\"batch.compromise\",\"name\":\"@B\"}",
    "{\"op\":\"bulk.start\",\"act\":\"retire\",\"batch\":\"@B\"}",
    "{\"op\":\"bulk.dry\",\"act\":\"retire\",\"batch\":\"@B\"}",
    "{\"op\":\"bulk.show\",\"job\":@M}",
    "{\"op\":\"voucher.masa\",\"ca\":\"nobody\"}",
    "{\"op\":\"voucher.issue\",\"udid\":\"@D\"}",
    "{\"op\":\"voucher.list\",\"udid\":\"@D\"}",
    "{\"op\":\"voucher.show\",\"number\":@M}",
    "{\"op\":\"approval.list\",\"batch\":\"@B\"}",
    "{\"op\":\"approval.list\",\"udid\":\"@D\"}",
    "{\"op\":\"approval.approve\",\"number\":@M}",
    "{\"op\":\"approval.deny\",\"number\":@M}",
    "{\"op\":\"code.create\",\"batch\":\"@B\"}",
    "{\"op\":\"code.create\",\"udid\":\"@D\"}",
    "{\"op\":\"code.list\",\"batch\":\"@B\"}",
    "{\"op\":\"code.revoke\",\"number\":@M}",
    "{\"op\":\"log.head\"}",
    "{\"op\":\"log.entries\",\"from\":0}",
    "{\"op\":\"log.inclusion\",\"index\":0}",
    "{\"op\":\"log.consistency\",\"from\":1,\"to\":2}",
    "{\"op\":\"token.create\",\"name\":\"@N\",\"role\":\"administrator\"}",
    "{\"op\":\"token.list\"}",
    "{\"op\":\"token.show\",\"name\":\"t-operator\"}",
    "{\"op\":\"token.revoke\",\"name\":\"t-operator\"}",
    "{\"op\":\"status\"}",
    "{\"op\":\"why\",\"id\":\"@D\"}",
    "{\"op\":\"why\",\"id\":\"@C\"}",
    "{\"op\":\"refusal.list\",\"udid\":\"@D\"}",
    "{\"op\":\"clock.accept\"}",
    /* lists are cut down, so somebody else's thing filters them to nothing, as one that is not there */
    "{\"op\":\"device.list\",\"batch\":\"@B\"}",
    "{\"op\":\"device.list\",\"product\":\"@P\"}",
    "{\"op\":\"device.list\",\"batch\":\"@B\",\"full\":true}",
    "{\"op\":\"batch.list\",\"product\":\"@P\"}",
    "{\"op\":\"cert.list\",\"udid\":\"@D\"}",
    "{\"op\":\"cert.list\",\"service\":\"@S\"}",
};

struct names {
    const char *device, *batch, *product, *service, *cert, *import;
};

static void fill_in(const char *from, const struct names *n, char *to, size_t to_len)
{
    const struct {
        char name;
        const char *value;
    } words[] = { { 'D', n->device }, { 'B', n->batch },  { 'P', n->product }, { 'S', n->service },
                  { 'C', n->cert },   { 'M', n->import }, { 'N', "anything" } };
    struct bm_wr out = bm_wr_of(to, to_len - 1);

    for (; *from != '\0'; from++) {
        size_t i = 0;

        while (i < BM_COUNT(words) && (*from != '@' || words[i].name != from[1]))
            i++;
        if (i == BM_COUNT(words)) {
            bm_wr_put(&out, from, 1);
            continue;
        }
        bm_wr_str(&out, words[i].value);
        from++;
    }
    assert_false(out.bad);
    to[out.n] = '\0';
}

static const struct names absent = { "00000000000000000000000000000000000000000000000000000000000000aa",
                                     "nothing",
                                     "nothing",
                                     "nothing",
                                     "000000000000000000000000000000aa",
                                     "4711" };

static void foreign_is_as_absent(enum bm_api_role role, const char *device)
{
    const struct names foreign = { device, "lot", "meter", "svc-theirs", serial_theirs, "2" };
    char *before = counts_of(&w), *after;
    char request[400], other[400];

    for (size_t i = 0; i < BM_COUNT(asks); i++) {
        BM_CLEANUP(said_done) struct said a, b;

        fill_in(asks[i], &foreign, request, sizeof request);
        fill_in(asks[i], &absent, other, sizeof other);
        call_blob(tokens[role], "192.0.2.1", request, bm_rd_str("{}"), &a);
        call_blob(tokens[role], "192.0.2.1", other, bm_rd_str("{}"), &b);
        if (a.rc != b.rc || strcmp(a.code, b.code) != 0 || strcmp(a.what, b.what) != 0 ||
            (a.reply != NULL && !json_equal(a.reply, b.reply)))
            fail_msg("%s by %s: '%s' %s, but for nothing '%s' %s", request, bm_api_roles[role], a.code, a.what, b.code, b.what);
        if (a.rc == BM_OK && json_array_size(json_object_get(a.reply, "rows")) != 0)
            fail_msg("%s by %s: shows something", request, bm_api_roles[role]);
        if (a.rc != BM_OK && a.rc != BM_DENIED && a.rc != BM_NOTFOUND)
            fail_msg("%s by %s: %s %s", request, bm_api_roles[role], a.code, a.what);
    }
    after = counts_of(&w);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

/* Breaks when a token of an organisation can tell somebody else's thing from one that is not there, let alone touch it. */
static void others_things_are_not_there(void **state)
{
    static const enum bm_api_role scoped[] = { BM_ROLE_MAKER, BM_ROLE_OEM, BM_ROLE_SERVICE };

    (void)state;
    assert_true(BM_COUNT(asks) * 2 * BM_COUNT(scoped) >= 300);
    for (size_t i = 0; i < BM_COUNT(scoped); i++) {
        foreign_is_as_absent(scoped[i], theirs.hex);
        foreign_is_as_absent(scoped[i], loose.hex);
    }
}

static size_t rows_seen(enum bm_api_role role, const char *act, const char **first, const char *member)
{
    static char kept[80];
    BM_CLEANUP(said_done) struct said s;
    char request[64];
    json_t *rows;

    snprintf(request, sizeof request, "{\"op\":\"%s\"}", act);
    call(tokens[role], request, &s);
    if (s.rc != BM_OK)
        fail_msg("%s by %s: %s", act, bm_api_roles[role], s.what);
    rows = json_object_get(s.reply, "rows");
    if (first != NULL && json_array_size(rows) != 0) {
        snprintf(kept, sizeof kept, "%s", member_text(json_array_get(rows, 0), member));
        *first = kept;
    }
    return json_array_size(rows);
}

/* Breaks when a scope shows too little, or a list shows what is somebody else's. */
static void own_things_are_there(void **state)
{
    static const struct {
        enum bm_api_role role;
        const char *act, *member;
        const char *want;
    } lists[] = {
        { BM_ROLE_MAKER, "batch.list", "name", "own" },
        { BM_ROLE_MAKER, "device.list", "udid", mine.hex },
        { BM_ROLE_MAKER, "manifest.list", "batch", "own" },
        { BM_ROLE_OEM, "product.list", "name", "lamp" },
        { BM_ROLE_OEM, "batch.list", "name", "own" },
        { BM_ROLE_OEM, "device.list", "udid", mine.hex },
        { BM_ROLE_OEM, "cert.list", "serial", serial_mine },
        { BM_ROLE_OEM, "manifest.list", "batch", "own" },
        { BM_ROLE_SERVICE, "service.list", "name", "svc-mine" },
        { BM_ROLE_SERVICE, "device.list", "udid", mine.hex },
        { BM_ROLE_SERVICE, "cert.list", "serial", serial_mine },
    };
    static const struct {
        enum bm_api_role role;
        const char *ask;
    } fine[] = {
        { BM_ROLE_MAKER, "{\"op\":\"batch.show\",\"name\":\"@B\"}" },
        { BM_ROLE_MAKER, "{\"op\":\"device.show\",\"udid\":\"@D\"}" },
        { BM_ROLE_OEM, "{\"op\":\"product.show\",\"name\":\"@P\"}" },
        { BM_ROLE_OEM, "{\"op\":\"device.show\",\"udid\":\"@D\"}" },
        { BM_ROLE_OEM, "{\"op\":\"cert.show\",\"serial\":\"@C\"}" },
        { BM_ROLE_OEM, "{\"op\":\"why\",\"id\":\"@D\"}" },
        { BM_ROLE_OEM, "{\"op\":\"why\",\"id\":\"@C\"}" },
        { BM_ROLE_OEM, "{\"op\":\"device.suspend\",\"udid\":\"@D\"}" },
        { BM_ROLE_OEM, "{\"op\":\"device.resume\",\"udid\":\"@D\"}" },
        { BM_ROLE_SERVICE, "{\"op\":\"service.show\",\"name\":\"@S\"}" },
        { BM_ROLE_SERVICE, "{\"op\":\"device.show\",\"udid\":\"@D\"}" },
        { BM_ROLE_SERVICE, "{\"op\":\"cert.show\",\"serial\":\"@C\"}" },
    };
    const struct names own = { mine.hex, "own", "lamp", "svc-mine", serial_mine, "1" };
    char request[400];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(lists); i++) {
        const char *first = "";

        assert_int_equal(rows_seen(lists[i].role, lists[i].act, &first, lists[i].member), 1);
        assert_string_equal(first, lists[i].want);
    }
    for (size_t i = 0; i < BM_COUNT(fine); i++) {
        BM_CLEANUP(said_done) struct said s;

        fill_in(fine[i].ask, &own, request, sizeof request);
        call(tokens[fine[i].role], request, &s);
        if (s.rc != BM_OK)
            fail_msg("%s by %s: %s", request, bm_api_roles[fine[i].role], s.what);
    }
    assert_int_equal(rows_seen(BM_ROLE_AUDITOR, "device.list", NULL, NULL), 3);
}

/* Ownership moves with a transfer, and what a token reaches moves with it. */
static void a_transfer_moves_the_scope(void **state)
{
    BM_CLEANUP(said_done) struct said before = { 0 }, after = { 0 };
    char request[200];

    (void)state;
    snprintf(request, sizeof request, "{\"op\":\"device.show\",\"udid\":\"%s\"}", theirs.hex);
    call(tokens[BM_ROLE_OEM], request, &before);
    assert_int_equal(before.rc, BM_NOTFOUND);
    admin_ok(&w, "{\"op\":\"device.transfer\",\"udid\":\"%s\",\"org\":\"brand\",\"force\":true}", theirs.hex);
    call(tokens[BM_ROLE_OEM], request, &after);
    assert_int_equal(after.rc, BM_OK);
    admin_ok(&w, "{\"op\":\"device.transfer\",\"udid\":\"%s\",\"org\":\"acme\",\"force\":true}", theirs.hex);
}

/* --- manifests of a contract manufacturer ------------------------------------------------------------------------------------------------- */
/* Breaks when an import by a manufacturer's token takes devices that are not in its batch, or tells whose they are. */
static void a_manifest_takes_no_other_devices(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 1 << 22 }, block = { .max = 1 << 22 };
    BM_CLEANUP(said_done) struct said begun = { 0 }, done = { 0 };
    const struct dev *const devs[] = { &theirs, &loose };
    struct sheet sh = { .id = "grab", .issuer = "chips", .signer = &w.signer };
    char request[100];
    const json_t *conflicts;

    (void)state;
    manifest_write(&sh, devs, 2, &text);
    call_blob(tokens[BM_ROLE_MAKER], "192.0.2.1", "{\"op\":\"manifest.begin\",\"format\":\"birthmark\",\"batch\":\"own\"}",
              first_line(bm_buf_rd(&text)), &begun);
    assert_int_equal(begun.rc, BM_OK);
    assert_true(manifest_block(bm_buf_rd(&text), "birthmark", 0, &block));
    snprintf(request, sizeof request, "{\"op\":\"manifest.block\",\"manifest\":%lld}",
             (long long)member_int(begun.reply, "manifest"));
    call_blob(tokens[BM_ROLE_MAKER], "192.0.2.1", request, bm_buf_rd(&block), &done);
    assert_int_equal(done.rc, BM_OK);
    assert_int_equal(member_int(done.reply, "added"), 0);
    assert_int_equal(member_int(done.reply, "allocated"), 0);
    conflicts = json_object_get(done.reply, "conflicts");
    assert_int_equal(json_array_size(conflicts), 2);
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(member_text(json_array_get(conflicts, i), "reason"), "is registered already, and not in this batch");
}

/* --- tokens ---------------------------------------------------------------------------------------------------------------------------- */
static void put_token(const char *name, const char *text, int64_t expires_at, int64_t revoked_at)
{
    struct bm_token t = { .created_at = 1, .expires_at = expires_at };

    snprintf(t.name, sizeof t.name, "%s", name);
    snprintf(t.role, sizeof t.role, "administrator");
    bm_udid_of(bm_rd_str(text), t.sha256);
    assert_ok(bm_store_begin(w.k->store, &err));
    assert_ok(bm_token_put(w.k->store, &t, &err));
    if (revoked_at != 0)
        assert_ok(bm_token_set_revoked(w.k->store, t.id, revoked_at, &err));
    assert_ok(bm_store_commit(w.k->store, &err));
}

#define T(c) "bmt_" c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c

static void wrong_tokens_are_refused(void **state)
{
    static const struct {
        const char *token, *code;
    } rows[] = {
        { "", "token-invalid" },
        { "bmt_", "token-invalid" },
        { T("A"), "token-invalid" },
        { T("B"), "token-expired" },
        { T("C"), "token-revoked" },
        { T("D"), "" },
        { T("E"), "" },
        { "t-operator", "token-invalid" },
        { "administrator", "token-invalid" },
        { "%", "token-invalid" },
    };
    BM_CLEANUP(said_done) struct said live = { 0 }, dead = { 0 };
    int64_t now = bm_clock_s();

    (void)state;
    put_token("over", T("B"), now, 0);
    put_token("gone", T("C"), 0, now);
    put_token("forever", T("D"), 0, 0);
    put_token("soon", T("E"), now + 3600, 0);
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(said_done) struct said s;
        char peer[32];

        snprintf(peer, sizeof peer, "198.51.100.%zu", i);
        call_blob(rows[i].token, peer, "{\"op\":\"status\"}", NO_BLOB, &s);
        if (strcmp(s.code, rows[i].code) != 0)
            fail_msg("%s: '%s', wanted '%s'", rows[i].token, s.code, rows[i].code);
    }
    call(T("D"), "{\"op\":\"status\"}", &live); /* revoked between two calls */
    assert_int_equal(live.rc, BM_OK);
    admin_ok(&w, "{\"op\":\"token.revoke\",\"name\":\"forever\"}");
    call(T("D"), "{\"op\":\"status\"}", &dead);
    assert_string_equal(dead.code, "token-revoked");
}

/* Who reads the registry has hashes; they open nothing. */
static void a_hash_is_no_token(void **state)
{
    BM_CLEANUP(said_done) struct said s;
    uint8_t hash[32];
    char hex[65];

    (void)state;
    bm_udid_of(bm_rd_str(tokens[BM_ROLE_ADMINISTRATOR]), hash);
    bm_hex(hash, sizeof hash, hex);
    hex[BM_API_TOKEN_LEN] = '\0';
    call_blob(hex, "198.51.100.70", "{\"op\":\"status\"}", NO_BLOB, &s);
    assert_string_equal(s.code, "token-invalid");
}

/* Breaks when a guesser makes a row per guess, or locks out the holder of a right token at his address. */
static void guesses_are_slowed(void **state)
{
    json_t *status = admin(&w, "{\"op\":\"status\"}");
    const int64_t before = member_int(json_object_get(status, "counts"), "refusal");
    BM_CLEANUP(said_done) struct said good = { 0 };
    int64_t after;

    (void)state;
    w.k->refusal_second = 0; /* the rows above may have used up this second's */
    for (int i = 0; i < BM_API_WRONG_TOKENS + 20; i++) {
        BM_CLEANUP(said_done) struct said s;

        call_blob(T("A"), "203.0.113.9", "{\"op\":\"status\"}", NO_BLOB, &s);
        assert_string_equal(s.code, i < BM_API_WRONG_TOKENS ? "token-invalid" : "too-many-attempts");
    }
    call_blob(tokens[BM_ROLE_AUDITOR], "203.0.113.9", "{\"op\":\"status\"}", NO_BLOB, &good);
    assert_int_equal(good.rc, BM_OK);
    after = member_int(json_object_get(good.reply, "counts"), "refusal");
    json_decref(status);
    assert_int_equal(after - before, BM_API_WRONG_TOKENS);
}

static void what_token_create_takes(void **state)
{
    static const struct {
        const char *request;
        enum bm_rc rc;
    } rows[] = {
        { "{\"op\":\"token.create\",\"name\":\"x\",\"role\":\"root\"}", BM_USAGE },
        { "{\"op\":\"token.create\",\"name\":\"X\",\"role\":\"operator\"}", BM_USAGE },
        { "{\"op\":\"token.create\",\"name\":\"x\",\"role\":\"oem\"}", BM_USAGE },
        { "{\"op\":\"token.create\",\"name\":\"x\",\"role\":\"oem\",\"org\":\"nobody\"}", BM_NOTFOUND },
        { "{\"op\":\"token.create\",\"name\":\"x\",\"role\":\"operator\",\"org\":\"acme\"}", BM_USAGE },
        { "{\"op\":\"token.create\",\"name\":\"x\",\"role\":\"operator\",\"expires\":\"soon\"}", BM_USAGE },
        { "{\"op\":\"token.create\",\"name\":\"x\",\"role\":\"operator\",\"expires\":\"0d\"}", BM_USAGE },
        { "{\"op\":\"token.create\",\"name\":\"x\",\"role\":\"operator\",\"expires\":\"2001-01-01T00:00:00Z\"}", BM_USAGE },
        { "{\"op\":\"token.create\",\"name\":\"t-oem\",\"role\":\"operator\"}", BM_CONFLICT },
        { "{\"op\":\"token.revoke\",\"name\":\"nobody\"}", BM_NOTFOUND },
        { "{\"op\":\"token.show\",\"name\":\"nobody\"}", BM_NOTFOUND },
        { "{\"op\":\"token.create\",\"name\":\"y\",\"role\":\"operator\",\"expires\":\"2099-01-01T00:00:00Z\"}", BM_OK },
        { "{\"op\":\"token.revoke\",\"name\":\"y\"}", BM_OK },
        { "{\"op\":\"token.revoke\",\"name\":\"y\"}", BM_CONFLICT },
        { "{\"op\":\"token.create\",\"name\":\"y\",\"role\":\"operator\"}", BM_CONFLICT }, /* a name is not used again */
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        assert_rc_(admin_do(&w, rows[i].request, NO_BLOB, NULL), rows[i].rc, rows[i].request);
}

/* --- the record --------------------------------------------------------------------------------------------------------------------------- */
/* Breaks when something is changed over the API without a leaf that names the token, or when reading fills the log. */
static void acts_are_recorded_and_reads_are_not(void **state)
{
    BM_CLEANUP(said_done) struct said s = { 0 };
    int64_t size = w.k->audit.on_disk.size;
    json_t *leaf;

    (void)state;
    call(tokens[BM_ROLE_ADMINISTRATOR], "{\"op\":\"org.create\",\"name\":\"written\",\"role\":\"oem\"}", &s);
    assert_int_equal(s.rc, BM_OK);
    assert_int_equal(w.k->audit.on_disk.size, size + 1);
    leaf = leaf_of(&w, 0);
    assert_string_equal(member_text(leaf, "actor"), "token:t-administrator");
    json_decref(leaf);
    for (const struct bm_admin_op *op = bm_admin_ops; op->name != NULL; op++) {
        BM_CLEANUP(said_done) struct said r = { 0 };
        char request[64];

        if (op->writes)
            continue;
        snprintf(request, sizeof request, "{\"op\":\"%s\"}", op->name);
        call(tokens[BM_ROLE_AUDITOR], request, &r);
        assert_int_equal(w.k->audit.on_disk.size, size + 1);
    }
}

/* The first use is written, the next within the hour is not. */
static void last_use_is_coarse(void **state)
{
    BM_CLEANUP(said_done) struct said a = { 0 }, b = { 0 }, c = { 0 };
    struct bm_token t;
    int64_t now = bm_clock_s();

    (void)state;
    put_token("used", T("F"), 0, 0);
    call(T("F"), "{\"op\":\"status\"}", &a);
    assert_ok(bm_token_get(w.k->store, "used", &t, &err));
    assert_true(t.last_used_at >= now);
    assert_ok(bm_store_begin(w.k->store, &err)); /* half an hour ago */
    assert_ok(bm_token_set_used(w.k->store, t.id, now - 1800, &err));
    assert_ok(bm_store_commit(w.k->store, &err));
    call(T("F"), "{\"op\":\"status\"}", &b);
    assert_ok(bm_token_get(w.k->store, "used", &t, &err));
    assert_int_equal(t.last_used_at, now - 1800);
    assert_ok(bm_store_begin(w.k->store, &err)); /* longer ago */
    assert_ok(bm_token_set_used(w.k->store, t.id, now - 7200, &err));
    assert_ok(bm_store_commit(w.k->store, &err));
    call(T("F"), "{\"op\":\"status\"}", &c);
    assert_ok(bm_token_get(w.k->store, "used", &t, &err));
    assert_true(t.last_used_at >= now);
}

/* --- a worker that makes up calls ---------------------------------------------------------------------------------------------------------- */
static void forged_calls_are_refused(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf good = { .max = BM_API_COMMAND_MAX }, out = { .max = 1 << 20 };
    struct bm_api_ask ask = { .correlation = "0123456789abcdef", .peer = "192.0.2.1", .token = bm_rd_str(tokens[0]) };
    static const char *const requests[] = {
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        "{\"op\":7}",
        "{\"op\":\"nothing\"}",
        "{\"op\":\"status\",\"op\":\"status\"}",
        "{\"op\":\"status\",\"actor\":\"local:uid=0\"}",
        "{\"op\":\"status\",\"admin\":true}",
        "{\"op\":\"token.create\",\"name\":\"x\\u0000y\"}",
        "{\"op\":\"org.show\",\"name\":[\"chips\"]}",
        "{\"op\":\"org.show\",\"name\":\"chips'--\"}",
    };
    char *before = counts_of(&w), *after;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(requests); i++) {
        BM_CLEANUP(said_done) struct said s;

        call(tokens[BM_ROLE_ADMINISTRATOR], requests[i], &s);
        if (s.rc != BM_USAGE && s.rc != BM_MALFORMED)
            fail_msg("%s: %s", requests[i], s.code);
    }
    ask.request = bm_rd_str("{\"op\":\"status\"}");
    bm_api_ask_write(&good, &ask);
    for (size_t n = 0; n < good.n; n++) {
        uint8_t *exact = malloc(n != 0 ? n : 1);

        memcpy(exact, good.p, n);
        assert_int_equal(command(&w, BM_CMD_API, bm_rd_of(exact, n), &out), BM_MALFORMED);
        free(exact);
    }
    bm_buf_put(&good, "x", 1);
    assert_int_equal(command(&w, BM_CMD_API, bm_buf_rd(&good), &out), BM_MALFORMED);
    after = counts_of(&w);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_act_by_every_role),
        cmocka_unit_test(others_things_are_not_there),
        cmocka_unit_test(own_things_are_there),
        cmocka_unit_test(a_transfer_moves_the_scope),
        cmocka_unit_test(a_manifest_takes_no_other_devices),
        cmocka_unit_test(wrong_tokens_are_refused),
        cmocka_unit_test(a_hash_is_no_token),
        cmocka_unit_test(guesses_are_slowed),
        cmocka_unit_test(what_token_create_takes),
        cmocka_unit_test(acts_are_recorded_and_reads_are_not),
        cmocka_unit_test(last_use_is_coarse),
        cmocka_unit_test(forged_calls_are_refused),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
