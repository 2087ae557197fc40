#include "protocol/est.h"

#include "base/text.h"
#include "pki/cert.h"
#include "protocol/basic.h"

#include <stdio.h>

enum { LINE_LEN = 64 };

/* --- base64, as the client at hand likes it -----------------------------------------------------------------------------------------
 * RFC 8951 section 3.1 settles on base64 of any wrapping, but clients in the field read only their own kind: who sends one line gets one
 * line, who wraps gets wrapped. */
static size_t line_len_like(struct bm_rd body)
{
    const uint8_t *end = body.p + body.n;

    while (end > body.p && (end[-1] == '\n' || end[-1] == '\r'))
        end--;
    return body.n != 0 && memchr(body.p, '\n', (size_t)(end - body.p)) != NULL ? LINE_LEN : 0;
}

/* A GET shows no habit; libest is known to want lines. */
static size_t line_len_for(struct bm_rd user_agent)
{
    return user_agent.n != 0 && memmem(user_agent.p, user_agent.n, "libest", 6) != NULL ? LINE_LEN : 0;
}

static void put_der(const struct bm_request *q, struct bm_response *r, struct bm_rd der, size_t line_len, const char *content_type)
{
    r->status = 200;
    r->content_type = content_type;
    if (q->raw) {
        bm_buf_put(&r->body, der.p, der.n);
        return;
    }
    r->content_encoding = "base64";
    bm_base64(&r->body, der, line_len);
}

/* Some clients send DER as it is: a request is longer than 127 bytes, so its second byte is no base64 character. */
static bool is_der(struct bm_rd body)
{
    return body.n > 2 && body.p[0] == 0x30 && body.p[1] >= 0x80;
}

static enum bm_rc decode(const struct bm_request *q, struct bm_buf *arena, struct bm_rd *ret, struct bm_error *e)
{
    enum bm_rc rc;

    if (q->raw || is_der(q->body)) {
        *ret = q->body;
        return BM_OK;
    }
    rc = bm_unbase64(q->body, arena, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "certificate request");
    *ret = bm_buf_rd(arena);
    return BM_OK;
}

/* --- questions that need no keeper ---------------------------------------------------------------------------------------------------- */
const struct bm_view_label *bm_est_find_label(const struct bm_request *q, const struct bm_view *v)
{
    for (size_t i = 0; i < v->n_labels; i++)
        if (bm_rd_eq(v->labels[i].label, q->label))
            return &v->labels[i];
    return NULL;
}

static enum bm_rc no_label(const struct bm_request *q, struct bm_error *e)
{
    char safe[80];

    return bm_refuse(e, BM_NOTFOUND, "unknown-label", "there is no service '%s' here", bm_text_escape(q->label, safe, sizeof safe));
}

enum bm_rc bm_est_cacerts(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                          struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_FRAME_MAX };
    const struct bm_view_label *l = bm_est_find_label(q, v);
    struct bm_rd certs[BM_VIEW_CAS_MAX];
    size_t n = 0;
    enum bm_rc rc;

    (void)answer;
    if (l == NULL)
        return no_label(q, e);
    for (size_t i = 0; i < v->n_cas; i++)
        if ((l->cas >> i & 1) != 0)
            certs[n++] = v->cas[i];
    rc = bm_cms_certs(certs, n, &der, e);
    if (rc == BM_OK)
        put_der(q, r, bm_buf_rd(&der), line_len_for(q->user_agent), "application/pkcs7-mime");
    return rc;
}

enum bm_rc bm_est_csrattrs(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                           struct bm_error *e)
{
    const struct bm_view_label *l = bm_est_find_label(q, v);

    (void)answer;
    if (l == NULL)
        return no_label(q, e);
    put_der(q, r, l->csrattrs, line_len_for(q->user_agent), "application/csrattrs");
    return BM_OK;
}

enum bm_rc bm_est_fullcmc(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                          struct bm_error *e)
{
    (void)q, (void)v, (void)answer, (void)r;
    return bm_refuse(e, BM_USAGE, "not-implemented",
                     "Full CMC is not spoken here; use simpleenroll, simplereenroll or serverkeygen");
}

/* --- who is it ---------------------------------------------------------------------------------------------------------------------------- */
/* RFC 7030 section 4.2.3: 202 with Retry-After, and the client sends the same request again. */
void bm_est_refuse_renewal(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r)
{
    bm_refuse_text(q, e, retry_after_s, r);
    if (bm_refusal_waits(bm_error_code(e)))
        r->status = 202;
}

void bm_est_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r)
{
    bm_est_refuse_renewal(q, e, retry_after_s, r);
    if (r->status == 401)
        r->authenticate = "Basic realm=\"birthmark\", charset=\"UTF-8\""; /* RFC 7617 */
}

