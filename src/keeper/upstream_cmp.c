/* An upstream CA over CMP (RFC 9810 in the profile of RFC 9483, over HTTP, RFC 9811): the device's own PKCS#10 as p10cr, protected by us as registration
 * authority, with the certificate of --client or the secret of --login. */
#include "keeper/upstream_cmp.h"

#include "base/text.h"
#include "pki/oid.h"

#include <openssl/rand.h>
#include <stdio.h>

enum {
    TIMEOUT_MS = 30000,
    ITERATIONS = 2000, /* of what makes a key of the secret: the secret itself has to be long */
    POLL_MIN_S = 1,
    POLL_MAX_S = 86400,
    ANEW_S = 1,
};

/* --- the state ------------------------------------------------------------------------------------------------------------------------ */
void bm_upstream_cmp_write(struct bm_buf *out, const struct bm_upstream_cmp_state *s)
{
    const struct bm_rd parts[] = { s->tid, s->nonce, s->their_nonce, s->issuer, s->signer, s->cert };

    bm_buf_uint(out, 1, s->step);
    bm_buf_uint(out, 1, s->round);
    bm_buf_uint(out, 8, (uint64_t)s->req_id);
    for (size_t i = 0; i < BM_COUNT(parts); i++)
        bm_buf_vec(out, parts[i]);
}

enum bm_rc bm_upstream_cmp_parse(struct bm_rd in, struct bm_upstream_cmp_state *ret, struct bm_error *e)
{
    struct bm_upstream_cmp_state s = { 0 };
    struct bm_rd *const parts[] = { &s.tid, &s.nonce, &s.their_nonce, &s.issuer, &s.signer, &s.cert };
    bool ok = bm_rd_u8(&in, &s.step) && bm_rd_u8(&in, &s.round) && bm_rd_i64(&in, &s.req_id) && s.step >= BM_UPSTREAM_CMP_ASK &&
              s.step <= BM_UPSTREAM_CMP_CONFIRM;

    for (size_t i = 0; ok && i < BM_COUNT(parts); i++)
        ok = bm_rd_vec(&in, BM_CERT_MAX, parts[i]);
    if (!ok || in.n != 0)
        return bm_fail(e, BM_BUG, "the state of a CMP transaction is damaged");
    *ret = s;
    return BM_OK;
}

/* The state of what comes next, under a nonce of its own. */
static enum bm_rc next_step(struct bm_upstream_cmp_state s, enum bm_upstream_cmp_step step, struct bm_buf *ret, struct bm_error *e)
{
    uint8_t fresh[2 * BM_CMP_NONCE_LEN];

    if (RAND_bytes(fresh, sizeof fresh) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    s.step = (uint8_t)step;
    s.nonce = bm_rd_of(fresh, BM_CMP_NONCE_LEN);
    if (step == BM_UPSTREAM_CMP_ASK) {
        s.tid = bm_rd_of(fresh + BM_CMP_NONCE_LEN, BM_CMP_NONCE_LEN);
        s.their_nonce = s.signer = s.cert = bm_rd_of(NULL, 0);
        s.req_id = -1;
    }
    bm_upstream_cmp_write(ret, &s);
    return bm_buf_check(ret, e);
}

static enum bm_rc cmp_start(struct bm_keeper *k, const struct bm_plan *p, const struct bm_order *o, struct bm_buf *ret_state,
                            struct bm_error *e)
{
    (void)k;
    (void)o;
    return next_step((struct bm_upstream_cmp_state){ .issuer = p->line->issuer->cert.whole }, BM_UPSTREAM_CMP_ASK, ret_state, e);
}

/* --- a message ------------------------------------------------------------------------------------------------------------------------ */
/* What a message of ours is made of, beside the bytes that are its body. */
struct making {
    struct bm_upstream_cmp_state s;
    struct bm_cmp_answer a;
    struct bm_upstream_ra ra;
    struct bm_cmp_mac mac;
    uint8_t name[BM_NAME_DER_MAX], recipient[BM_NAME_DER_MAX + 8], body[BM_CSR_MAX + 64];
};

static void making_done(struct making *m)
{
    bm_upstream_ra_done(&m->ra);
}

/* GeneralName of the CA that is asked. */
static enum bm_rc set_recipient(struct making *m, struct bm_error *e)
{
    struct bm_derw w = bm_derw_of(m->recipient, sizeof m->recipient);
    size_t mark = bm_derw_mark(&w);
    struct bm_cert issuer;
    enum bm_rc rc = bm_cert_parse(m->s.issuer, &issuer, e);

