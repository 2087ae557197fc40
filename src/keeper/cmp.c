/* The door for CMP: every message that parses gets a signed answer, and a refusal is one of them. */
#include "keeper/cmp.h"

#include "base/text.h"

#include <openssl/rand.h>
#include <stdio.h>

static bm_cmp_fn *const handlers[BM_CMP_TYPES] = {
    [BM_CMP_IR] = bm_cmp_ir,
    [BM_CMP_CR] = bm_cmp_cr,
    [BM_CMP_KUR] = bm_cmp_kur,
    [BM_CMP_P10CR] = bm_cmp_p10cr,
    [BM_CMP_CERTCONF] = bm_cmp_certconf,
    [BM_CMP_RR] = bm_cmp_rr,
    [BM_CMP_GENM] = bm_cmp_genm,
    [BM_CMP_POLLREQ] = bm_cmp_pollreq,
    [BM_CMP_NESTED] = bm_cmp_nested,
};

void bm_cmp_job_done(struct bm_cmp_job *j)
{
    bm_buf_done(&j->waited);
    bm_buf_done(&j->whole);
    bm_buf_done(&j->spki);
    bm_buf_done(&j->wanted);
    bm_buf_done(&j->secret);
    bm_buf_done(&j->judged);
}

enum bm_rc bm_cmp_handle(struct bm_cmp_job *j, struct bm_derw *w, struct bm_error *e)
{
    enum bm_rc rc = bm_cmp_parse(j->in.body, &j->m, e);

    if (rc == BM_OK)
        rc = bm_cmp_check(j, e);
    j->checked = rc == BM_OK;
    if (rc == BM_OK)
        rc = handlers[j->m.type] != NULL ? handlers[j->m.type](j, w, e) : bm_fail(e, BM_BUG, "nobody for body %u", j->m.type);
    if (rc != BM_OK && j->lost)
        return bm_wrap(e, BM_IO, "CMP");
    return rc;
}

/* What a request is answered with; 0: it has no answer of its own. */
static const enum bm_cmp_type answers[BM_CMP_TYPES] = {
    [BM_CMP_IR] = BM_CMP_IP,    [BM_CMP_CR] = BM_CMP_CP, [BM_CMP_KUR] = BM_CMP_KUP,
    [BM_CMP_P10CR] = BM_CMP_CP, [BM_CMP_RR] = BM_CMP_RP,
};

/* RFC 9483 section 3.6.1: what is wrong with the request itself, its own answer says; all else is an error message. */
static void put_refusal(struct bm_cmp_job *j, enum bm_cmp_fail fail, const char *text, struct bm_derw *w)
{
    enum bm_cmp_type answer = j->checked && !bm_cmp_fail_is_outside(fail) ? answers[j->m.type] : 0;

    if (answer != 0)
        bm_cmp_put_rejected(w, answer, j->m.type == BM_CMP_P10CR ? -1 : 0, fail, text);
    else
        bm_cmp_put_error(w, fail, text);
}

/* The refusal goes into the record once, and to the device with our code in front of the sentence. */
static enum bm_rc refuse(struct bm_cmp_job *j, struct bm_error *why, struct bm_derw *w)
{
    char text[BM_CMP_TEXT_MAX];
    struct bm_error lost;

    if (!j->written_down && bm_record_refusal(j->k, &j->c, j->now, why, &lost) == BM_IO) {
        *why = lost;
        return BM_IO;
    }
    snprintf(text, sizeof text, "%s: %s (correlation %s)", bm_error_code(why), why->what, j->in.correlation);
    *w = bm_derw_of(w->p, w->cap);
    put_refusal(j, bm_cmp_fail_of(why), text, w);
    return BM_OK;
}

static enum bm_rc respond(struct bm_cmp_job *j, struct bm_rd body, struct bm_buf *der, struct bm_error *e)
{
    enum bm_rc rc;

    if (j->whole.n != 0) {
        bm_buf_put(der, j->whole.p, j->whole.n);
        return bm_buf_check(der, e);
    }
    rc = bm_cmp_answer(j, body, der, e);
    return rc != BM_OK && j->lost ? bm_wrap(e, BM_IO, "CMP answer") : rc; /* nothing may stay that nobody is told of */
}

static enum bm_rc begin(struct bm_cmp_job *j, struct bm_error *e)
{
    memcpy(j->c.correlation, j->in.correlation, sizeof j->c.correlation);
    memcpy(j->c.peer, j->in.peer, sizeof j->c.peer);
    memcpy(j->c.protocol, "cmp", sizeof "cmp");
    return RAND_bytes(j->nonce, sizeof j->nonce) == 1 ? BM_OK : bm_fail(e, BM_BUG, "no random numbers");
}

enum bm_rc bm_cmp_run(struct bm_cmp_job *j, struct bm_buf *der, struct bm_error *e)
{
    uint8_t room[BM_CMP_ANSWER_MAX / 2];
    struct bm_derw body = bm_derw_of(room, sizeof room);
    struct bm_error why = { 0 };
    enum bm_rc rc = begin(j, e);

    if (rc != BM_OK)
        return rc;
    rc = bm_cmp_handle(j, &body, &why);
    if (rc == BM_OK && body.bad)
        rc = bm_fail(&why, BM_IO, "a CMP body over %zu bytes", sizeof room);
    if (rc == BM_OK)
        return respond(j, bm_derw_rd(&body), der, e);
    if (rc == BM_IO || refuse(j, &why, &body) != BM_OK) {
        *e = why;
        return BM_IO;
    }
    snprintf(j->code, sizeof j->code, "%s", bm_error_code(&why));
    return respond(j, bm_derw_rd(&body), der, e);
}

enum bm_rc bm_run_cmp(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_cmp_job_done) struct bm_cmp_job j = { .k = k, .now = now };
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CMP_ANSWER_MAX };
    struct bm_cmp_told told = { 0 };
    enum bm_rc rc = bm_message_parse(payload, &j.in, e);

    if (rc == BM_OK)
        rc = bm_cmp_run(&j, &der, e);
    if (rc != BM_OK)
        return rc;
    memcpy(told.code, j.code, sizeof told.code);
    told.der = bm_buf_rd(&der);
    bm_cmp_told_write(out, &told);
    return bm_buf_check(out, e);
}
