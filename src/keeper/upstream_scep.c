/* An upstream CA over SCEP, RFC 8894: the device's own PKCS#10 in a PKCSReq that we sign as registration authority. */
#include "keeper/upstream_ra.h"
#include "pki/ber.h"
#include "pki/cms_read.h"
#include "pki/der.h"
#include "pki/scep.h"

#include "base/text.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

#define IDENT "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
enum {
    TIMEOUT_MS = 30000,
    POLL_S = 60, /* RFC 8894 says nothing of how often to ask; option "poll" does */
    POLL_MAX_S = 86400,
    NONCE_LEN = 16,
    IDENT_LEN = 65,
};

/* --- the state ------------------------------------------------------------------------------------------------------------------------ */
/* CAPS --> CERTS --> ASK --> done, or PENDING --> POLL, again and again. All may be repeated: transactionID and nonce stay the same. */
enum step { CAPS = 1, CERTS, ASK, POLL };

/* Nothing secret. All borrow. */
struct state {
    uint8_t step;
    uint8_t by_get;                 /* PKIOperation by GET: the server knows no POST */
    struct bm_rd tid, nonce;        /* text; of our last message */
    struct bm_rd issuer;            /* the certificate of the CA that is asked */
    struct bm_rd recipient, signer; /* certificates: for whom messages are sealed, who signs answers; empty before CERTS */
};

static void write_state(struct bm_buf *out, const struct state *s)
{
    const struct bm_rd parts[] = { s->tid, s->nonce, s->issuer, s->recipient, s->signer };

    bm_buf_uint(out, 1, s->step);
    bm_buf_uint(out, 1, s->by_get);
    for (size_t i = 0; i < BM_COUNT(parts); i++)
        bm_buf_vec(out, parts[i]);
}

static enum bm_rc read_state(struct bm_rd in, struct state *ret, struct bm_error *e)
{
    struct state s = { 0 };
    struct bm_rd *const parts[] = { &s.tid, &s.nonce, &s.issuer, &s.recipient, &s.signer };
    bool ok = bm_rd_u8(&in, &s.step) && bm_rd_u8(&in, &s.by_get) && s.step >= CAPS && s.step <= POLL;

    for (size_t i = 0; ok && i < BM_COUNT(parts); i++)
        ok = bm_rd_vec(&in, BM_CERT_MAX, parts[i]);
    if (!ok || in.n != 0)
        return bm_fail(e, BM_BUG, "the state of a SCEP transaction is damaged");
    *ret = s;
    return BM_OK;
}

static enum bm_rc next_step(struct state s, enum step step, struct bm_buf *ret, struct bm_error *e)
{
    uint8_t nonce[NONCE_LEN];

    if (RAND_bytes(nonce, sizeof nonce) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    s.step = (uint8_t)step;
    s.nonce = bm_rd_of(nonce, sizeof nonce);
    write_state(ret, &s);
    return bm_buf_check(ret, e);
}

static enum bm_rc scep_start(struct bm_keeper *k, const struct bm_plan *p, const struct bm_order *o, struct bm_buf *ret_state,
                             struct bm_error *e)
{
    uint8_t id[16];
    char text[2 * sizeof id + 1];

    (void)k;
    (void)o;
    if (RAND_bytes(id, sizeof id) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    bm_hex(id, sizeof id, text);
    return next_step((struct state){ .tid = bm_rd_str(text), .issuer = p->line->issuer->cert.whole }, CAPS, ret_state, e);
}

/* --- a question ----------------------------------------------------------------------------------------------------------------------- */
/* What is sealed: the request as the device signed it, or what we wait for (section 3.3.3). */
static enum bm_rc make_content(const struct bm_upstream_job *j, const struct state *s, struct bm_buf *ret, struct bm_error *e)
{
    struct bm_cert issuer;
    struct bm_csr csr;
    enum bm_rc rc = BM_OK;

