#include "keeper/wire.h"

#include "base/text.h"

/* Fixed-size text travels as a counted string without its terminator. */
static void put_text(struct bm_buf *out, const char *s)
{
    bm_buf_vec(out, bm_rd_str(s));
}

static bool get_text(struct bm_rd *in, char *ret, size_t ret_len)
{
    struct bm_rd v;

    if (!bm_rd_vec(in, ret_len - 1, &v) || (v.n != 0 && memchr(v.p, '\0', v.n) != NULL))
        return false;
    memcpy(ret, v.n != 0 ? (const void *)v.p : "", v.n);
    ret[v.n] = '\0';
    return true;
}

static bool get_count(struct bm_rd *in, size_t max, size_t *ret)
{
    uint32_t n;

    if (!bm_rd_u32(in, &n) || n > max)
        return false;
    *ret = n;
    return true;
}

static void put_list(struct bm_buf *out, const struct bm_rd *items, size_t n)
{
    bm_buf_uint(out, 4, n);
    for (size_t i = 0; i < n; i++)
        bm_buf_vec(out, items[i]);
}

static bool get_list(struct bm_rd *in, struct bm_rd *items, size_t max, size_t item_max, size_t *ret_n)
{
    size_t n;

    if (!get_count(in, max, &n))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!bm_rd_vec(in, item_max, &items[i]))
            return false;
    *ret_n = n;
    return true;
}

static enum bm_rc finish(bool ok, struct bm_rd rest, const char *what, struct bm_error *e)
{
    if (!ok)
        return bm_fail(e, BM_MALFORMED, "%s: cut short or over a limit", what);
    if (rest.n != 0)
        return bm_fail(e, BM_MALFORMED, "%s: %zu bytes left over", what, rest.n);
    return BM_OK;
}

/* --- enrol ------------------------------------------------------------------------------------------------------------------- */
static void put_evidence(struct bm_buf *out, const struct bm_evidence *v)
{
    bm_buf_uint(out, 1, v->kind);
    bm_buf_vec(out, v->cert);
    put_list(out, v->chain, v->n_chain);
    bm_buf_vec(out, v->spki);
    bm_buf_vec(out, v->challenge);
    bm_buf_vec(out, v->signature);
    bm_buf_vec(out, v->handshake);
    bm_buf_vec(out, v->verify);
    bm_buf_vec(out, v->code);
    bm_buf_vec(out, v->binding);
}

static bool get_evidence(struct bm_rd *in, struct bm_evidence *v)
{
    return bm_rd_u8(in, &v->kind) && v->kind <= BM_EVIDENCE_CODE && bm_rd_vec(in, BM_CERT_MAX, &v->cert) &&
           get_list(in, v->chain, BM_TLS_CLIENT_CERTS_MAX, BM_CERT_MAX, &v->n_chain) && bm_rd_vec(in, BM_SPKI_MAX, &v->spki) &&
           bm_rd_vec(in, BM_CHALLENGE_LEN, &v->challenge) && bm_rd_vec(in, BM_SIGNATURE_MAX, &v->signature) &&
           bm_rd_vec(in, BM_HANDSHAKE_MAX, &v->handshake) && bm_rd_vec(in, BM_HANDSHAKE_VERIFY_MAX, &v->verify) &&
           bm_rd_vec(in, BM_CODE_TYPED_MAX, &v->code) && bm_rd_vec(in, BM_BINDING_MAX, &v->binding);
}

void bm_enrol_write(struct bm_buf *out, const struct bm_enrol *c)
{
    put_text(out, c->correlation);
    put_text(out, c->protocol);
    put_text(out, c->peer);
    put_evidence(out, &c->evidence);
    bm_buf_vec(out, c->claimed_udid);
    bm_buf_vec(out, c->claimed_batch);
    bm_buf_uint(out, 1, c->reenrol);
    bm_buf_uint(out, 1, c->keygen);
    bm_buf_uint(out, 4, c->n_requests);
    for (size_t i = 0; i < c->n_requests; i++) {
        bm_buf_vec(out, c->requests[i].service);
        bm_buf_vec(out, c->requests[i].csr);
    }
}

/* The correlation id ends up in files and replies: exactly 16 lower-case hex digits, whatever a worker says. */
static bool correlation_ok(const char *s)
{
    return strlen(s) == 16 && strspn(s, "0123456789abcdef") == 16;
}

