#include "pki/jwk.h"

#include "base/text.h"
#include "pki/impl.h"

enum { NUMBER_MAX = 520 }; /* of an RSA modulus, and a little */

static const struct bm_rd oid_ec = BM_LIT(OID_EC_PUBLIC_KEY), oid_rsa = BM_LIT(OID_RSA), oid_ed25519 = BM_LIT(OID_ED25519);

static const struct jwk_curve {
    const char *name;
    struct bm_rd oid;
    size_t size;
} curves[] = {
    { "P-256", BM_LIT(OID_P256), 32 },
    { "P-384", BM_LIT(OID_P384), 48 },
    { "P-521", BM_LIT(OID_P521), 66 },
};

static enum bm_rc bad(struct bm_error *e, const char *what)
{
    return bm_refuse(e, BM_MALFORMED, "acme-key", "JWK: %s", what);
}

static bool text_is(const json_t *jwk, const char *member, const char *want)
{
    const char *s = json_string_value(json_object_get(jwk, member));

    return s != NULL && strcmp(s, want) == 0;
}

static bool number_of(const json_t *jwk, const char *member, struct bm_buf *ret)
{
    const json_t *v = json_object_get(jwk, member);

    return json_is_string(v) && bm_unbase64url(bm_rd_of(json_string_value(v), json_string_length(v)), ret, NULL) == BM_OK &&
           ret->n != 0;
}

/* --- reading, back to front -------------------------------------------------------------------------------------------------------- */
static void put_id(struct bm_derw *w, struct bm_rd oid, struct bm_rd params)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_put(w, params);
    bm_derw_tlv(w, BM_DER_OID, oid);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

/* RFC 7518 section 6.2.1.2: coordinates have their full length */
static enum bm_rc read_ec(const json_t *jwk, struct bm_derw *w, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf x = { .max = NUMBER_MAX }, y = { .max = NUMBER_MAX };
    const struct jwk_curve *c = NULL;
    uint8_t room[16];
    struct bm_derw oid = bm_derw_of(room, sizeof room);

    for (size_t i = 0; i < BM_COUNT(curves); i++)
        c = text_is(jwk, "crv", curves[i].name) ? &curves[i] : c;
    if (c == NULL)
        return bad(e, "\"crv\" is none of P-256, P-384, P-521");
    if (!number_of(jwk, "x", &x) || !number_of(jwk, "y", &y) || x.n != c->size || y.n != c->size)
        return bad(e, "\"x\" and \"y\" are not coordinates of this curve in base64url");
    bm_derw_put(w, bm_buf_rd(&y));
    bm_derw_put(w, bm_buf_rd(&x));
    bm_derw_byte(w, 4);
    bm_derw_end_bits(w, w->cap);
    bm_derw_tlv(&oid, BM_DER_OID, c->oid);
    put_id(w, oid_ec, bm_derw_rd(&oid));
    return BM_OK;
}

static enum bm_rc read_okp(const json_t *jwk, struct bm_derw *w, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf x = { .max = NUMBER_MAX };

    if (!text_is(jwk, "crv", "Ed25519") || !number_of(jwk, "x", &x) || x.n != 32)
        return bad(e, "of kind OKP only Ed25519 keys of 32 bytes are taken");
    bm_derw_put(w, bm_buf_rd(&x));
    bm_derw_end_bits(w, w->cap);
    put_id(w, oid_ed25519, bm_rd_of(NULL, 0));
    return BM_OK;
}

static enum bm_rc read_rsa(const json_t *jwk, struct bm_derw *w, struct bm_error *e)
{
    static const struct bm_rd null = BM_LIT("\x05\x00");
    BM_CLEANUP(bm_buf_done) struct bm_buf n = { .max = NUMBER_MAX }, x = { .max = NUMBER_MAX };

    if (!number_of(jwk, "n", &n) || !number_of(jwk, "e", &x) || n.p[0] == 0 || x.p[0] == 0)
        return bad(e, "\"n\" and \"e\" are not numbers in base64url of an RSA key of at most 4096 bits");
    bm_derw_unsigned(w, bm_buf_rd(&x));
    bm_derw_unsigned(w, bm_buf_rd(&n));
    bm_derw_end(w, w->cap, BM_DER_SEQUENCE);
    bm_derw_end_bits(w, w->cap);
    put_id(w, oid_rsa, null);
    return BM_OK;
}

