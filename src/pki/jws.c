#include "pki/jws.h"

#include "base/text.h"
#include "pki/impl.h"

#include <jansson.h>
#include <stdlib.h>

enum {
    JWS_HEADER_MAX = 32 * 1024, /* decoded; a chain of certificates in x5c */
    JWS_KEY_MAX = 128,
};

/* RFC 7518 section 3.1 and RFC 8037 section 3.1; an algorithm goes with one kind of key, and ECDSA with one curve (RFC 7518
 * section 3.4). */
static const struct jws_alg {
    const char *name;
    int key;
    enum bm_curve curve;
    enum bm_digest digest;
    const char *key_alg; /* of the keys we sign with; NULL: we only verify */
} algs[] = {
    { "ES256", EVP_PKEY_EC, BM_P256, BM_SHA256, "P-256" },
    { "ES384", EVP_PKEY_EC, BM_P384, BM_SHA384, "P-384" },
    { "ES512", EVP_PKEY_EC, BM_P521, BM_SHA512, "P-521" },
    { "RS256", EVP_PKEY_RSA, BM_CURVE_NONE, BM_SHA256, "RSA" },
    { "RS384", EVP_PKEY_RSA, BM_CURVE_NONE, BM_SHA384, NULL },
    { "RS512", EVP_PKEY_RSA, BM_CURVE_NONE, BM_SHA512, NULL },
    { "EdDSA", EVP_PKEY_ED25519, BM_CURVE_NONE, BM_DIGEST_NONE, "Ed25519" },
};

static const struct jws_alg *alg_find(const char *name)
{
    for (size_t i = 0; i < BM_COUNT(algs); i++)
        if (strcmp(name, algs[i].name) == 0)
            return &algs[i];
    return NULL;
}

