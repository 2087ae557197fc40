/* Key-encryption keys in files, beside the private keys and sealed in the same way: a PKCS#8 structure that holds 32 random bytes for
 * AES-256-GCM in place of a private key. */
#include "base/file.h"
#include "pki/gcm.h"
#include "pki/impl.h"
#include "pki/kek.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <unistd.h>

struct kek_file {
    struct bm_kek base;
    uint8_t *key; /* BM_GCM_KEY_LEN bytes in OpenSSL's locked heap */
};

static void kek_close(struct bm_kek *k)
{
    struct kek_file *f = (struct kek_file *)k;

    OPENSSL_secure_clear_free(f->key, BM_GCM_KEY_LEN);
    OPENSSL_free(f);
}

/* --- making ----------------------------------------------------------------------------------------------------------------- */
static PKCS8_PRIV_KEY_INFO *random_key(void)
{
    PKCS8_PRIV_KEY_INFO *p8 = PKCS8_PRIV_KEY_INFO_new();
    unsigned char *key = OPENSSL_malloc(BM_GCM_KEY_LEN);

    if (p8 != NULL && key != NULL && RAND_priv_bytes(key, BM_GCM_KEY_LEN) == 1 &&
        PKCS8_pkey_set0(p8, OBJ_nid2obj(NID_aes_256_gcm), 0, V_ASN1_UNDEF, NULL, key, BM_GCM_KEY_LEN) == 1) /* takes key */
        return p8;
    OPENSSL_clear_free(key, BM_GCM_KEY_LEN);
    PKCS8_PRIV_KEY_INFO_free(p8);
    return NULL;
}

static enum bm_rc kek_generate(const struct bm_keyring *ring, const char *name, struct bm_error *e)
{
    char path[640];
    PKCS8_PRIV_KEY_INFO *p8;
    enum bm_rc rc = bm_key_file_path(ring, name, path, sizeof path, e);

    if (rc != BM_OK)
        return rc;
    if (access(path, F_OK) == 0)
        return bm_fail(e, BM_CONFLICT, "key '%s' is there already", name);
    p8 = random_key();
    rc = p8 != NULL ? bm_key_file_seal(path, p8, ring->secret, e) : bm_fail(e, BM_NOMEM, "no key-encryption key could be made");
    PKCS8_PRIV_KEY_INFO_free(p8); /* cleanses */
    return rc;
}

/* --- opening ---------------------------------------------------------------------------------------------------------------- */
static struct bm_kek *kek_of(const PKCS8_PRIV_KEY_INFO *p8)
{
    const unsigned char *key;
    const ASN1_OBJECT *alg;
    struct kek_file *f;
    int n;

    if (PKCS8_pkey_get0(&alg, &key, &n, NULL, p8) != 1 || OBJ_obj2nid(alg) != NID_aes_256_gcm || n != BM_GCM_KEY_LEN)
        return NULL;
    f = OPENSSL_zalloc(sizeof *f);
    if (f == NULL)
        return NULL;
    f->base.driver = &bm_kek_file;
    f->key = OPENSSL_secure_malloc(BM_GCM_KEY_LEN);
    if (f->key == NULL) {
        OPENSSL_free(f);
        return NULL;
    }
    memcpy(f->key, key, BM_GCM_KEY_LEN);
    return &f->base;
}

static enum bm_rc kek_open(const struct bm_keyring *ring, const char *name, struct bm_kek **ret, struct bm_error *e)
{
    PKCS8_PRIV_KEY_INFO *p8 = NULL;
    struct bm_kek *k;
    enum bm_rc rc = bm_key_file_unseal(ring, name, &p8, e);

    if (rc != BM_OK)
        return rc;
    k = kek_of(p8);
    PKCS8_PRIV_KEY_INFO_free(p8);
    if (k == NULL)
        return bm_key_file_wrong(name, e);
    *ret = k;
    return BM_OK;
}

static void folder_sync(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
}

/* What a disk keeps of a file that was unlinked is sealed under the secret all the same. */
static enum bm_rc kek_destroy(const struct bm_keyring *ring, const char *name, struct bm_error *e)
{
    char path[640];
    enum bm_rc rc = bm_key_file_path(ring, name, path, sizeof path, e);

    if (rc != BM_OK)
        return rc;
    if (unlink(path) != 0 && errno != ENOENT)
        return bm_fail(e, BM_IO, "cannot remove %s: %s", path, strerror(errno));
    folder_sync(ring->dir); /* before its row says that it is gone */
    return BM_OK;
}

/* --- sealing ---------------------------------------------------------------------------------------------------------------- */
static enum bm_rc kek_seal(const struct bm_kek *k, struct bm_rd aad, struct bm_rd plain, struct bm_buf *ret, struct bm_error *e)
{
    const struct kek_file *f = (const struct kek_file *)k;
    uint8_t nonce[BM_GCM_NONCE_LEN], tag[BM_GCM_TAG_LEN];
    enum bm_rc rc;

    if (RAND_bytes(nonce, sizeof nonce) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    bm_buf_put(ret, nonce, sizeof nonce);
    rc = bm_gcm_seal(f->key, nonce, aad, plain, ret, tag, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_put(ret, tag, sizeof tag);
    return bm_buf_check(ret, e);
}

static enum bm_rc kek_unseal(const struct bm_kek *k, struct bm_rd aad, struct bm_rd sealed, struct bm_buf *ret, struct bm_error *e)
{
    const struct kek_file *f = (const struct kek_file *)k;
    struct bm_rd nonce, body;
    enum bm_rc rc = BM_DENIED;

    if (sealed.n > BM_KEK_OVERHEAD && bm_rd_take(&sealed, BM_GCM_NONCE_LEN, &nonce) &&
        bm_rd_take(&sealed, sealed.n - BM_GCM_TAG_LEN, &body))
        rc = bm_gcm_open(f->key, nonce.p, aad, body, sealed.p, ret, e);
    if (rc == BM_DENIED)
        return bm_refuse(e, BM_DENIED, "sealed-key", "a sealed key does not open: its row was changed, or is another device's");
    return rc;
}

const struct bm_kek_driver bm_kek_file = { kek_generate, kek_open, kek_destroy, kek_seal, kek_unseal, kek_close };
