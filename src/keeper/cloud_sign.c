/* Certificates that we write and somebody else's key signs: the body is made when the order is judged, so that names, validity and usage are those of
 * the profile, as with a CA of our own. */
#include "keeper/cloud.h"

#include <openssl/rand.h>

enum { BODY_MAX = BM_CERT_MAX, MORE_MAX = 8192 };

enum bm_rc bm_cloud_body_make(struct bm_keeper *k, const struct bm_plan *p, const struct bm_order *o, struct bm_buf *ret_state,
                              struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf tbs = { .max = BODY_MAX };
    char udid[2 * BM_UDID_LEN + 1];
    struct bm_subject_words words;
    struct bm_issue i = {
        .profile = o->profile,
        .issuer_cert = &o->issuer->cert,
        .spki = o->csr.spki,
        .words = &words,
        .not_after_max = p->not_after_max,
    };
    enum bm_rc rc = bm_keeper_now(k, &i.now, e);

    if (rc != BM_OK)
        return rc;
    bm_plan_words(p, o, udid, &words);
    if (RAND_bytes(i.serial, sizeof i.serial) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    rc = bm_cert_body(&i, &tbs, e);
    if (rc != BM_OK)
        return rc;
    bm_cloud_body_write(&(struct bm_cloud_body){ .spki = o->issuer->cert.spki, .tbs = bm_buf_rd(&tbs) }, ret_state);
    return bm_buf_check(ret_state, e);
}

void bm_cloud_body_write(const struct bm_cloud_body *b, struct bm_buf *out)
{
    bm_buf_uint(out, 1, b->refused);
    bm_buf_vec(out, b->spki);
    bm_buf_vec(out, b->tbs);
    bm_buf_vec(out, b->more);
}

enum bm_rc bm_cloud_body_read(struct bm_rd state, struct bm_cloud_body *ret, struct bm_error *e)
{
    struct bm_cloud_body b = { 0 };

    if (!bm_rd_u8(&state, &b.refused) || !bm_rd_vec(&state, BM_SPKI_MAX, &b.spki) || !bm_rd_vec(&state, BODY_MAX, &b.tbs) ||
        !bm_rd_vec(&state, MORE_MAX, &b.more) || state.n != 0)
        return bm_fail(e, BM_BUG, "the certificate that waits for its signature is damaged");
    *ret = b;
    return BM_OK;
}

static const struct {
    const char *alg, *jose, *kms;
} algorithms[] = {
    { "P-256", "ES256", "ECDSA_SHA_256" },
    { "P-384", "ES384", "ECDSA_SHA_384" },
    { "RSA", "RS256", "RSASSA_PKCS1_V1_5_SHA_256" },
};

enum bm_rc bm_cloud_signing_of(const struct bm_cloud_body *b, struct bm_cloud_signing *ret, struct bm_error *e)
{
    struct bm_spki ca;
    enum bm_rc rc = bm_spki_parse(b->spki, &ca, e);

    if (rc == BM_OK)
        rc = bm_cert_body_digest(b->spki, b->tbs, ret->digest, &ret->digest_len, e);
    for (size_t i = 0; rc == BM_OK && i < BM_COUNT(algorithms); i++) {
        if (strcmp(algorithms[i].alg, ca.alg) == 0) {
            ret->jose = algorithms[i].jose;
            ret->kms = algorithms[i].kms;
            return BM_OK;
        }
    }
    return rc != BM_OK ? rc : bm_fail(e, BM_BUG, "there is no name for signatures of %s keys", ca.alg);
}

enum bm_rc bm_cloud_signed(const struct bm_cloud_body *b, struct bm_rd sig, enum bm_signature_form form,
                           struct bm_upstream_got *ret, struct bm_error *e)
{
    enum bm_rc rc;

    ret->room.n = ret->n = 0;
    rc = bm_cert_complete(b->spki, b->tbs, sig, form, &ret->room, e);
    if (rc != BM_OK)
        return bm_refuse(e, BM_DENIED, "upstream-refused", "what the key gave is no signature of the CA in --chain: %.100s",
                         e->what);
    ret->certs[ret->n++] = bm_buf_rd(&ret->room);
    return BM_OK;
}
