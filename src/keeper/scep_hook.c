#include "keeper/scep_hook.h"

#include "base/text.h"
#include "keeper/scep.h"
#include "keeper/symmetric.h"

#include <stdio.h>

enum {
    LIFE_S = 3600,       /* then the device is told that nobody answered */
    KEPT_S = 30 * 86400, /* a yes, for a device that comes late, or an approval that takes its time */
    TIMEOUT_MS = 20000,
    ANSWER_MAX = 16 * 1024,
    URL_MAX = 511,
    TRUST_MAX = 24 * 1024,
    PEER_MAX = 63,
};

/* --- what a batch has ------------------------------------------------------------------------------------------------------------- */
void bm_hook_done(struct bm_hook *h)
{
    bm_buf_done(&h->trust);
}

/* admin_hook.c writes it. */
enum bm_rc bm_hook_get(struct bm_keeper *k, int64_t batch_id, struct bm_hook *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = URL_MAX + TRUST_MAX + 64 };
    struct bm_rd in, url, trust;
    char key[BM_NAME_LEN];
    uint64_t id;
    enum bm_rc rc;

    snprintf(key, sizeof key, "scep-hook-%lld", (long long)batch_id);
    rc = bm_meta_get(k->store, key, &text, e);
    in = bm_buf_rd(&text);
    if (rc == BM_OK && in.n == 0)
        return BM_NOTFOUND; /* there was one */
    if (rc != BM_OK)
        return rc;
    if (!bm_rd_vec(&in, URL_MAX, &url) || !bm_rd_vec(&in, TRUST_MAX, &trust) || !bm_rd_uint(&in, 8, &id) || in.n != 0)
        return bm_fail(e, BM_BUG, "the hook of batch %lld does not read back", (long long)batch_id);
    *ret = (struct bm_hook){ .secret_id = (int64_t)id, .trust = { .max = TRUST_MAX } };
    snprintf(ret->url, sizeof ret->url, "%.*s", (int)url.n, (const char *)url.p);
    bm_buf_put(&ret->trust, trust.p, trust.n);
    return bm_buf_check(&ret->trust, e);
}

/* --- what goes along with the errand ------------------------------------------------------------------------------------------------ */
struct question {
    int64_t batch_id;
    struct bm_rd transaction, csr_sha256, peer;
};

static void question_write(struct bm_buf *out, const struct question *q)
{
    bm_buf_uint(out, 8, (uint64_t)q->batch_id);
    bm_buf_vec(out, q->transaction);
    bm_buf_vec(out, q->csr_sha256);
    bm_buf_vec(out, q->peer);
}

static enum bm_rc question_read(const struct bm_errand *x, struct question *ret, struct bm_error *e)
{
    struct bm_rd in = bm_buf_rd(&x->payload);
    uint64_t id;

    if (!bm_rd_uint(&in, 8, &id) || !bm_rd_vec(&in, 32, &ret->transaction) || ret->transaction.n != 32 ||
        !bm_rd_vec(&in, 32, &ret->csr_sha256) || ret->csr_sha256.n != 32 || !bm_rd_vec(&in, PEER_MAX, &ret->peer) || in.n != 0)
        return bm_fail(e, BM_BUG, "errand %lld: its question is damaged", (long long)x->id);
    ret->batch_id = (int64_t)id;
    return BM_OK;
}

/* --- asking: the request is opened again, as it is kept nowhere else --------------------------------------------------------------- */
struct asking {
    struct bm_keeper *k;
    struct question q;
    char peer[PEER_MAX + 1];
    struct bm_hook hook;
    struct bm_line *line;
    struct bm_scep_case message;
    struct bm_csr csr;
};

static void asking_done(struct asking *a)
{
    bm_hook_done(&a->hook);
    bm_scep_case_done(&a->message);
}

