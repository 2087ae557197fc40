#include "client.h"

#define HEAD_ROOM 768 /* request line and header fields, over BMD_HTTP_HOST_MAX + BMD_HTTP_PATH_MAX + our own words */

struct op_row {
    bool onboard;
    enum bmd_onboard_op code; /* Onboard */
    enum bmd_est_op est;
    enum bmd_rc (*read)(struct bmd_client *c, struct bmd_rd body);
};

static enum bmd_rc read_enrolled(struct bmd_client *c, struct bmd_rd body);
static enum bmd_rc read_status(struct bmd_client *c, struct bmd_rd body);
static enum bmd_rc read_own_cert(struct bmd_client *c, struct bmd_rd body);
static enum bmd_rc read_cacerts(struct bmd_client *c, struct bmd_rd body);

static const struct op_row ops[BMD_CLIENT_OPS] = {
    { true, BMD_ONBOARD_ENROL, BMD_EST_OPS, read_enrolled },
    { true, BMD_ONBOARD_STATUS, BMD_EST_OPS, read_status },
    { false, BMD_ONBOARD_CHALLENGE, BMD_EST_ENROL, read_own_cert },
    { false, BMD_ONBOARD_CHALLENGE, BMD_EST_REENROL, read_own_cert },
    { false, BMD_ONBOARD_CHALLENGE, BMD_EST_CACERTS, read_cacerts },
};

/* Puts the head in front of a body that stands at tx + HEAD_ROOM, and closes the gap. */
static enum bmd_rc finish_request(struct bmd_client *c, struct bmd_http_request *q, const struct bmd_wr *body)
{
    struct bmd_wr head = bmd_wr_of(c->cfg.tx, HEAD_ROOM);

    q->host = c->cfg.host;
    q->close = c->cfg.close && !c->challenging;
    q->body_len = body->n;
    bmd_http_write(&head, q);
    if (head.bad || body->bad)
        return BMD_BUFFER_TOO_SMALL;
    memmove(c->cfg.tx + head.n, body->p, body->n);
    c->tx_len = head.n + body->n;
    return BMD_OK;
}

static struct bmd_wr body_room(struct bmd_client *c)
{
    return bmd_wr_of(c->cfg.tx + HEAD_ROOM, c->cfg.tx_cap - HEAD_ROOM);
}

/* The signed bytes are built where the body will stand, and gone once signed. */
static enum bmd_rc prove(struct bmd_client *c, enum bmd_onboard_op op, struct bmd_onboard *m, uint8_t sig[BMD_SIG_RAW_MAX])
{
    struct bmd_wr tbs = body_room(c);
    size_t n = 0;
    enum bmd_rc rc;

    m->challenge = bmd_rd_of(c->challenge, sizeof c->challenge);
    m->certificate = c->cfg.certificate;
    bmd_onboard_tbs(&tbs, op, m);
    if (tbs.bad)
        return BMD_BUFFER_TOO_SMALL;
    rc = bmd_signer_sign(c->cfg.signer, bmd_wr_rd(&tbs), sig, &n);
    m->signature = bmd_rd_of(sig, n);
    return rc;
}

static enum bmd_rc write_onboard(struct bmd_client *c)
{
    enum bmd_onboard_op op = c->challenging ? BMD_ONBOARD_CHALLENGE : ops[c->cfg.op].code;
    const struct bmd_signer *s = c->cfg.signer;
    struct bmd_http_request q;
    struct bmd_onboard m;
    uint8_t spki[BMD_SPKI_MAX], sig[BMD_SIG_RAW_MAX];
    struct bmd_wr body = body_room(c);
    enum bmd_rc rc = BMD_OK;

