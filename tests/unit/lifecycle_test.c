/* docs/lifecycle.md as a table: each act, from each state, on the certificates that a device holds for each of its services, done to one device and
 * to many. If a row fails, an act leaves something alive that it should end, or ends what it should not. */
#include "keeper_enrol.h"
#include "keeper_fixture.h"

#include "keeper/job.h"

static struct world w;

static int open_world(void **state)
{
    (void)state;
    world_open(&w);
    admin_ok(&w, "{\"op\":\"org.create\",\"name\":\"buyer\",\"role\":\"service-operator\"}");
    admin_ok(&w, "{\"op\":\"service.create\",\"name\":\"telemetry\",\"kind\":\"mqtt\"}");
    admin_ok(&w, "{\"op\":\"service.create\",\"name\":\"video\",\"kind\":\"https\"}");
    admin_ok(&w,
             "{\"op\":\"product.create\",\"name\":\"cam\",\"org\":\"acme\",\"policy\":{\"services\":[\"telemetry\",\"video\"]}}");
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    history_holds(&w);
    world_close(&w);
    return 0;
}

/* --- the table ---------------------------------------------------------------------------------------------------------------------- */
enum { KEEP = -1, NO = -2 }; /* certificates stay; the act is refused */

/* What happens from each state (in the order of enum bm_state) to every live certificate of every service: a reason of RFC 5280, KEEP or NO. */
static const struct {
    const char *act;
    int from[BM_STATES]; /* registered allocated active suspended retired compromised */
    const char *to;      /* "": as it was */
    const char *told;    /* what the device is told then; "": as before */
} table[] = {
    { "suspend", { NO, NO, KEEP, NO, NO, NO }, "suspended", "suspended" },
    { "resume", { NO, NO, NO, KEEP, NO, NO }, "active", "enrolled" },
    { "reset", { NO, NO, 4, NO, NO, NO }, "allocated", "not-enrolled" },
    { "retire", { NO, 5, 5, 5, NO, 5 }, "retired", "retired" },
    { "compromise", { 1, 1, 1, 1, 1, NO }, "compromised", "compromised" },
    { "transfer", { 3, 3, 3, 3, NO, NO }, "", "" },
};

static const char *const way_to[BM_STATES] = { "", "", "", "suspend", "retire", "compromise" };

static void bring_to(const struct dev *d, int state)
{
    register_device(&w, state == BM_REGISTERED ? NULL : "cam-1", d);
    if (state < BM_ACTIVE)
        return;
    enrol_as(&w, d, d->op.key, "telemetry", BM_OK);
    enrol_as(&w, d, d->op.key, "video", BM_OK);
    enrol_as(&w, d, d->op.key, "video", BM_OK); /* renewed: the one before is live as well */
    if (way_to[state][0] != '\0')
        admin_ok(&w, "{\"op\":\"device.%s\",\"udid\":\"%s\"}", way_to[state], d->hex);
}

static json_t *certs_of(const struct dev *d)
{
    BM_CLEANUP(json_unref) json_t *all = admin(&w, "{\"op\":\"cert.list\",\"udid\":\"%s\"}", d->hex);

    return json_incref(json_object_get(all, "rows"));
}

static char *text_of(json_t *j)
{
    char *text = json_dumps(j, JSON_SORT_KEYS);

    json_decref(j);
    return text;
}

/* reason: of those that were live before; KEEP: the same as before, to the last byte. */
static void check_certs(const struct dev *d, bool live_before, int reason, char *before)
{
    BM_CLEANUP(json_unref) json_t *now = certs_of(d);
    char *after = text_of(json_incref(now));
    const json_t *c;
    size_t i;

    if (!live_before || reason < 0)
        assert_string_equal(before, after);
    json_array_foreach (now, i, c) {
        if (!live_before || reason < 0)
            continue;
        assert_string_equal(member_text(c, "state"), "revoked");
        assert_int_equal(member_int(c, "reason"), reason);
        assert_true(json_is_string(json_object_get(c, "revoked_at")));
    }
    free(before);
    free(after);
}