    if (rc != BM_OK)
        return rc;
    bm_derw_put(&w, issuer.subject);
    bm_derw_end(&w, mark, BM_DER_CTX_CONS(4));
    m->a.recipient = bm_derw_rd(&w);
    return w.bad ? bm_fail(e, BM_LIMIT, "the name of the upstream CA is too long") : BM_OK;
}

static enum bm_rc put_confirm(struct making *m, struct bm_derw *w, struct bm_error *e)
{
    struct bm_cert cert;
    bool v3 = false;
    enum bm_rc rc = bm_cert_parse(m->s.cert, &cert, e);

    if (rc == BM_OK)
        rc = bm_cmp_put_confirm(w, m->s.req_id, &cert, &v3, e);
    m->a.pvno = v3 ? 3 : m->a.pvno;
    return rc;
}

/* A challengePassword may be a one-time code of ours, which is good until the device has its certificate. */
static enum bm_rc check_open(const struct bm_upstream_job *j, struct bm_error *e)
{
    struct bm_csr csr;
    enum bm_rc rc = bm_csr_parse(j->csr, &csr, e);

    if (rc == BM_OK && csr.challenge_password.n != 0 && strncmp(j->u->url, "https://", 8) != 0)
        return bm_refuse(
            e, BM_DENIED, "upstream-request",
            "the request holds a challengePassword, which anybody on the way to the upstream CA could read: its --url has to "
            "be https");
    return rc;
}

static enum bm_rc set_body(struct making *m, struct bm_rd csr, struct bm_error *e)
{
    struct bm_derw w = bm_derw_of(m->body, sizeof m->body);
    enum bm_rc rc = BM_OK;

    if (m->s.step == BM_UPSTREAM_CMP_ASK)
        bm_cmp_put_p10cr(&w, csr);
    else if (m->s.step == BM_UPSTREAM_CMP_POLL)
        bm_cmp_put_poll_req(&w, m->s.req_id);
    else
        rc = put_confirm(m, &w, e);
    m->a.body = bm_derw_rd(&w);
    return rc == BM_OK && w.bad ? bm_fail(e, BM_LIMIT, "certificate request of %zu bytes", csr.n) : rc;
}

/* RFC 9483 section 3.1: senderKID is the reference, and the common name of sender as well. */
static enum bm_rc protect_by_mac(const struct bm_upstream_job *j, struct making *m, struct bm_rd ref, struct bm_error *e)
{
    static const struct bm_rd cn = BM_LIT(OID_CN);
    struct bm_derw w = bm_derw_of(m->name, sizeof m->name);
    size_t mark = bm_derw_mark(&w);

    bm_derw_tlv(&w, BM_DER_UTF8, ref);
    bm_derw_tlv(&w, BM_DER_OID, cn);
    bm_derw_end(&w, mark, BM_DER_SEQUENCE);
    bm_derw_end(&w, mark, BM_DER_SET);
    bm_derw_end(&w, mark, BM_DER_SEQUENCE);
    m->a.sender = bm_derw_rd(&w);
    m->a.sender_kid = ref;
    m->a.mac = &m->mac;
    return bm_cmp_mac_new(bm_upstream_says(j->u, "mac", "pbmac1") ? BM_CMP_PBMAC1 : BM_CMP_PBM, ITERATIONS, &m->mac, e);
}

static enum bm_rc protect_by_signature(const struct bm_upstream_job *j, struct making *m, struct bm_error *e)
{
    enum bm_rc rc = bm_upstream_ra_open(j->u, j->s, &m->ra, e);

    if (rc != BM_OK)
        return rc;
    m->a.sender = m->ra.cert.subject;
    m->a.sender_kid = m->ra.cert.skid.n <= BM_CMP_NONCE_MAX ? m->ra.cert.skid : bm_rd_of(NULL, 0);
    m->a.key = m->ra.key;
    for (size_t i = 0; i < m->ra.n; i++)
        m->a.certs[m->a.n_certs++] = bm_buf_rd(&m->ra.der[i]);
    return BM_OK;
}

static enum bm_rc make(const struct bm_upstream_job *j, struct making *m, struct bm_buf *out, struct bm_error *e)
{
    struct bm_rd ref;
    enum bm_rc rc = bm_upstream_cmp_parse(j->state, &m->s, e);