    memset(&m, 0, sizeof m);
    m.udid = c->cfg.udid;
    m.batch = c->cfg.batch;
    m.requests = c->cfg.requests;
    m.n_requests = op == BMD_ONBOARD_ENROL ? c->cfg.n_requests : 0;
    if (c->cfg.signed_challenge && !c->challenging) {
        if (c->cfg.certificate.n == 0) {
            rc = bmd_spki(s->alg, bmd_rd_of(s->point, s->point_len), spki, sizeof spki, &m.key.n);
            m.key.p = spki;
        }
        if (rc == BMD_OK)
            rc = prove(c, op, &m, sig);
        if (rc != BMD_OK)
            return rc;
    }
    bmd_onboard_write(&body, op, &m);
    memset(&q, 0, sizeof q);
    q.method = "POST";
    q.path = bmd_onboard_path(op);
    q.content_type = q.accept = "application/cbor";
    return finish_request(c, &q, &body);
}

static enum bmd_rc write_est(struct bmd_client *c)
{
    enum bmd_est_op op = ops[c->cfg.op].est;
    char path[BMD_HTTP_PATH_MAX];
    struct bmd_http_request q;
    struct bmd_wr body = body_room(c);
    enum bmd_rc rc = bmd_est_path(op, c->cfg.label != NULL ? c->cfg.label : "", path);

    if (rc != BMD_OK)
        return rc;
    memset(&q, 0, sizeof q);
    q.path = path;
    q.method = op == BMD_EST_CACERTS ? "GET" : "POST";
    q.accept = "application/pkcs7-mime";
    if (op != BMD_EST_CACERTS) {
        bmd_base64(&body, c->cfg.requests[0].csr);
        q.content_type = "application/pkcs10";
        q.content_encoding = "base64";
    }
    return finish_request(c, &q, &body);
}

static enum bmd_rc begin(struct bmd_client *c)
{
    enum bmd_rc rc = ops[c->cfg.op].onboard ? write_onboard(c) : write_est(c);

    bmd_http_init(&c->http, c->cfg.rx, c->cfg.rx_cap);
    c->step = rc == BMD_OK ? BMD_STEP_SEND : BMD_STEP_FAILED;
    c->rc = rc;
    return rc;
}

static bool config_ok(const struct bmd_client_config *g)
{
    bool enrols = g->op == BMD_OP_ONBOARD_ENROL || g->op == BMD_OP_EST_ENROL || g->op == BMD_OP_EST_REENROL;

    if ((unsigned)g->op >= BMD_CLIENT_OPS || g->host == NULL || g->tx == NULL || g->rx == NULL || g->tx_cap <= HEAD_ROOM)
        return false;
    if (ops[g->op].onboard && (g->udid.n != BMD_UDID_LEN || g->batch.n > BMD_NAME_MAX))
        return false;
    if (g->signed_challenge && (!ops[g->op].onboard || g->signer == NULL))
        return false;
    return !enrols || (g->requests != NULL && g->n_requests != 0 && g->n_requests <= BMD_SERVICES_MAX);
}

enum bmd_rc bmd_client_init(struct bmd_client *c, const struct bmd_client_config *cfg)
{
    memset(c, 0, sizeof *c);
    c->step = BMD_STEP_FAILED;
    c->rc = BMD_BAD_ARGUMENT;
    if (!config_ok(cfg))
        return BMD_BAD_ARGUMENT;
    c->cfg = *cfg;
    c->challenging = cfg->signed_challenge;
    return begin(c);
}

struct bmd_rd bmd_client_output(const struct bmd_client *c)
{
    return bmd_rd_of(c->cfg.tx, c->step == BMD_STEP_SEND ? c->tx_len : 0);
}

void bmd_client_sent(struct bmd_client *c)
{
    if (c->step == BMD_STEP_SEND)
        c->step = BMD_STEP_RECV;
}

/* A certificate over another key than the one asked for is no answer to us. */
static enum bmd_rc same_key(struct bmd_rd cert_der, struct bmd_rd csr)
{
    struct bmd_cert cert;
    struct bmd_rd spki;

    if (bmd_cert_read(cert_der, &cert) != BMD_OK || bmd_csr_spki(csr, &spki) != BMD_OK)
        return BMD_MALFORMED;
    return bmd_rd_eq(cert.spki, spki) ? BMD_OK : BMD_INTEGRITY;
}