void bm_enrol_correlation(struct bm_rd in, char ret[17])
{
    if (!get_text(&in, ret, 17) || !correlation_ok(ret))
        ret[0] = '\0';
}

static bool printable(const char *s)
{
    for (; *s != '\0'; s++)
        if (*s < 0x20 || *s == 0x7f || *s == '"' || *s == '\\')
            return false;
    return true;
}

enum bm_rc bm_enrol_parse(struct bm_rd in, struct bm_enrol *ret, struct bm_error *e)
{
    struct bm_enrol c = { 0 };
    uint8_t reenrol = 0, keygen = 0;
    bool ok;

    ok = get_text(&in, c.correlation, sizeof c.correlation) && correlation_ok(c.correlation) &&
         get_text(&in, c.protocol, sizeof c.protocol) && bm_name_ok(c.protocol) && get_text(&in, c.peer, sizeof c.peer) &&
         printable(c.peer) && get_evidence(&in, &c.evidence) && bm_rd_vec(&in, BM_UDID_LEN, &c.claimed_udid) &&
         (c.claimed_udid.n == 0 || c.claimed_udid.n == BM_UDID_LEN) && bm_rd_vec(&in, BM_NAME_LEN - 1, &c.claimed_batch) &&
         bm_rd_u8(&in, &reenrol) && reenrol <= 1 && bm_rd_u8(&in, &keygen) && keygen <= 1 &&
         get_count(&in, BM_SERVICES_MAX, &c.n_requests);
    for (size_t i = 0; ok && i < c.n_requests; i++)
        ok = bm_rd_vec(&in, BM_NAME_LEN - 1, &c.requests[i].service) && bm_rd_vec(&in, BM_CSR_MAX, &c.requests[i].csr);
    if (finish(ok, in, "enrol command", e) != BM_OK)
        return BM_MALFORMED;
    c.reenrol = reenrol != 0;
    c.keygen = keygen != 0;
    *ret = c;
    return BM_OK;
}

void bm_enrol_tbs(struct bm_buf *out, uint8_t op, const struct bm_enrol *c)
{
    static const char context[] = "birthmark-onboard-v1"; /* with its terminator: the 0x00 of the format */

    bm_buf_put(out, context, sizeof context);
    bm_buf_uint(out, 1, op);
    bm_buf_vec(out, c->evidence.challenge);
    bm_buf_vec(out, c->claimed_udid);
    bm_buf_vec(out, c->claimed_batch);
    bm_buf_uint(out, 4, c->n_requests);
    for (size_t i = 0; i < c->n_requests; i++) {
        bm_buf_vec(out, c->requests[i].service);
        bm_buf_vec(out, c->requests[i].csr);
    }
}

/* --- enrolled ---------------------------------------------------------------------------------------------------------------- */
void bm_enrolled_write(struct bm_buf *out, const struct bm_enrolled *r)
{
    bm_buf_put(out, r->udid, sizeof r->udid);
    bm_buf_uint(out, 4, r->n_credentials);
    for (size_t i = 0; i < r->n_credentials; i++) {
        const struct bm_enrolled_credential *c = &r->credentials[i];

        bm_buf_vec(out, c->service);
        bm_buf_vec(out, c->cert);
        bm_buf_vec(out, c->endpoints);
        bm_buf_uint(out, 1, c->key_form);
        bm_buf_vec(out, c->key);
        bm_buf_uint(out, 8, (uint64_t)c->not_after);
        bm_buf_uint(out, 8, (uint64_t)c->renew_after);
        put_list(out, c->chain, c->n_chain);
    }
}

static bool get_enrolled_credential(struct bm_rd *in, struct bm_enrolled_credential *c)
{
    return bm_rd_vec(in, BM_NAME_LEN - 1, &c->service) && bm_rd_vec(in, BM_CERT_MAX, &c->cert) &&
           bm_rd_vec(in, 1024, &c->endpoints) && bm_rd_u8(in, &c->key_form) && c->key_form <= BM_KEY_SEALED &&
           bm_rd_vec(in, BM_KEY_SEALED_MAX, &c->key) && (c->key_form == BM_KEY_NONE) == (c->key.n == 0) &&
           bm_rd_i64(in, &c->not_after) && bm_rd_i64(in, &c->renew_after) &&
           get_list(in, c->chain, BM_CHAIN_MAX, BM_CERT_MAX, &c->n_chain);
}

