/* ir with a CRMF request for a new key, implicit confirmation: one message, one certificate. RFC 9483 section 4.1.1. */
#include "messages.h"

#include <openssl/cmp.h>

static OSSL_CMP_MSG *keep(OSSL_CMP_CTX *ctx, const OSSL_CMP_MSG *message)
{
    struct bm_buf *to = OSSL_CMP_CTX_get_transfer_cb_arg(ctx);
    BIO *b = need(BIO_new(BIO_s_mem()));
    char *p;
    long n;

    must(i2d_OSSL_CMP_MSG_bio(b, message) > 0);
    n = BIO_get_mem_data(b, &p);
    bm_buf_put(to, p, (size_t)n);
    BIO_free(b);
    return NULL; /* nobody answers: it is sent later */
}

static int quiet(const char *function, const char *file, int line, OSSL_CMP_severity level, const char *text)
{
    (void)function, (void)file, (void)line, (void)level, (void)text;
    return 1;
}

static void make(const struct device *d, X509 *ra, struct bm_buf *ret)
{
    OSSL_CMP_CTX *ctx = need(OSSL_CMP_CTX_new(NULL, NULL));
    EVP_PKEY *key = need(EVP_EC_gen("P-256"));

    (void)ra;
    must(OSSL_CMP_CTX_set_log_cb(ctx, quiet));
    must(OSSL_CMP_CTX_set1_cert(ctx, d->cert));
    must(OSSL_CMP_CTX_set1_pkey(ctx, d->key));
    must(OSSL_CMP_CTX_set0_newPkey(ctx, 1, key));
    must(OSSL_CMP_CTX_set1_subjectName(ctx, X509_get_subject_name(d->cert)));
    must(OSSL_CMP_CTX_set_option(ctx, OSSL_CMP_OPT_IMPLICIT_CONFIRM, 1));
    must(OSSL_CMP_CTX_set_transfer_cb(ctx, keep));
    must(OSSL_CMP_CTX_set_transfer_cb_arg(ctx, ret));
    X509_free(OSSL_CMP_exec_IR_ses(ctx));
    OSSL_CMP_CTX_free(ctx);
}

/* ip, which a refusal is not: that is an error message. */
static bool granted(struct bm_rd answer)
{
    BIO *b = need(BIO_new_mem_buf(answer.p, (int)answer.n));
    OSSL_CMP_MSG *m = d2i_OSSL_CMP_MSG_bio(b, NULL);
    bool ok = m != NULL && OSSL_CMP_MSG_get_bodytype(m) == 1; /* OSSL_CMP_PKIBODY_IP, whose name is not public */

    OSSL_CMP_MSG_free(m);
    BIO_free(b);
    return ok;
}

const struct protocol load_cmp = { "cmp", "application/pkixcmp", NULL, "EC", make, granted };
