/* A worker says "this certificate, or this raw public key, came in a TLS handshake". It is believed when the handshake's messages hold a nonce of
 * ours and its key has signed them. The nonce is a MAC over the hour, under a key that lives as long as this process: nobody can know
 * it ahead, so what is shown is no older than that. Hours go by the steady clock, so that setting the other one costs no device anything. */
#include "keeper/internal.h"

#include "base/clock.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

static int64_t epoch_now(void)
{
    return 1 + bm_clock_steady_ms() / 1000 / BM_HANDSHAKE_EPOCH_S;
}

static void nonce_of(const struct bm_keeper *k, int64_t epoch, uint8_t ret[BM_HANDSHAKE_NONCE_LEN])
{
    uint8_t text[8];
    struct bm_wr w = bm_wr_of(text, sizeof text);
    unsigned n = BM_HANDSHAKE_NONCE_LEN;

    bm_wr_uint(&w, 8, (uint64_t)epoch);
    if (HMAC(EVP_sha256(), k->handshake_key, sizeof k->handshake_key, text, sizeof text, ret, &n) == NULL)
        abort(); /* out of memory at 32 bytes */
}

void bm_keeper_nonce(const struct bm_keeper *k, uint8_t ret[BM_HANDSHAKE_NONCE_LEN])
{
    nonce_of(k, epoch_now(), ret);
}

/* Over all four parts, each with its length, so that no two differ only in where one ends. */
static bool digest_of(const struct bm_evidence *v, uint8_t ret[32])
{
    const struct bm_rd parts[] = { v->cert, v->spki, v->handshake, v->verify };
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;

    for (size_t i = 0; ok && i < BM_COUNT(parts); i++)
        ok = EVP_DigestUpdate(ctx, &parts[i].n, sizeof parts[i].n) == 1 && EVP_DigestUpdate(ctx, parts[i].p, parts[i].n) == 1;
    ok = ok && EVP_DigestFinal_ex(ctx, ret, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

static struct bm_seen_handshake *slot_of(struct bm_keeper *k, const uint8_t digest[32])
{
    size_t i;

    if (k->seen == NULL && (k->seen = calloc(BM_HANDSHAKES_SEEN, sizeof *k->seen)) == NULL)
        return NULL;
    memcpy(&i, digest, sizeof i);
    return &k->seen[i % BM_HANDSHAKES_SEEN];
}

/* The epoch of the nonce in it, or 0: neither this one nor the one before. */
static int64_t fresh_epoch(const struct bm_keeper *k, const struct bm_handshake *h)
{
    int64_t now = epoch_now();

    for (int64_t epoch = now; epoch >= now - 1; epoch--) {
        uint8_t nonce[BM_HANDSHAKE_NONCE_LEN];

        nonce_of(k, epoch, nonce);
        if (bm_handshake_is_fresh(h, nonce))
            return epoch;
    }
    return 0;
}

static enum bm_rc verify(const struct bm_keeper *k, const struct bm_evidence *v, int64_t *ret_epoch, struct bm_error *e)
{
    struct bm_handshake h;
    enum bm_rc rc = bm_handshake_verify(v->handshake, v->verify, &h, e);

    if (rc != BM_OK)
        return rc;
    if (!bm_rd_eq(h.certificate, v->cert) || !bm_rd_eq(h.spki, v->spki)) /* of each pair one is empty */
        return bm_refuse(e, BM_DENIED, "handshake-unproven", "the TLS handshake was made with another certificate or key");
    *ret_epoch = fresh_epoch(k, &h);
    if (*ret_epoch == 0)
        return bm_refuse(e, BM_AGAIN, "handshake-stale", "the TLS connection is too old for this request; open a new one");
    return BM_OK;
}

enum bm_rc bm_keeper_check_handshake(struct bm_keeper *k, const struct bm_evidence *v, struct bm_error *e)
{
    struct bm_seen_handshake *seen;
    uint8_t digest[32];
    int64_t epoch;
    enum bm_rc rc;

    if (v->cert.n + v->spki.n == 0 || v->handshake.n == 0)
        return bm_refuse(e, BM_DENIED, "handshake-unproven",
                         "nothing shows that the certificate's key took part in a TLS handshake");
    if (!digest_of(v, digest) || (seen = slot_of(k, digest)) == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a handshake");
    if (seen->epoch >= epoch_now() - 1 && seen->epoch != 0 && memcmp(seen->digest, digest, sizeof digest) == 0)
        return BM_OK;
    rc = verify(k, v, &epoch, e);
    if (rc != BM_OK)
        return rc;
    memcpy(seen->digest, digest, sizeof digest);
    seen->epoch = epoch;
    return BM_OK;
}
