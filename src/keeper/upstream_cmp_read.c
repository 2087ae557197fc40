/* What an upstream CA answers over CMP, and what comes of it: a certificate, the next step, a revocation, or no. */
#include "keeper/upstream_cmp.h"

#include "base/text.h"

enum {
    POLL_MIN_S = 1,
    POLL_MAX_S = 86400,
    ANEW_S = 1,
};

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
    rc = bm_upstream_cmp_next(r->s, BM_UPSTREAM_CMP_POLL, &r->got->state, e);
    r->got->wait_s = (uint32_t)(wait_s < POLL_MIN_S ? POLL_MIN_S : wait_s > POLL_MAX_S ? POLL_MAX_S : wait_s);
    return rc == BM_OK ? bm_refuse(e, BM_AGAIN, "upstream-waits", "%s", what) : rc;
}

static enum bm_rc anew(struct reading *r, struct bm_error *e)
{
    struct bm_error told = *e;
    enum bm_rc rc;

    if (++r->s.round >= BM_UPSTREAM_CMP_ROUNDS)
        return told.rc;
    rc = bm_upstream_cmp_next(r->s, r->j->cert.n != 0 ? BM_UPSTREAM_CMP_REVOKE : BM_UPSTREAM_CMP_ASK, &r->got->state, e);
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
    rc = bm_upstream_cmp_next(r->s, BM_UPSTREAM_CMP_CONFIRM, &r->got->state, e);
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

static enum bm_rc not_here(const struct reading *r, struct bm_error *e)
{
    return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA answers with a message (%u) that does not go here",
                     r->m.type);
}

/* To a certConf, or to a poll after one. */
static enum bm_rc on_pkiconf(struct reading *r, struct bm_error *e)
{
    return r->s.cert.n != 0 ? give(r, r->s.cert) : not_here(r, e);
}

static enum bm_rc on_polled_cp(struct reading *r, struct bm_error *e)
{
    return r->s.cert.n == 0 ? on_cp(r, e) : not_here(r, e);
}

/* "It has been revoked already" is what was wanted; it is also what is said when we had died before the first answer was written down. */
static bool is_revoked(const struct reading *r, const struct bm_cmp_status_info *s)
{
    return r->j->cert.n != 0 && (s->fail >> BM_CMP_CERT_REVOKED & 1) != 0;
}

static enum bm_rc on_rp(struct reading *r, struct bm_error *e)
{
    struct bm_cmp_rev_rep p;
    enum bm_rc rc = bm_cmp_rev_rep_parse(r->m.content, &p, e);

    if (rc != BM_OK)
        return rc;
    if (p.n != 1)
        return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA answers about %zu certificates, and was asked about 1",
                         p.n);
    if (p.s.status == BM_CMP_WAITING)
        return poll_later(r, -1, 0, "the upstream CA has it under way", e);
    if (p.s.status == BM_CMP_ACCEPTED || p.s.status == BM_CMP_GRANTED_WITH_MODS || p.s.status == BM_CMP_REVOCATION_NOTIFIED ||
        is_revoked(r, &p.s))
        return BM_OK;
    return refused(&p.s, bm_rd_of(NULL, 0), e);
}

static enum bm_rc on_error(struct reading *r, struct bm_error *e)
{
    struct bm_cmp_error c;
    enum bm_rc rc = bm_cmp_error_parse(r->m.content, &c, e);

    if (rc != BM_OK)
        return rc;
    if (c.s.status ==
        BM_CMP_WAITING) /* RFC 9483 section 4.4: any answer may be late, and only certificates have a certReqId of their own */
        return poll_later(r, r->s.step == BM_UPSTREAM_CMP_CONFIRM ? -1 : r->s.req_id, 0, "the upstream CA has it under way", e);
    if (is_revoked(r, &c.s))
        return BM_OK;
    rc = refused(&c.s, c.details, e);
    if (rc == BM_DENIED && (r->s.step == BM_UPSTREAM_CMP_POLL || r->s.step == BM_UPSTREAM_CMP_CONFIRM ||
                            (c.s.fail >> BM_CMP_TRANSACTION_ID_IN_USE & 1) != 0))
        return anew(r, e);
    return rc;
}

