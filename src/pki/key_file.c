/* Keys in files: <ring>/<name>.key.pem, PKCS#8 sealed with PBES2 (RFC 8018): AES-256-CBC under PBKDF2-HMAC-SHA256. */
#include "base/file.h"
#include "base/text.h"
#include "pki/impl.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    KEY_FILE_MAX = 64 * 1024,
    KEY_SALT_LEN = 16,
    KEY_RANDOM_SECRET_LEN = 32,         /* a secret of this length is random bytes, not words */
    KEY_ITERATIONS_RANDOM = 10000,      /* nothing to guess: stretching buys nothing */
    KEY_ITERATIONS_PASSPHRASE = 600000, /* OWASP Password Storage Cheat Sheet, PBKDF2-HMAC-SHA256 */
};

enum bm_rc bm_key_file_path(const struct bm_keyring *ring, const char *name, char *ret, size_t ret_len, struct bm_error *e)
{
    char file[80];

    if (!bm_name_ok(name))
        return bm_fail(e, BM_USAGE, "a key's name has 1 to 64 of a-z 0-9 . _ - and starts with a letter or digit");
    if (ring->secret.n == 0)
        return bm_fail(e, BM_USAGE, "key '%s': the keyring has no secret to seal it with", name);
    snprintf(file, sizeof file, "%s.key.pem", name);
    return bm_path_join(ring->dir, file, ret, ret_len, e);
}

/* --- making ----------------------------------------------------------------------------------------------------------------- */
/* What may follow the colon of "RSA:3072" or "EC:P-256". */
static bool keygen_option(EVP_PKEY_CTX *ctx, const char *type, const char *option)
{
    if (option == NULL)
        return strcasecmp(type, "EC") != 0;
    if (strcasecmp(type, "EC") == 0)
        return EVP_PKEY_CTX_set_group_name(ctx, option) == 1;
    return strcasecmp(type, "RSA") == 0 && strlen(option) == 4 && EVP_PKEY_CTX_ctrl_str(ctx, "rsa_keygen_bits", option) == 1;
}

static EVP_PKEY *key_make(const char *alg)
{
    char type[32];
    size_t n = strcspn(alg, ":");
    EVP_PKEY_CTX *ctx = NULL;
    EVP_PKEY *k = NULL;

    if (n < sizeof type) {
        memcpy(type, alg, n);
        type[n] = '\0';
        ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    }
    if (ctx != NULL && EVP_PKEY_keygen_init(ctx) == 1 && keygen_option(ctx, type, alg[n] == ':' ? alg + n + 1 : NULL))
        if (EVP_PKEY_generate(ctx, &k) != 1)
            k = NULL;
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return k;
}

/* PEM text of the sealed key, in a BIO that wipes nothing: what it holds is ciphertext. */
static BIO *key_seal(PKCS8_PRIV_KEY_INFO *plain, struct bm_rd secret)
{
    int iterations = secret.n == KEY_RANDOM_SECRET_LEN ? KEY_ITERATIONS_RANDOM : KEY_ITERATIONS_PASSPHRASE;
    uint8_t salt[KEY_SALT_LEN];
    X509_ALGOR *pbe = NULL;
    X509_SIG *sealed = NULL;
    BIO *out = BIO_new(BIO_s_mem());
    bool ok;

    if (RAND_bytes(salt, sizeof salt) == 1)
        pbe = PKCS5_pbe2_set_iv(EVP_aes_256_cbc(), iterations, salt, sizeof salt, NULL, NID_hmacWithSHA256);
    if (plain != NULL && pbe != NULL)
        sealed = PKCS8_set0_pbe((const char *)secret.p, (int)secret.n, plain, pbe); /* takes pbe when it succeeds */
    if (sealed == NULL)
        X509_ALGOR_free(pbe);
    ok = sealed != NULL && out != NULL && PEM_write_bio_PKCS8(out, sealed) == 1;
    X509_SIG_free(sealed);
    if (ok)
        return out;
    BIO_free(out);
    return NULL;
}

enum bm_rc bm_key_file_seal(const char *path, PKCS8_PRIV_KEY_INFO *plain, struct bm_rd secret, struct bm_error *e)
{
    BIO *pem = key_seal(plain, secret);
    char *text;
    long n;
    enum bm_rc rc;

    if (pem == NULL) {
        ERR_clear_error();
        return bm_fail(e, BM_NOMEM, "the key could not be sealed");
    }
    n = BIO_get_mem_data(pem, &text);
    rc = bm_file_create(path, bm_rd_of(text, (size_t)n), 0600, e);
    BIO_free(pem);
    return rc;
}