    if (s->step == ASK) {
        bm_buf_put(ret, j->csr.p, j->csr.n);
        return bm_buf_check(ret, e);
    }
    rc = bm_cert_parse(s->issuer, &issuer, e);
    if (rc == BM_OK)
        rc = bm_csr_parse(j->csr, &csr, e);
    return rc == BM_OK ? bm_scep_put_issuer_and_subject(issuer.subject, csr.subject, ret, e) : rc;
}

static enum bm_rc open_rsa(const struct bm_cert *c, EVP_PKEY **ret, struct bm_error *e)
{
    struct bm_spki spki;
    enum bm_rc rc = bm_spki_parse(c->spki, &spki, e);

    if (rc == BM_OK && strcmp(spki.alg, "RSA") != 0)
        rc = bm_fail(e, BM_DENIED, "SCEP wants RSA keys");
    return rc == BM_OK ? bm_spki_open(&spki, ret, e) : rc;
}

static enum bm_rc seal(const struct bm_upstream_job *j, const struct state *s, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf content = { .max = BM_CSR_MAX };
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_cert to;
    enum bm_rc rc = make_content(j, s, &content, e);

    if (rc == BM_OK)
        rc = bm_cert_parse(s->recipient, &to, e);
    if (rc == BM_OK)
        rc = open_rsa(&to, &key, e);
    return rc == BM_OK ? bm_scep_seal(bm_buf_rd(&content), &to, key, BM_SCEP_AES128, ret, e) : rc;
}

static enum bm_rc make_message(const struct bm_upstream_job *j, const struct state *s, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_upstream_ra_done) struct bm_upstream_ra ra = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf envelope = { .max = BM_SCEP_MESSAGE_MAX };
    struct bm_scep_ask ask = { .type = s->step == ASK ? BM_SCEP_PKCS_REQ : BM_SCEP_CERT_POLL,
                               .transaction_id = s->tid,
                               .sender_nonce = s->nonce };
    enum bm_rc rc = seal(j, s, &envelope, e);

    if (rc == BM_OK)
        rc = bm_upstream_ra_open(j->u, j->s, &ra, e);
    ask.envelope = bm_buf_rd(&envelope);
    return rc == BM_OK ? bm_scep_ask_write(&ask, ra.key, &ra.cert, ret, e) : rc;
}

/* Base64 in a query: of its characters these three mean something there (RFC 3986 section 3.4). */
static void put_escaped(struct bm_buf *url, struct bm_rd base64)
{
    for (size_t i = 0; i < base64.n; i++) {
        if (base64.p[i] == '+' || base64.p[i] == '/' || base64.p[i] == '=')
            bm_buf_printf(url, "%%%02X", base64.p[i]);
        else
            bm_buf_put(url, base64.p + i, 1);
    }
}

static void put_by_get(struct bm_buf *url, struct bm_rd message)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf base64 = { .max = 2 * BM_SCEP_MESSAGE_MAX };

    bm_base64(&base64, message, 0);
    bm_buf_str(url, "&message=");
    put_escaped(url, bm_buf_rd(&base64));
}

static enum bm_rc make_operation(const struct bm_upstream_job *j, const struct state *s, struct bm_task *t, struct bm_buf *url,
                                 struct bm_buf *body, struct bm_error *e)
{
    enum bm_rc rc = make_message(j, s, body, e);

    if (rc != BM_OK)
        return rc;
    bm_buf_printf(url, "%s?operation=PKIOperation", j->u->url);
    if (s->by_get) {
        put_by_get(url, bm_buf_rd(body));
        return url->bad
                   ? bm_refuse(e, BM_LIMIT, "upstream-refused",
                               "the upstream CA takes messages in an address only, and this one does not fit into %d characters",
                               BM_TASK_TEXT_MAX)
                   : BM_OK;
    }
    t->method = bm_rd_str("POST");
    t->body = bm_buf_rd(body);
    t->fields[t->n_fields++] = (struct bm_task_field){ bm_rd_str("Content-Type"), bm_rd_str("application/x-pki-message") };
    return BM_OK;
}

