/* One play device: its keys, its connections, what it asks for, and how it misbehaves when told to. */
#include "fleet.h"

#include <openssl/x509.h>
#include <time.h>
#include <unistd.h>

const char *const fleet_attack_names[ATTACKS] = {
    "none", "unknown-key", "clone", "wrong-batch", "replay", "stolen-cert", "forged-csr", "no-service",
};
const char *const fleet_outcome_names[FLEET_OUTCOMES] = { "onboarded", "refused", "error" };

enum { SLOT_ROOT, SLOT_LDEVID_A, SLOT_LDEVID_B, SLOT_THIEF };

struct who {
    struct bmd_signer root, ldevid; /* ldevid.rot is NULL until enrolled */
    uint8_t udid[BMD_UDID_LEN];
    uint32_t next_slot;
    X509 *cert; /* for TLS: self-signed over the root key, or the LDevID when renewing */
    EVP_PKEY *key;
    struct fleet_link link;
    bool renewing, thief;
};

uint64_t fleet_now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

int fleet_player_init(struct fleet_player *p)
{
    p->rot_ctx = calloc(1, fleet_soft.ctx_size);
    p->tls = fleet_tls_new(p->options->insecure ? NULL : p->options->anchors);
    if (p->rot_ctx == NULL || p->tls == NULL)
        return -1;
    return bmd_rot_open(&p->rot, &fleet_soft, p->rot_ctx, fleet_soft.ctx_size, "") == BMD_OK ? 0 : -1;
}

void fleet_player_done(struct fleet_player *p)
{
    fleet_link_close(&p->shared_link);
    bmd_rot_close(&p->rot);
    SSL_CTX_free(p->tls);
    free(p->rot_ctx);
}

/* --- who it is --------------------------------------------------------------------------------------------------------------------- */

static enum bmd_rc fresh_key(struct fleet_player *p, uint32_t slot, struct bmd_signer *ret)
{
    struct bmd_selector sel = bmd_selector_slot(slot);
    bmd_key k;
    enum bmd_rc rc = bmd_rot_key_generate(&p->rot, &sel, BMD_P256, BMD_USE_SIGN, BMD_GEN_REPLACE | BMD_GEN_VOLATILE, &k);

    return rc == BMD_OK ? bmd_signer_init(ret, &p->rot, &fleet_crypto, k, BMD_P256) : rc;
}

static enum bmd_rc root_key(struct fleet_player *p, struct fleet_record r, struct who *w)
{
    enum fleet_attack a = p->options->attack;
    enum bmd_rc rc;
    bmd_key k = 0;

    memcpy(w->udid, r.udid, BMD_UDID_LEN);
    if (a == ATTACK_UNKNOWN_KEY || a == ATTACK_CLONE)
        rc = fresh_key(p, SLOT_ROOT, &w->root);
    else
        rc = fleet_soft_put(&p->rot, SLOT_ROOT, r.scalar, r.point, &k);
    if (rc == BMD_OK && w->root.rot == NULL)
        rc = bmd_signer_init(&w->root, &p->rot, &fleet_crypto, k, BMD_P256);
    return rc == BMD_OK && a == ATTACK_UNKNOWN_KEY ? bmd_udid(&w->root, w->udid) : rc;
}

static bool take_tls_identity(struct fleet_player *p, struct who *w, const struct bmd_signer *s, struct bmd_rd cert)
{
    const uint8_t *der = cert.p;

    X509_free(w->cert);
    EVP_PKEY_free(w->key);
    w->cert = d2i_X509(NULL, &der, (long)cert.n);
    w->key = fleet_soft_tls_key(&p->rot, s->key);
    return w->cert != NULL && w->key != NULL;
}

static bool self_signed_identity(struct fleet_player *p, struct who *w)
{
    uint8_t room[BMD_IDEVID_MAX];
    char cn[2 * BMD_UDID_LEN + 1];
    struct bmd_rd cert;

    bmd_hex(w->udid, BMD_UDID_LEN, cn);
    return bmd_idevid_cert(&w->root, cn, room, sizeof room, &cert) == BMD_OK && take_tls_identity(p, w, &w->root, cert);
}

static bool who_init(struct fleet_player *p, struct fleet_record r, struct who *w)
{
    *w = (struct who){ .next_slot = SLOT_LDEVID_A };
    if (root_key(p, r, w) != BMD_OK)
        return false;
    return p->options->challenge || self_signed_identity(p, w);
}

static void who_done(struct who *w)
{
    fleet_link_close(&w->link);
    X509_free(w->cert);
    EVP_PKEY_free(w->key);
}

/* --- one exchange -------------------------------------------------------------------------------------------------------------------- */