static enum bmd_rc read_enrolled(struct bmd_client *c, struct bmd_rd body)
{
    struct bmd_enrolled *e = &c->answer.enrolled;
    enum bmd_rc rc = bmd_enrolled_read(body, e);
    size_t i;

    if (rc != BMD_OK)
        return rc;
    if (e->n_credentials != c->cfg.n_requests || memcmp(e->udid, c->cfg.udid.p, BMD_UDID_LEN) != 0)
        return BMD_INTEGRITY;
    for (i = 0; i < e->n_credentials && rc == BMD_OK; i++)
        rc = same_key(e->credentials[i].certificate, c->cfg.requests[i].csr);
    return rc;
}

static enum bmd_rc read_status(struct bmd_client *c, struct bmd_rd body)
{
    return bmd_status_read(body, &c->answer.status);
}

static enum bmd_rc read_cacerts(struct bmd_client *c, struct bmd_rd body)
{
    size_t n = 0;
    enum bmd_rc rc;

    if (body.n != 0 && body.p[0] == BMD_DER_SEQUENCE) /* some servers send the DER itself */
        return bmd_est_certs_read(body, &c->answer.certs);
    rc = bmd_unbase64(body, c->cfg.rx, c->cfg.rx_cap, &n); /* in place: shrinks */
    return rc == BMD_OK ? bmd_est_certs_read(bmd_rd_of(c->cfg.rx, n), &c->answer.certs) : rc;
}

static enum bmd_rc read_own_cert(struct bmd_client *c, struct bmd_rd body)
{
    struct bmd_rd spki;
    enum bmd_rc rc = read_cacerts(c, body);

    if (rc == BMD_OK)
        rc = bmd_csr_spki(c->cfg.requests[0].csr, &spki);
    return rc == BMD_OK ? bmd_est_own_first(&c->answer.certs, spki) : rc;
}

/* What the problem document adds to the header fields. */
static enum bmd_rc refused(struct bmd_client *c, struct bmd_rd body)
{
    struct bmd_problem p;

    if (c->http.media == BMD_MEDIA_CBOR && bmd_problem_read(body, &p) == BMD_OK && c->http.retry_after_s == 0)
        c->http.retry_after_s = p.retry_after > UINT32_MAX ? 0 : (uint32_t)p.retry_after;
    return BMD_REFUSED;
}

static enum bmd_rc take_challenge(struct bmd_client *c, struct bmd_rd body)
{
    struct bmd_challenge ch;
    enum bmd_rc rc = bmd_challenge_read(body, &ch);

    if (rc != BMD_OK)
        return rc;
    memcpy(c->challenge, ch.challenge.p, sizeof c->challenge);
    c->challenging = false;
    return begin(c);
}

/* RFC 7030 4.2.3: 202 means come back later, with Retry-After. */
static enum bmd_rc answered(struct bmd_client *c)
{
    struct bmd_rd body = bmd_rd_of(c->http.body, c->http.body_len);
    enum bmd_rc rc;

    if (c->http.status != 200)
        return refused(c, body);
    if (c->challenging)
        return c->http.keep_alive ? take_challenge(c, body) : BMD_COMM;
    rc = ops[c->cfg.op].read(c, body);
    if (rc == BMD_OK)
        c->step = BMD_STEP_DONE;
    return rc;
}

enum bmd_step bmd_client_input(struct bmd_client *c, const uint8_t *p, size_t n)
{
    if (c->step != BMD_STEP_RECV)
        return c->step;
    c->step = BMD_STEP_FAILED; /* any early way out ends the exchange */
    c->rc = bmd_http_feed(&c->http, p, n);
    if (c->rc == BMD_BUSY)
        c->step = BMD_STEP_RECV;
    else if (c->rc == BMD_OK)
        c->rc = answered(c);
    return c->step;
}