static enum bm_rc scep_task(const struct bm_upstream_job *j, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf url = { .max = BM_TASK_TEXT_MAX }, body = { .max = BM_SCEP_MESSAGE_MAX };
    struct bm_task t = { .kind = BM_TASK_HTTP,
                         .timeout_ms = TIMEOUT_MS,
                         .answer_max = BM_TASK_ANSWER_MAX,
                         .method = bm_rd_str("GET"),
                         .trust = bm_buf_rd(&j->u->trust) };
    char ident[IDENT_LEN];
    struct state s;
    enum bm_rc rc = read_state(j->state, &s, e);

    if (rc != BM_OK)
        return rc;
    bm_upstream_option(j->u, "ident", ident, sizeof ident);
    if (s.step == CAPS || s.step == CERTS)
        bm_buf_printf(&url, "%s?operation=%s%s%s", j->u->url, s.step == CAPS ? "GetCACaps" : "GetCACert",
                      ident[0] != '\0' ? "&message=" : "", ident);
    else
        rc = make_operation(j, &s, &t, &url, &body, e);
    if (rc != BM_OK)
        return rc;
    t.url = bm_buf_rd(&url);
    bm_task_write(ret, &t);
    return BM_OK;
}

/* --- GetCACaps, section 3.5.2 ---------------------------------------------------------------------------------------------------------- */
static enum bm_rc onward(const struct state *s, enum step step, struct bm_upstream_got *ret, struct bm_error *e)
{
    enum bm_rc rc = next_step(*s, step, &ret->state, e);

    return rc == BM_OK ? bm_refuse(e, BM_AGAIN, "upstream-waits", "the upstream CA is being asked") : rc;
}

/* A server that does not answer it has none. */
static enum bm_rc take_caps(const struct bm_upstream_job *j, struct state *s, const struct bm_task_answer *a,
                            struct bm_upstream_got *ret, struct bm_error *e)
{
    struct bm_rd text = a->status == 200 ? a->body : bm_rd_of(NULL, 0), line;

    (void)j;
    s->by_get = true;
    while (text.n != 0) {
        line = bm_rd_line(&text);
        if (bm_rd_eq(line, bm_rd_str("POSTPKIOperation")) || bm_rd_eq(line, bm_rd_str("SCEPStandard")))
            s->by_get = false;
    }
    return onward(s, CERTS, ret, e);
}

/* --- GetCACert, section 4.2 ------------------------------------------------------------------------------------------------------------ */
/* One certificate, or a certs-only message of several. */
static enum bm_rc parse_certs(struct bm_rd body, struct bm_buf *room, struct bm_rd *ret, size_t *ret_n)
{
    struct bm_cert one;

    if (bm_cert_parse(body, &one, NULL) == BM_OK) {
        ret[0] = body;
        *ret_n = 1;
        return BM_OK;
    }
    if (bm_ber_to_der(body, room, NULL) != BM_OK)
        return BM_MALFORMED;
    return bm_cms_certs_parse(bm_buf_rd(room), ret, BM_UPSTREAM_CERTS_MAX, ret_n, NULL);
}

static bool is_rsa(const struct bm_cert *c)
{
    struct bm_spki spki;

    return bm_spki_parse(c->spki, &spki, NULL) == BM_OK && strcmp(spki.alg, "RSA") == 0;
}

/* An RA's certificates go before the CA's own, of which key usage says nothing about messages. */
static void offer(const struct bm_cert *c, struct bm_rd *ra, struct bm_rd *ca, uint8_t usage)
{
    if (c->ca && ca->n == 0)
        *ca = c->whole;
    if (!c->ca && ra->n == 0 && (!c->has_key_usage || (c->key_usage & usage) != 0))
        *ra = c->whole;
}

