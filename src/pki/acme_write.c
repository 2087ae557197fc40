/* What a client of ACME says: JWS in flattened JSON form (RFC 8555 section 6.2), and the binding of its account to one that is there already. */
#include "base/text.h"
#include "pki/acme.h"

#include <openssl/hmac.h>
#include <stdlib.h>

enum { SAY_MAX = 64 * 1024, MAC_LEN = 32, SECRET_MAX = 512 };

static void json_freep(json_t **v)
{
    json_decref(*v);
}

static void chars_freep(char **s)
{
    free(*s);
}

static json_t *jwk_of(const struct bm_key *key, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 2048 };

    if (bm_jwk_write(bm_key_spki(key), &text, e) != BM_OK)
        return NULL;
    return json_loadb((const char *)text.p, text.n, 0, NULL);
}

static enum bm_rc put_encoded(const json_t *v, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(chars_freep) char *text = v != NULL ? json_dumps(v, JSON_COMPACT) : NULL;

    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "JWS: no memory");
    bm_base64url(out, bm_rd_str(text));
    return bm_buf_check(out, e);
}

/* protected "." payload: what is signed, and the two parts in it. */
struct parts {
    struct bm_buf all;
    size_t header_len;
};

static void parts_done(struct parts *p)
{
    bm_buf_done(&p->all);
}

static enum bm_rc parts_put(struct parts *p, const json_t *header, struct bm_rd payload, struct bm_error *e)
{
    enum bm_rc rc;

    p->all.max = SAY_MAX;
    rc = put_encoded(header, &p->all, e);
    if (rc != BM_OK)
        return rc;
    p->header_len = p->all.n;
    bm_buf_str(&p->all, ".");
    bm_base64url(&p->all, payload);
    return bm_buf_check(&p->all, e);
}

static json_t *flattened(const struct parts *p, struct bm_rd sig)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 2048 };
    const char *all = (const char *)p->all.p;
    size_t payload = p->header_len + 1;

    bm_base64url(&text, sig);
    if (text.bad)
        return NULL;
    return json_pack("{s:s%, s:s%, s:s%}", "protected", all, p->header_len, "payload", all + payload, p->all.n - payload,
                     "signature", (const char *)text.p, text.n);
}

/* --- a request -------------------------------------------------------------------------------------------------------------------- */
static json_t *header_of(const struct bm_acme_say *s, const char *alg, struct bm_error *e)
{
    json_t *jwk = s->kid == NULL ? jwk_of(s->key, e) : NULL;

    if (s->kid == NULL)
        return jwk != NULL ? json_pack("{s:s, s:s, s:s, s:o}", "alg", alg, "nonce", s->nonce, "url", s->url, "jwk", jwk) : NULL;
    return json_pack("{s:s, s:s, s:s, s:s}", "alg", alg, "nonce", s->nonce, "url", s->url, "kid", s->kid);
}

enum bm_rc bm_acme_jws_write(const struct bm_acme_say *s, struct bm_buf *out, struct bm_error *e)
{
    const char *alg = bm_jws_alg_of(s->key);
    BM_CLEANUP(json_freep) json_t *header = alg != NULL ? header_of(s, alg, e) : NULL;
    BM_CLEANUP(json_freep) json_t *whole = NULL;
    BM_CLEANUP(chars_freep) char *text = NULL;
    BM_CLEANUP(parts_done) struct parts p = { 0 };
    uint8_t sig[BM_SIGNATURE_MAX];
    size_t n = sizeof sig;
    enum bm_rc rc;

    if (header == NULL)
        return bm_fail(e, BM_USAGE, "JWS: it cannot be written with a key of kind %s", bm_key_alg(s->key));
    rc = parts_put(&p, header, s->payload, e);
    if (rc == BM_OK)
        rc = bm_key_sign_raw(s->key, bm_buf_rd(&p.all), sig, &n, e);
    if (rc != BM_OK)
        return rc;
    whole = flattened(&p, bm_rd_of(sig, n));
    text = whole != NULL ? json_dumps(whole, JSON_COMPACT) : NULL;
    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "JWS: no memory");
    bm_buf_str(out, text);
    return bm_buf_check(out, e);
}

/* --- section 7.3.4 ------------------------------------------------------------------------------------------------------------------ */
json_t *bm_acme_binding(const struct bm_key *key, const char *url, const char *kid, struct bm_rd secret_b64, struct bm_error *e)
{
    BM_CLEANUP(json_freep) json_t *header = json_pack("{s:s, s:s, s:s}", "alg", "HS256", "kid", kid, "url", url);
    BM_CLEANUP(bm_buf_done) struct bm_buf secret = { .max = SECRET_MAX }, jwk = { .max = 2048 };
    BM_CLEANUP(parts_done) struct parts p = { 0 };
    uint8_t mac[MAC_LEN];
    unsigned n = 0;
    json_t *whole;

    while (secret_b64.n != 0 && secret_b64.p[secret_b64.n - 1] == '=') /* some give it out with its padding */
        secret_b64.n--;
    if (bm_unbase64url(secret_b64, &secret, NULL) != BM_OK || secret.n == 0) {
        (void)bm_fail(e, BM_USAGE, "the secret of an external account binding is base64url");
        return NULL;
    }
    if (bm_jwk_write(bm_key_spki(key), &jwk, e) != BM_OK || parts_put(&p, header, bm_buf_rd(&jwk), e) != BM_OK)
        return NULL;
    whole = HMAC(EVP_sha256(), secret.p, (int)secret.n, p.all.p, p.all.n, mac, &n) != NULL ? flattened(&p, bm_rd_of(mac, n)) : NULL;
    bm_wipe(mac, sizeof mac);
    if (whole == NULL)
        (void)bm_fail(e, BM_NOMEM, "JWS: no memory");
    return whole;
}
