#include "pki/acme.h"

#include "base/text.h"
#include "pki/impl.h"

#include <openssl/hmac.h>

enum { HEADER_MAX = 8 * 1024 };

const char *const bm_acme_algs[] = { "ES256", "ES384", "ES512", "EdDSA", "RS256", NULL };

void bm_acme_jws_done(struct bm_acme_jws *j)
{
    bm_buf_done(&j->compact);
    bm_buf_done(&j->spki);
    bm_buf_done(&j->payload);
    json_decref(j->body);
    *j = (struct bm_acme_jws){ 0 };
}

static void json_freep(json_t **v)
{
    json_decref(*v);
}

static enum bm_rc bad(struct bm_error *e, const char *what)
{
    return bm_refuse(e, BM_MALFORMED, "acme-jws", "JWS: %s", what);
}

/* --- the three parts --------------------------------------------------------------------------------------------------------------- */
/* RFC 8555 section 6.2: no unprotected header, not several signatures, nothing else. */
static enum bm_rc join(const json_t *root, struct bm_acme_jws *j, struct bm_error *e)
{
    static const char *const members[] = { "protected", "payload", "signature" };

    if (!json_is_object(root) || json_object_size(root) != BM_COUNT(members))
        return bad(e, "not an object of \"protected\", \"payload\" and \"signature\" alone (RFC 7515 section 7.2.2)");
    for (size_t i = 0; i < BM_COUNT(members); i++) {
        const json_t *v = json_object_get(root, members[i]);

        if (!json_is_string(v))
            return bad(e, "\"protected\", \"payload\" and \"signature\" must be text");
        bm_buf_str(&j->compact, i == 0 ? "" : ".");
        bm_buf_put(&j->compact, json_string_value(v), json_string_length(v));
    }
    if (bm_buf_check(&j->compact, e) != BM_OK || bm_jws_split(bm_buf_rd(&j->compact), &j->jws, e) != BM_OK)
        return bad(e, "its parts are not base64url without padding");
    return BM_OK;
}

/* --- the header -------------------------------------------------------------------------------------------------------------------- */
static bool text_member(const json_t *header, const char *name, char *ret, size_t room)
{
    const json_t *v = json_object_get(header, name);

    if (v == NULL)
        return true;
    if (!json_is_string(v) || json_string_length(v) >= room || strlen(json_string_value(v)) != json_string_length(v))
        return false;
    memcpy(ret, json_string_value(v), json_string_length(v) + 1);
    return true;
}

static bool among(const char *word, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(*list, word) == 0)
            return true;
    return false;
}

static enum bm_rc check_alg(const char *alg, enum bm_acme_jws_kind kind, struct bm_error *e)
{
    char safe[40];

    if (kind == BM_ACME_BINDING ? strcmp(alg, "HS256") == 0 : among(alg, bm_acme_algs))
        return BM_OK;
    return bm_refuse(e, BM_MALFORMED, "acme-algorithm", "JWS: \"alg\" is '%s'; taken are %s",
                     bm_text_escape(bm_rd_str(alg), safe, sizeof safe),
                     kind == BM_ACME_BINDING ? "HS256" : "ES256, ES384, ES512, EdDSA and RS256");
}

/* A nonce is the base64url of something (RFC 8555 section 6.5.1). */
static enum bm_rc check_nonce(const json_t *header, const char *nonce, enum bm_acme_jws_kind kind, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = BM_ACME_NONCE_MAX };

    if (kind != BM_ACME_OUTER)
        return json_object_get(header, "nonce") == NULL ? BM_OK : bad(e, "an inner JWS has no \"nonce\"");
    if (nonce[0] == '\0')
        return bm_refuse(e, BM_MALFORMED, "acme-nonce", "JWS: \"nonce\" is missing");
    if (bm_unbase64url(bm_rd_str(nonce), &raw, NULL) != BM_OK)
        return bad(e, "\"nonce\" is not base64url");
    return BM_OK;
}

static enum bm_rc check_keys(const json_t *header, struct bm_acme_jws *j, enum bm_acme_jws_kind kind, struct bm_error *e)
{
    const json_t *jwk = json_object_get(header, "jwk");

    if (jwk != NULL && j->kid[0] != '\0')
        return bad(e, "\"jwk\" and \"kid\" exclude each other");
    if (jwk == NULL && j->kid[0] == '\0')
        return bad(e, "neither \"jwk\" nor \"kid\" says whose key signed it");
    if ((kind == BM_ACME_BINDING && jwk != NULL) || (kind == BM_ACME_ROLLOVER && jwk == NULL))
        return bad(e, kind == BM_ACME_BINDING ? "a binding has \"kid\", not \"jwk\"" : "the inner JWS needs \"jwk\"");
    return jwk != NULL ? bm_jwk_read(jwk, &j->spki, e) : BM_OK;
}