static void failed(struct fleet_result *ret, const char *why)
{
    ret->outcome = FLEET_ERROR;
    snprintf(ret->code, sizeof ret->code, "%s", why);
}

static void keep_cert(struct fleet_result *ret, const struct bmd_client *c)
{
    struct bmd_rd cert =
        c->cfg.op == BMD_OP_ONBOARD_ENROL ? c->answer.enrolled.credentials[0].certificate : c->answer.certs.certs[0];

    ret->cert_len = cert.n <= sizeof ret->cert ? cert.n : 0;
    memcpy(ret->cert, cert.p, ret->cert_len);
}

static void judge(struct fleet_result *ret, const struct bmd_client *c)
{
    snprintf(ret->correlation, sizeof ret->correlation, "%s", c->http.correlation);
    ret->retry_after_s = c->http.retry_after_s;
    ret->code[0] = '\0';
    if (c->step == BMD_STEP_DONE) {
        ret->outcome = FLEET_ONBOARDED;
        keep_cert(ret, c);
    } else if (c->rc == BMD_REFUSED) {
        ret->outcome = FLEET_REFUSED;
        snprintf(ret->code, sizeof ret->code, c->http.code[0] != '\0' ? "%s" : "http-%.0s%u", c->http.code, c->http.status);
    } else {
        ret->outcome = FLEET_ERROR;
        snprintf(ret->code, sizeof ret->code, "answer: %s (http %u)", bmd_rc_name(c->rc), c->http.status);
    }
}

static struct fleet_link *link_of(struct fleet_player *p, struct who *w)
{
    return p->options->mode == FLEET_KEPT && p->options->challenge ? &p->shared_link : &w->link;
}

static bool connect_if_needed(struct fleet_player *p, struct who *w, struct fleet_link *l, struct fleet_result *ret)
{
    char why[96];
    bool with_cert = !p->options->challenge && !w->thief;

    if (l->ssl != NULL)
        return true;
    if (fleet_link_open(l, p->tls, p->server, with_cert ? w->cert : NULL, w->key, why) == 0)
        return true;
    failed(ret, why);
    return false;
}

static void after(struct fleet_player *p, struct fleet_link *l)
{
    const struct bmd_client *c = &p->client;
    bool answered = c->step == BMD_STEP_DONE || c->rc == BMD_REFUSED;

    if (p->options->mode != FLEET_KEPT || !answered || !c->http.keep_alive)
        fleet_link_close(l);
}

/* A kept connection may have been closed by the server in the meantime: once more on a new one. */
static void exchange(struct fleet_player *p, struct who *w, const struct bmd_client_config *cfg, struct fleet_result *ret)
{
    struct fleet_link *l = link_of(p, w);
    bool reused = l->ssl != NULL;

    for (;;) {
        enum bmd_rc rc = bmd_client_init(&p->client, cfg);

        if (rc != BMD_OK) {
            failed(ret, bmd_rc_name(rc));
            return;
        }
        if (!connect_if_needed(p, w, l, ret))
            return;
        fleet_link_drive(l, &p->client);
        if (!reused || p->client.rc != BMD_COMM)
            break;
        fleet_link_close(l);
        reused = false;
    }
    judge(ret, &p->client);
    if (p->options->attack == ATTACK_REPLAY && ret->outcome == FLEET_ONBOARDED && p->client.http.keep_alive) {
        p->client.step = BMD_STEP_SEND; /* the very same bytes */
        bmd_http_init(&p->client.http, p->rx, sizeof p->rx);
        fleet_link_drive(l, &p->client);
        judge(ret, &p->client);
    }
    after(p, l);
}

static void configure(struct fleet_player *p, const struct who *w, const struct fleet_result *last, struct bmd_client_config *g)
{
    const struct fleet_options *o = p->options;
    bool renewing = w->renewing || w->thief;

    *g = (struct bmd_client_config){
        .op = !o->est       ? BMD_OP_ONBOARD_ENROL
              : w->renewing ? BMD_OP_EST_REENROL
                            : BMD_OP_EST_ENROL,
        .host = p->server->authority,
        .label = o->service,
        .signed_challenge = o->challenge || w->thief,
        .close = o->mode != FLEET_KEPT && o->attack != ATTACK_REPLAY,
        .signer = renewing ? &w->ldevid : &w->root,
        .certificate = renewing ? bmd_rd_of(last->cert, last->cert_len) : bmd_rd_of(NULL, 0),
        .udid = bmd_rd_of(w->udid, BMD_UDID_LEN),
        .batch = bmd_rd_str(o->attack == ATTACK_WRONG_BATCH && o->batch == NULL ? "no-such-batch" : o->batch),
        .tx = p->tx,
        .rx = p->rx,
        .tx_cap = sizeof p->tx,
        .rx_cap = sizeof p->rx,
    };
    if (w->thief)
        g->op = BMD_OP_ONBOARD_ENROL;
}