static const char *state_of(const struct dev *d)
{
    static struct bm_device row;

    bm_device_done(&row);
    assert_ok(bm_device_get(w.k->store, d->udid, &row, &err));
    return row.state;
}

/* One device by its command, or by a job over a list of it and of a device that nobody knows. */
static bool do_single(const struct dev *d, const char *act)
{
    char text[300];
    enum bm_rc rc;

    snprintf(text, sizeof text, "{\"op\":\"device.%s\",\"udid\":\"%s\"%s}", act, d->hex,
             strcmp(act, "transfer") == 0 ? ",\"org\":\"buyer\",\"force\":true" : "");
    rc = admin_do(&w, text, NO_BLOB, NULL);
    assert_true(rc == BM_OK || rc == BM_CONFLICT);
    if (rc == BM_CONFLICT)
        assert_string_equal(bm_error_code(&err), "illegal-transition");
    return rc == BM_OK;
}

static void work(json_int_t job)
{
    for (int i = 0; i < 10000; i++) {
        BM_CLEANUP(json_unref) json_t *j = admin(&w, "{\"op\":\"bulk.work\",\"job\":%lld}", (long long)job);

        if (strcmp(member_text(j, "state"), "done") == 0)
            return;
    }
    fail_msg("the job does not end");
}

static bool do_bulk(const struct dev *d, const char *act)
{
    BM_CLEANUP(json_unref) json_t *started = NULL, *shown = NULL;
    const char *org = strcmp(act, "transfer") == 0 ? ",\"org\":\"buyer\"" : "";
    char list[200], text[100];

    started = admin(&w, "{\"op\":\"bulk.start\",\"act\":\"%s\",\"listed\":true%s}", act, org);
    snprintf(list, sizeof list, "%s\r\n\n%064d\n%s", d->hex, 7, d->hex);
    snprintf(text, sizeof text, "{\"op\":\"bulk.add\",\"job\":%lld}", (long long)member_int(started, "job"));
    json_decref(admin_blob(&w, bm_rd_str(list), text));
    admin_ok(&w, "{\"op\":\"bulk.resume\",\"job\":%lld}", (long long)member_int(started, "job"));
    work(member_int(started, "job"));
    shown = admin(&w, "{\"op\":\"bulk.show\",\"job\":%lld}", (long long)member_int(started, "job"));
    assert_int_equal(member_int(shown, "looked_at"), 3);
    assert_int_equal(member_int(shown, "done") + member_int(shown, "already") + member_int(shown, "refused"), 3);
    assert_string_equal(member_text(json_array_get(json_object_get(shown, "refusals"), member_int(shown, "refused") == 3), "code"),
                        "unknown-device");
    return member_int(shown, "done") == 1;
}

static void walk(bool (*run)(const struct dev *d, const char *act))
{
    for (size_t i = 0; i < BM_COUNT(table); i++) {
        for (int from = 0; from < BM_STATES; from++) {
            BM_CLEANUP(dev_done) struct dev d;
            int want = table[i].from[from];
            bool done, live = from == BM_ACTIVE || from == BM_SUSPENDED;
            char *before;

            dev_make(&d);
            bring_to(&d, from);
            before = text_of(certs_of(&d));
            done = run(&d, table[i].act);
            if (done != (want != NO))
                fail_msg("%s from %s: %s", table[i].act, bm_state_name((enum bm_state)from), done ? "done" : "refused");
            assert_string_equal(state_of(&d), !done || table[i].to[0] == '\0' ? bm_state_name((enum bm_state)from) : table[i].to);
            check_certs(&d, live, want, before);
            if (done && table[i].told[0] != '\0')
                status_of(&w, &d, table[i].told, table[i].to);
        }
    }
}

static void each_act_on_one(void **state)
{
    (void)state;
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"cam-1\",\"product\":\"cam\",\"quota\":1000}");
    walk(do_single);
}