struct picked {
    struct bm_rd recipient, signer, ca, ca_again;
    struct bm_error why;
};

static void pick(const struct bm_upstream_job *j, const struct bm_rd *certs, size_t n, struct picked *p)
{
    for (size_t i = 0; i < n; i++) {
        struct bm_cert c;

        if (bm_cert_parse(certs[i], &c, NULL) != BM_OK || !is_rsa(&c) ||
            bm_upstream_speaker_check(j->u, &c, certs, n, j->now, &p->why) != BM_OK)
            continue;
        offer(&c, &p->recipient, &p->ca, BM_KU_KEY_ENCIPHERMENT);
        offer(&c, &p->signer, &p->ca_again, BM_KU_DIGITAL_SIGNATURE);
    }
}

static enum bm_rc take_certs(const struct bm_upstream_job *j, struct state *s, const struct bm_task_answer *a,
                             struct bm_upstream_got *ret, struct bm_error *e)
{
    struct bm_rd certs[BM_UPSTREAM_CERTS_MAX];
    struct picked p = { .why = { .what = "it holds no certificate over an RSA key" } };
    size_t n = 0;

    if (a->status != 200)
        return bm_upstream_no(j, a, ret, e);
    if (parse_certs(a->body, &ret->room, certs, &n) != BM_OK)
        return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA's answer to GetCACert holds no certificate");
    pick(j, certs, n, &p);
    s->recipient = p.recipient.n != 0 ? p.recipient : p.ca;
    s->signer = p.signer.n != 0 ? p.signer : p.ca;
    if (s->recipient.n == 0 || s->signer.n == 0)
        return bm_refuse(e, BM_DENIED, "upstream-untrusted", "the upstream CA's answer to GetCACert: %.180s", p.why.what);
    return onward(s, ASK, ret, e);
}

/* --- CertRep, section 3.3.2 ------------------------------------------------------------------------------------------------------------ */
static enum bm_rc verify_by(const struct bm_upstream_job *j, const struct bm_scep_message *m, const struct bm_cert *signer,
                            struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_error why = { 0 };
    enum bm_rc rc = open_rsa(signer, &key, &why);

    if (rc == BM_OK)
        rc = bm_scep_verify(m, key, &why);
    if (rc == BM_DENIED && strcmp(bm_error_code(&why), "scep-algorithm") == 0 && bm_upstream_says(j->u, "sha1", "yes"))
        rc = bm_scep_verify_sha1(m, key, &why);
    return rc == BM_OK
               ? BM_OK
               : bm_refuse(e, rc == BM_NOMEM ? rc : BM_DENIED, "upstream-untrusted", "the upstream CA's answer: %.180s", why.what);
}

/* The signer is whom GetCACert has shown, or another whom we would have taken there: there may be several RAs. */
static enum bm_rc verify(const struct bm_upstream_job *j, const struct state *s, const struct bm_scep_message *m,
                         struct bm_error *e)
{
    struct bm_rd candidates[3 + BM_SCEP_CERTS_MAX] = { s->signer, s->recipient, s->issuer };
    size_t n = 3;

    for (size_t i = 0; i < m->n_certs; i++)
        candidates[n++] = m->certs[i];
    for (size_t i = 0; i < n; i++) {
        struct bm_cert c;
        enum bm_rc rc;

        if (bm_cert_parse(candidates[i], &c, NULL) != BM_OK || !bm_scep_is(&m->signer, &c))
            continue;
        rc = bm_upstream_speaker_check(j->u, &c, candidates, n, j->now, e);
        return rc == BM_OK ? verify_by(j, m, &c, e) : rc;
    }
    return bm_refuse(e, BM_DENIED, "upstream-untrusted", "the upstream CA's answer is signed by somebody GetCACert did not show");
}

static enum bm_rc check_message(const struct bm_upstream_job *j, const struct state *s, const struct bm_scep_message *m,
                                struct bm_error *e)
{
    enum bm_rc rc = verify(j, s, m, e);