static enum bm_rc open_kept(struct asking *a, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_scep_row_done) struct bm_scep_row row = { 0 };
    struct bm_scep_case *c = &a->message;
    uint8_t sha256[32];
    enum bm_rc rc = bm_scep_row_find(a->k->store, a->q.transaction.p, &row, e);

    c->k = a->k;
    c->now = now;
    c->ca_id = a->line->issuer->row.id;
    if (rc == BM_NOTFOUND || (rc == BM_OK && !row.waits))
        return bm_refuse(e, BM_DENIED, "scep-hook-gone", "the request is not waiting any more");
    if (rc == BM_OK)
        rc = bm_scep_case_read(c, bm_buf_rd(&row.message), e);
    if (rc == BM_OK)
        rc = bm_scep_case_open(c, e);
    if (rc == BM_OK)
        rc = bm_csr_parse(bm_buf_rd(&c->plain), &a->csr, e);
    if (rc != BM_OK)
        return rc;
    bm_udid_of(a->csr.whole, sha256); /* SHA-256 all the same */
    if (!bm_rd_eq(a->q.csr_sha256, bm_rd_of(sha256, sizeof sha256)))
        return bm_refuse(e, BM_DENIED, "scep-hook-gone", "the device has put another request in this one's place");
    return BM_OK;
}

static enum bm_rc prepare(struct asking *a, const struct bm_errand *x, int64_t now, struct bm_error *e)
{
    enum bm_rc rc = question_read(x, &a->q, e);

    if (rc == BM_OK)
        rc = bm_hook_get(a->k, a->q.batch_id, &a->hook, e);
    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_DENIED, "scep-hook-gone", "the batch has no hook any more");
    if (rc == BM_OK)
        rc = bm_line_get(a->k, a->q.batch_id, &a->line, e);
    if (rc != BM_OK)
        return rc;
    snprintf(a->peer, sizeof a->peer, "%.*s", (int)a->q.peer.n, (const char *)a->q.peer.p);
    return open_kept(a, now, e);
}

static enum bm_rc sign(struct asking *a, struct bm_rd body, char ret[BM_HOOK_SIGNATURE_LEN], struct bm_error *e)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key row = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf secret = { .max = 64 };
    enum bm_rc rc = bm_mac_key_by_id(a->k->store, a->hook.secret_id, &row, e);

    if (rc == BM_OK)
        rc = bm_mac_open(a->k, NULL, &row, &secret, e);
    if (rc != BM_OK)
        return bm_wrap(e, BM_IO, "the secret of the hook");
    return bm_hook_sign(bm_buf_rd(&secret), body, ret, e);
}

static enum bm_rc make_task(struct bm_keeper *k, const struct bm_errand *x, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(asking_done) struct asking a = { .k = k };
    BM_CLEANUP(bm_buf_done) struct bm_buf body = { .max = BM_TASK_BODY_MAX };
    char signature[BM_HOOK_SIGNATURE_LEN];
    struct bm_task t = { .kind = BM_TASK_HTTP, .timeout_ms = TIMEOUT_MS, .method = bm_rd_str("POST"), .answer_max = ANSWER_MAX };
    enum bm_rc rc = prepare(&a, x, now, e);

    if (rc != BM_OK)
        return rc;
    rc = bm_hook_body(&(struct bm_hook_facts){ .id = x->subject,
                                               .time = now,
                                               .batch = a.line->batch.name,
                                               .product = a.line->product.name,
                                               .peer = a.peer,
                                               .transaction_id = a.message.m.transaction_id,
                                               .csr = a.csr.whole,
                                               .subject = a.csr.subject,
                                               .spki = a.csr.spki,
                                               .challenge = a.csr.challenge_password },
                      &body, e);
    if (rc == BM_OK)
        rc = sign(&a, bm_buf_rd(&body), signature, e);
    if (rc != BM_OK)
        return rc;
    t.url = bm_rd_str(a.hook.url);
    t.trust = bm_buf_rd(&a.hook.trust);
    t.body = bm_buf_rd(&body);
    t.n_fields = 2;
    t.fields[0] = (struct bm_task_field){ bm_rd_str("Content-Type"), bm_rd_str("application/json") };
    t.fields[1] = (struct bm_task_field){ bm_rd_str("Birthmark-Signature"), bm_rd_str(signature) };
    bm_task_write(out, &t);
    return bm_buf_check(out, e);
}