/* What a one-time code was given with: a UDID, or the name of a batch. */
struct credentials {
    struct bm_buf arena;
    uint8_t udid[BM_UDID_LEN];
};

static void credentials_done(struct credentials *c)
{
    bm_buf_done(&c->arena);
}

static enum bm_rc take_code(struct bm_rd authorization, struct credentials *room, struct bm_enrol *c, struct bm_error *e)
{
    struct bm_rd user;
    enum bm_rc rc;

    room->arena.max = BM_BASIC_MAX;
    rc = bm_basic_parse(authorization, &room->arena, &user, &c->evidence.code, e);
    if (rc != BM_OK)
        return rc;
    if (user.n == 0 || (user.n != sizeof room->udid * 2 && user.n >= BM_NAME_LEN) || c->evidence.code.n > BM_CODE_TYPED_MAX)
        return bm_refuse(e, BM_DENIED, "code-wrong", "the user is a UDID in hex or the name of a batch, the password its code");
    c->evidence.kind = BM_EVIDENCE_CODE;
    if (bm_unhex(user, room->udid, sizeof room->udid))
        c->claimed_udid = bm_rd_of(room->udid, sizeof room->udid);
    else
        c->claimed_batch = user;
    return BM_OK;
}

/* A certificate renews itself; a code is for those who have none. */
static enum bm_rc take_evidence(const struct bm_request *q, struct credentials *room, struct bm_enrol *c, struct bm_error *e)
{
    c->evidence = (struct bm_evidence){
        .kind = BM_EVIDENCE_TLS,
        .cert = q->client_cert,
        .spki = q->client_key,
        .n_chain = q->n_client_chain,
        .handshake = q->handshake,
        .verify = q->verify,
        .binding = q->binding,
    };
    memcpy(c->evidence.chain, q->client_chain, sizeof c->evidence.chain);
    if (c->reenrol && q->client_cert.n == 0 && q->client_key.n == 0)
        return bm_refuse(e, BM_DENIED, "no-evidence", "re-enrolment needs the TLS client certificate that it renews");
    return c->reenrol || q->authorization.n == 0 ? BM_OK : take_code(q->authorization, room, c, e);
}

/* --- enrolment --------------------------------------------------------------------------------------------------------------------------- */
enum what { ENROL, REENROL, KEYGEN };

static enum bm_rc prepare(const struct bm_request *q, enum what what, struct bm_buf *payload, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf arena = { .max = BM_CSR_MAX + 4 };
    BM_CLEANUP(credentials_done) struct credentials room = { 0 };
    struct bm_enrol c = {
        .protocol = "est",
        .reenrol = what == REENROL,
        .keygen = what == KEYGEN,
        .n_requests = 1,
    };
    enum bm_rc rc;

    /* RFC 7030 section 4.2.1; absent is forgiven, as some clients leave it out */
    if (q->content_type.n != 0 && !bm_is_media_type(q->content_type, "application/pkcs10"))
        return bm_refuse(e, BM_MALFORMED, "unsupported-media-type", "a certificate request has type application/pkcs10");
    if (q->label.n >= BM_NAME_LEN)
        return no_label(q, e);
    rc = decode(q, &arena, &c.requests[0].csr, e);
    if (rc != BM_OK)
        return rc;
    if (c.requests[0].csr.n > BM_CSR_MAX)
        return bm_fail(e, BM_LIMIT, "a certificate request may have %d bytes", BM_CSR_MAX);
    rc = take_evidence(q, &room, &c, e);
    if (rc != BM_OK)
        return rc;
    memcpy(c.correlation, q->correlation, sizeof c.correlation);
    memcpy(c.peer, q->peer, sizeof c.peer);
    c.requests[0].service = q->label;
    bm_enrol_write(payload, &c);
    return bm_buf_check(payload, e);
}

enum bm_rc bm_est_enroll(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    return prepare(q, ENROL, payload, e);
}

enum bm_rc bm_est_reenroll(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    return prepare(q, REENROL, payload, e);
}

enum bm_rc bm_est_keygen(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    return prepare(q, KEYGEN, payload, e);
}

/* RFC 7030 section 4.2.3: the certificate and nothing else. */
enum bm_rc bm_est_certs(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                        struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = 2 * BM_CERT_MAX };
    struct bm_enrolled a;
    enum bm_rc rc = bm_enrolled_parse(answer, &a, e);

    (void)v;
    if (rc == BM_OK && a.n_credentials != 1)
        rc = bm_fail(e, BM_BUG, "%zu certificates for one request", a.n_credentials);
    if (rc == BM_OK)
        rc = bm_cms_certs(&a.credentials[0].cert, 1, &der, e);
    if (rc == BM_OK)
        put_der(q, r, bm_buf_rd(&der), is_der(q->body) ? 0 : line_len_like(q->body),
                "application/pkcs7-mime; smime-type=certs-only");
    return rc;
}
