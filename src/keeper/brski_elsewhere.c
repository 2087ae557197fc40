/* Devices of other makers, RFC 8995 section 5.4 to 5.6: their MASA is asked by the courier. Until it has answered the device gets a
 * 202 and comes again with the same request, as section 5.6 has it. Where to ask stands in the IDevID, which is believed when a
 * trusted chip maker has signed it. */
#include "keeper/brski.h"
#include "keeper/errand.h"
#include "keeper/ownership.h"

#include "base/text.h"

#include <stdio.h>

enum {
    LIFE_S = 1800,  /* less than a registrar's request is good for */
    KEPT_S = 86400, /* for a device that comes again late */
    OPEN_MAX = 4,   /* questions about one device at a time */
    TIMEOUT_MS = 20000,
};
static const char kind_name[] = "masa";

/* --- what goes along with the errand ------------------------------------------------------------------------------------------ */
struct question {
    struct bm_rd url, request, serial, nonce, correlation;
};

static void question_write(struct bm_buf *out, const struct question *q)
{
    bm_buf_vec(out, q->url);
    bm_buf_vec(out, q->serial);
    bm_buf_vec(out, q->nonce);
    bm_buf_vec(out, q->correlation);
    bm_buf_vec(out, q->request);
}

static enum bm_rc question_read(struct bm_rd in, struct question *ret, struct bm_error *e)
{
    if (!bm_rd_vec(&in, BM_TEXT_MAX, &ret->url) || !bm_rd_vec(&in, BM_VOUCHER_SERIAL_MAX, &ret->serial) ||
        !bm_rd_vec(&in, BM_VOUCHER_NONCE_MAX, &ret->nonce) || !bm_rd_vec(&in, 16, &ret->correlation) ||
        !bm_rd_vec(&in, BM_VOUCHER_REQUEST_MAX, &ret->request) || in.n != 0)
        return bm_fail(e, BM_BUG, "a question to a MASA does not read back");
    return BM_OK;
}

/* Section 2.3.2: an authority, to which scheme and path are added, or all of it. */
static void put_url(struct bm_buf *out, struct bm_rd masa)
{
    bool whole = memchr(masa.p, '/', masa.n) != NULL;

    bm_buf_str(out, whole ? "" : "https://");
    bm_buf_put(out, masa.p, masa.n);
    bm_buf_str(out, whole ? "/requestvoucher" : "/.well-known/brski/requestvoucher");
}

/* --- asking ------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc put_anchor(void *arg, const struct bm_trust *t, struct bm_error *e)
{
    bm_pem_write(arg, "CERTIFICATE", bm_buf_rd(&t->der));
    return bm_buf_check(arg, e);
}

/* The place is a stranger's choice as far as the network here is concerned, so it has to be public, or named in the configuration.
 * */
static enum bm_rc make_task(struct bm_keeper *k, const struct bm_errand *x, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf trust = { .max = BM_COMMAND_MAX };
    struct bm_task t = { .kind = BM_TASK_HTTP,
                         .timeout_ms = TIMEOUT_MS,
                         .foreign = true,
                         .method = bm_rd_str("POST"),
                         .answer_max = BM_VOUCHER_MAX,
                         .n_fields = 2 };
    struct question q = { 0 };
    struct bm_rd type;
    enum bm_rc rc = question_read(bm_buf_rd(&x->payload), &q, e);

    (void)now;
    if (rc == BM_OK)
        rc = bm_trust_each(k->store, BM_TRUST_MASA, put_anchor, &trust, e);
    if (rc != BM_OK)
        return rc;
    type = bm_rd_str(bm_voucher_type(bm_voucher_form_of(q.request)));
    t.fields[0] = (struct bm_task_field){ bm_rd_str("Content-Type"), type };
    t.fields[1] = (struct bm_task_field){ bm_rd_str("Accept"), type };
    t.url = q.url;
    t.body = q.request;
    t.trust = bm_buf_rd(&trust);
    bm_task_write(out, &t);
    return bm_buf_check(out, e);
}

