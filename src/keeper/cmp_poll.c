/* Requests whose answer takes time (RFC 9483 section 4.4): they are told to wait and kept as they came. Each pollReq has the kept one judged again, as
 * if it came now; nothing that was found out about it the first time counts. */
#include "keeper/cmp.h"

#include <stdio.h>

enum {
    WAITING_SIGNER =
        8, /* of one certificate: the next takes the place of the oldest, as a device that starts anew forgets what it asked */
    WAITING_CODE = 1000, /* of one code, which may be a whole batch's */
};

/* --- told to wait ------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc drop(struct bm_cmp_job *j, int64_t id, struct bm_error *e)
{
    enum bm_rc rc = bm_cmp_kept_drop(j->k->store, id, e);

    return rc == BM_OK ? bm_cmp_row_drop(j->k->store, id, e) : rc;
}

static enum bm_rc make_room(struct bm_cmp_job *j, struct bm_error *e)
{
    int64_t n, first;
    enum bm_rc rc = bm_cmp_kept_of(j->k->store, j->who, &n, &first, e);

    return rc == BM_OK && n >= (j->by_mac ? WAITING_CODE : WAITING_SIGNER) ? drop(j, first, e) : rc;
}

static enum bm_rc keep(struct bm_cmp_job *j, int64_t req_id, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf message = { .max = BM_COMMAND_MAX };
    struct bm_cmp_row r = { .state = BM_CMP_WAITS, .req_id = req_id, .expires_at = j->now + BM_APPROVAL_LIFE_S };
    enum bm_rc rc;

    memcpy(r.digest, j->digest, sizeof r.digest);
    memcpy(r.who, j->who, sizeof r.who);
    memcpy(r.nonce, j->nonce, sizeof r.nonce);
    bm_message_write(&message, &j->in);
    rc = bm_buf_check(&message, e);
    if (rc == BM_OK)
        rc = bm_cmp_row_put(j->k->store, &r, e);
    return rc == BM_OK ? bm_cmp_kept_put(j->k->store, r.id, bm_buf_rd(&message), e) : rc;
}

static void say_why(struct bm_cmp_job *j, const struct bm_error *why, char text[BM_CMP_TEXT_MAX])
{
    snprintf(text, BM_CMP_TEXT_MAX, "%s: %s (correlation %s)", bm_error_code(why), why->what, j->in.correlation);
    snprintf(j->code, sizeof j->code, "%s", bm_error_code(why));
}

enum bm_rc bm_cmp_wait(struct bm_cmp_job *j, enum bm_cmp_type answer, int64_t req_id, struct bm_derw *w, struct bm_error *e)
{
    char text[BM_CMP_TEXT_MAX];
    enum bm_rc rc;

    say_why(j, e, text);
    j->lost = true;
    rc = make_room(j, e);
    if (rc == BM_OK)
        rc = keep(j, req_id, e);
    bm_cmp_put_waiting(w, answer, req_id, text);
    return rc;
}

/* --- asked again --------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc check_poll(const struct bm_cmp_poll *p, const struct bm_cmp_row *row, struct bm_error *e)
{
    if (p->n != 1)
        return bm_refuse(e, BM_DENIED, "cmp-request", "one request waits in this transaction, so one is asked about");
    if (p->req_id != row->req_id && (row->req_id != -1 || p->req_id != 0)) /* some clients count that of a p10cr as 0 */
        return bm_refuse(e, BM_DENIED, "cmp-request", "certReqId is not the one of our answer");
    return BM_OK;
}

/* What the answer to the poll has of the request that it answers. */
static void take_over(struct bm_cmp_job *j, struct bm_cmp_job *first)
{
    j->judged = first->judged;
    first->judged = (struct bm_buf){ 0 };
    j->issuer = first->issuer;
    j->implicit_confirm = first->implicit_confirm;
    j->confirm_until = first->confirm_until;
    j->first_nonce = first->m.h.sender_nonce; /* in j->waited */
}

static enum bm_rc judge_again(struct bm_cmp_job *j, const struct bm_cmp_row *row, struct bm_derw *w, struct bm_error *e)
{
    BM_CLEANUP(bm_cmp_job_done) struct bm_cmp_job first = { .k = j->k, .now = j->now, .kept = row, .c = j->c };
    enum bm_rc rc = bm_message_parse(bm_buf_rd(&j->waited), &first.in, e);

    if (rc != BM_OK)
        return bm_wrap(e, BM_IO, "registry: a CMP request that waits");
    memcpy(first.in.correlation, j->in.correlation, sizeof first.in.correlation);
    memcpy(first.in.peer, j->in.peer, sizeof first.in.peer);
    memcpy(first.nonce, j->nonce, sizeof first.nonce);
    first.c.evidence = (struct bm_evidence){ 0 };
    first.c.claimed_udid = first.c.claimed_batch = bm_rd_of(NULL, 0);
    rc = bm_cmp_handle(&first, w, e);
    j->written_down = first.written_down;
    j->lost = first.lost;
    if (rc == BM_OK)
        take_over(j, &first);
    return rc;
}

/* The answer to this poll has a nonce of its own, which the next one brings back. */
static enum bm_rc wait_on(struct bm_cmp_job *j, struct bm_cmp_row *row, const struct bm_error *why, struct bm_derw *w,
                          struct bm_error *e)
{
    char text[BM_CMP_TEXT_MAX];

    say_why(j, why, text);
    j->lost = true;
    memcpy(row->nonce, j->nonce, sizeof row->nonce);
    bm_cmp_put_poll(w, row->req_id, bm_retry_after(why), text);
    return bm_cmp_row_answer(j->k->store, row, e);
}

static bool is_final(enum bm_rc rc)
{
    return rc != BM_OK && rc != BM_NOMEM && rc != BM_IO && rc != BM_BUG;
}

static enum bm_rc answer(struct bm_cmp_job *j, struct bm_cmp_row *row, struct bm_derw *w, struct bm_error *e)
{
    struct bm_error lost = { 0 };
    enum bm_rc rc = bm_cmp_kept_get(j->k->store, row->id, &j->waited, e);

    if (rc == BM_OK)
        rc = judge_again(j, row, w, e);
    if (rc == BM_AGAIN) {
        struct bm_error why = *e;

        return wait_on(j, row, &why, w, e);
    }
    if (is_final(rc) && drop(j, row->id, &lost) != BM_OK)
        return bm_fail(e, BM_IO, "%s", lost.what);
    return rc;
}

enum bm_rc bm_cmp_pollreq(struct bm_cmp_job *j, struct bm_derw *w, struct bm_error *e)
{
    struct bm_cmp_poll p;
    struct bm_cmp_row row = { 0 };
    enum bm_rc rc = bm_cmp_poll_parse(j->m.content, &p, e);

    if (rc == BM_OK)
        rc = bm_cmp_transaction(j, BM_CMP_WAITS, &row, e);
    if (rc == BM_OK)
        rc = check_poll(&p, &row, e);
    return rc == BM_OK ? answer(j, &row, w, e) : rc;
}