    if (rc != BM_OK)
        return rc;
    if (m->type != BM_SCEP_CERT_REP || !bm_rd_eq(m->transaction_id, s->tid))
        return bm_refuse(e, BM_DENIED, "upstream-untrusted", "the upstream CA's answer is no CertRep of our transaction");
    if (!bm_rd_eq(m->recipient_nonce, s->nonce))
        return bm_refuse(e, BM_DENIED, "upstream-untrusted", "the upstream CA's answer has not the nonce of our request");
    return BM_OK;
}

/* In the upstream's own words, as far as they fit and are text. */
static enum bm_rc refused(const struct bm_scep_message *m, struct bm_error *e)
{
    static const char *const names[] = { "badAlg", "badMessageCheck", "badRequest", "badTime", "badCertId" };
    char words[120];

    bm_text_escape(m->fail_text, words, sizeof words);
    return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA refuses: %s%s%s",
                     m->fail >= 0 && (size_t)m->fail < BM_COUNT(names) ? names[m->fail] : "without a failInfo",
                     words[0] != '\0' ? ": " : "", words);
}

static enum bm_rc pending(const struct bm_upstream_job *j, const struct state *s, struct bm_upstream_got *ret, struct bm_error *e)
{
    char text[12];

    bm_upstream_option(j->u, "poll", text, sizeof text);
    ret->wait_s = text[0] != '\0' ? (uint32_t)strtoul(text, NULL, 10) : POLL_S;
    return onward(s, POLL, ret, e);
}

static const struct bm_scep_recipient *find_ours(const struct bm_scep_envelope *v, const struct bm_cert *cert)
{
    for (size_t i = 0; i < v->n; i++)
        if (bm_scep_is(&v->to[i].who, cert))
            return &v->to[i];
    return NULL;
}

static enum bm_rc open_envelope(const struct bm_upstream_job *j, struct bm_rd sealed, struct bm_buf *ret_plain, struct bm_error *e)
{
    BM_CLEANUP(bm_upstream_ra_done) struct bm_upstream_ra ra = { 0 };
    const struct bm_scep_recipient *to;
    struct bm_scep_envelope v;
    enum bm_rc rc = bm_upstream_ra_open(j->u, j->s, &ra, e);

    if (rc == BM_OK)
        rc = bm_scep_envelope_parse(sealed, &v, e);
    if (rc != BM_OK)
        return rc;
    to = find_ours(&v, &ra.cert);
    return to != NULL ? bm_scep_open(&v, to, ra.key, ret_plain, e) : bm_fail(e, BM_DENIED, "it is not sealed to us");
}

/* The certificate of the request comes first, and others may follow. */
static enum bm_rc take_content(const struct bm_upstream_job *j, struct bm_rd sealed, struct bm_upstream_got *ret,
                               struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf plain = { .max = BM_TASK_ANSWER_MAX };
    struct bm_error why = { 0 };
    enum bm_rc rc = open_envelope(j, sealed, &plain, &why);

    if (rc == BM_OK)
        rc = bm_ber_to_der(bm_buf_rd(&plain), &ret->room, &why);
    if (rc == BM_OK)
        rc = bm_cms_certs_parse(bm_buf_rd(&ret->room), ret->certs, BM_UPSTREAM_CERTS_MAX, &ret->n, &why);
    return rc == BM_OK ? BM_OK
                       : bm_refuse(e, rc == BM_NOMEM ? rc : BM_DENIED, "upstream-refused",
                                   "the upstream CA's answer does not open to certificates: %.120s", why.what);
}

