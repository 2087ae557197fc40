#include "pki/voucher.h"

#include "base/text.h"
#include "pki/impl.h"

#include <jansson.h>
#include <stdlib.h>

static const char *const assertions[BM_ASSERTIONS] = {
    [BM_ASSERTION_NONE] = "",
    [BM_ASSERTION_VERIFIED] = "verified",
    [BM_ASSERTION_LOGGED] = "logged",
    [BM_ASSERTION_PROXIMITY] = "proximity",
};

static const char name_voucher[] = "ietf-voucher:voucher", name_request[] = "ietf-voucher-request:voucher";

const char *bm_assertion_name(enum bm_assertion a)
{
    return (size_t)a < BM_ASSERTIONS ? assertions[a] : "";
}

void bm_voucher_done(struct bm_voucher *v)
{
    bm_buf_done(&v->idevid_issuer);
    bm_buf_done(&v->pinned_domain_cert);
    bm_buf_done(&v->proximity_registrar_cert);
    bm_buf_done(&v->prior_signed);
}

static void json_freep(json_t **j)
{
    json_decref(*j);
}

/* --- values ------------------------------------------------------------------------------------------------------------------- */
static struct bm_rd text_of(const json_t *v)
{
    return json_is_string(v) ? bm_rd_of(json_string_value(v), json_string_length(v)) : bm_rd_of(NULL, 0);
}