enum bm_rc bm_enrolled_parse(struct bm_rd in, struct bm_enrolled *ret, struct bm_error *e)
{
    bool ok = bm_rd_copy(&in, ret->udid, sizeof ret->udid) && get_count(&in, BM_SERVICES_MAX, &ret->n_credentials);

    for (size_t i = 0; ok && i < ret->n_credentials; i++)
        ok = get_enrolled_credential(&in, &ret->credentials[i]);
    return finish(ok, in, "enrol answer", e);
}

/* --- status ------------------------------------------------------------------------------------------------------------------ */
void bm_status_write(struct bm_buf *out, const struct bm_status *r)
{
    bm_buf_put(out, r->udid, sizeof r->udid);
    put_text(out, r->status);
    put_text(out, r->state);
    put_text(out, r->product);
    put_text(out, r->batch);
    put_text(out, r->owner);
    bm_buf_uint(out, 4, r->n_credentials);
    for (size_t i = 0; i < r->n_credentials; i++) {
        const struct bm_status_credential *c = &r->credentials[i];

        put_text(out, c->service);
        bm_buf_put(out, c->serial, sizeof c->serial);
        put_text(out, c->status);
        bm_buf_uint(out, 8, (uint64_t)c->not_after);
        bm_buf_uint(out, 8, (uint64_t)c->renew_after);
    }
}

static bool get_status_credential(struct bm_rd *in, struct bm_status_credential *c)
{
    return get_text(in, c->service, sizeof c->service) && bm_rd_copy(in, c->serial, sizeof c->serial) &&
           get_text(in, c->status, sizeof c->status) && bm_rd_i64(in, &c->not_after) && bm_rd_i64(in, &c->renew_after);
}

enum bm_rc bm_status_parse(struct bm_rd in, struct bm_status *ret, struct bm_error *e)
{
    bool ok = bm_rd_copy(&in, ret->udid, sizeof ret->udid) && get_text(&in, ret->status, sizeof ret->status) &&
              get_text(&in, ret->state, sizeof ret->state) && get_text(&in, ret->product, sizeof ret->product) &&
              get_text(&in, ret->batch, sizeof ret->batch) && get_text(&in, ret->owner, sizeof ret->owner) &&
              get_count(&in, BM_STATUS_CREDENTIALS_MAX, &ret->n_credentials);

    for (size_t i = 0; ok && i < ret->n_credentials; i++)
        ok = get_status_credential(&in, &ret->credentials[i]);
    return finish(ok, in, "status answer", e);
}

/* --- view -------------------------------------------------------------------------------------------------------------------- */
void bm_view_write(struct bm_buf *out, const struct bm_view *v)
{
    bm_buf_uint(out, 8, v->version);
    put_list(out, v->cas, v->n_cas);
    bm_buf_uint(out, 4, v->n_labels);
    for (size_t i = 0; i < v->n_labels; i++) {
        bm_buf_vec(out, v->labels[i].label);
        bm_buf_vec(out, v->labels[i].csrattrs);
        bm_buf_uint(out, 8, v->labels[i].cas);
    }
    bm_buf_vec(out, v->tls_chain_pem);
    bm_buf_vec(out, v->tls_key);
    bm_buf_vec(out, v->nonce);
    bm_buf_uint(out, 1, v->api);
    bm_buf_vec(out, v->acme_thumbprint);
}

enum bm_rc bm_view_parse(struct bm_rd in, struct bm_view *ret, struct bm_error *e)
{
    uint8_t api = 0;
    bool ok = bm_rd_u64(&in, &ret->version) && get_list(&in, ret->cas, BM_VIEW_CAS_MAX, BM_CERT_MAX, &ret->n_cas) &&
              get_count(&in, BM_VIEW_LABELS_MAX, &ret->n_labels);

