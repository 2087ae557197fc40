/* Requests of ACME (RFC 8555 section 6.2): a JWS in flattened JSON form, read strictly and verified. Pure. */
#ifndef BM_PKI_ACME_H
#define BM_PKI_ACME_H

#include "pki/jwk.h"
#include "pki/jws.h"

enum { BM_ACME_URL_MAX = 1024, BM_ACME_NONCE_MAX = 128 };

/* What is not there is empty. */
struct bm_acme_jws {
    struct bm_buf compact; /* "protected.payload.signature"; jws borrows from it */
    struct bm_jws jws;
    char alg[8];
    char url[BM_ACME_URL_MAX], kid[BM_ACME_URL_MAX], nonce[BM_ACME_NONCE_MAX];
    struct bm_buf spki;    /* of "jwk" */
    struct bm_buf payload; /* decoded */
    json_t *body;          /* the payload as a JSON object; NULL: the payload is empty (POST-as-GET) */
};
void bm_acme_jws_done(struct bm_acme_jws *j);

enum bm_acme_jws_kind {
    BM_ACME_OUTER,   /* a request: nonce, and kid or jwk, and a signature by a key pair */
    BM_ACME_BINDING, /* externalAccountBinding (section 7.3.4): HMAC, kid, no nonce */
    BM_ACME_ROLLOVER /* keyChange's inner JWS (section 7.3.5): jwk, no nonce */
};
/* BM_MALFORMED, BM_LIMIT; codes "acme-jws", "acme-algorithm" (an alg that is not taken), "acme-key" (a jwk that is not), "acme-nonce" (a nonce
 * that is not base64url). */
BM_MUST_USE enum bm_rc bm_acme_jws_read(struct bm_rd text, enum bm_acme_jws_kind kind, struct bm_acme_jws *ret, struct bm_error *e);
/* The same from a member that is JSON already. */
BM_MUST_USE enum bm_rc bm_acme_jws_of(const json_t *root, enum bm_acme_jws_kind kind, struct bm_acme_jws *ret, struct bm_error *e);
/* The algorithms of outer and inner JWS, as "badSignatureAlgorithm" lists them; NULL ends it. */
extern const char *const bm_acme_algs[];

/* Signed by this key. BM_DENIED "acme-signature". */
BM_MUST_USE enum bm_rc bm_acme_jws_verify(const struct bm_acme_jws *j, struct bm_rd spki, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_acme_jws_verify_mac(const struct bm_acme_jws *j, struct bm_rd secret, struct bm_error *e);

/* A client's half, acme_write.c: one request, signed. */
struct bm_acme_say {
    const struct bm_key *key;
    const char *url, *nonce;
    const char *kid;      /* NULL: the key itself is shown, as "jwk" (section 6.2) */
    struct bm_rd payload; /* empty: POST-as-GET */
};
BM_MUST_USE enum bm_rc bm_acme_jws_write(const struct bm_acme_say *s, struct bm_buf *out, struct bm_error *e);
/* externalAccountBinding over this key, with the secret as it was given out (base64url). NULL with *e filled. */
json_t *bm_acme_binding(const struct bm_key *key, const char *url, const char *kid, struct bm_rd secret_b64, struct bm_error *e);

/* token "." base64url(thumbprint): RFC 8555 section 8.1 */
void bm_acme_key_authorization(const char *token, const uint8_t thumbprint[32], struct bm_buf *out);

#endif
