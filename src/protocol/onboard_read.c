/* Onboard requests: JSON or CBOR into a command. */
#include "protocol/form.h"
#include "protocol/onboard.h"

#include <stddef.h>

enum kind { BYTES, TEXT };

/* Where a member goes: an offset of a struct bm_rd in its struct. */
struct member {
    const char *key;
    enum kind kind;
    size_t at;
};

/* A command, and a proof that comes under a name of its own. */
struct asked {
    struct bm_enrol enrol;
    struct bm_rd mac;
};

#define AT(member) offsetof(struct asked, member)
static const struct member enrol_members[] = {
    { "mac", BYTES, AT(mac) },
    { "udid", BYTES, AT(enrol.claimed_udid) },
    { "challenge", BYTES, AT(enrol.evidence.challenge) },
    { "key", BYTES, AT(enrol.evidence.spki) },
    { "certificate", BYTES, AT(enrol.evidence.cert) },
    { "signature", BYTES, AT(enrol.evidence.signature) },
    { "code", TEXT, AT(enrol.evidence.code) },
    { "batch", TEXT, AT(enrol.claimed_batch) },
};

static const struct member request_members[] = {
    { "service", TEXT, offsetof(struct bm_enrol_request, service) },
    { "csr", BYTES, offsetof(struct bm_enrol_request, csr) },
};

struct reading {
    const struct bm_form *form;
    struct bm_buf *arena;
    struct bm_enrol *enrol;
    bool with_requests;
    void *target; /* the struct being filled */
    const struct member *members;
    size_t n_members;
};

static bool take_member(struct reading *r, struct bm_rd key, const void *value)
{
    for (size_t i = 0; i < r->n_members; i++) {
        struct bm_rd *to = (struct bm_rd *)((char *)r->target + r->members[i].at);

        if (bm_rd_eq(key, bm_rd_str(r->members[i].key)))
            return r->members[i].kind == BYTES ? r->form->get_bytes(value, r->arena, to) : r->form->get_text(value, to);
    }
    return false;
}

static bool take_request_member(void *arg, struct bm_rd key, const void *value)
{
    return take_member(arg, key, value);
}

static bool take_requests(struct reading *r, const void *array)
{
    bool is_array;
    size_t n = r->form->array_size(array, &is_array);

    if (!is_array || n > BM_SERVICES_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        struct reading one = *r;

        one.target = &r->enrol->requests[i];
        one.members = request_members;
        one.n_members = BM_COUNT(request_members);
        if (!r->form->each(r->form->array_at(array, i), take_request_member, &one))
            return false;
    }
    r->enrol->n_requests = n;
    return true;
}

static bool take_enrol_member(void *arg, struct bm_rd key, const void *value)
{
    struct reading *r = arg;

    if (r->with_requests && bm_rd_eq(key, bm_rd_str("requests")))
        return take_requests(r, value);
    return take_member(r, key, value);
}

/* What the keeper's parser would refuse anyway is told here in the device's words. */
static enum bm_rc check_sizes(const struct bm_enrol *c, struct bm_error *e)
{
    if (c->claimed_udid.n != BM_UDID_LEN)
        return bm_fail(e, BM_MALFORMED, "'udid' must be %d bytes", BM_UDID_LEN);
    if (c->evidence.challenge.n > BM_CHALLENGE_LEN || c->evidence.signature.n > BM_SIGNATURE_MAX ||
        c->evidence.code.n > BM_CODE_TYPED_MAX || c->evidence.spki.n > BM_SPKI_MAX || c->evidence.cert.n > BM_CERT_MAX ||
        c->claimed_batch.n >= BM_NAME_LEN)
        return bm_fail(e, BM_LIMIT, "a member is longer than it may be");
    for (size_t i = 0; i < c->n_requests; i++)
        if (c->requests[i].service.n >= BM_NAME_LEN || c->requests[i].csr.n > BM_CSR_MAX)
            return bm_fail(e, BM_LIMIT, "certificate request %zu is longer than it may be", i + 1);
    return BM_OK;
}

/* A MAC takes the place of key or certificate and signature. */
static enum bm_rc take_mac(struct asked *a, struct bm_error *e)
{
    struct bm_evidence *v = &a->enrol.evidence;

