#include "server/staple.h"

#include "base/clock.h"
#include "base/log.h"
#include "keeper/wire.h"
#include "pki/ocsp.h"

#include <openssl/err.h>
#include <stdlib.h>

enum { RETRY_S = 60 };

struct bm_staple {
    struct bm_link *link;
    struct event *timer;
    void (*settled)(void *arg);
    void *arg;
    struct bm_buf request; /* OCSPRequest about the certificate in use; empty: nobody here can answer for it */
    struct bm_buf answer;
    int64_t good_until_ms; /* of the answer, by the steady clock */
    uint64_t ticket;       /* of the question under way; 0: none */
    bool tell;             /* its answer settles a bm_staple_use() */
};

/* --- in the handshake ----------------------------------------------------------------------------------------------------------- */
static int give(SSL *ssl, void *arg)
{
    const struct bm_staple *s = arg;
    unsigned char *copy;

    if (s->answer.n == 0 || bm_clock_steady_ms() >= s->good_until_ms)
        return SSL_TLSEXT_ERR_NOACK;
    copy = OPENSSL_memdup(s->answer.p, s->answer.n);
    if (copy == NULL || SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)s->answer.n) != 1) {
        OPENSSL_free(copy);
        return SSL_TLSEXT_ERR_NOACK;
    }
    return SSL_TLSEXT_ERR_OK;
}

/* --- asking --------------------------------------------------------------------------------------------------------------------- */
static void again_in(struct bm_staple *s, int64_t seconds)
{
    const struct timeval t = { .tv_sec = seconds > 0 ? seconds : 1 };

    if (event_add(s->timer, &t) != 0)
        bm_log(BM_LOG_WARN, "staple", "reason=\"out of memory\"");
}

/* "unknown" is no answer to staple: the keeper gives those no time to live. */
static bool take(struct bm_staple *s, struct bm_rd payload)
{
    struct bm_ocsp_told told;

    if (bm_ocsp_told_parse(payload, &told, NULL) != BM_OK || told.max_age_s == 0)
        return false;
    s->answer.n = 0;
    bm_buf_put(&s->answer, told.der.p, told.der.n);
    s->good_until_ms = bm_clock_steady_ms() + (int64_t)told.max_age_s * 1000;
    again_in(s, told.max_age_s / 2);
    return true;
}

static void refused(struct bm_staple *s, struct bm_rd payload)
{
    struct bm_refused r = { 0 };

    if (bm_refused_parse(payload, &r, NULL) == BM_OK)
        bm_log(BM_LOG_DEBUG, "staple", "code=%s", r.code);
    if (strcmp(r.code, "ocsp-not-ours") == 0) /* the operator's own certificate, of a CA that is not here */
        return;
    again_in(s, RETRY_S);
}

static void settle(struct bm_staple *s)
{
    bool tell = s->tell;

    s->tell = false;
    if (tell)
        s->settled(s->arg);
}

static void on_answer(void *arg, uint8_t type, struct bm_rd payload)
{
    struct bm_staple *s = arg;

    s->ticket = 0;
    if (type == 0) /* the link has ended, and the worker with it */
        return;
    if (type == BM_REFUSAL)
        refused(s, payload);
    else if (type != (BM_CMD_OCSP | BM_ANSWER) || !take(s, payload))
        again_in(s, RETRY_S);
    settle(s);
}

/* What is newer is asked again: an answer under way may be from before a revocation. */
static void ask(struct bm_staple *s)
{
    struct bm_error e;

    if (s->ticket != 0)
        bm_link_forget(s->link, s->ticket);
    s->ticket = 0;
    if (bm_link_send(s->link, BM_CMD_OCSP, bm_buf_rd(&s->request), on_answer, s, &s->ticket, &e) == BM_OK)
        return;
    again_in(s, RETRY_S);
    settle(s);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    ask(arg);
}

/* --- which certificate ---------------------------------------------------------------------------------------------------------- */
static bool der_of(X509 *x, struct bm_buf *room, struct bm_cert *ret)
{
    int n = x != NULL ? i2d_X509(x, NULL) : -1;
    uint8_t *p = n > 0 ? bm_buf_room(room, (size_t)n) : NULL;

    if (p == NULL || i2d_X509(x, &p) != n)
        return false;
    room->n += (size_t)n;
    return bm_cert_parse(bm_buf_rd(room), ret, NULL) == BM_OK;
}

/* SHA-1 names the issuer here and protects nothing; it is what every client looks for (RFC 5019 section 2.1.1). */
static bool make_request(SSL_CTX *tls, struct bm_buf *ret)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf own = { .max = BM_CERT_MAX }, above = { .max = BM_CERT_MAX };
    STACK_OF(X509) *chain = NULL;
    struct bm_cert cert, issuer;
    bool ok = SSL_CTX_get0_chain_certs(tls, &chain) == 1 && chain != NULL && sk_X509_num(chain) > 0 &&
              der_of(SSL_CTX_get0_certificate(tls), &own, &cert) && der_of(sk_X509_value(chain, 0), &above, &issuer);

    ERR_clear_error();
    return ok && bm_ocsp_request_write(&cert, &issuer, BM_OCSP_SHA1, ret, NULL) == BM_OK;
}

void bm_staple_use(struct bm_staple *s, SSL_CTX *tls)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf request = { .max = BM_OCSP_REQUEST_MAX };
    bool ours = make_request(tls, &request);

    (void)event_del(s->timer);
    if (!ours || !bm_rd_eq(bm_buf_rd(&request), bm_buf_rd(&s->request)))
        s->answer.n = 0; /* it is about another certificate */
    bm_buf_done(&s->request);
    s->request = request;
    request = (struct bm_buf){ 0 };
    SSL_CTX_set_tlsext_status_cb(tls, give);
    SSL_CTX_set_tlsext_status_arg(tls, s);
    s->tell = true;
    if (ours)
        ask(s);
    else
        settle(s);
}

enum bm_rc bm_staple_new(struct event_base *base, struct bm_link *link, void (*settled)(void *arg), void *arg,
                         struct bm_staple **ret, struct bm_error *e)
{
    struct bm_staple *s = calloc(1, sizeof *s);

    if (s == NULL || (s->timer = event_new(base, -1, 0, on_timer, s)) == NULL) {
        free(s);
        return bm_fail(e, BM_NOMEM, "stapling: out of memory");
    }
    s->link = link;
    s->settled = settled;
    s->arg = arg;
    s->answer.max = BM_OCSP_RESPONSE_MAX;
    *ret = s;
    return BM_OK;
}

void bm_staple_free(struct bm_staple *s)
{
    if (s == NULL)
        return;
    event_free(s->timer);
    bm_buf_done(&s->request);
    bm_buf_done(&s->answer);
    free(s);
}