static enum bm_rc key_store(const char *path, EVP_PKEY *key, struct bm_rd secret, struct bm_error *e)
{
    PKCS8_PRIV_KEY_INFO *plain = EVP_PKEY2PKCS8(key);
    enum bm_rc rc = bm_key_file_seal(path, plain, secret, e);

    PKCS8_PRIV_KEY_INFO_free(plain); /* cleanses */
    return rc;
}

/* The key and its use in a dry run, so that nothing is kept that could not sign. */
static enum bm_rc key_try(EVP_PKEY *key, const char *alg, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *k = NULL;
    char safe[64];

    bm_text_escape(bm_rd_str(alg), safe, sizeof safe);
    if (key == NULL)
        return bm_fail(e, BM_USAGE, "this OpenSSL makes no key of algorithm '%s'; try EC:P-256, EC:P-384, ED25519 or RSA:3072",
                       safe);
    if (EVP_PKEY_up_ref(key) != 1)
        return bm_fail(e, BM_NOMEM, "key");
    return bm_key_of_evp(key, &k, e) == BM_OK ? BM_OK : bm_wrap(e, BM_USAGE, "key of algorithm '%s'", safe);
}

static enum bm_rc file_generate(const struct bm_keyring *ring, const char *name, const char *alg, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    char path[640];
    enum bm_rc rc = bm_key_file_path(ring, name, path, sizeof path, e);

    if (rc != BM_OK)
        return rc;
    if (access(path, F_OK) == 0)
        return bm_fail(e, BM_CONFLICT, "key '%s' is there already", name);
    key = key_make(alg);
    rc = key_try(key, alg, e);
    if (rc == BM_OK)
        rc = key_store(path, key, ring->secret, e); /* of two that make the same key one loses, and none is written over */
    return rc;
}

/* --- opening ---------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_key_file_wrong(const char *name, struct bm_error *e)
{
    return bm_refuse(e, BM_DENIED, "wrong-secret", "key '%s' does not open: the secret is another one, or the file is damaged",
                     name);
}

static enum bm_rc key_unseal(struct bm_rd pem, struct bm_rd secret, const char *name, PKCS8_PRIV_KEY_INFO **ret, struct bm_error *e)
{
    BIO *in = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509_SIG *sealed = in != NULL ? PEM_read_bio_PKCS8(in, NULL, NULL, NULL) : NULL;
    PKCS8_PRIV_KEY_INFO *plain = NULL;
    enum bm_rc rc = BM_OK;

    if (sealed == NULL)
        rc = bm_fail(e, BM_MALFORMED, "key '%s': its file is no sealed PKCS#8 key", name);
    if (rc == BM_OK)
        plain = PKCS8_decrypt(sealed, (const char *)secret.p, (int)secret.n);
    if (rc == BM_OK && plain == NULL) /* CBC has no tag: a wrong secret is bad padding or, once in 256, bad DER */
        rc = bm_key_file_wrong(name, e);
    X509_SIG_free(sealed);
    BIO_free(in);
    ERR_clear_error();
    if (rc == BM_OK)
        *ret = plain;
    return rc;
}

enum bm_rc bm_key_file_unseal(const struct bm_keyring *ring, const char *name, PKCS8_PRIV_KEY_INFO **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = KEY_FILE_MAX };
    char path[640];
    enum bm_rc rc = bm_key_file_path(ring, name, path, sizeof path, e);

    if (rc == BM_OK)
        rc = bm_file_read(path, &pem, e);
    return rc == BM_OK ? key_unseal(bm_buf_rd(&pem), ring->secret, name, ret, e) : rc;
}

static enum bm_rc file_open(const struct bm_keyring *ring, const char *name, struct bm_key **ret, struct bm_error *e)
{
    PKCS8_PRIV_KEY_INFO *plain = NULL;
    EVP_PKEY *key;
    enum bm_rc rc = bm_key_file_unseal(ring, name, &plain, e);

    if (rc != BM_OK)
        return rc;
    key = EVP_PKCS82PKEY(plain);
    PKCS8_PRIV_KEY_INFO_free(plain);
    ERR_clear_error();
    return key != NULL ? bm_key_of_evp(key, ret, e) : bm_key_file_wrong(name, e);
}

const struct bm_key_driver bm_key_file = { .scheme = "file", .generate = file_generate, .open = file_open, .kek = &bm_kek_file };