/* --- splitting -------------------------------------------------------------------------------------------------------------- */
static bool part_ok(struct bm_rd r, bool may_be_empty)
{
    for (size_t i = 0; i < r.n; i++) {
        uint8_t c = r.p[i], lower = c | 0x20;

        if (!((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
            return false;
    }
    return r.n != 0 || may_be_empty;
}

static bool part_take(struct bm_rd *r, struct bm_rd *ret)
{
    const uint8_t *dot = r->n != 0 ? memchr(r->p, '.', r->n) : NULL;
    struct bm_rd gone;

    return dot != NULL && bm_rd_take(r, (size_t)(dot - r->p), ret) && bm_rd_take(r, 1, &gone);
}

enum bm_rc bm_jws_split(struct bm_rd compact, struct bm_jws *ret, struct bm_error *e)
{
    struct bm_rd rest = compact;
    struct bm_jws j;

    if (!part_take(&rest, &j.protected_b64) || !part_take(&rest, &j.payload_b64))
        return bm_fail(e, BM_MALFORMED, "JWS: not \"header.payload.signature\"");
    j.signature_b64 = rest;
    if (!part_ok(j.protected_b64, false) || !part_ok(j.payload_b64, true) || !part_ok(j.signature_b64, false))
        return bm_fail(e, BM_MALFORMED, "JWS: not base64url in three parts");
    if (j.protected_b64.n > JWS_HEADER_MAX / 3 * 4 || j.signature_b64.n > BM_SIGNATURE_MAX)
        return bm_fail(e, BM_LIMIT, "JWS: header or signature too long");
    j.signed_part = bm_rd_of(compact.p, compact.n - rest.n - 1);
    *ret = j;
    return BM_OK;
}

/* --- the header ------------------------------------------------------------------------------------------------------------- */
void bm_jws_header_done(struct bm_jws_header *h)
{
    bm_buf_done(&h->x5c);
}

static enum bm_rc text_member(const json_t *root, const char *name, char *ret, size_t ret_len, struct bm_error *e)
{
    const json_t *v = json_object_get(root, name);

    if (v == NULL)
        return BM_OK;
    if (!json_is_string(v) || json_string_length(v) >= ret_len)
        return bm_fail(e, BM_MALFORMED, "JWS header: \"%s\" is not text of at most %zu characters", name, ret_len - 1);
    memcpy(ret, json_string_value(v), json_string_length(v) + 1);
    return BM_OK;
}

/* RFC 7515 section 4.1.8: base64url of SHA-256 over the certificate */
static enum bm_rc thumbprint_member(const json_t *root, struct bm_jws_header *h, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = 64 };
    const json_t *v = json_object_get(root, "x5t#S256");

    if (v == NULL)
        return BM_OK;
    if (!json_is_string(v) || bm_unbase64url(bm_rd_of(json_string_value(v), json_string_length(v)), &raw, NULL) != BM_OK ||
        raw.n != sizeof h->x5t_s256)
        return bm_fail(e, BM_MALFORMED, "JWS header: \"x5t#S256\" is not a SHA-256 in base64url");
    memcpy(h->x5t_s256, raw.p, raw.n);
    h->has_x5t = true;
    return BM_OK;
}

/* RFC 7515 section 4.1.6: plain base64, the signer's certificate first */
static enum bm_rc chain_member(const json_t *root, struct bm_jws_header *h, struct bm_error *e)
{
    const json_t *v = json_object_get(root, "x5c"), *first = json_array_get(v, 0);

    if (v == NULL)
        return BM_OK;
    if (!json_is_string(first))
        return bm_fail(e, BM_MALFORMED, "JWS header: \"x5c\" is not a list of certificates");
    if (json_string_length(first) > BM_CERT_MAX / 3 * 4 + 4)
        return bm_fail(e, BM_LIMIT, "JWS header: certificate over %d bytes", BM_CERT_MAX);
    if (bm_unbase64(bm_rd_of(json_string_value(first), json_string_length(first)), &h->x5c, e) != BM_OK)
        return bm_wrap(e, BM_MALFORMED, "JWS header: \"x5c\"");
    if (h->x5c.n > BM_CERT_MAX || !bm_der_only(bm_buf_rd(&h->x5c), BM_DER_SEQUENCE, NULL))
        return bm_fail(e, BM_MALFORMED, "JWS header: \"x5c\" holds no certificate");
    return BM_OK;
}

static enum bm_rc header_read(const json_t *root, struct bm_jws_header *h, struct bm_error *e)
{
    enum bm_rc rc;

    /* RFC 7515 section 4.1.11: what must be understood is not understood here, and neither is an unencoded payload (RFC 7797) */
    if (json_object_get(root, "crit") != NULL || json_object_get(root, "b64") != NULL)
        return bm_fail(e, BM_MALFORMED, "JWS header: \"crit\" and \"b64\" are not taken");
    if (json_object_get(root, "alg") == NULL)
        return bm_fail(e, BM_MALFORMED, "JWS header: no \"alg\"");
    rc = text_member(root, "alg", h->alg, sizeof h->alg, e);
    if (rc == BM_OK && alg_find(h->alg) == NULL)
        rc = bm_fail(e, BM_MALFORMED, "JWS header: \"alg\" is none of ES256 ES384 ES512 RS256 RS384 RS512 EdDSA");
    if (rc == BM_OK)
        rc = text_member(root, "kid", h->kid, sizeof h->kid, e);
    if (rc == BM_OK)
        rc = text_member(root, "typ", h->typ, sizeof h->typ, e);
    if (rc == BM_OK)
        rc = thumbprint_member(root, h, e);
    return rc == BM_OK ? chain_member(root, h, e) : rc;
}

static void json_freep(json_t **v)
{
    json_decref(*v);
}

enum bm_rc bm_jws_header_parse(struct bm_rd protected_b64, struct bm_jws_header *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = JWS_HEADER_MAX };
    BM_CLEANUP(json_freep) json_t *root = NULL;
    struct bm_jws_header h = { .x5c.max = BM_CERT_MAX + 16 };
    enum bm_rc rc;

    if (protected_b64.n > JWS_HEADER_MAX / 3 * 4)
        return bm_fail(e, BM_LIMIT, "JWS header: too long");
    if (bm_unbase64url(protected_b64, &text, e) != BM_OK)
        return bm_wrap(e, BM_MALFORMED, "JWS header");
    root = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(root))
        return bm_fail(e, BM_MALFORMED, "JWS header: not a JSON object without repeated members");
    rc = header_read(root, &h, e);
    if (rc == BM_OK)
        *ret = h;
    else
        bm_jws_header_done(&h);
    return rc;
}