/* --- its answer --------------------------------------------------------------------------------------------------------------------- */
/* Whoever tries challenges out is slowed down as with codes. */
static void count_wrong(struct bm_keeper *k, const struct bm_errand *x, int64_t now)
{
    struct bm_error e = { 0 };
    struct bm_line *line;
    struct question q;
    char peer[PEER_MAX + 1];

    if (question_read(x, &q, &e) != BM_OK || bm_line_get(k, q.batch_id, &line, &e) != BM_OK)
        return;
    snprintf(peer, sizeof peer, "%.*s", (int)q.peer.n, (const char *)q.peer.p);
    bm_code_attempts_wrong(k, peer, bm_rd_str(line->batch.name), now);
}

static enum bm_rc take_answer(struct bm_keeper *k, const struct bm_errand *x, const struct bm_task_answer *a, int64_t now,
                              struct bm_errand_outcome *ret, struct bm_error *e)
{
    char reason[BM_HOOK_REASON_LEN];
    bool allow;

    (void)ret;
    if (a->status == 408 || a->status == 429 || a->status >= 500)
        return bm_refuse(e, BM_AGAIN, "scep-hook-waits", "the hook answers %u", a->status);
    if (a->status != 200 || bm_hook_answer(a->body, &allow, reason, e) != BM_OK)
        return bm_refuse(e, BM_DENIED, "scep-hook-answer", "the hook answers %u%s", a->status,
                         a->status == 200 ? ", but no {\"allow\": true or false}" : "");
    if (allow)
        return BM_OK;
    count_wrong(k, x, now);
    return bm_refuse(e, BM_DENIED, "scep-hook-denied", "the hook says no: %s", reason[0] != '\0' ? reason : "it gives no reason");
}

const struct bm_errand_kind bm_errand_scep_hook = {
    .name = BM_HOOK_ERRAND,
    .tries = UINT32_MAX, /* its life ends it */
    .first_s = 2,
    .most_s = 60,
    .life_s = LIFE_S,
    .kept_s = KEPT_S,
    .task = make_task,
    .done = take_answer,
};

/* --- a device's request --------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_hook_judge(struct bm_keeper *k, uint8_t op, const struct bm_enrol *c, int64_t now, struct bm_proven *ret,
                         struct bm_error *e)
{
    struct bm_batch b;
    char name[BM_NAME_LEN];
    enum bm_rc rc;

    if (op != BM_CMD_ENROL || c->reenrol || c->claimed_batch.n == 0 || c->claimed_batch.n >= sizeof name)
        return bm_fail(e, BM_BUG, "a challenge is good for enrolling into a batch");
    snprintf(name, sizeof name, "%.*s", (int)c->claimed_batch.n, (const char *)c->claimed_batch.p);
    rc = bm_batch_get(k->store, name, &b, e);
    return rc == BM_OK ? bm_code_join(k, b.id, c, now, ret, e) : rc;
}

/* The same bytes are the same question. The signature of the request is in there, so that the digest tells nobody the challenge, however short. */
static void subject_of(const struct bm_enrol *c, const struct bm_csr *csr, const struct bm_batch *b, char ret[65],
                       uint8_t ret_csr[32])
{
    uint8_t all[32 + 32 + 8], sha256[32];
    struct bm_wr w = bm_wr_of(all, sizeof all);

    bm_udid_of(csr->whole, ret_csr); /* SHA-256 all the same */
    bm_wr_put(&w, ret_csr, 32);
    bm_wr_put(&w, c->evidence.challenge.p, 32);
    bm_wr_uint(&w, 8, (uint64_t)b->id);
    bm_udid_of(bm_wr_rd(&w), sha256);
    bm_hex(sha256, sizeof sha256, ret);
}

static enum bm_rc pending(struct bm_error *e)
{
    return bm_refuse(e, BM_AGAIN, "scep-hook-pending",
                     "device management has been asked about the challenge; poll for the certificate");
}

static enum bm_rc check_room(struct bm_keeper *k, const struct bm_enrol *c, const struct bm_batch *b, int64_t now,
                             struct bm_error *e)
{
    int64_t open = 0;
    enum bm_rc rc = bm_code_attempts_check(k, c->peer, bm_rd_str(b->name), now, e);