static void each_act_on_many(void **state)
{
    (void)state;
    walk(do_bulk);
}

/* --- jobs ---------------------------------------------------------------------------------------------------------------------------- */
enum { FEW = 9 };

static void make_few(struct dev *d, const char *batch, const char *service)
{
    const struct dev *p[FEW];

    for (size_t i = 0; i < FEW; i++) {
        dev_make(&d[i]);
        p[i] = &d[i];
    }
    register_devices(&w, batch, NULL, p, FEW);
    for (size_t i = 0; service != NULL && i < FEW; i++)
        enrol_as(&w, &d[i], d[i].op.key, service, BM_OK);
}

static void few_done(struct dev *d)
{
    for (size_t i = 0; i < FEW; i++)
        dev_done(&d[i]);
}

static json_int_t start(const char *members)
{
    BM_CLEANUP(json_unref) json_t *started = admin(&w, "{\"op\":\"bulk.start\",%s}", members);

    return member_int(started, "job");
}

static json_int_t count_of(json_int_t job, const char *member)
{
    BM_CLEANUP(json_unref) json_t *shown = admin(&w, "{\"op\":\"bulk.show\",\"job\":%lld}", (long long)job);

    return member_int(shown, member);
}

/* A dry run counts what the job then does, and does nothing. */
static void selections(void **state)
{
    static const struct {
        const char *members;
        int done, already, refused;
    } rows[] = {
        { "\"act\":\"suspend\",\"batch\":\"sel-1\"", FEW, 0, 0 },
        { "\"act\":\"suspend\",\"batch\":\"sel-1\"", 0, FEW, 0 }, /* again: nothing is done twice */
        { "\"act\":\"resume\",\"batch\":\"sel-1\",\"state\":\"suspended\"", FEW, 0, 0 },
        { "\"act\":\"suspend\",\"batch\":\"sel-2\"", 0, 0, FEW }, /* they never enrolled */
        { "\"act\":\"reset\",\"batch\":\"sel-1\",\"service\":\"telemetry\"", 0, 0, 0 },
        { "\"act\":\"transfer\",\"org\":\"buyer\",\"batch\":\"sel-1\",\"service\":\"video\"", FEW, 0, 0 },
        { "\"act\":\"transfer\",\"org\":\"buyer\",\"owner\":\"buyer\",\"batch\":\"sel-1\"", 0, FEW, 0 },
        { "\"act\":\"retire\",\"owner\":\"acme\",\"batch\":\"sel-1\"", 0, 0, 0 },
        { "\"act\":\"retire\",\"product\":\"meter\",\"batch\":\"sel-1\"", 0, 0, 0 },
        { "\"act\":\"retire\",\"product\":\"sel\",\"state\":\"active\"", FEW, 0, 0 },
        { "\"act\":\"compromise\",\"product\":\"sel\"", 2 * FEW, 0, 0 },
    };
    struct dev active[FEW], fresh[FEW];

    (void)state;
    admin_ok(&w,
             "{\"op\":\"product.create\",\"name\":\"sel\",\"org\":\"acme\",\"policy\":{\"services\":[\"telemetry\",\"video\"]}}");
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"sel-1\",\"product\":\"sel\",\"quota\":100}");
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"sel-2\",\"product\":\"sel\",\"quota\":100}");
    make_few(active, "sel-1", "video");
    make_few(fresh, "sel-2", NULL);
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        char *before = counts_of(&w), *after;
        BM_CLEANUP(json_unref) json_t *dry = admin(&w, "{\"op\":\"bulk.dry\",%s}", rows[i].members);
        json_int_t job;

        after = counts_of(&w);
        assert_string_equal(before, after);
        free(before);
        free(after);
        assert_int_equal(member_int(dry, "done"), rows[i].done);
        assert_int_equal(member_int(dry, "already"), rows[i].already);
        assert_int_equal(member_int(dry, "refused"), rows[i].refused);
        job = start(rows[i].members);
        work(job);
        assert_int_equal(count_of(job, "done"), rows[i].done);
        assert_int_equal(count_of(job, "already"), rows[i].already);
        assert_int_equal(count_of(job, "refused"), rows[i].refused);
        assert_int_equal(count_of(job, "part"), 1000);
    }
    few_done(active);
    few_done(fresh);
}

