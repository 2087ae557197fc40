#include "pki/gcm.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>

static void ctx_freep(EVP_CIPHER_CTX **c)
{
    EVP_CIPHER_CTX_free(*c); /* cleanses */
}

static const EVP_CIPHER *cipher(void)
{
    static _Thread_local EVP_CIPHER *fetched;

    if (fetched == NULL)
        fetched = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    return fetched;
}

static EVP_CIPHER_CTX *begin(const uint8_t *key, const uint8_t *nonce, struct bm_rd aad, bool seal)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int n;

    if (c != NULL && cipher() != NULL && EVP_CipherInit_ex2(c, cipher(), key, nonce, seal, NULL) == 1 && aad.n <= INT_MAX &&
        (aad.n == 0 || EVP_CipherUpdate(c, NULL, &n, aad.p, (int)aad.n) == 1))
        return c;
    EVP_CIPHER_CTX_free(c);
    return NULL;
}

static enum bm_rc failed(enum bm_rc rc, const char *what, struct bm_error *e)
{
    ERR_clear_error();
    return bm_fail(e, rc, "AES-256-GCM: %s", what);
}

enum bm_rc bm_gcm_seal(const uint8_t key[BM_GCM_KEY_LEN], const uint8_t nonce[BM_GCM_NONCE_LEN], struct bm_rd aad,
                       struct bm_rd plain, struct bm_buf *ret, uint8_t ret_tag[BM_GCM_TAG_LEN], struct bm_error *e)
{
    BM_CLEANUP(ctx_freep) EVP_CIPHER_CTX *c = begin(key, nonce, aad, true);
    uint8_t *to = plain.n < INT_MAX ? bm_buf_room(ret, plain.n + BM_GCM_TAG_LEN) : NULL;
    int n = 0, more = 0;

    if (to == NULL)
        return failed(BM_LIMIT, "no room", e);
    if (c == NULL || EVP_CipherUpdate(c, to, &n, plain.p, (int)plain.n) != 1 || EVP_CipherFinal_ex(c, to + n, &more) != 1 ||
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, BM_GCM_TAG_LEN, ret_tag) != 1)
        return failed(BM_NOMEM, "the library failed", e);
    ret->n += plain.n;
    return BM_OK;
}

enum bm_rc bm_gcm_open(const uint8_t key[BM_GCM_KEY_LEN], const uint8_t nonce[BM_GCM_NONCE_LEN], struct bm_rd aad,
                       struct bm_rd sealed, const uint8_t tag[BM_GCM_TAG_LEN], struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(ctx_freep) EVP_CIPHER_CTX *c = begin(key, nonce, aad, false);
    uint8_t want[BM_GCM_TAG_LEN];
    uint8_t *to = sealed.n < INT_MAX ? bm_buf_room(ret, sealed.n + BM_GCM_TAG_LEN) : NULL;
    int n = 0, more = 0;

    memcpy(want, tag, sizeof want);
    if (to == NULL)
        return failed(BM_LIMIT, "no room", e);
    if (c == NULL || EVP_CipherUpdate(c, to, &n, sealed.p, (int)sealed.n) != 1 ||
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, sizeof want, want) != 1)
        return failed(BM_NOMEM, "the library failed", e);
    if (EVP_CipherFinal_ex(c, to + n, &more) != 1) {
        bm_wipe(to, sealed.n);
        return failed(BM_DENIED, "the tag is wrong", e);
    }
    ret->n += sealed.n;
    return BM_OK;
}
