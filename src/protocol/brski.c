#include "protocol/brski.h"

#include "keeper/brski.h"

#include <strings.h>

enum { PENDING_S = 5 }; /* section 5.6: a device waits a minute at most */

/* --- what kind of voucher ----------------------------------------------------------------------------------------------------- */
static struct bm_rd trim(struct bm_rd v)
{
    while (v.n != 0 && (v.p[0] == ' ' || v.p[0] == '\t'))
        v = bm_rd_of(v.p + 1, v.n - 1);
    while (v.n != 0 && (v.p[v.n - 1] == ' ' || v.p[v.n - 1] == '\t'))
        v.n--;
    return v;
}

/* The next of a comma-separated list, without its parameters. */
static struct bm_rd next_range(struct bm_rd *list)
{
    const uint8_t *comma = memchr(list->p, ',', list->n);
    struct bm_rd one = bm_rd_of(list->p, comma != NULL ? (size_t)(comma - list->p) : list->n);
    const uint8_t *semicolon = one.n != 0 ? memchr(one.p, ';', one.n) : NULL;

    *list = comma != NULL ? bm_rd_of(comma + 1, list->n - one.n - 1) : bm_rd_of(list->p + one.n, 0);
    one.n = semicolon != NULL ? (size_t)(semicolon - one.p) : one.n;
    return trim(one);
}

static bool is_one_of(struct bm_rd range, const char *const *types)
{
    for (; *types != NULL; types++)
        if (range.n == strlen(*types) && strncasecmp((const char *)range.p, *types, range.n) == 0)
            return true;
    return false;
}

/* The first that is named of those that can be had; a range leaves it as the request came. */
static bool is_ours(struct bm_rd range, enum bm_voucher_form sent, enum bm_voucher_form *ret)
{
    static const char *const cms[] = { BM_VOUCHER_TYPE, NULL }, *const jws[] = { BM_VOUCHER_JWS_TYPE, NULL },
                             *const any[] = { "application/*", "*/*", NULL };

    *ret = is_one_of(range, cms) ? BM_VOUCHER_CMS : is_one_of(range, jws) ? BM_VOUCHER_JWS : sent;
    return is_one_of(range, cms) || is_one_of(range, jws) || is_one_of(range, any);
}

enum bm_rc bm_brski_accept(struct bm_rd accept, enum bm_voucher_form sent, enum bm_voucher_form *ret, struct bm_error *e)
{
    static const char *const others[] = { "application/voucher-cose+cbor", "application/voucher-cms+cbor",
                                          "application/voucher-cmscbor+json", NULL };
    bool known = false;

    *ret = sent;
    if (trim(accept).n == 0)
        return BM_OK;
    while (accept.n != 0) {
        struct bm_rd range = next_range(&accept);

        if (is_ours(range, sent, ret))
            return BM_OK;
        known = known || is_one_of(range, others);
    }
    return known ? bm_refuse(e, BM_DENIED, "not-acceptable", "vouchers are made here as %s and %s only", BM_VOUCHER_TYPE,
                             BM_VOUCHER_JWS_TYPE)
                 : bm_refuse(e, BM_MALFORMED, "unsupported-media-type",
                             "the Accept field names no kind of voucher; it has to be %s or %s", BM_VOUCHER_TYPE,
                             BM_VOUCHER_JWS_TYPE);
}

/* --- to the keeper ------------------------------------------------------------------------------------------------------------ */
static enum bm_rc write_ask(const struct bm_request *q, uint8_t op, struct bm_buf *payload, struct bm_error *e)
{
    struct bm_brski_ask a = { .op = op, .who.protocol = "brski", .body = q->body };

    if (q->client_cert.n != 0) {
        a.who.evidence = (struct bm_evidence){ .kind = BM_EVIDENCE_TLS,
                                               .cert = q->client_cert,
                                               .n_chain = q->n_client_chain,
                                               .handshake = q->handshake,
                                               .verify = q->verify };
        memcpy(a.who.evidence.chain, q->client_chain, sizeof a.who.evidence.chain);
    }
    memcpy(a.who.correlation, q->correlation, sizeof a.who.correlation);
    memcpy(a.who.peer, q->peer, sizeof a.who.peer);
    bm_brski_ask_write(payload, &a);
    return bm_buf_check(payload, e);
}

