#include "server/coap_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/text.h"
#include "server/shown.h"

#include <openssl/rand.h>
#include <stdio.h>

#define RETRY_S 5 /* Max-Age while we are busy */

/* --- what is told of it ---------------------------------------------------------------------------------------------------------------- */
static const char *name_of(const struct coap_session *s)
{
    return s->op != NULL ? s->op->name : "none";
}

/* Counted as HTTP would count it: one table of statuses for all protocols. */
static void count(const struct coap_session *s, int status, const char *code)
{
    unsigned operation = bm_metric_label_find(&bm_label_operation, name_of(s));
    char text[8];

    (void)snprintf(text, sizeof text, "%d", status);
    bm_metric_add(BM_M_REQUESTS, operation, bm_metric_label_find(&bm_label_status, text), 1);
    bm_metric_observe(BM_M_REQUEST_SECONDS, operation, (uint64_t)(bm_clock_steady_us() - s->asked_us));
    if (code != NULL)
        bm_metric_refusal(code);
}

static void refuse(struct coap_session *s, const struct bm_error *e, int64_t retry_after_s)
{
    uint8_t code = bm_coap_code_of(e);

    count(s, bm_refusal_waits(e->code) ? 202 : bm_http_status(e), bm_error_code(e));
    bm_log(s->op != NULL ? BM_LOG_INFO : BM_LOG_DEBUG, "refused", "correlation=%s operation=%s code=%s status=%u.%02u peer=%s",
           s->q.correlation, name_of(s), bm_error_code(e), code >> 5, code & 31, s->q.peer);
    bm_coap_line_refuse(&s->line, e, retry_after_s, s->q.correlation, bm_clock_steady_ms(), &s->all->out);
    bm_coap_session_say(s);
}

/* GET is answered with 2.05, POST with 2.04: RFC 9148 section 4.5. */
static void answer(struct coap_session *s, bool post, uint16_t format, struct bm_rd body)
{
    const struct bm_coap_reply r = { .code = post ? BM_COAP_CODE(2, 4) : BM_COAP_CODE(2, 5),
                                     .content_format = format,
                                     .max_age_s = -1,
                                     .size1 = -1,
                                     .payload = body };

    count(s, 200, NULL);
    bm_log(BM_LOG_DEBUG, "answered", "correlation=%s operation=%s peer=%s", s->q.correlation, name_of(s), s->q.peer);
    bm_coap_line_answer(&s->line, &r, bm_clock_steady_ms(), &s->all->out);
    bm_coap_session_say(s);
}

/* --- answering ------------------------------------------------------------------------------------------------------------------------- */
static void render(struct coap_session *s, struct bm_rd from_keeper)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf body = { .max = BM_COAP_BODY_MAX };
    struct bm_error e = { 0 };
    enum bm_rc rc = s->op->render(&s->q, s->all->view, from_keeper, s->format, &body, &e);

    if (rc == BM_OK)
        rc = bm_buf_check(&body, &e);
    e.rc = rc;
    if (rc == BM_OK)
        answer(s, s->op->method == BM_COAP_POST, s->format, bm_buf_rd(&body));
    else
        refuse(s, &e, 0);
}

static void refused_by_keeper(struct coap_session *s, struct bm_rd payload)
{
    struct bm_error e = { 0 };
    struct bm_refused w = { 0 };

    if (bm_refused_parse(payload, &w, &e) != BM_OK) {
        (void)bm_fail(&e, BM_BUG, "the keeper's refusal cannot be read");
    } else {
        e.rc = (enum bm_rc)w.rc;
        memcpy(e.code, w.code, sizeof e.code);
        memcpy(e.what, w.what, sizeof e.what);
    }
    refuse(s, &e, w.retry_after_s);
}

static void on_answer(void *arg, uint8_t type, struct bm_rd payload)
{
    struct coap_session *s = arg;
    struct bm_error e;

    s->ticket = 0;
    if (type == 0)
        return; /* the link has ended, and with it this process */
    if (type == BM_REFUSAL) {
        refused_by_keeper(s, payload);
    } else if (type == (s->op->command | BM_ANSWER)) {
        render(s, payload);
    } else {
        (void)bm_fail(&e, BM_BUG, "the keeper answered something else");
        refuse(s, &e, 0);
    }
}