/* RFC 7030 4.2.2: re-enrolment asks under the subject of the current certificate. */
static enum bmd_rc request_for(const struct who *w, const struct bmd_signer *key, const struct fleet_result *last,
                               uint8_t csr[BMD_CSR_MAX], struct bmd_rd *ret)
{
    struct bmd_cert cert;

    if (!w->renewing)
        return bmd_csr(key, "", csr, BMD_CSR_MAX, ret);
    if (bmd_cert_read(bmd_rd_of(last->cert, last->cert_len), &cert) != BMD_OK)
        return BMD_MALFORMED;
    return bmd_csr_as(key, cert.subject, csr, BMD_CSR_MAX, ret);
}

/* A new operational key, its request, the exchange; ends with the new key in w->ldevid. */
static void operate(struct fleet_player *p, struct who *w, struct fleet_result *ret)
{
    const char *service = p->options->attack == ATTACK_NO_SERVICE ? "no-such-service" : p->options->service;
    struct bmd_onboard_request request = { .service = bmd_rd_str(service) };
    struct bmd_client_config cfg;
    struct bmd_signer next;
    uint8_t csr[BMD_CSR_MAX];
    uint64_t began;

    if (fresh_key(p, w->next_slot, &next) != BMD_OK || request_for(w, &next, ret, csr, &request.csr) != BMD_OK) {
        failed(ret, "cannot make a request");
        return;
    }
    if (p->options->attack == ATTACK_FORGED_CSR)
        csr[sizeof csr - 1] ^= 1; /* the last byte of s */
    configure(p, w, ret, &cfg);
    if (p->options->attack == ATTACK_NO_SERVICE)
        cfg.label = service;
    cfg.requests = &request;
    cfg.n_requests = 1;
    began = fleet_now_us();
    exchange(p, w, &cfg, ret);
    ret->us = fleet_now_us() - began;
    if (ret->outcome != FLEET_ERROR && p->timed != NULL)
        p->timed(p->arg, ret->us);
    if (ret->outcome != FLEET_ONBOARDED)
        return;
    w->ldevid = next;
    w->next_slot = w->next_slot == SLOT_LDEVID_A ? SLOT_LDEVID_B : SLOT_LDEVID_A;
}

static void operate_stubbornly(struct fleet_player *p, struct who *w, struct fleet_result *ret)
{
    for (unsigned attempt = 0;; attempt++) {
        operate(p, w, ret);
        if (ret->outcome == FLEET_ONBOARDED || (ret->outcome == FLEET_REFUSED && ret->retry_after_s == 0) ||
            attempt == p->options->retries)
            return;
        usleep(ret->retry_after_s != 0 ? ret->retry_after_s * 1000000u : 200000u * (attempt < 10 ? attempt + 1 : 10));
    }
}

static void start_renewing(struct fleet_player *p, struct who *w, const struct fleet_result *ret, bool *ok)
{
    w->renewing = true;
    fleet_link_close(&w->link);
    if (!p->options->challenge)
        *ok = take_tls_identity(p, w, &w->ldevid, bmd_rd_of(ret->cert, ret->cert_len));
}

/* Has the certificate of an honest device, and only a key of its own. */
static void turn_thief(struct fleet_player *p, struct who *w, bool *ok)
{
    w->thief = true;
    fleet_link_close(&w->link);
    *ok = fresh_key(p, SLOT_THIEF, &w->ldevid) == BMD_OK;
}

void fleet_play(struct fleet_player *p, struct fleet_record r, struct fleet_result *ret)
{
    const struct fleet_options *o = p->options;
    unsigned rounds = o->repeat + (o->mode == FLEET_RENEW || o->attack == ATTACK_STOLEN_CERT);
    struct who w;
    bool ok = who_init(p, r, &w);

    memset(ret, 0, offsetof(struct fleet_result, cert));
    ret->cert_len = 0;
    memcpy(ret->udid, w.udid, BMD_UDID_LEN);
    for (unsigned i = 0; ok && i < rounds; i++) {
        if (i != 0 && o->attack == ATTACK_STOLEN_CERT)
            turn_thief(p, &w, &ok);
        else if (i != 0 && o->mode == FLEET_RENEW)
            start_renewing(p, &w, ret, &ok);
        if (!ok)
            break;
        operate_stubbornly(p, &w, ret);
        if (ret->outcome != FLEET_ONBOARDED)
            break;
    }
    if (!ok)
        failed(ret, "cannot make its keys");
    who_done(&w);
}