static enum bm_rc take_reply(const struct bm_upstream_job *j, struct state *s, const struct bm_task_answer *a,
                             struct bm_upstream_got *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_SCEP_MESSAGE_MAX };
    struct bm_scep_message m;
    enum bm_rc rc;

    if (a->status != 200)
        return bm_upstream_no(j, a, ret, e);
    rc = bm_ber_to_der(a->body, &der, e);
    if (rc == BM_OK)
        rc = bm_scep_message_parse(bm_buf_rd(&der), &m, e);
    if (rc != BM_OK)
        return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA's answer is no SCEP message");
    rc = check_message(j, s, &m, e);
    if (rc != BM_OK)
        return rc;
    if (m.status == BM_SCEP_PENDING)
        return pending(j, s, ret, e);
    return m.status == BM_SCEP_SUCCESS ? take_content(j, m.content, ret, e) : refused(&m, e);
}

static enum bm_rc scep_read(const struct bm_upstream_job *j, const struct bm_task_answer *a, struct bm_upstream_got *ret,
                            struct bm_error *e)
{
    static enum bm_rc (*const steps[])(
        const struct bm_upstream_job *, struct state *, const struct bm_task_answer *, struct bm_upstream_got *,
        struct bm_error *) = { [CAPS] = take_caps, [CERTS] = take_certs, [ASK] = take_reply, [POLL] = take_reply };
    struct state s;
    enum bm_rc rc = read_state(j->state, &s, e);

    if (rc != BM_OK)
        return rc;
    if (a->status == 429 || a->status >= 500)
        return bm_upstream_no(j, a, ret, e);
    return steps[s.step](j, &s, a, ret, e);
}

/* --- configuration -------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc check_words(const struct bm_upstream *u, struct bm_error *e)
{
    char word[80], *end;
    long n;

    if (!bm_upstream_says(u, "sha1", "") && !bm_upstream_says(u, "sha1", "yes") && !bm_upstream_says(u, "sha1", "no"))
        return bm_fail(e, BM_USAGE, "--options: sha1 is yes or no");
    bm_upstream_option(u, "ident", word, sizeof word);
    if (strlen(word) >= IDENT_LEN || word[strspn(word, IDENT)] != '\0')
        return bm_fail(e, BM_USAGE, "--options: ident is of letters, digits, '.', '_' and '-'");
    bm_upstream_option(u, "poll", word, sizeof word);
    n = strtol(word, &end, 10);
    return word[0] == '\0' || (*end == '\0' && n >= 1 && n <= POLL_MAX_S)
               ? BM_OK
               : bm_fail(e, BM_USAGE, "--options: poll is 1 to %d seconds", POLL_MAX_S);
}

static enum bm_rc scep_check(const struct bm_upstream *u, const struct bm_upstream_secret *s, struct bm_error *e)
{
    BM_CLEANUP(bm_upstream_ra_done) struct bm_upstream_ra ra = { 0 };
    enum bm_rc rc;

    if (s->login.n != 0)
        return bm_fail(
            e, BM_USAGE,
            "--login: a challenge password stands in the request that the device has signed, so nobody can add it here; the "
            "device has to, or the upstream CA must take the certificate of --client for it");
    rc = bm_upstream_ra_open(u, s, &ra, e);
    if (rc == BM_OK && !is_rsa(&ra.cert))
        rc = bm_fail(e, BM_USAGE, "--client: SCEP wants a certificate over an RSA key of 2048 to 4096 bits");
    if (rc == BM_OK)
        rc = check_words(u, e);
    return rc == BM_OK ? bm_upstream_fingerprint_check(u, e) : rc;
}

static const char *const options[] = { "fingerprint", "ident", "poll", "sha1", NULL };

const struct bm_upstream_driver bm_upstream_scep = {
    .name = "scep",
    .url_form = "http[s]://HOST[:PORT]/PATH, what stands before '?operation='",
    .plain_http = true,
    .options = options,
    .check = scep_check,
    .start = scep_start,
    .task = scep_task,
    .read = scep_read,
    .make_client = bm_upstream_make_client,
    .unrevoked = "SCEP has no word for a revocation: revoke it at the upstream CA too",
};
