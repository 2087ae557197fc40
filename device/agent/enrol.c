#include "agent.h"

#include <ctype.h>
#include <stdlib.h>
#include <unistd.h>

enum { TIMEOUT_MS = 60000, FIRST_SERVICE_SLOT = 2 };

/* What the device holds for a service now: EST renews with it (RFC 7030 4.2.2). */
struct holding {
    bool valid;
    struct bmd_signer key;
    struct bmd_rd cert;
    uint8_t der[4096];
};

/* Working memory of one enrolment: too large for a stack. */
struct enrolment {
    struct agent *a;
    struct agent_set set;
    struct agent_enrolment before;
    struct bmd_onboard_request requests[BMD_SERVICES_MAX];
    struct holding held[BMD_SERVICES_MAX];
    uint8_t csr[BMD_SERVICES_MAX][BMD_CSR_MAX];
    struct bmd_client client;
    char correlation[BMD_HTTP_CORRELATION_LEN];
    uint32_t retry_s;
    uint8_t tx[64 * 1024], rx[BMD_BODY_MAX * 2];
    uint8_t certs[BMD_SERVICES_MAX + 1][BMD_BODY_MAX]; /* EST: answers of one call each */
};

/* --- connection ---------------------------------------------------------------------------------------------------------------------- */

/* The roots learnt at the last enrolment count beside the configured ones, so that a root can be replaced in time. */
static const char *learnt_anchors(const struct agent_config *c, char path[PATH_MAX + 32])
{
    snprintf(path, PATH_MAX + 32, "%s/current/anchors.pem", c->out);
    return access(path, R_OK) == 0 ? path : NULL;
}

static struct bmd_tls *dial(struct agent *a, const struct bmd_signer *key, struct bmd_rd cert)
{
    char learnt[PATH_MAX + 32], why[128] = "";
    bool with_cert = !a->cfg.no_client_cert;
    struct bmd_tls_config cfg = {
        .host = a->cfg.host,
        .port = a->cfg.port,
        .anchors = { a->cfg.anchors[0] != '\0' ? a->cfg.anchors : NULL, learnt_anchors(&a->cfg, learnt) },
        .pin = a->cfg.has_pin ? a->cfg.pin : NULL,
        .signer = with_cert ? key : NULL,
        .cert = cert,
        .timeout_ms = TIMEOUT_MS,
    };
    struct bmd_tls *t = NULL;

    if (bmd_tls_open(&cfg, &t, why) != BMD_OK)
        agent_say("%s", why);
    return t;
}

static struct bmd_tls *dial_as_root(struct agent *a)
{
    return dial(a, &a->root, a->cert_der);
}

/* One exchange; says what went wrong. */
static enum agent_outcome exchange(struct enrolment *n, struct bmd_tls *t, const struct bmd_client_config *cfg)
{
    struct bmd_client *c = &n->client;

    if (bmd_client_init(c, cfg) == BMD_OK)
        bmd_tls_drive(t, c);
    n->retry_s = c->http.retry_after_s;
    snprintf(n->correlation, sizeof n->correlation, "%s", c->http.correlation);
    if (c->step == BMD_STEP_DONE)
        return AGENT_OK;
    if (c->rc != BMD_REFUSED) {
        agent_say("the exchange with %s failed: %s (HTTP %u)", n->a->cfg.authority, bmd_rc_name(c->rc), c->http.status);
        return AGENT_LATER;
    }
    agent_say("refused: %s (HTTP %u, correlation %s)", c->http.code[0] != '\0' ? c->http.code : "without a code", c->http.status,
              c->http.correlation[0] != '\0' ? c->http.correlation : "-");
    return c->http.status >= 500 || c->http.status == 429 || c->http.status == 202 || n->retry_s != 0 ? AGENT_LATER : AGENT_REFUSED;
}

static struct bmd_client_config base_config(struct enrolment *n, enum bmd_client_op op)
{
    return (struct bmd_client_config){
        .op = op,
        .host = n->a->cfg.authority,
        .label = "",
        .signed_challenge = n->a->cfg.no_client_cert,
        .signer = &n->a->root,
        .udid = bmd_rd_of(n->a->udid, BMD_UDID_LEN),
        .batch = bmd_rd_str(n->a->cfg.batch),
        .tx = n->tx,
        .rx = n->rx,
        .tx_cap = sizeof n->tx,
        .rx_cap = sizeof n->rx,
    };
}

/* --- keys and requests --------------------------------------------------------------------------------------------------------------- */