    m->a = (struct bm_cmp_answer){
        .pvno = 2, /* RFC 9810 section 7: version 3 only where something of it is used */
        .time = j->now,
        .tid = m->s.tid,
        .sender_nonce = m->s.nonce,
        .recip_nonce = m->s.their_nonce,
        .implicit_confirm = m->s.step == BM_UPSTREAM_CMP_ASK,
    };
    if (rc == BM_OK)
        rc = check_open(j, e);
    if (rc == BM_OK)
        rc = set_recipient(m, e);
    if (rc == BM_OK)
        rc = set_body(m, j->csr, e);
    if (rc == BM_OK)
        rc = bm_upstream_cmp_login(j->s, &ref, &m->a.secret) ? protect_by_mac(j, m, ref, e) : protect_by_signature(j, m, e);
    return rc == BM_OK ? bm_cmp_write(&m->a, out, e) : rc;
}

/* The courier gets our key only when the upstream CA's TLS wants it: the message is protected already. */
static enum bm_rc cmp_task(const struct bm_upstream_job *j, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf body = { .max = BM_TASK_BODY_MAX };
    BM_CLEANUP(making_done) struct making m = { 0 };
    struct bm_task t = { .kind = BM_TASK_HTTP,
                         .timeout_ms = TIMEOUT_MS,
                         .answer_max = BM_TASK_ANSWER_MAX,
                         .method = bm_rd_str("POST"),
                         .url = bm_rd_str(j->u->url),
                         .trust = bm_buf_rd(&j->u->trust) };
    enum bm_rc rc = make(j, &m, &body, e);

    if (rc != BM_OK)
        return rc;
    if (bm_upstream_says(j->u, "tls-client", "yes")) {
        t.client_cert = bm_buf_rd(&j->u->client_cert);
        t.client_key = bm_buf_rd(&j->s->client_key);
    }
    t.body = bm_buf_rd(&body);
    t.fields[t.n_fields++] = (struct bm_task_field){ bm_rd_str("Content-Type"), bm_rd_str("application/pkixcmp") };
    bm_task_write(ret, &t);
    return BM_OK;
}

/* --- an answer ------------------------------------------------------------------------------------------------------------------------ */
struct reading {
    const struct bm_upstream_job *j;
    struct bm_upstream_cmp_state s;
    struct bm_cmp m;
    struct bm_rd signer;
    struct bm_upstream_got *got;
};

static enum bm_rc poll_later(struct reading *r, int64_t req_id, uint64_t wait_s, const char *what, struct bm_error *e)
{
    enum bm_rc rc;

    r->s.req_id = req_id;
    rc = next_step(r->s, BM_UPSTREAM_CMP_POLL, &r->got->state, e);
    r->got->wait_s = (uint32_t)(wait_s < POLL_MIN_S ? POLL_MIN_S : wait_s > POLL_MAX_S ? POLL_MAX_S : wait_s);
    return rc == BM_OK ? bm_refuse(e, BM_AGAIN, "upstream-waits", "%s", what) : rc;
}

static enum bm_rc anew(struct reading *r, struct bm_error *e)
{
    struct bm_error told = *e;
    enum bm_rc rc;

    if (++r->s.round >= BM_UPSTREAM_CMP_ROUNDS)
        return told.rc;
    rc = next_step(r->s, BM_UPSTREAM_CMP_ASK, &r->got->state, e);
    r->got->wait_s = ANEW_S;
    return rc == BM_OK ? bm_refuse(e, BM_AGAIN, "upstream-waits", "%s", told.what) : rc;
}

/* In the upstream's own words, as far as they fit and are text. */
static enum bm_rc refused(const struct bm_cmp_status_info *s, struct bm_rd text, struct bm_error *e)
{
    const uint32_t passing = 1u << BM_CMP_SYSTEM_UNAVAIL | 1u << BM_CMP_SYSTEM_FAILURE;
    char words[110], fail[BM_CMP_FAIL_TEXT_LEN];

    bm_text_escape(s->text.n != 0 ? s->text : text, words, sizeof words);
    bm_cmp_fail_text(s->fail, fail);
    if ((s->fail & passing) != 0)
        return bm_refuse(e, BM_AGAIN, "upstream-waits", "the upstream CA answers: %s (%s)", words, fail);
    return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA refuses: %s (%s)", words,
                     s->has_fail ? fail : "no failInfo");
}