static void refused_starts(void **state)
{
    static const struct {
        const char *members;
        enum bm_rc want;
    } rows[] = {
        { "\"act\":\"retire\"", BM_USAGE }, /* never all of them by leaving something out */
        { "\"act\":\"retire\",\"reason\":\"superseded\"", BM_USAGE },
        { "\"act\":\"retire\",\"listed\":false", BM_USAGE },
        { "\"act\":\"retire\",\"listed\":true,\"state\":\"active\"", BM_USAGE },
        { "\"act\":\"retire\",\"state\":\"Active\"", BM_USAGE },
        { "\"act\":\"retire\",\"state\":\"\"", BM_USAGE },
        { "\"act\":\"retire\",\"batch\":\"nothing\"", BM_NOTFOUND },
        { "\"act\":\"retire\",\"batch\":\"\"", BM_USAGE },
        { "\"act\":\"retire\",\"batch\":\"x' OR '1'='1\"", BM_USAGE },
        { "\"act\":\"retire\",\"product\":\"nothing\"", BM_NOTFOUND },
        { "\"act\":\"retire\",\"owner\":\"nobody\"", BM_NOTFOUND },
        { "\"act\":\"retire\",\"service\":\"nothing\"", BM_NOTFOUND },
        { "\"act\":\"retire\",\"org\":\"buyer\",\"state\":\"active\"", BM_USAGE },
        { "\"act\":\"retire\",\"org\":\"buyer\"", BM_USAGE },
        { "\"act\":\"transfer\",\"state\":\"active\"", BM_USAGE },
        { "\"act\":\"transfer\",\"org\":\"nobody\",\"state\":\"active\"", BM_NOTFOUND },
        { "\"act\":\"allocate\",\"state\":\"active\"", BM_USAGE },
        { "\"act\":\"" BM_JOB_CA "\",\"state\":\"active\"", BM_USAGE },
        { "\"act\":\"\",\"state\":\"active\"", BM_USAGE },
        { "\"act\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"state\":\"active\"", BM_USAGE },
        { "\"act\":\"retire\",\"state\":\"active\",\"reason\":\"boredom\"", BM_USAGE },
    };
    char text[300];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        snprintf(text, sizeof text, "{\"op\":\"bulk.start\",%s}", rows[i].members);
        assert_rc_(admin_do(&w, text, NO_BLOB, NULL), rows[i].want, text);
        snprintf(text, sizeof text, "{\"op\":\"bulk.dry\",%s}", rows[i].members);
        assert_rc_(admin_do(&w, text, NO_BLOB, NULL), rows[i].want, text);
    }
}