static const struct {
    const char *kty;
    enum bm_rc (*read)(const json_t *jwk, struct bm_derw *w, struct bm_error *e);
} kinds[] = { { "EC", read_ec }, { "OKP", read_okp }, { "RSA", read_rsa } };

enum bm_rc bm_jwk_read(const json_t *jwk, struct bm_buf *ret_spki, struct bm_error *e)
{
    uint8_t room[NUMBER_MAX + 128];
    struct bm_derw w = bm_derw_of(room, sizeof room);
    struct bm_error why = { 0 };
    struct bm_spki parsed;
    enum bm_rc rc = bad(e, "\"kty\" is none of EC, OKP, RSA");

    if (!json_is_object(jwk))
        return bad(e, "not a JSON object");
    if (json_object_get(jwk, "d") != NULL || json_object_get(jwk, "k") != NULL)
        return bad(e, "it holds a private key; nobody but its owner should see that");
    for (size_t i = 0; i < BM_COUNT(kinds); i++)
        if (text_is(jwk, "kty", kinds[i].kty))
            rc = kinds[i].read(jwk, &w, e);
    if (rc != BM_OK)
        return rc;
    bm_derw_end(&w, w.cap, BM_DER_SEQUENCE);
    if (w.bad || bm_spki_parse(bm_derw_rd(&w), &parsed, &why) != BM_OK)
        return bad(e, why.what);
    bm_buf_put(ret_spki, room + w.at, w.cap - w.at);
    return bm_buf_check(ret_spki, e);
}

/* --- thumbprints: RFC 7638 section 3, members in lexicographic order, no blanks ------------------------------------------------------- */
static void put_member(struct bm_buf *out, const char *before, struct bm_rd number)
{
    bm_buf_str(out, before);
    bm_base64url(out, number);
}

static bool put_rsa(struct bm_buf *out, struct bm_rd raw)
{
    struct bm_rd seq, n, x;

    if (!bm_der_only(raw, BM_DER_SEQUENCE, &seq) || !bm_der_take(&seq, BM_DER_INTEGER, &n) ||
        !bm_der_take(&seq, BM_DER_INTEGER, &x))
        return false;
    n = n.n > 1 && n.p[0] == 0 ? bm_rd_of(n.p + 1, n.n - 1) : n;
    x = x.n > 1 && x.p[0] == 0 ? bm_rd_of(x.p + 1, x.n - 1) : x;
    put_member(out, "{\"e\":\"", x);
    put_member(out, "\",\"kty\":\"RSA\",\"n\":\"", n);
    bm_buf_str(out, "\"}");
    return true;
}

static bool put_ec(struct bm_buf *out, const struct bm_spki *k)
{
    for (size_t i = 0; i < BM_COUNT(curves); i++) {
        const struct jwk_curve *c = &curves[i];

        if (strcmp(k->alg, c->name) != 0)
            continue;
        bm_buf_printf(out, "{\"crv\":\"%s\",\"kty\":\"EC\",\"x\":\"", c->name);
        bm_base64url(out, bm_rd_of(k->raw.p + 1, c->size));
        put_member(out, "\",\"y\":\"", bm_rd_of(k->raw.p + 1 + c->size, c->size));
        bm_buf_str(out, "\"}");
        return true;
    }
    return false;
}

static bool put_canonical(struct bm_buf *out, const struct bm_spki *k)
{
    if (strcmp(k->alg, "RSA") == 0)
        return put_rsa(out, k->raw);
    if (strcmp(k->alg, "Ed25519") != 0)
        return put_ec(out, k);
    put_member(out, "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"", k->raw);
    bm_buf_str(out, "\"}");
    return true;
}

enum bm_rc bm_jwk_write(struct bm_rd spki, struct bm_buf *out, struct bm_error *e)
{
    struct bm_spki k;
    enum bm_rc rc = bm_spki_parse(spki, &k, e);

    if (rc != BM_OK)
        return rc;
    if (!put_canonical(out, &k))
        return bm_refuse(e, BM_MALFORMED, "acme-key", "a key of kind %s has no JWK", k.alg);
    return bm_buf_check(out, e);
}

enum bm_rc bm_jwk_thumbprint(struct bm_rd spki, uint8_t ret[32], struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 2048 };
    enum bm_rc rc = bm_jwk_write(spki, &text, e);

    if (rc == BM_OK)
        bm_udid_of(bm_buf_rd(&text), ret); /* a SHA-256 like any other */
    return rc;
}
