/* Vouchers signed as JWS in place of CMS: draft-ietf-anima-jws-voucher. General JWS JSON Serialization (RFC 7515 section 7.2.1) with one signature, whose
 * protected header has the signer's certificates as x5c. What is read is given out as a CMS message is: what is judged afterwards is the same. */
#include "pki/voucher.h"

#include "base/text.h"
#include "pki/jws.h"

#include <jansson.h>
#include <stdlib.h>

#define TYP "voucher-jws+json"

static void json_freep(json_t **j)
{
    json_decref(*j);
}

static void free_text(char **p)
{
    free(*p);
}

enum bm_voucher_form bm_voucher_form_of(struct bm_rd message)
{
    while (message.n != 0 && strchr(" \t\r\n", message.p[0]) != NULL && message.p[0] != '\0')
        message = bm_rd_of(message.p + 1, message.n - 1);
    return message.n != 0 && message.p[0] == '{' ? BM_VOUCHER_JWS : BM_VOUCHER_CMS;
}

const char *bm_voucher_type(enum bm_voucher_form form)
{
    return form == BM_VOUCHER_JWS ? BM_VOUCHER_JWS_TYPE : BM_VOUCHER_TYPE;
}

/* --- reading -------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc none(const char *why, struct bm_error *e)
{
    return bm_fail(e, BM_MALFORMED, "a voucher in JWS: %s", why);
}

static bool put_member(struct bm_buf *out, const json_t *of, const char *member)
{
    const json_t *v = json_object_get(of, member);

    bm_buf_put(out, json_string_value(v), json_string_length(v));
    return json_is_string(v);
}

/* The two base64url parts and the signature, as in the compact form, which the rest of the house reads. */
static enum bm_rc to_compact(struct bm_rd text, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(json_freep) json_t *root = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    const json_t *all = json_object_get(root, "signatures"), *one = json_array_get(all, 0);
    bool good;

    if (json_array_size(all) != 1)
        return none("not a JSON object with one signature in \"signatures\"", e);
    good = put_member(out, one, "protected");
    bm_buf_str(out, ".");
    good = put_member(out, root, "payload") && good;
    bm_buf_str(out, ".");
    good = put_member(out, one, "signature") && good;
    return good ? bm_buf_check(out, e) : none("\"payload\", \"protected\" and \"signature\" are texts", e);
}

static enum bm_rc check_typ(const struct bm_jws *jws, struct bm_error *e)
{
    BM_CLEANUP(bm_jws_header_done) struct bm_jws_header h = { 0 };
    enum bm_rc rc = bm_jws_header_parse(jws->protected_b64, &h, e);

    if (rc == BM_OK && h.typ[0] != '\0' && strcmp(h.typ, TYP) != 0 && strcmp(h.typ, "application/" TYP) != 0)
        rc = none("\"typ\" says that it is something else", e);
    return rc;
}

/* Into the room one after the other; where each of them ends is told. */
static enum bm_rc read_certs(const struct bm_jws *jws, struct bm_buf *room, size_t ends[BM_CMS_CERTS_MAX], size_t *ret_n,
                             struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_VOUCHER_REQUEST_MAX };
    BM_CLEANUP(json_freep) json_t *header = NULL;
    const json_t *x5c, *one;
    size_t i;

    if (bm_unbase64url(jws->protected_b64, &text, e) != BM_OK)
        return none("the protected header is not base64url", e);
    header = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    x5c = json_object_get(header, "x5c");
    if (json_array_size(x5c) == 0 || json_array_size(x5c) > BM_CMS_CERTS_MAX)
        return none("no certificates in \"x5c\", or too many", e);
    json_array_foreach (x5c, i, one) {
        if (!json_is_string(one) || bm_unbase64(bm_rd_of(json_string_value(one), json_string_length(one)), room, e) != BM_OK)
            return none("\"x5c\" is not base64", e);
        ends[i] = room->n;
    }
    *ret_n = json_array_size(x5c);
    return BM_OK;
}

/* Everything that it gives out lies in the room: first the voucher, then the certificates. */
static enum bm_rc read_parts(const struct bm_jws *jws, struct bm_buf *room, struct bm_cms_signed *ret, struct bm_error *e)
{
    size_t ends[BM_CMS_CERTS_MAX] = { 0 }, at, n = 0;
    struct bm_cms_signed s = { 0 };
    enum bm_rc rc = check_typ(jws, e);

    room->max = 2 * BM_VOUCHER_REQUEST_MAX;
    if (rc == BM_OK && (bm_unbase64url(jws->payload_b64, room, e) != BM_OK || room->n == 0))
        rc = none("the payload is not base64url", e);
    at = room->n;
    if (rc == BM_OK)
        rc = read_certs(jws, room, ends, &n, e);
    if (rc != BM_OK)
        return rc;
    s.content = bm_rd_of(room->p, at);
    for (s.n_certs = 0; s.n_certs < n; s.n_certs++) {
        s.certs[s.n_certs] = bm_rd_of(room->p + at, ends[s.n_certs] - at);
        at = ends[s.n_certs];
    }
    *ret = s;
    return BM_OK;
}