static void hostile_lists(void **state)
{
    static const char *const lists[] = {
        "zz",
        "00",
        "0000000000000000000000000000000000000000000000000000000000000000 ",
        " 0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000\n00\n",
        "00000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000\r\r\n",
        "\r\r",
        "\t",
    };
    BM_CLEANUP(bm_buf_done) struct bm_buf many = { .max = 1 << 20 };
    json_int_t job = start("\"act\":\"retire\",\"listed\":true");
    char text[100];

    (void)state;
    snprintf(text, sizeof text, "{\"op\":\"bulk.add\",\"job\":%lld}", (long long)job);
    for (size_t i = 0; i < BM_COUNT(lists); i++) {
        uint8_t *own = exact(bm_rd_str(lists[i]));

        assert_rc_(admin_do(&w, text, bm_rd_of(own, strlen(lists[i])), NULL), BM_USAGE, lists[i]);
        free(own);
    }
    for (int i = 0; i < 1001; i++)
        bm_buf_printf(&many, "%064d\n", i);
    assert_rc_(admin_do(&w, text, bm_buf_rd(&many), NULL), BM_LIMIT, text);
    assert_int_equal(count_of(job, "total"), 0); /* nothing of a list that was refused stays */
    admin_ok(&w, "{\"op\":\"bulk.cancel\",\"job\":%lld}", (long long)job);
    assert_rc_(admin_do(&w, text, bm_rd_str(lists[2]), NULL), BM_CONFLICT, text);
    snprintf(text, sizeof text, "{\"op\":\"bulk.cancel\",\"job\":%lld}", (long long)job);
    assert_rc_(admin_do(&w, text, NO_BLOB, NULL), BM_CONFLICT, text);
    assert_string_equal(bm_error_code(&err), "job-state");
    for (int i = 0; i < 4; i++) {
        static const char *const ops[] = { "bulk.show", "bulk.work", "bulk.cancel", "bulk.resume" };

        snprintf(text, sizeof text, "{\"op\":\"%s\",\"job\":99999}", ops[i]);
        assert_rc_(admin_do(&w, text, NO_BLOB, NULL), BM_NOTFOUND, text);
    }
}

/* Cut anywhere, a list is taken when what is there are whole lines, and not otherwise; nothing behind its end is read. */
static void every_prefix(void **state)
{
    char list[300], text[100];
    json_int_t job = start("\"act\":\"retire\",\"listed\":true");

    (void)state;
    snprintf(text, sizeof text, "{\"op\":\"bulk.add\",\"job\":%lld}", (long long)job);
    snprintf(list, sizeof list, "%064d\n\r\n%064d\r\n%064d", 1, 2, 3);
    for (size_t n = 0; n < strlen(list); n++) {
        uint8_t *own = exact(bm_rd_of((const uint8_t *)list, n));
        size_t line = n <= 65 ? n : n <= 67 ? 0 : n - 67 <= 66 ? n - 67 : n - 67 - 66;
        bool whole = line == 0 || line == 64 || line == 65 || line == 66 || n == 66;

        assert_rc_(admin_do(&w, text, bm_rd_of(own, n), NULL), whole ? BM_OK : BM_USAGE, list + n);
        free(own);
    }
    admin_ok(&w, "{\"op\":\"bulk.resume\",\"job\":%lld}", (long long)job);
    work(job);
    assert_int_equal(count_of(job, "refused"), count_of(job, "total")); /* nobody knows them */
    assert_int_equal(count_of(job, "total"), 4 * 1 + 3 * 2);
}

/* A step that is lost took nothing with it; the next one does it again, once. What was cancelled stays where it is. */
static void cut_off(void **state)
{
    struct dev d[FEW];
    struct bm_job j;
    json_int_t job;

    (void)state;
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"cut-1\",\"product\":\"cam\",\"quota\":100}");
    make_few(d, "cut-1", "video");
    job = start("\"act\":\"retire\",\"batch\":\"cut-1\"");
    assert_ok(bm_job_get(w.k->store, job, &j, &err));
    assert_ok(bm_store_begin(w.k->store, &err));
    assert_ok(bm_job_step(w.k, &j, bm_clock_s(), &err));
    assert_true(j.looked_at > 0);
    assert_rc(bm_keeper_settle(w.k, BM_IO, &err), BM_IO); /* the disk, or a kill */
    world_reopen(&w);
    for (size_t i = 0; i < FEW; i++)
        assert_string_equal(state_of(&d[i]), "active");
    assert_int_equal(count_of(job, "looked_at"), 0);
    admin_ok(&w, "{\"op\":\"bulk.cancel\",\"job\":%lld}", (long long)job);
    assert_false(bm_jobs_step(w.k, bm_clock_s()));
    assert_int_equal(count_of(job, "looked_at"), 0);
    admin_ok(&w, "{\"op\":\"bulk.resume\",\"job\":%lld}", (long long)job);
    while (bm_jobs_step(w.k, bm_clock_s()))
        ;
    assert_int_equal(count_of(job, "done"), FEW);
    for (size_t i = 0; i < FEW; i++)
        assert_string_equal(state_of(&d[i]), "retired");
    few_done(d);
}