static bool two_digits(const char *s, int max, int *ret)
{
    if (s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9')
        return false;
    *ret = (s[0] - '0') * 10 + (s[1] - '0');
    return *ret <= max;
}

/* "+02:00" at the end, 0 when there is none such. */
static bool zone_of(const char *zone, int *ret_s)
{
    int hours, minutes;

    if (!two_digits(zone + 1, 23, &hours) || zone[3] != ':' || !two_digits(zone + 4, 59, &minutes))
        return false;
    *ret_s = (zone[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

/* yang:date-and-time, RFC 6991 section 3: RFC 3339 with "Z" or an offset. */
static bool date_time(const json_t *v, int64_t *ret)
{
    struct bm_rd in = text_of(v);
    char text[48];
    int offset_s = 0;
    size_t n = in.n;

    if (n < 20 || n >= sizeof text || memchr(in.p, '\0', n) != NULL)
        return false;
    memcpy(text, in.p, n);
    text[n] = '\0';
    if (n > 25 - 1 && (text[n - 6] == '+' || text[n - 6] == '-')) {
        if (!zone_of(text + n - 6, &offset_s))
            return false;
        memcpy(text + n - 6, "Z", 2);
    }
    if (!bm_time_parse(text, ret) || *ret - offset_s <= 0)
        return false;
    *ret -= offset_s;
    return true;
}

/* RFC 7951 section 6.6: base64 as in RFC 4648 section 4. */
static bool binary(const json_t *v, size_t max, struct bm_buf *ret)
{
    struct bm_rd text = text_of(v);

    ret->max = max + 3; /* the decoder asks for room before it has seen the padding */
    return text.n != 0 && bm_unbase64(text, ret, NULL) == BM_OK && ret->n != 0 && ret->n <= max;
}

static bool take_text(const json_t *v, size_t max, char *ret)
{
    struct bm_rd text = text_of(v);

    if (text.n == 0 || text.n > max)
        return false;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < 0x20 || text.p[i] >= 0x7f)
            return false;
    memcpy(ret, text.p, text.n);
    ret[text.n] = '\0';
    return true;
}

/* --- leaves ------------------------------------------------------------------------------------------------------------------- */
static bool read_assertion(const json_t *v, struct bm_voucher *ret)
{
    for (int i = BM_ASSERTION_NONE + 1; i < BM_ASSERTIONS; i++) {
        if (bm_rd_eq(text_of(v), bm_rd_str(assertions[i]))) {
            ret->assertion = (enum bm_assertion)i;
            return true;
        }
    }
    return false;
}

static bool read_created(const json_t *v, struct bm_voucher *ret)
{
    return date_time(v, &ret->created_on);
}

static bool read_expires(const json_t *v, struct bm_voucher *ret)
{
    return date_time(v, &ret->expires_on);
}

static bool read_renewal(const json_t *v, struct bm_voucher *ret)
{
    int64_t at;

    (void)ret; /* it tells how long its maker would go on renewing, which nobody here asks */
    return date_time(v, &at);
}

static bool read_serial(const json_t *v, struct bm_voucher *ret)
{
    return take_text(v, BM_VOUCHER_SERIAL_MAX, ret->serial_number);
}

/* 8 to 32 bytes (RFC 8366 section 5.3) in base64; the examples of RFC 8995 appendix C have the alphabet of RFC 4648 section 5. */
static bool read_nonce(const json_t *v, struct bm_voucher *ret)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = BM_VOUCHER_NONCE_MAX };
    struct bm_rd text = text_of(v);

    if (!take_text(v, BM_VOUCHER_NONCE_MAX, ret->nonce))
        return false;
    if (bm_unbase64url(text, &raw, NULL) != BM_OK) {
        raw.n = 0;
        if (memchr(text.p, ' ', text.n) != NULL || bm_unbase64(text, &raw, NULL) != BM_OK)
            return false;
    }
    return raw.n >= 8 && raw.n <= 32;
}

static bool read_issuer(const json_t *v, struct bm_voucher *ret)
{
    return binary(v, BM_NAME_DER_MAX, &ret->idevid_issuer);
}

static bool is_cert(struct bm_rd der)
{
    struct bm_cert c;

    return bm_cert_parse(der, &c, NULL) == BM_OK;
}

static bool read_pinned(const json_t *v, struct bm_voucher *ret)
{
    return binary(v, BM_CERT_MAX, &ret->pinned_domain_cert) && is_cert(bm_buf_rd(&ret->pinned_domain_cert));
}

static bool read_proximity(const json_t *v, struct bm_voucher *ret)
{
    return binary(v, BM_CERT_MAX, &ret->proximity_registrar_cert) && is_cert(bm_buf_rd(&ret->proximity_registrar_cert));
}

static bool read_prior(const json_t *v, struct bm_voucher *ret)
{
    return binary(v, BM_VOUCHER_MAX, &ret->prior_signed);
}

static bool read_checks(const json_t *v, struct bm_voucher *ret)
{
    (void)ret;
    return json_is_boolean(v);
}

enum { IN_VOUCHER = 1, IN_REQUEST = 2, NEEDED = 4, NEEDED_IN_VOUCHER = 8 };

static const struct leaf {
    const char *name;
    bool (*read)(const json_t *v, struct bm_voucher *ret);
    unsigned where;
} leaves[] = {
    { "assertion", read_assertion, IN_VOUCHER | IN_REQUEST | NEEDED_IN_VOUCHER },
    { "created-on", read_created, IN_VOUCHER | IN_REQUEST | NEEDED_IN_VOUCHER },
    { "expires-on", read_expires, IN_VOUCHER | IN_REQUEST },
    { "serial-number", read_serial, IN_VOUCHER | IN_REQUEST | NEEDED },
    { "idevid-issuer", read_issuer, IN_VOUCHER | IN_REQUEST },
    { "pinned-domain-cert", read_pinned, IN_VOUCHER | IN_REQUEST | NEEDED_IN_VOUCHER },
    { "domain-cert-revocation-checks", read_checks, IN_VOUCHER | IN_REQUEST },
    { "nonce", read_nonce, IN_VOUCHER | IN_REQUEST },
    { "last-renewal-date", read_renewal, IN_VOUCHER | IN_REQUEST },
    { "prior-signed-voucher-request", read_prior, IN_REQUEST },
    { "proximity-registrar-cert", read_proximity, IN_REQUEST },
};

static const struct leaf *leaf_find(const char *name, bool request)
{
    for (size_t i = 0; i < BM_COUNT(leaves); i++)
        if (strcmp(name, leaves[i].name) == 0)
            return (leaves[i].where & (request ? IN_REQUEST : IN_VOUCHER)) != 0 ? &leaves[i] : NULL;
    return NULL;
}

static enum bm_rc read_leaves(const json_t *in, struct bm_voucher *ret, struct bm_error *e)
{
    const char *name;
    char safe[64];
    json_t *v;

    json_object_foreach ((json_t *)(uintptr_t)in, name, v) {
        const struct leaf *l = leaf_find(name, ret->request);

        if (l == NULL)
            return bm_fail(e, BM_MALFORMED, "voucher: there is no '%s' in a %s", bm_text_escape(bm_rd_str(name), safe, sizeof safe),
                           ret->request ? "request" : "voucher");
        if (!l->read(v, ret))
            return bm_fail(e, BM_MALFORMED, "voucher: '%s' is not what it has to be", l->name);
    }
    for (size_t i = 0; i < BM_COUNT(leaves); i++) {
        bool needed = (leaves[i].where & (ret->request ? NEEDED : NEEDED | NEEDED_IN_VOUCHER)) != 0;

        if (needed && json_object_get(in, leaves[i].name) == NULL)
            return bm_fail(e, BM_MALFORMED, "voucher: '%s' is missing", leaves[i].name);
    }
    return BM_OK;
}

/* The `must` statements of the model, and RFC 8995 section 5.5. */
static enum bm_rc check_together(const json_t *in, const struct bm_voucher *v, struct bm_error *e)
{
    if (!v->request && v->nonce[0] != '\0' && v->expires_on != 0)
        return bm_fail(e, BM_MALFORMED, "voucher: a nonce and an end do not go together");
    if (!v->request && json_object_get(in, "last-renewal-date") != NULL && v->expires_on == 0)
        return bm_fail(e, BM_MALFORMED, "voucher: 'last-renewal-date' without 'expires-on'");
    if (v->prior_signed.n != 0 && v->proximity_registrar_cert.n != 0)
        return bm_fail(e, BM_MALFORMED, "voucher: a registrar's request has no 'proximity-registrar-cert'");
    return BM_OK;
}

static enum bm_rc parse(struct bm_rd json, struct bm_voucher *ret, struct bm_error *e)
{
    BM_CLEANUP(json_freep) json_t *root = json_loadb((const char *)json.p, json.n, JSON_REJECT_DUPLICATES, NULL);
    const json_t *in = json_object_get(root, name_voucher);
    enum bm_rc rc;

    ret->request = in == NULL;
    if (ret->request)
        in = json_object_get(root, name_request);
    if (!json_is_object(in) || json_object_size(root) != 1)
        return bm_fail(e, BM_MALFORMED, "voucher: not a JSON object with one \"%s\" or \"%s\"", name_voucher, name_request);
    rc = read_leaves(in, ret, e);
    if (rc == BM_OK && ret->request)
        bm_buf_done(&ret->pinned_domain_cert); /* "any occurrence MUST be ignored" */
    return rc == BM_OK ? check_together(in, ret, e) : rc;
}

enum bm_rc bm_voucher_parse(struct bm_rd json, struct bm_voucher *ret, struct bm_error *e)
{
    struct bm_voucher v = { 0 };
    enum bm_rc rc = json.n <= BM_VOUCHER_REQUEST_MAX ? parse(json, &v, e) : bm_fail(e, BM_LIMIT, "voucher of %zu bytes", json.n);

    if (rc == BM_OK)
        *ret = v;
    else
        bm_voucher_done(&v);
    return rc;
}

/* --- writing ------------------------------------------------------------------------------------------------------------------ */
static void put_text(json_t *o, const char *name, const char *text)
{
    if (text[0] != '\0')
        json_object_set_new(o, name, json_string(text));
}

static void put_time(json_t *o, const char *name, int64_t at)
{
    char text[24];

    if (at != 0)
        json_object_set_new(o, name, json_string(bm_time_text(at, text)));
}

static void put_binary(json_t *o, const char *name, const struct bm_buf *b)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 2 * BM_VOUCHER_REQUEST_MAX };

    if (b->n == 0)
        return;
    bm_base64(&text, bm_buf_rd(b), 0);
    json_object_set_new(o, name, json_stringn((const char *)text.p, text.n));
}