static enum bm_rc give(struct reading *r, struct bm_rd cert)
{
    struct bm_upstream_got *got = r->got;

    bm_buf_put(&got->room, cert.p, cert.n);
    got->certs[got->n++] = bm_buf_rd(&got->room);
    return BM_OK;
}

/* What is not over the device's key is not confirmed: the upstream CA then takes it back. */
static enum bm_rc check_key(const struct reading *r, struct bm_rd der, struct bm_error *e)
{
    struct bm_csr csr;
    struct bm_cert cert;
    enum bm_rc rc = bm_csr_parse(r->j->csr, &csr, e);

    if (rc == BM_OK && (bm_cert_parse(der, &cert, NULL) != BM_OK || !bm_rd_eq(cert.spki, csr.spki)))
        rc = bm_refuse(e, BM_DENIED, "upstream-refused", "of 1 certificates in the answer none is over the device's key");
    return rc;
}

static enum bm_rc take_cert(struct reading *r, const struct bm_cmp_cert_rep *c, struct bm_error *e)
{
    enum bm_rc rc = check_key(r, c->cert, e);

    if (rc != BM_OK || r->m.h.implicit_confirm)
        return rc == BM_OK ? give(r, c->cert) : rc;
    r->s.cert = c->cert;
    r->s.req_id = c->req_id;
    rc = next_step(r->s, BM_UPSTREAM_CMP_CONFIRM, &r->got->state, e);
    return rc == BM_OK ? bm_refuse(e, BM_AGAIN, "upstream-waits", "the certificate has to be confirmed first") : rc;
}

static enum bm_rc on_cp(struct reading *r, struct bm_error *e)
{
    struct bm_cmp_cert_rep c;
    enum bm_rc rc = bm_cmp_cert_rep_parse(r->m.content, &c, e);

    if (rc != BM_OK)
        return rc;
    if (c.n != 1 || c.req_id < -1 || c.req_id > 0) /* RFC 9810 section 5.3.4: -1; some count from 0 */
        return bm_refuse(e, BM_DENIED, "upstream-refused",
                         "the upstream CA answers with %zu certificates, or to a request not ours", c.n);
    if (c.s.status == BM_CMP_WAITING)
        return poll_later(r, c.req_id, 0, "the upstream CA has it under way", e);
    if (c.s.status != BM_CMP_ACCEPTED && c.s.status != BM_CMP_GRANTED_WITH_MODS)
        return refused(&c.s, bm_rd_of(NULL, 0), e);
    if (c.cert.n == 0)
        return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA grants a certificate and sends none in clear");
    return take_cert(r, &c, e);
}

static enum bm_rc on_poll_rep(struct reading *r, struct bm_error *e)
{
    struct bm_cmp_poll_rep p;
    enum bm_rc rc = bm_cmp_poll_rep_parse(r->m.content, &p, e);

    if (rc != BM_OK)
        return rc;
    if (p.n != 1 || p.req_id != r->s.req_id)
        return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA answers a pollReq that is not ours");
    return poll_later(r, p.req_id, p.check_after, "the upstream CA has it under way still", e);
}

static enum bm_rc on_pkiconf(struct reading *r, struct bm_error *e)
{
    (void)e;
    return give(r, r->s.cert);
}

static enum bm_rc on_error(struct reading *r, struct bm_error *e)
{
    struct bm_cmp_error c;
    enum bm_rc rc = bm_cmp_error_parse(r->m.content, &c, e);

    if (rc != BM_OK)
        return rc;
    if (c.s.status == BM_CMP_WAITING && r->s.step != BM_UPSTREAM_CMP_CONFIRM) /* RFC 9483 section 4.4 */
        return poll_later(r, r->s.req_id, 0, "the upstream CA has it under way", e);
    rc = refused(&c.s, c.details, e);
    if (rc == BM_DENIED && (r->s.step != BM_UPSTREAM_CMP_ASK || (c.s.fail >> BM_CMP_TRANSACTION_ID_IN_USE & 1) != 0))
        return anew(r, e);
    return rc;
}