    if (rc == BM_OK)
        rc = bm_errand_open_in(k->store, BM_HOOK_ERRAND, b->id, &open, e);
    if (rc == BM_OK && open >= BM_SCEP_HOOKS_OPEN)
        return bm_refuse(e, BM_AGAIN, "scep-hook-limit", "%d challenges for this batch wait for an answer already",
                         BM_SCEP_HOOKS_OPEN);
    return rc;
}

static enum bm_rc ask(struct bm_keeper *k, const struct bm_enrol *c, const struct bm_plan *p, const char *subject,
                      const uint8_t csr[32], int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { .kind = BM_HOOK_ERRAND, .payload = { .max = 256 } };
    struct question q = { p->line->batch.id, c->evidence.challenge, bm_rd_of(csr, 32), bm_rd_str(c->peer) };
    enum bm_rc rc = check_room(k, c, &p->line->batch, now, e);

    if (rc != BM_OK)
        return rc;
    x.device_id = p->who.device.id;
    x.batch_id = p->line->batch.id;
    snprintf(x.subject, sizeof x.subject, "%s", subject);
    question_write(&x.payload, &q);
    rc = bm_buf_check(&x.payload, e);
    if (rc == BM_OK)
        rc = bm_errand_add(k, &x, now, e);
    return rc == BM_OK ? pending(e) : rc;
}

/* The device hears no more than that; `birthmark why` has the hook's own words. */
static enum bm_rc denied(struct bm_keeper *k, const struct bm_errand *x, struct bm_error *e)
{
    if (strcmp(x->code, "scep-hook-denied") != 0)
        return bm_refuse(e, BM_DENIED, "scep-hook-unreachable", "device management gave no answer that can be used: %.150s",
                         x->what);
    (void)bm_refuse(&k->truth, BM_DENIED, x->code, "%s", x->what);
    return bm_refuse(e, BM_DENIED, "scep-hook-denied", "device management does not vouch for this challenge");
}

enum bm_rc bm_hook_check(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_plan *p, struct bm_error *e)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };
    char subject[65];
    uint8_t csr[32];
    enum bm_rc rc;

    if (c->evidence.kind != BM_EVIDENCE_HOOK)
        return BM_OK;
    subject_of(c, &p->orders[0].csr, &p->line->batch, subject, csr);
    rc = bm_errand_find(k, BM_HOOK_ERRAND, subject, &x, e);
    if (rc == BM_NOTFOUND)
        return ask(k, c, p, subject, csr, now, e);
    if (rc != BM_OK)
        return rc;
    k->told = strcmp(x.state, BM_ERRAND_QUEUED) == 0 || strcmp(x.state, BM_ERRAND_RUNNING) == 0;
    if (k->told) /* who polls each minute does not fill the book of refusals */
        return pending(e);
    p->hook_errand = strcmp(x.state, BM_ERRAND_DONE) == 0 ? x.id : 0;
    if (p->hook_errand != 0)
        return BM_OK;
    return now < x.due_at - KEPT_S + BM_HOOK_TELL_S ? denied(k, &x, e) : ask(k, c, p, subject, csr, now, e);
}

enum bm_rc bm_hook_spend(struct bm_keeper *k, const struct bm_enrol *c, struct bm_plan *p, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char udid[2 * BM_UDID_LEN + 1];
    bool joins = p->who.device.id == 0;
    enum bm_rc rc;

    if (c->evidence.kind != BM_EVIDENCE_HOOK)
        return BM_OK;
    rc = bm_errand_drop(k->store, p->hook_errand, e);
    if (rc == BM_OK && joins)
        rc = bm_device_put(k->store, &p->who.device, e);
    bm_hex(p->who.device.udid, BM_UDID_LEN, udid);
    fields = json_pack("{s:s, s:s, s:s, s:b, s:s}", "actor", "device", "udid", udid, "batch", p->line->batch.name, "registered",
                       joins, "correlation", c->correlation);
    if (rc == BM_OK)
        rc = bm_record(k, now, "hook.allowed", fields, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "using what a hook allowed");
}
