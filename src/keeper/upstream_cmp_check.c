/* Whether to believe an answer of an upstream CA over CMP. */
#include "keeper/upstream_cmp.h"

#include "base/limits.h"

bool bm_upstream_cmp_login(const struct bm_upstream_secret *s, struct bm_rd *ret_ref, struct bm_rd *ret_secret)
{
    struct bm_rd all = bm_buf_rd(&s->login);

    *ret_ref = bm_rd_cut(&all, ':');
    *ret_secret = all;
    return ret_ref->n != 0 && ret_secret->n != 0;
}

static enum bm_rc untrusted(struct bm_error *e, const char *what)
{
    return bm_refuse(e, BM_DENIED, "upstream-untrusted", "the upstream CA's answer: %s", what);
}

static enum bm_rc check_header(const struct bm_upstream_job *j, const struct bm_upstream_cmp_state *s,
                               const struct bm_cmp_header *h, struct bm_error *e)
{
    int64_t off = h->has_time ? h->time - j->now : 0;

    if (h->pvno != 2 && h->pvno != 3)
        return untrusted(e, "it is neither version 2 nor 3 of CMP");
    if (!bm_rd_eq(h->tid, s->tid))
        return untrusted(e, "its transactionID is not that of our request");
    if (!bm_rd_eq(h->recip_nonce, s->nonce))
        return untrusted(e, "its recipNonce is not the nonce of our request");
    if (off > BM_CMP_CLOCK_S || off < -BM_CMP_CLOCK_S)
        return untrusted(e, "its messageTime is more than an hour off");
    return BM_OK;
}

/* --- by the secret ----------------------------------------------------------------------------------------------------------------- */
static enum bm_rc check_mac(const struct bm_upstream_job *j, const struct bm_cmp *m, struct bm_rd part, struct bm_error *e)
{
    uint8_t mac[BM_CMP_MAC_MAX];
    struct bm_cmp_mac how;
    struct bm_error why = { 0 };
    struct bm_rd ref, secret;
    size_t n;
    enum bm_rc rc;

    if (!bm_upstream_cmp_login(j->s, &ref, &secret))
        return untrusted(e, "it is protected by a secret, and none is configured");
    if (bm_cmp_mac_parse(m->h.protection_alg, &how, &why) != BM_OK)
        return untrusted(e, why.what);
    rc = bm_cmp_mac_make(&how, secret, part, mac, &n, e);
    if (rc != BM_OK)
        return rc;
    if (n != m->protection.n || !bm_secret_eq(mac, m->protection.p, n))
        return untrusted(e, "its MAC is not by our secret");
    return BM_OK;
}

/* --- by a signature ------------------------------------------------------------------------------------------------------------------ */
/* The signer's certificate comes first in extraCerts (RFC 9483 section 3.3), and need not come again; a CA that signs itself may leave it out. */
static bool find_signer(const struct bm_upstream_cmp_state *s, const struct bm_cmp *m, struct bm_cert *ret)
{
    const struct bm_rd candidates[] = { m->n_certs != 0 ? m->certs[0] : bm_rd_of(NULL, 0), s->signer, s->issuer };

    for (size_t i = 0; i < BM_COUNT(candidates); i++)
        if (candidates[i].n != 0 && bm_cert_parse(candidates[i], ret, NULL) == BM_OK && bm_rd_eq(ret->subject, m->h.sender_name) &&
            (m->h.sender_kid.n == 0 || ret->skid.n == 0 || bm_rd_eq(ret->skid, m->h.sender_kid)))
            return true;
    return false;
}

static enum bm_rc check_speaker(const struct bm_upstream_job *j, const struct bm_upstream_cmp_state *s, const struct bm_cmp *m,
                                const struct bm_cert *signer, struct bm_error *e)
{
    struct bm_rd pool[BM_CMP_CERTS_MAX + 1];
    size_t n = 0;

    if (signer->has_key_usage && !signer->ca && (signer->key_usage & BM_KU_DIGITAL_SIGNATURE) == 0)
        return untrusted(e, "its signer's certificate is not for signatures");
    for (size_t i = 0; i < m->n_certs; i++)
        pool[n++] = m->certs[i];
    pool[n++] = s->issuer;
    return bm_upstream_speaker_check(j->u, signer, pool, n, j->now, e);
}

static enum bm_rc check_signature(const struct bm_upstream_job *j, const struct bm_upstream_cmp_state *s, const struct bm_cmp *m,
                                  struct bm_rd part, struct bm_rd *ret_signer, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_cert signer;
    struct bm_spki spki;
    enum bm_rc rc;

    if (!find_signer(s, m, &signer))
        return untrusted(e, "extraCerts does not begin with its signer's certificate, whose subject is the sender");
    rc = check_speaker(j, s, m, &signer, e);
    if (rc != BM_OK)
        return rc;
    rc = bm_spki_parse(signer.spki, &spki, NULL);
    if (rc == BM_OK)
        rc = bm_spki_open(&spki, &key, NULL);
    if (rc == BM_OK)
        rc = bm_verify_x509(key, m->h.protection_alg, part, m->protection, NULL);
    if (rc == BM_NOMEM)
        return bm_fail(e, rc, "no memory for a signature");
    *ret_signer = signer.whole;
    return rc == BM_OK ? BM_OK : untrusted(e, "its signature does not verify with its signer's key, or is of a kind not taken");
}

/* --- all together -------------------------------------------------------------------------------------------------------------------- */
/* Over TLS it is the upstream CA that refuses, whoever has signed that; else it may be anybody on the way. */
static enum bm_rc check_bare(const struct bm_upstream_job *j, const struct bm_cmp *m, struct bm_error *e)
{
    if (m->type != BM_CMP_ERROR)
        return untrusted(e, "it is not protected");
    if (strncmp(j->u->url, "https://", 8) == 0)
        return BM_OK;
    return bm_refuse(e, BM_AGAIN, "upstream-waits", "the upstream CA refuses in a message that is not protected");
}

enum bm_rc bm_upstream_cmp_check(const struct bm_upstream_job *j, const struct bm_upstream_cmp_state *s, const struct bm_cmp *m,
                                 struct bm_rd *ret_signer, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf part = { .max = BM_TASK_ANSWER_MAX + 8 };
    enum bm_rc rc;

    *ret_signer = bm_rd_of(NULL, 0);
    if (!m->has_protection || m->h.protection_alg.n == 0)
        return check_bare(j, m, e);
    rc = check_header(j, s, &m->h, e);
    if (rc == BM_OK)
        rc = bm_cmp_protected(m->part, &part, e);
    if (rc != BM_OK)
        return rc;
    return bm_cmp_mac_is(m->h.protection_alg) ? check_mac(j, m, bm_buf_rd(&part), e)
                                              : check_signature(j, s, m, bm_buf_rd(&part), ret_signer, e);
}
