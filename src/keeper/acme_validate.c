/* http-01, dns-01 (RFC 8555 sections 8.3 and 8.4) and tls-alpn-01 (RFC 8737): the courier asks, and what it brings decides the challenge. The
 * subject of such an errand is the challenge's number, as in its address. */
#include "keeper/acme.h"
#include "keeper/errand.h"

#include "base/text.h"
#include "pki/acme_alpn.h"

#include <arpa/inet.h>
#include <stdio.h>

enum { TIMEOUT_MS = 10000, ANSWER_MAX = 4096, URL_MAX = 512 };

/* The challenge that an errand is about. */
struct validating {
    struct bm_acme_work w;
    int64_t at[3];
    const char *name, *token, *authorization; /* name: without the asterisk of a wildcard */
};

static void validating_done(struct validating *v)
{
    bm_acme_work_done(&v->w);
}

static bool status_is(const json_t *of, const char *status)
{
    const char *s = json_string_value(json_object_get(of, "status"));

    return s != NULL && strcmp(s, status) == 0;
}

/* One that is gone is nobody's business any more, and neither is one whose authorization another challenge has decided since. */
static enum bm_rc find(struct bm_keeper *k, const char *subject, int64_t now, struct validating *ret, struct bm_error *e)
{
    const json_t *c;
    enum bm_rc rc = bm_acme_numbers(bm_rd_str(subject), ret->at, 3, e);

    if (rc == BM_OK)
        rc = bm_acme_work_open(k, ret->at[0], now, &ret->w, e);
    if (rc != BM_OK)
        return rc;
    c = bm_acme_challenge(&ret->w, ret->at[1], ret->at[2]);
    ret->token = json_string_value(json_object_get(c, "token"));
    ret->authorization = json_string_value(json_object_get(c, "auth"));
    if (!status_is(c, "processing") || !status_is(bm_acme_authz(&ret->w, ret->at[1]), "pending") || ret->authorization == NULL ||
        !bm_acme_work_is(&ret->w, "pending"))
        return bm_acme_not_found(e);
    ret->name = bm_acme_identifier_of(&ret->w, ret->at[1]).value;
    ret->name += strncmp(ret->name, "*.", 2) == 0 ? 2 : 0;
    return BM_OK;
}

enum bm_rc bm_acme_validated(struct bm_keeper *k, const char *challenge, const struct bm_error *problem, int64_t now,
                             struct bm_error *e)
{
    BM_CLEANUP(validating_done) struct validating v = { 0 };
    enum bm_rc rc = find(k, challenge, now, &v, e);

    if (rc == BM_NOTFOUND)
        return BM_OK;
    if (rc != BM_OK)
        return rc;
    bm_acme_settle(&v.w, v.at[1], v.at[2], problem, "", now);
    return bm_acme_work_save(k, &v.w, e);
}

/* --- what all three have in common -------------------------------------------------------------------------------------------------------- */
static enum bm_rc failed(struct bm_keeper *k, const struct bm_errand *x, const struct bm_error *why, int64_t now,
                         struct bm_error *e)
{
    return bm_acme_validated(k, x->subject, why, now, e);
}

static enum bm_rc put_task(const struct bm_task *t, struct bm_buf *out, struct bm_error *e)
{
    bm_task_write(out, t);
    return bm_buf_check(out, e);
}

static enum bm_rc incorrect(struct bm_error *e, enum bm_rc rc, const char *what)
{
    return bm_refuse(e, rc, "acme-incorrect", "%s", what);
}

/* --- http-01 -------------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc http_task(struct bm_keeper *k, const struct bm_errand *x, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(validating_done) struct validating v = { 0 };
    unsigned port = k->options.acme_http_port;
    char url[URL_MAX], at[16] = "";
    bool v6;
    enum bm_rc rc = find(k, x->subject, now, &v, e);

    if (rc != BM_OK)
        return rc;
    v6 = strchr(v.name, ':') != NULL;
    if (port != 0 && port != 80)
        snprintf(at, sizeof at, ":%u", port);
    snprintf(url, sizeof url, "http://%s%s%s%s/.well-known/acme-challenge/%s", v6 ? "[" : "", v.name, v6 ? "]" : "", at, v.token);
    return put_task(&(struct bm_task){ .kind = BM_TASK_HTTP,
                                       .timeout_ms = TIMEOUT_MS,
                                       .foreign = true,
                                       .method = bm_rd_str("GET"),
                                       .url = bm_rd_str(url),
                                       .redirects = BM_TASK_REDIRECTS_MAX,
                                       .answer_max = ANSWER_MAX,
                                       .unverified = true },
                    out, e);
}

/* Section 8.3: whitespace at the end is passed over. */
static enum bm_rc http_done(struct bm_keeper *k, const struct bm_errand *x, const struct bm_task_answer *a, int64_t now,
                            struct bm_errand_outcome *ret, struct bm_error *e)
{
    BM_CLEANUP(validating_done) struct validating v = { 0 };
    struct bm_rd body = a->body;
    enum bm_rc rc = find(k, x->subject, now, &v, e);

    (void)ret;
    if (rc != BM_OK)
        return rc;
    while (body.n != 0 && memchr(" \t\r\n", body.p[body.n - 1], 4) != NULL)
        body.n--;
    if (a->status != 200)
        return bm_refuse(e, BM_DENIED, "acme-incorrect", "http-01: the answer's status is %u, not 200", a->status);
    if (!bm_rd_eq(body, bm_rd_str(v.authorization)))
        return incorrect(e, BM_DENIED, "http-01: what is there is not this challenge's key authorization");
    return bm_acme_validated(k, x->subject, NULL, now, e);
}