static void free_text(char **p)
{
    free(*p);
}

enum bm_rc bm_voucher_write(const struct bm_voucher *v, struct bm_buf *ret_json, struct bm_error *e)
{
    BM_CLEANUP(json_freep) json_t *root = json_object();
    BM_CLEANUP(free_text) char *text = NULL;
    json_t *o = json_object();

    json_object_set_new(root, v->request ? name_request : name_voucher, o);
    put_text(o, "assertion", bm_assertion_name(v->assertion));
    put_time(o, "created-on", v->created_on);
    put_time(o, "expires-on", v->expires_on);
    put_text(o, "serial-number", v->serial_number);
    put_text(o, "nonce", v->nonce);
    put_binary(o, "idevid-issuer", &v->idevid_issuer);
    put_binary(o, "pinned-domain-cert", &v->pinned_domain_cert);
    put_binary(o, "proximity-registrar-cert", &v->proximity_registrar_cert);
    put_binary(o, "prior-signed-voucher-request", &v->prior_signed);
    text = json_dumps(root, JSON_COMPACT);
    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a voucher");
    bm_buf_str(ret_json, text);
    return bm_buf_check(ret_json, e);
}

/* --- signed ------------------------------------------------------------------------------------------------------------------- */
static const struct bm_rd oid_json_voucher = BM_LIT(OID_JSON_VOUCHER), oid_data = BM_LIT(OID_CMS_DATA);