static const struct {
    enum bm_upstream_cmp_step step;
    enum bm_cmp_type type;
    enum bm_rc (*fn)(struct reading *r, struct bm_error *e);
} turns[] = {
    { BM_UPSTREAM_CMP_ASK, BM_CMP_CP, on_cp },           { BM_UPSTREAM_CMP_ASK, BM_CMP_ERROR, on_error },
    { BM_UPSTREAM_CMP_POLL, BM_CMP_CP, on_cp },          { BM_UPSTREAM_CMP_POLL, BM_CMP_POLLREP, on_poll_rep },
    { BM_UPSTREAM_CMP_POLL, BM_CMP_ERROR, on_error },    { BM_UPSTREAM_CMP_CONFIRM, BM_CMP_PKICONF, on_pkiconf },
    { BM_UPSTREAM_CMP_CONFIRM, BM_CMP_ERROR, on_error },
};

static enum bm_rc act(struct reading *r, struct bm_error *e)
{
    for (size_t i = 0; i < BM_COUNT(turns); i++)
        if (turns[i].step == r->s.step && turns[i].type == r->m.type)
            return turns[i].fn(r, e);
    return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA answers with a message (%u) that does not go here",
                     r->m.type);
}

/* RFC 9811 section 3.3: an error may come as a CMP message under any status. */
static bool is_message(const struct bm_task_answer *a)
{
    static const char type[] = "application/pkixcmp";

    return a->status == 200 ||
           (a->content_type.n >= sizeof type - 1 && a->body.n != 0 && memcmp(a->content_type.p, type, sizeof type - 1) == 0);
}

static enum bm_rc cmp_read(const struct bm_upstream_job *j, const struct bm_task_answer *a, struct bm_upstream_got *ret,
                           struct bm_error *e)
{
    struct reading r = { .j = j, .got = ret };
    enum bm_rc rc = bm_upstream_cmp_parse(j->state, &r.s, e);

    if (rc != BM_OK)
        return rc;
    if (!is_message(a))
        return bm_upstream_no(j, a, ret, e);
    rc = bm_cmp_parse(a->body, &r.m, e);
    if (rc != BM_OK)
        return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA's answer is no CMP message");
    rc = bm_upstream_cmp_check(j, &r.s, &r.m, &r.signer, e);
    if (rc != BM_OK)
        return rc;
    r.s.their_nonce = r.m.h.sender_nonce;
    r.s.signer = r.signer.n != 0 && !bm_rd_eq(r.signer, r.s.issuer) ? r.signer : r.s.signer;
    rc = act(&r, e);
    return rc == BM_MALFORMED ? bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA's answer does not parse") : rc;
}

/* --- configuration -------------------------------------------------------------------------------------------------------------------- */
static bool says_one_of(const struct bm_upstream *u, const char *option, const char *one, const char *other)
{
    return bm_upstream_says(u, option, "") || bm_upstream_says(u, option, one) || bm_upstream_says(u, option, other);
}

static enum bm_rc cmp_check(const struct bm_upstream *u, const struct bm_upstream_secret *s, struct bm_error *e)
{
    struct bm_rd ref, secret;

    if (s->client_key.n == 0 && s->login.n == 0)
        return bm_fail(
            e, BM_USAGE,
            "--driver cmp wants --client, our certificate as registration authority, or --login, a file with REF:SECRET");
    if (s->login.n != 0 && (!bm_upstream_cmp_login(s, &ref, &secret) || ref.n > BM_CMP_NONCE_MAX))
        return bm_fail(e, BM_USAGE, "--login: REF:SECRET, REF of at most %d bytes", BM_CMP_NONCE_MAX);
    if (!says_one_of(u, "mac", "pbm", "pbmac1"))
        return bm_fail(e, BM_USAGE, "--options: mac is pbm or pbmac1");
    if (!says_one_of(u, "tls-client", "yes", "no"))
        return bm_fail(e, BM_USAGE, "--options: tls-client is yes or no");
    return bm_upstream_fingerprint_check(u, e);
}

static const char *const options[] = { "mac", "tls-client", "fingerprint", NULL };

const struct bm_upstream_driver bm_upstream_cmp = {
    .name = "cmp",
    .url_form = "http[s]://HOST[:PORT]/.well-known/cmp[/p/LABEL]",
    .plain_http = true,
    .options = options,
    .check = cmp_check,
    .start = cmp_start,
    .task = cmp_task,
    .read = cmp_read,
};