void bm_coap_request_expire(struct coap_session *s)
{
    struct bm_error e;

    bm_link_forget(s->all->link, s->ticket);
    s->ticket = 0;
    (void)bm_refuse(&e, BM_AGAIN, "try-again", "the registry did not answer in time");
    refuse(s, &e, RETRY_S);
}

/* --- asking ---------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc send_command(struct coap_session *s, struct bm_error *e)
{
    struct coap *c = s->all;
    enum bm_rc rc = s->op->prepare(&s->q, &c->payload, e);

    if (rc == BM_OK)
        rc = bm_buf_check(&c->payload, e);
    if (rc == BM_OK)
        rc = bm_link_send(c->link, s->op->command, bm_buf_rd(&c->payload), on_answer, s, &s->ticket, e);
    bm_wipe(c->payload.p, c->payload.n);
    c->payload.n = 0;
    c->payload.bad = false;
    return rc;
}

/* The request is whole. */
static void dispatch(struct coap_session *s)
{
    struct bm_error e = { 0 };
    enum bm_rc rc = BM_OK;

    if (s->all->view == NULL)
        rc = bm_refuse(&e, BM_AGAIN, "try-again", "the server is not ready");
    else if (s->op->command != 0)
        rc = send_command(s, &e);
    else
        render(s, bm_rd_of(NULL, 0));
    e.rc = rc;
    if (rc != BM_OK)
        refuse(s, &e, rc == BM_AGAIN ? RETRY_S : 0);
    s->q.body = s->q.label = bm_rd_of(NULL, 0); /* they were borrowed from the message */
}

static bool is_discovery(const struct bm_coap_message *m)
{
    return m->n_path == 2 && bm_rd_eq(m->path[0], bm_rd_str(".well-known")) && bm_rd_eq(m->path[1], bm_rd_str("core"));
}

static void discover(struct coap_session *s, const struct bm_coap_message *m)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf links = { .max = 4096 };
    struct bm_error e;

    if (m->code != BM_COAP_GET)
        (void)bm_refuse(&e, BM_DENIED, "method-not-allowed", "/.well-known/core takes GET only");
    else if (m->accept >= 0 && m->accept != BM_COAP_LINK_FORMAT)
        (void)bm_refuse(&e, BM_DENIED, "not-acceptable", "links come in Content-Format %d", BM_COAP_LINK_FORMAT);
    else
        e.rc = BM_OK;
    if (e.rc != BM_OK) {
        refuse(s, &e, 0);
        return;
    }
    bm_coap_links(m, &links);
    answer(s, false, BM_COAP_LINK_FORMAT, bm_buf_rd(&links));
}

/* What the first block alone decides, before the others are taken. */
static enum bm_rc admit(struct coap_session *s, const struct bm_coap_message *m, struct bm_error *e)
{
    enum bm_rc rc = bm_coap_admit(m, &s->op, &s->q.label, &s->format, e);

    if (rc == BM_OK &&
        !bm_shown_any(&s->q)) /* RFC 9148 section 3: for all functions, those that EST over HTTP gives to anybody too */
        rc = bm_refuse(e, BM_DENIED, "no-evidence", "this call needs a DTLS client certificate or raw public key");
    return rc;
}

static void begin(struct coap_session *s)
{
    uint8_t id[8] = { 0 };

    (void)RAND_bytes(id, sizeof id);
    bm_hex(id, sizeof id, s->q.correlation);
    s->asked_us = bm_clock_steady_us();
    s->op = NULL;
}

void bm_coap_request(struct coap_session *s, struct bm_rd message)
{
    struct bm_buf *out = &s->all->out;
    int64_t now = bm_clock_steady_ms();
    struct bm_coap_message m;
    struct bm_error e = { 0 };

    if (bm_coap_line_take(&s->line, message, now, out, &m) == BM_COAP_DONE) {
        bm_coap_session_say(s);
        return;
    }
    begin(s);
    if (is_discovery(&m))
        discover(s, &m);
    else if ((e.rc = admit(s, &m, &e)) != BM_OK)
        refuse(s, &e, 0);
    else if (s->op->method == BM_COAP_GET || bm_coap_line_body(&s->line, &m, BM_CSR_MAX, now, out, &s->q.body) == BM_COAP_REQUEST)
        dispatch(s);
    else
        bm_coap_session_say(s);
}