    if (a->mac.n == 0)
        return BM_OK;
    if (v->challenge.n == 0 || v->spki.n != 0 || v->cert.n != 0 || v->signature.n != 0 || v->code.n != 0 ||
        a->mac.n > BM_SIGNATURE_MAX)
        return bm_refuse(e, BM_MALFORMED, "evidence-ambiguous",
                         "'mac' goes with 'challenge', and without key, certificate and signature");
    v->kind = BM_EVIDENCE_MAC;
    v->signature = a->mac;
    return BM_OK;
}

static void take_evidence(const struct bm_request *q, struct bm_enrol *c)
{
    struct bm_rd code = c->evidence.code;

    if (c->evidence.kind == BM_EVIDENCE_MAC)
        return;
    if (c->evidence.challenge.n != 0) {
        c->evidence.kind = code.n != 0 ? BM_EVIDENCE_CODE : BM_EVIDENCE_CHALLENGE;
        return;
    }
    /* without a challenge, only TLS says whose key it is */
    if (q->client_cert.n == 0 && code.n == 0)
        return;
    c->evidence = (struct bm_evidence){
        .kind = code.n != 0 ? BM_EVIDENCE_CODE : BM_EVIDENCE_TLS,
        .cert = q->client_cert,
        .n_chain = q->n_client_chain,
        .handshake = q->handshake,
        .verify = q->verify,
        .code = code,
    };
    memcpy(c->evidence.chain, q->client_chain, sizeof c->evidence.chain);
}

struct tree {
    const struct bm_form *form;
    void *root;
};

static void tree_done(struct tree *t)
{
    if (t->root != NULL)
        t->form->free(t->root);
}

static enum bm_rc load(const struct bm_request *q, struct tree *t, struct bm_error *e)
{
    t->form = bm_form_of(q->content_type);
    if (t->form == NULL)
        return bm_refuse(e, BM_MALFORMED, "unsupported-media-type", "Onboard speaks application/json and application/cbor");
    return t->form->load(q->body, &t->root, e);
}

static enum bm_rc prepare(const struct bm_request *q, bool with_requests, struct bm_buf *payload, struct bm_error *e)
{
    BM_CLEANUP(tree_done) struct tree t = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf arena = { .max = 2 * BM_HTTP_BODY_MAX };
    struct asked a = { .enrol = { .protocol = "onboard" } };
    struct bm_enrol *c = &a.enrol;
    struct reading r = { .arena = &arena,
                         .enrol = c,
                         .with_requests = with_requests,
                         .target = &a,
                         .members = enrol_members,
                         .n_members = BM_COUNT(enrol_members) };
    enum bm_rc rc = load(q, &t, e);

    if (rc != BM_OK)
        return rc;
    if (bm_buf_room(&arena, q->body.n + 64) == NULL) /* all of it now: nothing lent out may move */
        return bm_fail(e, BM_NOMEM, "no memory for a request");
    r.form = t.form;
    if (!t.form->each(t.root, take_enrol_member, &r))
        return bm_fail(e, BM_MALFORMED, "a member is unknown, given twice or of the wrong kind; see docs/onboard.md");
    rc = check_sizes(c, e);
    if (rc == BM_OK)
        rc = take_mac(&a, e);
    if (rc != BM_OK)
        return rc;
    take_evidence(q, c);
    memcpy(c->correlation, q->correlation, sizeof c->correlation);
    memcpy(c->peer, q->peer, sizeof c->peer);
    bm_enrol_write(payload, c);
    return bm_buf_check(payload, e);
}

BM_PREPARE(bm_onboard_enrol_prepare)
{
    return prepare(q, true, payload, e);
}

BM_PREPARE(bm_onboard_status_prepare)
{
    return prepare(q, false, payload, e);
}

static bool no_member(void *arg, struct bm_rd key, const void *value)
{
    (void)arg, (void)key, (void)value;
    return false;
}

BM_PREPARE(bm_onboard_challenge_prepare)
{
    BM_CLEANUP(tree_done) struct tree t = { 0 };
    enum bm_rc rc = load(q, &t, e);

    (void)payload;
    if (rc == BM_OK && !t.form->each(t.root, no_member, NULL))
        rc = bm_fail(e, BM_MALFORMED, "a challenge request is an empty map");
    return rc;
}