/* --- dns-01 ---------------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc dns_task(struct bm_keeper *k, const struct bm_errand *x, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(validating_done) struct validating v = { 0 };
    char host[URL_MAX];
    enum bm_rc rc = find(k, x->subject, now, &v, e);

    if (rc != BM_OK)
        return rc;
    snprintf(host, sizeof host, "_acme-challenge.%s", v.name);
    return put_task(
        &(struct bm_task){ .kind = BM_TASK_DNS_TXT, .timeout_ms = TIMEOUT_MS, .foreign = true, .host = bm_rd_str(host) }, out, e);
}

/* Records take their time to arrive, so a wrong one is asked for again. */
static enum bm_rc dns_done(struct bm_keeper *k, const struct bm_errand *x, const struct bm_task_answer *a, int64_t now,
                           struct bm_errand_outcome *ret, struct bm_error *e)
{
    BM_CLEANUP(validating_done) struct validating v = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf want = { .max = 64 };
    uint8_t digest[32];
    enum bm_rc rc = find(k, x->subject, now, &v, e);

    (void)ret;
    if (rc != BM_OK)
        return rc;
    bm_udid_of(bm_rd_str(v.authorization), digest); /* SHA-256 all the same */
    bm_base64url(&want, bm_rd_of(digest, sizeof digest));
    for (size_t i = 0; i < a->n_texts; i++)
        if (bm_rd_eq(a->texts[i], bm_buf_rd(&want)))
            return bm_acme_validated(k, x->subject, NULL, now, e);
    return incorrect(e, BM_AGAIN, "dns-01: no TXT record at _acme-challenge has this challenge's digest");
}

/* --- tls-alpn-01 ------------------------------------------------------------------------------------------------------------------------------ */
/* RFC 8738 section 6: of an address its name in reverse. */
static void sni_of(const char *name, char *ret, size_t room)
{
    uint8_t raw[16];
    struct bm_wr w = bm_wr_of(ret, room - 1);
    char part[8];

    if (inet_pton(AF_INET, name, raw) == 1) {
        snprintf(ret, room, "%u.%u.%u.%u.in-addr.arpa", raw[3], raw[2], raw[1], raw[0]);
        return;
    }
    if (inet_pton(AF_INET6, name, raw) != 1) {
        snprintf(ret, room, "%s", name);
        return;
    }
    for (int i = 15; i >= 0; i--) {
        snprintf(part, sizeof part, "%x.%x.", raw[i] & 15U, raw[i] >> 4U);
        bm_wr_str(&w, part);
    }
    bm_wr_str(&w, "ip6.arpa");
    ret[w.n] = '\0';
}

static enum bm_rc tls_task(struct bm_keeper *k, const struct bm_errand *x, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(validating_done) struct validating v = { 0 };
    char sni[URL_MAX];
    enum bm_rc rc = find(k, x->subject, now, &v, e);

    if (rc != BM_OK)
        return rc;
    sni_of(v.name, sni, sizeof sni);
    return put_task(&(struct bm_task){ .kind = BM_TASK_TLS,
                                       .timeout_ms = TIMEOUT_MS,
                                       .foreign = true,
                                       .host = bm_rd_str(v.name),
                                       .port = (uint16_t)(k->options.acme_tls_port != 0 ? k->options.acme_tls_port : 443),
                                       .sni = bm_rd_str(sni),
                                       .alpn = bm_rd_str("acme-tls/1") },
                    out, e);
}

static enum bm_rc tls_done(struct bm_keeper *k, const struct bm_errand *x, const struct bm_task_answer *a, int64_t now,
                           struct bm_errand_outcome *ret, struct bm_error *e)
{
    BM_CLEANUP(validating_done) struct validating v = { 0 };
    enum bm_rc rc = find(k, x->subject, now, &v, e);

    (void)ret;
    if (rc == BM_OK && !bm_rd_eq(a->alpn, bm_rd_str("acme-tls/1")))
        rc = incorrect(e, BM_DENIED, "tls-alpn-01: the server there does not speak acme-tls/1");
    if (rc == BM_OK)
        rc = bm_acme_alpn_check(a->cert, v.name, bm_rd_str(v.authorization), e);
    return rc == BM_OK ? bm_acme_validated(k, x->subject, NULL, now, e) : rc;
}

/* Two minutes in all, so that a client that polls hears before it gives up. */
const struct bm_errand_kind bm_errand_acme_http = { "acme-http-01", 4, 2, 15, 120, 60, http_task, http_done, failed };
const struct bm_errand_kind bm_errand_acme_dns = { "acme-dns-01", 8, 2, 15, 120, 60, dns_task, dns_done, failed };
const struct bm_errand_kind bm_errand_acme_tls = { "acme-tls-alpn-01", 4, 2, 15, 120, 60, tls_task, tls_done, failed };

enum bm_rc bm_acme_validate(struct bm_acme *a, const struct bm_acme_work *w, int64_t i, int64_t c, struct bm_error *e)
{
    BM_CLEANUP(bm_errand_row_done) struct bm_errand x = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 128 };
    json_t *challenge = bm_acme_challenge(w, i, c);

    snprintf(x.kind, sizeof x.kind, "acme-%s", json_string_value(json_object_get(challenge, "type")));
    snprintf(x.subject, sizeof x.subject, "%lld-%lld-%lld", (long long)w->row.id, (long long)i, (long long)c);
    bm_acme_key_authorization(json_string_value(json_object_get(challenge, "token")), a->thumbprint, &text);
    json_object_set_new(challenge, "auth", json_stringn((const char *)text.p, text.n));
    json_object_set_new(challenge, "status", json_string("processing"));
    return bm_errand_add(a->k, &x, a->now, e);
}