/* --- the answer --------------------------------------------------------------------------------------------------------------- */
/* The device judges the voucher, by its maker's anchor, which nobody here has. What would only make it turn away is not handed on.
 * */
static enum bm_rc check_voucher(struct bm_keeper *k, const struct question *q, const struct bm_voucher *v, struct bm_error *e)
{
    struct bm_issuer *by;
    enum bm_rc rc = bm_issuer_default(k, &by, e);

    if (rc != BM_OK)
        return rc;
    if (v->request || !bm_rd_eq(bm_rd_str(v->serial_number), q->serial) || !bm_rd_eq(bm_rd_str(v->nonce), q->nonce))
        return bm_refuse(e, BM_DENIED, "masa-answer", "the MASA's voucher is for another device or request");
    for (size_t i = 0; i < by->n_chain; i++)
        if (bm_rd_eq(bm_buf_rd(&v->pinned_domain_cert), bm_buf_rd(&by->chain[i])))
            return BM_OK;
    return bm_refuse(e, BM_DENIED, "masa-answer", "the MASA's voucher is for another network");
}

static enum bm_rc keep(struct bm_keeper *k, const struct bm_errand *x, const struct question *q, const struct bm_voucher *v,
                       struct bm_rd cms, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    char correlation[17];
    struct bm_cert pinned;
    struct bm_masa_grant g = { .device = &d,
                               .serial_number = v->serial_number,
                               .nonce = v->nonce,
                               .correlation = correlation,
                               .pinned = &pinned,
                               .assertion = v->assertion,
                               .expires_at = v->expires_on };
    int64_t id;
    enum bm_rc rc = bm_device_by_id(k->store, x->device_id, &d, e);

    snprintf(correlation, sizeof correlation, "%.*s", (int)q->correlation.n, (const char *)q->correlation.p);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&v->pinned_domain_cert), &pinned, e);
    if (rc == BM_OK)
        rc = bm_owner_of(k, &d, &g.org_id, e);
    return rc == BM_OK ? bm_voucher_written(k, &g, "voucher.received", cms, now, &id, e) : rc;
}

/* Section 5.6: what a MASA says that will not give one is plain text for people. */
static enum bm_rc refused(const struct bm_task_answer *a, struct bm_error *e)
{
    char safe[120];

    if (a->status == 202 || a->status == 429 || a->status >= 500)
        return bm_refuse(e, BM_AGAIN, "masa-pending", "the MASA has not decided yet (HTTP %u)", a->status);
    return bm_refuse(e, BM_DENIED, "masa-refused", "the device's MASA gives no voucher (HTTP %u): %s", a->status,
                     bm_text_escape(a->body, safe, sizeof safe));
}

static enum bm_rc take_answer(struct bm_keeper *k, const struct bm_errand *x, const struct bm_task_answer *a, int64_t now,
                              struct bm_errand_outcome *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_voucher_opened_done) struct bm_voucher_opened o = { 0 };
    struct question q = { 0 };
    enum bm_rc rc;

    if (a->status != 200)
        return refused(a, e);
    rc = question_read(bm_buf_rd(&x->payload), &q, e);
    if (rc == BM_OK && bm_voucher_form_of(a->body) != bm_voucher_form_of(q.request))
        rc = bm_refuse(e, BM_DENIED, "masa-answer", "the MASA's voucher is not of the kind that was asked for");
    if (rc == BM_OK && bm_voucher_open(a->body, &o, e) != BM_OK)
        rc = bm_refuse(e, BM_DENIED, "masa-answer", "the MASA's answer is no voucher that can be read here");
    if (rc == BM_OK)
        rc = check_voucher(k, &q, &o.voucher, e);
    if (rc == BM_OK)
        rc = keep(k, x, &q, &o.voucher, a->body, now, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_put(&ret->result, a->body.p, a->body.n);
    return bm_buf_check(&ret->result, e);
}