/* --- a batch, a CA --------------------------------------------------------------------------------------------------------------------- */
static void whole_batch(void **state)
{
    BM_CLEANUP(json_unref) json_t *started = NULL, *batch = NULL;
    BM_CLEANUP(dev_done) struct dev late;
    struct dev d[FEW];

    (void)state;
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"bad-1\",\"product\":\"cam\",\"quota\":100}");
    make_few(d, "bad-1", "video");
    dev_make(&late);
    register_device(&w, "bad-1", &late);
    started = admin(&w, "{\"op\":\"batch.compromise\",\"name\":\"bad-1\"}");
    enrol_as(&w, &late, late.op.key, "", BM_DENIED); /* at once, before the job has come to it */
    assert_string_equal(bm_error_code(&err), "batch-closed");
    work(member_int(started, "job"));
    batch = admin(&w, "{\"op\":\"batch.show\",\"name\":\"bad-1\"}");
    assert_string_equal(member_text(batch, "state"), "closed");
    for (size_t i = 0; i < FEW; i++)
        status_of(&w, &d[i], "compromised", "compromised");
    assert_string_equal(state_of(&late), "compromised");
    enrol_as(&w, &late, late.op.key, "", BM_DENIED);
    few_done(d);
}

static enum bm_rc renew(const struct dev *d, struct bm_rd cert)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 }, payload = { .max = BM_COMMAND_MAX };
    struct bm_enrol c = { .protocol = "est", .peer = "192.0.2.7", .n_requests = 1 };

    c.evidence.kind = BM_EVIDENCE_TLS;
    c.evidence.cert = cert;
    c.requests[0].csr = bm_buf_rd(&d->csr);
    next_correlation(&w, &c);
    prove(&w, &c);
    bm_enrol_write(&payload, &c);
    return command(&w, BM_CMD_ENROL, bm_buf_rd(&payload), &out);
}

static enum bm_rc keep_cert(void *arg, const struct bm_credential *c, struct bm_error *e)
{
    struct bm_buf *cert = arg;

    cert->n = 0;
    bm_buf_put(cert, c->cert.p, c->cert.n);
    return bm_buf_check(cert, e);
}

/* The certificate it has stops counting at once; with its IDevID key the device gets one of the default CA, also where batch or product named the
 * compromised one; and the job leaves nothing of that CA alive. */
static void whole_ca(void **state)
{
    BM_CLEANUP(json_unref) json_t *started = NULL, *certs = NULL;
    BM_CLEANUP(bm_device_done) struct bm_device row = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf cert = { .max = BM_CERT_MAX };
    struct dev d[FEW];
    const json_t *c;
    size_t i;

    (void)state;
    admin_ok(&w, "{\"op\":\"ca.create\",\"name\":\"lost\",\"parent\":\"root\"}");
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"lost-1\",\"product\":\"cam\",\"quota\":100,\"ca\":\"lost\"}");
    make_few(d, "lost-1", "video");
    assert_ok(bm_device_get(w.k->store, d[0].udid, &row, &err));
    assert_ok(bm_credential_each_of(w.k->store, row.id, keep_cert, &cert, &err));
    assert_ok(renew(&d[0], bm_buf_rd(&cert)));
    started = admin(&w, "{\"op\":\"ca.compromise\",\"name\":\"lost\"}");
    status_of(&w, &d[0], "revoked", "active"); /* before the job has taken a step */
    assert_rc(renew(&d[0], bm_buf_rd(&cert)), BM_DENIED);
    assert_string_equal(bm_error_code(&err), "credential-revoked");
    enrol_as(&w, &d[0], d[0].op.key, "video", BM_OK);
    status_of(&w, &d[0], "enrolled", "active");
    work(member_int(started, "job"));
    assert_int_equal(count_of(member_int(started, "job"), "revoked"), FEW + 1);
    certs = certs_of(&d[0]);
    json_array_foreach (certs, i, c) {
        bool lost = strcmp(member_text(c, "ca"), "lost") == 0;

        assert_string_equal(member_text(c, "state"), lost ? "revoked" : "active");
        assert_int_equal(member_int(c, "reason"), lost ? 2 : 0);
        assert_true(lost == (i < 2));
    }
    status_of(&w, &d[0], "enrolled", "active"); /* the job leaves the new one alone */
    status_of(&w, &d[1], "revoked", "active");
    few_done(d);
}