    for (size_t i = 0; ok && i < ret->n_labels; i++)
        ok = bm_rd_vec(&in, BM_NAME_LEN - 1, &ret->labels[i].label) && bm_rd_vec(&in, BM_CSRATTRS_MAX, &ret->labels[i].csrattrs) &&
             bm_rd_u64(&in, &ret->labels[i].cas);
    ok = ok && bm_rd_vec(&in, BM_COMMAND_MAX, &ret->tls_chain_pem) && bm_rd_vec(&in, BM_CERT_MAX, &ret->tls_key) &&
         bm_rd_vec(&in, BM_HANDSHAKE_NONCE_LEN, &ret->nonce) && bm_rd_u8(&in, &api) && api <= 1 &&
         bm_rd_vec(&in, BM_ACME_THUMBPRINT_LEN - 1, &ret->acme_thumbprint);
    ret->api = api != 0;
    return finish(ok, in, "view answer", e);
}

/* --- the Admin API -------------------------------------------------------------------------------------------------------------- */
bool bm_api_token_ok(struct bm_rd text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t n = strlen(BM_API_TOKEN_PREFIX);

    if (text.n != BM_API_TOKEN_LEN || memcmp(text.p, BM_API_TOKEN_PREFIX, n) != 0)
        return false;
    for (; n < text.n; n++)
        if (memchr(digits, text.p[n], sizeof digits - 1) == NULL)
            return false;
    return true;
}

void bm_api_ask_write(struct bm_buf *out, const struct bm_api_ask *a)
{
    put_text(out, a->correlation);
    put_text(out, a->peer);
    bm_buf_vec(out, a->token);
    bm_buf_vec(out, a->request);
    bm_buf_vec(out, a->blob);
}

enum bm_rc bm_api_ask_parse(struct bm_rd in, struct bm_api_ask *ret, struct bm_error *e)
{
    struct bm_api_ask a = { 0 };
    bool ok = get_text(&in, a.correlation, sizeof a.correlation) && correlation_ok(a.correlation) &&
              get_text(&in, a.peer, sizeof a.peer) && printable(a.peer) && bm_rd_vec(&in, BM_API_TOKEN_LEN, &a.token) &&
              bm_rd_vec(&in, BM_API_REQUEST_MAX, &a.request) && bm_rd_vec(&in, BM_MANIFEST_BLOCK_MAX, &a.blob);
    enum bm_rc rc = finish(ok, in, "API command", e);

    if (rc == BM_OK)
        *ret = a;
    return rc;
}

/* --- refused ----------------------------------------------------------------------------------------------------------------- */
void bm_refused_write(struct bm_buf *out, const struct bm_error *e, uint32_t retry_after_s)
{
    bm_buf_uint(out, 1, (uint64_t)e->rc);
    bm_buf_uint(out, 4, retry_after_s);
    put_text(out, bm_error_code(e));
    put_text(out, e->what);
}

enum bm_rc bm_refused_parse(struct bm_rd in, struct bm_refused *ret, struct bm_error *e)
{
    bool ok = bm_rd_u8(&in, &ret->rc) && ret->rc > BM_OK && ret->rc <= BM_BUG && bm_rd_u32(&in, &ret->retry_after_s) &&
              get_text(&in, ret->code, sizeof ret->code) && get_text(&in, ret->what, sizeof ret->what);

    return finish(ok, in, "refusal", e);
}

/* --- messages of other protocols ---------------------------------------------------------------------------------------------- */
void bm_message_write(struct bm_buf *out, const struct bm_message *m)
{
    put_text(out, m->correlation);
    put_text(out, m->peer);
    bm_buf_vec(out, m->what);
    bm_buf_vec(out, m->label);
    bm_buf_vec(out, m->body);
}

enum bm_rc bm_message_parse(struct bm_rd in, struct bm_message *ret, struct bm_error *e)
{
    struct bm_message m = { 0 };
    bool ok = get_text(&in, m.correlation, sizeof m.correlation) && correlation_ok(m.correlation) &&
              get_text(&in, m.peer, sizeof m.peer) && printable(m.peer) && bm_rd_vec(&in, BM_NAME_LEN - 1, &m.what) &&
              bm_rd_vec(&in, BM_NAME_LEN - 1, &m.label) && bm_rd_vec(&in, BM_HTTP_BODY_MAX, &m.body);
    enum bm_rc rc = finish(ok, in, "message", e);

    if (rc == BM_OK)
        *ret = m;
    return rc;
}

