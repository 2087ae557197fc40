#include "protocol/est_coap.h"

#include "base/metrics.h"
#include "base/text.h"
#include "pki/cert.h"
#include "protocol/est.h"

#include <cbor.h>
#include <stdio.h>

/* --- answers --------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc not_acceptable(uint16_t format, const char *why, struct bm_error *e)
{
    return bm_refuse(e, BM_DENIED, "not-acceptable", "this cannot be had in Content-Format %u%s", format, why);
}

/* What EST over HTTP would put in its body, without its base64. */
static enum bm_rc through_est(enum bm_rc (*render)(const struct bm_request *, const struct bm_view *, struct bm_rd,
                                                   struct bm_response *, struct bm_error *),
                              const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_buf *body,
                              struct bm_error *e)
{
    struct bm_response r = { .body = *body };
    enum bm_rc rc = render(q, v, answer, &r, e);

    *body = r.body;
    return rc;
}

static bool is_root(struct bm_rd der)
{
    struct bm_cert c;

    return bm_cert_parse(der, &c, NULL) == BM_OK && bm_rd_eq(c.issuer, c.subject) && (c.akid.n == 0 || bm_rd_eq(c.akid, c.skid));
}

/* What a device is to trust from now on; the CAs below it come with what they have issued. BM_DENIED: there are two (while one follows the other), or none. */
static enum bm_rc only_root(const struct bm_view *v, uint64_t cas, struct bm_rd *ret, struct bm_error *e)
{
    size_t n = 0;

    for (size_t i = 0; i < v->n_cas; i++) {
        if ((cas >> i & 1) != 0 && is_root(v->cas[i])) {
            *ret = v->cas[i];
            n++;
        }
    }
    return n == 1 ? BM_OK : not_acceptable(BM_COAP_PKIX_CERT, ", because there is not one root alone", e);
}

/* RFC 9148 section 4.3: application/pkix-cert has room for one certificate. */
static enum bm_rc crts(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, uint16_t format,
                       struct bm_buf *body, struct bm_error *e)
{
    const struct bm_view_label *l = bm_est_find_label(q, v);
    struct bm_rd root = { 0 };
    enum bm_rc rc;

    if (format == BM_COAP_CERTS_ONLY || l == NULL) /* which refuses a label that is not there */
        return through_est(bm_est_cacerts, q, v, answer, body, e);
    rc = only_root(v, l->cas, &root, e);
    if (rc == BM_OK)
        bm_buf_put(body, root.p, root.n);
    return rc;
}

static enum bm_rc att(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, uint16_t format,
                      struct bm_buf *body, struct bm_error *e)
{
    (void)format;
    return through_est(bm_est_csrattrs, q, v, answer, body, e);
}

static enum bm_rc put_certificate(struct bm_rd cert, uint16_t format, struct bm_buf *body, struct bm_error *e)
{
    if (format == BM_COAP_CERTS_ONLY)
        return bm_cms_certs(&cert, 1, body, e);
    bm_buf_put(body, cert.p, cert.n);
    return BM_OK;
}

static enum bm_rc only_one(struct bm_rd answer, struct bm_enrolled *a, struct bm_error *e)
{
    enum bm_rc rc = bm_enrolled_parse(answer, a, e);

    if (rc == BM_OK && a->n_credentials != 1)
        rc = bm_fail(e, BM_BUG, "%zu certificates for one request", a->n_credentials);
    return rc;
}

static enum bm_rc certificate(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, uint16_t format,
                              struct bm_buf *body, struct bm_error *e)
{
    struct bm_enrolled a;
    enum bm_rc rc = only_one(answer, &a, e);

    (void)q, (void)v;
    return rc == BM_OK ? put_certificate(a.credentials[0].cert, format, body, e) : rc;
}

/* One representation of a multipart: its Content-Format and its bytes, RFC 8710 section 2. */
static void part(struct bm_buf *body, uint16_t format, struct bm_rd content)
{
    unsigned char room[9];

    bm_buf_put(body, room, cbor_encode_uint(format, room, sizeof room));
    bm_buf_put(body, room, cbor_encode_bytestring_start(content.n, room, sizeof room));
    bm_buf_put(body, content.p, content.n);
}