/* --- verifying -------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_jws_verify_as(const struct bm_jws *j, const char *alg, EVP_PKEY *key, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf sig = { .max = BM_SIGNATURE_MAX };
    const struct jws_alg *a = alg_find(alg);
    enum bm_rc rc;

    if (a == NULL || EVP_PKEY_get_base_id(key) != a->key || bm_ec_curve(key) != a->curve)
        return bm_refuse(e, BM_DENIED, "key-algorithm", "JWS: algorithm %.8s does not go with this key", alg);
    if (bm_unbase64url(j->signature_b64, &sig, e) != BM_OK)
        return bm_wrap(e, BM_MALFORMED, "JWS signature");
    rc = bm_verify_raw_with(key, a->digest, j->signed_part, bm_buf_rd(&sig), e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, rc, "JWS");
}

enum bm_rc bm_jws_verify(const struct bm_jws *j, EVP_PKEY *key, struct bm_error *e)
{
    BM_CLEANUP(bm_jws_header_done) struct bm_jws_header h = { .x5c.max = 0 };
    enum bm_rc rc = bm_jws_header_parse(j->protected_b64, &h, e);

    return rc == BM_OK ? bm_jws_verify_as(j, h.alg, key, e) : rc;
}

/* --- signing ---------------------------------------------------------------------------------------------------------------- */
static bool put_base64(json_t *root, const char *name, struct bm_rd raw, bool in_list)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_CERT_MAX * 2 };
    json_t *s, *list;

    if (in_list)
        bm_base64(&text, raw, 0);
    else
        bm_base64url(&text, raw);
    s = text.bad ? NULL : json_stringn((const char *)text.p, text.n);
    if (!in_list)
        return json_object_set_new(root, name, s) == 0; /* takes s, and refuses NULL */
    list = json_array();
    if (json_array_append_new(list, s) == 0)
        return json_object_set_new(root, name, list) == 0;
    json_decref(list);
    return false;
}

static char *header_text(const char *alg, const char *typ, struct bm_rd cert, bool with_x5c)
{
    BM_CLEANUP(json_freep) json_t *root = json_object();
    uint8_t digest[BM_DIGEST_MAX];
    bool ok = json_object_set_new(root, "alg", json_string(alg)) == 0;

    if (typ != NULL)
        ok = ok && json_object_set_new(root, "typ", json_string(typ)) == 0;
    if (cert.n != 0) {
        size_t n = bm_digest_of(BM_SHA256, cert, digest);

        ok = ok && n != 0 && put_base64(root, "x5t#S256", bm_rd_of(digest, n), false);
        ok = ok && (!with_x5c || put_base64(root, "x5c", cert, true));
    }
    return ok ? json_dumps(root, JSON_COMPACT) : NULL;
}

const char *bm_jws_alg_of(const struct bm_key *k)
{
    for (size_t i = 0; i < BM_COUNT(algs); i++)
        if (algs[i].key_alg != NULL && strcmp(algs[i].key_alg, bm_key_alg(k)) == 0)
            return algs[i].name;
    return NULL;
}

static void charsp_free(char **s)
{
    free(*s);
}

enum bm_rc bm_jws_sign(const struct bm_key *k, const char *typ, struct bm_rd cert, bool with_x5c, struct bm_rd payload,
                       struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(charsp_free) char *header = NULL;
    const char *alg = bm_jws_alg_of(k);
    uint8_t sig[BM_SIGNATURE_MAX];
    size_t start = out->n, n = sizeof sig;
    enum bm_rc rc;

    if (alg == NULL)
        return bm_fail(e, BM_USAGE, "JWS: there is no algorithm for %s keys", bm_key_alg(k));
    if (cert.n > BM_CERT_MAX)
        return bm_fail(e, BM_LIMIT, "JWS: certificate over %d bytes", BM_CERT_MAX);
    header = header_text(alg, typ, cert, with_x5c);
    if (header == NULL)
        return bm_fail(e, BM_NOMEM, "JWS: header");
    bm_base64url(out, bm_rd_str(header));
    bm_buf_str(out, ".");
    bm_base64url(out, payload);
    rc = bm_buf_check(out, e);
    if (rc == BM_OK)
        rc = bm_key_sign_raw(k, bm_rd_of(out->p + start, out->n - start), sig, &n, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_str(out, ".");
    bm_base64url(out, bm_rd_of(sig, n));
    return bm_buf_check(out, e);
}