static const struct {
    enum bm_upstream_cmp_step step;
    enum bm_cmp_type type;
    bool revoking;
    enum bm_rc (*fn)(struct reading *r, struct bm_error *e);
} turns[] = {
    { BM_UPSTREAM_CMP_ASK, BM_CMP_CP, false, on_cp },
    { BM_UPSTREAM_CMP_ASK, BM_CMP_ERROR, false, on_error },
    { BM_UPSTREAM_CMP_POLL, BM_CMP_CP, false, on_polled_cp },
    { BM_UPSTREAM_CMP_POLL, BM_CMP_PKICONF, false, on_pkiconf },
    { BM_UPSTREAM_CMP_POLL, BM_CMP_POLLREP, false, on_poll_rep },
    { BM_UPSTREAM_CMP_POLL, BM_CMP_ERROR, false, on_error },
    { BM_UPSTREAM_CMP_CONFIRM, BM_CMP_PKICONF, false, on_pkiconf },
    { BM_UPSTREAM_CMP_CONFIRM, BM_CMP_ERROR, false, on_error },
    { BM_UPSTREAM_CMP_REVOKE, BM_CMP_RP, true, on_rp },
    { BM_UPSTREAM_CMP_REVOKE, BM_CMP_ERROR, true, on_error },
    { BM_UPSTREAM_CMP_POLL, BM_CMP_RP, true, on_rp },
    { BM_UPSTREAM_CMP_POLL, BM_CMP_POLLREP, true, on_poll_rep },
    { BM_UPSTREAM_CMP_POLL, BM_CMP_ERROR, true, on_error },
};

static enum bm_rc act(struct reading *r, struct bm_error *e)
{
    for (size_t i = 0; i < BM_COUNT(turns); i++)
        if (turns[i].step == r->s.step && turns[i].type == r->m.type && turns[i].revoking == (r->j->cert.n != 0))
            return turns[i].fn(r, e);
    return not_here(r, e);
}

/* RFC 9811 section 3.3: an error may come as a CMP message under any status. */
static bool is_message(const struct bm_task_answer *a)
{
    static const char type[] = "application/pkixcmp";

    return a->status == 200 ||
           (a->content_type.n >= sizeof type - 1 && a->body.n != 0 && memcmp(a->content_type.p, type, sizeof type - 1) == 0);
}

/* A message, and by somebody who may speak for the upstream CA. */
static enum bm_rc open_answer(struct reading *r, const struct bm_task_answer *a, struct bm_error *e)
{
    enum bm_rc rc = bm_upstream_cmp_parse(r->j->state, &r->s, e);

    if (rc != BM_OK)
        return rc;
    if (!is_message(a))
        return bm_upstream_no(r->j, a, r->got, e);
    rc = bm_cmp_parse(a->body, &r->m, e);
    if (rc != BM_OK)
        return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA's answer is no CMP message");
    rc = bm_upstream_cmp_check(r->j, &r->s, &r->m, &r->signer, e);
    if (rc != BM_OK)
        return rc;
    r->s.their_nonce = r->m.h.sender_nonce;
    r->s.signer = r->signer.n != 0 && !bm_rd_eq(r->signer, r->s.issuer) ? r->signer : r->s.signer;
    return BM_OK;
}

static enum bm_rc read_answer(struct reading *r, struct bm_error *e)
{
    enum bm_rc rc = act(r, e);

    return rc == BM_MALFORMED ? bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA's answer does not parse") : rc;
}

enum bm_rc bm_upstream_cmp_read(const struct bm_upstream_job *j, const struct bm_task_answer *a, struct bm_upstream_got *ret,
                                struct bm_error *e)
{
    struct reading r = { .j = j, .got = ret };
    enum bm_rc rc = open_answer(&r, a, e);

    return rc == BM_OK ? read_answer(&r, e) : rc;
}

/* What nobody has protected ends no revocation, unless it came over TLS. */
enum bm_rc bm_upstream_cmp_revoke_read(const struct bm_upstream_job *j, const struct bm_task_answer *a, struct bm_upstream_got *ret,
                                       struct bm_error *e)
{
    struct reading r = { .j = j, .got = ret };
    enum bm_rc rc = open_answer(&r, a, e);
    struct bm_error told = { 0 };

    if (rc == BM_OK)
        return read_answer(&r, e);
    if (rc != BM_DENIED || strncmp(j->u->url, "https://", 8) == 0)
        return rc;
    if (e != NULL)
        told = *e;
    return bm_refuse(e, BM_AGAIN, "upstream-waits", "%s", told.what);
}