const struct bm_errand_kind bm_errand_masa = { kind_name, 8, 5, 300, LIFE_S, KEPT_S, make_task, take_answer, NULL };

/* --- for the registrar -------------------------------------------------------------------------------------------------------- */
enum { SUBJECT_LEN = 64 + 4 + 1 };

/* The same bytes are the same question: a device that waits must not sign anew (section 5.6). */
static void subject_of(const struct bm_brski_ask *a, char ret[SUBJECT_LEN])
{
    uint8_t sha256[32];

    bm_udid_of(a->body, sha256); /* a SHA-256 like any other */
    bm_hex(sha256, sizeof sha256, ret);
    if (bm_brski_form(a) == BM_VOUCHER_JWS)
        memcpy(ret + 64, " jws", 5);
}

static enum bm_rc pending(struct bm_error *e)
{
    return bm_refuse(e, BM_AGAIN, "masa-pending", "the device's MASA has been asked; come again with the same request");
}

static enum bm_rc ask(struct bm_keeper *k, const struct bm_elsewhere *w, const char *subject, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { .device_id = w->device->id, .payload.max = BM_COMMAND_MAX };
    BM_CLEANUP(bm_buf_done) struct bm_buf url = { .max = BM_TEXT_MAX };
    struct question q = { .serial = bm_rd_str(w->serial),
                          .nonce = bm_rd_str(w->nonce),
                          .correlation = bm_rd_str(w->correlation),
                          .request = w->request };
    int64_t open = 0;
    enum bm_rc rc = bm_errand_open_of(k->store, kind_name, w->device->id, &open, e);

    put_url(&url, w->masa);
    if (rc == BM_OK)
        rc = bm_buf_check(&url, e);
    if (rc == BM_OK && open >= OPEN_MAX)
        rc = pending(e);
    if (rc != BM_OK)
        return rc;
    q.url = bm_buf_rd(&url);
    question_write(&x.payload, &q);
    snprintf(x.kind, sizeof x.kind, "%s", kind_name);
    snprintf(x.subject, sizeof x.subject, "%s", subject);
    rc = bm_buf_check(&x.payload, e);
    if (rc == BM_OK)
        rc = bm_errand_add(k, &x, now, e);
    return rc == BM_OK ? pending(e) : rc;
}

/* It has said no, or nothing that can be used. */
static enum bm_rc over(const struct bm_errand *x, struct bm_error *e)
{
    bool said = strcmp(x->code, "masa-refused") == 0 || strcmp(x->code, "masa-answer") == 0;

    return bm_refuse(e, BM_DENIED, said ? x->code : "masa-unreachable", "%s", x->what);
}

enum bm_rc bm_registrar_answered(struct bm_keeper *k, const struct bm_brski_ask *a, bool *ret_asked, struct bm_buf *out,
                                 struct bm_error *e)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };
    char subject[SUBJECT_LEN];
    enum bm_rc rc;

    subject_of(a, subject);
    rc = bm_errand_find(k, kind_name, subject, &x, e);
    *ret_asked = rc == BM_OK;
    if (rc != BM_OK)
        return rc == BM_NOTFOUND ? BM_OK : rc;
    if (strcmp(x.state, BM_ERRAND_QUEUED) == 0 || strcmp(x.state, BM_ERRAND_RUNNING) == 0)
        return pending(e);
    if (strcmp(x.state, BM_ERRAND_DONE) != 0)
        return over(&x, e);
    bm_buf_put(out, x.result.p, x.result.n);
    return bm_buf_check(out, e);
}

enum bm_rc bm_registrar_ask(struct bm_keeper *k, const struct bm_elsewhere *w, const struct bm_brski_ask *a, int64_t now,
                            struct bm_error *e)
{
    char subject[SUBJECT_LEN];

    subject_of(a, subject);
    return ask(k, w, subject, now, e);
}
