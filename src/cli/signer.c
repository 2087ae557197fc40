/* Who signs a manifest: a key and a certificate from files, or a pair made on the spot. */
#include "cli/manifest.h"

#include "base/clock.h"
#include "base/file.h"
#include "pki/cert.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <unistd.h>

enum { KEY_FILE_MAX = 64 * 1024, FILE_PATH_MAX = 1024 };

void bm_cli_signer_done(struct bm_cli_signer *s)
{
    bm_key_free(s->key);
    bm_buf_done(&s->cert);
}

/* --- from files -------------------------------------------------------------------------------------------------------------- */
static enum bm_rc key_read(const char *path, struct bm_key **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = KEY_FILE_MAX };
    enum bm_rc rc = bm_file_read(path, &pem, e);
    EVP_PKEY *key;
    BIO *in;

    if (rc != BM_OK)
        return rc;
    in = BIO_new_mem_buf(pem.p, (int)pem.n);
    key = in == NULL ? NULL : PEM_read_bio_PrivateKey(in, NULL, NULL, NULL); /* asks for a passphrase when there is one */
    BIO_free(in);
    ERR_clear_error();
    if (key == NULL)
        return bm_fail(e, BM_USAGE, "--key %s: no private key in PEM, or the wrong passphrase", path);
    return bm_key_of_evp(key, ret, e);
}

static enum bm_rc first_cert(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct bm_buf *to = arg;

    if (to->n != 0)
        return BM_OK; /* what follows is its chain */
    bm_buf_put(to, der.p, der.n);
    return bm_buf_check(to, e);
}

static enum bm_rc cert_read(const char *path, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 16 * BM_CERT_MAX };
    enum bm_rc rc = bm_file_read(path, &pem, e);

    if (rc == BM_OK)
        rc = bm_pem_parse(bm_buf_rd(&pem), "CERTIFICATE", first_cert, ret, e);
    if (rc == BM_OK && ret->n == 0)
        rc = bm_fail(e, BM_USAGE, "--cert %s: no certificate in PEM", path);
    return rc;
}

/* --- made on the spot -------------------------------------------------------------------------------------------------------- */
static enum bm_rc self_sign(const struct bm_key *key, const char *organisation, struct bm_buf *ret, struct bm_error *e)
{
    struct bm_subject_words words = { .org = organisation };
    BM_CLEANUP(bm_profile_freep) struct bm_profile *profile = NULL;
    struct bm_issue issue = {
        .issuer_key = key,
        .spki = bm_key_spki(key),
        .words = &words,
        .now = bm_clock_s(),
        .not_after_max = INT64_MAX,
    };
    const struct bm_profile_builtin *b = bm_profiles_builtin;
    enum bm_rc rc;

    while (b->name != NULL && strcmp(b->name, "manifest-signer") != 0)
        b++;
    if (b->name == NULL || RAND_bytes(issue.serial, sizeof issue.serial) != 1)
        return bm_fail(e, BM_BUG, "no profile or no random numbers for the signer's certificate");
    rc = bm_profile_parse(b->name, bm_rd_str(b->json), &profile, e);
    issue.profile = profile;
    return rc == BM_OK ? bm_cert_issue(&issue, ret, NULL, NULL, e) : rc;
}

static enum bm_rc key_write(const char *path, EVP_PKEY *key, struct bm_error *e)
{
    BIO *out = BIO_new(BIO_s_secmem());
    char *pem = NULL;
    long n;
    enum bm_rc rc;

    if (out == NULL || PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) != 1) {
        BIO_free(out);
        return bm_fail(e, BM_NOMEM, "cannot encode the signing key");
    }
    n = BIO_get_mem_data(out, &pem);
    rc = bm_file_write(path, bm_rd_of(pem, (size_t)n), 0600, e);
    bm_wipe(pem, (size_t)n);
    BIO_free(out);
    return rc;
}

static enum bm_rc write_pair(const char *key_path, const char *cert_path, EVP_PKEY *key, struct bm_rd cert, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 2 * BM_CERT_MAX };
    enum bm_rc rc;

    bm_pem_write(&pem, "CERTIFICATE", cert);
    rc = bm_buf_check(&pem, e);
    if (rc == BM_OK)
        rc = key_write(key_path, key, e);
    return rc == BM_OK ? bm_file_write(cert_path, bm_buf_rd(&pem), 0644, e) : rc;
}

static enum bm_rc make_paths(const char *dir, char *key_path, char *cert_path, struct bm_error *e)
{
    enum bm_rc rc = bm_dir_make(dir, 0700, e);

    if (rc == BM_OK)
        rc = bm_path_join(dir, "signer-key.pem", key_path, FILE_PATH_MAX, e);
    if (rc == BM_OK)
        rc = bm_path_join(dir, "signer-cert.pem", cert_path, FILE_PATH_MAX, e);
    if (rc == BM_OK && (access(key_path, F_OK) == 0 || access(cert_path, F_OK) == 0))
        rc = bm_fail(e, BM_CONFLICT, "%s holds a signer already: use --key %s --cert %s", dir, key_path, cert_path);
    return rc;
}

static enum bm_rc signer_make(struct bm_cli *c, const char *dir, const char *organisation, struct bm_cli_signer *ret,
                              struct bm_error *e)
{
    char key_path[FILE_PATH_MAX], cert_path[FILE_PATH_MAX];
    EVP_PKEY *key;
    enum bm_rc rc = make_paths(dir, key_path, cert_path, e);

    if (rc != BM_OK)
        return rc;
    key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    if (key == NULL || EVP_PKEY_up_ref(key) != 1)
        return bm_fail(e, BM_BUG, "cannot make a key");
    rc = bm_key_of_evp(key, &ret->key, e);
    if (rc == BM_OK)
        rc = self_sign(ret->key, organisation, &ret->cert, e);
    if (rc == BM_OK)
        rc = write_pair(key_path, cert_path, key, bm_buf_rd(&ret->cert), e);
    EVP_PKEY_free(key);
    if (rc == BM_OK)
        bm_cli_note(c,
                    "New signer: key %s (keep it secret), certificate %s\n  whoever imports pins it: birthmark org trust %s %s "
                    "--purpose manifest\n",
                    key_path, cert_path, bm_cli_text(c, "issuer"), cert_path);
    return rc;
}

enum bm_rc bm_cli_signer_open(struct bm_cli *c, struct bm_cli_signer *ret, struct bm_error *e)
{
    const char *key = bm_cli_text(c, "key"), *cert = bm_cli_text(c, "cert"), *dir = bm_cli_text(c, "new_signer");
    const char *organisation = bm_cli_text(c, "organisation");
    enum bm_rc rc;

    ret->cert.max = BM_CERT_MAX;
    if ((key == NULL) != (cert == NULL) || (key == NULL) == (dir == NULL))
        return bm_fail(e, BM_USAGE, "who signs? Give --key and --cert, or --new-signer DIR to make them");
    if (dir != NULL)
        return signer_make(c, dir, organisation != NULL ? organisation : bm_cli_text(c, "issuer"), ret, e);
    rc = key_read(key, &ret->key, e);
    return rc == BM_OK ? cert_read(cert, &ret->cert, e) : rc;
}
