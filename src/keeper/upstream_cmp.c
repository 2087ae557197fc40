/* An upstream CA over CMP (RFC 9810 in the profile of RFC 9483, over HTTP, RFC 9811): the device's own PKCS#10 as p10cr, protected by us as registration
 * authority, with the certificate of --client or the secret of --login. */
#include "keeper/upstream_cmp.h"

#include "keeper/upstream_revoke.h"

#include "base/text.h"
#include "pki/oid.h"

#include <openssl/rand.h>
#include <stdio.h>

enum {
    TIMEOUT_MS = 30000,
    ITERATIONS = 2000, /* of what makes a key of the secret: the secret itself has to be long */
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
              s.step <= BM_UPSTREAM_CMP_REVOKE;

    for (size_t i = 0; ok && i < BM_COUNT(parts); i++)
        ok = bm_rd_vec(&in, BM_CERT_MAX, parts[i]);
    if (!ok || in.n != 0)
        return bm_fail(e, BM_BUG, "the state of a CMP transaction is damaged");
    *ret = s;
    return BM_OK;
}

enum bm_rc bm_upstream_cmp_next(struct bm_upstream_cmp_state s, enum bm_upstream_cmp_step step, struct bm_buf *ret,
                                struct bm_error *e)
{
    uint8_t fresh[2 * BM_CMP_NONCE_LEN];

    if (RAND_bytes(fresh, sizeof fresh) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    s.step = (uint8_t)step;
    s.nonce = bm_rd_of(fresh, BM_CMP_NONCE_LEN);
    if (step == BM_UPSTREAM_CMP_ASK || step == BM_UPSTREAM_CMP_REVOKE) {
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
    return bm_upstream_cmp_next((struct bm_upstream_cmp_state){ .issuer = p->line->issuer->cert.whole }, BM_UPSTREAM_CMP_ASK,
                                ret_state, e);
}

static enum bm_rc cmp_revoke_start(const struct bm_upstream_job *j, struct bm_buf *ret_state, struct bm_error *e)
{
    return bm_upstream_cmp_next((struct bm_upstream_cmp_state){ .issuer = j->ca }, BM_UPSTREAM_CMP_REVOKE, ret_state, e);
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
    enum bm_rc rc;

    if (j->cert.n != 0)
        return BM_OK;
    rc = bm_csr_parse(j->csr, &csr, e);
    if (rc == BM_OK && csr.challenge_password.n != 0 && strncmp(j->u->url, "https://", 8) != 0)
        return bm_refuse(
            e, BM_DENIED, "upstream-request",
            "the request holds a challengePassword, which anybody on the way to the upstream CA could read: its --url has to "
            "be https");
    return rc;
}

static enum bm_rc put_rr(const struct bm_upstream_job *j, struct bm_derw *w, struct bm_error *e)
{
    struct bm_cert cert;
    enum bm_rc rc = bm_cert_parse(j->cert, &cert, e);

    if (rc == BM_OK)
        bm_cmp_put_rr(w, &cert, bm_upstream_reason(j->reason));
    return rc;
}

static enum bm_rc set_body(const struct bm_upstream_job *j, struct making *m, struct bm_error *e)
{
    struct bm_derw w = bm_derw_of(m->body, sizeof m->body);
    enum bm_rc rc = BM_OK;

    if (m->s.step == BM_UPSTREAM_CMP_ASK)
        bm_cmp_put_p10cr(&w, j->csr);
    else if (m->s.step == BM_UPSTREAM_CMP_REVOKE)
        rc = put_rr(j, &w, e);
    else if (m->s.step == BM_UPSTREAM_CMP_POLL)
        bm_cmp_put_poll_req(&w, m->s.req_id);
    else
        rc = put_confirm(m, &w, e);
    m->a.body = bm_derw_rd(&w);
    return rc == BM_OK && w.bad ? bm_fail(e, BM_LIMIT, "what is asked for is too long for a message") : rc;
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
        rc = set_body(j, m, e);
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
    if (bm_upstream_revoke_check(u, e) != BM_OK)
        return BM_USAGE;
    return bm_upstream_fingerprint_check(u, e);
}

static const char *const options[] = { "mac", "tls-client", "fingerprint", "revoke", NULL };
static const struct bm_upstream_revoking revoking = { cmp_revoke_start, cmp_task, bm_upstream_cmp_revoke_read };

const struct bm_upstream_driver bm_upstream_cmp = {
    .name = "cmp",
    .url_form = "http[s]://HOST[:PORT]/.well-known/cmp[/p/LABEL]",
    .plain_http = true,
    .options = options,
    .check = cmp_check,
    .start = cmp_start,
    .task = cmp_task,
    .read = bm_upstream_cmp_read,
    .revoking = &revoking,
};