void bm_cmp_told_write(struct bm_buf *out, const struct bm_cmp_told *t)
{
    put_text(out, t->code);
    bm_buf_vec(out, t->der);
}

enum bm_rc bm_cmp_told_parse(struct bm_rd in, struct bm_cmp_told *ret, struct bm_error *e)
{
    struct bm_cmp_told t = { 0 };
    bool ok = get_text(&in, t.code, sizeof t.code) && printable(t.code) && bm_rd_vec(&in, BM_FRAME_MAX, &t.der);
    enum bm_rc rc = finish(ok, in, "CMP answer", e);

    if (rc == BM_OK)
        *ret = t;
    return rc;
}

void bm_scep_told_write(struct bm_buf *out, const struct bm_scep_told *t)
{
    bm_buf_uint(out, 1, (uint64_t)t->form);
    put_text(out, t->code);
    bm_buf_vec(out, t->body);
}

enum bm_rc bm_scep_told_parse(struct bm_rd in, struct bm_scep_told *ret, struct bm_error *e)
{
    struct bm_scep_told t = { 0 };
    uint8_t form = 0;
    bool ok = bm_rd_u8(&in, &form) && form < BM_SCEP_FORMS && get_text(&in, t.code, sizeof t.code) && printable(t.code) &&
              bm_rd_vec(&in, BM_SCEP_REPLY_MAX, &t.body);
    enum bm_rc rc = finish(ok, in, "answer of SCEP", e);

    t.form = (enum bm_scep_form)form;
    if (rc == BM_OK)
        *ret = t;
    return rc;
}

/* --- ACME --------------------------------------------------------------------------------------------------------------------- */
enum { ACME_ADDRESS_MAX = 1024 }; /* an address in an answer */

bool bm_acme_host_ok(struct bm_rd host)
{
    static const char may[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]_";

    for (size_t i = 0; i < host.n; i++)
        if (host.p[i] == '\0' || strchr(may, host.p[i]) == NULL)
            return false;
    return host.n != 0 && host.n <= BM_ACME_HOST_MAX;
}

void bm_acme_ask_write(struct bm_buf *out, const struct bm_acme_ask *a)
{
    put_text(out, a->correlation);
    put_text(out, a->peer);
    bm_buf_vec(out, a->host);
    bm_buf_vec(out, a->what);
    bm_buf_vec(out, a->label);
    bm_buf_vec(out, a->query);
    bm_buf_vec(out, a->body);
}

enum bm_rc bm_acme_ask_parse(struct bm_rd in, struct bm_acme_ask *ret, struct bm_error *e)
{
    struct bm_acme_ask a = { 0 };
    bool ok = get_text(&in, a.correlation, sizeof a.correlation) && correlation_ok(a.correlation) &&
              get_text(&in, a.peer, sizeof a.peer) && printable(a.peer) && bm_rd_vec(&in, BM_ACME_HOST_MAX, &a.host) &&
              bm_acme_host_ok(a.host) && bm_rd_vec(&in, BM_NAME_LEN - 1, &a.what) && bm_rd_vec(&in, BM_HTTP_TARGET_MAX, &a.label) &&
              bm_rd_vec(&in, BM_HTTP_TARGET_MAX, &a.query) && bm_rd_vec(&in, BM_HTTP_BODY_MAX, &a.body);
    enum bm_rc rc = finish(ok, in, "request to ACME", e);

    if (rc == BM_OK)
        *ret = a;
    return rc;
}

void bm_acme_told_write(struct bm_buf *out, const struct bm_acme_told *t)
{
    bm_buf_uint(out, 2, t->status);
    bm_buf_uint(out, 1, t->content);
    bm_buf_uint(out, 4, t->retry_after_s);
    put_text(out, t->code);
    bm_buf_vec(out, t->nonce);
    bm_buf_vec(out, t->location);
    bm_buf_vec(out, t->up);
    bm_buf_vec(out, t->next);
    bm_buf_vec(out, t->help);
    bm_buf_uint(out, 1, t->n_alternates);
    for (size_t i = 0; i < t->n_alternates; i++)
        bm_buf_vec(out, t->alternates[i]);
    bm_buf_vec(out, t->body);
}