/* Two slots for each service: the one its key is not in. The old key stays whole until the new set is current. */
static uint32_t free_slot(const struct enrolment *n, size_t i)
{
    uint32_t even = FIRST_SERVICE_SLOT + 2 * (uint32_t)i;

    for (size_t k = 0; k < n->before.n_services; k++)
        if (n->before.services[k].slot == even)
            return even + 1;
    return even;
}

/* The first certificate of a PEM text, decoded into ret. */
static bool pem_to_der(const uint8_t *text, size_t n, struct holding *ret)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----", end[] = "-----END CERTIFICATE-----";
    const uint8_t *from = memmem(text, n, begin, sizeof begin - 1), *to;
    size_t len = 0;

    if (from == NULL)
        return false;
    from += sizeof begin - 1;
    to = memmem(from, n - (size_t)(from - text), end, sizeof end - 1);
    if (to == NULL || bmd_unbase64(bmd_rd_of(from, (size_t)(to - from)), ret->der, sizeof ret->der, &len) != BMD_OK)
        return false;
    ret->cert = bmd_rd_of(ret->der, len);
    return true;
}

/* Valid certificate and key of one service; anything amiss, and the service is enrolled afresh. */
static void find_held(struct enrolment *n, const struct agent_service *v, struct holding *ret)
{
    struct bmd_selector sel = bmd_selector_slot(v->slot);
    struct bmd_key_attributes attr;
    char path[PATH_MAX + BMD_NAME_MAX + 32];
    uint8_t text[8192];
    size_t len = 0;
    bmd_key k;

    snprintf(path, sizeof path, "%s/current/%s/cert.pem", n->a->cfg.out, v->name);
    if (v->not_after <= bmd_now() || bmd_file_read(path, text, sizeof text, &len) != BMD_OK || !pem_to_der(text, len, ret))
        return;
    ret->valid = bmd_rot_key_open(&n->a->rot, &sel, &k, &attr) == BMD_OK &&
                 bmd_signer_init(&ret->key, &n->a->rot, &bmd_crypto_psa, k, attr.alg) == BMD_OK;
}

static const char *est_name(const struct enrolment *n, size_t i)
{
    return n->a->cfg.services[i][0] != '\0' ? n->a->cfg.services[i] : "default";
}

static void find_all_held(struct enrolment *n)
{
    for (size_t i = 0; i < n->a->cfg.n_services; i++)
        for (size_t k = 0; k < n->before.n_services; k++)
            if (strcmp(n->before.services[k].name, est_name(n, i)) == 0)
                find_held(n, &n->before.services[k], &n->held[i]);
}

/* RFC 7030 4.2.2: a renewal asks under the subject it has. */
static enum bmd_rc write_request(struct enrolment *n, size_t i, const struct bmd_signer *key)
{
    struct bmd_cert cert;

    if (n->held[i].valid && bmd_cert_read(n->held[i].cert, &cert) == BMD_OK && cert.subject.n <= BMD_SUBJECT_MAX)
        return bmd_csr_as(key, cert.subject, n->csr[i], sizeof n->csr[i], &n->requests[i].csr);
    n->held[i].valid = false;
    return bmd_csr(key, "", n->csr[i], sizeof n->csr[i], &n->requests[i].csr);
}

static enum bmd_rc make_request(struct enrolment *n, size_t i)
{
    struct agent *a = n->a;
    struct agent_credential *c = &n->set.credentials[i];
    struct bmd_selector sel;
    bmd_key k;
    enum bmd_rc rc;

    c->service.slot = free_slot(n, i);
    sel = bmd_selector_slot(c->service.slot);
    rc = bmd_rot_key_generate(&a->rot, &sel, a->cfg.alg, BMD_USE_SIGN,
                              (uint8_t)(BMD_GEN_REPLACE | (a->cfg.key_file ? BMD_GEN_EXPORTABLE : 0)), &k);
    if (rc == BMD_OK)
        rc = bmd_signer_init(&c->key, &a->rot, &bmd_crypto_psa, k, a->cfg.alg);
    if (rc == BMD_OK)
        rc = write_request(n, i, &c->key);
    n->requests[i].service = bmd_rd_str(a->cfg.services[i]);
    return rc;
}

static bool make_requests(struct enrolment *n)
{
    if (n->a->cfg.est)
        find_all_held(n);
    for (size_t i = 0; i < n->a->cfg.n_services; i++) {
        enum bmd_rc rc = make_request(n, i);

        if (rc != BMD_OK) {
            agent_say("cannot make a key for service '%s': %s", n->a->cfg.services[i], bmd_rc_name(rc));
            return false;
        }
    }
    n->set.n = n->a->cfg.n_services;
    return true;
}