/* RFC 9148 section 4.8: the key, and after it the certificate in one of two forms. */
static enum bm_rc key_and_certificate(struct bm_rd answer, uint16_t cert_format, struct bm_buf *body, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf cert = { .max = 2 * BM_CERT_MAX };
    struct bm_enrolled a;
    unsigned char head[9];
    enum bm_rc rc = only_one(answer, &a, e);

    if (rc == BM_OK && a.credentials[0].key_form == BM_KEY_NONE)
        rc = bm_fail(e, BM_BUG, "a certificate without its key");
    if (rc == BM_OK)
        rc = put_certificate(a.credentials[0].cert, cert_format, &cert, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_put(body, head, cbor_encode_array_start(4, head, sizeof head));
    part(body, a.credentials[0].key_form == BM_KEY_SEALED ? BM_COAP_SEALED_KEY : BM_COAP_PKCS8, a.credentials[0].key);
    part(body, cert_format, bm_buf_rd(&cert));
    return BM_OK;
}

static enum bm_rc skg(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, uint16_t format,
                      struct bm_buf *body, struct bm_error *e)
{
    (void)q, (void)v, (void)format;
    return key_and_certificate(answer, BM_COAP_CERTS_ONLY, body, e);
}

static enum bm_rc skc(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, uint16_t format,
                      struct bm_buf *body, struct bm_error *e)
{
    (void)q, (void)v, (void)format;
    return key_and_certificate(answer, BM_COAP_PKIX_CERT, body, e);
}

#define CERTIFICATES                                                                                                               \
    {                                                                                                                              \
        BM_COAP_CERTS_ONLY, BM_COAP_PKIX_CERT                                                                                      \
    }

/* RFC 9148 section 4.1, table 1, and section 4.3, table 3. */
const struct bm_coap_operation bm_coap_operations[] = {
    { "coap-est-crts", "crts", BM_COAP_GET, 0, CERTIFICATES, NULL, crts },
    { "coap-est-sen", "sen", BM_COAP_POST, BM_CMD_ENROL, CERTIFICATES, bm_est_enroll, certificate },
    { "coap-est-sren", "sren", BM_COAP_POST, BM_CMD_ENROL, CERTIFICATES, bm_est_reenroll, certificate },
    { "coap-est-att", "att", BM_COAP_GET, 0, { BM_COAP_CSRATTRS, 0 }, NULL, att },
    { "coap-est-skg", "skg", BM_COAP_POST, BM_CMD_ENROL, { BM_COAP_MULTIPART, 0 }, bm_est_keygen, skg },
    { "coap-est-skc", "skc", BM_COAP_POST, BM_CMD_ENROL, { BM_COAP_MULTIPART, 0 }, bm_est_keygen, skc },
    { NULL, NULL, 0, 0, { 0, 0 }, NULL, NULL },
};
_Static_assert(BM_COUNT(bm_coap_operations) <= BM_METRIC_COAP_OPERATIONS_MAX,
               "each has a name in the metrics; raise the bound there");

/* --- which operation ------------------------------------------------------------------------------------------------------------- */
static bool segment_is(const struct bm_coap_message *m, size_t i, const char *word)
{
    return i < m->n_path && bm_rd_eq(m->path[i], bm_rd_str(word));
}

/* /.well-known/est/... or /est/..., then a label or none, then the short name. */
static const struct bm_coap_operation *find(const struct bm_coap_message *m, struct bm_rd *ret_label)
{
    size_t root = segment_is(m, 0, "est") ? 1 : segment_is(m, 0, ".well-known") && segment_is(m, 1, "est") ? 2 : 0;
    size_t rest = m->n_path - root;

    if (root == 0 || m->too_long || rest < 1 || rest > 2)
        return NULL;
    *ret_label = rest == 2 ? m->path[root] : bm_rd_of(NULL, 0);
    for (const struct bm_coap_operation *op = bm_coap_operations; op->short_name != NULL; op++) {
        if (segment_is(m, m->n_path - 1, op->short_name))
            return rest == 1 || ret_label->n != 0 ? op : NULL;
    }
    return NULL;
}

static enum bm_rc choose_format(const struct bm_coap_operation *op, int32_t accept, uint16_t *ret, struct bm_error *e)
{
    *ret = op->formats[0];
    if (accept < 0)
        return BM_OK;
    for (size_t i = 0; i < BM_COAP_FORMATS; i++) {
        if (op->formats[i] != 0 && op->formats[i] == accept) {
            *ret = op->formats[i];
            return BM_OK;
        }
    }
    return not_acceptable((uint16_t)accept, "", e);
}

enum bm_rc bm_coap_admit(const struct bm_coap_message *m, const struct bm_coap_operation **ret_op, struct bm_rd *ret_label,
                         uint16_t *ret_format, struct bm_error *e)
{
    const struct bm_coap_operation *op = find(m, ret_label);

    *ret_op = op;
    if (op == NULL)
        return bm_refuse(e, BM_NOTFOUND, "no-such-path", "nothing is served at this path; /.well-known/core tells what is");
    if (m->code != op->method)
        return bm_refuse(e, BM_DENIED, "method-not-allowed", "%s takes %s only", op->short_name,
                         op->method == BM_COAP_GET ? "GET" : "POST");
    if (m->n_query != 0)
        return bm_refuse(e, BM_MALFORMED, "bad-request", "%s takes no query", op->short_name);
    if (op->method == BM_COAP_POST && m->content_format >= 0 && m->content_format != BM_COAP_PKCS10)
        return bm_refuse(e, BM_MALFORMED, "unsupported-media-type", "a certificate request has Content-Format %d", BM_COAP_PKCS10);
    return choose_format(op, m->accept, ret_format, e);
}

/* --- discovery ------------------------------------------------------------------------------------------------------------------- */
/* RFC 6690 section 4.1: "rt=ace.est*" is a prefix. */
static bool fits(struct bm_rd query, const char *key, const char *value)
{
    struct bm_rd wanted = query, name = bm_rd_cut(&wanted, '=');

    if (!bm_rd_eq(name, bm_rd_str(key)))
        return false;
    if (wanted.n != 0 && wanted.p[wanted.n - 1] == '*')
        return wanted.n - 1 <= strlen(value) && memcmp(wanted.p, value, wanted.n - 1) == 0;
    return bm_rd_eq(wanted, bm_rd_str(value));
}

static void put_link(struct bm_buf *out, const struct bm_coap_operation *op, const char *href, const char *rt)
{
    bm_buf_printf(out, "%s<%s>;rt=\"%s\";ct=", out->n != 0 ? "," : "", href, rt);
    if (op->formats[1] != 0)
        bm_buf_printf(out, "\"%u %u\"", op->formats[0], op->formats[1]);
    else
        bm_buf_printf(out, "%u", op->formats[0]);
}

void bm_coap_links(const struct bm_coap_message *m, struct bm_buf *out)
{
    for (const struct bm_coap_operation *op = bm_coap_operations; op->short_name != NULL; op++) {
        char href[32], rt[32];
        bool wanted = true;

        (void)snprintf(href, sizeof href, "/est/%s", op->short_name);
        (void)snprintf(rt, sizeof rt, "ace.est.%s", op->short_name);
        for (size_t i = 0; i < m->n_query; i++)
            wanted = wanted && (fits(m->query[i], "rt", rt) || fits(m->query[i], "href", href));
        if (wanted)
            put_link(out, op, href, rt);
    }
}

/* --- refusals -------------------------------------------------------------------------------------------------------------------- */
/* RFC 9148 section 4.5; 4.09: RFC 8132, 4.29: RFC 8516. */
static const struct {
    int http;
    uint8_t code;
} codes[] = {
    { 401, BM_COAP_CODE(4, 1) }, { 403, BM_COAP_CODE(4, 3) },  { 404, BM_COAP_CODE(4, 4) },  { 405, BM_COAP_CODE(4, 5) },
    { 409, BM_COAP_CODE(4, 9) }, { 413, BM_COAP_CODE(4, 13) }, { 415, BM_COAP_CODE(4, 15) }, { 429, BM_COAP_CODE(4, 29) },
    { 500, BM_COAP_CODE(5, 0) }, { 501, BM_COAP_CODE(5, 1) },  { 503, BM_COAP_CODE(5, 3) },
};

/* What CoAP has a word for, and HTTP has not. */
static const struct {
    const char *word;
    uint8_t code;
} words[] = {
    { "bad-option", BM_COAP_CODE(4, 2) },
    { "not-acceptable", BM_COAP_CODE(4, 6) },
    { "incomplete", BM_COAP_CODE(4, 8) },
    { "no-proxy", BM_COAP_CODE(5, 5) },
};

uint8_t bm_coap_code_of(const struct bm_error *e)
{
    int status = bm_http_status(e);

    for (size_t i = 0; i < BM_COUNT(words); i++)
        if (strcmp(words[i].word, e->code) == 0)
            return words[i].code;
    if (bm_refusal_waits(e->code)) /* section 4.7 */
        return BM_COAP_CODE(5, 3);
    for (size_t i = 0; i < BM_COUNT(codes); i++)
        if (codes[i].http == status)
            return codes[i].code;
    return status >= 500 ? BM_COAP_CODE(5, 0) : BM_COAP_CODE(4, 0);
}