void bm_voucher_opened_done(struct bm_voucher_opened *o)
{
    bm_voucher_done(&o->voucher);
    bm_buf_done(&o->room);
}

static enum bm_rc open_cms(struct bm_rd cms, struct bm_voucher_opened *ret, struct bm_error *e)
{
    enum bm_rc rc = bm_cms_signed_parse(cms, &ret->cms, e);

    /* RFC 8366 section 5.4 has a content type of its own; RFC 8995 appendix C, and what is in the field, say id-data */
    if (rc == BM_OK && !bm_rd_eq(ret->cms.content_type, oid_json_voucher) && !bm_rd_eq(ret->cms.content_type, oid_data))
        rc = bm_fail(e, BM_MALFORMED, "the signed message holds no voucher");
    if (rc == BM_OK)
        rc = bm_cms_signed_signer(&ret->cms, &ret->signer, e);
    return rc == BM_OK ? bm_cms_signed_verify(&ret->cms, &ret->signer, e) : rc;
}

enum bm_rc bm_voucher_open(struct bm_rd message, struct bm_voucher_opened *ret, struct bm_error *e)
{
    enum bm_rc rc = bm_voucher_form_of(message) == BM_VOUCHER_JWS
                        ? bm_voucher_jws_open(message, &ret->room, &ret->cms, &ret->signer, e)
                        : open_cms(message, ret, e);

    return rc == BM_OK ? bm_voucher_parse(ret->cms.content, &ret->voucher, e) : rc;
}

static enum bm_rc seal_cms(struct bm_rd json, const struct bm_key *key, const struct bm_rd *certs, size_t n_certs,
                           struct bm_buf *ret, struct bm_error *e)
{
    struct bm_cms_sign s = { .content_type = oid_json_voucher, .content = json, .key = key, .n_certs = n_certs };
    struct bm_cert own;
    enum bm_rc rc = bm_cert_parse(certs[0], &own, e);

    if (rc != BM_OK)
        return rc;
    s.cert = &own;
    memcpy(s.certs, certs, n_certs * sizeof *certs);
    return bm_cms_signed_write(&s, ret, e);
}

enum bm_rc bm_voucher_seal(const struct bm_voucher *v, enum bm_voucher_form form, const struct bm_key *key,
                           const struct bm_rd *certs, size_t n_certs, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf json = { .max = BM_VOUCHER_REQUEST_MAX };
    enum bm_rc rc = bm_voucher_write(v, &json, e);

    if (rc == BM_OK && (n_certs == 0 || n_certs > BM_CMS_CERTS_MAX))
        rc = bm_fail(e, BM_BUG, "%zu certificates for a voucher", n_certs);
    if (rc != BM_OK)
        return rc;
    return (form == BM_VOUCHER_JWS ? bm_voucher_jws_seal : seal_cms)(bm_buf_rd(&json), key, certs, n_certs, ret, e);
}

/* --- names of devices and domains --------------------------------------------------------------------------------------------- */
bool bm_idevid_serial(const struct bm_cert *idevid, char ret[BM_VOUCHER_SERIAL_MAX + 1])
{
    static const struct bm_rd oid = BM_LIT(OID_SERIAL_NUMBER);
    struct bm_rd v;

    if (!bm_name_find(idevid->subject, oid, &v) || v.n == 0 || v.n > BM_VOUCHER_SERIAL_MAX)
        return false;
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] < 0x20 || v.p[i] >= 0x7f)
            return false;
    memcpy(ret, v.p, v.n);
    ret[v.n] = '\0';
    return true;
}

void bm_domain_id(const struct bm_cert *pinned, uint8_t room[32], struct bm_rd *ret)
{
    bm_udid_of(pinned->spki, room); /* RFC 7469 section 2.4: SHA-256 of the SubjectPublicKeyInfo, as it happens */
    *ret = pinned->skid.n != 0 && pinned->skid.n <= 32 ? pinned->skid : bm_rd_of(room, 32);
}