static enum bm_rc verify(const struct bm_jws *jws, const struct bm_cert *signer, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_spki spki;
    enum bm_rc rc = bm_spki_parse(signer->spki, &spki, e);

    if (rc == BM_OK)
        rc = bm_spki_open(&spki, &key, e);
    return rc == BM_OK ? bm_jws_verify(jws, key, e) : rc;
}

static enum bm_rc read_all(struct bm_rd text, struct bm_buf *compact, struct bm_jws *jws, struct bm_buf *room,
                           struct bm_cms_signed *ret, struct bm_error *e)
{
    enum bm_rc rc =
        text.n <= BM_VOUCHER_REQUEST_MAX ? to_compact(text, compact, e) : bm_fail(e, BM_LIMIT, "voucher of %zu bytes", text.n);

    if (rc == BM_OK)
        rc = bm_jws_split(bm_buf_rd(compact), jws, e);
    return rc == BM_OK ? read_parts(jws, room, ret, e) : rc;
}

enum bm_rc bm_voucher_jws_check(struct bm_rd text, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf compact = { .max = BM_VOUCHER_REQUEST_MAX }, room = { 0 };
    struct bm_cms_signed s;
    struct bm_jws jws;

    return read_all(text, &compact, &jws, &room, &s, e);
}

enum bm_rc bm_voucher_jws_open(struct bm_rd text, struct bm_buf *room, struct bm_cms_signed *ret, struct bm_cert *ret_signer,
                               struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf compact = { .max = BM_VOUCHER_REQUEST_MAX };
    struct bm_jws jws;
    enum bm_rc rc = read_all(text, &compact, &jws, room, ret, e);

    if (rc == BM_OK)
        rc = bm_cert_parse(ret->certs[0], ret_signer, e); /* RFC 7515 section 4.1.6: the first is the signer's */
    return rc == BM_OK ? verify(&jws, ret_signer, e) : rc;
}

/* --- writing -------------------------------------------------------------------------------------------------------------------------- */
static json_t *base64_text(struct bm_rd raw)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 2 * BM_CERT_MAX };

    bm_base64(&text, raw, 0);
    return text.bad ? NULL : json_stringn((const char *)text.p, text.n);
}

static enum bm_rc put_header(const char *alg, const struct bm_rd *certs, size_t n, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(json_freep) json_t *header = json_pack("{s:s, s:s, s:[]}", "alg", alg, "typ", TYP, "x5c");
    BM_CLEANUP(free_text) char *text = NULL;
    json_t *x5c = json_object_get(header, "x5c");
    bool good = true;

    for (size_t i = 0; i < n; i++)
        good = good && json_array_append_new(x5c, base64_text(certs[i])) == 0;
    text = good ? json_dumps(header, JSON_COMPACT) : NULL;
    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a voucher");
    bm_base64url(out, bm_rd_str(text));
    return bm_buf_check(out, e);
}

static enum bm_rc put_json(const struct bm_buf *compact, size_t dot, size_t end, struct bm_rd signature, struct bm_buf *ret,
                           struct bm_error *e)
{
    bm_buf_str(ret, "{\"payload\":\"");
    bm_buf_put(ret, compact->p + dot + 1, end - dot - 1);
    bm_buf_str(ret, "\",\"signatures\":[{\"protected\":\"");
    bm_buf_put(ret, compact->p, dot);
    bm_buf_str(ret, "\",\"signature\":\"");
    bm_base64url(ret, signature);
    bm_buf_str(ret, "\"}]}");
    return bm_buf_check(ret, e);
}

enum bm_rc bm_voucher_jws_seal(struct bm_rd json, const struct bm_key *key, const struct bm_rd *certs, size_t n_certs,
                               struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf compact = { .max = 2 * BM_VOUCHER_REQUEST_MAX };
    const char *alg = bm_jws_alg_of(key);
    uint8_t signature[BM_SIGNATURE_MAX];
    size_t dot, n = sizeof signature;
    enum bm_rc rc;

    if (alg == NULL)
        return bm_fail(e, BM_USAGE, "JWS has no algorithm for %s keys", bm_key_alg(key));
    rc = put_header(alg, certs, n_certs, &compact, e);
    dot = compact.n;
    bm_buf_str(&compact, ".");
    bm_base64url(&compact, json);
    if (rc == BM_OK)
        rc = bm_buf_check(&compact, e);
    if (rc == BM_OK)
        rc = bm_key_sign_raw(key, bm_buf_rd(&compact), signature, &n, e);
    return rc == BM_OK ? put_json(&compact, dot, compact.n, bm_rd_of(signature, n), ret, e) : rc;
}
