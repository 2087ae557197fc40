/* Certificates of a CA whose key answers later: the body is made now, the signature comes from wherever the key is, and what is put together is
 * verified before it leaves. */
#include "pki/impl.h"

static void nothing(void *arg)
{
    (void)arg;
}

/* --- the body -------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc never(void *arg, struct bm_rd digest, uint8_t *ret, size_t *ret_len, struct bm_error *e)
{
    (void)arg, (void)digest, (void)ret, (void)ret_len;
    return bm_fail(e, BM_BUG, "the key is elsewhere");
}

enum bm_rc bm_cert_body(const struct bm_issue *i, struct bm_buf *ret_tbs, struct bm_error *e)
{
    static const struct bm_key_remote how = { never, nothing };
    BM_CLEANUP(bm_buf_done) struct bm_buf der = { .max = BM_CERT_MAX };
    BM_CLEANUP(bm_key_freep) struct bm_key *key = NULL;
    struct bm_issue with = *i;
    struct bm_cert made;
    enum bm_rc rc = bm_key_of_remote(i->issuer_cert->spki, &how, NULL, &key, e);

    with.issuer_key = key;
    with.no_signature = true;
    if (rc == BM_OK)
        rc = bm_cert_issue(&with, &der, NULL, NULL, e);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&der), &made, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_put(ret_tbs, made.tbs.p, made.tbs.n);
    return bm_buf_check(ret_tbs, e);
}

enum bm_rc bm_cert_body_digest(struct bm_rd ca_spki, struct bm_rd tbs, uint8_t ret[BM_BODY_DIGEST_MAX], size_t *ret_len,
                               struct bm_error *e)
{
    static const struct {
        const char *alg;
        enum bm_digest digest;
    } known[] = { { "P-256", BM_SHA256 }, { "P-384", BM_SHA384 }, { "RSA", BM_SHA256 } };
    struct bm_spki k;
    enum bm_rc rc = bm_spki_parse(ca_spki, &k, e);

    for (size_t i = 0; rc == BM_OK && i < BM_COUNT(known); i++) {
        if (strcmp(known[i].alg, k.alg) != 0)
            continue;
        *ret_len = bm_digest_of(known[i].digest, tbs, ret);
        return *ret_len != 0 ? BM_OK : bm_fail(e, BM_NOMEM, "the digest could not be computed");
    }
    return rc != BM_OK ? rc
                       : bm_fail(e, BM_USAGE, "a CA key of kind %s cannot be used where it is: P-256, P-384 and RSA can", k.alg);
}

/* --- the certificate -------------------------------------------------------------------------------------------------------------- */
static enum bm_rc as_given(void *arg, struct bm_rd digest, uint8_t *ret, size_t *ret_len, struct bm_error *e)
{
    const struct bm_rd *sig = arg;

    (void)digest;
    if (sig->n > *ret_len)
        return bm_fail(e, BM_LIMIT, "signature of %zu bytes", sig->n);
    memcpy(ret, sig->p, sig->n);
    *ret_len = sig->n;
    return BM_OK;
}

/* r||s to SEQUENCE { r, s }; an RSA signature is as it is */
static bool to_der(const struct bm_key *ca, struct bm_rd sig, struct bm_derw *w)
{
    size_t size = strcmp(bm_key_alg(ca), "P-256") == 0 ? 32 : strcmp(bm_key_alg(ca), "P-384") == 0 ? 48 : 0;

    if (size != 0)
        return sig.n == 2 * size && bm_ec_raw_to_der(sig, size, w);
    bm_derw_put(w, sig);
    return !w->bad;
}

enum bm_rc bm_cert_complete(struct bm_rd ca_spki, struct bm_rd tbs, struct bm_rd sig, enum bm_signature_form form,
                            struct bm_buf *ret_der, struct bm_error *e)
{
    static const struct bm_key_remote how = { as_given, nothing };
    BM_CLEANUP(bm_key_freep) struct bm_key *key = NULL;
    uint8_t room[BM_SIGNATURE_MAX];
    struct bm_derw w = bm_derw_of(room, sizeof room);
    struct bm_rd given = sig;
    enum bm_rc rc = sig.n != 0 && sig.n <= BM_SIGNATURE_MAX ? bm_key_of_remote(ca_spki, &how, &given, &key, e)
                                                            : bm_fail(e, BM_LIMIT, "signature of %zu bytes", sig.n);

    if (rc == BM_OK && form == BM_SIGNATURE_RAW) {
        if (!to_der(key, sig, &w))
            return bm_refuse(e, BM_DENIED, "bad-signature", "a signature of %zu bytes is none of this key's", sig.n);
        given = bm_derw_rd(&w);
    }
    if (rc == BM_OK)
        rc = bm_signed_put(key, tbs, ret_der, e);
    return rc == BM_AGAIN ? bm_refuse(e, BM_DENIED, "bad-signature", "the signature does not verify with the CA's key") : rc;
}