static void ca_refused(void **state)
{
    static const struct {
        const char *members;
        enum bm_rc want;
        const char *code;
    } rows[] = {
        { "\"name\":\"nothing\"", BM_NOTFOUND, "" },
        { "\"name\":\"root\"", BM_USAGE, "" },
        { "\"name\":\"issuing\"", BM_CONFLICT, "ca-default" },
        { "\"name\":\"issuing\",\"default\":\"issuing\"", BM_USAGE, "" },
        { "\"name\":\"issuing\",\"default\":\"nothing\"", BM_NOTFOUND, "" },
        { "\"name\":\"issuing\",\"default\":\"gone\"", BM_DENIED, "ca-revoked" },
        { "\"name\":\"gone\"", BM_CONFLICT, "" },
        { "\"name\":\"over\"", BM_CONFLICT, "ca-has-children" },
    };
    char text[200], *before, *after;

    (void)state;
    admin_ok(&w, "{\"op\":\"ca.create\",\"name\":\"gone\",\"parent\":\"root\"}");
    admin_ok(&w, "{\"op\":\"ca.compromise\",\"name\":\"gone\"}");
    admin_ok(&w, "{\"op\":\"ca.create\",\"name\":\"over\",\"parent\":\"root\",\"profile\":\"intermediate-ca\"}");
    admin_ok(&w, "{\"op\":\"ca.create\",\"name\":\"under\",\"parent\":\"over\"}");
    before = counts_of(&w);
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        snprintf(text, sizeof text, "{\"op\":\"ca.compromise\",%s}", rows[i].members);
        assert_rc_(admin_do(&w, text, NO_BLOB, NULL), rows[i].want, text);
        if (rows[i].code[0] != '\0')
            assert_string_equal(bm_error_code(&err), rows[i].code);
    }
    after = counts_of(&w);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

/* The default CA itself: its successor issues in the same moment, to devices and to the server. */
static void default_ca(void **state)
{
    BM_CLEANUP(dev_done) struct dev d;
    BM_CLEANUP(json_unref) json_t *started = NULL, *certs = NULL;

    (void)state;
    dev_make(&d);
    register_device(&w, "lot", &d);
    enrol_as(&w, &d, d.op.key, "", BM_OK);
    admin_ok(&w, "{\"op\":\"ca.create\",\"name\":\"next\",\"parent\":\"root\"}");
    started = admin(&w, "{\"op\":\"ca.compromise\",\"name\":\"issuing\",\"default\":\"next\"}");
    work(member_int(started, "job"));
    status_of(&w, &d, "revoked", "active");
    enrol_as(&w, &d, d.op.key, "", BM_OK);
    certs = certs_of(&d);
    assert_string_equal(member_text(json_array_get(certs, 1), "ca"), "next");
    status_of(&w, &d, "enrolled", "active");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_act_on_one), cmocka_unit_test(each_act_on_many), cmocka_unit_test(selections),
        cmocka_unit_test(refused_starts),  cmocka_unit_test(hostile_lists),    cmocka_unit_test(every_prefix),
        cmocka_unit_test(cut_off),         cmocka_unit_test(whole_batch),      cmocka_unit_test(whole_ca),
        cmocka_unit_test(ca_refused),      cmocka_unit_test(default_ca),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