/* The server's word for a service becomes a directory: the same rule as for our own configuration. */
static bool take_name(char *to, struct bmd_rd name)
{
    bool ok = name.n != 0 && name.n <= BMD_NAME_MAX && isalnum(name.p[0]);

    for (size_t i = 0; ok && i < name.n; i++)
        ok = islower(name.p[i]) || isdigit(name.p[i]) || name.p[i] == '.' || name.p[i] == '_' || name.p[i] == '-';
    if (ok)
        memcpy(to, name.p, name.n);
    to[ok ? name.n : 0] = '\0';
    return ok;
}

static bool distinct(const struct agent_set *s)
{
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(s->credentials[i].service.name, s->credentials[k].service.name) == 0)
                return false;
    return true;
}

/* --- Onboard: everything in one exchange --------------------------------------------------------------------------------------------- */

static int64_t as_time(uint64_t v)
{
    return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

static bool take_onboard(struct enrolment *n)
{
    const struct bmd_enrolled *e = &n->client.answer.enrolled;

    for (size_t i = 0; i < n->set.n; i++) {
        struct agent_credential *c = &n->set.credentials[i];
        const struct bmd_credential *got = &e->credentials[i];

        if (!take_name(c->service.name, got->service) &&
            !(got->service.n == 0 && take_name(c->service.name, bmd_rd_str("default"))))
            return false;
        c->service.not_after = as_time(got->not_after);
        c->service.renew_after = as_time(got->renew_after);
        c->cert = got->certificate;
        memcpy(c->chain, got->chain, sizeof c->chain);
        c->n_chain = got->n_chain;
        memcpy(c->endpoints, got->endpoints, sizeof c->endpoints);
        c->n_endpoints = got->n_endpoints;
    }
    memcpy(n->set.anchors, e->anchors, sizeof n->set.anchors);
    n->set.n_anchors = e->n_anchors;
    return distinct(&n->set);
}

static enum agent_outcome enrol_onboard(struct enrolment *n, struct bmd_tls *t)
{
    struct bmd_client_config cfg = base_config(n, BMD_OP_ONBOARD_ENROL);
    enum agent_outcome out;

    cfg.requests = n->requests;
    cfg.n_requests = n->set.n;
    out = exchange(n, t, &cfg);
    if (out == AGENT_OK && !take_onboard(n)) {
        agent_say("the answer names services in a way that cannot be files");
        return AGENT_REFUSED;
    }
    return out;
}

/* --- EST: CA certificates first, then a call per service -------------------------------------------------------------------------------- */

static bool self_issued(struct bmd_rd der)
{
    struct bmd_cert c;

    return bmd_cert_read(der, &c) == BMD_OK && bmd_rd_eq(c.issuer, c.subject);
}

static enum agent_outcome est_cacerts(struct enrolment *n, struct bmd_tls *t, struct bmd_est_certs *ret_intermediates)
{
    struct bmd_client_config cfg = base_config(n, BMD_OP_EST_CACERTS);
    enum agent_outcome out;

    cfg.signed_challenge = false;
    cfg.rx = n->certs[BMD_SERVICES_MAX];
    cfg.rx_cap = sizeof n->certs[0];
    out = exchange(n, t, &cfg);
    if (out != AGENT_OK)
        return out;
    ret_intermediates->n = 0;
    for (size_t i = 0; i < n->client.answer.certs.n; i++) {
        struct bmd_rd der = n->client.answer.certs.certs[i];

        if (self_issued(der) && n->set.n_anchors < BMD_ANCHORS_MAX)
            n->set.anchors[n->set.n_anchors++] = der;
        else if (!self_issued(der))
            ret_intermediates->certs[ret_intermediates->n++] = der;
    }
    return AGENT_OK;
}

/* Follows issuer names from the certificate upwards, among what cacerts gave. */
static void est_chain(struct agent_credential *c, const struct bmd_est_certs *from)
{
    struct bmd_cert below, above;

    if (bmd_cert_read(c->cert, &below) != BMD_OK)
        return;
    for (size_t i = 0; i < from->n && c->n_chain < BMD_CHAIN_MAX; i++) {
        if (bmd_cert_read(from->certs[i], &above) != BMD_OK || !bmd_rd_eq(above.subject, below.issuer))
            continue;
        c->chain[c->n_chain++] = from->certs[i];
        below = above;
        i = (size_t)-1; /* from the start for the next one up; BMD_CHAIN_MAX ends loops */
    }
}

static enum agent_outcome est_call(struct enrolment *n, struct bmd_tls *t, size_t i, enum bmd_client_op op)
{
    struct bmd_client_config cfg = base_config(n, op);

    cfg.label = n->a->cfg.services[i];
    cfg.requests = &n->requests[i];
    cfg.n_requests = 1;
    cfg.rx = n->certs[i];
    cfg.rx_cap = sizeof n->certs[i];
    return exchange(n, t, &cfg);
}

/* With the certificate at hand, on a connection of its own; refused, the root key may still do. */
static enum agent_outcome est_renew(struct enrolment *n, size_t i)
{
    struct bmd_tls *t = n->held[i].valid ? dial(n->a, &n->held[i].key, n->held[i].cert) : NULL;
    enum agent_outcome out = t != NULL ? est_call(n, t, i, BMD_OP_EST_REENROL) : AGENT_REFUSED;

    bmd_tls_close(t);
    return out;
}

static enum agent_outcome est_service(struct enrolment *n, struct bmd_tls *t, size_t i, const struct bmd_est_certs *intermediates)
{
    struct agent_credential *c = &n->set.credentials[i];
    struct bmd_cert cert;
    int64_t from;
    enum agent_outcome out = est_renew(n, i);

    if (out == AGENT_REFUSED)
        out = est_call(n, t, i, BMD_OP_EST_ENROL);
    if (out != AGENT_OK)
        return out;
    c->cert = n->client.answer.certs.certs[0];
    if (bmd_cert_read(c->cert, &cert) != BMD_OK)
        return AGENT_LATER;
    snprintf(c->service.name, sizeof c->service.name, "%s", est_name(n, i));
    c->service.not_after = cert.not_after;
    /* EST says nothing: at two thirds, not counting by how much it is backdated. */
    from = cert.not_before > bmd_now() ? cert.not_before : bmd_now();
    c->service.renew_after = cert.not_after - (cert.not_after - from) / 3;
    est_chain(c, intermediates);
    return AGENT_OK;
}

static enum agent_outcome enrol_est(struct enrolment *n, struct bmd_tls *t)
{
    struct bmd_est_certs intermediates;
    enum agent_outcome out = est_cacerts(n, t, &intermediates);

    for (size_t i = 0; out == AGENT_OK && i < n->set.n; i++)
        out = est_service(n, t, i, &intermediates);
    return out;
}

/* --- both ---------------------------------------------------------------------------------------------------------------------------- */

static enum agent_outcome enrol_with(struct enrolment *n)
{
    struct bmd_tls *t;
    enum agent_outcome out;

    if (!make_requests(n))
        return AGENT_LATER;
    t = dial_as_root(n->a);
    if (t == NULL)
        return AGENT_LATER;
    out = n->a->cfg.est ? enrol_est(n, t) : enrol_onboard(n, t);
    bmd_tls_close(t);
    n->set.correlation = n->correlation;
    if (out == AGENT_OK && agent_set_write(n->a, &n->set) != 0)
        return AGENT_LATER;
    return out;
}

enum agent_outcome agent_enrol(struct agent *a, uint32_t *ret_retry_s)
{
    struct enrolment *n = calloc(1, sizeof *n);
    enum agent_outcome out = AGENT_LATER;

    *ret_retry_s = 0;
    if (n == NULL)
        return out;
    n->a = a;
    (void)agent_enrolment_read(&a->cfg, &n->before); /* none: all slots are free */
    out = enrol_with(n);
    *ret_retry_s = n->retry_s;
    if (out == AGENT_OK)
        agent_say("enrolled for %zu service%s (correlation %s)", n->set.n, n->set.n == 1 ? "" : "s",
                  n->correlation[0] != '\0' ? n->correlation : "-");
    free(n);
    return out;
}

int agent_status_ask(struct agent *a)
{
    struct enrolment *n = calloc(1, sizeof *n);
    struct bmd_tls *t = n != NULL ? dial_as_root(a) : NULL;
    int rc = -1;

    if (t != NULL) {
        const struct bmd_status *s = &n->client.answer.status;
        struct bmd_client_config cfg;

        n->a = a;
        cfg = base_config(n, BMD_OP_ONBOARD_STATUS);
        if (exchange(n, t, &cfg) == AGENT_OK) {
            printf("server   %.*s (device %.*s)\n", (int)s->status.n, (const char *)s->status.p, (int)s->state.n,
                   (const char *)s->state.p);
            rc = 0;
        }
    }
    bmd_tls_close(t);
    free(n);
    return rc;
}