static enum bm_rc read_header(struct bm_acme_jws *j, enum bm_acme_jws_kind kind, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = HEADER_MAX };
    BM_CLEANUP(json_freep) json_t *h = NULL;
    char alg[32] = "";
    enum bm_rc rc;

    if (bm_unbase64url(j->jws.protected_b64, &text, NULL) != BM_OK)
        return bad(e, "its header is too long or no base64url");
    h = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(h))
        return bad(e, "its header is not a JSON object without repeated members");
    if (json_object_get(h, "crit") != NULL || json_object_get(h, "b64") != NULL)
        return bad(e, "\"crit\" and \"b64\" are not taken");
    if (!text_member(h, "alg", alg, sizeof alg) || !text_member(h, "url", j->url, sizeof j->url) ||
        !text_member(h, "kid", j->kid, sizeof j->kid) || !text_member(h, "nonce", j->nonce, sizeof j->nonce))
        return bad(e, "\"alg\", \"url\", \"kid\" and \"nonce\" must be text of a sensible length");
    if (j->url[0] == '\0')
        return bad(e, "\"url\" is missing");
    rc = check_alg(alg, kind, e);
    if (rc == BM_OK)
        rc = check_nonce(h, j->nonce, kind, e);
    if (rc == BM_OK)
        rc = check_keys(h, j, kind, e);
    if (rc == BM_OK)
        memcpy(j->alg, alg, sizeof j->alg);
    return rc;
}

/* --- the payload ------------------------------------------------------------------------------------------------------------------- */
/* What a binding holds is the account's key, which its caller looks at. */
static enum bm_rc read_payload(struct bm_acme_jws *j, struct bm_error *e)
{
    if (bm_unbase64url(j->jws.payload_b64, &j->payload, NULL) != BM_OK)
        return bad(e, "its payload is no base64url");
    if (j->payload.n == 0)
        return BM_OK;
    j->body = json_loadb((const char *)j->payload.p, j->payload.n, JSON_REJECT_DUPLICATES, NULL);
    return json_is_object(j->body) ? BM_OK : bad(e, "its payload is not a JSON object without repeated members");
}

enum bm_rc bm_acme_jws_of(const json_t *root, enum bm_acme_jws_kind kind, struct bm_acme_jws *ret, struct bm_error *e)
{
    struct bm_acme_jws j = { .compact.max = BM_HTTP_BODY_MAX, .spki.max = BM_SPKI_MAX, .payload.max = BM_HTTP_BODY_MAX };
    enum bm_rc rc = join(root, &j, e);

    if (rc == BM_OK)
        rc = read_header(&j, kind, e);
    if (rc == BM_OK)
        rc = read_payload(&j, e);
    if (rc == BM_OK)
        *ret = j;
    else
        bm_acme_jws_done(&j);
    return rc;
}

enum bm_rc bm_acme_jws_read(struct bm_rd text, enum bm_acme_jws_kind kind, struct bm_acme_jws *ret, struct bm_error *e)
{
    BM_CLEANUP(json_freep) json_t *root = NULL;

    if (text.n > BM_HTTP_BODY_MAX)
        return bm_refuse(e, BM_LIMIT, "acme-jws", "JWS: longer than %d bytes", BM_HTTP_BODY_MAX);
    root = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    if (root == NULL)
        return bad(e, "not JSON, or with a member twice");
    return bm_acme_jws_of(root, kind, ret, e);
}

/* --- verifying --------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc not_signed(struct bm_error *e)
{
    return bm_refuse(e, BM_DENIED, "acme-signature", "JWS: it was not signed by this key");
}

/* Whatever is wrong with a key that came in the JWS is wrong with the JWS; of an account's the registry would have to answer. */
enum bm_rc bm_acme_jws_verify(const struct bm_acme_jws *j, struct bm_rd spki, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_spki parsed;
    struct bm_error why = { 0 };
    enum bm_rc rc = bm_spki_parse(spki, &parsed, &why);

    if (rc == BM_OK)
        rc = bm_spki_open_kept(&parsed, &key, &why);
    if (rc == BM_MALFORMED)
        return bm_refuse(e, BM_MALFORMED, "acme-key", "JWK: %.180s", why.what);
    if (rc == BM_OK)
        rc = bm_jws_verify_as(&j->jws, j->alg, key, &why);
    if (rc == BM_DENIED && strcmp(why.code, "key-algorithm") == 0)
        return bm_refuse(e, BM_MALFORMED, "acme-algorithm", "JWS: \"alg\" %s does not go with this key", j->alg);
    if (rc == BM_DENIED || rc == BM_MALFORMED)
        return not_signed(e);
    return rc == BM_OK ? BM_OK : bm_fail(e, rc, "%s", why.what);
}

enum bm_rc bm_acme_jws_verify_mac(const struct bm_acme_jws *j, struct bm_rd secret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf sig = { .max = 64 };
    uint8_t want[32];
    unsigned n = sizeof want;

    if (bm_unbase64url(j->jws.signature_b64, &sig, NULL) != BM_OK || sig.n != sizeof want)
        return not_signed(e);
    if (HMAC(EVP_sha256(), secret.p, (int)secret.n, j->jws.signed_part.p, j->jws.signed_part.n, want, &n) == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a MAC");
    return bm_secret_eq(want, sig.p, sizeof want) ? BM_OK : not_signed(e);
}

void bm_acme_key_authorization(const char *token, const uint8_t thumbprint[32], struct bm_buf *out)
{
    bm_buf_str(out, token);
    bm_buf_str(out, ".");
    bm_base64url(out, bm_rd_of(thumbprint, 32));
}