static bool take_alternates(struct bm_rd *in, struct bm_acme_told *t)
{
    uint8_t n;

    if (!bm_rd_u8(in, &n) || n > BM_ACME_ALTERNATES_MAX)
        return false;
    for (t->n_alternates = 0; t->n_alternates < n; t->n_alternates++)
        if (!bm_rd_vec(in, ACME_ADDRESS_MAX, &t->alternates[t->n_alternates]))
            return false;
    return true;
}

enum bm_rc bm_acme_told_parse(struct bm_rd in, struct bm_acme_told *ret, struct bm_error *e)
{
    struct bm_acme_told t = { 0 };
    bool ok = bm_rd_u16(&in, &t.status) && t.status >= 200 && t.status < 600 && bm_rd_u8(&in, &t.content) &&
              t.content < BM_ACME_CONTENTS && bm_rd_u32(&in, &t.retry_after_s) && get_text(&in, t.code, sizeof t.code) &&
              bm_rd_vec(&in, 2 * BM_CHALLENGE_LEN, &t.nonce) && bm_rd_vec(&in, ACME_ADDRESS_MAX, &t.location) &&
              bm_rd_vec(&in, ACME_ADDRESS_MAX, &t.up) && bm_rd_vec(&in, ACME_ADDRESS_MAX, &t.next) &&
              bm_rd_vec(&in, ACME_ADDRESS_MAX, &t.help) && take_alternates(&in, &t) && bm_rd_vec(&in, BM_COMMAND_MAX, &t.body);
    enum bm_rc rc = finish(ok, in, "answer of ACME", e);

    if (rc == BM_OK)
        *ret = t;
    return rc;
}

/* --- revocation --------------------------------------------------------------------------------------------------------------- */
void bm_crl_ask_write(struct bm_buf *out, const struct bm_crl_ask *c)
{
    bm_buf_vec(out, c->ca);
    bm_buf_uint(out, 1, c->delta);
    bm_buf_vec(out, c->have);
}

enum bm_rc bm_crl_ask_parse(struct bm_rd in, struct bm_crl_ask *ret, struct bm_error *e)
{
    struct bm_crl_ask c = { 0 };
    uint8_t delta = 0;
    bool ok = bm_rd_vec(&in, BM_NAME_LEN - 1, &c.ca) && bm_rd_u8(&in, &delta) && delta <= 1 &&
              bm_rd_vec(&in, BM_HTTP_HEADER_MAX, &c.have);
    enum bm_rc rc = finish(ok, in, "question for a CRL", e);

    c.delta = delta != 0;
    if (rc == BM_OK)
        *ret = c;
    return rc;
}

void bm_crl_told_write(struct bm_buf *out, const struct bm_crl_told *t)
{
    put_text(out, t->etag);
    bm_buf_uint(out, 8, (uint64_t)t->this_update);
    bm_buf_uint(out, 4, t->max_age_s);
    bm_buf_vec(out, t->der);
}

enum bm_rc bm_crl_told_parse(struct bm_rd in, struct bm_crl_told *ret, struct bm_error *e)
{
    struct bm_crl_told t = { 0 };
    bool ok = get_text(&in, t.etag, sizeof t.etag) && bm_rd_i64(&in, &t.this_update) && bm_rd_u32(&in, &t.max_age_s) &&
              bm_rd_vec(&in, BM_CRL_MAX, &t.der);
    enum bm_rc rc = finish(ok, in, "CRL", e);

    if (rc == BM_OK)
        *ret = t;
    return rc;
}

void bm_ocsp_told_write(struct bm_buf *out, const struct bm_ocsp_told *t)
{
    bm_buf_uint(out, 4, t->max_age_s);
    bm_buf_vec(out, t->der);
}

enum bm_rc bm_ocsp_told_parse(struct bm_rd in, struct bm_ocsp_told *ret, struct bm_error *e)
{
    struct bm_ocsp_told t = { 0 };
    bool ok = bm_rd_u32(&in, &t.max_age_s) && bm_rd_vec(&in, BM_OCSP_RESPONSE_MAX, &t.der);
    enum bm_rc rc = finish(ok, in, "OCSP answer", e);

    if (rc == BM_OK)
        *ret = t;
    return rc;
}

bool bm_refusal_waits(const char *code)
{
    return strcmp(code, "approval-pending") == 0 || strcmp(code, "upstream-pending") == 0 || strcmp(code, "scep-hook-pending") == 0;
}