static enum bm_rc check_type(const struct bm_request *q, const char *type, struct bm_error *e)
{
    if (!bm_is_media_type(q->content_type, type))
        return bm_refuse(e, BM_MALFORMED, "unsupported-media-type", "this call takes %s", type);
    return BM_OK;
}

/* A message that is none never reaches the keeper. */
static enum bm_rc check_signed(const struct bm_request *q, enum bm_voucher_form *ret, struct bm_error *e)
{
    struct bm_cms_signed cms;
    enum bm_rc rc;

    *ret = bm_is_media_type(q->content_type, BM_VOUCHER_JWS_TYPE) ? BM_VOUCHER_JWS : BM_VOUCHER_CMS;
    rc = *ret == BM_VOUCHER_JWS ? BM_OK : check_type(q, BM_VOUCHER_TYPE, e);
    if (rc == BM_OK)
        rc = *ret == BM_VOUCHER_JWS ? bm_voucher_jws_check(q->body, e) : bm_cms_signed_parse(q->body, &cms, e);
    return rc;
}

enum bm_rc bm_brski_voucher_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    enum bm_voucher_form sent, wanted;
    struct bm_error why = { 0 };
    enum bm_rc rc = check_signed(q, &sent, &why);

    if (bm_brski_accept(q->accept, sent, &wanted, e) != BM_OK)
        return e->rc;
    if (rc != BM_OK)
        *e = why;
    return rc == BM_OK ? write_ask(q, wanted == BM_VOUCHER_JWS ? BM_BRSKI_VOUCHER_JWS : BM_BRSKI_VOUCHER, payload, e) : rc;
}

enum bm_rc bm_brski_audit_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    enum bm_voucher_form sent;
    enum bm_rc rc = check_signed(q, &sent, e);

    return rc == BM_OK ? write_ask(q, BM_BRSKI_AUDIT, payload, e) : rc;
}

static enum bm_rc told_prepare(const struct bm_request *q, uint8_t op, struct bm_buf *payload, struct bm_error *e)
{
    enum bm_rc rc = check_type(q, "application/json", e);

    return rc == BM_OK ? write_ask(q, op, payload, e) : rc;
}

enum bm_rc bm_brski_status_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    return told_prepare(q, BM_BRSKI_STATUS, payload, e);
}

enum bm_rc bm_brski_enrolled_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    return told_prepare(q, BM_BRSKI_ENROLLED, payload, e);
}

/* --- to the client ------------------------------------------------------------------------------------------------------------ */
static enum bm_rc put(struct bm_response *r, const char *type, struct bm_rd body)
{
    r->status = 200;
    r->content_type = type;
    r->no_store = true;
    bm_buf_put(&r->body, body.p, body.n);
    return BM_OK;
}

enum bm_rc bm_brski_voucher_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                                   struct bm_error *e)
{
    (void)q, (void)v, (void)e;
    return put(r, bm_voucher_type(bm_voucher_form_of(answer)), answer);
}

enum bm_rc bm_brski_audit_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                                 struct bm_error *e)
{
    (void)q, (void)v, (void)e;
    return put(r, "application/json", answer);
}

enum bm_rc bm_brski_told_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                                struct bm_error *e)
{
    (void)q, (void)v, (void)e, (void)answer;
    r->status = 200;
    return BM_OK;
}

/* Where the RFC has another word than the rest of the server: a device that is not known is "not found" (sections 5.3 and 5.6), and
 * one that has seen somebody else's certificate gets a 401 and loses its connection (section 5.2). */
void bm_brski_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r)
{
    static const struct {
        const char *code;
        int status;
    } rows[] = { { "unknown-device", 404 },      { "udid-mismatch", 404 }, { "not-acceptable", 406 },
                 { "proximity-elsewhere", 401 }, { "masa-pending", 202 },  { "masa-unreachable", 503 } };

    bm_refuse_text(q, e, retry_after_s, r);
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        if (strcmp(rows[i].code, e->code) == 0)
            r->status = rows[i].status;
    if (r->status == 202)
        r->retry_after_s = PENDING_S;
    r->close = strcmp(e->code, "proximity-elsewhere") == 0;
}
